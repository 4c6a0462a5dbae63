/*
 * See limits_head.h. Written from what the buckets said, without looking at them again, so that
 * an answer sent much later tells how things stood when the call was let in.
 */
#include "gate/limits_head.h"

#include <inttypes.h>
#include <stdio.h>

enum { SECOND_MS = 1000, MINUTE_MS = 60 * SECOND_MS, HOUR_MS = 60 * MINUTE_MS };

static int64_t whole_seconds(int64_t ms)
{
    return ms / SECOND_MS + (ms % SECOND_MS != 0);
}

/* Seconds below a minute, without zeros behind the last digit that counts. */
static void put_seconds(int64_t ms, char *out, size_t out_bytes)
{
    int64_t digits = ms % SECOND_MS;
    int width = 3;
    while (digits != 0 && digits % 10 == 0) {
        digits /= 10;
        width--;
    }
    if (digits == 0)
        snprintf(out, out_bytes, "%" PRId64 "s", ms / SECOND_MS);
    else
        snprintf(out, out_bytes, "%" PRId64 ".%0*" PRId64 "s", ms / SECOND_MS, width, digits);
}

void limits_duration(int64_t ms, char out[LIMITS_VALUE_BYTES])
{
    int n = 0;
    if (ms < SECOND_MS && ms != 0) {
        snprintf(out, LIMITS_VALUE_BYTES, "%" PRId64 "ms", ms);
        return;
    }
    if (ms >= HOUR_MS)
        n += snprintf(out, LIMITS_VALUE_BYTES, "%" PRId64 "h", ms / HOUR_MS);
    if (ms >= MINUTE_MS)
        n += snprintf(out + n, LIMITS_VALUE_BYTES - (size_t)n, "%" PRId64 "m",
                      ms % HOUR_MS / MINUTE_MS);
    put_seconds(ms % MINUTE_MS, out + n, LIMITS_VALUE_BYTES - (size_t)n);
}

static void put_number(struct limits_head *h, const char *name, int64_t n)
{
    h->name = name;
    snprintf(h->value, sizeof h->value, "%" PRId64, n);
}

static size_t put_rate(const struct limits_rate_said *r, const char *const names[3],
                       struct limits_head *out)
{
    if (r->limit == 0)
        return 0;
    put_number(&out[0], names[0], r->limit);
    put_number(&out[1], names[1], r->remaining);
    out[2].name = names[2];
    limits_duration(r->reset_ms, out[2].value);
    return 3;
}

size_t limits_head(const struct limits_said *said, struct limits_head out[LIMITS_HEAD_MAX])
{
    static const char *const names[LIMITS_RATES][3] = {
        {"x-ratelimit-limit-requests", "x-ratelimit-remaining-requests",
         "x-ratelimit-reset-requests"},
        {"x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"}};
    static const char *const short_names[3] = {"X-RateLimit-Limit", "X-RateLimit-Remaining",
                                               "X-RateLimit-Reset"};
    const struct limits_rate_said *r = &said->rate[LIMITS_REQUESTS];
    size_t n = 0;
    for (int k = 0; k < LIMITS_RATES; k++)
        n += put_rate(&said->rate[k], names[k], out + n);
    if (r->limit == 0)
        r = &said->rate[LIMITS_TOKENS];
    if (r->limit == 0)
        return n;
    n += put_rate(r, short_names, out + n);
    put_number(&out[n - 1], short_names[2], whole_seconds(r->reset_ms));
    return n;
}

int64_t limits_retry_after_s(const struct limits_said *said)
{
    if (said->retry_after_ms < 0)
        return 0;
    int64_t s = whole_seconds(said->retry_after_ms);
    return s > 0 ? s : 1;
}

void limits_refusal(const struct limits_said *said, char *out, size_t out_bytes)
{
    const char *scope = limits_scope_name(said->scope);
    if (said->kind == LIMITS_CONCURRENT)
        snprintf(out, out_bytes,
                 "Rate limit reached for this %s: %" PRId64 " calls at once. Try again when one "
                 "of them has ended.",
                 scope, said->limit);
    else if (said->retry_after_ms < 0)
        snprintf(out, out_bytes,
                 "The prompt alone has more tokens than the limit of this %s allows in a minute: "
                 "%" PRId64 ". Shorten it.",
                 scope, said->limit);
    else
        snprintf(out, out_bytes,
                 "Rate limit reached for this %s: %" PRId64 " %s per minute. Try again in %" PRId64
                 " s.",
                 scope, said->limit, limits_kind_name(said->kind), limits_retry_after_s(said));
}
