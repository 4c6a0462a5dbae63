/*
 * A scripted upstream: a listener and its connections, moved by the test itself between turns of
 * the event loop. Every wait is for a condition.
 */
#ifndef MOONGATE_TESTS_UPSTREAM_RIG_H
#define MOONGATE_TESTS_UPSTREAM_RIG_H

#include "backend/transfer.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { GIVE_UP_MS = 20000 };

struct rig {
    struct event_base *base;
    struct transfers *transfers;
    struct upstream_options options;
    int listener, descriptors;
    char url[64];
};

/* The upstream's end of a connection. */
struct peer {
    int fd;
    struct buf got;
    bool eof, reset;
};

static inline int open_descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static inline int port_of(int fd)
{
    struct sockaddr_in at;
    socklen_t n = sizeof at;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    return ntohs(at.sin_port);
}

static inline int listen_somewhere(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 1000), 0);
    return fd;
}

/* The first connection ever loads what stays open (name service, random numbers). */
static inline void rig_open(struct rig *w)
{
    struct error e;
    w->base = event_base_new();
    w->descriptors = open_descriptors();
    w->listener = listen_somewhere();
    snprintf(w->url, sizeof w->url, "http://127.0.0.1:%d", port_of(w->listener));
    assert_int_equal(transfers_open(w->base, &w->transfers, &e), 0);
    w->options = (struct upstream_options){.name = "scripted",
                                           .url = w->url,
                                           .prefix = "/v1",
                                           .verify = true,
                                           .connect_ms = 60000,
                                           .first_byte_ms = 60000,
                                           .idle_ms = 60000,
                                           .event_bytes = 1 << 20,
                                           .reply_bytes = 1 << 20,
                                           .head_bytes = 16384};
}

static inline void rig_close(struct rig *w)
{
    transfers_close(w->transfers);
    close(w->listener);
    assert_int_equal(open_descriptors(), w->descriptors);
    event_base_free(w->base);
}

#define until(w, condition)                                                                        \
    do {                                                                                           \
        int64_t until_ms = clock_mono_ms() + GIVE_UP_MS;                                           \
        while (!(condition)) {                                                                     \
            event_base_loop((w)->base, EVLOOP_NONBLOCK);                                           \
            if (clock_mono_ms() > until_ms)                                                        \
                fail_msg("waited in vain for: %s", #condition);                                    \
            poll(NULL, 0, 1);                                                                      \
        }                                                                                          \
    } while (0)

static inline void pass_ms(struct rig *w, int ms)
{
    int64_t end_ms = clock_mono_ms() + ms;
    until(w, clock_mono_ms() >= end_ms);
}

static inline bool try_accept(struct rig *w, struct peer *p)
{
    p->fd = accept4(w->listener, NULL, NULL, SOCK_NONBLOCK);
    return p->fd >= 0;
}

static inline struct peer peer_accept(struct rig *w)
{
    struct peer p = {.fd = -1};
    buf_init(&p.got, 64 << 20);
    until(w, try_accept(w, &p));
    return p;
}

static inline void peer_receive(struct peer *p)
{
    static char bytes[65536];
    ssize_t n;
    while (!p->eof && (n = recv(p->fd, bytes, sizeof bytes, 0)) != -1) {
        buf_add(&p->got, bytes, (size_t)n);
        p->eof = n == 0;
    }
    if (!p->eof && errno == ECONNRESET)
        p->eof = p->reset = true;
}

static inline bool peer_has(struct peer *p, const char *needle)
{
    peer_receive(p);
    return p->got.data && strstr(p->got.data, needle);
}

/* A whole request is there: its head, and as many bytes as it announces. */
static inline bool peer_has_request(struct peer *p)
{
    peer_receive(p);
    char *end = p->got.data ? strstr(p->got.data, "\r\n\r\n") : NULL;
    char *length = end ? strcasestr(p->got.data, "content-length:") : NULL;
    size_t n = length && length < end ? strtoul(length + 15, NULL, 10) : 0;
    return end && p->got.len >= (size_t)(end + 4 - p->got.data) + n;
}

static inline bool peer_gone(struct peer *p)
{
    peer_receive(p);
    return p->eof;
}

static inline struct peer peer_asked(struct rig *w)
{
    struct peer p = peer_accept(w);
    until(w, peer_has_request(&p));
    return p;
}

/* Sends all of it while the loop turns; false if the other end hangs up before. */
static inline bool peer_say_bytes(struct rig *w, struct peer *p, const char *bytes, size_t len)
{
    int64_t give_up_ms = clock_mono_ms() + GIVE_UP_MS;
    while (len) {
        ssize_t n = send(p->fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return false;
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
        event_base_loop(w->base, EVLOOP_NONBLOCK);
        assert_true(clock_mono_ms() < give_up_ms);
    }
    return true;
}

static inline bool peer_say(struct rig *w, struct peer *p, const char *text)
{
    return peer_say_bytes(w, p, text, strlen(text));
}

static inline void peer_hang_up(struct peer *p)
{
    close(p->fd);
    buf_done(&p->got);
}

/* With a reset instead of an end. */
static inline void peer_reset(struct peer *p)
{
    struct linger off = {.l_onoff = 1};
    setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &off, sizeof off);
    peer_hang_up(p);
}

static inline void may_open_descriptors(rlim_t n)
{
    struct rlimit r;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
    if (r.rlim_cur < n && n <= r.rlim_max) {
        r.rlim_cur = n;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &r), 0);
    }
}

#endif
