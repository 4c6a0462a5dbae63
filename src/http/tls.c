/*
 * The certificate and key of the server, and the bytes of a connection under TLS.
 *
 * OpenSSL reads and writes the socket itself, so a plain connection knows nothing of this but a
 * NULL. A record is read whole or not at all (no read-ahead): what OpenSSL holds back is never a
 * request that nobody wakes up for, and not reading from the socket stops the client as without
 * TLS. A record is written from the front of the connection's output, which is drained once the
 * socket took all of the record: conn_pending counts what waits, as without TLS.
 *
 * Tickets let clients come back without a whole handshake; their key lives as long as the
 * certificate does here. Nothing is kept for a client. Event loop only, but for opening.
 */
#include "http/conn.h"
#include "http/tls.h"

#include "base/mem.h"

#include <errno.h>
#include <event2/buffer.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509err.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RECORD_BYTES = 16 * 1024, RECORDS_AT_ONCE = 16 };

struct http_tls {
    SSL_CTX *context;
};

/* HTTP/1.1, or 1.0 if the client offers nothing better; a client that asks for other protocols
 * alone is told that there is none (RFC 7301). */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char ours[] = "\x08http/1.1\x08http/1.0";
    unsigned char *chosen;
    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof(ours) - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* A server must not stop and ask its terminal. */
static int no_passphrase(char *out, int bytes, int writing, void *arg)
{
    (void)out;
    (void)bytes;
    (void)writing;
    *(bool *)arg = true;
    return -1;
}

static SSL_CTX *new_context(void)
{
    static const char ciphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20";
    SSL_CTX *t = SSL_CTX_new(TLS_server_method());
    if (t == NULL || SSL_CTX_set_min_proto_version(t, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(t, ciphers) != 1)
        abort();
    SSL_CTX_set_options(t, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(t, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(t, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_alpn_select_cb(t, choose_protocol, NULL);
    return t;
}

static const char *reason(void)
{
    unsigned long why = ERR_peek_last_error();
    if (ERR_SYSTEM_ERROR(why))
        return strerror(ERR_GET_REASON(why));
    const char *text = ERR_reason_error_string(why);
    return text != NULL ? text : "unknown reason";
}

static int check_readable(const char *what, const char *file, struct error *e)
{
    if (access(file, R_OK) == 0)
        return 0;
    return error_set(e, ERR_IO, "cannot read the %s \"%s\" for TLS: %s", what, file,
                     strerror(errno));
}

static int load_key(SSL_CTX *t, const char *cert_file, const char *key_file, struct error *e)
{
    bool good = SSL_CTX_use_PrivateKey_file(t, key_file, SSL_FILETYPE_PEM) == 1;
    bool other = good ? SSL_CTX_check_private_key(t) != 1
                      : ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH;
    if (other)
        return error_set(e, ERR_INVALID, "the key \"%s\" for TLS is not the certificate's, \"%s\"",
                         key_file, cert_file);
    if (!good)
        return error_set(e, ERR_INVALID, "no usable key (PEM) for TLS in \"%s\": %s", key_file,
                         reason());
    return 0;
}

static int load(SSL_CTX *t, const char *cert_file, const char *key_file, struct error *e)
{
    bool asked = false;
    int rc = check_readable("certificate", cert_file, e);
    if (rc == 0)
        rc = check_readable("key", key_file, e);
    if (rc != 0)
        return rc;
    SSL_CTX_set_default_passwd_cb(t, no_passphrase);
    SSL_CTX_set_default_passwd_cb_userdata(t, &asked);
    if (SSL_CTX_use_certificate_chain_file(t, cert_file) != 1)
        rc = error_set(e, ERR_INVALID, "no usable certificate (PEM) for TLS in \"%s\": %s",
                       cert_file, reason());
    else
        rc = load_key(t, cert_file, key_file, e);
    SSL_CTX_set_default_passwd_cb_userdata(t, NULL);
    if (rc != 0 && asked)
        rc = error_set(e, ERR_INVALID, "the key \"%s\" for TLS has a passphrase: write it without",
                       key_file);
    return rc;
}

int http_tls_open(const char *cert_file, const char *key_file, struct http_tls **out,
                  struct error *e)
{
    SSL_CTX *context = new_context();
    *out = NULL;
    ERR_clear_error();
    int rc = load(context, cert_file, key_file, e);
    ERR_clear_error();
    if (rc != 0) {
        SSL_CTX_free(context);
        return rc;
    }
    *out = mem_zalloc(sizeof(**out));
    (*out)->context = context;
    return 0;
}

void http_tls_close(struct http_tls *t)
{
    if (t == NULL)
        return;
    SSL_CTX_free(t->context);
    free(t);
}

void http_set_tls(struct http_server *s, const struct http_tls *t)
{
    if (t != NULL)
        SSL_CTX_up_ref(t->context);
    SSL_CTX_free(s->tls);
    s->tls = t != NULL ? t->context : NULL;
}

void tls_begin(struct http_conn *c)
{
    c->ssl = SSL_new(c->server->tls);
    if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1)
        abort();
    SSL_set_accept_state(c->ssl);
}

void tls_end(struct http_conn *c)
{
    SSL_free(c->ssl);
    c->ssl = NULL;
}

/* Whether what gave `result` only waits for the socket. Otherwise nothing more may be asked of
 * OpenSSL for this connection, and nothing is: it takes both sides for closed. */
static bool only_waits(struct http_conn *c, int result)
{
    int why = SSL_get_error(c->ssl, result);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
        errno = EAGAIN;
        return true;
    }
    SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    errno = ECONNRESET;
    return false;
}

enum tls_accepted tls_accept(struct http_conn *c)
{
    ERR_clear_error();
    int result = SSL_accept(c->ssl);
    c->blocked = false;
    if (result == 1)
        return TLS_ACCEPTED;
    bool http = ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST;
    if (only_waits(c, result)) {
        c->blocked = SSL_want_write(c->ssl);
        return TLS_GOES_ON;
    }
    return http ? TLS_IS_PLAIN : TLS_REFUSED;
}

ssize_t tls_read(struct http_conn *c, char *out, size_t bytes)
{
    ERR_clear_error();
    int n = SSL_read(c->ssl, out, (int)bytes);
    if (n > 0)
        return n;
    return only_waits(c, n) ? -1 : 0;
}

int tls_write(struct http_conn *c)
{
    int total = 0;
    for (int i = 0; i < RECORDS_AT_ONCE && conn_pending(c) > 0; i++) {
        size_t len = conn_pending(c) < RECORD_BYTES ? conn_pending(c) : RECORD_BYTES;
        const unsigned char *record = evbuffer_pullup(c->out, (ev_ssize_t)len);
        if (record == NULL)
            abort();
        ERR_clear_error();
        int n = SSL_write(c->ssl, record, (int)len);
        if (n <= 0)
            return only_waits(c, n) && total > 0 ? total : -1;
        evbuffer_drain(c->out, (size_t)n);
        total += n;
    }
    return total;
}

bool tls_say_end(struct http_conn *c)
{
    if (c->end_said || !SSL_is_init_finished(c->ssl))
        return true;
    ERR_clear_error();
    int result = SSL_shutdown(c->ssl);
    c->blocked = result < 0 && only_waits(c, result);
    c->end_said = !c->blocked;
    return c->end_said;
}
