/* Server-sent events: lines, fields and ceilings, however the bytes are split. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/sse.h"

enum { MAX_BYTES = 200 };

/* What was told, as text: "name|data;" for each event. */
struct told {
    struct buf text;
    int events, stop_at, stop_with;
};

static int tell(void *arg, const char *name, const char *data, size_t len)
{
    struct told *t = arg;
    buf_adds(&t->text, name);
    buf_addc(&t->text, '|');
    buf_add(&t->text, data, len);
    buf_addc(&t->text, ';');
    return ++t->events == t->stop_at ? t->stop_with : 0;
}

/* Feeds a copy that ends where the bytes end, so that a read past them shows. */
static int feed_copy(struct sse *s, const char *bytes, size_t n, struct told *t)
{
    char *copy = malloc(n > 0 ? n : 1);
    memcpy(copy, bytes, n);
    int rc = sse_feed(s, copy, n, tell, t);
    free(copy);
    return rc;
}

static int feed_in_steps(const char *bytes, size_t n, size_t first, size_t step, struct told *t)
{
    struct sse s;
    int rc = 0;
    *t = (struct told){0};
    buf_init(&t->text, 1 << 20);
    buf_adds(&t->text, "");
    sse_init(&s, MAX_BYTES);
    for (size_t at = 0; rc == 0 && at < n;) {
        size_t part = at == 0 ? first : step;
        part = part < n - at ? part : n - at;
        rc = feed_copy(&s, bytes + at, part, t);
        at += part;
    }
    if (rc == 0)
        rc = sse_end(&s, tell, t);
    sse_done(&s);
    return rc;
}

static void check_bytes(const char *bytes, size_t n, const char *wanted, int wanted_rc)
{
    struct told t;
    for (size_t first = 0; first <= n; first++) {
        assert_int_equal(feed_in_steps(bytes, n, first > 0 ? first : 1, first > 0 ? n : 1, &t),
                         wanted_rc);
        assert_string_equal(t.text.data, wanted);
        buf_done(&t.text);
    }
}

static void check(const char *bytes, const char *wanted)
{
    check_bytes(bytes, strlen(bytes), wanted, 0);
}

static void an_event_split_at_any_byte_is_the_same_event(void **state)
{
    (void)state;
    check("data: {\"a\":1}\n\ndata: {\"b\":\"\xe4\xb8\xad\"}\n\ndata: [DONE]\n\n",
          "|{\"a\":1};|{\"b\":\"\xe4\xb8\xad\"};|[DONE];");
}

static void lines_end_in_lf_crlf_or_cr(void **state)
{
    (void)state;
    check("data: a\r\n\r\ndata: b\r\rdata: c\n\ndata: d\r\n\n", "|a;|b;|c;|d;");
    check("\r\n\r\n\n\rdata: a\r\n\r\n", "|a;");
}

static void the_lines_of_one_data_are_joined_by_lf(void **state)
{
    (void)state;
    check("data: {\ndata:  \"a\": 1\ndata\ndata:}\n\n", "|{\n \"a\": 1\n\n};");
    check("data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", "|a\nb;|c;");
}

static void one_space_behind_the_colon_is_none_of_the_value(void **state)
{
    (void)state;
    check("data:a\n\ndata: b\n\ndata:  c\n\n", "|a;|b;| c;");
}

static void a_data_line_without_value_is_an_event_without_text(void **state)
{
    (void)state;
    check("data\n\ndata:\n\ndata: \n\n", "|;|;|;");
}

static void comments_and_other_fields_are_skipped(void **state)
{
    (void)state;
    check(": OPENROUTER PROCESSING\n\n: keep-alive\ndata: a\n:\nid: 7\nretry: 10\ndatum: x\n"
          "Data: y\n data: z\n\n:\n\n",
          "|a;");
}

static void an_event_has_the_name_that_stands_with_it(void **state)
{
    (void)state;
    check("event: error\ndata: a\n\ndata: b\n\nevent:x\n\ndata: c\n\ndata: d\nevent: late\n\n",
          "error|a;|b;|c;late|d;");
}

static void a_long_name_is_cut(void **state)
{
    (void)state;
    check("event: 0123456789012345678901234567890123456789\ndata: a\n\n",
          "0123456789012345678901234567890|a;");
}

static void a_byte_order_mark_is_skipped_once(void **state)
{
    (void)state;
    check("\xef\xbb\xbf"
          "data: a\n\n\xef\xbb\xbf"
          "data: b\n\ndata: c\n\n",
          "|a;|c;");
    check("\xef\xbb\xbf\n\xef\xbb\xbf"
          "data: b\n\n",
          "");
}

static void an_event_cut_by_the_end_is_told(void **state)
{
    (void)state;
    check("data: a\n\ndata: [DONE]", "|a;|[DONE];");
    check("data: a\n\ndata: [DONE]\n", "|a;|[DONE];");
    check("data: a\r", "|a;");
    check("event: x\nda", "");
}

static void a_nul_is_a_byte_like_any_other(void **state)
{
    struct told t;
    (void)state;
    assert_int_equal(feed_in_steps("data: a\0b\n\n", 11, 11, 1, &t), 0);
    assert_int_equal(t.text.len, 5);
    assert_memory_equal(t.text.data, "|a\0b;", 5);
    buf_done(&t.text);
}

/* A stream with one line of `n` bytes between two good events. */
static size_t long_line(char *out, const char *start, size_t n)
{
    size_t at = 0;
    memcpy(out, "data: a\n\n", 9);
    at += 9;
    memset(out + at, 'x', n);
    memcpy(out + at, start, strlen(start));
    at += n;
    memcpy(out + at, "\n\ndata: b\n\n", 11);
    return at + 11;
}

static void a_line_past_the_ceiling_is_refused_however_it_is_split(void **state)
{
    char bytes[MAX_BYTES + 100], wanted[MAX_BYTES + 100];
    struct told t;
    (void)state;
    size_t n = long_line(bytes, "data: ", MAX_BYTES + 1);
    check_bytes(bytes, n, "|a;", ERR_LIMIT);
    n = long_line(bytes, ": ", MAX_BYTES + 1);
    check_bytes(bytes, n, "|a;", ERR_LIMIT);
    n = long_line(bytes, "data: ", MAX_BYTES);
    memset(wanted, 'x', sizeof wanted);
    memcpy(wanted, "|a;|", 4);
    memcpy(wanted + 4 + MAX_BYTES - 6, ";|b;", 5);
    check_bytes(bytes, n, wanted, 0);
    assert_int_equal(feed_in_steps(bytes, 9 + 50, 9 + 50, 1, &t), 0);
    buf_done(&t.text);
}

static void data_past_the_ceiling_is_refused_however_it_is_split(void **state)
{
    char bytes[2 * MAX_BYTES];
    (void)state;
    memset(bytes, 'x', sizeof bytes);
    memcpy(bytes, "data: ", 6);
    memcpy(bytes + MAX_BYTES / 2, "\ndata: ", 7);
    memcpy(bytes + MAX_BYTES + 30, "\n\n", 2);
    check_bytes(bytes, MAX_BYTES + 32, "", ERR_LIMIT);
}

static void the_reader_can_stop_the_reading(void **state)
{
    struct sse s;
    struct told t = {.stop_at = 2, .stop_with = ERR_CANCELLED};
    const char *bytes = "data: a\n\ndata: b\n\ndata: c\n\n";
    (void)state;
    buf_init(&t.text, 1000);
    sse_init(&s, MAX_BYTES);
    assert_int_equal(sse_feed(&s, bytes, strlen(bytes), tell, &t), ERR_CANCELLED);
    assert_string_equal(t.text.data, "|a;|b;");
    buf_done(&t.text);
    sse_done(&s);
}

static void only_what_is_cut_is_kept(void **state)
{
    struct sse s;
    struct told t = {0};
    (void)state;
    buf_init(&t.text, 1000);
    sse_init(&s, MAX_BYTES);
    assert_int_equal(feed_copy(&s, "data: abc\n\n: c\n", 15, &t), 0);
    assert_int_equal(sse_held(&s), 0);
    assert_null(s.data.data);
    assert_int_equal(feed_copy(&s, "data: abc\nda", 12, &t), 0);
    assert_int_equal(sse_held(&s), 5);
    assert_int_equal(feed_copy(&s, "ta: d\n\n", 7, &t), 0);
    assert_int_equal(sse_held(&s), 0);
    assert_string_equal(t.text.data, "|abc;|abc\nd;");
    buf_done(&t.text);
    sse_done(&s);
}

static void the_memory_of_a_large_event_is_given_back(void **state)
{
    enum { LARGE = 100000 };
    struct sse s;
    struct told t = {0};
    char *bytes = malloc(LARGE);
    (void)state;
    memset(bytes, 'x', LARGE);
    memcpy(bytes, "data: ", 6);
    buf_init(&t.text, 1 << 20);
    sse_init(&s, 1 << 20);
    assert_int_equal(sse_feed(&s, bytes, LARGE, tell, &t), 0);
    assert_int_equal(sse_held(&s), LARGE);
    assert_int_equal(sse_feed(&s, "\n", 1, tell, &t), 0);
    assert_int_equal(sse_held(&s), LARGE - 6);
    assert_int_equal(sse_feed(&s, "\n", 1, tell, &t), 0);
    assert_int_equal(t.text.len, LARGE - 6 + 2);
    assert_true(s.line.cap + s.data.cap < 10000);
    free(bytes);
    buf_done(&t.text);
    sse_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_split_at_any_byte_is_the_same_event),
        cmocka_unit_test(lines_end_in_lf_crlf_or_cr),
        cmocka_unit_test(the_lines_of_one_data_are_joined_by_lf),
        cmocka_unit_test(one_space_behind_the_colon_is_none_of_the_value),
        cmocka_unit_test(a_data_line_without_value_is_an_event_without_text),
        cmocka_unit_test(comments_and_other_fields_are_skipped),
        cmocka_unit_test(an_event_has_the_name_that_stands_with_it),
        cmocka_unit_test(a_long_name_is_cut),
        cmocka_unit_test(a_byte_order_mark_is_skipped_once),
        cmocka_unit_test(an_event_cut_by_the_end_is_told),
        cmocka_unit_test(a_nul_is_a_byte_like_any_other),
        cmocka_unit_test(a_line_past_the_ceiling_is_refused_however_it_is_split),
        cmocka_unit_test(data_past_the_ceiling_is_refused_however_it_is_split),
        cmocka_unit_test(the_reader_can_stop_the_reading),
        cmocka_unit_test(only_what_is_cut_is_kept),
        cmocka_unit_test(the_memory_of_a_large_event_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
