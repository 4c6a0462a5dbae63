/*
 * An outside server for tests of what calls it: a thread that takes connections on this machine
 * one after another, hands each to a script, and writes down what came.
 */
#ifndef MOONGATE_TESTS_OUTSIDE_RIG_H
#define MOONGATE_TESTS_OUTSIDE_RIG_H

#include "base/buf.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <assert.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct outside;
typedef void outside_script(struct outside *o, int fd);

struct outside {
    int fd, port;
    outside_script *script;
    void *arg;
    pthread_t thread;
    pthread_mutex_t lock;
    struct buf heard; /* under the lock */
    int connections;  /* under the lock */
};

static inline void outside_hear(struct outside *o, const char *s, size_t n)
{
    pthread_mutex_lock(&o->lock);
    buf_add(&o->heard, s, n);
    pthread_mutex_unlock(&o->lock);
}

static inline void outside_say(int fd, const char *s)
{
    ssize_t n = send(fd, s, strlen(s), MSG_NOSIGNAL);
    (void)n;
}

/* A line with its end; false: the other side left. */
static inline bool outside_line(struct outside *o, int fd, char *line, size_t bytes)
{
    size_t n = 0;
    while (n + 1 < bytes && recv(fd, line + n, 1, 0) == 1) {
        if (line[n++] == '\n') {
            line[n] = '\0';
            outside_hear(o, line, n);
            return true;
        }
    }
    return false;
}

static inline void *outside_run(void *arg)
{
    struct outside *o = arg;
    for (;;) {
        int fd = accept(o->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        pthread_mutex_lock(&o->lock);
        o->connections++;
        pthread_mutex_unlock(&o->lock);
        o->script(o, fd);
        close(fd);
    }
}

static inline struct outside *outside_open(outside_script *script, void *arg)
{
    struct outside *o = mem_zalloc(sizeof *o);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    o->script = script;
    o->arg = arg;
    buf_init(&o->heard, 1 << 20);
    pthread_mutex_init(&o->lock, NULL);
    o->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(o->fd, (struct sockaddr *)&a, sizeof a) || listen(o->fd, 16) ||
        getsockname(o->fd, (struct sockaddr *)&a, &len) ||
        pthread_create(&o->thread, NULL, outside_run, o))
        abort();
    o->port = ntohs(a.sin_port);
    return o;
}

/* What came so far, as a copy that the caller frees. */
static inline char *outside_heard(struct outside *o)
{
    pthread_mutex_lock(&o->lock);
    char *copy = mem_strdup(o->heard.data ? o->heard.data : "");
    pthread_mutex_unlock(&o->lock);
    return copy;
}

static inline int outside_connections(struct outside *o)
{
    pthread_mutex_lock(&o->lock);
    int n = o->connections;
    pthread_mutex_unlock(&o->lock);
    return n;
}

static inline void outside_close(struct outside *o)
{
    shutdown(o->fd, SHUT_RDWR);
    pthread_join(o->thread, NULL);
    close(o->fd);
    buf_done(&o->heard);
    pthread_mutex_destroy(&o->lock);
    free(o);
}

/* Reads a request with its body; the path is copied. */
static inline bool outside_request(struct outside *o, int fd, char *path, size_t path_bytes)
{
    char line[8192], method[16], format[32];
    size_t body = 0;
    if (!outside_line(o, fd, line, sizeof line))
        return false;
    snprintf(format, sizeof format, "%%15s %%%zus", path_bytes - 1);
    if (sscanf(line, format, method, path) != 2)
        return false;
    while (outside_line(o, fd, line, sizeof line) && strcmp(line, "\r\n") != 0) {
        if (strncasecmp(line, "content-length:", 15) == 0)
            body = strtoul(line + 15, NULL, 10);
    }
    while (body > 0) {
        ssize_t n = recv(fd, line, body < sizeof line ? body : sizeof line, 0);
        if (n <= 0)
            return false;
        outside_hear(o, line, (size_t)n);
        body -= (size_t)n;
    }
    return true;
}

static inline void outside_reply(int fd, int status, const char *headers, const char *body)
{
    char head[1024];
    snprintf(head, sizeof head,
             "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nConnection: close\r\n%s\r\n", status,
             strlen(body), headers);
    outside_say(fd, head);
    outside_say(fd, body);
}

#endif
