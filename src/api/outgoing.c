/*
 * Writes a request for an upstream: one walk over the members of the client's object, each copied
 * as it came unless its name stands in the table below; then what the client did not give. The
 * tree has no key twice, so neither has what is written, as long as a member that is added at the
 * end is left out where it stood. Numbers keep their digits. Holds nothing; any thread.
 */
#include "api/outgoing.h"

#include "api/field.h"

#include <inttypes.h>
#include <string.h>

struct writing {
    struct buf *b;
    const struct api_request *request;
    const struct api_model *model;
    const struct outgoing *options;
    size_t n; /* members of the open object */
};

static void add_key(struct writing *w, const char *key)
{
    if (w->n++ > 0) {
        buf_addc(w->b, ',');
    }
    json_write_string(w->b, key, strlen(key));
    buf_addc(w->b, ':');
}

static void copy(struct writing *w, const char *key, const struct json *v)
{
    add_key(w, key);
    json_write(w->b, v);
}

static void add_bool(struct writing *w, const char *key, bool value)
{
    add_key(w, key);
    buf_adds(w->b, value ? "true" : "false");
}

static void leave_out(struct writing *w, const char *key, const struct json *v)
{
    (void)w;
    (void)key;
    (void)v;
}

static void write_model(struct writing *w, const char *key, const struct json *v)
{
    (void)v;
    add_key(w, key);
    json_write_string(w->b, w->options->model, strlen(w->options->model));
}

static void write_stream(struct writing *w, const char *key, const struct json *v)
{
    if (json_kind(v) != JSON_NULL) {
        add_bool(w, key, w->request->stream);
    }
}

/* What is over the call's own bound becomes the bound. A null is the same as absent. */
static void write_max_tokens(struct writing *w, const char *key, const struct json *v)
{
    int64_t n = 0;

    if (json_kind(v) == JSON_NULL) {
        return;
    }
    if (w->options->max_tokens > 0 && json_int64(v, &n) && n > w->options->max_tokens) {
        add_key(w, key);
        buf_addf(w->b, "%" PRId64, w->options->max_tokens);
    } else {
        copy(w, key, v);
    }
}

/* The lenient profile takes any value and leaves it to the upstream; the strict one has taken
 * none but the model's. Not so `n`: the client waits for so many choices. */
static void write_sampling(struct writing *w, const char *key, const struct json *v)
{
    if (w->model->strict || !w->model->fixed_sampling) {
        copy(w, key, v);
    }
}

/* Reading skips empty strings; some upstreams refuse them. */
static void write_stop(struct writing *w, const char *key, const struct json *v)
{
    const struct api_request *r = w->request;
    size_t given = json_kind(v) == JSON_ARRAY ? json_len(v) : json_kind(v) == JSON_STRING;

    if (r->n_stops == given) {
        copy(w, key, v);
        return;
    }
    if (r->n_stops == 0) {
        return;
    }
    add_key(w, key);
    for (size_t i = 0; i < r->n_stops; i++) {
        buf_addc(w->b, i == 0 ? '[' : ',');
        json_write_string(w->b, r->stops[i].data, r->stops[i].len);
    }
    buf_addc(w->b, ']');
}

/* Does this form of `thinking` ask for what is not in force? */
static bool is_overruled(const struct api_request *r, const struct json *v)
{
    size_t len;
    const struct json *type = field_get(v, "type");

    if (json_kind(v) == JSON_BOOL) {
        return json_bool(v) != r->thinking;
    }
    return json_kind(type) == JSON_STRING &&
           (strcmp(json_string(type, &len), "enabled") == 0) != r->thinking;
}

/* A model that always or never thinks has overruled the request's word, which then stays here. A
 * boolean, which the lenient profile takes, becomes the object that upstreams know. */
static void write_thinking(struct writing *w, const char *key, const struct json *v)
{
    if (is_overruled(w->request, v)) {
        return;
    }
    if (json_kind(v) == JSON_BOOL) {
        add_key(w, key);
        buf_addf(w->b, "{\"type\":\"%s\"}", w->request->thinking ? "enabled" : "disabled");
    } else {
        copy(w, key, v);
    }
}

static bool writes_kwargs(const struct writing *w)
{
    return w->options->template_kwargs && w->model->thinking != API_THINKING_NEVER;
}

static void write_kwargs(struct writing *w, const char *key, const struct json *v)
{
    if (!writes_kwargs(w)) {
        copy(w, key, v);
    }
}

static const struct {
    const char *key;
    void (*write)(struct writing *w, const char *key, const struct json *v);
} members[] = {
    {"model", write_model},
    {"stream", write_stream},
    {"stream_options", leave_out}, /* added at the end, of a stream */
    {"max_tokens", write_max_tokens},
    {"max_completion_tokens", write_max_tokens},
    {"temperature", write_sampling},
    {"top_p", write_sampling},
    {"presence_penalty", write_sampling},
    {"frequency_penalty", write_sampling},
    {"stop", write_stop},
    {"thinking", write_thinking},
    {"chat_template_kwargs", write_kwargs},
};

static int write_member(void *arg, const char *key, const struct json *v)
{
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        if (strcmp(key, members[i].key) == 0) {
            members[i].write(arg, key, v);
            return 0;
        }
    }
    copy(arg, key, v);
    return 0;
}

static int copy_option(void *arg, const char *key, const struct json *v)
{
    if (strcmp(key, "include_usage") != 0) {
        copy(arg, key, v);
    }
    return 0;
}

/* Usage is always asked for: the client's share of it is decided when the answer is written. */
static void add_stream_options(struct writing *w, const struct json *root)
{
    size_t outer;

    add_key(w, "stream_options");
    outer = w->n;
    w->n = 0;
    buf_addc(w->b, '{');
    json_each(field_get(root, "stream_options"), copy_option, w);
    add_bool(w, "include_usage", true);
    buf_addc(w->b, '}');
    w->n = outer;
}

static void add_max_tokens(struct writing *w)
{
    int64_t n = w->model->max_tokens, most = w->options->max_tokens;

    if (most > 0 && (n == 0 || n > most)) {
        n = most;
    }
    if (n > 0) {
        add_key(w, "max_tokens");
        buf_addf(w->b, "%" PRId64, n);
    }
}

static const char *const switches[] = {"thinking", "enable_thinking"};

/* A switch that is null is the same as absent. */
static int copy_kwarg(void *arg, const char *key, const struct json *v)
{
    bool is_switch = strcmp(key, switches[0]) == 0 || strcmp(key, switches[1]) == 0;

    if (!is_switch || json_kind(v) != JSON_NULL) {
        copy(arg, key, v);
    }
    return 0;
}

/* The client's object, where there is one, with the switch under both of its names. What the
 * client says itself stands, also for the other name: readers think if either is true. */
static void add_kwargs(struct writing *w, const struct json *root)
{
    const struct json *given = field_get(root, "chat_template_kwargs");
    bool value = w->request->thinking;
    size_t outer;

    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        const struct json *v = field_get(given, switches[i]);
        value = json_kind(v) == JSON_BOOL ? json_bool(v) : value;
    }
    add_key(w, "chat_template_kwargs");
    outer = w->n;
    w->n = 0;
    buf_addc(w->b, '{');
    json_each(given, copy_kwarg, w);
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        if (field_get(given, switches[i]) == NULL) {
            add_bool(w, switches[i], value);
        }
    }
    buf_addc(w->b, '}');
    w->n = outer;
}

void outgoing_write(struct buf *b, const struct json *root, const struct api_request *r,
                    const struct api_model *m, const struct outgoing *o)
{
    struct writing w = {b, r, m, o, 0};

    buf_addc(b, '{');
    json_each(root, write_member, &w);
    if (r->stream) {
        add_stream_options(&w, root);
    }
    if (field_get(root, "max_tokens") == NULL && field_get(root, "max_completion_tokens") == NULL) {
        add_max_tokens(&w);
    }
    if (writes_kwargs(&w)) {
        add_kwargs(&w, root);
    }
    buf_addc(b, '}');
}
