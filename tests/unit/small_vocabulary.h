/*
 * A tokenizer for tests that needs no file: ids 0 to 255 are the bytes, then come some joined
 * tokens, then the special ones. Nothing here depends on the vocabularies of real models.
 */
#ifndef MOONGATE_TESTS_SMALL_VOCABULARY_H
#define MOONGATE_TESTS_SMALL_VOCABULARY_H

#include "engine/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static const char *const small_joined[] = {
    "he",       "ll",           "hell",         "hello", "aa",  "aaaa", "wo", "rl",
    "worl",     "world",        " world",       "us",    "er",  "user", "  ", "\n\n",
    "\xE4\xB8", "\xE4\xB8\x96", "\xE7\x95\x8C", "th",    "the", " the", "ab",
};

static const char *const small_special[] = {
    "[BOS]",
    "[EOS]",
    "<|im_end|>",
    "<|im_user|>",
    "<|im_assistant|>",
    "[EOT]",
    "<|im_system|>",
    "<|im_middle|>",
    "<|tool_calls_section_begin|>",
    "<think>",
    "</think>",
    "[PAD]",
};

enum {
    SMALL_JOINED = sizeof small_joined / sizeof *small_joined,
    SMALL_SPECIAL = sizeof small_special / sizeof *small_special,
    SMALL_TOKENS = 256 + SMALL_JOINED + SMALL_SPECIAL
};

/* Fills SMALL_TOKENS entries; what they point to lives as long as the program. */
static inline void small_entries(struct tokenizer_entry *entries)
{
    static char bytes[256];

    for (int i = 0; i < 256; i++) {
        bytes[i] = (char)i;
        entries[i] = (struct tokenizer_entry){&bytes[i], 1, false};
    }
    for (int i = 0; i < SMALL_JOINED; i++)
        entries[256 + i] =
            (struct tokenizer_entry){small_joined[i], strlen(small_joined[i]), false};
    for (int i = 0; i < SMALL_SPECIAL; i++)
        entries[256 + SMALL_JOINED + i] =
            (struct tokenizer_entry){small_special[i], strlen(small_special[i]), true};
}

/* NULL, with the reason in *e, only if the tokenizer is broken. */
static inline struct tokenizer *small_tokenizer(struct error *e)
{
    struct tokenizer_entry entries[SMALL_TOKENS];
    struct tokenizer *t = NULL;

    small_entries(entries);
    return tokenizer_open_entries(entries, SMALL_TOKENS, "kimi-k2", &t, e) == 0 ? t : NULL;
}

#endif
