/* Routes: method and path to a row. */
#include "http/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct http_route table[] = {
    {"GET", "/", 1},
    {"GET", "/v1/models", 2},
    {"POST", "/v1/chat", 3},
    {"GET", "/v1/keys", 4},
    {"POST", "/v1/keys", 5},
    {"DELETE", "/v1/keys", 6},
    {"OPTIONS", "/v1/star", 7},
    {"PUT", "/v1/star", 8},
};

static int find(const char *method, const char *path, char allow[64])
{
    return route_find(table, sizeof(table) / sizeof(table[0]), method, path, allow, 64);
}

static void a_path_and_method_find_their_row(void **state)
{
    (void)state;
    char allow[64];
    assert_int_equal(find("GET", "/", allow), 1);
    assert_int_equal(find("GET", "/v1/models", allow), 2);
    assert_int_equal(find("HEAD", "/v1/models", allow), 2);
    assert_int_equal(find("GET", "/v1/models/", allow), 2);
    assert_int_equal(find("POST", "/v1/chat/", allow), 3);
    assert_int_equal(find("DELETE", "/v1/keys", allow), 6);
    assert_int_equal(find("OPTIONS", "/v1/star", allow), 7);
}

static void only_the_exact_path_is_known(void **state)
{
    (void)state;
    static const char *const unknown[] = {
        "",           "//", "/v1",         "/v1/model", "/v1/modelss", "/v1/models//",
        "/V1/models", "*",  "/v1//models", "v1/models"};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        char allow[64];
        assert_int_equal(find("GET", unknown[i], allow), ROUTE_NO_PATH);
        assert_string_equal(allow, "");
    }
}

static void a_wrong_method_is_told_the_right_ones(void **state)
{
    (void)state;
    char allow[64], small[8], none = 'x';
    assert_int_equal(find("POST", "/v1/models/", allow), ROUTE_NO_METHOD);
    assert_string_equal(allow, "GET, HEAD, OPTIONS");
    assert_int_equal(find("OPTIONS", "/v1/keys", allow), ROUTE_NO_METHOD);
    assert_string_equal(allow, "GET, HEAD, POST, DELETE, OPTIONS");
    assert_int_equal(find("HEAD", "/v1/chat", allow), ROUTE_NO_METHOD);
    assert_string_equal(allow, "POST, OPTIONS");
    assert_int_equal(find("get", "/v1/models", allow), ROUTE_NO_METHOD);
    assert_int_equal(find("GET", "/v1/star", allow), ROUTE_NO_METHOD);
    assert_string_equal(allow, "PUT, OPTIONS");
    assert_int_equal(route_find(table, 8, "PUT", "/v1/keys", small, sizeof(small)),
                     ROUTE_NO_METHOD);
    assert_string_equal(small, "GET, HE");
    assert_int_equal(route_find(table, 8, "PUT", "/v1/keys", &none, 0), ROUTE_NO_METHOD);
    assert_int_equal(none, 'x');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_and_method_find_their_row),
        cmocka_unit_test(only_the_exact_path_is_known),
        cmocka_unit_test(a_wrong_method_is_told_the_right_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
