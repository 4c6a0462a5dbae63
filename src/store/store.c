/*
 * Opens the database and brings it to this program's schema.
 *
 * The handle has no mutex of its own (SQLITE_OPEN_NOMUTEX): one thread at a time uses it. Other
 * processes may use the database at the same time (`moongate key create` beside a server), so
 * everything waits for a lock up to STORE_BUSY_MS. What a pragma sets is read back, because
 * SQLite is silent about one that it did not take.
 */
#include "store/store_private.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Row n brings version n to n + 1. A row that was released is never changed. */
static const char *const migrations[] = {
    "CREATE TABLE keys ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),"
    "  name TEXT NOT NULL,"
    "  prefix TEXT NOT NULL,"
    "  models TEXT NOT NULL," /* comma-separated, empty: all */
    "  created_ms INTEGER NOT NULL,"
    "  expires_ms INTEGER NOT NULL," /* times are Unix milliseconds, 0: never */
    "  revoked_ms INTEGER NOT NULL DEFAULT 0,"
    "  used_ms INTEGER NOT NULL DEFAULT 0,"
    "  disabled INTEGER NOT NULL DEFAULT 0"
    ") STRICT;"
    "CREATE INDEX keys_name ON keys (name);",
};
enum { SCHEMA_VERSION = sizeof migrations / sizeof migrations[0] };

int store_failed(struct store *s, const char *doing, struct error *e)
{
    int rc = s->db ? sqlite3_extended_errcode(s->db) : SQLITE_CANTOPEN;
    const char *why = s->db ? sqlite3_errmsg(s->db) : "the database is not open";
    int code = ERR_IO;
    if ((rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED)
        code = ERR_BUSY;
    else if (rc == SQLITE_CONSTRAINT_UNIQUE)
        code = ERR_EXISTS;
    return error_set(e, code, "%s: %.60s: %s", s->path, doing, why);
}

int store_exec(struct store *s, const char *sql, struct error *e)
{
    if (!s->db || sqlite3_exec(s->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return store_failed(s, sql, e);
    return 0;
}

int store_statement(struct store *s, enum store_statement id, const char *sql, sqlite3_stmt **out,
                    struct error *e)
{
    sqlite3_stmt **slot = &s->statements[id];
    if (!s->db || (!*slot && sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, slot,
                                                NULL) != SQLITE_OK))
        return store_failed(s, "preparing a statement", e);
    sqlite3_reset(*slot);
    sqlite3_clear_bindings(*slot);
    *out = *slot;
    return 0;
}

/* Runs `sql`, whose answer is one value. */
static int read_value(struct store *s, const char *sql, char *out, size_t out_bytes,
                      struct error *e)
{
    sqlite3_stmt *q = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(q);
    const char *value = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(q, 0) : NULL;
    snprintf(out, out_bytes, "%s", value ? value : "");
    int code = rc == SQLITE_ROW ? 0 : store_failed(s, sql, e);
    sqlite3_finalize(q);
    return code;
}

static int set_pragma(struct store *s, const char *name, const char *value, const char *expected,
                      struct error *e)
{
    char sql[96], is[32];
    snprintf(sql, sizeof sql, "PRAGMA %s = %s", name, value);
    int rc = store_exec(s, sql, e);
    if (rc)
        return rc;
    snprintf(sql, sizeof sql, "PRAGMA %s", name);
    rc = read_value(s, sql, is, sizeof is, e);
    if (rc == 0 && strcmp(is, expected) != 0)
        rc = error_set(e, ERR_IO, "%s: PRAGMA %s is %s where %s is needed", s->path, name, is,
                       expected);
    return rc;
}

/* Going over to WAL needs the file alone for a moment, and SQLite does not wait for that when
 * two processes open a new database at once. */
static int set_wal(struct store *s, struct error *e)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000000};
    int rc = ERR_BUSY;
    for (int waited_ms = 0; rc == ERR_BUSY && waited_ms < STORE_BUSY_MS; waited_ms += 10) {
        if (waited_ms > 0)
            nanosleep(&pause, NULL);
        rc = set_pragma(s, "journal_mode", "WAL", "wal", e);
    }
    return rc;
}

static int read_version(struct store *s, int *version, struct error *e)
{
    char text[32];
    int rc = read_value(s, "PRAGMA user_version", text, sizeof text, e);
    if (rc)
        return rc;
    *version = (int)strtol(text, NULL, 10);
    if (*version < 0 || *version > SCHEMA_VERSION)
        return error_set(e, ERR_UNSUPPORTED,
                         "%s: has schema %d, this program knows up to %d; run the program that "
                         "wrote it, or a newer one",
                         s->path, *version, SCHEMA_VERSION);
    return 0;
}

static int migrate(struct store *s, struct error *e)
{
    char set_version[48];
    int version, rc = read_version(s, &version, e);
    if (rc || version == SCHEMA_VERSION)
        return rc;
    rc = store_exec(s, "BEGIN IMMEDIATE", e);
    if (rc)
        return rc;
    rc = read_version(s, &version, e); /* another process may have been faster */
    while (rc == 0 && version < SCHEMA_VERSION)
        rc = store_exec(s, migrations[version++], e);
    snprintf(set_version, sizeof set_version, "PRAGMA user_version = %d", SCHEMA_VERSION);
    if (rc == 0)
        rc = store_exec(s, set_version, e);
    if (rc == 0)
        rc = store_exec(s, "COMMIT", e);
    if (rc)
        store_exec(s, "ROLLBACK", NULL);
    return rc;
}

static void close_handle(struct store *s)
{
    for (int i = 0; i < N_STATEMENTS; i++) {
        sqlite3_finalize(s->statements[i]);
        s->statements[i] = NULL;
    }
    sqlite3_close(s->db);
    s->db = NULL;
}

/* SQLite gives its -wal and -shm files the mode of the database. */
static int make_file(const struct store *s, struct error *e)
{
    if (mkdir(s->dir, 0700) != 0 && errno != EEXIST)
        return error_set(e, ERR_IO, "%s: %s", s->dir, strerror(errno));
    int fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || fchmod(fd, 0600) != 0) {
        int rc = error_set(e, ERR_IO, "%s: %s", s->path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    close(fd);
    return 0;
}

static int open_handle(struct store *s, struct error *e)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int rc = 0;
    if (sqlite3_open_v2(s->path, &s->db, flags, NULL) != SQLITE_OK)
        rc = store_failed(s, "opening", e);
    if (rc == 0 && sqlite3_busy_timeout(s->db, STORE_BUSY_MS) != SQLITE_OK)
        rc = store_failed(s, "setting the time to wait for a lock", e);
    if (rc == 0)
        rc = set_wal(s, e);
    if (rc == 0)
        rc = set_pragma(s, "synchronous", "FULL", "2", e);
    if (rc == 0)
        rc = set_pragma(s, "foreign_keys", "ON", "1", e);
    if (rc == 0)
        rc = set_pragma(s, "trusted_schema", "OFF", "0", e);
    if (rc == 0)
        rc = migrate(s, e);
    if (rc)
        close_handle(s);
    return rc;
}

int store_open(const char *data_dir, struct store **out, struct error *e)
{
    struct store *s = mem_zalloc(sizeof *s);
    size_t path_bytes = strlen(data_dir) + sizeof "/moongate.db";
    s->dir = mem_strdup(data_dir);
    s->path = mem_alloc(path_bytes);
    snprintf(s->path, path_bytes, "%s/moongate.db", data_dir);
    int rc = make_file(s, e);
    if (rc == 0)
        rc = open_handle(s, e);
    if (rc) {
        store_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

/* Never makes the file: a database that is gone must not come back without its keys. */
int store_reopen(struct store *s, struct error *e)
{
    close_handle(s);
    return open_handle(s, e);
}

void store_close(struct store *s)
{
    if (!s)
        return;
    close_handle(s);
    free(s->dir);
    free(s->path);
    free(s);
}
