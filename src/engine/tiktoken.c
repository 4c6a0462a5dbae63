/*
 * Reads tiktoken.model, the vocabulary as Kimi's models are published with: a line of base64 and
 * rank for each of 163,584 byte strings, in the order of their ranks. The 256 special tokens
 * behind them are not in the file; their texts are those of the model cards' tokenizer_config.
 */
#include "engine/tiktoken.h"

#include "base/mem.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANKS = 163584, TOKENS = 163840, TOKEN_BYTES = 256, NAME_BYTES = 40, LINE_BYTES = 512 };

static const struct {
    int id;
    const char *text;
} named[] = {
    {163584, "[BOS]"},
    {163585, "[EOS]"},
    {163586, "<|im_end|>"},
    {163587, "<|im_user|>"},
    {163588, "<|im_assistant|>"},
    {163590, "<|start_header_id|>"},
    {163591, "<|end_header_id|>"},
    {163593, "[EOT]"},
    {163594, "<|im_system|>"},
    {163595, "<|tool_calls_section_begin|>"},
    {163596, "<|tool_calls_section_end|>"},
    {163597, "<|tool_call_begin|>"},
    {163598, "<|tool_call_argument_begin|>"},
    {163599, "<|tool_call_end|>"},
    {163601, "<|im_middle|>"},
    {163602, "<|media_begin|>"},
    {163603, "<|media_content|>"},
    {163604, "<|media_end|>"},
    {163605, "<|media_pad|>"},
    {163606, "<think>"},
    {163607, "</think>"},
    {163838, "[UNK]"},
    {163839, "[PAD]"},
};

static int read_line(const char *line, size_t n, struct arena *a, struct tokenizer_entry *out)
{
    unsigned char bytes[TOKEN_BYTES];
    const char *end;
    char *rest;
    size_t len;

    if (sodium_base642bin(bytes, sizeof bytes, line, strlen(line), NULL, &len, &end,
                          sodium_base64_VARIANT_ORIGINAL) != 0 ||
        len == 0 || *end != ' ')
        return ERR_INVALID;
    if (strtoull(end, &rest, 10) != n || (*rest != '\n' && *rest != '\0'))
        return ERR_INVALID;
    *out = (struct tokenizer_entry){arena_strndup(a, (const char *)bytes, len), len, false};
    return 0;
}

static int read_ranks(FILE *f, const char *path, struct arena *a, struct tokenizer_entry *entries,
                      struct error *e)
{
    char line[LINE_BYTES];
    size_t n = 0;

    for (; fgets(line, sizeof line, f); n++) {
        if (n == RANKS || read_line(line, n, a, &entries[n]))
            return error_set(e, ERR_INVALID,
                             "%s:%zu: not a line of a tiktoken.model (base64, a space, the rank)",
                             path, n + 1);
    }
    if (ferror(f))
        return error_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (n != RANKS)
        return error_set(e, ERR_INVALID, "%s: has %zu ranks; Kimi's tiktoken.model has %d", path, n,
                         RANKS);
    return 0;
}

static void add_specials(struct arena *a, struct tokenizer_entry *entries)
{
    for (int id = RANKS; id < TOKENS; id++) {
        char text[NAME_BYTES];
        snprintf(text, sizeof text, "<|reserved_token_%d|>", id);
        entries[id] = (struct tokenizer_entry){arena_strndup(a, text, strlen(text)), 0, true};
    }
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        entries[named[i].id].bytes = named[i].text;
    for (int id = RANKS; id < TOKENS; id++)
        entries[id].len = strlen(entries[id].bytes);
}

int tiktoken_open(const char *path, struct tokenizer **out, struct error *e)
{
    struct arena *a = arena_new();
    struct tokenizer_entry *entries = mem_array(TOKENS, sizeof *entries);
    FILE *f = fopen(path, "r");
    int rc =
        f ? read_ranks(f, path, a, entries, e)
          : error_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path, strerror(errno));
    if (!rc) {
        add_specials(a, entries);
        rc = tokenizer_open_entries(entries, TOKENS, "kimi-k2", out, e);
    }
    if (f)
        fclose(f);
    free(entries);
    arena_free(a);
    return rc;
}
