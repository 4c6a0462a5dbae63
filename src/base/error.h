/*
 * The program's error codes, and the text that goes with one.
 *
 * A function that can fail returns 0 or one of these codes and fills `struct error` where the
 * failure is found; nobody rewrites it on the way up. Rooms return errors, `call` and `main`
 * log them. Pure; any thread.
 */
#ifndef MOONGATE_BASE_ERROR_H
#define MOONGATE_BASE_ERROR_H

#include <stddef.h>

enum {
    ERR_INVALID = -1,     /* malformed or out of range: the giver of the input is at fault */
    ERR_NOT_FOUND = -2,   /* a name or an id that is not there */
    ERR_LIMIT = -3,       /* larger than a ceiling of the configuration */
    ERR_IO = -4,          /* the system or a file said no */
    ERR_BUSY = -5,        /* full now, may work later */
    ERR_UNSUPPORTED = -6, /* well-formed, but not built here */
    ERR_DENIED = -7,      /* known, and refused */
    ERR_EXPIRED = -8,     /* was valid once */
    ERR_EXISTS = -9,      /* already there */
    ERR_CANCELLED = -10,  /* given up on request */
    ERR_INTERNAL = -11    /* a fault of the program */
};

struct error {
    int code;
    char text[512]; /* for people, one line, says what to do where that is known */
};

/* Fills `e` (which may be NULL) and returns `code`, so that a failure is one statement. */
int error_set(struct error *e, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* "invalid", "limit", ...; borrowed, never NULL. */
const char *error_name(int code);

#endif
