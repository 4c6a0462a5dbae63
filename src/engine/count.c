/*
 * See count.h. A tokenizer and a template, without the model between them. A file is a GGUF if it
 * begins with GGUF's magic, else it is read as a tiktoken.model, which has no template of its own
 * and gets that of K2.5 and later: no default system message, the reply begins with <think>.
 */
#include "engine/count.h"

#include "base/mem.h"
#include "engine/template.h"
#include "engine/tiktoken.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A token of Kimi's vocabulary stands for 3.3 to 4.7 bytes of the texts in docs/benchmarks.md,
 * English, Chinese or code. */
enum { BYTES_A_TOKEN = 4, PROMPT_MAX_TOKENS = 1 << 28 };

struct token_count {
    struct gguf *gguf; /* NULL with a tiktoken.model */
    struct tokenizer *tokenizer;
    struct template template;
};

static int open_gguf(struct token_count *t, struct error *e)
{
    const char *text;
    size_t len;
    int rc = gguf_string(t->gguf, "tokenizer.chat_template", &text, &len, e);
    if (!rc)
        rc = tokenizer_open_gguf(t->gguf, &t->tokenizer, e);
    if (!rc)
        rc = template_find(text, len, t->tokenizer, &t->template, e);
    return rc;
}

static int is_gguf(const char *path, bool *yes, struct error *e)
{
    char magic[4] = "";
    FILE *f = fopen(path, "rb");
    if (!f)
        return error_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path,
                         strerror(errno));
    *yes = fread(magic, 1, sizeof magic, f) == sizeof magic && memcmp(magic, "GGUF", 4) == 0;
    fclose(f);
    return 0;
}

static int open_file(struct token_count *t, const char *path, struct error *e)
{
    bool gguf = false;
    int rc = is_gguf(path, &gguf, e);
    if (rc)
        return rc;
    if (gguf) {
        rc = gguf_open_file(path, &t->gguf, e);
        return rc ? rc : open_gguf(t, e);
    }
    t->template = (struct template){.thinking = TEMPLATE_PROMPT_OPENS};
    return tiktoken_open(path, &t->tokenizer, e);
}

int token_count_open(const char *path, struct token_count **out, struct error *e)
{
    struct token_count *t = mem_zalloc(sizeof *t);
    int rc = open_file(t, path, e);
    if (rc)
        token_count_close(t);
    else
        *out = t;
    return rc;
}

int token_count_open_bytes(const void *bytes, size_t len, struct token_count **out, struct error *e)
{
    struct token_count *t = mem_zalloc(sizeof *t);
    int rc = gguf_open_bytes(bytes, len, &t->gguf, e);
    if (!rc)
        rc = open_gguf(t, e);
    if (rc)
        token_count_close(t);
    else
        *out = t;
    return rc;
}

void token_count_close(struct token_count *t)
{
    if (!t)
        return;
    tokenizer_close(t->tokenizer);
    gguf_close(t->gguf);
    free(t);
}

int token_count_prompt(const struct token_count *t, const struct engine_message *messages, size_t n,
                       bool thinking, struct engine_text extra, int64_t *out, struct error *e)
{
    struct tokens tokens;
    enum template_state state;
    tokens_init(&tokens, PROMPT_MAX_TOKENS);
    int rc = template_render(&t->template, t->tokenizer, messages, n, thinking, &tokens, &state, e);
    if (!rc && extra.len)
        rc = tokenizer_encode(t->tokenizer, extra.data, extra.len, &tokens);
    *out = (int64_t)tokens.n;
    tokens_done(&tokens);
    return rc;
}

int64_t token_count_text(const struct token_count *t, const char *text, size_t len)
{
    struct tokens tokens;
    tokens_init(&tokens, PROMPT_MAX_TOKENS);
    tokenizer_encode(t->tokenizer, text, len, &tokens); /* past the ceiling `n` goes on counting */
    int64_t n = (int64_t)tokens.n;
    tokens_done(&tokens);
    return n;
}

int64_t token_estimate(size_t bytes)
{
    return (int64_t)((bytes + BYTES_A_TOKEN - 1) / BYTES_A_TOKEN);
}
