/* The router: its sources at a reload. */
#include "router_rig.h"

/* --- the sources at a reload --- */

static void retire_all(struct rig *rig)
{
    assert_int_equal(router_set_sources(rig->router, &rig->o, NULL, NULL, 0, NULL), 0);
}

static void a_source_that_is_gone_is_closed_after_its_last_run(void **state)
{
    struct rig *rig = *state;
    struct fault f;
    add_fake(rig, "one", 0);
    start_ok(rig, 1, one_route, 1);
    begin_reply(rig, 1);
    retire_all(rig);
    turn(rig);
    assert_string_equal(rig->closed, "");
    assert_true(row_of(rig, "one").retired);
    assert_int_equal(start(rig, 2, 1, one_route, 1, &f), ERR_BUSY);
    assert_int_equal(f.kind, FAULT_UNAVAILABLE);
    router_backend_events.on_chunk(rig->router, 1, &(struct relayed){0});
    assert_int_equal(rig->told[1].chunks, 1);
    end_well(rig, 1);
    assert_string_equal(rig->closed, ""); /* not inside its callback */
    assert_string_equal(rig->told[1].backend, "one");
    turn(rig);
    assert_string_equal(rig->closed, "one ");
}

static void an_idle_source_that_is_gone_is_closed_on_the_next_turn(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 0);
    retire_all(rig);
    assert_string_equal(rig->closed, "");
    turn(rig);
    assert_string_equal(rig->closed, "one ");
}

static void a_stopped_run_is_a_last_run_too(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 0);
    start_ok(rig, 1, one_route, 1);
    retire_all(rig);
    turn(rig);
    assert_string_equal(rig->closed, "");
    router_stop(rig->router, 1);
    turn(rig);
    assert_string_equal(rig->closed, "one ");
}

static void a_second_try_sees_the_sources_of_the_reload(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 0);
    start_ok(rig, 1, first_then_second, 2);
    retire_all(rig);
    struct fake *two = add_fake(rig, "two", 0);
    fail_call(rig, 1);
    turn(rig);
    assert_begun(two, 1, 1);
    assert_string_equal(rig->closed, "one ");
}

static void a_source_lives_while_a_call_names_it(void **state)
{
    struct rig *rig = *state;
    struct router_place place;
    add_fake(rig, "one", 0);
    start_ok(rig, 1, first_then_second, 2);
    retire_all(rig);
    struct fake *two = add_fake(rig, "two", 1);
    start_ok(rig, 2, second_alone, 1);
    fail_call(rig, 1);
    turn(rig); /* it waits for the second, and the first was asked last */
    assert_string_equal(rig->closed, "");
    assert_int_equal(router_where(rig->router, 1, &place), 0);
    assert_string_equal(place.backend, "one");
    end_well(rig, 2);
    turn(rig);
    assert_begun(two, 2, 1);
    assert_string_equal(rig->closed, "one ");
}

static void who_waits_for_a_source_that_is_gone_is_refused(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 1);
    start_ok(rig, 1, one_route, 1);
    start_ok(rig, 2, one_route, 1);
    retire_all(rig);
    turn(rig);
    assert_int_equal(rig->told[2].ends, 1);
    assert_int_equal(rig->told[2].end.fault.kind, FAULT_UNAVAILABLE);
    assert_int_equal(rig->told[1].ends, 0);
}

static void the_engine_stays_at_a_reload(void **state)
{
    struct rig *rig = *state;
    struct fake *engine = add_fake(rig, "engine", 0);
    retire_all(rig);
    assert_int_equal(router_set_sources(rig->router, &rig->o, &engine->backend, NULL, 0, NULL), 0);
    turn(rig);
    assert_string_equal(rig->closed, "");
    start_ok(rig, 1, engine_alone, 1);
    assert_begun(engine, 1, 1);
}

static struct upstream_header tenant_a = {.name = "x-tenant", .value = "a"};
static struct upstream_header tenant_b = {.name = "x-tenant", .value = "b"};
static char *user_agent[] = {(char[]){"user-agent"}};
static char *language[] = {(char[]){"accept-language"}};

static const struct upstream_options upstream = {.name = (char[]){"u1"},
                                                 .url = (char[]){"http://127.0.0.1:9"},
                                                 .prefix = (char[]){"/v1"},
                                                 .key = (char[]){"secret"},
                                                 .headers = &tenant_a,
                                                 .n_headers = 1,
                                                 .forward = user_agent,
                                                 .n_forward = 1,
                                                 .verify = true,
                                                 .connect_ms = 1000,
                                                 .first_byte_ms = 1000,
                                                 .idle_ms = 1000,
                                                 .event_bytes = 1 << 20,
                                                 .reply_bytes = 1 << 20,
                                                 .head_bytes = 1 << 16};

static void upstreams_are_kept_where_their_options_are_equal(void **state)
{
    struct rig *rig = *state;
    struct upstream_options list[] = {upstream, upstream};
    list[1].name = (char[]){"u2"};
    assert_int_equal(router_set_sources(rig->router, &rig->o, NULL, list, 2, NULL), 0);
    struct source *u1 = rig->router->sources, *u2 = u1->next;
    u1->health.failures = 2;
    list[1].idle_ms = 2000;
    assert_int_equal(router_set_sources(rig->router, &rig->o, NULL, list, 2, NULL), 0);
    assert_ptr_equal(rig->router->sources, u1);
    assert_false(u1->retired);
    assert_int_equal(row_of(rig, "u1").failures, 2);
    assert_true(u2->retired);
    turn(rig);
    assert_ptr_not_equal(u1->next, NULL);
    assert_string_equal(u1->next->backend->name, "u2");
    assert_false(u1->next->retired);
    assert_null(u1->next->next);
}

static void every_option_of_an_upstream_counts_but_the_probes_callback(void **state)
{
    const struct upstream_options a = upstream;
    struct upstream_options b[21];
    size_t n = 0;
    (void)state;
    for (size_t i = 0; i < sizeof b / sizeof *b; i++)
        b[i] = a;
    b[n++].name = (char[]){"v"};
    b[n++].url = (char[]){"http://127.0.0.1:10"};
    b[n++].prefix = NULL;
    b[n++].key = (char[]){"other"};
    b[n++].headers = &tenant_b;
    b[n++].n_headers = 0;
    b[n++].forward = language;
    b[n++].n_forward = 0;
    b[n++].verify = false;
    b[n++].ca_file = (char[]){"ca.pem"};
    b[n++].http2 = UPSTREAM_HTTP2_OFF;
    b[n++].proxy = (char[]){"http://127.0.0.1:1"};
    b[n++].connect_ms = 2;
    b[n++].first_byte_ms = 2;
    b[n++].idle_ms = 2;
    b[n++].total_ms = 2;
    b[n++].concurrency = 2;
    b[n++].event_bytes = 2;
    b[n++].reply_bytes = 2;
    b[n++].head_bytes = 2;
    b[n++].template_kwargs = true;
    assert_int_equal(n, sizeof b / sizeof *b);
    for (size_t i = 0; i < n; i++)
        if (upstream_options_equal(&a, &b[i]))
            fail_msg("difference %zu is not seen", i);
    struct upstream_options same = a;
    same.on_probe = router_probed;
    same.ca_file = (char[]){""};
    assert_true(upstream_options_equal(&a, &same));
}

static void rows_tell_how_the_sources_are(void **state)
{
    struct rig *rig = *state;
    add_fake(rig, "one", 7);
    add_fake(rig, "two", 0);
    start_ok(rig, 20, one_route, 1);
    break_source(rig, second_alone, 1);
    struct router_row one = row_of(rig, "one"), two = row_of(rig, "two");
    assert_string_equal(one.kind, "openai");
    assert_int_equal(one.health, ROUTER_CLOSED);
    assert_int_equal(one.load.capacity, 7);
    assert_int_equal(one.runs, 1);
    assert_int_equal(one.failed, 0);
    assert_int_equal(two.failures, 3);
    assert_int_equal(two.failed, 3);
    assert_true(two.open_for_ms > 0);
    assert_false(two.retired);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_source_that_is_gone_is_closed_after_its_last_run),
        TEST(an_idle_source_that_is_gone_is_closed_on_the_next_turn),
        TEST(a_stopped_run_is_a_last_run_too),
        TEST(a_second_try_sees_the_sources_of_the_reload),
        TEST(a_source_lives_while_a_call_names_it),
        TEST(who_waits_for_a_source_that_is_gone_is_refused),
        TEST(the_engine_stays_at_a_reload),
        TEST(upstreams_are_kept_where_their_options_are_equal),
        TEST(every_option_of_an_upstream_counts_but_the_probes_callback),
        TEST(rows_tell_how_the_sources_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
