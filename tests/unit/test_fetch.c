/*
 * Unit tests of the console's calls to the outside: which URLs are asked, what is followed and
 * read, and that nothing secret is told.
 */
#include "console/fetch.h"
#include "outside_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

struct rig {
    struct event_base *base;
    struct fetcher *fetcher;
    struct outside *server;
    const char *headers, *answer; /* of the server */
    int status;
    /* The last answer: */
    int n, code, got_status;
    uint64_t number;
    char body[4096], error[512];
};

static void on_answer(void *arg, const struct fetch_answer *a)
{
    struct rig *r = arg;
    r->n++;
    r->number = a->number;
    r->code = a->code;
    r->got_status = a->status;
    snprintf(r->body, sizeof r->body, "%s", a->body);
    snprintf(r->error, sizeof r->error, "%s", a->error);
}

static void serve(struct outside *o, int fd)
{
    const struct rig *r = o->arg;
    char path[1024];
    if (outside_request(o, fd, path, sizeof path))
        outside_reply(fd, r->status, r->headers, r->answer);
}

static void serve_silence(struct outside *o, int fd)
{
    char path[1024], c;
    if (outside_request(o, fd, path, sizeof path))
        while (recv(fd, &c, 1, 0) == 1)
            ;
}

static struct rig *rig_open(struct fetch_options options, outside_script *script)
{
    struct rig *r = mem_zalloc(sizeof *r);
    struct error e;
    r->base = event_base_new();
    r->status = 200;
    r->headers = "";
    r->answer = "{\"good\":true}";
    r->server = outside_open(script, r);
    if (fetcher_open(r->base, &options, on_answer, r, &r->fetcher, &e))
        fail_msg("%s", e.text);
    return r;
}

static void rig_close(struct rig *r)
{
    fetcher_close(r->fetcher);
    outside_close(r->server);
    event_base_free(r->base);
    free(r);
}

static void rig_ask(struct rig *r, const char *path, const char *form, const char *header)
{
    char url[256];
    struct error e;
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", r->server->port, path);
    struct fetch_http call = {url, form, &header, header ? 1 : 0};
    int before = r->n;
    assert_int_equal(fetch_http(r->fetcher, 7, &call, &e), 0);
    while (r->n == before)
        event_base_loop(r->base, EVLOOP_ONCE);
    assert_int_equal(r->number, 7);
}

static void a_response_comes_on_the_loop(void **state)
{
    struct rig *r = rig_open((struct fetch_options){0}, serve);
    (void)state;
    rig_ask(r, "/a?b=c", NULL, "Accept: application/json");
    assert_int_equal(r->code, 0);
    assert_int_equal(r->got_status, 200);
    assert_string_equal(r->body, "{\"good\":true}");
    char *heard = outside_heard(r->server);
    assert_non_null(strstr(heard, "GET /a?b=c HTTP/1.1\r\n"));
    assert_non_null(strstr(heard, "Accept: application/json\r\n"));
    free(heard);
    assert_int_equal(fetch_waiting(r->fetcher), 0);
    rig_close(r);
}

static void a_form_is_posted(void **state)
{
    struct rig *r = rig_open((struct fetch_options){0}, serve);
    (void)state;
    rig_ask(r, "/token", "a=1&b=%20", "Authorization: Basic eA==");
    char *heard = outside_heard(r->server);
    assert_non_null(strstr(heard, "POST /token HTTP/1.1\r\n"));
    assert_non_null(strstr(heard, "Authorization: Basic eA==\r\n"));
    assert_non_null(strstr(heard, "Content-Type: application/x-www-form-urlencoded\r\n"));
    assert_non_null(strstr(heard, "\r\n\r\na=1&b=%20"));
    free(heard);
    rig_close(r);
}

static void a_redirection_is_told_and_not_followed(void **state)
{
    struct rig *r = rig_open((struct fetch_options){0}, serve);
    (void)state;
    r->status = 302;
    r->headers = "Location: /elsewhere\r\n";
    r->answer = "";
    rig_ask(r, "/", NULL, NULL);
    assert_int_equal(r->code, 0);
    assert_int_equal(r->got_status, 302);
    assert_int_equal(outside_connections(r->server), 1);
    rig_close(r);
}

static void a_response_past_its_ceiling_is_refused(void **state)
{
    struct rig *r = rig_open((struct fetch_options){.response_bytes = 13}, serve);
    (void)state;
    rig_ask(r, "/", NULL, NULL);
    assert_int_equal(r->code, 0);
    r->answer = "{\"good\":false}";
    rig_ask(r, "/", NULL, NULL);
    assert_int_equal(r->code, ERR_LIMIT);
    rig_close(r);
}

static void a_server_that_is_silent_is_given_up(void **state)
{
    struct rig *r = rig_open((struct fetch_options){.whole_ms = 50}, serve_silence);
    (void)state;
    rig_ask(r, "/?secret=hunter2", "password=hunter2", "Authorization: Bearer hunter2");
    assert_int_equal(r->code, ERR_EXPIRED);
    assert_non_null(strstr(r->error, "127.0.0.1"));
    assert_null(strstr(r->error, "hunter2"));
    rig_close(r);
}

static void a_server_that_is_not_there_is_an_error(void **state)
{
    struct rig *r = rig_open((struct fetch_options){0}, serve);
    (void)state;
    shutdown(r->server->fd, SHUT_RDWR);
    rig_ask(r, "/?secret=hunter2", NULL, NULL);
    assert_int_equal(r->code, ERR_IO);
    assert_null(strstr(r->error, "hunter2"));
    rig_close(r);
}

static void no_proxy_of_the_environment_is_used(void **state)
{
    (void)state;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    struct rig *r = rig_open((struct fetch_options){0}, serve);
    rig_ask(r, "/", NULL, NULL);
    assert_int_equal(r->code, 0);
    rig_close(r);
    unsetenv("http_proxy");
    unsetenv("all_proxy");
}

static void only_allowed_urls_are_asked(void **state)
{
    static const char *const good[] = {"https://example.com/x", "http://127.0.0.1:80/",
                                       "http://127.5.6.7/", "http://localhost:9/",
                                       "http://[::1]:9/"};
    static const char *const bad[] = {"http://example.com/",
                                      "http://127.0.0.1.example.com/",
                                      "http://localhost.example.com/",
                                      "file:///etc/passwd",
                                      "ftp://127.0.0.1/",
                                      "smtp://127.0.0.1/",
                                      "gopher://x/",
                                      "https://user:password@example.com/",
                                      "nothing",
                                      "",
                                      "https://"};
    struct error e;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (fetch_check_url(good[i], false, &e))
            fail_msg("%s: %s", good[i], e.text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (fetch_check_url(bad[i], false, &e) != ERR_INVALID)
            fail_msg("%s is taken", bad[i]);
        assert_null(strstr(e.text, "password@"));
    }
    assert_int_equal(fetch_check_url("http://example.com/", true, &e), 0);
}

static void a_header_that_holds_a_line_is_refused(void **state)
{
    struct rig *r = rig_open((struct fetch_options){0}, serve);
    const char *header = "X: 1\r\nY: 2";
    struct error e;
    (void)state;
    struct fetch_http call = {"http://127.0.0.1:9/", NULL, &header, 1};
    assert_int_equal(fetch_http(r->fetcher, 1, &call, &e), ERR_INVALID);
    rig_close(r);
}

static void the_queue_is_bounded_and_closing_cuts_it(void **state)
{
    struct rig *r = rig_open((struct fetch_options){.queue = 2}, serve_silence);
    char url[64];
    struct error e;
    (void)state;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", r->server->port);
    struct fetch_http call = {.url = url};
    assert_int_equal(fetch_http(r->fetcher, 1, &call, &e), 0);
    assert_int_equal(fetch_http(r->fetcher, 2, &call, &e), 0);
    assert_int_equal(fetch_http(r->fetcher, 3, &call, &e), ERR_BUSY);
    rig_close(r); /* long before the 20 seconds of a call */
    /* Nobody was answered. */
}

/* --- TLS --- */

struct tls_server {
    pid_t pid;
    int port;
    char folder[200], cert[256], key[256];
};

static void run_command(char *const *argv)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        dup2(null, 2);
        execvp(argv[0], argv);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

/* openssl's own server, which answers any GET with a page of its own; with a certificate for
 * the name localhost. */
static void tls_open(struct tls_server *t)
{
    char port[16];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    const char *tmp = getenv("TMPDIR");
    snprintf(t->folder, sizeof t->folder, "%s/moongate-fetch-XXXXXX", tmp ? tmp : P_tmpdir);
    assert_non_null(mkdtemp(t->folder));
    snprintf(t->cert, sizeof t->cert, "%s/cert.pem", t->folder);
    snprintf(t->key, sizeof t->key, "%s/key.pem", t->folder);
    char *make[] = {
        "openssl", "req",  "-x509", "-newkey",       "rsa:2048", "-nodes",
        "-days",   "1",    "-subj", "/CN=localhost", "-addext",  "subjectAltName=DNS:localhost",
        "-keyout", t->key, "-out",  t->cert,         NULL};
    run_command(make);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    getsockname(fd, (struct sockaddr *)&a, &len);
    t->port = ntohs(a.sin_port);
    close(fd);
    snprintf(port, sizeof port, "127.0.0.1:%d", t->port);
    t->pid = fork();
    if (t->pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        dup2(null, 2);
        execlp("openssl", "openssl", "s_server", "-accept", port, "-cert", t->cert, "-key", t->key,
               "-www", (char *)NULL);
        _exit(127);
    }
    for (;;) { /* until it listens */
        fd = socket(AF_INET, SOCK_STREAM, 0);
        int rc = connect(fd, (struct sockaddr *)&a, sizeof a);
        close(fd);
        if (rc == 0)
            break;
        usleep(10000);
    }
}

static void tls_close(struct tls_server *t)
{
    kill(t->pid, SIGKILL);
    waitpid(t->pid, NULL, 0);
    unlink(t->cert);
    unlink(t->key);
    rmdir(t->folder);
}

static void ask_tls(struct rig *r, const char *host, int port)
{
    char url[64];
    struct error e;
    int before = r->n;
    snprintf(url, sizeof url, "https://%s:%d/", host, port);
    struct fetch_http call = {.url = url};
    assert_int_equal(fetch_http(r->fetcher, 1, &call, &e), 0);
    while (r->n == before)
        event_base_loop(r->base, EVLOOP_ONCE);
}

static void certificates_are_checked(void **state)
{
    struct tls_server t;
    (void)state;
    tls_open(&t);
    struct rig *r = rig_open((struct fetch_options){.ca_file = t.cert}, serve);
    ask_tls(r, "localhost", t.port);
    assert_string_equal(r->error, "");
    assert_int_equal(r->code, 0);
    assert_int_equal(r->got_status, 200);
    ask_tls(r, "127.0.0.1", t.port); /* the certificate is for another name */
    assert_int_equal(r->code, ERR_DENIED);
    rig_close(r);
    r = rig_open((struct fetch_options){0}, serve);
    ask_tls(r, "localhost", t.port); /* nobody whom the system trusts made it */
    assert_int_equal(r->code, ERR_DENIED);
    rig_close(r);
    tls_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_response_comes_on_the_loop),
        cmocka_unit_test(a_form_is_posted),
        cmocka_unit_test(a_redirection_is_told_and_not_followed),
        cmocka_unit_test(a_response_past_its_ceiling_is_refused),
        cmocka_unit_test(a_server_that_is_silent_is_given_up),
        cmocka_unit_test(a_server_that_is_not_there_is_an_error),
        cmocka_unit_test(no_proxy_of_the_environment_is_used),
        cmocka_unit_test(only_allowed_urls_are_asked),
        cmocka_unit_test(a_header_that_holds_a_line_is_refused),
        cmocka_unit_test(the_queue_is_bounded_and_closing_cuts_it),
        cmocka_unit_test(certificates_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
