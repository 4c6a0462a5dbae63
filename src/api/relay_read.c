/*
 * Reads an upstream's object in one pass: the top level and the choices. Spans are noted for the
 * writers, and the changes that they make to the text of the choices. A text that is good but for
 * its UTF-8 or halves of surrogate pairs is mended and read again. Pure.
 */
#include "api/relay_private.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    ID,
    OBJECT,
    CREATED,
    MODEL,
    FINGERPRINT,
    CHOICES,
    USAGE,
    ERROR,
    N_TAKEN, /* those before are written by us, or not at all */
    MESSAGE = N_TAKEN,
    MSG,
    DETAIL,
    ERRORS,
    CODE,
    STATUS,
    TYPE,
    PARAM,
    N_NAMES
};

_Static_assert(RELAY_RESTS == N_TAKEN + 1, "what is copied lies between what is taken");

static const struct name names[N_NAMES] = {
    [ID] = NAME("id"),
    [OBJECT] = NAME("object"),
    [CREATED] = NAME("created"),
    [MODEL] = NAME("model"),
    [FINGERPRINT] = NAME("system_fingerprint"),
    [CHOICES] = NAME("choices"),
    [USAGE] = NAME("usage"),
    [ERROR] = NAME("error"),
    [MESSAGE] = NAME("message"),
    [MSG] = NAME("msg"),
    [DETAIL] = NAME("detail"),
    [ERRORS] = NAME("errors"),
    [CODE] = NAME("code"),
    [STATUS] = NAME("status"),
    [TYPE] = NAME("type"),
    [PARAM] = NAME("param"),
};

enum { INDEX, DELTA, MESSAGE_OF, FINISH, LOGPROBS, USAGE_OF, N_CHOICE_NAMES };

static const struct name choice_names[N_CHOICE_NAMES] = {
    [INDEX] = NAME("index"),          [DELTA] = NAME("delta"),       [MESSAGE_OF] = NAME("message"),
    [FINISH] = NAME("finish_reason"), [LOGPROBS] = NAME("logprobs"), [USAGE_OF] = NAME("usage"),
};

static const struct {
    const char *word;
    enum api_finish finish;
    bool broken;
} finishes[] = {
    {"length", API_FINISH_LENGTH, false},
    {"max_tokens", API_FINISH_LENGTH, false},
    {"tool_calls", API_FINISH_TOOL_CALLS, false},
    {"function_call", API_FINISH_TOOL_CALLS, false},
    {"abort", API_FINISH_STOP, true},
    {"error", API_FINISH_STOP, true},
};

/* One choice while it is read. */
struct choosing {
    struct relayed_choice choice;
    unsigned seen; /* a bit for each of its names */
};

/* A list that is full moves out of the few items inside, or grows. */
static void *grown(void *list, const void *few, size_t n, size_t *cap, size_t item_bytes)
{
    if (n < *cap)
        return list;
    *cap *= 2;
    if (list != few)
        return mem_realloc(list, *cap * item_bytes);
    void *moved = mem_alloc(*cap * item_bytes);
    memcpy(moved, few, n * item_bytes);
    return moved;
}

void relay_add_piece(struct relayed *out, struct api_text piece)
{
    out->piece =
        grown(out->piece, out->few_pieces, out->n_pieces, &out->cap_pieces, sizeof *out->piece);
    out->piece[out->n_pieces++] = piece;
}

void relay_add_edit(struct relayed *out, struct relayed_edit edit)
{
    out->edit = grown(out->edit, out->few_edits, out->n_edits, &out->cap_edits, sizeof *out->edit);
    size_t at = out->n_edits++;
    for (; at > 0 && out->edit[at - 1].at > edit.at; at--)
        out->edit[at] = out->edit[at - 1];
    out->edit[at] = edit;
}

static void add_numbered(struct relayed *out, struct ending *end, const char *lead,
                         struct api_text raw, int number)
{
    if (end->members++ == 0)
        lead++; /* no comma */
    relay_add_edit(out, (struct relayed_edit){end->at, 0, lead, raw, number});
}

void relay_add_member(struct relayed *out, struct ending *end, const char *lead,
                      struct api_text raw)
{
    add_numbered(out, end, lead, raw, -1);
}

void relay_cut_member(struct reader *r, const struct member *m)
{
    size_t start = m->comma_at != 0 ? m->comma_at : m->key_at, end = r->lex.at;
    if (m->comma_at == 0 && relay_next(r) == ',')
        end = r->lex.at + 1;
    relay_add_edit(r->out, (struct relayed_edit){r->lex.text + start, end - start, "", {0}, -1});
}

static int read_index(struct reader *r, struct choosing *c)
{
    struct value v;
    int index = 0;
    int rc = relay_value(r, &v);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < v.len && index < RELAY_CHOICES; i++) {
        if (v.start[i] < '0' || v.start[i] > '9')
            index = RELAY_CHOICES;
        else
            index = index * 10 + (v.start[i] - '0');
    }
    if (index >= RELAY_CHOICES)
        return error_set(r->lex.e, ERR_INVALID, "the index of a choice is no number below %d",
                         RELAY_CHOICES);
    c->choice.index = index;
    return 0;
}

static int read_finish(struct reader *r, struct choosing *c)
{
    struct value v;
    int rc = relay_value(r, &v);
    if (rc != 0 || v.kind == VALUE_NULL)
        return rc;
    if (v.kind != VALUE_STRING)
        return error_set(r->lex.e, ERR_INVALID, "a finish_reason is no text");
    if (v.is_empty) { /* some write this for null */
        relay_add_edit(r->out, (struct relayed_edit){v.start, v.len, "null", {0}, -1});
        return 0;
    }
    r->out->begins = true;
    r->out->role_only = false;
    c->choice.finished = true;
    c->choice.finish = API_FINISH_STOP;
    for (size_t i = 0; i < sizeof finishes / sizeof finishes[0]; i++) {
        if (relay_is(r, &v, finishes[i].word)) {
            c->choice.finish = finishes[i].finish;
            c->choice.broken = finishes[i].broken;
        }
    }
    return 0;
}

static int read_delta(struct reader *r)
{
    struct value v;
    if (relay_next(r) == '{')
        return relay_read_said(r, false);
    int rc = relay_value(r, &v);
    if (rc == 0)
        relay_add_edit(r->out, (struct relayed_edit){v.start, v.len, "{}", {0}, -1});
    return rc;
}

static int read_message(struct reader *r)
{
    struct value v;
    if (relay_next(r) != '{')
        return relay_value(r, &v);
    r->n_messages++;
    return relay_read_said(r, true);
}

/* Prompts are the same for all choices, completions are not. */
static void add_usage(struct relayed *out, const struct api_usage *u)
{
    if (out->has_usage) {
        out->usage.completion_tokens += u->completion_tokens;
        out->usage.reasoning_tokens += u->reasoning_tokens;
    } else {
        out->usage = *u;
        out->has_usage = true;
    }
}

/* A usage inside a choice is read and cut. */
static int read_choice_usage(struct reader *r, const struct member *m)
{
    struct api_usage u;
    bool good;
    int rc = relay_read_usage(r, &u, &good);
    if (rc != 0)
        return rc;
    if (good && !r->has_usage)
        add_usage(r->out, &u);
    relay_cut_member(r, m);
    return 0;
}

static int read_logprobs(struct reader *r)
{
    struct value v;
    int rc = relay_value(r, &v);
    if (rc == 0 && !v.is_empty) {
        r->out->begins = true;
        r->out->role_only = false;
    }
    return rc;
}

static int read_choice_member(struct reader *r, const struct member *m, void *arg)
{
    struct choosing *c = arg;
    struct value v;
    int rc;
    if (m->name >= 0)
        c->seen |= 1u << m->name;
    switch (m->name) {
    case INDEX:
        return read_index(r, c);
    case DELTA:
        return read_delta(r);
    case MESSAGE_OF:
        return read_message(r);
    case FINISH:
        return read_finish(r, c);
    case LOGPROBS:
        return read_logprobs(r);
    case USAGE_OF:
        return read_choice_usage(r, m);
    default:
        rc = relay_value(r, &v);
        r->out->role_only &= rc != 0 || v.is_empty;
        return rc;
    }
}

static void finish_choice(struct reader *r, const struct choosing *c, struct ending *end)
{
    const struct api_text none = {0};
    end->at = r->lex.text + r->lex.at - 1;
    end->members -= c->seen >> USAGE_OF & 1;
    if ((c->seen & 1u << INDEX) == 0)
        add_numbered(r->out, end, ",\"index\":", none, c->choice.index);
    if ((c->seen & (1u << DELTA | 1u << MESSAGE_OF)) == 0)
        relay_add_member(r->out, end, ",\"delta\":{}", none);
    if ((c->seen & 1u << LOGPROBS) == 0)
        relay_add_member(r->out, end, ",\"logprobs\":null", none);
    if ((c->seen & 1u << FINISH) == 0)
        relay_add_member(r->out, end, ",\"finish_reason\":null", none);
}

static int read_choice(struct reader *r, void *arg)
{
    struct relayed *out = r->out;
    struct choosing c = {.choice.index = (int)out->n_choices};
    struct ending end;
    (void)arg;
    if (out->n_choices == RELAY_CHOICES)
        return error_set(r->lex.e, ERR_LIMIT, "there are more than %d choices", RELAY_CHOICES);
    if (relay_next(r) != '{')
        return json_lex_bad(&r->lex, "a choice is no object");
    int rc = relay_walk(r, choice_names, N_CHOICE_NAMES, read_choice_member, &c, &end.members);
    if (rc != 0)
        return rc;
    finish_choice(r, &c, &end);
    out->choice = grown(out->choice, out->few_choices, out->n_choices, &out->cap_choices,
                        sizeof *out->choice);
    out->choice[out->n_choices++] = c.choice;
    return 0;
}

static int read_choices(struct reader *r)
{
    struct value v;
    if (relay_next(r) != '[') {
        int rc = relay_value(r, &v);
        if (rc == 0 && v.kind != VALUE_NULL)
            rc = error_set(r->lex.e, ERR_INVALID, "the choices are no array");
        return rc;
    }
    size_t start = r->lex.at;
    r->has_choices = true;
    int rc = relay_items(r, read_choice, NULL);
    r->out->choices = (struct api_text){r->lex.text + start, r->lex.at - start};
    return rc;
}

static int read_usage(struct reader *r)
{
    struct api_usage u;
    int rc = relay_read_usage(r, &u, &r->has_usage);
    if (rc != 0 || !r->has_usage)
        return rc;
    r->out->has_usage = true;
    r->out->usage = u;
    return 0;
}

static int read_error(struct reader *r)
{
    size_t start;
    relay_next(r);
    start = r->lex.at;
    int rc = relay_read_trouble(r, &r->error);
    if (rc == 0)
        r->error_is_empty = relay_is_empty(r->lex.text + start, r->lex.at - start);
    return rc;
}

/* What is copied: one span as long as nothing of ours lies between. */
static void note_rest(struct reader *r, const struct member *m)
{
    struct relayed *out = r->out;
    const char *start = r->lex.text + m->key_at, *end = r->lex.text + r->lex.at;
    if (r->in_rest)
        out->rest[out->n_rests - 1].len = (size_t)(end - out->rest[out->n_rests - 1].data);
    else
        out->rest[out->n_rests++] = (struct api_text){start, (size_t)(end - start)};
    r->in_rest = true;
}

static int read_taken(struct reader *r, int name)
{
    struct value v;
    int rc;
    r->in_rest = false;
    switch (name) {
    case CHOICES:
        return read_choices(r);
    case USAGE:
        return read_usage(r);
    case ERROR:
        return read_error(r);
    default:
        rc = relay_value(r, &v);
        if (rc == 0 && name == OBJECT)
            r->is_error = relay_is(r, &v, "error");
        return rc;
    }
}

static int read_top_member(struct reader *r, const struct member *m, void *arg)
{
    struct value v;
    (void)arg;
    if (m->name >= 0 && m->name < N_TAKEN)
        return read_taken(r, m->name);
    int rc =
        m->name >= 0 ? relay_read_trouble_member(r, &r->top, names[m->name]) : relay_value(r, &v);
    if (rc == 0)
        note_rest(r, m);
    return rc;
}

static struct api_text first_of(struct api_text a, struct api_text b)
{
    return a.data != NULL ? a : b;
}

/* An error counts, whatever stands beside it; what may be one only if there are no choices. */
static int decide_kind(struct reader *r)
{
    struct relayed *out = r->out;
    bool has_error = r->error.found && !(r->error_is_empty && r->has_choices);
    if (has_error || r->is_error || (!r->has_choices && !r->has_usage && r->top.found)) {
        out->kind = RELAY_ERROR;
        out->message = first_of(r->error.message, r->top.message);
        out->code = first_of(r->error.code, r->top.code);
        out->type = first_of(r->error.type, r->top.type);
        out->param = first_of(r->error.param, r->top.param);
        out->status = r->error.status != 0 ? r->error.status : r->top.status;
        return 0;
    }
    out->kind = RELAY_CHUNK;
    out->whole = out->n_choices > 0 && r->n_messages == out->n_choices;
    if (!r->has_choices && !r->has_usage)
        return error_set(r->lex.e, ERR_INVALID, "the object has neither choices nor an error");
    return 0;
}

static void set_lists(struct relayed *out)
{
    out->choice = out->few_choices;
    out->cap_choices = RELAY_FEW_CHOICES;
    out->edit = out->few_edits;
    out->cap_edits = RELAY_FEW_EDITS;
    out->piece = out->few_pieces;
    out->cap_pieces = RELAY_FEW_TEXTS;
    out->role_only = true;
}

static int read_once(const char *text, size_t len, struct relayed *out, bool *ill, struct error *e)
{
    struct reader r = {.out = out};
    size_t members;
    r.lex = (struct json_lex){.text = text,
                              .len = len,
                              .e = e,
                              .max_depth = RELAY_DEPTH,
                              .is_object = r.levels,
                              .lenient = true};
    set_lists(out);
    if (relay_next(&r) != '{')
        return json_lex_bad(&r.lex, "an object is expected here");
    out->text = (struct api_text){text + r.lex.at, 0};
    int rc = relay_walk(&r, names, N_NAMES, read_top_member, NULL, &members);
    out->text.len = (size_t)(text + r.lex.at - out->text.data);
    if (rc == 0 && relay_next(&r) != '\0')
        rc = json_lex_bad(&r.lex, "text behind the end of the object");
    if (rc == 0 && r.lex.at < len)
        rc = json_lex_bad(&r.lex, "a NUL behind the end of the object");
    *ill = r.lex.ill;
    return rc != 0 ? rc : decide_kind(&r);
}

static void free_lists(struct relayed *r)
{
    if (r->choice != r->few_choices)
        free(r->choice);
    if (r->edit != r->few_edits)
        free(r->edit);
    if (r->piece != r->few_pieces)
        free(r->piece);
}

int relay_read(const char *text, size_t len, struct relayed *out, struct error *e)
{
    bool ill = false;
    memset(out, 0, offsetof(struct relayed, few_choices));
    int rc = read_once(text, len, out, &ill, e);
    if (rc != 0 || !ill)
        return rc;
    free_lists(out);
    memset(out, 0, offsetof(struct relayed, few_choices));
    buf_init(&out->repaired, 3 * len); /* a byte becomes three at most */
    relay_mend(&out->repaired, text, len);
    return read_once(out->repaired.data, out->repaired.len, out, &ill, e);
}

void relay_done(struct relayed *r)
{
    free_lists(r);
    buf_done(&r->repaired);
    set_lists(r);
}
