/*
 * A growable byte buffer with a ceiling.
 *
 * Capacity doubles, and one byte more than `cap` is always held for the NUL. Passing the
 * ceiling frees the memory at once, so that a writer that goes on holds nothing.
 */
#include "base/buf.h"

#include "base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUF_FIRST_BYTES = 64 };

void buf_init(struct buf *b, size_t max_bytes)
{
    *b = (struct buf){.max_bytes = max_bytes < SIZE_MAX / 2 ? max_bytes : SIZE_MAX / 2};
}

void buf_done(struct buf *b)
{
    free(b->data);
    buf_init(b, b->max_bytes);
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->data != NULL)
        b->data[0] = '\0';
}

static void buf_fail(struct buf *b)
{
    buf_done(b);
    b->failed = true;
}

/* Makes room for n bytes and the NUL behind them. */
static bool buf_room(struct buf *b, size_t n)
{
    if (b->failed)
        return false;
    if (n > b->max_bytes - b->len) {
        buf_fail(b);
        return false;
    }
    size_t need = b->len + n;
    if (b->data != NULL && need <= b->cap)
        return true;
    size_t cap = b->cap != 0 ? b->cap : BUF_FIRST_BYTES;
    while (cap < need)
        cap *= 2;
    if (cap > b->max_bytes)
        cap = b->max_bytes;
    b->data = mem_realloc(b->data, cap + 1);
    b->cap = cap;
    b->data[b->len] = '\0';
    return true;
}

void buf_reserve(struct buf *b, size_t n)
{
    size_t left = b->max_bytes - b->len;
    buf_room(b, n < left ? n : left);
}

void buf_add_growing(struct buf *b, const void *bytes, size_t n)
{
    if (!buf_room(b, n))
        return;
    if (n != 0)
        memcpy(b->data + b->len, bytes, n);
    b->len += n;
    b->data[b->len] = '\0';
}

void buf_addi(struct buf *b, int64_t n)
{
    char digits[20];
    size_t at = sizeof(digits);
    uint64_t left = n < 0 ? -(uint64_t)n : (uint64_t)n;
    do {
        digits[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left != 0);
    if (n < 0)
        digits[--at] = '-';
    buf_add(b, digits + at, sizeof(digits) - at);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_addv(b, fmt, ap);
    va_end(ap);
}

void buf_addv(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    size_t left = b->data != NULL ? b->cap - b->len : 0;
    int n = vsnprintf(left > 0 ? b->data + b->len : NULL, left > 0 ? left + 1 : 0, fmt, ap);
    if (n < 0)
        buf_fail(b);
    else if (left > 0 && (size_t)n <= left)
        b->len += (size_t)n;
    else if (buf_room(b, (size_t)n)) {
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void buf_drop(struct buf *b, size_t n)
{
    if (b->data == NULL)
        return;
    if (n > b->len)
        n = b->len;
    memmove(b->data, b->data + n, b->len - n + 1);
    b->len -= n;
}

char *buf_take(struct buf *b, size_t *len)
{
    char *data = b->data;
    size_t n = b->len;
    if (n == 0) {
        free(data);
        data = NULL;
    }
    if (len != NULL)
        *len = n;
    buf_init(b, b->max_bytes);
    return data;
}
