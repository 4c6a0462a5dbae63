/*
 * The head of a request, read strictly.
 *
 * Everything is refused that another reader of the same bytes (a proxy before us) might take
 * for something else. The fields are packed in place: a name and its value, each with a NUL,
 * are never longer than the line they came from, so no second piece of memory is needed.
 */
#include "http/head.h"

#include <string.h>
#include <strings.h>

enum { METHOD_BYTES = 32, LENGTH_DIGITS = 18 };

/* What the fields said so far, where a second one matters. */
struct seen {
    bool host, length, coding, close, keep_alive, authorization;
};

struct reader {
    char *at, *end; /* of what is not read yet */
    struct head *h;
    struct seen seen;
    enum http_fault *fault;
    const char **what;
};

static bool refuse(struct reader *r, enum http_fault fault, const char *what)
{
    *r->fault = fault;
    *r->what = what;
    return false;
}

static bool bad(struct reader *r, const char *what)
{
    return refuse(r, HTTP_FAULT_BAD_HEAD, what);
}

long head_find_end(const char *bytes, size_t len, size_t *at)
{
    size_t line = *at;
    while (line < len) {
        const char *lf = memchr(bytes + line, '\n', len - line);
        if (lf == NULL)
            break;
        size_t end = (size_t)(lf - bytes);
        if (end == 0 || bytes[end - 1] != '\r')
            return -1;
        if (end == line + 1)
            return (long)(end + 1);
        line = end + 1;
    }
    *at = line;
    return 0;
}

static bool is_token(unsigned char c)
{
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return true;
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

/* Cuts the next line off; its CRLF becomes a NUL. */
static char *next_line(struct reader *r, size_t *len)
{
    char *line = r->at;
    char *lf = memchr(line, '\n', (size_t)(r->end - line));
    if (lf == NULL || lf == line || lf[-1] != '\r')
        return NULL;
    *len = (size_t)(lf - 1 - line);
    lf[-1] = '\0';
    r->at = lf + 1;
    return line;
}

static bool read_version(struct reader *r, const char *version)
{
    if (strncmp(version, "HTTP/", 5) != 0 || version[5] < '0' || version[5] > '9' ||
        version[6] != '.' || version[7] < '0' || version[7] > '9' || version[8] != '\0')
        return bad(r, "the request line does not end with an HTTP version");
    if (version[5] != '1')
        return refuse(r, HTTP_FAULT_VERSION, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    r->h->minor = version[7] - '0';
    return true;
}

/* "http://host:1/path?x" becomes "/path?x". */
static char *cut_authority(char *target)
{
    size_t scheme = strncasecmp(target, "http://", 7) == 0    ? 7
                    : strncasecmp(target, "https://", 8) == 0 ? 8
                                                              : 0;
    if (scheme == 0)
        return NULL;
    size_t authority = strcspn(target + scheme, "/?");
    return authority != 0 ? target + scheme + authority : NULL;
}

static bool read_target(struct reader *r, char *target)
{
    for (const char *c = target; *c != '\0'; c++) {
        if (*c <= 0x20 || *c >= 0x7f || *c == '#')
            return bad(r, "the request target holds a character that must be percent-encoded");
    }
    if (strcmp(target, "*") == 0) {
        if (strcmp(r->h->method, "OPTIONS") != 0)
            return bad(r, "only OPTIONS may ask for *");
        r->h->path = target;
        return true;
    }
    if (target[0] != '/')
        target = cut_authority(target);
    if (target == NULL)
        return bad(r, "the request target must be a path");
    char *query = strchr(target, '?');
    if (query != NULL) {
        *query = '\0';
        r->h->query = query + 1;
    }
    r->h->path = target[0] != '\0' ? target : "/";
    return true;
}

static bool read_request_line(struct reader *r)
{
    size_t len;
    char *line = next_line(r, &len);
    if (line == NULL || memchr(line, '\0', len) != NULL || memchr(line, '\r', len) != NULL)
        return bad(r, "the request line holds a control character");
    char *target = strchr(line, ' ');
    char *version = target != NULL ? strchr(target + 1, ' ') : NULL;
    if (version == NULL)
        return bad(r, "the request line is not METHOD TARGET VERSION");
    *target++ = '\0';
    *version++ = '\0';
    for (const char *c = line; *c != '\0'; c++) {
        if (!is_token((unsigned char)*c) || c - line >= METHOD_BYTES)
            return bad(r, "the method is not a token");
    }
    if (line[0] == '\0')
        return bad(r, "the request line has no method");
    r->h->method = line;
    return read_version(r, version) && read_target(r, target);
}

static bool read_length(struct reader *r, const char *value)
{
    int64_t length = 0;
    size_t digits = strspn(value, "0123456789");
    if (r->seen.length)
        return bad(r, "there are two Content-Length fields");
    if (digits == 0 || digits > LENGTH_DIGITS || value[digits] != '\0')
        return bad(r, "Content-Length is not a number");
    for (const char *c = value; *c != '\0'; c++)
        length = length * 10 + (*c - '0');
    r->seen.length = true;
    r->h->content_length = length;
    return true;
}

static bool read_coding(struct reader *r, const char *value)
{
    if (r->seen.coding || strcasecmp(value, "chunked") != 0)
        return bad(r, "the only transfer coding understood is one chunked");
    if (r->h->minor == 0)
        return bad(r, "HTTP/1.0 has no Transfer-Encoding");
    r->seen.coding = true;
    r->h->chunked = true;
    return true;
}

static bool read_host(struct reader *r, const char *value)
{
    if (r->seen.host)
        return bad(r, "there are two Host fields");
    for (const char *c = value; *c != '\0'; c++) {
        if (*c <= 0x20 || *c >= 0x7f || strchr("/?#@,\\\"<>{}|^`", *c) != NULL)
            return bad(r, "Host is not a host and a port");
    }
    r->seen.host = true;
    return true;
}

static bool read_expect(struct reader *r, const char *value)
{
    if (r->h->minor == 0)
        return true;
    if (strcasecmp(value, "100-continue") != 0)
        return bad(r, "the only expectation understood is 100-continue");
    r->h->expect_continue = true;
    return true;
}

/* A comma-separated list of options; the ones that we do not know concern others. */
static bool read_connection(struct reader *r, const char *value)
{
    while (*value != '\0') {
        value += strspn(value, ", \t");
        size_t n = strcspn(value, ", \t");
        if (n == 5 && strncasecmp(value, "close", n) == 0)
            r->seen.close = true;
        else if (n == 10 && strncasecmp(value, "keep-alive", n) == 0)
            r->seen.keep_alive = true;
        value += n;
    }
    return true;
}

/* Two of them would leave it to each reader which one counts. */
static bool read_authorization(struct reader *r, const char *value)
{
    (void)value;
    if (r->seen.authorization)
        return bad(r, "there are two Authorization fields");
    r->seen.authorization = true;
    return true;
}

static const struct {
    const char *name;
    bool (*read)(struct reader *r, const char *value);
} framing_fields[] = {{"content-length", read_length},
                      {"transfer-encoding", read_coding},
                      {"host", read_host},
                      {"expect", read_expect},
                      {"connection", read_connection},
                      {"authorization", read_authorization}};

static bool interpret(struct reader *r, const char *name, const char *value)
{
    for (size_t i = 0; i < sizeof(framing_fields) / sizeof(framing_fields[0]); i++) {
        if (strcasecmp(name, framing_fields[i].name) == 0)
            return framing_fields[i].read(r, value);
    }
    return true;
}

/* Checks one field line and packs it at *packed, which never passes the line itself. */
static bool read_field(struct reader *r, char *line, size_t len, char **packed)
{
    size_t name_len = 0;
    while (name_len < len && is_token((unsigned char)line[name_len]))
        name_len++;
    if (line[0] == ' ' || line[0] == '\t')
        return bad(r, "a header field is folded over two lines");
    if (name_len == 0 || name_len == len || line[name_len] != ':')
        return bad(r, "a header field is not NAME: VALUE");
    char *value = line + name_len + 1, *end = line + len;
    for (const char *c = value; c < end; c++) {
        if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f)
            return bad(r, "a header field holds a control character");
    }
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    size_t value_len = (size_t)(end - value);
    char *name = *packed;
    memmove(name, line, name_len);
    name[name_len] = '\0';
    memmove(name + name_len + 1, value, value_len);
    name[name_len + 1 + value_len] = '\0';
    *packed = name + name_len + 1 + value_len + 1;
    return interpret(r, name, name + name_len + 1);
}

static bool check_whole(struct reader *r)
{
    if (!r->seen.host && r->h->minor != 0)
        return bad(r, "there is no Host field");
    if (r->seen.length && r->seen.coding)
        return bad(r, "Content-Length stands beside Transfer-Encoding");
    r->h->keep_alive = !r->seen.close && (r->h->minor != 0 || r->seen.keep_alive);
    return true;
}

bool head_parse(char *bytes, size_t len, size_t max_fields, struct head *h, enum http_fault *fault,
                const char **what)
{
    struct reader r = {.at = bytes, .end = bytes + len, .h = h, .fault = fault, .what = what};
    *h = (struct head){.method = "", .path = "", .query = "", .fields = "", .content_length = -1};
    if (!read_request_line(&r))
        return false;
    char *packed = r.at;
    h->fields = packed;
    for (;;) {
        size_t line_len;
        char *line = next_line(&r, &line_len);
        if (line == NULL)
            return bad(&r, "a header line does not end with CRLF");
        if (line_len == 0)
            break;
        if (h->n_fields == max_fields)
            return refuse(&r, HTTP_FAULT_HEAD_LARGE, "there are too many header fields");
        if (!read_field(&r, line, line_len, &packed))
            return false;
        h->n_fields++;
    }
    if (r.at != r.end)
        return bad(&r, "the head goes on behind its empty line");
    return check_whole(&r);
}

/* The value of the next field of that name, from *at and field *i on, which move behind it. */
static const char *next_value(const struct head *h, const char *name, const char **at, size_t *i)
{
    while (*i < h->n_fields) {
        const char *field = *at, *value = field + strlen(field) + 1;
        *at = value + strlen(value) + 1;
        ++*i;
        if (strcasecmp(field, name) == 0)
            return value;
    }
    return NULL;
}

const char *head_field(const struct head *h, const char *name)
{
    const char *at = h->fields;
    size_t i = 0;
    return next_value(h, name, &at, &i);
}

const char *head_fields(const struct head *h, const char *name, struct buf *joined)
{
    const char *at = h->fields;
    size_t i = 0;
    const char *first = next_value(h, name, &at, &i), *next = NULL;
    if (first != NULL)
        next = next_value(h, name, &at, &i);
    if (next == NULL)
        return first;
    buf_reset(joined);
    buf_adds(joined, first);
    for (; next != NULL; next = next_value(h, name, &at, &i)) {
        buf_adds(joined, ", ");
        buf_adds(joined, next);
    }
    return joined->data;
}
