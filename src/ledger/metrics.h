/*
 * Counters of the process, as Prometheus' text format. The names of the OpenTelemetry semantic
 * conventions for generative AI where they have one (gen_ai.server.request.duration and the
 * like, written with underscores and unit), moongate_... elsewhere. The event loop's thread.
 *
 * No label comes from a client: models, backends and routes are names of the configuration, and
 * the number of rows is bounded; names past the bound are counted under "other".
 */
#ifndef MOONGATE_LEDGER_METRICS_H
#define MOONGATE_LEDGER_METRICS_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct metrics;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);

/* One finished exchange. `route` is a fixed word of the route table. */
void metrics_request(struct metrics *m, const char *route, int status, int64_t duration_us);

/* One chat call that was given to a backend, when its end is known. Strings are copied on first
 * sight. */
struct metrics_chat {
    const char *model;   /* as the configuration names it */
    const char *backend; /* NULL: none was reached */
    const char *end;     /* "ok", "client_gone", or the fault's code: gen_ai's error.type */
    bool stream;
    int64_t duration_us;    /* from the head to the last byte */
    int64_t queue_us;       /* waited for a backend */
    int64_t first_token_us; /* from the head to the first text; -1: there was none */
    int64_t prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens;
    const char *source; /* of the counts: "engine", "upstream", "counted", "estimated", "none" */
};
void metrics_chat(struct metrics *m, const struct metrics_chat *c);
void metrics_charged(struct metrics *m, int64_t micros); /* a settlement, in micro-USD */

/* A try at a backend that failed and what came of it. */
void metrics_try_failed(struct metrics *m, const char *backend);
/* The upstream's own count beside ours; `apart`: more than 5 % (and 5 tokens) lie between. */
void metrics_usage_compared(struct metrics *m, const char *backend, const char *model, bool apart);

/* Values of the moment, read by whoever writes the page. */
struct metrics_source {
    const char *name, *kind;
    const char *health; /* "closed", "open", "trial", "resting" */
    int running, waiting, capacity;
};
struct metrics_now {
    size_t connections, calls_running, calls_waiting;
    int engine_running, engine_waiting, engine_capacity;
    const struct metrics_source *sources;
    size_t n_sources;
    bool store_up;                          /* the store answers */
    size_t store_kept;                      /* settlements that wait for it to come back */
    bool limits_shared, limits_reached;     /* there is a Redis for limits; it answers */
    uint64_t limits_away, limits_unsettled; /* calls decided without it; settles it did not get */
};
void metrics_write(const struct metrics *m, const struct metrics_now *now, struct buf *b);

#endif
