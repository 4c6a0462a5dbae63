/* Which source a call gets. The conversations are many and made from numbers, so that the shares
 * are the same in every run. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backend/choice.h"

enum { CONVERSATIONS = 20000 };

static struct api_text text_of(const char *s)
{
    return (struct api_text){.data = s, .len = strlen(s)};
}

static uint64_t key_of(int conversation)
{
    char text[64];
    struct api_message messages[2] = {{.role = API_SYSTEM, .content = text_of("Be brief.")},
                                      {.role = API_USER}};
    struct api_request r = {.messages = messages, .n_messages = 2};
    snprintf(text, sizeof text, "question number %d", conversation);
    messages[1].content = text_of(text);
    return choice_key("kimi", &r);
}

static struct candidate source(const char *name, int weight)
{
    return (struct candidate){
        .hash = choice_hash(name), .weight = weight, .healthy = true, .room = true};
}

static int pick(const struct candidate *c, size_t n, uint64_t key)
{
    struct choice_by by = {.affinity = true, .key = key, .load_percent = 1000000};
    return choice_pick(c, n, &by);
}

/* A share of all conversations, within five standard deviations. */
static void assert_share(int count, double share)
{
    double expected = CONVERSATIONS * share, sigma = sqrt(expected * (1 - share));
    if (fabs(count - expected) > 5 * sigma)
        fail_msg("%d of %d, not %.0f", count, CONVERSATIONS, expected);
}

static void conversations_spread_by_weight(void **state)
{
    struct candidate c[] = {source("a", 1), source("b", 3)};
    int count[2] = {0};
    (void)state;
    for (int i = 0; i < CONVERSATIONS; i++)
        count[pick(c, 2, key_of(i))]++;
    assert_share(count[0], 0.25);
    assert_share(count[1], 0.75);
}

static void draws_spread_by_weight(void **state)
{
    struct candidate c[] = {source("a", 1), source("b", 3)};
    int count[2] = {0};
    (void)state;
    for (int i = 0; i < CONVERSATIONS; i++) {
        struct choice_by by = {.key = key_of(i)};
        count[choice_pick(c, 2, &by)]++;
    }
    assert_share(count[0], 0.25);
    assert_share(count[1], 0.75);
}

static void the_least_and_the_greatest_draw_choose_somebody(void **state)
{
    struct candidate c[] = {source("a", 1), source("b", 3)};
    struct choice_by least = {.key = 0}, greatest = {.key = UINT64_MAX};
    (void)state;
    assert_int_equal(choice_pick(c, 2, &least), 0);
    assert_int_equal(choice_pick(c, 2, &greatest), 1);
}

static void a_source_that_goes_moves_only_its_own_conversations(void **state)
{
    struct candidate all[] = {source("a", 2), source("b", 1), source("c", 1)};
    struct candidate rest[] = {all[0], all[2]};
    int moved_to_a = 0, moved = 0;
    (void)state;
    for (int i = 0; i < CONVERSATIONS; i++) {
        int before = pick(all, 3, key_of(i));
        int after = pick(rest, 2, key_of(i)) == 0 ? 0 : 2;
        if (before != 1) {
            assert_int_equal(after, before);
            continue;
        }
        moved++;
        moved_to_a += after == 0;
    }
    assert_share(moved, 0.25);
    assert_share(moved_to_a, 0.25 * 2 / 3);
}

static void a_source_that_is_not_healthy_moves_only_its_own_conversations(void **state)
{
    struct candidate c[] = {source("a", 2), source("b", 1), source("c", 1)};
    (void)state;
    for (int i = 0; i < 1000; i++) {
        c[1].healthy = true;
        int before = pick(c, 3, key_of(i));
        c[1].healthy = false;
        int after = pick(c, 3, key_of(i));
        assert_int_not_equal(after, 1);
        if (before != 1)
            assert_int_equal(after, before);
    }
}

static void the_order_of_the_routes_does_not_matter(void **state)
{
    struct candidate ab[] = {source("a", 1), source("b", 1)};
    struct candidate ba[] = {ab[1], ab[0]};
    (void)state;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(pick(ab, 2, key_of(i)), 1 - pick(ba, 2, key_of(i)));
}

static void the_lowest_number_that_has_room_is_asked(void **state)
{
    struct candidate c[] = {source("c", 1), source("a", 1), source("b", 1)};
    struct choice_by by = {.key = 1};
    (void)state;
    c[0].priority = 2;
    c[1].priority = -1;
    c[2].priority = 1;
    assert_int_equal(choice_pick(c, 3, &by), 1);
    c[1].room = false;
    assert_int_equal(choice_pick(c, 3, &by), 2);
    c[2].healthy = false;
    assert_int_equal(choice_pick(c, 3, &by), 0);
    c[0].room = false;
    assert_int_equal(choice_pick(c, 3, &by), -1);
    assert_int_equal(choice_pick(c, 0, &by), -1);
}

/* Its bound is its share of what runs and the next one, and a quarter more. */
static void a_source_past_its_load_bound_passes_the_conversation_on(void **state)
{
    struct candidate c[] = {source("a", 1), source("b", 1)};
    struct choice_by by = {.affinity = true, .load_percent = 125};
    (void)state;
    for (int i = 0; i < 1000; i++) {
        by.key = key_of(i);
        c[0].running = c[1].running = 0;
        int home = choice_pick(c, 2, &by), other = 1 - home;
        c[other].running = 3;
        c[home].running = 5; /* bound: ceil(1.25 * 9 / 2) = 6 */
        assert_int_equal(choice_pick(c, 2, &by), home);
        c[home].running = 6; /* bound: ceil(1.25 * 10 / 2) = 7 */
        assert_int_equal(choice_pick(c, 2, &by), home);
        c[home].running = 7; /* bound: ceil(1.25 * 11 / 2) = 7 */
        assert_int_equal(choice_pick(c, 2, &by), other);
    }
}

static void the_load_bound_keeps_sources_near_their_shares(void **state)
{
    struct candidate c[] = {source("a", 1), source("b", 1), source("c", 2)};
    struct choice_by by = {.affinity = true, .key = key_of(7), .load_percent = 125};
    (void)state;
    for (int i = 0; i < 400; i++)
        c[choice_pick(c, 3, &by)].running++;
    for (int i = 0; i < 3; i++)
        assert_true(c[i].running <= 400 * c[i].weight / 4 * 125 / 100 + 1);
}

static void where_only_one_has_room_it_is_chosen_whatever_its_load(void **state)
{
    struct candidate c[] = {source("a", 1), source("b", 1)};
    struct choice_by by = {.affinity = true, .key = key_of(1), .load_percent = 100};
    (void)state;
    c[0].running = 50;
    c[1].room = false;
    assert_int_equal(choice_pick(c, 2, &by), 0);
}

/* --- the key --- */

static void later_turns_have_the_key_of_the_first(void **state)
{
    struct api_message m[] = {{.role = API_SYSTEM, .content = text_of("Be brief.")},
                              {.role = API_USER, .content = text_of("hello")},
                              {.role = API_ASSISTANT, .content = text_of("hi")},
                              {.role = API_USER, .content = text_of("and now?")}};
    struct api_request first = {.messages = m, .n_messages = 2};
    struct api_request later = {.messages = m, .n_messages = 4};
    (void)state;
    assert_true(choice_key("kimi", &first) == choice_key("kimi", &later));
}

static void another_model_text_or_role_is_another_key(void **state)
{
    struct api_message a[] = {{.role = API_SYSTEM, .content = text_of("ab")},
                              {.role = API_USER, .content = text_of("c")}};
    struct api_message b[] = {{.role = API_SYSTEM, .content = text_of("a")},
                              {.role = API_USER, .content = text_of("bc")}};
    struct api_message c[] = {{.role = API_ASSISTANT, .content = text_of("ab")},
                              {.role = API_USER, .content = text_of("c")}};
    struct api_request ra = {.messages = a, .n_messages = 2};
    struct api_request rb = {.messages = b, .n_messages = 2};
    struct api_request rc = {.messages = c, .n_messages = 2};
    (void)state;
    assert_true(choice_key("kimi", &ra) != choice_key("kimi2", &ra));
    assert_true(choice_key("kimi", &ra) != choice_key("kimi", &rb));
    assert_true(choice_key("kimi", &ra) != choice_key("kimi", &rc));
}

static void only_the_beginning_of_a_long_text_counts(void **state)
{
    static char a[2 * CHOICE_KEY_BYTES], b[sizeof a];
    struct api_message ma = {.role = API_USER, .content = {.data = a, .len = sizeof a}};
    struct api_message mb = {.role = API_USER, .content = {.data = b, .len = sizeof b}};
    struct api_request ra = {.messages = &ma, .n_messages = 1};
    struct api_request rb = {.messages = &mb, .n_messages = 1};
    (void)state;
    memset(a, 'x', sizeof a);
    memset(b, 'x', sizeof b);
    b[CHOICE_KEY_BYTES] = 'y';
    assert_true(choice_key("kimi", &ra) == choice_key("kimi", &rb));
    b[CHOICE_KEY_BYTES - 1] = 'y';
    assert_true(choice_key("kimi", &ra) != choice_key("kimi", &rb));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversations_spread_by_weight),
        cmocka_unit_test(draws_spread_by_weight),
        cmocka_unit_test(the_least_and_the_greatest_draw_choose_somebody),
        cmocka_unit_test(a_source_that_goes_moves_only_its_own_conversations),
        cmocka_unit_test(a_source_that_is_not_healthy_moves_only_its_own_conversations),
        cmocka_unit_test(the_order_of_the_routes_does_not_matter),
        cmocka_unit_test(the_lowest_number_that_has_room_is_asked),
        cmocka_unit_test(a_source_past_its_load_bound_passes_the_conversation_on),
        cmocka_unit_test(the_load_bound_keeps_sources_near_their_shares),
        cmocka_unit_test(where_only_one_has_room_it_is_chosen_whatever_its_load),
        cmocka_unit_test(later_turns_have_the_key_of_the_first),
        cmocka_unit_test(another_model_text_or_role_is_another_key),
        cmocka_unit_test(only_the_beginning_of_a_long_text_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
