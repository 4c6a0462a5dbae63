/*
 * Moving a whole store into another, of either kind, and copying one while it serves.
 */
#ifndef MOONGATE_STORE_TRANSFER_H
#define MOONGATE_STORE_TRANSFER_H

#include "store/store.h"

struct store_transfer {
    /* Called after each group of rows; may be NULL. */
    void (*progress)(void *arg, const char *table, int64_t done, int64_t all);
    void *arg;
    /* The answer: */
    int64_t tables, rows;
};

/* Everything of `from` into `to`, in one transaction there: all of it or nothing. `to` must hold
 * nothing but what its migration made; ERR_EXISTS else. What is written to `from` meanwhile is
 * not moved. Afterwards both wait longer for locks than a server would: close them. */
int store_transfer(struct store *from, struct store *to, struct store_transfer *t, struct error *e);

/* A copy of a SQLite database of any schema, mode 0600, under a name of its own until it is whole
 * and on disk; then it takes the place of what `path` was. ERR_UNSUPPORTED: PostgreSQL. */
int store_backup(const char *url, const char *path, struct error *e);

#endif
