/*
 * What an answer's head says of limits, and what a refusal says to people. Pure; any thread.
 *
 * Two families are written: x-ratelimit-...-requests and ...-tokens with durations ("12ms",
 * "6m0s"), and the shorter X-RateLimit-Limit, -Remaining and -Reset, which speak of requests
 * (of tokens where only those are limited) with whole seconds until all is there again.
 */
#ifndef MOONGATE_GATE_LIMITS_HEAD_H
#define MOONGATE_GATE_LIMITS_HEAD_H

#include "gate/limits.h"

enum { LIMITS_HEAD_MAX = 9, LIMITS_VALUE_BYTES = 32 };

struct limits_head {
    const char *name; /* a literal */
    char value[LIMITS_VALUE_BYTES];
};

/* Writes the lines of the limits that there are; returns how many. */
size_t limits_head(const struct limits_said *said, struct limits_head out[LIMITS_HEAD_MAX]);
/* Seconds for Retry-After: the first whole one at which it is let in, 1 at least; 0: never. */
int64_t limits_retry_after_s(const struct limits_said *said);
/* One sentence that names the limit. */
void limits_refusal(const struct limits_said *said, char *out, size_t out_bytes);
/* 12 is "12ms", 1500 "1.5s", 360000 "6m0s". */
void limits_duration(int64_t ms, char out[LIMITS_VALUE_BYTES]);

#endif
