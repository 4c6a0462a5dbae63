/* Unit tests of src/gate, with a real store behind it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>
#include <sqlite3.h>

#include "base/clock.h"
#include "gate/cache.h"
#include "gate/gate.h"

enum { PATH_BYTES = 512, WAIT_S = 60, EXPIRES_MS = 5000, CACHE_MS = 1000 };

struct bench {
    char dir[PATH_BYTES / 2], db[PATH_BYTES];
    struct event_base *base;
    struct store_threads *store;
    struct gate *gate;
    struct gate_pass pass; /* the last one */
    uint64_t number;
    int passes;
    char good[GATE_KEY_CHARS + 1], revoked[GATE_KEY_CHARS + 1], disabled[GATE_KEY_CHARS + 1],
        expiring[GATE_KEY_CHARS + 1], here[GATE_KEY_CHARS + 1], elsewhere[GATE_KEY_CHARS + 1],
        token[GATE_TOKEN_CHARS + 1];
};

static atomic_llong now_ms, mono_ms;

static int64_t test_now(void)
{
    return atomic_load(&now_ms);
}

static int64_t test_mono(void)
{
    return atomic_load(&mono_ms) * 1000;
}

static void on_pass(void *arg, uint64_t number, const struct gate_pass *pass)
{
    struct bench *b = arg;
    b->pass = *pass;
    b->number = number;
    b->passes++;
}

#define PEER "192.0.2.7"

static void add_key(struct store *s, const struct store_key *row, char key[GATE_KEY_CHARS + 1])
{
    uint8_t hash[STORE_HASH_BYTES];
    int64_t id;
    gate_key_make(key);
    gate_key_hash(key, GATE_KEY_CHARS, hash);
    assert_int_equal(store_key_add(s, hash, row, &id, NULL), 0);
}

static void add_token(struct store *s, char token[GATE_TOKEN_CHARS + 1])
{
    const struct store_key row = {.name = "token", .kind = STORE_KEY_PLATFORM};
    uint8_t hash[STORE_HASH_BYTES];
    int64_t id;
    gate_token_make(token);
    gate_key_hash(token, GATE_TOKEN_CHARS, hash);
    assert_int_equal(store_key_add(s, hash, &row, &id, NULL), 0);
}

static int open_bench(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    const char *tmp = getenv("TMPDIR");
    struct store *s;
    struct store_key key;
    struct error e;
    snprintf(b->dir, sizeof b->dir, "%s/mg-gate-XXXXXX", tmp ? tmp : P_tmpdir);
    if (!mkdtemp(b->dir))
        return -1;
    snprintf(b->db, sizeof b->db, "%s/moongate.db", b->dir);
    atomic_store(&now_ms, 1000);
    clock_set_unix_ms(test_now);
    atomic_store(&mono_ms, 1000000);
    clock_set_mono_us(test_mono);
    if (store_open(b->dir, &s, &e) != 0)
        fail_msg("%s", e.text);
    add_key(s, &(struct store_key){.name = "good", .models = "a,b"}, b->good);
    add_key(s, &(struct store_key){.name = "revoked"}, b->revoked);
    add_key(s, &(struct store_key){.name = "disabled", .disabled = true}, b->disabled);
    add_key(s, &(struct store_key){.name = "expiring", .expires_ms = EXPIRES_MS}, b->expiring);
    add_key(s, &(struct store_key){.name = "here", .networks = "192.0.2.0/24"}, b->here);
    add_key(s, &(struct store_key){.name = "elsewhere", .networks = "10.0.0.0/8"}, b->elsewhere);
    add_token(s, b->token);
    assert_int_equal(store_key_revoke(s, "revoked", 1, &key, NULL), 0);
    b->base = event_base_new();
    store_close(s);
    char *url = store_url(NULL, b->dir);
    const struct store_threads_options o = {.queue = 100, .patience_ms = 1000};
    assert_int_equal(store_threads_open(b->base, url, true, &o, &b->store, &e), 0);
    free(url);
    assert_int_equal(gate_open(b->store, on_pass, b, &b->gate, &e), 0);
    *state = b;
    return 0;
}

static int close_bench(void **state)
{
    struct bench *b = *state;
    gate_close(b->gate);
    store_threads_close(b->store);
    event_base_free(b->base);
    clock_set_unix_ms(NULL);
    clock_set_mono_us(NULL);
    unlink(b->db);
    int rc = rmdir(b->dir);
    free(b);
    return rc;
}

/* Turns the loop until a pass came. */
static void wait_for_pass(struct bench *b)
{
    const struct timeval limit = {.tv_sec = WAIT_S};
    int before = b->passes;
    event_base_loopexit(b->base, &limit);
    while (b->passes == before && event_base_loop(b->base, EVLOOP_ONCE) == 0 &&
           !event_base_got_exit(b->base))
        ;
    assert_int_equal(b->passes, before + 1);
}

static enum gate_verdict check(struct bench *b, const char *form, const char *key)
{
    static uint64_t number = 100;
    struct gate_pass now;
    char header[256];
    snprintf(header, sizeof header, form, key);
    if (gate_check(b->gate, ++number, header, PEER, &now))
        return now.verdict;
    wait_for_pass(b);
    assert_int_equal(b->number, number);
    return b->pass.verdict;
}

/* The verdict was told at once, without the store. */
static void check_now(struct bench *b, const char *header, enum gate_verdict expected)
{
    struct gate_pass now;
    assert_true(gate_check(b->gate, 1, header, PEER, &now));
    assert_int_equal(now.verdict, expected);
}

static void a_made_key_is_a_prefix_and_256_random_bits(void **state)
{
    char a[GATE_KEY_CHARS + 1], b[GATE_KEY_CHARS + 1];
    (void)state;
    gate_key_make(a);
    gate_key_make(b);
    assert_int_equal(strlen(a), GATE_KEY_CHARS);
    assert_memory_equal(a, "mg-", 3);
    assert_int_equal(strspn(a, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                               "0123456789-_"),
                     GATE_KEY_CHARS);
    assert_string_not_equal(a, b);
}

static void the_hash_is_sha_256(void **state)
{
    static const uint8_t of_abc[STORE_HASH_BYTES] = {
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
        0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
        0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    uint8_t hash[STORE_HASH_BYTES];
    (void)state;
    gate_key_hash("abc", 3, hash);
    assert_memory_equal(hash, of_abc, sizeof hash);
}

static void a_good_key_passes_with_its_row(void **state)
{
    struct bench *b = *state;
    assert_int_equal(check(b, "Bearer %s", b->good), GATE_OK);
    assert_string_equal(b->pass.key.name, "good");
    assert_string_equal(b->pass.key.models, "a,b");
}

static void the_scheme_has_no_case_and_spaces_around_the_key_are_taken(void **state)
{
    struct bench *b = *state;
    assert_int_equal(check(b, "bearer %s", b->good), GATE_OK);
    assert_int_equal(check(b, "BEARER    %s", b->good), GATE_OK);
    assert_int_equal(check(b, "Bearer %s  ", b->good), GATE_OK);
    assert_int_equal(check(b, "Bearer %s \t", b->good), GATE_OK);
}

static void no_key_is_told_at_once(void **state)
{
    struct bench *b = *state;
    check_now(b, NULL, GATE_NO_KEY);
    check_now(b, "", GATE_NO_KEY);
    check_now(b, "Bearer", GATE_NO_KEY);
    check_now(b, "Bearer    ", GATE_NO_KEY);
    check_now(b, "Basic YTpi", GATE_NO_KEY);
    check_now(b, b->good, GATE_NO_KEY);
}

static void what_cannot_be_a_key_is_unknown_without_the_store(void **state)
{
    struct bench *b = *state;
    char header[256];
    check_now(b, "Bearer sk-1", GATE_UNKNOWN);
    snprintf(header, sizeof header, "Bearer %sx", b->good);
    check_now(b, header, GATE_UNKNOWN);
    snprintf(header, sizeof header, "Bearer %.45s", b->good);
    check_now(b, header, GATE_UNKNOWN);
    snprintf(header, sizeof header, "Bearer %.20s %s", b->good, b->good + 21);
    check_now(b, header, GATE_UNKNOWN);
    snprintf(header, sizeof header, "Bearer %.45s+", b->good);
    check_now(b, header, GATE_UNKNOWN);
    snprintf(header, sizeof header, "Bearer sk-%s", b->good + 3);
    check_now(b, header, GATE_UNKNOWN);
}

static void a_key_that_nobody_made_and_a_revoked_one_are_unknown(void **state)
{
    struct bench *b = *state;
    char other[GATE_KEY_CHARS + 1];
    gate_key_make(other);
    assert_int_equal(check(b, "Bearer %s", other), GATE_UNKNOWN);
    assert_int_equal(check(b, "Bearer %s", b->revoked), GATE_UNKNOWN);
}

static void a_platform_token_is_told_apart(void **state)
{
    struct bench *b = *state;
    assert_int_equal(check(b, "Bearer %s", b->token), GATE_PLATFORM);
}

static void a_key_for_other_networks_is_told_apart(void **state)
{
    struct bench *b = *state;
    assert_int_equal(check(b, "Bearer %s", b->elsewhere), GATE_NETWORK);
    assert_int_equal(check(b, "Bearer %s", b->here), GATE_OK);
    gate_set_cache(b->gate, CACHE_MS); /* what is remembered is judged by who asks */
    assert_int_equal(check(b, "Bearer %s", b->elsewhere), GATE_NETWORK);
    assert_int_equal(check(b, "Bearer %s", b->elsewhere), GATE_NETWORK);
}

static void a_disabled_key_is_told_apart(void **state)
{
    struct bench *b = *state;
    assert_int_equal(check(b, "Bearer %s", b->disabled), GATE_DISABLED);
}

static void a_key_expires_at_its_time(void **state)
{
    struct bench *b = *state;
    atomic_store(&now_ms, EXPIRES_MS - 1);
    assert_int_equal(check(b, "Bearer %s", b->expiring), GATE_OK);
    atomic_store(&now_ms, EXPIRES_MS);
    assert_int_equal(check(b, "Bearer %s", b->expiring), GATE_EXPIRED);
}

static void a_store_that_fails_is_unavailable_and_recovers(void **state)
{
    struct bench *b = *state;
    sqlite3 *other;
    assert_int_equal(sqlite3_open(b->db, &other), SQLITE_OK);
    sqlite3_busy_timeout(other, WAIT_S * 1000);
    assert_int_equal(sqlite3_exec(other, "ALTER TABLE keys RENAME TO lost", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(check(b, "Bearer %s", b->good), GATE_UNAVAILABLE);
    assert_int_equal(sqlite3_exec(other, "ALTER TABLE lost RENAME TO keys", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(other);
    assert_int_equal(check(b, "Bearer %s", b->good), GATE_OK);
}

static void a_queue_that_is_full_is_unavailable_at_once(void **state)
{
    struct bench *b = *state;
    struct gate_pass now = {.verdict = GATE_OK};
    char header[256];
    bool told = false;
    snprintf(header, sizeof header, "Bearer %s", b->good);
    for (uint64_t i = 0; !told && i < 10000; i++) /* the loop does not turn */
        told = gate_check(b->gate, i, header, PEER, &now);
    assert_true(told);
    assert_int_equal(now.verdict, GATE_UNAVAILABLE);
}

static void a_key_calls_the_models_of_its_list_or_all(void **state)
{
    struct store_key key = {.models = ""};
    (void)state;
    assert_true(gate_allows_model(&key, "kimi-k2.5"));
    snprintf(key.models, sizeof key.models, "kimi-k2.5,kimi-k2-thinking,x");
    assert_true(gate_allows_model(&key, "kimi-k2.5"));
    assert_true(gate_allows_model(&key, "kimi-k2-thinking"));
    assert_true(gate_allows_model(&key, "x"));
    assert_false(gate_allows_model(&key, "kimi-k2"));
    assert_false(gate_allows_model(&key, "kimi-k2-thinking-turbo"));
    assert_false(gate_allows_model(&key, "k2.5"));
    assert_false(gate_allows_model(&key, ""));
    assert_false(gate_allows_model(&key, "kimi-k2.5,kimi-k2-thinking"));
}

static void revoke_key(struct bench *b, const char *name)
{
    struct store *s;
    struct store_key key;
    assert_int_equal(store_open(b->dir, &s, NULL), 0);
    assert_int_equal(store_key_revoke(s, name, 1, &key, NULL), 0);
    store_close(s);
}

static void a_good_key_is_remembered_for_the_time_that_is_set(void **state)
{
    struct bench *b = *state;
    char header[256];
    struct gate_pass now;
    snprintf(header, sizeof header, "Bearer %s", b->good);
    gate_set_cache(b->gate, CACHE_MS);
    assert_int_equal(check(b, "Bearer %s", b->good), GATE_OK);
    assert_int_equal(b->passes, 1);
    revoke_key(b, "good");
    atomic_fetch_add(&mono_ms, CACHE_MS - 1);
    assert_true(gate_check(b->gate, 1, header, PEER, &now));
    assert_int_equal(now.verdict, GATE_OK);
    assert_int_equal(now.key.id, b->pass.key.id);
    assert_string_equal(now.key.name, "good");
    assert_string_equal(now.key.models, "a,b");
    assert_string_equal(now.key.prefix, b->pass.key.prefix);
    atomic_fetch_add(&mono_ms, 1);
    assert_int_equal(check(b, "Bearer %s", b->good), GATE_UNKNOWN);
    assert_int_equal(b->passes, 2);
}

/* Looks are answered in their order: when this one is, those before it are too. */
static void wait_for_earlier_looks(struct bench *b)
{
    char other[sizeof b->good];
    snprintf(other, sizeof other, "%s", b->good);
    other[10] = other[10] == 'A' ? 'B' : 'A';
    assert_int_equal(check(b, "Bearer %s", other), GATE_UNKNOWN);
}

static void a_busy_key_is_read_anew_before_its_time_is_over(void **state)
{
    struct bench *b = *state;
    char header[256];
    snprintf(header, sizeof header, "Bearer %s", b->good);
    gate_set_cache(b->gate, CACHE_MS);
    assert_int_equal(check(b, "Bearer %s", b->good), GATE_OK);
    atomic_fetch_add(&mono_ms, CACHE_MS / 2 + 1);
    check_now(b, header, GATE_OK);
    wait_for_earlier_looks(b);
    atomic_fetch_add(&mono_ms, CACHE_MS / 2);
    check_now(b, header, GATE_OK); /* past the time of the first look */
    revoke_key(b, "good");
    check_now(b, header, GATE_OK);
    atomic_fetch_add(&mono_ms, 1);
    check_now(b, header, GATE_OK); /* half of the time of the second look: begins the third */
    wait_for_earlier_looks(b);
    assert_int_equal(check(b, "Bearer %s", b->good), GATE_UNKNOWN);
    assert_int_equal(b->passes, 4);
}

static void a_look_up_renews_what_is_remembered(void **state)
{
    struct bench *b = *state;
    gate_set_cache(b->gate, CACHE_MS);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(check(b, "Bearer %s", b->good), GATE_OK);
        assert_int_equal(check(b, "Bearer %s", b->good), GATE_OK);
        assert_int_equal(b->passes, i);
        atomic_fetch_add(&mono_ms, CACHE_MS);
    }
}

static void a_key_that_is_remembered_still_expires_at_its_time(void **state)
{
    struct bench *b = *state;
    gate_set_cache(b->gate, CACHE_MS);
    assert_int_equal(check(b, "Bearer %s", b->expiring), GATE_OK);
    atomic_store(&now_ms, EXPIRES_MS - 1);
    assert_int_equal(check(b, "Bearer %s", b->expiring), GATE_OK);
    assert_int_equal(b->passes, 1);
    atomic_store(&now_ms, EXPIRES_MS);
    assert_int_equal(check(b, "Bearer %s", b->expiring), GATE_EXPIRED);
}

static void what_is_refused_is_not_remembered(void **state)
{
    struct bench *b = *state;
    gate_set_cache(b->gate, CACHE_MS);
    for (int i = 1; i <= 2; i++) {
        assert_int_equal(check(b, "Bearer %s", b->revoked), GATE_UNKNOWN);
        assert_int_equal(check(b, "Bearer %s", b->disabled), GATE_DISABLED);
        assert_int_equal(b->passes, 2 * i);
    }
}

static void without_a_time_every_key_is_looked_up(void **state)
{
    struct bench *b = *state;
    assert_int_equal(check(b, "Bearer %s", b->good), GATE_OK);
    assert_int_equal(check(b, "Bearer %s", b->good), GATE_OK);
    assert_int_equal(b->passes, 2);
    gate_set_cache(b->gate, CACHE_MS);
    assert_int_equal(check(b, "Bearer %s", b->good), GATE_OK);
    assert_int_equal(b->passes, 3);
    gate_set_cache(b->gate, 0);
    revoke_key(b, "good");
    assert_int_equal(check(b, "Bearer %s", b->good), GATE_UNKNOWN);
    assert_int_equal(b->passes, 4);
}

static void a_key_comes_out_of_the_cache_with_all_its_rights_and_bounds(void **state)
{
    struct key_cache *c = key_cache_new(1);
    struct store_key key = {.id = 1,
                            .application_id = 2,
                            .account_id = 3,
                            .kind = STORE_KEY_PLATFORM,
                            .name = "name",
                            .prefix = "mg-1",
                            .models = "a,b",
                            .networks = "10.0.0.0/8",
                            .cap_micros = 4,
                            .rates = {5, 6, 7},
                            .account_rates = {8, 9, 10},
                            .created_ms = 11,
                            .expires_ms = 12,
                            .used_ms = 13,
                            .account_is_admin = true};
    struct store_key found;
    const uint8_t hash[STORE_HASH_BYTES] = {0};
    (void)state;
    key_cache_put(c, hash, &key, 1);
    assert_true(key_cache_find(c, hash, 0, &found));
    assert_int_equal(found.id, key.id);
    assert_int_equal(found.application_id, key.application_id);
    assert_int_equal(found.account_id, key.account_id);
    assert_int_equal(found.kind, key.kind);
    assert_string_equal(found.name, key.name);
    assert_string_equal(found.prefix, key.prefix);
    assert_string_equal(found.models, key.models);
    assert_string_equal(found.networks, key.networks);
    assert_int_equal(found.cap_micros, key.cap_micros);
    assert_memory_equal(&found.rates, &key.rates, sizeof key.rates);
    assert_memory_equal(&found.account_rates, &key.account_rates, sizeof key.account_rates);
    assert_int_equal(found.created_ms, key.created_ms);
    assert_int_equal(found.expires_ms, key.expires_ms);
    assert_int_equal(found.used_ms, key.used_ms);
    assert_true(found.account_is_admin);
    key_cache_free(c);
}

static void at_its_bound_the_cache_forgets_what_was_read_first(void **state)
{
    struct key_cache *c = key_cache_new(3);
    struct store_key key = {.name = "k"}, found;
    uint8_t hash[5][STORE_HASH_BYTES] = {{0}};
    (void)state;
    for (int i = 0; i < 5; i++) {
        hash[i][STORE_HASH_BYTES - 1] = (uint8_t)i; /* all in one bucket */
        key.id = i;
        key_cache_put(c, hash[i], &key, i);
    }
    for (int i = 0; i < 5; i++) {
        assert_int_equal(key_cache_find(c, hash[i], -1, &found), i >= 2);
        assert_true(i < 2 || found.id == i);
    }
    key_cache_put(c, hash[2], &key, 10); /* read anew: now the youngest */
    key_cache_put(c, hash[0], &key, 11);
    assert_true(key_cache_find(c, hash[2], -1, &found));
    assert_false(key_cache_find(c, hash[3], -1, &found));
    key_cache_drop(c, hash[2]);
    key_cache_drop(c, hash[2]);
    assert_false(key_cache_find(c, hash[2], -1, &found));
    assert_false(key_cache_find(c, hash[0], 11, &found));
    key_cache_free(c);
    key_cache_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_bench, close_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_made_key_is_a_prefix_and_256_random_bits),
        cmocka_unit_test(the_hash_is_sha_256),
        cmocka_unit_test(a_key_calls_the_models_of_its_list_or_all),
        TEST(a_good_key_passes_with_its_row),
        TEST(the_scheme_has_no_case_and_spaces_around_the_key_are_taken),
        TEST(no_key_is_told_at_once),
        TEST(what_cannot_be_a_key_is_unknown_without_the_store),
        TEST(a_key_that_nobody_made_and_a_revoked_one_are_unknown),
        TEST(a_platform_token_is_told_apart),
        TEST(a_key_for_other_networks_is_told_apart),
        TEST(a_disabled_key_is_told_apart),
        TEST(a_key_expires_at_its_time),
        TEST(a_store_that_fails_is_unavailable_and_recovers),
        TEST(a_queue_that_is_full_is_unavailable_at_once),
        TEST(a_good_key_is_remembered_for_the_time_that_is_set),
        TEST(a_busy_key_is_read_anew_before_its_time_is_over),
        TEST(a_look_up_renews_what_is_remembered),
        TEST(a_key_that_is_remembered_still_expires_at_its_time),
        TEST(what_is_refused_is_not_remembered),
        TEST(without_a_time_every_key_is_looked_up),
        cmocka_unit_test(a_key_comes_out_of_the_cache_with_all_its_rights_and_bounds),
        cmocka_unit_test(at_its_bound_the_cache_forgets_what_was_read_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
