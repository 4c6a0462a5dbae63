/*
 * See credential_read.h. The member names are the platform's (limited_amount, expired_at), and
 * beside them our own. A null that is there takes a bound away, which is why members are looked
 * up here and not by request_text alone.
 */
#include "console/credential_read.h"

#include "base/net.h"
#include "console/endpoint.h"
#include "console/moment.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define CAP_MAX_MICROS INT64_C(999999999000000) /* what an amount's digits reach */
enum { DAYS_MAX = 36500, DAY_MS = 86400000, RATE_MAX = 1000000000, MODEL_BYTES = 128 };

/* --- lists --- */

/* The texts of a list, or one text, with commas between. */
static int join(const struct json *v, char *out, size_t out_bytes, struct error *e)
{
    bool one = json_kind(v) == JSON_STRING;
    size_t n = one ? 1 : json_len(v), at = 0;
    *out = '\0';
    if (json_kind(v) == JSON_NULL)
        return 0;
    if (!one && json_kind(v) != JSON_ARRAY)
        return error_set(e, ERR_INVALID, "must be a list of texts");
    for (size_t i = 0; i < n; i++) {
        size_t len = 0;
        const struct json *item = one ? v : json_at(v, i);
        const char *s = json_kind(item) == JSON_STRING ? json_string(item, &len) : NULL;
        if (!s || (!one && (len == 0 || strchr(s, ','))))
            return error_set(e, ERR_INVALID, "must be a list of texts without commas");
        if (at + len + 2 > out_bytes)
            return error_set(e, ERR_LIMIT, "may have %zu bytes in all", out_bytes - 1);
        at += (size_t)snprintf(out + at, out_bytes - at, "%s%s", i ? "," : "", s);
    }
    return 0;
}

/* A name as models have: it need not be served yet. */
static bool is_model(const char *s, size_t len)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "-_.:/@+";
    return len > 0 && len < MODEL_BYTES && strspn(s, good) >= len;
}

int credential_models(const struct json *v, char out[STORE_MODELS_BYTES], struct error *e)
{
    int rc = join(v, out, STORE_MODELS_BYTES, e);
    if (rc || !*out)
        return rc;
    for (const char *s = out;; s++) {
        size_t len = strcspn(s, ",");
        if (!is_model(s, len))
            return error_set(e, ERR_INVALID, "\"%.*s\" is no name of a model", (int)len, s);
        s += len;
        if (!*s)
            return 0;
    }
}

static int add_range(const struct net_range *r, size_t *at, char *out, struct error *e)
{
    enum { ALL_BITS = 128, IPV4_BITS = 96 };
    char text[NET_TEXT_BYTES], mask[8] = "";
    net_address_text(&r->first, text);
    int bits = strchr(text, ':') ? r->bits : r->bits - IPV4_BITS;
    if (r->bits != ALL_BITS)
        snprintf(mask, sizeof mask, "/%d", bits);
    if (*at + strlen(text) + strlen(mask) + 2 > STORE_NETWORKS_BYTES)
        return error_set(e, ERR_LIMIT, "may have %d bytes in all", STORE_NETWORKS_BYTES - 1);
    *at += (size_t)snprintf(out + *at, STORE_NETWORKS_BYTES - *at, "%s%s%s", *at ? "," : "", text,
                            mask);
    return 0;
}

int credential_networks(const struct json *v, char out[STORE_NETWORKS_BYTES], struct error *e)
{
    enum { TEXT_BYTES = NET_LIST_MAX * 64 };
    char text[TEXT_BYTES];
    struct net_list list;
    size_t at = 0;
    *out = '\0';
    int rc = join(v, text, sizeof text, e);
    if (rc == 0)
        rc = net_list_parse(text, &list, e);
    for (size_t i = 0; rc == 0 && i < list.n; i++)
        rc = add_range(&list.ranges[i], &at, out, e);
    return rc;
}

/* --- members --- */

static bool refuse(struct request *r, const char *name, const struct error *e)
{
    request_fault(r, FAULT_BAD_REQUEST, name, "%s: %s.", name, e->text);
    return false;
}

static bool read_lists(struct request *r, struct credential_wish *w)
{
    struct error e;
    const struct json *models = json_get(r->body, "models", &w->models);
    const struct json *networks = json_get(r->body, "networks", &w->networks);
    if (w->models && credential_models(models, w->key.models, &e))
        return refuse(r, "models", &e);
    if (w->networks && credential_networks(networks, w->key.networks, &e))
        return refuse(r, "networks", &e);
    return true;
}

static bool read_cap(struct request *r, struct credential_wish *w)
{
    bool amount;
    json_get(r->body, "limited_amount", &w->cap);
    w->key.cap_micros = -1;
    return request_usd(r, "limited_amount", 0, CAP_MAX_MICROS, &w->key.cap_micros, &amount);
}

/* A time, or days from now. */
static bool read_expiry(struct request *r, struct credential_wish *w)
{
    int64_t days, *out = &w->key.expires_ms;
    const char *name = "expires";
    size_t len;
    const struct json *v = json_get(r->body, name, &w->expires);
    if (!w->expires) {
        name = "expired_at";
        v = json_get(r->body, name, &w->expires);
    }
    *out = 0;
    if (json_kind(v) == JSON_NULL)
        return true;
    if (json_kind(v) == JSON_STRING && moment_read(json_string(v, &len), out) && *out > r->now_ms)
        return true;
    if (json_int64(v, &days) && days >= 1 && days <= DAYS_MAX) {
        *out = r->now_ms + days * DAY_MS;
        return true;
    }
    request_fault(r, FAULT_BAD_REQUEST, name,
                  "%s must be a time to come, such as 2026-11-28T12:00:00Z, or a number of days.",
                  name);
    return false;
}

/* How much a key may ask for a minute is the operator's to say. */
static bool read_rates(struct request *r, struct credential_wish *w)
{
    struct store_rates *rates = &w->key.rates;
    if (!request_int(r, "requests_per_minute", 0, RATE_MAX, &rates->requests_per_minute,
                     &w->requests) ||
        !request_int(r, "tokens_per_minute", 0, RATE_MAX, &rates->tokens_per_minute, &w->tokens) ||
        !request_int(r, "concurrent", 0, RATE_MAX, &rates->concurrent, &w->concurrent))
        return false;
    if ((!w->requests && !w->tokens && !w->concurrent) || r->account.role == STORE_ADMIN)
        return true;
    request_fault(r, FAULT_DENIED,
                  w->requests ? "requests_per_minute"
                  : w->tokens ? "tokens_per_minute"
                              : "concurrent",
                  "Rates are set by administrators.");
    return false;
}

bool credential_read(struct request *r, struct credential_wish *out)
{
    *out = (struct credential_wish){0};
    return request_text(r, "name", out->key.name, sizeof out->key.name, &out->name) &&
           read_lists(r, out) && read_cap(r, out) && read_expiry(r, out) && read_rates(r, out) &&
           request_bool(r, "disabled", &out->key.disabled, &out->disabled);
}

void credential_apply(const struct credential_wish *w, struct store_key *key)
{
    if (w->name)
        memcpy(key->name, w->key.name, sizeof key->name);
    if (w->models)
        memcpy(key->models, w->key.models, sizeof key->models);
    if (w->networks)
        memcpy(key->networks, w->key.networks, sizeof key->networks);
    if (w->cap)
        key->cap_micros = w->key.cap_micros;
    if (w->expires)
        key->expires_ms = w->key.expires_ms;
    if (w->requests)
        key->rates.requests_per_minute = w->key.rates.requests_per_minute;
    if (w->tokens)
        key->rates.tokens_per_minute = w->key.rates.tokens_per_minute;
    if (w->concurrent)
        key->rates.concurrent = w->key.rates.concurrent;
    if (w->disabled)
        key->disabled = w->key.disabled;
}
