/*
 * Usage in the spellings of OpenAI, Moonshot, DeepSeek, SGLang and the Responses API. What is
 * absent is derived from the total where that is possible; numbers that make no sense make the
 * whole usage none, so that it is counted here instead. Pure.
 */
#include "api/relay_private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_BYTES = 40 };
static const double TOKENS_MAX = 0x1p40;

/* What the names stand for; two spellings of one thing are next to each other. */
enum part { PROMPT, COMPLETION, TOTAL, CACHED, REASONING, N_PARTS };

static const struct name names[] = {
    NAME("prompt_tokens"),
    NAME("input_tokens"),
    NAME("completion_tokens"),
    NAME("output_tokens"),
    NAME("total_tokens"),
    NAME("cached_tokens"),
    NAME("prompt_cache_hit_tokens"),
    NAME("reasoning_tokens"),
    NAME("prompt_tokens_details"),
    NAME("input_tokens_details"),
    NAME("completion_tokens_details"),
    NAME("output_tokens_details"),
};
enum { N_NAMES = sizeof names / sizeof names[0], FIRST_DETAILS = 8 };

static const enum part part_of[FIRST_DETAILS] = {PROMPT, PROMPT, COMPLETION, COMPLETION,
                                                 TOTAL,  CACHED, CACHED,     REASONING};

struct parts {
    int64_t tokens[N_PARTS]; /* the larger of two spellings */
    bool senseless, inside;  /* of the details */
};

/* A whole number of tokens, also as 12.0. */
static bool to_tokens(const struct value *v, int64_t *out)
{
    char text[NUMBER_BYTES];
    if (v->kind != VALUE_NUMBER || v->len >= sizeof text)
        return false;
    memcpy(text, v->start, v->len);
    text[v->len] = '\0';
    double tokens = strtod(text, NULL);
    if (!(tokens >= 0 && tokens <= TOKENS_MAX) || tokens != floor(tokens))
        return false;
    *out = (int64_t)tokens;
    return true;
}

static int read_part(struct reader *r, const struct member *m, void *arg)
{
    struct parts *p = arg;
    struct value v;
    size_t members;
    int64_t tokens = 0;
    if (m->name >= FIRST_DETAILS && !p->inside && relay_next(r) == '{') {
        p->inside = true;
        int rc = relay_walk(r, names, N_NAMES, read_part, p, &members);
        p->inside = false;
        return rc;
    }
    int rc = relay_value(r, &v);
    if (rc != 0 || m->name < 0 || m->name >= FIRST_DETAILS || v.kind == VALUE_NULL)
        return rc;
    enum part part = part_of[m->name];
    if (p->inside && part != CACHED && part != REASONING)
        return 0;
    p->senseless |= !to_tokens(&v, &tokens);
    if (tokens > p->tokens[part])
        p->tokens[part] = tokens;
    return 0;
}

static void derive(int64_t *t)
{
    /* Some count what was thought beside the completion. */
    if (t[REASONING] > 0 && t[TOTAL] == t[PROMPT] + t[COMPLETION] + t[REASONING])
        t[COMPLETION] += t[REASONING];
    if (t[PROMPT] == 0 && t[COMPLETION] > 0 && t[TOTAL] > t[COMPLETION])
        t[PROMPT] = t[TOTAL] - t[COMPLETION];
    if (t[COMPLETION] == 0 && t[PROMPT] > 0 && t[TOTAL] > t[PROMPT])
        t[COMPLETION] = t[TOTAL] - t[PROMPT];
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int relay_read_usage(struct reader *r, struct api_usage *u, bool *good)
{
    struct parts p = {0};
    struct value v;
    size_t members;
    *good = false;
    if (relay_next(r) != '{')
        return relay_value(r, &v);
    int rc = relay_walk(r, names, N_NAMES, read_part, &p, &members);
    derive(p.tokens);
    /* No prompt has no tokens: zeros are a place to be filled in. */
    if (rc != 0 || p.senseless || p.tokens[PROMPT] + p.tokens[COMPLETION] == 0)
        return rc;
    *good = true;
    *u = (struct api_usage){.prompt_tokens = p.tokens[PROMPT],
                            .cached_tokens = least(p.tokens[CACHED], p.tokens[PROMPT]),
                            .completion_tokens = p.tokens[COMPLETION],
                            .reasoning_tokens = least(p.tokens[REASONING], p.tokens[COMPLETION]),
                            .source = API_USAGE_UPSTREAM};
    return 0;
}
