/*
 * See oidc_read.h: the provider, and what is sent. The ID token is in oidc_token.c.
 */
#include "console/oidc_read.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { JSON_DEPTH = 16, RANDOM_BYTES = 32, CREDENTIAL_BYTES = 8192 };

_Static_assert(OIDC_SECRET_BYTES == (RANDOM_BYTES * 4 + 2) / 3 + 1, "base64url without padding");

/* A text member, or NULL. */
static const char *text_of(const struct json *object, const char *name)
{
    const struct json *v = json_get(object, name, NULL);
    return json_kind(v) == JSON_STRING ? json_string(v, NULL) : NULL;
}

static int copy_url(const struct json *object, const char *name, char out[OIDC_URL_BYTES],
                    struct error *e)
{
    const char *s = text_of(object, name);
    if (!s || !*s || strlen(s) >= OIDC_URL_BYTES || strchr(s, '#'))
        return error_set(e, ERR_INVALID, "the provider's configuration has no fit %s", name);
    snprintf(out, OIDC_URL_BYTES, "%s", s);
    return 0;
}

static bool lists(const struct json *array, const char *text)
{
    for (size_t i = 0; json_kind(array) == JSON_ARRAY && i < json_len(array); i++) {
        const struct json *v = json_at(array, i);
        if (json_kind(v) == JSON_STRING && strcmp(json_string(v, NULL), text) == 0)
            return true;
    }
    return false;
}

int oidc_read_provider(const char *json, size_t len, const char *issuer, struct oidc_provider *out,
                       struct error *e)
{
    struct json *root;
    struct error why;
    memset(out, 0, sizeof *out);
    if (json_parse(json, len, JSON_DEPTH, &root, &why) || json_kind(root) != JSON_OBJECT) {
        json_free(root);
        return error_set(e, ERR_INVALID, "the provider's configuration is no JSON object");
    }
    const char *said = text_of(root, "issuer");
    int rc = 0;
    if (!said || strcmp(said, issuer) != 0)
        rc = error_set(e, ERR_DENIED, "the provider's configuration is of another issuer");
    if (!rc)
        rc = copy_url(root, "authorization_endpoint", out->authorization, e);
    if (!rc)
        rc = copy_url(root, "token_endpoint", out->token, e);
    const struct json *methods = json_get(root, "token_endpoint_auth_methods_supported", NULL);
    out->post = json_kind(methods) == JSON_ARRAY && !lists(methods, "client_secret_basic") &&
                lists(methods, "client_secret_post");
    out->says_issuer =
        json_bool(json_get(root, "authorization_response_iss_parameter_supported", NULL));
    json_free(root);
    return rc;
}

static void put_base64(char *out, const uint8_t *bytes, size_t n)
{
    sodium_bin2base64(out, OIDC_SECRET_BYTES, bytes, n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

void oidc_make_secrets(struct oidc_secrets *out)
{
    uint8_t random[2 * RANDOM_BYTES];
    random_bytes(random, sizeof random);
    put_base64(out->nonce, random, RANDOM_BYTES);
    put_base64(out->verifier, random + RANDOM_BYTES, RANDOM_BYTES);
    sodium_memzero(random, sizeof random);
}

void oidc_challenge(const char *verifier, char out[OIDC_SECRET_BYTES])
{
    uint8_t hash[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(hash, (const unsigned char *)verifier, strlen(verifier));
    put_base64(out, hash, sizeof hash);
}

/* Byte by byte: what is not unreserved (RFC 3986) becomes %XX. */
static void put_encoded(struct buf *out, const char *s)
{
    static const char unreserved[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (; *s; s++) {
        if (strchr(unreserved, *s))
            buf_addc(out, *s);
        else
            buf_addf(out, "%%%02X", (unsigned char)*s);
    }
}

void oidc_put_pair(struct buf *out, char first, const char *name, const char *value)
{
    if (first)
        buf_addc(out, first);
    put_encoded(out, name);
    buf_addc(out, '=');
    put_encoded(out, value);
}

void oidc_put_authorization(struct buf *out, const struct oidc_provider *p, const char *client_id,
                            const char *redirect_uri, const char *state,
                            const struct oidc_secrets *secrets)
{
    char challenge[OIDC_SECRET_BYTES];
    oidc_challenge(secrets->verifier, challenge);
    buf_adds(out, p->authorization);
    oidc_put_pair(out, strchr(p->authorization, '?') ? '&' : '?', "response_type", "code");
    oidc_put_pair(out, '&', "client_id", client_id);
    oidc_put_pair(out, '&', "redirect_uri", redirect_uri);
    oidc_put_pair(out, '&', "scope", "openid email profile");
    oidc_put_pair(out, '&', "state", state);
    oidc_put_pair(out, '&', "nonce", secrets->nonce);
    oidc_put_pair(out, '&', "code_challenge", challenge);
    oidc_put_pair(out, '&', "code_challenge_method", "S256");
}

/* RFC 6749, 2.3.1: both are form-encoded before they are put together. */
static void put_basic(struct buf *header, const struct oidc_client *client)
{
    struct buf plain;
    char base64[CREDENTIAL_BYTES * 4 / 3 + 4];
    buf_init(&plain, CREDENTIAL_BYTES);
    put_encoded(&plain, client->id);
    buf_addc(&plain, ':');
    put_encoded(&plain, client->secret);
    if (plain.failed) {
        header->failed = true;
    } else {
        sodium_bin2base64(base64, sizeof base64, (const unsigned char *)plain.data, plain.len,
                          sodium_base64_VARIANT_ORIGINAL);
        buf_addf(header, "Authorization: Basic %s", base64);
        sodium_memzero(base64, sizeof base64);
        sodium_memzero(plain.data, plain.len);
    }
    buf_done(&plain);
}

void oidc_put_token_form(struct buf *form, struct buf *header, const struct oidc_provider *p,
                         const struct oidc_client *client, const char *redirect_uri,
                         const char *code, const char *verifier)
{
    oidc_put_pair(form, 0, "grant_type", "authorization_code");
    oidc_put_pair(form, '&', "code", code);
    oidc_put_pair(form, '&', "redirect_uri", redirect_uri);
    oidc_put_pair(form, '&', "code_verifier", verifier);
    if (client->secret[0] && !p->post) {
        put_basic(header, client);
        return;
    }
    oidc_put_pair(form, '&', "client_id", client->id);
    if (client->secret[0])
        oidc_put_pair(form, '&', "client_secret", client->secret);
}

int oidc_read_answer(const char *json, size_t len, char **id_token, struct error *e)
{
    struct json *root;
    int rc = 0;
    *id_token = NULL;
    if (json_parse(json, len, JSON_DEPTH, &root, NULL) || json_kind(root) != JSON_OBJECT)
        rc = error_set(e, ERR_INVALID, "the provider's answer is no JSON object");
    const char *said = rc ? NULL : text_of(root, "id_token");
    if (!rc && !said)
        rc = error_set(e, ERR_INVALID, "the provider's answer has no id_token");
    if (!rc)
        *id_token = mem_strdup(said);
    json_free(root);
    return rc;
}
