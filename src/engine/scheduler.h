/*
 * Inside the engine: jobs that have become prompts, and the thread that runs them. Included by
 * engine.c, prepare.c, scheduler.c and choice.c alone.
 */
#ifndef MOONGATE_ENGINE_SCHEDULER_H
#define MOONGATE_ENGINE_SCHEDULER_H

#include "base/mailbox.h"
#include "engine/engine.h"
#include "engine/kv.h"
#include "engine/model.h"
#include "engine/sampler.h"
#include "engine/template.h"
#include "engine/textflow.h"
#include "engine/tokenizer.h"

#include <pthread.h>
#include <stdatomic.h>

/* A job whose prompt is tokens. Made by the preparing thread, then the scheduler's alone. */
struct work {
    struct engine_job *job;
    struct work *next; /* in the waiting line */
    int32_t *prompt;
    int n_prompt;
    enum template_state start; /* where the reply begins */
    int context_tokens;        /* of this call */
    int max_tokens;            /* of one choice; at least 1 */
    int begun, running;        /* choices */
    int cached_tokens, completion_tokens, reasoning_tokens;
};

/* One sequence: a reply of a call in the making. */
struct choice {
    struct work *work;
    int index;
    uint64_t serial; /* age: older ones never make room for younger ones */
    struct kv_seq kv;
    bool parked;     /* its cache was taken for an older one; it will be evaluated anew */
    int32_t *tokens; /* prompt, then what was generated */
    int n_tokens, generated;
    int take; /* tokens it has in the step that is being built */
    struct sampler *sampler;
    struct textflow *flow;
    struct buf reasoning, content; /* of one token's text; empty between tokens */
    struct engine_logprob *held;   /* log-probabilities of text that is still held back */
    struct arena *held_arena;
    size_t n_held, cap_held;
};

enum sched_kind { SCHED_WORK, SCHED_CANCEL, SCHED_STOP };

struct sched_item { /* what the scheduler's mailbox carries */
    enum sched_kind kind;
    struct work *work;
    uint64_t number;
};

struct prepare_item { /* what the preparing thread's mailbox carries */
    enum sched_kind kind;
    struct engine_job *job;
    uint64_t number;
};

struct scheduler {
    struct model *model;
    struct kv *kv;
    const struct tokenizer *tokenizer;
    struct mailbox *inbox, *events;
    int sequences, chunk_tokens, vocabulary;
    struct work *waiting, **waiting_end;
    struct choice **running; /* ascending serial */
    int n_running;
    int n_promised; /* choices of begun works that have not ended yet */
    uint64_t next_serial;
    struct model_token *batch;
    float *logits;
    float *raw;    /* one row, kept when log-probabilities are wanted */
    float *forked; /* one row, for the first token of a call's further choices */
    atomic_int load_running, load_waiting;
    atomic_ullong prompt_tokens, cached_tokens, generated_tokens, steps;
};

/* Posts an event; waits while the mailbox is full, since none may be lost. */
void engine_post(struct mailbox *events, const struct engine_event *event);
void engine_post_end(struct mailbox *events, const struct work *w, uint64_t number, int code,
                     const char *text);

void work_free(struct work *w); /* the job with it */

void scheduler_init(struct scheduler *s, const struct engine_options *o);
void scheduler_done(struct scheduler *s); /* frees what runs and waits, without events */
void scheduler_run(struct scheduler *s);  /* the thread: until SCHED_STOP */

/* One choice (choice.c). */
struct choice *choice_new(struct work *w, int index, uint64_t serial, const struct tokenizer *t,
                          int vocabulary);
void choice_free(struct choice *c);
/* Picks the next token from logits and gives out its text. Returns true when the choice is
 * complete; its ENGINE_FINISH is posted then. */
bool choice_next(struct scheduler *s, struct choice *c, float *logits);

/* The preparing thread (prepare.c). */
struct prepare {
    const struct tokenizer *tokenizer;
    struct template template;
    int context_tokens; /* the engine's */
    struct mailbox *inbox, *events, *scheduler;
    atomic_int *waiting;
};
void prepare_run(struct prepare *p); /* the thread: until SCHED_STOP, which it passes on */

#endif
