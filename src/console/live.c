/*
 * What is there and what runs now, as `call` tells it: the place, the models, for administrators
 * the backends and the calls under way; and the playground's calls, which run by a stored key
 * that the page never sees.
 */
#include "console/console_private.h"

#include "base/mem.h"
#include "console/objects.h"

#include <stdlib.h>
#include <string.h>

enum { ANSWER_BYTES = 8 << 20 };

/* --- the place --- */

static void show_status(struct request *r)
{
    const struct console_options *o = &r->console->options;
    struct buf b;
    buf_init(&b, ANSWER_BYTES);
    buf_addc(&b, '{');
    o->write_status(o->arg, &b);
    put_int(&b, "free_micros", o->free_micros);
    buf_addc(&b, '}');
    request_json(r, 200, &b);
    buf_done(&b);
}

static void show_items(struct request *r, void (*write)(void *arg, struct buf *b))
{
    struct buf b;
    buf_init(&b, ANSWER_BYTES);
    buf_adds(&b, "{\"items\":[");
    write(r->console->options.arg, &b);
    buf_adds(&b, "]}");
    request_json(r, 200, &b);
    buf_done(&b);
}

static void show_models(struct request *r)
{
    show_items(r, r->console->options.write_served);
}

static void show_backends(struct request *r)
{
    show_items(r, r->console->options.write_backends);
}

static void show_calls(struct request *r)
{
    show_items(r, r->console->options.write_calls);
}

static void end_call(struct request *r)
{
    const struct console_options *o = &r->console->options;
    char trace_id[STORE_TRACE_BYTES + 1];
    if (route_param(r->endpoint->path, http_path(r->x), 0, trace_id, sizeof trace_id) &&
        o->end_call(o->arg, trace_id))
        request_empty(r, 204);
    else
        request_fault(r, FAULT_NOT_FOUND, NULL, "No such call is running.");
}

/* --- the playground --- */

struct key_job {
    struct store_job job;
    int64_t account_id, key_id;
    struct store_key key;
};

static int find_key(struct store *s, struct store_job *job, struct error *e)
{
    struct key_job *j = (struct key_job *)job;
    return store_key_get(s, j->account_id, j->key_id, &j->key, e);
}

static void on_key(struct request *r, struct store_job *job)
{
    const struct console_events *events = &r->console->events;
    if (!request_failed(r, job))
        events->on_call(r->console->arg, r->number, &((const struct key_job *)job)->key);
}

/* X-Moongate-Key names one of the session's own keys; the call goes on as if it had been sent. */
static void start_call(struct request *r)
{
    const char *name = http_header_get(r->x, "x-moongate-key");
    int64_t id = name && strspn(name, "0123456789") == strlen(name) && strlen(name) < 19
                     ? strtoll(name, NULL, 10)
                     : 0;
    if (id == 0) {
        request_fault(r, FAULT_BAD_REQUEST, NULL,
                      "The X-Moongate-Key header must name one of your keys by its number.");
        return;
    }
    struct key_job *j = mem_zalloc(sizeof *j);
    j->account_id = r->account.id;
    j->key_id = id;
    request_ask_read(r, &j->job, find_key, on_key);
}

static const struct endpoint rows[] = {
    {"GET", "/console/api/status", ENDPOINT_OPEN, false, show_status, true},
    {"GET", "/console/api/models", ENDPOINT_OPEN, false, show_models, true},
    {"POST", "/console/api/chat/completions", ENDPOINT_SESSION, false, start_call, false},
    {"GET", "/console/api/admin/backends", ENDPOINT_ADMIN, false, show_backends, false},
    {"GET", "/console/api/admin/calls", ENDPOINT_ADMIN, false, show_calls, false},
    {"DELETE", "/console/api/admin/calls/{id}", ENDPOINT_ADMIN, false, end_call, false},
};
const struct endpoint_table live_endpoints = {rows, sizeof rows / sizeof rows[0]};
