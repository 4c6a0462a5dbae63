/*
 * The calls of an account: a page of them, one, sums, and how they ended.
 */
#include "console/platform.h"

#include "base/mem.h"
#include "console/console_private.h"
#include "console/objects.h"
#include "console/usage_filter.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE_DEFAULT = 20, SUMS_DEFAULT = 1000, STATUS_ROWS = 1000, STATUS_KINDS = 64 };
enum { ANSWER_BYTES = 8 << 20 };

struct page_job {
    struct store_job job;
    struct usage_filter filter;
    int64_t before, offset, limit, count;
    size_t n;
    struct usage_row rows[];
};

static struct page_job *new_page(const struct usage_filter *f, int64_t limit)
{
    struct page_job *j = mem_zalloc(sizeof *j + (size_t)limit * sizeof j->rows[0]);
    j->filter = *f;
    j->limit = limit;
    return j;
}

static int find_page(struct store *s, struct store_job *job, struct error *e)
{
    struct page_job *j = (struct page_job *)job;
    return usage_page(s, &j->filter, j->before, j->offset, j->limit, j->rows, &j->n, &j->count, e);
}

/* --- a page --- */

static void on_page(struct request *r, struct store_job *job)
{
    const struct page_job *j = (const struct page_job *)job;
    struct buf b;
    if (request_failed(r, job))
        return;
    buf_init(&b, ANSWER_BYTES);
    object_list_open(&b, j->count);
    for (size_t i = 0; i < j->n; i++) {
        object_next(&b);
        object_call(&b, &j->rows[i]);
    }
    object_list_close(&b);
    request_json(r, 200, &b);
    buf_done(&b);
}

static bool check_ordering(struct request *r)
{
    char ordering[32];
    if (!request_query(r, "ordering", ordering, sizeof ordering))
        return false;
    if (!*ordering || strcmp(ordering, "-created_at") == 0)
        return true;
    request_fault(r, FAULT_BAD_REQUEST, "ordering",
                  "ordering must be -created_at: calls are listed newest first.");
    return false;
}

void usage_list(struct request *r)
{
    struct usage_filter filter;
    int64_t before, offset, limit;
    if (!usage_filter_read(r, &filter) || !check_ordering(r) ||
        !request_query_int(r, "before", 1, INT64_MAX, 0, &before) ||
        !request_query_int(r, "offset", 0, INT32_MAX, 0, &offset) ||
        !request_query_int(r, "limit", 1, USAGE_PAGE_MAX, PAGE_DEFAULT, &limit))
        return;
    struct page_job *j = new_page(&filter, limit);
    j->before = object_call_books_id(before);
    j->offset = offset;
    request_ask_read(r, &j->job, find_page, on_page);
}

/* --- one --- */

static int find_one(struct store *s, struct store_job *job, struct error *e)
{
    struct page_job *j = (struct page_job *)job;
    return usage_get(s, &j->filter, j->before, &j->rows[0], e);
}

static void on_one(struct request *r, struct store_job *job)
{
    const struct page_job *j = (const struct page_job *)job;
    struct buf b;
    if (request_failed(r, job))
        return;
    buf_init(&b, ANSWER_BYTES);
    object_call(&b, &j->rows[0]);
    request_json(r, 200, &b);
    buf_done(&b);
}

void usage_one(struct request *r)
{
    struct usage_filter filter;
    int64_t id;
    if (!request_id(r, 0, &id) || !usage_filter_read(r, &filter))
        return;
    struct page_job *j = new_page(&filter, 1);
    j->before = object_call_books_id(id);
    request_ask_read(r, &j->job, find_one, on_one);
}

/* --- sums --- */

struct sums_job {
    struct store_job job;
    struct usage_filter filter;
    enum usage_by by;
    size_t most, n;
    struct usage_sum sums[];
};

static int find_sums(struct store *s, struct store_job *job, struct error *e)
{
    struct sums_job *j = (struct sums_job *)job;
    return usage_sums(s, &j->filter, j->by, j->sums, j->most, &j->n, e);
}

static void on_sums(struct request *r, struct store_job *job)
{
    const struct sums_job *j = (const struct sums_job *)job;
    struct buf b;
    if (request_failed(r, job))
        return;
    buf_init(&b, ANSWER_BYTES);
    object_list_open(&b, (int64_t)j->n);
    for (size_t i = 0; i < j->n; i++) {
        object_next(&b);
        object_sum(&b, &j->sums[i], j->by);
    }
    object_list_close(&b);
    request_json(r, 200, &b);
    buf_done(&b);
}

static bool read_by(struct request *r, enum usage_by *out)
{
    static const struct {
        const char *word;
        enum usage_by by;
    } words[] = {{"", USAGE_BY_NONE},
                 {"hour", USAGE_BY_HOUR},
                 {"day", USAGE_BY_DAY},
                 {"model", USAGE_BY_MODEL},
                 {"key", USAGE_BY_KEY}};
    char by[16];
    if (!request_query(r, "by", by, sizeof by))
        return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(by, words[i].word) == 0) {
            *out = words[i].by;
            return true;
        }
    }
    request_fault(r, FAULT_BAD_REQUEST, "by", "by must be hour, day, model or key.");
    return false;
}

/* The totals know neither, so an answer would not be what was asked. */
static bool check_no_call(struct request *r, const struct usage_filter *f)
{
    if (!*f->trace_id && !f->status)
        return true;
    request_fault(r, FAULT_BAD_REQUEST, *f->trace_id ? "trace_id" : "status_code",
                  "Sums are of whole hours; they cannot be asked for by trace_id or status_code.");
    return false;
}

void usage_aggregate(struct request *r)
{
    struct usage_filter filter;
    enum usage_by by;
    int64_t limit;
    if (!read_by(r, &by) || !usage_filter_read(r, &filter) || !check_no_call(r, &filter) ||
        !request_query_int(r, "limit", 1, USAGE_SUMS_MAX, SUMS_DEFAULT, &limit))
        return;
    struct sums_job *j = mem_zalloc(sizeof *j + (size_t)limit * sizeof j->sums[0]);
    j->filter = filter;
    j->by = by;
    j->most = (size_t)limit;
    request_ask_read(r, &j->job, find_sums, on_sums);
}

/* --- how they ended --- */

struct status_count {
    int status;
    int64_t n;
};

static void count_status(struct status_count *counts, size_t *n, int status)
{
    size_t i = 0;
    while (i < *n && counts[i].status != status)
        i++;
    if (i == STATUS_KINDS)
        return;
    if (i == *n)
        counts[(*n)++] = (struct status_count){.status = status};
    counts[i].n++;
}

/* Of the newest calls alone: all of them would be too many to be read for one request. */
static void on_statuses(struct request *r, struct store_job *job)
{
    const struct page_job *j = (const struct page_job *)job;
    struct status_count counts[STATUS_KINDS] = {0};
    size_t n = 0;
    struct buf b;
    if (request_failed(r, job))
        return;
    for (size_t i = 0; i < j->n; i++)
        count_status(counts, &n, j->rows[i].row.status);
    buf_init(&b, ANSWER_BYTES);
    object_list_open(&b, (int64_t)n);
    for (size_t i = 0; i < n; i++) {
        object_next(&b);
        buf_addc(&b, '{');
        put_int(&b, "status_code", counts[i].status);
        put_int(&b, "count", counts[i].n);
        buf_addc(&b, '}');
    }
    object_list_close(&b);
    request_json(r, 200, &b);
    buf_done(&b);
}

static int find_newest(struct store *s, struct store_job *job, struct error *e)
{
    struct page_job *j = (struct page_job *)job;
    return usage_page(s, &j->filter, 0, 0, j->limit, j->rows, &j->n, NULL, e);
}

void usage_status_codes(struct request *r)
{
    struct usage_filter filter;
    if (!usage_filter_read(r, &filter))
        return;
    struct page_job *j = new_page(&filter, STATUS_ROWS);
    request_ask_read(r, &j->job, find_newest, on_statuses);
}
