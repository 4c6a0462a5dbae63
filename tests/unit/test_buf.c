/* The growable buffer and the arena. */
#include "base/buf.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void what_is_added_stands_in_order_with_a_nul(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    assert_null(b.data);
    buf_adds(&b, "one ");
    buf_addc(&b, 't');
    buf_add(&b, "wo\0x", 4);
    buf_addf(&b, "%d-%s", 42, "end");
    assert_int_equal(b.len, 15);
    assert_memory_equal(b.data, "one two\0x42-end", 16);
    buf_done(&b);
    assert_null(b.data);
}

static void formatted_text_and_numbers_grow_the_buffer(void **state)
{
    (void)state;
    static const int64_t numbers[] = {0, 7, -1, 1000000, INT64_MAX, INT64_MIN};
    struct buf a, b;
    buf_init(&a, 100000);
    buf_init(&b, 100000);
    for (int i = 0; i < 1000; i++) {
        int64_t n = numbers[(size_t)i % (sizeof(numbers) / sizeof(numbers[0]))];
        char text[64];
        snprintf(text, sizeof(text), "%lld,%s", (long long)n, i % 3 != 0 ? "" : "twelve bytes");
        buf_adds(&a, text);
        if (i % 2 != 0) {
            buf_addf(&b, "%lld,%s", (long long)n, i % 3 != 0 ? "" : "twelve bytes");
        } else {
            buf_addi(&b, n);
            buf_addc(&b, ',');
            buf_addf(&b, "%s", i % 3 != 0 ? "" : "twelve bytes");
        }
    }
    assert_int_equal(a.len, b.len);
    assert_string_equal(a.data, b.data);
    buf_done(&a);
    buf_done(&b);
    buf_init(&b, 3);
    buf_addi(&b, 999);
    assert_string_equal(b.data, "999");
    buf_addi(&b, 1);
    assert_true(b.failed);
}

static void the_ceiling_is_reached_and_not_passed(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    for (int i = 0; i < 100; i++)
        buf_addc(&b, 'x');
    assert_false(b.failed);
    assert_int_equal(b.len, 100);
    buf_addc(&b, 'x');
    assert_true(b.failed);
    assert_int_equal(b.len, 0);
    assert_null(b.data);
    buf_adds(&b, "more");
    buf_addf(&b, "%d", 1);
    assert_int_equal(b.len, 0);
    buf_reset(&b);
    buf_adds(&b, "again");
    assert_string_equal(b.data, "again");
    buf_addf(&b, "%200d", 1);
    assert_true(b.failed);
    buf_done(&b);
}

static void a_reset_keeps_the_memory(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, SIZE_MAX);
    buf_adds(&b, "some text");
    const char *memory = b.data;
    buf_reset(&b);
    assert_string_equal(b.data, "");
    buf_adds(&b, "other");
    assert_ptr_equal(b.data, memory);
    buf_done(&b);
}

static void room_that_is_reserved_is_no_content_and_keeps_to_the_ceiling(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 100);
    buf_reserve(&b, 50);
    assert_int_equal(b.len, 0);
    assert_true(b.cap >= 50);
    const char *at = b.data;
    for (int i = 0; i < 50; i++)
        buf_addc(&b, 'a');
    assert_ptr_equal(b.data, at);
    buf_reserve(&b, 1000);
    assert_false(b.failed);
    assert_int_equal(b.cap, 100);
    assert_int_equal(b.len, 50);
    buf_done(&b);
}

static void bytes_drop_from_the_front(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    buf_drop(&b, 3);
    buf_adds(&b, "abcdef");
    buf_drop(&b, 2);
    assert_string_equal(b.data, "cdef");
    buf_drop(&b, 99);
    assert_string_equal(b.data, "");
    buf_done(&b);
}

static void taken_memory_is_the_callers(void **state)
{
    (void)state;
    struct buf b;
    size_t len = 9;
    buf_init(&b, 100);
    assert_null(buf_take(&b, &len));
    assert_int_equal(len, 0);
    buf_adds(&b, "mine");
    char *text = buf_take(&b, &len);
    assert_string_equal(text, "mine");
    assert_int_equal(len, 4);
    free(text);
    assert_null(b.data);
    buf_adds(&b, "x");
    buf_reset(&b);
    assert_null(buf_take(&b, NULL));
}

static void an_arena_gives_zeroed_aligned_pieces(void **state)
{
    (void)state;
    struct arena *a = arena_new();
    assert_int_equal(arena_bytes(a), 0);
    for (size_t n = 0; n < 5000; n += 7) {
        unsigned char *p = arena_alloc(a, n);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, n);
    }
    char *large = arena_alloc(a, 1 << 20);
    large[(1 << 20) - 1] = 1;
    assert_string_equal(arena_strndup(a, "abcdef", 3), "abc");
    assert_true(arena_bytes(a) > 1 << 20);
    arena_free(a);
    arena_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_added_stands_in_order_with_a_nul),
        cmocka_unit_test(formatted_text_and_numbers_grow_the_buffer),
        cmocka_unit_test(the_ceiling_is_reached_and_not_passed),
        cmocka_unit_test(a_reset_keeps_the_memory),
        cmocka_unit_test(room_that_is_reserved_is_no_content_and_keeps_to_the_ceiling),
        cmocka_unit_test(bytes_drop_from_the_front),
        cmocka_unit_test(taken_memory_is_the_callers),
        cmocka_unit_test(an_arena_gives_zeroed_aligned_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
