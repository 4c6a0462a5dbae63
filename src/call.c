/*
 * The table of calls, their steps, and their end.
 *
 * A step does its part and says what comes: go on, park (a callback will wake the call), or over.
 * Checks run from cheap to expensive, and a refused call costs nothing: route, method, key,
 * expiry, size, JSON, model and scope, parameters. A call begins in on_head; the exchange of the
 * http room ends in on_end, which comes exactly once however the reply ended; call_end is the one
 * function that ends a call, when nothing keeps it any longer. All callbacks name a call by
 * number, so one that comes too late finds nothing.
 */
#include "call.h"
#include "base/clock.h"
#include "base/log.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum verdict { GO_ON, PARK, OVER };

/* --- the table of calls --- */

static struct call **bucket(struct app *app, uint64_t number)
{
    return &app->calls[number % CALL_BUCKETS];
}

struct call *call_find(struct app *app, uint64_t number)
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
    free(s->tokenizers);
    free(s->prompt_tokenizers);
    free(s);
}

/* Who calls: behind proxies that are trusted, whom they name. */
static void note_client(struct call *c)
{
    struct forwarded f;
    http_forwarded(c->x, &c->snapshot->proxies, &f);
    memcpy(c->peer, f.address, sizeof c->peer);
    c->secure = f.https;
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
    c->first_text_us = -1;
    c->books.charged_micros = -1;
    note_client(c);
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
    for (size_t i = 0; c->choices && i < c->n_choices; i++) {
        buf_done(&c->choices[i].reasoning);
        buf_done(&c->choices[i].content);
        buf_done(&c->choices[i].logprobs);
    }
    free(c->choices);
}

static void call_free(struct call *c)
{
    free_choices(c);
    buf_done(&c->whole);
    buf_done(&c->meter.text);
    json_free(c->tree);
    arena_free(c->arena);
    snapshot_drop(c->snapshot);
    if (c->timer)
        event_free(c->timer);
    free(c);
}

/* --- the end --- */

static void call_end(struct call *c)
{
    struct timeval now = {0};
    allow_done(c);
    settle_rest(c);
    record_call(c);
    if (c->timer)
        event_del(c->timer);
    unlink_call(c);
    c->app->n_calls--;
    c->next = c->app->ended;
    c->app->ended = c;
    if (c->app->bury)
        evtimer_add(c->app->bury, &now);
}

void call_release(struct call *c)
{
    if (!c->x && !c->running && !c->owes_end && !c->meter.waiting && !c->books.waiting)
        call_end(c);
}

void call_refuse(struct call *c, const struct fault *f)
{
    if (c->step == CALL_OVER)
        return;
    call_stop(c);
    c->step = CALL_OVER;
    c->fault = f->kind;
    if (f->kind == FAULT_INTERNAL)
        log_line(LOG_ERROR_LEVEL, "fault", "trace_id=%s %s", c->trace_id, f->message);
    answer_fault(c, f);
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
    buf_init(&app->scratch, (size_t)160 << 20);
}

void call_cleanup(struct app *app)
{
    for (size_t i = 0; i < CALL_BUCKETS; i++)
        while (app->calls[i])
            call_end(app->calls[i]);
    bury(app);
    buf_done(&app->scratch);
    if (app->bury)
        event_free(app->bury);
    app->bury = NULL;
}

void call_refuse_away(struct call *c, const char *message)
{
    struct fault f;
    fault_set(&f, FAULT_UNAVAILABLE, NULL, "%s", message);
    f.retry_after_s = 1;
    call_refuse(c, &f);
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

bool call_is_chat(const struct call *c)
{
    return c->route == ROUTE_CHAT || c->route == ROUTE_CHAT_KIMI;
}

/* A console's request is answered there. */
static enum verdict to_console(struct call *c)
{
    const struct console_client client = {.peer = c->peer, .secure = c->secure};
    c->route = ROUTE_CONSOLE;
    c->route_name = console_name(c->app->console, http_method(c->x), http_path(c->x));
    if (c->app->draining) {
        call_refuse_draining(c);
        return OVER;
    }
    c->step = CALL_CONSOLE;
    if (strcmp(http_method(c->x), "OPTIONS") == 0) {
        c->step = CALL_OVER;
        answer_body(c, 204, NULL, "", 0);
        return OVER;
    }
    console_begin(c->app->console, c->number, c->x, c->trace_id, &client);
    return PARK;
}

static enum verdict wrong_method(struct call *c, const char *allow)
{
    struct fault f;
    fault_set(&f, FAULT_METHOD, NULL, "%s is not allowed here; use %s.", http_method(c->x), allow);
    call_refuse(c, &f);
    return OVER;
}

/* One of the console's pages is asked for; they go before the answers of a program without. */
static bool is_page(const struct call *c)
{
    const char *method = http_method(c->x);
    return (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) &&
           pages_has(c->app->pages, http_path(c->x));
}

static enum verdict step_route(struct call *c)
{
    char allow[64];
    if (console_has(c->app->console, http_path(c->x)))
        return to_console(c);
    if (is_page(c)) {
        c->route = ROUTE_PAGE;
        c->route_name = route_name(c->route);
        c->step = CALL_REPLY;
        return GO_ON;
    }
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
    case GATE_PLATFORM:
        return refuse(c, FAULT_TOKEN_MISMATCHED, NULL,
                      "The specified token is not matched with API: a platform token calls no "
                      "model.");
    case GATE_NETWORK:
        return refuse(c, FAULT_TOKEN_MISMATCHED, NULL,
                      "The specified token is not matched with API: it is not for your network.");
    case GATE_UNAVAILABLE:
        call_refuse_away(c, "Keys cannot be checked at the moment, please try again later.");
        return OVER;
    }
    c->key = pass->key;
    c->authenticated = true;
    if (call_is_chat(c) && !allow_look(c))
        return OVER;
    c->step = call_is_chat(c) || c->route == ROUTE_COUNT ? CALL_READ : CALL_REPLY;
    return GO_ON;
}

static enum verdict step_authenticate(struct call *c)
{
    struct gate_pass pass;
    if (gate_check(c->app->gate, c->number, http_header_get(c->x, "authorization"), c->peer, &pass))
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
    c->body_bytes = len;
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

/* May anything but the engine of this process answer for this model? */
static bool has_upstream(const struct config *config, const struct config_model *model)
{
    for (size_t i = 0; i < model->n_routes; i++) {
        const struct config_backend *b = config_backend(config, model->routes[i].backend);
        if (b && b->kind != CONFIG_LOCAL)
            return true;
    }
    return false;
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
    if (c->request.upstream_only.kind != FAULT_NONE && !has_upstream(config, model)) {
        call_refuse(c, &c->request.upstream_only);
        return OVER;
    }
    c->model = model;
    meter_open(c);
    c->step = call_is_chat(c) ? CALL_PROMPT : CALL_RUN;
    return GO_ON;
}

static enum verdict step_prompt(struct call *c)
{
    if (!allow_count(c))
        return PARK;
    c->step = CALL_LIMIT;
    return GO_ON;
}

static enum verdict step_limit(struct call *c)
{
    if (!allow_limit(c))
        return PARK;
    c->step = CALL_HOLD;
    return GO_ON;
}

static enum verdict step_hold(struct call *c)
{
    if (!allow_hold(c))
        return PARK;
    c->step = CALL_RUN;
    return GO_ON;
}

static enum verdict step_run(struct call *c)
{
    call_run(c);
    return PARK;
}

static enum verdict step_reply(struct call *c)
{
    if (!page_show(c))
        return PARK;
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
    [CALL_ADMIT] = step_admit, [CALL_PROMPT] = step_prompt,
    [CALL_LIMIT] = step_limit, [CALL_HOLD] = step_hold,
    [CALL_RUN] = step_run,     [CALL_COUNT] = step_park,
    [CALL_SETTLE] = step_park, [CALL_CONSOLE] = step_park,
    [CALL_REPLY] = step_reply, [CALL_OVER] = step_park,
};

void call_go_on(struct call *c)
{
    while (steps[c->step](c) == GO_ON)
        ;
}

/* --- what wakes a call: the http room --- */

static void on_head(void *arg, struct http_exchange *x)
{
    call_go_on(call_new(arg, x));
}

static void on_body(void *arg, struct http_exchange *x, const char *body, size_t len)
{
    struct call *c = http_user(x);
    struct app *app = arg;
    if (c->step == CALL_CONSOLE)
        console_body(app->console, c->number, body, len);
    else if (c->step == CALL_PARSE && parse(c, body, len) == GO_ON)
        call_go_on(c);
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

static void on_end(void *arg, struct http_exchange *x, enum http_outcome outcome)
{
    struct call *c = http_user(x);
    struct app *app = arg;
    console_end(app->console, c->number); /* harmless for a call that is not the console's */
    if (c->step == CALL_LIMIT && c->books.waiting) {
        rates_cancel(app->rates, &c->books.limits);
        c->books.waiting--;
    }
    c->step = CALL_OVER;
    c->x = NULL;
    c->outcome = outcome;
    c->ended_us = clock_mono_us();
    call_stop(c);
    call_release(c);
}

const struct http_app call_http = {
    .on_head = on_head,
    .on_body = on_body,
    .on_fault = on_fault,
    .on_drain = on_drain,
    .on_end = on_end,
};

/* --- what wakes a call: the console --- */

static void on_console_read(void *arg, uint64_t number)
{
    struct call *c = call_find(arg, number);
    if (c && c->step == CALL_CONSOLE)
        http_read_body(c->x);
}

static void on_console_answer(void *arg, uint64_t number, const struct console_answer *a)
{
    struct call *c = call_find(arg, number);
    if (!c || c->step != CALL_CONSOLE)
        return;
    c->account_id = console_account(c->app->console, number);
    c->step = CALL_OVER;
    answer_console(c, a);
}

static void on_console_trouble(void *arg, const struct error *e)
{
    (void)arg;
    log_line(LOG_WARN_LEVEL, "console", "%s", e->text);
}

/* From here on it is a call like any other. */
static void on_console_call(void *arg, uint64_t number, const struct store_key *key)
{
    struct call *c = call_find(arg, number);
    if (!c || c->step != CALL_CONSOLE)
        return;
    struct gate_pass pass = {.verdict = gate_judge(key, c->peer), .key = *key};
    c->account_id = console_account(c->app->console, number);
    c->route = ROUTE_CHAT_KIMI;
    c->route_name = "playground";
    c->step = CALL_AUTHENTICATE;
    if (take_pass(c, &pass) == GO_ON)
        call_go_on(c);
}

const struct console_events call_console = {
    .on_read = on_console_read,
    .on_call = on_console_call,
    .on_answer = on_console_answer,
    .on_trouble = on_console_trouble,
};

/* --- what wakes a call: the gate --- */

void call_on_pass(void *arg, uint64_t number, const struct gate_pass *pass)
{
    struct call *c = call_find(arg, number);
    if (c && c->step == CALL_AUTHENTICATE && take_pass(c, pass) == GO_ON)
        call_go_on(c);
}
