/*
 * Any chat template with any conversation: the prompt has the special tokens of its frame and
 * no more, whatever the texts say.
 *
 * Input: the template's text, a NUL, a byte (bit 0: thinking), then messages: a byte (bits 0 and
 * 1: role, bit 2: partial), and four texts (name, content, reasoning, tool_call_id), each a
 * length byte and that many bytes.
 */
#include "engine/template.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/small_vocabulary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_MESSAGES = 32 };

struct input {
    const uint8_t *at, *end;
};

static uint8_t take_byte(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static struct engine_text take_text(struct input *in)
{
    size_t len = take_byte(in);

    if (len > (size_t)(in->end - in->at))
        len = (size_t)(in->end - in->at);
    struct engine_text out = {(const char *)in->at, len};
    in->at += len;
    return out;
}

static size_t take_messages(struct input *in, struct engine_message *messages)
{
    static const enum engine_role roles[] = {ENGINE_SYSTEM, ENGINE_USER, ENGINE_ASSISTANT,
                                             ENGINE_TOOL};
    size_t n = 0;

    while (in->at < in->end && n < MAX_MESSAGES) {
        struct engine_message *m = &messages[n++];
        uint8_t kind = take_byte(in);
        m->role = roles[kind & 3];
        m->partial = kind >> 2 & 1;
        m->name = take_text(in);
        m->content = take_text(in);
        m->reasoning = take_text(in);
        m->tool_call_id = take_text(in);
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tokenizer *t;
    const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
    struct engine_message messages[MAX_MESSAGES];
    enum template_state state;
    struct template p;
    struct tokens ids;
    struct error e;
    size_t special = 0;

    if (!t && !(t = small_tokenizer(NULL)))
        abort();
    if (!nul || template_find((const char *)data, (size_t)(nul - data), t, &p, &e) != 0)
        return 0;
    struct input in = {nul + 1, data + size};
    bool thinking = take_byte(&in) & 1;
    size_t n = take_messages(&in, messages);
    tokens_init(&ids, 1 << 20);
    if (template_render(&p, t, messages, n, thinking, &ids, &state, &e) != 0)
        abort();
    for (size_t i = 0; i < ids.n; i++)
        special += tokenizer_is_special(t, ids.ids[i]);
    /* A message has three or five, a default system turn three, the reply's header up to four. */
    if (special < 2 + 3 * (n > 0 ? n - 1 : 0) || special > 5 * n + 7)
        abort();
    tokens_done(&ids);
    return 0;
}
