/*
 * See threads.h. A worker is a thread with a connection, a mailbox in and a function that works
 * on what comes out of it; both put finished jobs into one mailbox that the loop watches.
 *
 * The writer takes all that waits, up to a bound: operations on the books go into one transaction
 * (ledger_group; with commits that wait for the disk, holds go into one before), other jobs each
 * into one of their own, after them. If the store fails the
 * operations stay on a list and are tried again with a pause, on a new connection, until they
 * are answered or given up; settlements stay on it even longer (see threads.h). The list holds
 * what calls under way had, and nothing new is asked while store_is_up is false, so it is bounded
 * by the calls that ran when the store went away.
 */
#include "store/threads.h"

#include "base/clock.h"
#include "base/mailbox.h"
#include "base/mem.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    GROUP_JOBS = 128,
    TRIES = 5,           /* of a job that another process locks out */
    LOCK_WAITS = 4,      /* of an operation on the books, one a try (ledger.c) */
    PAUSE_MS = 20,       /* before the first retry; it doubles */
    PAUSE_MAX_MS = 1000, /* and how often a store that is away is looked for */
    CLOSE_MS = 5000      /* how long the end waits for a store that is away */
};

struct worker {
    struct store_threads *threads;
    struct store *store;
    struct mailbox *jobs;
    pthread_t thread;
    bool started, durable;
    atomic_bool up;
    int64_t retry_ms; /* while it is not up: when it is looked for again, monotonic */
    int pause_ms;
};

struct store_threads {
    struct worker writer, reader;
    struct mailbox *answers;
    struct event *watch;
    int patience_ms;
    atomic_bool closing;
    size_t queue;
    atomic_size_t n_kept;
    /* The writer's own: */
    struct store_job *kept; /* operations that are tried again, oldest first */
};

/* --- what both do --- */

static void answer(struct worker *w, struct store_job *job)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    while (mailbox_post(w->threads->answers, &job) != 0) { /* the loop is behind: hold up */
        if (atomic_load(&w->threads->closing)) {
            free(job);
            return;
        }
        nanosleep(&pause, NULL);
    }
}

static void finish(struct worker *w, struct store_job *job, int code, const struct error *e)
{
    job->code = code;
    if (code)
        snprintf(job->text, sizeof job->text, "%.*s", (int)sizeof job->text - 1, e->text);
    if (job->done)
        answer(w, job);
    else
        free(job);
}

static void note_up(struct worker *w)
{
    atomic_store(&w->up, true);
    w->pause_ms = 0;
}

static void note_down(struct worker *w)
{
    atomic_store(&w->up, false);
    w->pause_ms = w->pause_ms ? w->pause_ms * 2 : PAUSE_MS;
    if (w->pause_ms > PAUSE_MAX_MS)
        w->pause_ms = PAUSE_MAX_MS;
    w->retry_ms = clock_mono_ms() + w->pause_ms;
}

/* A connection that is good as far as is known, opened anew where it is lost. */
static int connect_anew(struct worker *w, struct error *e)
{
    if (store_is_good(w->store))
        return 0;
    if (!atomic_load(&w->up) && clock_mono_ms() < w->retry_ms)
        return error_set(e, ERR_IO, "%s is away", store_name(w->store));
    int rc = store_reopen(w->store, e);
    if (rc)
        note_down(w);
    return rc;
}

static int work_once(struct worker *w, struct store_job *job, enum store_mode mode, struct error *e)
{
    int rc = connect_anew(w, e);
    if (rc)
        return rc;
    if (job->bare)
        return job->work(w->store, job, e);
    rc = store_begin(w->store, mode, e);
    if (rc == 0)
        rc = job->work(w->store, job, e);
    if (rc == 0)
        rc = store_commit(w->store, e);
    if (rc)
        store_rollback(w->store);
    return rc;
}

static void pause_before(int try)
{
    const struct timespec pause = {.tv_nsec = (long)(PAUSE_MS << try) * 1000000 / 4};
    nanosleep(&pause, NULL);
}

static void work_on_job(struct worker *w, struct store_job *job, enum store_mode mode)
{
    struct error e = {0};
    int rc = ERR_BUSY;
    for (int try = 0; try < TRIES && rc == ERR_BUSY; try++) {
        if (try > 0)
            pause_before(try);
        rc = work_once(w, job, mode, &e);
    }
    /* A connection that was lost between two jobs is no reason to fail: once more on a new one. */
    if (rc == ERR_IO && atomic_load(&w->up) && !store_is_good(w->store))
        rc = work_once(w, job, mode, &e);
    if (store_is_good(w->store))
        note_up(w);
    else if (atomic_load(&w->up))
        note_down(w);
    finish(w, job, rc, &e);
}

/* While it is away, it is looked for without a job, too. */
static void look_for_store(struct worker *w)
{
    struct error e;
    if (!atomic_load(&w->up) && clock_mono_ms() >= w->retry_ms && connect_anew(w, &e) == 0)
        note_up(w);
}

static int wait_ms(const struct worker *w)
{
    if (atomic_load(&w->threads->closing))
        return 0;
    if (atomic_load(&w->up) && (w == &w->threads->reader || !w->threads->kept))
        return -1;
    int64_t left = w->retry_ms - clock_mono_ms();
    return left < 1 ? 1 : (int)left;
}

/* --- the reader --- */

static void *read_jobs(void *arg)
{
    struct worker *w = arg;
    struct store_job *job;
    for (;;) {
        bool more = mailbox_wait(w->jobs, &job, wait_ms(w));
        if (atomic_load(&w->threads->closing) && (!more || !job))
            return NULL;
        if (more && job)
            work_on_job(w, job, STORE_READ);
        look_for_store(w);
    }
}

/* --- the writer --- */

static bool is_ledger(const struct store_job *job)
{
    return !job->work;
}

static struct store_ledger_job *ledger_of(struct store_job *job)
{
    return (struct store_ledger_job *)job;
}

static void keep(struct worker *w, struct store_job *job)
{
    struct store_job **at = &w->threads->kept;
    while (*at)
        at = &(*at)->next;
    job->next = NULL;
    *at = job;
    atomic_fetch_add(&w->threads->n_kept, 1);
}

/* Answers a late operation, and decides what becomes of it. */
static void give_up(struct worker *w, struct store_job *job, const struct error *e)
{
    struct store_ledger_job *j = ledger_of(job), *later = mem_zalloc(sizeof *later);
    *later = *j;
    later->job.done = NULL;
    later->give_up_ms = INT64_MAX;
    if (j->op.kind == LEDGER_HOLD) {
        later->op = (struct ledger_op){.kind = LEDGER_VOID};
        snprintf(later->op.settle.row.trace_id, STORE_TRACE_BYTES, "%s", j->op.hold.trace_id);
        later->op.settle.row.application_id = j->op.hold.application_id;
        later->op.settle.row.key_id = j->op.hold.key_id;
        later->op.settle.row.ended_ms = j->op.hold.now_ms;
        later->op.settle.held = true;
    } else if (j->void_if_late) {
        later->op.kind = LEDGER_VOID;
    }
    keep(w, &later->job);
    finish(w, job, ERR_IO, e);
}

/* The operations did not go through: each waits for the next try, or is late. */
static void keep_all(struct worker *w, struct store_job **jobs, size_t n, const struct error *e)
{
    int64_t now = clock_mono_ms();
    for (size_t i = 0; i < n; i++) {
        if (jobs[i]->done && ledger_of(jobs[i])->give_up_ms <= now)
            give_up(w, jobs[i], e);
        else
            keep(w, jobs[i]);
    }
}

static void work_on_books(struct worker *w, struct store_job **jobs, size_t n)
{
    struct ledger_op *ops[GROUP_JOBS];
    struct error e = {0};
    if (n == 0)
        return;
    for (size_t i = 0; i < n; i++)
        ops[i] = &ledger_of(jobs[i])->op;
    int rc = connect_anew(w, &e);
    if (rc == 0)
        rc = ledger_group(w->store, ops, n, &e);
    if (rc && atomic_load(&w->up) && !store_is_good(w->store)) {
        rc = connect_anew(w, &e); /* at once, if the connection alone was lost */
        if (rc == 0)
            rc = ledger_group(w->store, ops, n, &e);
    }
    if (rc) {
        if (clock_mono_ms() >= w->retry_ms)
            note_down(w);
        keep_all(w, jobs, n, &e);
        return;
    }
    note_up(w);
    for (size_t i = 0; i < n; i++)
        finish(w, jobs[i], ops[i]->code, &e);
}

static size_t take_kept(struct worker *w, struct store_job **jobs)
{
    size_t n = 0;
    if (clock_mono_ms() < w->retry_ms && !atomic_load(&w->up))
        return 0;
    while (w->threads->kept && n < GROUP_JOBS) {
        jobs[n++] = w->threads->kept;
        w->threads->kept = w->threads->kept->next;
    }
    atomic_fetch_sub(&w->threads->n_kept, n);
    return n;
}

/* Those on the list that are late are answered also between two tries. */
static void answer_late(struct worker *w)
{
    struct store_job *list = w->threads->kept;
    struct error e;
    error_set(&e, ERR_IO, "%s is away", store_name(w->store));
    w->threads->kept = NULL;
    atomic_store(&w->threads->n_kept, 0);
    while (list) {
        struct store_job *next = list->next;
        keep_all(w, &list, 1, &e);
        list = next;
    }
}

/* A hold that waited longer than its client would is not worth trying. */
static bool is_too_late(const struct store_job *job)
{
    return is_ledger(job) && ((const struct store_ledger_job *)job)->op.kind == LEDGER_HOLD &&
           ((const struct store_ledger_job *)job)->give_up_ms <= clock_mono_ms();
}

static void refuse_late(struct worker *w, struct store_job *job)
{
    struct error e;
    error_set(&e, ERR_BUSY, "%s is slow", store_name(w->store));
    finish(w, job, ERR_BUSY, &e);
}

static bool is_settled_in(struct store_job **jobs, size_t n, int64_t application_id)
{
    for (size_t i = 0; i < n; i++) {
        const struct ledger_op *op = &ledger_of(jobs[i])->op;
        if (op->kind != LEDGER_HOLD && op->settle.row.application_id == application_id)
            return true;
    }
    return false;
}

/* Holds need not wait for the disk, settlements do: so holds go first, in a group of their own.
 * Not those of an application that settles in this group: what it gets back may be what the hold
 * is to be made of. */
static void work_on_all_books(struct worker *w, struct store_job **jobs, size_t n)
{
    struct store_job *first[GROUP_JOBS], *then[GROUP_JOBS];
    size_t n_first = 0, n_then = 0;
    for (size_t i = 0; i < n; i++) {
        const struct ledger_op *op = &ledger_of(jobs[i])->op;
        if (w->durable && op->kind == LEDGER_HOLD &&
            !is_settled_in(jobs, n, op->hold.application_id))
            first[n_first++] = jobs[i];
        else
            then[n_then++] = jobs[i];
    }
    work_on_books(w, first, n_first);
    work_on_books(w, then, n_then);
}

/* Everything that waits now; false at the end. */
static bool write_group(struct worker *w)
{
    struct store_job *books[GROUP_JOBS], *others[GROUP_JOBS], *job = NULL;
    size_t n_books = 0, n_others = 0, n = 0;
    bool more = mailbox_wait(w->jobs, &job, wait_ms(w));
    if (atomic_load(&w->threads->closing) && (!more || !job))
        return false;
    for (; more; more = ++n < GROUP_JOBS && mailbox_take(w->jobs, &job)) {
        if (!job)
            continue; /* only to wake us */
        if (is_too_late(job))
            refuse_late(w, job);
        else if (is_ledger(job))
            books[n_books++] = job;
        else
            others[n_others++] = job;
    }
    look_for_store(w);
    if (w->threads->kept) {
        struct store_job *again[GROUP_JOBS];
        work_on_books(w, again, take_kept(w, again));
        answer_late(w);
    }
    work_on_all_books(w, books, n_books);
    for (size_t i = 0; i < n_others; i++)
        work_on_job(w, others[i], others[i]->relaxed ? STORE_LOOSE : STORE_WRITE);
    return true;
}

/* What is kept is worth some seconds more. */
static void write_kept(struct worker *w)
{
    int64_t end = clock_mono_ms() + CLOSE_MS;
    while (w->threads->kept && clock_mono_ms() < end) {
        struct store_job *again[GROUP_JOBS];
        size_t n = take_kept(w, again);
        look_for_store(w);
        work_on_books(w, again, n);
        if (w->threads->kept)
            pause_before(2);
    }
}

static void *write_jobs(void *arg)
{
    struct worker *w = arg;
    while (write_group(w))
        ;
    write_kept(w);
    return NULL;
}

/* --- the loop's side --- */

static void on_answers(evutil_socket_t fd, short what, void *arg)
{
    struct store_threads *t = arg;
    struct store_job *job;
    (void)fd;
    (void)what;
    while (mailbox_take(t->answers, &job))
        job->done(job->owner, job);
}

static int start(struct store_threads *t, struct worker *w, const char *url, bool durable,
                 size_t queue, void *(*run)(void *), struct error *e)
{
    const struct store_options o = {.durable = durable};
    w->threads = t;
    w->durable = durable;
    atomic_store(&w->up, true);
    int rc = store_open_url(url, &o, &w->store, e);
    if (rc == 0) /* so that all tries together take no longer than a client is patient */
        store_set_wait(w->store, t->patience_ms / LOCK_WAITS);
    if (rc == 0)
        rc = mailbox_open(sizeof(struct store_job *), queue, &w->jobs, e);
    if (rc)
        return rc;
    int failure = pthread_create(&w->thread, NULL, run, w);
    if (failure)
        return error_set(e, ERR_IO, "the store's thread does not start: %s", strerror(failure));
    w->started = true;
    return 0;
}

int store_threads_open(struct event_base *base, const char *url, bool durable,
                       const struct store_threads_options *o, struct store_threads **out,
                       struct error *e)
{
    struct store_threads *t = mem_zalloc(sizeof *t);
    t->patience_ms = o->patience_ms;
    t->queue = o->queue;
    int rc = mailbox_open(sizeof(struct store_job *), o->queue, &t->answers, e);
    if (rc == 0) {
        t->watch = event_new(base, mailbox_fd(t->answers), EV_READ | EV_PERSIST, on_answers, t);
        if (!t->watch || event_add(t->watch, NULL) != 0)
            rc = error_set(e, ERR_IO, "the loop does not watch the store's answers");
    }
    if (rc == 0)
        rc = start(t, &t->writer, url, durable, o->queue, write_jobs, e);
    if (rc == 0)
        rc = start(t, &t->reader, url, durable, o->queue, read_jobs, e);
    if (rc) {
        store_threads_close(t);
        return rc;
    }
    *out = t;
    return 0;
}

static void stop(struct worker *w)
{
    struct store_job *none = NULL;
    if (w->started) {
        mailbox_post(w->jobs, &none); /* wakes the thread; if the queue is full it is awake */
        pthread_join(w->thread, NULL);
    }
    mailbox_close(w->jobs);
    store_close(w->store);
}

void store_threads_close(struct store_threads *t)
{
    struct store_job *job;
    if (!t)
        return;
    atomic_store(&t->closing, true);
    stop(&t->writer);
    stop(&t->reader);
    while (t->answers && mailbox_take(t->answers, &job))
        free(job);
    while (t->kept) {
        job = t->kept;
        t->kept = job->next;
        free(job);
    }
    if (t->watch)
        event_free(t->watch);
    mailbox_close(t->answers);
    free(t);
}

static int ask(struct worker *w, struct store_job *job)
{
    job->asked_ms = clock_mono_ms();
    return mailbox_post(w->jobs, &job);
}

int store_ask(struct store_threads *t, struct store_job *job)
{
    return ask(&t->writer, job);
}

int store_ask_read(struct store_threads *t, struct store_job *job)
{
    return ask(&t->reader, job);
}

int store_ask_ledger(struct store_threads *t, struct store_ledger_job *j)
{
    j->job.work = NULL;
    if (j->give_up_ms == 0)
        j->give_up_ms = clock_mono_ms() + t->patience_ms;
    if (atomic_load(&t->n_kept) > t->queue)
        return ERR_BUSY;
    return ask(&t->writer, &j->job);
}

size_t store_kept(const struct store_threads *t)
{
    return atomic_load(&t->n_kept);
}

bool store_is_up(const struct store_threads *t)
{
    return atomic_load(&t->writer.up) && atomic_load(&t->reader.up);
}
