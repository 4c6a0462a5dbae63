/*
 * Passwords: what is good enough for one, and their hashes (argon2id), made and compared on a
 * thread of their own, for each costs some tens of milliseconds and 64 MiB.
 *
 * An address that nobody has costs the same as one with a wrong password: it is compared with the
 * hash of a password that nobody knows. The queue is bounded, and what it holds is wiped after
 * use and kept out of core dumps. The event loop's thread, except password_check, which is pure.
 */
#ifndef MOONGATE_CONSOLE_PASSWORD_H
#define MOONGATE_CONSOLE_PASSWORD_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PASSWORD_MIN_CHARS = 10,
    PASSWORD_MAX_BYTES = 1024,
    PASSWORD_HASH_BYTES = 128,
    PASSWORD_ONE_TIME_CHARS = 24
};

/* Is it fit to be set? Not shorter than PASSWORD_MIN_CHARS characters, not the address or its
 * beginning, none of the commonest. The error's text is for whoever chose it and does not hold
 * it. `address` may be NULL. */
int password_check(const char *password, const char *address, struct error *e);
/* A password for the first log-in, from an alphabet without look-alikes; over 110 bits. */
void password_make(char out[PASSWORD_ONE_TIME_CHARS + 1]);
/* The hash, here and now: for the command line and the first start, which have no loop. */
int password_hash_now(const char *password, char out[PASSWORD_HASH_BYTES], struct error *e);

enum password_what { PASSWORD_HASH, PASSWORD_VERIFY };

struct password_answer {
    uint64_t number;
    enum password_what what;
    int code;                       /* 0; ERR_DENIED: it is another; ERR_LIMIT: no memory */
    bool outdated;                  /* right, but its hash is of another cost: hash it anew */
    char hash[PASSWORD_HASH_BYTES]; /* of PASSWORD_HASH */
};

typedef void password_fn(void *arg, const struct password_answer *answer);

struct password_cost { /* all zero: libsodium's interactive cost */
    uint64_t operations;
    size_t memory_bytes;
};

struct passwords;
struct event_base;

/* `queue`: how many may wait. */
int passwords_open(struct event_base *base, size_t queue, struct password_cost cost,
                   password_fn *fn, void *arg, struct passwords **out, struct error *e);
void passwords_close(struct passwords *p); /* accepts NULL; what waits is wiped, unanswered */

/* 0: fn comes once, from the loop. ERR_BUSY: too many wait. ERR_LIMIT: it is longer than
 * PASSWORD_MAX_BYTES. */
int passwords_hash(struct passwords *p, uint64_t number, const char *password);
/* `hash` NULL: the address is unknown; the answer is ERR_DENIED after the same work. A password
 * that is too long is denied in the same way. */
int passwords_verify(struct passwords *p, uint64_t number, const char *password, const char *hash);

#endif
