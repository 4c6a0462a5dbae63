/*
 * Both lists are walked from the right, where the proxy next to us wrote: each step to the left is
 * taken on the word of a trusted proxy, and the walk ends where that trust ends. What stands
 * further left anybody may have written, and is not looked at.
 */
#include "http/forwarded.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A list and how much of it is not walked over yet. */
struct walk {
    const char *list;
    size_t len;
    bool over;
};

static struct walk walk_of(const char *list)
{
    return (struct walk){list, list != NULL ? strlen(list) : 0, list == NULL};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The next part to the left, without blanks around it; one too long for `out` becomes "". */
static bool step_left(struct walk *w, char *out, size_t out_bytes)
{
    if (w->over)
        return false;
    size_t end = w->len, start = end;
    while (start > 0 && w->list[start - 1] != ',')
        start--;
    w->over = start == 0;
    w->len = start > 0 ? start - 1 : 0;
    while (start < end && is_blank(w->list[start]))
        start++;
    while (end > start && is_blank(w->list[end - 1]))
        end--;
    size_t n = end - start < out_bytes ? end - start : 0;
    memcpy(out, w->list + start, n);
    out[n] = '\0';
    return true;
}

static bool is_port(const char *s)
{
    size_t n = strspn(s, "0123456789");
    return n >= 1 && n <= 5 && s[n] == '\0';
}

/* "192.0.2.7", "192.0.2.7:1234", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:1234". */
static bool parse_hop(char *hop, struct net_address *out)
{
    if (hop[0] == '[') {
        char *end = strchr(hop, ']');
        if (end == NULL || (end[1] != '\0' && !(end[1] == ':' && is_port(end + 2))))
            return false;
        *end = '\0';
        return strchr(hop, ':') != NULL && net_address_parse(hop + 1, out);
    }
    char *colon = strchr(hop, ':');
    if (colon != NULL && is_port(colon + 1)) /* IPv6 has more than one */
        *colon = '\0';
    return net_address_parse(hop, out);
}

void forwarded_read(const struct net_list *trusted, const char *peer, bool tls, const char *hops,
                    const char *protos, struct forwarded *out)
{
    struct walk hop_walk = walk_of(hops), proto_walk = walk_of(protos);
    struct net_address client, next;
    char hop[64], proto[16] = "";
    *out = (struct forwarded){.https = tls};
    if (!net_address_parse(peer, &client)) {
        snprintf(out->address, sizeof(out->address), "%s", peer);
        return;
    }
    bool proxied = net_list_holds(trusted, &client);
    if (proxied && step_left(&proto_walk, proto, sizeof(proto)))
        out->https = strcasecmp(proto, "https") == 0;
    while (proxied && step_left(&hop_walk, hop, sizeof(hop)) && parse_hop(hop, &next)) {
        client = next;
        proxied = net_list_holds(trusted, &client);
        /* A list of protocols as long as that of addresses has one for each. */
        if (proxied && !hop_walk.over && step_left(&proto_walk, proto, sizeof(proto)))
            out->https = strcasecmp(proto, "https") == 0;
    }
    net_address_text(&client, out->address);
}
