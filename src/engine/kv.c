/*
 * The KV cache: blocks in one mapping, a table of what full blocks hold, and a list of free ones.
 *
 * Owns the mapping (pages of blocks never used are never touched, so they cost nothing), one
 * record a block, and a chained hash table. A block is in one of three states:
 *   held     refs > 0: part of one or more sequences; in the table too once it is full
 *   cached   refs = 0, in the table and in the free list
 *   blank    refs = 0, only in the free list
 * The free list is ordered by last use, oldest first; blank blocks stand before cached ones. A
 * sequence gives its blocks back last one first, so a cached block is always overwritten before
 * the one it continues, and no block that can no longer be reached takes up room.
 *
 * A full block is known by the serial number of the block before it and by its own tokens. A
 * serial is given once and never reused, so equal serials mean equal tokens from position 0 on,
 * by induction; the hash only chooses the table's slot. A sequence that fills a block whose like
 * is already known takes the known one and frees its own: equal tokens give equal rows, since
 * the forward pass does not depend on what else runs.
 */
#include "engine/kv.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { NONE = -1 };

struct block {
    uint64_t serial; /* of these tokens and all before them; 0 while not full */
    uint64_t parent; /* serial of the block before; 0 for the first */
    int32_t tokens[KV_BLOCK_TOKENS];
    int32_t refs;
    int32_t chain;      /* next in the table's slot */
    int32_t prev, next; /* in the free list */
};

struct kv {
    struct kv_shape shape;
    size_t value_bytes, row_bytes, layer_bytes, block_bytes;
    uint8_t *rows;
    size_t mapped_bytes;
    struct block *blocks;
    int32_t n_blocks, n_free;
    int32_t oldest, newest; /* ends of the free list */
    int32_t *slots;         /* heads of the table's chains; a power of two of them */
    uint32_t slot_mask;
    uint64_t last_serial;
};

/* ---- the table of full blocks ---- */

static uint32_t slot_of(const struct kv *kv, uint64_t parent, const int32_t *tokens)
{
    uint64_t h = parent * 0x9e3779b97f4a7c15u;

    for (int i = 0; i < KV_BLOCK_TOKENS; i++) {
        h = (h ^ (uint32_t)tokens[i]) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    return (uint32_t)h & kv->slot_mask;
}

static int32_t table_find(const struct kv *kv, uint64_t parent, const int32_t *tokens)
{
    int32_t b = kv->slots[slot_of(kv, parent, tokens)];

    while (b != NONE) {
        const struct block *k = &kv->blocks[b];
        if (k->parent == parent && memcmp(k->tokens, tokens, sizeof k->tokens) == 0)
            break;
        b = k->chain;
    }
    return b;
}

static void table_add(struct kv *kv, int32_t b)
{
    struct block *k = &kv->blocks[b];
    int32_t *slot = &kv->slots[slot_of(kv, k->parent, k->tokens)];

    k->serial = ++kv->last_serial;
    k->chain = *slot;
    *slot = b;
}

static void table_remove(struct kv *kv, int32_t b)
{
    struct block *k = &kv->blocks[b];
    int32_t *link = &kv->slots[slot_of(kv, k->parent, k->tokens)];

    while (*link != b)
        link = &kv->blocks[*link].chain;
    *link = k->chain;
    k->serial = 0;
}

/* ---- the free list ---- */

static void free_remove(struct kv *kv, int32_t b)
{
    struct block *k = &kv->blocks[b];

    if (k->prev == NONE)
        kv->oldest = k->next;
    else
        kv->blocks[k->prev].next = k->next;
    if (k->next == NONE)
        kv->newest = k->prev;
    else
        kv->blocks[k->next].prev = k->prev;
    kv->n_free--;
}

static void free_add_newest(struct kv *kv, int32_t b)
{
    struct block *k = &kv->blocks[b];

    k->prev = kv->newest;
    k->next = NONE;
    if (kv->newest == NONE)
        kv->oldest = b;
    else
        kv->blocks[kv->newest].next = b;
    kv->newest = b;
    kv->n_free++;
}

static void free_add_oldest(struct kv *kv, int32_t b)
{
    struct block *k = &kv->blocks[b];

    k->prev = NONE;
    k->next = kv->oldest;
    if (kv->oldest == NONE)
        kv->newest = b;
    else
        kv->blocks[kv->oldest].prev = b;
    kv->oldest = b;
    kv->n_free++;
}

/* The block longest unused, to be overwritten; the caller has seen that there is one. */
static int32_t block_take(struct kv *kv)
{
    int32_t b = kv->oldest;
    struct block *k = &kv->blocks[b];

    free_remove(kv, b);
    if (k->serial != 0)
        table_remove(kv, b);
    k->refs = 1;
    return b;
}

static void block_hold(struct kv *kv, int32_t b)
{
    if (kv->blocks[b].refs++ == 0)
        free_remove(kv, b);
}

static void block_drop(struct kv *kv, int32_t b)
{
    struct block *k = &kv->blocks[b];

    if (--k->refs > 0)
        return;
    if (k->serial != 0)
        free_add_newest(kv, b);
    else
        free_add_oldest(kv, b);
}

/* ---- opening ---- */

static int measure(struct kv *kv, struct error *e)
{
    const int tokens_max = 1 << 30; /* so that sums of counts stay within an int */
    const struct kv_shape *shape = &kv->shape;
    size_t total;
    int blocks;

    if (shape->layers < 1 || shape->width < 1 || shape->tokens < 1)
        return error_set(e, ERR_INVALID, "KV cache: %d layers of %d values for %d tokens",
                         shape->layers, shape->width, shape->tokens);
    blocks = shape->tokens / KV_BLOCK_TOKENS + (shape->tokens % KV_BLOCK_TOKENS != 0);
    kv->n_blocks = blocks;
    kv->value_bytes = shape->f32 ? sizeof(float) : sizeof(uint16_t);
    kv->row_bytes = (size_t)shape->width * kv->value_bytes;
    kv->layer_bytes = kv->row_bytes * KV_BLOCK_TOKENS;
    if (__builtin_mul_overflow(kv->layer_bytes, (size_t)shape->layers, &kv->block_bytes) ||
        __builtin_mul_overflow(kv->block_bytes, (size_t)blocks, &total) || total > PTRDIFF_MAX ||
        shape->tokens > tokens_max)
        return error_set(e, ERR_LIMIT, "KV cache: %d tokens of %d layers of %d values are too many",
                         shape->tokens, shape->layers, shape->width);
    kv->mapped_bytes = total;
    return 0;
}

int kv_open(const struct kv_shape *shape, struct kv **out, struct error *e)
{
    struct kv *kv = mem_zalloc(sizeof *kv);
    uint32_t slots = 16;
    void *rows;
    int err;

    kv->shape = *shape;
    err = measure(kv, e);
    if (err != 0)
        goto out;
    rows = mmap(NULL, kv->mapped_bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (rows == MAP_FAILED) {
        err = error_set(e, ERR_IO, "KV cache: no address space for %zu MB; lower its tokens (%d)",
                        kv->mapped_bytes >> 20, shape->tokens);
        goto out;
    }
    kv->rows = rows;
    while (slots < (uint32_t)kv->n_blocks)
        slots *= 2;
    kv->slot_mask = slots - 1;
    kv->slots = mem_array(slots, sizeof *kv->slots);
    for (uint32_t i = 0; i < slots; i++)
        kv->slots[i] = NONE;
    kv->blocks = mem_array((size_t)kv->n_blocks, sizeof *kv->blocks);
    kv->oldest = kv->newest = NONE;
    for (int32_t b = 0; b < kv->n_blocks; b++)
        free_add_newest(kv, b);
    *out = kv;
    kv = NULL;
out:
    kv_close(kv);
    return err;
}

void kv_close(struct kv *kv)
{
    if (kv == NULL)
        return;
    if (kv->rows != NULL)
        munmap(kv->rows, kv->mapped_bytes);
    free(kv->blocks);
    free(kv->slots);
    free(kv);
}

size_t kv_bytes(const struct kv *kv)
{
    return kv->mapped_bytes;
}

int kv_free_tokens(const struct kv *kv)
{
    return kv->n_free * KV_BLOCK_TOKENS;
}

bool kv_is_f32(const struct kv *kv)
{
    return kv->shape.f32;
}

/* ---- sequences ---- */

static void seq_push_block(struct kv_seq *s, int32_t b)
{
    if (s->n_blocks == s->cap_blocks) {
        s->cap_blocks = s->cap_blocks == 0 ? 16 : s->cap_blocks * 2;
        s->blocks = mem_realloc(s->blocks, (size_t)s->cap_blocks * sizeof *s->blocks);
    }
    s->blocks[s->n_blocks++] = b;
}

static void seq_push_tokens(struct kv_seq *s, const int32_t *tokens, int n)
{
    if (n > s->cap_tokens - s->n_tokens) {
        int cap = s->cap_tokens == 0 ? 256 : s->cap_tokens;
        while (cap < s->n_tokens + n)
            cap *= 2;
        s->tokens = mem_realloc(s->tokens, (size_t)cap * sizeof *s->tokens);
        s->cap_tokens = cap;
    }
    memcpy(s->tokens + s->n_tokens, tokens, (size_t)n * sizeof *tokens);
    s->n_tokens += n;
}

int kv_seq_begin(struct kv *kv, struct kv_seq *s, const int32_t *tokens, int n)
{
    uint64_t parent = 0;

    memset(s, 0, sizeof *s);
    while (s->n_tokens + KV_BLOCK_TOKENS < n) {
        int32_t b = table_find(kv, parent, tokens + s->n_tokens);
        if (b == NONE)
            break;
        block_hold(kv, b);
        seq_push_block(s, b);
        seq_push_tokens(s, tokens + s->n_tokens, KV_BLOCK_TOKENS);
        parent = kv->blocks[b].serial;
    }
    return s->n_tokens;
}

int kv_seq_fork(struct kv *kv, const struct kv_seq *from, struct kv_seq *to)
{
    int full = from->n_tokens / KV_BLOCK_TOKENS;
    bool part = from->n_tokens % KV_BLOCK_TOKENS != 0;

    memset(to, 0, sizeof *to);
    if (part && kv->n_free == 0)
        return ERR_BUSY;
    for (int i = 0; i < full; i++) {
        block_hold(kv, from->blocks[i]);
        seq_push_block(to, from->blocks[i]);
    }
    if (part) {
        int32_t b = block_take(kv);
        memcpy(kv->rows + (size_t)b * kv->block_bytes,
               kv->rows + (size_t)from->blocks[full] * kv->block_bytes, kv->block_bytes);
        seq_push_block(to, b);
    }
    if (from->n_tokens > 0)
        seq_push_tokens(to, from->tokens, from->n_tokens);
    return 0;
}

int kv_seq_reserve(struct kv *kv, struct kv_seq *s, int n)
{
    int64_t end = (int64_t)s->n_tokens + n;
    int64_t wanted = (end + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS - s->n_blocks;

    if (wanted > kv->n_free)
        return ERR_BUSY;
    for (; wanted > 0; wanted--)
        seq_push_block(s, block_take(kv));
    return 0;
}

/* The i-th block of a sequence has become full. */
static void block_filled(struct kv *kv, struct kv_seq *s, int i)
{
    int32_t b = s->blocks[i];
    struct block *k = &kv->blocks[b];
    int32_t known;

    k->parent = i == 0 ? 0 : kv->blocks[s->blocks[i - 1]].serial;
    memcpy(k->tokens, s->tokens + (size_t)i * KV_BLOCK_TOKENS, sizeof k->tokens);
    known = table_find(kv, k->parent, k->tokens);
    if (known == NONE) {
        table_add(kv, b);
        return;
    }
    block_hold(kv, known);
    s->blocks[i] = known;
    block_drop(kv, b);
}

void kv_seq_commit(struct kv *kv, struct kv_seq *s, const int32_t *tokens, int n)
{
    int i = s->n_tokens / KV_BLOCK_TOKENS;

    seq_push_tokens(s, tokens, n);
    for (; (i + 1) * KV_BLOCK_TOKENS <= s->n_tokens; i++)
        block_filled(kv, s, i);
}

void kv_seq_end(struct kv *kv, struct kv_seq *s)
{
    for (int i = s->n_blocks; i-- > 0;)
        block_drop(kv, s->blocks[i]);
    free(s->blocks);
    free(s->tokens);
    memset(s, 0, sizeof *s);
}

void *kv_row(const struct kv *kv, const struct kv_seq *s, int layer, int position)
{
    size_t block = (size_t)s->blocks[position / KV_BLOCK_TOKENS];
    size_t row = (size_t)(position % KV_BLOCK_TOKENS);

    return kv->rows + block * kv->block_bytes + (size_t)layer * kv->layer_bytes +
           row * kv->row_bytes;
}
