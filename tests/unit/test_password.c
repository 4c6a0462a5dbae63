/*
 * Unit tests of passwords: which are taken, and the thread that hashes. The tests of the thread
 * use the smallest cost; one shows that an unknown address costs as much as a wrong password, by
 * the processor time of both.
 */
#include "base/mem.h"
#include "console/password.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ANSWERS = 64, QUEUE = 8 };

struct rig {
    struct event_base *base;
    struct passwords *passwords;
    struct password_answer got[ANSWERS];
    int n;
};

static void on_answer(void *arg, const struct password_answer *a)
{
    struct rig *r = arg;
    assert_true(r->n < ANSWERS);
    r->got[r->n++] = *a;
}

static struct rig *rig_open(uint64_t operations, size_t memory_bytes)
{
    struct rig *r = mem_zalloc(sizeof *r);
    struct password_cost cost = {operations, memory_bytes};
    struct error e;
    r->base = event_base_new();
    if (passwords_open(r->base, QUEUE, cost, on_answer, r, &r->passwords, &e) != 0)
        fail_msg("%s", e.text);
    return r;
}

static struct rig *rig_open_cheap(void)
{
    return rig_open(crypto_pwhash_OPSLIMIT_MIN, crypto_pwhash_MEMLIMIT_MIN);
}

static void rig_close(struct rig *r)
{
    passwords_close(r->passwords);
    event_base_free(r->base);
    free(r);
}

static const struct password_answer *wait_for(struct rig *r, int n)
{
    while (r->n < n)
        event_base_loop(r->base, EVLOOP_ONCE);
    return &r->got[n - 1];
}

static void check_taken(const char *password, bool taken)
{
    struct error e = {.text = ""};
    int rc = password_check(password, "Ada.Lovelace@example.com", &e);
    if ((rc == 0) != taken)
        fail_msg("%s: %s", password, e.text);
    assert_true(rc == 0 || !strstr(e.text, password));
}

static void long_enough_ones_are_taken(void **state)
{
    (void)state;
    check_taken("correct horse", true);
    check_taken("kT8$vq2Lw0", true);
    check_taken("päßwört wörter", true);
    check_taken("\xe6\x9c\x88\xe4\xba\xae\xe4\xbb\xa3\xe8\xa1\xa8\xe6\x88\x91\xe7\x9a\x84"
                "\xe5\xbf\x83\xef\xbc\x8c\xe5\x86\x8d\xe8\xa7\x81",
                true); /* eleven characters */
    check_taken("password of my own", true);
}

static void short_ones_and_no_text_are_refused(void **state)
{
    char large[PASSWORD_MAX_BYTES + 2];
    (void)state;
    check_taken("kT8$vq2Lw", false);
    check_taken("päßwört22", false); /* nine characters in more bytes */
    check_taken("0123456\x80\x80\x80", false);
    check_taken("tab\tulator key", false);
    assert_int_equal(password_check("", NULL, NULL), ERR_INVALID);
    memset(large, 'a', sizeof large);
    for (size_t i = 0; i < sizeof large; i += 3)
        large[i] = 'x';
    large[sizeof large - 1] = '\0';
    assert_int_equal(password_check(large, NULL, NULL), ERR_LIMIT);
    large[PASSWORD_MAX_BYTES] = '\0';
    assert_int_equal(password_check(large, NULL, NULL), 0);
}

static void the_address_and_the_commonest_are_refused(void **state)
{
    static const char *const refused[] = {"ada.lovelace@example.com",
                                          "ADA.LOVELACE@EXAMPLE.COM",
                                          "ada.lovelace",
                                          "Ada.Lovelace",
                                          "1234567890",
                                          "12345678901",
                                          "0987654321",
                                          "19991231235959",
                                          "aaaaaaaaaa",
                                          "............",
                                          "password123",
                                          "Password2024!",
                                          "PASSWORD!!!",
                                          "qwertyuiop",
                                          "qwerty12345",
                                          "iloveyou1!",
                                          "letmein1234",
                                          "welcome2025",
                                          "administrator",
                                          "changeme1234",
                                          "1q2w3e4r5t",
                                          "1qaz2wsx3edc",
                                          "moongate1234",
                                          "abcdefghij",
                                          "testtest1234",
                                          "secretsecret"};
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        check_taken(refused[i], false);
}

static void a_made_password_passes_and_none_is_like_another(void **state)
{
    char a[PASSWORD_ONE_TIME_CHARS + 1], b[PASSWORD_ONE_TIME_CHARS + 1];
    (void)state;
    password_make(a);
    password_make(b);
    assert_int_equal(strlen(a), PASSWORD_ONE_TIME_CHARS);
    assert_int_equal(password_check(a, "root@localhost", NULL), 0);
    assert_string_not_equal(a, b);
}

static void a_hash_fits_its_password_and_no_other(void **state)
{
    struct rig *r = rig_open_cheap();
    (void)state;
    assert_int_equal(passwords_hash(r->passwords, 1, "correct horse"), 0);
    assert_int_equal(r->n, 0); /* nothing is told from inside the order */
    char hash[PASSWORD_HASH_BYTES];
    const struct password_answer *a = wait_for(r, 1);
    assert_int_equal(a->number, 1);
    assert_int_equal(a->what, PASSWORD_HASH);
    assert_int_equal(a->code, 0);
    assert_memory_equal(a->hash, "$argon2id$", 10);
    memcpy(hash, a->hash, sizeof hash);
    passwords_verify(r->passwords, 2, "correct horse", hash);
    passwords_verify(r->passwords, 3, "correct hors", hash);
    passwords_verify(r->passwords, 4, "", hash);
    passwords_verify(r->passwords, 5, "correct horse", "");
    passwords_verify(r->passwords, 6, "correct horse", "no hash at all");
    passwords_hash(r->passwords, 7, "correct horse");
    wait_for(r, 6);
    assert_int_equal(r->got[1].code, 0);
    assert_false(r->got[1].outdated);
    for (int i = 2; i <= 5; i++) {
        assert_int_equal(r->got[i].number, i + 1);
        assert_int_equal(r->got[i].code, ERR_DENIED);
        assert_string_equal(r->got[i].hash, "");
    }
    assert_string_not_equal(wait_for(r, 7)->hash, hash); /* another salt */
    rig_close(r);
}

static void an_unknown_address_and_too_long_a_password_are_denied(void **state)
{
    struct rig *r = rig_open_cheap();
    char large[PASSWORD_MAX_BYTES + 2], hash[PASSWORD_HASH_BYTES];
    (void)state;
    memset(large, 'a', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    assert_int_equal(passwords_hash(r->passwords, 1, large), ERR_LIMIT);
    large[PASSWORD_MAX_BYTES] = '\0';
    assert_int_equal(passwords_hash(r->passwords, 1, large), 0);
    memcpy(hash, wait_for(r, 1)->hash, sizeof hash);
    passwords_verify(r->passwords, 2, large, hash);
    large[PASSWORD_MAX_BYTES] = 'a';
    passwords_verify(r->passwords, 3, large, hash);
    passwords_verify(r->passwords, 4, "correct horse", NULL);
    wait_for(r, 4);
    assert_int_equal(r->got[1].code, 0);
    assert_int_equal(r->got[2].code, ERR_DENIED);
    assert_int_equal(r->got[3].code, ERR_DENIED);
    rig_close(r);
}

static int64_t processor_us(void)
{
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Of the processor, so a busy machine changes nothing; without work it would be a hundredth. */
static void an_unknown_address_costs_as_much_as_a_wrong_password(void **state)
{
    enum { TRIES = 5 };
    struct rig *r = rig_open(2, (size_t)16 << 20);
    char hash[PASSWORD_HASH_BYTES];
    int64_t took_us[2] = {INT64_MAX, INT64_MAX};
    int n = 1;
    (void)state;
    passwords_hash(r->passwords, 1, "correct horse");
    memcpy(hash, wait_for(r, 1)->hash, sizeof hash);
    for (int i = 0; i < 2 * TRIES; i++) {
        int64_t from_us = processor_us();
        passwords_verify(r->passwords, 2, "wrong horse!", i % 2 == 0 ? hash : NULL);
        wait_for(r, ++n);
        int64_t us = processor_us() - from_us;
        if (us < took_us[i % 2])
            took_us[i % 2] = us;
    }
    assert_true(took_us[1] > took_us[0] / 4);
    rig_close(r);
}

static void a_hash_of_another_cost_is_outdated(void **state)
{
    struct rig *r = rig_open_cheap();
    char hash[PASSWORD_HASH_BYTES];
    (void)state;
    assert_int_equal(password_hash_now("correct horse", hash, NULL), 0);
    passwords_verify(r->passwords, 1, "correct horse", hash);
    assert_int_equal(wait_for(r, 1)->code, 0);
    assert_true(r->got[0].outdated);
    passwords_verify(r->passwords, 2, "wrong horse", hash);
    assert_int_equal(wait_for(r, 2)->code, ERR_DENIED);
    assert_false(r->got[1].outdated);
    rig_close(r);
}

static void a_full_queue_is_busy_and_goes_on(void **state)
{
    struct rig *r = rig_open_cheap();
    (void)state;
    for (int i = 0; i < QUEUE; i++)
        assert_int_equal(passwords_hash(r->passwords, (uint64_t)i, "correct horse"), 0);
    assert_int_equal(passwords_hash(r->passwords, 99, "correct horse"), ERR_BUSY);
    assert_int_equal(passwords_verify(r->passwords, 99, "correct horse", NULL), ERR_BUSY);
    wait_for(r, QUEUE);
    for (int i = 0; i < QUEUE; i++)
        assert_int_equal(r->got[i].number, i);
    assert_int_equal(passwords_hash(r->passwords, 100, "correct horse"), 0);
    assert_int_equal(wait_for(r, QUEUE + 1)->number, 100);
    rig_close(r);
}

static void closing_with_work_under_way_leaks_nothing(void **state)
{
    struct rig *r = rig_open(2, (size_t)8 << 20);
    (void)state;
    for (int i = 0; i < QUEUE; i++)
        assert_int_equal(passwords_hash(r->passwords, 1, "correct horse"), 0);
    passwords_close(r->passwords);
    r->passwords = NULL;
    assert_int_equal(r->n, 0);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_enough_ones_are_taken),
        cmocka_unit_test(short_ones_and_no_text_are_refused),
        cmocka_unit_test(the_address_and_the_commonest_are_refused),
        cmocka_unit_test(a_made_password_passes_and_none_is_like_another),
        cmocka_unit_test(a_hash_fits_its_password_and_no_other),
        cmocka_unit_test(an_unknown_address_and_too_long_a_password_are_denied),
        cmocka_unit_test(an_unknown_address_costs_as_much_as_a_wrong_password),
        cmocka_unit_test(a_hash_of_another_cost_is_outdated),
        cmocka_unit_test(a_full_queue_is_busy_and_goes_on),
        cmocka_unit_test(closing_with_work_under_way_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
