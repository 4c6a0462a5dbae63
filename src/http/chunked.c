/*
 * A chunked body as a state machine over bytes; only the bytes of a chunk itself are taken in
 * runs. As strict as the head: CRLF alone ends a line, a size is hexadecimal digits and nothing
 * else, and what nobody reads (extensions, trailer) is bounded.
 */
#include "http/chunked.h"

#include <stdbool.h>
#include <string.h>

enum { SIZE_DIGITS = 15, EXTRA_BYTES = 8192 };

enum state {
    SIZE,         /* the digits of a chunk's size */
    EXTENSION,    /* behind a semicolon */
    SIZE_LF,      /* the CR of the size line was there */
    DATA,         /* in a chunk */
    DATA_CR,      /* behind a chunk */
    DATA_LF,      /* and its CR */
    TRAILER,      /* in a trailer line, or at the start of one */
    TRAILER_LF,   /* the CR of a trailer line was there */
    TRAILER_LAST, /* the CR of the empty line was there */
};

void chunked_init(struct chunked *c)
{
    *c = (struct chunked){.state = SIZE};
}

static int hex_value(char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    if (ch >= 'a' && ch <= 'f')
        return ch - 'a' + 10;
    if (ch >= 'A' && ch <= 'F')
        return ch - 'A' + 10;
    return -1;
}

static bool is_text(char ch)
{
    return ((unsigned char)ch >= 0x20 && ch != 0x7f) || ch == '\t';
}

static bool is_name(char ch)
{
    return (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
           (ch != '\0' && strchr("!#$%&'*+-.^_`|~", ch) != NULL);
}

static enum chunked_result step_size(struct chunked *c, char ch)
{
    int digit = hex_value(ch);
    if (digit >= 0) {
        if (c->digits++ == SIZE_DIGITS)
            return CHUNKED_BAD;
        c->left = c->left * 16 + (uint64_t)digit;
        return CHUNKED_MORE;
    }
    if (c->digits == 0 || (ch != ';' && ch != '\r'))
        return CHUNKED_BAD;
    c->state = ch == ';' ? EXTENSION : SIZE_LF;
    return CHUNKED_MORE;
}

static enum chunked_result step_extension(struct chunked *c, char ch)
{
    if (ch == '\r')
        c->state = SIZE_LF;
    else if (!is_text(ch) || c->extra_bytes++ == EXTRA_BYTES)
        return CHUNKED_BAD;
    return CHUNKED_MORE;
}

/* The size is known: a chunk that cannot fit is refused before its bytes come. */
static enum chunked_result step_size_lf(struct chunked *c, char ch, const struct buf *out)
{
    if (ch != '\n')
        return CHUNKED_BAD;
    if (c->left > out->max_bytes - out->len)
        return CHUNKED_LARGE;
    c->state = c->left != 0 ? DATA : TRAILER;
    c->digits = 0;
    return CHUNKED_MORE;
}

static enum chunked_result step_trailer(struct chunked *c, char ch)
{
    if (ch == '\r') {
        if (c->line_bytes != 0 && !c->named)
            return CHUNKED_BAD;
        c->state = c->line_bytes == 0 ? TRAILER_LAST : TRAILER_LF;
        return CHUNKED_MORE;
    }
    if (c->extra_bytes++ == EXTRA_BYTES)
        return CHUNKED_BAD;
    if (!c->named && ch == ':' && c->line_bytes != 0)
        c->named = 1;
    else if (c->named ? !is_text(ch) : !is_name(ch))
        return CHUNKED_BAD;
    c->line_bytes++;
    return CHUNKED_MORE;
}

static enum chunked_result expect(struct chunked *c, char ch, char wanted, enum state next)
{
    c->state = (int)next;
    c->line_bytes = 0;
    c->named = 0;
    return ch == wanted ? CHUNKED_MORE : CHUNKED_BAD;
}

static enum chunked_result step(struct chunked *c, char ch, const struct buf *out)
{
    switch ((enum state)c->state) {
    case SIZE:
        return step_size(c, ch);
    case EXTENSION:
        return step_extension(c, ch);
    case SIZE_LF:
        return step_size_lf(c, ch, out);
    case DATA_CR:
        return expect(c, ch, '\r', DATA_LF);
    case DATA_LF:
        return expect(c, ch, '\n', SIZE);
    case TRAILER:
        return step_trailer(c, ch);
    case TRAILER_LF:
        return expect(c, ch, '\n', TRAILER);
    case TRAILER_LAST:
        return ch == '\n' ? CHUNKED_DONE : CHUNKED_BAD;
    case DATA:
        break;
    }
    return CHUNKED_BAD;
}

static size_t take_data(struct chunked *c, const char *in, size_t len, struct buf *out)
{
    size_t n = len < c->left ? len : (size_t)c->left;
    buf_add(out, in, n);
    c->left -= n;
    if (c->left == 0)
        c->state = DATA_CR;
    return n;
}

enum chunked_result chunked_feed(struct chunked *c, const char *in, size_t len, size_t *used,
                                 struct buf *out)
{
    enum chunked_result result = CHUNKED_MORE;
    size_t at = 0;
    while (at < len && result == CHUNKED_MORE) {
        if (c->state == DATA)
            at += take_data(c, in + at, len - at, out);
        else
            result = step(c, in[at++], out);
    }
    *used = at;
    return result;
}
