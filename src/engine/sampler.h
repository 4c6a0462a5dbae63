/*
 * From logits to one token. Order: logit_bias, penalties, temperature, top_k, top_p, min_p,
 * draw (the order of the API world, where top_p acts on the tempered distribution).
 *
 * The random number of a draw is a function of (seed, choice, position in the reply) alone, so a
 * reply does not depend on what else runs. One owner at a time; scratch memory is inside.
 */
#ifndef MOONGATE_ENGINE_SAMPLER_H
#define MOONGATE_ENGINE_SAMPLER_H

#include "engine/engine.h"

struct sampler;

/* `s` is copied, its bias list too; biases of ids outside the vocabulary are dropped. */
struct sampler *sampler_new(const struct engine_sampling *s, int choice, int vocabulary);
void sampler_free(struct sampler *s);
/* Changes `logits` (vocabulary floats) in place, and counts the token it returns. */
int32_t sampler_pick(struct sampler *s, float *logits);

/* Log-probabilities of the raw logits: of `token`, and the n most likely (the lowest id first
 * on ties). Call before sampler_pick has changed them. Returns the token's own. */
float sampler_logprobs(const float *logits, int vocabulary, int32_t token, int n_top,
                       int32_t *top_ids, float *top_logprobs);

#endif
