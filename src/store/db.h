/*
 * One face for the two databases. Private to the room: all SQL of the program is written against
 * this, once, and runs on SQLite and on PostgreSQL.
 *
 * The SQL is what both understand (SQLite 3.40, PostgreSQL 15): INSERT ... ON CONFLICT,
 * RETURNING, CASE, LIMIT/OFFSET; parameters are $1, $2, ... Values are 64-bit integers and texts;
 * times are Unix milliseconds, money micro-USD, hashes lower-case hex, flags 0 and 1. What only
 * one of them has is told in words that a driver turns into its own:
 *
 *   {id}      an integer primary key that the database counts up
 *   {int}     a 64-bit integer
 *   {strict}  after a table's closing bracket: types are checked
 *   FOR UPDATE at the very end of a SELECT: locks the rows. SQLite has one writer anyway, so its
 *             driver cuts it off
 *
 * A struct db is used by one thread at a time and blocks. A transaction is
 * begin, run..., commit or rollback. A failure inside one leaves nothing but the rollback.
 */
#ifndef MOONGATE_STORE_DB_H
#define MOONGATE_STORE_DB_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum db_kind { DB_SQLITE, DB_POSTGRES };

enum db_mode {
    DB_READ,  /* a consistent view; nothing is written */
    DB_WRITE, /* on disk when commit returns */
    DB_LOOSE  /* written, but a power cut may lose it with all that came after it */
};

enum { DB_ARGS_MAX = 40 };

struct db;

struct db_value {
    enum { DB_NULL, DB_INT, DB_TEXT } kind;
    int64_t number;
    const char *text; /* UTF-8 without NUL; borrowed until the query has run */
};

/* The rows of an answer: texts in one block. */
struct db_rows {
    size_t n, columns;
    char **cells; /* row after row; NULL is SQL's NULL */
    struct arena *arena;
};

struct db_query {
    const char *sql;
    struct db_value args[DB_ARGS_MAX];
    int n_args;
    /* The answer: */
    struct db_rows rows;
    int64_t changed; /* rows inserted, updated or deleted */
};

/* "sqlite:PATH" or "postgres://..." (anything libpq takes: "postgresql:" as well). SQLite: the
 * file is made, mode 0600, if `create`; WAL, synchronous, foreign keys, trusted_schema are set
 * and read back. No schema is looked at. ERR_UNSUPPORTED: no such kind. */
int db_open(const char *url, bool create, struct db **out, struct error *e);
void db_close(struct db *d); /* accepts NULL; rolls back */
enum db_kind db_kind(const struct db *d);
const char *db_name(const struct db *d); /* for people: the path or host/database; no password */
/* After a failure: a new connection. Never makes a file that is gone. */
int db_reopen(struct db *d, struct error *e);
bool db_is_good(const struct db *d);    /* false: the connection is lost, db_reopen is the way on */
void db_set_wait(struct db *d, int ms); /* how long a statement waits for another's lock */
/* false: commits of DB_WRITE are as loose as those of DB_LOOSE. */
void db_set_durable(struct db *d, bool durable);

int db_begin(struct db *d, enum db_mode mode, struct error *e);
/* ERR_IO: whether it was written is not known, if the connection broke. */
int db_commit(struct db *d, struct error *e);
void db_rollback(struct db *d); /* harmless outside a transaction */

/* Runs the queries in order (PostgreSQL: in one pipeline) and fills their answers; stops at the
 * first that fails. Outside a transaction each is its own. Statements are prepared once and found
 * again by their text. ERR_EXISTS: a row is already there; ERR_BUSY: try the transaction again
 * (a lock, a deadlock); ERR_IO: the rest (away, disk full). */
int db_run(struct db *d, struct db_query *list, size_t n, struct error *e);
/* Frees the answers of n queries and empties them for the next use (sql, n_args, rows). */
void db_done(struct db_query *list, size_t n);
/* Several statements without parameters, separated by ;. For schemas. */
int db_script(struct db *d, const char *sql, struct error *e);
/* The version of the schema, 0 of an empty database. Inside a transaction that migrates,
 * db_lock_schema holds others off until its end. */
int db_version(struct db *d, int *version, struct error *e);
int db_set_version(struct db *d, int version, struct error *e);
int db_lock_schema(struct db *d, struct error *e);
/* A consistent copy of a SQLite database while others use it. */
int db_copy_file(struct db *d, const char *path, struct error *e);

/* Building a query: db_sql(&q, "..."), then the arguments in order. */
void db_sql(struct db_query *q, const char *sql);
void db_arg(struct db_query *q, int64_t n);
void db_arg_text(struct db_query *q, const char *text); /* NULL: SQL's NULL */
/* One query, built before: run, and told apart. */
int db_run_one(struct db *d, struct db_query *q, struct error *e);

/* Reading an answer. Out of range is a fault of the program; NULL reads as 0 and "". */
int64_t db_int(const struct db_rows *r, size_t row, size_t column);
const char *db_text(const struct db_rows *r, size_t row, size_t column); /* until db_done */
bool db_null(const struct db_rows *r, size_t row, size_t column);
void db_copy(const struct db_rows *r, size_t row, size_t column, char *out, size_t out_bytes);

#endif
