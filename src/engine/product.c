/*
 * Matrix products in lists: the rows of all matrices of a list are cut into tiles of about equal
 * cost and split among the compute threads in one loop, so that many small products (heads,
 * experts, gate beside up) cost one meeting of the threads, and a very small list none at all.
 * A row's result does not depend on the cutting (the kernels' rule).
 */
#include "engine/model_private.h"

#include <string.h>

enum {
    TILE_WORK = 16 * 1024, /* multiply-adds in a tile, about */
    TILE_ROWS = 8, /* tiles are multiples of this, so that kernels that take rows together can */
};

struct product product_of(const struct matrix *w, const struct acts *acts, size_t first,
                          size_t step, size_t n_cols, float *out, size_t out_stride)
{
    size_t stride = acts->stride[w->type->act];

    return (struct product){
        .w = *w,
        .acts = acts->form[w->type->act] + first * stride,
        .act_stride = step * stride,
        .n_cols = n_cols,
        .out = out,
        .out_stride = out_stride,
    };
}

static void run_tiles(void *arg, size_t begin, size_t end, int worker)
{
    struct model *m = arg;
    const struct product *p = m->running;

    (void)worker;
    while (begin < end) {
        size_t r0, r1, last;
        while (p + 1 < m->running + m->n_running && begin >= p[1].first_tile)
            p++;
        last = p + 1 < m->running + m->n_running ? p[1].first_tile : end;
        if (last > end)
            last = end;
        r0 = (begin - p->first_tile) * p->tile_rows;
        r1 = (last - p->first_tile) * p->tile_rows;
        if (r1 > p->w.rows)
            r1 = p->w.rows;
        m->kernels->matmul(&p->w, p->acts, p->act_stride, p->n_cols, r0, r1, p->out, p->out_stride);
        begin = last;
    }
}

void product_run(struct model *m, struct product *products, size_t n)
{
    size_t tiles = 0, work = 0, grain;

    for (size_t i = 0; i < n; i++) {
        struct product *p = &products[i];
        size_t row_work = p->w.cols * p->n_cols;
        size_t rows = TILE_WORK / row_work / TILE_ROWS * TILE_ROWS;
        p->tile_rows = rows < TILE_ROWS ? TILE_ROWS : rows;
        p->first_tile = tiles;
        tiles += (p->w.rows + p->tile_rows - 1) / p->tile_rows;
        work += p->w.rows * row_work;
    }
    m->running = products;
    m->n_running = n;
    grain = work < (size_t)2 * THREAD_WORK ? tiles : tiles * THREAD_WORK / work;
    pool_run(m->pool, tiles, grain < 1 ? 1 : grain, run_tiles, m);
}

void acts_fill(const struct model *m, struct acts *acts, size_t c, uint32_t forms)
{
    const float *x = (const float *)(acts->form[QUANT_ACT_F32] + c * acts->stride[QUANT_ACT_F32]);

    for (int act = 0; act < QUANT_N_ACTS; act++)
        if (act != QUANT_ACT_F32 && (forms >> act & 1) != 0)
            m->kernels->quantise((enum quant_act)act, x, acts->n,
                                 acts->form[act] + c * acts->stride[act]);
}

void run_columns(struct model *m, size_t n, size_t work,
                 void (*fn)(void *arg, size_t begin, size_t end, int worker))
{
    /* an operation outside the products counts as several of their multiply-adds */
    size_t grain = THREAD_WORK / 8 / (work + 1) + 1;

    pool_run(m->pool, n, grain, fn, m);
}
