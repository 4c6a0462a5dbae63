/*
 * Routes by a walk over the table: a table of some dozen rows needs nothing cleverer. Whoever
 * adds a row adds no code here.
 */
#include "http/router.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The same, or the same with one slash behind it in the request. */
static bool path_matches(const char *row, const char *path)
{
    size_t n = strlen(row);
    return strncmp(row, path, n) == 0 &&
           (path[n] == '\0' || (n > 1 && path[n] == '/' && path[n + 1] == '\0'));
}

static bool method_matches(const char *row, const char *method)
{
    return strcmp(row, method) == 0 || (strcmp(row, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

static void add_method(char *allow, size_t allow_bytes, const char *method)
{
    size_t len = strlen(allow);
    snprintf(allow + len, allow_bytes - len, "%s%s", len > 0 ? ", " : "", method);
}

int route_find(const struct http_route *table, size_t n, const char *method, const char *path,
               char *allow, size_t allow_bytes)
{
    bool known = false;
    if (allow_bytes > 0)
        allow[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        if (!path_matches(table[i].path, path))
            continue;
        if (method_matches(table[i].method, method))
            return table[i].id;
        known = true;
    }
    if (!known)
        return ROUTE_NO_PATH;
    for (size_t i = 0; i < n && allow_bytes > 0; i++) {
        if (!path_matches(table[i].path, path) || strcmp(table[i].method, "OPTIONS") == 0)
            continue;
        add_method(allow, allow_bytes, table[i].method);
        if (strcmp(table[i].method, "GET") == 0)
            add_method(allow, allow_bytes, "HEAD");
    }
    if (allow_bytes > 0)
        add_method(allow, allow_bytes, "OPTIONS");
    return ROUTE_NO_METHOD;
}
