/*
 * The console's pages as files: an archive that the program carries (embed.S), made by
 * tools/pages/pack.mjs, and how each of its files is sent: in the best encoding that the client
 * takes, with its rules of caching and of what a page may load.
 *
 * Nothing is copied: answers point into the archive, which stays where it is. Read-only, so any
 * thread.
 */
#ifndef MOONGATE_CONSOLE_PAGES_H
#define MOONGATE_CONSOLE_PAGES_H

#include "base/error.h"
#include "http/http.h"

#include <stdbool.h>
#include <stddef.h>

enum { PAGES_HEADERS_MAX = 10 };

struct pages;

/* `archive` is borrowed until pages_close. One without files is good: nothing is found in it. */
int pages_open(const void *archive, size_t len, struct pages **out, struct error *e);
void pages_close(struct pages *p); /* accepts NULL */

/* What a client says of what it takes; NULL: nothing. */
struct pages_request {
    const char *path, *accept_encoding, *if_none_match;
};
struct pages_answer {
    int status; /* 200, or 304 with an empty body */
    struct http_header headers[PAGES_HEADERS_MAX];
    size_t n_headers;
    const void *body;
    size_t len;
};
bool pages_has(const struct pages *p, const char *path);
/* False: there is no such file. */
bool pages_find(const struct pages *p, const struct pages_request *r, struct pages_answer *out);

#endif
