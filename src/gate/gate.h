/*
 * Who may call: from an Authorization header to a key and its rights. The limits of how much may
 * be called stand beside it (rates.h), the quota in the store's books.
 *
 * Keys are "mg-" and 43 characters of base64url (32 random bytes); the store knows their SHA-256
 * alone. The event loop's thread, except gate_key_make, gate_token_make, gate_key_hash and
 * gate_bearer, which are pure.
 */
#ifndef MOONGATE_GATE_GATE_H
#define MOONGATE_GATE_GATE_H

#include "base/error.h"
#include "store/keys.h"
#include "store/threads.h"

#include <stdbool.h>
#include <stdint.h>

struct gate;

enum gate_verdict {
    GATE_OK,
    GATE_NO_KEY,  /* no header, or not "Bearer KEY" */
    GATE_UNKNOWN, /* also revoked: the caller cannot tell */
    GATE_EXPIRED,
    GATE_DISABLED,
    GATE_PLATFORM,   /* a platform token, which calls no model */
    GATE_NETWORK,    /* the key is not for the caller's network */
    GATE_UNAVAILABLE /* the store did not answer */
};

struct gate_pass {
    enum gate_verdict verdict;
    struct store_key key; /* if the key is known */
};

enum { GATE_KEY_CHARS = 46, GATE_TOKEN_CHARS = 52 };
void gate_key_make(char out[GATE_KEY_CHARS + 1]);
/* The same as a platform token: "platform-" and 43 characters. */
void gate_token_make(char out[GATE_TOKEN_CHARS + 1]);
/* What stands after "Bearer" in an Authorization header, without the spaces around it; NULL if
 * there is none. Borrowed. */
const char *gate_bearer(const char *authorization, size_t *len);
void gate_key_hash(const char *key, size_t len, uint8_t hash[STORE_HASH_BYTES]);

/* on_pass gets the caller's number. */
int gate_open(struct store_threads *store,
              void (*on_pass)(void *arg, uint64_t number, const struct gate_pass *pass), void *arg,
              struct gate **out, struct error *e);
void gate_close(struct gate *g);
/* A key that was found good is good without the store for so long after it was read; so long a
 * revoked one may go on. Its time of expiry is looked at each time. 0 (as it is opened): every
 * key is looked up every time. */
void gate_set_cache(struct gate *g, int ms);
/* Begins a check of a call from `peer` (an address). A header that cannot be right, and a key that
 * is known to be good, are answered at once through *now (returns true); otherwise on_pass comes
 * later, from the loop. */
bool gate_check(struct gate *g, uint64_t number, const char *authorization, const char *peer,
                struct gate_pass *now);
/* What a key is worth now, for a call from `peer`. */
enum gate_verdict gate_judge(const struct store_key *key, const char *peer);
/* May a key call this model? Its list is empty or holds the exact name. */
bool gate_allows_model(const struct store_key *key, const char *model);

#endif
