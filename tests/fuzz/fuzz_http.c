/*
 * Connections: a client and an application that do anything in any order. The input is a
 * script: a byte for what happens next, and for bytes that are sent a length. Every exchange
 * that begins must end exactly once.
 */
#include "http/conn.h"

#include <event2/event.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct script {
    const uint8_t *at, *end;
};

struct play {
    struct script script;
    struct http_exchange *x; /* the one of the one connection */
    int begun, ended;
};

static int next(struct script *s)
{
    return s->at < s->end ? *s->at++ : 0;
}

static void must(int holds)
{
    if (!holds)
        abort();
}

static void act(struct play *p)
{
    static const char piece[3000];
    struct http_header h = {"X-A", "b\r\n"};
    switch (next(&p->script) % 10) {
    case 0:
        http_read_body(p->x);
        break;
    case 1:
        http_reply(p->x, 200, &h, 1, piece, 10);
        break;
    case 2:
        http_reply(p->x, 204, NULL, 0, NULL, 0);
        break;
    case 3:
        http_stream_start(p->x, 200, &h, 1);
        break;
    case 4:
        http_stream_write(p->x, piece, sizeof(piece));
        break;
    case 5:
        http_stream_end(p->x);
        break;
    case 6:
        http_abort(p->x);
        break;
    default:
        must(http_method(p->x) != NULL && http_path(p->x) != NULL);
        http_header_get(p->x, "host");
        http_pending(p->x);
        break;
    }
}

static void begin(struct play *p, struct http_exchange *x)
{
    if (p->x != x) {
        must(p->x == NULL);
        p->x = x;
        p->begun++;
    }
}

static void on_head(void *arg, struct http_exchange *x)
{
    begin(arg, x);
    act(arg);
}

static void on_body(void *arg, struct http_exchange *x, const char *body, size_t len)
{
    struct play *p = arg;
    must(p->x == x && body != NULL && len <= 500);
    act(p);
    act(p);
}

static void on_fault(void *arg, struct http_exchange *x, enum http_fault fault, const char *what)
{
    struct play *p = arg;
    begin(p, x);
    must(what != NULL && fault <= HTTP_FAULT_BODY_TIMEOUT);
    act(p);
}

static void on_drain(void *arg, struct http_exchange *x)
{
    must(((struct play *)arg)->x == x);
    act(arg);
}

static void on_end(void *arg, struct http_exchange *x, enum http_outcome outcome)
{
    struct play *p = arg;
    (void)outcome;
    must(p->x == x);
    act(p);
    p->x = NULL;
    p->ended++;
}

static void step(struct play *p, struct event_base *base, int client)
{
    static char got[65536];
    int what = next(&p->script);
    if (what < 100) {
        size_t left = (size_t)(p->script.end - p->script.at), n = (size_t)what + 1;
        n = n < left ? n : left;
        send(client, p->script.at, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        p->script.at += n;
    } else if (what < 160) {
        if (p->x != NULL)
            act(p);
    } else if (what < 180) {
        recv(client, got, sizeof(got), MSG_DONTWAIT);
    } else if (what < 182) {
        shutdown(client, SHUT_WR);
    } else {
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct http_app app = {on_head, on_body, on_fault, on_drain, on_end};
    static const struct http_limits limits = {10, 400, 8, 500, 60000, 60000, 60000, 60000, 4000};
    static struct event_base *base;
    struct play p = {.script = {data, data + size}};
    struct http_server *s;
    struct sockaddr_in peer = {.sin_family = AF_INET};
    int pair[2];
    if (base == NULL)
        base = event_base_new();
    must(http_open(base, "127.0.0.1:0", &limits, &app, &p, &s, NULL) == 0);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    conn_new(s, pair[0], (struct sockaddr *)&peer, sizeof(peer));
    while (p.script.at < p.script.end)
        step(&p, base, pair[1]);
    event_base_loop(base, EVLOOP_NONBLOCK);
    if (size % 2 == 0)
        close(pair[1]);
    event_base_loop(base, EVLOOP_NONBLOCK);
    if (size % 3 == 0)
        http_drain(s);
    http_close(s);
    must(p.begun == p.ended && p.x == NULL);
    if (size % 2 != 0)
        close(pair[1]);
    return 0;
}
