/*
 * From tokens to text: characters cut by tokens, stop strings cut by tokens, reasoning apart
 * from content. The small vocabulary has a token for each byte, so any split can be fed.
 */
#include "engine/textflow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "small_vocabulary.h"

static struct tokenizer *tokenizer;

static int set_up(void **state)
{
    struct error e;

    (void)state;
    tokenizer = small_tokenizer(&e);
    return tokenizer ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    tokenizer_close(tokenizer);
    return 0;
}

/* One flow and what came out of it. */
struct run {
    struct textflow *flow;
    struct buf reasoning, content;
    bool stopped;
};

static void run_start(struct run *r, enum template_state start, const char *const *stops,
                      size_t n_stops)
{
    struct engine_text texts[16] = {{NULL, 0}};

    for (size_t i = 0; i < n_stops; i++)
        texts[i] = (struct engine_text){stops[i], strlen(stops[i])};
    r->flow = textflow_new(tokenizer, start, texts, n_stops);
    r->stopped = false;
    buf_init(&r->reasoning, 1 << 20);
    buf_init(&r->content, 1 << 20);
}

static void run_token(struct run *r, int32_t token)
{
    r->stopped = textflow_token(r->flow, token, &r->reasoning, &r->content);
}

static void run_bytes(struct run *r, const char *text)
{
    for (; *text; text++)
        run_token(r, (unsigned char)*text);
}

static void run_special(struct run *r, const char *text)
{
    int32_t id = tokenizer_special(tokenizer, text);

    assert_true(id >= 0);
    run_token(r, id);
}

static void run_done(struct run *r)
{
    textflow_free(r->flow);
    buf_done(&r->reasoning);
    buf_done(&r->content);
}

static const char *text_of(const struct buf *b)
{
    return b->len > 0 ? b->data : "";
}

/* The flow so far, without finishing. */
static void expect_now(const struct run *r, const char *reasoning, const char *content)
{
    assert_string_equal(text_of(&r->reasoning), reasoning);
    assert_string_equal(text_of(&r->content), content);
}

static void expect_end(struct run *r, const char *reasoning, const char *content)
{
    textflow_finish(r->flow, &r->reasoning, &r->content);
    assert_false(textflow_pending(r->flow));
    expect_now(r, reasoning, content);
    run_done(r);
}

/* All bytes as tokens of their own, to the end or to a stop. */
static void check_text(const char *text, const char *const *stops, size_t n_stops, const char *want,
                       bool want_stop)
{
    struct run r;

    run_start(&r, TEMPLATE_IN_CONTENT, stops, n_stops);
    run_bytes(&r, text);
    assert_int_equal(r.stopped, want_stop);
    expect_end(&r, "", want);
}

static bool is_utf8(const struct buf *b)
{
    for (size_t i = 0; i < b->len;) {
        int n = utf8_char(b->data + i, b->len - i);
        if (n < 0)
            return false;
        i += (size_t)n;
    }
    return true;
}

static void a_character_comes_out_when_it_is_complete(void **state)
{
    static const char text[] = "aé世😀z";
    struct run r;

    (void)state;
    run_start(&r, TEMPLATE_IN_CONTENT, NULL, 0);
    for (const char *s = text; *s; s++) {
        run_token(&r, (unsigned char)*s);
        assert_true(is_utf8(&r.content));
        bool complete = ((unsigned char)s[1] & 0xC0) != 0x80;
        assert_true(textflow_pending(r.flow) != complete);
        assert_int_equal(r.content.len == (size_t)(s - text) + 1, complete);
    }
    expect_end(&r, "", text);
}

static void bytes_that_are_no_character_are_replaced(void **state)
{
#define R "\xEF\xBF\xBD"
    static const struct {
        const char *bytes, *want;
    } cases[] = {
        {"a\xFFz", "a" R "z"},
        {"\x80\x80", R R},
        {"\xE4\xB8z", R "z"},
        {"\xE4\xB8\xE4\xB8\x96", R "世"},
        {"\xF0\x9F\x98", R},
        {"\xF0\x9F\x98\xF0\x9F\x98\x80", R "😀"},
        {"\xC0\x80", R R},
        {"\xED\xA0\x80", R R R},
        {"\xF4\x90\x80\x80", R R R R},
        {"\xE2\x28\xA1", R "(" R},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_text(cases[i].bytes, NULL, 0, cases[i].want, false);
}

static void a_nul_is_replaced_since_no_client_could_send_it_back(void **state)
{
    struct run r;

    (void)state;
    run_start(&r, TEMPLATE_IN_CONTENT, NULL, 0);
    run_token(&r, 'a');
    run_token(&r, 0);
    run_token(&r, 'z');
    expect_end(&r, "", "a" R "z");
}

static void a_stop_string_cuts_the_text_before_it(void **state)
{
    static const struct {
        const char *text, *stops[4], *want;
        bool stop;
    } cases[] = {
        {"hello END more", {"END"}, "hello ", true},
        {"hello EN", {"END"}, "hello EN", false},
        {"ENEND", {"END"}, "EN", true},
        {"ENENEND", {"ENEND"}, "EN", true},
        {"END", {"END"}, "", true},
        {"x", {"x"}, "", true},
        {"", {"x"}, "", false},
        {"no", {""}, "no", false},
        /* One stop string is the beginning of another, or lies within it. */
        {"aabcd", {"abcd", "ab"}, "a", true},
        {"aabcd", {"abcd", "bc"}, "aa", true},
        {"aabxd", {"abcd", "bx"}, "aa", true},
        {"aabcd", {"abcd", "bcd", "d"}, "a", true},
        {"aaab", {"aab"}, "a", true},
        {"abababc", {"ababc"}, "ab", true},
        {"abcabd", {"abcabcabc", "abd"}, "abc", true},
        {"a\n\nb", {"\n\n", "\n"}, "a", true},
        {"世界 世人", {"世人"}, "世界 ", true},
        {"世界 世", {"世人"}, "世界 世", false},
        {"tel 123", {"1", "2", "3"}, "tel ", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = 0;
        while (n < 4 && cases[i].stops[n])
            n++;
        check_text(cases[i].text, cases[i].stops, n, cases[i].want, cases[i].stop);
    }
}

static void text_is_held_only_while_it_could_begin_a_stop_string(void **state)
{
    static const char *const stops[] = {"END"};
    struct run r;

    (void)state;
    run_start(&r, TEMPLATE_IN_CONTENT, stops, 1);
    run_bytes(&r, "a E");
    expect_now(&r, "", "a ");
    assert_true(textflow_pending(r.flow));
    run_bytes(&r, "N");
    expect_now(&r, "", "a ");
    run_bytes(&r, "E");
    expect_now(&r, "", "a EN");
    run_bytes(&r, "x");
    expect_now(&r, "", "a ENEx");
    assert_false(textflow_pending(r.flow));
    expect_end(&r, "", "a ENEx");
}

static void a_stop_string_within_one_token_stops(void **state)
{
    static const char *const stops[] = {"ell"};
    struct run r;

    (void)state;
    run_start(&r, TEMPLATE_IN_CONTENT, stops, 1);
    for (int i = 0; i < SMALL_JOINED; i++)
        if (strcmp(small_joined[i], "hello") == 0)
            run_token(&r, 256 + i);
    assert_true(r.stopped);
    run_bytes(&r, "after");
    assert_true(r.stopped);
    expect_end(&r, "", "h");
}

static void reasoning_ends_at_the_token_not_at_its_text(void **state)
{
    static const char *const stops[] = {"stop"};
    struct run r;

    (void)state;
    run_start(&r, TEMPLATE_IN_REASONING, stops, 1);
    run_bytes(&r, "why stop</think>");
    assert_true(textflow_in_reasoning(r.flow));
    run_special(&r, "</think>");
    assert_true(textflow_in_reasoning(r.flow));
    run_bytes(&r, "be");
    assert_false(textflow_in_reasoning(r.flow));
    run_bytes(&r, "cause stop");
    assert_true(r.stopped);
    expect_end(&r, "why stop</think>", "because ");
}

static void a_tool_section_ends_reasoning_too(void **state)
{
    struct run r;

    (void)state;
    run_start(&r, TEMPLATE_IN_REASONING, NULL, 0);
    run_bytes(&r, "why");
    run_special(&r, "<|tool_calls_section_begin|>");
    assert_false(textflow_in_reasoning(r.flow));
    run_bytes(&r, "f");
    expect_end(&r, "why", "f");
}

static void an_unfinished_character_stays_on_its_side(void **state)
{
    struct run r;

    (void)state;
    run_start(&r, TEMPLATE_IN_REASONING, NULL, 0);
    run_bytes(&r, "a\xE4\xB8");
    run_special(&r, "</think>");
    run_bytes(&r, "\x96");
    expect_end(&r, "a" R, R);
}

static void other_special_tokens_leave_no_trace(void **state)
{
    static const char *const stops[] = {"ab"};
    struct run r;

    (void)state;
    run_start(&r, TEMPLATE_IN_REASONING, NULL, 0);
    run_bytes(&r, "a");
    run_special(&r, "<think>");
    run_special(&r, "[PAD]");
    assert_true(textflow_in_reasoning(r.flow));
    run_special(&r, "</think>");
    run_bytes(&r, "b");
    run_special(&r, "<think>");
    run_special(&r, "</think>");
    run_bytes(&r, "c");
    expect_end(&r, "a", "bc");
    run_start(&r, TEMPLATE_IN_CONTENT, stops, 1);
    run_bytes(&r, "xa");
    run_special(&r, "[BOS]");
    run_bytes(&r, "b");
    assert_true(r.stopped);
    expect_end(&r, "", "x");
}

static void thinking_that_may_come_is_waited_for(void **state)
{
    static const char *const stops[] = {"\n\n", "no"};
    struct run r;

    (void)state;
    run_start(&r, TEMPLATE_MAYBE_REASONING, NULL, 0);
    run_bytes(&r, " \n");
    assert_true(textflow_pending(r.flow));
    expect_now(&r, "", "");
    run_special(&r, "<think>");
    assert_true(textflow_in_reasoning(r.flow));
    assert_false(textflow_pending(r.flow));
    run_bytes(&r, "why");
    run_special(&r, "</think>");
    run_bytes(&r, "so");
    expect_end(&r, "why", "so");

    run_start(&r, TEMPLATE_MAYBE_REASONING, NULL, 0);
    run_bytes(&r, " \nx");
    expect_now(&r, "", " \nx");
    run_special(&r, "<think>");
    run_bytes(&r, "y");
    assert_false(textflow_in_reasoning(r.flow));
    expect_end(&r, "", " \nxy");

    run_start(&r, TEMPLATE_MAYBE_REASONING, NULL, 0);
    run_bytes(&r, "\n");
    run_special(&r, "</think>");
    run_bytes(&r, "y");
    expect_end(&r, "", "y");

    run_start(&r, TEMPLATE_MAYBE_REASONING, NULL, 0);
    run_bytes(&r, "\n ");
    expect_end(&r, "", "\n ");

    run_start(&r, TEMPLATE_MAYBE_REASONING, stops, 2);
    run_bytes(&r, " \n\nx");
    assert_true(r.stopped);
    expect_end(&r, "", " ");
}

static void endless_space_is_not_held_for_ever(void **state)
{
    struct run r;

    (void)state;
    run_start(&r, TEMPLATE_MAYBE_REASONING, NULL, 0);
    for (int i = 0; i < 100; i++)
        run_bytes(&r, " ");
    assert_int_equal(r.content.len, 100);
    run_done(&r);
}

/* What the text should become, found by looking at all of it. */
static size_t reference(const char *text, size_t len, const char *const *stops, size_t n_stops)
{
    size_t best_end = len + 1, cut = len;

    for (size_t k = 0; k < n_stops; k++) {
        size_t n = strlen(stops[k]);
        const char *at = memmem(text, len, stops[k], n);
        if (!at)
            continue;
        size_t start = (size_t)(at - text), end = start + n;
        if (end < best_end || (end == best_end && start < cut)) {
            best_end = end;
            cut = start;
        }
    }
    return cut;
}

static uint32_t next_random(uint32_t *random)
{
    *random = *random * 1664525 + 1013904223;
    return *random >> 16;
}

/* A random token that the text goes on with: often a joined one where one fits. */
static int32_t some_token(const char *text, size_t len, uint32_t *random, size_t *used)
{
    int first = (int)(next_random(random) % SMALL_JOINED);

    for (int i = 0; i < SMALL_JOINED; i++) {
        int k = (first + i) % SMALL_JOINED;
        size_t n = strlen(small_joined[k]);
        if (n <= len && memcmp(text, small_joined[k], n) == 0 && next_random(random) % 3) {
            *used = n;
            return 256 + k;
        }
    }
    *used = 1;
    return (unsigned char)*text;
}

static void append(char *text, const char *part)
{
    memcpy(text + strlen(text), part, strlen(part) + 1);
}

static void the_split_into_tokens_does_not_matter(void **state)
{
    static const char *const parts[] = {"aa", "a",    "hello", "he",    "ll", "世", "界",
                                        "é",  " the", "\n\n",  "world", "ab", "b",  "😀"};
    uint32_t random = 3;

    (void)state;
    for (int round = 0; round < 3000; round++) {
        char text[256] = "", stop_texts[3][64];
        const char *stops[3];
        size_t n_stops = next_random(&random) % 4, at = 0, used;
        struct run r;
        for (uint32_t i = next_random(&random) % 12; i > 0; i--)
            append(text, parts[next_random(&random) % 14]);
        for (size_t k = 0; k < n_stops; k++) {
            stop_texts[k][0] = '\0';
            for (uint32_t i = 1 + next_random(&random) % 3; i > 0; i--)
                append(stop_texts[k], parts[next_random(&random) % 14]);
            stops[k] = stop_texts[k];
        }
        size_t len = strlen(text), cut = reference(text, len, stops, n_stops);
        run_start(&r, TEMPLATE_IN_CONTENT, stops, n_stops);
        while (at < len && !r.stopped) {
            run_token(&r, some_token(text + at, len - at, &random, &used));
            assert_true(is_utf8(&r.content));
            at += used;
        }
        assert_int_equal(r.stopped, cut < len);
        text[cut] = '\0';
        expect_end(&r, "", text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_character_comes_out_when_it_is_complete),
        cmocka_unit_test(bytes_that_are_no_character_are_replaced),
        cmocka_unit_test(a_nul_is_replaced_since_no_client_could_send_it_back),
        cmocka_unit_test(a_stop_string_cuts_the_text_before_it),
        cmocka_unit_test(text_is_held_only_while_it_could_begin_a_stop_string),
        cmocka_unit_test(a_stop_string_within_one_token_stops),
        cmocka_unit_test(reasoning_ends_at_the_token_not_at_its_text),
        cmocka_unit_test(a_tool_section_ends_reasoning_too),
        cmocka_unit_test(an_unfinished_character_stays_on_its_side),
        cmocka_unit_test(other_special_tokens_leave_no_trace),
        cmocka_unit_test(thinking_that_may_come_is_waited_for),
        cmocka_unit_test(endless_space_is_not_held_for_ever),
        cmocka_unit_test(the_split_into_tokens_does_not_matter),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
