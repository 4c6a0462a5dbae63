/*
 * Counters and two histograms; rows of the request counter are made when a (route, status) pair
 * is first seen, which the route table and the list of statuses bound.
 */
#include "ledger/metrics.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 512, N_BOUNDS = 12 };

static const int64_t bounds_us[N_BOUNDS] = {1000,   2500,   5000,    10000,   25000,    50000,
                                            100000, 250000, 1000000, 2500000, 10000000, 60000000};

struct histogram {
    uint64_t count, below[N_BOUNDS];
    int64_t sum_us;
};

struct row {
    const char *route;
    int status;
    uint64_t n;
};

struct metrics {
    struct row rows[ROWS_MAX];
    size_t n_rows;
    uint64_t prompt_tokens, cached_tokens, completion_tokens;
    struct histogram duration, first_token;
};

struct metrics *metrics_new(void)
{
    return mem_zalloc(sizeof(struct metrics));
}

void metrics_free(struct metrics *m)
{
    free(m);
}

static void observe(struct histogram *h, int64_t us)
{
    h->count++;
    h->sum_us += us;
    for (int i = 0; i < N_BOUNDS; i++)
        h->below[i] += us <= bounds_us[i];
}

void metrics_request(struct metrics *m, const char *route, int status, int64_t duration_us)
{
    size_t i = 0;
    observe(&m->duration, duration_us);
    while (i < m->n_rows && (m->rows[i].status != status || strcmp(m->rows[i].route, route) != 0))
        i++;
    if (i == ROWS_MAX)
        return;
    if (i == m->n_rows)
        m->rows[m->n_rows++] = (struct row){.route = route, .status = status};
    m->rows[i].n++;
}

void metrics_tokens(struct metrics *m, int64_t prompt, int64_t cached, int64_t completion)
{
    m->prompt_tokens += (uint64_t)prompt;
    m->cached_tokens += (uint64_t)cached;
    m->completion_tokens += (uint64_t)completion;
}

void metrics_first_token(struct metrics *m, int64_t since_start_us)
{
    observe(&m->first_token, since_start_us);
}

static void write_head(struct buf *b, const char *name, const char *type, const char *help)
{
    buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_gauge(struct buf *b, const char *name, const char *help, int64_t value)
{
    write_head(b, name, "gauge", help);
    buf_addf(b, "%s %" PRId64 "\n", name, value);
}

static void write_histogram(struct buf *b, const char *name, const char *help,
                            const struct histogram *h)
{
    write_head(b, name, "histogram", help);
    for (int i = 0; i < N_BOUNDS; i++)
        buf_addf(b, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, (double)bounds_us[i] / 1e6,
                 h->below[i]);
    buf_addf(b, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, h->count);
    buf_addf(b, "%s_sum %.6f\n%s_count %" PRIu64 "\n", name, (double)h->sum_us / 1e6, name,
             h->count);
}

void metrics_write(const struct metrics *m, const struct metrics_now *now, struct buf *b)
{
    write_head(b, "moongate_requests_total", "counter", "Finished requests by route and status.");
    for (size_t i = 0; i < m->n_rows; i++)
        buf_addf(b, "moongate_requests_total{route=\"%s\",code=\"%d\"} %" PRIu64 "\n",
                 m->rows[i].route, m->rows[i].status, m->rows[i].n);
    write_head(b, "moongate_tokens_total", "counter",
               "Tokens of answered calls; cached ones are part of the prompt's.");
    buf_addf(b, "moongate_tokens_total{kind=\"prompt\"} %" PRIu64 "\n", m->prompt_tokens);
    buf_addf(b, "moongate_tokens_total{kind=\"cached\"} %" PRIu64 "\n", m->cached_tokens);
    buf_addf(b, "moongate_tokens_total{kind=\"completion\"} %" PRIu64 "\n", m->completion_tokens);
    write_histogram(b, "moongate_request_duration_seconds", "From the head to the last byte.",
                    &m->duration);
    write_histogram(b, "moongate_time_to_first_token_seconds",
                    "From the head to the first text of a reply.", &m->first_token);
    write_gauge(b, "moongate_connections", "Open connections of clients.",
                (int64_t)now->connections);
    write_gauge(b, "moongate_calls_running", "Calls that a backend works on.",
                (int64_t)now->calls_running);
    write_gauge(b, "moongate_engine_sequences_running", "Replies that the engine generates.",
                now->engine_running);
    write_gauge(b, "moongate_engine_jobs_waiting", "Calls that wait for the engine.",
                now->engine_waiting);
    write_gauge(b, "moongate_engine_sequences_max", "Replies that the engine generates at most.",
                now->engine_capacity);
}
