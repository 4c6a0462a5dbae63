/*
 * See command_account.h. A page of accounts is in memory at a time; each with its balance.
 */
#include "command_account.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "store/accounts.h"
#include "store/applications.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAGE = 200, TIME_CHARS = 20, USD = 1000000 };

int command_check_name(const char *name, struct error *e)
{
    size_t len = strlen(name);
    if (len >= STORE_NAME_BYTES)
        return error_set(e, ERR_INVALID, "--name: longer than %d bytes", STORE_NAME_BYTES - 1);
    for (size_t i = 0; i < len;) {
        int n = utf8_char(name + i, len - i);
        if (n < 1 || (unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return error_set(e, ERR_INVALID, "--name: UTF-8 without control characters is needed");
        i += (size_t)n;
    }
    return 0;
}

static const char *write_time(int64_t ms, const char *never, char out[TIME_CHARS + 1])
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;
    if (ms == 0 || !gmtime_r(&t, &tm) ||
        strftime(out, TIME_CHARS + 1, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        return never;
    return out;
}

static void put_string(struct buf *b, const char *name, const char *value)
{
    buf_addf(b, ",\"%s\":", name);
    if (value)
        json_write_string(b, value, strlen(value));
    else
        buf_adds(b, "null");
}

static void put_json(struct buf *b, const struct store_account *a,
                     const struct store_application *p, bool first)
{
    char t[TIME_CHARS + 1];
    buf_addf(b, "%s{\"id\":%" PRId64, first ? "" : ",\n", a->id);
    put_string(b, "email", a->email);
    put_string(b, "name", a->name);
    put_string(b, "role", a->role == STORE_ADMIN ? "admin" : "user");
    put_string(b, "state", a->disabled ? "disabled" : "active");
    put_string(b, "created", write_time(a->created_ms, NULL, t));
    put_string(b, "last_login", write_time(a->login_ms, NULL, t));
    buf_addf(b, ",\"balance\":%" PRId64 ".%06" PRId64 ",\"charged\":%" PRId64 ".%06" PRId64 "}",
             p->balance_micros / USD, p->balance_micros % USD, p->charged_micros / USD,
             p->charged_micros % USD);
}

static void put_line(struct buf *b, const struct store_account *a,
                     const struct store_application *p)
{
    char t[TIME_CHARS + 1];
    buf_addf(b, "%-5" PRId64 " %-32s %-5s %-8s %-20s %12.4f\n", a->id, a->email,
             a->role == STORE_ADMIN ? "admin" : "user", a->disabled ? "disabled" : "active",
             write_time(a->login_ms, "never", t), (double)p->balance_micros / USD);
}

static int put_one(struct store *s, struct buf *b, const struct store_account *a, bool json,
                   bool first, struct error *e)
{
    struct store_application p = {0};
    int rc = store_application_of(s, a->id, false, 0, &p, NULL, e);
    if (rc && rc != ERR_NOT_FOUND)
        return rc;
    if (json)
        put_json(b, a, &p, first);
    else
        put_line(b, a, &p);
    return 0;
}

static int put_page(struct store *s, int64_t offset, bool json, struct buf *b, size_t *n,
                    struct error *e)
{
    struct store_account *page = mem_array(PAGE, sizeof *page);
    int64_t count;
    int rc = store_account_page(s, NULL, offset, PAGE, page, n, &count, e);
    for (size_t i = 0; rc == 0 && i < *n; i++)
        rc = put_one(s, b, &page[i], json, offset == 0 && i == 0, e);
    free(page);
    return rc;
}

int command_list_accounts(struct store *s, bool json, FILE *out, struct error *e)
{
    struct buf b;
    size_t n = PAGE;
    int rc = 0;
    buf_init(&b, SIZE_MAX / 2);
    if (json)
        buf_addc(&b, '[');
    else
        buf_addf(&b, "%-5s %-32s %-5s %-8s %-20s %12s\n", "ID", "EMAIL", "ROLE", "STATE",
                 "LAST LOG-IN", "BALANCE USD");
    for (int64_t offset = 0; rc == 0 && n == PAGE; offset += PAGE) {
        rc = put_page(s, offset, json, &b, &n, e);
        fwrite(b.data, 1, rc ? 0 : b.len, out);
        buf_reset(&b);
    }
    if (rc == 0 && json)
        fputs("]\n", out);
    buf_done(&b);
    return rc;
}
