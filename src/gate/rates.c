/*
 * See rates.h. It decides which of the two answers: Redis while it is reached, else the rule for
 * its absence. A hold remembers who admitted it, so that it is settled there, whatever has come
 * or gone since.
 */
#include "gate/rates.h"

#include "base/clock.h"
#include "base/mem.h"
#include "gate/limits_bucket.h"
#include "gate/rates_redis.h"
#include "gate/refusals.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { WAITING_MAX = 10000 }; /* commands before Redis; 1 KiB each */

struct rates {
    struct limits *local;
    struct rates_redis *redis; /* NULL: in memory alone */
    struct refusals *refusals; /* with Redis */
    enum rates_away away;
    void (*on_said)(void *arg, uint64_t number, const struct limits_said *said);
    void (*on_note)(void *arg, bool reached, const char *why);
    void *arg;
    uint64_t n_away, n_remembered;
};

static int admit_here(struct rates *r, const struct limits_ask *ask, struct rates_hold *hold,
                      struct limits_said *said)
{
    hold->is_local = limits_admit(r->local, ask, clock_mono_ms(), &hold->local, said);
    return RATES_ANSWERED;
}

static int admit_without_redis(struct rates *r, const struct limits_ask *ask,
                               struct rates_hold *hold, struct limits_said *said)
{
    r->n_away++;
    return r->away == RATES_AWAY_REFUSE ? ERR_BUSY : admit_here(r, ask, hold, said);
}

static void on_answer(void *arg, struct rates_call *call, const struct limits_said *said)
{
    struct rates *r = arg;
    struct rates_hold *hold = call->owner;
    uint64_t number = hold->number;
    struct limits_said here;
    if (!said || !said->admitted)
        memset(hold, 0, sizeof *hold);
    if (said && !said->admitted)
        refusals_put(r->refusals, &call->ask, said, clock_mono_ms());
    if (!said && admit_without_redis(r, &call->ask, hold, &here) == RATES_ANSWERED)
        said = &here;
    r->on_said(r->arg, number, said);
}

static void on_note(void *arg, bool reached, const char *why)
{
    const struct rates *r = arg;
    if (r->on_note)
        r->on_note(r->arg, reached, why);
}

static int open_redis(struct rates *r, struct event_base *base, const struct rates_options *o,
                      struct error *e)
{
    struct rates_redis_options redis = {.timeout_ms = o->timeout_ms,
                                        .lease_ms = RATES_LEASE_MS,
                                        .max_waiting = WAITING_MAX,
                                        .on_answer = on_answer,
                                        .on_note = on_note,
                                        .arg = r};
    int rc = rates_url_parse(o->redis, &redis.url, e);
    if (rc == 0)
        rc = rates_redis_open(base, &redis, &r->redis, e);
    sodium_memzero(&redis.url, sizeof redis.url);
    if (rc == 0)
        r->refusals = refusals_new(RATES_REMEMBERED_MS);
    return rc;
}

int rates_check_url(const char *url, struct error *e)
{
    struct rates_url parsed;
    int rc = *url ? rates_url_parse(url, &parsed, e) : 0;
    sodium_memzero(&parsed, sizeof parsed);
    return rc;
}

int rates_open(struct event_base *base, const struct rates_options *o,
               void (*on_said)(void *arg, uint64_t number, const struct limits_said *said),
               void *arg, struct rates **out, struct error *e)
{
    struct rates *r = mem_zalloc(sizeof *r);
    int rc = 0;
    r->local = limits_new(o->max_rows);
    r->away = o->away;
    r->on_said = on_said;
    r->on_note = o->on_note;
    r->arg = arg;
    if (o->redis && *o->redis)
        rc = open_redis(r, base, o, e);
    if (rc == 0)
        *out = r;
    else
        rates_close(r);
    return rc;
}

void rates_close(struct rates *r)
{
    if (!r)
        return;
    rates_redis_close(r->redis);
    refusals_free(r->refusals);
    limits_free(r->local);
    free(r);
}

/* Nobody is asked about a call without limits. */
static bool has_rates(const struct limits_ask *ask)
{
    for (int s = 0; s < LIMITS_SCOPES; s++) {
        if (limits_has_rate(&ask->of[s].rates))
            return true;
    }
    return false;
}

static bool is_reached(const struct rates *r)
{
    return r->redis && rates_redis_state(r->redis).reached;
}

bool rates_look(struct rates *r, const struct limits_ask *ask, struct limits_said *said)
{
    if (!is_reached(r) && !(r->redis && r->away == RATES_AWAY_REFUSE))
        return limits_look(r->local, ask, clock_mono_ms(), said);
    if (is_reached(r) && refusals_find(r->refusals, ask, clock_mono_ms(), said)) {
        r->n_remembered++;
        return false;
    }
    *said = (struct limits_said){.admitted = true};
    return true;
}

int rates_admit(struct rates *r, uint64_t number, const struct limits_ask *ask,
                struct rates_hold *hold, struct limits_said *said)
{
    memset(hold, 0, sizeof *hold);
    if (!r->redis)
        return admit_here(r, ask, hold, said);
    if (!has_rates(ask)) {
        *said = (struct limits_said){.admitted = true};
        return RATES_ANSWERED;
    }
    if (!is_reached(r))
        return admit_without_redis(r, ask, hold, said);
    if (refusals_find(r->refusals, ask, clock_mono_ms(), said)) {
        r->n_remembered++;
        return RATES_ANSWERED;
    }
    hold->number = number;
    hold->call = rates_redis_admit(r->redis, ask, hold);
    return hold->call ? RATES_LATER : admit_without_redis(r, ask, hold, said);
}

void rates_settle(struct rates *r, struct rates_hold *hold, int64_t tokens)
{
    if (hold->is_local)
        limits_settle(r->local, &hold->local, tokens < 0 ? 0 : tokens, clock_mono_ms());
    if (hold->call) {
        refusals_drop(r->refusals, &hold->call->ask);
        rates_redis_settle(r->redis, hold->call, tokens);
    }
    memset(hold, 0, sizeof *hold);
}

void rates_cancel(struct rates *r, struct rates_hold *hold)
{
    rates_settle(r, hold, 0);
}

void rates_state(const struct rates *r, struct rates_state *out)
{
    *out = (struct rates_state){
        .shared = r->redis != NULL, .away = r->n_away, .remembered = r->n_remembered};
    if (!r->redis)
        return;
    struct rates_redis_state redis = rates_redis_state(r->redis);
    out->reached = redis.reached;
    out->waiting = redis.waiting;
    out->running = redis.running;
    out->asked = redis.asked;
    out->unsettled = redis.unsettled;
}
