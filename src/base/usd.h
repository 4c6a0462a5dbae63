/*
 * Amounts in USD as text, to micro-USD. Digit by digit: what the text says is what is kept. Pure;
 * any thread.
 */
#ifndef MOONGATE_BASE_USD_H
#define MOONGATE_BASE_USD_H

#include <stdbool.h>
#include <stdint.h>

/* "1.50" is 1500000: one to nine digits, and behind a point one to six. No sign, no blank. */
bool usd_read(const char *text, int64_t *micros);

#endif
