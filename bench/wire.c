/* The faces are told in wire.h. */
#include "wire.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REPLY_MAX_BYTES = 16 << 20, PLAN_MAX_BYTES = 256 << 20 };

void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

long number(const char *text, const char *what, long least, long most)
{
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (errno || end == text || *end || v < least || v > most)
        die("%s is from %ld to %ld, not %s", what, least, most, text);
    return v;
}

void raise_descriptor_limit(size_t n)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r))
        die("getrlimit: %s", strerror(errno));
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
    if (n + 16 > r.rlim_max)
        die("%zu connections, but only %zu descriptors", n, (size_t)r.rlim_max);
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

void plan_read(struct plan *p, const char *file)
{
    char piece[4096];
    size_t n;
    FILE *f = fopen(file, "rb");
    if (!f)
        die("%s: %s", file, strerror(errno));
    buf_init(&p->text, PLAN_MAX_BYTES);
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        buf_add(&p->text, piece, n);
    if (ferror(f) || p->text.failed)
        die("%s cannot be read whole", file);
    fclose(f);
    plan_split(p, file);
}

void plan_done(struct plan *p)
{
    free(p->list);
    buf_done(&p->text);
}

/* --- connections --- */

int loopback_open(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0)
        die("socket: %s", strerror(errno));
    if (connect(fd, (const struct sockaddr *)&to, sizeof to))
        die("connect to port %d: %s", port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

void send_whole(int fd, const char *bytes, size_t len)
{
    for (size_t sent = 0; sent < len;) {
        ssize_t n = send(fd, bytes + sent, len - sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            die("send: %s", strerror(errno));
        sent += n > 0 ? (size_t)n : 0;
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

static enum step read_head(struct reply *r, size_t *at)
{
    const char *head = r->in.data + *at;
    const char *end = strstr(head, "\r\n\r\n");
    if (!end)
        return STEP_MORE;
    if (strncmp(head, "HTTP/1.1 ", 9) != 0)
        return STEP_BROKEN;
    r->status = (int)strtol(head + 9, NULL, 10);
    const char *length = field(head, end, "content-length");
    const char *coding = field(head, end, "transfer-encoding");
    const char *type = field(head, end, "content-type");
    r->stream = type && !strncasecmp(type, "text/event-stream", 17);
    *at += (size_t)(end - head) + 4;
    if (coding && !strncasecmp(coding, "chunked", 7)) {
        r->framing = IN_CHUNK_SIZE;
        return STEP_ON;
    }
    if (!length)
        return STEP_BROKEN;
    r->framing = IN_LENGTH;
    r->left = strtoul(length, NULL, 10);
    return r->left ? STEP_ON : STEP_WHOLE;
}

static enum step read_size(struct reply *r, size_t *at)
{
    const char *start = r->in.data + *at;
    const char *newline = strchr(start, '\n');
    char *end;
    if (!newline)
        return STEP_MORE;
    r->left = strtoul(start, &end, 16);
    if (end == start)
        return STEP_BROKEN;
    *at += (size_t)(newline - start) + 1;
    r->framing = r->left ? IN_CHUNK : IN_TRAILER;
    return STEP_ON;
}

/* The empty line behind a chunk, or behind the last one. */
static enum step read_empty_line(struct reply *r, size_t *at)
{
    if (r->in.len - *at < 2)
        return STEP_MORE;
    if (memcmp(r->in.data + *at, "\r\n", 2) != 0)
        return STEP_BROKEN;
    *at += 2;
    if (r->framing == IN_TRAILER)
        return STEP_WHOLE;
    r->framing = IN_CHUNK_SIZE;
    return STEP_ON;
}

static void read_lines(struct reply *r, const char *bytes, size_t n)
{
    while (n) {
        const char *newline = memchr(bytes, '\n', n);
        size_t take = newline ? (size_t)(newline - bytes) : n;
        buf_add(&r->line, bytes, take);
        if (!newline)
            return;
        if (r->line.len)
            r->on_line(r->arg, r->line.data);
        buf_reset(&r->line);
        bytes += take + 1;
        n -= take + 1;
    }
}

static enum step read_body(struct reply *r, size_t *at)
{
    size_t n = r->in.len - *at < r->left ? r->in.len - *at : r->left;
    read_lines(r, r->in.data + *at, n);
    *at += n;
    r->left -= n;
    if (r->left)
        return STEP_MORE;
    if (r->framing == IN_CHUNK) {
        r->framing = IN_CHUNK_END;
        return STEP_ON;
    }
    read_lines(r, "\n", 1); /* a body's last line need not end */
    return STEP_WHOLE;
}

static enum step read_step(struct reply *r, size_t *at)
{
    if (*at == r->in.len)
        return STEP_MORE;
    switch (r->framing) {
    case IN_HEAD:
        return read_head(r, at);
    case IN_CHUNK_SIZE:
        return read_size(r, at);
    case IN_CHUNK_END:
    case IN_TRAILER:
        return read_empty_line(r, at);
    case IN_LENGTH:
    case IN_CHUNK:
        return read_body(r, at);
    }
    return STEP_BROKEN;
}

void reply_init(struct reply *r)
{
    *r = (struct reply){.framing = IN_HEAD};
    buf_init(&r->in, REPLY_MAX_BYTES);
    buf_init(&r->line, REPLY_MAX_BYTES);
}

void reply_done(struct reply *r)
{
    buf_done(&r->in);
    buf_done(&r->line);
}

void reply_begin(struct reply *r)
{
    buf_reset(&r->in);
    buf_reset(&r->line);
    r->framing = IN_HEAD;
    r->status = 0;
    r->stream = false;
}

enum step reply_take(struct reply *r, const char *bytes, size_t n)
{
    enum step step;
    size_t at = 0;
    buf_add(&r->in, bytes, n);
    do {
        step = r->in.failed || r->line.failed ? STEP_BROKEN : read_step(r, &at);
    } while (step == STEP_ON);
    if (!r->in.failed)
        buf_drop(&r->in, at);
    return step;
}

/* --- samples --- */

void samples_add(struct samples *s, int64_t value)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 1024;
        s->list = mem_realloc(s->list, s->cap * sizeof *s->list);
    }
    s->list[s->n++] = value;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t rank(const struct samples *s, size_t percent)
{
    size_t n = (s->n * percent + 99) / 100;
    return s->n ? s->list[n ? n - 1 : 0] : 0;
}

void samples_print(struct samples *s, const char *name)
{
    if (s->n)
        qsort(s->list, s->n, sizeof *s->list, compare);
    printf("\"%s_p50_us\":%lld,\"%s_p99_us\":%lld,\"%s_max_us\":%lld", name, (long long)rank(s, 50),
           name, (long long)rank(s, 99), name, (long long)rank(s, 100));
}

void samples_done(struct samples *s)
{
    free(s->list);
    *s = (struct samples){0};
}
