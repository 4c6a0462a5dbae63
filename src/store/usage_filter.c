/*
 * A filter as conditions of SQL: every value is a bound parameter.
 */
#include "store/usage_private.h"

/* SQL that grows */

void usage_sql_init(struct usage_sql *q, const char *start)
{
    buf_init(&q->text, USAGE_SQL_BYTES);
    db_sql(&q->query, "");
    buf_adds(&q->text, start);
}

void usage_sql_adds(struct usage_sql *q, const char *text)
{
    buf_adds(&q->text, text);
}

void usage_sql_addi(struct usage_sql *q, int64_t n)
{
    buf_addi(&q->text, n);
}

void usage_sql_arg(struct usage_sql *q, const char *text, int64_t n)
{
    db_arg(&q->query, n);
    buf_addf(&q->text, "%s$%d", text, q->query.n_args);
}

static void add_text_arg(struct usage_sql *q, const char *text, const char *value)
{
    db_arg_text(&q->query, value);
    buf_addf(&q->text, "%s$%d", text, q->query.n_args);
}

int usage_sql_run(struct usage_sql *q, struct store *s, struct error *e)
{
    if (q->text.failed)
        return error_set(e, ERR_INTERNAL, "the text of a query is too long");
    q->query.sql = q->text.data;
    return db_run_one(s->db, &q->query, e);
}

void usage_sql_done(struct usage_sql *q)
{
    db_done(&q->query, 1);
    buf_done(&q->text);
}

/* Whose calls */

static int scope_of_account(struct store *s, const struct usage_filter *f, struct usage_scope *out,
                            struct error *e)
{
    struct usage_sql q;
    usage_sql_init(&q, "SELECT id FROM applications WHERE");
    usage_sql_arg(&q, " account_id = ", f->account_id);
    if (f->application_id)
        usage_sql_arg(&q, " AND id = ", f->application_id);
    usage_sql_adds(&q, " LIMIT 2");
    int rc = usage_sql_run(&q, s, e);
    const struct db_rows *r = &q.query.rows;
    out->whose = r->n == 0 ? USAGE_NOBODY : r->n == 1 ? USAGE_ONE : USAGE_SEVERAL;
    if (rc == 0 && r->n == 1)
        out->application_id = db_int(r, 0, 0);
    usage_sql_done(&q);
    return rc;
}

static int scope_of_key(struct store *s, int64_t key_id, struct usage_scope *out, struct error *e)
{
    struct usage_sql q;
    usage_sql_init(&q, "SELECT application_id FROM keys WHERE");
    usage_sql_arg(&q, " id = ", key_id);
    int rc = usage_sql_run(&q, s, e);
    if (rc == 0 && q.query.rows.n > 0) {
        out->whose = USAGE_ONE;
        out->application_id = db_int(&q.query.rows, 0, 0);
    }
    usage_sql_done(&q);
    return rc;
}

int usage_scope(struct store *s, const struct usage_filter *f, struct usage_scope *out,
                struct error *e)
{
    *out = (struct usage_scope){.filter = f};
    if (f->account_id)
        return scope_of_account(s, f, out, e);
    if (f->application_id) {
        out->whose = USAGE_ONE;
        out->application_id = f->application_id;
        return 0;
    }
    return f->key_id ? scope_of_key(s, f->key_id, out, e) : 0;
}

void usage_add_owner(struct usage_sql *q, const struct usage_scope *c)
{
    if (c->whose == USAGE_ONE)
        usage_sql_arg(q, " AND application_id = ", c->application_id);
    else if (c->whose != USAGE_ALL) { /* of nobody: there is none */
        usage_sql_arg(q, " AND application_id IN (SELECT id FROM applications WHERE account_id = ",
                      c->filter->account_id);
        usage_sql_adds(q, ")");
    }
    if (c->filter->key_id)
        usage_sql_arg(q, " AND key_id = ", c->filter->key_id);
    if (*c->filter->model)
        add_text_arg(q, " AND model = ", c->filter->model);
}

void usage_add_filter(struct usage_sql *q, const struct usage_scope *c)
{
    const struct usage_filter *f = c->filter;
    usage_add_owner(q, c);
    if (f->status == USAGE_GOOD)
        usage_sql_adds(q, " AND status < 400");
    else if (f->status == USAGE_BAD)
        usage_sql_adds(q, " AND status >= 400");
    else if (f->status)
        usage_sql_arg(q, " AND status = ", f->status);
    if (*f->trace_id)
        add_text_arg(q, " AND trace_id = ", f->trace_id);
    if (f->from_ms)
        usage_sql_arg(q, " AND ended_ms >= ", f->from_ms);
    if (f->to_ms)
        usage_sql_arg(q, " AND ended_ms < ", f->to_ms);
}
