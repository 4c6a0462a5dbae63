/*
 * Keys in the database. The SHA-256 of a key is all that is kept of it, with the few characters
 * that let people tell their keys apart.
 */
#include "store/store_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MINUTE_MS = 60000 };

#define COLUMNS "id, name, prefix, models, created_ms, expires_ms, revoked_ms, used_ms, disabled"

static void copy_text(char *out, size_t out_bytes, sqlite3_stmt *q, int column)
{
    const char *text = (const char *)sqlite3_column_text(q, column);
    snprintf(out, out_bytes, "%s", text ? text : "");
}

static void read_row(sqlite3_stmt *q, struct store_key *key)
{
    memset(key, 0, sizeof *key);
    key->id = sqlite3_column_int64(q, 0);
    copy_text(key->name, sizeof key->name, q, 1);
    copy_text(key->prefix, sizeof key->prefix, q, 2);
    copy_text(key->models, sizeof key->models, q, 3);
    key->created_ms = sqlite3_column_int64(q, 4);
    key->expires_ms = sqlite3_column_int64(q, 5);
    key->revoked_ms = sqlite3_column_int64(q, 6);
    key->used_ms = sqlite3_column_int64(q, 7);
    key->disabled = sqlite3_column_int(q, 8) != 0;
}

/* Runs a statement that gives no rows back. */
static int finish(struct store *s, sqlite3_stmt *q, const char *doing, struct error *e)
{
    int rc = sqlite3_step(q) == SQLITE_DONE ? 0 : store_failed(s, doing, e);
    sqlite3_reset(q);
    return rc;
}

int store_key_add(struct store *s, const uint8_t hash[STORE_HASH_BYTES],
                  const struct store_key *key, int64_t *id, struct error *e)
{
    sqlite3_stmt *q;
    int rc = store_statement(s, STATEMENT_KEY_ADD,
                             "INSERT INTO keys (hash, name, prefix, models, created_ms, "
                             "expires_ms, disabled) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                             &q, e);
    if (rc)
        return rc;
    sqlite3_bind_blob(q, 1, hash, STORE_HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_text(q, 2, key->name, -1, SQLITE_STATIC);
    sqlite3_bind_text(q, 3, key->prefix, -1, SQLITE_STATIC);
    sqlite3_bind_text(q, 4, key->models, -1, SQLITE_STATIC);
    sqlite3_bind_int64(q, 5, key->created_ms);
    sqlite3_bind_int64(q, 6, key->expires_ms);
    sqlite3_bind_int(q, 7, key->disabled);
    rc = finish(s, q, "adding a key", e);
    if (rc == 0)
        *id = sqlite3_last_insert_rowid(s->db);
    return rc;
}

int store_key_each(struct store *s, void (*fn)(void *arg, const struct store_key *key), void *arg,
                   struct error *e)
{
    struct store_key key;
    sqlite3_stmt *q;
    int step;
    int rc =
        store_statement(s, STATEMENT_KEY_EACH, "SELECT " COLUMNS " FROM keys ORDER BY id", &q, e);
    if (rc)
        return rc;
    while ((step = sqlite3_step(q)) == SQLITE_ROW) {
        read_row(q, &key);
        fn(arg, &key);
    }
    if (step != SQLITE_DONE)
        rc = store_failed(s, "listing the keys", e);
    sqlite3_reset(q);
    return rc;
}

int store_key_find(struct store *s, const uint8_t hash[STORE_HASH_BYTES], struct store_key *out,
                   struct error *e)
{
    sqlite3_stmt *q;
    int rc = store_statement(s, STATEMENT_KEY_FIND, "SELECT " COLUMNS " FROM keys WHERE hash = ?1",
                             &q, e);
    if (rc)
        return rc;
    sqlite3_bind_blob(q, 1, hash, STORE_HASH_BYTES, SQLITE_STATIC);
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW)
        read_row(q, out);
    else if (step == SQLITE_DONE)
        rc = error_set(e, ERR_NOT_FOUND, "no such key");
    else
        rc = store_failed(s, "finding a key", e);
    sqlite3_reset(q);
    return rc;
}

/* The row of a number, if the text is one. */
static int find_by_id(struct store *s, const char *text, struct store_key *out, bool *found,
                      struct error *e)
{
    char *end;
    sqlite3_stmt *q;
    *found = false;
    errno = 0;
    long long id = strtoll(text, &end, 10);
    if (errno || *end || end == text)
        return 0;
    int rc = store_statement(s, STATEMENT_KEY_BY_ID, "SELECT " COLUMNS " FROM keys WHERE id = ?1",
                             &q, e);
    if (rc)
        return rc;
    sqlite3_bind_int64(q, 1, id);
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW)
        read_row(q, out);
    else if (step != SQLITE_DONE)
        rc = store_failed(s, "finding a key", e);
    *found = step == SQLITE_ROW;
    sqlite3_reset(q);
    return rc;
}

/* The row of a name; of several with that name the one that is not revoked yet. */
static int find_by_name(struct store *s, const char *name, struct store_key *out, struct error *e)
{
    sqlite3_stmt *q;
    struct store_key key;
    int step, live = 0, all = 0;
    int rc = store_statement(s, STATEMENT_KEY_BY_NAME,
                             "SELECT " COLUMNS " FROM keys WHERE name = ?1 ORDER BY id", &q, e);
    if (rc)
        return rc;
    sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
    while ((step = sqlite3_step(q)) == SQLITE_ROW) {
        read_row(q, &key);
        if (key.revoked_ms == 0 || all == 0)
            *out = key;
        live += key.revoked_ms == 0;
        all++;
    }
    if (step != SQLITE_DONE)
        rc = store_failed(s, "finding a key", e);
    else if (all == 0)
        rc = error_set(e, ERR_NOT_FOUND, "no key has the number or the name %.128s", name);
    else if (live > 1)
        rc = error_set(e, ERR_INVALID, "%d keys have the name %.128s; say which by its number",
                       live, name);
    sqlite3_reset(q);
    return rc;
}

int store_key_revoke(struct store *s, const char *id_or_name, int64_t now_ms, struct store_key *out,
                     struct error *e)
{
    sqlite3_stmt *q;
    bool found;
    int rc = find_by_id(s, id_or_name, out, &found, e);
    if (rc == 0 && !found)
        rc = find_by_name(s, id_or_name, out, e);
    if (rc || out->revoked_ms != 0)
        return rc; /* what is revoked stays so, with its first date */
    rc = store_statement(s, STATEMENT_KEY_REVOKE,
                         "UPDATE keys SET revoked_ms = ?2 WHERE id = ?1 AND revoked_ms = 0", &q, e);
    if (rc)
        return rc;
    sqlite3_bind_int64(q, 1, out->id);
    sqlite3_bind_int64(q, 2, now_ms);
    rc = finish(s, q, "revoking a key", e);
    if (rc == 0)
        out->revoked_ms = now_ms;
    return rc;
}

int store_key_used(struct store *s, int64_t id, int64_t now_ms, struct error *e)
{
    sqlite3_stmt *q;
    int rc = store_statement(s, STATEMENT_KEY_USED,
                             "UPDATE keys SET used_ms = ?2 WHERE id = ?1 AND used_ms < ?2", &q, e);
    if (rc)
        return rc;
    sqlite3_bind_int64(q, 1, id);
    sqlite3_bind_int64(q, 2, now_ms - now_ms % MINUTE_MS);
    return finish(s, q, "noting a key's use", e);
}
