/*
 * A source of the router: a backend, its health, and what the router counts of it. The event
 * loop's thread. Private to the router.
 */
#ifndef MOONGATE_BACKEND_SOURCE_H
#define MOONGATE_BACKEND_SOURCE_H

#include "backend/backend.h"
#include "backend/health.h"
#include "backend/upstream.h"

#include <stdbool.h>
#include <stdint.h>

struct source {
    struct source *next;
    struct backend *backend;          /* owned */
    struct upstream_options *options; /* what an upstream was opened with; NULL of others */
    struct health health;
    uint64_t hash; /* of its name */
    uint64_t runs, failed;
    int running;           /* that the router gave it */
    int refs;              /* calls that name it; 0: may be closed */
    int64_t full_until_ms; /* it said that its own queue is full */
    int64_t service_us;    /* a run's length on average; 0: not known yet */
    bool local, retired;
};

struct source *source_new(struct backend *b, const struct upstream_options *o); /* o may be NULL */
void source_free(struct source *s);                     /* closes the backend; accepts NULL */
void source_note_service(struct source *s, int64_t us); /* a run took so long */

/* But for on_probe. */
bool upstream_options_equal(const struct upstream_options *a, const struct upstream_options *b);

#endif
