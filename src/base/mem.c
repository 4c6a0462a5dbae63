/*
 * Allocation that ends the process when memory runs out, and the arena.
 *
 * An arena is a list of blocks, newest first. A piece is cut from the newest block; what does
 * not fit opens a new one, twice as large as the last up to a bound, or just large enough for a
 * piece past that bound. Nothing is given back before the whole arena goes.
 */
#include "base/mem.h"

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_FIRST_BYTES = 4096, ARENA_BLOCK_BYTES = 256 * 1024, ARENA_ALIGN = 16 };
enum { KEPT_FREE_BYTES = 8 * 1024 * 1024, ASKED_FOR_BYTES = 256 * 1024 };

struct block {
    struct block *next;
    size_t size, used; /* bytes behind the header */
};

struct arena {
    struct block *newest;
    size_t total;
};

_Static_assert(ARENA_ALIGN >= _Alignof(max_align_t), "pieces must suit any type");

static _Noreturn void out_of_memory(size_t bytes)
{
    fprintf(stderr, "moongate: out of memory (%zu bytes wanted)\n", bytes);
    abort();
}

void *mem_alloc(size_t bytes)
{
    void *p = malloc(bytes != 0 ? bytes : 1);
    if (p == NULL)
        out_of_memory(bytes);
    return p;
}

void *mem_zalloc(size_t bytes)
{
    return mem_array(1, bytes);
}

void *mem_array(size_t count, size_t item_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, item_bytes, &bytes))
        out_of_memory(SIZE_MAX);
    void *p = calloc(1, bytes != 0 ? bytes : 1);
    if (p == NULL)
        out_of_memory(bytes);
    return p;
}

void *mem_realloc(void *old, size_t bytes)
{
    void *p = realloc(old, bytes != 0 ? bytes : 1);
    if (p == NULL)
        out_of_memory(bytes);
    return p;
}

char *mem_strdup(const char *s)
{
    return mem_strndup(s, strlen(s));
}

char *mem_strndup(const char *s, size_t n)
{
    if (n == SIZE_MAX)
        out_of_memory(n);
    char *copy = mem_alloc(n + 1);
    if (n != 0)
        memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}

void mem_keep_freed(void)
{
    mallopt(M_TRIM_THRESHOLD, KEPT_FREE_BYTES);
    mallopt(M_TOP_PAD, ASKED_FOR_BYTES);
}

static size_t block_header_bytes(void)
{
    return (sizeof(struct block) + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
}

struct arena *arena_new(void)
{
    return mem_zalloc(sizeof(struct arena));
}

void arena_free(struct arena *a)
{
    if (a == NULL)
        return;
    while (a->newest != NULL) {
        struct block *old = a->newest;
        a->newest = old->next;
        free(old);
    }
    free(a);
}

static void arena_grow(struct arena *a, size_t bytes)
{
    size_t size = a->newest != NULL ? a->newest->size * 2 : ARENA_FIRST_BYTES;
    if (size > ARENA_BLOCK_BYTES)
        size = ARENA_BLOCK_BYTES;
    if (size < bytes)
        size = bytes;
    struct block *b = mem_alloc(block_header_bytes() + size);
    b->next = a->newest;
    b->size = size;
    b->used = 0;
    a->newest = b;
    a->total += block_header_bytes() + size;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        out_of_memory(bytes);
    size_t rounded = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (a->newest == NULL || a->newest->size - a->newest->used < rounded)
        arena_grow(a, rounded);
    char *p = (char *)a->newest + block_header_bytes() + a->newest->used;
    a->newest->used += rounded;
    return memset(p, 0, bytes);
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    if (n == SIZE_MAX)
        out_of_memory(n);
    char *copy = arena_alloc(a, n + 1);
    if (n != 0)
        memcpy(copy, s, n);
    return copy;
}

size_t arena_bytes(const struct arena *a)
{
    return a->total;
}
