/* Requests through libcurl against a server that does each thing a server can do. */
#include "upstream_rig.h"

#include <netdb.h>
#include <pthread.h>

/* What a transfer told. */
struct heard {
    int heads, ends, status, retry_after_ms;
    char type[100], detail[300];
    enum transfer_end end;
    struct buf body;
    struct transfer *transfer;
    bool close_in_head, close_in_body, refuse_body, pause_in_body, let_go_in_body;
    bool again; /* opens another in on_end */
    struct heard *other;
    struct rig *rig;
};

static void on_head(void *arg, int status, const char *type, int retry_after_ms)
{
    struct heard *h = arg;
    h->heads++;
    h->status = status;
    h->retry_after_ms = retry_after_ms;
    snprintf(h->type, sizeof h->type, "%s", type);
    if (h->close_in_head)
        transfer_close(h->transfer);
}

static int on_body(void *arg, const char *bytes, size_t n)
{
    struct heard *h = arg;
    buf_add(&h->body, bytes, n);
    if (h->close_in_body) {
        transfer_close(h->transfer);
        transfer_close(h->transfer);
    }
    if (h->close_in_body && h->other)
        transfer_close(h->other->transfer);
    if (h->pause_in_body)
        transfer_pause(h->transfer, true);
    if (h->let_go_in_body)
        transfer_let_go(h->transfer);
    return h->refuse_body;
}

static void begin(struct rig *w, struct heard *h);

static void on_end(void *arg, enum transfer_end end, const char *detail)
{
    struct heard *h = arg;
    h->ends++;
    h->end = end;
    snprintf(h->detail, sizeof h->detail, "%s", detail);
    transfer_pause(h->transfer, true);
    transfer_close(h->transfer);
    h->transfer = NULL;
    if (h->again) {
        h->again = false;
        begin(h->rig, h);
    }
}

static const struct transfer_events events = {on_head, on_body, on_end};

static void post(struct rig *w, struct heard *h, char *body, bool stream)
{
    const char *lines[] = {"Content-Type: application/json", "X-Trace: 1", "X-Mine: ours"};
    struct error e;
    if (!h->body.max_bytes)
        buf_init(&h->body, 64 << 20);
    h->rig = w;
    int heads = h->heads, ends = h->ends;
    assert_int_equal(transfer_open(w->transfers, &w->options, "/v1/x", body, strlen(body), lines, 3,
                                   stream, &events, h, &h->transfer, &e),
                     0);
    assert_int_equal(h->heads, heads);
    assert_int_equal(h->ends, ends);
}

static void begin(struct rig *w, struct heard *h)
{
    post(w, h, mem_strdup("{\"a\":1}"), true);
}

static int set_up(void **state)
{
    struct rig *w = calloc(1, sizeof *w);
    rig_open(w);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    rig_close(*state);
    free(*state);
    return 0;
}

static void assert_body(struct heard *h, const char *text)
{
    assert_string_equal(h->body.data ? h->body.data : "", text);
}

static void assert_end(struct rig *w, struct heard *h, enum transfer_end end)
{
    until(w, h->ends);
    assert_int_equal(h->end, end);
    assert_int_equal(h->ends, 1);
    buf_done(&h->body);
}

#define OK_HEAD  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
#define CHUNKED  OK_HEAD "Transfer-Encoding: chunked\r\n\r\n"
#define WHOLE(n) OK_HEAD "Content-Length: " n "\r\n\r\n"

static void a_response_comes_whole_and_its_connection_is_used_again(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, WHOLE("5") "hel");
    until(w, h.body.len == 3);
    assert_int_equal(h.status, 200);
    assert_string_equal(h.type, "text/event-stream");
    peer_say(w, &p, "lo");
    until(w, h.ends);
    assert_int_equal(h.end, TRANSFER_COMPLETE);
    assert_string_equal(h.detail, "");
    assert_body(&h, "hello");

    struct heard again = {0};
    buf_reset(&p.got);
    begin(w, &again);
    until(w, peer_has_request(&p));
    peer_say(w, &p, CHUNKED "3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n");
    until(w, again.ends);
    assert_int_equal(again.heads, 1);
    assert_body(&again, "abc");
    assert_end(w, &again, TRANSFER_COMPLETE);
    buf_done(&h.body);
    peer_hang_up(&p);
}

static void a_request_says_what_it_must_and_nothing_else(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    struct upstream_header own[] = {{"X-Mine", "theirs"}, {"X-Empty", ""}};
    char key[] = "sk-secret";
    w->options.headers = own;
    w->options.n_headers = 2;
    w->options.key = key;
    setenv("http_proxy", "http://127.0.0.1:9", 1);
    begin(w, &h);
    struct peer p = peer_asked(w);
    unsetenv("http_proxy");
    assert_non_null(strstr(p.got.data, "POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1:"));
    assert_non_null(strstr(p.got.data, "\r\nAuthorization: Bearer sk-secret\r\n"));
    assert_non_null(strstr(p.got.data, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(p.got.data, "\r\nX-Trace: 1\r\n"));
    assert_non_null(strstr(p.got.data, "\r\nX-Mine: theirs\r\n"));
    assert_non_null(strstr(p.got.data, "\r\nX-Empty:\r\n"));
    assert_non_null(strstr(p.got.data, "\r\nContent-Length: 7\r\n"));
    assert_non_null(strstr(p.got.data, "\r\n\r\n{\"a\":1}"));
    assert_null(strstr(p.got.data, "ours"));
    assert_null(strcasestr(p.got.data, "expect"));
    assert_null(strcasestr(p.got.data, "accept-encoding"));
    assert_null(strcasestr(p.got.data, "cookie"));
    peer_say(
        w, &p,
        "HTTP/1.1 302 Found\r\nLocation: /else\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n");
    assert_end(w, &h, TRANSFER_COMPLETE);
    assert_int_equal(h.status, 302);
    peer_hang_up(&p);
}

static void a_large_request_is_sent_to_its_last_byte(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    size_t n = 5 << 20;
    char *body = mem_alloc(n + 1);
    memset(body, 'x', n);
    body[n - 1] = 'y';
    body[n] = '\0';
    post(w, &h, body, true);
    struct peer p = peer_asked(w);
    assert_int_equal(p.got.data[p.got.len - 1], 'y');
    assert_null(strcasestr(p.got.data, "expect"));
    peer_say(w, &p, WHOLE("2") "ok");
    assert_end(w, &h, TRANSFER_COMPLETE);
    peer_hang_up(&p);
}

static void interim_responses_are_not_the_reply(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
    peer_say(w, &p, "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
    assert_end(w, &h, TRANSFER_COMPLETE);
    assert_int_equal(h.heads, 1);
    assert_int_equal(h.status, 503);
    assert_int_equal(h.retry_after_ms, 7000);
    peer_hang_up(&p);
}

static int64_t a_day_in_2026(void)
{
    return 1795435200000; /* Mon, 23 Nov 2026 12:00:00 GMT */
}

static void retry_after_is_seconds_or_a_date_and_a_day_at_most(void **state)
{
    static const struct {
        const char *value;
        int ms;
    } cases[] = {{"30", 30000},
                 {" 30 ", 30000},
                 {"Mon, 23 Nov 2026 12:00:45 GMT", 45000},
                 {"Mon, 23 Nov 2026 11:00:00 GMT", 0},
                 {"99999999999999999999", 86400000},
                 {"-5", 0},
                 {"soon", 0},
                 {"", 0}};
    struct rig *w = *state;
    clock_set_unix_ms(a_day_in_2026);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct heard h = {0};
        char head[200];
        snprintf(
            head, sizeof head,
            "HTTP/1.1 429 Slow\r\nretry-after:%s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            cases[i].value);
        begin(w, &h);
        struct peer p = peer_asked(w);
        peer_say(w, &p, head);
        assert_end(w, &h, TRANSFER_COMPLETE);
        assert_int_equal(h.retry_after_ms, cases[i].ms);
        peer_hang_up(&p);
    }
    clock_set_unix_ms(NULL);
}

static void endless_header_fields_end_the_transfer(void **state)
{
    static const char *const endless[] = {"X-More: and more and more and more\r\n",
                                          "and one line that has no end", /* after a first part */
                                          "HTTP/1.1 103 Early\r\nX: y\r\n\r\n"};
    struct rig *w = *state;
    for (size_t i = 0; i < 3; i++) {
        struct heard h = {0};
        size_t sent = 0;
        begin(w, &h);
        struct peer p = peer_asked(w);
        peer_say(w, &p, i < 2 ? "HTTP/1.1 200 OK\r\nX: " : "");
        while (!h.ends && sent < 1 << 20 && peer_say(w, &p, endless[i]))
            sent += strlen(endless[i]);
        assert_end(w, &h, TRANSFER_LIMIT);
        assert_int_equal(h.heads, 0);
        until(w, peer_gone(&p));
        peer_hang_up(&p);
    }
}

static void endless_trailers_end_the_transfer(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, CHUNKED "1\r\na\r\n0\r\n");
    for (int i = 0; i < 10000 && !h.ends && peer_say(w, &p, "X-Trailer: 12345678901234567890\r\n");)
        i++;
    assert_end(w, &h, TRANSFER_LIMIT);
    peer_hang_up(&p);
}

static void a_port_without_a_server_refuses(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    int fd = listen_somewhere();
    char url[64], said[100];
    snprintf(url, sizeof url, "http://127.0.0.1:%d", port_of(fd));
    snprintf(said, sizeof said, "connect to 127.0.0.1:%d failed: Connection refused", port_of(fd));
    close(fd);
    w->options.url = url;
    begin(w, &h);
    assert_end(w, &h, TRANSFER_REFUSED);
    assert_string_equal(h.detail, said);
}

static void a_dead_proxy_refuses(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    int fd = listen_somewhere();
    char proxy[64];
    snprintf(proxy, sizeof proxy, "http://127.0.0.1:%d", port_of(fd));
    close(fd);
    w->options.proxy = proxy;
    begin(w, &h);
    assert_end(w, &h, TRANSFER_REFUSED);
}

static void a_proxy_that_refuses_a_tunnel_is_no_connection(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    w->options.proxy = w->url;
    w->options.url = "https://upstream.example";
    begin(w, &h);
    struct peer p = peer_accept(w);
    until(w, peer_has(&p, "\r\n\r\n"));
    assert_true(peer_has(&p, "CONNECT upstream.example:443"));
    peer_say(w, &p, "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n");
    assert_end(w, &h, TRANSFER_REFUSED);
    assert_int_equal(h.heads, 0);
    peer_hang_up(&p);
}

static void a_server_without_tls_is_an_error_of_tls(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    char url[80];
    snprintf(url, sizeof url, "https%s", w->url + 4);
    w->options.url = url;
    begin(w, &h);
    struct peer p = peer_accept(w);
    peer_say(w, &p, "HTTP/1.1 400 Bad Request\r\n\r\nthis is no TLS\n");
    assert_end(w, &h, TRANSFER_TLS);
    peer_hang_up(&p);
}

static void a_connection_closed_without_a_reply_is_a_reset(void **state)
{
    struct rig *w = *state;
    for (int i = 0; i < 2; i++) {
        struct heard h = {0};
        begin(w, &h);
        struct peer p = peer_asked(w);
        if (i)
            peer_reset(&p);
        else
            peer_hang_up(&p);
        assert_end(w, &h, TRANSFER_RESET);
        assert_int_equal(h.heads, 0);
        assert_non_null(strstr(h.detail, w->url + 7));
    }
}

static void a_reply_cut_in_the_middle_is_a_reset(void **state)
{
    static const char *const cut[] = {WHOLE("100") "abc", CHUNKED "3\r\nabc\r\n",
                                      CHUNKED "9\r\nabc"};
    struct rig *w = *state;
    for (int i = 0; i < 6; i++) {
        struct heard h = {0};
        begin(w, &h);
        struct peer p = peer_asked(w);
        peer_say(w, &p, cut[i / 2]);
        until(w, h.body.len == 3);
        if (i % 2)
            peer_reset(&p);
        else
            peer_hang_up(&p);
        assert_end(w, &h, TRANSFER_RESET);
    }
}

static void a_body_without_a_length_ends_with_the_connection(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, "HTTP/1.0 200 OK\r\n\r\nabc");
    until(w, h.body.len == 3);
    assert_string_equal(h.type, "");
    peer_hang_up(&p);
    assert_end(w, &h, TRANSFER_COMPLETE);
}

static void what_is_no_http_is_garbage(void **state)
{
    static const char *const garbage[] = {"SSH-2.0-OpenSSH_9.2\r\n",
                                          "\0\1\2\3 binary, and a lot of it",
                                          CHUNKED "zz\r\nabc\r\n", "<html>hello</html>\r\n\r\n"};
    struct rig *w = *state;
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        struct heard h = {0};
        begin(w, &h);
        struct peer p = peer_asked(w);
        peer_say_bytes(w, &p, garbage[i], i == 1 ? 28 : strlen(garbage[i]));
        peer_hang_up(&p);
        until(w, h.ends);
        assert_string_equal(h.body.data ? h.body.data : "", "");
        assert_end(w, &h, TRANSFER_GARBAGE);
    }
}

static void a_body_that_is_not_taken_ends_the_transfer(void **state)
{
    struct rig *w = *state;
    struct heard h = {.refuse_body = true};
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, CHUNKED "3\r\nabc\r\n");
    assert_end(w, &h, TRANSFER_LIMIT);
    until(w, peer_gone(&p));
    peer_hang_up(&p);
}

static void a_handshake_that_hangs_is_a_connection_that_takes_too_long(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    char url[80];
    snprintf(url, sizeof url, "https%s", w->url + 4);
    w->options.url = url;
    w->options.connect_ms = 50;
    begin(w, &h);
    struct peer p = peer_accept(w);
    assert_end(w, &h, TRANSFER_CONNECT_TIMEOUT);
    until(w, peer_gone(&p));
    peer_hang_up(&p);
}

static void silence_before_the_first_byte_is_told_apart(void **state)
{
    static const char *const before[] = {"", "HTTP/1.1 100 Continue\r\n\r\n", CHUNKED};
    struct rig *w = *state;
    w->options.first_byte_ms = 50;
    for (size_t i = 0; i < 3; i++) {
        struct heard h = {0};
        begin(w, &h);
        struct peer p = peer_asked(w);
        peer_say(w, &p, before[i]);
        assert_end(w, &h, TRANSFER_FIRST_BYTE_TIMEOUT);
        until(w, peer_gone(&p));
        peer_hang_up(&p);
    }
}

static void a_request_that_nobody_takes_is_given_up(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    size_t n = 32 << 20;
    char *body = mem_alloc(n + 1);
    memset(body, 'x', n);
    body[n] = '\0';
    w->options.first_byte_ms = 400;
    post(w, &h, body, true);
    struct peer p = peer_accept(w);
    assert_end(w, &h, TRANSFER_FIRST_BYTE_TIMEOUT);
    assert_non_null(strstr(h.detail, "not taken"));
    peer_hang_up(&p);
}

static void silence_in_the_middle_is_told_apart(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    w->options.idle_ms = 50;
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, CHUNKED "1\r\na\r\n");
    assert_end(w, &h, TRANSFER_IDLE_TIMEOUT);
    until(w, peer_gone(&p));
    peer_hang_up(&p);
}

static void a_whole_reply_may_be_silent_but_a_refusal_may_not(void **state)
{
    struct rig *w = *state;
    w->options.idle_ms = w->options.first_byte_ms = 40;
    for (int refusal = 0; refusal < 2; refusal++) {
        struct heard h = {0};
        post(w, &h, mem_strdup("{}"), false);
        struct peer p = peer_asked(w);
        pass_ms(w, 100);
        peer_say(w, &p, refusal ? "HTTP/1.1 500 E\r\nContent-Length: 2\r\n\r\na" : WHOLE("2") "a");
        until(w, h.body.len == 1);
        if (refusal) {
            assert_end(w, &h, TRANSFER_IDLE_TIMEOUT);
        } else {
            pass_ms(w, 100);
            peer_say(w, &p, "b");
            assert_end(w, &h, TRANSFER_COMPLETE);
        }
        peer_hang_up(&p);
    }
}

static void the_total_limit_counts_from_the_start(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    w->options.total_ms = 120;
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, CHUNKED);
    while (!h.ends && peer_say(w, &p, "1\r\na\r\n"))
        pass_ms(w, 5);
    assert_end(w, &h, TRANSFER_TOTAL_TIMEOUT);
    peer_hang_up(&p);
}

static void a_transfer_closed_while_it_waits_closes_its_connection(void **state)
{
    static const char *const before[] = {"", "HTTP/1.1 200", CHUNKED, CHUNKED "1\r\na\r\n"};
    struct rig *w = *state;
    for (size_t i = 0; i < 4; i++) {
        struct heard h = {0};
        begin(w, &h);
        struct peer p = peer_asked(w);
        peer_say(w, &p, before[i]);
        until(w, i < 3 || h.body.len);
        transfer_close(h.transfer);
        assert_true(peer_gone(&p)); /* without another turn of the loop */
        assert_int_equal(h.ends, 0);
        buf_done(&h.body);
        peer_hang_up(&p);
    }
}

static void a_transfer_closed_before_it_began_opens_nothing(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    struct peer p;
    begin(w, &h);
    transfer_close(h.transfer);
    pass_ms(w, 20);
    assert_false(try_accept(w, &p));
    assert_int_equal(h.ends, 0);
}

static void a_transfer_closed_in_the_handshake_closes_its_connection(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    char url[80];
    snprintf(url, sizeof url, "https%s", w->url + 4);
    w->options.url = url;
    begin(w, &h);
    struct peer p = peer_accept(w);
    until(w, p.got.len || (peer_receive(&p), p.got.len));
    transfer_close(h.transfer);
    assert_true(peer_gone(&p));
    peer_hang_up(&p);
}

static void a_transfer_closed_in_its_own_callbacks_closes_its_connection(void **state)
{
    struct rig *w = *state;
    for (int i = 0; i < 2; i++) {
        struct heard h = {.close_in_head = i == 0, .close_in_body = i == 1};
        begin(w, &h);
        struct peer p = peer_asked(w);
        peer_say(w, &p, CHUNKED "1\r\na\r\n1\r\nb\r\n");
        until(w, peer_gone(&p));
        assert_int_equal(h.heads, 1);
        assert_int_equal(h.body.len, i);
        assert_int_equal(h.ends, 0);
        buf_done(&h.body);
        peer_hang_up(&p);
    }
}

static void a_transfer_closed_in_anothers_callback_closes_its_connection(void **state)
{
    struct rig *w = *state;
    struct heard one = {.close_in_body = true}, other = {0};
    begin(w, &one);
    struct peer p = peer_asked(w);
    begin(w, &other);
    struct peer q = peer_asked(w);
    one.other = &other;
    peer_say(w, &q, CHUNKED "1\r\na\r\n");
    peer_say(w, &p, CHUNKED "1\r\na\r\n");
    until(w, peer_gone(&p) && peer_gone(&q));
    assert_int_equal(one.ends + other.ends, 0);
    buf_done(&one.body);
    buf_done(&other.body);
    peer_hang_up(&p);
    peer_hang_up(&q);
}

/* The resolver's thread hangs in here for one name until it is let go; others are not found. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool asked, answer, answered;

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    (void)service;
    (void)hints;
    *out = NULL;
    if (strcmp(name, "slow.example") == 0) {
        pthread_mutex_lock(&lock);
        asked = true;
        while (!answer)
            pthread_cond_wait(&changed, &lock);
        answered = true;
        pthread_mutex_unlock(&lock);
    }
    return EAI_NONAME;
}

static bool read_flag(const bool *flag)
{
    pthread_mutex_lock(&lock);
    bool value = *flag;
    pthread_mutex_unlock(&lock);
    return value;
}

static void a_name_that_is_not_found_is_told_apart(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    w->options.url = "http://nowhere.example:8000";
    begin(w, &h);
    assert_end(w, &h, TRANSFER_NO_NAME);
    assert_non_null(strstr(h.detail, "nowhere.example:8000"));
}

static void a_slow_resolver_holds_nobody(void **state)
{
    struct rig *w = *state;
    struct heard late = {0}, gone = {0}, served[2] = {{0}, {0}};
    struct upstream_options good = w->options;
    begin(w, &served[0]);
    struct peer p = peer_asked(w);
    peer_say(w, &p, WHOLE("0"));
    assert_end(w, &served[0], TRANSFER_COMPLETE);
    int descriptors = open_descriptors();
    w->options.url = "http://slow.example";
    w->options.connect_ms = 50;
    begin(w, &late);
    assert_end(w, &late, TRANSFER_CONNECT_TIMEOUT);
    w->options.connect_ms = 60000;
    begin(w, &gone);
    until(w, read_flag(&asked));
    transfer_close(gone.transfer);
    w->options = good;
    buf_reset(&p.got);
    begin(w, &served[1]);
    until(w, peer_has_request(&p));
    peer_say(w, &p, WHOLE("0"));
    assert_end(w, &served[1], TRANSFER_COMPLETE);
    assert_false(read_flag(&answered));
    pthread_mutex_lock(&lock);
    answer = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    until(w, read_flag(&answered));
    until(w, open_descriptors() == descriptors); /* the threads have ended as well */
    peer_hang_up(&p);
}

static void a_paused_transfer_holds_one_buffer_and_loses_nothing(void **state)
{
    static char bytes[1 << 20];
    struct rig *w = *state;
    struct heard h = {.pause_in_body = true};
    size_t sent = 0;
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, WHOLE("1048576"));
    memset(bytes, 'x', sizeof bytes);
    int quiet = 0;
    while (quiet < 100 && sent < sizeof bytes) { /* until the kernel's buffers are full */
        ssize_t n = send(p.fd, bytes, sizeof bytes - sent, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        quiet = n > 0 ? 0 : quiet + 1;
        event_base_loop(w->base, EVLOOP_NONBLOCK);
        poll(NULL, 0, n > 0 ? 0 : 1);
    }
    assert_true(h.body.len > 0 && h.body.len <= 16384);
    size_t held = h.body.len;
    transfer_pause(h.transfer, false);
    assert_int_equal(h.body.len, held); /* nothing comes from inside */
    until(w, h.body.len > held);
    assert_true(h.body.len <= held + 2 * 16384);
    h.pause_in_body = false;
    transfer_pause(h.transfer, false);
    peer_say_bytes(w, &p, bytes, sizeof bytes - sent);
    until(w, h.ends);
    assert_int_equal(h.body.len, sizeof bytes);
    assert_end(w, &h, TRANSFER_COMPLETE);
    peer_hang_up(&p);
}

static void time_in_a_pause_does_not_count(void **state)
{
    struct rig *w = *state;
    struct heard h = {.pause_in_body = true};
    w->options.idle_ms = 60;
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, CHUNKED "1\r\na\r\n");
    until(w, h.body.len == 1);
    peer_say(w, &p, "1\r\nb\r\n");
    pass_ms(w, 200);
    assert_int_equal(h.ends, 0);
    assert_int_equal(h.body.len, 1);
    h.pause_in_body = false;
    transfer_pause(h.transfer, false);
    until(w, h.body.len == 2);
    assert_end(w, &h, TRANSFER_IDLE_TIMEOUT);
    peer_hang_up(&p);
}

static void a_paused_transfer_closes_its_connection(void **state)
{
    struct rig *w = *state;
    for (int i = 0; i < 3; i++) {
        struct heard h = {.pause_in_body = true};
        begin(w, &h);
        struct peer p = peer_asked(w);
        peer_say(w, &p, CHUNKED "1\r\na\r\n");
        until(w, h.body.len == 1);
        peer_say(w, &p, "1\r\nb\r\n");
        pass_ms(w, 10);
        if (i) /* on its way to go on */
            transfer_pause(h.transfer, false);
        if (i < 2) {
            transfer_close(h.transfer);
            assert_true(peer_gone(&p));
        } else {
            h.close_in_body = true; /* when what was held back is handed out */
            until(w, peer_gone(&p));
            assert_string_equal(h.body.data, "ab");
        }
        buf_done(&h.body);
        peer_hang_up(&p);
    }
}

static void what_was_held_back_may_be_refused(void **state)
{
    struct rig *w = *state;
    struct heard h = {.pause_in_body = true};
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, CHUNKED "1\r\na\r\n");
    until(w, h.body.len == 1);
    peer_say(w, &p, "1\r\nb\r\n");
    pass_ms(w, 10);
    h.refuse_body = true;
    transfer_pause(h.transfer, false);
    assert_end(w, &h, TRANSFER_LIMIT);
    until(w, peer_gone(&p));
    peer_hang_up(&p);
}

static void a_kept_connection_that_is_dead_is_replaced(void **state)
{
    struct rig *w = *state;
    for (int i = 0; i < 2; i++) {
        struct heard first = {0}, second = {0};
        begin(w, &first);
        struct peer p = peer_asked(w);
        peer_say(w, &p, WHOLE("0"));
        assert_end(w, &first, TRANSFER_COMPLETE);
        if (i == 0) { /* it dies while nobody uses it */
            peer_hang_up(&p);
            pass_ms(w, 5);
            begin(w, &second);
        } else { /* it dies with the next request under way */
            buf_reset(&p.got);
            begin(w, &second);
            until(w, peer_has_request(&p));
            peer_hang_up(&p);
        }
        struct peer q = peer_asked(w);
        assert_non_null(strstr(q.got.data, "{\"a\":1}"));
        peer_say(w, &q, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        assert_end(w, &second, TRANSFER_COMPLETE);
        peer_hang_up(&q);
    }
}

static void a_reply_let_go_keeps_its_connection_if_it_ends_soon(void **state)
{
    struct rig *w = *state;
    struct heard h = {.let_go_in_body = true}, next = {0};
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, CHUNKED "1\r\na\r\n");
    until(w, h.body.len == 1);
    peer_say(w, &p, "1\r\nb\r\n0\r\n\r\n");
    pass_ms(w, 10);
    assert_int_equal(h.body.len, 1);
    assert_int_equal(h.ends, 0);
    buf_reset(&p.got);
    begin(w, &next);
    until(w, peer_has_request(&p));
    peer_say(w, &p, WHOLE("0"));
    assert_end(w, &next, TRANSFER_COMPLETE);
    buf_done(&h.body);
    peer_hang_up(&p);
}

static void a_reply_let_go_that_does_not_end_is_closed(void **state)
{
    struct rig *w = *state;
    for (int i = 0; i < 2; i++) {
        struct heard h = {.let_go_in_body = true};
        begin(w, &h);
        struct peer p = peer_asked(w);
        peer_say(w, &p, CHUNKED "1\r\na\r\n");
        for (int n = 0; i && n < 1000 && peer_say(w, &p, "200\r\n"); n++) {
            char bytes[0x202];
            memset(bytes, 'x', 0x200);
            memcpy(bytes + 0x200, "\r\n", 2);
            if (!peer_say_bytes(w, &p, bytes, sizeof bytes))
                break;
        }
        until(w, peer_gone(&p));
        assert_int_equal(h.ends, 0);
        buf_done(&h.body);
        peer_hang_up(&p);
    }
}

static void a_transfer_may_be_opened_where_another_ends(void **state)
{
    struct rig *w = *state;
    struct heard h = {.again = true};
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, WHOLE("1") "a");
    until(w, h.ends == 1);
    buf_reset(&p.got);
    until(w, peer_has_request(&p));
    peer_say(w, &p, WHOLE("1") "b");
    until(w, h.ends == 2);
    assert_body(&h, "ab");
    buf_done(&h.body);
    peer_hang_up(&p);
}

static void many_transfers_run_at_once(void **state)
{
    enum { N = 1200 };
    static struct heard h[N];
    static struct peer p[N];
    struct rig *w = *state;
    may_open_descriptors(2 * N + 100);
    for (int round = 0; round < 2; round++) { /* the second on kept connections */
        memset(h, 0, sizeof h);
        for (int i = 0; i < N; i++)
            begin(w, &h[i]);
        for (int i = 0; i < N && round == 0; i++)
            p[i] = peer_accept(w);
        for (int i = 0; i < N; i++) {
            until(w, peer_has_request(&p[i]));
            buf_reset(&p[i].got);
        }
        for (int i = 0; i < N; i++)
            peer_say(w, &p[i], CHUNKED "3\r\nabc\r\n");
        for (int i = 0; i < N; i++)
            peer_say(w, &p[i], "0\r\n\r\n");
        for (int i = 0; i < N; i++) {
            until(w, h[i].ends);
            assert_body(&h[i], "abc");
            assert_end(w, &h[i], TRANSFER_COMPLETE);
        }
    }
    for (int i = 0; i < N; i++)
        peer_hang_up(&p[i]);
}

static void what_still_runs_is_closed_with_the_transfers(void **state)
{
    struct rig *w = *state;
    struct heard h[3] = {{0}, {.let_go_in_body = true}, {.pause_in_body = true}};
    struct peer p[3];
    struct error e;
    for (int i = 0; i < 3; i++) {
        begin(w, &h[i]);
        p[i] = peer_asked(w);
        peer_say(w, &p[i], CHUNKED "1\r\na\r\n");
        until(w, h[i].body.len == 1);
    }
    transfers_close(w->transfers);
    for (int i = 0; i < 3; i++) {
        assert_true(peer_gone(&p[i]));
        assert_int_equal(h[i].ends, 0);
        buf_done(&h[i].body);
        peer_hang_up(&p[i]);
    }
    assert_int_equal(transfers_open(w->base, &w->transfers, &e), 0);
}

#define a_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        a_test(a_response_comes_whole_and_its_connection_is_used_again),
        a_test(a_request_says_what_it_must_and_nothing_else),
        a_test(a_large_request_is_sent_to_its_last_byte),
        a_test(interim_responses_are_not_the_reply),
        a_test(retry_after_is_seconds_or_a_date_and_a_day_at_most),
        a_test(endless_header_fields_end_the_transfer),
        a_test(endless_trailers_end_the_transfer),
        a_test(a_port_without_a_server_refuses),
        a_test(a_dead_proxy_refuses),
        a_test(a_proxy_that_refuses_a_tunnel_is_no_connection),
        a_test(a_server_without_tls_is_an_error_of_tls),
        a_test(a_connection_closed_without_a_reply_is_a_reset),
        a_test(a_reply_cut_in_the_middle_is_a_reset),
        a_test(a_body_without_a_length_ends_with_the_connection),
        a_test(what_is_no_http_is_garbage),
        a_test(a_body_that_is_not_taken_ends_the_transfer),
        a_test(a_handshake_that_hangs_is_a_connection_that_takes_too_long),
        a_test(silence_before_the_first_byte_is_told_apart),
        a_test(a_request_that_nobody_takes_is_given_up),
        a_test(silence_in_the_middle_is_told_apart),
        a_test(a_whole_reply_may_be_silent_but_a_refusal_may_not),
        a_test(the_total_limit_counts_from_the_start),
        a_test(a_transfer_closed_while_it_waits_closes_its_connection),
        a_test(a_transfer_closed_before_it_began_opens_nothing),
        a_test(a_transfer_closed_in_the_handshake_closes_its_connection),
        a_test(a_transfer_closed_in_its_own_callbacks_closes_its_connection),
        a_test(a_transfer_closed_in_anothers_callback_closes_its_connection),
        a_test(a_name_that_is_not_found_is_told_apart),
        a_test(a_slow_resolver_holds_nobody),
        a_test(a_paused_transfer_holds_one_buffer_and_loses_nothing),
        a_test(time_in_a_pause_does_not_count),
        a_test(a_paused_transfer_closes_its_connection),
        a_test(what_was_held_back_may_be_refused),
        a_test(a_kept_connection_that_is_dead_is_replaced),
        a_test(a_reply_let_go_keeps_its_connection_if_it_ends_soon),
        a_test(a_reply_let_go_that_does_not_end_is_closed),
        a_test(a_transfer_may_be_opened_where_another_ends),
        a_test(many_transfers_run_at_once),
        a_test(what_still_runs_is_closed_with_the_transfers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
