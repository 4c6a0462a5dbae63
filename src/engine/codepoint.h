/*
 * What the engine needs beyond base/utf8.h: a character's number, and whether a character that
 * is not there yet could still be completed by more bytes. Pure; any thread.
 */
#ifndef MOONGATE_ENGINE_CODEPOINT_H
#define MOONGATE_ENGINE_CODEPOINT_H

#include <stddef.h>
#include <stdint.h>

/*
 * Reads the character at the start of n bytes (n > 0). Returns
 *   1..4   its length; *value is set
 *   0      the bytes are the beginning of a character, and end too early
 *   -1..-3 no character begins so: that many bytes belong to one U+FFFD
 */
int codepoint_read(const char *s, size_t n, uint32_t *value);

#endif
