/*
 * Compute threads that split one loop at a time: the opener calls pool_run, which returns when
 * all parts are done. The calling thread takes part. One caller at a time. Idle threads spin for
 * a few microseconds, then sleep.
 */
#ifndef MOONGATE_ENGINE_POOL_H
#define MOONGATE_ENGINE_POOL_H

#include "base/error.h"

#include <stddef.h>

struct pool;

int pool_open(int threads, struct pool **out, struct error *e); /* 0: the machine's cores */
void pool_close(struct pool *p);
int pool_threads(const struct pool *p);
/* Calls fn(arg, begin, end, worker) over disjoint ranges that cover 0..n, each at least `grain`
 * long except the last; worker is 0..threads-1. Small loops run on the caller alone. */
void pool_run(struct pool *p, size_t n, size_t grain,
              void (*fn)(void *arg, size_t begin, size_t end, int worker), void *arg);

#endif
