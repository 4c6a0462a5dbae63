/*
 * One request through libcurl, from its connection to its end: limits of time, the reply's head
 * and body, and why it ended. What goes up is in transfer_request.c.
 *
 * Nothing is allocated and no timer is moved per event: the bytes go to on_body from libcurl's
 * receive buffer, and since_ms is the time that the loop's turn began. The timer fires at the
 * earliest time at which a limit may be over, looks, and is set anew. A paused transfer refuses
 * the next bytes; libcurl holds them (one receive buffer at most) and reads no more.
 */
#include "backend/transfers.h"
#include "base/clock.h"
#include "base/mem.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    LET_GO_MS = 1000, /* what a response may take to end once nobody listens */
    LET_GO_BYTES = 64 * 1024,
    SENT_AT_ONCE_BYTES = 16 * 1024, /* a request so small needs no look whether it is sent */
    LOOK_MS = 200,                  /* between two looks how much of a request is sent */
    DAY_S = 24 * 60 * 60
};

/* ---- limits of time ---- */

static int64_t after_ms(int64_t from_ms, int limit_ms)
{
    return limit_ms > 0 ? from_ms + limit_ms : INT64_MAX;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* When the phase it is in has lasted too long. */
static int64_t phase_due(const struct transfer *x)
{
    if (!x->events)
        return x->since_ms + LET_GO_MS;
    if (x->phase == PHASE_CONNECTING)
        return after_ms(x->since_ms, x->connect_ms);
    if (!x->timed || x->paused)
        return INT64_MAX;
    return after_ms(x->since_ms, x->phase == PHASE_BODY ? x->idle_ms : x->first_byte_ms);
}

static void set_timer(struct transfer *x, int64_t now_ms)
{
    int64_t due_ms = min64(phase_due(x), after_ms(x->started_ms, x->total_ms));
    if (x->phase == PHASE_SENDING)
        due_ms = min64(due_ms, now_ms + LOOK_MS);
    if (due_ms >= x->due_ms)
        return; /* it fires before that and looks then */
    int64_t wait_ms = due_ms > now_ms ? due_ms - now_ms : 0;
    struct timeval tv = {.tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000};
    x->due_ms = due_ms;
    evtimer_add(&x->timer, &tv);
}

static void enter(struct transfer *x, enum transfer_phase phase)
{
    x->phase = phase;
    x->since_ms = x->all->now_ms;
    set_timer(x, x->since_ms);
}

/* Progress counts as a sign of life; the wait for the first byte begins at the end. */
static void look_at_sending(struct transfer *x)
{
    curl_off_t sent = 0;
    curl_easy_getinfo(x->handle.easy, CURLINFO_SIZE_UPLOAD_T, &sent);
    if (sent != x->sent)
        x->since_ms = x->all->now_ms;
    x->sent = sent;
    if ((size_t)sent >= x->len)
        x->phase = PHASE_WAITING;
}

/* ---- the end ---- */

static void forget_request(struct transfer *x)
{
    free(x->body);
    free(x->lines);
    x->body = NULL;
    x->lines = NULL;
}

static void unlink_woken(struct transfer *x)
{
    struct transfer **at = &x->all->woken;
    while (x->waking && *at) {
        if (*at == x) {
            *at = x->after;
            x->waking = false;
        } else {
            at = &(*at)->after;
        }
    }
}

/* Out of libcurl: an unfinished response's connection is closed by that. One of HTTP/2 would be
 * kept, and the server told of the reset stream no sooner than with the next request. */
static void leave(struct transfer *x)
{
    unlink_woken(x);
    evtimer_del(&x->timer);
    if (x->shelf) {
        curl_easy_setopt(x->handle.easy, CURLOPT_FORBID_REUSE, 1L);
        curl_multi_remove_handle(x->shelf->multi, x->handle.easy);
        shelf_leave(x->shelf);
    }
    if (x->handle.easy)
        handle_give(x->all, &x->handle, x->pooled);
    forget_request(x);
    if (x->next)
        x->next->prev = x->prev;
    if (x->prev)
        x->prev->next = x->next;
    else
        x->all->all = x->next;
}

void transfer_bury(struct transfer *x)
{
    leave(x);
    free(x);
}

static void finish(struct transfer *x, enum transfer_end end, const char *detail)
{
    leave(x);
    x->ended = true;
    if (x->events)
        x->events->on_end(x->arg, end, detail);
    free(x);
}

static enum transfer_end end_of(const struct transfer *x, CURLcode code)
{
    long proxy_status = 0;
    switch (code) {
    case CURLE_OK:
        return x->head_told ? TRANSFER_COMPLETE : TRANSFER_GARBAGE;
    case CURLE_URL_MALFORMAT:
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_PROXY:
    case CURLE_INTERFACE_FAILED:
        return TRANSFER_REFUSED;
    case CURLE_COULDNT_RESOLVE_HOST:
        return TRANSFER_NO_NAME;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_CLIENTCERT:
    case CURLE_USE_SSL_FAILED:
        return TRANSFER_TLS;
    case CURLE_OPERATION_TIMEDOUT:
        return TRANSFER_CONNECT_TIMEOUT;
    case CURLE_WRITE_ERROR:
    case CURLE_OUT_OF_MEMORY: /* how libcurl calls a header line past its own ceiling */
        return TRANSFER_LIMIT;
    case CURLE_RECV_ERROR:
        curl_easy_getinfo(x->handle.easy, CURLINFO_HTTP_CONNECTCODE, &proxy_status);
        if (proxy_status && proxy_status / 100 != 2)
            return TRANSFER_REFUSED;
        return strstr(x->said, "chunked-encoding") ? TRANSFER_GARBAGE : TRANSFER_RESET;
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2_STREAM:
        return TRANSFER_RESET;
    default:
        return TRANSFER_GARBAGE;
    }
}

static void describe(const struct transfer *x, CURLcode code, char *out, size_t size)
{
    long number = 0;
    if (code == CURLE_OK && !x->head_told) {
        snprintf(out, size, "%s: a reply without a final status", x->where);
    } else if (code == CURLE_OK) {
        out[0] = '\0';
    } else if (code == CURLE_WRITE_ERROR && !x->refused) {
        snprintf(out, size, "%s: header fields of more than %zu bytes", x->where, x->head_bytes);
    } else if (code == CURLE_WRITE_ERROR) {
        snprintf(out, size, "%s: the reply was not taken", x->where);
    } else {
        const char *text = x->said[0] ? x->said : curl_easy_strerror(code);
        curl_easy_getinfo(x->handle.easy, CURLINFO_OS_ERRNO, &number);
        if (code == CURLE_COULDNT_CONNECT && number > 0)
            snprintf(out, size, "connect to %s failed: %s", x->where, strerrordesc_np((int)number));
        else
            snprintf(out, size, "%s: %s", x->where, text);
    }
}

void transfer_ended(struct transfer *x, CURLcode code)
{
    char detail[CURL_ERROR_SIZE + 200];
    describe(x, code, detail, sizeof detail);
    finish(x, end_of(x, code), detail);
}

static void time_out(struct transfer *x, bool total)
{
    static const struct {
        enum transfer_end end;
        const char *text;
    } of[] = {
        [PHASE_CONNECTING] = {TRANSFER_CONNECT_TIMEOUT, "no connection"},
        [PHASE_SENDING] = {TRANSFER_FIRST_BYTE_TIMEOUT, "the request is not taken"},
        [PHASE_WAITING] = {TRANSFER_FIRST_BYTE_TIMEOUT, "no first byte of the reply"},
        [PHASE_BODY] = {TRANSFER_IDLE_TIMEOUT, "no byte of the reply"},
    };
    char detail[CURL_ERROR_SIZE];
    int64_t from_ms = total ? x->started_ms : x->since_ms;
    snprintf(detail, sizeof detail, "%s: %s for %lld ms", x->where,
             total ? "the reply is not complete" : of[x->phase].text,
             (long long)(x->all->now_ms - from_ms));
    finish(x, total ? TRANSFER_TOTAL_TIMEOUT : of[x->phase].end, detail);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct transfer *x = arg;
    int64_t now_ms = clock_mono_ms();
    (void)fd;
    (void)what;
    x->all->now_ms = now_ms;
    x->due_ms = INT64_MAX;
    if (x->phase == PHASE_SENDING)
        look_at_sending(x);
    bool total = now_ms >= after_ms(x->started_ms, x->total_ms);
    if (!total && now_ms < phase_due(x))
        set_timer(x, now_ms);
    else if (x->events)
        time_out(x, total);
    else
        transfer_bury(x);
}

/* ---- what libcurl calls ---- */

/* Also when it asks again on a new connection, since the one it kept was dead. */
int transfer_on_socket(void *arg, curl_socket_t fd, curlsocktype what)
{
    struct transfer *x = arg;
    (void)what;
    transfers_socket(x->all, fd);
    if (x->phase != PHASE_CONNECTING)
        enter(x, PHASE_CONNECTING);
    return CURL_SOCKOPT_OK;
}

int transfer_on_connected(void *arg, char *peer, char *us, int peer_port, int our_port)
{
    struct transfer *x = arg;
    (void)peer;
    (void)us;
    (void)peer_port;
    (void)our_port;
    enter(x, x->len > SENT_AT_ONCE_BYTES ? PHASE_SENDING : PHASE_WAITING);
    return CURL_PREREQFUNC_OK;
}

/* Retry-After (RFC 9110, 10.2.3): seconds or a date; a day at most. */
static int read_retry_after(const char *value, size_t n)
{
    char text[64];
    char *end;
    if (n >= sizeof text)
        return 0;
    memcpy(text, value, n);
    text[n] = '\0';
    long long s = strtoll(text, &end, 10);
    if (end == text || end[strspn(end, " \t\r\n")]) {
        long long at_s = (long long)curl_getdate(text, NULL);
        s = at_s < 0 ? 0 : at_s - clock_unix_ms() / 1000;
    }
    return s <= 0 ? 0 : (int)(s < DAY_S ? s : DAY_S) * 1000;
}

/* The empty line: of the final response, or of one that only says "wait". */
static void end_of_head(struct transfer *x)
{
    long status = 0;
    char *type = NULL;
    curl_easy_getinfo(x->handle.easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200)
        return;
    curl_easy_getinfo(x->handle.easy, CURLINFO_CONTENT_TYPE, &type);
    look_at_sending(x);
    if ((size_t)x->sent >= x->len) {
        curl_easy_setopt(x->handle.easy, CURLOPT_HTTPHEADER, NULL);
        curl_easy_setopt(x->handle.easy, CURLOPT_POSTFIELDS, NULL);
        forget_request(x);
    }
    x->head_told = true;
    if (!x->timed && status >= 300) { /* no refusal takes its time */
        x->timed = true;
        enter(x, x->phase);
    }
    if (x->events)
        x->events->on_head(x->arg, (int)status, type ? type : "", x->retry_after_ms);
}

size_t transfer_on_header(char *line, size_t size, size_t n, void *arg)
{
    static const char retry_after[] = "Retry-After:";
    const size_t name = sizeof retry_after - 1;
    struct transfer *x = arg;
    n *= size;
    if (x->closed || n > x->head_left)
        return 0;
    x->head_left -= n;
    if (x->head_told)
        return n; /* a trailer */
    if (n > name && strncasecmp(line, retry_after, name) == 0)
        x->retry_after_ms = read_retry_after(line + name, n - name);
    else if (line[0] == '\r' || line[0] == '\n')
        end_of_head(x);
    return x->closed ? 0 : n;
}

size_t transfer_on_write(char *bytes, size_t size, size_t n, void *arg)
{
    struct transfer *x = arg;
    n *= size;
    if (x->closed)
        return CURL_WRITEFUNC_ERROR;
    if (x->paused) {
        x->held = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (!x->events) {
        x->let_go_bytes += n;
        return x->let_go_bytes > LET_GO_BYTES ? CURL_WRITEFUNC_ERROR : n;
    }
    if (x->phase == PHASE_BODY)
        x->since_ms = x->all->now_ms;
    else
        enter(x, PHASE_BODY);
    x->refused = x->events->on_body(x->arg, bytes, n) != 0;
    return x->refused || x->closed ? CURL_WRITEFUNC_ERROR : n;
}

void transfer_wake(struct transfer *x)
{
    struct transfers *t = x->all;
    x->waking = false;
    if (x->paused)
        return;
    x->held = false;
    t->inside = true;
    CURLcode code = curl_easy_pause(x->handle.easy, CURLPAUSE_CONT);
    t->inside = false;
    if (code && !x->closed)
        transfer_ended(x, code);
}

/* ---- the face ---- */

void transfer_pause(struct transfer *x, bool paused)
{
    struct transfers *t = x->all;
    if (x->closed || x->ended || x->paused == paused)
        return;
    x->paused = paused;
    if (paused)
        return;
    int64_t now_ms = clock_mono_ms();
    if (x->phase != PHASE_CONNECTING) {
        x->since_ms = now_ms;
        set_timer(x, now_ms);
    }
    if (!x->held || x->waking)
        return;
    x->waking = true;
    x->after = t->woken;
    t->woken = x;
    transfers_later(t);
}

static void close_now(struct transfer *x)
{
    struct transfers *t = x->all;
    if (!t->inside) {
        transfer_bury(x);
        return;
    }
    unlink_woken(x);
    x->closed = true;
    x->after = t->dead;
    t->dead = x;
}

void transfer_close(struct transfer *x)
{
    if (x && !x->closed && !x->ended)
        close_now(x);
}

void transfer_let_go(struct transfer *x)
{
    if (x->closed || x->ended)
        return;
    if (x->paused) {
        close_now(x);
        return;
    }
    x->events = NULL;
    x->arg = NULL;
    x->since_ms = clock_mono_ms();
    set_timer(x, x->since_ms);
}

/* "host:port" of a URL, without what may stand before the host. */
static const char *where_of(const char *url, size_t *n)
{
    const char *at = strstr(url, "://");
    const char *host = at ? at + 3 : url;
    *n = strcspn(host, "/?#");
    const char *user = memrchr(host, '@', *n);
    if (user) {
        *n -= (size_t)(user + 1 - host);
        host = user + 1;
    }
    return host;
}

static struct transfer *transfer_new(struct transfers *t, const struct upstream_options *o,
                                     char *body, size_t len)
{
    size_t n;
    const char *where = where_of(o->url, &n);
    struct transfer *x = mem_zalloc(sizeof *x + n + 1);
    memcpy(x->where, where, n);
    x->all = t;
    x->body = body;
    x->len = body ? len : 0;
    x->connect_ms = o->connect_ms;
    x->first_byte_ms = o->first_byte_ms;
    x->idle_ms = o->idle_ms;
    x->total_ms = o->total_ms;
    x->head_bytes = x->head_left = o->head_bytes;
    x->due_ms = INT64_MAX;
    evtimer_assign(&x->timer, t->base, on_timer, x);
    x->next = t->all;
    if (t->all)
        t->all->prev = x;
    t->all = x;
    return x;
}

int transfer_open(struct transfers *t, const struct upstream_options *o, const char *path,
                  char *body, size_t len, const char *const *headers, size_t n_headers, bool stream,
                  const struct transfer_events *events, void *arg, struct transfer **out,
                  struct error *e)
{
    struct transfer *x = transfer_new(t, o, body, len);
    *out = NULL;
    x->events = events;
    x->arg = arg;
    x->timed = stream;
    if (!transfer_begin(x, o, path, headers, n_headers)) {
        transfer_bury(x);
        return error_set(e, ERR_INTERNAL, "%s: the request cannot be begun", o->name);
    }
    x->started_ms = x->since_ms = clock_mono_ms();
    set_timer(x, x->since_ms);
    *out = x;
    return 0;
}
