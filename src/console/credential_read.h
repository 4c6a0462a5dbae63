/*
 * What a body says of a credential: read, judged, and laid over a key. Pure but for the answer
 * that a bad body gets.
 */
#ifndef MOONGATE_CONSOLE_CREDENTIAL_READ_H
#define MOONGATE_CONSOLE_CREDENTIAL_READ_H

#include "base/error.h"
#include "base/json.h"
#include "store/keys.h"

struct request;

/* What was given; the rest of `key` is not to be looked at. */
struct credential_wish {
    bool name, models, networks, cap, expires, requests, tokens, concurrent, disabled;
    struct store_key key;
};

/* False: it was answered. */
bool credential_read(struct request *r, struct credential_wish *out);
void credential_apply(const struct credential_wish *w, struct store_key *key);

/* A list of names, or one text with commas between; null or nothing in it is "": all. ERR_INVALID
 * says what is wrong. Networks come out in one form each ("10.0.0.0/8"). */
int credential_models(const struct json *v, char out[STORE_MODELS_BYTES], struct error *e);
int credential_networks(const struct json *v, char out[STORE_NETWORKS_BYTES], struct error *e);

#endif
