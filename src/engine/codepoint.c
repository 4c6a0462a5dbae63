/* See codepoint.h. */
#include "engine/codepoint.h"

#include "base/utf8.h"

#include <stdbool.h>

int codepoint_read(const char *s, size_t n, uint32_t *value)
{
    unsigned char first = (unsigned char)s[0];

    if (first < 0x80) {
        *value = first;
        return 1;
    }
    int len = utf8_char(s, n);
    if (len < 0) {
        bool could_begin_one = first >= 0xC2 && first <= 0xF4;
        return could_begin_one && (size_t)-len == n ? 0 : len;
    }
    *value = first & (0x7Fu >> len);
    for (int i = 1; i < len; i++)
        *value = *value << 6 | ((unsigned char)s[i] & 0x3Fu);
    return len;
}
