/*
 * See tokenizer.h. Three parts do the work: vocab (texts and ids), pretokenise (text into
 * pieces), bpe (a piece into ids). This file fills them from a GGUF or a list, and keeps for
 * each id what kind it is.
 *
 * A GGUF writes ordinary tokens in GPT-2's printable form, a character for each byte; special
 * ones stand there as they are.
 */
#include "engine/tokenizer.h"

#include "base/mem.h"
#include "engine/bpe.h"
#include "engine/pretokenise.h"
#include "engine/codepoint.h"
#include "engine/vocab.h"

#include <stdlib.h>
#include <string.h>

enum {
    KIND_SPECIAL = 1, /* never text: control, user-defined, and what is there to fill a gap */
    KIND_ENDS = 2     /* ends generation */
};

/* Values of tokenizer.ggml.token_type. */
enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER_DEFINED, TYPE_UNUSED };

struct tokenizer {
    struct vocab vocab;
    struct pretokeniser *pretokeniser;
    uint8_t *kinds;
    int32_t bytes[256]; /* the token of each single byte */
};

/* Tokens with these texts end a reply, whatever the file's keys say. */
static const char *const end_texts[] = {
    "<|im_end|>", "[EOS]",         "[EOT]",      "<|end_of_msg|>", "<|eot_id|>",
    "<|end|>",    "<|endoftext|>", "<|eom_id|>", "</s>",           "<end_of_turn>",
};

void tokens_init(struct tokens *t, size_t max)
{
    *t = (struct tokens){.max = max};
}

void tokens_done(struct tokens *t)
{
    free(t->ids);
    *t = (struct tokens){.max = t->max};
}

void tokens_add(struct tokens *t, int32_t id)
{
    if (t->n < t->max) {
        if (t->n == t->cap) {
            t->cap = t->cap ? t->cap * 2 : 64;
            t->ids = mem_realloc(t->ids, t->cap * sizeof *t->ids);
        }
        t->ids[t->n] = id;
    }
    t->n++;
}

static struct tokenizer *tokenizer_new(size_t n_tokens, size_t n_special)
{
    struct tokenizer *t = mem_zalloc(sizeof *t);

    vocab_init(&t->vocab, n_tokens, n_special);
    t->kinds = mem_zalloc(n_tokens);
    return t;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    vocab_done(&t->vocab);
    pretokeniser_close(t->pretokeniser);
    free(t->kinds);
    free(t);
}

/* Adds the next token; `findable`: it has an index entry, so its text must be new there. */
static int add_token(struct tokenizer *t, const char *bytes, size_t len, bool special,
                     bool findable, struct error *e)
{
    int32_t id = (int32_t)t->vocab.n;

    if (len == 0)
        return error_set(e, ERR_INVALID, "token %d of the vocabulary is empty", id);
    if (len > VOCAB_MAX_TOKEN_BYTES)
        return error_set(e, ERR_INVALID, "token %d of the vocabulary has %zu bytes, at most %u do",
                         id, len, VOCAB_MAX_TOKEN_BYTES);
    vocab_add(&t->vocab, bytes, len);
    if (special)
        t->kinds[id] |= KIND_SPECIAL;
    if (!findable)
        return 0;
    struct vocab_index *index = special ? &t->vocab.special : &t->vocab.normal;
    int32_t twin = vocab_enter(&t->vocab, index, id);
    if (twin >= 0)
        return error_set(e, ERR_INVALID, "tokens %d and %d of the vocabulary have the same text",
                         twin, id);
    return 0;
}

static int check_count(size_t n, struct error *e)
{
    if (n == 0 || n > VOCAB_MAX_TOKENS)
        return error_set(e, ERR_INVALID, "a vocabulary of %zu tokens; 1 to %u are possible", n,
                         VOCAB_MAX_TOKENS);
    return 0;
}

/* What both ways of opening have in common, after the tokens are in. */
static int finish(struct tokenizer *t, const char *pre, size_t pre_len, struct error *e)
{
    for (int b = 0; b < 256; b++) {
        char c = (char)b;
        t->bytes[b] = vocab_find(&t->vocab, &t->vocab.normal, &c, 1);
        if (t->bytes[b] < 0)
            return error_set(e, ERR_INVALID, "the vocabulary has no token for the byte 0x%02X", b);
    }
    for (size_t i = 0; i < sizeof end_texts / sizeof *end_texts; i++) {
        int32_t id = tokenizer_special(t, end_texts[i]);
        if (id >= 0)
            t->kinds[id] |= KIND_ENDS;
    }
    return pretokeniser_open(pre, pre_len, &t->pretokeniser, e);
}

int tokenizer_open_entries(const struct tokenizer_entry *entries, size_t n, const char *pre,
                           struct tokenizer **out, struct error *e)
{
    size_t n_special = 0;
    int rc = check_count(n, e);

    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++)
        n_special += entries[i].special;
    struct tokenizer *t = tokenizer_new(n, n_special);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = add_token(t, entries[i].bytes, entries[i].len, entries[i].special, true, e);
    if (rc == 0)
        rc = finish(t, pre, strlen(pre), e);
    if (rc) {
        tokenizer_close(t);
        return rc;
    }
    *out = t;
    return 0;
}

/* GPT-2's table, backwards: the byte that a printable character stands for, or -1. The bytes
 * that are no printable Latin-1 characters are U+0100 and following, in their order. */
static int byte_of_printable(uint32_t c)
{
    if ((c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) || (c >= 0xAE && c <= 0xFF))
        return (int)c;
    if (c >= 0x100 && c < 0x100 + 0x21)
        return (int)(c - 0x100);
    if (c >= 0x121 && c < 0x121 + 0x22)
        return (int)(c - 0x121 + 0x7F);
    return c == 0x143 ? 0xAD : -1;
}

/* Turns an ordinary token's text into its bytes: never more of them, so `out` holds len. What is
 * not in the table stays as it is. */
static size_t unprint(const char *s, size_t len, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < len;) {
        uint32_t c;
        int used = codepoint_read(s + i, len - i, &c);
        int byte = used > 0 ? byte_of_printable(c) : -1;
        if (byte >= 0) {
            out[n++] = (char)byte;
        } else {
            if (used <= 0)
                used = 1;
            memcpy(out + n, s + i, (size_t)used);
            n += (size_t)used;
        }
        i += (size_t)used;
    }
    return n;
}

static int token_type(const struct gguf *g, size_t i, int64_t *type, struct error *e)
{
    int rc = gguf_array_int(g, "tokenizer.ggml.token_type", i, type, e);

    if (rc == 0 && (*type < TYPE_NORMAL || *type > TYPE_UNUSED))
        rc = error_set(e, ERR_UNSUPPORTED,
                       "token %zu has type %lld in tokenizer.ggml.token_type; 1 to 5 are known", i,
                       (long long)*type);
    return rc;
}

static int add_from_gguf(struct tokenizer *t, const struct gguf *g, size_t i, struct error *e)
{
    const char *text;
    size_t len;
    int64_t type;
    int rc = token_type(g, i, &type, e);

    if (rc)
        return rc;
    if (gguf_string_at(g, "tokenizer.ggml.tokens", i, &text, &len) != 0)
        return error_set(e, ERR_INVALID, "tokenizer.ggml.tokens has no entry %zu", i);
    if (type != TYPE_NORMAL) {
        bool findable = type == TYPE_CONTROL || type == TYPE_USER_DEFINED;
        return add_token(t, text, len, true, findable, e);
    }
    char *bytes = mem_alloc(len + 1);
    rc = add_token(t, bytes, unprint(text, len, bytes), false, true, e);
    free(bytes);
    return rc;
}

static int mark_ends(struct tokenizer *t, const struct gguf *g, struct error *e)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        int64_t id;
        int rc = gguf_int_or(g, keys[i], -1, 0, (int64_t)t->vocab.n - 1, &id, e);
        if (rc)
            return rc;
        if (id >= 0)
            t->kinds[id] |= KIND_ENDS;
    }
    return 0;
}

static int check_model(const struct gguf *g, struct error *e)
{
    const char *model;
    size_t len;
    int rc = gguf_string(g, "tokenizer.ggml.model", &model, &len, e);

    if (rc == 0 && (len != 4 || memcmp(model, "gpt2", 4) != 0))
        rc = error_set(e, ERR_UNSUPPORTED, "tokenizer.ggml.model is '%.*s'; only gpt2 is built in",
                       (int)(len > 64 ? 64 : len), model);
    return rc;
}

static int count_tokens(const struct gguf *g, size_t *n, size_t *n_special, struct error *e)
{
    size_t n_types;
    int64_t type;
    int rc = gguf_strings(g, "tokenizer.ggml.tokens", n, e);

    if (rc == 0)
        rc = check_count(*n, e);
    if (rc == 0)
        rc = gguf_array_len(g, "tokenizer.ggml.token_type", &n_types, e);
    if (rc)
        return rc;
    if (n_types != *n)
        return error_set(e, ERR_INVALID,
                         "tokenizer.ggml.tokens has %zu entries, tokenizer.ggml.token_type %zu", *n,
                         n_types);
    *n_special = 0;
    for (size_t i = 0; i < *n; i++) {
        rc = token_type(g, i, &type, e);
        if (rc)
            return rc;
        *n_special += type != TYPE_NORMAL;
    }
    return 0;
}

int tokenizer_open_gguf(const struct gguf *g, struct tokenizer **out, struct error *e)
{
    struct tokenizer *t = NULL;
    size_t n = 0, n_special = 0, pre_len = 0;
    const char *pre = NULL;
    int rc = check_model(g, e);

    if (rc == 0)
        rc = gguf_string(g, "tokenizer.ggml.pre", &pre, &pre_len, e);
    if (rc == 0)
        rc = count_tokens(g, &n, &n_special, e);
    if (rc)
        goto out;
    t = tokenizer_new(n, n_special);
    for (size_t i = 0; i < n; i++) {
        rc = add_from_gguf(t, g, i, e);
        if (rc)
            goto out;
    }
    rc = finish(t, pre, pre_len, e);
    if (rc == 0)
        rc = mark_ends(t, g, e);
out:
    if (rc)
        tokenizer_close(t);
    else
        *out = t;
    return rc;
}

size_t tokenizer_size(const struct tokenizer *t)
{
    return t->vocab.n;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, struct tokens *out)
{
    struct cutter *cutter;
    struct cut cut;
    struct bpe bpe;

    if (len == 0)
        return out->n > out->max ? ERR_LIMIT : 0;
    cutter = cutter_new(t->pretokeniser, text, len);
    bpe_init(&bpe, &t->vocab);
    while (cutter_next(cutter, &cut)) {
        if (!cut.raw) {
            bpe_encode(&bpe, cut.text, cut.len, out);
            continue;
        }
        for (size_t i = 0; i < cut.len; i++)
            tokens_add(out, t->bytes[(unsigned char)cut.text[i]]);
    }
    bpe_done(&bpe);
    cutter_free(cutter);
    return out->n > out->max ? ERR_LIMIT : 0;
}

int32_t tokenizer_special(const struct tokenizer *t, const char *text)
{
    return vocab_find(&t->vocab, &t->vocab.special, text, strlen(text));
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
    return t->kinds[id] & KIND_SPECIAL;
}

bool tokenizer_ends_generation(const struct tokenizer *t, int32_t id)
{
    return t->kinds[id] & KIND_ENDS;
}

const char *tokenizer_bytes(const struct tokenizer *t, int32_t id, size_t *len)
{
    return vocab_text(&t->vocab, id, len);
}

size_t tokenizer_longest(const struct tokenizer *t)
{
    return t->vocab.normal.longest;
}
