/*
 * A chat request, read from its JSON. Pure; any thread. Strings point into the tree, which must
 * live as long as the request; arrays are in the given arena.
 *
 * Two profiles: lenient normalises values that a model does not take (clamps, ignores), strict
 * answers 400 as Moonshot's API does. Wrong types are 400 in both. Unknown fields are accepted.
 */
#ifndef MOONGATE_API_REQUEST_H
#define MOONGATE_API_REQUEST_H

#include "api/fault.h"
#include "base/json.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum api_role { API_SYSTEM, API_USER, API_ASSISTANT, API_TOOL };

struct api_text {
    const char *data; /* UTF-8; not NUL-terminated by contract */
    size_t len;
};

struct api_message {
    enum api_role role; /* developer is read as system */
    struct api_text name, content, reasoning, tool_call_id;
    const struct json *tool_calls; /* as sent, or NULL */
    bool partial;
};

/* What the configuration says of a model, as far as reading a request needs it. */
enum api_thinking { API_THINKING_NEVER, API_THINKING_OFF, API_THINKING_ON, API_THINKING_ALWAYS };

struct api_model {
    const char *id;
    int64_t context_tokens;
    int64_t created;            /* Unix seconds, for GET /v1/models */
    enum api_thinking thinking; /* OFF and ON: the request may choose, this is the default */
    bool strict;
    double temperature;         /* default when thinking */
    double temperature_instant; /* default when not */
    bool fixed_sampling;        /* strict: temperature, top_p, n and penalties are given */
    double top_p;               /* default */
    int64_t max_tokens;         /* default of a reply; 0: what the context leaves */
    bool images;                /* image, video and sound parts are passed on to an upstream; false
                                   refuses them. Nobody here ever fetches what they name */
};

struct api_limits {
    int messages; /* of one request */
    int choices;  /* n */
    int stops, stop_bytes;
    int logit_biases;
    int tools;
};

struct api_bias {
    int32_t token;
    float bias;
};

struct api_request {
    const char *model; /* as asked for */
    struct api_message *messages;
    size_t n_messages;
    bool stream, include_usage;
    int choices;
    int64_t max_tokens; /* 0: not given and no default */
    double temperature, top_p, presence_penalty, frequency_penalty;
    bool has_temperature; /* given; else it is the model row's default */
    int top_k;            /* extensions of other servers; 0 off */
    double min_p;
    bool has_seed;
    uint64_t seed;
    struct api_text *stops;
    size_t n_stops;
    struct api_bias *biases;
    size_t n_biases;
    bool logprobs;
    int top_logprobs;
    bool thinking;       /* decided from the request and the model */
    bool keep_reasoning; /* thinking.keep "all": reasoning of all earlier turns goes in again */
    const struct json *tools, *tool_choice, *response_format; /* checked for shape, or NULL */
    /* Not FAULT_NONE: well-formed, and more than the engine of this process can answer; an
     * upstream may. The first such thing that was met. */
    struct fault upstream_only;
};

/* Only the model's name, so that the caller can find its row; NULL with a fault if it is missing
 * or no string. */
const char *api_request_model(const struct json *root, struct fault *f);

/* Reads everything. Returns FAULT_NONE or the fault. */
enum fault_kind api_request_read(const struct json *root, const struct api_model *model,
                                 const struct api_limits *limits, struct arena *arena,
                                 struct api_request *out, struct fault *f);

/* The same for estimate-token-count, which takes model and messages alone. */
enum fault_kind api_count_read(const struct json *root, const struct api_model *model,
                               const struct api_limits *limits, struct arena *arena,
                               struct api_request *out, struct fault *f);

#endif
