/*
 * The kernels for AVX2 with FMA and F16C: eight floats, or half of a Q8_0 block as 16-bit words.
 *
 * Weights are widened to words, since the instruction multiplies words by words and adds
 * neighbours into 32 bits. A lane gets two such pairs of a block.
 */
#include "engine/kernels_impl.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>

enum { WIDE = 8, TILE_COLS = 2 };

#define vec        __m256
#define v_zero     _mm256_setzero_ps
#define v_set      _mm256_set1_ps
#define v_load     _mm256_loadu_ps
#define v_store    _mm256_storeu_ps
#define v_add      _mm256_add_ps
#define v_sub      _mm256_sub_ps
#define v_mul      _mm256_mul_ps
#define v_div      _mm256_div_ps
#define v_max      _mm256_max_ps
#define v_min      _mm256_min_ps
#define v_fma      _mm256_fmadd_ps
#define v_round(v) _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)

/* The first n lanes set, n < WIDE. */
static inline __m256i lanes_below(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline __m256 v_load_n(const float *p, size_t n, float fill)
{
    __m256i mask = lanes_below(n);
    return _mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(p, mask),
                            _mm256_castsi256_ps(mask));
}

static inline void v_store_n(float *p, __m256 v, size_t n)
{
    _mm256_maskstore_ps(p, lanes_below(n), v);
}

static inline __m128i load_16bit_n(const uint16_t *p, size_t n)
{
    uint16_t some[WIDE] = {0};
    memcpy(some, p, n * sizeof *p);
    return _mm_loadu_si128((const __m128i *)some);
}

static inline __m256 bfloats(__m128i raw)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
}

static inline __m256 v_halves(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

static inline __m256 v_halves_n(const uint16_t *p, size_t n)
{
    return _mm256_cvtph_ps(load_16bit_n(p, n));
}

static inline __m256 v_bfloats(const uint16_t *p)
{
    return bfloats(_mm_loadu_si128((const __m128i *)p));
}

static inline __m256 v_bfloats_n(const uint16_t *p, size_t n)
{
    return bfloats(load_16bit_n(p, n));
}

static inline void v_store_halves(uint16_t *p, __m256 v, size_t n)
{
    uint16_t some[WIDE];
    _mm_storeu_si128((__m128i *)some, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
    memcpy(p, some, n * sizeof *p);
}

/* v * 2^e in two factors, so that results below the normal numbers come out right. */
static inline __m256 v_scale(__m256 v, __m256 e)
{
    __m256i whole = _mm256_cvtps_epi32(e), half = _mm256_srai_epi32(whole, 1);
    __m256i bias = _mm256_set1_epi32(127), rest = _mm256_sub_epi32(whole, half);
    __m256i first = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i second = _mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(v, _mm256_castsi256_ps(first)), _mm256_castsi256_ps(second));
}

static inline __m128 v_sum4(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 four = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(four), _mm256_extractf128_ps(four, 1));
}

static inline float v_top(__m256 v)
{
    float lanes[WIDE], top = -INFINITY;
    _mm256_storeu_ps(lanes, v);
    for (size_t i = 0; i < WIDE; i++)
        top = lanes[i] > top ? lanes[i] : top;
    return top;
}

static inline double v_square_sum(const float *x, size_t n)
{
    __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();
    for (size_t i = 0; i < n; i += WIDE) {
        __m256 v = n - i < WIDE ? v_load_n(x + i, n - i, 0) : v_load(x + i);
        v = v_mul(v, v);
        low = _mm256_add_pd(low, _mm256_cvtps_pd(_mm256_castps256_ps128(v)));
        high = _mm256_add_pd(high, _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)));
    }
    double lanes[4];
    _mm256_storeu_pd(lanes, _mm256_add_pd(low, high));
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

#include "engine/kernels_wide.h"

/* Q8_0 */

INLINED __m256i load_int(const void *p)
{
    return _mm256_loadu_si256(p);
}

INLINED __m256i widened(const uint8_t *bytes)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)bytes));
}

INLINED __m256 q8_scale(const uint8_t *block)
{
    return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(load_half(block))));
}

/* Eight int32 sums of four products each. */
INLINED __m256i dot_block(__m256i w_low, __m256i w_high, const int16_t *x)
{
    return _mm256_add_epi32(_mm256_madd_epi16(w_low, load_int(x)),
                            _mm256_madd_epi16(w_high, load_int(x + Q8_BLOCK / 2)));
}

INLINED void tile_q8(const struct product *p, size_t r, const int rows, size_t c, const int cols)
{
    vec sums[ROWS][TILE_COLS];
    const size_t n = p->w->cols;
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < cols; j++)
            sums[i][j] = v_zero();
    for (size_t b = 0; b < n / Q8_BLOCK; b++) {
        for (int i = 0; i < rows; i++) {
            const uint8_t *block = product_row(p, r + (size_t)i) + b * Q8_BLOCK_BYTES;
            __m256i low = widened(block + 2), high = widened(block + 2 + Q8_BLOCK / 2);
            vec scale = q8_scale(block);
            if (c == 0)
                product_prefetch(p, block, ROWS);
            for (int j = 0; j < cols; j++) {
                const uint8_t *act = product_col(p, c + (size_t)j);
                __m256i dot = dot_block(low, high, act_words(act) + b * Q8_BLOCK);
                vec both = v_mul(scale, v_set(act_scales(act, n)[b]));
                sums[i][j] = v_fma(_mm256_cvtepi32_ps(dot), both, sums[i][j]);
            }
        }
    }
    for (int j = 0; j < cols; j++) {
        float four[ROWS];
        _mm_storeu_ps(four, v_sum4(sums[0][j], sums[1][j], sums[2][j], sums[3][j]));
        memcpy(p->out + (c + (size_t)j) * p->out_stride + r, four, (size_t)rows * sizeof *four);
    }
}

static void tile_q8_any(const struct product *p, size_t r, size_t rows, size_t c, size_t cols)
{
    if (rows == ROWS && cols == TILE_COLS) {
        tile_q8(p, r, ROWS, c, TILE_COLS);
    } else if (rows == ROWS) {
        for (size_t j = 0; j < cols; j++)
            tile_q8(p, r, ROWS, c + j, 1);
    } else {
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < cols; j++)
                tile_q8(p, r + i, 1, c + j, 1);
    }
}

void kernels_avx2_matmul_q8(const struct product *p, size_t n_cols, size_t r0, size_t r1)
{
    product_walk(p, n_cols, r0, r1, ROWS, TILE_COLS, tile_q8_any);
}

static void avx2_matmul(const struct matrix *w, const void *acts, size_t act_stride, size_t n_cols,
                        size_t r0, size_t r1, float *out, size_t out_stride)
{
    const struct product p = {w, acts, act_stride, out, out_stride};
    if (w->type->act == QUANT_ACT_Q16)
        kernels_avx2_matmul_q8(&p, n_cols, r0, r1);
    else
        wide_matmul_float(&p, n_cols, r0, r1);
}

/* Activations to words */

/* The largest magnitude as bits: infinity and NaN are above all numbers. */
INLINED uint32_t top_magnitude(const float *x)
{
    const __m256i mask = _mm256_set1_epi32(0x7fffffff);
    __m256i top = _mm256_setzero_si256();
    for (size_t i = 0; i < Q8_BLOCK; i += WIDE)
        top = _mm256_max_epi32(top, _mm256_and_si256(load_int(x + i), mask));
    __m128i half = _mm_max_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
    half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(half);
}

/* 32 floats times a factor, to words in order. */
INLINED void to_words(const float *x, float factor, int16_t *out)
{
    for (size_t i = 0; i < Q8_BLOCK; i += 2 * WIDE) {
        __m256i low = _mm256_cvtps_epi32(v_mul(v_load(x + i), v_set(factor)));
        __m256i high = _mm256_cvtps_epi32(v_mul(v_load(x + i + WIDE), v_set(factor)));
        /* Packing works on each half apart and leaves the middle quarters exchanged. */
        __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
        _mm256_storeu_si256((__m256i *)(out + i), words);
    }
}

void kernels_avx2_quantise(enum quant_act act, const float *x, size_t n, void *out)
{
    if (act == QUANT_ACT_F32) {
        memcpy(out, x, n * sizeof *x);
        return;
    }
    int16_t *all = out;
    float *scales = (float *)(all + n);
    for (size_t b = 0; b < n / Q8_BLOCK; b++) {
        uint32_t top = top_magnitude(x + b * Q8_BLOCK);
        int16_t *words = all + b * Q8_BLOCK;
        float magnitude;
        memcpy(&magnitude, &top, sizeof magnitude);
        if (isfinite(magnitude) && magnitude >= ACT_SMALLEST) {
            scales[b] = magnitude / 32767;
            to_words(x + b * Q8_BLOCK, 32767 / magnitude, words);
        } else {
            scales[b] = isfinite(magnitude) ? 0 : NAN;
            memset(words, 0, Q8_BLOCK * sizeof *words);
        }
    }
}

const struct kernels kernels_avx2 = {
    .name = "avx2",
    .quantise = kernels_avx2_quantise,
    .matmul = avx2_matmul,
    .mix = wide_mix,
    .axpy = wide_axpy,
    .to_f16 = wide_to_f16,
    .rmsnorm = wide_rmsnorm,
    .softmax = wide_softmax,
    .silu_mul = wide_silu_mul,
};

#endif
