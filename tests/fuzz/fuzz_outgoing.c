/*
 * Any request that is read can be written for an upstream: what is written is strict JSON, is
 * read as a request again, asks for the same things, and has every member that is not named
 * below as it came.
 */
#include "api/outgoing.h"
#include "base/json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DEPTH = 64, BUFFER = 1 << 24 };

static const struct api_limits limits = {
    .messages = 64, .choices = 5, .stops = 4, .stop_bytes = 64, .logit_biases = 16, .tools = 16};

static const struct api_model models[] = {
    {.id = "a", .thinking = API_THINKING_ON, .temperature = 1, .top_p = 1, .images = true},
    {.id = "b", .thinking = API_THINKING_ALWAYS, .fixed_sampling = true, .max_tokens = 50},
    {.id = "c", .thinking = API_THINKING_NEVER, .strict = true, .images = true},
};

static const struct outgoing options[] = {
    {.model = "plain"},
    {.model = "\"quoted\"\n", .template_kwargs = true, .max_tokens = 7},
};

static void must(int holds)
{
    if (!holds)
        abort();
}

/* Members that may differ, be added or be left out. */
static int is_named(const char *key)
{
    static const char *const named[] = {"model",
                                        "stream",
                                        "stream_options",
                                        "max_tokens",
                                        "max_completion_tokens",
                                        "temperature",
                                        "top_p",
                                        "stop",
                                        "presence_penalty",
                                        "frequency_penalty",
                                        "chat_template_kwargs",
                                        "thinking"};

    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++)
        if (strcmp(named[i], key) == 0)
            return 1;
    return 0;
}

static int compare(void *arg, const char *key, const struct json *v)
{
    bool present = false;
    const struct json *other = json_get(arg, key, &present);
    struct buf a, b;

    if (is_named(key))
        return 0;
    buf_init(&a, BUFFER);
    buf_init(&b, BUFFER);
    json_write(&a, v);
    json_write(&b, other);
    must(present && a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
    buf_done(&a);
    buf_done(&b);
    return 0;
}

static void check_read(const struct api_request *before, const struct api_request *after,
                       const struct api_model *m, const struct outgoing *o)
{
    int64_t most = o->max_tokens;
    int64_t wanted = most > 0 && (before->max_tokens == 0 || before->max_tokens > most)
                         ? most
                         : before->max_tokens;

    must(strcmp(after->model, o->model) == 0);
    must(after->n_messages == before->n_messages);
    must(after->stream == before->stream && after->include_usage == before->stream);
    must(after->max_tokens == wanted);
    must(after->n_stops == before->n_stops && after->n_biases == before->n_biases);
    must(after->thinking == before->thinking);
    must(after->upstream_only.kind == before->upstream_only.kind);
    if (m->strict || !m->fixed_sampling)
        must(after->temperature == before->temperature && after->top_p == before->top_p);
    else
        must(!after->has_temperature && after->presence_penalty == 0);
    must(after->choices == before->choices);
}

static void check(const struct json *root, const struct api_model *m, const struct outgoing *o)
{
    struct api_request before, after;
    struct json *written = NULL;
    struct arena *arena = arena_new();
    struct fault f;
    struct buf b;

    buf_init(&b, BUFFER);
    if (api_request_read(root, m, &limits, arena, &before, &f) != FAULT_NONE)
        goto out;
    outgoing_write(&b, root, &before, m, o);
    must(!b.failed && json_parse(b.data, b.len, DEPTH, &written, NULL) == 0);
    must(api_request_read(written, m, &limits, arena, &after, &f) == FAULT_NONE);
    check_read(&before, &after, m, o);
    json_each(root, compare, written);
    json_each(written, compare, (void *)(uintptr_t)root);
out:
    json_free(written);
    buf_done(&b);
    arena_free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json *root;

    if (json_parse((const char *)data, size, DEPTH, &root, NULL) != 0)
        return 0;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        for (size_t k = 0; k < sizeof options / sizeof options[0]; k++)
            check(root, &models[i], &options[k]);
    json_free(root);
    return 0;
}
