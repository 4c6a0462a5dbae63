/*
 * Unit tests of the limits in memory: what is promised of a bucket is tried with figures at
 * random, from seeds that are the same each time.
 */
#include "gate/limits.h"
#include "gate/limits_head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 60, STEPS = 300, ROWS = 1000, MINUTE_MS = 60000 };

static uint64_t dice;

static int64_t roll(int64_t from, int64_t to)
{
    dice = dice * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return from + (int64_t)((dice >> 33) % (uint64_t)(to - from + 1));
}

static struct limits_ask key_ask(int64_t requests, int64_t tokens, int64_t concurrent)
{
    return (struct limits_ask){
        .of[LIMITS_KEY] = {1, {{requests, tokens}, concurrent}}, .prompt_tokens = 1, .tokens = 1};
}

static bool admit_and_end(struct limits *l, const struct limits_ask *ask, int64_t now_ms,
                          struct limits_said *said)
{
    struct limits_hold hold;
    bool admitted = limits_admit(l, ask, now_ms, &hold, said);
    limits_settle(l, &hold, ask->tokens, now_ms);
    return admitted;
}

static void a_minutes_worth_goes_through_at_once_and_no_more(void **state)
{
    struct limits *l = limits_new(ROWS);
    struct limits_ask ask = key_ask(3, 0, 0);
    struct limits_said said;
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_true(admit_and_end(l, &ask, 5, &said));
    assert_false(admit_and_end(l, &ask, 5, &said));
    assert_int_equal(said.scope, LIMITS_KEY);
    assert_int_equal(said.kind, LIMITS_REQUESTS);
    assert_int_equal(said.limit, 3);
    assert_int_equal(said.retry_after_ms, 20000);
    assert_false(admit_and_end(l, &ask, 5 + 19999, &said));
    assert_int_equal(said.retry_after_ms, 1);
    assert_true(admit_and_end(l, &ask, 5 + 20000, &said));
    limits_free(l);
    limits_free(NULL);
}

/* In every stretch of time no more than rate * time + a minute's worth. */
static void check_stretches(const int64_t *at_ms, const int64_t *amount, int n, int64_t rate)
{
    for (int i = 0; i < n; i++) {
        int64_t sum = 0;
        for (int j = i; j < n; j++) {
            sum += amount[j];
            assert_true((sum - rate) * MINUTE_MS <= (at_ms[j] - at_ms[i]) * rate);
        }
    }
}

static void no_stretch_of_time_lets_more_through_than_its_rate_and_a_minutes_worth(void **state)
{
    int64_t at_ms[STEPS], requests[STEPS], tokens[STEPS];
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        dice = (uint64_t)round;
        struct limits *l = limits_new(ROWS);
        struct limits_ask ask = key_ask(roll(1, 200), roll(1, 100000), 0);
        const int64_t *rates = ask.of[LIMITS_KEY].rates.per_minute;
        int64_t now_ms = 0, pause_ms = roll(1, 3000);
        int admitted = 0;
        for (int i = 0; i < STEPS; i++) {
            struct limits_said said;
            now_ms += roll(0, pause_ms);
            ask.prompt_tokens = roll(0, rates[LIMITS_TOKENS] / 8);
            ask.tokens = ask.prompt_tokens + roll(0, rates[LIMITS_TOKENS] / 8);
            if (!admit_and_end(l, &ask, now_ms, &said))
                continue;
            at_ms[admitted] = now_ms;
            requests[admitted] = 1;
            tokens[admitted++] = ask.tokens;
        }
        assert_true(admitted > 0);
        check_stretches(at_ms, requests, admitted, rates[LIMITS_REQUESTS]);
        check_stretches(at_ms, tokens, admitted, rates[LIMITS_TOKENS]);
        limits_free(l);
    }
}

static struct limits_ask random_ask(void)
{
    struct limits_ask ask = {.prompt_tokens = roll(0, 500)};
    ask.tokens = ask.prompt_tokens + roll(0, 2000);
    for (int s = 0; s < LIMITS_SCOPES; s++) {
        ask.of[s].id = (uint64_t)roll(1, 3);
        if (roll(0, 4) == 0)
            continue;
        ask.of[s].rates = (struct limits_rates){{7 + s, 900 * (1 + s)}, 4 + s};
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

/* Two that are asked the same, but one is also asked what it refuses. */
static void a_refused_call_changes_nothing(void **state)
{
    int refused = 0;
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        dice = (uint64_t)round;
        struct limits *a = limits_new(ROWS), *b = limits_new(ROWS);
        struct limits_hold of_a[STEPS] = {0}, of_b[STEPS] = {0};
        int64_t now_ms = 0;
        for (int i = 0; i < STEPS; i++) {
            struct limits_ask ask = random_ask();
            struct limits_said said, said_b;
            int ended = (int)roll(0, STEPS - 1);
            int64_t used = roll(0, 3000);
            now_ms += roll(0, 2000);
            limits_settle(a, &of_a[ended], used, now_ms);
            limits_settle(b, &of_b[ended], used, now_ms);
            if (!limits_look(b, &ask, now_ms, &said_b)) {
                assert_false(limits_admit(a, &ask, now_ms, &of_a[i], &said));
                assert_null(of_a[i].of[LIMITS_KEY]);
                check_said_equal(&said, &said_b);
                refused++;
                continue;
            }
            assert_true(limits_admit(a, &ask, now_ms, &of_a[i], &said));
            assert_true(limits_admit(b, &ask, now_ms, &of_b[i], &said_b));
            check_said_equal(&said, &said_b);
        }
        limits_free(a);
        limits_free(b);
    }
    assert_true(refused > ROUNDS);
}

static void retry_after_is_exact_to_the_millisecond(void **state)
{
    int refused = 0;
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        dice = (uint64_t)round + 1000;
        struct limits *l = limits_new(ROWS);
        int64_t now_ms = 0;
        for (int i = 0; i < STEPS; i++) {
            struct limits_ask ask = random_ask();
            struct limits_said said, later;
            now_ms += roll(0, 2000);
            if (admit_and_end(l, &ask, now_ms, &said) || said.retry_after_ms < 0)
                continue;
            assert_true(said.retry_after_ms > 0);
            assert_false(limits_look(l, &ask, now_ms + said.retry_after_ms - 1, &later));
            assert_int_equal(later.retry_after_ms, 1);
            assert_true(limits_look(l, &ask, now_ms + said.retry_after_ms, &later));
            refused++;
        }
        limits_free(l);
    }
    assert_true(refused > ROUNDS);
}

static void one_limit_that_refuses_charges_none_of_the_others(void **state)
{
    struct limits *l = limits_new(ROWS);
    struct limits_ask wide = key_ask(10, 100, 2), narrow = wide;
    struct limits_said said;
    (void)state;
    narrow.of[LIMITS_NETWORK] = (struct limits_subject){7, {{1, 0}, 0}};
    assert_true(admit_and_end(l, &narrow, 0, &said));
    for (int i = 0; i < 50; i++) {
        assert_false(admit_and_end(l, &narrow, 0, &said));
        assert_int_equal(said.scope, LIMITS_NETWORK);
    }
    assert_true(limits_look(l, &wide, 0, &said));
    assert_int_equal(said.rate[LIMITS_REQUESTS].remaining, 9);
    assert_int_equal(said.rate[LIMITS_TOKENS].remaining, 99);
    limits_free(l);
}

static void the_refusal_that_lasts_longest_is_told(void **state)
{
    struct limits *l = limits_new(ROWS);
    struct limits_ask ask = key_ask(6, 0, 0);
    struct limits_said said;
    (void)state;
    ask.of[LIMITS_ACCOUNT] = (struct limits_subject){1, {{2, 0}, 0}};
    ask.of[LIMITS_MODEL] = (struct limits_subject){1, {{6, 0}, 0}};
    for (int i = 0; i < 2; i++)
        assert_true(admit_and_end(l, &ask, 0, &said));
    assert_false(admit_and_end(l, &ask, 0, &said));
    assert_int_equal(said.scope, LIMITS_ACCOUNT);
    assert_int_equal(said.retry_after_ms, 30000);
    ask.of[LIMITS_MODEL].rates.per_minute[LIMITS_TOKENS] = 10;
    ask.prompt_tokens = ask.tokens = 11;
    assert_false(limits_look(l, &ask, 0, &said));
    assert_int_equal(said.scope, LIMITS_MODEL);
    assert_int_equal(said.kind, LIMITS_TOKENS);
    assert_int_equal(said.retry_after_ms, -1);
    limits_free(l);
}

static void calls_at_once_are_counted_until_they_are_settled(void **state)
{
    struct limits *l = limits_new(ROWS);
    struct limits_ask ask = key_ask(0, 0, 2);
    struct limits_hold a, b, c;
    struct limits_said said;
    (void)state;
    assert_true(limits_admit(l, &ask, 0, &a, &said));
    assert_true(limits_admit(l, &ask, 0, &b, &said));
    assert_false(limits_admit(l, &ask, 3600000, &c, &said));
    assert_int_equal(said.kind, LIMITS_CONCURRENT);
    assert_int_equal(said.limit, 2);
    assert_int_equal(limits_retry_after_s(&said), 1);
    limits_settle(l, &a, 0, 3600000);
    limits_settle(l, &a, 0, 3600000); /* harmless */
    limits_settle(l, &c, 0, 3600000); /* it holds nothing */
    assert_true(limits_admit(l, &ask, 3600000, &c, &said));
    assert_false(limits_look(l, &ask, 3600000, &said));
    limits_free(l);
}

static void tokens_are_reserved_and_what_was_not_used_comes_back(void **state)
{
    struct limits *l = limits_new(ROWS);
    struct limits_ask ask = key_ask(0, 1000, 0);
    struct limits_hold hold;
    struct limits_said said;
    (void)state;
    ask.prompt_tokens = 100;
    ask.tokens = 700;
    assert_true(limits_admit(l, &ask, 0, &hold, &said));
    assert_int_equal(said.rate[LIMITS_TOKENS].remaining, 300);
    assert_false(limits_look(l, &ask, 0, &said));
    assert_int_equal(said.retry_after_ms, 400 * 60);
    limits_settle(l, &hold, 150, 0);
    assert_true(limits_look(l, &ask, 0, &said));
    assert_int_equal(said.rate[LIMITS_TOKENS].remaining, 850);
    assert_true(limits_admit(l, &ask, 0, &hold, &said));
    limits_settle(l, &hold, 0, 10 * MINUTE_MS); /* never above full */
    assert_true(limits_look(l, &ask, 10 * MINUTE_MS, &said));
    assert_int_equal(said.rate[LIMITS_TOKENS].remaining, 1000);
    limits_free(l);
}

static void more_than_a_bucket_holds_takes_a_full_one_and_the_rest_is_a_debt(void **state)
{
    struct limits *l = limits_new(ROWS);
    struct limits_ask ask = key_ask(0, 1000, 0);
    struct limits_hold hold;
    struct limits_said said;
    (void)state;
    ask.prompt_tokens = 1000;
    ask.tokens = 131072;
    assert_true(limits_admit(l, &ask, 0, &hold, &said));
    assert_int_equal(said.rate[LIMITS_TOKENS].remaining, 0);
    limits_settle(l, &hold, 3000, 0);
    ask.prompt_tokens = ask.tokens = 1;
    assert_false(limits_look(l, &ask, 0, &said));
    assert_int_equal(said.retry_after_ms, 2001 * 60);
    assert_int_equal(said.rate[LIMITS_TOKENS].reset_ms, 3 * MINUTE_MS);
    assert_false(limits_look(l, &ask, 2001 * 60 - 1, &said));
    assert_true(limits_look(l, &ask, 2001 * 60, &said));
    ask.prompt_tokens = ask.tokens = 1001;
    assert_false(limits_look(l, &ask, 10 * MINUTE_MS, &said));
    assert_int_equal(said.retry_after_ms, -1);
    assert_int_equal(limits_retry_after_s(&said), 0);
    limits_free(l);
}

static void the_largest_figures_do_not_overflow(void **state)
{
    struct limits *l = limits_new(ROWS);
    struct limits_ask ask = key_ask(LIMITS_RATE_MAX, LIMITS_RATE_MAX, 0);
    struct limits_hold hold;
    struct limits_said said;
    (void)state;
    ask.tokens = INT64_MAX;
    for (int i = 0; i < 3; i++) {
        assert_true(limits_admit(l, &ask, i * INT64_C(1000000000), &hold, &said));
        limits_settle(l, &hold, INT64_MAX, i * INT64_C(1000000000));
    }
    assert_false(limits_look(l, &ask, 0, &said)); /* time that went back is no time */
    assert_true(limits_look(l, &ask, INT64_MAX, &said));
    limits_free(l);
}

static void a_new_figure_keeps_full_what_is_full_and_gives_nothing_away(void **state)
{
    struct limits *l = limits_new(ROWS);
    struct limits_ask ask = key_ask(10, 0, 0);
    struct limits_said said;
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_true(admit_and_end(l, &ask, 0, &said));
    ask.of[LIMITS_KEY].rates.per_minute[LIMITS_REQUESTS] = 100;
    assert_true(limits_look(l, &ask, 0, &said));
    assert_int_equal(said.rate[LIMITS_REQUESTS].remaining, 6);
    ask.of[LIMITS_KEY].rates.per_minute[LIMITS_REQUESTS] = 3;
    assert_true(limits_look(l, &ask, 0, &said));
    assert_int_equal(said.rate[LIMITS_REQUESTS].remaining, 3);
    ask.of[LIMITS_KEY].rates.per_minute[LIMITS_REQUESTS] = 0;
    assert_true(limits_look(l, &ask, 0, &said));
    assert_int_equal(said.rate[LIMITS_REQUESTS].limit, 0);
    limits_free(l);
}

static void rows_that_are_full_make_room(void **state)
{
    struct limits *l = limits_new(ROWS);
    struct limits_ask ask = {.of[LIMITS_NETWORK] = {0, {{10, 0}, 1}}};
    struct limits_hold held, none;
    struct limits_said said;
    (void)state;
    ask.of[LIMITS_NETWORK].id = 1;
    assert_true(limits_admit(l, &ask, 0, &held, &said));
    for (uint64_t i = 0; i < 100 * ROWS; i++) {
        ask.of[LIMITS_NETWORK].id = 2 + i;
        assert_true(admit_and_end(l, &ask, (int64_t)i * 60, &said));
        assert_true(limits_rows(l, LIMITS_NETWORK) <= ROWS);
    }
    assert_int_equal(limits_shared(l), 0);
    /* 6 s fill a row again: what is older is gone but for what was held all the time. */
    assert_true(limits_rows(l, LIMITS_NETWORK) <= 6000 / 60 + 3);
    ask.of[LIMITS_NETWORK].id = 1;
    assert_false(limits_admit(l, &ask, 100 * ROWS * 60, &none, &said));
    assert_int_equal(said.kind, LIMITS_CONCURRENT);
    limits_settle(l, &held, 0, 100 * ROWS * 60);
    assert_true(limits_look(l, &ask, 100 * ROWS * 60, &said));
    limits_free(l);
}

static void without_room_the_newcomers_share_one_row(void **state)
{
    struct limits *l = limits_new(ROWS);
    struct limits_ask ask = {.of[LIMITS_NETWORK] = {0, {{10, 0}, 0}}};
    struct limits_said said;
    int admitted = 0;
    (void)state;
    for (uint64_t i = 0; i < 10 * ROWS; i++) {
        ask.of[LIMITS_NETWORK].id = i;
        admitted += admit_and_end(l, &ask, 0, &said);
    }
    assert_int_equal(limits_rows(l, LIMITS_NETWORK), ROWS);
    assert_int_equal(admitted, ROWS + 10);
    assert_int_equal(limits_shared(l), 10);
    /* Who has a row is not touched by that, and other figures do not fill what is shared. */
    ask.of[LIMITS_NETWORK].id = 5;
    assert_true(admit_and_end(l, &ask, 0, &said));
    for (uint64_t i = 0; i < 100; i++) {
        ask.of[LIMITS_NETWORK] =
            (struct limits_subject){20 * ROWS + i, {{10 + 90 * (i % 2), 0}, 0}};
        assert_false(admit_and_end(l, &ask, 0, &said));
        ask.of[LIMITS_NETWORK].rates = (struct limits_rates){{0, 0}, 1};
        assert_true(admit_and_end(l, &ask, 0, &said));
        assert_int_equal(said.rate[LIMITS_REQUESTS].limit, 0);
    }
    /* A minute later all are full again. */
    ask.of[LIMITS_NETWORK] = (struct limits_subject){30 * ROWS, {{10, 0}, 0}};
    assert_true(admit_and_end(l, &ask, MINUTE_MS, &said));
    assert_int_equal(said.rate[LIMITS_REQUESTS].remaining, 9);
    limits_free(l);
}

static void what_is_told_is_of_the_scope_with_least_left(void **state)
{
    struct limits *l = limits_new(ROWS);
    struct limits_ask ask = key_ask(100, 0, 0);
    struct limits_said said;
    (void)state;
    ask.of[LIMITS_ACCOUNT] = (struct limits_subject){1, {{50, 6000}, 0}};
    ask.tokens = 1000;
    assert_true(admit_and_end(l, &ask, 0, &said));
    assert_int_equal(said.rate[LIMITS_REQUESTS].limit, 50);
    assert_int_equal(said.rate[LIMITS_REQUESTS].remaining, 49);
    assert_int_equal(said.rate[LIMITS_REQUESTS].reset_ms, 1200);
    assert_int_equal(said.rate[LIMITS_TOKENS].limit, 6000);
    assert_int_equal(said.rate[LIMITS_TOKENS].remaining, 5000);
    assert_int_equal(said.rate[LIMITS_TOKENS].reset_ms, 10000);
    limits_free(l);
}

static const char *head_value(const struct limits_said *said, const char *name)
{
    static struct limits_head head[LIMITS_HEAD_MAX];
    size_t n = limits_head(said, head);
    assert_true(n <= LIMITS_HEAD_MAX);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(head[i].name, name) == 0)
            return head[i].value;
    }
    return "";
}

static void both_families_of_head_lines_are_written(void **state)
{
    struct limits_said said = {.rate = {{50, 49, 1200}, {6000, 5000, 360000}}};
    struct limits_head head[LIMITS_HEAD_MAX];
    (void)state;
    assert_int_equal(limits_head(&said, head), 9);
    assert_string_equal(head_value(&said, "x-ratelimit-limit-requests"), "50");
    assert_string_equal(head_value(&said, "x-ratelimit-remaining-requests"), "49");
    assert_string_equal(head_value(&said, "x-ratelimit-reset-requests"), "1.2s");
    assert_string_equal(head_value(&said, "x-ratelimit-limit-tokens"), "6000");
    assert_string_equal(head_value(&said, "x-ratelimit-remaining-tokens"), "5000");
    assert_string_equal(head_value(&said, "x-ratelimit-reset-tokens"), "6m0s");
    assert_string_equal(head_value(&said, "X-RateLimit-Limit"), "50");
    assert_string_equal(head_value(&said, "X-RateLimit-Remaining"), "49");
    assert_string_equal(head_value(&said, "X-RateLimit-Reset"), "2");
    said.rate[LIMITS_REQUESTS].limit = 0;
    assert_int_equal(limits_head(&said, head), 6);
    assert_string_equal(head_value(&said, "X-RateLimit-Limit"), "6000");
    assert_string_equal(head_value(&said, "X-RateLimit-Reset"), "360");
    said.rate[LIMITS_TOKENS].limit = 0;
    assert_int_equal(limits_head(&said, head), 0);
}

static void durations_are_written_as_people_read_them(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {{0, "0s"},
                {1, "1ms"},
                {12, "12ms"},
                {999, "999ms"},
                {1000, "1s"},
                {1001, "1.001s"},
                {1010, "1.01s"},
                {1500, "1.5s"},
                {59999, "59.999s"},
                {60000, "1m0s"},
                {86400, "1m26.4s"},
                {360000, "6m0s"},
                {3600000, "1h0m0s"},
                {3661500, "1h1m1.5s"},
                {864000000, "240h0m0s"}};
    char text[LIMITS_VALUE_BYTES];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        limits_duration(rows[i].ms, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void a_refusal_names_its_limit_and_says_when(void **state)
{
    struct limits_said said = {.scope = LIMITS_KEY, .kind = LIMITS_REQUESTS, .limit = 60};
    char text[256];
    (void)state;
    said.retry_after_ms = 1001;
    assert_int_equal(limits_retry_after_s(&said), 2);
    limits_refusal(&said, text, sizeof text);
    assert_string_equal(text, "Rate limit reached for this key: 60 requests per minute. Try again "
                              "in 2 s.");
    said.retry_after_ms = 1000;
    assert_int_equal(limits_retry_after_s(&said), 1);
    said.kind = LIMITS_CONCURRENT;
    limits_refusal(&said, text, sizeof text);
    assert_non_null(strstr(text, "60 calls at once"));
    said = (struct limits_said){
        .scope = LIMITS_MODEL, .kind = LIMITS_TOKENS, .limit = 500, .retry_after_ms = -1};
    limits_refusal(&said, text, sizeof text);
    assert_non_null(strstr(text, "this model allows in a minute: 500"));
}

static void a_network_is_a_24_of_ipv4_and_a_64_of_ipv6(void **state)
{
    (void)state;
    assert_true(limits_network("192.0.2.1") == limits_network("192.0.2.254"));
    assert_true(limits_network("192.0.2.1") != limits_network("192.0.3.1"));
    assert_true(limits_network("192.0.2.1") == limits_network("::ffff:192.0.2.77"));
    assert_true(limits_network("2001:db8::1") == limits_network("2001:db8::ffff:1"));
    assert_true(limits_network("2001:db8::1") != limits_network("2001:db8:0:1::1"));
    assert_true(limits_network("fe80::1%eth0") == limits_network("fe80::2%eth1"));
    assert_true(limits_network("::1") != limits_network("0.0.0.1"));
    assert_true(limits_network("unix") == limits_network(""));
    assert_true(limits_network("unix") != limits_network("::1"));
    assert_true(limits_model("kimi-k2.5") == limits_model("kimi-k2.5"));
    assert_true(limits_model("kimi-k2.5") != limits_model("kimi-k2.6"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_minutes_worth_goes_through_at_once_and_no_more),
        cmocka_unit_test(no_stretch_of_time_lets_more_through_than_its_rate_and_a_minutes_worth),
        cmocka_unit_test(a_refused_call_changes_nothing),
        cmocka_unit_test(retry_after_is_exact_to_the_millisecond),
        cmocka_unit_test(one_limit_that_refuses_charges_none_of_the_others),
        cmocka_unit_test(the_refusal_that_lasts_longest_is_told),
        cmocka_unit_test(calls_at_once_are_counted_until_they_are_settled),
        cmocka_unit_test(tokens_are_reserved_and_what_was_not_used_comes_back),
        cmocka_unit_test(more_than_a_bucket_holds_takes_a_full_one_and_the_rest_is_a_debt),
        cmocka_unit_test(the_largest_figures_do_not_overflow),
        cmocka_unit_test(a_new_figure_keeps_full_what_is_full_and_gives_nothing_away),
        cmocka_unit_test(rows_that_are_full_make_room),
        cmocka_unit_test(without_room_the_newcomers_share_one_row),
        cmocka_unit_test(what_is_told_is_of_the_scope_with_least_left),
        cmocka_unit_test(both_families_of_head_lines_are_written),
        cmocka_unit_test(durations_are_written_as_people_read_them),
        cmocka_unit_test(a_refusal_names_its_limit_and_says_when),
        cmocka_unit_test(a_network_is_a_24_of_ipv4_and_a_64_of_ipv6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
