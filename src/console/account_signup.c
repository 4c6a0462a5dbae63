/*
 * Sign-up: open to everybody, by invitation, or closed.
 *
 * Whoever signs up with an address is told the same whether or not it has an account, after the
 * same work: the password is hashed and a row is written in either case. Where mails are sent, the
 * address is confirmed first: its owner gets a link with which the sign-up goes on, or a mail
 * that there is an account already; a password is asked for with that link, by its owner.
 * Where none are, the account is there at once, and a log-in finds out.
 *
 * A link that names an address (of an invitation by mail, or of a confirmation) proves it, so its
 * bearer is told all, and is logged in.
 */
#include "console/account_private.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sign_up {                /* a request's state */
    char link[STORE_HEX_BYTES]; /* "": none was given */
    bool proven;                /* the link names the address */
    struct email email;
    char name[STORE_NAME_BYTES];
};

struct sign_up_job {
    struct store_job job;
    struct sign_up ask;
    int64_t now_ms;
    struct store_link invitation;
    struct store_account account;
    struct link_made link; /* of a confirmation */
    struct login login;    /* of one that is proven */
    bool known;            /* the answer: the address has an account */
};

static void fill(struct request *r, struct sign_up_job *j)
{
    const struct sign_up *u = r->state;
    struct store_account *a = &j->account;
    j->ask = *u;
    j->now_ms = r->now_ms;
    memcpy(a->email, u->email.address, sizeof a->email);
    memcpy(a->person, u->email.person, sizeof a->person);
    memcpy(a->name, u->name, sizeof a->name);
    a->created_ms = r->now_ms;
}

static int take_invitation(struct store *s, struct sign_up_job *j, struct error *e)
{
    return j->ask.link[0] ? store_link_take(s, j->ask.link, "invite", j->now_ms, &j->invitation, e)
                          : 0;
}

static int look_for(struct store *s, struct sign_up_job *j, struct error *e)
{
    struct store_account there;
    int rc = store_account_by_email(s, j->account.email, &there, e);
    j->known = rc == 0;
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

/* --- where mails are sent --- */

static int add_confirmation(struct store *s, struct store_job *job, struct error *e)
{
    struct sign_up_job *j = (struct sign_up_job *)job;
    struct link_made nobodys;
    int rc = take_invitation(s, j, e);
    if (rc == 0)
        rc = look_for(s, j, e);
    link_make_nobodys(j->now_ms, &nobodys);
    return rc ? rc : store_link_add(s, j->known ? &nobodys.row : &j->link.row, e);
}

static void answer_sign_up(struct request *r)
{
    struct buf b;
    buf_init(&b, 256);
    buf_addc(&b, '{');
    put_text(&b, "next", mail_is_on(r->console) ? "mail" : "log-in");
    buf_addc(&b, '}');
    request_json(r, 202, &b);
    buf_done(&b);
}

static void on_confirmation(struct request *r, struct store_job *job)
{
    const struct sign_up_job *j = (const struct sign_up_job *)job;
    struct console *c = r->console;
    if (job->code == ERR_NOT_FOUND) {
        link_is_over(r);
        return;
    }
    if (request_failed(r, job))
        return;
    answer_sign_up(r); /* the mail is written afterwards: nobody sees which one it is */
    if (j->known)
        mail_link(c, j->account.email, MAIL_KNOWN, NULL);
    else
        mail_link(c, j->account.email, MAIL_CONFIRM, &j->link);
}

static void confirm_first(struct request *r)
{
    struct sign_up_job *j = mem_zalloc(sizeof *j);
    fill(r, j);
    link_make(r->console, "invite", r->now_ms, &j->link);
    memcpy(j->link.row.email, j->account.email, sizeof j->link.row.email);
    request_ask(r, &j->job, add_confirmation, on_confirmation);
}

/* --- an account --- */

/* Of an address that is not proven: what is known stays as it is, and costs the same. */
static int add_quietly(struct store *s, struct sign_up_job *j, struct error *e)
{
    struct link_made nobodys;
    int rc = look_for(s, j, e);
    if (rc)
        return rc;
    if (!j->known)
        return store_account_add(s, &j->account, &j->account.id, e);
    link_make_nobodys(j->now_ms, &nobodys);
    return store_link_add(s, &nobodys.row, e);
}

static int add_account(struct store *s, struct store_job *job, struct error *e)
{
    struct sign_up_job *j = (struct sign_up_job *)job;
    int rc = take_invitation(s, j, e);
    if (rc)
        return rc;
    if (!j->ask.proven)
        return add_quietly(s, j, e);
    rc = store_account_add(s, &j->account, &j->account.id, e);
    return rc ? rc : login_store(s, &j->login, j->account.id, e);
}

static void on_added(struct request *r, struct store_job *job)
{
    struct sign_up_job *j = (struct sign_up_job *)job;
    if (job->code == ERR_NOT_FOUND) {
        link_is_over(r);
    } else if (!j->ask.proven && job->code == ERR_EXISTS) {
        answer_sign_up(r); /* another replica was faster by a hair */
    } else if (job->code == ERR_EXISTS) {
        request_fault(r, FAULT_DUPLICATION, "email", "This address has an account: log in.");
    } else if (request_failed(r, job)) {
        return;
    } else if (j->ask.proven) {
        j->account.login_ms = r->now_ms;
        r->account = j->account;
        login_answer(r, 201, &j->account);
    } else {
        answer_sign_up(r);
    }
}

static void on_hash(struct request *r, const struct password_answer *a)
{
    if (a->code) {
        request_fault_after(r, FAULT_UNAVAILABLE, 1000, "There is no memory for it now.");
        return;
    }
    struct sign_up_job *j = mem_zalloc(sizeof *j);
    fill(r, j);
    memcpy(j->account.password, a->hash, sizeof a->hash);
    if (j->ask.proven)
        login_make(r, &j->login);
    request_ask(r, &j->job, add_account, on_added);
}

/* The address is known, and whether it is proven. */
static void go_on(struct request *r)
{
    const struct sign_up *u = r->state;
    bool mail_first = !u->proven && mail_is_on(r->console);
    const char *password = NULL;
    struct error e;
    if (!mail_first && !request_password(r, "password", &password))
        return;
    if (!mail_first && password_check(password, u->email.address, &e)) {
        request_fault(r, FAULT_BAD_REQUEST, "password", "%s", e.text);
        return;
    }
    if (!u->proven && !may_ask(r, u->email.address))
        return;
    if (mail_first)
        confirm_first(r);
    else
        request_hash(r, password, on_hash);
}

/* --- with a link --- */

static int find_invitation(struct store *s, struct store_job *job, struct error *e)
{
    struct sign_up_job *j = (struct sign_up_job *)job;
    return store_link_get(s, j->ask.link, "invite", j->now_ms, &j->invitation, e);
}

static void on_invitation(struct request *r, struct store_job *job)
{
    const struct sign_up_job *j = (const struct sign_up_job *)job;
    struct sign_up *u = r->state;
    struct error e;
    if (job->code == ERR_NOT_FOUND) {
        link_is_over(r);
        return;
    }
    if (request_failed(r, job))
        return;
    u->proven = j->invitation.email[0] != '\0';
    if (!u->proven) {
        if (request_email(r, &u->email))
            go_on(r);
    } else if (email_read(j->invitation.email, &r->console->options.email, &u->email, &e)) {
        request_fault(r, FAULT_INTERNAL, NULL, "The invitation's address cannot be read.");
    } else {
        go_on(r);
    }
}

void account_sign_up(struct request *r)
{
    struct sign_up *u = r->state = mem_zalloc(sizeof *u);
    enum console_sign_up rule = r->console->options.sign_up;
    char token[128];
    bool has_token, has_name;
    if (rule == CONSOLE_CLOSED) {
        request_fault(r, FAULT_DENIED, NULL, "Accounts are made by an administrator here.");
        return;
    }
    if (!request_text(r, "token", token, sizeof token, &has_token) ||
        !request_text(r, "name", u->name, sizeof u->name, &has_name))
        return;
    if (!has_token && rule == CONSOLE_INVITE) {
        request_fault(r, FAULT_DENIED, NULL, "Signing up needs an invitation here.");
    } else if (!has_token) {
        if (request_email(r, &u->email))
            go_on(r);
    } else if (link_hash(r, token, u->link)) {
        struct sign_up_job *j = mem_zalloc(sizeof *j);
        j->ask = *u;
        j->now_ms = r->now_ms;
        request_ask_read(r, &j->job, find_invitation, on_invitation);
    }
}
