/*
 * The endpoints of one's own account, as a table; who one is, and one's name. What logs in, signs
 * up and resets has files of its own.
 */
#include "console/account_private.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static void who_am_i(struct request *r)
{
    struct buf b;
    char csrf[SESSION_TOKEN_CHARS + 1];
    buf_init(&b, 4096);
    buf_addc(&b, '{');
    put_account(&b, &r->account);
    if (r->session.hash[0]) {
        session_csrf(r->token, csrf);
        put_text(&b, "csrf_token", csrf);
    }
    buf_addc(&b, '}');
    request_json(r, 200, &b);
    buf_done(&b);
}

/* What a page must know before anybody has logged in. */
void account_settings(struct request *r)
{
    static const char *const sign_ups[] = {"closed", "invite", "open"};
    const struct console_options *o = &r->console->options;
    struct buf b;
    buf_init(&b, 4096);
    buf_addc(&b, '{');
    put_text(&b, "sign_up", sign_ups[o->sign_up]);
    put_bool(&b, "mail", mail_is_on(r->console));
    if (oidc_has_provider(r->console->oidc))
        put_text(&b, "oidc", *o->oidc_name ? o->oidc_name : o->oidc_issuer);
    else
        put_null(&b, "oidc");
    put_int(&b, "password_characters", PASSWORD_MIN_CHARS);
    put_bool(&b, "logged_in", r->account.id != 0 && !r->account.disabled);
    buf_addc(&b, '}');
    request_json(r, 200, &b);
    buf_done(&b);
}

/* --- the name --- */

struct name_job {
    struct store_job job;
    int64_t id;
    char name[STORE_NAME_BYTES];
    struct store_account account;
};

static int set_name(struct store *s, struct store_job *job, struct error *e)
{
    struct name_job *j = (struct name_job *)job;
    int rc = store_account_get(s, j->id, &j->account, e);
    if (rc)
        return rc;
    memcpy(j->account.name, j->name, sizeof j->name);
    return store_account_change(s, &j->account, e);
}

static void on_name(struct request *r, struct store_job *job)
{
    if (request_failed(r, job))
        return;
    r->account = ((struct name_job *)job)->account;
    who_am_i(r);
}

static void change_me(struct request *r)
{
    struct name_job *j = mem_zalloc(sizeof *j);
    j->id = r->account.id;
    if (request_text(r, "name", j->name, sizeof j->name, NULL))
        request_ask(r, &j->job, set_name, on_name);
    else
        free(j);
}

static const struct endpoint rows[] = {
    {"GET", "/console/api/settings", ENDPOINT_OPEN, false, account_settings, true},
    {"POST", "/console/api/sign-up", ENDPOINT_OPEN, true, account_sign_up, true},
    {"POST", "/console/api/log-in", ENDPOINT_OPEN, true, account_log_in, true},
    {"POST", "/console/api/log-out", ENDPOINT_SESSION, false, account_log_out, true},
    {"POST", "/console/api/log-out-everywhere", ENDPOINT_SESSION, true, account_log_out_everywhere,
     true},
    {"GET", "/console/api/me", ENDPOINT_ACCOUNT, false, who_am_i, true},
    {"PATCH", "/console/api/me", ENDPOINT_SESSION, true, change_me, false},
    {"POST", "/console/api/password", ENDPOINT_SESSION, true, account_change_password, true},
    {"POST", "/console/api/reset", ENDPOINT_OPEN, true, account_reset, true},
    {"POST", "/console/api/reset/finish", ENDPOINT_OPEN, true, account_reset_finish, true},
    {"GET", "/console/api/oidc/start", ENDPOINT_OPEN, false, account_oidc_start, true},
    {"POST", "/console/api/oidc/link", ENDPOINT_SESSION, false, account_oidc_link, false},
    {"GET", "/console/api/oidc/callback", ENDPOINT_OPEN, false, account_oidc_callback, true},
};
const struct endpoint_table account_endpoints = {rows, sizeof rows / sizeof rows[0]};
