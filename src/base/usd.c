/*
 * See usd.h.
 */
#include "base/usd.h"

#include <string.h>

enum { WHOLE_DIGITS = 9, DECIMALS = 6 };

bool usd_read(const char *text, int64_t *micros)
{
    size_t whole = strspn(text, "0123456789"), part = 0;
    bool point = text[whole] == '.';
    int64_t n = 0;
    if (point)
        part = strspn(text + whole + 1, "0123456789");
    if (whole == 0 || whole > WHOLE_DIGITS || part > DECIMALS || (point && part == 0) ||
        text[whole + point + part] != '\0')
        return false;
    for (size_t i = 0; i < whole; i++)
        n = n * 10 + (text[i] - '0');
    for (size_t i = 0; i < DECIMALS; i++)
        n = n * 10 + (i < part ? text[whole + 1 + i] - '0' : 0);
    *micros = n;
    return true;
}
