/*
 * Time and randomness. The replaceable functions are plain variables: a test sets them before it
 * starts threads.
 */
#include "base/clock.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { POOL_BYTES = 1024 };

static int64_t (*unix_ms_fn)(void), (*mono_us_fn)(void);
static void (*random_fn)(void *out, size_t n);
static pthread_once_t sodium_once = PTHREAD_ONCE_INIT;

int64_t clock_mono_us(void)
{
    if (mono_us_fn != NULL)
        return mono_us_fn();
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void clock_set_mono_us(int64_t (*fn)(void))
{
    mono_us_fn = fn;
}

int64_t clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

int64_t clock_unix_ms(void)
{
    if (unix_ms_fn != NULL)
        return unix_ms_fn();
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void clock_set_unix_ms(int64_t (*fn)(void))
{
    unix_ms_fn = fn;
}

/* Keys made without randomness would be guessable: there is no going on. */
static void sodium_start(void)
{
    if (sodium_init() < 0)
        abort();
}

void random_bytes(void *out, size_t n)
{
    if (random_fn != NULL) {
        random_fn(out, n);
        return;
    }
    pthread_once(&sodium_once, sodium_start);
    randombytes_buf(out, n);
}

void random_set(void (*fn)(void *out, size_t n))
{
    random_fn = fn;
}

/* Bytes for identifiers: taken from the system many at a time, for a system call each would cost
 * more than all else about them. Keys do not come from here. */
static void random_pooled(unsigned char *out, size_t n)
{
    static _Thread_local unsigned char pool[POOL_BYTES];
    static _Thread_local size_t left;
    if (random_fn != NULL) {
        random_fn(out, n);
        return;
    }
    if (left < n) {
        random_bytes(pool, sizeof(pool));
        left = sizeof(pool);
    }
    left -= n;
    memcpy(out, pool + left, n);
}

static const char hex_digits[] = "0123456789abcdef";

void random_uuid(char out[37])
{
    unsigned char raw[16];
    random_pooled(raw, sizeof(raw));
    raw[6] = (unsigned char)((raw[6] & 0x0f) | 0x40);
    raw[8] = (unsigned char)((raw[8] & 0x3f) | 0x80);
    size_t at = 0;
    for (size_t i = 0; i < sizeof(raw); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[at++] = '-';
        out[at++] = hex_digits[raw[i] >> 4];
        out[at++] = hex_digits[raw[i] & 0x0f];
    }
    out[at] = '\0';
}

void random_hex(char *out, size_t digits)
{
    unsigned char raw[8];
    for (size_t i = 0; i < digits; i++) {
        size_t at = i % (2 * sizeof(raw));
        if (at == 0)
            random_pooled(raw, sizeof(raw));
        unsigned char byte = raw[at / 2];
        out[i] = hex_digits[at % 2 == 0 ? byte >> 4 : byte & 0x0f];
    }
    out[digits] = '\0';
}
