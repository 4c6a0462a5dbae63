/*
 * Log-in by address and password, log-out, and the change of one's password.
 *
 * A log-in does the same work whether or not there is such an account, and says the same if there
 * is none, if it has no password, and if the password is wrong. Only whoever has the password is
 * told that the account is disabled.
 */
#include "console/account_private.h"

#include "base/clock.h"
#include "base/mem.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- log-in --- */

struct log_in { /* a request's state */
    char address[EMAIL_BYTES];
    struct store_account account; /* id 0: there is none */
    char rehashed[PASSWORD_HASH_BYTES];
};

struct log_in_job {
    struct store_job job;
    char address[EMAIL_BYTES];
    struct store_account account;
    struct login login;
    char rehashed[PASSWORD_HASH_BYTES]; /* "": the hash is as it should be */
};

static void not_judged(struct request *r)
{
    const struct log_in *l = r->state;
    lockout_undone(r->console->lockout, l->address, r->network, clock_mono_ms());
}

static void on_logged_in(struct request *r, struct store_job *job)
{
    const struct log_in *l = r->state;
    if (request_failed(r, job))
        return;
    r->account = l->account;
    login_answer(r, 200, &l->account);
}

/* The password was compared some time ago: it must still be the account's. */
static int begin_session(struct store *s, struct store_job *job, struct error *e)
{
    struct log_in_job *j = (struct log_in_job *)job;
    struct store_account now;
    int rc = store_account_get(s, j->account.id, &now, e);
    if (rc == 0 && (now.disabled || strcmp(now.password, j->account.password) != 0))
        rc = error_set(e, ERR_DENIED, "The account was changed just now; please log in again.");
    if (rc == 0 && j->rehashed[0])
        rc = store_account_set_password(s, j->account.id, j->rehashed, j->account.must_change, e);
    return rc ? rc : login_store(s, &j->login, j->account.id, e);
}

static void let_in(struct request *r)
{
    struct log_in *l = r->state;
    lockout_passed(r->console->lockout, l->address, r->network, clock_mono_ms());
    if (l->account.disabled) {
        request_fault(r, FAULT_DISABLED, NULL, "This account is disabled.");
        return;
    }
    struct log_in_job *j = mem_zalloc(sizeof *j);
    j->account = l->account;
    memcpy(j->rehashed, l->rehashed, sizeof j->rehashed);
    login_make(r, &j->login);
    l->account.login_ms = r->now_ms;
    request_ask(r, &j->job, begin_session, on_logged_in);
}

static void on_rehashed(struct request *r, const struct password_answer *a)
{
    struct log_in *l = r->state;
    if (a->code == 0)
        memcpy(l->rehashed, a->hash, sizeof l->rehashed);
    let_in(r); /* without it, the old hash stays good */
}

static void on_verified(struct request *r, const struct password_answer *a)
{
    const char *password;
    if (a->code == ERR_DENIED) {
        request_fault(r, FAULT_NO_SESSION, NULL, "The address or the password is wrong.");
    } else if (a->code) {
        not_judged(r);
        request_fault_after(r, FAULT_UNAVAILABLE, 1000, "There is no memory for a log-in now.");
    } else if (a->outdated && request_password(r, "password", &password)) {
        request_hash(r, password, on_rehashed);
    } else {
        let_in(r);
    }
}

static int find_account(struct store *s, struct store_job *job, struct error *e)
{
    struct log_in_job *j = (struct log_in_job *)job;
    return store_account_by_email(s, j->address, &j->account, e);
}

static void on_account(struct request *r, struct store_job *job)
{
    const struct log_in_job *j = (const struct log_in_job *)job;
    struct log_in *l = r->state;
    const char *password;
    if (job->code && job->code != ERR_NOT_FOUND) {
        not_judged(r);
        request_failed(r, job);
        return;
    }
    if (job->code == 0)
        l->account = j->account;
    if (request_password(r, "password", &password))
        request_verify(r, password, l->account.password[0] ? l->account.password : NULL,
                       on_verified);
    if (r->answered)
        not_judged(r);
}

/* The address as typed: what is none is nobody's, and is treated like one that nobody has. */
static bool read_address(struct request *r, char out[EMAIL_BYTES])
{
    char text[EMAIL_BYTES + 64];
    struct email email;
    if (!request_text(r, "email", text, sizeof text, NULL))
        return false;
    if (email_read(text, &r->console->options.email, &email, NULL) == 0)
        memcpy(out, email.address, EMAIL_BYTES);
    else
        snprintf(out, EMAIL_BYTES, "?%.*s", EMAIL_BYTES - 2, text); /* no address has a ? there */
    return true;
}

void account_log_in(struct request *r)
{
    struct log_in *l = r->state = mem_zalloc(sizeof *l);
    const char *password;
    int64_t wait_ms;
    if (!read_address(r, l->address) || !request_password(r, "password", &password))
        return;
    if (!lockout_try(r->console->lockout, l->address, r->network, clock_mono_ms(), &wait_ms)) {
        answer_wait(r, wait_ms, "Too many log-ins failed.");
        return;
    }
    struct log_in_job *j = mem_zalloc(sizeof *j);
    memcpy(j->address, l->address, sizeof j->address);
    request_ask_read(r, &j->job, find_account, on_account);
    if (r->answered)
        not_judged(r);
}

/* --- log-out --- */

struct log_out_job {
    struct store_job job;
    int64_t account_id;
    char hash[STORE_HEX_BYTES], keep[STORE_HEX_BYTES];
};

static int end_session(struct store *s, struct store_job *job, struct error *e)
{
    const struct log_out_job *j = (const struct log_out_job *)job;
    int rc = store_session_end(s, j->hash, e);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int end_sessions(struct store *s, struct store_job *job, struct error *e)
{
    const struct log_out_job *j = (const struct log_out_job *)job;
    return store_session_end_all(s, j->account_id, j->keep[0] ? j->keep : NULL, e);
}

static void on_logged_out(struct request *r, struct store_job *job)
{
    const struct log_out_job *j = (const struct log_out_job *)job;
    struct buf cookie;
    if (request_failed(r, job))
        return;
    if (!j->keep[0]) {
        buf_init(&cookie, 512);
        session_cookie_end(&cookie, r->secure);
        request_header(r, "set-cookie", cookie.data);
        buf_done(&cookie);
    }
    request_empty(r, 204);
}

void account_log_out(struct request *r)
{
    struct log_out_job *j = mem_zalloc(sizeof *j);
    memcpy(j->hash, r->session.hash, sizeof j->hash);
    request_ask(r, &j->job, end_session, on_logged_out);
}

void account_log_out_everywhere(struct request *r)
{
    bool keep = false, given;
    if (!request_bool(r, "keep_this", &keep, &given))
        return;
    struct log_out_job *j = mem_zalloc(sizeof *j);
    j->account_id = r->account.id;
    if (keep)
        memcpy(j->keep, r->session.hash, sizeof j->keep);
    request_ask(r, &j->job, end_sessions, on_logged_out);
}

/* --- another password --- */

struct password_job {
    struct store_job job;
    int64_t account_id;
    char hash[PASSWORD_HASH_BYTES];
    struct login login; /* the session is begun anew */
};

static int set_password(struct store *s, struct store_job *job, struct error *e)
{
    struct password_job *j = (struct password_job *)job;
    int rc = store_account_set_password(s, j->account_id, j->hash, false, e);
    if (rc == 0)
        rc = store_session_end_all(s, j->account_id, NULL, e);
    if (rc == 0)
        rc = store_link_drop(s, j->account_id, "reset", e);
    j->login.old[0] = '\0'; /* ended with the others */
    return rc ? rc : login_store(s, &j->login, j->account_id, e);
}

static void on_password_set(struct request *r, struct store_job *job)
{
    if (request_failed(r, job))
        return;
    r->account.must_change = false;
    login_answer(r, 200, &r->account);
}

static void on_new_hash(struct request *r, const struct password_answer *a)
{
    if (a->code) {
        request_fault_after(r, FAULT_UNAVAILABLE, 1000, "There is no memory for it now.");
        return;
    }
    struct password_job *j = mem_zalloc(sizeof *j);
    j->account_id = r->account.id;
    memcpy(j->hash, a->hash, sizeof j->hash);
    login_make(r, &j->login);
    request_ask(r, &j->job, set_password, on_password_set);
}

static void on_old_verified(struct request *r, const struct password_answer *a)
{
    int64_t now_ms = clock_mono_ms();
    const char *password;
    if (a->code == ERR_DENIED) {
        request_fault(r, FAULT_DENIED, "old_password", "The old password is wrong.");
        return;
    }
    if (a->code) {
        lockout_undone(r->console->lockout, r->account.email, r->network, now_ms);
        request_fault_after(r, FAULT_UNAVAILABLE, 1000, "There is no memory for it now.");
        return;
    }
    lockout_passed(r->console->lockout, r->account.email, r->network, now_ms);
    if (request_password(r, "new_password", &password))
        request_hash(r, password, on_new_hash);
}

/* A session that somebody stole guesses the old password no faster than a log-in would. */
void account_change_password(struct request *r)
{
    const char *old, *new;
    struct error e;
    int64_t wait_ms;
    if (!request_password(r, "old_password", &old) || !request_password(r, "new_password", &new))
        return;
    if (password_check(new, r->account.email, &e)) {
        request_fault(r, FAULT_BAD_REQUEST, "new_password", "%s", e.text);
        return;
    }
    if (strcmp(old, new) == 0) {
        request_fault(r, FAULT_BAD_REQUEST, "new_password", "It is the old password.");
        return;
    }
    if (!lockout_try(r->console->lockout, r->account.email, r->network, clock_mono_ms(),
                     &wait_ms)) {
        answer_wait(r, wait_ms, "Too many log-ins failed.");
        return;
    }
    request_verify(r, old, r->account.password[0] ? r->account.password : NULL, on_old_verified);
    if (r->answered)
        lockout_undone(r->console->lockout, r->account.email, r->network, clock_mono_ms());
}
