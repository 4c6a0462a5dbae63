/* The router: one call's way, second tries, who is asked, stopping. */
#include "router_rig.h"

/* --- one call --- */

static const struct route one_as_k2[] = {
    {.backend = (char[]){"one"}, .weight = 1, .model = (char[]){"k2"}}};
static const struct route one_as_nothing[] = {
    {.backend = (char[]){"one"}, .weight = 1, .model = (char[]){""}}};

static void a_call_goes_to_its_source_and_its_events_come_back(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 0);
    struct router_place place;
    start_ok(rig, 1, one_as_k2, 1);
    assert_begun(one, 1, 1);
    assert_string_equal(one->model, "k2");
    begin_reply(rig, 1);
    assert_int_equal(router_where(rig->router, 1, &place), 0);
    assert_string_equal(place.backend, "one");
    assert_string_equal(place.kind, "openai");
    assert_string_equal(place.fingerprint, "print");
    assert_string_equal(place.model, "k2");
    assert_int_equal(place.tries, 1);
    assert_int_equal(place.queued_us, 0);
    router_backend_events.on_piece(rig->router, 1, &(struct backend_piece){0});
    router_backend_events.on_chunk(rig->router, 1, &(struct relayed){0});
    router_backend_events.on_chunk(rig->router, 1, &(struct relayed){0});
    router_backend_events.on_whole(rig->router, 1, &(struct relayed){0});
    router_backend_events.on_finish(rig->router, 1, 0, API_FINISH_STOP);
    end_well(rig, 1);
    const struct told *t = &rig->told[1];
    assert_int_equal(t->starts, 1);
    assert_int_equal(t->pieces, 1);
    assert_int_equal(t->chunks, 2);
    assert_int_equal(t->wholes, 1);
    assert_int_equal(t->finishes, 1);
    assert_int_equal(t->ends, 1);
    assert_string_equal(t->model, "k2");
    assert_int_equal(t->end.fault.kind, FAULT_NONE);
    assert_int_equal(router_where(rig->router, 1, &place), ERR_NOT_FOUND);
}

static void a_route_without_a_name_asks_for_ours(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 0);
    start_ok(rig, 1, one_route, 1);
    assert_string_equal(one->model, "kimi");
    start_ok(rig, 2, one_as_nothing, 1);
    assert_string_equal(one->model, "kimi");
}

static void what_comes_of_calls_that_are_not_known_is_ignored(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 0);
    start_ok(rig, 1, one_route, 1);
    begin_reply(rig, 1);
    end_well(rig, 1);
    begin_reply(rig, 1);
    router_backend_events.on_piece(rig->router, 1, &(struct backend_piece){0});
    end_well(rig, 1);
    end_well(rig, 77);
    begin_reply(rig, 77);
    router_pause(rig->router, 77, true);
    assert_false(router_stop(rig->router, 77));
    assert_int_equal(rig->told[1].ends, 1);
    assert_int_equal(rig->told[1].pieces, 0);
    assert_int_equal(rig->told[77].ends, 0);
}

static void a_number_that_is_under_way_is_refused(void **state)
{
    struct rig *rig = *state;
    struct fault f;
    add_fake(rig, "one", 0);
    start_ok(rig, 1, one_route, 1);
    struct router_call call = {.run = {.number = 1}};
    assert_int_equal(router_start(rig->router, &call, &f), ERR_EXISTS);
}

static void a_call_may_be_started_in_anothers_end(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 0);
    start_ok(rig, 1, one_route, 1);
    rig->start_in_end = 1025; /* in the same bucket of the table */
    end_well(rig, 1);
    assert_begun(one, 2, 1025);
    end_well(rig, 1025);
    assert_int_equal(rig->told[1025].ends, 1);
}

static void a_pause_is_passed_on(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 0);
    start_ok(rig, 5, one_route, 1);
    router_pause(rig->router, 5, true);
    assert_int_equal(one->paused, 5);
    router_pause(rig->router, 5, false);
    assert_int_equal(one->paused, 0);
}

static void many_calls_are_told_apart(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 0);
    for (uint64_t i = 1; i < CALLS_MAX; i++)
        start_ok(rig, i, one_route, 1);
    for (uint64_t i = 1; i < CALLS_MAX; i += 2)
        begin_reply(rig, i);
    for (uint64_t i = 1; i < CALLS_MAX; i++)
        end_well(rig, i);
    for (uint64_t i = 1; i < CALLS_MAX; i++) {
        assert_int_equal(rig->told[i].starts, i % 2);
        assert_int_equal(rig->told[i].ends, 1);
    }
}

static void what_is_not_over_at_the_end_is_forgotten_without_events(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "engine", 0);
    add_fake(rig, "one", 1);
    add_fake(rig, "two", 1);
    start_ok(rig, 1, one_route, 1);
    start_ok(rig, 2, one_route, 1); /* waits */
    start_ok(rig, 3, engine_alone, 1);
    assert_true(router_stop(rig->router, 3)); /* owes its end */
    start_ok(rig, 4, second_alone, 1);
    fail_call(rig, 4); /* between two tries */
    start_ok(rig, 5, second_alone, 1);
    fail_call(rig, 5);
    router_stop(rig->router, 5);
    router_close(rig->router);
    rig->router = NULL;
    assert_string_equal(rig->closed, "engine one two ");
    for (int i = 1; i <= 5; i++)
        assert_int_equal(rig->told[i].ends, 0);
}

/* --- second tries --- */

static void a_failed_try_goes_elsewhere(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 0), *two = add_fake(rig, "two", 0);
    start_ok(rig, 1, first_then_second, 2);
    fail_call(rig, 1);
    assert_begun(two, 0, 0); /* not inside the callback */
    turn(rig);
    assert_begun(one, 1, 1);
    assert_begun(two, 1, 1);
    assert_string_equal(rig->notes, "one:failed ");
    begin_reply(rig, 1);
    end_well(rig, 1);
    assert_int_equal(rig->told[1].place.tries, 2);
    assert_string_equal(rig->told[1].backend, "two");
    assert_int_equal(rig->told[1].end.fault.kind, FAULT_NONE);
}

static void a_reply_that_has_begun_is_never_tried_again(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 0);
    struct fake *two = add_fake(rig, "two", 0);
    start_ok(rig, 1, first_then_second, 2);
    begin_reply(rig, 1);
    fail_call(rig, 1);
    assert_int_equal(rig->told[1].ends, 1);
    assert_int_equal(rig->told[1].end.fault.kind, FAULT_UPSTREAM);
    assert_int_equal(row_of(rig, "one").failures, 1);
    turn(rig);
    assert_begun(two, 0, 0);
}

static void a_refused_request_is_shown_to_nobody_else(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 0);
    struct fake *two = add_fake(rig, "two", 0);
    start_ok(rig, 1, first_then_second, 2);
    end_with(rig, 1, BLAME_CALL, FAULT_BAD_REQUEST, 0);
    turn(rig);
    assert_int_equal(rig->told[1].end.fault.kind, FAULT_BAD_REQUEST);
    assert_begun(two, 0, 0);
    assert_int_equal(row_of(rig, "one").failures, 0);
    assert_string_equal(rig->notes, "");
}

static void no_call_is_tried_more_often_than_allowed(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 0);
    add_fake(rig, "two", 0);
    struct fake *three = add_fake(rig, "three", 0);
    rig->o.tries = 2;
    set_options(rig);
    start_ok(rig, 1, all_three, 3);
    fail_call(rig, 1);
    turn(rig);
    fail_call(rig, 1);
    turn(rig);
    assert_begun(three, 0, 0);
    assert_int_equal(rig->told[1].ends, 1);
    assert_int_equal(rig->told[1].place.tries, 2);
    assert_string_equal(rig->told[1].backend, "two");
    assert_string_equal(rig->told[1].model, "kimi");
    assert_string_equal(rig->notes, "one:failed two:failed ");
}

static void when_all_fail_the_last_fault_is_told(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 0);
    add_fake(rig, "two", 0);
    start_ok(rig, 1, first_then_second, 2);
    fail_call(rig, 1);
    turn(rig);
    end_with(rig, 1, BLAME_SOURCE, FAULT_TIMEOUT, 0);
    turn(rig);
    assert_int_equal(rig->told[1].ends, 1);
    assert_int_equal(rig->told[1].end.fault.kind, FAULT_TIMEOUT);
    assert_string_equal(rig->told[1].end.detail, "what happened");
}

static void that_a_source_was_busy_tells_more_than_that_another_failed(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 0);
    add_fake(rig, "two", 0);
    start_ok(rig, 1, first_then_second, 2);
    end_with(rig, 1, BLAME_BUSY, FAULT_RATE_LIMIT, 7000);
    turn(rig);
    fail_call(rig, 1);
    turn(rig);
    assert_int_equal(rig->told[1].ends, 1);
    assert_int_equal(rig->told[1].end.fault.kind, FAULT_RATE_LIMIT);
    assert_in_range(rig->told[1].end.fault.retry_after_s, 6, 7);
}

static void of_two_that_rest_the_shorter_rest_is_told(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 0);
    add_fake(rig, "two", 0);
    start_ok(rig, 1, first_then_second, 2);
    end_with(rig, 1, BLAME_BUSY, FAULT_RATE_LIMIT, 20000);
    turn(rig);
    end_with(rig, 1, BLAME_BUSY, FAULT_UNAVAILABLE, 40000);
    turn(rig);
    assert_int_equal(rig->told[1].end.fault.kind, FAULT_UNAVAILABLE);
    assert_in_range(rig->told[1].end.fault.retry_after_s, 19, 20);
    assert_string_equal(rig->notes, "one:failed one:rests two:failed two:rests ");
}

static void the_only_source_is_asked_again_after_a_reset(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 0);
    start_ok(rig, 1, one_route, 1);
    fail_call(rig, 1);
    turn(rig);
    assert_begun(one, 2, 1);
    begin_reply(rig, 1);
    end_well(rig, 1);
    assert_int_equal(rig->told[1].place.tries, 2);
}

static void the_only_source_is_not_asked_again_after_a_silence(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 0);
    start_ok(rig, 1, one_route, 1);
    end_with(rig, 1, BLAME_SOURCE, FAULT_TIMEOUT, 0);
    turn(rig);
    assert_begun(one, 1, 1);
    assert_int_equal(rig->told[1].end.fault.kind, FAULT_TIMEOUT);
}

static void the_only_source_is_not_asked_again_once_its_circuit_is_open(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 0);
    rig->o.failures = 1;
    set_options(rig);
    start_ok(rig, 1, one_route, 1);
    fail_call(rig, 1);
    turn(rig);
    assert_begun(one, 1, 1);
    assert_int_equal(rig->told[1].end.fault.kind, FAULT_UPSTREAM);
}

static void a_source_that_fails_at_once_is_a_failed_try(void **state)
{
    struct rig *rig = *state;
    struct fault f;
    struct fake *one = add_fake(rig, "one", 0), *two = add_fake(rig, "two", 0);
    one->refusal.blame = BLAME_SOURCE;
    fault_set(&one->refusal.fault, FAULT_UPSTREAM, NULL, "no descriptor left");
    start_ok(rig, 1, first_then_second, 2);
    assert_begun(two, 1, 1);
    assert_int_equal(row_of(rig, "one").failures, 1);
    two->refusal = one->refusal;
    assert_int_equal(start(rig, 2, 1, first_then_second, 2, &f), ERR_BUSY);
    assert_int_equal(f.kind, FAULT_UPSTREAM);
    turn(rig);
    assert_string_equal(rig->notes, "one:failed one:failed two:failed ");
    assert_int_equal(rig->told[2].ends, 0);
}

static void a_request_that_is_refused_at_once_is_shown_to_nobody_else(void **state)
{
    struct rig *rig = *state;
    struct fault f;
    struct fake *one = add_fake(rig, "one", 0), *two = add_fake(rig, "two", 0);
    one->refusal.blame = BLAME_CALL;
    fault_set(&one->refusal.fault, FAULT_BAD_REQUEST, "n", "too many");
    assert_int_equal(start(rig, 1, 1, first_then_second, 2, &f), ERR_INVALID);
    assert_int_equal(f.kind, FAULT_BAD_REQUEST);
    assert_begun(two, 0, 0);
}

/* --- who may be asked --- */

static void a_full_source_overflows_to_the_next_priority(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 2), *two = add_fake(rig, "two", 0);
    for (uint64_t i = 1; i <= 3; i++)
        start_ok(rig, i, first_then_second, 2);
    assert_begun(one, 2, 2);
    assert_begun(two, 1, 3);
    end_well(rig, 1);
    start_ok(rig, 4, first_then_second, 2);
    assert_begun(one, 3, 4);
}

static void a_full_engine_overflows_to_an_upstream(void **state)
{
    struct rig *rig = *state;
    struct fake *engine = add_fake(rig, "engine", 0), *one = add_fake(rig, "one", 0);
    start_ok(rig, 1, engine_then_one, 2);
    assert_begun(engine, 1, 1);
    engine->refusal.blame = BLAME_BUSY;
    start_ok(rig, 2, engine_then_one, 2);
    assert_begun(one, 1, 2);
    begin_reply(rig, 2);
    end_well(rig, 2);
    assert_int_equal(rig->told[2].place.tries, 1);
    assert_int_equal(health_of(rig, "engine"), ROUTER_CLOSED);
    engine->refusal.blame = BLAME_NONE;
    end_well(rig, 1); /* there is room again */
    start_ok(rig, 3, engine_then_one, 2);
    assert_begun(engine, 2, 3);
    assert_string_equal(rig->notes, "");
}

static void a_full_engine_alone_is_a_429_at_once(void **state)
{
    struct rig *rig = *state;
    struct fault f;
    struct fake *engine = add_fake(rig, "engine", 0);
    engine->refusal.blame = BLAME_BUSY;
    fault_set(&engine->refusal.fault, FAULT_ENGINE_FULL, NULL, "full");
    for (uint64_t i = 1; i <= 2; i++) {
        assert_int_equal(start(rig, i, 1, engine_alone, 1, &f), ERR_BUSY);
        assert_int_equal(f.kind, FAULT_ENGINE_FULL);
        assert_true(f.retry_after_s >= 1);
    }
    assert_int_equal(router_waiting(rig->router), 0);
}

static void a_full_engine_beside_a_broken_upstream_tells_its_own_time(void **state)
{
    struct rig *rig = *state;
    struct fault f;
    struct fake *engine = add_fake(rig, "engine", 0);
    add_fake(rig, "one", 0);
    break_source(rig, one_route, 1);
    engine->refusal.blame = BLAME_BUSY;
    fault_set(&engine->refusal.fault, FAULT_ENGINE_FULL, NULL, "full");
    assert_int_equal(start(rig, 10, 1, engine_then_one, 2, &f), ERR_BUSY);
    assert_int_equal(f.kind, FAULT_ENGINE_FULL);
    assert_int_equal(f.retry_after_s, 1);
}

/* Finds the engine full, and lets it have room without anybody having been told. */
static void find_engine_full(struct rig *rig, struct fake *engine, uint64_t number)
{
    struct fault f;
    engine->refusal.blame = BLAME_BUSY;
    assert_int_equal(start(rig, number, 1, engine_alone, 1, &f), ERR_BUSY);
    engine->refusal.blame = BLAME_NONE;
    assert_int_equal(start(rig, number, 1, engine_alone, 1, &f), ERR_BUSY);
}

static void a_full_engine_is_asked_again_when_something_begins_or_ends_there(void **state)
{
    struct rig *rig = *state;
    struct fake *engine = add_fake(rig, "engine", 0);
    for (uint64_t i = 1; i <= 3; i++)
        start_ok(rig, i, engine_alone, 1);
    find_engine_full(rig, engine, 10);
    begin_reply(rig, 1);
    start_ok(rig, 11, engine_alone, 1);
    find_engine_full(rig, engine, 20);
    end_well(rig, 2);
    start_ok(rig, 21, engine_alone, 1);
    assert_true(router_stop(rig->router, 3));
    find_engine_full(rig, engine, 30);
    end_well(rig, 3); /* the end that a stopped run owes */
    start_ok(rig, 31, engine_alone, 1);
}

static void the_engine_never_sees_what_it_cannot_answer(void **state)
{
    struct rig *rig = *state;
    struct fault f;
    struct api_request tools = {0};
    fault_set(&tools.upstream_only, FAULT_NOT_IMPLEMENTED, "tools", "no tools here");
    struct fake *engine = add_fake(rig, "engine", 0), *one = add_fake(rig, "one", 0);
    assert_int_equal(start_as(rig, 1, 1, engine_then_one, 2, &tools, false, &f), 0);
    assert_begun(engine, 0, 0);
    assert_begun(one, 1, 1);
    assert_int_equal(start_as(rig, 2, 1, engine_alone, 1, &tools, false, &f), ERR_INVALID);
    assert_int_equal(f.kind, FAULT_NOT_IMPLEMENTED);
    assert_string_equal(f.param, "tools");
}

static void tokens_are_counted_by_the_engine_alone(void **state)
{
    struct rig *rig = *state;
    struct fault f;
    struct api_request plain = {0};
    struct fake *engine = add_fake(rig, "engine", 0), *one = add_fake(rig, "one", 0);
    assert_int_equal(start_as(rig, 1, 1, one_then_engine, 2, &plain, true, &f), 0);
    assert_begun(engine, 1, 1);
    assert_begun(one, 0, 0);
    assert_int_equal(start_as(rig, 2, 1, one_route, 1, &plain, true, &f), ERR_BUSY);
    assert_int_equal(f.kind, FAULT_UNAVAILABLE);
}

static void a_model_without_a_source_is_unavailable(void **state)
{
    struct rig *rig = *state;
    struct fault f;
    assert_int_equal(start(rig, 1, 1, one_route, 1, &f), ERR_BUSY);
    assert_int_equal(f.kind, FAULT_UNAVAILABLE);
    assert_int_equal(start(rig, 1, 1, one_route, 0, &f), ERR_BUSY);
    assert_int_equal(f.kind, FAULT_UNAVAILABLE);
}

static void a_conversation_stays_with_its_source(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 0), *two = add_fake(rig, "two", 0);
    for (uint64_t i = 1; i <= 20; i++) {
        start_ok(rig, i, both, 2);
        end_well(rig, i);
    }
    assert_int_equal(one->n_begun + two->n_begun, 20);
    assert_true(one->n_begun == 0 || two->n_begun == 0);
}

static void without_affinity_the_draw_decides(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 0), *two = add_fake(rig, "two", 0);
    rig->o.affinity = false;
    set_options(rig);
    start_ok(rig, 1, both, 2); /* 0x7f7f... is below the half */
    assert_begun(one, 1, 1);
    random_set(NULL);
    for (uint64_t i = 2; i <= 201; i++)
        start_ok(rig, i, both, 2);
    assert_true(one->n_begun > 1); /* the chance that one gets all is 2^-199 */
    assert_true(two->n_begun > 0);
}

/* --- stopping --- */

static void a_stopped_run_frees_its_place(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 1);
    start_ok(rig, 1, one_route, 1);
    start_ok(rig, 2, one_route, 1);
    assert_false(router_stop(rig->router, 1));
    assert_int_equal(one->stopped, 1);
    assert_begun(one, 1, 1);
    end_well(rig, 1); /* too late */
    turn(rig);
    assert_begun(one, 2, 2);
    assert_int_equal(rig->told[1].ends, 0);
    assert_false(router_stop(rig->router, 1));
    assert_int_equal(one->n_stopped, 1);
}

static void a_stopped_run_of_the_engine_still_tells_what_it_used(void **state)
{
    struct rig *rig = *state;
    struct fake *engine = add_fake(rig, "engine", 0);
    struct backend_end end = {.usage = {.completion_tokens = 5}};
    struct route *route = malloc(sizeof *route);
    char *name = strdup("k2");
    *route = engine_alone[0];
    route->model = name;
    start_ok(rig, 1, route, 1);
    assert_true(router_stop(rig->router, 1));
    free(name);
    free(route);
    forget_request(rig, 1);
    assert_false(router_stop(rig->router, 1));
    assert_int_equal(engine->n_stopped, 1);
    begin_reply(rig, 1);
    router_backend_events.on_piece(rig->router, 1, &(struct backend_piece){0});
    assert_int_equal(row_of(rig, "engine").load.running, 0);
    router_backend_events.on_end(rig->router, 1, &end);
    assert_int_equal(rig->told[1].starts, 0);
    assert_int_equal(rig->told[1].pieces, 0);
    assert_int_equal(rig->told[1].ends, 1);
    assert_int_equal(rig->told[1].end.usage.completion_tokens, 5);
    assert_string_equal(rig->told[1].backend, "engine");
    assert_string_equal(rig->told[1].model, "k2");
}

static void a_call_can_be_stopped_while_it_waits(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 1);
    for (uint64_t i = 1; i <= 3; i++)
        start_ok(rig, i, one_route, 1);
    assert_false(router_stop(rig->router, 2));
    forget_request(rig, 2);
    assert_int_equal(one->n_stopped, 0);
    assert_int_equal(router_waiting(rig->router), 1);
    end_well(rig, 1);
    turn(rig);
    assert_begun(one, 2, 3);
    assert_int_equal(rig->told[2].ends, 0);
}

static void a_call_can_be_stopped_between_two_tries(void **state)
{
    struct rig *rig = *state;
    struct fake *one = add_fake(rig, "one", 0), *two = add_fake(rig, "two", 0);
    start_ok(rig, 1, first_then_second, 2);
    fail_call(rig, 1);
    assert_false(router_stop(rig->router, 1));
    forget_request(rig, 1);
    turn(rig);
    assert_begun(two, 0, 0);
    assert_int_equal(one->n_stopped, 0);
    assert_int_equal(rig->told[1].ends, 0);
    assert_int_equal(router_where(rig->router, 1, &rig->told[1].place), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_call_goes_to_its_source_and_its_events_come_back),
        TEST(a_route_without_a_name_asks_for_ours),
        TEST(what_comes_of_calls_that_are_not_known_is_ignored),
        TEST(a_number_that_is_under_way_is_refused),
        TEST(a_call_may_be_started_in_anothers_end),
        TEST(a_pause_is_passed_on),
        TEST(many_calls_are_told_apart),
        TEST(what_is_not_over_at_the_end_is_forgotten_without_events),
        TEST(a_failed_try_goes_elsewhere),
        TEST(a_reply_that_has_begun_is_never_tried_again),
        TEST(a_refused_request_is_shown_to_nobody_else),
        TEST(no_call_is_tried_more_often_than_allowed),
        TEST(when_all_fail_the_last_fault_is_told),
        TEST(that_a_source_was_busy_tells_more_than_that_another_failed),
        TEST(of_two_that_rest_the_shorter_rest_is_told),
        TEST(the_only_source_is_asked_again_after_a_reset),
        TEST(the_only_source_is_not_asked_again_after_a_silence),
        TEST(the_only_source_is_not_asked_again_once_its_circuit_is_open),
        TEST(a_source_that_fails_at_once_is_a_failed_try),
        TEST(a_request_that_is_refused_at_once_is_shown_to_nobody_else),
        TEST(a_full_source_overflows_to_the_next_priority),
        TEST(a_full_engine_overflows_to_an_upstream),
        TEST(a_full_engine_alone_is_a_429_at_once),
        TEST(a_full_engine_beside_a_broken_upstream_tells_its_own_time),
        TEST(a_full_engine_is_asked_again_when_something_begins_or_ends_there),
        TEST(the_engine_never_sees_what_it_cannot_answer),
        TEST(tokens_are_counted_by_the_engine_alone),
        TEST(a_model_without_a_source_is_unavailable),
        TEST(a_conversation_stays_with_its_source),
        TEST(without_affinity_the_draw_decides),
        TEST(a_stopped_run_frees_its_place),
        TEST(a_stopped_run_of_the_engine_still_tells_what_it_used),
        TEST(a_call_can_be_stopped_while_it_waits),
        TEST(a_call_can_be_stopped_between_two_tries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
