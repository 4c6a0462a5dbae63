/*
 * Block types: known answers, exact half conversions over all halves, and round trips.
 */
#include "engine/quant.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static float float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* What a half means, from its parts. */
static double half_value(uint16_t h)
{
    int exponent = h >> 10 & 0x1f, fraction = h & 0x3ff;
    double v = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return h & 0x8000 ? -v : v;
}

static void every_half_becomes_its_value_and_comes_back(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = quant_half_to_float((uint16_t)h);
        if ((h & 0x7c00) != 0x7c00) {
            assert_true((double)f == half_value((uint16_t)h));
            assert_int_equal(signbit(f) != 0, h >> 15);
            assert_int_equal(quant_float_to_half(f), h);
        } else if (h & 0x3ff) {
            assert_true(isnan(f));
            assert_int_equal(quant_float_to_half(f), h | 0x200);
        } else {
            assert_true(isinf(f));
            assert_int_equal(quant_float_to_half(f), h);
        }
    }
}

static void floats_between_two_halves_go_to_the_nearest_or_the_even_one(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7bff; h++) {
        float low = quant_half_to_float((uint16_t)h), high = quant_half_to_float((uint16_t)(h + 1));
        float middle = (float)(((double)low + high) / 2); /* exact */
        assert_int_equal(quant_float_to_half(middle), h + (h & 1));
        assert_int_equal(quant_float_to_half(nextafterf(middle, 0)), h);
        assert_int_equal(quant_float_to_half(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(quant_float_to_half(-nextafterf(middle, INFINITY)), (h + 1) | 0x8000);
    }
    assert_int_equal(quant_float_to_half(65519.996f), 0x7bff);
    assert_int_equal(quant_float_to_half(65520), 0x7c00);
    assert_int_equal(quant_float_to_half(3e38f), 0x7c00);
}

/* Byte k of the block is (73 k + 29) mod 256, the scale is 0.0625. */
static void a_known_q8_0_block_has_its_known_weights(void **state)
{
    (void)state;
    const struct quant_type *t = quant_find(QUANT_Q8_0);
    uint8_t block[34];
    float w[32];
    double sum = 0, weighted = 0;
    for (int k = 0; k < 34; k++)
        block[k] = (uint8_t)(73 * k + 29);
    block[0] = 0x00;
    block[1] = 0x2c;
    assert_int_equal(quant_row_bytes(t, 32), sizeof block);
    t->to_float(block, w, 32);
    for (int i = 0; i < 32; i++) {
        sum += (double)w[i];
        weighted += (i + 1) * (double)w[i];
    }
    assert_true(w[0] == -5.0625f && w[1] == -0.5f && w[15] == -0.625f && w[16] == 3.9375f &&
                w[31] == -7.625f);
    assert_true(sum == -27 && weighted == -439);
}

static void bf16_is_the_upper_half_of_a_float(void **state)
{
    (void)state;
    const struct quant_type *t = quant_find(QUANT_BF16);
    const uint16_t row[] = {0x3f80, 0xc0a0, 0x0001, 0x7f80};
    float f[4];
    t->to_float(row, f, 4);
    assert_true(f[0] == 1 && f[1] == -5 && f[2] == float_of(0x10000) && isinf(f[3]));
    const float in[] = {float_of(0x3f808000), float_of(0x3f818000), float_of(0x3f808001),
                        float_of(0x7f7fffff), float_of(0x7fc00001), float_of(0xff800001)};
    const uint16_t want[] = {0x3f80, 0x3f82, 0x3f81, 0x7f80, 0x7fc0, 0xffc0};
    uint16_t out[6];
    quant_from_float(t, in, out, 6);
    assert_memory_equal(out, want, sizeof want);
}

static void f32_and_f16_rows_are_taken_over(void **state)
{
    (void)state;
    const float in[] = {1, -2.5f, 1e-7f, 70000};
    float out[4];
    uint16_t halves[4];
    quant_from_float(quant_find(QUANT_F32), in, out, 4);
    assert_memory_equal(in, out, sizeof in);
    quant_from_float(quant_find(QUANT_F16), in, halves, 4);
    quant_find(QUANT_F16)->to_float(halves, out, 4);
    assert_true(out[0] == 1 && out[1] == -2.5f && fabsf(out[2] - 1e-7f) < 3e-8f && isinf(out[3]));
}

static void q8_0_weights_come_back_within_half_a_step(void **state)
{
    (void)state;
    const struct quant_type *t = quant_find(QUANT_Q8_0);
    float in[96], out[96];
    uint8_t row[3 * 34];
    for (int i = 0; i < 96; i++)
        in[i] = i < 32 ? sinf((float)i) * 3 : i < 64 ? 0 : (float)(i - 80) / 1024;
    quant_from_float(t, in, row, 96);
    t->to_float(row, out, 96);
    for (int b = 0; b < 3; b++) {
        uint16_t h;
        memcpy(&h, row + b * 34, sizeof h);
        float d = quant_half_to_float(h);
        for (int i = b * 32; i < b * 32 + 32; i++)
            assert_true(fabsf(out[i] - in[i]) <= d * 0.57f); /* d itself is rounded */
    }
}

static void q8_0_ties_go_away_from_zero(void **state)
{
    (void)state;
    float in[32] = {127, 0.5f, -0.5f, 1.5f, -2.5f};
    uint8_t row[34];
    quant_from_float(quant_find(QUANT_Q8_0), in, row, 32);
    const int8_t *q = (const int8_t *)row + 2;
    assert_true(q[0] == 127 && q[1] == 1 && q[2] == -1 && q[3] == 2 && q[4] == -3);
}

static void q8_0_blocks_at_the_ends_of_the_range_are_defined(void **state)
{
    (void)state;
    const struct quant_type *t = quant_find(QUANT_Q8_0);
    float in[32] = {0}, out[32];
    uint8_t row[34];
    in[3] = NAN;
    quant_from_float(t, in, row, 32);
    t->to_float(row, out, 32);
    assert_true(isnan(out[0]) && isnan(out[31]));
    in[3] = 1e-40f;
    quant_from_float(t, in, row, 32);
    t->to_float(row, out, 32);
    assert_true(out[3] == 0);
}

static void types_are_known_by_number_and_name(void **state)
{
    (void)state;
    assert_string_equal(quant_find(QUANT_BF16)->name, "BF16");
    assert_null(quant_find(12));
    assert_null(quant_find(4));
    assert_null(quant_find(UINT32_MAX));
    assert_string_equal(quant_name(12), "Q4_K");
    assert_string_equal(quant_name(39), "MXFP4");
    assert_non_null(strstr(quant_name(97), "ik_llama.cpp"));
    assert_non_null(strstr(quant_name(399), "ik_llama.cpp"));
    assert_string_equal(quant_name(400), "an unknown type");
    assert_string_equal(quant_name(31), "an unknown type");
    assert_int_equal(quant_row_bytes(quant_find(QUANT_F16), 100), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_becomes_its_value_and_comes_back),
        cmocka_unit_test(floats_between_two_halves_go_to_the_nearest_or_the_even_one),
        cmocka_unit_test(a_known_q8_0_block_has_its_known_weights),
        cmocka_unit_test(bf16_is_the_upper_half_of_a_float),
        cmocka_unit_test(f32_and_f16_rows_are_taken_over),
        cmocka_unit_test(q8_0_weights_come_back_within_half_a_step),
        cmocka_unit_test(q8_0_ties_go_away_from_zero),
        cmocka_unit_test(q8_0_blocks_at_the_ends_of_the_range_are_defined),
        cmocka_unit_test(types_are_known_by_number_and_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
