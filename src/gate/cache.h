/*
 * Keys that the store called good, kept in memory for a short time. Private to the gate; the
 * event loop's thread.
 */
#ifndef MOONGATE_GATE_CACHE_H
#define MOONGATE_GATE_CACHE_H

#include "store/keys.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct key_cache;

struct key_cache *key_cache_new(size_t max_keys);
void key_cache_free(struct key_cache *c); /* accepts NULL */

/* Keeps a key that was read at `read_ms` (monotonic); at the bound the one read first goes. */
void key_cache_put(struct key_cache *c, const uint8_t hash[STORE_HASH_BYTES],
                   const struct store_key *key, int64_t read_ms);
void key_cache_drop(struct key_cache *c, const uint8_t hash[STORE_HASH_BYTES]);
/* True, once, of a key that is kept and was read before `before_ms`: it is to be read anew, so that
 * its next calls need not wait for that. */
bool key_cache_renew(struct key_cache *c, const uint8_t hash[STORE_HASH_BYTES], int64_t before_ms);
/* True if the key was read after `since_ms`. What it has used is of that time, too. */
bool key_cache_find(const struct key_cache *c, const uint8_t hash[STORE_HASH_BYTES],
                    int64_t since_ms, struct store_key *out);

#endif
