/*
 * The queue of calls and the thread that makes them. Jobs and answers go by mailbox as pointers
 * that are handed over, so that no copy of a secret stays in a ring of the mailbox.
 *
 * As many jobs may be out as the mailbox of answers has room for, so the thread never waits for
 * the loop.
 */
#include "console/fetch_private.h"

#include "base/mailbox.h"
#include "base/mem.h"

#include <curl/curl.h>
#include <event2/event.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUE = 64, RESPONSE_BYTES = 256 * 1024, CONNECT_MS = 5000, WHOLE_MS = 20000 };

struct fetcher {
    struct mailbox *jobs, *answers; /* of struct fetch_job * */
    struct event *watch;
    fetch_fn *fn;
    void *arg;
    struct fetch_limits limits;
    bool plain;
    size_t out, max_out; /* jobs that are not answered yet */
    pthread_t thread;
    bool curl, running;
    atomic_bool closing;
};

static void *work(void *arg)
{
    struct fetcher *f = arg;
    struct fetch_job *j;
    for (;;) {
        if (!mailbox_wait(f->jobs, &j, -1))
            continue;
        if (!j)
            return NULL;
        if (!atomic_load(&f->closing))
            fetch_job_run(j, &f->limits, &f->closing);
        mailbox_post(f->answers, &j); /* has room for as many as may be out */
    }
}

static void on_answers(evutil_socket_t fd, short what, void *arg)
{
    struct fetcher *f = arg;
    struct fetch_job *j;
    (void)fd;
    (void)what;
    while (mailbox_take(f->answers, &j)) {
        struct fetch_answer a = {.number = j->number,
                                 .code = j->code,
                                 .status = j->status,
                                 .body = j->got ? j->got : "",
                                 .len = j->got_len,
                                 .error = j->error};
        f->out--;
        f->fn(f->arg, &a);
        fetch_job_free(j);
    }
}

static void submit(struct fetcher *f, uint64_t number, struct fetch_job *j)
{
    j->number = number;
    f->out++;
    mailbox_post(f->jobs, &j);
}

static int has_room(const struct fetcher *f, struct error *e)
{
    return f->out < f->max_out ? 0 : error_set(e, ERR_BUSY, "too many calls wait to be made");
}

static bool is_line(const char *s)
{
    return s[strcspn(s, "\r\n")] == '\0';
}

int fetch_http(struct fetcher *f, uint64_t number, const struct fetch_http *call, struct error *e)
{
    struct fetch_job *j = NULL;
    int rc = has_room(f, e);
    if (!rc)
        rc = fetch_job_new(call->url, false, f->plain, &j, e);
    for (size_t i = 0; !rc && i < call->n_headers; i++) {
        if (i == FETCH_HEADERS_MAX || !is_line(call->headers[i]))
            rc = error_set(e, ERR_INVALID, "a header field of the call is none");
        else
            fetch_job_add_line(j, call->headers[i]);
    }
    if (rc) {
        fetch_job_free(j);
        return rc;
    }
    if (call->form) {
        j->len = strlen(call->form);
        j->body = mem_strdup(call->form);
    }
    submit(f, number, j);
    return 0;
}

/* An address that cannot leave the angle brackets, or its line. */
static char *in_brackets(const char *address)
{
    size_t n = strlen(address), bytes = n + 3;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)address[i];
        if (c <= ' ' || c >= 0x7f || c == '<' || c == '>')
            return NULL;
    }
    char *s = mem_alloc(bytes);
    snprintf(s, bytes, "<%s>", address);
    return s;
}

int fetch_mail(struct fetcher *f, uint64_t number, const struct fetch_mail *call, struct error *e)
{
    struct fetch_job *j = NULL;
    int rc = has_room(f, e);
    if (!rc)
        rc = fetch_job_new(call->url, true, f->plain, &j, e);
    if (rc)
        return rc;
    j->mail = true;
    j->from = in_brackets(call->from);
    j->to = in_brackets(call->to);
    if (!j->from || !j->to) {
        fetch_job_free(j);
        return error_set(e, ERR_INVALID, "a mail needs two addresses");
    }
    j->len = call->len;
    j->body = mem_strndup(call->message, call->len);
    submit(f, number, j);
    return 0;
}

size_t fetch_waiting(const struct fetcher *f)
{
    return f->out;
}

static void take_options(struct fetcher *f, const struct fetch_options *o)
{
    f->limits.response_bytes = o->response_bytes ? o->response_bytes : RESPONSE_BYTES;
    f->limits.connect_ms = o->connect_ms ? o->connect_ms : CONNECT_MS;
    f->limits.whole_ms = o->whole_ms ? o->whole_ms : WHOLE_MS;
    f->limits.ca_file = o->ca_file ? mem_strdup(o->ca_file) : NULL;
    f->max_out = o->queue ? o->queue : QUEUE;
    f->plain = o->plain;
}

int fetcher_open(struct event_base *base, const struct fetch_options *o, fetch_fn *fn, void *arg,
                 struct fetcher **out, struct error *e)
{
    int rc;
    struct fetcher *f = mem_zalloc(sizeof *f);
    f->fn = fn;
    f->arg = arg;
    take_options(f, o);
    f->curl = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    rc = f->curl && sodium_init() >= 0 ? 0 : error_set(e, ERR_INTERNAL, "libcurl does not start");
    if (!rc)
        rc = mailbox_open(sizeof(struct fetch_job *), f->max_out + 1, &f->jobs, e);
    if (!rc)
        rc = mailbox_open(sizeof(struct fetch_job *), f->max_out, &f->answers, e);
    if (rc)
        goto out;
    f->watch = event_new(base, mailbox_fd(f->answers), EV_READ | EV_PERSIST, on_answers, f);
    if (!f->watch || event_add(f->watch, NULL)) {
        rc = error_set(e, ERR_IO, "the loop does not watch the console's calls");
        goto out;
    }
    if (pthread_create(&f->thread, NULL, work, f)) {
        rc = error_set(e, ERR_IO, "cannot start the thread of the console's calls");
        goto out;
    }
    f->running = true;
    *out = f;
out:
    if (rc)
        fetcher_close(f);
    return rc;
}

void fetcher_close(struct fetcher *f)
{
    struct fetch_job *j = NULL;
    if (!f)
        return;
    if (f->running) {
        atomic_store(&f->closing, true);
        mailbox_post(f->jobs, &j);
        pthread_join(f->thread, NULL);
        while (mailbox_take(f->answers, &j))
            fetch_job_free(j);
    }
    if (f->watch)
        event_free(f->watch);
    mailbox_close(f->jobs);
    mailbox_close(f->answers);
    if (f->curl)
        curl_global_cleanup();
    free(f->limits.ca_file);
    free(f);
}
