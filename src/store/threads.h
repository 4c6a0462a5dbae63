/*
 * The store's two threads: a writer, which does everything that changes something, in groups with
 * one commit each; and a reader with a connection of its own, so that a look-up of a key or a
 * usage page waits neither for a disk nor for a lock.
 *
 * Work comes as jobs. A job is a struct of the asker's that begins with struct store_job, from
 * malloc; it holds what is asked and has room for the answer, and no pointer into the loop. It
 * belongs to the store from store_ask until its `done` is called on the loop, which then owns it
 * (and frees it). An answer whose asker is gone is thrown away by `done` (it looks its number up).
 *
 * `work` runs on a store thread inside a transaction, which is committed before `done` is called;
 * if it returns nonzero the transaction is rolled back, so it must not rely on having run once.
 * It is run again after ERR_BUSY, a few times. Reading jobs run one by one; writing jobs too.
 * Holds and settlements (ledger.h) have a way of their own: many in one transaction.
 *
 * All functions here: the event loop's thread.
 */
#ifndef MOONGATE_STORE_THREADS_H
#define MOONGATE_STORE_THREADS_H

#include "store/ledger.h"

struct event_base;
struct store_threads;
struct store_job;

typedef int store_work_fn(struct store *s, struct store_job *job, struct error *e);
typedef void store_done_fn(void *owner, struct store_job *job);

struct store_job {
    store_work_fn *work;
    store_done_fn *done;
    void *owner;      /* of `done`; outlives the threads */
    uint64_t number;  /* the asker's: which call it is for */
    int code;         /* the answer: 0 or what `work` (or the commit) returned */
    char text[256];   /* why, for people */
    bool relaxed;     /* the commit need not reach the disk */
    bool bare;        /* one statement, which needs no transaction around it */
    int64_t asked_ms; /* the store's own: monotonic */
    struct store_job *next;
};

struct store_threads_options {
    size_t queue;    /* jobs that may wait, for each thread */
    int patience_ms; /* how long work is tried again while the store is away */
};

/* Opens the two connections of `url` (already migrated) and the threads. The loop is told of
 * answers by mailboxes. */
int store_threads_open(struct event_base *base, const char *url, bool durable,
                       const struct store_threads_options *o, struct store_threads **out,
                       struct error *e);
/* Finishes what waits (a settlement is not lost while the store is there), then closes. `done` is
 * not called any more: what is unanswered is freed. */
void store_threads_close(struct store_threads *t); /* accepts NULL */

/* ERR_BUSY: too much waits; the job stays the caller's. */
int store_ask(struct store_threads *t, struct store_job *job);      /* the writer */
int store_ask_read(struct store_threads *t, struct store_job *job); /* the reader */

/* An operation on the books as a job; its `work` is not looked at. It goes together with others
 * that wait. While the store is away it is tried again until give_up_ms (monotonic), then answered
 * with the failure. What then becomes of it is known: a hold, and a settlement whose failure the
 * client is told (`void_if_late`), will not count even if it was written; another settlement is
 * kept, and written when the store is back. */
struct store_ledger_job {
    struct store_job job;
    struct ledger_op op;
    int64_t give_up_ms;
    bool void_if_late;
};
int store_ask_ledger(struct store_threads *t, struct store_ledger_job *j);

/* Settlements that wait for the store to come back. */
size_t store_kept(const struct store_threads *t);
/* False while the store does not answer: new calls are refused before they cost anything. */
bool store_is_up(const struct store_threads *t);

#endif
