/* Unit tests of src/store/ledger_rules: the arithmetic of money, without a database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "store/ledger_rules.h"

static struct rules_application application(int64_t balance)
{
    return (struct rules_application){.id = 1, .there = true, .balance_micros = balance};
}

static struct rules_key key(int64_t cap)
{
    return (struct rules_key){
        .id = 7, .application_id = 1, .there = true, .good = true, .cap_micros = cap};
}

static void test_cost_is_rounded_up_once_a_row(void **state)
{
    (void)state;
    const struct ledger_price p = {.input = 600000, .cached = 150000, .output = 2500000};
    assert_int_equal(ledger_cost_micros(&p, 0, 0, 0), 0);
    assert_int_equal(ledger_cost_micros(&p, 1, 0, 0), 1);
    assert_int_equal(ledger_cost_micros(&p, 1, 1, 1), 3); /* 0.15 + 2.5 */
    assert_int_equal(ledger_cost_micros(&p, 1000000, 0, 0), 600000);
    assert_int_equal(ledger_cost_micros(&p, 1000000, 1000000, 1000000), 2650000);
    assert_int_equal(ledger_cost_micros(&p, 10, 99, 0), 2); /* never more cached than prompt */
}

static void test_cost_of_absurd_numbers_stops_at_the_end(void **state)
{
    (void)state;
    const struct ledger_price p = {INT64_MAX, INT64_MAX, INT64_MAX};
    const struct ledger_price negative = {-1, -1, -1};
    assert_int_equal(ledger_cost_micros(&p, INT64_MAX, 0, INT64_MAX), INT64_MAX);
    assert_int_equal(ledger_cost_micros(&p, INT64_MAX, INT64_MAX, INT64_MAX), INT64_MAX);
    assert_int_equal(ledger_cost_micros(&p, -5, -5, -5), 0);
    assert_int_equal(ledger_cost_micros(&negative, 1000, 10, 1000), 0);
}

static void test_a_row_is_brought_into_range(void **state)
{
    (void)state;
    struct ledger_row r = {.prompt_tokens = INT64_MAX,
                           .cached_tokens = INT64_MAX,
                           .completion_tokens = 10,
                           .reasoning_tokens = 50,
                           .price = {INT64_MAX, 1, 1}};
    rules_price_row(&r);
    assert_int_equal(r.prompt_tokens, RULES_TOKENS_MAX);
    assert_int_equal(r.cached_tokens, RULES_TOKENS_MAX);
    assert_int_equal(r.reasoning_tokens, 10);
    assert_int_equal(r.price.input, RULES_PRICE_MAX);
    assert_int_equal(r.cost_micros, 1001);
}

static void test_a_hold_takes_what_is_wanted_or_what_is_left(void **state)
{
    (void)state;
    struct rules_application a = application(100);
    struct rules_key k = key(-1);
    int64_t held;
    assert_int_equal(rules_hold(&a, &k, 10, 60, &held), LEDGER_OK);
    assert_int_equal(held, 60);
    assert_int_equal(a.balance_micros, 40);
    assert_int_equal(a.held_micros, 60);
    assert_int_equal(k.held_micros, 60);
    assert_int_equal(rules_hold(&a, &k, 10, 60, &held), LEDGER_OK);
    assert_int_equal(held, 40);
    assert_int_equal(rules_hold(&a, &k, 1, 60, &held), LEDGER_USED_UP);
    assert_int_equal(held, 0);
    assert_int_equal(a.held_micros, 100);
    assert_int_equal(rules_hold(&a, &k, 0, 0, &held), LEDGER_OK);
    assert_int_equal(rules_hold(&a, &k, -9, -9, &held), LEDGER_OK);
    assert_int_equal(a.balance_micros, 0);
}

static void test_a_cap_counts_what_is_used_and_what_is_held(void **state)
{
    (void)state;
    struct rules_application a = application(1000);
    struct rules_key k = key(100);
    int64_t held;
    k.used_micros = 30;
    assert_int_equal(rules_hold(&a, &k, 10, 50, &held), LEDGER_OK);
    assert_int_equal(held, 50);
    assert_int_equal(rules_hold(&a, &k, 10, 50, &held), LEDGER_OK);
    assert_int_equal(held, 20);
    assert_int_equal(rules_hold(&a, &k, 1, 50, &held), LEDGER_CAP);
    assert_int_equal(a.balance_micros, 930);
    k.cap_micros = 0; /* lowered meanwhile */
    assert_int_equal(rules_hold(&a, &k, 0, 0, &held), LEDGER_CAP);
    assert_int_equal(rules_charge(&a, &k, 50, 45), 45); /* what was held may be spent */
    assert_int_equal(k.used_micros, 75);
    assert_int_equal(k.held_micros, 20);
    assert_int_equal(rules_charge(&a, &k, 0, 45), 0); /* what was not, may not */
}

static void test_who_is_gone_gets_no_hold(void **state)
{
    (void)state;
    struct rules_application a = application(100), off = a, none = {.id = 1};
    struct rules_key k = key(-1), revoked = k, foreign = k, absent = {.id = 7};
    int64_t held;
    off.disabled = true;
    revoked.good = false;
    foreign.application_id = 2;
    assert_int_equal(rules_hold(&off, &k, 1, 1, &held), LEDGER_GONE);
    assert_int_equal(rules_hold(&none, &k, 1, 1, &held), LEDGER_GONE);
    assert_int_equal(rules_hold(&a, &revoked, 1, 1, &held), LEDGER_GONE);
    assert_int_equal(rules_hold(&a, &foreign, 1, 1, &held), LEDGER_GONE);
    assert_int_equal(rules_hold(&a, &absent, 1, 1, &held), LEDGER_GONE);
    assert_int_equal(a.balance_micros, 100);
}

static void test_a_charge_is_bounded_by_hold_and_balance(void **state)
{
    (void)state;
    struct rules_application a = application(100);
    struct rules_key k = key(-1);
    int64_t held;
    rules_hold(&a, &k, 1, 80, &held);
    assert_int_equal(rules_charge(&a, &k, held, 90), 90); /* more than held, but it is there */
    assert_int_equal(a.balance_micros, 10);
    assert_int_equal(a.held_micros, 0);
    assert_int_equal(rules_charge(&a, &k, 0, 90), 10); /* the rest is written off */
    assert_int_equal(a.balance_micros, 0);
    assert_int_equal(a.charged_micros, 100);
    assert_int_equal(k.used_micros, 100);
    rules_refund(&a, &k, 100);
    assert_int_equal(a.balance_micros, 100);
    assert_int_equal(a.charged_micros, 0);
    assert_int_equal(k.used_micros, 0);
}

static void test_sums_stop_at_the_ends(void **state)
{
    (void)state;
    struct rules_application a = application(INT64_MAX);
    struct rules_key k = key(INT64_MAX);
    int64_t held;
    k.used_micros = INT64_MAX;
    k.held_micros = INT64_MAX;
    a.charged_micros = INT64_MAX - 1;
    assert_int_equal(rules_hold(&a, &k, 0, INT64_MAX, &held), LEDGER_CAP);
    rules_release(&a, &k, INT64_MAX);
    assert_int_equal(a.balance_micros, INT64_MAX);
    assert_int_equal(a.held_micros, 0);
    k.cap_micros = -1;
    assert_int_equal(rules_charge(&a, &k, 0, 5), 5);
    assert_int_equal(a.charged_micros, INT64_MAX);
    assert_int_equal(k.used_micros, INT64_MAX);
}

static void test_grants_are_used_in_their_order_and_given_back_the_other_way(void **state)
{
    (void)state;
    struct rules_grant g[] = {{1, 5, 10, 4}, {2, 6, 50, 0}, {3, 5, 20, 0}};
    assert_int_equal(rules_use_grants(g, 3, 5, 8), 8);
    assert_int_equal(g[0].used_micros, 10);
    assert_int_equal(g[2].used_micros, 2);
    assert_int_equal(rules_use_grants(g, 3, 5, 100), 18);
    assert_int_equal(g[1].used_micros, 0);
    rules_unuse_grants(g, 3, 5, 21);
    assert_int_equal(g[2].used_micros, 0);
    assert_int_equal(g[0].used_micros, 9);
    rules_unuse_grants(g, 3, 5, 1000);
    assert_int_equal(g[0].used_micros, 0);
}

static void test_days_are_those_of_the_calendar(void **state)
{
    (void)state;
    assert_int_equal(ledger_day(0), 19700101);
    assert_int_equal(ledger_day(INT64_C(951782399999)), 20000228);
    assert_int_equal(ledger_day(INT64_C(951782400000)), 20000229);
    assert_int_equal(ledger_day(INT64_C(1798761599999)), 20261231);
    assert_int_equal(ledger_day(INT64_C(1798761600000)), 20270101);
    assert_int_equal(rules_hour(INT64_C(1798761599999)), INT64_C(1798758000000));
}

/* Random sequences */

enum { CALLS = 40, STEPS = 20000 };

struct call { /* of the model: what the rules should have made of one call */
    enum { FREE, HELD, SETTLED } state;
    int64_t hold, charged;
};

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static int64_t below(uint64_t *seed, int64_t n)
{
    return (int64_t)(next(seed) % (uint64_t)n);
}

static void step(uint64_t *seed, struct rules_application *a, struct rules_key *k, struct call *c)
{
    if (c->state == FREE) {
        int64_t least = below(seed, 30), want = least + below(seed, 200);
        enum ledger_verdict v = rules_hold(a, k, least, want, &c->hold);
        if (v == LEDGER_OK) {
            assert_in_range(c->hold, least, want);
            c->state = HELD;
        } else {
            assert_true(v == LEDGER_CAP || v == LEDGER_USED_UP);
        }
    } else if (c->state == HELD && below(seed, 4) > 0) {
        int64_t cost = below(seed, 300);
        c->charged = rules_charge(a, k, c->hold, cost);
        assert_true(c->charged <= cost);
        assert_true(c->charged >= (cost < c->hold ? cost : c->hold)); /* a hold always suffices */
        c->state = SETTLED;
    } else if (c->state == HELD) {
        rules_release(a, k, c->hold);
        c->state = FREE;
    } else {
        if (below(seed, 5) == 0) {
            rules_refund(a, k, c->charged);
            c->charged = 0;
        }
        c->hold = 0;
    }
}

static void test_random_sequences_keep_the_books_balanced(void **state)
{
    (void)state;
    for (uint64_t seed = 1, s = seed; seed <= 20; s = ++seed) {
        int64_t granted = 2000, gone = 0;
        struct rules_application a = application(granted);
        struct rules_key k = key(seed % 2 ? -1 : 3000);
        struct call calls[CALLS] = {0};
        for (int i = 0; i < STEPS; i++) {
            struct call *c = &calls[below(&s, CALLS)];
            step(&s, &a, &k, c);
            if (c->state == SETTLED && below(&s, 2)) { /* its place is for another */
                gone += c->charged;
                *c = (struct call){0};
            }
            if (below(&s, 50) == 0) {
                granted += 500;
                a.balance_micros += 500;
            }
            if (below(&s, 200) == 0 && k.cap_micros >= 0)
                k.cap_micros = k.used_micros + below(&s, 500);
            int64_t held = 0, charged = gone;
            for (int j = 0; j < CALLS; j++) {
                held += calls[j].state == HELD ? calls[j].hold : 0;
                charged += calls[j].charged;
            }
            assert_true(a.balance_micros >= 0);
            assert_int_equal(a.held_micros, held);
            assert_int_equal(k.held_micros, held);
            assert_int_equal(a.charged_micros, charged);
            assert_int_equal(k.used_micros, charged);
            assert_int_equal(granted - charged - held, a.balance_micros);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cost_is_rounded_up_once_a_row),
        cmocka_unit_test(test_cost_of_absurd_numbers_stops_at_the_end),
        cmocka_unit_test(test_a_row_is_brought_into_range),
        cmocka_unit_test(test_a_hold_takes_what_is_wanted_or_what_is_left),
        cmocka_unit_test(test_a_cap_counts_what_is_used_and_what_is_held),
        cmocka_unit_test(test_who_is_gone_gets_no_hold),
        cmocka_unit_test(test_a_charge_is_bounded_by_hold_and_balance),
        cmocka_unit_test(test_sums_stop_at_the_ends),
        cmocka_unit_test(test_grants_are_used_in_their_order_and_given_back_the_other_way),
        cmocka_unit_test(test_days_are_those_of_the_calendar),
        cmocka_unit_test(test_random_sequences_keep_the_books_balanced),
    };
    return cmocka_run_group_tests_name("ledger rules", tests, NULL, NULL);
}
