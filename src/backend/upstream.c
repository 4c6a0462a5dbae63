/*
 * The backend kind "openai": its options, the table of its runs, and what goes up. The replies
 * are read in upstream_run.c.
 */
#include "backend/upstream_run.h"
#include "api/outgoing.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    BUCKETS_FIRST = 64, /* a power of two */
    BODY_BYTES = 1 << 30,
    LINES_BYTES = 1 << 20, /* of header fields, which the client's own are a part of */
    BODY_USUAL_BYTES = 1024,
    LINES_USUAL_BYTES = 512
};

/* ---- the table ---- */

static size_t bucket_of(const struct upstream *u, uint64_t number)
{
    return (size_t)(number * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (u->n_buckets - 1);
}

static void link_run(struct upstream *u, struct run *x)
{
    struct run **bucket = &u->bucket[bucket_of(u, x->number)];
    x->next = *bucket;
    *bucket = x;
}

static void grow(struct upstream *u)
{
    struct run **old = u->bucket;
    size_t n = u->n_buckets;
    u->n_buckets = n ? n * 2 : BUCKETS_FIRST;
    u->bucket = mem_array(u->n_buckets, sizeof(struct run *));
    for (size_t i = 0; i < n; i++) {
        struct run *next;
        for (struct run *x = old[i]; x; x = next) {
            next = x->next;
            link_run(u, x);
        }
    }
    free(old);
}

static struct run *find_run(const struct upstream *u, uint64_t number)
{
    struct run *x = u->bucket[bucket_of(u, number)];
    while (x && x->number != number)
        x = x->next;
    return x;
}

void run_forget(struct run *x)
{
    struct upstream *u = x->upstream;
    struct run **at = &u->bucket[bucket_of(u, x->number)];
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    u->n_runs--;
    x->over = true;
}

/* ---- what goes up ---- */

/* Header fields of one request: one text, each ended by a NUL, and where each begins. */
struct lines {
    struct buf text;
    size_t n;
    const char **line;
};

/* A value that would end the field, or hide in it, is left out. */
static void add_line(struct lines *l, const char *name, const char *value)
{
    if (!value || !value[0])
        return;
    for (const char *c = value; *c; c++) {
        if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7f)
            return;
    }
    buf_adds(&l->text, name);
    buf_add(&l->text, ": ", 2);
    buf_add(&l->text, value, strlen(value) + 1);
    l->n++;
}

static void add_forwarded(struct lines *l, const struct upstream *u, const struct backend_run *run)
{
    for (size_t i = 0; run->client_header && i < u->options.n_forward; i++) {
        const char *name = u->options.forward[i];
        if (strcasecmp(name, "traceparent") != 0 && strcasecmp(name, "x-request-id") != 0)
            add_line(l, name, run->client_header(run->client, name));
    }
}

static void make_lines(struct lines *l, const struct upstream *u, const struct backend_run *run)
{
    *l = (struct lines){0};
    buf_init(&l->text, LINES_BYTES);
    buf_reserve(&l->text, LINES_USUAL_BYTES);
    add_line(l, "User-Agent", "moongate/" MOONGATE_VERSION);
    add_line(l, "Content-Type", "application/json");
    add_line(l, "Accept", run->request->stream ? "text/event-stream" : "application/json");
    add_line(l, "x-request-id", run->trace_id);
    add_line(l, "traceparent", run->traceparent);
    add_forwarded(l, u, run);
    if (l->text.failed)
        l->n = 0;
    l->line = mem_array(l->n, sizeof *l->line);
    const char *at = l->text.data;
    for (size_t i = 0; i < l->n; i++) {
        l->line[i] = at;
        at += strlen(at) + 1;
    }
}

static void free_lines(struct lines *l)
{
    buf_done(&l->text);
    free(l->line);
}

static int refuse(struct backend_end *end, enum fault_kind kind, enum backend_blame blame,
                  const char *text, int code)
{
    *end = (struct backend_end){.blame = blame};
    fault_set(&end->fault, kind, NULL, "%s", text);
    snprintf(end->detail, sizeof end->detail, "%.*s", (int)sizeof end->detail - 1, text);
    return code;
}

static int upstream_start(struct backend *b, const struct backend_run *run, struct backend_end *end)
{
    struct upstream *u = (struct upstream *)b;
    struct outgoing o = {.model = run->name,
                         .template_kwargs = u->options.template_kwargs,
                         .max_tokens = run->request->max_tokens};
    struct error e;
    struct buf body;
    size_t len = 0;
    if (run->count_only)
        return refuse(end, FAULT_NOT_IMPLEMENTED, BLAME_CALL, "The upstream does not count tokens.",
                      ERR_UNSUPPORTED);
    if (find_run(u, run->number))
        return refuse(end, FAULT_INTERNAL, BLAME_NONE, "The call is under way already.",
                      ERR_EXISTS);
    buf_init(&body, BODY_BYTES);
    buf_reserve(&body, BODY_USUAL_BYTES);
    outgoing_write(&body, run->tree, run->request, run->model, &o);
    if (body.failed)
        return refuse(end, FAULT_BODY_LARGE, BLAME_CALL, "Request exceeds the maximum size.",
                      ERR_LIMIT);
    struct lines lines;
    make_lines(&lines, u, run);
    struct run *x = run_new(u, run);
    char *text = buf_take(&body, &len);
    int rc = transfer_open(u->transfers, &u->options, u->chat_path, text, len, lines.line, lines.n,
                           x->stream, &run_events, x, &x->transfer, &e);
    free_lines(&lines);
    if (rc) {
        run_free(x);
        rc = refuse(end, FAULT_UPSTREAM, BLAME_SOURCE, "The upstream could not be reached.", rc);
        snprintf(end->detail, sizeof end->detail, "%.*s", (int)sizeof end->detail - 1, e.text);
        return rc;
    }
    if (u->n_runs == u->n_buckets)
        grow(u);
    u->n_runs++;
    link_run(u, x);
    return 0;
}

static void upstream_stop(struct backend *b, uint64_t number)
{
    struct run *x = find_run((struct upstream *)b, number);
    if (x)
        run_stop(x);
}

static void upstream_pause(struct backend *b, uint64_t number, bool paused)
{
    struct run *x = find_run((struct upstream *)b, number);
    if (x && x->transfer)
        transfer_pause(x->transfer, paused);
}

static void upstream_load(const struct backend *b, struct backend_load *out)
{
    const struct upstream *u = (const struct upstream *)b;
    *out = (struct backend_load){.running = (int)u->n_runs, .capacity = u->options.concurrency};
}

/* ---- the probe ---- */

/* The head says all that matters. */
static void tell_probe(struct upstream *u, bool good, const char *detail)
{
    u->probe = NULL;
    if (u->options.on_probe)
        u->options.on_probe(u->arg, u->options.name, good, detail);
}

static void on_probe_head(void *arg, int status, const char *content_type, int retry_after_ms)
{
    struct upstream *u = arg;
    char detail[32];
    (void)content_type;
    (void)retry_after_ms;
    snprintf(detail, sizeof detail, "status %d", status);
    transfer_let_go(u->probe);
    tell_probe(u, status >= 200 && status < 300, detail);
}

static int on_probe_body(void *arg, const char *bytes, size_t n)
{
    (void)arg;
    (void)bytes;
    (void)n;
    return 0;
}

static void on_probe_end(void *arg, enum transfer_end end, const char *detail)
{
    (void)end;
    tell_probe(arg, false, detail);
}

static void upstream_probe(struct backend *b)
{
    static const struct transfer_events events = {on_probe_head, on_probe_body, on_probe_end};
    static const char *const lines[] = {"User-Agent: moongate/" MOONGATE_VERSION,
                                        "Accept: application/json"};
    struct upstream *u = (struct upstream *)b;
    struct error e;
    if (!u->probe)
        transfer_open(u->transfers, &u->options, u->models_path, NULL, 0, lines, 2, true, &events,
                      u, &u->probe, &e);
}

/* ---- its life ---- */

static void free_options(struct upstream_options *o)
{
    for (size_t i = 0; i < o->n_headers; i++) {
        char *value = (char *)o->headers[i].value;
        explicit_bzero(value, strlen(value));
        free((char *)o->headers[i].name);
        free(value);
    }
    for (size_t i = 0; i < o->n_forward; i++)
        free(o->forward[i]);
    explicit_bzero(o->key, strlen(o->key));
    free(o->headers);
    free(o->forward);
    free(o->name);
    free(o->url);
    free(o->prefix);
    free(o->key);
    free(o->ca_file);
    free(o->proxy);
}

static void copy_options(struct upstream_options *to, const struct upstream_options *o)
{
    *to = *o;
    to->name = mem_strdup(o->name);
    to->url = mem_strdup(o->url);
    to->prefix = mem_strdup(o->prefix ? o->prefix : "");
    to->key = mem_strdup(o->key ? o->key : "");
    to->ca_file = mem_strdup(o->ca_file ? o->ca_file : "");
    to->proxy = mem_strdup(o->proxy ? o->proxy : "");
    to->headers = mem_array(o->n_headers, sizeof *to->headers);
    for (size_t i = 0; i < o->n_headers; i++) {
        to->headers[i].name = mem_strdup(o->headers[i].name);
        to->headers[i].value = mem_strdup(o->headers[i].value);
    }
    to->forward = mem_array(o->n_forward, sizeof *to->forward);
    for (size_t i = 0; i < o->n_forward; i++)
        to->forward[i] = mem_strdup(o->forward[i]);
}

/* A run whose function is further up the stack is freed by that. */
static void upstream_close(struct backend *b)
{
    struct upstream *u = (struct upstream *)b;
    for (size_t i = 0; i < u->n_buckets; i++) {
        while (u->bucket[i])
            run_stop(u->bucket[i]);
    }
    transfer_close(u->probe);
    free(u->bucket);
    free(u->chat_path);
    free(u->models_path);
    free_options(&u->options);
    free(u);
}

static const struct backend_kind upstream_kind = {
    .name = "openai",
    .start = upstream_start,
    .stop = upstream_stop,
    .pause = upstream_pause,
    .probe = upstream_probe,
    .load = upstream_load,
    .close = upstream_close,
};

static char *path_of(const char *prefix, const char *rest)
{
    size_t size = strlen(prefix) + strlen(rest) + 1;
    char *path = mem_alloc(size);
    snprintf(path, size, "%s%s", prefix, rest);
    return path;
}

int upstream_open(struct transfers *t, const struct upstream_options *o,
                  const struct backend_events *events, void *arg, struct backend **out,
                  struct error *e)
{
    *out = NULL;
    if (!o->name || !o->url || !o->url[0])
        return error_set(e, ERR_INVALID, "%s: an upstream needs a url", o->name ? o->name : "?");
    struct upstream *u = mem_zalloc(sizeof *u);
    copy_options(&u->options, o);
    u->backend = (struct backend){
        .kind = &upstream_kind, .name = u->options.name, .fingerprint = u->options.name};
    u->transfers = t;
    u->to = *events;
    u->arg = arg;
    u->chat_path = path_of(u->options.prefix, "/chat/completions");
    u->models_path = path_of(u->options.prefix, "/models");
    grow(u);
    *out = &u->backend;
    return 0;
}
