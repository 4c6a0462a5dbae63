/*
 * Finds the row of a route table for a method and a path. Pure; any thread.
 */
#ifndef MOONGATE_HTTP_ROUTER_H
#define MOONGATE_HTTP_ROUTER_H

#include <stdbool.h>
#include <stddef.h>

struct http_route {
    const char *method; /* "GET"; a GET row also serves HEAD */
    /* "/keys/{id}/rotate": exact, but that "{id}" is one segment of 1 to ROUTE_PARAM_BYTES letters,
     * digits, '_', '-' and '.' (never "." or ".."), and that one trailing slash more in the request
     * is forgiven. The first row that fits is taken: exact ones stand before those with parameters.
     */
    const char *path;
    int id; /* the application's own number, > 0 */
};

enum { ROUTE_NO_PATH = 0, ROUTE_NO_METHOD = -1 };
enum { ROUTE_PARAM_BYTES = 64 };

/* The row's id, or ROUTE_NO_PATH, or ROUTE_NO_METHOD with *allow filled ("GET, HEAD, OPTIONS"),
 * which is what the Allow header wants. OPTIONS on a known path is ROUTE_NO_METHOD as well. */
int route_find(const struct http_route *table, size_t n, const char *method, const char *path,
               char *allow, size_t allow_bytes);

/* The text of the index-th parameter, from 0, of a path that fits the row's. False, and "": it does
 * not fit, has no such parameter, or `out` has no room for it. */
bool route_param(const char *row_path, const char *path, unsigned index, char *out,
                 size_t out_bytes);

#endif
