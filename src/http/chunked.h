/*
 * Decodes a chunked body piece by piece. Private to the http room. Pure.
 */
#ifndef MOONGATE_HTTP_CHUNKED_H
#define MOONGATE_HTTP_CHUNKED_H

#include "base/buf.h"

#include <stddef.h>
#include <stdint.h>

enum chunked_result {
    CHUNKED_MORE,  /* all input is used, the body goes on */
    CHUNKED_DONE,  /* the body and its trailer are complete; what is left is not ours */
    CHUNKED_BAD,   /* the framing is broken */
    CHUNKED_LARGE, /* the body would pass the ceiling of `out` */
};

struct chunked {
    int state;
    uint64_t left;      /* of the chunk: its size while that is read */
    unsigned digits;    /* of the chunk's size so far */
    size_t extra_bytes; /* extensions and trailer so far, which nobody reads */
    size_t line_bytes;  /* of the trailer line */
    int named;          /* the trailer line has its colon */
};

void chunked_init(struct chunked *c);

/* Takes `len` bytes, appends what they hold of the body to `out`, and tells in *used how many
 * belonged to the body. Not to be called again after a result other than CHUNKED_MORE. */
enum chunked_result chunked_feed(struct chunked *c, const char *in, size_t len, size_t *used,
                                 struct buf *out);

#endif
