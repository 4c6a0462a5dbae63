/*
 * Keys as text: making one, and its hash. One SHA-256 is enough because a key is 256 random
 * bits, not a password. Pure; any thread.
 */
#include "gate/gate.h"

#include "base/clock.h"

#include <sodium.h>
#include <string.h>

enum { KEY_RANDOM_BYTES = 32 };

void gate_key_make(char out[GATE_KEY_CHARS + 1])
{
    uint8_t random[KEY_RANDOM_BYTES];
    random_bytes(random, sizeof random);
    memcpy(out, "mg-", 3);
    sodium_bin2base64(out + 3, GATE_KEY_CHARS + 1 - 3, random, sizeof random,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(random, sizeof random);
}

void gate_key_hash(const char *key, size_t len, uint8_t hash[STORE_HASH_BYTES])
{
    _Static_assert(STORE_HASH_BYTES == crypto_hash_sha256_BYTES, "the store keeps SHA-256");
    crypto_hash_sha256(hash, (const unsigned char *)key, len);
}
