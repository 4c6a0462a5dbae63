/*
 * See counting.h. Two mailboxes and a thread: jobs in, numbers out. A job is one block of memory
 * of its own (an arena) that goes with it; the tokenizers are read-only once they are open, and
 * stay open as long as the process, since a job may name one that a reload has dropped.
 */
#include "backend/counting.h"

#include "base/buf.h"
#include "base/mailbox.h"
#include "base/mem.h"
#include "engine/count.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { JOBS_MAX = 16384, TOKENIZERS_MAX = 64, EVENTS_A_TURN = 256 };

static const size_t waiting_max_bytes = (size_t)64 << 20;

struct job {
    uint64_t number;
    enum counting_what what;
    const struct token_count *count; /* NULL: the thread ends */
    struct arena *arena;
    size_t bytes;
    struct engine_message *messages;
    size_t n_messages;
    bool thinking;
    struct engine_text text; /* of the reply; of a prompt: what stands there besides */
};

struct answer {
    uint64_t number;
    enum counting_what what;
    int64_t tokens;
};

struct tokenizer_row {
    char *path;
    struct token_count *count;
};

struct counting {
    struct mailbox *jobs, *answers;
    struct event *watch;
    counting_fn *fn;
    void *arg;
    pthread_t thread;
    bool running;
    _Atomic size_t waiting_bytes;
    struct tokenizer_row rows[TOKENIZERS_MAX];
    int n_rows;
    char *engine_path;
    const void *engine_bytes;
    size_t engine_len;
};

/* --- the thread --- */

static int64_t count(const struct job *j)
{
    int64_t tokens;
    if (j->what == COUNTING_REPLY)
        return token_count_text(j->count, j->text.data, j->text.len);
    if (token_count_prompt(j->count, j->messages, j->n_messages, j->thinking, j->text, &tokens,
                           NULL))
        return -1;
    return tokens;
}

static void *work(void *arg)
{
    struct counting *c = arg;
    struct job j;
    for (;;) {
        if (!mailbox_wait(c->jobs, &j, -1))
            continue;
        if (!j.count)
            return NULL;
        struct answer a = {.number = j.number, .what = j.what, .tokens = count(&j)};
        arena_free(j.arena);
        atomic_fetch_sub(&c->waiting_bytes, j.bytes);
        mailbox_post(c->answers, &a); /* as large as the jobs' with room: never full */
    }
}

/* --- the loop --- */

static void on_answers(evutil_socket_t fd, short what, void *arg)
{
    struct counting *c = arg;
    struct answer a;
    (void)fd;
    (void)what;
    for (int i = 0; i < EVENTS_A_TURN && mailbox_take(c->answers, &a); i++)
        c->fn(c->arg, a.number, a.what, a.tokens);
}

int counting_open(struct event_base *base, counting_fn *fn, void *arg, struct counting **out,
                  struct error *e)
{
    struct counting *c = mem_zalloc(sizeof *c);
    c->fn = fn;
    c->arg = arg;
    int rc = mailbox_open(sizeof(struct job), JOBS_MAX, &c->jobs, e);
    if (!rc)
        rc = mailbox_open(sizeof(struct answer), (size_t)1 << 20, &c->answers, e);
    if (rc)
        goto out;
    c->watch = event_new(base, mailbox_fd(c->answers), EV_READ | EV_PERSIST, on_answers, c);
    if (!c->watch || event_add(c->watch, NULL)) {
        rc = error_set(e, ERR_IO, "the loop does not watch the counts of tokens");
        goto out;
    }
    if (pthread_create(&c->thread, NULL, work, c)) {
        rc = error_set(e, ERR_IO, "cannot start the thread that counts tokens");
        goto out;
    }
    c->running = true;
    *out = c;
out:
    if (rc)
        counting_close(c);
    return rc;
}

static void stop_thread(struct counting *c)
{
    struct job last = {0};
    struct job j;
    if (!c->running)
        return;
    while (mailbox_post(c->jobs, &last)) { /* full: what waits is not wanted any more */
        if (mailbox_take(c->jobs, &j))
            arena_free(j.arena);
    }
    pthread_join(c->thread, NULL);
}

void counting_close(struct counting *c)
{
    struct job j;
    if (!c)
        return;
    stop_thread(c);
    if (c->watch)
        event_free(c->watch);
    while (c->jobs && mailbox_take(c->jobs, &j))
        arena_free(j.arena);
    mailbox_close(c->jobs);
    mailbox_close(c->answers);
    for (int i = 0; i < c->n_rows; i++) {
        free(c->rows[i].path);
        token_count_close(c->rows[i].count);
    }
    free(c->engine_path);
    free(c);
}

void counting_engine(struct counting *c, const char *path, const void *bytes, size_t len)
{
    free(c->engine_path);
    c->engine_path = path ? mem_strdup(path) : NULL;
    c->engine_bytes = bytes;
    c->engine_len = len;
}

static int open_count(const struct counting *c, const char *path, struct token_count **out,
                      struct error *e)
{
    if (strcmp(path, "engine") != 0)
        return token_count_open(path, out, e);
    if (c->engine_path)
        return token_count_open(c->engine_path, out, e);
    return token_count_open_bytes(c->engine_bytes, c->engine_len, out, e);
}

int counting_tokenizer(struct counting *c, const char *path, int *id, struct error *e)
{
    struct token_count *count = NULL;
    for (int i = 0; i < c->n_rows; i++) {
        if (strcmp(c->rows[i].path, path) == 0) {
            *id = i;
            return 0;
        }
    }
    if (c->n_rows == TOKENIZERS_MAX)
        return error_set(e, ERR_LIMIT,
                         "more than %d tokenizers since the start; restart to drop "
                         "those that no model names any more",
                         TOKENIZERS_MAX);
    int rc = open_count(c, path, &count, e);
    if (rc)
        return rc;
    c->rows[c->n_rows] = (struct tokenizer_row){.path = mem_strdup(path), .count = count};
    *id = c->n_rows++;
    return 0;
}

static int post(struct counting *c, struct job *j)
{
    if (atomic_load(&c->waiting_bytes) + j->bytes > waiting_max_bytes) {
        arena_free(j->arena);
        return ERR_BUSY;
    }
    atomic_fetch_add(&c->waiting_bytes, j->bytes);
    int rc = mailbox_post(c->jobs, j);
    if (rc) {
        atomic_fetch_sub(&c->waiting_bytes, j->bytes);
        arena_free(j->arena);
    }
    return rc;
}

static struct engine_text copy(struct job *j, const char *text, size_t len)
{
    j->bytes += len;
    return (struct engine_text){.data = arena_strndup(j->arena, len ? text : "", len), .len = len};
}

static enum engine_role role_of(enum api_role role)
{
    static const enum engine_role roles[] = {[API_SYSTEM] = ENGINE_SYSTEM,
                                             [API_USER] = ENGINE_USER,
                                             [API_ASSISTANT] = ENGINE_ASSISTANT,
                                             [API_TOOL] = ENGINE_TOOL};
    return roles[role];
}

/* Declarations of tools and the calls of earlier turns stand in the prompt as JSON. */
static void copy_json(struct job *j, const struct api_request *r)
{
    struct buf b;
    buf_init(&b, waiting_max_bytes);
    if (r->tools)
        json_write(&b, r->tools);
    for (size_t i = 0; i < r->n_messages; i++)
        if (r->messages[i].tool_calls)
            json_write(&b, r->messages[i].tool_calls);
    j->text = copy(j, b.data, b.len);
    buf_done(&b);
}

int counting_prompt(struct counting *c, uint64_t number, int tokenizer, const struct api_request *r)
{
    struct job j = {.number = number,
                    .what = COUNTING_PROMPT,
                    .count = c->rows[tokenizer].count,
                    .arena = arena_new(),
                    .thinking = r->thinking,
                    .n_messages = r->n_messages};
    j.messages = arena_alloc(j.arena, (r->n_messages + 1) * sizeof *j.messages);
    for (size_t i = 0; i < r->n_messages; i++) {
        const struct api_message *m = &r->messages[i];
        j.messages[i] = (struct engine_message){
            .role = role_of(m->role),
            .name = copy(&j, m->name.data, m->name.len),
            .content = copy(&j, m->content.data, m->content.len),
            .reasoning = copy(&j, m->reasoning.data, m->reasoning.len),
            .tool_call_id = copy(&j, m->tool_call_id.data, m->tool_call_id.len),
            .partial = m->partial};
    }
    copy_json(&j, r);
    return post(c, &j);
}

int counting_reply(struct counting *c, uint64_t number, int tokenizer, const char *text, size_t len)
{
    struct job j = {.number = number,
                    .what = COUNTING_REPLY,
                    .count = c->rows[tokenizer].count,
                    .arena = arena_new()};
    j.text = copy(&j, text, len);
    return post(c, &j);
}
