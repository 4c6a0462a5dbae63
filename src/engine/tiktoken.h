/*
 * A tokenizer out of Kimi's tiktoken.model. Blocks while it reads (about 3 MB); any thread.
 * Private to the engine room and its tests.
 */
#ifndef MOONGATE_ENGINE_TIKTOKEN_H
#define MOONGATE_ENGINE_TIKTOKEN_H

#include "engine/tokenizer.h"

int tiktoken_open(const char *path, struct tokenizer **out, struct error *e);

#endif
