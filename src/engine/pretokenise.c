/*
 * See pretokenise.h. The expressions run in PCRE2, compiled to machine code where it can.
 *
 * Three things keep hostile text harmless. Bytes that are not UTF-8 never reach PCRE2. Valid
 * text is handed over in slices, cut as the tokenizer that comes with the Kimi models cuts it:
 * after 400,000 characters, and in the midst of a run of more than 25,000 characters that are
 * all white space or all not; so no match is longer than about twice that, and its stack is
 * bounded. And should a match fail all the same, for want of memory or at the match limit,
 * the rest of the slice is one piece: coarser, yet the same on every run.
 *
 * Notes on the expressions. White space is Unicode's White_Space property, written out, because
 * PCRE2's \s holds U+180E, which left that property. \p{sc:Han} is the Script property; plain
 * \p{Han} would mean Script_Extensions and hold CJK punctuation. PCRE2 cannot subtract a class
 * from a class, so "without Han" is a look-ahead at each character.
 */
#include "engine/pretokenise.h"

#include "base/mem.h"
#include "engine/codepoint.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdlib.h>
#include <string.h>

#define BLOCK_CHARACTERS 400000u
#define RUN_CHARACTERS   25000u
#define MATCH_LIMIT      10000000u
#define HEAP_LIMIT_KIB   (128u * 1024)
#define JIT_STACK_BYTES  (64u << 20)

#define WS                                                                                         \
    "\\x{09}-\\x{0D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}"                             \
    "\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
#define UPPER  "(?:(?!\\p{sc:Han})[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}])"
#define LOWER  "(?:(?!\\p{sc:Han})[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}])"
#define SUFFIX "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LEAD   "[^\\r\\n\\p{L}\\p{N}]?"
/* The end that all have in common: marks and signs, then white space. */
#define REST " ?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*|[" WS "]*[\\r\\n]+|[" WS "]+(?![^" WS "])|[" WS "]+"

static const struct {
    const char *name, *expression;
} expressions[] = {
    {"kimi-k2", "\\p{sc:Han}+|" LEAD UPPER "*" LOWER "+" SUFFIX "?|" LEAD UPPER "+" LOWER "*" SUFFIX
                "?|\\p{N}{1,3}|" REST},
    {"llama-bpe", SUFFIX "|" LEAD "\\p{L}+|\\p{N}{1,3}|" REST},
    {"qwen2", SUFFIX "|" LEAD "\\p{L}+|\\p{N}|" REST},
};

struct pretokeniser {
    pcre2_code *code;
};

struct cutter {
    const struct pretokeniser *p;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    pcre2_jit_stack *stack; /* NULL until the machine's own did not suffice */
    const char *at, *end;   /* what no slice has taken yet */
    const char *slice_at, *slice_end;
    size_t block_characters; /* of the running 400,000 */
};

static const char *find_expression(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof expressions / sizeof *expressions; i++)
        if (strlen(expressions[i].name) == len && memcmp(expressions[i].name, name, len) == 0)
            return expressions[i].expression;
    return NULL;
}

int pretokeniser_open(const char *name, size_t len, struct pretokeniser **out, struct error *e)
{
    const char *expression = find_expression(name, len);
    int code;
    PCRE2_SIZE where;

    if (!expression)
        return error_set(e, ERR_UNSUPPORTED,
                         "the pre-tokeniser '%.*s' is not built in: kimi-k2, llama-bpe, qwen2 are",
                         (int)(len > 64 ? 64 : len), name);
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)expression, PCRE2_ZERO_TERMINATED,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &code, &where, NULL);
    if (!compiled) {
        char text[128] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
        return error_set(e, ERR_INTERNAL, "PCRE2 refuses the expression of %.*s at %zu: %s",
                         (int)len, name, (size_t)where, text);
    }
    /* Where there is no JIT, pcre2_match interprets: slower, with the same result. */
    (void)pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
    *out = mem_alloc(sizeof **out);
    (*out)->code = compiled;
    return 0;
}

void pretokeniser_close(struct pretokeniser *p)
{
    if (!p)
        return;
    pcre2_code_free(p->code);
    free(p);
}

struct cutter *cutter_new(const struct pretokeniser *p, const char *text, size_t len)
{
    struct cutter *c = mem_zalloc(sizeof *c);

    c->p = p;
    c->at = text;
    c->end = text + len;
    return c;
}

void cutter_free(struct cutter *c)
{
    if (!c)
        return;
    pcre2_match_data_free(c->match);
    pcre2_match_context_free(c->limits);
    pcre2_jit_stack_free(c->stack);
    free(c);
}

/* Python's notion, since it decides where the reference cuts: White_Space and four separators. */
static bool is_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/* The end of the slice that starts at c->at: before invalid bytes, or where the reference cuts. */
static const char *find_slice_end(struct cutter *c)
{
    const char *s = c->at;
    size_t run = 0;
    bool run_is_space = false;
    uint32_t character;

    if (c->block_characters == BLOCK_CHARACTERS)
        c->block_characters = 0;
    while (s < c->end && c->block_characters < BLOCK_CHARACTERS) {
        int n = codepoint_read(s, (size_t)(c->end - s), &character);
        if (n <= 0)
            break;
        bool space = is_space(character);
        run = space == run_is_space ? run + 1 : 1;
        run_is_space = space;
        if (run > RUN_CHARACTERS)
            break;
        s += n;
        c->block_characters++;
    }
    return s;
}

/* The end of the invalid bytes that start at `s`. */
static const char *raw_end(const char *s, const char *end)
{
    uint32_t c;

    while (s < end) {
        int n = codepoint_read(s, (size_t)(end - s), &c);
        if (n > 0)
            break;
        s = n == 0 ? end : s + -n;
    }
    return s;
}

/* Made at the first piece that is not raw: texts of a message are often empty. */
static bool prepare(struct cutter *c)
{
    if (c->match)
        return true;
    c->limits = pcre2_match_context_create(NULL);
    if (!c->limits)
        return false;
    pcre2_set_match_limit(c->limits, MATCH_LIMIT);
    pcre2_set_heap_limit(c->limits, HEAP_LIMIT_KIB);
    c->match = pcre2_match_data_create(1, NULL);
    return c->match != NULL;
}

static int run_match(struct cutter *c)
{
    return pcre2_match(c->p->code, (PCRE2_SPTR)c->slice_at, (size_t)(c->slice_end - c->slice_at), 0,
                       PCRE2_NO_UTF_CHECK, c->match, c->limits);
}

/* Length of the piece at the slice's start. */
static size_t piece_len(struct cutter *c)
{
    size_t rest = (size_t)(c->slice_end - c->slice_at);

    if (!prepare(c))
        return rest;
    int rc = run_match(c);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT && !c->stack) {
        c->stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK_BYTES, NULL);
        pcre2_jit_stack_assign(c->limits, NULL, c->stack);
        rc = run_match(c);
    }
    if (rc < 0)
        return rest;
    size_t len = pcre2_get_ovector_pointer(c->match)[1];
    return len > 0 ? len : rest;
}

bool cutter_next(struct cutter *c, struct cut *out)
{
    if (c->slice_at == c->slice_end) {
        if (c->at == c->end)
            return false;
        c->slice_at = c->at;
        c->slice_end = c->at = find_slice_end(c);
        if (c->slice_at == c->slice_end) {
            c->at = raw_end(c->at, c->end);
            *out = (struct cut){c->slice_at, (size_t)(c->at - c->slice_at), true};
            c->slice_at = c->slice_end = NULL;
            return true;
        }
    }
    out->text = c->slice_at;
    out->len = piece_len(c);
    out->raw = false;
    c->slice_at += out->len;
    return true;
}
