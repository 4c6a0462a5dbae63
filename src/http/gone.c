/*
 * Clients that leave while their connection is not read from.
 *
 * What is read shows its end by itself. The others stand in an epoll instance of its own, which
 * the loop watches as one descriptor and which tells of an end, a reset or an error and of
 * nothing else. libevent's EV_CLOSED would not do: of a reset it makes "readable and writable",
 * which nobody waits for here, and the loop would spin.
 */
#include "http/conn.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { BATCH = 64 };

/* The connections only get a turn: nothing is freed while the list is walked. */
static void on_gone(evutil_socket_t fd, short what, void *arg)
{
    struct epoll_event list[BATCH];
    int n = epoll_wait(fd, list, BATCH, 0);
    (void)what;
    (void)arg;
    for (int i = 0; i < n; i++) {
        struct http_conn *c = list[i].data.ptr;
        conn_die(c, HTTP_CLIENT_GONE);
        conn_schedule(c);
    }
}

int gone_open(struct http_server *s, struct error *e)
{
    s->gone_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->gone_fd < 0)
        return error_set(e, ERR_IO, "cannot watch for clients that leave: %s", strerror(errno));
    s->gone_event = event_new(s->base, s->gone_fd, EV_READ | EV_PERSIST, on_gone, s);
    if (s->gone_event == NULL || event_add(s->gone_event, NULL) != 0)
        abort();
    return 0;
}

void gone_close(struct http_server *s)
{
    if (s->gone_event != NULL)
        event_free(s->gone_event);
    if (s->gone_fd >= 0)
        close(s->gone_fd);
}

void gone_watch(struct http_conn *c, bool wanted)
{
    struct epoll_event what = {.events = EPOLLRDHUP, .data.ptr = c};
    int op = wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL;
    if (c->gone_watched == wanted)
        return;
    c->gone_watched = wanted;
    if (epoll_ctl(c->server->gone_fd, op, c->fd, &what) != 0 && wanted) {
        conn_die(c, HTTP_CUT);
        conn_schedule(c);
    }
}
