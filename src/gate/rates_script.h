/*
 * What is said to Redis and how its answers are read: the scripts, their arguments, and the way
 * back to struct limits_said. Private to the gate; pure.
 *
 * A subject is one hash, "moongate:{limits}:key:1f", with the level and rate of its two buckets
 * and when they were right. It expires when the buckets are full again: none is a full one. Its
 * calls at once are a sorted set beside it, "...:calls", of call ids by the end of their lease.
 * The braces keep all keys on one node of a cluster.
 *
 * The scripts do the arithmetic of limits_bucket.h in the same units. Lua's numbers are doubles,
 * which are exact below 2^53 = 9.0e15. The largest here: LIMITS_RATE_MAX * LIMITS_UNIT = 6.0e14
 * is a full bucket, minus that the deepest debt, so their distance, and what limits_until divides,
 * stays below 1.3e15; time in ms is 1.8e12. A quotient a/b of such numbers is never rounded up to
 * a whole one, for that takes a > 2^53. So every figure is the same as in memory, to the unit. One
 * thing differs: if the configuration's figures change while a call runs and its subject is full
 * again (so not there), the call is settled by the figures that let it in.
 */
#ifndef MOONGATE_GATE_RATES_SCRIPT_H
#define MOONGATE_GATE_RATES_SCRIPT_H

#include "gate/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

enum rates_script { RATES_SCRIPT_ADMIT, RATES_SCRIPT_SETTLE, RATES_SCRIPT_RENEW, RATES_SCRIPTS };

enum {
    RATES_ID_BYTES = 40,
    RATES_RENEWED_AT_ONCE = 64, /* sets of calls, in one command */
    RATES_ARGS_MAX = 3 + 2 * RATES_RENEWED_AT_ONCE + 2,
    RATES_ARGS_BYTES = 16384
};

/* A call from the question until it is settled. */
struct rates_call {
    TAILQ_ENTRY(rates_call) running;
    char id[RATES_ID_BYTES]; /* the same in no other process */
    struct limits_ask ask;
    int64_t want[LIMITS_SCOPES]; /* tokens to reserve there; -1: they never fit */
    int64_t used_tokens;         /* once it is settled */
    void *owner;                 /* who is told; NULL: it is settled when its answer comes */
    bool is_admitted;
};

/* A command: "EVALSHA" and the rest, whose texts lie in `bytes` or are borrowed. */
struct rates_args {
    int n;
    const char *of[RATES_ARGS_MAX];
    size_t len[RATES_ARGS_MAX];
    size_t used;
    char bytes[RATES_ARGS_BYTES];
};

const char *rates_script_text(enum rates_script script);

/* `now` is empty for Redis' own time; with another one, keys do not expire. Verb and script stand
 * before them, by rates_args_verb. */
void rates_args_admit(struct rates_args *a, const struct rates_call *call, int lease_ms,
                      const char *now);
void rates_args_settle(struct rates_args *a, const struct rates_call *call, const char *now);
/* Adds the sets of one call; false if there is no room for them: send, and begin anew. */
struct rates_renewal {
    int n;
    uint64_t subject[RATES_RENEWED_AT_ONCE];
    enum limits_scope scope[RATES_RENEWED_AT_ONCE];
    const char *id[RATES_RENEWED_AT_ONCE]; /* borrowed */
};
bool rates_renewal_add(struct rates_renewal *r, const struct rates_call *call);
void rates_args_renew(struct rates_args *a, const struct rates_renewal *r, int lease_ms,
                      const char *now);
void rates_args_verb(struct rates_args *a, const char *verb, const char *script);

/* From the numbers of an answer to the admit script to what is said; false if they make no sense.
 */
bool rates_script_read(const struct rates_call *call, const int64_t *numbers, size_t n,
                       struct limits_said *said);
enum { RATES_NUMBERS_MAX = 2 + 3 * LIMITS_SCOPES };

#endif
