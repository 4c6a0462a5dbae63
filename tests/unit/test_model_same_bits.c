/*
 * The forward pass against itself, bit by bit: neither chunks, nor threads, nor company in the
 * batch, nor a cached or shared beginning may change a logit. For float, bfloat16 and 8-bit
 * weights and every kernel set. Run from the repository's root.
 */
#include "model_rig.h"

#include <math.h>

static void assert_bits_equal(const float *a, const float *b, size_t n)
{
    assert_memory_equal(a, b, n * sizeof *a);
}

/* ---- against itself: runs `test` for float and 8-bit weights, and every kernel set ---- */

static void for_each_kind(void (*test)(const char *name, uint32_t type, const char *set))
{
    static const uint32_t types[] = {QUANT_F32, QUANT_BF16, QUANT_Q8_0};

    for (int t = 0; t < 3; t++)
        for (int k = 0; k < N_SETS; k++)
            if (kernels_or_null(sets[k]) != NULL)
                for (int v = 0; v < N_VARIANTS; v++)
                    test(variants[v], types[t], sets[k]);
}

static void check_chunks(const char *name, uint32_t type, const char *set)
{
    struct setup s = {.set = set, .kv_f16 = type != QUANT_F32};
    float *want = new_logits(), *got = new_logits();
    struct rig r;

    /* a cache of its own for each, so that nothing is taken over */
    rig_golden(&r, &s, name, type);
    run_prompt(&r, prompts[0], POSITIONS, 64, want);
    rig_close(&r);
    rig_golden(&r, &s, name, type);
    run_prompt(&r, prompts[0], POSITIONS, 7, got);
    assert_bits_equal(want, got, ROW);
    run_prompt(&r, prompts[0], POSITIONS, 1, got);
    assert_bits_equal(want, got, ROW);
    rig_close(&r);
    free(want);
    free(got);
}

static void chunk_sizes_give_equal_bits(void **state)
{
    (void)state;
    for_each_kind(check_chunks);
}

static void check_threads(const char *name, uint32_t type, const char *set)
{
    float *want = new_logits(), *got = new_logits();

    for (int threads = 1; threads <= 3; threads++) {
        struct setup s = {.set = set, .threads = threads};
        struct rig r;
        rig_golden(&r, &s, name, type);
        run_prompts(&r, threads == 1 ? want : got);
        if (threads > 1)
            assert_bits_equal(want, got, PROMPTS * ROW);
        rig_close(&r);
    }
    free(want);
    free(got);
}

static void thread_counts_give_equal_bits(void **state)
{
    (void)state;
    for_each_kind(check_threads);
}

/* One sequence in the middle of 15 others, which are at other positions and want other things. */
static void run_among_others(struct rig *r, const int32_t *tokens, float *logits)
{
    struct kv_seq others[OTHERS] = {{0}}, seq = {0};
    float *rows = calloc((OTHERS + 1) * VOCABULARY, sizeof *rows);

    for (int i = 0; i < OTHERS; i++)
        feed(r, &others[i], prompts[1], 1 + i % 3, rows);
    for (int at = 0; at < POSITIONS; at++) {
        struct model_token batch[OTHERS + 1];
        int n = 0, mine = 0;
        for (int i = 0; i <= OTHERS; i++) {
            bool me = i == at % (OTHERS + 1);
            struct kv_seq *s = me ? &seq : &others[i < OTHERS ? i : at % (OTHERS + 1)];
            int32_t token = me ? tokens[at] : prompts[2][(at + 5 * i) % POSITIONS];
            assert_int_equal(kv_seq_reserve(r->kv, s, 1), 0);
            batch[i] = (struct model_token){s, token, s->n_tokens, me || i % 2 == 0};
            mine = me ? n : mine;
            n += batch[i].want_logits;
        }
        model_forward(r->m, r->kv, batch, OTHERS + 1, rows);
        memcpy(logits + (size_t)at * VOCABULARY, rows + (size_t)mine * VOCABULARY,
               VOCABULARY * sizeof *rows);
        for (int i = 0; i <= OTHERS; i++)
            kv_seq_commit(r->kv, batch[i].seq, &batch[i].token, 1);
    }
    for (int i = 0; i < OTHERS; i++)
        kv_seq_end(r->kv, &others[i]);
    kv_seq_end(r->kv, &seq);
    free(rows);
}

static void check_others(const char *name, uint32_t type, const char *set)
{
    struct setup s = {.set = set, .threads = 2, .kv_f16 = true};
    float *want = new_logits(), *got = new_logits();
    struct rig r;

    rig_golden(&r, &s, name, type);
    run_prompt(&r, prompts[0], POSITIONS, 1, want);
    rig_close(&r);
    rig_golden(&r, &s, name, type);
    run_among_others(&r, prompts[0], got);
    assert_bits_equal(want, got, ROW);
    rig_close(&r);
    free(want);
    free(got);
}

static void company_changes_no_bit(void **state)
{
    (void)state;
    for_each_kind(check_others);
}

static void check_cached(const char *name, uint32_t type, const char *set)
{
    struct setup s = {.set = set, .kv_f16 = true};
    float *want = new_logits(), *got = new_logits();
    struct kv_seq seq;
    struct rig r;
    int cached;

    rig_golden(&r, &s, name, type);
    run_prompt(&r, prompts[0], POSITIONS, POSITIONS, want);
    cached = kv_seq_begin(r.kv, &seq, prompts[0], POSITIONS);
    assert_int_equal(cached, 48); /* whole blocks, and the last token stays to be evaluated */
    feed(&r, &seq, prompts[0] + cached, POSITIONS - cached, got);
    assert_bits_equal(want + cached * VOCABULARY, got, (size_t)(POSITIONS - cached) * VOCABULARY);
    kv_seq_end(r.kv, &seq);
    rig_close(&r);
    free(want);
    free(got);
}

static void a_cached_beginning_gives_equal_bits(void **state)
{
    (void)state;
    for_each_kind(check_cached);
}

static void check_fork(const char *name, uint32_t type, const char *set)
{
    struct setup s = {.set = set};
    float *want = new_logits(), *got = new_logits();
    struct kv_seq a = {0}, b;
    struct rig r;

    rig_golden(&r, &s, name, type);
    run_prompt(&r, prompts[0], POSITIONS, POSITIONS, want);
    feed(&r, &a, prompts[0], 40, got);
    assert_int_equal(kv_seq_fork(r.kv, &a, &b), 0);
    feed(&r, &a, prompts[1], 24, got);
    feed(&r, &b, prompts[0] + 40, 24, got);
    assert_bits_equal(want + 40 * VOCABULARY, got, 24 * VOCABULARY);
    kv_seq_end(r.kv, &a);
    kv_seq_end(r.kv, &b);
    rig_close(&r);
    free(want);
    free(got);
}

static void a_fork_goes_on_as_if_it_were_alone(void **state)
{
    (void)state;
    for_each_kind(check_fork);
}

/* Columns that want no logits leave the last layer early; the others must not notice. */
static void logits_do_not_depend_on_who_else_wants_some(void **state)
{
    struct setup s = {.set = "auto", .threads = 2};
    float *want = new_logits(), *got = new_logits();
    struct kv_seq seq = {0};
    struct rig r;

    (void)state;
    for (int v = 0; v < N_VARIANTS; v++) {
        struct model_token batch[POSITIONS];
        int rows = 0;
        rig_golden(&r, &s, variants[v], QUANT_Q8_0);
        run_prompt(&r, prompts[0], POSITIONS, POSITIONS, want);
        assert_int_equal(kv_seq_reserve(r.kv, &seq, POSITIONS), 0);
        for (int i = 0; i < POSITIONS; i++)
            batch[i] = (struct model_token){&seq, prompts[0][i], i, i % 5 == 3};
        memset(got, 0xff, ROW * sizeof *got);
        model_forward(r.m, r.kv, batch, 32, got);
        for (int i = 3; i < 32; i += 5)
            assert_bits_equal(want + i * VOCABULARY, got + rows++ * VOCABULARY, VOCABULARY);
        assert_true(isnan(got[rows * VOCABULARY]));
        for (int i = 32; i < POSITIONS; i++)
            batch[i].want_logits = i == POSITIONS - 1;
        model_forward(r.m, r.kv, batch + 32, 16, got + ROW - VOCABULARY); /* wants none */
        assert_true(isnan(got[ROW - VOCABULARY]));
        model_forward(r.m, r.kv, batch + 48, 16, got);
        assert_bits_equal(want + ROW - VOCABULARY, got, VOCABULARY);
        kv_seq_end(r.kv, &seq);
        rig_close(&r);
    }
    free(want);
    free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunk_sizes_give_equal_bits),
        cmocka_unit_test(thread_counts_give_equal_bits),
        cmocka_unit_test(company_changes_no_bit),
        cmocka_unit_test(a_cached_beginning_gives_equal_bits),
        cmocka_unit_test(a_fork_goes_on_as_if_it_were_alone),
        cmocka_unit_test(logits_do_not_depend_on_who_else_wants_some),
    };

    return cmocka_run_group_tests(tests, read_prompts, NULL);
}
