/*
 * How far a source is trusted: a circuit that consecutive failures open, and rests that the
 * source asks for. Pure: times are arguments, in milliseconds of one clock. Private to the
 * router.
 *
 *   closed --failures in a row--> open --its time is over--> trial --good--> closed
 *                                  ^--------------bad---------'
 */
#ifndef MOONGATE_BACKEND_HEALTH_H
#define MOONGATE_BACKEND_HEALTH_H

#include "backend/router.h"

#include <stdbool.h>
#include <stdint.h>

struct health {   /* all zero: closed */
    int failures; /* in a row */
    int openings; /* in a row, without a good end between them */
    bool open;    /* also while it is tried */
    bool on_trial;
    int64_t open_until_ms, rest_until_ms;
};

enum health_change { HEALTH_SAME, HEALTH_OPENED, HEALTH_CLOSED, HEALTH_RESTS };

/* A run's end, as far as health cares. */
struct health_end {
    bool trial; /* what health_begin said of this run, unless health_started closed the circuit */
    enum backend_blame blame;
    int retry_after_ms;
    double jitter; /* from 0 to 1 */
};

enum router_health health_now(const struct health *h, int64_t now_ms);
bool health_takes(const struct health *h, int64_t now_ms); /* a call may go there */
int64_t health_ms(const struct health *h, int64_t now_ms); /* until it may; 0: now, or after the
                                                              trial that is under way */
/* A call goes there. True: it is the trial. */
bool health_begin(struct health *h, int64_t now_ms);
/* A trial's reply has begun. */
enum health_change health_started(struct health *h, const struct router_options *o);
enum health_change health_ended(struct health *h, const struct router_options *o, int64_t now_ms,
                                const struct health_end *end);
void health_stopped(struct health *h, bool trial); /* given up: nothing was learned */
/* The source answered a probe. */
enum health_change health_probed(struct health *h, const struct router_options *o);

#endif
