/*
 * See usage_csv.h.
 */
#include "console/usage_csv.h"

#include "console/objects.h"

#include <inttypes.h>
#include <time.h>

enum { USD = 1000000 };

void usage_csv_text(struct buf *b, const char *text)
{
    bool formula = *text && (strchr("=+-@", *text) || (unsigned char)*text < ' ');
    if (!formula && !strpbrk(text, ",\"\r\n") && *text != ' ') {
        buf_adds(b, text);
        return;
    }
    buf_addc(b, '"');
    if (formula)
        buf_addc(b, '\'');
    for (; *text; text++) {
        if (*text == '"')
            buf_addc(b, '"');
        buf_addc(b, *text);
    }
    buf_addc(b, '"');
}

void usage_csv_head(struct buf *b)
{
    buf_adds(b, "id,created_at,trace_id,application_id,credential_id,credential_name,route,model,"
                "answered,backend,status_code,finish,prompt_tokens,cached_tokens,reasoning_tokens,"
                "completion_tokens,source,price_input,price_cached,price_output,original_amount,"
                "deducted_amount,remaining_amount,queue_ms,first_ms,total_ms,client_gone\r\n");
}

static void add_text(struct buf *b, const char *text)
{
    buf_addc(b, ',');
    usage_csv_text(b, text);
}

static void add_int(struct buf *b, int64_t n)
{
    buf_addf(b, ",%" PRId64, n);
}

static void add_usd(struct buf *b, int64_t micros)
{
    int64_t size = micros < 0 ? -micros : micros;
    buf_addf(b, ",%s%" PRId64 ".%06" PRId64, micros < 0 ? "-" : "", size / USD, size % USD);
}

static void add_us(struct buf *b, int64_t us)
{
    if (us < 0)
        buf_addc(b, ',');
    else
        buf_addf(b, ",%" PRId64 ".%03" PRId64, us / 1000, us % 1000);
}

static void add_time(struct buf *b, int64_t unix_ms)
{
    time_t t = (time_t)(unix_ms / 1000);
    struct tm tm;
    char text[32];
    if (gmtime_r(&t, &tm) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) > 0)
        buf_addf(b, ",%s.%03dZ", text, (int)(unix_ms % 1000));
    else
        buf_addc(b, ',');
}

static void add_tokens(struct buf *b, const struct ledger_row *l)
{
    add_int(b, l->prompt_tokens);
    add_int(b, l->cached_tokens);
    add_int(b, l->reasoning_tokens);
    add_int(b, l->completion_tokens);
    add_text(b, l->source);
}

void usage_csv_row(struct buf *b, const struct usage_row *r)
{
    const struct ledger_row *l = &r->row;
    buf_addi(b, object_call_id(r->id));
    add_time(b, l->ended_ms);
    add_text(b, l->trace_id);
    add_int(b, l->application_id);
    add_int(b, l->key_id);
    add_text(b, r->key_name);
    add_text(b, l->route);
    add_text(b, l->model);
    add_text(b, l->answered);
    add_text(b, l->backend);
    add_int(b, l->status);
    add_text(b, l->finish);
    add_tokens(b, l);
    add_usd(b, l->price.input);
    add_usd(b, l->price.cached);
    add_usd(b, l->price.output);
    add_usd(b, l->cost_micros);
    add_usd(b, l->charged_micros);
    add_usd(b, l->balance_micros);
    add_us(b, l->queue_us);
    add_us(b, l->first_us);
    add_us(b, l->total_us);
    buf_adds(b, l->client_gone ? ",true\r\n" : ",false\r\n");
}
