/*
 * Rows of the ledger as text: one list of columns, written in two ways. See the header.
 */
#include "ledger/export.h"

#include "base/json.h"

#include <stdio.h>
#include <time.h>

enum { TEXT, NUMBER, LONG_NUMBER, FLAG, TIME_CHARS = 32 };

struct cell {
    const char *name;
    int kind;
    const char *text;
    int64_t number;
};

/* "2026-11-28T12:00:00.123Z" */
static void write_time(int64_t ms, char out[TIME_CHARS])
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;
    size_t len = gmtime_r(&t, &tm) ? strftime(out, TIME_CHARS, "%Y-%m-%dT%H:%M:%S", &tm) : 0;
    snprintf(out + len, TIME_CHARS - len, ".%03dZ", (int)(ms % 1000));
}

static void write_csv_text(struct buf *b, const char *text)
{
    bool formula = *text && strchr("=+-@\t\r", *text);
    if (!formula && !text[strcspn(text, ",\"\r\n")]) {
        buf_adds(b, text);
        return;
    }
    buf_adds(b, formula ? "\"'" : "\"");
    for (; *text; text++) {
        if (*text == '"')
            buf_addc(b, '"');
        buf_addc(b, *text);
    }
    buf_addc(b, '"');
}

static void write_csv(struct buf *b, const struct cell *c, bool head)
{
    if (head)
        buf_adds(b, c->name);
    else if (c->kind == TEXT)
        write_csv_text(b, c->text);
    else
        buf_addi(b, c->number);
}

static void write_json(struct buf *b, const struct cell *c)
{
    buf_addf(b, "\"%s\":", c->name);
    if (c->kind == TEXT)
        json_write_string(b, c->text, strlen(c->text));
    else if (c->kind == FLAG)
        buf_adds(b, c->number ? "true" : "false");
    else
        buf_addf(b, c->kind == LONG_NUMBER ? "\"%lld\"" : "%lld", (long long)c->number);
}

static void write_row(struct buf *b, enum export_format format, const struct usage_row *u,
                      bool head)
{
    const struct ledger_row *r = &u->row;
    char ended[TIME_CHARS];
    write_time(r->ended_ms, ended);
    const struct cell cells[] = {
        {"id", LONG_NUMBER, NULL, u->id},
        {"trace_id", TEXT, r->trace_id, 0},
        {"ended", TEXT, ended, 0},
        {"account_id", NUMBER, NULL, r->account_id},
        {"application_id", NUMBER, NULL, r->application_id},
        {"key_id", NUMBER, NULL, r->key_id},
        {"key_name", TEXT, u->key_name, 0},
        {"route", TEXT, r->route, 0},
        {"model", TEXT, r->model, 0},
        {"answered", TEXT, r->answered, 0},
        {"backend", TEXT, r->backend, 0},
        {"status", NUMBER, NULL, r->status},
        {"finish", TEXT, r->finish, 0},
        {"prompt_tokens", NUMBER, NULL, r->prompt_tokens},
        {"cached_tokens", NUMBER, NULL, r->cached_tokens},
        {"reasoning_tokens", NUMBER, NULL, r->reasoning_tokens},
        {"completion_tokens", NUMBER, NULL, r->completion_tokens},
        {"source", TEXT, r->source, 0},
        {"price_input", NUMBER, NULL, r->price.input},
        {"price_cached", NUMBER, NULL, r->price.cached},
        {"price_output", NUMBER, NULL, r->price.output},
        {"cost_micros", NUMBER, NULL, r->cost_micros},
        {"charged_micros", NUMBER, NULL, r->charged_micros},
        {"balance_micros", NUMBER, NULL, r->balance_micros},
        {"queue_us", NUMBER, NULL, r->queue_us},
        {"first_us", NUMBER, NULL, r->first_us},
        {"total_us", NUMBER, NULL, r->total_us},
        {"client_gone", FLAG, NULL, r->client_gone},
    };
    if (format == EXPORT_JSONL)
        buf_addc(b, '{');
    for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
        if (i > 0)
            buf_addc(b, ',');
        if (format == EXPORT_CSV)
            write_csv(b, &cells[i], head);
        else
            write_json(b, &cells[i]);
    }
    buf_adds(b, format == EXPORT_CSV ? "\r\n" : "}\n");
}

void export_head(struct buf *b, enum export_format format)
{
    static const struct usage_row none;
    if (format == EXPORT_CSV)
        write_row(b, format, &none, true);
}

void export_row(struct buf *b, enum export_format format, const struct usage_row *row)
{
    write_row(b, format, row, false);
}
