/*
 * The scheduler: continuous batching of all running choices, one step after another.
 *
 * A choice is a list of tokens of which the first ones are in the KV cache. A step takes what is
 * missing: one token of each choice that decodes, and up to chunk_tokens of those whose prompt is
 * not evaluated yet, oldest first. So a call joins and leaves between two steps, and prefill,
 * decoding and evaluating anew after a loss of cache are the same thing.
 *
 * Waiting works begin when there is room for all their choices; the owner with the fewest
 * running choices is served first, then who came first. When the cache is full, the youngest
 * choice gives its blocks to an older one and is evaluated anew later, to the same bits; the
 * oldest always proceeds, so all end. One thread owns everything here.
 */
#include "engine/scheduler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void engine_post(struct mailbox *events, const struct engine_event *event)
{
    struct timespec pause = {.tv_nsec = 1000000};
    while (mailbox_post(events, event) == ERR_BUSY)
        nanosleep(&pause, NULL);
}

void engine_post_end(struct mailbox *events, const struct work *w, uint64_t number, int code,
                     const char *text)
{
    struct engine_event ev = {.number = number, .kind = ENGINE_END, .code = code};
    if (w) {
        ev.prompt_tokens = w->n_prompt;
        ev.cached_tokens = w->cached_tokens;
        ev.completion_tokens = w->completion_tokens;
        ev.reasoning_tokens = w->reasoning_tokens;
    }
    if (code)
        snprintf(ev.text, sizeof ev.text, "%.*s", (int)sizeof ev.text - 1, text);
    engine_post(events, &ev);
}

void work_free(struct work *w)
{
    if (!w)
        return;
    engine_job_free(w->job);
    free(w->prompt);
    free(w);
}

void scheduler_init(struct scheduler *s, const struct engine_options *o)
{
    s->sequences = o->sequences;
    s->chunk_tokens = o->chunk_tokens;
    s->vocabulary = model_shape(s->model)->vocabulary;
    s->waiting_end = &s->waiting;
    s->running = mem_array((size_t)s->sequences, sizeof *s->running);
    s->batch = mem_array((size_t)s->sequences + (size_t)s->chunk_tokens, sizeof *s->batch);
    s->logits = mem_array((size_t)s->sequences * (size_t)s->vocabulary, sizeof *s->logits);
    s->raw = mem_array((size_t)s->vocabulary, sizeof *s->raw);
    s->forked = mem_array((size_t)s->vocabulary, sizeof *s->forked);
}

/* Takes a choice off the running list (its place closes up) and frees it. */
static void remove_choice(struct scheduler *s, int at)
{
    struct choice *c = s->running[at];
    kv_seq_end(s->kv, &c->kv);
    c->work->running--;
    s->n_promised--;
    choice_free(c);
    s->n_running--;
    memmove(&s->running[at], &s->running[at + 1], (size_t)(s->n_running - at) * sizeof *s->running);
}

static void remove_work(struct scheduler *s, struct work *w)
{
    for (int i = s->n_running - 1; i >= 0; i--)
        if (s->running[i]->work == w)
            remove_choice(s, i);
    s->n_promised -= w->job->choices - w->begun; /* those that never began */
    work_free(w);
}

void scheduler_done(struct scheduler *s)
{
    struct sched_item item;
    while (s->n_running)
        remove_work(s, s->running[0]->work);
    while (s->waiting) {
        struct work *next = s->waiting->next;
        work_free(s->waiting);
        s->waiting = next;
    }
    while (mailbox_take(s->inbox, &item))
        if (item.kind == SCHED_WORK)
            work_free(item.work);
    free(s->running);
    free(s->batch);
    free(s->logits);
    free(s->raw);
    free(s->forked);
}

static void cancel_running(struct scheduler *s, struct work *w)
{
    engine_post_end(s->events, w, w->job->number, ERR_CANCELLED, "cancelled");
    remove_work(s, w);
}

static void unlink_waiting(struct scheduler *s, struct work **at)
{
    struct work *w = *at;
    *at = w->next;
    if (!w->next)
        s->waiting_end = at;
    w->next = NULL;
    atomic_fetch_sub(&s->load_waiting, 1);
}

static void cancel(struct scheduler *s, uint64_t number)
{
    for (struct work **at = &s->waiting; *at; at = &(*at)->next) {
        struct work *w = *at;
        if (w->job->number != number)
            continue;
        unlink_waiting(s, at);
        engine_post_end(s->events, NULL, number, ERR_CANCELLED, "cancelled");
        work_free(w);
        return;
    }
    for (int i = 0; i < s->n_running; i++) {
        if (s->running[i]->work->job->number == number) {
            cancel_running(s, s->running[i]->work);
            return;
        }
    }
}

/* Returns false when the scheduler is to stop. */
static bool take_item(struct scheduler *s, const struct sched_item *item)
{
    switch (item->kind) {
    case SCHED_WORK:
        *s->waiting_end = item->work;
        s->waiting_end = &item->work->next;
        return true;
    case SCHED_CANCEL:
        cancel(s, item->number);
        return true;
    case SCHED_STOP:
        return false;
    }
    return true;
}

static int running_of(const struct scheduler *s, uint64_t owner)
{
    int n = 0;
    for (int i = 0; i < s->n_running; i++)
        n += s->running[i]->work->job->owner == owner;
    return n;
}

/* The place of the waiting work whose turn it is. */
static struct work **next_in_line(struct scheduler *s)
{
    struct work **best = NULL;
    int fewest = 0;
    for (struct work **at = &s->waiting; *at; at = &(*at)->next) {
        int n = running_of(s, (*at)->job->owner);
        if (!best || n < fewest) {
            best = at;
            fewest = n;
        }
    }
    return best;
}

static struct choice *add_choice(struct scheduler *s, struct work *w)
{
    struct choice *c = choice_new(w, w->begun, ++s->next_serial, s->tokenizer, s->vocabulary);
    w->begun++;
    w->running++;
    s->running[s->n_running++] = c;
    return c;
}

static void begin_work(struct scheduler *s, struct work *w)
{
    struct choice *c = add_choice(s, w);
    s->n_promised += w->job->choices;
    w->cached_tokens = kv_seq_begin(s->kv, &c->kv, c->tokens, c->n_tokens);
    atomic_fetch_add(&s->prompt_tokens, (unsigned)w->n_prompt);
    atomic_fetch_add(&s->cached_tokens, (unsigned)w->cached_tokens);
    struct engine_event ev = {.number = w->job->number,
                              .kind = ENGINE_STARTED,
                              .prompt_tokens = w->n_prompt,
                              .cached_tokens = w->cached_tokens};
    engine_post(s->events, &ev);
}

static void admit(struct scheduler *s)
{
    struct work **at;
    while ((at = next_in_line(s)) && s->n_promised + (*at)->job->choices <= s->sequences) {
        struct work *w = *at;
        unlink_waiting(s, at);
        begin_work(s, w);
    }
}

static void park(struct scheduler *s, struct choice *c)
{
    kv_seq_end(s->kv, &c->kv);
    c->parked = true;
    c->take = 0;
}

/* A parked choice comes back when all it had fits again, so that it is not lost half-way. */
static bool unpark(struct scheduler *s, struct choice *c)
{
    if (kv_free_tokens(s->kv) < c->n_tokens + KV_BLOCK_TOKENS)
        return false;
    kv_seq_begin(s->kv, &c->kv, c->tokens, c->n_tokens);
    c->parked = false;
    return true;
}

/* Makes room for c's part of the step, from younger choices if need be. */
static void reserve(struct scheduler *s, struct choice *c, int take)
{
    c->take = take;
    for (int i = s->n_running - 1; kv_seq_reserve(s->kv, &c->kv, take); i--) {
        while (s->running[i] != c && s->running[i]->parked)
            i--;
        park(s, s->running[i]);
        if (s->running[i] == c)
            return;
    }
}

/* Decides how many tokens each running choice has in this step. */
static void share_step(struct scheduler *s)
{
    int budget = s->chunk_tokens;
    for (int i = 0; i < s->n_running; i++) {
        struct choice *c = s->running[i];
        c->take = 0;
        if (c->parked && !unpark(s, c))
            continue;
        int missing = c->n_tokens - c->kv.n_tokens;
        int take = missing == 1 ? 1 : missing < budget ? missing : budget;
        if (take > 0)
            reserve(s, c, take);
        if (missing > 1)
            budget -= c->take;
    }
}

static int build_batch(struct scheduler *s)
{
    int n = 0;
    for (int i = 0; i < s->n_running; i++) {
        struct choice *c = s->running[i];
        for (int k = 0; k < c->take; k++) {
            int position = c->kv.n_tokens + k;
            s->batch[n++] = (struct model_token){.seq = &c->kv,
                                                 .token = c->tokens[position],
                                                 .position = position,
                                                 .want_logits = position == c->n_tokens - 1};
        }
    }
    return n;
}

static void end_choice(struct scheduler *s, int at)
{
    struct work *w = s->running[at]->work;
    remove_choice(s, at);
    if (w->running)
        return;
    engine_post_end(s->events, w, w->job->number, 0, "");
    work_free(w);
}

/* The other choices of a call begin when the first has evaluated the prompt: with its rows of the
 * cache, and with its logits for their first token. */
static void begin_others(struct scheduler *s, const struct choice *first, const float *logits)
{
    struct work *w = first->work;
    while (w->begun < w->job->choices) {
        struct choice *c = add_choice(s, w);
        if (kv_seq_fork(s->kv, &first->kv, &c->kv)) {
            c->parked = true; /* no room for its last block now */
            continue;
        }
        memcpy(s->forked, logits, (size_t)s->vocabulary * sizeof *logits);
        if (choice_next(s, c, s->forked))
            end_choice(s, s->n_running - 1);
    }
}

/* Gives each choice that has its logits the next token. */
static void pick_tokens(struct scheduler *s)
{
    float *row = s->logits;
    for (int i = 0; i < s->n_running; i++) {
        struct choice *c = s->running[i];
        if (!c->take)
            continue;
        kv_seq_commit(s->kv, &c->kv, c->tokens + c->kv.n_tokens, c->take);
        if (c->kv.n_tokens < c->n_tokens)
            continue;
        float *logits = row;
        row += s->vocabulary;
        begin_others(s, c, logits);
        if (choice_next(s, c, logits))
            end_choice(s, i--);
    }
}

static void step(struct scheduler *s)
{
    share_step(s);
    int n = build_batch(s);
    if (n) {
        model_forward(s->model, s->kv, s->batch, n, s->logits);
        pick_tokens(s);
    }
    atomic_fetch_add(&s->steps, 1);
}

void scheduler_run(struct scheduler *s)
{
    struct sched_item item;
    for (;;) {
        bool idle = !s->n_running && !s->waiting;
        while (idle ? mailbox_wait(s->inbox, &item, -1) : mailbox_take(s->inbox, &item)) {
            if (!take_item(s, &item))
                return;
            idle = false;
        }
        admit(s);
        step(s);
        atomic_store(&s->load_running, s->n_running);
    }
}
