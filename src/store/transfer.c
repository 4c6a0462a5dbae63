/*
 * Moves a store into another: table by table, in the order of their references, in groups of rows.
 *
 * Columns and their types are asked of the source, so that nothing here repeats the schema; both
 * have this program's version of it. A table that stands in no list here ends the move before it
 * begins: it would be lost. The source is read in one transaction, so the groups fit together; on
 * PostgreSQL by a cursor, on SQLite by row number. Numbers that rows were given stay theirs, and
 * the counters go on where they were.
 */
#include "store/transfer.h"

#include "base/buf.h"
#include "base/mem.h"
#include "store/ledger_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP_ROWS = 100, NAME_BYTES = 64, SQL_BYTES = 8192, WAIT_MS = 3600000, TEXT_BYTES = 256 };

/* What references another table comes after it. Then come the days' tables. */
static const char *const fixed[] = {"accounts", "sessions", "links", "applications",
                                    "grants",   "persons",  "days",  "network_grants",
                                    "keys",     "holds",    "totals"};
enum { N_FIXED = sizeof fixed / sizeof fixed[0] };

struct column {
    char name[NAME_BYTES];
    bool number;
};

struct table {
    char name[NAME_BYTES];
    struct column columns[DB_ARGS_MAX];
    size_t n_columns;
    bool counts_up;            /* has a column `id` */
    int64_t rows;              /* of the source */
    char *read, *next, *write; /* SQL */
};

struct move {
    struct db *from, *to;
    struct store *to_store;
    struct table *tables;
    size_t n_tables;
    int64_t all, done;
    struct store_transfer *told;
};

/* Small questions */

static int ask_number(struct db *d, const char *sql, const char *arg, int64_t *out, struct error *e)
{
    struct db_query q;
    db_sql(&q, sql);
    if (arg)
        db_arg_text(&q, arg);
    int rc = db_run_one(d, &q, e);
    *out = rc == 0 && q.rows.n > 0 ? db_int(&q.rows, 0, 0) : 0;
    db_done(&q, 1);
    return rc;
}

static int count_rows(struct db *d, const char *table, int64_t *n, struct error *e)
{
    char sql[TEXT_BYTES];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", table);
    return ask_number(d, sql, NULL, n, e);
}

static int run(struct db *d, const char *sql, struct error *e)
{
    struct db_query q;
    db_sql(&q, sql);
    int rc = db_run_one(d, &q, e);
    db_done(&q, 1);
    return rc;
}

/* Which tables there are */

static int list_tables(struct move *m, struct error *e)
{
    struct db_query q;
    m->tables = mem_array(N_FIXED, sizeof *m->tables);
    m->n_tables = N_FIXED;
    for (size_t i = 0; i < N_FIXED; i++)
        snprintf(m->tables[i].name, NAME_BYTES, "%s", fixed[i]);
    db_sql(&q, "SELECT day FROM days ORDER BY day");
    int rc = db_run_one(m->from, &q, e);
    for (size_t i = 0; i < q.rows.n && rc == 0; i++) {
        m->tables = mem_realloc(m->tables, (m->n_tables + 1) * sizeof *m->tables);
        struct table *t = &m->tables[m->n_tables++];
        memset(t, 0, sizeof *t);
        snprintf(t->name, NAME_BYTES, "calls_%lld", (long long)db_int(&q.rows, i, 0));
        rc = ledger_day_make(m->to_store, db_int(&q.rows, i, 0), e);
    }
    db_done(&q, 1);
    return rc;
}

static bool is_listed(const struct move *m, const char *name)
{
    for (size_t i = 0; i < m->n_tables; i++) {
        if (strcmp(m->tables[i].name, name) == 0)
            return true;
    }
    return false;
}

static int check_nothing_is_left_out(const struct move *m, struct error *e)
{
    struct db_query q;
    db_sql(&q, db_kind(m->from) == DB_SQLITE
                   ? "SELECT name FROM sqlite_master WHERE type = 'table'"
                     " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
                   : "SELECT tablename FROM pg_catalog.pg_tables"
                     " WHERE schemaname = current_schema() AND tablename <> 'moongate_schema'");
    int rc = db_run_one(m->from, &q, e);
    for (size_t i = 0; i < q.rows.n && rc == 0; i++) {
        if (!is_listed(m, db_text(&q.rows, i, 0)))
            rc = error_set(e, ERR_UNSUPPORTED,
                           "%s: table %.60s is not of this program; it is not known how to move it",
                           db_name(m->from), db_text(&q.rows, i, 0));
    }
    db_done(&q, 1);
    return rc;
}

static int read_columns(struct move *m, struct table *t, struct error *e)
{
    struct db_query q;
    db_sql(&q, db_kind(m->from) == DB_SQLITE
                   ? "SELECT name, type = 'INTEGER' FROM pragma_table_info($1) ORDER BY cid"
                   : "SELECT column_name, data_type = 'bigint' FROM information_schema.columns"
                     " WHERE table_schema = current_schema() AND table_name = $1"
                     " ORDER BY ordinal_position");
    db_arg_text(&q, t->name);
    int rc = db_run_one(m->from, &q, e);
    if (rc == 0 && (q.rows.n == 0 || q.rows.n > DB_ARGS_MAX))
        rc = error_set(e, ERR_INTERNAL, "%s: table %s has %zu columns", db_name(m->from), t->name,
                       q.rows.n);
    for (size_t i = 0; i < q.rows.n && rc == 0; i++) {
        struct column *c = &t->columns[t->n_columns++];
        db_copy(&q.rows, i, 0, c->name, sizeof c->name);
        c->number = db_int(&q.rows, i, 1) != 0;
        t->counts_up |= strcmp(c->name, "id") == 0;
    }
    db_done(&q, 1);
    return rc;
}

/* The statements of a table */

static char *take_sql(struct buf *b)
{
    char *text = b->failed ? NULL : buf_take(b, NULL);
    buf_done(b);
    return text;
}

static void add_names(struct buf *b, const struct table *t)
{
    for (size_t i = 0; i < t->n_columns; i++)
        buf_addf(b, "%s%s", i ? ", " : "", t->columns[i].name);
}

static int write_sql(struct move *m, struct table *t, struct error *e)
{
    bool sqlite = db_kind(m->from) == DB_SQLITE;
    struct buf b;
    buf_init(&b, SQL_BYTES);
    if (!sqlite)
        buf_addf(&b, "DECLARE move_%s NO SCROLL CURSOR FOR ", t->name);
    buf_adds(&b, "SELECT ");
    add_names(&b, t);
    if (sqlite)
        buf_addf(&b, ", rowid FROM %s WHERE rowid > $1 ORDER BY rowid LIMIT %d", t->name,
                 GROUP_ROWS);
    else
        buf_addf(&b, " FROM %s", t->name);
    t->read = take_sql(&b);
    if (!sqlite) {
        buf_init(&b, SQL_BYTES);
        buf_addf(&b, "FETCH %d FROM move_%s", GROUP_ROWS, t->name);
        t->next = take_sql(&b);
    }
    buf_init(&b, SQL_BYTES);
    buf_addf(&b, "INSERT INTO %s (", t->name);
    add_names(&b, t);
    buf_adds(&b, ") VALUES (");
    for (size_t i = 0; i < t->n_columns; i++)
        buf_addf(&b, "%s$%zu", i ? ", " : "", i + 1);
    buf_addc(&b, ')');
    t->write = take_sql(&b);
    if (t->read && t->write && (sqlite || t->next))
        return 0;
    return error_set(e, ERR_INTERNAL, "the columns of %s are too many", t->name);
}

/* Is there nothing in the target but the operator's account and application? */
static int check_target(struct move *m, struct error *e)
{
    int rc = 0;
    for (size_t i = 0; i < N_FIXED && rc == 0; i++) {
        int64_t n = 0,
                made = strcmp(fixed[i], "accounts") == 0 || strcmp(fixed[i], "applications") == 0;
        rc = count_rows(m->to, fixed[i], &n, e);
        if (rc == 0 && n > made)
            rc = error_set(e, ERR_EXISTS, "%s: is not empty: table %s has %lld rows",
                           db_name(m->to), fixed[i], (long long)n);
    }
    return rc;
}

static int clear_target(struct move *m, struct error *e)
{
    static const char *const made[] = {"DELETE FROM days", "DELETE FROM applications",
                                       "DELETE FROM accounts"};
    int rc = 0;
    for (size_t i = 0; i < sizeof made / sizeof made[0] && rc == 0; i++)
        rc = run(m->to, made[i], e);
    return rc;
}

static int prepare(struct move *m, struct error *e)
{
    int rc = check_target(m, e);
    if (rc == 0)
        rc = list_tables(m, e);
    if (rc == 0)
        rc = check_nothing_is_left_out(m, e);
    if (rc == 0)
        rc = clear_target(m, e);
    for (size_t i = 0; i < m->n_tables && rc == 0; i++) {
        struct table *t = &m->tables[i];
        rc = read_columns(m, t, e);
        if (rc == 0)
            rc = write_sql(m, t, e);
        if (rc == 0)
            rc = count_rows(m->from, t->name, &t->rows, e);
        m->all += t->rows;
    }
    return rc;
}

/* Rows */

static int read_group(struct move *m, const struct table *t, int64_t *after, struct db_query *q,
                      struct error *e)
{
    db_sql(q, t->next ? t->next : t->read);
    if (!t->next)
        db_arg(q, *after);
    int rc = db_run_one(m->from, q, e);
    if (rc == 0 && !t->next && q->rows.n > 0)
        *after = db_int(&q->rows, q->rows.n - 1, t->n_columns);
    return rc;
}

static int write_group(struct move *m, const struct table *t, const struct db_rows *rows,
                       struct db_query *list, struct error *e)
{
    for (size_t i = 0; i < rows->n; i++) {
        db_sql(&list[i], t->write);
        for (size_t k = 0; k < t->n_columns; k++) {
            if (db_null(rows, i, k))
                db_arg_text(&list[i], NULL);
            else if (t->columns[k].number)
                db_arg(&list[i], db_int(rows, i, k));
            else
                db_arg_text(&list[i], db_text(rows, i, k));
        }
    }
    int rc = db_run(m->to, list, rows->n, e);
    db_done(list, rows->n);
    return rc;
}

static int move_rows(struct move *m, const struct table *t, struct error *e)
{
    struct db_query *list = mem_array(GROUP_ROWS, sizeof *list), q;
    int64_t after = INT64_MIN;
    size_t n = 0;
    int rc = t->next ? run(m->from, t->read, e) : 0;
    do {
        if (rc)
            break;
        rc = read_group(m, t, &after, &q, e);
        n = rc ? 0 : q.rows.n;
        if (n > 0)
            rc = write_group(m, t, &q.rows, list, e);
        db_done(&q, 1);
        m->done += (int64_t)n;
        if (rc == 0 && m->told->progress)
            m->told->progress(m->told->arg, t->name, m->done, m->all);
    } while (n > 0);
    free(list);
    return rc;
}

/* The counter of a table's `id` */

/* The last number that was given; PostgreSQL does not count those that it was told. */
static int read_counter(struct db *d, const char *table, int64_t *last, struct error *e)
{
    char sql[TEXT_BYTES];
    int64_t most = 0;
    int rc = ask_number(
        d,
        db_kind(d) == DB_SQLITE
            ? "SELECT seq FROM sqlite_sequence WHERE name = $1"
            : "SELECT pg_sequence_last_value(pg_get_serial_sequence($1, 'id')::regclass)",
        table, last, e);
    snprintf(sql, sizeof sql, "SELECT max(id) FROM %s", table);
    if (rc == 0)
        rc = ask_number(d, sql, NULL, &most, e);
    if (most > *last)
        *last = most;
    return rc;
}

static int set_counter(struct db *d, const char *table, int64_t last, struct error *e)
{
    struct db_query list[2];
    size_t n = 1;
    if (db_kind(d) == DB_SQLITE) {
        db_sql(&list[0], "DELETE FROM sqlite_sequence WHERE name = $1");
        db_arg_text(&list[0], table);
        db_sql(&list[1], "INSERT INTO sqlite_sequence (name, seq) VALUES ($1, $2)");
        n = 2;
    } else {
        db_sql(&list[0],
               "SELECT setval(pg_get_serial_sequence($1, 'id')::regclass, $2 + 1, false)");
    }
    db_arg_text(&list[n - 1], table);
    db_arg(&list[n - 1], last);
    int rc = db_run(d, list, n, e);
    db_done(list, n);
    return rc;
}

static int move_table(struct move *m, const struct table *t, struct error *e)
{
    int64_t n = 0, last = 0;
    int rc = move_rows(m, t, e);
    if (rc == 0 && t->counts_up)
        rc = read_counter(m->from, t->name, &last, e);
    if (rc == 0 && t->counts_up)
        rc = set_counter(m->to, t->name, last, e);
    if (rc == 0)
        rc = count_rows(m->to, t->name, &n, e);
    if (rc == 0 && n != t->rows)
        rc = error_set(e, ERR_IO, "%s: table %s has %lld rows where %lld were to be moved",
                       db_name(m->to), t->name, (long long)n, (long long)t->rows);
    return rc;
}

static void free_tables(struct move *m)
{
    for (size_t i = 0; i < m->n_tables; i++) {
        free(m->tables[i].read);
        free(m->tables[i].next);
        free(m->tables[i].write);
    }
    free(m->tables);
}

static int move_all(struct move *m, struct error *e)
{
    int rc = db_lock_schema(m->to, e);
    if (rc == 0)
        rc = prepare(m, e);
    for (size_t i = 0; i < m->n_tables && rc == 0; i++)
        rc = move_table(m, &m->tables[i], e);
    free_tables(m);
    return rc;
}

int store_transfer(struct store *from, struct store *to, struct store_transfer *t, struct error *e)
{
    struct move m = {.from = from->db, .to = to->db, .to_store = to, .told = t};
    db_set_wait(m.from, WAIT_MS);
    db_set_wait(m.to, WAIT_MS);
    int rc = db_begin(m.from, DB_READ, e);
    if (rc)
        return rc;
    rc = db_begin(m.to, DB_WRITE, e);
    if (rc == 0) {
        rc = move_all(&m, e);
        if (rc == 0)
            rc = db_commit(m.to, e);
        else
            db_rollback(m.to);
    }
    db_rollback(m.from);
    if (rc == 0) {
        t->tables = (int64_t)m.n_tables;
        t->rows = m.done;
    }
    return rc;
}
