/*
 * The tokenizer out of a GGUF: small files made here, right ones and bent ones.
 */
#include "engine/tokenizer.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "small_vocabulary.h"

enum { GGUF_I32 = 5, GGUF_U32 = 4, GGUF_STRING = 8, GGUF_ARRAY = 9 };

/* What a file says; a test changes one thing. */
struct recipe {
    const char *model, *pre;
    int32_t types[SMALL_TOKENS];
    const char *texts[SMALL_TOKENS]; /* NULL: as the small vocabulary has it */
    size_t n_types;
    int64_t eos; /* -1: no key */
};

static void add_u32(struct buf *b, uint32_t v)
{
    buf_add(b, &v, sizeof v);
}

static void add_u64(struct buf *b, uint64_t v)
{
    buf_add(b, &v, sizeof v);
}

static void add_string(struct buf *b, const char *s)
{
    add_u64(b, strlen(s));
    buf_adds(b, s);
}

static void add_key(struct buf *b, const char *key, uint32_t type)
{
    add_string(b, key);
    add_u32(b, type);
}

/* GPT-2's printable form of a byte: those that print stand for themselves. */
static uint32_t printable(unsigned char byte)
{
    uint32_t next = 0x100;

    for (unsigned c = 0; c <= byte; c++) {
        bool prints = (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) || c >= 0xAE;
        if (c == byte)
            return prints ? c : next;
        next += !prints;
    }
    return 0;
}

static void add_printable(struct buf *b, const struct tokenizer_entry *entry)
{
    struct buf text;

    buf_init(&text, 4096);
    for (size_t i = 0; i < entry->len; i++) {
        uint32_t c = printable((unsigned char)entry->bytes[i]);
        if (c < 0x80) {
            buf_addc(&text, (char)c);
        } else {
            buf_addc(&text, (char)(0xC0 | c >> 6));
            buf_addc(&text, (char)(0x80 | (c & 0x3F)));
        }
    }
    add_string(b, text.data);
    buf_done(&text);
}

static void standard(struct recipe *r)
{
    *r = (struct recipe){.model = "gpt2", .pre = "kimi-k2", .n_types = SMALL_TOKENS, .eos = 256};
    for (int i = 0; i < SMALL_TOKENS; i++)
        r->types[i] = i < 256 + SMALL_JOINED ? 1 : i % 2 ? 3 : 4;
}

static void write_file(const struct recipe *r, struct buf *b)
{
    struct tokenizer_entry entries[SMALL_TOKENS];

    small_entries(entries);
    buf_init(b, 1 << 20);
    buf_adds(b, "GGUF");
    add_u32(b, 3);
    add_u64(b, 0);
    add_u64(b, r->eos >= 0 ? 5 : 4);
    add_key(b, "tokenizer.ggml.model", GGUF_STRING);
    add_string(b, r->model);
    add_key(b, "tokenizer.ggml.pre", GGUF_STRING);
    add_string(b, r->pre);
    add_key(b, "tokenizer.ggml.tokens", GGUF_ARRAY);
    add_u32(b, GGUF_STRING);
    add_u64(b, SMALL_TOKENS);
    for (int i = 0; i < SMALL_TOKENS; i++) {
        if (r->texts[i])
            add_string(b, r->texts[i]);
        else if (entries[i].special)
            add_string(b, entries[i].bytes);
        else
            add_printable(b, &entries[i]);
    }
    add_key(b, "tokenizer.ggml.token_type", GGUF_ARRAY);
    add_u32(b, GGUF_I32);
    add_u64(b, r->n_types);
    buf_add(b, r->types, r->n_types * sizeof *r->types);
    if (r->eos >= 0) {
        add_key(b, "tokenizer.ggml.eos_token_id", GGUF_U32);
        add_u32(b, (uint32_t)r->eos);
    }
}

static int open_recipe(const struct recipe *r, struct tokenizer **out, struct error *e)
{
    struct gguf *g = NULL;
    struct buf file;

    write_file(r, &file);
    assert_int_equal(gguf_open_bytes(file.data, file.len, &g, e), 0);
    int rc = tokenizer_open_gguf(g, out, e);
    gguf_close(g);
    buf_done(&file);
    return rc;
}

static void refuse(const struct recipe *r, int code, const char *names)
{
    struct tokenizer *t = NULL;
    struct error e = {0};

    assert_int_equal(open_recipe(r, &t, &e), code);
    assert_null(t);
    if (!strstr(e.text, names))
        fail_msg("'%s' does not name %s", e.text, names);
}

static void tokens_come_out_of_their_printable_form(void **state)
{
    struct tokenizer_entry entries[SMALL_TOKENS];
    struct tokenizer *t = NULL;
    struct recipe r;
    struct error e;

    (void)state;
    small_entries(entries);
    standard(&r);
    assert_int_equal(open_recipe(&r, &t, &e), 0);
    assert_int_equal(tokenizer_size(t), SMALL_TOKENS);
    for (int i = 0; i < SMALL_TOKENS; i++) {
        size_t len;
        const char *bytes = tokenizer_bytes(t, i, &len);
        assert_int_equal(len, entries[i].len);
        assert_memory_equal(bytes, entries[i].bytes, len);
        assert_true(tokenizer_is_special(t, i) == entries[i].special);
    }
    tokenizer_close(t);
}

static void a_character_outside_the_printable_form_stands_for_itself(void **state)
{
    struct tokenizer *t = NULL;
    struct recipe r;
    struct error e;
    size_t len;

    (void)state;
    standard(&r);
    r.texts[256] = "x中\xFF";
    assert_int_equal(open_recipe(&r, &t, &e), 0);
    assert_memory_equal(tokenizer_bytes(t, 256, &len), "x中\xFF", 5);
    assert_int_equal(len, 5);
    tokenizer_close(t);
}

static void generation_ends_by_text_and_by_key(void **state)
{
    struct tokenizer *t = NULL;
    struct recipe r;
    struct error e;

    (void)state;
    standard(&r);
    assert_int_equal(open_recipe(&r, &t, &e), 0);
    assert_true(tokenizer_ends_generation(t, 256));
    assert_true(tokenizer_ends_generation(t, tokenizer_special(t, "<|im_end|>")));
    assert_true(tokenizer_ends_generation(t, tokenizer_special(t, "[EOS]")));
    assert_false(tokenizer_ends_generation(t, tokenizer_special(t, "[PAD]")));
    tokenizer_close(t);
    r.eos = -1;
    assert_int_equal(open_recipe(&r, &t, &e), 0);
    assert_false(tokenizer_ends_generation(t, 256));
    tokenizer_close(t);
}

static void an_unused_token_is_special_without_a_name(void **state)
{
    struct tokenizer *t = NULL;
    struct recipe r;
    struct error e;

    (void)state;
    standard(&r);
    r.types[SMALL_TOKENS - 1] = 5;
    assert_int_equal(open_recipe(&r, &t, &e), 0);
    assert_true(tokenizer_is_special(t, SMALL_TOKENS - 1));
    assert_int_equal(tokenizer_special(t, "[PAD]"), -1);
    tokenizer_close(t);
}

static void what_is_not_built_in_is_named(void **state)
{
    struct recipe r;

    (void)state;
    standard(&r);
    r.model = "llama";
    refuse(&r, ERR_UNSUPPORTED, "llama");
    standard(&r);
    r.pre = "deepseek-v3";
    refuse(&r, ERR_UNSUPPORTED, "deepseek-v3");
    standard(&r);
    r.types[7] = 6;
    refuse(&r, ERR_UNSUPPORTED, "token 7");
}

static void a_bent_vocabulary_is_refused(void **state)
{
    struct recipe r;

    (void)state;
    standard(&r);
    r.n_types = SMALL_TOKENS - 1;
    refuse(&r, ERR_INVALID, "token_type");
    standard(&r);
    r.eos = SMALL_TOKENS;
    refuse(&r, ERR_INVALID, "eos_token_id");
    standard(&r);
    r.texts[47] = "";
    refuse(&r, ERR_INVALID, "empty");
    standard(&r);
    r.texts[0x20] = "xyz";
    refuse(&r, ERR_INVALID, "0x20");
    standard(&r);
    r.texts[257] = "he";
    refuse(&r, ERR_INVALID, "256 and 257");
}

static void a_file_without_a_key_is_refused(void **state)
{
    static const char *const keys[] = {"tokenizer.ggml.model", "tokenizer.ggml.pre",
                                       "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"};
    struct recipe r;
    struct error e;

    (void)state;
    standard(&r);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct tokenizer *t = NULL;
        struct gguf *g = NULL;
        struct buf file;
        write_file(&r, &file);
        char *key = memmem(file.data, file.len, keys[i], strlen(keys[i]));
        *key = 'T';
        assert_int_equal(gguf_open_bytes(file.data, file.len, &g, &e), 0);
        assert_int_equal(tokenizer_open_gguf(g, &t, &e), ERR_NOT_FOUND);
        assert_non_null(strstr(e.text, keys[i]));
        gguf_close(g);
        buf_done(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_come_out_of_their_printable_form),
        cmocka_unit_test(a_character_outside_the_printable_form_stands_for_itself),
        cmocka_unit_test(generation_ends_by_text_and_by_key),
        cmocka_unit_test(an_unused_token_is_special_without_a_name),
        cmocka_unit_test(what_is_not_built_in_is_named),
        cmocka_unit_test(a_bent_vocabulary_is_refused),
        cmocka_unit_test(a_file_without_a_key_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
