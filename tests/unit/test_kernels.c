/*
 * Kernel sets against double arithmetic over the same weights, against each other where bits must
 * be equal, and each against itself over all ways to split the work.
 */
#include "engine/kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const set_names[] = {"scalar", "avx2", "avx512", "avx512vnni"};
static const uint32_t type_ids[] = {QUANT_F32, QUANT_F16, QUANT_BF16, QUANT_Q8_0};

enum { N_SETS = 4, N_TYPES = 4, MAX_COLUMNS = 70 };

static const struct kernels *sets[N_SETS];
static size_t n_sets;

static int find_sets(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SETS; i++) {
        struct error e;
        if (kernels_find(set_names[i], &sets[n_sets], &e) == 0)
            n_sets++;
        else
            print_message("kernels %s do not run here\n", set_names[i]);
    }
    return n_sets > 0 ? 0 : -1;
}

static uint64_t seed = 1;

static uint32_t random_bits(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) ^ (uint32_t)(seed >> 60);
}

/* Roughly normal, variance 1. */
static float random_float(void)
{
    float sum = 0;
    for (int i = 0; i < 12; i++)
        sum += (float)(random_bits() >> 8 & 0xffff) / 65536;
    return sum - 6;
}

static void random_fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = random_float();
}

static void *exact(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    assert_non_null(p);
    return p;
}

/* A matrix in memory of exactly its size, so that reading past it is found. */
static struct matrix random_matrix(uint32_t type, size_t rows, size_t cols)
{
    struct matrix w = {.type = quant_find(type), .rows = rows, .cols = cols};
    w.row_bytes = quant_row_bytes(w.type, cols);
    uint8_t *data = exact(rows * w.row_bytes);
    float *row = exact(cols * sizeof *row);
    for (size_t r = 0; r < rows; r++) {
        random_fill(row, cols);
        quant_from_float(w.type, row, data + r * w.row_bytes, cols);
        /* What a quantiser never writes but a file may hold. */
        if (type == QUANT_Q8_0 && r % 3 == 0)
            memset(data + r * w.row_bytes + 2, 0x80, 32);
    }
    free(row);
    w.data = data;
    return w;
}

struct activations {
    float *x;      /* n_cols * cols */
    uint8_t *acts; /* n_cols * stride */
    size_t stride;
};

static struct activations random_activations(const struct kernels *k, const struct matrix *w,
                                             size_t n_cols)
{
    struct activations a;
    a.stride = kernels_act_bytes(w->type->act, w->cols);
    a.x = exact(n_cols * w->cols * sizeof *a.x);
    a.acts = exact(n_cols * a.stride);
    random_fill(a.x, n_cols * w->cols);
    for (size_t c = 0; c < n_cols; c++)
        k->quantise(w->type->act, a.x + c * w->cols, w->cols, a.acts + c * a.stride);
    return a;
}

static void free_activations(struct activations *a)
{
    free(a->x);
    free(a->acts);
}

/* The product in double of what the kernel reads; *norm gets the sum of magnitudes. */
static double reference(const struct matrix *w, size_t r, const struct activations *a, size_t c,
                        double *norm)
{
    float *row = exact(w->cols * sizeof *row);
    w->type->to_float(w->data + r * w->row_bytes, row, w->cols);
    const uint8_t *act = a->acts + c * a->stride;
    const int16_t *words = (const int16_t *)(const void *)act;
    const float *scales = (const float *)(const void *)(words + w->cols);
    double sum = 0;
    *norm = 0;
    for (size_t i = 0; i < w->cols; i++) {
        double x = w->type->act == QUANT_ACT_Q16 ? (double)scales[i / 32] * words[i]
                                                 : (double)a->x[c * w->cols + i];
        sum += row[i] * x;
        *norm += fabs(row[i] * x);
    }
    free(row);
    return sum;
}

static void check_product(const struct kernels *k, uint32_t type, size_t rows, size_t cols,
                          size_t n_cols)
{
    struct matrix w = random_matrix(type, rows, cols);
    struct activations a = random_activations(k, &w, n_cols);
    float *out = exact(n_cols * rows * sizeof *out);
    k->matmul(&w, a.acts, a.stride, n_cols, 0, rows, out, rows);
    for (size_t c = 0; c < n_cols; c++) {
        for (size_t r = 0; r < rows; r++) {
            double norm, want = reference(&w, r, &a, c, &norm);
            if (!(fabs(out[c * rows + r] - want) <= 1e-6 * norm))
                fail_msg("%s %s %zux%zu: row %zu column %zu is %.9g, wanted %.9g", k->name,
                         w.type->name, rows, cols, r, c, (double)out[c * rows + r], want);
        }
    }
    free(out);
    free_activations(&a);
    free((void *)w.data);
}

static void a_product_is_near_the_one_in_double(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 7, 16, 17, 31, 32, 96, 100, 160, 224, 544, 1000, 1056};
    for (size_t s = 0; s < n_sets; s++)
        for (size_t t = 0; t < N_TYPES; t++)
            for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
                size_t cols = type_ids[t] == QUANT_Q8_0 ? (lengths[l] + 31) / 32 * 32 : lengths[l];
                check_product(sets[s], type_ids[t], 1, cols, 1);
                check_product(sets[s], type_ids[t], 21, cols, 3);
                check_product(sets[s], type_ids[t], 37, cols, 11);
            }
}

/* Blocks of the weight -128 meet blocks of the largest activations, whose scale is 1. */
static void the_largest_values_do_not_overflow(void **state)
{
    (void)state;
    for (size_t s = 0; s < n_sets; s++) {
        for (int sign = -1; sign <= 1; sign += 2) {
            struct matrix w = random_matrix(QUANT_Q8_0, 16, 64);
            struct activations a = random_activations(sets[s], &w, 8);
            uint8_t *data = (uint8_t *)w.data;
            for (size_t b = 0; b < 32; b++) {
                uint16_t one = quant_float_to_half(1);
                memcpy(data + b * 34, &one, 2);
                memset(data + b * 34 + 2, 0x80, 32);
            }
            for (size_t i = 0; i < 8 * 64; i++)
                a.x[i] = (float)sign * 32767;
            for (size_t c = 0; c < 8; c++)
                sets[s]->quantise(QUANT_ACT_Q16, a.x + c * 64, 64, a.acts + c * a.stride);
            float out[8 * 16];
            sets[s]->matmul(&w, a.acts, a.stride, 8, 0, 16, out, 16);
            for (size_t i = 0; i < 8 * 16; i++)
                assert_true(out[i] == (float)(-sign * 64 * 32767 * 128));
            sets[s]->matmul(&w, a.acts, a.stride, 1, 0, 16, out, 16);
            for (size_t i = 0; i < 16; i++)
                assert_true(out[i] == (float)(-sign * 64 * 32767 * 128));
            free_activations(&a);
            free(data);
        }
    }
}

static void compare_bits(const struct kernels *k, const struct matrix *w, const float *want,
                         size_t want_stride, const float *got, size_t got_stride, size_t n_cols,
                         size_t r0, size_t r1)
{
    for (size_t c = 0; c < n_cols; c++)
        for (size_t r = r0; r < r1; r++)
            if (memcmp(&want[c * want_stride + r], &got[c * got_stride + r], 4) != 0)
                fail_msg("%s %s: row %zu column %zu of %zu, rows %zu to %zu: other bits", k->name,
                         w->type->name, r, c, n_cols, r0, r1);
}

/* One column, whole range, is the measure; its outputs must come out of every other way. */
static void one_column_at_a_time(const struct kernels *k, const struct matrix *w,
                                 const struct activations *a, size_t n_cols, float *out)
{
    for (size_t c = 0; c < n_cols; c++)
        for (size_t r = 0; r < w->rows; r++)
            k->matmul(w, a->acts + c * a->stride, a->stride, 1, r, r + 1, out + c * w->rows,
                      w->rows);
}

static void bits_do_not_depend_on_the_number_of_columns(void **state)
{
    (void)state;
    static const size_t lengths[] = {96, 544, 640};
    for (size_t s = 0; s < n_sets; s++)
        for (size_t t = 0; t < N_TYPES; t++)
            for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
                const struct kernels *k = sets[s];
                struct matrix w = random_matrix(type_ids[t], 39, lengths[l]);
                struct activations a = random_activations(k, &w, MAX_COLUMNS);
                float *want = exact(MAX_COLUMNS * w.rows * sizeof *want);
                float *got = exact(MAX_COLUMNS * w.rows * sizeof *got);
                one_column_at_a_time(k, &w, &a, MAX_COLUMNS, want);
                for (size_t n = 1; n <= MAX_COLUMNS; n = n == 33 ? MAX_COLUMNS : n + 1) {
                    memset(got, 0xff, n * w.rows * sizeof *got);
                    k->matmul(&w, a.acts, a.stride, n, 0, w.rows, got, w.rows);
                    compare_bits(k, &w, want, w.rows, got, w.rows, n, 0, w.rows);
                }
                free(want);
                free(got);
                free_activations(&a);
                free((void *)w.data);
            }
}

static void bits_do_not_depend_on_the_range_of_rows(void **state)
{
    (void)state;
    enum { ROWS = 35, COLUMNS = 9, STRIDE = 40 };
    for (size_t s = 0; s < n_sets; s++)
        for (size_t t = 0; t < N_TYPES; t++) {
            const struct kernels *k = sets[s];
            struct matrix w = random_matrix(type_ids[t], ROWS, 160);
            struct activations a = random_activations(k, &w, COLUMNS);
            float want[COLUMNS * STRIDE], got[COLUMNS * STRIDE], before;
            k->matmul(&w, a.acts, a.stride, COLUMNS, 0, ROWS, want, STRIDE);
            memset(&before, 0xff, sizeof before);
            for (size_t r0 = 0; r0 <= ROWS; r0++)
                for (size_t r1 = r0; r1 <= ROWS; r1++)
                    for (size_t n = 1; n <= COLUMNS; n += 4) {
                        memset(got, 0xff, sizeof got);
                        k->matmul(&w, a.acts, a.stride, n, r0, r1, got, STRIDE);
                        compare_bits(k, &w, want, STRIDE, got, STRIDE, n, r0, r1);
                        for (size_t i = 0; i < COLUMNS * STRIDE; i++)
                            if (i / STRIDE >= n || i % STRIDE < r0 || i % STRIDE >= r1)
                                assert_memory_equal(&got[i], &before, sizeof before);
                    }
            free_activations(&a);
            free((void *)w.data);
        }
}

/* Blocks that are ordinary, zero, tiny, huge, on a tie, infinite and not a number. */
static void awkward_activations(float *x, size_t n)
{
    random_fill(x, n);
    for (size_t b = 0; b < n / 32; b++) {
        float *block = x + b * 32;
        for (size_t i = 0; i < 32; i++) {
            switch (b % 8) {
            case 1:
                block[i] = i % 2 ? -0.0f : 0;
                break;
            case 2:
                block[i] *= 1e-32f;
                break;
            case 3:
                block[i] *= 1e37f;
                break;
            case 4:
                block[i] = i == 0 ? 32767 : (float)((int)i - 16) + 0.5f;
                break;
            case 5:
                block[i] = i == 9 ? INFINITY : block[i];
                break;
            case 6:
                block[i] = i == 31 ? NAN : block[i];
                break;
            default:
                break;
            }
        }
    }
}

static void all_sets_quantise_activations_to_the_same_words(void **state)
{
    (void)state;
    enum { N = 32 * 64 };
    float *x = exact(N * sizeof *x);
    size_t bytes = kernels_act_bytes(QUANT_ACT_Q16, N);
    uint8_t *want = exact(bytes), *got = exact(bytes);
    awkward_activations(x, N);
    sets[0]->quantise(QUANT_ACT_Q16, x, N, want);
    for (size_t s = 1; s < n_sets; s++) {
        memset(got, 0xff, bytes);
        sets[s]->quantise(QUANT_ACT_Q16, x, N, got);
        assert_memory_equal(want, got, bytes);
    }
    const int16_t *words = (const int16_t *)(void *)want;
    const float *scales = (const float *)(const void *)(words + N);
    for (size_t i = 0; i < N; i++) {
        if (i / 32 % 8 == 5 || i / 32 % 8 == 6)
            assert_true(isnan(scales[i / 32]));
        else
            assert_true(fabsf(scales[i / 32] * words[i] - x[i]) <= scales[i / 32] * 0.51f + 1e-30f);
    }
    free(x);
    free(want);
    free(got);
}

static void activations_as_floats_are_copied(void **state)
{
    (void)state;
    float x[33], out[33];
    random_fill(x, 33);
    assert_int_equal(kernels_act_bytes(QUANT_ACT_F32, 33), sizeof x);
    for (size_t s = 0; s < n_sets; s++) {
        memset(out, 0, sizeof out);
        sets[s]->quantise(QUANT_ACT_F32, x, 33, out);
        assert_memory_equal(x, out, sizeof x);
    }
}

static void check_vectors(const struct kernels *k, size_t n)
{
    float *a = exact(n * sizeof *a), *b = exact(n * sizeof *b), *y = exact(n * sizeof *y);
    uint16_t *half = exact(n * sizeof *half);
    random_fill(a, n);
    random_fill(b, n);
    k->to_f16(a, half, n);
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(half[i], quant_float_to_half(a[i]));
        squares += (double)a[i] * a[i];
    }
    memcpy(y, b, n * sizeof *y);
    k->axpy(y, 0.75f, a, n);
    for (size_t i = 0; i < n; i++)
        assert_true(fabs(y[i] - (b[i] + 0.75 * a[i])) <= 3e-7 * (fabsf(b[i]) + fabsf(a[i])));
    k->rmsnorm(a, b, 1e-5f, n, y);
    for (size_t i = 0; i < n; i++) {
        double want = a[i] / sqrt(squares / (double)n + 1e-5) * b[i];
        assert_true(fabs(y[i] - want) <= 5e-7 * fabs(want));
    }
    free(a);
    free(b);
    free(y);
    free(half);
}

static void vector_kernels_are_right_at_every_length(void **state)
{
    (void)state;
    for (size_t s = 0; s < n_sets; s++)
        for (size_t n = 1; n <= 200; n++)
            check_vectors(sets[s], n);
}

/* Rows of `width` values, of which the first n are mixed into n_cols columns. */
static void check_mix(const struct kernels *k, uint32_t type_id, size_t rows, size_t n,
                      size_t n_cols)
{
    const struct quant_type *type = quant_find(type_id);
    size_t width = n + 5, row_bytes = quant_row_bytes(type, width);
    float *s = exact(n_cols * rows * sizeof *s), *x = exact(width * sizeof *x);
    float *once = exact(n_cols * n * sizeof *once), *apart = exact(n_cols * n * sizeof *apart);
    struct matrix w = {type, exact(rows * row_bytes), rows, n, row_bytes};
    random_fill(s, n_cols * rows);
    random_fill(once, n_cols * n);
    memcpy(apart, once, n_cols * n * sizeof *once);
    for (size_t r = 0; r < rows; r++) {
        random_fill(x, width);
        quant_from_float(type, x, (uint8_t *)w.data + r * row_bytes, width);
    }
    k->mix(&w, s, rows, n_cols, once, n);
    for (size_t c = 0; c < n_cols; c++) /* column by column, in two steps of rows */
        for (size_t from = 0, to = rows / 3; from < rows; from = to, to = rows) {
            struct matrix part = w;
            part.data += from * row_bytes;
            part.rows = to - from;
            k->mix(&part, s + c * rows + from, 1, 1, apart + c * n, n);
        }
    assert_memory_equal(once, apart, n_cols * n * sizeof *once);
    k->mix(&w, s, rows, n_cols, apart, n);
    for (size_t r = 0; r < rows; r++) {
        type->to_float(w.data + r * row_bytes, x, width);
        for (size_t i = 0; i < n_cols * n; i++)
            apart[i] -= s[i / n * rows + r] * x[i % n];
    }
    for (size_t i = 0; i < n_cols * n; i++)
        assert_true(fabsf(apart[i] - once[i]) <= 1e-5f * (float)(rows + 1));
    free((void *)w.data);
    free(s);
    free(x);
    free(once);
    free(apart);
}

static void mixes_of_rows_add_up_in_their_order(void **state)
{
    (void)state;
    for (size_t s = 0; s < n_sets; s++)
        for (size_t n = 1; n <= 100; n += n < 70 ? 1 : 15)
            for (size_t rows = 1; rows <= 16; rows += 5)
                for (size_t n_cols = 1; n_cols <= 9; n_cols++) {
                    check_mix(sets[s], QUANT_F32, rows, n, n_cols);
                    check_mix(sets[s], QUANT_F16, rows, n, n_cols);
                }
}

static void check_softmax(const struct kernels *k, size_t n, float spread)
{
    float *x = exact(n * sizeof *x), *y = exact(n * sizeof *y);
    double sum = 0, max = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        x[i] = y[i] = random_float() * spread - 300;
        max = x[i] > max ? x[i] : max;
    }
    for (size_t i = 0; i < n; i++)
        sum += exp(x[i] - max);
    k->softmax(y, n);
    for (size_t i = 0; i < n; i++) {
        double want = exp(x[i] - max) / sum;
        assert_true(fabs(y[i] - want) <= 1e-6 * want + 1e-38);
    }
    free(x);
    free(y);
}

static void softmax_is_right_at_every_length(void **state)
{
    (void)state;
    for (size_t s = 0; s < n_sets; s++)
        for (size_t n = 1; n <= 100; n++) {
            check_softmax(sets[s], n, 1);
            check_softmax(sets[s], n, 40);
        }
}

/* From where e^-z is infinite to where it is zero. */
static void silu_is_near_libm_from_end_to_end(void **state)
{
    (void)state;
    enum { N = 4001 };
    float *gate = exact(N * sizeof *gate), *up = exact(N * sizeof *up);
    for (size_t s = 0; s < n_sets; s++) {
        for (size_t i = 0; i < N; i++) {
            gate[i] = ((float)i - N / 2) * 0.05f;
            up[i] = 1.5f;
        }
        sets[s]->silu_mul(gate, up, N);
        for (size_t i = 0; i < N; i++) {
            double z = ((float)i - N / 2) * 0.05f, want = z / (1 + exp(-z)) * 1.5;
            assert_true(fabs(gate[i] - want) <= 5e-7 * fabs(want) + 2e-36);
        }
    }
    free(gate);
    free(up);
}

/* e^x as softmax sees it: the first element is the maximum, so its share is 1 / sum. */
static void the_exponential_is_within_two_parts_in_ten_million(void **state)
{
    (void)state;
    for (size_t s = 0; s < n_sets; s++)
        for (float z = -87; z < 0; z += 0.00097f) {
            float gate = -z, up = 1; /* silu(-z) = -z / (1 + e^z) */
            sets[s]->silu_mul(&gate, &up, 1);
            float pair[2] = {0, z};
            sets[s]->softmax(pair, 2);
            double ratio = (double)pair[1] / pair[0];
            assert_true(fabs(ratio / exp((double)z) - 1) <= 4e-7);
        }
}

static void what_is_not_a_number_stays_so(void **state)
{
    (void)state;
    for (size_t s = 0; s < n_sets; s++) {
        float x[20], up[20];
        random_fill(x, 20);
        random_fill(up, 20);
        x[17] = NAN;
        sets[s]->silu_mul(x, up, 20);
        assert_true(isnan(x[17]) && !isnan(x[16]));
        sets[s]->axpy(up, 2, x, 20);
        assert_true(isnan(up[17]) && !isnan(up[16]));
        sets[s]->softmax(x, 20);
        assert_true(isnan(x[3]));
    }
}

static void automatic_choice_takes_the_widest(void **state)
{
    (void)state;
    const struct kernels *k;
    struct error e;
    assert_int_equal(kernels_find("auto", &k, &e), 0);
    assert_ptr_equal(k, sets[n_sets - 1]);
}

static void an_unknown_set_is_refused_with_those_there_are(void **state)
{
    (void)state;
    const struct kernels *k = NULL;
    struct error e;
    assert_int_equal(kernels_find("mmx", &k, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "mmx"));
    assert_non_null(strstr(e.text, "scalar"));
    assert_null(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_product_is_near_the_one_in_double),
        cmocka_unit_test(the_largest_values_do_not_overflow),
        cmocka_unit_test(bits_do_not_depend_on_the_number_of_columns),
        cmocka_unit_test(bits_do_not_depend_on_the_range_of_rows),
        cmocka_unit_test(all_sets_quantise_activations_to_the_same_words),
        cmocka_unit_test(activations_as_floats_are_copied),
        cmocka_unit_test(vector_kernels_are_right_at_every_length),
        cmocka_unit_test(mixes_of_rows_add_up_in_their_order),
        cmocka_unit_test(softmax_is_right_at_every_length),
        cmocka_unit_test(silu_is_near_libm_from_end_to_end),
        cmocka_unit_test(the_exponential_is_within_two_parts_in_ten_million),
        cmocka_unit_test(what_is_not_a_number_stays_so),
        cmocka_unit_test(automatic_choice_takes_the_widest),
        cmocka_unit_test(an_unknown_set_is_refused_with_those_there_are),
    };
    return cmocka_run_group_tests(tests, find_sets, NULL);
}
