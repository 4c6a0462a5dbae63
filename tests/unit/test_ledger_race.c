/* Unit tests of the books under several connections at once, as threads of one program or several
 * programs make them. */
#include "ledger_rig.h"

enum { THREADS = 4, HOLDS = 200, USERS = 12, ROUNDS = 25, GROUP = 16, TRIES = 200 };

struct worker {
    const struct db_rig *rig;
    pthread_t thread;
    const struct rig_user *users;
    size_t n_users;
    int number;
    int served, used_up, failed;
    char why[512];
};

/* No assertion in a thread: what failed is told afterwards. Locks of other connections make a
 * group wait, so it is tried again as the server does. */
static int group(struct worker *w, struct store *s, struct ledger_op *ops, size_t n)
{
    struct ledger_op *list[HOLDS];
    struct error e = {.text = ""};
    int rc = ERR_BUSY;
    for (size_t i = 0; i < n; i++)
        list[i] = &ops[i];
    for (int i = 0; i < TRIES && rc == ERR_BUSY; i++)
        rc = ledger_group(s, list, n, &e);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = ops[i].code;
    if (rc) {
        w->failed++;
        snprintf(w->why, sizeof w->why, "%s", e.text);
    }
    return rc;
}

static struct store *open_own(struct worker *w)
{
    const struct store_options o = {.migrate = false};
    struct store *s = NULL;
    struct error e = {.text = ""};
    if (store_open_url(w->rig->url, &o, &s, &e) != 0) {
        w->failed++;
        snprintf(w->why, sizeof w->why, "%s", e.text);
    }
    return s;
}

static void run_all(struct worker *workers, void *(*fn)(void *arg))
{
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, fn, &workers[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < THREADS; i++) {
        if (workers[i].failed)
            fail_msg("thread %d: %d failures: %s", i, workers[i].failed, workers[i].why);
    }
}

static void *hold_all(void *arg)
{
    struct worker *w = arg;
    struct store *s = open_own(w);
    for (int i = 0; s && i < HOLDS / THREADS; i++) {
        char trace[32];
        snprintf(trace, sizeof trace, "%d-%d", w->number, i);
        struct ledger_op op = rig_hold(w->users, trace, 100, 100);
        if (group(w, s, &op, 1) == 0) {
            w->served += op.hold.verdict == LEDGER_OK;
            w->used_up += op.hold.verdict == LEDGER_USED_UP;
        }
    }
    store_close(s);
    return NULL;
}

static void test_of_many_holds_at_once_a_balance_for_one_serves_one(void **state)
{
    struct store *s = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 150);
    struct worker workers[THREADS] = {0};
    int served = 0, used_up = 0;
    for (int i = 0; i < THREADS; i++)
        workers[i] = (struct worker){.rig = *state, .users = &u, .n_users = 1, .number = i};
    run_all(workers, hold_all);
    for (int i = 0; i < THREADS; i++) {
        served += workers[i].served;
        used_up += workers[i].used_up;
    }
    assert_int_equal(served, 1);
    assert_int_equal(used_up, HOLDS - 1);
    assert_int_equal(rig_balance(s, &u), 50);
    rig_close(s);
}

/* Groups over many applications, each in another order; every third call is void, and some holds
 * are left over. */
static void fill(struct worker *w, struct ledger_op *holds, struct ledger_op *ends, int round)
{
    for (int i = 0; i < GROUP; i++) {
        char trace[32];
        const struct rig_user *u =
            &w->users[(size_t)(i * (w->number % 2 ? 5 : 7) + round) % w->n_users];
        snprintf(trace, sizeof trace, "%d-%d-%d", w->number, round, i);
        holds[i] = rig_hold(u, trace, 1, 50 + i);
        ends[i] = i % 3 == 2 ? rig_void(u, trace) : rig_settle(u, trace, 30 + 2 * i);
    }
}

static void *work_on_many(void *arg)
{
    struct worker *w = arg;
    struct store *s = open_own(w);
    struct ledger_op holds[GROUP], ends[GROUP];
    for (int round = 0; s && round < ROUNDS; round++) {
        fill(w, holds, ends, round);
        if (group(w, s, holds, GROUP) != 0 || group(w, s, ends, GROUP - 1) != 0 ||
            group(w, s, ends, 4) != 0) /* again */
            break;
    }
    store_close(s);
    return NULL;
}

static void test_groups_over_many_applications_wait_for_each_other_without_end(void **state)
{
    struct store *s = db_rig_store(*state);
    struct rig_user users[USERS];
    struct worker workers[THREADS] = {0};
    struct error e = {.text = ""};
    int64_t swept;
    for (int i = 0; i < USERS; i++) {
        users[i] = rig_add_user(s, 20000);
        rig_grant(s, users[i].application, 1000, RIG_NOON_MS + RIG_HOUR_MS);
    }
    for (int i = 0; i < THREADS; i++)
        workers[i] = (struct worker){.rig = *state, .users = users, .n_users = USERS, .number = i};
    run_all(workers, work_on_many);
    rig_prove(s);
    assert_int_equal(rig_ask(s, "SELECT COUNT(*) FROM calls_20261128"), THREADS * ROUNDS * 10);
    assert_int_equal(rig_ask(s, "SELECT COUNT(*) FROM holds"), THREADS * ROUNDS);
    rig_good(ledger_release_all(s, &swept, &e), &e);
    assert_int_equal(swept, THREADS * ROUNDS);
    if (workers[0].rig->kind == DB_POSTGRES)
        assert_int_equal(rig_ask(s, "SELECT deadlocks FROM pg_stat_database"
                                    " WHERE datname = current_database()"),
                         0);
    rig_close(s);
}

static void *settle_the_same(void *arg)
{
    struct worker *w = arg;
    struct store *s = open_own(w);
    for (int i = 0; s && i < ROUNDS; i++) {
        char trace[32];
        snprintf(trace, sizeof trace, "t%d", i);
        struct ledger_op ops[] = {rig_hold(w->users, trace, 1, 40), rig_settle(w->users, trace, 30),
                                  rig_settle(&w->users[1], "gone", 5)};
        snprintf(ops[2].settle.row.trace_id, STORE_TRACE_BYTES, "gone%d", i);
        if (group(w, s, &ops[1], 2) != 0)
            break;
        if (ops[1].settle.row.charged_micros != 30)
            w->failed++;
    }
    store_close(s);
    return NULL;
}

/* Also of an application that is gone, where no row is there to be locked. */
static void test_one_settlement_from_several_connections_is_charged_once(void **state)
{
    struct store *s = db_rig_store(*state);
    struct rig_user users[2] = {rig_add_user(s, 10000), {55555, 66666, 77777}};
    struct worker workers[THREADS] = {0};
    for (int i = 0; i < THREADS; i++)
        workers[i] = (struct worker){.rig = *state, .users = users, .n_users = 2, .number = i};
    run_all(workers, settle_the_same);
    assert_int_equal(rig_balance(s, users), 10000 - 30 * ROUNDS);
    assert_int_equal(rig_ask(s, "SELECT COUNT(*) FROM calls_20261128"), 2 * ROUNDS);
    rig_close(s);
}

static void *sweep_and_settle(void *arg)
{
    struct worker *w = arg;
    struct store *s = open_own(w);
    for (int i = 0; s && i < ROUNDS; i++) {
        char trace[32];
        snprintf(trace, sizeof trace, "%d-%d", w->number, i);
        struct ledger_op hold = rig_hold(w->users, trace, 1, 40),
                         settle = rig_settle(w->users, trace, 30);
        struct error e = {.text = ""};
        int64_t n;
        hold.hold.deadline_ms = 1;
        if (group(w, s, &hold, 1) != 0)
            break;
        int rc = ERR_BUSY;
        for (int k = 0; w->number % 2 && k < TRIES && rc == ERR_BUSY; k++)
            rc = ledger_sweep(s, 1000, 3, &n, &e);
        if (group(w, s, &settle, 1) != 0)
            break;
        if (settle.settle.row.charged_micros != 30)
            w->failed++;
    }
    store_close(s);
    return NULL;
}

static void test_a_sweep_beside_settlements_loses_nothing(void **state)
{
    struct store *s = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 100000);
    struct worker workers[THREADS] = {0};
    for (int i = 0; i < THREADS; i++)
        workers[i] = (struct worker){.rig = *state, .users = &u, .n_users = 1, .number = i};
    run_all(workers, sweep_and_settle);
    assert_int_equal(rig_balance(s, &u), 100000 - 30 * THREADS * ROUNDS);
    assert_int_equal(rig_ask(s, "SELECT COUNT(*) FROM holds"), 0);
    rig_close(s);
}

static void *open_days(void *arg)
{
    struct worker *w = arg;
    struct store *s = open_own(w);
    for (int i = 0; s && i < ROUNDS; i++) {
        struct error e = {.text = ""};
        int rc = ERR_BUSY;
        for (int k = 0; k < TRIES && rc == ERR_BUSY; k++)
            rc = ledger_day_open(s, 20270101 + i, &e);
        if (rc) {
            w->failed++;
            snprintf(w->why, sizeof w->why, "%s", e.text);
        }
    }
    store_close(s);
    return NULL;
}

static void test_several_connections_open_the_same_days(void **state)
{
    struct store *s = db_rig_store(*state);
    struct worker workers[THREADS] = {0};
    for (int i = 0; i < THREADS; i++)
        workers[i] = (struct worker){.rig = *state, .number = i};
    run_all(workers, open_days);
    assert_int_equal(rig_ask(s, "SELECT COUNT(*) FROM days"), ROUNDS);
    assert_int_equal(rig_ask(s, "SELECT COUNT(*) FROM calls_20270125"), 0);
    rig_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DB_TEST(test_of_many_holds_at_once_a_balance_for_one_serves_one),
        DB_TEST(test_groups_over_many_applications_wait_for_each_other_without_end),
        DB_TEST(test_one_settlement_from_several_connections_is_charged_once),
        DB_TEST(test_a_sweep_beside_settlements_loses_nothing),
        DB_TEST(test_several_connections_open_the_same_days),
    };
    return cmocka_run_group_tests_name("ledger race", tests, db_rig_start, db_rig_stop);
}
