/*
 * What a client is told of an upstream's refusal. A table gives each status its kind and a text of
 * ours; the upstream's own words go through only where they tell of the client's request, on one
 * line, without credentials and addresses. Some names in a body say more than its status: a
 * content filter, a prompt that is too long, an account of ours that is used up. Pure.
 */
#include "api/relay_private.h"

#include "base/utf8.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { RAW_BYTES = 2000, TEXT_BYTES = 3 * RAW_BYTES + 1 };

/* What the body has to say, ready to be shown. */
struct words {
    bool is_error, is_page;
    int status;
    char text[TEXT_BYTES], code[100], type[100], param[96];
};

static const struct row {
    int status;
    enum fault_kind kind;
    bool theirs;      /* the upstream's words are shown if there are any */
    const char *text; /* else these */
} rows[] = {
    {400, FAULT_BAD_REQUEST, true, "The upstream refused the request"},
    {401, FAULT_UPSTREAM, false,
     "The upstream refused this server's own credentials; tell its operator"},
    {402, FAULT_UPSTREAM, false,
     "This server's account at the upstream is used up; tell its operator"},
    {403, FAULT_UPSTREAM, false,
     "The upstream refused this server's own credentials; tell its operator"},
    {404, FAULT_UPSTREAM, false,
     "The upstream does not know the model or the path; tell this server's operator"},
    {405, FAULT_UPSTREAM, false,
     "The upstream takes no chat at its address; tell this server's operator"},
    {408, FAULT_TIMEOUT, false, "The upstream took too long"},
    {413, FAULT_BODY_LARGE, true, "The request is larger than what the upstream takes"},
    {422, FAULT_BAD_REQUEST, true, "The upstream refused the request"},
    {429, FAULT_ENGINE_FULL, false, "The upstream is full; try again later"},
    {503, FAULT_UNAVAILABLE, false, "The upstream is not available; try again later"},
    {504, FAULT_TIMEOUT, false, "The upstream took too long"},
    {524, FAULT_TIMEOUT, false, "The upstream took too long"},
    {529, FAULT_UNAVAILABLE, false, "The upstream is full; try again later"},
};

static const struct row redirect = {
    0, FAULT_UPSTREAM, false,
    "The upstream answered by a redirect, which is not followed; tell this server's operator"};
static const struct row refused = {0, FAULT_UPSTREAM, false,
                                   "The upstream refused the request; tell this server's operator"};
static const struct row failed = {0, FAULT_UPSTREAM, false, "The upstream failed; try again later"};
static const struct row used_up = {
    0, FAULT_UNAVAILABLE, false,
    "This server's account at the upstream is used up; tell its operator"};
static const struct row filtered = {0, FAULT_FORBIDDEN, true,
                                    "The upstream's content filter refused the request"};
static const struct row too_long = {0, FAULT_TOO_LONG, true,
                                    "The request is longer than the model's context"};

static const char *const filter_names[] = {"content_filter", "content_policy", "moderation",
                                           "data_inspection", NULL};
static const char *const quota_names[] = {
    "insufficient_quota", "current_quota", "used_up", "insufficient_bal",
    "quota_exceeded",     "arrear",        "billing", NULL};
static const char *const quota_texts[] = {"current quota", "insufficient balance",
                                          "billing details", "account balance", NULL};
static const char *const model_names[] = {"model_not_found", "resource_not_found", NULL};
static const char *const length_names[] = {"context_length", "exceed_context", NULL};
static const char *const length_texts[] = {"context length",
                                           "context size",
                                           "context window",
                                           "maximum context",
                                           "model token limit",
                                           "token limit",
                                           "too many tokens",
                                           "prompt is too long",
                                           "input is too long",
                                           "longer than the model",
                                           NULL};

/* Statuses of errors in a stream that have none. */
static const struct {
    const char *name;
    int status;
} named[] = {
    {"content_filter", 400}, {"context_length", 400},    {"exceed_context", 400},
    {"rate_limit", 429},     {"too_many_requests", 429}, {"engine_overloaded", 429},
    {"quota", 429},          {"overloaded", 529},        {"unavailable", 503},
    {"timeout", 504},
};

static bool has_any(const char *text, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strcasestr(text, *words) != NULL)
            return true;
    }
    return false;
}

static bool is_named(const struct words *w, const char *const *names)
{
    return has_any(w->code, names) || has_any(w->type, names);
}

/* ---- the upstream's words ---- */

/* Bytes of the next character as it is shown: none for what is blanked, and *size is how many it
 * is made of. */
static bool is_shown(const char *s, size_t n, size_t *size)
{
    int len = utf8_char(s, n);
    unsigned char c = (unsigned char)s[0];
    *size = (size_t)(len < 0 ? -len : len);
    if (len <= 0 || c <= ' ' || c == 0x7f)
        return false;
    if (len == 2 && c == 0xc2 && (unsigned char)s[1] < 0xa0) /* C1 controls */
        return false;
    return !(len == 3 && memcmp(s, "\xe2\x80", 2) == 0 && ((unsigned char)s[2] & 0xfe) == 0xa8);
}

/* One line of whole characters that fits. */
static void tidy(char *to, size_t cap, const char *from, size_t len)
{
    size_t n = 0, size;
    bool space = false;
    for (size_t at = 0; at < len; at += size) {
        bool shown = is_shown(from + at, len - at, &size);
        if (!shown) {
            space = n > 0;
            continue;
        }
        if (n + space + size >= cap)
            break;
        if (space)
            to[n++] = ' ';
        space = false;
        memcpy(to + n, from + at, size);
        n += size;
    }
    to[n] = '\0';
}

/* A literal address of IPv4 with its port, or nothing. */
static size_t ip_len(const char *s)
{
    size_t n = strspn(s, "0123456789."), dots = 0;
    for (size_t i = 0; i < n; i++)
        dots += s[i] == '.' && i + 1 < n && isdigit((unsigned char)s[i + 1]);
    if (dots != 3 || !isdigit((unsigned char)s[0]))
        return 0;
    return s[n] == ':' ? n + 1 + strspn(s + n + 1, "0123456789") : n;
}

/* host.name:8000 or localhost:8000, or nothing. */
static size_t host_len(const char *s)
{
    size_t n = 0;
    while (isalnum((unsigned char)s[n]) || s[n] == '-' || s[n] == '.')
        n++;
    bool is_host = memchr(s, '.', n) != NULL || (n == 9 && strncasecmp(s, "localhost", n) == 0);
    size_t digits = s[n] == ':' ? strspn(s + n + 1, "0123456789") : 0;
    return is_host && digits >= 2 ? n + 1 + digits : 0;
}

/* An address of the web anywhere, others at the start of a word. */
static size_t address_len(const char *s, bool in_word)
{
    if (strncasecmp(s, "http://", 7) == 0 || strncasecmp(s, "https://", 8) == 0)
        return strcspn(s, " \"'<>`|)]}");
    size_t n = in_word ? 0 : ip_len(s);
    return n > 0 || in_word ? n : host_len(s);
}

static void blank_addresses(char *text)
{
    char *to = text;
    bool in_word = false;
    for (const char *from = text; *from != '\0';) {
        size_t n = address_len(from, in_word);
        if (n > 0) {
            memcpy(to, "***", 3); /* no address is shorter */
            to += 3;
            from += n;
            in_word = false;
        } else {
            in_word = isalnum((unsigned char)*from) != 0;
            *to++ = *from++;
        }
    }
    *to = '\0';
}

static void show(char *to, size_t cap, const char *from, size_t len)
{
    tidy(to, cap, from, len);
    relay_redact(to);
    blank_addresses(to);
}

/* Of raw string contents. What is cut may end in half an escape, which decodes to a control. */
static void show_raw(char *to, size_t cap, struct api_text raw)
{
    struct buf b;
    buf_init(&b, TEXT_BYTES);
    json_lex_decode(&b, raw.data, raw.len < RAW_BYTES ? raw.len : RAW_BYTES);
    show(to, cap, b.data != NULL ? b.data : "", b.len);
    buf_done(&b);
}

static bool is_markup(const char *text)
{
    return text[0] == '<' || strcasestr(text, "<html") != NULL ||
           strcasestr(text, "<!doctype") != NULL;
}

/* A body that is no JSON object: a line of text, a page, or nothing to be shown. */
static void read_bare(const char *body, size_t len, struct words *w)
{
    show(w->text, sizeof w->text, body, len < RAW_BYTES ? len : RAW_BYTES);
    if (w->text[0] == '{' || w->text[0] == '[' || w->text[0] == '"')
        w->text[0] = '\0';
}

static void read_words(const char *body, size_t len, struct words *w)
{
    struct relayed r;
    *w = (struct words){0};
    int rc = relay_read(body, len, &r, NULL);
    if (rc == 0 && r.kind == RELAY_ERROR) {
        w->is_error = true;
        w->status = r.status;
        show_raw(w->text, sizeof w->text, r.message);
        show_raw(w->code, sizeof w->code, r.code);
        show_raw(w->type, sizeof w->type, r.type);
        show_raw(w->param, sizeof w->param, r.param);
    } else if (rc != 0) {
        read_bare(body, len, w);
    }
    relay_done(&r);
    w->is_page = is_markup(w->text);
    if (w->is_page)
        w->text[0] = '\0';
}

/* ---- the kind ---- */

static int status_of(int status, const struct words *w)
{
    if (status >= 300)
        return status;
    if (w->status != 0)
        return w->status;
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++) {
        const char *const name[] = {named[i].name, NULL};
        if (is_named(w, name))
            return named[i].status;
    }
    return 500;
}

static const struct row *row_of(int status)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].status == status)
            return &rows[i];
    }
    return status < 400 ? &redirect : status < 500 ? &refused : &failed;
}

/* What the names in the body make of it; NULL if nothing. */
static const struct row *row_of_names(int status, const struct words *w)
{
    bool mistake = status == 400 || status == 413 || status == 422;
    if ((mistake || status == 403) && is_named(w, filter_names))
        return &filtered;
    if (mistake && (is_named(w, length_names) || has_any(w->text, length_texts)))
        return &too_long;
    if (mistake && is_named(w, model_names))
        return row_of(404);
    if (status == 403 && is_named(w, quota_names))
        return row_of(402);
    if ((mistake || status == 429) && is_named(w, quota_names))
        return &used_up;
    return status == 429 && has_any(w->text, quota_texts) ? &used_up : NULL;
}

enum fault_kind relay_fault(int status, const char *body, size_t len, struct fault *f)
{
    struct words w;
    read_words(body, len, &w);
    status = status_of(status, &w);
    const struct row *row = row_of_names(status, &w);
    if (row == NULL)
        row = row_of(status);
    if (row->theirs && w.text[0] != '\0')
        return fault_set(f, row->kind, w.param, "%s", w.text);
    return fault_set(f, row->kind, row->theirs ? w.param : NULL, "%s.%s", row->text,
                     w.is_page ? " It answered by an HTML page." : "");
}
