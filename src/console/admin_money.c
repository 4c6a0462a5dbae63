/*
 * Administration of money: grants, applications with their balances, and the totals of usage.
 */
#include "console/account_private.h"

#include "base/mem.h"
#include "store/applications.h"
#include "store/usage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 50, PAGE_MAX = 200, SUMS_MAX = 2000, DAYS_MAX = 366, ANSWER_BYTES = 4 << 20 };
#define DAY_MS INT64_C(86400000)

static void next_item(struct buf *b)
{
    if (b->len && b->data[b->len - 1] == '}')
        buf_addc(b, ',');
    buf_addc(b, '{');
}

static bool read_page_query(struct request *r, int64_t *offset, int64_t *limit)
{
    return request_query_int(r, "offset", 0, INT32_MAX, 0, offset) &&
           request_query_int(r, "limit", 1, PAGE_MAX, PAGE, limit);
}

static void begin_list(struct buf *b, int64_t count)
{
    buf_init(b, ANSWER_BYTES);
    buf_addc(b, '{');
    put_int(b, "count", count);
    buf_adds(b, ",\"items\":[");
}

static void end_list(struct request *r, struct buf *b)
{
    buf_adds(b, "]}");
    request_json(r, 200, b);
    buf_done(b);
}

/* An account's application; that of the operator's own account is nobody's. */
static int application_of(struct store *s, int64_t account_id, bool create, int64_t now_ms,
                          struct store_application *out, struct error *e)
{
    struct store_account a;
    int rc = store_account_get(s, account_id, &a, e);
    if (rc == 0 && !a.email[0])
        rc = error_set(e, ERR_NOT_FOUND, "no such account");
    return rc ? rc : store_application_of(s, account_id, create, now_ms, out, NULL, e);
}

/* --- grants --- */

struct grants_job {
    struct store_job job;
    int64_t account_id, offset, limit, count, now_ms;
    struct store_application application;
    struct store_grant grant; /* one more */
    size_t n;
    struct store_grant items[];
};

static void put_grant(struct buf *b, const struct store_grant *g)
{
    next_item(b);
    put_int(b, "id", g->id);
    put_usd(b, "amount", g->amount_micros);
    put_text(b, "kind", g->kind);
    put_text(b, "note", g->note);
    put_int(b, "by_account", g->by_account);
    put_time(b, "created_at", g->created_ms);
    put_time(b, "expires_at", g->expires_ms);
    put_time(b, "expired_at", g->expired_ms);
    buf_addc(b, '}');
}

static int read_grants(struct store *s, struct store_job *job, struct error *e)
{
    struct grants_job *j = (struct grants_job *)job;
    struct store_account a;
    int rc = store_account_get(s, j->account_id, &a, e);
    if (rc == 0 && !a.email[0])
        rc = error_set(e, ERR_NOT_FOUND, "no such account");
    if (rc)
        return rc;
    rc = store_application_of(s, j->account_id, false, 0, &j->application, NULL, e);
    if (rc == ERR_NOT_FOUND) /* it has not acquired the service yet */
        return 0;
    return rc ? rc
              : store_grant_page(s, j->application.id, j->offset, j->limit, j->items, &j->n,
                                 &j->count, e);
}

static void on_grants(struct request *r, struct store_job *job)
{
    const struct grants_job *j = (const struct grants_job *)job;
    struct buf b;
    if (request_failed(r, job))
        return;
    begin_list(&b, j->count);
    for (size_t i = 0; i < j->n; i++)
        put_grant(&b, &j->items[i]);
    end_list(r, &b);
}

void admin_grants(struct request *r)
{
    int64_t id, offset, limit;
    if (!request_id(r, 0, &id) || !read_page_query(r, &offset, &limit))
        return;
    struct grants_job *j = mem_zalloc(sizeof *j + (size_t)limit * sizeof j->items[0]);
    j->account_id = id;
    j->offset = offset;
    j->limit = limit;
    request_ask_read(r, &j->job, read_grants, on_grants);
}

static int add_grant(struct store *s, struct store_job *job, struct error *e)
{
    struct grants_job *j = (struct grants_job *)job;
    int rc = application_of(s, j->account_id, true, j->now_ms, &j->application, e);
    if (rc)
        return rc;
    j->grant.application_id = j->application.id;
    rc = store_grant_add(s, &j->grant, &j->grant.id, e);
    return rc ? rc : store_application_get(s, 0, j->application.id, &j->application, e);
}

static void on_granted(struct request *r, struct store_job *job)
{
    const struct grants_job *j = (const struct grants_job *)job;
    struct buf b;
    if (request_failed(r, job))
        return;
    buf_init(&b, 8192);
    put_grant(&b, &j->grant);
    b.len--; /* the bracket, for one member more */
    put_usd(&b, "balance", j->application.balance_micros);
    buf_addc(&b, '}');
    request_json(r, 201, &b);
    buf_done(&b);
}

void admin_grant(struct request *r)
{
    struct store_grant g = {.kind = "admin", .by_account = r->account.id};
    int64_t id, days = 0;
    bool has_note, has_days;
    if (!request_id(r, 0, &id) ||
        !request_usd(r, "amount", -STORE_GRANT_MAX_MICROS, STORE_GRANT_MAX_MICROS, &g.amount_micros,
                     NULL) ||
        !request_text(r, "note", g.note, sizeof g.note, &has_note) ||
        !request_int(r, "expires_days", 1, 36500, &days, &has_days))
        return;
    if (g.amount_micros == 0 || (g.amount_micros < 0 && has_days)) {
        request_fault(r, FAULT_BAD_REQUEST, "amount",
                      "A grant gives something, or takes back without an end.");
        return;
    }
    struct grants_job *j = mem_zalloc(sizeof *j);
    j->account_id = id;
    j->now_ms = r->now_ms;
    j->grant = g;
    j->grant.created_ms = r->now_ms;
    j->grant.expires_ms = has_days ? r->now_ms + days * DAY_MS : 0;
    request_ask(r, &j->job, add_grant, on_granted);
}

/* --- applications --- */

struct applications_job {
    struct store_job job;
    int64_t account_id, offset, limit, count, id, now_ms;
    bool disabled;
    size_t n;
    struct store_application items[];
};

static void put_application(struct buf *b, const struct store_application *a)
{
    next_item(b);
    put_int(b, "id", a->id);
    put_int(b, "account_id", a->account_id);
    put_text(b, "service", a->service);
    put_usd(b, "balance", a->balance_micros);
    put_usd(b, "held", a->held_micros);
    put_usd(b, "granted", a->granted_micros);
    put_usd(b, "charged", a->charged_micros);
    put_bool(b, "disabled", a->disabled);
    put_time(b, "created_at", a->created_ms);
    buf_addc(b, '}');
}

static int read_applications(struct store *s, struct store_job *job, struct error *e)
{
    struct applications_job *j = (struct applications_job *)job;
    return store_application_page(s, j->account_id, j->offset, j->limit, j->items, &j->n, &j->count,
                                  e);
}

static void on_applications(struct request *r, struct store_job *job)
{
    const struct applications_job *j = (const struct applications_job *)job;
    struct buf b;
    if (request_failed(r, job))
        return;
    begin_list(&b, j->count);
    for (size_t i = 0; i < j->n; i++)
        put_application(&b, &j->items[i]);
    end_list(r, &b);
}

void admin_applications(struct request *r)
{
    int64_t account, offset, limit;
    if (!request_query_int(r, "account", 0, INT64_MAX, 0, &account) ||
        !read_page_query(r, &offset, &limit))
        return;
    struct applications_job *j = mem_zalloc(sizeof *j + (size_t)limit * sizeof j->items[0]);
    j->account_id = account;
    j->offset = offset;
    j->limit = limit;
    request_ask_read(r, &j->job, read_applications, on_applications);
}

static int change_application(struct store *s, struct store_job *job, struct error *e)
{
    struct applications_job *j = (struct applications_job *)job;
    int rc = store_application_disable(s, j->id, j->disabled, j->now_ms, e);
    return rc ? rc : store_application_get(s, 0, j->id, &j->items[0], e);
}

static void on_application(struct request *r, struct store_job *job)
{
    const struct applications_job *j = (const struct applications_job *)job;
    struct buf b;
    if (request_failed(r, job))
        return;
    buf_init(&b, 8192);
    put_application(&b, &j->items[0]);
    request_json(r, 200, &b);
    buf_done(&b);
}

void admin_application_change(struct request *r)
{
    int64_t id;
    bool disabled;
    if (!request_id(r, 0, &id) || !request_bool(r, "disabled", &disabled, NULL))
        return;
    struct applications_job *j = mem_zalloc(sizeof *j + sizeof j->items[0]);
    j->id = id;
    j->disabled = disabled;
    j->now_ms = r->now_ms;
    request_ask(r, &j->job, change_application, on_application);
}

/* --- totals --- */

struct totals_job {
    struct store_job job;
    struct usage_filter filter;
    enum usage_by by;
    struct usage_sum sum; /* of all */
    size_t n;
    struct usage_sum items[SUMS_MAX];
};

static int read_totals(struct store *s, struct store_job *job, struct error *e)
{
    struct totals_job *j = (struct totals_job *)job;
    size_t one;
    int rc = usage_sums(s, &j->filter, USAGE_BY_NONE, &j->sum, 1, &one, e);
    if (rc == 0 && j->by != USAGE_BY_NONE)
        rc = usage_sums(s, &j->filter, j->by, j->items, SUMS_MAX, &j->n, e);
    return rc;
}

static void put_sum(struct buf *b, const struct usage_sum *u)
{
    put_int(b, "calls", u->calls);
    put_int(b, "failed", u->failed);
    put_int(b, "prompt_tokens", u->prompt_tokens);
    put_int(b, "cached_tokens", u->cached_tokens);
    put_int(b, "reasoning_tokens", u->reasoning_tokens);
    put_int(b, "completion_tokens", u->completion_tokens);
    put_usd(b, "cost", u->cost_micros);
    put_usd(b, "charged", u->charged_micros);
}

static void put_sum_item(struct buf *b, enum usage_by by, const struct usage_sum *u)
{
    next_item(b);
    if (by == USAGE_BY_HOUR || by == USAGE_BY_DAY)
        put_time(b, "time", u->time_ms);
    if (by == USAGE_BY_MODEL)
        put_text(b, "model", u->model);
    if (by == USAGE_BY_KEY)
        put_int(b, "key_id", u->key_id);
    if (by == USAGE_BY_ACCOUNT)
        put_int(b, "account_id", u->account_id);
    if (by == USAGE_BY_KEY || by == USAGE_BY_ACCOUNT)
        put_text(b, "name", u->name);
    put_sum(b, u);
    buf_addc(b, '}');
}

static void on_totals(struct request *r, struct store_job *job)
{
    const struct totals_job *j = (const struct totals_job *)job;
    struct buf b;
    if (request_failed(r, job))
        return;
    buf_init(&b, ANSWER_BYTES);
    buf_addc(&b, '{');
    put_time(&b, "from", j->filter.from_ms);
    put_time(&b, "to", j->filter.to_ms);
    put_sum(&b, &j->sum);
    buf_adds(&b, ",\"items\":[");
    for (size_t i = 0; i < j->n; i++)
        put_sum_item(&b, j->by, &j->items[i]);
    end_list(r, &b);
}

static bool read_by(struct request *r, enum usage_by *by)
{
    static const char *const names[] = {
        [USAGE_BY_NONE] = "",       [USAGE_BY_HOUR] = "hour", [USAGE_BY_DAY] = "day",
        [USAGE_BY_MODEL] = "model", [USAGE_BY_KEY] = "key",   [USAGE_BY_ACCOUNT] = "account"};
    char text[16];
    if (!request_query(r, "by", text, sizeof text))
        return false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        *by = (enum usage_by)i;
        if (strcmp(names[i], text) == 0)
            return true;
    }
    request_fault(r, FAULT_BAD_REQUEST, "by", "by is hour, day, model, key or account.");
    return false;
}

void admin_totals(struct request *r)
{
    enum usage_by by;
    int64_t days;
    if (!read_by(r, &by) || !request_query_int(r, "days", 1, DAYS_MAX, 30, &days))
        return;
    struct totals_job *j = mem_zalloc(sizeof *j);
    j->by = by;
    j->filter.to_ms = r->now_ms;
    j->filter.from_ms = r->now_ms - days * DAY_MS;
    request_ask_read(r, &j->job, read_totals, on_totals);
}
