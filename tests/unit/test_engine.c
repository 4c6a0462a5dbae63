/*
 * The engine as its users see it: jobs in, events out, with the built-in model. What is computed
 * is checked elsewhere (test_model); here it is that a reply does not depend on what runs beside
 * it, and that calls join, leave, wait and end as promised.
 */
#include "base/buf.h"
#include "base/mailbox.h"
#include "engine/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RUNS_MAX = 64, CHOICES_MAX = 4 };

static const char model_path[] = "models/nano/moongate-nano.gguf";

/* What became of one job. */
struct run {
    struct buf reasoning[CHOICES_MAX], content[CHOICES_MAX];
    int finished[CHOICES_MAX]; /* how many times */
    enum engine_finish finish[CHOICES_MAX];
    struct engine_event started, end;
    bool has_started, has_ended;
    size_t n_logprobs;
    float first_logprob, first_top;
    int order; /* which job ended first */
};

struct bench {
    struct mailbox *events;
    struct engine *engine;
    struct run runs[RUNS_MAX]; /* by number */
    int ended;
};

static struct engine_options options(void)
{
    return (struct engine_options){.gguf_path = model_path,
                                   .threads = 2,
                                   .sequences = 16,
                                   .queue = 64,
                                   .chunk_tokens = 64,
                                   .kv_tokens = 16384};
}

static struct bench *bench_open(const struct engine_options *o)
{
    struct error e = {0};
    struct bench *b = mem_zalloc(sizeof *b);
    assert_int_equal(mailbox_open(sizeof(struct engine_event), 1 << 16, &b->events, &e), 0);
    if (engine_open(o, b->events, &b->engine, &e))
        fail_msg("%s", e.text);
    for (int i = 0; i < RUNS_MAX; i++)
        for (int k = 0; k < CHOICES_MAX; k++) {
            buf_init(&b->runs[i].reasoning[k], 1 << 20);
            buf_init(&b->runs[i].content[k], 1 << 20);
        }
    return b;
}

static void take_piece(struct run *r, const struct engine_event *ev)
{
    const struct engine_piece *p = ev->piece;
    buf_add(p->reasoning ? &r->reasoning[ev->choice] : &r->content[ev->choice], p->text, p->len);
    if (p->n_logprobs && !r->n_logprobs) {
        r->first_logprob = p->logprobs[0].logprob;
        r->first_top = p->logprobs[0].n_top ? p->logprobs[0].top[0].logprob : 0;
    }
    r->n_logprobs += p->n_logprobs;
    arena_free(ev->piece_arena);
}

static void take_event(struct bench *b, const struct engine_event *ev)
{
    struct run *r = &b->runs[ev->number];
    assert_false(r->has_ended);
    switch (ev->kind) {
    case ENGINE_STARTED:
        r->started = *ev;
        r->has_started = true;
        break;
    case ENGINE_PIECE:
        assert_true(r->has_started);
        take_piece(r, ev);
        break;
    case ENGINE_FINISH:
        r->finished[ev->choice]++;
        r->finish[ev->choice] = ev->finish;
        break;
    case ENGINE_END:
        r->end = *ev;
        r->has_ended = true;
        r->order = b->ended++;
        break;
    }
}

static void wait_event(struct bench *b)
{
    struct engine_event ev;
    assert_true(mailbox_wait(b->events, &ev, 60000));
    take_event(b, &ev);
}

static struct run *wait_end(struct bench *b, uint64_t number)
{
    while (!b->runs[number].has_ended)
        wait_event(b);
    return &b->runs[number];
}

static void bench_close(struct bench *b)
{
    struct engine_event ev;
    engine_close(b->engine);
    while (mailbox_take(b->events, &ev))
        if (ev.kind == ENGINE_PIECE)
            arena_free(ev.piece_arena);
    mailbox_close(b->events);
    for (int i = 0; i < RUNS_MAX; i++)
        for (int k = 0; k < CHOICES_MAX; k++) {
            buf_done(&b->runs[i].reasoning[k]);
            buf_done(&b->runs[i].content[k]);
        }
    free(b);
}

static struct engine_job *job(uint64_t number, const char *text, int max_tokens)
{
    struct engine_job *j = engine_job_new();
    struct engine_message *m = arena_alloc(j->arena, sizeof *m);
    m->role = ENGINE_USER;
    m->content.len = strlen(text);
    m->content.data = arena_strndup(j->arena, text, m->content.len);
    j->messages = m;
    j->n_messages = 1;
    j->number = number;
    j->owner = 1;
    j->thinking = true;
    j->choices = 1;
    j->max_tokens = max_tokens;
    j->sampling.top_p = 1;
    j->sampling.temperature = 1;
    j->sampling.seed = 7;
    return j;
}

static void submit(struct bench *b, struct engine_job *j)
{
    struct error e = {0};
    if (engine_submit(b->engine, j, &e))
        fail_msg("%s", e.text);
}

/* A prompt of about n words, different for each `salt`. */
static char *words(int n, int salt)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < n; i++)
        buf_addf(&b, "word%d ", (i * 7 + salt) % 97);
    return buf_take(&b, NULL);
}

/* All text of a job that runs under these options, beside `others` further jobs. */
static char *text_of(const struct engine_options *o, int others)
{
    struct bench *b = bench_open(o);
    struct buf all;
    buf_init(&all, 1 << 20);
    for (int i = 0; i < others; i++) {
        char *text = words(5 + 9 * i, i);
        submit(b, job((uint64_t)i + 2, text, 10 + 13 * i));
        free(text);
    }
    submit(b, job(1, "How do I stream a reply with the API?", 120));
    struct run *r = wait_end(b, 1);
    assert_int_equal(r->end.code, 0);
    buf_adds(&all, r->reasoning[0].len ? r->reasoning[0].data : "");
    buf_adds(&all, "|");
    buf_adds(&all, r->content[0].len ? r->content[0].data : "");
    bench_close(b);
    return buf_take(&all, NULL);
}

static void assert_same_text(const struct engine_options *o, int others, const char *expected)
{
    char *got = text_of(o, others);
    assert_string_equal(got, expected);
    free(got);
}

static void a_reply_does_not_depend_on_what_runs_beside_it(void **state)
{
    (void)state;
    struct engine_options o = options();
    char *alone = text_of(&o, 0);
    assert_true(strlen(alone) > 10);
    assert_same_text(&o, 15, alone);
    o.chunk_tokens = 1;
    assert_same_text(&o, 3, alone);
    o.chunk_tokens = 7;
    o.threads = 1;
    assert_same_text(&o, 15, alone);
    o.threads = 3;
    o.sequences = 2;
    assert_same_text(&o, 5, alone);
    free(alone);
}

static void a_cache_too_small_for_all_makes_replies_wait_and_changes_none(void **state)
{
    (void)state;
    struct engine_options o = options();
    char *alone = text_of(&o, 0);
    o.kv_tokens = 384; /* eight others want more than that together */
    struct bench *b = bench_open(&o);
    for (int i = 0; i < 8; i++)
        submit(b, job((uint64_t)i + 2, "How do I stream a reply with the API?", 120));
    submit(b, job(1, "How do I stream a reply with the API?", 120));
    for (int i = 1; i < 10; i++) {
        struct run *r = wait_end(b, (uint64_t)i);
        assert_int_equal(r->end.code, 0);
        assert_int_equal(r->finished[0], 1);
        struct buf all;
        buf_init(&all, 1 << 20);
        buf_addf(&all, "%s|%s", r->reasoning[0].len ? r->reasoning[0].data : "",
                 r->content[0].len ? r->content[0].data : "");
        assert_string_equal(all.data, alone);
        buf_done(&all);
    }
    bench_close(b);
    free(alone);
}

static void a_repeated_prompt_is_found_in_the_cache(void **state)
{
    (void)state;
    struct engine_options o = options();
    struct bench *b = bench_open(&o);
    char *text = words(60, 1);
    submit(b, job(1, text, 8));
    struct run *first = wait_end(b, 1);
    submit(b, job(2, text, 8));
    struct run *again = wait_end(b, 2);
    assert_int_equal(first->end.cached_tokens, 0);
    int whole_blocks = (first->end.prompt_tokens - 1) / 16 * 16;
    assert_int_equal(again->end.cached_tokens, whole_blocks);
    assert_int_equal(again->end.prompt_tokens, first->end.prompt_tokens);
    assert_int_equal(first->reasoning[0].len, again->reasoning[0].len);
    assert_memory_equal(first->reasoning[0].data, again->reasoning[0].data,
                        first->reasoning[0].len);
    free(text);
    bench_close(b);
}

static void each_choice_finishes_and_the_prompt_counts_once(void **state)
{
    (void)state;
    struct engine_options o = options();
    struct bench *b = bench_open(&o);
    struct engine_job *j = job(1, "Tell me about keys", 12);
    j->choices = 3;
    j->sampling.temperature = 1.5f;
    submit(b, j);
    submit(b, job(2, "Tell me about keys", 12));
    struct run *r = wait_end(b, 1), *one = wait_end(b, 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(r->finished[i], 1);
    assert_int_equal(r->end.prompt_tokens, one->end.prompt_tokens);
    assert_true(r->end.completion_tokens > one->end.completion_tokens);
    bench_close(b);
}

static void greedy_choices_are_the_same_text_in_a_large_and_in_a_small_cache(void **state)
{
    (void)state;
    struct engine_options o = options();
    for (int small = 0; small < 2; small++) {
        o.kv_tokens = small ? 160 : 16384; /* all four together want more than 160 */
        struct bench *b = bench_open(&o);
        struct engine_job *j = job(1, "Tell me about keys", 60);
        j->choices = 4;
        j->sampling.temperature = 0;
        submit(b, j);
        struct run *r = wait_end(b, 1);
        assert_int_equal(r->end.code, 0);
        assert_true(r->reasoning[0].len > 0);
        for (int i = 1; i < 4; i++) {
            assert_int_equal(r->finished[i], 1);
            assert_string_equal(r->reasoning[i].data, r->reasoning[0].data);
            assert_int_equal(r->content[i].len, r->content[0].len);
        }
        bench_close(b);
    }
}

static void a_cancelled_job_ends_at_once_and_the_others_go_on(void **state)
{
    (void)state;
    struct engine_options o = options();
    o.sequences = 2;
    struct bench *b = bench_open(&o);
    struct engine_job *endless = job(1, "Hello", 1500);
    static const struct engine_bias never_end[] = {{0, 0}};
    endless->sampling.bias = never_end;
    endless->sampling.temperature = 5; /* noise: the end token comes rarely */
    submit(b, endless);
    submit(b, job(2, "Hello", 30));
    submit(b, job(3, "Hello", 30)); /* waits */
    while (!b->runs[1].has_started)
        wait_event(b);
    engine_cancel(b->engine, 1);
    engine_cancel(b->engine, 3);
    engine_cancel(b->engine, 4); /* not known: harmless */
    struct run *r = wait_end(b, 1);
    assert_true(r->end.code == ERR_CANCELLED || r->end.code == 0);
    assert_int_equal(wait_end(b, 2)->end.code, 0);
    wait_end(b, 3);
    bench_close(b);
}

static void a_full_queue_says_so(void **state)
{
    (void)state;
    struct engine_options o = options();
    struct error e = {0};
    o.sequences = 1;
    o.queue = 2;
    struct bench *b = bench_open(&o);
    int refused = 0;
    for (uint64_t i = 1; i <= 12; i++)
        refused += engine_submit(b->engine, job(i, "Hello", 200), &e) == ERR_BUSY;
    assert_true(refused >= 12 - 1 - 2 - 1); /* one runs, two wait, one may have just begun */
    assert_non_null(strstr(e.text, "waiting"));
    bench_close(b);
}

static void more_choices_than_sequences_are_refused(void **state)
{
    (void)state;
    struct engine_options o = options();
    struct error e = {0};
    o.sequences = 2;
    struct bench *b = bench_open(&o);
    struct engine_job *j = job(1, "Hello", 5);
    j->choices = 3;
    assert_int_equal(engine_submit(b->engine, j, &e), ERR_LIMIT);
    assert_non_null(strstr(e.text, "2 sequences"));
    bench_close(b);
}

static void one_owner_does_not_starve_another(void **state)
{
    (void)state;
    struct engine_options o = options();
    o.sequences = 2;
    struct bench *b = bench_open(&o);
    for (uint64_t i = 1; i <= 10; i++)
        submit(b, job(i, "Hello", 40));
    struct engine_job *late = job(11, "Hello", 40);
    late->owner = 2;
    submit(b, late);
    for (uint64_t i = 1; i <= 11; i++)
        wait_end(b, i);
    /* Two of the first owner's run when it comes, and perhaps two more before it is prepared. */
    assert_true(b->runs[11].order < 6);
    bench_close(b);
}

static void a_prompt_that_is_too_long_is_refused_with_the_numbers(void **state)
{
    (void)state;
    struct engine_options o = options();
    struct bench *b = bench_open(&o);
    int context = engine_info(b->engine)->context_tokens;
    char *text = words(context, 3);
    submit(b, job(1, text, 5));
    struct run *r = wait_end(b, 1);
    assert_int_equal(r->end.code, ERR_LIMIT);
    assert_int_equal(r->end.limit_tokens, context);
    assert_true(r->end.prompt_tokens > context);
    assert_false(r->has_started);
    free(text);
    text = mem_alloc(8 << 20);
    memset(text, 'x', (8 << 20) - 1);
    text[(8 << 20) - 1] = '\0';
    submit(b, job(2, text, 5));
    r = wait_end(b, 2);
    assert_int_equal(r->end.code, ERR_LIMIT);
    assert_non_null(strstr(r->end.text, "at least"));
    free(text);
    bench_close(b);
}

static void a_reply_fills_the_context_and_no_more(void **state)
{
    (void)state;
    struct engine_options o = options();
    struct bench *b = bench_open(&o);
    struct engine_job *j = job(1, "Hello", 0);
    j->context_tokens = 40;
    j->sampling.temperature = 5;
    submit(b, j);
    struct run *r = wait_end(b, 1);
    assert_int_equal(r->end.code, 0);
    assert_true(r->end.prompt_tokens + r->end.completion_tokens <= 40);
    if (r->finish[0] == ENGINE_FINISH_LENGTH)
        assert_int_equal(r->end.prompt_tokens + r->end.completion_tokens, 40);
    bench_close(b);
}

static void counting_gives_the_number_a_call_would_have(void **state)
{
    (void)state;
    struct engine_options o = options();
    struct bench *b = bench_open(&o);
    struct engine_job *j = job(1, "How many tokens is this?", 1);
    j->count_only = true;
    submit(b, j);
    submit(b, job(2, "How many tokens is this?", 1));
    struct run *count = wait_end(b, 1), *call = wait_end(b, 2);
    assert_int_equal(count->end.code, 0);
    assert_int_equal(count->started.prompt_tokens, call->started.prompt_tokens);
    assert_int_equal(count->end.completion_tokens, 0);
    bench_close(b);
}

static int tokens_of_a_conversation(struct bench *b, uint64_t number, bool keep)
{
    static const char *const turns[] = {"Hello", "Hello! What would you like to know?", "A key"};
    struct engine_job *j = job(number, "", 1);
    struct engine_message *m = arena_alloc(j->arena, 3 * sizeof *m);
    for (int i = 0; i < 3; i++) {
        m[i].role = i == 1 ? ENGINE_ASSISTANT : ENGINE_USER;
        m[i].content = (struct engine_text){.data = turns[i], .len = strlen(turns[i])};
    }
    m[1].reasoning = (struct engine_text){.data = "They greet me.", .len = 14};
    j->messages = m;
    j->n_messages = 3;
    j->keep_reasoning = keep;
    j->count_only = true;
    submit(b, j);
    return wait_end(b, number)->started.prompt_tokens;
}

static void reasoning_of_earlier_turns_goes_in_again_only_on_request(void **state)
{
    (void)state;
    struct engine_options o = options();
    struct bench *b = bench_open(&o);
    assert_true(tokens_of_a_conversation(b, 1, true) > tokens_of_a_conversation(b, 2, false));
    bench_close(b);
}

static void log_probabilities_come_with_each_token_of_the_content(void **state)
{
    (void)state;
    struct engine_options o = options();
    struct bench *b = bench_open(&o);
    struct engine_job *j = job(1, "Hello", 30);
    j->thinking = false;
    j->sampling.temperature = 0;
    j->logprobs = true;
    j->top_logprobs = 3;
    submit(b, j);
    struct run *r = wait_end(b, 1);
    assert_int_equal((int)r->n_logprobs, r->end.completion_tokens);
    assert_true(r->first_logprob <= 0);
    assert_true(r->first_logprob == r->first_top); /* the most likely one was taken */
    bench_close(b);
}

static void the_file_says_who_answers_and_how_it_wants_to_be_sampled(void **state)
{
    (void)state;
    struct engine_options o = options();
    struct bench *b = bench_open(&o);
    const struct engine_info *i = engine_info(b->engine);
    assert_string_equal(i->name, "moongate-nano-1");
    assert_string_equal(i->architecture, "deepseek2");
    assert_true(i->thinks);
    assert_int_equal(i->context_tokens, 2048);
    assert_true(i->temperature > 0.29f && i->temperature < 0.31f);
    bench_close(b);
}

static void closing_ends_what_runs_and_what_waits(void **state)
{
    (void)state;
    struct engine_options o = options();
    o.sequences = 2;
    struct bench *b = bench_open(&o);
    for (uint64_t i = 1; i <= 20; i++)
        submit(b, job(i, "Hello", 500));
    while (!b->runs[1].has_started)
        wait_event(b);
    bench_close(b); /* the sanitizer tells if anything is left */
}

static void a_file_that_is_not_there_is_named(void **state)
{
    (void)state;
    struct engine_options o = options();
    struct error e = {0};
    struct mailbox *events;
    struct engine *g;
    assert_int_equal(mailbox_open(sizeof(struct engine_event), 16, &events, &e), 0);
    o.gguf_path = "/nowhere/model.gguf";
    assert_true(engine_open(&o, events, &g, &e) < 0);
    assert_null(g);
    assert_non_null(strstr(e.text, "/nowhere/model.gguf"));
    mailbox_close(events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_does_not_depend_on_what_runs_beside_it),
        cmocka_unit_test(a_cache_too_small_for_all_makes_replies_wait_and_changes_none),
        cmocka_unit_test(a_repeated_prompt_is_found_in_the_cache),
        cmocka_unit_test(each_choice_finishes_and_the_prompt_counts_once),
        cmocka_unit_test(greedy_choices_are_the_same_text_in_a_large_and_in_a_small_cache),
        cmocka_unit_test(a_cancelled_job_ends_at_once_and_the_others_go_on),
        cmocka_unit_test(a_full_queue_says_so),
        cmocka_unit_test(more_choices_than_sequences_are_refused),
        cmocka_unit_test(one_owner_does_not_starve_another),
        cmocka_unit_test(a_prompt_that_is_too_long_is_refused_with_the_numbers),
        cmocka_unit_test(a_reply_fills_the_context_and_no_more),
        cmocka_unit_test(counting_gives_the_number_a_call_would_have),
        cmocka_unit_test(reasoning_of_earlier_turns_goes_in_again_only_on_request),
        cmocka_unit_test(log_probabilities_come_with_each_token_of_the_content),
        cmocka_unit_test(the_file_says_who_answers_and_how_it_wants_to_be_sampled),
        cmocka_unit_test(closing_ends_what_runs_and_what_waits),
        cmocka_unit_test(a_file_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
