/*
 * Keys as text: making one, and its hash. One SHA-256 is enough because a key is 256 random
 * bits, not a password. Pure; any thread.
 */
#include "gate/gate.h"

#include "base/clock.h"

#include <sodium.h>
#include <string.h>
#include <strings.h>

enum { KEY_RANDOM_BYTES = 32 };

static void make(const char *lead, char *out, size_t out_bytes)
{
    uint8_t random[KEY_RANDOM_BYTES];
    size_t n = strlen(lead);
    random_bytes(random, sizeof random);
    memcpy(out, lead, n);
    sodium_bin2base64(out + n, out_bytes - n, random, sizeof random,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(random, sizeof random);
}

void gate_key_make(char out[GATE_KEY_CHARS + 1])
{
    make("mg-", out, GATE_KEY_CHARS + 1);
}

void gate_token_make(char out[GATE_TOKEN_CHARS + 1])
{
    make("platform-", out, GATE_TOKEN_CHARS + 1);
}

const char *gate_bearer(const char *authorization, size_t *len)
{
    static const char scheme[] = "Bearer ";
    if (!authorization || strncasecmp(authorization, scheme, sizeof scheme - 1) != 0)
        return NULL;
    const char *key = authorization + sizeof scheme - 1;
    key += strspn(key, " ");
    *len = strlen(key);
    while (*len > 0 && (key[*len - 1] == ' ' || key[*len - 1] == '\t'))
        (*len)--;
    return *len > 0 ? key : NULL;
}

void gate_key_hash(const char *key, size_t len, uint8_t hash[STORE_HASH_BYTES])
{
    _Static_assert(STORE_HASH_BYTES == crypto_hash_sha256_BYTES, "the store keeps SHA-256");
    crypto_hash_sha256(hash, (const unsigned char *)key, len);
}
