/* Unit tests of the store's handle: opening, migrating, and what becomes of a file that is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "store/store_private.h"

enum { PATH_BYTES = 512, ANSWER_MS = 60000 };

/* A folder of the test's own, removed with what the store put into it. */
struct place {
    char dir[PATH_BYTES / 2], data[PATH_BYTES], db[PATH_BYTES + 32], copy[PATH_BYTES + 32];
};

static int open_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    const char *tmp = getenv("TMPDIR");
    snprintf(p->dir, sizeof p->dir, "%s/mg-store-XXXXXX", tmp ? tmp : P_tmpdir);
    if (!mkdtemp(p->dir))
        return -1;
    snprintf(p->data, sizeof p->data, "%s/data", p->dir);
    snprintf(p->db, sizeof p->db, "%s/moongate.db", p->data);
    snprintf(p->copy, sizeof p->copy, "%s/copy.db", p->data);
    *state = p;
    return 0;
}

static void remove_database(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char name[PATH_BYTES + 64];
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        unlink(name);
    }
}

static int close_place(void **state)
{
    struct place *p = *state;
    remove_database(p->db);
    remove_database(p->copy);
    rmdir(p->data);
    int rc = rmdir(p->dir);
    free(p);
    return rc;
}

static struct store *open_store(const struct place *p)
{
    struct store *s;
    struct error e;
    if (store_open(p->data, &s, &e) != 0)
        fail_msg("%s", e.text);
    return s;
}

/* A second handle on the same database, as another process would have. */
static sqlite3 *open_other(const struct place *p)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(p->db, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, ANSWER_MS);
    return db;
}

static void exec(sqlite3 *db, const char *sql)
{
    char *why = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why);
}

static void good(int rc, const struct error *e)
{
    if (rc)
        fail_msg("%s", e->text);
}

/* Notes a network's grant: one row that the tests count. */
static int add_row(struct store *s, const char *network, struct error *e)
{
    struct db_query q;
    db_sql(&q, "INSERT INTO network_grants (network, day, n) VALUES ($1, $2, 1)");
    db_arg_text(&q, network);
    db_arg(&q, 20261128);
    int rc = db_run_one(s->db, &q, e);
    db_done(&q, 1);
    return rc;
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

static int64_t count_rows(struct store *s)
{
    return ask(s, "SELECT count(*) FROM network_grants");
}

static void the_folder_and_the_database_are_the_owners_alone(void **state)
{
    const struct place *p = *state;
    struct stat st;
    struct error e;
    mode_t old = umask(0);
    struct store *s = open_store(p);
    good(add_row(s, "a", &e), &e);
    assert_int_equal(stat(p->data, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(p->db, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    char wal[PATH_BYTES + 64];
    snprintf(wal, sizeof wal, "%s-wal", p->db);
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    umask(old);
    store_close(s);
}

static void an_address_that_is_not_given_is_the_data_folders(void **state)
{
    (void)state;
    char *url = store_url("", "/var/lib/moongate");
    assert_string_equal(url, "sqlite:/var/lib/moongate/moongate.db");
    free(url);
    url = store_url("postgres://h/d", "/var/lib/moongate");
    assert_string_equal(url, "postgres://h/d");
    free(url);
}

static void an_address_of_no_known_kind_is_refused_and_not_repeated(void **state)
{
    (void)state;
    const struct store_options o = {.create = true};
    struct store *s;
    struct error e;
    assert_int_equal(store_open_url("mysql://root:secret@h/d", &o, &s, &e), ERR_UNSUPPORTED);
    assert_null(strstr(e.text, "secret"));
    assert_int_equal(store_open_url("sqlite:", &o, &s, &e), ERR_INVALID);
}

static void a_database_is_not_made_unless_that_is_asked(void **state)
{
    const struct place *p = *state;
    const struct store_options o = {.migrate = true};
    struct store *s;
    struct error e;
    char *url = store_url(NULL, p->data);
    assert_int_equal(store_open_url(url, &o, &s, &e), ERR_NOT_FOUND);
    assert_int_equal(access(p->data, F_OK), -1);
    free(url);
}

static void the_handle_has_the_settings_that_keep_what_is_written(void **state)
{
    struct store *s = open_store(*state);
    struct db_query q;
    struct error e;
    db_sql(&q, "SELECT journal_mode FROM pragma_journal_mode");
    good(db_run_one(s->db, &q, &e), &e);
    assert_string_equal(db_text(&q.rows, 0, 0), "wal");
    db_done(&q, 1);
    assert_int_equal(ask(s, "SELECT synchronous FROM pragma_synchronous"), 2);
    assert_int_equal(ask(s, "SELECT foreign_keys FROM pragma_foreign_keys"), 1);
    assert_int_equal(ask(s, "SELECT trusted_schema FROM pragma_trusted_schema"), 0);
    store_close(s);
}

static void commits_are_synchronous_as_their_transactions_say(void **state)
{
    static const struct {
        enum store_mode mode;
        bool durable;
        int synchronous;
    } rows[] = {{STORE_WRITE, true, 2},
                {STORE_LOOSE, true, 1},
                {STORE_WRITE, true, 2},
                {STORE_WRITE, false, 1}};
    struct store *s = open_store(*state);
    struct error e;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        db_set_durable(s->db, rows[i].durable);
        good(store_begin(s, rows[i].mode, &e), &e);
        assert_int_equal(ask(s, "SELECT synchronous FROM pragma_synchronous"), rows[i].synchronous);
        good(store_commit(s, &e), &e);
    }
    store_close(s);
}

/* The schema of the first release, with two keys. */
static void make_version_1(const struct place *p)
{
    assert_int_equal(mkdir(p->data, 0700), 0);
    sqlite3 *db = open_other(p);
    exec(db, "PRAGMA journal_mode = WAL;"
             "CREATE TABLE keys ("
             "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
             "  hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),"
             "  name TEXT NOT NULL,"
             "  prefix TEXT NOT NULL,"
             "  models TEXT NOT NULL,"
             "  created_ms INTEGER NOT NULL,"
             "  expires_ms INTEGER NOT NULL,"
             "  revoked_ms INTEGER NOT NULL DEFAULT 0,"
             "  used_ms INTEGER NOT NULL DEFAULT 0,"
             "  disabled INTEGER NOT NULL DEFAULT 0"
             ") STRICT;"
             "CREATE INDEX keys_name ON keys (name);"
             "INSERT INTO keys VALUES (3, zeroblob(32), 'a', 'mg-000003', 'm', 5, 6, 7, 8, 1);"
             "INSERT INTO keys VALUES (9, x'00112233445566778899aabbccddeeff"
             "00112233445566778899AABBCCDDEEFF', 'b', 'mg-000009', '', 1, 0, 0, 0, 0);"
             "PRAGMA user_version = 1;");
    sqlite3_close(db);
}

static void keys_of_the_first_release_belong_to_the_operator_afterwards(void **state)
{
    struct db_query q;
    struct error e;
    make_version_1(*state);
    struct store *s = open_store(*state);
    db_sql(&q, "SELECT k.id, k.hash, k.name, k.prefix, k.models, k.created_ms, k.expires_ms,"
               "  k.revoked_ms, k.used_ms, k.disabled, k.cap_micros, a.service, c.email"
               " FROM keys k JOIN applications a ON a.id = k.application_id"
               " JOIN accounts c ON c.id = a.account_id ORDER BY k.id");
    good(db_run_one(s->db, &q, &e), &e);
    assert_int_equal(q.rows.n, 2);
    static const char *const first[] = {
        "3", "0000000000000000000000000000000000000000000000000000000000000000",
        "a", "mg-000003",
        "m", "5",
        "6", "7",
        "8", "1",
        "0"}; /* and have no quota */
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++)
        assert_string_equal(db_text(&q.rows, 0, i), first[i]);
    assert_string_equal(db_text(&q.rows, 0, 11), "kimi");
    assert_string_equal(db_text(&q.rows, 0, 12), "");
    assert_int_equal(db_int(&q.rows, 1, 0), 9);
    assert_string_equal(db_text(&q.rows, 1, 1),
                        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    db_done(&q, 1);
    assert_int_equal(ask(s, "SELECT count(*) FROM accounts"), 1);
    int version;
    good(db_version(s->db, &version, &e), &e);
    assert_int_equal(version, schema_version());
    store_close(s);
    s = open_store(*state); /* and it is not done twice */
    assert_int_equal(ask(s, "SELECT count(*) FROM keys"), 2);
    store_close(s);
}

static void an_old_schema_is_left_alone_where_migrating_is_not_asked(void **state)
{
    const struct place *p = *state;
    const struct store_options o = {.create = true};
    struct store *s;
    struct error e;
    make_version_1(p);
    char *url = store_url(NULL, p->data);
    assert_int_equal(store_open_url(url, &o, &s, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "moongate.db: has schema 1 where "));
    free(url);
    sqlite3 *other = open_other(p);
    exec(other, "SELECT length(hash) FROM keys WHERE id = 9");
    sqlite3_close(other);
}

static void a_migration_that_fails_changes_nothing(void **state)
{
    const struct place *p = *state;
    struct store *s;
    struct error e;
    make_version_1(p);
    sqlite3 *other = open_other(p); /* a table of a name that the migration needs */
    exec(other, "CREATE TABLE holds (x)");
    assert_int_equal(store_open(p->data, &s, &e), ERR_IO);
    assert_non_null(strstr(e.text, "holds"));
    exec(other, "SELECT length(hash) FROM keys WHERE id = 9; DROP TABLE holds");
    sqlite3_close(other);
    s = open_store(p);
    assert_int_equal(ask(s, "SELECT count(*) FROM keys"), 2);
    store_close(s);
}

static void a_newer_schema_is_refused_and_left_alone(void **state)
{
    const struct place *p = *state;
    char text[64];
    struct store *s = open_store(p);
    struct error e;
    store_close(s);
    sqlite3 *other = open_other(p);
    exec(other, "PRAGMA user_version = 99");
    sqlite3_close(other);
    assert_int_equal(store_open(p->data, &s, &e), ERR_UNSUPPORTED);
    snprintf(text, sizeof text, "has schema 99, this program knows up to %d", schema_version());
    assert_non_null(strstr(e.text, text));
    other = open_other(p);
    exec(other, "SELECT hash FROM keys");
    sqlite3_close(other);
}

static void a_file_that_is_no_database_is_an_error(void **state)
{
    const struct place *p = *state;
    struct store *s;
    struct error e;
    assert_int_equal(mkdir(p->data, 0700), 0);
    FILE *out = fopen(p->db, "w");
    for (int i = 0; i < 1000; i++)
        fputs("this is no database\n", out);
    fclose(out);
    assert_int_equal(store_open(p->data, &s, &e), ERR_IO);
    assert_non_null(strstr(e.text, "file is not a database"));
}

static void a_folder_whose_parent_is_missing_is_an_error(void **state)
{
    char dir[PATH_BYTES + 32];
    struct store *s;
    struct error e;
    snprintf(dir, sizeof dir, "%s/none/data", ((struct place *)*state)->dir);
    assert_int_equal(store_open(dir, &s, &e), ERR_IO);
    assert_non_null(strstr(e.text, "No such file or directory"));
}

static void two_handles_see_each_others_rows(void **state)
{
    struct error e;
    struct store *a = open_store(*state), *b = open_store(*state);
    good(add_row(a, "a", &e), &e);
    good(add_row(b, "b", &e), &e);
    assert_int_equal(count_rows(a), 2);
    assert_int_equal(count_rows(b), 2);
    store_close(a);
    store_close(b);
}

/* What one of several processes does; they begin together when the pipe is closed. */
static int run_process(const struct place *p, int start_fd, int number, int rows)
{
    struct store *s;
    struct error e;
    char byte, name[32];
    if (read(start_fd, &byte, 1) != 0 || store_open(p->data, &s, &e) != 0)
        return 1;
    for (int i = 0; i < rows; i++) {
        snprintf(name, sizeof name, "%d-%d", number, i);
        if (add_row(s, name, &e) != 0)
            return 1;
    }
    store_close(s);
    return 0;
}

static void processes_that_start_at_once_make_one_database_with_all_rows(void **state)
{
    enum { PROCESSES = 12, ROWS = 3 };
    pid_t pids[PROCESSES];
    int fds[2], status;
    assert_int_equal(pipe(fds), 0);
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            close(fds[1]);
            _exit(run_process(*state, fds[0], i, ROWS));
        }
    }
    close(fds[0]);
    close(fds[1]);
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    struct store *s = open_store(*state);
    assert_int_equal(count_rows(s), PROCESSES * ROWS);
    assert_int_equal(ask(s, "SELECT count(*) FROM accounts"), 1);
    store_close(s);
}

static void another_writer_is_waited_for_and_then_told_as_busy(void **state)
{
    struct error e;
    struct store *s = open_store(*state);
    sqlite3 *other = open_other(*state);
    exec(other, "BEGIN IMMEDIATE");
    store_set_wait(s, 1);
    assert_int_equal(store_begin(s, STORE_WRITE, &e), ERR_BUSY);
    assert_true(store_is_good(s));
    assert_int_equal(count_rows(s), 0); /* reading does not wait */
    exec(other, "ROLLBACK");
    good(store_begin(s, STORE_WRITE, &e), &e);
    good(add_row(s, "a", &e), &e);
    good(store_commit(s, &e), &e);
    assert_int_equal(count_rows(s), 1);
    sqlite3_close(other);
    store_close(s);
}

static void a_database_that_is_gone_does_not_come_back_empty(void **state)
{
    const struct place *p = *state;
    struct error e;
    struct store *s = open_store(p);
    good(add_row(s, "a", &e), &e);
    sqlite3 *other = open_other(p);
    exec(other, "PRAGMA wal_checkpoint(TRUNCATE)");
    sqlite3_close(other);
    assert_int_equal(rename(p->db, p->copy), 0);
    assert_int_equal(store_begin(s, STORE_WRITE, &e), ERR_IO);
    assert_false(store_is_good(s));
    assert_int_equal(add_row(s, "b", &e), ERR_IO);
    assert_int_not_equal(store_reopen(s, &e), 0);
    assert_int_not_equal(store_reopen(s, &e), 0);
    assert_int_equal(access(p->db, F_OK), -1);
    assert_int_equal(rename(p->copy, p->db), 0);
    good(store_reopen(s, &e), &e);
    assert_true(store_is_good(s));
    assert_int_equal(count_rows(s), 1);
    store_close(s);
}

static void a_write_outside_a_transaction_notices_a_lost_file_too(void **state)
{
    const struct place *p = *state;
    struct error e;
    struct store *s = open_store(p);
    good(add_row(s, "a", &e), &e);
    remove_database(p->db);
    assert_int_equal(add_row(s, "b", &e), ERR_IO);
    assert_non_null(strstr(e.text, "deleted or replaced"));
    assert_false(store_is_good(s));
    store_close(s);
}

/* A limit on the size of files stands for a disk that is full. */
static void limit_files(rlim_t bytes)
{
    struct rlimit l;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &l), 0);
    l.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
}

static void a_full_disk_loses_the_transaction_and_nothing_else(void **state)
{
    char big[8192], name[64];
    struct error e;
    struct store *s = open_store(*state);
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    good(add_row(s, "before", &e), &e);
    signal(SIGXFSZ, SIG_IGN);
    limit_files(1 << 20);
    good(store_begin(s, STORE_WRITE, &e), &e);
    int rc = 0;
    for (int i = 0; i < 2000 && rc == 0; i++) {
        int len = snprintf(name, sizeof name, "%d", i);
        memcpy(big, name, (size_t)len);
        rc = add_row(s, big, &e);
    }
    if (rc == 0)
        rc = store_commit(s, &e);
    else
        store_rollback(s);
    limit_files(RLIM_INFINITY);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(rc, ERR_IO);
    assert_false(store_is_good(s));
    good(store_reopen(s, &e), &e);
    assert_int_equal(count_rows(s), 1);
    good(add_row(s, "after", &e), &e);
    assert_int_equal(count_rows(s), 2);
    store_close(s);
}

static void a_copy_is_whole_while_others_write(void **state)
{
    const struct place *p = *state;
    struct stat st;
    struct error e;
    struct store *s = open_store(p), *writer = open_store(p);
    good(add_row(s, "a", &e), &e);
    good(store_begin(writer, STORE_WRITE, &e), &e);
    good(add_row(writer, "b", &e), &e);
    good(db_copy_file(s->db, p->copy, &e), &e);
    good(store_commit(writer, &e), &e);
    store_close(writer);
    assert_int_equal(db_copy_file(s->db, p->copy, &e), ERR_EXISTS);
    store_close(s);
    assert_int_equal(stat(p->copy, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(rename(p->copy, p->db), 0);
    s = open_store(p);
    assert_int_equal(count_rows(s), 1);
    assert_int_equal(ask(s, "SELECT count(*) FROM pragma_integrity_check"
                            " WHERE integrity_check = 'ok'"),
                     1);
    store_close(s);
}

static void a_hash_is_written_in_small_hex(void **state)
{
    (void)state;
    uint8_t hash[STORE_HASH_BYTES] = {0x0f, 0xa0};
    char hex[STORE_HEX_BYTES];
    store_hex(hash, hex);
    assert_string_equal(hex, "0fa0000000000000000000000000000000000000000000000000000000000000");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_place, close_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_folder_and_the_database_are_the_owners_alone),
        TEST(an_address_that_is_not_given_is_the_data_folders),
        TEST(an_address_of_no_known_kind_is_refused_and_not_repeated),
        TEST(a_database_is_not_made_unless_that_is_asked),
        TEST(the_handle_has_the_settings_that_keep_what_is_written),
        TEST(commits_are_synchronous_as_their_transactions_say),
        TEST(keys_of_the_first_release_belong_to_the_operator_afterwards),
        TEST(an_old_schema_is_left_alone_where_migrating_is_not_asked),
        TEST(a_migration_that_fails_changes_nothing),
        TEST(a_newer_schema_is_refused_and_left_alone),
        TEST(a_file_that_is_no_database_is_an_error),
        TEST(a_folder_whose_parent_is_missing_is_an_error),
        TEST(two_handles_see_each_others_rows),
        TEST(processes_that_start_at_once_make_one_database_with_all_rows),
        TEST(another_writer_is_waited_for_and_then_told_as_busy),
        TEST(a_database_that_is_gone_does_not_come_back_empty),
        TEST(a_write_outside_a_transaction_notices_a_lost_file_too),
        TEST(a_full_disk_loses_the_transaction_and_nothing_else),
        TEST(a_copy_is_whole_while_others_write),
        TEST(a_hash_is_written_in_small_hex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
