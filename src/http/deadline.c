/*
 * Time limits: one list for each kind of limit and one timer for the server.
 *
 * All connections on a list have the same limit, so a new one goes to the tail and the oldest
 * stands at the head: setting, clearing and finding the next are cheap for any number of
 * connections. A limit that is changed while connections wait puts a list out of order for as
 * long as the old limit; that only makes some of them late.
 */
#include "http/conn.h"

#include "base/clock.h"

#include <event2/event.h>

static int64_t limit_ms(const struct http_server *s, enum deadline d)
{
    const int64_t ms[N_DEADLINES] = {[DEADLINE_HANDSHAKE] = s->limits.head_timeout_ms,
                                     [DEADLINE_IDLE] = s->limits.idle_timeout_ms,
                                     [DEADLINE_HEAD] = s->limits.head_timeout_ms,
                                     [DEADLINE_BODY] = s->limits.body_timeout_ms,
                                     [DEADLINE_STALL] = s->limits.stall_timeout_ms,
                                     [DEADLINE_LINGER] = LINGER_MS};
    return ms[d] > 0 ? ms[d] : 1;
}

static void arm(struct http_server *s, int64_t due_ms, int64_t now_ms)
{
    int64_t wait_ms = due_ms > now_ms ? due_ms - now_ms : 0;
    struct timeval tv = {.tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000};
    s->timer_ms = due_ms;
    event_add(s->deadline_event, &tv);
}

void deadline_set(struct http_conn *c, enum deadline d, bool restart)
{
    struct http_server *s = c->server;
    if (d == c->deadline && !restart)
        return;
    if (c->deadline != DEADLINE_NONE)
        TAILQ_REMOVE(&s->timed[c->deadline], c, timed);
    c->deadline = d;
    if (d == DEADLINE_NONE)
        return;
    int64_t now_ms = clock_mono_ms();
    c->deadline_ms = now_ms + limit_ms(s, d);
    TAILQ_INSERT_TAIL(&s->timed[d], c, timed);
    if (s->timer_ms == 0 || c->deadline_ms < s->timer_ms)
        arm(s, c->deadline_ms, now_ms);
}

void deadline_run(struct http_server *s)
{
    int64_t now_ms = clock_mono_ms(), next_ms = 0;
    s->timer_ms = 0;
    for (int d = DEADLINE_NONE + 1; d < N_DEADLINES; d++) {
        struct http_conn *c;
        while ((c = TAILQ_FIRST(&s->timed[d])) != NULL && c->deadline_ms <= now_ms) {
            deadline_set(c, DEADLINE_NONE, false);
            conn_expire(c, (enum deadline)d);
        }
    }
    for (int d = DEADLINE_NONE + 1; d < N_DEADLINES; d++) {
        struct http_conn *c = TAILQ_FIRST(&s->timed[d]);
        if (c != NULL && (next_ms == 0 || c->deadline_ms < next_ms))
            next_ms = c->deadline_ms;
    }
    if (next_ms != 0)
        arm(s, next_ms, now_ms);
}
