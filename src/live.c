/*
 * What runs now, for the console: the place, the models that are served, the backends with their
 * health and load, and the calls under way, any of which an administrator may end. The event
 * loop's thread.
 */
#include "base/clock.h"
#include "call.h"
#include "console/endpoint.h"
#include "engine/engine.h"

#include <string.h>

enum { CALLS_MAX = 1000 };

static bool is_local(const struct config *c, const struct config_model *m)
{
    for (size_t i = 0; i < m->n_routes; i++) {
        const struct config_backend *b = config_backend(c, m->routes[i].backend);
        if (!b || b->kind != CONFIG_LOCAL)
            return false;
    }
    return true;
}

/* The built-in model is a demonstration, whatever name it answers under. */
static bool is_demonstration(const struct app *app, const struct config_model *m)
{
    const struct config *c = app->snapshot->config;
    return app->local && !*c->engine.gguf && is_local(c, m);
}

void live_write_status(void *arg, struct buf *b)
{
    const struct app *app = arg;
    const struct config *c = app->snapshot->config;
    bool all = c->n_models > 0;
    for (size_t i = 0; i < c->n_models; i++)
        all = all && is_demonstration(app, &c->models[i]);
    put_text(b, "version", MOONGATE_VERSION);
    put_bool(b, "demonstration", all);
    if (!app->local) {
        put_null(b, "model");
        return;
    }
    buf_adds(b, ",\"model\":{");
    put_text(b, "name", local_info(app->local)->name);
    put_int(b, "context_length", local_info(app->local)->context_tokens);
    buf_addc(b, '}');
}

/* --- models --- */

static void write_model(const struct app *app, const struct config_model *m, struct buf *b)
{
    static const char *const thinking[] = {[API_THINKING_NEVER] = "never",
                                           [API_THINKING_OFF] = "off",
                                           [API_THINKING_ON] = "on",
                                           [API_THINKING_ALWAYS] = "always"};
    int64_t context = page_context(app, m);
    buf_addc(b, '{');
    put_text(b, "id", m->api.id);
    put_int(b, "context_length", context);
    put_text(b, "thinking", thinking[m->api.thinking]);
    put_int(b, "max_tokens", m->api.max_tokens);
    put_usd(b, "price_input", m->price.input);
    put_usd(b, "price_cached", m->price.cached);
    put_usd(b, "price_output", m->price.output);
    put_bool(b, "demonstration", is_demonstration(app, m));
    buf_adds(b, ",\"backends\":[");
    for (size_t i = 0; i < m->n_routes; i++) {
        buf_adds(b, i ? "," : "");
        json_write_string(b, m->routes[i].backend, strlen(m->routes[i].backend));
    }
    buf_adds(b, "]}");
}

void live_write_models(void *arg, struct buf *b)
{
    const struct app *app = arg;
    const struct config *c = app->snapshot->config;
    for (size_t i = 0; i < c->n_models; i++) {
        buf_adds(b, i ? "," : "");
        write_model(app, &c->models[i], b);
    }
}

/* --- backends --- */

static void write_backend(void *arg, const struct router_row *row)
{
    static const char *const words[] = {[ROUTER_CLOSED] = "closed",
                                        [ROUTER_OPEN] = "open",
                                        [ROUTER_TRIAL] = "trial",
                                        [ROUTER_RESTING] = "resting"};
    struct buf *b = arg;
    if (row->retired)
        return;
    buf_adds(b, b->data[b->len - 1] == '[' ? "{" : ",{");
    put_text(b, "name", row->name);
    put_text(b, "kind", row->kind);
    put_text(b, "health", words[row->health]);
    put_int(b, "failures", row->failures);
    put_int(b, "open_for_ms", row->open_for_ms);
    put_int(b, "running", row->load.running);
    put_int(b, "waiting", row->load.waiting);
    put_int(b, "capacity", row->load.capacity);
    put_int(b, "runs", (int64_t)row->runs);
    put_int(b, "failed", (int64_t)row->failed);
    buf_addc(b, '}');
}

void live_write_backends(void *arg, struct buf *b)
{
    const struct app *app = arg;
    router_each(app->router, write_backend, b);
}

/* --- calls --- */

static const char *phase_of(const struct call *c)
{
    switch (c->step) {
    case CALL_AUTHENTICATE:
    case CALL_ROUTE:
    case CALL_READ:
    case CALL_PARSE:
    case CALL_ADMIT:
        return "reading";
    case CALL_PROMPT:
    case CALL_LIMIT:
    case CALL_HOLD:
        return "admitting";
    case CALL_RUN:
        return c->first_text_us >= 0 ? "replying" : *c->place.backend ? "thinking" : "waiting";
    case CALL_COUNT:
    case CALL_SETTLE:
        return "settling";
    case CALL_CONSOLE:
    case CALL_REPLY:
    case CALL_OVER:
        break;
    }
    return "ending";
}

static bool is_shown(const struct call *c)
{
    return c->x && c->authenticated && call_is_chat(c) && c->step != CALL_OVER;
}

static void write_call(const struct call *c, struct buf *b)
{
    int64_t age_ms = (clock_mono_us() - c->started_us) / 1000;
    buf_addc(b, '{');
    put_text(b, "trace_id", c->trace_id);
    put_text(b, "model", c->model ? c->model->api.id : "");
    put_text(b, "backend", c->place.backend);
    put_int(b, "key_id", c->key.id);
    put_text(b, "key_name", c->key.name);
    put_int(b, "account_id", c->key.account_id);
    put_text(b, "route", c->route_name);
    put_bool(b, "stream", c->request.stream);
    put_time(b, "started_at", clock_unix_ms() - age_ms);
    put_int(b, "age_ms", age_ms);
    put_text(b, "phase", phase_of(c));
    put_int(b, "prompt_tokens", c->usage.prompt_tokens);
    buf_addc(b, '}');
}

void live_write_calls(void *arg, struct buf *b)
{
    const struct app *app = arg;
    size_t n = 0;
    for (size_t i = 0; i < CALL_BUCKETS; i++) {
        for (const struct call *c = app->calls[i]; c && n < CALLS_MAX; c = c->next) {
            if (!is_shown(c))
                continue;
            buf_adds(b, n++ ? "," : "");
            write_call(c, b);
        }
    }
}

bool live_end_call(void *arg, const char *trace_id)
{
    struct app *app = arg;
    struct fault f;
    for (size_t i = 0; i < CALL_BUCKETS; i++) {
        for (struct call *c = app->calls[i]; c; c = c->next) {
            if (!is_shown(c) || strcmp(c->trace_id, trace_id) != 0)
                continue;
            fault_set(&f, FAULT_DENIED, NULL, "An administrator ended this call.");
            call_refuse(c, &f);
            return true;
        }
    }
    return false;
}
