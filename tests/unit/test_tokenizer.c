/*
 * The tokenizer: Kimi's own vocabulary where its file is at hand, a small one always. The pieces
 * are held against what another regular-expression engine makes of the same texts
 * (tests/golden/pretokenise.txt).
 */
#include "engine/tokenizer.h"

#include "engine/pretokenise.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kimi_vocabulary.h"
#include "small_vocabulary.h"

struct fixture {
    struct tokenizer *small, *kimi; /* kimi: NULL if its file is missing */
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error e;

    f->small = small_tokenizer(&e);
    f->kimi = kimi_tokenizer();
    *state = f;
    return f->small ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    tokenizer_close(f->small);
    tokenizer_close(f->kimi);
    free(f);
    return 0;
}

static const struct tokenizer *small(void **state)
{
    return ((struct fixture *)*state)->small;
}

static void check_ids(const struct tokenizer *t, const char *text, const int32_t *want, size_t n)
{
    struct tokens got;

    tokens_init(&got, 1000);
    assert_int_equal(tokenizer_encode(t, text, strlen(text), &got), 0);
    if (got.n != n || memcmp(got.ids, want, n * sizeof *want) != 0) {
        print_error("%s:", text);
        for (size_t i = 0; i < got.n; i++)
            print_error(" %d", got.ids[i]);
        fail_msg(" are other ids than expected");
    }
    tokens_done(&got);
}

#define IDS(t, text, ...)                                                                          \
    check_ids(t, text, (const int32_t[]){__VA_ARGS__},                                             \
              sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void kimi_ids_are_the_published_ones(void **state)
{
    const struct tokenizer *t = ((struct fixture *)*state)->kimi;

    if (!t)
        skip();
    IDS(t, "Hello, world!", 19180, 11, 2695, 0);
    IDS(t, "You are Kimi, an AI assistant created by Moonshot AI.", 3900, 554, 24980, 72, 11, 519,
        22572, 26626, 5232, 673, 30218, 10065, 22572, 13);
    IDS(t, "You are a helpful assistant", 3900, 554, 261, 13205, 26626);
    IDS(t, "system", 14062);
    IDS(t, "user", 2482);
    IDS(t, "assistant", 69702);
    IDS(t, "tool", 20960);
    IDS(t, "image", 4017);
    IDS(t, "tool_declare", 20960, 35556, 677);
    IDS(t, "你好，世界", 33845, 378, 2243);
    IDS(t, "月之暗面 Kimi 2025年12月31日", 892, 685, 5519, 696, 24980, 72, 220, 2975, 20, 532, 1042,
        892, 3562, 778);
    IDS(t, "“Hello,” 世界世世世界世界——I'm ChatGPT. CAN'T wait 'til 2026.世界世界", 1686, 19180,
        4963, 220, 2243, 123421, 2243, 2243, 35086, 17172, 29338, 111021, 13, 32330, 64833, 5161,
        542, 3777, 220, 2975, 21, 13, 2243, 2243);
    IDS(t, "I'll don't WE'VE it's", 65447, 4536, 40893, 6, 4571, 4643);
    IDS(t, "  leading\n\n\ttabs  \n", 220, 8134, 382, 5604, 5609, 4170);
    IDS(t, "1234567890", 6694, 12972, 16242, 15);
    IDS(t, "日本語かなカナ漢字 한국어", 4546, 63011, 15593, 11839, 26121, 42125, 1435, 95, 1855,
        78560, 54078, 28763);
    IDS(t, "naïve café e\xCC\x81", 4768, 44187, 367, 70591, 350, 37484);
    IDS(t, "😀👍🏽", 134750, 222, 64390, 235, 92949, 121);
    IDS(t, "functions.get_weather:0", 41937, 1150, 21055, 2800, 25, 15);
    IDS(t, "## Return of functions.get_weather:0\n", 798, 6014, 318, 8271, 1150, 21055, 2800, 25,
        15, 198);
    IDS(t, "{\"city\":\"北京\"}", 8264, 37666, 7471, 3372, 16934);
    IDS(t, "a/b//c\r\nx", 64, 3969, 408, 66, 462, 87);
    IDS(t, "def f(x):\n    return x+1\n", 1166, 285, 3940, 2360, 274, 745, 1288, 10, 16, 198);
    IDS(t, "getHTTPResponse", 618, 17819, 4323);
    IDS(t, "हिन्दी भाषा", 21232, 48190, 84837, 10722, 163051, 4117);
    IDS(t, "# Tools\n\n## functions\nnamespace functions {\n", 2, 30391, 382, 798, 8271, 198, 6370,
        8271, 440);
}

static void kimi_special_tokens_have_their_ids(void **state)
{
    const struct tokenizer *t = ((struct fixture *)*state)->kimi;

    if (!t)
        skip();
    assert_int_equal(tokenizer_size(t), 163840);
    assert_int_equal(tokenizer_longest(t), 256);
    assert_int_equal(tokenizer_special(t, "<|im_end|>"), 163586);
    assert_int_equal(tokenizer_special(t, "<think>"), 163606);
    assert_int_equal(tokenizer_special(t, "Hello"), -1);
    assert_true(tokenizer_is_special(t, 163839));
    assert_false(tokenizer_is_special(t, 163583));
    assert_true(tokenizer_ends_generation(t, 163585));
    assert_true(tokenizer_ends_generation(t, 163586));
    assert_true(tokenizer_ends_generation(t, 163593));
    assert_false(tokenizer_ends_generation(t, 163607));
}

static int32_t joined(const char *text)
{
    for (int i = 0; i < SMALL_JOINED; i++)
        if (strcmp(small_joined[i], text) == 0)
            return 256 + i;
    fail_msg("%s is not in the small vocabulary", text);
    return -1;
}

static void the_pair_with_the_lowest_id_is_joined_first(void **state)
{
    const struct tokenizer *t = small(state);

    IDS(t, "hello", joined("hello"));
    IDS(t, "hellx", joined("hell"), 'x');
    IDS(t, "aaaaaaa", joined("aaaa"), joined("aa"), 'a');
    IDS(t, "hello world", joined("hello"), joined(" world"));
    IDS(t, "xusery", 'x', joined("user"), 'y');
}

static void a_whole_piece_is_looked_up_before_any_join(void **state)
{
    struct tokenizer_entry entries[SMALL_TOKENS + 1];
    struct tokenizer *t = NULL;
    struct error e;

    (void)state;
    small_entries(entries);
    /* No join leads to it. */
    entries[SMALL_TOKENS] = (struct tokenizer_entry){"qzv", 3, false};
    assert_int_equal(tokenizer_open_entries(entries, SMALL_TOKENS + 1, "kimi-k2", &t, &e), 0);
    IDS(t, "qzv", SMALL_TOKENS);
    IDS(t, "qzvx", 'q', 'z', 'v', 'x');
    tokenizer_close(t);
}

static void special_text_of_a_user_stays_text(void **state)
{
    const struct tokenizer *t = small(state);

    for (int i = 0; i < SMALL_SPECIAL; i++) {
        struct tokens got;
        tokens_init(&got, 100);
        assert_int_equal(tokenizer_encode(t, small_special[i], strlen(small_special[i]), &got), 0);
        assert_true(got.n > 1);
        for (size_t k = 0; k < got.n; k++)
            assert_false(tokenizer_is_special(t, got.ids[k]));
        tokens_done(&got);
    }
}

static void check_round_trip(const struct tokenizer *t, const char *text, size_t len)
{
    struct tokens ids;
    size_t at = 0;

    tokens_init(&ids, len + 1);
    assert_int_equal(tokenizer_encode(t, text, len, &ids), 0);
    for (size_t i = 0; i < ids.n; i++) {
        size_t n;
        const char *bytes = tokenizer_bytes(t, ids.ids[i], &n);
        assert_true(n <= len - at);
        assert_memory_equal(bytes, text + at, n);
        at += n;
    }
    assert_int_equal(at, len);
    tokens_done(&ids);
}

static void invalid_bytes_are_encoded_as_bytes(void **state)
{
    static const char *const texts[] = {
        "\xFF",     "\xFFhello\xFE", "hello\xE4\xB8",    "\xE4\xB8\x96\xE4\xB8",
        "\xC0\x80", "\xED\xA0\x80",  "\xF4\x90\x80\x80", "a\x80\x80z",
    };
    const struct tokenizer *t = small(state);

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        check_round_trip(t, texts[i], strlen(texts[i]));
    IDS(t, "\xFFhello\xFE", 0xFF, joined("hello"), 0xFE);
    IDS(t, "\xE4\xB8", 0xE4, 0xB8);
    IDS(t, "\xE4\xB8\x96", joined("\xE4\xB8\x96"));
}

static void random_bytes_come_back_as_they_were(void **state)
{
    struct fixture *f = *state;
    uint32_t random = 1;
    char text[200];

    for (int round = 0; round < 2000; round++) {
        size_t len = (size_t)round % sizeof text;
        for (size_t i = 0; i < len; i++) {
            random = random * 1664525 + 1013904223;
            text[i] = (char)(random >> 24);
        }
        check_round_trip(f->small, text, len);
        if (f->kimi)
            check_round_trip(f->kimi, text, len);
    }
}

/* Much of one thing: a stack that overflows or quadratic time would show. */
static void long_hostile_text_is_encoded(void **state)
{
    static const char *const units[] = {
        "a",    "A",        " ",     "\n",           "\t",    "中", "あ",  "1",
        "(",    "\xCC\x81", "aA",    "あA",          "'",     "'s", " \n", "a\xCC\x81(",
        "\xFF", "\xE4",     "a\xFF", "\xE3\x80\x80", "Ab 1(", "ǅ",  "〇",
    };
    struct fixture *f = *state;
    const struct tokenizer *t = f->kimi ? f->kimi : f->small;
    enum { LEN = 1 << 18 };
    char *text = malloc(LEN + 16);

    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t unit = strlen(units[i]), n = 0;
        for (; n < LEN; n += unit)
            memcpy(text + n, units[i], unit);
        check_round_trip(t, text, n);
    }
    free(text);
}

static void a_text_past_the_limit_is_still_counted(void **state)
{
    struct tokens ids;

    tokens_init(&ids, 3);
    assert_int_equal(tokenizer_encode(small(state), "1,2,3,4,5", 9, &ids), ERR_LIMIT);
    assert_int_equal(ids.n, 9);
    assert_int_equal(ids.ids[2], '2');
    assert_int_equal(tokenizer_encode(small(state), "", 0, &ids), ERR_LIMIT);
    tokens_done(&ids);
    assert_int_equal(tokenizer_encode(small(state), "1,2", 3, &ids), 0);
    tokens_done(&ids);
}

static struct cutter *cutter_of(struct pretokeniser **p, const char *name, const char *text,
                                size_t len)
{
    struct error e;

    assert_int_equal(pretokeniser_open(name, strlen(name), p, &e), 0);
    return cutter_new(*p, text, len);
}

static void check_pieces(const char *name, const char *text, const char *want)
{
    struct pretokeniser *p;
    struct cutter *c = cutter_of(&p, name, text, strlen(text));
    struct cut cut;
    char got[512] = "";

    while (cutter_next(c, &cut)) {
        size_t n = strlen(got);
        snprintf(got + n, sizeof got - n, "%s%.*s", n ? "|" : "", (int)cut.len, cut.text);
    }
    assert_string_equal(got, want);
    cutter_free(c);
    pretokeniser_close(p);
}

static void pieces_follow_the_expression(void **state)
{
    (void)state;
    check_pieces("kimi-k2", "XMLHttpRequest", "XMLHttp|Request");
    check_pieces("kimi-k2", "(x ((x", "(x| ((|x");
    check_pieces("kimi-k2", "a中b 、中", "a|中|b| 、|中");
    check_pieces("kimi-k2", "a\xE1\xA0\x8E b", "a|\xE1\xA0\x8E| b");
    check_pieces("llama-bpe", "XMLHttp 12345 it's", "XMLHttp| |123|45| it|'s");
    check_pieces("qwen2", "中文a 123 IT'S", "中文a| |1|2|3| IT|'S");
}

/* Undoes the golden file's escapes in place; `ends` gets where each piece ends. */
static size_t unescape(char *line, size_t *ends, size_t *n_ends)
{
    char *out = line;

    *n_ends = 0;
    for (const char *s = line; *s && *s != '\n'; s++) {
        if (*s == '|') {
            ends[(*n_ends)++] = (size_t)(out - line);
        } else if (*s != '\\') {
            *out++ = *s;
        } else if (*++s != 'u') {
            *out++ = *s == 'n' ? '\n' : *s == 'r' ? '\r' : *s == 't' ? '\t' : *s;
        } else {
            char *end;
            unsigned long c = strtoul(s + 2, &end, 16);
            assert_true(*end == '}' && c < 0x10000);
            if (c >= 0x800)
                *out++ = (char)(0xE0 | c >> 12);
            if (c >= 0x80)
                *out++ = (char)(c >= 0x800 ? 0x80 | (c >> 6 & 0x3F) : 0xC0 | c >> 6);
            *out++ = (char)(c >= 0x80 ? 0x80 | (c & 0x3F) : c);
            s = end;
        }
    }
    ends[(*n_ends)++] = (size_t)(out - line);
    return (size_t)(out - line);
}

static void pieces_are_those_of_another_engine(void **state)
{
    FILE *f = fopen("tests/golden/pretokenise.txt", "r");
    char line[2048];
    size_t ends[1024], n_ends, n_lines = 0;

    (void)state;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        struct pretokeniser *p;
        struct cut cut;
        size_t len = unescape(line, ends, &n_ends), at = 0;
        struct cutter *c = cutter_of(&p, "kimi-k2", line, len);
        n_lines++;
        for (size_t i = 0; i < n_ends; i++) {
            if (!cutter_next(c, &cut))
                fail_msg("line %zu has fewer pieces than %zu", n_lines, n_ends);
            at += cut.len;
            if (at != ends[i])
                fail_msg("line %zu: piece %zu ends at byte %zu instead of %zu", n_lines, i, at,
                         ends[i]);
        }
        assert_false(cutter_next(c, &cut));
        cutter_free(c);
        pretokeniser_close(p);
    }
    assert_true(n_lines > 400);
    fclose(f);
}

static void runs_are_cut_where_the_reference_cuts_them(void **state)
{
    enum { LEN = 60000 };
    char *text = malloc(LEN);
    struct pretokeniser *p;
    struct cut cut;

    (void)state;
    memset(text, 'x', LEN);
    struct cutter *c = cutter_of(&p, "kimi-k2", text, LEN);
    assert_true(cutter_next(c, &cut) && cut.len == 25000);
    assert_true(cutter_next(c, &cut) && cut.len == 25000);
    assert_true(cutter_next(c, &cut) && cut.len == 10000);
    assert_false(cutter_next(c, &cut));
    cutter_free(c);
    pretokeniser_close(p);
    free(text);
}

static void blocks_are_cut_where_the_reference_cuts_them(void **state)
{
    enum { BLOCK = 400000, LEN = 2 * BLOCK + 5 };
    char *text = malloc(LEN);
    struct pretokeniser *p;
    struct cut cut;
    size_t at = 0;
    bool cut_first = false, cut_second = false;

    (void)state;
    for (size_t i = 0; i < LEN; i++)
        text[i] = i % 11 == 10 ? ' ' : 'x';
    assert_true(text[BLOCK - 1] == 'x' && text[BLOCK] == 'x');
    assert_true(text[2 * BLOCK - 1] == 'x' && text[2 * BLOCK] == 'x');
    struct cutter *c = cutter_of(&p, "kimi-k2", text, LEN);
    while (cutter_next(c, &cut)) {
        assert_true(cut.len <= 11);
        at += cut.len;
        cut_first |= at == BLOCK;
        cut_second |= at == (size_t)2 * BLOCK;
    }
    assert_true(at == LEN && cut_first && cut_second);
    cutter_free(c);
    pretokeniser_close(p);
    free(text);
}

static int open_changed(int i, struct tokenizer_entry entry, const char *pre, struct error *e)
{
    struct tokenizer_entry entries[SMALL_TOKENS];
    struct tokenizer *t = NULL;

    small_entries(entries);
    entries[i] = entry;
    int rc = tokenizer_open_entries(entries, SMALL_TOKENS, pre, &t, e);
    tokenizer_close(t);
    return rc;
}

static void a_missing_byte_is_named(void **state)
{
    struct error e;

    (void)state;
    assert_int_equal(open_changed(0xAB, (struct tokenizer_entry){"xyz", 3, false}, "kimi-k2", &e),
                     ERR_INVALID);
    assert_non_null(strstr(e.text, "0xAB"));
}

static void a_text_that_stands_twice_is_refused(void **state)
{
    struct error e;

    (void)state;
    assert_int_equal(open_changed(257, (struct tokenizer_entry){"he", 2, false}, "kimi-k2", &e),
                     ERR_INVALID);
    assert_non_null(strstr(e.text, "256 and 257"));
    assert_int_equal(
        open_changed(SMALL_TOKENS - 1, (struct tokenizer_entry){"[BOS]", 5, true}, "kimi-k2", &e),
        ERR_INVALID);
}

static void an_empty_token_is_refused(void **state)
{
    struct error e;

    (void)state;
    assert_int_equal(open_changed(260, (struct tokenizer_entry){"", 0, false}, "kimi-k2", &e),
                     ERR_INVALID);
    assert_non_null(strstr(e.text, "260"));
}

static void an_unknown_pretokeniser_is_named(void **state)
{
    struct error e;

    (void)state;
    assert_int_equal(open_changed(256, (struct tokenizer_entry){"he", 2, false}, "tekken", &e),
                     ERR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "tekken"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kimi_ids_are_the_published_ones),
        cmocka_unit_test(kimi_special_tokens_have_their_ids),
        cmocka_unit_test(the_pair_with_the_lowest_id_is_joined_first),
        cmocka_unit_test(a_whole_piece_is_looked_up_before_any_join),
        cmocka_unit_test(special_text_of_a_user_stays_text),
        cmocka_unit_test(invalid_bytes_are_encoded_as_bytes),
        cmocka_unit_test(random_bytes_come_back_as_they_were),
        cmocka_unit_test(long_hostile_text_is_encoded),
        cmocka_unit_test(a_text_past_the_limit_is_still_counted),
        cmocka_unit_test(pieces_follow_the_expression),
        cmocka_unit_test(pieces_are_those_of_another_engine),
        cmocka_unit_test(runs_are_cut_where_the_reference_cuts_them),
        cmocka_unit_test(blocks_are_cut_where_the_reference_cuts_them),
        cmocka_unit_test(a_missing_byte_is_named),
        cmocka_unit_test(a_text_that_stands_twice_is_refused),
        cmocka_unit_test(an_empty_token_is_refused),
        cmocka_unit_test(an_unknown_pretokeniser_is_named),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
