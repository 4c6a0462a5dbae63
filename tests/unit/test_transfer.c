/* What a server can answer, and how a transfer tells it. */
#include "transfer_rig.h"

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
