/*
 * Applications: an account's use of the service, with its balance; and the grants that fill it.
 * Pages are of STORE_PAGE_MAX (1000) rows at most, the newest first.
 */
#ifndef MOONGATE_STORE_APPLICATIONS_H
#define MOONGATE_STORE_APPLICATIONS_H

#include "store/store.h"

#define STORE_SERVICE "kimi" /* the one there is */

struct store_application {
    int64_t id, account_id;
    char service[32];
    int64_t balance_micros; /* may still be spent; open holds are taken out of it */
    int64_t held_micros, granted_micros, charged_micros;
    bool disabled;
    int64_t created_ms, updated_ms;
};

/* The account's for the service; made if `create`. *made tells (may be NULL). */
int store_application_of(struct store *s, int64_t account_id, bool create, int64_t now_ms,
                         struct store_application *out, bool *made, struct error *e);
/* The operator's own, which keys of the command line belong to. */
int store_application_operator(struct store *s, struct store_application *out, struct error *e);
/* account_id 0: anybody's. Another's is ERR_NOT_FOUND. */
int store_application_get(struct store *s, int64_t account_id, int64_t id,
                          struct store_application *out, struct error *e);
int store_application_page(struct store *s, int64_t account_id, int64_t offset, int64_t limit,
                           struct store_application *out, size_t *n, int64_t *count,
                           struct error *e);
/* Others who lock it wait until this transaction ends; what depends on that is read afterwards. It
 * stands before persons and networks in the order of locks. */
int store_application_lock(struct store *s, int64_t id, struct error *e);
int store_application_disable(struct store *s, int64_t id, bool disabled, int64_t now_ms,
                              struct error *e);

struct store_grant {
    int64_t id, application_id;
    int64_t amount_micros; /* negative: taken back */
    int64_t used_micros;   /* of one that expires: spent of it, or taken back at its end */
    char kind[16];         /* "free", "admin", "command", "expiry" */
    char note[256];
    int64_t by_account; /* who gave it; 0: the program */
    int64_t created_ms, expires_ms, expired_ms;
};

/* Adds to the balance, or takes from it; never below zero: ERR_DENIED. Amounts beyond
 * STORE_GRANT_MAX_MICROS are ERR_INVALID, as is zero, and taking with an end. Inside a
 * transaction of the caller's, which rolls back after a failure. */
#define STORE_GRANT_MAX_MICROS INT64_C(1000000000000000) /* a milliard dollars */
int store_grant_add(struct store *s, const struct store_grant *g, int64_t *id, struct error *e);
int store_grant_page(struct store *s, int64_t application_id, int64_t offset, int64_t limit,
                     struct store_grant *out, size_t *n, int64_t *count, struct error *e);

/* The free quota: once a person for ever, so many a day from one network. Inside a transaction of
 * the caller's, which rolls back after a failure; all three verdicts may be committed. */
struct store_free {
    const char *person;  /* hash of the identity */
    const char *network; /* as text; "": unknown, not bounded */
    int64_t application_id, amount_micros, now_ms, expires_ms;
    int64_t per_network_day; /* 0: no bound */
};
enum store_free_verdict { STORE_FREE_GRANTED, STORE_FREE_HAD_IT, STORE_FREE_NETWORK_FULL };
int store_free_grant(struct store *s, const struct store_free *f, enum store_free_verdict *verdict,
                     struct error *e);

/* Grants whose time is over lose their unspent rest, in rows of kind "expiry". What a call that
 * began before the end holds may still be spent; what it gives back is taken at a later call, so
 * this is called again and again (grant_expiry.c has the rule). At most `most` grants a call; *n
 * is at how many something was done. Inside a transaction of the caller's. */
int store_grants_expire(struct store *s, int64_t now_ms, int64_t most, int64_t *n, struct error *e);

#endif
