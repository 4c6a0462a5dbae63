/*
 * Kernels over vectors of floats, whatever their width. Each wide set includes this file once,
 * after defining `vec` (its vector), WIDE (lanes) and the primitives:
 *     v_zero() v_set(f) v_load(p) v_load_n(p, n, fill) v_store(p, v) v_store_n(p, v, n)
 *     v_halves(p) v_halves_n(p, n) v_bfloats(p) v_bfloats_n(p, n) v_store_halves(p, v, n)
 *     v_add v_sub v_mul v_div v_max v_min v_fma(a, b, c) v_round(v) v_scale(v, e)
 *     v_sum4(a, b, c, d): __m128 of the four sums      v_top(v): the largest lane
 *     v_square_sum(x, n): in double
 *
 * A product's output is one vector of partial sums, element i in lane i mod WIDE, added by
 * v_sum4 at the end. Tiles only decide how many of them are worked on at once, so they all give
 * the same bits.
 */
#ifndef MOONGATE_ENGINE_KERNELS_WIDE_H
#define MOONGATE_ENGINE_KERNELS_WIDE_H

#include "engine/kernels_impl.h"

#define INLINED static inline __attribute__((always_inline))

enum { ROWS = 4, MIX_COLS = 4, MIX_VECS = 2 };

INLINED vec v_weights(uint32_t type, const uint8_t *row, size_t k)
{
    if (type == QUANT_F32)
        return v_load((const float *)row + k);
    return type == QUANT_F16 ? v_halves((const uint16_t *)row + k)
                             : v_bfloats((const uint16_t *)row + k);
}

INLINED vec v_weights_n(uint32_t type, const uint8_t *row, size_t k, size_t n)
{
    if (type == QUANT_F32)
        return v_load_n((const float *)row + k, n, 0);
    return type == QUANT_F16 ? v_halves_n((const uint16_t *)row + k, n)
                             : v_bfloats_n((const uint16_t *)row + k, n);
}

/* rows by cols outputs; both are constants where this is inlined. */
INLINED void tile_float(uint32_t type, const struct product *p, size_t r, const int rows, size_t c,
                        const int cols)
{
    vec sums[ROWS][TILE_COLS];
    const size_t n = p->w->cols;
    size_t k = 0;
    const uint8_t *w[ROWS];
    const float *x[TILE_COLS];
    for (int j = 0; j < cols; j++)
        x[j] = (const float *)product_col(p, c + (size_t)j);
    for (int i = 0; i < ROWS; i++) {
        w[i] = product_row(p, r + (size_t)(i < rows ? i : 0));
        for (int j = 0; j < cols; j++)
            sums[i][j] = v_zero();
    }
    for (; k + WIDE <= n; k += WIDE) {
        for (int i = 0; i < rows; i++) {
            vec weights = v_weights(type, w[i], k);
            if (c == 0)
                product_prefetch(p, w[i] + k * (type == QUANT_F32 ? 4 : 2), ROWS);
            for (int j = 0; j < cols; j++)
                sums[i][j] = v_fma(weights, v_load(x[j] + k), sums[i][j]);
        }
    }
    if (k < n) {
        for (int i = 0; i < rows; i++) {
            vec weights = v_weights_n(type, w[i], k, n - k);
            for (int j = 0; j < cols; j++)
                sums[i][j] = v_fma(weights, v_load_n(x[j] + k, n - k, 0), sums[i][j]);
        }
    }
    for (int j = 0; j < cols; j++) {
        float four[ROWS];
        _mm_storeu_ps(four, v_sum4(sums[0][j], sums[1][j], sums[2][j], sums[3][j]));
        memcpy(p->out + (c + (size_t)j) * p->out_stride + r, four, (size_t)rows * sizeof *four);
    }
}

/* Any part of a tile, from tiles of full or single rows and columns. */
INLINED void tile_any(uint32_t type, const struct product *p, size_t r, size_t rows, size_t c,
                      size_t cols)
{
    if (rows == ROWS && cols == TILE_COLS) {
        tile_float(type, p, r, ROWS, c, TILE_COLS);
    } else if (rows == ROWS) {
        for (size_t j = 0; j < cols; j++)
            tile_float(type, p, r, ROWS, c + j, 1);
    } else {
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < cols; j++)
                tile_float(type, p, r + i, 1, c + j, 1);
    }
}

static void tile_f32(const struct product *p, size_t r, size_t rows, size_t c, size_t cols)
{
    tile_any(QUANT_F32, p, r, rows, c, cols);
}

static void tile_f16(const struct product *p, size_t r, size_t rows, size_t c, size_t cols)
{
    tile_any(QUANT_F16, p, r, rows, c, cols);
}

static void tile_bf16(const struct product *p, size_t r, size_t rows, size_t c, size_t cols)
{
    tile_any(QUANT_BF16, p, r, rows, c, cols);
}

static void wide_matmul_float(const struct product *p, size_t n_cols, size_t r0, size_t r1)
{
    switch (p->w->type->id) {
    case QUANT_F32:
        product_walk(p, n_cols, r0, r1, ROWS, TILE_COLS, tile_f32);
        break;
    case QUANT_F16:
        product_walk(p, n_cols, r0, r1, ROWS, TILE_COLS, tile_f16);
        break;
    default:
        product_walk(p, n_cols, r0, r1, ROWS, TILE_COLS, tile_bf16);
        break;
    }
}

INLINED float v_sum(vec v)
{
    return _mm_cvtss_f32(v_sum4(v, v_zero(), v_zero(), v_zero()));
}

static void wide_axpy(float *y, float s, const float *x, size_t n)
{
    vec factor = v_set(s);
    size_t i = 0;
    for (; i + WIDE <= n; i += WIDE)
        v_store(y + i, v_fma(factor, v_load(x + i), v_load(y + i)));
    if (i < n)
        v_store_n(y + i, v_fma(factor, v_load_n(x + i, n - i, 0), v_load_n(y + i, n - i, 0)),
                  n - i);
}

/* A mix in progress: of the columns from s and out on. */
struct mix {
    const struct matrix *w;
    const float *s;
    size_t s_stride;
    float *out;
    size_t out_stride;
};

/* The values from i on, vecs whole vectors of them, stay in registers while all rows go past. */
INLINED void mix_tile(uint32_t type, const struct mix *m, size_t i, const int vecs, const int cols)
{
    vec y[MIX_COLS][MIX_VECS];
    const uint8_t *row = m->w->data;
    for (int j = 0; j < cols; j++)
        for (int k = 0; k < vecs; k++)
            y[j][k] = v_load(m->out + (size_t)j * m->out_stride + i + (size_t)k * WIDE);
    for (size_t r = 0; r < m->w->rows; r++, row += m->w->row_bytes)
        for (int k = 0; k < vecs; k++) {
            vec x = v_weights(type, row, i + (size_t)k * WIDE);
            for (int j = 0; j < cols; j++)
                y[j][k] = v_fma(v_set(m->s[(size_t)j * m->s_stride + r]), x, y[j][k]);
        }
    for (int j = 0; j < cols; j++)
        for (int k = 0; k < vecs; k++)
            v_store(m->out + (size_t)j * m->out_stride + i + (size_t)k * WIDE, y[j][k]);
}

/* The last n values, less than a vector. */
INLINED void mix_rest(uint32_t type, const struct mix *m, size_t i, size_t n, const int cols)
{
    for (int j = 0; j < cols; j++) {
        float *out = m->out + (size_t)j * m->out_stride + i;
        vec y = v_load_n(out, n, 0);
        for (size_t r = 0; r < m->w->rows; r++)
            y = v_fma(v_set(m->s[(size_t)j * m->s_stride + r]),
                      v_weights_n(type, m->w->data + r * m->w->row_bytes, i, n), y);
        v_store_n(out, y, n);
    }
}

INLINED void mix_columns(uint32_t type, const struct mix *m, const int cols)
{
    const size_t n = m->w->cols;
    size_t i = 0;
    for (; i + MIX_VECS * WIDE <= n; i += MIX_VECS * WIDE)
        mix_tile(type, m, i, MIX_VECS, cols);
    for (; i + WIDE <= n; i += WIDE)
        mix_tile(type, m, i, 1, cols);
    if (i < n)
        mix_rest(type, m, i, n - i, cols);
}

INLINED void mix_all(uint32_t type, struct mix m, size_t n_cols)
{
    for (size_t step; n_cols > 0; n_cols -= step) {
        step = n_cols >= MIX_COLS ? MIX_COLS : 1;
        if (step == MIX_COLS)
            mix_columns(type, &m, MIX_COLS);
        else
            mix_columns(type, &m, 1);
        m.s += step * m.s_stride;
        m.out += step * m.out_stride;
    }
}

static void wide_mix(const struct matrix *w, const float *s, size_t s_stride, size_t n_cols,
                     float *out, size_t out_stride)
{
    struct mix m = {.w = w, .s = s, .s_stride = s_stride, .out = out, .out_stride = out_stride};
    if (w->type->id == QUANT_F32)
        mix_all(QUANT_F32, m, n_cols);
    else
        mix_all(QUANT_F16, m, n_cols);
}

static void wide_to_f16(const float *x, uint16_t *out, size_t n)
{
    size_t i = 0;
    for (; i + WIDE <= n; i += WIDE)
        v_store_halves(out + i, v_load(x + i), WIDE);
    if (i < n)
        v_store_halves(out + i, v_load_n(x + i, n - i, 0), n - i);
}

static void wide_rmsnorm(const float *x, const float *weight, float eps, size_t n, float *out)
{
    float mean = (float)(v_square_sum(x, n) / (double)n);
    vec scale = v_set(1 / sqrtf(mean + eps));
    size_t i = 0;
    for (; i + WIDE <= n; i += WIDE)
        v_store(out + i, v_mul(v_mul(v_load(x + i), scale), v_load(weight + i)));
    if (i < n)
        v_store_n(out + i,
                  v_mul(v_mul(v_load_n(x + i, n - i, 0), scale), v_load_n(weight + i, n - i, 0)),
                  n - i);
}

/* e^x: x = e ln 2 + r with |r| <= ln 2 / 2, a polynomial in r, then 2^e. Error at most 2e-7 of
 * the result. The ends are where the result is infinite or zero. A NaN goes through, since min
 * and max give their second operand then. */
INLINED vec v_exp(vec x)
{
    x = v_max(v_set(-105), v_min(v_set(89), x));
    vec e = v_round(v_mul(x, v_set(1.44269504f)));
    vec r = v_fma(e, v_set(-0.693359375f), x);
    r = v_fma(e, v_set(2.12194440e-4f), r);
    vec y = v_set(1.9875691500e-4f);
    y = v_fma(y, r, v_set(1.3981999507e-3f));
    y = v_fma(y, r, v_set(8.3334519073e-3f));
    y = v_fma(y, r, v_set(4.1665795894e-2f));
    y = v_fma(y, r, v_set(1.6666665459e-1f));
    y = v_fma(y, r, v_set(5.0000001201e-1f));
    y = v_fma(y, v_mul(r, r), v_add(r, v_set(1)));
    return v_scale(y, e);
}

static void wide_softmax(float *x, size_t n)
{
    vec top = v_set(-INFINITY), sum = v_zero();
    size_t i = 0;
    for (; i + WIDE <= n; i += WIDE)
        top = v_max(top, v_load(x + i));
    if (i < n)
        top = v_max(top, v_load_n(x + i, n - i, -INFINITY));
    vec max = v_set(v_top(top));
    for (i = 0; i + WIDE <= n; i += WIDE) {
        vec y = v_exp(v_sub(v_load(x + i), max));
        sum = v_add(sum, y);
        v_store(x + i, y);
    }
    if (i < n) {
        vec y = v_exp(v_sub(v_load_n(x + i, n - i, -INFINITY), max));
        sum = v_add(sum, y);
        v_store_n(x + i, y, n - i);
    }
    vec scale = v_set(1 / v_sum(sum));
    for (i = 0; i + WIDE <= n; i += WIDE)
        v_store(x + i, v_mul(v_load(x + i), scale));
    if (i < n)
        v_store_n(x + i, v_mul(v_load_n(x + i, n - i, 0), scale), n - i);
}

INLINED vec v_silu_mul(vec gate, vec up)
{
    vec below = v_add(v_set(1), v_exp(v_sub(v_zero(), gate)));
    return v_mul(v_div(gate, below), up);
}

static void wide_silu_mul(float *gate, const float *up, size_t n)
{
    size_t i = 0;
    for (; i + WIDE <= n; i += WIDE)
        v_store(gate + i, v_silu_mul(v_load(gate + i), v_load(up + i)));
    if (i < n)
        v_store_n(gate + i, v_silu_mul(v_load_n(gate + i, n - i, 0), v_load_n(up + i, n - i, 0)),
                  n - i);
}

#endif
