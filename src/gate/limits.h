/*
 * How much may be asked for: requests and tokens a minute and calls at once, for a key, its
 * account, the model and the caller's network.
 *
 * A rate is a token bucket in integers: it holds a minute's worth, fills by the millisecond, and
 * over any time lets through no more than rate * time + one minute's worth. All limits of a call
 * are looked at first; if one says no, nothing is charged anywhere. Tokens are reserved when the
 * call is admitted (prompt + max_tokens) and corrected when it is settled.
 *
 * A call that could need more tokens than a bucket ever holds, because its max_tokens is large,
 * takes what a full bucket holds, and what it used beyond that is a debt which fills first. Only
 * one whose prompt alone does not fit can never be let in.
 *
 * Pure but for its own memory: time is given by the caller (monotonic milliseconds). One thread.
 */
#ifndef MOONGATE_GATE_LIMITS_H
#define MOONGATE_GATE_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum limits_scope { LIMITS_KEY, LIMITS_ACCOUNT, LIMITS_MODEL, LIMITS_NETWORK, LIMITS_SCOPES };
enum limits_kind { LIMITS_REQUESTS, LIMITS_TOKENS, LIMITS_CONCURRENT, LIMITS_KINDS };
enum { LIMITS_RATES = LIMITS_CONCURRENT }; /* the kinds that are rates */

/* What a figure of the configuration may be; with it all products fit. */
#define LIMITS_RATE_MAX INT64_C(10000000000)

struct limits_rates { /* 0: no such limit */
    int64_t per_minute[LIMITS_RATES];
    int64_t concurrent;
};

struct limits_subject {
    uint64_t id; /* the number of the key or account, limits_model, limits_network */
    struct limits_rates rates;
};

struct limits_ask {
    struct limits_subject of[LIMITS_SCOPES]; /* without any rate: that scope is not looked at */
    int64_t prompt_tokens;                   /* of the prompt alone */
    int64_t tokens;                          /* the most that the call may use: prompt and reply */
};

/* What a call is told, whether it is let in or not. */
struct limits_said {
    bool admitted;
    enum limits_scope scope; /* if it is not: which limit, of several that which lasts longest */
    enum limits_kind kind;
    int64_t limit;          /* its figure */
    int64_t retry_after_ms; /* from when on the buckets let it in; -1: never, it is too large.
                               For calls at once nobody can tell: a second. */
    struct limits_rate_said {
        int64_t limit;     /* 0: there is none, in no scope */
        int64_t remaining; /* of the scope that has least left */
        int64_t reset_ms;  /* until that is full again */
    } rate[LIMITS_RATES];
};

struct limits;
struct limits_row;

/* What an admitted call holds until it is settled; all zero holds nothing. */
struct limits_hold {
    struct limits_row *of[LIMITS_SCOPES];
    int64_t tokens[LIMITS_SCOPES]; /* reserved there; -1: not limited there */
};

/* At most `max_rows` subjects of each scope are known at once. A row whose buckets are full and
 * that no call holds is the same as none and makes room; without room the newcomers share one
 * row. */
struct limits *limits_new(size_t max_rows);
void limits_free(struct limits *l); /* accepts NULL; holds must not be settled after it */

/* Would it be let in? Changes nothing: for a look before the body is read, with no tokens yet. */
bool limits_look(struct limits *l, const struct limits_ask *ask, int64_t now_ms,
                 struct limits_said *said);
bool limits_admit(struct limits *l, const struct limits_ask *ask, int64_t now_ms,
                  struct limits_hold *hold, struct limits_said *said);
/* The call is over and used so many tokens. Empties the hold: a second time is harmless. */
void limits_settle(struct limits *l, struct limits_hold *hold, int64_t tokens, int64_t now_ms);

size_t limits_rows(const struct limits *l, enum limits_scope scope);
uint64_t limits_shared(const struct limits *l); /* times that a newcomer found no room */

/* An address as text to its network: a /24 of IPv4 (also mapped into IPv6), a /64 of IPv6. What
 * is no address is one network of its own. */
uint64_t limits_network(const char *peer);
uint64_t limits_model(const char *name); /* the same in every process */

const char *limits_scope_name(enum limits_scope scope); /* "key", ...; for people and metrics */
const char *limits_kind_name(enum limits_kind kind);    /* "requests", ... */

#endif
