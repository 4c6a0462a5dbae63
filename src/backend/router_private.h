/*
 * What the files of the router share. The event loop's thread.
 *
 *   router.c   the face; the table of calls; what backends tell
 *   tries.c    one call to a source: who could take it, the start, what a failure means
 *   turns.c    chores of the loop: second tries, the queue, probes, notes, closing and freeing
 *
 * Neither starting a call nor telling of its end happens inside a backend's callback: what is to
 * be done then is left for the next turn (turns_kick).
 */
#ifndef MOONGATE_BACKEND_ROUTER_PRIVATE_H
#define MOONGATE_BACKEND_ROUTER_PRIVATE_H

#include "backend/choice.h"
#include "backend/router.h"
#include "backend/source.h"
#include "backend/transfer.h"
#include "backend/waiting.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event;

enum routed_state {
    ROUTED_BETWEEN, /* not with a source: before the first try, or on the list for the next */
    ROUTED_WAITING, /* in the queue */
    ROUTED_RUNNING,
    ROUTED_STOPPED, /* given up; the source still owes its end */
    ROUTED_OVER     /* its owner knows the end */
};

/* A call in the router's hands. */
struct routed {
    struct router *router;
    struct backend_run run; /* what is borrowed is cleared when the reply begins */
    const struct route *routes;
    size_t n_routes, bytes;
    struct routed *next; /* in its bucket */
    struct routed *link; /* on the list of second tries, or of the dead */
    struct waiting_item item;
    enum routed_state state;
    bool committed; /* the reply has begun */
    bool trial;     /* this try is a source's trial */
    bool again;     /* the last failure is one that a new connection may mend */
    uint64_t tried; /* a bit a route; those past the 63rd share the last one */
    uint64_t key;   /* of the conversation */
    size_t route;   /* of this try */
    int tries;
    struct source *source;    /* asked last; held */
    char *model;              /* its name there, once the reply has begun */
    struct backend_end *last; /* why the tries before failed: the most telling */
    struct event *patience;   /* while it waits */
    int64_t begun_us, waits_since_us, queued_us;
};

struct router_told { /* a note that is yet to be told */
    struct router_told *next;
    uint64_t number;
    enum router_note note;
    char *backend, *text;
};

struct router {
    struct event_base *base;
    struct router_options o;
    struct router_events events;
    void *arg;
    struct transfers *transfers; /* opened with the first upstream */
    struct source *sources;      /* in the order of the configuration, the retired among them */
    bool has_local;

    struct routed **calls; /* by number, in buckets */
    size_t n_buckets, n_calls;
    struct waiting waiting;
    struct routed *retries, **retries_end; /* for the next turn */
    struct routed *dead;                   /* freed on the next turn */
    struct router_told *notes, **notes_end;

    struct candidate *candidates; /* scratch of tries.c, with what each stands for */
    struct tries_option *options;
    size_t candidates_cap;

    struct event *turn, *wake, *probe;
};

/* --- tries.c --- */

enum tries_outcome {
    TRIES_RUNS,   /* a source works on it */
    TRIES_WAITS,  /* all that could take it are full: it is to wait, or waits on */
    TRIES_REFUSED /* `end` says why */
};

/* Gives the call to the best source there is; asks the next where one refuses at once. */
enum tries_outcome tries_attempt(struct router *r, struct routed *c, struct backend_end *end);
/* Whether a source has room for the call; whether none of them can be hoped for. */
bool tries_has_room(struct router *r, const struct routed *c);
bool tries_is_lost(struct router *r, const struct routed *c);
/* A call gave its source back. `end` NULL: it was stopped. */
void tries_release(struct router *r, struct routed *c, const struct backend_end *end);
/* The reply begins. */
void tries_commit(struct router *r, struct routed *c);
/* Another source, or none, is to have the last word: this end is remembered. */
bool tries_again(struct routed *c, const struct backend_end *end);
/* The owner frees the request now: nothing of it is kept but the model's name. */
void tries_drop_request(struct routed *c);
/* Why a call is refused that nobody takes, found the queue full, or waited too long. */
void tries_refuse(struct router *r, const struct routed *c, struct backend_end *end);
void tries_queue_full(struct router *r, const struct routed *c, struct backend_end *end);
void tries_too_late(struct router *r, const struct routed *c, struct backend_end *end);

/* --- turns.c --- */

int turns_open(struct router *r, struct error *e);
void turns_close(struct router *r);
void turns_set_probe(struct router *r);
void turns_kick(struct router *r); /* the chores are done on the loop's next turn */
void turns_note(struct router *r, uint64_t number, enum router_note note, const char *backend,
                const char *text); /* told outside of router_start, in order */
void turns_tell_notes(struct router *r);
int turns_enqueue(struct router *r, struct routed *c); /* ERR_BUSY: the queue is full */
void turns_dequeue(struct router *r, struct routed *c);
void turns_bury(struct router *r, struct routed *c); /* it is freed on the next turn */
bool turns_has_next(struct router *r);               /* somebody who waits could go now */
void turns_retry(struct router *r, struct routed *c);

/* --- router.c --- */

/* Tells the owner of the end and takes the call off the table. */
void router_finish(struct router *r, struct routed *c, const struct backend_end *end);
void router_free_call(struct routed *c);
/* Takes a backend over as a source: of tests, and where an upstream was opened. */
struct source *router_add_source(struct router *r, struct backend *b,
                                 const struct upstream_options *o);
/* A probe's answer; arg is the router. */
void router_probed(void *arg, const char *name, bool good, const char *detail);

#endif
