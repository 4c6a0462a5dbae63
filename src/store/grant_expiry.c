/*
 * Grants whose time is over lose what is left of them.
 *
 * What is left is amount - used: settlements add what a call cost to `used` of the grant that ends
 * first. A call that began before the end may still spend what it holds, so
 *
 *     taken now = min(amount - used - open holds made before the end, balance)
 *
 * Each taking is a row of kind "expiry" and counts as used, too, so a grant can lose its rest in
 * several steps, as holds are settled: somebody who always holds something cannot keep a grant
 * alive. It is over (expired_ms) when nothing is left of it or nothing is held. What could not be
 * taken then was taken back before by somebody else.
 */
#include "store/applications.h"
#include "store/store_private.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

/* Of g, a grant, and a, its application. */
#define HELD_BEFORE_END                                                                            \
    "(SELECT COALESCE(SUM(h.amount_micros), 0) FROM holds h "                                      \
    "WHERE h.application_id = g.application_id AND h.created_ms < g.expires_ms)"

struct over {
    int64_t grant_id, application_id;
};

/* Those that are over and of which something can be done now, in the order in which the books
 * lock applications. */
static int find_over(struct store *s, int64_t now_ms, int64_t most, struct over *list, size_t *n,
                     struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "SELECT id, application_id FROM ("
               "SELECT g.id, g.application_id FROM grants g "
               "JOIN applications a ON a.id = g.application_id "
               "WHERE g.expires_ms > 0 AND g.expired_ms = 0 AND g.expires_ms <= $1 "
               "AND (a.held_micros = 0 OR g.used_micros >= g.amount_micros OR "
               "(a.balance_micros > 0 AND g.amount_micros - g.used_micros > " HELD_BEFORE_END ")) "
               "ORDER BY g.expires_ms, g.id LIMIT $2) o ORDER BY application_id, id");
    db_arg(&q, now_ms);
    db_arg(&q, most);
    int rc = db_run_one(s->db, &q, e);
    *n = rc == 0 ? q.rows.n : 0;
    for (size_t i = 0; i < *n; i++) {
        list[i].grant_id = db_int(&q.rows, i, 0);
        list[i].application_id = db_int(&q.rows, i, 1);
    }
    db_done(&q, 1);
    return rc;
}

struct state {
    int64_t rest, held, take; /* micro-USD */
};

/* What can be taken of a grant, read under the lock on its application. ERR_NOT_FOUND: another
 * process has ended it by now. */
static int look(struct store *s, const struct over *o, struct state *out, struct error *e)
{
    struct db_query q[2] = {0};
    db_sql(&q[0], "SELECT id FROM applications WHERE id = $1 FOR UPDATE");
    db_arg(&q[0], o->application_id);
    db_sql(
        &q[1],
        "SELECT g.amount_micros - g.used_micros, a.balance_micros, a.held_micros, " HELD_BEFORE_END
        " FROM grants g "
        "JOIN applications a ON a.id = g.application_id "
        "WHERE g.id = $1 AND g.expired_ms = 0");
    db_arg(&q[1], o->grant_id);
    int rc = db_run(s->db, q, 2, e);
    if (rc == 0 && q[1].rows.n == 0)
        rc = ERR_NOT_FOUND;
    if (rc == 0) {
        int64_t balance = db_int(&q[1].rows, 0, 1);
        out->rest = db_int(&q[1].rows, 0, 0);
        out->held = db_int(&q[1].rows, 0, 2);
        out->take = out->rest - db_int(&q[1].rows, 0, 3);
        if (out->take > balance)
            out->take = balance;
        if (out->take < 0)
            out->take = 0;
    }
    db_done(q, 2);
    return rc;
}

static int take(struct store *s, const struct over *o, int64_t amount, int64_t now_ms,
                struct error *e)
{
    struct db_query q = {0};
    struct store_grant g = {.application_id = o->application_id,
                            .amount_micros = -amount,
                            .kind = "expiry",
                            .created_ms = now_ms};
    snprintf(g.note, sizeof g.note, "rest of grant %lld", (long long)o->grant_id);
    int rc = store_grant_add(s, &g, NULL, e);
    if (rc)
        return rc;
    db_sql(&q, "UPDATE grants SET used_micros = used_micros + $2 WHERE id = $1");
    db_arg(&q, o->grant_id);
    db_arg(&q, amount);
    rc = db_run_one(s->db, &q, e);
    db_done(&q, 1);
    return rc;
}

static int end_grant(struct store *s, const struct over *o, int64_t now_ms, struct error *e)
{
    struct db_query q[2] = {0};
    db_sql(&q[0], "UPDATE grants SET expired_ms = $2 WHERE id = $1");
    db_arg(&q[0], o->grant_id);
    db_arg(&q[0], now_ms);
    db_sql(&q[1], "UPDATE applications SET expiring = expiring - 1, updated_ms = $2 WHERE id = $1");
    db_arg(&q[1], o->application_id);
    db_arg(&q[1], now_ms);
    int rc = db_run(s->db, q, 2, e);
    db_done(q, 2);
    return rc;
}

static int expire(struct store *s, const struct over *o, int64_t now_ms, struct error *e)
{
    struct state st;
    int rc = look(s, o, &st, e);
    if (rc)
        return rc == ERR_NOT_FOUND ? 0 : rc;
    if (st.take > 0)
        rc = take(s, o, st.take, now_ms, e);
    if (rc == 0 && (st.held == 0 || st.rest <= st.take))
        rc = end_grant(s, o, now_ms, e);
    return rc;
}

int store_grants_expire(struct store *s, int64_t now_ms, int64_t most, int64_t *n, struct error *e)
{
    size_t found = 0;
    most = store_page_limit(most);
    struct over *list = mem_array((size_t)most + 1, sizeof *list);
    int rc = find_over(s, now_ms, most, list, &found, e);
    for (size_t i = 0; rc == 0 && i < found; i++)
        rc = expire(s, &list[i], now_ms, e);
    *n = rc == 0 ? (int64_t)found : 0;
    free(list);
    return rc;
}
