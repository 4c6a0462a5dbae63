/*
 * Applications: an account's use of the service. The balance in their rows is changed by grants.c
 * and the books alone.
 */
#include "store/applications.h"
#include "store/store_private.h"

#include <string.h>

#define APPLICATION_SELECT                                                                         \
    "SELECT id, account_id, service, balance_micros, held_micros, granted_micros, "                \
    "charged_micros, disabled, created_ms, updated_ms FROM applications "

static void read_row(const struct db_rows *r, size_t row, struct store_application *out)
{
    memset(out, 0, sizeof *out);
    out->id = db_int(r, row, 0);
    out->account_id = db_int(r, row, 1);
    db_copy(r, row, 2, out->service, sizeof out->service);
    out->balance_micros = db_int(r, row, 3);
    out->held_micros = db_int(r, row, 4);
    out->granted_micros = db_int(r, row, 5);
    out->charged_micros = db_int(r, row, 6);
    out->disabled = db_int(r, row, 7) != 0;
    out->created_ms = db_int(r, row, 8);
    out->updated_ms = db_int(r, row, 9);
}

static int get_one(struct store *s, struct db_query *q, struct store_application *out,
                   struct error *e)
{
    int rc = db_run_one(s->db, q, e);
    if (rc == 0 && q->rows.n == 0)
        rc = error_set(e, ERR_NOT_FOUND, "no such application");
    if (rc == 0)
        read_row(&q->rows, 0, out);
    db_done(q, 1);
    return rc;
}

static int find(struct store *s, int64_t account_id, struct store_application *out, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, APPLICATION_SELECT "WHERE account_id = $1 AND service = '" STORE_SERVICE "'");
    db_arg(&q, account_id);
    return get_one(s, &q, out, e);
}

int store_application_operator(struct store *s, struct store_application *out, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, APPLICATION_SELECT "WHERE service = '" STORE_SERVICE
                                  "' AND account_id = (SELECT id FROM accounts WHERE email = '')");
    return get_one(s, &q, out, e);
}

/* Makes it, unless another was faster. Accounts stay for ever, so one that is there now will be
 * there when its application is written. */
static int make(struct store *s, int64_t account_id, int64_t now_ms, bool *made, struct error *e)
{
    struct db_query q[2] = {0};
    db_sql(&q[0], "SELECT id FROM accounts WHERE id = $1");
    db_arg(&q[0], account_id);
    int rc = db_run_one(s->db, &q[0], e);
    if (rc == 0 && q[0].rows.n == 0)
        rc = error_set(e, ERR_NOT_FOUND, "no such account");
    if (rc == 0) {
        db_sql(&q[1], "INSERT INTO applications (account_id, service, created_ms, updated_ms) "
                      "VALUES ($1, '" STORE_SERVICE "', $2, $2) ON CONFLICT DO NOTHING");
        db_arg(&q[1], account_id);
        db_arg(&q[1], now_ms);
        rc = db_run_one(s->db, &q[1], e);
        *made = rc == 0 && q[1].changed > 0;
    }
    db_done(q, 2);
    return rc;
}

int store_application_of(struct store *s, int64_t account_id, bool create, int64_t now_ms,
                         struct store_application *out, bool *made, struct error *e)
{
    bool fresh = false;
    int rc = find(s, account_id, out, e);
    if (rc == ERR_NOT_FOUND && create) {
        rc = make(s, account_id, now_ms, &fresh, e);
        if (rc == 0)
            rc = find(s, account_id, out, e);
    }
    if (made)
        *made = fresh;
    return rc;
}

int store_application_get(struct store *s, int64_t account_id, int64_t id,
                          struct store_application *out, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, APPLICATION_SELECT "WHERE id = $1 AND (account_id = $2 OR $2 = 0)");
    db_arg(&q, id);
    db_arg(&q, account_id);
    return get_one(s, &q, out, e);
}

static void build_page(struct db_query q[2], int64_t account_id, int64_t offset, int64_t limit)
{
    if (account_id) {
        db_sql(&q[0], "SELECT COUNT(*) FROM applications WHERE account_id = $1");
        db_arg(&q[0], account_id);
        db_sql(&q[1], APPLICATION_SELECT "WHERE account_id = $1 ORDER BY id DESC "
                                         "LIMIT $2 OFFSET $3");
        db_arg(&q[1], account_id);
    } else {
        db_sql(&q[0], "SELECT COUNT(*) FROM applications");
        db_sql(&q[1], APPLICATION_SELECT "ORDER BY id DESC LIMIT $1 OFFSET $2");
    }
    db_arg(&q[1], store_page_limit(limit));
    db_arg(&q[1], store_page_offset(offset));
}

int store_application_page(struct store *s, int64_t account_id, int64_t offset, int64_t limit,
                           struct store_application *out, size_t *n, int64_t *count,
                           struct error *e)
{
    struct db_query q[2] = {0};
    *n = 0;
    build_page(q, account_id, offset, limit);
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

int store_application_lock(struct store *s, int64_t id, struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "SELECT id FROM applications WHERE id = $1 FOR UPDATE");
    db_arg(&q, id);
    int rc = db_run_one(s->db, &q, e);
    db_done(&q, 1);
    return rc;
}

int store_application_disable(struct store *s, int64_t id, bool disabled, int64_t now_ms,
                              struct error *e)
{
    struct db_query q = {0};
    db_sql(&q, "UPDATE applications SET disabled = $2, updated_ms = $3 WHERE id = $1");
    db_arg(&q, id);
    db_arg(&q, disabled);
    db_arg(&q, now_ms);
    int rc = db_run_one(s->db, &q, e);
    if (rc == 0 && q.changed == 0)
        rc = error_set(e, ERR_NOT_FOUND, "no such application");
    db_done(&q, 1);
    return rc;
}
