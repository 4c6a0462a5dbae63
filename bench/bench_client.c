/*
 * bench_client: a load client that costs little, so that it disturbs little on a small machine.
 *
 *   bench_client replies PORT CONNECTIONS SECONDS FILE
 *       Sends the requests of FILE over so many connections to 127.0.0.1, each as soon as one is
 *       free, and starts none after SECONDS. Prints one JSON line a reply and one for the run.
 *   bench_client idle PORT CONNECTIONS FILE
 *       Opens so many connections, gets one reply over each (the first request of FILE), says how
 *       many are open, waits until standard input ends, and says how many are open still.
 *
 * FILE holds whole requests as bytes, each behind a line with its length. Replies are read as
 * HTTP/1.1 with a length or chunks; a stream's events are counted and timed when the bytes come
 * out of the socket, all events of one read at the same moment. One thread, one epoll.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 16, EVENTS_MAX = 64 };

/* A connection and the reply that it is reading. */
struct conn {
    int fd;
    bool busy, done; /* done: the stream's [DONE] came */
    struct reply reply;
    struct samples *gaps;
    int64_t start_us, now_us, first_us, last_us;
    long events, prompt_tokens, cached_tokens, completion_tokens;
};

struct client {
    int epoll;
    uint16_t port;
    struct plan plan;
    struct conn *conns;
    size_t n_conns, n_busy;
    struct samples gaps;
    int64_t began_us, ended_us, stop_us;
    long replies, failed;
};

/* --- what a reply's lines say --- */

static const char *value_of(const char *line, const char *key)
{
    const char *p = strstr(line, key);
    if (!p)
        return NULL;
    p += strlen(key);
    return p + strspn(p, ": ");
}

static long count_of(const char *line, const char *key)
{
    const char *p = value_of(line, key);
    return p ? strtol(p, NULL, 10) : 0;
}

static bool has_text(const char *line)
{
    static const char *const keys[] = {"\"content\"", "\"reasoning_content\""};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *p = value_of(line, keys[i]);
        if (p && p[0] == '"' && p[1] != '"')
            return true;
    }
    return false;
}

static void on_line(void *arg, const char *line)
{
    struct conn *c = arg;
    const char *usage = value_of(line, "\"usage\"");
    if (c->reply.stream && !strcmp(line, "data: [DONE]"))
        c->done = true;
    if (usage && *usage == '{') {
        c->prompt_tokens = count_of(usage, "\"prompt_tokens\"");
        c->cached_tokens = count_of(usage, "\"cached_tokens\"");
        c->completion_tokens = count_of(usage, "\"completion_tokens\"");
    }
    if (!c->reply.stream || !has_text(line))
        return;
    if (c->events++)
        samples_add(c->gaps, c->now_us - c->last_us);
    else
        c->first_us = c->now_us;
    c->last_us = c->now_us;
}

/* --- connections --- */

/* Takes what the socket has; STEP_MORE until the reply is whole or broken. */
static enum step conn_read(struct conn *c)
{
    static char piece[READ_BYTES];
    ssize_t n = recv(c->fd, piece, sizeof piece, 0);
    if (n <= 0)
        return n < 0 && errno == EINTR ? STEP_MORE : STEP_BROKEN;
    c->now_us = clock_mono_us();
    return reply_take(&c->reply, piece, (size_t)n);
}

static void conn_send(struct conn *c, struct samples *gaps, const struct request *r)
{
    struct reply reply = c->reply;
    *c = (struct conn){.fd = c->fd, .reply = reply, .gaps = gaps, .busy = true};
    reply_begin(&c->reply);
    c->reply.on_line = on_line;
    c->reply.arg = c;
    c->start_us = clock_mono_us();
    send_whole(c->fd, r->bytes, r->len);
}

static void conn_close(struct conn *c)
{
    close(c->fd);
    reply_done(&c->reply);
}

static void conn_open(struct conn *c, uint16_t port)
{
    c->fd = loopback_open(port);
    reply_init(&c->reply);
}

/* --- replies --- */

static void watch(const struct client *k, size_t i)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = i};
    if (epoll_ctl(k->epoll, EPOLL_CTL_ADD, k->conns[i].fd, &e))
        die("epoll_ctl: %s", strerror(errno));
}

static void start_next(struct client *k, struct conn *c)
{
    if (k->plan.next == k->plan.n || clock_mono_us() >= k->stop_us)
        return;
    conn_send(c, &k->gaps, &k->plan.list[k->plan.next++]);
    k->n_busy++;
}

static void tell_reply(const struct conn *c, bool whole)
{
    printf("{\"status\":%d,\"whole\":%s,\"total_us\":%lld,\"first_us\":%lld,\"decode_us\":%lld,"
           "\"events\":%ld,\"prompt_tokens\":%ld,\"cached_tokens\":%ld,"
           "\"completion_tokens\":%ld}\n",
           c->reply.status, whole ? "true" : "false", (long long)(c->now_us - c->start_us),
           (long long)(c->events ? c->first_us - c->start_us : 0),
           (long long)(c->last_us - c->first_us), c->events, c->prompt_tokens, c->cached_tokens,
           c->completion_tokens);
}

/* A reply is over: tells of it, and gives the connection its next request. */
static void finish(struct client *k, size_t i, bool framed)
{
    struct conn *c = &k->conns[i];
    bool whole = framed && c->reply.status == 200 && (!c->reply.stream || c->done);
    c->now_us = k->ended_us = clock_mono_us();
    tell_reply(c, whole);
    k->replies++;
    k->failed += !whole;
    k->n_busy--;
    c->busy = false;
    if (!framed) {
        conn_close(c); /* which also ends the watch */
        conn_open(c, k->port);
        watch(k, i);
    }
    start_next(k, c);
}

static void tell_run(struct client *k)
{
    printf("{\"run\":{\"wall_us\":%lld,\"replies\":%ld,\"failed\":%ld,",
           (long long)(k->ended_us - k->began_us), k->replies, k->failed);
    samples_print(&k->gaps, "gap");
    printf("}}\n");
}

static void run_replies(struct client *k)
{
    struct epoll_event events[EVENTS_MAX];
    k->began_us = clock_mono_us();
    for (size_t i = 0; i < k->n_conns; i++)
        start_next(k, &k->conns[i]);
    while (k->n_busy) {
        int n = epoll_wait(k->epoll, events, EVENTS_MAX, -1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait: %s", strerror(errno));
        for (int e = 0; e < n; e++) {
            size_t i = events[e].data.u64;
            if (!k->conns[i].busy)
                die("the server spoke or closed between requests");
            enum step step = conn_read(&k->conns[i]);
            if (step != STEP_MORE)
                finish(k, i, step == STEP_WHOLE);
        }
    }
    tell_run(k);
}

static int command_replies(struct client *k, char **argv)
{
    long seconds = number(argv[1], "SECONDS", 1, 3600);
    plan_read(&k->plan, argv[2]);
    k->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (k->epoll < 0)
        die("epoll_create1: %s", strerror(errno));
    for (size_t i = 0; i < k->n_conns; i++) {
        conn_open(&k->conns[i], k->port);
        watch(k, i);
    }
    k->stop_us = clock_mono_us() + seconds * 1000000;
    run_replies(k);
    close(k->epoll);
    return k->failed ? 1 : 0;
}

/* --- idle --- */

static size_t count_open(const struct client *k)
{
    size_t n = 0;
    char byte;
    for (size_t i = 0; i < k->n_conns; i++)
        n += recv(k->conns[i].fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
    return n;
}

static int command_idle(struct client *k, char **argv)
{
    char byte;
    plan_read(&k->plan, argv[1]);
    for (size_t i = 0; i < k->n_conns; i++) {
        struct conn *c = &k->conns[i];
        enum step step = STEP_MORE;
        conn_open(c, k->port);
        conn_send(c, &k->gaps, &k->plan.list[0]);
        while (step == STEP_MORE)
            step = conn_read(c);
        if (step != STEP_WHOLE || c->reply.status != 200)
            die("connection %zu got status %d and no whole reply", i + 1, c->reply.status);
        reply_done(&c->reply); /* ten thousand are kept open, without their buffers */
    }
    printf("{\"open\":%zu}\n", count_open(k));
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    printf("{\"still_open\":%zu}\n", count_open(k));
    return 0;
}

int main(int argc, char **argv)
{
    struct client k = {0};
    bool idle = argc == 5 && !strcmp(argv[1], "idle");
    if (!idle && (argc != 6 || strcmp(argv[1], "replies") != 0))
        die("usage: replies PORT CONNECTIONS SECONDS FILE | idle PORT CONNECTIONS FILE");
    k.port = (uint16_t)number(argv[2], "PORT", 1, 65535);
    k.n_conns = (size_t)number(argv[3], "CONNECTIONS", 1, 100000);
    k.conns = mem_array(k.n_conns, sizeof *k.conns);
    raise_descriptor_limit(k.n_conns);
    int rc = idle ? command_idle(&k, argv + 3) : command_replies(&k, argv + 3);
    for (size_t i = 0; i < k.n_conns; i++)
        conn_close(&k.conns[i]);
    free(k.conns);
    samples_done(&k.gaps);
    plan_done(&k.plan);
    return rc;
}
