/*
 * UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing past U+10FFFF. Pure.
 */
#ifndef MOONGATE_BASE_UTF8_H
#define MOONGATE_BASE_UTF8_H

#include <stddef.h>

/* The length of the character at s (n > 0 bytes are there), or minus the length of the
 * ill-formed part, which is what one U+FFFD stands for. */
int utf8_char(const char *s, size_t n);
/* How many bytes at the beginning are printable ASCII. */
size_t utf8_printable(const char *s, size_t n);

#endif
