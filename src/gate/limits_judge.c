/*
 * From buckets to what a call is told, the same for those in memory and those in Redis. Pure; any
 * thread.
 */
#include "gate/limits_bucket.h"

enum { RETRY_CONCURRENT_MS = 1000 };

int64_t limits_reserve(int64_t rate, const struct limits_ask *ask)
{
    if (ask->prompt_tokens > rate)
        return -1;
    return ask->tokens > rate ? rate : ask->tokens;
}

/* The refusal that lasts longest is the one that is told. */
static void refuse(struct limits_said *said, enum limits_scope scope, enum limits_kind kind,
                   int64_t limit, int64_t after_ms)
{
    bool longer = after_ms < 0 || after_ms > said->retry_after_ms;
    if (!said->admitted && (said->retry_after_ms < 0 || !longer))
        return;
    said->admitted = false;
    said->scope = scope;
    said->kind = kind;
    said->limit = limit;
    said->retry_after_ms = after_ms;
}

void limits_judge(enum limits_scope scope, const struct limits_rates *rates,
                  const struct limits_bucket bucket[LIMITS_RATES], int64_t running, int64_t tokens,
                  struct limits_said *said)
{
    const struct limits_bucket *of_requests = &bucket[LIMITS_REQUESTS];
    const struct limits_bucket *of_tokens = &bucket[LIMITS_TOKENS];
    if (rates->concurrent != 0 && running >= rates->concurrent)
        refuse(said, scope, LIMITS_CONCURRENT, rates->concurrent, RETRY_CONCURRENT_MS);
    if (rates->per_minute[LIMITS_REQUESTS] != 0 && of_requests->level < LIMITS_UNIT)
        refuse(said, scope, LIMITS_REQUESTS, of_requests->rate,
               limits_until(of_requests, LIMITS_UNIT));
    if (rates->per_minute[LIMITS_TOKENS] == 0)
        return;
    if (tokens < 0)
        refuse(said, scope, LIMITS_TOKENS, of_tokens->rate, -1);
    else if (of_tokens->level < tokens * LIMITS_UNIT)
        refuse(said, scope, LIMITS_TOKENS, of_tokens->rate,
               limits_until(of_tokens, tokens * LIMITS_UNIT));
}

void limits_say_rates(const struct limits_bucket of[LIMITS_SCOPES][LIMITS_RATES],
                      struct limits_said *said)
{
    for (int k = 0; k < LIMITS_RATES; k++) {
        struct limits_rate_said *r = &said->rate[k];
        for (int s = 0; s < LIMITS_SCOPES; s++) {
            const struct limits_bucket *b = &of[s][k];
            int64_t left = b->level > 0 ? b->level / LIMITS_UNIT : 0;
            if (b->rate == 0 || (r->limit != 0 && left >= r->remaining))
                continue;
            r->limit = b->rate;
            r->remaining = left;
            r->reset_ms = limits_until(b, limits_full(b->rate));
        }
    }
}
