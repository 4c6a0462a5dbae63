/*
 * The route table, and the routes that need no backend: lists, health, metrics, the API's
 * description.
 */
#include "base/log.h"
#include "base/mem.h"
#include "call.h"
#include "engine/engine.h"
#include "store/applications.h"

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
    case ROUTE_CONSOLE:
        return "console";
    case ROUTE_PAGE:
        return "page";
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

int64_t page_context(const struct app *app, const struct config_model *m)
{
    int64_t most = context_of(app, app->snapshot->config, m);
    return most && m->api.context_tokens > most ? most : m->api.context_tokens;
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

void page_write_models(void *arg, struct buf *b)
{
    const struct app *app = arg;
    const struct config *config = app->snapshot->config;
    for (size_t i = 0; i < config->n_models; i++) {
        const struct config_model *m = &config->models[i];
        struct api_model row = m->api;
        int64_t most = context_of(app, config, m);
        if (most && row.context_tokens > most)
            row.context_tokens = most;
        buf_adds(b, i ? ",{\"id\":" : "{\"id\":");
        json_write_string(b, row.id, strlen(row.id));
        buf_addf(b,
                 ",\"context_length\":%lld,\"price_input\":%.6f,\"price_cached\":%.6f,"
                 "\"price_output\":%.6f}",
                 (long long)row.context_tokens, (double)m->price.input / 1e6,
                 (double)m->price.cached / 1e6, (double)m->price.output / 1e6);
    }
}

static void show_ready(struct call *c)
{
    static const char ready[] = "{\"status\":\"ready\"}";
    if (c->app->draining)
        call_refuse_draining(c);
    else /* also while the store is away: our 503 says more than a balancer's, to every replica */
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
    struct rates_state limits;
    rates_state(app->rates, &limits);
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
                              .n_sources = list->n,
                              .store_up = store_is_up(app->store),
                              .store_kept = store_kept(app->store),
                              .limits_shared = limits.shared,
                              .limits_reached = limits.reached,
                              .limits_away = limits.away,
                              .limits_unsettled = limits.unsettled};
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

/* --- the balance --- */

struct balance_job {
    struct store_job job;
    int64_t application_id, key_id;
    struct store_application application;
    struct store_key key; /* as it is now: the gate's may be older than the last call */
};

static int read_balance(struct store *s, struct store_job *job, struct error *e)
{
    struct balance_job *j = (struct balance_job *)job;
    int rc = store_application_get(s, 0, j->application_id, &j->application, e);
    return rc ? rc : store_key_get(s, 0, j->key_id, &j->key, e);
}

/* What this key may still spend: of its application, and no more than its own cap leaves. */
static int64_t available_micros(const struct store_key *key, const struct store_application *a)
{
    int64_t cap = key->cap_micros - key->used_micros - key->held_micros;
    if (key->cap_micros < 0 || cap > a->balance_micros)
        return a->balance_micros;
    return cap > 0 ? cap : 0;
}

/* Moonshot's shape. All that there is was granted: a voucher, as they call it. */
static void write_balance(struct call *c, const struct balance_job *j)
{
    int64_t micros = available_micros(&j->key, &j->application);
    struct buf b;
    buf_init(&b, 1024);
    buf_addf(
        &b,
        "{\"code\":0,\"data\":{\"available_balance\":%lld.%06lld,\"voucher_balance\":%lld.%06lld,"
        "\"cash_balance\":0},\"scode\":\"0x0\",\"status\":true}",
        (long long)(micros / 1000000), (long long)(micros % 1000000), (long long)(micros / 1000000),
        (long long)(micros % 1000000));
    answer_json(c, &b);
    buf_done(&b);
}

static void on_balance(void *owner, struct store_job *job)
{
    struct call *c = call_find(owner, job->number);
    if (c) {
        c->books.waiting--;
        if (c->step == CALL_REPLY && job->code)
            call_refuse_away(c, "Balances cannot be read at the moment, please try again later.");
        else if (c->step == CALL_REPLY) {
            c->step = CALL_OVER;
            write_balance(c, (const struct balance_job *)job);
        }
        call_release(c);
    }
    free(job);
}

/* The one page that the store is asked for. */
static void show_balance(struct call *c)
{
    struct balance_job *j = mem_zalloc(sizeof *j);
    j->job = (struct store_job){
        .work = read_balance, .done = on_balance, .owner = c->app, .number = c->number};
    j->application_id = c->key.application_id;
    j->key_id = c->key.id;
    if (store_ask_read(c->app->store, &j->job)) {
        free(j);
        call_refuse_away(c, "Balances cannot be read at the moment, please try again later.");
        return;
    }
    c->books.waiting++;
}

/* step_route has seen that there is such a page. */
static void show_page(struct call *c)
{
    const struct pages_request r = {.path = http_path(c->x),
                                    .accept_encoding = http_header_get(c->x, "accept-encoding"),
                                    .if_none_match = http_header_get(c->x, "if-none-match")};
    struct pages_answer a;
    if (pages_find(c->app->pages, &r, &a))
        answer_page(c, &a);
}

/* True: the answer is given; else it comes when the store has answered. */
bool page_show(struct call *c)
{
    switch ((enum route_id)c->route) {
    case ROUTE_MODELS:
    case ROUTE_MODELS_KIMI:
        show_models(c);
        break;
    case ROUTE_BALANCE:
        show_balance(c);
        return false;
    case ROUTE_PAGE:
        show_page(c);
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
                  " was built without its console: install nodejs and npm, then `make build`. "
                  "The API serves: POST /v1/chat/completions, GET /docs.\n");
        break;
    case ROUTE_CHAT:
    case ROUTE_CHAT_KIMI:
    case ROUTE_COUNT:
    case ROUTE_CONSOLE:
        break; /* these are not answered here */
    }
    return true;
}
