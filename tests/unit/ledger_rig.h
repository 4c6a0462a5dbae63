/*
 * Books for tests: accounts with an application, a key and a grant, made by SQL; operations in
 * one line; and the proof, which must hold after every test.
 */
#ifndef MOONGATE_TESTS_LEDGER_RIG_H
#define MOONGATE_TESTS_LEDGER_RIG_H

#include "db_rig.h"

#include "base/clock.h"
#include "store/store_private.h"
#include "store/usage.h"

#include <pthread.h>

#define RIG_NOON_MS INT64_C(1795867200000) /* 2026-11-28T12:00:00Z */
enum { RIG_DAY = 20261128, RIG_HOUR_MS = 3600000, RIG_MINUTE_MS = 60000 };

struct rig_user {
    int64_t account, application, key;
};

static inline void rig_good(int rc, const struct error *e)
{
    if (rc)
        fail_msg("%s", e->text);
}

static inline void rig_sql(struct store *s, const char *sql)
{
    struct error e = {.text = ""};
    rig_good(db_script(s->db, sql, &e), &e);
}

static inline void __attribute__((format(printf, 2, 3)))
rig_sqlf(struct store *s, const char *fmt, ...)
{
    char sql[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(sql, sizeof sql, fmt, ap);
    va_end(ap);
    rig_sql(s, sql);
}

/* The one number that a query answers. */
static inline int64_t __attribute__((format(printf, 2, 3)))
rig_ask(struct store *s, const char *fmt, ...)
{
    char sql[1024];
    struct db_query q;
    struct error e = {.text = ""};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(sql, sizeof sql, fmt, ap);
    va_end(ap);
    db_sql(&q, sql);
    rig_good(db_run_one(s->db, &q, &e), &e);
    assert_int_equal(q.rows.n, 1);
    int64_t n = db_int(&q.rows, 0, 0);
    db_done(&q, 1);
    return n;
}

static inline int64_t rig_add_key(struct store *s, int64_t application, int64_t cap)
{
    char hash[65];
    random_hex(hash, 64);
    return rig_ask(s,
                   "INSERT INTO keys (application_id, hash, name, prefix, cap_micros, created_ms)"
                   " VALUES (%lld, '%s', 'key of %lld', 'mg-test', %lld, 0) RETURNING id",
                   (long long)application, hash, (long long)application, (long long)cap);
}

/* ends_ms 0: never */
static inline int64_t rig_grant(struct store *s, int64_t application, int64_t micros,
                                int64_t ends_ms)
{
    rig_sqlf(s,
             "UPDATE applications SET balance_micros = balance_micros + %lld, granted_micros ="
             " granted_micros + %lld, expiring = expiring + %d WHERE id = %lld",
             (long long)micros, (long long)micros, ends_ms > 0, (long long)application);
    return rig_ask(s,
                   "INSERT INTO grants (application_id, amount_micros, kind, created_ms,"
                   " expires_ms) VALUES (%lld, %lld, 'admin', 0, %lld) RETURNING id",
                   (long long)application, (long long)micros, (long long)ends_ms);
}

static inline struct rig_user rig_add_user(struct store *s, int64_t balance)
{
    struct rig_user u;
    char name[17];
    random_hex(name, 16);
    u.account = rig_ask(s,
                        "INSERT INTO accounts (email, person, created_ms)"
                        " VALUES ('%s@example.com', '%s', 0) RETURNING id",
                        name, name);
    u.application = rig_ask(s,
                            "INSERT INTO applications (account_id, service, created_ms,"
                            " updated_ms) VALUES (%lld, 'kimi', 0, 0) RETURNING id",
                            (long long)u.account);
    u.key = rig_add_key(s, u.application, -1);
    if (balance)
        rig_grant(s, u.application, balance, 0);
    return u;
}

static inline int64_t rig_balance(struct store *s, const struct rig_user *u)
{
    return rig_ask(s, "SELECT balance_micros FROM applications WHERE id = %lld",
                   (long long)u->application);
}

/* Operations */

static inline struct ledger_op rig_hold(const struct rig_user *u, const char *trace, int64_t least,
                                        int64_t want)
{
    struct ledger_op op = {.kind = LEDGER_HOLD};
    op.hold = (struct ledger_hold){.application_id = u->application,
                                   .key_id = u->key,
                                   .least_micros = least,
                                   .want_micros = want,
                                   .now_ms = RIG_NOON_MS,
                                   .deadline_ms = clock_unix_ms() + RIG_HOUR_MS};
    snprintf(op.hold.trace_id, sizeof op.hold.trace_id, "%s", trace);
    return op;
}

/* A call of so many tokens of reply, at a micro-USD each. */
static inline struct ledger_op rig_settle(const struct rig_user *u, const char *trace,
                                          int64_t tokens)
{
    struct ledger_op op = {.kind = LEDGER_SETTLE};
    op.settle.held = true;
    op.settle.row = (struct ledger_row){.account_id = u->account,
                                        .application_id = u->application,
                                        .key_id = u->key,
                                        .ended_ms = RIG_NOON_MS,
                                        .route = "chat",
                                        .model = "kimi-k2.5",
                                        .answered = "kimi-k2.5@abc",
                                        .backend = "local",
                                        .status = 200,
                                        .finish = "stop",
                                        .completion_tokens = tokens,
                                        .source = "engine",
                                        .price = {0, 0, 1000000},
                                        .queue_us = 1,
                                        .first_us = 2,
                                        .total_us = 3};
    snprintf(op.settle.row.trace_id, sizeof op.settle.row.trace_id, "%s", trace);
    return op;
}

static inline struct ledger_op rig_void(const struct rig_user *u, const char *trace)
{
    struct ledger_op op = rig_settle(u, trace, 0);
    op.kind = LEDGER_VOID;
    return op;
}

/* All of them in one group, which must work; what each is told stands in it. */
static inline void rig_group(struct store *s, struct ledger_op *ops, size_t n)
{
    struct ledger_op *list[512];
    struct error e = {.text = ""};
    assert_true(n <= 512);
    for (size_t i = 0; i < n; i++)
        list[i] = &ops[i];
    rig_good(ledger_group(s, list, n, &e), &e);
}

static inline void rig_do(struct store *s, struct ledger_op *op)
{
    rig_group(s, op, 1);
    assert_int_equal(op->code, 0);
}

/* The proof */

static inline void rig_tell(void *arg, const char *wrong)
{
    (void)arg;
    fprintf(stderr, "%s\n", wrong);
}

static inline void rig_prove(struct store *s)
{
    struct usage_proof p;
    struct error e = {.text = ""};
    rig_good(usage_verify(s, rig_tell, NULL, NULL, &p, &e), &e);
    assert_int_equal(p.wrong, 0);
    assert_int_equal(p.granted_micros - p.charged_micros - p.held_micros, p.balance_micros);
}

static inline void rig_close(struct store *s)
{
    rig_prove(s);
    store_close(s);
}

#endif
