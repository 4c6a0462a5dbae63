/*
 * Sources of replies behind one face. A backend takes a call's request and gives back pieces;
 * neither the router nor `call` knows whether an engine in this process or an upstream answers.
 *
 * The event loop's thread. A run is known by the call's number. Callbacks come from the loop,
 * never from inside backend_start; after backend_stop some of that number may still come (the
 * engine's), so a receiver looks its number up and ignores those it no longer knows.
 */
#ifndef MOONGATE_BACKEND_BACKEND_H
#define MOONGATE_BACKEND_BACKEND_H

#include "api/relay.h"
#include "api/reply.h"
#include "api/request.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct backend;
struct event_base;

/* What a run is about. Everything is borrowed until the run's on_start, on_end or backend_stop,
 * whichever is first: a run that has begun needs none of it. */
struct backend_run {
    uint64_t number, owner; /* the call's, the key's */
    const struct api_request *request;
    const struct json *tree; /* the request as it came: an upstream is sent all of it */
    const struct api_model *model;
    const char *name; /* of the model, as this backend knows it */
    bool count_only;
    const char *trace_id;    /* a UUID */
    const char *traceparent; /* W3C trace context for this hop, or NULL */
    /* A header of the client's request, for those few that may be passed on; NULL if absent. */
    const char *(*client_header)(void *client, const char *name);
    void *client;
};

struct backend_piece {
    int choice;
    struct api_text reasoning, content; /* whole UTF-8 characters; one may be empty */
    const struct api_logprob *logprobs; /* of content tokens; borrowed for the callback */
    size_t n_logprobs;
};

/* Whose fault the end of a run was, which decides about a second try and about health. */
enum backend_blame {
    BLAME_NONE,  /* a proven end, or the run was stopped */
    BLAME_CALL,  /* the request itself: nobody else is asked, the source is healthy */
    BLAME_ROUTE, /* the way there: its address, key or model name, an operator's matter. Another is
                    asked, and nothing is said of health: one model's wrong name must not take the
                    source from the others */
    BLAME_BUSY,  /* the source is full (429, 503 with Retry-After): another may be asked */
    BLAME_SOURCE /* the source failed: another may be asked; counts against its health */
};

struct backend_end {
    struct api_usage usage; /* so far, also with a fault */
    struct fault fault;     /* kind FAULT_NONE after a proven end */
    enum backend_blame blame;
    int retry_after_ms; /* that the source asked for; 0: none */
    char detail[200];   /* for the log, with names of hosts and files: never for a client */
};

struct backend_events {
    /* The reply begins: from here on it cannot be given by another source. The local engine says
     * so when the prompt is accepted (usage has its tokens), an upstream with its first content. */
    void (*on_start)(void *arg, uint64_t number, const struct api_usage *usage);
    void (*on_piece)(void *arg, uint64_t number, const struct backend_piece *piece); /* local */
    void (*on_chunk)(void *arg, uint64_t number, const struct relayed *chunk); /* an upstream's */
    void (*on_whole)(void *arg, uint64_t number, const struct relayed *reply); /* its whole reply */
    void (*on_finish)(void *arg, uint64_t number, int choice, enum api_finish finish); /* local */
    void (*on_end)(void *arg, uint64_t number, const struct backend_end *end); /* nothing follows */
};

/* How busy a source is, for readiness and metrics. */
struct backend_load {
    int running, waiting, capacity;                          /* capacity 0: not limited */
    uint64_t prompt_tokens, cached_tokens, generated_tokens; /* of the engine, since its start */
};

/* A source of replies; the kinds fill this table. */
struct backend_kind {
    const char *name; /* "local", "openai" */
    bool ends_late;   /* a run that was stopped still gets its on_end, with its usage */
    int (*start)(struct backend *b, const struct backend_run *run, struct backend_end *end);
    void (*stop)(struct backend *b, uint64_t number);
    void (*pause)(struct backend *b, uint64_t number, bool paused); /* NULL: cannot wait */
    /* Asks whether the source is there (GET {prefix}/models), for on_probe; NULL: always is. */
    void (*probe)(struct backend *b);
    void (*load)(const struct backend *b, struct backend_load *out);
    void (*close)(struct backend *b);
};

struct backend {
    const struct backend_kind *kind;
    const char *name;        /* in the configuration */
    const char *fingerprint; /* names what answers */
    int context_tokens;      /* the most that this source takes; 0: not known */
};

/* Begins a run. Nonzero: `end` says why not, and nothing of that number will come. */
static inline int backend_start(struct backend *b, const struct backend_run *run,
                                struct backend_end *end)
{
    return b->kind->start(b, run, end);
}

/* Gives a run up: within one token in the engine, at once upstream. Harmless for a run that is
 * over. */
static inline void backend_stop(struct backend *b, uint64_t number)
{
    b->kind->stop(b, number);
}

/* Back-pressure: a paused run gives no more pieces once what is at hand is given, and its time
 * without bytes does not count against the source. */
static inline void backend_pause(struct backend *b, uint64_t number, bool paused)
{
    if (b->kind->pause)
        b->kind->pause(b, number, paused);
}

struct engine_options;
struct engine_info;
/* The engine in this process. `arg` is given to the events. */
int local_open(struct event_base *base, const char *name, const struct engine_options *o,
               const struct backend_events *events, void *arg, struct backend **out,
               struct error *e);
/* Runs at once before the router takes it for full; 0: until its own queue is. */
void local_set_concurrency(struct backend *b, int concurrency);
const struct engine_info *local_info(const struct backend *b);
void backend_close(struct backend *b); /* accepts NULL; its runs are forgotten without events */

#endif
