/*
 * Unit tests of mails: their form, and the dialogue with a scripted mail server.
 */
#include "base/clock.h"
#include "console/mail.h"
#include "outside_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* --- the form --- */

static int64_t fixed_time(void)
{
    return INT64_C(1764340940000); /* 2025-11-28 14:42:20 */
}

static char *write_mail(const struct mail *m)
{
    struct buf b;
    struct error e;
    buf_init(&b, MAIL_BYTES);
    clock_set_unix_ms(fixed_time);
    if (mail_write(&b, m, &e))
        fail_msg("%s", e.text);
    clock_set_unix_ms(NULL);
    for (const char *s = b.data; *s;) { /* no line is too long, and each ends in CRLF */
        size_t n = strcspn(s, "\n");
        assert_true(n > 0 && s[n - 1] == '\r' && s[n] == '\n' && n - 1 <= 78);
        s += n + 1;
    }
    return buf_take(&b, NULL);
}

static void a_mail_has_its_header_fields(void **state)
{
    struct mail m = {"no-reply@example.com", "ada@example.org", "A subject", "Hello.\n"};
    (void)state;
    char *s = write_mail(&m);
    assert_memory_equal(s, "Date: Fri, 28 Nov 2025 14:42:20 +0000\r\n", 39);
    assert_non_null(strstr(s, "\r\nFrom: moongate <no-reply@example.com>\r\n"));
    assert_non_null(strstr(s, "\r\nTo: <ada@example.org>\r\n"));
    assert_non_null(strstr(s, "\r\nSubject: A subject\r\n"));
    assert_non_null(strstr(s, "\r\nMessage-ID: <"));
    assert_non_null(strstr(s, "@example.com>\r\n"));
    assert_non_null(strstr(s, "\r\nMIME-Version: 1.0\r\n"));
    assert_non_null(strstr(s, "\r\nContent-Type: text/plain; charset=utf-8\r\n"));
    assert_non_null(strstr(s, "\r\n\r\nHello.\r\n"));
    free(s);
}

static void two_mails_differ_in_their_message_id(void **state)
{
    struct mail m = {"a@b.example", "c@d.example", "s", "b\n"};
    (void)state;
    char *one = write_mail(&m), *two = write_mail(&m);
    assert_string_not_equal(strstr(one, "Message-ID"), strstr(two, "Message-ID"));
    free(one);
    free(two);
}

static void a_subject_of_other_letters_is_encoded(void **state)
{
    struct mail m = {"a@b.example", "c@d.example", "Grüße", "b\n"};
    (void)state;
    char *s = write_mail(&m);
    assert_non_null(strstr(s, "\r\nSubject: =?utf-8?B?R3LDvMOfZQ==?=\r\n"));
    free(s);
    /* Long: in several words, none of which cuts a character. */
    m.subject = "月之暗面月之暗面月之暗面月之暗面月之暗面月之暗面";
    s = write_mail(&m);
    assert_non_null(strstr(s, "?=\r\n =?utf-8?B?"));
    assert_non_null(
        strstr(s, "Subject: =?utf-8?B?5pyI5LmL5pqX6Z2i5pyI5LmL5pqX6Z2i5pyI5LmL5pqX6Z2i5pyI?=\r\n"));
    free(s);
}

static void no_value_leaves_its_header_field(void **state)
{
    struct mail m = {"a@b.example", "c@d.example", "s\r\nBcc: <x@y.example>\r\n\r\nx", "b\n"};
    static const char *const bad[] = {"c@d.example\r\nBcc: x@y.example",
                                      "c@d.example>, <x@y.example",
                                      "c d@e.example",
                                      "c@@d.example",
                                      "c",
                                      "@d.example",
                                      "c@",
                                      "\"c\"@d.example",
                                      "c,x@d.example",
                                      ""};
    struct buf b;
    struct error e;
    (void)state;
    char *s = write_mail(&m);
    assert_null(strstr(s, "\r\nBcc"));
    assert_non_null(strstr(s, "\r\nSubject: s  Bcc: <x@y.example>    x\r\n"));
    free(s);
    m.subject = "=?utf-8?B?eA==?="; /* is told as it is, not decoded */
    s = write_mail(&m);
    assert_non_null(strstr(s, "Subject: =?utf-8?B?PT91dGYtOD9CP2VBPT0/PQ==?=\r\n"));
    free(s);
    m.subject = "s";
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct mail to = m, from = m;
        to.to = bad[i];
        from.from = bad[i];
        buf_init(&b, MAIL_BYTES);
        assert_int_equal(mail_write(&b, &to, &e), ERR_INVALID);
        assert_int_equal(mail_write(&b, &from, &e), ERR_INVALID);
        buf_done(&b);
    }
}

static void a_body_is_quoted_printable(void **state)
{
    struct mail m = {"a@b.example", "c@d.example", "s",
                     "a=b ü\n.\nspace at the end \n"
                     "0123456789012345678901234567890123456789012345678901234567890123456789"
                     "0123456789\n\nlast"};
    (void)state;
    char *s = write_mail(&m);
    assert_non_null(strstr(s,
                           "\r\n\r\na=3Db =C3=BC\r\n.\r\nspace at the end=20\r\n"
                           "0123456789012345678901234567890123456789012345678901234567890123456789"
                           "01234=\r\n56789\r\n\r\nlast\r\n"));
    free(s);
}

static void a_mail_that_is_too_large_is_refused(void **state)
{
    struct buf b;
    struct error e;
    char *body = mem_alloc(MAIL_BYTES + 1);
    (void)state;
    memset(body, 'x', MAIL_BYTES);
    body[MAIL_BYTES] = '\0';
    struct mail m = {"a@b.example", "c@d.example", "s", body};
    buf_init(&b, MAIL_BYTES);
    assert_int_equal(mail_write(&b, &m, &e), ERR_LIMIT);
    buf_done(&b);
    free(body);
}

static void each_kind_has_a_text_with_its_link(void **state)
{
    (void)state;
    for (int kind = MAIL_RESET; kind <= MAIL_KNOWN; kind++) {
        struct buf b;
        buf_init(&b, MAIL_BYTES);
        mail_text(&b, (enum mail_kind)kind, "https://x.example/y#z", 24 * 3600 * 1000);
        assert_non_null(strstr(b.data, "\n    https://x.example/y#z\n"));
        assert_int_equal(strstr(b.data, "for 1 day.") != NULL, kind != MAIL_KNOWN);
        assert_true(*mail_subject((enum mail_kind)kind));
        buf_done(&b);
    }
}

/* --- the dialogue --- */

struct rig {
    struct event_base *base;
    struct mailer *mailer;
    struct outside *server;
    const char *offers;  /* of EHLO, beside its name */
    const char *refuses; /* a command that is answered with 550 */
    char error[512];
    int failed;
};

static void on_failed(void *arg, const struct error *e)
{
    struct rig *r = arg;
    r->failed++;
    snprintf(r->error, sizeof r->error, "%s", e->text);
}

static bool begins(const char *line, const char *word)
{
    return word && strncasecmp(line, word, strlen(word)) == 0;
}

static void take_data(struct outside *o, int fd)
{
    char line[2048];
    outside_say(fd, "354 go on\r\n");
    while (outside_line(o, fd, line, sizeof line) && strcmp(line, ".\r\n") != 0)
        ;
    outside_say(fd, "250 taken\r\n");
}

static void take_password(struct outside *o, int fd)
{
    char line[2048];
    outside_say(fd, "334 \r\n");
    if (outside_line(o, fd, line, sizeof line))
        outside_say(fd, "235 welcome\r\n");
}

static void serve(struct outside *o, int fd)
{
    const struct rig *r = o->arg;
    char line[2048], ehlo[512];
    snprintf(ehlo, sizeof ehlo, "250-here\r\n%s250 8BITMIME\r\n", r->offers);
    outside_say(fd, "220 here\r\n");
    while (outside_line(o, fd, line, sizeof line)) {
        if (begins(line, r->refuses))
            outside_say(fd, "550 no\r\n");
        else if (begins(line, "EHLO"))
            outside_say(fd, ehlo);
        else if (begins(line, "AUTH"))
            take_password(o, fd);
        else if (begins(line, "DATA"))
            take_data(o, fd);
        else if (begins(line, "QUIT"))
            break;
        else
            outside_say(fd, "250 good\r\n");
    }
}

static struct rig *rig_open(const char *offers, const char *refuses)
{
    struct rig *r = mem_zalloc(sizeof *r);
    struct error e;
    r->base = event_base_new();
    r->offers = offers;
    r->refuses = refuses;
    r->server = outside_open(serve, r);
    if (mailer_open(r->base, on_failed, r, &r->mailer, &e))
        fail_msg("%s", e.text);
    return r;
}

static void rig_close(struct rig *r)
{
    mailer_close(r->mailer);
    outside_close(r->server);
    event_base_free(r->base);
    free(r);
}

/* Sends a mail and waits until it is decided; what the server heard. */
static char *send_to(struct rig *r, const char *scheme, const char *user, const char *host)
{
    char url[128];
    struct error e;
    snprintf(url, sizeof url, "%s://%s%s:%d", scheme, user, host, r->server->port);
    struct mail_server server = {url, "no-reply@example.com"};
    if (mailer_send(r->mailer, &server, "ada@example.org", MAIL_RESET,
                    "https://x.example/reset?token=SECRET", 3600000, &e))
        fail_msg("%s", e.text);
    assert_int_equal(mailer_waiting(r->mailer), 1);
    while (mailer_waiting(r->mailer))
        event_base_loop(r->base, EVLOOP_ONCE);
    return outside_heard(r->server);
}

static char *send_one(struct rig *r, const char *scheme, const char *user)
{
    return send_to(r, scheme, user, "127.0.0.1");
}

static void a_mail_reaches_the_server(void **state)
{
    struct rig *r = rig_open("", NULL);
    (void)state;
    char *heard = send_one(r, "smtp", "");
    assert_int_equal(r->failed, 0);
    assert_non_null(strstr(heard, "MAIL FROM:<no-reply@example.com>"));
    assert_non_null(strstr(heard, "RCPT TO:<ada@example.org>\r\n"));
    assert_non_null(strstr(heard, "\r\nSubject: Set a new password\r\n"));
    assert_non_null(strstr(heard, "reset?token=3DSECRET"));
    assert_non_null(strstr(heard, "\r\n.\r\n"));
    free(heard);
    rig_close(r);
}

static void user_and_password_of_the_url_log_in(void **state)
{
    struct rig *r = rig_open("250-AUTH PLAIN\r\n", NULL);
    (void)state;
    char *heard = send_one(r, "smtp", "us%40er:pass%2Fword@");
    assert_int_equal(r->failed, 0);
    /* base64 of NUL us@er NUL pass/word */
    assert_non_null(strstr(heard, "AHVzQGVyAHBhc3Mvd29yZA=="));
    free(heard);
    rig_close(r);
}

static void a_server_that_asks_for_no_password_gets_none(void **state)
{
    struct rig *r = rig_open("", NULL);
    (void)state;
    char *heard = send_one(r, "smtp", "user:hunter2@");
    assert_int_equal(r->failed, 0);
    assert_null(strstr(heard, "AUTH"));
    assert_null(strstr(heard, "hunter2"));
    free(heard);
    rig_close(r);
}

/* A name below localhost is this machine to libcurl, but not to us: as any other machine, it gets
 * a password or a mail under TLS alone. */
static void another_machine_must_speak_tls(void **state)
{
    struct rig *r = rig_open("250-AUTH PLAIN\r\n", NULL);
    (void)state;
    char *heard = send_to(r, "smtp", "user:hunter2@", "mail.localhost");
    assert_int_equal(outside_connections(r->server), 1);
    assert_int_equal(r->failed, 1);
    assert_non_null(strstr(heard, "EHLO"));
    assert_null(strstr(heard, "AUTH"));
    assert_null(strstr(heard, "MAIL"));
    free(heard);
    rig_close(r);
}

static void a_refused_recipient_is_told_without_the_mail(void **state)
{
    struct rig *r = rig_open("", "RCPT");
    (void)state;
    free(send_one(r, "smtp", ""));
    assert_int_equal(r->failed, 1);
    assert_non_null(strstr(r->error, "550"));
    assert_null(strstr(r->error, "SECRET"));
    rig_close(r);
}

static void smtps_is_not_spoken_in_the_clear(void **state)
{
    struct rig *r = rig_open("250-AUTH PLAIN\r\n", NULL);
    (void)state;
    char *heard = send_one(r, "smtps", "user:hunter2@");
    assert_int_equal(r->failed, 1);
    assert_null(strstr(heard, "EHLO"));
    assert_null(strstr(heard, "AUTH"));
    free(heard);
    rig_close(r);
}

static void other_urls_are_no_mail_servers(void **state)
{
    static const char *const bad[] = {"http://127.0.0.1/", "imap://127.0.0.1/", "", "nothing"};
    struct rig *r = rig_open("", NULL);
    struct error e;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct mail_server server = {bad[i], "a@b.example"};
        assert_int_equal(mailer_send(r->mailer, &server, "c@d.example", MAIL_RESET, "x", 1, &e),
                         ERR_INVALID);
    }
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mail_has_its_header_fields),
        cmocka_unit_test(two_mails_differ_in_their_message_id),
        cmocka_unit_test(a_subject_of_other_letters_is_encoded),
        cmocka_unit_test(no_value_leaves_its_header_field),
        cmocka_unit_test(a_body_is_quoted_printable),
        cmocka_unit_test(a_mail_that_is_too_large_is_refused),
        cmocka_unit_test(each_kind_has_a_text_with_its_link),
        cmocka_unit_test(a_mail_reaches_the_server),
        cmocka_unit_test(user_and_password_of_the_url_log_in),
        cmocka_unit_test(a_server_that_asks_for_no_password_gets_none),
        cmocka_unit_test(another_machine_must_speak_tls),
        cmocka_unit_test(a_refused_recipient_is_told_without_the_mail),
        cmocka_unit_test(smtps_is_not_spoken_in_the_clear),
        cmocka_unit_test(other_urls_are_no_mail_servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
