/*
 * Q8_0 products for AVX-512 with VNNI, whose instruction adds two products of 16-bit words into
 * each 32-bit lane. Weights are widened to words.
 *
 * Order of one output, whatever the way: four sums, block b in sum b mod 4, each step
 * fma(whole sum of the block, w's scale times x's scale, sum); then (0 + 1) + (2 + 3).
 *
 * Two ways give it. Few columns: four rows and four blocks at a time, so that memory is read in
 * few streams; the 16 lanes of their sums are (block, row). Many columns: 16 rows are first
 * transposed, a chunk at a time, so that a lane is a row and no sum across lanes is left to do.
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
    PAIRS = Q8_BLOCK / 2, /* of words, in a block */
    CACHE_LINE = 64
};

/* Few columns */

INLINED __m256i widened(const uint8_t *bytes)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)bytes));
}

INLINED __m256i load_words(const int16_t *x)
{
    return _mm256_loadu_si256((const __m256i *)x);
}

/* Per 128 bits: element i is the sum of the four of row i. */
INLINED __m256i sum_fours(const __m256i d[ROWS])
{
    __m256i ab =
        _mm256_add_epi32(_mm256_unpacklo_epi32(d[0], d[1]), _mm256_unpackhi_epi32(d[0], d[1]));
    __m256i cd =
        _mm256_add_epi32(_mm256_unpacklo_epi32(d[2], d[3]), _mm256_unpackhi_epi32(d[2], d[3]));
    return _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
}

/* One block of four rows times the columns' blocks x, both halves of the sums still apart. */
INLINED void block_dots(const uint8_t *const row[ROWS], size_t at, const int16_t *const x[2],
                        const int cols, __m256i sums[2])
{
    __m256i dots[2][ROWS];
    for (int i = 0; i < ROWS; i++) {
        __m256i low = widened(row[i] + at + 2), high = widened(row[i] + at + 2 + Q8_BLOCK / 2);
        for (int j = 0; j < cols; j++) {
            __m256i dot = _mm256_dpwssd_epi32(_mm256_setzero_si256(), low, load_words(x[j]));
            dots[j][i] = _mm256_dpwssd_epi32(dot, high, load_words(x[j] + Q8_BLOCK / 2));
        }
    }
    for (int j = 0; j < cols; j++)
        sums[j] = sum_fours(dots[j]);
}

/* The sums of two blocks, four rows each. */
INLINED __m256i join_halves(__m256i first, __m256i second)
{
    return _mm256_add_epi32(_mm256_permute2x128_si256(first, second, 0x20),
                            _mm256_permute2x128_si256(first, second, 0x31));
}

/* Sums of whole blocks: element i of the 128 bits m is row i, block m. */
INLINED __m512i block_sums(__m256i parts[SUMS][2], int col)
{
    __m256i low = join_halves(parts[0][col], parts[1][col]);
    __m256i high = join_halves(parts[2][col], parts[3][col]);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
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
    const int16_t *x[2];
    __m256i parts[SUMS][2];
    for (int i = 0; i < ROWS; i++)
        for (size_t line = 0; c == 0 && line < have * Q8_BLOCK_BYTES; line += CACHE_LINE)
            product_prefetch(p, row[i] + at + line, ROWS);
    for (size_t m = 0; m < SUMS; m++) {
        for (int j = 0; j < cols; j++) {
            x[j] = act_words(product_col(p, c + (size_t)j)) + (b + m) * Q8_BLOCK;
            parts[m][j] = _mm256_setzero_si256();
        }
        if (m < have)
            block_dots(row, at + m * Q8_BLOCK_BYTES, x, cols, parts[m]);
    }
    __m512 w_scales = weight_scales(row, at, have);
    for (int j = 0; j < cols; j++) {
        const uint8_t *act = product_col(p, c + (size_t)j);
        __m512i dot = block_sums(parts, j);
        __m128 scales = _mm_maskz_loadu_ps(blocks, act_scales(act, n) + b);
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
    __m512i pairs[CHUNK_BLOCKS][PAIRS]; /* lane i: row i */
    uint16_t scales[CHUNK_BLOCKS][WIDE_ROWS];
};

/* Bytes 0 and 2, then 1 and 3, of each lane as words. */
INLINED void widen_lanes(__m512i bytes, __m512i out[2])
{
    out[0] = _mm512_srai_epi16(_mm512_slli_epi16(bytes, 8), 8);
    out[1] = _mm512_srai_epi16(bytes, 8);
}

/* 16 bytes of 16 rows from the same place of each: lane i of pair k is pair k of row i. */
INLINED void transpose_pairs(const uint8_t *first, size_t row_bytes, __m512i out[PAIRS / 2])
{
    /* exchanges bytes 1 and 2 of each lane, so that widen_lanes finds neighbours */
    const __m512i exchange =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
    __m512i v[4];
    for (size_t i = 0; i < 4; i++) {
        const uint8_t *at = first + i * row_bytes;
        __m512i four = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)at));
        four = _mm512_inserti32x4(four, _mm_loadu_si128((const __m128i *)(at + 4 * row_bytes)), 1);
        four = _mm512_inserti32x4(four, _mm_loadu_si128((const __m128i *)(at + 8 * row_bytes)), 2);
        four = _mm512_inserti32x4(four, _mm_loadu_si128((const __m128i *)(at + 12 * row_bytes)), 3);
        v[i] = _mm512_shuffle_epi8(four, exchange);
    }
    __m512i low01 = _mm512_unpacklo_epi32(v[0], v[1]), low23 = _mm512_unpacklo_epi32(v[2], v[3]);
    __m512i high01 = _mm512_unpackhi_epi32(v[0], v[1]), high23 = _mm512_unpackhi_epi32(v[2], v[3]);
    widen_lanes(_mm512_unpacklo_epi64(low01, low23), out);
    widen_lanes(_mm512_unpackhi_epi64(low01, low23), out + 2);
    widen_lanes(_mm512_unpacklo_epi64(high01, high23), out + 4);
    widen_lanes(_mm512_unpackhi_epi64(high01, high23), out + 6);
}

static void transpose_chunk(const struct product *p, size_t r, size_t b, size_t blocks,
                            struct chunk *chunk)
{
    const size_t row_bytes = p->w->row_bytes;
    const uint8_t *at = product_row(p, r) + b * Q8_BLOCK_BYTES;
    for (size_t i = 0; i < blocks; i++, at += Q8_BLOCK_BYTES) {
        transpose_pairs(at + 2, row_bytes, chunk->pairs[i]);
        transpose_pairs(at + 2 + PAIRS, row_bytes, chunk->pairs[i] + PAIRS / 2);
        for (size_t k = 0; k < WIDE_ROWS; k++) {
            if (i % 2 == 0)
                product_prefetch(p, at + k * row_bytes, WIDE_ROWS);
            chunk->scales[i][k] = load_half(at + k * row_bytes);
        }
    }
}

INLINED int32_t load_pair(const int16_t *at)
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
        dot[j] = _mm512_setzero_si512();
    for (size_t k = 0; k < PAIRS; k++) {
        for (int j = 0; j < cols; j++) {
            const int16_t *x = act_words(product_col(p, c + (size_t)j)) + b * Q8_BLOCK + 2 * k;
            dot[j] =
                _mm512_dpwssd_epi32(dot[j], chunk->pairs[i][k], _mm512_set1_epi32(load_pair(x)));
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
