/*
 * The vocabulary of the Kimi models out of their file tiktoken.model, where a machine has it:
 * the path is in MOONGATE_KIMI_TIKTOKEN, else ../shared/kimi/tiktoken.model.
 */
#ifndef MOONGATE_TESTS_KIMI_VOCABULARY_H
#define MOONGATE_TESTS_KIMI_VOCABULARY_H

#include "engine/tokenizer.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    KIMI_NORMAL = 163584,
    KIMI_TOKENS = 163840,
    KIMI_MAX_TOKEN_BYTES = 256,
    KIMI_MAX_NAME_BYTES = 40
};

static const struct {
    int id;
    const char *text;
} kimi_named[] = {
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

/* Reads the ranks into entries[0 .. KIMI_NORMAL); false if a line is not as it should be. */
static inline bool kimi_read_ranks(FILE *f, struct tokenizer_entry *entries, char *bytes)
{
    char line[512];
    size_t n = 0;

    while (fgets(line, sizeof line, f)) {
        const char *end;
        char *at = bytes + n * KIMI_MAX_TOKEN_BYTES;
        if (n == KIMI_NORMAL ||
            sodium_base642bin((unsigned char *)at, KIMI_MAX_TOKEN_BYTES, line, strlen(line), NULL,
                              &entries[n].len, &end, sodium_base64_VARIANT_ORIGINAL) != 0 ||
            *end != ' ' || strtoul(end, NULL, 10) != n)
            return false;
        entries[n++].bytes = at;
    }
    return n == KIMI_NORMAL;
}

static inline void kimi_name_specials(struct tokenizer_entry *entries, char *names)
{
    for (int id = KIMI_NORMAL; id < KIMI_TOKENS; id++) {
        char *name = names + (size_t)(id - KIMI_NORMAL) * KIMI_MAX_NAME_BYTES;
        snprintf(name, KIMI_MAX_NAME_BYTES, "<|reserved_token_%d|>", id);
        for (size_t i = 0; i < sizeof kimi_named / sizeof *kimi_named; i++)
            if (kimi_named[i].id == id)
                snprintf(name, KIMI_MAX_NAME_BYTES, "%s", kimi_named[i].text);
        entries[id] = (struct tokenizer_entry){name, strlen(name), true};
    }
}

/* NULL if the file is missing; a file that is there and cannot be used ends the program. */
static inline struct tokenizer *kimi_tokenizer(void)
{
    const char *path = getenv("MOONGATE_KIMI_TIKTOKEN");
    FILE *f = fopen(path ? path : "../shared/kimi/tiktoken.model", "r");
    struct tokenizer *t = NULL;
    struct error e = {0};

    if (!f)
        return NULL;
    struct tokenizer_entry *entries = calloc(KIMI_TOKENS, sizeof *entries);
    char *bytes = malloc((size_t)KIMI_NORMAL * KIMI_MAX_TOKEN_BYTES);
    char *names = malloc((size_t)(KIMI_TOKENS - KIMI_NORMAL) * KIMI_MAX_NAME_BYTES);
    if (!entries || !bytes || !names || !kimi_read_ranks(f, entries, bytes)) {
        fprintf(stderr, "the file of Kimi's vocabulary is not as expected\n");
        abort();
    }
    kimi_name_specials(entries, names);
    if (tokenizer_open_entries(entries, KIMI_TOKENS, "kimi-k2", &t, &e) != 0) {
        fprintf(stderr, "%s\n", e.text);
        abort();
    }
    fclose(f);
    free(entries);
    free(bytes);
    free(names);
    return t;
}

#endif
