/*
 * Sums of calls by hour, day, model, key and account: all from the totals, never from calls.
 */
#include "store/usage_private.h"

#include <string.h>

#define SUMS                                                                                       \
    "SUM(calls) AS calls, SUM(failed) AS failed, SUM(prompt_tokens) AS prompt,"                    \
    " SUM(cached_tokens) AS cached, SUM(reasoning_tokens) AS reasoning,"                           \
    " SUM(completion_tokens) AS completion, SUM(cost_micros) AS cost,"                             \
    " SUM(charged_micros) AS charged"
#define NAMES "calls, failed, prompt, cached, reasoning, completion, cost, charged"

/* Which column groups, how its name is found, and the order. By time the newest come first, so
 * that a bound cuts off the oldest; the reader turns them round. */
static const struct form {
    const char *group, *name, *order;
} forms[] = {
    [USAGE_BY_NONE] = {"0", "''", "1"},
    [USAGE_BY_HOUR] = {"hour_ms", "''", "1 DESC"},
    [USAGE_BY_DAY] = {"hour_ms - hour_ms % 86400000", "''", "1 DESC"},
    [USAGE_BY_MODEL] = {"model", "''", "cost DESC, calls DESC, 1"},
    [USAGE_BY_KEY] = {"key_id", "(SELECT k.name FROM keys k WHERE k.id = t.what)",
                      "cost DESC, calls DESC, 1"},
    [USAGE_BY_ACCOUNT] = {"COALESCE((SELECT a.account_id FROM applications a"
                          " WHERE a.id = application_id), 0)",
                          "(SELECT o.email FROM accounts o WHERE o.id = t.what)",
                          "cost DESC, calls DESC, 1"},
};

static void read_sum(const struct db_rows *r, size_t row, enum usage_by by, struct usage_sum *out)
{
    memset(out, 0, sizeof *out);
    if (by == USAGE_BY_HOUR || by == USAGE_BY_DAY)
        out->time_ms = db_int(r, row, 0);
    else if (by == USAGE_BY_MODEL)
        db_copy(r, row, 0, out->model, sizeof out->model);
    else if (by == USAGE_BY_KEY)
        out->key_id = db_int(r, row, 0);
    else if (by == USAGE_BY_ACCOUNT)
        out->account_id = db_int(r, row, 0);
    db_copy(r, row, 1, out->name, sizeof out->name);
    out->calls = db_int(r, row, 2);
    out->failed = db_int(r, row, 3);
    out->prompt_tokens = db_int(r, row, 4);
    out->cached_tokens = db_int(r, row, 5);
    out->reasoning_tokens = db_int(r, row, 6);
    out->completion_tokens = db_int(r, row, 7);
    out->cost_micros = db_int(r, row, 8);
    out->charged_micros = db_int(r, row, 9);
}

static void build(struct usage_sql *q, const struct usage_scope *c, enum usage_by by, size_t most)
{
    const struct usage_filter *f = c->filter;
    usage_sql_init(q, "SELECT what, ");
    usage_sql_adds(q, forms[by].name);
    usage_sql_adds(q, ", " NAMES " FROM (SELECT ");
    usage_sql_adds(q, forms[by].group);
    usage_sql_adds(q, " AS what, " SUMS " FROM totals WHERE");
    usage_sql_arg(q, " hour_ms >= ", f->from_ms - f->from_ms % USAGE_HOUR_MS);
    if (f->to_ms) /* an hour that has begun counts whole */
        usage_sql_arg(q, " AND hour_ms < ", f->to_ms);
    usage_add_owner(q, c);
    usage_sql_adds(q, by == USAGE_BY_NONE ? " HAVING COUNT(*) > 0) t" : " GROUP BY 1) t");
    usage_sql_adds(q, " ORDER BY ");
    usage_sql_adds(q, forms[by].order);
    usage_sql_arg(q, " LIMIT ", (int64_t)most);
}

int usage_sums(struct store *s, const struct usage_filter *f, enum usage_by by,
               struct usage_sum *out, size_t most, size_t *n, struct error *e)
{
    struct usage_scope scope;
    struct usage_sql q;
    bool backwards = by == USAGE_BY_HOUR || by == USAGE_BY_DAY;
    *n = 0;
    int rc = usage_scope(s, f, &scope, e);
    if (rc || scope.whose == USAGE_NOBODY)
        return rc;
    build(&q, &scope, by, most < USAGE_SUMS_MAX ? most : USAGE_SUMS_MAX);
    rc = usage_sql_run(&q, s, e);
    *n = rc == 0 ? q.query.rows.n : 0;
    for (size_t i = 0; i < *n; i++)
        read_sum(&q.query.rows, i, by, &out[backwards ? *n - 1 - i : i]);
    usage_sql_done(&q);
    return rc;
}
