/*
 * Log-in with the OpenID Connect provider, as a browser sees it: start (a redirection to the
 * provider), callback (a redirection back to the pages, with a session), and link, which is a
 * start for an account that is logged in already.
 *
 * An address that the provider has verified is enough to make an account, or to enter one that
 * has never had a password. To an account with one, a person of the provider is linked by its
 * owner alone: else whoever signed up with somebody's address first would share what its owner
 * later enters by the provider.
 */
#include "console/account_private.h"

#include "base/mem.h"
#include "console/oidc.h"
#include "http/query.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { URL_BYTES = 8192 };

/* --- what both ways share --- */

static void hash_of(const char *token, char out[STORE_HEX_BYTES])
{
    uint8_t hash[SESSION_HASH_BYTES];
    out[0] = '\0';
    if (session_token_hash(token, hash))
        store_hex(hash, out);
}

/* Where the provider sends the browser back to. What a request calls this server by is not looked
 * at: the configuration has a public URL where it has a provider. */
static void put_redirect_uri(struct request *r, struct buf *b)
{
    const char *url = r->console->options.public_url;
    size_t n = strlen(url);
    buf_add(b, url, n > 0 && url[n - 1] == '/' ? n - 1 : n);
    buf_adds(b, "/console/api/oidc/callback");
}

/* Back to the pages, which say what `word` means. */
static void redirect_with(struct request *r, const char *word)
{
    char url[64];
    snprintf(url, sizeof url, "/?oidc=%s", word);
    request_header(r, "location", url);
    request_empty(r, 303);
}

static void tell_trouble(struct console *c, const char *text)
{
    struct error e;
    error_set(&e, ERR_IO, "OpenID Connect: %s", text);
    if (c->events.on_trouble)
        c->events.on_trouble(c->arg, &e);
}

/* --- start --- */

struct start { /* a request's state */
    char state[SESSION_TOKEN_CHARS + 1], browser[SESSION_TOKEN_CHARS + 1];
    struct oidc_login login;
};

struct start_job {
    struct store_job job;
    struct store_link row;
};

static int add_login(struct store *s, struct store_job *job, struct error *e)
{
    return store_link_add(s, &((struct start_job *)job)->row, e);
}

static void put_start_cookie(struct request *r, const char *token)
{
    struct buf cookie;
    buf_init(&cookie, 512);
    if (*token)
        session_login_cookie(&cookie, token, r->secure, OIDC_LOGIN_MS / 1000);
    else
        session_login_cookie_end(&cookie, r->secure);
    request_header(r, "set-cookie", cookie.data);
    buf_done(&cookie);
}

static void send_to(struct request *r, const char *url)
{
    struct buf b;
    if (strcmp(r->endpoint->method, "GET") == 0) {
        request_header(r, "location", url);
        request_empty(r, 303);
        return;
    }
    buf_init(&b, URL_BYTES * 2);
    buf_addc(&b, '{');
    put_text(&b, "url", url);
    buf_addc(&b, '}');
    request_json(r, 200, &b);
    buf_done(&b);
}

static void on_started(struct request *r, struct store_job *job)
{
    const struct start *x = r->state;
    struct buf url, back;
    if (request_failed(r, job))
        return;
    buf_init(&url, URL_BYTES);
    buf_init(&back, URL_BYTES);
    put_redirect_uri(r, &back);
    if (!back.failed && oidc_has_provider(r->console->oidc))
        oidc_put_start(r->console->oidc, &url, back.data, x->state, &x->login.secrets);
    if (back.failed || url.failed || !url.data) {
        request_fault(r, FAULT_INTERNAL, NULL, "The provider's address is too long.");
    } else {
        put_start_cookie(r, x->browser);
        send_to(r, url.data);
    }
    buf_done(&url);
    buf_done(&back);
}

/* The provider's configuration is known. */
static void begin(struct request *r)
{
    struct start *x = r->state = mem_zalloc(sizeof *x);
    struct start_job *j = mem_zalloc(sizeof *j);
    struct buf detail;
    session_token_make(x->state);
    session_token_make(x->browser);
    oidc_make_secrets(&x->login.secrets);
    hash_of(x->browser, x->login.browser);
    hash_of(x->state, j->row.hash);
    buf_init(&detail, sizeof j->row.detail - 1);
    oidc_write_login(&detail, &x->login);
    snprintf(j->row.detail, sizeof j->row.detail, "%s", detail.data);
    sodium_memzero(detail.data, detail.len);
    buf_done(&detail);
    snprintf(j->row.kind, sizeof j->row.kind, "oidc");
    if (strcmp(r->endpoint->method, "POST") == 0) /* of whoever is logged in */
        j->row.account_id = r->account.id;
    j->row.created_ms = r->now_ms;
    j->row.expires_ms = r->now_ms + OIDC_LOGIN_MS;
    request_ask(r, &j->job, add_login, on_started);
}

static bool has_provider(struct request *r)
{
    if (oidc_has_provider(r->console->oidc))
        return true;
    request_fault(r, FAULT_DENIED, NULL, "No OpenID Connect provider is configured.");
    return false;
}

static void provider_away(struct request *r)
{
    if (strcmp(r->endpoint->method, "GET") == 0)
        redirect_with(r, "unavailable");
    else
        request_fault_after(r, FAULT_UNAVAILABLE, 5000, "The provider does not answer.");
}

static void start(struct request *r)
{
    struct error e;
    if (!has_provider(r))
        return;
    if (oidc_is_ready(r->console->oidc))
        begin(r);
    else if (oidc_prepare(r->console->oidc, r->number, &e) == 0)
        request_wait(r);
    else
        provider_away(r);
}

void account_oidc_start(struct request *r)
{
    start(r);
}

void account_oidc_link(struct request *r)
{
    start(r);
}

/* --- the callback --- */

struct callback { /* a request's state */
    char browser[STORE_HEX_BYTES], issuer[OIDC_URL_BYTES], code[OIDC_CODE_MAX_BYTES + 1];
    int64_t link_account; /* whose wish it is to be linked; 0: a log-in */
};

enum entry { ENTRY_IN, ENTRY_LINKED, ENTRY_UNKNOWN, ENTRY_HAS_PASSWORD, ENTRY_DISABLED };

struct callback_job {
    struct store_job job;
    char state[STORE_HEX_BYTES];
    int64_t now_ms;
    struct store_link row;
    struct oidc_person person;
    int64_t link_account;
    bool may_sign_up;
    struct login login;
    enum entry entry; /* the answer */
};

static int make_account(struct store *s, struct callback_job *j, int64_t *id, struct error *e)
{
    struct store_account a = {.created_ms = j->now_ms};
    memcpy(a.email, j->person.email.address, sizeof a.email);
    memcpy(a.person, j->person.email.person, sizeof a.person);
    memcpy(a.name, j->person.name, sizeof a.name);
    snprintf(a.oidc_subject, sizeof a.oidc_subject, "%s", j->person.subject);
    return store_account_add(s, &a, id, e);
}

/* Nobody has this person yet: an account of that address, or a new one. */
static int enter_new(struct store *s, struct callback_job *j, int64_t *id, struct error *e)
{
    struct store_account a;
    int rc = store_account_by_email(s, j->person.email.address, &a, e);
    if (rc == ERR_NOT_FOUND && !j->may_sign_up) {
        j->entry = ENTRY_UNKNOWN;
        return 0;
    }
    if (rc == ERR_NOT_FOUND)
        return make_account(s, j, id, e);
    if (rc)
        return rc;
    *id = a.id;
    if (a.disabled)
        j->entry = ENTRY_DISABLED;
    else if (a.password[0] || a.oidc_subject[0])
        j->entry = ENTRY_HAS_PASSWORD;
    else
        rc = store_account_set_oidc(s, a.id, j->person.subject, e);
    return rc;
}

static int enter(struct store *s, struct callback_job *j, struct error *e)
{
    struct store_account a;
    int64_t id = 0;
    int rc = store_account_by_oidc(s, j->person.subject, &a, e);
    j->entry = ENTRY_IN;
    if (rc == 0) {
        id = a.id;
        j->entry = a.disabled ? ENTRY_DISABLED : ENTRY_IN;
    } else if (rc == ERR_NOT_FOUND) {
        rc = enter_new(s, j, &id, e);
    }
    if (rc == 0 && j->entry == ENTRY_IN)
        rc = login_store(s, &j->login, id, e);
    return rc;
}

static int link_person(struct store *s, struct callback_job *j, struct error *e)
{
    struct store_account a;
    int rc = store_account_by_oidc(s, j->person.subject, &a, e);
    if (rc == 0 && a.id != j->link_account)
        return error_set(e, ERR_EXISTS, "the person is linked to another account");
    if (rc && rc != ERR_NOT_FOUND)
        return rc;
    j->entry = ENTRY_LINKED;
    return store_account_set_oidc(s, j->link_account, j->person.subject, e);
}

static int use_person(struct store *s, struct store_job *job, struct error *e)
{
    struct callback_job *j = (struct callback_job *)job;
    return j->link_account ? link_person(s, j, e) : enter(s, j, e);
}

static void on_used(struct request *r, struct store_job *job)
{
    static const char *const words[] = {[ENTRY_IN] = "in",
                                        [ENTRY_LINKED] = "linked",
                                        [ENTRY_UNKNOWN] = "unknown",
                                        [ENTRY_HAS_PASSWORD] = "exists",
                                        [ENTRY_DISABLED] = "disabled"};
    const struct callback_job *j = (const struct callback_job *)job;
    put_start_cookie(r, "");
    if (job->code) {
        redirect_with(r, job->code == ERR_EXISTS ? "exists" : "unavailable");
        return;
    }
    if (j->entry == ENTRY_IN)
        login_cookie(r);
    redirect_with(r, words[j->entry]);
}

static void on_person(struct request *r, const struct oidc_answer *a)
{
    const struct callback *x = r->state;
    if (a->code) {
        tell_trouble(r->console, a->error);
        put_start_cookie(r, "");
        redirect_with(r,
                      a->code == ERR_DENIED || a->code == ERR_EXPIRED ? "denied" : "unavailable");
        return;
    }
    struct callback_job *j = mem_zalloc(sizeof *j);
    j->person = *a->person;
    j->now_ms = r->now_ms;
    j->link_account = x->link_account;
    j->may_sign_up = r->console->options.sign_up == CONSOLE_OPEN;
    login_make(r, &j->login);
    request_ask(r, &j->job, use_person, on_used);
}

void account_oidc_answer(void *arg, const struct oidc_answer *a)
{
    struct request *r = request_resume(arg, a->number);
    if (!r)
        return;
    if (strstr(r->endpoint->path, "/callback")) {
        on_person(r, a);
    } else if (a->code) {
        tell_trouble(r->console, a->error);
        provider_away(r);
    } else {
        begin(r);
    }
}

/* Is it the browser, and the account, that began it? */
static bool is_ours(const struct request *r, const struct store_link *row,
                    const struct oidc_login *login)
{
    const struct callback *x = r->state;
    if (strlen(login->browser) != strlen(x->browser) ||
        sodium_memcmp(login->browser, x->browser, strlen(x->browser)) != 0)
        return false;
    return row->account_id == 0 || row->account_id == r->account.id;
}

static void on_login(struct request *r, struct store_job *job)
{
    const struct callback_job *j = (const struct callback_job *)job;
    struct callback *x = r->state;
    struct oidc_login login;
    struct error e;
    struct buf back;
    if (job->code && job->code != ERR_NOT_FOUND) {
        redirect_with(r, "unavailable");
        return;
    }
    if (job->code || oidc_read_login(j->row.detail, &login, &e) || !is_ours(r, &j->row, &login)) {
        put_start_cookie(r, "");
        redirect_with(r, "expired");
        return;
    }
    x->link_account = j->row.account_id;
    buf_init(&back, URL_BYTES);
    put_redirect_uri(r, &back);
    int rc = back.failed
                 ? ERR_LIMIT
                 : oidc_finish(r->console->oidc, r->number, x->code, *x->issuer ? x->issuer : NULL,
                               back.data, &login.secrets, &e);
    sodium_memzero(&login, sizeof login);
    buf_done(&back);
    if (rc == 0)
        request_wait(r);
    else
        redirect_with(r, rc == ERR_DENIED ? "denied" : "unavailable");
}

static int take_login(struct store *s, struct store_job *job, struct error *e)
{
    struct callback_job *j = (struct callback_job *)job;
    return store_link_take(s, j->state, "oidc", j->now_ms, &j->row, e);
}

void account_oidc_callback(struct request *r)
{
    struct callback *x = r->state = mem_zalloc(sizeof *x);
    char state[SESSION_TOKEN_CHARS + 1], cookie[SESSION_TOKEN_CHARS + 1], hash[STORE_HEX_BYTES];
    const char *query = http_query(r->x);
    if (!has_provider(r))
        return;
    if (!query_get(query, "state", state, sizeof state) ||
        !query_get(query, "iss", x->issuer, sizeof x->issuer) ||
        !query_get(query, "code", x->code, sizeof x->code)) {
        redirect_with(r, "denied");
        return;
    }
    hash_of(state, hash);
    if (!session_login_cookie_read(http_header_get(r->x, "cookie"), r->secure, cookie) ||
        !hash[0]) {
        redirect_with(r, "expired");
        return;
    }
    hash_of(cookie, x->browser);
    if (!x->code[0]) { /* an error, or the person said no */
        put_start_cookie(r, "");
        redirect_with(r, "denied");
        return;
    }
    struct callback_job *j = mem_zalloc(sizeof *j);
    memcpy(j->state, hash, sizeof j->state);
    j->now_ms = r->now_ms;
    request_ask(r, &j->job, take_login, on_login);
}
