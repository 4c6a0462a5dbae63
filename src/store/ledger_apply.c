/*
 * A group of operations, answered one after the other on the copies of the rows: what one does,
 * the next one sees. An operation that cannot be done leaves the copies as they are, so it hurts
 * no other.
 */
#include "store/ledger_private.h"

#include "base/mem.h"

#include <string.h>

enum { STATUS_FAILED = 400, STATUS_VOID = 503 };

static int64_t largest(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Totals */

static struct group_total *total_of(struct group *g, const struct group_call *c, const char *model)
{
    int64_t hour_ms = rules_hour(c->ended_ms);
    for (size_t i = 0; i < g->n_totals; i++) {
        struct group_total *t = &g->totals[i];
        if (t->hour_ms == hour_ms && t->application_id == c->application_id &&
            t->key_id == c->key_id && strcmp(t->model, model) == 0)
            return t;
    }
    struct group_total *t = &g->totals[g->n_totals++];
    *t = (struct group_total){.hour_ms = hour_ms,
                              .application_id = c->application_id,
                              .key_id = c->key_id,
                              .model = model};
    return t;
}

static void count_call(struct group *g, const struct ledger_row *r, const struct group_call *c)
{
    struct group_total *t = total_of(g, c, r->model);
    t->calls++;
    t->failed += r->status >= STATUS_FAILED;
    t->prompt += r->prompt_tokens;
    t->cached += r->cached_tokens;
    t->reasoning += r->reasoning_tokens;
    t->completion += r->completion_tokens;
    t->cost += r->cost_micros;
    t->charged += r->charged_micros;
}

static void count_void(struct group *g, const struct group_call *c)
{
    struct group_total *t = total_of(g, c, c->model);
    t->failed += c->status < STATUS_FAILED;
    t->cost -= c->cost_micros;
    t->charged -= c->charged_micros;
}

/* Operations */

static void touch(struct group_application *a, int64_t ms)
{
    a->touched_ms = largest(a->touched_ms, ms);
}

static void apply_hold(struct group *g, struct ledger_op *op)
{
    struct ledger_hold *h = &op->hold;
    struct group_application *a = group_application(g, h->application_id);
    struct group_key *k = group_key(g, h->key_id);
    struct group_trace *t = group_trace(g, h->trace_id);
    h->held_micros = 0;
    h->verdict = LEDGER_OK;
    if (t->written ||
        (t->held && (t->hold_application != h->application_id || t->hold_key != h->key_id))) {
        op->code = ERR_EXISTS;
        return;
    }
    if (t->held) {
        h->held_micros = t->hold_micros;
    } else {
        h->verdict = rules_hold(&a->now, &k->now, h->least_micros, h->want_micros, &h->held_micros);
        if (h->verdict == LEDGER_OK) {
            t->held = true;
            t->hold_application = h->application_id;
            t->hold_key = h->key_id;
            t->hold_micros = h->held_micros;
            t->created_ms = h->now_ms;
            t->deadline_ms = h->deadline_ms;
            touch(a, h->now_ms);
        }
    }
    h->balance_micros = a->now.balance_micros;
}

/* Is the hold, or the row that is there, of another application or key than the operation says? */
static bool is_foreign(const struct group_trace *t, const struct ledger_row *r)
{
    return (t->held && (t->hold_application != r->application_id || t->hold_key != r->key_id)) ||
           (t->written && (t->call.application_id != r->application_id ||
                           t->call.key_id != r->key_id || ledger_day(r->ended_ms) != t->day));
}

static void drop_hold(struct group_trace *t)
{
    t->dropped |= t->held;
    t->held = false;
    t->hold_micros = 0;
}

static void release(struct group *g, struct group_trace *t, const struct ledger_row *r)
{
    struct group_application *a = group_application(g, r->application_id);
    struct group_key *k = group_key(g, r->key_id);
    if (!t->held)
        return;
    rules_release(&a->now, rules_belongs(&a->now, &k->now) ? &k->now : NULL, t->hold_micros);
    drop_hold(t);
    touch(a, r->ended_ms);
}

/* Ends the hold, if there is one, and charges; nothing is charged if the key is gone. */
static void charge(struct group *g, struct group_trace *t, struct ledger_row *r)
{
    struct group_application *a = group_application(g, r->application_id);
    struct group_key *k = group_key(g, r->key_id);
    int64_t hold = t->held ? t->hold_micros : 0, of_grants = 0;
    r->charged_micros = 0;
    if (rules_belongs(&a->now, &k->now))
        r->charged_micros = rules_charge(&a->now, &k->now, hold, r->cost_micros);
    else if (a->now.there)
        rules_release(&a->now, NULL, hold);
    drop_hold(t);
    if (a->expiring)
        of_grants = rules_use_grants(g->grants, g->n_grants, r->application_id, r->charged_micros);
    r->balance_micros = a->now.balance_micros;
    t->call.grant_micros = of_grants;
    touch(a, r->ended_ms);
}

static void apply_settle(struct group *g, struct ledger_op *op)
{
    struct ledger_row *r = &op->settle.row;
    struct group_trace *t = group_trace(g, r->trace_id);
    struct group_call *c = &t->call;
    if (is_foreign(t, r) || ledger_day(r->ended_ms) != t->day) {
        op->code = ERR_EXISTS;
        return;
    }
    if (t->written) { /* again: the answer of the first time */
        release(g, t, r);
        r->charged_micros = c->charged_micros;
        r->balance_micros = c->balance_micros;
        return;
    }
    charge(g, t, r);
    c->application_id = r->application_id;
    c->key_id = r->key_id;
    c->ended_ms = r->ended_ms;
    c->status = r->status;
    c->is_void = false;
    c->cost_micros = r->cost_micros;
    c->charged_micros = r->charged_micros;
    c->balance_micros = r->balance_micros;
    memcpy(c->model, r->model, sizeof c->model);
    t->written = true;
    t->row = r;
    count_call(g, r, c);
}

static void refund(struct group *g, struct group_trace *t, struct ledger_row *r)
{
    struct group_application *a = group_application(g, r->application_id);
    struct group_key *k = group_key(g, r->key_id);
    struct group_call *c = &t->call;
    if (a->now.there)
        rules_refund(&a->now, rules_belongs(&a->now, &k->now) ? &k->now : NULL, c->charged_micros);
    if (a->expiring)
        rules_unuse_grants(g->grants, g->n_grants, r->application_id, c->grant_micros);
    count_void(g, c);
    c->status = STATUS_VOID;
    c->is_void = true;
    c->cost_micros = c->charged_micros = c->grant_micros = 0;
    c->balance_micros = a->now.balance_micros;
    t->voided_now = true;
    touch(a, r->ended_ms);
}

static void apply_void(struct group *g, struct ledger_op *op)
{
    struct ledger_row *r = &op->settle.row;
    struct group_trace *t = group_trace(g, r->trace_id);
    if (is_foreign(t, r)) {
        op->code = ERR_EXISTS;
        return;
    }
    if (t->written && !t->call.is_void)
        refund(g, t, r);
    release(g, t, r);
    r->charged_micros = 0;
    r->balance_micros = group_application(g, r->application_id)->now.balance_micros;
}

void group_apply(struct group *g)
{
    g->totals = arena_alloc(g->arena, g->n * sizeof *g->totals);
    for (size_t i = 0; i < g->n; i++) {
        struct ledger_op *op = g->ops[i];
        op->code = 0;
        if (op->kind == LEDGER_HOLD)
            apply_hold(g, op);
        else if (op->kind == LEDGER_SETTLE)
            apply_settle(g, op);
        else
            apply_void(g, op);
    }
}
