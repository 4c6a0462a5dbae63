/*
 * The writer thread: takes operations from a mailbox, works on all that wait in one go, and puts
 * answers into another.
 *
 * A look-up is answered at once; the uses that it leads to are noted after the answers, in one
 * transaction a group. A note is worth little, so it waits for another process only shortly, and
 * one that fails is left to the key's next call, while a look-up never fails because of it.
 * A failure of the database ends the group, and the handle is opened anew before the next one.
 */
#include "store/store_private.h"

#include "base/clock.h"
#include "base/mailbox.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    GROUP_OPERATIONS = 64,
    ANSWERS = 1024,
    NOTE_BUSY_MS = 100,
    NOTE_RETRY_MS = 1000,
    MINUTE_MS = 60000
};

enum operation_kind { OPERATION_FIND_KEY, OPERATION_STOP };

struct operation {
    enum operation_kind kind;
    uint64_t number;
    uint8_t hash[STORE_HASH_BYTES];
};

struct store_writer {
    struct store *store; /* the thread's until it has ended */
    struct mailbox *operations, *answers;
    pthread_t thread;
    atomic_bool closing;
    /* The thread's own: */
    bool broken;                    /* the handle failed */
    int64_t notes_after_ms;         /* a note failed: the next one not before, monotonic */
    int64_t used[GROUP_OPERATIONS]; /* keys whose use this group notes */
    size_t n_used;
};

static void answer(struct store_writer *w, const struct store_answer *a)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    while (mailbox_post(w->answers, a) != 0) { /* the loop is behind: hold the queue up */
        if (atomic_load(&w->closing))
            return;
        nanosleep(&pause, NULL);
    }
}

static bool is_good(const struct store_key *key, int64_t now_ms)
{
    return key->revoked_ms == 0 && !key->disabled &&
           (key->expires_ms == 0 || key->expires_ms > now_ms);
}

static void remember_use(struct store_writer *w, const struct store_key *key, int64_t now_ms)
{
    if (!is_good(key, now_ms) || key->used_ms >= now_ms - now_ms % MINUTE_MS)
        return;
    for (size_t i = 0; i < w->n_used; i++) {
        if (w->used[i] == key->id)
            return;
    }
    w->used[w->n_used++] = key->id;
}

static void find_key(struct store_writer *w, const struct operation *op)
{
    struct store_answer a = {.number = op->number, .read_ms = clock_mono_ms()};
    struct error e = {.text = ""};
    memcpy(a.hash, op->hash, STORE_HASH_BYTES);
    a.code = store_key_find(w->store, op->hash, &a.key, &e);
    if (a.code == 0)
        remember_use(w, &a.key, clock_unix_ms());
    else
        snprintf(a.text, sizeof a.text, "%.159s", e.text);
    if (a.code == ERR_IO)
        w->broken = true;
    answer(w, &a);
}

static void note_uses(struct store_writer *w)
{
    int64_t now_ms = clock_unix_ms();
    if (w->n_used == 0 || !w->store->db || clock_mono_ms() < w->notes_after_ms)
        return;
    sqlite3_busy_timeout(w->store->db, NOTE_BUSY_MS);
    int rc = store_exec(w->store, "BEGIN IMMEDIATE", NULL);
    for (size_t i = 0; i < w->n_used && rc == 0; i++)
        rc = store_key_used(w->store, w->used[i], now_ms, NULL);
    if (rc == 0)
        rc = store_exec(w->store, "COMMIT", NULL);
    if (rc)
        w->notes_after_ms = clock_mono_ms() + NOTE_RETRY_MS;
    if (rc && !sqlite3_get_autocommit(w->store->db))
        store_exec(w->store, "ROLLBACK", NULL);
    sqlite3_busy_timeout(w->store->db, STORE_BUSY_MS);
}

/* Everything that waits now; false if there was nothing and the thread may end. */
static bool work_on_group(struct store_writer *w)
{
    struct operation op;
    size_t n = 0;

    if (atomic_load(&w->closing) ? !mailbox_take(w->operations, &op)
                                 : !mailbox_wait(w->operations, &op, -1))
        return false;
    if (w->broken)
        w->broken = store_reopen(w->store, NULL) != 0;
    w->n_used = 0;
    do {
        if (op.kind == OPERATION_FIND_KEY)
            find_key(w, &op);
    } while (!w->broken && ++n < GROUP_OPERATIONS && mailbox_take(w->operations, &op));
    note_uses(w);
    return true;
}

static void *run(void *arg)
{
    struct store_writer *w = arg;
    while (work_on_group(w))
        ;
    return NULL;
}

int store_writer_open(struct store *s, size_t queue, struct store_writer **out, struct error *e)
{
    struct store_writer *w = mem_zalloc(sizeof *w);
    w->store = s;
    int rc = mailbox_open(sizeof(struct operation), queue, &w->operations, e);
    if (rc == 0)
        rc = mailbox_open(sizeof(struct store_answer), queue < ANSWERS ? queue : ANSWERS,
                          &w->answers, e);
    if (rc == 0) {
        int failure = pthread_create(&w->thread, NULL, run, w);
        if (failure)
            rc = error_set(e, ERR_IO, "the store's thread does not start: %s", strerror(failure));
    }
    if (rc) {
        mailbox_close(w->operations);
        mailbox_close(w->answers);
        free(w);
        return rc;
    }
    *out = w;
    return 0;
}

void store_writer_close(struct store_writer *w)
{
    const struct operation stop = {.kind = OPERATION_STOP};
    if (!w)
        return;
    atomic_store(&w->closing, true);
    mailbox_post(w->operations, &stop); /* wakes the thread; if the queue is full it is awake */
    pthread_join(w->thread, NULL);
    mailbox_close(w->operations);
    mailbox_close(w->answers);
    store_close(w->store);
    free(w);
}

struct mailbox *store_writer_answers(struct store_writer *w)
{
    return w->answers;
}

int store_writer_find_key(struct store_writer *w, uint64_t number,
                          const uint8_t hash[STORE_HASH_BYTES])
{
    struct operation op = {.kind = OPERATION_FIND_KEY, .number = number};
    memcpy(op.hash, hash, STORE_HASH_BYTES);
    return mailbox_post(w->operations, &op);
}
