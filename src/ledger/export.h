/*
 * Rows of the ledger as text for other programs: CSV (RFC 4180, lines end with CR LF) or a JSON
 * object a line. Pure.
 *
 * What a client chose may stand in a row (the name of a key, of a model). Programs for tables
 * take a cell that begins with = + - @, a tab or a CR for a formula: such a text gets an
 * apostrophe before it, and nothing else is changed. Numbers of rows are strings in JSON, being
 * larger than what a double holds.
 */
#ifndef MOONGATE_LEDGER_EXPORT_H
#define MOONGATE_LEDGER_EXPORT_H

#include "base/buf.h"
#include "store/usage.h"

enum export_format { EXPORT_CSV, EXPORT_JSONL };

void export_head(struct buf *b, enum export_format format); /* the line of names; JSON has none */
void export_row(struct buf *b, enum export_format format, const struct usage_row *row);

#endif
