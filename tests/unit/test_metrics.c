/* Unit tests of src/ledger/metrics, with a reader of the text format. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ledger/metrics.h"

/* --- a reader of the format, which fails on what Prometheus would not take --- */

struct sample {
    char name[128], labels[512]; /* as written, without the braces */
    double value;
};

enum { SAMPLES_MAX = 40000 };

struct page {
    struct buf text;
    struct sample *samples;
    size_t n;
    char family[128], type[16]; /* of the last TYPE line */
};

static bool is_name(const char *s, size_t n)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:";
    static const char others[] = "0123456789";
    for (size_t i = 0; i < n; i++) {
        if (!strchr(letters, s[i]) && (i == 0 || !strchr(others, s[i])))
            return false;
    }
    return n > 0;
}

static void take_name(char *out, size_t size, const char *s, size_t n)
{
    assert_true(is_name(s, n) && n < size);
    memcpy(out, s, n);
    out[n] = '\0';
}

static void read_comment(struct page *p, const char *line)
{
    static char helped[128];
    if (strncmp(line, "# HELP ", 7) == 0) {
        take_name(helped, sizeof helped, line + 7, strcspn(line + 7, " "));
        return;
    }
    assert_int_equal(strncmp(line, "# TYPE ", 7), 0);
    const char *name = line + 7, *space = strchr(name, ' ');
    assert_non_null(space);
    take_name(p->family, sizeof p->family, name, (size_t)(space - name));
    assert_string_equal(p->family, helped); /* HELP stands before TYPE */
    take_name(p->type, sizeof p->type, space + 1, strlen(space + 1));
    assert_true(strcmp(p->type, "counter") == 0 || strcmp(p->type, "gauge") == 0 ||
                strcmp(p->type, "histogram") == 0);
    for (size_t i = 0; i < p->n; i++)
        assert_string_not_equal(p->samples[i].name, p->family); /* a family stands together */
}

/* name="value",...: the end of the labels, or NULL. */
static const char *skip_labels(const char *s)
{
    while (*s != '}') {
        size_t n = strcspn(s, "=");
        if (!is_name(s, n) || s[n] != '=' || s[n + 1] != '"')
            return NULL;
        for (s += n + 2; *s != '"'; s++) {
            if (*s == '\0' || (*s == '\\' && !strchr("\\n\"", *++s)))
                return NULL;
        }
        s++;
        if (*s == ',')
            s++;
        else if (*s != '}')
            return NULL;
    }
    return s;
}

static void read_sample(struct page *p, const char *line)
{
    struct sample *s = &p->samples[p->n];
    size_t n = strcspn(line, "{ ");
    char *end;
    assert_true(p->n < SAMPLES_MAX);
    take_name(s->name, sizeof s->name, line, n);
    size_t family = strlen(p->family);
    assert_int_equal(strncmp(s->name, p->family, family), 0); /* its TYPE stands above it */
    if (strcmp(p->type, "histogram") == 0)
        assert_true(strcmp(s->name + family, "_bucket") == 0 ||
                    strcmp(s->name + family, "_sum") == 0 ||
                    strcmp(s->name + family, "_count") == 0);
    else
        assert_string_equal(s->name, p->family);
    const char *at = line + n;
    if (*at == '{') {
        const char *close = skip_labels(at + 1);
        assert_non_null(close);
        assert_true((size_t)(close - at) < sizeof s->labels);
        memcpy(s->labels, at + 1, (size_t)(close - at - 1));
        s->labels[close - at - 1] = '\0';
        at = close + 1;
    }
    assert_true(*at == ' ');
    s->value = strtod(at + 1, &end);
    assert_true(end > at + 1 && *end == '\0');
    for (size_t i = 0; i < p->n; i++)
        assert_false(strcmp(p->samples[i].name, s->name) == 0 &&
                     strcmp(p->samples[i].labels, s->labels) == 0); /* no sample comes twice */
    p->n++;
}

/* Buckets rise to +Inf, which is the count; a histogram has a sum. */
static void check_histogram(const struct page *p, size_t i)
{
    double last = -1, last_le = -1;
    char rest[512], name[128];
    const struct sample *s = &p->samples[i];
    for (;; s = &p->samples[++i]) {
        const char *le = strstr(s->labels, "le=\"");
        assert_non_null(le);
        double bound = strtod(le + 4, NULL);
        assert_true(s->value >= last && bound > last_le);
        last = s->value;
        last_le = bound;
        snprintf(rest, sizeof rest, "%.*s", le > s->labels ? (int)(le - s->labels) - 1 : 0,
                 s->labels);
        if (strcmp(le, "le=\"+Inf\"") == 0)
            break;
        assert_true(i + 1 < p->n);
    }
    snprintf(name, sizeof name, "%.*s", (int)(strlen(s->name) - strlen("_bucket")), s->name);
    assert_true(i + 2 < p->n);
    assert_memory_equal(p->samples[i + 1].name, name, strlen(name));
    assert_string_equal(p->samples[i + 1].name + strlen(name), "_sum");
    assert_string_equal(p->samples[i + 1].labels, rest);
    assert_string_equal(p->samples[i + 2].name + strlen(name), "_count");
    assert_string_equal(p->samples[i + 2].labels, rest);
    assert_true(p->samples[i + 2].value == last);
}

static void read_page(struct page *p, const struct metrics *m, const struct metrics_now *now)
{
    *p = (struct page){.samples = calloc(SAMPLES_MAX, sizeof *p->samples)};
    buf_init(&p->text, 16 << 20);
    metrics_write(m, now, &p->text);
    assert_false(p->text.failed);
    assert_true(p->text.len > 0 && p->text.data[p->text.len - 1] == '\n');
    char *copy = strdup(p->text.data), *rest = copy, *line;
    while (*(line = strsep(&rest, "\n")) != '\0') {
        if (line[0] == '#')
            read_comment(p, line);
        else
            read_sample(p, line);
    }
    assert_null(strchr(rest ? rest : "", '\n'));
    free(copy);
    for (size_t i = 0; i < p->n; i++) {
        const char *first = strstr(p->samples[i].name, "_bucket");
        if (first && (i == 0 || !strstr(p->samples[i - 1].name, "_bucket")))
            check_histogram(p, i);
    }
}

static void page_done(struct page *p)
{
    buf_done(&p->text);
    free(p->samples);
}

static double value_of(const struct page *p, const char *name, const char *labels)
{
    for (size_t i = 0; i < p->n; i++) {
        if (strcmp(p->samples[i].name, name) == 0 && strcmp(p->samples[i].labels, labels) == 0)
            return p->samples[i].value;
    }
    return -1;
}

static size_t count_of(const struct page *p, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        n += strcmp(p->samples[i].name, name) == 0;
    return n;
}

/* --- tests --- */

#define KIMI                                                                                       \
    "gen_ai_operation_name=\"chat\",gen_ai_request_model=\"kimi\",gen_ai_provider_name=\"up\""

static const struct metrics_now quiet;

static struct metrics_chat a_call(void)
{
    return (struct metrics_chat){.model = "kimi",
                                 .backend = "up",
                                 .end = "ok",
                                 .stream = true,
                                 .duration_us = 1100000,
                                 .queue_us = 3000,
                                 .first_token_us = 100000,
                                 .prompt_tokens = 100,
                                 .cached_tokens = 40,
                                 .completion_tokens = 11,
                                 .reasoning_tokens = 4,
                                 .source = "upstream"};
}

static void a_page_without_calls_is_well_formed(void **state)
{
    struct metrics *m = metrics_new();
    struct page p;
    (void)state;
    read_page(&p, m, &quiet);
    assert_true(value_of(&p, "moongate_calls_running", "") == 0);
    assert_true(value_of(&p, "moongate_tokens_total", "kind=\"completion\"") == 0);
    assert_int_equal(count_of(&p, "gen_ai_server_request_duration_seconds_count"), 0);
    page_done(&p);
    metrics_free(m);
    metrics_free(NULL);
}

static void requests_are_counted_by_route_and_status(void **state)
{
    struct metrics *m = metrics_new();
    struct page p;
    (void)state;
    metrics_request(m, "chat", 200, 900);
    metrics_request(m, "chat", 200, 30000000);
    metrics_request(m, "chat", 401, 900);
    metrics_request(m, "health", 200, 100000000);
    read_page(&p, m, &quiet);
    assert_true(value_of(&p, "moongate_requests_total", "route=\"chat\",code=\"200\"") == 2);
    assert_true(value_of(&p, "moongate_requests_total", "route=\"chat\",code=\"401\"") == 1);
    assert_true(value_of(&p, "moongate_requests_total", "route=\"health\",code=\"200\"") == 1);
    assert_true(value_of(&p, "moongate_request_duration_seconds_bucket", "le=\"0.001\"") == 2);
    assert_true(value_of(&p, "moongate_request_duration_seconds_bucket", "le=\"60\"") == 3);
    assert_true(value_of(&p, "moongate_request_duration_seconds_count", "") == 4);
    page_done(&p);
    metrics_free(m);
}

static void a_call_is_counted_by_model_and_backend(void **state)
{
    struct metrics *m = metrics_new();
    struct metrics_chat c = a_call();
    struct page p;
    (void)state;
    metrics_chat(m, &c);
    read_page(&p, m, &quiet);
    assert_true(value_of(&p, "gen_ai_server_request_duration_seconds_sum", KIMI) == 1.1);
    assert_true(
        value_of(&p, "gen_ai_server_request_duration_seconds_bucket", KIMI ",le=\"1.28\"") == 1);
    assert_true(
        value_of(&p, "gen_ai_server_request_duration_seconds_bucket", KIMI ",le=\"0.64\"") == 0);
    assert_true(
        value_of(&p, "gen_ai_server_time_to_first_token_seconds_bucket", KIMI ",le=\"0.1\"") == 1);
    assert_true(
        value_of(&p, "gen_ai_server_time_to_first_token_seconds_bucket", KIMI ",le=\"0.08\"") == 0);
    assert_true(value_of(&p, "gen_ai_server_time_per_output_token_seconds_sum", KIMI) == 0.1);
    assert_true(
        value_of(&p, "gen_ai_client_token_usage_sum", KIMI ",gen_ai_token_type=\"input\"") == 100);
    assert_true(
        value_of(&p, "gen_ai_client_token_usage_sum", KIMI ",gen_ai_token_type=\"output\"") == 11);
    assert_true(value_of(&p, "gen_ai_client_token_usage_bucket",
                         KIMI ",gen_ai_token_type=\"output\",le=\"16777216\"") == 1);
    assert_true(value_of(&p, "moongate_tokens_total", "kind=\"prompt\"") == 100);
    assert_true(value_of(&p, "moongate_tokens_total", "kind=\"cached\"") == 40);
    assert_true(value_of(&p, "moongate_tokens_total", "kind=\"completion\"") == 11);
    assert_true(value_of(&p, "moongate_tokens_total", "kind=\"reasoning\"") == 4);
    assert_true(value_of(&p, "moongate_queue_seconds_sum", "model=\"kimi\"") == 0.003);
    assert_true(value_of(&p, "moongate_usage_source_total", "source=\"upstream\"") == 1);
    page_done(&p);
    metrics_free(m);
}

static void an_error_has_a_type_and_no_speed(void **state)
{
    struct metrics *m = metrics_new();
    struct metrics_chat c = a_call();
    struct page p;
    (void)state;
    c.end = "timeout";
    metrics_chat(m, &c);
    c.end = "too_many_requests";
    c.backend = NULL;
    c.first_token_us = -1;
    c.prompt_tokens = c.cached_tokens = c.completion_tokens = c.reasoning_tokens = 0;
    c.source = "none";
    metrics_chat(m, &c);
    read_page(&p, m, &quiet);
    assert_true(value_of(&p, "gen_ai_server_request_duration_seconds_count",
                         KIMI ",error_type=\"timeout\"") == 1);
    assert_true(value_of(&p, "gen_ai_server_request_duration_seconds_count", KIMI) == -1);
    assert_true(value_of(&p, "gen_ai_server_request_duration_seconds_count",
                         "gen_ai_operation_name=\"chat\",gen_ai_request_model=\"kimi\","
                         "gen_ai_provider_name=\"\",error_type=\"too_many_requests\"") == 1);
    assert_int_equal(count_of(&p, "gen_ai_server_time_to_first_token_seconds_count"), 0);
    assert_int_equal(count_of(&p, "gen_ai_server_time_per_output_token_seconds_count"), 0);
    assert_int_equal(count_of(&p, "gen_ai_client_token_usage_count"), 2); /* of the first */
    assert_true(value_of(&p, "moongate_usage_source_total", "source=\"none\"") == 1);
    page_done(&p);
    metrics_free(m);
}

static void a_whole_reply_has_no_time_per_token(void **state)
{
    struct metrics *m = metrics_new();
    struct metrics_chat c = a_call();
    struct page p;
    (void)state;
    c.stream = false;
    metrics_chat(m, &c);
    c.stream = true;
    c.completion_tokens = 1; /* there is no time between one token */
    metrics_chat(m, &c);
    read_page(&p, m, &quiet);
    assert_int_equal(count_of(&p, "gen_ai_server_time_per_output_token_seconds_count"), 0);
    assert_true(value_of(&p, "gen_ai_server_time_to_first_token_seconds_count", KIMI) == 2);
    page_done(&p);
    metrics_free(m);
}

static void tries_and_comparisons_are_counted(void **state)
{
    struct metrics *m = metrics_new();
    struct page p;
    (void)state;
    metrics_try_failed(m, "up");
    metrics_try_failed(m, "up");
    metrics_try_failed(m, "down");
    metrics_usage_compared(m, "up", "kimi", false);
    metrics_usage_compared(m, "up", "kimi", true);
    read_page(&p, m, &quiet);
    assert_true(value_of(&p, "moongate_tries_failed_total", "backend=\"up\"") == 2);
    assert_true(value_of(&p, "moongate_tries_failed_total", "backend=\"down\"") == 1);
    const char *labels = "backend=\"up\",model=\"kimi\"";
    assert_true(value_of(&p, "moongate_usage_compared_total", labels) == 2);
    assert_true(value_of(&p, "moongate_usage_apart_total", labels) == 1);
    page_done(&p);
    metrics_free(m);
}

static void backends_show_their_state(void **state)
{
    const struct metrics_source sources[] = {
        {.name = "local", .kind = "local", .health = "closed", .running = 3, .capacity = 8},
        {.name = "up", .kind = "openai", .health = "open", .running = 1, .waiting = 2}};
    struct metrics_now now = {.connections = 5,
                              .calls_running = 4,
                              .calls_waiting = 2,
                              .engine_capacity = 8,
                              .sources = sources,
                              .n_sources = 2};
    struct metrics *m = metrics_new();
    struct page p;
    (void)state;
    read_page(&p, m, &now);
    const char *closed = "backend=\"local\",kind=\"local\",state=\"closed\"";
    assert_true(value_of(&p, "moongate_backend_health", closed) == 1);
    const char *open = "backend=\"up\",kind=\"openai\",state=\"open\"";
    assert_true(value_of(&p, "moongate_backend_health", open) == 1);
    const char *trial = "backend=\"up\",kind=\"openai\",state=\"trial\"";
    assert_true(value_of(&p, "moongate_backend_health", trial) == 0);
    assert_int_equal(count_of(&p, "moongate_backend_health"), 8);
    assert_true(value_of(&p, "moongate_backend_running", "backend=\"local\"") == 3);
    assert_true(value_of(&p, "moongate_backend_waiting", "backend=\"up\"") == 2);
    assert_true(value_of(&p, "moongate_backend_capacity", "backend=\"local\"") == 8);
    assert_true(value_of(&p, "moongate_calls_waiting", "") == 2);
    assert_true(value_of(&p, "moongate_connections", "") == 5);
    page_done(&p);
    metrics_free(m);
}

static void label_values_are_escaped(void **state)
{
    struct metrics *m = metrics_new();
    struct metrics_chat c = a_call();
    struct page p;
    (void)state;
    c.model = "a\"b\\c\nd{e},le=\"f";
    metrics_chat(m, &c);
    metrics_usage_compared(m, "}", c.model, true);
    buf_init(&p.text, 1 << 20);
    metrics_write(m, &quiet, &p.text);
    assert_non_null(strstr(p.text.data, "model=\"a\\\"b\\\\c\\nd{e},le=\\\"f\""));
    assert_non_null(strstr(p.text.data, "backend=\"}\",model="));
    buf_done(&p.text);
    metrics_free(m);
}

static void names_past_the_bound_are_other(void **state)
{
    struct metrics *m = metrics_new();
    struct metrics_chat c = a_call();
    char model[32], backend[32], end[32];
    struct page p;
    (void)state;
    c.model = model;
    c.backend = backend;
    for (int i = 0; i < 300; i++) {
        snprintf(model, sizeof model, "m%d", i);
        snprintf(backend, sizeof backend, "b%d", i);
        metrics_chat(m, &c);
        metrics_try_failed(m, backend);
    }
    c.end = end;
    snprintf(model, sizeof model, "m0");
    snprintf(backend, sizeof backend, "b0");
    for (int i = 0; i < 100; i++) {
        snprintf(end, sizeof end, "e%d", i);
        metrics_chat(m, &c);
    }
    read_page(&p, m, &quiet);
    assert_int_equal(count_of(&p, "gen_ai_server_time_to_first_token_seconds_count"), 257);
    assert_true(value_of(&p, "gen_ai_server_request_duration_seconds_count",
                         "gen_ai_operation_name=\"chat\",gen_ai_request_model=\"other\","
                         "gen_ai_provider_name=\"other\"") == 44);
    assert_true(value_of(&p, "gen_ai_server_request_duration_seconds_count",
                         "gen_ai_operation_name=\"chat\",gen_ai_request_model=\"m0\","
                         "gen_ai_provider_name=\"b0\",error_type=\"other\"") == 69);
    assert_true(value_of(&p, "moongate_queue_seconds_count", "model=\"other\"") == 44);
    assert_true(value_of(&p, "moongate_tries_failed_total", "backend=\"other\"") == 44);
    page_done(&p);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_without_calls_is_well_formed),
        cmocka_unit_test(requests_are_counted_by_route_and_status),
        cmocka_unit_test(a_call_is_counted_by_model_and_backend),
        cmocka_unit_test(an_error_has_a_type_and_no_speed),
        cmocka_unit_test(a_whole_reply_has_no_time_per_token),
        cmocka_unit_test(tries_and_comparisons_are_counted),
        cmocka_unit_test(backends_show_their_state),
        cmocka_unit_test(label_values_are_escaped),
        cmocka_unit_test(names_past_the_bound_are_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
