/*
 * The calls of an account as a file, CSV or JSON lines, newest first.
 *
 * It is read in pages, one job each, so that the reading thread, which looks up keys of calls,
 * serves others in between. The text gathers in the request's state, which is one piece of memory
 * that the frame frees. What one request gets is bounded in rows and bytes; if there is more, the
 * header X-Next-Before has the `before` to go on with. One export runs for an account at a time,
 * and few in all.
 */
#include "console/platform.h"

#include "base/mem.h"
#include "console/console_private.h"
#include "console/objects.h"
#include "console/usage_csv.h"
#include "console/usage_filter.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXPORT_ROWS = 100000, EXPORT_BYTES = 8 << 20, EXPORT_PAGE = 500, EXPORTS_MAX = 8 };
enum { ROW_BYTES = 4096, BUSY_MS = 2000 };

struct export_state {
    struct usage_filter filter;
    bool csv;
    int64_t before, left; /* the last row that was read; rows that may still come */
    size_t len, cap;
    char text[];
};

struct export_job {
    struct store_job job;
    struct usage_filter filter;
    int64_t before, limit;
    size_t n;
    struct usage_row rows[EXPORT_PAGE];
};

static int find_page(struct store *s, struct store_job *job, struct error *e)
{
    struct export_job *j = (struct export_job *)job;
    return usage_page(s, &j->filter, j->before, 0, j->limit, j->rows, &j->n, NULL, e);
}

static void append(struct request *r, const char *bytes, size_t n)
{
    struct export_state *x = r->state;
    if (n > x->cap - x->len) {
        x->cap = 2 * (x->len + n);
        r->state = x = mem_realloc(x, sizeof *x + x->cap);
    }
    memcpy(x->text + x->len, bytes, n);
    x->len += n;
}

/* Writes the page's rows; stops before the ceiling of bytes. True: all of them. */
static bool write_rows(struct request *r, const struct export_job *j)
{
    struct buf b;
    buf_init(&b, ROW_BYTES * 2);
    for (size_t i = 0; i < j->n; i++) {
        struct export_state *x = r->state;
        if (x->len + ROW_BYTES * 2 > EXPORT_BYTES)
            break;
        if (x->csv) {
            usage_csv_row(&b, &j->rows[i]);
        } else {
            object_call(&b, &j->rows[i]);
            buf_addc(&b, '\n');
        }
        x->before = j->rows[i].id;
        x->left--;
        append(r, b.data, b.len);
        buf_reset(&b);
    }
    buf_done(&b);
    return j->n == 0 || ((struct export_state *)r->state)->before == j->rows[j->n - 1].id;
}

static void finish(struct request *r, bool more)
{
    const struct export_state *x = r->state;
    char next[24];
    snprintf(next, sizeof next, "%" PRId64, object_call_id(x->before));
    request_header(r, "content-disposition",
                   x->csv ? "attachment; filename=\"moongate-usage.csv\""
                          : "attachment; filename=\"moongate-usage.jsonl\"");
    if (more)
        request_header(r, "x-next-before", next);
    request_text_body(r, 200,
                      x->csv ? "text/csv; charset=utf-8; header=present"
                             : "application/jsonl; charset=utf-8",
                      x->text, x->len);
}

static void ask_page(struct request *r);

static void on_page(struct request *r, struct store_job *job)
{
    const struct export_job *j = (const struct export_job *)job;
    if (request_failed(r, job))
        return;
    bool whole = write_rows(r, j);
    const struct export_state *x = r->state;
    bool last = (int64_t)j->n < j->limit;
    if (!whole || (x->left == 0 && !last))
        finish(r, true);
    else if (last)
        finish(r, false);
    else
        ask_page(r);
}

static void ask_page(struct request *r)
{
    const struct export_state *x = r->state;
    struct export_job *j = mem_zalloc(sizeof *j);
    j->filter = x->filter;
    j->before = x->before;
    j->limit = x->left < EXPORT_PAGE ? x->left : EXPORT_PAGE;
    request_ask_read(r, &j->job, find_page, on_page);
}

/* Others that run or whose clients still read: each holds its text. */
static bool is_room(const struct request *r)
{
    int all = 0;
    for (size_t i = 0; i < CONSOLE_BUCKETS; i++) {
        for (const struct request *o = r->console->requests[i]; o; o = o->next) {
            if (o == r || !o->endpoint || o->endpoint->run != usage_export || !o->state)
                continue;
            if (o->account.id == r->account.id || ++all == EXPORTS_MAX)
                return false;
        }
    }
    return true;
}

static bool read_format(struct request *r, bool *csv)
{
    char format[16];
    if (!request_query(r, "format", format, sizeof format))
        return false;
    *csv = !*format || strcmp(format, "csv") == 0;
    if (*csv || strcmp(format, "jsonl") == 0)
        return true;
    request_fault(r, FAULT_BAD_REQUEST, "format", "format must be csv or jsonl.");
    return false;
}

void usage_export(struct request *r)
{
    struct usage_filter filter;
    bool csv;
    int64_t before, limit;
    struct buf head;
    if (!read_format(r, &csv) || !usage_filter_read(r, &filter) ||
        !request_query_int(r, "before", 1, INT64_MAX, 0, &before) ||
        !request_query_int(r, "limit", 1, EXPORT_ROWS, EXPORT_ROWS, &limit))
        return;
    if (!is_room(r)) {
        request_fault_after(r, FAULT_RATE_LIMIT, BUSY_MS, "Another export runs; try again.");
        return;
    }
    struct export_state *x = r->state = mem_zalloc(sizeof *x);
    x->filter = filter;
    x->csv = csv;
    x->before = object_call_books_id(before);
    x->left = limit;
    if (csv) {
        buf_init(&head, ROW_BYTES);
        usage_csv_head(&head);
        append(r, head.data, head.len);
        buf_done(&head);
    }
    ask_page(r);
}
