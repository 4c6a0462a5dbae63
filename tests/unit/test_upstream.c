/* The backend kind "openai" against a scripted upstream: what goes up, what is made of replies. */
#include "upstream_rig.h"

#include "base/json.h"

/* A call, and what was told of it. */
struct call {
    struct json *tree;
    struct arena *arena;
    struct api_request request;
    int starts, chunks, wholes, ends;
    struct api_usage at_start;
    struct backend_end end;
    struct buf text; /* of all chunks and whole replies */
    char said[100];  /* the same once the call is forgotten */
    int stop_at;     /* this many callbacks */
    bool pause, close_in_end;
};

struct world {
    struct rig rig; /* first: until() takes a world as well */
    struct backend *backend;
    struct call *call[4]; /* by number */
    int probes, good_probes;
    char probe_detail[100];
};

static const struct api_model model = {.id = "kimi", .context_tokens = 1000, .top_p = 1};
static const struct api_limits limits = {.messages = 10, .choices = 5, .stops = 4};

static void count(struct world *w, uint64_t number)
{
    struct call *c = w->call[number];
    int told = c->starts + c->chunks + c->wholes;
    if (c->stop_at && told == c->stop_at) {
        backend_stop(w->backend, number);
        backend_stop(w->backend, number);
    }
    if (c->pause)
        backend_pause(w->backend, number, true);
}

static void on_start(void *arg, uint64_t number, const struct api_usage *usage)
{
    struct world *w = arg;
    w->call[number]->starts++;
    w->call[number]->at_start = *usage;
    count(w, number);
}

static void on_chunk(void *arg, uint64_t number, const struct relayed *chunk)
{
    struct world *w = arg;
    assert_int_equal(w->call[number]->starts, 1);
    w->call[number]->chunks++;
    relay_text(&w->call[number]->text, chunk);
    count(w, number);
}

static void on_whole(void *arg, uint64_t number, const struct relayed *reply)
{
    struct world *w = arg;
    assert_int_equal(w->call[number]->starts, 1);
    w->call[number]->wholes++;
    relay_text(&w->call[number]->text, reply);
    count(w, number);
}

static void on_end(void *arg, uint64_t number, const struct backend_end *end)
{
    struct world *w = arg;
    struct backend_load load;
    w->call[number]->ends++;
    w->call[number]->end = *end;
    w->backend->kind->load(w->backend, &load);
    backend_pause(w->backend, number, true);
    backend_stop(w->backend, number);
    if (w->call[number]->close_in_end) {
        backend_close(w->backend);
        w->backend = NULL;
    }
}

static void on_probe(void *arg, const char *name, bool good, const char *detail)
{
    struct world *w = arg;
    assert_string_equal(name, "scripted");
    w->probes++;
    w->good_probes += good;
    snprintf(w->probe_detail, sizeof w->probe_detail, "%s", detail);
}

static const struct backend_events events = {
    .on_start = on_start, .on_chunk = on_chunk, .on_whole = on_whole, .on_end = on_end};

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct error e;
    rig_open(&w->rig);
    w->rig.options.key = "sk-0123456789abcdef0123";
    w->rig.options.concurrency = 7;
    w->rig.options.event_bytes = 4096;
    w->rig.options.reply_bytes = 8192;
    w->rig.options.on_probe = on_probe;
    assert_int_equal(upstream_open(w->rig.transfers, &w->rig.options, &events, w, &w->backend, &e),
                     0);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    backend_close(w->backend);
    rig_close(&w->rig);
    free(w);
    return 0;
}

/* Opens the backend anew with the options that a test changed. */
static void reopen(struct world *w)
{
    struct error e;
    backend_close(w->backend);
    assert_int_equal(upstream_open(w->rig.transfers, &w->rig.options, &events, w, &w->backend, &e),
                     0);
}

static const char *client_header(void *client, const char *name)
{
    (void)client;
    if (strcasecmp(name, "X-Session") == 0)
        return "abc";
    if (strcasecmp(name, "X-Split") == 0)
        return "a\r\nX-Evil: 1";
    if (strcasecmp(name, "traceparent") == 0)
        return "the client's";
    return NULL;
}

static void read_request(struct call *c, const char *members)
{
    struct buf b;
    struct fault f;
    struct error e;
    buf_init(&b, 1 << 20);
    buf_init(&c->text, 1 << 20);
    buf_addf(&b, "{\"model\":\"kimi\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]%s}",
             members);
    assert_int_equal(json_parse(b.data, b.len, 32, &c->tree, &e), 0);
    buf_done(&b);
    c->arena = arena_new();
    assert_int_equal(api_request_read(c->tree, &model, &limits, c->arena, &c->request, &f),
                     FAULT_NONE);
}

static struct backend_run run_of(struct call *c, uint64_t number)
{
    return (struct backend_run){.number = number,
                                .request = &c->request,
                                .tree = c->tree,
                                .model = &model,
                                .name = "theirs",
                                .trace_id = "01234567-0123-4123-8123-0123456789ab",
                                .traceparent = "00-0123-4567-01",
                                .client_header = client_header};
}

static void ask(struct world *w, struct call *c, uint64_t number, const char *members)
{
    struct backend_end end;
    read_request(c, members);
    w->call[number] = c;
    struct backend_run run = run_of(c, number);
    assert_int_equal(backend_start(w->backend, &run, &end), 0);
    assert_int_equal(c->starts + c->ends, 0);
}

static const char *text_of(const struct call *c)
{
    return c->text.data ? c->text.data : "";
}

static void forget(struct call *c)
{
    snprintf(c->said, sizeof c->said, "%s", text_of(c));
    json_free(c->tree);
    arena_free(c->arena);
    buf_done(&c->text);
}

#define STREAM       ",\"stream\":true"
#define SSE          "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
#define SSE_CLOSE    SSE "Connection: close\r\n\r\n"
#define JSON(n)      "HTTP/1.1 " n "\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
#define EVENT(s)     "data: " s "\n\n"
#define DELTA(d)     EVENT("{\"choices\":[{\"index\":0,\"delta\":" d "}]}")
#define CONTENT(t)   DELTA("{\"content\":\"" t "\"}")
#define FINISH       EVENT("{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}")
#define FINISH_AS(f) EVENT("{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"" f "\"}]}")
#define USAGE                                                                                      \
    EVENT("{\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,"                \
          "\"total_tokens\":7}}")
#define DONE EVENT("[DONE]")
#define MESSAGE                                                                                    \
    "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"ok\"},"          \
    "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,"         \
    "\"total_tokens\":7}}"

/* Asks, lets the upstream say this and hang up, and waits for the end. */
static void play(struct world *w, struct call *c, const char *members, const char *reply)
{
    ask(w, c, 1, members);
    struct peer p = peer_asked(&w->rig);
    peer_say(&w->rig, &p, reply);
    peer_hang_up(&p);
    until(&w->rig, c->ends);
    pass_ms(&w->rig, 2);
    assert_int_equal(c->ends, 1);
    forget(c);
}

static void assert_failed(const struct call *c, enum fault_kind kind, enum backend_blame blame)
{
    if (c->end.fault.kind != kind || c->end.blame != blame)
        fail_msg("fault %d (%s), blame %d: %s", (int)c->end.fault.kind, c->end.fault.message,
                 (int)c->end.blame, c->end.detail);
    assert_true(c->end.detail[0]);
    assert_null(strstr(c->end.fault.message, "127.0.0.1"));
    assert_null(strstr(c->end.detail, "sk-0123"));
}

static void assert_good(const struct call *c)
{
    if (c->end.fault.kind != FAULT_NONE)
        fail_msg("%s: %s", c->end.fault.message, c->end.detail);
    assert_int_equal(c->end.blame, BLAME_NONE);
    assert_int_equal(c->starts, 1);
}

static void a_request_goes_up_under_our_key_and_the_upstreams_name(void **state)
{
    struct world *w = *state;
    struct call c = {0};
    char *forward[] = {"X-Session", "X-Split", "X-Absent", "Traceparent"};
    w->rig.options.forward = forward;
    w->rig.options.n_forward = 4;
    reopen(w);
    ask(w, &c, 1, STREAM ",\"unknown\":{\"a\":1}");
    forget(&c); /* nothing of the request is needed any more */
    struct peer p = peer_asked(&w->rig);
    const char *got = p.got.data;
    assert_ptr_equal(strstr(got, "POST /v1/chat/completions HTTP/1.1\r\n"), got);
    assert_non_null(strstr(got, "\r\nAuthorization: Bearer sk-0123456789abcdef0123\r\n"));
    assert_non_null(strstr(got, "\r\nUser-Agent: moongate/"));
    assert_non_null(strstr(got, "\r\nAccept: text/event-stream\r\n"));
    assert_non_null(strstr(got, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(got, "\r\nx-request-id: 01234567-0123-4123-8123-0123456789ab\r\n"));
    assert_non_null(strstr(got, "\r\ntraceparent: 00-0123-4567-01\r\n"));
    assert_non_null(strstr(got, "\r\nX-Session: abc\r\n"));
    assert_null(strstr(got, "X-Evil"));
    assert_null(strstr(got, "X-Absent"));
    assert_null(strstr(got, "the client's"));
    assert_non_null(strstr(got, "\"model\":\"theirs\""));
    assert_non_null(strstr(got, "\"unknown\":{\"a\":1}"));
    assert_non_null(strstr(got, "\"include_usage\":true"));
    peer_hang_up(&p);
    until(&w->rig, c.ends);
}

static void a_stream_is_told_from_its_first_content_to_its_end(void **state)
{
    struct world *w = *state;
    struct call c = {0};
    ask(w, &c, 1, STREAM);
    struct peer p = peer_asked(&w->rig);
    peer_say(&w->rig, &p, SSE "\r\n: hello\n\n" DELTA("{\"role\":\"assistant\",\"content\":\"\"}"));
    pass_ms(&w->rig, 5);
    assert_int_equal(c.starts, 0);
    peer_say(&w->rig, &p, CONTENT("a"));
    until(&w->rig, c.chunks == 1);
    peer_say(&w->rig, &p, CONTENT("b") FINISH USAGE);
    until(&w->rig, c.chunks == 3);
    pass_ms(&w->rig, 5);
    assert_int_equal(c.ends, 0);
    peer_say(&w->rig, &p, DONE);
    until(&w->rig, c.ends);
    assert_good(&c);
    assert_string_equal(text_of(&c), "ab");
    assert_int_equal(c.end.usage.prompt_tokens, 5);
    assert_int_equal(c.end.usage.completion_tokens, 2);
    assert_int_equal(c.end.usage.source, API_USAGE_UPSTREAM);
    forget(&c);
    peer_hang_up(&p);
}

static void a_stream_may_come_byte_by_byte(void **state)
{
    static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
                                "event: message\r\n" CONTENT("\xe6\x9c\x88") FINISH USAGE DONE;
    struct world *w = *state;
    struct call c = {0};
    ask(w, &c, 1, STREAM);
    struct peer p = peer_asked(&w->rig);
    int on = 1;
    setsockopt(p.fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
    for (size_t i = 0; reply[i]; i++)
        peer_say_bytes(&w->rig, &p, reply + i, 1);
    until(&w->rig, c.ends);
    assert_good(&c);
    assert_string_equal(text_of(&c), "\xe6\x9c\x88");
    forget(&c);
    peer_hang_up(&p);
}

static void a_proven_end_needs_every_finish_and_done_or_a_clean_end(void **state)
{
    static const struct {
        const char *reply;
        bool good;
    } cases[] = {
        {SSE_CLOSE CONTENT("a") FINISH DONE, true},
        {SSE_CLOSE CONTENT("a") FINISH, true},
        {SSE_CLOSE CONTENT("a") FINISH "data: [DONE]", true},
        {SSE_CLOSE CONTENT("a") FINISH "data:[DONE]  \n\n" CONTENT("late"), true},
        {SSE_CLOSE FINISH, true},
        {SSE_CLOSE CONTENT("a") DONE, false},
        {SSE_CLOSE CONTENT("a"), false},
        {SSE_CLOSE DONE, false},
        {SSE_CLOSE, false},
        {SSE_CLOSE ": nothing\n\n", false},
        {SSE_CLOSE CONTENT("a") FINISH_AS("abort") DONE, false},
        {SSE_CLOSE CONTENT("a") FINISH_AS("error") DONE, false},
        {SSE "Content-Length: 5000\r\n\r\n" CONTENT("a") FINISH, false},
        {"HTTP/1.1 204 No Content\r\n\r\n", false},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct call c = {0};
        play(w, &c, STREAM, cases[i].reply);
        if (cases[i].good) {
            assert_good(&c);
            assert_int_equal(c.end.usage.source, API_USAGE_NONE);
        } else {
            assert_failed(&c, FAULT_UPSTREAM, BLAME_SOURCE);
        }
    }
}

static void every_choice_must_finish(void **state)
{
    static const char second[] = SSE_CLOSE CONTENT("a") FINISH EVENT(
        "{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\"},\"finish_reason\":null}]}");
    struct world *w = *state;
    struct call cut = {0}, good = {0};
    struct buf reply;
    play(w, &cut, STREAM ",\"n\":2", second);
    assert_failed(&cut, FAULT_UPSTREAM, BLAME_SOURCE);
    assert_int_equal(cut.chunks, 3);
    buf_init(&reply, 1 << 20);
    buf_addf(&reply, "%s%s", second,
             EVENT("{\"choices\":[{\"index\":1,\"delta\":{},\"finish_reason\":\"length\"}]}"));
    play(w, &good, STREAM ",\"n\":2", reply.data);
    assert_good(&good);
    assert_int_equal(good.chunks, 4);
    buf_done(&reply);
}

static void what_is_no_stream_is_garbage(void **state)
{
    static const char *const replies[] = {
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>",
        "HTTP/1.1 200 OK\r\n\r\n\n <!DOCTYPE html>",
        SSE_CLOSE "<html>",
        SSE_CLOSE EVENT("{\"choices\":"),
        SSE_CLOSE EVENT("nonsense"),
        SSE_CLOSE EVENT("{\"object\":\"something\"}"),
        JSON("200 OK") MESSAGE,
        JSON("200 OK") "{\"choices\":",
        JSON("200 OK") "",
        "HTTP/1.1 200 OK\r\n\r\n" MESSAGE,
        SSE_CLOSE EVENT(MESSAGE) DONE,
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        struct call c = {0};
        play(w, &c, STREAM, replies[i]);
        assert_failed(&c, FAULT_UPSTREAM, BLAME_SOURCE);
        assert_int_equal(c.starts, 0);
    }
}

static void a_stream_of_another_or_no_type_is_judged_by_its_bytes(void **state)
{
    struct world *w = *state;
    struct call one = {0}, other = {0};
    play(w, &one, STREAM, "HTTP/1.1 200 OK\r\n\r\n" CONTENT("a") FINISH DONE);
    assert_good(&one);
    play(w, &other, STREAM,
         "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n\n\n" CONTENT("a") FINISH DONE);
    assert_good(&other);
}

static void an_error_in_a_stream_is_the_sources(void **state)
{
    static const struct {
        const char *reply;
        enum backend_blame blame;
        int starts;
    } cases[] = {
        {SSE_CLOSE CONTENT("a") EVENT("{\"error\":{\"message\":\"oops\",\"code\":500}}") DONE,
         BLAME_SOURCE, 1},
        {SSE_CLOSE "event: error\n" EVENT("{\"message\":\"oops\"}"), BLAME_SOURCE, 0},
        {SSE_CLOSE "event: error\ndata: it broke\n\n", BLAME_SOURCE, 0},
        {SSE_CLOSE EVENT("{\"error\":{\"message\":\"slow down\",\"code\":429}}"), BLAME_BUSY, 0},
        {SSE_CLOSE EVENT("{\"error\":{\"message\":\"too long\",\"code\":400}}"), BLAME_CALL, 0},
        {JSON("200 OK") "{\"error\":{\"message\":\"oops\"}}", BLAME_SOURCE, 0},
        {"HTTP/1.1 200 OK\r\n\r\n{\"error\":{\"message\":\"too long\",\"code\":400}}", BLAME_CALL,
         0},
        {SSE_CLOSE "{\"error\":{\"message\":\"oops\"}}", BLAME_SOURCE, 0},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct call c = {0};
        play(w, &c, STREAM, cases[i].reply);
        assert_int_not_equal(c.end.fault.kind, FAULT_NONE);
        assert_int_equal(c.end.blame, cases[i].blame);
        assert_int_equal(c.starts, cases[i].starts);
    }
}

static void a_refusal_says_whose_fault_it_is(void **state)
{
    static const struct {
        const char *status, *field;
        enum backend_blame blame;
        int retry_after_ms;
    } cases[] = {
        {"400 Bad Request", "", BLAME_CALL, 0},
        {"413 Too Large", "", BLAME_CALL, 0},
        {"422 Unprocessable", "Retry-After: 5\r\n", BLAME_CALL, 0},
        {"401 Unauthorized", "", BLAME_ROUTE, 0},
        {"403 Forbidden", "", BLAME_ROUTE, 0},
        {"404 Not Found", "", BLAME_ROUTE, 0},
        {"405 Method", "", BLAME_ROUTE, 0},
        {"408 Timeout", "", BLAME_SOURCE, 0},
        {"301 Moved", "Location: /\r\n", BLAME_ROUTE, 0},
        {"302 Found", "Location: http://127.0.0.1:1/\r\n", BLAME_ROUTE, 0},
        {"429 Too Many", "", BLAME_BUSY, 0},
        {"429 Too Many", "Retry-After: 5\r\n", BLAME_BUSY, 5000},
        {"500 Error", "", BLAME_SOURCE, 0},
        {"502 Bad Gateway", "", BLAME_SOURCE, 0},
        {"503 Unavailable", "", BLAME_SOURCE, 0},
        {"503 Unavailable", "Retry-After: 5\r\n", BLAME_BUSY, 5000},
        {"529 Overloaded", "Retry-After: 5\r\n", BLAME_BUSY, 5000},
    };
    static const char *const bodies[] = {
        "{\"error\":{\"message\":\"the key sk-0123456789abcdef0123 says no\"}}",
        "{\"detail\":\"no\"}", "<html>no</html>", "no\r\n\tsk-0123456789abcdef0123", ""};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct call c = {0};
        char reply[500];
        snprintf(reply, sizeof reply, "HTTP/1.1 %s\r\n%sConnection: close\r\n\r\n%s",
                 cases[i].status, cases[i].field, bodies[i % 5]);
        play(w, &c, i % 2 ? STREAM : "", reply);
        assert_int_equal(c.end.blame, cases[i].blame);
        assert_int_equal(c.end.retry_after_ms, cases[i].retry_after_ms);
        assert_failed(&c, c.end.fault.kind, cases[i].blame);
        assert_int_not_equal(c.end.fault.kind, FAULT_NONE);
        assert_null(strstr(c.end.fault.message, "sk-0123"));
        snprintf(reply, sizeof reply, "status %.3s", cases[i].status);
        assert_ptr_equal(strstr(c.end.detail, reply), c.end.detail);
        assert_null(strpbrk(c.end.detail, "\r\n\t"));
    }
}

static void a_refusal_without_end_is_cut(void **state)
{
    static char bytes[65536];
    struct world *w = *state;
    struct call c = {0};
    memset(bytes, 'x', sizeof bytes);
    ask(w, &c, 1, "");
    struct peer p = peer_asked(&w->rig);
    peer_say(&w->rig, &p, "HTTP/1.1 500 Error\r\n\r\n");
    for (int i = 0; i < 100 && peer_say_bytes(&w->rig, &p, bytes, sizeof bytes); i++)
        continue;
    until(&w->rig, c.ends && peer_gone(&p));
    assert_failed(&c, c.end.fault.kind, BLAME_SOURCE);
    forget(&c);
    peer_hang_up(&p);
}

static void a_whole_reply_is_told_whole(void **state)
{
    struct world *w = *state;
    struct call c = {0};
    play(w, &c, "", JSON("200 OK") MESSAGE);
    assert_good(&c);
    assert_int_equal(c.wholes, 1);
    assert_int_equal(c.chunks, 0);
    assert_string_equal(c.said, "ok");
    assert_int_equal(c.at_start.prompt_tokens, 5);
    assert_int_equal(c.end.usage.completion_tokens, 2);
}

static void a_whole_reply_that_is_none_is_an_error(void **state)
{
    static const char *const replies[] = {
        JSON("200 OK") "{\"choices\":[]}",
        JSON("200 OK") "{\"choices\":[{\"index\":0,\"message\":{\"content\":\"a\"}}]}",
        JSON("200 OK") "{\"choices\":[{\"index\":0,\"message\":{\"content\":\"a\"},"
                       "\"finish_reason\":\"abort\"}]}",
        JSON("200 OK") "null",
        JSON("200 OK") "",
        JSON("200 OK") "{\"choices\":[{\"index\":0,\"mess",
        SSE_CLOSE CONTENT("a") FINISH DONE,
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html>",
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" MESSAGE,
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        struct call c = {0};
        play(w, &c, "", replies[i]);
        assert_failed(&c, FAULT_UPSTREAM, BLAME_SOURCE);
        assert_int_equal(c.starts, 0);
    }
}

static void a_body_of_gigabytes_is_cut_at_the_ceiling(void **state)
{
    static char bytes[65536];
    static const char *const heads[] = {JSON("200 OK") "{\"a\":\"", SSE_CLOSE "data: {\"a\":\"",
                                        SSE_CLOSE "x"};
    struct world *w = *state;
    memset(bytes, 'x', sizeof bytes);
    for (int i = 0; i < 3; i++) {
        struct call c = {0};
        ask(w, &c, 1, i ? STREAM : "");
        struct peer p = peer_asked(&w->rig);
        peer_say(&w->rig, &p, heads[i]);
        for (int n = 0; n < 100 && peer_say_bytes(&w->rig, &p, bytes, sizeof bytes); n++)
            continue;
        until(&w->rig, c.ends && peer_gone(&p));
        assert_failed(&c, FAULT_UPSTREAM, BLAME_SOURCE);
        assert_non_null(strstr(c.end.detail, "_bytes"));
        forget(&c);
        peer_hang_up(&p);
    }
}

static void an_upstream_that_is_not_there_is_the_sources_fault(void **state)
{
    struct world *w = *state;
    struct call c = {0};
    int fd = listen_somewhere();
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d", port_of(fd));
    close(fd);
    w->rig.options.url = url;
    reopen(w);
    ask(w, &c, 1, STREAM);
    until(&w->rig, c.ends);
    assert_failed(&c, FAULT_UPSTREAM, BLAME_SOURCE);
    assert_non_null(strstr(c.end.detail, "Connection refused"));
    forget(&c);
}

static void silence_is_a_timeout_of_the_source(void **state)
{
    static const char *const before[] = {"", SSE "\r\n" CONTENT("a")};
    struct world *w = *state;
    w->rig.options.first_byte_ms = w->rig.options.idle_ms = 40;
    reopen(w);
    for (int i = 0; i < 2; i++) {
        struct call c = {0};
        ask(w, &c, 1, STREAM);
        struct peer p = peer_asked(&w->rig);
        peer_say(&w->rig, &p, before[i]);
        until(&w->rig, c.ends);
        assert_failed(&c, FAULT_TIMEOUT, BLAME_SOURCE);
        assert_int_equal(c.starts, i);
        forget(&c);
        peer_hang_up(&p);
    }
}

static void a_run_stopped_anywhere_closes_its_connection_and_is_silent(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 5; i++) {
        struct call c = {.stop_at = i < 4 ? i : 0};
        ask(w, &c, 1, i == 3 ? "" : STREAM);
        struct peer p = peer_asked(&w->rig);
        if (i == 3) /* in on_whole it is told everything already, but for the end */
            c.stop_at = 2;
        if (i > 0)
            peer_say(&w->rig, &p,
                     i == 3 ? JSON("200 OK") MESSAGE : SSE "\r\n" CONTENT("a") CONTENT("b"));
        if (i == 3) {
            peer_hang_up(&p);
            until(&w->rig, c.wholes);
        } else if (i == 0 || i == 4) {
            until(&w->rig, i == 0 || c.chunks == 2);
            backend_stop(w->backend, 1);
            assert_true(peer_gone(&p));
        } else {
            until(&w->rig, peer_gone(&p));
        }
        pass_ms(&w->rig, 2);
        assert_int_equal(c.ends, 0);
        backend_stop(w->backend, 1);
        if (i != 3)
            peer_hang_up(&p);
        forget(&c);
    }
}

static void a_paused_run_waits_and_goes_on(void **state)
{
    struct world *w = *state;
    struct call c = {.pause = true};
    ask(w, &c, 1, STREAM);
    struct peer p = peer_asked(&w->rig);
    peer_say(&w->rig, &p, SSE "\r\n" CONTENT("a"));
    until(&w->rig, c.chunks == 1);
    peer_say(&w->rig, &p, CONTENT("b") FINISH DONE);
    pass_ms(&w->rig, 5);
    assert_int_equal(c.chunks, 1);
    c.pause = false;
    backend_pause(w->backend, 1, false);
    assert_int_equal(c.chunks, 1);
    until(&w->rig, c.ends);
    assert_good(&c);
    assert_string_equal(text_of(&c), "ab");
    forget(&c);
    peer_hang_up(&p);
}

static void an_upstream_may_be_closed_where_its_last_run_ends(void **state)
{
    static const char *const replies[] = {SSE "\r\n" CONTENT("a") FINISH DONE, JSON("200 OK") "{}",
                                          "HTTP/1.1 500 E\r\nContent-Length: 0\r\n\r\n"};
    struct world *w = *state;
    for (int i = 0; i < 3; i++) {
        struct call c = {.close_in_end = true};
        play(w, &c, STREAM, replies[i]);
        assert_null(w->backend);
        reopen(w);
    }
}

static void runs_are_forgotten_with_their_upstream(void **state)
{
    struct world *w = *state;
    struct call c[3] = {{0}, {0}, {0}};
    struct peer p[3];
    struct backend_load load;
    for (int i = 0; i < 3; i++) {
        ask(w, &c[i], (uint64_t)i + 1, STREAM);
        p[i] = peer_asked(&w->rig);
    }
    w->backend->kind->load(w->backend, &load);
    assert_int_equal(load.running, 3);
    assert_int_equal(load.capacity, 7);
    peer_say(&w->rig, &p[1], SSE "\r\n" CONTENT("a"));
    until(&w->rig, c[1].chunks);
    reopen(w);
    for (int i = 0; i < 3; i++) {
        assert_true(peer_gone(&p[i]));
        assert_int_equal(c[i].ends, 0);
        peer_hang_up(&p[i]);
        forget(&c[i]);
    }
}

static void what_an_upstream_cannot_do_is_refused_at_once(void **state)
{
    struct world *w = *state;
    struct call c = {0};
    struct backend_end end;
    read_request(&c, "");
    w->call[1] = &c;
    struct backend_run run = run_of(&c, 1);
    run.count_only = true;
    assert_int_not_equal(backend_start(w->backend, &run, &end), 0);
    assert_int_equal(end.fault.kind, FAULT_NOT_IMPLEMENTED);
    assert_int_equal(end.blame, BLAME_CALL);
    run.count_only = false;
    assert_int_equal(backend_start(w->backend, &run, &end), 0);
    assert_int_equal(backend_start(w->backend, &run, &end), ERR_EXISTS);
    backend_stop(w->backend, 1);
    assert_string_equal(w->backend->name, "scripted");
    assert_string_equal(w->backend->fingerprint, "scripted");
    forget(&c);
}

static void a_probe_asks_for_the_models(void **state)
{
    struct world *w = *state;
    w->backend->kind->probe(w->backend);
    w->backend->kind->probe(w->backend); /* one at a time */
    struct peer p = peer_asked(&w->rig);
    assert_ptr_equal(strstr(p.got.data, "GET /v1/models HTTP/1.1\r\n"), p.got.data);
    assert_non_null(strstr(p.got.data, "Bearer sk-0123456789abcdef0123"));
    peer_say(&w->rig, &p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    until(&w->rig, w->probes == 1);
    assert_int_equal(w->good_probes, 1);
    buf_reset(&p.got);
    w->backend->kind->probe(w->backend);
    until(&w->rig, peer_has_request(&p));
    peer_say(&w->rig, &p, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
    until(&w->rig, w->probes == 2);
    assert_int_equal(w->good_probes, 1);
    assert_string_equal(w->probe_detail, "status 401");
    close(w->rig.listener);
    peer_hang_up(&p);
    w->backend->kind->probe(w->backend);
    until(&w->rig, w->probes == 3);
    assert_int_equal(w->good_probes, 1);
    w->rig.listener = listen_somewhere();
}

#define a_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        a_test(a_request_goes_up_under_our_key_and_the_upstreams_name),
        a_test(a_stream_is_told_from_its_first_content_to_its_end),
        a_test(a_stream_may_come_byte_by_byte),
        a_test(a_proven_end_needs_every_finish_and_done_or_a_clean_end),
        a_test(every_choice_must_finish),
        a_test(what_is_no_stream_is_garbage),
        a_test(a_stream_of_another_or_no_type_is_judged_by_its_bytes),
        a_test(an_error_in_a_stream_is_the_sources),
        a_test(a_refusal_says_whose_fault_it_is),
        a_test(a_refusal_without_end_is_cut),
        a_test(a_whole_reply_is_told_whole),
        a_test(a_whole_reply_that_is_none_is_an_error),
        a_test(a_body_of_gigabytes_is_cut_at_the_ceiling),
        a_test(an_upstream_that_is_not_there_is_the_sources_fault),
        a_test(silence_is_a_timeout_of_the_source),
        a_test(a_run_stopped_anywhere_closes_its_connection_and_is_silent),
        a_test(a_paused_run_waits_and_goes_on),
        a_test(an_upstream_may_be_closed_where_its_last_run_ends),
        a_test(runs_are_forgotten_with_their_upstream),
        a_test(what_an_upstream_cannot_do_is_refused_at_once),
        a_test(a_probe_asks_for_the_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
