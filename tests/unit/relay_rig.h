/*
 * Reads what an upstream said from a copy that ends where the text ends, so that a read past it
 * shows. Include behind cmocka.h.
 */
#ifndef MOONGATE_TESTS_RELAY_RIG_H
#define MOONGATE_TESTS_RELAY_RIG_H

#include "api/relay.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

/* A delta in a chunk that needs nothing else. */
#define DELTA(members)                                                                             \
    "[{\"index\":0,\"delta\":{" members "},\"logprobs\":null,\"finish_reason\":null}]"

/* The copy lives as long as what points into it. */
struct reading {
    char *copy;
    struct relayed r;
    struct error e;
    int rc;
};

static inline void read_bytes(struct reading *x, const char *text, size_t len)
{
    x->copy = malloc(len > 0 ? len : 1);
    memcpy(x->copy, text, len);
    x->rc = relay_read(x->copy, len, &x->r, &x->e);
}

static inline void read_text(struct reading *x, const char *text)
{
    read_bytes(x, text, strlen(text));
}

static inline void done(struct reading *x)
{
    relay_done(&x->r);
    free(x->copy);
}

static inline void read_good(struct reading *x, const char *text)
{
    read_text(x, text);
    if (x->rc != 0)
        fail_msg("%s: %s", text, x->e.text);
}

#endif
