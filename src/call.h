/*
 * The life of one request, from its head to its last byte: the only place where the rooms meet.
 *
 *   route > authenticate > read > parse > admit > run > reply > settle > end
 *
 * call.c holds the steps and the callbacks that wake a parked call, answer.c what a client is
 * sent, page.c the routes that need no backend, serve.c opens and closes all of it. Everything
 * here is the event loop's thread.
 */
#ifndef MOONGATE_CALL_H
#define MOONGATE_CALL_H

#include "api/reply.h"
#include "api/request.h"
#include "backend/backend.h"
#include "base/json.h"
#include "config.h"
#include "gate/gate.h"
#include "http/http.h"
#include "http/router.h"
#include "ledger/metrics.h"

#include <stdbool.h>
#include <stdint.h>

struct event;
struct event_base;

/* A configuration with the calls that began under it: SIGHUP puts a new one in its place, and
 * the old one goes with its last call. */
struct snapshot {
    struct config *config;
    size_t users;
};

enum { CALL_BUCKETS = 4096 };

/* What the serving process has, once. */
struct app {
    struct event_base *base;
    struct snapshot *snapshot;
    struct http_server *http;
    struct store_writer *writer;
    struct gate *gate;
    struct backend *local;
    struct metrics *metrics;
    const char *openapi; /* the JSON text that the program carries */
    size_t openapi_len;
    bool draining;
    struct call *calls[CALL_BUCKETS]; /* by number */
    uint64_t last_number;
    size_t n_calls, n_running; /* exchanges; those that a backend works on */
    struct call *ended;        /* freed on the loop's next turn */
    struct event *bury;
    void (*on_idle)(struct app *app); /* the last call is gone, while draining */
};

enum route_id {
    ROUTE_CHAT = 1,
    ROUTE_CHAT_KIMI, /* the same call with the tutorial's habits */
    ROUTE_COUNT,
    ROUTE_MODELS,
    ROUTE_MODELS_KIMI,
    ROUTE_BALANCE,
    ROUTE_HEALTH,
    ROUTE_READY,
    ROUTE_METRICS,
    ROUTE_OPENAPI,
    ROUTE_DOCS,
    ROUTE_ROOT
};

enum call_step {
    CALL_ROUTE,
    CALL_AUTHENTICATE,
    CALL_READ,
    CALL_PARSE,
    CALL_ADMIT,
    CALL_RUN,
    CALL_REPLY,
    CALL_OVER
};

/* One choice of the reply: text that waits (for the whole reply, or for a slow client). */
struct call_choice {
    struct buf reasoning, content, logprobs;
    enum api_finish finish;
    bool finish_sent;
};

struct call {
    uint64_t number;
    struct call *next; /* in its bucket, or on the list of ended ones */
    struct app *app;
    struct snapshot *snapshot;
    struct http_exchange *x;
    enum call_step step;
    int route;
    const char *route_name;
    int64_t started_us;
    char trace_id[37], id[32];

    struct store_key key;
    bool authenticated;

    struct arena *arena; /* of the request's arrays */
    struct json *tree;
    struct api_request request;
    const struct config_model *model;
    struct backend *backend;
    bool running; /* the backend works on it */

    struct api_head head;
    struct api_usage usage;
    struct call_choice *choices;
    size_t n_choices;
    bool streaming; /* the head of a stream is sent */
    bool roles_sent;
    bool backend_done; /* the proven end is known */
    bool stream_over;  /* the last byte is handed to the http room */
    bool first_text;
    int status; /* sent; 0: nothing yet */
    enum fault_kind fault;
    struct event *timer;
    int64_t last_write_ms, deadline_ms;
};

/* The callbacks that serve.c hands to the http room, the gate and the backends; `arg` is the
 * app. */
extern const struct http_app call_http;
extern const struct backend_events call_backend;
void call_on_pass(void *arg, uint64_t number, const struct gate_pass *pass);

void call_setup(struct app *app);   /* the table's chores on the loop */
void call_cleanup(struct app *app); /* after http_close: frees what is left */
/* Ends a call's work with a fault: a plain answer, or an event in a stream that has begun. */
void call_refuse(struct call *c, const struct fault *f);
void call_refuse_draining(struct call *c);
struct snapshot *snapshot_hold(struct snapshot *s);
void snapshot_drop(struct snapshot *s); /* frees it with its last user */

/* What a client is sent (answer.c). */
void answer_fault(struct call *c, const struct fault *f);
void answer_body(struct call *c, int status, const char *type, const void *body, size_t len);
void answer_json(struct call *c, struct buf *body); /* 200; a body past its ceiling is a 500 */
void answer_start(struct call *c);                  /* the backend has accepted the call */
void answer_piece(struct call *c, const struct backend_piece *piece);
void answer_finish(struct call *c, int choice, enum api_finish finish);
void answer_end(struct call *c);   /* a proven end: the rest of the reply */
void answer_flush(struct call *c); /* a slow client has taken what waited */
void answer_keep_alive(struct call *c);

/* Routes that need no backend (page.c). */
void page_show(struct call *c);
extern const struct route call_routes[];
extern const size_t call_n_routes;
const char *route_name(int id);

#endif
