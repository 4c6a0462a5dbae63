/*
 * Chat templates of the Kimi K2 line as code: which one a file wants is read off its
 * `tokenizer.chat_template` (what it contains), and a conversation is rendered straight into
 * token ids, so that text of users cannot become a special token. Pure; any thread.
 */
#ifndef MOONGATE_ENGINE_TEMPLATE_H
#define MOONGATE_ENGINE_TEMPLATE_H

#include "engine/engine.h"
#include "engine/tokenizer.h"

enum template_thinking {
    TEMPLATE_NO_THINKING, /* K2-Instruct, Moonlight: assistant turns are plain */
    TEMPLATE_MODEL_OPENS, /* K2-Thinking: the model itself emits <think> */
    TEMPLATE_PROMPT_OPENS /* K2.5 and later: the prompt ends with <think> or <think></think> */
};

struct template
{
    enum template_thinking thinking;
    bool always_thinks;         /* PROMPT_OPENS without the empty form: K2.7-code */
    bool preserve_thinking;     /* reasoning of all earlier turns is kept: K2.7-code always, the
                                   others where a request wishes it */
    const char *default_system; /* put first if the conversation starts otherwise; or NULL */
};

/* ERR_UNSUPPORTED if the text belongs to none of the known ones, or a special token that the
 * template needs is missing from the tokenizer (named). */
int template_find(const char *text, size_t len, const struct tokenizer *t, struct template *out,
                  struct error *e);

/* Where the reply starts. */
enum template_state { TEMPLATE_IN_CONTENT, TEMPLATE_IN_REASONING, TEMPLATE_MAYBE_REASONING };

/* Appends the prompt. ERR_LIMIT as of tokenizer_encode. */
int template_render(const struct template *p, const struct tokenizer *t,
                    const struct engine_message *messages, size_t n, bool thinking,
                    struct tokens *out, enum template_state *state, struct error *e);

#endif
