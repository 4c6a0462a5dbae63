/*
 * A group of operations: what it is about, and reading the rows for it.
 *
 * First the applications are locked, in the order of their numbers: so two groups never wait for
 * each other in a circle. Everything else of an application (its keys' sums, holds, grants) is
 * changed under its lock alone, so later statements read what stays true until the commit.
 */
#include "store/ledger_private.h"

#include "base/buf.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SQL_BYTES = 512 };

/* Queries */

struct db_query *batch_add(struct batch *b, const char *sql)
{
    if (b->n == b->room) {
        b->room = b->room ? b->room * 2 : 16;
        b->list = mem_realloc(b->list, b->room * sizeof *b->list);
        b->changes = mem_realloc(b->changes, b->room * sizeof *b->changes);
    }
    b->changes[b->n] = 1;
    db_sql(&b->list[b->n], sql);
    return &b->list[b->n++];
}

struct db_query *batch_add_ids(struct batch *b, const char *one, const char *some,
                               const int64_t *ids, size_t n)
{
    struct db_query *q = batch_add(b, n == 1 ? one : some);
    for (size_t i = 0; i < (n == 1 ? 1 : BATCH_IDS); i++)
        db_arg(q, ids[i < n ? i : n - 1]);
    return q;
}

struct db_query *batch_add_texts(struct batch *b, const char *one, const char *some,
                                 const char *const *ids, size_t n)
{
    struct db_query *q = batch_add(b, n == 1 ? one : some);
    for (size_t i = 0; i < (n == 1 ? 1 : BATCH_IDS); i++)
        db_arg_text(q, ids[i < n ? i : n - 1]);
    return q;
}

int batch_run(struct batch *b, struct store *s, struct error *e)
{
    return b->n ? db_run(s->db, b->list, b->n, e) : 0;
}

void batch_reset(struct batch *b)
{
    db_done(b->list, b->n);
    b->n = 0;
}

void batch_done(struct batch *b)
{
    batch_reset(b);
    free(b->list);
    free(b->changes);
    *b = (struct batch){0};
}

/* What operations are about */

const char *op_trace(const struct ledger_op *op)
{
    return op->kind == LEDGER_HOLD ? op->hold.trace_id : op->settle.row.trace_id;
}

int64_t op_application(const struct ledger_op *op)
{
    return op->kind == LEDGER_HOLD ? op->hold.application_id : op->settle.row.application_id;
}

int64_t op_key(const struct ledger_op *op)
{
    return op->kind == LEDGER_HOLD ? op->hold.key_id : op->settle.row.key_id;
}

static int compare_numbers(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Sorts and drops what is there twice; returns how many are left. */
static size_t sort_numbers(int64_t *list, size_t n)
{
    size_t kept = 0;
    qsort(list, n, sizeof *list, compare_numbers);
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || list[kept - 1] != list[i])
            list[kept++] = list[i];
    }
    return kept;
}

static int compare_traces(const void *a, const void *b)
{
    return strcmp(((const struct group_trace *)a)->id, ((const struct group_trace *)b)->id);
}

struct group_application *group_application(struct group *g, int64_t id)
{
    return bsearch(&id, g->applications, g->n_applications, sizeof *g->applications,
                   compare_numbers); /* the id is its first member */
}

struct group_key *group_key(struct group *g, int64_t id)
{
    return bsearch(&id, g->keys, g->n_keys, sizeof *g->keys, compare_numbers);
}

struct group_trace *group_trace(struct group *g, const char *id)
{
    const struct group_trace wanted = {.id = id};
    return bsearch(&wanted, g->traces, g->n_traces, sizeof *g->traces, compare_traces);
}

static void list_ids(struct group *g)
{
    int64_t *ids = arena_alloc(g->arena, g->n * sizeof *ids);
    for (size_t i = 0; i < g->n; i++)
        ids[i] = op_application(g->ops[i]);
    g->n_applications = sort_numbers(ids, g->n);
    g->applications = arena_alloc(g->arena, g->n_applications * sizeof *g->applications);
    for (size_t i = 0; i < g->n_applications; i++)
        g->applications[i].now.id = ids[i];
    for (size_t i = 0; i < g->n; i++)
        ids[i] = op_key(g->ops[i]);
    g->n_keys = sort_numbers(ids, g->n);
    g->keys = arena_alloc(g->arena, g->n_keys * sizeof *g->keys);
    for (size_t i = 0; i < g->n_keys; i++)
        g->keys[i].now.id = ids[i];
}

static void list_traces(struct group *g)
{
    size_t kept = 0;
    struct group_trace *t = g->traces = arena_alloc(g->arena, g->n * sizeof *t);
    for (size_t i = 0; i < g->n; i++) {
        t[i].id = op_trace(g->ops[i]);
        if (g->ops[i]->kind != LEDGER_HOLD)
            t[i].day = ledger_day(g->ops[i]->settle.row.ended_ms);
    }
    qsort(t, g->n, sizeof *t, compare_traces);
    for (size_t i = 0; i < g->n; i++) {
        if (kept == 0 || strcmp(t[kept - 1].id, t[i].id) != 0)
            t[kept++] = t[i];
        else if (t[kept - 1].day == 0)
            t[kept - 1].day = t[i].day;
    }
    g->n_traces = kept;
}

/* Reading */

static size_t at_once(size_t left)
{
    return left < BATCH_IDS ? left : BATCH_IDS;
}

/* Takes the rows of the answers from `first` up to `end`. */
static void take_rows(struct group *g, size_t first, size_t end,
                      void (*take)(struct group *g, const struct db_rows *r, size_t row))
{
    for (size_t i = first; i < end; i++) {
        const struct db_rows *r = &g->batch.list[i].rows;
        for (size_t row = 0; row < r->n; row++)
            take(g, r, row);
    }
}

static void take_application(struct group *g, const struct db_rows *r, size_t row)
{
    struct group_application *a = group_application(g, db_int(r, row, 0));
    a->now.there = true;
    a->now.disabled = db_int(r, row, 1) != 0;
    a->now.balance_micros = db_int(r, row, 2);
    a->now.held_micros = db_int(r, row, 3);
    a->now.charged_micros = db_int(r, row, 4);
    a->expiring = db_int(r, row, 5) > 0;
}

#define APPLICATIONS                                                                               \
    "SELECT id, disabled, balance_micros, held_micros, charged_micros, expiring"                   \
    " FROM applications WHERE id "

/* Their locks are taken in the order of their numbers. */
static int read_applications(struct group *g, struct error *e)
{
    int64_t ids[BATCH_IDS];
    batch_reset(&g->batch);
    for (size_t i = 0, n; i < g->n_applications; i += n) {
        n = at_once(g->n_applications - i);
        for (size_t k = 0; k < n; k++)
            ids[k] = g->applications[i + k].now.id;
        batch_add_ids(&g->batch, APPLICATIONS "= $1 FOR UPDATE",
                      APPLICATIONS BATCH_IN " ORDER BY id FOR UPDATE", ids, n);
    }
    int rc = batch_run(&g->batch, g->store, e);
    if (rc)
        return rc;
    take_rows(g, 0, g->batch.n, take_application);
    for (size_t i = 0; i < g->n_applications; i++)
        g->applications[i].before = g->applications[i].now;
    return 0;
}

#define KEYS                                                                                       \
    "SELECT k.id, k.application_id, k.cap_micros, k.used_micros, k.held_micros, k.revoked_ms,"     \
    " k.disabled, a.disabled FROM keys k JOIN applications p ON p.id = k.application_id"           \
    " JOIN accounts a ON a.id = p.account_id WHERE k.id "

static void ask_keys(struct group *g)
{
    int64_t ids[BATCH_IDS];
    for (size_t i = 0, n; i < g->n_keys; i += n) {
        n = at_once(g->n_keys - i);
        for (size_t k = 0; k < n; k++)
            ids[k] = g->keys[i + k].now.id;
        batch_add_ids(&g->batch, KEYS "= $1", KEYS BATCH_IN, ids, n);
    }
}

static void take_key(struct group *g, const struct db_rows *r, size_t row)
{
    struct group_key *k = group_key(g, db_int(r, row, 0));
    k->now.there = true;
    k->now.application_id = db_int(r, row, 1);
    k->now.cap_micros = db_int(r, row, 2);
    k->now.used_micros = db_int(r, row, 3);
    k->now.held_micros = db_int(r, row, 4);
    k->now.good = db_int(r, row, 5) == 0 && db_int(r, row, 6) == 0 && db_int(r, row, 7) == 0;
    k->before = k->now;
}

#define HOLDS "SELECT trace_id, application_id, key_id, amount_micros FROM holds WHERE trace_id "

static void ask_holds(struct group *g)
{
    const char *ids[BATCH_IDS];
    for (size_t i = 0, n; i < g->n_traces; i += n) {
        n = at_once(g->n_traces - i);
        for (size_t k = 0; k < n; k++)
            ids[k] = g->traces[i + k].id;
        batch_add_texts(&g->batch, HOLDS "= $1", HOLDS BATCH_IN, ids, n);
    }
}

static void take_hold(struct group *g, const struct db_rows *r, size_t row)
{
    struct group_trace *t = group_trace(g, db_text(r, row, 0));
    t->held_before = t->held = true;
    t->hold_application = db_int(r, row, 1);
    t->hold_key = db_int(r, row, 2);
    t->hold_micros = db_int(r, row, 3);
}

static const char *calls_sql(struct group *g, int64_t day, const char *which)
{
    char sql[SQL_BYTES];
    snprintf(sql, sizeof sql,
             "SELECT trace_id, application_id, key_id, ended_ms, status, finish, cost_micros,"
             " charged_micros, balance_micros, grant_micros, model"
             " FROM calls_%lld WHERE trace_id %s",
             (long long)day, which);
    return arena_strndup(g->arena, sql, strlen(sql));
}

/* Those of one day that follow each other go together. */
static void ask_calls(struct group *g)
{
    const char *ids[BATCH_IDS];
    for (size_t i = 0, n = 0; i < g->n_traces; i++) {
        const struct group_trace *t = &g->traces[i];
        int64_t next = i + 1 < g->n_traces ? t[1].day : 0;
        if (t->day == 0)
            continue;
        ids[n++] = t->id;
        if (n == BATCH_IDS || next != t->day) {
            const char *sql = calls_sql(g, t->day, n == 1 ? "= $1" : BATCH_IN);
            batch_add_texts(&g->batch, sql, sql, ids, n);
            n = 0;
        }
    }
}

static void take_call(struct group *g, const struct db_rows *r, size_t row)
{
    struct group_trace *t = group_trace(g, db_text(r, row, 0));
    struct group_call *c = &t->call;
    t->written_before = t->written = true;
    c->application_id = db_int(r, row, 1);
    c->key_id = db_int(r, row, 2);
    c->ended_ms = db_int(r, row, 3);
    c->status = (int)db_int(r, row, 4);
    c->is_void = strcmp(db_text(r, row, 5), LEDGER_VOID_FINISH) == 0;
    c->cost_micros = db_int(r, row, 6);
    c->charged_micros = db_int(r, row, 7);
    c->balance_micros = db_int(r, row, 8);
    c->grant_micros = db_int(r, row, 9);
    db_copy(r, row, 10, c->model, sizeof c->model);
}

static bool settles(const struct group *g, int64_t application_id)
{
    for (size_t i = 0; i < g->n; i++) {
        if (g->ops[i]->kind != LEDGER_HOLD && op_application(g->ops[i]) == application_id)
            return true;
    }
    return false;
}

static void ask_grants(struct group *g)
{
    for (size_t i = 0; i < g->n_applications; i++) {
        struct group_application *a = &g->applications[i];
        a->expiring = a->expiring && settles(g, a->now.id);
        if (!a->expiring)
            continue;
        struct db_query *q =
            batch_add(&g->batch, "SELECT id, application_id, amount_micros, used_micros FROM grants"
                                 " WHERE application_id = $1 AND expires_ms > 0 AND expired_ms = 0"
                                 " AND amount_micros > 0 ORDER BY expires_ms, id");
        db_arg(q, a->now.id);
    }
}

/* The answers of the batch from `first` on. */
static void take_grants(struct group *g, size_t first)
{
    size_t n = 0;
    for (size_t i = first; i < g->batch.n; i++)
        n += g->batch.list[i].rows.n;
    g->grants = arena_alloc(g->arena, n * sizeof *g->grants);
    for (size_t i = first; i < g->batch.n; i++) {
        const struct db_rows *r = &g->batch.list[i].rows;
        for (size_t row = 0; row < r->n; row++)
            g->grants[g->n_grants++] = (struct rules_grant){.id = db_int(r, row, 0),
                                                            .application_id = db_int(r, row, 1),
                                                            .amount_micros = db_int(r, row, 2),
                                                            .used_micros = db_int(r, row, 3)};
    }
    g->grants_before = arena_alloc(g->arena, n * sizeof *g->grants);
    if (n)
        memcpy(g->grants_before, g->grants, n * sizeof *g->grants);
}

static int read_rest(struct group *g, struct error *e)
{
    batch_reset(&g->batch);
    ask_keys(g);
    size_t holds = g->batch.n;
    ask_holds(g);
    size_t calls = g->batch.n;
    ask_calls(g);
    size_t grants = g->batch.n;
    ask_grants(g);
    int rc = batch_run(&g->batch, g->store, e);
    if (rc)
        return rc;
    take_rows(g, 0, holds, take_key);
    take_rows(g, holds, calls, take_hold);
    take_rows(g, calls, grants, take_call);
    take_grants(g, grants);
    return 0;
}

int group_read(struct group *g, struct error *e)
{
    list_ids(g);
    list_traces(g);
    int rc = read_applications(g, e);
    return rc ? rc : read_rest(g, e);
}
