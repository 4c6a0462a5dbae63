/*
 * How a command finds the store: --store, else the configuration's store.url (which the
 * environment's MOONGATE_STORE_URL may be), else moongate.db in --data or the configuration's
 * folder. Main thread.
 */
#ifndef MOONGATE_COMMAND_OPEN_H
#define MOONGATE_COMMAND_OPEN_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct store;

struct command_place {
    const char *data, *config, *store; /* options of the command line; NULL: not given */
};

#define COMMAND_PLACE_HELP                                                                         \
    "  --data DIR      the folder of the database (default: `data` of the configuration)\n"        \
    "  --store URL     sqlite:FILE or postgres://... (default: `store.url`, else in the folder)\n" \
    "  --config FILE   the configuration (default: moongate.yaml here, if there is one)\n"

/* `create`: a database that is not there is made; else it is ERR_NOT_FOUND. An older schema is
 * migrated. */
int command_open_store(const struct command_place *p, bool create, struct store **out,
                       struct error *e);
/* The address alone; the caller frees it. It may hold a password. */
int command_store_url(const struct command_place *p, char **out, struct error *e);

/* "1.50" to 1500000; digit by digit, at most six decimals, not negative. */
int command_read_usd(const char *option, const char *text, int64_t *micros, struct error *e);
/* "30d", "12h", "90m", "45s" from now on. */
int command_read_expiry(const char *option, const char *text, int64_t now_ms, int64_t *out,
                        struct error *e);

#endif
