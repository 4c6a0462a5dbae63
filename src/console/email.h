/*
 * Addresses of people: which text is one, and which of them are the same person's. Pure.
 *
 * An account has an address, in the form in which mail is sent to it; two that differ in the case
 * of letters are the same account. A person's identity is the address without what one person
 * varies at will: it is what the free quota is granted for, once.
 */
#ifndef MOONGATE_CONSOLE_EMAIL_H
#define MOONGATE_CONSOLE_EMAIL_H

#include "base/error.h"

#include <stdbool.h>

enum { EMAIL_BYTES = 255, EMAIL_PERSON_BYTES = 65 };

struct email_rules {
    bool plus_tags; /* what stands behind a + (or, at some providers, a -) is the same person */
    bool dots;      /* and dots, at providers who do not look at them */
};

struct email {
    char address[EMAIL_BYTES];  /* lower case */
    char identity[EMAIL_BYTES]; /* of the person */
    /* A hash of the identity, which may outlive the account without naming anybody. */
    char person[EMAIL_PERSON_BYTES];
};

/* ASCII alone: another domain is written in its xn-- form. */
int email_read(const char *text, const struct email_rules *rules, struct email *out,
               struct error *e);

#endif
