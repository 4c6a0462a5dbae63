/*
 * Administration: accounts, links for them, invitations. What is about money is in admin_money.c.
 *
 * The operator's own account, which has no address and owns the keys of the command line, is in
 * no list here, and its number is nobody's.
 */
#include "console/account_private.h"

#include "base/mem.h"
#include "gate/limits.h"
#include "store/applications.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 50, PAGE_MAX = 200 };

static void put_account_item(struct buf *b, const struct store_account *a)
{
    if (b->len && b->data[b->len - 1] == '}')
        buf_addc(b, ',');
    buf_addc(b, '{');
    put_account(b, a);
    put_rates(b, &a->rates);
    buf_addc(b, '}');
}

static int get_account(struct store *s, int64_t id, struct store_account *out, struct error *e)
{
    int rc = store_account_get(s, id, out, e);
    if (rc == 0 && !out->email[0])
        rc = error_set(e, ERR_NOT_FOUND, "no such account");
    return rc;
}

/* --- the list --- */

struct list_job {
    struct store_job job;
    char search[EMAIL_BYTES + 1];
    int64_t offset, limit, count;
    size_t n;
    struct store_account items[];
};

static int read_page(struct store *s, struct store_job *job, struct error *e)
{
    struct list_job *j = (struct list_job *)job;
    return store_account_page(s, j->search, j->offset, j->limit, j->items, &j->n, &j->count, e);
}

static void on_page(struct request *r, struct store_job *job)
{
    const struct list_job *j = (const struct list_job *)job;
    struct buf b;
    if (request_failed(r, job))
        return;
    buf_init(&b, 4 << 20);
    buf_addc(&b, '{');
    put_int(&b, "count", j->count);
    buf_adds(&b, ",\"items\":[");
    for (size_t i = 0; i < j->n; i++)
        put_account_item(&b, &j->items[i]);
    buf_adds(&b, "]}");
    request_json(r, 200, &b);
    buf_done(&b);
}

static void list_accounts(struct request *r)
{
    int64_t offset, limit;
    char search[EMAIL_BYTES + 1];
    if (!request_query_int(r, "offset", 0, INT32_MAX, 0, &offset) ||
        !request_query_int(r, "limit", 1, PAGE_MAX, PAGE, &limit) ||
        !request_query(r, "search", search, sizeof search))
        return;
    struct list_job *j = mem_zalloc(sizeof *j + (size_t)limit * sizeof j->items[0]);
    memcpy(j->search, search, sizeof search);
    j->offset = offset;
    j->limit = limit;
    request_ask_read(r, &j->job, read_page, on_page);
}

/* --- one --- */

struct account_job {
    struct store_job job;
    struct store_account account;
    struct store_application application; /* id 0: none yet */
    int64_t now_ms;
    struct link_made link;
    /* What to change: */
    bool has_name, has_role, has_disabled, has_requests, has_tokens, has_concurrent;
    struct store_account wish;
};

static int read_account(struct store *s, struct store_job *job, struct error *e)
{
    struct account_job *j = (struct account_job *)job;
    int rc = get_account(s, j->account.id, &j->account, e);
    if (rc)
        return rc;
    rc = store_application_of(s, j->account.id, false, 0, &j->application, NULL, e);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static void on_account(struct request *r, struct store_job *job)
{
    const struct account_job *j = (const struct account_job *)job;
    const struct store_application *p = &j->application;
    struct buf b;
    if (request_failed(r, job))
        return;
    buf_init(&b, 8192);
    buf_addc(&b, '{');
    put_account(&b, &j->account);
    put_rates(&b, &j->account.rates);
    if (p->id) {
        put_int(&b, "application_id", p->id);
        put_usd(&b, "balance", p->balance_micros);
        put_usd(&b, "granted", p->granted_micros);
        put_usd(&b, "charged", p->charged_micros);
        put_bool(&b, "application_disabled", p->disabled);
    } else {
        put_null(&b, "application_id");
    }
    buf_addc(&b, '}');
    request_json(r, 200, &b);
    buf_done(&b);
}

static void show_account(struct request *r)
{
    int64_t id;
    if (!request_id(r, 0, &id))
        return;
    struct account_job *j = mem_zalloc(sizeof *j);
    j->account.id = id;
    request_ask_read(r, &j->job, read_account, on_account);
}

/* --- a change --- */

static int change_account(struct store *s, struct store_job *job, struct error *e)
{
    struct account_job *j = (struct account_job *)job;
    const struct store_account *w = &j->wish;
    struct store_account *a = &j->account;
    int rc = get_account(s, w->id, a, e);
    if (rc)
        return rc;
    if (j->has_name)
        memcpy(a->name, w->name, sizeof a->name);
    if (j->has_role)
        a->role = w->role;
    if (j->has_disabled)
        a->disabled = w->disabled;
    if (j->has_requests)
        a->rates.requests_per_minute = w->rates.requests_per_minute;
    if (j->has_tokens)
        a->rates.tokens_per_minute = w->rates.tokens_per_minute;
    if (j->has_concurrent)
        a->rates.concurrent = w->rates.concurrent;
    rc = store_account_change(s, a, e);
    if (rc == 0 && a->disabled)
        rc = store_session_end_all(s, a->id, NULL, e);
    if (rc == 0)
        rc = read_account(s, job, e);
    return rc;
}

static bool read_role(struct request *r, struct account_job *j)
{
    char role[16];
    if (!request_text(r, "role", role, sizeof role, &j->has_role))
        return false;
    j->wish.role = strcmp(role, "admin") == 0 ? STORE_ADMIN : STORE_USER;
    if (!j->has_role || j->wish.role == STORE_ADMIN || strcmp(role, "user") == 0)
        return true;
    request_fault(r, FAULT_BAD_REQUEST, "role", "role must be user or admin.");
    return false;
}

static bool read_wish(struct request *r, struct account_job *j)
{
    struct store_account *w = &j->wish;
    return request_text(r, "name", w->name, sizeof w->name, &j->has_name) && read_role(r, j) &&
           request_bool(r, "disabled", &w->disabled, &j->has_disabled) &&
           request_int(r, "requests_per_minute", 0, LIMITS_RATE_MAX, &w->rates.requests_per_minute,
                       &j->has_requests) &&
           request_int(r, "tokens_per_minute", 0, LIMITS_RATE_MAX, &w->rates.tokens_per_minute,
                       &j->has_tokens) &&
           request_int(r, "concurrent", 0, LIMITS_RATE_MAX, &w->rates.concurrent,
                       &j->has_concurrent);
}

static void update_account(struct request *r)
{
    int64_t id;
    if (!request_id(r, 0, &id))
        return;
    struct account_job *j = mem_zalloc(sizeof *j);
    j->wish.id = id;
    if (read_wish(r, j))
        request_ask(r, &j->job, change_account, on_account);
    else
        free(j);
}

/* --- a new one, with a one-time password --- */

struct made { /* a request's state */
    struct email email;
    char password[PASSWORD_ONE_TIME_CHARS + 1];
    struct account_job wish;
};

static int add_account(struct store *s, struct store_job *job, struct error *e)
{
    struct account_job *j = (struct account_job *)job;
    return store_account_add(s, &j->account, &j->account.id, e);
}

static void on_added(struct request *r, struct store_job *job)
{
    const struct account_job *j = (const struct account_job *)job;
    struct made *m = r->state;
    struct buf b;
    if (job->code == ERR_EXISTS) {
        request_fault(r, FAULT_DUPLICATION, "email", "This address has an account.");
        return;
    }
    if (request_failed(r, job))
        return;
    buf_init(&b, 8192);
    buf_addc(&b, '{');
    put_account(&b, &j->account);
    put_rates(&b, &j->account.rates);
    if (j->account.password[0])
        put_text(&b, "one_time_password", m->password);
    else
        put_null(&b, "one_time_password");
    buf_addc(&b, '}');
    request_json(r, 201, &b);
    explicit_bzero(m->password, sizeof m->password);
    explicit_bzero(b.data, b.len);
    buf_done(&b);
}

static void add_with(struct request *r, const char *hash)
{
    const struct made *m = r->state;
    struct account_job *j = mem_zalloc(sizeof *j);
    struct store_account *a = &j->account;
    *a = m->wish.wish;
    memcpy(a->email, m->email.address, sizeof a->email);
    memcpy(a->person, m->email.person, sizeof a->person);
    snprintf(a->password, sizeof a->password, "%s", hash);
    a->must_change = *hash != '\0';
    a->created_ms = r->now_ms;
    request_ask(r, &j->job, add_account, on_added);
}

static void on_hash(struct request *r, const struct password_answer *a)
{
    if (a->code)
        request_fault_after(r, FAULT_UNAVAILABLE, 1000, "There is no memory for it now.");
    else
        add_with(r, a->hash);
}

/* "password": false makes one that is entered by the provider of OpenID Connect alone. */
static void create_account(struct request *r)
{
    struct made *m = r->state = mem_zalloc(sizeof *m);
    bool password = true, given;
    if (!request_email(r, &m->email) || !read_wish(r, &m->wish) ||
        !request_bool(r, "password", &password, &given))
        return;
    if (!password) {
        add_with(r, "");
        return;
    }
    password_make(m->password);
    request_hash(r, m->password, on_hash);
}

/* --- links --- */

static void answer_link(struct request *r, const struct link_made *l, bool mailed)
{
    struct buf b;
    buf_init(&b, 8192);
    buf_addc(&b, '{');
    put_link(&b, r->console, l);
    put_bool(&b, "mailed", mailed);
    buf_addc(&b, '}');
    request_json(r, 201, &b);
    if (b.data)
        explicit_bzero(b.data, b.len);
    buf_done(&b);
}

static int add_reset(struct store *s, struct store_job *job, struct error *e)
{
    struct account_job *j = (struct account_job *)job;
    int rc = get_account(s, j->account.id, &j->account, e);
    if (rc == 0)
        rc = store_link_drop(s, j->account.id, "reset", e);
    return rc ? rc : store_link_add(s, &j->link.row, e);
}

static void on_reset(struct request *r, struct store_job *job)
{
    const struct account_job *j = (const struct account_job *)job;
    if (!request_failed(r, job))
        answer_link(r, &j->link, false);
}

static void reset_account(struct request *r)
{
    int64_t id;
    if (!request_id(r, 0, &id))
        return;
    struct account_job *j = mem_zalloc(sizeof *j);
    j->account.id = id;
    link_make(r->console, "reset", r->now_ms, &j->link);
    j->link.row.account_id = id;
    request_ask(r, &j->job, add_reset, on_reset);
}

static int add_invitation(struct store *s, struct store_job *job, struct error *e)
{
    struct account_job *j = (struct account_job *)job;
    struct store_account there;
    int rc = ERR_NOT_FOUND;
    if (j->link.row.email[0])
        rc = store_account_by_email(s, j->link.row.email, &there, e);
    if (rc == 0)
        return error_set(e, ERR_EXISTS, "This address has an account.");
    return rc == ERR_NOT_FOUND ? store_link_add(s, &j->link.row, e) : rc;
}

static void on_invitation(struct request *r, struct store_job *job)
{
    const struct account_job *j = (const struct account_job *)job;
    struct console *c = r->console;
    bool mails = j->link.row.email[0] && mail_is_on(c);
    if (job->code == ERR_EXISTS) {
        request_fault(r, FAULT_DUPLICATION, "email", "This address has an account.");
        return;
    }
    if (request_failed(r, job))
        return;
    answer_link(r, &j->link, mails);
    if (mails)
        mail_link(c, j->link.row.email, MAIL_INVITATION, &j->link);
}

static void invite(struct request *r)
{
    bool present;
    struct email email = {.address = ""};
    const struct json *v = json_get(r->body, "email", &present);
    if (v && json_kind(v) != JSON_NULL && !request_email(r, &email))
        return;
    struct account_job *j = mem_zalloc(sizeof *j);
    link_make(r->console, "invite", r->now_ms, &j->link);
    memcpy(j->link.row.email, email.address, sizeof j->link.row.email);
    request_ask(r, &j->job, add_invitation, on_invitation);
}

static const struct endpoint rows[] = {
    {"GET", "/console/api/admin/accounts", ENDPOINT_ADMIN, false, list_accounts, false},
    {"POST", "/console/api/admin/accounts", ENDPOINT_ADMIN, true, create_account, false},
    {"GET", "/console/api/admin/accounts/{id}", ENDPOINT_ADMIN, false, show_account, false},
    {"PATCH", "/console/api/admin/accounts/{id}", ENDPOINT_ADMIN, true, update_account, false},
    {"POST", "/console/api/admin/accounts/{id}/reset", ENDPOINT_ADMIN, true, reset_account, false},
    {"GET", "/console/api/admin/accounts/{id}/grants", ENDPOINT_ADMIN, false, admin_grants, false},
    {"POST", "/console/api/admin/accounts/{id}/grants", ENDPOINT_ADMIN, true, admin_grant, false},
    {"POST", "/console/api/admin/invitations", ENDPOINT_ADMIN, true, invite, false},
    {"GET", "/console/api/admin/applications", ENDPOINT_ADMIN, false, admin_applications, false},
    {"PATCH", "/console/api/admin/applications/{id}", ENDPOINT_ADMIN, true,
     admin_application_change, false},
    {"GET", "/console/api/admin/totals", ENDPOINT_ADMIN, false, admin_totals, false},
};
const struct endpoint_table admin_endpoints = {rows, sizeof rows / sizeof rows[0]};
