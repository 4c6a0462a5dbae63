/*
 * Walking a JSON object: members by name, items, values that nobody goes into. The grammar is
 * that of base/json_lex; here is only who is told of what. Depth is bounded by the lexer, so that
 * readers may recurse. Pure.
 */
#include "api/relay_private.h"

#include "base/utf8.h"

#include <string.h>

enum { NAME_BYTES = 64 }; /* longer than any name we look for */

char relay_next(struct reader *r)
{
    json_lex_space(&r->lex);
    return json_lex_peek(&r->lex);
}

/* The place of a text among the names, or -1. */
static int find_text(const char *text, size_t len, const struct name *names, int n_names)
{
    for (int i = 0; i < n_names; i++) {
        if (names[i].len == len && memcmp(names[i].text, text, len) == 0)
            return i;
    }
    return -1;
}

/* The same of a key, which counts by what it says if there are escapes in it. */
static int find_name(const struct reader *r, const struct json_string *key,
                     const struct name *names, int n_names)
{
    struct buf said;
    if (!key->escaped)
        return find_text(r->lex.text + key->start, key->len, names, n_names);
    if (key->decoded > NAME_BYTES)
        return -1;
    buf_init(&said, NAME_BYTES);
    json_lex_decode(&said, r->lex.text + key->start, key->len);
    int found = find_text(said.data, said.len, names, n_names);
    buf_done(&said);
    return found;
}

static int read_member(struct reader *r, const struct name *names, int n_names, unsigned *seen,
                       struct member *m)
{
    struct json_string key;
    int rc = json_lex_key(&r->lex, &key);
    if (rc != 0)
        return rc;
    m->key_at = key.start - 1;
    m->name = find_name(r, &key, names, n_names);
    if (m->name < 0)
        return 0;
    if ((*seen >> m->name & 1) != 0)
        return error_set(r->lex.e, ERR_INVALID, "the key \"%s\" stands twice in one object",
                         names[m->name].text);
    *seen |= 1u << m->name;
    return 0;
}

/* Behind a value: takes a comma, or the bracket that closes. */
static int read_separator(struct reader *r, char close, bool *closed)
{
    struct json_lex *l = &r->lex;
    char c = relay_next(r);
    *closed = c == close;
    if (c != ',' && c != close)
        return json_lex_bad(l, close == '}' ? "a comma or } is expected here"
                                            : "a comma or ] is expected here");
    l->at++;
    l->depth -= *closed;
    return 0;
}

static int open_container(struct reader *r, bool object, bool *closed)
{
    int rc = json_lex_open(&r->lex, object);
    *closed = false;
    if (rc != 0 || relay_next(r) != (object ? '}' : ']'))
        return rc;
    *closed = true;
    r->lex.at++;
    r->lex.depth--;
    return 0;
}

int relay_walk(struct reader *r, const struct name *names, int n_names, member_fn *fn, void *arg,
               size_t *members)
{
    struct member m = {0};
    unsigned seen = 0;
    bool closed;
    *members = 0;
    int rc = open_container(r, true, &closed);
    while (rc == 0 && !closed) {
        rc = read_member(r, names, n_names, &seen, &m);
        if (rc == 0)
            rc = fn(r, &m, arg);
        if (rc != 0)
            break;
        ++*members;
        rc = read_separator(r, '}', &closed);
        m.comma_at = r->lex.at - 1;
    }
    return rc;
}

int relay_items(struct reader *r, item_fn *fn, void *arg)
{
    bool closed;
    int rc = open_container(r, false, &closed);
    while (rc == 0 && !closed) {
        relay_next(r);
        rc = fn(r, arg);
        if (rc == 0)
            rc = read_separator(r, ']', &closed);
    }
    return rc;
}

bool relay_is_blank(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] != ' ' && text[i] != '\n' && text[i] != '\r' && text[i] != '\t')
            return false;
    }
    return true;
}

bool relay_is_empty(const char *text, size_t len)
{
    switch (text[0]) {
    case 'n':
    case 'f':
        return true;
    case '"':
        return len == 2;
    case '{':
    case '[':
        return relay_is_blank(text + 1, len - 2);
    default:
        return false;
    }
}

static int read_number(struct reader *r)
{
    struct json_number n;
    return json_lex_number(&r->lex, &n);
}

int relay_value(struct reader *r, struct value *v)
{
    char first = relay_next(r);
    size_t start = r->lex.at;
    int rc;
    switch (first) {
    case '"':
        v->kind = VALUE_STRING;
        rc = json_lex_string(&r->lex, &v->string);
        break;
    case 'n':
        v->kind = VALUE_NULL;
        rc = json_lex_word(&r->lex, "null");
        break;
    case '{':
    case '[':
        v->kind = first == '{' ? VALUE_OBJECT : VALUE_ARRAY;
        rc = json_lex_value(&r->lex);
        break;
    case 't':
    case 'f':
        v->kind = VALUE_BOOL;
        rc = json_lex_word(&r->lex, first == 't' ? "true" : "false");
        break;
    default:
        v->kind = VALUE_NUMBER;
        rc = read_number(r);
        break;
    }
    if (rc != 0)
        return rc;
    v->start = r->lex.text + start;
    v->len = r->lex.at - start;
    v->is_empty = relay_is_empty(v->start, v->len);
    return 0;
}

struct api_text relay_string(const struct reader *r, const struct value *v)
{
    if (v->kind != VALUE_STRING)
        return (struct api_text){0};
    return (struct api_text){r->lex.text + v->string.start, v->string.len};
}

bool relay_is(const struct reader *r, const struct value *v, const char *text)
{
    return v->kind == VALUE_STRING && v->string.len == strlen(text) &&
           memcmp(r->lex.text + v->string.start, text, v->string.len) == 0;
}

static bool is_half(const char *s, size_t n, char least, char most)
{
    return n >= 6 && s[0] == '\\' && s[1] == 'u' && (s[2] == 'd' || s[2] == 'D') &&
           (s[3] | 0x20) >= least && (s[3] | 0x20) <= most;
}

/* An escape: how long it is, or minus its length if it is half of a pair alone. Only the third
 * digit tells the halves apart: 8 to b, c to f. */
static int escape_len(const char *s, size_t n)
{
    bool high = is_half(s, n, '8', '9') || is_half(s, n, 'a', 'b');
    if (high && is_half(s + 6, n - 6, 'c', 'f'))
        return 12;
    if (high || is_half(s, n, 'c', 'f'))
        return -6;
    return 2;
}

void relay_mend(struct buf *b, const char *text, size_t len)
{
    size_t done = 0, at = 0; /* bytes before `done` are written, those up to `at` are good */
    while (at < len) {
        size_t plain = json_lex_plain(text + at, len - at);
        at += plain;
        if (at >= len)
            break;
        unsigned char c = (unsigned char)text[at];
        int n = c == '\\'  ? escape_len(text + at, len - at)
                : c < 0x80 ? 1
                           : utf8_char(text + at, len - at);
        if (n < 0) {
            buf_add(b, text + done, at - done);
            buf_adds(b, "\xef\xbf\xbd");
            n = -n;
            done = at + (size_t)n;
        }
        at += (size_t)n;
    }
    buf_add(b, text + done, len - done);
}
