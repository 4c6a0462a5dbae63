/*
 * Pages of calls, across the days' tables, and all of them in order.
 *
 * Days are visited one after the other, newest first, until the page is full. Where an
 * application is asked for, the totals tell which days have something, so the others are not
 * looked at; and where the filter is one that totals know (whole hours, no trace id, no exact
 * status), they tell how many calls there are, too. Else calls are counted, up to
 * USAGE_COUNT_MAX. A day that retention drops while a page is read makes that page fail.
 */
#include "store/ledger_private.h"
#include "store/usage_private.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK_ROWS = 500, STATUS_FAILED = 400 };

struct day {
    int64_t day;
    int64_t calls; /* that fit; -1: not known */
};

struct plan {
    struct usage_scope scope;
    struct day *days; /* newest first */
    size_t n;
};

/* Which days */

static int list_days(struct store *s, struct plan *p, struct error *e)
{
    const struct usage_filter *f = p->scope.filter;
    struct usage_sql q;
    usage_sql_init(&q, "SELECT day FROM days WHERE");
    usage_sql_arg(&q, " day >= ", f->from_ms ? ledger_day(f->from_ms) : 0);
    if (f->to_ms)
        usage_sql_arg(&q, " AND day <= ", ledger_day(f->to_ms - 1));
    usage_sql_adds(&q, " ORDER BY day DESC");
    int rc = usage_sql_run(&q, s, e);
    const struct db_rows *r = &q.query.rows;
    p->days = mem_array(r->n + 1, sizeof *p->days);
    for (size_t i = 0; i < r->n && rc == 0; i++)
        p->days[p->n++] = (struct day){.day = db_int(r, i, 0), .calls = -1};
    usage_sql_done(&q);
    return rc;
}

/* Would the totals' sums be exactly what the filter lets through? */
static bool totals_are_exact(const struct usage_filter *f)
{
    return f->from_ms % USAGE_HOUR_MS == 0 && f->to_ms % USAGE_HOUR_MS == 0 &&
           (f->status == 0 || f->status == USAGE_GOOD || f->status == USAGE_BAD);
}

static bool wants_failed(const struct usage_filter *f)
{
    return f->status == USAGE_BAD || f->status >= STATUS_FAILED;
}

static void keep_days(struct plan *p, const struct db_rows *sums)
{
    const struct usage_filter *f = p->scope.filter;
    bool exact = totals_are_exact(f);
    size_t kept = 0, at = 0;
    for (size_t i = 0; i < p->n; i++) {
        while (at < sums->n && ledger_day(db_int(sums, at, 0) * USAGE_DAY_MS) > p->days[i].day)
            at++;
        if (at == sums->n || ledger_day(db_int(sums, at, 0) * USAGE_DAY_MS) != p->days[i].day)
            continue;
        int64_t calls = db_int(sums, at, 1), failed = db_int(sums, at, 2);
        int64_t fit = f->status == 0 ? calls : wants_failed(f) ? failed : calls - failed;
        if (fit > 0)
            p->days[kept++] = (struct day){p->days[i].day, exact ? fit : -1};
    }
    p->n = kept;
}

static int ask_totals(struct store *s, struct plan *p, struct error *e)
{
    const struct usage_filter *f = p->scope.filter;
    struct usage_sql q;
    usage_sql_init(&q, "SELECT hour_ms / 86400000, SUM(calls), SUM(failed) FROM totals WHERE");
    usage_sql_arg(&q, " hour_ms >= ", f->from_ms - f->from_ms % USAGE_HOUR_MS);
    if (f->to_ms)
        usage_sql_arg(&q, " AND hour_ms < ", f->to_ms);
    usage_add_owner(&q, &p->scope);
    usage_sql_adds(&q, " GROUP BY 1 ORDER BY 1 DESC");
    int rc = usage_sql_run(&q, s, e);
    if (rc == 0)
        keep_days(p, &q.query.rows);
    usage_sql_done(&q);
    return rc;
}

static int make_plan(struct store *s, const struct usage_filter *f, struct plan *p, struct error *e)
{
    *p = (struct plan){0};
    int rc = usage_scope(s, f, &p->scope, e);
    if (rc || p->scope.whose == USAGE_NOBODY)
        return rc;
    rc = list_days(s, p, e);
    if (rc == 0 && p->scope.whose == USAGE_ONE && !*f->trace_id)
        rc = ask_totals(s, p, e);
    return rc;
}

static void drop_plan(struct plan *p)
{
    free(p->days);
}

/* How many calls of a day fit, up to `most`. */
static int count_day(struct store *s, const struct plan *p, const struct day *d, int64_t most,
                     int64_t *n, struct error *e)
{
    struct usage_sql q;
    if (d->calls >= 0) {
        *n = d->calls;
        return 0;
    }
    usage_sql_init(&q, "SELECT COUNT(*) FROM (SELECT id FROM calls_");
    usage_sql_addi(&q, d->day);
    usage_sql_adds(&q, " WHERE 1 = 1");
    usage_add_filter(&q, &p->scope);
    usage_sql_arg(&q, " LIMIT ", most);
    usage_sql_adds(&q, ") fit");
    int rc = usage_sql_run(&q, s, e);
    *n = rc == 0 ? db_int(&q.query.rows, 0, 0) : 0;
    usage_sql_done(&q);
    return rc;
}

static int count_all(struct store *s, const struct plan *p, int64_t *count, struct error *e)
{
    int rc = 0;
    *count = 0;
    for (size_t i = 0; i < p->n && rc == 0; i++) {
        int64_t n = 0, most = USAGE_COUNT_MAX - *count;
        if (most > 0 || p->days[i].calls >= 0)
            rc = count_day(s, p, &p->days[i], most, &n, e);
        *count += n;
    }
    return rc;
}

/* Rows */

static void read_row(const struct db_rows *r, size_t row, int64_t day, struct usage_row *out)
{
    struct ledger_row *l = &out->row;
    size_t i = 0;
    memset(out, 0, sizeof *out);
    out->id = day * USAGE_DAY_IDS + db_int(r, row, i++);
    db_copy(r, row, i++, l->trace_id, sizeof l->trace_id);
    l->account_id = db_int(r, row, i++);
    l->application_id = db_int(r, row, i++);
    l->key_id = db_int(r, row, i++);
    l->ended_ms = db_int(r, row, i++);
    db_copy(r, row, i++, l->route, sizeof l->route);
    db_copy(r, row, i++, l->model, sizeof l->model);
    db_copy(r, row, i++, l->answered, sizeof l->answered);
    db_copy(r, row, i++, l->backend, sizeof l->backend);
    l->status = (int)db_int(r, row, i++);
    db_copy(r, row, i++, l->finish, sizeof l->finish);
    l->prompt_tokens = db_int(r, row, i++);
    l->cached_tokens = db_int(r, row, i++);
    l->reasoning_tokens = db_int(r, row, i++);
    l->completion_tokens = db_int(r, row, i++);
    db_copy(r, row, i++, l->source, sizeof l->source);
    l->price.input = db_int(r, row, i++);
    l->price.cached = db_int(r, row, i++);
    l->price.output = db_int(r, row, i++);
    l->cost_micros = db_int(r, row, i++);
    l->charged_micros = db_int(r, row, i++);
    i++; /* grant_micros is the books' own */
    l->balance_micros = db_int(r, row, i++);
    l->queue_us = db_int(r, row, i++);
    l->first_us = db_int(r, row, i++);
    l->total_us = db_int(r, row, i++);
    l->client_gone = db_int(r, row, i++) != 0;
    db_copy(r, row, i, out->key_name, sizeof out->key_name);
}

/* SELECT of a day's rows up to its WHERE; conditions, order and limit follow. */
static void start_rows(struct usage_sql *q, int64_t day, const struct usage_scope *c)
{
    usage_sql_init(q, "SELECT id, " CALLS_COLUMNS
                      ", (SELECT k.name FROM keys k WHERE k.id = key_id) FROM calls_");
    usage_sql_addi(q, day);
    usage_sql_adds(q, " WHERE 1 = 1");
    usage_add_filter(q, c);
}

static int page_of_day(struct store *s, const struct plan *p, int64_t day, int64_t before,
                       int64_t offset, int64_t limit, struct usage_row *out, size_t *n,
                       struct error *e)
{
    struct usage_sql q;
    start_rows(&q, day, &p->scope);
    if (before)
        usage_sql_arg(&q, " AND id < ", before);
    /* Of one trace id there is one row; an order would lead PostgreSQL through all that are in it.
     */
    if (!*p->scope.filter->trace_id)
        usage_sql_adds(&q, " ORDER BY id DESC");
    usage_sql_arg(&q, " LIMIT ", limit);
    usage_sql_arg(&q, " OFFSET ", offset);
    int rc = usage_sql_run(&q, s, e);
    for (size_t i = 0; rc == 0 && i < q.query.rows.n; i++)
        read_row(&q.query.rows, i, day, &out[(*n)++]);
    usage_sql_done(&q);
    return rc;
}

static int fill_page(struct store *s, const struct plan *p, int64_t before, int64_t offset,
                     int64_t limit, struct usage_row *out, size_t *n, struct error *e)
{
    int rc = 0;
    for (size_t i = 0; i < p->n && rc == 0 && (int64_t)*n < limit; i++) {
        const struct day *d = &p->days[i];
        int64_t number = 0, passed = 0;
        if (before && d->day > before / USAGE_DAY_IDS)
            continue;
        if (before && d->day == before / USAGE_DAY_IDS)
            number = before % USAGE_DAY_IDS;
        if (offset > 0 && number == 0) {
            rc = count_day(s, p, d, offset + 1, &passed, e);
            if (rc || passed <= offset) {
                offset -= passed;
                continue;
            }
        }
        rc = page_of_day(s, p, d->day, number, offset, limit - (int64_t)*n, out, n, e);
        offset = 0;
    }
    return rc;
}

int usage_page(struct store *s, const struct usage_filter *f, int64_t before, int64_t offset,
               int64_t limit, struct usage_row *out, size_t *n, int64_t *count, struct error *e)
{
    struct plan p;
    *n = 0;
    if (limit > USAGE_PAGE_MAX)
        limit = USAGE_PAGE_MAX;
    int rc = make_plan(s, f, &p, e);
    if (rc == 0 && count)
        rc = count_all(s, &p, count, e);
    if (rc == 0)
        rc = fill_page(s, &p, before, before || offset < 0 ? 0 : offset, limit, out, n, e);
    drop_plan(&p);
    return rc;
}

static int day_exists(struct store *s, int64_t day, bool *exists, struct error *e)
{
    struct usage_sql q;
    usage_sql_init(&q, "SELECT day FROM days WHERE");
    usage_sql_arg(&q, " day = ", day);
    int rc = usage_sql_run(&q, s, e);
    *exists = rc == 0 && q.query.rows.n > 0;
    usage_sql_done(&q);
    return rc;
}

int usage_get(struct store *s, const struct usage_filter *f, int64_t id, struct usage_row *out,
              struct error *e)
{
    struct usage_scope scope;
    struct usage_sql q;
    bool exists = false;
    int64_t day = id / USAGE_DAY_IDS;
    int rc = usage_scope(s, f, &scope, e);
    if (rc == 0 && id > 0)
        rc = day_exists(s, day, &exists, e);
    if (rc)
        return rc;
    if (!exists || scope.whose == USAGE_NOBODY)
        return error_set(e, ERR_NOT_FOUND, "no such call");
    start_rows(&q, day, &scope);
    usage_sql_arg(&q, " AND id = ", id % USAGE_DAY_IDS);
    rc = usage_sql_run(&q, s, e);
    if (rc == 0 && q.query.rows.n == 0)
        rc = error_set(e, ERR_NOT_FOUND, "no such call");
    if (rc == 0)
        read_row(&q.query.rows, 0, day, out);
    usage_sql_done(&q);
    return rc;
}

/* Up to a chunk of a day's rows after number `*last`, which it moves; *more: there may be more. */
static int each_of_chunk(struct store *s, const struct plan *p, int64_t day, int64_t *last,
                         int (*fn)(void *arg, const struct usage_row *row), void *arg, bool *more,
                         struct error *e)
{
    struct usage_sql q;
    struct usage_row row;
    start_rows(&q, day, &p->scope);
    usage_sql_arg(&q, " AND id > ", *last);
    usage_sql_arg(&q, " ORDER BY id LIMIT ", CHUNK_ROWS);
    int rc = usage_sql_run(&q, s, e);
    *more = rc == 0 && q.query.rows.n == CHUNK_ROWS;
    for (size_t i = 0; rc == 0 && i < q.query.rows.n; i++) {
        read_row(&q.query.rows, i, day, &row);
        *last = row.id % USAGE_DAY_IDS;
        rc = fn(arg, &row);
    }
    usage_sql_done(&q);
    return rc;
}

int usage_each(struct store *s, const struct usage_filter *f,
               int (*fn)(void *arg, const struct usage_row *row), void *arg, struct error *e)
{
    struct plan p;
    int rc = make_plan(s, f, &p, e);
    for (size_t i = p.n; rc == 0 && i-- > 0;) {
        int64_t last = 0;
        bool more = true;
        while (rc == 0 && more)
            rc = each_of_chunk(s, &p, p.days[i].day, &last, fn, arg, &more, e);
    }
    drop_plan(&p);
    return rc;
}
