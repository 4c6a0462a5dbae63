/*
 * What the files of the store share. Private to the room.
 */
#ifndef MOONGATE_STORE_STORE_PRIVATE_H
#define MOONGATE_STORE_STORE_PRIVATE_H

#include "store/db.h"
#include "store/store.h"

#include <stdbool.h>

struct store {
    struct db *db;
    char *url;
    bool wrong; /* what came back is not of this program's schema */
};

enum { STORE_BUSY_MS = 5000 }; /* how long a statement waits for another process */

/* Brings the database to this program's schema, or says why not (schema.c). */
int schema_open(struct db *d, const struct store_options *o, struct error *e);
int schema_version(void); /* that this program knows */

#endif
