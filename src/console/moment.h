/*
 * Times as people and clients write them. Pure; any thread.
 */
#ifndef MOONGATE_CONSOLE_MOMENT_H
#define MOONGATE_CONSOLE_MOMENT_H

#include <stdbool.h>
#include <stdint.h>

/* RFC 3339 ("2026-02-13T14:24:24.5Z", "2026-02-13 22:24:24+08:00"), or a date, which is its first
 * moment in UTC; years 1970 to 9999. False, and *unix_ms as it was: it is none. */
bool moment_read(const char *text, int64_t *unix_ms);

#endif
