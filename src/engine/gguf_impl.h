/*
 * What gguf.c (reads the file) and gguf_meta.c (gives metadata out) share; nobody else includes it.
 */
#ifndef MOONGATE_ENGINE_GGUF_IMPL_H
#define MOONGATE_ENGINE_GGUF_IMPL_H

#include "engine/gguf.h"

/* Value types of the format. */
enum gguf_kind {
    GGUF_U8 = 0,
    GGUF_I8 = 1,
    GGUF_U16 = 2,
    GGUF_I16 = 3,
    GGUF_U32 = 4,
    GGUF_I32 = 5,
    GGUF_F32 = 6,
    GGUF_BOOL = 7,
    GGUF_STRING = 8,
    GGUF_ARRAY = 9,
    GGUF_U64 = 10,
    GGUF_I64 = 11,
    GGUF_F64 = 12,
    GGUF_N_KINDS
};

struct gguf_entry {
    const char *key; /* NUL-terminated copy */
    uint32_t kind;   /* of a value, or of an array's elements */
    bool array;
    const uint8_t *value; /* scalar, or first element; not aligned */
    uint64_t count;       /* elements; bytes of a string; 1 */
    uint64_t *strings;    /* array of strings: file offset of each length field */
};

/* Open addressing over names; a slot holds index + 1, 0 is free. */
struct gguf_index {
    uint32_t *slots;
    size_t mask; /* slots - 1 */
};

struct gguf {
    const char *source; /* the path, or "memory"; stands in every error */
    const uint8_t *bytes;
    size_t len;
    void *mapping; /* NULL if the bytes are borrowed */
    struct arena *names;
    struct gguf_entry *entries;
    size_t n_entries;
    struct gguf_tensor *tensors;
    size_t n_tensors;
    struct gguf_index by_key, by_tensor;
};

const struct gguf_entry *gguf_entry_find(const struct gguf *g, const char *key);
size_t gguf_kind_bytes(uint32_t kind); /* 0 for strings, arrays and unknown kinds */
const char *gguf_kind_name(uint32_t kind);
/* An integer of the file; false if `kind` is not one or the value is past int64. */
bool gguf_read_int(uint32_t kind, const uint8_t *value, int64_t *out);
uint64_t gguf_read_u64(const uint8_t *at);

#endif
