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
    }
    db_sql(&b->list[b->n], sql);
    return &b->list[b->n++];
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

static int read_applications(struct group *g, struct error *e)
{
    batch_reset(&g->batch);
    for (size_t i = 0; i < g->n_applications; i++) {
        struct db_query *q = batch_add(
            &g->batch, "SELECT disabled, balance_micros, held_micros, charged_micros, expiring"
                       " FROM applications WHERE id = $1 FOR UPDATE");
        db_arg(q, g->applications[i].now.id);
    }
    int rc = batch_run(&g->batch, g->store, e);
    for (size_t i = 0; i < g->n_applications && rc == 0; i++) {
        struct group_application *a = &g->applications[i];
        const struct db_rows *r = &g->batch.list[i].rows;
        a->now.there = r->n > 0;
        if (r->n > 0) {
            a->now.disabled = db_int(r, 0, 0) != 0;
            a->now.balance_micros = db_int(r, 0, 1);
            a->now.held_micros = db_int(r, 0, 2);
            a->now.charged_micros = db_int(r, 0, 3);
            a->expiring = db_int(r, 0, 4) > 0;
        }
        a->before = a->now;
    }
    return rc;
}

static void ask_keys(struct group *g)
{
    for (size_t i = 0; i < g->n_keys; i++) {
        struct db_query *q =
            batch_add(&g->batch, "SELECT k.application_id, k.cap_micros, k.used_micros,"
                                 " k.held_micros, k.revoked_ms, k.disabled, a.disabled"
                                 " FROM keys k JOIN applications p ON p.id = k.application_id"
                                 " JOIN accounts a ON a.id = p.account_id WHERE k.id = $1");
        db_arg(q, g->keys[i].now.id);
    }
}

static void take_key(struct group_key *k, const struct db_rows *r)
{
    k->now.there = r->n > 0;
    if (r->n > 0) {
        k->now.application_id = db_int(r, 0, 0);
        k->now.cap_micros = db_int(r, 0, 1);
        k->now.used_micros = db_int(r, 0, 2);
        k->now.held_micros = db_int(r, 0, 3);
        k->now.good = db_int(r, 0, 4) == 0 && db_int(r, 0, 5) == 0 && db_int(r, 0, 6) == 0;
    }
    k->before = k->now;
}

static void ask_holds(struct group *g)
{
    for (size_t i = 0; i < g->n_traces; i++) {
        struct db_query *q = batch_add(&g->batch, "SELECT application_id, key_id, amount_micros"
                                                  " FROM holds WHERE trace_id = $1");
        db_arg_text(q, g->traces[i].id);
    }
}

static void take_hold(struct group_trace *t, const struct db_rows *r)
{
    t->held_before = t->held = r->n > 0;
    if (r->n > 0) {
        t->hold_application = db_int(r, 0, 0);
        t->hold_key = db_int(r, 0, 1);
        t->hold_micros = db_int(r, 0, 2);
    }
}

static void ask_calls(struct group *g)
{
    char sql[SQL_BYTES];
    for (size_t i = 0; i < g->n_traces; i++) {
        const struct group_trace *t = &g->traces[i];
        if (t->day == 0)
            continue;
        snprintf(sql, sizeof sql,
                 "SELECT application_id, key_id, ended_ms, status, finish, cost_micros,"
                 " charged_micros, balance_micros, grant_micros, model"
                 " FROM calls_%lld WHERE trace_id = $1",
                 (long long)t->day);
        db_arg_text(batch_add(&g->batch, arena_strndup(g->arena, sql, strlen(sql))), t->id);
    }
}

static void take_call(struct group_trace *t, const struct db_rows *r)
{
    struct group_call *c = &t->call;
    t->written_before = t->written = r->n > 0;
    if (r->n == 0)
        return;
    c->application_id = db_int(r, 0, 0);
    c->key_id = db_int(r, 0, 1);
    c->ended_ms = db_int(r, 0, 2);
    c->status = (int)db_int(r, 0, 3);
    c->is_void = strcmp(db_text(r, 0, 4), LEDGER_VOID_FINISH) == 0;
    c->cost_micros = db_int(r, 0, 5);
    c->charged_micros = db_int(r, 0, 6);
    c->balance_micros = db_int(r, 0, 7);
    c->grant_micros = db_int(r, 0, 8);
    db_copy(r, 0, 9, c->model, sizeof c->model);
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
    ask_holds(g);
    ask_calls(g);
    ask_grants(g);
    int rc = batch_run(&g->batch, g->store, e);
    if (rc)
        return rc;
    const struct db_query *q = g->batch.list;
    for (size_t i = 0; i < g->n_keys; i++)
        take_key(&g->keys[i], &(q++)->rows);
    for (size_t i = 0; i < g->n_traces; i++)
        take_hold(&g->traces[i], &(q++)->rows);
    for (size_t i = 0; i < g->n_traces; i++) {
        if (g->traces[i].day)
            take_call(&g->traces[i], &(q++)->rows);
    }
    take_grants(g, (size_t)(q - g->batch.list));
    return 0;
}

int group_read(struct group *g, struct error *e)
{
    list_ids(g);
    list_traces(g);
    int rc = read_applications(g, e);
    return rc ? rc : read_rest(g, e);
}
