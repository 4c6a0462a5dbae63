/*
 * Accounts of people, their sessions in the console, and links that are good once. Passwords come
 * as their hashes, tokens as their SHA-256 in hex; nothing here could be used to log in.
 */
#ifndef MOONGATE_STORE_ACCOUNTS_H
#define MOONGATE_STORE_ACCOUNTS_H

#include "store/keys.h"

enum store_role { STORE_USER, STORE_ADMIN };

struct store_account {
    int64_t id;
    char email[STORE_EMAIL_BYTES]; /* lower case */
    char person[STORE_HEX_BYTES];  /* hash of the identity */
    char name[STORE_NAME_BYTES];
    char password[STORE_NAME_BYTES]; /* argon2id; empty: none */
    enum store_role role;
    bool disabled, must_change;
    char oidc_subject[512]; /* empty: none */
    struct store_rates rates;
    int64_t created_ms, login_ms;
};

/* ERR_EXISTS: the address is taken. */
int store_account_add(struct store *s, const struct store_account *a, int64_t *id, struct error *e);
int store_account_get(struct store *s, int64_t id, struct store_account *out, struct error *e);
int store_account_by_email(struct store *s, const char *email, struct store_account *out,
                           struct error *e); /* ERR_NOT_FOUND */
int store_account_by_oidc(struct store *s, const char *subject, struct store_account *out,
                          struct error *e);
/* Oldest first, the operator's own left out; `search` (NULL: all) is part of the address. */
int store_account_page(struct store *s, const char *search, int64_t offset, int64_t limit,
                       struct store_account *out, size_t *n, int64_t *count, struct error *e);
/* Writes name, role, disabled, rates over the row a->id. The last administrator who is not
 * disabled stays so: ERR_DENIED. Inside a transaction of the caller's. */
int store_account_change(struct store *s, const struct store_account *a, struct error *e);
int store_account_set_password(struct store *s, int64_t id, const char *hash, bool must_change,
                               struct error *e);
int store_account_set_oidc(struct store *s, int64_t id, const char *subject, struct error *e);
int store_account_login(struct store *s, int64_t id, int64_t now_ms, struct error *e);
/* Are there accounts with that role? */
int store_account_has_admin(struct store *s, bool *has, struct error *e);

struct store_session {
    char hash[STORE_HEX_BYTES];
    int64_t account_id, created_ms, used_ms, expires_ms;
};

int store_session_add(struct store *s, const struct store_session *x, struct error *e);
/* With its account; ERR_NOT_FOUND. Whether its time is over is the caller's to see. */
int store_session_get(struct store *s, const char *hash, struct store_session *out,
                      struct store_account *account, struct error *e);
int store_session_used(struct store *s, const char *hash, int64_t used_ms, int64_t expires_ms,
                       struct error *e);
int store_session_end(struct store *s, const char *hash, struct error *e);
/* Ends all of an account, but for the one named (NULL: none). */
int store_session_end_all(struct store *s, int64_t account_id, const char *but, struct error *e);

struct store_link {
    char hash[STORE_HEX_BYTES];
    char kind[16];                 /* "reset", "invite", "oidc" */
    int64_t account_id;            /* 0: none yet */
    char email[STORE_EMAIL_BYTES]; /* of an invitation; empty: whoever has it */
    char detail[1024];             /* of oidc: what the log-in must come back with */
    int64_t created_ms, expires_ms;
};

int store_link_add(struct store *s, const struct store_link *x, struct error *e);
/* Takes it: a second time is ERR_NOT_FOUND, as is one that is over or of another kind. */
int store_link_take(struct store *s, const char *hash, const char *kind, int64_t now_ms,
                    struct store_link *out, struct error *e);
/* The same without taking it: for what must be known before. */
int store_link_get(struct store *s, const char *hash, const char *kind, int64_t now_ms,
                   struct store_link *out, struct error *e);
/* Forgets links of a kind that an account still has open. */
int store_link_drop(struct store *s, int64_t account_id, const char *kind, struct error *e);

/* What is over goes: sessions, links, and counts of free grants by networks on days that are over.
 * Bounded work a call. */
int store_accounts_sweep(struct store *s, int64_t now_ms, struct error *e);

#endif
