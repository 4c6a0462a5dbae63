/*
 * The circuit of a source. A trial's first content closes it, so that others need not wait for a
 * long reply's end; but until a run has ended well, one more failure opens it again, and for
 * longer. Runs that began before it opened tell nothing new: their ends are not counted.
 */
#include "backend/health.h"

enum router_health health_now(const struct health *h, int64_t now_ms)
{
    if (h->open && h->open_until_ms > now_ms)
        return ROUTER_OPEN;
    if (h->rest_until_ms > now_ms)
        return ROUTER_RESTING;
    return h->open ? ROUTER_TRIAL : ROUTER_CLOSED;
}

bool health_takes(const struct health *h, int64_t now_ms)
{
    enum router_health state = health_now(h, now_ms);
    return state == ROUTER_CLOSED || (state == ROUTER_TRIAL && !h->on_trial);
}

int64_t health_ms(const struct health *h, int64_t now_ms)
{
    int64_t until = h->rest_until_ms;
    if (h->open && h->open_until_ms > until)
        until = h->open_until_ms;
    return until > now_ms ? until - now_ms : 0;
}

bool health_begin(struct health *h, int64_t now_ms)
{
    if (health_now(h, now_ms) != ROUTER_TRIAL)
        return false;
    h->on_trial = true;
    return true;
}

/* Trusted again, on probation. */
static enum health_change close_circuit(struct health *h, const struct router_options *o)
{
    if (!h->open)
        return HEALTH_SAME;
    h->open = false;
    h->on_trial = false;
    h->failures = o->failures - 1;
    return HEALTH_CLOSED;
}

enum health_change health_started(struct health *h, const struct router_options *o)
{
    return close_circuit(h, o);
}

enum health_change health_probed(struct health *h, const struct router_options *o)
{
    return close_circuit(h, o);
}

void health_stopped(struct health *h, bool trial)
{
    if (trial)
        h->on_trial = false;
}

static enum health_change open_circuit(struct health *h, const struct router_options *o,
                                       int64_t now_ms, double jitter)
{
    int64_t ms = o->open_ms;
    for (int i = 0; i < h->openings && ms < o->open_max_ms; i++)
        ms *= 2;
    if (ms > o->open_max_ms)
        ms = o->open_max_ms;
    h->openings++;
    h->open = true;
    h->open_until_ms = now_ms + (int64_t)((double)ms * (0.8 + 0.4 * jitter));
    return HEALTH_OPENED;
}

static enum health_change rest(struct health *h, const struct router_options *o, int64_t now_ms,
                               int retry_after_ms)
{
    int ms = retry_after_ms > 0 ? retry_after_ms : o->open_ms;
    if (ms > o->rest_max_ms)
        ms = o->rest_max_ms;
    bool rested = h->rest_until_ms > now_ms;
    if (h->rest_until_ms < now_ms + ms)
        h->rest_until_ms = now_ms + ms;
    return rested || ms <= 0 ? HEALTH_SAME : HEALTH_RESTS;
}

static enum health_change end_well(struct health *h, bool trial)
{
    bool closes = h->open;
    if (h->open && !trial)
        return HEALTH_SAME;
    h->open = false;
    h->failures = 0;
    h->openings = 0;
    return closes ? HEALTH_CLOSED : HEALTH_SAME;
}

static enum health_change end_badly(struct health *h, const struct router_options *o,
                                    int64_t now_ms, const struct health_end *end)
{
    if (h->open && !end->trial)
        return HEALTH_SAME;
    h->failures++;
    if (!end->trial && h->failures < o->failures)
        return HEALTH_SAME;
    return open_circuit(h, o, now_ms, end->jitter);
}

enum health_change health_ended(struct health *h, const struct router_options *o, int64_t now_ms,
                                const struct health_end *end)
{
    health_stopped(h, end->trial);
    switch (end->blame) {
    case BLAME_NONE:
    case BLAME_CALL:
    case BLAME_ROUTE:
        return end_well(h, end->trial);
    case BLAME_BUSY:
        return rest(h, o, now_ms, end->retry_after_ms);
    case BLAME_SOURCE:
        return end_badly(h, o, now_ms, end);
    }
    return HEALTH_SAME;
}
