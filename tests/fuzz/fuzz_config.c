/*
 * Bytes as moongate.yaml. What is accepted must be shown as YAML that means the same, but for
 * what is not shown: header fields of a backend and a proxy's password, for which a comment
 * stands.
 */
#include "config_yaml.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void drop_comments(const struct buf *b, struct buf *out)
{
    for (const char *line = b->data; line && *line;) {
        size_t len = strcspn(line, "\n") + 1;
        if (line[strspn(line, " ")] != '#')
            buf_add(out, line, len);
        line += len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e;
    struct buf first, second, kept;
    struct config *c = config_new();
    buf_init(&first, 256 << 20);
    buf_init(&second, 256 << 20);
    buf_init(&kept, 256 << 20);
    if (config_parse(c, "fuzz.yaml", (const char *)data, size, &e) == 0) {
        config_show(c, &first);
        if (first.failed)
            abort();
        config_warnings(c, &kept);
        buf_reset(&kept);
        struct config *again = config_new();
        if (config_parse(again, "shown.yaml", first.data, first.len, &e) != 0)
            abort();
        config_show(again, &second);
        drop_comments(&first, &kept);
        if (kept.len != second.len || memcmp(kept.data, second.data, kept.len) != 0)
            abort();
        config_free(again);
    }
    buf_done(&first);
    buf_done(&second);
    buf_done(&kept);
    config_free(c);
    return 0;
}
