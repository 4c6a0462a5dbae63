/*
 * The server: listening, accepting, draining, closing.
 *
 * Accepting stops while the limit of connections is reached, and for a moment when the system
 * has no descriptor or memory left: clients then wait in the kernel's queue instead of making
 * the loop spin.
 */
#include "http/conn.h"
#include "http/tls.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPT_BATCH = 64, ACCEPT_PAUSE_MS = 100, LINE_BYTES = 64 * 1024 };

static void set_accepting(struct http_server *s)
{
    bool wanted =
        s->fd >= 0 && !s->draining && !s->accept_paused && s->n_conns < s->limits.connections;
    if (wanted == s->accepting)
        return;
    s->accepting = wanted;
    if (wanted)
        event_add(s->accept_event, NULL);
    else
        event_del(s->accept_event);
}

void server_accept_again(struct http_server *s)
{
    set_accepting(s);
}

static void pause_accepting(struct http_server *s)
{
    struct timeval tv = {.tv_usec = ACCEPT_PAUSE_MS * 1000};
    s->accept_paused = true;
    event_add(s->resume_event, &tv);
    set_accepting(s);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    struct http_server *s = arg;
    (void)fd;
    (void)what;
    s->accept_paused = false;
    set_accepting(s);
}

static void on_connection(struct http_server *s, int fd, const struct sockaddr *peer,
                          size_t peer_bytes)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    conn_new(s, fd, peer, peer_bytes);
    set_accepting(s);
}

static void on_acceptable(evutil_socket_t listener, short what, void *arg)
{
    struct http_server *s = arg;
    (void)what;
    for (int i = 0; i < ACCEPT_BATCH && s->accepting; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t bytes = sizeof(peer);
        int fd = accept4(listener, (struct sockaddr *)&peer, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            on_connection(s, fd, (struct sockaddr *)&peer, bytes);
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            break;
        else if (errno != EINTR && errno != ECONNABORTED)
            pause_accepting(s);
    }
}

/* Runs what was scheduled up to now; what that schedules has its turn after the others. */
static void on_scheduled(evutil_socket_t fd, short what, void *arg)
{
    struct http_server *s = arg;
    struct http_conn *c;
    (void)fd;
    (void)what;
    for (size_t n = s->n_scheduled; n > 0 && (c = TAILQ_FIRST(&s->scheduled)) != NULL; n--) {
        conn_unschedule(c);
        conn_run(c, NULL, 0);
    }
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    deadline_run(arg);
}

static int bad_listen(const char *text, struct error *e)
{
    return error_set(e, ERR_INVALID,
                     "cannot listen on \"%s\": write ADDRESS:PORT with a numeric address, such as "
                     "127.0.0.1:8080, [::1]:8080 or :8080",
                     text);
}

static bool parse_port(const char *text, in_port_t *port)
{
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    unsigned long n = strtoul(text, &end, 10);
    *port = htons((in_port_t)n);
    return *end == '\0' && n <= 65535;
}

/* ":8080" is every address of the machine; a numeric address otherwise. */
static int parse_listen(const char *text, struct sockaddr_storage *out, socklen_t *bytes,
                        struct error *e)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    char host[INET6_ADDRSTRLEN + 2] = "";
    const char *colon = strrchr(text, ':');
    in_port_t port;
    memset(out, 0, sizeof(*out));
    size_t len = colon != NULL ? (size_t)(colon - text) : 0;
    if (colon == NULL || len >= sizeof(host) || !parse_port(colon + 1, &port))
        return bad_listen(text, e);
    memcpy(host, text, len);
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = port;
        *bytes = sizeof(*v4);
        return 0;
    }
    if (len >= 2 && host[0] == '[' && host[len - 1] == ']')
        host[len - 1] = '\0';
    else if (len != 0)
        return bad_listen(text, e);
    if (len != 0 && inet_pton(AF_INET6, host + 1, &v6->sin6_addr) != 1)
        return bad_listen(text, e);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = port;
    *bytes = sizeof(*v6);
    return 0;
}

static int open_socket(const struct sockaddr *address, socklen_t bytes)
{
    int on = 1, off = 0;
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, address, bytes) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

static int open_listener(struct http_server *s, const char *text, struct error *e)
{
    struct sockaddr_storage address;
    socklen_t bytes = 0;
    int rc = parse_listen(text, &address, &bytes, e);
    if (rc != 0)
        return rc;
    s->fd = open_socket((struct sockaddr *)&address, bytes);
    if (s->fd < 0 && errno == EAFNOSUPPORT && text[0] == ':') {
        struct sockaddr_in v4 = {.sin_family = AF_INET,
                                 .sin_port = ((struct sockaddr_in6 *)&address)->sin6_port};
        s->fd = open_socket((struct sockaddr *)&v4, sizeof(v4));
    }
    if (s->fd < 0)
        return error_set(e, ERR_IO, "cannot listen on %s: %s", text, strerror(errno));
    return 0;
}

static void name_address(struct http_server *s)
{
    struct sockaddr_storage address = {0};
    socklen_t bytes = sizeof(address);
    char host[INET6_ADDRSTRLEN] = "";
    getsockname(s->fd, (struct sockaddr *)&address, &bytes);
    if (address.ss_family == AF_INET6) {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        snprintf(s->address, sizeof(s->address), "[%s]:%u", host, ntohs(v6->sin6_port));
    } else {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        snprintf(s->address, sizeof(s->address), "%s:%u", host, ntohs(v4->sin_port));
    }
}

/* A client that left must be an error of the write, not the end of the process. */
static void ignore_sigpipe(void)
{
    struct sigaction old;
    if (sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
}

static void make_events(struct http_server *s)
{
    s->accept_event = event_new(s->base, s->fd, EV_READ | EV_PERSIST, on_acceptable, s);
    s->resume_event = event_new(s->base, -1, 0, on_resume, s);
    s->scheduled_event = event_new(s->base, -1, 0, on_scheduled, s);
    s->deadline_event = event_new(s->base, -1, 0, on_deadline, s);
    if (s->accept_event == NULL || s->resume_event == NULL || s->scheduled_event == NULL ||
        s->deadline_event == NULL)
        abort();
}

int http_open(struct event_base *base, const char *listen, const struct http_limits *limits,
              const struct http_app *app, void *arg, struct http_server **out, struct error *e)
{
    struct http_server *s = mem_zalloc(sizeof(*s));
    *out = NULL;
    s->base = base;
    s->limits = *limits;
    s->app = *app;
    s->arg = arg;
    s->fd = s->gone_fd = -1;
    s->date_s = -1;
    TAILQ_INIT(&s->all);
    TAILQ_INIT(&s->scheduled);
    for (int d = 0; d < N_DEADLINES; d++)
        TAILQ_INIT(&s->timed[d]);
    buf_init(&s->line, LINE_BYTES);
    int rc = open_listener(s, listen, e);
    if (rc == 0)
        rc = gone_open(s, e);
    if (rc != 0) {
        if (s->fd >= 0)
            close(s->fd);
        free(s);
        return rc;
    }
    ignore_sigpipe();
    name_address(s);
    make_events(s);
    set_accepting(s);
    *out = s;
    return 0;
}

const char *http_address(const struct http_server *s)
{
    return s->address;
}

void http_set_limits(struct http_server *s, const struct http_limits *limits)
{
    s->limits = *limits;
    set_accepting(s);
}

size_t http_connections(const struct http_server *s)
{
    return s->n_conns;
}

static void close_listener(struct http_server *s)
{
    set_accepting(s);
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

static bool has_input(const struct http_conn *c)
{
    char byte;
    return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void http_drain(struct http_server *s)
{
    s->draining = true;
    close_listener(s);
    struct http_conn *c = TAILQ_FIRST(&s->all), *next;
    for (; c != NULL; c = next) {
        next = TAILQ_NEXT(c, all);
        /* A request that is on its way already gets its answer. */
        bool idle = c->state == CONN_IDLE || c->state == CONN_HANDSHAKE;
        if (idle && !c->busy && c->in.len == 0 && !has_input(c))
            conn_free(c);
    }
}

void http_close(struct http_server *s)
{
    if (s == NULL)
        return;
    s->draining = true;
    close_listener(s);
    while (!TAILQ_EMPTY(&s->all))
        conn_free(TAILQ_FIRST(&s->all));
    gone_close(s);
    event_free(s->accept_event);
    event_free(s->resume_event);
    event_free(s->scheduled_event);
    event_free(s->deadline_event);
    http_set_tls(s, NULL);
    buf_done(&s->line);
    free(s);
}
