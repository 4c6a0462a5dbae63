/*
 * Grants: what fills a balance, the free quota among them. How they end: grant_expiry.c.
 *
 * The application's row is the lock: whoever changes a balance changes or locks that row first
 * and reads what depends on it in a later statement. Rows are locked in the order application (in
 * the order of their numbers, as the books do it), person, network, grant; so who grants the free
 * quota locks the application before (store_application_lock).
 */
#include "store/applications.h"
#include "store/store_private.h"

#include <string.h>
#include <time.h>

/* A balance, and all that was ever granted: far below what a sum could overflow at. */
#define BALANCE_MAX_MICROS (1000 * STORE_GRANT_MAX_MICROS)

static int64_t day_of(int64_t unix_ms)
{
    time_t seconds = unix_ms / 1000;
    struct tm tm;
    gmtime_r(&seconds, &tm);
    return (tm.tm_year + 1900) * INT64_C(10000) + (tm.tm_mon + 1) * 100 + tm.tm_mday;
}

/* Why the guard of a grant said no. */
static int refusal(struct store *s, const struct store_grant *g, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "SELECT balance_micros FROM applications WHERE id = $1");
    db_arg(&q, g->application_id);
    int rc = db_run_one(s->db, &q, e);
    if (rc == 0 && q.rows.n == 0)
        rc = error_set(e, ERR_NOT_FOUND, "no such application");
    else if (rc == 0 && g->amount_micros < 0)
        rc = error_set(e, ERR_DENIED,
                       "the balance is %lld micro-USD; more than that cannot be taken",
                       (long long)db_int(&q.rows, 0, 0));
    else if (rc == 0)
        rc = error_set(e, ERR_LIMIT, "the balance would be too large to be counted");
    db_done(&q, 1);
    return rc;
}

/* `expiring`: how many grants with an end there are more. The guard is looked at again if another
 * changed the row while this waited for it. */
static int move_balance(struct store *s, const struct store_grant *g, int64_t expiring,
                        struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "UPDATE applications SET balance_micros = balance_micros + $2, "
               "granted_micros = granted_micros + $2, expiring = expiring + $3, updated_ms = $4 "
               "WHERE id = $1 AND balance_micros + $2 >= 0 AND granted_micros + $2 >= $5 "
               "AND balance_micros + $2 <= $6 AND granted_micros + $2 <= $6");
    db_arg(&q, g->application_id);
    db_arg(&q, g->amount_micros);
    db_arg(&q, expiring);
    db_arg(&q, g->created_ms);
    db_arg(&q, -BALANCE_MAX_MICROS);
    db_arg(&q, BALANCE_MAX_MICROS);
    int rc = db_run_one(s->db, &q, e);
    if (rc == 0 && q.changed == 0)
        rc = refusal(s, g, e);
    db_done(&q, 1);
    return rc;
}

static int write_grant(struct store *s, const struct store_grant *g, int64_t *id, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "INSERT INTO grants (application_id, amount_micros, kind, note, by_account, "
               "created_ms, expires_ms) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id");
    db_arg(&q, g->application_id);
    db_arg(&q, g->amount_micros);
    db_arg_text(&q, g->kind);
    db_arg_text(&q, g->note);
    db_arg(&q, g->by_account);
    db_arg(&q, g->created_ms);
    db_arg(&q, g->expires_ms);
    int rc = db_run_one(s->db, &q, e);
    if (rc == 0 && id)
        *id = db_int(&q.rows, 0, 0);
    db_done(&q, 1);
    return rc;
}

int store_grant_add(struct store *s, const struct store_grant *g, int64_t *id, struct error *e)
{
    if (g->amount_micros == 0 || g->amount_micros > STORE_GRANT_MAX_MICROS ||
        g->amount_micros < -STORE_GRANT_MAX_MICROS)
        return error_set(e, ERR_INVALID, "a grant is not zero and at most %lld micro-USD",
                         (long long)STORE_GRANT_MAX_MICROS);
    if (g->expires_ms < 0 || (g->expires_ms > 0 && g->amount_micros < 0))
        return error_set(e, ERR_INVALID, "what is taken back has no end");
    int rc = move_balance(s, g, g->expires_ms > 0, e);
    return rc ? rc : write_grant(s, g, id, e);
}

static void read_grant(const struct db_rows *r, size_t row, struct store_grant *out)
{
    memset(out, 0, sizeof *out);
    out->id = db_int(r, row, 0);
    out->application_id = db_int(r, row, 1);
    out->amount_micros = db_int(r, row, 2);
    out->used_micros = db_int(r, row, 3);
    db_copy(r, row, 4, out->kind, sizeof out->kind);
    db_copy(r, row, 5, out->note, sizeof out->note);
    out->by_account = db_int(r, row, 6);
    out->created_ms = db_int(r, row, 7);
    out->expires_ms = db_int(r, row, 8);
    out->expired_ms = db_int(r, row, 9);
}

int store_grant_page(struct store *s, int64_t application_id, int64_t offset, int64_t limit,
                     struct store_grant *out, size_t *n, int64_t *count, struct error *e)
{
    struct db_query q[2] = {0};
    *n = 0;
    db_sql(&q[0], "SELECT COUNT(*) FROM grants WHERE application_id = $1");
    db_arg(&q[0], application_id);
    db_sql(&q[1], "SELECT id, application_id, amount_micros, used_micros, kind, note, by_account, "
                  "created_ms, expires_ms, expired_ms FROM grants WHERE application_id = $1 "
                  "ORDER BY id DESC LIMIT $2 OFFSET $3");
    db_arg(&q[1], application_id);
    db_arg(&q[1], store_page_limit(limit));
    db_arg(&q[1], store_page_offset(offset));
    int rc = db_run(s->db, q, 2, e);
    if (rc == 0) {
        *count = db_int(&q[0].rows, 0, 0);
        *n = q[1].rows.n;
        for (size_t i = 0; i < *n; i++)
            read_grant(&q[1].rows, i, &out[i]);
    }
    db_done(q, 2);
    return rc;
}

/* Writes that the person had it. Of two at once one writes; the other waits for its end. */
static int take_person(struct store *s, const struct store_free *f, bool *taken, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "INSERT INTO persons (hash, granted_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING");
    db_arg_text(&q, f->person);
    db_arg(&q, f->now_ms);
    int rc = db_run_one(s->db, &q, e);
    *taken = rc == 0 && q.changed > 0;
    db_done(&q, 1);
    return rc;
}

static int give_person_back(struct store *s, const struct store_free *f, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "DELETE FROM persons WHERE hash = $1");
    db_arg_text(&q, f->person);
    int rc = db_run_one(s->db, &q, e);
    db_done(&q, 1);
    return rc;
}

/* Counts one up for the network's day, up to the bound. */
static int take_network(struct store *s, const struct store_free *f, bool *taken, struct error *e)
{
    struct db_query q = {0};
    *taken = true;
    if (f->per_network_day <= 0 || !*f->network)
        return 0;
    db_sql(&q, "INSERT INTO network_grants (network, day, n) VALUES ($1, $2, 1) "
               "ON CONFLICT (network, day) DO UPDATE SET n = network_grants.n + 1 "
               "WHERE network_grants.n < $3");
    db_arg_text(&q, f->network);
    db_arg(&q, day_of(f->now_ms));
    db_arg(&q, f->per_network_day);
    int rc = db_run_one(s->db, &q, e);
    *taken = rc == 0 && q.changed > 0;
    db_done(&q, 1);
    return rc;
}

int store_free_grant(struct store *s, const struct store_free *f, enum store_free_verdict *verdict,
                     struct error *e)
{
    struct store_grant g = {.application_id = f->application_id,
                            .amount_micros = f->amount_micros,
                            .kind = "free",
                            .created_ms = f->now_ms,
                            .expires_ms = f->expires_ms};
    bool taken;
    if (!*f->person || f->amount_micros <= 0)
        return error_set(e, ERR_INVALID, "the free quota needs a person and an amount");
    *verdict = STORE_FREE_HAD_IT;
    int rc = take_person(s, f, &taken, e);
    if (rc || !taken)
        return rc;
    rc = take_network(s, f, &taken, e);
    if (rc == 0 && !taken) { /* may come again tomorrow */
        *verdict = STORE_FREE_NETWORK_FULL;
        return give_person_back(s, f, e);
    }
    if (rc == 0)
        rc = store_grant_add(s, &g, NULL, e);
    if (rc == 0)
        *verdict = STORE_FREE_GRANTED;
    return rc;
}

int store_networks_forget(struct store *s, int64_t now_ms, int64_t most, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "DELETE FROM network_grants WHERE (network, day) IN "
               "(SELECT network, day FROM network_grants WHERE day < $1 LIMIT $2)");
    db_arg(&q, day_of(now_ms));
    db_arg(&q, most);
    int rc = db_run_one(s->db, &q, e);
    db_done(&q, 1);
    return rc;
}
