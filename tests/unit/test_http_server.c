/*
 * The HTTP server over real sockets: server and scripted raw clients share one thread, and
 * every wait is for a condition while the loop turns.
 */
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

static void reply_text(struct http_exchange *x, int status, const char *text)
{
    struct http_header type = {"Content-Type", "text/plain"};
    http_reply(x, status, &type, 1, text, strlen(text));
}

static void on_head(void *arg, struct http_exchange *x)
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

static void on_body(void *arg, struct http_exchange *x, const char *body, size_t len)
{
    struct world *w = arg;
    w->rec.bodies++;
    w->rec.body_len = len;
    if (strcmp(http_path(x), "/echo") == 0)
        http_reply(x, 200, NULL, 0, body, len);
    else if (strcmp(http_query(x), "abort") == 0)
        http_abort(x);
}

static void on_fault(void *arg, struct http_exchange *x, enum http_fault fault, const char *what)
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

static void on_drain(void *arg, struct http_exchange *x)
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

static void on_end(void *arg, struct http_exchange *x, bool complete)
{
    struct world *w = arg;
    w->rec.ends++;
    w->rec.completed += complete;
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

static int set_up(void **state)
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
static int tear_down(void **state)
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

static void set_limits(struct world *w)
{
    http_set_limits(w->server, &w->limits);
}

static void turn(struct world *w)
{
    event_base_loop(w->base, EVLOOP_NONBLOCK);
}

static struct client dial(struct world *w)
{
    struct client c = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((in_port_t)strtoul(strrchr(http_address(w->server), ':') + 1, NULL, 10));
    buf_init(&c.got, 64 << 20);
    int rc = connect(c.fd, (struct sockaddr *)&to, sizeof(to));
    assert_true(rc == 0 || errno == EINPROGRESS);
    return c;
}

static void hang_up(struct client *c)
{
    close(c->fd);
    buf_done(&c->got);
}

static void receive(struct client *c)
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

static bool has(struct client *c, const char *needle)
{
    receive(c);
    return c->got.data != NULL && memmem(c->got.data, c->got.len, needle, strlen(needle)) != NULL;
}

static int count(struct client *c, const char *needle)
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

static bool ended(struct client *c)
{
    receive(c);
    return c->eof;
}

/* Sends all of it while the loop turns; false if the server hangs up before. */
static bool say_bytes(struct world *w, struct client *c, const char *bytes, size_t len)
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

static void say(struct world *w, struct client *c, const char *text)
{
    say_bytes(w, c, text, strlen(text));
}

static void a_request_gets_its_reply(void **state)
{
    struct world *w = *state;
    struct client c = dial(w);
    say(w, &c, "GET /about?a=1&b HTTP/1.1\r\nHost: x\r\nUser-Agent: \t test/1 \t\r\n\r\n");
    until(w, has(&c, "GET /about ?a=1&b test/1 127.0.0.1"));
    assert_memory_equal(c.got.data, "HTTP/1.1 200 OK\r\n", 17);
    assert_true(has(&c, "Content-Length: 34\r\n"));
    assert_true(has(&c, "\r\nDate: "));
    assert_false(has(&c, "Connection:"));
    assert_int_equal(w->rec.completed, 1);
    assert_int_equal(http_connections(w->server), 1);
    hang_up(&c);
    until(w, http_connections(w->server) == 0);
}

static void requests_sent_ahead_get_their_replies_in_order(void **state)
{
    struct world *w = *state;
    struct client c = dial(w);
    say(w, &c,
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
        "\r\nGET /stream HTTP/1.1\r\nHost: x\r\n\r\n"
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        "2;x=\"y\"\r\nde\r\n1\r\nf\r\n0\r\nSum: 1\r\n\r\n"
        "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, has(&c, "hello"));
    const char *abc = strstr(c.got.data, "abc"), *two = strstr(c.got.data, "3\r\ntwo\r\n0\r\n\r\n");
    const char *def = strstr(c.got.data, "def");
    assert_non_null(abc);
    assert_non_null(two);
    assert_non_null(def);
    assert_true(abc < two && two < def);
    assert_null(strstr(c.got.data, "late"));
    assert_int_equal(w->rec.completed, 4);
    hang_up(&c);
}

static void a_request_cut_at_any_byte_reads_the_same(void **state)
{
    struct world *w = *state;
    static const char request[] =
        "\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        "4\r\nbody\r\n3\r\n!!!\r\n0\r\n\r\n";
    for (size_t cut = 1; cut < sizeof(request) - 1; cut++) {
        struct client c = dial(w);
        say_bytes(w, &c, request, cut);
        turn(w);
        turn(w);
        say(w, &c, request + cut);
        until(w, has(&c, "body!!!"));
        hang_up(&c);
    }
    struct client c = dial(w);
    for (size_t i = 0; i < sizeof(request) - 1; i++)
        say_bytes(w, &c, request + i, 1);
    until(w, has(&c, "body!!!"));
    hang_up(&c);
    assert_int_equal(w->rec.faults, 0);
}

#define HOST "Host: x\r\n"

static const struct {
    const char *request;
    int status;
} refused[] = {
    {"GET /hello HTTP/1.1\r\n\r\n", 400},
    {"GET /hello HTTP/1.1\r\n" HOST HOST "\r\n", 400},
    {"GET /hello HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3, 3\r\n\r\nabc", 400},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: +3\r\n\r\nabc", 400},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\nabc", 400},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 7abc\r\n\r\nabc", 400},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", 400},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n", 400},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n", 400},
    {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 400},
    {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n", 400},
    {"POST /echo HTTP/1.1\r\n" HOST
     "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
     400},
    {"POST /echo HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
    {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n", 400},
    {"GET /hello HTTP/1.1\r\n" HOST "A: 1\r\n folded\r\n\r\n", 400},
    {"GET /hello HTTP/1.1\r\n folded: 1\r\n" HOST "\r\n", 400},
    {"GET /hello HTTP/1.1\r\n" HOST "no colon\r\n\r\n", 400},
    {"GET /hello HTTP/1.1\r\n" HOST ": empty\r\n\r\n", 400},
    {"GET /hello HTTP/1.1\r\n" HOST "A: b\001c\r\n\r\n", 400},
    {"GET /hello HTTP/1.1\r\n" HOST "A: b\rc\r\n\r\n", 400},
    {"GET /hello HTTP/1.1\n" HOST "\r\n", 400},
    {"GET /hello HTTP/1.1\r\nHost: x\n\r\n", 400},
    {"GET /hello\r\n\r\n", 400},
    {"GET  /hello HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET /hello HTTP/1.1 \r\n" HOST "\r\n", 400},
    {"GET /h\xc3\xa9llo HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET /hello\x7f HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET hello HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET * HTTP/1.1\r\n" HOST "\r\n", 400},
    {"CONNECT x:80 HTTP/1.1\r\n" HOST "\r\n", 400},
    {"G@T /hello HTTP/1.1\r\n" HOST "\r\n", 400},
    {"\r\n\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET /hello http/1.1\r\n" HOST "\r\n", 400},
    {"\x16\x03\x01\x02\n\r\n\r\n", 400},
    {"GET /hello HTTP/1.1\r\n" HOST "Expect: something\r\n\r\n", 400},
    {"GET /hello HTTP/2.0\r\n" HOST "\r\n", 505},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
    {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nz\r\n", 400},
    {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400},
    {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
     400},
    {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", 400},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1000001\r\n\r\n", 413},
    {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nf4241\r\n", 413},
};

static void what_two_readers_could_read_differently_is_refused(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct client c = dial(w);
        char status[32];
        say(w, &c, refused[i].request);
        /* What stands behind a refused request is never taken for a second one. */
        say(w, &c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        until(w, has(&c, "\r\n\r\n"));
        snprintf(status, sizeof(status), "HTTP/1.1 %d ", refused[i].status);
        if (strncmp(c.got.data, status, strlen(status)) != 0)
            fail_msg("row %zu: wanted %d, got %s", i, refused[i].status, c.got.data);
        assert_true(has(&c, "Connection: close\r\n"));
        until(w, ended(&c));
        assert_false(c.reset);
        assert_int_equal(count(&c, "\r\nDate: "), 1);
        hang_up(&c);
        until(w, http_connections(w->server) == 0);
    }
    assert_int_equal(w->rec.faults, (int)(sizeof(refused) / sizeof(refused[0])));
    assert_int_equal(w->rec.completed, w->rec.faults);
}

static void a_nul_in_the_head_is_refused(void **state)
{
    struct world *w = *state;
    static const char request[] = "GET /hello HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n";
    static const char in_line[] = "GET /hel\0lo HTTP/1.1\r\nHost: x\r\n\r\n";
    struct client c = dial(w), d = dial(w);
    say_bytes(w, &c, request, sizeof(request) - 1);
    say_bytes(w, &d, in_line, sizeof(in_line) - 1);
    until(w, has(&c, "HTTP/1.1 400 ") && has(&d, "HTTP/1.1 400 "));
    hang_up(&c);
    hang_up(&d);
}

static void a_head_too_large_or_with_too_many_fields_is_431(void **state)
{
    struct world *w = *state;
    struct client c = dial(w), d = dial(w);
    char filler[1000];
    memset(filler, 'a', sizeof(filler));
    say(w, &c, "GET /hello HTTP/1.1\r\nHost: x\r\nA: ");
    for (int i = 0; i < 300; i++)
        say_bytes(w, &c, filler, sizeof(filler));
    until(w, has(&c, "HTTP/1.1 431 "));
    say(w, &d, "GET /hello HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 20; i++)
        say(w, &d, "A: b\r\n");
    say(w, &d, "\r\n");
    until(w, has(&d, "HTTP/1.1 431 "));
    assert_int_equal(w->rec.heads, 0);
    hang_up(&c);
    hang_up(&d);
}

static void a_target_with_scheme_and_host_is_its_path(void **state)
{
    struct world *w = *state;
    struct client c = dial(w), d = dial(w);
    say(w, &c, "GET http://example.com:80/about?q HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, has(&c, "GET /about ?q"));
    say(w, &d, "GET http://example.com?q HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    assert_string_equal(http_path(w->rec.kept), "/");
    assert_string_equal(http_query(w->rec.kept), "q");
    hang_up(&c);
    hang_up(&d);
}

static void options_may_ask_for_a_star(void **state)
{
    struct world *w = *state;
    struct client c = dial(w);
    say(w, &c, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    assert_string_equal(http_path(w->rec.kept), "*");
    hang_up(&c);
}

/* Sends a byte of the text each turn until the server has answered. */
static void drip(struct world *w, struct client *c, const char *text)
{
    size_t at = 0, len = strlen(text);
    int64_t give_up_ms = clock_mono_ms() + GIVE_UP_MS;
    while (!has(c, "HTTP/1.1 ")) {
        send(c->fd, text + at++ % len, 1, MSG_NOSIGNAL);
        turn(w);
        poll(NULL, 0, 5);
        assert_true(clock_mono_ms() < give_up_ms);
    }
}

static void bytes_that_trickle_do_not_extend_the_head_time(void **state)
{
    struct world *w = *state;
    w->limits.head_timeout_ms = 100;
    w->limits.head_bytes = 1 << 20;
    set_limits(w);
    struct client c = dial(w);
    say(w, &c, "GET /hello HTTP/1.1\r\nHost: x\r\nA: ");
    drip(w, &c, "b");
    assert_true(has(&c, "HTTP/1.1 408 "));
    assert_int_equal(w->rec.last_fault, HTTP_FAULT_HEAD_TIMEOUT);
    until(w, ended(&c));
    hang_up(&c);
}

static void bytes_that_trickle_do_not_extend_the_body_time(void **state)
{
    struct world *w = *state;
    w->limits.body_timeout_ms = 100;
    set_limits(w);
    struct client c = dial(w);
    say(w, &c, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n");
    drip(w, &c, "b");
    assert_true(has(&c, "HTTP/1.1 408 "));
    assert_int_equal(w->rec.last_fault, HTTP_FAULT_BODY_TIMEOUT);
    until(w, ended(&c));
    hang_up(&c);
}

static void an_idle_connection_is_closed_without_a_word(void **state)
{
    struct world *w = *state;
    w->limits.idle_timeout_ms = 50;
    set_limits(w);
    struct client fresh = dial(w), kept = dial(w);
    say(w, &kept, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, has(&kept, "hello"));
    until(w, ended(&kept) && ended(&fresh));
    assert_int_equal(fresh.got.len, 0);
    assert_int_equal(count(&kept, "HTTP/1.1 "), 1);
    hang_up(&fresh);
    hang_up(&kept);
}

static void a_client_that_leaves_before_the_reply_is_seen(void **state)
{
    struct world *w = *state;
    struct client c = dial(w);
    say(w, &c, "POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n");
    until(w, w->rec.kept != NULL);
    http_read_body(w->rec.kept);
    say(w, &c, "ab");
    until(w, w->rec.bodies == 1);
    hang_up(&c);
    until(w, w->rec.ends == 1);
    assert_int_equal(w->rec.completed, 0);
}

static void a_client_that_leaves_during_a_stream_is_seen(void **state)
{
    struct world *w = *state;
    struct client c = dial(w);
    say(w, &c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    http_stream_start(w->rec.kept, 200, NULL, 0);
    http_stream_write(w->rec.kept, "abc", 3);
    until(w, has(&c, "3\r\nabc\r\n"));
    hang_up(&c);
    until(w, w->rec.ends == 1);
    assert_int_equal(w->rec.completed, 0);
    assert_int_equal(http_connections(w->server), 0);
}

static void a_client_that_leaves_in_the_body_is_seen(void **state)
{
    struct world *w = *state;
    struct client c = dial(w);
    say(w, &c, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    until(w, w->rec.heads == 1);
    hang_up(&c);
    until(w, w->rec.ends == 1);
    assert_int_equal(w->rec.completed, 0);
    assert_int_equal(w->rec.faults, 0);
}

static void a_client_that_sent_too_much_ahead_and_left_is_seen(void **state)
{
    struct world *w = *state;
    static char ahead[90000];
    struct client c = dial(w);
    say(w, &c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    memset(ahead, 'x', sizeof(ahead));
    say_bytes(w, &c, ahead, sizeof(ahead));
    shutdown(c.fd, SHUT_WR);
    until(w, w->rec.ends == 1);
    assert_int_equal(w->rec.heads, 1);
    hang_up(&c);
}

static void what_is_sent_ahead_is_not_read_without_bound(void **state)
{
    struct world *w = *state;
    static char ahead[100000];
    struct client c = dial(w);
    size_t sent = 0;
    say(w, &c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    memset(ahead, 'x', sizeof(ahead));
    for (int refused_turns = 0; refused_turns < 100 && sent < 64u << 20;) {
        ssize_t n = send(c.fd, ahead, sizeof(ahead), MSG_NOSIGNAL);
        refused_turns = n < 0 ? refused_turns + 1 : 0;
        sent += n > 0 ? (size_t)n : 0;
        turn(w);
    }
    assert_true(sent < 64u << 20);
    assert_int_equal(w->rec.ends, 0);
    hang_up(&c);
}

static void a_client_that_takes_slowly_is_not_cut(void **state)
{
    struct world *w = *state;
    static char piece[1000000], taken[1000000];
    struct client c = dial(w);
    w->limits.stall_timeout_ms = 600;
    set_limits(w);
    say(w, &c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    http_stream_start(w->rec.kept, 200, NULL, 0);
    for (int i = 0; i < 40; i++)
        http_stream_write(w->rec.kept, piece, sizeof(piece));
    /* Slower than the limit as a whole, but never for so long without a byte. */
    for (int64_t end_ms = clock_mono_ms() + 1500; clock_mono_ms() < end_ms; poll(NULL, 0, 10)) {
        recv(c.fd, taken, sizeof(taken) / 4, 0);
        turn(w);
    }
    http_stream_end(w->rec.kept);
    until(w, has(&c, "\r\n0\r\n\r\n"));
    assert_int_equal(w->rec.completed, 1);
    hang_up(&c);
}

static void what_is_not_taken_is_told_and_drained(void **state)
{
    struct world *w = *state;
    static char piece[10000];
    struct client c = dial(w);
    size_t written = 0;
    say(w, &c, "GET /wait HTTP/1.0\r\n\r\n");
    until(w, w->rec.kept != NULL);
    struct http_exchange *x = w->rec.kept;
    memset(piece, 'p', sizeof(piece));
    http_stream_start(x, 200, NULL, 0);
    /* The socket takes some megabytes; then the pieces stay with us. */
    int64_t give_up_ms = clock_mono_ms() + GIVE_UP_MS;
    int full_turns = 0;
    while (full_turns < 3 && clock_mono_ms() < give_up_ms) {
        while (http_pending(x) < w->limits.stream_bytes) {
            http_stream_write(x, piece, sizeof(piece));
            written += sizeof(piece);
        }
        turn(w);
        full_turns = http_pending(x) >= w->limits.stream_bytes ? full_turns + 1 : 0;
    }
    int drains = w->rec.drains;
    assert_true(http_pending(x) >= w->limits.stream_bytes);
    http_stream_end(x);
    until(w, ended(&c));
    assert_int_equal(w->rec.drains, drains); /* ended: nobody waits for it */
    const char *body = strstr(c.got.data, "\r\n\r\n") + 4;
    assert_int_equal(c.got.len - (size_t)(body - c.got.data), written);
    assert_int_equal(w->rec.completed, 1);
    hang_up(&c);
}

static void a_stream_goes_on_when_it_is_drained(void **state)
{
    struct world *w = *state;
    static char piece[200000];
    struct client c = dial(w);
    say(w, &c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    w->rec.stream_more_in_drain = true;
    http_stream_start(w->rec.kept, 200, NULL, 0);
    http_stream_write(w->rec.kept, piece, sizeof(piece));
    until(w, (receive(&c), w->rec.drains >= 50));
    http_stream_end(w->rec.kept);
    until(w, has(&c, "\r\n0\r\n\r\n"));
    assert_true(c.got.len > 50 * sizeof(piece));
    hang_up(&c);
}

static void a_client_that_takes_nothing_is_cut(void **state)
{
    struct world *w = *state;
    static char piece[100000];
    struct client c = dial(w);
    w->limits.stall_timeout_ms = 100;
    set_limits(w);
    say(w, &c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    http_stream_start(w->rec.kept, 200, NULL, 0);
    for (int i = 0; i < 200; i++)
        http_stream_write(w->rec.kept, piece, sizeof(piece));
    until(w, w->rec.ends == 1);
    assert_int_equal(w->rec.completed, 0);
    hang_up(&c);
}

static void an_early_reply_reaches_a_client_that_is_still_sending(void **state)
{
    struct world *w = *state;
    static char body[800000];
    for (int i = 0; i < 10; i++) {
        struct client c = dial(w);
        say(w, &c, "POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 800000\r\n\r\n");
        assert_true(say_bytes(w, &c, body, sizeof(body)));
        shutdown(c.fd, SHUT_WR);
        until(w, ended(&c));
        assert_false(c.reset);
        assert_true(has(&c, "HTTP/1.1 401 "));
        assert_true(has(&c, "Connection: close\r\n"));
        assert_true(has(&c, "no key"));
        hang_up(&c);
    }
    assert_int_equal(w->rec.completed, 10);
    until(w, http_connections(w->server) == 0);
}

static void nobody_is_waited_for_beyond_a_bound(void **state)
{
    struct world *w = *state;
    static char body[65536];
    struct client c = dial(w);
    say(w, &c, "POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n");
    for (int i = 0; i < 200 && http_connections(w->server) > 0; i++)
        say_bytes(w, &c, body, sizeof(body));
    assert_int_equal(http_connections(w->server), 0);
    hang_up(&c);
    struct client silent = dial(w);
    say(w, &silent, "POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n");
    until(w, has(&silent, "no key"));
    until(w, http_connections(w->server) == 0);
    hang_up(&silent);
}

static void continue_is_said_when_the_body_is_wanted(void **state)
{
    struct world *w = *state;
    struct client c = dial(w), d = dial(w), large = dial(w), hasty = dial(w);
    say(w, &c,
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-Continue\r\n\r\n");
    until(w, has(&c, "HTTP/1.1 100 Continue\r\n\r\n"));
    say(w, &c, "body");
    until(w, has(&c, "\r\n\r\nbody"));
    assert_int_equal(count(&c, "HTTP/1.1 100"), 1);
    say(w, &d,
        "POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    until(w, has(&d, "no key"));
    assert_int_equal(count(&d, "HTTP/1.1 100"), 0);
    say(w, &large,
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000001\r\nExpect: "
        "100-continue\r\n\r\n");
    until(w, has(&large, "HTTP/1.1 413 "));
    assert_int_equal(count(&large, "HTTP/1.1 100"), 0);
    say(w, &hasty,
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc");
    until(w, has(&hasty, "abc"));
    assert_int_equal(count(&hasty, "HTTP/1.1 100"), 0);
    hang_up(&c);
    hang_up(&d);
    hang_up(&large);
    hang_up(&hasty);
}

static void a_body_may_be_asked_for_later(void **state)
{
    struct world *w = *state;
    static char body[500000];
    struct client c = dial(w);
    say(w, &c, "POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n");
    until(w, w->rec.kept != NULL);
    say_bytes(w, &c, body, 100000);
    http_read_body(w->rec.kept);
    http_read_body(w->rec.kept);
    assert_int_equal(w->rec.bodies, 0); /* never from inside */
    say_bytes(w, &c, body + 100000, sizeof(body) - 100000);
    until(w, w->rec.bodies == 1);
    assert_int_equal(w->rec.body_len, sizeof(body));
    reply_text(w->rec.kept, 200, "done");
    until(w, has(&c, "done"));
    assert_false(has(&c, "Connection: close"));
    hang_up(&c);
}

static void a_request_without_a_body_has_an_empty_one(void **state)
{
    struct world *w = *state;
    struct client c = dial(w);
    say(w, &c, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.bodies == 1 && has(&c, "Content-Length: 0\r\n"));
    say(w, &c, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    until(w, w->rec.bodies == 2);
    hang_up(&c);
}

static void head_and_204_have_no_body(void **state)
{
    struct world *w = *state;
    struct client c = dial(w);
    say(w, &c,
        "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\nHEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n"
        "GET /none HTTP/1.1\r\nHost: x\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, has(&c, "hello"));
    assert_int_equal(count(&c, "HTTP/1.1 20"), 4);
    assert_int_equal(count(&c, "Content-Length: 5\r\n"), 2);
    assert_int_equal(count(&c, "hello"), 1);
    assert_int_equal(count(&c, "Transfer-Encoding: chunked\r\n"), 1);
    assert_int_equal(count(&c, "one"), 0);
    assert_int_equal(count(&c, "0\r\n\r\n"), 0);
    assert_int_equal(count(&c, "Content-Length"), 2);
    hang_up(&c);
}

static void http_1_0_closes_unless_it_asks_otherwise(void **state)
{
    struct world *w = *state;
    struct client c = dial(w), d = dial(w), e = dial(w);
    say(w, &c, "GET /hello HTTP/1.0\r\n\r\n");
    until(w, ended(&c));
    assert_true(has(&c, "Connection: close\r\n") && has(&c, "hello"));
    say(w, &d, "GET /hello HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
    until(w, has(&d, "hello"));
    assert_true(has(&d, "Connection: keep-alive\r\n"));
    say(w, &d, "GET /stream HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
    until(w, ended(&d));
    assert_true(has(&d, "\r\n\r\none,two"));
    assert_false(has(&d, "chunked"));
    say(w, &e, "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: TE, close\r\n\r\n");
    until(w, ended(&e));
    assert_true(has(&e, "Connection: close\r\n"));
    hang_up(&c);
    hang_up(&d);
    hang_up(&e);
}

static void draining_closes_the_idle_and_finishes_the_others(void **state)
{
    struct world *w = *state;
    struct client idle = dial(w), working = dial(w), in_head = dial(w), streaming = dial(w);
    say(w, &working, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    struct http_exchange *waiting = w->rec.kept;
    say(w, &streaming, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != waiting);
    http_stream_start(w->rec.kept, 200, NULL, 0);
    say(w, &in_head, "GET /hello HTTP/1.1\r\n");
    until(w, http_connections(w->server) == 4);
    turn(w);
    struct client on_its_way = dial(w);
    until(w, http_connections(w->server) == 5);
    const char *request = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
    send(on_its_way.fd, request, strlen(request), 0);
    http_drain(w->server);
    until(w, ended(&idle));
    until(w, has(&on_its_way, "hello") && ended(&on_its_way));
    say(w, &in_head, "Host: x\r\n\r\n");
    until(w, has(&in_head, "Connection: close\r\n") && has(&in_head, "hello"));
    http_stream_end(w->rec.kept);
    reply_text(waiting, 200, "worked");
    until(w, has(&working, "worked") && ended(&working) && ended(&streaming));
    assert_true(has(&working, "Connection: close\r\n"));
    hang_up(&in_head);
    hang_up(&working);
    hang_up(&streaming);
    until(w, http_connections(w->server) == 0);
    struct client late = dial(w);
    until(w, ended(&late) || recv(late.fd, &(char){0}, 1, 0) == 0 || errno == ECONNREFUSED);
    hang_up(&late);
    hang_up(&idle);
    hang_up(&on_its_way);
}

static void a_cut_is_safe_in_every_callback(void **state)
{
    struct world *w = *state;
    static char piece[200000];
    struct client c = dial(w), d = dial(w), e = dial(w), f = dial(w);
    say(w, &c, "GET /abort HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, ended(&c));
    assert_int_equal(c.got.len, 0);
    say(w, &d, "POST /wait?abort HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
    until(w, w->rec.kept != NULL);
    http_read_body(w->rec.kept);
    until(w, ended(&d));
    assert_int_equal(w->rec.bodies, 1);
    w->rec.abort_in_fault = true;
    say(w, &e, "nonsense\r\n\r\n");
    until(w, ended(&e));
    w->rec.abort_in_drain = true;
    say(w, &f, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    http_stream_start(w->rec.kept, 200, NULL, 0);
    http_stream_write(w->rec.kept, piece, sizeof(piece));
    until(w, ended(&f));
    assert_false(has(&f, "\r\n0\r\n\r\n"));
    assert_int_equal(w->rec.ends, 4);
    assert_int_equal(w->rec.completed, 0);
    hang_up(&c);
    hang_up(&d);
    hang_up(&e);
    hang_up(&f);
}

static void what_was_written_before_a_cut_still_goes_out(void **state)
{
    struct world *w = *state;
    struct client c = dial(w), d = dial(w);
    say(w, &c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    http_stream_start(w->rec.kept, 200, NULL, 0);
    http_stream_write(w->rec.kept, "half", 4);
    http_abort(w->rec.kept);
    until(w, ended(&c));
    assert_true(has(&c, "4\r\nhalf\r\n"));
    assert_false(has(&c, "0\r\n\r\n"));
    say(w, &d, "GET /wait HTTP/1.0\r\n\r\n");
    until(w, w->rec.kept != NULL);
    http_stream_start(w->rec.kept, 200, NULL, 0);
    until(w, has(&d, "\r\n\r\n"));
    http_abort(w->rec.kept);
    until(w, ended(&d));
    assert_true(d.reset); /* the only sign that a reply without a length is broken */
    hang_up(&c);
    hang_up(&d);
}

static void a_fault_without_a_reply_cuts_the_connection(void **state)
{
    struct world *w = *state;
    struct client c = dial(w);
    w->rec.silent_in_fault = true;
    say(w, &c, "nonsense\r\n\r\n");
    until(w, ended(&c));
    assert_int_equal(c.got.len, 0);
    assert_int_equal(w->rec.ends, 1);
    hang_up(&c);
}

static void a_header_value_cannot_begin_another(void **state)
{
    struct world *w = *state;
    struct client c = dial(w);
    say(w, &c, "GET /split HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, has(&c, "X-Copy: a  X-Evil: 1\r\n"));
    hang_up(&c);
}

static void connections_past_the_limit_wait(void **state)
{
    struct world *w = *state;
    w->limits.connections = 2;
    set_limits(w);
    struct client a = dial(w), b = dial(w), waiting = dial(w);
    say(w, &a, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    say(w, &b, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    say(w, &waiting, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, has(&a, "hello") && has(&b, "hello"));
    turn(w);
    assert_false(has(&waiting, "hello"));
    assert_int_equal(http_connections(w->server), 2);
    hang_up(&a);
    until(w, has(&waiting, "hello"));
    hang_up(&b);
    hang_up(&waiting);
}

static void running_out_of_descriptors_only_delays(void **state)
{
    struct world *w = *state;
    struct rlimit before, low;
    struct client c = dial(w);
    int spare = dup(c.fd);
    getrlimit(RLIMIT_NOFILE, &before);
    low = before;
    low.rlim_cur = (rlim_t)spare + 1;
    setrlimit(RLIMIT_NOFILE, &low);
    say(w, &c, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    for (int i = 0; i < 50; i++)
        turn(w);
    assert_int_equal(http_connections(w->server), 0);
    setrlimit(RLIMIT_NOFILE, &before);
    until(w, has(&c, "hello"));
    close(spare);
    hang_up(&c);
}

static void closing_ends_what_is_left(void **state)
{
    struct world *w = *state;
    struct client c = dial(w), d = dial(w);
    say(w, &c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    say(w, &d, "GET /hello HTT");
    until(w, w->rec.kept != NULL && http_connections(w->server) == 2);
    http_stream_start(w->rec.kept, 200, NULL, 0);
    http_close(w->server);
    assert_int_equal(w->rec.ends, 1);
    assert_int_equal(w->rec.completed, 0);
    turn(w);
    struct error e;
    assert_int_equal(http_open(w->base, "127.0.0.1:0", &roomy, &app, w, &w->server, &e), 0);
    hang_up(&c);
    hang_up(&d);
}

static void only_numeric_addresses_with_a_port_are_listened_on(void **state)
{
    struct world *w = *state;
    static const char *const bad[] = {
        "",           "8080",    "localhost:1", "127.0.0.1",   "[::1]",   "::1",         "::1:80",
        "127.0.0.1:", "1.2.3:4", "[::1]:70000", "127.0.0.1:x", "[::1:80", "127.0.0.1:1 "};
    struct http_server *s;
    struct error e;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(http_open(w->base, bad[i], &roomy, &app, w, &s, &e), ERR_INVALID);
        assert_null(s);
    }
    assert_int_equal(http_open(w->base, http_address(w->server), &roomy, &app, w, &s, &e), ERR_IO);
    assert_non_null(strstr(e.text, "in use"));
    assert_int_equal(http_open(w->base, ":0", &roomy, &app, w, &s, &e), 0);
    struct http_server *first = w->server;
    w->server = s;
    struct client c = dial(w);
    say(w, &c, "GET /about HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, has(&c, " 127.0.0.1")); /* not ::ffff:127.0.0.1 */
    hang_up(&c);
    w->server = first;
    http_close(s);
}

#define a_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        a_test(a_request_gets_its_reply),
        a_test(requests_sent_ahead_get_their_replies_in_order),
        a_test(a_request_cut_at_any_byte_reads_the_same),
        a_test(what_two_readers_could_read_differently_is_refused),
        a_test(a_nul_in_the_head_is_refused),
        a_test(a_head_too_large_or_with_too_many_fields_is_431),
        a_test(a_target_with_scheme_and_host_is_its_path),
        a_test(options_may_ask_for_a_star),
        a_test(bytes_that_trickle_do_not_extend_the_head_time),
        a_test(bytes_that_trickle_do_not_extend_the_body_time),
        a_test(an_idle_connection_is_closed_without_a_word),
        a_test(a_client_that_leaves_before_the_reply_is_seen),
        a_test(a_client_that_leaves_during_a_stream_is_seen),
        a_test(a_client_that_leaves_in_the_body_is_seen),
        a_test(a_client_that_sent_too_much_ahead_and_left_is_seen),
        a_test(what_is_sent_ahead_is_not_read_without_bound),
        a_test(a_client_that_takes_slowly_is_not_cut),
        a_test(what_is_not_taken_is_told_and_drained),
        a_test(a_stream_goes_on_when_it_is_drained),
        a_test(a_client_that_takes_nothing_is_cut),
        a_test(an_early_reply_reaches_a_client_that_is_still_sending),
        a_test(nobody_is_waited_for_beyond_a_bound),
        a_test(continue_is_said_when_the_body_is_wanted),
        a_test(a_body_may_be_asked_for_later),
        a_test(a_request_without_a_body_has_an_empty_one),
        a_test(head_and_204_have_no_body),
        a_test(http_1_0_closes_unless_it_asks_otherwise),
        a_test(draining_closes_the_idle_and_finishes_the_others),
        a_test(a_cut_is_safe_in_every_callback),
        a_test(what_was_written_before_a_cut_still_goes_out),
        a_test(a_fault_without_a_reply_cuts_the_connection),
        a_test(a_header_value_cannot_begin_another),
        a_test(connections_past_the_limit_wait),
        a_test(running_out_of_descriptors_only_delays),
        a_test(closing_ends_what_is_left),
        a_test(only_numeric_addresses_with_a_port_are_listened_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
