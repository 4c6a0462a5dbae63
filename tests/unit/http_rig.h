/*
 * A server and scripted raw clients in one thread over real sockets: every wait is for a
 * condition while the loop turns. For the tests of the http room.
 */
#ifndef MOONGATE_TESTS_HTTP_RIG_H
#define MOONGATE_TESTS_HTTP_RIG_H

#include "base/buf.h"
#include "base/clock.h"
#include "http/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { GIVE_UP_MS = 20000 };

/* What the application saw, and the exchange it keeps. */
struct record {
    struct http_exchange *kept;
    int heads, bodies, faults, drains, ends, completed;
    enum http_outcome last_outcome;
    enum http_fault last_fault;
    size_t body_len;
    bool abort_in_drain, abort_in_fault, silent_in_fault, stream_more_in_drain;
};

struct world {
    struct event_base *base;
    struct http_server *server;
    struct http_limits limits;
    struct record rec;
};

struct client {
    int fd;
    struct buf got;
    bool eof, reset;
};

static inline void reply_text(struct http_exchange *x, int status, const char *text)
{
    struct http_header type = {"Content-Type", "text/plain"};
    http_reply(x, status, &type, 1, text, strlen(text));
}

static inline void on_head(void *arg, struct http_exchange *x)
{
    struct world *w = arg;
    const char *path = http_path(x);
    w->rec.heads++;
    if (strcmp(path, "/hello") == 0) {
        reply_text(x, 200, "hello");
    } else if (strcmp(path, "/echo") == 0) {
        http_read_body(x);
    } else if (strcmp(path, "/stream") == 0) {
        http_stream_start(x, 200, NULL, 0);
        http_stream_write(x, "one,", 4);
        http_stream_write(x, "", 0);
        http_stream_write(x, "two", 3);
        http_stream_end(x);
        http_stream_write(x, "late", 4);
    } else if (strcmp(path, "/split") == 0) {
        struct http_header h = {"X-Copy", "a\r\nX-Evil: 1"};
        http_reply(x, 200, &h, 1, "", 0);
    } else if (strcmp(path, "/abort") == 0) {
        http_abort(x);
        http_abort(x);
        reply_text(x, 200, "never");
    } else if (strcmp(path, "/about") == 0) {
        char text[200];
        const char *agent = http_header_get(x, "user-AGENT");
        snprintf(text, sizeof(text), "%s %s ?%s %s %s", http_method(x), path, http_query(x),
                 agent != NULL ? agent : "-", http_peer(x));
        reply_text(x, 200, text);
    } else if (strcmp(path, "/none") == 0) {
        http_reply(x, 204, NULL, 0, NULL, 0);
    } else if (strcmp(path, "/early") == 0) {
        reply_text(x, 401, "no key");
    } else {
        w->rec.kept = x;
    }
}

static inline void on_body(void *arg, struct http_exchange *x, const char *body, size_t len)
{
    struct world *w = arg;
    w->rec.bodies++;
    w->rec.body_len = len;
    if (strcmp(http_path(x), "/echo") == 0)
        http_reply(x, 200, NULL, 0, body, len);
    else if (strcmp(http_query(x), "abort") == 0)
        http_abort(x);
}

static inline void on_fault(void *arg, struct http_exchange *x, enum http_fault fault,
                            const char *what)
{
    static const int status[] = {400, 431, 505, 408, 400, 413, 408};
    struct world *w = arg;
    w->rec.faults++;
    w->rec.last_fault = fault;
    assert_non_null(http_method(x));
    assert_non_null(http_path(x));
    assert_null(http_header_get(x, "no-such-field"));
    if (w->rec.abort_in_fault)
        http_abort(x);
    else if (!w->rec.silent_in_fault)
        reply_text(x, status[fault], what);
}

static inline void on_drain(void *arg, struct http_exchange *x)
{
    static const char more[200000];
    struct world *w = arg;
    w->rec.drains++;
    assert_true(http_pending(x) < w->limits.stream_bytes);
    if (w->rec.abort_in_drain)
        http_abort(x);
    if (w->rec.stream_more_in_drain && w->rec.drains < 50)
        http_stream_write(x, more, sizeof(more));
}

static inline void on_end(void *arg, struct http_exchange *x, enum http_outcome outcome)
{
    struct world *w = arg;
    w->rec.ends++;
    w->rec.completed += outcome == HTTP_COMPLETE;
    w->rec.last_outcome = outcome;
    reply_text(x, 500, "too late");
    if (w->rec.kept == x)
        w->rec.kept = NULL;
}

static const struct http_app app = {on_head, on_body, on_fault, on_drain, on_end};

static const struct http_limits roomy = {.connections = 100,
                                         .head_bytes = 4096,
                                         .head_fields = 20,
                                         .body_bytes = 1000000,
                                         .head_timeout_ms = 60000,
                                         .body_timeout_ms = 60000,
                                         .idle_timeout_ms = 60000,
                                         .stall_timeout_ms = 60000,
                                         .stream_bytes = 65536};

static inline int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct error e;
    w->base = event_base_new();
    w->limits = roomy;
    assert_int_equal(http_open(w->base, "127.0.0.1:0", &roomy, &app, w, &w->server, &e), 0);
    *state = w;
    return 0;
}

/* Every on_head and every fault without one has had its on_end once the server is closed. */
static inline int tear_down(void **state)
{
    struct world *w = *state;
    http_close(w->server);
    event_base_free(w->base);
    assert_true(w->rec.ends >= w->rec.heads);
    assert_true(w->rec.ends <= w->rec.heads + w->rec.faults);
    assert_null(w->rec.kept);
    free(w);
    return 0;
}

static inline void set_limits(struct world *w)
{
    http_set_limits(w->server, &w->limits);
}

static inline void turn(struct world *w)
{
    event_base_loop(w->base, EVLOOP_NONBLOCK);
}

static inline struct client dial(struct world *w)
{
    struct client c = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((in_port_t)strtoul(strrchr(http_address(w->server), ':') + 1, NULL, 10));
    buf_init(&c.got, 64 << 20);
    int rc = connect(c.fd, (struct sockaddr *)&to, sizeof(to));
    assert_true(rc == 0 || errno == EINPROGRESS);
    return c;
}

static inline void hang_up(struct client *c)
{
    close(c->fd);
    buf_done(&c->got);
}

static inline void receive(struct client *c)
{
    static char bytes[65536];
    ssize_t n;
    while (!c->eof && (n = recv(c->fd, bytes, sizeof(bytes), 0)) != -1) {
        buf_add(&c->got, bytes, (size_t)n);
        c->eof = n == 0;
    }
    if (!c->eof && errno == ECONNRESET)
        c->eof = c->reset = true;
}

/* Turns the loop until the condition holds. */
#define until(w, condition)                                                                        \
    do {                                                                                           \
        int64_t until_ms = clock_mono_ms() + GIVE_UP_MS;                                           \
        while (!(condition)) {                                                                     \
            turn(w);                                                                               \
            if (clock_mono_ms() > until_ms)                                                        \
                fail_msg("waited in vain for: %s", #condition);                                    \
            poll(NULL, 0, 1);                                                                      \
        }                                                                                          \
    } while (0)

static inline bool has(struct client *c, const char *needle)
{
    receive(c);
    return c->got.data != NULL && memmem(c->got.data, c->got.len, needle, strlen(needle)) != NULL;
}

static inline int count(struct client *c, const char *needle)
{
    int n = 0;
    receive(c);
    const char *at = c->got.data;
    while (at != NULL && (at = strstr(at, needle)) != NULL) {
        n++;
        at += strlen(needle);
    }
    return n;
}

static inline bool ended(struct client *c)
{
    receive(c);
    return c->eof;
}

/* Sends all of it while the loop turns; false if the server hangs up before. */
static inline bool say_bytes(struct world *w, struct client *c, const char *bytes, size_t len)
{
    size_t sent = 0;
    int64_t give_up_ms = clock_mono_ms() + GIVE_UP_MS;
    while (sent < len) {
        ssize_t n = send(c->fd, bytes + sent, len - sent, MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
        else if (errno != EAGAIN)
            return false;
        turn(w);
        assert_true(clock_mono_ms() < give_up_ms);
    }
    return true;
}

static inline void say(struct world *w, struct client *c, const char *text)
{
    say_bytes(w, c, text, strlen(text));
}

#define a_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
