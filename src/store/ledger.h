/*
 * The books: holds and settlements of calls, one row a call, totals by the hour.
 *
 * hold: takes an amount out of the balance of the key's application (and of the key's cap) before
 * a call runs; settle: writes the call's row, charges what it cost and gives back the rest;
 * release: a settlement that costs nothing. All three are safe to repeat: a hold by its trace id,
 * a settlement because the row of that trace id is there.
 *
 * Many operations go in one transaction: rows of applications and keys are locked in the order of
 * their numbers, read once, changed here, and written back under the condition that the balance
 * is what was read.
 */
#ifndef MOONGATE_STORE_LEDGER_H
#define MOONGATE_STORE_LEDGER_H

#include "store/store.h"

enum ledger_verdict {
    LEDGER_OK,
    LEDGER_USED_UP, /* the balance is below the least */
    LEDGER_CAP,     /* the key's own cap is */
    LEDGER_GONE     /* the key or its application is not there, disabled or revoked by now */
};

struct ledger_hold {
    char trace_id[STORE_TRACE_BYTES];
    int64_t application_id, key_id;
    int64_t least_micros; /* the prompt and one token of reply: without it used_up */
    int64_t want_micros;  /* the most that the call can cost */
    int64_t now_ms, deadline_ms;
    /* The answer: */
    enum ledger_verdict verdict;
    int64_t held_micros;    /* between the two */
    int64_t balance_micros; /* what is left beside the hold */
};

/* micro-USD for a million tokens */
struct ledger_price {
    int64_t input, cached, output;
};

/* Rounded up to a whole micro-USD; cached tokens are part of prompt tokens. */
int64_t ledger_cost_micros(const struct ledger_price *p, int64_t prompt, int64_t cached,
                           int64_t completion);

struct ledger_row {
    char trace_id[STORE_TRACE_BYTES];
    int64_t account_id, application_id, key_id;
    int64_t ended_ms;   /* Unix; decides the day */
    char route[16];     /* "chat", "kimi_chat" */
    char model[128];    /* asked */
    char answered[160]; /* the fingerprint of the model that answered; "" if none did */
    char backend[64];
    int status;
    char finish[24]; /* "stop", "length", ... or the fault's code, "client_gone" */
    int64_t prompt_tokens, cached_tokens, reasoning_tokens, completion_tokens;
    char source[16]; /* of the counts: "engine", "upstream", "counted", "estimated", "none" */
    struct ledger_price price;
    int64_t cost_micros;    /* tokens times price */
    int64_t charged_micros; /* the answer: cost, but never more than hold and balance had */
    int64_t balance_micros; /* the answer: after it */
    int64_t queue_us, first_us, total_us; /* first_us -1: there was no text */
    bool client_gone;
};

struct ledger_settle {
    struct ledger_row row; /* charged and balance are filled */
    bool held;             /* a hold was made for it */
};

enum ledger_op_kind { LEDGER_HOLD, LEDGER_SETTLE, LEDGER_VOID };

/* One operation of a group. VOID: the settlement of row.trace_id was told to a client as a
 * failure: what it charged is given back, or its hold if it was never written. Its row stays, with
 * status 503, finish "void", no prices and no cost; of `row` it needs trace id, application, key
 * and the same ended_ms. */
struct ledger_op {
    enum ledger_op_kind kind;
    int code; /* the answer: 0, or why it could not be done (ERR_EXISTS: its trace id is that of
                 another call) */
    union {
        struct ledger_hold hold;
        struct ledger_settle settle;
    };
};

/* All of them in one transaction, which this begins and commits; after a failure that may lie in
 * one of them, each by itself. Counts and prices of rows are brought into their ranges, and costs
 * computed, here. Returns nonzero only if the store itself failed: then all may be tried again,
 * whatever was done. */
int ledger_group(struct store *s, struct ledger_op **ops, size_t n, struct error *e);

/* These run in the caller's transaction, or in one of their own. */

/* Frees holds whose deadline is over. At most `most` a call; *n is how many. */
int ledger_sweep(struct store *s, int64_t now_ms, int64_t most, int64_t *n, struct error *e);
/* A server that is alone with its database starts: holds of an earlier run are nobody's. */
int ledger_release_all(struct store *s, int64_t *n, struct error *e);

/* Drops the tables of days before `first_day`. *n is how many. */
int ledger_days_drop(struct store *s, int64_t first_day, int64_t *n, struct error *e);

/* Makes the day's table, if it is missing, always in a transaction of its own. A group does it for
 * its days; done ahead it spares the first one the wait. */
int ledger_day_open(struct store *s, int64_t day, struct error *e);
int64_t ledger_day(int64_t unix_ms); /* 20261128, UTC */

#endif
