/* Proxies: whoever is not trusted is the client, and what is left of a stranger's address changes
 * nothing. The input has four lines: trusted networks, peer, addresses, protocols. */
#include "http/forwarded.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds)
        abort();
}

static char *cut_line(char **at)
{
    char *line = *at, *end = strchr(line, '\n');
    *at = end != NULL ? end + 1 : line + strlen(line);
    if (end != NULL)
        *end = '\0';
    return line;
}

static void check(const struct net_list *trusted, const char *peer, const char *hops,
                  const char *protos)
{
    struct forwarded plain, tls, more;
    struct net_address a;
    forwarded_read(trusted, peer, false, hops, protos, &plain);
    forwarded_read(trusted, peer, true, hops, protos, &tls);
    must(strcmp(plain.address, tls.address) == 0 && strlen(plain.address) < NET_TEXT_BYTES);
    if (!net_address_parse(peer, &a))
        return;
    must(net_address_parse(plain.address, &a));
    forwarded_read(trusted, peer, false, NULL, NULL, &more);
    must(net_list_has(trusted, peer) || strcmp(plain.address, more.address) == 0);
    must(net_list_has(trusted, peer) || (!plain.https && tls.https));
    if (net_list_has(trusted, plain.address) || hops[0] == '\0')
        return;
    char *longer = malloc(strlen(hops) + 11);
    memcpy(longer, "192.0.2.1,", 10);
    memcpy(longer + 10, hops, strlen(hops) + 1);
    forwarded_read(trusted, peer, false, longer, protos, &more);
    must(strcmp(plain.address, more.address) == 0);
    free(longer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct net_list trusted;
    char *text = malloc(size + 1), *at = text;
    memcpy(text, data, size);
    text[size] = '\0';
    char *networks = cut_line(&at), *peer = cut_line(&at), *hops = cut_line(&at);
    net_list_parse(networks, &trusted, NULL);
    check(&trusted, peer, hops, cut_line(&at));
    free(text);
    return 0;
}
