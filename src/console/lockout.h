/*
 * How often a log-in may be tried: for an account (known or not) and from a network.
 *
 * A try counts as a failure from the moment it begins, so that many at once do not pass before
 * the first is judged; success takes it back. After so many failures the account, or the network,
 * waits; each further failure doubles the wait up to a bound. Failures are forgotten when none
 * came for a while. A refused try is not counted: who waits is let in when it is told.
 *
 * Bounded: without room the account or network that has been quiet longest is forgotten first,
 * one that waits last of all. Pure but for its own memory; time is given by the caller
 * (monotonic milliseconds). One thread.
 */
#ifndef MOONGATE_CONSOLE_LOCKOUT_H
#define MOONGATE_CONSOLE_LOCKOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lockout_settings {
    int account_tries, network_tries; /* failures until the first wait */
    int64_t first_ms, longest_ms;     /* of waits */
    int64_t forget_ms;                /* after the last failure, and the wait that it began */
    size_t max_rows;                  /* of accounts, and of networks */
};

struct lockout;

struct lockout *lockout_new(const struct lockout_settings *settings);
void lockout_free(struct lockout *l); /* accepts NULL */

/* `identity` is the address as typed, in lower case; `network` is limits_network's. False: not
 * before *wait_ms. */
bool lockout_try(struct lockout *l, const char *identity, uint64_t network, int64_t now_ms,
                 int64_t *wait_ms);
/* The try was good: the account has no failures any more, the network one less. */
void lockout_passed(struct lockout *l, const char *identity, uint64_t network, int64_t now_ms);
/* It was not judged (the store was away): both have one less. */
void lockout_undone(struct lockout *l, const char *identity, uint64_t network, int64_t now_ms);
size_t lockout_rows(const struct lockout *l);

#endif
