/*
 * See objects.h.
 */
#include "console/objects.h"

#include "console/endpoint.h"

#include <inttypes.h>
#include <string.h>

#define DAY_IDS INT64_C(10000000000)
enum { FIRST_YEAR = 2000, MONTHS = 12, DAYS = 31 };

void object_next(struct buf *b)
{
    if (b->len && !strchr("[", b->data[b->len - 1]))
        buf_addc(b, ',');
}

void object_list_open(struct buf *b, int64_t count)
{
    buf_addf(b, "{\"count\":%" PRId64 ",\"items\":[", count);
}

void object_list_close(struct buf *b)
{
    buf_adds(b, "]}");
}

/* --- small parts --- */

static void put_text_or_null(struct buf *b, const char *name, const char *value)
{
    if (value && *value)
        put_text(b, name, value);
    else
        put_null(b, name);
}

/* -1: there is none */
static void put_usd_or_null(struct buf *b, const char *name, int64_t micros)
{
    if (micros < 0)
        put_null(b, name);
    else
        put_usd(b, name, micros);
}

/* Microseconds as milliseconds: 12.345 */
static void put_us(struct buf *b, const char *name, int64_t us)
{
    if (us < 0)
        put_null(b, name);
    else
        buf_addf(b, ",\"%s\":%" PRId64 ".%03" PRId64, name, us / 1000, us % 1000);
}

/* "a,b" as ["a","b"] */
static void put_names(struct buf *b, const char *name, const char *names)
{
    buf_addf(b, ",\"%s\":[", name);
    for (size_t len; *names; names += len + (names[len] == ',')) {
        len = strcspn(names, ",");
        object_next(b);
        json_write_string(b, names, len);
    }
    buf_addc(b, ']');
}

/* --- credentials and applications --- */

static const char *state_of(const struct store_key *k, int64_t now_ms)
{
    if (k->revoked_ms)
        return "revoked";
    if (k->expires_ms && k->expires_ms <= now_ms)
        return "expired";
    return k->disabled || k->owner_disabled ? "disabled" : "active";
}

void object_credential(struct buf *b, const struct store_key *k, const char *token, int64_t now_ms)
{
    buf_addc(b, '{');
    put_int(b, "id", k->id);
    put_text(b, "name", k->name);
    put_text(b, "type", "Token");
    put_text(b, "kind", k->kind == STORE_KEY_PLATFORM ? "platform" : "calls");
    put_text_or_null(b, "token", token);
    put_text(b, "prefix", k->prefix);
    put_int(b, "application_id", k->application_id);
    put_int(b, "user_id", k->account_id);
    put_usd_or_null(b, "limited_amount", k->cap_micros);
    put_usd(b, "used_amount", k->used_micros);
    put_usd(b, "held_amount", k->held_micros);
    put_null(b, "host");
    put_names(b, "models", k->models);
    put_names(b, "networks", k->networks);
    put_int(b, "requests_per_minute", k->rates.requests_per_minute);
    put_int(b, "tokens_per_minute", k->rates.tokens_per_minute);
    put_int(b, "concurrent", k->rates.concurrent);
    put_bool(b, "disabled", k->disabled);
    put_text(b, "state", state_of(k, now_ms));
    put_time(b, "created_at", k->created_ms);
    put_time(b, "expired_at", k->expires_ms);
    put_time(b, "revoked_at", k->revoked_ms);
    put_time(b, "last_used_at", k->used_ms);
    buf_adds(b, ",\"metadata\":{}}");
}

void object_application(struct buf *b, const struct store_application *a,
                        const struct store_key *keys, size_t n, const char *token, int64_t now_ms)
{
    buf_addc(b, '{');
    put_int(b, "id", a->id);
    put_int(b, "user_id", a->account_id);
    put_int(b, "service_id", OBJECT_SERVICE_ID);
    put_text(b, "type", "Usage");
    put_text(b, "scope", "Global");
    put_text(b, "role", "owner");
    put_usd(b, "remaining_amount", a->balance_micros);
    put_usd(b, "used_amount", a->charged_micros);
    put_usd(b, "held_amount", a->held_micros);
    put_usd(b, "granted_amount", a->granted_micros);
    put_bool(b, "allow_consume_global", true);
    put_bool(b, "disabled", a->disabled);
    buf_adds(b, ",\"credentials\":[");
    for (size_t i = 0; i < n; i++) {
        if (keys[i].application_id != a->id)
            continue;
        object_next(b);
        object_credential(b, &keys[i], token, now_ms);
        token = NULL;
    }
    buf_adds(b, "],\"packages\":[]");
    put_time(b, "created_at", a->created_ms);
    put_time(b, "updated_at", a->updated_ms);
    put_null(b, "expired_at");
}

void object_grant(struct buf *b, const struct store_grant *g)
{
    buf_addc(b, '{');
    put_int(b, "id", g->id);
    put_int(b, "application_id", g->application_id);
    put_usd(b, "amount", g->amount_micros);
    put_usd(b, "used_amount", g->used_micros);
    put_text(b, "kind", g->kind);
    put_text(b, "note", g->note);
    put_time(b, "created_at", g->created_ms);
    put_time(b, "expired_at", g->expires_ms);
    put_bool(b, "expired", g->expired_ms != 0);
    buf_addc(b, '}');
}

/* --- calls --- */

int64_t object_call_id(int64_t books_id)
{
    int64_t day = books_id / DAY_IDS;
    int64_t months = (day / 10000 - FIRST_YEAR) * MONTHS + day / 100 % 100 - 1;
    return (months * DAYS + day % 100 - 1) * DAY_IDS + books_id % DAY_IDS;
}

int64_t object_call_books_id(int64_t id)
{
    int64_t days = id / DAY_IDS, months = days / DAYS;
    int64_t year = FIRST_YEAR + months / MONTHS;
    if (id <= 0 || year > 9999)
        return 0;
    return (year * 10000 + (months % MONTHS + 1) * 100 + days % DAYS + 1) * DAY_IDS + id % DAY_IDS;
}

static void put_tokens(struct buf *b, int64_t prompt, int64_t cached, int64_t reasoning,
                       int64_t completion)
{
    put_int(b, "prompt_tokens", prompt);
    put_int(b, "cached_tokens", cached);
    put_int(b, "reasoning_tokens", reasoning);
    put_int(b, "completion_tokens", completion);
}

static void put_own(struct buf *b, const struct usage_row *r)
{
    const struct ledger_row *l = &r->row;
    put_text(b, "credential_name", r->key_name);
    put_text(b, "route", l->route);
    put_text(b, "model", l->model);
    put_text_or_null(b, "answered", l->answered);
    put_text_or_null(b, "backend", l->backend);
    put_text(b, "finish", l->finish);
    put_tokens(b, l->prompt_tokens, l->cached_tokens, l->reasoning_tokens, l->completion_tokens);
    put_text(b, "source", l->source);
    put_usd(b, "price_input", l->price.input);
    put_usd(b, "price_cached", l->price.cached);
    put_usd(b, "price_output", l->price.output);
    put_us(b, "queue_ms", l->queue_us);
    put_us(b, "first_ms", l->first_us);
    put_us(b, "total_ms", l->total_us);
    put_bool(b, "client_gone", l->client_gone);
}

void object_call(struct buf *b, const struct usage_row *r)
{
    const struct ledger_row *l = &r->row;
    buf_addc(b, '{');
    put_int(b, "id", object_call_id(r->id));
    put_int(b, "api_id", OBJECT_API_ID);
    put_int(b, "application_id", l->application_id);
    put_int(b, "credential_id", l->key_id);
    put_int(b, "user_id", l->account_id);
    put_int(b, "status_code", l->status);
    put_usd(b, "elapsed", l->total_us); /* microseconds as seconds */
    put_text(b, "trace_id", l->trace_id);
    put_time(b, "created_at", l->ended_ms);
    put_usd(b, "original_amount", l->cost_micros);
    put_usd(b, "deducted_amount", l->charged_micros);
    put_usd(b, "used_amount", l->charged_micros);
    put_usd(b, "remaining_amount", l->balance_micros);
    buf_addf(b, ",\"metadata\":{},\"service\":{\"id\":%d,\"alias\":\"%s\"}", OBJECT_SERVICE_ID,
             STORE_SERVICE);
    put_own(b, r);
    buf_addc(b, '}');
}

void object_sum(struct buf *b, const struct usage_sum *s, enum usage_by by)
{
    buf_addc(b, '{');
    if (by == USAGE_BY_HOUR || by == USAGE_BY_DAY)
        put_time(b, "time", s->time_ms);
    if (by == USAGE_BY_MODEL)
        put_text(b, "model", s->model);
    if (by == USAGE_BY_KEY) {
        put_int(b, "credential_id", s->key_id);
        put_text(b, "credential_name", s->name);
    }
    if (by == USAGE_BY_ACCOUNT) {
        put_int(b, "user_id", s->account_id);
        put_text(b, "email", s->name);
    }
    put_int(b, "calls", s->calls);
    put_int(b, "failed", s->failed);
    put_tokens(b, s->prompt_tokens, s->cached_tokens, s->reasoning_tokens, s->completion_tokens);
    put_usd(b, "original_amount", s->cost_micros);
    put_usd(b, "deducted_amount", s->charged_micros);
    buf_addc(b, '}');
}
