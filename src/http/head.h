/*
 * The head of a request: request line and header fields, from bytes. Private to the http room.
 * Pure: no socket, no clock, no allocation.
 */
#ifndef MOONGATE_HTTP_HEAD_H
#define MOONGATE_HTTP_HEAD_H

#include "base/buf.h"
#include "http/http.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct head {
    const char *method, *path, *query; /* never NULL; "" if the request line is unreadable */
    const char *fields;                /* name NUL value NUL name NUL ... */
    size_t n_fields;
    int minor;              /* of HTTP/1.minor */
    bool keep_alive;        /* by version and Connection */
    bool expect_continue;   /* the client waits for "100 Continue" */
    bool chunked;           /* the body's framing; */
    int64_t content_length; /* -1 if there is none */
};

/* Looks for the empty line that ends a head. *at is 0 for a new head and remembers how far the
 * search came. Returns the head's length with the empty line, 0 if it goes on, or -1 if a line
 * ends with LF alone. */
long head_find_end(const char *bytes, size_t len, size_t *at);

/* Reads a head of exactly `len` bytes, its empty line included. The text is rewritten in place
 * and the result points into it. False: *fault and *what tell why; what was read of the request
 * line stays in *h. */
bool head_parse(char *bytes, size_t len, size_t max_fields, struct head *h, enum http_fault *fault,
                const char **what);

/* The value of the first field of that name (without case), or NULL. */
const char *head_field(const struct head *h, const char *name);
/* The values of all fields of that name, ", " between them, or NULL; several are put together in
 * `joined`, which the caller has initialised. */
const char *head_fields(const struct head *h, const char *name, struct buf *joined);

#endif
