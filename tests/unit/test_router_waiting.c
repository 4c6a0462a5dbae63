/* The fair queue. A waiting call is a letter for its owner and a number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backend/waiting.h"
#include "base/mem.h"

#include <stdlib.h>

enum { MANY = 20000 };

static const int here, there; /* two lists of sources */

struct waiter {
    struct waiting_item item; /* first: an item is its waiter */
    char owner;
    int number;
    const void *list;
};

struct asked {
    const void *open; /* the list that has room; NULL: all */
    int looks;
};

static bool may_go(void *arg, struct waiting_item *item)
{
    struct asked *a = arg;
    const struct waiter *w = (const struct waiter *)item;
    a->looks++;
    return !a->open || a->open == w->list;
}

static void add(struct waiting *q, struct waiter *w, char owner, int number, const void *list)
{
    struct waiting_key key = {.list = list};
    *w = (struct waiter){.owner = owner, .number = number, .list = list};
    waiting_add(q, &w->item, (uint64_t)owner, &key, 10);
}

/* Serves everybody who may go and writes who it was: "a1 b1 a2". */
static void serve_all(struct waiting *q, const void *open, char *out, size_t out_bytes)
{
    struct asked asked = {.open = open};
    struct waiting_item *item;
    *out = '\0';
    while ((item = waiting_next(q, may_go, &asked))) {
        const struct waiter *w = (const struct waiter *)item;
        size_t len = strlen(out);
        snprintf(out + len, out_bytes - len, "%s%c%d", len ? " " : "", w->owner, w->number);
        waiting_serve(q, item);
    }
}

static void one_owner_is_served_in_order(void **state)
{
    struct waiting q;
    struct waiter w[4];
    char order[64];
    (void)state;
    waiting_init(&q);
    for (int i = 0; i < 4; i++)
        add(&q, &w[i], 'a', i, &here);
    assert_int_equal(q.calls, 4);
    assert_int_equal(q.bytes, 40);
    serve_all(&q, NULL, order, sizeof order);
    assert_string_equal(order, "a0 a1 a2 a3");
    assert_int_equal(q.calls, 0);
    assert_int_equal(q.bytes, 0);
    waiting_done(&q);
}

static void owners_take_turns(void **state)
{
    static const char owners[] = "aaaabbc";
    struct waiting q;
    struct waiter w[7];
    char order[64];
    (void)state;
    waiting_init(&q);
    for (int i = 0; i < 7; i++)
        add(&q, &w[i], owners[i], i, &here);
    serve_all(&q, NULL, order, sizeof order);
    assert_string_equal(order, "a0 b4 c6 a1 b5 a2 a3");
    waiting_done(&q);
}

static void a_hundred_calls_of_one_owner_delay_another_by_one_turn(void **state)
{
    struct waiting q;
    struct waiter w[101];
    struct asked asked = {0};
    (void)state;
    waiting_init(&q);
    for (int i = 0; i < 100; i++)
        add(&q, &w[i], 'a', i, &here);
    for (int i = 0; i < 10; i++)
        waiting_serve(&q, waiting_next(&q, may_go, &asked));
    add(&q, &w[100], 'b', 100, &here);
    assert_ptr_equal(waiting_next(&q, may_go, &asked), &w[10].item);
    waiting_serve(&q, &w[10].item);
    assert_ptr_equal(waiting_next(&q, may_go, &asked), &w[100].item);
    waiting_done(&q);
}

static void who_comes_back_goes_behind_those_who_wait(void **state)
{
    struct waiting q;
    struct waiter w[4];
    struct asked asked = {0};
    char order[64];
    (void)state;
    waiting_init(&q);
    add(&q, &w[0], 'a', 0, &here);
    add(&q, &w[1], 'b', 1, &here);
    add(&q, &w[2], 'c', 2, &here);
    waiting_serve(&q, waiting_next(&q, may_go, &asked));
    add(&q, &w[3], 'a', 3, &here);
    serve_all(&q, NULL, order, sizeof order);
    assert_string_equal(order, "b1 c2 a3");
    waiting_done(&q);
}

static void only_those_go_whose_sources_have_room(void **state)
{
    struct waiting q;
    struct waiter w[4];
    char order[64];
    (void)state;
    waiting_init(&q);
    add(&q, &w[0], 'a', 0, &here);
    add(&q, &w[1], 'b', 1, &there);
    add(&q, &w[2], 'a', 2, &there);
    add(&q, &w[3], 'c', 3, &here);
    serve_all(&q, &there, order, sizeof order);
    assert_string_equal(order, "b1 a2");
    serve_all(&q, &here, order, sizeof order);
    assert_string_equal(order, "c3 a0"); /* a had its turn there */
    waiting_done(&q);
}

static void a_turn_in_one_lane_counts_in_all(void **state)
{
    struct waiting q;
    struct waiter w[6];
    char order[64];
    (void)state;
    waiting_init(&q);
    add(&q, &w[0], 'a', 0, &here);
    add(&q, &w[1], 'a', 1, &here);
    add(&q, &w[2], 'a', 2, &there);
    add(&q, &w[3], 'a', 3, &there);
    add(&q, &w[4], 'b', 4, &there);
    add(&q, &w[5], 'b', 5, &there);
    serve_all(&q, NULL, order, sizeof order);
    assert_string_equal(order, "a0 b4 a1 b5 a2 a3");
    waiting_done(&q);
}

static void what_calls_may_not_use_sets_them_apart(void **state)
{
    struct waiting q;
    struct waiter w[3] = {{.owner = 'a'}, {.owner = 'b'}, {.owner = 'c'}};
    struct waiting_key key = {.list = &here};
    struct asked asked = {.open = &there};
    (void)state;
    waiting_init(&q);
    waiting_add(&q, &w[0].item, 1, &key, 0);
    key.except = 1;
    waiting_add(&q, &w[1].item, 1, &key, 0);
    key.needs = 1;
    waiting_add(&q, &w[2].item, 1, &key, 0);
    assert_null(waiting_next(&q, may_go, &asked));
    assert_int_equal(asked.looks, 3);
    waiting_done(&q);
}

static void leaving_is_possible_from_anywhere_and_twice(void **state)
{
    struct waiting q;
    struct waiter w[5];
    char order[64];
    (void)state;
    waiting_init(&q);
    for (int i = 0; i < 5; i++)
        add(&q, &w[i], 'a', i, &here);
    waiting_remove(&q, &w[2].item);
    waiting_remove(&q, &w[2].item);
    waiting_remove(&q, &w[0].item);
    waiting_remove(&q, &w[4].item);
    assert_int_equal(q.calls, 2);
    assert_int_equal(q.bytes, 20);
    serve_all(&q, NULL, order, sizeof order);
    assert_string_equal(order, "a1 a3");
    waiting_done(&q);
}

/* Looks, not time: one for each call served, however many wait. */
static void the_next_call_costs_one_look_a_lane_however_many_wait(void **state)
{
    struct waiting q;
    struct waiter *w = mem_array(MANY, sizeof *w);
    struct waiting_key key = {.list = &here};
    struct asked asked = {0};
    struct waiting_item *item;
    int served = 0;
    (void)state;
    waiting_init(&q);
    for (int i = 0; i < MANY; i++)
        waiting_add(&q, &w[i].item, (uint64_t)i % 5000, &key, 1);
    assert_int_equal(q.n_owners, 5000);
    while ((item = waiting_next(&q, may_go, &asked))) {
        assert_ptr_equal(item, &w[served].item);
        waiting_serve(&q, item);
        served++;
    }
    assert_int_equal(served, MANY);
    assert_int_equal(asked.looks, MANY);
    assert_int_equal(q.n_owners, 0);
    waiting_done(&q);
    free(w);
}

static void what_still_waits_at_the_end_is_forgotten(void **state)
{
    struct waiting q;
    struct waiter w[3];
    (void)state;
    waiting_init(&q);
    add(&q, &w[0], 'a', 0, &here);
    add(&q, &w[1], 'b', 1, &here);
    add(&q, &w[2], 'a', 2, &there);
    waiting_done(&q);
    assert_null(w[0].item.line);
    assert_int_equal(q.calls, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_owner_is_served_in_order),
        cmocka_unit_test(owners_take_turns),
        cmocka_unit_test(a_hundred_calls_of_one_owner_delay_another_by_one_turn),
        cmocka_unit_test(who_comes_back_goes_behind_those_who_wait),
        cmocka_unit_test(only_those_go_whose_sources_have_room),
        cmocka_unit_test(a_turn_in_one_lane_counts_in_all),
        cmocka_unit_test(what_calls_may_not_use_sets_them_apart),
        cmocka_unit_test(leaving_is_possible_from_anywhere_and_twice),
        cmocka_unit_test(the_next_call_costs_one_look_a_lane_however_many_wait),
        cmocka_unit_test(what_still_waits_at_the_end_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
