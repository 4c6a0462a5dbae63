/*
 * Query strings, application/x-www-form-urlencoded: "name=value&name=value". Pure; any thread.
 */
#ifndef MOONGATE_HTTP_QUERY_H
#define MOONGATE_HTTP_QUERY_H

#include <stdbool.h>
#include <stddef.h>

/* `name` is never empty. Decodes its value into `out`: "%C3%A9" are bytes, '+' is a space. A name
 * that is not there has the value "". False, and "": a broken escape or a NUL anywhere in the
 * query, or the name stands there twice, or its value is no UTF-8 or does not fit. */
bool query_get(const char *query, const char *name, char *out, size_t out_bytes);
/* Whether the name stands there, with whatever value. */
bool query_has(const char *query, const char *name);

#endif
