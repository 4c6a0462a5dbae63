/* The router: whatever comes in whatever order, each call ends once and nothing is left. */
#include "router_rig.h"

static const enum fault_kind kinds[] = {[BLAME_NONE] = FAULT_NONE,
                                        [BLAME_CALL] = FAULT_BAD_REQUEST,
                                        [BLAME_ROUTE] = FAULT_UPSTREAM,
                                        [BLAME_BUSY] = FAULT_RATE_LIMIT,
                                        [BLAME_SOURCE] = FAULT_UPSTREAM};

enum { STEPS = 20000, SEEDS = 8 };

static uint64_t dice;

static unsigned roll(unsigned sides)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return (unsigned)((dice >> 33) % sides);
}

/* Calls by what their owner knows of them. */
struct crowd {
    struct rig *rig;
    bool under_way[CALLS_MAX], owed[CALLS_MAX];
    uint64_t next; /* number to start */
};

static void start_one(struct crowd *c)
{
    static const struct {
        const struct route *list;
        size_t n;
    } routes[] = {{one_route, 1},         {second_alone, 1},    {engine_alone, 1}, {both, 2},
                  {first_then_second, 2}, {engine_then_one, 2}, {all_three, 3}};
    struct api_request r = {0};
    struct fault f;
    unsigned at = roll(sizeof routes / sizeof *routes);
    uint64_t number = c->next++;
    if (roll(8) == 0)
        fault_set(&r.upstream_only, FAULT_NOT_IMPLEMENTED, "tools", "not here");
    if (start_as(c->rig, number, roll(5), routes[at].list, routes[at].n, &r, roll(10) == 0, &f))
        assert_int_not_equal(f.kind, FAULT_NONE);
    else
        c->under_way[number] = true;
}

static uint64_t some_call(const struct crowd *c)
{
    uint64_t from = c->next > 60 ? c->next - 60 : 1;
    return c->next > from ? from + roll((unsigned)(c->next - from)) : 0;
}

/* Whether a source works on it: only then may one tell of it. */
static bool is_running(const struct crowd *c, uint64_t number)
{
    const struct router *r = c->rig->router;
    const struct routed *x = r->calls[number & (r->n_buckets - 1)];
    while (x && x->run.number != number)
        x = x->next;
    return x && (x->state == ROUTED_RUNNING || x->state == ROUTED_STOPPED);
}

static void end_one(struct crowd *c, uint64_t number)
{
    enum backend_blame blame = roll(3) ? BLAME_NONE : (enum backend_blame)roll(4);
    if (is_running(c, number))
        end_with(c->rig, number, blame, kinds[blame], (int)roll(3));
}

static void stop_one(struct crowd *c, uint64_t number)
{
    if (!c->under_way[number] || c->rig->told[number].ends)
        return;
    c->under_way[number] = false;
    c->owed[number] = router_stop(c->rig->router, number);
    forget_request(c->rig, number);
}

static void change_source(struct crowd *c)
{
    struct fake *f = c->rig->fakes[roll(FAKES)];
    if (!f)
        return;
    f->refusal.blame = (enum backend_blame)roll(4);
    f->refusal.retry_after_ms = (int)roll(3);
    fault_set(&f->refusal.fault, kinds[f->refusal.blame], NULL, "no");
}

/* New upstreams take the place of the old, which finish their runs. */
static void reload(struct crowd *c)
{
    struct rig *rig = c->rig;
    int n = 0;
    for (int i = 0; i < FAKES; i++)
        n += rig->fakes[i] != NULL;
    if (n > FAKES - 2)
        return;
    assert_int_equal(router_set_sources(rig->router, &rig->o, NULL, NULL, 0, NULL), 0);
    add_fake(rig, "one", 2);
    add_fake(rig, "two", 3);
}

static void step(struct crowd *c)
{
    uint64_t number = some_call(c);
    switch (roll(8)) {
    case 0:
    case 1:
        if (c->next < CALLS_MAX)
            start_one(c);
        break;
    case 2:
        if (is_running(c, number))
            begin_reply(c->rig, number);
        break;
    case 3:
        router_backend_events.on_piece(c->rig->router, number, &(struct backend_piece){0});
        break;
    case 4:
        end_one(c, number);
        break;
    case 5:
        if (roll(4) == 0)
            stop_one(c, number);
        break;
    case 6:
        if (roll(20) == 0)
            change_source(c);
        if (roll(100) == 0)
            reload(c);
        break;
    default:
        turn(c->rig);
    }
}

/* All that waits or runs comes to an end, since nobody refuses any more. */
static void finish_all(struct crowd *c)
{
    struct rig *rig = c->rig;
    for (int i = 0; i < FAKES; i++)
        if (rig->fakes[i])
            rig->fakes[i]->refusal.blame = BLAME_NONE;
    while (rig->router->n_calls > 0) {
        for (uint64_t i = 1; i < c->next; i++)
            if (is_running(c, i))
                end_well(rig, i);
        a_moment(rig);
    }
}

static void run_seed(struct rig *rig, uint64_t seed)
{
    struct crowd *c = calloc(1, sizeof *c);
    dice = seed * 0x9e3779b97f4a7c15u;
    c->rig = rig;
    c->next = 1;
    for (int i = 0; i < STEPS; i++)
        step(c);
    finish_all(c);
    for (uint64_t i = 1; i < c->next; i++)
        assert_int_equal(rig->told[i].ends, c->under_way[i] || c->owed[i] ? 1 : 0);
    for (const struct source *s = rig->router->sources; s; s = s->next) {
        assert_int_equal(s->running, 0);
        assert_int_equal(s->health.on_trial, false);
    }
    assert_int_equal(router_waiting(rig->router), 0);
    assert_int_equal(rig->router->waiting.bytes, 0);
    assert_int_equal(rig->router->waiting.n_owners, 0);
    free(c);
}

static void each_call_ends_once_whatever_happens(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        void *rig = NULL;
        open_rig(&rig);
        struct rig *r = rig;
        r->o.open_ms = 1;
        r->o.open_max_ms = 3;
        r->o.queue_calls = 20;
        set_options(r);
        add_fake(r, "one", 2);
        if (seed % 2)
            add_fake(r, "engine", 0);
        add_fake(r, "two", 3);
        run_seed(r, seed);
        turn(r);
        for (const struct source *s = r->router->sources; s; s = s->next)
            assert_int_equal(s->refs, 0);
        assert_null(r->router->dead);
        close_rig(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_call_ends_once_whatever_happens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
