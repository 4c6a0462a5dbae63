/*
 * Bytes as moongate.yaml. What is accepted must be shown as YAML that means the same.
 */
#include "config_yaml.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e;
    struct buf first, second;
    struct config *c = config_new();
    buf_init(&first, 16 << 20);
    buf_init(&second, 16 << 20);
    if (config_parse(c, "fuzz.yaml", (const char *)data, size, &e) == 0) {
        config_show(c, &first);
        struct config *again = config_new();
        if (config_parse(again, "shown.yaml", first.data, first.len, &e) != 0)
            abort();
        config_show(again, &second);
        if (first.len != second.len || memcmp(first.data, second.data, first.len) != 0)
            abort();
        config_free(again);
    }
    buf_done(&first);
    buf_done(&second);
    config_free(c);
    return 0;
}
