/*
 * Log-in with an OpenID Connect provider: authorization code flow with PKCE, as a public or a
 * confidential client. This is what is asked of the provider; texts and claims are oidc_read.h's.
 *
 * A log-in begins with a `state` that goes through the browser to the provider and back. What it
 * must come back with (struct oidc_login) lies in the store under the state's hash, good once and
 * for some minutes, and is bound to the browser by a cookie: a link that somebody else began is
 * worth nothing. The event loop's thread.
 */
#ifndef MOONGATE_CONSOLE_OIDC_H
#define MOONGATE_CONSOLE_OIDC_H

#include "console/oidc_read.h"

#include <stddef.h>

enum {
    OIDC_LOGIN_MS = 10 * 60 * 1000, /* from the start to the callback */
    OIDC_BROWSER_BYTES = 65,
    OIDC_CODE_MAX_BYTES = 2048
};

/* --- what the store keeps of a log-in. Pure --- */

struct oidc_login {
    struct oidc_secrets secrets;
    char browser[OIDC_BROWSER_BYTES]; /* SHA-256 of the cookie, in hex */
};
void oidc_write_login(struct buf *out, const struct oidc_login *login);
int oidc_read_login(const char *text, struct oidc_login *out, struct error *e);

/* --- the provider --- */

struct oidc;
struct event_base;

struct oidc_answer {
    uint64_t number;
    int code;          /* 0; ERR_DENIED and ERR_EXPIRED: it is nobody whom we let in; else the
                          provider does not work */
    const char *error; /* for people */
    const struct oidc_person *person; /* of oidc_finish that went well */
};
typedef void oidc_fn(void *arg, const struct oidc_answer *answer);

int oidc_open(struct event_base *base, oidc_fn *fn, void *arg, struct oidc **out, struct error *e);
void oidc_close(struct oidc *o); /* accepts NULL; what waits is not answered */
/* Copied. An issuer of "": there is no provider. */
void oidc_set(struct oidc *o, const struct oidc_client *client, const struct email_rules *rules);
bool oidc_has_provider(const struct oidc *o);

/* Is the provider's configuration known (for an hour)? Then oidc_put_start may be called; else
 * oidc_prepare asks for it, and fn comes once, from the loop. ERR_BUSY: too many wait. */
bool oidc_is_ready(struct oidc *o);
int oidc_prepare(struct oidc *o, uint64_t number, struct error *e);
/* The address that the browser is sent to. */
void oidc_put_start(struct oidc *o, struct buf *url, const char *redirect_uri, const char *state,
                    const struct oidc_secrets *secrets);
/* The browser came back with a code; `issuer` is its `iss` (NULL: there is none). fn comes once,
 * from the loop, with a person. */
int oidc_finish(struct oidc *o, uint64_t number, const char *code, const char *issuer,
                const char *redirect_uri, const struct oidc_secrets *secrets, struct error *e);

#endif
