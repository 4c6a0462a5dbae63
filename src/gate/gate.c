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
#include "base/mailbox.h"
#include "base/mem.h"
#include "gate/cache.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { CACHED_KEYS_MAX = 65536, NOBODY = 0 /* a number that no call has */ };

struct gate {
    struct store_writer *writer; /* borrowed */
    struct key_cache *cache;     /* NULL while cache_ms is 0 */
    int cache_ms;
    struct event *answers;
    void (*on_pass)(void *arg, uint64_t number, const struct gate_pass *pass);
    void *arg;
};

static enum gate_verdict judge(const struct store_answer *a)
{
    if (a->code == ERR_NOT_FOUND)
        return GATE_UNKNOWN;
    if (a->code != 0)
        return GATE_UNAVAILABLE;
    if (a->key.revoked_ms != 0)
        return GATE_UNKNOWN;
    if (a->key.expires_ms != 0 && a->key.expires_ms <= clock_unix_ms())
        return GATE_EXPIRED;
    return a->key.disabled ? GATE_DISABLED : GATE_OK;
}

static void remember(struct gate *g, const struct store_answer *a, enum gate_verdict verdict)
{
    if (!g->cache)
        return;
    if (verdict == GATE_OK)
        key_cache_put(g->cache, a->hash, &a->key, a->read_ms);
    else if (verdict != GATE_UNAVAILABLE)
        key_cache_drop(g->cache, a->hash);
}

static void on_answers(evutil_socket_t fd, short what, void *arg)
{
    struct gate *g = arg;
    struct store_answer a;
    (void)fd;
    (void)what;
    while (mailbox_take(store_writer_answers(g->writer), &a)) {
        struct gate_pass pass = {.verdict = judge(&a), .key = a.key};
        remember(g, &a, pass.verdict);
        if (a.number != NOBODY)
            g->on_pass(g->arg, a.number, &pass);
    }
}

int gate_open(struct event_base *base, struct store_writer *writer,
              void (*on_pass)(void *arg, uint64_t number, const struct gate_pass *pass), void *arg,
              struct gate **out, struct error *e)
{
    struct gate *g = mem_zalloc(sizeof *g);
    g->writer = writer;
    g->on_pass = on_pass;
    g->arg = arg;
    g->answers = event_new(base, mailbox_fd(store_writer_answers(writer)), EV_READ | EV_PERSIST,
                           on_answers, g);
    if (!g->answers || event_add(g->answers, NULL) != 0) {
        gate_close(g);
        return error_set(e, ERR_IO, "the loop does not watch the store's answers");
    }
    *out = g;
    return 0;
}

void gate_close(struct gate *g)
{
    if (!g)
        return;
    if (g->answers)
        event_free(g->answers);
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
static bool is_remembered(struct gate *g, const uint8_t *hash, struct gate_pass *now)
{
    int64_t now_ms = clock_mono_ms();
    if (!g->cache || !key_cache_find(g->cache, hash, now_ms - g->cache_ms, &now->key))
        return false;
    if (key_cache_renew(g->cache, hash, now_ms - g->cache_ms / 2))
        store_writer_find_key(g->writer, NOBODY, hash);
    if (now->key.expires_ms != 0 && now->key.expires_ms <= clock_unix_ms())
        return false;
    now->verdict = GATE_OK;
    return true;
}

/* The text after "Bearer", without the spaces around it; NULL if there is none. */
static const char *bearer_key(const char *authorization, size_t *len)
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

static bool looks_like_key(const char *key, size_t len)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    return len == GATE_KEY_CHARS && memcmp(key, "mg-", 3) == 0 && strspn(key, alphabet) >= len;
}

bool gate_check(struct gate *g, uint64_t number, const char *authorization, struct gate_pass *now)
{
    uint8_t hash[STORE_HASH_BYTES];
    size_t len;
    const char *key = bearer_key(authorization, &len);

    *now = (struct gate_pass){.verdict = GATE_NO_KEY};
    if (!key)
        return true;
    now->verdict = GATE_UNKNOWN;
    if (!looks_like_key(key, len))
        return true;
    gate_key_hash(key, len, hash);
    if (is_remembered(g, hash, now))
        return true;
    now->verdict = GATE_UNAVAILABLE;
    return store_writer_find_key(g->writer, number, hash) != 0;
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
