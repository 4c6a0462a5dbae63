/*
 * libcurl's multi interface on the event loop: nothing beyond this face knows libcurl.
 *
 * One struct transfers a process; one struct transfer a request. A transfer ends once: by on_end,
 * or by transfer_close before that. No callback comes from inside transfer_open; transfer_close
 * may be called in any callback. Of the private rooms of backend/ and their tests.
 */
#ifndef MOONGATE_BACKEND_TRANSFER_H
#define MOONGATE_BACKEND_TRANSFER_H

#include "backend/upstream.h"

#include <stdbool.h>
#include <stddef.h>

struct event_base;
struct transfer;

/* Why a transfer ended. */
enum transfer_end {
    TRANSFER_COMPLETE, /* the response came whole, whatever its status */
    TRANSFER_REFUSED,  /* no connection: refused, unreachable, proxy */
    TRANSFER_NO_NAME,  /* the host's name was not found */
    TRANSFER_TLS,      /* handshake or certificate */
    TRANSFER_RESET,    /* closed or reset; before the first byte or in the middle */
    TRANSFER_GARBAGE,  /* no HTTP, or broken framing */
    TRANSFER_LIMIT,    /* header fields past head_bytes, or what on_body refused */
    TRANSFER_CONNECT_TIMEOUT,
    TRANSFER_FIRST_BYTE_TIMEOUT,
    TRANSFER_IDLE_TIMEOUT,
    TRANSFER_TOTAL_TIMEOUT
};

struct transfer_events {
    /* The final response's head is read. */
    void (*on_head)(void *arg, int status, const char *content_type, int retry_after_ms);
    int (*on_body)(void *arg, const char *bytes, size_t n); /* not 0 ends it: TRANSFER_LIMIT */
    void (*on_end)(void *arg, enum transfer_end end, const char *detail);
};

int transfers_open(struct event_base *base, struct transfers **out, struct error *e);
void transfers_close(struct transfers *t); /* accepts NULL; all transfers are closed before */

/* body NULL: GET. `body` is taken over (mem_alloc'ed) and freed once it is sent or on close.
 * `headers` are "Name: value" lines beside those of the options. stream: first_byte_ms and
 * idle_ms count; of a status of 300 and more they count in any case. */
int transfer_open(struct transfers *t, const struct upstream_options *o, const char *path,
                  char *body, size_t len, const char *const *headers, size_t n_headers, bool stream,
                  const struct transfer_events *events, void *arg, struct transfer **out,
                  struct error *e);
void transfer_pause(struct transfer *x, bool paused);
/* Ends it now: a connection with an unfinished response is closed, so that the server sees it. */
void transfer_close(struct transfer *x); /* accepts NULL */
/* Nobody listens any more, but the response is about to end: its connection is kept if it does
 * so soon, else closed. The transfer is no longer the caller's. */
void transfer_let_go(struct transfer *x);

#endif
