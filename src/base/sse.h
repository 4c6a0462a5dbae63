/*
 * Server-sent events from bytes that come split anywhere (WHATWG HTML, section 9.2.6).
 *
 * Lines end in LF, CRLF or CR; comments, `id` and `retry` are skipped; the lines of one `data`
 * are joined by LF; a byte order mark before the first line is skipped. An event without data is
 * none. One departure: an event that the end of the bytes cuts before its empty line is told by
 * sse_end, since servers forget that line after their last event.
 *
 * An event that lies whole in the bytes fed is told in place; only what is cut is kept, up to a
 * ceiling. Pure; one owner at a time.
 */
#ifndef MOONGATE_BASE_SSE_H
#define MOONGATE_BASE_SSE_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

enum { SSE_NAME_BYTES = 32 };

struct sse {
    struct buf line;           /* a line that is not complete yet */
    struct buf data;           /* of an event that is not complete yet */
    char name[SSE_NAME_BYTES]; /* its `event` field, cut to fit; "" if there is none */
    bool has_data;
    bool after_cr; /* an LF that comes now belongs to the line before */
    bool begun;    /* the byte order mark has had its chance */
    size_t max_bytes;
};

/* Told of each event; `data` is borrowed for the call, not NUL-terminated. Not 0 stops the
 * reading: sse_feed returns it. */
typedef int sse_fn(void *arg, const char *name, const char *data, size_t len);

void sse_init(struct sse *s, size_t max_bytes); /* of one event */
void sse_done(struct sse *s);
/* 0, ERR_LIMIT for an event past its ceiling, or what fn returned. */
int sse_feed(struct sse *s, const char *bytes, size_t n, sse_fn *fn, void *arg);
/* The bytes are over. The same results. */
int sse_end(struct sse *s, sse_fn *fn, void *arg);
size_t sse_held(const struct sse *s); /* bytes kept of what is not complete */

#endif
