/*
 * The GGUF reader: what it gives, what it refuses and with which words, and that no damage to a
 * file makes it read outside it (the sanitizer watches: each file is an allocation of its own
 * size).
 */
#include "engine/gguf.h"

#include "gguf_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 };

static const uint64_t dims_64x2[] = {64, 2};
static const uint64_t dims_3x2x2[] = {3, 2, 2};

/* Everything a file may hold. */
static void build_whole(struct gguf_build *b)
{
    float f = 0.25f;
    double d = -1e300;
    put_head(b, 3, 2, 15);
    put_key(b, "general.architecture", STRING);
    put_string(b, "deepseek2");
    put_key(b, "general.alignment", U32);
    put_u32(b, 32);
    put_key(b, "deepseek2.block_count", U32);
    put_u32(b, 27);
    put_key(b, "u8", U8);
    put(b, "\xff", 1);
    put_key(b, "i8", I8);
    put(b, "\xff", 1);
    put_key(b, "i16", I16);
    put(b, "\x00\x80", 2);
    put_key(b, "u64", U64);
    put_u64(b, UINT64_MAX);
    put_key(b, "i64", I64);
    put_u64(b, (uint64_t)-7);
    put_key(b, "f32", F32);
    put(b, &f, sizeof f);
    put_key(b, "f64", F64);
    put(b, &d, sizeof d);
    put_key(b, "yes", BOOL);
    put(b, "\1", 1);
    put_key(b, "words", ARRAY);
    put_u32(b, STRING);
    put_u64(b, 3);
    put_string(b, "one");
    put_string(b, "");
    put_string(b, "three\n");
    put_key(b, "numbers", ARRAY);
    put_u32(b, I32);
    put_u64(b, 3);
    put_u32(b, 5);
    put_u32(b, (uint32_t)-6);
    put_u32(b, 7);
    put_key(b, "nothing", ARRAY);
    put_u32(b, STRING);
    put_u64(b, 0);
    put_key(b, "split.count", U16);
    put(b, "\1\0", 2);
    put_tensor(b, "a.weight", 8, 0, 2, dims_64x2);
    put_tensor(b, "b.weight", 0, 160, 3, dims_3x2x2);
    put_padding(b, 32);
    for (size_t i = 0; i < 160 + 48; i++)
        put(b, &(uint8_t){(uint8_t)i}, 1);
}

/* Reads every value in every way, so that the sanitizer sees each access. */
static void ignore(void *arg, const char *key, const char *value)
{
    *(size_t *)arg += strlen(key) + strlen(value);
}

static size_t use_all(const struct gguf *g)
{
    static const char *const keys[] = {"general.architecture",
                                       "%A.block_count",
                                       "u8",
                                       "i16",
                                       "u64",
                                       "f32",
                                       "f64",
                                       "yes",
                                       "words",
                                       "numbers",
                                       "nothing",
                                       "split.count"};
    size_t total = 0;
    gguf_each(g, ignore, &total);
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        int64_t i;
        double d;
        bool yes;
        const char *s;
        size_t len = 0;
        gguf_int(g, keys[k], INT64_MIN, INT64_MAX, &i, NULL);
        gguf_float(g, keys[k], &d, NULL);
        gguf_bool_or(g, keys[k], false, &yes, NULL);
        if (gguf_string(g, keys[k], &s, &len, NULL) == 0)
            for (size_t j = 0; j < len; j++)
                total += (uint8_t)s[j];
        size_t count = 0;
        if (gguf_strings(g, keys[k], &count, NULL) == 0)
            for (size_t n = 0; n < count; n++) {
                assert_int_equal(gguf_string_at(g, keys[k], n, &s, &len), 0);
                for (size_t j = 0; j < len; j++)
                    total += (uint8_t)s[j];
            }
        if (gguf_array_len(g, keys[k], &count, NULL) == 0)
            for (size_t n = 0; n < count && n < 100; n++)
                gguf_array_int(g, keys[k], n, &i, NULL);
    }
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        assert_ptr_equal(gguf_tensor(g, t->name), t);
        for (size_t j = 0; j < t->bytes; j++)
            total += ((const uint8_t *)t->data)[j];
    }
    return total;
}

static int open_copy(const uint8_t *bytes, size_t len, struct gguf **g, uint8_t **copy,
                     struct error *e)
{
    *copy = malloc(len ? len : 1);
    assert_non_null(*copy);
    memcpy(*copy, bytes, len);
    *g = NULL;
    memset(e, 0, sizeof *e);
    return gguf_open_bytes(*copy, len, g, e);
}

static void expect_refusal(const struct gguf_build *b, int code, const char *word)
{
    struct gguf *g;
    struct error e;
    uint8_t *copy;
    int rc = open_copy(b->bytes, b->len, &g, &copy, &e);
    if (rc != code || e.code != code || !strstr(e.text, word))
        fail_msg("wanted code %d and '%s', got %d: %s", code, word, rc, e.text);
    assert_null(g);
    free(copy);
}

static void every_kind_of_value_is_read(void **state)
{
    (void)state;
    struct gguf_build b;
    struct gguf *g;
    struct error e;
    uint8_t *copy;
    build_whole(&b);
    if (open_copy(b.bytes, b.len, &g, &copy, &e) != 0)
        fail_msg("%s", e.text);
    int64_t i;
    double d;
    bool yes;
    const char *s;
    size_t n;
    assert_int_equal(gguf_file_bytes(g), b.len);
    assert_int_equal(gguf_int(g, "%A.block_count", 1, 100, &i, &e), 0);
    assert_int_equal(i, 27);
    assert_int_equal(gguf_int(g, "u8", 0, 255, &i, &e), 0);
    assert_int_equal(i, 255);
    assert_int_equal(gguf_int(g, "i8", -128, 127, &i, &e), 0);
    assert_int_equal(i, -1);
    assert_int_equal(gguf_int(g, "i16", INT64_MIN, 0, &i, &e), 0);
    assert_int_equal(i, -32768);
    assert_int_equal(gguf_int(g, "i64", INT64_MIN, 0, &i, &e), 0);
    assert_int_equal(i, -7);
    assert_int_equal(gguf_float(g, "f32", &d, &e), 0);
    assert_true(d == 0.25);
    assert_int_equal(gguf_float(g, "f64", &d, &e), 0);
    assert_true(d == -1e300);
    assert_int_equal(gguf_bool_or(g, "yes", false, &yes, &e), 0);
    assert_true(yes);
    assert_int_equal(gguf_strings(g, "words", &n, &e), 0);
    assert_int_equal(n, 3);
    assert_int_equal(gguf_string_at(g, "words", 2, &s, &n), 0);
    assert_int_equal(n, 6);
    assert_memory_equal(s, "three\n", 6);
    assert_int_equal(gguf_string_at(g, "words", 3, &s, &n), ERR_NOT_FOUND);
    assert_int_equal(gguf_strings(g, "nothing", &n, &e), 0);
    assert_int_equal(n, 0);
    assert_int_equal(gguf_array_int(g, "numbers", 1, &i, &e), 0);
    assert_int_equal(i, -6);
    assert_int_equal(gguf_array_int(g, "numbers", 3, &i, &e), ERR_NOT_FOUND);
    assert_true(gguf_has(g, "%A.block_count") && !gguf_has(g, "%A.none") && !gguf_has(g, ""));
    assert_true(use_all(g) > 0);
    gguf_close(g);
    free(copy);
}

static void a_missing_or_wrong_value_is_named(void **state)
{
    (void)state;
    struct gguf_build b;
    struct gguf *g;
    struct error e;
    uint8_t *copy;
    int64_t i = 1;
    double d = 1;
    bool yes = false;
    const char *s;
    size_t n;
    build_whole(&b);
    assert_int_equal(open_copy(b.bytes, b.len, &g, &copy, &e), 0);
    assert_int_equal(gguf_int(g, "%A.expert_count", 0, 9, &i, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "deepseek2.expert_count"));
    assert_int_equal(gguf_int_or(g, "%A.expert_count", 4, 0, 9, &i, &e), 0);
    assert_int_equal(i, 4);
    assert_int_equal(gguf_int_or(g, "u8", 4, 0, 9, &i, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "'u8'"));
    assert_non_null(strstr(e.text, "255"));
    assert_int_equal(gguf_int(g, "u64", INT64_MIN, INT64_MAX, &i, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "18446744073709551615"));
    assert_int_equal(gguf_int(g, "f32", 0, 9, &i, &e), ERR_INVALID);
    assert_int_equal(gguf_int(g, "yes", 0, 9, &i, &e), ERR_INVALID);
    assert_int_equal(gguf_int(g, "numbers", 0, 9, &i, &e), ERR_INVALID);
    assert_int_equal(gguf_float(g, "u8", &d, &e), ERR_INVALID);
    assert_int_equal(gguf_float_or(g, "none", 2.5, &d, &e), 0);
    assert_true(d == 2.5);
    assert_int_equal(gguf_float(g, "none", &d, &e), ERR_NOT_FOUND);
    assert_int_equal(gguf_bool_or(g, "none", true, &yes, &e), 0);
    assert_true(yes);
    assert_int_equal(gguf_bool_or(g, "u8", true, &yes, &e), ERR_INVALID);
    assert_int_equal(gguf_string(g, "words", &s, &n, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "array of string"));
    assert_int_equal(gguf_strings(g, "numbers", &n, &e), ERR_INVALID);
    assert_int_equal(gguf_array_int(g, "words", 0, &i, &e), ERR_INVALID);
    assert_int_equal(gguf_array_len(g, "u8", &n, &e), ERR_INVALID);
    gguf_close(g);
    free(copy);
}

static void tensors_are_found_by_name_with_their_bytes(void **state)
{
    (void)state;
    struct gguf_build b;
    struct gguf *g;
    struct error e;
    uint8_t *copy;
    build_whole(&b);
    assert_int_equal(open_copy(b.bytes, b.len, &g, &copy, &e), 0);
    assert_int_equal(gguf_n_tensors(g), 2);
    const struct gguf_tensor *t = gguf_tensor(g, "b.weight");
    assert_non_null(t);
    assert_int_equal(t->n_dims, 3);
    assert_int_equal(t->dims[0], 3);
    assert_int_equal(t->dims[3], 1);
    assert_int_equal(t->bytes, 48);
    assert_int_equal(*(const uint8_t *)t->data, 160);
    assert_int_equal(gguf_tensor(g, "a.weight")->bytes, 4 * 34);
    assert_null(gguf_tensor(g, "a"));
    assert_null(gguf_tensor_at(g, 2));
    gguf_close(g);
    free(copy);
}

struct seen {
    char text[2048];
};

static void collect(void *arg, const char *key, const char *value)
{
    struct seen *seen = arg;
    size_t len = strlen(seen->text);
    snprintf(seen->text + len, sizeof seen->text - len, "%s=%s|", key, value);
}

static void metadata_is_shown_as_text(void **state)
{
    (void)state;
    struct gguf_build b;
    struct gguf *g;
    struct error e;
    struct seen seen = {""};
    uint8_t *copy;
    build_whole(&b);
    assert_int_equal(open_copy(b.bytes, b.len, &g, &copy, &e), 0);
    gguf_each(g, collect, &seen);
    assert_string_equal(seen.text, "general.architecture=deepseek2|general.alignment=32|"
                                   "deepseek2.block_count=27|u8=255|i8=-1|i16=-32768|"
                                   "u64=18446744073709551615|i64=-7|f32=0.25|f64=-1e+300|yes=true|"
                                   "words=[string x 3] one, , three.|numbers=[i32 x 3] 5, -6, 7|"
                                   "nothing=[string x 0]|split.count=1|");
    gguf_close(g);
    free(copy);
}

static void a_long_string_is_shown_cut_between_characters(void **state)
{
    (void)state;
    struct gguf_build b;
    struct gguf *g;
    struct error e;
    struct seen seen = {""};
    uint8_t *copy;
    char text[400] = "x";
    for (size_t i = 1; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    put_head(&b, 2, 0, 1);
    put_key(&b, "k", STRING);
    put_string(&b, text);
    assert_int_equal(open_copy(b.bytes, b.len, &g, &copy, &e), 0);
    gguf_each(g, collect, &seen);
    assert_int_equal(strlen(seen.text), strlen("k=...|") + 199);
    gguf_close(g);
    free(copy);
}

static void a_file_cut_short_at_any_byte_is_refused(void **state)
{
    (void)state;
    struct gguf_build b;
    build_whole(&b);
    for (size_t len = 0; len < b.len; len++) {
        struct gguf *g;
        struct error e;
        uint8_t *copy;
        assert_int_equal(open_copy(b.bytes, len, &g, &copy, &e), ERR_INVALID);
        assert_true(strlen(e.text) > 0);
        assert_null(g);
        free(copy);
    }
}

static void no_damaged_byte_makes_it_read_outside_the_file(void **state)
{
    (void)state;
    static const uint8_t values[] = {0, 1, 2, 7, 8, 9, 13, 0x20, 0x7f, 0x80, 0xfe, 0xff};
    struct gguf_build whole, b;
    size_t opened = 0;
    build_whole(&whole);
    for (size_t at = 0; at < whole.len; at++)
        for (size_t v = 0; v < sizeof values + 8; v++) {
            b = whole;
            b.bytes[at] = v < 8 ? b.bytes[at] ^ (uint8_t)(1 << v) : values[v - 8];
            struct gguf *g;
            struct error e;
            uint8_t *copy;
            if (open_copy(b.bytes, b.len, &g, &copy, &e) == 0) {
                opened += use_all(g) > 0;
                gguf_close(g);
            } else {
                assert_true(e.code < 0 && strlen(e.text) > 0);
            }
            free(copy);
        }
    assert_true(opened > 0);
}

static void foreign_files_and_versions_are_refused(void **state)
{
    (void)state;
    struct gguf_build b;
    put_head(&b, 1, 0, 0);
    expect_refusal(&b, ERR_UNSUPPORTED, "version 1");
    put_head(&b, 4, 0, 0);
    expect_refusal(&b, ERR_UNSUPPORTED, "version 4");
    put_head(&b, 0x03000000, 0, 0);
    expect_refusal(&b, ERR_UNSUPPORTED, "big-endian");
    b.bytes[0] = 'P';
    expect_refusal(&b, ERR_INVALID, "not a GGUF file");
    b.len = 0;
    expect_refusal(&b, ERR_INVALID, "magic");
}

static void counts_beyond_the_file_are_refused(void **state)
{
    (void)state;
    struct gguf_build b;
    put_head(&b, 3, UINT64_MAX, 0);
    expect_refusal(&b, ERR_INVALID, "tensor count at byte 8");
    put_head(&b, 3, 0, 1ull << 60);
    expect_refusal(&b, ERR_INVALID, "metadata count at byte 16");
    put_head(&b, 3, 0, 1);
    put_key(&b, "numbers", ARRAY);
    put_u32(&b, U64);
    put_u64(&b, 1ull << 61);
    expect_refusal(&b, ERR_INVALID, "'numbers' at byte 43");
    put_head(&b, 3, 0, 1);
    put_key(&b, "text", STRING);
    put_u64(&b, UINT64_MAX - 3);
    expect_refusal(&b, ERR_INVALID, "'text'");
}

static void bad_metadata_is_refused(void **state)
{
    (void)state;
    struct gguf_build b;
    put_head(&b, 3, 0, 2);
    put_key(&b, "twice", U8);
    put(&b, "\1", 1);
    put_key(&b, "twice", U8);
    put(&b, "\1", 1);
    expect_refusal(&b, ERR_INVALID, "'twice' at byte 42 stands there twice");
    put_head(&b, 3, 0, 1);
    put_key(&b, "nested", ARRAY);
    put_u32(&b, ARRAY);
    put_u64(&b, 1);
    put_u64(&b, 0);
    expect_refusal(&b, ERR_UNSUPPORTED, "array of arrays");
    put_head(&b, 3, 0, 1);
    put_key(&b, "odd", 13);
    put_u64(&b, 0);
    expect_refusal(&b, ERR_INVALID, "unknown type 13");
    put_head(&b, 3, 0, 1);
    put_key(&b, "", U8);
    put_u64(&b, 0);
    expect_refusal(&b, ERR_INVALID, "metadata key at byte 24");
    put_head(&b, 3, 0, 1);
    put_u64(&b, 2);
    put(&b, "a\0", 2);
    put_u64(&b, 0);
    expect_refusal(&b, ERR_INVALID, "zero byte");
    put_head(&b, 3, 0, 1);
    put_key(&b, "general.alignment", U32);
    put_u32(&b, 48);
    expect_refusal(&b, ERR_INVALID, "power of two");
    put_head(&b, 3, 0, 1);
    put_key(&b, "general.alignment", U32);
    put_u32(&b, 0);
    expect_refusal(&b, ERR_INVALID, "general.alignment");
}

static void a_split_model_is_refused_with_a_way_out(void **state)
{
    (void)state;
    struct gguf_build b;
    put_head(&b, 3, 0, 2);
    put_key(&b, "split.no", U16);
    put(&b, "\2\0", 2);
    put_key(&b, "split.count", U16);
    put(&b, "\x09\0", 2);
    expect_refusal(&b, ERR_UNSUPPORTED, "part 3 of a model split into 9 files");
}

static void one_tensor(struct gguf_build *b, const char *name, uint32_t type, uint64_t offset,
                       uint32_t n_dims, const uint64_t *dims)
{
    put_head(b, 3, 1, 0);
    put_tensor(b, name, type, offset, n_dims, dims);
    put_padding(b, 32);
    for (size_t i = 0; i < 256; i++)
        put(b, "", 1);
}

static void bad_tensors_are_refused(void **state)
{
    (void)state;
    static const uint64_t zero[] = {32, 0}, odd[] = {33}, five[] = {1, 1, 1, 1, 1};
    static const uint64_t huge[] = {1ull << 32, 1ull << 31, 4, 4}, wide[] = {1ull << 62};
    struct gguf_build b;
    one_tensor(&b, "t", 0, 0, 2, zero);
    expect_refusal(&b, ERR_INVALID, "extent of 0 at byte 45");
    one_tensor(&b, "t", 8, 0, 1, odd);
    expect_refusal(&b, ERR_INVALID, "not a multiple of the 32");
    one_tensor(&b, "t", 0, 0, 5, five);
    expect_refusal(&b, ERR_INVALID, "5 dimensions");
    one_tensor(&b, "t", 0, 0, 4, huge);
    expect_refusal(&b, ERR_INVALID, "overflow");
    one_tensor(&b, "t", 0, 0, 1, wide);
    expect_refusal(&b, ERR_INVALID, "overflow");
    one_tensor(&b, "t", 8, 8, 2, dims_64x2);
    expect_refusal(&b, ERR_INVALID, "multiple of the alignment 32");
    one_tensor(&b, "t", 8, 128, 2, dims_64x2);
    expect_refusal(&b, ERR_INVALID, "tensor 't' needs 136 bytes at 128");
    one_tensor(&b, "t", 8, UINT64_MAX - 31, 2, dims_64x2);
    expect_refusal(&b, ERR_INVALID, "tensor 't' needs 136 bytes");
    one_tensor(&b, "0123456789012345678901234567890123456789012345678901234567890123", 8, 0, 2,
               dims_64x2);
    expect_refusal(&b, ERR_INVALID, "tensor name at byte 24 is 64 bytes long");
}

static void a_type_that_is_not_built_is_named(void **state)
{
    (void)state;
    struct gguf_build b;
    one_tensor(&b, "blk.0.ffn_up.weight", 12, 0, 2, dims_64x2);
    expect_refusal(&b, ERR_UNSUPPORTED, "'blk.0.ffn_up.weight' has type 12 (Q4_K)");
    one_tensor(&b, "t", 139, 0, 2, dims_64x2);
    expect_refusal(&b, ERR_UNSUPPORTED, "ik_llama.cpp");
    one_tensor(&b, "t", 77, 0, 2, dims_64x2);
    expect_refusal(&b, ERR_UNSUPPORTED, "unknown type");
}

static void two_tensors_may_not_share_a_name_or_bytes(void **state)
{
    (void)state;
    struct gguf_build b;
    for (int overlap = 0; overlap < 2; overlap++) {
        put_head(&b, 3, 2, 0);
        put_tensor(&b, overlap ? "u" : "t", 8, 128, 2, dims_64x2);
        put_tensor(&b, "t", 8, overlap ? 0 : 512, 2, dims_64x2);
        put_padding(&b, 32);
        for (size_t i = 0; i < 1024; i++)
            put(&b, "", 1);
        expect_refusal(&b, ERR_INVALID, overlap ? "'t' and 'u' overlap at byte" : "twice");
    }
}

static void memory_that_is_not_aligned_is_refused(void **state)
{
    (void)state;
    uint64_t words[16] = {0};
    struct gguf *g;
    struct error e;
    assert_int_equal(gguf_open_bytes((uint8_t *)words + 4, 64, &g, &e), ERR_INTERNAL);
}

static void write_file(const char *path, const void *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static void a_file_is_mapped_and_what_is_no_file_is_refused(void **state)
{
    (void)state;
    char folder[256], path[300], pipe_path[300];
    const char *tmp = getenv("TMPDIR");
    struct gguf_build b;
    struct gguf *g = NULL;
    struct error e;
    snprintf(folder, sizeof folder, "%s/mg-gguf-XXXXXX", tmp ? tmp : P_tmpdir);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/m.gguf", folder);
    snprintf(pipe_path, sizeof pipe_path, "%s/pipe", folder);
    assert_int_equal(gguf_open_file(path, &g, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, path));
    assert_int_equal(gguf_open_file(folder, &g, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "directory"));
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    assert_int_equal(gguf_open_file(pipe_path, &g, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "regular"));
    write_file(path, "", 0);
    assert_int_equal(gguf_open_file(path, &g, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "empty"));
    build_whole(&b);
    write_file(path, b.bytes, b.len - 1);
    assert_int_equal(gguf_open_file(path, &g, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "tensor 'b.weight' needs 48 bytes at 160"));
    assert_non_null(strstr(e.text, path));
    write_file(path, b.bytes, b.len);
    assert_int_equal(gguf_open_file(path, &g, &e), 0);
    assert_true(use_all(g) > 0);
    gguf_close(g);
    gguf_close(NULL);
    unlink(path);
    unlink(pipe_path);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_value_is_read),
        cmocka_unit_test(a_missing_or_wrong_value_is_named),
        cmocka_unit_test(tensors_are_found_by_name_with_their_bytes),
        cmocka_unit_test(metadata_is_shown_as_text),
        cmocka_unit_test(a_long_string_is_shown_cut_between_characters),
        cmocka_unit_test(a_file_cut_short_at_any_byte_is_refused),
        cmocka_unit_test(no_damaged_byte_makes_it_read_outside_the_file),
        cmocka_unit_test(foreign_files_and_versions_are_refused),
        cmocka_unit_test(counts_beyond_the_file_are_refused),
        cmocka_unit_test(bad_metadata_is_refused),
        cmocka_unit_test(a_split_model_is_refused_with_a_way_out),
        cmocka_unit_test(bad_tensors_are_refused),
        cmocka_unit_test(a_type_that_is_not_built_is_named),
        cmocka_unit_test(two_tensors_may_not_share_a_name_or_bytes),
        cmocka_unit_test(memory_that_is_not_aligned_is_refused),
        cmocka_unit_test(a_file_is_mapped_and_what_is_no_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
