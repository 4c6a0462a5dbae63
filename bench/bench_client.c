/*
 * bench_client: a load client that costs little, so that it disturbs little on a small machine.
 *
 *   bench_client replies PORT CONNECTIONS SECONDS FILE
 *       Sends the requests of FILE over so many connections to 127.0.0.1, each as soon as one is
 *       free, and starts none after SECONDS. Prints one JSON line a reply and one for the run.
 *   bench_client idle PORT CONNECTIONS FILE
 *       Opens so many connections, gets one reply over each (the first request of FILE), says how
 *       many are open, waits until standard input ends, and says how many are open still.
 *
 * FILE holds whole requests as bytes, each behind a line with its length. Replies are read as
 * HTTP/1.1 with a length or chunks; a stream's events are counted and timed when the bytes come
 * out of the socket, all events of one read at the same moment. One thread, one epoll.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 16, REPLY_MAX_BYTES = 16 << 20, EVENTS_MAX = 64 };

struct request {
    const char *bytes;
    size_t len;
};

struct plan {
    struct buf text; /* the file */
    struct request *list;
    size_t n, next;
};

struct gaps {
    int64_t *us;
    size_t n, cap;
};

enum framing { IN_HEAD, IN_LENGTH, IN_CHUNK_SIZE, IN_CHUNK, IN_CHUNK_END, IN_TRAILER };
enum step { STEP_MORE, STEP_ON, STEP_WHOLE, STEP_BROKEN };

/* A connection and the reply that it is reading. */
struct conn {
    int fd;
    bool busy;
    struct buf in, line; /* unread bytes; the body's unfinished line */
    enum framing framing;
    size_t left; /* bytes of the body or of the chunk */
    int status;
    bool stream, done; /* an event stream; its [DONE] came */
    int64_t start_us, now_us, first_us, last_us;
    long events, prompt_tokens, cached_tokens, completion_tokens;
};

struct client {
    int epoll;
    struct sockaddr_in to;
    struct plan plan;
    struct conn *conns;
    size_t n_conns, n_busy;
    struct gaps gaps;
    int64_t began_us, ended_us, stop_us;
    long replies, failed;
};

static void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("bench_client: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

static long number(const char *text, const char *what, long least, long most)
{
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (errno || end == text || *end || v < least || v > most)
        die("%s is from %ld to %ld, not %s", what, least, most, text);
    return v;
}

/* --- the plan --- */

static void plan_split(struct plan *p, const char *name)
{
    size_t at = 0, cap = 0;
    while (at < p->text.len) {
        char *end;
        unsigned long len = strtoul(p->text.data + at, &end, 10);
        size_t start = (size_t)(end - p->text.data) + 1;
        if (*end != '\n' || !len || start > p->text.len || len > p->text.len - start)
            die("%s: no length and request at byte %zu", name, at);
        if (p->n == cap) {
            cap = cap ? cap * 2 : 64;
            p->list = mem_realloc(p->list, cap * sizeof *p->list);
        }
        p->list[p->n++] = (struct request){.bytes = p->text.data + start, .len = len};
        at = start + len;
    }
    if (!p->n)
        die("%s holds no request", name);
}

static void plan_read(struct plan *p, const char *name)
{
    char piece[4096];
    size_t n;
    FILE *f = fopen(name, "rb");
    if (!f)
        die("%s: %s", name, strerror(errno));
    buf_init(&p->text, 256 << 20);
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        buf_add(&p->text, piece, n);
    if (ferror(f) || p->text.failed)
        die("%s cannot be read whole", name);
    fclose(f);
    plan_split(p, name);
}

/* --- what a reply's lines say --- */

static void gaps_add(struct gaps *g, int64_t us)
{
    if (g->n == g->cap) {
        g->cap = g->cap ? g->cap * 2 : 1024;
        g->us = mem_realloc(g->us, g->cap * sizeof *g->us);
    }
    g->us[g->n++] = us;
}

static const char *value_of(const char *line, const char *key)
{
    const char *p = strstr(line, key);
    if (!p)
        return NULL;
    p += strlen(key);
    return p + strspn(p, ": ");
}

static long count_of(const char *line, const char *key)
{
    const char *p = value_of(line, key);
    return p ? strtol(p, NULL, 10) : 0;
}

static bool has_text(const char *line)
{
    static const char *const keys[] = {"\"content\"", "\"reasoning_content\""};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *p = value_of(line, keys[i]);
        if (p && p[0] == '"' && p[1] != '"')
            return true;
    }
    return false;
}

static void on_line(struct conn *c, struct gaps *gaps, const char *line)
{
    const char *usage = value_of(line, "\"usage\"");
    if (c->stream && !strcmp(line, "data: [DONE]"))
        c->done = true;
    if (usage && *usage == '{') {
        c->prompt_tokens = count_of(usage, "\"prompt_tokens\"");
        c->cached_tokens = count_of(usage, "\"cached_tokens\"");
        c->completion_tokens = count_of(usage, "\"completion_tokens\"");
    }
    if (!c->stream || !has_text(line))
        return;
    if (c->events++)
        gaps_add(gaps, c->now_us - c->last_us);
    else
        c->first_us = c->now_us;
    c->last_us = c->now_us;
}

static void on_body(struct conn *c, struct gaps *gaps, const char *bytes, size_t n)
{
    while (n) {
        const char *newline = memchr(bytes, '\n', n);
        size_t take = newline ? (size_t)(newline - bytes) : n;
        buf_add(&c->line, bytes, take);
        if (!newline)
            return;
        if (c->line.len)
            on_line(c, gaps, c->line.data);
        buf_reset(&c->line);
        bytes += take + 1;
        n -= take + 1;
    }
}

/* --- framing --- */

/* The value of a header field in the head that ends at `end`, or NULL. */
static const char *field(const char *head, const char *end, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = head; p && p + n < end; p = memchr(p, '\n', (size_t)(end - p))) {
        p += *p == '\n';
        if (!strncasecmp(p, name, n) && p[n] == ':')
            return p + n + 1 + strspn(p + n + 1, " ");
    }
    return NULL;
}

static enum step read_head(struct conn *c, size_t *at)
{
    const char *head = c->in.data + *at;
    const char *end = strstr(head, "\r\n\r\n");
    if (!end)
        return STEP_MORE;
    if (strncmp(head, "HTTP/1.1 ", 9) != 0)
        return STEP_BROKEN;
    c->status = (int)strtol(head + 9, NULL, 10);
    const char *length = field(head, end, "content-length");
    const char *coding = field(head, end, "transfer-encoding");
    const char *type = field(head, end, "content-type");
    c->stream = type && !strncasecmp(type, "text/event-stream", 17);
    *at += (size_t)(end - head) + 4;
    if (coding && !strncasecmp(coding, "chunked", 7)) {
        c->framing = IN_CHUNK_SIZE;
        return STEP_ON;
    }
    if (!length)
        return STEP_BROKEN;
    c->framing = IN_LENGTH;
    c->left = strtoul(length, NULL, 10);
    return c->left ? STEP_ON : STEP_WHOLE;
}

static enum step read_size(struct conn *c, size_t *at)
{
    const char *start = c->in.data + *at;
    const char *newline = strchr(start, '\n');
    char *end;
    if (!newline)
        return STEP_MORE;
    c->left = strtoul(start, &end, 16);
    if (end == start)
        return STEP_BROKEN;
    *at += (size_t)(newline - start) + 1;
    c->framing = c->left ? IN_CHUNK : IN_TRAILER;
    return STEP_ON;
}

/* The empty line behind a chunk, or behind the last one. */
static enum step read_empty_line(struct conn *c, size_t *at)
{
    if (c->in.len - *at < 2)
        return STEP_MORE;
    if (memcmp(c->in.data + *at, "\r\n", 2) != 0)
        return STEP_BROKEN;
    *at += 2;
    if (c->framing == IN_TRAILER)
        return STEP_WHOLE;
    c->framing = IN_CHUNK_SIZE;
    return STEP_ON;
}

static enum step read_bytes(struct conn *c, struct gaps *gaps, size_t *at)
{
    size_t n = c->in.len - *at < c->left ? c->in.len - *at : c->left;
    on_body(c, gaps, c->in.data + *at, n);
    *at += n;
    c->left -= n;
    if (c->left)
        return STEP_MORE;
    if (c->framing == IN_CHUNK) {
        c->framing = IN_CHUNK_END;
        return STEP_ON;
    }
    on_body(c, gaps, "\n", 1); /* a body's last line need not end */
    return STEP_WHOLE;
}

static enum step read_step(struct conn *c, struct gaps *gaps, size_t *at)
{
    if (*at == c->in.len)
        return STEP_MORE;
    switch (c->framing) {
    case IN_HEAD:
        return read_head(c, at);
    case IN_CHUNK_SIZE:
        return read_size(c, at);
    case IN_CHUNK_END:
    case IN_TRAILER:
        return read_empty_line(c, at);
    case IN_LENGTH:
    case IN_CHUNK:
        return read_bytes(c, gaps, at);
    }
    return STEP_BROKEN;
}

/* Takes what the socket has; STEP_MORE until the reply is whole or broken. */
static enum step conn_read(struct conn *c, struct gaps *gaps)
{
    static char piece[READ_BYTES];
    enum step step;
    size_t at = 0;
    ssize_t n = recv(c->fd, piece, sizeof piece, 0);
    if (n <= 0)
        return n < 0 && errno == EINTR ? STEP_MORE : STEP_BROKEN;
    c->now_us = clock_mono_us();
    buf_add(&c->in, piece, (size_t)n);
    do {
        step = c->in.failed || c->line.failed ? STEP_BROKEN : read_step(c, gaps, &at);
    } while (step == STEP_ON);
    if (!c->in.failed)
        buf_drop(&c->in, at);
    return step;
}

/* --- connections --- */

static void conn_open(struct conn *c, const struct sockaddr_in *to)
{
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    if (connect(c->fd, (const struct sockaddr *)to, sizeof *to))
        die("connect to port %d: %s", ntohs(to->sin_port), strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void conn_send(struct conn *c, const struct request *r)
{
    int fd = c->fd;
    *c = (struct conn){.fd = fd, .in = c->in, .line = c->line, .busy = true};
    buf_done(&c->in);
    buf_done(&c->line);
    buf_init(&c->in, REPLY_MAX_BYTES);
    buf_init(&c->line, REPLY_MAX_BYTES);
    c->start_us = clock_mono_us();
    for (size_t sent = 0; sent < r->len;) {
        ssize_t n = send(fd, r->bytes + sent, r->len - sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            die("send: %s", strerror(errno));
        sent += n > 0 ? (size_t)n : 0;
    }
}

static void conn_close(struct conn *c)
{
    close(c->fd);
    buf_done(&c->in);
    buf_done(&c->line);
}

/* Room for n sockets, as far as the hard limit lets. */
static void raise_descriptor_limit(size_t n)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r))
        die("getrlimit: %s", strerror(errno));
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
    if (n + 16 > r.rlim_max)
        die("%zu connections, but only %zu descriptors", n, (size_t)r.rlim_max);
}

/* --- replies --- */

static void watch(const struct client *k, size_t i)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = i};
    if (epoll_ctl(k->epoll, EPOLL_CTL_ADD, k->conns[i].fd, &e))
        die("epoll_ctl: %s", strerror(errno));
}

static void start_next(struct client *k, struct conn *c)
{
    if (k->plan.next == k->plan.n || clock_mono_us() >= k->stop_us)
        return;
    conn_send(c, &k->plan.list[k->plan.next++]);
    k->n_busy++;
}

static void tell_reply(const struct conn *c, bool whole)
{
    printf("{\"status\":%d,\"whole\":%s,\"total_us\":%lld,\"first_us\":%lld,\"decode_us\":%lld,"
           "\"events\":%ld,\"prompt_tokens\":%ld,\"cached_tokens\":%ld,"
           "\"completion_tokens\":%ld}\n",
           c->status, whole ? "true" : "false", (long long)(c->now_us - c->start_us),
           (long long)(c->events ? c->first_us - c->start_us : 0),
           (long long)(c->last_us - c->first_us), c->events, c->prompt_tokens, c->cached_tokens,
           c->completion_tokens);
}

/* A reply is over: tells of it, and gives the connection its next request. */
static void finish(struct client *k, size_t i, bool framed)
{
    struct conn *c = &k->conns[i];
    bool whole = framed && c->status == 200 && (!c->stream || c->done);
    c->now_us = k->ended_us = clock_mono_us();
    tell_reply(c, whole);
    k->replies++;
    k->failed += !whole;
    k->n_busy--;
    c->busy = false;
    if (!framed) {
        conn_close(c); /* which also ends the watch */
        conn_open(c, &k->to);
        watch(k, i);
    }
    start_next(k, c);
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void tell_run(struct client *k)
{
    struct gaps *g = &k->gaps;
    if (!g->n)
        gaps_add(g, 0);
    qsort(g->us, g->n, sizeof *g->us, compare);
    printf("{\"run\":{\"wall_us\":%lld,\"replies\":%ld,\"failed\":%ld,\"gap_p50_us\":%lld,"
           "\"gap_p99_us\":%lld,\"gap_max_us\":%lld}}\n",
           (long long)(k->ended_us - k->began_us), k->replies, k->failed,
           (long long)g->us[g->n / 2], (long long)g->us[g->n * 99 / 100],
           (long long)g->us[g->n - 1]);
}

static void run_replies(struct client *k)
{
    struct epoll_event events[EVENTS_MAX];
    k->began_us = clock_mono_us();
    for (size_t i = 0; i < k->n_conns; i++)
        start_next(k, &k->conns[i]);
    while (k->n_busy) {
        int n = epoll_wait(k->epoll, events, EVENTS_MAX, -1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait: %s", strerror(errno));
        for (int e = 0; e < n; e++) {
            size_t i = events[e].data.u64;
            if (!k->conns[i].busy)
                die("the server spoke or closed between requests");
            enum step step = conn_read(&k->conns[i], &k->gaps);
            if (step != STEP_MORE)
                finish(k, i, step == STEP_WHOLE);
        }
    }
    tell_run(k);
}

static int command_replies(struct client *k, char **argv)
{
    long seconds = number(argv[1], "SECONDS", 1, 3600);
    plan_read(&k->plan, argv[2]);
    k->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (k->epoll < 0)
        die("epoll_create1: %s", strerror(errno));
    for (size_t i = 0; i < k->n_conns; i++) {
        conn_open(&k->conns[i], &k->to);
        watch(k, i);
    }
    k->stop_us = clock_mono_us() + seconds * 1000000;
    run_replies(k);
    close(k->epoll);
    return k->failed ? 1 : 0;
}

/* --- idle --- */

static size_t count_open(const struct client *k)
{
    size_t n = 0;
    char byte;
    for (size_t i = 0; i < k->n_conns; i++)
        n += recv(k->conns[i].fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
    return n;
}

static int command_idle(struct client *k, char **argv)
{
    char byte;
    plan_read(&k->plan, argv[1]);
    for (size_t i = 0; i < k->n_conns; i++) {
        struct conn *c = &k->conns[i];
        enum step step = STEP_MORE;
        conn_open(c, &k->to);
        conn_send(c, &k->plan.list[0]);
        while (step == STEP_MORE)
            step = conn_read(c, &k->gaps);
        if (step != STEP_WHOLE || c->status != 200)
            die("connection %zu got status %d and no whole reply", i + 1, c->status);
        buf_done(&c->in);
        buf_done(&c->line);
    }
    printf("{\"open\":%zu}\n", count_open(k));
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    printf("{\"still_open\":%zu}\n", count_open(k));
    return 0;
}

int main(int argc, char **argv)
{
    struct client k = {.to.sin_family = AF_INET};
    bool idle = argc == 5 && !strcmp(argv[1], "idle");
    if (!idle && (argc != 6 || strcmp(argv[1], "replies") != 0))
        die("usage: replies PORT CONNECTIONS SECONDS FILE | idle PORT CONNECTIONS FILE");
    k.to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    k.to.sin_port = htons((uint16_t)number(argv[2], "PORT", 1, 65535));
    k.n_conns = (size_t)number(argv[3], "CONNECTIONS", 1, 100000);
    k.conns = mem_array(k.n_conns, sizeof *k.conns);
    raise_descriptor_limit(k.n_conns);
    int rc = idle ? command_idle(&k, argv + 3) : command_replies(&k, argv + 3);
    for (size_t i = 0; i < k.n_conns; i++)
        conn_close(&k.conns[i]);
    free(k.conns);
    free(k.gaps.us);
    free(k.plan.list);
    buf_done(&k.plan.text);
    return rc;
}
