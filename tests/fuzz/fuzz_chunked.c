/* Chunked bodies: the same in one piece as in many. The first byte says how large pieces are. */
#include "http/chunked.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum chunked_result decode(const char *text, size_t len, size_t step, struct buf *out,
                                  size_t *used)
{
    struct chunked c;
    enum chunked_result result = CHUNKED_MORE;
    chunked_init(&c);
    *used = 0;
    while (*used < len && result == CHUNKED_MORE) {
        size_t n = len - *used < step ? len - *used : step, took;
        result = chunked_feed(&c, text + *used, n, &took, out);
        *used += took;
    }
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct buf one, many;
    size_t used_one, used_many, step = (size_t)data[0] + 1;
    const char *text = (const char *)data + 1;
    buf_init(&one, 300);
    buf_init(&many, 300);
    enum chunked_result a = decode(text, size - 1, size, &one, &used_one);
    enum chunked_result b = decode(text, size - 1, step, &many, &used_many);
    if (a != b || used_one != used_many || one.len != many.len || one.failed || many.failed ||
        (one.len > 0 && memcmp(one.data, many.data, one.len) != 0))
        abort();
    buf_done(&one);
    buf_done(&many);
    return 0;
}
