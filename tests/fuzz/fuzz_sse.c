/* Server-sent events: bytes split at random give the events and the result of the whole. The
 * first byte is the size of the parts. */
#include "base/sse.h"

#include "base/error.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BYTES = 300 };

static void must(int holds)
{
    if (!holds)
        abort();
}

static int tell(void *arg, const char *name, const char *data, size_t len)
{
    struct buf *told = arg;
    must(data != NULL && len <= MAX_BYTES && strlen(name) < SSE_NAME_BYTES);
    buf_addf(told, "%s|%zu|", name, len);
    buf_add(told, data, len);
    return 0;
}

/* Parts of 1 to `step` bytes, each a copy of its own. */
static int feed(const uint8_t *data, size_t size, size_t step, struct buf *told)
{
    struct sse s;
    int rc = 0;
    buf_init(told, 1 << 24);
    sse_init(&s, MAX_BYTES);
    for (size_t at = 0, turn = 0; rc == 0 && at < size; turn++) {
        size_t part = 1 + turn * 7 % step;
        part = part < size - at ? part : size - at;
        char *copy = malloc(part);
        memcpy(copy, data + at, part);
        rc = sse_feed(&s, copy, part, tell, told);
        free(copy);
        must(sse_held(&s) <= 2 * MAX_BYTES);
        at += part;
    }
    if (rc == 0)
        rc = sse_end(&s, tell, told);
    must(rc == 0 || rc == ERR_LIMIT);
    sse_done(&s);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, parts;
    if (size < 2)
        return 0;
    struct sse s;
    char *copy = malloc(size - 1);
    memcpy(copy, data + 1, size - 1);
    buf_init(&whole, 1 << 24);
    sse_init(&s, MAX_BYTES);
    int rc = sse_feed(&s, copy, size - 1, tell, &whole);
    free(copy);
    if (rc == 0)
        rc = sse_end(&s, tell, &whole);
    sse_done(&s);
    must(feed(data + 1, size - 1, 1 + data[0], &parts) == rc);
    must(whole.len == parts.len &&
         (whole.len == 0 || memcmp(whole.data, parts.data, whole.len) == 0));
    buf_done(&whole);
    buf_done(&parts);
    return 0;
}
