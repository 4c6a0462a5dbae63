/*
 * Which calls a query asks for: the filters that all usage routes share.
 */
#ifndef MOONGATE_CONSOLE_USAGE_FILTER_H
#define MOONGATE_CONSOLE_USAGE_FILTER_H

#include "store/usage.h"

#include <stdbool.h>

struct request;

/* Calls of the account that asks; an administrator may name another with user_id. False: it was
 * answered. */
bool usage_filter_read(struct request *r, struct usage_filter *out);

#endif
