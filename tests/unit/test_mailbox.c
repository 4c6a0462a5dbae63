/* The queue between threads. */
#include "base/mailbox.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static bool readable(const struct mailbox *m)
{
    struct pollfd p = {.fd = mailbox_fd(m), .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void items_come_out_in_order_round_the_ring(void **state)
{
    (void)state;
    struct mailbox *m;
    int next_in = 0, next_out = 0, item;
    assert_int_equal(mailbox_open(sizeof(int), 1000, &m, NULL), 0);
    assert_false(mailbox_take(m, &item));
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < round % 23; i++, next_in++)
            assert_int_equal(mailbox_post(m, &next_in), 0);
        for (int i = 0; i < round % 19 && mailbox_take(m, &item); i++)
            assert_int_equal(item, next_out++);
    }
    while (mailbox_take(m, &item))
        assert_int_equal(item, next_out++);
    assert_int_equal(next_in, next_out);
    mailbox_close(m);
    mailbox_close(NULL);
}

static void a_full_mailbox_is_busy(void **state)
{
    (void)state;
    struct mailbox *m;
    int item = 7;
    assert_int_equal(mailbox_open(sizeof(int), 20, &m, NULL), 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(mailbox_post(m, &item), 0);
    assert_int_equal(mailbox_post(m, &item), ERR_BUSY);
    assert_true(mailbox_take(m, &item));
    assert_int_equal(mailbox_post(m, &item), 0);
    mailbox_close(m);
}

static void the_descriptor_is_readable_while_items_wait(void **state)
{
    (void)state;
    struct mailbox *m;
    char item = 'x';
    assert_int_equal(mailbox_open(1, 10, &m, NULL), 0);
    assert_false(readable(m));
    mailbox_post(m, &item);
    mailbox_post(m, &item);
    assert_true(readable(m));
    mailbox_take(m, &item);
    assert_true(readable(m));
    mailbox_take(m, &item);
    assert_false(readable(m));
    mailbox_post(m, &item);
    assert_true(mailbox_wait(m, &item, 0));
    assert_false(readable(m));
    mailbox_close(m);
}

static void waiting_ends_when_the_time_is_up(void **state)
{
    (void)state;
    struct mailbox *m;
    char item;
    assert_int_equal(mailbox_open(1, 10, &m, NULL), 0);
    assert_false(mailbox_wait(m, &item, 0));
    assert_false(mailbox_wait(m, &item, 10));
    mailbox_close(m);
}

static void a_mailbox_without_room_is_refused(void **state)
{
    (void)state;
    struct mailbox *m;
    struct error e;
    assert_int_equal(mailbox_open(0, 10, &m, &e), ERR_INVALID);
    assert_int_equal(mailbox_open(1, 0, &m, &e), ERR_INVALID);
    assert_null(m);
}

enum { POSTERS = 4, EACH = 5000 };

struct letter {
    int from, number;
};

struct poster {
    struct mailbox *m;
    int id;
};

static void *post_all(void *arg)
{
    struct poster *p = arg;
    for (int i = 0; i < EACH; i++) {
        struct letter l = {p->id, i};
        while (mailbox_post(p->m, &l) == ERR_BUSY)
            sched_yield();
    }
    return NULL;
}

static void many_threads_post_and_nothing_is_lost(void **state)
{
    (void)state;
    struct mailbox *m;
    pthread_t threads[POSTERS];
    struct poster posters[POSTERS];
    int next[POSTERS] = {0};
    assert_int_equal(mailbox_open(sizeof(struct letter), 100, &m, NULL), 0);
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){m, i};
        pthread_create(&threads[i], NULL, post_all, &posters[i]);
    }
    for (int i = 0; i < POSTERS * EACH; i++) {
        struct letter l;
        assert_true(mailbox_wait(m, &l, -1));
        assert_int_equal(l.number, next[l.from]++);
    }
    for (int i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    assert_false(readable(m));
    mailbox_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_in_order_round_the_ring),
        cmocka_unit_test(a_full_mailbox_is_busy),
        cmocka_unit_test(the_descriptor_is_readable_while_items_wait),
        cmocka_unit_test(waiting_ends_when_the_time_is_up),
        cmocka_unit_test(a_mailbox_without_room_is_refused),
        cmocka_unit_test(many_threads_post_and_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
