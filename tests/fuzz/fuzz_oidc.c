/* ID tokens, and the other texts of a provider: the input as it stands, as the claims of a token
 * that is well-formed otherwise, and as the texts of the two endpoints. Whoever is let in has an
 * address and a subject. */
#include "console/oidc_read.h"

#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds)
        abort();
}

static void check_token(const char *token, size_t len)
{
    static const struct email_rules rules = {true, true};
    struct oidc_expected x = {"https://id.example", "me", "n", INT64_C(1764340940000), &rules};
    struct oidc_person p;
    struct error e = {0};
    int rc = oidc_read_token(token, len, &x, &p, &e);
    if (rc == 0)
        must(p.subject[0] && strchr(p.email.address, '@') && p.email.person[0]);
    else
        must(e.code == rc && e.text[0] && !p.subject[0] && !p.email.address[0]);
}

static void check_claims(const uint8_t *data, size_t size)
{
    static const char head[] = "eyJhbGciOiJSUzI1NiJ9.", sign[] = ".c2ln";
    size_t bytes = sizeof head + size * 2 + sizeof sign + 8;
    char *token = malloc(bytes);
    memcpy(token, head, sizeof head);
    sodium_bin2base64(token + sizeof head - 1, bytes - sizeof head, data, size,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    size_t len = strlen(token);
    memcpy(token + len, sign, sizeof sign - 1);
    check_token(token, len + sizeof sign - 1);
    free(token);
}

static void check_texts(const char *json, size_t len)
{
    struct oidc_provider p;
    struct error e;
    char *token;
    if (oidc_read_provider(json, len, "https://id.example", &p, &e) == 0)
        must(p.authorization[0] && p.token[0]);
    if (oidc_read_answer(json, len, &token, &e) == 0)
        must(token != NULL);
    else
        must(token == NULL);
    free(token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy of its own lets a read past the end show. */
    char *copy = calloc(size + (size == 0), 1);
    if (size > 0)
        memcpy(copy, data, size);
    check_token(copy, size);
    check_texts(copy, size);
    check_claims(data, size);
    free(copy);
    return 0;
}
