/*
 * The server under its own TLS: whole replies, streams, clients that leave, handshakes that go
 * wrong, certificates that are renewed.
 */
#include "tls_rig.h"

#include "base/net.h"
#include "http/forwarded.h"

static struct secure waiting_client(struct world *w, const char *request)
{
    struct secure c = secure_dial(w);
    secure_say(w, &c, request);
    until(w, w->rec.kept != NULL);
    return c;
}

#define WAIT "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"

static void requests_get_their_replies(void **state)
{
    struct world *w = *state;
    struct secure c = secure_dial(w);
    secure_say(w, &c, "GET /about?a=1 HTTP/1.1\r\nHost: x\r\nUser-Agent: test/1\r\n\r\n");
    until(w, secure_has(&c, "GET /about ?a=1 test/1 127.0.0.1"));
    assert_string_equal(SSL_get_version(c.ssl), "TLSv1.3");
    secure_say(w, &c,
               "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
               "GET /stream HTTP/1.1\r\nHost: x\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, secure_has(&c, "abc") && secure_has(&c, "3\r\ntwo\r\n0\r\n\r\n") &&
                 secure_has(&c, "hello"));
    assert_int_equal(w->rec.completed, 4);
    assert_int_equal(http_connections(w->server), 1);
    secure_hang_up(&c);
    until(w, http_connections(w->server) == 0);
}

static void a_request_cut_into_records_reads_the_same(void **state)
{
    struct world *w = *state;
    static const char request[] =
        "\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        "4\r\nbody\r\n3\r\n!!!\r\n0\r\n\r\n";
    struct secure c = secure_dial(w);
    for (size_t i = 0; i < sizeof(request) - 1; i++)
        assert_true(secure_say_bytes(w, &c, request + i, 1));
    until(w, secure_has(&c, "body!!!"));
    secure_hang_up(&c);
}

static void a_large_body_comes_and_goes(void **state)
{
    struct world *w = *state;
    static char body[900000];
    struct secure c = secure_dial(w);
    for (size_t i = 0; i < sizeof(body); i++)
        body[i] = (char)('a' + i * i % 23);
    secure_say(w, &c, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n");
    assert_true(secure_say_bytes(w, &c, body, sizeof(body)));
    until(w, (secure_receive(&c), c.plain.got.len > sizeof(body)) && w->rec.completed == 1);
    until(w, (secure_receive(&c),
              memcmp(c.plain.got.data + c.plain.got.len - 4, body + sizeof(body) - 4, 4) == 0));
    const char *got = strstr(c.plain.got.data, "\r\n\r\n") + 4;
    assert_memory_equal(got, body, sizeof(body));
    secure_hang_up(&c);
}

static void the_application_knows_of_tls(void **state)
{
    struct world *w = *state;
    struct net_list nobody = {0};
    struct forwarded from;
    struct secure c = waiting_client(w, WAIT);
    assert_true(http_is_tls(w->rec.kept));
    http_forwarded(w->rec.kept, &nobody, &from);
    assert_true(from.https);
    assert_string_equal(from.address, "127.0.0.1");
    reply_text(w->rec.kept, 200, "yes");
    until(w, secure_has(&c, "yes"));
    secure_hang_up(&c);
    http_set_tls(w->server, NULL);
    struct client plain = dial(w);
    say(w, &plain, WAIT);
    until(w, w->rec.kept != NULL);
    assert_false(http_is_tls(w->rec.kept));
    reply_text(w->rec.kept, 200, "no");
    until(w, has(&plain, "no"));
    hang_up(&plain);
}

static void what_is_not_taken_is_told_and_drained(void **state)
{
    struct world *w = *state;
    static char piece[10000];
    struct secure c = waiting_client(w, "GET /wait HTTP/1.0\r\n\r\n");
    struct http_exchange *x = w->rec.kept;
    size_t written = 0;
    int full_turns = 0;
    for (size_t i = 0; i < sizeof(piece); i++)
        piece[i] = (char)('a' + i % 26);
    http_stream_start(x, 200, NULL, 0);
    while (full_turns < 3 && written < 256u << 20) {
        while (http_pending(x) < w->limits.stream_bytes) {
            http_stream_write(x, piece, sizeof(piece));
            written += sizeof(piece);
        }
        turn(w);
        full_turns = http_pending(x) >= w->limits.stream_bytes ? full_turns + 1 : 0;
    }
    assert_true(http_pending(x) >= w->limits.stream_bytes);
    http_stream_end(x);
    until(w, secure_ended(&c));
    assert_true(c.closed);
    const char *body = strstr(c.plain.got.data, "\r\n\r\n") + 4;
    assert_int_equal(c.plain.got.len - (size_t)(body - c.plain.got.data), written);
    for (size_t i = 0; i < written; i += sizeof(piece))
        assert_memory_equal(body + i, piece, sizeof(piece));
    assert_int_equal(w->rec.completed, 1);
    secure_hang_up(&c);
}

static void a_stream_goes_on_when_it_is_drained(void **state)
{
    struct world *w = *state;
    static char piece[200000];
    struct secure c = waiting_client(w, WAIT);
    w->rec.stream_more_in_drain = true;
    http_stream_start(w->rec.kept, 200, NULL, 0);
    http_stream_write(w->rec.kept, piece, sizeof(piece));
    until(w, (secure_receive(&c), w->rec.drains >= 50));
    http_stream_end(w->rec.kept);
    until(w, secure_has(&c, "\r\n0\r\n\r\n"));
    assert_true(c.plain.got.len > 50 * sizeof(piece));
    secure_hang_up(&c);
}

static void a_client_that_takes_nothing_is_cut(void **state)
{
    struct world *w = *state;
    static char piece[100000];
    w->limits.stall_timeout_ms = 100;
    set_limits(w);
    struct secure c = waiting_client(w, WAIT);
    http_stream_start(w->rec.kept, 200, NULL, 0);
    for (int i = 0; i < 200; i++)
        http_stream_write(w->rec.kept, piece, sizeof(piece));
    until(w, w->rec.ends == 1);
    assert_int_equal(w->rec.last_outcome, HTTP_CLIENT_STALLED);
    secure_hang_up(&c);
}

/* With a word of TLS, without one, and with a reset. */
static void leave(struct secure *c, int how)
{
    struct linger now = {.l_onoff = how == 2, .l_linger = 0};
    if (how == 0)
        SSL_shutdown(c->ssl);
    setsockopt(c->plain.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    secure_hang_up(c);
}

static void a_client_that_leaves_is_seen(void **state)
{
    struct world *w = *state;
    for (int how = 0; how < 6; how++) {
        struct secure c = waiting_client(w, WAIT);
        if (how >= 3) {
            http_stream_start(w->rec.kept, 200, NULL, 0);
            http_stream_write(w->rec.kept, "abc", 3);
            until(w, secure_has(&c, "3\r\nabc\r\n"));
        }
        leave(&c, how % 3);
        until(w, w->rec.ends == how + 1);
        assert_int_equal(w->rec.last_outcome, HTTP_CLIENT_GONE);
        assert_int_equal(http_connections(w->server), 0);
    }
    assert_int_equal(w->rec.completed, 0);
}

static void a_client_that_only_says_that_it_leaves_is_seen(void **state)
{
    struct world *w = *state;
    struct secure c = waiting_client(w, WAIT);
    assert_int_equal(SSL_shutdown(c.ssl), 0);
    until(w, w->rec.ends == 1);
    assert_int_equal(w->rec.last_outcome, HTTP_CLIENT_GONE);
    secure_hang_up(&c);
}

static void a_client_that_is_not_read_from_and_hangs_up_is_seen(void **state)
{
    struct world *w = *state;
    static char ahead[90000];
    memset(ahead, 'x', sizeof(ahead));
    for (int how = 0; how < 3; how++) {
        struct secure c = waiting_client(w, WAIT);
        secure_say_bytes(w, &c, ahead, sizeof(ahead));
        turn(w);
        leave(&c, how);
        until(w, w->rec.ends == how + 1);
        assert_int_equal(w->rec.last_outcome, HTTP_CLIENT_GONE);
    }
}

static void what_is_sent_ahead_is_not_read_without_bound(void **state)
{
    struct world *w = *state;
    static char ahead[16000];
    struct secure c = waiting_client(w, WAIT);
    size_t sent = 0;
    for (int refused_turns = 0; refused_turns < 100 && sent < 64u << 20;) {
        int n = SSL_write(c.ssl, ahead, sizeof(ahead));
        assert_true(n > 0 || waits(&c, n));
        refused_turns = n <= 0 ? refused_turns + 1 : 0;
        sent += n > 0 ? (size_t)n : 0;
        turn(w);
    }
    assert_true(sent < 64u << 20);
    assert_int_equal(w->rec.ends, 0);
    secure_hang_up(&c);
}

static void what_was_sent_ahead_is_answered_later(void **state)
{
    struct world *w = *state;
    static char ahead[60000];
    struct secure c = waiting_client(w, WAIT);
    w->limits.head_bytes = 1 << 20;
    set_limits(w);
    memset(ahead, 'x', sizeof(ahead));
    memcpy(ahead, "GET /wait HTTP/1.1\r\nHost: x\r\nA: ", 32);
    memcpy(ahead + sizeof(ahead) - 4, "\r\n\r\n", 4);
    assert_true(secure_say_bytes(w, &c, ahead, sizeof(ahead)));
    for (int i = 0; i < 10; i++)
        turn(w);
    assert_int_equal(w->rec.heads, 1);
    reply_text(w->rec.kept, 200, "first");
    until(w, w->rec.heads == 2);
    reply_text(w->rec.kept, 200, "second");
    until(w, secure_has(&c, "first") && secure_has(&c, "second"));
    secure_hang_up(&c);
}

static void a_handshake_has_a_time_limit(void **state)
{
    struct world *w = *state;
    w->limits.head_timeout_ms = 100;
    set_limits(w);
    struct client silent = dial(w), trickles = dial(w);
    until(w, http_connections(w->server) == 2);
    /* a record that announces 512 bytes, of which one comes now and then */
    say_bytes(w, &trickles, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
    for (int64_t end_ms = clock_mono_ms() + GIVE_UP_MS;
         !ended(&trickles) && clock_mono_ms() < end_ms; poll(NULL, 0, 5)) {
        send(trickles.fd, "x", 1, MSG_NOSIGNAL);
        turn(w);
    }
    until(w, ended(&silent) && ended(&trickles));
    assert_int_equal(silent.got.len, 0);
    until(w, http_connections(w->server) == 0);
    assert_int_equal(w->rec.heads + w->rec.faults + w->rec.ends, 0);
    /* the limit is the handshake's alone */
    w->limits.head_timeout_ms = 1000;
    set_limits(w);
    struct secure c = secure_dial(w);
    int64_t later_ms = clock_mono_ms() + 1100;
    until(w, clock_mono_ms() > later_ms);
    secure_say(w, &c, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, secure_has(&c, "hello"));
    secure_hang_up(&c);
    hang_up(&silent);
    hang_up(&trickles);
}

static void an_idle_connection_is_closed_with_a_word(void **state)
{
    struct world *w = *state;
    w->limits.idle_timeout_ms = 50;
    set_limits(w);
    struct secure c = secure_dial(w);
    until(w, secure_ended(&c));
    assert_true(c.closed);
    assert_int_equal(c.plain.got.len, 0);
    secure_hang_up(&c);
}

static void plain_http_is_told_that_this_is_https(void **state)
{
    struct world *w = *state;
    struct client c = dial(w);
    say(w, &c, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, ended(&c));
    assert_false(c.reset);
    assert_true(has(&c, "HTTP/1.1 400 "));
    assert_true(has(&c, "this port speaks https"));
    assert_int_equal(w->rec.faults, 1);
    assert_int_equal(w->rec.heads, 0);
    assert_int_equal(w->rec.ends, 1);
    hang_up(&c);
}

static void what_is_no_handshake_is_closed(void **state)
{
    struct world *w = *state;
    static const char *const nonsense[] = {
        "\r\n\r\n", "DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", "SSH-2.0-x\r\n",
        "\x16\x03\x01\x01\x05nonsense that is long enough for a record" WAIT WAIT WAIT WAIT WAIT
            WAIT WAIT WAIT};
    for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
        struct client c = dial(w);
        say(w, &c, nonsense[i]);
        shutdown(c.fd, SHUT_WR);
        until(w, ended(&c));
        assert_false(has(&c, "HTTP/1.1"));
        hang_up(&c);
    }
    struct client leaves = dial(w);
    until(w, http_connections(w->server) == 1);
    hang_up(&leaves);
    until(w, http_connections(w->server) == 0);
    assert_int_equal(w->rec.heads + w->rec.faults, 0);
}

/* Shakes hands with what the caller set; whether it went well. */
static bool agrees(struct world *w, SSL_CTX *context, const char *protocol)
{
    struct secure c = secure_on(w, context);
    const unsigned char *chosen = NULL;
    unsigned len = 0;
    until(w, shaken(&c));
    bool good = SSL_is_init_finished(c.ssl) && !c.broken;
    SSL_get0_alpn_selected(c.ssl, &chosen, &len);
    assert_int_equal(len, strlen(protocol));
    assert_memory_equal(chosen != NULL ? (const char *)chosen : "", protocol, len);
    secure_hang_up(&c);
    return good;
}

static void only_http_1_and_good_versions_are_agreed_on(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *offer, *chosen;
        bool good;
    } protocols[] = {{"\x02h2\x08http/1.1", "http/1.1", true},
                     {"\x08http/1.0\x08http/1.1", "http/1.1", true},
                     {"\x08http/1.0", "http/1.0", true},
                     {"\x02h2", "", false}};
    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
        SSL_CTX *t = client_context();
        SSL_CTX_set_alpn_protos(t, (const unsigned char *)protocols[i].offer,
                                (unsigned)strlen(protocols[i].offer));
        assert_int_equal(agrees(w, t, protocols[i].chosen), protocols[i].good);
        SSL_CTX_free(t);
    }
    static const struct {
        int version;
        const char *ciphers;
        bool good;
    } versions[] = {{TLS1_3_VERSION, "DEFAULT", true},
                    {TLS1_2_VERSION, "ECDHE+AESGCM", true},
                    {TLS1_2_VERSION, "ECDHE+AES:!AESGCM:!AESCCM@SECLEVEL=0", false},
                    {TLS1_1_VERSION, "ALL@SECLEVEL=0", false}};
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        SSL_CTX *t = client_context();
        assert_int_equal(SSL_CTX_set_cipher_list(t, versions[i].ciphers), 1);
        SSL_CTX_set_min_proto_version(t, versions[i].version);
        SSL_CTX_set_max_proto_version(t, versions[i].version);
        assert_int_equal(agrees(w, t, ""), versions[i].good);
        SSL_CTX_free(t);
    }
}

static void hands_are_shaken_once(void **state)
{
    struct world *w = *state;
    SSL_CTX *t = client_context();
    SSL_CTX_set_max_proto_version(t, TLS1_2_VERSION);
    struct secure c = secure_on(w, t);
    SSL_CTX_free(t);
    until(w, shaken(&c));
    secure_say(w, &c, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, secure_has(&c, "hello"));
    assert_int_equal(SSL_renegotiate(c.ssl), 1);
    until(w, shaken(&c));
    assert_true(c.broken);
    assert_int_equal(w->rec.completed, 1);
    secure_hang_up(&c);
}

static int keep_ticket(SSL *ssl, SSL_SESSION *ticket)
{
    struct secure *c = SSL_get_app_data(ssl);
    SSL_SESSION_free(c->ticket);
    c->ticket = ticket;
    return 1;
}

static void a_ticket_spares_the_next_handshake(void **state)
{
    struct world *w = *state;
    SSL_CTX *t = client_context();
    SSL_CTX_set_session_cache_mode(t, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(t, keep_ticket);
    struct secure c = secure_on(w, t), again = secure_on(w, t);
    SSL_set_app_data(c.ssl, &c);
    SSL_set_app_data(again.ssl, &again);
    until(w, shaken(&c));
    until(w, (secure_receive(&c), c.ticket != NULL));
    assert_false(SSL_session_reused(c.ssl));
    SSL_set_session(again.ssl, c.ticket);
    until(w, shaken(&again));
    assert_true(SSL_session_reused(again.ssl));
    secure_say(w, &again, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, secure_has(&again, "hello"));
    SSL_SESSION_free(c.ticket);
    SSL_SESSION_free(again.ticket);
    secure_hang_up(&c);
    secure_hang_up(&again);
    SSL_CTX_free(t);
}

static void a_renewed_certificate_is_for_new_connections(void **state)
{
    struct world *w = *state;
    char name[50];
    struct secure old = waiting_client(w, WAIT);
    peer_name(&old, name);
    assert_string_equal(name, "first");
    use_certificate(w, "second");
    struct secure new = secure_dial(w);
    peer_name(&new, name);
    assert_string_equal(name, "second");
    reply_text(w->rec.kept, 200, "for the old one");
    until(w, secure_has(&old, "for the old one"));
    secure_say(w, &old, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    secure_say(w, &new, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, secure_has(&old, "hello") && secure_has(&new, "hello"));
    secure_hang_up(&old);
    secure_hang_up(&new);
}

static void the_end_of_a_reply_is_told_and_a_cut_is_not(void **state)
{
    struct world *w = *state;
    struct secure c = waiting_client(w, "GET /wait HTTP/1.0\r\n\r\n");
    reply_text(w->rec.kept, 200, "whole");
    until(w, secure_ended(&c));
    assert_true(c.closed && !c.broken);
    assert_true(secure_has(&c, "whole"));
    secure_hang_up(&c);
    for (int minor = 0; minor < 2; minor++) {
        c = waiting_client(w, minor == 0 ? "GET /wait HTTP/1.0\r\n\r\n" : WAIT);
        http_stream_start(w->rec.kept, 200, NULL, 0);
        http_stream_write(w->rec.kept, "half", 4);
        until(w, secure_has(&c, "half"));
        http_abort(w->rec.kept);
        until(w, secure_ended(&c));
        assert_true(c.broken && !c.closed);
        secure_hang_up(&c);
    }
    assert_int_equal(w->rec.completed, 1);
}

static void what_was_written_before_a_cut_still_goes_out(void **state)
{
    struct world *w = *state;
    struct secure c = waiting_client(w, WAIT);
    http_stream_start(w->rec.kept, 200, NULL, 0);
    http_stream_write(w->rec.kept, "half", 4);
    http_abort(w->rec.kept);
    until(w, secure_ended(&c));
    assert_true(secure_has(&c, "4\r\nhalf\r\n"));
    assert_false(secure_has(&c, "0\r\n\r\n"));
    secure_hang_up(&c);
}

static void an_early_reply_reaches_a_client_that_is_still_sending(void **state)
{
    struct world *w = *state;
    static char body[400000];
    for (int i = 0; i < 5; i++) {
        struct secure c = secure_dial(w);
        secure_say(w, &c, "POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n");
        assert_true(secure_say_bytes(w, &c, body, sizeof(body)));
        until(w, secure_ended(&c));
        assert_true(c.closed);
        assert_true(secure_has(&c, "HTTP/1.1 401 ") && secure_has(&c, "no key"));
        secure_hang_up(&c);
    }
    assert_int_equal(w->rec.completed, 5);
    until(w, http_connections(w->server) == 0);
}

static void draining_closes_the_idle_and_finishes_the_others(void **state)
{
    struct world *w = *state;
    struct secure working = waiting_client(w, WAIT), idle = secure_dial(w);
    struct client shaking = dial(w);
    until(w, http_connections(w->server) == 3);
    http_drain(w->server);
    until(w, secure_ended(&idle) && ended(&shaking));
    assert_true(idle.closed);
    reply_text(w->rec.kept, 200, "worked");
    until(w, secure_ended(&working));
    assert_true(working.closed && secure_has(&working, "worked"));
    assert_true(secure_has(&working, "Connection: close\r\n"));
    secure_hang_up(&working);
    secure_hang_up(&idle);
    hang_up(&shaking);
    until(w, http_connections(w->server) == 0);
}

static void closing_cuts_what_is_left(void **state)
{
    struct world *w = *state;
    struct error e;
    struct secure c = waiting_client(w, WAIT);
    struct client shaking = dial(w);
    until(w, http_connections(w->server) == 2);
    http_close(w->server);
    assert_int_equal(w->rec.last_outcome, HTTP_CUT);
    assert_true(secure_ended(&c) && c.broken);
    assert_int_equal(http_open(w->base, "127.0.0.1:0", &roomy, &app, w, &w->server, &e), 0);
    secure_hang_up(&c);
    hang_up(&shaking);
}

static void refused_with(const char *cert, const char *key, int code, const char *text)
{
    struct http_tls *t = (struct http_tls *)&t;
    struct error e = {0};
    assert_int_equal(http_tls_open(cert, key, &t, &e), code);
    assert_null(t);
    if (strstr(e.text, text) == NULL)
        fail_msg("%s", e.text);
    assert_int_equal(http_tls_open(cert, key, &t, NULL), code);
}

static void files_that_are_not_right_are_refused_with_their_name(void **state)
{
    char cert[300], key[300];
    (void)state;
    snprintf(cert, sizeof(cert), "%s", at("first", "pem"));
    snprintf(key, sizeof(key), "%s", at("first", "key"));
    refused_with("", key, ERR_IO, "cannot read the certificate \"\" for TLS: No such file");
    refused_with(at("none", "pem"), key, ERR_IO, "none.pem\" for TLS: No such file");
    refused_with(cert, at("none", "key"), ERR_IO, "cannot read the key");
    refused_with(key, key, ERR_INVALID, "no usable certificate (PEM)");
    refused_with(files_at, key, ERR_INVALID, "no usable certificate (PEM)");
    refused_with(cert, cert, ERR_INVALID, "no usable key (PEM)");
    refused_with(cert, at("second", "key"), ERR_INVALID, "is not the certificate's");
    refused_with(cert, at("third", "key"), ERR_INVALID, "is not the certificate's");
    refused_with(cert, at("locked", "key"), ERR_INVALID, "has a passphrase");
    http_tls_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        a_tls_test(requests_get_their_replies),
        a_tls_test(a_request_cut_into_records_reads_the_same),
        a_tls_test(a_large_body_comes_and_goes),
        a_tls_test(the_application_knows_of_tls),
        a_tls_test(what_is_not_taken_is_told_and_drained),
        a_tls_test(a_stream_goes_on_when_it_is_drained),
        a_tls_test(a_client_that_takes_nothing_is_cut),
        a_tls_test(a_client_that_leaves_is_seen),
        a_tls_test(a_client_that_only_says_that_it_leaves_is_seen),
        a_tls_test(a_client_that_is_not_read_from_and_hangs_up_is_seen),
        a_tls_test(what_is_sent_ahead_is_not_read_without_bound),
        a_tls_test(what_was_sent_ahead_is_answered_later),
        a_tls_test(a_handshake_has_a_time_limit),
        a_tls_test(an_idle_connection_is_closed_with_a_word),
        a_tls_test(plain_http_is_told_that_this_is_https),
        a_tls_test(what_is_no_handshake_is_closed),
        a_tls_test(only_http_1_and_good_versions_are_agreed_on),
        a_tls_test(hands_are_shaken_once),
        a_tls_test(a_ticket_spares_the_next_handshake),
        a_tls_test(a_renewed_certificate_is_for_new_connections),
        a_tls_test(the_end_of_a_reply_is_told_and_a_cut_is_not),
        a_tls_test(what_was_written_before_a_cut_still_goes_out),
        a_tls_test(an_early_reply_reaches_a_client_that_is_still_sending),
        a_tls_test(draining_closes_the_idle_and_finishes_the_others),
        a_tls_test(closing_cuts_what_is_left),
        cmocka_unit_test(files_that_are_not_right_are_refused_with_their_name),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
