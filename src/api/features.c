/*
 * What a request may ask for beyond a reply in plain text: tools, formats, sound. Everything is
 * checked for its shape, so that a mistake is told as such; of what is well-formed and more than
 * the engine of this process can do, the first is noted by name: the caller refuses with it if no
 * upstream may answer. Members that change nothing here are checked for type alone. Holds
 * nothing; any thread.
 */
#include "api/reading.h"

#include "api/field.h"

#include <stdio.h>
#include <string.h>

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Lenient: 1 to 64 letters, digits, '_' or '-'. Strict: at least 3, begun by a letter or '_'. */
static bool is_good_name(const char *s, size_t len, bool strict)
{
    if (len < (strict ? 3u : 1u) || len > 64) {
        return false;
    }
    if (strict && !is_letter(s[0]) && s[0] != '_') {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (!is_letter(s[i]) && !(s[i] >= '0' && s[i] <= '9') && s[i] != '_' && s[i] != '-') {
            return false;
        }
    }
    return true;
}

static enum fault_kind check_name(const struct reading *r, const struct json *holder,
                                  const char *path, struct api_text *name)
{
    enum fault_kind kind = field_string(holder, path, name, r->fault);

    if (kind != FAULT_NONE) {
        return kind;
    }
    if (name->data == NULL) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, path, "%s is missing", path);
    }
    if (!is_good_name(name->data, name->len, r->model->strict)) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, path,
                         "%s \"%.*s\" is invalid: names have letters, digits, '_' and '-', "
                         "%s64 of them at most",
                         path, field_shown(name->data, name->len), name->data,
                         r->model->strict ? "begin with a letter or '_', 3 at least and " : "");
    }
    return FAULT_NONE;
}

/* Sets *name to the declared function's name; it stays empty for a built-in one. */
static enum fault_kind check_tool(const struct reading *r, const struct json *tool, size_t i,
                                  struct api_text *name)
{
    char path[64];
    const struct json *function = NULL, *ignored = NULL;
    struct api_text type = {0}, text = {0};
    enum fault_kind kind;
    bool strict = false, builtin;

    snprintf(path, sizeof path, "tools[%zu]", i);
    if (json_kind(tool) != JSON_OBJECT) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, path, "%s must be an object, not %s", path,
                         field_kind_name(json_kind(tool)));
    }
    snprintf(path, sizeof path, "tools[%zu].type", i);
    kind = field_string(tool, path, &type, r->fault);
    if (kind != FAULT_NONE) {
        return kind;
    }
    builtin = type.data != NULL && strcmp(type.data, "builtin_function") == 0;
    if (!builtin && (type.data == NULL || strcmp(type.data, "function") != 0)) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, path, "%s must be \"function\"", path);
    }
    snprintf(path, sizeof path, "tools[%zu].function", i);
    kind = field_of_kind(tool, path, JSON_OBJECT, &function, r->fault);
    if (kind != FAULT_NONE) {
        return kind;
    }
    if (function == NULL) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, path, "%s is missing", path);
    }
    snprintf(path, sizeof path, "tools[%zu].function.name", i);
    if (builtin) { /* "$web_search" and its like: their names have a form of their own */
        return field_string(function, path, &text, r->fault);
    }
    kind = check_name(r, function, path, name);
    if (kind == FAULT_NONE) {
        snprintf(path, sizeof path, "tools[%zu].function.description", i);
        kind = field_string(function, path, &text, r->fault);
    }
    if (kind == FAULT_NONE) {
        snprintf(path, sizeof path, "tools[%zu].function.parameters", i);
        kind = field_of_kind(function, path, JSON_OBJECT, &ignored, r->fault);
    }
    if (kind == FAULT_NONE) {
        snprintf(path, sizeof path, "tools[%zu].function.strict", i);
        kind = field_bool(function, path, &strict, r->fault);
    }
    return kind;
}

static bool is_same(const struct api_text *a, const struct api_text *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* The names of all declared functions; comparing each with each is bounded by limits.tools. */
static enum fault_kind check_tools(const struct reading *r, struct api_text **names, size_t *n)
{
    const struct json *tools = NULL;
    enum fault_kind kind = field_of_kind(r->root, "tools", JSON_ARRAY, &tools, r->fault);

    *names = NULL;
    *n = 0;
    if (kind != FAULT_NONE || tools == NULL || json_len(tools) == 0) {
        return kind;
    }
    if (json_len(tools) > (size_t)r->limits->tools) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "tools",
                         "tools has %zu entries; at most %d are taken", json_len(tools),
                         r->limits->tools);
    }
    *names = arena_alloc(r->arena, json_len(tools) * sizeof **names);
    for (size_t i = 0; i < json_len(tools); i++) {
        struct api_text *name = &(*names)[*n];
        kind = check_tool(r, json_at(tools, i), i, name);
        if (kind != FAULT_NONE) {
            return kind;
        }
        for (size_t k = 0; name->data != NULL && k < *n; k++) {
            if (is_same(name, &(*names)[k])) {
                char path[64];
                snprintf(path, sizeof path, "tools[%zu].function.name", i);
                return fault_set(r->fault, FAULT_BAD_REQUEST, path,
                                 "%s \"%s\" is declared twice; function names must be unique", path,
                                 name->data);
            }
        }
        *n += name->data != NULL;
    }
    r->out->tools = tools;
    return FAULT_NONE;
}

static enum fault_kind check_chosen_tool(const struct reading *r, const struct json *choice,
                                         const struct api_text *names, size_t n)
{
    const struct json *function = NULL;
    struct api_text type = {0}, name = {0};
    enum fault_kind kind = field_string(choice, "tool_choice.type", &type, r->fault);

    if (kind == FAULT_NONE && (type.data == NULL || strcmp(type.data, "function") != 0)) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "tool_choice.type",
                         "tool_choice.type must be \"function\"");
    }
    if (kind == FAULT_NONE) {
        kind = field_of_kind(choice, "tool_choice.function", JSON_OBJECT, &function, r->fault);
    }
    if (kind == FAULT_NONE && function == NULL) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "tool_choice.function",
                         "tool_choice.function is missing");
    }
    if (kind == FAULT_NONE) {
        kind = check_name(r, function, "tool_choice.function.name", &name);
    }
    if (kind != FAULT_NONE) {
        return kind;
    }
    for (size_t i = 0; i < n; i++) {
        if (is_same(&name, &names[i])) {
            if (r->model->strict && r->out->thinking) {
                return fault_set(r->fault, FAULT_BAD_REQUEST, "tool_choice",
                                 "tool_choice 'specified' is incompatible with thinking enabled");
            }
            return FAULT_NONE;
        }
    }
    return fault_set(r->fault, FAULT_BAD_REQUEST, "tool_choice.function.name",
                     "tool_choice names the function \"%s\", which tools does not declare",
                     name.data);
}

static enum fault_kind check_tool_choice(const struct reading *r, const struct api_text *names,
                                         size_t n)
{
    const struct json *choice = field_get(r->root, "tool_choice");
    const char *word;
    size_t len;

    if (choice == NULL) {
        return FAULT_NONE;
    }
    r->out->tool_choice = choice;
    if (json_kind(choice) == JSON_OBJECT) {
        return check_chosen_tool(r, choice, names, n);
    }
    if (json_kind(choice) != JSON_STRING) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "tool_choice",
                         "tool_choice must be a string or an object, not %s",
                         field_kind_name(json_kind(choice)));
    }
    word = json_string(choice, &len);
    if (strcmp(word, "none") == 0 || strcmp(word, "auto") == 0) {
        return FAULT_NONE;
    }
    if (strcmp(word, "required") != 0) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "tool_choice",
                         "tool_choice is \"%.*s\"; use none, auto, required or an object that "
                         "names a function",
                         field_shown(word, len), word);
    }
    if (r->out->tools == NULL) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "tool_choice",
                         "tool_choice is \"required\", but tools declares none");
    }
    return FAULT_NONE;
}

static enum fault_kind check_schema(const struct reading *r, const struct json *format)
{
    const struct json *holder = NULL, *schema = NULL;
    struct api_text name = {0};
    bool strict = true;
    enum fault_kind kind =
        field_of_kind(format, "response_format.json_schema", JSON_OBJECT, &holder, r->fault);

    if (kind != FAULT_NONE) {
        return kind;
    }
    if (holder == NULL) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "response_format.json_schema",
                         "response_format.json_schema is missing");
    }
    kind = check_name(r, holder, "response_format.json_schema.name", &name);
    if (kind == FAULT_NONE) {
        kind = field_of_kind(holder, "response_format.json_schema.schema", JSON_OBJECT, &schema,
                             r->fault);
    }
    if (kind == FAULT_NONE) {
        kind = field_bool(holder, "response_format.json_schema.strict", &strict, r->fault);
    }
    if (kind == FAULT_NONE && schema == NULL) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "response_format.json_schema.schema",
                         "response_format.json_schema.schema is missing");
    }
    return kind;
}

/* Leaves out->response_format NULL for plain text. */
static enum fault_kind check_format(const struct reading *r)
{
    const struct json *format = NULL;
    struct api_text type = {0};
    enum fault_kind kind =
        field_of_kind(r->root, "response_format", JSON_OBJECT, &format, r->fault);

    if (kind != FAULT_NONE || format == NULL) {
        return kind;
    }
    kind = field_string(format, "response_format.type", &type, r->fault);
    if (kind != FAULT_NONE) {
        return kind;
    }
    if (type.data != NULL && strcmp(type.data, "text") == 0) {
        return FAULT_NONE;
    }
    r->out->response_format = format;
    if (type.data != NULL && strcmp(type.data, "json_schema") == 0) {
        return check_schema(r, format);
    }
    if (type.data != NULL && strcmp(type.data, "json_object") == 0) {
        return FAULT_NONE;
    }
    return fault_set(r->fault, FAULT_BAD_REQUEST, "response_format.type",
                     "response_format.type must be one of text, json_object, json_schema");
}

/* Members that name nothing this server does; only their type can be wrong. */
static enum fault_kind check_ignored(const struct reading *r)
{
    static const struct {
        const char *key;
        enum json_kind kind;
    } members[] = {
        {"user", JSON_STRING},         {"safety_identifier", JSON_STRING},
        {"service_tier", JSON_STRING}, {"prompt_cache_key", JSON_STRING},
        {"metadata", JSON_OBJECT},     {"store", JSON_BOOL},
        {"prediction", JSON_OBJECT},   {"parallel_tool_calls", JSON_BOOL},
    };
    const struct json *v = NULL;
    enum fault_kind kind = FAULT_NONE;

    for (size_t i = 0; kind == FAULT_NONE && i < sizeof members / sizeof members[0]; i++) {
        kind = field_of_kind(r->root, members[i].key, members[i].kind, &v, r->fault);
    }
    return kind;
}

static enum fault_kind check_modalities(const struct reading *r, bool *sound)
{
    const struct json *list = NULL;
    enum fault_kind kind = field_of_kind(r->root, "modalities", JSON_ARRAY, &list, r->fault);
    size_t n = list == NULL ? 0 : json_len(list);

    for (size_t i = 0; i < n; i++) {
        size_t len;
        const struct json *v = json_at(list, i);
        const char *word = json_kind(v) == JSON_STRING ? json_string(v, &len) : "";
        if (strcmp(word, "audio") == 0) {
            *sound = true;
        } else if (strcmp(word, "text") != 0) {
            return fault_set(r->fault, FAULT_BAD_REQUEST, "modalities",
                             "modalities[%zu] must be \"text\" or \"audio\"", i);
        }
    }
    return kind;
}

void reading_needs_upstream(struct reading *r, const char *param, const char *what)
{
    if (r->out->upstream_only.kind == FAULT_NONE) {
        fault_set(&r->out->upstream_only, FAULT_NOT_IMPLEMENTED, param, "%s", what);
    }
}

static void note(struct reading *r, const char *param, const char *what)
{
    char text[160];

    snprintf(text, sizeof text, "%s is not implemented: %s", param, what);
    reading_needs_upstream(r, param, text);
}

/* The forms that tools had before they were called tools. */
static enum fault_kind check_old_functions(struct reading *r)
{
    static const char what[] = "the older form of tools is not taken; use tools";
    const struct json *functions = NULL;
    const struct json *call = field_get(r->root, "function_call");
    enum fault_kind kind = field_of_kind(r->root, "functions", JSON_ARRAY, &functions, r->fault);
    size_t len;

    if (kind != FAULT_NONE) {
        return kind;
    }
    if (functions != NULL && json_len(functions) > (size_t)r->limits->tools) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "functions",
                         "functions has %zu entries; at most %d are taken", json_len(functions),
                         r->limits->tools);
    }
    if (functions != NULL && json_len(functions) > 0) {
        note(r, "functions", what);
    }
    if (call == NULL ||
        (json_kind(call) == JSON_STRING && (strcmp(json_string(call, &len), "none") == 0 ||
                                            strcmp(json_string(call, &len), "auto") == 0))) {
        return FAULT_NONE;
    }
    if (json_kind(call) != JSON_STRING && json_kind(call) != JSON_OBJECT) {
        return fault_set(r->fault, FAULT_BAD_REQUEST, "function_call",
                         "function_call must be a string or an object, not %s",
                         field_kind_name(json_kind(call)));
    }
    note(r, "function_call", what);
    return FAULT_NONE;
}

/* An object that asks for what only some upstreams have. */
static enum fault_kind check_extra(struct reading *r, const char *key, const char *what)
{
    const struct json *v = NULL;
    enum fault_kind kind = field_of_kind(r->root, key, JSON_OBJECT, &v, r->fault);

    if (v != NULL) {
        note(r, key, what);
    }
    return kind;
}

enum fault_kind reading_features(struct reading *r)
{
    struct api_text *names;
    size_t n;
    bool sound = false;
    enum fault_kind kind = check_tools(r, &names, &n);

    if (kind == FAULT_NONE) {
        kind = check_tool_choice(r, names, n);
    }
    if (kind == FAULT_NONE) {
        kind = check_format(r);
    }
    if (kind == FAULT_NONE) {
        kind = check_ignored(r);
    }
    if (kind == FAULT_NONE) {
        kind = check_modalities(r, &sound);
    }
    if (kind != FAULT_NONE) {
        return kind;
    }
    if (r->out->tools != NULL) {
        note(r, "tools", "this version calls no tools yet; leave tools out or empty");
    }
    if (r->out->response_format != NULL) {
        note(r, "response_format", "this version writes text only; use {\"type\":\"text\"}");
    }
    if (sound) {
        note(r, "modalities", "this model writes text only");
    }
    kind = check_old_functions(r);
    if (kind == FAULT_NONE) {
        kind = check_extra(r, "audio", "this model writes text only");
    }
    if (kind == FAULT_NONE) {
        kind = check_extra(r, "web_search_options", "this server does not search the web");
    }
    return kind;
}
