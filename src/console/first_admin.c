/*
 * The first administrator: made where there is none, with a password that is good until the first
 * log-in changes it. It is told once, on standard error, as plain lines for people: it is not
 * logged, for logs are kept.
 */
#include "console/console.h"
#include "console/password.h"

#include "base/clock.h"
#include "store/accounts.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

static int add_admin(struct store *s, const struct email *email, const char *hash, bool *made,
                     struct error *e)
{
    struct store_account a = {.role = STORE_ADMIN, .must_change = true};
    bool has = false;
    int rc = store_begin(s, STORE_WRITE, e);
    if (rc == 0)
        rc = store_account_has_admin(s, &has, e);
    snprintf(a.email, sizeof a.email, "%s", email->address);
    snprintf(a.person, sizeof a.person, "%s", email->person);
    snprintf(a.name, sizeof a.name, "Administrator");
    snprintf(a.password, sizeof a.password, "%s", hash);
    a.created_ms = clock_unix_ms();
    if (rc == 0 && !has)
        rc = store_account_add(s, &a, &a.id, e);
    if (rc == 0)
        rc = store_commit(s, e);
    if (rc)
        store_rollback(s);
    *made = rc == 0 && !has;
    return rc;
}

/* Is there one by now? A replica that started at the same time may have made it. */
static bool has_admin(struct store *s)
{
    bool has = false;
    return store_account_has_admin(s, &has, NULL) == 0 && has;
}

int console_first_admin(struct store *s, const char *address, struct error *e)
{
    const struct email_rules rules = {true, true};
    char password[PASSWORD_ONE_TIME_CHARS + 1], hash[PASSWORD_HASH_BYTES];
    struct email email;
    bool has, made = false;
    int rc = store_account_has_admin(s, &has, e);
    if (rc || has)
        return rc;
    if (email_read(address, &rules, &email, NULL))
        return error_set(e, ERR_INVALID, "accounts.admin: %s is no e-mail address", address);
    password_make(password);
    rc = password_hash_now(password, hash, e);
    if (rc == 0)
        rc = add_admin(s, &email, hash, &made, e);
    if (rc == ERR_EXISTS && has_admin(s))
        rc = 0;
    else if (rc == ERR_EXISTS)
        rc = error_set(e, ERR_EXISTS,
                       "there is no administrator, and the account %s is none: `moongate account "
                       "create --admin` makes another",
                       email.address);
    if (made)
        fprintf(stderr,
                "The administrator's account is %s, its one-time password %s\n"
                "It is shown this once; the first log-in must change it.\n",
                email.address, password);
    sodium_memzero(password, sizeof password);
    return rc;
}
