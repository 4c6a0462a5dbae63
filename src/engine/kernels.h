/*
 * The arithmetic of the forward pass, in several instruction sets, chosen once at start.
 *
 * Rule: one output value is one reduction in one fixed order that depends only on the set in
 * use and the length, never on how many columns, rows or threads take part. So a reply does not
 * depend on what else runs. Pure, no state; any thread.
 */
#ifndef MOONGATE_ENGINE_KERNELS_H
#define MOONGATE_ENGINE_KERNELS_H

#include "base/error.h"
#include "engine/quant.h"

#include <stddef.h>
#include <stdint.h>

/* `rows` rows of `cols` weights of one type, one after another. */
struct matrix {
    const struct quant_type *type;
    const uint8_t *data;
    size_t rows, cols, row_bytes;
};

struct kernels {
    const char *name;
    /* Activations for a matrix: n floats into the form `act`, at most kernels_act_bytes. */
    void (*quantise)(enum quant_act act, const float *x, size_t n, void *out);
    /* out[c * out_stride + r] = row r of w times column c, for r0 <= r < r1 and c < n_cols.
     * Column c's activations start at acts + c * act_stride bytes, in the form w->type->act. */
    void (*matmul)(const struct matrix *w, const void *acts, size_t act_stride, size_t n_cols,
                   size_t r0, size_t r1, float *out, size_t out_stride);
    /* out[c * out_stride + i] += s[c * s_stride + r] times value i of row r of w, for all its
     * rows in their order, i < w->cols and c < n_cols. w is F32 or F16. */
    void (*mix)(const struct matrix *w, const float *s, size_t s_stride, size_t n_cols, float *out,
                size_t out_stride);
    void (*axpy)(float *y, float s, const float *x, size_t n); /* y += s x */
    void (*to_f16)(const float *x, uint16_t *out, size_t n);
    /* out = x / sqrt(mean(x^2) + eps) * weight; the sum is in double, as in ggml */
    void (*rmsnorm)(const float *x, const float *weight, float eps, size_t n, float *out);
    void (*softmax)(float *x, size_t n);                      /* in place, maximum subtracted */
    void (*silu_mul)(float *gate, const float *up, size_t n); /* gate = silu(gate) * up */
};

/* "auto" takes the best this processor has; a name that it has not is ERR_UNSUPPORTED and lists
 * those it has. Names: scalar, avx2, avx512, avx512vnni. */
int kernels_find(const char *name, const struct kernels **out, struct error *e);
size_t kernels_act_bytes(enum quant_act act, size_t n);

#endif
