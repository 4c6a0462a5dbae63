/*
 * The steps of a call, as a table, and the callbacks that wake it.
 *
 * A step does its part and says what comes: go on, park (a callback will wake the call), or over.
 * Checks run from cheap to expensive, and a refused call costs nothing: route, method, key,
 * expiry, size, JSON, model and scope, parameters. The exchange of the http room is a call's
 * life: it begins in on_head and ends in on_end, which comes exactly once however the reply
 * ended; call_end is the one function that ends a call. A backend's callbacks name a call by
 * number, so one that comes too late finds nothing.
 */
#include "call.h"
#include "base/clock.h"
#include "base/log.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum verdict { GO_ON, PARK, OVER };

/* --- the table of calls --- */

static struct call **bucket(struct app *app, uint64_t number)
{
    return &app->calls[number % CALL_BUCKETS];
}

static struct call *find(struct app *app, uint64_t number)
{
    struct call *c = *bucket(app, number);
    while (c && c->number != number)
        c = c->next;
    return c;
}

static void unlink_call(struct call *c)
{
    struct call **at = bucket(c->app, c->number);
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
}

struct snapshot *snapshot_hold(struct snapshot *s)
{
    s->users++;
    return s;
}

void snapshot_drop(struct snapshot *s)
{
    if (!s || --s->users)
        return;
    config_free(s->config);
    free(s);
}

static struct call *call_new(struct app *app, struct http_exchange *x)
{
    struct call *c = mem_zalloc(sizeof *c);
    c->number = ++app->last_number;
    c->app = app;
    c->x = x;
    c->snapshot = snapshot_hold(app->snapshot);
    c->started_us = clock_mono_us();
    c->route_name = "none";
    random_uuid(c->trace_id);
    http_set_user(x, c);
    struct call **at = bucket(app, c->number);
    c->next = *at;
    *at = c;
    app->n_calls++;
    return c;
}

static void free_choices(struct call *c)
{
    for (size_t i = 0; i < c->n_choices; i++) {
        buf_done(&c->choices[i].reasoning);
        buf_done(&c->choices[i].content);
        buf_done(&c->choices[i].logprobs);
    }
    free(c->choices);
}

static void call_free(struct call *c)
{
    free_choices(c);
    json_free(c->tree);
    arena_free(c->arena);
    snapshot_drop(c->snapshot);
    if (c->timer)
        event_free(c->timer);
    free(c);
}

static void bury(struct app *app)
{
    while (app->ended) {
        struct call *next = app->ended->next;
        call_free(app->ended);
        app->ended = next;
    }
}

static void on_bury(evutil_socket_t fd, short what, void *arg)
{
    struct app *app = arg;
    (void)fd;
    (void)what;
    bury(app);
    if (app->draining && !app->n_calls && app->on_idle)
        app->on_idle(app);
}

void call_setup(struct app *app)
{
    app->bury = evtimer_new(app->base, on_bury, app);
}

void call_cleanup(struct app *app)
{
    bury(app);
    if (app->bury)
        event_free(app->bury);
    app->bury = NULL;
}

/* --- the end --- */

static const char *how_it_ended(const struct call *c, bool complete)
{
    if (!complete && !c->fault)
        return "client_gone";
    if (c->fault)
        return fault_code(c->fault);
    return "ok";
}

/* What is counted for a client that left before it was sent a status; nginx's number. */
static int status_of(const struct call *c)
{
    return c->status ? c->status : 499;
}

/* One line a call: no content, no key. */
static void write_access_line(const struct call *c, bool complete)
{
    struct buf b;
    buf_init(&b, 4096);
    buf_addf(&b, "\"trace_id\":\"%s\",\"route\":\"%s\",\"status\":%d,\"end\":\"%s\"", c->trace_id,
             c->route_name, status_of(c), how_it_ended(c, complete));
    if (c->authenticated)
        buf_addf(&b, ",\"key\":%" PRId64, c->key.id);
    if (c->model) {
        buf_adds(&b, ",\"model\":");
        json_write_string(&b, c->model->api.id, strlen(c->model->api.id));
        buf_addf(&b,
                 ",\"stream\":%s,\"prompt_tokens\":%" PRId64 ",\"cached_tokens\":%" PRId64
                 ",\"completion_tokens\":%" PRId64,
                 c->request.stream ? "true" : "false", c->usage.prompt_tokens,
                 c->usage.cached_tokens, c->usage.completion_tokens);
    }
    buf_addf(&b, ",\"ms\":%.3f", (double)(clock_mono_us() - c->started_us) / 1000);
    if (!b.failed)
        log_fields(LOG_INFO_LEVEL, "call", b.data);
    buf_done(&b);
}

static void stop_running(struct call *c)
{
    if (!c->running)
        return;
    c->running = false;
    c->app->n_running--;
}

/* What a call used is known when its backend is done with it, which for a call that was given up
 * is after its end. Here the ledger will settle. */
static void settle(struct app *app, const struct api_usage *usage)
{
    metrics_tokens(app->metrics, usage->prompt_tokens, usage->cached_tokens,
                   usage->completion_tokens);
}

static void call_end(struct call *c, bool complete)
{
    struct timeval now = {0};
    if (c->running) {
        backend_stop(c->backend, c->number);
        stop_running(c);
    }
    metrics_request(c->app->metrics, c->route_name, status_of(c), clock_mono_us() - c->started_us);
    if (log_on(LOG_INFO_LEVEL))
        write_access_line(c, complete);
    if (c->timer)
        event_del(c->timer);
    unlink_call(c);
    c->app->n_calls--;
    c->next = c->app->ended;
    c->app->ended = c;
    evtimer_add(c->app->bury, &now);
}

void call_refuse(struct call *c, const struct fault *f)
{
    if (c->step == CALL_OVER)
        return;
    if (c->running) {
        backend_stop(c->backend, c->number);
        stop_running(c);
    }
    c->step = CALL_OVER;
    c->fault = f->kind;
    if (f->kind == FAULT_INTERNAL)
        log_line(LOG_ERROR_LEVEL, "fault", "trace_id=%s %s", c->trace_id, f->message);
    answer_fault(c, f);
}

void call_refuse_draining(struct call *c)
{
    struct fault f;
    fault_set(&f, FAULT_UNAVAILABLE, NULL, "The server is shutting down.");
    f.retry_after_s = 1;
    call_refuse(c, &f);
}

static enum verdict refuse(struct call *c, enum fault_kind kind, const char *param,
                           const char *message)
{
    struct fault f;
    fault_set(&f, kind, param, "%s", message);
    call_refuse(c, &f);
    return OVER;
}

/* --- the steps --- */

static bool is_chat(const struct call *c)
{
    return c->route == ROUTE_CHAT || c->route == ROUTE_CHAT_KIMI;
}

static enum verdict wrong_method(struct call *c, const char *allow)
{
    struct fault f;
    fault_set(&f, FAULT_METHOD, NULL, "%s is not allowed here; use %s.", http_method(c->x), allow);
    call_refuse(c, &f);
    return OVER;
}

static enum verdict step_route(struct call *c)
{
    char allow[64];
    int id = route_find(call_routes, call_n_routes, http_method(c->x), http_path(c->x), allow,
                        sizeof allow);
    if (id == ROUTE_NO_PATH)
        return refuse(c, FAULT_NO_API, NULL,
                      "There is no API at this path. See /openapi.json for those there are.");
    if (id == ROUTE_NO_METHOD && strcmp(http_method(c->x), "OPTIONS") == 0) {
        c->route_name = "preflight";
        c->step = CALL_OVER;
        answer_body(c, 204, NULL, "", 0);
        return OVER;
    }
    if (id == ROUTE_NO_METHOD)
        return wrong_method(c, allow);
    c->route = id;
    c->route_name = route_name(id);
    if (id >= ROUTE_HEALTH) {
        c->step = CALL_REPLY;
        return GO_ON;
    }
    if (c->app->draining) {
        call_refuse_draining(c);
        return OVER;
    }
    c->step = CALL_AUTHENTICATE;
    return GO_ON;
}

static enum verdict take_pass(struct call *c, const struct gate_pass *pass)
{
    struct fault f;
    switch (pass->verdict) {
    case GATE_OK:
        break;
    case GATE_NO_KEY:
        return refuse(c, FAULT_NO_KEY, NULL,
                      "The Authorization header is missing or not of the form "
                      "\"Bearer YOUR_KEY\".");
    case GATE_UNKNOWN:
        return refuse(c, FAULT_INVALID_TOKEN, NULL, "The specified token is invalid or wrong.");
    case GATE_EXPIRED:
        return refuse(c, FAULT_TOKEN_EXPIRED, NULL, "The specified token has expired.");
    case GATE_DISABLED:
        return refuse(c, FAULT_DISABLED, NULL, "The specified token is disabled.");
    case GATE_UNAVAILABLE:
        fault_set(&f, FAULT_UNAVAILABLE, NULL,
                  "Keys cannot be checked at the moment, please try again later.");
        f.retry_after_s = 1;
        call_refuse(c, &f);
        return OVER;
    }
    c->key = pass->key;
    c->authenticated = true;
    c->step = is_chat(c) || c->route == ROUTE_COUNT ? CALL_READ : CALL_REPLY;
    return GO_ON;
}

static enum verdict step_authenticate(struct call *c)
{
    struct gate_pass pass;
    if (gate_check(c->app->gate, c->number, http_header_get(c->x, "authorization"), &pass))
        return take_pass(c, &pass);
    return PARK;
}

static enum verdict step_read(struct call *c)
{
    c->step = CALL_PARSE;
    http_read_body(c->x);
    return PARK;
}

/* Called with the body at hand, so not through the table. */
static enum verdict parse(struct call *c, const char *body, size_t len)
{
    struct error e = {0};
    int depth = c->snapshot->config->json_depth;
    if (json_parse(body, len, depth, &c->tree, &e)) {
        struct fault f;
        fault_set(&f, FAULT_BAD_REQUEST, NULL, "The body is not valid JSON: %s", e.text);
        call_refuse(c, &f);
        return OVER;
    }
    c->step = CALL_ADMIT;
    return GO_ON;
}

static enum verdict unknown_model(struct call *c, const char *name)
{
    struct fault f;
    fault_set(&f, c->route == ROUTE_CHAT_KIMI ? FAULT_MODEL_UNKNOWN_400 : FAULT_MODEL_UNKNOWN,
              "model", "The model %.100s does not exist; GET /v1/models lists those there are.",
              name);
    call_refuse(c, &f);
    return OVER;
}

static enum verdict step_admit(struct call *c)
{
    const struct config *config = c->snapshot->config;
    struct fault f;
    const char *name = api_request_model(c->tree, &f);
    if (!name) {
        call_refuse(c, &f);
        return OVER;
    }
    if (!gate_allows_model(&c->key, name))
        return refuse(c, FAULT_TOKEN_MISMATCHED, "model",
                      "The specified token is not matched with API: it is for other models.");
    const struct config_model *model = config_model(config, name);
    if (!model)
        return unknown_model(c, name);
    c->arena = arena_new();
    enum fault_kind kind =
        c->route == ROUTE_COUNT
            ? api_count_read(c->tree, &model->api, &config->api, c->arena, &c->request, &f)
            : api_request_read(c->tree, &model->api, &config->api, c->arena, &c->request, &f);
    if (kind != FAULT_NONE) {
        call_refuse(c, &f);
        return OVER;
    }
    c->model = model;
    c->backend = c->app->local;
    c->step = CALL_RUN;
    return GO_ON;
}

static void prepare_choices(struct call *c)
{
    char hex[17];
    random_hex(hex, 16);
    snprintf(c->id, sizeof c->id, "chatcmpl-%s", hex);
    c->head = (struct api_head){.id = c->id,
                                .created = clock_unix_ms() / 1000,
                                .model = c->request.model,
                                .fingerprint = c->backend->fingerprint};
    c->n_choices = c->route == ROUTE_COUNT ? 0 : (size_t)c->request.choices;
    c->choices = mem_array(c->n_choices + 1, sizeof *c->choices);
    for (size_t i = 0; i < c->n_choices; i++) {
        buf_init(&c->choices[i].reasoning, (size_t)64 << 20);
        buf_init(&c->choices[i].content, (size_t)64 << 20);
        buf_init(&c->choices[i].logprobs, (size_t)64 << 20);
    }
}

/* One timer a running call serves the keep-alive comments and the time limit. It is not moved
 * with each write: when it fires, it looks how long the silence really was. */
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

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct call *c = arg;
    int64_t now = clock_mono_ms();
    (void)fd;
    (void)what;
    if (!c->running)
        return;
    if (c->deadline_ms && now >= c->deadline_ms) {
        refuse(c, FAULT_TIMEOUT, NULL, "The reply took longer than this server allows.");
        return;
    }
    if (c->request.stream && now - c->last_write_ms >= c->snapshot->config->keep_alive_ms)
        answer_keep_alive(c);
    arm_timer(c);
}

static enum verdict step_run(struct call *c)
{
    struct fault f;
    int timeout = c->snapshot->config->call_timeout_ms;
    prepare_choices(c);
    if (backend_start(c->backend, c->number, (uint64_t)c->key.id, &c->request, &c->model->api,
                      c->route == ROUTE_COUNT, &f)) {
        call_refuse(c, &f);
        return OVER;
    }
    c->running = true;
    c->app->n_running++;
    c->last_write_ms = clock_mono_ms();
    c->deadline_ms = timeout ? c->last_write_ms + timeout : 0;
    c->timer = evtimer_new(c->app->base, on_timer, c);
    arm_timer(c);
    /* What was needed of the tree is copied: a long prompt is not kept during its reply. The
     * model's name lives in the tree, so the configuration's own spelling takes its place. */
    c->head.model = c->request.model = c->model->api.id;
    json_free(c->tree);
    c->tree = NULL;
    return PARK;
}

static enum verdict step_reply(struct call *c)
{
    page_show(c);
    c->step = CALL_OVER;
    return OVER;
}

static enum verdict step_park(struct call *c)
{
    (void)c;
    return PARK;
}

static enum verdict (*const steps[])(struct call *) = {
    [CALL_ROUTE] = step_route, [CALL_AUTHENTICATE] = step_authenticate,
    [CALL_READ] = step_read,   [CALL_PARSE] = step_park,
    [CALL_ADMIT] = step_admit, [CALL_RUN] = step_run,
    [CALL_REPLY] = step_reply, [CALL_OVER] = step_park,
};

static void run(struct call *c)
{
    while (steps[c->step](c) == GO_ON)
        ;
}

/* --- what wakes a call: the http room --- */

static void on_head(void *arg, struct http_exchange *x)
{
    run(call_new(arg, x));
}

static void on_body(void *arg, struct http_exchange *x, const char *body, size_t len)
{
    struct call *c = http_user(x);
    (void)arg;
    if (c->step == CALL_PARSE && parse(c, body, len) == GO_ON)
        run(c);
}

static enum fault_kind kind_of(enum http_fault fault)
{
    switch (fault) {
    case HTTP_FAULT_BAD_HEAD:
    case HTTP_FAULT_BAD_BODY:
        return FAULT_BAD_REQUEST;
    case HTTP_FAULT_HEAD_LARGE:
        return FAULT_HEAD_LARGE;
    case HTTP_FAULT_VERSION:
        return FAULT_VERSION;
    case HTTP_FAULT_HEAD_TIMEOUT:
    case HTTP_FAULT_BODY_TIMEOUT:
        return FAULT_CLIENT_TIMEOUT;
    case HTTP_FAULT_BODY_LARGE:
        return FAULT_BODY_LARGE;
    }
    return FAULT_BAD_REQUEST;
}

static void on_fault(void *arg, struct http_exchange *x, enum http_fault fault, const char *what)
{
    struct call *c = http_user(x);
    struct fault f;
    if (!c)
        c = call_new(arg, x);
    if (fault == HTTP_FAULT_BODY_LARGE)
        fault_set(&f, FAULT_BODY_LARGE, NULL,
                  "Request exceeds the maximum size: a body may have %zu bytes.",
                  c->snapshot->config->http.body_bytes);
    else
        fault_set(&f, kind_of(fault), NULL, "%s", what);
    call_refuse(c, &f);
}

static void on_drain(void *arg, struct http_exchange *x)
{
    (void)arg;
    answer_flush(http_user(x));
}

static void on_end(void *arg, struct http_exchange *x, bool complete)
{
    struct call *c = http_user(x);
    (void)arg;
    c->step = CALL_OVER;
    call_end(c, complete);
}

const struct http_app call_http = {
    .on_head = on_head,
    .on_body = on_body,
    .on_fault = on_fault,
    .on_drain = on_drain,
    .on_end = on_end,
};

/* --- the gate and the backends --- */

void call_on_pass(void *arg, uint64_t number, const struct gate_pass *pass)
{
    struct call *c = find(arg, number);
    if (c && c->step == CALL_AUTHENTICATE && take_pass(c, pass) == GO_ON)
        run(c);
}

static struct call *find_running(void *arg, uint64_t number)
{
    struct call *c = find(arg, number);
    return c && c->running ? c : NULL;
}

static void on_start(void *arg, uint64_t number, const struct api_usage *usage)
{
    struct call *c = find_running(arg, number);
    if (!c)
        return;
    c->usage = *usage;
    if (is_chat(c))
        answer_start(c);
}

static void on_piece(void *arg, uint64_t number, const struct backend_piece *piece)
{
    struct call *c = find_running(arg, number);
    if (!c)
        return;
    if (!c->first_text) {
        c->first_text = true;
        metrics_first_token(c->app->metrics, clock_mono_us() - c->started_us);
    }
    answer_piece(c, piece);
}

static void on_finish(void *arg, uint64_t number, int choice, enum api_finish finish)
{
    struct call *c = find_running(arg, number);
    if (c)
        answer_finish(c, choice, finish);
}

static void answer_count(struct call *c)
{
    struct buf b;
    buf_init(&b, 256);
    api_count_write(&b, c->usage.prompt_tokens);
    answer_json(c, &b);
    buf_done(&b);
}

static void on_backend_end(void *arg, uint64_t number, const struct api_usage *usage,
                           const struct fault *fault)
{
    struct call *c = find_running(arg, number);
    settle(arg, usage);
    if (!c)
        return;
    if (is_chat(c))
        c->usage = *usage;
    stop_running(c);
    if (fault) {
        call_refuse(c, fault);
        return;
    }
    c->step = CALL_OVER;
    if (is_chat(c))
        answer_end(c);
    else
        answer_count(c);
}

const struct backend_events call_backend = {
    .on_start = on_start,
    .on_piece = on_piece,
    .on_finish = on_finish,
    .on_end = on_backend_end,
};
