/*
 * The driver of SQLite: one file, in WAL mode, with one writer at a time.
 *
 * The handle has no mutex of its own (SQLITE_OPEN_NOMUTEX). A transaction that writes takes the
 * write lock when it begins (BEGIN IMMEDIATE), so that it cannot fail for a lock in its middle;
 * waiting is SQLite's busy handler. What a pragma sets is read back, because SQLite is silent
 * about one that it did not take.
 *
 * Whether a commit reaches the disk is PRAGMA synchronous, which is changed between transactions
 * only. An error of the file (disk full, I/O, corruption) ends the use of the handle until
 * db_reopen. A file that was deleted or replaced under the handle would take writes in silence,
 * so each transaction begins by asking whether the path still means the file that is open.
 */
#include "store/db_private.h"

#include "base/mem.h"
#include "store/fault_vfs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WAL_WAIT_MS = 5000, SYNC_NORMAL = 1, SYNC_FULL = 2 };

/* Of the log before it is copied into the file, while the writer waits: 16 MB. A page that was
 * written often meanwhile is copied once. */
#define LOG_PAGES "4000"

struct sqlite_db {
    struct db db;
    sqlite3 *handle;
    char *path;
    int synchronous; /* what the handle is set to; 0: not known */
};

static struct sqlite_db *own(struct db *d)
{
    return (struct sqlite_db *)d;
}

/* Errors */

static int code_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_BUSY;
    case SQLITE_CONSTRAINT:
        return rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY ||
                       rc == SQLITE_CONSTRAINT_ROWID
                   ? ERR_EXISTS
                   : ERR_IO;
    default:
        return ERR_IO;
    }
}

/* Errors that lie in the file or below it, not in what was asked. */
static bool is_of_the_file(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_IOERR:
    case SQLITE_FULL:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PROTOCOL:
    case SQLITE_NOMEM:
    case SQLITE_PERM:
        return true;
    default:
        return false;
    }
}

static int failed(struct sqlite_db *s, const char *doing, struct error *e)
{
    int rc = s->handle ? sqlite3_extended_errcode(s->handle) : SQLITE_CANTOPEN;
    const char *why = s->handle ? sqlite3_errmsg(s->handle) : "the database is not open";
    if (is_of_the_file(rc))
        s->db.good = false;
    return error_set(e, code_of(rc), "%s: %.60s: %s", s->path, doing, why);
}

static int exec(struct sqlite_db *s, const char *sql, struct error *e)
{
    if (!s->handle || sqlite3_exec(s->handle, sql, NULL, NULL, NULL) != SQLITE_OK)
        return failed(s, sql, e);
    return 0;
}

/* Runs `sql`, whose answer is one value. */
static int read_value(struct sqlite_db *s, const char *sql, char *out, size_t out_bytes,
                      struct error *e)
{
    sqlite3_stmt *q = NULL;
    int rc = sqlite3_prepare_v2(s->handle, sql, -1, &q, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(q);
    const char *value = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(q, 0) : NULL;
    snprintf(out, out_bytes, "%s", value ? value : "");
    int code = rc == SQLITE_ROW ? 0 : failed(s, sql, e);
    sqlite3_finalize(q);
    return code;
}

static int set_pragma(struct sqlite_db *s, const char *name, const char *value,
                      const char *expected, struct error *e)
{
    char sql[96], is[32];
    snprintf(sql, sizeof sql, "PRAGMA %s = %s", name, value);
    int rc = exec(s, sql, e);
    if (rc)
        return rc;
    snprintf(sql, sizeof sql, "PRAGMA %s", name);
    rc = read_value(s, sql, is, sizeof is, e);
    if (rc == 0 && strcmp(is, expected) != 0)
        rc = error_set(e, ERR_IO, "%s: PRAGMA %s is %s where %s is needed", s->path, name, is,
                       expected);
    return rc;
}

/* Opening */

/* Going over to WAL needs the file alone for a moment, and SQLite does not wait for that when
 * two processes open a new database at once. */
static int set_wal(struct sqlite_db *s, struct error *e)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000000};
    int rc = ERR_BUSY;
    for (int waited_ms = 0; rc == ERR_BUSY && waited_ms < WAL_WAIT_MS; waited_ms += 10) {
        if (waited_ms > 0)
            nanosleep(&pause, NULL);
        rc = set_pragma(s, "journal_mode", "WAL", "wal", e);
    }
    return rc;
}

static int set_synchronous(struct sqlite_db *s, int level, struct error *e)
{
    if (s->synchronous == level)
        return 0;
    s->synchronous = 0;
    int rc = set_pragma(s, "synchronous", level == SYNC_FULL ? "FULL" : "NORMAL",
                        level == SYNC_FULL ? "2" : "1", e);
    if (rc == 0)
        s->synchronous = level;
    return rc;
}

/* SQL in double quotes that is no name is an error here, as it is on PostgreSQL. */
static int set_safe(struct sqlite_db *s, struct error *e)
{
    static const struct {
        int what, value;
    } settings[] = {
        {SQLITE_DBCONFIG_DEFENSIVE, 1}, {SQLITE_DBCONFIG_DQS_DML, 0}, {SQLITE_DBCONFIG_DQS_DDL, 0}};
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        int is = -1;
        if (sqlite3_db_config(s->handle, settings[i].what, settings[i].value, &is) != SQLITE_OK ||
            is != settings[i].value)
            return failed(s, "setting what is allowed", e);
    }
    return 0;
}

static int make_folder(const char *path, struct error *e)
{
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return 0;
    char *dir = mem_strndup(path, (size_t)(slash - path));
    int rc = 0;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        rc = error_set(e, ERR_IO, "%s: %s", dir, strerror(errno));
    free(dir);
    return rc;
}

/* SQLite gives its -wal and -shm files the mode of the database. */
static int make_file(const char *path, struct error *e)
{
    int rc = make_folder(path, e);
    if (rc)
        return rc;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || fchmod(fd, 0600) != 0)
        rc = error_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

static int open_handle(struct sqlite_db *s, struct error *e)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int rc = 0;
    if (sqlite3_open_v2(s->path, &s->handle, flags, fault_vfs()) != SQLITE_OK)
        rc = failed(s, "opening", e);
    if (rc == 0 && sqlite3_busy_timeout(s->handle, s->db.wait_ms) != SQLITE_OK)
        rc = failed(s, "setting the time to wait for a lock", e);
    if (rc == 0)
        rc = set_safe(s, e);
    if (rc == 0)
        rc = set_wal(s, e);
    if (rc == 0)
        rc = set_synchronous(s, SYNC_FULL, e);
    if (rc == 0)
        rc = set_pragma(s, "foreign_keys", "ON", "1", e);
    if (rc == 0)
        rc = set_pragma(s, "trusted_schema", "OFF", "0", e);
    if (rc == 0)
        rc = set_pragma(s, "wal_autocheckpoint", LOG_PAGES, LOG_PAGES, e);
    if (rc == 0) /* a log that grew once does not stay so large */
        rc = set_pragma(s, "journal_size_limit", "67108864", "67108864", e);
    return rc;
}

/* "./" before a relative path, so that no name means something else to SQLite (":memory:"). */
static void read_url(struct sqlite_db *s)
{
    const char *path = s->db.url + strlen("sqlite:");
    size_t bytes = strlen(path) + sizeof "./";
    s->path = mem_alloc(bytes);
    snprintf(s->path, bytes, "%s%s", *path == '/' ? "" : "./", path);
    s->db.name = mem_strdup(path);
}

static void shut_sqlite(struct db *d)
{
    struct sqlite_db *s = own(d);
    sqlite3_close(s->handle);
    s->handle = NULL;
    s->synchronous = 0;
}

static int open_sqlite(struct db *d, bool create, struct error *e)
{
    struct sqlite_db *s = own(d);
    if (!s->path)
        read_url(s);
    int rc = 0;
    if (!*d->name)
        rc = error_set(e, ERR_INVALID, "the store's address sqlite: names no file");
    else if (create)
        rc = make_file(s->path, e);
    else if (access(s->path, F_OK) != 0)
        rc = error_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", s->path,
                       strerror(errno));
    return rc ? rc : open_handle(s, e);
}

static void free_sqlite(struct db *d)
{
    free(own(d)->path);
}

static void set_wait_sqlite(struct db *d)
{
    sqlite3_busy_timeout(own(d)->handle, d->wait_ms);
}

/* Transactions */

/* Is the file that is open still the one of that name? */
static int check_place(struct sqlite_db *s, struct error *e)
{
    int moved = 0;
    if (sqlite3_file_control(s->handle, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
        !moved)
        return 0;
    s->db.good = false;
    return error_set(e, ERR_IO, "%s: the file was deleted or replaced", s->path);
}

static int begin_sqlite(struct db *d, enum db_mode mode, struct error *e)
{
    struct sqlite_db *s = own(d);
    int rc = check_place(s, e);
    if (rc == 0 && mode != DB_READ)
        rc = set_synchronous(s, mode == DB_WRITE && d->durable ? SYNC_FULL : SYNC_NORMAL, e);
    return rc ? rc : exec(s, mode == DB_READ ? "BEGIN" : "BEGIN IMMEDIATE", e);
}

static int commit_sqlite(struct db *d, struct error *e)
{
    return exec(own(d), "COMMIT", e);
}

/* Some errors end the transaction themselves. One that cannot be undone ends the handle, whose
 * closing undoes it. */
static void rollback_sqlite(struct db *d)
{
    struct sqlite_db *s = own(d);
    if (s->handle && !sqlite3_get_autocommit(s->handle) && exec(s, "ROLLBACK", NULL) != 0)
        d->good = false;
}

/* Statements */

static void forget_sqlite(struct db *d, struct db_statement *st)
{
    (void)d;
    sqlite3_finalize(st->handle);
}

/* The text as SQLite takes it: with its words, without a FOR UPDATE at its end. */
static char *own_text(const char *sql)
{
    static const char locks[] = " FOR UPDATE";
    char *text = db_words(&db_sqlite, sql);
    size_t len = strlen(text), tail = sizeof locks - 1;
    if (len > tail && strcmp(text + len - tail, locks) == 0)
        text[len - tail] = '\0';
    return text;
}

/* "$2" is a name to SQLite, which numbers parameters as they come. */
static int read_parameters(struct sqlite_db *s, struct db_statement *st, struct error *e)
{
    int n = sqlite3_bind_parameter_count(st->handle);
    st->argument = mem_zalloc(n > 0 ? (size_t)n : 1);
    for (int i = 0; i < n; i++) {
        const char *name = sqlite3_bind_parameter_name(st->handle, i + 1);
        long number = name && *name == '$' ? strtol(name + 1, NULL, 10) : 0;
        if (number < 1 || number > DB_ARGS_MAX)
            return error_set(e, ERR_INTERNAL, "%s: %.60s: parameters are $1 to $%d", s->path,
                             st->sql, DB_ARGS_MAX);
        st->argument[i] = (uint8_t)(number - 1);
    }
    return 0;
}

static int prepare(struct sqlite_db *s, const char *sql, struct db_statement **out, struct error *e)
{
    struct db_statement *st = *out = db_statement(&s->db, sql);
    int rc = 0;
    if (!st->handle) {
        char *text = own_text(sql);
        if (sqlite3_prepare_v3(s->handle, text, -1, SQLITE_PREPARE_PERSISTENT,
                               (sqlite3_stmt **)&st->handle, NULL) != SQLITE_OK)
            rc = failed(s, sql, e);
        free(text);
    }
    if (rc == 0 && !st->argument)
        rc = read_parameters(s, st, e);
    return rc;
}

static int bind(struct sqlite_db *s, const struct db_statement *st, const struct db_query *q,
                struct error *e)
{
    int n = sqlite3_bind_parameter_count(st->handle), rc = SQLITE_OK;
    for (int i = 0; i < n && rc == SQLITE_OK; i++) {
        const struct db_value *v = &q->args[st->argument[i]];
        if (st->argument[i] >= q->n_args)
            return error_set(e, ERR_INTERNAL, "%s: %.60s: $%d has no argument", s->path, q->sql,
                             st->argument[i] + 1);
        if (v->kind == DB_INT)
            rc = sqlite3_bind_int64(st->handle, i + 1, v->number);
        else if (v->kind == DB_TEXT)
            rc = sqlite3_bind_text(st->handle, i + 1, v->text, -1, SQLITE_STATIC);
        else
            rc = sqlite3_bind_null(st->handle, i + 1);
    }
    return rc == SQLITE_OK ? 0 : failed(s, q->sql, e);
}

static void read_row(sqlite3_stmt *st, struct db_rows *r)
{
    db_add_row(r);
    for (size_t i = 0; i < r->columns; i++) {
        const char *text = (const char *)sqlite3_column_text(st, (int)i);
        if (text)
            db_set_cell(r, i, text, (size_t)sqlite3_column_bytes(st, (int)i));
    }
}

static int step(struct sqlite_db *s, sqlite3_stmt *st, struct db_query *q, struct error *e)
{
    int rc;
    db_start_rows(&q->rows, (size_t)sqlite3_column_count(st));
    q->changed = 0;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        read_row(st, &q->rows);
        if (db_too_large(&q->rows))
            return error_set(e, ERR_LIMIT, "%s: %.60s: the answer is too large", s->path, q->sql);
    }
    if (rc != SQLITE_DONE)
        return failed(s, q->sql, e);
    if (!sqlite3_stmt_readonly(st))
        q->changed = sqlite3_changes64(s->handle);
    return 0;
}

static int run_query(struct sqlite_db *s, struct db_query *q, struct error *e)
{
    struct db_statement *st;
    int rc = prepare(s, q->sql, &st, e);
    if (rc)
        return rc;
    rc = bind(s, st, q, e);
    if (rc == 0)
        rc = step(s, st->handle, q, e);
    sqlite3_reset(st->handle);
    sqlite3_clear_bindings(st->handle);
    return rc;
}

static int run_sqlite(struct db *d, struct db_query *list, size_t n, struct error *e)
{
    struct sqlite_db *s = own(d);
    int rc = 0;
    if (!d->inside)
        rc = check_place(s, e);
    if (rc == 0 && !d->inside)
        rc = set_synchronous(s, d->durable ? SYNC_FULL : SYNC_NORMAL, e);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = run_query(s, &list[i], e);
    return rc;
}

static int script_sqlite(struct db *d, const char *sql, struct error *e)
{
    return exec(own(d), sql, e);
}

/* The schema's version */

static int version_sqlite(struct db *d, int *version, struct error *e)
{
    char text[32];
    int rc = read_value(own(d), "PRAGMA user_version", text, sizeof text, e);
    if (rc == 0)
        *version = (int)strtol(text, NULL, 10);
    return rc;
}

static int set_version_sqlite(struct db *d, int version, struct error *e)
{
    char value[16];
    snprintf(value, sizeof value, "%d", version);
    return set_pragma(own(d), "user_version", value, value, e);
}

/* BEGIN IMMEDIATE holds all other writers off. */
static int lock_schema_sqlite(struct db *d, struct error *e)
{
    (void)e;
    assert(d->mode != DB_READ);
    return 0;
}

/* Copies */

/* In one step: SQLite reads one state of the file, and writers go on beside it. */
static int copy_pages(struct sqlite_db *s, sqlite3 *to, const char *path, struct error *e)
{
    sqlite3_backup *b = sqlite3_backup_init(to, "main", s->handle, "main");
    int rc = b ? sqlite3_backup_step(b, -1) : sqlite3_extended_errcode(to);
    int end = b ? sqlite3_backup_finish(b) : rc;
    if (rc == SQLITE_DONE && end == SQLITE_OK)
        return 0;
    return error_set(e, code_of(end), "%s: copying %s: %s", path, s->path, sqlite3_errmsg(to));
}

static int copy_file_sqlite(struct db *d, const char *path, struct error *e)
{
    sqlite3 *to = NULL;
    int rc = check_place(own(d), e);
    if (rc)
        return rc;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(e, errno == EEXIST ? ERR_EXISTS : ERR_IO, "%s: %s", path, strerror(errno));
    if (sqlite3_open_v2(path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        rc = error_set(e, ERR_IO, "%s: %s", path, to ? sqlite3_errmsg(to) : "cannot be opened");
    if (rc == 0)
        rc = copy_pages(own(d), to, path, e);
    if (sqlite3_close(to) != SQLITE_OK && rc == 0)
        rc = error_set(e, ERR_IO, "%s: cannot be closed", path);
    if (rc == 0 && fsync(fd) != 0)
        rc = error_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    close(fd);
    if (rc)
        unlink(path);
    return rc;
}

const struct db_driver db_sqlite = {
    .kind = DB_SQLITE,
    .handle_bytes = sizeof(struct sqlite_db),
    .id_type = "INTEGER PRIMARY KEY AUTOINCREMENT",
    .int_type = "INTEGER",
    .strict = " STRICT",
    .open = open_sqlite,
    .shut = shut_sqlite,
    .free = free_sqlite,
    .forget = forget_sqlite,
    .begin = begin_sqlite,
    .commit = commit_sqlite,
    .rollback = rollback_sqlite,
    .run = run_sqlite,
    .script = script_sqlite,
    .version = version_sqlite,
    .set_version = set_version_sqlite,
    .lock_schema = lock_schema_sqlite,
    .copy_file = copy_file_sqlite,
    .set_wait = set_wait_sqlite,
};
