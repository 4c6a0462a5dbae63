/*
 * The sampler: what each setting keeps, and that draws follow the distribution. The seeds are
 * fixed, so a test of chance passes always or never.
 */
#include "engine/sampler.h"

#include "engine/philox.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIZE = 8 };

static const struct engine_sampling plain = {.temperature = 1, .top_p = 1, .seed = 42};

/* One pick from a fresh copy of the logits. */
static int32_t pick(struct sampler *s, const float *logits, int n)
{
    float copy[1024];

    memcpy(copy, logits, (size_t)n * sizeof *copy);
    return sampler_pick(s, copy);
}

static void count_picks(const struct engine_sampling *o, const float *logits, int n, int draws,
                        int *counts)
{
    struct sampler *s = sampler_new(o, 0, n);

    memset(counts, 0, (size_t)n * sizeof *counts);
    for (int i = 0; i < draws; i++) {
        int32_t id = pick(s, logits, n);
        assert_in_range(id, 0, n - 1);
        counts[id]++;
    }
    sampler_free(s);
}

/* Probabilities of the given logits at a temperature, of those ids whose bit is in `kept`. */
static void expect(const float *logits, int n, double temperature, unsigned kept, double *p)
{
    double sum = 0;

    for (int i = 0; i < n; i++) {
        p[i] = kept >> i & 1 ? exp(logits[i] / temperature) : 0;
        sum += p[i];
    }
    for (int i = 0; i < n; i++)
        p[i] /= sum;
}

/* Chi-square of 20,000 draws against the expectation, with the 0.1 % bound for seven degrees. */
static void check_distribution(const struct engine_sampling *o, const float *logits, unsigned kept)
{
    enum { DRAWS = 20000 };
    double p[SIZE], chi = 0;
    int counts[SIZE];

    expect(logits, SIZE, o->temperature, kept, p);
    count_picks(o, logits, SIZE, DRAWS, counts);
    for (int i = 0; i < SIZE; i++) {
        if (p[i] == 0) {
            assert_int_equal(counts[i], 0);
            continue;
        }
        double difference = counts[i] - p[i] * DRAWS;
        chi += difference * difference / (p[i] * DRAWS);
    }
    assert_true(chi < 24.3);
}

/* 0.3, 0.25, 0.15, 0.1, 0.08, 0.06, 0.04, 0.02, not in order. */
static void usual_logits(float *logits)
{
    static const double p[SIZE] = {0.1, 0.3, 0.02, 0.25, 0.06, 0.15, 0.04, 0.08};

    for (int i = 0; i < SIZE; i++)
        logits[i] = (float)log(p[i]);
}

#define BIT(i) (1u << (i))

static void philox_gives_its_authors_vectors(void **state)
{
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        uint32_t out[4];
        philox(vectors[i].counter, vectors[i].key, out);
        assert_memory_equal(out, vectors[i].out, sizeof out);
    }
}

static void draws_follow_the_distribution(void **state)
{
    struct engine_sampling o = plain;
    float logits[SIZE];

    (void)state;
    usual_logits(logits);
    check_distribution(&o, logits, 0xFF);
    o.temperature = 0.5f;
    check_distribution(&o, logits, 0xFF);
    o.temperature = 2;
    o.seed = 7;
    check_distribution(&o, logits, 0xFF);
}

static void top_k_keeps_the_k_best(void **state)
{
    struct engine_sampling o = plain;
    float logits[SIZE];

    (void)state;
    usual_logits(logits);
    o.top_k = 3;
    check_distribution(&o, logits, BIT(1) | BIT(3) | BIT(5));
    o.top_k = 1;
    check_distribution(&o, logits, BIT(1));
    o.top_k = 100;
    check_distribution(&o, logits, 0xFF);
}

static void top_p_keeps_the_shortest_prefix_that_reaches_it(void **state)
{
    struct engine_sampling o = plain;
    float logits[SIZE];

    (void)state;
    usual_logits(logits);
    o.top_p = 0.5f;
    check_distribution(&o, logits, BIT(1) | BIT(3));
    o.top_p = 0.56f;
    check_distribution(&o, logits, BIT(1) | BIT(3) | BIT(5));
    o.top_p = 0;
    check_distribution(&o, logits, BIT(1));
    o.top_p = 0.999f;
    check_distribution(&o, logits, 0xFF);
}

static void top_p_acts_after_the_temperature(void **state)
{
    struct engine_sampling o = plain;
    float logits[SIZE];

    (void)state;
    usual_logits(logits);
    o.temperature = 0.5f; /* the squares: .09 .0625 .0225 .01 ... of 0.1990 */
    o.top_p = 0.75f;
    check_distribution(&o, logits, BIT(1) | BIT(3));
}

static void top_p_is_a_share_of_what_top_k_left(void **state)
{
    struct engine_sampling o = plain;
    float logits[SIZE];

    (void)state;
    usual_logits(logits);
    o.top_k = 2;
    o.top_p = 0.54f; /* 0.3 of 0.55 is 0.545 */
    check_distribution(&o, logits, BIT(1));
    o.top_p = 0.55f;
    check_distribution(&o, logits, BIT(1) | BIT(3));
}

static void min_p_is_a_share_of_the_best(void **state)
{
    struct engine_sampling o = plain;
    float logits[SIZE];

    (void)state;
    usual_logits(logits);
    o.min_p = 0.3f;
    check_distribution(&o, logits, BIT(1) | BIT(3) | BIT(5) | BIT(0));
    o.min_p = 1;
    check_distribution(&o, logits, BIT(1));
    o.min_p = 2;
    check_distribution(&o, logits, BIT(1));
}

static void equals_are_kept_by_the_lowest_id(void **state)
{
    struct engine_sampling o = plain;
    float logits[SIZE] = {0};

    (void)state;
    o.top_k = 3;
    check_distribution(&o, logits, BIT(0) | BIT(1) | BIT(2));
    o.top_k = 0;
    o.top_p = 0.5f;
    check_distribution(&o, logits, BIT(0) | BIT(1) | BIT(2) | BIT(3));
}

/* The sets that top_k and top_p keep, against a plain sort, for random logits with many equals. */
static int by_falling_logit(const void *a, const void *b)
{
    const double *x = a, *y = b;

    if (x[0] != y[0])
        return x[0] > y[0] ? -1 : 1;
    return x[1] < y[1] ? -1 : x[1] > y[1];
}

static void kept_sets_are_those_of_a_sort(void **state)
{
    enum { N = 300 };
    uint32_t random = 5;
    float logits[N];
    double sorted[N][2];
    int counts[N];

    (void)state;
    for (int round = 0; round < 20; round++) {
        struct engine_sampling o = plain;
        double sum = 0, mass = 0;
        int keep = 0;
        for (int i = 0; i < N; i++) {
            random = random * 1664525 + 1013904223;
            logits[i] = (float)(random >> 28) / 8;
            sorted[i][0] = logits[i];
            sorted[i][1] = i;
            sum += exp(logits[i]);
        }
        qsort(sorted, N, sizeof *sorted, by_falling_logit);
        o.seed = (uint64_t)round;
        o.top_p = 0.03f + 0.04f * (float)round;
        while (mass < o.top_p * sum)
            mass += exp(sorted[keep++][0]);
        count_picks(&o, logits, N, 1000, counts);
        for (int i = keep + 1; i < N; i++) /* one more: sums in another order may differ */
            assert_int_equal(counts[(int)sorted[i][1]], 0);
        o.top_p = 1;
        o.top_k = 1 + round * 14;
        count_picks(&o, logits, N, 1000, counts);
        for (int i = o.top_k; i < N; i++)
            assert_int_equal(counts[(int)sorted[i][1]], 0);
        /* The last one kept is drawn too, so not too few were. */
        o.top_k = 2;
        count_picks(&o, logits, N, 1000, counts);
        assert_true(counts[(int)sorted[1][1]] > 0);
    }
}

static void cold_picks_the_best_and_the_lowest_id_of_equals(void **state)
{
    struct engine_sampling o = plain;
    const float logits[SIZE] = {1, 3, 2, 3, 0, -1, 3, 2};

    (void)state;
    o.temperature = 0;
    struct sampler *s = sampler_new(&o, 0, SIZE);
    for (int i = 0; i < 10; i++)
        assert_int_equal(pick(s, logits, SIZE), 1);
    sampler_free(s);
    o.temperature = 1e-5f;
    s = sampler_new(&o, 0, SIZE);
    assert_int_equal(pick(s, logits, SIZE), 1);
    sampler_free(s);
}

static void a_bias_bans_and_forces(void **state)
{
    const struct engine_bias ban[] = {{1, -100}, {3, -100}, {-1, 100}, {SIZE, 100}};
    const struct engine_bias force[] = {{2, 100}};
    struct engine_sampling o = plain;
    float logits[SIZE];

    (void)state;
    usual_logits(logits);
    o.bias = ban;
    o.n_bias = 4;
    check_distribution(&o, logits, 0xFFu & ~(BIT(1) | BIT(3)));
    o.bias = force;
    o.n_bias = 1;
    check_distribution(&o, logits, BIT(2));
    o.temperature = 0;
    struct sampler *s = sampler_new(&o, 0, SIZE);
    assert_int_equal(pick(s, logits, SIZE), 2);
    sampler_free(s);
}

static void penalties_count_what_was_generated(void **state)
{
    struct engine_sampling o = plain;
    float logits[4] = {3, 2.4f, 1, 0};
    struct sampler *s;

    (void)state;
    o.temperature = 0;
    o.presence_penalty = 1;
    s = sampler_new(&o, 0, 4);
    assert_int_equal(pick(s, logits, 4), 0); /* 3 becomes 2 for good */
    assert_int_equal(pick(s, logits, 4), 1); /* 2.4 becomes 1.4 */
    assert_int_equal(pick(s, logits, 4), 0);
    assert_int_equal(pick(s, logits, 4), 0);
    sampler_free(s);
    o.presence_penalty = 0;
    o.frequency_penalty = 1;
    s = sampler_new(&o, 0, 4);
    assert_int_equal(pick(s, logits, 4), 0);
    assert_int_equal(pick(s, logits, 4), 1);
    assert_int_equal(pick(s, logits, 4), 0); /* now 1, and 1.4 */
    assert_int_equal(pick(s, logits, 4), 1); /* now 1, and 0.4, and 1 */
    assert_int_equal(pick(s, logits, 4), 0);
    assert_int_equal(pick(s, logits, 4), 2);
    sampler_free(s);
    o.frequency_penalty = -2;
    s = sampler_new(&o, 0, 4);
    for (int i = 0; i < 5; i++)
        assert_int_equal(pick(s, logits, 4), 0);
    sampler_free(s);
}

static void a_draw_depends_on_seed_choice_and_position_alone(void **state)
{
    enum { N = 64 };
    struct engine_sampling o = plain, other = plain;
    float logits[SIZE] = {0}, sharp[SIZE] = {0, 0, 0, 0, 100};
    struct sampler *a = sampler_new(&o, 0, SIZE), *b = sampler_new(&o, 0, SIZE);
    struct sampler *c = sampler_new(&o, 1, SIZE);
    int same_choice = 0, same_seed = 0;

    (void)state;
    other.seed = 43;
    struct sampler *d = sampler_new(&other, 0, SIZE);
    for (int i = 0; i < N; i++) {
        int32_t id = pick(a, logits, SIZE);
        if (i % 3 == 0) /* what was drawn before does not matter, only how much */
            assert_int_equal(pick(b, sharp, SIZE), 4);
        else
            assert_int_equal(pick(b, logits, SIZE), id);
        same_choice += pick(c, logits, SIZE) == id;
        same_seed += pick(d, logits, SIZE) == id;
    }
    assert_in_range(same_choice, 1, N / 3);
    assert_in_range(same_seed, 1, N / 3);
    sampler_free(a);
    sampler_free(b);
    sampler_free(c);
    sampler_free(d);
}

static void broken_logits_do_no_harm(void **state)
{
    static const float cases[][4] = {
        {NAN, NAN, NAN, NAN},
        {NAN, 1, NAN, 0},
        {INFINITY, INFINITY, 0, 0},
        {-INFINITY, -INFINITY, -INFINITY, -INFINITY},
        {FLT_MAX, -FLT_MAX, INFINITY, -INFINITY},
    };
    const struct engine_bias bias[] = {{0, -100}, {1, 100}};
    float top[4];
    int32_t ids[4];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int k = 0; k < 8; k++) {
            struct engine_sampling o = plain;
            o.temperature = k & 1 ? 0 : 0.7f;
            o.top_p = k & 2 ? 0.9f : 1;
            o.top_k = k & 4 ? 2 : 0;
            o.bias = bias;
            o.n_bias = k & 4 ? 2 : 0;
            o.presence_penalty = 1;
            struct sampler *s = sampler_new(&o, 0, 4);
            for (int n = 0; n < 4; n++)
                assert_in_range(pick(s, cases[i], 4), 0, 3);
            sampler_free(s);
        }
        for (int32_t token = 0; token < 4; token++) {
            float p = sampler_logprobs(cases[i], 4, token, 4, ids, top);
            assert_true(p <= 0 && p >= -9999);
        }
    }
    struct sampler *s = sampler_new(&plain, 0, 4);
    for (int n = 0; n < 50; n++)
        assert_true(pick(s, cases[1], 4) % 2 == 1);
    sampler_free(s);
}

/* The whole vocabulary of a real model, all near each other: the case that sorting would hurt. */
static void a_large_flat_vocabulary_is_sampled(void **state)
{
    enum { N = 163840 };
    struct engine_sampling o = plain;
    float *logits = malloc(N * sizeof *logits);

    (void)state;
    o.temperature = 2;
    o.top_p = 0.95f;
    o.top_k = 100000;
    struct sampler *s = sampler_new(&o, 0, N);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < N; i++) /* rising, falling, equal, a saw */
            logits[i] = round == 0   ? (float)i / N
                        : round == 1 ? -(float)i / N
                        : round == 2 ? 1
                                     : (float)(i % 17);
        assert_in_range(sampler_pick(s, logits), 0, N - 1);
    }
    sampler_free(s);
    free(logits);
}

static void logprobs_are_of_the_raw_distribution(void **state)
{
    static const int32_t order[SIZE] = {1, 3, 5, 0, 7, 4, 6, 2};
    float logits[SIZE], top[SIZE];
    int32_t ids[SIZE];

    (void)state;
    usual_logits(logits);
    for (int i = 0; i < SIZE; i++)
        logits[i] += 50;
    for (int n = 0; n <= SIZE; n++) {
        assert_true(fabs(sampler_logprobs(logits, SIZE, 4, n, ids, top) - log(0.06)) < 1e-5);
        assert_memory_equal(ids, order, (size_t)n * sizeof *ids);
        for (int i = 0; i < n; i++)
            assert_true(fabs(top[i] - (logits[order[i]] - 50)) < 1e-5);
    }
}

static void equal_logprobs_stand_by_id(void **state)
{
    static const float logits[SIZE] = {1, 2, 2, 1, 2, 1, 2, 1};
    static const int32_t order[] = {1, 2, 4, 6, 0, 3};
    int32_t ids[6];
    float top[6];

    (void)state;
    sampler_logprobs(logits, SIZE, 0, 6, ids, top);
    assert_memory_equal(ids, order, sizeof ids);
    sampler_logprobs(logits, SIZE, 0, 3, ids, top);
    assert_memory_equal(ids, order, 3 * sizeof *ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_its_authors_vectors),
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(top_k_keeps_the_k_best),
        cmocka_unit_test(top_p_keeps_the_shortest_prefix_that_reaches_it),
        cmocka_unit_test(top_p_acts_after_the_temperature),
        cmocka_unit_test(top_p_is_a_share_of_what_top_k_left),
        cmocka_unit_test(min_p_is_a_share_of_the_best),
        cmocka_unit_test(equals_are_kept_by_the_lowest_id),
        cmocka_unit_test(kept_sets_are_those_of_a_sort),
        cmocka_unit_test(cold_picks_the_best_and_the_lowest_id_of_equals),
        cmocka_unit_test(a_bias_bans_and_forces),
        cmocka_unit_test(penalties_count_what_was_generated),
        cmocka_unit_test(a_draw_depends_on_seed_choice_and_position_alone),
        cmocka_unit_test(broken_logits_do_no_harm),
        cmocka_unit_test(a_large_flat_vocabulary_is_sampled),
        cmocka_unit_test(logprobs_are_of_the_raw_distribution),
        cmocka_unit_test(equal_logprobs_stand_by_id),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
