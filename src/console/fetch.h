/*
 * The few calls that a console makes to the outside: HTTP requests of an OpenID Connect log-in,
 * and mails. A thread makes them one after another; the answer comes on the loop.
 *
 * Only https, smtps and smtp with STARTTLS, certificates checked; http, and smtp without TLS,
 * to this machine alone (or where `plain` allows it). No redirection is followed, no proxy and
 * nothing else of the environment is used. Time, the size of a response and the queue are
 * bounded. What is sent and what came is wiped after use; no error holds any of it. The event
 * loop's thread; who must not wait behind another opens a fetcher of its own.
 */
#ifndef MOONGATE_CONSOLE_FETCH_H
#define MOONGATE_CONSOLE_FETCH_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fetcher;
struct event_base;

struct fetch_options {     /* zeros: the defaults */
    size_t queue;          /* calls that may wait: 64 */
    size_t response_bytes; /* the largest body: 256 KiB */
    int connect_ms;        /* until there is a connection, with its TLS: 5 s */
    int whole_ms;          /* of one call: 20 s */
    bool plain;            /* without TLS to other machines, too */
    const char *ca_file;   /* trusted certificates; NULL: the system's */
};

/* `body` and `error` are borrowed for the call. */
struct fetch_answer {
    uint64_t number;
    /* 0: a response came, or the mail was taken. ERR_IO: not reached, or it broke off; ERR_LIMIT:
     * too large; ERR_EXPIRED: too slow; ERR_DENIED: the server refused (the certificate, the
     * log-in, the mail). */
    int code;
    int status;       /* of HTTP, or the last reply of the mail server; 0: none */
    const char *body; /* of HTTP; a NUL stands behind */
    size_t len;
    const char *error; /* for people; names the host and no secret */
};

typedef void fetch_fn(void *arg, const struct fetch_answer *answer);

int fetcher_open(struct event_base *base, const struct fetch_options *o, fetch_fn *fn, void *arg,
                 struct fetcher **out, struct error *e);
/* Accepts NULL. A call under way is cut, what waits is wiped; neither is answered. */
void fetcher_close(struct fetcher *f);

struct fetch_http {
    const char *url;
    const char *form; /* NULL: GET; else the body of a POST, application/x-www-form-urlencoded */
    const char *const *headers; /* "Name: value" */
    size_t n_headers;
};
struct fetch_mail {
    const char *url; /* smtp:// or smtps://, with user and password if it wants them */
    const char *from, *to;
    const char *message; /* headers and body, lines end in CRLF */
    size_t len;
};

enum { FETCH_HEADERS_MAX = 4 };

/* 0: fn comes once, from the loop. ERR_BUSY: too many wait. ERR_INVALID: no such URL, or none
 * that is allowed. Everything is copied. */
int fetch_http(struct fetcher *f, uint64_t number, const struct fetch_http *call, struct error *e);
int fetch_mail(struct fetcher *f, uint64_t number, const struct fetch_mail *call, struct error *e);
size_t fetch_waiting(const struct fetcher *f); /* calls that are not answered yet */

/* Is it a URL that fetch_http would ask? Pure. */
int fetch_check_url(const char *url, bool plain, struct error *e);

#endif
