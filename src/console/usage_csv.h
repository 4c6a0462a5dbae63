/*
 * Calls as CSV (RFC 4180). Pure.
 *
 * A text that a spreadsheet would take for a formula (it begins with = + - @ or a control
 * character) has an apostrophe before it: names of keys and models come from users, and are
 * opened by administrators.
 */
#ifndef MOONGATE_CONSOLE_USAGE_CSV_H
#define MOONGATE_CONSOLE_USAGE_CSV_H

#include "base/buf.h"
#include "store/usage.h"

void usage_csv_head(struct buf *b);
void usage_csv_row(struct buf *b, const struct usage_row *r);
void usage_csv_text(struct buf *b, const char *text); /* one field */

#endif
