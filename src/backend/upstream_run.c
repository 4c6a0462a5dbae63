/*
 * The reading of one upstream's reply, from its status to its proven end.
 *
 * Bytes of a stream become events where they lie, and each chunk is read and told before the next
 * one is looked at: nothing is kept but an event that is not complete. What comes before the first
 * content is dropped (roles, keep-alives), so that until then the call may go elsewhere. Whatever
 * is called back may stop the run: after each call `over` is looked at, and a run that is `busy`
 * is freed by its outermost function.
 */
#include "backend/upstream_run.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { REFUSAL_BYTES = 64 * 1024 }; /* of a refusal's body that are read */

static const char NO_REPLY[] = "The upstream sent what is no reply.";
static const char BROKEN_OFF[] = "The upstream broke off its reply.";
static const char TOO_LARGE[] = "The upstream's reply is larger than what is allowed.";

struct run *run_new(struct upstream *u, const struct backend_run *call)
{
    struct run *x = mem_zalloc(sizeof *x);
    x->upstream = u;
    x->number = call->number;
    x->stream = call->request->stream;
    x->choices = call->request->choices > 0 ? call->request->choices : 1;
    sse_init(&x->sse, u->options.event_bytes);
    buf_init(&x->body, u->options.reply_bytes);
    return x;
}

void run_free(struct run *x)
{
    transfer_close(x->transfer);
    sse_done(&x->sse);
    buf_done(&x->body);
    free(x);
}

/* The transfer is closed at once, what is further up the stack goes on. */
void run_stop(struct run *x)
{
    run_forget(x);
    transfer_close(x->transfer);
    x->transfer = NULL;
    if (!x->busy)
        run_free(x);
}

/* ---- the end ---- */

/* Nothing of the upstream is touched after on_end: it may be closed in there. */
static void end_run(struct run *x, struct backend_end *end)
{
    struct upstream *u = x->upstream;
    end->usage = x->usage;
    run_forget(x);
    u->to.on_end(u->arg, x->number, end);
}

static void fail(struct run *x, struct backend_end *end)
{
    transfer_close(x->transfer);
    x->transfer = NULL;
    end_run(x, end);
}

static void fail_reply(struct run *x, const char *text, const char *why, const char *body,
                       size_t len)
{
    struct backend_end end = {0};
    fault_of_reply(&end, text, why, body, len);
    fail(x, &end);
}

static void fail_refused(struct run *x, int status, const char *body, size_t len)
{
    struct backend_end end = {0};
    fault_of_refusal(&end, status, x->retry_after_ms, body, len);
    fail(x, &end);
}

/* ---- what chunks and whole replies say ---- */

static void take_usage(struct run *x, const struct relayed *r)
{
    if (!r->has_usage)
        return;
    x->usage = r->usage;
    x->usage.source = API_USAGE_UPSTREAM;
}

/* False if a choice was given up by the upstream. */
static bool take_finishes(struct run *x, const struct relayed *r)
{
    for (size_t i = 0; i < r->n_choices; i++) {
        const struct relayed_choice *c = &r->choice[i];
        if (c->broken)
            return false;
        if (c->finished && c->index >= 0 && c->index < RELAY_CHOICES)
            x->finished[c->index / 64] |= UINT64_C(1) << c->index % 64;
    }
    return true;
}

static bool all_finished(const struct run *x)
{
    for (int i = 0; i < x->choices && i < RELAY_CHOICES; i++) {
        if (!(x->finished[i / 64] >> i % 64 & 1))
            return false;
    }
    return true;
}

static void tell_start(struct run *x)
{
    x->begun = true;
    x->upstream->to.on_start(x->upstream->arg, x->number, &x->usage);
}

/* ---- a stream ---- */

static void take_chunk(struct run *x, const struct relayed *r, const char *data, size_t len)
{
    take_usage(x, r);
    if (!take_finishes(x, r)) {
        fail_reply(x, BROKEN_OFF, "a choice's finish reason says that it was given up", data, len);
        return;
    }
    if (!r->n_choices || (!x->begun && !r->begins))
        return;
    if (!x->begun)
        tell_start(x);
    if (!x->over)
        x->upstream->to.on_chunk(x->upstream->arg, x->number, r);
}

static void take_object(struct run *x, const char *name, const char *data, size_t len)
{
    struct relayed r;
    struct error e;
    int rc = relay_read(data, len, &r, &e);
    if (strcmp(name, "error") == 0 || (rc == 0 && r.kind == RELAY_ERROR))
        fail_refused(x, rc == 0 && r.kind == RELAY_ERROR ? r.status : 0, data, len);
    else if (rc)
        fail_reply(x, NO_REPLY, e.text, data, len);
    else if (r.whole)
        fail_reply(x, NO_REPLY, "a whole reply in a stream", data, len);
    else
        take_chunk(x, &r, data, len);
    relay_done(&r);
}

/* The end has been said, or has come as HTTP says it should; `doubt` is what is wrong if it is
 * none. */
static void prove_end(struct run *x, const char *doubt)
{
    struct backend_end end = {0};
    if (!all_finished(x)) {
        fail_reply(x, BROKEN_OFF, doubt, "", 0);
        return;
    }
    if (x->transfer)
        transfer_let_go(x->transfer);
    x->transfer = NULL;
    end_run(x, &end);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int on_event(void *arg, const char *name, const char *data, size_t len)
{
    struct run *x = arg;
    while (len && is_space(*data)) {
        data++;
        len--;
    }
    while (len && is_space(data[len - 1]))
        len--;
    if (len == 6 && memcmp(data, "[DONE]", 6) == 0)
        prove_end(x, "[DONE] came before every choice had a finish reason");
    else if (len)
        take_object(x, name, data, len);
    return x->over;
}

static void take_events(struct run *x, const char *bytes, size_t n)
{
    int rc = sse_feed(&x->sse, bytes, n, on_event, x);
    if (rc == ERR_LIMIT && !x->over)
        fail_reply(x, TOO_LARGE, "an event is larger than event_bytes", "", 0);
}

/* ---- a body that is gathered ---- */

static void gather(struct run *x, const char *bytes, size_t n)
{
    size_t room = x->body.max_bytes - x->body.len;
    buf_add(&x->body, bytes, n < room ? n : room);
    if (n <= room && x->body.len < x->body.max_bytes)
        return;
    if (x->mode == RUN_REFUSAL)
        fail_refused(x, x->status, x->body.data, x->body.len);
    else if (n > room && x->mode == RUN_WHOLE)
        fail_reply(x, TOO_LARGE, "a reply is larger than reply_bytes", "", 0);
    else if (n > room)
        fail_reply(x, NO_REPLY, "no stream", x->body.data, x->body.len);
}

static void take_whole(struct run *x, const struct relayed *r)
{
    struct backend_end end = {0};
    bool good = take_finishes(x, r);
    take_usage(x, r);
    if (!good || !all_finished(x)) {
        fail_reply(x, BROKEN_OFF,
                   good ? "a whole reply without a finish reason of every choice"
                        : "a choice's finish reason says that it was given up",
                   "", 0);
        return;
    }
    tell_start(x);
    if (!x->over)
        x->upstream->to.on_whole(x->upstream->arg, x->number, r);
    if (!x->over)
        end_run(x, &end);
}

/* A body of RUN_WHOLE or RUN_OBJECT has come to its end. */
static void take_body(struct run *x)
{
    const char *text = x->body.data ? x->body.data : "";
    struct relayed r;
    struct error e;
    int rc = relay_read(text, x->body.len, &r, &e);
    if (rc)
        fail_reply(x, NO_REPLY, x->body.len ? e.text : "an empty body", text, x->body.len);
    else if (r.kind == RELAY_ERROR)
        fail_refused(x, r.status, text, x->body.len);
    else if (x->mode == RUN_WHOLE && r.whole)
        take_whole(x, &r);
    else
        fail_reply(x, NO_REPLY, "no stream where one was asked for, or one where none was", "", 0);
    relay_done(&r);
}

/* ---- what the transfer tells ---- */

static bool is_type(const char *type, const char *name)
{
    size_t n = strlen(name);
    return strncasecmp(type, name, n) == 0 && (!type[n] || strchr("; \t,", type[n]));
}

/* What is called may stop the run; it is freed here. */
static void leave(struct run *x)
{
    x->busy = false;
    if (x->over)
        run_free(x);
}

static void on_head(void *arg, int status, const char *content_type, int retry_after_ms)
{
    struct run *x = arg;
    x->busy = true;
    x->status = status;
    x->retry_after_ms = retry_after_ms;
    if (status < 200 || status >= 300) {
        x->mode = RUN_REFUSAL;
        x->body.max_bytes = REFUSAL_BYTES;
    } else if (is_type(content_type, "text/html")) {
        fail_reply(x, NO_REPLY, "an HTML page", "", 0);
    } else if (!x->stream) {
        x->mode = RUN_WHOLE;
    } else if (is_type(content_type, "application/json")) {
        x->mode = RUN_OBJECT;
        x->body.max_bytes = REFUSAL_BYTES;
    } else {
        x->mode = RUN_LOOK;
    }
    leave(x);
}

/* The first byte tells an object or a page from events, whatever the head said. */
static void look(struct run *x, const char *bytes, size_t n)
{
    while (n && is_space(*bytes)) {
        bytes++;
        n--;
    }
    if (!n)
        return;
    x->mode = RUN_STREAM;
    if (*bytes == '{') {
        x->mode = RUN_OBJECT;
        x->body.max_bytes = REFUSAL_BYTES;
    }
    if (*bytes == '<')
        fail_reply(x, NO_REPLY, "a page of markup", bytes, n);
}

static int on_body(void *arg, const char *bytes, size_t n)
{
    struct run *x = arg;
    x->busy = true;
    if (x->mode == RUN_LOOK)
        look(x, bytes, n);
    if (!x->over && x->mode == RUN_STREAM)
        take_events(x, bytes, n);
    else if (!x->over && x->mode != RUN_LOOK)
        gather(x, bytes, n);
    leave(x);
    return 0;
}

static void on_end(void *arg, enum transfer_end how, const char *detail)
{
    struct run *x = arg;
    x->busy = true;
    x->transfer = NULL;
    if (x->mode == RUN_REFUSAL) {
        fail_refused(x, x->status, x->body.data ? x->body.data : "", x->body.len);
    } else if (how != TRANSFER_COMPLETE) {
        struct backend_end end = {0};
        fault_of_transfer(&end, how, x->mode > RUN_LOOK, detail);
        fail(x, &end);
    } else if (x->mode == RUN_WHOLE || x->mode == RUN_OBJECT) {
        take_body(x);
    } else {
        int rc = sse_end(&x->sse, on_event, x);
        if (!x->over)
            prove_end(x, rc == ERR_LIMIT
                             ? "an event is larger than event_bytes"
                             : "the stream ended before every choice had a finish reason");
    }
    leave(x);
}

const struct transfer_events run_events = {on_head, on_body, on_end};
