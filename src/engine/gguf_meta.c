/*
 * GGUF metadata: typed access by key. Everything here reads what gguf.c has checked, so values
 * lie inside the file; what is still open is whether a value is of the wanted kind and range.
 */
#include "engine/gguf_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SHOWN_STRING_BYTES = 200, SHOWN_ELEMENTS = 6, SHOWN_BYTES = 512, KEY_BYTES = 256 };

static const struct {
    const char *name;
    size_t bytes;
} kinds[GGUF_N_KINDS] = {
    [GGUF_U8] = {"u8", 1},       [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},
    [GGUF_I16] = {"i16", 2},     [GGUF_U32] = {"u32", 4},   [GGUF_I32] = {"i32", 4},
    [GGUF_F32] = {"f32", 4},     [GGUF_BOOL] = {"bool", 1}, [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"u64", 8},   [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

size_t gguf_kind_bytes(uint32_t kind)
{
    return kind < GGUF_N_KINDS ? kinds[kind].bytes : 0;
}

const char *gguf_kind_name(uint32_t kind)
{
    return kind < GGUF_N_KINDS ? kinds[kind].name : "unknown";
}

bool gguf_read_int(uint32_t kind, const uint8_t *value, int64_t *out)
{
    uint64_t raw = 0;
    memcpy(&raw, value, gguf_kind_bytes(kind));
    switch (kind) {
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32:
    case GGUF_U64:
        *out = (int64_t)raw;
        return raw <= INT64_MAX;
    case GGUF_I8:
        *out = (int8_t)raw;
        return true;
    case GGUF_I16:
        *out = (int16_t)raw;
        return true;
    case GGUF_I32:
        *out = (int32_t)raw;
        return true;
    case GGUF_I64:
        *out = (int64_t)raw;
        return true;
    default:
        return false;
    }
}

static bool is_int(uint32_t kind)
{
    return kind != GGUF_BOOL && kind != GGUF_F32 && kind != GGUF_F64 && gguf_kind_bytes(kind) != 0;
}

static bool is_strings(const struct gguf_entry *entry)
{
    return entry->array && entry->kind == GGUF_STRING;
}

static double read_float(uint32_t kind, const uint8_t *value)
{
    float f;
    double d;
    if (kind == GGUF_F32) {
        memcpy(&f, value, sizeof f);
        return f;
    }
    memcpy(&d, value, sizeof d);
    return d;
}

/* Values as text */

struct text {
    char bytes[SHOWN_BYTES];
    size_t len;
};

static void text_add(struct text *t, const char *s, size_t n)
{
    size_t room = sizeof t->bytes - 1 - t->len;
    n = n < room ? n : room;
    memcpy(t->bytes + t->len, s, n);
    t->len += n;
    t->bytes[t->len] = '\0';
}

/* Control characters become dots; a cut stands at the beginning of a UTF-8 character. */
static void text_add_string(struct text *t, const char *s, size_t len, size_t max)
{
    size_t n = len;
    if (n > max)
        for (n = max; n > 0 && ((uint8_t)s[n] & 0xc0) == 0x80;)
            n--;
    for (size_t i = 0; i < n; i++)
        text_add(t, (uint8_t)s[i] < 0x20 || s[i] == 0x7f ? "." : &s[i], 1);
    if (n < len)
        text_add(t, "...", 3);
}

static void text_add_scalar(struct text *t, uint32_t kind, const uint8_t *value)
{
    char number[40];
    int64_t i;
    if (kind == GGUF_BOOL)
        snprintf(number, sizeof number, "%s", *value ? "true" : "false");
    else if (kind == GGUF_F32 || kind == GGUF_F64)
        snprintf(number, sizeof number, "%.9g", read_float(kind, value));
    else if (gguf_read_int(kind, value, &i))
        snprintf(number, sizeof number, "%" PRId64, i);
    else
        snprintf(number, sizeof number, "%" PRIu64, gguf_read_u64(value));
    text_add(t, number, strlen(number));
}

/* Writes the key with "%A." replaced by the architecture's name. False: too long or no such. */
static bool full_key(const struct gguf *g, const char *key, char out[KEY_BYTES])
{
    int n;
    if (strncmp(key, "%A.", 3) == 0) {
        const struct gguf_entry *a = gguf_entry_find(g, "general.architecture");
        if (!a || a->array || a->kind != GGUF_STRING || a->count >= KEY_BYTES)
            return false;
        n = snprintf(out, KEY_BYTES, "%.*s.%s", (int)a->count, (const char *)a->value, key + 3);
    } else {
        n = snprintf(out, KEY_BYTES, "%s", key);
    }
    return n >= 0 && n < KEY_BYTES;
}

static const struct gguf_entry *lookup(const struct gguf *g, const char *key, char full[KEY_BYTES])
{
    if (!full_key(g, key, full)) {
        snprintf(full, KEY_BYTES, "%s", key);
        return NULL;
    }
    return gguf_entry_find(g, full);
}

static int missing(const struct gguf *g, const char *key, struct error *e)
{
    return error_set(e, ERR_NOT_FOUND, "%s: metadata '%s' is missing", g->source, key);
}

static int wrong_kind(const struct gguf *g, const char *key, const struct gguf_entry *entry,
                      const char *wanted, struct error *e)
{
    return error_set(e, ERR_INVALID, "%s: metadata '%s' at byte %zu is %s%s, wanted is %s",
                     g->source, key, (size_t)(entry->value - g->bytes),
                     entry->array ? "an array of " : "", gguf_kind_name(entry->kind), wanted);
}

bool gguf_has(const struct gguf *g, const char *key)
{
    char full[KEY_BYTES];
    return lookup(g, key, full) != NULL;
}

static int entry_int(const struct gguf *g, const char *key, const struct gguf_entry *entry,
                     int64_t min, int64_t max, int64_t *out, struct error *e)
{
    if (entry->array || !is_int(entry->kind))
        return wrong_kind(g, key, entry, "an integer", e);
    int64_t v;
    if (gguf_read_int(entry->kind, entry->value, &v) && v >= min && v <= max) {
        *out = v;
        return 0;
    }
    struct text t = {.len = 0};
    text_add_scalar(&t, entry->kind, entry->value);
    return error_set(e, ERR_INVALID,
                     "%s: metadata '%s' at byte %zu is %s, allowed are %" PRId64 " to %" PRId64,
                     g->source, key, (size_t)(entry->value - g->bytes), t.bytes, min, max);
}

int gguf_int(const struct gguf *g, const char *key, int64_t min, int64_t max, int64_t *out,
             struct error *e)
{
    char full[KEY_BYTES];
    const struct gguf_entry *entry = lookup(g, key, full);
    return entry ? entry_int(g, full, entry, min, max, out, e) : missing(g, full, e);
}

int gguf_int_or(const struct gguf *g, const char *key, int64_t fallback, int64_t min, int64_t max,
                int64_t *out, struct error *e)
{
    char full[KEY_BYTES];
    const struct gguf_entry *entry = lookup(g, key, full);
    if (entry)
        return entry_int(g, full, entry, min, max, out, e);
    *out = fallback;
    return 0;
}

static int entry_float(const struct gguf *g, const char *key, const struct gguf_entry *entry,
                       double *out, struct error *e)
{
    if (entry->array || (entry->kind != GGUF_F32 && entry->kind != GGUF_F64))
        return wrong_kind(g, key, entry, "a float", e);
    double v = read_float(entry->kind, entry->value);
    if (!isfinite(v))
        return error_set(e, ERR_INVALID, "%s: metadata '%s' at byte %zu is not a finite number",
                         g->source, key, (size_t)(entry->value - g->bytes));
    *out = v;
    return 0;
}

int gguf_float(const struct gguf *g, const char *key, double *out, struct error *e)
{
    char full[KEY_BYTES];
    const struct gguf_entry *entry = lookup(g, key, full);
    return entry ? entry_float(g, full, entry, out, e) : missing(g, full, e);
}

int gguf_float_or(const struct gguf *g, const char *key, double fallback, double *out,
                  struct error *e)
{
    char full[KEY_BYTES];
    const struct gguf_entry *entry = lookup(g, key, full);
    if (entry)
        return entry_float(g, full, entry, out, e);
    *out = fallback;
    return 0;
}

int gguf_bool_or(const struct gguf *g, const char *key, bool fallback, bool *out, struct error *e)
{
    char full[KEY_BYTES];
    const struct gguf_entry *entry = lookup(g, key, full);
    *out = fallback;
    if (!entry)
        return 0;
    if (entry->array || entry->kind != GGUF_BOOL)
        return wrong_kind(g, full, entry, "a bool", e);
    if (*entry->value > 1)
        return error_set(e, ERR_INVALID, "%s: metadata '%s' at byte %zu is the bool %u", g->source,
                         full, (size_t)(entry->value - g->bytes), *entry->value);
    *out = *entry->value == 1;
    return 0;
}

int gguf_string(const struct gguf *g, const char *key, const char **s, size_t *len, struct error *e)
{
    char full[KEY_BYTES];
    const struct gguf_entry *entry = lookup(g, key, full);
    if (!entry)
        return missing(g, full, e);
    if (entry->array || entry->kind != GGUF_STRING)
        return wrong_kind(g, full, entry, "a string", e);
    *s = (const char *)entry->value;
    *len = (size_t)entry->count;
    return 0;
}

int gguf_strings(const struct gguf *g, const char *key, size_t *count, struct error *e)
{
    char full[KEY_BYTES];
    const struct gguf_entry *entry = lookup(g, key, full);
    if (!entry)
        return missing(g, full, e);
    if (!is_strings(entry))
        return wrong_kind(g, full, entry, "an array of strings", e);
    *count = (size_t)entry->count;
    return 0;
}

static void string_in(const struct gguf *g, const struct gguf_entry *entry, size_t i,
                      const char **s, size_t *len)
{
    const uint8_t *at = g->bytes + entry->strings[i];
    *len = (size_t)gguf_read_u64(at);
    *s = (const char *)at + 8;
}

int gguf_string_at(const struct gguf *g, const char *key, size_t i, const char **s, size_t *len)
{
    char full[KEY_BYTES];
    const struct gguf_entry *entry = lookup(g, key, full);
    if (!entry || !is_strings(entry) || i >= entry->count)
        return ERR_NOT_FOUND;
    string_in(g, entry, i, s, len);
    return 0;
}

int gguf_array_len(const struct gguf *g, const char *key, size_t *count, struct error *e)
{
    char full[KEY_BYTES];
    const struct gguf_entry *entry = lookup(g, key, full);
    if (!entry)
        return missing(g, full, e);
    if (!entry->array)
        return wrong_kind(g, full, entry, "an array", e);
    *count = (size_t)entry->count;
    return 0;
}

int gguf_array_int(const struct gguf *g, const char *key, size_t i, int64_t *out, struct error *e)
{
    char full[KEY_BYTES];
    const struct gguf_entry *entry = lookup(g, key, full);
    if (!entry)
        return missing(g, full, e);
    if (!entry->array || !is_int(entry->kind))
        return wrong_kind(g, full, entry, "an array of integers", e);
    if (i >= entry->count)
        return error_set(e, ERR_NOT_FOUND,
                         "%s: metadata '%s' has %" PRIu64 " elements, none has number %zu",
                         g->source, full, entry->count, i);
    if (!gguf_read_int(entry->kind, entry->value + i * gguf_kind_bytes(entry->kind), out))
        return error_set(e, ERR_INVALID, "%s: metadata '%s': element %zu is too large", g->source,
                         full, i);
    return 0;
}

static void text_add_array(struct text *t, const struct gguf *g, const struct gguf_entry *entry)
{
    char head[64];
    int n = snprintf(head, sizeof head, "[%s x %" PRIu64 "]", gguf_kind_name(entry->kind),
                     entry->count);
    text_add(t, head, (size_t)n);
    for (size_t i = 0; i < entry->count && i < SHOWN_ELEMENTS; i++) {
        text_add(t, i ? ", " : " ", i ? 2 : 1);
        if (is_strings(entry)) {
            const char *s;
            size_t len;
            string_in(g, entry, i, &s, &len);
            text_add_string(t, s, len, SHOWN_STRING_BYTES / SHOWN_ELEMENTS);
        } else {
            text_add_scalar(t, entry->kind, entry->value + i * gguf_kind_bytes(entry->kind));
        }
    }
    if (entry->count > SHOWN_ELEMENTS)
        text_add(t, ", ...", 5);
}

void gguf_each(const struct gguf *g, void (*fn)(void *arg, const char *key, const char *value),
               void *arg)
{
    for (size_t i = 0; i < g->n_entries; i++) {
        const struct gguf_entry *entry = &g->entries[i];
        struct text t = {.len = 0};
        if (entry->array)
            text_add_array(&t, g, entry);
        else if (entry->kind == GGUF_STRING)
            text_add_string(&t, (const char *)entry->value, (size_t)entry->count,
                            SHOWN_STRING_BYTES);
        else
            text_add_scalar(&t, entry->kind, entry->value);
        fn(arg, entry->key, t.bytes);
    }
}
