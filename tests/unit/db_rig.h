/*
 * Tests that run on both databases: a private PostgreSQL for the test program, and a fresh, empty
 * place of each kind for each test.
 *
 * DB_TEST(name) in the list of tests stands for two of them, "name (SQLite)" and "name
 * (PostgreSQL)"; a test gets `struct db_rig *` by its state and opens r->url, or takes
 * db_rig_store. The group's setup and teardown are db_rig_start and db_rig_stop:
 *
 *     cmocka_run_group_tests(tests, db_rig_start, db_rig_stop)
 *
 * The server is a child of the test, of the user postgres where we are root (PostgreSQL runs as
 * nobody's root), listens on a unix socket in a folder of its own alone, and ends with the test
 * however that ends. A test's place on it is a schema, because making one takes no time. Without
 * a server installed the group fails.
 */
#ifndef MOONGATE_TESTS_DB_RIG_H
#define MOONGATE_TESTS_DB_RIG_H

#include "store/db.h"
#include "store/store.h"

#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { DB_RIG_PATH = 256, DB_RIG_URL = 768, DB_RIG_START_MS = 60000 };

struct db_rig {
    enum db_kind kind;
    char url[DB_RIG_URL + 64];    /* of this test's place: nothing is there yet */
    char folder[2 * DB_RIG_PATH]; /* SQLite: where its file lies */
};

static struct {
    char dir[DB_RIG_PATH];
    char base[DB_RIG_URL]; /* the server's address, without a schema */
    char bin[DB_RIG_PATH];
    pid_t server;
    int n; /* places made */
} db_rig_all;

/* The newest of /usr/lib/postgresql/N/bin, or what pg_config names is not asked for. */
static inline bool db_rig_find_server(void)
{
    glob_t g;
    int newest = 0;
    if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &g) != 0)
        return false;
    for (size_t i = 0; i < g.gl_pathc; i++) {
        int version = (int)strtol(g.gl_pathv[i] + strlen("/usr/lib/postgresql/"), NULL, 10);
        if (version > newest) {
            newest = version;
            snprintf(db_rig_all.bin, sizeof db_rig_all.bin, "%.*s",
                     (int)(strlen(g.gl_pathv[i]) - strlen("/initdb")), g.gl_pathv[i]);
        }
    }
    globfree(&g);
    return newest >= 15;
}

/* Starts a program of PostgreSQL; what it says goes to a file. */
static inline pid_t db_rig_spawn(const char *name, char *const *argv)
{
    char path[2 * DB_RIG_PATH], log[2 * DB_RIG_PATH];
    const struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : NULL;
    snprintf(path, sizeof path, "%s/%s", db_rig_all.bin, name);
    snprintf(log, sizeof log, "%s/log", db_rig_all.dir);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0 || chdir(db_rig_all.dir) != 0)
        _exit(126);
    if (user && (setgroups(0, NULL) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0))
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGQUIT);
    unsetenv("PGOPTIONS");
    setenv("LC_ALL", "C.UTF-8", 1);
    execv(path, argv);
    _exit(127);
}

static inline void db_rig_show_log(void)
{
    char log[2 * DB_RIG_PATH], line[512];
    snprintf(log, sizeof log, "%s/log", db_rig_all.dir);
    FILE *in = fopen(log, "r");
    while (in && fgets(line, sizeof line, in))
        fputs(line, stderr);
    if (in)
        fclose(in);
}

static inline int db_rig_init_server(void)
{
    char data[2 * DB_RIG_PATH];
    int status;
    snprintf(data, sizeof data, "%s/pg", db_rig_all.dir);
    char *const argv[] = {(char *)"initdb",
                          (char *)"-D",
                          data,
                          (char *)"-U",
                          (char *)"moongate",
                          (char *)"-A",
                          (char *)"trust",
                          (char *)"-E",
                          (char *)"UTF8",
                          (char *)"--locale=C.UTF-8",
                          (char *)"--no-sync",
                          NULL};
    pid_t pid = db_rig_spawn("initdb", argv);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -1;
}

/* Starts the server and waits until it takes connections. */
static inline int db_rig_server_start(void)
{
    const struct timespec pause = {.tv_nsec = 20 * 1000000};
    char data[2 * DB_RIG_PATH];
    snprintf(data, sizeof data, "%s/pg", db_rig_all.dir);
    char *const argv[] = {(char *)"postgres",
                          (char *)"-D",
                          data,
                          (char *)"-k",
                          db_rig_all.dir,
                          (char *)"-h",
                          (char *)"",
                          (char *)"-c",
                          (char *)"fsync=off",
                          (char *)"-c",
                          (char *)"shared_buffers=16MB",
                          (char *)"-c",
                          (char *)"max_connections=60",
                          NULL};
    db_rig_all.server = db_rig_spawn("postgres", argv);
    for (int waited_ms = 0; waited_ms < DB_RIG_START_MS; waited_ms += 20) {
        struct db *d;
        struct error e;
        if (db_open(db_rig_all.base, false, &d, &e) == 0) {
            db_close(d);
            return 0;
        }
        if (waitpid(db_rig_all.server, NULL, WNOHANG) != 0)
            break;
        nanosleep(&pause, NULL);
    }
    db_rig_all.server = 0;
    return -1;
}

/* Ends the server at once, as if it had crashed; db_rig_server_start brings it back. */
static inline void db_rig_server_stop(void)
{
    if (db_rig_all.server > 0) {
        kill(db_rig_all.server, SIGQUIT);
        waitpid(db_rig_all.server, NULL, 0);
    }
    db_rig_all.server = 0;
}

static inline int db_rig_remove(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static inline int db_rig_stop(void **state)
{
    (void)state;
    db_rig_server_stop();
    return nftw(db_rig_all.dir, db_rig_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static inline int db_rig_start(void **state)
{
    const char *tmp = getenv("TMPDIR");
    const struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : NULL;
    char encoded[2 * DB_RIG_PATH] = "";
    snprintf(db_rig_all.dir, sizeof db_rig_all.dir, "%s/mg-db-XXXXXX", tmp ? tmp : P_tmpdir);
    if (!mkdtemp(db_rig_all.dir))
        return -1;
    for (const char *s = db_rig_all.dir; *s; s++)
        snprintf(encoded + strlen(encoded), sizeof encoded - strlen(encoded),
                 *s == '/' ? "%%2F" : "%c", *s);
    snprintf(db_rig_all.base, sizeof db_rig_all.base, "postgres://moongate@/postgres?host=%s",
             encoded);
    int rc = db_rig_find_server() ? 0 : -1;
    if (rc)
        fputs("PostgreSQL 15 or newer is not installed (package postgresql)\n", stderr);
    if (rc == 0 && geteuid() == 0)
        rc = user ? chown(db_rig_all.dir, user->pw_uid, user->pw_gid) : -1;
    if (rc == 0)
        rc = db_rig_init_server();
    if (rc == 0)
        rc = db_rig_server_start();
    if (rc) {
        db_rig_show_log();
        db_rig_stop(state);
    }
    return rc;
}

/* A place for one test */

static inline int db_rig_make_schema(struct db_rig *r)
{
    char sql[64];
    struct db *d;
    struct error e = {.text = ""};
    int rc = db_open(db_rig_all.base, false, &d, &e);
    if (rc == 0) {
        snprintf(sql, sizeof sql, "CREATE SCHEMA rig%d", db_rig_all.n);
        rc = db_script(d, sql, &e);
        db_close(d);
    }
    snprintf(r->url, sizeof r->url, "%s&options=-csearch_path%%3Drig%d", db_rig_all.base,
             db_rig_all.n);
    if (rc)
        fprintf(stderr, "%s\n", e.text);
    return rc;
}

static inline struct db_rig *db_rig_open(enum db_kind kind)
{
    struct db_rig *r = calloc(1, sizeof *r);
    r->kind = kind;
    db_rig_all.n++;
    snprintf(r->folder, sizeof r->folder, "%s/s%d", db_rig_all.dir, db_rig_all.n);
    if (kind == DB_POSTGRES && db_rig_make_schema(r) != 0) {
        free(r);
        return NULL;
    }
    if (kind == DB_SQLITE)
        snprintf(r->url, sizeof r->url, "sqlite:%s/moongate.db", r->folder);
    return r;
}

static inline int db_rig_setup_sqlite(void **state)
{
    return (*state = db_rig_open(DB_SQLITE)) ? 0 : -1;
}

static inline int db_rig_setup_postgres(void **state)
{
    return (*state = db_rig_open(DB_POSTGRES)) ? 0 : -1;
}

static inline int db_rig_teardown(void **state)
{
    free(*state);
    return 0;
}

/* A store in the test's place, made and migrated; again: another connection to it. */
static inline struct store *db_rig_store(const struct db_rig *r)
{
    const struct store_options o = {.create = true, .migrate = true};
    struct store *s = NULL;
    struct error e;
    if (store_open_url(r->url, &o, &s, &e) != 0)
        fail_msg("%s", e.text);
    return s;
}

#define DB_TEST_SQLITE(name)                                                                       \
    {                                                                                              \
#name " (SQLite)", name, db_rig_setup_sqlite, db_rig_teardown, NULL                        \
    }
#define DB_TEST_POSTGRES(name)                                                                     \
    {                                                                                              \
#name " (PostgreSQL)", name, db_rig_setup_postgres, db_rig_teardown, NULL                  \
    }
#define DB_TEST(name) DB_TEST_SQLITE(name), DB_TEST_POSTGRES(name)

#endif
