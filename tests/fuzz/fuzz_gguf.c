/*
 * The GGUF reader over arbitrary bytes: opens them, and reads every key, string and tensor byte
 * of what it accepts.
 */
#include "engine/gguf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile size_t total; /* so that no read is left out */

static void use_value(const struct gguf *g, const char *key)
{
    int64_t i;
    double d;
    bool yes;
    const char *s;
    size_t len, count = 0;
    struct error e;
    gguf_int(g, key, INT64_MIN, INT64_MAX, &i, &e);
    gguf_float(g, key, &d, &e);
    gguf_bool_or(g, key, false, &yes, &e);
    if (gguf_string(g, key, &s, &len, &e) == 0 && len > 0)
        total += (size_t)s[0] + (size_t)s[len - 1];
    if (gguf_array_len(g, key, &count, &e) != 0)
        return;
    for (size_t n = 0; n < count; n++) {
        if (gguf_array_int(g, key, n, &i, &e) != 0 && gguf_string_at(g, key, n, &s, &len) != 0)
            break;
    }
}

static void use_entry(void *arg, const char *key, const char *value)
{
    use_value(arg, key);
    total += strlen(value);
}

static void use_tensors(const struct gguf *g)
{
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        const uint8_t *bytes = t->data;
        if (gguf_tensor(g, t->name) != t)
            abort();
        total += (size_t)bytes[0] + bytes[t->bytes - 1];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf *g;
    struct error e;
    uint8_t *copy = malloc(size ? size : 1); /* of its exact size, and aligned */
    if (!copy)
        abort();
    if (size > 0)
        memcpy(copy, data, size);
    if (gguf_open_bytes(copy, size, &g, &e) == 0) {
        gguf_each(g, use_entry, g);
        use_value(g, "%A.block_count");
        use_tensors(g);
        gguf_close(g);
    } else if (e.code >= 0 || e.text[0] == '\0') {
        abort();
    }
    free(copy);
    return 0;
}
