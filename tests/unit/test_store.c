/* Unit tests of src/store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/clock.h"
#include "base/mailbox.h"
#include "store/store.h"

enum { PATH_BYTES = 512, ANSWER_MS = 60000, NOW_MS = 120000 };

/* A folder of the test's own, removed with what the store put into it. */
struct place {
    char dir[PATH_BYTES / 2], data[PATH_BYTES], db[PATH_BYTES + 32];
};

static int open_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    const char *tmp = getenv("TMPDIR");
    snprintf(p->dir, sizeof p->dir, "%s/mg-store-XXXXXX", tmp ? tmp : P_tmpdir);
    if (!mkdtemp(p->dir))
        return -1;
    snprintf(p->data, sizeof p->data, "%s/data", p->dir);
    snprintf(p->db, sizeof p->db, "%s/moongate.db", p->data);
    *state = p;
    return 0;
}

static int close_place(void **state)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    struct place *p = *state;
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char name[PATH_BYTES + 64];
        snprintf(name, sizeof name, "%s%s", p->db, suffixes[i]);
        unlink(name);
    }
    rmdir(p->data);
    int rc = rmdir(p->dir);
    free(p);
    return rc;
}

static struct store *open_store(const struct place *p)
{
    struct store *s;
    struct error e;
    if (store_open(p->data, &s, &e) != 0)
        fail_msg("%s", e.text);
    return s;
}

/* A second handle on the same database, as another process would have. */
static sqlite3 *open_other(const struct place *p)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(p->db, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, ANSWER_MS); /* the writer may be noting a use */
    return db;
}

static void exec(sqlite3 *db, const char *sql)
{
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
}

static void hash_of(uint8_t seed, uint8_t hash[STORE_HASH_BYTES])
{
    memset(hash, seed, STORE_HASH_BYTES);
}

static int64_t add_key(struct store *s, uint8_t seed, const char *name)
{
    struct store_key key = {.models = "a,b", .created_ms = 5, .expires_ms = 0};
    uint8_t hash[STORE_HASH_BYTES];
    struct error e;
    int64_t id = 0;
    hash_of(seed, hash);
    snprintf(key.name, sizeof key.name, "%s", name);
    snprintf(key.prefix, sizeof key.prefix, "mg-%06d", seed);
    if (store_key_add(s, hash, &key, &id, &e) != 0)
        fail_msg("%s", e.text);
    return id;
}

static int find_key(struct store *s, uint8_t seed, struct store_key *out)
{
    uint8_t hash[STORE_HASH_BYTES];
    hash_of(seed, hash);
    return store_key_find(s, hash, out, NULL);
}

static void the_folder_and_the_database_are_the_owners_alone(void **state)
{
    const struct place *p = *state;
    struct stat st;
    mode_t old = umask(0);
    struct store *s = open_store(p);
    add_key(s, 1, "a");
    assert_int_equal(stat(p->data, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(p->db, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    char wal[PATH_BYTES + 64];
    snprintf(wal, sizeof wal, "%s-wal", p->db);
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    umask(old);
    store_close(s);
}

static void a_key_that_was_added_is_found_after_opening_again(void **state)
{
    const struct place *p = *state;
    struct store_key key;
    struct store *s = open_store(p);
    int64_t id = add_key(s, 1, "Zoë");
    store_close(s);
    s = open_store(p);
    assert_int_equal(find_key(s, 1, &key), 0);
    assert_int_equal(key.id, id);
    assert_string_equal(key.name, "Zoë");
    assert_string_equal(key.prefix, "mg-000001");
    assert_string_equal(key.models, "a,b");
    assert_int_equal(key.created_ms, 5);
    assert_int_equal(key.expires_ms, 0);
    assert_int_equal(key.revoked_ms, 0);
    assert_int_equal(key.used_ms, 0);
    assert_false(key.disabled);
    assert_int_equal(find_key(s, 2, &key), ERR_NOT_FOUND);
    store_close(s);
}

static void the_same_hash_twice_is_refused(void **state)
{
    const struct store_key key = {.name = "b"};
    uint8_t hash[STORE_HASH_BYTES];
    int64_t id;
    struct error e;
    struct store *s = open_store(*state);
    add_key(s, 1, "a");
    hash_of(1, hash);
    assert_int_equal(store_key_add(s, hash, &key, &id, &e), ERR_EXISTS);
    store_close(s);
}

static void join_names(void *arg, const struct store_key *key)
{
    char *out = arg;
    size_t len = strlen(out);
    snprintf(out + len, 64 - len, "%s;", key->name);
}

static void keys_are_listed_oldest_first(void **state)
{
    char names[64] = "";
    struct store *s = open_store(*state);
    add_key(s, 3, "c");
    add_key(s, 1, "a");
    add_key(s, 2, "b");
    assert_int_equal(store_key_each(s, join_names, names, NULL), 0);
    assert_string_equal(names, "c;a;b;");
    store_close(s);
}

static void a_key_is_revoked_by_number_or_name_and_keeps_its_first_date(void **state)
{
    char id[32];
    struct store_key key;
    struct error e;
    struct store *s = open_store(*state);
    add_key(s, 1, "a");
    snprintf(id, sizeof id, "%lld", (long long)add_key(s, 2, "b"));
    assert_int_equal(store_key_revoke(s, id, 100, &key, &e), 0);
    assert_string_equal(key.name, "b");
    assert_int_equal(store_key_revoke(s, "a", 200, &key, &e), 0);
    assert_int_equal(key.revoked_ms, 200);
    assert_int_equal(store_key_revoke(s, "a", 300, &key, &e), 0);
    assert_int_equal(find_key(s, 1, &key), 0);
    assert_int_equal(key.revoked_ms, 200);
    assert_int_equal(store_key_revoke(s, "nobody", 300, &key, &e), ERR_NOT_FOUND);
    assert_string_equal(e.text, "no key has the number or the name nobody");
    store_close(s);
}

static void a_name_of_several_keys_revokes_none_of_them(void **state)
{
    struct store_key key;
    struct error e;
    struct store *s = open_store(*state);
    int64_t first = add_key(s, 1, "twin");
    add_key(s, 2, "twin");
    assert_int_equal(store_key_revoke(s, "twin", 100, &key, &e), ERR_INVALID);
    assert_string_equal(e.text, "2 keys have the name twin; say which by its number");
    assert_int_equal(find_key(s, 1, &key), 0);
    assert_int_equal(key.revoked_ms, 0);

    char id[32]; /* once one is revoked, the name means the other */
    snprintf(id, sizeof id, "%lld", (long long)first);
    assert_int_equal(store_key_revoke(s, id, 100, &key, &e), 0);
    assert_int_equal(store_key_revoke(s, "twin", 100, &key, &e), 0);
    assert_int_equal(find_key(s, 2, &key), 0);
    assert_int_equal(key.revoked_ms, 100);
    store_close(s);
}

static void the_last_use_is_kept_to_the_minute_and_never_goes_back(void **state)
{
    struct store_key key;
    struct store *s = open_store(*state);
    int64_t id = add_key(s, 1, "a");
    assert_int_equal(store_key_used(s, id, 3 * 60000 + 59999, NULL), 0);
    assert_int_equal(find_key(s, 1, &key), 0);
    assert_int_equal(key.used_ms, 3 * 60000);
    assert_int_equal(store_key_used(s, id, 2 * 60000, NULL), 0);
    assert_int_equal(find_key(s, 1, &key), 0);
    assert_int_equal(key.used_ms, 3 * 60000);
    store_close(s);
}

static void a_newer_schema_is_refused_and_left_alone(void **state)
{
    const struct place *p = *state;
    struct store *s = open_store(p);
    struct error e;
    store_close(s);
    sqlite3 *other = open_other(p);
    exec(other, "PRAGMA user_version = 99");
    sqlite3_close(other);
    assert_int_equal(store_open(p->data, &s, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "moongate.db: has schema 99, this program knows up to 1"));
    other = open_other(p);
    exec(other, "SELECT hash FROM keys");
    sqlite3_close(other);
}

static void a_file_that_is_no_database_is_an_error(void **state)
{
    const struct place *p = *state;
    struct store *s;
    struct error e;
    assert_int_equal(mkdir(p->data, 0700), 0);
    FILE *out = fopen(p->db, "w");
    for (int i = 0; i < 1000; i++)
        fputs("this is no database\n", out);
    fclose(out);
    assert_int_equal(store_open(p->data, &s, &e), ERR_IO);
    assert_non_null(strstr(e.text, "file is not a database"));
}

static void a_folder_whose_parent_is_missing_is_an_error(void **state)
{
    char dir[PATH_BYTES + 32];
    struct store *s;
    struct error e;
    snprintf(dir, sizeof dir, "%s/none/data", ((struct place *)*state)->dir);
    assert_int_equal(store_open(dir, &s, &e), ERR_IO);
    assert_non_null(strstr(e.text, "No such file or directory"));
}

static void two_handles_see_each_others_keys(void **state)
{
    struct store_key key;
    struct store *a = open_store(*state), *b = open_store(*state);
    add_key(a, 1, "a");
    add_key(b, 2, "b");
    assert_int_equal(find_key(b, 1, &key), 0);
    assert_int_equal(find_key(a, 2, &key), 0);
    store_close(a);
    store_close(b);
}

/* What one of several processes does; they begin together when the pipe is closed. */
static int run_process(const struct place *p, int start_fd, int number, int keys)
{
    struct store *s;
    struct error e;
    char byte;
    if (read(start_fd, &byte, 1) != 0 || store_open(p->data, &s, &e) != 0)
        return 1;
    for (int i = 0; i < keys; i++) {
        const struct store_key key = {.name = "k"};
        uint8_t hash[STORE_HASH_BYTES] = {(uint8_t)number, (uint8_t)i};
        int64_t id;
        if (store_key_add(s, hash, &key, &id, &e) != 0)
            return 1;
    }
    store_close(s);
    return 0;
}

static void count(void *arg, const struct store_key *key)
{
    (void)key;
    ++*(int *)arg;
}

static void processes_that_start_at_once_make_one_database_with_all_keys(void **state)
{
    enum { PROCESSES = 12, KEYS = 3 };
    pid_t pids[PROCESSES];
    int fds[2], status, n = 0;
    assert_int_equal(pipe(fds), 0);
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            close(fds[1]);
            _exit(run_process(*state, fds[0], i, KEYS));
        }
    }
    close(fds[0]);
    close(fds[1]);
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    struct store *s = open_store(*state);
    assert_int_equal(store_key_each(s, count, &n, NULL), 0);
    assert_int_equal(n, PROCESSES * KEYS);
    store_close(s);
}

/* The writer */

static struct store_writer *open_writer(const struct place *p, size_t queue)
{
    struct store_writer *w;
    struct error e;
    if (store_writer_open(open_store(p), queue, &w, &e) != 0)
        fail_msg("%s", e.text);
    return w;
}

static struct store_answer ask(struct store_writer *w, uint64_t number, uint8_t seed)
{
    struct store_answer a;
    uint8_t hash[STORE_HASH_BYTES];
    hash_of(seed, hash);
    assert_int_equal(store_writer_find_key(w, number, hash), 0);
    assert_true(mailbox_wait(store_writer_answers(w), &a, ANSWER_MS));
    assert_int_equal(a.number, number);
    return a;
}

static void the_writer_answers_each_question_with_its_number(void **state)
{
    struct store *s = open_store(*state);
    add_key(s, 1, "a");
    store_close(s);
    struct store_writer *w = open_writer(*state, 1000);
    struct store_answer a = ask(w, 7, 1);
    assert_int_equal(a.code, 0);
    assert_string_equal(a.key.name, "a");
    assert_int_equal(ask(w, 8, 2).code, ERR_NOT_FOUND);

    uint8_t hash[STORE_HASH_BYTES];
    bool seen[200] = {false};
    hash_of(1, hash);
    for (uint64_t i = 0; i < 200; i++)
        assert_int_equal(store_writer_find_key(w, i, hash), 0);
    for (int i = 0; i < 200; i++) {
        assert_true(mailbox_wait(store_writer_answers(w), &a, ANSWER_MS));
        assert_int_equal(a.code, 0);
        assert_false(seen[a.number]);
        seen[a.number] = true;
    }
    store_writer_close(w);
}

static int64_t fixed_now(void)
{
    return NOW_MS;
}

/* Asks until the use of the key is noted: notes come after answers. */
static void wait_for_note(struct store_writer *w, uint8_t seed)
{
    struct store_answer a;
    int64_t until_ms = clock_mono_ms() + ANSWER_MS;
    do {
        a = ask(w, 1, seed);
        assert_int_equal(a.code, 0);
        assert_true(clock_mono_ms() < until_ms);
    } while (a.key.used_ms != NOW_MS);
}

static void the_writer_notes_the_use_of_good_keys_alone(void **state)
{
    struct store_key key;
    struct store *s = open_store(*state);
    add_key(s, 1, "good");
    add_key(s, 2, "revoked");
    store_key_revoke(s, "revoked", 1, &key, NULL);
    store_close(s);
    clock_set_unix_ms(fixed_now);
    struct store_writer *w = open_writer(*state, 100);
    assert_int_equal(ask(w, 1, 2).code, 0);
    wait_for_note(w, 1);
    store_writer_close(w);
    clock_set_unix_ms(NULL);
    s = open_store(*state);
    assert_int_equal(find_key(s, 2, &key), 0);
    assert_int_equal(key.used_ms, 0);
    store_close(s);
}

static void a_database_that_another_process_holds_still_answers(void **state)
{
    struct store *s = open_store(*state);
    add_key(s, 1, "a");
    store_close(s);
    clock_set_unix_ms(fixed_now);
    struct store_writer *w = open_writer(*state, 100);
    sqlite3 *other = open_other(*state);
    exec(other, "BEGIN IMMEDIATE");
    for (int i = 0; i < 5; i++) {
        struct store_answer a = ask(w, 1, 1);
        assert_int_equal(a.code, 0);
        assert_int_equal(a.key.used_ms, 0);
    }
    exec(other, "ROLLBACK");
    sqlite3_close(other);
    wait_for_note(w, 1);
    store_writer_close(w);
    clock_set_unix_ms(NULL);
}

static void a_broken_database_answers_with_an_error_until_it_is_whole(void **state)
{
    struct store *s = open_store(*state);
    add_key(s, 1, "a");
    store_close(s);
    struct store_writer *w = open_writer(*state, 100);
    assert_int_equal(ask(w, 1, 1).code, 0);
    sqlite3 *other = open_other(*state);
    exec(other, "ALTER TABLE keys RENAME TO lost");
    for (int i = 0; i < 3; i++) {
        struct store_answer a = ask(w, 2, 1);
        assert_int_equal(a.code, ERR_IO);
        assert_non_null(strstr(a.text, "no such table: keys"));
    }
    exec(other, "ALTER TABLE lost RENAME TO keys");
    sqlite3_close(other);
    struct store_answer a = ask(w, 3, 1);
    assert_int_equal(a.code, 0);
    assert_string_equal(a.key.name, "a");
    store_writer_close(w);
}

static void a_database_that_is_gone_does_not_come_back_empty(void **state)
{
    const struct place *p = *state;
    char aside[PATH_BYTES + 64];
    struct store *s = open_store(p);
    add_key(s, 1, "a");
    store_close(s);
    struct store_writer *w = open_writer(p, 100);
    sqlite3 *other = open_other(p);
    exec(other, "ALTER TABLE keys RENAME TO lost");
    assert_int_equal(ask(w, 1, 1).code, ERR_IO);
    exec(other, "ALTER TABLE lost RENAME TO keys");
    exec(other, "PRAGMA wal_checkpoint(TRUNCATE)");
    sqlite3_close(other);
    snprintf(aside, sizeof aside, "%s.aside", p->db);
    assert_int_equal(rename(p->db, aside), 0);
    assert_int_equal(ask(w, 2, 1).code, ERR_IO);
    assert_int_equal(ask(w, 3, 1).code, ERR_IO);
    assert_int_equal(access(p->db, F_OK), -1);
    assert_int_equal(rename(aside, p->db), 0);
    assert_int_equal(ask(w, 4, 1).code, 0);
    store_writer_close(w);
}

static void a_full_queue_says_so_and_closes_cleanly(void **state)
{
    struct store_writer *w = open_writer(*state, 2);
    uint8_t hash[STORE_HASH_BYTES];
    int rc = 0;
    hash_of(1, hash);
    for (uint64_t i = 0; rc == 0 && i < 100; i++) /* nobody takes the answers */
        rc = store_writer_find_key(w, i, hash);
    assert_int_equal(rc, ERR_BUSY);
    store_writer_close(w);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_place, close_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_folder_and_the_database_are_the_owners_alone),
        TEST(a_key_that_was_added_is_found_after_opening_again),
        TEST(the_same_hash_twice_is_refused),
        TEST(keys_are_listed_oldest_first),
        TEST(a_key_is_revoked_by_number_or_name_and_keeps_its_first_date),
        TEST(a_name_of_several_keys_revokes_none_of_them),
        TEST(the_last_use_is_kept_to_the_minute_and_never_goes_back),
        TEST(a_newer_schema_is_refused_and_left_alone),
        TEST(a_file_that_is_no_database_is_an_error),
        TEST(a_folder_whose_parent_is_missing_is_an_error),
        TEST(two_handles_see_each_others_keys),
        TEST(processes_that_start_at_once_make_one_database_with_all_keys),
        TEST(the_writer_answers_each_question_with_its_number),
        TEST(the_writer_notes_the_use_of_good_keys_alone),
        TEST(a_database_that_another_process_holds_still_answers),
        TEST(a_broken_database_answers_with_an_error_until_it_is_whole),
        TEST(a_database_that_is_gone_does_not_come_back_empty),
        TEST(a_full_queue_says_so_and_closes_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
