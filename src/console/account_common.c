/*
 * See account_private.h. Holds nothing of its own.
 */
#include "console/account_private.h"

#include "base/clock.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

/* --- JSON --- */

void put_account(struct buf *b, const struct store_account *a)
{
    put_int(b, "id", a->id);
    put_text(b, "email", a->email);
    put_text(b, "name", a->name);
    put_text(b, "role", a->role == STORE_ADMIN ? "admin" : "user");
    put_bool(b, "disabled", a->disabled);
    put_bool(b, "must_change_password", a->must_change);
    put_bool(b, "has_password", a->password[0] != '\0');
    put_bool(b, "has_oidc", a->oidc_subject[0] != '\0');
    put_time(b, "created_at", a->created_ms);
    put_time(b, "last_login_at", a->login_ms);
}

void put_rates(struct buf *b, const struct store_rates *rates)
{
    put_int(b, "requests_per_minute", rates->requests_per_minute);
    put_int(b, "tokens_per_minute", rates->tokens_per_minute);
    put_int(b, "concurrent", rates->concurrent);
}

bool request_password(struct request *r, const char *name, const char **out)
{
    const struct json *v = json_get(r->body, name, NULL);
    *out = "";
    if (json_kind(v) == JSON_STRING) {
        *out = json_string(v, NULL);
        return true;
    }
    request_fault(r, FAULT_BAD_REQUEST, name,
                  json_kind(v) == JSON_NULL ? "%s is missing." : "%s must be a text.", name);
    return false;
}

bool request_email(struct request *r, struct email *out)
{
    char text[EMAIL_BYTES + 64];
    struct error e;
    if (!request_text(r, "email", text, sizeof text, NULL))
        return false;
    if (email_read(text, &r->console->options.email, out, &e) == 0)
        return true;
    request_fault(r, FAULT_BAD_REQUEST, "email", "%s", e.text);
    return false;
}

/* --- the beginning of a session --- */

static void hash_token(const char *token, char out[STORE_HEX_BYTES])
{
    uint8_t hash[SESSION_HASH_BYTES];
    if (session_token_hash(token, hash))
        store_hex(hash, out);
}

void login_make(struct request *r, struct login *out)
{
    memset(out, 0, sizeof *out);
    memcpy(out->old, r->session.hash, sizeof out->old);
    session_token_make(r->token);
    hash_token(r->token, out->session.hash);
    out->now_ms = r->now_ms;
    out->session.created_ms = out->session.used_ms = r->now_ms;
    out->session.expires_ms = session_until(&r->console->options.session, r->now_ms, r->now_ms);
}

int login_store(struct store *s, struct login *l, int64_t account_id, struct error *e)
{
    l->session.account_id = account_id;
    int rc = store_session_add(s, &l->session, e);
    if (rc == 0)
        rc = store_account_login(s, account_id, l->now_ms, e);
    if (rc == 0 && l->old[0]) {
        rc = store_session_end(s, l->old, e);
        if (rc == ERR_NOT_FOUND)
            rc = 0;
    }
    return rc;
}

void login_cookie(struct request *r)
{
    struct buf cookie;
    buf_init(&cookie, 512);
    session_cookie(&cookie, r->token, r->secure, r->console->options.session.whole_ms / 1000);
    request_header(r, "set-cookie", cookie.data);
    sodium_memzero(cookie.data, cookie.len);
    buf_done(&cookie);
}

void login_answer(struct request *r, int status, const struct store_account *a)
{
    struct buf b;
    char csrf[SESSION_TOKEN_CHARS + 1];
    login_cookie(r);
    session_csrf(r->token, csrf);
    buf_init(&b, 4096);
    buf_addc(&b, '{');
    put_account(&b, a);
    put_text(&b, "csrf_token", csrf);
    buf_addc(&b, '}');
    request_json(r, status, &b);
    buf_done(&b);
}

/* --- links --- */

void link_make(const struct console *c, const char *kind, int64_t now_ms, struct link_made *out)
{
    memset(out, 0, sizeof *out);
    session_token_make(out->token);
    hash_token(out->token, out->row.hash);
    snprintf(out->row.kind, sizeof out->row.kind, "%s", kind);
    out->row.created_ms = now_ms;
    out->row.expires_ms = now_ms + c->options.link_ms;
}

void link_make_nobodys(int64_t now_ms, struct link_made *out)
{
    memset(out, 0, sizeof *out);
    session_token_make(out->token);
    hash_token(out->token, out->row.hash);
    snprintf(out->row.kind, sizeof out->row.kind, "none");
    out->row.created_ms = now_ms;
    out->row.expires_ms = now_ms + 1;
}

void link_is_over(struct request *r)
{
    request_fault(r, FAULT_NOT_FOUND, "token",
                  "This link is not known, was used before, or its time is over.");
}

bool link_hash(struct request *r, const char *token, char out[STORE_HEX_BYTES])
{
    uint8_t hash[SESSION_HASH_BYTES];
    if (!session_token_hash(token, hash)) {
        link_is_over(r);
        return false;
    }
    store_hex(hash, out);
    return true;
}

static void put_path(struct buf *b, const char *kind, const char *token)
{
    buf_addf(b, "/#/%s/%s", strcmp(kind, "invite") == 0 ? "sign-up" : kind, token);
}

void link_put_url(struct buf *b, const struct console *c, const char *kind, const char *token)
{
    const char *url = c->options.public_url;
    size_t n = strlen(url);
    buf_add(b, url, n > 0 && url[n - 1] == '/' ? n - 1 : n);
    put_path(b, kind, token);
}

void put_link(struct buf *b, const struct console *c, const struct link_made *l)
{
    struct buf text;
    buf_init(&text, 4096);
    put_text(b, "token", l->token);
    put_path(&text, l->row.kind, l->token);
    put_text(b, "path", text.data);
    buf_reset(&text);
    link_put_url(&text, c, l->row.kind, l->token);
    if (*c->options.public_url && !text.failed)
        put_text(b, "url", text.data);
    else
        put_null(b, "url");
    put_time(b, "expires_at", l->row.expires_ms);
    buf_done(&text);
}

/* --- mails --- */

bool mail_is_on(const struct console *c)
{
    const struct console_options *o = &c->options;
    return *o->smtp_url && *o->mail_from && *o->public_url;
}

void mail_link(struct console *c, const char *to, enum mail_kind kind, const struct link_made *l)
{
    const struct mail_server server = {c->options.smtp_url, c->options.mail_from};
    struct error e;
    struct buf url;
    buf_init(&url, 4096);
    if (l)
        link_put_url(&url, c, l->row.kind, l->token);
    else
        buf_adds(&url, c->options.public_url);
    int rc = url.failed
                 ? error_set(&e, ERR_LIMIT, "accounts.public_url is too long for a mail")
                 : mailer_send(c->mailer, &server, to, kind, url.data, c->options.link_ms, &e);
    if (rc && c->events.on_trouble)
        c->events.on_trouble(c->arg, &e);
    if (url.data)
        sodium_memzero(url.data, url.len);
    buf_done(&url);
}

/* --- tries --- */

void answer_wait(struct request *r, int64_t wait_ms, const char *what)
{
    int64_t seconds = (wait_ms + 999) / 1000;
    request_fault_after(r, FAULT_RATE_LIMIT, wait_ms, "%s Try again in %" PRId64 " s.", what,
                        seconds);
}

bool may_ask(struct request *r, const char *address)
{
    int64_t wait_ms;
    if (lockout_try(r->console->asking, address, r->network, clock_mono_ms(), &wait_ms))
        return true;
    answer_wait(r, wait_ms, "This was asked for too often.");
    return false;
}
