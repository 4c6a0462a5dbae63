/*
 * What the files of the console share. Private to the room; the event loop's thread.
 */
#ifndef MOONGATE_CONSOLE_CONSOLE_PRIVATE_H
#define MOONGATE_CONSOLE_CONSOLE_PRIVATE_H

#include "console/endpoint.h"
#include "console/mail.h"
#include "console/oidc.h"
#include "http/router.h"

enum { CONSOLE_BUCKETS = 256 };

struct console {
    struct event_base *base;
    struct store_threads *store; /* borrowed */
    struct console_options options;
    struct console_events events;
    void *arg;
    struct lockout *lockout;
    struct passwords *passwords;
    struct lockout *asking; /* sign-ups and mails that were asked for, as if each had failed */
    struct mailer *mailer;
    struct oidc *oidc; /* may be without a provider */
    /* The endpoints of all tables, and the same as rows of the http room's router. */
    const struct endpoint **endpoints;
    struct http_route *routes;
    size_t n_endpoints;
    struct request *requests[CONSOLE_BUCKETS]; /* by number */
    size_t n_requests;
};

/* The tables. */
extern const struct endpoint_table platform_endpoints; /* /api/v1 */
extern const struct endpoint_table account_endpoints;  /* /console/api: sign-up, log-in, ... */
extern const struct endpoint_table key_endpoints;      /* /console/api: acquire, keys, usage */
extern const struct endpoint_table live_endpoints;     /* what there is and what runs now */
extern const struct endpoint_table admin_endpoints;    /* /console/api/admin */

/* The provider's answers go to the requests that wait for them (account_oidc.c). */
void account_oidc_answer(void *console, const struct oidc_answer *answer);

/* Begins to answer once it is known who asks (authenticate.c). */
void authenticate(struct request *r);
/* It is known, and may: the endpoint runs, or the body is awaited. */
void request_admitted(struct request *r);
/* Frees it, if it is answered or left and nothing is awaited. */
void request_release(struct request *r);

#endif
