/*
 * Server-sent events from bytes that come split anywhere.
 *
 * The bytes fed are cut into lines where they lie. The value of the first `data` line is only
 * pointed at, so an event of one line, which is how upstreams write, reaches its reader without a
 * copy. What a feed leaves over is kept: the value in `data`, an incomplete line in `line`. Each
 * byte is looked at a fixed number of times: a kept line is never searched again, and the next CR
 * and LF are remembered while lines before them are read.
 *
 * The ceiling holds for a line and for the joined data of an event, and counts bytes of the
 * stream alone, so that how they were split makes no difference.
 */
#include "base/sse.h"

#include "base/error.h"

#include <string.h>

enum { KEPT_BYTES = 4096 }; /* memory past this is given back after an event */

static const char BYTE_ORDER_MARK[] = "\xef\xbb\xbf";

/* One feed: the bytes, and where the next line ends are. */
struct feed {
    struct sse *s;
    const char *at, *end;
    const char *lf, *cr; /* the next of each at or behind `at`; `end` if there is none */
    const char *value;   /* of the one data line so far; NULL once it is in s->data */
    size_t value_len;
    sse_fn *fn;
    void *arg;
};

void sse_init(struct sse *s, size_t max_bytes)
{
    *s = (struct sse){.max_bytes = max_bytes};
    buf_init(&s->line, max_bytes);
    buf_init(&s->data, max_bytes);
}

void sse_done(struct sse *s)
{
    buf_done(&s->line);
    buf_done(&s->data);
}

size_t sse_held(const struct sse *s)
{
    return s->line.len + s->data.len;
}

static void empty(struct buf *b)
{
    if (b->cap > KEPT_BYTES)
        buf_done(b);
    else
        buf_reset(b);
}

static int keep_value(struct feed *f)
{
    if (f->value != NULL)
        buf_add(&f->s->data, f->value, f->value_len);
    f->value = NULL;
    return f->s->data.failed ? ERR_LIMIT : 0;
}

static int add_data(struct feed *f, const char *value, size_t len, bool lasting)
{
    struct sse *s = f->s;
    if (s->has_data) {
        if (keep_value(f) != 0)
            return ERR_LIMIT;
        buf_addc(&s->data, '\n');
        buf_add(&s->data, value, len);
        return s->data.failed ? ERR_LIMIT : 0;
    }
    s->has_data = true;
    f->value = value;
    f->value_len = len;
    return lasting ? 0 : keep_value(f);
}

static void set_name(struct sse *s, const char *value, size_t len)
{
    if (len >= sizeof s->name)
        len = sizeof s->name - 1;
    memcpy(s->name, value, len);
    s->name[len] = '\0';
}

static int end_event(struct feed *f)
{
    struct sse *s = f->s;
    int rc = 0;
    if (s->has_data) {
        const char *data = f->value != NULL ? f->value : s->data.data;
        size_t len = f->value != NULL ? f->value_len : s->data.len;
        rc = f->fn(f->arg, s->name, data != NULL ? data : "", len);
        s->has_data = false;
        f->value = NULL;
        empty(&s->data);
    }
    s->name[0] = '\0';
    return rc;
}

/* A line without its end. `lasting`: its bytes stay where they are during this feed. */
static int read_line(struct feed *f, const char *line, size_t len, bool lasting)
{
    struct sse *s = f->s;
    if (len > s->max_bytes)
        return ERR_LIMIT;
    if (!s->begun && len >= 3 && memcmp(line, BYTE_ORDER_MARK, 3) == 0) {
        line += 3;
        len -= 3;
    }
    s->begun = true;
    if (len == 0)
        return end_event(f);
    const char *colon = memchr(line, ':', len);
    size_t name_len = colon != NULL ? (size_t)(colon - line) : len;
    size_t skip = name_len + (colon != NULL);
    skip += skip < len && line[skip] == ' ';
    if (name_len == 4 && memcmp(line, "data", 4) == 0)
        return add_data(f, line + skip, len - skip, lasting);
    if (name_len == 5 && memcmp(line, "event", 5) == 0)
        set_name(s, line + skip, len - skip);
    return 0;
}

static const char *find(const char *at, const char *end, char c)
{
    const char *found = at < end ? memchr(at, c, (size_t)(end - at)) : NULL;
    return found != NULL ? found : end;
}

/* Where the line at `at` ends, or `end`. */
static const char *line_end(struct feed *f)
{
    if (f->lf < f->at)
        f->lf = find(f->at, f->end, '\n');
    if (f->cr < f->at)
        f->cr = find(f->at, f->end, '\r');
    return f->lf < f->cr ? f->lf : f->cr;
}

/* Joins the line's bytes up to `end` to what was kept of it, if anything was, and reads it. */
static int finish_line(struct feed *f, const char *end)
{
    struct sse *s = f->s;
    size_t n = (size_t)(end - f->at);
    if (s->line.len == 0)
        return read_line(f, f->at, n, true);
    buf_add(&s->line, f->at, n);
    if (s->line.failed)
        return ERR_LIMIT;
    int rc = read_line(f, s->line.data, s->line.len, false);
    empty(&s->line);
    return rc;
}

static int read_lines(struct feed *f)
{
    struct sse *s = f->s;
    while (f->at < f->end) {
        if (s->after_cr && *f->at == '\n') {
            s->after_cr = false;
            f->at++;
            continue;
        }
        s->after_cr = false;
        const char *end = line_end(f);
        if (end == f->end)
            break;
        int rc = finish_line(f, end);
        if (rc != 0)
            return rc;
        s->after_cr = *end == '\r';
        f->at = end + 1;
    }
    return 0;
}

int sse_feed(struct sse *s, const char *bytes, size_t n, sse_fn *fn, void *arg)
{
    if (n == 0)
        return 0;
    struct feed f = {.s = s, .at = bytes, .end = bytes + n, .fn = fn, .arg = arg};
    f.lf = find(bytes, f.end, '\n');
    f.cr = find(bytes, f.end, '\r');
    int rc = read_lines(&f);
    if (rc != 0)
        return rc;
    buf_add(&s->line, f.at, (size_t)(f.end - f.at));
    return s->line.failed ? ERR_LIMIT : keep_value(&f);
}

int sse_end(struct sse *s, sse_fn *fn, void *arg)
{
    struct feed f = {.s = s, .at = "", .fn = fn, .arg = arg};
    f.end = f.at;
    int rc = s->line.len > 0 ? finish_line(&f, f.end) : 0;
    return rc == 0 ? end_event(&f) : rc;
}
