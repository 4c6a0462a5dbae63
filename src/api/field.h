/*
 * Reads one optional member of a request's object, checked for type and range. An absent member
 * and one that is null are the same: *out keeps its value. Pure; any thread. Of this room alone.
 *
 * `path` is the name that a fault gives ("stream_options.include_usage"); the member's own key
 * is what stands after its last dot.
 */
#ifndef MOONGATE_API_FIELD_H
#define MOONGATE_API_FIELD_H

#include "api/fault.h"
#include "api/request.h"
#include "base/json.h"

/* The member, or NULL if it is absent or null. */
const struct json *field_get(const struct json *object, const char *key);
/* "a string", "an array", ... for texts. */
const char *field_kind_name(enum json_kind kind);
/* How many bytes of a client's text may be shown in a message: whole characters, a few dozen. */
int field_shown(const char *s, size_t len);

enum fault_kind field_of_kind(const struct json *object, const char *path, enum json_kind kind,
                              const struct json **out, struct fault *f);
enum fault_kind field_bool(const struct json *object, const char *path, bool *out, struct fault *f);
enum fault_kind field_string(const struct json *object, const char *path, struct api_text *out,
                             struct fault *f);
enum fault_kind field_int(const struct json *object, const char *path, int64_t min, int64_t max,
                          int64_t *out, struct fault *f);
enum fault_kind field_number(const struct json *object, const char *path, double min, double max,
                             double *out, struct fault *f);

#endif
