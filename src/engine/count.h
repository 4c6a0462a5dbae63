/*
 * Counts tokens as a model would, without its weights: a tokenizer and a chat template.
 * Read-only after opening; any thread.
 */
#ifndef MOONGATE_ENGINE_COUNT_H
#define MOONGATE_ENGINE_COUNT_H

#include "base/error.h"
#include "engine/engine.h"

#include <stddef.h>
#include <stdint.h>

struct token_count;

/* A GGUF of the family (with or without tensors), or a tiktoken.model as Kimi's models are
 * published with (lines of base64 and rank; K2's special tokens and template). */
int token_count_open(const char *path, struct token_count **out, struct error *e);
/* The same from bytes of a GGUF, which must outlive it. */
int token_count_open_bytes(const void *bytes, size_t len, struct token_count **out,
                           struct error *e);
void token_count_close(struct token_count *t); /* accepts NULL */

/* The prompt that these messages make. `extra` is text that stands in the prompt besides (the
 * declarations of tools); it is counted as text. */
int token_count_prompt(const struct token_count *t, const struct engine_message *messages, size_t n,
                       bool thinking, struct engine_text extra, int64_t *out, struct error *e);
int64_t token_count_text(const struct token_count *t, const char *text, size_t len);

/* What is said where no tokenizer is at hand: from the number of bytes, by the ratio of Kimi's
 * tokenizer over English and Chinese texts that docs/benchmarks.md tells. 0 for 0, else at least
 * 1. */
int64_t token_estimate(size_t bytes);

#endif
