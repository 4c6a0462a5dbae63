/*
 * Writes GGUF headers into memory, piece by piece, right or wrong as a test wants. Included by
 * tests only; what does not fit the fixed room ends the test.
 */
#ifndef MOONGATE_TESTS_GGUF_BUILD_H
#define MOONGATE_TESTS_GGUF_BUILD_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct gguf_build {
    uint8_t bytes[8192];
    size_t len;
};

static inline void put(struct gguf_build *b, const void *p, size_t n)
{
    if (n > sizeof b->bytes - b->len)
        abort();
    memcpy(b->bytes + b->len, p, n);
    b->len += n;
}

static inline void put_u32(struct gguf_build *b, uint32_t v)
{
    put(b, &v, sizeof v);
}

static inline void put_u64(struct gguf_build *b, uint64_t v)
{
    put(b, &v, sizeof v);
}

static inline void put_string(struct gguf_build *b, const char *s)
{
    put_u64(b, strlen(s));
    put(b, s, strlen(s));
}

static inline void put_head(struct gguf_build *b, uint32_t version, uint64_t tensors,
                            uint64_t entries)
{
    b->len = 0;
    put(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, tensors);
    put_u64(b, entries);
}

/* A key and its type; the value follows. */
static inline void put_key(struct gguf_build *b, const char *key, uint32_t kind)
{
    put_string(b, key);
    put_u32(b, kind);
}

static inline void put_tensor(struct gguf_build *b, const char *name, uint32_t type,
                              uint64_t offset, uint32_t n_dims, const uint64_t *dims)
{
    put_string(b, name);
    put_u32(b, n_dims);
    put(b, dims, n_dims * sizeof *dims);
    put_u32(b, type);
    put_u64(b, offset);
}

static inline void put_padding(struct gguf_build *b, size_t alignment)
{
    static const uint8_t zeros[256];
    put(b, zeros, (alignment - b->len % alignment) % alignment);
}

#endif
