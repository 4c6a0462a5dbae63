/*
 * What an upstream said, read for what a gateway must know, and written again in our contract.
 * Pure; any thread.
 *
 * A chunk of a stream and a whole reply are read the same way: one strict pass over the JSON
 * (RFC 8259; nesting and size bounded) that builds no tree and remembers where things stand.
 * Writing puts our id, created, model and fingerprint around the choices, whose text is copied
 * as it came but for what clients lean on: `reasoning` and `reasoning_content` where one is absent
 * or null; a choice's `index`, `logprobs` and `finish_reason`; a message's `role`, `content`,
 * `refusal` and `tool_calls`. Taken out are a usage inside a choice, which stands in one place,
 * and a delta's role, which is said once for each choice by whoever writes the stream.
 * Members of the top level that we do not know are copied too. Before anything else, ill-formed
 * UTF-8 inside a string and halves of surrogate pairs become U+FFFD.
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

enum {
    RELAY_CHOICES = 128, /* at most; an index is less */
    RELAY_DEPTH = 64,    /* of nesting */
    /* What most chunks stay within, so that reading them allocates nothing. */
    RELAY_FEW_CHOICES = 4,
    RELAY_FEW_TEXTS = 4,
    RELAY_FEW_EDITS = 6,
    RELAY_RESTS = 9 /* one more than the members of the top level that are not copied */
};

enum relay_kind {
    RELAY_CHUNK, /* has a `choices` array: a chunk or a whole reply */
    RELAY_ERROR  /* {"error": ...}, {"object":"error"}, {"detail": ...}: anything without choices
                    that says what went wrong, or an error beside them */
};

struct relayed_choice {
    int index;
    bool finished;
    bool broken;            /* finish_reason is "abort" or "error": the upstream gave up */
    enum api_finish finish; /* API_FINISH_STOP for any word that has no name here */
};

/* A change to the text of the choices: at `at`, `cut` bytes give way to `lead`, `raw`, `number`. */
struct relayed_edit {
    const char *at;
    size_t cut;
    const char *lead;
    struct api_text raw;
    int number; /* none if negative */
};

/* One object read. Spans point into the text that was read (or into `repaired`), lists at the
 * few items in here: it can be neither moved nor copied. */
struct relayed {
    enum relay_kind kind;
    struct api_text text;    /* the whole object */
    struct api_text choices; /* the array with its brackets; empty text if there is none */
    size_t n_choices;
    struct buf repaired; /* the text, if it had to be mended; else empty */

    bool whole;     /* there are choices, and each has a message: a reply, no chunk of a stream */
    bool begins;    /* some choice carries what a reader shows: content, reasoning, refusal, tool
                       calls, logprobs or a finish; before that a reply may still go elsewhere */
    bool role_only; /* no choices, or nothing in them but role, empty or null members: may be
                       dropped */
    int64_t content_bytes; /* decoded text of content, reasoning and tool arguments */

    struct relayed_choice *choice; /* n_choices, in order of appearance */

    bool has_usage; /* at the top or inside a choice; not if its numbers make no sense */
    struct api_usage usage;

    /* RELAY_ERROR. Raw JSON string contents, undecoded, without data if there is none. */
    struct api_text message, code, type, param;
    int status; /* code or status, if it is a number from 400 to 599; else 0 */

    /* For the writers: other members of the top level, what is changed in the choices, what
     * relay_text tells. */
    struct api_text rest[RELAY_RESTS];
    size_t n_rests;
    struct relayed_edit *edit; /* in order of place */
    size_t n_edits;
    struct api_text *piece; /* raw string contents */
    size_t n_pieces;

    size_t cap_choices, cap_edits, cap_pieces;
    struct relayed_choice few_choices[RELAY_FEW_CHOICES];
    struct relayed_edit few_edits[RELAY_FEW_EDITS];
    struct api_text few_pieces[RELAY_FEW_TEXTS];
};

/* Reads one object. ERR_INVALID: no JSON object (or nested too deep, or a key that matters stands
 * twice), or neither choices nor an error; ERR_LIMIT: too many choices. relay_done in any case. */
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
 * a stream (less than 300: what the body says, else 500). The upstream's message is taken over
 * for statuses that tell of the client's request (400, 413, 422 ...), cut, on one line, and with
 * what looks like a key or an address blanked; for others a text of ours stands there. Returns
 * f->kind; f->retry_after_s is left to the caller. */
enum fault_kind relay_fault(int status, const char *body, size_t len, struct fault *f);
/* Blanks what looks like a credential ("sk-...", "mg-...", "Bearer ...") in place. */
void relay_redact(char *text);

#endif
