/*
 * A table by hash of the key, and a list by the time of reading: the oldest stands first and
 * goes when room is needed. Hashes are SHA-256 of random keys, so their first bytes spread well
 * and nobody can aim at one bucket. A row holds its texts at their own length, which keeps it
 * far smaller than a struct store_key.
 */
#include "gate/cache.h"

#include "base/mem.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum { BUCKETS = 1 << 14, HEAD_BYTES = offsetof(struct store_key, models) };

struct cached {
    struct cached *next; /* in its bucket */
    TAILQ_ENTRY(cached) by_time;
    uint8_t hash[STORE_HASH_BYTES];
    int64_t read_ms;
    bool renewing;
    unsigned char head[HEAD_BYTES]; /* of the struct store_key */
    const char *models, *networks;  /* in text */
    char text[];
};

struct key_cache {
    size_t n, max;
    TAILQ_HEAD(, cached) oldest;
    struct cached *buckets[BUCKETS];
};

struct key_cache *key_cache_new(size_t max_keys)
{
    struct key_cache *c = mem_zalloc(sizeof *c);
    c->max = max_keys;
    TAILQ_INIT(&c->oldest);
    return c;
}

static struct cached **bucket_of(struct key_cache *c, const uint8_t *hash)
{
    return &c->buckets[((size_t)hash[0] << 8 | hash[1]) % BUCKETS];
}

static void remove_row(struct key_cache *c, struct cached *row)
{
    struct cached **at = bucket_of(c, row->hash);
    while (*at != row)
        at = &(*at)->next;
    *at = row->next;
    TAILQ_REMOVE(&c->oldest, row, by_time);
    c->n--;
    free(row);
}

void key_cache_free(struct key_cache *c)
{
    if (!c)
        return;
    while (!TAILQ_EMPTY(&c->oldest))
        remove_row(c, TAILQ_FIRST(&c->oldest));
    free(c);
}

static struct cached *look(const struct key_cache *c, const uint8_t *hash)
{
    struct cached *row = *bucket_of((struct key_cache *)c, hash);
    while (row && memcmp(row->hash, hash, STORE_HASH_BYTES) != 0)
        row = row->next;
    return row;
}

static const char *put_text(char **at, const char *s)
{
    size_t bytes = strlen(s) + 1;
    char *copy = memcpy(*at, s, bytes);
    *at += bytes;
    return copy;
}

static struct cached *new_row(const uint8_t *hash, const struct store_key *key, int64_t read_ms)
{
    size_t bytes = strlen(key->models) + strlen(key->networks) + 2;
    struct cached *row = mem_zalloc(sizeof *row + bytes);
    char *at = row->text;
    memcpy(row->hash, hash, STORE_HASH_BYTES);
    row->read_ms = read_ms;
    memcpy(row->head, key, HEAD_BYTES);
    row->models = put_text(&at, key->models);
    row->networks = put_text(&at, key->networks);
    return row;
}

void key_cache_put(struct key_cache *c, const uint8_t hash[STORE_HASH_BYTES],
                   const struct store_key *key, int64_t read_ms)
{
    key_cache_drop(c, hash);
    if (c->n == c->max)
        remove_row(c, TAILQ_FIRST(&c->oldest));
    struct cached *row = new_row(hash, key, read_ms), **bucket = bucket_of(c, hash);
    row->next = *bucket;
    *bucket = row;
    TAILQ_INSERT_TAIL(&c->oldest, row, by_time);
    c->n++;
}

void key_cache_drop(struct key_cache *c, const uint8_t hash[STORE_HASH_BYTES])
{
    struct cached *row = look(c, hash);
    if (row)
        remove_row(c, row);
}

bool key_cache_renew(struct key_cache *c, const uint8_t hash[STORE_HASH_BYTES], int64_t before_ms)
{
    struct cached *row = look(c, hash);
    if (!row || row->renewing || row->read_ms >= before_ms)
        return false;
    row->renewing = true;
    return true;
}

bool key_cache_find(const struct key_cache *c, const uint8_t hash[STORE_HASH_BYTES],
                    int64_t since_ms, struct store_key *out)
{
    const struct cached *row = look(c, hash);
    if (!row || row->read_ms <= since_ms)
        return false;
    memset(out, 0, sizeof *out);
    memcpy(out, row->head, HEAD_BYTES);
    /* They came from fields of these sizes. */
    memcpy(out->models, row->models, strlen(row->models) + 1);
    memcpy(out->networks, row->networks, strlen(row->networks) + 1);
    return true;
}
