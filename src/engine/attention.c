/*
 * Multi-head latent attention in the absorbed form (DeepSeek-V2, arXiv 2405.04434, section 2.1).
 *
 * The cache row of a token is [latent | rotary key]; a head's query is brought into the same
 * space ([K_b * q_nope | rotated q_rope]), so one dot product a row gives the score and the
 * weighted sum of the latents, taken through V_b, gives the head's value. First every column
 * writes its row, then all columns attend, each to the rows up to its own position; so tokens of
 * one sequence in one batch see each other through the cache exactly as in separate batches.
 * One item of the attention loop is a column and a few heads, which read each row together.
 */
#include "engine/model_private.h"

#include <string.h>

static void write_row(const struct model *m, const struct model_token *t, const float *values)
{
    size_t width = (size_t)(m->shape.kv_lora + m->shape.rope);
    void *row = kv_row(m->kv, t->seq, m->layer_index, t->position);

    if (kv_is_f32(m->kv))
        memcpy(row, values, width * sizeof *values);
    else
        m->kernels->to_f16(values, row, width);
}

static void column_latent(const struct model *m, size_t c)
{
    const struct model_shape *sh = &m->shape;
    size_t pairs = (size_t)sh->rope / 2;
    float *kv = m->s.kv + c * (size_t)(sh->kv_lora + sh->rope);

    m->kernels->rmsnorm(kv, m->layer->kv_a_norm, sh->norm_eps, (size_t)sh->kv_lora, kv);
    rope_rotate(kv + sh->kv_lora, sh->rope / 2, m->s.cosines + c * pairs, m->s.sines + c * pairs);
    write_row(m, m->s.token[c], kv);
}

static void columns_latent(void *arg, size_t begin, size_t end, int worker)
{
    const struct model *m = arg;

    (void)worker;
    for (size_t c = begin; c < end; c++)
        column_latent(m, c);
}

static void columns_q_low(void *arg, size_t begin, size_t end, int worker)
{
    struct model *m = arg;
    size_t n = (size_t)m->shape.q_lora;

    (void)worker;
    for (size_t c = begin; c < end; c++) {
        float *q = m->s.q_low.f32 + c * n;
        m->kernels->rmsnorm(q, m->layer->q_a_norm, m->shape.norm_eps, n, q);
        acts_fill(m, &m->s.q_low, c, form_bit(&m->layer->q_b));
    }
}

/* The rotary part of each head's query moves into its place, the rest is made ready for K_b. */
static void columns_heads(void *arg, size_t begin, size_t end, int worker)
{
    struct model *m = arg;
    const struct model_shape *sh = &m->shape;
    size_t heads = (size_t)sh->heads, rope = (size_t)sh->rope, pairs = rope / 2;
    size_t q_width = (size_t)(sh->nope + sh->rope), width = (size_t)(sh->kv_lora + sh->rope);

    (void)worker;
    for (size_t c = begin; c < end; c++)
        for (size_t h = c * heads; h < (c + 1) * heads; h++) {
            float *rotary = m->s.query + h * width + sh->kv_lora;
            memcpy(rotary, m->s.q + h * q_width + sh->nope, rope * sizeof *rotary);
            rope_rotate(rotary, sh->rope / 2, m->s.cosines + c * pairs, m->s.sines + c * pairs);
            acts_fill(m, &m->s.q_nope, h, form_bit(&m->layer->k_b.first));
        }
}

/* The first projections of s.in: the cache rows, which are written, and with `queries` the
 * query projection beside it. */
void attention_latents(struct model *m, bool queries)
{
    const struct model_shape *sh = &m->shape;
    const struct layer *l = m->layer;
    struct product *p = m->s.products;
    size_t n = (size_t)m->n, count = 0, width = (size_t)(sh->kv_lora + sh->rope);

    p[count++] = product_of(&l->kv_a, &m->s.in, 0, 1, n, m->s.kv, width);
    if (queries && sh->q_lora > 0)
        p[count++] = product_of(&l->q_a, &m->s.in, 0, 1, n, m->s.q_low.f32, (size_t)sh->q_lora);
    if (queries && sh->q_lora == 0)
        p[count++] = product_of(&l->q, &m->s.in, 0, 1, n, m->s.q, l->q.rows);
    product_run(m, p, count);
    run_columns(m, n, width * 8, columns_latent);
}

/* The query projection alone, for columns whose rows are written already. */
void attention_queries(struct model *m)
{
    const struct model_shape *sh = &m->shape;
    const struct layer *l = m->layer;
    bool low = sh->q_lora > 0;

    m->s.products[0] = product_of(low ? &l->q_a : &l->q, &m->s.in, 0, 1, (size_t)m->n,
                                  low ? m->s.q_low.f32 : m->s.q, low ? l->q_a.rows : l->q.rows);
    product_run(m, m->s.products, 1);
}

/* ---- the attention loop ---- */

/* The rows of the block at `position` as a matrix: up to `limit`, the first `values` of each. */
static struct matrix block_rows(const struct model *m, const struct model_token *t, size_t position,
                                size_t limit, size_t values)
{
    size_t width = (size_t)(m->shape.kv_lora + m->shape.rope);

    return (struct matrix){
        .type = m->cache_type,
        .data = kv_row(m->kv, t->seq, m->layer_index, (int)position),
        .rows = limit - position < KV_BLOCK_TOKENS ? limit - position : KV_BLOCK_TOKENS,
        .cols = values,
        .row_bytes = quant_row_bytes(m->cache_type, width),
    };
}

/* Asks for the rows of the block after the one at `position`: blocks lie anywhere, so the
 * processor cannot guess. */
static void prefetch_next(const struct model *m, const struct model_token *t, size_t position,
                          size_t limit)
{
    const size_t line = 64;
    struct matrix next;

    if (position + KV_BLOCK_TOKENS >= limit)
        return;
    next = block_rows(m, t, position + KV_BLOCK_TOKENS, limit, 0);
    for (size_t i = 0; i < next.rows * next.row_bytes; i += line)
        __builtin_prefetch(next.data + i);
}

static void attend(struct model *m, size_t c, size_t h0, size_t h1, float *scores)
{
    const struct model_shape *sh = &m->shape;
    const struct model_token *t = m->s.token[c];
    size_t latent = (size_t)sh->kv_lora, width = latent + (size_t)sh->rope;
    size_t first = c * (size_t)sh->heads + h0, heads = h1 - h0;
    size_t n = (size_t)t->position + 1, stride = (size_t)sh->context_tokens;
    float *query = m->s.query + first * width, *out = m->s.latent.f32 + first * latent;

    for (size_t i = 0; i < heads * width; i++)
        query[i] *= sh->score_scale;
    for (size_t at = 0; at < n; at += KV_BLOCK_TOKENS) {
        struct matrix rows = block_rows(m, t, at, n, width);
        prefetch_next(m, t, at, n);
        m->kernels->matmul(&rows, query, width * sizeof *query, heads, 0, rows.rows, scores + at,
                           stride);
    }
    for (size_t h = 0; h < heads; h++)
        m->kernels->softmax(scores + h * stride, n);
    memset(out, 0, heads * latent * sizeof *out);
    for (size_t at = 0; at < n; at += KV_BLOCK_TOKENS) {
        struct matrix rows = block_rows(m, t, at, n, latent);
        m->kernels->mix(&rows, scores + at, stride, heads, out, latent);
    }
    for (size_t h = 0; h < heads; h++)
        acts_fill(m, &m->s.latent, first + h, form_bit(&m->layer->v_b.first));
}

/* Items share, share + shares, ...: the pool splits evenly, but later positions cost more. */
static void attend_shares(void *arg, size_t begin, size_t end, int worker)
{
    struct model *m = arg;
    size_t heads = (size_t)m->shape.heads, group = (size_t)m->head_group;
    size_t groups = (heads + group - 1) / group, items = (size_t)m->n * groups;
    float *scores =
        m->s.scores + (size_t)worker * (size_t)m->head_group_max * (size_t)m->shape.context_tokens;

    for (size_t share = begin; share < end; share++)
        for (size_t i = share; i < items; i += m->shares) {
            size_t h0 = i % groups * group, h1 = h0 + group < heads ? h0 + group : heads;
            attend(m, i / groups, h0, h1, scores);
        }
}

/* Heads are taken together as far as there is still an item for every thread. */
static void attend_all(struct model *m)
{
    const struct model_shape *sh = &m->shape;
    size_t threads = (size_t)pool_threads(m->pool), work = 0;
    int group = m->head_group_max;

    while (group > 1 && m->n * ((sh->heads + group - 1) / group) < (int)threads)
        group = (group + 1) / 2;
    m->head_group = group;
    for (int c = 0; c < m->n; c++)
        work += (size_t)m->s.token[c]->position + 1;
    work *= (size_t)sh->heads * (size_t)(sh->kv_lora + sh->rope) * 2;
    m->shares = work / THREAD_WORK + 1 < threads ? work / THREAD_WORK + 1 : threads;
    pool_run(m->pool, m->shares, 1, attend_shares, m);
}

static void columns_values(void *arg, size_t begin, size_t end, int worker)
{
    struct model *m = arg;

    (void)worker;
    for (size_t c = begin; c < end; c++)
        acts_fill(m, &m->s.values, c, form_bit(&m->layer->output));
}

/* From the query projection to s.delta. */
void attention_run(struct model *m)
{
    const struct model_shape *sh = &m->shape;
    const struct layer *l = m->layer;
    struct product *p = m->s.products;
    size_t n = (size_t)m->n, heads = (size_t)sh->heads, value = (size_t)sh->value;
    size_t width = (size_t)(sh->kv_lora + sh->rope);

    if (sh->q_lora > 0) {
        run_columns(m, n, (size_t)sh->q_lora * 4, columns_q_low);
        p[0] = product_of(&l->q_b, &m->s.q_low, 0, 1, n, m->s.q, l->q_b.rows);
        product_run(m, p, 1);
    }
    run_columns(m, n, heads * (size_t)(sh->nope + sh->rope) * 2, columns_heads);
    for (size_t h = 0; h < heads; h++) {
        struct matrix w = stack_at(&l->k_b, h);
        p[h] = product_of(&w, &m->s.q_nope, h, heads, n, m->s.query + h * width, heads * width);
    }
    product_run(m, p, heads);
    attend_all(m);
    for (size_t h = 0; h < heads; h++) {
        struct matrix w = stack_at(&l->v_b, h);
        p[h] =
            product_of(&w, &m->s.latent, h, heads, n, m->s.values.f32 + h * value, heads * value);
    }
    product_run(m, p, heads);
    run_columns(m, n, heads * value * 2, columns_values);
    p[0] = product_of(&l->output, &m->s.values, 0, 1, n, m->s.delta, (size_t)sh->hidden);
    product_run(m, p, 1);
    m->pending = PENDING_DELTA;
}
