/*
 * What the files of the store share. Private to the room.
 */
#ifndef MOONGATE_STORE_STORE_PRIVATE_H
#define MOONGATE_STORE_STORE_PRIVATE_H

#include "store/db.h"
#include "store/store.h"

#include <stdbool.h>

enum { STORE_DAYS_KNOWN = 4 };

struct store {
    struct db *db;
    char *url;
    bool wrong; /* what came back is not of this program's schema */
    int64_t days[STORE_DAYS_KNOWN]; /* whose tables are there (ledger_days.c); 0: a free place */
};

enum { STORE_BUSY_MS = 5000 }; /* how long a statement waits for another process */

/* Brings the database to this program's schema, or says why not (schema.c). */
int schema_open(struct db *d, const struct store_options *o, struct error *e);
int schema_version(void); /* that this program knows */

#endif
