/*
 * bench_store: the store's functions without HTTP. One thread, one connection; prints JSON, a line
 * for each thing that was measured.
 *
 *   bench_store group URL durable=0|1 calls=N each=K
 *       Calls through the books, K at once: a group of K holds, then one of their K settlements,
 *       N calls in all, of K keys by turns.
 *   bench_store read URL repeat=R
 *       The usage page's questions: of the account with the most calls, of one with few, and of
 *       the administrator who sees all.
 *   bench_store verify URL
 *       The sums of the books, how many findings the proof has, and how long it took. The findings
 *       go to standard error.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "store/db.h"
#include "store/ledger.h"
#include "store/usage.h"
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PAGE_ROWS = 50, WAIT_MS = 600000 };
#define DAY_MS INT64_C(86400000)

struct bench {
    const char *url;
    long durable, calls, each, repeat; /* arguments */
    struct store *store;
    int64_t now_ms;
};

static void must(int rc, const struct error *e)
{
    if (rc)
        die("%s", e->text);
}

/* The first row of an answer as numbers; false: there is none. */
static bool ask(const struct bench *b, const char *sql, int64_t *out, size_t n)
{
    struct error e;
    struct db *db;
    struct db_query q;
    must(db_open(b->url, false, &db, &e), &e);
    db_set_wait(db, WAIT_MS);
    db_sql(&q, sql);
    must(db_run_one(db, &q, &e), &e);
    bool found = q.rows.n > 0;
    for (size_t i = 0; i < n && found; i++)
        out[i] = db_int(&q.rows, 0, i);
    db_done(&q, 1);
    db_close(db);
    return found;
}

/* --- group --- */

static void set_hold(struct ledger_hold *h, long number, const int64_t ids[3])
{
    snprintf(h->trace_id, sizeof h->trace_id, "%08lx-%04x-4000-8000-%012lx",
             (unsigned long)((uint64_t)number * 2654435761U & 0xffffffff),
             (unsigned)getpid() & 0xffff, (unsigned long)number);
    h->key_id = ids[0];
    h->application_id = ids[1];
    h->least_micros = 20;
    h->want_micros = 300;
    h->now_ms = clock_unix_ms();
    h->deadline_ms = h->now_ms + DAY_MS;
}

static void set_settle(struct ledger_settle *s, const char *trace, const int64_t ids[3])
{
    struct ledger_row *r = &s->row;
    memset(s, 0, sizeof *s);
    snprintf(r->trace_id, sizeof r->trace_id, "%s", trace);
    r->key_id = ids[0];
    r->application_id = ids[1];
    r->account_id = ids[2];
    r->ended_ms = clock_unix_ms();
    snprintf(r->route, sizeof r->route, "chat");
    snprintf(r->model, sizeof r->model, "kimi-model-0");
    snprintf(r->answered, sizeof r->answered, "fp-0123456789ab");
    snprintf(r->backend, sizeof r->backend, "upstream");
    snprintf(r->finish, sizeof r->finish, "stop");
    snprintf(r->source, sizeof r->source, "upstream");
    r->status = 200;
    r->prompt_tokens = 9;
    r->completion_tokens = 125;
    r->price = (struct ledger_price){1000000, 1000000, 2000000};
    r->cost_micros = ledger_cost_micros(&r->price, 9, 0, 125);
    r->first_us = r->total_us = 1000;
    s->held = true;
}

static void run_group(struct bench *b, struct ledger_op **ops, size_t n)
{
    struct error e;
    must(ledger_group(b->store, ops, n, &e), &e);
    for (size_t i = 0; i < n; i++) {
        if (ops[i]->code || (ops[i]->kind == LEDGER_HOLD && ops[i]->hold.verdict != LEDGER_OK))
            die("operation %zu of a group: code %d", i, ops[i]->code);
    }
}

/* Of this process alone: a PostgreSQL's is not in it. */
static int64_t cpu_us(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (int64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000 + r.ru_utime.tv_usec +
           r.ru_stime.tv_usec;
}

/* So many keys, as id, application and account. */
static size_t list_keys(const struct bench *b, size_t most, int64_t (*ids)[3])
{
    struct error e;
    struct db *db;
    struct db_query q;
    must(db_open(b->url, false, &db, &e), &e);
    db_sql(&q, "SELECT k.id, k.application_id, p.account_id FROM keys k JOIN applications p"
               " ON p.id = k.application_id ORDER BY k.id LIMIT $1");
    db_arg(&q, (int64_t)most);
    must(db_run_one(db, &q, &e), &e);
    size_t n = q.rows.n;
    for (size_t i = 0; i < 3 * n; i++)
        ids[i / 3][i % 3] = db_int(&q.rows, i / 3, i % 3);
    db_done(&q, 1);
    db_close(db);
    if (n == 0)
        die("there is no key");
    return n;
}

/* Microseconds of holds and of settlements. */
static void one_group(struct bench *b, struct ledger_op **ops, long first, int64_t (*ids)[3],
                      size_t n_ids, int64_t us[2])
{
    size_t each = (size_t)b->each;
    for (size_t i = 0; i < each; i++) {
        memset(ops[i], 0, sizeof *ops[i]);
        ops[i]->kind = LEDGER_HOLD;
        set_hold(&ops[i]->hold, first + (long)i, ids[i % n_ids]);
    }
    int64_t since = clock_mono_us();
    run_group(b, ops, each);
    us[0] += clock_mono_us() - since;
    for (size_t i = 0; i < each; i++) {
        char trace[STORE_TRACE_BYTES];
        memcpy(trace, ops[i]->hold.trace_id, sizeof trace);
        ops[i]->kind = LEDGER_SETTLE;
        set_settle(&ops[i]->settle, trace, ids[i % n_ids]);
    }
    since = clock_mono_us();
    run_group(b, ops, each);
    us[1] += clock_mono_us() - since;
}

static void group(struct bench *b)
{
    size_t each = (size_t)b->each;
    struct ledger_op *list = mem_array(each, sizeof *list), **ops = mem_array(each, sizeof *ops);
    int64_t(*ids)[3] = mem_array(each, sizeof *ids), us[2] = {0, 0}, cpu;
    size_t n_ids = list_keys(b, each, ids);
    long done = 0;
    for (size_t i = 0; i < each; i++)
        ops[i] = &list[i];
    for (cpu = cpu_us(); done < b->calls; done += b->each)
        one_group(b, ops, done, ids, n_ids, us);
    printf("{\"calls\":%ld,\"each\":%ld,\"second\":%.0f,\"hold_us\":%.2f,\"settle_us\":%.2f,"
           "\"cpu_us\":%.2f}\n",
           done, b->each, (double)done * 1e6 / (double)(us[0] + us[1]),
           (double)us[0] / (double)done, (double)us[1] / (double)done,
           (double)(cpu_us() - cpu) / (double)done);
    free(list);
    free(ops);
    free(ids);
}

/* --- read --- */

struct question {
    const char *who, *what;
    int64_t offset;   /* of a page */
    bool counted;     /* with the number of all */
    bool by_cursor;   /* `before` the row at the offset instead of passing over it */
    enum usage_by by; /* of sums over 30 days; NONE: a page */
    bool trace;       /* of one call */
};

struct subject {
    const char *who;
    struct usage_filter filter;
    int64_t calls;
    struct usage_row cursor; /* the row at the deep page's offset */
    char trace_id[STORE_TRACE_BYTES];
};

static size_t answer(struct bench *b, const struct subject *s, const struct question *q,
                     struct usage_row *rows, struct usage_sum *sums)
{
    struct error e;
    struct usage_filter f = s->filter;
    size_t n = 0;
    int64_t count;
    must(store_begin(b->store, STORE_READ, &e), &e);
    if (q->by) {
        f.from_ms = b->now_ms - b->now_ms % DAY_MS - 30 * DAY_MS;
        must(usage_sums(b->store, &f, q->by, sums, USAGE_SUMS_MAX, &n, &e), &e);
    } else {
        if (q->trace)
            memcpy(f.trace_id, s->trace_id, sizeof f.trace_id);
        must(usage_page(b->store, &f, q->by_cursor ? s->cursor.id : 0, q->by_cursor ? 0 : q->offset,
                        PAGE_ROWS, rows, &n, q->counted ? &count : NULL, &e),
             &e);
    }
    must(store_commit(b->store, &e), &e);
    return n;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void time_question(struct bench *b, const struct subject *s, const struct question *q,
                          struct usage_row *rows, struct usage_sum *sums)
{
    int64_t *us = mem_array((size_t)b->repeat, sizeof *us);
    size_t n = answer(b, s, q, rows, sums); /* once before, so that it is in memory */
    for (long i = 0; i < b->repeat; i++) {
        int64_t since = clock_mono_us();
        n = answer(b, s, q, rows, sums);
        us[i] = clock_mono_us() - since;
    }
    qsort(us, (size_t)b->repeat, sizeof *us, compare);
    printf("{\"who\":\"%s\",\"calls\":%lld,\"what\":\"%s\",\"rows\":%zu,\"median_us\":%lld,"
           "\"longest_us\":%lld}\n",
           s->who, (long long)s->calls, q->what, n, (long long)us[(b->repeat - 1) / 2],
           (long long)us[b->repeat - 1]);
    free(us);
}

/* Where the deep page is, and a call to ask for. */
static void prepare(struct bench *b, struct subject *s, int64_t deep, struct usage_row *rows)
{
    struct error e;
    size_t n = 0;
    must(usage_page(b->store, &s->filter, 0, deep, 1, rows, &n, NULL, &e), &e);
    if (n == 0)
        die("%s has no call at %lld", s->who, (long long)deep);
    s->cursor = rows[0];
    memcpy(s->trace_id, rows[0].row.trace_id, sizeof s->trace_id);
}

static void read_usage(struct bench *b)
{
    struct subject subjects[] = {{.who = "many"}, {.who = "few"}, {.who = "all"}};
    struct usage_row *rows = mem_array(PAGE_ROWS, sizeof *rows);
    struct usage_sum *sums = mem_array(USAGE_SUMS_MAX, sizeof *sums);
    int64_t ids[2];
    for (size_t i = 0; i < 2; i++) {
        if (!ask(b,
                 i == 0 ? "SELECT p.account_id, SUM(t.calls) FROM totals t JOIN applications p"
                          " ON p.id = t.application_id GROUP BY 1 ORDER BY 2 DESC LIMIT 1"
                        : "SELECT p.account_id, SUM(t.calls) FROM totals t JOIN applications p"
                          " ON p.id = t.application_id GROUP BY 1 ORDER BY 2 LIMIT 1",
                 ids, 2))
            die("there are no calls");
        subjects[i].filter.account_id = ids[0];
        subjects[i].calls = ids[1];
    }
    if (ask(b, "SELECT SUM(calls) FROM totals", ids, 1))
        subjects[2].calls = ids[0];
    for (size_t i = 0; i < 3; i++) {
        struct subject *s = &subjects[i];
        int64_t deep = s->calls * 9 / 10;
        const struct question list[] = {
            {.what = "first page"},
            {.what = "first page and number of all", .counted = true},
            {.what = "deep page by offset", .offset = deep},
            {.what = "deep page by cursor", .offset = deep, .by_cursor = true},
            {.what = "one call by trace id", .trace = true},
            {.what = "30 days by day", .by = USAGE_BY_DAY},
            {.what = "30 days by model", .by = USAGE_BY_MODEL},
            {.what = "30 days by key", .by = USAGE_BY_KEY}};
        prepare(b, s, deep, rows);
        for (size_t k = 0; k < sizeof list / sizeof *list; k++)
            time_question(b, s, &list[k], rows, sums);
    }
    free(rows);
    free(sums);
}

/* --- verify --- */

static void on_wrong(void *arg, const char *text)
{
    (void)arg;
    fprintf(stderr, "%s\n", text);
}

static void verify(struct bench *b)
{
    struct error e;
    struct usage_proof p;
    int64_t since = clock_mono_us();
    must(usage_verify(b->store, on_wrong, NULL, NULL, &p, &e), &e);
    printf("{\"verify_us\":%lld,\"wrong\":%lld,\"applications\":%lld,\"rows\":%lld,\"days\":%lld,"
           "\"holds\":%lld,\"granted\":%lld,\"charged\":%lld,\"held\":%lld,\"balance\":%lld,"
           "\"written_off\":%lld}\n",
           (long long)(clock_mono_us() - since), (long long)p.wrong, (long long)p.applications,
           (long long)p.rows, (long long)p.days, (long long)p.holds, (long long)p.granted_micros,
           (long long)p.charged_micros, (long long)p.held_micros, (long long)p.balance_micros,
           (long long)p.written_off_micros);
}

/* --- all --- */

static void argument(struct bench *b, char *text)
{
    const struct {
        const char *name;
        long *at, least, most;
    } names[] = {{"durable", &b->durable, 0, 1},
                 {"calls", &b->calls, 1, 100000000},
                 {"each", &b->each, 1, 4096},
                 {"repeat", &b->repeat, 1, 100000}};
    size_t n = strcspn(text, "=");
    if (!text[n])
        die("%s: not name=value", text);
    text[n] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(text, names[i].name)) {
            *names[i].at = number(text + n + 1, text, names[i].least, names[i].most);
            return;
        }
    die("no such argument: %s", text);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(struct bench *b);
    } modes[] = {{"group", group}, {"read", read_usage}, {"verify", verify}};
    struct bench b = {.calls = 10000, .each = 16, .repeat = 20, .now_ms = clock_unix_ms()};
    struct error e;
    size_t mode = 0;
    while (argc > 2 && mode < 3 && strcmp(argv[1], modes[mode].name) != 0)
        mode++;
    if (argc < 3 || mode == 3)
        die("usage: group|read|verify URL name=value...");
    b.url = argv[2];
    for (int i = 3; i < argc; i++)
        argument(&b, argv[i]);
    const struct store_options o = {.durable = b.durable != 0};
    must(store_open_url(b.url, &o, &b.store, &e), &e);
    store_set_wait(b.store, WAIT_MS);
    modes[mode].run(&b);
    store_close(b.store);
    return 0;
}
