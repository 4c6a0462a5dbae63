/*
 * The frame of the console's endpoints: who asks, what came, the way to the store and back, and
 * the answer. An endpoint is a row of a table with a function; it never waits: it asks the store
 * with request_ask and goes on in another function, or answers.
 *
 * A session's cookie, or a platform token in the Authorization header, tells who asks. What a
 * browser sends by itself is not enough to change anything: beside the cookie X-CSRF-Token is
 * needed, a body must be application/json, and an Origin, if there is one, must be ours. The
 * event loop's thread.
 */
#ifndef MOONGATE_CONSOLE_ENDPOINT_H
#define MOONGATE_CONSOLE_ENDPOINT_H

#include "api/fault.h"
#include "base/buf.h"
#include "base/json.h"
#include "console/console.h"
#include "console/password.h"
#include "console/session.h"
#include "http/http.h"
#include "store/accounts.h"
#include "store/threads.h"

enum endpoint_auth {
    ENDPOINT_OPEN,    /* anybody; an account is told if there is one */
    ENDPOINT_ACCOUNT, /* a session or a platform token, of an account that is not disabled */
    ENDPOINT_SESSION, /* a session alone: a token may not change passwords */
    ENDPOINT_ADMIN    /* as ACCOUNT, of an administrator */
};

struct request;

struct endpoint {
    const char *method, *path; /* "/api/v1/credentials/{id}/rotate" */
    enum endpoint_auth auth;
    bool reads; /* a JSON object in the body; an empty body is an empty object */
    void (*run)(struct request *r);
    /* May be used by an account that must change its password first. */
    bool before_change;
};

struct endpoint_table {
    const struct endpoint *rows;
    size_t n;
};

enum { REQUEST_HEADERS_MAX = 6 };

/* One request under way. Freed by the frame once it is answered or its client has left, and no
 * answer of the store is awaited. */
struct request {
    struct console *console;
    uint64_t number;
    const struct endpoint *endpoint;
    struct http_exchange *x;             /* NULL once the client has left */
    const char *trace_id;                /* valid while x is */
    struct json *body;                   /* the object; NULL if it reads none */
    struct store_account account;        /* id 0: nobody */
    struct store_session session;        /* hash "": it came with a token */
    char token[SESSION_TOKEN_CHARS + 1]; /* of the session */
    bool secure;                         /* came under TLS */
    char peer[64];                       /* the client's address */
    uint64_t network;                    /* limits_network's */
    int64_t now_ms;                      /* Unix, when it came */
    void *state;                         /* the endpoint's own, from malloc: freed by the frame */
    /* The frame's own: */
    struct request *next;
    void (*then)(struct request *r, struct store_job *job);
    void (*then_password)(struct request *r, const struct password_answer *answer);
    int awaited;
    bool answered;
    struct http_header headers[REQUEST_HEADERS_MAX];
    char *header_values[REQUEST_HEADERS_MAX];
    size_t n_headers;
};

/* --- what came --- */

/* The n-th {id} of the path as a number; false: answered 404, as for an id that nobody has. */
bool request_id(struct request *r, unsigned n, int64_t *out);
/* A value of the query, "" if it is not there; false: answered 400. */
bool request_query(struct request *r, const char *name, char *out, size_t out_bytes);
bool request_query_int(struct request *r, const char *name, int64_t least, int64_t most,
                       int64_t fallback, int64_t *out);
/* Members of the body. False: it was answered 400, naming the member. Texts are UTF-8 without
 * control characters, shorter than out_bytes. `given` (may be NULL) tells whether it was there;
 * where it is NULL the member must be. A JSON null counts as not there. */
bool request_text(struct request *r, const char *name, char *out, size_t out_bytes, bool *given);
bool request_int(struct request *r, const char *name, int64_t least, int64_t most, int64_t *out,
                 bool *given);
bool request_bool(struct request *r, const char *name, bool *out, bool *given);
/* USD as a JSON number or a text ("1.50") of at most six decimals, to micro-USD; exact. */
bool request_usd(struct request *r, const char *name, int64_t least_micros, int64_t most_micros,
                 int64_t *out, bool *given);

/* --- the store --- */

/* Sends the job and goes on in `then`, on the loop, with the answer; the frame frees the job
 * afterwards. Not called if the client has left. One at a
 * time. If too much waits it is answered 503 here, the job freed. */
void request_ask(struct request *r, struct store_job *job, store_work_fn *work,
                 void (*then)(struct request *r, struct store_job *job));
/* The same on the reading thread. */
void request_ask_read(struct request *r, struct store_job *job, store_work_fn *work,
                      void (*then)(struct request *r, struct store_job *job));
/* If the job failed: answers (404, 409, 403, 400, 503 ...) and returns true. */
bool request_failed(struct request *r, const struct store_job *job);

/* A password's hash is made, or compared with one (NULL: of an address that nobody has; it costs
 * the same); goes on in `then`. */
void request_hash(struct request *r, const char *password,
                  void (*then)(struct request *r, const struct password_answer *answer));
void request_verify(struct request *r, const char *password, const char *hash,
                    void (*then)(struct request *r, const struct password_answer *answer));

/* Waits for something else than the store (a password, a mail): until request_resume finds it
 * again. request_resume ends the waiting; NULL: the client has left meanwhile. */
void request_wait(struct request *r);
struct request *request_resume(struct console *c, uint64_t number);

/* --- the answer --- */

/* A header field more; the value is copied. */
void request_header(struct request *r, const char *name, const char *value);
void request_json(struct request *r, int status, const struct buf *body); /* one that failed: 500 */
void request_empty(struct request *r, int status);                        /* 204 */
void request_text_body(struct request *r, int status, const char *type, const char *body,
                       size_t len);
void request_fault(struct request *r, enum fault_kind kind, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void request_fault_after(struct request *r, enum fault_kind kind, int64_t wait_ms, const char *fmt,
                         ...) __attribute__((format(printf, 4, 5)));

/* Writing JSON: ,"name":"value" and the like; the first member has no comma. */
void put_text(struct buf *b, const char *name, const char *value);
void put_int(struct buf *b, const char *name, int64_t value);
void put_bool(struct buf *b, const char *name, bool value);
void put_null(struct buf *b, const char *name);
void put_usd(struct buf *b, const char *name, int64_t micros);   /* 1.5 as the number 1.500000 */
void put_time(struct buf *b, const char *name, int64_t unix_ms); /* RFC 3339 text; 0 is null */

#endif
