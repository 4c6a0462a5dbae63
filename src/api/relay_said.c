/*
 * The `delta` or `message` of a choice: what the model said. Notes its texts and whether it
 * begins the reply, and what must be changed for the contract. A delta's role is cut, since some
 * repeat it in each chunk and clients join what is repeated. Pure.
 */
#include "api/relay_private.h"

enum {
    CONTENT,
    REASONING_CONTENT,
    REASONING,
    TOOL_CALLS,
    ROLE,
    REFUSAL,
    FUNCTION_CALL,
    N_NAMES,
    FUNCTION = 0
};

static const struct name names[N_NAMES] = {
    [CONTENT] = NAME("content"),
    [REASONING_CONTENT] = NAME("reasoning_content"),
    [REASONING] = NAME("reasoning"),
    [TOOL_CALLS] = NAME("tool_calls"),
    [ROLE] = NAME("role"),
    [REFUSAL] = NAME("refusal"),
    [FUNCTION_CALL] = NAME("function_call"),
};

static const struct name call_names[] = {[FUNCTION] = NAME("function")};
static const struct name function_names[] = {NAME("arguments"), NAME("name")};

struct said {
    bool is_message;
    struct value values[N_NAMES]; /* by name; those that were not there are VALUE_ABSENT */
};

static void note_text(struct reader *r, const struct value *v, bool counts)
{
    if (v->kind != VALUE_STRING || v->is_empty)
        return;
    relay_add_piece(r->out, relay_string(r, v));
    if (counts)
        r->out->content_bytes += (int64_t)v->string.decoded;
}

static int read_function_member(struct reader *r, const struct member *m, void *arg)
{
    struct value v;
    (void)arg;
    int rc = relay_value(r, &v);
    if (rc == 0 && m->name >= 0)
        note_text(r, &v, m->name == 0);
    return rc;
}

/* {"name","arguments"}, wherever it stands. */
static int read_function(struct reader *r)
{
    struct value v;
    size_t members;
    if (relay_next(r) != '{')
        return relay_value(r, &v);
    return relay_walk(r, function_names, 2, read_function_member, NULL, &members);
}

static int read_call_member(struct reader *r, const struct member *m, void *arg)
{
    struct value v;
    (void)arg;
    return m->name == FUNCTION ? read_function(r) : relay_value(r, &v);
}

static int read_call(struct reader *r, void *arg)
{
    struct value v;
    size_t members;
    (void)arg;
    if (relay_next(r) != '{')
        return relay_value(r, &v);
    return relay_walk(r, call_names, 1, read_call_member, NULL, &members);
}

/* A value that is gone into; *v is what relay_value would have said of it. */
static int read_inside(struct reader *r, bool calls, struct value *v)
{
    char first = relay_next(r);
    size_t start = r->lex.at;
    if (first != (calls ? '[' : '{'))
        return relay_value(r, v);
    int rc = calls ? relay_items(r, read_call, NULL) : read_function(r);
    if (rc != 0)
        return rc;
    *v = (struct value){.kind = calls ? VALUE_ARRAY : VALUE_OBJECT,
                        .start = r->lex.text + start,
                        .len = r->lex.at - start};
    v->is_empty = relay_is_empty(v->start, v->len);
    return 0;
}

static int read_member(struct reader *r, const struct member *m, void *arg)
{
    struct said *s = arg;
    struct value unknown, *v = m->name >= 0 ? &s->values[m->name] : &unknown;
    int rc = m->name == TOOL_CALLS || m->name == FUNCTION_CALL
                 ? read_inside(r, m->name == TOOL_CALLS, v)
                 : relay_value(r, v);
    if (rc != 0)
        return rc;
    if (m->name != ROLE && !v->is_empty) {
        r->out->begins = true;
        r->out->role_only = false;
    }
    if (m->name == CONTENT)
        note_text(r, v, true);
    if (m->name == ROLE && !s->is_message)
        relay_cut_member(r, m);
    return 0;
}

/* The other spelling of a thought, if it has none of its own. */
static void spell(struct reader *r, struct ending *end, const struct value *from,
                  const struct value *to, const char *lead)
{
    struct api_text raw = {from->start, from->len};
    if (to->kind == VALUE_ABSENT)
        relay_add_member(r->out, end, lead, raw);
    else if (to->kind == VALUE_NULL && from->kind != VALUE_NULL)
        relay_add_edit(r->out, (struct relayed_edit){to->start, to->len, "", raw, -1});
}

static void finish_thoughts(struct reader *r, const struct said *s, struct ending *end,
                            bool is_message)
{
    const struct value *a = &s->values[REASONING_CONTENT], *b = &s->values[REASONING];
    bool from_b = a->kind != VALUE_STRING || (a->is_empty && b->kind == VALUE_STRING);
    note_text(r, from_b ? b : a, true); /* once, whichever spelling has it */
    if (a->kind == VALUE_ABSENT && b->kind == VALUE_ABSENT) {
        if (is_message)
            relay_add_member(r->out, end, ",\"reasoning_content\":null,\"reasoning\":null",
                             (struct api_text){0});
    } else if (a->kind > VALUE_NULL || b->kind == VALUE_ABSENT) {
        spell(r, end, a, b, ",\"reasoning\":");
    } else {
        spell(r, end, b, a, ",\"reasoning_content\":");
    }
}

/* `text` where the value is null or absent; `lead` is its key. */
static void fill(struct reader *r, struct ending *end, const struct value *v, const char *member,
                 const char *text)
{
    if (v->kind == VALUE_ABSENT)
        relay_add_member(r->out, end, member, (struct api_text){0});
    else if (v->kind == VALUE_NULL && text != NULL)
        relay_add_edit(r->out, (struct relayed_edit){v->start, v->len, text, {0}, -1});
}

int relay_read_said(struct reader *r, bool is_message)
{
    struct said s;
    struct ending end;
    s.is_message = is_message;
    for (int i = 0; i < N_NAMES; i++)
        s.values[i].kind = VALUE_ABSENT;
    int rc = relay_walk(r, names, N_NAMES, read_member, &s, &end.members);
    if (rc != 0)
        return rc;
    end.at = r->lex.text + r->lex.at - 1;
    end.members -= !is_message && s.values[ROLE].kind != VALUE_ABSENT; /* it was cut */
    finish_thoughts(r, &s, &end, is_message);
    if (!is_message)
        return 0;
    fill(r, &end, &s.values[ROLE], ",\"role\":\"assistant\"", "\"assistant\"");
    fill(r, &end, &s.values[CONTENT], ",\"content\":null", NULL);
    fill(r, &end, &s.values[REFUSAL], ",\"refusal\":null", NULL);
    fill(r, &end, &s.values[TOOL_CALLS], ",\"tool_calls\":[]", "[]");
    return 0;
}
