/*
 * Keys as a console sees them: pages of one account's, changing, revoking, rotating. Whose key it
 * is stands in the condition of every statement, so another account's is not there.
 *
 * A page's condition is put together from fixed texts, one for what is asked: an "or anybody's"
 * inside the condition would keep the databases from using the index.
 */
#include "store/key_row.h"
#include "store/store_private.h"

#include <stdio.h>
#include <string.h>

/* Another's key is not there: $1 the key, $2 the account or 0. */
#define KEY_IS_OF                                                                                  \
    "WHERE id = $1 AND EXISTS (SELECT 1 FROM applications p WHERE p.id = keys.application_id "     \
    "AND (p.account_id = $2 OR $2 = 0))"

struct page_ask {
    int64_t account_id, application_id;
    bool revoked;
};

/* The condition of a page, and its arguments from $1 on. */
static void build_where(struct db_query *q, const struct page_ask *a, char *sql, size_t sql_bytes)
{
    size_t n = strlen(sql);
    n += (size_t)snprintf(sql + n, sql_bytes - n, "WHERE k.id > 0");
    if (a->account_id) {
        db_arg(q, a->account_id);
        n += (size_t)snprintf(sql + n, sql_bytes - n, " AND p.account_id = $%d", q->n_args);
    }
    if (a->application_id) {
        db_arg(q, a->application_id);
        n += (size_t)snprintf(sql + n, sql_bytes - n, " AND k.application_id = $%d", q->n_args);
    }
    if (!a->revoked)
        snprintf(sql + n, sql_bytes - n, " AND k.revoked_ms = 0");
}

int store_key_page(struct store *s, int64_t account_id, int64_t application_id, bool revoked,
                   int64_t offset, int64_t limit, struct store_key *out, size_t *n, int64_t *count,
                   struct error *e)
{
    const struct page_ask ask = {account_id, application_id, revoked};
    char count_sql[320] = "SELECT COUNT(*) FROM keys k JOIN applications p "
                          "ON p.id = k.application_id ";
    char page_sql[1024] = KEY_SELECT;
    struct db_query q[2] = {0};
    *n = 0;
    db_sql(&q[0], count_sql);
    build_where(&q[0], &ask, count_sql, sizeof count_sql);
    db_sql(&q[1], page_sql);
    build_where(&q[1], &ask, page_sql, sizeof page_sql);
    db_arg(&q[1], store_page_limit(limit));
    db_arg(&q[1], store_page_offset(offset));
    size_t end = strlen(page_sql);
    snprintf(page_sql + end, sizeof page_sql - end, " ORDER BY k.id DESC LIMIT $%d OFFSET $%d",
             q[1].n_args - 1, q[1].n_args);
    int rc = db_run(s->db, q, 2, e);
    if (rc == 0) {
        *count = db_int(&q[0].rows, 0, 0);
        *n = q[1].rows.n;
        for (size_t i = 0; i < *n; i++)
            key_row_read(&q[1].rows, i, &out[i]);
    }
    db_done(q, 2);
    return rc;
}

int store_key_get(struct store *s, int64_t account_id, int64_t id, struct store_key *out,
                  struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, KEY_SELECT "WHERE k.id = $1 AND (p.account_id = $2 OR $2 = 0)");
    db_arg(&q, id);
    db_arg(&q, account_id);
    return key_row_get(s, &q, out, e);
}

/* Runs a statement that changes one key; none: ERR_NOT_FOUND. */
static int run_change(struct store *s, struct db_query *q, struct error *e)
{
    int rc = db_run_one(s->db, q, e);
    if (rc == 0 && q->changed == 0)
        rc = error_set(e, ERR_NOT_FOUND, "no such key");
    db_done(q, 1);
    return rc;
}

int store_key_change(struct store *s, int64_t account_id, const struct store_key *key,
                     struct error *e)
{
    struct db_query q = {0};
    if (key->cap_micros < -1)
        return error_set(e, ERR_INVALID, "a key's cap is -1 (none) or an amount");
    db_sql(&q, "UPDATE keys SET name = $3, models = $4, networks = $5, cap_micros = $6, "
               "requests_per_minute = $7, tokens_per_minute = $8, concurrent = $9, "
               "expires_ms = $10, disabled = $11 " KEY_IS_OF);
    db_arg(&q, key->id);
    db_arg(&q, account_id);
    db_arg_text(&q, key->name);
    db_arg_text(&q, key->models);
    db_arg_text(&q, key->networks);
    db_arg(&q, key->cap_micros);
    db_arg(&q, key->rates.requests_per_minute);
    db_arg(&q, key->rates.tokens_per_minute);
    db_arg(&q, key->rates.concurrent);
    db_arg(&q, key->expires_ms);
    db_arg(&q, key->disabled);
    return run_change(s, &q, e);
}

/* What is revoked stays so, with its first date. */
int store_key_revoke_id(struct store *s, int64_t account_id, int64_t id, int64_t now_ms,
                        struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "UPDATE keys SET revoked_ms = CASE WHEN revoked_ms = 0 THEN $3 ELSE revoked_ms "
               "END " KEY_IS_OF);
    db_arg(&q, id);
    db_arg(&q, account_id);
    db_arg(&q, now_ms);
    return run_change(s, &q, e);
}

/* Locks a key as the books do: its application first. Adding a key to an application touches the
 * application's row, too; the other order could lock both out. What depends on the lock is read
 * in a later statement. */
static int lock_key(struct store *s, const struct store_key *key, struct error *e)
{
    struct db_query q[2] = {0};
    db_sql(&q[0], "SELECT id FROM applications WHERE id = $1 FOR UPDATE");
    db_arg(&q[0], key->application_id);
    db_sql(&q[1], "SELECT id FROM keys WHERE id = $1 FOR UPDATE");
    db_arg(&q[1], key->id);
    int rc = db_run(s->db, q, 2, e);
    db_done(q, 2);
    return rc;
}

/* The old key ends, and keeps of its cap what it has spent and holds: the rest is the new one's.
 * Under the lock, so what was read is still so. */
static int end_old(struct store *s, const struct store_key *old, int64_t until_ms, int64_t kept,
                   struct error *e)
{
    struct db_query q = {0};
    if (old->expires_ms != 0 && old->expires_ms < until_ms)
        until_ms = old->expires_ms;
    db_sql(&q, "UPDATE keys SET expires_ms = $2, cap_micros = $3 WHERE id = $1");
    db_arg(&q, old->id);
    db_arg(&q, until_ms);
    db_arg(&q, kept);
    return run_change(s, &q, e);
}

int store_key_rotate(struct store *s, int64_t account_id, int64_t id,
                     const uint8_t hash[STORE_HASH_BYTES], const char *prefix, int64_t now_ms,
                     int64_t old_until_ms, struct store_key *out, struct error *e)
{
    struct store_key old, fresh;
    int64_t new_id, kept = -1;
    int rc = store_key_get(s, account_id, id, &old, e);
    if (rc == 0)
        rc = lock_key(s, &old, e);
    if (rc == 0)
        rc = store_key_get(s, account_id, id, &old, e);
    if (rc == 0 && old.revoked_ms != 0)
        rc = error_set(e, ERR_DENIED, "the key is revoked; make a new one");
    if (rc == 0 && old.expires_ms != 0 && old.expires_ms <= now_ms)
        rc = error_set(e, ERR_EXPIRED, "the key's time is over; make a new one");
    if (rc)
        return rc;
    fresh = old;
    if (old.cap_micros >= 0) {
        kept = old.used_micros + old.held_micros;
        if (kept > old.cap_micros)
            kept = old.cap_micros;
        fresh.cap_micros = old.cap_micros - kept;
    }
    fresh.created_ms = now_ms;
    snprintf(fresh.prefix, sizeof fresh.prefix, "%s", prefix);
    rc = end_old(s, &old, old_until_ms > now_ms ? old_until_ms : now_ms, kept, e);
    if (rc == 0)
        rc = store_key_add(s, hash, &fresh, &new_id, e);
    return rc ? rc : store_key_get(s, account_id, new_id, out, e);
}

int store_key_count(struct store *s, int64_t application_id, int64_t *n, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "SELECT COUNT(*) FROM keys WHERE application_id = $1 AND revoked_ms = 0");
    db_arg(&q, application_id);
    int rc = db_run_one(s->db, &q, e);
    if (rc == 0)
        *n = db_int(&q.rows, 0, 0);
    db_done(&q, 1);
    return rc;
}

int store_key_ever(struct store *s, int64_t application_id, enum store_key_kind kind, bool *ever,
                   struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "SELECT id FROM keys WHERE application_id = $1 AND kind = $2 LIMIT 1");
    db_arg(&q, application_id);
    db_arg(&q, kind);
    int rc = db_run_one(s->db, &q, e);
    *ever = rc == 0 && q.rows.n > 0;
    db_done(&q, 1);
    return rc;
}
