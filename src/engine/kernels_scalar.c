/*
 * The kernels in plain C, for any processor; also what the tests measure the others against.
 *
 * A float reduction runs in LANES partial sums, element i into lane i mod LANES, which are added
 * as a tree at the end: fixed order, and a compiler may use vectors for it. Contraction into
 * fused multiply-add is switched off, so that one machine gives one result in every build.
 */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#include "engine/kernels_impl.h"

#include <math.h>

enum { LANES = 8, CHUNK = 256, TILE = 8 };

static void scalar_quantise_block(const float *x, int16_t *q, float *scale)
{
    uint32_t max = 0; /* as bits: ordered like the magnitudes, with infinity and NaN on top */
    for (size_t i = 0; i < Q8_BLOCK; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        max = bits > max ? bits : max;
    }
    float magnitude, inverse = 0;
    memcpy(&magnitude, &max, sizeof magnitude);
    *scale = 0;
    memset(q, 0, Q8_BLOCK * sizeof *q);
    if (!isfinite(magnitude)) {
        *scale = NAN;
        return;
    }
    if (magnitude < ACT_SMALLEST)
        return;
    *scale = magnitude / 32767;
    inverse = 32767 / magnitude;
    for (size_t i = 0; i < Q8_BLOCK; i++)
        q[i] = (int16_t)lrintf(x[i] * inverse);
}

static void scalar_quantise(enum quant_act act, const float *x, size_t n, void *out)
{
    if (act == QUANT_ACT_F32) {
        memcpy(out, x, n * sizeof *x);
        return;
    }
    int16_t *words = out;
    float *scales = (float *)(words + n);
    for (size_t b = 0; b < n / Q8_BLOCK; b++)
        scalar_quantise_block(x + b * Q8_BLOCK, words + b * Q8_BLOCK, &scales[b]);
}

/* lanes += a * b over n elements, the first of which belongs to lane 0. */
static void dot_lanes(float *restrict lanes, const float *a, const float *b, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            lanes[l] += a[i + l] * b[i + l];
    for (size_t l = 0; i < n; i++, l++)
        lanes[l] += a[i] * b[i];
}

static float sum_lanes(const float *s)
{
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* One row of float-like weights times up to TILE columns. */
static void row_f32(const struct matrix *w, const uint8_t *row, const uint8_t *acts,
                    size_t act_stride, size_t n_cols, float *out, size_t out_stride)
{
    float lanes[TILE][LANES] = {0}, chunk[CHUNK];
    for (size_t k = 0; k < w->cols; k += CHUNK) {
        size_t n = w->cols - k < CHUNK ? w->cols - k : CHUNK;
        w->type->to_float(row + quant_row_bytes(w->type, k), chunk, n);
        for (size_t c = 0; c < n_cols; c++)
            dot_lanes(lanes[c], chunk, (const float *)(acts + c * act_stride) + k, n);
    }
    for (size_t c = 0; c < n_cols; c++)
        out[c * out_stride] = sum_lanes(lanes[c]);
}

static float dot_q8(const uint8_t *row, const void *act, size_t n)
{
    const int16_t *q = act_words(act);
    const float *scales = act_scales(act, n);
    float total = 0;
    for (size_t b = 0; b < n / Q8_BLOCK; b++, row += Q8_BLOCK_BYTES, q += Q8_BLOCK) {
        const int8_t *v = (const int8_t *)row + 2;
        int32_t sum = 0;
        for (size_t i = 0; i < Q8_BLOCK; i++)
            sum += v[i] * q[i];
        total += (float)sum * (quant_half_to_float(load_half(row)) * scales[b]);
    }
    return total;
}

static void row_q8(const struct matrix *w, const uint8_t *row, const uint8_t *acts,
                   size_t act_stride, size_t n_cols, float *out, size_t out_stride)
{
    for (size_t c = 0; c < n_cols; c++)
        out[c * out_stride] = dot_q8(row, acts + c * act_stride, w->cols);
}

static void scalar_matmul(const struct matrix *w, const void *acts, size_t act_stride,
                          size_t n_cols, size_t r0, size_t r1, float *out, size_t out_stride)
{
    for (size_t r = r0; r < r1; r++) {
        const uint8_t *row = w->data + r * w->row_bytes;
        for (size_t c = 0; c < n_cols; c += TILE) {
            size_t n = n_cols - c < TILE ? n_cols - c : TILE;
            const uint8_t *tile = (const uint8_t *)acts + c * act_stride;
            float *to = out + c * out_stride + r;
            if (w->type->act == QUANT_ACT_Q16)
                row_q8(w, row, tile, act_stride, n, to, out_stride);
            else
                row_f32(w, row, tile, act_stride, n, to, out_stride);
        }
    }
}

static void scalar_mix(const struct matrix *w, const float *s, size_t s_stride, size_t n_cols,
                       float *out, size_t out_stride)
{
    float chunk[CHUNK];
    for (size_t r = 0; r < w->rows; r++)
        for (size_t k = 0; k < w->cols; k += CHUNK) {
            size_t n = w->cols - k < CHUNK ? w->cols - k : CHUNK;
            const uint8_t *row = w->data + r * w->row_bytes;
            w->type->to_float(row + quant_row_bytes(w->type, k), chunk, n);
            for (size_t c = 0; c < n_cols; c++)
                for (size_t i = 0; i < n; i++)
                    out[c * out_stride + k + i] += s[c * s_stride + r] * chunk[i];
        }
}

static void scalar_axpy(float *y, float s, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += s * x[i];
}

static void scalar_to_f16(const float *x, uint16_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = quant_float_to_half(x[i]);
}

static void scalar_rmsnorm(const float *x, const float *weight, float eps, size_t n, float *out)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)(x[i] * x[i]);
    float mean = (float)(sum / (double)n);
    float scale = 1 / sqrtf(mean + eps);
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] * scale * weight[i];
}

static void scalar_softmax(float *x, size_t n)
{
    float max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (size_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - max);
        sum += x[i];
    }
    float scale = 1 / sum;
    for (size_t i = 0; i < n; i++)
        x[i] *= scale;
}

static void scalar_silu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        gate[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
}

const struct kernels kernels_scalar = {
    .name = "scalar",
    .quantise = scalar_quantise,
    .matmul = scalar_matmul,
    .mix = scalar_mix,
    .axpy = scalar_axpy,
    .to_f16 = scalar_to_f16,
    .rmsnorm = scalar_rmsnorm,
    .softmax = scalar_softmax,
    .silu_mul = scalar_silu_mul,
};
