/*
 * Keys: who may call. Each belongs to an application, whose balance it spends. Only the SHA-256
 * of a key is kept, with the few characters that let people tell their keys apart.
 */
#ifndef MOONGATE_STORE_KEYS_H
#define MOONGATE_STORE_KEYS_H

#include "store/store.h"

enum store_key_kind { STORE_KEY_CALLS, STORE_KEY_PLATFORM };

/* What an operator may allow a key or an account; 0: as the configuration says. */
struct store_rates {
    int64_t requests_per_minute, tokens_per_minute, concurrent;
};

struct store_key {
    int64_t id, application_id, account_id;
    enum store_key_kind kind;
    char name[STORE_NAME_BYTES];
    char prefix[16];    /* what is shown of the key: "mg-1a2b3c" */
    int64_t cap_micros; /* may spend so much in all; -1: no cap of its own */
    int64_t used_micros, held_micros;
    struct store_rates rates, account_rates;
    int64_t created_ms, expires_ms, revoked_ms, used_ms; /* Unix; 0: never */
    bool disabled;                                       /* itself */
    bool owner_disabled;                                 /* its application or account */
    bool account_is_admin;                               /* of a platform token */
    /* The long texts stand last: who keeps many keys keeps what is before them as it is. */
    char models[STORE_MODELS_BYTES];     /* comma-separated names, empty: all */
    char networks[STORE_NETWORKS_BYTES]; /* comma-separated CIDR, empty: all */
};

/* key->application_id 0: the operator's own application. Without a cap, cap_micros is -1: a zeroed
 * one could spend nothing. ERR_NOT_FOUND: no such application. */
int store_key_add(struct store *s, const uint8_t hash[STORE_HASH_BYTES],
                  const struct store_key *key, int64_t *id, struct error *e);
/* Calls fn for each key, oldest first. */
int store_key_each(struct store *s, void (*fn)(void *arg, const struct store_key *key), void *arg,
                   struct error *e);
/* By the number or the exact name. Of several with that name the one that is neither revoked nor
 * over; if that fits several it is ERR_INVALID and says so. */
int store_key_revoke(struct store *s, const char *id_or_name, int64_t now_ms, struct store_key *out,
                     struct error *e);
int store_key_find(struct store *s, const uint8_t hash[STORE_HASH_BYTES], struct store_key *out,
                   struct error *e); /* ERR_NOT_FOUND */
/* Last use; kept to the minute, so that a busy key is not a write a call. */
int store_key_used(struct store *s, int64_t id, int64_t now_ms, struct error *e);

/* For a console: keys of one account alone; another's is ERR_NOT_FOUND. account_id 0: anybody's
 * (an administrator asks). Newest first; a page of at most `limit` from `offset`, *count is how
 * many there are in all. Revoked ones are left out unless `revoked`. STORE_PAGE_MAX (1000) rows
 * at most. */
int store_key_page(struct store *s, int64_t account_id, int64_t application_id, bool revoked,
                   int64_t offset, int64_t limit, struct store_key *out, size_t *n, int64_t *count,
                   struct error *e);
int store_key_get(struct store *s, int64_t account_id, int64_t id, struct store_key *out,
                  struct error *e);
/* Writes name, models, networks, cap, rates, expiry and disabled of `key` over the row key->id. */
int store_key_change(struct store *s, int64_t account_id, const struct store_key *key,
                     struct error *e);
int store_key_revoke_id(struct store *s, int64_t account_id, int64_t id, int64_t now_ms,
                        struct error *e);
/* A new key with the old one's name, rights, expiry and its cap's rest; the old one keeps what it
 * has spent and holds as its cap, so both together never have more than it had. It ends at
 * old_until_ms (at once, if that is over; or at its own expiry, if that is earlier). ERR_DENIED:
 * it is revoked; ERR_EXPIRED: its time is over. Inside a transaction of the caller's. */
int store_key_rotate(struct store *s, int64_t account_id, int64_t id,
                     const uint8_t hash[STORE_HASH_BYTES], const char *prefix, int64_t now_ms,
                     int64_t old_until_ms, struct store_key *out, struct error *e);
/* How many that are not revoked an application has. */
int store_key_count(struct store *s, int64_t application_id, int64_t *n, struct error *e);
/* Had an application ever a key of that kind? A revoked one counts. */
int store_key_ever(struct store *s, int64_t application_id, enum store_key_kind kind, bool *ever,
                   struct error *e);

#endif
