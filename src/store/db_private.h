/*
 * What the two drivers share with db.c: the handle, the table of a driver's functions, the cache
 * of prepared statements, and the rows of an answer. Private to the room.
 */
#ifndef MOONGATE_STORE_DB_PRIVATE_H
#define MOONGATE_STORE_DB_PRIVATE_H

#include "store/db.h"

enum {
    DB_STATEMENTS = 256, /* kept prepared; the one that was not used for longest goes first */
    DB_BUCKETS = 512,    /* a power of two */
    DB_SEEN = 256,       /* a power of two */
    DB_ANSWER_BYTES = 256 << 20
};

/* A prepared statement. Its slot's number is its name on PostgreSQL. */
struct db_statement {
    char *sql; /* as the caller wrote it; NULL: the slot is free */
    uint64_t hash;
    void *handle;      /* the driver's; NULL: not prepared yet */
    bool on_server;    /* PostgreSQL: a statement of this slot's name is there */
    uint8_t *argument; /* SQLite: which argument parameter i + 1 takes */
    struct db_statement *bucket_next, *newer, *older;
};

struct db_driver {
    enum db_kind kind;
    size_t handle_bytes; /* a struct that begins with struct db */
    const char *id_type, *int_type, *strict;
    int (*open)(struct db *d, bool create, struct error *e); /* also again, after `shut` */
    void (*shut)(struct db *d); /* the connection; statements were forgotten before */
    void (*free)(struct db *d); /* what `shut` leaves; may be NULL */
    void (*forget)(struct db *d, struct db_statement *s); /* frees s->handle; may be NULL */
    int (*begin)(struct db *d, enum db_mode mode, struct error *e);
    int (*commit)(struct db *d, struct error *e);
    void (*rollback)(struct db *d);
    int (*run)(struct db *d, struct db_query *list, size_t n, struct error *e);
    int (*script)(struct db *d, const char *sql, struct error *e); /* words are replaced */
    int (*version)(struct db *d, int *version, struct error *e);
    int (*set_version)(struct db *d, int version, struct error *e);
    int (*lock_schema)(struct db *d, struct error *e);
    int (*copy_file)(struct db *d, const char *path, struct error *e);
    void (*set_wait)(struct db *d);
};

extern const struct db_driver db_sqlite, db_postgres;

struct db {
    const struct db_driver *driver;
    char *url;  /* may hold a password: never shown */
    char *name; /* for people */
    int wait_ms;
    bool durable;
    bool good;   /* the connection can be used */
    bool inside; /* a transaction */
    bool failed; /* in it: nothing but the rollback is left */
    enum db_mode mode;
    struct db_statement statements[DB_STATEMENTS];
    struct db_statement *buckets[DB_BUCKETS], *newest, *oldest;
    struct db_statement *seen[DB_SEEN]; /* the last one found for an address; it may be another's */
};

/* The statement of this text, made the newest; a new one has no handle. Never NULL. */
struct db_statement *db_statement(struct db *d, const char *sql);
void db_forget_all(struct db *d);
/* The text with {id}, {int} and {strict} in the driver's words; the caller frees it. */
char *db_words(const struct db_driver *v, const char *sql);

/* Rows: db_add_row, then its cells in order. */
void db_start_rows(struct db_rows *r, size_t columns);
void db_add_row(struct db_rows *r);
void db_set_cell(struct db_rows *r, size_t column, const char *text, size_t len);
bool db_too_large(const struct db_rows *r);

#endif
