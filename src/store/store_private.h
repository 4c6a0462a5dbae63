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
    bool wrong;                     /* what came back is not of this program's schema */
    int64_t days[STORE_DAYS_KNOWN]; /* whose tables are there (ledger_days.c); 0: a free place */
};

enum { STORE_BUSY_MS = 5000 }; /* how long a statement waits for another process */

/* What a page may ask for. The caller's array has room for `limit`, so it only gets smaller. */
enum { STORE_PAGE_MAX = 1000, STORE_OFFSET_MAX = 100000000 };
static inline int64_t store_page_limit(int64_t limit)
{
    return limit < 0 ? 0 : limit > STORE_PAGE_MAX ? STORE_PAGE_MAX : limit;
}
static inline int64_t store_page_offset(int64_t offset)
{
    return offset < 0 ? 0 : offset > STORE_OFFSET_MAX ? STORE_OFFSET_MAX : offset;
}

/* What networks had of the free quota on days that are over is forgotten (grants.c); at most
 * `most` a call. */
int store_networks_forget(struct store *s, int64_t now_ms, int64_t most, struct error *e);

/* Brings the database to this program's schema, or says why not (schema.c). */
int schema_open(struct db *d, const struct store_options *o, struct error *e);
int schema_version(void); /* that this program knows */

#endif
