/*
 * Calls that wait for a source, by turns among their owners. Pure. Private to the router.
 *
 *   lane    calls that may go to the same sources; so one look at its first call tells of all
 *   line    an owner's calls in a lane, first come first served
 *
 * A lane's lines stand in the order of their turns. An owner that had its turn goes behind all
 * others, in every lane. So a call waits for at most one call of each other owner before its own
 * owner's next turn, and finding the next call costs one look a lane, however many wait.
 */
#ifndef MOONGATE_BACKEND_WAITING_H
#define MOONGATE_BACKEND_WAITING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct waiting_line;
struct waiting_lane;
struct waiting_owner;

/* What makes two calls of the same lane. */
struct waiting_key {
    const void *list; /* where they may go */
    uint64_t except;  /* but not there */
    int needs;
};

/* Inside what waits; all zero: does not wait. */
struct waiting_item {
    struct waiting_item *prev, *next; /* in its line */
    struct waiting_line *line;
    uint64_t arrival;
    size_t bytes;
};

struct waiting {
    struct waiting_lane *lanes;
    struct waiting_owner **owners; /* by id, in buckets */
    size_t n_buckets, n_owners;
    size_t calls, bytes; /* that wait */
    uint64_t turns, arrivals;
};

void waiting_init(struct waiting *w);
void waiting_done(struct waiting *w); /* what still waits is forgotten */
void waiting_add(struct waiting *w, struct waiting_item *item, uint64_t owner,
                 const struct waiting_key *key, size_t bytes);
void waiting_remove(struct waiting *w, struct waiting_item *item); /* harmless if it waits not */
/* It got what it waited for: it is removed, and its owner had a turn. */
void waiting_serve(struct waiting *w, struct waiting_item *item);
/* Whose turn it is among the lanes of which fn says yes; fn is asked about the first call of a
 * line in each. NULL: none. It goes on waiting. */
struct waiting_item *waiting_next(const struct waiting *w,
                                  bool (*fn)(void *arg, struct waiting_item *item), void *arg);

#endif
