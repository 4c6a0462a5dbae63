/*
 * Sources of replies behind one face. A backend takes a call's request and gives back pieces;
 * `call` does not know whether an engine in this process or (later) an upstream answers.
 *
 * The event loop's thread. A run is known by the call's number. Callbacks come from the loop,
 * never from inside backend_start; after backend_stop some of that number may still come, so a
 * receiver looks its number up and ignores those it no longer knows.
 */
#ifndef MOONGATE_BACKEND_BACKEND_H
#define MOONGATE_BACKEND_BACKEND_H

#include "api/reply.h"
#include "api/request.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct backend;
struct event_base;

struct backend_piece {
    int choice;
    struct api_text reasoning, content; /* whole UTF-8 characters; one may be empty */
    const struct api_logprob *logprobs; /* of content tokens; borrowed for the callback */
    size_t n_logprobs;
};

struct backend_events {
    void (*on_start)(void *arg, uint64_t number, const struct api_usage *usage); /* prompt known */
    void (*on_piece)(void *arg, uint64_t number, const struct backend_piece *piece);
    void (*on_finish)(void *arg, uint64_t number, int choice, enum api_finish finish);
    /* Over: fault is NULL after a proven end. usage is what was used so far, also with a fault. */
    void (*on_end)(void *arg, uint64_t number, const struct api_usage *usage,
                   const struct fault *fault);
};

/* How busy a source is, for readiness and metrics. */
struct backend_load {
    int running, waiting, capacity;
    uint64_t prompt_tokens, cached_tokens, generated_tokens;
};

/* A source of replies; the kinds fill this table. */
struct backend_kind {
    const char *name; /* "local" */
    int (*start)(struct backend *b, uint64_t number, uint64_t owner,
                 const struct api_request *request, const struct api_model *model, bool count_only,
                 struct fault *fault);
    void (*stop)(struct backend *b, uint64_t number);
    void (*load)(const struct backend *b, struct backend_load *out);
    void (*close)(struct backend *b);
};

struct backend {
    const struct backend_kind *kind;
    const char *fingerprint; /* names the model that answers */
    int context_tokens;      /* the most that this source takes; 0: not known */
};

/* Begins a run; copies what it needs of the request. Nonzero: `fault` says why not. */
static inline int backend_start(struct backend *b, uint64_t number, uint64_t owner,
                                const struct api_request *request, const struct api_model *model,
                                bool count_only, struct fault *fault)
{
    return b->kind->start(b, number, owner, request, model, count_only, fault);
}

/* Gives a run up: within one token in the engine. Harmless for a run that is over. */
static inline void backend_stop(struct backend *b, uint64_t number)
{
    b->kind->stop(b, number);
}

struct engine_options;
struct engine_info;
/* The engine in this process. `arg` is given to the events. */
int local_open(struct event_base *base, const struct engine_options *o,
               const struct backend_events *events, void *arg, struct backend **out,
               struct error *e);
const struct engine_info *local_info(const struct backend *b);
void backend_close(struct backend *b); /* accepts NULL */

#endif
