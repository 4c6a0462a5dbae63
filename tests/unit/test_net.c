/* Addresses, and lists of networks. */
#include "base/net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct net_list list_of(const char *text)
{
    struct net_list list;
    struct error e = {0};
    if (net_list_parse(text, &list, &e) != 0)
        fail_msg("%s: %s", text, e.text);
    return list;
}

static bool holds(const char *text, const char *address)
{
    struct net_list list = list_of(text);
    return net_list_has(&list, address);
}

static void an_address_is_in_its_networks(void **state)
{
    (void)state;
    assert_true(holds("10.0.0.0/8", "10.255.255.255"));
    assert_false(holds("10.0.0.0/8", "11.0.0.0"));
    assert_false(holds("10.0.0.0/8", "9.255.255.255"));
    assert_true(holds("192.168.4.0/22", "192.168.7.255"));
    assert_false(holds("192.168.4.0/22", "192.168.8.0"));
    assert_true(holds("192.0.2.7", "192.0.2.7"));
    assert_true(holds("192.0.2.7/32", "192.0.2.7"));
    assert_false(holds("192.0.2.7", "192.0.2.6"));
    assert_true(holds("0.0.0.0/0", "255.255.255.255"));
    assert_true(holds("2001:db8::/32", "2001:db8:ffff::1"));
    assert_false(holds("2001:db8::/32", "2001:db9::1"));
    assert_true(holds("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(holds("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(holds("::1", "0:0:0:0:0:0:0:1"));
    assert_true(holds("::1/128", "::1"));
    assert_true(holds("::/0", "2001:db8::1"));
}

static void a_list_has_all_its_networks(void **state)
{
    (void)state;
    const char *text = " 10.0.0.0/8 ,192.0.2.7,\t2001:db8::/32 ";
    assert_int_equal(list_of(text).n, 3);
    assert_true(holds(text, "10.1.2.3"));
    assert_true(holds(text, "192.0.2.7"));
    assert_true(holds(text, "2001:db8::5"));
    assert_false(holds(text, "192.0.2.8"));
    assert_int_equal(list_of("").n, 0);
    assert_int_equal(list_of(" \t").n, 0);
    assert_false(holds("", "10.0.0.1"));
}

static void ipv4_written_as_ipv6_is_ipv4(void **state)
{
    (void)state;
    struct net_address a;
    char text[NET_TEXT_BYTES];
    assert_true(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
    assert_true(holds("10.0.0.0/8", "::FFFF:0a01:0203"));
    assert_true(holds("::ffff:10.0.0.0/104", "10.1.2.3"));
    assert_false(holds("::ffff:10.0.0.0/104", "11.1.2.3"));
    assert_true(holds("::ffff:0:0/96", "11.1.2.3"));
    assert_false(holds("0.0.0.0/0", "2001:db8::1"));
    assert_false(holds("::/0", "10.1.2.3"));
    assert_false(holds("::/0", "::ffff:10.1.2.3"));
    assert_false(holds("10.0.0.0/8", "::10.1.2.3"));
    assert_true(net_address_parse("::ffff:10.1.2.3", &a));
    net_address_text(&a, text);
    assert_string_equal(text, "10.1.2.3");
    assert_true(net_address_parse("2001:DB8:0:0::1", &a));
    net_address_text(&a, text);
    assert_string_equal(text, "2001:db8::1");
}

static void what_is_no_address_is_in_no_network(void **state)
{
    (void)state;
    static const char *const none[] = {"",          "localhost",   "10.0.0",     "10.0.0.1 ",
                                       " 10.0.0.1", "010.0.0.1",   "10.0.0.1/8", "[::1]",
                                       "::1%lo",    "10.0.0.1:80", "0x0a.0.0.1", "10.0.0.256"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_false(holds("0.0.0.0/0, ::/0", none[i]));
    }
}

static void a_list_that_is_none_is_refused_with_the_part(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } bad[] = {{",", "\"\" is no network"},
               {"10.0.0.1,", "\"\" is no network"},
               {"10.0.0.1,,10.0.0.2", "\"\" is no network"},
               {"10.0.0.1 10.0.0.2", "\"10.0.0.1 10.0.0.2\" is no network"},
               {"10.0.0.1;10.0.0.2", "\"10.0.0.1;10.0.0.2\""},
               {"1.1.1.1, example.org", "\"example.org\" is no network"},
               {"10.0.0.0/", "\"10.0.0.0/\" has no mask from 0 to 32"},
               {"10.0.0.0/33", "\"10.0.0.0/33\" has no mask from 0 to 32"},
               {"10.0.0.0/08", "\"10.0.0.0/08\" has no mask"},
               {"10.0.0.0/-1", "has no mask"},
               {"10.0.0.0/8/8", "has no mask"},
               {"10.0.0.0/ 8", "has no mask"},
               {"10.0.0.0/255.0.0.0", "has no mask"},
               {"10.0.0.0/4294967304", "has no mask"},
               {"::/129", "\"::/129\" has no mask from 0 to 128"},
               {"/8", "\"/8\" is no network"},
               {"10.0.0.1/8", "\"10.0.0.1/8\" has bits behind its mask: write 10.0.0.0/8"},
               {"2001:db8::1/32", "write 2001:db8::/32"},
               {"::ffff:10.0.0.1/104", "write 10.0.0.0/8"},
               {"fe80::1%eth0", "is no network"},
               {"10.0.0.1, 0123456789012345678901234567890123456789012345678901234567890123456789",
                "is no network"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct net_list list = {.n = 7};
        struct error e;
        assert_int_equal(net_list_parse(bad[i].text, &list, &e), ERR_INVALID);
        if (strstr(e.text, bad[i].part) == NULL)
            fail_msg("%s: %s", bad[i].text, e.text);
        assert_int_equal(list.n, 0);
    }
    assert_int_equal(net_list_parse("x", &(struct net_list){0}, NULL), ERR_INVALID);
}

static void a_list_has_a_ceiling(void **state)
{
    (void)state;
    char text[NET_LIST_MAX * 10 + 20] = "10.0.0.0";
    struct net_list list;
    struct error e;
    for (int i = 1; i < NET_LIST_MAX; i++)
        snprintf(text + strlen(text), 12, ",10.0.0.%d", i);
    assert_int_equal(net_list_parse(text, &list, &e), 0);
    assert_int_equal(list.n, NET_LIST_MAX);
    assert_true(net_list_has(&list, "10.0.0.63"));
    snprintf(text + strlen(text), 12, ",10.0.1.0");
    assert_int_equal(net_list_parse(text, &list, &e), ERR_LIMIT);
    assert_int_equal(list.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_in_its_networks),
        cmocka_unit_test(a_list_has_all_its_networks),
        cmocka_unit_test(ipv4_written_as_ipv6_is_ipv4),
        cmocka_unit_test(what_is_no_address_is_in_no_network),
        cmocka_unit_test(a_list_that_is_none_is_refused_with_the_part),
        cmocka_unit_test(a_list_has_a_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
