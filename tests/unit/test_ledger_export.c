/* Unit tests of src/ledger/export: rows as CSV and JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "ledger/export.h"

static struct usage_row row(const char *key_name)
{
    struct usage_row u = {.id = INT64_C(202611280000000007)};
    snprintf(u.row.trace_id, sizeof u.row.trace_id, "t");
    snprintf(u.row.model, sizeof u.row.model, "kimi-k2.5");
    snprintf(u.key_name, sizeof u.key_name, "%s", key_name);
    u.row.ended_ms = INT64_C(1795867200005);
    u.row.first_us = -1;
    u.row.cost_micros = 12;
    u.row.client_gone = true;
    return u;
}

static size_t count(const char *text, char c)
{
    size_t n = 0;
    for (; *text; text++)
        n += *text == c;
    return n;
}

static void test_head_and_rows_have_the_same_columns(void **state)
{
    struct buf head, line;
    struct usage_row u = row("name");
    (void)state;
    buf_init(&head, 4096);
    buf_init(&line, 4096);
    export_head(&head, EXPORT_CSV);
    export_row(&line, EXPORT_CSV, &u);
    assert_int_equal(count(head.data, ','), 27);
    assert_int_equal(count(line.data, ','), 27);
    assert_memory_equal(head.data, "id,trace_id,ended,", 18);
    assert_memory_equal(line.data, "202611280000000007,t,2026-11-28T12:00:00.005Z,", 46);
    assert_string_equal(line.data + line.len - 4, ",1\r\n");
    assert_string_equal(head.data + head.len - 2, "\r\n");
    buf_done(&head);
    buf_done(&line);
}

static void check_cell(const char *name, const char *cell)
{
    struct buf b;
    struct usage_row u = row(name);
    char expected[256];
    buf_init(&b, 4096);
    export_row(&b, EXPORT_CSV, &u);
    snprintf(expected, sizeof expected, ",0,0,0,%s,,kimi-k2.5,", cell);
    if (!strstr(b.data, expected))
        fail_msg("%s", b.data);
    buf_done(&b);
}

static void test_texts_are_quoted_and_are_no_formulas(void **state)
{
    (void)state;
    check_cell("plain", "plain");
    check_cell("", "");
    check_cell("a,b", "\"a,b\"");
    check_cell("say \"hi\"", "\"say \"\"hi\"\"\"");
    check_cell("two\nlines", "\"two\nlines\"");
    check_cell("=HYPERLINK(\"http://x\")", "\"'=HYPERLINK(\"\"http://x\"\")\"");
    check_cell("+1", "\"'+1\"");
    check_cell("-1", "\"'-1\"");
    check_cell("@x", "\"'@x\"");
    check_cell("\t=1", "\"'\t=1\"");
    check_cell("a=b", "a=b");
}

static void test_a_line_of_json_is_an_object(void **state)
{
    struct buf b;
    struct usage_row u = row("=\"\xff\n");
    struct json *j;
    struct error e;
    int64_t n;
    (void)state;
    buf_init(&b, 4096);
    export_head(&b, EXPORT_JSONL);
    assert_int_equal(b.len, 0);
    export_row(&b, EXPORT_JSONL, &u);
    assert_int_equal(count(b.data, '\n'), 1);
    assert_int_equal(json_parse(b.data, b.len - 1, 4, &j, &e), 0);
    assert_int_equal(json_len(j), 28);
    assert_string_equal(json_string(json_get(j, "id", NULL), NULL), "202611280000000007");
    assert_string_equal(json_string(json_get(j, "key_name", NULL), NULL), "=\"\xef\xbf\xbd\n");
    assert_true(json_bool(json_get(j, "client_gone", NULL)));
    assert_true(json_int64(json_get(j, "first_us", NULL), &n));
    assert_int_equal(n, -1);
    json_free(j);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head_and_rows_have_the_same_columns),
        cmocka_unit_test(test_texts_are_quoted_and_are_no_formulas),
        cmocka_unit_test(test_a_line_of_json_is_an_object),
    };
    return cmocka_run_group_tests_name("ledger export", tests, NULL, NULL);
}
