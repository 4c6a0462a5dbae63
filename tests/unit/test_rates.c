/*
 * Unit tests of the limits' asynchronous face, in memory and with a real Redis that is killed,
 * stopped and filled up on the way. That Redis does the same arithmetic is test_rates_same.c.
 */
#include "base/clock.h"
#include "gate/rates.h"
#include "gate/rates_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>

#include "redis_rig.h"

enum {
    WAIT_S = 60,
    TIMEOUT_MS = 10000, /* long, so that a slow machine is not taken for a Redis that is away */
    SHORT_TIMEOUT_MS = 200,
    CALLS = 40,
    REPLICAS = 8,
    MINUTE_MS = 60000
};

static const char secret[] = "s3cret-p4ssword";

struct answer {
    int n; /* times that it came */
    bool is_none;
    struct limits_said said;
};

struct bench {
    struct redis_rig redis;
    struct event_base *base;
    struct rates *rates;
    struct answer answers[CALLS * REPLICAS];
    struct rates_hold holds[CALLS * REPLICAS];
    int notes;
    bool reached;
    char why[256];
    int again; /* on_said settles and asks anew so many times */
    struct limits_ask ask;
};

static void on_said(void *arg, uint64_t number, const struct limits_said *said)
{
    struct bench *b = arg;
    struct answer *a = &b->answers[number];
    a->n++;
    a->is_none = !said;
    if (said)
        a->said = *said;
    if (b->again == 0)
        return;
    b->again--;
    rates_settle(b->rates, &b->holds[number], 1);
    rates_admit(b->rates, number, &b->ask, &b->holds[number], &a->said);
}

static void on_note(void *arg, bool reached, const char *why)
{
    struct bench *b = arg;
    b->notes++;
    b->reached = reached;
    snprintf(b->why, sizeof b->why, "%s", why);
}

static int open_memory(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    b->base = event_base_new();
    *state = b;
    return b->base ? 0 : -1;
}

static int open_redis(void **state)
{
    open_memory(state);
    struct bench *b = *state;
    return redis_rig_open(&b->redis) ? 0 : -1;
}

static int open_redis_tcp(void **state)
{
    open_memory(state);
    struct bench *b = *state;
    b->redis.password = secret;
    b->redis.port = redis_rig_free_port();
    return redis_rig_open(&b->redis) ? 0 : -1;
}

static int close_bench(void **state)
{
    struct bench *b = *state;
    rates_close(b->rates);
    if (b->redis.dir[0])
        redis_rig_close(&b->redis);
    event_base_free(b->base);
    free(b);
    return 0;
}

static struct rates *open_rates(struct bench *b, const char *url, enum rates_away away,
                                int timeout_ms)
{
    struct rates_options o = {
        .max_rows = 1000, .redis = url, .away = away, .timeout_ms = timeout_ms, .on_note = on_note};
    struct rates *r;
    struct error e;
    if (rates_open(b->base, &o, on_said, b, &r, &e) != 0)
        fail_msg("%s", e.text);
    return r;
}

/* Turns the loop until it is so. */
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

static struct rates_state state_of(const struct rates *r)
{
    struct rates_state s;
    rates_state(r, &s);
    return s;
}

static void open_reached(struct bench *b, enum rates_away away, int timeout_ms)
{
    b->rates = open_rates(b, b->redis.url, away, timeout_ms);
    WAIT_UNTIL(b, state_of(b->rates).reached);
}

static struct limits_ask key_ask(int64_t requests, int64_t tokens, int64_t concurrent)
{
    return (struct limits_ask){
        .of[LIMITS_KEY] = {1, {{requests, tokens}, concurrent}}, .prompt_tokens = 1, .tokens = 10};
}

/* Admits a call and waits for the answer. */
static bool admit(struct bench *b, int i, const struct limits_ask *ask)
{
    struct answer *a = &b->answers[i];
    memset(a, 0, sizeof *a);
    int rc = rates_admit(b->rates, (uint64_t)i, ask, &b->holds[i], &a->said);
    if (rc == RATES_LATER)
        WAIT_UNTIL(b, a->n > 0);
    a->is_none |= rc == ERR_BUSY;
    return !a->is_none && a->said.admitted;
}

/* --- in memory, and what needs no Redis --- */

static void in_memory_every_answer_comes_at_once(void **state)
{
    struct bench *b = *state;
    struct limits_ask ask = key_ask(3, 0, 2);
    struct limits_said said;
    b->rates = open_rates(b, "", RATES_AWAY_REFUSE, TIMEOUT_MS);
    assert_true(rates_look(b->rates, &ask, &said));
    assert_int_equal(said.rate[LIMITS_REQUESTS].remaining, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rates_admit(b->rates, 7, &ask, &b->holds[i], &said), RATES_ANSWERED);
        assert_int_equal(said.admitted, i < 2);
    }
    assert_int_equal(said.kind, LIMITS_CONCURRENT);
    assert_false(rates_look(b->rates, &ask, &said));
    for (int i = 0; i < 3; i++) {
        rates_settle(b->rates, &b->holds[i], 1);
        rates_settle(b->rates, &b->holds[i], 1); /* harmless */
    }
    rates_cancel(b->rates, &b->holds[5]); /* it was never asked */
    assert_true(rates_look(b->rates, &ask, &said));
    assert_int_equal(said.rate[LIMITS_REQUESTS].remaining, 1);
    assert_false(state_of(b->rates).shared);
    assert_int_equal(b->notes + b->answers[7].n, 0);
    rates_close(NULL);
}

static void urls_of_redis_are_read_strictly(void **state)
{
    static const struct {
        const char *url, *host, *user, *password;
        int port, db;
        bool is_path;
    } good[] = {
        {"redis://localhost", "localhost", "", "", 6379, 0, false},
        {"redis://10.0.0.7:7000/3", "10.0.0.7", "", "", 7000, 3, false},
        {"redis://[::1]:7000/", "::1", "", "", 7000, 0, false},
        {"redis://:pw@r.example", "r.example", "", "pw", 6379, 0, false},
        {"redis://me:p%40s%2fs:x@r.example/1", "r.example", "me", "p@s/s:x", 6379, 1, false},
        {"redis://me:p@ss@r.example", "r.example", "me", "p@ss", 6379, 0, false},
        {"unix:///run/redis/redis.sock", "/run/redis/redis.sock", "", "", 0, 0, true},
        {"unix://:pw@/run/r.sock?db=2", "/run/r.sock", "", "pw", 0, 2, true},
    };
    static const char *const bad[] = {
        "localhost:6379",
        "http://hunter2",
        "redis://",
        "redis://:hunter2@",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:hunter2",
        "redis://h/hunter2",
        "redis://h?hunter2",
        "redis://h/1/2",
        "redis://hunter2@h",
        "redis://hunter2:@h",
        "redis://:hunter2%@h",
        "redis://:hunter2%0g@h",
        "redis://:hunter2%00@h",
        "redis://[::1",
        "redis://[::1]hunter2",
        "unix://hunter2",
        "unix:///a?x=hunter2",
        "unix:///a?db=-hunter2",
        "redis://h:99999999999999999999",
        "redis://h/-1",
        "rediss://:hunter2@host",
    };
    struct rates_url url;
    struct error e;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(rates_url_parse(good[i].url, &url, &e), 0);
        assert_string_equal(url.host, good[i].host);
        assert_string_equal(url.user, good[i].user);
        assert_string_equal(url.password, good[i].password);
        assert_int_equal(url.port, good[i].port);
        assert_int_equal(url.db, good[i].db);
        assert_int_equal(url.is_path, good[i].is_path);
        assert_int_equal(rates_check_url(good[i].url, &e), 0);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int code = strncmp(bad[i], "rediss:", 7) == 0 ? ERR_UNSUPPORTED : ERR_INVALID;
        assert_int_equal(rates_check_url(bad[i], &e), code);
        assert_null(strstr(e.text, "hunter2"));
    }
    assert_int_equal(rates_check_url("", &e), 0);
}

static void a_redis_that_was_never_there_is_told_of_once_and_the_rule_holds(void **state)
{
    struct bench *b = *state;
    struct limits_ask ask = key_ask(2, 0, 0);
    struct limits_said said;
    b->rates = open_rates(b, "unix:///nowhere/redis.sock", RATES_AWAY_LOCAL, TIMEOUT_MS);
    WAIT_UNTIL(b, b->notes > 0);
    assert_false(b->reached);
    assert_true(admit(b, 0, &ask));
    assert_true(admit(b, 1, &ask));
    assert_false(admit(b, 2, &ask));
    assert_false(rates_look(b->rates, &ask, &said));
    assert_int_equal(b->answers[2].said.limit, 2);
    assert_int_equal(state_of(b->rates).away, 3);
    rates_settle(b->rates, &b->holds[0], 1);
    rates_settle(b->rates, &b->holds[1], 1);
    int64_t until_ms = clock_mono_ms() + 500; /* some tries later */
    WAIT_UNTIL(b, clock_mono_ms() >= until_ms);
    assert_int_equal(b->notes, 1);
}

/* --- with Redis --- */

static void redis_answers_later_and_tells_the_figures(void **state)
{
    struct bench *b = *state;
    struct limits_ask ask = key_ask(2, 1000, 0);
    open_reached(b, RATES_AWAY_REFUSE, TIMEOUT_MS);
    assert_int_equal(b->notes, 1);
    assert_true(b->reached);
    ask.tokens = 700;
    assert_true(admit(b, 0, &ask));
    assert_int_equal(b->answers[0].n, 1);
    assert_int_equal(b->answers[0].said.rate[LIMITS_REQUESTS].limit, 2);
    assert_int_equal(b->answers[0].said.rate[LIMITS_REQUESTS].remaining, 1);
    assert_int_equal(b->answers[0].said.rate[LIMITS_REQUESTS].reset_ms, MINUTE_MS / 2);
    assert_int_equal(b->answers[0].said.rate[LIMITS_TOKENS].remaining, 300);
    assert_int_equal(state_of(b->rates).running, 1);
    rates_settle(b->rates, &b->holds[0], 100);
    assert_int_equal(state_of(b->rates).running, 0);
    ask.tokens = 800;
    assert_true(admit(b, 0, &ask)); /* 600 of 700 came back */
    rates_settle(b->rates, &b->holds[0], 0);
    assert_false(admit(b, 1, &ask));
    assert_int_equal(b->answers[1].said.kind, LIMITS_REQUESTS);
    assert_int_equal(b->answers[1].said.scope, LIMITS_KEY);
    assert_in_range(b->answers[1].said.retry_after_ms, 1, MINUTE_MS / 2);
    rates_settle(b->rates, &b->holds[1], 0); /* it holds nothing */
    assert_int_equal(state_of(b->rates).unsettled, 0);
    assert_int_equal(state_of(b->rates).asked, 3);
}

static void who_waits_as_long_as_is_told_is_let_in(void **state)
{
    struct bench *b = *state;
    struct limits_ask ask = key_ask(600, 0, 0);
    open_reached(b, RATES_AWAY_REFUSE, TIMEOUT_MS);
    for (int round = 0; round < 3; round++) {
        while (admit(b, 0, &ask))
            rates_settle(b->rates, &b->holds[0], 1);
        int64_t until_ms = clock_mono_ms() + b->answers[0].said.retry_after_ms;
        assert_in_range(b->answers[0].said.retry_after_ms, 1, 100);
        /* Two clocks, each cut to its millisecond. */
        WAIT_UNTIL(b, clock_mono_ms() > until_ms + 1);
        assert_true(admit(b, 0, &ask));
        rates_settle(b->rates, &b->holds[0], 1);
    }
}

static void what_is_full_again_is_gone_from_redis(void **state)
{
    struct bench *b = *state;
    struct limits_ask ask = key_ask(600, 0, 5);
    open_reached(b, RATES_AWAY_REFUSE, TIMEOUT_MS);
    assert_true(admit(b, 0, &ask));
    assert_in_range(redis_rig_number(&b->redis, "PTTL moongate:{limits}:key:1:calls"), 1,
                    RATES_LEASE_MS);
    assert_true(redis_rig_number(&b->redis, "PTTL moongate:{limits}:key:1") <= 100);
    rates_settle(b->rates, &b->holds[0], 1);
    WAIT_UNTIL(b, redis_rig_number(&b->redis, "DBSIZE") == 0); /* the probe has gone as well */
}

/* Replicas: connections that know nothing of each other. */
static int admit_from_all(struct bench *b, struct rates *const of[REPLICAS],
                          const struct limits_ask *ask)
{
    int admitted = 0;
    memset(b->answers, 0, sizeof b->answers);
    for (int i = 0; i < CALLS * REPLICAS; i++)
        assert_int_equal(
            rates_admit(of[i % REPLICAS], (uint64_t)i, ask, &b->holds[i], &b->answers[i].said),
            RATES_LATER);
    for (int i = 0; i < CALLS * REPLICAS; i++) {
        WAIT_UNTIL(b, b->answers[i].n > 0);
        assert_int_equal(b->answers[i].n, 1);
        assert_false(b->answers[i].is_none);
        admitted += b->answers[i].said.admitted;
    }
    return admitted;
}

static void settle_all(struct bench *b, struct rates *const of[REPLICAS], int64_t tokens)
{
    for (int i = 0; i < CALLS * REPLICAS; i++)
        rates_settle(of[i % REPLICAS], &b->holds[i], tokens);
    for (int i = 0; i < REPLICAS; i++)
        WAIT_UNTIL(b, state_of(of[i]).waiting == 0);
}

static void forget_refusals(struct bench *b)
{
    int64_t until_ms = clock_mono_ms() + RATES_REMEMBERED_MS;
    WAIT_UNTIL(b, clock_mono_ms() >= until_ms);
}

static void several_connections_at_once_never_admit_more_than_the_limit(void **state)
{
    struct bench *b = *state;
    struct rates *of[REPLICAS];
    struct limits_ask at_once = key_ask(0, 0, 37), rates = key_ask(100, 1500, 0);
    for (int i = 0; i < REPLICAS; i++)
        of[i] = open_rates(b, b->redis.url, RATES_AWAY_REFUSE, TIMEOUT_MS);
    for (int i = 0; i < REPLICAS; i++)
        WAIT_UNTIL(b, state_of(of[i]).reached);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(admit_from_all(b, of, &at_once), 37);
        assert_int_equal(redis_rig_number(&b->redis, "ZCARD moongate:{limits}:key:1:calls"), 37);
        settle_all(b, of, 0);
        assert_int_equal(redis_rig_number(&b->redis, "ZCARD moongate:{limits}:key:1:calls"), 0);
        forget_refusals(b);
    }
    rates.of[LIMITS_ACCOUNT] = (struct limits_subject){9, {{70, 0}, 0}};
    rates.tokens = 20; /* of 1500, so 75 calls */
    int64_t began_ms = clock_mono_ms();
    int admitted = admit_from_all(b, of, &rates);
    int64_t lasted_ms = clock_mono_ms() - began_ms + 1;
    assert_true(admitted >= 70);
    assert_true((admitted - 70) * (int64_t)MINUTE_MS <= lasted_ms * 70);
    settle_all(b, of, 20);
    for (int i = 0; i < REPLICAS; i++)
        rates_close(of[i]);
}

static void a_flood_of_refused_calls_costs_redis_nothing(void **state)
{
    struct bench *b = *state;
    struct limits_ask ask = key_ask(1, 0, 0), other = ask;
    struct limits_said said;
    open_reached(b, RATES_AWAY_REFUSE, TIMEOUT_MS);
    assert_true(rates_look(b->rates, &ask, &said)); /* nothing is known */
    assert_true(admit(b, 0, &ask));
    assert_false(admit(b, 1, &ask));
    uint64_t asked = state_of(b->rates).asked;
    for (int i = 0; i < 10000; i++) {
        assert_false(rates_look(b->rates, &ask, &said));
        assert_int_equal(rates_admit(b->rates, 2, &ask, &b->holds[2], &said), RATES_ANSWERED);
        assert_false(said.admitted);
        assert_int_equal(said.rate[LIMITS_REQUESTS].limit, 1);
    }
    assert_in_range(said.retry_after_ms, 1, b->answers[1].said.retry_after_ms);
    assert_int_equal(state_of(b->rates).asked, asked);
    assert_int_equal(state_of(b->rates).remembered, 20000);
    other.of[LIMITS_KEY].id = 2; /* others are not touched, nor is another figure */
    assert_true(admit(b, 3, &other));
    ask.of[LIMITS_KEY].rates.per_minute[LIMITS_REQUESTS] = 2;
    assert_true(rates_look(b->rates, &ask, &said));
    rates_settle(b->rates, &b->holds[0], 1);
    rates_settle(b->rates, &b->holds[3], 1);
}

static void a_call_that_ends_here_makes_room_for_the_next_at_once(void **state)
{
    struct bench *b = *state;
    struct limits_ask ask = key_ask(0, 0, 1);
    open_reached(b, RATES_AWAY_REFUSE, TIMEOUT_MS);
    for (int i = 0; i < 50; i++) {
        assert_true(admit(b, 0, &ask));
        assert_false(admit(b, 1, &ask));
        rates_settle(b->rates, &b->holds[0], 1);
    }
}

static void a_call_that_dies_before_its_answer_leaves_nothing_behind(void **state)
{
    struct bench *b = *state;
    struct limits_ask ask = key_ask(0, 100, 3);
    struct limits_said said;
    open_reached(b, RATES_AWAY_REFUSE, TIMEOUT_MS);
    ask.tokens = 33;
    for (int i = 0; i < CALLS; i++) {
        assert_int_equal(rates_admit(b->rates, (uint64_t)i, &ask, &b->holds[i], &said),
                         RATES_LATER);
        rates_cancel(b->rates, &b->holds[i]);
        rates_cancel(b->rates, &b->holds[i]);
    }
    WAIT_UNTIL(b, state_of(b->rates).waiting == 0);
    assert_int_equal(state_of(b->rates).running, 0);
    for (int i = 0; i < CALLS; i++)
        assert_int_equal(b->answers[i].n, 0);
    assert_int_equal(redis_rig_number(&b->redis, "EXISTS moongate:{limits}:key:1:calls"), 0);
    ask.tokens = 100;
    assert_true(admit(b, 0, &ask)); /* all tokens are there again */
    rates_settle(b->rates, &b->holds[0], 0);
}

static void a_call_may_be_settled_and_the_next_one_asked_from_inside_an_answer(void **state)
{
    struct bench *b = *state;
    open_reached(b, RATES_AWAY_LOCAL, TIMEOUT_MS);
    b->ask = key_ask(0, 0, 1);
    b->again = 20;
    assert_true(admit(b, 0, &b->ask));
    WAIT_UNTIL(b, b->answers[0].n == 21);
    assert_true(b->answers[0].said.admitted);
    /* Also when the answer is that there is none. */
    b->answers[0].n = 0;
    rates_settle(b->rates, &b->holds[0], 1);
    WAIT_UNTIL(b, state_of(b->rates).waiting == 0);
    redis_rig_signal(&b->redis, SIGSTOP);
    b->again = 1;
    assert_int_equal(rates_admit(b->rates, 0, &b->ask, &b->holds[0], &b->answers[0].said),
                     RATES_LATER);
    redis_rig_kill(&b->redis);
    WAIT_UNTIL(b, b->answers[0].n > 0);
    assert_true(b->holds[0].is_local);
    assert_true(b->answers[0].said.admitted);
    rates_settle(b->rates, &b->holds[0], 1);
}

static void scripts_that_were_flushed_are_sent_again(void **state)
{
    struct bench *b = *state;
    struct limits_ask ask = key_ask(0, 100, 1);
    open_reached(b, RATES_AWAY_REFUSE, TIMEOUT_MS);
    ask.tokens = 100;
    for (int i = 0; i < 3; i++) {
        assert_true(redis_rig_do(&b->redis, "SCRIPT FLUSH"));
        assert_true(admit(b, 0, &ask));
        assert_true(redis_rig_do(&b->redis, "SCRIPT FLUSH"));
        rates_settle(b->rates, &b->holds[0], 0);
        WAIT_UNTIL(b, state_of(b->rates).waiting == 0);
    }
    assert_int_equal(b->notes, 1);
    assert_int_equal(state_of(b->rates).unsettled, 0);
}

/* --- Redis away --- */

static void while_redis_is_dead_the_limits_of_this_process_hold(void **state)
{
    struct bench *b = *state;
    struct limits_ask ask = key_ask(0, 0, 2);
    open_reached(b, RATES_AWAY_LOCAL, TIMEOUT_MS);
    assert_true(admit(b, 0, &ask));
    redis_rig_kill(&b->redis);
    WAIT_UNTIL(b, !state_of(b->rates).reached);
    assert_false(b->reached);
    assert_true(admit(b, 1, &ask));
    assert_true(admit(b, 2, &ask));
    assert_false(admit(b, 3, &ask));
    assert_int_equal(b->answers[1].n, 0); /* at once */
    assert_int_equal(state_of(b->rates).away, 3);
    assert_true(redis_rig_start(&b->redis));
    WAIT_UNTIL(b, state_of(b->rates).reached);
    assert_true(b->reached);
    assert_int_equal(b->notes, 3);
    /* The new Redis knows of the call that the old one admitted. */
    WAIT_UNTIL(b, redis_rig_number(&b->redis, "ZCARD moongate:{limits}:key:1:calls") == 1);
    assert_true(admit(b, 4, &ask));
    assert_int_equal(b->answers[4].n, 1);
    assert_false(admit(b, 5, &ask));
    for (int i = 0; i < 6; i++)
        rates_settle(b->rates, &b->holds[i], 1);
    WAIT_UNTIL(b, redis_rig_number(&b->redis, "EXISTS moongate:{limits}:key:1:calls") == 0);
    assert_int_equal(state_of(b->rates).unsettled, 0);
}

static void while_redis_is_dead_calls_are_refused_where_that_is_the_rule(void **state)
{
    struct bench *b = *state;
    struct limits_ask ask = key_ask(100, 0, 5), free_of_limits = {0};
    struct limits_said said;
    open_reached(b, RATES_AWAY_REFUSE, TIMEOUT_MS);
    assert_true(admit(b, 9, &ask));
    redis_rig_signal(&b->redis, SIGSTOP);
    for (int i = 0; i < 5; i++)
        assert_int_equal(rates_admit(b->rates, (uint64_t)i, &ask, &b->holds[i], &said),
                         RATES_LATER);
    rates_cancel(b->rates, &b->holds[4]);
    redis_rig_kill(&b->redis);
    for (int i = 0; i < 4; i++) {
        WAIT_UNTIL(b, b->answers[i].n > 0);
        assert_true(b->answers[i].is_none);
    }
    assert_int_equal(b->answers[4].n, 0);
    assert_int_equal(rates_admit(b->rates, 5, &ask, &b->holds[5], &said), ERR_BUSY);
    assert_int_equal(rates_admit(b->rates, 6, &free_of_limits, &b->holds[6], &said),
                     RATES_ANSWERED);
    assert_true(said.admitted);
    rates_settle(b->rates, &b->holds[9], 1); /* lost, and harmless */
    assert_int_equal(state_of(b->rates).unsettled, 1);
    assert_int_equal(state_of(b->rates).running + state_of(b->rates).waiting, 0);
    assert_true(redis_rig_start(&b->redis));
    WAIT_UNTIL(b, state_of(b->rates).reached);
    assert_true(admit(b, 7, &ask));
    rates_settle(b->rates, &b->holds[7], 1);
}

static void a_redis_that_stands_still_is_away_after_the_timeout(void **state)
{
    struct bench *b = *state;
    struct limits_ask ask = key_ask(100, 0, 0);
    struct limits_said said;
    open_reached(b, RATES_AWAY_LOCAL, SHORT_TIMEOUT_MS);
    redis_rig_signal(&b->redis, SIGSTOP);
    assert_int_equal(rates_admit(b->rates, 0, &ask, &b->holds[0], &said), RATES_LATER);
    WAIT_UNTIL(b, b->answers[0].n > 0);
    assert_true(b->answers[0].said.admitted);
    assert_false(state_of(b->rates).reached);
    assert_non_null(strstr(b->why, "200 ms"));
    assert_true(admit(b, 1, &ask));
    assert_int_equal(b->answers[1].n, 0); /* nobody waits any more */
    int notes = b->notes;
    int64_t until_ms = clock_mono_ms() + 4 * SHORT_TIMEOUT_MS; /* it can be connected to, but */
    WAIT_UNTIL(b, clock_mono_ms() >= until_ms);
    assert_false(state_of(b->rates).reached);
    assert_int_equal(b->notes, notes);
    redis_rig_signal(&b->redis, SIGCONT);
    WAIT_UNTIL(b, state_of(b->rates).reached);
    rates_settle(b->rates, &b->holds[0], 1);
    rates_settle(b->rates, &b->holds[1], 1);
}

static void a_redis_without_memory_is_away_until_it_has_some(void **state)
{
    struct bench *b = *state;
    struct limits_ask ask = key_ask(100, 0, 0);
    open_reached(b, RATES_AWAY_REFUSE, TIMEOUT_MS);
    assert_true(redis_rig_do(&b->redis, "CONFIG SET maxmemory 1"));
    assert_false(admit(b, 0, &ask));
    assert_true(b->answers[0].is_none);
    assert_non_null(strstr(b->why, "OOM"));
    int notes = b->notes;
    int64_t until_ms = clock_mono_ms() + 500; /* it is tried, and is no better */
    WAIT_UNTIL(b, clock_mono_ms() >= until_ms);
    assert_int_equal(b->notes, notes);
    assert_true(redis_rig_do(&b->redis, "CONFIG SET maxmemory 0"));
    WAIT_UNTIL(b, state_of(b->rates).reached);
    assert_true(admit(b, 1, &ask));
    rates_settle(b->rates, &b->holds[1], 1);
}

static void a_host_by_its_name_with_password_and_database(void **state)
{
    struct bench *b = *state;
    char url[REDIS_URL_BYTES];
    struct limits_ask ask = key_ask(100, 0, 0);
    snprintf(url, sizeof url, "redis://:%s@localhost:%d/3", secret, b->redis.port);
    b->rates = open_rates(b, url, RATES_AWAY_REFUSE, TIMEOUT_MS);
    WAIT_UNTIL(b, state_of(b->rates).reached);
    assert_true(admit(b, 0, &ask));
    rates_settle(b->rates, &b->holds[0], 1);
    rates_close(b->rates);
    snprintf(url, sizeof url, "redis://default:%s@127.0.0.1:%d", secret, b->redis.port);
    b->rates = open_rates(b, url, RATES_AWAY_REFUSE, TIMEOUT_MS);
    WAIT_UNTIL(b, state_of(b->rates).reached);
}

static void a_wrong_password_is_told_without_it(void **state)
{
    struct bench *b = *state;
    char url[REDIS_URL_BYTES];
    snprintf(url, sizeof url, "redis://:wr0ng-p4ssword@127.0.0.1:%d", b->redis.port);
    b->rates = open_rates(b, url, RATES_AWAY_REFUSE, TIMEOUT_MS);
    WAIT_UNTIL(b, b->notes > 0);
    assert_false(b->reached);
    assert_non_null(strstr(b->why, "WRONGPASS"));
    assert_null(strstr(b->why, "wr0ng"));
    rates_close(b->rates);
    b->rates = open_rates(b, b->redis.url, RATES_AWAY_REFUSE, TIMEOUT_MS);
    WAIT_UNTIL(b, b->notes > 1);
    assert_non_null(strstr(b->why, "NOAUTH"));
}

static void closing_with_answers_under_way_answers_nobody(void **state)
{
    struct bench *b = *state;
    struct limits_ask ask = key_ask(100, 0, 5);
    struct limits_said said;
    open_reached(b, RATES_AWAY_LOCAL, TIMEOUT_MS);
    assert_true(admit(b, 0, &ask));
    rates_settle(b->rates, &b->holds[0], 1);
    for (int i = 1; i < 4; i++)
        assert_int_equal(rates_admit(b->rates, (uint64_t)i, &ask, &b->holds[i], &said),
                         RATES_LATER);
    rates_close(b->rates);
    b->rates = NULL;
    for (int i = 1; i < 4; i++)
        assert_int_equal(b->answers[i].n, 0);
}

#define WITH(opener, test) cmocka_unit_test_setup_teardown(test, opener, close_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(open_memory, in_memory_every_answer_comes_at_once),
        cmocka_unit_test(urls_of_redis_are_read_strictly),
        WITH(open_memory, a_redis_that_was_never_there_is_told_of_once_and_the_rule_holds),
        WITH(open_redis, redis_answers_later_and_tells_the_figures),
        WITH(open_redis, who_waits_as_long_as_is_told_is_let_in),
        WITH(open_redis, what_is_full_again_is_gone_from_redis),
        WITH(open_redis, several_connections_at_once_never_admit_more_than_the_limit),
        WITH(open_redis, a_flood_of_refused_calls_costs_redis_nothing),
        WITH(open_redis, a_call_that_ends_here_makes_room_for_the_next_at_once),
        WITH(open_redis, a_call_that_dies_before_its_answer_leaves_nothing_behind),
        WITH(open_redis, a_call_may_be_settled_and_the_next_one_asked_from_inside_an_answer),
        WITH(open_redis, scripts_that_were_flushed_are_sent_again),
        WITH(open_redis, while_redis_is_dead_the_limits_of_this_process_hold),
        WITH(open_redis, while_redis_is_dead_calls_are_refused_where_that_is_the_rule),
        WITH(open_redis, a_redis_that_stands_still_is_away_after_the_timeout),
        WITH(open_redis, a_redis_without_memory_is_away_until_it_has_some),
        WITH(open_redis_tcp, a_host_by_its_name_with_password_and_database),
        WITH(open_redis_tcp, a_wrong_password_is_told_without_it),
        WITH(open_redis, closing_with_answers_under_way_answers_nobody),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
