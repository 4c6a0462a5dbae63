/*
 * What libcurl is told of one request: address, header fields, TLS, version, body. A handle keeps
 * what it was told last, so whatever differs between requests is set for each of them.
 */
#include "backend/transfers.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { EXPECT_BYTES = 512 * 1024 }; /* libcurl asks before it sends a request of some size */

static bool line_names(const char *line, const char *name)
{
    size_t n = strlen(name);
    return strncasecmp(line, name, n) == 0 && line[n] == ':';
}

static bool given(const struct upstream_options *o, const char *line)
{
    for (size_t i = 0; i < o->n_headers; i++) {
        if (line_names(line, o->headers[i].name))
            return true;
    }
    return false;
}

/* The header fields as a list in one block of memory: nodes, then their texts. */
struct lines {
    struct curl_slist *node;
    size_t n, bytes; /* counted first, without a block, then written */
    char *at;        /* NULL while counting */
};

static void add_part(struct lines *l, const char *part)
{
    size_t n = strlen(part);
    if (l->at)
        l->at = mempcpy(l->at, part, n);
    else
        l->bytes += n;
}

static void add_line(struct lines *l, const char *name, const char *between, const char *value)
{
    char *start = l->at;
    add_part(l, name);
    add_part(l, between);
    add_part(l, value);
    if (start) {
        *l->at++ = '\0';
        l->node[l->n] = (struct curl_slist){.data = start, .next = &l->node[l->n + 1]};
    } else {
        l->bytes++;
    }
    l->n++;
}

/* What the options give goes before what the request or libcurl would say. */
static void add_lines(struct lines *l, const struct upstream_options *o, size_t len,
                      const char *const *headers, size_t n_headers)
{
    if (len > EXPECT_BYTES)
        add_line(l, "Expect", ":", "");
    if (o->key && o->key[0] && !given(o, "Authorization:"))
        add_line(l, "Authorization", ": Bearer ", o->key);
    for (size_t i = 0; i < o->n_headers; i++) {
        bool empty = !o->headers[i].value[0]; /* libcurl takes "Name:" for "send none" */
        add_line(l, o->headers[i].name, empty ? ";" : ": ", o->headers[i].value);
    }
    for (size_t i = 0; i < n_headers; i++) {
        if (!given(o, headers[i]))
            add_line(l, headers[i], "", "");
    }
}

static struct curl_slist *make_lines(const struct upstream_options *o, size_t len,
                                     const char *const *headers, size_t n_headers)
{
    struct lines count = {0}, l = {0};
    add_lines(&count, o, len, headers, n_headers);
    if (!count.n)
        return NULL;
    l.node = mem_alloc(count.n * sizeof *l.node + count.bytes);
    l.at = (char *)(l.node + count.n);
    add_lines(&l, o, len, headers, n_headers);
    l.node[l.n - 1].next = NULL;
    return l.node;
}

/* Certificates of a file alone are read once and kept; with a folder beside it, which is libcurl's
 * default, the file is read again for each connection, and the loop waits for that. */
static bool set_tls(struct transfer *x, const struct upstream_options *o)
{
    CURL *h = x->handle.easy;
    bool own = o->ca_file && o->ca_file[0];
    const char *file = own ? o->ca_file : x->all->ca_file;
    x->pooled = !own || x->all->ca_file; /* else the system's could not be chosen again */
    return !curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, o->verify ? 1L : 0L) &&
           !curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, o->verify ? 2L : 0L) &&
           (!file || (!curl_easy_setopt(h, CURLOPT_CAINFO, file) &&
                      !curl_easy_setopt(h, CURLOPT_CAPATH, NULL)));
}

/* Without TLS a server's HTTP version is only known if it is configured. */
static bool set_version(struct transfer *x, const struct upstream_options *o)
{
    CURL *h = x->handle.easy;
    bool tls = strncasecmp(o->url, "https:", 6) == 0, once = false;
    long version = CURL_HTTP_VERSION_1_1;
    if (o->http2 == UPSTREAM_HTTP2_PRIOR && !tls) {
        version = CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
        once = x->all->h2c_once;
    } else if (o->http2 != UPSTREAM_HTTP2_OFF && tls) {
        version = CURL_HTTP_VERSION_2TLS;
    }
    return !curl_easy_setopt(h, CURLOPT_HTTP_VERSION, version) &&
           !curl_easy_setopt(h, CURLOPT_FRESH_CONNECT, once ? 1L : 0L) &&
           !curl_easy_setopt(h, CURLOPT_FORBID_REUSE, once ? 1L : 0L);
}

static bool set_address(struct transfer *x, const struct upstream_options *o, const char *path)
{
    struct handle *h = &x->handle;
    size_t n = strlen(o->url), size = n + strlen(path) + 1;
    if (h->url && strncmp(h->url, o->url, n) == 0 && strcmp(h->url + n, path) == 0)
        return true;
    free(h->url);
    h->url = mem_alloc(size);
    snprintf(h->url, size, "%s%s", o->url, path);
    return !curl_url_set(h->address, CURLUPART_URL, h->url, CURLU_PATH_AS_IS) &&
           !curl_easy_setopt(h->easy, CURLOPT_CURLU, h->address);
}

static bool set_request(struct transfer *x, const struct upstream_options *o)
{
    CURL *h = x->handle.easy;
    bool good = !curl_easy_setopt(h, CURLOPT_PROXY, o->proxy ? o->proxy : "") &&
                !curl_easy_setopt(h, CURLOPT_HTTPHEADER, x->lines) &&
                !curl_easy_setopt(h, CURLOPT_ERRORBUFFER, x->said) &&
                !curl_easy_setopt(h, CURLOPT_PRIVATE, x) &&
                !curl_easy_setopt(h, CURLOPT_SOCKOPTDATA, x) &&
                !curl_easy_setopt(h, CURLOPT_PREREQDATA, x) &&
                !curl_easy_setopt(h, CURLOPT_HEADERDATA, x) &&
                !curl_easy_setopt(h, CURLOPT_WRITEDATA, x) && set_tls(x, o) && set_version(x, o);
    if (good && !x->body)
        good = !curl_easy_setopt(h, CURLOPT_HTTPGET, 1L);
    else if (good)
        good = !curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->len) &&
               !curl_easy_setopt(h, CURLOPT_POSTFIELDS, x->body);
    return good;
}

bool transfer_begin(struct transfer *x, const struct upstream_options *o, const char *path,
                    const char *const *headers, size_t n_headers)
{
    x->lines = make_lines(o, x->len, headers, n_headers);
    x->shelf = handle_take(x->all, &x->handle) ? shelf_take(x->all) : NULL;
    return x->shelf && set_address(x, o, path) && set_request(x, o) &&
           !curl_multi_add_handle(x->shelf->multi, x->handle.easy);
}
