/*
 * The feed-forward part of a layer: one dense network, or routed experts beside shared ones.
 *
 * Routing (DeepSeek-V3, arXiv 2412.19437, section 2.1.2): experts are chosen by score plus bias,
 * within the best groups if there are groups, and weighted by the score alone. The chosen
 * (column, expert) pairs are sorted by expert, so that each expert runs once over its columns;
 * results are added per column in the order of the experts' numbers, never of arrival.
 */
#include "engine/model_private.h"

#include <math.h>
#include <string.h>

/* ---- choosing ---- */

/* Scores by which experts are compared; also the weights, before bias and normalising. */
static void gate(const struct model *m, const float *logits, float *score)
{
    size_t n = (size_t)m->shape.experts;

    memcpy(score, logits, n * sizeof *score);
    if (m->gating == GATE_SIGMOID)
        for (size_t i = 0; i < n; i++)
            score[i] = 1 / (1 + expf(-logits[i]));
    if (m->gating == GATE_SOFTMAX)
        m->kernels->softmax(score, n);
}

/* The index of the largest value that is not yet taken, the lowest of equal ones. */
static int largest(const float *values, const bool *taken, int n)
{
    int best = -1;

    for (int i = 0; i < n; i++)
        if (!taken[i] && (best < 0 || values[i] > values[best]))
            best = i;
    return best;
}

/* Marks the experts outside the best groups as taken. A group counts by its two best. */
static void drop_groups(const struct model_shape *sh, const float *choice, bool *taken)
{
    int size = sh->experts / sh->groups;
    float total[MODEL_EXPERTS_MAX];
    bool kept[MODEL_EXPERTS_MAX] = {false};

    for (int g = 0; g < sh->groups; g++) {
        const float *of_group = choice + g * size;
        bool *seen = taken + g * size;
        int first = largest(of_group, seen, size), second;
        total[g] = of_group[first];
        if (size > 1) {
            seen[first] = true;
            second = largest(of_group, seen, size);
            seen[first] = false;
            total[g] += of_group[second];
        }
    }
    for (int i = 0; i < sh->groups_used; i++)
        kept[largest(total, kept, sh->groups)] = true;
    for (int i = 0; i < sh->experts; i++)
        taken[i] = !kept[i / size];
}

static void weigh(const struct model *m, const float *logits, const float *score,
                  const int32_t *chosen, float *weight)
{
    int used = m->shape.experts_used;
    float sum = 0;

    for (int j = 0; j < used; j++)
        weight[j] = m->gating == GATE_SOFTMAX_CHOSEN ? logits[chosen[j]] : score[chosen[j]];
    if (m->gating == GATE_SOFTMAX_CHOSEN)
        m->kernels->softmax(weight, (size_t)used);
    for (int j = 0; j < used; j++)
        sum += weight[j];
    for (int j = 0; j < used; j++) {
        if (m->shape.expert_norm)
            weight[j] /= sum + 1e-20f;
        weight[j] *= m->shape.expert_scale;
    }
}

void moe_choose(const struct model *m, const float *logits, int32_t *chosen, float *weight)
{
    const struct model_shape *sh = &m->shape;
    float score[MODEL_EXPERTS_MAX], choice[MODEL_EXPERTS_MAX];
    bool taken[MODEL_EXPERTS_MAX] = {false}, picked[MODEL_EXPERTS_MAX] = {false};
    int used = 0;

    gate(m, logits, score);
    for (int i = 0; i < sh->experts; i++)
        choice[i] = m->layer->router_bias == NULL ? score[i] : score[i] + m->layer->router_bias[i];
    if (sh->groups > 1)
        drop_groups(sh, choice, taken);
    for (int j = 0; j < sh->experts_used; j++) {
        int best = largest(choice, taken, sh->experts);
        taken[best] = picked[best] = true;
    }
    for (int i = 0; i < sh->experts; i++)
        if (picked[i])
            chosen[used++] = i;
    weigh(m, logits, score, chosen, weight);
}

/* ---- running ---- */

static size_t mid_stride(const struct model *m)
{
    return m->s.mid.stride[QUANT_ACT_F32] / sizeof(float);
}

static void columns_mid(void *arg, size_t begin, size_t end, int worker)
{
    struct model *m = arg;
    size_t stride = mid_stride(m);

    (void)worker;
    for (size_t c = begin; c < end; c++) {
        m->kernels->silu_mul(m->s.mid.f32 + c * stride, m->s.up + c * stride, m->s.mid.n);
        acts_fill(m, &m->s.mid, c, form_bit(&m->layer->down));
    }
}

/* Chooses each column's experts; the shared network's middle is made ready beside. */
static void columns_route(void *arg, size_t begin, size_t end, int worker)
{
    struct model *m = arg;
    size_t experts = (size_t)m->shape.experts, used = (size_t)m->shape.experts_used;

    for (size_t c = begin; c < end; c++)
        moe_choose(m, m->s.router + c * experts, m->s.chosen + c * used, m->s.weight + c * used);
    if (m->shape.shared_experts > 0)
        columns_mid(m, begin, end, worker);
}

static void slots_gather(void *arg, size_t begin, size_t end, int worker)
{
    struct model *m = arg;
    const struct acts *from = &m->s.in;
    struct acts *to = &m->s.slot_in;
    uint32_t forms = form_bit(&m->layer->gate_exps.first) | form_bit(&m->layer->up_exps.first);

    (void)worker;
    for (size_t s = begin; s < end; s++)
        for (int act = 0; act < QUANT_N_ACTS; act++)
            if ((forms >> act & 1) != 0)
                memcpy(to->form[act] + s * to->stride[act],
                       from->form[act] + (size_t)m->s.slot_column[s] * from->stride[act],
                       from->stride[act]);
}

static void slots_mid(void *arg, size_t begin, size_t end, int worker)
{
    struct model *m = arg;
    size_t n = (size_t)m->shape.expert_ffn;

    (void)worker;
    for (size_t s = begin; s < end; s++) {
        m->kernels->silu_mul(m->s.slot_mid.f32 + s * n, m->s.slot_up + s * n, n);
        acts_fill(m, &m->s.slot_mid, s, form_bit(&m->layer->down_exps.first));
    }
}

/* Sorts the choices by expert (a counting sort). */
static void sort_slots(struct model *m)
{
    int experts = m->shape.experts, used = m->shape.experts_used;
    int32_t *begin = m->s.expert_begin;

    memset(begin, 0, (size_t)(experts + 1) * sizeof *begin);
    for (int i = 0; i < m->n * used; i++)
        begin[m->s.chosen[i] + 1]++;
    for (int x = 0; x < experts; x++)
        begin[x + 1] += begin[x];
    for (int i = 0; i < m->n * used; i++) {
        int32_t slot = begin[m->s.chosen[i]]++;
        m->s.slot[i] = slot;
        m->s.slot_column[slot] = i / used;
    }
    for (int x = experts; x > 0; x--)
        begin[x] = begin[x - 1];
    begin[0] = 0;
}

/* Gate and up of every expert that has columns. */
static size_t expert_inputs(struct model *m, struct product *p)
{
    const struct acts *in = m->n == 1 ? &m->s.in : &m->s.slot_in;
    size_t count = 0, width = (size_t)m->shape.expert_ffn;

    for (int x = 0; x < m->shape.experts; x++) {
        size_t s = (size_t)m->s.expert_begin[x], n = (size_t)m->s.expert_begin[x + 1] - s;
        struct matrix gates = stack_at(&m->layer->gate_exps, (size_t)x);
        struct matrix ups = stack_at(&m->layer->up_exps, (size_t)x);
        size_t first = m->n == 1 ? 0 : s;
        if (n == 0)
            continue;
        p[count++] = product_of(&gates, in, first, 1, n, m->s.slot_mid.f32 + s * width, width);
        p[count++] = product_of(&ups, in, first, 1, n, m->s.slot_up + s * width, width);
    }
    return count;
}

static size_t expert_outputs(struct model *m, struct product *p)
{
    size_t count = 0, hidden = (size_t)m->shape.hidden;

    for (int x = 0; x < m->shape.experts; x++) {
        size_t s = (size_t)m->s.expert_begin[x], n = (size_t)m->s.expert_begin[x + 1] - s;
        struct matrix downs = stack_at(&m->layer->down_exps, (size_t)x);
        if (n > 0)
            p[count++] =
                product_of(&downs, &m->s.slot_mid, s, 1, n, m->s.slot_out + s * hidden, hidden);
    }
    return count;
}

static void run_experts(struct model *m)
{
    size_t slots = (size_t)m->n * (size_t)m->shape.experts_used;
    struct product *p = m->s.products;
    size_t count;

    sort_slots(m);
    if (m->n > 1)
        run_columns(m, slots, (size_t)m->shape.hidden / 4, slots_gather);
    count = expert_inputs(m, p);
    if (m->shape.shared_experts > 0)
        p[count++] = product_of(&m->layer->down, &m->s.mid, 0, 1, (size_t)m->n, m->s.delta,
                                (size_t)m->shape.hidden);
    product_run(m, p, count);
    run_columns(m, slots, (size_t)m->shape.expert_ffn * 4, slots_mid);
    product_run(m, p, expert_outputs(m, p));
    m->pending = PENDING_EXPERTS;
}

static size_t gate_and_up(struct model *m, struct product *p)
{
    const struct layer *l = m->layer;
    size_t n = (size_t)m->n, stride = mid_stride(m);

    m->s.mid.n = l->gate.rows; /* the scratch is as wide as the widest layer needs */
    p[0] = product_of(&l->gate, &m->s.in, 0, 1, n, m->s.mid.f32, stride);
    p[1] = product_of(&l->up, &m->s.in, 0, 1, n, m->s.up, stride);
    return 2;
}

void moe_run(struct model *m)
{
    const struct layer *l = m->layer;
    struct product *p = m->s.products;
    size_t count = 0;

    if (!l->sparse) {
        product_run(m, p, gate_and_up(m, p));
        run_columns(m, (size_t)m->n, l->gate.rows * 4, columns_mid);
        p[0] = product_of(&l->down, &m->s.mid, 0, 1, (size_t)m->n, m->s.delta,
                          (size_t)m->shape.hidden);
        product_run(m, p, 1);
        m->pending = PENDING_DELTA;
        return;
    }
    if (m->shape.shared_experts > 0)
        count = gate_and_up(m, p);
    p[count++] = product_of(&l->router, &m->s.in, 0, 1, (size_t)m->n, m->s.router, l->router.rows);
    product_run(m, p, count);
    run_columns(m, (size_t)m->n,
                l->gate.rows * 4 + l->router.rows * (size_t)(4 + m->shape.experts_used),
                columns_route);
    run_experts(m);
}

/* Adds the shared network's and the experts' results to column c of the residual stream. */
void moe_add(struct model *m, size_t c)
{
    size_t n = (size_t)m->shape.hidden, used = (size_t)m->shape.experts_used;
    float *x = m->s.x + c * n;

    if (m->shape.shared_experts > 0)
        m->kernels->axpy(x, 1, m->s.delta + c * n, n);
    for (size_t j = c * used; j < (c + 1) * used; j++)
        m->kernels->axpy(x, m->s.weight[j], m->s.slot_out + (size_t)m->s.slot[j] * n, n);
}
