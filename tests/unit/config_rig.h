/* What the tests of the configuration share. After cmocka.h. */
#ifndef MOONGATE_TESTS_CONFIG_RIG_H
#define MOONGATE_TESTS_CONFIG_RIG_H

#include "config.h"
#include "config_yaml.h"

#include <string.h>

static inline struct config *parse(const char *yaml)
{
    struct error e;
    struct config *c = config_new();
    if (config_parse(c, "t.yaml", yaml, strlen(yaml), &e) != 0)
        fail_msg("%s", e.text);
    return c;
}

static inline void check_refused(const char *yaml, int code, const char *text)
{
    struct error e = {.text = ""};
    struct config *c = config_new();
    assert_int_equal(config_parse(c, "t.yaml", yaml, strlen(yaml), &e), code);
    assert_string_equal(e.text, text);
    config_free(c);
}

static inline char *shown(const struct config *c)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    config_show(c, &b);
    assert_false(b.failed);
    return buf_take(&b, &(size_t){0});
}

#endif
