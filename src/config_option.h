/*
 * One row of an option table: how the text of a value becomes a field of a struct, and back.
 *
 * The tables (the options, a model, its routes, a backend) are in config_table.h. What a row says
 * is all that the parser, the written-out file, the help and the check for a restart know of it.
 * Pure; any thread.
 */
#ifndef MOONGATE_CONFIG_OPTION_H
#define MOONGATE_CONFIG_OPTION_H

#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stddef.h>

enum option_kind {
    OPTION_INT,
    OPTION_BYTES,  /* 4096, 16KiB, 4MiB, 1GB */
    OPTION_MS,     /* 500ms, 10s, 5m, 1h; kept in milliseconds */
    OPTION_NUMBER, /* a double */
    OPTION_BOOL,
    OPTION_TEXT,
    OPTION_NAME,        /* a text without spaces and commas, not empty */
    OPTION_ADDRESS,     /* ADDR:PORT */
    OPTION_DATE,        /* 2026-01-27, or Unix seconds */
    OPTION_ENUM,        /* one of words; kept as its index */
    OPTION_WORD,        /* one of words; kept as text */
    OPTION_MS_OR_NEVER, /* as OPTION_MS, and 0 whatever the least time is */
    OPTION_URL,         /* of a server, or empty */
    OPTION_PREFIX,      /* a path, or empty */
    OPTION_PROXY,       /* may hold a password, which is never written */
    OPTION_VARIABLE,    /* the name of an environment variable, or empty */
    OPTION_FILE,        /* a path, or empty */
    OPTION_USD,         /* 0.60: dollars with at most six decimals; kept in micro-USD, exact */
    OPTION_SECRET,      /* a text that may hold a password: never written, not even in an error */
    OPTION_OTHER        /* no single value: a list or a mapping with a reader and a writer of its
                           own, which words[0] describes. No field, no default */
};

struct config_option {
    const char *name;
    enum option_kind kind;
    size_t offset, bytes;     /* of the field; numbers may be 1, 4 or 8 bytes wide */
    double min, max;          /* of a text: max is its length in bytes, 0 the usual */
    const char *fallback;     /* the default, as it would be written */
    const char *const *words; /* ends in NULL */
    bool reload;              /* SIGHUP may change it */
    const char *help;         /* one sentence */
};

struct option_table {
    const struct config_option *rows;
    size_t n;
};

const struct config_option *option_find(const struct option_table *t,
                                        const char *name); /* or NULL */
/* Reads `text` into the field; a text is copied to the arena. `where` begins the error's text:
 * "moongate.yaml:12: limits.body_bytes". */
int option_set(const struct config_option *o, void *object, const char *text, struct arena *arena,
               const char *where, struct error *e);
void option_set_defaults(const struct option_table *t, void *object, struct arena *arena);
/* A text as a YAML scalar. */
void option_write_string(const char *s, struct buf *b);
/* The field as a YAML scalar. */
void option_write(const struct config_option *o, const void *object, struct buf *b);
/* "1KiB to 1GiB", "debug, info, warn or error": what may stand there. */
void option_write_allowed(const struct config_option *o, struct buf *b);
bool option_equal(const struct config_option *o, const void *a, const void *b);

/* Finds the known name that needs the fewest letters changed, for "did you mean". */
struct option_guess {
    const char *wanted;
    const char *best; /* NULL: nothing is near */
    size_t distance;  /* only what is nearer than this is taken */
};
void option_guess_init(struct option_guess *g, const char *wanted);
/* Compares with `candidate` and remembers `name`, which is then shown to the user. */
void option_guess_try(struct option_guess *g, const char *candidate, const char *name);
void option_guess_table(struct option_guess *g, const struct option_table *t);
/* The text of a user for a message: short, without control characters. */
enum { OPTION_SHOWN_BYTES = 72 };
const char *option_shown(const char *text, char out[OPTION_SHOWN_BYTES]);

#endif
