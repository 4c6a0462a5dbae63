/*
 * Byte-pair merging of one piece of text: the adjacent pair whose joined bytes have the lowest
 * id is joined first, the leftmost of equals, until none is left.
 *
 * Time is O(n log n) for a piece of n bytes. The scratch memory belongs to one call at a time.
 */
#ifndef MOONGATE_ENGINE_BPE_H
#define MOONGATE_ENGINE_BPE_H

#include "engine/tokenizer.h"
#include "engine/vocab.h"

struct bpe_part;
struct bpe_pair;

struct bpe {
    const struct vocab *vocab;
    struct bpe_part *parts; /* one for each byte of the piece; those at a part's start count */
    size_t cap_parts;
    struct bpe_pair *heap;
    size_t n_heap, cap_heap;
};

void bpe_init(struct bpe *b, const struct vocab *vocab);
void bpe_done(struct bpe *b);

/* Appends the ids of a piece (n > 0). All single bytes must be in the vocabulary. */
void bpe_encode(struct bpe *b, const char *piece, size_t n, struct tokens *out);

#endif
