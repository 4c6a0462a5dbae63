/*
 * `moongate serve`: opens the rooms in order, runs the loop, closes them in the other order.
 *
 * Signals: SIGHUP reads the configuration anew (calls under way keep the old one); SIGTERM and
 * SIGINT stop accepting and let running calls finish within drain_ms; a second one ends at once.
 */
#include "base/clock.h"
#include "base/log.h"
#include "call.h"
#include "command.h"
#include "config.h"
#include "embed.h"
#include "engine/engine.h"
#include "http/tls.h"
#include "serve_store.h"

#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { OVERRIDES_MAX = 64, N_SIGNALS = 3 };

struct server {
    struct app app;
    const char *config_file;
    struct config_override overrides[OVERRIDES_MAX];
    size_t n_overrides;
    struct event *signals[N_SIGNALS], *drain, *flush;
    int64_t loading_since_ms, told_ms;
};

static const char usage[] =
    "Usage: moongate serve [OPTION]...\n"
    "Answers the API until it is told to stop (Ctrl-C or SIGTERM: running replies finish first).\n"
    "\n"
    "  --config FILE        configuration (default: moongate.yaml here, if there is one)\n"
    "  --data DIR           where keys are kept (default: ./data)\n"
    "  --listen ADDR:PORT   default 127.0.0.1:8080; port 0 takes a free one\n"
    "  --gguf FILE          open weights instead of the built-in demonstration model\n"
    "  --set NAME=VALUE     any option of the configuration; may be given more than once\n"
    "  --help               this text; `moongate config show` prints all options\n";

/* --- the command line --- */

static int add_override(struct server *s, const char *name, const char *value)
{
    if (s->n_overrides == OVERRIDES_MAX) {
        command_error("more than %d options", OVERRIDES_MAX);
        return COMMAND_USAGE;
    }
    s->overrides[s->n_overrides++] = (struct config_override){.name = name, .value = value};
    return 0;
}

static int add_set(struct server *s, char *text)
{
    char *equals = strchr(text, '=');
    if (!equals) {
        command_error("--set wants NAME=VALUE, not %s", text);
        return COMMAND_USAGE;
    }
    *equals = '\0';
    return add_override(s, text, equals + 1);
}

/* 0 to go on, -1 after --help, or the exit status of a mistake. */
static int read_options(struct server *s, int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"data", required_argument, NULL, 'd'},
                                            {"listen", required_argument, NULL, 'l'},
                                            {"gguf", required_argument, NULL, 'g'},
                                            {"set", required_argument, NULL, 's'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int opt, rc = 0;
    while (!rc && (opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 'c':
            s->config_file = optarg;
            break;
        case 'd':
            rc = add_override(s, "data", optarg);
            break;
        case 'l':
            rc = add_override(s, "listen", optarg);
            break;
        case 'g':
            rc = add_override(s, "engine.gguf", optarg);
            break;
        case 's':
            rc = add_set(s, optarg);
            break;
        case 'h':
            fputs(usage, stdout);
            return -1;
        default:
            fputs("Try `moongate serve --help`.\n", stderr);
            return COMMAND_USAGE;
        }
    }
    if (!rc && optind < argc) {
        command_error("serve takes no argument %s", argv[optind]);
        rc = COMMAND_USAGE;
    }
    return rc;
}

/* --- opening --- */

/* Loading tells of itself once it has taken two seconds, then every second. */
static void tell_progress(void *arg, const char *what, int percent)
{
    struct server *s = arg;
    int64_t now = clock_mono_ms();
    if (now - s->loading_since_ms < 2000 || now - s->told_ms < 1000)
        return;
    s->told_ms = now;
    fprintf(stderr, "moongate: %s, %d %%\n", what, percent);
}

/* A core would hold keys and passwords. */
static void refuse_cores(void)
{
    prctl(PR_SET_DUMPABLE, 0);
}

static void raise_descriptor_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

static int read_snapshot(struct server *s, struct snapshot **out, struct error *e)
{
    struct config *c;
    int rc = config_read(s->config_file, s->overrides, s->n_overrides, &c, e);
    if (rc)
        return rc;
    struct net_list proxies;
    rc = net_list_parse(c->trusted_proxies, &proxies, e);
    if (rc) {
        config_free(c);
        return rc;
    }
    *out = mem_zalloc(sizeof **out);
    (*out)->proxies = proxies;
    (*out)->config = c;
    (*out)->tokenizers = mem_array(c->n_models + 1, sizeof *(*out)->tokenizers);
    (*out)->prompt_tokenizers = mem_array(c->n_models + 1, sizeof *(*out)->prompt_tokenizers);
    (*out)->users = 1;
    return 0;
}

/* Prompts must be counted before the call runs where tokens have a price or a limit. */
static bool counts_prompts(const struct config *c, const struct config_model *m)
{
    return m->price.input || m->price.cached || m->price.output ||
           c->rates.key.per_minute[LIMITS_TOKENS] || c->rates.account.per_minute[LIMITS_TOKENS] ||
           c->rates.model.per_minute[LIMITS_TOKENS] || c->rates.network.per_minute[LIMITS_TOKENS];
}

static bool has_local_route(const struct config *c, const struct config_model *m)
{
    for (size_t i = 0; i < m->n_routes; i++) {
        const struct config_backend *b = config_backend(c, m->routes[i].backend);
        if (b && b->kind == CONFIG_LOCAL)
            return true;
    }
    return false;
}

/* Opens what the models' tokens are counted with. */
static int open_tokenizers(struct server *s, struct snapshot *fresh, struct error *e)
{
    const struct config *c = fresh->config;
    int rc = 0;
    for (size_t i = 0; i < c->n_models && !rc; i++) {
        const struct config_model *m = &c->models[i];
        fresh->tokenizers[i] = -1;
        if (m->tokenizer && *m->tokenizer)
            rc = counting_tokenizer(s->app.counting, m->tokenizer, &fresh->tokenizers[i], e);
        fresh->prompt_tokenizers[i] = fresh->tokenizers[i];
        if (!rc && fresh->tokenizers[i] < 0 && counts_prompts(c, m) && has_local_route(c, m))
            rc = counting_tokenizer(s->app.counting, "engine", &fresh->prompt_tokenizers[i], e);
    }
    return rc;
}

static const struct config_backend *local_of(const struct config *c)
{
    for (size_t i = 0; i < c->n_backends; i++)
        if (c->backends[i].kind == CONFIG_LOCAL)
            return &c->backends[i];
    return NULL;
}

/* Gives the router its sources as the configuration has them. */
static int set_sources(struct server *s, const struct config *c, struct error *e)
{
    struct upstream_options *list = mem_array(c->n_backends + 1, sizeof *list);
    const struct config_backend *local = local_of(c);
    size_t n = 0;
    for (size_t i = 0; i < c->n_backends; i++)
        if (c->backends[i].kind == CONFIG_OPENAI)
            list[n++] = c->backends[i].upstream;
    int rc = router_set_sources(s->app.router, &c->routing, s->app.local, list, n, e);
    if (!rc && s->app.local && local)
        local_set_concurrency(s->app.local, local->upstream.concurrency);
    free(list);
    return rc;
}

static int open_engine(struct server *s, struct error *e)
{
    const struct config *c = s->app.snapshot->config;
    const struct config_backend *local = local_of(c);
    bool built_in = !c->engine.gguf || !*c->engine.gguf;
    struct engine_options o = {.gguf_path = built_in ? NULL : c->engine.gguf,
                               .gguf_bytes = embed_model,
                               .gguf_len = (size_t)(embed_model_end - embed_model),
                               .threads = c->engine.threads,
                               .sequences = c->engine.sequences,
                               .queue = c->engine.queue,
                               .chunk_tokens = c->engine.chunk_tokens,
                               .kv_tokens = c->engine.kv_tokens,
                               .kv_f32 = c->engine.kv_f32,
                               .kernels = c->engine.kernels,
                               .yarn_beta_file = c->engine.yarn_beta_file,
                               .progress = tell_progress,
                               .progress_arg = s};
    counting_engine(s->app.counting, o.gguf_path, o.gguf_bytes, o.gguf_len);
    if (!local)
        return 0;
    s->loading_since_ms = clock_mono_ms();
    return local_open(s->app.base, local->name, &o, &router_backend_events, s->app.router,
                      &s->app.local, e);
}

static int open_backends(struct server *s, struct error *e)
{
    struct app *app = &s->app;
    int rc = counting_open(app->base, call_on_count, app, &app->counting, e);
    if (!rc)
        rc = router_open(app->base, &app->snapshot->config->routing, &call_router, app,
                         &app->router, e);
    if (!rc)
        rc = open_engine(s, e);
    if (!rc)
        rc = open_tokenizers(s, app->snapshot, e);
    if (!rc)
        rc = set_sources(s, app->snapshot->config, e);
    return rc;
}

static struct event_base *open_loop(void)
{
    struct event_config *config = event_config_new();
    event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

/* The certificate, if there is one; NULL is plain HTTP. */
static int open_tls(const struct config *c, struct http_tls **out, struct error *e)
{
    *out = NULL;
    return *c->tls.cert ? http_tls_open(c->tls.cert, c->tls.key, out, e) : 0;
}

static int open_http(struct server *s, struct error *e)
{
    struct app *app = &s->app;
    const struct config *c = app->snapshot->config;
    struct http_tls *tls;
    int rc = open_tls(c, &tls, e);
    if (!rc)
        rc = http_open(app->base, c->listen, &c->http, &call_http, app, &app->http, e);
    if (!rc)
        http_set_tls(app->http, tls);
    http_tls_close(tls);
    return rc;
}

/* --- reload and drain --- */

/* The settings that rooms keep a copy of. */
static void use_settings(struct server *s)
{
    const struct config *c = s->app.snapshot->config;
    log_setup(c->log_level, c->log_json);
    serve_store_set(&s->app);
    if (s->app.http)
        http_set_limits(s->app.http, &c->http);
}

static void tell_warnings(const struct config *c)
{
    struct buf b;
    buf_init(&b, 65536);
    config_warnings(c, &b);
    for (const char *line = b.data; line && *line; line += strspn(line, "\n")) {
        size_t len = strcspn(line, "\n");
        log_line(LOG_WARN_LEVEL, "config", "%.*s", (int)len, line);
        line += len;
    }
    buf_done(&b);
}

static void tell_reloaded(const struct config *old, const struct config *fresh)
{
    struct buf restart;
    buf_init(&restart, 4096);
    config_needs_restart(old, fresh, &restart);
    if (restart.len)
        log_line(LOG_WARN_LEVEL, "reload", "these need a restart: %s", restart.data);
    buf_done(&restart);
    log_line(LOG_INFO_LEVEL, "reload", "the configuration is read anew");
}

/* What can fail comes before anything is changed. */
static void reload(struct server *s)
{
    struct snapshot *old = s->app.snapshot, *fresh = NULL;
    struct http_tls *tls = NULL;
    struct error e = {0};
    int rc = read_snapshot(s, &fresh, &e);
    if (!rc)
        rc = open_tls(fresh->config, &tls, &e);
    if (!rc)
        rc = open_tokenizers(s, fresh, &e);
    if (!rc)
        rc = set_sources(s, fresh->config, &e);
    if (rc) {
        log_line(LOG_ERROR_LEVEL, "reload", "kept the old configuration: %s", e.text);
        http_tls_close(tls);
        snapshot_drop(fresh);
        return;
    }
    http_set_tls(s->app.http, tls);
    http_tls_close(tls);
    s->app.snapshot = fresh;
    use_settings(s);
    tell_warnings(fresh->config);
    tell_reloaded(old->config, fresh->config);
    snapshot_drop(old);
}

static void on_idle(struct app *app)
{
    event_base_loopbreak(app->base);
}

static void on_drain_end(evutil_socket_t fd, short what, void *arg)
{
    struct server *s = arg;
    (void)fd;
    (void)what;
    log_line(LOG_WARN_LEVEL, "drain", "the time is over: %zu requests are cut", s->app.n_calls);
    event_base_loopbreak(s->app.base);
}

static void drain(struct server *s)
{
    int ms = s->app.snapshot->config->drain_ms;
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
    if (s->app.draining) {
        log_line(LOG_WARN_LEVEL, "drain", "asked again: %zu requests are cut", s->app.n_calls);
        event_base_loopbreak(s->app.base);
        return;
    }
    s->app.draining = true;
    log_line(LOG_INFO_LEVEL, "drain", "stopping: %zu requests are under way", s->app.n_calls);
    http_drain(s->app.http);
    if (!s->app.n_calls)
        event_base_loopbreak(s->app.base);
    else
        event_add(s->drain, &tv);
}

static void on_signal(evutil_socket_t signal, short what, void *arg)
{
    (void)what;
    if (signal == SIGHUP)
        reload(arg);
    else
        drain(arg);
}

/* When a watch goes, libevent puts back what was there before: a signal that comes while all is
 * being closed changes nothing then, and does not end the program half-way. */
static int open_signals(struct server *s, struct error *e)
{
    static const int list[N_SIGNALS] = {SIGTERM, SIGINT, SIGHUP};
    signal(SIGPIPE, SIG_IGN);
    s->drain = evtimer_new(s->app.base, on_drain_end, s);
    for (int i = 0; i < N_SIGNALS; i++) {
        signal(list[i], SIG_IGN);
        s->signals[i] = evsignal_new(s->app.base, list[i], on_signal, s);
        if (!s->signals[i] || event_add(s->signals[i], NULL))
            return error_set(e, ERR_IO, "cannot watch signals");
    }
    return 0;
}

/* --- the log --- */

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    log_flush();
}

/* Runs behind what is active in this turn, so that one write takes all its lines. */
static void wake_flush(void *arg)
{
    event_active(arg, EV_TIMEOUT, 0);
}

static void gather_log(struct server *s)
{
    s->flush = event_new(s->app.base, -1, 0, on_flush, NULL);
    if (s->flush)
        log_gather(wake_flush, s->flush);
}

/* --- all together --- */

static int open_all(struct server *s, struct error *e)
{
    struct app *app = &s->app;
    app->openapi = embed_openapi;
    app->openapi_len = (size_t)(embed_openapi_end - embed_openapi);
    app->on_idle = on_idle;
    app->metrics = metrics_new();
    raise_descriptor_limit();
    refuse_cores();
    int rc = pages_open(embed_pages, (size_t)(embed_pages_end - embed_pages), &app->pages, e);
    if (rc == 0)
        rc = read_snapshot(s, &app->snapshot, e);
    if (rc)
        return rc;
    app->base = open_loop();
    if (!app->base)
        return error_set(e, ERR_IO, "cannot make an event loop");
    call_setup(app);
    s->loading_since_ms = clock_mono_ms();
    rc = serve_store_open(app, tell_progress, s, e);
    if (!rc)
        use_settings(s);
    if (!rc)
        rc = open_backends(s, e);
    if (!rc)
        rc = open_signals(s, e);
    if (!rc)
        rc = open_http(s, e);
    return rc;
}

static void close_all(struct server *s)
{
    struct app *app = &s->app;
    http_close(app->http);
    router_close(app->router);
    call_cleanup(app);
    serve_store_close(app);
    counting_close(app->counting);
    for (int i = 0; i < N_SIGNALS; i++)
        if (s->signals[i])
            event_free(s->signals[i]);
    if (s->drain)
        event_free(s->drain);
    log_gather(NULL, NULL);
    if (s->flush)
        event_free(s->flush);
    snapshot_drop(app->snapshot);
    pages_close(app->pages);
    metrics_free(app->metrics);
    if (app->base)
        event_base_free(app->base);
}

static void tell_model(const struct engine_info *i)
{
    log_line(LOG_INFO_LEVEL, "model",
             "%s: %s, %.1f M parameters, %s, %d layers, context %d, kernels %s, %d threads, "
             "%d sequences",
             i->name, i->architecture, (double)i->parameters / 1e6, i->weights, i->layers,
             i->context_tokens, i->kernels, i->threads, i->sequences);
}

static void tell_start(const struct server *s)
{
    tell_warnings(s->app.snapshot->config);
    if (s->app.local)
        tell_model(local_info(s->app.local));
    fprintf(stderr, "moongate " MOONGATE_VERSION " listening on %s://%s\n",
            *s->app.snapshot->config->tls.cert ? "https" : "http", http_address(s->app.http));
}

int command_serve(int argc, char **argv)
{
    struct server *s = mem_zalloc(sizeof *s);
    struct error e = {0};
    s->app.lock_fd = -1;
    mem_keep_freed();
    int rc = read_options(s, argc, argv);
    if (rc) {
        free(s);
        return rc < 0 ? 0 : rc;
    }
    rc = open_all(s, &e);
    if (rc) {
        command_error("%s", e.text);
    } else {
        tell_start(s);
        gather_log(s);
        event_base_dispatch(s->app.base);
        log_line(LOG_INFO_LEVEL, "drain", "stopped");
    }
    close_all(s);
    free(s);
    return rc ? COMMAND_FAILED : COMMAND_GOOD;
}
