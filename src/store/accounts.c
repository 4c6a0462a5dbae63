/*
 * Accounts of people. The operator's own account (its address is empty) owns the keys of the
 * command line; it is in no list and no address or subject finds it.
 *
 * That one administrator stays is decided under a lock on all who are: whoever takes the role from
 * one of them has seen the others' end of the change.
 */
#include "store/accounts.h"
#include "store/store_private.h"

#include <string.h>

#define ACCOUNT_SELECT                                                                             \
    "SELECT id, email, person, name, password, role, disabled, must_change, oidc_subject, "        \
    "requests_per_minute, tokens_per_minute, concurrent, created_ms, login_ms FROM accounts "

static void read_row(const struct db_rows *r, size_t row, struct store_account *out)
{
    memset(out, 0, sizeof *out);
    out->id = db_int(r, row, 0);
    db_copy(r, row, 1, out->email, sizeof out->email);
    db_copy(r, row, 2, out->person, sizeof out->person);
    db_copy(r, row, 3, out->name, sizeof out->name);
    db_copy(r, row, 4, out->password, sizeof out->password);
    out->role = db_int(r, row, 5) == STORE_ADMIN ? STORE_ADMIN : STORE_USER;
    out->disabled = db_int(r, row, 6) != 0;
    out->must_change = db_int(r, row, 7) != 0;
    db_copy(r, row, 8, out->oidc_subject, sizeof out->oidc_subject);
    out->rates.requests_per_minute = db_int(r, row, 9);
    out->rates.tokens_per_minute = db_int(r, row, 10);
    out->rates.concurrent = db_int(r, row, 11);
    out->created_ms = db_int(r, row, 12);
    out->login_ms = db_int(r, row, 13);
}

int store_account_add(struct store *s, const struct store_account *a, int64_t *id, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "INSERT INTO accounts (email, person, name, password, role, disabled, must_change, "
               "oidc_subject, requests_per_minute, tokens_per_minute, concurrent, created_ms, "
               "login_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) "
               "RETURNING id");
    db_arg_text(&q, a->email);
    db_arg_text(&q, a->person);
    db_arg_text(&q, a->name);
    db_arg_text(&q, a->password);
    db_arg(&q, a->role);
    db_arg(&q, a->disabled);
    db_arg(&q, a->must_change);
    db_arg_text(&q, *a->oidc_subject ? a->oidc_subject : NULL);
    db_arg(&q, a->rates.requests_per_minute);
    db_arg(&q, a->rates.tokens_per_minute);
    db_arg(&q, a->rates.concurrent);
    db_arg(&q, a->created_ms);
    db_arg(&q, a->login_ms);
    int rc = db_run_one(s->db, &q, e);
    if (rc == 0)
        *id = db_int(&q.rows, 0, 0);
    db_done(&q, 1);
    return rc;
}

/* Runs a query of one account at most; none: ERR_NOT_FOUND. */
static int get_one(struct store *s, struct db_query *q, struct store_account *out, struct error *e)
{
    int rc = db_run_one(s->db, q, e);
    if (rc == 0 && q->rows.n == 0)
        rc = error_set(e, ERR_NOT_FOUND, "no such account");
    if (rc == 0)
        read_row(&q->rows, 0, out);
    db_done(q, 1);
    return rc;
}

int store_account_get(struct store *s, int64_t id, struct store_account *out, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, ACCOUNT_SELECT "WHERE id = $1");
    db_arg(&q, id);
    return get_one(s, &q, out, e);
}

int store_account_by_email(struct store *s, const char *email, struct store_account *out,
                           struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, ACCOUNT_SELECT "WHERE email = $1 AND email <> ''");
    db_arg_text(&q, email);
    return get_one(s, &q, out, e);
}

int store_account_by_oidc(struct store *s, const char *subject, struct store_account *out,
                          struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, ACCOUNT_SELECT "WHERE oidc_subject = $1");
    db_arg_text(&q, subject);
    return get_one(s, &q, out, e);
}

enum { PATTERN_BYTES = 2 * STORE_EMAIL_BYTES + 2 };

/* "%text%" for LIKE, with its own signs escaped and in lower case, as addresses are. False: it is
 * longer than any address. */
static bool make_pattern(const char *text, char out[PATTERN_BYTES])
{
    size_t n = 0;
    if (strlen(text) >= STORE_EMAIL_BYTES)
        return false;
    out[n++] = '%';
    for (; *text; text++) {
        if (*text == '%' || *text == '_' || *text == '\\')
            out[n++] = '\\';
        out[n++] = *text >= 'A' && *text <= 'Z' ? (char)(*text - 'A' + 'a') : *text;
    }
    out[n++] = '%';
    out[n] = '\0';
    return true;
}

static void build_page(struct db_query q[2], const char *pattern, int64_t offset, int64_t limit)
{
    if (pattern) {
        db_sql(&q[0], "SELECT COUNT(*) FROM accounts WHERE email <> '' "
                      "AND email LIKE $1 ESCAPE '\\'");
        db_arg_text(&q[0], pattern);
        db_sql(&q[1], ACCOUNT_SELECT "WHERE email <> '' AND email LIKE $1 ESCAPE '\\' "
                                     "ORDER BY id LIMIT $2 OFFSET $3");
        db_arg_text(&q[1], pattern);
    } else {
        db_sql(&q[0], "SELECT COUNT(*) FROM accounts WHERE email <> ''");
        db_sql(&q[1], ACCOUNT_SELECT "WHERE email <> '' ORDER BY id LIMIT $1 OFFSET $2");
    }
    db_arg(&q[1], store_page_limit(limit));
    db_arg(&q[1], store_page_offset(offset));
}

int store_account_page(struct store *s, const char *search, int64_t offset, int64_t limit,
                       struct store_account *out, size_t *n, int64_t *count, struct error *e)
{
    struct db_query q[2] = {0};
    char pattern[PATTERN_BYTES];
    bool all = !search || !*search;
    *n = 0;
    *count = 0;
    if (!all && !make_pattern(search, pattern))
        return 0;
    build_page(q, all ? NULL : pattern, offset, limit);
    int rc = db_run(s->db, q, 2, e);
    if (rc == 0) {
        *count = db_int(&q[0].rows, 0, 0);
        *n = q[1].rows.n;
        for (size_t i = 0; i < *n; i++)
            read_row(&q[1].rows, i, &out[i]);
    }
    db_done(q, 2);
    return rc;
}

/* Locks all who are administrators now; then, seeing what whoever had the lock did, says whether
 * there is another than this one, or whether this one is none. */
static int may_step_down(struct store *s, int64_t id, struct error *e)
{
    struct db_query q[2] = {0};
    bool is_one = false;
    db_sql(&q[0], "SELECT id FROM accounts WHERE role = 1 AND disabled = 0 ORDER BY id FOR UPDATE");
    db_sql(&q[1], "SELECT id FROM accounts WHERE role = 1 AND disabled = 0 ORDER BY id");
    int rc = db_run(s->db, q, 2, e);
    for (size_t i = 0; rc == 0 && i < q[1].rows.n; i++)
        is_one |= db_int(&q[1].rows, i, 0) == id;
    if (rc == 0 && is_one && q[1].rows.n == 1)
        rc = error_set(e, ERR_DENIED, "the last administrator stays one; make another one first");
    db_done(q, 2);
    return rc;
}

/* Runs a statement that changes one account; none: ERR_NOT_FOUND. */
static int run_change(struct store *s, struct db_query *q, struct error *e)
{
    int rc = db_run_one(s->db, q, e);
    if (rc == 0 && q->changed == 0)
        rc = error_set(e, ERR_NOT_FOUND, "no such account");
    db_done(q, 1);
    return rc;
}

int store_account_change(struct store *s, const struct store_account *a, struct error *e)
{
    struct db_query q = {0};
    int rc = a->role == STORE_ADMIN && !a->disabled ? 0 : may_step_down(s, a->id, e);
    if (rc)
        return rc;
    db_sql(&q, "UPDATE accounts SET name = $2, role = $3, disabled = $4, requests_per_minute = $5, "
               "tokens_per_minute = $6, concurrent = $7 WHERE id = $1");
    db_arg(&q, a->id);
    db_arg_text(&q, a->name);
    db_arg(&q, a->role);
    db_arg(&q, a->disabled);
    db_arg(&q, a->rates.requests_per_minute);
    db_arg(&q, a->rates.tokens_per_minute);
    db_arg(&q, a->rates.concurrent);
    return run_change(s, &q, e);
}

int store_account_set_password(struct store *s, int64_t id, const char *hash, bool must_change,
                               struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "UPDATE accounts SET password = $2, must_change = $3 WHERE id = $1 "
               "AND email <> ''");
    db_arg(&q, id);
    db_arg_text(&q, hash);
    db_arg(&q, must_change);
    return run_change(s, &q, e);
}

int store_account_set_oidc(struct store *s, int64_t id, const char *subject, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "UPDATE accounts SET oidc_subject = $2 WHERE id = $1 AND email <> ''");
    db_arg(&q, id);
    db_arg_text(&q, subject && *subject ? subject : NULL);
    return run_change(s, &q, e);
}

int store_account_login(struct store *s, int64_t id, int64_t now_ms, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "UPDATE accounts SET login_ms = $2 WHERE id = $1");
    db_arg(&q, id);
    db_arg(&q, now_ms);
    return run_change(s, &q, e);
}

int store_account_has_admin(struct store *s, bool *has, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "SELECT id FROM accounts WHERE role = 1 LIMIT 1");
    int rc = db_run_one(s->db, &q, e);
    if (rc == 0)
        *has = q.rows.n > 0;
    db_done(&q, 1);
    return rc;
}
