/*
 * A `deepseek2` model: its tensors checked and normalised at load, and the forward pass.
 *
 * Attention is MLA in the absorbed form: the cache holds [latent | rotary key] and one multi-query
 * head of that width serves all heads. Both layouts of the K/V-up tensors are read (fused
 * attn_kv_b, split attn_k_b and attn_v_b in 2 or 3 dimensions) and end as the split one.
 * Nothing about a size is fixed. After model_open the weights are read-only; model_forward has
 * one caller at a time (it owns the scratch memory) and uses the pool.
 */
#ifndef MOONGATE_ENGINE_MODEL_H
#define MOONGATE_ENGINE_MODEL_H

#include "base/error.h"
#include "engine/gguf.h"
#include "engine/kernels.h"
#include "engine/kv.h"
#include "engine/pool.h"

#include <stdbool.h>
#include <stdint.h>

struct model;

struct model_shape {
    int layers, dense_layers, hidden, heads;
    int q_lora; /* 0: none */
    int kv_lora, nope, rope, value;
    int dense_ffn, experts, experts_used, expert_ffn, shared_experts;
    int groups, groups_used;
    int vocabulary, context_tokens;
    float norm_eps, rope_base, expert_scale;
    bool expert_norm, sigmoid_gate;
    float score_scale; /* 1/sqrt(nope+rope), times YaRN's magnitude squared */
};

struct model_options {
    const struct kernels *kernels;
    struct pool *pool;
    int max_batch; /* tokens in one model_forward */
    bool yarn_beta_file;
    void (*progress)(void *arg, const char *what, int percent); /* may be NULL */
    void *progress_arg;
};

int model_open(const struct gguf *g, const struct model_options *o, struct model **out,
               struct error *e); /* g must outlive the model */
void model_close(struct model *m);
const struct model_shape *model_shape(const struct model *m);
uint64_t model_parameters(const struct model *m);
const char *model_weights(const struct model *m); /* most common matrix type */

/* One token of one sequence to evaluate. Tokens of one sequence stand in a batch in the order
 * of their positions, the first at seq->n_tokens; room was made by kv_seq_reserve. */
struct model_token {
    struct kv_seq *seq;
    int32_t token;
    int position;
    bool want_logits;
};

/* Evaluates the batch, writes the KV rows (the caller commits them afterwards), and fills
 * logits: `vocabulary` floats for each token that wants them, in batch order. */
void model_forward(struct model *m, struct kv *kv, const struct model_token *batch, int n,
                   float *logits);

#endif
