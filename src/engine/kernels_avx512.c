/*
 * The kernels for AVX-512 (F, BW, VL, DQ): sixteen floats. Products with Q8_0 go through the
 * AVX2 form, since without VNNI wider registers gain little there; with VNNI they have a file of
 * their own, and the set that uses it is the same in all else.
 */
#include "engine/kernels_impl.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>

enum { WIDE = 16, TILE_COLS = 4 };

#define vec           __m512
#define v_zero        _mm512_setzero_ps
#define v_set         _mm512_set1_ps
#define v_load        _mm512_loadu_ps
#define v_store       _mm512_storeu_ps
#define v_add         _mm512_add_ps
#define v_sub         _mm512_sub_ps
#define v_mul         _mm512_mul_ps
#define v_div         _mm512_div_ps
#define v_max         _mm512_max_ps
#define v_min         _mm512_min_ps
#define v_fma         _mm512_fmadd_ps
#define v_round(v)    _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define v_scale(v, e) _mm512_scalef_ps(v, e)

/* The first n lanes, n < WIDE. */
static inline __mmask16 lanes_below(size_t n)
{
    return (__mmask16)((1u << n) - 1);
}

static inline __m512 v_load_n(const float *p, size_t n, float fill)
{
    return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), lanes_below(n), p);
}

static inline void v_store_n(float *p, __m512 v, size_t n)
{
    _mm512_mask_storeu_ps(p, lanes_below(n), v);
}

static inline __m512 bfloats(__m256i raw)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
}

static inline __m512 v_halves(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

static inline __m512 v_halves_n(const uint16_t *p, size_t n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes_below(n), p));
}

static inline __m512 v_bfloats(const uint16_t *p)
{
    return bfloats(_mm256_loadu_si256((const __m256i *)p));
}

static inline __m512 v_bfloats_n(const uint16_t *p, size_t n)
{
    return bfloats(_mm256_maskz_loadu_epi16(lanes_below(n), p));
}

static inline void v_store_halves(uint16_t *p, __m512 v, size_t n)
{
    __mmask16 mask = n < WIDE ? lanes_below(n) : 0xffff;
    _mm256_mask_storeu_epi16(p, mask, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

static inline __m256 fold(__m512 v)
{
    return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
}

static inline __m128 v_sum4(__m512 a, __m512 b, __m512 c, __m512 d)
{
    __m256 ab = _mm256_hadd_ps(fold(a), fold(b)), cd = _mm256_hadd_ps(fold(c), fold(d));
    __m256 four = _mm256_hadd_ps(ab, cd);
    return _mm_add_ps(_mm256_castps256_ps128(four), _mm256_extractf128_ps(four, 1));
}

static inline float v_top(__m512 v)
{
    return _mm512_reduce_max_ps(v);
}

static inline double v_square_sum(const float *x, size_t n)
{
    __m512d low = _mm512_setzero_pd(), high = _mm512_setzero_pd();
    for (size_t i = 0; i < n; i += WIDE) {
        __m512 v = n - i < WIDE ? v_load_n(x + i, n - i, 0) : v_load(x + i);
        v = v_mul(v, v);
        low = _mm512_add_pd(low, _mm512_cvtps_pd(_mm512_castps512_ps256(v)));
        high = _mm512_add_pd(high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)));
    }
    double lanes[8];
    _mm512_storeu_pd(lanes, _mm512_add_pd(low, high));
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

#include "engine/kernels_wide.h"

static void avx512_matmul(const struct matrix *w, const void *acts, size_t act_stride,
                          size_t n_cols, size_t r0, size_t r1, float *out, size_t out_stride)
{
    const struct product p = {w, acts, act_stride, out, out_stride};
    if (w->type->act == QUANT_ACT_Q16)
        kernels_avx2_matmul_q8(&p, n_cols, r0, r1);
    else
        wide_matmul_float(&p, n_cols, r0, r1);
}

static void avx512vnni_matmul(const struct matrix *w, const void *acts, size_t act_stride,
                              size_t n_cols, size_t r0, size_t r1, float *out, size_t out_stride)
{
    const struct product p = {w, acts, act_stride, out, out_stride};
    if (w->type->act == QUANT_ACT_Q16)
        kernels_avx512vnni_matmul_q8(&p, n_cols, r0, r1);
    else
        wide_matmul_float(&p, n_cols, r0, r1);
}

const struct kernels kernels_avx512 = {
    .name = "avx512",
    .quantise = kernels_avx2_quantise,
    .matmul = avx512_matmul,
    .mix = wide_mix,
    .axpy = wide_axpy,
    .to_f16 = wide_to_f16,
    .rmsnorm = wide_rmsnorm,
    .softmax = wide_softmax,
    .silu_mul = wide_silu_mul,
};

const struct kernels kernels_avx512vnni = {
    .name = "avx512vnni",
    .quantise = kernels_avx2_quantise,
    .matmul = avx512vnni_matmul,
    .mix = wide_mix,
    .axpy = wide_axpy,
    .to_f16 = wide_to_f16,
    .rmsnorm = wide_rmsnorm,
    .softmax = wide_softmax,
    .silu_mul = wide_silu_mul,
};

#endif
