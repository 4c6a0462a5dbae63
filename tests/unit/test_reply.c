/* Unit tests of src/api/reply.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "api/reply.h"
#include "base/json.h"

static const struct api_head HEAD = {"chatcmpl-b5d9e1b799c137e3", 1770991864, "kimi-k2.5",
                                     "moongate-nano"};
static const struct api_usage USAGE = {9, 4, 184, 150, API_USAGE_ENGINE};

#define USAGE_JSON                                                                                 \
    "{\"prompt_tokens\":9,\"completion_tokens\":184,\"total_tokens\":193,\"cached_tokens\":4,"     \
    "\"prompt_tokens_details\":{\"cached_tokens\":4,\"cached_tokens_details\":{}},"                \
    "\"completion_tokens_details\":{\"reasoning_tokens\":150}}"

#define CHUNK_HEAD                                                                                 \
    "data: {\"id\":\"chatcmpl-b5d9e1b799c137e3\",\"object\":\"chat.completion.chunk\","            \
    "\"created\":1770991864,\"model\":\"kimi-k2.5\",\"system_fingerprint\":\"moongate-nano\","     \
    "\"choices\":["

static struct api_text text(const char *s)
{
    return (struct api_text){s, strlen(s)};
}

static void a_whole_reply_has_the_keys_of_the_sample_in_its_order(void **state)
{
    struct buf b;
    struct api_choice c = {.content = text("Hello!"),
                           .reasoning = text("A \"greeting\".\n"),
                           .has_reasoning = true,
                           .finish = API_FINISH_STOP};

    (void)state;
    buf_init(&b, 1 << 16);
    api_reply_write(&b, &HEAD, &c, 1, &USAGE);
    assert_string_equal(
        b.data,
        "{\"id\":\"chatcmpl-b5d9e1b799c137e3\",\"object\":\"chat.completion\",\"created\":"
        "1770991864,\"model\":\"kimi-k2.5\",\"choices\":[{\"index\":0,\"message\":{\"role\":"
        "\"assistant\",\"content\":\"Hello!\",\"refusal\":null,\"reasoning_content\":"
        "\"A \\\"greeting\\\".\\n\",\"reasoning\":\"A \\\"greeting\\\".\\n\",\"tool_calls\":[]},"
        "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":" USAGE_JSON
        ",\"system_fingerprint\":\"moongate-nano\"}");
    buf_done(&b);
}

static void without_thinking_both_reasoning_fields_are_null(void **state)
{
    struct buf b;
    struct api_choice c[2] = {
        {.content = text("a"), .finish = API_FINISH_LENGTH},
        {.content = text(""), .finish = API_FINISH_STOP},
    };

    (void)state;
    buf_init(&b, 1 << 16);
    api_reply_write(&b, &HEAD, c, 2, &USAGE);
    assert_non_null(strstr(b.data, "\"content\":\"a\",\"refusal\":null,\"reasoning_content\":null,"
                                   "\"reasoning\":null,\"tool_calls\":[]},\"logprobs\":null,"
                                   "\"finish_reason\":\"length\"},{\"index\":1,"));
    buf_done(&b);
}

static void log_probabilities_carry_bytes_and_alternatives(void **state)
{
    struct buf entries, b;
    const struct api_logprob top[] = {
        {.bytes = "a", .n_bytes = 1, .logprob = -0.5},
        {.bytes = "\xe4", .n_bytes = 1, .logprob = -INFINITY},
    };
    const struct api_logprob p = {"a", 1, -0.5, top, 2}, q = {"b", 1, 0, NULL, 0};
    struct api_choice c = {.content = text("ab"), .wants_logprobs = true};
    struct json *root = NULL;

    (void)state;
    buf_init(&entries, 1 << 16);
    buf_init(&b, 1 << 16);
    api_logprob_write(&entries, &p, false);
    api_logprob_write(&entries, &q, true);
    assert_string_equal(entries.data,
                        "{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97],\"top_logprobs\":["
                        "{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97]},"
                        "{\"token\":\"\xef\xbf\xbd\",\"logprob\":-9999,\"bytes\":[228]}]},"
                        "{\"token\":\"b\",\"logprob\":0,\"bytes\":[98],\"top_logprobs\":[]}");
    c.logprobs_json = entries.data;
    c.logprobs_len = entries.len;
    api_reply_write(&b, &HEAD, &c, 1, &USAGE);
    assert_int_equal(json_parse(b.data, b.len, 16, &root, NULL), 0);
    assert_non_null(strstr(b.data, "\"logprobs\":{\"content\":[{\"token\":\"a\""));
    assert_non_null(strstr(b.data, "],\"refusal\":null},\"finish_reason\":"));
    json_free(root);
    buf_done(&entries);
    buf_done(&b);
}

static void a_stream_has_the_chunks_of_the_sample(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 16);
    api_chunk_role(&b, &HEAD, 0);
    assert_string_equal(b.data, CHUNK_HEAD
                        "{\"index\":0,\"delta\":{\"content\":\"\",\"role\":\"assistant\"},"
                        "\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n");
    buf_reset(&b);
    api_chunk_text(&b, &HEAD, 1, text("hm"), text(""), NULL, 0);
    assert_string_equal(b.data, CHUNK_HEAD
                        "{\"index\":1,\"delta\":{\"reasoning_content\":\"hm\",\"reasoning\":"
                        "\"hm\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n");
    buf_reset(&b);
    api_chunk_text(&b, &HEAD, 0, text("hm"), text("so"), NULL, 0);
    assert_non_null(strstr(b.data, "\"delta\":{\"content\":\"so\",\"reasoning_content\":\"hm\","
                                   "\"reasoning\":\"hm\"}"));
    buf_reset(&b);
    api_chunk_finish(&b, &HEAD, 0, API_FINISH_STOP);
    assert_string_equal(b.data, CHUNK_HEAD "{\"index\":0,\"delta\":{},\"logprobs\":null,"
                                           "\"finish_reason\":\"stop\"}],\"usage\":null}\n\n");
    buf_reset(&b);
    api_chunk_usage(&b, &HEAD, &USAGE);
    assert_string_equal(b.data, CHUNK_HEAD "],\"usage\":" USAGE_JSON "}\n\n");
    buf_reset(&b);
    api_chunk_done(&b);
    assert_string_equal(b.data, "data: [DONE]\n\n");
    buf_done(&b);
}

static void a_chunk_may_carry_log_probabilities_without_text(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 16);
    api_chunk_text(&b, &HEAD, 0, text(""), text(""), "{}", 2);
    assert_non_null(strstr(b.data, "\"delta\":{\"content\":\"\"},\"logprobs\":{\"content\":[{}],"
                                   "\"refusal\":null},\"finish_reason\":null"));
    buf_done(&b);
}

static void a_keep_alive_is_a_comment_that_ends_in_one_line_feed(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 16);
    api_chunk_keep_alive(&b);
    assert_int_equal(b.data[0], ':');
    assert_ptr_equal(strchr(b.data, '\n'), b.data + b.len - 1);
    buf_done(&b);
}

static void text_with_line_ends_stays_on_one_data_line(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 16);
    api_chunk_text(&b, &HEAD, 0, text(""), text("a\r\nb\n\nc"), NULL, 0);
    assert_ptr_equal(strchr(b.data, '\n'), b.data + b.len - 2);
    assert_null(strchr(b.data, '\r'));
    buf_done(&b);
}

static void the_model_list_tells_context_and_abilities(void **state)
{
    struct buf b;
    struct api_model m = {
        .id = "kimi-k2.5", .context_tokens = 2048, .created = 1, .thinking = API_THINKING_ON};

    (void)state;
    buf_init(&b, 1 << 16);
    api_models_open(&b);
    api_models_row(&b, &m, true);
    m.id = "plain";
    m.thinking = API_THINKING_NEVER;
    m.images = true;
    api_models_row(&b, &m, false);
    api_models_close(&b);
    assert_string_equal(
        b.data, "{\"object\":\"list\",\"data\":[{\"id\":\"kimi-k2.5\",\"object\":\"model\","
                "\"created\":1,\"owned_by\":\"moongate\",\"context_length\":2048,"
                "\"supports_image_in\":false,\"supports_video_in\":false,"
                "\"supports_reasoning\":true},{\"id\":\"plain\",\"object\":\"model\",\"created\":1,"
                "\"owned_by\":\"moongate\",\"context_length\":2048,\"supports_image_in\":true,"
                "\"supports_video_in\":true,\"supports_reasoning\":false}]}");
    buf_done(&b);
}

static void a_count_is_wrapped_in_data(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 16);
    api_count_write(&b, 80);
    assert_string_equal(b.data, "{\"data\":{\"total_tokens\":80}}");
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_reply_has_the_keys_of_the_sample_in_its_order),
        cmocka_unit_test(without_thinking_both_reasoning_fields_are_null),
        cmocka_unit_test(log_probabilities_carry_bytes_and_alternatives),
        cmocka_unit_test(a_stream_has_the_chunks_of_the_sample),
        cmocka_unit_test(a_chunk_may_carry_log_probabilities_without_text),
        cmocka_unit_test(a_keep_alive_is_a_comment_that_ends_in_one_line_feed),
        cmocka_unit_test(text_with_line_ends_stays_on_one_data_line),
        cmocka_unit_test(the_model_list_tells_context_and_abilities),
        cmocka_unit_test(a_count_is_wrapped_in_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
