/*
 * A host's name to its addresses, off the loop: one thread for one look-up, which may take as long
 * as it takes. Private to the gate; the loop's thread calls.
 */
#ifndef MOONGATE_GATE_RATES_RESOLVE_H
#define MOONGATE_GATE_RATES_RESOLVE_H

#include "base/error.h"

enum { RATES_ADDRESSES_MAX = 8, RATES_ADDRESS_BYTES = 64 };

struct rates_addresses {
    int n; /* 0: the name is not known */
    char of[RATES_ADDRESSES_MAX][RATES_ADDRESS_BYTES];
};

struct rates_resolve;
struct event_base;

/* on_done comes once, later, from the loop, unless it is closed before; it may close it. */
int rates_resolve_open(struct event_base *base, const char *host,
                       void (*on_done)(void *arg, const struct rates_addresses *found), void *arg,
                       struct rates_resolve **out, struct error *e);
/* Waits for nobody: a thread that is still looking ends by itself. Accepts NULL. */
void rates_resolve_close(struct rates_resolve *r);

#endif
