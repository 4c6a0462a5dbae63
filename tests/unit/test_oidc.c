/*
 * Unit tests of OpenID Connect: what is sent, which ID tokens are believed, and a log-in against
 * a scripted provider.
 */
#include "base/clock.h"
#include "console/oidc.h"
#include "id_token.h"
#include "outside_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NONCE "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
#define NOW_S INT64_C(1764340940)

static const struct email_rules rules = {true, true};

/* --- texts --- */

static void a_challenge_is_that_of_the_standard(void **state)
{
    char challenge[OIDC_SECRET_BYTES];
    (void)state;
    oidc_challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", challenge); /* RFC 7636, B */
    assert_string_equal(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
}

static void the_browser_is_sent_with_all_that_is_needed(void **state)
{
    struct oidc_provider p = {.authorization = "https://id.example/authorize"};
    struct oidc_secrets secrets = {NONCE, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"};
    struct buf b;
    (void)state;
    buf_init(&b, 4096);
    oidc_put_authorization(&b, &p, "me & you", "https://m.example/cb?x=1", "STATE", &secrets);
    assert_string_equal(
        b.data,
        "https://id.example/authorize?response_type=code&client_id=me%20%26%20you"
        "&redirect_uri=https%3A%2F%2Fm.example%2Fcb%3Fx%3D1&scope=openid%20email%20profile"
        "&state=STATE&nonce=" NONCE "&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        "&code_challenge_method=S256");
    buf_reset(&b);
    snprintf(p.authorization, sizeof p.authorization, "https://id.example/a?tenant=1");
    oidc_put_authorization(&b, &p, "me", "x", "s", &secrets);
    assert_memory_equal(b.data, "https://id.example/a?tenant=1&response_type=code&", 49);
    buf_done(&b);
}

static void check_form(bool post, const char *secret, const char *end, const char *header)
{
    struct oidc_provider p = {.post = post};
    struct oidc_client client = {"https://id.example", "a:b", secret};
    struct buf form, head;
    buf_init(&form, 4096);
    buf_init(&head, 4096);
    oidc_put_token_form(&form, &head, &p, &client, "https://m.example/cb", "co/de", "VERIFIER");
    static const char begin[] = "grant_type=authorization_code&code=co%2Fde"
                                "&redirect_uri=https%3A%2F%2Fm.example%2Fcb&code_verifier=VERIFIER";
    assert_memory_equal(form.data, begin, sizeof begin - 1);
    assert_string_equal(form.data + sizeof begin - 1, end);
    assert_string_equal(head.data ? head.data : "", header);
    buf_done(&form);
    buf_done(&head);
}

static void a_secret_goes_where_the_provider_wants_it(void **state)
{
    (void)state;
    check_form(false, "s&t", "", "Authorization: Basic YSUzQWI6cyUyNnQ="); /* a%3Ab:s%26t */
    check_form(true, "s&t", "&client_id=a%3Ab&client_secret=s%26t", "");
    check_form(false, "", "&client_id=a%3Ab", ""); /* a public client has none */
}

static int read_provider(const char *json, struct oidc_provider *p)
{
    struct error e;
    return oidc_read_provider(json, strlen(json), "https://id.example", p, &e);
}

static void a_provider_is_what_it_says_it_is(void **state)
{
    struct oidc_provider p;
    (void)state;
#define ENDS                                                                                       \
    "\"authorization_endpoint\":\"https://id.example/a\",\"token_endpoint\":\"https://id.example/" \
    "t\""
    assert_int_equal(read_provider("{\"issuer\":\"https://id.example\"," ENDS "}", &p), 0);
    assert_string_equal(p.authorization, "https://id.example/a");
    assert_string_equal(p.token, "https://id.example/t");
    assert_false(p.post);
    assert_int_equal(read_provider("{\"issuer\":\"https://id.example/\"," ENDS "}", &p),
                     ERR_DENIED);
    assert_int_equal(read_provider("{\"issuer\":\"https://ID.example\"," ENDS "}", &p), ERR_DENIED);
    assert_int_equal(read_provider("{" ENDS "}", &p), ERR_DENIED);
    assert_int_equal(read_provider("{\"issuer\":\"https://id.example\"}", &p), ERR_INVALID);
    assert_int_equal(read_provider("[]", &p), ERR_INVALID);
    assert_int_equal(read_provider("", &p), ERR_INVALID);
    assert_int_equal(read_provider("{\"issuer\":\"https://id.example\"," ENDS
                                   ",\"token_endpoint_auth_methods_supported\":["
                                   "\"client_secret_post\"],"
                                   "\"authorization_response_iss_parameter_supported\":true}",
                                   &p),
                     0);
    assert_true(p.post && p.says_issuer);
    assert_int_equal(read_provider("{\"issuer\":\"https://id.example\"," ENDS
                                   ",\"token_endpoint_auth_methods_supported\":["
                                   "\"client_secret_post\",\"client_secret_basic\"]}",
                                   &p),
                     0);
    assert_false(p.post);
}

static void what_is_kept_of_a_login_reads_back(void **state)
{
    struct oidc_login login = {.secrets = {NONCE, NONCE}}, back;
    struct buf b;
    struct error e;
    (void)state;
    memset(login.browser, 'a', sizeof login.browser - 1);
    buf_init(&b, 1023);
    oidc_write_login(&b, &login);
    assert_false(b.failed);
    assert_int_equal(oidc_read_login(b.data, &back, &e), 0);
    assert_string_equal(back.secrets.verifier, NONCE);
    assert_string_equal(back.browser, login.browser);
    assert_int_equal(oidc_read_login("{\"nonce\":\"x\"}", &back, &e), ERR_INTERNAL);
    assert_int_equal(oidc_read_login("", &back, &e), ERR_INTERNAL);
    buf_done(&b);
}

/* --- ID tokens --- */

static const char good_claims[] =
    "{\"iss\":\"https://id.example\",\"sub\":\"u1\",\"aud\":\"me\",\"exp\":1764341000,"
    "\"iat\":1764340930,\"nonce\":\"" NONCE
    "\",\"email\":\"Ada@Example.com\",\"email_verified\":true,\"name\":\"Ada\"}";

static int read_at(const char *token, int64_t now_s, struct oidc_person *out, struct error *e)
{
    struct oidc_expected x = {"https://id.example", "me", NONCE, now_s * 1000, &rules};
    char *copy = mem_strndup(token, strlen(token));
    int rc = oidc_read_token(copy, strlen(copy), &x, out, e);
    free(copy);
    return rc;
}

static int read_claims(const char *claims, struct oidc_person *out)
{
    struct error e;
    char *token = id_token("{\"alg\":\"RS256\"}", claims, "c2ln");
    int rc = read_at(token, NOW_S, out, &e);
    free(token);
    return rc;
}

/* The good claims with one text in the place of another. */
static int read_with(const char *old, const char *new)
{
    struct oidc_person p;
    struct buf b;
    const char *at = strstr(good_claims, old);
    assert_non_null(at);
    buf_init(&b, 8192);
    buf_add(&b, good_claims, (size_t)(at - good_claims));
    buf_adds(&b, new);
    buf_adds(&b, at + strlen(old));
    int rc = read_claims(b.data, &p);
    buf_done(&b);
    if (rc)
        assert_string_equal(p.subject, "");
    return rc;
}

static void a_good_token_tells_who_it_is(void **state)
{
    struct oidc_person p;
    (void)state;
    assert_int_equal(read_claims(good_claims, &p), 0);
    assert_string_equal(p.subject, "https://id.example u1");
    assert_string_equal(p.email.address, "ada@example.com");
    assert_string_equal(p.name, "Ada");
}

static void a_token_for_somebody_else_is_refused(void **state)
{
    (void)state;
    assert_int_equal(read_with("https://id.example", "https://id.example/"), ERR_DENIED);
    assert_int_equal(read_with("\"iss\":\"https://id.example\",", ""), ERR_DENIED);
    assert_int_equal(read_with("\"aud\":\"me\"", "\"aud\":\"you\""), ERR_DENIED);
    assert_int_equal(read_with("\"aud\":\"me\"", "\"aud\":[\"you\"]"), ERR_DENIED);
    assert_int_equal(read_with("\"aud\":\"me\"", "\"aud\":[]"), ERR_DENIED);
    assert_int_equal(read_with("\"aud\":\"me\"", "\"aud\":[\"me\"]"), 0);
    assert_int_equal(read_with("\"aud\":\"me\"", "\"aud\":[\"me\",\"you\"]"), ERR_DENIED);
    assert_int_equal(read_with("\"aud\":\"me\"", "\"aud\":[\"me\",\"you\"],\"azp\":\"me\""), 0);
    assert_int_equal(read_with("\"aud\":\"me\"", "\"aud\":[\"me\",\"you\"],\"azp\":\"you\""),
                     ERR_DENIED);
    assert_int_equal(read_with("\"aud\":\"me\"", "\"aud\":\"me\",\"azp\":\"you\""), ERR_DENIED);
    assert_int_equal(read_with("\"aud\":\"me\",", ""), ERR_DENIED);
}

static void a_token_of_another_login_is_refused(void **state)
{
    (void)state;
    assert_int_equal(read_with(NONCE, "x"), ERR_DENIED);
    assert_int_equal(read_with(NONCE, ""), ERR_DENIED);
    assert_int_equal(read_with("\"nonce\":\"" NONCE "\",", ""), ERR_DENIED);
    assert_int_equal(read_with("\"" NONCE "\"", "1"), ERR_DENIED);
}

static void a_token_is_good_in_its_time_alone(void **state)
{
    struct oidc_person p;
    struct error e;
    char *token = id_token("{\"alg\":\"RS256\"}", good_claims, "c2ln");
    (void)state;
    assert_int_equal(read_at(token, 1764341000 + 59, &p, &e), 0);
    assert_int_equal(read_at(token, 1764341000 + 60, &p, &e), ERR_EXPIRED);
    assert_int_equal(read_at(token, 1764340930 - 60, &p, &e), 0);
    assert_int_equal(read_at(token, 1764340930 - 61, &p, &e), ERR_DENIED);
    free(token);
    assert_int_equal(read_with("\"exp\":1764341000,", ""), ERR_INVALID);
    assert_int_equal(read_with("\"exp\":1764341000", "\"exp\":\"1764341000\""), ERR_INVALID);
    assert_int_equal(read_with("\"exp\":1764341000", "\"exp\":1e300"), ERR_INVALID);
    assert_int_equal(read_with("\"exp\":1764341000", "\"exp\":1764341000.5"), 0);
    assert_int_equal(read_with("\"iat\":1764340930,", ""), ERR_INVALID);
    assert_int_equal(read_with("\"iat\":1764340930", "\"iat\":-1"), ERR_INVALID);
    assert_int_equal(read_with("\"iat\":1764340930", "\"iat\":1764340000"), ERR_EXPIRED);
    assert_int_equal(read_with("\"sub\"", "\"nbf\":1764341001,\"sub\""), ERR_DENIED);
    assert_int_equal(read_with("\"sub\"", "\"nbf\":1764340930,\"sub\""), 0);
}

static void an_address_must_be_verified(void **state)
{
    (void)state;
    assert_int_equal(read_with("\"email_verified\":true", "\"email_verified\":false"), ERR_DENIED);
    assert_int_equal(read_with("\"email_verified\":true", "\"email_verified\":\"true\""),
                     ERR_DENIED);
    assert_int_equal(read_with(",\"email_verified\":true", ""), ERR_DENIED);
    assert_int_equal(read_with("\"email\":\"Ada@Example.com\",", ""), ERR_DENIED);
    assert_int_equal(read_with("Ada@Example.com", "Ada"), ERR_INVALID);
}

static void a_subject_must_be_one(void **state)
{
    char long_one[400] = "\"sub\":\"";
    (void)state;
    assert_int_equal(read_with("\"sub\":\"u1\",", ""), ERR_INVALID);
    assert_int_equal(read_with("\"sub\":\"u1\"", "\"sub\":\"\""), ERR_INVALID);
    assert_int_equal(read_with("\"sub\":\"u1\"", "\"sub\":1"), ERR_INVALID);
    memset(long_one + 7, 'x', 256);
    long_one[7 + 256] = '"';
    assert_int_equal(read_with("\"sub\":\"u1\"", long_one), ERR_INVALID);
}

static void what_is_no_signed_token_is_refused(void **state)
{
    struct oidc_person p;
    struct error e;
    (void)state;
    static const char *const heads[] = {"{\"alg\":\"none\"}", "{}", "[]", "x", ""};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        char *token = id_token(heads[i], good_claims, "c2ln");
        assert_int_equal(read_at(token, NOW_S, &p, &e), ERR_INVALID);
        free(token);
    }
    char *unsigned_one = id_token("{\"alg\":\"RS256\"}", good_claims, "");
    assert_int_equal(read_at(unsigned_one, NOW_S, &p, &e), ERR_INVALID);
    free(unsigned_one);
    static const char *const bad[] = {
        "", ".", "..", "a.b.c", "e30.e30.e30", "e30", "e30.e30", "e30.e30.e30.e30.e30"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(read_at(bad[i], NOW_S, &p, &e), ERR_INVALID);
    assert_int_equal(read_claims("[]", &p), ERR_INVALID);
    assert_int_equal(read_claims("{\"iss\":1,\"iss\":2}", &p), ERR_INVALID);
}

/* --- the provider --- */

struct rig {
    struct event_base *base;
    struct oidc *oidc;
    struct outside *server;
    char issuer[64], claimed[64]; /* what the provider says of itself */
    char *answer;                 /* of the token endpoint */
    int status, n, code;
    char error[512], email[256];
};

static void on_answer(void *arg, const struct oidc_answer *a)
{
    struct rig *r = arg;
    r->n++;
    r->code = a->code;
    snprintf(r->error, sizeof r->error, "%s", a->error);
    snprintf(r->email, sizeof r->email, "%s", a->person ? a->person->email.address : "");
}

static void serve(struct outside *o, int fd)
{
    const struct rig *r = o->arg;
    char path[1024], body[1024];
    if (!outside_request(o, fd, path, sizeof path))
        return;
    if (strcmp(path, "/.well-known/openid-configuration") == 0) {
        snprintf(
            body, sizeof body,
            "{\"issuer\":\"%s\",\"authorization_endpoint\":\"%s/a\",\"token_endpoint\":\"%s/t\"}",
            r->claimed, r->issuer, r->issuer);
        outside_reply(fd, 200, "", body);
    } else {
        outside_reply(fd, strcmp(path, "/t") == 0 ? r->status : 404, "", r->answer);
    }
}

static struct rig *rig_open(void)
{
    struct rig *r = mem_zalloc(sizeof *r);
    struct error e;
    r->base = event_base_new();
    r->server = outside_open(serve, r);
    snprintf(r->issuer, sizeof r->issuer, "http://127.0.0.1:%d", r->server->port);
    snprintf(r->claimed, sizeof r->claimed, "%s", r->issuer);
    r->status = 200;
    r->answer = mem_strdup("{}");
    if (oidc_open(r->base, on_answer, r, &r->oidc, &e))
        fail_msg("%s", e.text);
    struct oidc_client client = {r->issuer, "me", "SECRET"};
    oidc_set(r->oidc, &client, &rules);
    return r;
}

static void rig_close(struct rig *r)
{
    oidc_close(r->oidc);
    outside_close(r->server);
    event_base_free(r->base);
    free(r->answer);
    free(r);
}

static void wait_for(struct rig *r, int n)
{
    while (r->n < n)
        event_base_loop(r->base, EVLOOP_ONCE);
}

static void answer_with(struct rig *r, const char *nonce)
{
    char claims[1024];
    int64_t now_s = clock_unix_ms() / 1000;
    snprintf(claims, sizeof claims,
             "{\"iss\":\"%s\",\"sub\":\"u1\",\"aud\":\"me\",\"exp\":%lld,\"iat\":%lld,"
             "\"nonce\":\"%s\",\"email\":\"ada@example.com\",\"email_verified\":true}",
             r->issuer, (long long)now_s + 60, (long long)now_s, nonce);
    char *token = id_token("{\"alg\":\"RS256\"}", claims, "c2ln");
    size_t bytes = strlen(token) + 64;
    free(r->answer);
    r->answer = mem_alloc(bytes);
    snprintf(r->answer, bytes, "{\"access_token\":\"x\",\"id_token\":\"%s\"}", token);
    free(token);
}

static int finish(struct rig *r, const struct oidc_secrets *secrets, const char *issuer)
{
    struct error e;
    return oidc_finish(r->oidc, 5, "the code", issuer, "https://m.example/cb", secrets, &e);
}

static void a_login_ends_with_a_person(void **state)
{
    struct rig *r = rig_open();
    struct oidc_secrets secrets;
    struct error e;
    struct buf url;
    (void)state;
    assert_false(oidc_is_ready(r->oidc));
    assert_int_equal(oidc_prepare(r->oidc, 1, &e), 0);
    wait_for(r, 1);
    assert_int_equal(r->code, 0);
    assert_true(oidc_is_ready(r->oidc));
    oidc_make_secrets(&secrets);
    buf_init(&url, 4096);
    oidc_put_start(r->oidc, &url, "https://m.example/cb", "STATE", &secrets);
    assert_memory_equal(url.data, r->issuer, strlen(r->issuer));
    buf_done(&url);
    answer_with(r, secrets.nonce);
    assert_int_equal(finish(r, &secrets, NULL), 0);
    wait_for(r, 2);
    assert_string_equal(r->error, "");
    assert_string_equal(r->email, "ada@example.com");
    char *heard = outside_heard(r->server);
    assert_non_null(strstr(heard, "code=the%20code&"));
    assert_non_null(strstr(heard, "Authorization: Basic bWU6U0VDUkVU\r\n")); /* me:SECRET */
    assert_non_null(strstr(heard, secrets.verifier));
    free(heard);
    rig_close(r);
}

static void a_provider_is_asked_once_for_many(void **state)
{
    struct rig *r = rig_open();
    struct error e;
    (void)state;
    for (int i = 0; i < 10; i++)
        assert_int_equal(oidc_prepare(r->oidc, (uint64_t)i, &e), 0);
    wait_for(r, 10);
    assert_int_equal(outside_connections(r->server), 1);
    rig_close(r);
}

static void a_login_goes_on_after_a_restart(void **state)
{
    struct rig *r = rig_open();
    struct oidc_secrets secrets;
    (void)state;
    oidc_make_secrets(&secrets);
    answer_with(r, secrets.nonce);
    assert_int_equal(finish(r, &secrets, NULL), 0); /* nobody has asked for its configuration */
    wait_for(r, 1);
    assert_string_equal(r->email, "ada@example.com");
    rig_close(r);
}

static void another_nonce_is_another_login(void **state)
{
    struct rig *r = rig_open();
    struct oidc_secrets secrets;
    (void)state;
    oidc_make_secrets(&secrets);
    answer_with(r, NONCE);
    assert_int_equal(finish(r, &secrets, NULL), 0);
    wait_for(r, 1);
    assert_int_equal(r->code, ERR_DENIED);
    assert_string_equal(r->email, "");
    rig_close(r);
}

static void a_provider_of_another_name_is_refused_and_not_asked_again_at_once(void **state)
{
    struct rig *r = rig_open();
    struct error e;
    (void)state;
    snprintf(r->claimed, sizeof r->claimed, "https://evil.example");
    assert_int_equal(oidc_prepare(r->oidc, 1, &e), 0);
    wait_for(r, 1);
    assert_int_equal(r->code, ERR_IO);
    assert_int_equal(oidc_prepare(r->oidc, 2, &e), ERR_IO);
    assert_int_equal(outside_connections(r->server), 1);
    rig_close(r);
}

static void a_refused_code_tells_the_providers_word(void **state)
{
    struct rig *r = rig_open();
    struct oidc_secrets secrets;
    (void)state;
    oidc_make_secrets(&secrets);
    free(r->answer);
    r->answer = mem_strdup("{\"error\":\"invalid_grant\",\"error_description\":\"the code\"}");
    r->status = 400;
    assert_int_equal(finish(r, &secrets, NULL), 0);
    wait_for(r, 1);
    assert_int_equal(r->code, ERR_DENIED);
    assert_non_null(strstr(r->error, "invalid_grant"));
    assert_null(strstr(r->error, "the code"));
    assert_null(strstr(r->error, "SECRET"));
    rig_close(r);
}

static void another_configuration_ends_what_waits(void **state)
{
    struct rig *r = rig_open();
    struct error e;
    struct oidc_client none = {"", "", ""};
    (void)state;
    assert_int_equal(oidc_prepare(r->oidc, 1, &e), 0);
    oidc_set(r->oidc, &none, &rules);
    assert_int_equal(r->n, 1);
    assert_int_equal(r->code, ERR_CANCELLED);
    assert_false(oidc_has_provider(r->oidc));
    assert_int_equal(oidc_prepare(r->oidc, 2, &e), ERR_NOT_FOUND);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_challenge_is_that_of_the_standard),
        cmocka_unit_test(the_browser_is_sent_with_all_that_is_needed),
        cmocka_unit_test(a_secret_goes_where_the_provider_wants_it),
        cmocka_unit_test(a_provider_is_what_it_says_it_is),
        cmocka_unit_test(what_is_kept_of_a_login_reads_back),
        cmocka_unit_test(a_good_token_tells_who_it_is),
        cmocka_unit_test(a_token_for_somebody_else_is_refused),
        cmocka_unit_test(a_token_of_another_login_is_refused),
        cmocka_unit_test(a_token_is_good_in_its_time_alone),
        cmocka_unit_test(an_address_must_be_verified),
        cmocka_unit_test(a_subject_must_be_one),
        cmocka_unit_test(what_is_no_signed_token_is_refused),
        cmocka_unit_test(a_login_ends_with_a_person),
        cmocka_unit_test(a_provider_is_asked_once_for_many),
        cmocka_unit_test(a_login_goes_on_after_a_restart),
        cmocka_unit_test(another_nonce_is_another_login),
        cmocka_unit_test(a_provider_of_another_name_is_refused_and_not_asked_again_at_once),
        cmocka_unit_test(a_refused_code_tells_the_providers_word),
        cmocka_unit_test(another_configuration_ends_what_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
