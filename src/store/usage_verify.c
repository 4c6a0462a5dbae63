/*
 * The proof that the books agree, in one consistent view of the database.
 *
 * For each application: grants - charges - open holds = balance, and its columns, those of its
 * keys, and what of grants is used are the sums of their rows. For each day that is kept: each
 * row's cost is its tokens times its prices, no more was charged than it cost, and the rows sum
 * up to the totals of their hours. The database adds up, so memory does not grow with the books.
 *
 * A day whose table cannot be read is itself a finding: the view is begun anew behind it.
 */
#include "store/ledger_private.h"
#include "store/usage_private.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

enum { TOLD_MAX = 1000, LATE_MS = 60000 };
#define TOLD_LIMIT " LIMIT 1000" /* findings of one kind that are told */

struct proof {
    struct store *store;
    void (*fn)(void *arg, const char *wrong);
    void *arg;
    struct usage_proof *out;
};

static void __attribute__((format(printf, 2, 3))) tell(struct proof *p, const char *fmt, ...)
{
    char text[768];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    p->out->wrong++;
    if (p->fn)
        p->fn(p->arg, text);
}

/* Runs a query and calls `row` for each of its rows, which is a finding. */
static int find(struct proof *p, struct usage_sql *q,
                void (*row)(struct proof *p, const struct db_rows *r, size_t i), struct error *e)
{
    int rc = usage_sql_run(q, p->store, e);
    const struct db_rows *r = &q->query.rows;
    for (size_t i = 0; rc == 0 && i < r->n; i++)
        row(p, r, i);
    if (rc == 0 && r->n == TOLD_MAX)
        tell(p, "more of this kind is wrong than is told here");
    usage_sql_done(q);
    return rc;
}

static long long number(const struct db_rows *r, size_t row, size_t column)
{
    return db_int(r, row, column);
}

/* Applications */

static void tell_application(struct proof *p, const struct db_rows *r, size_t i)
{
    static const char *const columns[] = {"held", "granted", "charged"};
    long long id = number(r, i, 0), granted = number(r, i, 6), charged = number(r, i, 7);
    long long held = number(r, i, 5);
    if (number(r, i, 1) != granted - charged - held)
        tell(p,
             "application %lld: grants %lld - charges %lld - holds %lld is %lld, but the balance "
             "is %lld micro-USD",
             id, granted, charged, held, granted - charged - held, number(r, i, 1));
    for (size_t c = 0; c < 3; c++) {
        if (number(r, i, 2 + c) != number(r, i, 5 + c))
            tell(p, "application %lld: its rows sum up to %lld %s, but the column says %lld", id,
                 number(r, i, 5 + c), columns[c], number(r, i, 2 + c));
    }
    if (number(r, i, 8) != number(r, i, 9))
        tell(p,
             "application %lld: %lld of its grants have an end to come, but the column says %lld",
             id, number(r, i, 9), number(r, i, 8));
}

static int check_applications(struct proof *p, struct error *e)
{
    struct usage_sql q;
    usage_sql_init(
        &q,
        "SELECT * FROM (SELECT a.id, a.balance_micros AS balance, a.held_micros AS held,"
        " a.granted_micros AS granted, a.charged_micros AS charged,"
        " COALESCE(h.sum, 0) AS holds, COALESCE(g.sum, 0) AS grants, COALESCE(t.sum, 0) AS charges,"
        " a.expiring AS expiring, COALESCE(g.ending, 0) AS ending FROM applications a"
        " LEFT JOIN (SELECT application_id, SUM(amount_micros) AS sum,"
        "   SUM(CASE WHEN expires_ms > 0 AND expired_ms = 0 THEN 1 ELSE 0 END) AS ending"
        "   FROM grants GROUP BY application_id) g ON g.application_id = a.id"
        " LEFT JOIN (SELECT application_id, SUM(charged_micros) AS sum FROM totals"
        "   GROUP BY application_id) t ON t.application_id = a.id"
        " LEFT JOIN (SELECT application_id, SUM(amount_micros) AS sum FROM holds"
        "   GROUP BY application_id) h ON h.application_id = a.id) x"
        " WHERE balance <> grants - charges - holds OR held <> holds OR granted <> grants"
        " OR charged <> charges OR expiring <> ending ORDER BY id" TOLD_LIMIT);
    return find(p, &q, tell_application, e);
}

static void tell_key(struct proof *p, const struct db_rows *r, size_t i)
{
    if (number(r, i, 1) != number(r, i, 3))
        tell(p, "key %lld: its calls were charged %lld, but the column says %lld", number(r, i, 0),
             number(r, i, 3), number(r, i, 1));
    if (number(r, i, 2) != number(r, i, 4))
        tell(p, "key %lld: its holds sum up to %lld, but the column says %lld", number(r, i, 0),
             number(r, i, 4), number(r, i, 2));
}

static int check_keys(struct proof *p, struct error *e)
{
    struct usage_sql q;
    usage_sql_init(
        &q, "SELECT * FROM (SELECT k.id, k.used_micros AS used, k.held_micros AS held,"
            " COALESCE(t.sum, 0) AS charges, COALESCE(h.sum, 0) AS holds FROM keys k"
            " LEFT JOIN (SELECT key_id, SUM(charged_micros) AS sum FROM totals GROUP BY key_id) t"
            "   ON t.key_id = k.id"
            " LEFT JOIN (SELECT key_id, SUM(amount_micros) AS sum FROM holds GROUP BY key_id) h"
            "   ON h.key_id = k.id) x"
            " WHERE used <> charges OR held <> holds ORDER BY id" TOLD_LIMIT);
    return find(p, &q, tell_key, e);
}

static void tell_grant(struct proof *p, const struct db_rows *r, size_t i)
{
    tell(p, "grant %lld: %lld of its %lld micro-USD are used", number(r, i, 0), number(r, i, 1),
         number(r, i, 2));
}

static int check_grants(struct proof *p, struct error *e)
{
    struct usage_sql q;
    usage_sql_init(&q, "SELECT id, used_micros, amount_micros FROM grants WHERE used_micros < 0"
                       " OR (used_micros > 0 AND used_micros > amount_micros)"
                       " ORDER BY id" TOLD_LIMIT);
    return find(p, &q, tell_grant, e);
}

static void tell_stranger(struct proof *p, const struct db_rows *r, size_t i)
{
    tell(p, "application %lld, key %lld: %lld micro-USD were charged, but there is no such key",
         number(r, i, 0), number(r, i, 1), number(r, i, 2));
}

static int check_strangers(struct proof *p, struct error *e)
{
    struct usage_sql q;
    usage_sql_init(&q, "SELECT t.application_id, t.key_id, SUM(t.charged_micros) FROM totals t"
                       " LEFT JOIN keys k ON k.id = t.key_id"
                       " AND k.application_id = t.application_id WHERE k.id IS NULL"
                       " GROUP BY t.application_id, t.key_id HAVING SUM(t.charged_micros) <> 0"
                       " ORDER BY 1, 2" TOLD_LIMIT);
    return find(p, &q, tell_stranger, e);
}

static void tell_late(struct proof *p, const struct db_rows *r, size_t i)
{
    tell(p, "the hold of call %s over %lld micro-USD is past its deadline by %lld s",
         db_text(r, i, 0), number(r, i, 1), (long long)(clock_unix_ms() - db_int(r, i, 2)) / 1000);
}

static void tell_hold(struct proof *p, const struct db_rows *r, size_t i)
{
    tell(p, "the hold of call %s is of application %lld and key %lld, and there is no such key",
         db_text(r, i, 0), number(r, i, 1), number(r, i, 2));
}

static int check_holds(struct proof *p, struct error *e)
{
    struct usage_sql q;
    usage_sql_init(&q, "SELECT trace_id, amount_micros, deadline_ms FROM holds WHERE");
    usage_sql_arg(&q, " deadline_ms < ", clock_unix_ms() - LATE_MS);
    usage_sql_adds(&q, " ORDER BY deadline_ms" TOLD_LIMIT);
    int rc = find(p, &q, tell_late, e);
    if (rc)
        return rc;
    usage_sql_init(&q, "SELECT h.trace_id, h.application_id, h.key_id FROM holds h"
                       " LEFT JOIN keys k ON k.id = h.key_id"
                       " AND k.application_id = h.application_id WHERE k.id IS NULL"
                       " ORDER BY h.trace_id" TOLD_LIMIT);
    return find(p, &q, tell_hold, e);
}

/* Days */

static void tell_call(struct proof *p, const struct db_rows *r, size_t i)
{
    tell(p,
         "call %s (day %lld, number %lld): %lld + %lld cached + %lld tokens at %lld, %lld and %lld "
         "micro-USD a million do not cost %lld, or charged %lld is wrong, or it is in another "
         "day's table",
         db_text(r, i, 0), number(r, i, 1), number(r, i, 2), number(r, i, 3) - number(r, i, 4),
         number(r, i, 4), number(r, i, 5), number(r, i, 6), number(r, i, 7), number(r, i, 8),
         number(r, i, 9), number(r, i, 10));
}

/* The cost is right if it is the smallest whole number that is not below tokens times price;
 * NUMERIC, so that numbers that a fault made huge do not stop the proof. */
#define TOKENS_TIMES_PRICE                                                                         \
    "(CAST(prompt_tokens AS NUMERIC) - cached_tokens) * price_input"                               \
    " + CAST(cached_tokens AS NUMERIC) * price_cached"                                             \
    " + CAST(completion_tokens AS NUMERIC) * price_output"

static int check_calls(struct proof *p, int64_t day, struct error *e)
{
    struct usage_sql q;
    int64_t start_ms = ledger_day_start_ms(day);
    usage_sql_init(&q, "SELECT trace_id, ");
    usage_sql_addi(&q, day);
    usage_sql_adds(&q, ", id, prompt_tokens, cached_tokens, completion_tokens, price_input,"
                       " price_cached, price_output, cost_micros, charged_micros FROM calls_");
    usage_sql_addi(&q, day);
    usage_sql_adds(
        &q, " WHERE prompt_tokens < cached_tokens OR cached_tokens < 0 OR completion_tokens < 0"
            " OR reasoning_tokens < 0 OR reasoning_tokens > completion_tokens OR price_input < 0"
            " OR price_cached < 0 OR price_output < 0 OR charged_micros < 0"
            " OR charged_micros > cost_micros OR grant_micros < 0 OR grant_micros > charged_micros"
            " OR CAST(cost_micros AS NUMERIC) * 1000000 < " TOKENS_TIMES_PRICE
            " OR (CAST(cost_micros AS NUMERIC) - 1) * 1000000 >= " TOKENS_TIMES_PRICE);
    usage_sql_arg(&q, " OR ended_ms < ", start_ms);
    usage_sql_arg(&q, " OR ended_ms >= ", start_ms + USAGE_DAY_MS);
    usage_sql_adds(&q, " ORDER BY id" TOLD_LIMIT);
    return find(p, &q, tell_call, e);
}

static void tell_hour(struct proof *p, const struct db_rows *r, size_t i)
{
    static const char *const names[] = {"calls",     "failed calls",     "prompt tokens",
                                        "cached",    "reasoning tokens", "completion tokens",
                                        "micro-USD", "micro-USD charged"};
    size_t wrong = 0;
    while (wrong < 7 && db_int(r, i, 4 + wrong) == 0)
        wrong++;
    tell(p,
         "hour %lld of application %lld, key %lld, model %.128s: calls and totals differ by "
         "%lld %s",
         number(r, i, 0), number(r, i, 1), number(r, i, 2), db_text(r, i, 3),
         number(r, i, 4 + wrong), names[wrong]);
}

/* Calls minus totals are nothing in each hour. */
static int check_hours(struct proof *p, int64_t day, struct error *e)
{
    struct usage_sql q;
    int64_t start_ms = ledger_day_start_ms(day);
    usage_sql_init(
        &q, "SELECT hour, application_id, key_id, model, SUM(n), SUM(f), SUM(p), SUM(c), SUM(r),"
            " SUM(o), SUM(cost), SUM(charged) FROM (SELECT ended_ms - ended_ms % 3600000 AS hour,"
            " application_id, key_id, model, 1 AS n, CASE WHEN status >= 400 THEN 1 ELSE 0 END"
            " AS f, prompt_tokens AS p, cached_tokens AS c, reasoning_tokens AS r,"
            " completion_tokens AS o, cost_micros AS cost, charged_micros AS charged FROM calls_");
    usage_sql_addi(&q, day);
    usage_sql_adds(&q, " UNION ALL SELECT hour_ms, application_id, key_id, model, -calls, -failed,"
                       " -prompt_tokens, -cached_tokens, -reasoning_tokens, -completion_tokens,"
                       " -cost_micros, -charged_micros FROM totals WHERE");
    usage_sql_arg(&q, " hour_ms >= ", start_ms);
    usage_sql_arg(&q, " AND hour_ms < ", start_ms + USAGE_DAY_MS);
    usage_sql_adds(
        &q, ") x GROUP BY hour, application_id, key_id, model HAVING SUM(n) <> 0 OR SUM(f) <> 0"
            " OR SUM(p) <> 0 OR SUM(c) <> 0 OR SUM(r) <> 0 OR SUM(o) <> 0 OR SUM(cost) <> 0"
            " OR SUM(charged) <> 0 ORDER BY hour, application_id, key_id, model" TOLD_LIMIT);
    return find(p, &q, tell_hour, e);
}

static int check_day(struct proof *p, int64_t day, struct error *e)
{
    struct usage_sql q;
    usage_sql_init(&q, "SELECT COUNT(*) FROM calls_");
    usage_sql_addi(&q, day);
    int rc = usage_sql_run(&q, p->store, e);
    if (rc == 0) {
        p->out->days++;
        p->out->rows += db_int(&q.query.rows, 0, 0);
    }
    usage_sql_done(&q);
    if (rc == 0)
        rc = check_calls(p, day, e);
    return rc ? rc : check_hours(p, day, e);
}

static int check_days(struct proof *p, void (*progress)(void *arg, const char *what, int percent),
                      struct error *e)
{
    struct usage_sql q;
    char what[32];
    usage_sql_init(&q, "SELECT day FROM days ORDER BY day");
    int rc = usage_sql_run(&q, p->store, e);
    const struct db_rows *r = &q.query.rows;
    for (size_t i = 0; rc == 0 && i < r->n; i++) {
        int64_t day = db_int(r, i, 0);
        snprintf(what, sizeof what, "day %lld", (long long)day);
        if (progress)
            progress(p->arg, what, (int)(i * 100 / r->n));
        struct error why = {.text = ""};
        rc = check_day(p, day, &why);
        if (rc && store_is_good(p->store)) {
            tell(p, "day %lld cannot be read: %s", (long long)day, why.text);
            db_rollback(p->store->db);
            rc = db_begin(p->store->db, DB_READ, &why);
        }
        if (rc)
            error_set(e, rc, "%s", why.text);
    }
    usage_sql_done(&q);
    return rc;
}

/* All of it */

static int sum_up(struct proof *p, struct error *e)
{
    struct usage_proof *o = p->out;
    struct db_query q[4];
    db_sql(&q[0], "SELECT COUNT(*), COALESCE(SUM(balance_micros), 0) FROM applications");
    db_sql(&q[1], "SELECT COUNT(*), COALESCE(SUM(amount_micros), 0) FROM grants");
    db_sql(&q[2], "SELECT COUNT(*), COALESCE(SUM(amount_micros), 0) FROM holds");
    db_sql(&q[3], "SELECT COALESCE(SUM(charged_micros), 0),"
                  " COALESCE(SUM(cost_micros - charged_micros), 0) FROM totals");
    int rc = db_run(p->store->db, q, 4, e);
    if (rc == 0) {
        o->applications = db_int(&q[0].rows, 0, 0);
        o->balance_micros = db_int(&q[0].rows, 0, 1);
        o->grants = db_int(&q[1].rows, 0, 0);
        o->granted_micros = db_int(&q[1].rows, 0, 1);
        o->holds = db_int(&q[2].rows, 0, 0);
        o->held_micros = db_int(&q[2].rows, 0, 1);
        o->charged_micros = db_int(&q[3].rows, 0, 0);
        o->written_off_micros = db_int(&q[3].rows, 0, 1);
    }
    db_done(q, 4);
    return rc;
}

int usage_verify(struct store *s, void (*fn)(void *arg, const char *wrong), void *arg,
                 void (*progress)(void *arg, const char *what, int percent),
                 struct usage_proof *out, struct error *e)
{
    static int (*const checks[])(struct proof * p, struct error * e) = {
        sum_up, check_applications, check_keys, check_grants, check_strangers, check_holds};
    struct proof p = {.store = s, .fn = fn, .arg = arg, .out = out};
    memset(out, 0, sizeof *out);
    int rc = db_begin(s->db, DB_READ, e);
    if (rc)
        return rc;
    if (progress)
        progress(arg, "balances", 0);
    for (size_t i = 0; rc == 0 && i < sizeof checks / sizeof checks[0]; i++)
        rc = checks[i](&p, e);
    if (rc == 0)
        rc = check_days(&p, progress, e);
    db_rollback(s->db); /* nothing was written */
    return rc;
}
