/*
 * Finds the row of a route table for a method and a path. Pure; any thread.
 */
#ifndef MOONGATE_HTTP_ROUTER_H
#define MOONGATE_HTTP_ROUTER_H

#include <stddef.h>

struct http_route {
    const char *method; /* "GET"; a GET row also serves HEAD */
    const char *path;   /* exact; one trailing slash more in the request is forgiven */
    int id;             /* the application's own number, > 0 */
};

enum { ROUTE_NO_PATH = 0, ROUTE_NO_METHOD = -1 };

/* The row's id, or ROUTE_NO_PATH, or ROUTE_NO_METHOD with *allow filled ("GET, HEAD, OPTIONS"),
 * which is what the Allow header wants. OPTIONS on a known path is ROUTE_NO_METHOD as well. */
int route_find(const struct http_route *table, size_t n, const char *method, const char *path,
               char *allow, size_t allow_bytes);

#endif
