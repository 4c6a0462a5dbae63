/*
 * See textflow.h. Bytes go through in one pass, one character at a time, so the result does not
 * depend on where the tokens' borders are. Each stop string has its own automaton of Knuth,
 * Morris and Pratt: how many of its bytes the content ends with. The longest such beginning is
 * what must be held back; the first stop string to be complete wins, the longest of those that
 * end at the same byte.
 */
#include "engine/textflow.h"

#include "base/mem.h"
#include "engine/codepoint.h"

#include <stdlib.h>
#include <string.h>

/* White space before a <think> that may come is held back up to here, then it is content. */
#define MAX_LEADING_SPACE 64
#define REPLACEMENT       "\xEF\xBF\xBD"

struct stop {
    char *text;
    size_t *fallback; /* [i]: length of the longest proper border of the first i + 1 bytes */
    size_t len, matched;
};

struct textflow {
    const struct tokenizer *tokenizer;
    int32_t think, end_think, tool_calls; /* ids, -1 if the vocabulary has none */
    enum template_state state;
    bool token_in_reasoning; /* of the token just taken */
    bool stopped;
    char unfinished[4]; /* bytes of a character that is not complete */
    size_t n_unfinished;
    struct buf held; /* content that may be the beginning of a stop string, or leading space */
    struct stop *stops;
    size_t n_stops;
};

static void stop_init(struct stop *s, const struct engine_text *text)
{
    s->len = text->len;
    s->text = mem_strndup(text->data, text->len);
    s->fallback = mem_array(text->len, sizeof *s->fallback);
    for (size_t i = 1, border = 0; i < s->len; i++) {
        while (border > 0 && s->text[i] != s->text[border])
            border = s->fallback[border - 1];
        if (s->text[i] == s->text[border])
            border++;
        s->fallback[i] = border;
    }
}

/* True if the string is complete with this byte. */
static bool stop_step(struct stop *s, char byte)
{
    while (s->matched > 0 && s->text[s->matched] != byte)
        s->matched = s->fallback[s->matched - 1];
    if (s->text[s->matched] == byte)
        s->matched++;
    return s->matched == s->len;
}

struct textflow *textflow_new(const struct tokenizer *t, enum template_state start,
                              const struct engine_text *stops, size_t n_stops)
{
    struct textflow *f = mem_zalloc(sizeof *f);
    size_t longest_stop = 0;

    f->tokenizer = t;
    f->state = start;
    f->think = tokenizer_special(t, "<think>");
    f->end_think = tokenizer_special(t, "</think>");
    f->tool_calls = tokenizer_special(t, "<|tool_calls_section_begin|>");
    f->stops = mem_array(n_stops + 1, sizeof *f->stops);
    for (size_t i = 0; i < n_stops; i++) {
        if (stops[i].len == 0)
            continue;
        stop_init(&f->stops[f->n_stops++], &stops[i]);
        if (stops[i].len > longest_stop)
            longest_stop = stops[i].len;
    }
    /* Each byte of a token may become a replacement character of three. */
    buf_init(&f->held, longest_stop + MAX_LEADING_SPACE + 3 * (tokenizer_longest(t) + 4));
    return f;
}

void textflow_free(struct textflow *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n_stops; i++) {
        free(f->stops[i].text);
        free(f->stops[i].fallback);
    }
    free(f->stops);
    buf_done(&f->held);
    free(f);
}

/* Gives out held content but for its last `keep` bytes. */
static void release(struct textflow *f, size_t keep, struct buf *content)
{
    size_t n = f->held.len - keep;

    if (n == 0)
        return;
    buf_add(content, f->held.data, n);
    buf_drop(&f->held, n);
}

/* Looks for stop strings at the end of what is held, which grew by n bytes. */
static void watch_stops(struct textflow *f, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n && !f->stopped; i++) {
        size_t longest = 0;
        for (size_t k = 0; k < f->n_stops; k++)
            if (stop_step(&f->stops[k], bytes[i]) && f->stops[k].len > longest)
                longest = f->stops[k].len;
        if (longest > 0) {
            f->stopped = true;
            f->held.len -= longest + (n - 1 - i);
            f->held.data[f->held.len] = '\0';
        }
    }
}

static void add_content(struct textflow *f, const char *character, size_t n)
{
    buf_add(&f->held, character, n);
    watch_stops(f, character, n);
}

/* The space before a <think> that did not come turns out to be content. */
static void decide_for_content(struct textflow *f)
{
    char space[MAX_LEADING_SPACE];
    size_t n = f->held.len;

    f->state = TEMPLATE_IN_CONTENT;
    memcpy(space, f->held.data ? f->held.data : "", n);
    buf_reset(&f->held);
    for (size_t i = 0; i < n && !f->stopped; i++)
        add_content(f, &space[i], 1);
}

static void add_character(struct textflow *f, const char *s, size_t n, struct buf *reasoning)
{
    if (f->stopped)
        return;
    if (f->state == TEMPLATE_MAYBE_REASONING) {
        bool space = *s == ' ' || *s == '\n' || *s == '\t' || *s == '\r';
        if (space && f->held.len < MAX_LEADING_SPACE) {
            buf_add(&f->held, s, n);
            return;
        }
        decide_for_content(f);
    }
    if (f->state == TEMPLATE_IN_REASONING)
        buf_add(reasoning, s, n);
    else if (!f->stopped)
        add_content(f, s, n);
}

/* Takes whole characters off the front of the unfinished bytes. `last`: no more will come. */
static void take_characters(struct textflow *f, bool last, struct buf *reasoning)
{
    while (f->n_unfinished > 0) {
        uint32_t c;
        int used = codepoint_read(f->unfinished, f->n_unfinished, &c);
        if (used == 0 && !last)
            break;
        if (used > 0 && c != 0) {
            add_character(f, f->unfinished, (size_t)used, reasoning);
        } else if (used > 0) {
            /* a client could not send U+0000 back: no reader of requests takes it */
            add_character(f, REPLACEMENT, 3, reasoning);
        } else {
            used = used == 0 ? (int)f->n_unfinished : -used;
            add_character(f, REPLACEMENT, 3, reasoning);
        }
        f->n_unfinished -= (size_t)used;
        memmove(f->unfinished, f->unfinished + used, f->n_unfinished);
    }
}

/* Gives out what no stop string can begin with. */
static void settle(struct textflow *f, struct buf *content)
{
    size_t keep = 0;

    if (f->state != TEMPLATE_IN_CONTENT)
        return;
    for (size_t i = 0; i < f->n_stops && !f->stopped; i++)
        if (f->stops[i].matched > keep)
            keep = f->stops[i].matched;
    release(f, keep, content);
}

static void take_special(struct textflow *f, int32_t token, struct buf *reasoning)
{
    enum template_state before = f->state;

    if (token == f->think && before == TEMPLATE_MAYBE_REASONING) {
        take_characters(f, true, reasoning);
        if (f->state == TEMPLATE_MAYBE_REASONING) {
            buf_reset(&f->held);
            f->state = TEMPLATE_IN_REASONING;
        }
    } else if (token == f->end_think && before != TEMPLATE_IN_CONTENT) {
        take_characters(f, true, reasoning);
        if (f->state == TEMPLATE_MAYBE_REASONING)
            buf_reset(&f->held);
        f->state = TEMPLATE_IN_CONTENT;
    } else if (token == f->tool_calls && before == TEMPLATE_IN_REASONING) {
        take_characters(f, true, reasoning);
        f->state = TEMPLATE_IN_CONTENT;
    }
    f->token_in_reasoning = f->state == TEMPLATE_IN_REASONING ||
                            (before == TEMPLATE_IN_REASONING && token == f->end_think);
}

bool textflow_token(struct textflow *f, int32_t token, struct buf *reasoning, struct buf *content)
{
    size_t len;
    const char *bytes = tokenizer_bytes(f->tokenizer, token, &len);

    if (f->stopped)
        return true;
    if (tokenizer_is_special(f->tokenizer, token)) {
        take_special(f, token, reasoning);
    } else {
        f->token_in_reasoning = f->state == TEMPLATE_IN_REASONING;
        for (size_t i = 0; i < len; i++) {
            f->unfinished[f->n_unfinished++] = bytes[i];
            take_characters(f, false, reasoning);
        }
    }
    settle(f, content);
    if (f->stopped)
        f->n_unfinished = 0;
    return f->stopped;
}

void textflow_finish(struct textflow *f, struct buf *reasoning, struct buf *content)
{
    take_characters(f, true, reasoning);
    if (f->state == TEMPLATE_MAYBE_REASONING)
        decide_for_content(f);
    release(f, 0, content);
}

bool textflow_in_reasoning(const struct textflow *f)
{
    return f->token_in_reasoning;
}

bool textflow_pending(const struct textflow *f)
{
    return f->n_unfinished > 0 || f->held.len > 0;
}
