/*
 * See template.h. One frame serves the whole line:
 *   header name <|im_middle|> content <|im_end|>
 * with nothing between messages; the variants differ in what stands before the content of an
 * assistant's turn and after the last header. Special tokens are put by id, all other text goes
 * through the encoder in one stretch between two of them, as the reference tokenises it.
 */
#include "engine/template.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static const char kimi_system[] = "You are Kimi, an AI assistant created by Moonshot AI.";
static const char helpful_system[] = "You are a helpful assistant";

/* A rendering under way. */
struct render {
    const struct template *p;
    const struct tokenizer *t;
    struct tokens *out;
    bool thinking;
};

static const char *find(const char *text, size_t len, const char *what)
{
    return len > 0 ? memmem(text, len, what, strlen(what)) : NULL;
}

/* The part of a template that writes the header of the reply: after the last mention of the
 * variable that asks for it. */
static const char *reply_part(const char *text, size_t len, size_t *part_len)
{
    const char *end = text + len, *part = end, *at = text;

    while ((at = find(at, (size_t)(end - at), "add_generation_prompt")))
        part = ++at;
    *part_len = (size_t)(end - part);
    return part;
}

/* What the text contains tells which of the line it is. */
static void read_fingerprint(const char *text, size_t len, struct template *out)
{
    size_t part_len;
    const char *part = reply_part(text, len, &part_len);
    bool preserves = find(text, len, "preserve_thinking") != NULL;
    bool since_k25 = preserves || find(text, len, "tools_ts_str");

    *out = (struct template){.thinking = TEMPLATE_NO_THINKING};
    if (since_k25 || find(part, part_len, "<think>"))
        out->thinking = TEMPLATE_PROMPT_OPENS;
    else if (find(text, len, "<think></think>"))
        out->thinking = TEMPLATE_MODEL_OPENS;
    if (find(text, len, kimi_system))
        out->default_system = kimi_system;
    else if (find(text, len, helpful_system))
        out->default_system = helpful_system;
    out->preserve_thinking = preserves && !out->default_system;
    out->always_thinks = out->preserve_thinking && !find(part, part_len, "<think></think>");
}

static int need_special(const struct tokenizer *t, const char *text, struct error *e)
{
    if (tokenizer_special(t, text) >= 0)
        return 0;
    return error_set(e, ERR_UNSUPPORTED,
                     "the chat template needs the special token %s, which the vocabulary has not",
                     text);
}

int template_find(const char *text, size_t len, const struct tokenizer *t, struct template *out,
                  struct error *e)
{
    static const char *const frame[] = {"<|im_system|>", "<|im_user|>", "<|im_assistant|>",
                                        "<|im_middle|>", "<|im_end|>"};
    int rc = 0;

    if (find(text, len, "<|open|>"))
        return error_set(e, ERR_UNSUPPORTED, "chat templates of the Kimi K3 kind are not built in");
    if (!find(text, len, "<|im_middle|>"))
        return error_set(e, ERR_UNSUPPORTED,
                         "tokenizer.chat_template is none of the Kimi K2 line (no <|im_middle|>)");
    read_fingerprint(text, len, out);
    for (size_t i = 0; i < sizeof frame / sizeof *frame && rc == 0; i++)
        rc = need_special(t, frame[i], e);
    if (out->thinking != TEMPLATE_NO_THINKING && rc == 0)
        rc = need_special(t, "<think>", e);
    if (out->thinking != TEMPLATE_NO_THINKING && rc == 0)
        rc = need_special(t, "</think>", e);
    return rc;
}

static void put_special(struct render *r, const char *text)
{
    tokens_add(r->out, tokenizer_special(r->t, text));
}

/* The count of tokens tells at the end whether the limit was kept. */
static void put_text(struct render *r, const char *text, size_t len)
{
    (void)tokenizer_encode(r->t, text, len, r->out);
}

static void put_header(struct render *r, enum engine_role role, struct engine_text name)
{
    static const struct {
        const char *token, *name;
    } headers[] = {
        [ENGINE_SYSTEM] = {"<|im_system|>", "system"},
        [ENGINE_USER] = {"<|im_user|>", "user"},
        [ENGINE_ASSISTANT] = {"<|im_assistant|>", "assistant"},
        [ENGINE_TOOL] = {"<|im_system|>", "tool"},
    };

    put_special(r, headers[role].token);
    if (name.len > 0)
        put_text(r, name.data, name.len);
    else
        put_text(r, headers[role].name, strlen(headers[role].name));
    put_special(r, "<|im_middle|>");
}

/* A tool's result is one stretch of text with its heading, so it is put together first. */
static void put_tool_result(struct render *r, const struct engine_message *m)
{
    static const char heading[] = "## Return of ";
    size_t n = 0;
    char *s = mem_alloc(sizeof heading + m->tool_call_id.len + m->content.len);

    memcpy(s, heading, sizeof heading - 1);
    n = sizeof heading - 1;
    if (m->tool_call_id.len > 0)
        memcpy(s + n, m->tool_call_id.data, m->tool_call_id.len);
    n += m->tool_call_id.len;
    s[n++] = '\n';
    if (m->content.len > 0)
        memcpy(s + n, m->content.data, m->content.len);
    put_text(r, s, n + m->content.len);
    free(s);
}

/* Whether a model of this template is to think about its next reply. */
static bool thinks(const struct render *r)
{
    switch (r->p->thinking) {
    case TEMPLATE_NO_THINKING:
        return false;
    case TEMPLATE_MODEL_OPENS:
        return true;
    case TEMPLATE_PROMPT_OPENS:
        break;
    }
    return r->thinking || r->p->always_thinks;
}

static void put_assistant(struct render *r, const struct engine_message *m, bool with_reasoning)
{
    if (r->p->thinking != TEMPLATE_NO_THINKING) {
        put_special(r, "<think>");
        if (with_reasoning && thinks(r))
            put_text(r, m->reasoning.data, m->reasoning.len);
        put_special(r, "</think>");
    }
    put_text(r, m->content.data, m->content.len);
}

/* The reply continues this message: its thinking if there is no content yet. */
static enum template_state put_partial(struct render *r, const struct engine_message *m)
{
    put_header(r, m->role, m->name);
    if (m->content.len > 0 || !thinks(r)) {
        put_assistant(r, m, true);
        return TEMPLATE_IN_CONTENT;
    }
    put_special(r, "<think>");
    put_text(r, m->reasoning.data, m->reasoning.len);
    return TEMPLATE_IN_REASONING;
}

static enum template_state put_reply_header(struct render *r)
{
    put_header(r, ENGINE_ASSISTANT, (struct engine_text){0});
    if (r->p->thinking == TEMPLATE_NO_THINKING)
        return TEMPLATE_IN_CONTENT;
    if (r->p->thinking == TEMPLATE_MODEL_OPENS)
        return TEMPLATE_MAYBE_REASONING;
    put_special(r, "<think>");
    if (thinks(r))
        return TEMPLATE_IN_REASONING;
    put_special(r, "</think>");
    return TEMPLATE_IN_CONTENT;
}

/* Number of messages that are history: up to the last assistant's answer that called no tool
 * (one that did is followed by a result). Reasoning before that is not shown again. */
static size_t history_of(const struct engine_message *messages, size_t n)
{
    for (size_t i = n; i > 0; i--) {
        bool called = i < n && messages[i].role == ENGINE_TOOL;
        if (messages[i - 1].role == ENGINE_ASSISTANT && !called)
            return i;
    }
    return 0;
}

static void put_messages(struct render *r, const struct engine_message *messages, size_t n)
{
    size_t history = history_of(messages, n);

    if (r->p->default_system && (n == 0 || messages[0].role != ENGINE_SYSTEM)) {
        put_header(r, ENGINE_SYSTEM, (struct engine_text){0});
        put_text(r, r->p->default_system, strlen(r->p->default_system));
        put_special(r, "<|im_end|>");
    }
    for (size_t i = 0; i < n; i++) {
        const struct engine_message *m = &messages[i];
        put_header(r, m->role, m->name);
        if (m->role == ENGINE_ASSISTANT)
            put_assistant(r, m, i >= history || r->p->preserve_thinking);
        else if (m->role == ENGINE_TOOL)
            put_tool_result(r, m);
        else
            put_text(r, m->content.data, m->content.len);
        put_special(r, "<|im_end|>");
    }
}

int template_render(const struct template *p, const struct tokenizer *t,
                    const struct engine_message *messages, size_t n, bool thinking,
                    struct tokens *out, enum template_state *state, struct error *e)
{
    struct render r = {.p = p, .t = t, .out = out, .thinking = thinking};
    const struct engine_message *last = n > 0 ? &messages[n - 1] : NULL;

    if (last && last->role == ENGINE_ASSISTANT && last->partial) {
        put_messages(&r, messages, n - 1);
        *state = put_partial(&r, last);
    } else {
        put_messages(&r, messages, n);
        *state = put_reply_header(&r);
    }
    if (out->n > out->max)
        return error_set(e, ERR_LIMIT, "the conversation has %zu tokens, at most %zu fit", out->n,
                         out->max);
    return 0;
}
