/*
 * See moment.h. Read digit by digit: strptime takes blanks and signs where RFC 3339 has none.
 */
#include "console/moment.h"

#include <string.h>
#include <time.h>

enum { MS = 1000, MINUTE_MS = 60000, MS_DIGITS = 3, FRACTION_DIGITS = 9 };

/* A number of exactly so many digits between the bounds; moves on behind it. */
static bool take_number(const char **s, int digits, int least, int most, int *out)
{
    int n = 0;
    for (int i = 0; i < digits; i++, (*s)++) {
        if (**s < '0' || **s > '9')
            return false;
        n = n * 10 + (**s - '0');
    }
    *out = n;
    return n >= least && n <= most;
}

static bool take(const char **s, const char *one_of)
{
    if (!**s || !strchr(one_of, **s))
        return false;
    (*s)++;
    return true;
}

static bool take_date(const char **s, struct tm *tm)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day;
    if (!take_number(s, 4, 1970, 9999, &year) || !take(s, "-") ||
        !take_number(s, 2, 1, 12, &month) || !take(s, "-") || !take_number(s, 2, 1, 31, &day))
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    *tm = (struct tm){.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};
    return day <= days[month - 1] + (leap && month == 2);
}

static bool take_time(const char **s, struct tm *tm, int *ms)
{
    *ms = 0;
    if (!take_number(s, 2, 0, 23, &tm->tm_hour) || !take(s, ":") ||
        !take_number(s, 2, 0, 59, &tm->tm_min) || !take(s, ":") ||
        !take_number(s, 2, 0, 60, &tm->tm_sec))
        return false;
    if (!take(s, "."))
        return true;
    size_t n = strspn(*s, "0123456789");
    for (size_t i = 0; i < MS_DIGITS; i++)
        *ms = *ms * 10 + (i < n ? (*s)[i] - '0' : 0);
    *s += n;
    return n > 0 && n <= FRACTION_DIGITS;
}

/* "Z" or "+08:00" */
static bool take_zone(const char **s, int *minutes)
{
    int hour, minute;
    bool west = **s == '-';
    *minutes = 0;
    if (take(s, "Zz"))
        return true;
    if (!take(s, "+-") || !take_number(s, 2, 0, 23, &hour) || !take(s, ":") ||
        !take_number(s, 2, 0, 59, &minute))
        return false;
    *minutes = (hour * 60 + minute) * (west ? -1 : 1);
    return true;
}

bool moment_read(const char *text, int64_t *unix_ms)
{
    struct tm tm;
    int ms = 0, minutes = 0;
    if (!take_date(&text, &tm))
        return false;
    if (*text && (!take(&text, "Tt ") || !take_time(&text, &tm, &ms) ||
                  !take_zone(&text, &minutes) || *text))
        return false;
    *unix_ms = (int64_t)timegm(&tm) * MS + ms - (int64_t)minutes * MINUTE_MS;
    return *unix_ms >= 0;
}
