/*
 * Tables of endpoints that other files fill; an empty one stands in until they do.
 */
#include "console/console_private.h"

__attribute__((weak)) const struct endpoint_table platform_endpoints;
__attribute__((weak)) const struct endpoint_table account_endpoints;
__attribute__((weak)) const struct endpoint_table key_endpoints;
__attribute__((weak)) const struct endpoint_table admin_endpoints;
__attribute__((weak)) int console_first_admin(struct store *s, const char *email, struct error *e)
{
    (void)s;
    (void)email;
    (void)e;
    return 0;
}
