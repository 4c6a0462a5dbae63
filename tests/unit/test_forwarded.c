/* Whom a request is from, behind proxies. 10.0.0.0/8 and 2001:db8:1::/48 are the trusted ones. */
#include "http/forwarded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct forwarded read_all(const char *peer, bool tls, const char *hops, const char *protos)
{
    struct net_list trusted;
    struct forwarded f;
    assert_int_equal(net_list_parse("10.0.0.0/8, 2001:db8:1::/48", &trusted, NULL), 0);
    memset(&f, 'x', sizeof(f));
    forwarded_read(&trusted, peer, tls, hops, protos, &f);
    return f;
}

static void from(const char *peer, const char *hops, const char *address)
{
    struct forwarded f = read_all(peer, false, hops, NULL);
    assert_string_equal(f.address, address);
    assert_false(f.https);
}

static bool https(const char *hops, const char *protos)
{
    return read_all("10.0.0.1", false, hops, protos).https;
}

static void a_stranger_is_not_believed(void **state)
{
    (void)state;
    from("192.0.2.1", NULL, "192.0.2.1");
    from("192.0.2.1", "198.51.100.7", "192.0.2.1");
    from("192.0.2.1", "198.51.100.7, 10.0.0.1", "192.0.2.1");
    assert_false(read_all("192.0.2.1", false, NULL, "https").https);
    assert_true(read_all("192.0.2.1", true, NULL, "http").https);
}

static void the_rightmost_address_that_is_no_proxy_is_the_client(void **state)
{
    (void)state;
    from("10.0.0.1", "198.51.100.7", "198.51.100.7");
    from("10.0.0.1", "1.1.1.1, 198.51.100.7", "198.51.100.7");
    from("10.0.0.1", "1.1.1.1,198.51.100.7,10.0.0.2 , 10.3.0.3", "198.51.100.7");
    from("2001:db8:1::5", "1.1.1.1, 2001:db8::7, 10.0.0.2", "2001:db8::7");
    from("::ffff:10.0.0.1", "::ffff:198.51.100.7", "198.51.100.7");
    from("10.0.0.1", "10.0.0.9, 10.0.0.8", "10.0.0.9");
    from("10.0.0.1", NULL, "10.0.0.1");
    from("10.0.0.1", "", "10.0.0.1");
}

static void ports_and_brackets_are_read(void **state)
{
    (void)state;
    from("10.0.0.1", "198.51.100.7:4711", "198.51.100.7");
    from("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7");
    from("10.0.0.1", "[2001:DB8:0::7]", "2001:db8::7");
    from("10.0.0.1", "198.51.100.7:4711, 10.0.0.2:80", "198.51.100.7");
    from("10.0.0.1", "198.51.100.7, [2001:db8:1::2]:80", "198.51.100.7");
}

static void what_is_no_address_ends_the_way_at_the_proxy_that_wrote_it(void **state)
{
    (void)state;
    static const char *const none[] = {
        "unknown",
        "_hidden",
        "198.51.100.7:",
        "198.51.100.7:x",
        "[198.51.100.7]",
        "[2001:db8::7",
        "2001:db8::7]",
        "[2001:db8::7]x",
        "[::1]:",
        "198.51.100.7:123456",
        "\"198.51.100.7\"",
        "198.51.100.7 1.1.1.1",
        "[]",
        "0000000000000000000000000000000000000000000000000000000000000000000000000000000000001"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        char two[200] = "1.1.1.1, ";
        from("10.0.0.1", none[i], "10.0.0.1");
        memcpy(two + 9, none[i], strlen(none[i]) + 1);
        from("10.0.0.1", two, "10.0.0.1");
        memcpy(two + strlen(two), ", 10.0.0.2", 11);
        from("10.0.0.1", two, "10.0.0.2");
    }
    from("10.0.0.1", "1.1.1.1, , 10.0.0.2", "10.0.0.2");
    from("10.0.0.1", "198.51.100.7,", "10.0.0.1");
}

static void https_is_what_the_proxy_says_that_names_the_client(void **state)
{
    (void)state;
    assert_true(https("198.51.100.7", "https"));
    assert_true(https("198.51.100.7", "HTTPS"));
    assert_true(https(NULL, "https"));
    assert_false(https("198.51.100.7", "http"));
    assert_false(https("198.51.100.7", NULL));
    assert_false(https("198.51.100.7", ""));
    assert_false(https("198.51.100.7", "httpsx"));
    /* the client wrote the left one itself */
    assert_false(https("198.51.100.7", "https, http"));
    assert_true(https("198.51.100.7", "http, https"));
    assert_false(https("1.1.1.1, 198.51.100.7", "https, http"));
    /* two proxies, each wrote its own */
    assert_true(https("198.51.100.7, 10.0.0.2", "https, http"));
    assert_false(https("198.51.100.7, 10.0.0.2", "http, https"));
    /* two proxies, one wrote for both */
    assert_true(https("198.51.100.7, 10.0.0.2", "https"));
    /* by a proxy without TLS, over TLS to us */
    assert_false(read_all("10.0.0.1", true, "198.51.100.7", "http").https);
    assert_true(read_all("10.0.0.1", true, "198.51.100.7", NULL).https);
}

static void a_peer_without_an_address_is_itself(void **state)
{
    (void)state;
    from("unix", "198.51.100.7", "unix");
    from("", "198.51.100.7", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stranger_is_not_believed),
        cmocka_unit_test(the_rightmost_address_that_is_no_proxy_is_the_client),
        cmocka_unit_test(ports_and_brackets_are_read),
        cmocka_unit_test(what_is_no_address_ends_the_way_at_the_proxy_that_wrote_it),
        cmocka_unit_test(https_is_what_the_proxy_says_that_names_the_client),
        cmocka_unit_test(a_peer_without_an_address_is_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
