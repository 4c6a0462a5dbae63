/*
 * Time and randomness, which a test may replace. Any thread (replace before threads start).
 */
#ifndef MOONGATE_BASE_CLOCK_H
#define MOONGATE_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

int64_t clock_mono_ms(void); /* never goes back */
int64_t clock_mono_us(void);
void clock_set_mono_us(int64_t (*fn)(void)); /* NULL restores the system's */
int64_t clock_unix_ms(void);                 /* wall clock */
void clock_set_unix_ms(int64_t (*fn)(void)); /* NULL restores the system's */

void random_bytes(void *out, size_t n);           /* from libsodium, fit for keys */
void random_set(void (*fn)(void *out, size_t n)); /* NULL restores libsodium's */
/* "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx" and a NUL: RFC 9562 version 4. */
void random_uuid(char out[37]);
void random_hex(char *out, size_t digits); /* digits and a NUL */

#endif
