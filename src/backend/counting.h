/*
 * A thread that counts tokens beside the loop, for calls that an upstream answers.
 *
 * The loop posts texts and gets numbers: by mailbox, with the call's number, never a pointer.
 * Tokenizers are opened once a path, when the first model names it. The event loop's thread.
 */
#ifndef MOONGATE_BACKEND_COUNTING_H
#define MOONGATE_BACKEND_COUNTING_H

#include "api/request.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct counting;
struct event_base;

enum counting_what { COUNTING_PROMPT, COUNTING_REPLY };

/* tokens is -1 if it could not be counted. */
typedef void counting_fn(void *arg, uint64_t number, enum counting_what what, int64_t tokens);

int counting_open(struct event_base *base, counting_fn *fn, void *arg, struct counting **out,
                  struct error *e);
void counting_close(struct counting *c); /* accepts NULL */

/* Opens the tokenizer of a path, or finds it open; blocks: at the start and at a reload. "engine"
 * is the weights in this process, given as bytes or as a path by counting_engine. *id is what
 * the jobs name. */
void counting_engine(struct counting *c, const char *path, const void *bytes, size_t len);
int counting_tokenizer(struct counting *c, const char *path, int *id, struct error *e);

/* Copies what it needs. ERR_BUSY if too much waits (calls or bytes): then nothing comes. */
int counting_prompt(struct counting *c, uint64_t number, int tokenizer,
                    const struct api_request *request);
int counting_reply(struct counting *c, uint64_t number, int tokenizer, const char *text,
                   size_t len);

#endif
