/*
 * Q8_0 products for AVX-512 with VNNI, whose instruction adds four products of unsigned and
 * signed bytes into each 32-bit lane. The unsigned side is w + 128; see the offsets of the
 * activations.
 *
 * Order of one output, whatever the way: four sums, block b in sum b mod 4, each step
 * fma(whole sum of the block, w's scale times x's scale, sum); then (0 + 1) + (2 + 3).
 *
 * Two ways give it. Few columns: four rows and four blocks at a time, so that memory is read in
 * few streams; the 16 lanes are (block, row). Many columns: 16 rows are first transposed, a
 * chunk at a time, so that a lane is a row and no sum across lanes is left to do.
 */
#include "engine/kernels_impl.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define INLINED static inline __attribute__((always_inline))

enum {
    ROWS = 4,       /* of a narrow tile */
    SUMS = 4,       /* of an output */
    WIDE_ROWS = 16, /* of a wide tile */
    WIDE_COLS = 4,
    WIDE_FROM = 4,        /* columns from which transposing pays */
    MAX_COLS = 64,        /* in one pass of the wide way */
    CHUNK_BLOCKS = 16,    /* transposed at once */
    WORDS = Q8_BLOCK / 4, /* 32-bit words of a block */
    CACHE_LINE = 64
};

INLINED __m512i unsign(__m512i w)
{
    return _mm512_xor_si512(w, _mm512_set1_epi8((char)0x80));
}

/* Few columns */

/* The bytes of two blocks that follow one another; `have` of them (0 to 2) are in the row. */
INLINED __m512i load_pair(const uint8_t *block, size_t have)
{
    __m512i pair = _mm512_setzero_si512();
    if (have > 0)
        pair = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(block + 2)));
    if (have > 1)
        pair = _mm512_inserti64x4(
            pair, _mm256_loadu_si256((const __m256i *)(block + Q8_BLOCK_BYTES + 2)), 1);
    return pair;
}

/* Per 128 bits: element i is the sum of the four of row i. */
INLINED __m512i sum_fours(const __m512i d[ROWS])
{
    __m512i ab =
        _mm512_add_epi32(_mm512_unpacklo_epi32(d[0], d[1]), _mm512_unpackhi_epi32(d[0], d[1]));
    __m512i cd =
        _mm512_add_epi32(_mm512_unpacklo_epi32(d[2], d[3]), _mm512_unpackhi_epi32(d[2], d[3]));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

/* Sums of whole blocks: element i of the 128 bits m is row i, block m. */
INLINED __m512i block_sums(const __m512i w[2][ROWS], __m512i x0, __m512i x1)
{
    __m512i first[ROWS], second[ROWS];
    for (int i = 0; i < ROWS; i++) {
        first[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w[0][i], x0);
        second[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w[1][i], x1);
    }
    __m512i low = sum_fours(first), high = sum_fours(second);
    return _mm512_add_epi32(_mm512_shuffle_i32x4(low, high, 0x88),
                            _mm512_shuffle_i32x4(low, high, 0xdd));
}

/* The halves of one block of four rows, first row lowest. */
INLINED long long four_halves(const uint8_t *const row[ROWS], size_t at)
{
    return (long long)((uint64_t)load_half(row[0] + at) | (uint64_t)load_half(row[1] + at) << 16 |
                       (uint64_t)load_half(row[2] + at) << 32 |
                       (uint64_t)load_half(row[3] + at) << 48);
}

/* Scales of `have` blocks of four rows, in the lanes of block_sums. */
INLINED __m512 weight_scales(const uint8_t *const row[ROWS], size_t at, size_t have)
{
    long long h[SUMS];
    for (size_t m = 0; m < SUMS; m++)
        h[m] = m < have ? four_halves(row, at + m * Q8_BLOCK_BYTES) : 0;
    return _mm512_cvtph_ps(_mm256_set_epi64x(h[3], h[2], h[1], h[0]));
}

/* Adds blocks b to b + have of four rows to the columns' sums. */
INLINED void narrow_step(const struct product *p, const uint8_t *const row[ROWS], size_t b,
                         size_t have, size_t c, const int cols, __m512 *sums)
{
    const __m512i spread = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const size_t n = p->w->cols, at = b * Q8_BLOCK_BYTES;
    const __mmask8 blocks = (__mmask8)((1u << have) - 1);
    const __mmask64 bytes0 = have > 1 ? ~0ull : 0xffffffffull;
    const __mmask64 bytes1 = have > 3 ? ~0ull : have > 2 ? 0xffffffffull : 0;
    __m512i w[2][ROWS];
    for (int i = 0; i < ROWS; i++) {
        for (size_t line = 0; c == 0 && line < have * Q8_BLOCK_BYTES; line += CACHE_LINE)
            product_prefetch(p, row[i] + at + line, ROWS);
        w[0][i] = unsign(load_pair(row[i] + at, have));
        w[1][i] = unsign(load_pair(row[i] + at + 2 * Q8_BLOCK_BYTES, have > 2 ? have - 2 : 0));
    }
    __m512 w_scales = weight_scales(row, at, have);
    for (int j = 0; j < cols; j++) {
        const uint8_t *act = product_col(p, c + (size_t)j);
        const int8_t *x = act_bytes(act) + b * Q8_BLOCK;
        __m512i dot = block_sums(w, _mm512_maskz_loadu_epi8(bytes0, x),
                                 _mm512_maskz_loadu_epi8(bytes1, x + 2 * Q8_BLOCK));
        __m128i offsets = _mm_maskz_loadu_epi32(blocks, act_offsets(act, n) + b);
        __m128 scales = _mm_maskz_loadu_ps(blocks, act_scales(act, n) + b);
        dot = _mm512_add_epi32(dot,
                               _mm512_permutexvar_epi32(spread, _mm512_castsi128_si512(offsets)));
        __m512 x_scales = _mm512_permutexvar_ps(spread, _mm512_castps128_ps512(scales));
        sums[j] =
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(w_scales, x_scales), sums[j]);
    }
}

INLINED void narrow_tile(const struct product *p, size_t r, size_t rows, size_t c, const int cols)
{
    const size_t blocks = p->w->cols / Q8_BLOCK;
    const uint8_t *row[ROWS];
    __m512 sums[2];
    for (size_t i = 0; i < ROWS; i++)
        row[i] = product_row(p, i < rows ? r + i : r);
    for (int j = 0; j < cols; j++)
        sums[j] = _mm512_setzero_ps();
    size_t b = 0;
    for (; b + SUMS <= blocks; b += SUMS)
        narrow_step(p, row, b, SUMS, c, cols, sums);
    if (b < blocks)
        narrow_step(p, row, b, blocks - b, c, cols, sums);
    for (int j = 0; j < cols; j++) {
        __m128 low =
            _mm_add_ps(_mm512_castps512_ps128(sums[j]), _mm512_extractf32x4_ps(sums[j], 1));
        __m128 high =
            _mm_add_ps(_mm512_extractf32x4_ps(sums[j], 2), _mm512_extractf32x4_ps(sums[j], 3));
        float four[ROWS];
        _mm_storeu_ps(four, _mm_add_ps(low, high));
        memcpy(p->out + (c + (size_t)j) * p->out_stride + r, four, rows * sizeof *four);
    }
}

static void narrow_tile_any(const struct product *p, size_t r, size_t rows, size_t c, size_t cols)
{
    if (cols == 2)
        narrow_tile(p, r, rows, c, 2);
    else
        narrow_tile(p, r, rows, c, 1);
}

/* Many columns */

struct chunk {
    __m512i words[CHUNK_BLOCKS][WORDS]; /* lane i: row i, plus 128 */
    uint16_t scales[CHUNK_BLOCKS][WIDE_ROWS];
};

/* Four words of 16 rows from the same place of each: lane i of word k is word k of row i. */
INLINED void transpose_words(const uint8_t *first, size_t row_bytes, __m512i out[4])
{
    __m512i v[4];
    for (size_t i = 0; i < 4; i++) {
        const uint8_t *at = first + i * row_bytes;
        __m512i four = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)at));
        four = _mm512_inserti32x4(four, _mm_loadu_si128((const __m128i *)(at + 4 * row_bytes)), 1);
        four = _mm512_inserti32x4(four, _mm_loadu_si128((const __m128i *)(at + 8 * row_bytes)), 2);
        v[i] = _mm512_inserti32x4(four, _mm_loadu_si128((const __m128i *)(at + 12 * row_bytes)), 3);
    }
    __m512i low01 = _mm512_unpacklo_epi32(v[0], v[1]), low23 = _mm512_unpacklo_epi32(v[2], v[3]);
    __m512i high01 = _mm512_unpackhi_epi32(v[0], v[1]), high23 = _mm512_unpackhi_epi32(v[2], v[3]);
    out[0] = unsign(_mm512_unpacklo_epi64(low01, low23));
    out[1] = unsign(_mm512_unpackhi_epi64(low01, low23));
    out[2] = unsign(_mm512_unpacklo_epi64(high01, high23));
    out[3] = unsign(_mm512_unpackhi_epi64(high01, high23));
}

static void transpose_chunk(const struct product *p, size_t r, size_t b, size_t blocks,
                            struct chunk *chunk)
{
    const size_t row_bytes = p->w->row_bytes;
    const uint8_t *at = product_row(p, r) + b * Q8_BLOCK_BYTES;
    for (size_t i = 0; i < blocks; i++, at += Q8_BLOCK_BYTES) {
        transpose_words(at + 2, row_bytes, chunk->words[i]);
        transpose_words(at + 2 + 16, row_bytes, chunk->words[i] + 4);
        for (size_t k = 0; k < WIDE_ROWS; k++) {
            if (i % 2 == 0)
                product_prefetch(p, at + k * row_bytes, WIDE_ROWS);
            chunk->scales[i][k] = load_half(at + k * row_bytes);
        }
    }
}

INLINED int32_t load_word(const int8_t *at)
{
    int32_t v;
    memcpy(&v, at, sizeof v);
    return v;
}

/* Adds one block (number b of the row, i of the chunk) to sum m of each column. */
INLINED void wide_step(const struct product *p, const struct chunk *chunk, size_t i, size_t b,
                       size_t c, const int cols, const int m, __m512 sums[][SUMS])
{
    const size_t n = p->w->cols;
    __m512i dot[WIDE_COLS];
    for (int j = 0; j < cols; j++)
        dot[j] = _mm512_set1_epi32(act_offsets(product_col(p, c + (size_t)j), n)[b]);
    for (size_t k = 0; k < WORDS; k++) {
        for (int j = 0; j < cols; j++) {
            const int8_t *x = act_bytes(product_col(p, c + (size_t)j)) + b * Q8_BLOCK + 4 * k;
            dot[j] =
                _mm512_dpbusd_epi32(dot[j], chunk->words[i][k], _mm512_set1_epi32(load_word(x)));
        }
    }
    __m512 w_scale = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)chunk->scales[i]));
    for (int j = 0; j < cols; j++) {
        __m512 x_scale = _mm512_set1_ps(act_scales(product_col(p, c + (size_t)j), n)[b]);
        sums[j][m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[j]), _mm512_mul_ps(w_scale, x_scale),
                                     sums[j][m]);
    }
}

INLINED void wide_tile(const struct product *p, const struct chunk *chunk, size_t b, size_t blocks,
                       size_t c, const int cols, __m512 kept[][SUMS])
{
    __m512 sums[WIDE_COLS][SUMS];
    for (int j = 0; j < cols; j++)
        for (int m = 0; m < SUMS; m++)
            sums[j][m] = kept[j][m];
    size_t i = 0;
    for (; i + SUMS <= blocks; i += SUMS) {
        wide_step(p, chunk, i, b + i, c, cols, 0, sums);
        wide_step(p, chunk, i + 1, b + i + 1, c, cols, 1, sums);
        wide_step(p, chunk, i + 2, b + i + 2, c, cols, 2, sums);
        wide_step(p, chunk, i + 3, b + i + 3, c, cols, 3, sums);
    }
    if (i < blocks)
        wide_step(p, chunk, i, b + i, c, cols, 0, sums);
    if (i + 1 < blocks)
        wide_step(p, chunk, i + 1, b + i + 1, c, cols, 1, sums);
    if (i + 2 < blocks)
        wide_step(p, chunk, i + 2, b + i + 2, c, cols, 2, sums);
    for (int j = 0; j < cols; j++)
        for (int m = 0; m < SUMS; m++)
            kept[j][m] = sums[j][m];
}

/* WIDE_ROWS rows from r, up to MAX_COLS columns from c. */
static void wide_rows(const struct product *p, size_t r, size_t c, size_t cols)
{
    const size_t blocks = p->w->cols / Q8_BLOCK;
    struct chunk chunk;
    __m512 sums[MAX_COLS][SUMS];
    for (size_t j = 0; j < cols; j++)
        for (size_t m = 0; m < SUMS; m++)
            sums[j][m] = _mm512_setzero_ps();
    for (size_t b = 0; b < blocks; b += CHUNK_BLOCKS) {
        size_t have = blocks - b < CHUNK_BLOCKS ? blocks - b : CHUNK_BLOCKS;
        transpose_chunk(p, r, b, have, &chunk);
        size_t j = 0;
        for (; j + WIDE_COLS <= cols; j += WIDE_COLS)
            wide_tile(p, &chunk, b, have, c + j, WIDE_COLS, sums + j);
        for (; j < cols; j++)
            wide_tile(p, &chunk, b, have, c + j, 1, sums + j);
    }
    for (size_t j = 0; j < cols; j++)
        _mm512_storeu_ps(p->out + (c + j) * p->out_stride + r,
                         _mm512_add_ps(_mm512_add_ps(sums[j][0], sums[j][1]),
                                       _mm512_add_ps(sums[j][2], sums[j][3])));
}

void kernels_avx512vnni_matmul_q8(const struct product *p, size_t n_cols, size_t r0, size_t r1)
{
    size_t r = r0;
    if (n_cols >= WIDE_FROM) {
        for (; r + WIDE_ROWS <= r1; r += WIDE_ROWS)
            for (size_t c = 0; c < n_cols; c += MAX_COLS)
                wide_rows(p, r, c, n_cols - c < MAX_COLS ? n_cols - c : MAX_COLS);
    }
    product_walk(p, n_cols, r, r1, ROWS, 2, narrow_tile_any);
}

#endif
