/*
 * The grammar of RFC 8259 in pieces: what the reader of trees and the relay of upstreams'
 * answers both stand on. Each function reads one thing at `at`, moves behind it, and returns 0 or
 * what is wrong with it. Nothing is built and nothing recurses. Pure; one owner at a time.
 */
#ifndef MOONGATE_BASE_JSON_LEX_H
#define MOONGATE_BASE_JSON_LEX_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct json_string {
    size_t start, len; /* what stands between the quotes */
    size_t decoded;    /* bytes of UTF-8 once the escapes are resolved */
    bool escaped;      /* there are escapes, so the text is not what it says */
};

struct json_number {
    size_t start, len;
    size_t digits; /* before a point or an exponent */
    bool negative, fraction, exponent;
};

struct json_lex {
    const char *text;
    size_t len, at;
    struct error *e;
    int depth, max_depth;     /* of containers that are open */
    unsigned char *is_object; /* (max_depth + 7) / 8 bytes: a bit for each level that
                                 json_lex_open opened; may be NULL without it */
    /* Ill-formed UTF-8 and halves of surrogate pairs are refused, or noted in `ill`; \u0000 is
     * refused, or passes. */
    bool lenient, ill;
};

/* ERR_INVALID with the byte: what is wrong at `at`, or that the text ends there. */
int json_lex_bad(const struct json_lex *l, const char *what);

static inline char json_lex_peek(const struct json_lex *l)
{
    return l->at < l->len ? l->text[l->at] : '\0';
}

static inline void json_lex_space(struct json_lex *l)
{
    while (l->at < l->len && (l->text[l->at] == ' ' || l->text[l->at] == '\n' ||
                              l->text[l->at] == '\r' || l->text[l->at] == '\t'))
        l->at++;
}

/* How many bytes from s on stand for themselves in a string: printable ASCII but for the quote
 * and the backslash. */
size_t json_lex_plain(const char *s, size_t n);

int json_lex_word(struct json_lex *l, const char *word);
int json_lex_string(struct json_lex *l, struct json_string *s); /* at the opening quote */
int json_lex_number(struct json_lex *l, struct json_number *n);
int json_lex_key(struct json_lex *l, struct json_string *s); /* space, key, space, colon */
int json_lex_enter(struct json_lex *l);                      /* at a bracket: counts the level */
int json_lex_open(struct json_lex *l, bool object);          /* the same, and notes what it is */
int json_lex_value(struct json_lex *l); /* space, and a whole value with all that it holds */

/* Appends what stands between the quotes of a good string with its escapes resolved; half of a
 * surrogate pair becomes U+FFFD. */
void json_lex_decode(struct buf *b, const char *raw, size_t len);

#endif
