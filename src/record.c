/*
 * What a call leaves behind: one line in the log, and the counters. No content, no key, and no
 * name that a client chose.
 */
#include "base/clock.h"
#include "base/log.h"
#include "call.h"

#include <inttypes.h>
#include <string.h>

const char *record_source(enum api_usage_source source)
{
    switch (source) {
    case API_USAGE_NONE:
        return "none";
    case API_USAGE_ENGINE:
        return "engine";
    case API_USAGE_UPSTREAM:
        return "upstream";
    case API_USAGE_COUNTED:
        return "counted";
    case API_USAGE_ESTIMATED:
        return "estimated";
    }
    return "none";
}

static const char *how_it_ended(const struct call *c)
{
    if (c->fault)
        return fault_code(c->fault);
    switch (c->outcome) {
    case HTTP_COMPLETE:
        return "ok";
    case HTTP_CLIENT_GONE:
        return "client_gone";
    case HTTP_CLIENT_STALLED:
        return "client_stalled";
    case HTTP_CUT:
        return "cut";
    }
    return "ok";
}

/* What is counted for a client that left before it was sent a status; nginx's number. */
static int status_of(const struct call *c)
{
    return c->status ? c->status : 499;
}

static void add_chat(struct buf *b, const struct call *c)
{
    buf_adds(b, ",\"model\":");
    json_write_string(b, c->model->api.id, strlen(c->model->api.id));
    if (*c->place.backend) {
        buf_adds(b, ",\"backend\":");
        json_write_string(b, c->place.backend, strlen(c->place.backend));
        buf_addf(b, ",\"tries\":%d,\"queue_ms\":%.3f", c->place.tries,
                 (double)c->place.queued_us / 1000);
    }
    if (c->first_text_us >= 0)
        buf_addf(b, ",\"first_ms\":%.3f", (double)c->first_text_us / 1000);
    buf_addf(b,
             ",\"stream\":%s,\"prompt_tokens\":%" PRId64 ",\"cached_tokens\":%" PRId64
             ",\"completion_tokens\":%" PRId64 ",\"usage\":\"%s\"",
             c->request.stream ? "true" : "false", c->usage.prompt_tokens, c->usage.cached_tokens,
             c->usage.completion_tokens, record_source(c->usage.source));
}

static void write_line(const struct call *c, int64_t duration_us)
{
    struct buf b;
    buf_init(&b, 4096);
    buf_addf(&b, "\"trace_id\":\"%s\",\"route\":\"%s\",\"status\":%d,\"end\":\"%s\"", c->trace_id,
             c->route_name, status_of(c), how_it_ended(c));
    if (c->authenticated)
        buf_addf(&b, ",\"key\":%" PRId64, c->key.id);
    if (c->model)
        add_chat(&b, c);
    buf_addf(&b, ",\"ms\":%.3f", (double)duration_us / 1000);
    if (!b.failed)
        log_fields(LOG_INFO_LEVEL, "call", b.data);
    buf_done(&b);
}

static void count_chat(const struct call *c, int64_t duration_us)
{
    struct metrics_chat chat = {.model = c->model->api.id,
                                .backend = *c->place.backend ? c->place.backend : NULL,
                                .end = how_it_ended(c),
                                .stream = c->request.stream,
                                .duration_us = duration_us,
                                .queue_us = c->place.queued_us,
                                .first_token_us = c->first_text_us,
                                .prompt_tokens = c->usage.prompt_tokens,
                                .cached_tokens = c->usage.cached_tokens,
                                .completion_tokens = c->usage.completion_tokens,
                                .reasoning_tokens = c->usage.reasoning_tokens,
                                .source = record_source(c->usage.source)};
    metrics_chat(c->app->metrics, &chat);
}

void record_call(const struct call *c)
{
    int64_t duration_us = (c->ended_us ? c->ended_us : clock_mono_us()) - c->started_us;
    metrics_request(c->app->metrics, c->route_name, status_of(c), duration_us);
    if (c->model && call_is_chat(c))
        count_chat(c, duration_us);
    if (log_on(LOG_INFO_LEVEL))
        write_line(c, duration_us);
}
