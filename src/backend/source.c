/*
 * Sources, and the options of upstreams as values: copied, so that a reload can tell which
 * upstreams are still the same, and compared. Copies of keys are wiped before they are freed.
 */
#include "backend/source.h"

#include "backend/choice.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { SERVICE_WEIGHT = 8 }; /* a run changes the average by one part in so many */

/* --- options --- */

static bool same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_headers(const struct upstream_options *a, const struct upstream_options *b)
{
    if (a->n_headers != b->n_headers)
        return false;
    for (size_t i = 0; i < a->n_headers; i++)
        if (!same_text(a->headers[i].name, b->headers[i].name) ||
            !same_text(a->headers[i].value, b->headers[i].value))
            return false;
    return true;
}

static bool same_forward(const struct upstream_options *a, const struct upstream_options *b)
{
    if (a->n_forward != b->n_forward)
        return false;
    for (size_t i = 0; i < a->n_forward; i++)
        if (!same_text(a->forward[i], b->forward[i]))
            return false;
    return true;
}

bool upstream_options_equal(const struct upstream_options *a, const struct upstream_options *b)
{
    return same_text(a->name, b->name) && same_text(a->url, b->url) &&
           same_text(a->prefix, b->prefix) && same_text(a->key, b->key) && same_headers(a, b) &&
           same_forward(a, b) && a->verify == b->verify && same_text(a->ca_file, b->ca_file) &&
           a->http2 == b->http2 && same_text(a->proxy, b->proxy) &&
           a->connect_ms == b->connect_ms && a->first_byte_ms == b->first_byte_ms &&
           a->idle_ms == b->idle_ms && a->total_ms == b->total_ms &&
           a->concurrency == b->concurrency && a->event_bytes == b->event_bytes &&
           a->reply_bytes == b->reply_bytes && a->head_bytes == b->head_bytes &&
           a->template_kwargs == b->template_kwargs;
}

static char *copy_text(const char *s)
{
    return s ? mem_strdup(s) : NULL;
}

static struct upstream_options *copy_options(const struct upstream_options *o)
{
    struct upstream_options *to = mem_alloc(sizeof *to);
    *to = *o;
    to->name = copy_text(o->name);
    to->url = copy_text(o->url);
    to->prefix = copy_text(o->prefix);
    to->key = copy_text(o->key);
    to->ca_file = copy_text(o->ca_file);
    to->proxy = copy_text(o->proxy);
    to->headers = mem_array(o->n_headers + 1, sizeof *to->headers);
    for (size_t i = 0; i < o->n_headers; i++) {
        to->headers[i].name = copy_text(o->headers[i].name);
        to->headers[i].value = copy_text(o->headers[i].value);
    }
    to->forward = mem_array(o->n_forward + 1, sizeof *to->forward);
    for (size_t i = 0; i < o->n_forward; i++)
        to->forward[i] = copy_text(o->forward[i]);
    return to;
}

static void free_text(const char *s)
{
    free((void *)(uintptr_t)s);
}

static void free_secret(const char *s)
{
    if (s)
        explicit_bzero((void *)(uintptr_t)s, strlen(s));
    free_text(s);
}

static void free_options(struct upstream_options *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->n_headers; i++) {
        free_text(o->headers[i].name);
        free_secret(o->headers[i].value);
    }
    for (size_t i = 0; i < o->n_forward; i++)
        free(o->forward[i]);
    free(o->headers);
    free(o->forward);
    free(o->name);
    free(o->url);
    free(o->prefix);
    free_secret(o->key);
    free(o->ca_file);
    free_secret(o->proxy); /* may hold a password */
    free(o);
}

/* --- sources --- */

struct source *source_new(struct backend *b, const struct upstream_options *o)
{
    struct source *s = mem_zalloc(sizeof *s);
    s->backend = b;
    s->options = o ? copy_options(o) : NULL;
    s->hash = choice_hash(b->name);
    s->local = strcmp(b->kind->name, "local") == 0;
    return s;
}

void source_free(struct source *s)
{
    if (!s)
        return;
    s->backend->kind->close(s->backend);
    free_options(s->options);
    free(s);
}

void source_note_service(struct source *s, int64_t us)
{
    if (us < 1)
        us = 1;
    s->service_us = s->service_us ? s->service_us + (us - s->service_us) / SERVICE_WEIGHT : us;
}
