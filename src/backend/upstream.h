/*
 * An OpenAI-compatible server as a backend: POST {url}{prefix}/chat/completions through libcurl.
 *
 * The event loop's thread. All upstreams of a process share one libcurl multi handle
 * (struct transfers), which lives on the loop: connections are kept, HTTP/2 is spoken where the
 * server has it, names are resolved without blocking. Whatever the server does, a run ends in
 * exactly one on_end (or in backend_stop), and its memory is bounded by the options.
 *
 * A stream is proven complete by a finish reason of every choice and either [DONE] or a clean end
 * of the body; everything else is an error of the source.
 */
#ifndef MOONGATE_BACKEND_UPSTREAM_H
#define MOONGATE_BACKEND_UPSTREAM_H

#include "backend/backend.h"

#include <stdbool.h>
#include <stddef.h>

struct transfers; /* transfer.h */

enum upstream_http2 {
    UPSTREAM_HTTP2_AUTO, /* where TLS agrees on it */
    UPSTREAM_HTTP2_OFF,
    UPSTREAM_HTTP2_PRIOR /* without TLS, known beforehand */
};

struct upstream_header {
    const char *name, *value;
};

/* All strings are copied by upstream_open. */
struct upstream_options {
    char *name;   /* in the configuration */
    char *url;    /* scheme, host and port: "https://api.moonshot.ai" */
    char *prefix; /* "/v1": the path before "/chat/completions" */
    char *key;    /* sent as Authorization: Bearer; NULL or empty: none. Never printed */
    struct upstream_header *headers; /* sent with every request; values are never printed */
    size_t n_headers;
    char **forward; /* names of the client's headers that are passed on */
    size_t n_forward;
    bool verify;   /* the server's certificate */
    char *ca_file; /* instead of the system's; NULL or empty: the system's */
    enum upstream_http2 http2;
    char *proxy;    /* "http://host:port", "socks5h://..."; NULL or empty: none (the environment's
                       proxy variables are not read) */
    int connect_ms; /* name, connection and TLS together */
    int first_byte_ms; /* of a stream: from the request's end to the first byte of the body. Of a
                          whole reply idle_ms and first_byte_ms do not count: it is silent until
                          it is made */
    int idle_ms;       /* between two bytes of a stream */
    int total_ms;      /* of one try; 0: the call's own limit alone */
    int concurrency;   /* runs at once; 0: as many as come */
    size_t event_bytes, reply_bytes, head_bytes; /* ceilings of one event, a whole reply, the
                                                    header fields of a response */
    bool template_kwargs;                        /* see api/outgoing.h */
    void (*on_probe)(void *arg, const char *name, bool good, const char *detail); /* set by the
                                                    router */
};

int upstream_open(struct transfers *t, const struct upstream_options *o,
                  const struct backend_events *events, void *arg, struct backend **out,
                  struct error *e);

#endif
