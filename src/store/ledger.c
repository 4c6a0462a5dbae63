/*
 * Groups of operations on the books: one transaction, about five round trips, however many
 * operations there are.
 *
 * The rows are locked and read (ledger_read.c), all operations are answered on copies of them
 * (ledger_apply.c, ledger_rules.c), and what changed is written back under the condition that
 * nothing else changed it (ledger_write.c). A condition that does not hold, or a lock that cannot
 * be had, makes the whole group run again. A group that fails for another reason while the
 * connection is good has an operation that cannot be done: then each runs by itself, and only
 * those that fail again are told so.
 *
 * A settlement's commit is on the disk when this returns. Holds alone need not be: if the power
 * goes, their calls are gone, too.
 */
#include "store/ledger_private.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { TRIES = 4 };
#define ENDED_MAX_MS INT64_C(253402300800000) /* the year 10000 */

/* Checking */

/* What is no UTF-8 becomes a question mark; a character that was cut at the end goes. */
static void clean_text(char *text, size_t room)
{
    size_t len = strnlen(text, room - 1);
    text[len] = '\0';
    for (size_t i = 0; i < len;) {
        int n = utf8_char(text + i, len - i);
        if (n < 0 && i + (size_t)-n == len) {
            text[i] = '\0';
            return;
        }
        if (n < 0)
            memset(text + i, '?', (size_t)-n);
        i += (size_t)(n < 0 ? -n : n);
    }
}

static void clean_row(struct ledger_row *r)
{
    clean_text(r->route, sizeof r->route);
    clean_text(r->model, sizeof r->model);
    clean_text(r->answered, sizeof r->answered);
    clean_text(r->backend, sizeof r->backend);
    clean_text(r->finish, sizeof r->finish);
    clean_text(r->source, sizeof r->source);
    rules_price_row(r);
}

static bool is_trace(const char *id)
{
    size_t len = strnlen(id, STORE_TRACE_BYTES);
    return len > 0 && len < STORE_TRACE_BYTES && utf8_printable(id, len) == len;
}

/* 0 if the operation may go into a group. */
static int check(struct ledger_op *op)
{
    struct ledger_row *r = &op->settle.row;
    op->code = is_trace(op_trace(op)) ? 0 : ERR_INVALID;
    if (op->kind != LEDGER_HOLD && (r->ended_ms < 0 || r->ended_ms >= ENDED_MAX_MS))
        op->code = ERR_INVALID;
    if (op->kind != LEDGER_HOLD && op->code == 0)
        clean_row(r);
    return op->code;
}

/* One transaction */

static int open_days(struct store *s, struct ledger_op **ops, size_t n, struct error *e)
{
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (ops[i]->kind != LEDGER_HOLD)
            rc = ledger_day_open(s, ledger_day(ops[i]->settle.row.ended_ms), e);
    }
    return rc;
}

static enum db_mode mode_of(struct ledger_op **ops, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (ops[i]->kind != LEDGER_HOLD)
            return DB_WRITE;
    }
    return DB_LOOSE;
}

static int run_once(struct store *s, struct ledger_op **ops, size_t n, struct error *e)
{
    struct group g = {.store = s, .ops = ops, .n = n};
    int rc = open_days(s, ops, n, e);
    if (rc == 0)
        rc = db_begin(s->db, mode_of(ops, n), e);
    if (rc)
        return rc;
    g.arena = arena_new();
    rc = group_read(&g, e);
    if (rc == 0) {
        group_apply(&g);
        rc = group_write(&g, e);
    }
    if (rc == 0)
        rc = db_commit(s->db, e);
    else
        db_rollback(s->db);
    batch_done(&g.batch);
    arena_free(g.arena);
    if (rc)
        ledger_days_forget(s);
    return rc;
}

/* Tries again what another may have been in the way of: a lock, a row that changed, a row of the
 * same trace id, a day's table that was dropped. */
static int run(struct store *s, struct ledger_op **ops, size_t n, struct error *e)
{
    int rc, tries = 0;
    do
        rc = run_once(s, ops, n, e);
    while (rc && store_is_good(s) && ++tries < (rc == ERR_BUSY ? TRIES : 2));
    return rc;
}

/* The connection works and an operation does not, so it seems. */
static bool may_be_its_fault(const struct store *s, int rc)
{
    return rc && rc != ERR_BUSY && store_is_good(s);
}

/* ERR_IO of all of them lies in the store: a full disk leaves a connection to it good. */
static int run_each(struct store *s, struct ledger_op **ops, size_t n, struct error *e)
{
    size_t unwritten = 0;
    for (size_t i = 0; i < n; i++) {
        int rc = run(s, &ops[i], 1, e);
        if (rc && !may_be_its_fault(s, rc))
            return rc;
        if (rc)
            ops[i]->code = rc;
        unwritten += rc == ERR_IO;
    }
    return unwritten == n ? ERR_IO : 0;
}

int ledger_group(struct store *s, struct ledger_op **ops, size_t n, struct error *e)
{
    struct ledger_op **good = mem_array(n, sizeof(struct ledger_op *));
    size_t n_good = 0;
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        if (check(ops[i]) == 0)
            good[n_good++] = ops[i];
    }
    if (n_good > 0)
        rc = run(s, good, n_good, e);
    if (may_be_its_fault(s, rc))
        rc = run_each(s, good, n_good, e);
    free(good);
    return rc;
}
