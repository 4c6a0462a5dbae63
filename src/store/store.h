/*
 * What must outlive the process. The only SQL of the program is in this room; it runs on SQLite
 * (one process serves, commands beside it) and PostgreSQL (several processes serve).
 *
 * struct store is one connection, used by one thread at a time, and blocks: the command line uses
 * it directly; the server through struct store_threads (threads.h), which owns two of them and
 * answers through mailboxes that the loop watches.
 *
 * What it holds: keys.h, accounts.h, sessions.h, applications.h, grants.h, ledger.h, usage.h. The
 * functions there take the store and run inside the caller's transaction (store_begin,
 * store_commit), or alone: then each statement is one.
 */
#ifndef MOONGATE_STORE_STORE_H
#define MOONGATE_STORE_STORE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;

enum {
    STORE_HASH_BYTES = 32,
    STORE_HEX_BYTES = 65, /* of a hash, with its NUL */
    STORE_NAME_BYTES = 128,
    STORE_MODELS_BYTES = 1024,
    STORE_NETWORKS_BYTES = 512,
    STORE_EMAIL_BYTES = 255,
    STORE_TRACE_BYTES = 37
};

struct store_options {
    bool create;  /* SQLite: a database that is not there is made */
    bool migrate; /* brings an older schema to this program's; else it is ERR_UNSUPPORTED */
    bool durable; /* synchronous commits */
    /* A migration that takes longer tells of itself; may be NULL. */
    void (*progress)(void *arg, const char *what, int percent);
    void *progress_arg;
};

/* The store's address: what the configuration says, or "sqlite:DATA_DIR/moongate.db" where `url`
 * is empty. The caller frees it. */
char *store_url(const char *url, const char *data_dir);
int store_open_url(const char *url, const struct store_options *o, struct store **out,
                   struct error *e);
/* DATA_DIR/moongate.db, made and migrated: for tests and commands. */
int store_open(const char *data_dir, struct store **out, struct error *e);
void store_close(struct store *s);             /* accepts NULL */
const char *store_name(const struct store *s); /* for people; holds no password */
bool store_is_shared(const struct store *s);   /* other processes may serve from it, too */
int store_reopen(struct store *s, struct error *e);
bool store_is_good(const struct store *s);
void store_set_wait(struct store *s, int ms);

enum store_mode { STORE_READ, STORE_WRITE, STORE_LOOSE }; /* as enum db_mode */
int store_begin(struct store *s, enum store_mode mode, struct error *e);
int store_commit(struct store *s, struct error *e);
void store_rollback(struct store *s);

void store_hex(const uint8_t hash[STORE_HASH_BYTES], char out[STORE_HEX_BYTES]);

#endif
