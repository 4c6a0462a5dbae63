/*
 * What the parts of reading one request share. Pure; any thread. Of this room alone.
 */
#ifndef MOONGATE_API_READING_H
#define MOONGATE_API_READING_H

#include "api/request.h"

struct reading {
    const struct json *root;
    const struct api_model *model;
    const struct api_limits *limits;
    struct arena *arena;
    struct api_request *out;
    struct fault *fault;
    bool counting; /* only the messages' tokens are asked for */
};

/* Notes what is well-formed and more than the engine of this process can answer: the first such
 * thing stays in out->upstream_only, and reading goes on. */
void reading_needs_upstream(struct reading *r, const char *param, const char *what);

/* messages.c: the message list. */
enum fault_kind reading_messages(struct reading *r);
/* features.c: tools, response_format, sound and the like: checked, and noted where only an
 * upstream can answer. Needs `thinking` decided. */
enum fault_kind reading_features(struct reading *r);

#endif
