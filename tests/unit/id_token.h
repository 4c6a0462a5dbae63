/*
 * ID tokens for tests: three parts, the first two encoded.
 */
#ifndef MOONGATE_TESTS_ID_TOKEN_H
#define MOONGATE_TESTS_ID_TOKEN_H

#include "base/mem.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

/* `sign` stands as it is. The caller frees the token. */
static inline char *id_token(const char *head, const char *claims, const char *sign)
{
    size_t bytes = (strlen(head) + strlen(claims)) * 2 + strlen(sign) + 16, at;
    char *out = mem_alloc(bytes);
    sodium_bin2base64(out, bytes, (const unsigned char *)head, strlen(head),
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    at = strlen(out);
    out[at++] = '.';
    sodium_bin2base64(out + at, bytes - at, (const unsigned char *)claims, strlen(claims),
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    at += strlen(out + at);
    snprintf(out + at, bytes - at, ".%s", sign);
    return out;
}

#endif
