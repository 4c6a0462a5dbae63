/*
 * The ID token: a JSON Web Token in its compact form, read strictly, and the claims that OpenID
 * Connect Core 1.0, 3.1.3.7, wants to be looked at. What is left out and why stands in
 * oidc_read.h.
 */
#include "console/oidc_read.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKEN_BYTES = 64 * 1024, JSON_DEPTH = 16, SUB_CHARS = 255 };

/* One part as a JSON object; NULL if it is none. */
static struct json *read_part(const char *s, size_t n)
{
    struct json *root = NULL;
    size_t max = n / 4 * 3 + 3, len;
    unsigned char *bytes = mem_alloc(max + 1);
    if (n > 0 &&
        sodium_base642bin(bytes, max, s, n, NULL, &len, NULL,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0 &&
        json_parse((const char *)bytes, len, JSON_DEPTH, &root, NULL) == 0 &&
        json_kind(root) != JSON_OBJECT) {
        json_free(root);
        root = NULL;
    }
    sodium_memzero(bytes, max);
    free(bytes);
    return root;
}

static const char *text_of(const struct json *claims, const char *name)
{
    const struct json *v = json_get(claims, name, NULL);
    return json_kind(v) == JSON_STRING ? json_string(v, NULL) : NULL;
}

static bool says(const struct json *claims, const char *name, const char *text)
{
    const char *s = text_of(claims, name);
    return s && strcmp(s, text) == 0;
}

/* Seconds, perhaps with a fraction, as milliseconds; false if it is none or out of range. */
static bool time_of(const struct json *claims, const char *name, int64_t *ms)
{
    const struct json *v = json_get(claims, name, NULL);
    double s = json_kind(v) == JSON_INT || json_kind(v) == JSON_DOUBLE ? json_double(v) : -1;
    if (!(s >= 0 && s < 1e12))
        return false;
    *ms = (int64_t)(s * 1000);
    return true;
}

/* `aud` is us, or a list with us in it; of several, or wherever it stands, `azp` must be us. */
static bool is_for(const struct json *claims, const char *client_id)
{
    const struct json *aud = json_get(claims, "aud", NULL);
    bool has_azp, named = says(claims, "aud", client_id), several = false;
    json_get(claims, "azp", &has_azp);
    if (json_kind(aud) == JSON_ARRAY) {
        several = json_len(aud) > 1;
        for (size_t i = 0; i < json_len(aud); i++) {
            const struct json *v = json_at(aud, i);
            named |= json_kind(v) == JSON_STRING && strcmp(json_string(v, NULL), client_id) == 0;
        }
    }
    return named && ((!several && !has_azp) || says(claims, "azp", client_id));
}

static int check_times(const struct json *claims, int64_t now_ms, struct error *e)
{
    int64_t exp = 0, iat = 0, nbf = 0;
    bool has_nbf;
    json_get(claims, "nbf", &has_nbf);
    if (!time_of(claims, "exp", &exp) || !time_of(claims, "iat", &iat) ||
        (has_nbf && !time_of(claims, "nbf", &nbf)))
        return error_set(e, ERR_INVALID, "the ID token does not tell when it is good");
    if (exp + OIDC_LEEWAY_MS <= now_ms)
        return error_set(e, ERR_EXPIRED, "the ID token is over");
    if (iat < now_ms - OIDC_OLDEST_MS)
        return error_set(e, ERR_EXPIRED, "the ID token was not made for this log-in: it is old");
    if (iat > now_ms + OIDC_LEEWAY_MS || (has_nbf && nbf > now_ms + OIDC_LEEWAY_MS))
        return error_set(e, ERR_DENIED, "the ID token is of the future; is the clock right?");
    return 0;
}

static bool same(const char *a, const char *b)
{
    size_t n = strlen(a);
    return n == strlen(b) && sodium_memcmp(a, b, n) == 0;
}

static int check_claims(const struct json *claims, const struct oidc_expected *x, struct error *e)
{
    const char *nonce = text_of(claims, "nonce");
    if (!says(claims, "iss", x->issuer))
        return error_set(e, ERR_DENIED, "the ID token is of another issuer");
    if (!is_for(claims, x->client_id))
        return error_set(e, ERR_DENIED, "the ID token is for somebody else");
    if (!nonce || !*x->nonce || !same(nonce, x->nonce))
        return error_set(e, ERR_DENIED, "the ID token is of another log-in");
    return check_times(claims, x->now_ms, e);
}

static int read_subject(const struct json *claims, const char *issuer, char out[OIDC_SUBJECT_BYTES],
                        struct error *e)
{
    const char *sub = text_of(claims, "sub");
    size_t n = sub ? strlen(sub) : 0;
    if (n == 0 || n > SUB_CHARS || utf8_printable(sub, n) != n)
        return error_set(e, ERR_INVALID, "the ID token does not tell who it is of");
    if ((size_t)snprintf(out, OIDC_SUBJECT_BYTES, "%s %s", issuer, sub) >= OIDC_SUBJECT_BYTES)
        return error_set(e, ERR_LIMIT, "the ID token's issuer and subject are too long");
    return 0;
}

static int read_email(const struct json *claims, const struct email_rules *rules, struct email *out,
                      struct error *e)
{
    const char *email = text_of(claims, "email");
    const struct json *verified = json_get(claims, "email_verified", NULL);
    if (!email)
        return error_set(e, ERR_DENIED, "the provider does not tell an e-mail address");
    if (json_kind(verified) != JSON_BOOL || !json_bool(verified))
        return error_set(e, ERR_DENIED, "the provider has not verified the e-mail address");
    return email_read(email, rules, out, e);
}

/* A name is for people alone: one that does not fit is none. */
static void read_name(const struct json *claims, char out[OIDC_NAME_BYTES])
{
    const char *name = text_of(claims, "name");
    out[0] = '\0';
    if (!name || strlen(name) >= OIDC_NAME_BYTES)
        return;
    for (const char *s = name; *s; s++) {
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            return;
    }
    snprintf(out, OIDC_NAME_BYTES, "%s", name);
}

static int read_claims(const struct json *claims, const struct oidc_expected *x,
                       struct oidc_person *out, struct error *e)
{
    int rc = check_claims(claims, x, e);
    if (!rc)
        rc = read_subject(claims, x->issuer, out->subject, e);
    if (!rc)
        rc = read_email(claims, x->rules, &out->email, e);
    if (!rc)
        read_name(claims, out->name);
    return rc;
}

int oidc_read_token(const char *id_token, size_t len, const struct oidc_expected *expected,
                    struct oidc_person *out, struct error *e)
{
    struct json *head = NULL, *claims = NULL;
    const char *end = id_token + len, *dot = NULL, *second = NULL;
    int rc = 0;
    memset(out, 0, sizeof *out);
    if (len <= TOKEN_BYTES && (dot = memchr(id_token, '.', len)))
        second = memchr(dot + 1, '.', (size_t)(end - dot - 1));
    if (!second || memchr(second + 1, '.', (size_t)(end - second - 1)) ||
        !(head = read_part(id_token, (size_t)(dot - id_token))) ||
        !(claims = read_part(dot + 1, (size_t)(second - dot - 1))))
        rc = error_set(e, ERR_INVALID, "the ID token is no signed JSON Web Token");
    else if (!text_of(head, "alg") || says(head, "alg", "none") || second + 1 == end)
        rc = error_set(e, ERR_INVALID, "the ID token is not signed");
    else
        rc = read_claims(claims, expected, out, e);
    if (rc)
        memset(out, 0, sizeof *out);
    json_free(head);
    json_free(claims);
    return rc;
}
