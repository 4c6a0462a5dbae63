/*
 * Sessions in the console, links that are good once, and the sweep of what is over. Only hashes
 * are here. A link is taken by one statement that also marks it, so that of two who come with it
 * at once one gets it.
 */
#include "store/accounts.h"
#include "store/store_private.h"

#include <string.h>

enum { SWEEP_ROWS = 500 }; /* of each kind, a call */

int store_session_add(struct store *s, const struct store_session *x, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "INSERT INTO sessions (hash, account_id, created_ms, used_ms, expires_ms) "
               "VALUES ($1, $2, $3, $4, $5)");
    db_arg_text(&q, x->hash);
    db_arg(&q, x->account_id);
    db_arg(&q, x->created_ms);
    db_arg(&q, x->used_ms);
    db_arg(&q, x->expires_ms);
    int rc = db_run_one(s->db, &q, e);
    db_done(&q, 1);
    return rc;
}

int store_session_get(struct store *s, const char *hash, struct store_session *out,
                      struct store_account *account, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "SELECT hash, account_id, created_ms, used_ms, expires_ms FROM sessions "
               "WHERE hash = $1");
    db_arg_text(&q, hash);
    int rc = db_run_one(s->db, &q, e);
    if (rc == 0 && q.rows.n == 0)
        rc = error_set(e, ERR_NOT_FOUND, "no such session");
    if (rc == 0) {
        memset(out, 0, sizeof *out);
        db_copy(&q.rows, 0, 0, out->hash, sizeof out->hash);
        out->account_id = db_int(&q.rows, 0, 1);
        out->created_ms = db_int(&q.rows, 0, 2);
        out->used_ms = db_int(&q.rows, 0, 3);
        out->expires_ms = db_int(&q.rows, 0, 4);
    }
    db_done(&q, 1);
    return rc ? rc : store_account_get(s, out->account_id, account, e);
}

int store_session_used(struct store *s, const char *hash, int64_t used_ms, int64_t expires_ms,
                       struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "UPDATE sessions SET used_ms = $2, expires_ms = $3 WHERE hash = $1");
    db_arg_text(&q, hash);
    db_arg(&q, used_ms);
    db_arg(&q, expires_ms);
    int rc = db_run_one(s->db, &q, e);
    if (rc == 0 && q.changed == 0)
        rc = error_set(e, ERR_NOT_FOUND, "no such session");
    db_done(&q, 1);
    return rc;
}

/* One that is gone already has ended: no failure. */
int store_session_end(struct store *s, const char *hash, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "DELETE FROM sessions WHERE hash = $1");
    db_arg_text(&q, hash);
    int rc = db_run_one(s->db, &q, e);
    db_done(&q, 1);
    return rc;
}

int store_session_end_all(struct store *s, int64_t account_id, const char *but, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "DELETE FROM sessions WHERE account_id = $1 AND hash <> $2");
    db_arg(&q, account_id);
    db_arg_text(&q, but ? but : "");
    int rc = db_run_one(s->db, &q, e);
    db_done(&q, 1);
    return rc;
}

int store_link_add(struct store *s, const struct store_link *x, struct error *e)
{
    struct db_query q = {0};
    if (x->account_id) {
        db_sql(&q, "INSERT INTO links (hash, kind, email, detail, created_ms, expires_ms, "
                   "account_id) VALUES ($1, $2, $3, $4, $5, $6, $7)");
    } else {
        db_sql(&q, "INSERT INTO links (hash, kind, email, detail, created_ms, expires_ms) "
                   "VALUES ($1, $2, $3, $4, $5, $6)");
    }
    db_arg_text(&q, x->hash);
    db_arg_text(&q, x->kind);
    db_arg_text(&q, x->email);
    db_arg_text(&q, x->detail);
    db_arg(&q, x->created_ms);
    db_arg(&q, x->expires_ms);
    if (x->account_id)
        db_arg(&q, x->account_id);
    int rc = db_run_one(s->db, &q, e);
    db_done(&q, 1);
    return rc;
}

static void read_link(const struct db_rows *r, struct store_link *out)
{
    memset(out, 0, sizeof *out);
    db_copy(r, 0, 0, out->hash, sizeof out->hash);
    db_copy(r, 0, 1, out->kind, sizeof out->kind);
    out->account_id = db_int(r, 0, 2);
    db_copy(r, 0, 3, out->email, sizeof out->email);
    db_copy(r, 0, 4, out->detail, sizeof out->detail);
    out->created_ms = db_int(r, 0, 5);
    out->expires_ms = db_int(r, 0, 6);
}

int store_link_take(struct store *s, const char *hash, const char *kind, int64_t now_ms,
                    struct store_link *out, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "UPDATE links SET used_ms = $3 WHERE hash = $1 AND kind = $2 AND used_ms = 0 "
               "AND expires_ms > $3 "
               "RETURNING hash, kind, account_id, email, detail, created_ms, expires_ms");
    db_arg_text(&q, hash);
    db_arg_text(&q, kind);
    db_arg(&q, now_ms);
    int rc = db_run_one(s->db, &q, e);
    if (rc == 0 && q.rows.n == 0)
        rc = error_set(e, ERR_NOT_FOUND, "the link is not known, was used, or its time is over");
    if (rc == 0)
        read_link(&q.rows, out);
    db_done(&q, 1);
    return rc;
}

int store_link_get(struct store *s, const char *hash, const char *kind, int64_t now_ms,
                   struct store_link *out, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "SELECT hash, kind, account_id, email, detail, created_ms, expires_ms FROM links "
               "WHERE hash = $1 AND kind = $2 AND used_ms = 0 AND expires_ms > $3");
    db_arg_text(&q, hash);
    db_arg_text(&q, kind);
    db_arg(&q, now_ms);
    int rc = db_run_one(s->db, &q, e);
    if (rc == 0 && q.rows.n == 0)
        rc = error_set(e, ERR_NOT_FOUND, "the link is not known, was used, or its time is over");
    if (rc == 0)
        read_link(&q.rows, out);
    db_done(&q, 1);
    return rc;
}

int store_link_drop(struct store *s, int64_t account_id, const char *kind, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "DELETE FROM links WHERE account_id = $1 AND kind = $2 AND used_ms = 0");
    db_arg(&q, account_id);
    db_arg_text(&q, kind);
    int rc = db_run_one(s->db, &q, e);
    db_done(&q, 1);
    return rc;
}

/* The time stands in the condition twice: the outer one is looked at again if a session was used,
 * and so made longer, while the statement waited for it. */
int store_accounts_sweep(struct store *s, int64_t now_ms, struct error *e)
{
    struct db_query q[2] = {0};
    db_sql(&q[0], "DELETE FROM sessions WHERE hash IN (SELECT hash FROM sessions "
                  "WHERE expires_ms <= $1 ORDER BY expires_ms LIMIT $2) AND expires_ms <= $1");
    db_sql(&q[1], "DELETE FROM links WHERE hash IN (SELECT hash FROM links "
                  "WHERE expires_ms <= $1 ORDER BY expires_ms LIMIT $2) AND expires_ms <= $1");
    for (int i = 0; i < 2; i++) {
        db_arg(&q[i], now_ms);
        db_arg(&q[i], SWEEP_ROWS);
    }
    int rc = db_run(s->db, q, 2, e);
    db_done(q, 2);
    return rc ? rc : store_networks_forget(s, now_ms, SWEEP_ROWS, e);
}
