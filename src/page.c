/*
 * The route table, and the routes that need no backend: lists, health, metrics, the API's
 * description.
 */
#include "base/log.h"
#include "base/mem.h"
#include "call.h"
#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct http_route call_routes[] = {
    {"POST", "/v1/chat/completions", ROUTE_CHAT},
    {"POST", "/openai/chat/completions", ROUTE_CHAT},
    {"POST", "/kimi/chat/completions", ROUTE_CHAT_KIMI},
    {"POST", "/v1/tokenizers/estimate-token-count", ROUTE_COUNT},
    {"GET", "/v1/models", ROUTE_MODELS},
    {"GET", "/kimi/models", ROUTE_MODELS_KIMI},
    {"GET", "/v1/users/me/balance", ROUTE_BALANCE},
    {"GET", "/healthz", ROUTE_HEALTH},
    {"GET", "/readyz", ROUTE_READY},
    {"GET", "/metrics", ROUTE_METRICS},
    {"GET", "/openapi.json", ROUTE_OPENAPI},
    {"GET", "/docs", ROUTE_DOCS},
    {"GET", "/", ROUTE_ROOT},
};
const size_t call_n_routes = sizeof call_routes / sizeof *call_routes;

const char *route_name(int id)
{
    switch ((enum route_id)id) {
    case ROUTE_CHAT:
        return "chat";
    case ROUTE_CHAT_KIMI:
        return "kimi_chat";
    case ROUTE_COUNT:
        return "count_tokens";
    case ROUTE_MODELS:
    case ROUTE_MODELS_KIMI:
        return "models";
    case ROUTE_BALANCE:
        return "balance";
    case ROUTE_HEALTH:
        return "healthz";
    case ROUTE_READY:
        return "readyz";
    case ROUTE_METRICS:
        return "metrics";
    case ROUTE_OPENAPI:
        return "openapi";
    case ROUTE_DOCS:
        return "docs";
    case ROUTE_ROOT:
        return "root";
    }
    return "none";
}

static const char docs_page[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<meta name=\"viewport\" content=\"width=device-width\"><title>moongate: the API</title>"
    "</head><body><h1>moongate: the API</h1>\n"
    "<p>The whole description, for tools and people: <a href=\"/openapi.json\">/openapi.json"
    "</a> (OpenAPI 3.1).</p>\n"
    "<p>A first call, with a key from <code>moongate key create</code>:</p>\n"
    "<pre>curl -N http://ADDRESS/kimi/chat/completions \\\n"
    "  -H 'Authorization: Bearer YOUR_KEY' -H 'Content-Type: application/json' \\\n"
    "  -d '{\"model\":\"kimi-k2.5\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}],"
    "\"stream\":true}'</pre>\n</body></html>\n";

/* The most tokens that a call can really use; 0 if only an upstream knows. */
static int64_t context_of(const struct app *app, const struct config *config,
                          const struct config_model *m)
{
    for (size_t i = 0; i < m->n_routes; i++) {
        const struct config_backend *b = config_backend(config, m->routes[i].backend);
        if (!b || b->kind != CONFIG_LOCAL || !app->local)
            return 0;
    }
    return app->local ? app->local->context_tokens : 0;
}

static void show_models(struct call *c)
{
    const struct config *config = c->snapshot->config;
    struct buf b;
    bool first = true;
    buf_init(&b, 1 << 20);
    api_models_open(&b);
    for (size_t i = 0; i < config->n_models; i++) {
        struct api_model row = config->models[i].api;
        int64_t most = context_of(c->app, config, &config->models[i]);
        if (!gate_allows_model(&c->key, row.id))
            continue;
        if (most && row.context_tokens > most)
            row.context_tokens = most; /* what a call can really use */
        api_models_row(&b, &row, first);
        first = false;
    }
    api_models_close(&b);
    answer_json(c, &b);
    buf_done(&b);
}

static void show_ready(struct call *c)
{
    static const char ready[] = "{\"status\":\"ready\"}";
    if (c->app->draining)
        call_refuse_draining(c);
    else
        answer_body(c, 200, "application/json; charset=utf-8", ready, sizeof ready - 1);
}

enum { SOURCES_MAX = 512 };

struct source_list {
    struct metrics_source rows[SOURCES_MAX];
    size_t n;
};

static void add_source(void *arg, const struct router_row *row)
{
    static const char *const words[] = {[ROUTER_CLOSED] = "closed",
                                        [ROUTER_OPEN] = "open",
                                        [ROUTER_TRIAL] = "trial",
                                        [ROUTER_RESTING] = "resting"};
    struct source_list *list = arg;
    if (list->n < SOURCES_MAX && !row->retired)
        list->rows[list->n++] = (struct metrics_source){.name = row->name,
                                                        .kind = row->kind,
                                                        .health = words[row->health],
                                                        .running = row->load.running,
                                                        .waiting = row->load.waiting,
                                                        .capacity = row->load.capacity};
}

static void show_metrics(struct call *c)
{
    struct app *app = c->app;
    struct source_list *list = mem_zalloc(sizeof *list);
    struct backend_load load = {0};
    struct buf b;
    router_each(app->router, add_source, list);
    if (app->local)
        app->local->kind->load(app->local, &load);
    struct metrics_now now = {.connections = http_connections(app->http),
                              .calls_running = app->n_running,
                              .calls_waiting = router_waiting(app->router),
                              .engine_running = load.running,
                              .engine_waiting = load.waiting,
                              .engine_capacity = app->local ? local_info(app->local)->sequences : 0,
                              .sources = list->rows,
                              .n_sources = list->n};
    buf_init(&b, 4 << 20);
    metrics_write(app->metrics, &now, &b);
    answer_body(c, 200, "text/plain; version=0.0.4; charset=utf-8", b.data, b.len);
    buf_done(&b);
    free(list);
}

static void show_text(struct call *c, const char *type, const char *text)
{
    answer_body(c, 200, type, text, strlen(text));
}

static void show_balance(struct call *c)
{
    struct fault f;
    fault_set(&f, FAULT_NOT_IMPLEMENTED, NULL,
              "Balances come with the ledger, which this version has not: nothing is charged.");
    call_refuse(c, &f);
}

void page_show(struct call *c)
{
    switch ((enum route_id)c->route) {
    case ROUTE_MODELS:
    case ROUTE_MODELS_KIMI:
        show_models(c);
        break;
    case ROUTE_BALANCE:
        show_balance(c);
        break;
    case ROUTE_HEALTH:
        show_text(c, "application/json; charset=utf-8", "{\"status\":\"ok\"}");
        break;
    case ROUTE_READY:
        show_ready(c);
        break;
    case ROUTE_METRICS:
        show_metrics(c);
        break;
    case ROUTE_OPENAPI:
        answer_body(c, 200, "application/json; charset=utf-8", c->app->openapi,
                    c->app->openapi_len);
        break;
    case ROUTE_DOCS:
        show_text(c, "text/html; charset=utf-8", docs_page);
        break;
    case ROUTE_ROOT:
        show_text(c, "text/plain; charset=utf-8",
                  "moongate " MOONGATE_VERSION
                  ": POST /v1/chat/completions, GET /docs. This version has no console yet.\n");
        break;
    case ROUTE_CHAT:
    case ROUTE_CHAT_KIMI:
    case ROUTE_COUNT:
        break; /* these have a backend */
    }
}
