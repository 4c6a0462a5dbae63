/* Unit tests of src/store/accounts.c and sessions.c. */
#include "people_rig.h"

static struct store_account get_account(struct store *s, int64_t id)
{
    struct store_account a;
    struct error e;
    must(store_account_get(s, id, &a, &e), &e);
    return a;
}

static void an_account_is_found_by_number_address_and_subject(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_account a = {.email = "ann@example.org",
                              .person = "p1",
                              .name = "Ann \"O'N\" \xc3\xa9",
                              .password = "$argon2id$x",
                              .role = STORE_ADMIN,
                              .must_change = true,
                              .oidc_subject = "https://id.example|17",
                              .rates = {7, 8, 9},
                              .created_ms = NOW},
                         b;
    struct error e;
    int64_t id;
    must(store_account_add(s, &a, &id, &e), &e);
    must(store_account_by_email(s, "ann@example.org", &b, &e), &e);
    assert_int_equal(b.id, id);
    assert_string_equal(b.name, a.name);
    assert_string_equal(b.person, "p1");
    assert_string_equal(b.password, "$argon2id$x");
    assert_int_equal(b.role, STORE_ADMIN);
    assert_true(b.must_change);
    assert_false(b.disabled);
    assert_int_equal(b.rates.requests_per_minute, 7);
    assert_int_equal(b.rates.tokens_per_minute, 8);
    assert_int_equal(b.rates.concurrent, 9);
    assert_int_equal(b.created_ms, NOW);
    must(store_account_by_oidc(s, "https://id.example|17", &b, &e), &e);
    assert_int_equal(b.id, id);
    assert_string_equal(get_account(s, id).oidc_subject, "https://id.example|17");
    assert_int_equal(store_account_get(s, id + 1, &b, &e), ERR_NOT_FOUND);
    assert_int_equal(store_account_by_email(s, "bob@example.org", &b, &e), ERR_NOT_FOUND);
    assert_int_equal(store_account_by_oidc(s, "https://id.example|18", &b, &e), ERR_NOT_FOUND);
}

static void an_address_and_a_subject_belong_to_one(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_account a = {.email = "ann@example.org", .person = "p", .created_ms = NOW};
    struct error e;
    int64_t id = add_account(s, "ann@example.org", STORE_USER), other;
    assert_int_equal(store_account_add(s, &a, &other, &e), ERR_EXISTS);
    other = add_account(s, "bob@example.org", STORE_USER); /* two without a subject */
    must(store_account_set_oidc(s, id, "x", &e), &e);
    assert_int_equal(store_account_set_oidc(s, other, "x", &e), ERR_EXISTS);
    must(store_account_set_oidc(s, id, "", &e), &e);
    must(store_account_set_oidc(s, other, "x", &e), &e);
    assert_int_equal(store_account_set_oidc(s, 9999, "y", &e), ERR_NOT_FOUND);
}

static void the_operators_account_cannot_be_found_or_logged_in_to(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_account a;
    struct error e;
    size_t n;
    int64_t count, id = read_number(s, "SELECT id FROM accounts WHERE email = '' AND id > $1", 0);
    assert_int_equal(store_account_by_email(s, "", &a, &e), ERR_NOT_FOUND);
    assert_int_equal(store_account_by_oidc(s, "", &a, &e), ERR_NOT_FOUND);
    assert_int_equal(store_account_set_password(s, id, "x", false, &e), ERR_NOT_FOUND);
    assert_int_equal(store_account_set_oidc(s, id, "x", &e), ERR_NOT_FOUND);
    must(store_account_page(s, NULL, 0, 1, &a, &n, &count, &e), &e);
    assert_int_equal(n, 0);
    assert_int_equal(count, 0);
}

static void check_search(struct store *s, const char *search, int64_t expected, int64_t first)
{
    struct store_account a[10];
    struct error e;
    size_t n;
    int64_t count;
    must(store_account_page(s, search, 0, 10, a, &n, &count, &e), &e);
    assert_int_equal(n, expected);
    assert_int_equal(count, expected);
    if (n > 0)
        assert_int_equal(a[0].id, first);
}

static void a_search_takes_every_sign_as_it_is(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    char long_text[600];
    int64_t ann = add_account(s, "ann@example.org", STORE_USER);
    int64_t b_b = add_account(s, "b_b@example.org", STORE_USER);
    int64_t pct = add_account(s, "c%c@example.org", STORE_USER);
    int64_t back = add_account(s, "d\\d'@example.org", STORE_USER);
    memset(long_text, 'a', sizeof long_text);
    long_text[sizeof long_text - 1] = '\0';
    check_search(s, NULL, 4, ann);
    check_search(s, "", 4, ann);
    check_search(s, "EXAMPLE", 4, ann);
    check_search(s, "_", 1, b_b);
    check_search(s, "%", 1, pct);
    check_search(s, "\\", 1, back);
    check_search(s, "d'@", 1, back);
    check_search(s, "a_n", 0, 0);
    check_search(s, "'; DROP TABLE accounts; --", 0, 0);
    check_search(s, long_text, 0, 0);
    check_search(s, NULL, 4, ann);
}

static void pages_go_on_where_the_one_before_ended(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_account a[2];
    struct error e;
    char email[64];
    int64_t count, ids[5];
    size_t n;
    for (int i = 0; i < 5; i++) {
        snprintf(email, sizeof email, "p%d@example.org", i);
        ids[i] = add_account(s, email, STORE_USER);
    }
    must(store_account_page(s, "p", 2, 2, a, &n, &count, &e), &e);
    assert_int_equal(n, 2);
    assert_int_equal(count, 5);
    assert_int_equal(a[0].id, ids[2]);
    assert_int_equal(a[1].id, ids[3]);
    must(store_account_page(s, NULL, 4, 2, a, &n, &count, &e), &e);
    assert_int_equal(n, 1);
    assert_int_equal(a[0].id, ids[4]);
    must(store_account_page(s, NULL, INT64_MAX, 2, a, &n, &count, &e), &e);
    assert_int_equal(n, 0);
    must(store_account_page(s, NULL, -5, -5, a, &n, &count, &e), &e);
    assert_int_equal(n, 0);
}

static void a_change_writes_what_an_administrator_may_set(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct error e;
    int64_t id = add_account(s, "ann@example.org", STORE_USER);
    struct store_account a = get_account(s, id);
    snprintf(a.name, sizeof a.name, "Ann");
    snprintf(a.email, sizeof a.email, "not this");
    a.disabled = true;
    a.rates = (struct store_rates){1, 2, 3};
    must(store_account_change(s, &a, &e), &e);
    must(store_account_set_password(s, id, "hash", true, &e), &e);
    must(store_account_login(s, id, NOW + 5, &e), &e);
    a = get_account(s, id);
    assert_string_equal(a.name, "Ann");
    assert_string_equal(a.email, "ann@example.org");
    assert_string_equal(a.password, "hash");
    assert_true(a.disabled);
    assert_true(a.must_change);
    assert_int_equal(a.rates.concurrent, 3);
    assert_int_equal(a.login_ms, NOW + 5);
    a.id = 9999;
    assert_int_equal(store_account_change(s, &a, &e), ERR_NOT_FOUND);
    assert_int_equal(store_account_set_password(s, 9999, "x", false, &e), ERR_NOT_FOUND);
    assert_int_equal(store_account_login(s, 9999, NOW, &e), ERR_NOT_FOUND);
}

static int step_down(struct store *s, int64_t id, enum store_role role, bool disabled)
{
    struct store_account a = get_account(s, id);
    struct error e;
    a.role = role;
    a.disabled = disabled;
    begin(s);
    int rc = store_account_change(s, &a, &e);
    if (rc)
        store_rollback(s);
    else
        commit(s);
    return rc;
}

static void the_last_active_administrator_stays_one(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct error e;
    bool has;
    must(store_account_has_admin(s, &has, &e), &e);
    assert_false(has);
    int64_t ann = add_account(s, "ann@example.org", STORE_ADMIN);
    int64_t bob = add_account(s, "bob@example.org", STORE_USER);
    must(store_account_has_admin(s, &has, &e), &e);
    assert_true(has);
    assert_int_equal(step_down(s, ann, STORE_USER, false), ERR_DENIED);
    assert_int_equal(step_down(s, ann, STORE_ADMIN, true), ERR_DENIED);
    assert_int_equal(step_down(s, bob, STORE_USER, true), 0);
    assert_int_equal(step_down(s, bob, STORE_ADMIN, true), 0); /* of no help: disabled */
    assert_int_equal(step_down(s, ann, STORE_USER, false), ERR_DENIED);
    assert_int_equal(step_down(s, bob, STORE_ADMIN, false), 0);
    assert_int_equal(step_down(s, ann, STORE_USER, false), 0);
    assert_int_equal(step_down(s, bob, STORE_ADMIN, true), ERR_DENIED);
    assert_int_equal(get_account(s, bob).disabled, false);
}

struct admins {
    int64_t ids[RACERS];
};

static int leave(struct store *s, int racer, void *arg, struct error *e)
{
    const struct admins *a = arg;
    struct store_account me;
    int rc = store_account_get(s, a->ids[racer], &me, e);
    me.role = racer % 2 ? STORE_USER : STORE_ADMIN;
    me.disabled = racer % 2 == 0;
    return rc ? rc : store_account_change(s, &me, e);
}

static void of_administrators_who_all_leave_at_once_one_stays(void **state)
{
    struct people *p = *state;
    struct admins a;
    struct race r = {.url = p->url, .turn = leave, .arg = &a};
    char email[64];
    for (int i = 0; i < RACERS; i++) {
        snprintf(email, sizeof email, "a%d@example.org", i);
        a.ids[i] = add_account(p->s, email, STORE_ADMIN);
    }
    run_race(&r);
    assert_int_equal(race_count(&r, 0), RACERS - 1);
    assert_int_equal(race_count(&r, ERR_DENIED), 1);
    assert_int_equal(read_number(p->s,
                                 "SELECT COUNT(*) FROM accounts WHERE role = 1 "
                                 "AND disabled = 0 AND id > $1",
                                 0),
                     1);
}

/* Sessions and links */

static void add_session(struct store *s, const char *hash, int64_t account_id, int64_t expires_ms)
{
    struct store_session x = {
        .account_id = account_id, .created_ms = NOW, .used_ms = NOW, .expires_ms = expires_ms};
    struct error e;
    snprintf(x.hash, sizeof x.hash, "%s", hash);
    must(store_session_add(s, &x, &e), &e);
}

static int find_session(struct store *s, const char *hash)
{
    struct store_session x;
    struct store_account a;
    struct error e;
    int rc = store_session_get(s, hash, &x, &a, &e);
    if (rc == 0) {
        assert_string_equal(x.hash, hash);
        assert_int_equal(x.account_id, a.id);
    }
    return rc;
}

static void a_session_comes_with_its_account(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_session x;
    struct store_account a;
    struct error e;
    int64_t id = add_account(s, "ann@example.org", STORE_USER);
    add_session(s, "aa", id, NOW + 10);
    must(store_session_used(s, "aa", NOW + 3, NOW + 20, &e), &e);
    must(store_session_get(s, "aa", &x, &a, &e), &e);
    assert_string_equal(a.email, "ann@example.org");
    assert_int_equal(x.created_ms, NOW);
    assert_int_equal(x.used_ms, NOW + 3);
    assert_int_equal(x.expires_ms, NOW + 20);
    assert_int_equal(find_session(s, "ab"), ERR_NOT_FOUND);
    assert_int_equal(store_session_used(s, "ab", 1, 2, &e), ERR_NOT_FOUND);
}

static void sessions_end_alone_or_all_but_one(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct error e;
    int64_t ann = add_account(s, "ann@example.org", STORE_USER);
    int64_t bob = add_account(s, "bob@example.org", STORE_USER);
    add_session(s, "a1", ann, NOW + 10);
    add_session(s, "a2", ann, NOW + 10);
    add_session(s, "a3", ann, NOW + 10);
    add_session(s, "b1", bob, NOW + 10);
    must(store_session_end(s, "a1", &e), &e);
    must(store_session_end(s, "a1", &e), &e);
    assert_int_equal(find_session(s, "a1"), ERR_NOT_FOUND);
    must(store_session_end_all(s, ann, "a3", &e), &e);
    assert_int_equal(find_session(s, "a2"), ERR_NOT_FOUND);
    assert_int_equal(find_session(s, "a3"), 0);
    must(store_session_end_all(s, ann, NULL, &e), &e);
    assert_int_equal(find_session(s, "a3"), ERR_NOT_FOUND);
    assert_int_equal(find_session(s, "b1"), 0);
}

static void add_link(struct store *s, const char *hash, const char *kind, int64_t account_id)
{
    struct store_link x = {.account_id = account_id,
                           .email = "e@example.org",
                           .detail = "d",
                           .created_ms = NOW,
                           .expires_ms = NOW + 10};
    struct error e;
    snprintf(x.hash, sizeof x.hash, "%s", hash);
    snprintf(x.kind, sizeof x.kind, "%s", kind);
    must(store_link_add(s, &x, &e), &e);
}

static void a_link_is_good_once_for_its_kind_and_time(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_link x;
    struct error e;
    int64_t ann = add_account(s, "ann@example.org", STORE_USER);
    add_link(s, "r1", "reset", ann);
    add_link(s, "i1", "invite", 0);
    assert_int_equal(store_link_take(s, "r1", "invite", NOW, &x, &e), ERR_NOT_FOUND);
    assert_int_equal(store_link_take(s, "r1", "reset", NOW + 10, &x, &e), ERR_NOT_FOUND);
    must(store_link_take(s, "r1", "reset", NOW + 9, &x, &e), &e);
    assert_int_equal(x.account_id, ann);
    assert_string_equal(x.kind, "reset");
    assert_string_equal(x.detail, "d");
    assert_int_equal(store_link_take(s, "r1", "reset", NOW + 9, &x, &e), ERR_NOT_FOUND);
    must(store_link_take(s, "i1", "invite", NOW, &x, &e), &e);
    assert_int_equal(x.account_id, 0);
    assert_string_equal(x.email, "e@example.org");
    add_link(s, "r2", "reset", ann);
    add_link(s, "o2", "oidc", ann);
    must(store_link_drop(s, ann, "reset", &e), &e);
    assert_int_equal(store_link_take(s, "r2", "reset", NOW, &x, &e), ERR_NOT_FOUND);
    must(store_link_take(s, "o2", "oidc", NOW, &x, &e), &e);
}

static void a_link_is_looked_at_without_taking_it(void **state)
{
    struct people *p = *state;
    struct store *s = p->s;
    struct store_link x;
    struct error e;
    add_link(s, "i1", "invite", 0);
    assert_int_equal(store_link_get(s, "i1", "reset", NOW, &x, &e), ERR_NOT_FOUND);
    assert_int_equal(store_link_get(s, "i1", "invite", NOW + 10, &x, &e), ERR_NOT_FOUND);
    for (int i = 0; i < 2; i++) {
        must(store_link_get(s, "i1", "invite", NOW + 9, &x, &e), &e);
        assert_string_equal(x.kind, "invite");
    }
    must(store_link_take(s, "i1", "invite", NOW, &x, &e), &e);
    assert_int_equal(store_link_get(s, "i1", "invite", NOW, &x, &e), ERR_NOT_FOUND);
}

static int take_link(struct store *s, int racer, void *arg, struct error *e)
{
    struct store_link x;
    (void)racer;
    return store_link_take(s, arg, "reset", NOW, &x, e);
}

static void of_many_who_take_a_link_at_once_one_gets_it(void **state)
{
    struct people *p = *state;
    struct race r = {.url = p->url, .turn = take_link, .arg = "r1"};
    add_link(p->s, "r1", "reset", 0);
    run_race(&r);
    assert_int_equal(race_count(&r, 0), 1);
    assert_int_equal(race_count(&r, ERR_NOT_FOUND), RACERS - 1);
}

static void the_sweep_takes_what_is_over_alone(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_link x;
    struct error e;
    int64_t ann = add_account(s, "ann@example.org", STORE_USER);
    add_session(s, "s1", ann, NOW + 10);
    add_session(s, "s2", ann, NOW + 11);
    add_link(s, "r1", "reset", ann);
    must(store_accounts_sweep(s, NOW + 9, &e), &e);
    assert_int_equal(find_session(s, "s1"), 0);
    must(store_link_take(s, "r1", "reset", NOW, &x, &e), &e);
    must(store_accounts_sweep(s, NOW + 10, &e), &e);
    assert_int_equal(find_session(s, "s1"), ERR_NOT_FOUND);
    assert_int_equal(find_session(s, "s2"), 0);
    assert_int_equal(read_number(s, "SELECT COUNT(*) FROM links WHERE created_ms > $1", 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PEOPLE_TEST(an_account_is_found_by_number_address_and_subject),
        PEOPLE_TEST(an_address_and_a_subject_belong_to_one),
        PEOPLE_TEST(the_operators_account_cannot_be_found_or_logged_in_to),
        PEOPLE_TEST(a_search_takes_every_sign_as_it_is),
        PEOPLE_TEST(pages_go_on_where_the_one_before_ended),
        PEOPLE_TEST(a_change_writes_what_an_administrator_may_set),
        PEOPLE_TEST(the_last_active_administrator_stays_one),
        PEOPLE_TEST(of_administrators_who_all_leave_at_once_one_stays),
        PEOPLE_TEST(a_session_comes_with_its_account),
        PEOPLE_TEST(sessions_end_alone_or_all_but_one),
        PEOPLE_TEST(a_link_is_good_once_for_its_kind_and_time),
        PEOPLE_TEST(a_link_is_looked_at_without_taking_it),
        PEOPLE_TEST(of_many_who_take_a_link_at_once_one_gets_it),
        PEOPLE_TEST(the_sweep_takes_what_is_over_alone),
    };
    return cmocka_run_group_tests(tests, db_rig_start, db_rig_stop);
}
