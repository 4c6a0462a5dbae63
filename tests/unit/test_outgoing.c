/*
 * Unit tests of src/api/outgoing.c: what is written parses again, and is what came but for the
 * members that are named here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/outgoing.h"
#include "base/json.h"

static const struct api_limits LIMITS = {
    .messages = 50, .choices = 5, .stops = 4, .stop_bytes = 32, .logit_biases = 3, .tools = 4};

static const struct api_model LENIENT = {.id = "m",
                                         .context_tokens = 2048,
                                         .thinking = API_THINKING_ON,
                                         .temperature = 1.0,
                                         .temperature_instant = 0.6,
                                         .top_p = 0.95,
                                         .images = true};

static const struct outgoing PLAIN = {.model = "upstream-m"};

static struct json *parse(const char *text, size_t len)
{
    struct json *root = NULL;
    struct error e = {0};

    if (json_parse(text, len, 64, &root, &e) != 0) {
        fail_msg("%s in %.500s", e.text, text);
    }
    return root;
}

/* Writes a whole body's request. */
static void write_body(struct buf *b, const char *text, const struct api_model *m,
                       const struct outgoing *o)
{
    struct json *root = parse(text, strlen(text));
    struct arena *arena = arena_new();
    struct api_request request;
    struct fault f;

    if (api_request_read(root, m, &LIMITS, arena, &request, &f) != FAULT_NONE) {
        fail_msg("%s in %.500s", f.message, text);
    }
    buf_init(b, 1 << 20);
    outgoing_write(b, root, &request, m, o);
    assert_false(b->failed);
    json_free(parse(b->data, b->len));
    arena_free(arena);
    json_free(root);
}

#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

/* Writes a request of one message and these members, and compares with what should be behind the
 * messages. */
static void check(const char *members, const struct api_model *m, const struct outgoing *o,
                  const char *expected)
{
    struct buf in, out, wanted;

    buf_init(&in, 1 << 20);
    buf_init(&wanted, 1 << 20);
    buf_addf(&in, "{\"model\":\"m\"," HI "%s%s}", members[0] == '\0' ? "" : ",", members);
    buf_addf(&wanted, "{\"model\":\"%s\"," HI "%s%s}", o->model, expected[0] == '\0' ? "" : ",",
             expected);
    write_body(&out, in.data, m, o);
    assert_string_equal(out.data, wanted.data);
    buf_done(&in);
    buf_done(&out);
    buf_done(&wanted);
}

static void same(const char *members)
{
    check(members, &LENIENT, &PLAIN, members);
}

static void the_models_name_is_the_upstreams(void **state)
{
    static const char body[] = "{" HI ",\"model\":\"m\",\"x\":{\"model\":\"m\"}}";
    struct outgoing o = {.model = "a \"name\"/\\"};
    struct buf b;

    (void)state;
    write_body(&b, body, &LENIENT, &o);
    assert_string_equal(b.data,
                        "{" HI ",\"model\":\"a \\\"name\\\"/\\\\\",\"x\":{\"model\":\"m\"}}");
    buf_done(&b);
}

static void what_is_not_named_is_copied_member_by_member(void **state)
{
    static const char body[] =
        "{\"model\":\"upstream-m\",\"messages\":[{\"role\":\"developer\",\"content\":\"r\"},"
        "{\"role\":\"user\",\"name\":\"Bo\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://example.org/a.png?b=c&d\"}},"
        "{\"type\":\"image_url\",\"image_url\":\"data:image/png;base64,aGk=\"}]},"
        "{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"so\",\"tool_calls\":"
        "[{\"index\":0,\"id\":\"get:0\",\"type\":\"function\",\"function\":{\"name\":\"get\","
        "\"arguments\":\"{\\\"a\\\": 1}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"get:0\","
        "\"content\":\"\"},{\"role\":\"assistant\",\"content\":\"{\",\"partial\":true}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get\",\"parameters\":"
        "{\"type\":\"object\",\"properties\":{}},\"x\":[]}}],\"tool_choice\":\"auto\","
        "\"response_format\":{\"type\":\"json_object\"},\"an_unknown_member\":{\"a\":[1,null,"
        "true,{}]},\"user\":\"u\",\"metadata\":{},\"reasoning_effort\":\"high\",\"top_k\":-1,"
        "\"min_p\":0.05,\"seed\":-3,\"logit_bias\":{\"1\":-100},\"logprobs\":true,"
        "\"top_logprobs\":5,\"temperature\":0.3,\"top_p\":0.50,\"n\":2,\"presence_penalty\":-2.0,"
        "\"frequency_penalty\":2e0,\"stop\":[\"a\",\"b\"],\"max_tokens\":7,\"thinking\":{\"type\":"
        "\"enabled\",\"keep\":\"all\"},\"prompt_cache_key\":null}";
    struct buf b;

    (void)state;
    write_body(&b, body, &LENIENT, &PLAIN);
    assert_string_equal(b.data, body);
    buf_done(&b);
}

static void numbers_and_texts_keep_their_value(void **state)
{
    (void)state;
    same("\"a\":9223372036854775807,\"b\":-9223372036854775808,\"c\":18446744073709551615");
    same("\"a\":18446744073709551616,\"b\":-9223372036854775809,\"c\":1234567890123456789012345");
    same("\"a\":1e300,\"b\":0.1,\"c\":1.0,\"d\":0.30000000000000004,\"e\":5E-324,\"f\":-0.0");
    same("\"a\":123456789.123456789123456789,\"b\":1.10,\"c\":-0,\"d\":1e-400");
    same("\"a\":\"\xe4\xbd\xa0\xf0\x9f\x8c\x99\",\"b\":\"\\u0001\\n\\\"\\\\/\xc2\x80\"");
    check("\"a\":\"\\u4f60\\/\\ud83c\\udf19\"", &LENIENT, &PLAIN,
          "\"a\":\"\xe4\xbd\xa0/\xf0\x9f\x8c\x99\"");
}

static void a_stream_always_asks_for_usage(void **state)
{
    (void)state;
    check("\"stream\":true", &LENIENT, &PLAIN,
          "\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    check("\"stream\":true,\"stream_options\":null", &LENIENT, &PLAIN,
          "\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    check("\"stream_options\":{\"include_usage\":false,\"x\":[1],\"y\":null},\"stream\":true",
          &LENIENT, &PLAIN,
          "\"stream\":true,\"stream_options\":{\"x\":[1],\"y\":null,\"include_usage\":true}");
    check("\"stream_options\":{\"include_usage\":true},\"stream\":true,\"a\":1", &LENIENT, &PLAIN,
          "\"stream\":true,\"a\":1,\"stream_options\":{\"include_usage\":true}");
}

static void what_is_no_stream_has_no_stream_options(void **state)
{
    (void)state;
    check("\"stream\":false,\"stream_options\":{\"include_usage\":true}", &LENIENT, &PLAIN,
          "\"stream\":false");
    check("\"stream_options\":{\"x\":1}", &LENIENT, &PLAIN, "");
    check("\"stream\":null", &LENIENT, &PLAIN, "");
}

static void a_bound_of_the_call_lowers_what_was_asked_for(void **state)
{
    struct outgoing o = {.model = "u", .max_tokens = 100};

    (void)state;
    check("\"max_tokens\":99,\"max_completion_tokens\":101", &LENIENT, &o,
          "\"max_tokens\":99,\"max_completion_tokens\":100");
    check("\"max_tokens\":100.0", &LENIENT, &o, "\"max_tokens\":100.0");
    check("\"max_tokens\":9223372036854775807", &LENIENT, &o, "\"max_tokens\":100");
    check("", &LENIENT, &o, "\"max_tokens\":100");
    check("\"max_tokens\":null,\"max_completion_tokens\":null", &LENIENT, &o, "\"max_tokens\":100");
    check("\"max_tokens\":null,\"max_completion_tokens\":5", &LENIENT, &o,
          "\"max_completion_tokens\":5");
    same("\"max_tokens\":9223372036854775807");
}

static void the_models_default_bounds_a_reply_that_names_none(void **state)
{
    struct api_model m = LENIENT;
    struct outgoing o = {.model = "u", .max_tokens = 0};

    (void)state;
    m.max_tokens = 32000;
    check("", &m, &o, "\"max_tokens\":32000");
    check("\"max_completion_tokens\":40000", &m, &o, "\"max_completion_tokens\":40000");
    o.max_tokens = 40000;
    check("", &m, &o, "\"max_tokens\":32000");
    o.max_tokens = 10;
    check("", &m, &o, "\"max_tokens\":10");
}

#define SAMPLING "\"temperature\":1,\"top_p\":0.95,\"presence_penalty\":0,\"frequency_penalty\":0.0"

static void sampling_that_a_model_fixes_is_left_to_the_upstream(void **state)
{
    struct api_model m = LENIENT;

    (void)state;
    same(SAMPLING ",\"top_k\":5");
    m.fixed_sampling = true;
    check(SAMPLING ",\"top_k\":5", &m, &PLAIN, "\"top_k\":5");
    check("\"temperature\":0.2,\"n\":2,\"top_p\":null", &m, &PLAIN, "\"n\":2");
    m.strict = true;
    check(SAMPLING, &m, &PLAIN, SAMPLING);
}

static void stops_are_those_that_were_read(void **state)
{
    (void)state;
    same("\"stop\":\"a\"");
    same("\"stop\":[\"a\",\"\xe4\xbd\xa0\"]");
    same("\"stop\":[]");
    same("\"stop\":null");
    check("\"stop\":[\"\",\"a\\n\",\"\",\"b\"]", &LENIENT, &PLAIN, "\"stop\":[\"a\\n\",\"b\"]");
    check("\"stop\":\"\",\"a\":1", &LENIENT, &PLAIN, "\"a\":1");
    check("\"stop\":[\"\"]", &LENIENT, &PLAIN, "");
}

static void thinking_goes_up_as_an_object_and_never_against_the_model(void **state)
{
    struct api_model m = LENIENT;

    (void)state;
    check("\"thinking\":false", &m, &PLAIN, "\"thinking\":{\"type\":\"disabled\"}");
    check("\"thinking\":true", &m, &PLAIN, "\"thinking\":{\"type\":\"enabled\"}");
    same("\"thinking\":{\"type\":\"disabled\",\"x\":1}");
    same("\"thinking\":{\"effort\":\"high\"}");
    same("\"thinking\":null,\"enable_thinking\":false");
    m.thinking = API_THINKING_NEVER;
    check("\"thinking\":{\"type\":\"enabled\"}", &m, &PLAIN, "");
    check("\"thinking\":true", &m, &PLAIN, "");
    check("\"thinking\":{\"type\":\"disabled\"}", &m, &PLAIN,
          "\"thinking\":{\"type\":\"disabled\"}");
    m.thinking = API_THINKING_ALWAYS;
    check("\"thinking\":false", &m, &PLAIN, "");
    check("\"thinking\":true", &m, &PLAIN, "\"thinking\":{\"type\":\"enabled\"}");
}

#define KWARGS(thinking) "\"chat_template_kwargs\":{" thinking "}"

static void thinking_is_also_a_template_argument_on_request(void **state)
{
    static const struct outgoing o = {.model = "u", .template_kwargs = true};
    struct api_model m = LENIENT;

    (void)state;
    check("", &m, &o, KWARGS("\"thinking\":true,\"enable_thinking\":true"));
    check("\"thinking\":{\"type\":\"disabled\"}", &m, &o,
          "\"thinking\":{\"type\":\"disabled\"}," KWARGS(
              "\"thinking\":false,\"enable_thinking\":false"));
    check(KWARGS("\"x\":[1],\"thinking\":false"), &m, &o,
          KWARGS("\"x\":[1],\"thinking\":false,\"enable_thinking\":false"));
    check(KWARGS("\"enable_thinking\":true,\"thinking\":null"), &m, &o,
          KWARGS("\"enable_thinking\":true,\"thinking\":true"));
    check("\"chat_template_kwargs\":null", &m, &o,
          KWARGS("\"thinking\":true,\"enable_thinking\":true"));
    m.strict = true; /* which leaves these members to the upstream */
    check(KWARGS("\"thinking\":false"), &m, &o,
          KWARGS("\"thinking\":false,\"enable_thinking\":false"));
    check(KWARGS("\"enable_thinking\":false,\"thinking\":true"), &m, &o,
          KWARGS("\"enable_thinking\":false,\"thinking\":true"));
    m.thinking = API_THINKING_OFF;
    check("", &m, &o, KWARGS("\"thinking\":false,\"enable_thinking\":false"));
    m.thinking = API_THINKING_NEVER;
    check("", &m, &o, "");
    check(KWARGS("\"x\":1"), &m, &o, KWARGS("\"x\":1"));
    same(KWARGS("\"x\":1,\"thinking\":false"));
}

static void a_buffer_that_is_too_small_fails_as_a_whole(void **state)
{
    static const char body[] = "{\"model\":\"m\"," HI "}";
    struct json *root = parse(body, strlen(body));
    struct arena *arena = arena_new();
    struct api_request request;
    struct fault f;
    struct buf b;

    (void)state;
    assert_int_equal(api_request_read(root, &LENIENT, &LIMITS, arena, &request, &f), FAULT_NONE);
    buf_init(&b, 10);
    outgoing_write(&b, root, &request, &LENIENT, &PLAIN);
    assert_true(b.failed);
    buf_done(&b);
    arena_free(arena);
    json_free(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_models_name_is_the_upstreams),
        cmocka_unit_test(what_is_not_named_is_copied_member_by_member),
        cmocka_unit_test(numbers_and_texts_keep_their_value),
        cmocka_unit_test(a_stream_always_asks_for_usage),
        cmocka_unit_test(what_is_no_stream_has_no_stream_options),
        cmocka_unit_test(a_bound_of_the_call_lowers_what_was_asked_for),
        cmocka_unit_test(the_models_default_bounds_a_reply_that_names_none),
        cmocka_unit_test(sampling_that_a_model_fixes_is_left_to_the_upstream),
        cmocka_unit_test(stops_are_those_that_were_read),
        cmocka_unit_test(thinking_goes_up_as_an_object_and_never_against_the_model),
        cmocka_unit_test(thinking_is_also_a_template_argument_on_request),
        cmocka_unit_test(a_buffer_that_is_too_small_fails_as_a_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
