/*
 * See endpoint.h: reading what came and writing what goes. Holds nothing of its own.
 */
#include "console/console_private.h"

#include "base/mem.h"
#include "base/usd.h"
#include "base/utf8.h"
#include "http/query.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- answers --- */

static void send(struct request *r, const struct console_answer *a)
{
    if (r->answered)
        return;
    r->answered = true;
    if (r->x)
        r->console->events.on_answer(r->console->arg, r->number, a);
}

void request_header(struct request *r, const char *name, const char *value)
{
    if (r->n_headers == REQUEST_HEADERS_MAX)
        return;
    char *copy = mem_strdup(value);
    r->headers[r->n_headers] = (struct http_header){.name = name, .value = copy};
    r->header_values[r->n_headers++] = copy;
}

void request_text_body(struct request *r, int status, const char *type, const char *body,
                       size_t len)
{
    struct console_answer a = {.status = status,
                               .headers = r->headers,
                               .n_headers = r->n_headers,
                               .type = type,
                               .body = body,
                               .len = len};
    send(r, &a);
}

void request_json(struct request *r, int status, const struct buf *body)
{
    if (body->failed)
        request_fault(r, FAULT_INTERNAL, NULL, "The answer grew past what this server can hold.");
    else
        request_text_body(r, status, "application/json; charset=utf-8", body->data, body->len);
}

void request_empty(struct request *r, int status)
{
    request_text_body(r, status, NULL, "", 0);
}

static void send_fault(struct request *r, const struct fault *f)
{
    struct console_answer a = {.headers = r->headers, .n_headers = r->n_headers, .fault = f};
    send(r, &a);
}

void request_fault(struct request *r, enum fault_kind kind, const char *param, const char *fmt, ...)
{
    char text[sizeof((struct fault *)0)->message];
    struct fault f;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fault_set(&f, kind, param, "%s", text);
    send_fault(r, &f);
}

void request_fault_after(struct request *r, enum fault_kind kind, int64_t wait_ms, const char *fmt,
                         ...)
{
    char text[sizeof((struct fault *)0)->message];
    struct fault f;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fault_set(&f, kind, NULL, "%s", text);
    f.retry_after_s = (int)((wait_ms + 999) / 1000);
    send_fault(r, &f);
}

bool request_failed(struct request *r, const struct store_job *job)
{
    switch (job->code) {
    case 0:
        return false;
    case ERR_NOT_FOUND:
        request_fault(r, FAULT_NOT_FOUND, NULL, "There is no such object.");
        break;
    case ERR_EXISTS:
        request_fault(r, FAULT_DUPLICATION, NULL, "It is already there.");
        break;
    case ERR_DENIED:
        request_fault(r, FAULT_DENIED, NULL, "%s", job->text);
        break;
    case ERR_INVALID:
    case ERR_LIMIT:
        request_fault(r, FAULT_BAD_REQUEST, NULL, "%s", job->text);
        break;
    default:
        request_fault_after(r, FAULT_UNAVAILABLE, 1000,
                            "The store cannot be asked at the moment, please try again later.");
    }
    return true;
}

/* --- the path and the query --- */

static bool read_int(const char *text, int64_t *out)
{
    size_t digits = strspn(text + (*text == '-'), "0123456789");
    if (digits == 0 || digits > 18 || text[digits + (*text == '-')] != '\0')
        return false;
    *out = strtoll(text, NULL, 10);
    return true;
}

bool request_id(struct request *r, unsigned n, int64_t *out)
{
    char text[80];
    if (route_param(r->endpoint->path, http_path(r->x), n, text, sizeof text) &&
        read_int(text, out) && *out > 0)
        return true;
    request_fault(r, FAULT_NOT_FOUND, NULL, "There is no such object.");
    return false;
}

bool request_query(struct request *r, const char *name, char *out, size_t out_bytes)
{
    if (query_get(http_query(r->x), name, out, out_bytes))
        return true;
    request_fault(r, FAULT_BAD_REQUEST, name, "The query's %s is too long or badly escaped.", name);
    return false;
}

bool request_query_int(struct request *r, const char *name, int64_t least, int64_t most,
                       int64_t fallback, int64_t *out)
{
    char text[32];
    if (!request_query(r, name, text, sizeof text))
        return false;
    *out = fallback;
    if (!*text)
        return true;
    if (read_int(text, out) && *out >= least && *out <= most)
        return true;
    request_fault(r, FAULT_BAD_REQUEST, name,
                  "%s must be a number from %" PRId64 " to %" PRId64 ".", name, least, most);
    return false;
}

/* --- the body --- */

static const struct json *member(struct request *r, const char *name, bool *given, bool *missing)
{
    bool present;
    const struct json *v = json_get(r->body, name, &present);
    if (v && json_kind(v) == JSON_NULL)
        v = NULL;
    *missing = false;
    if (given)
        *given = v != NULL;
    else if (!v) {
        request_fault(r, FAULT_BAD_REQUEST, name, "%s is missing.", name);
        *missing = true;
    }
    return v;
}

static bool is_clean(const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        int n = utf8_char(s + i, len - i);
        if (n < 1 || (unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return false;
        i += (size_t)n;
    }
    return true;
}

bool request_text(struct request *r, const char *name, char *out, size_t out_bytes, bool *given)
{
    bool missing;
    size_t len;
    const struct json *v = member(r, name, given, &missing);
    *out = '\0';
    if (!v)
        return !missing;
    const char *s = json_kind(v) == JSON_STRING ? json_string(v, &len) : NULL;
    if (!s)
        request_fault(r, FAULT_BAD_REQUEST, name, "%s must be a text.", name);
    else if (len >= out_bytes)
        request_fault(r, FAULT_BAD_REQUEST, name, "%s may have %zu bytes.", name, out_bytes - 1);
    else if (!is_clean(s, len))
        request_fault(r, FAULT_BAD_REQUEST, name, "%s must be without control characters.", name);
    else {
        memcpy(out, s, len + 1);
        return true;
    }
    return false;
}

bool request_int(struct request *r, const char *name, int64_t least, int64_t most, int64_t *out,
                 bool *given)
{
    bool missing;
    int64_t n;
    const struct json *v = member(r, name, given, &missing);
    if (!v)
        return !missing;
    if (json_int64(v, &n) && n >= least && n <= most) {
        *out = n;
        return true;
    }
    request_fault(r, FAULT_BAD_REQUEST, name,
                  "%s must be a number from %" PRId64 " to %" PRId64 ".", name, least, most);
    return false;
}

bool request_bool(struct request *r, const char *name, bool *out, bool *given)
{
    bool missing;
    const struct json *v = member(r, name, given, &missing);
    if (!v)
        return !missing;
    if (json_kind(v) == JSON_BOOL) {
        *out = json_bool(v);
        return true;
    }
    request_fault(r, FAULT_BAD_REQUEST, name, "%s must be true or false.", name);
    return false;
}

enum { USD = 1000000 };

/* Here an amount may be taken back: "-1.5" is -1500000. */
static bool read_usd(const char *s, int64_t *out)
{
    bool minus = *s == '-';
    if (!usd_read(s + minus, out))
        return false;
    if (minus)
        *out = -*out;
    return true;
}

/* The shortest text that is this number again is what its sender wrote, or means. */
static bool read_usd_value(const struct json *v, int64_t *out)
{
    struct buf b;
    size_t len;
    if (json_kind(v) == JSON_STRING)
        return read_usd(json_string(v, &len), out);
    if (json_kind(v) != JSON_INT && json_kind(v) != JSON_DOUBLE)
        return false;
    buf_init(&b, 256);
    json_write(&b, v);
    bool good = !b.failed && read_usd(b.data, out);
    buf_done(&b);
    return good;
}

bool request_usd(struct request *r, const char *name, int64_t least_micros, int64_t most_micros,
                 int64_t *out, bool *given)
{
    bool missing;
    int64_t micros;
    const struct json *v = member(r, name, given, &missing);
    if (!v)
        return !missing;
    if (read_usd_value(v, &micros) && micros >= least_micros && micros <= most_micros) {
        *out = micros;
        return true;
    }
    request_fault(r, FAULT_BAD_REQUEST, name,
                  "%s must be an amount in USD from %" PRId64 " to %" PRId64
                  " with at most six decimals.",
                  name, least_micros / USD, most_micros / USD);
    return false;
}

/* --- writing JSON --- */

static void put_name(struct buf *b, const char *name)
{
    if (b->len && !strchr("{[", b->data[b->len - 1]))
        buf_addc(b, ',');
    json_write_string(b, name, strlen(name));
    buf_addc(b, ':');
}

void put_text(struct buf *b, const char *name, const char *value)
{
    put_name(b, name);
    json_write_string(b, value, strlen(value));
}

void put_int(struct buf *b, const char *name, int64_t value)
{
    put_name(b, name);
    buf_addi(b, value);
}

void put_bool(struct buf *b, const char *name, bool value)
{
    put_name(b, name);
    buf_adds(b, value ? "true" : "false");
}

void put_null(struct buf *b, const char *name)
{
    put_name(b, name);
    buf_adds(b, "null");
}

void put_usd(struct buf *b, const char *name, int64_t micros)
{
    int64_t size = micros < 0 ? -micros : micros;
    put_name(b, name);
    buf_addf(b, "%s%" PRId64 ".%06" PRId64, micros < 0 ? "-" : "", size / USD, size % USD);
}

void put_time(struct buf *b, const char *name, int64_t unix_ms)
{
    char day[24], text[32];
    time_t t = (time_t)(unix_ms / 1000);
    struct tm tm;
    if (unix_ms == 0 || !gmtime_r(&t, &tm) ||
        strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        put_null(b, name);
        return;
    }
    snprintf(text, sizeof text, "%s.%03dZ", day, (int)(unix_ms % 1000));
    put_text(b, name, text);
}
