/* Unit tests of the two databases behind one face: the same list on both kinds, and what only
 * one of them can meet. */
#include "db_rig.h"

#include "store/store_private.h"

static void good(int rc, const struct error *e)
{
    if (rc)
        fail_msg("%s", e->text);
}

static struct db *open_db(const struct db_rig *r)
{
    struct db *d = NULL;
    struct error e;
    good(db_open(r->url, true, &d, &e), &e);
    return d;
}

static void script(struct db *d, const char *sql)
{
    struct error e;
    good(db_script(d, sql, &e), &e);
}

/* A table for the tests. */
static struct db *open_with_table(const struct db_rig *r)
{
    struct db *d = open_db(r);
    script(d, "CREATE TABLE t (id {id}, n {int} CHECK (n <> 13), s TEXT UNIQUE){strict};"
              "CREATE INDEX t_n ON t (n)");
    return d;
}

static void insert_query(struct db_query *q, int64_t n, const char *s)
{
    db_sql(q, "INSERT INTO t (n, s) VALUES ($1, $2) RETURNING id");
    db_arg(q, n);
    db_arg_text(q, s);
}

static int insert(struct db *d, int64_t n, const char *s, struct error *e)
{
    struct db_query q;
    insert_query(&q, n, s);
    int rc = db_run_one(d, &q, e);
    db_done(&q, 1);
    return rc;
}

static int64_t ask(struct db *d, const char *sql)
{
    struct db_query q;
    struct error e;
    db_sql(&q, sql);
    good(db_run_one(d, &q, &e), &e);
    assert_int_equal(q.rows.n, 1);
    int64_t n = db_int(&q.rows, 0, 0);
    db_done(&q, 1);
    return n;
}

static void ask_text(struct db *d, const char *sql, char *out, size_t out_bytes)
{
    struct db_query q;
    struct error e;
    db_sql(&q, sql);
    good(db_run_one(d, &q, &e), &e);
    assert_int_equal(q.rows.n, 1);
    db_copy(&q.rows, 0, 0, out, out_bytes);
    db_done(&q, 1);
}

static int64_t count(struct db *d)
{
    return ask(d, "SELECT count(*) FROM t");
}

static void begin(struct db *d, enum db_mode mode)
{
    struct error e;
    good(db_begin(d, mode, &e), &e);
}

static void commit(struct db *d)
{
    struct error e;
    good(db_commit(d, &e), &e);
}

/* Both kinds */

static void values_come_back_as_they_were_given(void **state)
{
    struct db *d = open_with_table(*state);
    struct db_query q;
    struct error e;
    good(insert(d, INT64_MAX, "a'b\"c\\ ü 月 $1 {int}", &e), &e);
    good(insert(d, INT64_MIN, "", &e), &e);
    db_sql(&q, "INSERT INTO t (n, s) VALUES ($1, $2)");
    db_arg(&q, -1);
    db_arg_text(&q, NULL);
    good(db_run_one(d, &q, &e), &e);
    assert_int_equal(q.changed, 1);
    assert_int_equal(q.rows.n, 0);
    db_done(&q, 1);
    db_sql(&q, "SELECT n, s, n < 0, id FROM t ORDER BY id");
    good(db_run_one(d, &q, &e), &e);
    assert_int_equal(q.rows.n, 3);
    assert_int_equal(q.rows.columns, 4);
    assert_int_equal(q.changed, 0);
    assert_true(db_int(&q.rows, 0, 0) == INT64_MAX);
    assert_string_equal(db_text(&q.rows, 0, 1), "a'b\"c\\ ü 月 $1 {int}");
    assert_int_equal(db_int(&q.rows, 0, 2), 0);
    assert_true(db_int(&q.rows, 1, 0) == INT64_MIN);
    assert_string_equal(db_text(&q.rows, 1, 1), "");
    assert_false(db_null(&q.rows, 1, 1));
    assert_int_equal(db_int(&q.rows, 1, 2), 1);
    assert_true(db_null(&q.rows, 2, 1));
    assert_string_equal(db_text(&q.rows, 2, 1), "");
    assert_int_equal(db_int(&q.rows, 2, 3), 3);
    db_done(&q, 1);
    db_close(d);
}

static void parameters_stand_in_any_order_and_more_than_once(void **state)
{
    struct db *d = open_with_table(*state);
    struct db_query q;
    struct error e;
    good(insert(d, 5, "five", &e), &e);
    for (int i = 0; i < 2; i++) { /* fresh, and from the cache */
        db_sql(&q, "SELECT $3, n FROM t WHERE s = $2 AND n = $1 AND $1 < 9000000000");
        db_arg(&q, 5);
        db_arg_text(&q, "five");
        db_arg_text(&q, i ? "x" : "y");
        good(db_run_one(d, &q, &e), &e);
        assert_int_equal(q.rows.n, 1);
        assert_string_equal(db_text(&q.rows, 0, 0), i ? "x" : "y");
        db_done(&q, 1);
    }
    db_close(d);
}

static void changed_rows_are_counted(void **state)
{
    struct db *d = open_with_table(*state);
    struct db_query q;
    struct error e;
    for (int i = 0; i < 5; i++) {
        char name[8];
        snprintf(name, sizeof name, "%d", i);
        good(insert(d, i, name, &e), &e);
    }
    db_sql(&q, "UPDATE t SET n = n + 100 WHERE n >= $1");
    db_arg(&q, 2);
    good(db_run_one(d, &q, &e), &e);
    assert_int_equal(q.changed, 3);
    db_done(&q, 1);
    db_sql(&q, "INSERT INTO t (n, s) VALUES (1, '1') ON CONFLICT (s) DO NOTHING");
    good(db_run_one(d, &q, &e), &e);
    assert_int_equal(q.changed, 0);
    db_done(&q, 1);
    db_sql(&q, "INSERT INTO t (n, s) VALUES (7, '1') ON CONFLICT (s) DO UPDATE SET n = "
               "t.n + EXCLUDED.n RETURNING n");
    good(db_run_one(d, &q, &e), &e);
    assert_int_equal(q.changed, 1);
    assert_int_equal(db_int(&q.rows, 0, 0), 8);
    db_done(&q, 1);
    db_sql(&q, "DELETE FROM t");
    good(db_run_one(d, &q, &e), &e);
    assert_int_equal(q.changed, 5);
    db_done(&q, 1);
    db_close(d);
}

static void a_row_that_is_there_is_told_and_the_connection_goes_on(void **state)
{
    struct db *d = open_with_table(*state);
    struct error e;
    good(insert(d, 1, "person@example.org", &e), &e);
    assert_int_equal(insert(d, 2, "person@example.org", &e), ERR_EXISTS);
    assert_null(strstr(e.text, "person@"));
    assert_true(db_is_good(d));
    assert_int_equal(insert(d, 13, "b", &e), ERR_IO); /* the table's own check */
    assert_true(db_is_good(d));
    good(insert(d, 2, "b", &e), &e);
    assert_int_equal(count(d), 2);
    db_close(d);
}

static void after_a_failure_a_transaction_has_nothing_but_its_rollback(void **state)
{
    struct db *d = open_with_table(*state);
    struct error e;
    begin(d, DB_WRITE);
    good(insert(d, 1, "a", &e), &e);
    assert_int_equal(insert(d, 2, "a", &e), ERR_EXISTS);
    assert_int_equal(insert(d, 3, "c", &e), ERR_IO);
    assert_int_equal(db_commit(d, &e), ERR_IO);
    assert_int_equal(count(d), 0);
    begin(d, DB_WRITE);
    assert_int_equal(insert(d, 13, "a", &e), ERR_IO);
    db_rollback(d);
    db_rollback(d);
    begin(d, DB_WRITE);
    good(insert(d, 1, "a", &e), &e);
    commit(d);
    assert_int_equal(count(d), 1);
    db_close(d);
}

static void what_is_not_committed_is_not_seen_by_others(void **state)
{
    struct db *d = open_with_table(*state), *other = open_db(*state);
    struct error e;
    begin(d, DB_WRITE);
    good(insert(d, 1, "a", &e), &e);
    assert_int_equal(count(d), 1);
    assert_int_equal(count(other), 0);
    commit(d);
    assert_int_equal(count(other), 1);
    begin(d, DB_LOOSE);
    good(insert(d, 2, "b", &e), &e);
    db_close(d); /* rolls back */
    assert_int_equal(count(other), 1);
    db_close(other);
}

static void a_transaction_that_reads_has_one_view(void **state)
{
    struct db *d = open_with_table(*state), *other = open_db(*state);
    struct error e;
    begin(d, DB_READ);
    assert_int_equal(count(d), 0);
    good(insert(other, 1, "a", &e), &e);
    assert_int_equal(count(other), 1);
    assert_int_equal(count(d), 0);
    commit(d);
    assert_int_equal(count(d), 1);
    db_close(other);
    db_close(d);
}

static void an_empty_transaction_is_nothing(void **state)
{
    struct db *d = open_with_table(*state);
    static const enum db_mode modes[] = {DB_READ, DB_WRITE, DB_LOOSE};
    for (size_t i = 0; i < 3; i++) {
        begin(d, modes[i]);
        commit(d);
        begin(d, modes[i]);
        db_rollback(d);
    }
    assert_int_equal(count(d), 0);
    db_close(d);
}

static void many_queries_run_in_their_order(void **state)
{
    enum { N = 350 };
    struct db *d = open_with_table(*state);
    struct db_query *list = calloc(N + 1, sizeof *list);
    struct error e;
    char names[N][8];
    begin(d, DB_WRITE);
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "%d", i);
        insert_query(&list[i], i == 13 ? 1 : i, names[i]);
    }
    db_sql(&list[N], "SELECT count(*) FROM t");
    good(db_run(d, list, N + 1, &e), &e);
    for (int i = 0; i < N; i++)
        assert_int_equal(db_int(&list[i].rows, 0, 0), i + 1);
    assert_int_equal(db_int(&list[N].rows, 0, 0), N);
    commit(d);
    db_done(list, N + 1);
    free(list);
    db_close(d);
}

static void queries_stop_at_the_first_that_fails(void **state)
{
    struct db *d = open_with_table(*state);
    struct db_query list[4];
    struct error e;
    insert_query(&list[0], 1, "a");
    insert_query(&list[1], 13, "b");
    insert_query(&list[2], 3, "c");
    db_sql(&list[3], "SELECT 1 FROM no_such_table");
    for (int alone = 0; alone < 2; alone++) {
        if (!alone)
            begin(d, DB_WRITE);
        assert_int_equal(db_run(d, list, 4, &e), ERR_IO);
        assert_null(strstr(e.text, "no_such_table"));
        db_rollback(d);
        /* outside a transaction each is its own */
        assert_int_equal(count(d), alone);
    }
    db_done(list, 4);
    good(insert(d, 3, "c", &e), &e);
    db_close(d);
}

static void statements_beyond_the_cache_come_and_go(void **state)
{
    enum { N = 700 };
    const struct db_rig *r = *state;
    struct db *d = open_with_table(r);
    char sql[64];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) {
            snprintf(sql, sizeof sql, "SELECT %d", i);
            assert_int_equal(ask(d, sql), i);
        }
    }
    if (r->kind == DB_POSTGRES)
        assert_in_range(ask(d, "SELECT count(*) FROM pg_prepared_statements"), 200, 256);
    db_close(d);
}

static void many_statements_that_fail_leave_no_disorder_in_the_cache(void **state)
{
    enum { N = 600 };
    struct db *d = open_with_table(*state);
    struct db_query list[3];
    struct error e;
    char sql[2][64];
    for (int i = 0; i < N; i++) {
        snprintf(sql[0], sizeof sql[0], "SELECT n + %d FROM t WHERE no_column = 1", i);
        snprintf(sql[1], sizeof sql[1], "SELECT %d", i % 300);
        db_sql(&list[0], sql[0]);
        db_sql(&list[1], sql[1]);
        begin(d, DB_WRITE);
        assert_int_equal(db_run(d, list, 2, &e), ERR_IO);
        db_rollback(d);
        assert_int_equal(ask(d, sql[1]), i % 300);
    }
    assert_true(db_is_good(d));
    db_close(d);
}

static void a_lock_is_waited_for_and_then_told_as_busy(void **state)
{
    struct db *d = open_with_table(*state), *other = open_db(*state);
    struct db_query q;
    struct error e;
    good(insert(d, 1, "a", &e), &e);
    begin(other, DB_WRITE);
    assert_int_equal(ask(other, "SELECT n FROM t WHERE s = 'a' FOR UPDATE"), 1);
    db_set_wait(d, 1);
    int rc = db_begin(d, DB_WRITE, &e);
    db_sql(&q, "SELECT n FROM t WHERE s = $1 FOR UPDATE");
    db_arg_text(&q, "a");
    if (rc == 0)
        rc = db_run_one(d, &q, &e);
    db_done(&q, 1);
    assert_int_equal(rc, ERR_BUSY);
    assert_true(db_is_good(d));
    db_rollback(d);
    assert_int_equal(ask(d, "SELECT n FROM t"), 1); /* reading does not wait */
    commit(other);
    begin(d, DB_WRITE);
    assert_int_equal(ask(d, "SELECT n FROM t WHERE s = 'a' FOR UPDATE"), 1);
    commit(d);
    db_close(other);
    db_close(d);
}

static void an_unknown_table_is_an_error_that_heals(void **state)
{
    struct db *d = open_db(*state);
    struct db_query q;
    struct error e;
    db_sql(&q, "SELECT n FROM later");
    assert_int_equal(db_run_one(d, &q, &e), ERR_IO);
    assert_non_null(strstr(e.text, "later"));
    script(d, "CREATE TABLE later (n {int}){strict}; INSERT INTO later VALUES (4)");
    good(db_run_one(d, &q, &e), &e);
    assert_int_equal(db_int(&q.rows, 0, 0), 4);
    db_done(&q, 1);
    db_close(d);
}

static void a_script_is_undone_with_its_transaction(void **state)
{
    struct db *d = open_with_table(*state);
    struct error e;
    int version;
    good(db_version(d, &version, &e), &e);
    assert_int_equal(version, 0);
    begin(d, DB_WRITE);
    good(db_lock_schema(d, &e), &e);
    script(d, "CREATE TABLE u (n {int}); INSERT INTO u VALUES (1)");
    good(db_set_version(d, 7, &e), &e);
    good(db_version(d, &version, &e), &e);
    assert_int_equal(version, 7);
    db_rollback(d);
    good(db_version(d, &version, &e), &e);
    assert_int_equal(version, 0);
    assert_int_equal(db_script(d, "SELECT n FROM u", &e), ERR_IO);
    begin(d, DB_WRITE);
    good(db_set_version(d, 8, &e), &e);
    commit(d);
    good(db_version(d, &version, &e), &e);
    assert_int_equal(version, 8);
    db_close(d);
}

static void a_connection_that_is_opened_anew_goes_on(void **state)
{
    struct db *d = open_with_table(*state);
    struct error e;
    good(insert(d, 1, "a", &e), &e);
    begin(d, DB_WRITE);
    good(insert(d, 2, "b", &e), &e);
    good(db_reopen(d, &e), &e);
    assert_true(db_is_good(d));
    assert_int_equal(count(d), 1);
    good(insert(d, 2, "b", &e), &e);
    db_close(d);
}

static void identities_are_not_used_twice(void **state)
{
    struct db *d = open_with_table(*state);
    struct db_query q;
    struct error e;
    good(insert(d, 1, "a", &e), &e);
    good(insert(d, 1, "b", &e), &e);
    db_sql(&q, "DELETE FROM t");
    good(db_run_one(d, &q, &e), &e);
    db_done(&q, 1);
    good(insert(d, 1, "c", &e), &e);
    assert_int_equal(ask(d, "SELECT id FROM t"), 3);
    db_close(d);
}

static int open_in_process(const struct db_rig *r, int start_fd)
{
    const struct store_options o = {.create = true, .migrate = true};
    struct store *s;
    struct error e;
    char byte;
    if (read(start_fd, &byte, 1) != 0)
        return 1;
    int rc = store_open_url(r->url, &o, &s, &e);
    if (rc)
        fprintf(stderr, "%s\n", e.text);
    else
        store_close(s);
    return rc != 0;
}

static void programs_that_start_at_once_migrate_once(void **state)
{
    enum { PROCESSES = 8 };
    pid_t pids[PROCESSES];
    int fds[2], status;
    assert_int_equal(pipe(fds), 0);
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            close(fds[1]);
            _exit(open_in_process(*state, fds[0]));
        }
    }
    close(fds[0]);
    close(fds[1]);
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    struct store *s = db_rig_store(*state);
    assert_int_equal(ask(s->db, "SELECT count(*) FROM accounts"), 1);
    assert_int_equal(ask(s->db, "SELECT count(*) FROM applications"), 1);
    store_close(s);
}

/* PostgreSQL alone */

static void a_commit_is_loose_only_where_that_is_asked(void **state)
{
    struct db *d = open_with_table(*state);
    char text[32];
    static const char sql[] = "SELECT current_setting('synchronous_commit')";
    static const struct {
        enum db_mode mode;
        bool durable;
        const char *is;
    } rows[] = {{DB_WRITE, true, "on"},   {DB_LOOSE, true, "off"},  {DB_WRITE, true, "on"},
                {DB_WRITE, false, "off"}, {DB_LOOSE, false, "off"}, {DB_WRITE, true, "on"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        db_set_durable(d, rows[i].durable);
        begin(d, rows[i].mode);
        ask_text(d, sql, text, sizeof text);
        assert_string_equal(text, rows[i].is);
        commit(d);
    }
    db_close(d);
}

static void a_transaction_that_reads_writes_nothing(void **state)
{
    struct db *d = open_with_table(*state);
    struct error e;
    char text[32];
    begin(d, DB_READ);
    ask_text(d, "SELECT current_setting('transaction_isolation')", text, sizeof text);
    assert_string_equal(text, "repeatable read");
    assert_int_equal(insert(d, 1, "a", &e), ERR_IO);
    db_rollback(d);
    db_close(d);
}

static void two_that_wait_for_each_other_are_told_as_busy(void **state)
{
    const struct db_rig *r = *state;
    struct db *d = open_with_table(r);
    struct error e;
    int status;
    good(insert(d, 1, "a", &e), &e);
    good(insert(d, 2, "b", &e), &e);
    int there[2], go[2];
    assert_int_equal(pipe(there), 0);
    assert_int_equal(pipe(go), 0);
    pid_t pid = fork();
    if (pid == 0) { /* takes b, and then waits for a */
        struct db *other;
        struct db_query q;
        char byte = 'x';
        if (db_open(r->url, false, &other, NULL) != 0 || db_begin(other, DB_WRITE, NULL) != 0)
            _exit(100);
        db_set_wait(other, 60000);
        db_sql(&q, "UPDATE t SET n = n + 1 WHERE s = 'b'");
        if (db_run_one(other, &q, NULL) != 0 || write(there[1], &byte, 1) != 1 ||
            read(go[0], &byte, 1) != 1)
            _exit(101);
        db_sql(&q, "UPDATE t SET n = n + 1 WHERE s = 'a'");
        int rc = db_run_one(other, &q, NULL);
        if (rc == 0)
            rc = db_commit(other, NULL);
        _exit(rc == 0 ? 0 : rc == ERR_BUSY ? 1 : 102);
    }
    char byte;
    struct db_query q;
    db_set_wait(d, 60000);
    begin(d, DB_WRITE);
    db_sql(&q, "UPDATE t SET n = n + 1 WHERE s = 'a'");
    good(db_run_one(d, &q, &e), &e);
    assert_int_equal(read(there[0], &byte, 1), 1);
    assert_int_equal(write(go[1], "x", 1), 1);
    db_sql(&q, "UPDATE t SET n = n + 1 WHERE s = 'b'");
    int rc = db_run_one(d, &q, &e);
    if (rc == 0)
        commit(d);
    else
        db_rollback(d);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_true((rc == ERR_BUSY && WEXITSTATUS(status) == 0) ||
                (rc == 0 && WEXITSTATUS(status) == 1));
    assert_int_equal(ask(d, "SELECT sum(n) FROM t"), 5);
    for (int i = 0; i < 2; i++) {
        close(there[i]);
        close(go[i]);
    }
    db_close(d);
}

static void a_connection_that_the_server_ends_is_noticed_and_opened_anew(void **state)
{
    char sql[64];
    struct db *d = open_with_table(*state), *other = open_db(*state);
    struct error e;
    good(insert(d, 1, "a", &e), &e);
    begin(d, DB_WRITE);
    snprintf(sql, sizeof sql, "SELECT pg_terminate_backend(%d, 60000)",
             (int)ask(d, "SELECT pg_backend_pid()"));
    assert_int_equal(ask(other, sql), 1);
    assert_int_equal(insert(d, 2, "b", &e), ERR_IO);
    assert_false(db_is_good(d));
    assert_int_equal(db_commit(d, &e), ERR_IO);
    assert_int_equal(db_begin(d, DB_WRITE, &e), ERR_IO);
    good(db_reopen(d, &e), &e);
    assert_int_equal(count(d), 1);
    db_close(other);
    db_close(d);
}

static void a_server_that_is_away_is_an_error_until_it_is_back(void **state)
{
    struct db *d = open_with_table(*state);
    struct error e;
    good(insert(d, 1, "a", &e), &e);
    db_rig_server_stop();
    assert_int_equal(insert(d, 2, "b", &e), ERR_IO);
    assert_false(db_is_good(d));
    assert_int_equal(db_reopen(d, &e), ERR_IO);
    assert_int_equal(db_reopen(d, &e), ERR_IO);
    assert_false(db_is_good(d));
    assert_int_equal(db_rig_server_start(), 0);
    good(db_reopen(d, &e), &e);
    assert_int_equal(count(d), 1);
    good(insert(d, 2, "b", &e), &e);
    db_close(d);
}

static void a_server_that_stops_answering_is_given_up(void **state)
{
    struct db *d = open_with_table(*state);
    struct error e;
    pid_t backend = (pid_t)ask(d, "SELECT pg_backend_pid()");
    db_set_wait(d, 1);
    assert_int_equal(kill(backend, SIGSTOP), 0);
    assert_int_equal(insert(d, 1, "a", &e), ERR_IO);
    assert_non_null(strstr(e.text, "does not answer"));
    assert_false(db_is_good(d));
    assert_int_equal(kill(backend, SIGCONT), 0);
    good(db_reopen(d, &e), &e);
    assert_in_range(count(d), 0, 1);
    db_close(d);
}

static void a_statement_that_takes_too_long_is_ended(void **state)
{
    struct db *d = open_with_table(*state);
    struct db_query q;
    struct error e;
    db_set_wait(d, 1);
    begin(d, DB_WRITE);
    db_sql(&q, "SELECT pg_sleep(3600)");
    assert_int_equal(db_run_one(d, &q, &e), ERR_BUSY);
    assert_true(db_is_good(d));
    db_done(&q, 1);
    db_rollback(d);
    db_close(d);
}

static void no_text_holds_the_password(void **state)
{
    (void)state;
    static const char *const urls[] = {"postgres://moongate:geheim7@/postgres?host=%2Fnonexistent",
                                       "postgres://moongate:geheim7@127.0.0.1:1/postgres",
                                       "postgres://moongate:x%40geheim7@127.0.0.1:1/postgres",
                                       "postgres://moongate:x@geheim7@127.0.0.1:1/postgres",
                                       "postgres://moongate:x/geheim7@127.0.0.1:1/postgres",
                                       "postgres://moongate:x@y/geheim7@127.0.0.1:1/postgres",
                                       "postgres://moongate:x?geheim7@127.0.0.1:1/postgres",
                                       "postgres://moongate:x?y@geheim7@127.0.0.1:1/postgres",
                                       "postgres://moongate:geheim7/postgres",
                                       "postgres://127.0.0.1:1/postgres?user=u&password=geheim7",
                                       "postgres://127.0.0.1:1/postgres?geheim7",
                                       "postgresql://[geheim7:x@127.0.0.1:1/postgres"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct db *d;
        struct error e = {.text = ""};
        int rc = db_open(urls[i], true, &d, &e);
        assert_true(rc == ERR_IO || rc == ERR_INVALID);
        assert_true(*e.text != '\0');
        if (strstr(e.text, "geheim7"))
            fail_msg("%s", e.text);
    }
}

static void people_see_the_host_and_the_database(void **state)
{
    const struct db_rig *r = *state;
    char url[DB_RIG_URL + 96], name[DB_RIG_PATH + 32];
    struct db *d;
    struct error e;
    snprintf(url, sizeof url, "postgresql://moongate:geheim7@%s", strchr(r->url, '@') + 1);
    good(db_open(url, false, &d, &e), &e);
    snprintf(name, sizeof name, "%s/postgres", db_rig_all.dir);
    assert_string_equal(db_name(d), name);
    db_close(d);
}

static void a_search_path_that_leads_nowhere_is_refused(void **state)
{
    (void)state;
    char url[DB_RIG_URL + 64];
    struct db *d;
    struct error e;
    snprintf(url, sizeof url, "%s&options=-csearch_path%%3Dnowhere", db_rig_all.base);
    assert_int_equal(db_open(url, false, &d, &e), ERR_IO);
    assert_non_null(strstr(e.text, "search_path"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DB_TEST(values_come_back_as_they_were_given),
        DB_TEST(parameters_stand_in_any_order_and_more_than_once),
        DB_TEST(changed_rows_are_counted),
        DB_TEST(a_row_that_is_there_is_told_and_the_connection_goes_on),
        DB_TEST(after_a_failure_a_transaction_has_nothing_but_its_rollback),
        DB_TEST(what_is_not_committed_is_not_seen_by_others),
        DB_TEST(a_transaction_that_reads_has_one_view),
        DB_TEST(an_empty_transaction_is_nothing),
        DB_TEST(many_queries_run_in_their_order),
        DB_TEST(queries_stop_at_the_first_that_fails),
        DB_TEST(statements_beyond_the_cache_come_and_go),
        DB_TEST(many_statements_that_fail_leave_no_disorder_in_the_cache),
        DB_TEST(a_lock_is_waited_for_and_then_told_as_busy),
        DB_TEST(an_unknown_table_is_an_error_that_heals),
        DB_TEST(a_script_is_undone_with_its_transaction),
        DB_TEST(a_connection_that_is_opened_anew_goes_on),
        DB_TEST(identities_are_not_used_twice),
        DB_TEST(programs_that_start_at_once_migrate_once),
        DB_TEST_POSTGRES(a_commit_is_loose_only_where_that_is_asked),
        DB_TEST_POSTGRES(a_transaction_that_reads_writes_nothing),
        DB_TEST_POSTGRES(two_that_wait_for_each_other_are_told_as_busy),
        DB_TEST_POSTGRES(a_connection_that_the_server_ends_is_noticed_and_opened_anew),
        DB_TEST_POSTGRES(a_server_that_is_away_is_an_error_until_it_is_back),
        DB_TEST_POSTGRES(a_server_that_stops_answering_is_given_up),
        DB_TEST_POSTGRES(a_statement_that_takes_too_long_is_ended),
        DB_TEST_POSTGRES(no_text_holds_the_password),
        DB_TEST_POSTGRES(people_see_the_host_and_the_database),
        DB_TEST_POSTGRES(a_search_path_that_leads_nowhere_is_refused),
    };
    return cmocka_run_group_tests(tests, db_rig_start, db_rig_stop);
}
