/*
 * See vocab.h. The tables are sized for the number of tokens known at the start, at most half
 * full, and never grow.
 */
#include "engine/vocab.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

static uint64_t hash_bytes(const char *s, size_t n)
{
    uint64_t h = n * 0xD6E8FEB86659FD93u, w;

    for (; n >= 8; s += 8, n -= 8) {
        memcpy(&w, s, 8);
        h = mix(h ^ w);
    }
    if (n > 0) {
        w = 0;
        memcpy(&w, s, n);
        h = mix(h ^ w);
    }
    return mix(h);
}

static void index_init(struct vocab_index *index, size_t n_tokens)
{
    index->n_slots = 16;
    while (index->n_slots < n_tokens * 2)
        index->n_slots *= 2;
    index->slots = mem_array(index->n_slots, sizeof *index->slots);
    index->longest = 0;
}

void vocab_init(struct vocab *v, size_t n_tokens, size_t n_special)
{
    v->n = 0;
    v->offsets = mem_array(n_tokens + 1, sizeof *v->offsets);
    v->cap_bytes = n_tokens * 8 + 64;
    v->bytes = mem_alloc(v->cap_bytes);
    index_init(&v->normal, n_tokens);
    index_init(&v->special, n_special);
}

void vocab_done(struct vocab *v)
{
    free(v->offsets);
    free(v->bytes);
    free(v->normal.slots);
    free(v->special.slots);
}

void vocab_add(struct vocab *v, const char *bytes, size_t len)
{
    size_t at = v->offsets[v->n];

    while (v->cap_bytes - at < len) {
        v->cap_bytes *= 2;
        v->bytes = mem_realloc(v->bytes, v->cap_bytes);
    }
    memcpy(v->bytes + at, bytes, len);
    v->offsets[++v->n] = at + len;
}

const char *vocab_text(const struct vocab *v, int32_t id, size_t *len)
{
    *len = v->offsets[id + 1] - v->offsets[id];
    return v->bytes + v->offsets[id];
}

/* The slot that holds the text, or the free one where it belongs. */
static uint32_t *slot_of(const struct vocab *v, const struct vocab_index *index, const char *bytes,
                         size_t len)
{
    size_t mask = index->n_slots - 1;

    for (size_t i = hash_bytes(bytes, len) & mask;; i = (i + 1) & mask) {
        uint32_t *slot = &index->slots[i];
        if (*slot == 0)
            return slot;
        size_t have_len;
        const char *have = vocab_text(v, (int32_t)(*slot - 1), &have_len);
        if (have_len == len && memcmp(have, bytes, len) == 0)
            return slot;
    }
}

int32_t vocab_enter(const struct vocab *v, struct vocab_index *index, int32_t id)
{
    size_t len;
    const char *text = vocab_text(v, id, &len);
    uint32_t *slot = slot_of(v, index, text, len);

    if (*slot != 0)
        return (int32_t)(*slot - 1);
    *slot = (uint32_t)id + 1;
    if (len > index->longest)
        index->longest = len;
    return -1;
}

int32_t vocab_find(const struct vocab *v, const struct vocab_index *index, const char *bytes,
                   size_t len)
{
    if (len > index->longest)
        return -1;
    return (int32_t)*slot_of(v, index, bytes, len) - 1;
}
