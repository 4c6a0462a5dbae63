/*
 * JSON in and out, over json-c.
 *
 * Reading takes three steps. json_scan holds the text to the strict grammar. json-c builds the
 * tree. Then the members in the tree are counted: json-c keeps the last of two equal keys, so
 * fewer members than colons means a duplicate, and a second scan finds it to name it.
 *
 * json-c clamps an integer that 64 bits cannot hold. Such a number is fed with an exponent of
 * zero behind it, which makes it a double that keeps its text; json_write takes the exponent
 * off again. Everything that recurses here is bounded by max_depth of the parse.
 */
#include "base/json.h"

#include "base/json_lex.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "base/utf8.h"

/* json-c has a type of the name of our function. */
#define json_bool json_c_bool
#include <json-c/json.h>
#undef json_bool

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char big_suffix[] = "E+00";
enum { BIG_DIGITS = 19 };

static struct json_object *tree(const struct json *v)
{
    return (struct json_object *)(uintptr_t)v;
}

static const struct json *value(const struct json_object *o)
{
    return (const struct json *)o;
}

static size_t count_members(struct json_object *o)
{
    size_t n = 0;
    if (json_object_is_type(o, json_type_object)) {
        json_object_object_foreach(o, key, child)
        {
            (void)key;
            n += 1 + count_members(child);
        }
    } else if (json_object_is_type(o, json_type_array)) {
        size_t len = json_object_array_length(o);
        for (size_t i = 0; i < len; i++)
            n += count_members(json_object_array_get_idx(o, i));
    }
    return n;
}

/* The keys seen so far in each open object. */
struct key_search {
    struct json_object **seen;
    int levels;
    struct error *e;
};

static void search_object(void *arg, int depth)
{
    struct key_search *search = arg;
    json_object_put(search->seen[depth]);
    search->seen[depth] = json_object_new_object();
}

static int search_key(void *arg, int depth, size_t at, const char *raw, size_t len)
{
    struct key_search *search = arg;
    char *quoted = mem_strndup(raw - 1, len + 2);
    struct json_object *key = json_tokener_parse(quoted);
    free(quoted);
    int rc = 0;
    if (json_object_object_get_ex(search->seen[depth], json_object_get_string(key), NULL))
        rc = error_set(search->e, ERR_INVALID,
                       "invalid JSON at byte %zu: the key \"%.*s\" stands twice in one object", at,
                       len < 100 ? (int)len : 100, raw);
    else
        json_object_object_add(search->seen[depth], json_object_get_string(key), NULL);
    json_object_put(key);
    return rc;
}

/* Called when there is a duplicate: finds and names the first. */
static int name_duplicate(const char *text, size_t len, int max_depth, struct error *e)
{
    struct key_search search = {.levels = max_depth + 1, .e = e};
    search.seen = mem_array((size_t)search.levels, sizeof(search.seen[0]));
    struct json_scan scan = {.on_key = search_key, .on_object = search_object, .arg = &search};
    int rc = json_scan(&scan, text, len, max_depth, e);
    if (rc == 0)
        rc = error_set(e, ERR_INVALID, "invalid JSON: a key stands twice in one object");
    for (int i = 0; i < search.levels; i++)
        json_object_put(search.seen[i]);
    free(search.seen);
    json_scan_done(&scan);
    return rc;
}

/* Feeds the text to json-c, with the suffix behind each integer that is too large. */
static struct json_object *build(struct json_tokener *tok, const struct json_scan *scan,
                                 const char *text, size_t len)
{
    struct json_object *root = NULL;
    size_t at = 0;
    for (size_t i = 0; i < scan->n_big; i++) {
        json_tokener_parse_ex(tok, text + at, (int)(scan->big_ends[i] - at));
        root = json_tokener_parse_ex(tok, big_suffix, (int)strlen(big_suffix));
        at = scan->big_ends[i];
    }
    if (at < len)
        root = json_tokener_parse_ex(tok, text + at, (int)(len - at));
    if (json_tokener_get_error(tok) == json_tokener_continue)
        root = json_tokener_parse_ex(tok, "", 1);
    return root;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

int json_parse(const char *text, size_t len, int max_depth, struct json **out, struct error *e)
{
    struct json_scan scan = {0};
    struct json_tokener *tok = NULL;
    struct json_object *root = NULL;
    *out = NULL;
    if (len > INT_MAX || max_depth < 0 || max_depth > INT_MAX - 2)
        return error_set(e, ERR_INVALID, "the JSON text is too large");
    int rc = json_scan(&scan, text, len, max_depth, e);
    if (rc != 0)
        goto out;
    while (len > 0 && is_space(text[len - 1]))
        len--;
    tok = json_tokener_new_ex(max_depth + 2);
    if (tok == NULL)
        abort();
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    root = build(tok, &scan, text, len);
    enum json_tokener_error fault = json_tokener_get_error(tok);
    if (fault != json_tokener_success) {
        rc = error_set(e, ERR_INVALID, "invalid JSON: %s", json_tokener_error_desc(fault));
        goto out;
    }
    if (count_members(root) != scan.members) {
        rc = name_duplicate(text, len, max_depth, e);
        goto out;
    }
    *out = (struct json *)root;
    root = NULL;
out:
    json_object_put(root);
    if (tok != NULL)
        json_tokener_free(tok);
    json_scan_done(&scan);
    return rc;
}

void json_free(struct json *root)
{
    json_object_put(tree(root));
}

enum json_kind json_kind(const struct json *v)
{
    switch (json_object_get_type(tree(v))) {
    case json_type_boolean:
        return JSON_BOOL;
    case json_type_int:
        return JSON_INT;
    case json_type_double:
        return JSON_DOUBLE;
    case json_type_string:
        return JSON_STRING;
    case json_type_array:
        return JSON_ARRAY;
    case json_type_object:
        return JSON_OBJECT;
    case json_type_null:
        break;
    }
    return JSON_NULL;
}

bool json_bool(const struct json *v)
{
    return json_kind(v) == JSON_BOOL && json_object_get_boolean(tree(v));
}

/* The length without our suffix if that is how the number was read, 0 otherwise. A client that
 * writes such a number itself means the same. */
static size_t big_len(struct json_object *o)
{
    const char *text = json_object_get_userdata(o);
    if (text == NULL)
        return 0;
    const char *digits = text + (text[0] == '-');
    size_t n = strspn(digits, "0123456789");
    bool big = n >= BIG_DIGITS || strncmp(text, "-0E", 3) == 0;
    return big && strcmp(digits + n, big_suffix) == 0 ? (size_t)(digits - text) + n : 0;
}

bool json_int64(const struct json *v, int64_t *out)
{
    enum json_kind kind = json_kind(v);
    if (kind == JSON_INT) {
        *out = json_object_get_int64(tree(v));
        return *out != INT64_MAX || json_object_get_uint64(tree(v)) == INT64_MAX;
    }
    if (kind != JSON_DOUBLE)
        return false;
    double d = json_object_get_double(tree(v));
    if (!(d >= -0x1p63 && d < 0x1p63) || d != floor(d) || (d != 0 && big_len(tree(v)) != 0))
        return false;
    *out = (int64_t)d;
    return true;
}

double json_double(const struct json *v)
{
    enum json_kind kind = json_kind(v);
    return kind == JSON_INT || kind == JSON_DOUBLE ? json_object_get_double(tree(v)) : 0;
}

const char *json_string(const struct json *v, size_t *len)
{
    bool is_string = json_kind(v) == JSON_STRING;
    if (len != NULL)
        *len = is_string ? (size_t)json_object_get_string_len(tree(v)) : 0;
    return is_string ? json_object_get_string(tree(v)) : NULL;
}

size_t json_len(const struct json *v)
{
    enum json_kind kind = json_kind(v);
    if (kind == JSON_ARRAY)
        return json_object_array_length(tree(v));
    return kind == JSON_OBJECT ? (size_t)json_object_object_length(tree(v)) : 0;
}

const struct json *json_at(const struct json *array, size_t i)
{
    if (json_kind(array) != JSON_ARRAY || i >= json_len(array))
        return NULL;
    return value(json_object_array_get_idx(tree(array), i));
}

const struct json *json_get(const struct json *object, const char *key, bool *present)
{
    struct json_object *child = NULL;
    bool found =
        json_kind(object) == JSON_OBJECT && json_object_object_get_ex(tree(object), key, &child);
    if (present != NULL)
        *present = found;
    return found ? value(child) : NULL;
}

int json_each(const struct json *object,
              int (*fn)(void *arg, const char *key, const struct json *value), void *arg)
{
    if (json_kind(object) != JSON_OBJECT)
        return 0;
    json_object_object_foreach(tree(object), key, child)
    {
        int rc = fn(arg, key, value(child));
        if (rc != 0)
            return rc;
    }
    return 0;
}

static void write_number(struct buf *b, struct json_object *o)
{
    const char *text = json_object_get_userdata(o);
    if (!json_object_is_type(o, json_type_double)) {
        int64_t n = json_object_get_int64(o);
        if (n == INT64_MAX)
            buf_addf(b, "%llu", (unsigned long long)json_object_get_uint64(o));
        else
            buf_addf(b, "%lld", (long long)n);
    } else if (text == NULL) {
        json_write_double(b, json_object_get_double(o));
    } else {
        size_t len = big_len(o);
        buf_add(b, text, len != 0 ? len : strlen(text));
    }
}

static void write_value(struct buf *b, struct json_object *o);

static void write_object(struct buf *b, struct json_object *o)
{
    bool first = true;
    buf_addc(b, '{');
    json_object_object_foreach(o, key, child)
    {
        if (!first)
            buf_addc(b, ',');
        first = false;
        json_write_string(b, key, strlen(key));
        buf_addc(b, ':');
        write_value(b, child);
    }
    buf_addc(b, '}');
}

static void write_array(struct buf *b, struct json_object *o)
{
    size_t len = json_object_array_length(o);
    buf_addc(b, '[');
    for (size_t i = 0; i < len; i++) {
        if (i > 0)
            buf_addc(b, ',');
        write_value(b, json_object_array_get_idx(o, i));
    }
    buf_addc(b, ']');
}

static void write_value(struct buf *b, struct json_object *o)
{
    switch (json_object_get_type(o)) {
    case json_type_null:
        buf_adds(b, "null");
        break;
    case json_type_boolean:
        buf_adds(b, json_object_get_boolean(o) ? "true" : "false");
        break;
    case json_type_int:
    case json_type_double:
        write_number(b, o);
        break;
    case json_type_string:
        json_write_string(b, json_object_get_string(o), (size_t)json_object_get_string_len(o));
        break;
    case json_type_array:
        write_array(b, o);
        break;
    case json_type_object:
        write_object(b, o);
        break;
    }
}

void json_write(struct buf *b, const struct json *v)
{
    write_value(b, tree(v));
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
