/* Request heads: the end is found alike however the bytes come, and what is accepted is clean. */
#include "http/head.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds)
        abort();
}

static void must_be_clean(const char *s, int spaces)
{
    for (; *s != '\0'; s++)
        must(((unsigned char)*s > 0x20 && *s != 0x7f) || (spaces && (*s == ' ' || *s == '\t')));
}

static void check_accepted(const struct head *h, const char *bytes, size_t len)
{
    const char *at = h->fields;
    must(h->method[0] != '\0' && (h->path[0] == '/' || strcmp(h->path, "*") == 0));
    must_be_clean(h->method, 0);
    must_be_clean(h->path, 0);
    must_be_clean(h->query, 0);
    must(!(h->chunked && h->content_length >= 0));
    must(h->minor == 0 || head_field(h, "host") != NULL);
    for (size_t i = 0; i < h->n_fields * 2; i++) {
        must(at >= bytes && at < bytes + len);
        must_be_clean(at, i % 2 == 1);
        at += strlen(at) + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t whole_at = 0, at = 0;
    long whole = head_find_end((const char *)data, size, &whole_at), end = 0;
    for (size_t n = 0; n <= size && end == 0; n++)
        end = head_find_end((const char *)data, n, &at);
    must(end == whole);
    size_t len = whole > 0 ? (size_t)whole : size;
    char *copy = malloc(len + 1);
    struct head h;
    enum http_fault fault;
    const char *what = NULL;
    if (len > 0)
        memcpy(copy, data, len);
    if (head_parse(copy, len, 16, &h, &fault, &what))
        check_accepted(&h, copy, len);
    else
        must(what != NULL && h.method != NULL && h.path != NULL && h.query != NULL);
    head_field(&h, "x");
    free(copy);
    return 0;
}
