/*
 * What the two files of the PostgreSQL driver share: the pipeline (db_postgres.c) and the
 * connection (db_postgres_open.c). Private to the room.
 */
#ifndef MOONGATE_STORE_DB_POSTGRES_PRIVATE_H
#define MOONGATE_STORE_DB_POSTGRES_PRIVATE_H

#include "store/db_private.h"

#include <libpq-fe.h>

enum {
    POSTGRES_PIPELINE = 100,                     /* queries: fewer than statements are kept */
    POSTGRES_STEPS = 3 * POSTGRES_PIPELINE + 16, /* with what is sent for them */
    POSTGRES_LEAST = 150000                      /* the server's version */
};

enum step_kind {
    STEP_SETTINGS,
    STEP_BEGIN,
    STEP_PLAIN,
    STEP_DEALLOCATE,
    STEP_PREPARE,
    STEP_QUERY,
    STEP_SYNC
};

/* Something that was sent and is answered by itself. */
struct step {
    enum step_kind kind;
    struct db_query *query;
    struct db_statement *statement;
};

struct postgres_db {
    struct db db;
    PGconn *conn;
    char *password;       /* of the address, to keep it out of texts; NULL: it has none */
    char synchronous[16]; /* synchronous_commit of a durable commit */
    bool begun;           /* BEGIN was sent */
    bool patient;         /* no deadline: a migration */
    int wait_ms, next_wait_ms;
    bool loose, next_loose; /* what the session is set to, and what goes with this pipeline */
    bool seeks, next_seeks; /* plans do not read whole tables */
    struct step steps[POSTGRES_STEPS];
    size_t n_steps;
};

static inline struct postgres_db *postgres_of(struct db *d)
{
    return (struct postgres_db *)d;
}

int postgres_open(struct db *d, bool create, struct error *e);
void postgres_shut(struct db *d);
void postgres_free(struct db *d);
/* libpq's text on one line, without the password. */
void postgres_clean(const struct postgres_db *p, const char *text, char *out, size_t out_bytes);

#endif
