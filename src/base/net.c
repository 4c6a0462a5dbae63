/*
 * Every address is sixteen bytes, so that IPv4 and IPv6 are compared by the same lines; a mask of
 * an IPv4 network counts from bit 96 on.
 */
#include "base/net.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum { V4_BITS = 96, PART_BYTES = 64 };

static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

static bool is_v4(const struct net_address *a)
{
    return memcmp(a->bytes, mapped, sizeof(mapped)) == 0;
}

bool net_address_parse(const char *text, struct net_address *out)
{
    if (inet_pton(AF_INET, text, out->bytes + sizeof(mapped)) == 1) {
        memcpy(out->bytes, mapped, sizeof(mapped));
        return true;
    }
    return inet_pton(AF_INET6, text, out->bytes) == 1;
}

void net_address_text(const struct net_address *a, char out[NET_TEXT_BYTES])
{
    if (is_v4(a))
        inet_ntop(AF_INET, a->bytes + sizeof(mapped), out, NET_TEXT_BYTES);
    else
        inet_ntop(AF_INET6, a->bytes, out, NET_TEXT_BYTES);
}

/* The first `bits` bits alone. */
static struct net_address masked(const struct net_address *a, unsigned bits)
{
    struct net_address m = {0};
    memcpy(m.bytes, a->bytes, bits / 8);
    if (bits % 8 != 0)
        m.bytes[bits / 8] = a->bytes[bits / 8] & (unsigned char)(0xff << (8 - bits % 8));
    return m;
}

/* One to three digits, without a leading zero. */
static bool parse_bits(const char *text, unsigned most, unsigned *bits)
{
    size_t len = strspn(text, "0123456789");
    *bits = 0;
    for (size_t i = 0; i < len && i < 3; i++)
        *bits = *bits * 10 + (unsigned)(text[i] - '0');
    return len >= 1 && len <= 3 && text[len] == '\0' && *bits <= most &&
           (len == 1 || text[0] != '0');
}

static int refuse_part(struct error *e, const char *part, const char *why)
{
    return error_set(e, ERR_INVALID,
                     "\"%s\" %s: write an address or a network, such as 192.0.2.7, 10.0.0.0/8 or "
                     "2001:db8::/32",
                     part, why);
}

/* `part` holds no blanks; it is written to. */
static int parse_part(char *part, struct net_range *out, struct error *e)
{
    char *slash = strchr(part, '/'), text[NET_TEXT_BYTES];
    unsigned bits;
    if (slash != NULL)
        *slash = '\0';
    bool good = net_address_parse(part, &out->first);
    bool v4 = good && strchr(part, ':') == NULL;
    if (slash != NULL)
        *slash = '/';
    if (!good)
        return refuse_part(e, part, "is no network");
    bits = v4 ? 32 : 128;
    if (slash != NULL && !parse_bits(slash + 1, bits, &bits))
        return refuse_part(e, part, v4 ? "has no mask from 0 to 32" : "has no mask from 0 to 128");
    out->bits = (unsigned char)(v4 ? V4_BITS + bits : bits);
    struct net_address m = masked(&out->first, out->bits);
    if (memcmp(&m, &out->first, sizeof(m)) == 0)
        return 0;
    net_address_text(&m, text);
    return error_set(e, ERR_INVALID,
                     "\"%s\" has bits behind its mask: write %s/%u, or the address "
                     "without a mask",
                     part, text, v4 || !is_v4(&m) ? bits : bits - V4_BITS);
}

static const char *skip_blanks(const char *s)
{
    return s + strspn(s, " \t");
}

/* Copies what stands before the next comma, without blanks around it. */
static bool cut_part(const char **at, char part[PART_BYTES])
{
    const char *s = skip_blanks(*at);
    size_t len = strcspn(s, ",");
    *at = s + len;
    while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t'))
        len--;
    bool fits = len < PART_BYTES;
    len = fits ? len : PART_BYTES - 1;
    memcpy(part, s, len);
    part[len] = '\0';
    return fits;
}

static int parse_list(const char *text, struct net_list *out, struct error *e)
{
    char part[PART_BYTES];
    if (*skip_blanks(text) == '\0')
        return 0;
    for (;; text++) {
        if (!cut_part(&text, part))
            return refuse_part(e, part, "is no network");
        if (out->n == NET_LIST_MAX)
            return error_set(e, ERR_LIMIT, "there are more than %d networks", NET_LIST_MAX);
        int rc = parse_part(part, &out->ranges[out->n], e);
        if (rc != 0)
            return rc;
        out->n++;
        if (*text == '\0')
            return 0;
    }
}

int net_list_parse(const char *text, struct net_list *out, struct error *e)
{
    *out = (struct net_list){0};
    int rc = parse_list(text, out, e);
    if (rc != 0)
        *out = (struct net_list){0};
    return rc;
}

bool net_list_holds(const struct net_list *list, const struct net_address *a)
{
    for (size_t i = 0; i < list->n; i++) {
        const struct net_range *r = &list->ranges[i];
        struct net_address m = masked(a, r->bits);
        if (memcmp(&m, &r->first, sizeof(m)) == 0 && (r->bits >= V4_BITS || !is_v4(a)))
            return true;
    }
    return false;
}

bool net_list_has(const struct net_list *list, const char *address)
{
    struct net_address a;
    return net_address_parse(address, &a) && net_list_holds(list, &a);
}
