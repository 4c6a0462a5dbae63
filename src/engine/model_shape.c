/*
 * The metadata of a `deepseek2` file: every size is read, none is assumed, and what does not go
 * together is refused by the name of its key. Pure.
 */
#include "engine/model_private.h"

#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

enum {
    LAYERS_MAX = 1024,
    WIDTH_MAX = 1 << 20, /* so that a product of two fits an int64 with room to spare */
    HEADS_MAX = 1 << 14,
    CONTEXT_MAX = 1 << 24,
    NEEDED = INT_MIN /* as a fallback: the key must be there */
};

struct int_key {
    const char *key;
    int64_t min, max, fallback;
    size_t offset; /* of an int in struct model_shape */
};

#define FIELD(name) offsetof(struct model_shape, name)

static const struct int_key int_keys[] = {
    {"%A.block_count", 1, LAYERS_MAX, NEEDED, FIELD(layers)},
    {"%A.leading_dense_block_count", 0, LAYERS_MAX, 0, FIELD(dense_layers)},
    {"%A.context_length", 1, CONTEXT_MAX, NEEDED, FIELD(context_tokens)},
    {"%A.embedding_length", 1, WIDTH_MAX, NEEDED, FIELD(hidden)},
    {"%A.attention.head_count", 1, HEADS_MAX, NEEDED, FIELD(heads)},
    {"%A.attention.kv_lora_rank", 1, WIDTH_MAX, NEEDED, FIELD(kv_lora)},
    {"%A.rope.dimension_count", 2, WIDTH_MAX, NEEDED, FIELD(rope)},
    {"%A.expert_count", 0, MODEL_EXPERTS_MAX, 0, FIELD(experts)},
};

static const struct int_key expert_keys[] = {
    {"%A.expert_used_count", 1, MODEL_EXPERTS_MAX, NEEDED, FIELD(experts_used)},
    {"%A.expert_feed_forward_length", 1, WIDTH_MAX, NEEDED, FIELD(expert_ffn)},
    {"%A.expert_shared_count", 0, MODEL_EXPERTS_MAX, 0, FIELD(shared_experts)},
    {"%A.expert_group_count", 1, MODEL_EXPERTS_MAX, 1, FIELD(groups)},
    {"%A.expert_group_used_count", 1, MODEL_EXPERTS_MAX, 1, FIELD(groups_used)},
};

/* A key without its "%A.", for errors. */
static const char *bare(const char *key)
{
    return key + strlen("%A.");
}

static int read_int(const struct gguf *g, const char *key, int64_t fallback, int64_t min,
                    int64_t max, int *out, struct error *e)
{
    int64_t v;
    int err = fallback == NEEDED ? gguf_int(g, key, min, max, &v, e)
                                 : gguf_int_or(g, key, fallback, min, max, &v, e);

    if (err == 0)
        *out = (int)v;
    return err;
}

static int read_ints(const struct gguf *g, const struct int_key *keys, size_t n,
                     struct model_shape *sh, struct error *e)
{
    for (size_t i = 0; i < n; i++) {
        const struct int_key *k = &keys[i];
        int *out = (int *)(void *)((char *)sh + k->offset);
        int err = read_int(g, k->key, k->fallback, k->min, k->max, out, e);
        if (err != 0)
            return err;
    }
    return 0;
}

/* A finite number greater than `above`. A fallback that is not a number makes the key needed. */
static int read_number(const struct gguf *g, const char *key, double fallback, double above,
                       double *out, struct error *e)
{
    int err =
        isnan(fallback) ? gguf_float(g, key, out, e) : gguf_float_or(g, key, fallback, out, e);

    if (err != 0)
        return err;
    if (!isfinite(*out) || *out <= above)
        return error_set(e, ERR_INVALID, "metadata 'deepseek2.%s' is %g; it must be above %g",
                         bare(key), *out, above);
    return 0;
}

static int read_architecture(const struct gguf *g, struct error *e)
{
    static const char ours[] = "deepseek2";
    const char *name;
    size_t len;
    int err = gguf_string(g, "general.architecture", &name, &len, e);

    if (err != 0)
        return err;
    if (len != strlen(ours) || memcmp(name, ours, len) != 0)
        return error_set(e, ERR_UNSUPPORTED,
                         "metadata 'general.architecture' is '%.*s'; built is '%s'",
                         (int)(len < 64 ? len : 64), name, ours);
    return 0;
}

/* Layers of multi-token prediction at the end are counted by some writers; they take no part. */
static int read_layers(const struct gguf *g, struct model_shape *sh, struct error *e)
{
    int extra;
    int err = read_int(g, "%A.nextn_predict_layers", 0, 0, sh->layers - 1, &extra, e);

    if (err != 0)
        return err;
    sh->layers -= extra;
    if (sh->experts == 0 || sh->dense_layers > sh->layers)
        sh->dense_layers = sh->layers;
    if (sh->dense_layers > 0)
        err = read_int(g, "%A.feed_forward_length", NEEDED, 1, WIDTH_MAX, &sh->dense_ffn, e);
    return err;
}

/* True sizes of a head: the _mla keys if there are any, else (older files) the plain ones. */
static int read_heads(const struct gguf *g, struct model_shape *sh, struct error *e)
{
    bool mla =
        gguf_has(g, "%A.attention.key_length_mla") || gguf_has(g, "%A.attention.value_length_mla");
    const char *key = mla ? "%A.attention.key_length_mla" : "%A.attention.key_length";
    const char *value = mla ? "%A.attention.value_length_mla" : "%A.attention.value_length";
    int length, kv_heads;
    int err = read_int(g, key, NEEDED, 1, WIDTH_MAX, &length, e);

    if (err == 0)
        err = read_int(g, value, NEEDED, 1, WIDTH_MAX, &sh->value, e);
    if (err == 0)
        err = read_int(g, "%A.attention.head_count_kv", sh->heads, 1, HEADS_MAX, &kv_heads, e);
    if (err != 0)
        return err;
    if (sh->rope % 2 != 0)
        return error_set(e, ERR_INVALID,
                         "metadata 'deepseek2.rope.dimension_count' is %d; it must be "
                         "even",
                         sh->rope);
    if (length <= sh->rope)
        return error_set(e, ERR_INVALID,
                         "metadata '%s' is %d; it must be above the rotary part of a head, %d", key,
                         length, sh->rope);
    if (kv_heads != 1 && kv_heads != sh->heads)
        return error_set(
            e, ERR_INVALID,
            "metadata 'deepseek2.attention.head_count_kv' is %d; it must be 1 or the %d of "
            "head_count",
            kv_heads, sh->heads);
    sh->nope = length - sh->rope;
    /* the tensors tell whether a model compresses its queries */
    if (gguf_tensor(g, "blk.0.attn_q_a.weight") != NULL)
        err = read_int(g, "%A.attention.q_lora_rank", NEEDED, 1, WIDTH_MAX, &sh->q_lora, e);
    return err;
}

static int check_experts(const struct model_shape *sh, struct error *e)
{
    int size = sh->experts / sh->groups;

    if (sh->experts_used > sh->experts)
        return error_set(e, ERR_INVALID,
                         "metadata 'deepseek2.expert_used_count' is %d, more than the %d experts",
                         sh->experts_used, sh->experts);
    if (sh->groups > sh->experts || sh->experts % sh->groups != 0)
        return error_set(
            e, ERR_INVALID,
            "metadata 'deepseek2.expert_group_count' is %d, which does not divide the %d "
            "experts",
            sh->groups, sh->experts);
    if (sh->groups_used > sh->groups)
        return error_set(
            e, ERR_INVALID,
            "metadata 'deepseek2.expert_group_used_count' is %d, more than the %d groups",
            sh->groups_used, sh->groups);
    if (sh->experts_used > sh->groups_used * size)
        return error_set(
            e, ERR_INVALID,
            "metadata 'deepseek2.expert_used_count' is %d, but %d groups of %d experts are "
            "used",
            sh->experts_used, sh->groups_used, size);
    return 0;
}

static int read_experts(const struct gguf *g, struct model *m, struct error *e)
{
    struct model_shape *sh = &m->shape;
    double scale;
    int gating;
    int err = read_ints(g, expert_keys, sizeof expert_keys / sizeof expert_keys[0], sh, e);

    if (err == 0)
        err = gguf_float_or(g, "%A.expert_weights_scale", 1, &scale, e);
    if (err == 0)
        err = gguf_bool_or(g, "%A.expert_weights_norm", false, &sh->expert_norm, e);
    if (err == 0)
        err = read_int(g, "%A.expert_gating_func", GATE_SOFTMAX, 0, INT_MAX, &gating, e);
    if (err != 0)
        return err;
    if (!isfinite(scale))
        return error_set(e, ERR_INVALID, "metadata 'deepseek2.expert_weights_scale' is not finite");
    if (gating < GATE_SOFTMAX || gating > GATE_SOFTMAX_CHOSEN)
        return error_set(e, ERR_UNSUPPORTED,
                         "metadata 'deepseek2.expert_gating_func' is %d; built are 1 (softmax), 2 "
                         "(sigmoid) and 3 (softmax over the chosen)",
                         gating);
    sh->expert_scale = scale == 0 ? 1 : (float)scale;
    m->gating = (enum gating)gating;
    sh->sigmoid_gate = gating == GATE_SIGMOID;
    return check_experts(sh, e);
}

static int read_scaling_type(const struct gguf *g, struct rope_plan *r, struct error *e)
{
    static const char *const names[] = {
        [ROPE_NONE] = "none", [ROPE_LINEAR] = "linear", [ROPE_YARN] = "yarn"};
    const char *s;
    size_t len;
    int err;

    r->scaling = ROPE_LINEAR; /* with the factor 1 of its default */
    if (!gguf_has(g, "%A.rope.scaling.type"))
        return 0;
    err = gguf_string(g, "%A.rope.scaling.type", &s, &len, e);
    if (err != 0)
        return err;
    for (int i = ROPE_NONE; i <= ROPE_YARN; i++)
        if (len == strlen(names[i]) && memcmp(s, names[i], len) == 0) {
            r->scaling = (enum rope_scaling)i;
            return 0;
        }
    return error_set(
        e, ERR_UNSUPPORTED,
        "metadata 'deepseek2.rope.scaling.type' is '%.*s'; built are none, linear, yarn",
        (int)(len < 64 ? len : 64), s);
}

static int read_yarn(const struct gguf *g, bool beta_file, int context, struct rope_plan *r,
                     struct error *e)
{
    int err = read_int(g, "%A.rope.scaling.original_context_length", context, 1, CONTEXT_MAX,
                       &r->original_context, e);

    r->beta_fast = 32;
    r->beta_slow = 1;
    if (err == 0)
        err = gguf_float_or(g, "%A.rope.scaling.yarn_log_multiplier", 0, &r->log_multiplier, e);
    if (err == 0 && beta_file)
        err = read_number(g, "%A.rope.scaling.yarn_beta_fast", 32, 0, &r->beta_fast, e);
    if (err == 0 && beta_file)
        err = read_number(g, "%A.rope.scaling.yarn_beta_slow", 1, 0, &r->beta_slow, e);
    if (err == 0 && !isfinite(r->log_multiplier))
        err = error_set(e, ERR_INVALID,
                        "metadata 'deepseek2.rope.scaling.yarn_log_multiplier' is not finite");
    return err;
}

static int read_rope(const struct gguf *g, bool beta_file, struct model *m, struct error *e)
{
    const char *key =
        gguf_has(g, "%A.rope.scaling.factor") ? "%A.rope.scaling.factor" : "%A.rope.scale_linear";
    struct model_shape *sh = &m->shape;
    double base = 0, factor = 0, magnitude;
    int err = read_number(g, "%A.rope.freq_base", 10000, 1, &base, e);

    if (err == 0)
        err = gguf_float_or(g, key, 1, &factor, e);
    if (err == 0)
        err = read_scaling_type(g, &m->rope, e);
    if (err == 0)
        err = read_yarn(g, beta_file, sh->context_tokens, &m->rope, e);
    if (err != 0)
        return err;
    if (!isfinite(factor) || factor < 0)
        return error_set(e, ERR_INVALID, "metadata 'deepseek2.%s' is %g; it must be above 0",
                         bare(key), factor);
    m->rope.factor = factor == 0 ? 1 : factor;
    sh->rope_base = (float)base;
    magnitude = rope_magnitude(&m->rope);
    sh->score_scale = (float)(magnitude * magnitude / sqrt(sh->nope + sh->rope));
    return 0;
}

static int read_vocabulary(const struct gguf *g, struct model_shape *sh, struct error *e)
{
    const int vocabulary_max = 1 << 24;
    const struct gguf_tensor *t = gguf_tensor(g, "token_embd.weight");
    int64_t fallback =
        t != NULL && t->dims[1] <= (uint64_t)vocabulary_max ? (int64_t)t->dims[1] : NEEDED;
    size_t tokens;

    if (!gguf_has(g, "%A.vocab_size") && gguf_has(g, "tokenizer.ggml.tokens")) {
        int err = gguf_array_len(g, "tokenizer.ggml.tokens", &tokens, e);
        if (err != 0)
            return err;
        if (tokens >= 1 && tokens <= (size_t)vocabulary_max)
            fallback = (int64_t)tokens;
    }
    return read_int(g, "%A.vocab_size", fallback, 1, vocabulary_max, &sh->vocabulary, e);
}

int model_read_shape(const struct gguf *g, bool yarn_beta_file, struct model *m, struct error *e)
{
    struct model_shape *sh = &m->shape;
    double eps = 0;
    int err = read_architecture(g, e);

    if (err == 0)
        err = read_ints(g, int_keys, sizeof int_keys / sizeof int_keys[0], sh, e);
    if (err == 0)
        err = read_layers(g, sh, e);
    if (err == 0)
        err = read_heads(g, sh, e);
    if (err == 0 && sh->dense_layers < sh->layers)
        err = read_experts(g, m, e);
    if (err == 0)
        err = read_number(g, "%A.attention.layer_norm_rms_epsilon", NAN, 0, &eps, e);
    if (err == 0)
        err = read_rope(g, yarn_beta_file, m, e);
    if (err == 0)
        err = read_vocabulary(g, sh, e);
    sh->norm_eps = (float)eps;
    return err;
}
