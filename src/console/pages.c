/*
 * See pages.h. The archive, all numbers 32 bits and little-endian:
 *
 *   "MGPAGES1"  count  0
 *   count times, sorted by path:  path  type  etag  flags  3 x (offset, length)
 *   texts that end in NUL, and bytes
 *
 * path, type and etag are offsets of texts; the three bodies are plain, gzip and brotli, and a
 * length of 0 says that this one is not there. A path that ends in a segment "*" stands for every
 * last segment.
 */
#include "console/pages.h"

#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { PLAIN, GZIP, BROTLI, N_ENCODINGS };
enum { FLAG_FOREVER = 1, FLAG_PAGE = 2, FLAG_REFERENCE = 4 };
enum { HEAD_BYTES = 16, ENTRY_BYTES = 40, PATH_MAX_CHARS = 256 };

#define MAGIC "MGPAGES1"

/* Nothing may be loaded from elsewhere and nothing is written into a page as script or style. */
#define POLICY(style)                                                                              \
    "default-src 'none'; script-src 'self'; style-src " style                                      \
    "; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; "               \
    "form-action 'self'; frame-ancestors 'none'"
/* Scalar's API reference writes <style> elements while it runs: /docs alone may have them. */
static const char policy_page[] = POLICY("'self'");
static const char policy_reference[] = POLICY("'self' 'unsafe-inline'");

struct pages {
    const unsigned char *bytes;
    size_t len, n;
};

struct entry {
    const char *path, *type, *etag;
    uint32_t flags;
    struct {
        uint32_t at, len;
    } body[N_ENCODINGS];
};

static uint32_t number(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* NULL: it does not lie in the archive. */
static const char *text_at(const struct pages *p, uint32_t at)
{
    bool ends = at < p->len && memchr(p->bytes + at, '\0', p->len - at);
    return ends ? (const char *)p->bytes + at : NULL;
}

static bool read_entry(const struct pages *p, size_t i, struct entry *out)
{
    const unsigned char *at = p->bytes + HEAD_BYTES + i * ENTRY_BYTES;
    out->path = text_at(p, number(at));
    out->type = text_at(p, number(at + 4));
    out->etag = text_at(p, number(at + 8));
    out->flags = number(at + 12);
    bool good = out->path && out->type && out->etag;
    for (size_t k = 0; k < N_ENCODINGS; k++) {
        out->body[k].at = number(at + 16 + 8 * k);
        out->body[k].len = number(at + 20 + 8 * k);
        good = good && (uint64_t)out->body[k].at + out->body[k].len <= p->len;
    }
    return good;
}

int pages_open(const void *archive, size_t len, struct pages **out, struct error *e)
{
    struct pages p = {.bytes = archive, .len = len};
    struct entry entry;
    if (len < HEAD_BYTES || memcmp(archive, MAGIC, strlen(MAGIC)) != 0)
        return error_set(e, ERR_INVALID, "the console's pages are no archive");
    p.n = number(p.bytes + 8);
    if (p.n > (len - HEAD_BYTES) / ENTRY_BYTES)
        return error_set(e, ERR_INVALID, "the archive of the console's pages is cut");
    for (size_t i = 0; i < p.n; i++)
        if (!read_entry(&p, i, &entry))
            return error_set(e, ERR_INVALID, "a file of the console's pages is cut");
    *out = mem_zalloc(sizeof **out);
    **out = p;
    return 0;
}

void pages_close(struct pages *p)
{
    free(p);
}

/* --- which file --- */

static bool find_exact(const struct pages *p, const char *path, struct entry *out)
{
    size_t low = 0, high = p->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        read_entry(p, middle, out);
        int order = strcmp(path, out->path);
        if (order == 0)
            return true;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}

/* The path itself, else the one with "*" for its last segment. */
static bool find_entry(const struct pages *p, const char *path, struct entry *out)
{
    char parent[PATH_MAX_CHARS];
    if (find_exact(p, path, out))
        return true;
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) + 1 : 0;
    if (n < 2 || n + 2 > sizeof parent || !slash[1])
        return false;
    memcpy(parent, path, n);
    memcpy(parent + n, "*", 2);
    return find_exact(p, parent, out);
}

bool pages_has(const struct pages *p, const char *path)
{
    struct entry entry;
    return find_entry(p, path, &entry);
}

/* --- how it is sent --- */

/* "q=0" and "q=0.000" refuse an encoding, any other weight takes it. */
static bool is_refused(const char *params, const char *end)
{
    const char *q = params;
    while (q < end && strncasecmp(q, "q=0", 3) != 0)
        q++;
    if (q == end)
        return false;
    for (q += 3; q < end && strchr(".0 \t", *q);)
        q++;
    return q == end;
}

static bool takes(const char *accept, const char *encoding)
{
    size_t n = strlen(encoding);
    while (accept && *accept) {
        const char *name = accept + strspn(accept, " \t,");
        const char *end = name + strcspn(name, ",");
        size_t len = strcspn(name, " \t;,");
        if (len == n && strncasecmp(name, encoding, n) == 0)
            return !is_refused(name + len, end);
        accept = end;
    }
    return false;
}

static bool is_known(const char *if_none_match, const char *etag)
{
    return if_none_match && (strcmp(if_none_match, "*") == 0 || strstr(if_none_match, etag));
}

static void add(struct pages_answer *a, const char *name, const char *value)
{
    a->headers[a->n_headers++] = (struct http_header){.name = name, .value = value};
}

static void add_policy(struct pages_answer *a, const struct entry *f)
{
    if (!(f->flags & FLAG_PAGE))
        return;
    add(a, "content-security-policy", f->flags & FLAG_REFERENCE ? policy_reference : policy_page);
    add(a, "x-frame-options", "DENY");
    add(a, "cross-origin-opener-policy", "same-origin");
}

bool pages_find(const struct pages *p, const struct pages_request *r, struct pages_answer *out)
{
    static const char *const names[N_ENCODINGS] = {NULL, "gzip", "br"};
    struct entry f;
    if (!find_entry(p, r->path, &f))
        return false;
    int encoding = N_ENCODINGS - 1;
    while (encoding > PLAIN &&
           (!f.body[encoding].len || !takes(r->accept_encoding, names[encoding])))
        encoding--;
    *out = (struct pages_answer){.status = 200};
    add(out, "content-type", f.type);
    add(out, "cache-control",
        f.flags & FLAG_FOREVER ? "public, max-age=31536000, immutable" : "no-cache");
    add(out, "etag", f.etag);
    add(out, "vary", "accept-encoding");
    add(out, "x-content-type-options", "nosniff");
    add(out, "referrer-policy", "no-referrer");
    add_policy(out, &f);
    if (is_known(r->if_none_match, f.etag)) {
        out->status = 304;
        return true;
    }
    if (encoding != PLAIN)
        add(out, "content-encoding", names[encoding]);
    out->body = p->bytes + f.body[encoding].at;
    out->len = f.body[encoding].len;
    return true;
}
