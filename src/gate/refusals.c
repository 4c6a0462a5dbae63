/*
 * See refusals.h. A refusal holds for the figure that it names: with another figure in the
 * configuration it says nothing, and Redis is asked.
 */
#include "gate/refusals.h"

#include "base/clock.h"
#include "base/mem.h"
#include "gate/limits_bucket.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { PLACES = 8192 };

struct refusal {
    uint64_t id;
    int64_t until_ms; /* 0: none */
    int64_t at_ms;
    int64_t tokens; /* that it would have reserved there */
    struct limits_said said;
};

struct refusals {
    int moment_ms;
    unsigned char hash_key[crypto_shorthash_KEYBYTES];
    struct refusal places[PLACES];
};

struct refusals *refusals_new(int moment_ms)
{
    struct refusals *f = mem_zalloc(sizeof *f);
    f->moment_ms = moment_ms;
    random_bytes(f->hash_key, sizeof f->hash_key);
    return f;
}

void refusals_free(struct refusals *f)
{
    free(f);
}

static struct refusal *place_of(struct refusals *f, enum limits_scope scope, uint64_t id)
{
    unsigned char hash[crypto_shorthash_BYTES];
    uint64_t in[2] = {scope, id}, h;
    crypto_shorthash(hash, (const unsigned char *)in, sizeof in, f->hash_key);
    memcpy(&h, hash, sizeof h);
    return &f->places[h % PLACES];
}

static bool is_of(const struct refusal *r, enum limits_scope scope, uint64_t id)
{
    return r->until_ms != 0 && r->said.scope == scope && r->id == id;
}

void refusals_put(struct refusals *f, const struct limits_ask *ask, const struct limits_said *said,
                  int64_t now_ms)
{
    const struct limits_subject *subject = &ask->of[said->scope];
    struct refusal *r = place_of(f, said->scope, subject->id);
    int64_t lasts_ms = said->retry_after_ms;
    if (lasts_ms <= 0) /* never: that is a matter of the call, not of the subject */
        return;
    if (said->kind != LIMITS_REQUESTS && lasts_ms > f->moment_ms)
        lasts_ms = f->moment_ms;
    r->id = subject->id;
    r->at_ms = now_ms;
    r->until_ms = now_ms + lasts_ms;
    r->tokens = limits_reserve(subject->rates.per_minute[LIMITS_TOKENS], ask);
    r->said = *said;
}

static bool holds_for(const struct refusal *r, const struct limits_ask *ask, int64_t now_ms)
{
    const struct limits_rates *rates = &ask->of[r->said.scope].rates;
    if (now_ms >= r->until_ms)
        return false;
    if (r->said.kind == LIMITS_CONCURRENT)
        return rates->concurrent == r->said.limit;
    if (rates->per_minute[r->said.kind] != r->said.limit)
        return false;
    return r->said.kind == LIMITS_REQUESTS || limits_reserve(r->said.limit, ask) >= r->tokens;
}

static void tell(const struct refusal *r, int64_t now_ms, struct limits_said *said)
{
    int64_t ago_ms = now_ms - r->at_ms;
    *said = r->said;
    if (said->kind != LIMITS_CONCURRENT)
        said->retry_after_ms -= ago_ms;
    for (int k = 0; k < LIMITS_RATES; k++)
        said->rate[k].reset_ms -= said->rate[k].reset_ms < ago_ms ? said->rate[k].reset_ms : ago_ms;
}

bool refusals_find(struct refusals *f, const struct limits_ask *ask, int64_t now_ms,
                   struct limits_said *said)
{
    const struct refusal *longest = NULL;
    for (int s = 0; s < LIMITS_SCOPES; s++) {
        if (!limits_has_rate(&ask->of[s].rates))
            continue;
        const struct refusal *r = place_of(f, s, ask->of[s].id);
        if (is_of(r, s, ask->of[s].id) && holds_for(r, ask, now_ms) &&
            (!longest || r->until_ms > longest->until_ms))
            longest = r;
    }
    if (longest)
        tell(longest, now_ms, said);
    return longest != NULL;
}

void refusals_drop(struct refusals *f, const struct limits_ask *ask)
{
    for (int s = 0; s < LIMITS_SCOPES; s++) {
        if (!limits_has_rate(&ask->of[s].rates))
            continue;
        struct refusal *r = place_of(f, s, ask->of[s].id);
        if (is_of(r, s, ask->of[s].id) && r->said.kind != LIMITS_REQUESTS)
            r->until_ms = 0;
    }
}
