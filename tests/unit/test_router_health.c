/* The circuit of a source, with times made up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/health.h"

static const struct router_options rules = {
    .failures = 3, .open_ms = 1000, .open_max_ms = 5000, .rest_max_ms = 30000};

static enum health_change end_at(struct health *h, int64_t now, enum backend_blame blame,
                                 bool trial)
{
    /* In the middle of the jitter's range the times are what the rules say. */
    struct health_end end = {.blame = blame, .trial = trial, .jitter = 0.5};
    return health_ended(h, &rules, now, &end);
}

static void open_it(struct health *h, int64_t now)
{
    assert_int_equal(end_at(h, now, BLAME_SOURCE, false), HEALTH_SAME);
    assert_int_equal(end_at(h, now, BLAME_SOURCE, false), HEALTH_SAME);
    assert_int_equal(end_at(h, now, BLAME_SOURCE, false), HEALTH_OPENED);
}

static void failures_in_a_row_open_the_circuit(void **state)
{
    struct health h = {0};
    (void)state;
    open_it(&h, 100);
    assert_int_equal(health_now(&h, 100), ROUTER_OPEN);
    assert_false(health_takes(&h, 1099));
    assert_int_equal(health_ms(&h, 100), 1000);
    assert_int_equal(health_now(&h, 1100), ROUTER_TRIAL);
    assert_true(health_takes(&h, 1100));
    assert_int_equal(health_ms(&h, 1100), 0);
}

static void a_good_end_or_a_refused_request_ends_the_row(void **state)
{
    static const enum backend_blame blames[] = {BLAME_NONE, BLAME_CALL};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct health h = {0};
        end_at(&h, 0, BLAME_SOURCE, false);
        end_at(&h, 0, BLAME_SOURCE, false);
        assert_int_equal(end_at(&h, 0, blames[i], false), HEALTH_SAME);
        open_it(&h, 0);
    }
}

static void one_trial_at_a_time(void **state)
{
    struct health h = {0};
    (void)state;
    assert_false(health_begin(&h, 0));
    open_it(&h, 0);
    assert_false(health_begin(&h, 999));
    assert_true(health_begin(&h, 1000));
    assert_false(health_takes(&h, 1000));
    assert_int_equal(health_now(&h, 1000), ROUTER_TRIAL);
}

static void a_good_trial_closes_the_circuit(void **state)
{
    struct health h = {0};
    (void)state;
    open_it(&h, 0);
    health_begin(&h, 1000);
    assert_int_equal(end_at(&h, 1100, BLAME_NONE, true), HEALTH_CLOSED);
    assert_int_equal(health_now(&h, 1100), ROUTER_CLOSED);
    open_it(&h, 1200);
    assert_int_equal(health_ms(&h, 1200), 1000);
}

static void a_bad_trial_opens_it_for_twice_as_long_up_to_a_limit(void **state)
{
    static const int expected[] = {2000, 4000, 5000, 5000};
    struct health h = {0};
    int64_t now = 0;
    (void)state;
    open_it(&h, now);
    for (int i = 0; i < 4; i++) {
        now += health_ms(&h, now);
        assert_true(health_begin(&h, now));
        assert_int_equal(end_at(&h, now, BLAME_SOURCE, true), HEALTH_OPENED);
        assert_int_equal(health_ms(&h, now), expected[i]);
    }
}

static void a_trials_first_content_closes_it_on_probation(void **state)
{
    struct health h = {0};
    (void)state;
    open_it(&h, 0);
    health_begin(&h, 1000);
    assert_int_equal(health_started(&h, &rules), HEALTH_CLOSED);
    assert_true(health_takes(&h, 1000));
    assert_int_equal(end_at(&h, 1001, BLAME_SOURCE, false), HEALTH_OPENED);
    assert_int_equal(health_ms(&h, 1001), 2000);
}

static void a_good_end_ends_probation(void **state)
{
    struct health h = {0};
    (void)state;
    open_it(&h, 0);
    health_begin(&h, 1000);
    health_started(&h, &rules);
    end_at(&h, 1001, BLAME_NONE, false);
    open_it(&h, 1002);
    assert_int_equal(health_ms(&h, 1002), 1000);
}

static void a_way_that_is_wrong_says_that_the_source_answers(void **state)
{
    struct health h = {0};
    (void)state;
    end_at(&h, 0, BLAME_SOURCE, false);
    end_at(&h, 0, BLAME_SOURCE, false);
    for (int i = 0; i < 10; i++)
        assert_int_equal(end_at(&h, 0, BLAME_ROUTE, false), HEALTH_SAME);
    assert_int_equal(h.failures, 0);
    assert_int_equal(health_now(&h, 0), ROUTER_CLOSED);
}

static void a_stopped_trial_teaches_nothing_and_the_next_call_is_the_trial(void **state)
{
    struct health h = {0};
    (void)state;
    open_it(&h, 0);
    health_begin(&h, 1000);
    health_stopped(&h, true);
    assert_int_equal(health_now(&h, 1000), ROUTER_TRIAL);
    assert_true(health_begin(&h, 1000));
}

static void runs_from_before_it_opened_change_nothing(void **state)
{
    struct health h = {0};
    (void)state;
    open_it(&h, 0);
    assert_int_equal(end_at(&h, 500, BLAME_SOURCE, false), HEALTH_SAME);
    assert_int_equal(end_at(&h, 500, BLAME_NONE, false), HEALTH_SAME);
    assert_int_equal(health_ms(&h, 500), 500);
    health_begin(&h, 1000);
    assert_int_equal(end_at(&h, 1000, BLAME_SOURCE, false), HEALTH_SAME);
    assert_false(health_takes(&h, 1000));
}

static void jitter_is_a_fifth_either_way(void **state)
{
    static const struct {
        double jitter;
        int ms;
    } cases[] = {{0, 800}, {1, 1200}};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct health h = {.failures = 2};
        struct health_end end = {.blame = BLAME_SOURCE, .jitter = cases[i].jitter};
        assert_int_equal(health_ended(&h, &rules, 0, &end), HEALTH_OPENED);
        assert_int_equal(health_ms(&h, 0), cases[i].ms);
    }
}

static enum health_change busy_at(struct health *h, int64_t now, int retry_after_ms)
{
    struct health_end end = {.blame = BLAME_BUSY, .retry_after_ms = retry_after_ms};
    return health_ended(h, &rules, now, &end);
}

static void a_busy_source_rests_as_long_as_it_asked(void **state)
{
    struct health h = {0};
    (void)state;
    assert_int_equal(busy_at(&h, 0, 7000), HEALTH_RESTS);
    assert_int_equal(health_now(&h, 6999), ROUTER_RESTING);
    assert_false(health_takes(&h, 6999));
    assert_int_equal(health_ms(&h, 0), 7000);
    assert_int_equal(health_now(&h, 7000), ROUTER_CLOSED);
    assert_true(health_takes(&h, 7000));
}

static void a_rest_is_short_without_a_time_and_never_past_the_limit(void **state)
{
    struct health a = {0}, b = {0};
    (void)state;
    busy_at(&a, 0, 0);
    assert_int_equal(health_ms(&a, 0), rules.open_ms);
    busy_at(&b, 0, 3600000);
    assert_int_equal(health_ms(&b, 0), rules.rest_max_ms);
}

static void a_shorter_rest_does_not_cut_a_longer_one(void **state)
{
    struct health h = {0};
    (void)state;
    busy_at(&h, 0, 7000);
    assert_int_equal(busy_at(&h, 100, 1000), HEALTH_SAME);
    assert_int_equal(health_ms(&h, 100), 6900);
}

static void being_busy_is_no_failure(void **state)
{
    struct health h = {0};
    (void)state;
    for (int i = 0; i < 10; i++)
        busy_at(&h, 0, 10);
    assert_int_equal(h.failures, 0);
    assert_int_equal(health_now(&h, 10), ROUTER_CLOSED);
}

static void a_busy_trial_leaves_the_circuit_to_the_next(void **state)
{
    struct health h = {0};
    struct health_end end = {.blame = BLAME_BUSY, .retry_after_ms = 100, .trial = true};
    (void)state;
    open_it(&h, 0);
    health_begin(&h, 1000);
    assert_int_equal(health_ended(&h, &rules, 1000, &end), HEALTH_RESTS);
    assert_int_equal(health_now(&h, 1000), ROUTER_RESTING);
    assert_false(health_begin(&h, 1000));
    assert_true(health_begin(&h, 1100));
}

static void a_good_probe_closes_the_circuit(void **state)
{
    struct health h = {0};
    (void)state;
    assert_int_equal(health_probed(&h, &rules), HEALTH_SAME);
    open_it(&h, 0);
    assert_int_equal(health_probed(&h, &rules), HEALTH_CLOSED);
    assert_true(health_takes(&h, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_in_a_row_open_the_circuit),
        cmocka_unit_test(a_good_end_or_a_refused_request_ends_the_row),
        cmocka_unit_test(one_trial_at_a_time),
        cmocka_unit_test(a_good_trial_closes_the_circuit),
        cmocka_unit_test(a_bad_trial_opens_it_for_twice_as_long_up_to_a_limit),
        cmocka_unit_test(a_trials_first_content_closes_it_on_probation),
        cmocka_unit_test(a_good_end_ends_probation),
        cmocka_unit_test(a_way_that_is_wrong_says_that_the_source_answers),
        cmocka_unit_test(a_stopped_trial_teaches_nothing_and_the_next_call_is_the_trial),
        cmocka_unit_test(runs_from_before_it_opened_change_nothing),
        cmocka_unit_test(jitter_is_a_fifth_either_way),
        cmocka_unit_test(a_busy_source_rests_as_long_as_it_asked),
        cmocka_unit_test(a_rest_is_short_without_a_time_and_never_past_the_limit),
        cmocka_unit_test(a_shorter_rest_does_not_cut_a_longer_one),
        cmocka_unit_test(being_busy_is_no_failure),
        cmocka_unit_test(a_busy_trial_leaves_the_circuit_to_the_next),
        cmocka_unit_test(a_good_probe_closes_the_circuit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
