/*
 * What a call cost, and its row in the books.
 *
 * A complete reply is settled before its last bytes go out ([DONE], or the whole body), so that
 * what a client got whole is on disk; with store.durability relaxed nobody waits. Every other end
 * (a fault, a client that left) leaves its row too, and nobody waits for that one.
 *
 * Billed are the prompt and what was generated, also where the client left half-way. Nothing is
 * for a refusal or a fault before the first byte: such a row has no price.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool settle_is_chat_row(const struct call *c)
{
    return call_is_chat(c) && c->authenticated;
}

static const char *finish_of(const struct call *c)
{
    static const char *const words[] = {[API_FINISH_NONE] = "stop",
                                        [API_FINISH_STOP] = "stop",
                                        [API_FINISH_LENGTH] = "length",
                                        [API_FINISH_TOOL_CALLS] = "tool_calls"};
    if (c->fault)
        return fault_code(c->fault);
    if (c->x == NULL && c->outcome != HTTP_COMPLETE)
        return "client_gone";
    if (c->books.finish == API_FINISH_NONE && c->choices)
        return words[c->choices[0].finish];
    return words[c->books.finish];
}

/* Did the client get something, or was it on its way when it left? */
static bool is_billed(const struct call *c)
{
    if (c->usage.source == API_USAGE_NONE)
        return false;
    return !c->fault || (c->streaming && c->first_text_us >= 0);
}

static void fill_row(const struct call *c, struct ledger_row *row)
{
    memcpy(row->trace_id, c->trace_id, sizeof row->trace_id);
    row->account_id = c->key.account_id;
    row->application_id = c->key.application_id;
    row->key_id = c->key.id;
    row->ended_ms = clock_unix_ms();
    snprintf(row->route, sizeof row->route, "%s", c->route_name);
    snprintf(row->model, sizeof row->model, "%s", c->model ? c->model->api.id : "");
    snprintf(row->answered, sizeof row->answered, "%s", c->place.fingerprint);
    snprintf(row->backend, sizeof row->backend, "%s", c->place.backend);
    row->client_gone = !c->x && c->outcome != HTTP_COMPLETE;
    row->status = c->status ? c->status : row->client_gone ? 499 : 200;
    snprintf(row->finish, sizeof row->finish, "%s", finish_of(c));
    row->prompt_tokens = c->usage.prompt_tokens;
    row->cached_tokens = c->usage.cached_tokens;
    row->reasoning_tokens = c->usage.reasoning_tokens;
    row->completion_tokens = c->usage.completion_tokens;
    snprintf(row->source, sizeof row->source, "%s", record_source(c->usage.source));
    if (c->model && is_billed(c))
        row->price = c->model->price;
    row->cost_micros = ledger_cost_micros(&row->price, row->prompt_tokens, row->cached_tokens,
                                          row->completion_tokens);
    row->queue_us = c->place.queued_us;
    row->first_us = c->first_text_us;
    row->total_us = clock_mono_us() - c->started_us;
}

static struct store_ledger_job *new_job(struct call *c)
{
    struct store_ledger_job *j = mem_zalloc(sizeof *j);
    j->job.owner = c->app;
    j->job.number = c->number;
    j->op.kind = LEDGER_SETTLE;
    j->op.settle.held = c->books.held;
    fill_row(c, &j->op.settle.row);
    c->books.settled = true;
    return j;
}

/* --- a complete reply --- */

/* What became of a settlement, for the log and the counters. */
static void note_settled(struct app *app, const struct store_job *job)
{
    const struct store_ledger_job *j = (const struct store_ledger_job *)job;
    if (job->code == 0)
        metrics_charged(app->metrics, j->op.settle.row.charged_micros);
    else
        log_line(LOG_ERROR_LEVEL, "ledger", "a settlement is late: %s trace_id=%s", job->text,
                 j->op.settle.row.trace_id);
}

static void on_settled(void *owner, struct store_job *job)
{
    const struct store_ledger_job *j = (const struct store_ledger_job *)job;
    struct call *c = call_find(owner, job->number);
    note_settled(owner, job);
    if (c) {
        c->books.waiting--;
        if (job->code == 0)
            c->books.charged_micros = j->op.settle.row.charged_micros;
        if (c->step == CALL_SETTLE)
            call_replied(c, job->code == 0);
        call_release(c);
    }
    free(job);
}

bool settle_reply(struct call *c)
{
    bool waits = c->snapshot->config->store.durable;
    struct store_ledger_job *j = new_job(c);
    j->job.done = on_settled;
    j->void_if_late = waits && !c->request.stream;
    if (!waits)
        j->give_up_ms = INT64_MAX;
    if (store_ask_ledger(c->app->store, j)) {
        free(j);
        c->books.settled = false;
        call_refuse_away(c, "The reply could not be recorded, please try again later.");
        return false;
    }
    c->books.waiting++;
    return !waits;
}

/* --- every other end --- */

static void on_rest(void *owner, struct store_job *job)
{
    note_settled(owner, job);
    free(job);
}

void settle_rest(struct call *c)
{
    if (c->books.settled || !settle_is_chat_row(c))
        return;
    struct store_ledger_job *j = new_job(c);
    if (!j->op.settle.held && j->op.settle.row.cost_micros == 0 && !store_is_up(c->app->store)) {
        free(j); /* refused because the store is away: the log has it, the books need not */
        return;
    }
    j->job.done = on_rest;
    j->give_up_ms = INT64_MAX;
    if (store_ask_ledger(c->app->store, j) == 0)
        return;
    log_line(LOG_ERROR_LEVEL, "ledger", "a row is lost: too much waits for the store trace_id=%s",
             c->trace_id);
    free(j);
}
