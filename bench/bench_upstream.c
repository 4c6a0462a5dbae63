/*
 * bench_upstream: an OpenAI-compatible server that costs little, for measuring what stands in
 * front of it.
 *
 *   bench_upstream [PORT]
 *       Listens on 127.0.0.1, on a free port if none is given, and prints {"port":N}.
 *
 * POST /v1/chat/completions answers as the request's model name says, a kind and numbers joined
 * by hyphens, each of which may be left out:
 *   whole-b512-d0                a JSON body of b bytes after d microseconds
 *   stream-n31-g0-f0-t16-c0      n events with t bytes of text, one every g microseconds, the
 *                                first (with the role) after f; g 0: all at once, each sent by
 *                                itself. c: the connection is cut behind so many events
 * A stream is a role, n numbered deltas, a chunk with finish reason and usage, and [DONE]. Events
 * have planned times, so a late one does not delay those behind it. GET /v1/models lists nothing.
 * GET /stats tells what was counted since the last POST /reset, and of each connection that was
 * closed inside a reply: the number behind "call-" in its request, the time, the events sent.
 *
 * One thread, one epoll, a heap of planned times that is looked at every QUANTUM_US at most. A
 * client that reads slowly holds its own stream up and nobody else's.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_BYTES = 1 << 16,
    REQUEST_MAX_BYTES = 16 << 20,
    REPLY_MAX_BYTES = 16 << 20,
    STATS_MAX_BYTES = 16 << 20,
    SHAPES = 256,
    SHAPE_NAME = 64,
    CLOSES = 1 << 16,
    EVENTS_MAX = 256,
    QUANTUM_US = 100,
    LATE_STEP_US = 100,
    LATE_STEPS = 1000,
    DIGITS = 8 /* of an event's number */
};

/* What a model name asks for, and its bytes ready to send. */
struct shape {
    char name[SHAPE_NAME];
    bool stream;
    long n, gap_us, first_us, text_bytes, cut; /* of a stream */
    long body_bytes, delay_us;                 /* of a whole reply */
    struct buf begin, delta, final, done;      /* a whole reply is `begin` alone */
    size_t number_at;                          /* in delta */
};

struct close_seen {
    long call, events;
    int64_t at_us;
};

struct conn {
    int fd;
    struct buf in, out;        /* what came; what the socket did not take */
    const struct shape *shape; /* of the reply under way; NULL: none */
    long next;                 /* frame: 0 the beginning, 1..n the deltas, then final and done */
    long call;
    int64_t start_us, due_us;
    size_t heap_at; /* its place there and one; 0: not in it */
    bool watches_out, dead;
};

struct stats {
    long requests, events, finished, cut, closed_early, refused;
    long late[LATE_STEPS];
    struct close_seen closes[CLOSES];
    size_t n_closes;
};

struct server {
    int listener, epoll;
    struct shape shapes[SHAPES];
    size_t n_shapes;
    struct conn **by_fd, **heap;
    size_t fd_cap, n_heap, heap_cap;
    struct stats stats;
};

/* --- shapes --- */

static void add_chunk(struct buf *b, const struct buf *text)
{
    buf_addf(b, "%zx\r\n", text->len);
    buf_add(b, text->data, text->len);
    buf_adds(b, "\r\n");
}

static void add_event(struct buf *b, const char *name, const char *delta, const char *finish,
                      const char *more)
{
    struct buf text;
    buf_init(&text, REPLY_MAX_BYTES);
    buf_addf(&text,
             "data: {\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\","
             "\"created\":1760000000,\"model\":\"%s\",\"choices\":[{\"index\":0,\"delta\":{%s},"
             "\"finish_reason\":%s}]%s}\n\n",
             name, delta, finish, more);
    add_chunk(b, &text);
    buf_done(&text);
}

static void add_padding(struct buf *b, long n)
{
    static const char words[] = "lorem ipsum dolor sit amet ";
    for (long i = 0; i < n; i++)
        buf_addc(b, words[(size_t)i % (sizeof words - 1)]);
}

static void usage(struct buf *b, long completion)
{
    buf_addf(b, ",\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":%ld,\"total_tokens\":%ld}",
             completion, completion + 9);
}

static void make_stream(struct shape *s)
{
    static const char digits[] = "\"content\":\"00000000";
    struct buf text;
    buf_init(&text, REPLY_MAX_BYTES);
    buf_adds(&s->begin, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                        "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n");
    add_event(&s->begin, s->name, "\"role\":\"assistant\",\"content\":\"\"", "null", "");
    buf_adds(&text, digits);
    buf_addc(&text, ' ');
    add_padding(&text, s->text_bytes - DIGITS - 1);
    buf_addc(&text, '"');
    add_event(&s->delta, s->name, text.data, "null", "");
    s->number_at =
        (size_t)(strstr(s->delta.data, digits) - s->delta.data) + sizeof digits - 1 - DIGITS;
    buf_reset(&text);
    usage(&text, s->n);
    add_event(&s->final, s->name, "", "\"stop\"", text.data);
    buf_reset(&text);
    buf_adds(&text, "data: [DONE]\n\n");
    add_chunk(&s->done, &text);
    buf_adds(&s->done, "0\r\n\r\n");
    buf_done(&text);
}

static void make_whole(struct shape *s)
{
    struct buf body, end;
    buf_init(&body, REPLY_MAX_BYTES);
    buf_init(&end, REPLY_MAX_BYTES);
    buf_adds(&end, "\"},\"finish_reason\":\"stop\"}]");
    usage(&end, s->body_bytes / 4);
    buf_addc(&end, '}');
    buf_addf(&body,
             "{\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion\","
             "\"created\":1760000000,\"model\":\"%s\",\"choices\":[{\"index\":0,\"message\":"
             "{\"role\":\"assistant\",\"content\":\"",
             s->name);
    add_padding(&body, s->body_bytes - (long)(body.len + end.len));
    buf_add(&body, end.data, end.len);
    buf_addf(&s->begin,
             "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
             body.len);
    buf_add(&s->begin, body.data, body.len);
    buf_done(&body);
    buf_done(&end);
}

/* Reads the numbers behind the kind. */
static bool read_shape(struct shape *s)
{
    const char *p = s->name + strcspn(s->name, "-");
    while (*p == '-') {
        char *end, letter = p[1];
        long v = letter ? strtol(p + 2, &end, 10) : -1;
        if (v < 0 || v > 100000000 || end == p + 2)
            return false;
        switch (letter) {
        case 'n':
            s->n = v;
            break;
        case 'g':
            s->gap_us = v;
            break;
        case 'f':
            s->first_us = v;
            break;
        case 't':
            s->text_bytes = v;
            break;
        case 'c':
            s->cut = v;
            break;
        case 'b':
            s->body_bytes = v;
            break;
        case 'd':
            s->delay_us = v;
            break;
        default:
            return false;
        }
        p = end;
    }
    return !*p;
}

/* NULL: the name is none of ours. */
static const struct shape *shape_of(struct server *k, const char *name, size_t len)
{
    for (size_t i = 0; i < k->n_shapes; i++)
        if (!strncmp(k->shapes[i].name, name, len) && !k->shapes[i].name[len])
            return &k->shapes[i];
    if (k->n_shapes == SHAPES || len >= SHAPE_NAME)
        return NULL;
    struct shape *s = &k->shapes[k->n_shapes];
    *s = (struct shape){.n = 31, .text_bytes = 16, .body_bytes = 512};
    memcpy(s->name, name, len);
    s->stream = !strncmp(s->name, "stream", 6);
    if ((!s->stream && strncmp(s->name, "whole", 5) != 0) || !read_shape(s))
        return NULL;
    struct buf *bufs[] = {&s->begin, &s->delta, &s->final, &s->done};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_init(bufs[i], REPLY_MAX_BYTES);
    if (s->stream)
        make_stream(s);
    else
        make_whole(s);
    k->n_shapes++;
    return s;
}

/* --- the heap of planned times --- */

static void heap_put(struct server *k, size_t at, struct conn *c)
{
    k->heap[at] = c;
    c->heap_at = at + 1;
}

static void sift_up(struct server *k, size_t at, struct conn *c)
{
    for (; at && k->heap[(at - 1) / 2]->due_us > c->due_us; at = (at - 1) / 2)
        heap_put(k, at, k->heap[(at - 1) / 2]);
    heap_put(k, at, c);
}

static void sift_down(struct server *k, size_t at, struct conn *c)
{
    for (size_t child; (child = 2 * at + 1) < k->n_heap; at = child) {
        if (child + 1 < k->n_heap && k->heap[child + 1]->due_us < k->heap[child]->due_us)
            child++;
        if (k->heap[child]->due_us >= c->due_us)
            break;
        heap_put(k, at, k->heap[child]);
    }
    heap_put(k, at, c);
}

static void heap_add(struct server *k, struct conn *c)
{
    if (k->n_heap == k->heap_cap) {
        k->heap_cap = k->heap_cap ? 2 * k->heap_cap : 1024;
        k->heap = mem_realloc(k->heap, k->heap_cap * sizeof *k->heap);
    }
    sift_up(k, k->n_heap++, c);
}

static void heap_remove(struct server *k, struct conn *c)
{
    if (!c->heap_at)
        return;
    size_t at = c->heap_at - 1;
    struct conn *last = k->heap[--k->n_heap];
    c->heap_at = 0;
    if (last == c)
        return;
    if (at && k->heap[(at - 1) / 2]->due_us > last->due_us)
        sift_up(k, at, last);
    else
        sift_down(k, at, last);
}

/* --- connections --- */

static void watch(struct server *k, struct conn *c, bool out)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | (out ? EPOLLOUT : 0),
                            .data.fd = c->fd};
    if (c->watches_out != out && epoll_ctl(k->epoll, EPOLL_CTL_MOD, c->fd, &e))
        die("epoll_ctl: %s", strerror(errno));
    c->watches_out = out;
}

static void conn_close(struct server *k, struct conn *c)
{
    heap_remove(k, c);
    k->by_fd[c->fd] = NULL;
    close(c->fd);
    buf_done(&c->in);
    buf_done(&c->out);
    free(c);
}

/* The other side closed. */
static void conn_gone(struct server *k, struct conn *c)
{
    struct stats *s = &k->stats;
    if (c->shape) {
        s->closed_early++;
        if (s->n_closes < CLOSES)
            s->closes[s->n_closes++] =
                (struct close_seen){.call = c->call, .events = c->next, .at_us = clock_mono_us()};
    }
    conn_close(k, c);
}

/* False when the socket takes no more for now, or is gone. */
static bool conn_send(struct server *k, struct conn *c, const char *bytes, size_t n)
{
    ssize_t sent = c->out.len ? 0 : send(c->fd, bytes, n, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR)
        c->dead = true;
    if (sent == (ssize_t)n)
        return true;
    if (c->dead)
        return false;
    buf_add(&c->out, bytes + (sent > 0 ? sent : 0), n - (size_t)(sent > 0 ? sent : 0));
    watch(k, c, true);
    return false;
}

/* --- replies --- */

static int64_t due_of(const struct conn *c)
{
    const struct shape *s = c->shape;
    if (!s->stream)
        return c->start_us + s->delay_us;
    long i = c->next <= s->n + 1 ? c->next : s->n + 1; /* [DONE] follows the end at once */
    return c->start_us + s->first_us + i * s->gap_us;
}

static bool send_frame(struct server *k, struct conn *c)
{
    const struct shape *s = c->shape;
    const struct buf *b = c->next == 0          ? &s->begin
                          : c->next <= s->n     ? &s->delta
                          : c->next == s->n + 1 ? &s->final
                                                : &s->done;
    if (b == &s->delta) {
        long v = c->next;
        for (size_t i = DIGITS; i-- > 0; v /= 10)
            s->delta.data[s->number_at + i] = (char)('0' + v % 10);
        k->stats.events++;
    }
    c->next++;
    return conn_send(k, c, b->data, b->len);
}

static bool is_over(const struct conn *c)
{
    return c->next > (c->shape->stream ? c->shape->n + 2 : 0);
}

static void read_requests(struct server *k, struct conn *c);

/* Sends all that is due and plans the rest. */
static void proceed(struct server *k, struct conn *c)
{
    heap_remove(k, c);
    while (!c->out.len && !c->dead && !is_over(c)) {
        if (c->shape->cut && c->next > c->shape->cut) {
            k->stats.cut++;
            conn_close(k, c);
            return;
        }
        int64_t due_us = due_of(c), late_us = clock_mono_us() - due_us;
        if (late_us < 0) {
            c->due_us = due_us;
            heap_add(k, c);
            return;
        }
        late_us /= LATE_STEP_US;
        k->stats.late[late_us < LATE_STEPS ? late_us : LATE_STEPS - 1]++;
        if (!send_frame(k, c))
            break;
    }
    if (c->dead) {
        conn_gone(k, c);
        return;
    }
    if (c->out.len || !is_over(c))
        return;
    k->stats.finished++;
    c->shape = NULL;
    read_requests(k, c);
}

static void write_on(struct server *k, struct conn *c)
{
    ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        conn_gone(k, c);
        return;
    }
    buf_drop(&c->out, n > 0 ? (size_t)n : 0);
    if (c->out.len)
        return;
    watch(k, c, false);
    if (c->shape)
        proceed(k, c);
}

static void answer(struct server *k, struct conn *c, const char *status, const struct buf *body)
{
    struct buf b;
    buf_init(&b, STATS_MAX_BYTES);
    buf_addf(&b, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
             status, body->len);
    buf_add(&b, body->data, body->len);
    conn_send(k, c, b.data, b.len);
    buf_done(&b);
}

static long late_rank(const struct stats *s, long percent)
{
    long all = 0, seen = 0;
    for (int i = 0; i < LATE_STEPS; i++)
        all += s->late[i];
    for (long i = 0; i < LATE_STEPS; i++)
        if ((seen += s->late[i]) * 100 >= all * percent)
            return all ? (i + 1) * LATE_STEP_US : 0;
    return 0;
}

static void tell_stats(const struct stats *s, struct buf *b)
{
    buf_addf(b,
             "{\"requests\":%ld,\"events\":%ld,\"finished\":%ld,\"cut\":%ld,\"closed_early\":%ld,"
             "\"refused\":%ld,\"late_p50_us\":%ld,\"late_p99_us\":%ld,\"closes\":[",
             s->requests, s->events, s->finished, s->cut, s->closed_early, s->refused,
             late_rank(s, 50), late_rank(s, 99));
    for (size_t i = 0; i < s->n_closes; i++)
        buf_addf(b, "%s[%ld,%lld,%ld]", i ? "," : "", s->closes[i].call,
                 (long long)s->closes[i].at_us, s->closes[i].events);
    buf_adds(b, "]}\n");
}

static void tell(struct server *k, struct conn *c, const char *head)
{
    struct buf body;
    const char *status = "200 OK";
    buf_init(&body, STATS_MAX_BYTES);
    if (!strncmp(head, "GET /stats ", 11)) {
        tell_stats(&k->stats, &body);
    } else if (!strncmp(head, "POST /reset ", 12)) {
        memset(&k->stats, 0, sizeof k->stats);
        buf_adds(&body, "{}\n");
    } else if (!strncmp(head, "GET /v1/models ", 15)) {
        buf_adds(&body, "{\"object\":\"list\",\"data\":[]}\n");
    } else {
        k->stats.refused++;
        status = "404 Not Found";
        buf_adds(&body, "{\"error\":{\"message\":\"no such path or model\",\"type\":"
                        "\"invalid_request_error\",\"param\":null,\"code\":\"not_found\"}}\n");
    }
    answer(k, c, status, &body);
    buf_done(&body);
}

/* --- requests --- */

/* The string value of a member that the body has outside of other strings, or NULL. */
static const char *member(const char *body, const char *end, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = body; (p = memmem(p, (size_t)(end - p), name, n)); p += n) {
        const char *v = p + n;
        if (p > body && p[-1] == '\\')
            continue;
        v += strspn(v, " ");
        if (*v++ != ':')
            continue;
        v += strspn(v, " ");
        if (*v == '"')
            return v + 1;
    }
    return NULL;
}

static void begin(struct server *k, struct conn *c, const char *head, const char *body,
                  const char *end)
{
    const char *name = member(body, end, "\"model\"");
    const char *call = memmem(body, (size_t)(end - body), "call-", 5);
    const struct shape *s = NULL;
    bool chat = !strncmp(head, "POST /v1/chat/completions ", 26);
    if (chat && name)
        s = shape_of(k, name, strcspn(name, "\""));
    if (!s) {
        tell(k, c, chat ? "" : head);
        return;
    }
    k->stats.requests++;
    c->shape = s;
    c->call = call ? strtol(call + 5, NULL, 10) : -1;
    c->next = 0;
    c->start_us = clock_mono_us();
    proceed(k, c);
}

/* Takes the next request if it is there whole and none is under way. */
static void read_requests(struct server *k, struct conn *c)
{
    if (c->shape || c->out.len || !c->in.len)
        return;
    char *head_end = strstr(c->in.data, "\r\n\r\n");
    if (!head_end)
        return;
    const char *length = strcasestr(c->in.data, "\r\nContent-Length:");
    size_t head = (size_t)(head_end - c->in.data) + 4, body = 0;
    if (length && length < head_end)
        body = strtoul(length + 17, NULL, 10);
    if (body > c->in.len - head)
        return;
    struct buf request = c->in; /* the rest stays; `c` may be gone behind begin() */
    buf_init(&c->in, REQUEST_MAX_BYTES);
    if (request.len > head + body)
        buf_add(&c->in, request.data + head + body, request.len - head - body);
    begin(k, c, request.data, request.data + head, request.data + head + body);
    buf_done(&request);
}

static void on_readable(struct server *k, struct conn *c)
{
    static char piece[READ_BYTES];
    ssize_t n = recv(c->fd, piece, sizeof piece, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        buf_add(&c->in, piece, (size_t)n);
    if (n <= 0 || c->in.failed)
        conn_gone(k, c);
    else
        read_requests(k, c);
}

static void on_listener(struct server *k)
{
    int on = 1, fd;
    while ((fd = accept4(k->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = fd};
        struct conn *c = mem_zalloc(sizeof *c);
        c->fd = fd;
        buf_init(&c->in, REQUEST_MAX_BYTES);
        buf_init(&c->out, REPLY_MAX_BYTES);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if ((size_t)fd >= k->fd_cap)
            die("descriptor %d is past the limit", fd);
        k->by_fd[fd] = c;
        if (epoll_ctl(k->epoll, EPOLL_CTL_ADD, fd, &e))
            die("epoll_ctl: %s", strerror(errno));
    }
}

/* --- the loop --- */

static void on_event(struct server *k, const struct epoll_event *e)
{
    if (e->data.fd == k->listener) {
        on_listener(k);
        return;
    }
    struct conn *c = k->by_fd[e->data.fd];
    if (c && (e->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        on_readable(k, c);
    c = k->by_fd[e->data.fd];
    if (c && c->out.len && (e->events & EPOLLOUT))
        write_on(k, c);
}

static void run(struct server *k)
{
    struct epoll_event events[EVENTS_MAX];
    for (;;) {
        int64_t wait_us = -1;
        if (k->n_heap) {
            wait_us = k->heap[0]->due_us - clock_mono_us();
            wait_us = wait_us < QUANTUM_US ? QUANTUM_US : wait_us;
        }
        struct timespec t = {.tv_sec = wait_us / 1000000, .tv_nsec = wait_us % 1000000 * 1000};
        int n = epoll_pwait2(k->epoll, events, EVENTS_MAX, wait_us < 0 ? NULL : &t, NULL);
        if (n < 0 && errno != EINTR)
            die("epoll_pwait2: %s", strerror(errno));
        for (int i = 0; i < n; i++)
            on_event(k, &events[i]);
        int64_t now_us = clock_mono_us();
        while (k->n_heap && k->heap[0]->due_us <= now_us)
            proceed(k, k->heap[0]);
    }
}

static void listen_on(struct server *k, uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t len = sizeof at;
    int on = 1;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    k->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(k->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (k->listener < 0 || bind(k->listener, (struct sockaddr *)&at, len) ||
        listen(k->listener, 4096) || getsockname(k->listener, (struct sockaddr *)&at, &len))
        die("port %d: %s", port, strerror(errno));
    printf("{\"port\":%d}\n", ntohs(at.sin_port));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct server *k = mem_zalloc(sizeof *k);
    if (argc > 2)
        die("usage: [PORT]");
    raise_descriptor_limit(0);
    k->fd_cap = (size_t)sysconf(_SC_OPEN_MAX);
    k->by_fd = mem_array(k->fd_cap, sizeof *k->by_fd);
    k->epoll = epoll_create1(EPOLL_CLOEXEC);
    listen_on(k, argc == 2 ? (uint16_t)number(argv[1], "PORT", 0, 65535) : 0);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = k->listener};
    if (k->epoll < 0 || epoll_ctl(k->epoll, EPOLL_CTL_ADD, k->listener, &e))
        die("epoll: %s", strerror(errno));
    run(k);
}
