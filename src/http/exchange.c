/*
 * One request with its reply: the face that the application calls.
 *
 * Every call here only changes the exchange, adds to the connection's output and schedules the
 * connection; nothing is written, freed or called back from inside. So all of it is safe in any
 * callback, and what is called on an exchange that is already cut or replied does nothing.
 */
#include "http/conn.h"

#include "base/mem.h"
#include "http/forwarded.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

/* "::ffff:10.0.0.1" of a socket for both families is 10.0.0.1 to people. */
static void format_peer(const struct sockaddr_in6 *peer, char *out, size_t bytes)
{
    const struct sockaddr *any = (const struct sockaddr *)peer;
    if (any->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)any)->sin_addr, out, (socklen_t)bytes);
    else if (IN6_IS_ADDR_V4MAPPED(&peer->sin6_addr))
        inet_ntop(AF_INET, peer->sin6_addr.s6_addr + 12, out, (socklen_t)bytes);
    else
        inet_ntop(AF_INET6, &peer->sin6_addr, out, (socklen_t)bytes);
}

struct http_exchange *exchange_new(struct http_conn *c, const char *head, size_t len)
{
    struct http_exchange *x = mem_alloc(sizeof(*x) + len);
    *x = (struct http_exchange){.conn = c};
    x->head =
        (struct head){.method = "", .path = "", .query = "", .fields = "", .content_length = -1};
    buf_init(&x->body, c->server->limits.body_bytes);
    chunked_init(&x->chunked);
    format_peer(&c->peer, x->peer, sizeof(x->peer));
    if (len > 0)
        memcpy(x->bytes, head, len);
    return x;
}

void exchange_end(struct http_exchange *x, enum http_outcome outcome)
{
    struct http_conn *c = x->conn;
    x->reply = REPLY_DONE;
    c->server->app.on_end(c->server->arg, x, outcome);
    c->x = NULL;
    buf_done(&x->body);
    free(x);
}

const char *http_method(const struct http_exchange *x)
{
    return x->head.method;
}

const char *http_path(const struct http_exchange *x)
{
    return x->head.path;
}

const char *http_query(const struct http_exchange *x)
{
    return x->head.query;
}

const char *http_header_get(const struct http_exchange *x, const char *name)
{
    return head_field(&x->head, name);
}

const char *http_peer(const struct http_exchange *x)
{
    return x->peer;
}

bool http_is_tls(const struct http_exchange *x)
{
    return x->conn->ssl != NULL;
}

void http_forwarded(const struct http_exchange *x, const struct net_list *trusted,
                    struct forwarded *out)
{
    struct buf hops, protos;
    /* Joined they are never longer than the head was: a field's line has more than ", " around its
     * value. */
    buf_init(&hops, INPUT_BYTES);
    buf_init(&protos, INPUT_BYTES);
    forwarded_read(trusted, x->peer, http_is_tls(x),
                   head_fields(&x->head, "X-Forwarded-For", &hops),
                   head_fields(&x->head, "X-Forwarded-Proto", &protos), out);
    buf_done(&hops);
    buf_done(&protos);
}

void http_set_user(struct http_exchange *x, void *user)
{
    x->user = user;
}

void *http_user(const struct http_exchange *x)
{
    return x->user;
}

static bool is_over(const struct http_exchange *x)
{
    return x->reply == REPLY_DONE || x->conn->dead;
}

void http_read_body(struct http_exchange *x)
{
    if (is_over(x) || x->reply != REPLY_NONE || x->faulted || x->body_state > BODY_UNREAD)
        return;
    x->body_state = BODY_READING;
    x->body_left = x->head.content_length > 0 ? (uint64_t)x->head.content_length : 0;
    conn_schedule(x->conn);
}

/* Whether the connection must end with this reply, known when the reply begins. */
static bool must_close(const struct http_exchange *x)
{
    bool unread = x->body_state == BODY_UNREAD || x->body_state == BODY_READING;
    return x->faulted || unread || !x->head.keep_alive || x->conn->server->draining;
}

void http_reply(struct http_exchange *x, int status, const struct http_header *headers,
                size_t n_headers, const void *body, size_t len)
{
    bool bodiless = status == 204 || status == 304;
    if (is_over(x) || x->reply != REPLY_NONE)
        return;
    x->close = must_close(x);
    reply_head(x, status, headers, n_headers, bodiless ? "" : NULL, len);
    if (!bodiless && !x->head_only && len > 0)
        evbuffer_add(conn_out(x->conn), body, len);
    x->reply = REPLY_DONE;
    conn_schedule(x->conn);
}

void http_stream_start(struct http_exchange *x, int status, const struct http_header *headers,
                       size_t n_headers)
{
    if (is_over(x) || x->reply != REPLY_NONE)
        return;
    x->chunked_reply = x->head.minor > 0;
    x->close = must_close(x) || !x->chunked_reply;
    reply_head(x, status, headers, n_headers,
               x->chunked_reply ? "Transfer-Encoding: chunked\r\n" : "", 0);
    x->reply = REPLY_STREAM;
    conn_schedule(x->conn);
}

/* The line with the size, the bytes and CRLF, in one piece of memory. */
static void add_chunk(struct evbuffer *out, const void *bytes, size_t len)
{
    char line[2 * sizeof(len) + 2];
    size_t at = sizeof(line);
    struct evbuffer_iovec room;
    line[--at] = '\n';
    line[--at] = '\r';
    for (size_t left = len; left != 0; left >>= 4)
        line[--at] = "0123456789abcdef"[left & 15];
    size_t line_len = sizeof(line) - at;
    if (evbuffer_reserve_space(out, (ev_ssize_t)(line_len + len + 2), &room, 1) != 1)
        abort();
    char *p = room.iov_base;
    memcpy(p, line + at, line_len);
    memcpy(p + line_len, bytes, len);
    memcpy(p + line_len + len, "\r\n", 2);
    room.iov_len = line_len + len + 2;
    evbuffer_commit_space(out, &room, 1);
}

void http_stream_write(struct http_exchange *x, const void *bytes, size_t len)
{
    if (is_over(x) || x->reply != REPLY_STREAM || x->head_only || len == 0)
        return;
    struct evbuffer *out = conn_out(x->conn);
    if (x->chunked_reply)
        add_chunk(out, bytes, len);
    else
        evbuffer_add(out, bytes, len);
    if (evbuffer_get_length(out) >= x->conn->server->limits.stream_bytes)
        x->above = true;
    conn_schedule(x->conn);
}

size_t http_pending(const struct http_exchange *x)
{
    return conn_pending(x->conn);
}

void http_stream_end(struct http_exchange *x)
{
    if (is_over(x) || x->reply != REPLY_STREAM)
        return;
    if (x->chunked_reply && !x->head_only)
        evbuffer_add(conn_out(x->conn), "0\r\n\r\n", 5);
    x->reply = REPLY_DONE;
    conn_schedule(x->conn);
}

void http_abort(struct http_exchange *x)
{
    if (x->conn->dead)
        return;
    conn_die(x->conn, HTTP_CUT);
    conn_schedule(x->conn);
}
