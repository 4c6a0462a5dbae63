/*
 * Mails of the console: their texts, their form on the wire (RFC 5322, MIME), and their sending.
 *
 * A mail holds nothing that a stranger chose but the address that it goes to, so that the console
 * cannot be made to write to people in its own name. Texts are UTF-8; subject and body are
 * encoded (RFC 2047, quoted-printable), and no value can leave its header field.
 *
 * mail_write and mail_text are pure; the rest is for the event loop's thread.
 */
#ifndef MOONGATE_CONSOLE_MAIL_H
#define MOONGATE_CONSOLE_MAIL_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum mail_kind {
    MAIL_RESET,      /* the link with which a password is set anew */
    MAIL_INVITATION, /* the link with which an account is made */
    MAIL_CONFIRM,    /* the link with which a sign-up goes on: the address is its owner's */
    MAIL_KNOWN       /* somebody tried to sign up with an address that has an account */
};

struct mail {
    const char *from, *to; /* addresses alone */
    const char *subject;   /* a line */
    const char *body;      /* lines end in LF */
};

enum { MAIL_BYTES = 64 * 1024 };

/* The whole message. ERR_INVALID: an address is none. ERR_LIMIT: more than MAIL_BYTES. */
int mail_write(struct buf *out, const struct mail *m, struct error *e);

/* The English text of a kind; `link` is where it leads, valid for `valid_ms`. */
const char *mail_subject(enum mail_kind kind);
void mail_text(struct buf *out, enum mail_kind kind, const char *link, int64_t valid_ms);

struct mailer;
struct event_base;

/* Told of each mail that was not sent. */
typedef void mail_failed_fn(void *arg, const struct error *e);

int mailer_open(struct event_base *base, mail_failed_fn *failed, void *arg, struct mailer **out,
                struct error *e);
void mailer_close(struct mailer *m); /* accepts NULL; what waits is not sent */

struct mail_server { /* what the configuration says */
    const char *url; /* "": there is none */
    const char *from;
};
/* Builds the mail and lets it go: nobody waits for it. ERR_BUSY: too many wait. */
int mailer_send(struct mailer *m, const struct mail_server *server, const char *to,
                enum mail_kind kind, const char *link, int64_t valid_ms, struct error *e);
/* Mails that wait or are under way. */
size_t mailer_waiting(const struct mailer *m);

#endif
