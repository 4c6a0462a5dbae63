/*
 * How a tree of JSON lies in memory: between json_read.c, which builds it, json.c, which looks
 * things up and writes it, and json_index.c, which finds members of large objects.
 */
#ifndef MOONGATE_BASE_JSON_PRIVATE_H
#define MOONGATE_BASE_JSON_PRIVATE_H

#include "base/json.h"

#include <string.h>

enum { JSON_SEARCHED_MEMBERS = 32 }; /* an object of more has an index */

struct json_index;

struct json {
    unsigned char kind; /* enum json_kind; of a key JSON_STRING */
    /* Of JSON_INT: past INT64_MAX, so `number` is its 64 bits without a sign. Of JSON_DOUBLE:
     * an integer that 64 bits cannot hold. Of JSON_OBJECT: with an index. */
    bool large;
    char first[2]; /* of a key: its first bytes, zeros where it is shorter */
    uint32_t len;  /* of a string or a key: bytes; of an array: values; of an object: members */
    union {
        int64_t number;           /* of JSON_INT; of JSON_BOOL 0 or 1 */
        const char *text;         /* of strings and keys; of a JSON_DOUBLE as it was sent; a NUL
                                     stands behind */
        const struct json *items; /* of an array its values; of an object key, value, key, value,
                                     and behind them the index if there is one */
        struct json_index *index; /* in the place behind the members */
    };
};

_Static_assert(sizeof(struct json) == 16 && offsetof(struct json, text) == 8,
               "what is compared of keys at first is one word");

static inline struct json json_key(const char *text, size_t len)
{
    struct json key = {.kind = JSON_STRING, .len = (uint32_t)len, .text = text};
    if (len > 0)
        key.first[0] = text[0];
    if (len > 1)
        key.first[1] = text[1];
    return key;
}

static inline bool json_same_key(const struct json *a, const struct json *b)
{
    return memcmp(a, b, offsetof(struct json, text)) == 0 && memcmp(a->text, b->text, a->len) == 0;
}

/* Indexes are a list, so that a tree frees those that it has. */
struct json_index *json_index_new(struct json_index *next);
void json_index_free(struct json_index *list);
/* The n-th member (from 0) joins; false if its key is there already. Those before have joined. */
bool json_index_add(struct json_index *x, const struct json *members, size_t n);
/* The key as it stands in the object, or NULL; its value is behind it. */
const struct json *json_index_find(const struct json_index *x, const struct json *members,
                                   const struct json *key);

#endif
