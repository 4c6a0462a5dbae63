/*
 * Forms of texts, each as a walk over its characters.
 */
#include "config_form.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LETTERS    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS     "0123456789"
#define HEX        "0123456789abcdefABCDEF"
#define UNRESERVED LETTERS DIGITS "-._~" /* as RFC 3986 names them */
#define SUB_DELIMS "!$&'()*+,;="
#define TOKEN      LETTERS DIGITS "!#$%&'*+-.^_`|~" /* RFC 9110, 5.6.2 */

enum { HOST_BYTES = 255, URL_BYTES = 2048, NAME_BYTES = 128, VALUE_BYTES = 4096 };

bool form_text(const char *s, size_t max)
{
    size_t len = strlen(s);
    if (len > max)
        return false;
    for (int n; len > 0; s += n, len -= (size_t)n) {
        n = utf8_char(s, len);
        if (n < 1 || (n == 1 && ((unsigned char)*s < 0x20 || *s == 0x7f)))
            return false;
        if (n == 2 && memcmp(s, "\xc2\xa0", 2) < 0)
            return false;
        if (n == 3 && memcmp(s, "\xef\xbf\xbe", 3) >= 0)
            return false;
    }
    return true;
}

bool form_name(const char *s, size_t max)
{
    return *s && !strpbrk(s, " ,") && form_text(s, max);
}

bool form_address(const char *s)
{
    const char *colon = strrchr(s, ':');
    if (!colon || colon - s > HOST_BYTES)
        return false;
    size_t digits = strspn(colon + 1, DIGITS);
    if (digits == 0 || digits > 5 || colon[1 + digits] || strtol(colon + 1, NULL, 10) > 65535)
        return false;
    if (*s == '[')
        return colon - s > 2 && colon[-1] == ']' &&
               s + 1 + strspn(s + 1, LETTERS DIGITS ":.%-") == colon - 1;
    return s + strspn(s, LETTERS DIGITS "._-") == colon;
}

/* Behind "scheme://", or NULL. */
static const char *skip_scheme(const char *s, const char *const *schemes)
{
    for (; *schemes; schemes++) {
        size_t len = strlen(*schemes);
        if (strncmp(s, *schemes, len) == 0 && strncmp(s + len, "://", 3) == 0)
            return s + len + 3;
    }
    return NULL;
}

/* Behind HOST[:PORT], or NULL. */
static const char *skip_host(const char *s)
{
    const char *begin = s;
    if (*s == '[') {
        size_t len = strspn(s + 1, HEX ":.");
        if (len < 2 || s[1 + len] != ']')
            return NULL;
        s += len + 2;
    } else {
        s += strspn(s, LETTERS DIGITS "._-");
    }
    if (s == begin || s - begin > HOST_BYTES)
        return NULL;
    if (*s == ':') {
        size_t digits = strspn(s + 1, DIGITS);
        long port = digits > 0 && digits <= 5 ? strtol(s + 1, NULL, 10) : 0;
        if (port < 1 || port > 65535)
            return NULL;
        s += 1 + digits;
    }
    return s;
}

/* Characters of a path; a percent sign leads two digits. */
static bool is_path(const char *s)
{
    if (*s != '/' || strstr(s, "//"))
        return false;
    for (; *s; s++) {
        if (*s == '%' ? strspn(s + 1, HEX) < 2 : !strchr("/:@" UNRESERVED SUB_DELIMS, *s))
            return false;
    }
    return true;
}

static const char *const web_schemes[] = {"http", "https", NULL};
static const char *const proxy_schemes[] = {"http",   "https",   "socks4", "socks4a",
                                            "socks5", "socks5h", NULL};

bool form_url(const char *s)
{
    if (strlen(s) > URL_BYTES || !(s = skip_scheme(s, web_schemes)) || !(s = skip_host(s)))
        return false;
    return *s == '\0' || is_path(s);
}

bool form_prefix(const char *s)
{
    return *s == '\0' || (strlen(s) <= URL_BYTES && is_path(s));
}

size_t form_proxy_user(const char *proxy, size_t *begin)
{
    const char *s = skip_scheme(proxy, proxy_schemes);
    const char *at = s ? strchr(s, '@') : NULL;
    *begin = s ? (size_t)(s - proxy) : 0;
    return at ? (size_t)(at + 1 - s) : 0;
}

bool form_proxy(const char *s)
{
    size_t begin, user = form_proxy_user(s, &begin);
    if (begin == 0 || strlen(s) > URL_BYTES)
        return false;
    if (user > 0 && strspn(s + begin, UNRESERVED SUB_DELIMS ":%") != user - 1)
        return false;
    s = skip_host(s + begin + user);
    return s && (*s == '\0' || strcmp(s, "/") == 0);
}

bool form_variable(const char *s)
{
    return *s && !strchr(DIGITS, *s) && strlen(s) <= NAME_BYTES &&
           s[strspn(s, LETTERS DIGITS "_")] == '\0';
}

bool form_header_name(const char *s)
{
    return *s && strlen(s) <= NAME_BYTES && s[strspn(s, TOKEN)] == '\0';
}

static bool is_visible(const char *s, char least)
{
    for (; *s; s++) {
        if (*s < least || *s > 0x7e)
            return false;
    }
    return true;
}

bool form_header_value(const char *s)
{
    size_t len = strlen(s);
    return len > 0 && len <= VALUE_BYTES && *s != ' ' && s[len - 1] != ' ' && is_visible(s, ' ');
}

bool form_key(const char *s)
{
    return *s && strlen(s) <= VALUE_BYTES && is_visible(s, '!');
}

size_t form_url_origin(const char *url)
{
    const char *host = strstr(url, "://") + 3;
    return (size_t)(host - url) + strcspn(host, "/");
}

bool form_url_is_local(const char *url)
{
    static const char name[] = "localhost", domain[] = ".localhost";
    const char *host = strstr(url, "://") + 3;
    size_t len = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/");
    if (len == sizeof name - 1 && strncasecmp(host, name, len) == 0)
        return true;
    if (len > sizeof domain - 1 &&
        strncasecmp(host + len - (sizeof domain - 1), domain, sizeof domain - 1) == 0)
        return true;
    if (len == 5 && strncmp(host, "[::1]", len) == 0)
        return true;
    return strncmp(host, "127.", 4) == 0 && strspn(host, DIGITS ".") == len;
}
