/*
 * What stands between sampled tokens and the text a client sees, for one choice:
 *   token bytes > reasoning apart from content > whole UTF-8 characters > stop strings.
 *
 * Bytes of an unfinished character are held back until it is complete; a byte that can never
 * become one is emitted as U+FFFD. Text that could be the beginning of a stop string is held
 * back until it is decided. Stop strings are looked for in the content, not in the reasoning.
 * Special tokens never become text. One owner at a time.
 */
#ifndef MOONGATE_ENGINE_TEXTFLOW_H
#define MOONGATE_ENGINE_TEXTFLOW_H

#include "base/buf.h"
#include "engine/engine.h"
#include "engine/template.h"
#include "engine/tokenizer.h"

struct textflow;

struct textflow *textflow_new(const struct tokenizer *t, enum template_state start,
                              const struct engine_text *stops, size_t n_stops);
void textflow_free(struct textflow *f);

/* Takes one token (not one that ends generation). Appends what became final to `reasoning` and
 * `content`. Returns true when a stop string is complete: nothing more is to be generated. */
bool textflow_token(struct textflow *f, int32_t token, struct buf *reasoning, struct buf *content);
/* The reply is over: gives out what was held back. */
void textflow_finish(struct textflow *f, struct buf *reasoning, struct buf *content);
bool textflow_in_reasoning(const struct textflow *f); /* the token just taken counted as such */
bool textflow_pending(const struct textflow *f);      /* some text is held back */

#endif
