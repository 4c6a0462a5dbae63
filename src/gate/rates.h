/*
 * One face for the limits, kept in this process' memory or shared by replicas in Redis or Valkey.
 *
 * In memory every answer comes at once. With Redis a call is admitted by one script there, which
 * looks at all limits and then charges all of them, in the arithmetic of limits_bucket.h and by
 * Redis' own clock: the verdicts are those of limits.h, and the answer comes later from the loop.
 *
 * Redis is away when it cannot be reached, says an error, does not answer in time, or has too
 * many questions before it. Then one rule holds for all that is asked: either this process' own
 * limits in memory apply, with the full figures (so n replicas let through n times as much at
 * most), or calls are refused. What Redis admitted goes on; when it is back, it is asked again.
 * The same goes for the first moment after opening, until the connection stands.
 *
 * A call that Redis admitted counts there as running for a lease (RATES_LEASE_MS), which this
 * process renews while the call runs, so that the calls of a process that died do not count for
 * ever. A settle that cannot be sent is lost: what was reserved stays charged and fills again with
 * time, and the call stops counting when its lease ends.
 *
 * It takes one server of Redis 5 or later or Valkey; neither Sentinel nor a cluster's redirects
 * are followed. A key that it evicts is a bucket that is full again.
 *
 * The event loop's thread alone. A host's name is looked up on a thread of its own.
 */
#ifndef MOONGATE_GATE_RATES_H
#define MOONGATE_GATE_RATES_H

#include "base/error.h"
#include "gate/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rates_away { RATES_AWAY_LOCAL, RATES_AWAY_REFUSE };

enum { RATES_ANSWERED, RATES_LATER };
enum { RATES_LEASE_MS = 60000 };

struct rates_options {
    size_t max_rows; /* of the limits in memory, see limits_new */
    /* Empty: in memory alone. redis://[[USER]:PASSWORD@]HOST[:PORT][/DB] or
     * unix://[[USER]:PASSWORD@]/PATH[?db=DB]. TLS (rediss://) is not built here: Debian 12's
     * hiredis has none. */
    const char *redis;
    enum rates_away away;
    int timeout_ms; /* for an answer of Redis */
    /* Redis is reached from now on, or away and why; may be NULL. Gets the same arg. */
    void (*on_note)(void *arg, bool reached, const char *why);
};

struct rates;
struct rates_call;
struct event_base;

/* What a call holds, from rates_admit until rates_settle; all zero holds nothing. It stays where
 * it is in memory meanwhile. */
struct rates_hold {
    struct rates_call *call;
    uint64_t number;
    bool is_local;
    struct limits_hold local;
};

/* Is this a URL that rates_open takes? Empty is. The text of an error holds nothing of it. */
int rates_check_url(const char *url, struct error *e);

/* on_said answers what rates_admit left open; `said` is NULL if Redis is away and the rule is to
 * refuse. It may call anything of this face but rates_close. */
int rates_open(struct event_base *base, const struct rates_options *o,
               void (*on_said)(void *arg, uint64_t number, const struct limits_said *said),
               void *arg, struct rates **out, struct error *e);
/* Every hold must be settled before; those under way are not answered any more. Accepts NULL. */
void rates_close(struct rates *r);

/* A look before the body is read, with no tokens yet; charges nothing. In memory it is
 * limits_look. With Redis it asks nobody: it refuses what Redis has just refused and would refuse
 * again (a limit of requests until its time, the others for RATES_REMEMBERED_MS at most), so that
 * a flood of refused calls costs Redis nothing; all else it says is admitted, without figures.
 * While Redis is away, this process' limits are looked at where those apply. */
bool rates_look(struct rates *r, const struct limits_ask *ask, struct limits_said *said);
enum { RATES_REMEMBERED_MS = 100 };

/* RATES_ANSWERED: `said` is filled. RATES_LATER: on_said will come. ERR_BUSY: Redis is away and the
 * rule is to refuse (503). An admitted call is settled once, also if it comes to nothing. */
int rates_admit(struct rates *r, uint64_t number, const struct limits_ask *ask,
                struct rates_hold *hold, struct limits_said *said);
/* The call is over and used so many tokens. Empties the hold: a second time is harmless, and so
 * is one that was refused or never asked. Nobody waits for Redis here. While the answer is still
 * under way it is the same as rates_cancel. */
void rates_settle(struct rates *r, struct rates_hold *hold, int64_t tokens);
/* The call has died: no on_said comes for it, and if Redis admits it yet, that is taken back. */
void rates_cancel(struct rates *r, struct rates_hold *hold);

struct rates_state {     /* for metrics */
    bool shared;         /* there is a Redis */
    bool reached;        /* it is there */
    size_t waiting;      /* commands that it has not answered yet */
    size_t running;      /* calls that it admitted and that are not settled */
    uint64_t asked;      /* calls that it was asked about */
    uint64_t away;       /* calls that the rule for its absence decided */
    uint64_t remembered; /* refusals that it was not asked for again */
    uint64_t unsettled;  /* settles that did not reach it */
};
void rates_state(const struct rates *r, struct rates_state *out);

#endif
