/*
 * OpenID Connect, as far as it is text: what a provider tells of itself, the address that a
 * browser is sent to, the form for the token endpoint, and who the ID token says it is. Pure.
 *
 * The ID token is taken from the token endpoint alone, over TLS whose certificate was checked;
 * OpenID Connect Core 1.0, 3.1.3.7, item 6, allows that in place of its signature, which is not
 * looked at. So a token that came any other way must not be given to oidc_read_token.
 */
#ifndef MOONGATE_CONSOLE_OIDC_READ_H
#define MOONGATE_CONSOLE_OIDC_READ_H

#include "base/buf.h"
#include "base/error.h"
#include "console/email.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    OIDC_URL_BYTES = 1024,
    OIDC_SECRET_BYTES = 44,   /* nonce and verifier: 32 random bytes in base64url */
    OIDC_SUBJECT_BYTES = 512, /* as the store keeps it */
    OIDC_NAME_BYTES = 128,
    OIDC_LEEWAY_MS = 60 * 1000,
    OIDC_OLDEST_MS = 10 * 60 * 1000 /* of an ID token that was just made */
};

/* The two addresses of a provider that a log-in needs. */
struct oidc_provider {
    char authorization[OIDC_URL_BYTES], token[OIDC_URL_BYTES];
    bool post;        /* client_secret_post; else client_secret_basic */
    bool says_issuer; /* in its answers to the browser (RFC 9207) */
};

/* Reads /.well-known/openid-configuration. `issuer` must be the one it tells, to the letter.
 * Whether the addresses may be asked is fetch.h's to say. */
int oidc_read_provider(const char *json, size_t len, const char *issuer, struct oidc_provider *out,
                       struct error *e);

/* What one log-in must come back with. */
struct oidc_secrets {
    char nonce[OIDC_SECRET_BYTES], verifier[OIDC_SECRET_BYTES];
};
void oidc_make_secrets(struct oidc_secrets *out);
/* The S256 challenge of a verifier (RFC 7636). */
void oidc_challenge(const char *verifier, char out[OIDC_SECRET_BYTES]);

void oidc_put_authorization(struct buf *out, const struct oidc_provider *p, const char *client_id,
                            const char *redirect_uri, const char *state,
                            const struct oidc_secrets *secrets);

struct oidc_client {
    const char *issuer, *id, *secret; /* secret "": a public client */
};
/* The form for the token endpoint, and in `header` a field of Authorization (or nothing). */
void oidc_put_token_form(struct buf *form, struct buf *header, const struct oidc_provider *p,
                         const struct oidc_client *client, const char *redirect_uri,
                         const char *code, const char *verifier);

struct oidc_person {
    char subject[OIDC_SUBJECT_BYTES]; /* issuer and sub: one person of one provider */
    struct email email;               /* which the provider has verified */
    char name[OIDC_NAME_BYTES];       /* may be empty */
};
struct oidc_expected {
    const char *issuer, *client_id, *nonce;
    int64_t now_ms;
    const struct email_rules *rules;
};

/* The ID token out of a token endpoint's answer, which it stays in: borrowed from `json`'s copy,
 * the caller frees it (mem_alloc). */
int oidc_read_answer(const char *json, size_t len, char **id_token, struct error *e);
/* ERR_INVALID: it is none; ERR_DENIED: it is not for us, not for this log-in, or not of an
 * address that is verified; ERR_EXPIRED. */
int oidc_read_token(const char *id_token, size_t len, const struct oidc_expected *expected,
                    struct oidc_person *out, struct error *e);

/* A query or a form: name=value with what must be encoded (RFC 3986), an & before it unless it
 * is the first after `first`. */
void oidc_put_pair(struct buf *out, char first, const char *name, const char *value);

#endif
