/*
 * Cuts text into the pieces that byte-pair merging works on, by the regular expression that a
 * GGUF names in `tokenizer.ggml.pre`.
 *
 * Every byte of the text is in exactly one piece. A pretokeniser is read-only: any thread; a
 * cutter belongs to one call.
 */
#ifndef MOONGATE_ENGINE_PRETOKENISE_H
#define MOONGATE_ENGINE_PRETOKENISE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct pretokeniser;
struct cutter;

/* ERR_UNSUPPORTED names the expression and those that are known. */
int pretokeniser_open(const char *name, size_t len, struct pretokeniser **out, struct error *e);
void pretokeniser_close(struct pretokeniser *p);

struct cutter *cutter_new(const struct pretokeniser *p, const char *text, size_t len);
void cutter_free(struct cutter *c);

struct cut {
    const char *text; /* borrowed from the cutter's text */
    size_t len;
    bool raw; /* not UTF-8: to be encoded byte by byte */
};

bool cutter_next(struct cutter *c, struct cut *out); /* false at the end */

#endif
