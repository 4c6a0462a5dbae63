/*
 * For the tests of the router: an owner of calls that writes down what it is told, and sources
 * that do as the test says. Requests lie in memory that is freed as soon as their owner may.
 */
#ifndef MOONGATE_TESTS_ROUTER_RIG_H
#define MOONGATE_TESTS_ROUTER_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>

#include "backend/router_private.h"
#include "base/clock.h"

enum { CALLS_MAX = 4096, FAKES = 8, WAIT_S = 60, NOTES_BYTES = 4096 };

/* A source that the test scripts. */
struct fake {
    struct backend backend; /* first */
    struct rig *rig;
    char name[16];
    int capacity;
    struct backend_end refusal; /* with a blame that is not BLAME_NONE it starts nothing */
    uint64_t begun[CALLS_MAX];  /* numbers, in order */
    int n_begun;
    uint64_t stopped, paused; /* the last ones */
    int n_stopped, n_probes;
    char model[32];                /* what the last run was asked for */
    const struct backend_run *run; /* the last one's */
};

/* What the owner was told of a call. */
struct told {
    int starts, pieces, chunks, wholes, finishes, ends;
    struct backend_end end;
    struct router_place place; /* at the end; its strings are copied */
    char backend[32], model[32];
};

struct rig {
    struct event_base *base;
    struct router *router;
    struct router_options o;
    struct fake *fakes[FAKES];
    char closed[64];         /* the first names, in order */
    char notes[NOTES_BYTES]; /* "source:note " */
    struct told told[CALLS_MAX];
    char *request_of[CALLS_MAX]; /* freed when the reply begins */
    struct api_request requests[CALLS_MAX];
    uint64_t start_in_end; /* a call that is started in the next on_end */
    bool inside_start;
};

static const struct api_model model = {.id = "kimi"};

/* Routes to the fakes of the tests. */
#define ROUTE(n, p)                                                                                \
    {                                                                                              \
        .backend = (char[]){n}, .weight = 1, .priority = p                                         \
    }
static const struct route one_route[] = {ROUTE("one", 0)};
static const struct route second_alone[] = {ROUTE("two", 0)};
static const struct route engine_alone[] = {ROUTE("engine", 0)};
static const struct route both[] = {ROUTE("one", 0), ROUTE("two", 0)};
static const struct route first_then_second[] = {ROUTE("one", 0), ROUTE("two", 1)};
static const struct route engine_then_one[] = {ROUTE("engine", 0), ROUTE("one", 1)};
static const struct route one_then_engine[] = {ROUTE("one", 0), ROUTE("engine", 1)};
static const struct route all_three[] = {ROUTE("one", 0), ROUTE("two", 1), ROUTE("three", 2)};

/* --- sources --- */

static inline int fake_start(struct backend *b, const struct backend_run *run,
                             struct backend_end *end)
{
    struct fake *f = (struct fake *)b;
    if (f->refusal.blame != BLAME_NONE) {
        *end = f->refusal;
        return ERR_BUSY;
    }
    f->begun[f->n_begun++] = run->number;
    snprintf(f->model, sizeof f->model, "%s", run->name);
    f->run = run;
    return 0;
}

static inline void fake_stop(struct backend *b, uint64_t number)
{
    struct fake *f = (struct fake *)b;
    f->stopped = number;
    f->n_stopped++;
}

static inline void fake_pause(struct backend *b, uint64_t number, bool paused)
{
    ((struct fake *)b)->paused = paused ? number : 0;
}

static inline void fake_probe(struct backend *b)
{
    ((struct fake *)b)->n_probes++;
}

static inline void fake_load(const struct backend *b, struct backend_load *out)
{
    *out = (struct backend_load){.capacity = ((const struct fake *)b)->capacity};
}

static inline void fake_close(struct backend *b)
{
    struct fake *f = (struct fake *)b;
    struct rig *rig = f->rig;
    size_t len = strlen(rig->closed);
    snprintf(rig->closed + len, sizeof rig->closed - len, "%s ", f->name);
    for (int i = 0; i < FAKES; i++)
        if (rig->fakes[i] == f)
            rig->fakes[i] = NULL;
    free(f);
}

static const struct backend_kind upstream_kind = {.name = "openai",
                                                  .start = fake_start,
                                                  .stop = fake_stop,
                                                  .pause = fake_pause,
                                                  .probe = fake_probe,
                                                  .load = fake_load,
                                                  .close = fake_close};
static const struct backend_kind local_kind = {.name = "local",
                                               .ends_late = true,
                                               .start = fake_start,
                                               .stop = fake_stop,
                                               .load = fake_load,
                                               .close = fake_close};

static inline struct fake *add_fake(struct rig *rig, const char *name, int capacity)
{
    struct fake *f = calloc(1, sizeof *f);
    bool local = strcmp(name, "engine") == 0;
    int i = 0;
    while (rig->fakes[i])
        i++;
    rig->fakes[i] = f;
    f->rig = rig;
    f->capacity = capacity;
    snprintf(f->name, sizeof f->name, "%s", name);
    f->backend = (struct backend){
        .kind = local ? &local_kind : &upstream_kind, .name = f->name, .fingerprint = "print"};
    if (local)
        assert_int_equal(router_set_sources(rig->router, &rig->o, &f->backend, NULL, 0, NULL), 0);
    else
        router_add_source(rig->router, &f->backend, NULL);
    return f;
}

/* --- the owner --- */

static inline struct told *told_of(struct rig *rig, uint64_t number)
{
    assert_false(rig->inside_start);
    assert_true(number < CALLS_MAX);
    assert_int_equal(rig->told[number].ends, 0);
    return &rig->told[number];
}

static inline void forget_request(struct rig *rig, uint64_t number)
{
    free(rig->request_of[number]);
    rig->request_of[number] = NULL;
    rig->requests[number] = (struct api_request){0};
}

static inline void on_start(void *arg, uint64_t number, const struct api_usage *usage)
{
    (void)usage;
    told_of(arg, number)->starts++;
    forget_request(arg, number);
}

static inline void on_piece(void *arg, uint64_t number, const struct backend_piece *piece)
{
    (void)piece;
    told_of(arg, number)->pieces++;
}

static inline void on_chunk(void *arg, uint64_t number, const struct relayed *chunk)
{
    (void)chunk;
    told_of(arg, number)->chunks++;
}

static inline void on_whole(void *arg, uint64_t number, const struct relayed *reply)
{
    (void)reply;
    told_of(arg, number)->wholes++;
}

static inline void on_finish(void *arg, uint64_t number, int choice, enum api_finish finish)
{
    (void)choice;
    (void)finish;
    told_of(arg, number)->finishes++;
}

static inline int start(struct rig *rig, uint64_t number, uint64_t owner,
                        const struct route *routes, size_t n, struct fault *f);

static inline void on_end(void *arg, uint64_t number, const struct backend_end *end)
{
    struct rig *rig = arg;
    struct told *t = told_of(rig, number);
    t->ends++;
    t->end = *end;
    assert_int_equal(router_where(rig->router, number, &t->place), 0);
    snprintf(t->backend, sizeof t->backend, "%s", t->place.backend ? t->place.backend : "");
    snprintf(t->model, sizeof t->model, "%s", t->place.model);
    assert_false(router_stop(rig->router, number));
    if (rig->start_in_end) {
        struct fault f;
        uint64_t other = rig->start_in_end;
        rig->start_in_end = 0;
        assert_int_equal(start(rig, other, 1, one_route, 1, &f), 0);
    }
    forget_request(rig, number);
}

static inline void on_note(void *arg, uint64_t number, enum router_note note, const char *backend,
                           const char *text)
{
    static const char *const words[] = {[ROUTER_TRY_FAILED] = "failed",
                                        [ROUTER_CIRCUIT_OPEN] = "open",
                                        [ROUTER_CIRCUIT_TRIAL] = "trial",
                                        [ROUTER_CIRCUIT_CLOSED] = "closed",
                                        [ROUTER_RESTS] = "rests"};
    struct rig *rig = arg;
    size_t len = strlen(rig->notes);
    assert_false(rig->inside_start);
    assert_non_null(text);
    assert_int_equal(number != 0, note == ROUTER_TRY_FAILED);
    snprintf(rig->notes + len, sizeof rig->notes - len, "%s:%s ", backend, words[note]);
}

static const struct router_events owner_events = {.run = {.on_start = on_start,
                                                          .on_piece = on_piece,
                                                          .on_chunk = on_chunk,
                                                          .on_whole = on_whole,
                                                          .on_finish = on_finish,
                                                          .on_end = on_end},
                                                  .on_note = on_note};

static inline void even_bytes(void *out, size_t n)
{
    memset(out, 0x7f, n);
}

static inline int open_rig(void **state)
{
    struct rig *rig = calloc(1, sizeof *rig);
    struct error e;
    random_set(even_bytes); /* the middle of the jitter's range */
    rig->o = (struct router_options){.tries = 3,
                                     .queue_calls = 1000,
                                     .queue_bytes = 1 << 20,
                                     .queue_ms = WAIT_S * 1000,
                                     .failures = 3,
                                     .open_ms = WAIT_S * 1000,
                                     .open_max_ms = 10 * WAIT_S * 1000,
                                     .rest_max_ms = WAIT_S * 1000,
                                     .affinity = true,
                                     .load_percent = 125};
    rig->base = event_base_new();
    assert_int_equal(router_open(rig->base, &rig->o, &owner_events, rig, &rig->router, &e), 0);
    *state = rig;
    return 0;
}

static inline int close_rig(void **state)
{
    struct rig *rig = *state;
    router_close(rig->router);
    event_base_free(rig->base);
    for (int i = 0; i < CALLS_MAX; i++)
        free(rig->request_of[i]);
    random_set(NULL);
    free(rig);
    return 0;
}

static inline void set_options(struct rig *rig)
{
    rig->router->o = rig->o;
    turns_set_probe(rig->router);
}

/* What can be done now. */
static inline void turn(struct rig *rig)
{
    event_base_loop(rig->base, EVLOOP_NONBLOCK);
}

/* Turns the loop once, for a millisecond at most. */
static inline void a_moment(struct rig *rig)
{
    const struct timeval most = {.tv_usec = 1000};
    event_base_loopexit(rig->base, &most);
    event_base_loop(rig->base, EVLOOP_ONCE);
}

/* Turns the loop until the condition holds. */
#define WAIT_FOR(rig, condition)                                                                   \
    do {                                                                                           \
        int64_t until_ms = clock_mono_ms() + WAIT_S * 1000;                                        \
        while (!(condition) && clock_mono_ms() < until_ms)                                         \
            a_moment(rig);                                                                         \
        assert_true(condition);                                                                    \
    } while (0)

/* The request lies in memory that is gone once the owner may free it. */
static inline int start_as(struct rig *rig, uint64_t number, uint64_t owner,
                           const struct route *routes, size_t n, const struct api_request *as,
                           bool count_only, struct fault *f)
{
    struct api_message *m = calloc(1, sizeof *m);
    struct router_call call = {.run = {.number = number,
                                       .owner = owner,
                                       .request = &rig->requests[number],
                                       .model = &model,
                                       .count_only = count_only},
                               .routes = routes,
                               .n_routes = n,
                               .bytes = 100};
    bool before = rig->inside_start;
    rig->request_of[number] = (char *)m;
    rig->requests[number] = *as;
    m->role = API_USER;
    m->content = (struct api_text){.data = "hello", .len = 5};
    rig->requests[number].messages = m;
    rig->requests[number].n_messages = 1;
    rig->inside_start = true;
    int rc = router_start(rig->router, &call, f);
    rig->inside_start = before;
    if (rc)
        forget_request(rig, number);
    return rc;
}

static inline int start(struct rig *rig, uint64_t number, uint64_t owner,
                        const struct route *routes, size_t n, struct fault *f)
{
    struct api_request plain = {0};
    return start_as(rig, number, owner, routes, n, &plain, false, f);
}

static inline void start_ok(struct rig *rig, uint64_t number, const struct route *routes, size_t n)
{
    struct fault f = {0};
    if (start(rig, number, number, routes, n, &f))
        fail_msg("call %d: %s", (int)number, f.message);
}

static inline void begin_reply(struct rig *rig, uint64_t number)
{
    struct api_usage usage = {0};
    router_backend_events.on_start(rig->router, number, &usage);
}

static inline void end_with(struct rig *rig, uint64_t number, enum backend_blame blame,
                            enum fault_kind kind, int retry_after_ms)
{
    struct backend_end end = {.blame = blame, .retry_after_ms = retry_after_ms};
    if (kind != FAULT_NONE)
        fault_set(&end.fault, kind, NULL, "fault %d", (int)kind);
    snprintf(end.detail, sizeof end.detail, "what happened");
    router_backend_events.on_end(rig->router, number, &end);
}

static inline void end_well(struct rig *rig, uint64_t number)
{
    end_with(rig, number, BLAME_NONE, FAULT_NONE, 0);
}

static inline void fail_call(struct rig *rig, uint64_t number)
{
    end_with(rig, number, BLAME_SOURCE, FAULT_UPSTREAM, 0);
}

static inline void assert_begun(const struct fake *f, int n, uint64_t last)
{
    assert_int_equal(f->n_begun, n);
    if (n)
        assert_int_equal(f->begun[n - 1], last);
}

static inline enum router_health health_of(struct rig *rig, const char *name);

/* Opens the circuit of a source that is alone in its routes. */
static inline void break_source(struct rig *rig, const struct route *route, uint64_t number)
{
    int tries = rig->router->o.tries;
    rig->router->o.tries = 1;
    for (int i = 0; i < rig->o.failures; i++) {
        start_ok(rig, number + (uint64_t)i, route, 1);
        fail_call(rig, number + (uint64_t)i);
        turn(rig);
    }
    rig->router->o.tries = tries;
    assert_int_equal(health_of(rig, route->backend), ROUTER_OPEN);
}

struct wanted {
    const char *name;
    struct router_row row;
    int found;
};

static inline void find_row(void *arg, const struct router_row *row)
{
    struct wanted *w = arg;
    if (strcmp(row->name, w->name) == 0) {
        w->row = *row;
        w->found++;
    }
}

static inline struct router_row row_of(struct rig *rig, const char *name)
{
    struct wanted w = {.name = name};
    router_each(rig->router, find_row, &w);
    assert_int_equal(w.found, 1);
    return w.row;
}

static inline enum router_health health_of(struct rig *rig, const char *name)
{
    return row_of(rig, name).health;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_rig, close_rig)

#endif
