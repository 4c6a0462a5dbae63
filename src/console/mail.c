/*
 * See mail.h: the texts, and the way to the mail server through a fetcher of its own, so that a
 * slow one holds up no log-in.
 */
#include "console/mail.h"

#include "base/mem.h"
#include "console/fetch.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>

enum { MAILS_WAITING = 256 };

/* --- the texts --- */

struct letter {
    const char *subject, *before, *after; /* the link stands between */
    bool ends;                            /* the link is good for a time */
};

static const struct letter letters[] = {
    [MAIL_RESET] = {"Set a new password",
                    "Somebody, probably you, asked for a new password for your account.\n"
                    "To choose one, open this link:\n\n",
                    "If it was not you, there is nothing to do: your password stays as it is.\n",
                    true},
    [MAIL_INVITATION] = {"You are invited",
                         "You are invited to make an account. To do so, open this link:\n\n",
                         "If you do not want one, there is nothing to do.\n", true},
    [MAIL_CONFIRM] = {"Confirm your address",
                      "Somebody, probably you, wants to make an account with this address.\n"
                      "To confirm it, open this link:\n\n",
                      "If it was not you, there is nothing to do: no account is made.\n", true},
    [MAIL_KNOWN] = {"You already have an account",
                    "Somebody, probably you, tried to sign up with this address, which already\n"
                    "has an account. You can log in, or ask for a new password, here:\n\n",
                    "If it was not you, there is nothing to do: nothing was changed.\n", false},
};

static void put_time(struct buf *out, int64_t ms)
{
    static const struct {
        int64_t ms;
        const char *name;
    } units[] = {{86400000, "day"}, {3600000, "hour"}, {60000, "minute"}, {1000, "second"}};
    size_t i = 0, last = sizeof units / sizeof units[0] - 1;
    while (i < last && (ms < units[i].ms || ms % units[i].ms != 0))
        i++;
    int64_t n = ms / units[i].ms;
    buf_addf(out, "%" PRId64 " %s%s", n, units[i].name, n == 1 ? "" : "s");
}

const char *mail_subject(enum mail_kind kind)
{
    return letters[kind].subject;
}

void mail_text(struct buf *out, enum mail_kind kind, const char *link, int64_t valid_ms)
{
    const struct letter *l = &letters[kind];
    buf_addf(out, "%s    %s\n\n", l->before, link);
    if (l->ends) {
        buf_adds(out, "It is good once, for ");
        put_time(out, valid_ms);
        buf_adds(out, ".\n\n");
    }
    buf_adds(out, l->after);
}

/* --- sending --- */

struct mailer {
    struct fetcher *fetcher;
    mail_failed_fn *failed;
    void *arg;
    uint64_t number;
};

static void on_sent(void *arg, const struct fetch_answer *a)
{
    struct mailer *m = arg;
    struct error e;
    if (!a->code)
        return;
    error_set(&e, a->code, "a mail was not sent: %s", a->error);
    m->failed(m->arg, &e);
}

int mailer_open(struct event_base *base, mail_failed_fn *failed, void *arg, struct mailer **out,
                struct error *e)
{
    struct fetch_options o = {.queue = MAILS_WAITING};
    struct mailer *m = mem_zalloc(sizeof *m);
    m->failed = failed;
    m->arg = arg;
    int rc = fetcher_open(base, &o, on_sent, m, &m->fetcher, e);
    if (rc) {
        free(m);
        m = NULL;
    }
    *out = m;
    return rc;
}

void mailer_close(struct mailer *m)
{
    if (m)
        fetcher_close(m->fetcher);
    free(m);
}

static void wipe(struct buf *b)
{
    if (b->data)
        sodium_memzero(b->data, b->len);
    buf_done(b);
}

int mailer_send(struct mailer *m, const struct mail_server *server, const char *to,
                enum mail_kind kind, const char *link, int64_t valid_ms, struct error *e)
{
    struct buf text, whole;
    buf_init(&text, MAIL_BYTES);
    buf_init(&whole, MAIL_BYTES);
    mail_text(&text, kind, link, valid_ms);
    struct mail mail = {server->from, to, mail_subject(kind), text.data ? text.data : ""};
    int rc = mail_write(&whole, &mail, e);
    if (!rc) {
        struct fetch_mail call = {.url = server->url,
                                  .from = server->from,
                                  .to = to,
                                  .message = whole.data,
                                  .len = whole.len};
        rc = fetch_mail(m->fetcher, ++m->number, &call, e);
    }
    wipe(&text);
    wipe(&whole);
    return rc;
}

size_t mailer_waiting(const struct mailer *m)
{
    return fetch_waiting(m->fetcher);
}
