/*
 * Life and death of connections: time limits, clients that leave or take slowly, cuts, draining.
 */
#include "http_rig.h"

static void drip(struct world *w, struct client *c, const char *text)
{
    size_t at = 0, len = strlen(text);
    int64_t give_up_ms = clock_mono_ms() + GIVE_UP_MS;
    while (!has(c, "HTTP/1.1 ")) {
        send(c->fd, text + at++ % len, 1, MSG_NOSIGNAL);
        turn(w);
        poll(NULL, 0, 5);
        assert_true(clock_mono_ms() < give_up_ms);
    }
}

static void bytes_that_trickle_do_not_extend_the_head_time(void **state)
{
    struct world *w = *state;
    w->limits.head_timeout_ms = 100;
    w->limits.head_bytes = 1 << 20;
    set_limits(w);
    struct client c = dial(w);
    say(w, &c, "GET /hello HTTP/1.1\r\nHost: x\r\nA: ");
    drip(w, &c, "b");
    assert_true(has(&c, "HTTP/1.1 408 "));
    assert_int_equal(w->rec.last_fault, HTTP_FAULT_HEAD_TIMEOUT);
    until(w, ended(&c));
    hang_up(&c);
}

static void bytes_that_trickle_do_not_extend_the_body_time(void **state)
{
    struct world *w = *state;
    w->limits.body_timeout_ms = 100;
    set_limits(w);
    struct client c = dial(w);
    say(w, &c, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n");
    drip(w, &c, "b");
    assert_true(has(&c, "HTTP/1.1 408 "));
    assert_int_equal(w->rec.last_fault, HTTP_FAULT_BODY_TIMEOUT);
    until(w, ended(&c));
    hang_up(&c);
}

static void an_idle_connection_is_closed_without_a_word(void **state)
{
    struct world *w = *state;
    w->limits.idle_timeout_ms = 50;
    set_limits(w);
    struct client fresh = dial(w), kept = dial(w);
    say(w, &kept, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, has(&kept, "hello"));
    until(w, ended(&kept) && ended(&fresh));
    assert_int_equal(fresh.got.len, 0);
    assert_int_equal(count(&kept, "HTTP/1.1 "), 1);
    hang_up(&fresh);
    hang_up(&kept);
}

static void a_client_that_leaves_before_the_reply_is_seen(void **state)
{
    struct world *w = *state;
    struct client c = dial(w);
    say(w, &c, "POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n");
    until(w, w->rec.kept != NULL);
    http_read_body(w->rec.kept);
    say(w, &c, "ab");
    until(w, w->rec.bodies == 1);
    hang_up(&c);
    until(w, w->rec.ends == 1);
    assert_int_equal(w->rec.completed, 0);
    assert_int_equal(w->rec.last_outcome, HTTP_CLIENT_GONE);
}

static void a_client_that_leaves_during_a_stream_is_seen(void **state)
{
    struct world *w = *state;
    struct client c = dial(w);
    say(w, &c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    http_stream_start(w->rec.kept, 200, NULL, 0);
    http_stream_write(w->rec.kept, "abc", 3);
    until(w, has(&c, "3\r\nabc\r\n"));
    hang_up(&c);
    until(w, w->rec.ends == 1);
    assert_int_equal(w->rec.completed, 0);
    assert_int_equal(w->rec.last_outcome, HTTP_CLIENT_GONE);
    assert_int_equal(http_connections(w->server), 0);
}

static void a_client_that_leaves_in_the_body_is_seen(void **state)
{
    struct world *w = *state;
    struct client c = dial(w);
    say(w, &c, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    until(w, w->rec.heads == 1);
    hang_up(&c);
    until(w, w->rec.ends == 1);
    assert_int_equal(w->rec.completed, 0);
    assert_int_equal(w->rec.last_outcome, HTTP_CLIENT_GONE);
    assert_int_equal(w->rec.faults, 0);
}

static void a_client_that_sent_too_much_ahead_and_left_is_seen(void **state)
{
    struct world *w = *state;
    static char ahead[90000];
    struct client c = dial(w);
    say(w, &c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    memset(ahead, 'x', sizeof(ahead));
    say_bytes(w, &c, ahead, sizeof(ahead));
    shutdown(c.fd, SHUT_WR);
    until(w, w->rec.ends == 1);
    assert_int_equal(w->rec.heads, 1);
    hang_up(&c);
}

/* A connection that is not read from, because much was sent ahead. */
static struct client dial_unread(struct world *w)
{
    static char ahead[90000];
    struct client c = dial(w);
    say(w, &c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    memset(ahead, 'x', sizeof(ahead));
    say_bytes(w, &c, ahead, sizeof(ahead));
    turn(w);
    return c;
}

static int64_t frozen_time(void)
{
    return 1;
}

static void a_client_that_is_not_read_from_and_hangs_up_is_seen(void **state)
{
    struct world *w = *state;
    for (int reset = 0; reset < 2; reset++) {
        struct client c = dial_unread(w);
        struct linger now = {.l_onoff = reset, .l_linger = 0};
        setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        hang_up(&c);
        clock_set_mono_us(frozen_time); /* what is only looked at from time to time is not seen */
        for (int i = 0; w->rec.ends == reset && i < GIVE_UP_MS; i++) {
            turn(w);
            poll(NULL, 0, 1);
        }
        clock_set_mono_us(NULL);
        assert_int_equal(w->rec.ends, reset + 1);
        assert_int_equal(w->rec.last_outcome, HTTP_CLIENT_GONE);
        assert_int_equal(http_connections(w->server), 0);
    }
}

static void a_client_that_is_read_from_again_is_not_forgotten(void **state)
{
    struct world *w = *state;
    struct client c = dial(w);
    static char ahead[20000];
    const char *request = "GET /wait HTTP/1.1\r\nHost: x\r\nA: ";
    say(w, &c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    w->limits.head_bytes = 1 << 20;
    set_limits(w);
    memset(ahead, 'x', sizeof(ahead));
    say(w, &c, request);
    say_bytes(w, &c, ahead, sizeof(ahead));
    turn(w);
    reply_text(w->rec.kept, 200, "first");
    until(w, w->rec.ends == 1);
    say(w, &c, "\r\n\r\n");
    until(w, w->rec.heads == 2);
    reply_text(w->rec.kept, 200, "second");
    until(w, has(&c, "first") && has(&c, "second"));
    assert_int_equal(w->rec.completed, 2);
    hang_up(&c);
}

static void what_is_sent_ahead_is_not_read_without_bound(void **state)
{
    struct world *w = *state;
    static char ahead[100000];
    struct client c = dial(w);
    size_t sent = 0;
    say(w, &c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    memset(ahead, 'x', sizeof(ahead));
    for (int refused_turns = 0; refused_turns < 100 && sent < 64u << 20;) {
        ssize_t n = send(c.fd, ahead, sizeof(ahead), MSG_NOSIGNAL);
        refused_turns = n < 0 ? refused_turns + 1 : 0;
        sent += n > 0 ? (size_t)n : 0;
        turn(w);
    }
    assert_true(sent < 64u << 20);
    assert_int_equal(w->rec.ends, 0);
    hang_up(&c);
}

static void a_client_that_takes_slowly_is_not_cut(void **state)
{
    struct world *w = *state;
    static char piece[1000000], taken[1000000];
    struct client c = dial(w);
    w->limits.stall_timeout_ms = 600;
    set_limits(w);
    say(w, &c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    http_stream_start(w->rec.kept, 200, NULL, 0);
    for (int i = 0; i < 40; i++)
        http_stream_write(w->rec.kept, piece, sizeof(piece));
    /* Slower than the limit as a whole, but never for so long without a byte. */
    for (int64_t end_ms = clock_mono_ms() + 1500; clock_mono_ms() < end_ms; poll(NULL, 0, 10)) {
        recv(c.fd, taken, sizeof(taken) / 4, 0);
        turn(w);
    }
    http_stream_end(w->rec.kept);
    until(w, has(&c, "\r\n0\r\n\r\n"));
    assert_int_equal(w->rec.completed, 1);
    hang_up(&c);
}

static void what_is_not_taken_is_told_and_drained(void **state)
{
    struct world *w = *state;
    static char piece[10000];
    struct client c = dial(w);
    size_t written = 0;
    say(w, &c, "GET /wait HTTP/1.0\r\n\r\n");
    until(w, w->rec.kept != NULL);
    struct http_exchange *x = w->rec.kept;
    memset(piece, 'p', sizeof(piece));
    http_stream_start(x, 200, NULL, 0);
    /* The socket takes some megabytes; then the pieces stay with us. */
    int64_t give_up_ms = clock_mono_ms() + GIVE_UP_MS;
    int full_turns = 0;
    while (full_turns < 3 && clock_mono_ms() < give_up_ms) {
        while (http_pending(x) < w->limits.stream_bytes) {
            http_stream_write(x, piece, sizeof(piece));
            written += sizeof(piece);
        }
        turn(w);
        full_turns = http_pending(x) >= w->limits.stream_bytes ? full_turns + 1 : 0;
    }
    int drains = w->rec.drains;
    assert_true(http_pending(x) >= w->limits.stream_bytes);
    http_stream_end(x);
    until(w, ended(&c));
    assert_int_equal(w->rec.drains, drains); /* ended: nobody waits for it */
    const char *body = strstr(c.got.data, "\r\n\r\n") + 4;
    assert_int_equal(c.got.len - (size_t)(body - c.got.data), written);
    assert_int_equal(w->rec.completed, 1);
    hang_up(&c);
}

static void a_stream_goes_on_when_it_is_drained(void **state)
{
    struct world *w = *state;
    static char piece[200000];
    struct client c = dial(w);
    say(w, &c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    w->rec.stream_more_in_drain = true;
    http_stream_start(w->rec.kept, 200, NULL, 0);
    http_stream_write(w->rec.kept, piece, sizeof(piece));
    until(w, (receive(&c), w->rec.drains >= 50));
    http_stream_end(w->rec.kept);
    until(w, has(&c, "\r\n0\r\n\r\n"));
    assert_true(c.got.len > 50 * sizeof(piece));
    hang_up(&c);
}

static void a_client_that_takes_nothing_is_cut(void **state)
{
    struct world *w = *state;
    static char piece[100000];
    struct client c = dial(w);
    w->limits.stall_timeout_ms = 100;
    set_limits(w);
    say(w, &c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    http_stream_start(w->rec.kept, 200, NULL, 0);
    for (int i = 0; i < 200; i++)
        http_stream_write(w->rec.kept, piece, sizeof(piece));
    until(w, w->rec.ends == 1);
    assert_int_equal(w->rec.completed, 0);
    assert_int_equal(w->rec.last_outcome, HTTP_CLIENT_STALLED);
    hang_up(&c);
}

static void an_early_reply_reaches_a_client_that_is_still_sending(void **state)
{
    struct world *w = *state;
    static char body[800000];
    for (int i = 0; i < 10; i++) {
        struct client c = dial(w);
        say(w, &c, "POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 800000\r\n\r\n");
        assert_true(say_bytes(w, &c, body, sizeof(body)));
        shutdown(c.fd, SHUT_WR);
        until(w, ended(&c));
        assert_false(c.reset);
        assert_true(has(&c, "HTTP/1.1 401 "));
        assert_true(has(&c, "Connection: close\r\n"));
        assert_true(has(&c, "no key"));
        hang_up(&c);
    }
    assert_int_equal(w->rec.completed, 10);
    until(w, http_connections(w->server) == 0);
}

static void nobody_is_waited_for_beyond_a_bound(void **state)
{
    struct world *w = *state;
    static char body[65536];
    struct client c = dial(w);
    say(w, &c, "POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n");
    /* one that never stops sending ... */
    int64_t give_up_ms = clock_mono_ms() + GIVE_UP_MS;
    while (http_connections(w->server) > 0 && clock_mono_ms() < give_up_ms)
        say_bytes(w, &c, body, sizeof(body));
    assert_int_equal(http_connections(w->server), 0);
    hang_up(&c);
    /* ... and one that never closes */
    struct client silent = dial(w);
    say(w, &silent, "POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n");
    until(w, has(&silent, "no key"));
    until(w, http_connections(w->server) == 0);
    hang_up(&silent);
}

static void draining_closes_the_idle_and_finishes_the_others(void **state)
{
    struct world *w = *state;
    struct client idle = dial(w), working = dial(w), in_head = dial(w), streaming = dial(w);
    say(w, &working, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    struct http_exchange *waiting = w->rec.kept;
    say(w, &streaming, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != waiting);
    http_stream_start(w->rec.kept, 200, NULL, 0);
    say(w, &in_head, "GET /hello HTTP/1.1\r\n");
    until(w, http_connections(w->server) == 4);
    turn(w);
    struct client on_its_way = dial(w);
    until(w, http_connections(w->server) == 5);
    const char *request = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
    send(on_its_way.fd, request, strlen(request), 0);
    http_drain(w->server);
    until(w, ended(&idle));
    until(w, has(&on_its_way, "hello") && ended(&on_its_way));
    say(w, &in_head, "Host: x\r\n\r\n");
    until(w, has(&in_head, "Connection: close\r\n") && has(&in_head, "hello"));
    http_stream_end(w->rec.kept);
    reply_text(waiting, 200, "worked");
    until(w, has(&working, "worked") && ended(&working) && ended(&streaming));
    assert_true(has(&working, "Connection: close\r\n"));
    hang_up(&in_head);
    hang_up(&working);
    hang_up(&streaming);
    until(w, http_connections(w->server) == 0);
    struct client late = dial(w);
    until(w, ended(&late) || recv(late.fd, &(char){0}, 1, 0) == 0 || errno == ECONNREFUSED);
    hang_up(&late);
    hang_up(&idle);
    hang_up(&on_its_way);
}

static void a_cut_is_safe_in_every_callback(void **state)
{
    struct world *w = *state;
    static char piece[200000];
    struct client c = dial(w), d = dial(w), e = dial(w), f = dial(w);
    say(w, &c, "GET /abort HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, ended(&c));
    assert_int_equal(c.got.len, 0);
    say(w, &d, "POST /wait?abort HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
    until(w, w->rec.kept != NULL);
    http_read_body(w->rec.kept);
    until(w, ended(&d));
    assert_int_equal(w->rec.bodies, 1);
    w->rec.abort_in_fault = true;
    say(w, &e, "nonsense\r\n\r\n");
    until(w, ended(&e));
    w->rec.abort_in_drain = true;
    say(w, &f, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    http_stream_start(w->rec.kept, 200, NULL, 0);
    http_stream_write(w->rec.kept, piece, sizeof(piece));
    until(w, ended(&f));
    assert_false(has(&f, "\r\n0\r\n\r\n"));
    assert_int_equal(w->rec.ends, 4);
    assert_int_equal(w->rec.completed, 0);
    assert_int_equal(w->rec.last_outcome, HTTP_CUT);
    hang_up(&c);
    hang_up(&d);
    hang_up(&e);
    hang_up(&f);
}

static void what_was_written_before_a_cut_still_goes_out(void **state)
{
    struct world *w = *state;
    struct client c = dial(w), d = dial(w);
    say(w, &c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, w->rec.kept != NULL);
    http_stream_start(w->rec.kept, 200, NULL, 0);
    http_stream_write(w->rec.kept, "half", 4);
    http_abort(w->rec.kept);
    until(w, ended(&c));
    assert_true(has(&c, "4\r\nhalf\r\n"));
    assert_false(has(&c, "0\r\n\r\n"));
    say(w, &d, "GET /wait HTTP/1.0\r\n\r\n");
    until(w, w->rec.kept != NULL);
    http_stream_start(w->rec.kept, 200, NULL, 0);
    until(w, has(&d, "\r\n\r\n"));
    http_abort(w->rec.kept);
    until(w, ended(&d));
    assert_true(d.reset); /* the only sign that a reply without a length is broken */
    hang_up(&c);
    hang_up(&d);
}

static void a_fault_without_a_reply_cuts_the_connection(void **state)
{
    struct world *w = *state;
    struct client c = dial(w);
    w->rec.silent_in_fault = true;
    say(w, &c, "nonsense\r\n\r\n");
    until(w, ended(&c));
    assert_int_equal(c.got.len, 0);
    assert_int_equal(w->rec.ends, 1);
    hang_up(&c);
}

static void connections_past_the_limit_wait(void **state)
{
    struct world *w = *state;
    w->limits.connections = 2;
    set_limits(w);
    struct client a = dial(w), b = dial(w), waiting = dial(w);
    say(w, &a, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    say(w, &b, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    say(w, &waiting, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, has(&a, "hello") && has(&b, "hello"));
    turn(w);
    assert_false(has(&waiting, "hello"));
    assert_int_equal(http_connections(w->server), 2);
    hang_up(&a);
    until(w, has(&waiting, "hello"));
    hang_up(&b);
    hang_up(&waiting);
}

static void running_out_of_descriptors_only_delays(void **state)
{
    struct world *w = *state;
    struct rlimit before, low;
    struct client c = dial(w);
    int spare = dup(c.fd);
    getrlimit(RLIMIT_NOFILE, &before);
    low = before;
    low.rlim_cur = (rlim_t)spare + 1;
    setrlimit(RLIMIT_NOFILE, &low);
    say(w, &c, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    for (int i = 0; i < 50; i++)
        turn(w);
    assert_int_equal(http_connections(w->server), 0);
    setrlimit(RLIMIT_NOFILE, &before);
    until(w, has(&c, "hello"));
    close(spare);
    hang_up(&c);
}

static void closing_ends_what_is_left(void **state)
{
    struct world *w = *state;
    struct client c = dial(w), d = dial(w);
    say(w, &c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    say(w, &d, "GET /hello HTT");
    until(w, w->rec.kept != NULL && http_connections(w->server) == 2);
    http_stream_start(w->rec.kept, 200, NULL, 0);
    http_close(w->server);
    assert_int_equal(w->rec.ends, 1);
    assert_int_equal(w->rec.completed, 0);
    assert_int_equal(w->rec.last_outcome, HTTP_CUT);
    turn(w);
    struct error e;
    assert_int_equal(http_open(w->base, "127.0.0.1:0", &roomy, &app, w, &w->server, &e), 0);
    hang_up(&c);
    hang_up(&d);
}

static void only_numeric_addresses_with_a_port_are_listened_on(void **state)
{
    struct world *w = *state;
    static const char *const bad[] = {
        "",           "8080",    "localhost:1", "127.0.0.1",   "[::1]",   "::1",         "::1:80",
        "127.0.0.1:", "1.2.3:4", "[::1]:70000", "127.0.0.1:x", "[::1:80", "127.0.0.1:1 "};
    struct http_server *s;
    struct error e;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(http_open(w->base, bad[i], &roomy, &app, w, &s, &e), ERR_INVALID);
        assert_null(s);
    }
    assert_int_equal(http_open(w->base, http_address(w->server), &roomy, &app, w, &s, &e), ERR_IO);
    assert_non_null(strstr(e.text, "in use"));
    assert_int_equal(http_open(w->base, ":0", &roomy, &app, w, &s, &e), 0);
    struct http_server *first = w->server;
    w->server = s;
    struct client c = dial(w);
    say(w, &c, "GET /about HTTP/1.1\r\nHost: x\r\n\r\n");
    until(w, has(&c, " 127.0.0.1")); /* not ::ffff:127.0.0.1 */
    hang_up(&c);
    w->server = first;
    http_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        a_test(bytes_that_trickle_do_not_extend_the_head_time),
        a_test(bytes_that_trickle_do_not_extend_the_body_time),
        a_test(an_idle_connection_is_closed_without_a_word),
        a_test(a_client_that_leaves_before_the_reply_is_seen),
        a_test(a_client_that_leaves_during_a_stream_is_seen),
        a_test(a_client_that_leaves_in_the_body_is_seen),
        a_test(a_client_that_sent_too_much_ahead_and_left_is_seen),
        a_test(a_client_that_is_not_read_from_and_hangs_up_is_seen),
        a_test(a_client_that_is_read_from_again_is_not_forgotten),
        a_test(what_is_sent_ahead_is_not_read_without_bound),
        a_test(a_client_that_takes_slowly_is_not_cut),
        a_test(what_is_not_taken_is_told_and_drained),
        a_test(a_stream_goes_on_when_it_is_drained),
        a_test(a_client_that_takes_nothing_is_cut),
        a_test(an_early_reply_reaches_a_client_that_is_still_sending),
        a_test(nobody_is_waited_for_beyond_a_bound),
        a_test(draining_closes_the_idle_and_finishes_the_others),
        a_test(a_cut_is_safe_in_every_callback),
        a_test(what_was_written_before_a_cut_still_goes_out),
        a_test(a_fault_without_a_reply_cuts_the_connection),
        a_test(connections_past_the_limit_wait),
        a_test(running_out_of_descriptors_only_delays),
        a_test(closing_ends_what_is_left),
        a_test(only_numeric_addresses_with_a_port_are_listened_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
