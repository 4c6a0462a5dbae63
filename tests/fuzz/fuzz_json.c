/* JSON: what is read and written back reads and writes the same again, and any string that is
 * written can be read. */
#include "base/json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds)
        abort();
}

static void check_round_trip(const char *text, size_t len)
{
    struct json *first, *second;
    struct error e;
    if (json_parse(text, len, 64, &first, &e) != 0) {
        must(e.code == ERR_INVALID && e.text[0] != '\0' && first == NULL);
        return;
    }
    struct buf once, twice;
    buf_init(&once, 1 << 24);
    buf_init(&twice, 1 << 24);
    json_write(&once, first);
    must(json_parse(once.data, once.len, 64, &second, &e) == 0);
    json_write(&twice, second);
    must(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
    json_free(first);
    json_free(second);
    buf_done(&once);
    buf_done(&twice);
}

static void check_string(const char *bytes, size_t len)
{
    struct buf b;
    struct json *v;
    buf_init(&b, 1 << 24);
    json_write_string(&b, bytes, len);
    int rc = json_parse(b.data, b.len, 1, &v, NULL);
    must(rc == 0 || (len > 0 && memchr(bytes, '\0', len) != NULL));
    json_free(v);
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy of its own lets a read past the end show. */
    char *copy = calloc(size + (size == 0), 1);
    if (size > 0)
        memcpy(copy, data, size);
    check_round_trip(copy, size);
    check_string(copy, size);
    free(copy);
    return 0;
}
