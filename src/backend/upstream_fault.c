/*
 * What a failure of an upstream is called: to the client (no name of a host, no status that is
 * the operator's matter), to the router (whose fault it was), and in the log. Pure.
 */
#include "backend/upstream_run.h"

#include <stdio.h>
#include <string.h>

enum { QUOTE_BYTES = 120 }; /* of what the upstream said, in the log */

/* Appends a piece of the upstream's words: on one line, printable, without keys. */
static void quote(struct backend_end *end, const char *body, size_t len)
{
    char text[QUOTE_BYTES + 1];
    size_t used = strlen(end->detail), n = 0;
    bool space = true;
    for (size_t i = 0; i < len && n < QUOTE_BYTES; i++) {
        unsigned char c = (unsigned char)body[i];
        bool blank = c <= ' ' || c == 0x7f;
        if (!blank || !space)
            text[n++] = blank ? ' ' : (char)c;
        space = blank;
    }
    if (len > n) /* a character that was cut */
        while (n && ((unsigned char)text[n - 1] & 0x80))
            n--;
    text[n] = '\0';
    relay_redact(text);
    if (text[0])
        snprintf(end->detail + used, sizeof end->detail - used, ": %.*s", QUOTE_BYTES, text);
}

static const struct {
    enum fault_kind kind;
    const char *text, *begun; /* begun NULL: the same */
} endings[] = {
    [TRANSFER_COMPLETE] = {FAULT_UPSTREAM, "The upstream sent what is no reply.", NULL},
    [TRANSFER_REFUSED] = {FAULT_UPSTREAM, "The upstream could not be reached.", NULL},
    [TRANSFER_NO_NAME] = {FAULT_UPSTREAM, "The upstream could not be reached.", NULL},
    [TRANSFER_TLS] = {FAULT_UPSTREAM, "The upstream could not be reached securely.", NULL},
    [TRANSFER_RESET] = {FAULT_UPSTREAM, "The upstream closed the connection without a reply.",
                        "The upstream broke off its reply."},
    [TRANSFER_GARBAGE] = {FAULT_UPSTREAM, "The upstream sent what is no reply.", NULL},
    [TRANSFER_LIMIT] = {FAULT_UPSTREAM, "The upstream's reply is larger than what is allowed.",
                        NULL},
    [TRANSFER_CONNECT_TIMEOUT] = {FAULT_TIMEOUT, "The upstream could not be reached in time.",
                                  NULL},
    [TRANSFER_FIRST_BYTE_TIMEOUT] = {FAULT_TIMEOUT, "The upstream did not begin its reply in time.",
                                     NULL},
    [TRANSFER_IDLE_TIMEOUT] = {FAULT_TIMEOUT,
                               "The upstream fell silent in the middle of its reply.", NULL},
    [TRANSFER_TOTAL_TIMEOUT] = {FAULT_TIMEOUT, "The upstream did not finish its reply in time.",
                                NULL},
};

void fault_of_transfer(struct backend_end *end, enum transfer_end how, bool begun,
                       const char *detail)
{
    const char *text = begun && endings[how].begun ? endings[how].begun : endings[how].text;
    fault_set(&end->fault, endings[how].kind, NULL, "%s", text);
    end->blame = BLAME_SOURCE;
    snprintf(end->detail, sizeof end->detail, "%.*s", (int)sizeof end->detail - 1, detail);
    relay_redact(end->detail);
}

static enum backend_blame blame_of(int status, enum fault_kind kind, int retry_after_ms)
{
    switch (status) {
    case 401: /* the key that the operator gave */
    case 402:
    case 403:
    case 404: /* the prefix, or the model's name there */
    case 405:
    case 407:
    case 421:
        return kind == FAULT_FORBIDDEN ? BLAME_CALL : BLAME_ROUTE; /* what was said, not who */
    case 408:
    case 425:
        return BLAME_SOURCE;
    case 429:
        return BLAME_BUSY;
    case 503:
    case 529:
        return retry_after_ms ? BLAME_BUSY : BLAME_SOURCE;
    default: /* a refusal that the client cannot mend is not its own, whatever the status */
        if (status >= 500 || status < 300)
            return BLAME_SOURCE;
        return fault_status(kind) < 500 ? BLAME_CALL : BLAME_ROUTE;
    }
}

void fault_of_refusal(struct backend_end *end, int status, int retry_after_ms, const char *body,
                      size_t len)
{
    enum fault_kind kind = relay_fault(status, body, len, &end->fault);
    /* An error in a stream may say what it is without a number. */
    end->blame = blame_of(status < 300 ? fault_status(kind) : status, kind, retry_after_ms);
    end->retry_after_ms = end->blame == BLAME_CALL ? 0 : retry_after_ms;
    if (end->retry_after_ms && (fault_status(kind) == 429 || fault_status(kind) == 503))
        end->fault.retry_after_s = (end->retry_after_ms + 999) / 1000;
    if (status)
        snprintf(end->detail, sizeof end->detail, "status %d", status);
    else
        snprintf(end->detail, sizeof end->detail, "an error in the reply's place");
    quote(end, body, len);
}

void fault_of_reply(struct backend_end *end, const char *text, const char *why, const char *body,
                    size_t len)
{
    fault_set(&end->fault, FAULT_UPSTREAM, NULL, "%s", text);
    end->blame = BLAME_SOURCE;
    snprintf(end->detail, sizeof end->detail, "%s", why);
    quote(end, body, len);
}
