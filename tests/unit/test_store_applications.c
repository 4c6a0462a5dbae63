/* Unit tests of src/store/applications.c, grants.c and grant_expiry.c. */
#include "people_rig.h"

static int try_grant(struct store *s, int64_t application_id, int64_t amount, int64_t expires_ms)
{
    struct store_grant g = {.application_id = application_id,
                            .amount_micros = amount,
                            .kind = "admin",
                            .note = "n",
                            .by_account = 1,
                            .created_ms = NOW,
                            .expires_ms = expires_ms};
    struct error e;
    int64_t id;
    begin(s);
    int rc = store_grant_add(s, &g, &id, &e);
    if (rc)
        store_rollback(s);
    else
        commit(s);
    return rc;
}

static void check_balance(struct store *s, int64_t id, int64_t expected)
{
    struct store_application a = get_application(s, id);
    assert_int_equal(a.balance_micros, expected);
    assert_int_equal(a.granted_micros - a.charged_micros - a.held_micros, a.balance_micros);
    assert_int_equal(read_number(s,
                                 "SELECT COALESCE(SUM(amount_micros), 0) FROM grants "
                                 "WHERE application_id = $1",
                                 id),
                     a.granted_micros);
    assert_int_equal(read_number(s,
                                 "SELECT COUNT(*) FROM grants WHERE application_id = $1 "
                                 "AND expires_ms > 0 AND expired_ms = 0",
                                 id),
                     read_number(s, "SELECT expiring FROM applications WHERE id = $1", id));
}

static void an_account_has_one_application(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_application a, b;
    struct error e;
    bool made;
    int64_t ann = add_account(s, "ann@example.org", STORE_USER);
    assert_int_equal(store_application_of(s, ann, false, NOW, &a, &made, &e), ERR_NOT_FOUND);
    assert_false(made);
    must(store_application_of(s, ann, true, NOW, &a, &made, &e), &e);
    assert_true(made);
    assert_int_equal(a.account_id, ann);
    assert_string_equal(a.service, "kimi");
    assert_int_equal(a.created_ms, NOW);
    assert_int_equal(a.balance_micros, 0);
    must(store_application_of(s, ann, true, NOW + 1, &b, &made, &e), &e);
    assert_false(made);
    assert_int_equal(b.id, a.id);
    assert_int_equal(b.created_ms, NOW);
    assert_int_equal(store_application_of(s, 9999, true, NOW, &b, NULL, &e), ERR_NOT_FOUND);
}

static int acquire(struct store *s, int racer, void *arg, struct error *e)
{
    struct store_application a;
    (void)racer;
    return store_application_of(s, *(int64_t *)arg, true, NOW, &a, NULL, e);
}

static void many_who_acquire_at_once_get_the_same_application(void **state)
{
    struct people *p = *state;
    int64_t ann = add_account(p->s, "ann@example.org", STORE_USER);
    struct race r = {.url = p->url, .turn = acquire, .arg = &ann};
    run_race(&r);
    assert_int_equal(race_count(&r, 0), RACERS);
    assert_int_equal(
        read_number(p->s, "SELECT COUNT(*) FROM applications WHERE account_id = $1", ann), 1);
}

static void anothers_application_is_not_there(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_application a, list[4];
    struct error e;
    size_t n;
    int64_t count, id = add_application(s, "ann@example.org");
    int64_t other = add_application(s, "bob@example.org");
    int64_t ann = get_application(s, id).account_id;
    must(store_application_get(s, ann, id, &a, &e), &e);
    assert_int_equal(store_application_get(s, ann, other, &a, &e), ERR_NOT_FOUND);
    assert_int_equal(store_application_get(s, 0, 9999, &a, &e), ERR_NOT_FOUND);
    must(store_application_page(s, ann, 0, 4, list, &n, &count, &e), &e);
    assert_int_equal(n, 1);
    assert_int_equal(count, 1);
    assert_int_equal(list[0].id, id);
    must(store_application_page(s, 0, 0, 4, list, &n, &count, &e), &e);
    assert_int_equal(n, 3); /* and the operator's */
    assert_int_equal(count, 3);
    assert_int_equal(list[0].id, other);
    must(store_application_page(s, 0, 1, 1, list, &n, &count, &e), &e);
    assert_int_equal(n, 1);
    assert_int_equal(list[0].id, id);
}

static void an_application_is_disabled_and_enabled(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct error e;
    int64_t id = add_application(s, "ann@example.org");
    must(store_application_disable(s, id, true, NOW + 7, &e), &e);
    assert_true(get_application(s, id).disabled);
    assert_int_equal(get_application(s, id).updated_ms, NOW + 7);
    must(store_application_disable(s, id, false, NOW, &e), &e);
    assert_false(get_application(s, id).disabled);
    assert_int_equal(store_application_disable(s, 9999, true, NOW, &e), ERR_NOT_FOUND);
}

static void grants_add_and_take_but_never_below_zero(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    int64_t id = add_application(s, "ann@example.org");
    assert_int_equal(try_grant(s, id, 100, 0), 0);
    assert_int_equal(try_grant(s, id, -101, 0), ERR_DENIED);
    check_balance(s, id, 100);
    assert_int_equal(try_grant(s, id, -40, 0), 0);
    check_balance(s, id, 60);
    assert_int_equal(try_grant(s, id, -60, 0), 0);
    assert_int_equal(try_grant(s, id, -1, 0), ERR_DENIED);
    check_balance(s, id, 0);
    assert_int_equal(try_grant(s, 9999, 1, 0), ERR_NOT_FOUND);
}

static void amounts_out_of_bounds_are_refused(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    int64_t id = add_application(s, "ann@example.org");
    static const int64_t bad[] = {0, STORE_GRANT_MAX_MICROS + 1, -STORE_GRANT_MAX_MICROS - 1,
                                  INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(try_grant(s, id, bad[i], 0), ERR_INVALID);
    assert_int_equal(try_grant(s, id, -5, NOW + 1), ERR_INVALID);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(try_grant(s, id, STORE_GRANT_MAX_MICROS, 0), 0);
    assert_int_equal(try_grant(s, id, STORE_GRANT_MAX_MICROS, 0), ERR_LIMIT);
    assert_int_equal(try_grant(s, id, 1, 0), ERR_LIMIT);
    check_balance(s, id, 1000 * STORE_GRANT_MAX_MICROS);
    assert_int_equal(try_grant(s, id, -STORE_GRANT_MAX_MICROS, 0), 0);
    check_balance(s, id, 999 * STORE_GRANT_MAX_MICROS);
}

static void a_page_of_grants_says_who_gave_what(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_grant g[3];
    struct error e;
    size_t n;
    int64_t count, id = add_application(s, "ann@example.org");
    assert_int_equal(try_grant(s, id, 1, 0), 0);
    assert_int_equal(try_grant(s, id, 2, NOW + 9), 0);
    assert_int_equal(try_grant(s, id, 3, 0), 0);
    must(store_grant_page(s, id, 1, 3, g, &n, &count, &e), &e);
    assert_int_equal(n, 2);
    assert_int_equal(count, 3);
    assert_int_equal(g[0].amount_micros, 2);
    assert_int_equal(g[0].expires_ms, NOW + 9);
    assert_int_equal(g[0].expired_ms, 0);
    assert_int_equal(g[0].application_id, id);
    assert_string_equal(g[0].kind, "admin");
    assert_string_equal(g[0].note, "n");
    assert_int_equal(g[0].by_account, 1);
    assert_int_equal(g[1].amount_micros, 1);
}

static int take_thirty(struct store *s, int racer, void *arg, struct error *e)
{
    const struct store_grant g = {.application_id = *(int64_t *)arg,
                                  .amount_micros = -30,
                                  .kind = "admin",
                                  .created_ms = NOW + racer};
    return store_grant_add(s, &g, NULL, e);
}

static void many_who_take_at_once_cannot_take_more_than_there_is(void **state)
{
    struct people *p = *state;
    int64_t id = add_application(p->s, "ann@example.org");
    struct race r = {.url = p->url, .turn = take_thirty, .arg = &id};
    assert_int_equal(try_grant(p->s, id, 100, 0), 0);
    run_race(&r);
    assert_int_equal(race_count(&r, 0), 3);
    assert_int_equal(race_count(&r, ERR_DENIED), RACERS - 3);
    check_balance(p->s, id, 10);
}

/* The free quota */

static enum store_free_verdict give_free(struct store *s, int64_t application_id,
                                         const char *person, const char *network, int64_t now_ms,
                                         int64_t bound)
{
    const struct store_free f = {.person = person,
                                 .network = network,
                                 .application_id = application_id,
                                 .amount_micros = 50,
                                 .now_ms = now_ms,
                                 .expires_ms = now_ms + DAY_MS,
                                 .per_network_day = bound};
    enum store_free_verdict verdict;
    struct error e;
    begin(s);
    must(store_free_grant(s, &f, &verdict, &e), &e);
    commit(s);
    return verdict;
}

static void the_free_quota_is_given_once_a_person_for_ever(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    int64_t a = add_application(s, "ann@example.org"), b = add_application(s, "a.nn@example.org");
    assert_int_equal(give_free(s, a, "ann", "", NOW, 0), STORE_FREE_GRANTED);
    assert_int_equal(give_free(s, a, "ann", "", NOW + 900 * (int64_t)DAY_MS, 0), STORE_FREE_HAD_IT);
    assert_int_equal(give_free(s, b, "ann", "", NOW, 0), STORE_FREE_HAD_IT);
    check_balance(s, a, 50);
    check_balance(s, b, 0);
    assert_int_equal(give_free(s, b, "bob", "", NOW, 0), STORE_FREE_GRANTED);
    check_balance(s, b, 50);
}

static void a_network_gets_so_many_a_day(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct error e;
    int64_t id = add_application(s, "ann@example.org");
    assert_int_equal(give_free(s, id, "p1", "192.0.2.0/24", NOW, 2), STORE_FREE_GRANTED);
    assert_int_equal(give_free(s, id, "p2", "192.0.2.0/24", NOW, 2), STORE_FREE_GRANTED);
    assert_int_equal(give_free(s, id, "p3", "192.0.2.0/24", NOW, 2), STORE_FREE_NETWORK_FULL);
    assert_int_equal(give_free(s, id, "p1", "192.0.2.0/24", NOW, 2), STORE_FREE_HAD_IT);
    assert_int_equal(give_free(s, id, "p4", "198.51.100.0/24", NOW, 2), STORE_FREE_GRANTED);
    assert_int_equal(give_free(s, id, "p5", "", NOW, 2), STORE_FREE_GRANTED);
    assert_int_equal(give_free(s, id, "p6", "192.0.2.0/24", NOW, 0), STORE_FREE_GRANTED);
    must(store_accounts_sweep(s, NOW + DAY_MS - 1, &e), &e); /* the same day: nothing goes */
    assert_int_equal(give_free(s, id, "p3", "192.0.2.0/24", NOW + DAY_MS - 1, 2),
                     STORE_FREE_NETWORK_FULL);
    assert_int_equal(give_free(s, id, "p3", "192.0.2.0/24", NOW + DAY_MS, 2), STORE_FREE_GRANTED);
    check_balance(s, id, 6 * 50);
    must(store_accounts_sweep(s, NOW + DAY_MS, &e), &e);
    assert_int_equal(read_number(s, "SELECT COUNT(*) FROM network_grants WHERE day > $1", 0), 1);
}

static void a_free_grant_that_fails_leaves_the_person_their_quota(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_free f = {
        .person = "ann", .network = "", .application_id = 9999, .amount_micros = 50, .now_ms = NOW};
    enum store_free_verdict verdict;
    struct error e;
    int64_t id = add_application(s, "ann@example.org");
    begin(s);
    assert_int_equal(store_free_grant(s, &f, &verdict, &e), ERR_NOT_FOUND);
    store_rollback(s);
    f.amount_micros = 0;
    assert_int_equal(store_free_grant(s, &f, &verdict, &e), ERR_INVALID);
    f.amount_micros = 50;
    f.person = "";
    assert_int_equal(store_free_grant(s, &f, &verdict, &e), ERR_INVALID);
    assert_int_equal(give_free(s, id, "ann", "", NOW, 0), STORE_FREE_GRANTED);
}

struct free_race {
    int64_t application_id;
    const char *network;
    bool same_person;
    atomic_int verdicts[3];
};

static int race_for_free(struct store *s, int racer, void *arg, struct error *e)
{
    struct free_race *fr = arg;
    char person[32];
    enum store_free_verdict verdict;
    struct store_free f = {.person = person,
                           .network = fr->network,
                           .application_id = fr->application_id,
                           .amount_micros = 50,
                           .now_ms = NOW,
                           .per_network_day = 3};
    snprintf(person, sizeof person, "person %d", fr->same_person ? 0 : racer);
    int rc = store_free_grant(s, &f, &verdict, e);
    if (rc == 0) /* a commit here does not fail: nobody else is waited for any more */
        atomic_fetch_add(&fr->verdicts[verdict], 1);
    return rc;
}

static void a_person_who_acquires_many_times_at_once_is_granted_once(void **state)
{
    struct people *p = *state;
    struct free_race fr = {.application_id = add_application(p->s, "ann@example.org"),
                           .network = "192.0.2.0/24",
                           .same_person = true};
    struct race r = {.url = p->url, .turn = race_for_free, .arg = &fr};
    run_race(&r);
    assert_int_equal(race_count(&r, 0), RACERS);
    assert_int_equal(fr.verdicts[STORE_FREE_GRANTED], 1);
    assert_int_equal(fr.verdicts[STORE_FREE_HAD_IT], RACERS - 1);
    check_balance(p->s, fr.application_id, 50);
}

static void a_networks_bound_holds_for_many_at_once(void **state)
{
    struct people *p = *state;
    struct free_race fr = {.application_id = add_application(p->s, "ann@example.org"),
                           .network = "192.0.2.0/24"};
    struct race r = {.url = p->url, .turn = race_for_free, .arg = &fr};
    run_race(&r);
    assert_int_equal(race_count(&r, 0), RACERS);
    assert_int_equal(fr.verdicts[STORE_FREE_GRANTED], 3);
    assert_int_equal(fr.verdicts[STORE_FREE_NETWORK_FULL], RACERS - 3);
    check_balance(p->s, fr.application_id, 150);
    assert_int_equal(read_number(p->s, "SELECT COUNT(*) FROM persons WHERE granted_ms > $1", 0), 3);
}

/* Grants that end. Holds and settlements as the books write them. */

enum { END_MS = 1000 };

static void hold(struct store *s, int64_t id, const char *trace_id, int64_t amount, int64_t now_ms)
{
    struct db_query q;
    struct error e;
    db_sql(&q, "INSERT INTO holds (trace_id, application_id, key_id, amount_micros, created_ms, "
               "deadline_ms) VALUES ($1, $2, 1, $3, $4, $5)");
    db_arg_text(&q, trace_id);
    db_arg(&q, id);
    db_arg(&q, amount);
    db_arg(&q, now_ms);
    db_arg(&q, now_ms + DAY_MS);
    must(db_run_one(s->db, &q, &e), &e);
    db_done(&q, 1);
    db_sql(&q, "UPDATE applications SET balance_micros = balance_micros - $2, "
               "held_micros = held_micros + $2 WHERE id = $1");
    db_arg(&q, id);
    db_arg(&q, amount);
    must(db_run_one(s->db, &q, &e), &e);
    db_done(&q, 1);
}

/* The grant that ends first bears the charge, as far as it has a rest. */
static void settle(struct store *s, int64_t id, const char *trace_id, int64_t held, int64_t charge)
{
    struct db_query q;
    struct error e;
    db_sql(&q, "DELETE FROM holds WHERE trace_id = $1");
    db_arg_text(&q, trace_id);
    must(db_run_one(s->db, &q, &e), &e);
    assert_int_equal(q.changed, 1);
    db_done(&q, 1);
    db_sql(&q, "UPDATE applications SET balance_micros = balance_micros + $2 - $3, "
               "held_micros = held_micros - $2, charged_micros = charged_micros + $3 "
               "WHERE id = $1");
    db_arg(&q, id);
    db_arg(&q, held);
    db_arg(&q, charge);
    must(db_run_one(s->db, &q, &e), &e);
    db_done(&q, 1);
    db_sql(&q, "UPDATE grants SET used_micros = CASE WHEN used_micros + $2 > amount_micros "
               "THEN amount_micros ELSE used_micros + $2 END WHERE id = (SELECT id FROM grants "
               "WHERE application_id = $1 AND expires_ms > 0 AND expired_ms = 0 "
               "ORDER BY expires_ms, id LIMIT 1)");
    db_arg(&q, id);
    db_arg(&q, charge);
    must(db_run_one(s->db, &q, &e), &e);
    db_done(&q, 1);
}

static int64_t expire(struct store *s, int64_t now_ms)
{
    struct error e;
    int64_t n;
    begin(s);
    must(store_grants_expire(s, now_ms, 100, &n, &e), &e);
    commit(s);
    return n;
}

static void what_is_over_loses_its_unspent_rest(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_grant g[4];
    struct error e;
    size_t n;
    int64_t count, id = add_application(s, "ann@example.org");
    assert_int_equal(try_grant(s, id, 100, NOW + END_MS), 0);
    assert_int_equal(try_grant(s, id, 7, 0), 0);
    hold(s, id, "t1", 50, NOW);
    settle(s, id, "t1", 50, 30);
    assert_int_equal(expire(s, NOW + END_MS - 1), 0);
    check_balance(s, id, 77);
    assert_int_equal(expire(s, NOW + END_MS), 1);
    check_balance(s, id, 7);
    assert_int_equal(expire(s, NOW + END_MS), 0);
    must(store_grant_page(s, id, 0, 4, g, &n, &count, &e), &e);
    assert_int_equal(n, 3);
    assert_string_equal(g[0].kind, "expiry");
    assert_int_equal(g[0].amount_micros, -70);
    assert_int_equal(g[0].created_ms, NOW + END_MS);
    assert_int_equal(g[0].expires_ms, 0);
    assert_int_equal(g[2].expired_ms, NOW + END_MS);
}

static void what_a_call_before_the_end_holds_may_still_be_spent(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    int64_t id = add_application(s, "ann@example.org");
    assert_int_equal(try_grant(s, id, 100, NOW + END_MS), 0);
    assert_int_equal(try_grant(s, id, 1000, 0), 0);
    hold(s, id, "t1", 40, NOW);
    assert_int_equal(expire(s, NOW + END_MS), 1);
    check_balance(s, id, 1000); /* 60 of 100 are gone, though 1060 were there */
    assert_int_equal(expire(s, NOW + END_MS), 0);
    settle(s, id, "t1", 40, 25);
    check_balance(s, id, 1015);
    assert_int_equal(expire(s, NOW + END_MS), 1);
    check_balance(s, id, 1000);
    assert_int_equal(expire(s, NOW + END_MS), 0);
    assert_int_equal(read_number(s, "SELECT expiring FROM applications WHERE id = $1", id), 0);
}

static void holding_all_the_time_keeps_no_grant_alive(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    int64_t id = add_application(s, "ann@example.org");
    assert_int_equal(try_grant(s, id, 100, NOW + END_MS), 0);
    hold(s, id, "t1", 30, NOW + END_MS); /* after the end, before it was looked at */
    assert_int_equal(expire(s, NOW + END_MS + 1), 1);
    check_balance(s, id, 0);
    assert_int_equal(expire(s, NOW + END_MS + 1), 0);
    settle(s, id, "t1", 30, 10);
    check_balance(s, id, 20);
    hold(s, id, "t2", 5, NOW + END_MS + 2);
    assert_int_equal(expire(s, NOW + END_MS + 3), 1);
    check_balance(s, id, 0);
    settle(s, id, "t2", 5, 0);
    assert_int_equal(expire(s, NOW + END_MS + 4), 1);
    check_balance(s, id, 0);
    assert_int_equal(get_application(s, id).charged_micros, 10);
    assert_int_equal(read_number(s, "SELECT expiring FROM applications WHERE id = $1", id), 0);
}

static void what_was_taken_back_before_is_not_taken_twice(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    int64_t id = add_application(s, "ann@example.org");
    assert_int_equal(try_grant(s, id, 100, NOW + END_MS), 0);
    assert_int_equal(try_grant(s, id, -80, 0), 0);
    assert_int_equal(expire(s, NOW + END_MS), 1);
    check_balance(s, id, 0);
    assert_int_equal(try_grant(s, id, 5, 0), 0);
    assert_int_equal(expire(s, NOW + END_MS), 0);
    check_balance(s, id, 5);
}

static void one_call_ends_so_many_and_grants_of_several_applications(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct error e;
    int64_t n, a = add_application(s, "ann@example.org"), b = add_application(s, "bob@example.org");
    assert_int_equal(try_grant(s, b, 10, NOW + END_MS), 0);
    assert_int_equal(try_grant(s, a, 20, NOW + END_MS + 1), 0);
    assert_int_equal(try_grant(s, b, 30, NOW + END_MS + 2), 0);
    assert_int_equal(try_grant(s, b, 40, NOW + END_MS + 9), 0);
    begin(s);
    must(store_grants_expire(s, NOW + END_MS + 5, 2, &n, &e), &e);
    commit(s);
    assert_int_equal(n, 2);
    check_balance(s, a, 0);
    check_balance(s, b, 70);
    assert_int_equal(expire(s, NOW + END_MS + 5), 1);
    check_balance(s, b, 40);
}

static int race_to_expire(struct store *s, int racer, void *arg, struct error *e)
{
    int64_t n;
    (void)racer;
    (void)arg;
    return store_grants_expire(s, NOW + END_MS, 100, &n, e);
}

static void many_who_end_a_grant_at_once_end_it_once(void **state)
{
    struct people *p = *state;
    struct race r = {.url = p->url, .turn = race_to_expire};
    int64_t a = add_application(p->s, "ann@example.org");
    int64_t b = add_application(p->s, "bob@example.org");
    for (int i = 0; i < 4; i++) {
        assert_int_equal(try_grant(p->s, i % 2 ? a : b, 10, NOW + END_MS), 0);
        assert_int_equal(try_grant(p->s, i % 2 ? a : b, 100, 0), 0);
    }
    run_race(&r);
    assert_int_equal(race_count(&r, 0), RACERS);
    check_balance(p->s, a, 200);
    check_balance(p->s, b, 200);
    assert_int_equal(
        read_number(p->s, "SELECT COUNT(*) FROM grants WHERE kind = 'expiry' AND id > $1", 0), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PEOPLE_TEST(an_account_has_one_application),
        PEOPLE_TEST(many_who_acquire_at_once_get_the_same_application),
        PEOPLE_TEST(anothers_application_is_not_there),
        PEOPLE_TEST(an_application_is_disabled_and_enabled),
        PEOPLE_TEST(grants_add_and_take_but_never_below_zero),
        PEOPLE_TEST(amounts_out_of_bounds_are_refused),
        PEOPLE_TEST(a_page_of_grants_says_who_gave_what),
        PEOPLE_TEST(many_who_take_at_once_cannot_take_more_than_there_is),
        PEOPLE_TEST(the_free_quota_is_given_once_a_person_for_ever),
        PEOPLE_TEST(a_network_gets_so_many_a_day),
        PEOPLE_TEST(a_free_grant_that_fails_leaves_the_person_their_quota),
        PEOPLE_TEST(a_person_who_acquires_many_times_at_once_is_granted_once),
        PEOPLE_TEST(a_networks_bound_holds_for_many_at_once),
        PEOPLE_TEST(what_is_over_loses_its_unspent_rest),
        PEOPLE_TEST(what_a_call_before_the_end_holds_may_still_be_spent),
        PEOPLE_TEST(holding_all_the_time_keeps_no_grant_alive),
        PEOPLE_TEST(what_was_taken_back_before_is_not_taken_twice),
        PEOPLE_TEST(one_call_ends_so_many_and_grants_of_several_applications),
        PEOPLE_TEST(many_who_end_a_grant_at_once_end_it_once),
    };
    return cmocka_run_group_tests(tests, db_rig_start, db_rig_stop);
}
