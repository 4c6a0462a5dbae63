/*
 * The bodies that answers have: the whole reply, the chunks of a stream, the lists. Keys, order
 * and null fields are those of the tutorial's samples. Pure; any thread.
 */
#ifndef MOONGATE_API_REPLY_H
#define MOONGATE_API_REPLY_H

#include "api/request.h"
#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What all bodies of one call have in common. */
struct api_head {
    const char *id;          /* "chatcmpl-" and 16 hex digits */
    int64_t created;         /* Unix seconds */
    const char *model;       /* as asked for */
    const char *fingerprint; /* names the model that answered */
};

enum api_usage_source {
    API_USAGE_NONE,     /* nothing is known */
    API_USAGE_ENGINE,   /* this process generated it */
    API_USAGE_UPSTREAM, /* the upstream said so */
    API_USAGE_COUNTED,  /* counted here with the model's tokenizer */
    API_USAGE_ESTIMATED /* from the length of the texts */
};

struct api_usage {
    int64_t prompt_tokens, cached_tokens;
    int64_t completion_tokens, reasoning_tokens; /* reasoning is part of completion */
    enum api_usage_source source;
};

struct api_logprob {
    const char *bytes;
    size_t n_bytes;
    double logprob;
    const struct api_logprob *top;
    size_t n_top;
};

enum api_finish { API_FINISH_NONE, API_FINISH_STOP, API_FINISH_LENGTH, API_FINISH_TOOL_CALLS };

/* One choice of a whole reply. */
struct api_choice {
    struct api_text content, reasoning; /* reasoning empty: written as null under thinking off */
    bool has_reasoning;
    bool wants_logprobs;       /* else logprobs is null */
    const char *logprobs_json; /* the entries made by api_logprob_write joined by commas, or "" */
    size_t logprobs_len;
    enum api_finish finish;
};

void api_reply_write(struct buf *b, const struct api_head *h, const struct api_choice *choices,
                     size_t n, const struct api_usage *u);

void api_usage_write(struct buf *b, const struct api_usage *u); /* the object, every spelling */

/* Appends one entry of logprobs.content: {"token","logprob","bytes","top_logprobs"}; writes a
 * comma first if `more`. */
void api_logprob_write(struct buf *b, const struct api_logprob *p, bool more);

/* Events of a stream, each "data: {...}\n\n". */
void api_chunk_role(struct buf *b, const struct api_head *h, int choice);
/* Text; either may be empty, not both, unless logprobs are given. logprobs_json as above, or
 * NULL for null. */
void api_chunk_text(struct buf *b, const struct api_head *h, int choice, struct api_text reasoning,
                    struct api_text content, const char *logprobs_json, size_t logprobs_len);
void api_chunk_finish(struct buf *b, const struct api_head *h, int choice, enum api_finish finish);
void api_chunk_usage(struct buf *b, const struct api_head *h, const struct api_usage *u);
void api_chunk_done(struct buf *b);       /* data: [DONE] */
void api_chunk_keep_alive(struct buf *b); /* a comment line, ended by one LF */

/* GET /v1/models; one row more per call of _row, `first` for the first. */
void api_models_open(struct buf *b);
void api_models_row(struct buf *b, const struct api_model *m, bool first);
void api_models_close(struct buf *b);
/* POST /v1/tokenizers/estimate-token-count */
void api_count_write(struct buf *b, int64_t total_tokens);

#endif
