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
    {"GET", "/users/me", 9},
    {"GET", "/users/{id}", 10},
    {"PUT", "/users/{id}", 11},
    {"PATCH", "/users/{id}", 12},
    {"DELETE", "/users/{id}", 13},
    {"POST", "/users/{id}/keys/{key}/rotate", 14},
};

#define LONG_64 "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789ABCD.-"

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

static void a_parameter_takes_one_segment(void **state)
{
    (void)state;
    char allow[64];
    static const char *const good[] = {"/users/7",        "/users/7/",          "/users/a_B-c.9",
                                       "/users/...",      "/users/me2",         "/users/.a",
                                       "/users/" LONG_64, "/users/" LONG_64 "/"};
    static const char *const bad[] = {"/users",
                                      "/users/",
                                      "/users//",
                                      "/users/7//",
                                      "/users/7/8",
                                      "/users/a%2fb",
                                      "/users/{id}",
                                      "/users/a b",
                                      "/users/.",
                                      "/users/..",
                                      "/users/../",
                                      "/users/\xc3\xa9",
                                      "/users/" LONG_64 "x",
                                      "/users/a;b",
                                      "/users/a:b"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(find("GET", good[i], allow), 10);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(find("GET", bad[i], allow), ROUTE_NO_PATH);
    assert_int_equal(find("HEAD", "/users/7", allow), 10);
    assert_int_equal(find("GET", "/users/me", allow), 9);
    assert_int_equal(find("GET", "/users/me/", allow), 9);
    assert_int_equal(find("PATCH", "/users/me", allow), 12);
    assert_int_equal(find("POST", "/users/1/keys/2/rotate", allow), 14);
    assert_int_equal(find("POST", "/users/1/keys/2/rotate/", allow), 14);
    assert_int_equal(find("POST", "/users/1/keys//rotate", allow), ROUTE_NO_PATH);
    assert_int_equal(find("POST", "/users/1/keys/rotate", allow), ROUTE_NO_PATH);
}

static void parameters_are_read_by_their_number(void **state)
{
    (void)state;
    static const char row[] = "/users/{id}/keys/{key}/rotate";
    char out[ROUTE_PARAM_BYTES + 1], small[3], none = 'x';
    assert_true(route_param(row, "/users/17/keys/k-9/rotate", 0, out, sizeof(out)));
    assert_string_equal(out, "17");
    assert_true(route_param(row, "/users/17/keys/k-9/rotate/", 1, out, sizeof(out)));
    assert_string_equal(out, "k-9");
    assert_false(route_param(row, "/users/17/keys/k-9/rotate", 2, out, sizeof(out)));
    assert_string_equal(out, "");
    assert_false(route_param(row, "/users/17/keys/k-9", 0, out, sizeof(out)));
    assert_true(route_param("/users/{id}", "/users/" LONG_64, 0, out, sizeof(out)));
    assert_string_equal(out, LONG_64);
    assert_true(route_param(row, "/users/17/keys/k-9/rotate", 0, small, sizeof(small)));
    assert_string_equal(small, "17");
    assert_false(route_param(row, "/users/17/keys/k-9/rotate", 1, small, sizeof(small)));
    assert_string_equal(small, "");
    assert_false(route_param(row, "/users/17/keys/k-9/rotate", 0, &none, 0));
    assert_int_equal(none, 'x');
}

static void a_wrong_method_of_a_parameter_is_told_each_right_one_once(void **state)
{
    (void)state;
    char allow[64];
    assert_int_equal(find("POST", "/users/7", allow), ROUTE_NO_METHOD);
    assert_string_equal(allow, "GET, HEAD, PUT, PATCH, DELETE, OPTIONS");
    assert_int_equal(find("POST", "/users/me/", allow), ROUTE_NO_METHOD);
    assert_string_equal(allow, "GET, HEAD, PUT, PATCH, DELETE, OPTIONS");
    assert_int_equal(find("GET", "/users/1/keys/2/rotate", allow), ROUTE_NO_METHOD);
    assert_string_equal(allow, "POST, OPTIONS");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_and_method_find_their_row),
        cmocka_unit_test(only_the_exact_path_is_known),
        cmocka_unit_test(a_wrong_method_is_told_the_right_ones),
        cmocka_unit_test(a_parameter_takes_one_segment),
        cmocka_unit_test(parameters_are_read_by_their_number),
        cmocka_unit_test(a_wrong_method_of_a_parameter_is_told_each_right_one_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
