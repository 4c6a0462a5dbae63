/*
 * A mail's form: header fields and a quoted-printable body. Lines end in CRLF and none is longer
 * than 78 characters.
 */
#include "console/mail.h"

#include "base/clock.h"
#include "base/utf8.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    LINE_CHARS = 76,     /* of quoted-printable, without CRLF */
    WORD_BYTES = 39,     /* of text in an encoded word: 52 characters of base64 */
    SUBJECT_BYTES = 400, /* what is longer is cut between characters */
    ID_DIGITS = 32       /* of a Message-ID: 128 bits */
};

/* An address that cannot leave its header field. */
static bool is_address(const char *s)
{
    const char *at = strchr(s, '@');
    for (const char *c = s; *c; c++) {
        if (*c <= ' ' || *c >= 0x7f || strchr("<>()[],;:\\\"", *c))
            return false;
    }
    return at && at != s && at[1] && !strchr(at + 1, '@') && strlen(s) < 255;
}

static void put_date(struct buf *b)
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = (time_t)(clock_unix_ms() / 1000);
    struct tm t;
    gmtime_r(&now, &t);
    buf_addf(b, "Date: %s, %d %s %d %02d:%02d:%02d +0000\r\n", days[t.tm_wday], t.tm_mday,
             months[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}

static void put_id(struct buf *b, const char *from)
{
    char id[ID_DIGITS + 1];
    random_hex(id, ID_DIGITS);
    buf_addf(b, "Message-ID: <%s%s>\r\n", id, strchr(from, '@'));
}

/* How much of the text goes into one encoded word: whole characters. */
static size_t word_length(const char *s, size_t n)
{
    size_t used = 0;
    while (used < n) {
        int len = utf8_char(s + used, n - used);
        size_t bytes = (size_t)(len < 0 ? -len : len);
        if (used + bytes > WORD_BYTES)
            break;
        used += bytes;
    }
    return used;
}

/* Ill-formed bytes become U+FFFD, what would begin a new line a space. */
static void clean(const char *s, char *out, size_t out_bytes)
{
    size_t n = strlen(s), to = 0;
    for (size_t i = 0; i < n;) {
        int len = utf8_char(s + i, n - i);
        size_t bytes = (size_t)(len < 0 ? -len : len);
        const char *piece = len < 0 ? "\xef\xbf\xbd" : s + i;
        size_t piece_bytes = len < 0 ? 3 : bytes;
        if (to + piece_bytes + 1 > out_bytes)
            break;
        memcpy(out + to, piece, piece_bytes);
        if (piece_bytes == 1 && ((unsigned char)out[to] < ' ' || out[to] == 0x7f))
            out[to] = ' ';
        to += piece_bytes;
        i += bytes;
    }
    out[to] = '\0';
}

/* Is it readable as it stands? "=?" begins an encoded word. */
static bool is_plain(const char *s, size_t max_chars)
{
    size_t n = strlen(s);
    return n <= max_chars && utf8_printable(s, n) == n && !strstr(s, "=?");
}

static void put_subject(struct buf *b, const char *subject)
{
    char text[SUBJECT_BYTES], word[WORD_BYTES * 2];
    clean(subject, text, sizeof text);
    buf_adds(b, "Subject:");
    if (is_plain(text, LINE_CHARS - strlen("Subject: "))) {
        buf_addf(b, " %s\r\n", text);
        return;
    }
    for (const char *s = text; *s;) {
        size_t n = word_length(s, strlen(s));
        sodium_bin2base64(word, sizeof word, (const unsigned char *)s, n,
                          sodium_base64_VARIANT_ORIGINAL);
        buf_addf(b, "%s =?utf-8?B?%s?=", s == text ? "" : "\r\n", word);
        s += n;
    }
    buf_adds(b, "\r\n");
}

/* One byte in quoted-printable; a space or tab at the end of a line must not stand bare. */
static size_t quote(unsigned char c, bool last, char out[4])
{
    bool bare = (c > ' ' && c < 0x7f && c != '=') || ((c == ' ' || c == '\t') && !last);
    if (bare) {
        out[0] = (char)c;
        return 1;
    }
    snprintf(out, 4, "=%02X", c);
    return 3;
}

static void put_line(struct buf *b, const char *s, size_t n)
{
    char piece[4];
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        size_t len = quote((unsigned char)s[i], i + 1 == n, piece);
        if (used + len > LINE_CHARS - 1) {
            buf_adds(b, "=\r\n");
            used = 0;
        }
        buf_add(b, piece, len);
        used += len;
    }
    buf_adds(b, "\r\n");
}

static void put_body(struct buf *b, const char *s)
{
    while (*s) {
        size_t n = strcspn(s, "\n");
        put_line(b, s, n > 0 && s[n - 1] == '\r' ? n - 1 : n);
        s += n + (s[n] == '\n');
    }
}

int mail_write(struct buf *out, const struct mail *m, struct error *e)
{
    if (!is_address(m->from) || !is_address(m->to))
        return error_set(e, ERR_INVALID, "a mail's address is none");
    put_date(out);
    buf_addf(out, "From: moongate <%s>\r\nTo: <%s>\r\n", m->from, m->to);
    put_id(out, m->from);
    put_subject(out, m->subject);
    buf_adds(out, "MIME-Version: 1.0\r\n"
                  "Content-Type: text/plain; charset=utf-8\r\n"
                  "Content-Transfer-Encoding: quoted-printable\r\n"
                  "Auto-Submitted: auto-generated\r\n"
                  "\r\n");
    put_body(out, m->body);
    return out->failed ? error_set(e, ERR_LIMIT, "a mail is larger than it may be") : 0;
}
