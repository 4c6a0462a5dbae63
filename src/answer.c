/*
 * What a client is sent: whole replies, faults, and streams with back-pressure.
 *
 * Text of the engine gathers in its choice's buffers. For a whole reply it stays there until the
 * end; in a stream it leaves at once as one chunk while the client keeps up. When a slow client
 * leaves more than limits.stream_bytes unsent, text goes on gathering and leaves as one larger
 * chunk when the socket has drained, so that a stream's memory is bounded by the text of its
 * reply and not by the number of its events.
 *
 * An upstream's event is written at once as it came, in our contract. When a slow client leaves
 * too much unsent the upstream is paused until the socket has drained.
 */
#include "base/clock.h"
#include "call.h"
#include "gate/limits_head.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADERS_MAX = 32,
    BODY_MAX_BYTES = 256 << 20,
    EVENT_MAX_BYTES = 160 << 20,
    SCRATCH_KEPT_BYTES = 64 << 10,
    OURS_BYTES = 512 /* more or less, around an upstream's reply */
};

struct headers {
    struct http_header list[HEADERS_MAX];
    size_t n;
    struct limits_head limits[LIMITS_HEAD_MAX];
};

static void add(struct headers *h, const char *name, const char *value)
{
    h->list[h->n++] = (struct http_header){.name = name, .value = value};
}

static void add_limits(struct headers *h, const struct call *c)
{
    size_t n = c->books.has_said ? limits_head(&c->books.said, h->limits) : 0;
    for (size_t i = 0; i < n; i++)
        add(h, h->limits[i].name, h->limits[i].value);
}

/* The console's own pages are of this origin, and its answers for nobody else. */
static bool is_for_all_origins(const struct call *c)
{
    if (c->route == ROUTE_PAGE)
        return false;
    return strncmp(http_path(c->x), "/console/", 9) != 0;
}

static void add_common(struct headers *h, const struct call *c)
{
    add(h, "x-trace-id", c->trace_id);
    add(h, "x-request-id", c->trace_id);
    if (is_for_all_origins(c)) {
        add(h, "access-control-allow-origin", "*");
        add(h, "access-control-expose-headers",
            "x-trace-id, x-request-id, x-should-retry, retry-after, x-next-before, "
            "x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, "
            "x-ratelimit-limit-requests, x-ratelimit-remaining-requests, "
            "x-ratelimit-reset-requests, x-ratelimit-limit-tokens, "
            "x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens");
    }
    add_limits(h, c);
}

/* The answer to a browser that asks before it calls from another origin. Keys travel in a
 * header and never in a cookie, so every origin may. */
static void add_preflight(struct headers *h)
{
    add(h, "access-control-allow-methods", "GET, POST, PUT, PATCH, DELETE, OPTIONS");
    add(h, "access-control-allow-headers",
        "authorization, content-type, accept, x-request-id, traceparent, "
        "x-stainless-lang, x-stainless-package-version, x-stainless-os, x-stainless-arch, "
        "x-stainless-runtime, x-stainless-runtime-version, x-stainless-retry-count, "
        "x-stainless-timeout, x-stainless-helper-method");
    add(h, "access-control-max-age", "86400");
}

void answer_body(struct call *c, int status, const char *type, const void *body, size_t len)
{
    struct headers h = {0};
    add_common(&h, c);
    if (type)
        add(&h, "content-type", type);
    else if (is_for_all_origins(c))
        add_preflight(&h);
    c->status = status;
    http_reply(c->x, status, h.list, h.n, body, len);
}

static void set_too_large(struct fault *f)
{
    fault_set(f, FAULT_INTERNAL, NULL, "The reply grew past what this server can hold.");
}

void answer_json(struct call *c, struct buf *body)
{
    if (body->failed) {
        struct fault f;
        set_too_large(&f);
        answer_fault(c, &f);
        return;
    }
    answer_body(c, 200, "application/json; charset=utf-8", body->data, body->len);
}

/* Takes back what a 405 must name from the message's own table row. */
static void add_allow(struct headers *h, const struct call *c, char *allow, size_t size)
{
    route_find(call_routes, call_n_routes, http_method(c->x), http_path(c->x), allow, size);
    add(h, "allow", allow);
}

static void send_fault(struct call *c, const struct fault *f, const struct buf *body)
{
    struct headers h = {0};
    char retry[16], allow[64];
    add_common(&h, c);
    add(&h, "content-type", "application/json; charset=utf-8");
    add(&h, "x-should-retry", fault_retry(f->kind) ? "true" : "false");
    if (f->kind == FAULT_METHOD)
        add_allow(&h, c, allow, sizeof allow);
    if (fault_status(f->kind) == 401 && c->route != ROUTE_CONSOLE)
        add(&h, "www-authenticate", "Bearer");
    if (f->retry_after_s) {
        snprintf(retry, sizeof retry, "%d", f->retry_after_s);
        add(&h, "retry-after", retry);
    }
    c->status = fault_status(f->kind);
    http_reply(c->x, c->status, h.list, h.n, body->data, body->len);
}

static void write_stream(struct call *c, struct buf *b)
{
    if (b->len)
        http_stream_write(c->x, b->data, b->len);
    c->last_write_ms = clock_mono_ms();
}

static void close_stream(struct call *c, struct buf *last)
{
    write_stream(c, last);
    c->stream_over = true;
    http_stream_end(c->x);
}

void answer_fault(struct call *c, const struct fault *f)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    if (c->streaming) {
        fault_event(&b, f, c->trace_id);
        close_stream(c, &b);
    } else {
        fault_body(&b, f, c->trace_id);
        send_fault(c, f, &b);
    }
    buf_done(&b);
}

void answer_console(struct call *c, const struct console_answer *a)
{
    struct headers h = {0};
    if (a->fault) {
        c->fault = a->fault->kind;
        answer_fault(c, a->fault);
        return;
    }
    add_common(&h, c);
    add(&h, "cache-control", "no-store");
    add(&h, "x-content-type-options", "nosniff");
    if (a->type)
        add(&h, "content-type", a->type);
    for (size_t i = 0; i < a->n_headers; i++)
        add(&h, a->headers[i].name, a->headers[i].value);
    c->status = a->status;
    http_reply(c->x, a->status, h.list, h.n, a->body, a->len);
}

void answer_page(struct call *c, const struct pages_answer *a)
{
    struct headers h = {0};
    add_common(&h, c);
    for (size_t i = 0; i < a->n_headers; i++)
        add(&h, a->headers[i].name, a->headers[i].value);
    c->status = a->status;
    http_reply(c->x, a->status, h.list, h.n, a->body, a->len);
}

/* --- streams --- */

static void open_stream(struct call *c)
{
    struct headers h = {0};
    if (c->streaming)
        return;
    add_common(&h, c);
    add(&h, "content-type", "text/event-stream; charset=utf-8");
    add(&h, "cache-control", "no-cache");
    add(&h, "x-accel-buffering", "no");
    c->streaming = true;
    c->status = 200;
    http_stream_start(c->x, 200, h.list, h.n);
}

void answer_start(struct call *c)
{
    struct buf b;
    if (!c->request.stream || c->roles_sent)
        return;
    open_stream(c);
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < c->n_choices; i++)
        api_chunk_role(&b, &c->head, (int)i);
    write_stream(c, &b);
    c->roles_sent = true;
    buf_done(&b);
}

void answer_keep_alive(struct call *c)
{
    struct buf b;
    open_stream(c);
    buf_init(&b, 64);
    api_chunk_keep_alive(&b);
    write_stream(c, &b);
    buf_done(&b);
}

static struct api_text text_of(const struct buf *b)
{
    return (struct api_text){.data = b->len ? b->data : "", .len = b->len};
}

/* Writes what one choice has gathered. */
static void write_choice(struct call *c, size_t i, struct buf *out)
{
    struct call_choice *choice = &c->choices[i];
    if (choice->reasoning.len || choice->content.len || choice->logprobs.len)
        api_chunk_text(out, &c->head, (int)i, text_of(&choice->reasoning),
                       text_of(&choice->content),
                       c->request.logprobs && choice->logprobs.len ? choice->logprobs.data : NULL,
                       choice->logprobs.len);
    buf_reset(&choice->reasoning);
    buf_reset(&choice->content);
    buf_reset(&choice->logprobs);
    if (choice->finish != API_FINISH_NONE && !choice->finish_sent) {
        api_chunk_finish(out, &c->head, (int)i, choice->finish);
        choice->finish_sent = true;
    }
}

static void end_stream(struct call *c, struct buf *out)
{
    if (c->route == ROUTE_CHAT_KIMI || c->request.include_usage)
        api_chunk_usage(out, &c->head, &c->usage);
    api_chunk_done(out);
    close_stream(c, out);
}

static bool client_keeps_up(const struct call *c)
{
    return http_pending(c->x) < c->snapshot->config->http.stream_bytes;
}

static void resume(struct call *c)
{
    if (!c->paused || !client_keeps_up(c))
        return;
    c->paused = false;
    router_pause(c->app->router, c->number, false);
}

void answer_flush(struct call *c)
{
    struct buf b;
    resume(c);
    if (!c->roles_sent || c->stream_over || !client_keeps_up(c))
        return;
    buf_init(&b, EVENT_MAX_BYTES);
    for (size_t i = 0; c->choices && i < c->n_choices; i++)
        write_choice(c, i, &b);
    if (c->backend_done)
        end_stream(c, &b);
    else if (b.len)
        write_stream(c, &b);
    buf_done(&b);
}

/* --- the reply --- */

static void overflow(struct call *c)
{
    struct fault f;
    set_too_large(&f);
    call_refuse(c, &f);
}

void answer_piece(struct call *c, const struct backend_piece *piece)
{
    struct call_choice *choice = &c->choices[piece->choice];
    buf_add(&choice->reasoning, piece->reasoning.data, piece->reasoning.len);
    buf_add(&choice->content, piece->content.data, piece->content.len);
    for (size_t i = 0; i < piece->n_logprobs; i++)
        api_logprob_write(&choice->logprobs, &piece->logprobs[i], choice->logprobs.len > 0);
    if (choice->reasoning.failed || choice->content.failed || choice->logprobs.failed)
        overflow(c);
    else if (c->request.stream)
        answer_flush(c);
}

void answer_chunk(struct call *c, const struct relayed *chunk)
{
    struct buf *b = &c->app->scratch;
    relay_chunk(b, &c->head, chunk);
    if (b->failed)
        overflow(c);
    else
        write_stream(c, b);
    if (b->cap > SCRATCH_KEPT_BYTES)
        buf_done(b);
    else
        buf_reset(b);
    if (c->paused || client_keeps_up(c))
        return;
    c->paused = true;
    router_pause(c->app->router, c->number, true);
}

void answer_length(struct call *c)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < c->n_choices; i++)
        api_chunk_finish(&b, &c->head, (int)i, API_FINISH_LENGTH);
    write_stream(c, &b);
    buf_done(&b);
}

void answer_finish(struct call *c, int choice, enum api_finish finish)
{
    c->choices[choice].finish = finish;
    if (c->request.stream)
        answer_flush(c);
}

static void send_whole(struct call *c)
{
    struct api_choice *list = mem_array(c->n_choices, sizeof *list);
    struct buf b;
    buf_init(&b, BODY_MAX_BYTES);
    for (size_t i = 0; i < c->n_choices; i++) {
        const struct call_choice *from = &c->choices[i];
        list[i] = (struct api_choice){.content = text_of(&from->content),
                                      .reasoning = text_of(&from->reasoning),
                                      .has_reasoning = from->reasoning.len > 0,
                                      .wants_logprobs = c->request.logprobs,
                                      .logprobs_json = text_of(&from->logprobs).data,
                                      .logprobs_len = from->logprobs.len,
                                      .finish = from->finish};
    }
    api_reply_write(&b, &c->head, list, c->n_choices, &c->usage);
    answer_json(c, &b);
    buf_done(&b);
    free(list);
}

void answer_whole(struct call *c, const struct relayed *reply)
{
    buf_init(&c->whole, BODY_MAX_BYTES);
    buf_reserve(&c->whole, reply->text.len + OURS_BYTES);
    c->whole_ready = reply->has_usage;
    if (c->whole_ready)
        relay_reply(&c->whole, &c->head, reply, &reply->usage);
    else /* until its tokens are counted */
        buf_add(&c->whole, reply->text.data, reply->text.len);
}

static void send_relayed(struct call *c)
{
    struct relayed reply;
    struct buf b;
    if (c->whole_ready || c->whole.failed) {
        answer_json(c, &c->whole);
        return;
    }
    buf_init(&b, BODY_MAX_BYTES);
    relay_read(c->whole.data, c->whole.len, &reply, NULL); /* was read once, so it is good */
    relay_reply(&b, &c->head, &reply, &c->usage);
    relay_done(&reply);
    answer_json(c, &b);
    buf_done(&b);
}

void answer_end(struct call *c)
{
    c->backend_done = true;
    if (c->request.stream)
        answer_flush(c);
    else if (c->choices)
        send_whole(c);
    else
        send_relayed(c);
}
