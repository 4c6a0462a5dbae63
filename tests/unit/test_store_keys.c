/* Unit tests of src/store/keys.c and key_pages.c. */
#include "people_rig.h"

enum { MINUTE_MS = 60000 };

static void hash_of(int64_t seed, uint8_t hash[STORE_HASH_BYTES])
{
    memset(hash, 0xab, STORE_HASH_BYTES);
    memcpy(hash, &seed, sizeof seed);
}

static int64_t add_row(struct store *s, int64_t seed, const struct store_key *row)
{
    uint8_t hash[STORE_HASH_BYTES];
    struct error e;
    int64_t id;
    hash_of(seed, hash);
    must(store_key_add(s, hash, row, &id, &e), &e);
    return id;
}

static int64_t add_key(struct store *s, int64_t seed, int64_t application_id, const char *name)
{
    struct store_key row = {.application_id = application_id,
                            .prefix = "mg-1a2b3c",
                            .cap_micros = -1,
                            .created_ms = NOW};
    snprintf(row.name, sizeof row.name, "%s", name);
    return add_row(s, seed, &row);
}

static int find_key(struct store *s, int64_t seed, struct store_key *out)
{
    uint8_t hash[STORE_HASH_BYTES];
    struct error e;
    hash_of(seed, hash);
    return store_key_find(s, hash, out, &e);
}

static struct store_key get_key(struct store *s, int64_t id)
{
    struct store_key key;
    struct error e;
    must(store_key_get(s, 0, id, &key, &e), &e);
    return key;
}

static void a_key_is_found_by_its_hash_with_all_its_rights(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    int64_t id = add_application(s, "ann@example.org");
    struct store_key key, row = {.application_id = id,
                                 .kind = STORE_KEY_PLATFORM,
                                 .name = "n'\"",
                                 .prefix = "mg-1a2b3c",
                                 .models = "a,b",
                                 .networks = "192.0.2.0/24",
                                 .cap_micros = 77,
                                 .rates = {1, 2, 3},
                                 .created_ms = NOW,
                                 .expires_ms = NOW + 5,
                                 .disabled = true};
    row.id = add_row(s, 1, &row);
    assert_int_equal(find_key(s, 1, &key), 0);
    assert_int_equal(key.id, row.id);
    assert_int_equal(key.application_id, id);
    assert_int_equal(key.account_id, get_application(s, id).account_id);
    assert_int_equal(key.kind, STORE_KEY_PLATFORM);
    assert_string_equal(key.name, "n'\"");
    assert_string_equal(key.prefix, "mg-1a2b3c");
    assert_string_equal(key.models, "a,b");
    assert_string_equal(key.networks, "192.0.2.0/24");
    assert_int_equal(key.cap_micros, 77);
    assert_int_equal(key.rates.tokens_per_minute, 2);
    assert_int_equal(key.created_ms, NOW);
    assert_int_equal(key.expires_ms, NOW + 5);
    assert_true(key.disabled);
    assert_false(key.owner_disabled);
    assert_false(key.account_is_admin);
    assert_int_equal(find_key(s, 2, &key), ERR_NOT_FOUND);
}

static void a_hash_and_an_application_must_be_right(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_key row = {.cap_micros = -1};
    uint8_t hash[STORE_HASH_BYTES];
    struct error e;
    int64_t id;
    add_key(s, 1, 0, "a");
    hash_of(1, hash);
    assert_int_equal(store_key_add(s, hash, &row, &id, &e), ERR_EXISTS);
    hash_of(2, hash);
    row.application_id = 9999;
    assert_int_equal(store_key_add(s, hash, &row, &id, &e), ERR_NOT_FOUND);
    row.application_id = 0;
    row.cap_micros = -2;
    assert_int_equal(store_key_add(s, hash, &row, &id, &e), ERR_INVALID);
}

static void a_key_tells_its_owners_state_and_rates(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_key key;
    struct store_account a;
    struct error e;
    int64_t app = add_application(s, "ann@example.org");
    int64_t account = get_application(s, app).account_id;
    add_key(s, 1, app, "k");
    must(store_application_disable(s, app, true, NOW, &e), &e);
    assert_int_equal(find_key(s, 1, &key), 0);
    assert_true(key.owner_disabled);
    must(store_application_disable(s, app, false, NOW, &e), &e);
    must(store_account_get(s, account, &a, &e), &e);
    a.rates = (struct store_rates){4, 5, 6};
    a.role = STORE_ADMIN;
    must(store_account_change(s, &a, &e), &e);
    assert_int_equal(find_key(s, 1, &key), 0);
    assert_false(key.owner_disabled);
    assert_true(key.account_is_admin);
    assert_int_equal(key.account_rates.requests_per_minute, 4);
    assert_int_equal(key.account_rates.concurrent, 6);
    assert_int_equal(key.rates.concurrent, 0);
    add_account(s, "root@example.org", STORE_ADMIN);
    a.disabled = true;
    must(store_account_change(s, &a, &e), &e);
    assert_int_equal(find_key(s, 1, &key), 0);
    assert_true(key.owner_disabled);
}

static void a_key_of_no_application_is_the_operators(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    int64_t id = add_key(s, 1, 0, "k");
    struct store_key key = get_key(s, id);
    assert_int_equal(key.account_id,
                     read_number(s, "SELECT id FROM accounts WHERE email = '' AND id > $1", 0));
    assert_int_equal(get_application(s, key.application_id).account_id, key.account_id);
}

struct seen {
    int64_t n, last;
};

static void see(void *arg, const struct store_key *key)
{
    struct seen *seen = arg;
    assert_true(key->id > seen->last);
    seen->last = key->id;
    seen->n++;
}

static void all_keys_are_told_oldest_first(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct seen seen = {0};
    struct error e;
    must(store_key_each(s, see, &seen, &e), &e);
    assert_int_equal(seen.n, 0);
    begin(s);
    for (int i = 0; i < 1001; i++)
        add_key(s, i, 0, "k");
    commit(s);
    must(store_key_each(s, see, &seen, &e), &e);
    assert_int_equal(seen.n, 1001);
}

static void a_key_is_revoked_by_number_or_name(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_key key;
    struct error e;
    char number[32];
    int64_t a = add_key(s, 1, 0, "a"), b = add_key(s, 2, 0, "b"), b2 = add_key(s, 3, 0, "b");
    must(store_key_revoke(s, "a", NOW + 1, &key, &e), &e);
    assert_int_equal(key.id, a);
    assert_int_equal(get_key(s, a).revoked_ms, NOW + 1);
    must(store_key_revoke(s, "a", NOW + 2, &key, &e), &e); /* the first date stays */
    assert_int_equal(key.revoked_ms, NOW + 1);
    assert_int_equal(store_key_revoke(s, "b", NOW, &key, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "2 keys"));
    snprintf(number, sizeof number, "%lld", (long long)b);
    must(store_key_revoke(s, number, NOW, &key, &e), &e);
    must(store_key_revoke(s, "b", NOW, &key, &e), &e); /* the one that is left */
    assert_int_equal(key.id, b2);
    assert_int_equal(store_key_revoke(s, "c", NOW, &key, &e), ERR_NOT_FOUND);
    assert_int_equal(store_key_revoke(s, "a' OR 'a' = 'a", NOW, &key, &e), ERR_NOT_FOUND);
    assert_int_equal(store_key_revoke(s, "99999999999999999999", NOW, &key, &e), ERR_NOT_FOUND);
}

static void the_last_use_is_kept_to_the_minute(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct error e;
    int64_t id = add_key(s, 1, 0, "a");
    must(store_key_used(s, id, NOW + MINUTE_MS + 59999, &e), &e);
    assert_int_equal(get_key(s, id).used_ms, NOW + MINUTE_MS);
    must(store_key_used(s, id, NOW, &e), &e);
    assert_int_equal(get_key(s, id).used_ms, NOW + MINUTE_MS);
    must(store_key_used(s, 9999, NOW, &e), &e);
}

static void check_page(struct store *s, int64_t account, int64_t app, bool revoked, int64_t n_want,
                       int64_t first)
{
    struct store_key k[8];
    struct error e;
    size_t n;
    int64_t count;
    must(store_key_page(s, account, app, revoked, 0, 8, k, &n, &count, &e), &e);
    assert_int_equal(n, n_want);
    assert_int_equal(count, n_want);
    if (n > 0)
        assert_int_equal(k[0].id, first);
    for (size_t i = 1; i < n; i++)
        assert_true(k[i].id < k[i - 1].id);
}

static void a_page_has_the_keys_of_one_account_newest_first(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_key k[2];
    struct error e;
    size_t n;
    int64_t a = add_application(s, "ann@example.org"), b = add_application(s, "bob@example.org");
    int64_t ann = get_application(s, a).account_id, bob = get_application(s, b).account_id, count;
    add_key(s, 1, a, "1");
    int64_t k2 = add_key(s, 2, a, "2"), k3 = add_key(s, 3, a, "3"), k4 = add_key(s, 4, b, "4");
    must(store_key_revoke_id(s, ann, k3, NOW, &e), &e);
    check_page(s, ann, 0, false, 2, k2);
    check_page(s, ann, 0, true, 3, k3);
    check_page(s, ann, a, false, 2, k2);
    check_page(s, ann, b, true, 0, 0);
    check_page(s, bob, 0, false, 1, k4);
    check_page(s, 0, a, true, 3, k3);
    check_page(s, 0, 0, false, 3, k4);
    check_page(s, 0, 0, true, 4, k4);
    must(store_key_page(s, 0, 0, true, 1, 2, k, &n, &count, &e), &e);
    assert_int_equal(n, 2);
    assert_int_equal(count, 4);
    assert_int_equal(k[0].id, k3);
    must(store_key_count(s, a, &count, &e), &e);
    assert_int_equal(count, 2);
}

static void anothers_key_is_not_there(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_key key, before;
    uint8_t hash[STORE_HASH_BYTES];
    struct error e;
    int64_t a = add_application(s, "ann@example.org"), b = add_application(s, "bob@example.org");
    int64_t bob = get_application(s, b).account_id, id = add_key(s, 1, a, "ann's");
    hash_of(2, hash);
    before = key = get_key(s, id);
    snprintf(key.name, sizeof key.name, "bob's");
    assert_int_equal(store_key_get(s, bob, id, &before, &e), ERR_NOT_FOUND);
    assert_int_equal(store_key_change(s, bob, &key, &e), ERR_NOT_FOUND);
    assert_int_equal(store_key_revoke_id(s, bob, id, NOW, &e), ERR_NOT_FOUND);
    begin(s);
    assert_int_equal(store_key_rotate(s, bob, id, hash, "mg-x", NOW, NOW, &key, &e), ERR_NOT_FOUND);
    store_rollback(s);
    key = get_key(s, id);
    assert_memory_equal(&key, &before, sizeof key);
}

static void a_change_writes_a_keys_rights_and_nothing_else(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct error e;
    int64_t app = add_application(s, "ann@example.org"), id = add_key(s, 1, app, "a");
    struct store_key key = get_key(s, id), now;
    snprintf(key.name, sizeof key.name, "'; DROP TABLE keys; --");
    snprintf(key.models, sizeof key.models, "m");
    snprintf(key.networks, sizeof key.networks, "10.0.0.0/8");
    key.cap_micros = 5;
    key.rates = (struct store_rates){1, 2, 3};
    key.expires_ms = NOW + 9;
    key.disabled = true;
    key.used_micros = 1000; /* not by this */
    key.revoked_ms = 7;
    must(store_key_change(s, key.account_id, &key, &e), &e);
    now = get_key(s, id);
    assert_string_equal(now.name, key.name);
    assert_string_equal(now.models, "m");
    assert_string_equal(now.networks, "10.0.0.0/8");
    assert_int_equal(now.cap_micros, 5);
    assert_int_equal(now.rates.concurrent, 3);
    assert_int_equal(now.expires_ms, NOW + 9);
    assert_true(now.disabled);
    assert_int_equal(now.used_micros, 0);
    assert_int_equal(now.revoked_ms, 0);
    key.cap_micros = -2;
    assert_int_equal(store_key_change(s, 0, &key, &e), ERR_INVALID);
    key.cap_micros = -1;
    key.id = 9999;
    assert_int_equal(store_key_change(s, 0, &key, &e), ERR_NOT_FOUND);
}

static void a_key_is_revoked_once_and_keeps_its_date(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct error e;
    int64_t app = add_application(s, "ann@example.org"), id = add_key(s, 1, app, "a");
    int64_t ann = get_application(s, app).account_id;
    must(store_key_revoke_id(s, ann, id, NOW + 1, &e), &e);
    must(store_key_revoke_id(s, 0, id, NOW + 2, &e), &e);
    assert_int_equal(get_key(s, id).revoked_ms, NOW + 1);
    assert_int_equal(store_key_revoke_id(s, 0, 9999, NOW, &e), ERR_NOT_FOUND);
}

/* Rotation */

static int rotate(struct store *s, int64_t id, int64_t seed, int64_t until_ms,
                  struct store_key *out)
{
    uint8_t hash[STORE_HASH_BYTES];
    struct error e;
    hash_of(seed, hash);
    begin(s);
    int rc = store_key_rotate(s, 0, id, hash, "mg-new", NOW, until_ms, out, &e);
    if (rc)
        store_rollback(s);
    else
        commit(s);
    return rc;
}

static void a_rotated_key_has_the_rights_and_the_caps_rest(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_key fresh, old, found,
        row = {.application_id = add_application(s, "ann@example.org"),
               .name = "k",
               .prefix = "mg-old",
               .models = "m",
               .networks = "n",
               .cap_micros = 100,
               .rates = {1, 2, 3},
               .created_ms = NOW - 5,
               .expires_ms = NOW + DAY_MS};
    int64_t id = add_row(s, 1, &row);
    run_sql(s, "UPDATE keys SET used_micros = 30, held_micros = 20 WHERE id = $1", id);
    assert_int_equal(rotate(s, id, 2, NOW + 10, &fresh), 0);
    assert_int_not_equal(fresh.id, id);
    assert_string_equal(fresh.name, "k");
    assert_string_equal(fresh.prefix, "mg-new");
    assert_string_equal(fresh.models, "m");
    assert_string_equal(fresh.networks, "n");
    assert_int_equal(fresh.rates.concurrent, 3);
    assert_int_equal(fresh.application_id, row.application_id);
    assert_int_equal(fresh.expires_ms, NOW + DAY_MS);
    assert_int_equal(fresh.created_ms, NOW);
    assert_int_equal(fresh.cap_micros, 50);
    assert_int_equal(fresh.used_micros, 0);
    assert_int_equal(fresh.held_micros, 0);
    old = get_key(s, id);
    assert_int_equal(old.cap_micros, 50);
    assert_int_equal(old.expires_ms, NOW + 10);
    assert_int_equal(old.revoked_ms, 0);
    assert_int_equal(find_key(s, 1, &found), 0);
    assert_int_equal(found.id, id);
    assert_int_equal(find_key(s, 2, &found), 0);
    assert_int_equal(found.id, fresh.id);
}

static void rotation_never_makes_the_old_key_live_longer(void **state)
{
    struct store *s = ((struct people *)*state)->s;
    struct store_key fresh, row = {.cap_micros = -1, .created_ms = NOW, .expires_ms = NOW + 10};
    int64_t id = add_row(s, 1, &row);
    assert_int_equal(rotate(s, id, 2, NOW + DAY_MS, &fresh), 0);
    assert_int_equal(get_key(s, id).expires_ms, NOW + 10);
    assert_int_equal(fresh.cap_micros, -1);
    assert_int_equal(get_key(s, id).cap_micros, -1);
    assert_int_equal(rotate(s, fresh.id, 3, 0, &fresh), 0); /* no overlap: at once */
    assert_int_equal(read_number(s, "SELECT expires_ms FROM keys WHERE id = $1", id + 1), NOW);
    assert_int_equal(rotate(s, id + 1, 4, NOW + 5, &fresh), ERR_EXPIRED);
    run_sql(s, "UPDATE keys SET revoked_ms = 1 WHERE id = $1", fresh.id);
    assert_int_equal(rotate(s, fresh.id, 5, NOW + 5, &fresh), ERR_DENIED);
    assert_int_equal(rotate(s, 9999, 6, NOW + 5, &fresh), ERR_NOT_FOUND);
}

static int rotate_in_race(struct store *s, int racer, void *arg, struct error *e)
{
    struct store_key fresh;
    uint8_t hash[STORE_HASH_BYTES];
    hash_of(100 + racer, hash);
    return store_key_rotate(s, 0, *(int64_t *)arg, hash, "mg-new", NOW, NOW + 10, &fresh, e);
}

static void many_who_rotate_at_once_share_one_cap(void **state)
{
    struct people *p = *state;
    struct store_key row = {.application_id = add_application(p->s, "ann@example.org"),
                            .cap_micros = 100,
                            .created_ms = NOW};
    int64_t id = add_row(p->s, 1, &row);
    struct race r = {.url = p->url, .turn = rotate_in_race, .arg = &id};
    run_sql(p->s, "UPDATE keys SET used_micros = 40 WHERE id = $1", id);
    run_race(&r);
    assert_int_equal(race_count(&r, 0), RACERS);
    assert_int_equal(read_number(p->s, "SELECT COUNT(*) FROM keys WHERE application_id = $1",
                                 row.application_id),
                     RACERS + 1);
    assert_int_equal(read_number(p->s, "SELECT SUM(cap_micros) FROM keys WHERE application_id = $1",
                                 row.application_id),
                     100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PEOPLE_TEST(a_key_is_found_by_its_hash_with_all_its_rights),
        PEOPLE_TEST(a_hash_and_an_application_must_be_right),
        PEOPLE_TEST(a_key_tells_its_owners_state_and_rates),
        PEOPLE_TEST(a_key_of_no_application_is_the_operators),
        PEOPLE_TEST(all_keys_are_told_oldest_first),
        PEOPLE_TEST(a_key_is_revoked_by_number_or_name),
        PEOPLE_TEST(the_last_use_is_kept_to_the_minute),
        PEOPLE_TEST(a_page_has_the_keys_of_one_account_newest_first),
        PEOPLE_TEST(anothers_key_is_not_there),
        PEOPLE_TEST(a_change_writes_a_keys_rights_and_nothing_else),
        PEOPLE_TEST(a_key_is_revoked_once_and_keeps_its_date),
        PEOPLE_TEST(a_rotated_key_has_the_rights_and_the_caps_rest),
        PEOPLE_TEST(rotation_never_makes_the_old_key_live_longer),
        PEOPLE_TEST(many_who_rotate_at_once_share_one_cap),
    };
    return cmocka_run_group_tests(tests, db_rig_start, db_rig_stop);
}
