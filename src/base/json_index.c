/*
 * Finds members of large objects: a table of places with open addressing, at most three quarters
 * full. A place holds the number of a member, counted from 1.
 *
 * Who sends an object chooses its keys. So the hash is SipHash under a key of this process's own,
 * and nobody outside can choose keys that fall into one place.
 */
#include "base/json_private.h"

#include "base/clock.h"
#include "base/mem.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>

enum { FIRST_PLACES = 128 };

struct json_index {
    struct json_index *next;
    uint32_t *places, mask; /* mask + 1 places */
};

static unsigned char hash_key[crypto_shorthash_KEYBYTES];
static pthread_once_t hash_key_once = PTHREAD_ONCE_INIT;

static void choose_hash_key(void)
{
    random_bytes(hash_key, sizeof(hash_key));
}

struct json_index *json_index_new(struct json_index *next)
{
    pthread_once(&hash_key_once, choose_hash_key);
    struct json_index *x = mem_alloc(sizeof(*x));
    *x = (struct json_index){.next = next,
                             .places = mem_array(FIRST_PLACES, sizeof(x->places[0])),
                             .mask = FIRST_PLACES - 1};
    return x;
}

void json_index_free(struct json_index *list)
{
    while (list != NULL) {
        struct json_index *x = list;
        list = x->next;
        free(x->places);
        free(x);
    }
}

/* The place where the key is, or the free one where it belongs. */
static uint32_t *place_of(const struct json_index *x, const struct json *members,
                          const struct json *key)
{
    unsigned char hash[crypto_shorthash_BYTES];
    uint32_t at;
    crypto_shorthash(hash, (const unsigned char *)key->text, key->len, hash_key);
    memcpy(&at, hash, sizeof(at));
    for (at &= x->mask; x->places[at] != 0; at = (at + 1) & x->mask) {
        if (json_same_key(&members[2 * (size_t)(x->places[at] - 1)], key))
            break;
    }
    return &x->places[at];
}

static void grow(struct json_index *x, const struct json *members)
{
    uint32_t *old = x->places, n = x->mask + 1;
    x->places = mem_array((size_t)n * 2, sizeof(x->places[0]));
    x->mask = n * 2 - 1;
    for (uint32_t i = 0; i < n; i++) {
        if (old[i] != 0)
            *place_of(x, members, &members[2 * (size_t)(old[i] - 1)]) = old[i];
    }
    free(old);
}

bool json_index_add(struct json_index *x, const struct json *members, size_t n)
{
    if ((n + 1) * 4 > ((size_t)x->mask + 1) * 3)
        grow(x, members);
    uint32_t *place = place_of(x, members, &members[2 * n]);
    if (*place != 0)
        return false;
    *place = (uint32_t)n + 1;
    return true;
}

const struct json *json_index_find(const struct json_index *x, const struct json *members,
                                   const struct json *key)
{
    uint32_t found = *place_of(x, members, key);
    return found != 0 ? &members[2 * (size_t)(found - 1)] : NULL;
}
