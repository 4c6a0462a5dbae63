/*
 * The preparing thread: a conversation becomes token ids.
 *
 * It stands before the scheduler so that a long text costs no running reply a token. Its mailbox
 * is first in, first out; a cancel passes through it behind its job, so the scheduler always
 * sees a job before the cancel that belongs to it.
 */
#include "engine/scheduler.h"

#include <stdio.h>
#include <string.h>

static int context_of(const struct prepare *p, const struct engine_job *job)
{
    if (job->context_tokens > 0 && job->context_tokens < p->context_tokens)
        return job->context_tokens;
    return p->context_tokens;
}

/* A text that is too long even if it were made of the longest tokens alone need not be read. */
static size_t least_tokens(const struct prepare *p, const struct engine_job *job)
{
    size_t bytes = 0;
    for (size_t i = 0; i < job->n_messages; i++)
        bytes += job->messages[i].content.len;
    return bytes / tokenizer_longest(p->tokenizer);
}

static void refuse(const struct prepare *p, const struct engine_job *job, size_t tokens, int limit,
                   int code, const char *text)
{
    struct engine_event ev = {.number = job->number, .kind = ENGINE_END, .code = code};
    ev.prompt_tokens = (int)tokens;
    ev.limit_tokens = limit;
    snprintf(ev.text, sizeof ev.text, "%.*s", (int)sizeof ev.text - 1, text);
    engine_post(p->events, &ev);
}

static void answer_count(const struct prepare *p, const struct engine_job *job, size_t tokens)
{
    struct engine_event ev = {.number = job->number, .kind = ENGINE_STARTED};
    ev.prompt_tokens = (int)tokens;
    engine_post(p->events, &ev);
    engine_post_end(p->events, NULL, job->number, 0, ""); /* nothing was computed */
}

static struct work *work_new(struct engine_job *job, struct tokens *prompt, int context,
                             enum template_state start)
{
    struct work *w = mem_zalloc(sizeof *w);
    w->job = job;
    w->prompt = prompt->ids;
    w->n_prompt = (int)prompt->n;
    w->start = start;
    w->context_tokens = context;
    int room = context - w->n_prompt;
    w->max_tokens = job->max_tokens > 0 && job->max_tokens < room ? job->max_tokens : room;
    memset(prompt, 0, sizeof *prompt);
    return w;
}

/* Makes the job a work, or answers it; takes the job in either case. */
static struct work *prepare_job(const struct prepare *p, struct engine_job *job)
{
    struct work *w = NULL;
    struct error e = {0};
    struct tokens prompt;
    enum template_state start = TEMPLATE_IN_CONTENT;
    int context = context_of(p, job);
    struct template template = p->template;
    char text[160];

    template.preserve_thinking |= job->keep_reasoning;
    /* A count has no limit but the size of the body; a prompt must leave room for a token. */
    tokens_init(&prompt, job->count_only ? INT32_MAX : (size_t)context - 1);
    size_t least = least_tokens(p, job);
    if (!job->count_only && least >= (size_t)context) {
        snprintf(text, sizeof text, "it has at least %zu tokens", least);
        refuse(p, job, least, context, ERR_LIMIT, text);
        goto out;
    }
    int rc = template_render(&template, p->tokenizer, job->messages, job->n_messages, job->thinking,
                             &prompt, &start, &e);
    if (rc == ERR_LIMIT) {
        snprintf(text, sizeof text, "it has %zu tokens", prompt.n);
        refuse(p, job, prompt.n, context, ERR_LIMIT, text);
        goto out;
    }
    if (rc) {
        refuse(p, job, prompt.n, context, rc, e.text);
        goto out;
    }
    if (job->count_only) {
        answer_count(p, job, prompt.n);
        goto out;
    }
    w = work_new(job, &prompt, context, start);
    job = NULL;
out:
    tokens_done(&prompt);
    engine_job_free(job);
    return w;
}

static void take_job(struct prepare *p, struct engine_job *job)
{
    struct work *w = prepare_job(p, job);
    if (!w) {
        atomic_fetch_sub(p->waiting, 1);
        return;
    }
    struct sched_item item = {.kind = SCHED_WORK, .work = w, .number = w->job->number};
    if (mailbox_post(p->scheduler, &item)) { /* as large as the queue: cannot be full */
        engine_post_end(p->events, w, w->job->number, ERR_BUSY, "the engine's queue is full");
        atomic_fetch_sub(p->waiting, 1);
        work_free(w);
    }
}

void prepare_run(struct prepare *p)
{
    for (;;) {
        struct prepare_item in;
        if (!mailbox_wait(p->inbox, &in, -1))
            continue;
        if (in.kind == SCHED_WORK) {
            take_job(p, in.job);
            continue;
        }
        struct sched_item out = {.kind = in.kind, .number = in.number};
        mailbox_post(p->scheduler, &out); /* a lost cancel costs work, never a wrong answer */
        if (in.kind == SCHED_STOP)
            return;
    }
}
