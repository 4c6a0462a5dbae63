/* What a gateway must know of what an upstream said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "relay_rig.h"

static void a_chunk_begins_the_reply_when_it_shows_something(void **state)
{
    static const struct {
        const char *choices;
        bool begins, role_only;
    } rows[] = {
        {"[]", false, true},
        {"[{\"delta\":{}}]", false, true},
        {DELTA("\"role\":\"assistant\",\"content\":\"\""), false, true},
        {DELTA("\"role\":\"assistant\",\"content\":null,\"refusal\":null,\"tool_calls\":[ ],"
               "\"reasoning_content\":\"\""),
         false, true},
        {DELTA("\"content\":\" \""), true, false},
        {DELTA("\"content\":[{\"type\":\"text\",\"text\":\"a\"}]"), true, false},
        {DELTA("\"reasoning\":\"a\""), true, false},
        {DELTA("\"reasoning_details\":[{\"text\":\"a\"}]"), true, false},
        {DELTA("\"refusal\":\"no\""), true, false},
        {DELTA("\"tool_calls\":[{\"index\":0}]"), true, false},
        {DELTA("\"function_call\":{\"name\":\"f\"}"), true, false},
        {"[{\"delta\":{},\"finish_reason\":\"stop\"}]", true, false},
        {"[{\"delta\":{},\"logprobs\":{\"content\":[]}}]", true, false},
        {"[{\"delta\":{},\"content_filter_results\":{\"hate\":1}}]", false, false},
        {"[{\"delta\":{},\"stop_reason\":null,\"token_ids\":null}]", false, true},
        {"[{\"index\":1,\"delta\":{}},{\"index\":0,\"delta\":{\"content\":\"a\"}}]", true, false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[500];
        struct reading x;
        snprintf(text, sizeof text, "{\"choices\":%s}", rows[i].choices);
        read_good(&x, text);
        if (x.r.begins != rows[i].begins || x.r.role_only != rows[i].role_only)
            fail_msg("%s: begins %d, role_only %d", text, x.r.begins, x.r.role_only);
        done(&x);
    }
}

static void finish_reasons_are_read_by_their_words(void **state)
{
    static const struct {
        const char *word;
        bool finished, broken;
        enum api_finish finish;
    } rows[] = {
        {"null", false, false, API_FINISH_NONE},
        {"\"\"", false, false, API_FINISH_NONE},
        {"\"stop\"", true, false, API_FINISH_STOP},
        {"\"eos\"", true, false, API_FINISH_STOP},
        {"\"content_filter\"", true, false, API_FINISH_STOP},
        {"\"length\"", true, false, API_FINISH_LENGTH},
        {"\"max_tokens\"", true, false, API_FINISH_LENGTH},
        {"\"tool_calls\"", true, false, API_FINISH_TOOL_CALLS},
        {"\"function_call\"", true, false, API_FINISH_TOOL_CALLS},
        {"\"abort\"", true, true, API_FINISH_STOP},
        {"\"error\"", true, true, API_FINISH_STOP},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[200];
        struct reading x;
        snprintf(text, sizeof text, "{\"choices\":[{\"index\":7,\"finish_reason\":%s}]}",
                 rows[i].word);
        read_good(&x, text);
        assert_int_equal(x.r.n_choices, 1);
        assert_int_equal(x.r.choice[0].index, 7);
        assert_int_equal(x.r.choice[0].finished, rows[i].finished);
        assert_int_equal(x.r.choice[0].broken, rows[i].broken);
        assert_int_equal(x.r.choice[0].finish, rows[i].finish);
        done(&x);
    }
}

static void a_reply_is_told_from_a_chunk(void **state)
{
    static const struct {
        const char *text;
        bool whole;
    } rows[] = {
        {"{\"choices\":[{\"message\":{}}]}", true},
        {"{\"choices\":[{\"message\":{}},{\"delta\":{}}]}", false},
        {"{\"choices\":[{\"delta\":{}}]}", false},
        {"{\"choices\":[{\"message\":null}]}", false},
        {"{\"choices\":[]}", false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct reading x;
        read_good(&x, rows[i].text);
        assert_int_equal(x.r.whole, rows[i].whole);
        done(&x);
    }
}

static void usage_is_read_in_every_spelling(void **state)
{
    static const struct {
        const char *usage;
        int64_t prompt, cached, completion, reasoning;
    } rows[] = {
        {"{\"prompt_tokens\":9,\"completion_tokens\":4,\"total_tokens\":13}", 9, 0, 4, 0},
        {"{\"input_tokens\":9,\"output_tokens\":4,\"input_tokens_details\":{\"cached_tokens\":3},"
         "\"output_tokens_details\":{\"reasoning_tokens\":2}}",
         9, 3, 4, 2},
        {"{\"prompt_tokens\":9,\"completion_tokens\":4,\"cached_tokens\":5}", 9, 5, 4, 0},
        {"{\"prompt_tokens\":9,\"completion_tokens\":4,\"prompt_cache_hit_tokens\":8,"
         "\"prompt_cache_miss_tokens\":1}",
         9, 8, 4, 0},
        {"{\"completion_tokens_details\":{\"reasoning_tokens\":1,\"audio_tokens\":0},"
         "\"prompt_tokens_details\":{\"cached_tokens\":2},\"prompt_tokens\":9,"
         "\"completion_tokens\":4}",
         9, 2, 4, 1},
        {"{\"prompt_tokens\":9.0,\"completion_tokens\":4e0,\"prompt_tokens_details\":null}", 9, 0,
         4, 0},
        {"{\"prompt_tokens\":9,\"completion_tokens\":null,\"reasoning_tokens\":0}", 9, 0, 0, 0},
        {"{\"completion_tokens\":4,\"total_tokens\":13}", 9, 0, 4, 0},
        {"{\"prompt_tokens\":9,\"total_tokens\":13}", 9, 0, 4, 0},
        {"{\"prompt_tokens\":9,\"completion_tokens\":4,\"total_tokens\":20,"
         "\"completion_tokens_details\":{\"reasoning_tokens\":7}}",
         9, 0, 11, 7},
        {"{\"prompt_tokens\":9,\"completion_tokens\":4,\"cached_tokens\":50,"
         "\"reasoning_tokens\":50}",
         9, 9, 4, 4},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (int inside = 0; inside < 2; inside++) {
            char text[500];
            struct reading x;
            snprintf(text, sizeof text,
                     inside ? "{\"choices\":[{\"index\":0,\"usage\":%s}]}"
                            : "{\"choices\":[],\"usage\":%s}",
                     rows[i].usage);
            read_good(&x, text);
            assert_true(x.r.has_usage);
            assert_int_equal(x.r.usage.prompt_tokens, rows[i].prompt);
            assert_int_equal(x.r.usage.cached_tokens, rows[i].cached);
            assert_int_equal(x.r.usage.completion_tokens, rows[i].completion);
            assert_int_equal(x.r.usage.reasoning_tokens, rows[i].reasoning);
            assert_int_equal(x.r.usage.source, API_USAGE_UPSTREAM);
            done(&x);
        }
    }
}

static void usage_that_makes_no_sense_is_none(void **state)
{
    static const char *const rows[] = {
        "null",
        "{}",
        "[]",
        "7",
        "{\"total_tokens\":7}",
        "{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}",
        "{\"prompt_tokens\":-1,\"completion_tokens\":4}",
        "{\"prompt_tokens\":1,\"completion_tokens\":2e12}",
        "{\"prompt_tokens\":1,\"completion_tokens\":1.5}",
        "{\"prompt_tokens\":1,\"completion_tokens\":\"4\"}",
        "{\"prompt_tokens\":1e999,\"completion_tokens\":1}",
        "{\"prompt_tokens\":1,\"completion_tokens\":1,\"cached_tokens\":true}",
        "{\"prompt_tokens\":1,\"completion_tokens\":10000000000000000000000000000000000000000000}",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[300];
        struct reading x;
        snprintf(text, sizeof text, "{\"choices\":[],\"usage\":%s}", rows[i]);
        read_good(&x, text);
        if (x.r.has_usage)
            fail_msg("%s is taken for a usage", rows[i]);
        done(&x);
    }
}

static void the_usage_at_the_top_stands_above_those_of_choices(void **state)
{
    static const char *const rows[] = {
        "{\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":8},\"choices\":"
        "[{\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}]}",
        "{\"choices\":[{\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}],"
        "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":8}}",
        "{\"choices\":[{\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":5}},"
        "{\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3}}],\"usage\":null}",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct reading x;
        read_good(&x, rows[i]);
        assert_true(x.r.has_usage);
        assert_int_equal(x.r.usage.prompt_tokens, 9);
        assert_int_equal(x.r.usage.completion_tokens, 8);
        done(&x);
    }
}

static void the_text_of_all_choices_is_told_once(void **state)
{
    static const struct {
        const char *choices, *text;
        int64_t bytes; /* without the names of tools */
    } rows[] = {
        {DELTA("\"content\":\"a\\n\\u4f60\\ud83d\\ude00\""), "a\n\xe4\xbd\xa0\xf0\x9f\x98\x80", 9},
        {DELTA("\"reasoning\":\"think\",\"reasoning_content\":\"think\""), "think", 5},
        {DELTA("\"reasoning\":\"think\",\"reasoning_content\":\"\""), "think", 5},
        {DELTA("\"reasoning\":\"think\",\"content\":\"say\""), "saythink", 8},
        {DELTA("\"tool_calls\":[{\"index\":0,\"id\":\"i\",\"function\":{\"name\":\"f\","
               "\"arguments\":\"{\\\"a\\\":1}\"}},{\"function\":{\"arguments\":\"x\"}},"
               "{\"function\":null}]"),
         "f{\"a\":1}x", 8},
        {DELTA("\"function_call\":{\"name\":\"f\",\"arguments\":\"{}\"}"), "f{}", 2},
        {"[{\"message\":{\"content\":\"a\"}},{\"message\":{\"content\":\"b\",\"x\":\"y\"}}]", "ab",
         2},
        {DELTA("\"content\":\"\""), "", 0},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[500];
        struct reading x;
        struct buf b;
        buf_init(&b, 1000);
        buf_adds(&b, "");
        snprintf(text, sizeof text, "{\"choices\":%s}", rows[i].choices);
        read_good(&x, text);
        relay_text(&b, &x.r);
        assert_string_equal(b.data, rows[i].text);
        assert_int_equal(x.r.content_bytes, rows[i].bytes);
        buf_done(&b);
        done(&x);
    }
}

static void many_pieces_of_text_are_all_told(void **state)
{
    struct buf text, wanted, b;
    struct reading x;
    (void)state;
    buf_init(&text, 1 << 20);
    buf_init(&wanted, 1 << 20);
    buf_init(&b, 1 << 20);
    buf_adds(&text, "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[");
    for (int i = 0; i < 50; i++) {
        buf_addf(&text, "%s{\"index\":%d,\"function\":{\"name\":\"n%d\",\"arguments\":\"a%d\"}}",
                 i > 0 ? "," : "", i, i, i);
        buf_addf(&wanted, "n%da%d", i, i);
    }
    buf_adds(&text, "]}}]}");
    read_good(&x, text.data);
    relay_text(&b, &x.r);
    assert_string_equal(b.data, wanted.data);
    buf_done(&text);
    buf_done(&wanted);
    buf_done(&b);
    done(&x);
}

static void spans_point_into_the_mended_text(void **state)
{
    struct reading x;
    struct buf b;
    (void)state;
    buf_init(&b, 100);
    read_good(&x, "{\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}");
    assert_int_equal(x.r.content_bytes, 3);
    assert_int_equal(x.r.n_choices, 1);
    assert_true(x.r.text.data == x.r.repaired.data);
    relay_text(&b, &x.r);
    assert_string_equal(b.data, "\xef\xbf\xbd");
    buf_done(&b);
    done(&x);
    read_good(&x, " {\"choices\":[]} ");
    assert_int_equal(x.r.repaired.len, 0);
    assert_true(x.r.text.data == x.copy + 1);
    assert_int_equal(x.r.text.len, 14);
    done(&x);
}

static void what_is_no_reply_is_refused(void **state)
{
    static const struct {
        const char *text;
        int rc;
    } rows[] = {
        {"", ERR_INVALID},
        {" ", ERR_INVALID},
        {"null", ERR_INVALID},
        {"[]", ERR_INVALID},
        {"[DONE]", ERR_INVALID},
        {"<html>", ERR_INVALID},
        {"{", ERR_INVALID},
        {"{}", ERR_INVALID},
        {"{\"choices\":[]", ERR_INVALID},
        {"{\"choices\":[]}x", ERR_INVALID},
        {"{\"choices\":[]}{}", ERR_INVALID},
        {"{\"choices\":[],}", ERR_INVALID},
        {"{\"choices\":[1,]}", ERR_INVALID},
        {"{\"choices\":[null]}", ERR_INVALID},
        {"{\"choices\":{}}", ERR_INVALID},
        {"{\"choices\":null}", ERR_INVALID},
        {"{\"choices\":[],\"choices\":[]}", ERR_INVALID},
        {"{\"choices\":[],\"\\u0063hoices\":[]}", ERR_INVALID},
        {"{\"id\":1,\"id\":2,\"choices\":[]}", ERR_INVALID},
        {"{\"choices\":[{\"delta\":{},\"delta\":{}}]}", ERR_INVALID},
        {"{\"choices\":[{\"delta\":{\"content\":\"\",\"content\":\"a\"}}]}", ERR_INVALID},
        {"{\"choices\":[{\"index\":128}]}", ERR_INVALID},
        {"{\"choices\":[{\"index\":-1}]}", ERR_INVALID},
        {"{\"choices\":[{\"index\":1.0}]}", ERR_INVALID},
        {"{\"choices\":[{\"index\":\"0\"}]}", ERR_INVALID},
        {"{\"choices\":[{\"index\":99999999999999999999}]}", ERR_INVALID},
        {"{\"choices\":[{\"finish_reason\":1}]}", ERR_INVALID},
        {"{\"choices\":[{\"delta\":{\"content\":\"a\nb\"}}]}", ERR_INVALID},
        {"{\"choices\":[],\"x\":01}", ERR_INVALID},
        {"{\"choices\":[],\"x\":nul}", ERR_INVALID},
        {"{\"choices\":[],\"x\":\"\\x\"}", ERR_INVALID},
        {"{\"choices\":[],\"x\":{\"a\" 1}}", ERR_INVALID},
        {"{\"choices\":[],\"x\":[1}}", ERR_INVALID},
        {"{\"id\":\"x\",\"object\":\"chat.completion\",\"error\":null}", ERR_INVALID},
        {"\xef\xbb\xbf{\"choices\":[]}", ERR_INVALID},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct reading x;
        read_text(&x, rows[i].text);
        if (x.rc != rows[i].rc)
            fail_msg("%s: %d", rows[i].text, x.rc);
        assert_int_equal(x.e.code, x.rc);
        assert_true(x.e.text[0] != '\0');
        done(&x);
    }
}

static void every_beginning_of_a_reply_is_refused(void **state)
{
    const char *text = "{\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\u4f60\","
                       "\"tool_calls\":[{\"function\":{\"name\":\"\xe4\xbd\xa0\"}}]},"
                       "\"usage\":{\"prompt_tokens\":1.5e3}}],\"x\":[true,false,null]}";
    struct reading x;
    (void)state;
    for (size_t n = 0; n < strlen(text); n++) {
        read_bytes(&x, text, n);
        assert_int_equal(x.rc, ERR_INVALID);
        done(&x);
    }
    read_bytes(&x, text, strlen(text) + 1);
    assert_int_equal(x.rc, ERR_INVALID);
    done(&x);
    read_good(&x, text);
    done(&x);
}

static void nesting_has_an_end(void **state)
{
    (void)state;
    for (int depth = RELAY_DEPTH - 1; depth <= RELAY_DEPTH; depth++) {
        struct reading x;
        struct buf b;
        buf_init(&b, 1000);
        buf_adds(&b, "{\"choices\":[],\"x\":");
        for (int i = 0; i < depth; i++)
            buf_addc(&b, '[');
        for (int i = 0; i < depth; i++)
            buf_addc(&b, ']');
        buf_addc(&b, '}');
        read_text(&x, b.data);
        assert_int_equal(x.rc, depth < RELAY_DEPTH ? 0 : ERR_INVALID);
        done(&x);
        buf_done(&b);
    }
}

static void choices_have_an_end(void **state)
{
    (void)state;
    for (int n = RELAY_CHOICES; n <= RELAY_CHOICES + 1; n++) {
        struct reading x;
        struct buf b;
        buf_init(&b, 10000);
        buf_adds(&b, "{\"choices\":[");
        for (int i = 0; i < n; i++)
            buf_adds(&b, i > 0 ? ",{\"index\":0}" : "{\"index\":0}");
        buf_adds(&b, "]}");
        read_text(&x, b.data);
        assert_int_equal(x.rc, n <= RELAY_CHOICES ? 0 : ERR_LIMIT);
        done(&x);
        buf_done(&b);
    }
}

static void assert_text(struct api_text t, const char *wanted)
{
    if (wanted == NULL) {
        assert_null(t.data);
        return;
    }
    assert_int_equal(t.len, strlen(wanted));
    assert_memory_equal(t.data, wanted, t.len);
}

static void an_error_is_known_in_any_shape(void **state)
{
    static const struct {
        const char *text, *message, *code, *type;
        int status;
    } rows[] = {
        {"{\"error\":{\"message\":\"m\",\"type\":\"t\",\"param\":null,\"code\":\"c\"}}", "m", "c",
         "t", 0},
        {"{\"error\":{\"code\":400,\"message\":\"m\",\"type\":\"t\"}}", "m", NULL, "t", 400},
        {"{\"error\":{\"code\":\"429\",\"message\":\"m\"}}", "m", "429", NULL, 429},
        {"{\"error\":{\"code\":404,\"message\":\"m\",\"status\":\"NOT_FOUND\"}}", "m", "NOT_FOUND",
         NULL, 404},
        {"{\"error\":\"m\"}", "m", NULL, NULL, 0},
        {"{\"error\":\"m\",\"status\":503}", "m", NULL, NULL, 503},
        {"{\"object\":\"error\",\"message\":\"m\",\"type\":\"t\",\"code\":400}", "m", NULL, "t",
         400},
        {"{\"object\":\"error\",\"message\":\"m\",\"choices\":[]}", "m", NULL, NULL, 0},
        {"{\"detail\":\"m\"}", "m", NULL, NULL, 0},
        {"{\"detail\":[{\"loc\":[\"body\"],\"msg\":\"m\",\"type\":\"t\"},{\"msg\":\"n\"}]}", "m",
         NULL, "t", 0},
        {"{\"message\":\"m\"}", "m", NULL, NULL, 0},
        {"{\"code\":500,\"msg\":\"m\"}", "m", NULL, NULL, 500},
        {"{\"success\":false,\"errors\":[{\"code\":1000,\"message\":\"m\"}]}", "m", NULL, NULL, 0},
        {"{\"error\":{\"message\":\"m\"},\"choices\":[{\"index\":0,\"delta\":{}}]}", "m", NULL,
         NULL, 0},
        {"{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}", "m",
         NULL, "overloaded_error", 0},
        {"{\"success\":false,\"error\":{\"code\":\"api_error\",\"message\":\"m\","
         "\"type\":\"server_error\",\"param\":null},\"trace_id\":\"x\"}",
         "m", "api_error", "server_error", 0},
        {"{\"error\":{\"message\":\"\",\"code\":700},\"message\":\"m\"}", "m", NULL, NULL, 0},
        {"{\"error\":{}}", NULL, NULL, NULL, 0},
        {"{\"error\":true}", NULL, NULL, NULL, 0},
        {"{\"error\":{\"message\":{\"message\":\"m\"}}}", "m", NULL, NULL, 0},
        {"{\"error\":{\"message\":\"a \\\"b\\\"\"}}", "a \\\"b\\\"", NULL, NULL, 0},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct reading x;
        read_good(&x, rows[i].text);
        assert_int_equal(x.r.kind, RELAY_ERROR);
        assert_text(x.r.message, rows[i].message);
        assert_text(x.r.code, rows[i].code);
        assert_text(x.r.type, rows[i].type);
        assert_int_equal(x.r.status, rows[i].status);
        done(&x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_begins_the_reply_when_it_shows_something),
        cmocka_unit_test(finish_reasons_are_read_by_their_words),
        cmocka_unit_test(a_reply_is_told_from_a_chunk),
        cmocka_unit_test(usage_is_read_in_every_spelling),
        cmocka_unit_test(usage_that_makes_no_sense_is_none),
        cmocka_unit_test(the_usage_at_the_top_stands_above_those_of_choices),
        cmocka_unit_test(the_text_of_all_choices_is_told_once),
        cmocka_unit_test(many_pieces_of_text_are_all_told),
        cmocka_unit_test(spans_point_into_the_mended_text),
        cmocka_unit_test(what_is_no_reply_is_refused),
        cmocka_unit_test(every_beginning_of_a_reply_is_refused),
        cmocka_unit_test(nesting_has_an_end),
        cmocka_unit_test(choices_have_an_end),
        cmocka_unit_test(an_error_is_known_in_any_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
