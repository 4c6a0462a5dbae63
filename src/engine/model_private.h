/*
 * What the files of the model share among themselves: the normalised weights, the scratch memory
 * of one forward pass, and the face of each stage. Only model*.c, product.c, rope.c, attention.c
 * and moe.c include it. Everything belongs to the one caller of model_forward; the compute
 * threads see it while that caller waits in pool_run.
 *
 * "Column" means one token's vector in a batch; n columns lie at a fixed stride.
 */
#ifndef MOONGATE_ENGINE_MODEL_PRIVATE_H
#define MOONGATE_ENGINE_MODEL_PRIVATE_H

#include "engine/model.h"

enum { MODEL_EXPERTS_MAX = 4096 };

enum rope_scaling { ROPE_NONE, ROPE_LINEAR, ROPE_YARN };

struct rope_plan {
    enum rope_scaling scaling;
    double factor;
    int original_context;
    double beta_fast, beta_slow;
    double log_multiplier; /* 0: no magnitude correction */
};

enum gating { GATE_SOFTMAX = 1, GATE_SIGMOID = 2, GATE_SOFTMAX_CHOSEN = 3 };

/* Matrices of one shape, one after another at a fixed step: heads or experts. */
struct stack {
    struct matrix first;
    size_t step_bytes;
};

struct layer {
    const float *attn_norm, *q_a_norm, *kv_a_norm, *ffn_norm;
    struct matrix q_a, q_b; /* with q_lora */
    struct matrix q;        /* without */
    struct matrix kv_a, output;
    struct stack k_b, v_b;
    bool sparse;
    struct matrix gate, up, down; /* dense network, or the shared experts of a sparse layer */
    struct matrix router;
    const float *router_bias; /* or NULL */
    struct stack gate_exps, up_exps, down_exps;
};

/* Columns of activations in each form that a weight type may ask for. Form F32 is `f32`. */
struct acts {
    float *f32;
    size_t n;                    /* values in a column */
    size_t stride[QUANT_N_ACTS]; /* bytes from column to column */
    uint8_t *form[QUANT_N_ACTS];
};

/* One matrix times some columns; a list of them is run together. */
struct product {
    struct matrix w;
    const uint8_t *acts;
    size_t act_stride, n_cols;
    float *out;
    size_t out_stride; /* floats */
    size_t tile_rows, first_tile;
};

/* What is still to be added to the residual stream before the next norm. */
enum pending { PENDING_NONE, PENDING_DELTA, PENDING_EXPERTS };

/* Sized for max_batch columns. Pages that a model does not use are never touched. */
struct scratch {
    void *base;
    size_t bytes;
    const struct model_token **token; /* of each column */
    float *x;                         /* [n][hidden]: the residual stream */
    float *delta;                     /* [n][hidden] */
    float *cosines, *sines;           /* [n][rope/2] */
    struct acts in;                   /* hidden */
    struct acts q_low;                /* q_lora */
    struct acts q_nope;               /* columns are (token, head); f32 lies in `q` */
    struct acts latent;               /* kv_lora; columns are (token, head) */
    struct acts values;               /* heads * value */
    struct acts mid;                  /* width of the dense or the shared network */
    float *up;
    float *q;      /* [n][heads][nope + rope] */
    float *kv;     /* [n][kv_lora + rope] */
    float *query;  /* [n][heads][kv_lora + rope] */
    float *scores; /* [thread][head of a group][context] */
    /* routed experts; a slot is one (token, chosen expert), sorted by expert */
    float *router;                 /* [n][experts] */
    int32_t *chosen;               /* [n][used], ascending */
    float *weight;                 /* [n][used] */
    int32_t *slot;                 /* [n][used] */
    int32_t *slot_column;          /* [slot] */
    int32_t *expert_begin;         /* [experts + 1]: first slot */
    struct acts slot_in, slot_mid; /* hidden, expert_ffn */
    float *slot_up, *slot_out;     /* [slot][expert_ffn], [slot][hidden] */
    struct product *products;
};

struct model {
    struct model_shape shape;
    enum gating gating;
    struct rope_plan rope;
    const struct kernels *kernels;
    struct pool *pool;
    int max_batch;
    int head_group_max; /* heads that one attention item may take together */

    struct layer *layers;
    struct matrix embedding, head;
    const float *output_norm;
    const float *frequencies; /* [rope/2] */
    void **owned;             /* what was made at load */
    size_t n_owned;
    uint64_t parameters;
    const char *weights;

    struct scratch s;
    /* the pass in progress */
    struct kv *kv;
    const struct quant_type *cache_type; /* of its rows */
    const struct layer *layer;
    int layer_index;
    int n;          /* columns */
    int head_group; /* heads in one attention item */
    size_t shares;  /* that the attention items are dealt out to */
    enum pending pending;
    const float *norm; /* the weight of the next norm */
    uint32_t forms;    /* that the next product's activations are needed in, one bit each */
    const struct product *running;
    size_t n_running;
    struct acts *finish; /* the columns that a stage completes */
};

/* ---- model_shape.c: metadata ---- */
int model_read_shape(const struct gguf *g, bool yarn_beta_file, struct model *m, struct error *e);

/* ---- model_load.c: tensors ---- */
int model_read_tensors(const struct gguf *g, struct model *m, const struct model_options *o,
                       struct error *e);

/* ---- model_scratch.c ---- */
int model_scratch_open(struct model *m, struct error *e);
void model_scratch_close(struct model *m);

/* ---- product.c ---- */
/* Multiply-adds below which waking another thread takes longer than the work. */
enum { THREAD_WORK = 256 * 1024 };

static inline uint32_t form_bit(const struct matrix *w)
{
    return 1u << w->type->act;
}

static inline struct matrix stack_at(const struct stack *s, size_t i)
{
    struct matrix w = s->first;

    w.data += i * s->step_bytes;
    return w;
}

/* A product of w with columns first, first + step, ... of the activations. */
struct product product_of(const struct matrix *w, const struct acts *acts, size_t first,
                          size_t step, size_t n_cols, float *out, size_t out_stride);
void product_run(struct model *m, struct product *products, size_t n);
/* Brings column c from f32 into the other forms asked for. */
void acts_fill(const struct model *m, struct acts *acts, size_t c, uint32_t forms);
/* Runs fn over n columns that cost about `work` operations each. */
void run_columns(struct model *m, size_t n, size_t work,
                 void (*fn)(void *arg, size_t begin, size_t end, int worker));

/* ---- rope.c ---- */
void rope_frequencies(const struct rope_plan *plan, double base, int n, float *out);
double rope_magnitude(const struct rope_plan *plan);
void rope_angles(const float *frequencies, int pairs, int position, float *cosines, float *sines);
void rope_rotate(float *x, int pairs, const float *cosines, const float *sines);

/* ---- attention.c ---- */
void attention_latents(struct model *m, bool queries);
void attention_queries(struct model *m);
void attention_run(struct model *m);

/* ---- moe.c ---- */
void moe_run(struct model *m);
void moe_add(struct model *m, size_t c);
void moe_choose(const struct model *m, const float *logits, int32_t *chosen, float *weight);

/* ---- model.c ---- */
/* Adds what is pending, takes the norm into s.in, in the forms asked for. */
void model_norm(struct model *m, const float *weight, uint32_t forms);

#endif
