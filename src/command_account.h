/*
 * The list of `moongate account list`, and how a name is checked. Main thread.
 */
#ifndef MOONGATE_COMMAND_ACCOUNT_H
#define MOONGATE_COMMAND_ACCOUNT_H

#include "base/error.h"

#include <stdbool.h>
#include <stdio.h>

struct store;

/* Oldest first, page by page: the list may be long. */
int command_list_accounts(struct store *s, bool json, FILE *out, struct error *e);
/* UTF-8 without control characters, and not too long. */
int command_check_name(const char *name, struct error *e);

#endif
