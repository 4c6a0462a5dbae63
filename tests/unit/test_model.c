/*
 * The forward pass against an independent reference (tests/golden), and its parts against known
 * values. Run from the repository's root.
 */
#include "engine/model_private.h"
#include "model_rig.h"

#include <math.h>

/* ---- comparing ---- */

static double largest_difference(const float *a, const float *b, size_t n)
{
    double most = 0;

    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= most))
            most = d;
    }
    return most;
}

static double largest_value(const float *a, size_t n)
{
    double most = 0;

    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)a[i]));
    return most;
}

static double log_sum(const float *z, size_t n)
{
    double max = z[0], sum = 0;

    for (size_t i = 1; i < n; i++)
        max = fmax(max, (double)z[i]);
    for (size_t i = 0; i < n; i++)
        sum += exp((double)z[i] - max);
    return max + log(sum);
}

/* Mean over the rows of KL(reference || ours), in nats. */
static double mean_divergence(const float *reference, const float *ours)
{
    double total = 0;

    for (size_t row = 0; row < (size_t)PROMPTS * POSITIONS; row++) {
        const float *p = reference + row * VOCABULARY, *q = ours + row * VOCABULARY;
        double sum_p = log_sum(p, VOCABULARY), sum_q = log_sum(q, VOCABULARY);
        for (size_t i = 0; i < VOCABULARY; i++) {
            double log_p = (double)p[i] - sum_p;
            total += exp(log_p) * (log_p - ((double)q[i] - sum_q));
        }
    }
    return total / (PROMPTS * POSITIONS);
}

static void assert_below(const char *what, const char *name, const char *set, double value,
                         double bound)
{
    if (!(value < bound))
        fail_msg("%s, model %s, kernels %s: %g is not below %g", what, name, set, value, bound);
}

/* ---- against the reference ---- */

static void float_weights_give_the_reference_logits(void **state)
{
    (void)state;
    for (int v = 0; v < N_VARIANTS; v++)
        for (int k = 0; k < N_SETS; k++) {
            struct setup s = {.set = sets[k]};
            struct rig r;
            float *want, *got;
            if (kernels_or_null(sets[k]) == NULL)
                continue;
            want = golden_logits(variants[v]);
            got = new_logits();
            rig_golden(&r, &s, variants[v], QUANT_F32);
            run_prompts(&r, got);
            assert_below("difference", variants[v], sets[k],
                         largest_difference(want, got, PROMPTS * ROW),
                         1e-4 * largest_value(want, PROMPTS * ROW));
            rig_close(&r);
            free(want);
            free(got);
        }
}

static void a_cache_of_halves_stays_close(void **state)
{
    (void)state;
    for (int v = 0; v < N_VARIANTS; v++)
        for (int k = 0; k < N_SETS; k++) {
            struct setup s = {.set = sets[k], .kv_f16 = true};
            struct rig r;
            float *want, *got;
            if (kernels_or_null(sets[k]) == NULL)
                continue;
            want = golden_logits(variants[v]);
            got = new_logits();
            rig_golden(&r, &s, variants[v], QUANT_F32);
            run_prompts(&r, got);
            assert_below("divergence", variants[v], sets[k], mean_divergence(want, got), 1e-5);
            rig_close(&r);
            free(want);
            free(got);
        }
}

static void eight_bit_weights_stay_close(void **state)
{
    (void)state;
    for (int v = 0; v < N_VARIANTS; v++)
        for (int k = 0; k < N_SETS; k++) {
            struct setup s = {.set = sets[k]};
            struct rig r;
            float *want, *got;
            if (kernels_or_null(sets[k]) == NULL)
                continue;
            want = golden_logits(variants[v]);
            got = new_logits();
            rig_golden(&r, &s, variants[v], QUANT_Q8_0);
            assert_string_equal(model_weights(r.m), "Q8_0");
            run_prompts(&r, got);
            assert_below("divergence", variants[v], sets[k], mean_divergence(want, got), 1e-3);
            rig_close(&r);
            free(want);
            free(got);
        }
}

/* Beside the weights' rounding, which a file has once and for all, that of the activations must
 * not be felt. Only `lite` rounds weights again: its keys' half is transposed at loading. */
static void eight_bit_weights_are_near_their_values_as_floats(void **state)
{
    (void)state;
    for (int v = 0; v < N_VARIANTS; v++)
        for (int k = 0; k < N_SETS; k++) {
            struct setup s = {.set = sets[k]};
            bool again = strcmp(variants[v], "lite") == 0;
            struct rig r;
            float *want, *got;
            size_t len;
            uint8_t *bytes;
            if (kernels_or_null(sets[k]) == NULL)
                continue;
            want = new_logits();
            got = new_logits();
            bytes = converted(variants[v], QUANT_Q8_0, true, &len);
            rig_open(&r, &s, bytes, len);
            run_prompts(&r, want);
            rig_close(&r);
            rig_golden(&r, &s, variants[v], QUANT_Q8_0);
            run_prompts(&r, got);
            assert_below("divergence as floats", variants[v], sets[k], mean_divergence(want, got),
                         again ? 1e-4 : 1e-7);
            rig_close(&r);
            free(want);
            free(got);
        }
}

/* A half or a bfloat16 is a float, so a file that holds the rounded values as F32 must agree. */
static void sixteen_bit_weights_equal_their_values_as_floats(void **state)
{
    static const uint32_t types[] = {QUANT_F16, QUANT_BF16};

    (void)state;
    for (int v = 0; v < N_VARIANTS; v++)
        for (int k = 0; k < N_SETS; k++)
            for (int t = 0; t < 2; t++) {
                struct setup s = {.set = sets[k]};
                struct rig r;
                float *want, *got;
                size_t len;
                uint8_t *bytes;
                if (kernels_or_null(sets[k]) == NULL)
                    continue;
                want = new_logits();
                got = new_logits();
                bytes = converted(variants[v], types[t], true, &len);
                rig_open(&r, &s, bytes, len);
                run_prompts(&r, want);
                rig_close(&r);
                rig_golden(&r, &s, variants[v], types[t]);
                run_prompts(&r, got);
                assert_below(quant_name(types[t]), variants[v], sets[k],
                             largest_difference(want, got, PROMPTS * ROW),
                             1e-5 * largest_value(want, PROMPTS * ROW));
                rig_close(&r);
                free(want);
                free(got);
            }
}

/* ---- parts ---- */

static void yarn_frequencies_are_those_of_the_known_table(void **state)
{
    static const int pairs[] = {0, 1, 8, 9, 12, 15, 18, 19, 20, 31};
    static const struct {
        double factor, fast, slow;
        double want[10];
    } cases[] = {
        {32,
         32,
         1,
         {1, 0.713111085, 0.0668740305, 0.0438387505, 0.0117092309, 0.00272736371, 0.000438258016,
          0.000181603323, 3.61404677e-5, 8.76441291e-7}},
        {32,
         1,
         1,
         {1, 0.713111085, 0.0668740305, 0.0476886124, 0.0172936334, 0.00627130338, 0.00227420376,
          0.00162175991, 3.61404677e-5, 8.76441291e-7}},
        {64,
         32,
         1,
         {1, 0.713111085, 0.0668740305, 0.043776656, 0.0116191599, 0.00267020339, 0.000408645987,
          0.000158374991, 1.80702339e-5, 4.38220646e-7}},
        {64,
         1,
         1,
         {1, 0.713111085, 0.0668740305, 0.0476886124, 0.0172936334, 0.00627130338, 0.00227420376,
          0.00162175991, 1.80702339e-5, 4.38220646e-7}},
    };

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct rope_plan plan = {.scaling = ROPE_YARN,
                                 .factor = cases[i].factor,
                                 .original_context = 4096,
                                 .beta_fast = cases[i].fast,
                                 .beta_slow = cases[i].slow,
                                 .log_multiplier = 0.1};
        float got[32];
        rope_frequencies(&plan, 50000, 64, got);
        for (int p = 0; p < 10; p++)
            assert_true(fabs((double)got[pairs[p]] / cases[i].want[p] - 1) < 1e-6);
        assert_true(fabs(rope_magnitude(&plan) - (i < 2 ? 1.346574 : 1.415888)) < 1e-6);
    }
}

static void the_file_s_beta_is_taken_only_on_request(void **state)
{
    struct setup s = {.set = "scalar", .no_beta = true};
    float *want = golden_logits("beta"), *got = new_logits();
    struct rig r;

    (void)state;
    rig_golden(&r, &s, "beta", QUANT_F32);
    run_prompts(&r, got);
    assert_true(largest_difference(want, got, PROMPTS * ROW) > 0.1);
    rig_close(&r);
    free(want);
    free(got);
}

static void of_equal_experts_the_first_are_chosen(void **state)
{
    static const float logits[8] = {0, 2, 1, 1, 2, 1, 0, 1};
    static const float bias[8] = {0, 0, 0, 0, 0, 0, 9, 0};
    struct layer layer = {.router_bias = NULL};
    struct model m = {.gating = GATE_SIGMOID, .layer = &layer};
    int32_t chosen[4];
    float weight[4];

    (void)state;
    m.shape = (struct model_shape){
        .experts = 8, .experts_used = 4, .groups = 1, .groups_used = 1, .expert_scale = 2};
    moe_choose(&m, logits, chosen, weight);
    assert_memory_equal(chosen, ((int32_t[]){1, 2, 3, 4}), sizeof chosen);
    assert_float_equal(weight[0], 2 / (1 + exp(-2)), 1e-6);
    assert_float_equal(weight[1], 2 / (1 + exp(-1)), 1e-6);
    /* a bias chooses, but does not weigh */
    layer.router_bias = bias;
    m.shape.expert_norm = true;
    moe_choose(&m, logits, chosen, weight);
    assert_memory_equal(chosen, ((int32_t[]){1, 2, 4, 6}), sizeof chosen);
    assert_float_equal(weight[0] + weight[1] + weight[2] + weight[3], 2, 1e-6);
    assert_float_equal(weight[3] / weight[0], 0.5 * (1 + exp(-2)), 1e-6);
    /* the two best groups of two: (2,3) counts 2 x sigmoid(1), (4,5) more; 6 and its bias lead */
    m.shape.groups = 4;
    m.shape.groups_used = 2;
    moe_choose(&m, logits, chosen, weight);
    assert_memory_equal(chosen, ((int32_t[]){4, 5, 6, 7}), sizeof chosen);
}

static void progress_tells(void *arg, const char *what, int percent)
{
    int *last = arg;

    assert_non_null(what);
    assert_true(percent >= *last && percent <= 100);
    *last = percent;
}

static void a_model_tells_its_shape_and_its_progress(void **state)
{
    int last = 0;
    struct model_options o = {.max_batch = 4, .progress = progress_tells, .progress_arg = &last};
    struct gguf *g = NULL;
    struct model *m = NULL;
    const struct model_shape *sh;
    struct error e;

    (void)state;
    assert_int_equal(kernels_find("auto", &o.kernels, &e), 0);
    assert_int_equal(pool_open(1, &o.pool, &e), 0);
    assert_int_equal(gguf_open_file("tests/golden/full.gguf", &g, &e), 0);
    assert_int_equal(model_open(g, &o, &m, &e), 0);
    assert_int_equal(last, 100);
    sh = model_shape(m);
    assert_int_equal(sh->layers, 3);
    assert_int_equal(sh->q_lora, 32);
    assert_int_equal(sh->nope, 32);
    assert_int_equal(sh->rope, 16);
    assert_int_equal(sh->vocabulary, VOCABULARY);
    assert_int_equal(sh->context_tokens, 256);
    assert_true(sh->sigmoid_gate && sh->expert_norm);
    assert_float_equal(sh->score_scale, pow(1 + 0.1 * log(4), 2) / sqrt(48), 1e-6);
    assert_string_equal(model_weights(m), "F32");
    /* the file without its head of names is all weights, 4 bytes each */
    assert_in_range(model_parameters(m) * 4, gguf_file_bytes(g) * 95 / 100, gguf_file_bytes(g));
    model_close(m);
    gguf_close(g);
    pool_close(o.pool);
}

/* ---- the built-in model ---- */

enum { TOP = 32, GOLDEN_ROW = 4 + TOP * 8 };

static uint32_t crc32_of(const uint8_t *bytes, size_t len)
{
    uint32_t crc = ~0u;

    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* KL over the stored tokens and "any other" as one more: not above that over all tokens. */
static double row_divergence(const uint8_t *row, const float *ours, size_t n, bool *same_best)
{
    double sum_q = log_sum(ours, n), rest_p = 1, rest_q = 1, kl = 0;
    float sum_p, z;
    int32_t id, best = 0;

    memcpy(&sum_p, row, 4);
    for (int i = 0; i < TOP; i++) {
        double log_p, log_q;
        memcpy(&id, row + 4 + 4 * i, 4);
        memcpy(&z, row + 4 + 4 * TOP + 4 * i, 4);
        best = i == 0 ? id : best;
        log_p = (double)z - (double)sum_p;
        log_q = (double)ours[id] - sum_q;
        kl += exp(log_p) * (log_p - log_q);
        rest_p -= exp(log_p);
        rest_q -= exp(log_q);
    }
    *same_best = true;
    for (size_t i = 0; i < n; i++)
        *same_best = *same_best && ours[i] <= ours[best];
    return rest_p > 1e-9 && rest_q > 1e-9 ? kl + rest_p * log(rest_p / rest_q) : kl;
}

/* The file with its matrices as floats. */
static uint8_t *as_floats(const uint8_t *file, size_t *len)
{
    struct edit *m = calloc(1, sizeof *m);
    uint8_t *out;

    edit_read(m, file);
    for (size_t i = 0; i < m->n_tensors; i++) {
        struct edit_tensor *t = &m->tensors[i];
        const struct quant_type *type = quant_find(t->type);
        size_t weights = t->bytes / type->block_bytes * type->block_weights;
        float *values = malloc(weights * sizeof *values);
        type->to_float(t->data, values, weights);
        free(t->data);
        t->data = (uint8_t *)values;
        t->type = QUANT_F32;
        t->bytes = weights * sizeof *values;
    }
    out = edit_write(m, len);
    edit_done(m);
    free(m);
    return out;
}

/* Mean divergence from the golden rows; *same counts rows with the same likeliest token. */
static double nano_divergence(const uint8_t *golden, uint8_t *file, size_t len,
                              const struct setup *s, int *same)
{
    const uint8_t *rows = golden + 4 + PROMPTS * POSITIONS * 4;
    double divergence = 0;
    struct rig r;
    size_t width;
    float *got;

    *same = 0;
    rig_open(&r, s, file, len);
    width = (size_t)model_shape(r.m)->vocabulary;
    got = calloc(POSITIONS * width, sizeof *got);
    for (int p = 0; p < PROMPTS; p++) {
        int32_t tokens[POSITIONS];
        memcpy(tokens, golden + 4 + p * POSITIONS * 4, sizeof tokens);
        run_prompt(&r, tokens, POSITIONS, POSITIONS, got);
        for (int i = 0; i < POSITIONS; i++) {
            bool same_best;
            divergence += row_divergence(rows + (p * POSITIONS + i) * GOLDEN_ROW,
                                         got + (size_t)i * width, width, &same_best);
            *same += same_best;
        }
    }
    rig_close(&r);
    free(got);
    return divergence / (PROMPTS * POSITIONS);
}

/* A cache of halves rounds more than the activations do, and may now and then choose another
 * expert where two scores lie close; both stay far below the limit. */
static void check_nano(const uint8_t *golden, const uint8_t *file, size_t len, const char *set)
{
    const struct setup exact = {.set = set, .threads = 2};
    const struct setup halves = {.set = set, .threads = 2, .kv_f16 = true};
    const int most = PROMPTS * POSITIONS, least = most * 99 / 100;
    size_t floats_len;
    uint8_t *floats = as_floats(file, &floats_len);
    int same;

    assert_below("divergence", "nano as floats", set,
                 nano_divergence(golden, floats, floats_len, &exact, &same), 1e-5);
    assert_in_range(same, least, most);
    assert_below("divergence", "nano", set,
                 nano_divergence(golden, edit_copy(file, len), len, &exact, &same), 1e-3);
    assert_in_range(same, least, most);
    assert_below("divergence", "nano with a cache of halves", set,
                 nano_divergence(golden, edit_copy(file, len), len, &halves, &same), 1e-3);
    assert_in_range(same, least, most);
}

static void the_built_in_model_gives_the_reference_s_likeliest_tokens(void **state)
{
    size_t golden_len = 0, len = 0;
    uint8_t *golden = edit_file("tests/golden/nano.golden", &golden_len);
    uint8_t *file = edit_file("models/nano/moongate-nano.gguf", &len);
    uint32_t crc;

    (void)state;
    if (golden == NULL || file == NULL) {
        free(golden);
        free(file);
        skip();
    }
    assert_int_equal(golden_len, 4 + PROMPTS * POSITIONS * (4 + GOLDEN_ROW));
    memcpy(&crc, golden, sizeof crc);
    if (crc != crc32_of(file, len))
        fail_msg("nano.golden is of another file: see tests/golden/README.md");
    for (int k = 0; k < N_SETS; k++)
        if (kernels_or_null(sets[k]) != NULL)
            check_nano(golden, file, len, sets[k]);
    free(golden);
    free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float_weights_give_the_reference_logits),
        cmocka_unit_test(a_cache_of_halves_stays_close),
        cmocka_unit_test(eight_bit_weights_stay_close),
        cmocka_unit_test(eight_bit_weights_are_near_their_values_as_floats),
        cmocka_unit_test(sixteen_bit_weights_equal_their_values_as_floats),
        cmocka_unit_test(yarn_frequencies_are_those_of_the_known_table),
        cmocka_unit_test(the_file_s_beta_is_taken_only_on_request),
        cmocka_unit_test(of_equal_experts_the_first_are_chosen),
        cmocka_unit_test(a_model_tells_its_shape_and_its_progress),
        cmocka_unit_test(the_built_in_model_gives_the_reference_s_likeliest_tokens),
    };

    return cmocka_run_group_tests(tests, read_prompts, NULL);
}
