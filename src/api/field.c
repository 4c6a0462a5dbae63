/*
 * The checks that every optional member of a request shares. Owns nothing; any thread.
 */
#include "api/field.h"

#include <inttypes.h>
#include <string.h>

const struct json *field_get(const struct json *object, const char *key)
{
    bool present = false;
    const struct json *v = json_get(object, key, &present);

    return json_kind(v) == JSON_NULL ? NULL : v;
}

const char *field_kind_name(enum json_kind kind)
{
    static const char *const names[] = {
        [JSON_NULL] = "null",        [JSON_BOOL] = "a boolean",  [JSON_INT] = "an integer",
        [JSON_DOUBLE] = "a number",  [JSON_STRING] = "a string", [JSON_ARRAY] = "an array",
        [JSON_OBJECT] = "an object",
    };
    return names[kind];
}

int field_shown(const char *s, size_t len)
{
    enum { MOST = 60 };
    size_t n = len;

    if (n > MOST) {
        n = MOST;
        while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80) {
            n--;
        }
    }
    return (int)n;
}

static const struct json *find(const struct json *object, const char *path)
{
    const char *dot = strrchr(path, '.');

    return field_get(object, dot == NULL ? path : dot + 1);
}

static enum fault_kind wrong_kind(const char *path, const struct json *v, const char *wanted,
                                  struct fault *f)
{
    return fault_set(f, FAULT_BAD_REQUEST, path, "%s must be %s, not %s", path, wanted,
                     field_kind_name(json_kind(v)));
}

enum fault_kind field_of_kind(const struct json *object, const char *path, enum json_kind kind,
                              const struct json **out, struct fault *f)
{
    const struct json *v = find(object, path);

    if (v == NULL) {
        return FAULT_NONE;
    }
    if (json_kind(v) != kind) {
        return wrong_kind(path, v, field_kind_name(kind), f);
    }
    *out = v;
    return FAULT_NONE;
}

enum fault_kind field_bool(const struct json *object, const char *path, bool *out, struct fault *f)
{
    const struct json *v = NULL;
    enum fault_kind kind = field_of_kind(object, path, JSON_BOOL, &v, f);

    if (v != NULL) {
        *out = json_bool(v);
    }
    return kind;
}

enum fault_kind field_string(const struct json *object, const char *path, struct api_text *out,
                             struct fault *f)
{
    const struct json *v = NULL;
    enum fault_kind kind = field_of_kind(object, path, JSON_STRING, &v, f);

    if (v != NULL) {
        out->data = json_string(v, &out->len);
    }
    return kind;
}

enum fault_kind field_int(const struct json *object, const char *path, int64_t min, int64_t max,
                          int64_t *out, struct fault *f)
{
    const struct json *v = find(object, path);
    int64_t n;

    if (v == NULL) {
        return FAULT_NONE;
    }
    if (json_kind(v) != JSON_INT && json_kind(v) != JSON_DOUBLE) {
        return wrong_kind(path, v, "an integer", f);
    }
    if (!json_int64(v, &n)) {
        return fault_set(f, FAULT_BAD_REQUEST, path, "%s must be a whole number of 64 bits", path);
    }
    if (n < min && max == INT64_MAX) {
        return fault_set(f, FAULT_BAD_REQUEST, path,
                         "%s must be at least %" PRId64 ", not %" PRId64, path, min, n);
    }
    if (n < min || n > max) {
        return fault_set(f, FAULT_BAD_REQUEST, path,
                         "%s must be from %" PRId64 " to %" PRId64 ", not %" PRId64, path, min, max,
                         n);
    }
    *out = n;
    return FAULT_NONE;
}

enum fault_kind field_number(const struct json *object, const char *path, double min, double max,
                             double *out, struct fault *f)
{
    const struct json *v = find(object, path);
    double d;

    if (v == NULL) {
        return FAULT_NONE;
    }
    if (json_kind(v) != JSON_INT && json_kind(v) != JSON_DOUBLE) {
        return wrong_kind(path, v, "a number", f);
    }
    d = json_double(v);
    if (d < min || d > max) {
        return fault_set(f, FAULT_BAD_REQUEST, path, "%s must be from %g to %g, not %g", path, min,
                         max, d);
    }
    *out = d;
    return FAULT_NONE;
}
