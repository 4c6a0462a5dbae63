/* Unit tests of src/api/fault.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "api/fault.h"
#include "base/json.h"

static const char TRACE[] = "2cf86e86-22a4-46e1-ac2f-032c0f2a4e89";

static void the_body_has_the_keys_of_the_sample_and_two_more(void **state)
{
    struct fault f;
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    fault_set(&f, FAULT_INTERNAL, NULL, "fetch failed");
    fault_body(&b, &f, TRACE);
    assert_string_equal(b.data, "{\"success\":false,\"error\":{\"code\":\"api_error\",\"message\":"
                                "\"fetch failed\",\"type\":\"server_error\",\"param\":null},"
                                "\"trace_id\":\"2cf86e86-22a4-46e1-ac2f-032c0f2a4e89\"}");
    buf_done(&b);
}

static void the_event_is_the_body_in_one_data_line_without_choices(void **state)
{
    struct fault f;
    struct buf b, event;

    (void)state;
    buf_init(&b, 4096);
    buf_init(&event, 4096);
    fault_set(&f, FAULT_TIMEOUT, NULL, "too late");
    fault_body(&b, &f, TRACE);
    fault_event(&event, &f, TRACE);
    assert_memory_equal(event.data, "data: ", 6);
    assert_memory_equal(event.data + 6, b.data, b.len);
    assert_string_equal(event.data + 6 + b.len, "\n\n");
    assert_null(strstr(event.data, "choices"));
    buf_done(&b);
    buf_done(&event);
}

static void a_message_and_a_param_are_escaped(void **state)
{
    struct fault f;
    struct buf b;
    struct json *root = NULL;
    size_t len;
    const struct json *error;

    (void)state;
    buf_init(&b, 4096);
    assert_int_equal(fault_set(&f, FAULT_BAD_REQUEST, "a\"b", "say \"%s\"\n", "no"),
                     FAULT_BAD_REQUEST);
    fault_body(&b, &f, TRACE);
    assert_int_equal(json_parse(b.data, b.len, 8, &root, NULL), 0);
    error = json_get(root, "error", NULL);
    assert_string_equal(json_string(json_get(error, "message", NULL), &len), "say \"no\"\n");
    assert_string_equal(json_string(json_get(error, "param", NULL), &len), "a\"b");
    json_free(root);
    buf_done(&b);
}

static void a_long_message_is_cut_between_characters(void **state)
{
    struct fault f;
    char text[1000];
    size_t n = 0;

    (void)state;
    while (n + 3 < sizeof text) {
        memcpy(text + n, "\xe4\xbd\xa0", 3);
        n += 3;
    }
    text[n] = '\0';
    fault_set(&f, FAULT_BAD_REQUEST, text, "%s", text);
    assert_int_equal(strlen(f.message) % 3, 0);
    assert_int_equal(strlen(f.param) % 3, 0);
    assert_true(strlen(f.message) > sizeof f.message - 5);
    fault_set(&f, FAULT_BAD_REQUEST, NULL, "x%s", text);
    assert_int_equal(strlen(f.message) % 3, 1);
    /* A text that just fits keeps its last character. */
    text[sizeof f.message - 1] = '\0';
    memset(text, 'a', 3);
    fault_set(&f, FAULT_BAD_REQUEST, NULL, "%s", text);
    assert_int_equal(strlen(f.message), sizeof f.message - 1);
}

static void every_kind_has_a_status_a_code_and_a_type(void **state)
{
    (void)state;
    for (int k = FAULT_NONE + 1; k < FAULT_N_KINDS; k++) {
        assert_true(fault_status(k) >= 400 && fault_status(k) < 600);
        assert_true(strlen(fault_code(k)) > 0);
        assert_true(strlen(fault_type(k)) > 0);
    }
}

static void only_faults_that_may_pass_are_worth_a_retry(void **state)
{
    (void)state;
    assert_true(fault_retry(FAULT_RATE_LIMIT));
    assert_true(fault_retry(FAULT_ENGINE_FULL));
    assert_true(fault_retry(FAULT_UNAVAILABLE));
    assert_false(fault_retry(FAULT_BAD_REQUEST));
    assert_false(fault_retry(FAULT_INVALID_TOKEN));
    assert_false(fault_retry(FAULT_USED_UP));
    assert_false(fault_retry(FAULT_BODY_LARGE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_body_has_the_keys_of_the_sample_and_two_more),
        cmocka_unit_test(the_event_is_the_body_in_one_data_line_without_choices),
        cmocka_unit_test(a_message_and_a_param_are_escaped),
        cmocka_unit_test(a_long_message_is_cut_between_characters),
        cmocka_unit_test(every_kind_has_a_status_a_code_and_a_type),
        cmocka_unit_test(only_faults_that_may_pass_are_worth_a_retry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
