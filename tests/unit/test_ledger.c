/* Unit tests of the books, on both databases: one operation after the other. What happens at the
 * same time: test_ledger_race.c. */
#include "ledger_rig.h"

static void test_a_hold_is_taken_from_the_balance_and_a_settlement_gives_the_rest_back(void **state)
{
    struct store *s = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 1000);
    struct ledger_op hold = rig_hold(&u, "t1", 10, 300), settle = rig_settle(&u, "t1", 120);
    rig_do(s, &hold);
    assert_int_equal(hold.hold.verdict, LEDGER_OK);
    assert_int_equal(hold.hold.held_micros, 300);
    assert_int_equal(hold.hold.balance_micros, 700);
    rig_prove(s);
    rig_do(s, &settle);
    assert_int_equal(settle.settle.row.cost_micros, 120);
    assert_int_equal(settle.settle.row.charged_micros, 120);
    assert_int_equal(settle.settle.row.balance_micros, 880);
    assert_int_equal(rig_balance(s, &u), 880);
    assert_int_equal(rig_ask(s, "SELECT COUNT(*) FROM holds"), 0);
    assert_int_equal(rig_ask(s, "SELECT used_micros FROM keys WHERE id = %lld", (long long)u.key),
                     120);
    rig_close(s);
}

static void test_what_is_repeated_changes_nothing_and_gets_the_same_answer(void **state)
{
    struct store *s = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 1000);
    for (int i = 0; i < 3; i++) {
        struct ledger_op hold = rig_hold(&u, "t1", 10, 300);
        rig_do(s, &hold);
        assert_int_equal(hold.hold.verdict, LEDGER_OK);
        assert_int_equal(hold.hold.held_micros, 300);
        assert_int_equal(hold.hold.balance_micros, 700);
    }
    struct ledger_op other = rig_hold(&u, "t2", 10, 300);
    rig_do(s, &other);
    for (int i = 0; i < 3; i++) {
        struct ledger_op settle = rig_settle(&u, "t1", 120);
        rig_do(s, &settle);
        assert_int_equal(settle.settle.row.charged_micros, 120);
        assert_int_equal(settle.settle.row.balance_micros, 580);
    }
    for (int i = 0; i < 3; i++) {
        struct ledger_op undo = rig_void(&u, "t1");
        rig_do(s, &undo);
        assert_int_equal(undo.settle.row.balance_micros, 700);
    }
    struct ledger_op late = rig_settle(&u, "t1", 120); /* after its void: stays void */
    rig_do(s, &late);
    assert_int_equal(late.settle.row.charged_micros, 0);
    assert_int_equal(rig_balance(s, &u), 700);
    rig_close(s);
}

static void test_repeats_in_one_group_count_once(void **state)
{
    struct store *s = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 1000);
    struct ledger_op ops[] = {rig_hold(&u, "a", 1, 100),  rig_hold(&u, "a", 1, 100),
                              rig_settle(&u, "a", 30),    rig_settle(&u, "a", 30),
                              rig_hold(&u, "b", 1, 2000), rig_hold(&u, "c", 1, 1),
                              rig_void(&u, "a"),          rig_hold(&u, "c", 900, 950)};
    rig_group(s, ops, 8);
    for (int i = 0; i < 8; i++)
        assert_int_equal(ops[i].code, 0);
    assert_int_equal(ops[1].hold.held_micros, 100);
    assert_int_equal(ops[3].settle.row.charged_micros, 30);
    assert_int_equal(ops[3].settle.row.balance_micros, 970);
    assert_int_equal(ops[4].hold.held_micros, 970);
    assert_int_equal(ops[5].hold.verdict, LEDGER_USED_UP);
    assert_int_equal(ops[6].settle.row.balance_micros, 30);
    assert_int_equal(ops[7].hold.verdict, LEDGER_USED_UP);
    assert_int_equal(rig_ask(s, "SELECT COUNT(*) FROM holds"), 1);
    assert_int_equal(rig_ask(s, "SELECT COUNT(*) FROM calls_20261128"), 1);
    rig_close(s);
}

static void test_a_hold_shrinks_to_the_balance_and_to_the_cap(void **state)
{
    struct store *s = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 100), capped = u;
    capped.key = rig_add_key(s, u.application, 40);
    struct ledger_op ops[] = {rig_hold(&capped, "a", 10, 500), rig_hold(&capped, "b", 1, 500),
                              rig_hold(&u, "c", 10, 500), rig_hold(&u, "d", 1, 500),
                              rig_hold(&u, "e", 0, 0)};
    rig_group(s, ops, 5);
    assert_int_equal(ops[0].hold.held_micros, 40);
    assert_int_equal(ops[1].hold.verdict, LEDGER_CAP);
    assert_int_equal(ops[2].hold.held_micros, 60);
    assert_int_equal(ops[3].hold.verdict, LEDGER_USED_UP);
    assert_int_equal(ops[4].hold.verdict, LEDGER_OK);
    struct ledger_op settle = rig_settle(&capped, "a", 90); /* more than hold, cap and balance */
    rig_do(s, &settle);
    assert_int_equal(settle.settle.row.cost_micros, 90);
    assert_int_equal(settle.settle.row.charged_micros, 40);
    rig_close(s);
}

static void test_a_call_without_a_hold_is_charged_as_far_as_the_balance_reaches(void **state)
{
    struct store *s = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 100);
    struct ledger_op refused = rig_settle(&u, "a", 0), costly = rig_settle(&u, "b", 150);
    refused.settle.held = costly.settle.held = false;
    refused.settle.row.status = 429;
    rig_do(s, &refused);
    assert_int_equal(refused.settle.row.charged_micros, 0);
    rig_do(s, &costly);
    assert_int_equal(costly.settle.row.charged_micros, 100);
    assert_int_equal(costly.settle.row.balance_micros, 0);
    assert_int_equal(rig_ask(s, "SELECT failed FROM totals"), 1);
    assert_int_equal(rig_ask(s, "SELECT calls FROM totals"), 2);
    assert_int_equal(rig_ask(s, "SELECT cost_micros - charged_micros FROM totals"), 50);
    rig_close(s);
}

static void test_a_void_gives_back_what_was_charged_and_keeps_the_tokens(void **state)
{
    struct store *s = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 1000);
    struct ledger_op ops[] = {rig_hold(&u, "a", 10, 300), rig_settle(&u, "a", 120),
                              rig_hold(&u, "b", 10, 300)};
    rig_group(s, ops, 3);
    struct ledger_op charged = rig_void(&u, "a"), held = rig_void(&u, "b"),
                     unknown = rig_void(&u, "c");
    rig_do(s, &charged);
    rig_do(s, &held);
    rig_do(s, &unknown);
    assert_int_equal(rig_balance(s, &u), 1000);
    assert_int_equal(rig_ask(s, "SELECT completion_tokens FROM calls_20261128 WHERE status = 503"
                                " AND finish = 'void' AND cost_micros = 0 AND charged_micros = 0"
                                " AND balance_micros = 700"),
                     120);
    assert_int_equal(rig_ask(s, "SELECT calls FROM totals WHERE failed = 1 AND cost_micros = 0"
                                " AND charged_micros = 0 AND completion_tokens = 120"),
                     1);
    assert_int_equal(rig_ask(s, "SELECT COUNT(*) FROM holds"), 0);
    assert_int_equal(
        rig_ask(s, "SELECT used_micros + held_micros FROM keys WHERE id = %lld", (long long)u.key),
        0);
    rig_close(s);
}

static void test_who_is_gone_gets_no_hold_and_pays_nothing(void **state)
{
    struct store *s = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 100), none = {77777, 88888, 99999}, keyless = u, mixed = u,
                    off = rig_add_user(s, 100), locked = rig_add_user(s, 100), revoked = u;
    keyless.key = 99999;
    mixed.key = off.key;
    revoked.key = rig_add_key(s, u.application, -1);
    rig_sqlf(s, "UPDATE applications SET disabled = 1 WHERE id = %lld", (long long)off.application);
    rig_sqlf(s, "UPDATE accounts SET disabled = 1 WHERE id = %lld", (long long)locked.account);
    rig_sqlf(s, "UPDATE keys SET revoked_ms = 1 WHERE id = %lld", (long long)revoked.key);
    struct ledger_op ops[] = {rig_hold(&none, "a", 1, 10),   rig_hold(&keyless, "b", 1, 10),
                              rig_hold(&mixed, "c", 1, 10),  rig_hold(&off, "d", 1, 10),
                              rig_hold(&locked, "e", 1, 10), rig_hold(&revoked, "f", 1, 10),
                              rig_settle(&none, "g", 10),    rig_settle(&keyless, "h", 10),
                              rig_settle(&mixed, "i", 10),   rig_hold(&u, "j", 1, 10)};
    rig_group(s, ops, 10);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(ops[i].code, 0);
        assert_int_equal(ops[i].hold.verdict, LEDGER_GONE);
    }
    for (int i = 6; i < 9; i++) {
        assert_int_equal(ops[i].code, 0);
        assert_int_equal(ops[i].settle.row.charged_micros, 0);
    }
    assert_int_equal(ops[9].hold.verdict, LEDGER_OK);
    assert_int_equal(rig_ask(s, "SELECT COUNT(*) FROM calls_20261128"), 3);
    rig_close(s);
}

static void test_a_hold_ends_although_its_key_was_deleted(void **state)
{
    struct store *s = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 100);
    struct ledger_op hold = rig_hold(&u, "a", 1, 60), settle = rig_settle(&u, "a", 10);
    rig_do(s, &hold);
    rig_sqlf(s, "DELETE FROM keys WHERE id = %lld", (long long)u.key);
    rig_do(s, &settle);
    assert_int_equal(settle.settle.row.charged_micros, 0);
    assert_int_equal(rig_balance(s, &u), 100);
    rig_close(s);
}

static void test_an_operation_that_cannot_be_done_hurts_no_other(void **state)
{
    struct store *s = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 1000), v = rig_add_user(s, 1000);
    struct ledger_op first = rig_hold(&u, "taken", 1, 10);
    rig_do(s, &first);
    struct ledger_op ops[] = {rig_hold(&u, "a", 1, 10),   rig_hold(&v, "taken", 1, 10),
                              rig_settle(&v, "taken", 5), rig_hold(&u, "", 1, 10),
                              rig_settle(&u, "b", 5),     rig_void(&v, "taken"),
                              rig_settle(&u, "c", 5),     rig_settle(&v, "d", 5)};
    ops[4].settle.row.ended_ms = INT64_MAX;
    rig_group(s, ops, 8);
    assert_int_equal(ops[0].code, 0);
    assert_int_equal(ops[1].code, ERR_EXISTS);
    assert_int_equal(ops[2].code, ERR_EXISTS);
    assert_int_equal(ops[3].code, ERR_INVALID);
    assert_int_equal(ops[4].code, ERR_INVALID);
    assert_int_equal(ops[5].code, ERR_EXISTS);
    assert_int_equal(ops[6].code, 0);
    assert_int_equal(ops[7].code, 0);
    assert_int_equal(rig_balance(s, &u), 975);
    assert_int_equal(rig_balance(s, &v), 995);
    rig_close(s);
}

/* A row that the database refuses for a reason that nobody thought of. */
static void test_a_row_that_the_database_refuses_is_told_to_it_alone(void **state)
{
    struct store *s = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 1000), v = rig_add_user(s, 1000);
    struct ledger_op ops[] = {rig_hold(&u, "a", 1, 10), rig_settle(&v, "b", 5),
                              rig_settle(&u, "c", 7)};
    rig_sqlf(s, "UPDATE keys SET used_micros = 9223372036854775807 WHERE id = %lld",
             (long long)v.key);
    rig_sqlf(s,
             "INSERT INTO totals (hour_ms, application_id, key_id, model, charged_micros) VALUES"
             " (%lld, %lld, %lld, 'kimi-k2.5', 9223372036854775807)",
             (long long)RIG_NOON_MS, (long long)v.application, (long long)v.key);
    rig_group(s, ops, 3);
    assert_int_equal(ops[0].code, 0);
    assert_int_not_equal(ops[1].code, 0);
    assert_int_equal(ops[2].code, 0);
    assert_int_equal(ops[2].settle.row.balance_micros, 983);
    assert_int_equal(rig_balance(s, &v), 1000);
    rig_sql(s, "DELETE FROM totals WHERE charged_micros > 1000000");
    rig_sqlf(s, "UPDATE keys SET used_micros = 0 WHERE id = %lld", (long long)v.key);
    rig_close(s);
}

static void test_texts_that_are_no_utf8_and_absurd_counts_do_not_stop_the_books(void **state)
{
    struct store *s = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 1000);
    struct ledger_op a = rig_settle(&u, "a", INT64_MAX), b = rig_settle(&u, "b", -5);
    memset(a.settle.row.model, 'm', sizeof a.settle.row.model - 1);
    memcpy(a.settle.row.model + sizeof a.settle.row.model - 3, "\xe2\x82", 3); /* a cut euro sign */
    snprintf(b.settle.row.finish, sizeof b.settle.row.finish,
             "a\xff\xfe"
             "b");
    b.settle.row.prompt_tokens = 10;
    b.settle.row.cached_tokens = 20;
    b.settle.row.price.cached = -7;
    rig_do(s, &a);
    rig_do(s, &b);
    assert_int_equal(a.settle.row.charged_micros, 1000);
    assert_string_equal(b.settle.row.finish, "a??b");
    assert_int_equal(strlen(a.settle.row.model), sizeof a.settle.row.model - 3);
    rig_close(s);
}

static void test_holds_past_their_deadline_are_swept_and_their_calls_still_charged(void **state)
{
    struct store *s = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 1000), v = rig_add_user(s, 1000);
    struct ledger_op ops[] = {rig_hold(&u, "a", 1, 100), rig_hold(&u, "b", 1, 200),
                              rig_hold(&v, "c", 1, 400), rig_hold(&v, "d", 1, 50)};
    struct error e = {.text = ""};
    int64_t n;
    for (int i = 0; i < 3; i++)
        ops[i].hold.deadline_ms = 5000 + i;
    rig_group(s, ops, 4);
    rig_good(ledger_sweep(s, 5000, 10, &n, &e), &e);
    assert_int_equal(n, 0);
    rig_good(ledger_sweep(s, 6000, 2, &n, &e), &e);
    assert_int_equal(n, 2);
    rig_good(ledger_sweep(s, 6000, 10, &n, &e), &e);
    assert_int_equal(n, 1);
    assert_int_equal(rig_balance(s, &u), 1000);
    assert_int_equal(rig_balance(s, &v), 950);
    struct ledger_op settle = rig_settle(&u, "a", 70);
    rig_do(s, &settle);
    assert_int_equal(settle.settle.row.charged_micros, 70);
    assert_int_equal(rig_balance(s, &u), 930);
    rig_good(store_begin(s, STORE_WRITE, &e), &e); /* as a job does it */
    rig_good(ledger_sweep(s, INT64_MAX, 10, &n, &e), &e);
    rig_good(store_commit(s, &e), &e);
    assert_int_equal(n, 1);
    rig_close(s);
}

static void test_all_holds_can_be_released_at_once(void **state)
{
    struct store *s = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 1000), v = rig_add_user(s, 1000);
    struct ledger_op ops[] = {rig_hold(&u, "a", 1, 100), rig_hold(&u, "b", 1, 200),
                              rig_hold(&v, "c", 1, 400)};
    struct error e = {.text = ""};
    int64_t n;
    rig_group(s, ops, 3);
    rig_good(ledger_release_all(s, &n, &e), &e);
    assert_int_equal(n, 3);
    assert_int_equal(rig_balance(s, &u), 1000);
    assert_int_equal(rig_balance(s, &v), 1000);
    rig_good(ledger_release_all(s, &n, &e), &e);
    assert_int_equal(n, 0);
    rig_close(s);
}

static void test_a_call_belongs_to_the_day_of_its_end(void **state)
{
    const int64_t midnight_ms = RIG_NOON_MS + 12 * RIG_HOUR_MS;
    struct store *s = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 1000);
    struct ledger_op ops[] = {rig_hold(&u, "a", 1, 100), rig_hold(&u, "b", 1, 100),
                              rig_settle(&u, "a", 10), rig_settle(&u, "b", 20)};
    ops[2].settle.row.ended_ms = midnight_ms - 1;
    ops[3].settle.row.ended_ms = midnight_ms;
    rig_group(s, ops, 4);
    assert_int_equal(rig_ask(s, "SELECT charged_micros FROM calls_20261128"), 10);
    assert_int_equal(rig_ask(s, "SELECT charged_micros FROM calls_20261129"), 20);
    assert_int_equal(rig_ask(s, "SELECT charged_micros FROM totals WHERE hour_ms = %lld",
                             (long long)midnight_ms - RIG_HOUR_MS),
                     10);
    assert_int_equal(rig_ask(s, "SELECT charged_micros FROM totals WHERE hour_ms = %lld",
                             (long long)midnight_ms),
                     20);
    rig_close(s);
}

static void test_days_are_dropped_with_their_rows_and_come_back_when_needed(void **state)
{
    struct store *s = db_rig_store(*state), *other = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 1000);
    struct error e = {.text = ""};
    int64_t n;
    for (int i = 0; i < 3; i++) {
        char trace[8];
        snprintf(trace, sizeof trace, "t%d", i);
        struct ledger_op op = rig_settle(&u, trace, 10);
        op.settle.row.ended_ms += i * 24 * (int64_t)RIG_HOUR_MS;
        rig_do(s, &op);
    }
    rig_good(ledger_days_drop(other, RIG_DAY + 1, &n, &e), &e);
    assert_int_equal(n, 1);
    assert_int_equal(rig_ask(s, "SELECT COUNT(*) FROM days"), 2);
    rig_prove(s);
    struct ledger_op late = rig_settle(&u, "late", 5); /* this handle thinks that it is there */
    rig_sqlf(s, "DELETE FROM totals WHERE hour_ms < %lld",
             (long long)RIG_NOON_MS + RIG_HOUR_MS); /* or the hour's sums would miss its rows */
    rig_sqlf(s,
             "UPDATE applications SET granted_micros = granted_micros - 10, charged_micros ="
             " charged_micros - 10 WHERE id = %lld",
             (long long)u.application);
    rig_sqlf(s, "UPDATE keys SET used_micros = used_micros - 10 WHERE id = %lld", (long long)u.key);
    rig_sqlf(s, "UPDATE grants SET amount_micros = amount_micros - 10");
    rig_do(s, &late);
    assert_int_equal(rig_ask(s, "SELECT COUNT(*) FROM calls_20261128"), 1);
    store_close(other);
    rig_close(s);
}

static int64_t used_of(struct store *s, int64_t grant)
{
    return rig_ask(s, "SELECT used_micros FROM grants WHERE id = %lld", (long long)grant);
}

static void test_grants_that_end_first_are_spent_first(void **state)
{
    struct store *s = db_rig_store(*state);
    struct rig_user u = rig_add_user(s, 1000);
    int64_t later = rig_grant(s, u.application, 100, RIG_NOON_MS + 2 * RIG_HOUR_MS);
    int64_t sooner = rig_grant(s, u.application, 50, RIG_NOON_MS + RIG_HOUR_MS);
    struct ledger_op a = rig_settle(&u, "a", 70), b = rig_settle(&u, "b", 200),
                     c = rig_void(&u, "b");
    rig_do(s, &a);
    assert_int_equal(used_of(s, sooner), 50);
    assert_int_equal(used_of(s, later), 20);
    rig_do(s, &b);
    assert_int_equal(used_of(s, later), 100);
    assert_int_equal(rig_ask(s, "SELECT grant_micros FROM calls_20261128 WHERE trace_id = 'b'"),
                     80);
    rig_do(s, &c);
    assert_int_equal(used_of(s, sooner), 50);
    assert_int_equal(used_of(s, later), 20);
    rig_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DB_TEST(test_a_hold_is_taken_from_the_balance_and_a_settlement_gives_the_rest_back),
        DB_TEST(test_what_is_repeated_changes_nothing_and_gets_the_same_answer),
        DB_TEST(test_repeats_in_one_group_count_once),
        DB_TEST(test_a_hold_shrinks_to_the_balance_and_to_the_cap),
        DB_TEST(test_a_call_without_a_hold_is_charged_as_far_as_the_balance_reaches),
        DB_TEST(test_a_void_gives_back_what_was_charged_and_keeps_the_tokens),
        DB_TEST(test_who_is_gone_gets_no_hold_and_pays_nothing),
        DB_TEST(test_a_hold_ends_although_its_key_was_deleted),
        DB_TEST(test_an_operation_that_cannot_be_done_hurts_no_other),
        DB_TEST(test_a_row_that_the_database_refuses_is_told_to_it_alone),
        DB_TEST(test_texts_that_are_no_utf8_and_absurd_counts_do_not_stop_the_books),
        DB_TEST(test_holds_past_their_deadline_are_swept_and_their_calls_still_charged),
        DB_TEST(test_all_holds_can_be_released_at_once),
        DB_TEST(test_a_call_belongs_to_the_day_of_its_end),
        DB_TEST(test_days_are_dropped_with_their_rows_and_come_back_when_needed),
        DB_TEST(test_grants_that_end_first_are_spent_first),
    };
    return cmocka_run_group_tests_name("ledger", tests, db_rig_start, db_rig_stop);
}
