/*
 * Reads the message list of a request. One pass over the list; the work for a message does not
 * depend on the others, except for the ids of the last assistant's calls under the strict
 * profile, whose number is limited. Text of one piece is borrowed from the tree; text parts are
 * joined in the arena. Holds nothing; any thread.
 */
#include "api/reading.h"

#include "api/field.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The message being read. Names of its members are put together only when a fault needs one. */
struct place {
    struct reading *r;
    const struct json *message;
    struct api_message *out;
    size_t index;
    bool last;
};

__attribute__((format(printf, 4, 5))) static enum fault_kind
refuse(const struct place *p, enum fault_kind kind, const char *member, const char *fmt, ...)
{
    char path[96], text[300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    snprintf(path, sizeof path, "messages[%zu]%s%s", p->index, member[0] == '\0' ? "" : ".",
             member);
    return fault_set(p->r->fault, kind, path, "%s %s", path, text);
}

static enum fault_kind refuse_kind(const struct place *p, const char *member, const struct json *v,
                                   const char *wanted)
{
    return refuse(p, FAULT_BAD_REQUEST, member, "must be %s, not %s", wanted,
                  field_kind_name(json_kind(v)));
}

/* An optional string member. */
static enum fault_kind read_string(const struct place *p, const char *key, struct api_text *out)
{
    const struct json *v = field_get(p->message, key);

    if (v == NULL) {
        return FAULT_NONE;
    }
    if (json_kind(v) != JSON_STRING) {
        return refuse_kind(p, key, v, "a string");
    }
    out->data = json_string(v, &out->len);
    return FAULT_NONE;
}

static enum fault_kind read_role(const struct place *p)
{
    static const struct {
        const char *name;
        enum api_role role;
    } roles[] = {
        {"user", API_USER},        {"assistant", API_ASSISTANT}, {"system", API_SYSTEM},
        {"developer", API_SYSTEM}, {"tool", API_TOOL},
    };
    struct api_text name = {0};
    enum fault_kind kind = read_string(p, "role", &name);

    if (kind != FAULT_NONE) {
        return kind;
    }
    if (name.data == NULL) {
        return refuse(p, FAULT_BAD_REQUEST, "role",
                      "is missing; use one of system, user, assistant, tool");
    }
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        if (strcmp(name.data, roles[i].name) == 0) {
            p->out->role = roles[i].role;
            return FAULT_NONE;
        }
    }
    return refuse(p, FAULT_BAD_REQUEST, "role",
                  "is \"%.*s\"; use one of system, user, assistant, tool",
                  field_shown(name.data, name.len), name.data);
}

/* Is this a kind of part that some upstreams take beside text? */
static bool is_other_medium(const char *type)
{
    static const char *const types[] = {"image_url", "video_url", "audio_url", "input_audio",
                                        "file"};

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(type, types[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* A picture, a film, sound, a file: an upstream's matter. What it names is never looked at. */
static enum fault_kind read_medium(const struct place *p, size_t i, const struct json *part,
                                   const char *type)
{
    const struct json *v = field_get(part, type);
    char member[64], text[160];

    snprintf(member, sizeof member, "content[%zu].type", i);
    if (!p->r->model->images) {
        return refuse(p, FAULT_NOT_IMPLEMENTED, member, "is \"%s\": this model reads text only",
                      type);
    }
    if (p->r->counting) {
        return refuse(p, FAULT_NOT_IMPLEMENTED, member, "is \"%s\": only text can be counted",
                      type);
    }
    if (json_kind(v) != JSON_OBJECT && json_kind(v) != JSON_STRING) {
        snprintf(member, sizeof member, "content[%zu].%s", i, type);
        return refuse_kind(p, member, v, "an object or a string");
    }
    snprintf(member, sizeof member, "messages[%zu].content[%zu].type", p->index, i);
    snprintf(text, sizeof text, "%s is \"%s\": this model reads text only", member, type);
    reading_needs_upstream(p->r, member, text);
    return FAULT_NONE;
}

/* *medium: the part is not text, and `out` is empty. */
static enum fault_kind read_part(const struct place *p, size_t i, const struct json *part,
                                 struct api_text *out, bool *medium)
{
    char member[48];
    const struct json *type, *text;
    const char *name;
    size_t len;

    *out = (struct api_text){0};
    *medium = false;
    if (json_kind(part) != JSON_OBJECT) {
        snprintf(member, sizeof member, "content[%zu]", i);
        return refuse_kind(p, member, part, "an object with a type");
    }
    type = field_get(part, "type");
    if (type == NULL || json_kind(type) != JSON_STRING) {
        snprintf(member, sizeof member, "content[%zu].type", i);
        return refuse_kind(p, member, type, "a string");
    }
    name = json_string(type, &len);
    if (is_other_medium(name)) {
        *medium = true;
        return read_medium(p, i, part, name);
    }
    if (strcmp(name, "text") != 0) {
        snprintf(member, sizeof member, "content[%zu].type", i);
        return refuse(p, FAULT_BAD_REQUEST, member,
                      "is \"%.*s\", an invalid part type; this model reads \"text\"",
                      field_shown(name, len), name);
    }
    text = field_get(part, "text");
    if (text == NULL || json_kind(text) != JSON_STRING) {
        snprintf(member, sizeof member, "content[%zu].text", i);
        return refuse_kind(p, member, text, "a string");
    }
    out->data = json_string(text, &out->len);
    if (out->len == 0 && p->r->model->strict) {
        snprintf(member, sizeof member, "content[%zu].text", i);
        return refuse(p, FAULT_BAD_REQUEST, member, "is empty: text content is empty");
    }
    return FAULT_NONE;
}

/* Parts are read twice: to know the length, then to copy. One part is borrowed. *media: some are
 * not text. */
static enum fault_kind read_parts(const struct place *p, const struct json *parts, bool *media)
{
    size_t n = json_len(parts), total = 0;
    struct api_text one = {0};
    char *joined;

    for (size_t i = 0; i < n; i++) {
        bool medium;
        enum fault_kind kind = read_part(p, i, json_at(parts, i), &one, &medium);
        if (kind != FAULT_NONE) {
            return kind;
        }
        *media = *media || medium;
        total += one.len;
    }
    if (n == 1) {
        p->out->content = one;
        return FAULT_NONE;
    }
    joined = arena_alloc(p->r->arena, total + 1);
    p->out->content = (struct api_text){joined, total};
    for (size_t i = 0; i < n; i++) {
        bool medium;
        read_part(p, i, json_at(parts, i), &one, &medium);
        if (one.len > 0) {
            memcpy(joined, one.data, one.len);
            joined += one.len;
        }
    }
    return FAULT_NONE;
}

/* May this message have no text at all? `other`: it has something beside text. */
static enum fault_kind check_empty(const struct place *p, bool given, bool other)
{
    const struct api_message *m = p->out;

    if (m->content.len > 0 || m->tool_calls != NULL || other) {
        return FAULT_NONE;
    }
    if (!given && m->role != API_ASSISTANT) {
        return refuse(p, FAULT_BAD_REQUEST, "content", "is missing");
    }
    if (!p->r->model->strict || m->role == API_TOOL || m->partial) {
        return FAULT_NONE;
    }
    return refuse(p, FAULT_BAD_REQUEST, "content",
                  "is empty: the message at position %zu with role '%s' must not be empty",
                  p->index,
                  m->role == API_ASSISTANT ? "assistant"
                  : m->role == API_USER    ? "user"
                                           : "system");
}

static enum fault_kind read_content(const struct place *p, bool declares_tools)
{
    const struct json *v = field_get(p->message, "content");
    enum fault_kind kind = FAULT_NONE;
    bool other = declares_tools;

    if (json_kind(v) == JSON_STRING) {
        p->out->content.data = json_string(v, &p->out->content.len);
    } else if (json_kind(v) == JSON_ARRAY) {
        kind = read_parts(p, v, &other);
    } else if (v != NULL) {
        return refuse_kind(p, "content", v, "a string or an array of parts");
    }
    return kind == FAULT_NONE ? check_empty(p, v != NULL, other) : kind;
}

static enum fault_kind check_call(const struct place *p, size_t i, const struct json *call)
{
    char member[64];
    const struct json *function;

    snprintf(member, sizeof member, "tool_calls[%zu]", i);
    if (json_kind(call) != JSON_OBJECT) {
        return refuse_kind(p, member, call, "an object");
    }
    for (int k = 0; k < 2; k++) {
        const char *key = k == 0 ? "id" : "type";
        const struct json *v = field_get(call, key);
        if (v != NULL && json_kind(v) != JSON_STRING) {
            snprintf(member, sizeof member, "tool_calls[%zu].%s", i, key);
            return refuse_kind(p, member, v, "a string");
        }
    }
    function = field_get(call, "function");
    if (json_kind(function) != JSON_OBJECT) {
        snprintf(member, sizeof member, "tool_calls[%zu].function", i);
        return refuse_kind(p, member, function, "an object");
    }
    if (json_kind(field_get(function, "name")) != JSON_STRING) {
        snprintf(member, sizeof member, "tool_calls[%zu].function.name", i);
        return refuse_kind(p, member, field_get(function, "name"), "a string");
    }
    if (field_get(function, "arguments") != NULL &&
        json_kind(field_get(function, "arguments")) != JSON_STRING) {
        snprintf(member, sizeof member, "tool_calls[%zu].function.arguments", i);
        return refuse_kind(p, member, field_get(function, "arguments"), "a string");
    }
    return FAULT_NONE;
}

/* What an assistant's message may have beside text. */
static enum fault_kind read_assistant(const struct place *p)
{
    const struct json *calls = field_get(p->message, "tool_calls");
    struct api_text other = {0};
    enum fault_kind kind;
    size_t n = json_kind(calls) == JSON_ARRAY ? json_len(calls) : 0;

    if (calls != NULL && json_kind(calls) != JSON_ARRAY) {
        return refuse_kind(p, "tool_calls", calls, "an array");
    }
    if (n > (size_t)p->r->limits->tools) {
        return refuse(p, FAULT_BAD_REQUEST, "tool_calls", "has %zu entries; at most %d are taken",
                      n, p->r->limits->tools);
    }
    for (size_t i = 0; i < n; i++) {
        kind = check_call(p, i, json_at(calls, i));
        if (kind != FAULT_NONE) {
            return kind;
        }
    }
    p->out->tool_calls = n > 0 ? calls : NULL;
    kind = read_string(p, "reasoning_content", &p->out->reasoning);
    if (kind == FAULT_NONE) {
        kind = read_string(p, "reasoning", &other);
    }
    if (p->out->reasoning.len == 0) {
        p->out->reasoning = other;
    }
    return kind;
}

static bool has_call(const struct json *calls, const struct api_text *id)
{
    size_t n = calls == NULL ? 0 : json_len(calls);

    for (size_t i = 0; i < n; i++) {
        const struct json *v = field_get(json_at(calls, i), "id");
        size_t len = 0;
        const char *s = v == NULL ? NULL : json_string(v, &len);
        if (s != NULL && len == id->len && memcmp(s, id->data, len) == 0) {
            return true;
        }
    }
    return false;
}

/* `calls` are those of the last assistant's message before this one. */
static enum fault_kind read_tool(const struct place *p, const struct json *calls)
{
    struct api_text *id = &p->out->tool_call_id;
    enum fault_kind kind = read_string(p, "tool_call_id", id);

    if (kind != FAULT_NONE) {
        return kind;
    }
    if (id->len == 0) {
        return refuse(p, FAULT_BAD_REQUEST, "tool_call_id",
                      "is missing; a message of role tool names the call that it answers");
    }
    if (p->r->model->strict && !has_call(calls, id)) {
        return refuse(p, FAULT_BAD_REQUEST, "tool_call_id",
                      "is not right: tool_call_id \"%.*s\" is not found in the assistant message "
                      "before it",
                      field_shown(id->data, id->len), id->data);
    }
    return FAULT_NONE;
}

static enum fault_kind read_partial(const struct place *p)
{
    const struct json *v = field_get(p->message, "partial");

    if (v == NULL) {
        return FAULT_NONE;
    }
    if (json_kind(v) != JSON_BOOL) {
        return refuse_kind(p, "partial", v, "a boolean");
    }
    p->out->partial = json_bool(v);
    if (p->out->partial && (p->out->role != API_ASSISTANT || !p->last)) {
        return refuse(p, FAULT_BAD_REQUEST, "partial",
                      "may be true only in the last message, with role assistant");
    }
    return FAULT_NONE;
}

/* A message may declare tools in the middle of a conversation; it needs no content then. */
static enum fault_kind read_declarations(const struct place *p, bool *declares)
{
    static const char what[] = "declares tools, which this version does not call yet";
    const struct json *tools = field_get(p->message, "tools");
    char member[48], text[120];

    *declares = json_kind(tools) == JSON_ARRAY && json_len(tools) > 0;
    if (*declares && p->r->counting) {
        return refuse(p, FAULT_NOT_IMPLEMENTED, "tools", "%s", what);
    }
    if (*declares) {
        snprintf(member, sizeof member, "messages[%zu].tools", p->index);
        snprintf(text, sizeof text, "%s %s", member, what);
        reading_needs_upstream(p->r, member, text);
    }
    return FAULT_NONE;
}

static enum fault_kind read_message(const struct place *p, const struct json *calls)
{
    bool declares = false;
    enum fault_kind kind;

    if (json_kind(p->message) != JSON_OBJECT) {
        return refuse_kind(p, "", p->message, "an object with role and content");
    }
    kind = read_role(p);
    if (kind == FAULT_NONE) {
        kind = read_string(p, "name", &p->out->name);
    }
    if (kind == FAULT_NONE) {
        kind = read_partial(p);
    }
    if (kind == FAULT_NONE && p->out->role == API_ASSISTANT) {
        kind = read_assistant(p);
    }
    if (kind == FAULT_NONE && p->out->role == API_TOOL) {
        kind = read_tool(p, calls);
    }
    if (kind == FAULT_NONE) {
        kind = read_declarations(p, &declares);
    }
    return kind == FAULT_NONE ? read_content(p, declares) : kind;
}

enum fault_kind reading_messages(struct reading *r)
{
    const struct json *list = field_get(r->root, "messages"), *calls = NULL;
    size_t n;

    if (list == NULL) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "messages", "messages is missing");
    }
    if (json_kind(list) != JSON_ARRAY) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "messages",
                         "messages must be an array, not %s", field_kind_name(json_kind(list)));
    }
    n = json_len(list);
    if (n == 0) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "messages",
                         "messages is empty; give at least one message");
    }
    if (n > (size_t)r->limits->messages) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "messages",
                         "messages has %zu entries; at most %d are taken (limits.messages)", n,
                         r->limits->messages);
    }
    r->out->n_messages = n;
    r->out->messages = arena_alloc(r->arena, n * sizeof *r->out->messages);
    for (size_t i = 0; i < n; i++) {
        struct place p = {r, json_at(list, i), &r->out->messages[i], i, i + 1 == n};
        enum fault_kind kind = read_message(&p, calls);
        if (kind != FAULT_NONE) {
            return kind;
        }
        if (p.out->role == API_ASSISTANT) {
            calls = p.out->tool_calls;
        }
    }
    return FAULT_NONE;
}
