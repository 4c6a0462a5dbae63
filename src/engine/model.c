/*
 * The forward pass of one batch: columns of many sequences go through the layers together.
 *
 * Every stage is a loop over columns, rows or heads that the pool splits; a value is always made
 * by one thread in one fixed order, so neither the batch's composition nor the number of threads
 * changes a bit of it. The residual stream stays in F32; adding to it is put off until the next
 * norm, which saves a loop. In the last layer, columns that want no logits stop once their cache
 * rows are written.
 */
#include "engine/model_private.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* ---- opening ---- */

int model_open(const struct gguf *g, const struct model_options *o, struct model **out,
               struct error *e)
{
    struct model *m = mem_zalloc(sizeof *m);
    int err;

    m->kernels = o->kernels;
    m->pool = o->pool;
    m->max_batch = o->max_batch;
    err = model_read_shape(g, o->yarn_beta_file, m, e);
    if (err != 0)
        goto out;
    err = model_read_tensors(g, m, o, e);
    if (err != 0)
        goto out;
    err = model_scratch_open(m, e);
    if (err != 0)
        goto out;
    *out = m;
    m = NULL;
out:
    model_close(m);
    return err;
}

void model_close(struct model *m)
{
    if (m == NULL)
        return;
    model_scratch_close(m);
    for (size_t i = 0; i < m->n_owned; i++)
        free(m->owned[i]);
    free(m->owned);
    free(m->layers);
    free(m);
}

const struct model_shape *model_shape(const struct model *m)
{
    return &m->shape;
}

uint64_t model_parameters(const struct model *m)
{
    return m->parameters;
}

const char *model_weights(const struct model *m)
{
    return m->weights;
}

/* ---- stages ---- */

static void columns_embed(void *arg, size_t begin, size_t end, int worker)
{
    struct model *m = arg;
    size_t hidden = (size_t)m->shape.hidden;
    int pairs = m->shape.rope / 2;

    (void)worker;
    for (size_t c = begin; c < end; c++) {
        const struct model_token *t = m->s.token[c];
        m->embedding.type->to_float(m->embedding.data + (size_t)t->token * m->embedding.row_bytes,
                                    m->s.x + c * hidden, hidden);
        rope_angles(m->frequencies, pairs, t->position, m->s.cosines + c * (size_t)pairs,
                    m->s.sines + c * (size_t)pairs);
    }
}

static void columns_norm(void *arg, size_t begin, size_t end, int worker)
{
    struct model *m = arg;
    size_t hidden = (size_t)m->shape.hidden;

    (void)worker;
    for (size_t c = begin; c < end; c++) {
        float *x = m->s.x + c * hidden;
        if (m->pending == PENDING_DELTA)
            m->kernels->axpy(x, 1, m->s.delta + c * hidden, hidden);
        if (m->pending == PENDING_EXPERTS)
            moe_add(m, c);
        m->kernels->rmsnorm(x, m->norm, m->shape.norm_eps, hidden, m->s.in.f32 + c * hidden);
        acts_fill(m, &m->s.in, c, m->forms);
    }
}

void model_norm(struct model *m, const float *weight, uint32_t forms)
{
    m->norm = weight;
    m->forms = forms;
    run_columns(m, (size_t)m->n, (size_t)m->shape.hidden * 8, columns_norm);
    m->pending = PENDING_NONE;
}

/* Keeps the columns that want logits. What is kept of a column: its token, residual stream and
 * rotation. */
static void keep_wanted(struct model *m)
{
    size_t hidden = (size_t)m->shape.hidden, pairs = (size_t)m->shape.rope / 2, kept = 0;

    for (size_t c = 0; c < (size_t)m->n; c++) {
        if (!m->s.token[c]->want_logits)
            continue;
        m->s.token[kept] = m->s.token[c];
        memmove(m->s.x + kept * hidden, m->s.x + c * hidden, hidden * sizeof *m->s.x);
        memmove(m->s.cosines + kept * pairs, m->s.cosines + c * pairs, pairs * sizeof(float));
        memmove(m->s.sines + kept * pairs, m->s.sines + c * pairs, pairs * sizeof(float));
        kept++;
    }
    m->n = (int)kept;
}

static uint32_t attention_forms(const struct model *m, const struct layer *l)
{
    return form_bit(&l->kv_a) | form_bit(m->shape.q_lora > 0 ? &l->q_a : &l->q);
}

static uint32_t feed_forward_forms(const struct model *m, const struct layer *l)
{
    uint32_t forms = 0;

    if (!l->sparse || m->shape.shared_experts > 0)
        forms |= form_bit(&l->gate) | form_bit(&l->up);
    if (l->sparse)
        forms |= form_bit(&l->router) | form_bit(&l->gate_exps.first) | form_bit(&l->up_exps.first);
    return forms;
}

/* One layer; `drop` says that columns which want no logits end here. */
static void run_layer(struct model *m, bool drop)
{
    const struct layer *l = m->layer;

    model_norm(m, l->attn_norm, attention_forms(m, l));
    attention_latents(m, !drop);
    if (drop) {
        keep_wanted(m);
        if (m->n == 0)
            return;
        model_norm(m, l->attn_norm, attention_forms(m, l));
        attention_queries(m);
    }
    attention_run(m);
    model_norm(m, l->ffn_norm, feed_forward_forms(m, l));
    moe_run(m);
}

void model_forward(struct model *m, struct kv *kv, const struct model_token *batch, int n,
                   float *logits)
{
    int wanted = 0;

    if (n == 0)
        return;
    m->kv = kv;
    m->cache_type = quant_find(kv_is_f32(kv) ? QUANT_F32 : QUANT_F16);
    m->n = n;
    m->pending = PENDING_NONE;
    for (int i = 0; i < n; i++) {
        m->s.token[i] = &batch[i];
        wanted += batch[i].want_logits;
    }
    run_columns(m, (size_t)n, (size_t)(m->shape.hidden + m->shape.rope * 16), columns_embed);
    for (int i = 0; i < m->shape.layers && m->n > 0; i++) {
        m->layer = &m->layers[i];
        m->layer_index = i;
        run_layer(m, i == m->shape.layers - 1 && wanted < n);
    }
    if (wanted == 0)
        return;
    model_norm(m, m->output_norm, form_bit(&m->head));
    m->s.products[0] = product_of(&m->head, &m->s.in, 0, 1, (size_t)m->n, logits, m->head.rows);
    product_run(m, m->s.products, 1);
}
