/*
 * A forgotten password: asking for a link, which goes to the account's address by mail, and
 * setting a new password with it. An administrator hands a link out where there is no mail
 * (admin.c, or `moongate account reset`).
 *
 * Who asks is told the same whether or not the address has an account, after the same work.
 */
#include "console/account_private.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct reset_job {
    struct store_job job;
    char address[EMAIL_BYTES];
    int64_t now_ms;
    bool known; /* the answer */
    char link[STORE_HEX_BYTES];
    struct link_made made;
    struct store_account account;
    char hash[PASSWORD_HASH_BYTES];
};

/* --- asking --- */

static int add_link(struct store *s, struct store_job *job, struct error *e)
{
    struct reset_job *j = (struct reset_job *)job;
    struct link_made nobodys;
    struct store_account a;
    int rc = store_account_by_email(s, j->address, &a, e);
    if (rc && rc != ERR_NOT_FOUND)
        return rc;
    j->known = rc == 0 && !a.disabled;
    link_make_nobodys(j->now_ms, &nobodys);
    j->made.row.account_id = j->known ? a.id : 0;
    rc = store_link_drop(s, j->made.row.account_id, "reset", e);
    return rc ? rc : store_link_add(s, j->known ? &j->made.row : &nobodys.row, e);
}

static void answer_asked(struct request *r)
{
    struct buf b;
    buf_init(&b, 256);
    buf_addc(&b, '{');
    put_text(&b, "next", mail_is_on(r->console) ? "mail" : "administrator");
    buf_addc(&b, '}');
    request_json(r, 202, &b);
    buf_done(&b);
}

static void on_link(struct request *r, struct store_job *job)
{
    const struct reset_job *j = (const struct reset_job *)job;
    struct console *c = r->console;
    if (request_failed(r, job))
        return;
    answer_asked(r);
    if (j->known)
        mail_link(c, j->address, MAIL_RESET, &j->made);
}

void account_reset(struct request *r)
{
    struct email email;
    if (!request_email(r, &email) || !may_ask(r, email.address))
        return;
    if (!mail_is_on(r->console)) {
        answer_asked(r);
        return;
    }
    struct reset_job *j = mem_zalloc(sizeof *j);
    memcpy(j->address, email.address, sizeof j->address);
    j->now_ms = r->now_ms;
    link_make(r->console, "reset", r->now_ms, &j->made);
    request_ask(r, &j->job, add_link, on_link);
}

/* --- finishing --- */

struct finish { /* a request's state */
    char link[STORE_HEX_BYTES];
};

static int set_password(struct store *s, struct store_job *job, struct error *e)
{
    struct reset_job *j = (struct reset_job *)job;
    struct store_link link;
    int rc = store_link_take(s, j->link, "reset", j->now_ms, &link, e);
    if (rc == 0)
        rc = store_account_set_password(s, link.account_id, j->hash, false, e);
    if (rc == 0)
        rc = store_session_end_all(s, link.account_id, NULL, e);
    return rc ? rc : store_link_drop(s, link.account_id, "reset", e);
}

static void on_set(struct request *r, struct store_job *job)
{
    if (job->code == ERR_NOT_FOUND)
        link_is_over(r);
    else if (!request_failed(r, job))
        request_empty(r, 204);
}

static void on_hash(struct request *r, const struct password_answer *a)
{
    const struct finish *f = r->state;
    if (a->code) {
        request_fault_after(r, FAULT_UNAVAILABLE, 1000, "There is no memory for it now.");
        return;
    }
    struct reset_job *j = mem_zalloc(sizeof *j);
    memcpy(j->link, f->link, sizeof j->link);
    memcpy(j->hash, a->hash, sizeof j->hash);
    j->now_ms = r->now_ms;
    request_ask(r, &j->job, set_password, on_set);
}

static int find_account(struct store *s, struct store_job *job, struct error *e)
{
    struct reset_job *j = (struct reset_job *)job;
    int rc = store_link_get(s, j->link, "reset", j->now_ms, &j->made.row, e);
    return rc ? rc : store_account_get(s, j->made.row.account_id, &j->account, e);
}

/* A password that is not fit does not cost the link. */
static void on_account(struct request *r, struct store_job *job)
{
    const struct reset_job *j = (const struct reset_job *)job;
    const char *password;
    struct error e;
    if (job->code == ERR_NOT_FOUND) {
        link_is_over(r);
        return;
    }
    if (request_failed(r, job) || !request_password(r, "password", &password))
        return;
    if (password_check(password, j->account.email, &e))
        request_fault(r, FAULT_BAD_REQUEST, "password", "%s", e.text);
    else
        request_hash(r, password, on_hash);
}

void account_reset_finish(struct request *r)
{
    struct finish *f = r->state = mem_zalloc(sizeof *f);
    char token[128];
    if (!request_text(r, "token", token, sizeof token, NULL) || !link_hash(r, token, f->link))
        return;
    struct reset_job *j = mem_zalloc(sizeof *j);
    memcpy(j->link, f->link, sizeof j->link);
    j->now_ms = r->now_ms;
    request_ask_read(r, &j->job, find_account, on_account);
}
