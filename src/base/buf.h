/*
 * A growable byte buffer with a ceiling.
 *
 * Adding past the ceiling sets `failed`, drops the contents and makes every later add a no-op,
 * so a writer checks once at the end. `data` is NUL-terminated whenever it is not NULL.
 * One owner at a time.
 */
#ifndef MOONGATE_BASE_BUF_H
#define MOONGATE_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct buf {
    char *data;       /* NULL until the first byte */
    size_t len, cap;  /* bytes */
    size_t max_bytes; /* ceiling of len */
    bool failed;
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_reserve(struct buf *b, size_t n); /* n more bytes are likely to come */
void buf_done(struct buf *b);              /* frees; the buffer may be used again */
void buf_reset(struct buf *b);             /* empties and clears `failed`, keeps the memory */
void buf_add_growing(struct buf *b, const void *bytes, size_t n);
void buf_addi(struct buf *b, int64_t n); /* in decimal; what buf_addf does, without its cost */
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_addv(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
void buf_drop(struct buf *b, size_t n); /* removes n bytes from the front */
char *buf_take(struct buf *b,
               size_t *len); /* hands over the memory (mem_alloc'ed), NULL if empty */

/* Replies are put together from many small pieces: where there is room, nobody is called. */
static inline void buf_add(struct buf *b, const void *bytes, size_t n)
{
    if (b->data == NULL || n > b->cap - b->len) {
        buf_add_growing(b, bytes, n);
        return;
    }
    if (n != 0)
        memcpy(b->data + b->len, bytes, n);
    b->len += n;
    b->data[b->len] = '\0';
}

static inline void buf_adds(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

static inline void buf_addc(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

#endif
