/*
 * The engine in this process as a backend: requests become jobs, events from the engine's mailbox
 * become pieces. The loop watches the mailbox's descriptor, which stays readable while events wait;
 * each wake-up takes a bounded number of them, so that a fast engine does not hold the loop.
 */
#include "backend/backend.h"
#include "base/clock.h"
#include "base/mailbox.h"
#include "base/mem.h"
#include "engine/engine.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVENTS_A_TURN = 256, EVENTS_MAX = 1 << 20 };

struct local {
    struct backend backend; /* first: a struct backend * is a struct local * */
    struct engine *engine;
    struct mailbox *events;
    struct event *watch;
    struct backend_events to;
    void *arg;
    int concurrency;
    char name[64], fingerprint[160];
};

static struct engine_text copy_text(struct arena *a, struct api_text t)
{
    return (struct engine_text){.data = arena_strndup(a, t.len ? t.data : "", t.len), .len = t.len};
}

static enum engine_role role_of(enum api_role role)
{
    switch (role) {
    case API_SYSTEM:
        return ENGINE_SYSTEM;
    case API_USER:
        return ENGINE_USER;
    case API_ASSISTANT:
        return ENGINE_ASSISTANT;
    case API_TOOL:
        return ENGINE_TOOL;
    }
    return ENGINE_USER;
}

static void copy_messages(struct engine_job *job, const struct api_request *r)
{
    struct engine_message *to = arena_alloc(job->arena, r->n_messages * sizeof *to);
    for (size_t i = 0; i < r->n_messages; i++) {
        const struct api_message *from = &r->messages[i];
        to[i].role = role_of(from->role);
        to[i].name = copy_text(job->arena, from->name);
        to[i].content = copy_text(job->arena, from->content);
        to[i].reasoning = copy_text(job->arena, from->reasoning);
        to[i].tool_call_id = copy_text(job->arena, from->tool_call_id);
        to[i].partial = from->partial;
    }
    job->messages = to;
    job->n_messages = r->n_messages;
}

static void copy_stops(struct engine_job *job, const struct api_request *r)
{
    struct engine_text *to = arena_alloc(job->arena, (r->n_stops + 1) * sizeof *to);
    for (size_t i = 0; i < r->n_stops; i++)
        to[i] = copy_text(job->arena, r->stops[i]);
    job->stops = to;
    job->n_stops = r->n_stops;
}

/* A client that names no temperature gets what the weights' makers recommend in the file, before
 * what the model's row says: the row was written for other weights than those that answer. */
static void copy_sampling(struct engine_job *job, const struct api_request *r,
                          const struct engine_info *info)
{
    struct engine_sampling *s = &job->sampling;
    struct engine_bias *bias = arena_alloc(job->arena, (r->n_biases + 1) * sizeof *bias);
    for (size_t i = 0; i < r->n_biases; i++)
        bias[i] = (struct engine_bias){.token = r->biases[i].token, .bias = r->biases[i].bias};
    s->bias = bias;
    s->n_bias = r->n_biases;
    s->temperature = (float)r->temperature;
    if (!r->has_temperature && info->temperature >= 0)
        s->temperature = info->temperature;
    s->top_p = (float)r->top_p;
    s->top_k = r->top_k;
    s->min_p = (float)r->min_p;
    s->presence_penalty = (float)r->presence_penalty;
    s->frequency_penalty = (float)r->frequency_penalty;
    s->seed = r->seed;
    if (!r->has_seed)
        random_bytes(&s->seed, sizeof s->seed);
}

static int clamp_int(int64_t v)
{
    return v > INT32_MAX ? INT32_MAX : (int)v;
}

static struct engine_job *job_of(const struct local *l, const struct backend_run *run)
{
    const struct api_request *r = run->request;
    struct engine_job *job = engine_job_new();
    job->number = run->number;
    job->owner = run->owner;
    job->thinking = r->thinking;
    job->keep_reasoning = r->keep_reasoning;
    job->count_only = run->count_only;
    job->choices = run->count_only ? 1 : r->choices;
    job->max_tokens = clamp_int(r->max_tokens);
    job->context_tokens = clamp_int(run->model->context_tokens);
    job->logprobs = r->logprobs;
    job->top_logprobs = r->top_logprobs;
    copy_messages(job, r);
    copy_stops(job, r);
    copy_sampling(job, r, engine_info(l->engine));
    return job;
}

static int local_start(struct backend *b, const struct backend_run *run, struct backend_end *end)
{
    struct local *l = (struct local *)b;
    struct error e = {0};
    *end = (struct backend_end){.blame = BLAME_NONE};
    if (run->request->upstream_only.kind != FAULT_NONE) {
        end->fault = run->request->upstream_only;
        end->blame = BLAME_CALL;
        return ERR_UNSUPPORTED;
    }
    int rc = engine_submit(l->engine, job_of(l, run), &e);
    if (rc == ERR_BUSY) {
        fault_set(&end->fault, FAULT_ENGINE_FULL, NULL,
                  "The engine is currently overloaded (%s), please try again later.", e.text);
        end->fault.retry_after_s = 1;
        end->retry_after_ms = 0; /* its own queue knows better than a rest when there is room */
        end->blame = BLAME_BUSY;
    } else if (rc) {
        fault_set(&end->fault, FAULT_BAD_REQUEST, "n", "%s", e.text);
        end->blame = BLAME_CALL;
    }
    if (rc)
        snprintf(end->detail, sizeof end->detail, "%.180s", e.text);
    return rc;
}

static void local_stop(struct backend *b, uint64_t number)
{
    engine_cancel(((struct local *)b)->engine, number);
}

static void local_load(const struct backend *b, struct backend_load *out)
{
    const struct local *l = (const struct local *)b;
    struct engine_load load;
    engine_load(l->engine, &load);
    *out = (struct backend_load){.running = load.running,
                                 .waiting = load.waiting,
                                 .capacity = l->concurrency,
                                 .prompt_tokens = load.prompt_tokens,
                                 .cached_tokens = load.cached_tokens,
                                 .generated_tokens = load.generated_tokens};
}

static void free_piece(struct engine_event *ev)
{
    if (ev->kind == ENGINE_PIECE)
        arena_free(ev->piece_arena);
}

static void local_close(struct backend *b)
{
    struct local *l = (struct local *)b;
    struct engine_event ev;
    if (l->watch)
        event_free(l->watch);
    engine_close(l->engine);
    while (l->events && mailbox_take(l->events, &ev))
        free_piece(&ev);
    mailbox_close(l->events);
    free(l);
}

static const struct backend_kind local_kind = {
    .name = "local",
    .ends_late = true,
    .start = local_start,
    .stop = local_stop,
    .load = local_load,
    .close = local_close,
};

/* The entries of a piece's log-probabilities in the wire room's form. */
static struct api_logprob *logprobs_of(struct arena *a, const struct engine_logprob *from, size_t n)
{
    struct api_logprob *to = arena_alloc(a, (n + 1) * sizeof *to);
    for (size_t i = 0; i < n; i++) {
        to[i].bytes = from[i].bytes;
        to[i].n_bytes = from[i].n_bytes;
        to[i].logprob = from[i].logprob;
        to[i].n_top = from[i].n_top;
        if (from[i].n_top)
            to[i].top = logprobs_of(a, from[i].top, from[i].n_top);
    }
    return to;
}

static void tell_piece(struct local *l, const struct engine_event *ev)
{
    const struct engine_piece *from = ev->piece;
    struct api_text text = {.data = from->text, .len = from->len};
    struct backend_piece piece = {.choice = ev->choice};
    if (from->reasoning)
        piece.reasoning = text;
    else
        piece.content = text;
    if (from->n_logprobs) {
        piece.logprobs = logprobs_of(ev->piece_arena, from->logprobs, from->n_logprobs);
        piece.n_logprobs = from->n_logprobs;
    }
    l->to.on_piece(l->arg, ev->number, &piece);
}

/* Nothing was computed. A prompt that is too long for these weights is the request's own matter. */
static void end_with_fault(const struct engine_event *ev, struct backend_end *end)
{
    end->usage = (struct api_usage){0};
    end->blame = ev->code == ERR_LIMIT ? BLAME_CALL : BLAME_SOURCE;
    snprintf(end->detail, sizeof end->detail, "%s", ev->text);
    if (ev->code == ERR_LIMIT)
        fault_set(&end->fault, FAULT_TOO_LONG, "messages",
                  "Your request exceeded model token limit: %d. This is the maximum context "
                  "length of prompt and reply together; the prompt is too long: %s. Please "
                  "shorten the messages.",
                  ev->limit_tokens, ev->text);
    else
        fault_set(&end->fault, FAULT_INTERNAL, NULL, "The engine gave the call up: %s.", ev->text);
}

static void tell(struct local *l, struct engine_event *ev)
{
    struct backend_end end = {.usage = {.prompt_tokens = ev->prompt_tokens,
                                        .cached_tokens = ev->cached_tokens,
                                        .completion_tokens = ev->completion_tokens,
                                        .reasoning_tokens = ev->reasoning_tokens,
                                        .source = API_USAGE_ENGINE}};
    switch (ev->kind) {
    case ENGINE_STARTED:
        l->to.on_start(l->arg, ev->number, &end.usage);
        break;
    case ENGINE_PIECE:
        tell_piece(l, ev);
        break;
    case ENGINE_FINISH:
        l->to.on_finish(l->arg, ev->number, ev->choice,
                        ev->finish == ENGINE_FINISH_LENGTH ? API_FINISH_LENGTH : API_FINISH_STOP);
        break;
    case ENGINE_END:
        if (ev->code && ev->code != ERR_CANCELLED)
            end_with_fault(ev, &end);
        l->to.on_end(l->arg, ev->number, &end);
        break;
    }
    free_piece(ev);
}

static void on_events(evutil_socket_t fd, short what, void *arg)
{
    struct local *l = arg;
    struct engine_event ev;
    (void)fd;
    (void)what;
    for (int i = 0; i < EVENTS_A_TURN; i++) {
        if (!mailbox_take(l->events, &ev))
            return;
        tell(l, &ev);
    }
}

int local_open(struct event_base *base, const char *name, const struct engine_options *o,
               const struct backend_events *events, void *arg, struct backend **out,
               struct error *e)
{
    struct local *l = mem_zalloc(sizeof *l);
    *out = NULL;
    l->backend.kind = &local_kind;
    snprintf(l->name, sizeof l->name, "%s", name);
    l->backend.name = l->name;
    l->to = *events;
    l->arg = arg;
    int rc = mailbox_open(sizeof(struct engine_event), EVENTS_MAX, &l->events, e);
    if (rc)
        goto out;
    rc = engine_open(o, l->events, &l->engine, e);
    if (rc)
        goto out;
    const struct engine_info *info = engine_info(l->engine);
    snprintf(l->fingerprint, sizeof l->fingerprint, "%s", info->name);
    l->backend.fingerprint = l->fingerprint;
    l->backend.context_tokens = info->context_tokens;
    l->watch = event_new(base, mailbox_fd(l->events), EV_READ | EV_PERSIST, on_events, l);
    if (!l->watch || event_add(l->watch, NULL)) {
        rc = error_set(e, ERR_IO, "cannot watch the engine's events");
        goto out;
    }
    *out = &l->backend;
out:
    if (rc)
        local_close(&l->backend);
    return rc;
}

void local_set_concurrency(struct backend *b, int concurrency)
{
    ((struct local *)b)->concurrency = concurrency;
}

const struct engine_info *local_info(const struct backend *b)
{
    return engine_info(((const struct local *)b)->engine);
}

void backend_close(struct backend *b)
{
    if (b)
        b->kind->close(b);
}
