/*
 * The KV cache: compressed MLA rows ([latent | rotary key], one vector a token and layer) in
 * blocks of tokens, shared between sequences by reference, found again by their tokens.
 *
 * A sequence is a list of blocks. Full blocks are registered under a hash of all tokens up to
 * their end (the tokens themselves are compared, a hash is not trusted), stay after their
 * sequence ends, and are taken by later sequences with the same beginning; the least recently
 * used free block is overwritten when room is needed. One thread: the scheduler's (the compute
 * threads read and write rows through pointers while it waits for them).
 */
#ifndef MOONGATE_ENGINE_KV_H
#define MOONGATE_ENGINE_KV_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KV_BLOCK_TOKENS = 16 };

struct kv;

struct kv_shape {
    int layers;
    int width;  /* values a token and layer: kv_lora + rotary */
    int tokens; /* capacity, rounded up to whole blocks */
    bool f32;   /* else IEEE half */
};

struct kv_seq {
    int32_t *blocks; /* block numbers */
    int n_blocks, cap_blocks;
    int n_tokens;    /* filled */
    int32_t *tokens; /* the tokens that fill it */
    int cap_tokens;
};

int kv_open(const struct kv_shape *shape, struct kv **out, struct error *e);
void kv_close(struct kv *kv);
size_t kv_bytes(const struct kv *kv);
int kv_free_tokens(const struct kv *kv); /* in blocks that no sequence holds */

/* Starts a sequence with the longest cached beginning of `tokens` in whole blocks, but at most
 * n-1 tokens, since the last one must be evaluated. Returns the number of tokens taken over. */
int kv_seq_begin(struct kv *kv, struct kv_seq *s, const int32_t *tokens, int n);
/* A second sequence with the same tokens: full blocks are shared, a part-filled one is copied.
 * ERR_BUSY if no block is free (then `to` is empty). */
int kv_seq_fork(struct kv *kv, const struct kv_seq *from, struct kv_seq *to);
/* Makes room for n more tokens. ERR_BUSY if the cache has none left; nothing changes then. */
int kv_seq_reserve(struct kv *kv, struct kv_seq *s, int n);
/* Says that the next n rows (written through kv_row at s->n_tokens...) hold these tokens. */
void kv_seq_commit(struct kv *kv, struct kv_seq *s, const int32_t *tokens, int n);
void kv_seq_end(struct kv *kv, struct kv_seq *s); /* lets the blocks go; s may begin again */

/* The row of one position in one layer: `width` halves or floats. Rows of one block lie one
 * after another. */
void *kv_row(const struct kv *kv, const struct kv_seq *s, int layer, int position);
bool kv_is_f32(const struct kv *kv);

#endif
