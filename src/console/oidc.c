/*
 * See oidc.h. An operation waits for the provider's configuration if it is not known, or is
 * older than an hour; all that wait share one request for it, and a failure is remembered for a
 * few seconds, so that a provider that is away is not asked for each visitor.
 */
#include "console/oidc.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "console/fetch.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPS_MAX = 64,
    KNOWN_MS = 60 * 60 * 1000,
    FAILED_MS = 3000,
    URL_MAX_BYTES = 2048,
    FORM_MAX_BYTES = 32 * 1024,
    JSON_DEPTH = 16
};

struct op {
    struct op *next;
    uint64_t number; /* the asker's */
    uint64_t fetch;  /* of its request to the token endpoint; 0: it waits for the configuration */
    bool finish;     /* oidc_finish's; else oidc_prepare's */
    char *code, *issuer, *redirect_uri;
    struct oidc_secrets secrets;
};

struct oidc {
    struct fetcher *fetcher;
    oidc_fn *fn;
    void *arg;
    char *issuer, *client_id, *secret;
    struct email_rules rules;
    struct oidc_provider provider;
    int64_t known_until_ms, failed_until_ms; /* monotonic */
    struct error failure;
    uint64_t fetches;   /* counts up; 0 is none */
    uint64_t discovery; /* the request for the configuration that is under way */
    struct op *ops;
    size_t n_ops;
};

/* --- what the store keeps --- */

void oidc_write_login(struct buf *out, const struct oidc_login *login)
{
    buf_addf(out, "{\"nonce\":\"%s\",\"verifier\":\"%s\",\"browser\":\"%s\"}", login->secrets.nonce,
             login->secrets.verifier, login->browser);
}

static bool copy_text(const struct json *root, const char *name, char *out, size_t bytes)
{
    size_t len = 0;
    const struct json *v = json_get(root, name, NULL);
    const char *s = json_kind(v) == JSON_STRING ? json_string(v, &len) : "";
    if (len != bytes - 1)
        return false;
    memcpy(out, s, bytes);
    return true;
}

int oidc_read_login(const char *text, struct oidc_login *out, struct error *e)
{
    struct json *root = NULL;
    bool good = json_parse(text, strlen(text), JSON_DEPTH, &root, NULL) == 0 &&
                copy_text(root, "nonce", out->secrets.nonce, sizeof out->secrets.nonce) &&
                copy_text(root, "verifier", out->secrets.verifier, sizeof out->secrets.verifier) &&
                copy_text(root, "browser", out->browser, sizeof out->browser);
    json_free(root);
    return good ? 0 : error_set(e, ERR_INTERNAL, "what is kept of a log-in cannot be read");
}

/* --- operations --- */

static void free_secret(char *s)
{
    if (s)
        sodium_memzero(s, strlen(s));
    free(s);
}

static void op_free(struct op *op)
{
    free_secret(op->code);
    free(op->issuer);
    free(op->redirect_uri);
    sodium_memzero(&op->secrets, sizeof op->secrets);
    free(op);
}

static void unlink_op(struct oidc *o, struct op *op)
{
    struct op **at = &o->ops;
    while (*at != op)
        at = &(*at)->next;
    *at = op->next;
    o->n_ops--;
}

static void answer(struct oidc *o, struct op *op, int code, const char *error,
                   const struct oidc_person *person)
{
    struct oidc_answer a = {op->number, code, error, person};
    unlink_op(o, op);
    op_free(op);
    o->fn(o->arg, &a);
}

static void fail(struct oidc *o, struct op *op, const struct error *e)
{
    answer(o, op, e->code, e->text, NULL);
}

static struct op *find_op(struct oidc *o, uint64_t fetch)
{
    struct op *op = o->ops;
    while (op && op->fetch != fetch)
        op = op->next;
    return op;
}

/* --- the token endpoint --- */

static void wipe(struct buf *b)
{
    if (b->data)
        sodium_memzero(b->data, b->len);
    buf_done(b);
}

static int ask_token(struct oidc *o, struct op *op, struct error *e)
{
    struct buf form, header;
    struct oidc_client client = {o->issuer, o->client_id, o->secret};
    const char *headers[2] = {"Accept: application/json"};
    if (o->provider.says_issuer && (!op->issuer || strcmp(op->issuer, o->issuer) != 0))
        return error_set(e, ERR_DENIED, "the log-in came back from another provider");
    buf_init(&form, FORM_MAX_BYTES);
    buf_init(&header, FORM_MAX_BYTES);
    oidc_put_token_form(&form, &header, &o->provider, &client, op->redirect_uri, op->code,
                        op->secrets.verifier);
    headers[1] = header.data;
    struct fetch_http call = {o->provider.token, form.data, headers, header.len ? 2 : 1};
    int rc = form.failed || header.failed ? error_set(e, ERR_LIMIT, "the log-in's code is too long")
                                          : fetch_http(o->fetcher, ++o->fetches, &call, e);
    if (!rc)
        op->fetch = o->fetches;
    wipe(&form);
    wipe(&header);
    return rc;
}

/* The provider's word for it, if it is one: letters and underscores. */
static int refuse(const struct fetch_answer *a, struct error *e)
{
    struct json *root = NULL;
    char word[48] = "no reason";
    if (json_parse(a->body, a->len, JSON_DEPTH, &root, NULL) == 0) {
        const struct json *v = json_get(root, "error", NULL);
        const char *s = json_kind(v) == JSON_STRING ? json_string(v, NULL) : "";
        size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz_");
        if (n > 0 && n < sizeof word && s[n] == '\0')
            snprintf(word, sizeof word, "%s", s);
    }
    json_free(root);
    bool ours = strcmp(word, "invalid_grant") == 0; /* the code is over, or was used before */
    return error_set(e, ours ? ERR_DENIED : ERR_IO,
                     "the provider did not accept the log-in: %s (status %d)", word, a->status);
}

static int read_person(struct oidc *o, const struct op *op, const struct fetch_answer *a,
                       struct oidc_person *out, struct error *e)
{
    char *token = NULL;
    struct oidc_expected x = {.issuer = o->issuer,
                              .client_id = o->client_id,
                              .nonce = op->secrets.nonce,
                              .now_ms = clock_unix_ms(),
                              .rules = &o->rules};
    int rc = a->status == 200 ? oidc_read_answer(a->body, a->len, &token, e) : refuse(a, e);
    if (!rc)
        rc = oidc_read_token(token, strlen(token), &x, out, e);
    free_secret(token);
    return rc;
}

static void on_token(struct oidc *o, struct op *op, const struct fetch_answer *a)
{
    struct oidc_person person;
    struct error e;
    int rc = a->code ? error_set(&e, ERR_IO, "the provider does not answer: %s", a->error)
                     : read_person(o, op, a, &person, &e);
    if (rc)
        fail(o, op, &e);
    else
        answer(o, op, 0, "", &person);
}

/* --- the configuration --- */

static int read_provider(struct oidc *o, const struct fetch_answer *a, struct error *e)
{
    struct oidc_provider p;
    if (a->code)
        return error_set(e, ERR_IO, "the provider does not answer: %s", a->error);
    if (a->status != 200)
        return error_set(e, ERR_IO, "the provider answers %d where its configuration should be",
                         a->status);
    if (oidc_read_provider(a->body, a->len, o->issuer, &p, e) ||
        fetch_check_url(p.authorization, false, e) || fetch_check_url(p.token, false, e))
        return e->code = ERR_IO; /* whatever it is, it is not the visitor's fault */
    o->provider = p;
    return 0;
}

/* All that wait for it go on. One that is told of a failure may ask again at once, and is refused
 * at once: the failure is remembered. */
static void on_provider(struct oidc *o, const struct fetch_answer *a)
{
    struct error e;
    struct op *op;
    int64_t now_ms = clock_mono_ms();
    int rc = read_provider(o, a, &e);
    o->discovery = 0;
    o->known_until_ms = rc ? 0 : now_ms + KNOWN_MS;
    o->failed_until_ms = rc ? now_ms + FAILED_MS : 0;
    if (rc)
        o->failure = e;
    while ((op = find_op(o, 0))) {
        int failed = rc;
        if (!rc && op->finish)
            failed = ask_token(o, op, &e);
        if (failed)
            fail(o, op, &e);
        else if (!op->finish)
            answer(o, op, 0, "", NULL);
    }
}

static void on_answer(void *arg, const struct fetch_answer *a)
{
    struct oidc *o = arg;
    if (a->number == o->discovery) {
        on_provider(o, a);
        return;
    }
    struct op *op = find_op(o, a->number);
    if (op)
        on_token(o, op, a);
}

static int discover(struct oidc *o, struct error *e)
{
    char url[URL_MAX_BYTES];
    size_t n = strlen(o->issuer);
    const char *headers[] = {"Accept: application/json"};
    struct fetch_http call = {url, NULL, headers, 1};
    if (o->discovery)
        return 0;
    if (clock_mono_ms() < o->failed_until_ms)
        return error_set(e, ERR_IO, "%s", o->failure.text);
    if (n > 0 && o->issuer[n - 1] == '/')
        n--;
    if ((size_t)snprintf(url, sizeof url, "%.*s/.well-known/openid-configuration", (int)n,
                         o->issuer) >= sizeof url)
        return error_set(e, ERR_INVALID, "the provider's address is too long");
    int rc = fetch_http(o->fetcher, ++o->fetches, &call, e);
    if (!rc)
        o->discovery = o->fetches;
    return rc;
}

/* --- the face --- */

bool oidc_has_provider(const struct oidc *o)
{
    return o->issuer && o->issuer[0];
}

bool oidc_is_ready(struct oidc *o)
{
    return oidc_has_provider(o) && clock_mono_ms() < o->known_until_ms;
}

/* Takes the operation over, also if it fails. */
static int begin(struct oidc *o, struct op *op, struct error *e)
{
    int rc = 0;
    if (!oidc_has_provider(o))
        rc = error_set(e, ERR_NOT_FOUND, "no OpenID Connect provider is configured");
    else if (o->n_ops == OPS_MAX)
        rc = error_set(e, ERR_BUSY, "too many log-ins are under way");
    else if (!oidc_is_ready(o))
        rc = discover(o, e);
    else if (op->finish)
        rc = ask_token(o, op, e);
    if (rc) {
        op_free(op);
        return rc;
    }
    op->next = o->ops;
    o->ops = op;
    o->n_ops++;
    return 0;
}

int oidc_prepare(struct oidc *o, uint64_t number, struct error *e)
{
    struct op *op = mem_zalloc(sizeof *op);
    op->number = number;
    o->known_until_ms = 0;
    return begin(o, op, e);
}

void oidc_put_start(struct oidc *o, struct buf *url, const char *redirect_uri, const char *state,
                    const struct oidc_secrets *secrets)
{
    oidc_put_authorization(url, &o->provider, o->client_id, redirect_uri, state, secrets);
}

int oidc_finish(struct oidc *o, uint64_t number, const char *code, const char *issuer,
                const char *redirect_uri, const struct oidc_secrets *secrets, struct error *e)
{
    if (!*code || strlen(code) > OIDC_CODE_MAX_BYTES)
        return error_set(e, ERR_DENIED, "the log-in came back without a fit code");
    struct op *op = mem_zalloc(sizeof *op);
    op->number = number;
    op->finish = true;
    op->code = mem_strdup(code);
    op->issuer = issuer ? mem_strdup(issuer) : NULL;
    op->redirect_uri = mem_strdup(redirect_uri);
    op->secrets = *secrets;
    return begin(o, op, e);
}

static void forget_provider(struct oidc *o)
{
    free(o->issuer);
    free(o->client_id);
    free_secret(o->secret);
    o->known_until_ms = o->failed_until_ms = 0;
    o->discovery = 0; /* an answer that is still to come is nobody's */
}

void oidc_set(struct oidc *o, const struct oidc_client *client, const struct email_rules *rules)
{
    struct error e;
    struct op *op;
    o->rules = *rules;
    if (o->issuer && strcmp(o->issuer, client->issuer) == 0 &&
        strcmp(o->client_id, client->id) == 0 && strcmp(o->secret, client->secret) == 0)
        return;
    forget_provider(o);
    o->issuer = mem_strdup(client->issuer);
    o->client_id = mem_strdup(client->id);
    o->secret = mem_strdup(client->secret);
    error_set(&e, ERR_CANCELLED, "the provider was changed; please log in again");
    while ((op = o->ops))
        fail(o, op, &e);
}

int oidc_open(struct event_base *base, oidc_fn *fn, void *arg, struct oidc **out, struct error *e)
{
    struct fetch_options options = {.queue = OPS_MAX + 1};
    struct oidc *o = mem_zalloc(sizeof *o);
    o->fn = fn;
    o->arg = arg;
    int rc = fetcher_open(base, &options, on_answer, o, &o->fetcher, e);
    if (rc) {
        free(o);
        o = NULL;
    }
    *out = o;
    return rc;
}

void oidc_close(struct oidc *o)
{
    struct op *op;
    if (!o)
        return;
    fetcher_close(o->fetcher);
    while ((op = o->ops)) {
        unlink_op(o, op);
        op_free(op);
    }
    forget_provider(o);
    free(o);
}
