/* The parser of request heads. What is refused over a socket is in test_http_server.c. */
#include "http/head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Parses an exact copy, so that a read or write past the end shows; freed by the caller. */
static char *parse(const char *text, struct head *h, bool *good)
{
    enum http_fault fault;
    const char *what = NULL;
    size_t len = strlen(text);
    char *copy = malloc(len);
    memcpy(copy, text, len);
    *good = head_parse(copy, len, 10, h, &fault, &what);
    if (!*good)
        assert_non_null(what);
    return copy;
}

static void fields_are_found_without_case_and_trimmed(void **state)
{
    (void)state;
    struct head h;
    bool good;
    char *text = parse("GET /a%20b;c?d=e?f HTTP/1.1\r\nHost:x\r\nX-A: \t one two \t\r\n"
                       "x-empty:\r\nX-A: second\r\nX-High: \xe9\xff\r\n\r\n",
                       &h, &good);
    assert_true(good);
    assert_string_equal(h.method, "GET");
    assert_string_equal(h.path, "/a%20b;c");
    assert_string_equal(h.query, "d=e?f");
    assert_int_equal(h.n_fields, 5);
    assert_string_equal(head_field(&h, "HOST"), "x");
    assert_string_equal(head_field(&h, "x-a"), "one two");
    assert_string_equal(head_field(&h, "X-Empty"), "");
    assert_string_equal(head_field(&h, "x-high"), "\xe9\xff");
    assert_null(head_field(&h, "x"));
    assert_int_equal(h.content_length, -1);
    assert_true(h.keep_alive);
    free(text);
}

static void framing_is_read_from_the_fields(void **state)
{
    (void)state;
    struct head h;
    bool good;
    free(parse("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0042\r\nExpect: 100-CONTINUE\r\n\r\n",
               &h, &good));
    assert_true(good && h.expect_continue && !h.chunked);
    assert_int_equal(h.content_length, 42);
    free(parse("POST / HTTP/1.1\r\nHost: x\r\nTRANSFER-ENCODING: Chunked\r\n\r\n", &h, &good));
    assert_true(good && h.chunked);
    free(parse("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999999999\r\n\r\n", &h,
               &good));
    assert_true(good);
    assert_int_equal(h.content_length, 999999999999999999);
}

static void keeping_alive_follows_version_and_connection(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool keep;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", true},
        {"GET / HTTP/1.7\r\nHost: x\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: x\r\nConnection: foo ,close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: x\r\nConnection: closed\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
        {"GET / HTTP/1.0\r\nExpect: anything\r\n\r\n", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct head h;
        bool good;
        free(parse(rows[i].text, &h, &good));
        assert_true(good);
        assert_int_equal(h.keep_alive, rows[i].keep);
    }
}

static void what_was_read_of_a_refused_head_stays(void **state)
{
    (void)state;
    struct head h;
    bool good;
    char *text = parse("HEAD /x?y HTTP/1.1\r\nA: 1\r\nbad line\r\n\r\n", &h, &good);
    assert_false(good);
    assert_string_equal(h.method, "HEAD");
    assert_string_equal(h.path, "/x");
    assert_string_equal(head_field(&h, "a"), "1");
    assert_null(head_field(&h, "bad"));
    free(text);
    text = parse("nonsense\r\n\r\n", &h, &good);
    assert_false(good);
    assert_string_equal(h.method, "");
    assert_string_equal(h.path, "");
    assert_null(head_field(&h, "a"));
    free(text);
}

static void a_bare_return_or_control_byte_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n",
        "GET /\r HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHo\x01st: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\x7f\r\n\r\n",
        "GET / HTTP/1.1\r\nHost\t: x\r\n\r\n",
        "GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\nmore",
        "GET /#a HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n",
        "GET / HTTP/11\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.10\r\nHost: x\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http:///x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET ftp://h/x HTTP/1.1\r\nHost: x\r\n\r\n",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\nHost: x\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct head h;
        bool good;
        free(parse(rows[i], &h, &good));
        if (good)
            fail_msg("accepted: %s", rows[i]);
    }
}

static void framing_that_can_be_read_two_ways_is_refused(void **state)
{
    (void)state;
    static const char *const fields[] = {
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: 3 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: -3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length: 3;\r\n",
        "Content-Length: 1000000000000000000\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: \r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Host: y\r\n",
        "Expect: 200-ok\r\n",
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        struct head h;
        bool good;
        char text[200];
        snprintf(text, sizeof(text), "POST / HTTP/1.1\r\nHost: x\r\n%s\r\n", fields[i]);
        free(parse(text, &h, &good));
        if (good)
            fail_msg("accepted: %s", fields[i]);
    }
}

static void the_end_is_found_however_the_bytes_come(void **state)
{
    (void)state;
    static const char text[] = "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\nGET";
    size_t at = 0, whole = 0;
    long end = 0, len = (long)sizeof(text) - 1 - 3;
    for (size_t n = 0; n < sizeof(text) && end == 0; n++)
        end = head_find_end(text, n, &at);
    assert_int_equal(end, len);
    assert_int_equal(head_find_end(text, sizeof(text) - 1, &whole), len);
    whole = 0;
    assert_int_equal(head_find_end("GET / HTTP/1.1\nHost", 19, &whole), -1);
    whole = 0;
    assert_int_equal(head_find_end("\n", 1, &whole), -1);
    whole = 0;
    assert_int_equal(head_find_end("\r\n", 2, &whole), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_found_without_case_and_trimmed),
        cmocka_unit_test(framing_is_read_from_the_fields),
        cmocka_unit_test(keeping_alive_follows_version_and_connection),
        cmocka_unit_test(what_was_read_of_a_refused_head_stays),
        cmocka_unit_test(a_bare_return_or_control_byte_is_refused),
        cmocka_unit_test(framing_that_can_be_read_two_ways_is_refused),
        cmocka_unit_test(the_end_is_found_however_the_bytes_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
