/*
 * Unit tests of src/api/request.c, messages.c, features.c and field.c. Most are tables: a body
 * with the fault that it must find.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>

#include "api/request.h"
#include "base/buf.h"
#include "base/json.h"

static const struct api_limits LIMITS = {
    .messages = 50, .choices = 5, .stops = 4, .stop_bytes = 32, .logit_biases = 3, .tools = 4};

static const struct api_model LENIENT = {.id = "m",
                                         .context_tokens = 2048,
                                         .thinking = API_THINKING_ON,
                                         .temperature = 1.0,
                                         .temperature_instant = 0.6,
                                         .fixed_sampling = true,
                                         .top_p = 0.95,
                                         .max_tokens = 0};

static const struct api_model STRICT = {.id = "m",
                                        .context_tokens = 2048,
                                        .thinking = API_THINKING_ON,
                                        .strict = true,
                                        .temperature = 1.0,
                                        .temperature_instant = 0.6,
                                        .fixed_sampling = true,
                                        .top_p = 0.95};

static const struct api_model STRICT_FREE = {.id = "m",
                                             .context_tokens = 2048,
                                             .thinking = API_THINKING_NEVER,
                                             .strict = true,
                                             .temperature = 0.6,
                                             .temperature_instant = 0.6,
                                             .top_p = 1.0};

struct read {
    struct json *root;
    struct arena *arena;
    struct api_request request;
    struct fault fault;
    enum fault_kind kind;
};

static void read_text(struct read *r, const struct api_model *model, const char *text, size_t len)
{
    struct error e = {0};

    memset(r, 0, sizeof *r);
    if (json_parse(text, len, 64, &r->root, &e) != 0) {
        fail_msg("%s in %.200s", e.text, text);
    }
    r->arena = arena_new();
    r->kind = api_request_read(r->root, model, &LIMITS, r->arena, &r->request, &r->fault);
    assert_int_equal(r->kind, r->fault.kind);
}

/* A body of one message and the members given. */
static void read_members(struct read *r, const struct api_model *model, const char *members)
{
    struct buf b;

    buf_init(&b, 1 << 20);
    buf_addf(&b, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]%s%s}",
             members[0] == '\0' ? "" : ",", members);
    read_text(r, model, b.data, b.len);
    buf_done(&b);
}

static void read_done(struct read *r)
{
    arena_free(r->arena);
    json_free(r->root);
}

struct fault_case {
    const char *text; /* members, or a message list */
    enum fault_kind kind;
    const char *param;   /* NULL: not looked at */
    const char *message; /* a part of it, or NULL */
};

static void check_case(const struct read *r, const struct fault_case *c, const char *profile)
{
    if (r->kind != c->kind) {
        fail_msg("%s: %s: kind %d instead of %d (%s)", profile, c->text, r->kind, c->kind,
                 r->fault.message);
    }
    if (c->param != NULL && strcmp(r->fault.param, c->param) != 0) {
        fail_msg("%s: %s: param \"%s\" instead of \"%s\"", profile, c->text, r->fault.param,
                 c->param);
    }
    if (c->message != NULL && strstr(r->fault.message, c->message) == NULL) {
        fail_msg("%s: %s: \"%s\" lacks \"%s\"", profile, c->text, r->fault.message, c->message);
    }
}

static void check_members(const struct api_model *model, const char *profile,
                          const struct fault_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct read r;
        read_members(&r, model, cases[i].text);
        check_case(&r, &cases[i], profile);
        read_done(&r);
    }
}

static void check_lists(const struct api_model *model, const char *profile,
                        const struct fault_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct read r;
        struct buf b;
        buf_init(&b, 1 << 20);
        buf_addf(&b, "{\"model\":\"m\",\"messages\":%s}", cases[i].text);
        read_text(&r, model, b.data, b.len);
        check_case(&r, &cases[i], profile);
        read_done(&r);
        buf_done(&b);
    }
}

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void the_smallest_request_gets_the_models_defaults(void **state)
{
    struct read r;

    (void)state;
    read_members(&r, &LENIENT, "");
    assert_int_equal(r.kind, FAULT_NONE);
    assert_string_equal(r.request.model, "m");
    assert_int_equal(r.request.n_messages, 1);
    assert_int_equal(r.request.messages[0].role, API_USER);
    assert_memory_equal(r.request.messages[0].content.data, "hi", 2);
    assert_false(r.request.stream);
    assert_int_equal(r.request.choices, 1);
    assert_int_equal(r.request.max_tokens, 0);
    assert_true(r.request.thinking);
    assert_true(r.request.temperature == 1.0);
    assert_true(r.request.top_p == 0.95);
    assert_false(r.request.has_seed);
    assert_int_equal(r.request.n_stops, 0);
    assert_null(r.request.tools);
    read_done(&r);
}

static void null_is_the_same_as_absent_for_every_optional_field(void **state)
{
    static const char *const keys[] = {
        "stream",
        "stream_options",
        "n",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "presence_penalty",
        "frequency_penalty",
        "top_k",
        "min_p",
        "seed",
        "stop",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "thinking",
        "reasoning_effort",
        "tools",
        "tool_choice",
        "response_format",
        "modalities",
        "audio",
        "functions",
        "function_call",
        "prediction",
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "parallel_tool_calls",
        "web_search_options",
        "chat_template_kwargs",
        "enable_thinking",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(keys); i++) {
        char members[64];
        struct read r;
        snprintf(members, sizeof members, "\"%s\":null", keys[i]);
        for (int k = 0; k < 2; k++) {
            read_members(&r, k == 0 ? &LENIENT : &STRICT, members);
            if (r.kind != FAULT_NONE) {
                fail_msg("%s: %s", members, r.fault.message);
            }
            assert_true(r.request.thinking);
            read_done(&r);
        }
    }
}

static void a_wrong_type_is_named_in_both_profiles(void **state)
{
    static const struct fault_case cases[] = {
        {"\"stream\":\"yes\"", FAULT_BAD_REQUEST, "stream", "must be a boolean, not a string"},
        {"\"stream_options\":true", FAULT_BAD_REQUEST, "stream_options", NULL},
        {"\"stream\":true,\"stream_options\":{\"include_usage\":1}", FAULT_BAD_REQUEST,
         "stream_options.include_usage", NULL},
        {"\"n\":\"2\"", FAULT_BAD_REQUEST, "n", NULL},
        {"\"n\":1.5", FAULT_BAD_REQUEST, "n", NULL},
        {"\"max_tokens\":\"9\"", FAULT_BAD_REQUEST, "max_tokens", NULL},
        {"\"max_tokens\":0", FAULT_BAD_REQUEST, "max_tokens", "at least 1"},
        {"\"max_completion_tokens\":-1", FAULT_BAD_REQUEST, "max_completion_tokens", NULL},
        {"\"max_tokens\":99999999999999999999", FAULT_BAD_REQUEST, "max_tokens", NULL},
        {"\"max_tokens\":-1,\"max_completion_tokens\":5", FAULT_BAD_REQUEST, "max_tokens", NULL},
        {"\"temperature\":\"hot\"", FAULT_BAD_REQUEST, "temperature", NULL},
        {"\"temperature\":2.1", FAULT_BAD_REQUEST, "temperature", "from 0 to 2"},
        {"\"temperature\":-0.1", FAULT_BAD_REQUEST, "temperature", NULL},
        {"\"top_p\":1.01", FAULT_BAD_REQUEST, "top_p", NULL},
        {"\"presence_penalty\":3", FAULT_BAD_REQUEST, "presence_penalty", NULL},
        {"\"frequency_penalty\":[]", FAULT_BAD_REQUEST, "frequency_penalty", NULL},
        {"\"top_k\":-2", FAULT_BAD_REQUEST, "top_k", NULL},
        {"\"min_p\":2", FAULT_BAD_REQUEST, "min_p", NULL},
        {"\"n\":0", FAULT_BAD_REQUEST, "n", NULL},
        {"\"n\":6", FAULT_BAD_REQUEST, "n", "from 1 to 5"},
        {"\"seed\":\"x\"", FAULT_BAD_REQUEST, "seed", NULL},
        {"\"seed\":1.5", FAULT_BAD_REQUEST, "seed", NULL},
        {"\"stop\":7", FAULT_BAD_REQUEST, "stop", NULL},
        {"\"stop\":[\"a\",null]", FAULT_BAD_REQUEST, "stop[1]", NULL},
        {"\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]", FAULT_BAD_REQUEST, "stop", "limits.stops"},
        {"\"stop\":\"123456789012345678901234567890123\"", FAULT_BAD_REQUEST, "stop", "33 bytes"},
        {"\"logit_bias\":[]", FAULT_BAD_REQUEST, "logit_bias", NULL},
        {"\"logit_bias\":{\"x\":1}", FAULT_BAD_REQUEST, "logit_bias", "key \"x\""},
        {"\"logit_bias\":{\"-1\":1}", FAULT_BAD_REQUEST, "logit_bias", NULL},
        {"\"logit_bias\":{\"01\":1}", FAULT_BAD_REQUEST, "logit_bias", NULL},
        {"\"logit_bias\":{\"\":1}", FAULT_BAD_REQUEST, "logit_bias", NULL},
        {"\"logit_bias\":{\"2147483648\":1}", FAULT_BAD_REQUEST, "logit_bias", NULL},
        {"\"logit_bias\":{\"99999999999999999999999\":1}", FAULT_BAD_REQUEST, "logit_bias", NULL},
        {"\"logit_bias\":{\"1\":101}", FAULT_BAD_REQUEST, "logit_bias", "-100 to 100"},
        {"\"logit_bias\":{\"1\":null}", FAULT_BAD_REQUEST, "logit_bias", NULL},
        {"\"logit_bias\":{\"1\":1,\"2\":1,\"3\":1,\"4\":1}", FAULT_BAD_REQUEST, "logit_bias",
         "at most 3"},
        {"\"logprobs\":1", FAULT_BAD_REQUEST, "logprobs", NULL},
        {"\"top_logprobs\":3", FAULT_BAD_REQUEST, "top_logprobs", "needs logprobs"},
        {"\"logprobs\":true,\"top_logprobs\":21", FAULT_BAD_REQUEST, "top_logprobs", NULL},
        {"\"thinking\":\"enabled\"", FAULT_BAD_REQUEST, "thinking", NULL},
        {"\"thinking\":{\"type\":true}", FAULT_BAD_REQUEST, "thinking.type", NULL},
        {"\"thinking\":{\"type\":\"maybe\"}", FAULT_BAD_REQUEST, "thinking.type", NULL},
        {"\"thinking\":{\"type\":\"enabled\",\"keep\":\"some\"}", FAULT_BAD_REQUEST,
         "thinking.keep", NULL},
        {"\"reasoning_effort\":3", FAULT_BAD_REQUEST, "reasoning_effort", NULL},
        {"\"user\":3", FAULT_BAD_REQUEST, "user", NULL},
        {"\"metadata\":[]", FAULT_BAD_REQUEST, "metadata", NULL},
        {"\"parallel_tool_calls\":\"no\"", FAULT_BAD_REQUEST, "parallel_tool_calls", NULL},
    };

    (void)state;
    check_members(&LENIENT, "lenient", cases, COUNT(cases));
    check_members(&STRICT, "strict", cases, COUNT(cases));
}

static void reasoning_of_earlier_turns_is_kept_on_request(void **state)
{
    struct read r;
    (void)state;
    read_members(&r, &LENIENT, "\"thinking\":{\"type\":\"enabled\",\"keep\":\"all\"}");
    assert_int_equal(r.kind, FAULT_NONE);
    assert_true(r.request.keep_reasoning);
    read_done(&r);
    read_members(&r, &LENIENT, "\"thinking\":{\"type\":\"enabled\",\"keep\":null}");
    assert_int_equal(r.kind, FAULT_NONE);
    assert_false(r.request.keep_reasoning);
    read_done(&r);
}

static void a_temperature_that_was_given_is_told_from_the_default(void **state)
{
    struct read r;
    (void)state;
    read_members(&r, &LENIENT, "\"temperature\":0.2");
    assert_true(r.request.has_temperature);
    read_done(&r);
    read_members(&r, &LENIENT, "\"temperature\":null");
    assert_false(r.request.has_temperature);
    read_done(&r);
}

static void values_are_read(void **state)
{
    struct read r;

    (void)state;
    read_members(&r, &LENIENT,
                 "\"stream\":true,\"stream_options\":{\"include_usage\":true},\"n\":2,"
                 "\"max_tokens\":7,\"max_completion_tokens\":9,\"temperature\":0.25,\"top_p\":0.5,"
                 "\"presence_penalty\":-2,\"frequency_penalty\":2,\"top_k\":40,\"min_p\":0.1,"
                 "\"seed\":-3,\"stop\":[\"a\",\"\",\"bc\"],\"logit_bias\":{\"0\":-100,\"17\":2.5},"
                 "\"logprobs\":true,\"top_logprobs\":20,\"thinking\":{\"type\":\"disabled\"}");
    assert_int_equal(r.kind, FAULT_NONE);
    assert_true(r.request.stream && r.request.include_usage);
    assert_int_equal(r.request.choices, 2);
    assert_int_equal(r.request.max_tokens, 9);
    assert_true(r.request.temperature == 0.25 && r.request.top_p == 0.5);
    assert_true(r.request.presence_penalty == -2 && r.request.frequency_penalty == 2);
    assert_int_equal(r.request.top_k, 40);
    assert_true(r.request.min_p == 0.1);
    assert_true(r.request.has_seed);
    assert_int_equal(r.request.seed, (uint64_t)-3);
    assert_int_equal(r.request.n_stops, 2);
    assert_memory_equal(r.request.stops[1].data, "bc", 2);
    assert_int_equal(r.request.n_biases, 2);
    assert_int_equal(r.request.biases[1].token, 17);
    assert_true(r.request.biases[1].bias == 2.5f);
    assert_true(r.request.logprobs);
    assert_int_equal(r.request.top_logprobs, 20);
    assert_false(r.request.thinking);
    read_done(&r);

    read_members(&r, &LENIENT,
                 "\"stop\":\"x\",\"top_k\":-1,\"max_completion_tokens\":3,"
                 "\"max_tokens\":8,\"thinking\":{\"type\":\"disabled\"}");
    assert_int_equal(r.request.n_stops, 1);
    assert_int_equal(r.request.top_k, 0);
    assert_int_equal(r.request.max_tokens, 3);
    assert_true(r.request.temperature == 0.6);
    read_done(&r);
}

static void the_lenient_profile_takes_what_other_servers_take(void **state)
{
    static const char *const good[] = {
        ("\"temperature\":2,\"top_p\":1,\"n\":1,\"frequency_penalty\":0,\"presence_penalty\":0,"
         "\"logprobs\":false,\"parallel_tool_calls\":true,\"service_tier\":\"auto\",\"store\":"
         "false"),
        "\"stream_options\":{\"include_usage\":true}",
        "\"top_logprobs\":0",
        "\"reasoning_effort\":\"whatever\"",
        "\"thinking\":{\"effort\":\"high\"},\"reasoning_effort\":\"high\"",
        "\"tools\":[],\"tool_choice\":\"auto\"",
        "\"tool_choice\":\"none\"",
        "\"functions\":[],\"function_call\":\"auto\"",
        "\"response_format\":{\"type\":\"text\"}",
        "\"modalities\":[\"text\"]",
        "\"prediction\":{\"type\":\"content\",\"content\":\"x\"}",
        "\"stop\":[]",
        "\"logit_bias\":{}",
        "\"an_unknown_field\":{\"a\":[1,2]}",
        "\"callback_url\":\"x\",\"async\":false",
        "\"max_tokens\":16.0",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        struct read r;
        read_members(&r, &LENIENT, good[i]);
        if (r.kind != FAULT_NONE) {
            fail_msg("%s: %s", good[i], r.fault.message);
        }
        assert_false(r.request.include_usage);
        read_done(&r);
    }
}

static void the_strict_profile_refuses_what_a_model_does_not_take(void **state)
{
    static const struct fault_case fixed[] = {
        {"\"temperature\":0.5", FAULT_BAD_REQUEST, "temperature",
         "invalid temperature: only 1 is allowed for this model"},
        {"\"temperature\":1,\"thinking\":{\"type\":\"disabled\"}", FAULT_BAD_REQUEST, "temperature",
         "only 0.6 is allowed"},
        {"\"temperature\":0.6,\"thinking\":{\"type\":\"disabled\"}", FAULT_NONE, NULL, NULL},
        {"\"temperature\":1.0,\"top_p\":0.95,\"n\":1,\"presence_penalty\":0.0", FAULT_NONE, NULL,
         NULL},
        {"\"top_p\":1", FAULT_BAD_REQUEST, "top_p", "only 0.95"},
        {"\"n\":2", FAULT_BAD_REQUEST, "n", "only 1"},
        {"\"presence_penalty\":0.5", FAULT_BAD_REQUEST, "presence_penalty", "only 0"},
        {"\"frequency_penalty\":0.5", FAULT_BAD_REQUEST, "frequency_penalty", NULL},
        {"\"stop\":[\"\"]", FAULT_BAD_REQUEST, "stop[0]", NULL},
        {"\"thinking\":true", FAULT_BAD_REQUEST, "thinking", "expected type object"},
        {"\"thinking\":{\"type\":\"enabled\",\"x\":1}", FAULT_BAD_REQUEST, "thinking", "\"x\""},
        {"\"thinking\":{}", FAULT_BAD_REQUEST, "thinking.type", NULL},
        {"\"thinking\":{\"type\":\"enabled\",\"keep\":\"all\"}", FAULT_NONE, NULL, NULL},
        {"\"thinking\":{\"type\":\"enabled\"},\"reasoning_effort\":\"low\"", FAULT_BAD_REQUEST,
         "reasoning_effort", "cannot specify both"},
        {"\"reasoning_effort\":\"very\"", FAULT_BAD_REQUEST, "reasoning_effort", NULL},
        {"\"stream_options\":{\"include_usage\":true}", FAULT_BAD_REQUEST, "stream_options", NULL},
    };
    static const struct fault_case free_model[] = {
        {"\"temperature\":1.2", FAULT_BAD_REQUEST, "temperature", "0 to 1"},
        {"\"temperature\":0.3,\"top_p\":0.5,\"n\":3,\"presence_penalty\":1", FAULT_NONE, NULL,
         NULL},
        {"\"temperature\":0,\"n\":2", FAULT_BAD_REQUEST, "n", "close to 0"},
        {"\"thinking\":{\"type\":\"enabled\"}", FAULT_BAD_REQUEST, "thinking", "only disabled"},
    };

    (void)state;
    check_members(&STRICT, "strict", fixed, COUNT(fixed));
    check_members(&STRICT_FREE, "strict, free sampling", free_model, COUNT(free_model));
}

static void thinking_follows_the_model_then_the_request(void **state)
{
    static const struct {
        enum api_thinking rule;
        const char *members;
        bool thinking;
    } cases[] = {
        {API_THINKING_ON, "", true},
        {API_THINKING_OFF, "", false},
        {API_THINKING_NEVER, "", false},
        {API_THINKING_ALWAYS, "", true},
        {API_THINKING_ON, "\"thinking\":{\"type\":\"disabled\"}", false},
        {API_THINKING_OFF, "\"thinking\":{\"type\":\"enabled\"}", true},
        {API_THINKING_NEVER, "\"thinking\":{\"type\":\"enabled\"}", false},
        {API_THINKING_ALWAYS, "\"thinking\":{\"type\":\"disabled\"}", true},
        {API_THINKING_ON, "\"thinking\":false", false},
        {API_THINKING_OFF, "\"thinking\":true", true},
        {API_THINKING_ON, "\"enable_thinking\":false", false},
        {API_THINKING_ON, "\"chat_template_kwargs\":{\"thinking\":false}", false},
        {API_THINKING_OFF, "\"chat_template_kwargs\":{\"enable_thinking\":true}", true},
        {API_THINKING_ON, "\"reasoning_effort\":\"none\"", false},
        {API_THINKING_ON, "\"reasoning_effort\":\"minimal\"", true},
        {API_THINKING_OFF, "\"reasoning_effort\":\"high\"", false},
        {API_THINKING_ON, "\"reasoning_effort\":\"none\",\"thinking\":{\"type\":\"enabled\"}",
         true},
        {API_THINKING_ON, "\"enable_thinking\":false,\"thinking\":{\"type\":\"enabled\"}", true},
        {API_THINKING_ON, "\"reasoning_effort\":\"none\",\"enable_thinking\":true", true},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct read r;
        struct api_model model = LENIENT;
        model.thinking = cases[i].rule;
        read_members(&r, &model, cases[i].members);
        if (r.kind != FAULT_NONE || r.request.thinking != cases[i].thinking) {
            fail_msg("case %zu (%s): %s", i, cases[i].members, r.fault.message);
        }
        read_done(&r);
    }
}

static void mistakes_in_tools_and_formats_are_bad_requests(void **state)
{
    static const struct fault_case cases[] = {
        {"\"tools\":{}", FAULT_BAD_REQUEST, "tools", NULL},
        {"\"tools\":[1]", FAULT_BAD_REQUEST, "tools[0]", NULL},
        {"\"tools\":[{\"type\":\"magic\"}]", FAULT_BAD_REQUEST, "tools[0].type", NULL},
        {"\"tools\":[{\"type\":\"function\"}]", FAULT_BAD_REQUEST, "tools[0].function", NULL},
        {"\"tools\":[{\"type\":\"function\",\"function\":{}}]", FAULT_BAD_REQUEST,
         "tools[0].function.name", "missing"},
        {"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a b\"}}]", FAULT_BAD_REQUEST,
         "tools[0].function.name", "invalid"},
        {"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"abc\"}},{\"type\":"
         "\"function\",\"function\":{\"name\":\"abc\"}}]",
         FAULT_BAD_REQUEST, "tools[1].function.name", "twice"},
        {"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"abc\",\"parameters\":1}}]",
         FAULT_BAD_REQUEST, "tools[0].function.parameters", NULL},
        {"\"tools\":[1,2,3,4,5]", FAULT_BAD_REQUEST, "tools", "at most 4"},
        {"\"tool_choice\":\"required\"", FAULT_BAD_REQUEST, "tool_choice", NULL},
        {"\"tool_choice\":\"bogus\"", FAULT_BAD_REQUEST, "tool_choice", "bogus"},
        {"\"tool_choice\":3", FAULT_BAD_REQUEST, "tool_choice", NULL},
        {"\"tool_choice\":{}", FAULT_BAD_REQUEST, "tool_choice.type", NULL},
        {"\"tool_choice\":{\"type\":\"function\"}", FAULT_BAD_REQUEST, "tool_choice.function",
         NULL},
        {"\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"abc\"}}",
         FAULT_BAD_REQUEST, "tool_choice.function.name", NULL},
        {"\"response_format\":\"text\"", FAULT_BAD_REQUEST, "response_format", NULL},
        {"\"response_format\":{}", FAULT_BAD_REQUEST, "response_format.type", NULL},
        {"\"response_format\":{\"type\":\"xml\"}", FAULT_BAD_REQUEST, "response_format.type", NULL},
        {"\"response_format\":{\"type\":\"json_schema\"}", FAULT_BAD_REQUEST,
         "response_format.json_schema", NULL},
        {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{}}}",
         FAULT_BAD_REQUEST, "response_format.json_schema.name", NULL},
        {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"abc\"}}",
         FAULT_BAD_REQUEST, "response_format.json_schema.schema", NULL},
        {"\"modalities\":[\"smell\"]", FAULT_BAD_REQUEST, "modalities", NULL},
        {"\"audio\":true", FAULT_BAD_REQUEST, "audio", NULL},
        {"\"web_search_options\":[]", FAULT_BAD_REQUEST, "web_search_options", NULL},
        {"\"functions\":{}", FAULT_BAD_REQUEST, "functions", NULL},
        {"\"functions\":[1,2,3,4,5]", FAULT_BAD_REQUEST, "functions", "at most 4"},
        {"\"function_call\":3", FAULT_BAD_REQUEST, "function_call", NULL},
    };

    (void)state;
    check_members(&LENIENT, "lenient", cases, COUNT(cases));
    check_members(&STRICT, "strict", cases, COUNT(cases));
}

static void short_names_of_functions_are_for_the_lenient_profile(void **state)
{
    static const char tool[] = "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"9\"}}]";
    static const struct fault_case lenient = {tool, FAULT_NONE, NULL, NULL};
    static const struct fault_case strict = {tool, FAULT_BAD_REQUEST, "tools[0].function.name",
                                             NULL};

    (void)state;
    check_members(&LENIENT, "lenient", &lenient, 1);
    check_members(&STRICT, "strict", &strict, 1);
}

static void faults_in_messages_tell_the_place(void **state)
{
    static const struct fault_case cases[] = {
        {"null", FAULT_BAD_REQUEST, "messages", "missing"},
        {"{}", FAULT_BAD_REQUEST, "messages", "an array"},
        {"[]", FAULT_BAD_REQUEST, "messages", "empty"},
        {"[3]", FAULT_BAD_REQUEST, "messages[0]", "an object"},
        {"[{\"content\":\"x\"}]", FAULT_BAD_REQUEST, "messages[0].role", "missing"},
        {"[{\"role\":\"alien\",\"content\":\"x\"}]", FAULT_BAD_REQUEST, "messages[0].role",
         "alien"},
        {"[{\"role\":1,\"content\":\"x\"}]", FAULT_BAD_REQUEST, "messages[0].role", NULL},
        {"[{\"role\":\"user\"}]", FAULT_BAD_REQUEST, "messages[0].content", "missing"},
        {"[{\"role\":\"user\",\"content\":null}]", FAULT_BAD_REQUEST, "messages[0].content", NULL},
        {"[{\"role\":\"user\",\"content\":1}]", FAULT_BAD_REQUEST, "messages[0].content", NULL},
        {"[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":[{\"type\":"
         "\"text\",\"text\":\"a\"},{\"text\":\"b\"}]}]",
         FAULT_BAD_REQUEST, "messages[1].content[1].type", NULL},
        {"[{\"role\":\"user\",\"content\":[\"a\"]}]", FAULT_BAD_REQUEST, "messages[0].content[0]",
         NULL},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]", FAULT_BAD_REQUEST,
         "messages[0].content[0].text", NULL},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"smell\"}]}]", FAULT_BAD_REQUEST,
         "messages[0].content[0].type", "smell"},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{}}]}]",
         FAULT_NOT_IMPLEMENTED, "messages[0].content[0].type", "image_url"},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\"}]}]", FAULT_NOT_IMPLEMENTED,
         "messages[0].content[0].type", NULL},
        {"[{\"role\":\"user\",\"content\":\"x\",\"name\":1}]", FAULT_BAD_REQUEST,
         "messages[0].name", NULL},
        {"[{\"role\":\"tool\",\"content\":\"x\"}]", FAULT_BAD_REQUEST, "messages[0].tool_call_id",
         "missing"},
        {"[{\"role\":\"tool\",\"content\":\"x\",\"tool_call_id\":\"\"}]", FAULT_BAD_REQUEST,
         "messages[0].tool_call_id", NULL},
        {"[{\"role\":\"assistant\",\"content\":\"x\",\"partial\":1}]", FAULT_BAD_REQUEST,
         "messages[0].partial", NULL},
        {"[{\"role\":\"user\",\"content\":\"x\",\"partial\":true}]", FAULT_BAD_REQUEST,
         "messages[0].partial", NULL},
        {"[{\"role\":\"assistant\",\"content\":\"x\",\"partial\":true},{\"role\":\"user\","
         "\"content\":\"y\"}]",
         FAULT_BAD_REQUEST, "messages[0].partial", NULL},
        {"[{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":{}}]", FAULT_BAD_REQUEST,
         "messages[0].tool_calls", NULL},
        {"[{\"role\":\"assistant\",\"tool_calls\":[1]}]", FAULT_BAD_REQUEST,
         "messages[0].tool_calls[0]", NULL},
        {"[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":1}]}]", FAULT_BAD_REQUEST,
         "messages[0].tool_calls[0].id", NULL},
        {"[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\"}]}]", FAULT_BAD_REQUEST,
         "messages[0].tool_calls[0].function", NULL},
        {"[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{}}]}]", FAULT_BAD_REQUEST,
         "messages[0].tool_calls[0].function.name", NULL},
        {"[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":"
         "{}}}]}]",
         FAULT_BAD_REQUEST, "messages[0].tool_calls[0].function.arguments", NULL},
        {"[{\"role\":\"assistant\",\"tool_calls\":[1,2,3,4,5]}]", FAULT_BAD_REQUEST,
         "messages[0].tool_calls", "at most 4"},
        {"[{\"role\":\"assistant\",\"content\":\"x\",\"reasoning_content\":1}]", FAULT_BAD_REQUEST,
         "messages[0].reasoning_content", NULL},
    };

    (void)state;
    check_lists(&LENIENT, "lenient", cases, COUNT(cases));
    check_lists(&STRICT, "strict", cases, COUNT(cases));
}

#define CALL(id)                                                                                   \
    "{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"" id                                        \
    "\",\"type\":\"function\",\"function\":{\"name\":\"a\",\"arguments\":\"{}\"}}]}"
#define USER "{\"role\":\"user\",\"content\":\"x\"}"

static void histories_that_clients_send_are_taken(void **state)
{
    static const struct fault_case both[] = {
        {"[" USER "," CALL("functions.a:0") ",{\"role\":\"tool\",\"tool_call_id\":"
                                            "\"functions.a:0\",\"content\":\"\"}]",
         FAULT_NONE, NULL, NULL},
        {"[" USER "," CALL("call_x") ",{\"role\":\"tool\",\"tool_call_id\":\"call_x\","
                                     "\"content\":[{\"type\":\"text\",\"text\":\"y\"}]}]",
         FAULT_NONE, NULL, NULL},
        {"[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{\"name\":"
         "\"a\"}}]}," USER "]",
         FAULT_NONE, NULL, NULL},
        {"[{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"function\":{\"name\":"
         "\"a\"}}]}," USER "]",
         FAULT_NONE, NULL, NULL},
        {"[{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":null,\"refusal\":null,"
         "\"reasoning_content\":null}," USER "]",
         FAULT_NONE, NULL, NULL},
        {"[" USER ",{\"role\":\"assistant\",\"content\":\"\",\"partial\":true}]", FAULT_NONE, NULL,
         NULL},
    };
    static const struct fault_case lenient[] = {
        {"[{\"role\":\"assistant\"}," USER "]", FAULT_NONE, NULL, NULL},
        {"[{\"role\":\"assistant\",\"content\":\"\"}," USER "]", FAULT_NONE, NULL, NULL},
        {"[{\"role\":\"user\",\"content\":\"\"}]", FAULT_NONE, NULL, NULL},
        {"[{\"role\":\"tool\",\"tool_call_id\":\"x\",\"content\":\"y\"}," USER "]", FAULT_NONE,
         NULL, NULL},
    };
    static const struct fault_case strict[] = {
        {"[{\"role\":\"assistant\"}," USER "]", FAULT_BAD_REQUEST, "messages[0].content",
         "the message at position 0 with role 'assistant' must not be empty"},
        {"[" USER ",{\"role\":\"assistant\",\"content\":\"\"}," USER "]", FAULT_BAD_REQUEST,
         "messages[1].content", "position 1"},
        {"[{\"role\":\"user\",\"content\":\"\"}]", FAULT_BAD_REQUEST, "messages[0].content",
         "role 'user'"},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\"}]}]", FAULT_BAD_REQUEST,
         "messages[0].content[0].text", "text content is empty"},
        {"[" USER "," CALL("a") ",{\"role\":\"tool\",\"tool_call_id\":\"b\",\"content\":\"y\"}]",
         FAULT_BAD_REQUEST, "messages[2].tool_call_id", "tool_call_id \"b\" is not found"},
    };

    (void)state;
    check_lists(&LENIENT, "lenient", both, COUNT(both));
    check_lists(&STRICT, "strict", both, COUNT(both));
    check_lists(&LENIENT, "lenient", lenient, COUNT(lenient));
    check_lists(&STRICT, "strict", strict, COUNT(strict));
}

static void text_parts_are_joined_and_roles_are_mapped(void **state)
{
    static const char body[] =
        "{\"model\":\"m\",\"messages\":[{\"role\":\"developer\",\"content\":\"rules\"},"
        "{\"role\":\"user\",\"name\":\"Bo\",\"content\":[{\"type\":\"text\",\"text\":\"ab\"},"
        "{\"type\":\"text\",\"text\":\"\"},{\"type\":\"text\",\"text\":\"c\"}]},"
        "{\"role\":\"assistant\",\"content\":\"p\",\"reasoning\":\"why\",\"partial\":true}]}";
    struct read r;
    const struct api_message *m;

    (void)state;
    read_text(&r, &LENIENT, body, strlen(body));
    assert_int_equal(r.kind, FAULT_NONE);
    m = r.request.messages;
    assert_int_equal(m[0].role, API_SYSTEM);
    assert_int_equal(m[1].content.len, 3);
    assert_memory_equal(m[1].content.data, "abc", 3);
    assert_memory_equal(m[1].name.data, "Bo", 2);
    assert_int_equal(m[2].reasoning.len, 3);
    assert_true(m[2].partial);
    read_done(&r);
}

static void too_many_messages_name_the_limit(void **state)
{
    struct buf b;
    struct read r;

    (void)state;
    buf_init(&b, 1 << 20);
    buf_adds(&b, "{\"model\":\"m\",\"messages\":[0");
    for (int i = 1; i < 51; i++) {
        buf_adds(&b, ",0");
    }
    buf_adds(&b, "]}");
    read_text(&r, &LENIENT, b.data, b.len);
    assert_int_equal(r.kind, FAULT_BAD_REQUEST);
    assert_non_null(strstr(r.fault.message, "51 entries; at most 50"));
    read_done(&r);
    buf_done(&b);
}

static void the_model_must_be_a_name(void **state)
{
    static const char *const bad[] = {
        "[]", "3", "null", "{}", "{\"model\":null}", "{\"model\":3}", "{\"model\":\"\"}"};
    struct fault f;
    struct json *root = NULL;

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(json_parse(bad[i], strlen(bad[i]), 8, &root, NULL), 0);
        assert_null(api_request_model(root, &f));
        assert_int_equal(f.kind, FAULT_BAD_REQUEST);
        assert_true(strlen(f.message) > 0);
        json_free(root);
    }
    assert_int_equal(json_parse("{\"model\":\"a\"}", 13, 8, &root, NULL), 0);
    assert_string_equal(api_request_model(root, &f), "a");
    json_free(root);
}

static void a_count_reads_messages_alone(void **state)
{
    static const char body[] = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":"
                               "\"hi\"}],\"temperature\":\"ignored\"}";
    struct json *root = NULL;
    struct arena *arena = arena_new();
    struct api_request request;
    struct fault f;

    (void)state;
    assert_int_equal(json_parse(body, strlen(body), 8, &root, NULL), 0);
    assert_int_equal(api_count_read(root, &LENIENT, &LIMITS, arena, &request, &f), FAULT_NONE);
    assert_int_equal(request.n_messages, 1);
    assert_true(request.thinking);
    json_free(root);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_smallest_request_gets_the_models_defaults),
        cmocka_unit_test(null_is_the_same_as_absent_for_every_optional_field),
        cmocka_unit_test(a_wrong_type_is_named_in_both_profiles),
        cmocka_unit_test(reasoning_of_earlier_turns_is_kept_on_request),
        cmocka_unit_test(a_temperature_that_was_given_is_told_from_the_default),
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(the_lenient_profile_takes_what_other_servers_take),
        cmocka_unit_test(the_strict_profile_refuses_what_a_model_does_not_take),
        cmocka_unit_test(thinking_follows_the_model_then_the_request),
        cmocka_unit_test(mistakes_in_tools_and_formats_are_bad_requests),
        cmocka_unit_test(short_names_of_functions_are_for_the_lenient_profile),
        cmocka_unit_test(faults_in_messages_tell_the_place),
        cmocka_unit_test(histories_that_clients_send_are_taken),
        cmocka_unit_test(text_parts_are_joined_and_roles_are_mapped),
        cmocka_unit_test(too_many_messages_name_the_limit),
        cmocka_unit_test(the_model_must_be_a_name),
        cmocka_unit_test(a_count_reads_messages_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
