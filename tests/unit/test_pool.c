/*
 * The compute threads: every index exactly once, whole grains, a steady split, and silence when
 * idle.
 */
#include "engine/pool.h"

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { MAX_N = 5000, MAX_WORKERS = 16 };

struct loop {
    atomic_int hits[MAX_N];
    uint8_t worker[MAX_N];
    size_t grain, n;
    atomic_int parts;
    atomic_bool short_part;
    int threads;
};

static void hit(void *arg, size_t begin, size_t end, int worker)
{
    struct loop *l = arg;
    if (begin >= end || end > l->n || worker < 0 || worker >= l->threads)
        abort();
    if (end - begin < l->grain && end != l->n)
        l->short_part = true;
    l->parts++;
    for (size_t i = begin; i < end; i++) {
        l->hits[i]++;
        l->worker[i] = (uint8_t)worker;
    }
}

static struct pool *open_pool(int threads)
{
    struct pool *p = NULL;
    struct error e;
    if (pool_open(threads, &p, &e) != 0)
        fail_msg("%s", e.text);
    return p;
}

static void check_loop(struct pool *p, struct loop *l, size_t n, size_t grain)
{
    memset(l, 0, sizeof *l);
    l->grain = grain;
    l->n = n;
    l->threads = pool_threads(p);
    pool_run(p, n, grain, hit, l);
    for (size_t i = 0; i < MAX_N; i++)
        assert_int_equal(l->hits[i], i < n);
    assert_false(l->short_part);
    assert_true(l->parts <= l->threads);
}

static struct loop loop, again;

static void every_index_runs_once_in_whole_grains(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 2, 3, 7, 8, 64, 1000, MAX_N};
    static const size_t grains[] = {0, 1, 2, 3, 16, 999, 1000, 100000};
    for (int threads = 1; threads <= 5; threads++) {
        struct pool *p = open_pool(threads);
        assert_int_equal(pool_threads(p), threads);
        for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++)
            for (size_t g = 0; g < sizeof grains / sizeof *grains; g++)
                check_loop(p, &loop, lengths[n], grains[g]);
        pool_close(p);
    }
}

static void a_small_loop_stays_with_the_caller(void **state)
{
    (void)state;
    struct pool *p = open_pool(4);
    check_loop(p, &loop, 31, 16);
    assert_int_equal(loop.parts, 1);
    assert_int_equal(loop.worker[30], 0);
    check_loop(p, &loop, 32, 16);
    assert_int_equal(loop.parts, 2);
    pool_close(p);
}

static void the_split_is_the_same_each_time(void **state)
{
    (void)state;
    struct pool *p = open_pool(3);
    check_loop(p, &loop, 1001, 4);
    for (int i = 0; i < 20; i++) {
        check_loop(p, &again, 1001, 4);
        assert_memory_equal(loop.worker, again.worker, sizeof loop.worker);
    }
    pool_close(p);
}

struct sum {
    uint64_t parts[MAX_WORKERS][8]; /* a cache line each */
};

static void add_up(void *arg, size_t begin, size_t end, int worker)
{
    struct sum *s = arg;
    for (size_t i = begin; i < end; i++)
        s->parts[worker][0] += i + 1;
}

/* Runs of all sizes follow one another at once, so workers that sat one out are caught up. */
static void many_short_runs_lose_nothing(void **state)
{
    (void)state;
    struct pool *p = open_pool(4);
    for (size_t round = 0; round < 5000; round++) {
        struct sum s = {0};
        size_t n = 1 + round % 9;
        pool_run(p, n, 1 + round % 3, add_up, &s);
        uint64_t total = 0;
        for (size_t w = 0; w < MAX_WORKERS; w++)
            total += s.parts[w][0];
        assert_int_equal(total, n * (n + 1) / 2);
    }
    pool_close(p);
}

static int64_t processor_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Waits until the threads sleep: a stretch of time passes in which the process used next to no
 * processor. Threads that never slept would use it all, and the wait would not end. */
static void wait_until_idle(void)
{
    const struct timespec stretch = {.tv_nsec = 20 * 1000 * 1000};
    int64_t before, used;
    do {
        before = processor_ns();
        nanosleep(&stretch, NULL);
        used = processor_ns() - before;
    } while (used > stretch.tv_nsec / 4);
}

static void idle_threads_sleep_and_wake_again(void **state)
{
    (void)state;
    struct pool *p = open_pool(4);
    for (int i = 0; i < 3; i++) {
        wait_until_idle();
        check_loop(p, &loop, 100, 1);
        assert_int_equal(loop.parts, 4);
    }
    pool_close(p);
}

static void pools_open_and_close_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++)
        pool_close(open_pool(1 + i % 6));
    pool_close(NULL);
}

static void no_number_of_threads_means_the_machines_cores(void **state)
{
    (void)state;
    struct pool *p = open_pool(0);
    assert_true(pool_threads(p) >= 1);
    pool_close(p);
}

static void an_absurd_number_of_threads_is_refused(void **state)
{
    (void)state;
    struct pool *p = NULL;
    struct error e;
    assert_int_equal(pool_open(-1, &p, &e), ERR_INVALID);
    assert_int_equal(pool_open(1000000, &p, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "1000000"));
    assert_null(p);
}

struct masks {
    bool blocked[3];
    atomic_int others; /* workers that have noted theirs */
};

/* The caller stays in its part until the workers have theirs, or it would take them over. */
static void note_mask(void *arg, size_t begin, size_t end, int worker)
{
    struct masks *m = arg;
    sigset_t set;
    (void)begin, (void)end;
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    m->blocked[worker] = sigismember(&set, SIGTERM) == 1;
    if (worker != 0)
        atomic_fetch_add(&m->others, 1);
    while (worker == 0 && atomic_load(&m->others) < 2)
        sched_yield();
}

static void signals_are_left_to_the_other_threads(void **state)
{
    (void)state;
    struct masks m = {.others = 0};
    struct pool *p = open_pool(3);
    pool_run(p, 3, 1, note_mask, &m);
    assert_true(!m.blocked[0] && m.blocked[1] && m.blocked[2]);
    pool_close(p);
}

struct takeover {
    atomic_bool done[3];
    atomic_bool stuck; /* a worker is inside its part */
};

/* One worker holds its part until all other parts are done, whoever does them. */
static void hold_one(void *arg, size_t begin, size_t end, int worker)
{
    struct takeover *t = arg;
    (void)end, (void)worker;
    if (begin == 0)
        while (!atomic_load(&t->stuck))
            sched_yield();
    else if (!atomic_exchange(&t->stuck, true))
        while (!atomic_load(&t->done[0]) || !atomic_load(&t->done[3 - begin]))
            sched_yield();
    atomic_store(&t->done[begin], true);
}

static void parts_are_done_while_another_is_held_up(void **state)
{
    (void)state;
    struct pool *p = open_pool(3);
    for (int i = 0; i < 50; i++) {
        struct takeover t = {.stuck = false};
        pool_run(p, 3, 1, hold_one, &t);
        assert_true(t.done[0] && t.done[1] && t.done[2]);
    }
    pool_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_index_runs_once_in_whole_grains),
        cmocka_unit_test(a_small_loop_stays_with_the_caller),
        cmocka_unit_test(the_split_is_the_same_each_time),
        cmocka_unit_test(many_short_runs_lose_nothing),
        cmocka_unit_test(idle_threads_sleep_and_wake_again),
        cmocka_unit_test(pools_open_and_close_at_once),
        cmocka_unit_test(no_number_of_threads_means_the_machines_cores),
        cmocka_unit_test(an_absurd_number_of_threads_is_refused),
        cmocka_unit_test(signals_are_left_to_the_other_threads),
        cmocka_unit_test(parts_are_done_while_another_is_held_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
