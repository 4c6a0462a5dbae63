/*
 * Writes the bodies of answers, compact, straight into a buffer: no tree is built, so that a
 * chunk costs one pass over its text. Keys stand in the order of the tutorial's samples, and
 * those that have no value are null where the samples have null. Holds nothing; any thread.
 */
#include "api/reply.h"

#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* What is written for a probability of zero: JSON has no infinity, and clients know this one. */
static const double LOGPROB_NEVER = -9999.0;

static void write_cstring(struct buf *b, const char *s)
{
    json_write_string(b, s, strlen(s));
}

static void write_text(struct buf *b, struct api_text t)
{
    json_write_string(b, t.data == NULL ? "" : t.data, t.len);
}

static void write_finish(struct buf *b, enum api_finish finish)
{
    static const char *const names[] = {
        [API_FINISH_NONE] = "null",
        [API_FINISH_STOP] = "\"stop\"",
        [API_FINISH_LENGTH] = "\"length\"",
        [API_FINISH_TOOL_CALLS] = "\"tool_calls\"",
    };
    buf_adds(b, names[finish]);
}

/* {"id","object","created","model" without the brace that ends it. */
static void write_head(struct buf *b, const struct api_head *h, const char *object)
{
    buf_adds(b, "{\"id\":");
    write_cstring(b, h->id);
    buf_addf(b, ",\"object\":\"%s\",\"created\":%" PRId64 ",\"model\":", object, h->created);
    write_cstring(b, h->model);
}

void api_usage_write(struct buf *b, const struct api_usage *u)
{
    buf_addf(b,
             "{\"prompt_tokens\":%" PRId64 ",\"completion_tokens\":%" PRId64
             ",\"total_tokens\":%" PRId64 ",\"cached_tokens\":%" PRId64,
             u->prompt_tokens, u->completion_tokens, u->prompt_tokens + u->completion_tokens,
             u->cached_tokens);
    buf_addf(b,
             ",\"prompt_tokens_details\":{\"cached_tokens\":%" PRId64
             ",\"cached_tokens_details\":{}}"
             ",\"completion_tokens_details\":{\"reasoning_tokens\":%" PRId64 "}}",
             u->cached_tokens, u->reasoning_tokens);
}

static void write_logprobs(struct buf *b, const char *entries, size_t len)
{
    buf_adds(b, "{\"content\":[");
    buf_add(b, entries, len);
    buf_adds(b, "],\"refusal\":null}");
}

static void write_choice(struct buf *b, const struct api_choice *c, size_t index)
{
    buf_addf(b, "{\"index\":%zu,\"message\":{\"role\":\"assistant\",\"content\":", index);
    write_text(b, c->content);
    buf_adds(b, ",\"refusal\":null");
    if (c->has_reasoning) {
        buf_adds(b, ",\"reasoning_content\":");
        write_text(b, c->reasoning);
        buf_adds(b, ",\"reasoning\":");
        write_text(b, c->reasoning);
    } else {
        buf_adds(b, ",\"reasoning_content\":null,\"reasoning\":null");
    }
    buf_adds(b, ",\"tool_calls\":[]},\"logprobs\":");
    if (c->wants_logprobs) {
        write_logprobs(b, c->logprobs_json, c->logprobs_len);
    } else {
        buf_adds(b, "null");
    }
    buf_adds(b, ",\"finish_reason\":");
    write_finish(b, c->finish);
    buf_addc(b, '}');
}

void api_reply_write(struct buf *b, const struct api_head *h, const struct api_choice *choices,
                     size_t n, const struct api_usage *u)
{
    write_head(b, h, "chat.completion");
    buf_adds(b, ",\"choices\":[");
    for (size_t i = 0; i < n; i++) {
        if (i > 0) {
            buf_addc(b, ',');
        }
        write_choice(b, &choices[i], i);
    }
    buf_adds(b, "],\"usage\":");
    api_usage_write(b, u);
    buf_adds(b, ",\"system_fingerprint\":");
    write_cstring(b, h->fingerprint);
    buf_addc(b, '}');
}

/* {"token","logprob","bytes" without the brace that ends it. */
static void write_token(struct buf *b, const struct api_logprob *p)
{
    buf_adds(b, "{\"token\":");
    json_write_string(b, p->bytes, p->n_bytes);
    buf_adds(b, ",\"logprob\":");
    json_write_double(b, isfinite(p->logprob) ? p->logprob : LOGPROB_NEVER);
    buf_adds(b, ",\"bytes\":[");
    for (size_t i = 0; i < p->n_bytes; i++) {
        buf_addf(b, i > 0 ? ",%d" : "%d", (unsigned char)p->bytes[i]);
    }
    buf_addc(b, ']');
}

void api_logprob_write(struct buf *b, const struct api_logprob *p, bool more)
{
    if (more) {
        buf_addc(b, ',');
    }
    write_token(b, p);
    buf_adds(b, ",\"top_logprobs\":[");
    for (size_t i = 0; i < p->n_top; i++) {
        if (i > 0) {
            buf_addc(b, ',');
        }
        write_token(b, &p->top[i]);
        buf_addc(b, '}');
    }
    buf_adds(b, "]}");
}

static void open_chunk(struct buf *b, const struct api_head *h)
{
    buf_adds(b, "data: ");
    write_head(b, h, "chat.completion.chunk");
    buf_adds(b, ",\"system_fingerprint\":");
    write_cstring(b, h->fingerprint);
    buf_adds(b, ",\"choices\":[");
}

static void open_delta(struct buf *b, const struct api_head *h, int choice)
{
    open_chunk(b, h);
    buf_addf(b, "{\"index\":%d,\"delta\":{", choice);
}

static void close_delta(struct buf *b, const char *logprobs_json, size_t logprobs_len,
                        enum api_finish finish)
{
    buf_adds(b, "},\"logprobs\":");
    if (logprobs_json != NULL) {
        write_logprobs(b, logprobs_json, logprobs_len);
    } else {
        buf_adds(b, "null");
    }
    buf_adds(b, ",\"finish_reason\":");
    write_finish(b, finish);
    buf_adds(b, "}],\"usage\":null}\n\n");
}

void api_chunk_role(struct buf *b, const struct api_head *h, int choice)
{
    open_delta(b, h, choice);
    buf_adds(b, "\"content\":\"\",\"role\":\"assistant\"");
    close_delta(b, NULL, 0, API_FINISH_NONE);
}

void api_chunk_text(struct buf *b, const struct api_head *h, int choice, struct api_text reasoning,
                    struct api_text content, const char *logprobs_json, size_t logprobs_len)
{
    bool writes_content = content.len > 0 || reasoning.len == 0;

    open_delta(b, h, choice);
    if (writes_content) {
        buf_adds(b, "\"content\":");
        write_text(b, content);
    }
    if (reasoning.len > 0) {
        buf_adds(b, writes_content ? ",\"reasoning_content\":" : "\"reasoning_content\":");
        write_text(b, reasoning);
        buf_adds(b, ",\"reasoning\":");
        write_text(b, reasoning);
    }
    close_delta(b, logprobs_json, logprobs_len, API_FINISH_NONE);
}

void api_chunk_finish(struct buf *b, const struct api_head *h, int choice, enum api_finish finish)
{
    open_delta(b, h, choice);
    close_delta(b, NULL, 0, finish);
}

void api_chunk_usage(struct buf *b, const struct api_head *h, const struct api_usage *u)
{
    open_chunk(b, h);
    buf_adds(b, "],\"usage\":");
    api_usage_write(b, u);
    buf_adds(b, "}\n\n");
}

void api_chunk_done(struct buf *b)
{
    buf_adds(b, "data: [DONE]\n\n");
}

void api_chunk_keep_alive(struct buf *b)
{
    /* One LF only: some readers take a blank line after a comment for an empty event. */
    buf_adds(b, ": keep-alive\n");
}

void api_models_open(struct buf *b)
{
    buf_adds(b, "{\"object\":\"list\",\"data\":[");
}

void api_models_row(struct buf *b, const struct api_model *m, bool first)
{
    const char *images = m->images ? "true" : "false";

    buf_adds(b, first ? "{\"id\":" : ",{\"id\":");
    write_cstring(b, m->id);
    buf_addf(b,
             ",\"object\":\"model\",\"created\":%" PRId64
             ",\"owned_by\":\"moongate\",\"context_length\":%" PRId64
             ",\"supports_image_in\":%s,\"supports_video_in\":%s,\"supports_reasoning\":%s}",
             m->created, m->context_tokens, images, images,
             m->thinking == API_THINKING_NEVER ? "false" : "true");
}

void api_models_close(struct buf *b)
{
    buf_adds(b, "]}");
}

void api_count_write(struct buf *b, int64_t total_tokens)
{
    buf_addf(b, "{\"data\":{\"total_tokens\":%" PRId64 "}}", total_tokens);
}
