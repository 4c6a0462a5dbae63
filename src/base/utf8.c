/*
 * UTF-8 checks by the table of well-formed byte sequences: the lead byte fixes the length and
 * the range of the second byte; the others are plain continuations.
 */
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

int utf8_char(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    unsigned char lead = p[0], low = 0x80, high = 0xbf;
    int length;
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return -1;
    length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    for (int i = 1; i < length; i++) {
        if ((size_t)i >= n || p[i] < low || p[i] > high)
            return -i;
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

/* Eight bytes at once: in a word without printable ASCII alone, some byte is past 0x7f, or becomes
 * so when 1 is added (0x7f) or 0x20 taken away (what lies below it). */
size_t utf8_printable(const char *s, size_t n)
{
    const uint64_t ones = 0x0101010101010101;
    size_t at = 0;
    for (uint64_t word; at + sizeof(word) <= n; at += sizeof(word)) {
        memcpy(&word, s + at, sizeof(word));
        if (((word | (word + ones) | (word - 0x20 * ones)) & 0x80 * ones) != 0)
            break;
    }
    while (at < n && s[at] >= 0x20 && s[at] < 0x7f)
        at++;
    return at;
}
