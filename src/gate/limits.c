/*
 * Rows in four tables, one a scope, found by a keyed hash (a client can choose its network, but
 * not where that lands). A row that calls hold is pinned; the others stand in a list by the time
 * of their last use. The oldest of them are full again at the latest a minute later, unless they
 * are in debt, so each newcomer clears up to two of them away, and the tables hold little more
 * than the callers of the last minute.
 *
 * A row that is not there is a full one. So a look needs no row, and a refusal leaves no trace.
 */
#include "gate/limits.h"

#include "base/clock.h"
#include "base/mem.h"
#include "gate/limits_bucket.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum {
    FIRST_BUCKETS = 64,
    CLEARED_A_NEWCOMER = 2, /* so that a table shrinks */
    LOOKED_AT_FOR_ROOM = 8
};

struct limits_row {
    struct limits_row *next; /* in its chain */
    TAILQ_ENTRY(limits_row) by_use;
    enum limits_scope scope;
    uint64_t id;
    struct limits_bucket bucket[LIMITS_RATES];
    int64_t at_ms; /* when the levels were right */
    int64_t running;
};

TAILQ_HEAD(row_list, limits_row);

struct table {
    struct limits_row **chains;
    size_t n_chains, n_rows;
    struct row_list idle;     /* longest unused first */
    struct limits_row others; /* of all who found no room */
};

struct limits {
    size_t max_rows;
    unsigned char hash_key[crypto_shorthash_KEYBYTES];
    uint64_t shared;
    struct table tables[LIMITS_SCOPES];
};

/* A subject as an ask sees it: its row, if it has one, and a copy brought up to now. */
struct view {
    const struct limits_rates *rates; /* NULL: not looked at */
    struct limits_row *row;
    struct limits_row now;
    int64_t tokens; /* that it would reserve there */
};

/* --- rows --- */

static struct limits_row **chain_of(const struct limits *l, const struct table *t, uint64_t id)
{
    unsigned char hash[crypto_shorthash_BYTES];
    uint64_t h;
    crypto_shorthash(hash, (const unsigned char *)&id, sizeof id, l->hash_key);
    memcpy(&h, hash, sizeof h);
    return &t->chains[h % t->n_chains];
}

static struct limits_row *find_row(const struct limits *l, const struct table *t, uint64_t id)
{
    struct limits_row *row = *chain_of(l, t, id);
    while (row && row->id != id)
        row = row->next;
    return row;
}

static void grow_chains(struct limits *l, struct table *t)
{
    struct limits_row **old = t->chains, *row, *next;
    size_t n_old = t->n_chains;
    t->n_chains *= 2;
    t->chains = mem_array(t->n_chains, sizeof(struct limits_row *));
    for (size_t i = 0; i < n_old; i++) {
        for (row = old[i]; row; row = next) {
            struct limits_row **chain = chain_of(l, t, row->id);
            next = row->next;
            row->next = *chain;
            *chain = row;
        }
    }
    free(old);
}

static struct limits_row *add_row(struct limits *l, enum limits_scope scope, uint64_t id)
{
    struct table *t = &l->tables[scope];
    if (t->n_rows == t->n_chains)
        grow_chains(l, t);
    struct limits_row *row = mem_zalloc(sizeof *row), **chain = chain_of(l, t, id);
    row->scope = scope;
    row->id = id;
    row->next = *chain;
    *chain = row;
    TAILQ_INSERT_TAIL(&t->idle, row, by_use);
    t->n_rows++;
    return row;
}

static void remove_row(struct limits *l, struct limits_row *row)
{
    struct table *t = &l->tables[row->scope];
    struct limits_row **at = chain_of(l, t, row->id);
    while (*at != row)
        at = &(*at)->next;
    *at = row->next;
    TAILQ_REMOVE(&t->idle, row, by_use);
    t->n_rows--;
    free(row);
}

static void move_last(struct table *t, struct limits_row *row)
{
    TAILQ_REMOVE(&t->idle, row, by_use);
    TAILQ_INSERT_TAIL(&t->idle, row, by_use);
}

static void bring_to(struct limits_row *row, int64_t now_ms)
{
    if (now_ms <= row->at_ms)
        return;
    for (int k = 0; k < LIMITS_RATES; k++)
        limits_fill(&row->bucket[k], now_ms - row->at_ms);
    row->at_ms = now_ms;
}

static bool is_full(const struct limits_row *row, int64_t now_ms)
{
    struct limits_row now = *row;
    bring_to(&now, now_ms);
    for (int k = 0; k < LIMITS_RATES; k++) {
        if (now.bucket[k].level < limits_full(now.bucket[k].rate))
            return false;
    }
    return true;
}

/* Clears away what is the same as nothing. One that is not, in debt or just used, goes to the
 * end, so that it does not stand in the way of the rest. */
static bool make_room(struct limits *l, struct table *t, int64_t now_ms)
{
    int cleared = 0;
    for (int i = 0; i < LOOKED_AT_FOR_ROOM && cleared < CLEARED_A_NEWCOMER; i++) {
        struct limits_row *row = TAILQ_FIRST(&t->idle);
        if (!row)
            break;
        if (is_full(row, now_ms)) {
            remove_row(l, row);
            cleared++;
        } else if (t->n_rows < l->max_rows) {
            break;
        } else {
            move_last(t, row);
        }
    }
    return t->n_rows < l->max_rows;
}

/* --- looking --- */

static void set_rates(struct view *v, bool shared)
{
    for (int k = 0; k < LIMITS_RATES; k++) {
        if (shared)
            limits_retune_shared(&v->now.bucket[k], v->rates->per_minute[k]);
        else
            limits_retune(&v->now.bucket[k], v->rates->per_minute[k]);
    }
}

/* A row of its own, one to be made, or the others'. */
static void view_subject(struct limits *l, enum limits_scope scope,
                         const struct limits_subject *subject, int64_t now_ms, struct view *v)
{
    struct table *t = &l->tables[scope];
    v->rates = &subject->rates;
    v->now.at_ms = now_ms;
    v->row = find_row(l, t, subject->id);
    if (!v->row && !make_room(l, t, now_ms))
        v->row = &t->others;
    if (v->row)
        v->now = *v->row;
    bring_to(&v->now, now_ms);
    set_rates(v, v->row == &t->others);
}

static void say_rates(const struct view views[LIMITS_SCOPES], struct limits_said *said)
{
    struct limits_bucket of[LIMITS_SCOPES][LIMITS_RATES] = {0};
    for (int s = 0; s < LIMITS_SCOPES; s++) {
        for (int k = 0; views[s].rates && k < LIMITS_RATES; k++) {
            if (views[s].rates->per_minute[k] != 0)
                of[s][k] = views[s].now.bucket[k];
        }
    }
    limits_say_rates(of, said);
}

static bool look(struct limits *l, const struct limits_ask *ask, int64_t now_ms,
                 struct view views[LIMITS_SCOPES], struct limits_said *said)
{
    memset(said, 0, sizeof *said);
    memset(views, 0, LIMITS_SCOPES * sizeof views[0]);
    said->admitted = true;
    for (int s = 0; s < LIMITS_SCOPES; s++) {
        if (!limits_has_rate(&ask->of[s].rates))
            continue;
        view_subject(l, s, &ask->of[s], now_ms, &views[s]);
        views[s].tokens = limits_reserve(views[s].rates->per_minute[LIMITS_TOKENS], ask);
        limits_judge(s, views[s].rates, views[s].now.bucket, views[s].now.running, views[s].tokens,
                     said);
    }
    return said->admitted;
}

bool limits_look(struct limits *l, const struct limits_ask *ask, int64_t now_ms,
                 struct limits_said *said)
{
    struct view views[LIMITS_SCOPES];
    look(l, ask, now_ms, views, said);
    say_rates(views, said);
    return said->admitted;
}

/* --- charging --- */

static struct limits_row *charge(struct limits *l, enum limits_scope scope, uint64_t id,
                                 struct view *v)
{
    struct table *t = &l->tables[scope];
    struct limits_row *row = v->row ? v->row : add_row(l, scope, id);
    if (row == &t->others)
        l->shared++;
    else if (row->running == 0)
        TAILQ_REMOVE(&t->idle, row, by_use);
    if (v->rates->per_minute[LIMITS_REQUESTS] != 0)
        limits_take(&v->now.bucket[LIMITS_REQUESTS], 1);
    if (v->rates->per_minute[LIMITS_TOKENS] != 0)
        limits_take(&v->now.bucket[LIMITS_TOKENS], v->tokens);
    memcpy(row->bucket, v->now.bucket, sizeof row->bucket);
    row->at_ms = v->now.at_ms;
    row->running++;
    return row;
}

bool limits_admit(struct limits *l, const struct limits_ask *ask, int64_t now_ms,
                  struct limits_hold *hold, struct limits_said *said)
{
    struct view views[LIMITS_SCOPES];
    memset(hold, 0, sizeof *hold);
    bool admitted = look(l, ask, now_ms, views, said);
    for (int s = 0; admitted && s < LIMITS_SCOPES; s++) {
        if (!views[s].rates)
            continue;
        hold->of[s] = charge(l, s, ask->of[s].id, &views[s]);
        hold->tokens[s] = views[s].rates->per_minute[LIMITS_TOKENS] != 0 ? views[s].tokens : -1;
    }
    say_rates(views, said);
    return admitted;
}

void limits_settle(struct limits *l, struct limits_hold *hold, int64_t tokens, int64_t now_ms)
{
    if (tokens > LIMITS_TOKENS_MAX)
        tokens = LIMITS_TOKENS_MAX;
    for (int s = 0; s < LIMITS_SCOPES; s++) {
        struct limits_row *row = hold->of[s];
        struct table *t = &l->tables[s];
        if (!row)
            continue;
        bring_to(row, now_ms);
        if (hold->tokens[s] >= 0 && row->bucket[LIMITS_TOKENS].rate != 0)
            limits_take(&row->bucket[LIMITS_TOKENS], tokens - hold->tokens[s]);
        row->running--;
        if (row->running == 0 && row != &t->others)
            TAILQ_INSERT_TAIL(&t->idle, row, by_use);
    }
    memset(hold, 0, sizeof *hold);
}

/* --- the whole --- */

struct limits *limits_new(size_t max_rows)
{
    struct limits *l = mem_zalloc(sizeof *l);
    l->max_rows = max_rows;
    random_bytes(l->hash_key, sizeof l->hash_key);
    for (int s = 0; s < LIMITS_SCOPES; s++) {
        struct table *t = &l->tables[s];
        t->n_chains = FIRST_BUCKETS;
        t->chains = mem_array(t->n_chains, sizeof(struct limits_row *));
        t->others.scope = s;
        TAILQ_INIT(&t->idle);
    }
    return l;
}

static void free_rows(struct table *t)
{
    for (size_t i = 0; i < t->n_chains; i++) {
        for (struct limits_row *row = t->chains[i], *next; row; row = next) {
            next = row->next;
            free(row);
        }
    }
    free(t->chains);
}

void limits_free(struct limits *l)
{
    if (!l)
        return;
    for (int s = 0; s < LIMITS_SCOPES; s++)
        free_rows(&l->tables[s]);
    free(l);
}

size_t limits_rows(const struct limits *l, enum limits_scope scope)
{
    return l->tables[scope].n_rows;
}

uint64_t limits_shared(const struct limits *l)
{
    return l->shared;
}
