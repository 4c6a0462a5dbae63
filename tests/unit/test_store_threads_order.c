/*
 * In which order the writer answers holds and settlements that wait together. It is held up by a
 * job until all of them are in its mailbox.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/applications.h"
#include "store/db.h"
#include "store/keys.h"
#include "store/threads.h"

enum { WAIT_S = 30, ANSWERS = 8, BALANCE = 100 };
#define DAY_MS INT64_C(86400000)

struct rig {
    char dir[256], url[300];
    struct event_base *base;
    struct store_threads *threads;
    int64_t application[2], key[2], account[2];
    sem_t there, go;
    uint64_t answered[ANSWERS];
    enum ledger_verdict verdict[ANSWERS];
    int n;
};

static struct rig *the_rig;

/* The operator's application and one of an account, with a balance and a key each. */
static void fill(struct rig *r)
{
    const struct store_options o = {.create = true, .migrate = true};
    struct store *s;
    struct db *db;
    struct error e;
    assert_int_equal(store_open_url(r->url, &o, &s, &e), 0);
    assert_int_equal(db_open(r->url, false, &db, &e), 0);
    assert_int_equal(db_script(db,
                               "INSERT INTO accounts (email, person, created_ms)"
                               " VALUES ('a@b', 'a@b', 0);"
                               "INSERT INTO applications (account_id, service, created_ms,"
                               " updated_ms) SELECT id, 'kimi', 0, 0 FROM accounts"
                               " WHERE email = 'a@b'",
                               &e),
                     0);
    db_close(db);
    for (int i = 0; i < 2; i++) {
        struct store_application a;
        struct store_grant grant = {.amount_micros = BALANCE, .kind = "command"};
        uint8_t hash[STORE_HASH_BYTES] = {(uint8_t)i};
        int64_t id;
        assert_int_equal(store_application_get(s, 0, i + 1, &a, &e), 0);
        r->application[i] = grant.application_id = a.id;
        r->account[i] = a.account_id;
        struct store_key key = {.application_id = a.id, .cap_micros = -1, .name = "k"};
        assert_int_equal(store_begin(s, STORE_WRITE, &e), 0);
        assert_int_equal(store_grant_add(s, &grant, &id, &e), 0);
        assert_int_equal(store_key_add(s, hash, &key, &r->key[i], &e), 0);
        assert_int_equal(store_commit(s, &e), 0);
    }
    store_close(s);
}

static int open_rig(void **state, bool durable)
{
    struct rig *r = the_rig = calloc(1, sizeof *r);
    const struct store_threads_options o = {.queue = 64, .patience_ms = WAIT_S * 1000};
    const char *tmp = getenv("TMPDIR");
    struct error e;
    *state = r;
    snprintf(r->dir, sizeof r->dir, "%s/mg-order-XXXXXX", tmp ? tmp : P_tmpdir);
    if (!mkdtemp(r->dir) || sem_init(&r->go, 0, 0) != 0 || sem_init(&r->there, 0, 0) != 0)
        return -1;
    snprintf(r->url, sizeof r->url, "sqlite:%s/moongate.db", r->dir);
    fill(r);
    r->base = event_base_new();
    return store_threads_open(r->base, r->url, durable, &o, &r->threads, &e);
}

static int open_durable(void **state)
{
    return open_rig(state, true);
}

static int open_relaxed(void **state)
{
    return open_rig(state, false);
}

static int close_rig(void **state)
{
    struct rig *r = *state;
    char path[600];
    store_threads_close(r->threads);
    event_base_free(r->base);
    for (const char *const *tail = (const char *const[]){"", "-wal", "-shm", NULL}; *tail; tail++) {
        snprintf(path, sizeof path, "%s/moongate.db%s", r->dir, *tail);
        unlink(path);
    }
    int rc = rmdir(r->dir);
    sem_destroy(&r->go);
    sem_destroy(&r->there);
    free(r);
    return rc;
}

static int wait_for_go(struct store *s, struct store_job *job, struct error *e)
{
    (void)s;
    (void)job;
    (void)e;
    sem_post(&the_rig->there);
    while (sem_wait(&the_rig->go) != 0)
        ;
    return 0;
}

static void on_answer(void *owner, struct store_job *job)
{
    struct rig *r = owner;
    if (!job->work) {
        const struct store_ledger_job *j = (const struct store_ledger_job *)job;
        assert_int_equal(job->code, 0);
        r->answered[r->n] = job->number;
        r->verdict[r->n++] = j->op.kind == LEDGER_HOLD ? j->op.hold.verdict : LEDGER_OK;
    }
    free(job);
}

static void hold_up(struct rig *r)
{
    struct store_job *job = calloc(1, sizeof *job);
    *job = (struct store_job){.work = wait_for_go, .done = on_answer, .owner = r};
    assert_int_equal(store_ask(r->threads, job), 0);
    while (sem_wait(&r->there) != 0)
        ;
}

static struct store_ledger_job *new_job(struct rig *r, uint64_t number)
{
    struct store_ledger_job *j = calloc(1, sizeof *j);
    j->job.done = on_answer;
    j->job.owner = r;
    j->job.number = number;
    return j;
}

/* All of the balance of an application. */
static void ask_hold(struct rig *r, int which, uint64_t number)
{
    struct store_ledger_job *j = new_job(r, number);
    struct ledger_hold *h = &j->op.hold;
    j->op.kind = LEDGER_HOLD;
    snprintf(h->trace_id, sizeof h->trace_id, "trace-%llu", (unsigned long long)number);
    h->application_id = r->application[which];
    h->key_id = r->key[which];
    h->least_micros = h->want_micros = BALANCE;
    h->now_ms = clock_unix_ms();
    h->deadline_ms = h->now_ms + DAY_MS;
    assert_int_equal(store_ask_ledger(r->threads, j), 0);
}

/* Of the call that `hold` was for, at no cost. */
static void ask_settle(struct rig *r, int which, uint64_t hold, uint64_t number)
{
    struct store_ledger_job *j = new_job(r, number);
    struct ledger_row *row = &j->op.settle.row;
    j->op.kind = LEDGER_SETTLE;
    j->op.settle.held = true;
    snprintf(row->trace_id, sizeof row->trace_id, "trace-%llu", (unsigned long long)hold);
    row->account_id = r->account[which];
    row->application_id = r->application[which];
    row->key_id = r->key[which];
    row->ended_ms = clock_unix_ms();
    row->status = 200;
    assert_int_equal(store_ask_ledger(r->threads, j), 0);
}

static void wait_for(struct rig *r, int answers)
{
    const struct timeval limit = {.tv_sec = WAIT_S};
    event_base_loopexit(r->base, &limit);
    while (r->n < answers && event_base_loop(r->base, EVLOOP_ONCE) == 0 &&
           !event_base_got_exit(r->base))
        ;
    assert_int_equal(r->n, answers);
}

/* One hold of the first application is there; then wait together, in this order: its settlement,
 * a hold of the first application, a hold of the second. */
static void ask_together(struct rig *r)
{
    ask_hold(r, 0, 1);
    wait_for(r, 1);
    hold_up(r);
    ask_settle(r, 0, 1, 2);
    ask_hold(r, 0, 3);
    ask_hold(r, 1, 4);
    sem_post(&r->go);
    wait_for(r, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(r->verdict[i], LEDGER_OK);
}

static void a_hold_is_answered_before_settlements_of_others_reach_the_disk(void **state)
{
    struct rig *r = *state;
    ask_together(r);
    assert_int_equal(r->answered[1], 4);
}

static void a_hold_is_made_of_what_a_settlement_before_it_gave_back(void **state)
{
    struct rig *r = *state;
    ask_together(r);
    assert_int_equal(r->answered[2], 2);
    assert_int_equal(r->answered[3], 3);
}

static void where_nobody_waits_for_the_disk_all_go_in_order(void **state)
{
    struct rig *r = *state;
    ask_together(r);
    for (int i = 0; i < 4; i++)
        assert_int_equal(r->answered[i], i + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_hold_is_answered_before_settlements_of_others_reach_the_disk, open_durable,
            close_rig),
        cmocka_unit_test_setup_teardown(a_hold_is_made_of_what_a_settlement_before_it_gave_back,
                                        open_durable, close_rig),
        cmocka_unit_test_setup_teardown(where_nobody_waits_for_the_disk_all_go_in_order,
                                        open_relaxed, close_rig)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
