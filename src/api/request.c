/*
 * Reads a chat request: a table of steps, each for one matter, in an order in which a later one
 * may lean on an earlier (defaults of sampling depend on whether the model thinks). The first
 * fault ends the reading. Holds nothing; any thread.
 */
#include "api/request.h"

#include "api/field.h"
#include "api/reading.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *api_request_model(const struct json *root, struct fault *f)
{
    struct api_text model = {0};

    if (json_kind(root) != JSON_OBJECT) {
        fault_set(f, FAULT_BAD_REQUEST, NULL, "the body must be a JSON object, not %s",
                  field_kind_name(json_kind(root)));
        return NULL;
    }
    if (field_string(root, "model", &model, f) != FAULT_NONE) {
        return NULL;
    }
    if (model.len == 0) {
        fault_set(f, FAULT_BAD_REQUEST, "model",
                  "model is missing; GET /v1/models lists what is served");
        return NULL;
    }
    return model.data;
}

/* A value that a model with fixed sampling does not take, under the strict profile. */
static enum fault_kind check_fixed(const struct reading *r, const char *key, double value,
                                   double fixed)
{
    if (!r->model->strict || !r->model->fixed_sampling || fabs(value - fixed) < 1e-9) {
        return FAULT_NONE;
    }
    return fault_set(r->fault, FAULT_BAD_REQUEST, key,
                     "invalid %s: only %g is allowed for this model", key, fixed);
}

/* Whether this is a word or two that say how hard to think; *off for the one that says not. */
static enum fault_kind read_effort(const struct reading *r, bool *given, bool *off)
{
    static const char *const known[] = {"none", "minimal", "low", "medium",
                                        "high", "xhigh",   "max", "auto"};
    struct api_text effort = {0};
    enum fault_kind kind = field_string(r->root, "reasoning_effort", &effort, r->fault);

    if (kind != FAULT_NONE || effort.data == NULL) {
        return kind;
    }
    *given = true;
    *off = strcmp(effort.data, "none") == 0;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(effort.data, known[i]) == 0) {
            return FAULT_NONE;
        }
    }
    return !r->model->strict ? FAULT_NONE
                             : fault_set(r->fault, FAULT_BAD_REQUEST, "reasoning_effort",
                                         "reasoning_effort is \"%.*s\"; use low, high or max",
                                         field_shown(effort.data, effort.len), effort.data);
}

static int refuse_thinking_member(void *arg, const char *key, const struct json *value)
{
    const struct reading *r = arg;

    (void)value;
    if (strcmp(key, "type") == 0 || strcmp(key, "keep") == 0 || strcmp(key, "effort") == 0) {
        return 0;
    }
    fault_set(r->fault, FAULT_BAD_REQUEST, "thinking", "thinking has the unknown member \"%.*s\"",
              field_shown(key, strlen(key)), key);
    return 1;
}

static enum fault_kind read_thinking_object(const struct reading *r, const struct json *thinking,
                                            bool *given, bool *on)
{
    struct api_text type = {0}, keep = {0}, effort = {0};
    enum fault_kind kind = field_string(thinking, "thinking.type", &type, r->fault);

    if (kind == FAULT_NONE) {
        kind = field_string(thinking, "thinking.keep", &keep, r->fault);
    }
    if (kind == FAULT_NONE) {
        kind = field_string(thinking, "thinking.effort", &effort, r->fault);
    }
    if (kind != FAULT_NONE) {
        return kind;
    }
    if (keep.data != NULL && strcmp(keep.data, "all") != 0) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "thinking.keep",
                         "thinking.keep must be null or \"all\"");
    }
    r->out->keep_reasoning = keep.data != NULL;
    if (r->model->strict && json_each(thinking, refuse_thinking_member, (void *)r) != 0) {
        return FAULT_BAD_REQUEST;
    }
    if (type.data == NULL) {
        return !r->model->strict || effort.data != NULL
                   ? FAULT_NONE
                   : fault_set(r->fault, FAULT_BAD_REQUEST, "thinking.type",
                               "thinking.type is missing; use enabled or disabled");
    }
    if (strcmp(type.data, "enabled") != 0 && strcmp(type.data, "disabled") != 0) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "thinking.type",
                         "thinking.type is \"%.*s\"; use enabled or disabled",
                         field_shown(type.data, type.len), type.data);
    }
    *given = true;
    *on = type.data[0] == 'e';
    return FAULT_NONE;
}

/* Spellings of other servers, taken by the lenient profile alone. */
static enum fault_kind read_other_switches(const struct reading *r, bool *given, bool *on)
{
    const struct json *kwargs = NULL;
    bool value = *on;
    enum fault_kind kind = field_bool(r->root, "enable_thinking", &value, r->fault);

    if (kind == FAULT_NONE) {
        kind = field_of_kind(r->root, "chat_template_kwargs", JSON_OBJECT, &kwargs, r->fault);
    }
    if (kind == FAULT_NONE && kwargs != NULL) {
        kind = field_bool(kwargs, "chat_template_kwargs.enable_thinking", &value, r->fault);
    }
    if (kind == FAULT_NONE && kwargs != NULL) {
        kind = field_bool(kwargs, "chat_template_kwargs.thinking", &value, r->fault);
    }
    *given = *given || value != *on;
    *on = value;
    return kind;
}

static enum fault_kind settle_thinking(const struct reading *r, bool given, bool on)
{
    enum api_thinking rule = r->model->thinking;

    if (rule == API_THINKING_OFF || rule == API_THINKING_ON) {
        r->out->thinking = given ? on : rule == API_THINKING_ON;
        return FAULT_NONE;
    }
    r->out->thinking = rule == API_THINKING_ALWAYS;
    if (r->model->strict && given && on != r->out->thinking) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "thinking",
                         "invalid thinking: only %s is allowed for this model",
                         r->out->thinking ? "enabled" : "disabled");
    }
    return FAULT_NONE;
}

/* Default, then the weaker words, then the stronger: `thinking` wins. */
static enum fault_kind read_thinking(struct reading *r)
{
    const struct json *thinking = field_get(r->root, "thinking");
    bool has_effort = false, off = false, given = false;
    bool on = r->model->thinking == API_THINKING_ON || r->model->thinking == API_THINKING_ALWAYS;
    enum fault_kind kind = read_effort(r, &has_effort, &off);

    if (kind != FAULT_NONE) {
        return kind;
    }
    if (has_effort && thinking != NULL && r->model->strict) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "reasoning_effort",
                         "cannot specify both 'thinking' and 'reasoning_effort'");
    }
    if (off) {
        given = true;
        on = false;
    }
    if (!r->model->strict) {
        kind = read_other_switches(r, &given, &on);
    }
    if (kind != FAULT_NONE) {
        return kind;
    }
    if (json_kind(thinking) == JSON_OBJECT) {
        kind = read_thinking_object(r, thinking, &given, &on);
    } else if (json_kind(thinking) == JSON_BOOL && !r->model->strict) {
        given = true;
        on = json_bool(thinking);
    } else if (thinking != NULL) {
        kind = fault_set(r->fault, FAULT_BAD_REQUEST, "thinking",
                         "thinking is %s; expected type object, such as "
                         "{\"type\":\"enabled\"}",
                         field_kind_name(json_kind(thinking)));
    }
    return kind != FAULT_NONE ? kind : settle_thinking(r, given, on);
}

static enum fault_kind read_stream(struct reading *r)
{
    const struct json *options = NULL;
    struct api_request *out = r->out;
    bool usage = false;
    enum fault_kind kind = field_bool(r->root, "stream", &out->stream, r->fault);

    if (kind == FAULT_NONE) {
        kind = field_of_kind(r->root, "stream_options", JSON_OBJECT, &options, r->fault);
    }
    if (kind != FAULT_NONE || options == NULL) {
        return kind;
    }
    kind = field_bool(options, "stream_options.include_usage", &usage, r->fault);
    if (kind == FAULT_NONE && r->model->strict && !out->stream) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "stream_options",
                         "stream_options may be given only with stream true");
    }
    out->include_usage = usage && out->stream;
    return kind;
}

/* Both names are checked; the newer wins. */
static enum fault_kind read_max_tokens(struct reading *r)
{
    int64_t *out = &r->out->max_tokens;
    enum fault_kind kind;

    *out = r->model->max_tokens;
    kind = field_int(r->root, "max_tokens", 1, INT64_MAX, out, r->fault);
    if (kind == FAULT_NONE) {
        kind = field_int(r->root, "max_completion_tokens", 1, INT64_MAX, out, r->fault);
    }
    return kind;
}

static enum fault_kind read_temperature(struct reading *r)
{
    double *out = &r->out->temperature;
    double usual = r->out->thinking ? r->model->temperature : r->model->temperature_instant;
    enum fault_kind kind;

    *out = usual;
    r->out->has_temperature = field_get(r->root, "temperature") != NULL;
    kind = field_number(r->root, "temperature", 0, 2, out, r->fault);
    if (kind == FAULT_NONE) {
        kind = check_fixed(r, "temperature", *out, usual);
    }
    if (kind == FAULT_NONE && r->model->strict && *out > 1) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "temperature",
                         "invalid temperature: only values from 0 to 1 are allowed for this "
                         "model");
    }
    return kind;
}

static enum fault_kind read_choices(struct reading *r)
{
    int64_t n = 1;
    enum fault_kind kind = field_int(r->root, "n", 1, r->limits->choices, &n, r->fault);

    if (kind == FAULT_NONE) {
        kind = check_fixed(r, "n", (double)n, 1);
    }
    if (kind == FAULT_NONE && r->model->strict && n > 1 && r->out->temperature < 1e-3) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "n",
                         "invalid n: only 1 is allowed when temperature is close to 0");
    }
    r->out->choices = (int)n;
    return kind;
}

static enum fault_kind read_penalty(struct reading *r, const char *key, double *out)
{
    enum fault_kind kind = field_number(r->root, key, -2, 2, out, r->fault);

    return kind == FAULT_NONE ? check_fixed(r, key, *out, 0) : kind;
}

static enum fault_kind read_sampling(struct reading *r)
{
    struct api_request *out = r->out;
    int64_t top_k = 0;
    enum fault_kind kind = read_temperature(r);

    out->top_p = r->model->top_p;
    if (kind == FAULT_NONE) {
        kind = field_number(r->root, "top_p", 0, 1, &out->top_p, r->fault);
    }
    if (kind == FAULT_NONE) {
        kind = check_fixed(r, "top_p", out->top_p, r->model->top_p);
    }
    if (kind == FAULT_NONE) {
        kind = read_choices(r);
    }
    if (kind == FAULT_NONE) {
        kind = read_penalty(r, "presence_penalty", &out->presence_penalty);
    }
    if (kind == FAULT_NONE) {
        kind = read_penalty(r, "frequency_penalty", &out->frequency_penalty);
    }
    if (kind == FAULT_NONE) { /* -1 is how some servers spell "off" */
        kind = field_int(r->root, "top_k", -1, INT32_MAX, &top_k, r->fault);
        out->top_k = top_k < 0 ? 0 : (int)top_k;
    }
    if (kind == FAULT_NONE) {
        kind = field_number(r->root, "min_p", 0, 1, &out->min_p, r->fault);
    }
    return kind;
}

static enum fault_kind read_seed(struct reading *r)
{
    int64_t seed = 0;

    r->out->has_seed = field_get(r->root, "seed") != NULL;
    enum fault_kind kind = field_int(r->root, "seed", INT64_MIN, INT64_MAX, &seed, r->fault);
    r->out->seed = (uint64_t)seed;
    return kind;
}

/* Adds one stop string; `path` names it. */
static enum fault_kind add_stop(struct reading *r, const struct json *v, const char *path)
{
    struct api_text text;

    if (json_kind(v) != JSON_STRING) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, path, "%s must be a string, not %s", path,
                         field_kind_name(json_kind(v)));
    }
    text.data = json_string(v, &text.len);
    if (text.len > (size_t)r->limits->stop_bytes) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, path,
                         "%s has %zu bytes; at most %d are taken (limits.stop_bytes)", path,
                         text.len, r->limits->stop_bytes);
    }
    if (text.len == 0) {
        return r->model->strict
                   ? fault_set(r->fault, FAULT_BAD_REQUEST, path, "%s must not be empty", path)
                   : FAULT_NONE;
    }
    r->out->stops[r->out->n_stops++] = text;
    return FAULT_NONE;
}

static enum fault_kind read_stop(struct reading *r)
{
    const struct json *stop = field_get(r->root, "stop");
    size_t n = json_kind(stop) == JSON_ARRAY ? json_len(stop) : 1;
    enum fault_kind kind = FAULT_NONE;

    if (stop == NULL || n == 0) {
        return FAULT_NONE;
    }
    if (json_kind(stop) != JSON_STRING && json_kind(stop) != JSON_ARRAY) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "stop",
                         "stop must be a string or an array of strings, not %s",
                         field_kind_name(json_kind(stop)));
    }
    if (n > (size_t)r->limits->stops) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "stop",
                         "stop has %zu entries; at most %d are taken (limits.stops)", n,
                         r->limits->stops);
    }
    r->out->stops = arena_alloc(r->arena, n * sizeof *r->out->stops);
    if (json_kind(stop) == JSON_STRING) {
        return add_stop(r, stop, "stop");
    }
    for (size_t i = 0; kind == FAULT_NONE && i < n; i++) {
        char path[32];
        snprintf(path, sizeof path, "stop[%zu]", i);
        kind = add_stop(r, json_at(stop, i), path);
    }
    return kind;
}

/* A token's number as it is written without sign and without zeros before it; -1 otherwise. */
static int64_t token_number(const char *s)
{
    int64_t n = 0;

    if (s[0] == '\0' || (s[0] == '0' && s[1] != '\0')) {
        return -1;
    }
    for (; *s != '\0'; s++) {
        if (*s < '0' || *s > '9') {
            return -1;
        }
        n = n * 10 + (*s - '0');
        if (n > INT32_MAX) {
            return -1;
        }
    }
    return n;
}

static int add_bias(void *arg, const char *key, const struct json *value)
{
    struct reading *r = arg;
    int64_t token = token_number(key);
    bool number = json_kind(value) == JSON_INT || json_kind(value) == JSON_DOUBLE;
    double bias = number ? json_double(value) : 0;
    int shown = field_shown(key, strlen(key));

    if (token < 0) {
        fault_set(r->fault, FAULT_BAD_REQUEST, "logit_bias",
                  "logit_bias has the key \"%.*s\"; its keys are token numbers", shown, key);
        return 1;
    }
    if (!number || bias < -100 || bias > 100) {
        fault_set(r->fault, FAULT_BAD_REQUEST, "logit_bias",
                  "logit_bias of token %.*s must be a number from -100 to 100", shown, key);
        return 1;
    }
    r->out->biases[r->out->n_biases++] = (struct api_bias){(int32_t)token, (float)bias};
    return 0;
}

static enum fault_kind read_biases(struct reading *r)
{
    const struct json *map = NULL;
    enum fault_kind kind = field_of_kind(r->root, "logit_bias", JSON_OBJECT, &map, r->fault);

    if (kind != FAULT_NONE || map == NULL || json_len(map) == 0) {
        return kind;
    }
    if (json_len(map) > (size_t)r->limits->logit_biases) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "logit_bias",
                         "logit_bias has %zu entries; at most %d are taken", json_len(map),
                         r->limits->logit_biases);
    }
    r->out->biases = arena_alloc(r->arena, json_len(map) * sizeof *r->out->biases);
    return json_each(map, add_bias, r) == 0 ? FAULT_NONE : FAULT_BAD_REQUEST;
}

static enum fault_kind read_logprobs(struct reading *r)
{
    int64_t top = 0;
    enum fault_kind kind = field_bool(r->root, "logprobs", &r->out->logprobs, r->fault);

    if (kind == FAULT_NONE) {
        kind = field_int(r->root, "top_logprobs", 0, 20, &top, r->fault);
    }
    if (kind == FAULT_NONE && top > 0 && !r->out->logprobs) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "top_logprobs",
                         "top_logprobs needs logprobs to be true");
    }
    r->out->top_logprobs = (int)top;
    return kind;
}

static enum fault_kind read_model(struct reading *r)
{
    r->out->model = api_request_model(r->root, r->fault);
    return r->out->model != NULL ? FAULT_NONE : r->fault->kind;
}

static enum fault_kind default_thinking(struct reading *r)
{
    return settle_thinking(r, false, false);
}

static enum fault_kind run_steps(struct reading *r,
                                 enum fault_kind (*const *steps)(struct reading *), size_t n)
{
    enum fault_kind kind = FAULT_NONE;

    memset(r->out, 0, sizeof *r->out);
    memset(r->fault, 0, sizeof *r->fault);
    for (size_t i = 0; kind == FAULT_NONE && i < n; i++) {
        kind = steps[i](r);
    }
    return kind;
}

enum fault_kind api_request_read(const struct json *root, const struct api_model *model,
                                 const struct api_limits *limits, struct arena *arena,
                                 struct api_request *out, struct fault *f)
{
    static enum fault_kind (*const steps[])(struct reading *) = {
        read_model, read_stream, reading_messages, read_thinking, read_max_tokens,  read_sampling,
        read_seed,  read_stop,   read_biases,      read_logprobs, reading_features,
    };
    struct reading r = {root, model, limits, arena, out, f, false};

    return run_steps(&r, steps, sizeof steps / sizeof steps[0]);
}

enum fault_kind api_count_read(const struct json *root, const struct api_model *model,
                               const struct api_limits *limits, struct arena *arena,
                               struct api_request *out, struct fault *f)
{
    static enum fault_kind (*const steps[])(struct reading *) = {
        read_model,
        default_thinking,
        reading_messages,
    };
    struct reading r = {root, model, limits, arena, out, f, true};

    return run_steps(&r, steps, sizeof steps / sizeof steps[0]);
}
