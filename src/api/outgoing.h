/*
 * The body of a request to an upstream, written anew from the parsed tree. Pure; any thread.
 *
 * The model's name is the upstream's; a stream always asks for usage; `stream` is what the
 * request says; values that the lenient profile brought into range are written as they were
 * brought (and left out where the model's sampling is fixed); everything else, known or not, is
 * copied member by member. The client's bytes themselves never go out.
 */
#ifndef MOONGATE_API_OUTGOING_H
#define MOONGATE_API_OUTGOING_H

#include "api/request.h"
#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

struct outgoing {
    const char *model;    /* the name that the upstream knows */
    bool template_kwargs; /* thinking is also written as chat_template_kwargs.thinking and
                             .enable_thinking, where vLLM, SGLang and llama-server read it */
    int64_t max_tokens;   /* of this call at most; 0: as the request says */
};

void outgoing_write(struct buf *b, const struct json *root, const struct api_request *r,
                    const struct api_model *m, const struct outgoing *o);

#endif
