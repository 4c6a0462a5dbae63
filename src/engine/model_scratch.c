/*
 * The scratch memory of the forward pass: one mapping, cut into buffers for max_batch columns.
 * It is measured by cutting a mapping that does not exist yet. Pages never written cost nothing,
 * so buffers that a model or a weight type does not use may be as large as they like.
 */
#include "engine/model_private.h"

#include <string.h>
#include <sys/mman.h>

struct cut {
    uint8_t *base; /* NULL while measuring */
    size_t used;
    bool overflow;
};

static void *take(struct cut *cut, size_t n, size_t item_bytes)
{
    enum { LINE = 64 };
    size_t at = cut->used, bytes;

    if (__builtin_mul_overflow(n, item_bytes, &bytes) ||
        __builtin_add_overflow(bytes, (size_t)LINE - 1, &bytes) ||
        __builtin_add_overflow(at, bytes / LINE * LINE, &cut->used) || cut->used > PTRDIFF_MAX) {
        cut->overflow = true;
        return NULL;
    }
    return cut->base == NULL ? NULL : cut->base + at;
}

/* Columns of n values in every form; the F32 form is `f32`, or is taken too if that is NULL. */
static void take_acts(struct cut *cut, struct acts *acts, size_t columns, size_t n)
{
    enum { LINE = 64 };

    acts->n = n;
    for (int act = 0; act < QUANT_N_ACTS; act++) {
        size_t bytes = n * sizeof(float);
        if (act != QUANT_ACT_F32)
            bytes = (kernels_act_bytes((enum quant_act)act, n) + LINE - 1) / LINE * LINE;
        acts->stride[act] = bytes;
        acts->form[act] = take(cut, columns, bytes);
    }
    acts->f32 = (float *)(void *)acts->form[QUANT_ACT_F32];
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void cut_attention(struct model *m, struct cut *cut)
{
    const struct model_shape *sh = &m->shape;
    struct scratch *s = &m->s;
    size_t n = (size_t)m->max_batch, heads = (size_t)sh->heads;
    size_t q_width = (size_t)(sh->nope + sh->rope), width = (size_t)(sh->kv_lora + sh->rope);

    take_acts(cut, &s->q_low, n, (size_t)sh->q_lora);
    take_acts(cut, &s->q_nope, n * heads, (size_t)sh->nope);
    take_acts(cut, &s->latent, n * heads, (size_t)sh->kv_lora);
    take_acts(cut, &s->values, n, heads * (size_t)sh->value);
    s->q = take(cut, n * heads * q_width, sizeof(float));
    /* the part of q that is not rotated is read in place */
    s->q_nope.f32 = s->q;
    s->q_nope.form[QUANT_ACT_F32] = (uint8_t *)s->q;
    s->q_nope.stride[QUANT_ACT_F32] = q_width * sizeof(float);
    s->kv = take(cut, n * width, sizeof(float));
    s->query = take(cut, n * heads * width, sizeof(float));
    s->scores = take(
        cut, (size_t)pool_threads(m->pool) * (size_t)m->head_group_max * (size_t)sh->context_tokens,
        sizeof(float));
}

static void cut_feed_forward(struct model *m, struct cut *cut)
{
    const struct model_shape *sh = &m->shape;
    struct scratch *s = &m->s;
    size_t n = (size_t)m->max_batch, slots = n * (size_t)sh->experts_used;
    size_t mid = 0;

    for (int i = 0; i < sh->layers; i++)
        mid = max_size(mid, m->layers[i].gate.rows);
    take_acts(cut, &s->mid, n, mid);
    s->up = take(cut, n * mid, sizeof(float));
    s->router = take(cut, n * (size_t)sh->experts, sizeof(float));
    s->chosen = take(cut, slots, sizeof *s->chosen);
    s->weight = take(cut, slots, sizeof *s->weight);
    s->slot = take(cut, slots, sizeof *s->slot);
    s->slot_column = take(cut, slots, sizeof *s->slot_column);
    s->expert_begin = take(cut, (size_t)sh->experts + 1, sizeof *s->expert_begin);
    take_acts(cut, &s->slot_in, slots, (size_t)sh->hidden);
    take_acts(cut, &s->slot_mid, slots, (size_t)sh->expert_ffn);
    s->slot_up = take(cut, slots * (size_t)sh->expert_ffn, sizeof(float));
    s->slot_out = take(cut, slots * (size_t)sh->hidden, sizeof(float));
}

static void cut_all(struct model *m, struct cut *cut)
{
    const struct model_shape *sh = &m->shape;
    struct scratch *s = &m->s;
    size_t n = (size_t)m->max_batch;
    size_t products = max_size((size_t)sh->heads, 2 * (size_t)sh->experts + 1);

    s->token = take(cut, n, sizeof(struct model_token *));
    s->products = take(cut, max_size(products, 3), sizeof(struct product));
    s->x = take(cut, n * (size_t)sh->hidden, sizeof(float));
    s->delta = take(cut, n * (size_t)sh->hidden, sizeof(float));
    s->cosines = take(cut, n * (size_t)sh->rope / 2, sizeof(float));
    s->sines = take(cut, n * (size_t)sh->rope / 2, sizeof(float));
    take_acts(cut, &s->in, n, (size_t)sh->hidden);
    cut_attention(m, cut);
    cut_feed_forward(m, cut);
}

int model_scratch_open(struct model *m, struct error *e)
{
    enum { HEAD_GROUP = 8 };
    struct cut cut = {0};
    void *base;

    if (m->max_batch < 1)
        return error_set(e, ERR_INVALID, "a batch of %d tokens", m->max_batch);
    m->head_group_max = m->shape.heads < HEAD_GROUP ? m->shape.heads : HEAD_GROUP;
    cut_all(m, &cut);
    if (cut.overflow)
        return error_set(e, ERR_LIMIT, "batches of %d tokens are too large for this model",
                         m->max_batch);
    base = mmap(NULL, cut.used, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                -1, 0);
    if (base == MAP_FAILED)
        return error_set(e, ERR_IO,
                         "no address space for %zu MB of scratch memory; lower the "
                         "tokens of a step (%d)",
                         cut.used >> 20, m->max_batch);
    m->s.base = base;
    m->s.bytes = cut.used;
    cut = (struct cut){.base = base};
    cut_all(m, &cut);
    return 0;
}

void model_scratch_close(struct model *m)
{
    if (m->s.base != NULL)
        munmap(m->s.base, m->s.bytes);
    m->s.base = NULL;
}
