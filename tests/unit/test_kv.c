/*
 * The KV cache: what is shared, what is copied, what is overwritten, and that nothing is lost.
 * Rows carry a mark made of their layer, position and token, so a wrong row is seen.
 */
#include "engine/kv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

enum { LAYERS = 3, WIDTH = 5 };

static struct kv *open_cache(int tokens)
{
    struct kv_shape shape = {.layers = LAYERS, .width = WIDTH, .tokens = tokens, .f32 = true};
    struct kv *kv = NULL;
    struct error e;

    assert_int_equal(kv_open(&shape, &kv, &e), 0);
    return kv;
}

static float mark(int layer, int position, int32_t token, int i)
{
    return (float)(token * 1000 + position) + (float)layer / 8 + (float)i / 64;
}

static void write_row(struct kv *kv, struct kv_seq *s, int position, int32_t token)
{
    for (int layer = 0; layer < LAYERS; layer++) {
        float *row = kv_row(kv, s, layer, position);
        for (int i = 0; i < WIDTH; i++)
            row[i] = mark(layer, position, token, i);
    }
}

/* What the scheduler does with n further tokens. */
static int feed(struct kv *kv, struct kv_seq *s, const int32_t *tokens, int n)
{
    int at = s->n_tokens;
    int err = kv_seq_reserve(kv, s, n);

    if (err != 0)
        return err;
    for (int i = 0; i < n; i++)
        write_row(kv, s, at + i, tokens[i]);
    kv_seq_commit(kv, s, tokens, n);
    return 0;
}

static void check_rows(struct kv *kv, struct kv_seq *s)
{
    for (int position = 0; position < s->n_tokens; position++)
        for (int layer = 0; layer < LAYERS; layer++) {
            const float *row = kv_row(kv, s, layer, position);
            for (int i = 0; i < WIDTH; i++)
                assert_true(row[i] == mark(layer, position, s->tokens[position], i));
        }
}

static void count_up(int32_t *tokens, int n, int32_t from)
{
    for (int i = 0; i < n; i++)
        tokens[i] = from + i;
}

static void rows_of_one_block_lie_one_after_another(void **state)
{
    struct kv *kv = open_cache(64);
    struct kv_seq s = {0};
    int32_t tokens[20];

    (void)state;
    count_up(tokens, 20, 0);
    kv_seq_begin(kv, &s, tokens, 20);
    assert_int_equal(feed(kv, &s, tokens, 20), 0);
    for (int i = 1; i < KV_BLOCK_TOKENS; i++)
        assert_ptr_equal((float *)kv_row(kv, &s, 1, 0) + i * WIDTH, kv_row(kv, &s, 1, i));
    check_rows(kv, &s);
    kv_seq_end(kv, &s);
    kv_close(kv);
}

static void a_second_sequence_takes_over_whole_blocks(void **state)
{
    struct kv *kv = open_cache(256);
    struct kv_seq a = {0}, b = {0};
    int32_t tokens[40];

    (void)state;
    count_up(tokens, 40, 7);
    assert_int_equal(kv_seq_begin(kv, &a, tokens, 40), 0);
    assert_int_equal(feed(kv, &a, tokens, 40), 0);
    assert_int_equal(kv_free_tokens(kv), 256 - 48);
    assert_int_equal(kv_seq_begin(kv, &b, tokens, 40), 32);
    assert_int_equal(b.n_tokens, 32);
    assert_int_equal(kv_free_tokens(kv), 256 - 48);
    assert_int_equal(feed(kv, &b, tokens + 32, 8), 0);
    assert_int_equal(kv_free_tokens(kv), 256 - 64);
    assert_ptr_equal(kv_row(kv, &a, 0, 31), kv_row(kv, &b, 0, 31));
    assert_ptr_not_equal(kv_row(kv, &a, 0, 32), kv_row(kv, &b, 0, 32));
    check_rows(kv, &b);
    kv_seq_end(kv, &a);
    check_rows(kv, &b);
    kv_seq_end(kv, &b);
    assert_int_equal(kv_free_tokens(kv), 256);
    kv_close(kv);
}

static void the_last_token_is_never_taken_over(void **state)
{
    struct kv *kv = open_cache(256);
    struct kv_seq a = {0}, b = {0};
    int32_t tokens[33];

    (void)state;
    count_up(tokens, 33, 0);
    kv_seq_begin(kv, &a, tokens, 32);
    assert_int_equal(feed(kv, &a, tokens, 32), 0);
    kv_seq_end(kv, &a);
    assert_int_equal(kv_seq_begin(kv, &b, tokens, 32), 16);
    kv_seq_end(kv, &b);
    assert_int_equal(kv_seq_begin(kv, &b, tokens, 33), 32);
    kv_seq_end(kv, &b);
    assert_int_equal(kv_seq_begin(kv, &b, tokens, 1), 0);
    kv_seq_end(kv, &b);
    kv_close(kv);
}

static void a_block_is_known_by_everything_before_it(void **state)
{
    struct kv *kv = open_cache(256);
    struct kv_seq a = {0}, b = {0};
    int32_t tokens[48], other[48];

    (void)state;
    count_up(tokens, 48, 0);
    count_up(other, 48, 0);
    other[3] = 99;
    kv_seq_begin(kv, &a, tokens, 48);
    assert_int_equal(feed(kv, &a, tokens, 48), 0);
    assert_int_equal(kv_seq_begin(kv, &b, other, 48), 0);
    kv_seq_end(kv, &b);
    other[3] = 3;
    other[20] = 99;
    assert_int_equal(kv_seq_begin(kv, &b, other, 48), 16);
    kv_seq_end(kv, &b);
    /* the second block's tokens alone, at the beginning, are another block */
    assert_int_equal(kv_seq_begin(kv, &b, tokens + 16, 32), 0);
    kv_seq_end(kv, &b);
    kv_seq_end(kv, &a);
    kv_close(kv);
}

static void equal_blocks_filled_side_by_side_become_one(void **state)
{
    struct kv *kv = open_cache(256);
    struct kv_seq a = {0}, b = {0};
    int32_t tokens[40];

    (void)state;
    count_up(tokens, 40, 0);
    kv_seq_begin(kv, &a, tokens, 40);
    kv_seq_begin(kv, &b, tokens, 40);
    assert_int_equal(kv_seq_reserve(kv, &a, 40), 0);
    assert_int_equal(kv_seq_reserve(kv, &b, 40), 0);
    for (int i = 0; i < 40; i++) {
        write_row(kv, &a, i, tokens[i]);
        write_row(kv, &b, i, tokens[i]);
    }
    kv_seq_commit(kv, &a, tokens, 40);
    assert_int_equal(kv_free_tokens(kv), 256 - 96);
    kv_seq_commit(kv, &b, tokens, 40);
    assert_int_equal(kv_free_tokens(kv), 256 - 64);
    check_rows(kv, &a);
    check_rows(kv, &b);
    kv_seq_end(kv, &a);
    kv_seq_end(kv, &b);
    assert_int_equal(kv_free_tokens(kv), 256);
    kv_close(kv);
}

static void a_fork_shares_full_blocks_and_copies_the_part_filled_one(void **state)
{
    struct kv *kv = open_cache(256);
    struct kv_seq a = {0}, b = {0};
    int32_t tokens[20];
    const int32_t left = 500, right = 600;

    (void)state;
    count_up(tokens, 20, 0);
    kv_seq_begin(kv, &a, tokens, 20);
    assert_int_equal(feed(kv, &a, tokens, 20), 0);
    assert_int_equal(kv_seq_fork(kv, &a, &b), 0);
    assert_int_equal(b.n_tokens, 20);
    assert_memory_equal(b.tokens, tokens, sizeof tokens);
    assert_int_equal(kv_free_tokens(kv), 256 - 48);
    assert_int_equal(feed(kv, &a, &left, 1), 0);
    assert_int_equal(feed(kv, &b, &right, 1), 0);
    check_rows(kv, &a);
    check_rows(kv, &b);
    kv_seq_end(kv, &a);
    check_rows(kv, &b);
    kv_seq_end(kv, &b);
    assert_int_equal(kv_free_tokens(kv), 256);
    kv_close(kv);
}

static void a_fork_on_a_block_boundary_needs_no_block(void **state)
{
    struct kv *kv = open_cache(32);
    struct kv_seq a = {0}, b = {0};
    int32_t tokens[32];

    (void)state;
    count_up(tokens, 32, 0);
    kv_seq_begin(kv, &a, tokens, 32);
    assert_int_equal(feed(kv, &a, tokens, 32), 0);
    assert_int_equal(kv_free_tokens(kv), 0);
    assert_int_equal(kv_seq_fork(kv, &a, &b), 0);
    check_rows(kv, &b);
    kv_seq_end(kv, &b);
    kv_seq_end(kv, &a);
    kv_close(kv);
}

static void a_fork_without_room_leaves_nothing_behind(void **state)
{
    struct kv *kv = open_cache(32);
    struct kv_seq a = {0}, b = {0};
    int32_t tokens[20];

    (void)state;
    count_up(tokens, 20, 0);
    kv_seq_begin(kv, &a, tokens, 20);
    assert_int_equal(feed(kv, &a, tokens, 20), 0);
    assert_int_equal(kv_seq_fork(kv, &a, &b), ERR_BUSY);
    assert_int_equal(b.n_tokens, 0);
    assert_int_equal(b.n_blocks, 0);
    assert_null(b.blocks);
    kv_seq_end(kv, &a);
    assert_int_equal(kv_free_tokens(kv), 32);
    kv_close(kv);
}

static void a_reservation_that_does_not_fit_changes_nothing(void **state)
{
    struct kv *kv = open_cache(64);
    struct kv_seq a = {0}, b = {0};
    int32_t tokens[64];

    (void)state;
    count_up(tokens, 64, 0);
    kv_seq_begin(kv, &a, tokens, 40);
    assert_int_equal(feed(kv, &a, tokens, 40), 0);
    kv_seq_begin(kv, &b, tokens + 1, 17);
    assert_int_equal(kv_seq_reserve(kv, &b, 17), ERR_BUSY);
    assert_int_equal(b.n_blocks, 0);
    assert_int_equal(kv_free_tokens(kv), 16);
    assert_int_equal(kv_seq_reserve(kv, &a, 25), ERR_BUSY);
    assert_int_equal(a.n_blocks, 3);
    assert_int_equal(kv_seq_reserve(kv, &a, 24), 0);
    assert_int_equal(kv_seq_reserve(kv, &a, 24), 0); /* asked again, it has the room already */
    assert_int_equal(a.n_blocks, 4);
    check_rows(kv, &a);
    kv_seq_end(kv, &b);
    kv_seq_end(kv, &a);
    assert_int_equal(kv_free_tokens(kv), 64);
    kv_close(kv);
}

static void the_least_recently_used_beginning_is_overwritten_first(void **state)
{
    struct kv *kv = open_cache(96);
    struct kv_seq s = {0};
    int32_t a[33], b[33], c[33];

    (void)state;
    count_up(a, 33, 100);
    count_up(b, 33, 200);
    count_up(c, 33, 300);
    kv_seq_begin(kv, &s, a, 33);
    assert_int_equal(feed(kv, &s, a, 32), 0);
    kv_seq_end(kv, &s);
    kv_seq_begin(kv, &s, b, 33);
    assert_int_equal(feed(kv, &s, b, 32), 0);
    kv_seq_end(kv, &s);
    assert_int_equal(kv_seq_begin(kv, &s, a, 33), 32); /* a is now the newer one */
    kv_seq_end(kv, &s);
    kv_seq_begin(kv, &s, c, 33);
    assert_int_equal(feed(kv, &s, c, 33), 0); /* three blocks: two blank, one of b */
    kv_seq_end(kv, &s);
    assert_int_equal(kv_seq_begin(kv, &s, a, 33), 32);
    check_rows(kv, &s);
    kv_seq_end(kv, &s);
    /* of b the end went first, so its beginning is still of use */
    assert_int_equal(kv_seq_begin(kv, &s, b, 33), 16);
    check_rows(kv, &s);
    kv_seq_end(kv, &s);
    kv_close(kv);
}

static void a_held_block_is_never_overwritten(void **state)
{
    struct kv *kv = open_cache(64);
    struct kv_seq held = {0}, s = {0};
    int32_t tokens[32], other[32];

    (void)state;
    count_up(tokens, 32, 0);
    kv_seq_begin(kv, &held, tokens, 32);
    assert_int_equal(feed(kv, &held, tokens, 32), 0);
    for (int round = 0; round < 10; round++) {
        count_up(other, 32, 1000 * (round + 1));
        assert_int_equal(kv_seq_begin(kv, &s, other, 32), 0);
        assert_int_equal(feed(kv, &s, other, 32), 0);
        check_rows(kv, &s);
        check_rows(kv, &held);
        kv_seq_end(kv, &s);
    }
    kv_seq_end(kv, &held);
    kv_close(kv);
}

/* With 16 slots of the table and 16 blocks in it, several blocks share a slot; 4,000 further
 * beginnings that were never stored fall into the same slots. None may be taken for another. */
static void a_shared_slot_of_the_table_is_not_taken_for_equality(void **state)
{
    struct kv *kv = open_cache(256);
    struct kv_seq s = {0};
    int32_t tokens[17];

    (void)state;
    for (int i = 0; i < 16; i++) {
        count_up(tokens, 17, i * 1000);
        kv_seq_begin(kv, &s, tokens, 17);
        assert_int_equal(feed(kv, &s, tokens, 16), 0);
        kv_seq_end(kv, &s);
    }
    for (int i = 0; i < 4000; i++) {
        count_up(tokens, 17, i * 10 + 5);
        assert_int_equal(kv_seq_begin(kv, &s, tokens, 17), 0);
        kv_seq_end(kv, &s);
    }
    for (int i = 0; i < 16; i++) {
        count_up(tokens, 17, i * 1000);
        assert_int_equal(kv_seq_begin(kv, &s, tokens, 17), 16);
        check_rows(kv, &s);
        kv_seq_end(kv, &s);
    }
    kv_close(kv);
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Few token values, so that beginnings are shared often, and a cache that is always short. */
static void random_use_keeps_every_row_and_loses_no_block(void **state)
{
    enum { N = 6, STEPS = 20000, TOKENS = 144 };
    struct kv *kv = open_cache(TOKENS);
    struct kv_seq seqs[N] = {{0}};
    uint32_t seed = 1;
    int taken_over = 0, busy = 0;

    (void)state;
    for (int step = 0; step < STEPS; step++) {
        struct kv_seq *s = &seqs[next_random(&seed) % N];
        int32_t tokens[80];
        int n = 1 + (int)(next_random(&seed) % 80);
        uint32_t what = next_random(&seed) % 8;

        for (int i = 0; i < n; i++)
            tokens[i] = i % 16 == 0 ? (int32_t)(next_random(&seed) % 2) : 1;
        if (s->n_tokens == 0) {
            int cached = kv_seq_begin(kv, s, tokens, n);
            assert_true(cached < n);
            taken_over += cached;
            check_rows(kv, s);
            if (feed(kv, s, tokens + cached, n - cached) != 0)
                busy++;
        } else if (what < 4) {
            if (feed(kv, s, tokens, n % 8 + 1) != 0)
                busy++;
        } else if (what == 4) {
            struct kv_seq *to = &seqs[next_random(&seed) % N];
            if (to->n_blocks == 0 && kv_seq_fork(kv, s, to) == 0)
                check_rows(kv, to);
        } else {
            check_rows(kv, s);
            kv_seq_end(kv, s);
        }
    }
    assert_true(taken_over > 1000);
    assert_true(busy > 100);
    for (int i = 0; i < N; i++) {
        check_rows(kv, &seqs[i]);
        kv_seq_end(kv, &seqs[i]);
    }
    assert_int_equal(kv_free_tokens(kv), TOKENS);
    kv_close(kv);
}

static void sizes_that_make_no_sense_are_refused(void **state)
{
    static const struct {
        struct kv_shape shape;
        int code;
    } cases[] = {
        {{.layers = 0, .width = 8, .tokens = 16}, ERR_INVALID},
        {{.layers = 2, .width = 0, .tokens = 16}, ERR_INVALID},
        {{.layers = 2, .width = 8, .tokens = 0}, ERR_INVALID},
        {{.layers = 1 << 30, .width = 1 << 30, .tokens = 1 << 30}, ERR_LIMIT},
        {{.layers = 1, .width = 1, .tokens = INT32_MAX}, ERR_LIMIT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kv *kv = NULL;
        struct error e = {0};
        assert_int_equal(kv_open(&cases[i].shape, &kv, &e), cases[i].code);
        assert_null(kv);
        assert_non_null(strstr(e.text, "KV cache"));
    }
}

static void halves_take_half_the_room_and_untouched_blocks_none(void **state)
{
    struct kv_shape shape = {.layers = 61, .width = 576, .tokens = 131072, .f32 = true};
    struct kv *kv = NULL;
    struct rusage before, after;
    struct error e;
    size_t full;

    (void)state;
    getrusage(RUSAGE_SELF, &before);
    assert_int_equal(kv_open(&shape, &kv, &e), 0);
    full = kv_bytes(kv);
    assert_int_equal(full, (size_t)61 * 576 * 4 * 131072);
    assert_true(kv_is_f32(kv));
    kv_close(kv);
    shape.f32 = false;
    assert_int_equal(kv_open(&shape, &kv, &e), 0);
    assert_int_equal(kv_bytes(kv) * 2, full);
    assert_false(kv_is_f32(kv));
    kv_close(kv);
    getrusage(RUSAGE_SELF, &after);
    assert_true(after.ru_maxrss - before.ru_maxrss < 64 * 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_one_block_lie_one_after_another),
        cmocka_unit_test(a_second_sequence_takes_over_whole_blocks),
        cmocka_unit_test(the_last_token_is_never_taken_over),
        cmocka_unit_test(a_block_is_known_by_everything_before_it),
        cmocka_unit_test(equal_blocks_filled_side_by_side_become_one),
        cmocka_unit_test(a_fork_shares_full_blocks_and_copies_the_part_filled_one),
        cmocka_unit_test(a_fork_on_a_block_boundary_needs_no_block),
        cmocka_unit_test(a_fork_without_room_leaves_nothing_behind),
        cmocka_unit_test(a_reservation_that_does_not_fit_changes_nothing),
        cmocka_unit_test(the_least_recently_used_beginning_is_overwritten_first),
        cmocka_unit_test(a_held_block_is_never_overwritten),
        cmocka_unit_test(a_shared_slot_of_the_table_is_not_taken_for_equality),
        cmocka_unit_test(random_use_keeps_every_row_and_loses_no_block),
        cmocka_unit_test(sizes_that_make_no_sense_are_refused),
        cmocka_unit_test(halves_take_half_the_room_and_untouched_blocks_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
