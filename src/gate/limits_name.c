/*
 * Names of what is limited: an address becomes its network, a model's name a number, and a scope
 * or a kind a word. Pure; any thread.
 *
 * A network of IPv4 gets a number that no address of IPv6 can have as a source: its upper half
 * would be multicast.
 */
#include "gate/limits.h"

#include <arpa/inet.h>
#include <sodium.h>
#include <string.h>

#define NETWORK_4 UINT64_C(0xff00000000000000)

static uint64_t network_4(const unsigned char *a)
{
    return NETWORK_4 | (uint64_t)a[0] << 16 | (uint64_t)a[1] << 8 | a[2];
}

static uint64_t network_6(const unsigned char *a)
{
    static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    uint64_t id = 0;
    if (memcmp(a, mapped, sizeof mapped) == 0)
        return network_4(a + sizeof mapped);
    for (int i = 0; i < 8; i++)
        id = id << 8 | a[i];
    return id;
}

uint64_t limits_network(const char *peer)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char a[16];
    size_t len = strcspn(peer, "%"); /* a link-local address names its interface behind it */
    if (len >= sizeof text)
        return UINT64_MAX;
    memcpy(text, peer, len);
    text[len] = '\0';
    if (inet_pton(AF_INET, text, a) == 1)
        return network_4(a);
    return inet_pton(AF_INET6, text, a) == 1 ? network_6(a) : UINT64_MAX;
}

uint64_t limits_model(const char *name)
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    uint64_t id = 0;
    crypto_hash_sha256(hash, (const unsigned char *)name, strlen(name));
    for (int i = 0; i < 8; i++)
        id = id << 8 | hash[i];
    return id;
}

const char *limits_scope_name(enum limits_scope scope)
{
    static const char *const names[LIMITS_SCOPES] = {"key", "account", "model", "network"};
    return names[scope];
}

const char *limits_kind_name(enum limits_kind kind)
{
    static const char *const names[LIMITS_KINDS] = {"requests", "tokens", "concurrent"};
    return names[kind];
}
