/*
 * Addresses of the network as values, and lists of networks ("10.0.0.0/8, 2001:db8::/32"). IPv4 and
 * IPv6 mixed; an IPv4 address written as IPv6 (::ffff:10.0.0.1) is that IPv4 address. Pure; any
 * thread.
 */
#ifndef MOONGATE_BASE_NET_H
#define MOONGATE_BASE_NET_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

enum { NET_LIST_MAX = 64, NET_TEXT_BYTES = 46 };

struct net_address {
    unsigned char bytes[16]; /* IPv4 as ::ffff:a.b.c.d */
};

struct net_range {
    struct net_address first;
    unsigned char bits; /* of 128 that an address has in common with `first` */
};

/* A plain value: to be copied, and not to be freed. Zeroed it is empty. */
struct net_list {
    size_t n;
    struct net_range ranges[NET_LIST_MAX];
};

/* Numeric text alone: no name, port, bracket, zone or blank. */
bool net_address_parse(const char *text, struct net_address *out);
/* "10.0.0.1", "2001:db8::1": one text for one address. */
void net_address_text(const struct net_address *a, char out[NET_TEXT_BYTES]);

/* Networks or single addresses with commas between them, blanks around each are forgiven; "" is an
 * empty list. Refuses, naming the part: what is no address, a mask out of range, bits behind the
 * mask, and more than NET_LIST_MAX. After a failure *out is empty. */
int net_list_parse(const char *text, struct net_list *out, struct error *e);
/* An IPv6 network, also ::/0, holds no IPv4 address. */
bool net_list_holds(const struct net_list *list, const struct net_address *a);
bool net_list_has(const struct net_list *list, const char *address); /* false if it is none */

#endif
