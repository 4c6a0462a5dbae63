/*
 * bench_fill: puts many accounts and calls into a database, as if they had been there for a month.
 *
 *   bench_fill URL accounts=N calls=M days=D keys=FILE count=K
 *       Makes the database of that address (sqlite:FILE or postgres://...), N accounts with an
 *       application, a grant and a key each, and M calls over the last D whole days with their
 *       totals. The first K keys are written to FILE, one a line; printed are platform tokens of
 *       the first two accounts.
 *
 * The first account has a tenth of the calls; the others share the rest evenly, which is the worst
 * case for the totals: they have nearly as many rows as there are calls. Rows are made by the
 * database itself, a day in one statement; sums are taken from the rows, so that the books agree.
 * Nothing is drawn by chance but the keys.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "gate/gate.h"
#include "store/db.h"
#include "store/ledger.h"
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP = 500, SQL_BYTES = 8192, WAIT_MS = 600000 };
#define DAY_MS INT64_C(86400000)
#define GRANT  "1000000000" /* micro-USD of each account */

struct fill {
    const char *url, *keys;
    long accounts, calls, days, count; /* arguments */
    struct store *store;
    struct db *db;
    int64_t now_ms, first_ms; /* the beginning of the first day */
    char tokens[2][GATE_TOKEN_CHARS + 1];
};

static void must(int rc, const struct error *e)
{
    if (rc)
        die("%s", e->text);
}

static void run(struct fill *f, const char *sql, int n_args, const int64_t *args)
{
    struct error e;
    struct db_query q;
    db_sql(&q, sql);
    for (int i = 0; i < n_args; i++)
        db_arg(&q, args[i]);
    must(db_run_one(f->db, &q, &e), &e);
    db_done(&q, 1);
}

/* --- accounts --- */

static void add_accounts(struct fill *f)
{
    struct error e;
    const int64_t args[] = {f->accounts, f->first_ms};
    must(db_begin(f->db, DB_WRITE, &e), &e);
    run(f,
        "WITH RECURSIVE n (i) AS (SELECT CAST(1 AS {int}) UNION ALL SELECT i + 1 FROM n"
        " WHERE i < $1) INSERT INTO accounts (email, person, name, created_ms)"
        " SELECT 'user' || i || '@bench.example', 'user' || i || '@bench.example',"
        " 'User ' || i, $2 FROM n ORDER BY i",
        2, args);
    run(f,
        "INSERT INTO applications (account_id, service, balance_micros, granted_micros,"
        " created_ms, updated_ms) SELECT id, 'kimi', " GRANT ", " GRANT
        ", created_ms, created_ms FROM accounts WHERE email <> '' ORDER BY id",
        0, NULL);
    run(f,
        "INSERT INTO grants (application_id, amount_micros, kind, created_ms)"
        " SELECT p.id, " GRANT ", 'free', p.created_ms FROM applications p"
        " JOIN accounts a ON a.id = p.account_id WHERE a.email <> '' ORDER BY p.id",
        0, NULL);
    must(db_commit(f->db, &e), &e);
}

static int64_t first_application(struct fill *f)
{
    struct error e;
    struct db_query q;
    db_sql(&q, "SELECT MIN(application_id) FROM grants");
    must(db_run_one(f->db, &q, &e), &e);
    int64_t id = db_int(&q.rows, 0, 0);
    db_done(&q, 1);
    return id;
}

static void set_key(struct fill *f, struct db_query *q, int64_t application, const char *key,
                    enum store_key_kind kind, char *hex)
{
    uint8_t hash[STORE_HASH_BYTES];
    gate_key_hash(key, strlen(key), hash);
    store_hex(hash, hex);
    db_sql(q, "INSERT INTO keys (application_id, hash, name, prefix, created_ms, kind)"
              " VALUES ($1, $2, 'bench', 'mg-bench', $3, $4)");
    db_arg(q, application);
    db_arg_text(q, hex);
    db_arg(q, f->first_ms);
    db_arg(q, kind);
}

/* After the calls, which are of each application's only key. */
static void add_tokens(struct fill *f)
{
    struct error e;
    int64_t first = first_application(f);
    for (int i = 0; i < 2; i++) {
        struct db_query q;
        char hex[STORE_HEX_BYTES];
        gate_token_make(f->tokens[i]);
        set_key(f, &q, first + i, f->tokens[i], STORE_KEY_PLATFORM, hex);
        must(db_run_one(f->db, &q, &e), &e);
        db_done(&q, 1);
    }
}

static void add_keys(struct fill *f)
{
    static struct db_query q[GROUP];
    static char hex[GROUP][STORE_HEX_BYTES];
    struct error e;
    int64_t first = first_application(f);
    FILE *out = fopen(f->keys, "w");
    if (!out)
        die("%s cannot be written", f->keys);
    must(db_begin(f->db, DB_WRITE, &e), &e);
    for (long i = 0; i < f->accounts;) {
        size_t n = 0;
        for (; n < GROUP && i < f->accounts; n++, i++) {
            char key[GATE_KEY_CHARS + 1];
            gate_key_make(key);
            set_key(f, &q[n], first + i, key, STORE_KEY_CALLS, hex[n]);
            if (i < f->count)
                fprintf(out, "%s\n", key);
        }
        must(db_run(f->db, q, n, &e), &e);
        db_done(q, n);
    }
    must(db_commit(f->db, &e), &e);
    if (fclose(out) != 0)
        die("%s cannot be written", f->keys);
}

/* --- calls --- */

/* Call number i is of account 0 or of one of the others, by turns; tokens and time depend on i
 * alone. One in 64 failed and cost nothing. */
static const char calls[] =
    "WITH RECURSIVE n (i) AS (SELECT CAST($1 AS {int}) UNION ALL SELECT i + 1 FROM n"
    " WHERE i < $2), r (i, a, good, p, c, o) AS (SELECT i, CASE WHEN i % 10 = 0 THEN 0"
    " ELSE 1 + (i - i / 10) % ($3 - 1) END, CASE WHEN i % 64 = 63 THEN 0 ELSE 1 END,"
    " 200 + i % 1800, CASE WHEN i % 3 = 0 THEN 128 ELSE 0 END, 50 + i % 450 FROM n)"
    " INSERT INTO calls_# (trace_id, account_id, application_id, key_id, ended_ms, route, model,"
    " answered, backend, status, finish, prompt_tokens, cached_tokens, reasoning_tokens,"
    " completion_tokens, source, price_input, price_cached, price_output, cost_micros,"
    " charged_micros, grant_micros, balance_micros, queue_us, first_us, total_us, client_gone)"
    " SELECT CAST(4294967296 + i * 2654435761 % 4294967296 AS TEXT) ||"
    " '-4000-4000-8000-0123456789', a.id, p.id, k.id, $4 + (i - $1) * 86400000 / ($2 - $1 + 1),"
    " 'chat', 'kimi-model-' || (i % 4), 'fp-0123456789ab', 'upstream-' || (i % 2),"
    " CASE good WHEN 1 THEN 200 ELSE 429 END, CASE good WHEN 1 THEN 'stop' ELSE"
    " 'rate_limit_reached' END, r.p * good, r.c * good, 0, r.o * good, 'upstream',"
    " 600000 * good, 150000 * good, 2500000 * good,"
    " good * (((r.p - r.c) * 600000 + r.c * 150000 + r.o * 2500000 + 999999) / 1000000),"
    " good * (((r.p - r.c) * 600000 + r.c * 150000 + r.o * 2500000 + 999999) / 1000000),"
    " 0, 0, 120, 250000 + i % 1000, 900000 + i % 100000, 0"
    " FROM r JOIN accounts a ON a.email = 'user' || (r.a + 1) || '@bench.example'"
    " JOIN applications p ON p.account_id = a.id JOIN keys k ON k.application_id = p.id"
    " ORDER BY i";

static const char totals[] =
    "INSERT INTO totals (hour_ms, application_id, key_id, model, calls, failed, prompt_tokens,"
    " cached_tokens, reasoning_tokens, completion_tokens, cost_micros, charged_micros)"
    " SELECT ended_ms - ended_ms % 3600000, application_id, key_id, model, COUNT(*),"
    " SUM(CASE WHEN status >= 400 THEN 1 ELSE 0 END), SUM(prompt_tokens), SUM(cached_tokens),"
    " SUM(reasoning_tokens), SUM(completion_tokens), SUM(cost_micros), SUM(charged_micros)"
    " FROM calls_# GROUP BY ended_ms - ended_ms % 3600000, application_id, key_id, model";

/* With the day's number for #. */
static char *of_day(const char *sql, int64_t day)
{
    struct buf b;
    buf_init(&b, SQL_BYTES);
    for (; *sql; sql++) {
        if (*sql == '#')
            buf_addi(&b, day);
        else
            buf_addc(&b, *sql);
    }
    char *text = buf_take(&b, NULL);
    buf_done(&b);
    if (!text)
        die("the text of a statement is too long");
    return text;
}

static void add_day(struct fill *f, long number)
{
    struct error e;
    int64_t start_ms = f->first_ms + number * DAY_MS, day = ledger_day(start_ms);
    const int64_t args[] = {f->calls * number / f->days, f->calls * (number + 1) / f->days - 1,
                            f->accounts, start_ms};
    char *rows = of_day(calls, day), *sums = of_day(totals, day);
    must(ledger_day_open(f->store, day, &e), &e);
    must(db_begin(f->db, DB_WRITE, &e), &e);
    run(f, rows, 4, args);
    run(f, sums, 0, NULL);
    must(db_commit(f->db, &e), &e);
    free(rows);
    free(sums);
}

/* What was spent goes off the balances. */
static void charge(struct fill *f)
{
    struct error e;
    must(db_begin(f->db, DB_WRITE, &e), &e);
    run(f,
        "UPDATE applications SET charged_micros = (SELECT COALESCE(SUM(t.charged_micros), 0)"
        " FROM totals t WHERE t.application_id = applications.id)",
        0, NULL);
    run(f, "UPDATE applications SET balance_micros = granted_micros - charged_micros", 0, NULL);
    run(f,
        "UPDATE keys SET used_micros = (SELECT p.charged_micros FROM applications p"
        " WHERE p.id = keys.application_id)",
        0, NULL);
    must(db_commit(f->db, &e), &e);
    if (db_kind(f->db) == DB_POSTGRES) /* what its autovacuum does by itself, later */
        must(db_script(f->db, "ANALYZE", &e), &e);
}

/* --- all --- */

static void read_arguments(struct fill *f, int argc, char **argv)
{
    const struct {
        const char *name;
        long *at, least, most;
    } names[] = {{"accounts", &f->accounts, 2, 10000000},
                 {"calls", &f->calls, 1, 100000000},
                 {"days", &f->days, 1, 366},
                 {"count", &f->count, 0, 10000000}};
    if (argc < 2)
        die("usage: bench_fill URL name=value...");
    f->url = argv[1];
    for (int i = 2; i < argc; i++) {
        size_t n = strcspn(argv[i], "="), found = 0;
        if (!argv[i][n])
            die("%s: not name=value", argv[i]);
        argv[i][n] = '\0';
        if (!strcmp(argv[i], "keys"))
            f->keys = argv[i] + n + 1;
        while (found < sizeof names / sizeof *names && strcmp(argv[i], names[found].name) != 0)
            found++;
        if (found < sizeof names / sizeof *names)
            *names[found].at =
                number(argv[i] + n + 1, argv[i], names[found].least, names[found].most);
        else if (strcmp(argv[i], "keys") != 0)
            die("no such argument: %s", argv[i]);
    }
    if (!f->accounts || !f->calls || !f->days || !f->keys)
        die("accounts, calls, days and keys must be given");
}

int main(int argc, char **argv)
{
    const struct store_options o = {.create = true, .migrate = true};
    struct fill f = {.now_ms = clock_unix_ms()};
    struct error e;
    read_arguments(&f, argc, argv);
    f.first_ms = f.now_ms - f.now_ms % DAY_MS - f.days * DAY_MS;
    must(store_open_url(f.url, &o, &f.store, &e), &e);
    must(db_open(f.url, false, &f.db, &e), &e);
    db_set_durable(f.db, false);
    db_set_wait(f.db, WAIT_MS);
    add_accounts(&f);
    add_keys(&f);
    for (long i = 0; i < f.days; i++)
        add_day(&f, i);
    charge(&f);
    add_tokens(&f);
    printf("{\"fill_us\":%lld,\"many\":\"%s\",\"few\":\"%s\"}\n",
           (long long)(clock_unix_ms() - f.now_ms) * 1000, f.tokens[0], f.tokens[1]);
    db_close(f.db);
    store_close(f.store);
    return 0;
}
