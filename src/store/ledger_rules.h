/*
 * The arithmetic of money: what a hold takes, what a settlement charges, what a void gives back.
 * Works on copies of rows; reads and writes nothing. Sums stop at the ends of int64 instead of
 * going round. Private to the room. Pure; any thread.
 *
 * For each application it keeps: a hold moves its amount from balance to held; a charge leaves
 * balance and held together smaller by what was charged; neither goes below zero.
 */
#ifndef MOONGATE_STORE_LEDGER_RULES_H
#define MOONGATE_STORE_LEDGER_RULES_H

#include "store/ledger.h"

struct rules_application {
    int64_t id;
    bool there, disabled;
    int64_t balance_micros, held_micros, charged_micros;
};

struct rules_key {
    int64_t id, application_id;
    bool there, good;   /* good: neither it nor its account is revoked or disabled */
    int64_t cap_micros; /* -1: none */
    int64_t used_micros, held_micros;
};

/* One with an end. */
struct rules_grant {
    int64_t id, application_id, amount_micros, used_micros;
};

enum {
    RULES_TOKENS_MAX = 1000000000 /* of one kind in one call; what is said beyond is cut */
};
#define RULES_PRICE_MAX INT64_C(1000000000000) /* a million dollars for a million tokens */

/* Is the key there, and of that application? */
bool rules_belongs(const struct rules_application *a, const struct rules_key *k);
enum ledger_verdict rules_hold(struct rules_application *a, struct rules_key *k,
                               int64_t least_micros, int64_t want_micros, int64_t *held_micros);
/* Gives a hold back. k NULL: the key is gone. */
void rules_release(struct rules_application *a, struct rules_key *k, int64_t hold_micros);
/* Ends a hold (0: there is none) and takes what the call cost, as far as hold, balance and cap
 * reach: a hold was allowed once, so it may be spent even if the cap was lowered since. Returns
 * what was taken. */
int64_t rules_charge(struct rules_application *a, struct rules_key *k, int64_t hold_micros,
                     int64_t cost_micros);
/* Undoes a charge. k NULL: the key is gone. */
void rules_refund(struct rules_application *a, struct rules_key *k, int64_t charged_micros);

/* A charge is taken out of the grants that end, in their order (soonest end first), before money
 * that stays. Returns how much of it was. */
int64_t rules_use_grants(struct rules_grant *g, size_t n, int64_t application_id,
                         int64_t charged_micros);
/* The other way round, for a void: last end first. */
void rules_unuse_grants(struct rules_grant *g, size_t n, int64_t application_id, int64_t micros);

/* Brings counts and prices into their ranges and computes the cost. */
void rules_price_row(struct ledger_row *row);
int64_t rules_hour(int64_t unix_ms); /* its beginning */

#endif
