/*
 * What upstream.c (the backend), upstream_run.c (the reading of one reply) and upstream_fault.c
 * (what a failure is called) have in common. For these files alone.
 */
#ifndef MOONGATE_BACKEND_UPSTREAM_RUN_H
#define MOONGATE_BACKEND_UPSTREAM_RUN_H

#include "backend/transfer.h"
#include "backend/upstream.h"
#include "base/buf.h"
#include "base/sse.h"

struct upstream {
    struct backend backend; /* first: a struct backend * is a struct upstream * */
    struct transfers *transfers;
    struct upstream_options options;
    struct backend_events to;
    void *arg;
    char *chat_path, *models_path;
    struct run **bucket; /* of the table of runs, by number */
    size_t n_buckets, n_runs;
    struct transfer *probe;
};

/* What the body is read as. */
enum run_mode {
    RUN_HEAD,    /* nothing is known yet */
    RUN_LOOK,    /* a stream, if its first byte says so */
    RUN_STREAM,  /* events */
    RUN_WHOLE,   /* one JSON object, as asked for */
    RUN_OBJECT,  /* one JSON object where a stream was asked for: at best an error */
    RUN_REFUSAL, /* of a status that is none of success */
};

struct run {
    struct upstream *upstream;
    struct run *next; /* in its bucket */
    uint64_t number;
    struct transfer *transfer;
    enum run_mode mode;
    int status, retry_after_ms;
    int choices;                           /* asked for */
    uint64_t finished[RELAY_CHOICES / 64]; /* those that have a finish reason */
    bool stream;                           /* asked for */
    bool begun;                            /* on_start was called */
    bool busy; /* a function of the run is further up the stack: it frees */
    bool over; /* ended or stopped: out of the table */
    struct api_usage usage;
    struct sse sse;  /* RUN_STREAM */
    struct buf body; /* the other modes */
};

/* upstream.c */
void run_forget(struct run *x); /* takes it out of the table; it is over */

/* upstream_run.c */
extern const struct transfer_events run_events;
struct run *run_new(struct upstream *u, const struct backend_run *call);
void run_free(struct run *x);
void run_stop(struct run *x);

/* upstream_fault.c. Each fills fault, blame, retry_after_ms and detail. */
/* How the transfer ended without a reply; `begun`: bytes of the reply had come. */
void fault_of_transfer(struct backend_end *end, enum transfer_end how, bool begun,
                       const char *detail);
/* A status that is none of success, or (status 0, or of success) an error in a reply's place. */
void fault_of_refusal(struct backend_end *end, int status, int retry_after_ms, const char *body,
                      size_t len);
/* A reply that is none, or that stops short; `text` is for the client, `why` for the log. */
void fault_of_reply(struct backend_end *end, const char *text, const char *why, const char *body,
                    size_t len);

#endif
