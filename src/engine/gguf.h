/*
 * Reads a GGUF v2/v3 file: metadata and tensor directory, over memory-mapped bytes.
 *
 * Every count, length and offset is checked against the file before it is used; an error names
 * what is wrong and where. Source of the format: the GGUF specification of the ggml project.
 * After gguf_open the object is read-only: any thread.
 */
#ifndef MOONGATE_ENGINE_GGUF_H
#define MOONGATE_ENGINE_GGUF_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gguf;

struct gguf_tensor {
    const char *name; /* NUL-terminated */
    uint32_t type;    /* ggml type id; see quant.h */
    uint32_t n_dims;  /* 1 to 4 */
    uint64_t dims[4]; /* dims[0] is contiguous (a matrix's input side); unused are 1 */
    const void *data; /* into the mapping, aligned as the file says */
    uint64_t bytes;
};

int gguf_open_file(const char *path, struct gguf **out, struct error *e);
int gguf_open_bytes(const void *bytes, size_t len, struct gguf **out,
                    struct error *e); /* borrowed */
void gguf_close(struct gguf *g);

uint64_t gguf_file_bytes(const struct gguf *g);
size_t gguf_n_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i);
const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name); /* NULL if absent */

/* Metadata. Integers of any width are accepted and checked for range. The first form needs the
 * key (ERR_NOT_FOUND names it), the second puts `fallback` if it is absent; a value of the wrong
 * kind is ERR_INVALID in both. `key` may start with "%A." for the architecture's prefix. */
bool gguf_has(const struct gguf *g, const char *key);
int gguf_int(const struct gguf *g, const char *key, int64_t min, int64_t max, int64_t *out,
             struct error *e);
int gguf_int_or(const struct gguf *g, const char *key, int64_t fallback, int64_t min, int64_t max,
                int64_t *out, struct error *e);
int gguf_float(const struct gguf *g, const char *key, double *out, struct error *e);
int gguf_float_or(const struct gguf *g, const char *key, double fallback, double *out,
                  struct error *e);
int gguf_bool_or(const struct gguf *g, const char *key, bool fallback, bool *out, struct error *e);
/* Not NUL-terminated; borrowed. */
int gguf_string(const struct gguf *g, const char *key, const char **s, size_t *len,
                struct error *e);
/* Arrays: strings are visited by index through a table built at open; integers are read by
 * element. */
int gguf_strings(const struct gguf *g, const char *key, size_t *count, struct error *e);
int gguf_string_at(const struct gguf *g, const char *key, size_t i, const char **s, size_t *len);
int gguf_array_len(const struct gguf *g, const char *key, size_t *count, struct error *e);
int gguf_array_int(const struct gguf *g, const char *key, size_t i, int64_t *out, struct error *e);
/* Calls fn for each metadata entry, with the value written as text (long ones are cut):
 * for `moongate model inspect`. */
void gguf_each(const struct gguf *g, void (*fn)(void *arg, const char *key, const char *value),
               void *arg);

#endif
