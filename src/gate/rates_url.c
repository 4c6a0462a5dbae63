/*
 * See rates_url.h. User and password are percent-decoded; a host is taken as it stands. What is
 * not understood is refused, for a limit that is not kept where it was meant to be is worse than
 * a program that does not start.
 */
#include "gate/rates_url.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

enum { PORT = 6379, PORT_MAX = 65535, DB_MAX = 1000000 };

static int bad(struct error *e, const char *what)
{
    return error_set(e, ERR_INVALID,
                     "the URL of Redis %s; write redis://[[USER]:PASSWORD@]HOST[:PORT][/DB] or "
                     "unix://[[USER]:PASSWORD@]/PATH[?db=DB]",
                     what);
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Also refuses a NUL, which would end the text early. */
static bool decode(const char *s, size_t n, char *out, size_t out_bytes)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)s[i];
        if (c == '%') {
            int high = i + 2 < n ? hex_digit(s[i + 1]) : -1,
                low = high < 0 ? -1 : hex_digit(s[i + 2]);
            if (low < 0)
                return false;
            c = high * 16 + low;
            i += 2;
        }
        if (c == 0 || len + 1 >= out_bytes)
            return false;
        out[len++] = (char)c;
    }
    out[len] = '\0';
    return true;
}

static bool read_number(const char *s, size_t n, int from, int to, int *out)
{
    int value = 0;
    if (n == 0 || n > 7)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        value = value * 10 + (s[i] - '0');
    }
    *out = value;
    return value >= from && value <= to;
}

/* "user:password@", ":password@" or nothing; moves *at behind it. */
static int read_user(const char **at, const char *end, struct rates_url *out, struct error *e)
{
    const char *s = *at, *sign = NULL, *colon;
    for (const char *p = s; p < end; p++) {
        if (*p == '@')
            sign = p;
    }
    if (!sign)
        return 0;
    colon = memchr(s, ':', (size_t)(sign - s));
    if (!colon || colon + 1 == sign)
        return bad(e, "has a user without a password");
    if (!decode(s, (size_t)(colon - s), out->user, sizeof out->user) ||
        !decode(colon + 1, (size_t)(sign - colon - 1), out->password, sizeof out->password))
        return bad(e, "has a user or password that is too long or wrongly encoded");
    *at = sign + 1;
    return 0;
}

static int read_path(const char *s, struct rates_url *out, struct error *e)
{
    static const char db[] = "?db=";
    const size_t path_max = sizeof(((struct sockaddr_un *)NULL)->sun_path);
    size_t n = strcspn(s, "?");
    out->is_path = true;
    if (*s != '/' || n >= path_max || n >= sizeof out->host)
        return bad(e, "has no path of a socket, or one that is too long");
    memcpy(out->host, s, n);
    out->host[n] = '\0';
    s += n;
    if (*s && (strncmp(s, db, sizeof db - 1) != 0 ||
               !read_number(s + sizeof db - 1, strlen(s + sizeof db - 1), 0, DB_MAX, &out->db)))
        return bad(e, "has an unknown ending");
    return 0;
}

/* A host's name, an IPv4 address, or an IPv6 address in brackets; what is behind it. */
static const char *read_name(const char *s, struct rates_url *out)
{
    bool bracket = *s == '[';
    s += bracket;
    size_t n = strcspn(s, bracket ? "]" : ":/?#[]@");
    if (n == 0 || n >= sizeof out->host || (bracket && s[n] != ']'))
        return NULL;
    memcpy(out->host, s, n);
    out->host[n] = '\0';
    return s + n + bracket;
}

static int read_host(const char *s, struct rates_url *out, struct error *e)
{
    s = read_name(s, out);
    if (!s)
        return bad(e, "has no host");
    out->port = PORT;
    if (*s == ':') {
        size_t n = strcspn(++s, "/");
        if (!read_number(s, n, 1, PORT_MAX, &out->port))
            return bad(e, "has a wrong port");
        s += n;
    }
    if (*s == '/')
        s++;
    else if (*s)
        return bad(e, "has an unknown ending");
    if (*s && !read_number(s, strlen(s), 0, DB_MAX, &out->db))
        return bad(e, "has a database that is no number");
    return 0;
}

int rates_url_parse(const char *text, struct rates_url *out, struct error *e)
{
    static const char tcp[] = "redis://", tls[] = "rediss://", path[] = "unix://";
    bool is_path = strncmp(text, path, sizeof path - 1) == 0;
    memset(out, 0, sizeof *out);
    if (strncmp(text, tls, sizeof tls - 1) == 0)
        return error_set(e, ERR_UNSUPPORTED,
                         "Redis over TLS (rediss://) is not built here, for Debian 12's hiredis "
                         "has none; put stunnel or another proxy before Redis and use redis:// "
                         "or unix:// to it");
    if (!is_path && strncmp(text, tcp, sizeof tcp - 1) != 0)
        return bad(e, "has an unknown scheme");
    const char *s = text + (is_path ? sizeof path : sizeof tcp) - 1;
    /* A password may hold what is not encoded, but no slash. */
    int rc = read_user(&s, s + strcspn(s, "/"), out, e);
    if (rc != 0)
        return rc;
    return is_path ? read_path(s, out, e) : read_host(s, out, e);
}
