/*
 * What fetch.c (the queue and its thread) and fetch_run.c (one call, with libcurl) have in
 * common. For these files alone.
 */
#ifndef MOONGATE_CONSOLE_FETCH_PRIVATE_H
#define MOONGATE_CONSOLE_FETCH_PRIVATE_H

#include "console/fetch.h"

#include <stdatomic.h>

/* One call, and later its answer. A pointer that is handed over: it belongs to the loop, then to
 * the thread, then to the loop again. */
struct fetch_job {
    uint64_t number;
    bool mail, tls;          /* tls: from the first byte, or STARTTLS is a must */
    char *url;               /* without user and password */
    char *host;              /* for errors */
    char *user, *password;   /* NULL: none */
    char *body;              /* the form or the mail; NULL: GET */
    size_t len, sent;        /* of body */
    char *from, *to;         /* of a mail, in angle brackets */
    struct curl_slist *line; /* header fields */
    /* The answer: */
    int code, status;
    char *got;
    size_t got_len, got_max;
    bool too_large;
    char error[256];
};

struct fetch_limits {
    size_t response_bytes;
    int connect_ms, whole_ms;
    char *ca_file; /* or NULL */
};

/* Takes the URL apart and checks it; the rest of the job is the caller's to fill. */
int fetch_job_new(const char *url, bool mail, bool plain, struct fetch_job **out, struct error *e);
void fetch_job_add_line(struct fetch_job *j, const char *line);
void fetch_job_free(struct fetch_job *j); /* wipes; accepts NULL */
/* Blocks. Ends early once `stop` is set. */
void fetch_job_run(struct fetch_job *j, const struct fetch_limits *limits, atomic_bool *stop);

#endif
