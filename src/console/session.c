/*
 * See session.h.
 */
#include "console/session.h"

#include "base/clock.h"

#include <inttypes.h>
#include <sodium.h>
#include <string.h>

_Static_assert(SESSION_HASH_BYTES == crypto_hash_sha256_BYTES, "the store keeps SHA-256");

enum { TOKEN_RANDOM_BYTES = 32, NOTES_AN_IDLE_TIME = 60 };

/* Without TLS, and with it. */
static const char *const session_names[2] = {"moongate_session", "__Host-moongate_session"};
static const char *const login_names[2] = {"moongate_login", "__Host-moongate_login"};

static void put_base64(char out[SESSION_TOKEN_CHARS + 1], const uint8_t raw[TOKEN_RANDOM_BYTES])
{
    sodium_bin2base64(out, SESSION_TOKEN_CHARS + 1, raw, TOKEN_RANDOM_BYTES,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

void session_token_make(char out[SESSION_TOKEN_CHARS + 1])
{
    uint8_t random[TOKEN_RANDOM_BYTES];
    random_bytes(random, sizeof random);
    put_base64(out, random);
    sodium_memzero(random, sizeof random);
}

static bool is_token(const char *s, size_t n)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    return n == SESSION_TOKEN_CHARS && strspn(s, alphabet) >= n;
}

bool session_token_hash(const char *token, uint8_t hash[SESSION_HASH_BYTES])
{
    size_t n = strlen(token);
    if (!is_token(token, n))
        return false;
    crypto_hash_sha256(hash, (const unsigned char *)token, n);
    return true;
}

static void put_cookie(struct buf *b, const char *const names[2], const char *value, bool secure,
                       int64_t max_age_s)
{
    buf_addf(b, "%s=%s; Path=/; Max-Age=%" PRId64 "; HttpOnly; SameSite=Lax%s", names[secure],
             value, max_age_s, secure ? "; Secure" : "");
}

static bool read_cookie(const char *header, const char *name, char out[SESSION_TOKEN_CHARS + 1])
{
    size_t name_len = strlen(name);
    for (const char *s = header ? header : ""; *s;) {
        s += strspn(s, "; ");
        size_t n = strcspn(s, ";");
        if (n > name_len && s[name_len] == '=' && memcmp(s, name, name_len) == 0) {
            const char *value = s + name_len + 1;
            size_t len = n - name_len - 1;
            while (len > 0 && value[len - 1] == ' ')
                len--;
            if (!is_token(value, len))
                return false;
            memcpy(out, value, len);
            out[len] = '\0';
            return true;
        }
        s += n;
    }
    return false;
}

void session_cookie(struct buf *b, const char *token, bool secure, int64_t max_age_s)
{
    put_cookie(b, session_names, token, secure, max_age_s);
}

void session_cookie_end(struct buf *b, bool secure)
{
    put_cookie(b, session_names, "", secure, 0);
}

bool session_cookie_read(const char *header, bool secure, char out[SESSION_TOKEN_CHARS + 1])
{
    return read_cookie(header, session_names[secure], out);
}

void session_login_cookie(struct buf *b, const char *token, bool secure, int64_t max_age_s)
{
    put_cookie(b, login_names, token, secure, max_age_s);
}

void session_login_cookie_end(struct buf *b, bool secure)
{
    put_cookie(b, login_names, "", secure, 0);
}

bool session_login_cookie_read(const char *header, bool secure, char out[SESSION_TOKEN_CHARS + 1])
{
    return read_cookie(header, login_names[secure], out);
}

void session_csrf(const char *token, char out[SESSION_TOKEN_CHARS + 1])
{
    static const char purpose[] = "moongate csrf 1";
    uint8_t mac[crypto_auth_hmacsha256_BYTES];
    crypto_auth_hmacsha256_state state;
    _Static_assert(sizeof mac == TOKEN_RANDOM_BYTES, "both have one form");
    crypto_auth_hmacsha256_init(&state, (const unsigned char *)token, strlen(token));
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)purpose, sizeof purpose - 1);
    crypto_auth_hmacsha256_final(&state, mac);
    put_base64(out, mac);
}

bool session_csrf_is(const char *token, const char *given)
{
    char right[SESSION_TOKEN_CHARS + 1];
    if (!given || strlen(given) != SESSION_TOKEN_CHARS)
        return false;
    session_csrf(token, right);
    return sodium_memcmp(right, given, SESSION_TOKEN_CHARS) == 0;
}

int64_t session_until(const struct session_life *life, int64_t created_ms, int64_t used_ms)
{
    int64_t whole = created_ms + life->whole_ms, idle = used_ms + life->idle_ms;
    return whole < idle ? whole : idle;
}

bool session_is_noted(const struct session_life *life, int64_t used_ms, int64_t now_ms)
{
    return now_ms - used_ms >= life->idle_ms / NOTES_AN_IDLE_TIME;
}
