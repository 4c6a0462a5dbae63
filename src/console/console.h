/*
 * The console: accounts, sessions, credentials and administration as JSON endpoints, under
 * /console/api for its own pages and under /api/v1 as the platform's clients know them.
 *
 * `call` gives it the requests to those paths, and answers with what it says. The event loop's
 * thread.
 */
#ifndef MOONGATE_CONSOLE_CONSOLE_H
#define MOONGATE_CONSOLE_CONSOLE_H

#include "api/fault.h"
#include "base/error.h"
#include "console/email.h"
#include "console/lockout.h"
#include "console/session.h"
#include "http/http.h"
#include "store/keys.h"
#include "store/threads.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct console;
struct event_base;

enum console_sign_up { CONSOLE_CLOSED, CONSOLE_INVITE, CONSOLE_OPEN };
enum console_secure { CONSOLE_SECURE_AUTO, CONSOLE_SECURE_ALWAYS, CONSOLE_SECURE_NEVER };

/* What it needs of the configuration; strings are borrowed until the next console_set. */
struct console_options {
    enum console_sign_up sign_up;
    enum console_secure secure; /* whether cookies are for TLS alone */
    struct session_life session;
    struct lockout_settings lockout;
    struct email_rules email;
    int64_t link_ms;                  /* how long a link is good */
    const char *public_url;           /* of the console, for links; "": as the request came */
    const char *smtp_url, *mail_from; /* "": no mail is sent */
    const char *oidc_issuer, *oidc_client_id, *oidc_secret, *oidc_name; /* issuer "": none */
    int64_t free_micros, free_ms /* 0: for ever */, free_per_network_day;
    int keys_per_application;
    /* The models, for /api/v1/models: writes the rows of a JSON array, without brackets. */
    void (*write_models)(void *arg, struct buf *b);
    /* What there is and what runs now. Members of an object, and rows of arrays, without the
     * brackets around them. */
    void (*write_status)(void *arg, struct buf *b);
    void (*write_served)(void *arg, struct buf *b);
    void (*write_backends)(void *arg, struct buf *b);
    void (*write_calls)(void *arg, struct buf *b);
    bool (*end_call)(void *arg, const char *trace_id); /* false: no such call runs */
    void *arg;                                         /* of these */
    size_t requests;                                   /* under way at once; more are 503 */
};

/* What `call` is told. */
struct console_answer {
    int status;
    const struct http_header *headers; /* beside the usual ones */
    size_t n_headers;
    const char *type; /* NULL: no body */
    const void *body;
    size_t len;
    const struct fault *fault; /* not NULL: answer with this instead */
};
struct console_events {
    /* It may, and has a body to read: call http_read_body, and then console_body. */
    void (*on_read)(void *arg, uint64_t number);
    void (*on_answer)(void *arg, uint64_t number, const struct console_answer *a);
    /* The playground: the request is a call of the API by this key, which is as the store has it.
     * The console has done with it. */
    void (*on_call)(void *arg, uint64_t number, const struct store_key *key);
    /* Something outside does not work (a mail, a provider): for the log. */
    void (*on_trouble)(void *arg, const struct error *e);
};

int console_open(struct event_base *base, struct store_threads *store,
                 const struct console_options *o, const struct console_events *events, void *arg,
                 struct console **out, struct error *e);
void console_set(struct console *c, const struct console_options *o); /* at a reload */
void console_close(struct console *c);                                /* accepts NULL */

/* Makes the first administrator where there is none, and prints its one-time password, once, on
 * standard error. At the start, before the loop. */
struct store;
int console_first_admin(struct store *s, const char *email, struct error *e);

/* Is the path one of the console's? Then console_begin answers it, whatever the method. */
bool console_has(const struct console *c, const char *path);
/* The name of the endpoint for log and metrics: a fixed word. */
const char *console_name(const struct console *c, const char *method, const char *path);

/* What `call` knows of who asks. */
struct console_client {
    const char *peer; /* the client's address, behind trusted proxies the real one */
    bool secure;      /* it came under TLS */
};
/* A request's head is there. Events may come before this returns. */
void console_begin(struct console *c, uint64_t number, struct http_exchange *x,
                   const char *trace_id, const struct console_client *client);
void console_body(struct console *c, uint64_t number, const char *body, size_t len);
void console_end(struct console *c, uint64_t number); /* the exchange is over */
/* Whose request it was, for the log: 0 nobody's. Until console_end. */
int64_t console_account(const struct console *c, uint64_t number);
size_t console_requests(const struct console *c);

#endif
