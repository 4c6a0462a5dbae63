/* The decoder of chunked bodies. */
#include "http/chunked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CEILING = 1000 };

/* Feeds pieces of `step` bytes until the decoder has a result; tells how many it used. */
static enum chunked_result decode(const char *text, size_t len, size_t step, struct buf *out,
                                  size_t *used)
{
    struct chunked c;
    enum chunked_result result = CHUNKED_MORE;
    chunked_init(&c);
    *used = 0;
    while (*used < len && result == CHUNKED_MORE) {
        size_t n = len - *used < step ? len - *used : step, took;
        char *piece = malloc(n); /* exact, so that a read past the end shows */
        memcpy(piece, text + *used, n);
        result = chunked_feed(&c, piece, n, &took, out);
        free(piece);
        *used += took;
        if (result == CHUNKED_MORE)
            assert_int_equal(took, n);
    }
    return result;
}

static void a_body_is_the_same_however_it_is_cut(void **state)
{
    (void)state;
    static const char text[] = "4;name=\"v a l\"\r\nWiki\r\n00A\r\n0123456789\r\n1;\t\r\n!\r\n"
                               "0;last\r\nSum: abc\r\nEmpty:\r\n\r\nGET / ";
    for (size_t step = 1; step < sizeof(text); step++) {
        struct buf out;
        size_t used;
        buf_init(&out, CEILING);
        assert_int_equal(decode(text, sizeof(text) - 1, step, &out, &used), CHUNKED_DONE);
        assert_string_equal(out.data, "Wiki0123456789!");
        assert_string_equal(text + used, "GET / ");
        buf_done(&out);
    }
}

static const struct {
    const char *text;
    enum chunked_result result;
} rows[] = {
    {"0\r\n\r\n", CHUNKED_DONE},
    {"000000000000000\r\n\r\n", CHUNKED_DONE},
    {"0\r\n", CHUNKED_MORE},
    {"3\r\nab", CHUNKED_MORE},
    {"3e8\r\n", CHUNKED_MORE},
    {"3e9\r\n", CHUNKED_LARGE},
    {"1\r\na\r\n3e8\r\n", CHUNKED_LARGE},
    {"fffffffffffffff\r\n", CHUNKED_LARGE},
    {"0000000000000000\r\n", CHUNKED_BAD},
    {"10000000000000003\r\n", CHUNKED_BAD},
    {"\r\n", CHUNKED_BAD},
    {" 3\r\nabc\r\n", CHUNKED_BAD},
    {"3 \r\nabc\r\n", CHUNKED_BAD},
    {"0x3\r\nabc\r\n", CHUNKED_BAD},
    {"+3\r\nabc\r\n", CHUNKED_BAD},
    {"-3\r\nabc\r\n", CHUNKED_BAD},
    {";x\r\n", CHUNKED_BAD},
    {"3\nabc\r\n", CHUNKED_BAD},
    {"3\rabc\r\n", CHUNKED_BAD},
    {"3;a\nabc\r\n", CHUNKED_BAD},
    {"3;a\x01\r\nabc\r\n", CHUNKED_BAD},
    {"3\r\nabcd\r\n", CHUNKED_BAD},
    {"3\r\nabc\n", CHUNKED_BAD},
    {"3\r\nabc\r0", CHUNKED_BAD},
    {"0\r\n\n", CHUNKED_BAD},
    {"0\r\n\rx", CHUNKED_BAD},
    {"0\r\nno colon\r\n", CHUNKED_BAD},
    {"0\r\nnocolon\r\n", CHUNKED_BAD},
    {"0\r\n: x\r\n", CHUNKED_BAD},
    {"0\r\n folded: x\r\n", CHUNKED_BAD},
    {"0\r\nA: b\nC: d\r\n", CHUNKED_BAD},
    {"0\r\nA: \x7f\r\n", CHUNKED_BAD},
};

static void framing_that_is_not_exact_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t step = 1; step < 40; step += 13) {
            struct buf out;
            size_t used;
            buf_init(&out, CEILING);
            enum chunked_result result =
                decode(rows[i].text, strlen(rows[i].text), step, &out, &used);
            if (result != rows[i].result)
                fail_msg("%s: %d", rows[i].text, (int)result);
            buf_done(&out);
        }
    }
}

static void what_nobody_reads_is_bounded(void **state)
{
    (void)state;
    static const char *const starts[] = {"0\r\nA: ", "0;x"};
    for (size_t i = 0; i < 2; i++) {
        struct chunked c;
        struct buf out;
        size_t used, fed = 0;
        buf_init(&out, CEILING);
        chunked_init(&c);
        assert_int_equal(chunked_feed(&c, starts[i], strlen(starts[i]), &used, &out), CHUNKED_MORE);
        while (chunked_feed(&c, "b", 1, &used, &out) == CHUNKED_MORE)
            fed++;
        assert_in_range(fed, 8000, 8192);
    }
    /* Many small extensions count together. */
    struct chunked c;
    struct buf out;
    size_t used, chunks = 0;
    buf_init(&out, CEILING * 100);
    chunked_init(&c);
    while (chunked_feed(&c, "1;extension\r\na\r\n", 16, &used, &out) == CHUNKED_MORE)
        chunks++;
    assert_in_range(chunks, 800, 1000);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_is_the_same_however_it_is_cut),
        cmocka_unit_test(framing_that_is_not_exact_is_refused),
        cmocka_unit_test(what_nobody_reads_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
