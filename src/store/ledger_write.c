/*
 * A group of operations: writing what changed, in one go.
 *
 * Each statement must change exactly its rows. A guarded one that changes none found a row that is
 * not what was read: somebody changed it beside the lock of its application, and the group is
 * computed anew. Rows of one table are written in the order of their keys, so that two groups
 * never wait for each other in a circle, also where an application is gone and nothing is locked.
 */
#include "store/ledger_private.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SQL_BYTES = 1024 };

static bool is_same(const struct rules_application *a, const struct rules_application *b)
{
    return a->balance_micros == b->balance_micros && a->held_micros == b->held_micros &&
           a->charged_micros == b->charged_micros;
}

static void write_applications(struct group *g)
{
    for (size_t i = 0; i < g->n_applications; i++) {
        const struct rules_application *now = &g->applications[i].now;
        const struct rules_application *before = &g->applications[i].before;
        if (!now->there || is_same(now, before))
            continue;
        struct db_query *q = batch_add(
            &g->batch, "UPDATE applications SET balance_micros = $2, held_micros = $3,"
                       " charged_micros = $4, updated_ms = $5 WHERE id = $1"
                       " AND balance_micros = $6 AND held_micros = $7 AND charged_micros = $8");
        db_arg(q, now->id);
        db_arg(q, now->balance_micros);
        db_arg(q, now->held_micros);
        db_arg(q, now->charged_micros);
        db_arg(q, g->applications[i].touched_ms);
        db_arg(q, before->balance_micros);
        db_arg(q, before->held_micros);
        db_arg(q, before->charged_micros);
    }
}

static void write_keys(struct group *g)
{
    for (size_t i = 0; i < g->n_keys; i++) {
        const struct rules_key *now = &g->keys[i].now, *before = &g->keys[i].before;
        if (now->used_micros == before->used_micros && now->held_micros == before->held_micros)
            continue;
        struct db_query *q =
            batch_add(&g->batch, "UPDATE keys SET used_micros = $2, held_micros = $3"
                                 " WHERE id = $1 AND used_micros = $4 AND held_micros = $5");
        db_arg(q, now->id);
        db_arg(q, now->used_micros);
        db_arg(q, now->held_micros);
        db_arg(q, before->used_micros);
        db_arg(q, before->held_micros);
    }
}

static void write_grants(struct group *g)
{
    for (size_t i = 0; i < g->n_grants; i++) {
        const struct rules_grant *now = &g->grants[i], *before = &g->grants_before[i];
        if (now->used_micros == before->used_micros)
            continue;
        struct db_query *q = batch_add(&g->batch, "UPDATE grants SET used_micros = $2"
                                                  " WHERE id = $1 AND used_micros = $3");
        db_arg(q, now->id);
        db_arg(q, now->used_micros);
        db_arg(q, before->used_micros);
    }
}

static void delete_holds(struct group *g)
{
    static const char one[] = "DELETE FROM holds WHERE trace_id = $1";
    static const char some[] = "DELETE FROM holds WHERE trace_id " BATCH_IN;
    const char *ids[BATCH_IDS];
    size_t n = 0;
    for (size_t i = 0; i < g->n_traces; i++) {
        const struct group_trace *t = &g->traces[i];
        if (t->held_before && t->dropped)
            ids[n++] = t->id;
        if (n == BATCH_IDS || (n > 0 && i + 1 == g->n_traces)) {
            batch_add_texts(&g->batch, one, some, ids, n);
            g->batch.changes[g->batch.n - 1] = (int64_t)n;
            n = 0;
        }
    }
}

static void add_hold(struct db_query *q, const void *row)
{
    const struct group_trace *t = row;
    db_arg_text(q, t->id);
    db_arg(q, t->hold_application);
    db_arg(q, t->hold_key);
    db_arg(q, t->hold_micros);
    db_arg(q, t->created_ms);
    db_arg(q, t->deadline_ms);
}

/* Rows of so many values: full statements first, then one by one. */
static void write_rows(struct group *g, const char *one, const char *some, size_t at_once,
                       const void *const *rows, size_t n,
                       void (*add)(struct db_query *q, const void *row))
{
    for (size_t i = 0, now; i < n; i += now) {
        now = n - i < at_once ? 1 : at_once;
        struct db_query *q = batch_add(&g->batch, now == 1 ? one : some);
        g->batch.changes[g->batch.n - 1] = (int64_t)now;
        for (size_t k = 0; k < now; k++)
            add(q, rows[i + k]);
    }
}

#define HOLD_INSERT                                                                                \
    "INSERT INTO holds (trace_id, application_id, key_id, amount_micros, created_ms,"              \
    " deadline_ms) VALUES ($1, $2, $3, $4, $5, $6)"

static void insert_holds(struct group *g)
{
    static const char some[] = HOLD_INSERT ", ($7, $8, $9, $10, $11, $12),"
                                           " ($13, $14, $15, $16, $17, $18),"
                                           " ($19, $20, $21, $22, $23, $24),"
                                           " ($25, $26, $27, $28, $29, $30),"
                                           " ($31, $32, $33, $34, $35, $36)";
    enum { AT_ONCE = 6 };
    const void **rows = arena_alloc(g->arena, g->n_traces * sizeof *rows);
    size_t n = 0;
    for (size_t i = 0; i < g->n_traces; i++) {
        const struct group_trace *t = &g->traces[i];
        if (t->held && (!t->held_before || t->dropped))
            rows[n++] = t;
    }
    write_rows(g, HOLD_INSERT, some, AT_ONCE, rows, n, add_hold);
}

static const char *day_sql(struct group *g, const char *before, int64_t day, const char *after)
{
    char sql[SQL_BYTES];
    snprintf(sql, sizeof sql, "%s%lld%s", before, (long long)day, after);
    return arena_strndup(g->arena, sql, strlen(sql));
}

static void add_row_arguments(struct db_query *q, const struct ledger_row *r, int64_t grant_micros)
{
    db_arg_text(q, r->trace_id);
    db_arg(q, r->account_id);
    db_arg(q, r->application_id);
    db_arg(q, r->key_id);
    db_arg(q, r->ended_ms);
    db_arg_text(q, r->route);
    db_arg_text(q, r->model);
    db_arg_text(q, r->answered);
    db_arg_text(q, r->backend);
    db_arg(q, r->status);
    db_arg_text(q, r->finish);
    db_arg(q, r->prompt_tokens);
    db_arg(q, r->cached_tokens);
    db_arg(q, r->reasoning_tokens);
    db_arg(q, r->completion_tokens);
    db_arg_text(q, r->source);
    db_arg(q, r->price.input);
    db_arg(q, r->price.cached);
    db_arg(q, r->price.output);
    db_arg(q, r->cost_micros);
    db_arg(q, r->charged_micros);
    db_arg(q, grant_micros);
    db_arg(q, r->balance_micros);
    db_arg(q, r->queue_us);
    db_arg(q, r->first_us);
    db_arg(q, r->total_us);
    db_arg(q, r->client_gone);
}

/* By the time of the call's end, so that numbers of rows are in that order, too. */
static int compare_ends(const void *a, const void *b)
{
    const struct group_trace *x = *(struct group_trace *const *)a;
    const struct group_trace *y = *(struct group_trace *const *)b;
    if (x->row->ended_ms != y->row->ended_ms)
        return x->row->ended_ms < y->row->ended_ms ? -1 : 1;
    return strcmp(x->id, y->id);
}

static void insert_calls(struct group *g)
{
    static const char values[] =
        " (" CALLS_COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,"
        " $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27)";
    struct group_trace **list = arena_alloc(g->arena, g->n_traces * sizeof(struct group_trace *));
    size_t n = 0;
    for (size_t i = 0; i < g->n_traces; i++) {
        if (g->traces[i].written && !g->traces[i].written_before)
            list[n++] = &g->traces[i];
    }
    qsort(list, n, sizeof(struct group_trace *), compare_ends);
    for (size_t i = 0; i < n; i++) {
        const struct group_trace *t = list[i];
        const char *sql = day_sql(g, "INSERT INTO calls_", t->day, values);
        add_row_arguments(batch_add(&g->batch, sql), t->row, t->call.grant_micros);
    }
}

/* Also those of this group: their rows were there, and charged, for a moment. */
static void void_calls(struct group *g)
{
    static const char set[] =
        " SET status = 503, finish = '" LEDGER_VOID_FINISH "', price_input = 0, price_cached = 0,"
        " price_output = 0, cost_micros = 0, charged_micros = 0, grant_micros = 0,"
        " balance_micros = $2 WHERE trace_id = $1 AND finish <> '" LEDGER_VOID_FINISH "'";
    for (size_t i = 0; i < g->n_traces; i++) {
        const struct group_trace *t = &g->traces[i];
        if (!t->voided_now)
            continue;
        struct db_query *q = batch_add(&g->batch, day_sql(g, "UPDATE calls_", t->day, set));
        db_arg_text(q, t->id);
        db_arg(q, t->call.balance_micros);
    }
}

static int compare_totals(const void *a, const void *b)
{
    const struct group_total *x = a, *y = b;
    if (x->application_id != y->application_id)
        return x->application_id < y->application_id ? -1 : 1;
    if (x->hour_ms != y->hour_ms)
        return x->hour_ms < y->hour_ms ? -1 : 1;
    if (x->key_id != y->key_id)
        return x->key_id < y->key_id ? -1 : 1;
    return strcmp(x->model, y->model);
}

#define ADD(column) column " = totals." column " + excluded." column
#define TOTAL_INSERT                                                                               \
    "INSERT INTO totals (hour_ms, application_id, key_id, model, calls, failed, prompt_tokens,"    \
    " cached_tokens, reasoning_tokens, completion_tokens, cost_micros, charged_micros)"            \
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
/* clang-format off */
#define TOTAL_ADD                                                                                  \
    " ON CONFLICT (application_id, hour_ms, key_id, model) DO UPDATE SET " ADD("calls") ", "       \
    ADD("failed") ", " ADD("prompt_tokens") ", " ADD("cached_tokens") ", "                         \
    ADD("reasoning_tokens") ", " ADD("completion_tokens") ", " ADD("cost_micros") ", "             \
    ADD("charged_micros")
/* clang-format on */

static void add_total(struct db_query *q, const void *row)
{
    const struct group_total *t = row;
    db_arg(q, t->hour_ms);
    db_arg(q, t->application_id);
    db_arg(q, t->key_id);
    db_arg_text(q, t->model);
    db_arg(q, t->calls);
    db_arg(q, t->failed);
    db_arg(q, t->prompt);
    db_arg(q, t->cached);
    db_arg(q, t->reasoning);
    db_arg(q, t->completion);
    db_arg(q, t->cost);
    db_arg(q, t->charged);
}

static void write_totals(struct group *g)
{
    static const char some[] =
        TOTAL_INSERT ", ($13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24),"
                     " ($25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36)" TOTAL_ADD;
    enum { AT_ONCE = 3 };
    const void **rows = arena_alloc(g->arena, g->n_totals * sizeof *rows);
    if (g->n_totals)
        qsort(g->totals, g->n_totals, sizeof *g->totals, compare_totals);
    for (size_t i = 0; i < g->n_totals; i++)
        rows[i] = &g->totals[i];
    write_rows(g, TOTAL_INSERT TOTAL_ADD, some, AT_ONCE, rows, g->n_totals, add_total);
}

int group_write(struct group *g, struct error *e)
{
    batch_reset(&g->batch);
    write_applications(g);
    write_keys(g);
    write_grants(g);
    delete_holds(g);
    insert_holds(g);
    insert_calls(g);
    void_calls(g);
    write_totals(g);
    int rc = batch_run(&g->batch, g->store, e);
    for (size_t i = 0; i < g->batch.n && rc == 0; i++) {
        if (g->batch.list[i].changed != g->batch.changes[i])
            rc = error_set(e, ERR_BUSY, "the books were changed by another: %.60s",
                           g->batch.list[i].sql);
    }
    return rc;
}
