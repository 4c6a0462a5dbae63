/*
 * Keys as calls and the command line see them: made, found by their hash, listed, revoked. The
 * SHA-256 of a key is all that is kept of it, with the few characters that let people tell their
 * keys apart. A key is read together with its application and account (key_row.h), so that who
 * may call is decided from one row.
 */
#include "store/key_row.h"
#include "store/store_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MINUTE_MS = 60000, EACH_ROWS = 500, SAME_NAME_MOST = 100 };

static void read_rates(const struct db_rows *r, size_t row, size_t first, struct store_rates *out)
{
    out->requests_per_minute = db_int(r, row, first);
    out->tokens_per_minute = db_int(r, row, first + 1);
    out->concurrent = db_int(r, row, first + 2);
}

void key_row_read(const struct db_rows *r, size_t row, struct store_key *out)
{
    memset(out, 0, sizeof *out);
    out->id = db_int(r, row, 0);
    out->application_id = db_int(r, row, 1);
    out->account_id = db_int(r, row, 2);
    out->kind = db_int(r, row, 3) == STORE_KEY_PLATFORM ? STORE_KEY_PLATFORM : STORE_KEY_CALLS;
    db_copy(r, row, 4, out->name, sizeof out->name);
    db_copy(r, row, 5, out->prefix, sizeof out->prefix);
    db_copy(r, row, 6, out->models, sizeof out->models);
    db_copy(r, row, 7, out->networks, sizeof out->networks);
    out->cap_micros = db_int(r, row, 8);
    out->used_micros = db_int(r, row, 9);
    out->held_micros = db_int(r, row, 10);
    read_rates(r, row, 11, &out->rates);
    read_rates(r, row, 14, &out->account_rates);
    out->created_ms = db_int(r, row, 17);
    out->expires_ms = db_int(r, row, 18);
    out->revoked_ms = db_int(r, row, 19);
    out->used_ms = db_int(r, row, 20);
    out->disabled = db_int(r, row, 21) != 0;
    out->owner_disabled = db_int(r, row, 22) != 0 || db_int(r, row, 23) != 0;
    out->account_is_admin = db_int(r, row, 24) == 1;
}

int key_row_get(struct store *s, struct db_query *q, struct store_key *out, struct error *e)
{
    int rc = db_run_one(s->db, q, e);
    if (rc == 0 && q->rows.n == 0)
        rc = error_set(e, ERR_NOT_FOUND, "no such key");
    if (rc == 0)
        key_row_read(&q->rows, 0, out);
    db_done(q, 1);
    return rc;
}

/* Which application a new key belongs to: the one that is named, or the operator's own. */
static int find_application(struct store *s, int64_t asked, int64_t *id, struct error *e)
{
    struct db_query q = {0};
    if (asked) {
        db_sql(&q, "SELECT id FROM applications WHERE id = $1");
        db_arg(&q, asked);
    } else {
        db_sql(&q, "SELECT p.id FROM applications p JOIN accounts c ON c.id = p.account_id "
                   "WHERE c.email = '' ORDER BY p.id LIMIT 1");
    }
    int rc = db_run_one(s->db, &q, e);
    if (rc == 0 && q.rows.n == 0)
        rc = error_set(e, ERR_NOT_FOUND, "no such application");
    if (rc == 0)
        *id = db_int(&q.rows, 0, 0);
    db_done(&q, 1);
    return rc;
}

static void build_add(struct db_query *q, int64_t application_id, const char *hash,
                      const struct store_key *key)
{
    db_sql(q, "INSERT INTO keys (application_id, kind, hash, name, prefix, models, networks, "
              "cap_micros, requests_per_minute, tokens_per_minute, concurrent, created_ms, "
              "expires_ms, disabled) "
              "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING id");
    db_arg(q, application_id);
    db_arg(q, key->kind);
    db_arg_text(q, hash);
    db_arg_text(q, key->name);
    db_arg_text(q, key->prefix);
    db_arg_text(q, key->models);
    db_arg_text(q, key->networks);
    db_arg(q, key->cap_micros);
    db_arg(q, key->rates.requests_per_minute);
    db_arg(q, key->rates.tokens_per_minute);
    db_arg(q, key->rates.concurrent);
    db_arg(q, key->created_ms);
    db_arg(q, key->expires_ms);
    db_arg(q, key->disabled);
}

int store_key_add(struct store *s, const uint8_t hash[STORE_HASH_BYTES],
                  const struct store_key *key, int64_t *id, struct error *e)
{
    struct db_query q = {0};
    char hex[STORE_HEX_BYTES];
    int64_t application_id;
    if (key->cap_micros < -1)
        return error_set(e, ERR_INVALID, "a key's cap is -1 (none) or an amount");
    int rc = find_application(s, key->application_id, &application_id, e);
    if (rc)
        return rc;
    store_hex(hash, hex);
    build_add(&q, application_id, hex, key);
    rc = db_run_one(s->db, &q, e);
    if (rc == 0)
        *id = db_int(&q.rows, 0, 0);
    db_done(&q, 1);
    return rc;
}

/* In pieces, so that a million keys are not in memory at once. */
int store_key_each(struct store *s, void (*fn)(void *arg, const struct store_key *key), void *arg,
                   struct error *e)
{
    struct db_query q = {0};
    struct store_key key = {0};
    size_t n = EACH_ROWS;
    int rc = 0;
    while (rc == 0 && n == EACH_ROWS) {
        db_sql(&q, KEY_SELECT "WHERE k.id > $1 ORDER BY k.id LIMIT $2");
        db_arg(&q, key.id);
        db_arg(&q, EACH_ROWS);
        rc = db_run_one(s->db, &q, e);
        n = rc == 0 ? q.rows.n : 0;
        for (size_t i = 0; i < n; i++) {
            key_row_read(&q.rows, i, &key);
            fn(arg, &key);
        }
        db_done(&q, 1);
    }
    return rc;
}

int store_key_find(struct store *s, const uint8_t hash[STORE_HASH_BYTES], struct store_key *out,
                   struct error *e)
{
    struct db_query q = {0};
    char hex[STORE_HEX_BYTES];
    store_hex(hash, hex);
    db_sql(&q, KEY_SELECT "WHERE k.hash = $1");
    db_arg_text(&q, hex);
    return key_row_get(s, &q, out, e);
}

/* The row of a number, if the text is one. */
static int find_by_id(struct store *s, const char *text, struct store_key *out, struct error *e)
{
    struct db_query q = {0};
    char *end;
    errno = 0;
    long long id = strtoll(text, &end, 10);
    if (errno || *end || end == text)
        return ERR_NOT_FOUND;
    db_sql(&q, KEY_SELECT "WHERE k.id = $1");
    db_arg(&q, id);
    return key_row_get(s, &q, out, e);
}

/* The row of a name; of several with that name the one that can still be used (rotation leaves
 * the old one with its name). */
static int find_by_name(struct store *s, const char *name, int64_t now_ms, struct store_key *out,
                        struct error *e)
{
    struct db_query q = {0};
    struct store_key key;
    int live = 0;
    db_sql(&q, KEY_SELECT "WHERE k.name = $1 ORDER BY CASE "
                          "WHEN k.revoked_ms > 0 THEN 2 "
                          "WHEN k.expires_ms > 0 AND k.expires_ms <= $2 THEN 1 "
                          "ELSE 0 END, k.id LIMIT $3");
    db_arg_text(&q, name);
    db_arg(&q, now_ms);
    db_arg(&q, SAME_NAME_MOST);
    int rc = db_run_one(s->db, &q, e);
    for (size_t i = 0; rc == 0 && i < q.rows.n; i++) {
        key_row_read(&q.rows, i, &key);
        if (i == 0)
            *out = key;
        live += key.revoked_ms == 0 && (key.expires_ms == 0 || key.expires_ms > now_ms);
    }
    if (rc == 0 && q.rows.n == 0)
        rc = error_set(e, ERR_NOT_FOUND, "no key has the number or the name %.128s", name);
    else if (rc == 0 && live > 1)
        rc = error_set(e, ERR_INVALID, "%d keys have the name %.128s; say which by its number",
                       live, name);
    db_done(&q, 1);
    return rc;
}

int store_key_revoke(struct store *s, const char *id_or_name, int64_t now_ms, struct store_key *out,
                     struct error *e)
{
    struct db_query q = {0};
    int rc = find_by_id(s, id_or_name, out, e);
    if (rc == ERR_NOT_FOUND)
        rc = find_by_name(s, id_or_name, now_ms, out, e);
    if (rc || out->revoked_ms != 0)
        return rc; /* what is revoked stays so, with its first date */
    db_sql(&q, "UPDATE keys SET revoked_ms = $2 WHERE id = $1 AND revoked_ms = 0");
    db_arg(&q, out->id);
    db_arg(&q, now_ms);
    rc = db_run_one(s->db, &q, e);
    if (rc == 0)
        out->revoked_ms = now_ms;
    db_done(&q, 1);
    return rc;
}

int store_key_used(struct store *s, int64_t id, int64_t now_ms, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "UPDATE keys SET used_ms = $2 WHERE id = $1 AND used_ms < $2");
    db_arg(&q, id);
    db_arg(&q, now_ms - now_ms % MINUTE_MS);
    int rc = db_run_one(s->db, &q, e);
    db_done(&q, 1);
    return rc;
}
