/*
 * A connection: bytes in, bytes out, and what happens next.
 *
 * conn_run is the one place where a connection moves: it feeds what was read to the head or the
 * body, writes what is waiting, ends an exchange that is complete, and sets events and the time
 * limit for what comes next. Reading goes on while a reply is being made, so that a client that
 * leaves is seen at once; what it sends ahead is held up to a bound, beyond which nothing is
 * read and the socket is watched for its end alone.
 *
 * Output is written straight to the socket; the loop watches for room only when it is full.
 * Between requests a connection holds no buffers.
 */
#include "http/conn.h"

#include "base/mem.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct evbuffer *conn_out(struct http_conn *c)
{
    if (c->out == NULL)
        c->out = evbuffer_new();
    if (c->out == NULL)
        abort();
    return c->out;
}

size_t conn_pending(const struct http_conn *c)
{
    return c->out != NULL ? evbuffer_get_length(c->out) : 0;
}

void conn_schedule(struct http_conn *c)
{
    struct http_server *s = c->server;
    c->again = true;
    if (c->busy || c->is_scheduled)
        return;
    c->is_scheduled = true;
    TAILQ_INSERT_TAIL(&s->scheduled, c, scheduled);
    s->n_scheduled++;
    event_active(s->scheduled_event, EV_TIMEOUT, 0);
}

void conn_unschedule(struct http_conn *c)
{
    if (!c->is_scheduled)
        return;
    TAILQ_REMOVE(&c->server->scheduled, c, scheduled);
    c->server->n_scheduled--;
    c->is_scheduled = false;
}

static bool shake_hands(struct http_conn *c);

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct http_conn *c = arg;
    (void)what;
    if (c->state == CONN_HANDSHAKE && !shake_hands(c))
        return;
    ssize_t n = c->ssl != NULL ? tls_read(c, c->server->scratch, SCRATCH_BYTES)
                               : recv(fd, c->server->scratch, SCRATCH_BYTES, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        conn_die(c, HTTP_CLIENT_GONE);
    conn_run(c, c->server->scratch, n > 0 ? (size_t)n : 0);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct http_conn *c = arg;
    (void)fd;
    (void)what;
    if (c->state != CONN_HANDSHAKE || shake_hands(c))
        conn_run(c, NULL, 0);
}

static int write_out(struct http_conn *c)
{
    return c->ssl != NULL ? tls_write(c) : evbuffer_write(c->out, c->fd);
}

static void drop_out(struct http_conn *c)
{
    if (c->out != NULL)
        evbuffer_free(c->out);
    c->out = NULL;
}

void conn_die(struct http_conn *c, enum http_outcome why)
{
    if (c->dead)
        return;
    c->dead = true;
    c->outcome = why;
}

void conn_free(struct http_conn *c)
{
    struct http_server *s = c->server;
    conn_die(c, HTTP_CUT);
    /* What was written before a cut may still go out. */
    if (c->outcome == HTTP_CUT && conn_pending(c) > 0)
        write_out(c);
    /* TLS has an end of its own, which a reply that is cut must not have. */
    if (c->ssl != NULL && c->x == NULL)
        tls_say_end(c);
    /* Without chunks only a reset tells the client that the reply is broken. */
    if (c->x != NULL && c->x->reply == REPLY_STREAM && !c->x->chunked_reply) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    if (c->x != NULL)
        exchange_end(c->x, c->outcome);
    deadline_set(c, DEADLINE_NONE, false);
    conn_unschedule(c);
    TAILQ_REMOVE(&s->all, c, all);
    s->n_conns--;
    gone_watch(c, false);
    event_free(c->read_event);
    if (c->write_event != NULL)
        event_free(c->write_event);
    drop_out(c);
    buf_done(&c->in);
    if (c->ssl != NULL)
        tls_end(c);
    close(c->fd);
    free(c);
    server_accept_again(s);
}

/* The request goes no further: the application words the refusal. */
static void fault(struct http_conn *c, enum http_fault what_fault, const char *what)
{
    struct http_exchange *x = c->x;
    x->faulted = true;
    c->server->app.on_fault(c->server->arg, x, what_fault, what);
    if (x->reply != REPLY_DONE)
        conn_die(c, HTTP_CUT);
}

/* A request begins; `head_bytes` of it are at p, and no more if its end was not found. */
static void begin_exchange(struct http_conn *c, const char *p, size_t head_bytes)
{
    c->x = exchange_new(c, p, head_bytes);
    c->state = CONN_EXCHANGE;
    c->scanned = 0;
    c->progress = true;
}

static void complete_head(struct http_conn *c, const char *p, size_t len)
{
    enum http_fault why;
    const char *what;
    begin_exchange(c, p, len);
    struct http_exchange *x = c->x;
    bool good = head_parse(x->bytes, len, c->server->limits.head_fields, &x->head, &why, &what);
    x->head_only = strcmp(x->head.method, "HEAD") == 0;
    if (!good) {
        fault(c, why, what);
        return;
    }
    x->continue_wanted = x->head.expect_continue;
    if (x->head.chunked || x->head.content_length > 0)
        x->body_state = BODY_UNREAD;
    c->server->app.on_head(c->server->arg, x);
}

/* Each feed function tells in *took what it used, and returns whether there may be more to do. */
static bool feed_head(struct http_conn *c, const char *p, size_t n, size_t *took)
{
    size_t most = c->server->limits.head_bytes;
    *took = 0;
    if (n == 0)
        return false;
    if (!c->crlf && n >= 2 && memcmp(p, "\r\n", 2) == 0) {
        c->crlf = true;
        c->state = CONN_IDLE;
        *took = 2;
        return true;
    }
    c->state = CONN_HEAD;
    if (!c->crlf && n == 1 && p[0] == '\r')
        return false;
    long len = head_find_end(p, n, &c->scanned);
    if (len == 0 && n < most)
        return false;
    *took = n;
    if (len < 0) {
        begin_exchange(c, p, 0);
        fault(c, HTTP_FAULT_BAD_HEAD, "a line of the head ends without CR");
    } else if (len == 0 || (size_t)len > most) {
        begin_exchange(c, p, 0);
        fault(c, HTTP_FAULT_HEAD_LARGE, "the head of the request is too large");
    } else {
        *took = (size_t)len;
        complete_head(c, p, (size_t)len);
    }
    return true;
}

static bool complete_body(struct http_exchange *x)
{
    struct http_server *s = x->conn->server;
    x->body_state = BODY_READ;
    s->app.on_body(s->arg, x, x->body.data != NULL ? x->body.data : "", x->body.len);
    buf_done(&x->body); /* a long prompt is not kept during its reply */
    return true;
}

static bool feed_sized(struct http_exchange *x, const char *p, size_t n, size_t *took)
{
    *took = n < x->body_left ? n : (size_t)x->body_left;
    buf_add(&x->body, p, *took);
    x->body_left -= *took;
    return x->body_left == 0 && complete_body(x);
}

static bool feed_chunked(struct http_exchange *x, const char *p, size_t n, size_t *took)
{
    switch (chunked_feed(&x->chunked, p, n, took, &x->body)) {
    case CHUNKED_MORE:
        return false;
    case CHUNKED_DONE:
        return complete_body(x);
    case CHUNKED_LARGE:
        fault(x->conn, HTTP_FAULT_BODY_LARGE, "the body of the request is too large");
        return false;
    case CHUNKED_BAD:
        break;
    }
    fault(x->conn, HTTP_FAULT_BAD_BODY, "the chunks of the body are malformed");
    return false;
}

static bool feed_body(struct http_conn *c, const char *p, size_t n, size_t *took)
{
    struct http_exchange *x = c->x;
    *took = 0;
    if (x->body_state != BODY_READING || x->reply != REPLY_NONE || x->faulted)
        return false;
    if (x->body_left > x->body.max_bytes) {
        fault(c, HTTP_FAULT_BODY_LARGE, "the body of the request is too large");
        return false;
    }
    if (x->continue_wanted && n == 0 && (x->head.chunked || x->body_left > 0))
        evbuffer_add(conn_out(c), "HTTP/1.1 100 Continue\r\n\r\n", 25);
    x->continue_wanted = false;
    return x->head.chunked ? feed_chunked(x, p, n, took) : feed_sized(x, p, n, took);
}

static size_t feed(struct http_conn *c, const char *p, size_t n)
{
    size_t used = 0, took = 0;
    bool more = true;
    while (more && !c->dead) {
        if (c->state == CONN_LINGER) {
            took = n - used;
            more = false;
        } else if (c->state == CONN_EXCHANGE) {
            more = feed_body(c, p + used, n - used, &took);
        } else {
            more = feed_head(c, p + used, n - used, &took);
        }
        used += took;
    }
    return used;
}

/* Uses what was read now and before; keeps the rest. */
static void take_input(struct http_conn *c, const char *bytes, size_t n)
{
    if (c->in.len == 0) {
        size_t used = feed(c, n > 0 ? bytes : "", n);
        if (used < n)
            buf_add(&c->in, bytes + used, n - used);
    } else {
        buf_add(&c->in, bytes, n);
        buf_drop(&c->in, feed(c, c->in.data != NULL ? c->in.data : "", c->in.len));
    }
    if (c->in.failed)
        conn_die(c, HTTP_CUT);
    if (c->in.len == 0)
        buf_done(&c->in);
}

static void flush(struct http_conn *c)
{
    if (conn_pending(c) == 0)
        return;
    int n = write_out(c);
    if (n > 0)
        c->progress = true;
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        conn_die(c, HTTP_CLIENT_GONE);
}

/* The last reply is out. Closing with unread bytes in the socket would reset the connection and
 * might take the reply from the client, so those who may still be sending are waited for. */
static void begin_linger(struct http_conn *c, bool expects_close)
{
    if (expects_close && c->in.len == 0) {
        conn_die(c, HTTP_COMPLETE);
        return;
    }
    shutdown(c->fd, SHUT_WR);
    buf_done(&c->in);
    c->state = CONN_LINGER;
}

static void end_exchange(struct http_conn *c)
{
    struct http_exchange *x = c->x;
    bool close_after = x->close;
    bool expects_close = !x->faulted && !x->head.keep_alive &&
                         (x->body_state == BODY_NONE || x->body_state == BODY_READ);
    drop_out(c);
    exchange_end(x, HTTP_COMPLETE);
    c->state = CONN_IDLE;
    c->crlf = false;
    c->progress = true;
    if (close_after || c->server->draining)
        begin_linger(c, expects_close);
    else if (c->in.len > 0)
        c->again = true;
}

/* The reply is written, and if it is the last one, TLS has said so. */
static bool all_written(struct http_conn *c)
{
    if (c->x == NULL || c->x->reply != REPLY_DONE || conn_pending(c) > 0)
        return false;
    bool last = c->x->close || c->server->draining;
    return c->ssl == NULL || !last || tls_say_end(c);
}

static void tell_drained(struct http_conn *c)
{
    struct http_exchange *x = c->x;
    struct http_server *s = c->server;
    if (x != NULL && x->above && x->reply == REPLY_STREAM &&
        conn_pending(c) < s->limits.stream_bytes) {
        x->above = false;
        s->app.on_drain(s->arg, x);
    }
}

static void watch(struct event *e, bool *added, bool wanted)
{
    if (*added == wanted)
        return;
    *added = wanted;
    if (wanted)
        event_add(e, NULL);
    else
        event_del(e);
}

static bool reading_body(const struct http_conn *c)
{
    return c->x != NULL && c->x->body_state == BODY_READING && c->x->reply == REPLY_NONE;
}

static enum deadline next_deadline(const struct http_conn *c)
{
    switch (c->state) {
    case CONN_HANDSHAKE:
        return DEADLINE_HANDSHAKE;
    case CONN_IDLE:
        return DEADLINE_IDLE;
    case CONN_HEAD:
        return DEADLINE_HEAD;
    case CONN_LINGER:
        return DEADLINE_LINGER;
    case CONN_EXCHANGE:
        break;
    }
    if (reading_body(c))
        return DEADLINE_BODY;
    return conn_pending(c) > 0 || c->blocked ? DEADLINE_STALL : DEADLINE_NONE;
}

/* Sets events and the time limit for what comes next. */
static void settle(struct http_conn *c)
{
    bool full = c->state == CONN_EXCHANGE && !reading_body(c) && c->in.len >= PIPELINE_BYTES;
    bool pending = conn_pending(c) > 0 || c->blocked;
    watch(c->read_event, &c->reading, !full);
    gone_watch(c, full);
    if (pending && c->write_event == NULL) {
        c->write_event = event_new(c->server->base, c->fd, EV_WRITE | EV_PERSIST, on_writable, c);
        if (c->write_event == NULL)
            abort();
    }
    if (c->write_event != NULL)
        watch(c->write_event, &c->writing, pending);
    deadline_set(c, next_deadline(c), c->progress);
    c->progress = false;
}

void conn_run(struct http_conn *c, const char *bytes, size_t n)
{
    c->busy = true;
    if (!c->dead)
        take_input(c, bytes, n);
    c->again = false;
    if (!c->dead)
        flush(c);
    if (!c->dead && all_written(c))
        end_exchange(c);
    if (!c->dead)
        tell_drained(c);
    c->busy = false;
    if (!c->dead && c->server->draining && c->state == CONN_IDLE && c->in.len == 0)
        conn_die(c, HTTP_COMPLETE);
    if (c->dead) {
        conn_free(c);
        return;
    }
    settle(c);
    if (c->again)
        conn_schedule(c);
}

/* The handshake goes on. True: it is over, and there may be bytes of a request; false: it is not,
 * or the connection is freed. */
static bool shake_hands(struct http_conn *c)
{
    switch (tls_accept(c)) {
    case TLS_ACCEPTED:
        c->state = CONN_IDLE;
        settle(c);
        if (c->server->draining)
            conn_schedule(c);
        return true;
    case TLS_GOES_ON:
        settle(c);
        return false;
    case TLS_IS_PLAIN:
        tls_end(c);
        c->busy = true;
        begin_exchange(c, "", 0);
        fault(c, HTTP_FAULT_BAD_HEAD, "this port speaks https, and the request came without TLS");
        break;
    case TLS_REFUSED:
        conn_die(c, HTTP_CLIENT_GONE);
        break;
    }
    conn_run(c, NULL, 0);
    return false;
}

void conn_expire(struct http_conn *c, enum deadline d)
{
    c->busy = true;
    switch (d) {
    case DEADLINE_HEAD:
        begin_exchange(c, "", 0);
        fault(c, HTTP_FAULT_HEAD_TIMEOUT, "the head of the request took too long");
        buf_done(&c->in);
        break;
    case DEADLINE_BODY:
        /* The application may have replied in this very turn. */
        if (reading_body(c))
            fault(c, HTTP_FAULT_BODY_TIMEOUT, "the body of the request took too long");
        break;
    case DEADLINE_STALL:
        conn_die(c, HTTP_CLIENT_STALLED);
        break;
    case DEADLINE_HANDSHAKE:
    case DEADLINE_IDLE:
    case DEADLINE_LINGER:
    case DEADLINE_NONE:
    case N_DEADLINES:
        conn_die(c, HTTP_COMPLETE);
        break;
    }
    conn_run(c, NULL, 0);
}

void conn_new(struct http_server *s, int fd, const struct sockaddr *peer, size_t peer_bytes)
{
    struct http_conn *c = mem_zalloc(sizeof(*c));
    c->server = s;
    c->fd = fd;
    memcpy(&c->peer, peer, peer_bytes < sizeof(c->peer) ? peer_bytes : sizeof(c->peer));
    buf_init(&c->in, INPUT_BYTES);
    c->read_event = event_new(s->base, fd, EV_READ | EV_PERSIST, on_readable, c);
    if (c->read_event == NULL)
        abort();
    c->state = s->tls != NULL ? CONN_HANDSHAKE : CONN_IDLE;
    if (s->tls != NULL)
        tls_begin(c);
    TAILQ_INSERT_TAIL(&s->all, c, all);
    s->n_conns++;
    settle(c);
}
