/*
 * The compute threads.
 *
 * A run is announced by one word that all workers watch: a counter, and how many parts it has.
 * Part i is for worker i, who claims it before looking at the job; the caller takes part 0, then
 * every part that is still unclaimed, so a worker that the system has not let run yet holds
 * nobody up. The caller waits for the parts that workers did claim, so the job is never
 * overwritten under a reader, and a worker that comes late finds no claim left to make.
 *
 * Who has nothing to do watches the word for SPIN_NS, then sleeps on a futex of its own. The
 * time is counted from the last run a worker took part in, so an idle engine uses no processor
 * and a short loop between two others costs no system call. The split is static and contiguous:
 * the same worker gets the same rows each time if it comes in time, and its caches and memory
 * node keep them.
 */
#include "engine/pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    CACHE_LINE = 64,
    MAX_THREADS = 512,
    PARTS_BITS = 10, /* of the word: how many take part; the other 54 count */
    PARTS_MASK = (1 << PARTS_BITS) - 1,
    SPIN_NS = 50 * 1000,
    SPINS_PER_LOOK = 64 /* at the clock */
};

struct worker {
    _Alignas(CACHE_LINE) atomic_uint asleep; /* futex */
    atomic_ullong claim; /* of its part: twice the run's count, and 1 once it is taken */
    struct pool *pool;
    int number; /* 1 and up; the caller is 0 */
    pthread_t thread;
};

struct pool {
    _Alignas(CACHE_LINE) atomic_ullong word;
    _Alignas(CACHE_LINE) atomic_ullong pending; /* workers still at the run */
    atomic_uint caller_asleep;                  /* futex */
    _Alignas(CACHE_LINE) void (*fn)(void *arg, size_t begin, size_t end, int worker);
    void *arg;
    size_t n;
    unsigned parts;
    bool stop;
    int threads;
    struct worker *workers; /* threads - 1 */
};

static void futex_wait(atomic_uint *word, unsigned while_equal)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, while_equal, NULL, NULL, 0);
}

static void futex_wake(atomic_uint *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Watches until the word is no longer `old` (true) or the time is up. */
static bool spin_while(atomic_ullong *word, unsigned long long old, int64_t until_ns)
{
    do {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (atomic_load_explicit(word, memory_order_acquire) != old)
                return true;
            relax();
        }
    } while (now_ns() < until_ns);
    return false;
}

static void run_part(struct pool *p, unsigned part)
{
    /* n * part cannot overflow: n counts things in memory, part is at most MAX_THREADS. */
    size_t begin = p->n * part / p->parts, end = p->n * (part + 1) / p->parts;
    p->fn(p->arg, begin, end, (int)part);
}

/* True for one caller a run and part. */
static bool claim_part(struct worker *w, unsigned long long count)
{
    unsigned long long open = count << 1;
    return atomic_compare_exchange_strong(&w->claim, &open, open | 1);
}

static void finish_part(struct pool *p)
{
    if (atomic_fetch_sub(&p->pending, 1) == 1 && atomic_exchange(&p->caller_asleep, 0) == 1)
        futex_wake(&p->caller_asleep);
}

/* Returns the new word. Sleeps only after saying so and looking once more: the caller writes
 * the word first and looks for sleepers then. */
static unsigned long long wait_for_word(struct worker *w, unsigned long long old, int64_t until_ns)
{
    struct pool *p = w->pool;
    if (!spin_while(&p->word, old, until_ns)) {
        for (;;) {
            atomic_store(&w->asleep, 1);
            if (atomic_load(&p->word) != old)
                break;
            futex_wait(&w->asleep, 1);
        }
        atomic_store(&w->asleep, 0);
    }
    return atomic_load(&p->word);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    unsigned long long word = 0;
    int64_t until_ns = now_ns() + SPIN_NS;
    for (;;) {
        word = wait_for_word(w, word, until_ns);
        if ((unsigned)w->number >= (word & PARTS_MASK) || !claim_part(w, word >> PARTS_BITS))
            continue;
        if (p->stop)
            break;
        run_part(p, (unsigned)w->number);
        finish_part(p);
        until_ns = now_ns() + SPIN_NS;
    }
    return NULL;
}

/* Tells workers 1 to parts-1; returns the run's count. */
static unsigned long long announce(struct pool *p, unsigned parts)
{
    unsigned long long count =
        (atomic_load_explicit(&p->word, memory_order_relaxed) >> PARTS_BITS) + 1;
    for (unsigned i = 1; i < parts; i++)
        atomic_store_explicit(&p->workers[i - 1].claim, count << 1, memory_order_relaxed);
    atomic_store(&p->word, count << PARTS_BITS | parts);
    for (unsigned i = 1; i < parts; i++) {
        struct worker *w = &p->workers[i - 1];
        if (atomic_load(&w->asleep) == 1 && atomic_exchange(&w->asleep, 0) == 1)
            futex_wake(&w->asleep);
    }
    return count;
}

static void run_unclaimed(struct pool *p, unsigned long long count)
{
    for (unsigned i = 1; i < p->parts; i++)
        if (claim_part(&p->workers[i - 1], count)) {
            run_part(p, i);
            atomic_fetch_sub(&p->pending, 1);
        }
}

static void wait_for_workers(struct pool *p)
{
    int64_t until_ns = now_ns() + SPIN_NS;
    unsigned long long left;
    while ((left = atomic_load_explicit(&p->pending, memory_order_acquire)) != 0) {
        if (spin_while(&p->pending, left, until_ns))
            continue;
        atomic_store(&p->caller_asleep, 1);
        if (atomic_load(&p->pending) != 0)
            futex_wait(&p->caller_asleep, 1);
        atomic_store(&p->caller_asleep, 0);
    }
}

void pool_run(struct pool *p, size_t n, size_t grain,
              void (*fn)(void *arg, size_t begin, size_t end, int worker), void *arg)
{
    if (n == 0)
        return;
    size_t parts = grain > 1 ? n / grain : n;
    if (parts > (size_t)p->threads)
        parts = (size_t)p->threads;
    if (parts <= 1) {
        fn(arg, 0, n, 0);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    p->n = n;
    p->parts = (unsigned)parts;
    atomic_store_explicit(&p->pending, parts - 1, memory_order_relaxed);
    unsigned long long count = announce(p, (unsigned)parts);
    run_part(p, 0);
    run_unclaimed(p, count);
    wait_for_workers(p);
}

static int machine_cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
    if (n <= 0)
        n = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n;
}

/* Cache lines apart; as with mem_alloc, no memory is the end. */
static void *aligned_zeroed(size_t bytes)
{
    void *p = NULL;
    if (posix_memalign(&p, CACHE_LINE, bytes) != 0)
        abort();
    return memset(p, 0, bytes);
}

static int start_workers(struct pool *p, int threads, struct error *e)
{
    for (int i = 1; i < threads; i++) {
        struct worker *w = &p->workers[i - 1];
        w->pool = p;
        w->number = i;
        int rc = pthread_create(&w->thread, NULL, worker_main, w);
        if (rc != 0)
            return error_set(e, ERR_IO, "cannot start compute thread %d of %d: %s", i + 1, threads,
                             strerror(rc));
        char name[24]; /* at most 15 characters are used: threads are bounded */
        snprintf(name, sizeof name, "compute-%d", i);
        pthread_setname_np(w->thread, name);
        p->threads++;
    }
    return 0;
}

int pool_open(int threads, struct pool **out, struct error *e)
{
    if (threads < 0 || threads > MAX_THREADS)
        return error_set(e, ERR_INVALID, "%d compute threads: allowed are 0 (all cores) to %d",
                         threads, MAX_THREADS);
    if (threads == 0)
        threads = machine_cores();
    struct pool *p = aligned_zeroed(sizeof *p);
    p->workers = aligned_zeroed((size_t)threads * sizeof *p->workers);
    p->threads = 1;

    /* Signals are for the thread that set up their handling, never for these. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = start_workers(p, threads, e);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) {
        pool_close(p);
        return rc;
    }
    *out = p;
    return 0;
}

void pool_close(struct pool *p)
{
    if (!p)
        return;
    p->stop = true;
    announce(p, (unsigned)p->threads);
    for (int i = 1; i < p->threads; i++)
        pthread_join(p->workers[i - 1].thread, NULL);
    free(p->workers);
    free(p);
}

int pool_threads(const struct pool *p)
{
    return p->threads;
}
