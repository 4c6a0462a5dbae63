/*
 * One choice of a call: from logits to the text its client sees. The scheduler's thread.
 *
 * A token is picked, counted, and run through the text flow; what became final leaves as one
 * ENGINE_PIECE. Log-probabilities of tokens whose text is held back (an unfinished character, the
 * possible beginning of a stop string) wait here until the text leaves, and are dropped with it
 * when a stop string takes it away.
 */
#include "base/buf.h"
#include "engine/scheduler.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX_BYTES = 1 << 20 }; /* one token's text with what was held back before it */

struct choice *choice_new(struct work *w, int index, uint64_t serial, const struct tokenizer *t,
                          int vocabulary)
{
    const struct engine_job *job = w->job;
    struct choice *c = mem_zalloc(sizeof *c);
    c->work = w;
    c->index = index;
    c->serial = serial;
    c->tokens = mem_array((size_t)w->n_prompt + (size_t)w->max_tokens + 1, sizeof *c->tokens);
    memcpy(c->tokens, w->prompt, (size_t)w->n_prompt * sizeof *c->tokens);
    c->n_tokens = w->n_prompt;
    c->sampler = sampler_new(&job->sampling, index, vocabulary);
    c->flow = textflow_new(t, w->start, job->stops, job->n_stops);
    buf_init(&c->reasoning, TEXT_MAX_BYTES);
    buf_init(&c->content, TEXT_MAX_BYTES);
    return c;
}

void choice_free(struct choice *c)
{
    if (!c)
        return;
    sampler_free(c->sampler);
    textflow_free(c->flow);
    buf_done(&c->reasoning);
    buf_done(&c->content);
    arena_free(c->held_arena);
    free(c->held);
    free(c->tokens);
    free(c);
}

static void set_logprob(const struct tokenizer *t, struct arena *a, struct engine_logprob *out,
                        int32_t token, float logprob)
{
    size_t len = 0;
    const char *bytes = tokenizer_bytes(t, token, &len);
    out->token = token;
    out->logprob = logprob;
    out->bytes = arena_strndup(a, bytes, len);
    out->n_bytes = len;
}

/* Notes the log-probabilities of a token that was just picked from `raw`. */
static void hold_logprob(struct scheduler *s, struct choice *c, int32_t token, const float *raw)
{
    int32_t ids[20];
    float values[20];
    int n_top = c->work->job->top_logprobs;

    if (!c->held_arena)
        c->held_arena = arena_new();
    if (c->n_held == c->cap_held) {
        c->cap_held = c->cap_held ? 2 * c->cap_held : 8;
        c->held = mem_realloc(c->held, c->cap_held * sizeof *c->held);
    }
    struct engine_logprob *p = &c->held[c->n_held++];
    memset(p, 0, sizeof *p);
    float own = sampler_logprobs(raw, s->vocabulary, token, n_top, ids, values);
    set_logprob(s->tokenizer, c->held_arena, p, token, own);
    p->top = arena_alloc(c->held_arena, ((size_t)n_top + 1) * sizeof *p->top);
    p->n_top = (size_t)n_top;
    for (int i = 0; i < n_top; i++)
        set_logprob(s->tokenizer, c->held_arena, &p->top[i], ids[i], values[i]);
}

static void forget_logprobs(struct choice *c)
{
    arena_free(c->held_arena);
    c->held_arena = NULL;
    c->n_held = 0;
}

static void post_piece(struct scheduler *s, struct choice *c, struct buf *text, bool reasoning,
                       bool with_logprobs)
{
    size_t n = with_logprobs ? c->n_held : 0;
    if (!text->len && !n)
        return;
    struct arena *a = n ? c->held_arena : arena_new();
    struct engine_piece *p = arena_alloc(a, sizeof *p);
    p->reasoning = reasoning;
    p->text = arena_strndup(a, text->data ? text->data : "", text->len);
    p->len = text->len;
    if (n) {
        p->logprobs = arena_alloc(a, n * sizeof *p->logprobs);
        memcpy(p->logprobs, c->held, n * sizeof *p->logprobs);
        p->n_logprobs = n;
        c->held_arena = NULL;
        c->n_held = 0;
    }
    struct engine_event ev = {.number = c->work->job->number,
                              .kind = ENGINE_PIECE,
                              .choice = c->index,
                              .piece_arena = a,
                              .piece = p};
    engine_post(s->events, &ev);
    buf_reset(text);
}

static void give_out(struct scheduler *s, struct choice *c)
{
    post_piece(s, c, &c->reasoning, true, false);
    post_piece(s, c, &c->content, false, !textflow_pending(c->flow));
}

static void finish(struct scheduler *s, struct choice *c, enum engine_finish how, bool stopped)
{
    textflow_finish(c->flow, &c->reasoning, &c->content);
    if (stopped)
        forget_logprobs(c);
    post_piece(s, c, &c->reasoning, true, false);
    post_piece(s, c, &c->content, false, true);
    struct engine_event ev = {
        .number = c->work->job->number, .kind = ENGINE_FINISH, .choice = c->index, .finish = how};
    engine_post(s->events, &ev);
}

bool choice_next(struct scheduler *s, struct choice *c, float *logits)
{
    struct work *w = c->work;
    bool logprobs = w->job->logprobs;

    if (logprobs)
        memcpy(s->raw, logits, (size_t)s->vocabulary * sizeof *logits);
    int32_t token = sampler_pick(c->sampler, logits);
    if (tokenizer_ends_generation(s->tokenizer, token)) {
        finish(s, c, ENGINE_FINISH_STOP, false);
        return true;
    }
    c->tokens[c->n_tokens++] = token;
    c->generated++;
    w->completion_tokens++;
    atomic_fetch_add(&s->generated_tokens, 1);
    bool stopped = textflow_token(c->flow, token, &c->reasoning, &c->content);
    if (textflow_in_reasoning(c->flow))
        w->reasoning_tokens++;
    else if (logprobs && !tokenizer_is_special(s->tokenizer, token))
        hold_logprob(s, c, token, s->raw);
    if (stopped) {
        finish(s, c, ENGINE_FINISH_STOP, true);
        return true;
    }
    if (c->generated == w->max_tokens) {
        finish(s, c, ENGINE_FINISH_LENGTH, false);
        return true;
    }
    give_out(s, c);
    return false;
}
