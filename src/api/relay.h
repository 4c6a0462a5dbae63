/*
 * What an upstream said, read for what a gateway must know, and written again in our contract.
 * Pure; any thread.
 *
 * A chunk of a stream and a whole reply are read the same way: one strict pass over the JSON
 * (RFC 8259; nesting and size bounded) that builds no tree and remembers where things stand.
 * Writing puts our id, created, model and fingerprint around the choices, whose text is copied
 * as it came, but for three additions: `reasoning` and `reasoning_content` where one is absent,
 * `finish_reason` (null) where it is absent, and a message's missing `content` (null), `role`.
 * Members of the top level that we do not know are copied too. Ill-formed UTF-8 inside a string
 * becomes U+FFFD before anything else is done.
 */
#ifndef MOONGATE_API_RELAY_H
#define MOONGATE_API_RELAY_H

#include "api/fault.h"
#include "api/reply.h"
#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RELAY_CHOICES = 128, RELAY_EDITS = 4 };

enum relay_kind {
    RELAY_CHUNK, /* has a `choices` array: a chunk or a whole reply */
    RELAY_ERROR  /* {"error": ...}, {"object":"error"}, {"detail": ...}: anything without choices
                    that says what went wrong */
};

/* One object read. Spans point into the text that was read (or into `repaired`). */
struct relayed {
    enum relay_kind kind;
    struct api_text text;    /* the whole object */
    struct api_text choices; /* the array with its brackets; empty text if there is none */
    size_t n_choices;
    struct buf repaired; /* the text, if UTF-8 had to be mended; else empty */

    bool begins;    /* some choice carries what a reader shows: content, reasoning, refusal, tool
                       calls, logprobs or a finish; before that a reply may still go elsewhere */
    bool role_only; /* nothing but role, empty or null members: may be dropped */
    int64_t content_bytes; /* decoded text of content, reasoning and tool arguments */

    /* Of each choice in order of appearance: index, and whether a finish reason came. */
    struct relayed_choice {
        int index;
        bool finished;
        bool broken;            /* finish_reason is "abort" or "error": the upstream gave up */
        enum api_finish finish; /* API_FINISH_STOP for any word that has no name here */
    } * choice;                 /* n_choices; freed by relay_done */

    bool has_usage; /* at the top or inside a choice */
    struct api_usage usage;

    /* RELAY_ERROR */
    struct api_text message; /* raw JSON string contents, undecoded; relay_fault decodes */
    int status;              /* code or status, if it is a number from 400 to 599; else 0 */
};

/* Reads one object. ERR_INVALID: no JSON object, or neither choices nor an error; ERR_LIMIT: too
 * deep or too many choices. relay_done in either case. */
int relay_read(const char *text, size_t len, struct relayed *out, struct error *e);
void relay_done(struct relayed *r);

/* "data: {...}\n\n" of a chunk. */
void relay_chunk(struct buf *b, const struct api_head *h, const struct relayed *r);
/* The body of a whole reply, with usage in every spelling. */
void relay_reply(struct buf *b, const struct api_head *h, const struct relayed *r,
                 const struct api_usage *u);
/* Appends the decoded text of all choices: content, reasoning, names and arguments of tools. */
void relay_text(struct buf *b, const struct relayed *r);

/* What goes to the client for an upstream's refusal. `status` is that of HTTP, or of the error in
 * a stream (0: unknown, counts as 500). The upstream's message is taken over for statuses that
 * tell of the client's request (400, 404 of a parameter, 413, 422 ...), cut, on one line, and
 * with what looks like a key blanked; for others a text of ours stands there. Returns f->kind. */
enum fault_kind relay_fault(int status, const char *body, size_t len, struct fault *f);
/* Blanks what looks like a credential ("sk-...", "mg-...", "Bearer ...") in place. */
void relay_redact(char *text);

#endif
