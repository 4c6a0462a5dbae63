/*
 * What a request may look like and what its reply looks like, over real sockets.
 */
#include "http_rig.h"

#include "base/net.h"
#include "http/forwarded.h"

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

static void the_body_of_any_method_is_read(void **state)
{
    struct world *w = *state;
    static const char *const methods[] = {"PUT", "PATCH", "DELETE", "POST", "GET", "OPTIONS"};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        char request[200];
        struct client c = dial(w);
        snprintf(request, sizeof(request),
                 "%s /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{\"a\"}"
                 "%s /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "3\r\nbcd\r\n0\r\n\r\n"
                 "%s /echo HTTP/1.1\r\nHost: x\r\n\r\n",
                 methods[i], methods[i], methods[i]);
        say(w, &c, request);
        until(w, count(&c, "HTTP/1.1 200 OK") == 3);
        assert_true(has(&c, "{\"a\"}HTTP/1.1"));
        assert_true(has(&c, "bcdHTTP/1.1"));
        hang_up(&c);
    }
    assert_int_equal(w->rec.bodies, 18);
    assert_int_equal(w->rec.completed, 18);
}

static void only_trusted_proxies_say_whom_a_request_is_from(void **state)
{
    struct world *w = *state;
    struct net_list here, nowhere;
    struct forwarded from;
    struct client c = dial(w);
    assert_int_equal(net_list_parse("127.0.0.0/8", &here, NULL), 0);
    assert_int_equal(net_list_parse("10.0.0.0/8", &nowhere, NULL), 0);
    /* The second field is the proxy's, the first was the client's. */
    say(w, &c,
        "GET /wait HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.66\r\n"
        "x-forwarded-proto: https\r\nX-FORWARDED-FOR: 198.51.100.7\r\n\r\n");
    until(w, w->rec.kept != NULL);
    http_forwarded(w->rec.kept, &here, &from);
    assert_string_equal(from.address, "198.51.100.7");
    assert_true(from.https);
    http_forwarded(w->rec.kept, &nowhere, &from);
    assert_string_equal(from.address, "127.0.0.1");
    assert_false(from.https);
    reply_text(w->rec.kept, 200, "bye");
    until(w, has(&c, "bye"));
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

static void a_second_authorization_is_refused(void **state)
{
    struct world *w = *state;
    struct client c = dial(w);
    say(w, &c,
        "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\n"
        "authorization: Bearer b\r\n\r\n");
    until(w, has(&c, "HTTP/1.1 400"));
    hang_up(&c);
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

static void a_header_value_cannot_begin_another(void **state)
{
    struct world *w = *state;
    struct client c = dial(w);
    say(w, &c, "GET /split HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, has(&c, "X-Copy: a  X-Evil: 1\r\n"));
    hang_up(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        a_test(a_request_gets_its_reply),
        a_test(requests_sent_ahead_get_their_replies_in_order),
        a_test(the_body_of_any_method_is_read),
        a_test(only_trusted_proxies_say_whom_a_request_is_from),
        a_test(a_request_cut_at_any_byte_reads_the_same),
        a_test(what_two_readers_could_read_differently_is_refused),
        a_test(a_second_authorization_is_refused),
        a_test(a_nul_in_the_head_is_refused),
        a_test(a_head_too_large_or_with_too_many_fields_is_431),
        a_test(a_target_with_scheme_and_host_is_its_path),
        a_test(options_may_ask_for_a_star),
        a_test(continue_is_said_when_the_body_is_wanted),
        a_test(a_body_may_be_asked_for_later),
        a_test(a_request_without_a_body_has_an_empty_one),
        a_test(head_and_204_have_no_body),
        a_test(http_1_0_closes_unless_it_asks_otherwise),
        a_test(a_header_value_cannot_begin_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
