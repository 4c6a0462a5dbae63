/*
 * Token texts by id, and ids by text: one block of bytes, and a hash table over those that may
 * be looked up. Filled once, then read-only: any thread.
 */
#ifndef MOONGATE_ENGINE_VOCAB_H
#define MOONGATE_ENGINE_VOCAB_H

#include <stddef.h>
#include <stdint.h>

#define VOCAB_MAX_TOKENS      (1u << 22)
#define VOCAB_MAX_TOKEN_BYTES 65535u

struct vocab_index { /* open addressing; a slot holds id + 1, 0 is free */
    uint32_t *slots;
    size_t n_slots;
    size_t longest; /* bytes of the longest text in it */
};

struct vocab {
    size_t n;        /* ids so far */
    size_t *offsets; /* n + 1 of them, into bytes */
    char *bytes;
    size_t cap_bytes;
    struct vocab_index normal, special; /* apart: a user's text is looked up in the first alone */
};

/* n_tokens: as many as vocab_add will be called for; n_special: at most so many of them special. */
void vocab_init(struct vocab *v, size_t n_tokens, size_t n_special);
void vocab_done(struct vocab *v);

/* The next id gets these bytes. The text is in no index yet. */
void vocab_add(struct vocab *v, const char *bytes, size_t len);
/* Puts an id into an index: -1, or the id that has the same text already. */
int32_t vocab_enter(const struct vocab *v, struct vocab_index *index, int32_t id);

int32_t vocab_find(const struct vocab *v, const struct vocab_index *index, const char *bytes,
                   size_t len); /* -1 if there is none */
const char *vocab_text(const struct vocab *v, int32_t id, size_t *len);

#endif
