/*
 * Any tokens with any stop strings: both texts are UTF-8 at every moment, and the content holds
 * no stop string.
 *
 * Input: a byte (bits 0 and 1: where the reply starts, bits 2 to 4: number of stop strings),
 * each stop string as a length byte and its bytes, then two bytes for each token.
 */
#include "base/utf8.h"
#include "engine/textflow.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/small_vocabulary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_STOPS = 8 };

static bool is_utf8(const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        int n = utf8_char(s + i, len - i);
        if (n < 0)
            return false;
        i += (size_t)n;
    }
    return true;
}

static void check(const struct buf *reasoning, const struct buf *content,
                  const struct engine_text *stops, size_t n_stops)
{
    if (reasoning->failed || content->failed || !is_utf8(reasoning->data, reasoning->len) ||
        !is_utf8(content->data, content->len))
        abort();
    for (size_t i = 0; i < n_stops && content->len > 0; i++)
        if (stops[i].len > 0 && memmem(content->data, content->len, stops[i].data, stops[i].len))
            abort();
}

/* Stop strings are UTF-8 by contract: others are left out. */
static size_t take_stops(const uint8_t **at, const uint8_t *end, size_t n,
                         struct engine_text *stops)
{
    size_t n_stops = 0;

    for (; n > 0 && *at < end; n--) {
        size_t len = *(*at)++;
        if (len > (size_t)(end - *at))
            len = (size_t)(end - *at);
        if (is_utf8((const char *)*at, len))
            stops[n_stops++] = (struct engine_text){(const char *)*at, len};
        *at += len;
    }
    return n_stops;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum template_state states[] = {TEMPLATE_IN_CONTENT, TEMPLATE_IN_REASONING,
                                                 TEMPLATE_MAYBE_REASONING, TEMPLATE_IN_CONTENT};
    static struct tokenizer *t;
    struct engine_text stops[MAX_STOPS];
    struct buf reasoning, content;

    if (!t && !(t = small_tokenizer(NULL)))
        abort();
    if (size == 0)
        return 0;
    const uint8_t *at = data + 1, *end = data + size;
    size_t n_stops = take_stops(&at, end, data[0] >> 2 & 7, stops);
    struct textflow *f = textflow_new(t, states[data[0] & 3], stops, n_stops);
    buf_init(&reasoning, 1 << 24);
    buf_init(&content, 1 << 24);
    for (; end - at >= 2; at += 2) {
        int32_t token = (at[0] << 8 | at[1]) % SMALL_TOKENS;
        bool stop = textflow_token(f, token, &reasoning, &content);
        check(&reasoning, &content, stops, n_stops);
        if (stop)
            break;
    }
    textflow_finish(f, &reasoning, &content);
    check(&reasoning, &content, stops, n_stops);
    if (textflow_pending(f))
        abort();
    textflow_free(f);
    buf_done(&reasoning);
    buf_done(&content);
    return 0;
}
