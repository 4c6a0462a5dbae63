/*
 * The table of weight types, with their conversions in plain C. The fast paths are in the
 * kernels; these serve loading, the scalar set and tests.
 *
 * A Q8_0 block is a half (the scale d) and 32 signed bytes q; a weight is d * q. Writing one:
 * d = max|x| / 127, q = x / d rounded half away from zero with d before its own rounding, the
 * way the ggml project does. Blocks with a value that is not finite get d = NaN, so that the
 * fault shows in every result instead of a random number.
 */
#include "engine/quant.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { Q8_WEIGHTS = 32, Q8_BYTES = 34 };

float quant_half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exponent = h >> 10 & 0x1f, fraction = h & 0x3ff, bits;
    if (exponent == 0x1f) {
        /* A NaN becomes a quiet one, as in hardware. */
        bits = sign | 0x7f800000 | fraction << 13 | (fraction ? 0x400000 : 0);
    } else if (exponent != 0) {
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    } else {
        float tiny = (float)fraction * 0x1p-24f; /* exact */
        memcpy(&bits, &tiny, sizeof bits);
        bits |= sign;
    }
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Shifts right with rounding to nearest, ties to even; 0 < shift < 32. */
static uint32_t round_shift(uint32_t v, unsigned shift)
{
    uint32_t half = 1u << (shift - 1), rest = v & ((half << 1) - 1);
    uint32_t q = v >> shift;
    return q + (rest > half || (rest == half && (q & 1)));
}

uint16_t quant_float_to_half(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x47800000) /* 65536 and more; 65520 to 65536 round up to it below */
        return sign | 0x7c00;
    if (magnitude >= 0x38800000) /* a normal half; a carry goes into the exponent rightly */
        return (uint16_t)(sign | round_shift(magnitude - (112u << 23), 13));
    unsigned exponent = magnitude >> 23;
    if (exponent < 102) /* below half of the smallest half */
        return sign;
    uint32_t fraction = (magnitude & 0x7fffff) | 0x800000;
    return (uint16_t)(sign | round_shift(fraction, 126 - exponent));
}

static void f32_to_float(const void *row, float *out, size_t n)
{
    memcpy(out, row, n * sizeof *out);
}

static void f16_to_float(const void *row, float *out, size_t n)
{
    const uint16_t *w = row;
    for (size_t i = 0; i < n; i++)
        out[i] = quant_half_to_float(w[i]);
}

static void bf16_to_float(const void *row, float *out, size_t n)
{
    const uint16_t *w = row;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)w[i] << 16;
        memcpy(&out[i], &bits, sizeof bits);
    }
}

static void q8_0_to_float(const void *row, float *out, size_t n)
{
    const uint8_t *block = row;
    for (size_t b = 0; b < n / Q8_WEIGHTS; b++, block += Q8_BYTES) {
        uint16_t h;
        memcpy(&h, block, sizeof h);
        float d = quant_half_to_float(h);
        for (size_t i = 0; i < Q8_WEIGHTS; i++)
            out[b * Q8_WEIGHTS + i] = d * (float)(int8_t)block[2 + i];
    }
}

static void f16_from_float(const float *in, uint16_t *row, size_t n)
{
    for (size_t i = 0; i < n; i++)
        row[i] = quant_float_to_half(in[i]);
}

static void bf16_from_float(const float *in, uint16_t *row, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &in[i], sizeof bits);
        bool nan = (bits & 0x7fffffff) > 0x7f800000;
        row[i] = (uint16_t)(nan ? bits >> 16 | 0x40 : round_shift(bits, 16));
    }
}

static void q8_0_block(const float *in, uint8_t *block)
{
    float max = 0;
    bool finite = true;
    for (size_t i = 0; i < Q8_WEIGHTS; i++) {
        finite &= isfinite(in[i]) != 0;
        max = fmaxf(max, fabsf(in[i]));
    }
    float d = finite ? max / 127 : NAN;
    float inverse = d > 0 ? 1 / d : 0;
    if (!isfinite(inverse)) /* d below the normal numbers: its half is zero anyway */
        inverse = 0;
    uint16_t h = quant_float_to_half(d);
    memcpy(block, &h, sizeof h);
    for (size_t i = 0; i < Q8_WEIGHTS; i++)
        block[2 + i] = finite ? (uint8_t)(int8_t)roundf(in[i] * inverse) : 0;
}

static const struct quant_type types[] = {
    {QUANT_F32, "F32", 1, 4, QUANT_ACT_F32, f32_to_float},
    {QUANT_F16, "F16", 1, 2, QUANT_ACT_F32, f16_to_float},
    {QUANT_BF16, "BF16", 1, 2, QUANT_ACT_F32, bf16_to_float},
    {QUANT_Q8_0, "Q8_0", Q8_WEIGHTS, Q8_BYTES, QUANT_ACT_Q16, q8_0_to_float},
};

const struct quant_type *quant_find(uint32_t id)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].id == id)
            return &types[i];
    return NULL;
}

const char *quant_name(uint32_t id)
{
    static const char *const names[] = {
        [0] = "F32",     [1] = "F16",      [2] = "Q4_0",   [3] = "Q4_1",    [6] = "Q5_0",
        [7] = "Q5_1",    [8] = "Q8_0",     [9] = "Q8_1",   [10] = "Q2_K",   [11] = "Q3_K",
        [12] = "Q4_K",   [13] = "Q5_K",    [14] = "Q6_K",  [15] = "Q8_K",   [16] = "IQ2_XXS",
        [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S",
        [22] = "IQ2_S",  [23] = "IQ4_XS",  [24] = "I8",    [25] = "I16",    [26] = "I32",
        [27] = "I64",    [28] = "F64",     [29] = "IQ1_M", [30] = "BF16",   [34] = "TQ1_0",
        [35] = "TQ2_0",  [39] = "MXFP4",
    };
    if (id < sizeof names / sizeof *names && names[id])
        return names[id];
    if (id >= 97 && id <= 399)
        return "a private type of ik_llama.cpp";
    return "an unknown type";
}

size_t quant_row_bytes(const struct quant_type *t, size_t n)
{
    return n / t->block_weights * t->block_bytes;
}

void quant_from_float(const struct quant_type *t, const float *in, void *row, size_t n)
{
    switch (t->id) {
    case QUANT_F32:
        memcpy(row, in, n * sizeof *in);
        break;
    case QUANT_F16:
        f16_from_float(in, row, n);
        break;
    case QUANT_BF16:
        bf16_from_float(in, row, n);
        break;
    case QUANT_Q8_0:
        for (size_t b = 0; b < n / Q8_WEIGHTS; b++)
            q8_0_block(in + b * Q8_WEIGHTS, (uint8_t *)row + b * Q8_BYTES);
        break;
    default:
        break;
    }
}
