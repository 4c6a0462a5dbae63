/*
 * Tables of endpoints that other files fill; an empty one stands in until they do.
 */
#include "console/console_private.h"

__attribute__((weak)) const struct endpoint_table platform_endpoints;
__attribute__((weak)) const struct endpoint_table key_endpoints;
