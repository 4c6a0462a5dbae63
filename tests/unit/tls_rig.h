/*
 * Certificates made by the openssl command, and a client of TLS that shares the thread and the loop
 * with the server, as http_rig.h's plain one. For the tests of the http room under TLS.
 */
#ifndef MOONGATE_TESTS_TLS_RIG_H
#define MOONGATE_TESTS_TLS_RIG_H

#include "http_rig.h"

#include "http/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

static char folder[] = "moongate-tls-XXXXXX", *files_at;

/* "NAME.END" in the folder of the certificates; borrowed, good for four calls more. */
static inline const char *at(const char *name, const char *end)
{
    static char paths[5][300];
    static int turn_of;
    char *path = paths[turn_of++ % 5];
    snprintf(path, sizeof(paths[0]), "%s/%s.%s", files_at, name, end);
    return path;
}

static inline void run_openssl(const char *const *arguments)
{
    posix_spawn_file_actions_t quiet;
    pid_t pid;
    int status;
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_WRONLY, 0);
    assert_int_equal(posix_spawnp(&pid, "openssl", &quiet, NULL, (char **)arguments, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    posix_spawn_file_actions_destroy(&quiet);
}

static inline void make_certificate(const char *name, const char *algorithm, const char *option)
{
    char subject[50];
    snprintf(subject, sizeof(subject), "/CN=%s", name);
    run_openssl((const char *const[]){"openssl", "req", "-x509", "-newkey", algorithm, "-pkeyopt",
                                      option, "-nodes", "-days", "2", "-subj", subject, "-keyout",
                                      at(name, "key"), "-out", at(name, "pem"), NULL});
}

static inline int make_files(void **state)
{
    const char *tmp = getenv("TMPDIR");
    static char path[200];
    (void)state;
    snprintf(path, sizeof(path), "%s/%s", tmp != NULL ? tmp : P_tmpdir, folder);
    files_at = mkdtemp(path);
    assert_non_null(files_at);
    make_certificate("first", "ec", "ec_paramgen_curve:prime256v1");
    make_certificate("second", "rsa", "rsa_keygen_bits:2048");
    make_certificate("third", "ec", "ec_paramgen_curve:prime256v1");
    run_openssl((const char *const[]){"openssl", "pkey", "-in", at("first", "key"), "-aes256",
                                      "-passout", "pass:secret", "-out", at("locked", "key"),
                                      NULL});
    return 0;
}

static inline int remove_files(void **state)
{
    static const char *const names[] = {"first", "second", "third", "locked"};
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        unlink(at(names[i], "key"));
        unlink(at(names[i], "pem"));
    }
    return rmdir(files_at);
}

static inline void use_certificate(struct world *w, const char *name)
{
    struct http_tls *t;
    struct error e;
    if (http_tls_open(at(name, "pem"), at(name, "key"), &t, &e) != 0)
        fail_msg("%s", e.text);
    http_set_tls(w->server, t);
    http_tls_close(t);
}

static inline int set_up_tls(void **state)
{
    set_up(state);
    use_certificate(*state, "first");
    return 0;
}

/* A client under TLS; `plain` is what carries it, and what was decrypted is in plain.got. */
struct secure {
    struct client plain;
    SSL *ssl;
    SSL_SESSION *ticket;
    bool closed; /* the server said that it ends */
    bool broken; /* the end came without that */
};

static inline SSL_CTX *client_context(void)
{
    SSL_CTX *t = SSL_CTX_new(TLS_client_method());
    assert_non_null(t);
    assert_int_equal(SSL_CTX_load_verify_file(t, at("first", "pem")), 1);
    assert_int_equal(SSL_CTX_load_verify_file(t, at("second", "pem")), 1);
    SSL_CTX_set_verify(t, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(t, SSL_MODE_ENABLE_PARTIAL_WRITE);
    return t;
}

static inline struct secure secure_on(struct world *w, SSL_CTX *context)
{
    struct secure c = {.plain = dial(w), .ssl = SSL_new(context)};
    assert_int_equal(SSL_set_fd(c.ssl, c.plain.fd), 1);
    SSL_set_connect_state(c.ssl);
    return c;
}

/* What OpenSSL said to `result`: whether it only waits. Notes an end. */
static inline bool waits(struct secure *c, int result)
{
    int why = SSL_get_error(c->ssl, result);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
        return true;
    c->closed = c->closed || why == SSL_ERROR_ZERO_RETURN;
    c->broken = c->broken || why != SSL_ERROR_ZERO_RETURN;
    return false;
}

/* The handshake is over, well or not. */
static inline bool shaken(struct secure *c)
{
    ERR_clear_error();
    int result = SSL_do_handshake(c->ssl);
    return result == 1 || !waits(c, result);
}

static inline struct secure secure_dial(struct world *w)
{
    SSL_CTX *context = client_context();
    struct secure c = secure_on(w, context);
    SSL_CTX_free(context);
    until(w, shaken(&c));
    assert_true(SSL_is_init_finished(c.ssl));
    return c;
}

static inline void secure_receive(struct secure *c)
{
    static char bytes[20000];
    int n = 1;
    while (!c->closed && !c->broken && n > 0) {
        ERR_clear_error();
        n = SSL_read(c->ssl, bytes, sizeof(bytes));
        if (n > 0)
            buf_add(&c->plain.got, bytes, (size_t)n);
        else
            waits(c, n);
    }
}

static inline bool secure_has(struct secure *c, const char *needle)
{
    secure_receive(c);
    const struct buf *got = &c->plain.got;
    return got->data != NULL && memmem(got->data, got->len, needle, strlen(needle)) != NULL;
}

static inline bool secure_ended(struct secure *c)
{
    secure_receive(c);
    return c->closed || c->broken;
}

/* Sends all of it while the loop turns; false if the server hangs up before. */
static inline bool secure_say_bytes(struct world *w, struct secure *c, const char *bytes,
                                    size_t len)
{
    size_t sent = 0;
    int64_t give_up_ms = clock_mono_ms() + GIVE_UP_MS;
    while (sent < len) {
        ERR_clear_error();
        int n = SSL_write(c->ssl, bytes + sent, (int)(len - sent));
        if (n > 0)
            sent += (size_t)n;
        else if (!waits(c, n))
            return false;
        turn(w);
        assert_true(clock_mono_ms() < give_up_ms);
    }
    return true;
}

static inline void secure_say(struct world *w, struct secure *c, const char *text)
{
    assert_true(secure_say_bytes(w, c, text, strlen(text)));
}

/* Drops the connection without a word of TLS. */
static inline void secure_hang_up(struct secure *c)
{
    SSL_free(c->ssl);
    hang_up(&c->plain);
}

static inline void peer_name(struct secure *c, char out[50])
{
    X509 *certificate = SSL_get1_peer_certificate(c->ssl);
    assert_non_null(certificate);
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, out, 50);
    X509_free(certificate);
}

#define a_tls_test(name) cmocka_unit_test_setup_teardown(name, set_up_tls, tear_down)

#endif
