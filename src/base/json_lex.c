/*
 * The grammar of RFC 8259 in pieces.
 *
 * A string is most of what comes, so its plain bytes are skipped sixteen or eight at a time, and
 * UTF-8 is looked at only from a byte of 0x80 on. A value is skipped by a loop with one bit a
 * level that tells objects from arrays.
 */
#include "base/json_lex.h"

#include "base/utf8.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

int json_lex_bad(const struct json_lex *l, const char *what)
{
    if (l->at >= l->len)
        return error_set(l->e, ERR_INVALID, "the JSON text ends too early, at byte %zu", l->len);
    return error_set(l->e, ERR_INVALID, "invalid JSON at byte %zu: %s", l->at, what);
}

int json_lex_word(struct json_lex *l, const char *word)
{
    for (const char *w = word; *w != '\0'; w++, l->at++) {
        if (l->at >= l->len || l->text[l->at] != *w)
            return json_lex_bad(l, "a value is expected here");
    }
    return 0;
}

/* The high bit of each of eight bytes that is not plain. A byte above one that is found may be
 * found wrongly; the lowest never is. */
static uint64_t not_plain(uint64_t bytes)
{
    const uint64_t ones = UINT64_MAX / 0xff, high = ones * 0x80;
    uint64_t quote = bytes ^ ones * '"', backslash = bytes ^ ones * '\\';
    return ((bytes - ones * 0x20) & ~bytes & high) | ((quote - ones) & ~quote & high) |
           ((backslash - ones) & ~backslash & high) | (bytes & high);
}

static size_t plain_in_words(const char *s, size_t n)
{
    size_t at = 0;
    uint64_t word, found;
    for (; n - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, s + at, sizeof(word));
        found = not_plain(le64toh(word));
        if (found != 0)
            return at + (size_t)__builtin_ctzll(found) / 8;
    }
    while (at < n && (unsigned char)s[at] >= 0x20 && (unsigned char)s[at] < 0x80 && s[at] != '"' &&
           s[at] != '\\')
        at++;
    return at;
}

static inline size_t plain_len(const char *s, size_t n)
{
    size_t at = 0;
#ifdef __SSE2__
    /* As signed bytes, those from 0x80 on are less than 0x20 too. */
    const __m128i low = _mm_set1_epi8(0x20), quote = _mm_set1_epi8('"'),
                  backslash = _mm_set1_epi8('\\');
    for (; n - at >= 16; at += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(s + at));
        __m128i found = _mm_or_si128(
            _mm_cmplt_epi8(bytes, low),
            _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash)));
        unsigned mask = (unsigned)_mm_movemask_epi8(found);
        if (mask != 0)
            return at + (size_t)__builtin_ctz(mask);
    }
#endif
    return at + plain_in_words(s + at, n - at);
}

size_t json_lex_plain(const char *s, size_t n)
{
    return plain_len(s, n);
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
static int lex_hex4(struct json_lex *l, unsigned *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++, l->at++) {
        int digit = l->at < l->len ? hex_value(l->text[l->at]) : -1;
        if (digit < 0)
            return json_lex_bad(l, "\\u wants four hexadecimal digits");
        *value = *value * 16 + (unsigned)digit;
    }
    return 0;
}

static size_t utf8_len(unsigned codepoint)
{
    return codepoint < 0x80 ? 1 : codepoint < 0x800 ? 2 : codepoint < 0x10000 ? 3 : 4;
}

static int lone_half(struct json_lex *l, size_t start, size_t *decoded)
{
    if (!l->lenient) {
        l->at = start;
        return json_lex_bad(l, "half of a \\u surrogate pair stands alone");
    }
    l->ill = true;
    l->at = start + 4; /* what follows is read for itself */
    *decoded = 3;
    return 0;
}

/* Behind the 'u' of an escape. */
static int lex_unicode_escape(struct json_lex *l, size_t *decoded)
{
    size_t start = l->at;
    unsigned unit, low;
    int rc = lex_hex4(l, &unit);
    if (rc != 0)
        return rc;
    *decoded = utf8_len(unit);
    if (unit == 0 && !l->lenient) {
        l->at = start;
        return json_lex_bad(l, "\\u0000 is not allowed in a string");
    }
    if (unit < 0xd800 || unit > 0xdfff)
        return 0;
    if (unit <= 0xdbff && l->len - l->at >= 2 && memcmp(l->text + l->at, "\\u", 2) == 0) {
        l->at += 2;
        rc = lex_hex4(l, &low);
        if (rc != 0)
            return rc;
        *decoded = 4;
        if (low >= 0xdc00 && low <= 0xdfff)
            return 0;
    }
    return lone_half(l, start, decoded);
}

static int lex_escape(struct json_lex *l, size_t *decoded)
{
    l->at++;
    char kind = json_lex_peek(l);
    if (kind == '\0' || strchr("\"\\/bfnrtu", kind) == NULL)
        return json_lex_bad(l, "there is no such escape in JSON");
    l->at++;
    *decoded = 1;
    return kind == 'u' ? lex_unicode_escape(l, decoded) : 0;
}

/* Most of what is not ASCII: three bytes whose lead allows any two continuations. */
static bool is_common_char(const unsigned char *s, size_t n)
{
    return n >= 3 && s[0] > 0xe0 && s[0] <= 0xef && s[0] != 0xed && (s[1] & 0xc0) == 0x80 &&
           (s[2] & 0xc0) == 0x80;
}

/* A run of characters from 0x80 on. */
static int lex_characters(struct json_lex *l, struct json_string *s)
{
    const unsigned char *text = (const unsigned char *)l->text;
    size_t at = l->at, ill = 0, found = 0; /* of ill-formed parts: bytes, and how many */
    while (at < l->len && text[at] >= 0x80) {
        int n = is_common_char(text + at, l->len - at) ? 3 : utf8_char(l->text + at, l->len - at);
        if (n < 0 && !l->lenient) {
            l->at = at;
            return json_lex_bad(l, "a string is not valid UTF-8");
        }
        at += (size_t)(n < 0 ? -n : n);
        ill += n < 0 ? (size_t)-n : 0;
        found += n < 0;
    }
    l->ill |= found != 0;
    s->decoded += at - l->at - ill + 3 * found;
    l->at = at;
    return 0;
}

/* A byte that is not plain, and no quote. */
static int lex_special(struct json_lex *l, struct json_string *s)
{
    unsigned char ch = (unsigned char)l->text[l->at];
    size_t decoded = 0; /* after a mistake */
    if (ch == '\\') {
        s->escaped = true;
        int rc = lex_escape(l, &decoded);
        s->decoded += decoded;
        return rc;
    }
    if (ch < 0x20)
        return json_lex_bad(l, "a control character in a string must be escaped");
    return lex_characters(l, s);
}

int json_lex_string(struct json_lex *l, struct json_string *s)
{
    l->at++;
    *s = (struct json_string){.start = l->at};
    for (;;) {
        size_t n = plain_len(l->text + l->at, l->len - l->at);
        l->at += n;
        s->decoded += n;
        if (l->at >= l->len)
            return json_lex_bad(l, "");
        if (l->text[l->at] == '"')
            break;
        int rc = lex_special(l, s);
        if (rc != 0)
            return rc;
    }
    s->len = l->at - s->start;
    l->at++;
    return 0;
}

static size_t skip_digits(struct json_lex *l)
{
    size_t start = l->at;
    while (json_lex_peek(l) >= '0' && json_lex_peek(l) <= '9')
        l->at++;
    return l->at - start;
}

int json_lex_number(struct json_lex *l, struct json_number *n)
{
    *n = (struct json_number){.start = l->at, .negative = json_lex_peek(l) == '-'};
    l->at += n->negative;
    n->digits = skip_digits(l);
    if (n->digits == 0)
        return json_lex_bad(l,
                            n->negative ? "a digit is expected here" : "a value is expected here");
    if (n->digits > 1 && l->text[n->start + n->negative] == '0') {
        l->at = n->start;
        return json_lex_bad(l, "a number starts with a needless zero");
    }
    if (json_lex_peek(l) == '.') {
        n->fraction = true;
        l->at++;
        if (skip_digits(l) == 0)
            return json_lex_bad(l, "a digit is expected here");
    }
    if (json_lex_peek(l) == 'e' || json_lex_peek(l) == 'E') {
        n->exponent = true;
        l->at++;
        l->at += json_lex_peek(l) == '+' || json_lex_peek(l) == '-';
        if (skip_digits(l) == 0)
            return json_lex_bad(l, "a digit is expected here");
    }
    n->len = l->at - n->start;
    return 0;
}

int json_lex_key(struct json_lex *l, struct json_string *s)
{
    json_lex_space(l);
    if (json_lex_peek(l) != '"')
        return json_lex_bad(l, "a key in double quotes is expected here");
    int rc = json_lex_string(l, s);
    if (rc != 0)
        return rc;
    json_lex_space(l);
    if (json_lex_peek(l) != ':')
        return json_lex_bad(l, "a colon is expected behind a key");
    l->at++;
    return 0;
}

int json_lex_enter(struct json_lex *l)
{
    if (l->depth == l->max_depth)
        return error_set(l->e, ERR_INVALID, "JSON at byte %zu is nested deeper than %d levels",
                         l->at, l->max_depth);
    l->depth++;
    l->at++;
    return 0;
}

int json_lex_open(struct json_lex *l, bool object)
{
    int level = l->depth, rc = json_lex_enter(l);
    if (rc != 0)
        return rc;
    unsigned char bit = (unsigned char)(1u << (level % 8));
    if (object)
        l->is_object[level / 8] |= bit;
    else
        l->is_object[level / 8] &= (unsigned char)~bit;
    return 0;
}

static bool in_object(const struct json_lex *l)
{
    return (l->is_object[(l->depth - 1) / 8] >> ((l->depth - 1) % 8) & 1) != 0;
}

/* One value, or the opening of one: depth tells which. */
static int lex_begin(struct json_lex *l)
{
    struct json_string s;
    struct json_number n;
    json_lex_space(l);
    switch (json_lex_peek(l)) {
    case '{':
        return json_lex_open(l, true);
    case '[':
        return json_lex_open(l, false);
    case '"':
        return json_lex_string(l, &s);
    case 't':
        return json_lex_word(l, "true");
    case 'f':
        return json_lex_word(l, "false");
    case 'n':
        return json_lex_word(l, "null");
    default:
        return json_lex_number(l, &n);
    }
}

/* Behind a complete value: closes what closes here down to `floor`, or goes to the next value. */
static int lex_behind(struct json_lex *l, int floor)
{
    struct json_string key;
    while (l->depth > floor) {
        bool object = in_object(l);
        json_lex_space(l);
        if (json_lex_peek(l) == ',') {
            l->at++;
            return object ? json_lex_key(l, &key) : 0;
        }
        if (json_lex_peek(l) != (object ? '}' : ']'))
            return json_lex_bad(l, object ? "a comma or } is expected here"
                                          : "a comma or ] is expected here");
        l->at++;
        l->depth--;
    }
    return 0;
}

/* Behind an opening bracket: *empty tells that the container closed at once. */
static int lex_behind_opening(struct json_lex *l, bool *empty)
{
    struct json_string key;
    bool object = in_object(l);
    json_lex_space(l);
    *empty = json_lex_peek(l) == (object ? '}' : ']');
    if (*empty) {
        l->at++;
        l->depth--;
        return 0;
    }
    return object ? json_lex_key(l, &key) : 0;
}

int json_lex_value(struct json_lex *l)
{
    int floor = l->depth, rc;
    do {
        int before = l->depth;
        bool complete = true;
        rc = lex_begin(l);
        if (rc == 0 && l->depth > before)
            rc = lex_behind_opening(l, &complete);
        if (rc == 0 && complete)
            rc = lex_behind(l, floor);
    } while (rc == 0 && l->depth > floor);
    return rc;
}

static void add_codepoint(struct buf *b, unsigned c)
{
    char s[4];
    size_t n = utf8_len(c);
    if (n == 1) {
        s[0] = (char)c;
    } else {
        for (size_t i = n - 1; i > 0; i--, c >>= 6)
            s[i] = (char)(0x80 | (c & 0x3f));
        s[0] = (char)((0xf00u >> n & 0xff) | c);
    }
    buf_add(b, s, n);
}

/* Four hexadecimal digits at `at`, or 0 if there are none. */
static unsigned unit_at(const char *raw, size_t len, size_t at)
{
    unsigned value = 0;
    if (len < 4 || at > len - 4)
        return 0;
    for (size_t i = at; i < at + 4; i++) {
        if (hex_value(raw[i]) < 0)
            return 0;
        value = value * 16 + (unsigned)hex_value(raw[i]);
    }
    return value;
}

/* At the first digit of \uXXXX; returns the bytes taken. */
static size_t decode_unicode(struct buf *b, const char *raw, size_t len, size_t at)
{
    unsigned unit = unit_at(raw, len, at), low = 0;
    bool high_half = unit >= 0xd800 && unit <= 0xdbff;
    if (high_half && len - at >= 6 && raw[at + 4] == '\\' && raw[at + 5] == 'u')
        low = unit_at(raw, len, at + 6);
    if (high_half && low >= 0xdc00 && low <= 0xdfff) {
        add_codepoint(b, 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00));
        return 10;
    }
    add_codepoint(b, unit >= 0xd800 && unit <= 0xdfff ? 0xfffd : unit);
    return 4;
}

void json_lex_decode(struct buf *b, const char *raw, size_t len)
{
    static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
    size_t at = 0;
    while (at < len) {
        const char *escape = memchr(raw + at, '\\', len - at);
        size_t end = escape != NULL ? (size_t)(escape - raw) : len;
        buf_add(b, raw + at, end - at);
        if (len - end < 2)
            return;
        const char *name = memchr(names, raw[end + 1], sizeof(names) - 1);
        at = end + 2;
        if (raw[end + 1] == 'u')
            at += decode_unicode(b, raw, len, at);
        else
            buf_addc(b, name != NULL ? values[name - names] : raw[end + 1]);
    }
}
