/*
 * What a call leaves behind: one line in the log, and the counters. No content, no key, and no
 * name that a client chose.
 */
#include "base/clock.h"
#include "base/log.h"
#include "call.h"

#include <string.h>

enum { LINE_BYTES = 512 }; /* that a usual line has */

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

/* The line is written for each request, so without formats. `name` comes with its punctuation. */
static void add_word(struct buf *b, const char *name, const char *word)
{
    buf_adds(b, name);
    buf_adds(b, word);
    buf_addc(b, '"');
}

static void add_number(struct buf *b, const char *name, int64_t n)
{
    buf_adds(b, name);
    buf_addi(b, n);
}

static void add_name(struct buf *b, const char *name, const char *value)
{
    buf_adds(b, name);
    json_write_string(b, value, strlen(value));
}

static void add_ms(struct buf *b, const char *name, int64_t us)
{
    const char part[] = {'.', (char)('0' + us / 100 % 10), (char)('0' + us / 10 % 10),
                         (char)('0' + us % 10)};
    add_number(b, name, us / 1000);
    buf_add(b, part, sizeof part);
}

static void add_chat(struct buf *b, const struct call *c)
{
    add_name(b, ",\"model\":", c->model->api.id);
    if (*c->place.backend) {
        add_name(b, ",\"backend\":", c->place.backend);
        add_number(b, ",\"tries\":", c->place.tries);
        add_ms(b, ",\"queue_ms\":", c->place.queued_us);
    }
    if (c->first_text_us >= 0)
        add_ms(b, ",\"first_ms\":", c->first_text_us);
    buf_adds(b, c->request.stream ? ",\"stream\":true" : ",\"stream\":false");
    add_number(b, ",\"prompt_tokens\":", c->usage.prompt_tokens);
    add_number(b, ",\"cached_tokens\":", c->usage.cached_tokens);
    add_number(b, ",\"completion_tokens\":", c->usage.completion_tokens);
    add_word(b, ",\"usage\":\"", record_source(c->usage.source));
    if (c->books.charged_micros >= 0)
        add_number(b, ",\"charged_micros\":", c->books.charged_micros);
}

static void write_line(const struct call *c, int64_t duration_us)
{
    struct buf b;
    buf_init(&b, 4096);
    buf_reserve(&b, LINE_BYTES);
    add_word(&b, "\"trace_id\":\"", c->trace_id);
    add_word(&b, ",\"route\":\"", c->route_name);
    add_number(&b, ",\"status\":", status_of(c));
    add_word(&b, ",\"end\":\"", how_it_ended(c));
    if (c->authenticated)
        add_number(&b, ",\"key\":", c->key.id);
    if (c->account_id)
        add_number(&b, ",\"account\":", c->account_id);
    if (c->model)
        add_chat(&b, c);
    add_ms(&b, ",\"ms\":", duration_us);
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
