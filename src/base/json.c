/*
 * JSON looked up and written. A tree is built by json_read.c and never changes afterwards.
 *
 * Null has a place in its container like any value, but is shown as NULL. Writing recurses, as
 * deep as the text that was read was allowed to be nested.
 */
#include "base/json_private.h"

#include "base/json_lex.h"
#include "base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const struct json *shown(const struct json *v)
{
    return v->kind != JSON_NULL ? v : NULL;
}

enum json_kind json_kind(const struct json *v)
{
    return v != NULL ? (enum json_kind)v->kind : JSON_NULL;
}

bool json_bool(const struct json *v)
{
    return json_kind(v) == JSON_BOOL && v->number != 0;
}

bool json_int64(const struct json *v, int64_t *out)
{
    enum json_kind kind = json_kind(v);
    if ((kind != JSON_INT && kind != JSON_DOUBLE) || v->large)
        return false;
    if (kind == JSON_INT) {
        *out = v->number;
        return true;
    }
    double d = json_double(v);
    if (!(d >= -0x1p63 && d < 0x1p63) || d != floor(d))
        return false;
    *out = (int64_t)d;
    return true;
}

double json_double(const struct json *v)
{
    switch (json_kind(v)) {
    case JSON_INT:
        return v->large ? (double)(uint64_t)v->number : (double)v->number;
    case JSON_DOUBLE:
        return strtod(v->text, NULL);
    default:
        return 0;
    }
}

const char *json_string(const struct json *v, size_t *len)
{
    bool is_string = json_kind(v) == JSON_STRING;
    if (len != NULL)
        *len = is_string ? v->len : 0;
    return is_string ? v->text : NULL;
}

size_t json_len(const struct json *v)
{
    enum json_kind kind = json_kind(v);
    return kind == JSON_ARRAY || kind == JSON_OBJECT ? v->len : 0;
}

const struct json *json_at(const struct json *array, size_t i)
{
    return json_kind(array) == JSON_ARRAY && i < array->len ? shown(&array->items[i]) : NULL;
}

/* The key as it stands in the object, or NULL. */
static const struct json *find_key(const struct json *object, const struct json *key)
{
    const struct json *members = object->items;
    size_t n = object->len;
    if (object->large)
        return json_index_find(members[2 * n].index, members, key);
    for (size_t i = 0; i < n; i++) {
        if (json_same_key(&members[2 * i], key))
            return &members[2 * i];
    }
    return NULL;
}

const struct json *json_get(const struct json *object, const char *key, bool *present)
{
    const struct json *found = NULL;
    size_t len = strlen(key);
    if (json_kind(object) == JSON_OBJECT && len <= UINT32_MAX) {
        struct json wanted = json_key(key, len);
        found = find_key(object, &wanted);
    }
    if (present != NULL)
        *present = found != NULL;
    return found != NULL ? shown(found + 1) : NULL;
}

int json_each(const struct json *object,
              int (*fn)(void *arg, const char *key, const struct json *value), void *arg)
{
    if (json_kind(object) != JSON_OBJECT)
        return 0;
    for (size_t i = 0; i < object->len; i++) {
        const struct json *key = &object->items[2 * i];
        int rc = fn(arg, key->text, shown(key + 1));
        if (rc != 0)
            return rc;
    }
    return 0;
}

static void write_items(struct buf *b, const struct json *v)
{
    bool object = v->kind == JSON_OBJECT;
    buf_addc(b, object ? '{' : '[');
    for (size_t i = 0; i < v->len; i++) {
        if (i > 0)
            buf_addc(b, ',');
        if (object) {
            json_write_string(b, v->items[2 * i].text, v->items[2 * i].len);
            buf_addc(b, ':');
        }
        json_write(b, &v->items[object ? 2 * i + 1 : i]);
    }
    buf_addc(b, object ? '}' : ']');
}

void json_write(struct buf *b, const struct json *v)
{
    switch (json_kind(v)) {
    case JSON_NULL:
        buf_adds(b, "null");
        break;
    case JSON_BOOL:
        buf_adds(b, v->number != 0 ? "true" : "false");
        break;
    case JSON_INT:
        if (v->large)
            buf_addf(b, "%llu", (unsigned long long)v->number);
        else
            buf_addi(b, v->number);
        break;
    case JSON_DOUBLE:
        buf_add(b, v->text, v->len);
        break;
    case JSON_STRING:
        json_write_string(b, v->text, v->len);
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        write_items(b, v);
        break;
    }
}

static void write_escape(struct buf *b, unsigned char c)
{
    static const char letters[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                   ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
    if (letters[c] != '\0') {
        char pair[2] = {'\\', letters[c]};
        buf_add(b, pair, sizeof(pair));
    } else {
        buf_addf(b, "\\u%04x", c);
    }
}

void json_write_string(struct buf *b, const char *s, size_t len)
{
    size_t done = 0, at = 0; /* bytes before `done` are written, those up to `at` are plain */
    buf_addc(b, '"');
    while ((at += json_lex_plain(s + at, len - at)) < len) {
        unsigned char c = (unsigned char)s[at];
        int n = c < 0x80 ? 1 : utf8_char(s + at, len - at);
        if (n > 1) {
            at += (size_t)n;
            continue;
        }
        buf_add(b, s + done, at - done);
        if (n < 0)
            buf_adds(b, "\xef\xbf\xbd");
        else
            write_escape(b, c);
        at += (size_t)abs(n);
        done = at;
    }
    buf_add(b, s + done, len - done);
    buf_addc(b, '"');
}

void json_write_double(struct buf *b, double v)
{
    char text[40];
    if (!isfinite(v)) {
        buf_adds(b, "null");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_adds(b, text);
}
