/*
 * Sessions of the console, as far as they are text and time: tokens, cookies, the token against
 * cross-site requests, and when one is over. Pure; any thread. The rows are in store/sessions.h.
 *
 * A token is 32 random bytes; the store knows its SHA-256 alone. A new one is made at each
 * log-in, so one that was planted before is worth nothing.
 */
#ifndef MOONGATE_CONSOLE_SESSION_H
#define MOONGATE_CONSOLE_SESSION_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SESSION_TOKEN_CHARS = 43, SESSION_HASH_BYTES = 32 };

/* Also for the links that are good once. */
void session_token_make(char out[SESSION_TOKEN_CHARS + 1]);
/* False if the text cannot be a token; then no store need be asked. */
bool session_token_hash(const char *token, uint8_t hash[SESSION_HASH_BYTES]);

/* The value of Set-Cookie. `secure`: the page came under TLS; the cookie then has a name that a
 * browser takes from nobody else. HttpOnly, SameSite=Lax: a log-in by another site's redirection
 * comes back with it. */
void session_cookie(struct buf *b, const char *token, bool secure, int64_t max_age_s);
void session_cookie_end(struct buf *b, bool secure); /* makes the browser forget it */
/* Finds the token in a Cookie header (NULL: there is none). */
bool session_cookie_read(const char *header, bool secure, char out[SESSION_TOKEN_CHARS + 1]);

/* The same of a log-in that is under way at an OpenID Connect provider: it is bound to the
 * browser that began it. */
void session_login_cookie(struct buf *b, const char *token, bool secure, int64_t max_age_s);
void session_login_cookie_end(struct buf *b, bool secure);
bool session_login_cookie_read(const char *header, bool secure, char out[SESSION_TOKEN_CHARS + 1]);

/* The token that a form or a script must send beside the cookie (X-CSRF-Token): it follows from
 * the session's and says nothing of it. */
void session_csrf(const char *token, char out[SESSION_TOKEN_CHARS + 1]);
bool session_csrf_is(const char *token, const char *given); /* `given` may be NULL */

struct session_life {
    int64_t idle_ms, whole_ms;
};

/* Until when it is good: so long after its last use, and so long after its log-in. */
int64_t session_until(const struct session_life *life, int64_t created_ms, int64_t used_ms);
/* Is a use worth a write? Once in a sixtieth of the idle time. */
bool session_is_noted(const struct session_life *life, int64_t used_ms, int64_t now_ms);

#endif
