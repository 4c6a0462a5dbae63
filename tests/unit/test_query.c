/* Query strings: names and values as they were meant. */
#include "http/query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void gives(const char *query, const char *name, const char *value)
{
    char out[32] = "unset";
    assert_true(query_get(query, name, out, sizeof(out)));
    assert_string_equal(out, value);
}

static void refuses(const char *query, const char *name)
{
    char out[32] = "unset";
    assert_false(query_get(query, name, out, sizeof(out)));
    assert_string_equal(out, "");
}

static void a_value_is_found_by_its_name(void **state)
{
    (void)state;
    gives("a=1", "a", "1");
    gives("a=1&b=2&c=3", "b", "2");
    gives("a=1&b=2&c=3", "c", "3");
    gives("&&a=1&", "a", "1");
    gives("ab=1&a=2&abc=3", "a", "2");
    gives("a=b=c", "a", "b=c");
    gives("b=a=1", "a", "");
    gives("a=&b=2", "a", "");
    gives("a&b=2", "a", "");
    gives("A=1", "a", "");
    gives("", "a", "");
    gives("=1&=2", "a", "");
}

static void what_is_there_differs_from_what_is_empty(void **state)
{
    (void)state;
    assert_true(query_has("a", "a"));
    assert_true(query_has("b&a=", "a"));
    assert_true(query_has("%61=%00x&b", "a") == false);
    assert_false(query_has("", "a"));
    assert_false(query_has("aa=1&b=a", "a"));
}

static void escapes_and_plus_are_decoded(void **state)
{
    (void)state;
    gives("a=x+y%20z", "a", "x y z");
    gives("a=%2B%26%3d%25", "a", "+&=%");
    gives("%61+b=1", "a b", "1");
    gives("a=%c3%A9%E2%82%ac", "a", "\xc3\xa9\xe2\x82\xac");
    gives("a=%01%7f", "a", "\x01\x7f");
}

static void a_broken_query_is_refused_whatever_is_asked_for(void **state)
{
    (void)state;
    static const char *const broken[] = {"a=%",    "a=%4",    "a=%zz",   "a=%4g", "a=%00",
                                         "a=1%00", "a%00=1",  "a=1&%",   "a=%-1", "a=% 1",
                                         "a=%%41", "a=1&b=%", "a=%u0041"};
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        refuses(broken[i], "a");
        refuses(broken[i], "other");
        assert_false(query_has(broken[i], "a"));
    }
}

static void a_name_stands_once(void **state)
{
    (void)state;
    refuses("a=1&a=2", "a");
    refuses("a=1&a=1", "a");
    refuses("a&%61", "a");
    gives("a=1&a=2&b=3", "b", "3");
}

static void a_value_is_utf8_and_fits(void **state)
{
    (void)state;
    char out[4], none = 'x';
    refuses("a=%ff", "a");
    refuses("a=%c3", "a");
    refuses("a=%c3%28", "a");
    refuses("a=%ed%a0%80", "a");
    gives("a=%ff&b=1", "b", "1");
    assert_true(query_get("a=123", "a", out, sizeof(out)));
    assert_string_equal(out, "123");
    assert_false(query_get("a=1234", "a", out, sizeof(out)));
    assert_string_equal(out, "");
    assert_true(query_get("a=1234&b=%31%32%33", "b", out, sizeof(out)));
    assert_string_equal(out, "123");
    assert_false(query_get("a=1", "a", &none, 0));
    assert_int_equal(none, 'x');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_found_by_its_name),
        cmocka_unit_test(what_is_there_differs_from_what_is_empty),
        cmocka_unit_test(escapes_and_plus_are_decoded),
        cmocka_unit_test(a_broken_query_is_refused_whatever_is_asked_for),
        cmocka_unit_test(a_name_stands_once),
        cmocka_unit_test(a_value_is_utf8_and_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
