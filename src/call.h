/*
 * The life of one request, from its head to its last byte: the only place where the rooms meet.
 *
 *   route > authenticate > read > parse > admit > count > limit > hold > run > settle > reply > end
 *
 * call.c holds the table of calls, the steps and the end; allow.c whether it may: limits and the
 * hold on its balance; run.c what happens while a backend works on a call; meter.c how many tokens
 * it used; settle.c what it cost; record.c what it leaves in the log and the
 * counters; answer.c what a client is sent; page.c the routes that need no backend; serve.c opens
 * and closes all of it. Everything here is the event loop's thread.
 *
 * A call is kept by four things: its exchange (until on_end), a backend that still owes its
 * on_end, a count of tokens under way, and an answer of the store or the limits that it waits
 * for. call_release ends it when none is left.
 */
#ifndef MOONGATE_CALL_H
#define MOONGATE_CALL_H

#include "api/reply.h"
#include "api/request.h"
#include "backend/counting.h"
#include "backend/router.h"
#include "base/json.h"
#include "config.h"
#include "console/console.h"
#include "console/pages.h"
#include "gate/gate.h"
#include "gate/rates.h"
#include "http/forwarded.h"
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
    int *tokenizers;         /* of each model: its number in `counting`, -1 if there is none */
    int *prompt_tokenizers;  /* the same for prompts that are counted before the call runs */
    struct net_list proxies; /* whose X-Forwarded-For is believed */
    size_t users;
};

enum { CALL_BUCKETS = 4096 };

/* What the serving process has, once. */
struct app {
    struct event_base *base;
    struct snapshot *snapshot;
    struct http_server *http;
    struct store_threads *store;
    struct gate *gate;
    struct rates *rates;
    struct console *console;
    struct pages *pages;
    struct chores *chores;
    int lock_fd;           /* of a folder that one process serves from; -1 */
    struct backend *local; /* the engine; the router's; NULL if no backend is of kind local */
    struct router *router;
    struct counting *counting;
    struct metrics *metrics;
    struct buf scratch;  /* where an event is put together before it is written */
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
    ROUTE_CONSOLE, /* an endpoint of the console room */
    ROUTE_PAGE,    /* one of its pages, or what a page loads */
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
    CALL_PROMPT, /* the prompt's tokens are counted */
    CALL_LIMIT,
    CALL_HOLD,
    CALL_RUN,
    CALL_COUNT,   /* the reply is complete but for the number of its tokens */
    CALL_SETTLE,  /* and but for its place in the books */
    CALL_CONSOLE, /* the console answers */
    CALL_REPLY,
    CALL_OVER
};

/* One choice of the reply: text that waits (for the whole reply, or for a slow client). */
struct call_choice {
    struct buf reasoning, content, logprobs;
    enum api_finish finish;
    bool finish_sent;
};

/* How many tokens a call used, where its backend does not say or is not believed blindly. */
struct call_meter {
    int tokenizer;         /* -1: none, tokens are estimated from bytes */
    int waiting;           /* counts under way */
    int64_t prompt, reply; /* as counted; -1: not */
    int64_t prompt_bytes, reply_bytes;
    struct api_usage said; /* by the upstream, on the way of a reply that was cut */
    struct buf text;       /* of the reply, kept where there is a tokenizer */
};

/* What a call may spend and what it spent. */
struct call_books {
    int waiting;            /* answers of the store and of the limits under way */
    bool held;              /* there is a hold in the store, or one is asked for */
    int64_t most_tokens;    /* of reply, all choices together, that the hold covers; 0: no bound */
    int64_t seen_tokens;    /* of an upstream's stream, at least */
    bool cut_short;         /* the hold is reached: the reply ends here */
    bool settled;           /* the row is written, or on its way */
    int64_t charged_micros; /* -1: not known (yet) */
    struct rates_hold limits;
    struct limits_said said; /* for the head of the answer */
    bool has_said, limited;  /* limited: `limits` is to be settled */
    enum api_finish finish;
};

/* Where a call was answered; names are copies, for a backend can go before its last call. */
struct call_place {
    char backend[64];
    char fingerprint[160];
    bool local;
    int tries;
    int64_t queued_us;
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
    char peer[NET_TEXT_BYTES]; /* the client's address, behind trusted proxies the real one */
    bool secure;               /* it came by TLS, to us or to such a proxy */

    struct store_key key;
    bool authenticated;
    int64_t account_id; /* of the console's user; 0: none */

    struct arena *arena; /* of the request's arrays */
    struct json *tree;
    size_t body_bytes;
    struct api_request request;
    const struct config_model *model;
    char traceparent[56]; /* W3C trace context of the hop to an upstream */
    bool running;         /* the router has it */
    bool owes_end;        /* the backend will still tell what a stopped run used */
    bool paused;          /* the backend waits for a slow client */

    struct call_place place;
    struct call_meter meter;
    struct call_books books;
    struct api_head head;
    struct api_usage usage;
    struct call_choice *choices; /* of a reply that comes as text; an upstream's needs none */
    size_t n_choices;
    struct buf whole; /* an upstream's whole reply: ours if whole_ready, else as it came */
    bool whole_ready;
    bool streaming; /* the head of a stream is sent */
    bool roles_sent;
    bool backend_done;     /* the proven end is known */
    bool stream_over;      /* the last byte is handed to the http room */
    int64_t first_text_us; /* since the start; -1: none yet */
    int status;            /* sent; 0: nothing yet */
    enum fault_kind fault;
    enum http_outcome outcome; /* once the exchange is gone */
    int64_t ended_us;
    struct event *timer;
    int64_t last_write_ms, deadline_ms;
};

/* The callbacks that serve.c hands to the http room, the gate, the router and the counters of
 * tokens; `arg` is the app. */
extern const struct http_app call_http;
extern const struct router_events call_router;
void call_on_pass(void *arg, uint64_t number, const struct gate_pass *pass);
void call_on_said(void *arg, uint64_t number, const struct limits_said *said);
extern const struct console_events call_console;
counting_fn call_on_count;

void call_setup(struct app *app);   /* the table's chores on the loop */
void call_cleanup(struct app *app); /* after http_close and router_close: ends what is left */
struct call *call_find(struct app *app, uint64_t number); /* or NULL */
bool call_is_chat(const struct call *c);
/* Ends a call's work with a fault: a plain answer, or an event in a stream that has begun. */
void call_refuse(struct call *c, const struct fault *f);
void call_refuse_draining(struct call *c);
void call_release(struct call *c); /* ends it, if nothing keeps it; it is freed a turn later */
void call_go_on(struct call *c);   /* walks the steps from where it is */
void call_refuse_away(struct call *c, const char *message); /* 503 with Retry-After */
struct snapshot *snapshot_hold(struct snapshot *s);
void snapshot_drop(struct snapshot *s); /* frees it with its last user */

/* While a backend works on it (run.c). */
void call_run(struct call *c);  /* gives the call to the router, or refuses it */
void call_stop(struct call *c); /* takes it back, if it runs */

/* Whether it may (allow.c). Each says whether to go on; else the call waits or is refused. */
bool allow_look(struct call *c);  /* limits, before a body is read */
bool allow_count(struct call *c); /* the prompt's tokens, where limits or prices need them */
bool allow_limit(struct call *c);
bool allow_hold(struct call *c);
void allow_done(struct call *c); /* gives back what the limits hold */

/* What it cost (settle.c). */
bool settle_is_chat_row(const struct call *c); /* leaves a row in the books */
/* The reply is complete: true if its last bytes may go, else call_replied is called later. */
bool settle_reply(struct call *c);
void settle_rest(struct call *c); /* the call ends without a complete reply: its row, if any */
void call_replied(struct call *c, bool written);

/* Tokens (meter.c). */
void meter_open(struct call *c);
/* Counts the prompt with that tokenizer; false: it cannot be (then it is estimated). */
bool meter_prompt(struct call *c, int tokenizer);
int64_t meter_prompt_tokens(const struct call *c); /* counted, else estimated */
void meter_start(struct call *c);
void meter_chunk(struct call *c, const struct relayed *r);
/* The reply is over or given up: completes c->usage. True: a count is awaited that the answer
 * needs, and meter_settle is to be called again when it is there. */
bool meter_settle(struct call *c);
void meter_cut(struct call *c); /* the reply has no proven end: the same, for the record alone */
void meter_count(struct call *c, enum counting_what what, int64_t tokens);

/* The call's line in the log and its counters (record.c). */
void record_call(const struct call *c);
const char *record_source(enum api_usage_source source);

/* What a client is sent (answer.c). */
void answer_fault(struct call *c, const struct fault *f);
void answer_body(struct call *c, int status, const char *type, const void *body, size_t len);
void answer_json(struct call *c, struct buf *body); /* 200; a body past its ceiling is a 500 */
void answer_start(struct call *c);                  /* the backend has accepted the call */
void answer_piece(struct call *c, const struct backend_piece *piece);
void answer_finish(struct call *c, int choice, enum api_finish finish);
void answer_chunk(struct call *c, const struct relayed *chunk); /* an upstream's event */
void answer_whole(struct call *c, const struct relayed *reply); /* its whole reply: kept */
void answer_end(struct call *c);   /* a proven end: the rest of the reply */
void answer_flush(struct call *c); /* a slow client has taken what waited */
void answer_keep_alive(struct call *c);
void answer_length(struct call *c); /* an upstream's stream is ended here by us */
void answer_console(struct call *c, const struct console_answer *a);
void answer_page(struct call *c, const struct pages_answer *a);

/* For the console (live.c): `arg` is the app. */
void live_write_status(void *arg, struct buf *b);
void live_write_models(void *arg, struct buf *b);
void live_write_backends(void *arg, struct buf *b);
void live_write_calls(void *arg, struct buf *b);
bool live_end_call(void *arg, const char *trace_id);

/* Routes that need no backend (page.c). */
/* The tokens that a call of the model can really use. */
int64_t page_context(const struct app *app, const struct config_model *m);
bool page_show(struct call *c); /* false: its answer comes later */
/* The models as rows of the console's list; `arg` is the app. */
void page_write_models(void *arg, struct buf *b);
extern const struct http_route call_routes[];
extern const size_t call_n_routes;
const char *route_name(int id);

#endif
