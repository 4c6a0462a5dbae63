/*
 * What the kernel sets share; nobody else includes it.
 *
 * Activations in the form QUANT_ACT_Q8_0, for n values (n a multiple of 32):
 *     n signed bytes | n/32 float scales | n/32 sums of the bytes as int32
 * Scale: max|x| / 127. Byte: x * (127 / max|x|), rounded to nearest with ties to even, which is
 * what the processors do by themselves. A block below Q8_SMALLEST becomes zero (the inverse of
 * its scale would overflow); one with a value that is not finite gets the scale NaN and bytes 0.
 * All sets write the same bits.
 */
#ifndef MOONGATE_ENGINE_KERNELS_IMPL_H
#define MOONGATE_ENGINE_KERNELS_IMPL_H

#include "engine/kernels.h"

#include <string.h>

enum { Q8_BLOCK = 32, Q8_BLOCK_BYTES = 34 };

#define Q8_SMALLEST 1e-30f

static inline const int8_t *act_bytes(const void *act)
{
    return act;
}

static inline const float *act_scales(const void *act, size_t n)
{
    return (const float *)((const uint8_t *)act + n);
}

static inline const int32_t *act_sums(const void *act, size_t n)
{
    return (const int32_t *)((const uint8_t *)act + n + n / Q8_BLOCK * sizeof(float));
}

static inline uint16_t load_half(const uint8_t *at)
{
    uint16_t h;
    memcpy(&h, at, sizeof h);
    return h;
}

extern const struct kernels kernels_scalar;
#if defined(__x86_64__)
extern const struct kernels kernels_avx2, kernels_avx512, kernels_avx512vnni;
#endif

#endif
