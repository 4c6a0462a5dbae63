/*
 * The face of the router: the table of calls, what backends tell, and the sources at a reload.
 *
 * A call is an allocation of its own with a stable address: the backend borrows its struct
 * backend_run until the reply begins. It is found by its number; pieces and chunks pass through
 * with one look into the table. A call that is over is freed a turn later (turns.c).
 */
#include "backend/router_private.h"

#include "base/clock.h"
#include "base/mem.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS_FIRST = 1024 };

/* --- the table of calls --- */

static struct routed **bucket_of(const struct router *r, uint64_t number)
{
    return &r->calls[number & (r->n_buckets - 1)];
}

static struct routed *find_call(const struct router *r, uint64_t number)
{
    struct routed *c = *bucket_of(r, number);
    while (c && c->run.number != number)
        c = c->next;
    return c;
}

static void put_call(struct router *r, struct routed *c)
{
    struct routed **to = bucket_of(r, c->run.number);
    c->next = *to;
    *to = c;
}

static void grow_table(struct router *r)
{
    struct routed **old = r->calls, *c, *next;
    size_t n = r->n_buckets;
    r->n_buckets = 2 * n;
    r->calls = mem_array(r->n_buckets, sizeof(struct routed *));
    for (size_t i = 0; i < n; i++) {
        for (c = old[i]; c; c = next) {
            next = c->next;
            put_call(r, c);
        }
    }
    free(old);
}

static void add_call(struct router *r, struct routed *c)
{
    if (++r->n_calls > r->n_buckets)
        grow_table(r);
    put_call(r, c);
}

static void remove_call(struct router *r, struct routed *c)
{
    struct routed **at = bucket_of(r, c->run.number);
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    r->n_calls--;
}

void router_free_call(struct routed *c)
{
    if (c->source)
        c->source->refs--;
    if (c->patience)
        event_free(c->patience);
    free(c->model);
    free(c->last);
    free(c);
}

void router_finish(struct router *r, struct routed *c, const struct backend_end *end)
{
    c->state = ROUTED_OVER;
    turns_tell_notes(r);
    r->events.run.on_end(r->arg, c->run.number, end);
    remove_call(r, c);
    turns_bury(r, c);
}

/* --- what backends tell --- */

static struct routed *find_running(const struct router *r, uint64_t number)
{
    struct routed *c = find_call(r, number);
    return c && c->state == ROUTED_RUNNING ? c : NULL;
}

static void on_start(void *arg, uint64_t number, const struct api_usage *usage)
{
    struct router *r = arg;
    struct routed *c = find_running(r, number);
    if (!c || c->committed)
        return;
    tries_commit(r, c);
    r->events.run.on_start(r->arg, number, usage);
}

static void on_piece(void *arg, uint64_t number, const struct backend_piece *piece)
{
    struct router *r = arg;
    if (find_running(r, number))
        r->events.run.on_piece(r->arg, number, piece);
}

static void on_chunk(void *arg, uint64_t number, const struct relayed *chunk)
{
    struct router *r = arg;
    if (find_running(r, number))
        r->events.run.on_chunk(r->arg, number, chunk);
}

static void on_whole(void *arg, uint64_t number, const struct relayed *reply)
{
    struct router *r = arg;
    if (find_running(r, number))
        r->events.run.on_whole(r->arg, number, reply);
}

static void on_finish(void *arg, uint64_t number, int choice, enum api_finish finish)
{
    struct router *r = arg;
    if (find_running(r, number))
        r->events.run.on_finish(r->arg, number, choice, finish);
}

static void on_end(void *arg, uint64_t number, const struct backend_end *end)
{
    struct router *r = arg;
    struct routed *c = find_call(r, number);
    if (!c)
        return;
    if (c->state == ROUTED_STOPPED) {
        c->source->full_until_ms = 0;
        router_finish(r, c, end);
    } else if (c->state == ROUTED_RUNNING) {
        tries_release(r, c, end);
        if (tries_again(c, end))
            turns_retry(r, c);
        else
            router_finish(r, c, end);
    }
}

const struct backend_events router_backend_events = {.on_start = on_start,
                                                     .on_piece = on_piece,
                                                     .on_chunk = on_chunk,
                                                     .on_whole = on_whole,
                                                     .on_finish = on_finish,
                                                     .on_end = on_end};

/* --- calls --- */

static struct routed *new_call(struct router *r, const struct router_call *call)
{
    struct routed *c = mem_zalloc(sizeof *c);
    c->router = r;
    c->run = call->run;
    c->routes = call->routes;
    c->n_routes = call->n_routes;
    c->bytes = call->bytes;
    if (r->o.affinity && c->n_routes > 1)
        c->key = choice_key(c->run.model->id, c->run.request);
    return c;
}

int router_start(struct router *r, const struct router_call *call, struct fault *f)
{
    struct backend_end end = {0};
    enum tries_outcome outcome;
    if (find_call(r, call->run.number)) {
        fault_set(f, FAULT_INTERNAL, NULL, "The call is under way already.");
        return ERR_EXISTS;
    }
    struct routed *c = new_call(r, call);
    /* What became free a moment ago belongs to those who wait. */
    if (r->waiting.calls > 0 && tries_has_room(r, c) && turns_has_next(r))
        outcome = TRIES_WAITS;
    else
        outcome = tries_attempt(r, c, &end);
    if (outcome == TRIES_WAITS && turns_enqueue(r, c)) {
        tries_queue_full(r, c, &end);
        outcome = TRIES_REFUSED;
    }
    if (outcome == TRIES_REFUSED) {
        *f = end.fault;
        router_free_call(c);
        return end.blame == BLAME_CALL ? ERR_INVALID : ERR_BUSY;
    }
    add_call(r, c);
    return 0;
}

/* A call that waits for its next try is freed by the turn that would have made it. */
bool router_stop(struct router *r, uint64_t number)
{
    struct routed *c = find_call(r, number);
    if (!c || c->state == ROUTED_STOPPED || c->state == ROUTED_OVER)
        return false;
    if (c->state == ROUTED_RUNNING) {
        backend_stop(c->source->backend, number);
        tries_release(r, c, NULL);
        turns_kick(r);
        if (c->source->backend->kind->ends_late) {
            tries_drop_request(c);
            c->state = ROUTED_STOPPED;
            return true;
        }
    }
    bool listed = c->state == ROUTED_BETWEEN;
    if (c->state == ROUTED_WAITING)
        turns_dequeue(r, c);
    c->state = ROUTED_OVER;
    remove_call(r, c);
    if (!listed)
        turns_bury(r, c);
    return false;
}

void router_pause(struct router *r, uint64_t number, bool paused)
{
    struct routed *c = find_running(r, number);
    if (c)
        backend_pause(c->source->backend, number, paused);
}

int router_where(const struct router *r, uint64_t number, struct router_place *out)
{
    const struct routed *c = find_call(r, number);
    if (!c)
        return ERR_NOT_FOUND;
    *out = (struct router_place){.model = "", .tries = c->tries, .queued_us = c->queued_us};
    if (!c->source)
        return 0;
    out->backend = c->source->backend->name;
    out->kind = c->source->backend->kind->name;
    out->fingerprint = c->source->backend->fingerprint;
    out->model = c->model ? c->model : c->run.name;
    return 0;
}

size_t router_waiting(const struct router *r)
{
    return r->waiting.calls;
}

/* --- sources --- */

struct source *router_add_source(struct router *r, struct backend *b,
                                 const struct upstream_options *o)
{
    struct source **at = &r->sources;
    while (*at)
        at = &(*at)->next;
    *at = source_new(b, o);
    return *at;
}

void router_probed(void *arg, const char *name, bool good, const char *detail)
{
    struct router *r = arg;
    struct source *s = r->sources;
    (void)detail;
    while (s && (s->retired || strcmp(s->backend->name, name) != 0))
        s = s->next;
    if (!s || !good || health_probed(&s->health, &r->o) != HEALTH_CLOSED)
        return;
    turns_note(r, 0, ROUTER_CIRCUIT_CLOSED, s->backend->name, "it answered a probe");
}

/* The upstream in force that was opened with these options. */
static struct source *find_same(const struct router *r, const struct upstream_options *o)
{
    struct source *s = r->sources;
    while (s && (s->retired || !s->options || !upstream_options_equal(s->options, o)))
        s = s->next;
    return s;
}

static int open_upstream(struct router *r, const struct upstream_options *o, struct backend **out,
                         struct error *e)
{
    struct upstream_options mine = *o;
    int rc = r->transfers ? 0 : transfers_open(r->base, &r->transfers, e);
    mine.on_probe = router_probed;
    return rc ? rc : upstream_open(r->transfers, &mine, &router_backend_events, r, out, e);
}

static bool is_kept(const struct source *s, struct source *const *kept, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (kept[i] == s)
            return true;
    return s->local;
}

/* Nothing can fail from here on: what is not in the list goes, what was opened comes. */
static void replace_sources(struct router *r, const struct upstream_options *upstreams,
                            struct source *const *kept, struct backend *const *fresh, size_t n)
{
    for (struct source *s = r->sources; s; s = s->next)
        if (!is_kept(s, kept, n))
            s->retired = true;
    for (size_t i = 0; i < n; i++)
        if (fresh[i])
            router_add_source(r, fresh[i], &upstreams[i]);
}

int router_set_sources(struct router *r, const struct router_options *o, struct backend *local,
                       const struct upstream_options *upstreams, size_t n, struct error *e)
{
    struct source **kept = mem_array(n + 1, sizeof(struct source *));
    struct backend **fresh = mem_array(n + 1, sizeof(struct backend *));
    int rc = 0;
    if (local && !r->has_local)
        router_add_source(r, local, NULL);
    r->has_local = r->has_local || local;
    for (size_t i = 0; i < n && !rc; i++) {
        kept[i] = find_same(r, &upstreams[i]);
        if (!kept[i])
            rc = open_upstream(r, &upstreams[i], &fresh[i], e);
    }
    if (rc) {
        for (size_t i = 0; i < n; i++)
            if (fresh[i])
                fresh[i]->kind->close(fresh[i]);
    } else {
        replace_sources(r, upstreams, kept, fresh, n);
        r->o = *o;
        turns_set_probe(r);
        turns_kick(r);
    }
    free(kept);
    free(fresh);
    return rc;
}

void router_each(const struct router *r, void (*fn)(void *arg, const struct router_row *row),
                 void *arg)
{
    int64_t now = clock_mono_ms();
    for (const struct source *s = r->sources; s; s = s->next) {
        struct router_row row = {.name = s->backend->name,
                                 .kind = s->backend->kind->name,
                                 .health = health_now(&s->health, now),
                                 .failures = s->health.failures,
                                 .open_for_ms = health_ms(&s->health, now),
                                 .runs = s->runs,
                                 .failed = s->failed,
                                 .retired = s->retired};
        s->backend->kind->load(s->backend, &row.load);
        fn(arg, &row);
    }
}

/* --- opening and closing --- */

int router_open(struct event_base *base, const struct router_options *o,
                const struct router_events *events, void *arg, struct router **out, struct error *e)
{
    struct router *r = mem_zalloc(sizeof *r);
    *out = NULL;
    r->base = base;
    r->o = *o;
    r->events = *events;
    r->arg = arg;
    r->n_buckets = BUCKETS_FIRST;
    r->calls = mem_array(r->n_buckets, sizeof(struct routed *));
    waiting_init(&r->waiting);
    int rc = turns_open(r, e);
    if (rc) {
        router_close(r);
        return rc;
    }
    turns_set_probe(r);
    *out = r;
    return 0;
}

/* Backends are closed before the calls that they borrow from are freed. */
static void close_sources(struct router *r)
{
    struct source *s;
    while ((s = r->sources)) {
        r->sources = s->next;
        source_free(s);
    }
}

static void free_calls(struct router *r)
{
    struct routed *c;
    for (size_t i = 0; i < r->n_buckets; i++) {
        while ((c = r->calls[i])) {
            r->calls[i] = c->next;
            c->source = NULL;
            router_free_call(c);
        }
    }
    free(r->calls);
}

void router_close(struct router *r)
{
    if (!r)
        return;
    turns_close(r);
    waiting_done(&r->waiting);
    close_sources(r);
    free_calls(r);
    transfers_close(r->transfers);
    free(r->candidates);
    free(r->options);
    free(r);
}
