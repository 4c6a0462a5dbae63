/*
 * Routes by a walk over the table: a table of some dozen rows needs nothing cleverer. Whoever
 * adds a row adds no code here.
 */
#include "http/router.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* A parameter that is looked for while a path is compared. */
struct wanted {
    unsigned index; /* this many parameters come before it */
    const char *at; /* NULL until it is found */
    size_t len;
};

static bool is_param(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '-' || c == '.';
}

/* The length of the segment at `path`, 0 if it is none that a parameter takes. "." and ".." are
 * none: a proxy before us may read them as steps. */
static size_t param_length(const char *path)
{
    size_t n = 0;
    while (n <= ROUTE_PARAM_BYTES && is_param(path[n]))
        n++;
    if (n > ROUTE_PARAM_BYTES || (path[n] != '/' && path[n] != '\0'))
        return 0;
    bool step = n <= 2 && strspn(path, ".") == n;
    return step ? 0 : n;
}

/* The same, or the same with one slash behind it in the request. */
static bool path_matches(const char *row, const char *path, struct wanted *wanted)
{
    const char *first = row;
    while (*row != '\0') {
        const char *end = *row == '{' ? strchr(row, '}') : NULL;
        if (end == NULL) {
            if (*row++ != *path++)
                return false;
            continue;
        }
        size_t n = param_length(path);
        if (n == 0)
            return false;
        if (wanted != NULL && wanted->at == NULL && wanted->index-- == 0) {
            wanted->at = path;
            wanted->len = n;
        }
        path += n;
        row = end + 1;
    }
    return *path == '\0' || (row > first + 1 && path[0] == '/' && path[1] == '\0');
}

bool route_param(const char *row_path, const char *path, unsigned index, char *out,
                 size_t out_bytes)
{
    struct wanted w = {.index = index};
    bool found = path_matches(row_path, path, &w) && w.at != NULL && w.len < out_bytes;
    if (found)
        memcpy(out, w.at, w.len);
    if (out_bytes > 0)
        out[found ? w.len : 0] = '\0';
    return found;
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

/* Whether a row before this one, for the same path, has its method already. */
static bool method_named(const struct http_route *table, size_t row, const char *path)
{
    for (size_t i = 0; i < row; i++) {
        if (strcmp(table[i].method, table[row].method) == 0 &&
            path_matches(table[i].path, path, NULL))
            return true;
    }
    return false;
}

static void list_methods(const struct http_route *table, size_t n, const char *path, char *allow,
                         size_t allow_bytes)
{
    for (size_t i = 0; i < n; i++) {
        if (!path_matches(table[i].path, path, NULL) || strcmp(table[i].method, "OPTIONS") == 0 ||
            method_named(table, i, path))
            continue;
        add_method(allow, allow_bytes, table[i].method);
        if (strcmp(table[i].method, "GET") == 0)
            add_method(allow, allow_bytes, "HEAD");
    }
    add_method(allow, allow_bytes, "OPTIONS");
}

int route_find(const struct http_route *table, size_t n, const char *method, const char *path,
               char *allow, size_t allow_bytes)
{
    bool known = false;
    if (allow_bytes > 0)
        allow[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        if (!path_matches(table[i].path, path, NULL))
            continue;
        if (method_matches(table[i].method, method))
            return table[i].id;
        known = true;
    }
    if (!known)
        return ROUTE_NO_PATH;
    if (allow_bytes > 0)
        list_methods(table, n, path, allow, allow_bytes);
    return ROUTE_NO_METHOD;
}
