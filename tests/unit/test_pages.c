/* The console's pages: which file a path means, and how it is sent. */
#include "console/pages.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { FOREVER = 1, PAGE = 2, REFERENCE = 4, ENTRY_BYTES = 40, HEAD_BYTES = 16 };

struct file {
    const char *path, *type, *etag;
    uint32_t flags;
    const char *bodies[3]; /* plain, gzip, brotli; "" is not there */
};

static const struct file files[] = {
    {"/", "text/html", "W/\"one\"", PAGE, {"page", "page.gz", "page.br"}},
    {"/admin/accounts/*", "text/html", "W/\"one\"", PAGE, {"page", "page.gz", "page.br"}},
    {"/assets/a-1.js", "text/javascript", "W/\"two\"", FOREVER, {"script", "s.gz", ""}},
    {"/docs", "text/html", "W/\"three\"", PAGE | REFERENCE, {"docs", "", ""}},
    {"/usage/*", "text/html", "W/\"one\"", PAGE, {"page", "page.gz", "page.br"}},
};
enum { N_FILES = sizeof files / sizeof *files };

struct state {
    struct buf archive;
    struct pages *pages;
};

static void put(struct buf *b, uint32_t n)
{
    const unsigned char bytes[4] = {n & 0xff, n >> 8 & 0xff, n >> 16 & 0xff, n >> 24 & 0xff};
    buf_add(b, (const char *)bytes, sizeof bytes);
}

static uint32_t add_text(struct buf *texts, const char *s)
{
    uint32_t at = HEAD_BYTES + N_FILES * ENTRY_BYTES + (uint32_t)texts->len;
    buf_add(texts, s, strlen(s) + 1);
    return at;
}

static int set_up(void **out)
{
    static struct state s;
    struct buf texts;
    struct error e;
    buf_init(&s.archive, 1 << 16);
    buf_init(&texts, 1 << 16);
    buf_adds(&s.archive, "MGPAGES1");
    put(&s.archive, N_FILES);
    put(&s.archive, 0);
    for (size_t i = 0; i < N_FILES; i++) {
        put(&s.archive, add_text(&texts, files[i].path));
        put(&s.archive, add_text(&texts, files[i].type));
        put(&s.archive, add_text(&texts, files[i].etag));
        put(&s.archive, files[i].flags);
        for (size_t k = 0; k < 3; k++) {
            put(&s.archive, add_text(&texts, files[i].bodies[k]));
            put(&s.archive, (uint32_t)strlen(files[i].bodies[k]));
        }
    }
    buf_add(&s.archive, texts.data, texts.len);
    buf_done(&texts);
    assert_int_equal(pages_open(s.archive.data, s.archive.len, &s.pages, &e), 0);
    *out = &s;
    return 0;
}

static int tear_down(void **out)
{
    struct state *s = *out;
    pages_close(s->pages);
    buf_done(&s->archive);
    return 0;
}

static struct pages_answer get(const struct state *s, const char *path, const char *accept,
                               const char *known)
{
    const struct pages_request r = {path, accept, known};
    struct pages_answer a;
    assert_true(pages_find(s->pages, &r, &a));
    return a;
}

static const char *field(const struct pages_answer *a, const char *name)
{
    for (size_t i = 0; i < a->n_headers; i++)
        if (strcmp(a->headers[i].name, name) == 0)
            return a->headers[i].value;
    return "";
}

static void is_sent(const struct state *s, const char *path, const char *accept, const char *body,
                    const char *encoding)
{
    struct pages_answer a = get(s, path, accept, NULL);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.len, strlen(body));
    assert_memory_equal(a.body, body, a.len);
    assert_string_equal(field(&a, "content-encoding"), encoding);
    assert_string_equal(field(&a, "vary"), "accept-encoding");
}

static void the_best_encoding_that_a_client_takes_is_sent(void **state)
{
    const struct state *s = *state;
    is_sent(s, "/", "gzip, deflate, br, zstd", "page.br", "br");
    is_sent(s, "/", "br;q=1.0, gzip;q=0.8, *;q=0.1", "page.br", "br");
    is_sent(s, "/", "GZIP", "page.gz", "gzip");
    is_sent(s, "/", NULL, "page", "");
    is_sent(s, "/", "", "page", "");
    is_sent(s, "/", "identity, brotli, xbr", "page", "");
}

static void an_encoding_with_weight_0_is_refused(void **state)
{
    const struct state *s = *state;
    is_sent(s, "/", "br;q=0, gzip", "page.gz", "gzip");
    is_sent(s, "/", "br ; q=0.000, gzip;q=0.0", "page", "");
    is_sent(s, "/", "br;q=0.001", "page.br", "br");
}

static void an_encoding_that_saved_nothing_is_not_offered(void **state)
{
    is_sent(*state, "/assets/a-1.js", "br, gzip", "s.gz", "gzip");
    is_sent(*state, "/docs", "br, gzip", "docs", "");
}

static void a_star_stands_for_one_last_segment(void **state)
{
    const struct state *s = *state;
    assert_true(pages_has(s->pages, "/usage/12"));
    assert_true(pages_has(s->pages, "/admin/accounts/7"));
    assert_false(pages_has(s->pages, "/usage"));
    assert_false(pages_has(s->pages, "/usage/"));
    assert_false(pages_has(s->pages, "/usage/12/13"));
    assert_false(pages_has(s->pages, "/assets/a-2.js"));
    assert_false(pages_has(s->pages, "/*"));
    assert_false(pages_has(s->pages, "//"));
    assert_false(pages_has(s->pages, ""));
}

static void a_path_that_is_longer_than_any_is_no_file(void **state)
{
    const struct state *s = *state;
    char path[4096];
    memset(path, 'a', sizeof path - 1);
    path[0] = path[300] = '/';
    path[sizeof path - 1] = '\0';
    assert_false(pages_has(s->pages, path));
}

static void what_is_hashed_is_kept_and_pages_are_asked_for_again(void **state)
{
    struct pages_answer script = get(*state, "/assets/a-1.js", NULL, NULL);
    struct pages_answer page = get(*state, "/", NULL, NULL);
    assert_string_equal(field(&script, "cache-control"), "public, max-age=31536000, immutable");
    assert_string_equal(field(&page, "cache-control"), "no-cache");
}

static void a_page_that_the_client_has_is_not_sent_again(void **state)
{
    struct pages_answer known = get(*state, "/", "br", "W/\"zero\", W/\"one\"");
    struct pages_answer old = get(*state, "/", "br", "W/\"zero\"");
    struct pages_answer any = get(*state, "/", "br", "*");
    assert_int_equal(known.status, 304);
    assert_int_equal(known.len, 0);
    assert_string_equal(field(&known, "etag"), "W/\"one\"");
    assert_string_equal(field(&known, "content-encoding"), "");
    assert_int_equal(old.status, 200);
    assert_int_equal(any.status, 304);
}

static void pages_load_nothing_from_elsewhere_and_stand_in_no_frame(void **state)
{
    struct pages_answer page = get(*state, "/", NULL, NULL);
    struct pages_answer docs = get(*state, "/docs", NULL, NULL);
    const char *policy = field(&page, "content-security-policy");
    assert_non_null(strstr(policy, "default-src 'none'; script-src 'self'; style-src 'self';"));
    assert_non_null(strstr(policy, "frame-ancestors 'none'"));
    assert_null(strstr(policy, "unsafe"));
    policy = field(&docs, "content-security-policy");
    assert_non_null(strstr(policy, "script-src 'self'; style-src 'self' 'unsafe-inline';"));
    assert_string_equal(field(&page, "x-content-type-options"), "nosniff");
    assert_string_equal(field(&page, "referrer-policy"), "no-referrer");
}

static void an_archive_without_files_has_none(void **state)
{
    static const char empty[16] = "MGPAGES1";
    struct pages *p;
    struct error e;
    (void)state;
    assert_int_equal(pages_open(empty, sizeof empty, &p, &e), 0);
    assert_false(pages_has(p, "/"));
    pages_close(p);
}

static void an_archive_that_is_cut_anywhere_is_refused_or_whole(void **state)
{
    const struct state *s = *state;
    struct pages *p;
    struct error e;
    size_t last = s->archive.len - strlen("page.br") - 1; /* where the last body begins */
    for (size_t n = 0; n < last; n++)
        assert_int_equal(pages_open(s->archive.data, n, &p, &e), ERR_INVALID);
    assert_int_equal(pages_open("MGPAGES2\0\0\0\0\0\0\0", HEAD_BYTES, &p, &e), ERR_INVALID);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_best_encoding_that_a_client_takes_is_sent),
        TEST(an_encoding_with_weight_0_is_refused),
        TEST(an_encoding_that_saved_nothing_is_not_offered),
        TEST(a_star_stands_for_one_last_segment),
        TEST(a_path_that_is_longer_than_any_is_no_file),
        TEST(what_is_hashed_is_kept_and_pages_are_asked_for_again),
        TEST(a_page_that_the_client_has_is_not_sent_again),
        TEST(pages_load_nothing_from_elsewhere_and_stand_in_no_frame),
        TEST(an_archive_without_files_has_none),
        TEST(an_archive_that_is_cut_anywhere_is_refused_or_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
