/*
 * See bpe.h. Parts are a linked list over the piece's bytes: a part starts at a byte, knows its
 * length (so the next part's start) and the start of the one before. Pairs that could be joined
 * wait in a binary heap by (id of the joined text, start); one whose left part has been joined
 * otherwise in the meantime is known by its length and dropped when it comes up.
 */
#include "engine/bpe.h"

#include "base/mem.h"

#include <stdlib.h>

#define NO_PART UINT32_MAX

struct bpe_part {
    uint32_t len;  /* 0: swallowed by the part before */
    uint32_t prev; /* start of the part before, or NO_PART */
    int32_t id;
};

struct bpe_pair {
    uint64_t key; /* id << 32 | start */
    uint32_t len; /* of both parts together */
};

void bpe_init(struct bpe *b, const struct vocab *vocab)
{
    *b = (struct bpe){.vocab = vocab};
}

void bpe_done(struct bpe *b)
{
    free(b->parts);
    free(b->heap);
}

static void reserve(struct bpe *b, size_t n)
{
    if (n <= b->cap_parts)
        return;
    while (b->cap_parts < n)
        b->cap_parts = b->cap_parts ? b->cap_parts * 2 : 256;
    b->parts = mem_realloc(b->parts, b->cap_parts * sizeof *b->parts);
    /* Each byte starts at most one pair, and each join makes at most two more. */
    b->cap_heap = b->cap_parts * 3;
    b->heap = mem_realloc(b->heap, b->cap_heap * sizeof *b->heap);
}

static void push(struct bpe *b, struct bpe_pair p)
{
    size_t i = b->n_heap++;

    while (i > 0 && b->heap[(i - 1) / 2].key > p.key) {
        b->heap[i] = b->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    b->heap[i] = p;
}

static struct bpe_pair pop(struct bpe *b)
{
    struct bpe_pair top = b->heap[0], last = b->heap[--b->n_heap];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= b->n_heap)
            break;
        if (child + 1 < b->n_heap && b->heap[child + 1].key < b->heap[child].key)
            child++;
        if (b->heap[child].key >= last.key)
            break;
        b->heap[i] = b->heap[child];
        i = child;
    }
    b->heap[i] = last;
    return top;
}

/* Enters the pair that starts at `start`, if there is one and its joined text is a token. */
static void consider(struct bpe *b, const char *piece, size_t n, uint32_t start)
{
    size_t second = (size_t)start + b->parts[start].len;

    if (second >= n)
        return;
    uint32_t len = b->parts[start].len + b->parts[second].len;
    int32_t id = vocab_find(b->vocab, &b->vocab->normal, piece + start, len);
    if (id >= 0)
        push(b, (struct bpe_pair){.key = (uint64_t)id << 32 | start, .len = len});
}

static void join(struct bpe *b, const char *piece, size_t n, struct bpe_pair p)
{
    uint32_t start = (uint32_t)p.key;
    struct bpe_part *left = &b->parts[start];
    size_t second = (size_t)start + left->len;

    if (left->len == 0 || second >= n || left->len + b->parts[second].len != p.len)
        return;
    b->parts[second].len = 0;
    left->len = p.len;
    left->id = (int32_t)(p.key >> 32);
    if ((size_t)start + p.len < n)
        b->parts[start + p.len].prev = start;
    consider(b, piece, n, start);
    if (left->prev != NO_PART)
        consider(b, piece, n, left->prev);
}

void bpe_encode(struct bpe *b, const char *piece, size_t n, struct tokens *out)
{
    int32_t whole = vocab_find(b->vocab, &b->vocab->normal, piece, n);

    if (whole >= 0) {
        tokens_add(out, whole);
        return;
    }
    reserve(b, n);
    for (size_t i = 0; i < n; i++) {
        b->parts[i].len = 1;
        b->parts[i].prev = i == 0 ? NO_PART : (uint32_t)(i - 1);
        b->parts[i].id = vocab_find(b->vocab, &b->vocab->normal, piece + i, 1);
    }
    b->n_heap = 0;
    for (size_t i = 0; i + 1 < n; i++)
        consider(b, piece, n, (uint32_t)i);
    while (b->n_heap > 0)
        join(b, piece, n, pop(b));
    for (size_t i = 0; i < n; i += b->parts[i].len)
        tokens_add(out, b->parts[i].id);
}
