/*
 * What the kernel sets share; nobody else includes it.
 *
 * Activations in the form QUANT_ACT_Q16, for n values (n a multiple of 32):
 *     n int16 words | n/32 float scales
 * Scale: max|x| / 32767. Word: x * (32767 / max|x|), rounded to nearest with ties to even, which
 * is what the processors do by themselves. A block below ACT_SMALLEST becomes zero (the inverse
 * of its scale would overflow); one with a value that is not finite gets the scale NaN and words
 * 0. All sets write the same bits.
 * 16 bits, though the weights beside them have 8: rounding to 8 moves the router's scores enough
 * to choose other experts. A block's sum of products is exact in int32: 32 * 128 * 32767 < 2^27.
 */
#ifndef MOONGATE_ENGINE_KERNELS_IMPL_H
#define MOONGATE_ENGINE_KERNELS_IMPL_H

#include "engine/kernels.h"

#include <string.h>

enum { Q8_BLOCK = 32, Q8_BLOCK_BYTES = 34 };

#define ACT_SMALLEST 1e-30f

static inline const int16_t *act_words(const void *act)
{
    return act;
}

static inline const float *act_scales(const void *act, size_t n)
{
    return (const float *)(act_words(act) + n);
}

static inline uint16_t load_half(const uint8_t *at)
{
    uint16_t h;
    memcpy(&h, at, sizeof h);
    return h;
}

/* A product in progress, as matmul was asked for it. */
struct product {
    const struct matrix *w;
    const uint8_t *acts;
    size_t act_stride;
    float *out;
    size_t out_stride;
};

static inline const uint8_t *product_row(const struct product *p, size_t r)
{
    return p->w->data + r * p->w->row_bytes;
}

static inline const uint8_t *product_col(const struct product *p, size_t c)
{
    return p->acts + c * p->act_stride;
}

/* Asks for the place `ahead` rows further on. A row is short for the processor's own prefetching,
 * which starts anew in each; without this, decoding reaches half of the memory's speed. Past the
 * matrix it is harmless. */
static inline void product_prefetch(const struct product *p, const uint8_t *at, size_t ahead)
{
    __builtin_prefetch(at + ahead * p->w->row_bytes, 0, 2);
}

/* Rows whose weights stay in the second-level cache while all columns go past them. */
static inline size_t product_group(const struct product *p, size_t row_step)
{
    size_t rows = (size_t)(128 * 1024) / p->w->row_bytes;
    rows = rows < 64 ? rows : 64;
    return rows < row_step ? row_step : rows - rows % row_step;
}

/* Covers rows r0..r1 and n_cols columns with tiles of at most row_step by col_step. Weights
 * come from memory once, activations once a group of rows. */
static inline __attribute__((always_inline)) void
product_walk(const struct product *p, size_t n_cols, size_t r0, size_t r1, size_t row_step,
             size_t col_step,
             void (*tile)(const struct product *p, size_t r, size_t rows, size_t c, size_t cols))
{
    size_t group = product_group(p, row_step);
    for (size_t g = r0; g < r1; g += group) {
        size_t end = r1 - g < group ? r1 : g + group;
        for (size_t c = 0; c < n_cols; c += col_step) {
            size_t cols = n_cols - c < col_step ? n_cols - c : col_step;
            for (size_t r = g; r < end; r += row_step)
                tile(p, r, end - r < row_step ? end - r : row_step, c, cols);
        }
    }
}

extern const struct kernels kernels_scalar;
#if defined(__x86_64__)
extern const struct kernels kernels_avx2, kernels_avx512, kernels_avx512vnni;

/* Parts that one file has and another set uses. */
void kernels_avx2_quantise(enum quant_act act, const float *x, size_t n, void *out);
void kernels_avx2_matmul_q8(const struct product *p, size_t n_cols, size_t r0, size_t r1);
void kernels_avx512vnni_matmul_q8(const struct product *p, size_t n_cols, size_t r0, size_t r1);
#endif

#endif
