/*
 * What Redis has refused, remembered until it may say otherwise, so that nobody asks again before.
 * Private to the gate.
 *
 * A subject without a request left has none until its time, whatever happens meanwhile. Tokens
 * and calls at once may come back earlier, when a call ends: these are remembered for a moment
 * only, and forgotten when this process settles a call of that subject.
 *
 * A table of fixed size: each subject has one place, by a keyed hash, and the newcomer takes it.
 * Pure but for its memory; one thread; time is given by the caller.
 */
#ifndef MOONGATE_GATE_REFUSALS_H
#define MOONGATE_GATE_REFUSALS_H

#include "gate/limits.h"

struct refusals;

struct refusals *refusals_new(int moment_ms);
void refusals_free(struct refusals *f); /* accepts NULL */
/* `said` refused `ask` at this time. */
void refusals_put(struct refusals *f, const struct limits_ask *ask, const struct limits_said *said,
                  int64_t now_ms);
/* Would it be refused for sure? Then `said` says so, and for how long yet. */
bool refusals_find(struct refusals *f, const struct limits_ask *ask, int64_t now_ms,
                   struct limits_said *said);
/* A call of these subjects has ended. */
void refusals_drop(struct refusals *f, const struct limits_ask *ask);

#endif
