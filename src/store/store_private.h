/*
 * What the files of the store share. Private to the room.
 */
#ifndef MOONGATE_STORE_STORE_PRIVATE_H
#define MOONGATE_STORE_STORE_PRIVATE_H

#include "store/store.h"

#include <sqlite3.h>

/* Prepared when they are first needed, kept until the handle is closed. */
enum store_statement {
    STATEMENT_KEY_ADD,
    STATEMENT_KEY_EACH,
    STATEMENT_KEY_FIND,
    STATEMENT_KEY_BY_ID,
    STATEMENT_KEY_BY_NAME,
    STATEMENT_KEY_REVOKE,
    STATEMENT_KEY_USED,
    N_STATEMENTS
};

struct store {
    char *dir, *path; /* the folder; the database in it */
    sqlite3 *db;      /* NULL between a failed reopening and the next */
    sqlite3_stmt *statements[N_STATEMENTS];
};

/* A statement with nothing bound; `sql` is compiled at the first use. Give it back by
 * sqlite3_reset. */
int store_statement(struct store *s, enum store_statement id, const char *sql, sqlite3_stmt **out,
                    struct error *e);
int store_exec(struct store *s, const char *sql, struct error *e);
/* The handle's last failure as a code of ours: ERR_BUSY, ERR_EXISTS or ERR_IO. */
int store_failed(struct store *s, const char *doing, struct error *e);
/* Closes the handle and opens it anew, after a failure that the old one may not get over. */
int store_reopen(struct store *s, struct error *e);

enum { STORE_BUSY_MS = 5000 }; /* how long a statement waits for another process */

#endif
