/* JSON: what is read, what is refused, and what is written. */
#include "base/clock.h"
#include "base/json.h"

#include <malloc.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

enum { DEPTH = 100 };

/* Accepted; written back as the second text, or as it was read. */
static const char *const accepted[][2] = {
    {"null", NULL},
    {"true", NULL},
    {" \t\r\n false \n", "false"},
    {"0", NULL},
    {"-0", NULL},
    {"-1.50", NULL},
    {"1e2", NULL},
    {"1E+2", NULL},
    {"1e-999", NULL},
    {"5E+001", NULL},
    {"5E+00", NULL},
    {"1234567890123456789E+00", NULL},
    {"-0E+00", NULL},
    {"3.14159265358979323846264", NULL},
    {"9007199254740993", NULL},
    {"9223372036854775807", NULL},
    {"-9223372036854775808", NULL},
    {"18446744073709551615", NULL},
    {"18446744073709551616", NULL},
    {"-9223372036854775809", NULL},
    {"123456789012345678901234567890", NULL},
    {"[100000000000000000000,[-100000000000000000000],2]", NULL},
    {"{\"a\":100000000000000000000 }", "{\"a\":100000000000000000000}"},
    {"\"\"", NULL},
    {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\\"\\\\/\\b\\f\\n\\r\\t\""},
    {"\"\\u00e9\\ud83d\\ude00\\u0001\"", "\"\xc3\xa9\xf0\x9f\x98\x80\\u0001\""},
    {"\"\xef\xbf\xbf\xf4\x8f\xbf\xbf\x7f\"", NULL},
    {"[]", NULL},
    {"[ ]", "[]"},
    {"[1 , 2 ]", "[1,2]"},
    {"{}", NULL},
    {"{ \"b\" : 1 , \"a\" : { } }", "{\"b\":1,\"a\":{}}"},
    {"{\"\":null,\"x\":[{\"x\":1},{\"x\":2}]}", NULL},
    {"{\"a\":{\"a\":{\"a\":1}},\"A\":1}", NULL},
};

static void strict_json_is_read_and_written_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
        const char *text = accepted[i][0];
        const char *wanted = accepted[i][1] != NULL ? accepted[i][1] : text;
        struct json *root;
        struct error e;
        struct buf b;
        buf_init(&b, 1000);
        /* An exact copy without a NUL shows a read past the end. */
        char *copy = malloc(strlen(text));
        memcpy(copy, text, strlen(text));
        if (json_parse(copy, strlen(text), DEPTH, &root, &e) != 0)
            fail_msg("%s: %s", text, e.text);
        free(copy);
        json_write(&b, root);
        assert_string_equal(b.data, wanted);
        json_free(root);
        buf_done(&b);
    }
}

/* Refused, with the byte that the error names, or -1 for a text that ends too early. */
static const struct {
    const char *text;
    int byte;
} refused[] = {
    {"", -1},
    {"  ", -1},
    {"[", -1},
    {"[1", -1},
    {"[1,", -1},
    {"{\"a\"", -1},
    {"{\"a\":", -1},
    {"\"abc", -1},
    {"\"abc\\", -1},
    {"\"\\u12", -1},
    {"tru", -1},
    {"-", -1},
    {"1.", -1},
    {"1e", -1},
    {"NaN", 0},
    {"[Infinity]", 1},
    {"-Infinity", 1},
    {"True", 0},
    {"nul]", 3},
    {"undefined", 0},
    {"01", 0},
    {"-01", 0},
    {"+1", 0},
    {".5", 0},
    {"1.e5", 2},
    {"0x10", 1},
    {"1e999", 0},
    {"[-1e999]", 1},
    {"'a'", 0},
    {"{'a':1}", 1},
    {"{a:1}", 1},
    {"{1:1}", 1},
    {"{\"a\" 1}", 5},
    {"{\"a\":1,}", 7},
    {"{,}", 1},
    {"[1,]", 3},
    {"[,1]", 1},
    {"[1 2]", 3},
    {"[1}", 2},
    {"{\"a\":1]", 6},
    {"{} x", 3},
    {"{}{}", 2},
    {"1 2", 2},
    {"]", 0},
    {"// no\n1", 0},
    {"[1/*no*/]", 2},
    {"\"a\nb\"", 2},
    {"\"a\tb\"", 2},
    {"\"\\x41\"", 2},
    {"\"\\u00g0\"", 5},
    {"\"\\u0000\"", 3},
    {"\"\\ud800\"", 3},
    {"\"\\udc00\"", 3},
    {"\"\\ud800\\ud800\"", 3},
    {"\"\\ud83dx\"", 3},
    {"\"\xff\"", 1},
    {"\"\xc3\"", 1},
    {"\"\xc0\xaf\"", 1},
    {"\"\xe0\x80\xaf\"", 1},
    {"\"\xed\xa0\x80\"", 1},
    {"\"\xf4\x90\x80\x80\"", 1},
    {"\"\xf8\x88\x80\x80\x80\"", 1},
    {"\xef\xbb\xbf{}", 0},
    {"{\"a\":1,\"a\":2}", 7},
    {"{\"a\":1,\"\\u0061\":1}", 7},
    {"{\"x\":[{\"y\":1},{\"y\":1,\"z\":{},\"y\":1}]}", 28},
    {"{\"\":1,\"\":2}", 6},
};

static void lenient_json_is_refused_with_its_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct json *root = (struct json *)&root;
        struct error e;
        char where[64];
        size_t len = strlen(refused[i].text);
        char *copy = malloc(len + 1);
        memcpy(copy, refused[i].text, len);
        if (json_parse(copy, len, DEPTH, &root, &e) != ERR_INVALID)
            fail_msg("accepted: %s", refused[i].text);
        free(copy);
        assert_null(root);
        if (refused[i].byte < 0)
            snprintf(where, sizeof(where), "too early, at byte %zu", len);
        else
            snprintf(where, sizeof(where), "at byte %d:", refused[i].byte);
        if (strstr(e.text, where) == NULL)
            fail_msg("%s: wanted \"%s\", got: %s", refused[i].text, where, e.text);
    }
}

static void a_nul_byte_is_refused_anywhere(void **state)
{
    (void)state;
    static const char after[] = "{}\0", in_string[] = "\"a\0b\"", in_array[] = "[1,\0 2]";
    struct json *root;
    assert_int_equal(json_parse(after, 3, DEPTH, &root, NULL), ERR_INVALID);
    assert_int_equal(json_parse(in_string, 5, DEPTH, &root, NULL), ERR_INVALID);
    assert_int_equal(json_parse(in_array, 7, DEPTH, &root, NULL), ERR_INVALID);
}

static void a_duplicate_key_is_named(void **state)
{
    (void)state;
    static const char text[] = "{\"model\":\"a\",\"n\":1,\"model\":\"b\"}";
    struct json *root;
    struct error e;
    assert_int_equal(json_parse(text, strlen(text), DEPTH, &root, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "\"model\""));
}

static int parse_nested(int levels, bool closed, struct error *e)
{
    char *text = malloc((size_t)levels * 2);
    struct json *root;
    memset(text, '[', (size_t)levels);
    memset(text + levels, ']', (size_t)levels);
    int rc = json_parse(text, (size_t)levels * (closed ? 2 : 1), DEPTH, &root, e);
    json_free(root);
    free(text);
    return rc;
}

static void nesting_goes_to_the_limit_and_no_further(void **state)
{
    (void)state;
    struct error e;
    assert_int_equal(parse_nested(DEPTH, true, &e), 0);
    assert_int_equal(parse_nested(DEPTH + 1, true, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "deeper than 100 levels"));
    assert_int_equal(parse_nested(1000000, true, &e), ERR_INVALID);
    assert_int_equal(parse_nested(1000000, false, &e), ERR_INVALID);
    assert_int_equal(parse_nested(DEPTH, false, &e), ERR_INVALID);
}

static struct json *read_json(const char *text)
{
    struct json *root;
    assert_int_equal(json_parse(text, strlen(text), DEPTH, &root, NULL), 0);
    return root;
}

static void integers_are_exact_or_not_integers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool integer;
        int64_t value;
    } rows[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"-7", true, -7},
        {"1.0", true, 1},
        {"1e3", true, 1000},
        {"1.5", false, 0},
        {"9223372036854775807", true, INT64_MAX},
        {"9223372036854775808", false, 0},
        {"18446744073709551615", false, 0},
        {"18446744073709551616", false, 0},
        {"-9223372036854775808", true, INT64_MIN},
        {"-9223372036854775809", false, 0},
        {"123456789012345678901234567890", false, 0},
        {"-123456789012345678901234567890", false, 0},
        {"1e300", false, 0},
        {"9007199254740993", true, 9007199254740993},
        {"\"1\"", false, 0},
        {"true", false, 0},
        {"null", false, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct json *v = read_json(rows[i].text);
        int64_t n = 0;
        if (json_int64(v, &n) != rows[i].integer)
            fail_msg("%s", rows[i].text);
        if (rows[i].integer)
            assert_int_equal(n, rows[i].value);
        json_free(v);
    }
    struct json *large = read_json("[18446744073709551615,1e20,123456789012345678901234567890]");
    assert_int_equal(json_kind(json_at(large, 0)), JSON_INT);
    assert_true(json_double(json_at(large, 0)) == 18446744073709551615.0);
    assert_true(json_double(json_at(large, 1)) == 1e20);
    assert_true(json_double(json_at(large, 2)) == 123456789012345678901234567890.0);
    json_free(large);
}

static int count_until_c(void *arg, const char *key, const struct json *value)
{
    int *n = arg;
    (void)value;
    (*n)++;
    return strcmp(key, "c") == 0 ? 77 : 0;
}

static void members_are_found_and_visited_in_order(void **state)
{
    (void)state;
    struct json *v = read_json("{\"b\":null,\"a\":[true,\"t\\u00e9\"],\"c\":0.5,\"d\":{}}");
    bool present;
    size_t len;
    int seen = 0;
    assert_int_equal(json_len(v), 4);
    assert_null(json_get(v, "b", &present));
    assert_true(present);
    assert_null(json_get(v, "B", &present));
    assert_false(present);
    const struct json *a = json_get(v, "a", NULL);
    assert_int_equal(json_kind(a), JSON_ARRAY);
    assert_int_equal(json_len(a), 2);
    assert_true(json_bool(json_at(a, 0)));
    assert_string_equal(json_string(json_at(a, 1), &len), "t\xc3\xa9");
    assert_int_equal(len, 3);
    assert_null(json_at(a, 2));
    assert_true(json_double(json_get(v, "c", NULL)) == 0.5);
    assert_int_equal(json_each(v, count_until_c, &seen), 77);
    assert_int_equal(seen, 3);
    json_free(v);
}

/* {"PREFIX000000":0,"PREFIX000001":1 and so on */
static void write_members(struct buf *b, const char *prefix, int n)
{
    buf_init(b, 1 << 26);
    for (int i = 0; i < n; i++)
        buf_addf(b, "%c\"%s%06d\":%d", i == 0 ? '{' : ',', prefix, i, i);
    buf_addc(b, '}');
}

static void assert_members(const struct json *v, const char *prefix, int n)
{
    char key[64];
    int64_t value;
    assert_int_equal(json_len(v), n);
    for (int i = 0; i < n; i++) {
        bool present;
        snprintf(key, sizeof(key), "%s%06d", prefix, i);
        assert_true(json_int64(json_get(v, key, &present), &value));
        assert_true(present);
        assert_int_equal(value, i);
        key[strlen(key) - 1] = 'x';
        assert_null(json_get(v, key, &present));
        assert_false(present);
    }
}

/* Of each size where something changes: searched, with an index, with an index that grew. */
static void members_are_found_in_an_object_of_any_size(void **state)
{
    (void)state;
    static const int sizes[] = {1, 2, 31, 32, 33, 34, 95, 96, 97, 98, 1000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct buf b, written;
        write_members(&b, "k", sizes[i]);
        struct json *v = read_json(b.data);
        assert_members(v, "k", sizes[i]);
        buf_init(&written, 1 << 26);
        json_write(&written, v);
        assert_string_equal(written.data, b.data);
        json_free(v);
        buf_done(&b);
        buf_done(&written);
    }
}

/* The first of two, at its byte, in an object of each of these sizes. */
static void a_duplicate_is_found_in_an_object_of_any_size(void **state)
{
    (void)state;
    static const int sizes[] = {1, 31, 32, 33, 95, 96, 97, 1000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct buf b;
        char wanted[64];
        struct json *root;
        struct error e;
        write_members(&b, "k", sizes[i]);
        b.len--;
        snprintf(wanted, sizeof(wanted), "at byte %zu: the key \"k00000\\u0030\"", b.len + 1);
        buf_adds(&b, ",\"k00000\\u0030\":{\"a\":1,\"a\":2},\"k000000\":3}");
        assert_int_equal(json_parse(b.data, b.len, DEPTH, &root, &e), ERR_INVALID);
        if (strstr(e.text, wanted) == NULL)
            fail_msg("wanted \"%s\", got: %s", wanted, e.text);
        buf_done(&b);
    }
}

/* Megabytes of members are what a client may send. Each that was looked for among all others
 * would keep this test from ending. */
static void a_flood_of_members_is_read_and_searched(void **state)
{
    (void)state;
    enum { MEMBERS = 250000 };
    struct buf b;
    write_members(&b, "the_same_beginning", MEMBERS);
    struct json *v = read_json(b.data);
    assert_members(v, "the_same_beginning", MEMBERS);
    json_free(v);
    b.len--;
    buf_adds(&b, ",\"the_same_beginning000000\":0}");
    assert_int_equal(json_parse(b.data, b.len, DEPTH, &v, NULL), ERR_INVALID);
    buf_done(&b);
}

/* What a process chooses at random is known here, so keys can be chosen that no client finds. */
static void no_randomness(void *out, size_t n)
{
    memset(out, 0, n);
}

static void next_colliding(char key[32], int *i)
{
    static const unsigned char seed[crypto_shorthash_KEYBYTES];
    unsigned char hash[crypto_shorthash_BYTES];
    do {
        snprintf(key, 32, "%08d", (*i)++);
        crypto_shorthash(hash, (const unsigned char *)key, strlen(key), seed);
    } while (hash[0] != 0 || (hash[1] & 3) != 0);
}

static void keys_that_fall_into_one_place_are_told_apart(void **state)
{
    (void)state;
    enum { KEYS = 300 };
    char key[32];
    int64_t value;
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int n = 0, i = 0; n < KEYS; n++) {
        next_colliding(key, &i);
        buf_addf(&b, "%c\"%s\":%d", n == 0 ? '{' : ',', key, n);
    }
    buf_addc(&b, '}');
    struct json *v = read_json(b.data);
    int i = 0;
    for (int n = 0; n < KEYS; n++) {
        next_colliding(key, &i);
        assert_true(json_int64(json_get(v, key, NULL), &value));
        assert_int_equal(value, n);
    }
    next_colliding(key, &i);
    assert_null(json_get(v, key, NULL));
    json_free(v);
    buf_done(&b);
}

static void a_mistake_in_the_grammar_counts_before_a_duplicate(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":1,\"a\":2,}";
    struct json *root;
    struct error e;
    assert_int_equal(json_parse(text, strlen(text), DEPTH, &root, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "at byte 13: a key in double quotes"));
}

static void keys_that_look_alike_are_told_apart(void **state)
{
    (void)state;
    struct json *v = read_json("{\"\":0,\"a\":1,\"ab\":2,\"abc\":3,\"abd\":4,\"\\u0061be\":5}");
    static const char *const keys[] = {"", "a", "ab", "abc", "abd", "abe"};
    int64_t n;
    for (int i = 0; i < 6; i++) {
        assert_true(json_int64(json_get(v, keys[i], NULL), &n));
        assert_int_equal(n, i);
    }
    assert_null(json_get(v, "abf", NULL));
    assert_null(json_get(v, "abcd", NULL));
    json_free(v);
}

static void a_long_array_keeps_its_order(void **state)
{
    (void)state;
    enum { VALUES = 300000 };
    struct buf b, written;
    int64_t n;
    buf_init(&b, 1 << 26);
    buf_init(&written, 1 << 26);
    for (int i = 0; i < VALUES; i++)
        buf_addf(&b, i % 3 == 2 ? "%c[%d]" : "%c%d", i == 0 ? '[' : ',', i);
    buf_addc(&b, ']');
    struct json *v = read_json(b.data);
    assert_int_equal(json_len(v), VALUES);
    for (int i = 0; i < VALUES; i++) {
        const struct json *item = json_at(v, (size_t)i);
        assert_true(json_int64(i % 3 == 2 ? json_at(item, 0) : item, &n));
        assert_int_equal(n, i);
    }
    json_write(&written, v);
    assert_string_equal(written.data, b.data);
    json_free(v);
    buf_done(&b);
    buf_done(&written);
}

/* All that lies around it is moved while it is read. */
static void what_is_nested_to_the_limit_is_read_whole(void **state)
{
    (void)state;
    struct buf b, written;
    buf_init(&b, 1 << 20);
    buf_init(&written, 1 << 20);
    for (int i = 0; i < DEPTH; i++)
        buf_addf(&b, i % 2 == 0 ? "[%d,{\"before\":%d},\"s\"," : "{\"x\":[],\"y%d\":%d,\"z\":", i,
                 i);
    buf_adds(&b, "null");
    for (int i = DEPTH - 1; i >= 0; i--)
        buf_adds(&b, i % 2 == 0 ? ",1,2,3]" : ",\"after\":0}");
    struct json *v;
    /* What stands before goes one level deeper. */
    assert_int_equal(json_parse(b.data, b.len, DEPTH + 1, &v, NULL), 0);
    json_write(&written, v);
    assert_string_equal(written.data, b.data);
    json_free(v);
    buf_done(&b);
    buf_done(&written);
}

static size_t bytes_allocated(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static void repeat(struct buf *b, const char *first, const char *each, const char *last)
{
    buf_init(b, 1 << 20);
    buf_adds(b, first);
    for (int i = 0; i < 60000; i++)
        buf_adds(b, each);
    buf_adds(b, last);
}

static void assert_bounded(const struct buf *b)
{
    struct json *v;
    size_t before = bytes_allocated();
    assert_int_equal(json_parse(b->data, b->len, DEPTH, &v, NULL), 0);
    size_t taken = bytes_allocated() - before;
    if (taken > 16 * b->len + 1024)
        fail_msg("%zu bytes for %zu that begin by %.20s", taken, b->len, b->data);
    json_free(v);
}

/* The allocator of the sanitizers counts nothing here, so there this sees nothing. */
static void a_tree_is_bounded_by_its_text(void **state)
{
    (void)state;
    static const char *const texts[][3] = {
        {"[", "1,", "1]"},        {"[", "[],", "[]]"},     {"[", "\"\",", "\"\"]"},
        {"[", "1.5,", "1.5]"},    {"[", "{},", "{}]"},     {"[", "{\"\":0},", "{}]"},
        {"\"", "\xc3\xa9", "\""}, {"\"", "\\u0001", "\""}, {"[[[[[[[[", "1,", "1]]]]]]]]"},
        {"[", "[[[[0]]]],", "0]"}};
    struct buf b;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        repeat(&b, texts[i][0], texts[i][1], texts[i][2]);
        assert_bounded(&b);
        buf_done(&b);
    }
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 2000; i++) {
        buf_addc(&b, i == 0 ? '[' : ',');
        for (int j = 0; j < 33; j++)
            buf_addf(&b, "%c\"%c\":0", j == 0 ? '{' : ',', 'A' + j + (j > 26));
        buf_addc(&b, '}');
    }
    buf_addc(&b, ']');
    assert_bounded(&b);
    buf_done(&b);
    write_members(&b, "", 50000);
    assert_bounded(&b);
    buf_done(&b);
}

static void asking_the_wrong_kind_is_harmless(void **state)
{
    (void)state;
    struct json *v = read_json("[1,\"x\"]");
    bool present = true;
    size_t len = 5;
    int seen = 0;
    assert_null(json_get(v, "a", &present));
    assert_false(present);
    assert_null(json_string(v, &len));
    assert_int_equal(len, 0);
    assert_false(json_bool(v));
    assert_true(json_double(json_at(v, 1)) == 0);
    assert_int_equal(json_len(json_at(v, 1)), 0);
    assert_null(json_at(json_at(v, 0), 0));
    assert_int_equal(json_each(v, count_until_c, &seen), 0);
    assert_int_equal(json_kind(NULL), JSON_NULL);
    json_free(v);
    json_free(NULL);
}

static void assert_writes_string(const char *bytes, size_t len, const char *wanted)
{
    struct buf b;
    buf_init(&b, 1000);
    json_write_string(&b, bytes, len);
    assert_string_equal(b.data, wanted);
    buf_done(&b);
}

static void written_strings_are_always_valid(void **state)
{
    (void)state;
    assert_writes_string("", 0, "\"\"");
    assert_writes_string("a\"b\\c/d\n\x01\x1f\x7f", 11, "\"a\\\"b\\\\c/d\\n\\u0001\\u001f\x7f\"");
    assert_writes_string("a\0b", 3, "\"a\\u0000b\"");
    assert_writes_string("\xc3\xa9\xe2\x82\xac", 5, "\"\xc3\xa9\xe2\x82\xac\"");
    assert_writes_string("a\xff\xc3z", 4, "\"a\xef\xbf\xbd\xef\xbf\xbdz\"");
    assert_writes_string("\xe2\x82", 2, "\"\xef\xbf\xbd\"");
    assert_writes_string("\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void assert_writes_double(double v, const char *wanted)
{
    struct buf b;
    buf_init(&b, 100);
    json_write_double(&b, v);
    assert_string_equal(b.data, wanted);
    if (isfinite(v))
        assert_true(strtod(b.data, NULL) == v);
    buf_done(&b);
}

static void doubles_are_written_as_short_as_reads_back(void **state)
{
    (void)state;
    assert_writes_double(0.1, "0.1");
    assert_writes_double(1, "1");
    assert_writes_double(0.1 + 0.2, "0.30000000000000004");
    assert_writes_double(1.0 / 3, "0.3333333333333333");
    assert_writes_double(1e300, "1e+300");
    assert_writes_double(-5e-324, "-4.94065645841247e-324");
    assert_writes_double(NAN, "null");
    assert_writes_double(-INFINITY, "null");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strict_json_is_read_and_written_back),
        cmocka_unit_test(lenient_json_is_refused_with_its_byte),
        cmocka_unit_test(a_nul_byte_is_refused_anywhere),
        cmocka_unit_test(a_duplicate_key_is_named),
        cmocka_unit_test(nesting_goes_to_the_limit_and_no_further),
        cmocka_unit_test(integers_are_exact_or_not_integers),
        cmocka_unit_test(members_are_found_and_visited_in_order),
        cmocka_unit_test(members_are_found_in_an_object_of_any_size),
        cmocka_unit_test(a_duplicate_is_found_in_an_object_of_any_size),
        cmocka_unit_test(a_flood_of_members_is_read_and_searched),
        cmocka_unit_test(keys_that_fall_into_one_place_are_told_apart),
        cmocka_unit_test(a_mistake_in_the_grammar_counts_before_a_duplicate),
        cmocka_unit_test(keys_that_look_alike_are_told_apart),
        cmocka_unit_test(a_long_array_keeps_its_order),
        cmocka_unit_test(what_is_nested_to_the_limit_is_read_whole),
        cmocka_unit_test(a_tree_is_bounded_by_its_text),
        cmocka_unit_test(asking_the_wrong_kind_is_harmless),
        cmocka_unit_test(written_strings_are_always_valid),
        cmocka_unit_test(doubles_are_written_as_short_as_reads_back),
    };
    random_set(no_randomness);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
