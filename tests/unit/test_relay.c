/* What an upstream said, written in our contract. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/json.h"

#include "relay_rig.h"

static const struct api_head HEAD = {"chatcmpl-b5d9e1b799c137e3", 1770991864, "kimi-k2.5",
                                     "a-backend"};

#define CHUNK_HEAD                                                                                 \
    "data: {\"id\":\"chatcmpl-b5d9e1b799c137e3\",\"object\":\"chat.completion.chunk\","            \
    "\"created\":1770991864,\"model\":\"kimi-k2.5\",\"system_fingerprint\":\"a-backend\","         \
    "\"choices\":"
#define REPLY_HEAD                                                                                 \
    "{\"id\":\"chatcmpl-b5d9e1b799c137e3\",\"object\":\"chat.completion\","                        \
    "\"created\":1770991864,\"model\":\"kimi-k2.5\",\"choices\":"
#define REPLY_USAGE                                                                                \
    ",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5,\"total_tokens\":8,"                  \
    "\"cached_tokens\":1,\"prompt_tokens_details\":{\"cached_tokens\":1,"                          \
    "\"cached_tokens_details\":{}},\"completion_tokens_details\":{\"reasoning_tokens\":2}}"        \
    ",\"system_fingerprint\":\"a-backend\""

static void check_chunk(const char *text, const char *choices, const char *rest)
{
    struct reading x;
    struct buf b, wanted;
    struct json *tree;
    buf_init(&b, 1 << 20);
    buf_init(&wanted, 1 << 20);
    read_good(&x, text);
    assert_int_equal(x.r.kind, RELAY_CHUNK);
    relay_chunk(&b, &HEAD, &x.r);
    buf_addf(&wanted, "%s%s,\"usage\":null%s}\n\n", CHUNK_HEAD, choices, rest);
    assert_string_equal(b.data, wanted.data);
    assert_int_equal(json_parse(b.data + 6, b.len - 8, 64, &tree, NULL), 0);
    json_free(tree);
    buf_done(&b);
    buf_done(&wanted);
    done(&x);
}

static void check_choices(const char *choices, const char *wanted)
{
    char text[2000];
    snprintf(text, sizeof text, "{\"choices\":%s}", choices);
    check_chunk(text, wanted, "");
}

static void check_reply(const char *text, const char *choices, const char *rest)
{
    const struct api_usage usage = {3, 1, 5, 2, API_USAGE_UPSTREAM};
    struct reading x;
    struct buf b, wanted;
    buf_init(&b, 1 << 20);
    buf_init(&wanted, 1 << 20);
    read_good(&x, text);
    assert_true(x.r.whole);
    relay_reply(&b, &HEAD, &x.r, &usage);
    buf_addf(&wanted, "%s%s%s%s}", REPLY_HEAD, choices, REPLY_USAGE, rest);
    assert_string_equal(b.data, wanted.data);
    buf_done(&b);
    buf_done(&wanted);
    done(&x);
}

static void a_chunk_has_our_head_and_the_choices_as_they_came(void **state)
{
    (void)state;
    check_chunk("{\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,"
                "\"model\":\"moonshotai/Kimi\",\"choices\":" DELTA(
                    "\"content\":\"\\u4f60 \\\"a\\\\\"") ",\"usage\":null}",
                DELTA("\"content\":\"\\u4f60 \\\"a\\\\\""), "");
    check_chunk(" { \"choices\" : [ ] } ", "[ ]", "");
}

static void members_that_nobody_knows_are_copied_in_their_order(void **state)
{
    (void)state;
    check_chunk("{\"service_tier\":\"default\",\"x\":[1,{\"y\":2.50}],\"id\":\"x\",\"z\": null,"
                "\"choices\":[],\"usage\":{\"prompt_tokens\":1},\"big\":12345678901234567890}",
                "[]",
                ",\"service_tier\":\"default\",\"x\":[1,{\"y\":2.50}],\"z\": null,"
                "\"big\":12345678901234567890");
    check_chunk("{\"message\":\"m\",\"choices\":[],\"code\":1}", "[]",
                ",\"message\":\"m\",\"code\":1");
}

static void an_error_that_is_none_is_dropped(void **state)
{
    (void)state;
    check_chunk("{\"choices\":[],\"error\":null,\"x\":1}", "[]", ",\"x\":1");
    check_chunk("{\"x\":1,\"error\":\"\",\"choices\":[]}", "[]", ",\"x\":1");
}

static void a_choice_gets_what_is_absent(void **state)
{
    (void)state;
    check_choices("[{\"index\":0,\"delta\":{}}]", DELTA(""));
    check_choices("[{\"index\":0,\"delta\":null,\"logprobs\":null,\"finish_reason\":null}]",
                  DELTA(""));
    check_choices("[{}]", "[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":null}]");
    check_choices("[{\"delta\":{}},{\"delta\":{}}]",
                  "[{\"delta\":{},\"index\":0,\"logprobs\":null,\"finish_reason\":null},"
                  "{\"delta\":{},\"index\":1,\"logprobs\":null,\"finish_reason\":null}]");
}

static void a_finish_reason_that_is_empty_is_null(void **state)
{
    (void)state;
    check_choices("[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"\"}]",
                  DELTA(""));
}

static void a_thought_has_both_spellings(void **state)
{
    (void)state;
    check_choices(DELTA("\"reasoning\":\"a\\n\""),
                  DELTA("\"reasoning\":\"a\\n\",\"reasoning_content\":\"a\\n\""));
    check_choices(DELTA("\"reasoning_content\":\"\xe4\xbd\xa0\",\"content\":\"\""),
                  DELTA("\"reasoning_content\":\"\xe4\xbd\xa0\",\"content\":\"\","
                        "\"reasoning\":\"\xe4\xbd\xa0\""));
    check_choices(DELTA("\"reasoning\":null,\"reasoning_content\":\"a\""),
                  DELTA("\"reasoning\":\"a\",\"reasoning_content\":\"a\""));
    check_choices(DELTA("\"reasoning\":\"a\",\"x\":1,\"reasoning_content\":null"),
                  DELTA("\"reasoning\":\"a\",\"x\":1,\"reasoning_content\":\"a\""));
    check_choices(DELTA("\"reasoning_content\":null"),
                  DELTA("\"reasoning_content\":null,\"reasoning\":null"));
    check_choices(DELTA("\"reasoning\":\"a\",\"reasoning_content\":\"b\""),
                  DELTA("\"reasoning\":\"a\",\"reasoning_content\":\"b\""));
    check_choices(DELTA("\"reasoning\":null,\"reasoning_content\":null"),
                  DELTA("\"reasoning\":null,\"reasoning_content\":null"));
}

static void a_role_in_a_delta_is_cut(void **state)
{
    (void)state;
    check_choices(DELTA("\"role\":\"assistant\",\"content\":\"a\""), DELTA("\"content\":\"a\""));
    check_choices(DELTA("\"content\":\"a\" , \"role\":null"), DELTA("\"content\":\"a\" "));
    check_choices(DELTA("\"a\":1,\"role\":\"\",\"reasoning\":\"b\""),
                  DELTA("\"a\":1,\"reasoning\":\"b\",\"reasoning_content\":\"b\""));
    check_choices(DELTA("\"role\":\"assistant\""), DELTA(""));
    check_choices(DELTA("\"role\":\"x\",\"reasoning\":null,\"reasoning_content\":\"b\""),
                  DELTA("\"reasoning\":\"b\",\"reasoning_content\":\"b\""));
}

static void a_usage_in_a_choice_is_cut(void **state)
{
    (void)state;
    check_choices("[{\"usage\":{\"prompt_tokens\":1} , \"index\":0,\"delta\":{},"
                  "\"logprobs\":null,\"finish_reason\":null}]",
                  "[{ \"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":null}]");
    check_choices("[{\"index\":0,\"usage\":null}]",
                  "[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":null}]");
}

static void tool_calls_stay_as_they_are(void **state)
{
    const char *three = DELTA(
        "\"tool_calls\":[{\"index\":2,\"id\":\"functions.c:2\",\"type\":\"function\","
        "\"function\":{\"name\":\"c\",\"arguments\":\"\"}},{\"index\":0,\"id\":\"functions.a:0\","
        "\"type\":\"function\",\"function\":{\"name\":\"a\",\"arguments\":\"{\\\"x\"}},"
        "{\"index\":1,\"function\":{\"arguments\":\"\\u00e9\"}}]");
    const char *ollama =
        DELTA("\"tool_calls\":[{\"index\":0,\"id\":\"call_a\"},{\"index\":0,\"id\":\"call_b\"}]");
    (void)state;
    check_choices(three, three);
    check_choices(ollama, ollama);
}

static void an_event_is_one_line(void **state)
{
    (void)state;
    check_chunk("{\n\"choices\": [\r\n{\"index\":0,\"delta\":{},\n\"logprobs\":null,"
                "\"finish_reason\":\n\"stop\"}],\n\"x\":\n1}",
                "[  {\"index\":0,\"delta\":{}, \"logprobs\":null,\"finish_reason\": \"stop\"}]",
                ",\"x\": 1");
}

static void a_head_is_escaped(void **state)
{
    const struct api_head head = {"a\"b", 0, "\xe4\xbd\xa0", "c\\"};
    struct reading x;
    struct buf b;
    (void)state;
    buf_init(&b, 1000);
    read_good(&x, "{\"choices\":[]}");
    relay_chunk(&b, &head, &x.r);
    assert_string_equal(
        b.data, "data: {\"id\":\"a\\\"b\",\"object\":\"chat.completion.chunk\",\"created\":0,"
                "\"model\":\"\xe4\xbd\xa0\",\"system_fingerprint\":\"c\\\\\",\"choices\":[],"
                "\"usage\":null}\n\n");
    buf_done(&b);
    done(&x);
}

static void a_reply_gets_what_its_message_lacks(void **state)
{
    (void)state;
    check_reply("{\"id\":\"x\",\"choices\":[{\"index\":0,\"message\":{}}],\"usage\":null}",
                "[{\"index\":0,\"message\":{\"reasoning_content\":null,\"reasoning\":null,"
                "\"role\":\"assistant\",\"content\":null,\"refusal\":null,\"tool_calls\":[]},"
                "\"logprobs\":null,\"finish_reason\":null}]",
                "");
    check_reply("{\"timings\":{\"prompt_n\":3},\"choices\":[{\"finish_reason\":\"stop\","
                "\"index\":0,\"message\":{\"role\":null,\"content\":\"Hi\",\"tool_calls\":null,"
                "\"reasoning_content\":\"hm\",\"refusal\":null},\"logprobs\":null}]}",
                "[{\"finish_reason\":\"stop\",\"index\":0,\"message\":{\"role\":\"assistant\","
                "\"content\":\"Hi\",\"tool_calls\":[],\"reasoning_content\":\"hm\","
                "\"refusal\":null,\"reasoning\":\"hm\"},\"logprobs\":null}]",
                ",\"timings\":{\"prompt_n\":3}");
}

static void many_choices_are_written_as_few(void **state)
{
    struct buf in, out;
    (void)state;
    buf_init(&in, 1 << 20);
    buf_init(&out, 1 << 20);
    for (int i = 0; i < RELAY_CHOICES; i++) {
        buf_addf(&in, "%s{\"index\":%d,\"delta\":{\"reasoning\":\"r%d\"}}", i > 0 ? "," : "[",
                 RELAY_CHOICES - 1 - i, i);
        buf_addf(&out,
                 "%s{\"index\":%d,\"delta\":{\"reasoning\":\"r%d\",\"reasoning_content\":\"r%d\"},"
                 "\"logprobs\":null,\"finish_reason\":null}",
                 i > 0 ? "," : "[", RELAY_CHOICES - 1 - i, i, i);
    }
    buf_addc(&in, ']');
    buf_addc(&out, ']');
    struct buf text;
    buf_init(&text, 1 << 20);
    buf_addf(&text, "{\"choices\":%s}", in.data);
    check_chunk(text.data, out.data, "");
    buf_done(&text);
    buf_done(&in);
    buf_done(&out);
}

static void usage_without_choices_is_a_chunk(void **state)
{
    (void)state;
    check_chunk("{\"choices\":null,\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":8}}", "[]",
                "");
}

static void what_is_no_character_is_mended(void **state)
{
    (void)state;
    check_choices(DELTA("\"content\":\"a\xff"
                        "b\xe4\xbd\""),
                  DELTA("\"content\":\"a\xef\xbf\xbd"
                        "b\xef\xbf\xbd\""));
    check_choices(DELTA("\"content\":\"\\ud83d\",\"reasoning\":\"\\uDE00\\uD83D\\uDE00\\\\ud83d\""),
                  DELTA("\"content\":\"\xef\xbf\xbd\","
                        "\"reasoning\":\"\xef\xbf\xbd\\uD83D\\uDE00\\\\ud83d\","
                        "\"reasoning_content\":\"\xef\xbf\xbd\\uD83D\\uDE00\\\\ud83d\""));
    check_choices(DELTA("\"content\":\"\\ud800\\ud83d\\ude00\""),
                  DELTA("\"content\":\"\xef\xbf\xbd\\ud83d\\ude00\""));
}

static void the_text_that_was_read_reads_the_same_again(void **state)
{
    struct reading x, again;
    struct buf first, second;
    (void)state;
    buf_init(&first, 1000);
    buf_init(&second, 1000);
    read_good(&x, " {\"choices\":[{\"message\":{\"reasoning\":\"\xff\"}}],\"x\":1} ");
    read_bytes(&again, x.r.text.data, x.r.text.len);
    assert_int_equal(again.rc, 0);
    relay_reply(&first, &HEAD, &x.r, &(struct api_usage){0});
    relay_reply(&second, &HEAD, &again.r, &(struct api_usage){0});
    assert_string_equal(first.data, second.data);
    buf_done(&first);
    buf_done(&second);
    done(&x);
    done(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_has_our_head_and_the_choices_as_they_came),
        cmocka_unit_test(members_that_nobody_knows_are_copied_in_their_order),
        cmocka_unit_test(an_error_that_is_none_is_dropped),
        cmocka_unit_test(a_choice_gets_what_is_absent),
        cmocka_unit_test(a_finish_reason_that_is_empty_is_null),
        cmocka_unit_test(a_thought_has_both_spellings),
        cmocka_unit_test(a_role_in_a_delta_is_cut),
        cmocka_unit_test(a_usage_in_a_choice_is_cut),
        cmocka_unit_test(tool_calls_stay_as_they_are),
        cmocka_unit_test(an_event_is_one_line),
        cmocka_unit_test(a_head_is_escaped),
        cmocka_unit_test(a_reply_gets_what_its_message_lacks),
        cmocka_unit_test(many_choices_are_written_as_few),
        cmocka_unit_test(usage_without_choices_is_a_chunk),
        cmocka_unit_test(what_is_no_character_is_mended),
        cmocka_unit_test(the_text_that_was_read_reads_the_same_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
