/*
 * The block types of weights as a table: how large a block is, how it becomes floats, and which
 * form activations take beside it. A further type is a further row here and its kernels.
 * Formats: the ggml project's (F32, F16, BF16, Q8_0). Pure; any thread.
 */
#ifndef MOONGATE_ENGINE_QUANT_H
#define MOONGATE_ENGINE_QUANT_H

#include <stddef.h>
#include <stdint.h>

enum quant_id { QUANT_F32 = 0, QUANT_F16 = 1, QUANT_Q8_0 = 8, QUANT_BF16 = 30 };

/* The form of activations that a dot product with a weight type reads. */
enum quant_act {
    QUANT_ACT_F32, /* as they are */
    QUANT_ACT_Q16, /* blocks of 32: float scale, int16 values */
    QUANT_N_ACTS
};

struct quant_type {
    uint32_t id; /* ggml type id */
    const char *name;
    uint32_t block_weights, block_bytes;
    enum quant_act act;
    void (*to_float)(const void *row, float *out, size_t n); /* n is a multiple of the block */
};

const struct quant_type *quant_find(uint32_t id); /* NULL if not built */
const char *quant_name(uint32_t id);              /* also of types we know but cannot read */
size_t quant_row_bytes(const struct quant_type *t, size_t n);
void quant_from_float(const struct quant_type *t, const float *in, void *row, size_t n);

float quant_half_to_float(uint16_t h);
uint16_t quant_float_to_half(float f); /* round to nearest even */

#endif
