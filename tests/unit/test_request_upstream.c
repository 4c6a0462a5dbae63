/*
 * Unit tests of src/api/messages.c and features.c: what is well-formed and more than the engine
 * of this process can do is noted, not refused, and what no model takes is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "api/request.h"
#include "base/buf.h"
#include "base/json.h"

static const struct api_limits LIMITS = {
    .messages = 50, .choices = 5, .stops = 4, .stop_bytes = 32, .logit_biases = 3, .tools = 4};

static const struct api_model TEXT = {.id = "m",
                                      .context_tokens = 2048,
                                      .thinking = API_THINKING_ON,
                                      .temperature = 1.0,
                                      .temperature_instant = 0.6,
                                      .top_p = 0.95};

struct read {
    struct json *root;
    struct arena *arena;
    struct api_request request;
    struct fault fault;
    enum fault_kind kind;
};

static void read_body(struct read *r, __typeof__(api_request_read) *read,
                      const struct api_model *model, const char *messages, const char *members)
{
    struct error e = {0};
    struct buf b;

    memset(r, 0, sizeof *r);
    buf_init(&b, 1 << 20);
    buf_addf(&b, "{\"model\":\"m\",\"messages\":%s%s%s}", messages, members[0] == '\0' ? "" : ",",
             members);
    if (json_parse(b.data, b.len, 64, &r->root, &e) != 0) {
        fail_msg("%s in %.200s", e.text, b.data);
    }
    buf_done(&b);
    r->arena = arena_new();
    r->kind = read(r->root, model, &LIMITS, r->arena, &r->request, &r->fault);
    assert_int_equal(r->kind, r->fault.kind);
}

static void read_done(struct read *r)
{
    arena_free(r->arena);
    json_free(r->root);
}

static struct api_model of_profile(const struct api_model *model, bool strict, bool images)
{
    struct api_model m = *model;

    m.strict = strict;
    m.images = images;
    return m;
}

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define HI       "[{\"role\":\"user\",\"content\":\"hi\"}]"

struct noted {
    const char *text; /* messages, or members beside a short message */
    const char *param;
    const char *message; /* a part of it, or NULL */
};

static void check_noted(const struct read *r, const struct noted *c)
{
    const struct fault *f = &r->request.upstream_only;

    if (r->kind != FAULT_NONE) {
        fail_msg("%s: %s", c->text, r->fault.message);
    }
    if (f->kind != FAULT_NOT_IMPLEMENTED || strcmp(f->param, c->param) != 0) {
        fail_msg("%s: kind %d, param \"%s\" (%s)", c->text, f->kind, f->param, f->message);
    }
    if (c->message != NULL && strstr(f->message, c->message) == NULL) {
        fail_msg("%s: \"%s\" lacks \"%s\"", c->text, f->message, c->message);
    }
}

static void a_plain_request_needs_no_upstream(void **state)
{
    static const char *const members[] = {
        "",
        "\"tools\":[],\"tool_choice\":\"auto\"",
        "\"tools\":null,\"response_format\":{\"type\":\"text\"}",
        "\"functions\":[],\"function_call\":\"none\"",
        "\"modalities\":[\"text\"]",
        "\"audio\":null,\"web_search_options\":null",
        "\"an_unknown_member\":{\"tools\":[1]}",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(members); i++) {
        struct read r;
        read_body(&r, api_request_read, &TEXT, HI, members[i]);
        if (r.kind != FAULT_NONE || r.request.upstream_only.kind != FAULT_NONE) {
            fail_msg("%s: %s%s", members[i], r.fault.message, r.request.upstream_only.message);
        }
        read_done(&r);
    }
}

static void what_only_an_upstream_can_answer_is_noted_by_name(void **state)
{
    static const struct noted cases[] = {
        {"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\","
         "\"parameters\":{\"type\":\"object\"}}}]",
         "tools", "tools is not implemented: this version calls no tools yet"},
        {"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get_it\"}}],"
         "\"tool_choice\":\"required\"",
         "tools", NULL},
        {"\"tools\":[{\"type\":\"builtin_function\",\"function\":{\"name\":\"$web_search\"}}]",
         "tools", NULL},
        {"\"response_format\":{\"type\":\"json_object\"}", "response_format", "text only"},
        {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"abc\","
         "\"schema\":{}}}",
         "response_format", NULL},
        {"\"modalities\":[\"text\",\"audio\"]", "modalities", NULL},
        {"\"audio\":{\"voice\":\"x\"}", "audio", NULL},
        {"\"functions\":[{\"name\":\"x\"}]", "functions", "use tools"},
        {"\"function_call\":{\"name\":\"x\"}", "function_call", NULL},
        {"\"function_call\":\"x\"", "function_call", NULL},
        {"\"web_search_options\":{}", "web_search_options", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int strict = 0; strict < 2; strict++) {
            struct api_model model = of_profile(&TEXT, strict != 0, false);
            struct read r;
            read_body(&r, api_request_read, &model, HI, cases[i].text);
            check_noted(&r, &cases[i]);
            read_done(&r);
        }
    }
}

static void the_first_such_thing_is_kept_and_reading_goes_on(void **state)
{
    static const char tools[] =
        "\"response_format\":{\"type\":\"json_object\"},"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get\"}}]";
    static const char mistake[] = "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":"
                                  "\"get\"}}],\"web_search_options\":1";
    struct read r;

    (void)state;
    read_body(&r, api_request_read, &TEXT, HI, tools);
    assert_int_equal(r.kind, FAULT_NONE);
    assert_string_equal(r.request.upstream_only.param, "tools");
    assert_non_null(r.request.tools);
    assert_non_null(r.request.response_format);
    read_done(&r);

    read_body(&r, api_request_read, &TEXT, "[{\"role\":\"system\",\"tools\":[{}]}]", tools);
    assert_int_equal(r.kind, FAULT_NONE);
    assert_string_equal(r.request.upstream_only.param, "messages[0].tools");
    read_done(&r);

    read_body(&r, api_request_read, &TEXT, HI, mistake);
    assert_int_equal(r.kind, FAULT_BAD_REQUEST);
    assert_string_equal(r.fault.param, "web_search_options");
    read_done(&r);
}

static void a_message_that_declares_tools_needs_no_content(void **state)
{
    static const struct noted cases[] = {
        {"[{\"role\":\"system\",\"tools\":[{}]}]", "messages[0].tools",
         "messages[0].tools declares tools"},
        {"[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"system\",\"content\":\"\",\"tools\":"
         "[{}]}]",
         "messages[1].tools", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int strict = 0; strict < 2; strict++) {
            struct api_model model = of_profile(&TEXT, strict != 0, false);
            struct read r;
            read_body(&r, api_request_read, &model, cases[i].text, "");
            check_noted(&r, &cases[i]);
            read_done(&r);
        }
    }
}

#define PART(type, value) "{\"type\":\"" type "\",\"" type "\":" value "}"
#define USER(parts)       "[{\"role\":\"user\",\"content\":[" parts "]}]"

static const char *const media[] = {
    USER(PART("image_url", "{\"url\":\"https://example.org/a.png\",\"detail\":\"low\"}")),
    USER(PART("image_url", "{\"url\":\"data:image/png;base64,aGk=\"}")),
    USER(PART("image_url", "\"https://example.org/a.png\"")),
    USER(PART("video_url", "{\"url\":\"ms://file\"}")),
    USER(PART("audio_url", "{\"url\":\"https://example.org/a.ogg\"}")),
    USER(PART("input_audio", "{\"data\":\"aGk=\",\"format\":\"wav\"}")),
    USER(PART("file", "{\"file_id\":\"a\"}")),
};

static void media_are_noted_where_the_model_takes_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(media); i++) {
        for (int strict = 0; strict < 2; strict++) {
            struct noted c = {media[i], "messages[0].content[0].type", "this model reads text"};
            struct api_model model = of_profile(&TEXT, strict != 0, true);
            struct read r;
            read_body(&r, api_request_read, &model, media[i], "");
            check_noted(&r, &c);
            assert_int_equal(r.request.messages[0].content.len, 0);
            read_done(&r);
        }
    }
}

static void media_are_refused_where_the_model_reads_text_only(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(media); i++) {
        struct read r;
        read_body(&r, api_request_read, &TEXT, media[i], "");
        assert_int_equal(r.kind, FAULT_NOT_IMPLEMENTED);
        assert_string_equal(r.fault.param, "messages[0].content[0].type");
        assert_non_null(strstr(r.fault.message, "this model reads text only"));
        read_done(&r);
    }
}

static void the_text_beside_media_is_joined(void **state)
{
    static const char messages[] = USER("{\"type\":\"text\",\"text\":\"what is \"},"
                                        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"},"
                                        "\"text\":\"not this\"},"
                                        "{\"type\":\"text\",\"text\":\"in it?\"}");
    struct api_model model = of_profile(&TEXT, true, true);
    struct read r;

    (void)state;
    read_body(&r, api_request_read, &model, messages, "");
    assert_int_equal(r.kind, FAULT_NONE);
    assert_string_equal(r.request.upstream_only.param, "messages[0].content[1].type");
    assert_int_equal(r.request.messages[0].content.len, strlen("what is in it?"));
    assert_memory_equal(r.request.messages[0].content.data, "what is in it?", 14);
    read_done(&r);
}

static void a_medium_that_is_not_well_formed_is_a_bad_request(void **state)
{
    static const char *const bad[][2] = {
        {USER("{\"type\":\"image_url\"}"), "messages[0].content[0].image_url"},
        {USER(PART("image_url", "null")), "messages[0].content[0].image_url"},
        {USER(PART("image_url", "[\"x\"]")), "messages[0].content[0].image_url"},
        {USER("{\"type\":\"image_url\",\"video_url\":{}}"), "messages[0].content[0].image_url"},
        {USER(PART("input_audio", "7")), "messages[0].content[0].input_audio"},
        {USER(PART("hologram", "{}")), "messages[0].content[0].type"},
    };
    struct api_model model = of_profile(&TEXT, false, true);

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct read r;
        read_body(&r, api_request_read, &model, bad[i][0], "");
        assert_int_equal(r.kind, FAULT_BAD_REQUEST);
        assert_string_equal(r.fault.param, bad[i][1]);
        read_done(&r);
    }
}

static void only_text_can_be_counted(void **state)
{
    struct api_model model = of_profile(&TEXT, false, true);
    struct read r;

    (void)state;
    for (size_t i = 0; i < COUNT(media); i++) {
        read_body(&r, api_count_read, &model, media[i], "");
        assert_int_equal(r.kind, FAULT_NOT_IMPLEMENTED);
        assert_string_equal(r.fault.param, "messages[0].content[0].type");
        read_done(&r);
    }
    read_body(&r, api_count_read, &model, "[{\"role\":\"system\",\"tools\":[{}]}]", "");
    assert_int_equal(r.kind, FAULT_NOT_IMPLEMENTED);
    assert_string_equal(r.fault.param, "messages[0].tools");
    read_done(&r);
    read_body(&r, api_count_read, &model, HI, "\"tools\":[{}]");
    assert_int_equal(r.kind, FAULT_NONE);
    assert_int_equal(r.request.upstream_only.kind, FAULT_NONE);
    read_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_request_needs_no_upstream),
        cmocka_unit_test(what_only_an_upstream_can_answer_is_noted_by_name),
        cmocka_unit_test(the_first_such_thing_is_kept_and_reading_goes_on),
        cmocka_unit_test(a_message_that_declares_tools_needs_no_content),
        cmocka_unit_test(media_are_noted_where_the_model_takes_them),
        cmocka_unit_test(media_are_refused_where_the_model_reads_text_only),
        cmocka_unit_test(the_text_beside_media_is_joined),
        cmocka_unit_test(a_medium_that_is_not_well_formed_is_a_bad_request),
        cmocka_unit_test(only_text_can_be_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
