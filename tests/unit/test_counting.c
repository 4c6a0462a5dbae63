/*
 * The thread that counts tokens beside the loop, with the built-in model's tokenizer.
 */
#include "backend/counting.h"
#include "base/mem.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static const char nano[] = "models/nano/moongate-nano.gguf";

enum { ANSWERS = 3000 };

struct rig {
    struct event_base *base;
    struct counting *counting;
    int tokenizer;
    int n;
    struct {
        uint64_t number;
        enum counting_what what;
        int64_t tokens;
    } got[ANSWERS];
};

static void on_count(void *arg, uint64_t number, enum counting_what what, int64_t tokens)
{
    struct rig *r = arg;
    assert_true(r->n < ANSWERS);
    r->got[r->n].number = number;
    r->got[r->n].what = what;
    r->got[r->n++].tokens = tokens;
}

static struct rig *rig_open(void)
{
    struct rig *r = mem_zalloc(sizeof *r);
    struct error e = {0};
    r->base = event_base_new();
    assert_int_equal(counting_open(r->base, on_count, r, &r->counting, &e), 0);
    assert_int_equal(counting_tokenizer(r->counting, nano, &r->tokenizer, &e), 0);
    return r;
}

static void rig_close(struct rig *r)
{
    counting_close(r->counting);
    event_base_free(r->base);
    free(r);
}

static void wait_for(struct rig *r, int n)
{
    while (r->n < n)
        event_base_loop(r->base, EVLOOP_ONCE);
}

static struct api_request hello(struct api_message *m)
{
    *m = (struct api_message){.role = API_USER, .content = {"Hello", 5}};
    return (struct api_request){.messages = m, .n_messages = 1, .thinking = true};
}

static void prompts_and_replies_come_back_with_their_calls_number(void **state)
{
    struct rig *r = rig_open();
    struct api_message m;
    struct api_request request = hello(&m);
    (void)state;
    assert_int_equal(counting_prompt(r->counting, 7, r->tokenizer, &request), 0);
    assert_int_equal(counting_reply(r->counting, 8, r->tokenizer, "", 0), 0);
    wait_for(r, 2);
    assert_int_equal(r->got[0].number, 7);
    assert_int_equal(r->got[0].what, COUNTING_PROMPT);
    assert_int_equal(r->got[0].tokens, 9);
    assert_int_equal(r->got[1].number, 8);
    assert_int_equal(r->got[1].what, COUNTING_REPLY);
    assert_int_equal(r->got[1].tokens, 0);
    rig_close(r);
}

static void nothing_is_told_from_inside_the_order(void **state)
{
    struct rig *r = rig_open();
    (void)state;
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(counting_reply(r->counting, i, r->tokenizer, "a word", 6), 0);
    assert_int_equal(r->n, 0);
    wait_for(r, 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(r->got[i].number, i);
    rig_close(r);
}

static void a_tokenizer_is_opened_once_a_path(void **state)
{
    struct rig *r = rig_open();
    struct error e = {0};
    int again = -1;
    (void)state;
    assert_int_equal(counting_tokenizer(r->counting, nano, &again, &e), 0);
    assert_int_equal(again, r->tokenizer);
    counting_engine(r->counting, nano, NULL, 0);
    assert_int_equal(counting_tokenizer(r->counting, "engine", &again, &e), 0);
    assert_int_not_equal(again, r->tokenizer);
    assert_int_equal(counting_tokenizer(r->counting, "no/such", &again, &e), ERR_NOT_FOUND);
    rig_close(r);
}

static void texts_past_the_bound_are_refused_and_lose_nothing(void **state)
{
    struct rig *r = rig_open();
    size_t big = (size_t)65 << 20;
    char *text = mem_alloc(big);
    memset(text, 'a', big);
    (void)state;
    assert_int_equal(counting_reply(r->counting, 1, r->tokenizer, text, big), ERR_BUSY);
    assert_int_equal(counting_reply(r->counting, 2, r->tokenizer, "a", 1), 0);
    wait_for(r, 1);
    assert_int_equal(r->got[0].number, 2);
    free(text);
    rig_close(r);
}

static void closing_with_work_under_way_leaks_nothing(void **state)
{
    struct rig *r = rig_open();
    struct api_message m;
    struct api_request request = hello(&m);
    (void)state;
    for (uint64_t i = 0; i < 2000; i++)
        counting_prompt(r->counting, i, r->tokenizer, &request);
    rig_close(r);
    counting_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_and_replies_come_back_with_their_calls_number),
        cmocka_unit_test(nothing_is_told_from_inside_the_order),
        cmocka_unit_test(a_tokenizer_is_opened_once_a_path),
        cmocka_unit_test(texts_past_the_bound_are_refused_and_lose_nothing),
        cmocka_unit_test(closing_with_work_under_way_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
