/*
 * The days' tables, calls_YYYYMMDD: one text makes them all, and dropping one frees its space at
 * once. Table `days` says which are there, and changes with them in one transaction under the
 * schema's lock, so that processes that open the same day do it once.
 *
 * A handle remembers the days that it has seen, so that a group of operations does not ask. A
 * table that another process dropped meanwhile makes one group fail, which forgets them.
 */
#include "store/ledger_private.h"

#include "base/buf.h"
#include "base/clock.h"
#include "store/db_private.h"

#include <string.h>

enum { DAY_MS = 86400000, DDL_BYTES = 8192, DAY_MIN = 19700101, DAY_MAX = 99991231 };

/* `grant_micros` is the part of charged_micros that came out of grants with an end. # is the day.
 */
static const char table[] = "CREATE TABLE IF NOT EXISTS calls_# ("
                            "  id {id},"
                            "  trace_id TEXT NOT NULL UNIQUE,"
                            "  account_id {int} NOT NULL,"
                            "  application_id {int} NOT NULL,"
                            "  key_id {int} NOT NULL,"
                            "  ended_ms {int} NOT NULL,"
                            "  route TEXT NOT NULL,"
                            "  model TEXT NOT NULL,"
                            "  answered TEXT NOT NULL,"
                            "  backend TEXT NOT NULL,"
                            "  status {int} NOT NULL,"
                            "  finish TEXT NOT NULL,"
                            "  prompt_tokens {int} NOT NULL,"
                            "  cached_tokens {int} NOT NULL,"
                            "  reasoning_tokens {int} NOT NULL,"
                            "  completion_tokens {int} NOT NULL,"
                            "  source TEXT NOT NULL,"
                            "  price_input {int} NOT NULL,"
                            "  price_cached {int} NOT NULL,"
                            "  price_output {int} NOT NULL,"
                            "  cost_micros {int} NOT NULL,"
                            "  charged_micros {int} NOT NULL,"
                            "  grant_micros {int} NOT NULL,"
                            "  balance_micros {int} NOT NULL,"
                            "  queue_us {int} NOT NULL,"
                            "  first_us {int} NOT NULL,"
                            "  total_us {int} NOT NULL,"
                            "  client_gone {int} NOT NULL"
                            "){strict};"
                            "CREATE INDEX IF NOT EXISTS calls_#_application"
                            "  ON calls_# (application_id, id);"
                            "CREATE INDEX IF NOT EXISTS calls_#_key ON calls_# (key_id, id);";

static void add_for_day(struct buf *b, const char *sql, int64_t day)
{
    for (; *sql; sql++) {
        if (*sql == '#')
            buf_addi(b, day);
        else
            buf_addc(b, *sql);
    }
}

int64_t ledger_day_start_ms(int64_t day)
{
    /* Days from 1970-01-01 of the proleptic Gregorian calendar, years beginning in March. */
    int64_t y = day / 10000, m = day / 100 % 100, d = day % 100;
    y -= m <= 2;
    int64_t era = y / 400, of_era = y - era * 400;
    int64_t of_year = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return (era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468) * DAY_MS;
}

static bool is_known(const struct store *s, int64_t day)
{
    for (size_t i = 0; i < STORE_DAYS_KNOWN; i++) {
        if (s->days[i] == day)
            return true;
    }
    return false;
}

static void remember(struct store *s, int64_t day)
{
    if (is_known(s, day))
        return;
    memmove(s->days + 1, s->days, (STORE_DAYS_KNOWN - 1) * sizeof s->days[0]);
    s->days[0] = day;
}

void ledger_days_forget(struct store *s)
{
    memset(s->days, 0, sizeof s->days);
}

static int is_there(struct store *s, int64_t day, bool *there, struct error *e)
{
    struct db_query q;
    db_sql(&q, "SELECT day FROM days WHERE day = $1");
    db_arg(&q, day);
    int rc = db_run_one(s->db, &q, e);
    *there = rc == 0 && q.rows.n > 0;
    db_done(&q, 1);
    return rc;
}

int ledger_day_make(struct store *s, int64_t day, struct error *e)
{
    struct buf b;
    struct db_query q;
    buf_init(&b, DDL_BYTES);
    add_for_day(&b, table, day);
    int rc = b.failed ? error_set(e, ERR_INTERNAL, "the text of a day's table is too long")
                      : db_script(s->db, b.data, e);
    buf_done(&b);
    if (rc)
        return rc;
    db_sql(&q, "INSERT INTO days (day, created_ms) VALUES ($1, $2) ON CONFLICT (day) DO NOTHING");
    db_arg(&q, day);
    db_arg(&q, clock_unix_ms());
    rc = db_run_one(s->db, &q, e);
    db_done(&q, 1);
    return rc;
}

static int make_day(struct store *s, int64_t day, struct error *e)
{
    bool there = false;
    int rc = db_begin(s->db, DB_WRITE, e);
    if (rc)
        return rc;
    rc = db_lock_schema(s->db, e);
    if (rc == 0) /* another process may have been faster */
        rc = is_there(s, day, &there, e);
    if (rc == 0 && !there)
        rc = ledger_day_make(s, day, e);
    if (rc == 0)
        return db_commit(s->db, e);
    db_rollback(s->db);
    return rc;
}

int ledger_day_open(struct store *s, int64_t day, struct error *e)
{
    bool there;
    if (day < DAY_MIN || day > DAY_MAX)
        return error_set(e, ERR_INVALID, "%lld is no day", (long long)day);
    if (is_known(s, day))
        return 0;
    int rc = is_there(s, day, &there, e);
    if (rc == 0 && !there)
        rc = make_day(s, day, e);
    if (rc == 0)
        remember(s, day);
    return rc;
}

static int drop_day(struct store *s, int64_t day, struct error *e)
{
    char sql[64];
    struct buf b;
    struct db_query q;
    buf_init(&b, sizeof sql);
    add_for_day(&b, "DROP TABLE IF EXISTS calls_#", day);
    int rc = db_script(s->db, b.data, e);
    buf_done(&b);
    if (rc)
        return rc;
    db_sql(&q, "DELETE FROM days WHERE day = $1");
    db_arg(&q, day);
    rc = db_run_one(s->db, &q, e);
    db_done(&q, 1);
    return rc;
}

static int drop_days(struct store *s, int64_t first_day, int64_t *n, struct error *e)
{
    struct db_query q;
    int rc = db_lock_schema(s->db, e);
    if (rc)
        return rc;
    db_sql(&q, "SELECT day FROM days WHERE day < $1 ORDER BY day");
    db_arg(&q, first_day);
    rc = db_run_one(s->db, &q, e);
    for (size_t i = 0; i < q.rows.n && rc == 0; i++) {
        rc = drop_day(s, db_int(&q.rows, i, 0), e);
        *n += rc == 0;
    }
    db_done(&q, 1);
    return rc;
}

int ledger_days_drop(struct store *s, int64_t first_day, int64_t *n, struct error *e)
{
    bool own;
    *n = 0;
    ledger_days_forget(s);
    int rc = ledger_begin(s, &own, e);
    if (rc == 0)
        rc = ledger_end(s, own, drop_days(s, first_day, n, e), e);
    if (rc)
        *n = 0;
    return rc;
}

int ledger_begin(struct store *s, bool *own, struct error *e)
{
    *own = !s->db->inside;
    return *own ? db_begin(s->db, DB_WRITE, e) : 0;
}

int ledger_end(struct store *s, bool own, int rc, struct error *e)
{
    if (!own)
        return rc;
    if (rc == 0)
        return db_commit(s->db, e);
    db_rollback(s->db);
    return rc;
}
