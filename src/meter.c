/*
 * How many tokens a call used. The engine knows; an upstream is asked for its usage, and where it
 * gives none the tokens are counted here with the model's tokenizer, or estimated from bytes if
 * there is no tokenizer. `usage.source` says which.
 *
 * Where a tokenizer and the upstream's word both exist the two are compared, after the answer is
 * gone: a difference is a metric and costs the client nothing. Counting happens on a thread of
 * its own; the text of the reply is kept for it, up to a ceiling past which bytes count.
 */
#include "call.h"
#include "engine/count.h"

#include <stdlib.h>

enum { TEXT_MAX_BYTES = 4 << 20, MESSAGE_BYTES = 16 };

/* What templates put around a message is about four tokens, or 16 bytes. */
static int64_t prompt_bytes(const struct api_request *r)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < r->n_messages; i++)
        bytes +=
            (int64_t)(r->messages[i].content.len + r->messages[i].reasoning.len) + MESSAGE_BYTES;
    return bytes;
}

void meter_open(struct call *c)
{
    struct call_meter *m = &c->meter;
    m->tokenizer = -1;
    m->prompt = m->reply = -1;
    m->prompt_bytes = prompt_bytes(&c->request);
    buf_init(&m->text, TEXT_MAX_BYTES);
}

bool meter_prompt(struct call *c, int tokenizer)
{
    if (tokenizer < 0 || counting_prompt(c->app->counting, c->number, tokenizer, &c->request))
        return false;
    c->meter.waiting++;
    return true;
}

int64_t meter_prompt_tokens(const struct call *c)
{
    return c->meter.prompt >= 0 ? c->meter.prompt : token_estimate((size_t)c->meter.prompt_bytes);
}

void meter_start(struct call *c)
{
    size_t model = (size_t)(c->model - c->snapshot->config->models);
    struct call_meter *m = &c->meter;
    m->tokenizer = c->snapshot->tokenizers[model];
    if (m->prompt < 0)
        meter_prompt(c, m->tokenizer);
    else if (m->tokenizer < 0)
        m->prompt =
            -1; /* counted by a tokenizer that is not this model's: good for the hold alone */
}

void meter_chunk(struct call *c, const struct relayed *r)
{
    c->meter.reply_bytes += r->content_bytes;
    if (c->meter.tokenizer >= 0)
        relay_text(&c->meter.text, r);
}

static bool count_reply(struct call *c)
{
    struct call_meter *m = &c->meter;
    if (m->tokenizer < 0 || m->text.failed || m->reply >= 0)
        return false;
    if (counting_reply(c->app->counting, c->number, m->tokenizer, m->text.data ? m->text.data : "",
                       m->text.len))
        return false;
    m->waiting++;
    buf_done(&m->text);
    m->tokenizer = -1; /* once */
    return true;
}

static void set_usage(struct call *c)
{
    const struct call_meter *m = &c->meter;
    bool counted = m->prompt >= 0 && m->reply >= 0;
    const struct api_usage *said = &m->said;
    c->usage = (struct api_usage){
        .prompt_tokens = m->prompt >= 0 ? m->prompt : token_estimate((size_t)m->prompt_bytes),
        .completion_tokens = m->reply >= 0 ? m->reply : token_estimate((size_t)m->reply_bytes),
        .source = counted ? API_USAGE_COUNTED : API_USAGE_ESTIMATED};
    if (said->source == API_USAGE_NONE)
        return;
    c->usage.prompt_tokens = said->prompt_tokens;
    c->usage.cached_tokens = said->cached_tokens;
    if (c->usage.completion_tokens < said->completion_tokens)
        c->usage.completion_tokens = said->completion_tokens;
}

bool meter_settle(struct call *c)
{
    struct call_meter *m = &c->meter;
    if (c->usage.source == API_USAGE_ENGINE || c->first_text_us < 0)
        return false; /* known, or nothing was given */
    count_reply(c);
    if (c->usage.source == API_USAGE_NONE && m->waiting)
        return true;
    if (c->usage.source == API_USAGE_NONE)
        set_usage(c);
    return false;
}

/* What was said on the way may be of the first event, and the reply went on after it. */
void meter_cut(struct call *c)
{
    if (c->usage.source == API_USAGE_UPSTREAM) {
        c->meter.said = c->usage;
        c->usage.source = API_USAGE_NONE;
    }
    meter_settle(c);
}

/* More than 5 % apart, small numbers aside: an upstream's template may differ by a few tokens. */
static bool is_apart(int64_t theirs, int64_t ours)
{
    int64_t d = theirs > ours ? theirs - ours : ours - theirs;
    return d > 5 && d * 20 > ours;
}

static void compare(struct call *c)
{
    const struct call_meter *m = &c->meter;
    if (c->usage.source != API_USAGE_UPSTREAM || m->prompt < 0 || m->reply < 0)
        return;
    metrics_usage_compared(c->app->metrics, c->place.backend, c->model->api.id,
                           is_apart(c->usage.prompt_tokens, m->prompt) ||
                               is_apart(c->usage.completion_tokens, m->reply));
}

void meter_count(struct call *c, enum counting_what what, int64_t tokens)
{
    struct call_meter *m = &c->meter;
    m->waiting--;
    if (what == COUNTING_PROMPT)
        m->prompt = tokens;
    else
        m->reply = tokens;
    if (m->waiting || what == COUNTING_PROMPT)
        return;
    compare(c);
    if (c->usage.source == API_USAGE_NONE)
        set_usage(c);
}
