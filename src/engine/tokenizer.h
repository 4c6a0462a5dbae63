/*
 * Byte-level BPE from a GGUF's token list, with the pre-tokenisation of the Kimi family.
 *
 * Merging is by rank: the adjacent pair whose joined bytes have the lowest id is joined first,
 * which needs the token list alone. Special tokens (types control and user-defined) are known by
 * text; text of users is encoded without looking for them, so it can never become one.
 * Read-only after opening; any thread (each call uses its own scratch memory).
 */
#ifndef MOONGATE_ENGINE_TOKENIZER_H
#define MOONGATE_ENGINE_TOKENIZER_H

#include "base/error.h"
#include "engine/gguf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;

struct tokens { /* a growable list of ids with a ceiling */
    int32_t *ids;
    size_t n, cap;
    size_t max; /* tokens; an encode that would pass it stops with ERR_LIMIT, but `n` goes on
                   counting, so that the message can tell how long the text really is */
};

void tokens_init(struct tokens *t, size_t max);
void tokens_done(struct tokens *t);
void tokens_add(struct tokens *t, int32_t id);

/* One token for building a tokenizer without a GGUF (tests): its bytes and its kind. */
struct tokenizer_entry {
    const char *bytes;
    size_t len;
    bool special;
};

int tokenizer_open_gguf(const struct gguf *g, struct tokenizer **out, struct error *e);
int tokenizer_open_entries(const struct tokenizer_entry *entries, size_t n, const char *pre,
                           struct tokenizer **out, struct error *e);
void tokenizer_close(struct tokenizer *t);

size_t tokenizer_size(const struct tokenizer *t);
/* Appends the ids of a user's text: never a special token. The text is valid UTF-8 (the reader
 * of JSON saw to it); invalid bytes are still encoded as bytes. ERR_LIMIT as said above. */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, struct tokens *out);
int32_t tokenizer_special(const struct tokenizer *t, const char *text); /* -1 if there is none */
bool tokenizer_is_special(const struct tokenizer *t, int32_t id);
bool tokenizer_ends_generation(const struct tokenizer *t, int32_t id);
/* The bytes of a token; borrowed; a special token gives its text. */
const char *tokenizer_bytes(const struct tokenizer *t, int32_t id, size_t *len);
size_t tokenizer_longest(const struct tokenizer *t); /* bytes of the longest normal token */

#endif
