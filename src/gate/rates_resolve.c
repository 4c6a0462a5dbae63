/*
 * See rates_resolve.h. The thread and the loop share one piece of memory, which the last of them
 * frees; an eventfd says that it is filled.
 */
#include "gate/rates_resolve.h"

#include "base/mem.h"

#include <event2/event.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct shared {
    atomic_int users;
    int fd;
    char *host;
    struct rates_addresses found;
};

struct rates_resolve {
    struct shared *shared;
    struct event *done;
    void (*on_done)(void *arg, const struct rates_addresses *found);
    void *arg;
};

static void leave(struct shared *s)
{
    if (atomic_fetch_sub(&s->users, 1) != 1)
        return;
    if (s->fd >= 0)
        close(s->fd);
    free(s->host);
    free(s);
}

static void *look_up(void *arg)
{
    struct shared *s = arg;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *all = NULL;
    struct rates_addresses *found = &s->found;
    uint64_t one = 1;
    if (getaddrinfo(s->host, NULL, &hints, &all) == 0) {
        for (struct addrinfo *a = all; a && found->n < RATES_ADDRESSES_MAX; a = a->ai_next) {
            if (getnameinfo(a->ai_addr, a->ai_addrlen, found->of[found->n], RATES_ADDRESS_BYTES,
                            NULL, 0, NI_NUMERICHOST) == 0)
                found->n++;
        }
        freeaddrinfo(all);
    }
    while (write(s->fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
    leave(s);
    return NULL;
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct rates_resolve *r = arg;
    uint64_t n;
    (void)what;
    if (read(fd, &n, sizeof n) == (ssize_t)sizeof n)
        r->on_done(r->arg, &r->shared->found);
}

static int start_thread(struct shared *s)
{
    pthread_t thread;
    pthread_attr_t attr;
    if (pthread_attr_init(&attr) != 0)
        return -1;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    atomic_fetch_add(&s->users, 1);
    int rc = pthread_create(&thread, &attr, look_up, s);
    if (rc != 0)
        atomic_fetch_sub(&s->users, 1);
    pthread_attr_destroy(&attr);
    return rc;
}

int rates_resolve_open(struct event_base *base, const char *host,
                       void (*on_done)(void *arg, const struct rates_addresses *found), void *arg,
                       struct rates_resolve **out, struct error *e)
{
    struct rates_resolve *r = mem_zalloc(sizeof *r);
    r->shared = mem_zalloc(sizeof *r->shared);
    atomic_init(&r->shared->users, 1);
    r->shared->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->shared->host = mem_strdup(host);
    r->on_done = on_done;
    r->arg = arg;
    if (r->shared->fd >= 0)
        r->done = event_new(base, r->shared->fd, EV_READ, on_ready, r);
    if (!r->done || event_add(r->done, NULL) != 0 || start_thread(r->shared) != 0) {
        rates_resolve_close(r);
        return error_set(e, ERR_IO, "no thread to look up a host's name");
    }
    *out = r;
    return 0;
}

void rates_resolve_close(struct rates_resolve *r)
{
    if (!r)
        return;
    if (r->done)
        event_free(r->done);
    leave(r->shared);
    free(r);
}
