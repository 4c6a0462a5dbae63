/*
 * The strict grammar of RFC 8259, checked over the text.
 *
 * The JSON library is lenient in places where two readers of one text would see two things. So
 * the text is checked here first, in one pass with one bit a level that tells objects from
 * arrays. What passes is read the same by everybody, except for duplicate keys, which json.c
 * finds by counting members.
 */
#include "base/json_scan.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct cursor {
    struct json_scan *scan;
    const char *text;
    size_t len, at;
    int depth, max_depth;
    unsigned char *is_object; /* a bit for each level */
    struct error *e;
};

static int bad(struct cursor *c, const char *what)
{
    if (c->at >= c->len)
        return error_set(c->e, ERR_INVALID, "the JSON text ends too early, at byte %zu", c->len);
    return error_set(c->e, ERR_INVALID, "invalid JSON at byte %zu: %s", c->at, what);
}

static char peek(const struct cursor *c)
{
    return c->at < c->len ? c->text[c->at] : '\0';
}

static void skip_space(struct cursor *c)
{
    while (c->at < c->len && (c->text[c->at] == ' ' || c->text[c->at] == '\n' ||
                              c->text[c->at] == '\r' || c->text[c->at] == '\t'))
        c->at++;
}

static int scan_word(struct cursor *c, const char *word)
{
    for (const char *w = word; *w != '\0'; w++, c->at++) {
        if (c->at >= c->len || c->text[c->at] != *w)
            return bad(c, "a value is expected here");
    }
    return 0;
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

/* At the first of four hexadecimal digits. */
static int scan_hex4(struct cursor *c, unsigned *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++, c->at++) {
        int digit = c->at < c->len ? hex_value(c->text[c->at]) : -1;
        if (digit < 0)
            return bad(c, "\\u wants four hexadecimal digits");
        *value = *value * 16 + (unsigned)digit;
    }
    return 0;
}

/* Behind the 'u' of an escape. */
static int scan_unicode_escape(struct cursor *c)
{
    size_t start = c->at;
    unsigned unit, low;
    int rc = scan_hex4(c, &unit);
    if (rc != 0)
        return rc;
    if (unit == 0) {
        c->at = start;
        return bad(c, "\\u0000 is not allowed in a string");
    }
    if (unit < 0xd800 || unit > 0xdfff)
        return 0;
    if (unit <= 0xdbff && c->len - c->at >= 2 && memcmp(c->text + c->at, "\\u", 2) == 0) {
        c->at += 2;
        rc = scan_hex4(c, &low);
        if (rc != 0)
            return rc;
        if (low >= 0xdc00 && low <= 0xdfff)
            return 0;
    }
    c->at = start;
    return bad(c, "half of a \\u surrogate pair stands alone");
}

static int scan_escape(struct cursor *c)
{
    c->at++;
    char kind = peek(c);
    if (kind == '\0' || strchr("\"\\/bfnrtu", kind) == NULL)
        return bad(c, "there is no such escape in JSON");
    c->at++;
    return kind == 'u' ? scan_unicode_escape(c) : 0;
}

/* At the opening quote; ends behind the closing one. */
static int scan_string(struct cursor *c)
{
    c->at++;
    while (c->at < c->len) {
        unsigned char ch = (unsigned char)c->text[c->at];
        if (ch == '"') {
            c->at++;
            return 0;
        }
        if (ch == '\\') {
            int rc = scan_escape(c);
            if (rc != 0)
                return rc;
        } else if (ch < 0x20) {
            return bad(c, "a control character in a string must be escaped");
        } else {
            int n = utf8_char(c->text + c->at, c->len - c->at);
            if (n < 0)
                return bad(c, "a string is not valid UTF-8");
            c->at += (size_t)n;
        }
    }
    return bad(c, "");
}

static size_t skip_digits(struct cursor *c)
{
    size_t start = c->at;
    while (peek(c) >= '0' && peek(c) <= '9')
        c->at++;
    return c->at - start;
}

static void note_big(struct json_scan *scan, size_t end)
{
    if (scan->n_big == scan->cap_big) {
        scan->cap_big = scan->cap_big != 0 ? scan->cap_big * 2 : 8;
        scan->big_ends = mem_realloc(scan->big_ends, scan->cap_big * sizeof(scan->big_ends[0]));
    }
    scan->big_ends[scan->n_big++] = end;
}

/* The digits have no leading zero, so equal lengths compare as text. */
static bool past_64_bits(const char *digits, size_t n, bool negative)
{
    const char *most = negative ? "9223372036854775808" : "18446744073709551615";
    size_t most_len = strlen(most);
    return n > most_len || (n == most_len && memcmp(digits, most, n) > 0);
}

static bool past_double(const char *number, size_t n)
{
    char *copy = mem_strndup(number, n);
    bool past = isinf(strtod(copy, NULL));
    free(copy);
    return past;
}

static int scan_number(struct cursor *c)
{
    size_t start = c->at;
    bool negative = peek(c) == '-', plain = true, exponent = false;
    c->at += negative;
    const char *digits = c->text + c->at;
    size_t n = skip_digits(c);
    if (n == 0)
        return bad(c, negative ? "a digit is expected here" : "a value is expected here");
    if (n > 1 && digits[0] == '0') {
        c->at = start;
        return bad(c, "a number starts with a needless zero");
    }
    if (peek(c) == '.') {
        plain = false;
        c->at++;
        if (skip_digits(c) == 0)
            return bad(c, "a digit is expected here");
    }
    if (peek(c) == 'e' || peek(c) == 'E') {
        plain = false;
        exponent = true;
        c->at++;
        c->at += peek(c) == '+' || peek(c) == '-';
        if (skip_digits(c) == 0)
            return bad(c, "a digit is expected here");
    }
    if ((exponent || n > 300) && past_double(c->text + start, c->at - start)) {
        c->at = start;
        return bad(c, "a number is too large");
    }
    if (plain && (past_64_bits(digits, n, negative) || (negative && digits[0] == '0')))
        note_big(c->scan, c->at);
    return 0;
}

static bool in_object(const struct cursor *c)
{
    return c->depth > 0 && (c->is_object[(c->depth - 1) / 8] >> ((c->depth - 1) % 8) & 1) != 0;
}

static int open_container(struct cursor *c, bool object)
{
    if (c->depth == c->max_depth)
        return error_set(c->e, ERR_INVALID, "JSON at byte %zu is nested deeper than %d levels",
                         c->at, c->max_depth);
    unsigned char bit = (unsigned char)(1u << (c->depth % 8));
    if (object)
        c->is_object[c->depth / 8] |= bit;
    else
        c->is_object[c->depth / 8] &= (unsigned char)~bit;
    c->depth++;
    c->at++;
    if (object && c->scan->on_object != NULL)
        c->scan->on_object(c->scan->arg, c->depth);
    return 0;
}

/* A key and its colon. */
static int scan_key(struct cursor *c)
{
    skip_space(c);
    if (peek(c) != '"')
        return bad(c, "a key in double quotes is expected here");
    size_t start = c->at;
    int rc = scan_string(c);
    if (rc == 0 && c->scan->on_key != NULL)
        rc = c->scan->on_key(c->scan->arg, c->depth, start, c->text + start + 1, c->at - start - 2);
    if (rc != 0)
        return rc;
    skip_space(c);
    if (peek(c) != ':')
        return bad(c, "a colon is expected behind a key");
    c->at++;
    c->scan->members++;
    return 0;
}

/* One value, or the opening of one; *opened tells which. */
static int scan_value(struct cursor *c, bool *opened)
{
    *opened = false;
    skip_space(c);
    switch (peek(c)) {
    case '{':
    case '[':
        *opened = true;
        return open_container(c, peek(c) == '{');
    case '"':
        return scan_string(c);
    case 't':
        return scan_word(c, "true");
    case 'f':
        return scan_word(c, "false");
    case 'n':
        return scan_word(c, "null");
    default:
        return scan_number(c);
    }
}

/* Behind a complete value: closes what closes here, up to a comma or the end of the document. */
static int scan_behind_value(struct cursor *c)
{
    while (c->depth > 0) {
        bool object = in_object(c);
        skip_space(c);
        if (peek(c) == ',') {
            c->at++;
            return object ? scan_key(c) : 0;
        }
        if (peek(c) != (object ? '}' : ']'))
            return bad(c,
                       object ? "a comma or } is expected here" : "a comma or ] is expected here");
        c->at++;
        c->depth--;
    }
    return 0;
}

/* Behind an opening bracket: *empty tells that the container closed at once. */
static int scan_behind_opening(struct cursor *c, bool *empty)
{
    bool object = in_object(c);
    skip_space(c);
    *empty = peek(c) == (object ? '}' : ']');
    if (*empty) {
        c->at++;
        c->depth--;
        return 0;
    }
    return object ? scan_key(c) : 0;
}

static int scan_document(struct cursor *c)
{
    int rc = 0;
    do {
        bool opened, complete = true;
        rc = scan_value(c, &opened);
        if (rc == 0 && opened)
            rc = scan_behind_opening(c, &complete);
        if (rc == 0 && complete)
            rc = scan_behind_value(c);
    } while (rc == 0 && c->depth > 0);
    if (rc != 0)
        return rc;
    skip_space(c);
    return c->at == c->len ? 0 : bad(c, "text behind the end of the document");
}

int json_scan(struct json_scan *scan, const char *text, size_t len, int max_depth, struct error *e)
{
    struct cursor c = {.scan = scan, .text = text, .len = len, .max_depth = max_depth, .e = e};
    c.is_object = mem_zalloc((size_t)max_depth / 8 + 1);
    int rc = scan_document(&c);
    free(c.is_object);
    return rc;
}

void json_scan_done(struct json_scan *scan)
{
    free(scan->big_ends);
    scan->big_ends = NULL;
    scan->n_big = scan->cap_big = 0;
}
