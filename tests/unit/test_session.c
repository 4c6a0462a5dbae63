/*
 * Unit tests of the console's small pure parts: sessions, addresses of people, and how often a
 * log-in may be tried.
 */
#include "console/email.h"
#include "console/lockout.h"
#include "console/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- sessions --- */

static void a_token_is_new_each_time_and_kept_as_its_hash(void **state)
{
    char a[SESSION_TOKEN_CHARS + 1], b[SESSION_TOKEN_CHARS + 1];
    uint8_t of_a[SESSION_HASH_BYTES], of_b[SESSION_HASH_BYTES], again[SESSION_HASH_BYTES];
    (void)state;
    session_token_make(a);
    session_token_make(b);
    assert_int_equal(strlen(a), SESSION_TOKEN_CHARS);
    assert_string_not_equal(a, b);
    assert_true(session_token_hash(a, of_a) && session_token_hash(b, of_b));
    assert_true(session_token_hash(a, again));
    assert_memory_equal(of_a, again, sizeof of_a);
    assert_memory_not_equal(of_a, of_b, sizeof of_a);
    assert_false(session_token_hash("", again));
    a[5] = '+';
    assert_false(session_token_hash(a, again));
    b[SESSION_TOKEN_CHARS - 1] = '\0';
    assert_false(session_token_hash(b, again));
}

static void a_cookie_is_for_this_site_alone(void **state)
{
    char token[SESSION_TOKEN_CHARS + 1], expected[256];
    struct buf b;
    (void)state;
    session_token_make(token);
    buf_init(&b, 4096);
    session_cookie(&b, token, true, 3600);
    snprintf(expected, sizeof expected,
             "__Host-moongate_session=%s; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure",
             token);
    assert_string_equal(b.data, expected);
    buf_reset(&b);
    session_cookie(&b, token, false, 60);
    snprintf(expected, sizeof expected,
             "moongate_session=%s; Path=/; Max-Age=60; HttpOnly; SameSite=Lax", token);
    assert_string_equal(b.data, expected);
    buf_reset(&b);
    session_cookie_end(&b, false);
    assert_string_equal(b.data, "moongate_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
    buf_done(&b);
}

static bool reads(const char *form, const char *token, bool secure)
{
    char header[512], out[SESSION_TOKEN_CHARS + 1] = "";
    snprintf(header, sizeof header, form, token);
    bool found = session_cookie_read(header, secure, out);
    assert_true(!found || strcmp(out, token) == 0);
    return found;
}

static void the_token_is_found_among_other_cookies(void **state)
{
    char token[SESSION_TOKEN_CHARS + 1], out[SESSION_TOKEN_CHARS + 1];
    (void)state;
    session_token_make(token);
    assert_true(reads("moongate_session=%s", token, false));
    assert_true(reads("a=b; moongate_session=%s; c=d", token, false));
    assert_true(reads("a=b;moongate_session=%s ;c=d", token, false));
    assert_true(reads("__Host-moongate_session=%s", token, true));
    assert_false(reads("moongate_session=%s", token, true)); /* another site may have set it */
    assert_false(reads("__Host-moongate_session=%s", token, false));
    assert_false(reads("xmoongate_session=%s", token, false));
    assert_false(reads("moongate_sessions=%s", token, false));
    assert_false(reads("a=moongate_session=%s", token, false));
    assert_false(reads("moongate_session=%sx", token, false));
    assert_false(reads("moongate_session=%.40s", token, false));
    assert_false(reads("moongate_session=", token, false));
    assert_false(reads(";;; ;", token, false));
    assert_false(session_cookie_read(NULL, false, out));
}

static void the_token_against_cross_site_requests_is_bound_to_the_session(void **state)
{
    char a[SESSION_TOKEN_CHARS + 1], b[SESSION_TOKEN_CHARS + 1];
    char of_a[SESSION_TOKEN_CHARS + 1], of_b[SESSION_TOKEN_CHARS + 1];
    (void)state;
    session_token_make(a);
    session_token_make(b);
    session_csrf(a, of_a);
    session_csrf(b, of_b);
    assert_string_not_equal(of_a, of_b);
    assert_string_not_equal(of_a, a);
    assert_true(session_csrf_is(a, of_a));
    assert_false(session_csrf_is(a, of_b));
    assert_false(session_csrf_is(a, a));
    assert_false(session_csrf_is(a, NULL));
    assert_false(session_csrf_is(a, ""));
    of_a[SESSION_TOKEN_CHARS - 1] = '\0';
    assert_false(session_csrf_is(a, of_a));
}

static void a_session_ends_by_being_idle_and_by_its_age(void **state)
{
    const struct session_life life = {.idle_ms = 6000, .whole_ms = 20000};
    (void)state;
    assert_int_equal(session_until(&life, 1000, 1000), 7000);
    assert_int_equal(session_until(&life, 1000, 9000), 15000);
    assert_int_equal(session_until(&life, 1000, 20999), 21000);
    assert_false(session_is_noted(&life, 1000, 1099));
    assert_true(session_is_noted(&life, 1000, 1100));
}

/* --- addresses --- */

static void check_email(const char *text, const struct email_rules *rules, const char *address,
                        const char *identity)
{
    struct email e;
    struct error why = {.text = ""};
    if (email_read(text, rules, &e, &why) != 0)
        fail_msg("%s: %s", text, why.text);
    assert_string_equal(e.address, address);
    assert_string_equal(e.identity, identity);
}

static void addresses_of_one_person_have_one_identity(void **state)
{
    const struct email_rules none = {0}, all = {.plus_tags = true, .dots = true};
    (void)state;
    check_email(" Ada@Example.COM\n", &none, "ada@example.com", "ada@example.com");
    check_email("ada+news@example.com", &none, "ada+news@example.com", "ada+news@example.com");
    check_email("ada+news@example.com", &all, "ada+news@example.com", "ada@example.com");
    check_email("a.d.a+x+y@example.com", &all, "a.d.a+x+y@example.com", "a.d.a@example.com");
    check_email("A.d.a+x@GoogleMail.com", &all, "a.d.a+x@googlemail.com", "ada@gmail.com");
    check_email("a.da@gmail.com", &none, "a.da@gmail.com", "a.da@gmail.com");
    check_email("ada-shop@yahoo.com", &all, "ada-shop@yahoo.com", "ada@yahoo.com");
    check_email("ada-shop@example.com", &all, "ada-shop@example.com", "ada-shop@example.com");
    check_email("+@example.com", &all, "+@example.com", "+@example.com");
    check_email("root@localhost", &all, "root@localhost", "root@localhost");
}

static void a_person_is_a_hash_of_the_identity(void **state)
{
    const struct email_rules rules = {.plus_tags = true, .dots = true};
    struct email a, b, c;
    (void)state;
    assert_int_equal(email_read("ada@gmail.com", &rules, &a, NULL), 0);
    assert_int_equal(email_read("A.da+1@googlemail.com", &rules, &b, NULL), 0);
    assert_int_equal(email_read("eve@gmail.com", &rules, &c, NULL), 0);
    assert_int_equal(strlen(a.person), EMAIL_PERSON_BYTES - 1);
    assert_string_equal(a.person, b.person);
    assert_string_not_equal(a.person, c.person);
    assert_null(strstr(a.person, "ada"));
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@@example.com",
        "a@b@c.com",
        "a da@x.com",
        "ada@exa mple.c",
        "ada@.com",
        "ada@example..com",
        ".ada@x.com",
        "ada.@x.com",
        "a..a@x.com",
        "ada@-x.com",
        "ada@x-.com",
        "ada@x.com.",
        "ada@x_y.com",
        "\"a b\"@x.com",
        "<ada@x.com>",
        "ada@x.com\r\nBcc: e@x.com",
        "ada,eve@x.com",
        "ad\xc3\xa4@x.com",
        "ada@\xc3\xa4.com",
        "ada@[127.0.0.1]",
        "a;b@x.com",
        "12345678901234567890123456789012345678901234567890123456789012345@x.com"};
    const struct email_rules rules = {true, true};
    struct email e;
    char large[400];
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        if (email_read(wrong[i], &rules, &e, NULL) != ERR_INVALID)
            fail_msg("%s was taken", wrong[i]);
        assert_string_equal(e.address, "");
    }
    memset(large, 'a', sizeof large);
    memcpy(large, "a@", 2);
    for (size_t i = 40; i < sizeof large; i += 40)
        large[i] = '.';
    large[255] = '\0';
    assert_int_equal(email_read(large, &rules, &e, NULL), ERR_INVALID);
    large[254] = '\0';
    assert_int_equal(email_read(large, &rules, &e, NULL), 0);
}

/* --- tries --- */

enum { FIRST_MS = 1000, LONGEST_MS = 8000, FORGET_MS = 60000 };

static const struct lockout_settings settings = {.account_tries = 3,
                                                 .network_tries = 10,
                                                 .first_ms = FIRST_MS,
                                                 .longest_ms = LONGEST_MS,
                                                 .forget_ms = FORGET_MS,
                                                 .max_rows = 100};

static void each_failure_past_the_allowed_doubles_the_wait(void **state)
{
    static const int64_t waits_ms[] = {1000, 2000, 4000, 8000, 8000, 8000};
    struct lockout *l = lockout_new(&settings);
    int64_t now_ms = 5, wait_ms;
    uint64_t network = 0;
    (void)state;
    for (int i = 0; i < 2; i++)
        assert_true(lockout_try(l, "ada@x", network++, now_ms, &wait_ms));
    for (size_t i = 0; i < sizeof waits_ms / sizeof waits_ms[0]; i++) {
        assert_true(lockout_try(l, "ada@x", network++, now_ms, &wait_ms));
        assert_false(lockout_try(l, "ada@x", network++, now_ms, &wait_ms));
        assert_int_equal(wait_ms, waits_ms[i]);
        assert_false(lockout_try(l, "ada@x", network++, now_ms + waits_ms[i] - 1, &wait_ms));
        assert_int_equal(wait_ms, 1);
        now_ms += waits_ms[i];
    }
    assert_true(lockout_try(l, "eve@x", 0, now_ms, &wait_ms)); /* another waits not */
    lockout_free(l);
    lockout_free(NULL);
}

static void success_forgives_the_account_and_one_try_of_the_network(void **state)
{
    struct lockout *l = lockout_new(&settings);
    int64_t wait_ms;
    (void)state;
    for (int i = 0; i < 50; i++) {
        assert_true(lockout_try(l, "ada@x", 1, i, &wait_ms));
        lockout_passed(l, "ada@x", 1, i);
    }
    assert_int_equal(lockout_rows(l), 0);
    /* One's own account forgives no guesses at others. */
    int guesses = 0;
    for (int i = 0; i < 100; i++) {
        char victim[32];
        snprintf(victim, sizeof victim, "victim%d@x", i);
        if (!lockout_try(l, victim, 1, 100, &wait_ms))
            break;
        guesses++;
        if (lockout_try(l, "eve@x", 1, 100, &wait_ms))
            lockout_passed(l, "eve@x", 1, 100);
    }
    assert_int_equal(guesses, settings.network_tries);
    lockout_free(l);
}

static void tries_that_run_at_once_count_before_they_are_judged(void **state)
{
    struct lockout *l = lockout_new(&settings);
    int64_t wait_ms;
    int let_in = 0;
    (void)state;
    for (uint64_t i = 0; i < 1000; i++)
        let_in += lockout_try(l, "ada@x", i, 0, &wait_ms);
    assert_int_equal(let_in, settings.account_tries);
    lockout_passed(l, "ada@x", 0, 1); /* one of them was right */
    assert_true(lockout_try(l, "ada@x", 5, 1, &wait_ms));
    lockout_free(l);
}

static void what_was_not_judged_is_taken_back(void **state)
{
    struct lockout *l = lockout_new(&settings);
    int64_t wait_ms;
    (void)state;
    for (int i = 0; i < 50; i++) {
        assert_true(lockout_try(l, "ada@x", 1, 0, &wait_ms));
        lockout_undone(l, "ada@x", 1, 0);
    }
    for (int i = 0; i < 3; i++)
        assert_true(lockout_try(l, "ada@x", 1, 0, &wait_ms));
    assert_false(lockout_try(l, "ada@x", 1, 0, &wait_ms));
    lockout_undone(l, "ada@x", 1, 0);
    assert_true(lockout_try(l, "ada@x", 1, 0, &wait_ms));
    lockout_undone(l, "eve@x", 7, 0); /* of whom nothing is known */
    lockout_free(l);
}

static void failures_are_forgotten_after_a_while(void **state)
{
    struct lockout *l = lockout_new(&settings);
    int64_t wait_ms;
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_true(lockout_try(l, "ada@x", 1, 0, &wait_ms));
    int64_t later_ms = FIRST_MS + FORGET_MS;
    for (int i = 0; i < 3; i++)
        assert_true(lockout_try(l, "ada@x", 2, later_ms, &wait_ms));
    assert_false(lockout_try(l, "ada@x", 2, later_ms, &wait_ms));
    assert_int_equal(wait_ms, FIRST_MS);
    lockout_free(l);
}

static void a_flood_of_strangers_frees_nobody_who_waits(void **state)
{
    struct lockout *l = lockout_new(&settings);
    int64_t wait_ms;
    (void)state;
    for (uint64_t i = 0; i < 3; i++)
        assert_true(lockout_try(l, "ada@x", i, 0, &wait_ms));
    for (uint64_t i = 0; i < 10000; i++) {
        char stranger[32];
        snprintf(stranger, sizeof stranger, "s%d@x", (int)i);
        assert_true(lockout_try(l, stranger, 10 + i, 1, &wait_ms));
        assert_true(lockout_rows(l) <= 2 * settings.max_rows);
    }
    assert_false(lockout_try(l, "ada@x", 5, 1, &wait_ms));
    assert_int_equal(wait_ms, FIRST_MS - 1);
    lockout_free(l);
}

static void the_cookie_of_a_login_under_way_is_another(void **state)
{
    char token[SESSION_TOKEN_CHARS + 1], out[SESSION_TOKEN_CHARS + 1];
    struct buf b;
    (void)state;
    session_token_make(token);
    buf_init(&b, 512);
    session_login_cookie(&b, token, true, 600);
    assert_memory_equal(b.data, "__Host-moongate_login=", 22);
    assert_non_null(strstr(b.data, "; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"));
    b.data[22 + SESSION_TOKEN_CHARS] = '\0'; /* as a browser sends it */
    assert_true(session_login_cookie_read(b.data, true, out));
    assert_string_equal(out, token);
    assert_false(session_login_cookie_read(b.data, false, out));
    assert_false(session_cookie_read(b.data, true, out));
    buf_reset(&b);
    session_login_cookie_end(&b, false);
    assert_string_equal(b.data, "moongate_login=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_new_each_time_and_kept_as_its_hash),
        cmocka_unit_test(a_cookie_is_for_this_site_alone),
        cmocka_unit_test(the_token_is_found_among_other_cookies),
        cmocka_unit_test(the_cookie_of_a_login_under_way_is_another),
        cmocka_unit_test(the_token_against_cross_site_requests_is_bound_to_the_session),
        cmocka_unit_test(a_session_ends_by_being_idle_and_by_its_age),
        cmocka_unit_test(addresses_of_one_person_have_one_identity),
        cmocka_unit_test(a_person_is_a_hash_of_the_identity),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(each_failure_past_the_allowed_doubles_the_wait),
        cmocka_unit_test(success_forgives_the_account_and_one_try_of_the_network),
        cmocka_unit_test(tries_that_run_at_once_count_before_they_are_judged),
        cmocka_unit_test(what_was_not_judged_is_taken_back),
        cmocka_unit_test(failures_are_forgotten_after_a_while),
        cmocka_unit_test(a_flood_of_strangers_frees_nobody_who_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
