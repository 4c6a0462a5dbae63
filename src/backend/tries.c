/*
 * One call to a source. Who could take it is looked up anew at each try, by the names in the
 * call's routes, so that a reload between two tries counts.
 *
 * A source that refuses at once because it is full (the engine, whose own queue has a bound) has
 * been asked nothing: that is no try, and it is not asked again until something ends there.
 */
#include "backend/router_private.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FULL_MS = 1000, /* a source that is full is asked again after so long at the latest */
    SERVICE_UNKNOWN_US = 1000000, /* taken for a run's length until one has ended */
    RETRY_AFTER_MAX_S = 60
};

/* What a candidate stands for. */
struct tries_option {
    struct source *source;
    size_t route;
};

/* What a look at a call's routes found. */
struct field {
    size_t n;              /* candidates: of sources not asked yet */
    size_t sources;        /* that can take such a request at all, asked or not */
    struct source *only;   /* the one, if it is one */
    bool room;             /* a healthy candidate has room */
    bool queue;            /* a candidate is full, or on trial: worth waiting for */
    bool full;             /* a healthy candidate's own queue is full */
    bool hope;             /* a candidate's circuit is not open */
    int64_t opens_ms;      /* until the first candidate that rests or is open may be asked */
    int64_t rest_ms;       /* the same of all sources, those asked before too */
    int64_t service_us;    /* sums over the candidates */
    int64_t slots, behind; /* runs at once; those in the sources' own queues */
};

/* --- who could take it --- */

static struct source *find_source(const struct router *r, const char *name)
{
    struct source *s = r->sources;
    while (s && (s->retired || strcmp(s->backend->name, name) != 0))
        s = s->next;
    return s;
}

static bool is_capable(const struct source *s, const struct routed *c)
{
    if (c->run.count_only)
        return s->local;
    return !s->local || c->run.request->upstream_only.kind == FAULT_NONE;
}

static uint64_t bit_of(size_t route)
{
    return (uint64_t)1 << (route < 63 ? route : 63);
}

static void sooner(int64_t *least, int64_t ms)
{
    if (ms > 0 && (*least == 0 || ms < *least))
        *least = ms;
}

static void add_slots(struct field *f, const struct source *s, const struct backend_load *load)
{
    int slots = load->capacity ? load->capacity : load->running;
    if (slots < 1)
        slots = 1;
    f->slots += slots;
    f->service_us += (s->service_us ? s->service_us : SERVICE_UNKNOWN_US) * slots;
    f->behind += load->waiting;
}

static void add_candidate(struct router *r, const struct routed *c, struct field *f,
                          struct source *s, size_t route, int64_t now_ms)
{
    struct candidate *to = &r->candidates[f->n];
    struct backend_load load;
    enum router_health health = health_now(&s->health, now_ms);
    s->backend->kind->load(s->backend, &load);
    bool capped = load.capacity > 0 && s->running >= load.capacity;
    bool full = s->full_until_ms > now_ms;
    *to = (struct candidate){.hash = s->hash,
                             .weight = c->routes[route].weight > 0 ? c->routes[route].weight : 1,
                             .priority = c->routes[route].priority,
                             .healthy = health_takes(&s->health, now_ms),
                             .room = !capped && !full,
                             .running = s->running};
    r->options[f->n++] = (struct tries_option){.source = s, .route = route};
    f->room = f->room || (to->healthy && to->room);
    f->full = f->full || (to->healthy && full);
    f->queue = f->queue || (to->healthy && capped && !full) ||
               (health == ROUTER_TRIAL && s->health.on_trial);
    f->hope = f->hope || health != ROUTER_OPEN;
    sooner(&f->opens_ms, health_ms(&s->health, now_ms));
    add_slots(f, s, &load);
}

static void make_room(struct router *r, size_t n)
{
    if (n <= r->candidates_cap)
        return;
    r->candidates = mem_realloc(r->candidates, n * sizeof *r->candidates);
    r->options = mem_realloc(r->options, n * sizeof *r->options);
    r->candidates_cap = n;
}

/* The only source there is may be asked again if it is well and a new connection may do. */
static bool is_worth_again(const struct routed *c, const struct field *f, int64_t now_ms)
{
    return c->again && f->n == 0 && f->sources == 1 && c->source == f->only &&
           health_now(&f->only->health, now_ms) == ROUTER_CLOSED;
}

static void look(struct router *r, const struct routed *c, int64_t now_ms, struct field *f)
{
    *f = (struct field){0};
    make_room(r, c->n_routes + 1);
    for (size_t i = 0; i < c->n_routes; i++) {
        struct source *s = find_source(r, c->routes[i].backend);
        if (!s || !is_capable(s, c))
            continue;
        if (s != f->only) {
            f->only = s;
            f->sources++;
        }
        sooner(&f->rest_ms, health_ms(&s->health, now_ms));
        if (!(c->tried & bit_of(i)))
            add_candidate(r, c, f, s, i, now_ms);
    }
    if (is_worth_again(c, f, now_ms))
        add_candidate(r, c, f, f->only, c->route, now_ms);
}

bool tries_has_room(struct router *r, const struct routed *c)
{
    struct field f;
    look(r, c, clock_mono_ms(), &f);
    return f.room;
}

bool tries_is_lost(struct router *r, const struct routed *c)
{
    struct field f;
    look(r, c, clock_mono_ms(), &f);
    return !f.hope;
}

/* --- what a client is told --- */

static int seconds(int64_t ms)
{
    int64_t s = (ms + 999) / 1000;
    return s < 1 ? 1 : s > INT32_MAX ? INT32_MAX : (int)s;
}

/* How long the queue will take to let one more call through. */
static int queue_s(const struct router *r, const struct field *f)
{
    int64_t ahead = (int64_t)r->waiting.calls + f->behind + 1;
    if (f->slots == 0)
        return 1;
    int s = seconds(f->service_us / f->slots * ahead / f->slots / 1000);
    return s > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : s;
}

static void refuse(struct backend_end *end, enum backend_blame blame, enum fault_kind kind,
                   int retry_after_s, const char *text)
{
    *end = (struct backend_end){.blame = blame};
    fault_set(&end->fault, kind, NULL, "%s", text);
    end->fault.retry_after_s = retry_after_s;
}

static void refuse_full(const struct router *r, const struct field *f, struct backend_end *end)
{
    refuse(end, BLAME_BUSY, FAULT_ENGINE_FULL, queue_s(r, f),
           "The engine is currently overloaded, please try again later.");
}

void tries_too_late(struct router *r, const struct routed *c, struct backend_end *end)
{
    struct field f;
    look(r, c, clock_mono_ms(), &f);
    refuse(end, BLAME_BUSY, FAULT_UNAVAILABLE, queue_s(r, &f),
           "This model is busy: the call waited as long as this server allows. Please try again "
           "later.");
    snprintf(end->detail, sizeof end->detail, "waited in the queue too long");
}

/* Until the first of those that were busy takes calls again. */
static int busy_s(const struct router *r, const struct field *f)
{
    int rest = f->rest_ms ? seconds(f->rest_ms) : INT32_MAX;
    int queue = f->full || !f->rest_ms ? queue_s(r, f) : INT32_MAX;
    return rest < queue ? rest : queue;
}

/* Nobody will take the call now. */
static void refuse_call(struct router *r, const struct routed *c, const struct field *f,
                        struct backend_end *end)
{
    const struct api_request *request = c->run.request;
    if (c->last) {
        *end = *c->last;
        if (end->blame == BLAME_BUSY || end->fault.kind == FAULT_UNAVAILABLE)
            end->fault.retry_after_s = busy_s(r, f);
    } else if (f->full) {
        refuse_full(r, f, end);
    } else if (f->n > 0) {
        refuse(end, BLAME_SOURCE, FAULT_UNAVAILABLE, seconds(f->opens_ms),
               "No backend of this model answers at the moment, please try again later.");
        snprintf(end->detail, sizeof end->detail, "no backend is healthy");
    } else if (request->upstream_only.kind != FAULT_NONE) {
        *end = (struct backend_end){.blame = BLAME_CALL, .fault = request->upstream_only};
    } else {
        refuse(end, BLAME_SOURCE, FAULT_UNAVAILABLE, 0,
               "No backend serves this model at the moment.");
        snprintf(end->detail, sizeof end->detail, "no backend is configured");
    }
}

void tries_refuse(struct router *r, const struct routed *c, struct backend_end *end)
{
    struct field f;
    look(r, c, clock_mono_ms(), &f);
    refuse_call(r, c, &f, end);
}

void tries_queue_full(struct router *r, const struct routed *c, struct backend_end *end)
{
    struct field f;
    look(r, c, clock_mono_ms(), &f);
    if (c->last) {
        refuse_call(r, c, &f, end);
        return;
    }
    refuse_full(r, &f, end);
    snprintf(end->detail, sizeof end->detail, "%zu calls wait already", r->waiting.calls);
}

/* --- health --- */

static void note_change(struct router *r, const struct source *s, enum health_change change)
{
    const struct health *h = &s->health;
    char text[80];
    long long ms = health_ms(h, clock_mono_ms());
    switch (change) {
    case HEALTH_SAME:
        return;
    case HEALTH_OPENED:
        snprintf(text, sizeof text, "%d failures in a row, not asked for %lld ms", h->failures, ms);
        turns_note(r, 0, ROUTER_CIRCUIT_OPEN, s->backend->name, text);
        break;
    case HEALTH_CLOSED:
        turns_note(r, 0, ROUTER_CIRCUIT_CLOSED, s->backend->name, "");
        break;
    case HEALTH_RESTS:
        snprintf(text, sizeof text, "it is full, not asked for %lld ms", ms);
        turns_note(r, 0, ROUTER_RESTS, s->backend->name, text);
        break;
    }
}

static double draw_jitter(void)
{
    uint32_t v;
    random_bytes(&v, sizeof v);
    return (double)v / UINT32_MAX;
}

static bool may_go_elsewhere(const struct backend_end *end)
{
    return end->blame != BLAME_NONE && end->blame != BLAME_CALL;
}

static void judge(struct router *r, struct routed *c, const struct backend_end *end)
{
    struct source *s = c->source;
    struct health_end h = {.trial = c->trial,
                           .blame = end->blame,
                           .retry_after_ms = end->retry_after_ms,
                           .jitter = end->blame == BLAME_SOURCE ? draw_jitter() : 0};
    enum health_change change = health_ended(&s->health, &r->o, clock_mono_ms(), &h);
    if (end->blame == BLAME_SOURCE)
        s->failed++;
    if (may_go_elsewhere(end))
        turns_note(r, c->run.number, ROUTER_TRY_FAILED, s->backend->name,
                   *end->detail ? end->detail : end->fault.message);
    note_change(r, s, change);
}

/* --- a try --- */

static void hold_source(struct routed *c, struct source *s)
{
    s->refs++;
    if (c->source)
        c->source->refs--;
    c->source = s;
}

static void mark_tried(struct routed *c, const char *name)
{
    for (size_t i = 0; i < c->n_routes; i++)
        if (strcmp(c->routes[i].backend, name) == 0)
            c->tried |= bit_of(i);
}

void tries_release(struct router *r, struct routed *c, const struct backend_end *end)
{
    struct source *s = c->source;
    s->running--;
    s->full_until_ms = 0;
    if (c->committed)
        source_note_service(s, clock_mono_us() - c->begun_us);
    if (end)
        judge(r, c, end);
    else
        health_stopped(&s->health, c->trial);
    c->trial = false;
}

/* What failed before is told if nobody else answers; that somebody was only busy tells most. */
static void remember(struct routed *c, const struct backend_end *end)
{
    c->again = end->blame == BLAME_SOURCE && end->fault.kind == FAULT_UPSTREAM;
    if (!c->last)
        c->last = mem_alloc(sizeof *c->last);
    else if (c->last->blame == BLAME_BUSY && end->blame != BLAME_BUSY)
        return;
    *c->last = *end;
}

static int tries_allowed(const struct router *r)
{
    return r->o.tries > 1 ? r->o.tries : 1;
}

bool tries_again(struct routed *c, const struct backend_end *end)
{
    if (c->committed || !may_go_elsewhere(end))
        return false;
    remember(c, end);
    return true;
}

/* It refused at once. A full one without a time of its own is asked again when a run ends. */
static void refused_at_once(struct router *r, struct routed *c, const struct backend_end *end)
{
    struct source *s = c->source;
    if (end->blame != BLAME_BUSY || end->retry_after_ms > 0) {
        s->runs++;
        mark_tried(c, s->backend->name);
        tries_release(r, c, end);
        return;
    }
    c->tries--;
    tries_release(r, c, NULL);
    s->full_until_ms = clock_mono_ms() + FULL_MS;
}

static int begin(struct router *r, struct routed *c, const struct tries_option *option,
                 struct backend_end *end)
{
    const struct route *route = &c->routes[option->route];
    struct source *s = option->source;
    hold_source(c, s);
    c->route = option->route;
    c->run.name = route->model && *route->model ? route->model : c->run.model->id;
    c->trial = health_begin(&s->health, clock_mono_ms());
    if (c->trial)
        turns_note(r, 0, ROUTER_CIRCUIT_TRIAL, s->backend->name, "");
    c->state = ROUTED_RUNNING;
    c->begun_us = clock_mono_us();
    c->tries++;
    s->running++;
    *end = (struct backend_end){0};
    int rc = backend_start(s->backend, &c->run, end);
    if (rc) {
        c->state = ROUTED_BETWEEN;
        refused_at_once(r, c, end);
        return rc;
    }
    s->runs++;
    mark_tried(c, s->backend->name);
    return 0;
}

static int pick(const struct router *r, const struct routed *c, const struct field *f)
{
    struct choice_by by = {
        .affinity = r->o.affinity, .key = c->key, .load_percent = r->o.load_percent};
    if (!by.affinity && f->n > 1)
        random_bytes(&by.key, sizeof by.key);
    return choice_pick(r->candidates, f->n, &by);
}

enum tries_outcome tries_attempt(struct router *r, struct routed *c, struct backend_end *end)
{
    enum routed_state before = c->state;
    struct field f;
    for (;;) {
        look(r, c, clock_mono_ms(), &f);
        if (!f.room || c->tries >= tries_allowed(r))
            break;
        if (begin(r, c, &r->options[pick(r, c, &f)], end) == 0)
            return TRIES_RUNS;
        c->state = before;
        if (!may_go_elsewhere(end))
            return TRIES_REFUSED;
        remember(c, end);
    }
    if (f.queue && c->tries < tries_allowed(r))
        return TRIES_WAITS;
    refuse_call(r, c, &f, end);
    return TRIES_REFUSED;
}

void tries_drop_request(struct routed *c)
{
    struct backend_run *run = &c->run;
    if (c->model)
        return;
    c->model = mem_strdup(run->name);
    *run = (struct backend_run){.number = run->number, .owner = run->owner};
    c->routes = NULL;
    c->n_routes = 0;
    free(c->last);
    c->last = NULL;
}

void tries_commit(struct router *r, struct routed *c)
{
    c->committed = true;
    tries_drop_request(c);
    c->source->full_until_ms = 0;
    if (!c->trial)
        return;
    c->trial = false;
    note_change(r, c->source, health_started(&c->source->health, &r->o));
    turns_kick(r);
}
