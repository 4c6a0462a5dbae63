/*
 * What survives when the disk fails, or the process dies, at every write in turn.
 *
 * A child makes a store and commits pairs of rows; it tells each commit that was said to be good
 * through a pipe. Two tests begin with nothing, so that the migration is struck as well, the others
 * with a store that is there. The fault comes from src/store/fault_vfs.c, at write N. Afterwards
 * the parent opens the file with SQLite itself: it must be whole, hold every pair that was told,
 * and no half of one. The parent never opens a store, because the fault is read once a process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "store/store_private.h"

enum { PATH_BYTES = 512, PAIRS = 6, PATIENCE = 3, GAVE_UP = 3 };

struct place {
    char dir[PATH_BYTES / 2], data[PATH_BYTES], db[PATH_BYTES + 32], count[PATH_BYTES];
    char first[PATH_BYTES]; /* a store that was made before */
    bool made;              /* begin with it; else with nothing */
};

static int open_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    /* in memory, if that can be: what a sync does is not what is tested, and there are many */
    const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");
    snprintf(p->dir, sizeof p->dir, "%s/mg-fault-XXXXXX", tmp ? tmp : P_tmpdir);
    if (!mkdtemp(p->dir))
        return -1;
    snprintf(p->data, sizeof p->data, "%s/data", p->dir);
    snprintf(p->db, sizeof p->db, "%s/moongate.db", p->data);
    snprintf(p->count, sizeof p->count, "%s/count", p->dir);
    snprintf(p->first, sizeof p->first, "%s/first", p->dir);
    *state = p;
    return 0;
}

static void remove_store(const struct place *p)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char name[PATH_BYTES + 64];
        snprintf(name, sizeof name, "%s%s", p->db, suffixes[i]);
        unlink(name);
    }
    rmdir(p->data);
}

static int close_place(void **state)
{
    struct place *p = *state;
    remove_store(p);
    unlink(p->count);
    unlink(p->first);
    int rc = rmdir(p->dir);
    free(p);
    return rc;
}

/* The child */

static int write_pair(struct store *s, int n, struct error *e)
{
    struct db_query list[2];
    int rc = store_begin(s, STORE_WRITE, e);
    if (rc)
        return rc;
    for (int i = 0; i < 2; i++) {
        db_sql(&list[i], "INSERT INTO network_grants (network, day, n) VALUES ($1, $2, 1)"
                         " ON CONFLICT (network, day) DO NOTHING");
        db_arg_text(&list[i], i ? "right" : "left");
        db_arg(&list[i], n);
    }
    rc = db_run(s->db, list, 2, e);
    db_done(list, 2);
    if (rc == 0)
        return store_commit(s, e);
    store_rollback(s);
    return rc;
}

/* Tries again on a new connection, as the server does. */
static int write_stubbornly(struct store *s, int n)
{
    struct error e;
    int rc = write_pair(s, n, &e);
    for (int i = 0; rc && i < PATIENCE; i++) {
        if (store_is_good(s) || store_reopen(s, &e) == 0)
            rc = write_pair(s, n, &e);
    }
    return rc;
}

static int run_child(const struct place *p, int told_fd)
{
    struct store *s;
    struct error e;
    int rc = store_open(p->data, &s, &e);
    for (int i = 0; rc && i < PATIENCE; i++)
        rc = store_open(p->data, &s, &e);
    if (rc)
        return GAVE_UP;
    for (int n = 0; n < PAIRS; n++) {
        char c = (char)n;
        if (n == PAIRS / 2) /* pages go from the log into the file, too */
            db_script(s->db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL);
        if (!store_is_good(s))
            store_reopen(s, NULL);
        rc = write_stubbornly(s, n);
        if (rc == 0 && write(told_fd, &c, 1) != 1)
            return 1;
    }
    store_close(s);
    return rc ? GAVE_UP : 0;
}

/* The parent */

static int with_fault(const struct place *p, const char *fault, int *status)
{
    int fds[2], told = 0;
    char c;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        setenv("MG_FAULT_WRITE", fault, 1);
        setenv("MG_FAULT_COUNT", p->count, 1);
        int rc = run_child(p, fds[1]);
        if (strcmp(fault, "0") == 0)
            exit(rc); /* writes the count */
        _exit(rc);
    }
    close(fds[1]);
    while (read(fds[0], &c, 1) == 1)
        told |= 1 << c;
    close(fds[0]);
    assert_int_equal(waitpid(pid, status, 0), pid);
    return told;
}

static int64_t ask(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *q = NULL;
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return n;
}

static void check_file(const struct place *p, int told, const char *fault)
{
    sqlite3 *db;
    char sql[128];
    assert_int_equal(sqlite3_open(p->db, &db), SQLITE_OK);
    if (ask(db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'") != 1)
        fail_msg("%s: the file is broken", fault);
    if (ask(db, "SELECT count(*) FROM sqlite_master WHERE name = 'network_grants'") == 0) {
        if (told != 0 || ask(db, "SELECT count(*) FROM sqlite_master") != 0)
            fail_msg("%s: the schema is half there", fault);
    } else {
        for (int n = 0; n < PAIRS; n++) {
            snprintf(sql, sizeof sql, "SELECT count(*) FROM network_grants WHERE day = %d", n);
            int64_t rows = ask(db, sql);
            if (rows == 1 || (rows == 0 && (told & 1 << n)))
                fail_msg("%s: of pair %d there is %d", fault, n, (int)rows);
        }
    }
    sqlite3_close(db);
}

/* Keeps what a good child made, without its pairs, to begin with. */
static void make_first(struct place *p)
{
    int status;
    sqlite3 *db;
    with_fault(p, "0", &status);
    assert_int_equal(status, 0);
    assert_int_equal(sqlite3_open(p->db, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "DELETE FROM network_grants", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(rename(p->db, p->first), 0);
    remove_store(p);
    p->made = true;
}

static void start_anew(const struct place *p)
{
    char bytes[4096];
    size_t n;
    remove_store(p);
    if (!p->made)
        return;
    assert_int_equal(mkdir(p->data, 0700), 0);
    FILE *in = fopen(p->first, "r"), *out = fopen(p->db, "w");
    assert_true(in && out);
    while ((n = fread(bytes, 1, sizeof bytes, in)) > 0)
        assert_int_equal(fwrite(bytes, 1, n, out), n);
    assert_int_equal(fclose(out), 0);
    fclose(in);
}

static int count_writes(const struct place *p)
{
    int status, n = 0;
    start_anew(p);
    int told = with_fault(p, "0", &status);
    assert_int_equal(status, 0);
    assert_int_equal(told, (1 << PAIRS) - 1);
    check_file(p, told, "0");
    FILE *in = fopen(p->count, "r");
    assert_non_null(in);
    assert_int_equal(fscanf(in, "%d", &n), 1);
    fclose(in);
    assert_in_range(n, 2 * PAIRS, 10000);
    return n;
}

static void fail_everywhere(const struct place *p, const char *how, bool dies, bool heals)
{
    int n = count_writes(p), struck = 0;
    for (int at = 1; at <= n; at++) {
        char fault[32];
        int status;
        snprintf(fault, sizeof fault, "%d%s", at, how);
        start_anew(p);
        int told = with_fault(p, fault, &status);
        if (dies && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
            struck++;
        else if (!WIFEXITED(status))
            fail_msg("%s: ended with %x", fault, (unsigned)status);
        else if (heals && (WEXITSTATUS(status) != 0 || told != (1 << PAIRS) - 1))
            fail_msg("%s: gave up after %x (%d)", fault, (unsigned)told, WEXITSTATUS(status));
        else if (!dies)
            struck++;
        check_file(p, told, fault);
    }
    assert_int_equal(struck, n);
}

static void a_write_that_fails_once_is_got_over(void **state)
{
    fail_everywhere(*state, ":once", false, true);
}

static void a_disk_that_is_full_for_a_moment_is_got_over(void **state)
{
    make_first(*state);
    fail_everywhere(*state, ":full", false, true);
}

static void a_disk_that_fails_for_good_loses_nothing_that_was_told(void **state)
{
    make_first(*state);
    fail_everywhere(*state, "", false, false);
}

static void a_process_that_dies_at_a_write_loses_nothing_that_was_told(void **state)
{
    fail_everywhere(*state, ":kill", true, false);
}

static void a_write_that_is_torn_loses_nothing_that_was_told(void **state)
{
    make_first(*state);
    fail_everywhere(*state, ":torn", true, false);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_place, close_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_write_that_fails_once_is_got_over),
        TEST(a_disk_that_is_full_for_a_moment_is_got_over),
        TEST(a_disk_that_fails_for_good_loses_nothing_that_was_told),
        TEST(a_process_that_dies_at_a_write_loses_nothing_that_was_told),
        TEST(a_write_that_is_torn_loses_nothing_that_was_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
