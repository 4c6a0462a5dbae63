/*
 * The server's own TLS: certificate and key, as a connection needs them. TLS 1.2 and 1.3 with
 * forward secrecy and authenticated ciphers alone, no renegotiation, no early data; ALPN agrees on
 * HTTP/1.1 and never on HTTP/2. Any thread, one at a time; http_set_tls is the event loop's.
 */
#ifndef MOONGATE_HTTP_TLS_H
#define MOONGATE_HTTP_TLS_H

#include "base/error.h"

struct http_server;
struct http_tls;

/* Reads the server's certificate with the chain behind it, and its key without a passphrase, both
 * PEM. Refuses a key that is another certificate's. */
int http_tls_open(const char *cert_file, const char *key_file, struct http_tls **out,
                  struct error *e);
void http_tls_close(
    struct http_tls *t); /* servers and connections that use it keep what they need */

/* New connections speak TLS with this certificate from now on, with NULL none; those that are there
 * go on as they are. Right after http_open, before the loop turns, it holds for all. The server
 * keeps what it needs of it. */
void http_set_tls(struct http_server *s, const struct http_tls *t);

#endif
