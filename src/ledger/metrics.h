/*
 * Counters of the process, as Prometheus' text format. Later the ledger's rows and totals stand
 * beside this. The event loop's thread. No label comes from a client.
 */
#ifndef MOONGATE_LEDGER_METRICS_H
#define MOONGATE_LEDGER_METRICS_H

#include "base/buf.h"

#include <stddef.h>
#include <stdint.h>

struct metrics;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);

/* One finished exchange. `route` is a fixed word of the route table. */
void metrics_request(struct metrics *m, const char *route, int status, int64_t duration_us);
void metrics_tokens(struct metrics *m, int64_t prompt, int64_t cached, int64_t completion);
void metrics_first_token(struct metrics *m, int64_t since_start_us);

/* Values of the moment, read by whoever writes the page. */
struct metrics_now {
    size_t connections, calls_running;
    int engine_running, engine_waiting, engine_capacity;
};
void metrics_write(const struct metrics *m, const struct metrics_now *now, struct buf *b);

#endif
