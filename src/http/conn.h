/*
 * The structs that the files of the http room share. Private to the room; event loop only.
 *
 *   server.c    listening, accepting, draining
 *   conn.c      a connection: bytes in, bytes out, what happens next
 *   deadline.c  time limits
 *   gone.c      clients that leave while they are not read from
 *   tls.c       certificate and key, the bytes of a connection under TLS
 *   exchange.c  one request with its reply: the face that the application calls
 *   reply.c     heads and framing of replies
 *
 * A connection is freed only by conn_run or http_close, never below a callback of the
 * application: whoever finds it dead marks it and schedules it. All output is collected and
 * goes out when the connection runs, once a turn of the loop.
 */
#ifndef MOONGATE_HTTP_CONN_H
#define MOONGATE_HTTP_CONN_H

#include "base/buf.h"
#include "http/chunked.h"
#include "http/head.h"
#include "http/http.h"

#include <netinet/in.h>
#include <sys/queue.h>

struct event;
struct evbuffer;
struct ssl_st;     /* OpenSSL's SSL */
struct ssl_ctx_st; /* and SSL_CTX */

enum {
    SCRATCH_BYTES = 64 * 1024,      /* read at once */
    PIPELINE_BYTES = 16 * 1024,     /* held of what nobody asked for yet */
    INPUT_BYTES = 16 * 1024 * 1024, /* no head can be larger */
    LINGER_MS = 2000                /* what comes after an early reply is thrown away for so long */
};

/* What a connection waits for, and so which limit runs; one list each, oldest first. */
enum deadline {
    DEADLINE_NONE,
    DEADLINE_HANDSHAKE,
    DEADLINE_IDLE,
    DEADLINE_HEAD,
    DEADLINE_BODY,
    DEADLINE_STALL,
    DEADLINE_LINGER,
    N_DEADLINES
};

enum conn_state {
    CONN_HANDSHAKE, /* of TLS */
    CONN_IDLE,      /* no byte of a request yet */
    CONN_HEAD,      /* in the head */
    CONN_EXCHANGE,  /* `x` is there */
    CONN_LINGER     /* replied for the last time: what comes is thrown away */
};

TAILQ_HEAD(conn_list, http_conn);

struct http_conn {
    struct http_server *server;
    TAILQ_ENTRY(http_conn) all, timed, scheduled;
    struct http_exchange *x;
    struct event *read_event, *write_event; /* write_event once it was needed */
    struct evbuffer *out;                   /* NULL while there is nothing to write */
    struct buf in;                          /* read, and not used yet */
    size_t scanned;                         /* how far the search for the head's end came */
    int64_t deadline_ms;
    struct sockaddr_in6 peer; /* or a sockaddr_in */
    int fd;
    struct ssl_st *ssl; /* NULL: plain */
    enum conn_state state;
    enum deadline deadline;
    bool reading, writing; /* the events are added */
    bool gone_watched;     /* stands in gone_fd */
    bool is_scheduled;
    bool busy;                 /* conn_run is below us and will see what changed */
    bool again;                /* something changed after conn_run had looked */
    bool progress;             /* the time limit starts anew */
    bool blocked;              /* TLS itself has bytes that the socket did not take */
    bool end_said;             /* the end of the bytes under TLS was sent */
    bool crlf;                 /* an empty line before the request was forgiven */
    bool dead;                 /* to be freed by the next conn_run */
    enum http_outcome outcome; /* of the exchange that this ends */
};

enum body_state { BODY_NONE, BODY_UNREAD, BODY_READING, BODY_READ };
enum reply_state { REPLY_NONE, REPLY_STREAM, REPLY_DONE };

struct http_exchange {
    struct http_conn *conn;
    struct head head;
    struct buf body;
    struct chunked chunked;
    uint64_t body_left; /* with Content-Length */
    void *user;
    enum body_state body_state;
    enum reply_state reply;
    bool head_only;       /* HEAD */
    bool continue_wanted; /* 100 Continue was not sent yet */
    bool faulted;
    bool close; /* the connection ends with this exchange */
    bool chunked_reply;
    bool above; /* stream_bytes waited: on_drain is owed */
    char peer[INET6_ADDRSTRLEN];
    char bytes[]; /* of the head */
};

struct http_server {
    struct event_base *base;
    struct http_app app;
    void *arg;
    struct http_limits limits;
    int fd;
    struct event *accept_event, *resume_event, *scheduled_event, *deadline_event;
    struct ssl_ctx_st *tls; /* of new connections; NULL: plain */
    int gone_fd;            /* an epoll instance */
    struct event *gone_event;
    bool accepting, accept_paused, draining;
    size_t n_conns, n_scheduled;
    struct conn_list all, scheduled, timed[N_DEADLINES];
    int64_t timer_ms; /* when deadline_event is due, 0 if it is not added */
    struct buf line;  /* where heads of replies are put together */
    int64_t date_s;   /* what `date` says */
    char date[80];
    char address[INET6_ADDRSTRLEN + 16];
    char scratch[SCRATCH_BYTES];
};

/* server.c */
void server_accept_again(struct http_server *s); /* if there is room */

/* conn.c */
void conn_new(struct http_server *s, int fd, const struct sockaddr *peer, size_t peer_bytes);
/* Does all there is to do, with `n` bytes just read; may free the connection. */
void conn_run(struct http_conn *c, const char *bytes, size_t n);
void conn_schedule(struct http_conn *c); /* conn_run later in this turn of the loop */
void conn_unschedule(struct http_conn *c);
void conn_expire(struct http_conn *c, enum deadline d);    /* may free the connection */
void conn_free(struct http_conn *c);                       /* on_end comes first */
void conn_die(struct http_conn *c, enum http_outcome why); /* marks it; the first word counts */
struct evbuffer *conn_out(struct http_conn *c);
size_t conn_pending(const struct http_conn *c);

/* deadline.c */
/* Changes what the connection waits for; with `restart`, also if it is the same. */
void deadline_set(struct http_conn *c, enum deadline d, bool restart);
void deadline_run(struct http_server *s); /* expires what is due */

/* gone.c */
int gone_open(struct http_server *s, struct error *e);
void gone_close(struct http_server *s);
/* Begins or ends watching whether the client leaves: it then dies and gets its turn. */
void gone_watch(struct http_conn *c, bool wanted);

/* tls.c: of connections that have `ssl` */
enum tls_accepted {
    TLS_ACCEPTED, /* the handshake is over */
    TLS_GOES_ON,  /* it waits for the socket; `blocked` tells for what */
    TLS_IS_PLAIN, /* the client speaks HTTP without TLS */
    TLS_REFUSED   /* nothing more can be read or written */
};
void tls_begin(struct http_conn *c); /* gives it `ssl` */
void tls_end(struct http_conn *c);   /* takes it away; says nothing to the client */
enum tls_accepted tls_accept(struct http_conn *c);
ssize_t tls_read(struct http_conn *c, char *out, size_t bytes); /* as recv */
int tls_write(struct http_conn *c);                             /* as evbuffer_write of `out` */
/* Tells the client that no more comes. False: the socket is full, the connection is `blocked`. */
bool tls_say_end(struct http_conn *c);

/* exchange.c */
struct http_exchange *exchange_new(struct http_conn *c, const char *head, size_t len);
void exchange_end(struct http_exchange *x, enum http_outcome outcome); /* on_end, then frees */

/* reply.c */
/* `framing` is a header line, or NULL for a Content-Length of `length`. */
void reply_head(struct http_exchange *x, int status, const struct http_header *headers,
                size_t n_headers, const char *framing, size_t length);

#endif
