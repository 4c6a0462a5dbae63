/* Any bytes: what is encoded reads back as it was, and no special token appears. */
#include "engine/tokenizer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/small_vocabulary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tokenizer *t;
    const char *text = (const char *)data;
    struct tokens ids;
    size_t at = 0;

    if (!t && !(t = small_tokenizer(NULL)))
        abort();
    tokens_init(&ids, size);
    if (tokenizer_encode(t, text, size, &ids) != 0)
        abort();
    for (size_t i = 0; i < ids.n; i++) {
        size_t len;
        const char *bytes = tokenizer_bytes(t, ids.ids[i], &len);
        if (tokenizer_is_special(t, ids.ids[i]) || len > size - at ||
            memcmp(bytes, text + at, len) != 0)
            abort();
        at += len;
    }
    if (at != size)
        abort();
    tokens_done(&ids);
    return 0;
}
