/*
 * What a text of the configuration must look like: names, addresses, parts of HTTP. Only forms:
 * whether a host exists is known when it is asked. Pure; any thread.
 */
#ifndef MOONGATE_CONFIG_FORM_H
#define MOONGATE_CONFIG_FORM_H

#include <stdbool.h>
#include <stddef.h>

/* UTF-8 of at most `max` bytes that can be written back into YAML and into a log line: no control
 * characters (also U+0080 to U+009F), neither U+FFFE nor U+FFFF. */
bool form_text(const char *s, size_t max);
bool form_name(const char *s, size_t max); /* a clean text without spaces and commas */
bool form_address(const char *s);          /* ADDR:PORT, [ADDR]:PORT, :PORT */
bool form_url(const char *s);      /* http or https, host, port, path; no user, query, fragment */
bool form_prefix(const char *s);   /* empty, or a path */
bool form_proxy(const char *s);    /* scheme, perhaps user and password, host, port */
bool form_variable(const char *s); /* a name of the environment */
bool form_header_name(const char *s);  /* a token of RFC 9110 */
bool form_header_value(const char *s); /* visible ASCII, spaces only inside */
bool form_key(const char *s);          /* visible ASCII without spaces */

/* How many bytes of a good URL stand before its path. */
size_t form_url_origin(const char *url);
/* What a good URL names is this machine: localhost, 127.0.0.0/8, [::1]. */
bool form_url_is_local(const char *url);
/* Where user and password of a good proxy begin, and how many bytes with their "@". */
size_t form_proxy_user(const char *proxy, size_t *begin);

#endif
