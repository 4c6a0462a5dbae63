/*
 * The arithmetic of one bucket. Private to the gate; pure.
 *
 * One request or token is LIMITS_UNIT units and a rate of n a minute fills n units a millisecond,
 * so that nothing is ever rounded. A level may be below zero: a debt.
 */
#ifndef MOONGATE_GATE_LIMITS_BUCKET_H
#define MOONGATE_GATE_LIMITS_BUCKET_H

#include "gate/limits.h"

#define LIMITS_UNIT INT64_C(60000)
/* The deepest debt, and the most that one call can count for. */
#define LIMITS_TOKENS_MAX LIMITS_RATE_MAX

struct limits_bucket {
    int64_t level; /* units */
    int64_t rate;  /* a minute; 0: none */
};

static inline int64_t limits_full(int64_t rate)
{
    return rate * LIMITS_UNIT;
}

/* Milliseconds until the level is at `units`. */
static inline int64_t limits_until(const struct limits_bucket *b, int64_t units)
{
    return b->level >= units ? 0 : (units - b->level + b->rate - 1) / b->rate;
}

/* What so much time fills. */
static inline void limits_fill(struct limits_bucket *b, int64_t elapsed_ms)
{
    if (b->rate == 0 || elapsed_ms <= 0)
        return;
    if (elapsed_ms >= limits_until(b, limits_full(b->rate)))
        b->level = limits_full(b->rate);
    else
        b->level += elapsed_ms * b->rate;
}

/* A new figure: what was full stays full, what was not keeps its level. */
static inline void limits_retune(struct limits_bucket *b, int64_t rate)
{
    if (b->rate == rate)
        return;
    if (rate == 0 || b->level >= limits_full(b->rate) || b->level > limits_full(rate))
        b->level = limits_full(rate);
    b->rate = rate;
}

/* The same for a bucket that subjects of several figures share: it is full at its first use
 * alone, so that nobody fills it by taking turns with another. */
static inline void limits_retune_shared(struct limits_bucket *b, int64_t rate)
{
    if (rate == 0)
        return;
    if (b->rate == 0 || b->level > limits_full(rate))
        b->level = limits_full(rate);
    b->rate = rate;
}

/* Takes tokens (or gives them back, if negative), between the deepest debt and full. */
static inline void limits_take(struct limits_bucket *b, int64_t tokens)
{
    int64_t level = b->level - tokens * LIMITS_UNIT;
    int64_t deepest = -LIMITS_TOKENS_MAX * LIMITS_UNIT;
    if (level > limits_full(b->rate))
        level = limits_full(b->rate);
    b->level = level < deepest ? deepest : level;
}

static inline bool limits_has_rate(const struct limits_rates *r)
{
    return r->per_minute[LIMITS_REQUESTS] != 0 || r->per_minute[LIMITS_TOKENS] != 0 ||
           r->concurrent != 0;
}

/* How many tokens this bucket is asked for; -1: more than it ever holds. */
int64_t limits_reserve(int64_t rate, const struct limits_ask *ask);
/* Looks at one subject, whose buckets are brought up to now, and adds its refusal, if there is
 * one, to what is said, which began as admitted. Of several that which lasts longest stays. */
void limits_judge(enum limits_scope scope, const struct limits_rates *rates,
                  const struct limits_bucket bucket[LIMITS_RATES], int64_t running, int64_t tokens,
                  struct limits_said *said);
/* Puts the answer's rate lines together from the buckets as they stand now; those without a rate
 * are left out. */
void limits_say_rates(const struct limits_bucket of[LIMITS_SCOPES][LIMITS_RATES],
                      struct limits_said *said);

#endif
