/*
 * What must outlive the process: keys now; accounts, quota and the ledger have their place here
 * later. The only SQL. SQLite: WAL, synchronous=FULL, immediate transactions; numbered
 * migrations run at opening, a newer schema than this program knows stops it.
 *
 * struct store is used by one thread at a time and blocks: the command line uses it directly,
 * the server through struct store_writer, whose thread owns the handle and answers through a
 * mailbox that the loop watches.
 */
#ifndef MOONGATE_STORE_STORE_H
#define MOONGATE_STORE_STORE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;

enum { STORE_HASH_BYTES = 32, STORE_NAME_BYTES = 128, STORE_MODELS_BYTES = 1024 };

struct store_key {
    int64_t id;
    char name[STORE_NAME_BYTES];
    char prefix[16];                                     /* what is shown of the key: "mg-1a2b3c" */
    char models[STORE_MODELS_BYTES];                     /* comma-separated names, empty: all */
    int64_t created_ms, expires_ms, revoked_ms, used_ms; /* Unix; 0: never */
    bool disabled;
};

/* Opens data_dir/moongate.db (data_dir is made, mode 0700, if it is missing). */
int store_open(const char *data_dir, struct store **out, struct error *e);
void store_close(struct store *s);

int store_key_add(struct store *s, const uint8_t hash[STORE_HASH_BYTES],
                  const struct store_key *key, int64_t *id, struct error *e);
/* Calls fn for each key, oldest first. */
int store_key_each(struct store *s, void (*fn)(void *arg, const struct store_key *key), void *arg,
                   struct error *e);
/* By the number or the exact name; a name that fits several is ERR_INVALID and says so. */
int store_key_revoke(struct store *s, const char *id_or_name, int64_t now_ms, struct store_key *out,
                     struct error *e);
int store_key_find(struct store *s, const uint8_t hash[STORE_HASH_BYTES], struct store_key *out,
                   struct error *e); /* ERR_NOT_FOUND */
/* Last use; kept to the minute, so that a busy key is not a write a call. */
int store_key_used(struct store *s, int64_t id, int64_t now_ms, struct error *e);

/* The writer thread. */
struct store_writer;

struct store_answer {
    uint64_t number; /* as given to the request */
    uint8_t hash[STORE_HASH_BYTES];
    int64_t read_ms; /* monotonic, before the database was asked */
    int code;        /* 0, ERR_NOT_FOUND, ERR_IO ... */
    struct store_key key;
    char text[160]; /* why, if code is not 0 */
};

/* Takes the store over. Answers come in a mailbox of struct store_answer. */
struct mailbox;
int store_writer_open(struct store *s, size_t queue, struct store_writer **out, struct error *e);
void store_writer_close(struct store_writer *w); /* finishes what waits, closes the store */
struct mailbox *store_writer_answers(struct store_writer *w); /* borrowed */
/* Looks a key up and, if it is good, notes its use. ERR_BUSY if the queue is full. */
int store_writer_find_key(struct store_writer *w, uint64_t number,
                          const uint8_t hash[STORE_HASH_BYTES]);

#endif
