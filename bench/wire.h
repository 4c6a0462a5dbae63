/*
 * What the bench's clients share: requests read from a file, connections to 127.0.0.1, and a
 * reader of HTTP/1.1 replies (with a length or chunks) that gives the body line by line.
 *
 * Mistakes of use and of the machine end the process with a sentence; a bench has nothing better
 * to do. One thread.
 */
#ifndef MOONGATE_BENCH_WIRE_H
#define MOONGATE_BENCH_WIRE_H

#include "base/buf.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
long number(const char *text, const char *what, long least, long most);
/* Room for n sockets, as far as the hard limit lets. */
void raise_descriptor_limit(size_t n);

/* Whole requests as bytes; in the file each stands behind a line with its length. */
struct request {
    const char *bytes;
    size_t len;
};
struct plan {
    struct buf text; /* the file */
    struct request *list;
    size_t n, next;
};
void plan_read(struct plan *p, const char *file);
void plan_done(struct plan *p);

int loopback_open(uint16_t port); /* connected, without Nagle's delay */
void send_whole(int fd, const char *bytes, size_t len);

enum framing { IN_HEAD, IN_LENGTH, IN_CHUNK_SIZE, IN_CHUNK, IN_CHUNK_END, IN_TRAILER };
enum step { STEP_MORE, STEP_ON, STEP_WHOLE, STEP_BROKEN };

/* A reply that is being read. Set on_line and arg after reply_begin. */
struct reply {
    struct buf in, line; /* unread bytes; the body's unfinished line */
    enum framing framing;
    size_t left; /* bytes of the body or of the chunk */
    int status;
    bool stream;                                  /* an event stream */
    void (*on_line)(void *arg, const char *line); /* not for empty ones */
    void *arg;
};
void reply_init(struct reply *r);
void reply_done(struct reply *r);
void reply_begin(struct reply *r); /* the next one over the same connection */
/* STEP_MORE until the reply is whole or broken. */
enum step reply_take(struct reply *r, const char *bytes, size_t n);

/* Numbers that percentiles are taken of. */
struct samples {
    int64_t *list;
    size_t n, cap;
};
void samples_add(struct samples *s, int64_t value);
/* Prints "NAME_p50_us":..,"NAME_p99_us":..,"NAME_max_us":.. (nearest rank; 0 without samples). */
void samples_print(struct samples *s, const char *name);
void samples_done(struct samples *s);

#endif
