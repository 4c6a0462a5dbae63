/*
 * JSON in and out.
 *
 * Reading is strict, where two readers of one text might see two things: refused are invalid,
 * overlong or surrogate UTF-8, unpaired \u surrogates, \u0000, raw control characters in strings,
 * NaN and Infinity (also as numbers too large for a double), duplicate keys, comments, trailing
 * text, nesting past the limit. What a tree takes is bounded by its text: at most 16 bytes for
 * each byte of it, and a kilobyte. Reading, and finding a member, take no longer for keys that
 * were chosen to make them.
 *
 * Pure; nothing but json_free changes a tree, so threads may share it.
 */
#ifndef MOONGATE_BASE_JSON_H
#define MOONGATE_BASE_JSON_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum json_kind {
    JSON_NULL,
    JSON_BOOL,
    JSON_INT,
    JSON_DOUBLE,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

struct json; /* one value of a tree; borrowed from its root except where said */

/* Reads one document. *out is the caller's, freed by json_free. ERR_INVALID tells the byte. */
int json_parse(const char *text, size_t len, int max_depth, struct json **out, struct error *e);
void json_free(struct json *root); /* accepts NULL */

enum json_kind json_kind(const struct json *v); /* NULL counts as JSON_NULL */
bool json_bool(const struct json *v);
/* True if the number is an integer within int64 (1.0 counts, an integer too large does not). */
bool json_int64(const struct json *v, int64_t *out);
double json_double(const struct json *v);                   /* of JSON_INT and JSON_DOUBLE */
const char *json_string(const struct json *v, size_t *len); /* borrowed, NUL-terminated */
size_t json_len(const struct json *v);                      /* of an array or an object */
const struct json *json_at(const struct json *array, size_t i);
/* NULL if the key is absent; a value of JSON_NULL that is present is returned with *present. */
const struct json *json_get(const struct json *object, const char *key, bool *present);
/* Calls fn for each member in order; stops and returns what fn returned if that is not 0. */
int json_each(const struct json *object,
              int (*fn)(void *arg, const char *key, const struct json *value), void *arg);

/* Writing: each appends to a buffer. */
void json_write(struct buf *b, const struct json *v);             /* compact, as parsed */
void json_write_string(struct buf *b, const char *s, size_t len); /* quoted and escaped;
                                        invalid UTF-8 becomes U+FFFD, so output is valid */
void json_write_double(struct buf *b, double v); /* shortest that reads back; null if not finite */

#endif
