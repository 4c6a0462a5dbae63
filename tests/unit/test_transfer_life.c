/* Limits of time, pauses, and the end of a transfer in each phase. */
#include "transfer_rig.h"

#include <netdb.h>
#include <pthread.h>

static void a_handshake_that_hangs_is_a_connection_that_takes_too_long(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    char url[80];
    snprintf(url, sizeof url, "https%s", w->url + 4);
    w->options.url = url;
    w->options.connect_ms = 50;
    begin(w, &h);
    struct peer p = peer_accept(w);
    assert_end(w, &h, TRANSFER_CONNECT_TIMEOUT);
    until(w, peer_gone(&p));
    peer_hang_up(&p);
}

static void silence_before_the_first_byte_is_told_apart(void **state)
{
    static const char *const before[] = {"", "HTTP/1.1 100 Continue\r\n\r\n", CHUNKED};
    struct rig *w = *state;
    w->options.first_byte_ms = 50;
    for (size_t i = 0; i < 3; i++) {
        struct heard h = {0};
        begin(w, &h);
        struct peer p = peer_asked(w);
        peer_say(w, &p, before[i]);
        assert_end(w, &h, TRANSFER_FIRST_BYTE_TIMEOUT);
        until(w, peer_gone(&p));
        peer_hang_up(&p);
    }
}

static void a_request_that_nobody_takes_is_given_up(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    size_t n = 32 << 20;
    char *body = mem_alloc(n + 1);
    memset(body, 'x', n);
    body[n] = '\0';
    w->options.first_byte_ms = 400;
    post(w, &h, body, true);
    struct peer p = peer_accept(w);
    assert_end(w, &h, TRANSFER_FIRST_BYTE_TIMEOUT);
    assert_non_null(strstr(h.detail, "not taken"));
    peer_hang_up(&p);
}

static void silence_in_the_middle_is_told_apart(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    w->options.idle_ms = 50;
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, CHUNKED "1\r\na\r\n");
    assert_end(w, &h, TRANSFER_IDLE_TIMEOUT);
    until(w, peer_gone(&p));
    peer_hang_up(&p);
}

static void a_whole_reply_may_be_silent_but_a_refusal_may_not(void **state)
{
    static const struct {
        const char *reply;
        size_t bytes;
        enum transfer_end end;
    } cases[] = {
        {WHOLE("2") "a", 1, TRANSFER_COMPLETE},
        {"HTTP/1.1 500 E\r\nContent-Length: 2\r\n\r\na", 1, TRANSFER_IDLE_TIMEOUT},
        {"HTTP/1.1 500 E\r\nContent-Length: 2\r\n\r\n", 0, TRANSFER_FIRST_BYTE_TIMEOUT},
    };
    struct rig *w = *state;
    w->options.idle_ms = w->options.first_byte_ms = 40;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct heard h = {0};
        post(w, &h, mem_strdup("{}"), false);
        struct peer p = peer_asked(w);
        pass_ms(w, 100);
        peer_say(w, &p, cases[i].reply);
        until(w, h.heads && h.body.len == cases[i].bytes);
        if (i == 0) {
            pass_ms(w, 100);
            peer_say(w, &p, "b");
        }
        assert_end(w, &h, cases[i].end);
        peer_hang_up(&p);
    }
}

static void the_total_limit_counts_from_the_start(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    w->options.total_ms = 120;
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, CHUNKED);
    while (!h.ends && peer_say(w, &p, "1\r\na\r\n"))
        pass_ms(w, 5);
    assert_end(w, &h, TRANSFER_TOTAL_TIMEOUT);
    peer_hang_up(&p);
}

static void a_transfer_closed_while_it_waits_closes_its_connection(void **state)
{
    static const char *const before[] = {"", "HTTP/1.1 200", CHUNKED, CHUNKED "1\r\na\r\n"};
    struct rig *w = *state;
    for (size_t i = 0; i < 4; i++) {
        struct heard h = {0};
        begin(w, &h);
        struct peer p = peer_asked(w);
        peer_say(w, &p, before[i]);
        until(w, i < 3 || h.body.len);
        transfer_close(h.transfer);
        assert_true(peer_gone(&p)); /* without another turn of the loop */
        assert_int_equal(h.ends, 0);
        buf_done(&h.body);
        peer_hang_up(&p);
    }
}

static void a_transfer_closed_before_it_began_opens_nothing(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    struct peer p;
    begin(w, &h);
    transfer_close(h.transfer);
    pass_ms(w, 20);
    assert_false(try_accept(w, &p));
    assert_int_equal(h.ends, 0);
}

static void a_transfer_closed_in_the_handshake_closes_its_connection(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    char url[80];
    snprintf(url, sizeof url, "https%s", w->url + 4);
    w->options.url = url;
    begin(w, &h);
    struct peer p = peer_accept(w);
    until(w, p.got.len || (peer_receive(&p), p.got.len));
    transfer_close(h.transfer);
    assert_true(peer_gone(&p));
    peer_hang_up(&p);
}

static void a_transfer_closed_in_its_own_callbacks_closes_its_connection(void **state)
{
    struct rig *w = *state;
    for (int i = 0; i < 2; i++) {
        struct heard h = {.close_in_head = i == 0, .close_in_body = i == 1};
        begin(w, &h);
        struct peer p = peer_asked(w);
        peer_say(w, &p, CHUNKED "1\r\na\r\n1\r\nb\r\n");
        until(w, peer_gone(&p));
        assert_int_equal(h.heads, 1);
        assert_int_equal(h.body.len, i);
        assert_int_equal(h.ends, 0);
        buf_done(&h.body);
        peer_hang_up(&p);
    }
}

static void a_transfer_closed_in_anothers_callback_closes_its_connection(void **state)
{
    struct rig *w = *state;
    struct heard one = {.close_in_body = true}, other = {0};
    begin(w, &one);
    struct peer p = peer_asked(w);
    begin(w, &other);
    struct peer q = peer_asked(w);
    one.other = &other;
    peer_say(w, &q, CHUNKED "1\r\na\r\n");
    peer_say(w, &p, CHUNKED "1\r\na\r\n");
    until(w, peer_gone(&p) && peer_gone(&q));
    assert_int_equal(one.ends + other.ends, 0);
    buf_done(&one.body);
    buf_done(&other.body);
    peer_hang_up(&p);
    peer_hang_up(&q);
}

/* The resolver's thread hangs in here for one name until it is let go; others are not found. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool asked, answer, answered;

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    (void)service;
    (void)hints;
    *out = NULL;
    if (strcmp(name, "slow.example") == 0) {
        pthread_mutex_lock(&lock);
        asked = true;
        while (!answer)
            pthread_cond_wait(&changed, &lock);
        answered = true;
        pthread_mutex_unlock(&lock);
    }
    return EAI_NONAME;
}

static bool read_flag(const bool *flag)
{
    pthread_mutex_lock(&lock);
    bool value = *flag;
    pthread_mutex_unlock(&lock);
    return value;
}

static void a_name_that_is_not_found_is_told_apart(void **state)
{
    struct rig *w = *state;
    struct heard h = {0};
    w->options.url = "http://nowhere.example:8000";
    begin(w, &h);
    assert_end(w, &h, TRANSFER_NO_NAME);
    assert_non_null(strstr(h.detail, "nowhere.example:8000"));
}

static void a_slow_resolver_holds_nobody(void **state)
{
    struct rig *w = *state;
    struct heard late = {0}, gone = {0}, served[2] = {{0}, {0}};
    struct upstream_options good = w->options;
    begin(w, &served[0]);
    struct peer p = peer_asked(w);
    peer_say(w, &p, WHOLE("0"));
    assert_end(w, &served[0], TRANSFER_COMPLETE);
    int descriptors = open_descriptors();
    w->options.url = "http://slow.example";
    w->options.connect_ms = 50;
    begin(w, &late);
    assert_end(w, &late, TRANSFER_CONNECT_TIMEOUT);
    w->options.connect_ms = 60000;
    begin(w, &gone);
    until(w, read_flag(&asked));
    transfer_close(gone.transfer);
    w->options = good;
    buf_reset(&p.got);
    begin(w, &served[1]);
    until(w, peer_has_request(&p));
    peer_say(w, &p, WHOLE("0"));
    assert_end(w, &served[1], TRANSFER_COMPLETE);
    assert_false(read_flag(&answered));
    pthread_mutex_lock(&lock);
    answer = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    until(w, read_flag(&answered));
    until(w, open_descriptors() == descriptors); /* the threads have ended as well */
    peer_hang_up(&p);
}

static void a_paused_transfer_holds_one_buffer_and_loses_nothing(void **state)
{
    static char bytes[1 << 20];
    struct rig *w = *state;
    struct heard h = {.pause_in_body = true};
    size_t sent = 0;
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, WHOLE("1048576"));
    memset(bytes, 'x', sizeof bytes);
    int quiet = 0;
    while (quiet < 100 && sent < sizeof bytes) { /* until the kernel's buffers are full */
        ssize_t n = send(p.fd, bytes, sizeof bytes - sent, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        quiet = n > 0 ? 0 : quiet + 1;
        event_base_loop(w->base, EVLOOP_NONBLOCK);
        poll(NULL, 0, n > 0 ? 0 : 1);
    }
    assert_true(h.body.len > 0 && h.body.len <= 16384);
    size_t held = h.body.len;
    transfer_pause(h.transfer, false);
    assert_int_equal(h.body.len, held); /* nothing comes from inside */
    until(w, h.body.len > held);
    assert_true(h.body.len <= held + 2 * 16384);
    h.pause_in_body = false;
    transfer_pause(h.transfer, false);
    peer_say_bytes(w, &p, bytes, sizeof bytes - sent);
    until(w, h.ends);
    assert_int_equal(h.body.len, sizeof bytes);
    assert_end(w, &h, TRANSFER_COMPLETE);
    peer_hang_up(&p);
}

static void time_in_a_pause_does_not_count(void **state)
{
    struct rig *w = *state;
    struct heard h = {.pause_in_body = true};
    w->options.idle_ms = 60;
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, CHUNKED "1\r\na\r\n");
    until(w, h.body.len == 1);
    peer_say(w, &p, "1\r\nb\r\n");
    pass_ms(w, 200);
    assert_int_equal(h.ends, 0);
    assert_int_equal(h.body.len, 1);
    h.pause_in_body = false;
    transfer_pause(h.transfer, false);
    until(w, h.body.len == 2);
    assert_end(w, &h, TRANSFER_IDLE_TIMEOUT);
    peer_hang_up(&p);
}

static void a_paused_transfer_closes_its_connection(void **state)
{
    struct rig *w = *state;
    for (int i = 0; i < 3; i++) {
        struct heard h = {.pause_in_body = true};
        begin(w, &h);
        struct peer p = peer_asked(w);
        peer_say(w, &p, CHUNKED "1\r\na\r\n");
        until(w, h.body.len == 1);
        peer_say(w, &p, "1\r\nb\r\n");
        pass_ms(w, 10);
        if (i) /* on its way to go on */
            transfer_pause(h.transfer, false);
        if (i < 2) {
            transfer_close(h.transfer);
            assert_true(peer_gone(&p));
        } else {
            h.close_in_body = true; /* when what was held back is handed out */
            until(w, peer_gone(&p));
            assert_string_equal(h.body.data, "ab");
        }
        buf_done(&h.body);
        peer_hang_up(&p);
    }
}

static void what_was_held_back_may_be_refused(void **state)
{
    struct rig *w = *state;
    struct heard h = {.pause_in_body = true};
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, CHUNKED "1\r\na\r\n");
    until(w, h.body.len == 1);
    peer_say(w, &p, "1\r\nb\r\n");
    pass_ms(w, 10);
    h.refuse_body = true;
    transfer_pause(h.transfer, false);
    assert_end(w, &h, TRANSFER_LIMIT);
    until(w, peer_gone(&p));
    peer_hang_up(&p);
}

static void a_kept_connection_that_is_dead_is_replaced(void **state)
{
    struct rig *w = *state;
    for (int i = 0; i < 2; i++) {
        struct heard first = {0}, second = {0};
        begin(w, &first);
        struct peer p = peer_asked(w);
        peer_say(w, &p, WHOLE("0"));
        assert_end(w, &first, TRANSFER_COMPLETE);
        if (i == 0) { /* it dies while nobody uses it */
            peer_hang_up(&p);
            pass_ms(w, 5);
            begin(w, &second);
        } else { /* it dies with the next request under way */
            buf_reset(&p.got);
            begin(w, &second);
            until(w, peer_has_request(&p));
            peer_hang_up(&p);
        }
        struct peer q = peer_asked(w);
        assert_non_null(strstr(q.got.data, "{\"a\":1}"));
        peer_say(w, &q, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        assert_end(w, &second, TRANSFER_COMPLETE);
        peer_hang_up(&q);
    }
}

static void a_reply_let_go_keeps_its_connection_if_it_ends_soon(void **state)
{
    struct rig *w = *state;
    struct heard h = {.let_go_in_body = true}, next = {0};
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, CHUNKED "1\r\na\r\n");
    until(w, h.body.len == 1);
    peer_say(w, &p, "1\r\nb\r\n0\r\n\r\n");
    pass_ms(w, 10);
    assert_int_equal(h.body.len, 1);
    assert_int_equal(h.ends, 0);
    buf_reset(&p.got);
    begin(w, &next);
    until(w, peer_has_request(&p));
    peer_say(w, &p, WHOLE("0"));
    assert_end(w, &next, TRANSFER_COMPLETE);
    buf_done(&h.body);
    peer_hang_up(&p);
}

static void a_reply_let_go_that_does_not_end_is_closed(void **state)
{
    struct rig *w = *state;
    for (int i = 0; i < 2; i++) {
        struct heard h = {.let_go_in_body = true};
        begin(w, &h);
        struct peer p = peer_asked(w);
        peer_say(w, &p, CHUNKED "1\r\na\r\n");
        for (int n = 0; i && n < 1000 && peer_say(w, &p, "200\r\n"); n++) {
            char bytes[0x202];
            memset(bytes, 'x', 0x200);
            memcpy(bytes + 0x200, "\r\n", 2);
            if (!peer_say_bytes(w, &p, bytes, sizeof bytes))
                break;
        }
        until(w, peer_gone(&p));
        assert_int_equal(h.ends, 0);
        buf_done(&h.body);
        peer_hang_up(&p);
    }
}

static void a_transfer_may_be_opened_where_another_ends(void **state)
{
    struct rig *w = *state;
    struct heard h = {.again = true};
    begin(w, &h);
    struct peer p = peer_asked(w);
    peer_say(w, &p, WHOLE("1") "a");
    until(w, h.ends == 1);
    buf_reset(&p.got);
    until(w, peer_has_request(&p));
    peer_say(w, &p, WHOLE("1") "b");
    until(w, h.ends == 2);
    assert_body(&h, "ab");
    buf_done(&h.body);
    peer_hang_up(&p);
}

static void many_transfers_run_at_once(void **state)
{
    enum { N = 1200 };
    static struct heard h[N];
    static struct peer p[N];
    struct rig *w = *state;
    may_open_descriptors(2 * N + 100);
    for (int round = 0; round < 2; round++) { /* the second on kept connections */
        memset(h, 0, sizeof h);
        for (int i = 0; i < N; i++)
            begin(w, &h[i]);
        for (int i = 0; i < N && round == 0; i++)
            p[i] = peer_accept(w);
        for (int i = 0; i < N; i++) {
            until(w, peer_has_request(&p[i]));
            buf_reset(&p[i].got);
        }
        for (int i = 0; i < N; i++)
            peer_say(w, &p[i], CHUNKED "3\r\nabc\r\n");
        for (int i = 0; i < N; i++)
            peer_say(w, &p[i], "0\r\n\r\n");
        for (int i = 0; i < N; i++) {
            until(w, h[i].ends);
            assert_body(&h[i], "abc");
            assert_end(w, &h[i], TRANSFER_COMPLETE);
        }
    }
    for (int i = 0; i < N; i++)
        peer_hang_up(&p[i]);
}

static void what_still_runs_is_closed_with_the_transfers(void **state)
{
    struct rig *w = *state;
    struct heard h[3] = {{0}, {.let_go_in_body = true}, {.pause_in_body = true}};
    struct peer p[3];
    struct error e;
    for (int i = 0; i < 3; i++) {
        begin(w, &h[i]);
        p[i] = peer_asked(w);
        peer_say(w, &p[i], CHUNKED "1\r\na\r\n");
        until(w, h[i].body.len == 1);
    }
    transfers_close(w->transfers);
    for (int i = 0; i < 3; i++) {
        assert_true(peer_gone(&p[i]));
        assert_int_equal(h[i].ends, 0);
        buf_done(&h[i].body);
        peer_hang_up(&p[i]);
    }
    assert_int_equal(transfers_open(w->base, &w->transfers, &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        a_test(a_handshake_that_hangs_is_a_connection_that_takes_too_long),
        a_test(silence_before_the_first_byte_is_told_apart),
        a_test(a_request_that_nobody_takes_is_given_up),
        a_test(silence_in_the_middle_is_told_apart),
        a_test(a_whole_reply_may_be_silent_but_a_refusal_may_not),
        a_test(the_total_limit_counts_from_the_start),
        a_test(a_transfer_closed_while_it_waits_closes_its_connection),
        a_test(a_transfer_closed_before_it_began_opens_nothing),
        a_test(a_transfer_closed_in_the_handshake_closes_its_connection),
        a_test(a_transfer_closed_in_its_own_callbacks_closes_its_connection),
        a_test(a_transfer_closed_in_anothers_callback_closes_its_connection),
        a_test(a_name_that_is_not_found_is_told_apart),
        a_test(a_slow_resolver_holds_nobody),
        a_test(a_paused_transfer_holds_one_buffer_and_loses_nothing),
        a_test(time_in_a_pause_does_not_count),
        a_test(a_paused_transfer_closes_its_connection),
        a_test(what_was_held_back_may_be_refused),
        a_test(a_kept_connection_that_is_dead_is_replaced),
        a_test(a_reply_let_go_keeps_its_connection_if_it_ends_soon),
        a_test(a_reply_let_go_that_does_not_end_is_closed),
        a_test(a_transfer_may_be_opened_where_another_ends),
        a_test(many_transfers_run_at_once),
        a_test(what_still_runs_is_closed_with_the_transfers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
