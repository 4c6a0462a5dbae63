/*
 * Walks over the query's characters as they are meant, never over its bytes: "%26" is a character
 * of a value, "&" an end. The whole query is read each time, so that what is wrong with it does
 * not depend on which name is asked for.
 */
#include "http/query.h"

#include "base/utf8.h"

#include <string.h>

enum { END = -1, NEXT = -2, EQUALS = -3, BROKEN = -4 };

/* A walk over the query for one name. */
struct reader {
    const char *at;
    const char *name;
    char *out;
    size_t out_bytes, len;
    unsigned found;
    bool fits;
};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The next character, or what it means. */
static int next(struct reader *r)
{
    char c = *r->at;
    if (c == '\0')
        return END;
    r->at++;
    if (c == '&')
        return NEXT;
    if (c == '=')
        return EQUALS;
    if (c == '+')
        return ' ';
    if (c != '%')
        return (unsigned char)c;
    int high = hex_value(r->at[0]);
    int low = high >= 0 ? hex_value(r->at[1]) : -1;
    if (low < 0 || high + low == 0)
        return BROKEN;
    r->at += 2;
    return high * 16 + low;
}

/* Reads a name up to what ends it; *same tells whether it is the one that is wanted. */
static int read_name(struct reader *r, bool *same)
{
    const char *wanted = r->name;
    int c;
    *same = true;
    while ((c = next(r)) >= 0) {
        *same = *same && (unsigned char)*wanted == c;
        wanted += *same;
    }
    *same = *same && *wanted == '\0';
    return c;
}

static int read_value(struct reader *r, bool keep)
{
    int c;
    while ((c = next(r)) >= 0 || c == EQUALS) {
        if (!keep)
            continue;
        if (r->len + 1 < r->out_bytes)
            r->out[r->len++] = c == EQUALS ? '=' : (char)c;
        else
            r->fits = false;
    }
    return c;
}

/* False if an escape is broken. */
static bool read_query(struct reader *r)
{
    int c = NEXT;
    while (c == NEXT) {
        bool same;
        c = read_name(r, &same);
        if (c == EQUALS)
            c = read_value(r, same && r->found == 0);
        r->found += same;
    }
    return c == END;
}

static bool is_utf8(const char *s, size_t n)
{
    while (n > 0) {
        int len = utf8_char(s, n);
        if (len < 0)
            return false;
        s += len;
        n -= (size_t)len;
    }
    return true;
}

bool query_get(const char *query, const char *name, char *out, size_t out_bytes)
{
    struct reader r = {
        .at = query, .name = name, .out = out, .out_bytes = out_bytes, .fits = out_bytes > 0};
    bool good = read_query(&r) && r.found <= 1 && r.fits && is_utf8(out, r.len);
    if (out_bytes > 0)
        out[good ? r.len : 0] = '\0';
    return good;
}

bool query_has(const char *query, const char *name)
{
    char unused;
    struct reader r = {.at = query, .name = name, .out = &unused, .out_bytes = 0};
    return read_query(&r) && r.found > 0;
}
