/* Unit tests of src/config*.c. They run in the repository's root, beside moongate.yaml. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config.h"
#include "config_rig.h"
#include "config_table.h"

/* The text is in the message: for messages of libyaml, whose wording is not ours. */
static void check_refused_with(const char *yaml, const char *part)
{
    struct error e = {.text = ""};
    struct config *c = config_new();
    assert_int_equal(config_parse(c, "t.yaml", yaml, strlen(yaml), &e), ERR_INVALID);
    assert_non_null(strstr(e.text, part));
    config_free(c);
}

static void every_default_is_a_value_that_its_row_allows(void **state)
{
    const struct option_table *tables[] = {&config_options, &config_model_options,
                                           &config_route_options, &config_backend_options};
    struct arena *arena = arena_new();
    (void)state;
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++) {
        for (size_t i = 0; i < tables[t]->n; i++) {
            const struct config_option *o = &tables[t]->rows[i];
            union {
                struct config config;
                struct config_model model;
                struct route route;
                struct config_backend backend;
            } object;
            struct error e = {.text = ""};
            if (o->fallback && option_set(o, &object, o->fallback, arena, o->name, &e) != 0)
                fail_msg("%s", e.text);
        }
    }
    arena_free(arena);
}

static void the_defaults_are_those_of_the_design(void **state)
{
    struct config *c = parse("# nothing but a comment\n");
    (void)state;
    assert_string_equal(c->listen, "127.0.0.1:8080");
    assert_string_equal(c->data, "./data");
    assert_int_equal(c->log_level, LOG_INFO_LEVEL);
    assert_false(c->log_json);
    assert_int_equal(c->http.connections, 20000);
    assert_int_equal(c->http.body_bytes, 4 << 20);
    assert_int_equal(c->http.head_timeout_ms, 10000);
    assert_int_equal(c->json_depth, 64);
    assert_int_equal(c->api.stop_bytes, 256);
    assert_int_equal(c->call_timeout_ms, 900000);
    assert_string_equal(c->engine.gguf, "");
    assert_int_equal(c->engine.kv_tokens, 16384);
    assert_false(c->engine.kv_f32);
    assert_int_equal(c->key_cache_ms, 1000);
    assert_int_equal(c->routing.tries, 3);
    assert_int_equal(c->routing.queue_calls, 256);
    assert_int_equal(c->routing.queue_bytes, 64 << 20);
    assert_int_equal(c->routing.queue_ms, 30000);
    assert_int_equal(c->routing.failures, 5);
    assert_int_equal(c->routing.open_ms, 1000);
    assert_int_equal(c->routing.open_max_ms, 60000);
    assert_int_equal(c->routing.rest_max_ms, 60000);
    assert_true(c->routing.affinity);
    assert_int_equal(c->routing.load_percent, 125);
    assert_int_equal(c->routing.probe_ms, 0);
    assert_int_equal(c->n_models, 9);
    assert_int_equal(c->n_backends, 1);
    assert_string_equal(c->backends[0].name, "local");
    assert_int_equal(c->backends[0].kind, CONFIG_LOCAL);
    assert_int_equal(c->backends[0].upstream.concurrency, 0);
    config_free(c);
}

static void the_default_models_have_the_facts_of_the_contract(void **state)
{
    struct config *c = parse("");
    const struct config_model *m;
    (void)state;
    m = config_model(c, "kimi-k2.5");
    assert_non_null(m);
    assert_int_equal(m->api.context_tokens, 262144);
    assert_int_equal(m->api.thinking, API_THINKING_ON);
    assert_true(m->api.fixed_sampling);
    assert_false(m->api.strict);
    assert_true(m->api.temperature == 1.0 && m->api.temperature_instant == 0.6);
    assert_true(m->api.top_p == 0.95);
    assert_int_equal(m->api.created, 1769472000);
    assert_string_equal(m->backend, "local");
    m = config_model(c, "kimi-k2-thinking-turbo");
    assert_int_equal(m->api.thinking, API_THINKING_ALWAYS);
    assert_false(m->api.fixed_sampling);
    m = config_model(c, "kimi-k2-0711-preview");
    assert_int_equal(m->api.context_tokens, 131072);
    assert_int_equal(m->api.thinking, API_THINKING_NEVER);
    assert_int_equal(config_model(c, "kimi-k3")->api.context_tokens, 1048576);
    assert_null(config_model(c, "kimi-k9"));
    config_free(c);
}

static void the_file_in_the_repository_is_the_example_and_means_the_defaults(void **state)
{
    struct buf example, file;
    char block[4096];
    (void)state;
    buf_init(&example, 1 << 20);
    buf_init(&file, 1 << 20);
    config_example(&example);
    FILE *in = fopen("moongate.yaml", "rb");
    assert_non_null(in);
    for (size_t n; (n = fread(block, 1, sizeof block, in)) > 0;)
        buf_add(&file, block, n);
    fclose(in);
    assert_string_equal(file.data, example.data);

    struct config *c = parse(example.data), *defaults = parse("");
    char *is = shown(c), *expected = shown(defaults);
    assert_string_equal(is, expected);
    free(is);
    free(expected);
    config_free(c);
    config_free(defaults);
    buf_done(&example);
    buf_done(&file);
}

static void what_is_shown_can_be_read_again(void **state)
{
    struct config *c = parse("listen: '[::1]:0'\n"
                             "data: 'a \"quoted\" # folder\\'\n"
                             "limits: {body_bytes: 5000, head_timeout: 1500ms, call_timeout: 0}\n"
                             "engine: {gguf: \"null\", kv_type: f32, kernels: avx2}\n"
                             "models:\n"
                             "  - {id: \"on\", temperature: 0.123, created: 5, backend: b}\n"
                             "backends: [{name: b}, {name: 'true', kind: openai, url: 'http://a'}]"
                             "\n");
    (void)state;
    char *first = shown(c);
    struct config *again = parse(first);
    char *second = shown(again);
    assert_string_equal(first, second);
    assert_string_equal(again->data, "a \"quoted\" # folder\\");
    assert_string_equal(again->engine.gguf, "null");
    assert_true(again->models[0].api.temperature == 0.123);
    assert_int_equal(again->http.head_timeout_ms, 1500);
    free(first);
    free(second);
    config_free(c);
    config_free(again);
}

static void sizes_and_times_take_units(void **state)
{
    struct config *c = parse("limits:\n"
                             "  body_bytes: 1GiB\n"
                             "  head_bytes: 16kib\n"
                             "  stream_bytes: 1.5MB\n"
                             "  head_timeout: 1.5s\n"
                             "  idle_timeout: 1h\n"
                             "  drain: 0\n");
    (void)state;
    assert_int_equal(c->http.body_bytes, 1 << 30);
    assert_int_equal(c->http.head_bytes, 16384);
    assert_int_equal(c->http.stream_bytes, 1500000);
    assert_int_equal(c->http.head_timeout_ms, 1500);
    assert_int_equal(c->http.idle_timeout_ms, 3600000);
    assert_int_equal(c->drain_ms, 0);
    config_free(c);
}

static void a_value_out_of_range_names_the_line_and_the_limit(void **state)
{
    (void)state;
    check_refused("limits:\n  body_bytes: 5GB\n", ERR_INVALID,
                  "t.yaml:2: limits.body_bytes: 5GB is above the greatest allowed 1GiB");
    check_refused("engine:\n\n  threads: -1\n", ERR_INVALID,
                  "t.yaml:3: engine.threads: -1 is below the least allowed 0");
    check_refused("limits: {tools: 99999999999999999999999}\n", ERR_INVALID,
                  "t.yaml:1: limits.tools: 99999999999999999999999 is above the greatest allowed "
                  "1024");
}

static void a_value_of_the_wrong_type_names_what_is_allowed(void **state)
{
    (void)state;
    check_refused("limits: {head_timeout: 10}\n", ERR_INVALID,
                  "t.yaml:1: limits.head_timeout: 10 is not allowed; allowed: 100ms to 1h (units: "
                  "ms, s, m, h)");
    check_refused("engine: {threads: 1.5}\n", ERR_INVALID,
                  "t.yaml:1: engine.threads: 1.5 is not allowed; allowed: 0 to 1024");
    check_refused("limits: {head_bytes: 1.0001KiB}\n", ERR_INVALID,
                  "t.yaml:1: limits.head_bytes: 1.0001KiB is not allowed; allowed: 1KiB to 1MiB "
                  "(units: KiB, MiB, GiB, KB, MB, GB)");
    check_refused("log: {level: loud}\n", ERR_INVALID,
                  "t.yaml:1: log.level: loud is not allowed; allowed: debug, info, warn or error");
    check_refused("limits: {body_bytes: [1]}\n", ERR_INVALID,
                  "t.yaml:1: limits.body_bytes: is a list; allowed: 1KiB to 1GiB");
    check_refused("limits: 5\n", ERR_INVALID,
                  "t.yaml:1: limits: is a single value; allowed: a mapping of options");
    check_refused("data:\n", ERR_INVALID,
                  "t.yaml:1: data: has no value; allowed: a text of at most 4096 bytes");
    check_refused("data: !secret x\n", ERR_INVALID,
                  "t.yaml:1: data: has a tag or a NUL character; allowed: a text of at most 4096 "
                  "bytes");
    check_refused("models: [{id: a, created: 2026-02-30}]\n", ERR_INVALID,
                  "t.yaml:1: models[0].created: 2026-02-30 is not allowed; allowed: YYYY-MM-DD or "
                  "Unix seconds");
    check_refused("models: [{id: a, created: 2026-13-01}]\n", ERR_INVALID,
                  "t.yaml:1: models[0].created: 2026-13-01 is not allowed; allowed: YYYY-MM-DD or "
                  "Unix seconds");
    check_refused("- a\n", ERR_INVALID,
                  "t.yaml:1: the document: is a list; allowed: a mapping of options");
}

static void an_address_needs_a_port_and_brackets_around_colons(void **state)
{
    static const char *const good[] = {":0", "[::1]:8080", "localhost:80", "10.0.0.1:65535"};
    static const char *const bad[] = {"8080", "::1:80", "a:65536", "a:", "a:8o", "[]:1", "a b:1"};
    char yaml[64];
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        snprintf(yaml, sizeof yaml, "listen: \"%s\"\n", good[i]);
        config_free(parse(yaml));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(yaml, sizeof yaml, "listen: \"%s\"\n", bad[i]);
        check_refused_with(yaml, "allowed: ADDR:PORT");
    }
}

static void an_unknown_name_is_refused_with_the_nearest_known_one(void **state)
{
    (void)state;
    check_refused("limits:\n  body_byte: 5\n", ERR_INVALID,
                  "t.yaml:2: limits.body_byte: unknown option; did you mean limits.body_bytes?");
    check_refused("body_bytes: 5\n", ERR_INVALID,
                  "t.yaml:1: body_bytes: unknown option; did you mean limits.body_bytes?");
    check_refused("limts: {}\n", ERR_INVALID,
                  "t.yaml:1: limts: unknown option; did you mean limits?");
    check_refused("routin: {}\n", ERR_INVALID,
                  "t.yaml:1: routin: unknown option; did you mean routing?");
    check_refused("models:\n  - id: a\n    contxt: 5\n", ERR_INVALID,
                  "t.yaml:3: models[0].contxt: unknown option; did you mean context?");
    check_refused("rainbow_unicorns: 5\n", ERR_INVALID,
                  "t.yaml:1: rainbow_unicorns: unknown option");
    check_refused("limits.body_bytes: 5\n", ERR_INVALID,
                  "t.yaml:1: limits.body_bytes: stands as \"section:\" and, indented below it, "
                  "\"name:\"");
}

static void a_key_given_twice_names_both_lines(void **state)
{
    (void)state;
    check_refused("listen: :1\n\nlisten: :2\n", ERR_INVALID,
                  "t.yaml:3: listen: is given twice, first in line 1");
    check_refused("log: {level: info}\nlog: {format: json}\n", ERR_INVALID,
                  "t.yaml:2: log: is given twice, first in line 1");
    check_refused("models:\n- id: a\n  top_p: 1\n  top_p: 1\n", ERR_INVALID,
                  "t.yaml:4: models[0].top_p: is given twice, first in line 3");
}

static void bad_yaml_names_the_line(void **state)
{
    (void)state;
    check_refused_with("data: a\nlog: [\n", "t.yaml:3: not readable as YAML: ");
    check_refused_with("data: a\n\xff\n", "t.yaml:2: not readable as YAML: ");
    check_refused_with("data: a\nx: \x01\n", "t.yaml:2: not readable as YAML: ");
    check_refused("data: a\n---\ndata: b\n", ERR_INVALID,
                  "t.yaml:3: the document: is a second one; one is allowed");
}

static void control_characters_in_a_value_do_not_reach_the_message(void **state)
{
    (void)state;
    check_refused("listen: \"a\\nb\\e\"\n", ERR_INVALID,
                  "t.yaml:1: listen: a?b? is not allowed; allowed: ADDR:PORT, [ADDR]:PORT or "
                  ":PORT");
}

static void an_alias_that_holds_itself_ends(void **state)
{
    (void)state;
    check_refused_with("&a {models: *a}\n", "models: is a mapping; allowed: a list");
    check_refused_with("models: &a [*a]\n", "models: is a list; allowed: a mapping");
}

/* Both take minutes if the loader sees them. */
static void deep_nesting_and_many_anchors_are_refused_at_once(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 1 << 20);
    buf_adds(&b, "data: a\nlisten:\n  ");
    for (int i = 0; i < 500000; i++)
        buf_addc(&b, i % 2 ? '[' : '{');
    check_refused(b.data, ERR_INVALID, "t.yaml:3: lists and mappings nest deeper than 32");
    buf_reset(&b);
    buf_adds(&b, "data: a\nlisten: [");
    for (int i = 0; i < 80000; i++)
        buf_addf(&b, "&a%d x,", i);
    buf_adds(&b, "]\n");
    check_refused(b.data, ERR_INVALID, "t.yaml:2: more than 1000 anchors");
    buf_done(&b);
}

static void models_in_the_file_replace_the_default_ones(void **state)
{
    struct config *c = parse("models:\n"
                             "  - {context: 4096, like: kimi-k2.5, id: mine, strict: true}\n"
                             "  - like: kimi-k3\n"
                             "  - {id: other, thinking: off}\n");
    (void)state;
    assert_int_equal(c->n_models, 3);
    assert_null(config_model(c, "kimi-k2.5"));
    const struct config_model *m = config_model(c, "mine");
    assert_int_equal(m->api.context_tokens, 4096);
    assert_true(m->api.strict && m->api.fixed_sampling);
    assert_int_equal(m->api.thinking, API_THINKING_ON);
    assert_non_null(config_model(c, "kimi-k3"));
    m = config_model(c, "other");
    assert_int_equal(m->api.thinking, API_THINKING_OFF);
    assert_int_equal(m->api.context_tokens, 262144);
    config_free(c);
}

static void a_model_has_its_list_price_by_like_or_by_its_own_name(void **state)
{
    (void)state;
    struct config *c = parse("models: [{id: kimi-k2.5}, {id: mine, like: kimi-k2.5}, {id: other},"
                             " {id: kimi-k3, like: kimi-k2.5}]\n");
    assert_int_equal(c->models[0].list_price.output, 3000000);
    assert_int_equal(c->models[1].list_price.output, 3000000);
    assert_int_equal(c->models[2].list_price.output, 0);
    assert_int_equal(c->models[3].list_price.output, 3000000);
    assert_int_equal(c->models[0].price.output, 0); /* it is asked for by quota.list_prices */
    config_free(c);
}

static void cached_tokens_cost_as_much_as_others_where_nothing_else_is_said(void **state)
{
    (void)state;
    struct config *c = parse("models: [{id: a, price_input: 2},"
                             " {id: b, price_cached: 0, price_input: 2}]\n");
    assert_int_equal(c->models[0].price.cached, 2000000);
    assert_int_equal(c->models[1].price.cached, 0);
    config_free(c);
}

static void a_list_with_a_mistake_names_its_entry(void **state)
{
    (void)state;
    check_refused("models: []\n", ERR_INVALID, "t.yaml:1: models: needs 1 to 256 entries");
    check_refused("models:\n  - thinking: on\n", ERR_INVALID, "t.yaml:2: models[0]: needs an id");
    check_refused("models:\n  - like: kimi-k3\n  - id: kimi-k3\n", ERR_INVALID,
                  "t.yaml:3: kimi-k3: is the id of an earlier model too");
    check_refused("models:\n  - like: kimi-k25\n", ERR_INVALID,
                  "t.yaml:2: models[0].like: needs the name of a default model, like kimi-k2.5");
    check_refused("models: [{id: 'a,b'}]\n", ERR_INVALID,
                  "t.yaml:1: models[0].id: a,b is not allowed; allowed: a name without spaces and "
                  "commas");
    check_refused("backends: [{kind: local}]\n", ERR_INVALID,
                  "t.yaml:1: backends[0]: needs a name");
}

static void the_backend_of_a_model_must_exist(void **state)
{
    (void)state;
    check_refused("models:\n  - id: a\n    backend: far\n", ERR_INVALID,
                  "t.yaml:2: a: its backend far is not in the list of backends, like local");
}

static void the_environment_goes_before_the_file_and_the_command_line_before_both(void **state)
{
    const struct config_override override = {"limits.tools", "7"};
    struct config *c;
    struct error e;
    (void)state;
    setenv("MOONGATE_LISTEN", ":1", 1);
    setenv("MOONGATE_LIMITS_BODY_BYTES", "1MiB", 1);
    setenv("MOONGATE_LIMITS_TOOLS", "6", 1);
    assert_int_equal(config_read("moongate.yaml", &override, 1, &c, &e), 0);
    assert_string_equal(c->listen, ":1");
    assert_int_equal(c->http.body_bytes, 1 << 20);
    assert_int_equal(c->api.tools, 7);
    config_free(c);
    setenv("MOONGATE_LIMITS_BODY_BYTES", "1", 1);
    assert_int_equal(config_read(NULL, NULL, 0, &c, &e), ERR_INVALID);
    assert_string_equal(e.text, "environment: MOONGATE_LIMITS_BODY_BYTES: 1 is below the least "
                                "allowed 1KiB");
    unsetenv("MOONGATE_LISTEN");
    unsetenv("MOONGATE_LIMITS_BODY_BYTES");
    unsetenv("MOONGATE_LIMITS_TOOLS");
}

static void a_mistyped_variable_is_refused_and_those_of_tests_and_kubernetes_are_not(void **state)
{
    struct config *c;
    struct error e;
    (void)state;
    setenv("MOONGATE_PORT_8080_TCP", "tcp://10.0.0.1:8080", 1);
    setenv("MOONGATE_SERVICE_HOST", "10.0.0.1", 1);
    setenv("MOONGATE_KIMI_TIKTOKEN", "x", 1);
    setenv("MOONGATE", "x", 1);
    assert_int_equal(config_read(NULL, NULL, 0, &c, &e), 0);
    config_free(c);
    setenv("MOONGATE_LISTN", ":1", 1);
    assert_int_equal(config_read(NULL, NULL, 0, &c, &e), ERR_INVALID);
    assert_string_equal(e.text, "environment: MOONGATE_LISTN: unknown option; did you mean "
                                "MOONGATE_LISTEN?");
    unsetenv("MOONGATE_PORT_8080_TCP");
    unsetenv("MOONGATE_SERVICE_HOST");
    unsetenv("MOONGATE_KIMI_TIKTOKEN");
    unsetenv("MOONGATE");
    unsetenv("MOONGATE_LISTN");
}

static void a_file_that_is_named_must_be_there(void **state)
{
    struct config *c;
    struct error e;
    (void)state;
    assert_int_equal(config_read("no-such.yaml", NULL, 0, &c, &e), ERR_NOT_FOUND);
    assert_string_equal(e.text, "no-such.yaml: No such file or directory");
}

static void options_that_contradict_each_other_are_refused(void **state)
{
    const struct config_override override = {"routing.open", "2m"};
    struct config *c;
    struct error e;
    (void)state;
    assert_int_equal(config_read(NULL, &override, 1, &c, &e), ERR_INVALID);
    assert_string_equal(e.text, "routing.open_max: 60000 ms is less than routing.open, which is "
                                "120000 ms");
}

static void a_probe_is_off_or_at_least_a_second_apart(void **state)
{
    struct config *c = parse("routing: {probe: 0}\n");
    (void)state;
    assert_int_equal(c->routing.probe_ms, 0);
    config_free(c);
    c = parse("routing: {probe: 90s}\n");
    assert_int_equal(c->routing.probe_ms, 90000);
    config_free(c);
    check_refused("routing: {probe: 500ms}\n", ERR_INVALID,
                  "t.yaml:1: routing.probe: 500ms is below the least allowed 1s; 0 is allowed too");
    check_refused("routing: {probe: 5}\n", ERR_INVALID,
                  "t.yaml:1: routing.probe: 5 is not allowed; allowed: 0, or 1s to 1h (units: ms, "
                  "s, m, h)");
}

static void an_unknown_name_of_the_command_line_is_refused(void **state)
{
    const struct config_override override = {"limits.tool", "7"};
    struct config *c;
    struct error e;
    (void)state;
    assert_int_equal(config_read(NULL, &override, 1, &c, &e), ERR_INVALID);
    assert_string_equal(e.text, "command line: limits.tool: unknown option; did you mean "
                                "limits.tools?");
}

static void only_options_that_cannot_be_reloaded_need_a_restart(void **state)
{
    struct config *old = parse(""), *same = parse("{}");
    struct config *reloads = parse("limits: {tools: 1}\nlog: {level: warn}\n"
                                   "routing: {tries: 1}\nmodels: [{id: a, backend: m}]\n"
                                   "backends:\n  - {name: local, concurrency: 5}\n"
                                   "  - {name: m, kind: openai, url: 'http://a'}\n");
    struct config *restarts = parse("listen: :1\nengine: {threads: 2}\nlog: {level: warn}\n"
                                    "backends: [{name: m, kind: openai, url: 'http://a'}]\n");
    struct config *renamed = parse("backends: [{name: engine}]\n");
    struct buf b;
    (void)state;
    buf_init(&b, 4096);
    config_needs_restart(old, same, &b);
    config_needs_restart(old, reloads, &b);
    assert_int_equal(b.len, 0);
    config_needs_restart(old, restarts, &b);
    assert_string_equal(b.data, "listen, engine.threads, backends");
    buf_reset(&b);
    config_needs_restart(old, renamed, &b);
    assert_string_equal(b.data, "backends");
    buf_reset(&b);
    config_needs_restart(restarts, reloads, &b);
    assert_string_equal(b.data, "listen, engine.threads, backends");
    buf_done(&b);
    config_free(old);
    config_free(same);
    config_free(reloads);
    config_free(restarts);
    config_free(renamed);
}

static void the_help_tells_every_option(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 1 << 20);
    config_help(&b);
    for (size_t i = 0; i < config_options.n; i++) {
        assert_non_null(strstr(b.data, config_options.rows[i].name));
        assert_non_null(strstr(b.data, config_options.rows[i].help));
    }
    assert_non_null(strstr(b.data, "1KiB to 1GiB; default 4MiB; SIGHUP reloads it"));
    assert_non_null(strstr(b.data, "  models[].thinking\n"));
    assert_non_null(strstr(b.data, "  models[].backends[].weight\n"));
    for (size_t i = 0; i < config_backend_options.n; i++) {
        char name[64];
        snprintf(name, sizeof name, "  backends[].%s\n", config_backend_options.rows[i].name);
        assert_non_null(strstr(b.data, name));
    }
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_is_a_value_that_its_row_allows),
        cmocka_unit_test(the_defaults_are_those_of_the_design),
        cmocka_unit_test(the_default_models_have_the_facts_of_the_contract),
        cmocka_unit_test(the_file_in_the_repository_is_the_example_and_means_the_defaults),
        cmocka_unit_test(what_is_shown_can_be_read_again),
        cmocka_unit_test(sizes_and_times_take_units),
        cmocka_unit_test(a_value_out_of_range_names_the_line_and_the_limit),
        cmocka_unit_test(a_value_of_the_wrong_type_names_what_is_allowed),
        cmocka_unit_test(an_address_needs_a_port_and_brackets_around_colons),
        cmocka_unit_test(an_unknown_name_is_refused_with_the_nearest_known_one),
        cmocka_unit_test(a_key_given_twice_names_both_lines),
        cmocka_unit_test(bad_yaml_names_the_line),
        cmocka_unit_test(control_characters_in_a_value_do_not_reach_the_message),
        cmocka_unit_test(an_alias_that_holds_itself_ends),
        cmocka_unit_test(deep_nesting_and_many_anchors_are_refused_at_once),
        cmocka_unit_test(models_in_the_file_replace_the_default_ones),
        cmocka_unit_test(a_model_has_its_list_price_by_like_or_by_its_own_name),
        cmocka_unit_test(cached_tokens_cost_as_much_as_others_where_nothing_else_is_said),
        cmocka_unit_test(a_list_with_a_mistake_names_its_entry),
        cmocka_unit_test(the_backend_of_a_model_must_exist),
        cmocka_unit_test(the_environment_goes_before_the_file_and_the_command_line_before_both),
        cmocka_unit_test(a_mistyped_variable_is_refused_and_those_of_tests_and_kubernetes_are_not),
        cmocka_unit_test(a_file_that_is_named_must_be_there),
        cmocka_unit_test(options_that_contradict_each_other_are_refused),
        cmocka_unit_test(a_probe_is_off_or_at_least_a_second_apart),
        cmocka_unit_test(an_unknown_name_of_the_command_line_is_refused),
        cmocka_unit_test(only_options_that_cannot_be_reloaded_need_a_restart),
        cmocka_unit_test(the_help_tells_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
