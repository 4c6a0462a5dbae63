/*
 * One request through libcurl and what it told. For the tests of transfers.
 */
#ifndef MOONGATE_TESTS_TRANSFER_RIG_H
#define MOONGATE_TESTS_TRANSFER_RIG_H

#include "upstream_rig.h"

/* What a transfer told. */
struct heard {
    int heads, ends, status, retry_after_ms;
    char type[100], detail[300];
    enum transfer_end end;
    struct buf body;
    struct transfer *transfer;
    bool close_in_head, close_in_body, refuse_body, pause_in_body, let_go_in_body;
    bool again; /* opens another in on_end */
    struct heard *other;
    struct rig *rig;
};

static inline void on_head(void *arg, int status, const char *type, int retry_after_ms)
{
    struct heard *h = arg;
    h->heads++;
    h->status = status;
    h->retry_after_ms = retry_after_ms;
    snprintf(h->type, sizeof h->type, "%s", type);
    if (h->close_in_head)
        transfer_close(h->transfer);
}

static inline int on_body(void *arg, const char *bytes, size_t n)
{
    struct heard *h = arg;
    buf_add(&h->body, bytes, n);
    if (h->close_in_body) {
        transfer_close(h->transfer);
        transfer_close(h->transfer);
    }
    if (h->close_in_body && h->other)
        transfer_close(h->other->transfer);
    if (h->pause_in_body)
        transfer_pause(h->transfer, true);
    if (h->let_go_in_body)
        transfer_let_go(h->transfer);
    return h->refuse_body;
}

static inline void begin(struct rig *w, struct heard *h);

static inline void on_end(void *arg, enum transfer_end end, const char *detail)
{
    struct heard *h = arg;
    h->ends++;
    h->end = end;
    snprintf(h->detail, sizeof h->detail, "%s", detail);
    transfer_pause(h->transfer, true);
    transfer_close(h->transfer);
    h->transfer = NULL;
    if (h->again) {
        h->again = false;
        begin(h->rig, h);
    }
}

static const struct transfer_events events = {on_head, on_body, on_end};

static inline void post(struct rig *w, struct heard *h, char *body, bool stream)
{
    const char *lines[] = {"Content-Type: application/json", "X-Trace: 1", "X-Mine: ours"};
    struct error e;
    if (!h->body.max_bytes)
        buf_init(&h->body, 64 << 20);
    h->rig = w;
    int heads = h->heads, ends = h->ends;
    assert_int_equal(transfer_open(w->transfers, &w->options, "/v1/x", body, strlen(body), lines, 3,
                                   stream, &events, h, &h->transfer, &e),
                     0);
    assert_int_equal(h->heads, heads);
    assert_int_equal(h->ends, ends);
}

static inline void begin(struct rig *w, struct heard *h)
{
    post(w, h, mem_strdup("{\"a\":1}"), true);
}

static inline int set_up(void **state)
{
    struct rig *w = calloc(1, sizeof *w);
    rig_open(w);
    *state = w;
    return 0;
}

static inline int tear_down(void **state)
{
    rig_close(*state);
    free(*state);
    return 0;
}

static inline void assert_body(struct heard *h, const char *text)
{
    assert_string_equal(h->body.data ? h->body.data : "", text);
}

static inline void assert_end(struct rig *w, struct heard *h, enum transfer_end end)
{
    until(w, h->ends);
    assert_int_equal(h->end, end);
    assert_int_equal(h->ends, 1);
    buf_done(&h->body);
}

#define OK_HEAD  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
#define CHUNKED  OK_HEAD "Transfer-Encoding: chunked\r\n\r\n"
#define WHOLE(n) OK_HEAD "Content-Length: " n "\r\n\r\n"

#define a_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
