/*
 * Unit tests of the limits in Redis against those in memory: the same sequences at random, at the
 * same times, must be told the same. And what only Redis has: leases, and a bound of what waits.
 */
#include "base/clock.h"
#include "gate/limits_bucket.h"
#include "gate/rates_redis.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>

#include "redis_rig.h"

enum { ROUNDS = 40, STEPS = 150, ROWS = 1000, WAIT_S = 60, TIMEOUT_MS = 10000, LEASE_MS = 2000 };

struct bench {
    struct redis_rig redis;
    struct event_base *base;
    struct rates_redis *shared;
    bool is_answered, is_none;
    struct limits_said said;
};

static uint64_t dice;
static int64_t time_ms;

static int64_t roll(int64_t from, int64_t to)
{
    dice = dice * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return from + (int64_t)((dice >> 11) % (uint64_t)(to - from + 1));
}

static int64_t test_now(void)
{
    return time_ms;
}

static void on_answer(void *arg, struct rates_call *call, const struct limits_said *said)
{
    struct bench *b = arg;
    assert_ptr_equal(call->owner, b);
    b->is_answered = true;
    b->is_none = !said;
    if (said)
        b->said = *said;
}

static int open_bench(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    b->base = event_base_new();
    *state = b;
    return b->base && redis_rig_open(&b->redis) ? 0 : -1;
}

static int close_bench(void **state)
{
    struct bench *b = *state;
    rates_redis_close(b->shared);
    redis_rig_close(&b->redis);
    event_base_free(b->base);
    free(b);
    return 0;
}

#define WAIT_UNTIL(b, condition)                                                                   \
    do {                                                                                           \
        int64_t until_ms_ = clock_mono_ms() + WAIT_S * 1000;                                       \
        while (!(condition) && clock_mono_ms() < until_ms_)                                        \
            turn(b);                                                                               \
        assert_true(condition);                                                                    \
    } while (0)

static void turn(struct bench *b)
{
    const struct timeval most = {.tv_usec = 10000};
    event_base_loopexit(b->base, &most);
    event_base_loop(b->base, EVLOOP_ONCE);
}

static struct rates_redis *open_shared(struct bench *b, int lease_ms, size_t max_waiting,
                                       int64_t (*now_ms)(void))
{
    struct rates_redis_options o = {.timeout_ms = TIMEOUT_MS,
                                    .lease_ms = lease_ms,
                                    .max_waiting = max_waiting,
                                    .now_ms = now_ms,
                                    .on_answer = on_answer,
                                    .arg = b};
    struct rates_redis *r;
    struct error e;
    if (rates_url_parse(b->redis.url, &o.url, &e) != 0 ||
        rates_redis_open(b->base, &o, &r, &e) != 0)
        fail_msg("%s", e.text);
    WAIT_UNTIL(b, rates_redis_state(r).reached);
    return r;
}

/* Waits for the answer; NULL if it was refused. */
static struct rates_call *ask_redis(struct bench *b, struct rates_redis *r,
                                    const struct limits_ask *ask)
{
    b->is_answered = false;
    struct rates_call *call = rates_redis_admit(r, ask, b);
    assert_non_null(call);
    WAIT_UNTIL(b, b->is_answered);
    assert_false(b->is_none);
    return b->said.admitted ? call : NULL;
}

/* --- the same as in memory --- */

/* Small figures, usual ones, and the largest that there may be. */
static int64_t roll_rate(int size)
{
    static const int64_t most[] = {20, 100000, LIMITS_RATE_MAX};
    int64_t from = size == 2 ? LIMITS_RATE_MAX - 1000 : 1;
    return roll(0, 5) == 0 ? 0 : roll(from, most[size]);
}

static void roll_figures(struct limits_rates of[LIMITS_SCOPES])
{
    int size = (int)roll(0, 2);
    for (int s = 0; s < LIMITS_SCOPES; s++)
        of[s] = (struct limits_rates){{roll_rate(size), roll_rate(size)}, roll(3, 30)};
}

static struct limits_ask random_ask(const struct limits_rates figures[LIMITS_SCOPES])
{
    struct limits_ask ask = {0};
    int64_t most = figures[roll(0, LIMITS_SCOPES - 1)].per_minute[LIMITS_TOKENS];
    ask.prompt_tokens = roll(0, most / 2 + 1);
    ask.tokens = ask.prompt_tokens + roll(0, most);
    if (roll(0, 30) == 0)
        ask.tokens = INT64_MAX;
    for (int s = 0; s < LIMITS_SCOPES; s++) {
        ask.of[s].id = roll(0, 1) ? (uint64_t)roll(1, 3) : UINT64_MAX;
        if (roll(0, 4) != 0)
            ask.of[s].rates = figures[s];
    }
    return ask;
}

static void check_said_equal(const struct limits_said *a, const struct limits_said *b)
{
    assert_int_equal(a->admitted, b->admitted);
    assert_int_equal(a->scope, b->scope);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->limit, b->limit);
    assert_int_equal(a->retry_after_ms, b->retry_after_ms);
    for (int k = 0; k < LIMITS_RATES; k++) {
        assert_int_equal(a->rate[k].limit, b->rate[k].limit);
        assert_int_equal(a->rate[k].remaining, b->rate[k].remaining);
        assert_int_equal(a->rate[k].reset_ms, b->rate[k].reset_ms);
    }
}

struct both {
    struct limits_hold hold;
    struct rates_call *call;
};

static void settle_both(struct bench *b, struct limits *memory, struct both *of)
{
    int64_t used = roll(0, 3) == 0 ? roll(0, LIMITS_RATE_MAX) : roll(0, 2000);
    if (!of->call)
        return;
    limits_settle(memory, &of->hold, used, time_ms);
    rates_redis_settle(b->shared, of->call, used);
    of->call = NULL;
}

/* Returns how many were admitted. */
static int play_round(struct bench *b, struct limits *memory)
{
    struct both calls[STEPS] = {0};
    struct limits_rates figures[LIMITS_SCOPES];
    int64_t pause_ms = roll(0, 1) ? 2000 : 30;
    int admitted = 0;
    roll_figures(figures);
    for (int i = 0; i < STEPS; i++) {
        struct limits_said said;
        time_ms += roll(0, 40) == 0 ? roll(0, 300000) : roll(0, pause_ms);
        if (roll(0, 40) == 0) { /* what runs is settled with the figures that let it in */
            for (int j = 0; j < i; j++)
                settle_both(b, memory, &calls[j]);
            roll_figures(figures);
        }
        settle_both(b, memory, &calls[roll(0, STEPS - 1)]);
        struct limits_ask ask = random_ask(figures);
        limits_admit(memory, &ask, time_ms, &calls[i].hold, &said);
        calls[i].call = ask_redis(b, b->shared, &ask);
        check_said_equal(&b->said, &said);
        admitted += said.admitted;
    }
    for (int i = 0; i < STEPS; i++)
        settle_both(b, memory, &calls[i]);
    return admitted;
}

static void redis_says_the_same_as_memory_to_the_last_unit(void **state)
{
    struct bench *b = *state;
    int admitted = 0;
    time_ms = INT64_C(1800000000000);
    b->shared = open_shared(b, INT32_MAX, ROWS, test_now);
    for (int round = 0; round < ROUNDS; round++) {
        dice = (uint64_t)round;
        struct limits *memory = limits_new(ROWS);
        WAIT_UNTIL(b, rates_redis_state(b->shared).waiting == 0);
        assert_true(redis_rig_do(&b->redis, "FLUSHALL"));
        admitted += play_round(b, memory);
        assert_int_equal(limits_shared(memory), 0);
        limits_free(memory);
    }
    assert_in_range(admitted, ROUNDS * STEPS / 10, ROUNDS * STEPS * 9 / 10);
    assert_int_equal(rates_redis_state(b->shared).unsettled, 0);
}

/* --- what only Redis has --- */

static void calls_of_a_process_that_died_count_until_their_lease_ends(void **state)
{
    struct bench *b = *state;
    struct limits_ask ask = {.of[LIMITS_KEY] = {1, {{0, 0}, 1}}};
    struct rates_redis *dead = open_shared(b, LEASE_MS, ROWS, NULL);
    assert_non_null(ask_redis(b, dead, &ask));
    rates_redis_close(dead); /* it settles nothing */
    b->shared = open_shared(b, LEASE_MS, ROWS, NULL);
    assert_null(ask_redis(b, b->shared, &ask));
    assert_int_equal(b->said.kind, LIMITS_CONCURRENT);
    WAIT_UNTIL(b, redis_rig_number(&b->redis, "EXISTS moongate:{limits}:key:1:calls") == 0);
    struct rates_call *call = ask_redis(b, b->shared, &ask);
    assert_non_null(call);
    rates_redis_settle(b->shared, call, 0);
}

static void a_call_that_runs_longer_than_its_lease_goes_on_counting(void **state)
{
    struct bench *b = *state;
    struct limits_ask ask = {.of[LIMITS_ACCOUNT] = {1, {{0, 0}, 100}}};
    struct rates_call *calls[100];
    b->shared = open_shared(b, LEASE_MS, ROWS, NULL);
    for (int i = 0; i < 100; i++) {
        ask.of[LIMITS_KEY] = (struct limits_subject){(uint64_t)i, {{0, 0}, 1}};
        assert_non_null(calls[i] = ask_redis(b, b->shared, &ask));
    }
    int64_t until_ms = clock_mono_ms() + 2 * LEASE_MS;
    WAIT_UNTIL(b, clock_mono_ms() >= until_ms);
    assert_null(ask_redis(b, b->shared, &ask));
    ask.of[LIMITS_KEY].rates.concurrent = 0;
    assert_null(ask_redis(b, b->shared, &ask));
    for (int i = 0; i < 100; i++)
        rates_redis_settle(b->shared, calls[i], 0);
    WAIT_UNTIL(b, redis_rig_number(&b->redis, "ZCARD moongate:{limits}:account:1:calls") == 0);
    assert_non_null(calls[0] = ask_redis(b, b->shared, &ask));
    rates_redis_settle(b->shared, calls[0], 0);
}

static void only_so_many_commands_wait_for_redis(void **state)
{
    struct bench *b = *state;
    struct limits_ask ask = {.of[LIMITS_KEY] = {1, {{100, 0}, 0}}};
    struct rates_call *calls[4];
    b->shared = open_shared(b, LEASE_MS * 100, 4, NULL);
    WAIT_UNTIL(b, rates_redis_state(b->shared).waiting == 0);
    redis_rig_signal(&b->redis, SIGSTOP);
    for (int i = 0; i < 4; i++)
        assert_non_null(calls[i] = rates_redis_admit(b->shared, &ask, b));
    assert_null(rates_redis_admit(b->shared, &ask, b));
    redis_rig_signal(&b->redis, SIGCONT);
    WAIT_UNTIL(b, rates_redis_state(b->shared).waiting == 0);
    assert_int_equal(rates_redis_state(b->shared).running, 4);
    assert_int_equal(rates_redis_state(b->shared).asked, 4);
    for (int i = 0; i < 4; i++)
        rates_redis_settle(b->shared, calls[i], 0);
}

#define WITH_REDIS(test) cmocka_unit_test_setup_teardown(test, open_bench, close_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_REDIS(redis_says_the_same_as_memory_to_the_last_unit),
        WITH_REDIS(calls_of_a_process_that_died_count_until_their_lease_ends),
        WITH_REDIS(a_call_that_runs_longer_than_its_lease_goes_on_counting),
        WITH_REDIS(only_so_many_commands_wait_for_redis),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
