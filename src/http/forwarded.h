/*
 * Whom a request is really from, behind proxies. A proxy writes who asked it into X-Forwarded-For
 * and X-Forwarded-Proto, but so may any client: only what proxies that we trust have added is
 * believed. Pure; any thread.
 */
#ifndef MOONGATE_HTTP_FORWARDED_H
#define MOONGATE_HTTP_FORWARDED_H

#include "base/net.h"

#include <stdbool.h>

struct forwarded {
    char address[NET_TEXT_BYTES]; /* of the client, as net_address_text writes it */
    bool https;                   /* the client spoke TLS, with us or with the outermost proxy */
};

/* `peer` and `tls` are the connection's. `hops` and `protos` are the values of the two fields, of
 * several fields of a name the values in their order with commas between them; NULL if absent.
 *
 * The client is the rightmost address that is not a trusted proxy; the leftmost one if all are. A
 * proxy that writes no address ("unknown") is the client itself. https is what the proxy wrote that
 * named the client. */
void forwarded_read(const struct net_list *trusted, const char *peer, bool tls, const char *hops,
                    const char *protos, struct forwarded *out);

#endif
