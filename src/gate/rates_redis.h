/*
 * The limits in Redis: one connection on the loop, kept up with back-off, and the calls that are
 * asked for over it. Private to the gate; the loop's thread.
 *
 * It is reached once a greeting was answered: password, database, scripts, and a write, so that a
 * server that takes none is away. What goes unanswered for timeout_ms, an error and an answer that
 * makes no sense end the connection, and all that was asked over it is answered by "away".
 */
#ifndef MOONGATE_GATE_RATES_REDIS_H
#define MOONGATE_GATE_RATES_REDIS_H

#include "gate/rates_script.h"
#include "gate/rates_url.h"

struct rates_redis;
struct event_base;

struct rates_redis_options {
    struct rates_url url;
    int timeout_ms, lease_ms;
    size_t max_waiting;      /* commands unanswered; beyond it no call is asked for */
    int64_t (*now_ms)(void); /* NULL: Redis' own time, which is the same for all; for tests */
    /* Said NULL: away. The call is freed behind it unless it is admitted. The owner is not told
     * of anything after rates_redis_settle. */
    void (*on_answer)(void *arg, struct rates_call *call, const struct limits_said *said);
    void (*on_note)(void *arg, bool reached, const char *why);
    void *arg;
};

int rates_redis_open(struct event_base *base, const struct rates_redis_options *o,
                     struct rates_redis **out, struct error *e);
/* Answers nobody. Accepts NULL. */
void rates_redis_close(struct rates_redis *r);

/* Asks; the answer is always later. NULL: away. */
struct rates_call *rates_redis_admit(struct rates_redis *r, const struct limits_ask *ask,
                                     void *owner);
/* Takes the call: it is gone for the caller. Also while its answer is under way. */
void rates_redis_settle(struct rates_redis *r, struct rates_call *call, int64_t tokens);

struct rates_redis_state {
    bool reached;
    size_t waiting, running;
    uint64_t asked, unsettled;
};
struct rates_redis_state rates_redis_state(const struct rates_redis *r);

#endif
