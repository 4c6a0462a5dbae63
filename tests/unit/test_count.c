/*
 * Counting tokens without weights: the built-in model's file, Kimi's tiktoken.model where a
 * machine has it, and files that are neither.
 */
#include "base/mem.h"
#include "engine/count.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char nano[] = "models/nano/moongate-nano.gguf";

static struct engine_text text(const char *s)
{
    return (struct engine_text){.data = s, .len = strlen(s)};
}

static int64_t hello(const struct token_count *t, bool thinking, const char *extra)
{
    struct engine_message m = {.role = ENGINE_USER, .content = text("Hello")};
    int64_t n = 0;
    assert_int_equal(token_count_prompt(t, &m, 1, thinking, text(extra), &n, NULL), 0);
    return n;
}

static void a_gguf_counts_as_the_engine_does(void **state)
{
    struct token_count *t;
    struct error e = {0};
    (void)state;
    assert_int_equal(token_count_open(nano, &t, &e), 0);
    assert_int_equal(hello(t, true, ""), 9);
    assert_int_equal(hello(t, false, ""), 10);
    assert_true(token_count_text(t, "Hello", 5) >= 1);
    assert_int_equal(token_count_text(t, "", 0), 0);
    token_count_close(t);
}

static void what_stands_besides_in_a_prompt_is_counted_as_text(void **state)
{
    struct token_count *t;
    struct error e = {0};
    (void)state;
    assert_int_equal(token_count_open(nano, &t, &e), 0);
    assert_int_equal(hello(t, true, "[{\"type\":\"function\"}]"),
                     9 + token_count_text(t, "[{\"type\":\"function\"}]", 21));
    token_count_close(t);
}

static void the_vocabulary_as_kimi_publishes_it_is_read(void **state)
{
    const char *path = getenv("MOONGATE_KIMI_TIKTOKEN");
    struct token_count *t;
    struct error e = {0};
    (void)state;
    if (!path)
        path = "../shared/kimi/tiktoken.model";
    if (access(path, R_OK) != 0)
        skip();
    assert_int_equal(token_count_open(path, &t, &e), 0);
    assert_int_equal(hello(t, true, ""), 9); /* the tutorial's own count */
    assert_int_equal(token_count_text(t, "hi, who are you?", 16), 6);
    token_count_close(t);
}

static void refuse(const char *content, const char *what)
{
    char path[] = P_tmpdir "/moongate-count-XXXXXX";
    struct token_count *t = NULL;
    struct error e = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    close(fd);
    assert_int_equal(token_count_open(path, &t, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, what));
    assert_null(t);
    unlink(path);
}

static void a_file_that_is_no_vocabulary_is_refused_with_its_line(void **state)
{
    (void)state;
    refuse("IQ== 0\nIg== 1\nthis is no rank\n", ":3: not a line of a tiktoken.model");
    refuse("IQ== 0\nIg== 2\n", ":2: not a line");
    refuse("IQ== 0\nIg== 1\n", "has 2 ranks");
    refuse("", "has 0 ranks");
    refuse("GGUF", "");
}

static void a_missing_file_is_named(void **state)
{
    struct token_count *t = NULL;
    struct error e = {0};
    (void)state;
    assert_int_equal(token_count_open("no/such/file", &t, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "no/such/file"));
}

static void an_estimate_is_never_nothing_for_something(void **state)
{
    (void)state;
    assert_int_equal(token_estimate(0), 0);
    assert_int_equal(token_estimate(1), 1);
    assert_true(token_estimate(4000) > 800 && token_estimate(4000) < 1200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gguf_counts_as_the_engine_does),
        cmocka_unit_test(what_stands_besides_in_a_prompt_is_counted_as_text),
        cmocka_unit_test(the_vocabulary_as_kimi_publishes_it_is_read),
        cmocka_unit_test(a_file_that_is_no_vocabulary_is_refused_with_its_line),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(an_estimate_is_never_nothing_for_something),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
