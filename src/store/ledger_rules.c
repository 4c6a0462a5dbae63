/*
 * The arithmetic of money. See the header.
 */
#include "store/ledger_rules.h"

#include <time.h>

enum { HOUR_MS = 3600000, MILLION = 1000000 };

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t between(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

static int64_t plus(int64_t a, int64_t b)
{
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return a < 0 ? INT64_MIN : INT64_MAX;
    return sum;
}

static int64_t minus(int64_t a, int64_t b)
{
    int64_t rest;
    if (__builtin_sub_overflow(a, b, &rest))
        return a < 0 ? INT64_MIN : INT64_MAX;
    return rest;
}

/* A column that may not be below zero; one that a fault made too small must not stop the books. */
static int64_t less(int64_t a, int64_t b)
{
    return a > b ? minus(a, b) : 0;
}

bool rules_belongs(const struct rules_application *a, const struct rules_key *k)
{
    return a->there && k->there && k->application_id == a->id;
}

/* What the cap leaves beside what is used and the open holds; may be below zero. */
static int64_t cap_left(const struct rules_key *k)
{
    if (k->cap_micros < 0)
        return INT64_MAX;
    return minus(minus(k->cap_micros, k->used_micros), k->held_micros);
}

enum ledger_verdict rules_hold(struct rules_application *a, struct rules_key *k,
                               int64_t least_micros, int64_t want_micros, int64_t *held_micros)
{
    int64_t least = between(least_micros, 0, INT64_MAX), want = between(want_micros, 0, INT64_MAX);
    *held_micros = 0;
    if (!rules_belongs(a, k) || a->disabled || !k->good)
        return LEDGER_GONE;
    if (a->balance_micros < least)
        return LEDGER_USED_UP;
    if (cap_left(k) < least)
        return LEDGER_CAP;
    int64_t amount = smaller(smaller(a->balance_micros, cap_left(k)), want);
    a->balance_micros -= amount;
    a->held_micros = plus(a->held_micros, amount);
    k->held_micros = plus(k->held_micros, amount);
    *held_micros = amount;
    return LEDGER_OK;
}

void rules_release(struct rules_application *a, struct rules_key *k, int64_t hold_micros)
{
    a->balance_micros = plus(a->balance_micros, hold_micros);
    a->held_micros = less(a->held_micros, hold_micros);
    if (k)
        k->held_micros = less(k->held_micros, hold_micros);
}

int64_t rules_charge(struct rules_application *a, struct rules_key *k, int64_t hold_micros,
                     int64_t cost_micros)
{
    rules_release(a, k, hold_micros);
    int64_t left = cap_left(k);
    if (left < hold_micros)
        left = hold_micros;
    int64_t charged = smaller(between(cost_micros, 0, INT64_MAX), smaller(a->balance_micros, left));
    a->balance_micros -= charged;
    a->charged_micros = plus(a->charged_micros, charged);
    k->used_micros = plus(k->used_micros, charged);
    return charged;
}

void rules_refund(struct rules_application *a, struct rules_key *k, int64_t charged_micros)
{
    a->balance_micros = plus(a->balance_micros, charged_micros);
    a->charged_micros = less(a->charged_micros, charged_micros);
    if (k)
        k->used_micros = less(k->used_micros, charged_micros);
}

int64_t rules_use_grants(struct rules_grant *g, size_t n, int64_t application_id,
                         int64_t charged_micros)
{
    int64_t rest = charged_micros;
    for (size_t i = 0; i < n && rest > 0; i++) {
        if (g[i].application_id != application_id)
            continue;
        int64_t part = smaller(rest, less(g[i].amount_micros, g[i].used_micros));
        g[i].used_micros += part;
        rest -= part;
    }
    return charged_micros - rest;
}

void rules_unuse_grants(struct rules_grant *g, size_t n, int64_t application_id, int64_t micros)
{
    for (size_t i = n; i-- > 0 && micros > 0;) {
        if (g[i].application_id != application_id)
            continue;
        int64_t part = smaller(micros, between(g[i].used_micros, 0, INT64_MAX));
        g[i].used_micros -= part;
        micros -= part;
    }
}

int64_t ledger_cost_micros(const struct ledger_price *p, int64_t prompt, int64_t cached,
                           int64_t completion)
{
    prompt = between(prompt, 0, INT64_MAX);
    cached = between(cached, 0, prompt);
    completion = between(completion, 0, INT64_MAX);
    /* Each product is below 2^126, so three of them would fit only as unsigned. */
    unsigned __int128 sum =
        (unsigned __int128)(prompt - cached) * (uint64_t)between(p->input, 0, INT64_MAX);
    sum += (unsigned __int128)cached * (uint64_t)between(p->cached, 0, INT64_MAX);
    sum += (unsigned __int128)completion * (uint64_t)between(p->output, 0, INT64_MAX);
    sum = sum / MILLION + (sum % MILLION != 0);
    return sum > INT64_MAX ? INT64_MAX : (int64_t)sum;
}

void rules_price_row(struct ledger_row *row)
{
    row->prompt_tokens = between(row->prompt_tokens, 0, RULES_TOKENS_MAX);
    row->cached_tokens = between(row->cached_tokens, 0, row->prompt_tokens);
    row->completion_tokens = between(row->completion_tokens, 0, RULES_TOKENS_MAX);
    row->reasoning_tokens = between(row->reasoning_tokens, 0, row->completion_tokens);
    row->price.input = between(row->price.input, 0, RULES_PRICE_MAX);
    row->price.cached = between(row->price.cached, 0, RULES_PRICE_MAX);
    row->price.output = between(row->price.output, 0, RULES_PRICE_MAX);
    row->cost_micros = ledger_cost_micros(&row->price, row->prompt_tokens, row->cached_tokens,
                                          row->completion_tokens);
}

int64_t rules_hour(int64_t unix_ms)
{
    return unix_ms - unix_ms % HOUR_MS;
}

int64_t ledger_day(int64_t unix_ms)
{
    time_t t = (time_t)(unix_ms / 1000);
    struct tm tm;
    if (unix_ms < 0 || !gmtime_r(&t, &tm))
        return 0;
    return ((int64_t)tm.tm_year + 1900) * 10000 + (tm.tm_mon + 1) * 100 + tm.tm_mday;
}
