/*
 * Which source answers a call: choice, waiting, health, second tries. Stands between `call` and
 * the backends and speaks backend_events to both.
 *
 * The event loop's thread. A call is known by its number. No callback comes from inside
 * router_start. A call ends once: by on_end or by router_stop.
 *
 *   candidates   the model's routes whose source can take such a request
 *   priority     the lowest number that has a healthy source with room; beyond it the next ones
 *   choice       weighted rendezvous hashing of the conversation's beginning (the same
 *                conversation goes to the same source) among those below the load bound; without
 *                affinity a weighted draw. Thaler and Ravishankar 1998 (rendezvous hashing);
 *                Mirrokni, Thorup, Zadimoghaddam 2018 (bounded loads)
 *   waiting      if all healthy ones are full: a queue with a bound, by turns among owners
 *   health       consecutive failures open a source's circuit for a time that doubles, with
 *                jitter; then one call is the trial. A source that says Retry-After rests so long
 *   second try   only before on_start, elsewhere first, at most `tries` in all
 */
#ifndef MOONGATE_BACKEND_ROUTER_H
#define MOONGATE_BACKEND_ROUTER_H

#include "backend/backend.h"
#include "backend/upstream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct router;

/* One row of a model's `backends`. */
struct route {
    char *backend;
    int weight;   /* 1 and up */
    int priority; /* lower goes first */
    char *model;  /* the name that the source knows; NULL or empty: ours */
};

struct router_options {
    int tries;                /* of one call, the first included */
    int queue_calls;          /* that may wait, all keys together */
    size_t queue_bytes;       /* of their requests */
    int queue_ms;             /* a call waits no longer */
    int failures;             /* in a row that open a circuit */
    int open_ms, open_max_ms; /* the first time open, the longest */
    int rest_max_ms;          /* the longest Retry-After that is respected */
    bool affinity;
    int load_percent; /* a source may have so many percent of its share before a conversation goes
                         elsewhere: 125 */
    int probe_ms;     /* GET {prefix}/models of sources that are not healthy; 0: never */
};

/* A call and where it may go. All borrowed as struct backend_run says. */
struct router_call {
    struct backend_run run; /* `name` is filled by the router */
    const struct route *routes;
    size_t n_routes;
    size_t bytes; /* of the request's body, for queue_bytes */
};

/* Where a call ended up, for the log, the metrics and the ledger. Valid from on_start, and in
 * on_end. */
struct router_place {
    const char *backend; /* NULL: nobody was asked */
    const char *kind;
    const char *fingerprint;
    const char *model; /* as the source knows it; "" if nobody was asked */
    int tries;
    int64_t queued_us;
};

enum router_note {
    ROUTER_TRY_FAILED,   /* a call's try failed; text says why */
    ROUTER_CIRCUIT_OPEN, /* number is 0 for these */
    ROUTER_CIRCUIT_TRIAL,
    ROUTER_CIRCUIT_CLOSED,
    ROUTER_RESTS /* the source asked for a pause */
};

struct router_events {
    struct backend_events run;
    /* For the log and the metrics. */
    void (*on_note)(void *arg, uint64_t number, enum router_note note, const char *backend,
                    const char *text);
};

enum router_health { ROUTER_CLOSED, ROUTER_OPEN, ROUTER_TRIAL, ROUTER_RESTING };

struct router_row { /* a source now */
    const char *name, *kind;
    enum router_health health;
    int failures;        /* in a row */
    int64_t open_for_ms; /* until a trial, or the end of a rest */
    struct backend_load load;
    uint64_t runs, failed; /* since it was configured */
    bool retired;          /* no longer configured; its last runs go on */
};

int router_open(struct event_base *base, const struct router_options *o,
                const struct router_events *events, void *arg, struct router **out,
                struct error *e);
void router_close(struct router *r); /* accepts NULL; forgets what runs, without events */

/* The events that a local backend must be opened with (arg: the router). */
extern const struct backend_events router_backend_events;

/* The sources, at the start and at each reload. `local` (or NULL) is taken over the first time,
 * even if the rest fails, and is the same later. An upstream whose options are equal goes on with
 * its health and its connections; one that is gone or differs finishes its runs and is closed. All
 * or nothing. */
int router_set_sources(struct router *r, const struct router_options *o, struct backend *local,
                       const struct upstream_options *upstreams, size_t n, struct error *e);

/* Takes a call. Nonzero: `f` says why not (a full queue: 429 with Retry-After; nobody healthy:
 * 503 with Retry-After); no event comes then. */
int router_start(struct router *r, const struct router_call *call, struct fault *f);
/* Harmless for an unknown number. True: one more on_end of it will come, with what the engine had
 * used; no other event does. (An upstream that is cut off tells nothing.) */
bool router_stop(struct router *r, uint64_t number);
void router_pause(struct router *r, uint64_t number, bool paused);
/* ERR_NOT_FOUND if the router does not know the call. */
int router_where(const struct router *r, uint64_t number, struct router_place *out);

size_t router_waiting(const struct router *r);
void router_each(const struct router *r, void (*fn)(void *arg, const struct router_row *row),
                 void *arg);

#endif
