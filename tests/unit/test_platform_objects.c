/* Unit tests of what the platform's routes read and write: times, lists of a credential, ids of
 * calls, objects as JSON, and CSV that no spreadsheet runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "console/credential_read.h"
#include "console/moment.h"
#include "console/objects.h"
#include "console/usage_csv.h"

enum { DEPTH = 8, BYTES = 65536 };
#define NOON INT64_C(1795867200000) /* 2026-11-28T12:00:00Z */

static struct json *parse(const char *text)
{
    struct json *v;
    struct error e;
    if (json_parse(text, strlen(text), DEPTH, &v, &e))
        fail_msg("%s: %s", text, e.text);
    return v;
}

static struct json *parse_buf(struct buf *b)
{
    assert_false(b->failed);
    struct json *v = parse(b->data);
    buf_done(b);
    return v;
}

static void assert_text(const struct json *object, const char *name, const char *expected)
{
    bool present;
    size_t len;
    const struct json *v = json_get(object, name, &present);
    assert_true(present);
    assert_int_equal(json_kind(v), JSON_STRING);
    assert_string_equal(json_string(v, &len), expected);
}

static void assert_is_null(const struct json *object, const char *name)
{
    bool present;
    assert_int_equal(json_kind(json_get(object, name, &present)), JSON_NULL);
    assert_true(present);
}

/* --- times --- */

static void times_are_read_as_they_are_written(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"2026-11-28T12:00:00Z", NOON},
        {"2026-11-28t12:00:00z", NOON},
        {"2026-11-28 12:00:00.25Z", NOON + 250},
        {"2026-11-28T12:00:00.123456789Z", NOON + 123},
        {"2026-11-28T20:00:00+08:00", NOON},
        {"2026-11-28T06:30:00-05:30", NOON},
        {"2026-11-28", NOON - 12 * 3600000},
        {"2024-02-29", INT64_C(1709164800000)},
        {"1970-01-01T00:00:00Z", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        int64_t ms = -1;
        if (!moment_read(good[i].text, &ms) || ms != good[i].ms)
            fail_msg("%s is read as %lld", good[i].text, (long long)ms);
    }
}

static void what_is_no_time_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "now",
        "2026",
        "2026-11",
        "2026-13-01",
        "2026-00-01",
        "2026-02-29",
        "2026-11-31",
        "2026-11-28T",
        "2026-11-28T12:00:00",
        "2026-11-28T24:00:00Z",
        "2026-11-28T12:60:00Z",
        "2026-11-28T12:00:00.Z",
        "2026-11-28T12:00:00.1234567890Z",
        "2026-11-28T12:00:00+0800",
        "2026-11-28T12:00:00 08:00",
        "2026-11-28T12:00:00Zx",
        "+026-11-28",
        "1969-12-31",
        "1970-01-01T00:00:00+08:00",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t ms = -7;
        if (moment_read(bad[i], &ms))
            fail_msg("\"%s\" is read as %lld", bad[i], (long long)ms);
    }
}

/* --- lists --- */

static int models_of(const char *text, char out[STORE_MODELS_BYTES])
{
    struct error e = {0};
    struct json *v = parse(text);
    int rc = credential_models(v, out, &e);
    json_free(v);
    assert_true(rc == 0 || *e.text);
    return rc;
}

static void models_are_a_list_or_names_with_commas(void **state)
{
    char out[STORE_MODELS_BYTES];
    (void)state;
    assert_int_equal(models_of("[\"kimi-k2.5\",\"moonshotai/Kimi-K2:free\"]", out), 0);
    assert_string_equal(out, "kimi-k2.5,moonshotai/Kimi-K2:free");
    assert_int_equal(models_of("\"a,b\"", out), 0);
    assert_string_equal(out, "a,b");
    assert_int_equal(models_of("[]", out), 0);
    assert_string_equal(out, "");
    assert_int_equal(models_of("\"\"", out), 0);
    assert_int_equal(models_of("null", out), 0);
    assert_string_equal(out, "");
}

static void models_that_cannot_be_names_are_refused(void **state)
{
    static const char *const bad[] = {"[\"\"]",   "[\"a,b\"]", "[1]",    "{}",        "1",
                                      "\"a,,b\"", "\",a\"",    "\"a,\"", "[\"a b\"]", "[\"'\"]"};
    char out[STORE_MODELS_BYTES], many[STORE_MODELS_BYTES * 2] = "[";
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (models_of(bad[i], out) == 0)
            fail_msg("%s is taken", bad[i]);
    }
    for (size_t n = strlen(many); n < STORE_MODELS_BYTES + 500; n = strlen(many))
        snprintf(many + n, sizeof many - n, "%s\"model\"", n > 1 ? "," : "");
    snprintf(many + strlen(many), sizeof many - strlen(many), "]");
    assert_int_equal(models_of(many, out), ERR_LIMIT);
}

static int networks_of(const char *text, char out[STORE_NETWORKS_BYTES])
{
    struct error e = {0};
    struct json *v = parse(text);
    int rc = credential_networks(v, out, &e);
    json_free(v);
    assert_true(rc == 0 || *e.text);
    return rc;
}

static void networks_come_out_in_one_form(void **state)
{
    char out[STORE_NETWORKS_BYTES], again[STORE_NETWORKS_BYTES], quoted[STORE_NETWORKS_BYTES + 2];
    (void)state;
    assert_int_equal(networks_of("[\"10.0.0.0/8\",\"::ffff:1.2.3.0/120\",\"127.0.0.1\","
                                 "\"2001:DB8::/32\",\"0.0.0.0/0\",\"::1\"]",
                                 out),
                     0);
    assert_string_equal(out, "10.0.0.0/8,1.2.3.0/24,127.0.0.1,2001:db8::/32,0.0.0.0/0,::1");
    snprintf(quoted, sizeof quoted, "\"%s\"", out);
    assert_int_equal(networks_of(quoted, again), 0);
    assert_string_equal(again, out);
    assert_int_equal(networks_of("null", out), 0);
    assert_string_equal(out, "");
}

static void what_is_no_network_is_refused(void **state)
{
    static const char *const bad[] = {"[\"10.0.0.1/8\"]", "\"localhost\"", "[\"1.2.3\"]", "[1]",
                                      "\"10.0.0.0/33\""};
    char out[STORE_NETWORKS_BYTES];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (networks_of(bad[i], out) == 0)
            fail_msg("%s is taken", bad[i]);
    }
}

static void only_what_is_given_is_laid_over_a_key(void **state)
{
    struct store_key key = {.name = "old", .models = "a", .cap_micros = 5, .expires_ms = 7};
    struct credential_wish wish = {.name = true, .cap = true};
    (void)state;
    snprintf(wish.key.name, sizeof wish.key.name, "new");
    wish.key.cap_micros = -1;
    credential_apply(&wish, &key);
    assert_string_equal(key.name, "new");
    assert_string_equal(key.models, "a");
    assert_int_equal(key.cap_micros, -1);
    assert_int_equal(key.expires_ms, 7);
}

/* --- ids of calls --- */

static void ids_of_calls_are_numbers_of_javascript_in_the_same_order(void **state)
{
    static const int64_t days[] = {20000101, 20261128, 20261130, 20261201, 20271231, 20991231};
    int64_t last = 0;
    (void)state;
    for (size_t i = 0; i < sizeof days / sizeof days[0]; i++) {
        for (int64_t n = 1; n < 10000000000; n *= 99) {
            int64_t books = days[i] * INT64_C(10000000000) + n, id = object_call_id(books);
            assert_true(id > last);
            assert_true(id < INT64_C(9007199254740991));
            assert_int_equal(object_call_books_id(id), books);
            last = id;
        }
    }
    assert_int_equal(object_call_books_id(0), 0);
    assert_int_equal(object_call_books_id(-5), 0);
    assert_int_equal(object_call_books_id(INT64_MAX), 0);
}

/* --- objects --- */

static struct json *credential(const struct store_key *k, const char *token)
{
    struct buf b;
    buf_init(&b, BYTES);
    object_credential(&b, k, token, NOON);
    return parse_buf(&b);
}

static void a_credential_tells_its_secret_only_when_it_is_given(void **state)
{
    struct store_key k = {.id = 3,
                          .application_id = 2,
                          .account_id = 1,
                          .name = "say \"hi\"",
                          .prefix = "mg-abc",
                          .models = "a,b",
                          .cap_micros = -1,
                          .used_micros = 1500001};
    bool present;
    (void)state;
    struct json *v = credential(&k, NULL);
    assert_is_null(v, "token");
    assert_is_null(v, "limited_amount");
    assert_is_null(v, "expired_at");
    assert_text(v, "name", "say \"hi\"");
    assert_text(v, "state", "active");
    assert_int_equal(json_len(json_get(v, "models", &present)), 2);
    assert_true(json_double(json_get(v, "used_amount", &present)) == 1.500001);
    json_free(v);
    v = credential(&k, "mg-secret");
    assert_text(v, "token", "mg-secret");
    json_free(v);
}

static void a_credential_says_why_it_cannot_be_used(void **state)
{
    struct store_key k = {.expires_ms = NOON + 1, .cap_micros = 0};
    (void)state;
    struct json *v = credential(&k, NULL);
    assert_text(v, "state", "active");
    assert_text(v, "expired_at", "2026-11-28T12:00:00.001Z");
    json_free(v);
    k.owner_disabled = true;
    v = credential(&k, NULL);
    assert_text(v, "state", "disabled");
    json_free(v);
    k.expires_ms = NOON;
    v = credential(&k, NULL);
    assert_text(v, "state", "expired");
    json_free(v);
    k.revoked_ms = NOON;
    v = credential(&k, NULL);
    assert_text(v, "state", "revoked");
    json_free(v);
}

static void an_application_has_its_own_keys_alone(void **state)
{
    struct store_application a = {.id = 2, .account_id = 1, .balance_micros = 5};
    struct store_key keys[3] = {{.id = 1, .application_id = 2},
                                {.id = 2, .application_id = 9},
                                {.id = 3, .application_id = 2}};
    struct buf b;
    bool present;
    (void)state;
    buf_init(&b, BYTES);
    object_application(&b, &a, keys, 3, "mg-new", NOON);
    buf_addc(&b, '}');
    struct json *v = parse_buf(&b);
    const struct json *list = json_get(v, "credentials", &present);
    assert_int_equal(json_len(list), 2);
    assert_text(json_at(list, 0), "token", "mg-new");
    assert_is_null(json_at(list, 1), "token");
    json_free(v);
}

static const struct usage_row call = {
    .id = 20261128 * INT64_C(10000000000) + 1,
    .row = {.trace_id = "2cf86e86-22a4-46e1-ac2f-032c0f2a4e89",
            .model = "=cmd|' /C calc'!A0",
            .finish = "stop",
            .status = 200,
            .ended_ms = NOON,
            .cost_micros = 12,
            .charged_micros = 11,
            .balance_micros = -1,
            .first_us = -1,
            .total_us = 1234567},
    .key_name = "a, \"b\"",
};

static void a_call_has_what_the_platform_and_the_books_say(void **state)
{
    struct buf b;
    bool present;
    (void)state;
    buf_init(&b, BYTES);
    object_list_open(&b, 2);
    for (int i = 0; i < 2; i++) {
        object_next(&b);
        object_call(&b, &call);
    }
    object_list_close(&b);
    struct json *v = parse_buf(&b);
    const struct json *row = json_at(json_get(v, "items", &present), 1);
    assert_text(row, "created_at", "2026-11-28T12:00:00.000Z");
    assert_is_null(row, "first_ms");
    assert_is_null(row, "answered");
    assert_true(json_double(json_get(row, "elapsed", &present)) == 1.234567);
    assert_true(json_double(json_get(row, "total_ms", &present)) == 1234.567);
    assert_true(json_double(json_get(row, "deducted_amount", &present)) == 0.000011);
    json_free(v);
}

static void a_line_of_csv_has_a_field_for_each_of_its_head(void **state)
{
    struct buf b;
    size_t head = 0, row = 0;
    bool quoted = false;
    (void)state;
    buf_init(&b, BYTES);
    usage_csv_head(&b);
    for (const char *s = b.data; *s; s++)
        head += *s == ',';
    buf_reset(&b);
    usage_csv_row(&b, &call);
    for (const char *s = b.data; *s; s++) {
        quoted ^= *s == '"';
        row += *s == ',' && !quoted;
    }
    assert_int_equal(head, row);
    assert_non_null(strstr(b.data, ",\"a, \"\"b\"\"\","));
    assert_non_null(strstr(b.data, ",\"'=cmd|' /C calc'!A0\","));
    assert_string_equal(b.data + b.len - 2, "\r\n");
    buf_done(&b);
}

static void no_text_of_csv_is_a_formula(void **state)
{
    static const char *const bad[] = {"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=\"x\""};
    struct buf b;
    (void)state;
    buf_init(&b, BYTES);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        buf_reset(&b);
        usage_csv_text(&b, bad[i]);
        assert_memory_equal(b.data, "\"'", 2);
    }
    buf_reset(&b);
    usage_csv_text(&b, "plain");
    assert_string_equal(b.data, "plain");
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_read_as_they_are_written),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(models_are_a_list_or_names_with_commas),
        cmocka_unit_test(models_that_cannot_be_names_are_refused),
        cmocka_unit_test(networks_come_out_in_one_form),
        cmocka_unit_test(what_is_no_network_is_refused),
        cmocka_unit_test(only_what_is_given_is_laid_over_a_key),
        cmocka_unit_test(ids_of_calls_are_numbers_of_javascript_in_the_same_order),
        cmocka_unit_test(a_credential_tells_its_secret_only_when_it_is_given),
        cmocka_unit_test(a_credential_says_why_it_cannot_be_used),
        cmocka_unit_test(an_application_has_its_own_keys_alone),
        cmocka_unit_test(a_call_has_what_the_platform_and_the_books_say),
        cmocka_unit_test(a_line_of_csv_has_a_field_for_each_of_its_head),
        cmocka_unit_test(no_text_of_csv_is_a_formula),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
