/*
 * What happens to a call while a backend works on it: from the router's acceptance to the proven
 * end of the reply, a fault, or the client's leaving.
 *
 * The router's callbacks name the call by its number. What the run borrows of the request is
 * freed once the reply has begun: a long prompt is not kept during its reply. One timer a running
 * call serves the keep-alive comments and the time limit; it is not moved with each write: when
 * it fires, it looks how long the silence really was.
 */
#include "base/clock.h"
#include "base/log.h"
#include "call.h"
#include "engine/count.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>

/* --- the timer --- */

static void arm_timer(struct call *c)
{
    int64_t now = clock_mono_ms(), at = c->deadline_ms;
    int64_t alive = c->last_write_ms + c->snapshot->config->keep_alive_ms;
    if (c->request.stream && (!at || alive < at))
        at = alive;
    if (!at)
        return;
    int64_t wait = at > now ? at - now : 1;
    struct timeval tv = {.tv_sec = wait / 1000, .tv_usec = (wait % 1000) * 1000};
    evtimer_add(c->timer, &tv);
}

static void refuse_late(struct call *c)
{
    struct fault f;
    fault_set(&f, FAULT_TIMEOUT, NULL, "The reply took longer than this server allows.");
    call_refuse(c, &f);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct call *c = arg;
    int64_t now = clock_mono_ms();
    (void)fd;
    (void)what;
    if (!c->running)
        return;
    if (c->deadline_ms && now >= c->deadline_ms) {
        refuse_late(c);
        return;
    }
    if (c->request.stream && now - c->last_write_ms >= c->snapshot->config->keep_alive_ms)
        answer_keep_alive(c);
    arm_timer(c);
}

static void start_timer(struct call *c)
{
    int timeout = c->snapshot->config->call_timeout_ms;
    c->last_write_ms = clock_mono_ms();
    c->deadline_ms = timeout ? c->last_write_ms + timeout : 0;
    c->timer = evtimer_new(c->app->base, on_timer, c);
    arm_timer(c);
}

/* --- W3C trace context, https://www.w3.org/TR/trace-context/ --- */

static bool is_hex(const char *s, size_t n)
{
    bool zero = true;
    for (size_t i = 0; i < n; i++) {
        if (!strchr("0123456789abcdef", s[i]) || !s[i])
            return false;
        zero = zero && s[i] == '0';
    }
    return !zero;
}

/* "00-" 32 hex digits "-" 16 hex digits "-" 2 hex digits; later versions may have more. */
static bool is_traceparent(const char *s)
{
    static const char hex[] = "0123456789abcdef";
    size_t len = s ? strlen(s) : 0;
    return len >= 55 && strspn(s, hex) == 2 && strncmp(s, "ff", 2) != 0 && s[2] == '-' &&
           is_hex(s + 3, 32) && s[35] == '-' && is_hex(s + 36, 16) && s[52] == '-' &&
           strspn(s + 53, hex) == 2 && (len == 55 || (strncmp(s, "00", 2) != 0 && s[55] == '-'));
}

/* The client's trace goes on with a span of ours; a call without one begins a trace, whose id is
 * the trace id that the client is told. */
static void set_traceparent(struct call *c)
{
    const char *given = http_header_get(c->x, "traceparent");
    char trace[33], span[17];
    const char *flags = "01";
    random_hex(span, 16);
    if (is_traceparent(given)) {
        snprintf(trace, sizeof trace, "%.32s", given + 3);
        flags = given + 53;
    } else {
        size_t n = 0;
        for (const char *s = c->trace_id; *s; s++)
            if (*s != '-')
                trace[n++] = *s;
        trace[n] = '\0';
    }
    snprintf(c->traceparent, sizeof c->traceparent, "00-%.32s-%.16s-%.2s", trace, span, flags);
}

/* --- start and stop --- */

static const char *client_header(void *client, const char *name)
{
    return http_header_get(client, name);
}

static void set_head(struct call *c)
{
    char hex[17];
    random_hex(hex, 16);
    snprintf(c->id, sizeof c->id, "chatcmpl-%s", hex);
    c->head = (struct api_head){.id = c->id,
                                .created = clock_unix_ms() / 1000,
                                .model = c->model->api.id,
                                .fingerprint = c->place.fingerprint};
    c->n_choices = c->route == ROUTE_COUNT ? 0 : (size_t)c->request.choices;
}

static void count_here(struct call *c);

static bool has_local(const struct call *c)
{
    for (size_t i = 0; i < c->model->n_routes; i++) {
        const struct config_backend *b =
            config_backend(c->snapshot->config, c->model->routes[i].backend);
        if (b && b->kind == CONFIG_LOCAL)
            return true;
    }
    return false;
}

void call_run(struct call *c)
{
    struct router_call call = {.run = {.number = c->number,
                                       .owner = (uint64_t)c->key.id,
                                       .request = &c->request,
                                       .tree = c->tree,
                                       .model = &c->model->api,
                                       .count_only = c->route == ROUTE_COUNT,
                                       .trace_id = c->trace_id,
                                       .traceparent = c->traceparent,
                                       .client_header = client_header,
                                       .client = c->x},
                               .routes = c->model->routes,
                               .n_routes = c->model->n_routes,
                               .bytes = c->body_bytes};
    struct fault f;
    set_head(c);
    set_traceparent(c);
    meter_start(c);
    if (call.run.count_only && !has_local(c)) {
        count_here(c);
        return;
    }
    if (router_start(c->app->router, &call, &f)) {
        call_refuse(c, &f);
        return;
    }
    c->running = true;
    c->app->n_running++;
    start_timer(c);
}

static void leave(struct call *c)
{
    c->running = false;
    c->app->n_running--;
}

void call_stop(struct call *c)
{
    if (!c->running)
        return;
    leave(c);
    c->owes_end = router_stop(c->app->router, c->number);
    if (!c->owes_end && call_is_chat(c))
        meter_cut(c);
}

/* --- where it runs --- */

static void note_place(struct call *c)
{
    struct router_place place;
    if (router_where(c->app->router, c->number, &place))
        return;
    c->place.tries = place.tries;
    c->place.queued_us = place.queued_us;
    c->place.local = place.kind && strcmp(place.kind, "local") == 0;
    snprintf(c->place.backend, sizeof c->place.backend, "%s", place.backend ? place.backend : "");
    snprintf(c->place.fingerprint, sizeof c->place.fingerprint, "%s",
             place.fingerprint ? place.fingerprint : "");
}

/* The engine's text gathers here, choice by choice; an upstream's chunks pass as they are. */
static void open_choices(struct call *c)
{
    c->choices = mem_array(c->n_choices + 1, sizeof *c->choices);
    for (size_t i = 0; i < c->n_choices; i++) {
        buf_init(&c->choices[i].reasoning, (size_t)64 << 20);
        buf_init(&c->choices[i].content, (size_t)64 << 20);
        buf_init(&c->choices[i].logprobs, (size_t)64 << 20);
    }
}

/* What was needed of the request is copied by now. The model's name lived in the tree, so the
 * configuration's own spelling takes its place. */
static void drop_request(struct call *c)
{
    c->request.model = c->model->api.id;
    json_free(c->tree);
    c->tree = NULL;
    arena_free(c->arena);
    c->arena = NULL;
}

/* --- what wakes a call: the router --- */

static struct call *find_running(void *arg, uint64_t number)
{
    struct call *c = call_find(arg, number);
    return c && c->running ? c : NULL;
}

static void on_start(void *arg, uint64_t number, const struct api_usage *usage)
{
    struct call *c = find_running(arg, number);
    if (!c)
        return;
    c->usage = *usage;
    note_place(c);
    if (c->place.local)
        open_choices(c);
    drop_request(c);
    if (call_is_chat(c))
        answer_start(c);
}

static void note_first_text(struct call *c)
{
    if (c->first_text_us < 0)
        c->first_text_us = clock_mono_us() - c->started_us;
}

static void on_piece(void *arg, uint64_t number, const struct backend_piece *piece)
{
    struct call *c = find_running(arg, number);
    if (!c)
        return;
    note_first_text(c);
    answer_piece(c, piece);
}

/* An upstream that goes on past max_tokens would be paid for by nobody. Each event with text has a
 * token at least; that is a bound without a tokenizer. */
static void note_finish(struct call *c, const struct relayed *chunk)
{
    if (chunk->n_choices && chunk->choice[0].finished)
        c->books.finish = chunk->choice[0].finish;
    if (chunk->content_bytes > 0)
        c->books.seen_tokens++;
    c->books.cut_short = c->books.most_tokens && c->books.seen_tokens > c->books.most_tokens &&
                         c->books.finish == API_FINISH_NONE;
}

static void end_here(struct call *c);

static void on_chunk(void *arg, uint64_t number, const struct relayed *chunk)
{
    struct call *c = find_running(arg, number);
    if (!c)
        return;
    note_first_text(c);
    note_finish(c, chunk);
    if (c->books.cut_short) { /* this one is past it already */
        end_here(c);
        return;
    }
    meter_chunk(c, chunk);
    answer_chunk(c, chunk);
}

static void on_whole(void *arg, uint64_t number, const struct relayed *reply)
{
    struct call *c = find_running(arg, number);
    if (!c)
        return;
    note_first_text(c);
    meter_chunk(c, reply);
    note_finish(c, reply);
    c->books.cut_short = false;
    answer_whole(c, reply);
}

static void on_finish(void *arg, uint64_t number, int choice, enum api_finish finish)
{
    struct call *c = find_running(arg, number);
    if (c)
        answer_finish(c, choice, finish);
}

static void answer_count(struct call *c, int64_t tokens)
{
    struct buf b;
    buf_init(&b, 256);
    c->step = CALL_OVER;
    api_count_write(&b, tokens);
    answer_json(c, &b);
    buf_done(&b);
}

/* The rest of a reply whose end is proven. */
static void finish(struct call *c)
{
    if (!call_is_chat(c)) {
        answer_count(c, c->usage.prompt_tokens);
    } else if (meter_settle(c)) {
        c->step = CALL_COUNT;
    } else {
        c->step = CALL_SETTLE;
        if (settle_reply(c))
            call_replied(c, true);
    }
}

void call_replied(struct call *c, bool written)
{
    struct fault f;
    if (written) {
        c->step = CALL_OVER;
        answer_end(c);
        return;
    }
    fault_set(&f, FAULT_UNAVAILABLE, NULL, "The reply could not be recorded.");
    f.retry_after_s = 1;
    call_refuse(c, &f);
}

/* The hold is reached: a well-formed end, as if the upstream had kept to max_tokens. */
static void end_here(struct call *c)
{
    c->books.finish = API_FINISH_LENGTH;
    call_stop(c);
    answer_length(c);
    finish(c);
}

static void on_end(void *arg, uint64_t number, const struct backend_end *end)
{
    struct call *c = call_find(arg, number);
    if (!c)
        return;
    if (call_is_chat(c)) /* a count's tokens came with its start */
        c->usage = end->usage;
    if (c->owes_end) {
        c->owes_end = false;
        call_release(c);
        return;
    }
    if (!c->running)
        return;
    note_place(c);
    leave(c);
    if (end->fault.kind != FAULT_NONE) {
        if (call_is_chat(c))
            meter_cut(c);
        call_refuse(c, &end->fault);
    } else {
        finish(c);
    }
}

static void on_note(void *arg, uint64_t number, enum router_note note, const char *backend,
                    const char *text)
{
    static const char *const words[] = {[ROUTER_TRY_FAILED] = "failed",
                                        [ROUTER_CIRCUIT_OPEN] = "open",
                                        [ROUTER_CIRCUIT_TRIAL] = "trial",
                                        [ROUTER_CIRCUIT_CLOSED] = "closed",
                                        [ROUTER_RESTS] = "resting"};
    struct app *app = arg;
    const struct call *c = call_find(app, number);
    enum log_level level = note == ROUTER_CIRCUIT_CLOSED || note == ROUTER_CIRCUIT_TRIAL
                               ? LOG_INFO_LEVEL
                               : LOG_WARN_LEVEL;
    if (note == ROUTER_TRY_FAILED)
        metrics_try_failed(app->metrics, backend);
    log_line(level, "backend", "%s: %s%s%s%s%s", backend, words[note], text && *text ? ": " : "",
             text ? text : "", c ? " trace_id=" : "", c ? c->trace_id : "");
}

const struct router_events call_router = {
    .run = {.on_start = on_start,
            .on_piece = on_piece,
            .on_chunk = on_chunk,
            .on_whole = on_whole,
            .on_finish = on_finish,
            .on_end = on_end},
    .on_note = on_note,
};

/* --- what wakes a call: the counters of tokens --- */

/* POST estimate-token-count for a model that no engine here computes. */
static void count_here(struct call *c)
{
    if (c->meter.waiting)
        c->step = CALL_COUNT;
    else
        answer_count(c, token_estimate((size_t)c->meter.prompt_bytes));
}

void call_on_count(void *arg, uint64_t number, enum counting_what what, int64_t tokens)
{
    struct call *c = call_find(arg, number);
    if (!c)
        return;
    meter_count(c, what, tokens);
    if (c->step == CALL_PROMPT) {
        c->step = CALL_LIMIT;
        call_go_on(c);
        return;
    }
    if (c->meter.waiting)
        return;
    if (c->step == CALL_COUNT && !call_is_chat(c))
        answer_count(c, c->meter.prompt >= 0 ? c->meter.prompt
                                             : token_estimate((size_t)c->meter.prompt_bytes));
    else if (c->step == CALL_COUNT)
        finish(c);
    call_release(c);
}
