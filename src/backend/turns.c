/*
 * The router's chores on the loop. Whatever a callback of a backend makes possible (a second try,
 * a call out of the queue, closing a source) waits for one event, which is activated, not nested:
 * no backend is started, and no owner told of another call's end, inside another one's callback.
 *
 * What becomes possible by time alone (a circuit's trial, the end of a rest) has one timer, set
 * while calls wait. How long a call waits is a timer of its own.
 */
#include "backend/router_private.h"

#include "base/clock.h"
#include "base/mem.h"

#include <event2/event.h>
#include <stddef.h>
#include <stdlib.h>

static struct timeval time_of(int64_t ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

static struct routed *routed_of(struct waiting_item *item)
{
    return (struct routed *)((char *)item - offsetof(struct routed, item));
}

void turns_kick(struct router *r)
{
    event_active(r->turn, EV_TIMEOUT, 0);
}

/* --- notes --- */

void turns_note(struct router *r, uint64_t number, enum router_note note, const char *backend,
                const char *text)
{
    struct router_told *t = mem_zalloc(sizeof *t);
    t->number = number;
    t->note = note;
    t->backend = mem_strdup(backend);
    t->text = mem_strdup(text);
    *r->notes_end = t;
    r->notes_end = &t->next;
    turns_kick(r);
}

static struct router_told *next_note(struct router *r)
{
    struct router_told *t = r->notes;
    if (t) {
        r->notes = t->next;
        if (!r->notes)
            r->notes_end = &r->notes;
    }
    return t;
}

static void free_note(struct router_told *t)
{
    free(t->backend);
    free(t->text);
    free(t);
}

void turns_tell_notes(struct router *r)
{
    struct router_told *t;
    while ((t = next_note(r))) {
        r->events.on_note(r->arg, t->number, t->note, t->backend, t->text);
        free_note(t);
    }
}

/* --- the queue --- */

static void leave_queue(struct routed *c)
{
    c->queued_us += clock_mono_us() - c->waits_since_us;
    evtimer_del(c->patience);
}

void turns_dequeue(struct router *r, struct routed *c)
{
    waiting_remove(&r->waiting, &c->item);
    c->state = ROUTED_BETWEEN;
    leave_queue(c);
}

static void on_patience(evutil_socket_t fd, short what, void *arg)
{
    struct routed *c = arg;
    struct router *r = c->router;
    struct backend_end end;
    (void)fd;
    (void)what;
    turns_dequeue(r, c);
    tries_too_late(r, c, &end);
    router_finish(r, c, &end);
}

static int needs_of(const struct routed *c)
{
    return (c->run.count_only ? 1 : 0) | (c->run.request->upstream_only.kind != FAULT_NONE ? 2 : 0);
}

int turns_enqueue(struct router *r, struct routed *c)
{
    struct waiting_key key = {.list = c->routes, .except = c->tried, .needs = needs_of(c)};
    struct timeval limit = time_of(r->o.queue_ms);
    struct waiting *w = &r->waiting;
    if (w->calls >= (size_t)r->o.queue_calls || c->bytes > r->o.queue_bytes ||
        w->bytes > r->o.queue_bytes - c->bytes)
        return ERR_BUSY;
    if (!c->patience)
        c->patience = evtimer_new(r->base, on_patience, c);
    if (!c->patience || evtimer_add(c->patience, &limit))
        return ERR_BUSY;
    waiting_add(w, &c->item, c->run.owner, &key, c->bytes);
    c->state = ROUTED_WAITING;
    c->waits_since_us = clock_mono_us();
    turns_kick(r); /* for the timer of what becomes possible by time */
    return 0;
}

static bool has_room(void *arg, struct waiting_item *item)
{
    return tries_has_room(arg, routed_of(item));
}

static bool is_lost(void *arg, struct waiting_item *item)
{
    return tries_is_lost(arg, routed_of(item));
}

bool turns_has_next(struct router *r)
{
    return waiting_next(&r->waiting, has_room, r) != NULL;
}

/* Calls whose sources have all failed or gone need not wait for the end of their patience. */
static void give_up_lost(struct router *r)
{
    struct waiting_item *item;
    struct backend_end end;
    while ((item = waiting_next(&r->waiting, is_lost, r))) {
        struct routed *c = routed_of(item);
        turns_dequeue(r, c);
        tries_refuse(r, c, &end);
        router_finish(r, c, &end);
    }
}

/* A call that must wait on after all keeps its place: the look that said so found its lane full
 * from now on, so the loop ends. */
static void start_waiting(struct router *r)
{
    struct waiting_item *item;
    struct backend_end end;
    while ((item = waiting_next(&r->waiting, has_room, r))) {
        struct routed *c = routed_of(item);
        switch (tries_attempt(r, c, &end)) {
        case TRIES_RUNS:
            waiting_serve(&r->waiting, item);
            leave_queue(c);
            break;
        case TRIES_WAITS:
            break;
        case TRIES_REFUSED:
            turns_dequeue(r, c);
            router_finish(r, c, &end);
            break;
        }
    }
}

static void earlier(int64_t *least, int64_t at, int64_t now)
{
    if (at > now && (*least == 0 || at < *least))
        *least = at;
}

static void arm_wake(struct router *r)
{
    int64_t now = clock_mono_ms(), at = 0;
    evtimer_del(r->wake);
    if (r->waiting.calls == 0)
        return;
    for (const struct source *s = r->sources; s; s = s->next) {
        if (s->retired)
            continue;
        earlier(&at, now + health_ms(&s->health, now), now);
        earlier(&at, s->full_until_ms, now);
    }
    if (at) {
        struct timeval tv = time_of(at - now);
        evtimer_add(r->wake, &tv);
    }
}

/* --- second tries --- */

void turns_retry(struct router *r, struct routed *c)
{
    c->state = ROUTED_BETWEEN;
    c->link = NULL;
    *r->retries_end = c;
    r->retries_end = &c->link;
    turns_kick(r);
}

static struct routed *next_retry(struct router *r)
{
    struct routed *c = r->retries;
    if (c) {
        r->retries = c->link;
        if (!r->retries)
            r->retries_end = &r->retries;
    }
    return c;
}

static void retry(struct router *r, struct routed *c)
{
    struct backend_end end;
    enum tries_outcome outcome = tries_attempt(r, c, &end);
    if (outcome == TRIES_WAITS && turns_enqueue(r, c)) {
        tries_queue_full(r, c, &end);
        outcome = TRIES_REFUSED;
    }
    if (outcome == TRIES_REFUSED)
        router_finish(r, c, &end);
}

/* A call that was stopped meanwhile is on this list alone. */
static void start_retries(struct router *r)
{
    struct routed *c;
    while ((c = next_retry(r))) {
        if (c->state == ROUTED_OVER)
            turns_bury(r, c);
        else
            retry(r, c);
    }
}

/* --- what is over --- */

void turns_bury(struct router *r, struct routed *c)
{
    c->link = r->dead;
    r->dead = c;
    turns_kick(r);
}

static void free_dead(struct router *r)
{
    struct routed *c;
    while ((c = r->dead)) {
        r->dead = c->link;
        router_free_call(c);
    }
}

static void close_retired(struct router *r)
{
    struct source **at = &r->sources, *s;
    while ((s = *at)) {
        if (s->retired && s->running == 0 && s->refs == 0) {
            *at = s->next;
            source_free(s);
        } else {
            at = &s->next;
        }
    }
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    struct router *r = arg;
    (void)fd;
    (void)what;
    start_retries(r);
    if (r->waiting.calls > 0) {
        give_up_lost(r);
        start_waiting(r);
    }
    arm_wake(r);
    turns_tell_notes(r);
    free_dead(r);
    close_retired(r);
}

/* --- probes --- */

static void on_probe(evutil_socket_t fd, short what, void *arg)
{
    struct router *r = arg;
    (void)fd;
    (void)what;
    for (struct source *s = r->sources; s; s = s->next)
        if (!s->retired && s->health.open && !s->health.on_trial && s->backend->kind->probe)
            s->backend->kind->probe(s->backend);
}

void turns_set_probe(struct router *r)
{
    struct timeval every = time_of(r->o.probe_ms);
    evtimer_del(r->probe);
    if (r->o.probe_ms > 0)
        event_add(r->probe, &every);
}

/* --- opening and closing --- */

int turns_open(struct router *r, struct error *e)
{
    r->retries_end = &r->retries;
    r->notes_end = &r->notes;
    r->turn = event_new(r->base, -1, 0, on_turn, r);
    r->wake = evtimer_new(r->base, on_turn, r);
    r->probe = event_new(r->base, -1, EV_PERSIST, on_probe, r);
    if (!r->turn || !r->wake || !r->probe)
        return error_set(e, ERR_IO, "the loop takes no events of the router");
    return 0;
}

static void free_event(struct event *ev)
{
    if (ev)
        event_free(ev);
}

void turns_close(struct router *r)
{
    struct router_told *t;
    struct routed *c;
    free_event(r->turn);
    free_event(r->wake);
    free_event(r->probe);
    while ((t = next_note(r)))
        free_note(t);
    while ((c = next_retry(r)))
        if (c->state == ROUTED_OVER)
            router_free_call(c);
    free_dead(r);
}
