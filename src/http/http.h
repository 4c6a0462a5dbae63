/*
 * The HTTP/1.1 server: sockets, strict framing, time limits, replies and streams with
 * back-pressure. Knows no JSON and no meaning of a path.
 *
 * TLS is http/tls.h's: a server and its connections are plain without it.
 *
 * One thread: the event loop's. An exchange is one request with its reply. The server owns it;
 * the application may hold its pointer from on_head until on_end returns. on_end comes exactly
 * once for each on_head, whether the reply was finished, cut, or the client left. Nothing is
 * freed inside a callback of the application: ended exchanges are freed on the next turn.
 *
 * Framing follows RFC 9112, and refuses what two readers could read differently: two different
 * or signed Content-Length, Content-Length beside Transfer-Encoding, a transfer coding other
 * than one "chunked", obs-fold, a space before the colon, NUL or control bytes, a missing or a
 * second Host, bare CR.
 */
#ifndef MOONGATE_HTTP_HTTP_H
#define MOONGATE_HTTP_HTTP_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct forwarded;
struct net_list;
struct http_server;
struct http_exchange;

struct http_limits {
    size_t connections;   /* open at once; accepting pauses beyond that */
    size_t head_bytes;    /* request line and header fields */
    size_t head_fields;   /* number of header fields */
    size_t body_bytes;    /* decoded body */
    int head_timeout_ms;  /* from the first byte of a head to its end; for a handshake of TLS */
    int body_timeout_ms;  /* from the end of the head to the end of the body */
    int idle_timeout_ms;  /* a kept connection without a request */
    int stall_timeout_ms; /* a client that takes none of the bytes waiting for it */
    size_t stream_bytes;  /* on_drain is told once less than this waits in the socket's buffer */
};

/* Why a request was refused before the application saw it, or why its body was. */
enum http_fault {
    HTTP_FAULT_BAD_HEAD,     /* 400 */
    HTTP_FAULT_HEAD_LARGE,   /* 431 */
    HTTP_FAULT_VERSION,      /* 505 */
    HTTP_FAULT_HEAD_TIMEOUT, /* 408 */
    HTTP_FAULT_BAD_BODY,     /* 400, chunked framing is broken */
    HTTP_FAULT_BODY_LARGE,   /* 413 */
    HTTP_FAULT_BODY_TIMEOUT  /* 408 */
};

/* How an exchange ended. */
enum http_outcome {
    HTTP_COMPLETE,       /* the client's side of the connection took the whole reply */
    HTTP_CLIENT_GONE,    /* the client left before */
    HTTP_CLIENT_STALLED, /* it took none of the bytes waiting for it for stall_timeout_ms */
    HTTP_CUT             /* by the application or the closing of the server */
};

struct http_app {
    /* The head is read and well-formed. The application replies, or calls http_read_body; it
     * may do so later. */
    void (*on_head)(void *arg, struct http_exchange *x);
    /* The body that http_read_body asked for is complete; valid until this returns. */
    void (*on_body)(void *arg, struct http_exchange *x, const char *body, size_t len);
    /* The request cannot be read further; the application must reply at once with an error
     * body (http_reply), after which the connection closes. `what` says what is wrong, for
     * people. May come without an on_head before it (then it counts as the on_head). */
    void (*on_fault)(void *arg, struct http_exchange *x, enum http_fault fault, const char *what);
    /* Less than stream_bytes wait now, after http_pending was at or above that. */
    void (*on_drain)(void *arg, struct http_exchange *x);
    void (*on_end)(void *arg, struct http_exchange *x, enum http_outcome outcome);
};

struct http_header {
    const char *name, *value;
};

/* Opens a listening socket ("127.0.0.1:8080", "[::1]:0", ":8080") on the loop. */
int http_open(struct event_base *base, const char *listen, const struct http_limits *limits,
              const struct http_app *app, void *arg, struct http_server **out, struct error *e);
/* "127.0.0.1:41234": the address really bound; borrowed. */
const char *http_address(const struct http_server *s);
void http_set_limits(struct http_server *s, const struct http_limits *limits); /* new requests */
/* Stops accepting; idle connections close now, others after their exchange. */
void http_drain(struct http_server *s);
size_t http_connections(const struct http_server *s);
void http_close(struct http_server *s); /* cuts what is left; on_end comes for each */

/* The request; borrowed, valid until on_end returns. Header names match without case. */
const char *http_method(const struct http_exchange *x);
const char *http_path(const struct http_exchange *x);  /* without the query, as sent */
const char *http_query(const struct http_exchange *x); /* "" if none */
const char *http_header_get(const struct http_exchange *x, const char *name); /* NULL if absent */
const char *http_peer(const struct http_exchange *x);                         /* "127.0.0.1" */
bool http_is_tls(const struct http_exchange *x); /* came over TLS to us, not to a proxy */
/* Whom it is from, and whether by https, behind proxies that are trusted (http/forwarded.h). */
void http_forwarded(const struct http_exchange *x, const struct net_list *trusted,
                    struct forwarded *out);
void http_set_user(struct http_exchange *x, void *user);
void *http_user(const struct http_exchange *x);

/* Asks for the body (also when it is empty); answers "100 Continue" if the client waits for it.
 * A body announced or grown past limits.body_bytes ends in on_fault. */
void http_read_body(struct http_exchange *x);

/* A whole reply. Content-Length is added, and Connection where needed; HEAD gets no body. An
 * unread request body closes the connection after the reply (lingering, so that the client
 * reads the reply rather than a reset). */
void http_reply(struct http_exchange *x, int status, const struct http_header *headers,
                size_t n_headers, const void *body, size_t len);

/* A reply in pieces: chunked under HTTP/1.1, ended by closing under 1.0. */
void http_stream_start(struct http_exchange *x, int status, const struct http_header *headers,
                       size_t n_headers);
void http_stream_write(struct http_exchange *x, const void *bytes, size_t len);
size_t http_pending(const struct http_exchange *x); /* bytes not yet taken by the socket */
void http_stream_end(struct http_exchange *x);
void http_abort(struct http_exchange *x); /* cuts the connection: the client sees a broken reply */

#endif
