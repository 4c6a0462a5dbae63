/* The router: calls that wait, and sources that fail, rest and come back. */
#include "router_rig.h"

/* --- waiting --- */

static void a_call_waits_while_its_sources_are_full(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 1);
    struct router_place place;
    start_ok(rig, 1, one_route, 1);
    start_ok(rig, 2, one_route, 1);
    assert_int_equal(router_waiting(rig->router), 1);
    assert_int_equal(router_where(rig->router, 2, &place), 0);
    assert_null(place.backend);
    assert_string_equal(place.model, "");
    assert_int_equal(place.tries, 0);
    turn(rig);
    end_well(rig, 1);
    assert_begun(one, 1, 1); /* not inside the callback */
    turn(rig);
    assert_begun(one, 2, 2);
    assert_int_equal(router_waiting(rig->router), 0);
    begin_reply(rig, 2);
    end_well(rig, 2);
    assert_true(rig->told[2].place.queued_us > 0);
}

static void one_owners_crowd_does_not_hold_up_another(void **state)
{
    struct rig *rig = *state;
    struct fault f;
    struct fake *one = add_fake(rig, "one", 1);
    for (uint64_t i = 1; i <= 100; i++)
        assert_int_equal(start(rig, i, 7, one_route, 1, &f), 0);
    assert_int_equal(start(rig, 101, 8, one_route, 1, &f), 0);
    turn(rig);
    for (uint64_t i = 1; i <= 2; i++) {
        end_well(rig, one->begun[one->n_begun - 1]);
        turn(rig);
    }
    assert_int_equal(one->begun[2], 101);
}

static void thousands_that_wait_are_all_served(void **state)
{
    struct rig *rig = *state;
    struct fault f;
    struct fake *one = add_fake(rig, "one", 4);
    rig->o.queue_calls = CALLS_MAX;
    set_options(rig);
    for (uint64_t i = 1; i < CALLS_MAX; i++)
        assert_int_equal(start(rig, i, i % 50, one_route, 1, &f), 0);
    for (int i = 0; i < CALLS_MAX - 1; i++) {
        assert_true(one->n_begun > i);
        end_well(rig, one->begun[i]);
        turn(rig);
    }
    assert_int_equal(router_waiting(rig->router), 0);
    for (int i = 1; i < CALLS_MAX; i++)
        assert_int_equal(rig->told[i].ends, 1);
}

static void who_comes_now_does_not_overtake_who_waits(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 1);
    start_ok(rig, 1, one_route, 1);
    start_ok(rig, 2, one_route, 1);
    end_well(rig, 1);
    start_ok(rig, 3, one_route, 1);
    turn(rig);
    assert_begun(one, 2, 2);
    assert_int_equal(router_waiting(rig->router), 1);
}

static void a_full_queue_is_a_429_with_the_time_that_it_takes(void **state)
{
    struct rig *rig = *state;
    struct fault f;
    add_fake(rig, "one", 2);
    rig->o.queue_calls = 3;
    set_options(rig);
    for (uint64_t i = 1; i <= 5; i++)
        start_ok(rig, i, one_route, 1);
    rig->router->sources->service_us = 4000000;
    assert_int_equal(start(rig, 6, 1, one_route, 1, &f), ERR_BUSY);
    assert_int_equal(f.kind, FAULT_ENGINE_FULL);
    assert_int_equal(f.retry_after_s, 8); /* 4 s for each of 3 and this one, two at a time */
    rig->router->sources->service_us = 400000000;
    assert_int_equal(start(rig, 6, 1, one_route, 1, &f), ERR_BUSY);
    assert_int_equal(f.retry_after_s, 60);
    rig->router->sources->service_us = 1000;
    assert_int_equal(start(rig, 6, 1, one_route, 1, &f), ERR_BUSY);
    assert_int_equal(f.retry_after_s, 1);
}

static void the_length_of_runs_is_learned(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 0);
    start_ok(rig, 1, one_route, 1);
    fail_call(rig, 1); /* of no reply there is no length */
    assert_int_equal(rig->router->sources->service_us, 0);
    start_ok(rig, 2, one_route, 1);
    begin_reply(rig, 2);
    end_well(rig, 2);
    assert_true(rig->router->sources->service_us > 0);
    struct source *s = rig->router->sources;
    s->service_us = 8000;
    source_note_service(s, 16000);
    assert_int_equal(s->service_us, 9000);
    source_note_service(s, 1000);
    assert_int_equal(s->service_us, 8000);
}

static void requests_that_wait_are_bounded_in_bytes(void **state)
{
    struct rig *rig = *state;
    struct fault f;
    add_fake(rig, "one", 1);
    rig->o.queue_bytes = 250;
    set_options(rig);
    for (uint64_t i = 1; i <= 3; i++)
        start_ok(rig, i, one_route, 1); /* of 100 bytes each; the first runs */
    assert_int_equal(start(rig, 4, 1, one_route, 1, &f), ERR_BUSY);
    assert_int_equal(f.kind, FAULT_ENGINE_FULL);
    router_stop(rig->router, 2);
    start_ok(rig, 4, one_route, 1);
}

static void a_call_waits_no_longer_than_allowed(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 1);
    rig->o.queue_ms = 5;
    set_options(rig);
    start_ok(rig, 1, one_route, 1);
    start_ok(rig, 2, one_route, 1);
    WAIT_FOR(rig, rig->told[2].ends == 1);
    assert_int_equal(rig->told[2].end.fault.kind, FAULT_UNAVAILABLE);
    assert_true(rig->told[2].end.fault.retry_after_s >= 1);
    assert_true(rig->told[2].place.queued_us > 0);
    assert_string_equal(rig->told[2].backend, "");
    assert_int_equal(router_waiting(rig->router), 0);
    end_well(rig, 1);
    turn(rig);
    assert_int_equal(rig->fakes[0]->n_begun, 1);
}

static void a_second_try_waits_too_and_not_for_who_failed(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 1), *two = add_fake(rig, "two", 1);
    start_ok(rig, 1, second_alone, 1);
    start_ok(rig, 2, first_then_second, 2);
    fail_call(rig, 2);
    turn(rig);
    assert_int_equal(router_waiting(rig->router), 1);
    assert_begun(one, 1, 2);
    begin_reply(rig, 1);
    end_well(rig, 1);
    turn(rig);
    assert_begun(two, 2, 2);
    begin_reply(rig, 2);
    end_well(rig, 2);
    assert_int_equal(rig->told[2].place.tries, 2);
    assert_true(rig->told[2].place.queued_us > 0);
}

static void who_failed_already_does_not_hold_up_those_who_could_go_there(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 1), *two = add_fake(rig, "two", 1);
    start_ok(rig, 1, second_alone, 1);
    start_ok(rig, 2, first_then_second, 2);
    fail_call(rig, 2);
    turn(rig); /* it waits for the second */
    start_ok(rig, 3, first_then_second, 2);
    start_ok(rig, 4, first_then_second, 2);
    assert_int_equal(router_waiting(rig->router), 2);
    end_well(rig, 3);
    turn(rig);
    assert_begun(one, 3, 4);
    assert_begun(two, 1, 1);
    assert_int_equal(router_waiting(rig->router), 1);
}

static void patience_ends_with_the_waiting(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 1);
    start_ok(rig, 1, one_route, 1);
    turn(rig);
    int before = event_base_get_num_events(rig->base, EVENT_BASE_COUNT_ADDED);
    start_ok(rig, 2, one_route, 1);
    turn(rig);
    assert_int_equal(event_base_get_num_events(rig->base, EVENT_BASE_COUNT_ADDED), before + 1);
    end_well(rig, 1);
    turn(rig);
    assert_begun(one, 2, 2);
    assert_int_equal(event_base_get_num_events(rig->base, EVENT_BASE_COUNT_ADDED), before);
}

static void a_waiting_call_takes_the_engine_when_it_has_room_again(void **state)
{
    struct rig *rig = *state;
    struct fake *engine = add_fake(rig, "engine", 0), *one = add_fake(rig, "one", 1);
    start_ok(rig, 1, engine_then_one, 2);
    engine->refusal.blame = BLAME_BUSY;
    start_ok(rig, 2, engine_then_one, 2);
    start_ok(rig, 3, engine_then_one, 2);
    assert_begun(one, 1, 2);
    assert_int_equal(router_waiting(rig->router), 1);
    end_well(rig, 1);
    turn(rig); /* asked, and full all the same */
    assert_int_equal(router_waiting(rig->router), 1);
    engine->refusal.blame = BLAME_NONE;
    WAIT_FOR(rig, engine->n_begun == 2); /* asked again after a time */
    assert_int_equal(engine->begun[1], 3);
}

static void calls_for_other_sources_go_past_those_that_wait(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 1);
    struct fake *two = add_fake(rig, "two", 1);
    start_ok(rig, 1, one_route, 1);
    start_ok(rig, 2, one_route, 1);
    start_ok(rig, 3, second_alone, 1);
    assert_begun(two, 1, 3);
    start_ok(rig, 4, second_alone, 1);
    end_well(rig, 3);
    turn(rig);
    assert_begun(two, 2, 4);
    assert_int_equal(router_waiting(rig->router), 1);
}

/* --- health --- */

static void a_broken_source_is_refused_fast(void **state)
{
    struct rig *rig = *state;
    struct fault f;
    struct fake *one = add_fake(rig, "one", 0);
    break_source(rig, one_route, 1);
    assert_int_equal(start(rig, 10, 1, one_route, 1, &f), ERR_BUSY);
    assert_int_equal(f.kind, FAULT_UNAVAILABLE);
    assert_in_range(f.retry_after_s, WAIT_S * 9 / 10, WAIT_S);
    assert_int_equal(one->n_begun, 3);
    assert_int_equal(router_waiting(rig->router), 0);
    assert_string_equal(rig->notes, "one:failed one:failed one:failed one:open ");
}

static void a_broken_source_is_passed_over(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 0), *two = add_fake(rig, "two", 0);
    break_source(rig, one_route, 1);
    start_ok(rig, 10, first_then_second, 2);
    assert_begun(one, 3, 3);
    assert_begun(two, 1, 10);
}

static void wait_for_trial(struct rig *rig, const char *name)
{
    WAIT_FOR(rig, health_of(rig, name) == ROUTER_TRIAL);
}

static void one_call_is_the_trial_and_the_others_wait_for_it(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 0);
    rig->o.open_ms = 5;
    set_options(rig);
    break_source(rig, one_route, 1);
    wait_for_trial(rig, "one");
    start_ok(rig, 10, one_route, 1);
    assert_begun(one, 4, 10);
    start_ok(rig, 11, one_route, 1);
    assert_int_equal(router_waiting(rig->router), 1);
    begin_reply(rig, 10);
    assert_begun(one, 4, 10);
    turn(rig);
    assert_begun(one, 5, 11);
    assert_int_equal(health_of(rig, "one"), ROUTER_CLOSED);
    assert_non_null(strstr(rig->notes, "one:open one:trial one:closed "));
}

static void others_avoid_a_source_on_trial(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 0), *two = add_fake(rig, "two", 0);
    rig->o.open_ms = 5;
    set_options(rig);
    break_source(rig, one_route, 1);
    wait_for_trial(rig, "one");
    start_ok(rig, 10, first_then_second, 2);
    assert_begun(one, 4, 10);
    start_ok(rig, 11, first_then_second, 2);
    assert_begun(two, 1, 11);
}

static void a_bad_trial_refuses_those_who_waited_for_it(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 0);
    rig->o.open_ms = 5;
    set_options(rig);
    break_source(rig, one_route, 1);
    wait_for_trial(rig, "one");
    rig->o.open_ms = WAIT_S * 1000;
    set_options(rig);
    start_ok(rig, 10, one_route, 1);
    start_ok(rig, 11, one_route, 1);
    fail_call(rig, 10);
    turn(rig);
    assert_int_equal(rig->told[10].end.fault.kind, FAULT_UPSTREAM);
    assert_int_equal(rig->told[11].end.fault.kind, FAULT_UNAVAILABLE);
    assert_in_range(rig->told[11].end.fault.retry_after_s, WAIT_S * 19 / 10, WAIT_S * 2);
}

static void a_stopped_trial_leaves_it_to_the_next_that_waits(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 0);
    rig->o.open_ms = 5;
    set_options(rig);
    break_source(rig, one_route, 1);
    wait_for_trial(rig, "one");
    start_ok(rig, 10, one_route, 1);
    start_ok(rig, 11, one_route, 1);
    start_ok(rig, 12, one_route, 1);
    assert_false(router_stop(rig->router, 10));
    turn(rig);
    assert_begun(one, 5, 11);
    assert_int_equal(router_waiting(rig->router), 1);
    assert_int_equal(health_of(rig, "one"), ROUTER_TRIAL);
}

static void stopped_runs_are_no_failures(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 0);
    for (uint64_t i = 1; i <= 10; i++) {
        start_ok(rig, i, one_route, 1);
        router_stop(rig->router, i);
    }
    struct router_row row = row_of(rig, "one");
    assert_int_equal(row.failures, 0);
    assert_int_equal(row.failed, 0);
    assert_int_equal(row.runs, 10);
}

static void a_source_that_asks_for_a_rest_gets_it(void **state)
{
    struct rig *rig = *state;
    struct fault f;
    struct fake *one = add_fake(rig, "one", 0), *two = add_fake(rig, "two", 0);
    start_ok(rig, 1, first_then_second, 2);
    end_with(rig, 1, BLAME_BUSY, FAULT_RATE_LIMIT, 30000);
    turn(rig);
    assert_begun(two, 1, 1);
    assert_int_equal(health_of(rig, "one"), ROUTER_RESTING);
    assert_int_equal(row_of(rig, "one").failures, 0);
    start_ok(rig, 2, first_then_second, 2);
    assert_begun(two, 2, 2);
    assert_int_equal(start(rig, 3, 1, one_route, 1, &f), ERR_BUSY);
    assert_int_equal(f.kind, FAULT_UNAVAILABLE);
    assert_in_range(f.retry_after_s, 29, 30);
    assert_begun(one, 1, 1);
}

static void who_waits_goes_when_the_rest_is_over(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 1);
    rig->o.tries = 1;
    set_options(rig);
    start_ok(rig, 1, one_route, 1);
    start_ok(rig, 2, one_route, 1);
    end_with(rig, 1, BLAME_BUSY, FAULT_RATE_LIMIT, 5);
    turn(rig);
    assert_int_equal(rig->told[1].end.fault.kind, FAULT_RATE_LIMIT);
    WAIT_FOR(rig, one->n_begun == 2);
    assert_int_equal(one->begun[1], 2);
}

static void who_waits_is_refused_when_the_last_source_breaks(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 3);
    rig->o.tries = 1;
    set_options(rig);
    for (uint64_t i = 1; i <= 5; i++)
        start_ok(rig, i, one_route, 1);
    for (uint64_t i = 1; i <= 3; i++)
        fail_call(rig, i);
    turn(rig);
    for (uint64_t i = 4; i <= 5; i++) {
        assert_int_equal(rig->told[i].ends, 1);
        assert_int_equal(rig->told[i].end.fault.kind, FAULT_UNAVAILABLE);
    }
    assert_int_equal(router_waiting(rig->router), 0);
}

static void a_good_probe_closes_the_circuit(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 0), *two = add_fake(rig, "two", 0);
    rig->o.probe_ms = 1;
    break_source(rig, one_route, 1);
    set_options(rig);
    WAIT_FOR(rig, one->n_probes > 0);
    assert_int_equal(two->n_probes, 0); /* it is well */
    router_probed(rig->router, "one", false, "no");
    router_probed(rig->router, "nobody", true, "");
    assert_int_equal(health_of(rig, "one"), ROUTER_OPEN);
    router_probed(rig->router, "one", true, "");
    assert_int_equal(health_of(rig, "one"), ROUTER_CLOSED);
    start_ok(rig, 10, one_route, 1);
    assert_begun(one, 4, 10);
    turn(rig);
    assert_non_null(strstr(rig->notes, "one:open one:closed "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_call_waits_while_its_sources_are_full),
        TEST(one_owners_crowd_does_not_hold_up_another),
        TEST(thousands_that_wait_are_all_served),
        TEST(who_comes_now_does_not_overtake_who_waits),
        TEST(a_full_queue_is_a_429_with_the_time_that_it_takes),
        TEST(the_length_of_runs_is_learned),
        TEST(requests_that_wait_are_bounded_in_bytes),
        TEST(a_call_waits_no_longer_than_allowed),
        TEST(a_second_try_waits_too_and_not_for_who_failed),
        TEST(who_failed_already_does_not_hold_up_those_who_could_go_there),
        TEST(patience_ends_with_the_waiting),
        TEST(a_waiting_call_takes_the_engine_when_it_has_room_again),
        TEST(calls_for_other_sources_go_past_those_that_wait),
        TEST(a_broken_source_is_refused_fast),
        TEST(a_broken_source_is_passed_over),
        TEST(one_call_is_the_trial_and_the_others_wait_for_it),
        TEST(others_avoid_a_source_on_trial),
        TEST(a_bad_trial_refuses_those_who_waited_for_it),
        TEST(a_stopped_trial_leaves_it_to_the_next_that_waits),
        TEST(stopped_runs_are_no_failures),
        TEST(a_source_that_asks_for_a_rest_gets_it),
        TEST(who_waits_goes_when_the_rest_is_over),
        TEST(who_waits_is_refused_when_the_last_source_breaks),
        TEST(a_good_probe_closes_the_circuit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
