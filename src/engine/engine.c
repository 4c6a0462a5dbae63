/*
 * The engine's face: puts the parts together, owns the threads.
 *
 *   engine_submit > prepare's mailbox > (prepare thread: tokens) > scheduler's mailbox >
 *   (scheduler thread: pieces) > the opener's mailbox
 *
 * The count of waiting jobs bounds both mailboxes; a cancel is posted twice, straight to the
 * scheduler, so that a running call stops within a token, and behind its job through the
 * preparing thread, in case the scheduler has not seen the job yet.
 */
#include "engine/engine.h"
#include "engine/gguf.h"
#include "engine/pool.h"
#include "engine/scheduler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct engine {
    struct gguf *gguf;
    struct tokenizer *tokenizer;
    struct pool *pool;
    struct scheduler scheduler;
    struct prepare prepare;
    struct engine_info info;
    char *name, *architecture;
    int queue;
    pthread_t scheduler_thread, prepare_thread;
    bool scheduler_up, prepare_up;
};

enum { CANCELS_MAX = 65536 }; /* room in the mailboxes beside the jobs */

struct engine_job *engine_job_new(void)
{
    struct arena *a = arena_new();
    struct engine_job *job = arena_alloc(a, sizeof *job);
    job->arena = a;
    return job;
}

void engine_job_free(struct engine_job *job)
{
    if (job)
        arena_free(job->arena);
}

static char *string_key(const struct gguf *g, const char *key, const char *fallback)
{
    const char *s;
    size_t len;
    if (gguf_string(g, key, &s, &len, NULL))
        return mem_strdup(fallback);
    return mem_strndup(s, len);
}

static int open_file(struct engine *g, const struct engine_options *o, struct error *e)
{
    int rc = o->gguf_path ? gguf_open_file(o->gguf_path, &g->gguf, e)
                          : gguf_open_bytes(o->gguf_bytes, o->gguf_len, &g->gguf, e);
    if (rc)
        return rc;
    const char *base = o->gguf_path ? strrchr(o->gguf_path, '/') : NULL;
    g->name = string_key(g->gguf, "general.name",
                         base           ? base + 1
                         : o->gguf_path ? o->gguf_path
                                        : "model");
    g->architecture = string_key(g->gguf, "general.architecture", "");
    return 0;
}

static int open_language(struct engine *g, struct error *e)
{
    const char *text = "";
    size_t len = 0;
    int rc = tokenizer_open_gguf(g->gguf, &g->tokenizer, e);
    if (rc)
        return rc;
    rc = gguf_string(g->gguf, "tokenizer.chat_template", &text, &len, e);
    if (rc)
        return rc;
    return template_find(text, len, g->tokenizer, &g->prepare.template, e);
}

static int check_vocabulary(const struct engine *g, struct error *e)
{
    size_t tokens = tokenizer_size(g->tokenizer);
    int rows = model_shape(g->scheduler.model)->vocabulary;
    if (tokens != (size_t)rows)
        return error_set(e, ERR_INVALID, "the tokenizer has %zu tokens and the model %d", tokens,
                         rows);
    return 0;
}

static int open_model(struct engine *g, const struct engine_options *o, struct error *e)
{
    const struct kernels *kernels;
    int rc = kernels_find(o->kernels ? o->kernels : "auto", &kernels, e);
    if (rc)
        return rc;
    rc = pool_open(o->threads, &g->pool, e);
    if (rc)
        return rc;
    struct model_options mo = {.kernels = kernels,
                               .pool = g->pool,
                               .max_batch = o->sequences + o->chunk_tokens,
                               .yarn_beta_file = o->yarn_beta_file,
                               .progress = o->progress,
                               .progress_arg = o->progress_arg};
    rc = model_open(g->gguf, &mo, &g->scheduler.model, e);
    if (rc)
        return rc;
    rc = check_vocabulary(g, e);
    if (rc)
        return rc;
    const struct model_shape *shape = model_shape(g->scheduler.model);
    struct kv_shape ks = {.layers = shape->layers,
                          .width = shape->kv_lora + shape->rope,
                          .tokens = o->kv_tokens,
                          .f32 = o->kv_f32};
    g->info.kernels = kernels->name;
    return kv_open(&ks, &g->scheduler.kv, e);
}

/* The context is bounded by the cache as well: one sequence alone must always fit. */
static void describe(struct engine *g, const struct engine_options *o)
{
    const struct model *m = g->scheduler.model;
    const struct model_shape *shape = model_shape(m);
    int room = o->kv_tokens - KV_BLOCK_TOKENS;
    double temperature = -1;
    g->info.name = g->name;
    g->info.architecture = g->architecture;
    g->info.weights = model_weights(m);
    g->info.parameters = model_parameters(m);
    g->info.file_bytes = gguf_file_bytes(g->gguf);
    g->info.layers = shape->layers;
    g->info.vocabulary = shape->vocabulary;
    g->info.context_tokens = shape->context_tokens < room ? shape->context_tokens : room;
    g->info.thinks = g->prepare.template.thinking != TEMPLATE_NO_THINKING;
    /* A value that is none of a temperature's is no recommendation. */
    gguf_float_or(g->gguf, "general.sampling.temp", -1, &temperature, NULL);
    g->info.temperature = temperature >= 0 && temperature <= 2 ? (float)temperature : -1;
    g->info.threads = pool_threads(g->pool);
    g->info.sequences = o->sequences;
}

static void *scheduler_main(void *arg)
{
    struct engine *g = arg;
    scheduler_run(&g->scheduler);
    return NULL;
}

static void *prepare_main(void *arg)
{
    struct engine *g = arg;
    prepare_run(&g->prepare);
    return NULL;
}

static int open_threads(struct engine *g, const struct engine_options *o, struct mailbox *events,
                        struct error *e)
{
    struct scheduler *s = &g->scheduler;
    struct prepare *p = &g->prepare;
    size_t room = (size_t)o->queue + CANCELS_MAX;
    int rc = mailbox_open(sizeof(struct sched_item), room, &s->inbox, e);
    if (rc)
        return rc;
    rc = mailbox_open(sizeof(struct prepare_item), room, &p->inbox, e);
    if (rc)
        return rc;
    s->tokenizer = p->tokenizer = g->tokenizer;
    s->events = p->events = events;
    p->scheduler = s->inbox;
    p->waiting = &s->load_waiting;
    p->context_tokens = g->info.context_tokens;
    scheduler_init(s, o);
    if (pthread_create(&g->scheduler_thread, NULL, scheduler_main, g))
        return error_set(e, ERR_IO, "cannot start the engine's scheduler thread");
    g->scheduler_up = true;
    if (pthread_create(&g->prepare_thread, NULL, prepare_main, g))
        return error_set(e, ERR_IO, "cannot start the engine's preparing thread");
    g->prepare_up = true;
    return 0;
}

int engine_open(const struct engine_options *o, struct mailbox *events, struct engine **out,
                struct error *e)
{
    struct engine *g = mem_zalloc(sizeof *g);
    *out = NULL;
    g->queue = o->queue;
    int rc = open_file(g, o, e);
    if (!rc)
        rc = open_language(g, e);
    if (!rc)
        rc = open_model(g, o, e);
    if (!rc) {
        describe(g, o);
        rc = open_threads(g, o, events, e);
    }
    if (rc)
        engine_close(g);
    else
        *out = g;
    return rc;
}

static void stop_threads(struct engine *g)
{
    /* The preparing thread passes the stop on, behind what it holds. */
    struct prepare_item stop = {.kind = SCHED_STOP};
    struct sched_item direct = {.kind = SCHED_STOP};
    if (g->prepare_up) {
        mailbox_post(g->prepare.inbox, &stop);
        pthread_join(g->prepare_thread, NULL);
    } else if (g->scheduler_up) {
        mailbox_post(g->scheduler.inbox, &direct);
    }
    if (g->scheduler_up)
        pthread_join(g->scheduler_thread, NULL);
}

void engine_close(struct engine *g)
{
    if (!g)
        return;
    stop_threads(g);
    if (g->scheduler.running)
        scheduler_done(&g->scheduler);
    mailbox_close(g->prepare.inbox);
    mailbox_close(g->scheduler.inbox);
    kv_close(g->scheduler.kv);
    model_close(g->scheduler.model);
    pool_close(g->pool);
    tokenizer_close(g->tokenizer);
    gguf_close(g->gguf);
    free(g->name);
    free(g->architecture);
    free(g);
}

const struct engine_info *engine_info(const struct engine *g)
{
    return &g->info;
}

void engine_load(const struct engine *g, struct engine_load *out)
{
    const struct scheduler *s = &g->scheduler;
    out->running = atomic_load(&s->load_running);
    out->waiting = atomic_load(&s->load_waiting);
    out->prompt_tokens = atomic_load(&s->prompt_tokens);
    out->cached_tokens = atomic_load(&s->cached_tokens);
    out->generated_tokens = atomic_load(&s->generated_tokens);
    out->steps = atomic_load(&s->steps);
}

int engine_submit(struct engine *g, struct engine_job *job, struct error *e)
{
    struct prepare_item item = {.kind = SCHED_WORK, .job = job, .number = job->number};
    int rc = 0;
    if (job->choices > g->info.sequences)
        rc = error_set(e, ERR_LIMIT, "n is %d, and this engine runs %d sequences at once",
                       job->choices, g->info.sequences);
    else if (atomic_fetch_add(&g->scheduler.load_waiting, 1) >= g->queue) {
        atomic_fetch_sub(&g->scheduler.load_waiting, 1);
        rc = error_set(e, ERR_BUSY, "%d calls are waiting already", g->queue);
    } else if (mailbox_post(g->prepare.inbox, &item)) {
        atomic_fetch_sub(&g->scheduler.load_waiting, 1);
        rc = error_set(e, ERR_BUSY, "the engine's queue is full");
    }
    if (rc)
        engine_job_free(job);
    return rc;
}

void engine_cancel(struct engine *g, uint64_t number)
{
    struct sched_item direct = {.kind = SCHED_CANCEL, .number = number};
    struct prepare_item behind = {.kind = SCHED_CANCEL, .number = number};
    mailbox_post(g->scheduler.inbox, &direct);
    mailbox_post(g->prepare.inbox, &behind);
}
