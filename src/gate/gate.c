/*
 * From an Authorization header to a verdict. What cannot be a key (its length or alphabet is
 * wrong) is answered without asking the store, so that garbage costs nothing; a look-up is by
 * hash, so the time that it takes tells nothing of the key.
 *
 * Good keys are remembered for a moment. Only good ones: what is refused is asked for anew each
 * time, so that a new key works at once and strangers cannot fill the memory.
 */
#include "gate/gate.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/net.h"
#include "gate/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CACHED_KEYS_MAX = 65536, PEER_BYTES = 64, MINUTE_MS = 60000 };

struct gate {
    struct store_threads *store; /* borrowed */
    struct key_cache *cache;     /* NULL while cache_ms is 0 */
    int cache_ms;
    void (*on_pass)(void *arg, uint64_t number, const struct gate_pass *pass);
    void *arg;
};

/* A look-up under way, or the note of a key's use. */
struct find_job {
    struct store_job job;
    uint8_t hash[STORE_HASH_BYTES];
    int64_t read_ms; /* monotonic, before the store was asked */
    bool renews;     /* for the memory alone: no call waits */
    char peer[PEER_BYTES];
    struct store_key key;
};

/* --- the verdict --- */

static bool is_from(const char *networks, const char *peer)
{
    struct net_list list;
    struct error e;
    if (!*networks)
        return true;
    bool good = net_list_parse(networks, &list, &e) == 0 && net_list_has(&list, peer);
    return good;
}

enum gate_verdict gate_judge(const struct store_key *key, const char *peer)
{
    if (key->revoked_ms != 0)
        return GATE_UNKNOWN;
    if (key->expires_ms != 0 && key->expires_ms <= clock_unix_ms())
        return GATE_EXPIRED;
    if (key->disabled || key->owner_disabled)
        return GATE_DISABLED;
    if (key->kind != STORE_KEY_CALLS)
        return GATE_PLATFORM;
    return is_from(key->networks, peer) ? GATE_OK : GATE_NETWORK;
}

/* --- the way to the store --- */

static int work_find(struct store *s, struct store_job *job, struct error *e)
{
    struct find_job *j = (struct find_job *)job;
    return store_key_find(s, j->hash, &j->key, e);
}

static int work_note(struct store *s, struct store_job *job, struct error *e)
{
    const struct find_job *j = (const struct find_job *)job;
    return store_key_used(s, j->key.id, clock_unix_ms(), e);
}

static void on_noted(void *owner, struct store_job *job)
{
    (void)owner;
    free(job);
}

/* The use is kept to the minute. A note is worth little: nobody waits for it, one that fails is
 * left to the key's next call. */
static void note_use(struct gate *g, const struct store_key *key)
{
    int64_t now_ms = clock_unix_ms();
    if (key->used_ms >= now_ms - now_ms % MINUTE_MS)
        return;
    struct find_job *note = mem_zalloc(sizeof *note);
    note->job = (struct store_job){.work = work_note, .done = on_noted, .relaxed = true};
    note->key.id = key->id;
    if (store_ask(g->store, &note->job))
        free(note);
}

static void on_found(void *owner, struct store_job *job)
{
    struct find_job *j = (struct find_job *)job;
    struct gate *g = owner;
    struct gate_pass pass = {.verdict = GATE_UNAVAILABLE};
    if (job->code == ERR_NOT_FOUND)
        pass.verdict = GATE_UNKNOWN;
    else if (job->code == 0)
        pass = (struct gate_pass){.verdict = gate_judge(&j->key, j->peer), .key = j->key};
    bool good = pass.verdict == GATE_OK || pass.verdict == GATE_NETWORK;
    if (good)
        note_use(g, &j->key);
    if (g->cache && good)
        key_cache_put(g->cache, j->hash, &j->key, j->read_ms);
    else if (g->cache && pass.verdict != GATE_UNAVAILABLE)
        key_cache_drop(g->cache, j->hash);
    if (!j->renews)
        g->on_pass(g->arg, job->number, &pass);
    free(j);
}

static int find(struct gate *g, uint64_t number, const uint8_t hash[STORE_HASH_BYTES],
                const char *peer, bool renews)
{
    struct find_job *j = mem_zalloc(sizeof *j);
    j->job = (struct store_job){
        .work = work_find, .done = on_found, .owner = g, .number = number, .bare = true};
    memcpy(j->hash, hash, STORE_HASH_BYTES);
    snprintf(j->peer, sizeof j->peer, "%s", peer);
    j->read_ms = clock_mono_ms();
    j->renews = renews;
    int rc = store_ask_read(g->store, &j->job);
    if (rc)
        free(j);
    return rc;
}

/* --- the face --- */

int gate_open(struct store_threads *store,
              void (*on_pass)(void *arg, uint64_t number, const struct gate_pass *pass), void *arg,
              struct gate **out, struct error *e)
{
    struct gate *g = mem_zalloc(sizeof *g);
    (void)e;
    g->store = store;
    g->on_pass = on_pass;
    g->arg = arg;
    *out = g;
    return 0;
}

void gate_close(struct gate *g)
{
    if (!g)
        return;
    key_cache_free(g->cache);
    free(g);
}

void gate_set_cache(struct gate *g, int ms)
{
    g->cache_ms = ms;
    if (ms == 0) {
        key_cache_free(g->cache);
        g->cache = NULL;
    } else if (!g->cache) {
        g->cache = key_cache_new(CACHED_KEYS_MAX);
    }
}

/* A busy key is read anew when half its time is over, so that no call waits for the store. */
static bool is_remembered(struct gate *g, const uint8_t *hash, const char *peer,
                          struct gate_pass *now)
{
    int64_t now_ms = clock_mono_ms();
    if (!g->cache || !key_cache_find(g->cache, hash, now_ms - g->cache_ms, &now->key))
        return false;
    if (key_cache_renew(g->cache, hash, now_ms - g->cache_ms / 2))
        find(g, 0, hash, peer, true);
    now->verdict = gate_judge(&now->key, peer);
    return now->verdict == GATE_OK || now->verdict == GATE_NETWORK;
}

static bool looks_like_key(const char *key, size_t len)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    bool shape = (len == GATE_KEY_CHARS && memcmp(key, "mg-", 3) == 0) ||
                 (len == GATE_TOKEN_CHARS && memcmp(key, "platform-", 9) == 0);
    return shape && strspn(key, alphabet) >= len;
}

bool gate_check(struct gate *g, uint64_t number, const char *authorization, const char *peer,
                struct gate_pass *now)
{
    uint8_t hash[STORE_HASH_BYTES];
    size_t len;
    const char *key = gate_bearer(authorization, &len);

    *now = (struct gate_pass){.verdict = GATE_NO_KEY};
    if (!key)
        return true;
    now->verdict = GATE_UNKNOWN;
    if (!looks_like_key(key, len))
        return true;
    gate_key_hash(key, len, hash);
    if (is_remembered(g, hash, peer, now))
        return true;
    now->verdict = GATE_UNAVAILABLE;
    return !store_is_up(g->store) || find(g, number, hash, peer, false) != 0;
}

bool gate_allows_model(const struct store_key *key, const char *model)
{
    size_t len = strlen(model);
    const char *s = key->models;
    if (!*s)
        return true;
    for (size_t n; *s; s += n + (s[n] == ',')) {
        n = strcspn(s, ",");
        if (n == len && memcmp(s, model, len) == 0)
            return true;
    }
    return false;
}
