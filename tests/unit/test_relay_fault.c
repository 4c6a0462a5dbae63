/* What a client is told of an upstream's refusal, and what it is never told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/relay.h"
#include "base/utf8.h"

#define COUNT(list)       (sizeof(list) / sizeof(list)[0])
#define ERROR_OF(members) "{\"error\":{" members "}}"

struct row {
    int status;
    const char *body;
    enum fault_kind kind;
    const char *message; /* all of it, or NULL: not looked at */
};

static enum fault_kind fault_of(int status, const char *body, struct fault *f)
{
    size_t len = strlen(body);
    char *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, body, len);
    enum fault_kind kind = relay_fault(status, copy, len, f);
    free(copy);
    assert_int_equal(kind, f->kind);
    assert_true(f->message[0] != '\0');
    return kind;
}

static void check_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct fault f;
        if (fault_of(rows[i].status, rows[i].body, &f) != rows[i].kind)
            fail_msg("%d %s: kind %d, %s", rows[i].status, rows[i].body, f.kind, f.message);
        if (rows[i].message != NULL)
            assert_string_equal(f.message, rows[i].message);
    }
}

static void each_status_has_its_kind(void **state)
{
    static const struct row rows[] = {
        {400, "", FAULT_BAD_REQUEST, "The upstream refused the request."},
        {401, ERROR_OF("\"message\":\"Incorrect API key\""), FAULT_UPSTREAM,
         "The upstream refused this server's own credentials; tell its operator."},
        {402, "{}", FAULT_UPSTREAM, NULL},
        {403, "no", FAULT_UPSTREAM,
         "The upstream refused this server's own credentials; tell its operator."},
        {404, "{\"detail\":\"Not Found\"}", FAULT_UPSTREAM,
         "The upstream does not know the model or the path; tell this server's operator."},
        {405, "", FAULT_UPSTREAM, NULL},
        {408, "", FAULT_TIMEOUT, NULL},
        {409, "", FAULT_UPSTREAM, NULL},
        {413, "", FAULT_BODY_LARGE, "The request is larger than what the upstream takes."},
        {422, "", FAULT_BAD_REQUEST, NULL},
        {429, "slow down", FAULT_ENGINE_FULL, "The upstream is full; try again later."},
        {500, "", FAULT_UPSTREAM, "The upstream failed; try again later."},
        {502, "", FAULT_UPSTREAM, NULL},
        {503, "", FAULT_UNAVAILABLE, NULL},
        {504, "", FAULT_TIMEOUT, NULL},
        {520, "", FAULT_UPSTREAM, NULL},
        {524, "", FAULT_TIMEOUT, NULL},
        {529, "", FAULT_UNAVAILABLE, NULL},
        {301, "", FAULT_UPSTREAM, NULL},
        {307, "", FAULT_UPSTREAM, NULL},
    };
    (void)state;
    check_rows(rows, COUNT(rows));
}

static void an_error_in_a_stream_has_the_status_that_it_names(void **state)
{
    static const struct row rows[] = {
        {0, ERROR_OF("\"message\":\"m\""), FAULT_UPSTREAM, "The upstream failed; try again later."},
        {0, ERROR_OF("\"message\":\"m\",\"type\":\"invalid_request_error\""), FAULT_UPSTREAM, NULL},
        {0, ERROR_OF("\"message\":\"m\",\"code\":400"), FAULT_BAD_REQUEST, "m"},
        {200, ERROR_OF("\"message\":\"m\",\"code\":429"), FAULT_ENGINE_FULL, NULL},
        {200, ERROR_OF("\"message\":\"m\",\"code\":200"), FAULT_UPSTREAM, NULL},
        {0, ERROR_OF("\"message\":\"m\",\"type\":\"rate_limit_reached_error\""), FAULT_ENGINE_FULL,
         NULL},
        {0, ERROR_OF("\"message\":\"m\",\"type\":\"engine_overloaded_error\""), FAULT_ENGINE_FULL,
         NULL},
        {0, ERROR_OF("\"message\":\"m\",\"type\":\"overloaded_error\""), FAULT_UNAVAILABLE, NULL},
        {0, ERROR_OF("\"message\":\"m\",\"code\":\"timeout\""), FAULT_TIMEOUT, NULL},
        {0, ERROR_OF("\"message\":\"m\",\"type\":\"content_filter\""), FAULT_FORBIDDEN, "m"},
        {500, ERROR_OF("\"message\":\"m\",\"code\":400"), FAULT_UPSTREAM, NULL},
        {0, "<html>", FAULT_UPSTREAM, NULL},
        {0, "", FAULT_UPSTREAM, NULL},
    };
    (void)state;
    check_rows(rows, COUNT(rows));
}

static void a_mistake_of_the_request_is_told_in_the_upstreams_words(void **state)
{
    static const struct row rows[] = {
        {400, ERROR_OF("\"message\":\"messages[0] is odd\",\"type\":\"BadRequestError\""),
         FAULT_BAD_REQUEST, "messages[0] is odd"},
        {400, "{\"object\":\"error\",\"message\":\"odd\",\"code\":400}", FAULT_BAD_REQUEST, "odd"},
        {400, "{\"detail\":\"odd\"}", FAULT_BAD_REQUEST, "odd"},
        {422, "{\"detail\":[{\"loc\":[\"body\",\"n\"],\"msg\":\"Input should be 1\"}]}",
         FAULT_BAD_REQUEST, "Input should be 1"},
        {400, "{\"error\":\"odd\"}", FAULT_BAD_REQUEST, "odd"},
        {400, "odd \xff things\n", FAULT_BAD_REQUEST, "odd things"},
        {413, ERROR_OF("\"message\":\"5 MB are too many\""), FAULT_BODY_LARGE, "5 MB are too many"},
        {400, ERROR_OF("\"message\":\" a\\r\\n\\tb\\u0000\\u001b[1m\\u2028c \\u00851 \""),
         FAULT_BAD_REQUEST, "a b [1m c 1"},
        {400, ERROR_OF("\"message\":\"\\u4f60\\ud83d\\ude00\\ud83d\""), FAULT_BAD_REQUEST,
         "\xe4\xbd\xa0\xf0\x9f\x98\x80\xef\xbf\xbd"},
        {400, ERROR_OF("\"code\":\"x\""), FAULT_BAD_REQUEST, "The upstream refused the request."},
        {400, "{\"a\":", FAULT_BAD_REQUEST, "The upstream refused the request."},
        {400, "[\"a\"]", FAULT_BAD_REQUEST, "The upstream refused the request."},
    };
    (void)state;
    check_rows(rows, COUNT(rows));
}

static void a_page_is_never_shown(void **state)
{
    static const struct row rows[] = {
        {400, "<html><body>nginx at gpu7</body></html>", FAULT_BAD_REQUEST,
         "The upstream refused the request. It answered by an HTML page."},
        {502, "\r\n<!DOCTYPE html><title>502</title>", FAULT_UPSTREAM,
         "The upstream failed; try again later. It answered by an HTML page."},
        {400, ERROR_OF("\"message\":\"got <HTML>...\""), FAULT_BAD_REQUEST,
         "The upstream refused the request. It answered by an HTML page."},
    };
    (void)state;
    check_rows(rows, COUNT(rows));
}

static void a_prompt_that_is_too_long_is_known_by_its_words(void **state)
{
    static const char *const bodies[] = {
        ERROR_OF("\"message\":\"Your request exceeded model token limit: 8192\""),
        ERROR_OF("\"message\":\"This model's maximum context length is 4096 tokens. However, you "
                 "requested 5000 tokens\""),
        "{\"object\":\"error\",\"message\":\"The input (9 tokens) is longer than the model's "
        "context length (8 tokens).\",\"code\":400}",
        ERROR_OF("\"code\":400,\"message\":\"the request exceeds the available context size\","
                 "\"type\":\"exceed_context_size_error\",\"n_ctx\":4096"),
        ERROR_OF("\"code\":\"context_length_exceeded\",\"message\":\"too much\""),
    };
    (void)state;
    for (size_t i = 0; i < COUNT(bodies); i++) {
        struct fault f;
        assert_int_equal(fault_of(400, bodies[i], &f), FAULT_TOO_LONG);
        assert_null(strstr(f.message, "The request is longer"));
    }
}

static void names_in_the_body_say_more_than_the_status(void **state)
{
    static const struct row rows[] = {
        {400, ERROR_OF("\"message\":\"high risk\",\"type\":\"content_filter\""), FAULT_FORBIDDEN,
         "high risk"},
        {403, ERROR_OF("\"message\":\"flagged\",\"code\":\"moderation_blocked\""), FAULT_FORBIDDEN,
         "flagged"},
        {400, ERROR_OF("\"type\":\"content_policy_violation\""), FAULT_FORBIDDEN,
         "The upstream's content filter refused the request."},
        {429, ERROR_OF("\"message\":\"m\",\"type\":\"exceeded_current_quota_error\""),
         FAULT_UNAVAILABLE, "This server's account at the upstream is used up; tell its operator."},
        {429, ERROR_OF("\"message\":\"m\",\"code\":\"insufficient_quota\""), FAULT_UNAVAILABLE,
         NULL},
        {429, ERROR_OF("\"message\":\"You exceeded your current quota, please check your plan\""),
         FAULT_UNAVAILABLE, NULL},
        {403, ERROR_OF("\"message\":\"m\",\"code\":\"used_up\""), FAULT_UPSTREAM,
         "This server's account at the upstream is used up; tell its operator."},
        {400, ERROR_OF("\"message\":\"no model far-7b\",\"code\":\"model_not_found\""),
         FAULT_UPSTREAM,
         "The upstream does not know the model or the path; tell this server's operator."},
        {400, ERROR_OF("\"message\":\"the word quota\",\"type\":\"x\""), FAULT_BAD_REQUEST, NULL},
    };
    (void)state;
    check_rows(rows, COUNT(rows));
}

static void the_parameter_is_passed_on(void **state)
{
    struct fault f;
    (void)state;
    fault_of(400, ERROR_OF("\"message\":\"m\",\"param\":\"messages[0].content\""), &f);
    assert_string_equal(f.param, "messages[0].content");
    fault_of(400, ERROR_OF("\"message\":\"m\",\"param\":null"), &f);
    assert_string_equal(f.param, "");
    fault_of(500, ERROR_OF("\"message\":\"m\",\"param\":\"host\""), &f);
    assert_string_equal(f.param, "");
}

static void a_message_is_cut_to_fit_in_whole_characters(void **state)
{
    struct buf b;
    struct fault f;
    (void)state;
    for (int shift = 0; shift < 6; shift++) {
        buf_init(&b, 100000);
        buf_adds(&b, "{\"error\":{\"message\":\"");
        for (int i = 0; i < shift; i++)
            buf_addc(&b, 'x');
        for (int i = 0; i < 2000; i++)
            buf_adds(&b, i % 2 ? "\xe4\xbd\xa0" : "\\u4f60");
        buf_adds(&b, "\"}}");
        assert_int_equal(fault_of(400, b.data, &f), FAULT_BAD_REQUEST);
        size_t len = strlen(f.message);
        assert_in_range(len, sizeof f.message - 4, sizeof f.message - 1);
        for (size_t at = 0; at < len;) {
            int n = utf8_char(f.message + at, len - at);
            assert_true(n > 0);
            at += (size_t)n;
        }
        buf_done(&b);
    }
}

static void what_looks_like_a_credential_is_blanked(void **state)
{
    static const char *const rows[][2] = {
        {"Incorrect API key provided: sk-proj-abcd1234.", "Incorrect API key provided: ***."},
        {"sk-abc***************xyz", "***"},
        {"key=mg-0123456789abcdef, sorry", "key=***, sorry"},
        {"Bad call with Bearer sk-upstream-9f8e7d6c5b4a39281706, sorry",
         "Bad call with ***, sorry"},
        {"authorization: bearer abc", "authorization: ***"},
        {"Authorization: Basic dXNlcjpwYXNzd29yZA==", "Authorization: ***"},
        {"hf_abcdefghijklmnop and gsk_abcdefghij", "*** and ***"},
        {"AIzaSyA-1234567890", "***"},
        {"api key 0123456789abcdef0123456789abcdef is wrong", "api key *** is wrong"},
        {"0123456789abcdef0123456789abcdef is no hash", NULL},
        {"the task-force-of-the-disk-driver", NULL},
        {"sk-short", NULL},
        {"basic words", NULL},
        {"", NULL},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *text = strdup(rows[i][0]);
        relay_redact(text);
        assert_string_equal(text, rows[i][1] != NULL ? rows[i][1] : rows[i][0]);
        free(text);
    }
}

static void a_message_names_no_address(void **state)
{
    static const struct row rows[] = {
        {400, "see https://api.moonshot.ai/v1/x?y=z for more", FAULT_BAD_REQUEST,
         "see *** for more"},
        {400, ERROR_OF("\"message\":\"(http://10.0.0.5:8000) HTTP://X\""), FAULT_BAD_REQUEST,
         "(***) ***"},
        {400, "gone: 10.0.0.5:8000, 192.168.1.20.", FAULT_BAD_REQUEST, "gone: ***, ***"},
        {400, "at gpu7.internal:8000 or localhost:80", FAULT_BAD_REQUEST, "at *** or ***"},
        {400, "temperature 0.6: 1.5 of 2.0, n:12, k2.5", FAULT_BAD_REQUEST,
         "temperature 0.6: 1.5 of 2.0, n:12, k2.5"},
        {400, "xhttp://a.b/c y1.2.3.4", FAULT_BAD_REQUEST, "x*** y1.2.3.4"},
        {400, "Bearer abcdefgh at http://x", FAULT_BAD_REQUEST, "*** at ***"},
    };
    (void)state;
    check_rows(rows, COUNT(rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_status_has_its_kind),
        cmocka_unit_test(an_error_in_a_stream_has_the_status_that_it_names),
        cmocka_unit_test(a_mistake_of_the_request_is_told_in_the_upstreams_words),
        cmocka_unit_test(a_page_is_never_shown),
        cmocka_unit_test(a_prompt_that_is_too_long_is_known_by_its_words),
        cmocka_unit_test(names_in_the_body_say_more_than_the_status),
        cmocka_unit_test(the_parameter_is_passed_on),
        cmocka_unit_test(a_message_is_cut_to_fit_in_whole_characters),
        cmocka_unit_test(what_looks_like_a_credential_is_blanked),
        cmocka_unit_test(a_message_names_no_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
