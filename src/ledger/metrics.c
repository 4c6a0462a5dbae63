/*
 * Counters in rows, and the page that shows them.
 *
 * A row is made when its names are first seen and stays; a table finds it by a hash of the names
 * and keeps the order of appearance for the page. A table has a bound: names past it share one
 * row called "other". A histogram counts each value in one bucket and adds them up on the page.
 *
 * Buckets are those of the semantic conventions; the time per token has finer ones below, since
 * a small model in this process takes less than their smallest.
 */
#include "ledger/metrics.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS_MAX = 256, NAMES_MAX = 256, ROUTES_MAX = 512, ENDS_MAX = 32, TABLE_BUCKETS = 512 };

/* --- histograms --- */

enum { BOUNDS_MAX = 20 };

struct shape {
    const char *name, *help;
    int n;
    double bounds[BOUNDS_MAX];
};

struct histogram {
    uint64_t count, in[BOUNDS_MAX]; /* not above the bound, and above the one before */
    double sum;
};

static const struct shape request_shape = {
    "moongate_request_duration_seconds",
    "Any request, from its head to the last byte of the reply.",
    12,
    {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5, 10, 60}};

static const struct shape duration_shape = {
    "gen_ai_server_request_duration_seconds",
    "Chat calls, from the head of the request to the last byte of the reply.",
    14,
    {0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}};

static const struct shape first_token_shape = {
    "gen_ai_server_time_to_first_token_seconds",
    "Chat calls that succeeded, from the head of the request to the first text.",
    16,
    {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}};

static const struct shape per_token_shape = {
    "gen_ai_server_time_per_output_token_seconds",
    "Streams that succeeded: time between the tokens after the first.",
    19,
    {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3,
     0.4, 0.5, 0.75, 1, 2.5}};

static const struct shape usage_shape = {
    "gen_ai_client_token_usage",
    "Tokens of a chat call; cached ones are part of the input, reasoning of the output.",
    14,
    {1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864}};

static const struct shape queue_shape = {
    "moongate_queue_seconds",
    "Chat calls: time spent waiting for a backend.",
    13,
    {0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60}};

static void observe(struct histogram *h, const struct shape *s, double value)
{
    int i = 0;
    h->count++;
    h->sum += value;
    while (i < s->n && value > s->bounds[i])
        i++;
    if (i < s->n)
        h->in[i]++;
}

static double seconds(int64_t us)
{
    return (double)us / 1e6;
}

/* --- rows by name --- */

struct row {
    struct row *same_bucket, *next;
    const char *a, *b; /* copies, behind the row */
    int number;
};

struct table {
    struct row *buckets[TABLE_BUCKETS], *first, **end;
    size_t n, max, row_bytes;
};

static void table_init(struct table *t, size_t max, size_t row_bytes)
{
    *t = (struct table){.max = max, .row_bytes = row_bytes};
    t->end = &t->first;
}

static void table_done(struct table *t)
{
    for (struct row *r = t->first, *next; r; r = next) {
        next = r->next;
        free(r);
    }
}

static uint32_t hash_text(uint32_t h, const char *s)
{
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h * 16777619u;
}

static struct row **row_bucket(struct table *t, const char *a, const char *b, int number)
{
    uint32_t h = hash_text(hash_text(2166136261u ^ (uint32_t)number, a), b);
    return &t->buckets[(h ^ h >> 16) % TABLE_BUCKETS];
}

static struct row *row_look(struct row *bucket, const char *a, const char *b, int number)
{
    struct row *r = bucket;
    while (r && (r->number != number || strcmp(r->a, a) != 0 || strcmp(r->b, b) != 0))
        r = r->same_bucket;
    return r;
}

static struct row *row_new(struct table *t, const char *a, const char *b, int number)
{
    size_t a_bytes = strlen(a) + 1, b_bytes = strlen(b) + 1;
    struct row *r = mem_zalloc(t->row_bytes + a_bytes + b_bytes);
    char *text = (char *)r + t->row_bytes;
    memcpy(text, a, a_bytes);
    memcpy(text + a_bytes, b, b_bytes);
    r->a = text;
    r->b = text + a_bytes;
    r->number = number;
    *t->end = r;
    t->end = &r->next;
    t->n++;
    return r;
}

/* The row of these names; made if they are new, "other" if there are too many. */
static struct row *row_find(struct table *t, const char *a, const char *b, int number)
{
    struct row **bucket = row_bucket(t, a, b, number), *r = row_look(*bucket, a, b, number);
    if (!r && t->n >= t->max) {
        a = "other";
        b = *b ? "other" : "";
        number = 0;
        bucket = row_bucket(t, a, b, number);
        r = row_look(*bucket, a, b, number);
    }
    if (r)
        return r;
    r = row_new(t, a, b, number);
    r->same_bucket = *bucket;
    *bucket = r;
    return r;
}

/* --- what is counted --- */

struct count_row { /* of (route, status), a backend, or a source */
    struct row row;
    uint64_t n;
};

struct queue_row { /* of a model */
    struct row row;
    struct histogram queue;
};

struct end { /* of a pair's calls; the word is "" for success */
    struct row row;
    struct histogram duration;
};

struct pair { /* model and backend */
    struct row row;
    struct table ends;
    struct histogram first_token, per_token, input, output;
    uint64_t compared, apart;
};

struct metrics {
    struct table requests, pairs, queues, tries, sources;
    struct histogram duration;
    uint64_t prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens;
    uint64_t charged_micros;
};

struct metrics *metrics_new(void)
{
    struct metrics *m = mem_zalloc(sizeof *m);
    table_init(&m->requests, ROUTES_MAX, sizeof(struct count_row));
    table_init(&m->pairs, PAIRS_MAX, sizeof(struct pair));
    table_init(&m->queues, NAMES_MAX, sizeof(struct queue_row));
    table_init(&m->tries, NAMES_MAX, sizeof(struct count_row));
    table_init(&m->sources, NAMES_MAX, sizeof(struct count_row));
    return m;
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    for (struct row *r = m->pairs.first; r; r = r->next)
        table_done(&((struct pair *)r)->ends);
    table_done(&m->requests);
    table_done(&m->pairs);
    table_done(&m->queues);
    table_done(&m->tries);
    table_done(&m->sources);
    free(m);
}

static void count(struct table *t, const char *name, int number)
{
    ((struct count_row *)row_find(t, name, "", number))->n++;
}

static struct pair *find_pair(struct metrics *m, const char *model, const char *backend)
{
    struct pair *p = (struct pair *)row_find(&m->pairs, model, backend, 0);
    if (!p->ends.row_bytes)
        table_init(&p->ends, ENDS_MAX, sizeof(struct end));
    return p;
}

void metrics_request(struct metrics *m, const char *route, int status, int64_t duration_us)
{
    observe(&m->duration, &request_shape, seconds(duration_us));
    count(&m->requests, route, status);
}

static void count_tokens(struct metrics *m, struct pair *p, const struct metrics_chat *c)
{
    m->prompt_tokens += (uint64_t)c->prompt_tokens;
    m->cached_tokens += (uint64_t)c->cached_tokens;
    m->completion_tokens += (uint64_t)c->completion_tokens;
    m->reasoning_tokens += (uint64_t)c->reasoning_tokens;
    if (c->prompt_tokens > 0)
        observe(&p->input, &usage_shape, (double)c->prompt_tokens);
    if (c->completion_tokens > 0)
        observe(&p->output, &usage_shape, (double)c->completion_tokens);
}

static void count_speed(struct pair *p, const struct metrics_chat *c)
{
    if (c->first_token_us < 0)
        return;
    observe(&p->first_token, &first_token_shape, seconds(c->first_token_us));
    if (c->stream && c->completion_tokens > 1 && c->duration_us >= c->first_token_us)
        observe(&p->per_token, &per_token_shape,
                seconds(c->duration_us - c->first_token_us) / (double)(c->completion_tokens - 1));
}

void metrics_chat(struct metrics *m, const struct metrics_chat *c)
{
    bool ok = strcmp(c->end, "ok") == 0;
    struct pair *p = find_pair(m, c->model, c->backend ? c->backend : "");
    struct end *end = (struct end *)row_find(&p->ends, ok ? "" : c->end, "", 0);
    struct queue_row *q = (struct queue_row *)row_find(&m->queues, c->model, "", 0);
    observe(&end->duration, &duration_shape, seconds(c->duration_us));
    observe(&q->queue, &queue_shape, seconds(c->queue_us));
    if (ok)
        count_speed(p, c);
    count_tokens(m, p, c);
    count(&m->sources, c->source, 0);
}

void metrics_try_failed(struct metrics *m, const char *backend)
{
    count(&m->tries, backend, 0);
}

void metrics_usage_compared(struct metrics *m, const char *backend, const char *model, bool apart)
{
    struct pair *p = find_pair(m, model, backend);
    p->compared++;
    p->apart += apart;
}

/* --- the page --- */

static void write_head(struct buf *b, const char *name, const char *type, const char *help)
{
    buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* name="value", with what the format escapes. */
static void add_label(struct buf *b, const char *name, const char *value)
{
    bool first = !b->len || b->data[b->len - 1] == '{';
    buf_addf(b, "%s%s=\"", first ? "" : ",", name);
    for (; *value; value++) {
        if (*value == '\n')
            buf_adds(b, "\\n");
        else if (*value == '"' || *value == '\\')
            buf_addf(b, "\\%c", *value);
        else
            buf_addc(b, *value);
    }
    buf_addc(b, '"');
}

static void write_counter(struct buf *b, const char *name, const char *label, const char *value,
                          uint64_t n)
{
    buf_addf(b, "%s{", name);
    add_label(b, label, value);
    buf_addf(b, "} %" PRIu64 "\n", n);
}

static void write_gauge(struct buf *b, const char *name, const char *help, int64_t value)
{
    write_head(b, name, "gauge", help);
    buf_addf(b, "%s %" PRId64 "\n", name, value);
}

static void write_sample(struct buf *b, const struct shape *s, const char *suffix,
                         const struct buf *labels, const char *value)
{
    buf_addf(b, "%s%s", s->name, suffix);
    if (labels->len)
        buf_addf(b, "{%s}", labels->data);
    buf_addf(b, " %s\n", value);
}

/* `labels` may be empty; nothing is written for a row without values. */
static void write_histogram(struct buf *b, const struct shape *s, const struct buf *labels,
                            const struct histogram *h)
{
    const char *others = labels->len ? labels->data : "", *comma = labels->len ? "," : "";
    char value[32];
    uint64_t below = 0;
    if (!h->count)
        return;
    for (int i = 0; i < s->n; i++) {
        below += h->in[i];
        buf_addf(b, "%s_bucket{%s%sle=\"%.15g\"} %" PRIu64 "\n", s->name, others, comma,
                 s->bounds[i], below);
    }
    buf_addf(b, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", s->name, others, comma, h->count);
    snprintf(value, sizeof value, "%.15g", h->sum);
    write_sample(b, s, "_sum", labels, value);
    snprintf(value, sizeof value, "%" PRIu64, h->count);
    write_sample(b, s, "_count", labels, value);
}

static void set_labels(struct buf *labels, const struct pair *p)
{
    buf_reset(labels);
    add_label(labels, "gen_ai_operation_name", "chat");
    add_label(labels, "gen_ai_request_model", p->row.a);
    add_label(labels, "gen_ai_provider_name", p->row.b);
}

static void write_durations(struct buf *b, struct buf *labels, const struct pair *p)
{
    for (const struct row *r = p->ends.first; r; r = r->next) {
        set_labels(labels, p);
        if (r->a[0])
            add_label(labels, "error_type", r->a);
        write_histogram(b, &duration_shape, labels, &((const struct end *)r)->duration);
    }
}

static void write_usage(struct buf *b, struct buf *labels, const struct pair *p)
{
    set_labels(labels, p);
    add_label(labels, "gen_ai_token_type", "input");
    write_histogram(b, &usage_shape, labels, &p->input);
    set_labels(labels, p);
    add_label(labels, "gen_ai_token_type", "output");
    write_histogram(b, &usage_shape, labels, &p->output);
}

static void write_first_tokens(struct buf *b, struct buf *labels, const struct pair *p)
{
    set_labels(labels, p);
    write_histogram(b, &first_token_shape, labels, &p->first_token);
}

static void write_per_tokens(struct buf *b, struct buf *labels, const struct pair *p)
{
    set_labels(labels, p);
    write_histogram(b, &per_token_shape, labels, &p->per_token);
}

static void write_pairs(const struct metrics *m, struct buf *b)
{
    static const struct {
        const struct shape *shape;
        void (*write)(struct buf *b, struct buf *labels, const struct pair *p);
    } parts[] = {{&duration_shape, write_durations},
                 {&first_token_shape, write_first_tokens},
                 {&per_token_shape, write_per_tokens},
                 {&usage_shape, write_usage}};
    struct buf labels;
    buf_init(&labels, 1 << 16);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        write_head(b, parts[i].shape->name, "histogram", parts[i].shape->help);
        for (const struct row *r = m->pairs.first; r; r = r->next)
            parts[i].write(b, &labels, (const struct pair *)r);
    }
    buf_done(&labels);
}

static void write_comparison(const struct metrics *m, struct buf *b, const char *name,
                             const char *help, bool apart)
{
    write_head(b, name, "counter", help);
    for (const struct row *r = m->pairs.first; r; r = r->next) {
        const struct pair *p = (const struct pair *)r;
        if (!p->compared)
            continue;
        buf_addf(b, "%s{", name);
        add_label(b, "backend", r->b);
        add_label(b, "model", r->a);
        buf_addf(b, "} %" PRIu64 "\n", apart ? p->apart : p->compared);
    }
}

static void write_queues(const struct metrics *m, struct buf *b)
{
    struct buf labels;
    buf_init(&labels, 1 << 16);
    write_head(b, queue_shape.name, "histogram", queue_shape.help);
    for (const struct row *r = m->queues.first; r; r = r->next) {
        buf_reset(&labels);
        add_label(&labels, "model", r->a);
        write_histogram(b, &queue_shape, &labels, &((const struct queue_row *)r)->queue);
    }
    buf_done(&labels);
}

static void write_counters(struct buf *b, const struct table *t, const char *name, const char *help,
                           const char *label)
{
    write_head(b, name, "counter", help);
    for (const struct row *r = t->first; r; r = r->next)
        write_counter(b, name, label, r->a, ((const struct count_row *)r)->n);
}

static void write_requests(const struct metrics *m, struct buf *b)
{
    const struct buf none = {0};
    write_head(b, "moongate_requests_total", "counter", "Finished requests by route and status.");
    for (const struct row *r = m->requests.first; r; r = r->next) {
        buf_adds(b, "moongate_requests_total{");
        add_label(b, "route", r->a);
        buf_addf(b, ",code=\"%d\"} %" PRIu64 "\n", r->number, ((const struct count_row *)r)->n);
    }
    write_head(b, request_shape.name, "histogram", request_shape.help);
    write_histogram(b, &request_shape, &none, &m->duration);
}

static void write_tokens(const struct metrics *m, struct buf *b)
{
    static const char name[] = "moongate_tokens_total";
    write_head(b, name, "counter",
               "Tokens of chat calls; cached ones are part of the prompt's, reasoning of the "
               "completion's.");
    write_counter(b, name, "kind", "prompt", m->prompt_tokens);
    write_counter(b, name, "kind", "cached", m->cached_tokens);
    write_counter(b, name, "kind", "completion", m->completion_tokens);
    write_counter(b, name, "kind", "reasoning", m->reasoning_tokens);
}

static void write_source_gauge(const struct metrics_now *now, struct buf *b, const char *name,
                               const char *help, size_t member)
{
    write_head(b, name, "gauge", help);
    for (size_t i = 0; i < now->n_sources; i++) {
        buf_addf(b, "%s{", name);
        add_label(b, "backend", now->sources[i].name);
        buf_addf(b, "} %d\n", *(const int *)((const char *)&now->sources[i] + member));
    }
}

static void write_sources(const struct metrics_now *now, struct buf *b)
{
    static const char *const states[] = {"closed", "open", "trial", "resting"};
    static const char name[] = "moongate_backend_health";
    write_head(b, name, "gauge", "1 for the state that a backend's circuit is in.");
    for (size_t i = 0; i < now->n_sources; i++) {
        for (size_t j = 0; j < sizeof states / sizeof states[0]; j++) {
            buf_addf(b, "%s{", name);
            add_label(b, "backend", now->sources[i].name);
            add_label(b, "kind", now->sources[i].kind);
            add_label(b, "state", states[j]);
            buf_addf(b, "} %d\n", strcmp(now->sources[i].health, states[j]) == 0);
        }
    }
    write_source_gauge(now, b, "moongate_backend_running", "Calls that a backend works on.",
                       offsetof(struct metrics_source, running));
    write_source_gauge(now, b, "moongate_backend_waiting", "Calls that wait inside a backend.",
                       offsetof(struct metrics_source, waiting));
    write_source_gauge(now, b, "moongate_backend_capacity",
                       "Calls that a backend works on at most; 0 if that is not limited.",
                       offsetof(struct metrics_source, capacity));
}

static void write_total(struct buf *b, const char *name, const char *help, uint64_t n)
{
    write_head(b, name, "counter", help);
    buf_addf(b, "%s %" PRIu64 "\n", name, n);
}

static void write_books(const struct metrics *m, const struct metrics_now *now, struct buf *b)
{
    write_gauge(b, "moongate_store_up", "1 while the store answers.", now->store_up);
    write_gauge(b, "moongate_store_kept", "Settlements that wait for the store to come back.",
                (int64_t)now->store_kept);
    write_total(b, "moongate_charged_micros_total", "Charged for calls, in millionths of a USD.",
                m->charged_micros);
    if (!now->limits_shared)
        return;
    write_gauge(b, "moongate_limits_reached", "1 while Redis answers for shared limits.",
                now->limits_reached);
    write_total(b, "moongate_limits_away_total", "Calls that the rule for Redis' absence decided.",
                now->limits_away);
    write_total(b, "moongate_limits_unsettled_total", "Calls whose end did not reach Redis.",
                now->limits_unsettled);
}

static void write_now(const struct metrics_now *now, struct buf *b)
{
    write_gauge(b, "moongate_connections", "Open connections of clients.",
                (int64_t)now->connections);
    write_gauge(b, "moongate_calls_running", "Calls that a backend works on.",
                (int64_t)now->calls_running);
    write_gauge(b, "moongate_calls_waiting", "Calls that wait for a backend.",
                (int64_t)now->calls_waiting);
    write_gauge(b, "moongate_engine_sequences_running", "Replies that the engine generates.",
                now->engine_running);
    write_gauge(b, "moongate_engine_jobs_waiting", "Calls that wait for the engine.",
                now->engine_waiting);
    write_gauge(b, "moongate_engine_sequences_max", "Replies that the engine generates at most.",
                now->engine_capacity);
    write_sources(now, b);
}

void metrics_write(const struct metrics *m, const struct metrics_now *now, struct buf *b)
{
    write_requests(m, b);
    write_tokens(m, b);
    write_pairs(m, b);
    write_queues(m, b);
    write_counters(b, &m->sources, "moongate_usage_source_total",
                   "Chat calls by who counted their tokens.", "source");
    write_counters(b, &m->tries, "moongate_tries_failed_total",
                   "Tries at a backend that failed, also where another try succeeded.", "backend");
    write_comparison(m, b, "moongate_usage_compared_total",
                     "Calls whose tokens were counted here beside the upstream's own count.",
                     false);
    write_comparison(m, b, "moongate_usage_apart_total",
                     "Those of them where more than 5 % lay between the two.", true);
    write_books(m, now, b);
    write_now(now, b);
}

void metrics_charged(struct metrics *m, int64_t micros)
{
    m->charged_micros += micros > 0 ? (uint64_t)micros : 0;
}
