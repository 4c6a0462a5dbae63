/*
 * Holds that nobody settles: of a server that crashed, or of a call that outlived its deadline.
 *
 * As in a group, the applications are locked in the order of their numbers before a hold is
 * touched: a settlement that comes at the same time either finds its hold, or finds it swept and
 * charges the balance.
 */
#include "store/ledger_private.h"

#include "base/mem.h"

#include <stdlib.h>

static int compare_first(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Locks the applications of the holds of `found` (trace id, application). */
static int lock_applications(struct store *s, const struct db_rows *found, struct batch *b,
                             struct error *e)
{
    int64_t *ids = mem_array(found->n, sizeof *ids);
    for (size_t i = 0; i < found->n; i++)
        ids[i] = db_int(found, i, 1);
    qsort(ids, found->n, sizeof *ids, compare_first);
    for (size_t i = 0; i < found->n; i++) {
        if (i == 0 || ids[i] != ids[i - 1])
            db_arg(batch_add(b, "SELECT id FROM applications WHERE id = $1 FOR UPDATE"), ids[i]);
    }
    int rc = batch_run(b, s, e);
    batch_reset(b);
    free(ids);
    return rc;
}

/* Those that are still there, and still over. */
static int take_holds(struct store *s, const struct db_rows *found, int64_t now_ms, struct batch *b,
                      struct error *e)
{
    for (size_t i = 0; i < found->n; i++) {
        struct db_query *q =
            batch_add(b, "DELETE FROM holds WHERE trace_id = $1 AND deadline_ms < $2"
                         " RETURNING application_id, key_id, amount_micros");
        db_arg_text(q, db_text(found, i, 0));
        db_arg(q, now_ms);
    }
    return batch_run(b, s, e);
}

/* A column that a fault made too small must not stop the sweep: `ledger verify` tells of it. */
static int give_back(struct store *s, const struct batch *taken, int64_t *n, struct error *e)
{
    struct batch b = {0};
    *n = 0;
    for (size_t i = 0; i < taken->n; i++) {
        const struct db_rows *r = &taken->list[i].rows;
        if (r->n == 0)
            continue;
        ++*n;
        struct db_query *q = batch_add(
            &b, "UPDATE applications SET balance_micros = balance_micros + $2, held_micros ="
                " CASE WHEN held_micros > $2 THEN held_micros - $2 ELSE 0 END WHERE id = $1");
        db_arg(q, db_int(r, 0, 0));
        db_arg(q, db_int(r, 0, 2));
        q = batch_add(&b, "UPDATE keys SET held_micros = CASE WHEN held_micros > $2"
                          " THEN held_micros - $2 ELSE 0 END WHERE id = $1");
        db_arg(q, db_int(r, 0, 1));
        db_arg(q, db_int(r, 0, 2));
    }
    int rc = batch_run(&b, s, e);
    batch_done(&b);
    return rc;
}

static int sweep(struct store *s, int64_t now_ms, int64_t most, int64_t *n, struct error *e)
{
    struct db_query q;
    struct batch b = {0};
    db_sql(&q, "SELECT trace_id, application_id FROM holds WHERE deadline_ms < $1"
               " ORDER BY deadline_ms, trace_id LIMIT $2");
    db_arg(&q, now_ms);
    db_arg(&q, most);
    int rc = db_run_one(s->db, &q, e);
    if (rc == 0 && q.rows.n > 0)
        rc = lock_applications(s, &q.rows, &b, e);
    if (rc == 0)
        rc = take_holds(s, &q.rows, now_ms, &b, e);
    if (rc == 0)
        rc = give_back(s, &b, n, e);
    batch_done(&b);
    db_done(&q, 1);
    return rc;
}

int ledger_sweep(struct store *s, int64_t now_ms, int64_t most, int64_t *n, struct error *e)
{
    bool own;
    *n = 0;
    int rc = ledger_begin(s, &own, e);
    if (rc == 0)
        rc = ledger_end(s, own, sweep(s, now_ms, most, n, e), e);
    if (rc)
        *n = 0;
    return rc;
}

static int release_all(struct store *s, int64_t *n, struct error *e)
{
    static const char *const sql[] = {
        "UPDATE applications SET balance_micros = balance_micros +"
        " (SELECT SUM(h.amount_micros) FROM holds h WHERE h.application_id = applications.id),"
        " held_micros = 0 WHERE id IN (SELECT application_id FROM holds)",
        "UPDATE keys SET held_micros = 0 WHERE id IN (SELECT key_id FROM holds)",
        "DELETE FROM holds"};
    struct batch b = {0};
    for (size_t i = 0; i < sizeof sql / sizeof sql[0]; i++)
        batch_add(&b, sql[i]);
    int rc = batch_run(&b, s, e);
    if (rc == 0)
        *n = b.list[b.n - 1].changed;
    batch_done(&b);
    return rc;
}

int ledger_release_all(struct store *s, int64_t *n, struct error *e)
{
    bool own;
    *n = 0;
    int rc = ledger_begin(s, &own, e);
    if (rc == 0)
        rc = ledger_end(s, own, release_all(s, n, e), e);
    if (rc)
        *n = 0;
    return rc;
}
