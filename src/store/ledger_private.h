/*
 * What the files of the books share: the copies of rows on which a group of operations is
 * computed, and the list of queries that reads or writes them. Private to the room.
 */
#ifndef MOONGATE_STORE_LEDGER_PRIVATE_H
#define MOONGATE_STORE_LEDGER_PRIVATE_H

#include "store/ledger_rules.h"
#include "store/store_private.h"

#define LEDGER_VOID_FINISH "void" /* of a call whose settlement was taken back */

/* Queries that run in one go. Several rows share a statement, which is most of what a statement
 * costs on PostgreSQL. */
enum { BATCH_IDS = 8 };
struct batch {
    struct db_query *list;
    int64_t *changes; /* how many rows each of them is to change, where that is looked at */
    size_t n, room;
};

/* To change one row. The query is good until the next one. */
struct db_query *batch_add(struct batch *b, const char *sql);
/* The query for n ids (1 to BATCH_IDS): `one` if it is one, else `some` with BATCH_IDS parameters,
 * those beyond n filled with the last id. */
struct db_query *batch_add_ids(struct batch *b, const char *one, const char *some,
                               const int64_t *ids, size_t n);
struct db_query *batch_add_texts(struct batch *b, const char *one, const char *some,
                                 const char *const *ids, size_t n);
#define BATCH_IN "IN ($1, $2, $3, $4, $5, $6, $7, $8)" /* BATCH_IDS of them */
int batch_run(struct batch *b, struct store *s, struct error *e);
void batch_reset(struct batch *b); /* frees the answers, keeps the memory */
void batch_done(struct batch *b);

/* A call's row, as far as the books need it. */
struct group_call {
    int64_t application_id, key_id, ended_ms;
    int status;
    bool is_void;
    int64_t cost_micros, charged_micros, balance_micros;
    int64_t grant_micros; /* of charged: from grants that end */
    char model[128];
};

/* What is known by one trace id: a hold, a call's row, both or neither. */
struct group_trace {
    const char *id;
    int64_t day;                     /* of the call; 0: only holds are in the group */
    bool held_before, held, dropped; /* dropped: one ended in this group */
    int64_t hold_application, hold_key, hold_micros, created_ms, deadline_ms;
    bool written_before, written, voided_now;
    struct group_call call;
    const struct ledger_row *row; /* of one that is written now */
};

struct group_application {
    struct rules_application now, before;
    bool expiring;
    int64_t touched_ms; /* the latest time of an operation */
};

struct group_key {
    struct rules_key now, before;
};

struct group_total { /* to be added to a row of totals */
    int64_t hour_ms, application_id, key_id;
    const char *model;
    int64_t calls, failed, prompt, cached, reasoning, completion, cost, charged;
};

struct group {
    struct store *store;
    struct ledger_op **ops;
    size_t n;
    struct arena *arena; /* owns the arrays below, which are sorted by id */
    struct group_application *applications;
    struct group_key *keys;
    struct group_trace *traces;
    struct group_total *totals;
    struct rules_grant *grants, *grants_before;
    int64_t *days;
    size_t n_applications, n_keys, n_traces, n_totals, n_grants, n_days;
    struct batch batch;
};

/* What an operation is about. */
const char *op_trace(const struct ledger_op *op);
int64_t op_application(const struct ledger_op *op);
int64_t op_key(const struct ledger_op *op);

/* Never NULL for what is in the group's operations. */
struct group_application *group_application(struct group *g, int64_t id);
struct group_key *group_key(struct group *g, int64_t id);
struct group_trace *group_trace(struct group *g, const char *id);

/* Inside the transaction: lists and locks what the operations need (ledger_read.c); answers all
 * operations on the copies (ledger_apply.c); writes what changed: ERR_BUSY if a row is not what
 * was read (ledger_write.c). */
int group_read(struct group *g, struct error *e);
void group_apply(struct group *g);
int group_write(struct group *g, struct error *e);

/* The columns of a day's table without its id, in the order that INSERT and usage.c use; the
 * alias c is the table's. */
#define CALLS_COLUMNS                                                                              \
    "trace_id, account_id, application_id, key_id, ended_ms, route, model, answered, backend, "    \
    "status, finish, prompt_tokens, cached_tokens, reasoning_tokens, completion_tokens, source, "  \
    "price_input, price_cached, price_output, cost_micros, charged_micros, grant_micros, "         \
    "balance_micros, queue_us, first_us, total_us, client_gone"
enum { CALLS_COLUMNS_N = 27 };

/* Forgets which days are known to be there. */
void ledger_days_forget(struct store *s);
int64_t ledger_day_start_ms(int64_t day); /* 20261128 as Unix time */
/* The day's table and its row in `days`, inside the caller's transaction. */
int ledger_day_make(struct store *s, int64_t day, struct error *e);

/* One transaction: the caller's, if it is inside one, else an own (*own). */
int ledger_begin(struct store *s, bool *own, struct error *e);
int ledger_end(struct store *s, bool own, int rc, struct error *e);

#endif
