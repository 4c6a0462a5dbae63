/*
 * The tensors of a `deepseek2` file: each one's presence, type and extents are checked against
 * the shape that the metadata gave, then it is used where it lies in the file. Made anew are only
 * the small vectors (as F32, aligned) and the key half of a fused attn_kv_b, whose heads must be
 * transposed: exactly for float types; block types go through F32 and become Q8_0 again where
 * the rows allow it. A tensor that nothing takes is refused, since its part in the sum is unknown.
 */
#include "engine/model_private.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct loader {
    const struct gguf *g;
    struct model *m;
    struct error *e;
    const struct gguf_tensor **taken;
    size_t n_taken;
    uint64_t weights_of[QUANT_BF16 + 1]; /* matrix weights by type id */
};

struct extents {
    uint32_t n;
    uint64_t dims[3];
};

struct name {
    char text[64];
};

static struct name layer_tensor(int layer, const char *part)
{
    struct name name;

    snprintf(name.text, sizeof name.text, "blk.%d.%s", layer, part);
    return name;
}

static struct extents dims1(int a)
{
    return (struct extents){1, {(uint64_t)a, 1, 1}};
}

static struct extents dims2(uint64_t a, uint64_t b)
{
    return (struct extents){2, {a, b, 1}};
}

static struct extents dims3(uint64_t a, uint64_t b, uint64_t c)
{
    return (struct extents){3, {a, b, c}};
}

static const char *show_dims(const uint64_t *dims, uint32_t n, char out[96])
{
    size_t len = 0;

    for (uint32_t i = 0; i < n && len < 96; i++)
        len += (size_t)snprintf(out + len, 96 - len, "%s%" PRIu64, i == 0 ? "[" : ", ", dims[i]);
    if (len < 96)
        snprintf(out + len, 96 - len, "]");
    return out;
}

/* ---- finding ---- */

static bool has(const struct loader *l, const char *name)
{
    return gguf_tensor(l->g, name) != NULL;
}

static bool same_extents(const struct gguf_tensor *t, const struct extents *want)
{
    for (int i = 0; i < 4; i++)
        if (t->dims[i] != (i < 3 ? want->dims[i] : 1))
            return false;
    return true;
}

static int find(struct loader *l, const char *name, struct extents want,
                const struct gguf_tensor **out)
{
    const struct gguf_tensor *t = gguf_tensor(l->g, name);
    char a[96], b[96];

    if (t == NULL)
        return error_set(l->e, ERR_INVALID, "tensor '%s' is missing; it should be %s", name,
                         show_dims(want.dims, want.n, a));
    if (!same_extents(t, &want))
        return error_set(l->e, ERR_INVALID, "tensor '%s' is %s; it should be %s", name,
                         show_dims(t->dims, t->n_dims, a), show_dims(want.dims, want.n, b));
    if (quant_find(t->type) == NULL)
        return error_set(l->e, ERR_UNSUPPORTED, "tensor '%s' is of type %s, which is not built",
                         name, quant_name(t->type));
    l->taken[l->n_taken++] = t;
    *out = t;
    return 0;
}

static uint64_t count_weights(const struct gguf_tensor *t)
{
    return t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
}

/* All rows of a tensor, whatever its dimensions. */
static struct matrix as_matrix(const struct gguf_tensor *t)
{
    const struct quant_type *type = quant_find(t->type);

    return (struct matrix){
        .type = type,
        .data = t->data,
        .rows = t->dims[1] * t->dims[2],
        .cols = t->dims[0],
        .row_bytes = quant_row_bytes(type, t->dims[0]),
    };
}

static void count(struct loader *l, const struct gguf_tensor *t)
{
    l->m->parameters += count_weights(t);
    if (t->n_dims > 1)
        l->weights_of[t->type] += count_weights(t);
}

static int take_matrix(struct loader *l, const char *name, uint64_t cols, uint64_t rows,
                       struct matrix *out)
{
    const struct gguf_tensor *t;
    int err = find(l, name, dims2(cols, rows), &t);

    if (err != 0)
        return err;
    count(l, t);
    *out = as_matrix(t);
    return 0;
}

static struct stack as_stack(const struct gguf_tensor *t, size_t rows)
{
    struct stack s = {.first = as_matrix(t)};

    s.first.rows = rows;
    s.step_bytes = rows * s.first.row_bytes;
    return s;
}

static int take_stack(struct loader *l, const char *name, uint64_t cols, uint64_t rows, uint64_t n,
                      struct stack *out)
{
    const struct gguf_tensor *t;
    int err = find(l, name, dims3(cols, rows, n), &t);

    if (err != 0)
        return err;
    count(l, t);
    *out = as_stack(t, rows);
    return 0;
}

/* Memory that lives as long as the model. */
static void *own(struct loader *l, size_t bytes)
{
    struct model *m = l->m;
    void *p = mem_alloc(bytes);

    m->owned = mem_realloc(m->owned, (m->n_owned + 1) * sizeof *m->owned);
    m->owned[m->n_owned++] = p;
    return p;
}

static float *own_floats(struct loader *l, const struct gguf_tensor *t)
{
    struct matrix w = as_matrix(t);
    float *out = own(l, w.rows * w.cols * sizeof *out);

    for (size_t r = 0; r < w.rows; r++)
        w.type->to_float(w.data + r * w.row_bytes, out + r * w.cols, w.cols);
    return out;
}

static int take_vector(struct loader *l, const char *name, int n, const float **out)
{
    const struct gguf_tensor *t;
    int err = find(l, name, dims1(n), &t);

    if (err != 0)
        return err;
    count(l, t);
    *out = own_floats(l, t);
    return 0;
}

/* ---- attention ---- */

/* Head h of the fused tensor is nope key rows, then value rows, each kv_lora long. The key rows
 * become their transpose: kv_lora rows, each nope long. */
static void transpose_keys(struct loader *l, const struct matrix *fused, struct stack *out)
{
    const struct model_shape *sh = &l->m->shape;
    size_t latent = (size_t)sh->kv_lora, nope = (size_t)sh->nope, heads = (size_t)sh->heads;
    const struct quant_type *type = fused->type;
    float *head, *row;
    uint8_t *to;

    if (type->block_weights > 1)
        type = quant_find(nope % 32 == 0 ? QUANT_Q8_0 : QUANT_F32);
    out->first = (struct matrix){
        .type = type, .rows = latent, .cols = nope, .row_bytes = quant_row_bytes(type, nope)};
    out->step_bytes = latent * out->first.row_bytes;
    out->first.data = to = own(l, heads * out->step_bytes);
    head = mem_array(nope, latent * sizeof *head);
    row = mem_array(nope, sizeof *row);
    for (size_t h = 0; h < heads; h++) {
        size_t first = h * (nope + (size_t)sh->value);
        for (size_t p = 0; p < nope; p++)
            fused->type->to_float(fused->data + (first + p) * fused->row_bytes, head + p * latent,
                                  latent);
        for (size_t i = 0; i < latent; i++, to += out->first.row_bytes) {
            for (size_t p = 0; p < nope; p++)
                row[p] = head[p * latent + i];
            quant_from_float(type, row, to, nope);
        }
    }
    free(head);
    free(row);
}

static int take_fused(struct loader *l, int i, struct layer *to)
{
    const struct model_shape *sh = &l->m->shape;
    size_t nope = (size_t)sh->nope, both = nope + (size_t)sh->value;
    struct matrix fused;
    int err = take_matrix(l, layer_tensor(i, "attn_kv_b.weight").text, (uint64_t)sh->kv_lora,
                          (uint64_t)sh->heads * both, &fused);

    if (err != 0)
        return err;
    transpose_keys(l, &fused, &to->k_b);
    to->v_b.first = fused;
    to->v_b.first.rows = (size_t)sh->value;
    to->v_b.first.data += nope * fused.row_bytes;
    to->v_b.step_bytes = both * fused.row_bytes;
    return 0;
}

/* [cols, rows, heads], or the same bytes as [cols, rows * heads]. */
static int take_heads(struct loader *l, const char *name, uint64_t cols, uint64_t rows,
                      struct stack *out)
{
    uint64_t heads = (uint64_t)l->m->shape.heads;
    const struct gguf_tensor *t = gguf_tensor(l->g, name);
    struct extents flat = dims2(cols, rows * heads);
    bool is_flat = t != NULL && t->n_dims == 2 && same_extents(t, &flat);
    int err = find(l, name, is_flat ? flat : dims3(cols, rows, heads), &t);

    if (err != 0)
        return err;
    count(l, t);
    *out = as_stack(t, rows);
    return 0;
}

static int take_split(struct loader *l, int i, struct layer *to)
{
    const struct model_shape *sh = &l->m->shape;
    int err = take_heads(l, layer_tensor(i, "attn_k_b.weight").text, (uint64_t)sh->nope,
                         (uint64_t)sh->kv_lora, &to->k_b);

    if (err == 0)
        err = take_heads(l, layer_tensor(i, "attn_v_b.weight").text, (uint64_t)sh->kv_lora,
                         (uint64_t)sh->value, &to->v_b);
    /* some writers keep the fused tensor beside the split ones */
    if (err == 0 && has(l, layer_tensor(i, "attn_kv_b.weight").text))
        l->taken[l->n_taken++] = gguf_tensor(l->g, layer_tensor(i, "attn_kv_b.weight").text);
    return err;
}

static int take_queries(struct loader *l, int i, struct layer *to)
{
    const struct model_shape *sh = &l->m->shape;
    uint64_t hidden = (uint64_t)sh->hidden, low = (uint64_t)sh->q_lora;
    uint64_t rows = (uint64_t)sh->heads * (uint64_t)(sh->nope + sh->rope);
    int err;

    if (sh->q_lora == 0)
        return take_matrix(l, layer_tensor(i, "attn_q.weight").text, hidden, rows, &to->q);
    err = take_matrix(l, layer_tensor(i, "attn_q_a.weight").text, hidden, low, &to->q_a);
    if (err == 0)
        err =
            take_vector(l, layer_tensor(i, "attn_q_a_norm.weight").text, sh->q_lora, &to->q_a_norm);
    if (err == 0)
        err = take_matrix(l, layer_tensor(i, "attn_q_b.weight").text, low, rows, &to->q_b);
    return err;
}

static int take_attention(struct loader *l, int i, struct layer *to)
{
    const struct model_shape *sh = &l->m->shape;
    uint64_t hidden = (uint64_t)sh->hidden;
    int err = take_vector(l, layer_tensor(i, "attn_norm.weight").text, sh->hidden, &to->attn_norm);

    if (err == 0)
        err = take_queries(l, i, to);
    if (err == 0)
        err = take_matrix(l, layer_tensor(i, "attn_kv_a_mqa.weight").text, hidden,
                          (uint64_t)(sh->kv_lora + sh->rope), &to->kv_a);
    if (err == 0)
        err = take_vector(l, layer_tensor(i, "attn_kv_a_norm.weight").text, sh->kv_lora,
                          &to->kv_a_norm);
    if (err == 0)
        err = has(l, layer_tensor(i, "attn_k_b.weight").text) ? take_split(l, i, to)
                                                              : take_fused(l, i, to);
    if (err == 0)
        err = take_matrix(l, layer_tensor(i, "attn_output.weight").text,
                          (uint64_t)sh->heads * (uint64_t)sh->value, hidden, &to->output);
    return err;
}

/* ---- feed-forward ---- */

static int take_network(struct loader *l, int i, const char *suffix, uint64_t width,
                        struct layer *to)
{
    uint64_t hidden = (uint64_t)l->m->shape.hidden;
    char part[32];
    int err;

    snprintf(part, sizeof part, "ffn_gate%s.weight", suffix);
    err = take_matrix(l, layer_tensor(i, part).text, hidden, width, &to->gate);
    snprintf(part, sizeof part, "ffn_up%s.weight", suffix);
    if (err == 0)
        err = take_matrix(l, layer_tensor(i, part).text, hidden, width, &to->up);
    snprintf(part, sizeof part, "ffn_down%s.weight", suffix);
    if (err == 0)
        err = take_matrix(l, layer_tensor(i, part).text, width, hidden, &to->down);
    return err;
}

/* Gate and up apart, or in one tensor: of each expert the gate rows, then the up rows. */
static int take_gate_up(struct loader *l, int i, struct layer *to)
{
    const struct model_shape *sh = &l->m->shape;
    uint64_t hidden = (uint64_t)sh->hidden, width = (uint64_t)sh->expert_ffn;
    uint64_t experts = (uint64_t)sh->experts;
    int err;

    if (has(l, layer_tensor(i, "ffn_gate_up_exps.weight").text)) {
        err = take_stack(l, layer_tensor(i, "ffn_gate_up_exps.weight").text, hidden, 2 * width,
                         experts, &to->gate_exps);
        if (err != 0)
            return err;
        to->gate_exps.first.rows = width;
        to->up_exps = to->gate_exps;
        to->up_exps.first.data += width * to->up_exps.first.row_bytes;
        return 0;
    }
    err = take_stack(l, layer_tensor(i, "ffn_gate_exps.weight").text, hidden, width, experts,
                     &to->gate_exps);
    if (err == 0)
        err = take_stack(l, layer_tensor(i, "ffn_up_exps.weight").text, hidden, width, experts,
                         &to->up_exps);
    return err;
}

/* The router runs in F32, whatever type it is stored in. */
static int take_router(struct loader *l, int i, struct layer *to)
{
    const struct model_shape *sh = &l->m->shape;
    const struct gguf_tensor *t;
    int err = find(l, layer_tensor(i, "ffn_gate_inp.weight").text,
                   dims2((uint64_t)sh->hidden, (uint64_t)sh->experts), &t);

    if (err != 0)
        return err;
    count(l, t);
    to->router = as_matrix(t);
    to->router.data = (const uint8_t *)own_floats(l, t);
    to->router.type = quant_find(QUANT_F32);
    to->router.row_bytes = (size_t)sh->hidden * sizeof(float);
    if (has(l, layer_tensor(i, "exp_probs_b.bias").text))
        err =
            take_vector(l, layer_tensor(i, "exp_probs_b.bias").text, sh->experts, &to->router_bias);
    return err;
}

static int take_shared(struct loader *l, int i, struct layer *to)
{
    const struct model_shape *sh = &l->m->shape;
    int64_t width = (int64_t)sh->shared_experts * sh->expert_ffn;
    int err = 0;

    if (sh->shared_experts == 0)
        return 0;
    if (gguf_has(l->g, "%A.expert_shared_feed_forward_length"))
        err = gguf_int(l->g, "%A.expert_shared_feed_forward_length", 1, INT32_MAX, &width, l->e);
    return err != 0 ? err : take_network(l, i, "_shexp", (uint64_t)width, to);
}

static int take_experts(struct loader *l, int i, struct layer *to)
{
    const struct model_shape *sh = &l->m->shape;
    int err = take_shared(l, i, to);

    to->sparse = true;
    if (err == 0)
        err = take_router(l, i, to);
    if (err == 0)
        err = take_gate_up(l, i, to);
    if (err == 0)
        err = take_stack(l, layer_tensor(i, "ffn_down_exps.weight").text, (uint64_t)sh->expert_ffn,
                         (uint64_t)sh->hidden, (uint64_t)sh->experts, &to->down_exps);
    return err;
}

static int take_layer(struct loader *l, int i)
{
    const struct model_shape *sh = &l->m->shape;
    struct layer *to = &l->m->layers[i];
    int err = take_attention(l, i, to);

    if (err == 0)
        err = take_vector(l, layer_tensor(i, "ffn_norm.weight").text, sh->hidden, &to->ffn_norm);
    if (err != 0)
        return err;
    if (i < sh->dense_layers)
        return take_network(l, i, "", (uint64_t)sh->dense_ffn, to);
    return take_experts(l, i, to);
}

/* ---- the whole file ---- */

static int take_ends(struct loader *l)
{
    struct model *m = l->m;
    uint64_t hidden = (uint64_t)m->shape.hidden, vocabulary = (uint64_t)m->shape.vocabulary;
    int err = take_matrix(l, "token_embd.weight", hidden, vocabulary, &m->embedding);

    if (err == 0)
        err = take_vector(l, "output_norm.weight", m->shape.hidden, &m->output_norm);
    m->head = m->embedding;
    if (err == 0 && has(l, "output.weight"))
        err = take_matrix(l, "output.weight", hidden, vocabulary, &m->head);
    return err;
}

static bool is_taken(const struct loader *l, const struct gguf_tensor *t)
{
    for (size_t i = 0; i < l->n_taken; i++)
        if (l->taken[i] == t)
            return true;
    return false;
}

/* Tensors of layers past the last (multi-token prediction) may stay unread. */
static bool is_past_last_layer(const struct loader *l, const char *name)
{
    char *end;

    if (strncmp(name, "blk.", 4) != 0)
        return false;
    return strtol(name + 4, &end, 10) >= l->m->shape.layers && *end == '.';
}

static int check_all_taken(struct loader *l)
{
    for (size_t i = 0; i < gguf_n_tensors(l->g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(l->g, i);
        if (!is_taken(l, t) && !is_past_last_layer(l, t->name))
            return error_set(l->e, ERR_UNSUPPORTED,
                             "tensor '%s' has no place in a deepseek2 model as it is built here",
                             t->name);
    }
    return 0;
}

static void name_weights(struct loader *l)
{
    uint64_t most = 0;

    l->m->weights = quant_name(QUANT_F32);
    for (uint32_t id = 0; id <= QUANT_BF16; id++)
        if (l->weights_of[id] > most) {
            most = l->weights_of[id];
            l->m->weights = quant_name(id);
        }
}

static void make_frequencies(struct loader *l)
{
    struct model *m = l->m;
    float *out = own(l, (size_t)m->shape.rope / 2 * sizeof *out);

    rope_frequencies(&m->rope, m->shape.rope_base, m->shape.rope, out);
    m->frequencies = out;
}

int model_read_tensors(const struct gguf *g, struct model *m, const struct model_options *o,
                       struct error *e)
{
    struct loader l = {.g = g, .m = m, .e = e};
    int layers = m->shape.layers, err;

    l.taken = mem_array(gguf_n_tensors(g) + 1, sizeof *l.taken);
    m->layers = mem_array((size_t)layers, sizeof *m->layers);
    make_frequencies(&l);
    err = take_ends(&l);
    for (int i = 0; i < layers && err == 0; i++) {
        if (o->progress != NULL)
            o->progress(o->progress_arg, "preparing weights", (int)((int64_t)i * 100 / layers));
        err = take_layer(&l, i);
    }
    if (err == 0)
        err = check_all_taken(&l);
    if (err == 0 && o->progress != NULL)
        o->progress(o->progress_arg, "preparing weights", 100);
    name_weights(&l);
    free(l.taken);
    return err;
}
