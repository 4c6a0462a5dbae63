/*
 * A GGUF file taken apart, changed, and put together again, for tests. It has its own reader, so
 * that it can also write what gguf.c would refuse. Tests trust their input: no bounds are checked.
 */
#ifndef MOONGATE_TESTS_GGUF_EDIT_H
#define MOONGATE_TESTS_GGUF_EDIT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    EDIT_ENTRIES = 64,
    EDIT_TENSORS = 128,
    EDIT_U32 = 4,
    EDIT_F32 = 6,
    EDIT_STRING = 8,
    EDIT_ARRAY = 9
};

struct edit_entry {
    char key[96];
    uint32_t kind;
    size_t bytes;
    uint8_t *value;
};

struct edit_tensor {
    char name[64];
    uint32_t n_dims, type;
    uint64_t dims[4];
    size_t bytes;
    uint8_t *data;
};

struct edit {
    size_t n_entries, n_tensors;
    struct edit_entry entries[EDIT_ENTRIES];
    struct edit_tensor tensors[EDIT_TENSORS];
};

static inline uint8_t *edit_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes = NULL;

    if (f == NULL)
        return NULL;
    fseek(f, 0, SEEK_END);
    *len = (size_t)ftell(f);
    rewind(f);
    bytes = malloc(*len + 1);
    if (fread(bytes, 1, *len, f) != *len) {
        free(bytes);
        bytes = NULL;
    }
    fclose(f);
    return bytes;
}

static inline uint8_t *edit_copy(const void *from, size_t n)
{
    uint8_t *p = malloc(n + 1);

    memcpy(p, from, n);
    return p;
}

static inline uint64_t edit_u64(const uint8_t **at)
{
    uint64_t v;

    memcpy(&v, *at, sizeof v);
    *at += sizeof v;
    return v;
}

static inline uint32_t edit_u32(const uint8_t **at)
{
    uint32_t v;

    memcpy(&v, *at, sizeof v);
    *at += sizeof v;
    return v;
}

static inline void edit_text(const uint8_t **at, char *out)
{
    uint64_t n = edit_u64(at);

    memcpy(out, *at, n);
    out[n] = '\0';
    *at += n;
}

static inline size_t edit_value_bytes(uint32_t kind, const uint8_t *at)
{
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    const uint8_t *start = at;
    uint32_t inner;

    if (kind == EDIT_STRING)
        return 8 + (size_t)edit_u64(&at);
    if (kind != EDIT_ARRAY)
        return sizes[kind];
    inner = edit_u32(&at);
    for (uint64_t left = edit_u64(&at); left > 0; left--)
        at += edit_value_bytes(inner, at);
    return (size_t)(at - start);
}

static inline size_t edit_type_bytes(uint32_t type, size_t weights)
{
    return type == 0 ? weights * 4 : type == 8 ? weights / 32 * 34 : weights * 2;
}

static inline void edit_read(struct edit *m, const uint8_t *bytes)
{
    const uint8_t *at = bytes + 8;
    uint64_t offsets[EDIT_TENSORS];
    size_t start;

    m->n_tensors = edit_u64(&at);
    m->n_entries = edit_u64(&at);
    for (size_t i = 0; i < m->n_entries; i++) {
        struct edit_entry *e = &m->entries[i];
        edit_text(&at, e->key);
        e->kind = edit_u32(&at);
        e->bytes = edit_value_bytes(e->kind, at);
        e->value = edit_copy(at, e->bytes);
        at += e->bytes;
    }
    for (size_t i = 0; i < m->n_tensors; i++) {
        struct edit_tensor *t = &m->tensors[i];
        size_t weights = 1;
        edit_text(&at, t->name);
        t->n_dims = edit_u32(&at);
        for (uint32_t d = 0; d < t->n_dims; d++)
            weights *= t->dims[d] = edit_u64(&at);
        t->type = edit_u32(&at);
        offsets[i] = edit_u64(&at);
        t->bytes = edit_type_bytes(t->type, weights);
    }
    start = ((size_t)(at - bytes) + 31) / 32 * 32;
    for (size_t i = 0; i < m->n_tensors; i++)
        m->tensors[i].data = edit_copy(bytes + start + offsets[i], m->tensors[i].bytes);
}

static inline void edit_done(struct edit *m)
{
    for (size_t i = 0; i < m->n_entries; i++)
        free(m->entries[i].value);
    for (size_t i = 0; i < m->n_tensors; i++)
        free(m->tensors[i].data);
}

static inline void edit_put(uint8_t **at, const void *from, size_t n)
{
    memcpy(*at, from, n);
    *at += n;
}

static inline void edit_put_text(uint8_t **at, const char *s)
{
    uint64_t n = strlen(s);

    edit_put(at, &n, sizeof n);
    edit_put(at, s, n);
}

static inline void edit_put_tensor(uint8_t **at, const struct edit_tensor *t, uint64_t offset)
{
    edit_put_text(at, t->name);
    edit_put(at, &t->n_dims, 4);
    edit_put(at, t->dims, 8 * t->n_dims);
    edit_put(at, &t->type, 4);
    edit_put(at, &offset, 8);
}

/* The whole file; freed by the caller. 32-byte aligned, as a mapping would be. */
static inline uint8_t *edit_write(const struct edit *m, size_t *len)
{
    uint64_t counts[2] = {m->n_tensors, m->n_entries}, offset = 0;
    size_t room = 4096 + m->n_entries * 256 + m->n_tensors * 256;
    const uint32_t version = 3;
    uint8_t *out, *at;

    for (size_t i = 0; i < m->n_entries; i++)
        room += m->entries[i].bytes;
    for (size_t i = 0; i < m->n_tensors; i++)
        room += m->tensors[i].bytes + 32;
    room = room / 64 * 64 + 64;
    out = at = aligned_alloc(64, room);
    memset(out, 0, room);
    edit_put(&at, "GGUF", 4);
    edit_put(&at, &version, 4);
    edit_put(&at, counts, sizeof counts);
    for (size_t i = 0; i < m->n_entries; i++) {
        edit_put_text(&at, m->entries[i].key);
        edit_put(&at, &m->entries[i].kind, 4);
        edit_put(&at, m->entries[i].value, m->entries[i].bytes);
    }
    for (size_t i = 0; i < m->n_tensors; i++) {
        edit_put_tensor(&at, &m->tensors[i], offset);
        offset += (m->tensors[i].bytes + 31) / 32 * 32;
    }
    at = out + ((size_t)(at - out) + 31) / 32 * 32;
    for (size_t i = 0; i < m->n_tensors; i++) {
        memcpy(at, m->tensors[i].data, m->tensors[i].bytes);
        at += (m->tensors[i].bytes + 31) / 32 * 32;
    }
    *len = (size_t)(at - out);
    return out;
}

static inline struct edit_tensor *edit_tensor(struct edit *m, const char *name)
{
    for (size_t i = 0; i < m->n_tensors; i++)
        if (strcmp(m->tensors[i].name, name) == 0)
            return &m->tensors[i];
    fprintf(stderr, "no tensor %s\n", name);
    abort();
}

static inline void edit_remove_tensor(struct edit *m, const char *name)
{
    struct edit_tensor *t = edit_tensor(m, name);

    free(t->data);
    *t = m->tensors[--m->n_tensors];
}

static inline void edit_remove(struct edit *m, const char *key)
{
    for (size_t i = 0; i < m->n_entries; i++)
        if (strcmp(m->entries[i].key, key) == 0) {
            free(m->entries[i].value);
            m->entries[i] = m->entries[--m->n_entries];
            return;
        }
}

static inline void edit_set(struct edit *m, const char *key, uint32_t kind, const void *value,
                            size_t bytes)
{
    struct edit_entry *e;

    edit_remove(m, key);
    e = &m->entries[m->n_entries++];
    snprintf(e->key, sizeof e->key, "%s", key);
    e->kind = kind;
    e->bytes = bytes;
    e->value = edit_copy(value, bytes);
}

static inline void edit_set_u32(struct edit *m, const char *key, uint32_t v)
{
    edit_set(m, key, EDIT_U32, &v, sizeof v);
}

static inline void edit_set_f32(struct edit *m, const char *key, float v)
{
    edit_set(m, key, EDIT_F32, &v, sizeof v);
}

static inline void edit_set_string(struct edit *m, const char *key, const char *s)
{
    uint8_t value[128], *at = value;

    edit_put_text(&at, s);
    edit_set(m, key, EDIT_STRING, value, (size_t)(at - value));
}

#endif
