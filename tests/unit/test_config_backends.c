/* Unit tests of src/config_backends.c, config_models.c and config_key.c: backends, what they need,
 * and which of them answer for a model. They run in the repository's root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "config.h"
#include "config_option.h"
#include "config_rig.h"

/* One backend of kind openai with these members. */
#define ONE(members)  "backends:\n  - {name: m, kind: openai, url: 'https://a', " members "}\n"
#define URL(url)      "backends:\n  - {name: m, kind: openai, url: '" url "'}\n"
#define HEADERS(text) ONE("headers: {" text "}")
#define FORWARD(text) ONE("forward: [" text "]")

/* A file of the test with this content; the caller removes it. */
static void write_file(const char *name, const char *bytes, size_t len)
{
    FILE *out = fopen(name, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, len, out), len);
    assert_int_equal(fclose(out), 0);
}

static void check_url(const char *yaml, const char *url, const char *prefix)
{
    struct config *c = parse(yaml);
    assert_string_equal(c->backends[0].upstream.url, url);
    assert_string_equal(c->backends[0].upstream.prefix, prefix);
    config_free(c);
}

static void a_backend_of_kind_openai_has_the_documented_defaults(void **state)
{
    struct config *c = parse("backends:\n"
                             "  - {name: local}\n"
                             "  - {name: m, kind: openai, url: 'https://api.moonshot.ai'}\n");
    const struct upstream_options *o = &config_backend(c, "m")->upstream;
    (void)state;
    assert_int_equal(c->backends[1].kind, CONFIG_OPENAI);
    assert_string_equal(o->name, "m");
    assert_string_equal(o->url, "https://api.moonshot.ai");
    assert_string_equal(o->prefix, "/v1");
    assert_null(o->key);
    assert_int_equal(o->n_headers, 0);
    assert_int_equal(o->n_forward, 0);
    assert_true(o->verify);
    assert_string_equal(o->ca_file, "");
    assert_int_equal(o->http2, UPSTREAM_HTTP2_AUTO);
    assert_string_equal(o->proxy, "");
    assert_int_equal(o->connect_ms, 5000);
    assert_int_equal(o->first_byte_ms, 120000);
    assert_int_equal(o->idle_ms, 60000);
    assert_int_equal(o->total_ms, 0);
    assert_int_equal(o->concurrency, 0);
    assert_int_equal(o->event_bytes, 16 << 20);
    assert_int_equal(o->reply_bytes, 64 << 20);
    assert_int_equal(o->head_bytes, 64 << 10);
    assert_false(o->template_kwargs);
    assert_null(config_backend(c, "n"));
    config_free(c);
}

static void every_option_of_a_backend_can_be_given_and_is_shown(void **state)
{
    static const char yaml[] = "backends:\n"
                               "  - name: m\n"
                               "    kind: openai\n"
                               "    concurrency: 7\n"
                               "    url: http://[::1]:8000\n"
                               "    prefix: /openai/v1/\n"
                               "    headers: {X-Organisation: abc, x-b: 'd e'}\n"
                               "    forward: [x-session-id, X-Other]\n"
                               "    tls_verify: false\n"
                               "    ca_file: /etc/ca.pem\n"
                               "    http2: prior\n"
                               "    proxy: socks5h://user:pass%21@proxy:1080\n"
                               "    connect_timeout: 1s\n"
                               "    first_byte_timeout: 2s\n"
                               "    idle_timeout: 3s\n"
                               "    total_timeout: 4s\n"
                               "    event_bytes: 1MiB\n"
                               "    reply_bytes: 2MiB\n"
                               "    head_bytes: 3KiB\n"
                               "    template_kwargs: true\n";
    struct config *c = parse(yaml);
    const struct upstream_options *o = &c->backends[0].upstream;
    (void)state;
    assert_string_equal(o->url, "http://[::1]:8000");
    assert_string_equal(o->prefix, "/openai/v1");
    assert_int_equal(o->n_headers, 2);
    assert_string_equal(o->headers[0].name, "X-Organisation");
    assert_string_equal(o->headers[0].value, "abc");
    assert_string_equal(o->headers[1].value, "d e");
    assert_int_equal(o->n_forward, 2);
    assert_string_equal(o->forward[0], "x-session-id");
    assert_string_equal(o->forward[1], "X-Other");
    assert_false(o->verify);
    assert_int_equal(o->http2, UPSTREAM_HTTP2_PRIOR);
    assert_string_equal(o->proxy, "socks5h://user:pass%21@proxy:1080");

    char *text = shown(c);
    struct config *again = parse(text);
    const struct upstream_options *a = &again->backends[0].upstream;
    assert_string_equal(a->url, o->url);
    assert_string_equal(a->prefix, o->prefix);
    assert_string_equal(a->forward[1], "X-Other");
    assert_string_equal(a->ca_file, "/etc/ca.pem");
    assert_int_equal(a->http2, UPSTREAM_HTTP2_PRIOR);
    assert_string_equal(a->proxy, "socks5h://proxy:1080");
    assert_int_equal(a->concurrency, 7);
    assert_int_equal(a->connect_ms, 1000);
    assert_int_equal(a->first_byte_ms, 2000);
    assert_int_equal(a->idle_ms, 3000);
    assert_int_equal(a->total_ms, 4000);
    assert_int_equal(a->event_bytes, 1 << 20);
    assert_int_equal(a->reply_bytes, 2 << 20);
    assert_int_equal(a->head_bytes, 3 << 10);
    assert_true(a->template_kwargs);
    assert_non_null(strstr(text, "# headers, whose values are not shown: X-Organisation, x-b\n"));
    assert_non_null(strstr(text, "# the proxy's user and password are not shown\n"));
    assert_null(strstr(text, "abc"));
    assert_null(strstr(text, "d e"));
    assert_null(strstr(text, "pass%21"));
    free(text);
    config_free(again);
    config_free(c);
}

static void a_path_of_the_url_is_the_prefix(void **state)
{
    (void)state;
    check_url(URL("https://a/v1"), "https://a", "/v1");
    check_url(URL("https://a:8443/x/y/"), "https://a:8443", "/x/y");
    check_url(URL("https://a/"), "https://a", "/v1");
    check_url(ONE("prefix: ''"), "https://a", "");
    check_url(ONE("prefix: /"), "https://a", "");
    check_refused("backends:\n  - {name: m, kind: openai, url: 'https://a/v1',\n"
                  "     prefix: /v1}\n",
                  ERR_INVALID,
                  "t.yaml:3: backends[0].prefix: the url has a path already; give one of the two");
    check_refused(URL("https://a/v1/chat/completions"), ERR_INVALID,
                  "t.yaml:2: backends[0].url: ends in /chat/completions, which is added to it; "
                  "leave it out");
    check_refused(ONE("prefix: /v1/chat/completions/"), ERR_INVALID,
                  "t.yaml:2: backends[0].prefix: ends in /chat/completions, which is added to it; "
                  "leave it out");
}

static void a_url_is_http_or_https_with_a_host(void **state)
{
    static const char *const good[] = {"http://a", "https://a_b.c-d:1", "http://127.0.0.1:65535",
                                       "http://[fe80::1]", "https://a/b%20c/~d"};
    static const char *const bad[] = {"a",           "ftp://a",        "HTTPS://a",
                                      "http://",     "http://:80",     "http://a:0",
                                      "http://a:",   "http://a:65536", "http://a b",
                                      "http://a?b",  "http://a/b#c",   "http://a//b",
                                      "http://a/%2", "http://[::1",    "http://a:8080x"};
    char yaml[160];
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        snprintf(yaml, sizeof yaml, URL("%s"), good[i]);
        config_free(parse(yaml));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(yaml, sizeof yaml, URL("%s"), bad[i]);
        check_refused(yaml, ERR_INVALID,
                      "t.yaml:2: backends[0].url: this value is not allowed; allowed: "
                      "http://HOST:PORT or https://HOST:PORT, port and path optional, no user");
    }
    check_refused("backends:\n  - {name: m, kind: openai}\n", ERR_INVALID,
                  "t.yaml:2: backends[0]: a backend of kind openai needs a url, like "
                  "https://api.moonshot.ai");
}

static void a_password_is_in_no_message(void **state)
{
    static const char *const bad[] = {
        URL("https://user:hunter2@a"),
        ONE("proxy: 'ftp://user:hunter2@proxy:1'"),
        ONE("proxy: 'http://user:hunter2@'"),
        ONE("key_env: 'hunter2-x'"),
        ONE("key_env: hunter2"),
        ONE("key_file: hunter2"),
        ONE("key_file: \"hunter2\\n\""),
        ONE("key: hunter2"),
        ONE("api_key: hunter2"),
        HEADERS("X-Key: \"hunter2\\n\""),
        HEADERS("Authorization: Bearer hunter2"),
        HEADERS("X-Key: [hunter2]"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error e = {.text = ""};
        struct config *c = config_new();
        assert_int_not_equal(config_parse(c, "t.yaml", bad[i], strlen(bad[i]), &e), 0);
        assert_non_null(strstr(e.text, "t.yaml:2: backends[0]."));
        assert_null(strstr(e.text, "hunter2"));
        config_free(c);
    }
}

static void a_key_comes_from_the_environment(void **state)
{
    (void)state;
    setenv("TEST_CONFIG_KEY", "sk-abc\n", 1);
    struct config *c = parse(ONE("key_env: TEST_CONFIG_KEY"));
    assert_string_equal(c->backends[0].upstream.key, "sk-abc");
    assert_string_equal(c->backends[0].key_env, "TEST_CONFIG_KEY");
    char *text = shown(c);
    assert_null(strstr(text, "sk-abc"));
    assert_non_null(strstr(text, "key_env: TEST_CONFIG_KEY\n"));
    free(text);
    config_free(c);
    setenv("TEST_CONFIG_KEY", "", 1);
    check_refused(ONE("key_env: TEST_CONFIG_KEY"), ERR_INVALID,
                  "t.yaml:2: backends[0].key_env: TEST_CONFIG_KEY: is empty; put the key there");
    setenv("TEST_CONFIG_KEY", "two words", 1);
    check_refused(ONE("key_env: TEST_CONFIG_KEY"), ERR_INVALID,
                  "t.yaml:2: backends[0].key_env: TEST_CONFIG_KEY: holds a space or a character "
                  "that is not ASCII; it has to be the key alone");
    unsetenv("TEST_CONFIG_KEY");
    check_refused(ONE("key_env: TEST_CONFIG_KEY"), ERR_INVALID,
                  "t.yaml:2: backends[0].key_env: TEST_CONFIG_KEY is not set; set it where "
                  "moongate starts, or name a file that holds the key with key_file");
    check_refused(ONE("key_env: sk_abc"), ERR_INVALID,
                  "t.yaml:2: backends[0].key_env: that environment variable is not set; set it "
                  "where moongate starts, or name a file that holds the key with key_file");
}

/* A folder of its own, as the tests of a build run beside each other. */
static void a_key_comes_from_a_file_of_one_line(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *mistake;
    } bad[] = {
        {"", 0, "is empty; put the key there"},
        {"\r\n", 2, "is empty; put the key there"},
        {"sk-a\nsk-b\n", 10, "holds more than one line; it has to be the key alone"},
        {"sk-a\0b", 6,
         "holds a space or a character that is not ASCII; it has to be the key alone"},
        {"sk-\xc3\xa4", 5,
         "holds a space or a character that is not ASCII; it has to be the key alone"},
    };
    static char large[6000];
    const char *tmp = getenv("TMPDIR");
    char folder[256], file[300], yaml[512], expected[512], name[OPTION_SHOWN_BYTES];
    (void)state;
    snprintf(folder, sizeof folder, "%s/mg-config-XXXXXX", tmp ? tmp : P_tmpdir);
    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/key", folder);
    snprintf(yaml, sizeof yaml, ONE("key_file: %s"), file);

    static const char *const good[] = {"sk-abc", "sk-abc\n", "sk-abc\r\n"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        write_file(file, good[i], strlen(good[i]));
        struct config *c = parse(yaml);
        assert_string_equal(c->backends[0].upstream.key, "sk-abc");
        char *text = shown(c);
        assert_null(strstr(text, "sk-abc"));
        assert_non_null(strstr(text, file));
        free(text);
        config_free(c);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_file(file, bad[i].bytes, bad[i].len);
        snprintf(expected, sizeof expected, "t.yaml:2: backends[0].key_file: %s", bad[i].mistake);
        check_refused(yaml, ERR_INVALID, expected);
    }
    memset(large, 'k', sizeof large);
    write_file(file, large, sizeof large);
    check_refused(yaml, ERR_INVALID,
                  "t.yaml:2: backends[0].key_file: holds more than 4096 bytes; it has to be the "
                  "key alone");
    assert_int_equal(unlink(file), 0);
    snprintf(expected, sizeof expected,
             "t.yaml:2: backends[0].key_file: %s cannot be read: No such file or directory",
             option_shown(file, name));
    check_refused(yaml, ERR_NOT_FOUND, expected);
    assert_int_equal(mkfifo(file, 0600), 0);
    snprintf(expected, sizeof expected,
             "t.yaml:2: backends[0].key_file: %s cannot be read: it is not a regular file",
             option_shown(file, name));
    check_refused(yaml, ERR_INVALID, expected);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(rmdir(folder), 0);
    check_refused(ONE("key_file: x, key_env: y"), ERR_INVALID,
                  "t.yaml:2: backends[0].key_file: key_env names the key already; give one of the "
                  "two");
}

static void header_fields_that_moongate_writes_cannot_be_set_or_passed_on(void **state)
{
    static const char *const own[] = {"Host",           "content-length", "TRANSFER-ENCODING",
                                      "Connection",     "Content-Type",   "traceparent",
                                      "accept-encoding"};
    char yaml[200], expected[200];
    (void)state;
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        snprintf(yaml, sizeof yaml, HEADERS("%s: x"), own[i]);
        snprintf(expected, sizeof expected,
                 "t.yaml:2: backends[0].headers.%s: cannot stand here; moongate writes this field "
                 "itself",
                 own[i]);
        check_refused(yaml, ERR_INVALID, expected);
        snprintf(yaml, sizeof yaml, FORWARD("%s"), own[i]);
        snprintf(expected, sizeof expected,
                 "t.yaml:2: backends[0].forward: %s: cannot stand here; moongate writes this field "
                 "itself",
                 own[i]);
        check_refused(yaml, ERR_INVALID, expected);
    }
    check_refused(HEADERS("authorization: x"), ERR_INVALID,
                  "t.yaml:2: backends[0].headers.authorization: cannot stand here; give the key "
                  "with key_env or key_file");
    check_refused(FORWARD("Authorization"), ERR_INVALID,
                  "t.yaml:2: backends[0].forward: Authorization: is never passed on; a backend has "
                  "a key of its own: key_env or key_file");
    check_refused(FORWARD("cookie"), ERR_INVALID,
                  "t.yaml:2: backends[0].forward: cookie: is never passed on");
    config_free(parse(HEADERS("Cookie: a=b")));
}

static void header_fields_are_tokens_with_visible_values_given_once(void **state)
{
    static const char value[] = "needs a value of visible ASCII characters, at most 4096, with "
                                "spaces only between them";
    static const char *const bad[] = {"''", "~", "' a'", "'a '", "\"a\\tb\"", "\"\\u00e9\"", "[a]"};
    char yaml[200], expected[200];
    (void)state;
    snprintf(expected, sizeof expected, "t.yaml:2: backends[0].headers.X: %s", value);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(yaml, sizeof yaml, HEADERS("X: %s"), bad[i]);
        check_refused(yaml, ERR_INVALID, expected);
    }
    check_refused(HEADERS("'X Y': a"), ERR_INVALID,
                  "t.yaml:2: backends[0].headers.X Y: is no name of a header field; allowed: "
                  "letters, digits and !#$%&'*+-.^_`|~");
    check_refused(FORWARD("''"), ERR_INVALID,
                  "t.yaml:2: backends[0].forward: : is no name of a header field; allowed: "
                  "letters, digits and !#$%&'*+-.^_`|~");
    check_refused(FORWARD("[a]"), ERR_INVALID,
                  "t.yaml:2: backends[0].forward: is a list; allowed: names of header fields");
    check_refused(HEADERS("X-A: 1, x-a: 2"), ERR_INVALID,
                  "t.yaml:2: backends[0].headers.x-a: is given twice; upper and lower case are the "
                  "same in headers");
    check_refused(ONE("headers: {X-A: 1}, forward: [x-a]"), ERR_INVALID,
                  "t.yaml:2: backends[0].forward: x-a: is given twice; upper and lower case are "
                  "the same in headers");
    check_refused(FORWARD("x-a, X-a"), ERR_INVALID,
                  "t.yaml:2: backends[0].forward: X-a: is given twice; upper and lower case are "
                  "the same");
    check_refused(ONE("headers: [a]"), ERR_INVALID,
                  "t.yaml:2: backends[0].headers: is a list; allowed: a mapping of names and "
                  "values");
    check_refused(ONE("forward: a"), ERR_INVALID,
                  "t.yaml:2: backends[0].forward: is a single value; allowed: a list");
    config_free(parse(ONE("headers: {}, forward: []")));
}

static void the_number_of_header_fields_is_bounded(void **state)
{
    struct buf headers, forward;
    (void)state;
    buf_init(&headers, 1 << 16);
    buf_init(&forward, 1 << 16);
    buf_adds(&headers, "backends: [{name: m, kind: openai, url: 'http://a', headers: {a: b");
    buf_adds(&forward, "backends: [{name: m, kind: openai, url: 'http://a', forward: [a");
    for (int i = 0; i < 32; i++) {
        buf_addf(&headers, ", x%d: y", i);
        buf_addf(&forward, ", x%d", i);
    }
    buf_adds(&headers, "}}]\n");
    buf_adds(&forward, "]}]\n");
    check_refused(headers.data, ERR_INVALID,
                  "t.yaml:1: backends[0].headers: has more than 32 header fields");
    check_refused(forward.data, ERR_INVALID,
                  "t.yaml:1: backends[0].forward: needs 1 to 32 entries");
    buf_done(&headers);
    buf_done(&forward);
}

static void what_only_openai_takes_is_refused_for_the_engine(void **state)
{
    static const char *const members[] = {"url: 'http://a'", "prefix: /v1",  "key_env: A",
                                          "headers: {a: b}", "forward: [a]", "idle_timeout: 1s",
                                          "tls_verify: true"};
    char yaml[100], expected[200];
    (void)state;
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        snprintf(yaml, sizeof yaml, "backends:\n  - {%s, kind: local, name: local}\n", members[i]);
        snprintf(expected, sizeof expected,
                 "t.yaml:2: backends[0].%.*s: is for kind: openai alone; this backend is of kind "
                 "local, the engine in this process",
                 (int)strcspn(members[i], ":"), members[i]);
        check_refused(yaml, ERR_INVALID, expected);
    }
    struct config *c = parse("backends: [{name: local, concurrency: 3}]\n");
    assert_int_equal(c->backends[0].upstream.concurrency, 3);
    config_free(c);
}

static void there_is_one_engine_and_local_is_its_name(void **state)
{
    (void)state;
    check_refused("backends:\n  - name: a\n  - name: b\n", ERR_INVALID,
                  "t.yaml:3: backends[1]: is a second backend of kind local; there is one engine. "
                  "A server elsewhere is of kind openai");
    check_refused("backends:\n  - {name: local, kind: openai, url: 'http://a'}\n", ERR_INVALID,
                  "t.yaml:2: backends[0].name: local is the name of the engine in this process; "
                  "take another one");
    check_refused("backends:\n  - name: a\n  - {name: a, kind: openai, url: 'http://a'}\n",
                  ERR_INVALID, "t.yaml:3: backends[1]: has the name of an earlier backend");
}

static void values_of_a_backend_are_checked_as_all_others(void **state)
{
    (void)state;
    check_refused(ONE("connect_timeout: 50ms"), ERR_INVALID,
                  "t.yaml:2: backends[0].connect_timeout: 50ms is below the least allowed 100ms");
    check_refused(ONE("head_bytes: 1MiB"), ERR_INVALID,
                  "t.yaml:2: backends[0].head_bytes: 1MiB is above the greatest allowed 256KiB");
    check_refused(ONE("http2: on"), ERR_INVALID,
                  "t.yaml:2: backends[0].http2: on is not allowed; allowed: auto, off or prior");
    check_refused(ONE("tls_verfy: false"), ERR_INVALID,
                  "t.yaml:2: backends[0].tls_verfy: unknown option; did you mean tls_verify?");
    check_refused(ONE("header: {}"), ERR_INVALID,
                  "t.yaml:2: backends[0].header: unknown option; did you mean headers?");
    check_refused(ONE("prefix: v1"), ERR_INVALID,
                  "t.yaml:2: backends[0].prefix: v1 is not allowed; allowed: empty, or a path like "
                  "/v1");
    check_refused("backends:\n  - {name: m, kind: openapi}\n", ERR_INVALID,
                  "t.yaml:2: backends[0].kind: openapi is not allowed; allowed: local or openai");
    check_refused("backends:\n  - {name: m, kind: openai, url: 'http://a', concurrency: -1}\n",
                  ERR_INVALID,
                  "t.yaml:2: backends[0].concurrency: -1 is below the least allowed 0");
}

/* Models and their routes */

#define TWO                                                                                        \
    "backends:\n  - {name: local}\n  - {name: moonshot, kind: openai, url: "                       \
    "'https://a'}\nmodels:\n"

static void a_model_lists_its_backends_with_weight_and_priority(void **state)
{
    struct config *c = parse(TWO "  - id: kimi-k2.5\n"
                                 "    like: kimi-k2.5\n"
                                 "    images: true\n"
                                 "    tokenizer: engine\n"
                                 "    backends:\n"
                                 "      - {name: local}\n"
                                 "      - {name: moonshot, weight: 3, priority: 2,\n"
                                 "         model: kimi-k2.5-latest}\n");
    const struct config_model *m = config_model(c, "kimi-k2.5");
    (void)state;
    assert_true(m->api.images);
    assert_string_equal(m->tokenizer, "engine");
    assert_string_equal(m->backend, "");
    assert_int_equal(m->n_routes, 2);
    assert_string_equal(m->routes[0].backend, "local");
    assert_int_equal(m->routes[0].weight, 1);
    assert_int_equal(m->routes[0].priority, 1);
    assert_string_equal(m->routes[0].model, "");
    assert_string_equal(m->routes[1].backend, "moonshot");
    assert_int_equal(m->routes[1].weight, 3);
    assert_int_equal(m->routes[1].priority, 2);
    assert_string_equal(m->routes[1].model, "kimi-k2.5-latest");

    char *text = shown(c);
    struct config *again = parse(text);
    char *second = shown(again);
    assert_string_equal(text, second);
    assert_int_equal(again->models[0].routes[1].weight, 3);
    assert_string_equal(again->models[0].routes[1].model, "kimi-k2.5-latest");
    free(text);
    free(second);
    config_free(again);
    config_free(c);
}

static void backend_is_short_for_a_list_of_one(void **state)
{
    struct config *c = parse(TWO "  - {id: a, backend: moonshot}\n  - {id: b}\n");
    (void)state;
    assert_int_equal(c->models[0].n_routes, 1);
    assert_string_equal(c->models[0].backend, "moonshot");
    assert_string_equal(c->models[0].routes[0].backend, "moonshot");
    assert_int_equal(c->models[0].routes[0].weight, 1);
    assert_int_equal(c->models[0].routes[0].priority, 1);
    assert_string_equal(c->models[1].routes[0].backend, "local");
    config_free(c);
    check_refused(TWO "  - id: a\n    backend: local\n    backends: [{name: local}]\n", ERR_INVALID,
                  "t.yaml:7: models[0].backends: backend is given too; it is short for a list of "
                  "one");
}

static void a_model_without_a_backend_takes_local_or_the_first(void **state)
{
    struct config *c = parse("models: [{id: a}]\n"
                             "backends:\n"
                             "  - {name: x, kind: openai, url: 'http://a'}\n"
                             "  - {name: y, kind: openai, url: 'http://b'}\n");
    (void)state;
    assert_string_equal(c->models[0].routes[0].backend, "x");
    config_free(c);
    c = parse("models: [{id: a}]\n"
              "backends: [{name: x, kind: openai, url: 'http://a'}, {name: local}]\n");
    assert_string_equal(c->models[0].routes[0].backend, "local");
    config_free(c);
}

static void the_default_models_are_answered_by_the_only_backend(void **state)
{
    struct config *c = parse("backends: [{name: x, kind: openai, url: 'http://a'}]\n");
    (void)state;
    assert_int_equal(c->n_models, 9);
    for (size_t i = 0; i < c->n_models; i++) {
        assert_int_equal(c->models[i].n_routes, 1);
        assert_string_equal(c->models[i].routes[0].backend, "x");
    }
    config_free(c);
    check_refused("backends:\n"
                  "  - {name: x, kind: openai, url: 'http://a'}\n"
                  "  - {name: y, kind: openai, url: 'http://b'}\n",
                  ERR_INVALID,
                  "t.yaml:2: backends: none of them is of kind local, so the default models have "
                  "no backend; add a list of models, each with `backend: NAME`");
}

static void a_mistake_in_a_route_names_its_line(void **state)
{
    (void)state;
    check_refused(TWO
                  "  - id: a\n    backends:\n      - {name: local}\n      - {name: moonshott}\n",
                  ERR_INVALID,
                  "t.yaml:8: models[0].backends[1]: its backend moonshott is not in the list of "
                  "backends, like moonshot");
    check_refused(TWO "  - id: a\n    backend: moonshoot\n", ERR_INVALID,
                  "t.yaml:5: a: its backend moonshoot is not in the list of backends, like "
                  "moonshot");
    check_refused("backends:\n  - {name: x, kind: openai, url: 'http://a'}\n"
                  "models:\n  - {id: a, backend: local}\n",
                  ERR_INVALID,
                  "t.yaml:4: a: its backend local is not in the list of backends, like x");
    check_refused(TWO "  - id: a\n    backends:\n      - {name: local}\n      - {name: local}\n",
                  ERR_INVALID,
                  "t.yaml:8: models[0].backends[1]: names the backend of an earlier entry");
    check_refused(TWO "  - id: a\n    backends:\n      - {name: local, model: x}\n", ERR_INVALID,
                  "t.yaml:7: models[0].backends[0]: model is for a backend of kind openai; the "
                  "engine in this process has one model");
    check_refused(TWO "  - id: a\n    backends:\n      - {weight: 1}\n", ERR_INVALID,
                  "t.yaml:7: models[0].backends[0]: needs a name");
    check_refused(TWO "  - {id: a, backends: [{name: local, weight: 0}]}\n", ERR_INVALID,
                  "t.yaml:5: models[0].backends[0].weight: 0 is below the least allowed 1");
    check_refused(TWO "  - {id: a, backends: [{name: local, priority: 101}]}\n", ERR_INVALID,
                  "t.yaml:5: models[0].backends[0].priority: 101 is above the greatest allowed "
                  "100");
    check_refused(TWO "  - {id: a, backends: [{name: local, wieght: 1}]}\n", ERR_INVALID,
                  "t.yaml:5: models[0].backends[0].wieght: unknown option; did you mean weight?");
    check_refused(TWO "  - {id: a, backends: [local]}\n", ERR_INVALID,
                  "t.yaml:5: models[0].backends[0]: is a single value; allowed: a mapping for each "
                  "entry");
    check_refused(TWO "  - {id: a, backends: []}\n", ERR_INVALID,
                  "t.yaml:5: models[0].backends: needs 1 to 64 entries");
    check_refused(TWO "  - {id: a, backends: local}\n", ERR_INVALID,
                  "t.yaml:5: models[0].backends: is a single value; allowed: a list");
}

/* Warnings and the example */

static void check_warnings(const char *yaml, const char *text)
{
    struct config *c = parse(yaml);
    struct buf b;
    buf_init(&b, 4096);
    config_warnings(c, &b);
    assert_string_equal(b.data ? b.data : "", text);
    buf_done(&b);
    config_free(c);
}

static void a_key_that_travels_unencrypted_is_warned_of(void **state)
{
    static const char *const local[] = {"http://localhost:1", "http://x.LOCALHOST",
                                        "http://127.1.2.3/v1", "http://[::1]:8000", "https://a.b"};
    static const char *const far[] = {
        "http://a.b:1",       "http://10.0.0.1", "http://127.evil.example",
        "http://localhost.a", "http://[::2]",    "http://notlocalhost"};
    char yaml[160], expected[160];
    (void)state;
    setenv("TEST_CONFIG_KEY", "sk-abc", 1);
    check_warnings("", "");
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++) {
        snprintf(yaml, sizeof yaml,
                 "backends: [{name: m, kind: openai, url: '%s', key_env: TEST_CONFIG_KEY}]\n",
                 local[i]);
        check_warnings(yaml, "");
    }
    for (size_t i = 0; i < sizeof far / sizeof far[0]; i++) {
        snprintf(yaml, sizeof yaml, URL("%s"), far[i]);
        check_warnings(yaml, "");
        snprintf(yaml, sizeof yaml,
                 "backends: [{name: m, kind: openai, url: '%s', key_env: TEST_CONFIG_KEY}]\n",
                 far[i]);
        snprintf(expected, sizeof expected,
                 "backend m: its key travels unencrypted to %s; use https\n", far[i]);
        check_warnings(yaml, expected);
    }
    check_warnings(ONE("tls_verify: false"), "");
    check_warnings(ONE("tls_verify: false, key_env: TEST_CONFIG_KEY"),
                   "backend m: with tls_verify: false its key goes to whoever answers for "
                   "https://a; use ca_file\n");
    unsetenv("TEST_CONFIG_KEY");
}

/* The lines "  # - name: moonshot" and on, without their "# ", are an entry of the list. */
static void the_backend_that_the_example_shows_can_be_taken(void **state)
{
    struct buf example, taken;
    (void)state;
    buf_init(&example, 1 << 20);
    buf_init(&taken, 1 << 20);
    config_example(&example);
    char *entry = strstr(example.data, "  # - name: moonshot\n");
    assert_non_null(entry);
    buf_add(&taken, example.data, (size_t)(entry - example.data));
    for (char *line = entry; *line; line += strcspn(line, "\n") + 1) {
        assert_memory_equal(line, "  # ", 4);
        buf_adds(&taken, "  ");
        buf_add(&taken, line + 4, strcspn(line + 4, "\n") + 1);
    }
    setenv("MOONSHOT_API_KEY", "sk-abc", 1);
    struct config *c = parse(taken.data);
    assert_int_equal(c->n_backends, 2);
    assert_string_equal(c->backends[1].upstream.url, "https://api.moonshot.ai");
    assert_string_equal(c->backends[1].upstream.prefix, "/v1");
    assert_string_equal(c->backends[1].upstream.key, "sk-abc");
    assert_string_equal(c->models[0].routes[0].backend, "local");
    unsetenv("MOONSHOT_API_KEY");
    config_free(c);
    buf_done(&example);
    buf_done(&taken);
}

/* Aliases make a small file mean a large one; the bounds are those of the lists. */
static void aliases_of_large_entries_stay_within_the_bounds(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 1 << 20);
    buf_adds(&b, "backends:\n"
                 "  - {name: local}\n"
                 "  - {name: m, kind: openai, url: 'http://a', headers: &h {x: '");
    for (int i = 0; i < 4096; i++)
        buf_addc(&b, 'v');
    buf_adds(&b, "'}}\n");
    for (int i = 0; i < 254; i++)
        buf_addf(&b, "  - {name: m%d, kind: openai, url: 'http://a', headers: *h}\n", i);
    buf_adds(&b, "models:\n  - {id: a, backends: &r [{name: local}, {name: m}]}\n");
    for (int i = 0; i < 255; i++)
        buf_addf(&b, "  - {id: a%d, backends: *r}\n", i);
    struct config *c = parse(b.data);
    assert_int_equal(c->n_backends, 256);
    assert_int_equal(c->n_models, 256);
    assert_int_equal(c->models[255].n_routes, 2);
    assert_true(arena_bytes(c->arena) < 8 << 20);
    config_free(c);
    buf_adds(&b, "  - {id: b, backends: *r}\n");
    check_refused(b.data, ERR_INVALID, "t.yaml:259: models: needs 1 to 256 entries");
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backend_of_kind_openai_has_the_documented_defaults),
        cmocka_unit_test(every_option_of_a_backend_can_be_given_and_is_shown),
        cmocka_unit_test(a_path_of_the_url_is_the_prefix),
        cmocka_unit_test(a_url_is_http_or_https_with_a_host),
        cmocka_unit_test(a_password_is_in_no_message),
        cmocka_unit_test(a_key_comes_from_the_environment),
        cmocka_unit_test(a_key_comes_from_a_file_of_one_line),
        cmocka_unit_test(header_fields_that_moongate_writes_cannot_be_set_or_passed_on),
        cmocka_unit_test(header_fields_are_tokens_with_visible_values_given_once),
        cmocka_unit_test(the_number_of_header_fields_is_bounded),
        cmocka_unit_test(what_only_openai_takes_is_refused_for_the_engine),
        cmocka_unit_test(there_is_one_engine_and_local_is_its_name),
        cmocka_unit_test(values_of_a_backend_are_checked_as_all_others),
        cmocka_unit_test(a_model_lists_its_backends_with_weight_and_priority),
        cmocka_unit_test(backend_is_short_for_a_list_of_one),
        cmocka_unit_test(a_model_without_a_backend_takes_local_or_the_first),
        cmocka_unit_test(the_default_models_are_answered_by_the_only_backend),
        cmocka_unit_test(a_mistake_in_a_route_names_its_line),
        cmocka_unit_test(a_key_that_travels_unencrypted_is_warned_of),
        cmocka_unit_test(the_backend_that_the_example_shows_can_be_taken),
        cmocka_unit_test(aliases_of_large_entries_stay_within_the_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
