/* Unit tests of moving a store into another, of either kind, and of copies of a database. */
#include "db_rig.h"

#include "store/ledger.h"
#include "store/store_private.h"
#include "store/transfer.h"

#include <sqlite3.h>

enum { CALLS = 250, SQL_BYTES = 2048 };

static void good(int rc, const struct error *e)
{
    if (rc)
        fail_msg("%s: %s", error_name(rc), e->text);
}

static void script(struct store *s, const char *sql)
{
    struct error e;
    good(db_script(s->db, sql, &e), &e);
}

static int64_t ask(struct store *s, const char *sql)
{
    struct db_query q;
    struct error e;
    db_sql(&q, sql);
    good(db_run_one(s->db, &q, &e), &e);
    assert_int_equal(q.rows.n, 1);
    int64_t n = db_int(&q.rows, 0, 0);
    db_done(&q, 1);
    return n;
}

/* Another place of a kind, beside the test's own. */
static struct db_rig *place(enum db_kind kind)
{
    struct db_rig *r = db_rig_open(kind);
    assert_non_null(r);
    return r;
}

static void add_call(struct store *s, int64_t day, int i)
{
    char sql[SQL_BYTES];
    snprintf(sql, sizeof sql,
             "INSERT INTO calls_%lld (trace_id, account_id, application_id, key_id, ended_ms,"
             " route, model, answered, backend, status, finish, prompt_tokens, cached_tokens,"
             " reasoning_tokens, completion_tokens, source, price_input, price_cached,"
             " price_output, cost_micros, charged_micros, grant_micros, balance_micros, queue_us,"
             " first_us, total_us, client_gone) VALUES ('t-%lld-%d', 1, 1, 1, %d, 'chat', 'm', '',"
             " '', 200, 'stop', 1, 2, 3, 4, 'engine', 5, 6, 7, 8, 9, 0, 9007199254740993, 11, -1,"
             " 13, 0)",
             (long long)day, (long long)day, i, i);
    script(s, sql);
}

/* Something in every table; numbers with gaps, and the last ones gone. */
static void fill(struct store *s)
{
    struct error e;
    script(s, "INSERT INTO accounts (id, email, person, name, oidc_subject, created_ms) VALUES"
              " (7, 'a@example.org', 'p1', 'Zoë ''the'' \"one\" \\ 月', NULL, 1764288000000),"
              " (9, 'b@example.org', 'p2', '', 'https://issuer|1', 5),"
              " (12, 'gone@example.org', 'p3', '', NULL, 5);"
              "DELETE FROM accounts WHERE id = 12;"
              "INSERT INTO applications (id, account_id, service, balance_micros, created_ms,"
              " updated_ms) VALUES (20, 7, 'kimi', 9223372036854775807, 1, 2);"
              "INSERT INTO sessions VALUES ('h1', 7, 1, 2, 3);"
              "INSERT INTO links (hash, kind, account_id, created_ms, expires_ms) VALUES"
              " ('l1', 'reset', 7, 1, 2), ('l2', 'invite', NULL, 1, 2);"
              "INSERT INTO grants (application_id, amount_micros, kind, note, created_ms) VALUES"
              " (20, -5, 'admin', 'line one, and a tab', 1);"
              "INSERT INTO persons VALUES ('p1', 4);"
              "INSERT INTO network_grants VALUES ('192.0.2.0/24', 20261128, 3);"
              "INSERT INTO keys (id, application_id, hash, name, prefix, created_ms) VALUES"
              " (3, 20, 'kh', 'k', 'mg-1', 1);"
              "INSERT INTO holds VALUES ('t1', 20, 3, 5, 6, 7);"
              "INSERT INTO totals (hour_ms, application_id, key_id, model, calls) VALUES"
              " (3600000, 20, 3, 'kimi', 2), (7200000, 20, 3, 'kimi', 1);");
    if (db_kind(s->db) == DB_POSTGRES) /* which does not count numbers that it is given */
        ask(s, "SELECT setval(pg_get_serial_sequence('accounts', 'id'), 12)");
    good(ledger_day_open(s, 20261127, &e), &e);
    good(ledger_day_open(s, 20261128, &e), &e);
    for (int i = 0; i < CALLS; i++)
        add_call(s, 20261127, i);
    add_call(s, 20261128, 0);
}

static const char *const tables[] = {
    "accounts", "sessions", "links",          "applications",   "grants",         "persons", "days",
    "keys",     "totals",   "network_grants", "calls_20261127", "calls_20261128", "holds"};

static void read_all(struct store *s, const char *table, struct db_query *q)
{
    char sql[SQL_BYTES];
    struct error e;
    snprintf(sql, sizeof sql, "SELECT * FROM %s ORDER BY 1, 2", table);
    db_sql(q, sql);
    good(db_run_one(s->db, q, &e), &e);
}

static void are_the_same(struct store *a, struct store *b)
{
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        struct db_query qa, qb;
        char *table = strdup(tables[i]);
        read_all(a, table, &qa);
        read_all(b, table, &qb);
        free(table);
        assert_true(qa.rows.n > 0);
        assert_int_equal(qa.rows.n, qb.rows.n);
        assert_int_equal(qa.rows.columns, qb.rows.columns);
        for (size_t row = 0; row < qa.rows.n; row++) {
            for (size_t c = 0; c < qa.rows.columns; c++) {
                assert_int_equal(db_null(&qa.rows, row, c), db_null(&qb.rows, row, c));
                assert_string_equal(db_text(&qa.rows, row, c), db_text(&qb.rows, row, c));
            }
        }
        db_done(&qa, 1);
        db_done(&qb, 1);
    }
}

static void note_progress(void *arg, const char *table, int64_t done, int64_t all)
{
    assert_non_null(table);
    assert_true(done <= all);
    *(int64_t *)arg = all - done;
}

static void everything_arrives(const struct db_rig *r, enum db_kind to_kind)
{
    int64_t left = -1;
    struct store_transfer t = {.progress = note_progress, .arg = &left};
    struct error e;
    struct db_rig *other = place(to_kind);
    struct store *from = db_rig_store(r), *to = db_rig_store(other);
    fill(from);
    good(store_transfer(from, to, &t, &e), &e);
    assert_int_equal(left, 0);
    assert_int_equal(t.tables, sizeof tables / sizeof tables[0]);
    assert_int_equal(t.rows, 3 + 2 + 1 + 2 + 1 + 1 + 1 + 1 + 1 + 2 + 2 + CALLS + 1);
    are_the_same(from, to);
    store_close(to);
    to = db_rig_store(other); /* numbers go on after those that were given once */
    script(to, "INSERT INTO accounts (email, person, created_ms) VALUES ('new', 'n', 1)");
    assert_int_equal(ask(to, "SELECT id FROM accounts WHERE email = 'new'"), 13);
    add_call(to, 20261127, CALLS);
    assert_int_equal(ask(to, "SELECT max(id) FROM calls_20261127"), CALLS + 1);
    script(to, "INSERT INTO grants (application_id, amount_micros, kind, created_ms) VALUES"
               " (20, 1, 'admin', 1)");
    assert_int_equal(ask(to, "SELECT max(id) FROM grants"), 2);
    script(to, "INSERT INTO applications (account_id, service, created_ms, updated_ms) VALUES"
               " (9, 'kimi', 1, 1)");
    assert_int_equal(ask(to, "SELECT max(id) FROM applications"), 21);
    store_close(to);
    store_close(from);
    free(other);
}

static void everything_arrives_in_sqlite(void **state)
{
    everything_arrives(*state, DB_SQLITE);
}

static void everything_arrives_in_postgresql(void **state)
{
    everything_arrives(*state, DB_POSTGRES);
}

static void an_empty_store_arrives_too(void **state)
{
    struct store_transfer t = {0};
    struct error e;
    for (int kind = DB_SQLITE; kind <= DB_POSTGRES; kind++) {
        struct db_rig *other = place(kind);
        struct store *from = db_rig_store(*state), *to = db_rig_store(other);
        good(store_transfer(from, to, &t, &e), &e);
        assert_int_equal(t.rows, 2);
        script(to, "INSERT INTO keys (application_id, hash, name, prefix, created_ms) VALUES"
                   " (1, 'kh', 'k', 'mg-1', 1)");
        assert_int_equal(ask(to, "SELECT id FROM keys"), 1);
        store_close(to);
        store_close(from);
        free(other);
    }
}

static void a_target_that_holds_something_is_left_alone(void **state)
{
    struct store_transfer t = {0};
    struct error e;
    for (int kind = DB_SQLITE; kind <= DB_POSTGRES; kind++) {
        struct db_rig *other = place(kind);
        struct store *from = db_rig_store(other), *to = db_rig_store(*state);
        if (ask(to, "SELECT count(*) FROM keys") == 0)
            script(to, "INSERT INTO keys (application_id, hash, name, prefix, created_ms) VALUES"
                       " (1, 'kh', 'k', 'mg-1', 1)");
        assert_int_equal(store_transfer(from, to, &t, &e), ERR_EXISTS);
        assert_non_null(strstr(e.text, "table keys has 1 rows"));
        assert_int_equal(ask(to, "SELECT count(*) FROM keys"), 1);
        store_close(from);
        from = db_rig_store(*state); /* nor does it go into itself */
        assert_int_equal(store_transfer(from, to, &t, &e), ERR_EXISTS);
        store_close(from);
        store_close(to);
        free(other);
    }
}

static void a_table_of_somebody_else_ends_the_move_before_it_begins(void **state)
{
    struct store_transfer t = {0};
    struct error e;
    struct db_rig *other = place(DB_SQLITE);
    struct store *from = db_rig_store(*state), *to = db_rig_store(other);
    script(from, "CREATE TABLE notes (id {int})");
    assert_int_equal(store_transfer(from, to, &t, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "table notes"));
    assert_int_equal(ask(to, "SELECT count(*) FROM accounts"), 1);
    store_close(to);
    store_close(from);
    free(other);
}

static void a_move_that_fails_leaves_nothing_behind(void **state)
{
    struct store_transfer t = {0};
    struct error e;
    struct db_rig *other = place(DB_POSTGRES);
    struct store *from = db_rig_store(*state), *to = db_rig_store(other);
    fill(from); /* and bytes at the end that PostgreSQL does not take for a text */
    script(from, "UPDATE calls_20261128 SET model = CAST(x'ff' AS TEXT)");
    assert_int_equal(store_transfer(from, to, &t, &e), ERR_IO);
    assert_int_equal(ask(to, "SELECT count(*) FROM accounts"), 1);
    assert_int_equal(ask(to, "SELECT count(*) FROM days"), 0);
    assert_int_equal(ask(to, "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname ="
                             " current_schema() AND tablename LIKE 'calls%'"),
                     0);
    script(from, "UPDATE calls_20261128 SET model = 'm'");
    good(store_transfer(from, to, &t, &e), &e);
    are_the_same(from, to);
    store_close(to);
    store_close(from);
    free(other);
}

/* Copies */

static void path_in(const struct db_rig *r, const char *name, char out[SQL_BYTES])
{
    snprintf(out, SQL_BYTES, "%s/%s", r->folder, name);
}

static int count_files(const struct db_rig *r)
{
    char pattern[SQL_BYTES];
    glob_t g;
    path_in(r, "*", pattern);
    int n = glob(pattern, 0, NULL, &g) == 0 ? (int)g.gl_pathc : 0;
    globfree(&g);
    return n;
}

static void a_copy_is_whole_private_and_takes_the_place_of_an_older_one(void **state)
{
    const struct db_rig *r = *state;
    struct db_rig other = *r;
    char copy[SQL_BYTES];
    struct stat st;
    struct error e;
    mode_t old = umask(0);
    struct store *s = db_rig_store(r);
    path_in(r, "copy.db", copy);
    good(store_backup(r->url, copy, &e), &e);
    fill(s);
    good(store_begin(s, STORE_WRITE, &e), &e); /* somebody writes meanwhile */
    script(s, "DELETE FROM persons");
    good(store_backup(r->url, copy, &e), &e);
    store_rollback(s);
    umask(old);
    assert_int_equal(stat(copy, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(count_files(r), 4); /* the database with -wal and -shm, the copy */
    snprintf(other.url, sizeof other.url, "sqlite:%.512s/copy.db", r->folder);
    struct store *c = db_rig_store(&other);
    are_the_same(s, c);
    assert_int_equal(ask(c, "SELECT count(*) FROM pragma_integrity_check"
                            " WHERE integrity_check = 'ok'"),
                     1);
    /* now it is a database in use */
    assert_int_equal(store_backup(r->url, copy, &e), ERR_EXISTS);
    store_close(c);
    store_close(s);
}

static void a_copy_that_cannot_be_leaves_no_file(void **state)
{
    const struct db_rig *r = *state;
    char path[SQL_BYTES];
    struct error e;
    struct store *s = db_rig_store(r);
    fill(s);
    int before = count_files(r);
    path_in(r, "moongate.db", path);
    assert_int_not_equal(store_backup(r->url, path, &e), 0); /* onto itself */
    path_in(r, "none/copy.db", path);
    assert_int_equal(store_backup(r->url, path, &e), ERR_IO);
    path_in(r, "folder", path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(store_backup(r->url, path, &e), ERR_IO);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(count_files(r), before);
    assert_int_equal(ask(s, "SELECT count(*) FROM calls_20261127"), CALLS);
    store_close(s);
}

static void a_copy_of_an_older_schema_is_made_as_it_is(void **state)
{
    const struct db_rig *r = *state;
    char path[SQL_BYTES], copy[SQL_BYTES];
    struct error e;
    sqlite3 *db;
    sqlite3_stmt *q;
    path_in(r, "moongate.db", path);
    path_in(r, "copy.db", copy);
    assert_int_equal(mkdir(r->folder, 0700), 0);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db, "CREATE TABLE keys (id); PRAGMA user_version = 1", NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    good(store_backup(r->url, copy, &e), &e);
    assert_int_equal(sqlite3_open(copy, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(q, 0), 1);
    sqlite3_finalize(q);
    sqlite3_close(db);
}

static void a_database_that_is_not_there_gives_no_copy(void **state)
{
    const struct db_rig *r = *state;
    char copy[SQL_BYTES];
    struct error e;
    path_in(r, "copy.db", copy);
    assert_int_equal(store_backup(r->url, copy, &e), ERR_NOT_FOUND);
    assert_int_equal(count_files(r), 0);
}

static void postgresql_is_not_copied_here(void **state)
{
    const struct db_rig *r = *state;
    struct error e;
    assert_int_equal(store_backup(r->url, "/nonexistent/copy", &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "pg_dump"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DB_TEST(everything_arrives_in_sqlite),
        DB_TEST(everything_arrives_in_postgresql),
        DB_TEST(an_empty_store_arrives_too),
        DB_TEST(a_target_that_holds_something_is_left_alone),
        DB_TEST(a_table_of_somebody_else_ends_the_move_before_it_begins),
        DB_TEST_SQLITE(a_move_that_fails_leaves_nothing_behind),
        DB_TEST_SQLITE(a_copy_is_whole_private_and_takes_the_place_of_an_older_one),
        DB_TEST_SQLITE(a_copy_that_cannot_be_leaves_no_file),
        DB_TEST_SQLITE(a_copy_of_an_older_schema_is_made_as_it_is),
        DB_TEST_SQLITE(a_database_that_is_not_there_gives_no_copy),
        DB_TEST_POSTGRES(postgresql_is_not_copied_here),
    };
    return cmocka_run_group_tests(tests, db_rig_start, db_rig_stop);
}
