/* Log lines, and the time and randomness that stand in them. */
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char logged[200000];
static int saved_stderr;
static FILE *file;

static int64_t fixed_time(void)
{
    return 1795420800123; /* 2026-11-23T08:00:00.123Z */
}

static int set_up(void **state)
{
    (void)state;
    file = tmpfile();
    saved_stderr = dup(STDERR_FILENO);
    clock_set_unix_ms(fixed_time);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fclose(file);
    close(saved_stderr);
    clock_set_unix_ms(NULL);
    log_setup(LOG_INFO_LEVEL, false);
    return 0;
}

static void begin(void)
{
    dup2(fileno(file), STDERR_FILENO);
}

static const char *lines(void)
{
    dup2(saved_stderr, STDERR_FILENO);
    rewind(file);
    size_t n = fread(logged, 1, sizeof(logged) - 1, file);
    logged[n] = '\0';
    rewind(file);
    assert_int_equal(ftruncate(fileno(file), 0), 0);
    return logged;
}

static void a_text_line_has_time_level_event_and_text(void **state)
{
    (void)state;
    begin();
    log_line(LOG_INFO_LEVEL, "start", "listening on %s", "127.0.0.1:80");
    log_line(LOG_ERROR_LEVEL, "store", "disk full");
    assert_string_equal(lines(), "2026-11-23T08:00:00.123Z INFO start listening on 127.0.0.1:80\n"
                                 "2026-11-23T08:00:00.123Z ERROR store disk full\n");
}

static void lines_below_the_level_are_not_written(void **state)
{
    (void)state;
    log_setup(LOG_WARN_LEVEL, false);
    begin();
    log_line(LOG_INFO_LEVEL, "a", "x");
    log_fields(LOG_DEBUG_LEVEL, "b", "\"c\":1");
    log_line(LOG_WARN_LEVEL, "d", "y");
    assert_string_equal(lines(), "2026-11-23T08:00:00.123Z WARN d y\n");
    assert_false(log_on(LOG_INFO_LEVEL));
    assert_true(log_on(LOG_ERROR_LEVEL));
}

static void nobody_can_forge_a_line(void **state)
{
    (void)state;
    begin();
    log_line(LOG_INFO_LEVEL, "e", "a\nb\r\x1b[2J\x7f\xff\xc2\x9b \xc3\xa9");
    assert_string_equal(lines(), "2026-11-23T08:00:00.123Z INFO e "
                                 "a\\nb\\x0d\\x1b[2J\\x7f\\xff\\xc2\\x9b \xc3\xa9\n");
    log_setup(LOG_INFO_LEVEL, true);
    begin();
    log_line(LOG_INFO_LEVEL, "e", "a\n\"b\"\xff");
    assert_string_equal(lines(), "{\"time\":\"2026-11-23T08:00:00.123Z\",\"level\":\"info\","
                                 "\"event\":\"e\",\"text\":\"a\\n\\\"b\\\"\xef\xbf\xbd\"}\n");
}

static void fields_are_json_or_key_value(void **state)
{
    (void)state;
    static const char fields[] = "\"status\":200,\"path\":\"/v1\",\"name\":\"a b\\n\",\"n\":null,"
                                 "\"list\":[1,\"x\"],\"empty\":\"\"";
    begin();
    log_fields(LOG_INFO_LEVEL, "access", fields);
    assert_string_equal(lines(), "2026-11-23T08:00:00.123Z INFO access status=200 path=/v1 "
                                 "name=\"a b\\n\" n=null list=[1,\"x\"] empty=\"\"\n");
    log_setup(LOG_INFO_LEVEL, true);
    begin();
    log_fields(LOG_INFO_LEVEL, "access", fields);
    log_fields(LOG_INFO_LEVEL, "access", "");
    const char *text = lines();
    const char *second = strchr(text, '\n') + 1;
    struct json *root;
    struct error e;
    assert_int_equal(json_parse(text, (size_t)(second - text), 10, &root, &e), 0);
    assert_true(json_double(json_get(root, "status", NULL)) == 200);
    json_free(root);
    assert_int_equal(json_parse(second, strlen(second), 10, &root, &e), 0);
    assert_int_equal(json_len(root), 3);
    json_free(root);
}

static void a_line_too_long_is_told_of_by_its_event(void **state)
{
    (void)state;
    static char much[100000];
    memset(much, 'x', sizeof(much) - 1);
    begin();
    log_line(LOG_INFO_LEVEL, "e", "%s", much);
    log_fields(LOG_INFO_LEVEL, "f", much);
    assert_string_equal(lines(), "2026-11-23T08:00:00.123Z INFO e (text too long)\n"
                                 "2026-11-23T08:00:00.123Z INFO f (line too long)\n");
}

static void count_wakes(void *arg)
{
    ++*(int *)arg;
}

static void what_a_loop_logs_waits_until_it_is_flushed(void **state)
{
    (void)state;
    int wakes = 0;
    log_gather(count_wakes, &wakes);
    begin();
    log_line(LOG_INFO_LEVEL, "a", "x");
    log_fields(LOG_WARN_LEVEL, "b", "\"c\":1");
    assert_int_equal(wakes, 1);
    assert_string_equal(lines(), "");
    begin();
    log_flush();
    assert_string_equal(lines(), "2026-11-23T08:00:00.123Z INFO a x\n"
                                 "2026-11-23T08:00:00.123Z WARN b c=1\n");
    begin();
    log_flush();
    assert_string_equal(lines(), "");
    log_line(LOG_INFO_LEVEL, "d", "y");
    assert_int_equal(wakes, 2);
    begin();
    log_gather(NULL, NULL);
    log_line(LOG_INFO_LEVEL, "e", "z");
    assert_string_equal(lines(), "2026-11-23T08:00:00.123Z INFO d y\n"
                                 "2026-11-23T08:00:00.123Z INFO e z\n");
    assert_int_equal(wakes, 2);
}

static void *log_from_a_thread(void *arg)
{
    log_line(LOG_INFO_LEVEL, "thread", "%s", (const char *)arg);
    return NULL;
}

static void an_error_and_another_thread_take_along_what_waits(void **state)
{
    (void)state;
    int wakes = 0;
    pthread_t thread;
    log_gather(count_wakes, &wakes);
    begin();
    log_line(LOG_INFO_LEVEL, "a", "x");
    log_line(LOG_ERROR_LEVEL, "b", "y");
    assert_string_equal(lines(), "2026-11-23T08:00:00.123Z INFO a x\n"
                                 "2026-11-23T08:00:00.123Z ERROR b y\n");
    begin();
    log_line(LOG_INFO_LEVEL, "c", "x");
    assert_int_equal(pthread_create(&thread, NULL, log_from_a_thread, "z"), 0);
    pthread_join(thread, NULL);
    assert_string_equal(lines(), "2026-11-23T08:00:00.123Z INFO c x\n"
                                 "2026-11-23T08:00:00.123Z INFO thread z\n");
    assert_int_equal(wakes, 2);
    log_gather(NULL, NULL);
}

static void much_that_waits_is_written_without_being_asked(void **state)
{
    (void)state;
    static char text[8000];
    int wakes = 0;
    memset(text, 'x', sizeof(text) - 1);
    log_gather(count_wakes, &wakes);
    begin();
    for (int i = 0; i < 25; i++)
        log_line(LOG_INFO_LEVEL, "a", "%s", text);
    size_t written = strlen(lines());
    assert_true(written > 8000 && written < 25 * 8000);
    begin();
    log_gather(NULL, NULL);
    written += strlen(lines());
    assert_int_equal(written, 25 * (7999 + strlen("2026-11-23T08:00:00.123Z INFO a \n")));
    assert_true(wakes > 0);
}

static void a_character_to_escape_is_found_wherever_it_stands(void **state)
{
    (void)state;
    static const unsigned char odd[] = {0x01, 0x1f, 0x7f, 0x80, 0xff};
    for (size_t i = 0; i < sizeof(odd); i++) {
        for (int at = 0; at < 20; at++) {
            char text[21], expected[100];
            memset(text, '~', 20);
            text[20] = '\0';
            text[at] = (char)odd[i];
            begin();
            log_line(LOG_INFO_LEVEL, "e", "%s", text);
            snprintf(expected, sizeof(expected), "2026-11-23T08:00:00.123Z INFO e %.*s\\x%02x%s\n",
                     at, text, odd[i], text + at + 1);
            assert_string_equal(lines(), expected);
        }
    }
}

static void what_is_no_list_of_members_stands_in_the_line(void **state)
{
    (void)state;
    static const char *const odd[] = {"\"a", "\"a\"", "\"a\":[1", "\"a\":\"b\\", "x"};
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        char expected[100];
        begin();
        log_fields(LOG_INFO_LEVEL, "e", odd[i]);
        snprintf(expected, sizeof(expected), "2026-11-23T08:00:00.123Z INFO e %s\n", odd[i]);
        assert_string_equal(lines(), expected);
    }
    begin();
    log_fields(LOG_INFO_LEVEL, "e", "\"a\":\"b=c\",\"d\":{\"e\":\"},\"},\"f\":\"\\\"\"");
    assert_string_equal(lines(), "2026-11-23T08:00:00.123Z INFO e a=\"b=c\" d={\"e\":\"},\"} "
                                 "f=\"\\\"\"\n");
}

static void counting_bytes(void *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)out)[i] = (unsigned char)(0xf0 + i);
}

static void identifiers_are_made_of_random_bytes(void **state)
{
    (void)state;
    char uuid[37], other[37], hex[8];
    random_set(counting_bytes);
    random_uuid(uuid);
    random_hex(hex, 7);
    assert_string_equal(uuid, "f0f1f2f3-f4f5-46f7-b8f9-fafbfcfdfeff");
    assert_string_equal(hex, "f0f1f2f");
    random_set(NULL);
    random_uuid(uuid);
    random_uuid(other);
    assert_string_not_equal(uuid, other);
    char last[65];
    random_hex(last, 64);
    for (int i = 0; i < 1000; i++) { /* more than the pool holds */
        char next[65];
        random_hex(next, 64);
        assert_int_equal(strlen(next), 64);
        assert_string_not_equal(next, last);
        memcpy(last, next, sizeof(last));
    }
}

static void the_steady_clock_does_not_go_back(void **state)
{
    (void)state;
    int64_t before_us = clock_mono_us();
    assert_true(clock_mono_us() >= before_us);
    assert_true(clock_mono_ms() >= before_us / 1000);
    clock_set_unix_ms(NULL);
    assert_true(clock_unix_ms() > 1700000000000);
}

#define a_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        a_test(a_text_line_has_time_level_event_and_text),
        a_test(lines_below_the_level_are_not_written),
        a_test(nobody_can_forge_a_line),
        a_test(fields_are_json_or_key_value),
        a_test(a_line_too_long_is_told_of_by_its_event),
        a_test(what_a_loop_logs_waits_until_it_is_flushed),
        a_test(an_error_and_another_thread_take_along_what_waits),
        a_test(much_that_waits_is_written_without_being_asked),
        a_test(a_character_to_escape_is_found_wherever_it_stands),
        a_test(what_is_no_list_of_members_stands_in_the_line),
        a_test(identifiers_are_made_of_random_bytes),
        a_test(the_steady_clock_does_not_go_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
