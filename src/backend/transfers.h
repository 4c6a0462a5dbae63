/*
 * What transfers.c (libcurl's handles on the loop), transfer.c (one request) and
 * transfer_request.c (what it sends) have in common. For these files alone.
 */
#ifndef MOONGATE_BACKEND_TRANSFERS_H
#define MOONGATE_BACKEND_TRANSFERS_H

#include "backend/transfer.h"

#include <curl/curl.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdint.h>

enum {
    SHELF_TRANSFERS = 512,   /* of one multi handle */
    SHELF_IDLE_MS = 60000,   /* an empty shelf's connections are closed after so long */
    SPARE_HANDLES = 64,      /* easy handles kept for the next requests */
    RECEIVE_BYTES = 8 * 1024 /* one read; what a paused transfer holds at most */
};

/* A multi handle with its connections. libcurl looks through all connections of a multi handle
 * for each request that begins or ends; so there are several, the first with room is taken. */
struct shelf {
    struct transfers *all;
    CURLM *multi; /* NULL while nobody needs it */
    struct event timer;
    int transfers;
    int64_t empty_since_ms;
};

/* An easy handle with the address that it was set to last: to parse an address costs as much as
 * to parse a reply's head. */
struct handle {
    CURL *easy;
    CURLU *address;
    char *url; /* what `address` was parsed from, or NULL */
};

/* What the loop watches of one descriptor; lives as long as `all`, used again with the number. */
struct watch {
    struct event event;
    struct transfers *all;
    struct shelf *shelf; /* NULL: libcurl does not want to hear of it now */
    short what;          /* EV_READ and EV_WRITE as added to the loop; 0: not added */
    bool connection;     /* a socket whose end on_close_socket tells */
};

struct transfers {
    struct event_base *base;
    CURLSH *share;
    struct shelf **shelf;
    size_t n_shelves;
    struct watch **watch; /* by descriptor */
    size_t n_watches;
    struct handle spare[SPARE_HANDLES];
    int n_spare;
    struct event *later, *reap;
    struct transfer *all;          /* linked by prev, next */
    struct transfer *dead, *woken; /* linked by after */
    int64_t now_ms;                /* of the event that is being handled */
    const char *ca_file; /* the system's certificates; NULL: libcurl was not built to know */
    bool h2c_once;       /* this libcurl cannot use an HTTP/2 connection without TLS twice */
    bool inside;         /* a call into libcurl that may call back is under way */
};

enum transfer_phase {
    PHASE_CONNECTING, /* or waiting for a connection */
    PHASE_SENDING,
    PHASE_WAITING, /* for the first byte of the body */
    PHASE_BODY
};

struct transfer {
    struct transfers *all;
    struct shelf *shelf;
    struct handle handle;
    struct transfer *prev, *next, *after;
    const struct transfer_events *events; /* NULL: nobody listens any more */
    void *arg;
    struct event timer;
    int64_t started_ms, since_ms; /* since_ms: of the phase, or of the last sign of life in it */
    int64_t due_ms;               /* when the timer is to fire; INT64_MAX: it is not set */
    int connect_ms, first_byte_ms, idle_ms, total_ms;
    enum transfer_phase phase;
    char *body; /* until it is sent */
    size_t len;
    curl_off_t sent; /* as far as looked at */
    void *lines;     /* the header fields, one block, until they are sent */
    size_t head_bytes, head_left;
    size_t let_go_bytes; /* that came after transfer_let_go */
    int retry_after_ms;
    bool timed;                 /* first_byte_ms and idle_ms count */
    bool pooled;                /* the handle may serve any other request later */
    bool head_told;             /* on_head was called */
    bool paused, held;          /* wanted; libcurl holds bytes back */
    bool waking;                /* on the list `woken` */
    bool closed;                /* by its owner, or let go and over: to be buried */
    bool ended;                 /* on_end is being told */
    bool refused;               /* on_body said no */
    char said[CURL_ERROR_SIZE]; /* by libcurl */
    char where[];               /* "host:port" */
};

/* transfers.c */
struct shelf *shelf_take(struct transfers *t); /* one with room, counted; NULL if there is none */
void shelf_leave(struct shelf *s);
/* With all options that every request has; false if there is no memory. */
bool handle_take(struct transfers *t, struct handle *out);
void handle_give(struct transfers *t, struct handle *h, bool pooled); /* forgets *h */
void transfers_later(struct transfers *t);                    /* wakes on the loop's next turn */
void transfers_socket(struct transfers *t, curl_socket_t fd); /* a new connection's */

/* transfer.c */
int transfer_on_socket(void *x, curl_socket_t fd, curlsocktype what);
int transfer_on_connected(void *x, char *peer, char *us, int peer_port, int our_port);
size_t transfer_on_header(char *line, size_t size, size_t n, void *x);
size_t transfer_on_write(char *bytes, size_t size, size_t n, void *x);
void transfer_ended(struct transfer *x, CURLcode code); /* libcurl is through with it */
void transfer_wake(struct transfer *x);                 /* hands out what was held back */
void transfer_bury(struct transfer *x);

/* transfer_request.c */
/* Hands the request to libcurl, which begins on the loop's next turn. */
bool transfer_begin(struct transfer *x, const struct upstream_options *o, const char *path,
                    const char *const *headers, size_t n_headers);

#endif
