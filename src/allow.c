/*
 * Whether a call may run: the limits of its key, account, model and network, and a hold on the
 * balance of its application for what it can cost at most.
 *
 * The limits are looked at twice: before the body is read, so that a flood costs little, and with
 * the prompt's tokens once they are known, when they are charged. The hold is made last: whatever
 * is refused before it has cost nothing. It is sized from the prompt and max_tokens; where the
 * balance has less, the hold and max_tokens shrink to it. A model without a price needs neither
 * the count nor the hold.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "call.h"
#include "gate/limits_head.h"

#include <stdlib.h>
#include <string.h>

/* What a reply without max_tokens is expected to take of the tokens a minute; it is corrected when
 * it is known. */
enum { RESERVED_TOKENS = 1024, MILLION = 1000000 };

/* --- limits --- */

static struct limits_rates rates_of(const struct store_rates *own, const struct limits_rates *usual)
{
    struct limits_rates r = *usual;
    if (own->requests_per_minute)
        r.per_minute[LIMITS_REQUESTS] = own->requests_per_minute;
    if (own->tokens_per_minute)
        r.per_minute[LIMITS_TOKENS] = own->tokens_per_minute;
    if (own->concurrent)
        r.concurrent = own->concurrent;
    return r;
}

static void set_subjects(const struct call *c, struct limits_ask *ask)
{
    const struct config *config = c->snapshot->config;
    const struct store_key *key = &c->key;
    ask->of[LIMITS_KEY] = (struct limits_subject){
        .id = (uint64_t)key->id, .rates = rates_of(&key->rates, &config->rates.key)};
    /* Keys of the command line all belong to the operator's own account. */
    ask->of[LIMITS_ACCOUNT] =
        (struct limits_subject){.id = (uint64_t)key->account_id,
                                .rates = rates_of(&key->account_rates, &config->rates.account)};
    ask->of[LIMITS_NETWORK] =
        (struct limits_subject){.id = limits_network(c->peer), .rates = config->rates.network};
    if (c->model)
        ask->of[LIMITS_MODEL] = (struct limits_subject){.id = limits_model(c->model->api.id),
                                                        .rates = config->rates.model};
}

static bool refuse_limit(struct call *c, const struct limits_said *said)
{
    struct fault f;
    char text[200];
    limits_refusal(said, text, sizeof text);
    bool never = said->retry_after_ms < 0;
    fault_set(&f, never ? FAULT_BAD_REQUEST : FAULT_RATE_LIMIT, NULL, "%s", text);
    f.retry_after_s = (int)limits_retry_after_s(said);
    call_refuse(c, &f);
    return false;
}

static void keep_said(struct call *c, const struct limits_said *said)
{
    c->books.said = *said;
    c->books.has_said = true;
}

bool allow_look(struct call *c)
{
    struct limits_ask ask = {0};
    struct limits_said said;
    set_subjects(c, &ask);
    if (rates_look(c->app->rates, &ask, &said))
        return true;
    keep_said(c, &said);
    return refuse_limit(c, &said);
}

static int64_t choices_of(const struct call *c)
{
    return c->request.choices > 0 ? c->request.choices : 1;
}

static int64_t context_left(const struct call *c, int64_t prompt)
{
    int64_t context = c->model->api.context_tokens;
    return context > prompt ? context - prompt : 1;
}

/* The most that one choice of the reply may have. */
static int64_t reply_tokens(const struct call *c, int64_t prompt)
{
    int64_t left = context_left(c, prompt), most = c->request.max_tokens;
    return most > 0 && most < left ? most : left;
}

static int64_t reserved_tokens(const struct call *c, int64_t prompt)
{
    int64_t one = reply_tokens(c, prompt);
    if (c->request.max_tokens == 0 && one > RESERVED_TOKENS)
        one = RESERVED_TOKENS;
    return prompt + one * choices_of(c);
}

static bool judge_limit(struct call *c, const struct limits_said *said)
{
    keep_said(c, said);
    c->books.limited = said->admitted;
    return said->admitted || refuse_limit(c, said);
}

bool allow_limit(struct call *c)
{
    struct limits_ask ask = {0};
    struct limits_said said;
    int64_t prompt = meter_prompt_tokens(c);
    set_subjects(c, &ask);
    ask.prompt_tokens = prompt;
    ask.tokens = reserved_tokens(c, prompt);
    int rc = rates_admit(c->app->rates, c->number, &ask, &c->books.limits, &said);
    if (rc == RATES_ANSWERED)
        return judge_limit(c, &said);
    if (rc == RATES_LATER)
        c->books.waiting++;
    else
        call_refuse_away(c, "Limits cannot be checked at the moment, please try again later.");
    return false;
}

void call_on_said(void *arg, uint64_t number, const struct limits_said *said)
{
    struct call *c = call_find(arg, number);
    if (!c)
        return;
    c->books.waiting--;
    if (c->step == CALL_LIMIT && !said)
        call_refuse_away(c, "Limits cannot be checked at the moment, please try again later.");
    else if (c->step == CALL_LIMIT && judge_limit(c, said)) {
        c->step = CALL_HOLD;
        call_go_on(c);
    } else if (said && said->admitted)
        c->books.limited = true;
    call_release(c);
}

void allow_done(struct call *c)
{
    int64_t used = c->usage.prompt_tokens + c->usage.completion_tokens;
    if (c->books.limited)
        rates_settle(c->app->rates, &c->books.limits, used);
    c->books.limited = false;
}

/* --- the prompt --- */

static bool has_price(const struct config_model *m)
{
    return m->price.input || m->price.cached || m->price.output;
}

static bool limits_tokens(const struct call *c)
{
    struct limits_ask ask = {0};
    set_subjects(c, &ask);
    for (int i = 0; i < LIMITS_SCOPES; i++)
        if (ask.of[i].rates.per_minute[LIMITS_TOKENS])
            return true;
    return false;
}

bool allow_count(struct call *c)
{
    size_t model = (size_t)(c->model - c->snapshot->config->models);
    if (!has_price(c->model) && !limits_tokens(c))
        return true;
    return !meter_prompt(c, c->snapshot->prompt_tokenizers[model]);
}

/* --- the hold --- */

static bool refuse_used_up(struct call *c, enum ledger_verdict verdict)
{
    struct fault f;
    if (verdict == LEDGER_GONE)
        fault_set(&f, FAULT_DISABLED, NULL, "The specified token is disabled.");
    else
        fault_set(&f, FAULT_USED_UP, NULL,
                  verdict == LEDGER_CAP
                      ? "This key has reached its own cap; its owner can raise it."
                      : "Your balance is not sufficient for current request.");
    call_refuse(c, &f);
    return false;
}

/* A hold that is smaller than was wanted leaves so many tokens to each choice. */
static void shrink(struct call *c, const struct ledger_hold *hold)
{
    const struct ledger_price *p = &c->model->price;
    int64_t prompt = meter_prompt_tokens(c), n = choices_of(c);
    if (p->output == 0)
        return;
    if (hold->held_micros < hold->want_micros) {
        int64_t rest = hold->held_micros - ledger_cost_micros(p, prompt, 0, 0);
        int64_t each = rest > 0 ? rest * MILLION / p->output / n : 1;
        c->request.max_tokens = each > 1 ? each : 1;
    }
    c->books.most_tokens = reply_tokens(c, prompt) * n;
}

static void on_held(void *owner, struct store_job *job)
{
    const struct ledger_hold *hold = &((const struct store_ledger_job *)job)->op.hold;
    struct call *c = call_find(owner, job->number);
    if (c) {
        c->books.waiting--;
        c->books.held = job->code == 0 && hold->verdict == LEDGER_OK;
        if (c->step != CALL_HOLD) {
            /* It was given up meanwhile: what is held goes back with its row. */
        } else if (job->code) {
            call_refuse_away(c,
                             "Balances cannot be checked at the moment, please try again later.");
        } else if (hold->verdict != LEDGER_OK) {
            refuse_used_up(c, hold->verdict);
        } else {
            shrink(c, hold);
            c->step = CALL_RUN;
            call_go_on(c);
        }
        call_release(c);
    }
    free(job);
}

static int64_t deadline_of(const struct call *c, int64_t now_ms)
{
    enum { A_DAY_MS = 86400000 };
    const struct config *config = c->snapshot->config;
    int64_t longest = config->call_timeout_ms ? config->call_timeout_ms : A_DAY_MS;
    return now_ms + longest + config->routing.queue_ms + config->quota.hold_margin_ms;
}

bool allow_hold(struct call *c)
{
    const struct ledger_price *p = &c->model->price;
    int64_t prompt = meter_prompt_tokens(c), n = choices_of(c), now_ms = clock_unix_ms();
    if (!store_is_up(c->app->store)) {
        call_refuse_away(c, "The store cannot be asked at the moment, please try again later.");
        return false;
    }
    if (!has_price(c->model))
        return true;
    struct store_ledger_job *j = mem_zalloc(sizeof *j);
    struct ledger_hold *hold = &j->op.hold;
    j->job = (struct store_job){.done = on_held, .owner = c->app, .number = c->number};
    j->op.kind = LEDGER_HOLD;
    memcpy(hold->trace_id, c->trace_id, sizeof hold->trace_id);
    hold->application_id = c->key.application_id;
    hold->key_id = c->key.id;
    hold->least_micros = ledger_cost_micros(p, prompt, 0, n);
    hold->want_micros = ledger_cost_micros(p, prompt, 0, reply_tokens(c, prompt) * n);
    hold->now_ms = now_ms;
    hold->deadline_ms = deadline_of(c, now_ms);
    if (store_ask_ledger(c->app->store, j)) {
        free(j);
        call_refuse_away(c, "Too many calls wait for the store, please try again later.");
        return false;
    }
    c->books.waiting++;
    c->books.held = true; /* until the answer says otherwise */
    return false;
}
