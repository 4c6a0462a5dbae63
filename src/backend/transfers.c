/*
 * libcurl's multi handles on the event loop: the half of the transfers that knows the loop.
 *
 * libcurl says which descriptors and which time it waits for; what the loop sees is told to
 * curl_multi_socket_action. While that call (or curl_easy_pause) runs, `inside` is set and no
 * handle may be removed: transfer_close then puts the transfer on the list `dead`, which is
 * buried when the call has returned. Ends are read and told there as well, never from below a
 * callback of libcurl.
 *
 * A connection that is kept for later stays in the loop's poll set: taking it out and putting it
 * back costs two system calls a request. If its server closes it, the loop says so once and the
 * watch is removed; libcurl finds the dead socket when it looks for a connection.
 *
 * Of HTTP/2 only the framing is used, one request a connection at a time: libcurl 7.88 stops
 * reading the whole connection for one stream that is paused, so that one slow client would hold
 * up everybody who shares it.
 */
#include "backend/transfers.h"
#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void bury_all(struct transfers *t)
{
    struct transfer *x;
    while ((x = t->dead)) {
        t->dead = x->after;
        transfer_bury(x);
    }
}

/* What a call into libcurl left behind: the closed are freed, the ended are told. */
static void settle(struct transfers *t, struct shelf *s)
{
    CURLMsg *m;
    int left;
    bury_all(t);
    while (s->multi && (m = curl_multi_info_read(s->multi, &left))) {
        struct transfer *x = NULL;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&x);
        transfer_ended(x, m->data.result);
    }
    bury_all(t);
}

static void act(struct shelf *s, curl_socket_t fd, int what)
{
    struct transfers *t = s->all;
    int running;
    t->now_ms = clock_mono_ms();
    t->inside = true;
    curl_multi_socket_action(s->multi, fd, what, &running);
    t->inside = false;
    settle(t, s);
}

static void unwatch(struct watch *w)
{
    if (w->what)
        event_del(&w->event);
    w->what = 0;
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct watch *w = arg;
    if (w->shelf)
        act(w->shelf, fd,
            (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0));
    else
        unwatch(w);
}

static struct watch *watch_of(struct transfers *t, curl_socket_t fd)
{
    size_t i = (size_t)fd;
    if (i >= t->n_watches) {
        size_t n = i < 64 ? 128 : i * 2;
        t->watch = mem_realloc(t->watch, n * sizeof *t->watch);
        memset(t->watch + t->n_watches, 0, (n - t->n_watches) * sizeof *t->watch);
        t->n_watches = n;
    }
    if (!t->watch[i]) {
        t->watch[i] = mem_zalloc(sizeof *t->watch[i]);
        t->watch[i]->all = t;
    }
    return t->watch[i];
}

/* libcurl wants to know when fd is ready. */
static int on_want(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
    struct shelf *s = arg;
    struct watch *w = watch_of(s->all, fd);
    short wanted = 0;
    (void)easy;
    (void)unused;
    if (what == CURL_POLL_REMOVE) {
        w->shelf = NULL;
        if (!w->connection || w->what != EV_READ)
            unwatch(w);
        return 0;
    }
    if (what & CURL_POLL_IN)
        wanted |= EV_READ;
    if (what & CURL_POLL_OUT)
        wanted |= EV_WRITE;
    w->shelf = s;
    if (wanted == w->what)
        return 0;
    unwatch(w);
    event_assign(&w->event, s->all->base, fd, (short)(wanted | EV_PERSIST), on_ready, w);
    if (wanted && event_add(&w->event, NULL))
        return -1;
    w->what = wanted;
    return 0;
}

void transfers_socket(struct transfers *t, curl_socket_t fd)
{
    watch_of(t, fd)->connection = true;
}

static int on_close_socket(void *arg, curl_socket_t fd)
{
    struct watch *w = watch_of(arg, fd);
    unwatch(w);
    w->shelf = NULL;
    w->connection = false;
    return close(fd);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

/* libcurl wants to be called in so many ms. */
static int on_want_timer(CURLM *multi, long ms, void *arg)
{
    struct shelf *s = arg;
    (void)multi;
    if (ms < 0) {
        evtimer_del(&s->timer);
    } else if (ms == 0) {
        event_active(&s->timer, EV_TIMEOUT, 0);
    } else {
        struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
        evtimer_add(&s->timer, &tv);
    }
    return 0;
}

static void shelf_close(struct shelf *s)
{
    if (s->multi)
        curl_multi_cleanup(s->multi);
    s->multi = NULL;
    evtimer_del(&s->timer);
}

static bool shelf_open(struct shelf *s)
{
    CURLM *m = s->multi = curl_multi_init();
    if (!m)
        return false;
    bool good = !curl_multi_setopt(m, CURLMOPT_SOCKETFUNCTION, on_want) &&
                !curl_multi_setopt(m, CURLMOPT_SOCKETDATA, s) &&
                !curl_multi_setopt(m, CURLMOPT_TIMERFUNCTION, on_want_timer) &&
                !curl_multi_setopt(m, CURLMOPT_TIMERDATA, s) &&
                !curl_multi_setopt(m, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING) &&
                !curl_multi_setopt(m, CURLMOPT_MAXCONNECTS, (long)SHELF_TRANSFERS);
    if (!good)
        shelf_close(s);
    return good;
}

struct shelf *shelf_take(struct transfers *t)
{
    size_t i = 0;
    while (i < t->n_shelves && t->shelf[i]->transfers == SHELF_TRANSFERS)
        i++;
    if (i == t->n_shelves) {
        t->shelf = mem_realloc(t->shelf, (i + 1) * sizeof(struct shelf *));
        t->shelf[i] = mem_zalloc(sizeof *t->shelf[i]);
        t->shelf[i]->all = t;
        evtimer_assign(&t->shelf[i]->timer, t->base, on_timer, t->shelf[i]);
        t->n_shelves++;
    }
    struct shelf *s = t->shelf[i];
    if (!s->multi && !shelf_open(s))
        return NULL;
    s->transfers++;
    return s;
}

void shelf_leave(struct shelf *s)
{
    struct timeval tv = {.tv_sec = SHELF_IDLE_MS / 1000};
    if (--s->transfers)
        return;
    s->empty_since_ms = clock_mono_ms();
    if (!evtimer_pending(s->all->reap, NULL))
        evtimer_add(s->all->reap, &tv);
}

/* Closes the connections of shelves that nobody has used for a while. */
static void on_reap(evutil_socket_t fd, short what, void *arg)
{
    struct transfers *t = arg;
    struct timeval tv = {.tv_sec = SHELF_IDLE_MS / 1000};
    int64_t now_ms = clock_mono_ms();
    bool again = false;
    (void)fd;
    (void)what;
    for (size_t i = 0; i < t->n_shelves; i++) {
        struct shelf *s = t->shelf[i];
        if (!s->multi || s->transfers)
            continue;
        if (now_ms - s->empty_since_ms >= SHELF_IDLE_MS)
            shelf_close(s);
        else
            again = true;
    }
    if (again)
        evtimer_add(t->reap, &tv);
}

static bool set_common(struct transfers *t, CURL *h)
{
    return !curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L) &&
           !curl_easy_setopt(h, CURLOPT_SHARE, t->share) &&
           !curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https") &&
           !curl_easy_setopt(h, CURLOPT_NOPROXY, "") &&
           !curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L) &&
           !curl_easy_setopt(h, CURLOPT_HTTP09_ALLOWED, 0L) &&
           !curl_easy_setopt(h, CURLOPT_QUICK_EXIT, 1L) &&
           !curl_easy_setopt(h, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) &&
           !curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
           !curl_easy_setopt(h, CURLOPT_TCP_NODELAY, 1L) &&
           !curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L) &&
           !curl_easy_setopt(h, CURLOPT_TCP_KEEPIDLE, 30L) &&
           !curl_easy_setopt(h, CURLOPT_TCP_KEEPINTVL, 10L) &&
           !curl_easy_setopt(h, CURLOPT_BUFFERSIZE, (long)RECEIVE_BYTES) &&
           !curl_easy_setopt(h, CURLOPT_UPLOAD_BUFFERSIZE, 16384L) &&
           !curl_easy_setopt(h, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket) &&
           !curl_easy_setopt(h, CURLOPT_CLOSESOCKETDATA, t) &&
           !curl_easy_setopt(h, CURLOPT_SOCKOPTFUNCTION, transfer_on_socket) &&
           !curl_easy_setopt(h, CURLOPT_PREREQFUNCTION, transfer_on_connected) &&
           !curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, transfer_on_header) &&
           !curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, transfer_on_write);
}

static void handle_free(struct handle *h)
{
    curl_easy_cleanup(h->easy);
    curl_url_cleanup(h->address);
    free(h->url);
}

bool handle_take(struct transfers *t, struct handle *out)
{
    if (t->n_spare) {
        *out = t->spare[--t->n_spare];
        return true;
    }
    *out = (struct handle){.easy = curl_easy_init(), .address = curl_url()};
    if (out->easy && out->address && set_common(t, out->easy))
        return true;
    handle_free(out);
    *out = (struct handle){0};
    return false;
}

/* The handle still points to what belonged to its request; the next one sets all of that. */
void handle_give(struct transfers *t, struct handle *h, bool pooled)
{
    curl_easy_setopt(h->easy, CURLOPT_ERRORBUFFER, NULL);
    if (pooled && t->n_spare < SPARE_HANDLES)
        t->spare[t->n_spare++] = *h;
    else
        handle_free(h);
    *h = (struct handle){0};
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
    struct transfers *t = arg;
    struct transfer *x;
    (void)fd;
    (void)what;
    t->now_ms = clock_mono_ms();
    while ((x = t->woken)) {
        struct shelf *s = x->shelf;
        t->woken = x->after;
        transfer_wake(x);
        settle(t, s);
    }
    bury_all(t);
}

void transfers_later(struct transfers *t)
{
    event_active(t->later, EV_TIMEOUT, 0);
}

static bool share_open(struct transfers *t)
{
    t->share = curl_share_init();
    return t->share && !curl_share_setopt(t->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) &&
           !curl_share_setopt(t->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
}

/* 7.88 begins HTTP/2 anew with each request on a connection where it was known beforehand. */
static bool knows_h2c_once(void)
{
    unsigned version = curl_version_info(CURLVERSION_NOW)->version_num;
    return version >= 0x075800 && version < 0x080000;
}

int transfers_open(struct event_base *base, struct transfers **out, struct error *e)
{
    *out = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        return error_set(e, ERR_INTERNAL, "libcurl cannot be initialised");
    struct transfers *t = mem_zalloc(sizeof *t);
    t->base = base;
    t->h2c_once = knows_h2c_once();
    t->ca_file = curl_version_info(CURLVERSION_NOW)->cainfo;
    t->later = evtimer_new(base, on_later, t);
    t->reap = evtimer_new(base, on_reap, t);
    if (!t->later || !t->reap || !share_open(t)) {
        transfers_close(t);
        return error_set(e, ERR_INTERNAL, "libcurl cannot be set up on the event loop");
    }
    *out = t;
    return 0;
}

void transfers_close(struct transfers *t)
{
    if (!t)
        return;
    while (t->all)
        transfer_bury(t->all);
    while (t->n_spare)
        handle_free(&t->spare[--t->n_spare]);
    for (size_t i = 0; i < t->n_shelves; i++) {
        shelf_close(t->shelf[i]);
        free(t->shelf[i]);
    }
    free(t->shelf);
    curl_share_cleanup(t->share);
    for (size_t i = 0; i < t->n_watches; i++) {
        if (t->watch[i])
            unwatch(t->watch[i]);
        free(t->watch[i]);
    }
    free(t->watch);
    if (t->later)
        event_free(t->later);
    if (t->reap)
        event_free(t->reap);
    free(t);
    curl_global_cleanup();
}
