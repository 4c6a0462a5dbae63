/*
 * yaml2json IN OUT: a YAML document as compact JSON, for the description of the API that the
 * program carries.
 *
 * Walks the parser's events and writes as it reads. Plain scalars are resolved by YAML 1.2's core
 * schema (null, booleans, integers, floats), everything quoted or in a block is a string. What
 * JSON cannot say (infinity, keys that are lists) or what this file has no use for (aliases,
 * tags other than !!str, several documents) is an error with its line, as is a key given twice.
 */
#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

enum { MAX_DEPTH = 64, MAX_BYTES = 16 << 20 };

struct reader {
    const char *name;
    yaml_parser_t parser;
    struct buf out;
    struct error *error;
};

static int fail(const struct reader *r, const yaml_mark_t *at, const char *what)
{
    return error_set(r->error, ERR_INVALID, "%s:%zu: %s", r->name, at->line + 1, what);
}

static int next(struct reader *r, yaml_event_t *event)
{
    if (yaml_parser_parse(&r->parser, event))
        return 0;
    return fail(r, &r->parser.problem_mark,
                r->parser.problem ? r->parser.problem : "is not readable as YAML");
}

static bool is_one_of(const char *s, const char *const *words)
{
    for (; *words; words++) {
        if (strcmp(s, *words) == 0)
            return true;
    }
    return false;
}

/* [-+]?[0-9]+, 0o[0-7]+ or 0x[0-9a-fA-F]+ */
static bool looks_integer(const char *s, int *base)
{
    *base = 10;
    if (strncmp(s, "0o", 2) == 0 || strncmp(s, "0x", 2) == 0) {
        *base = s[1] == 'o' ? 8 : 16;
        s += 2;
        return *s && s[strspn(s, *base == 8 ? "01234567" : "0123456789abcdefABCDEF")] == '\0';
    }
    if (*s == '-' || *s == '+')
        s++;
    return *s && s[strspn(s, "0123456789")] == '\0';
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static bool looks_float(const char *s)
{
    if (*s == '-' || *s == '+')
        s++;
    size_t whole = strspn(s, "0123456789"), part = 0;
    s += whole;
    if (*s == '.') {
        s++;
        part = strspn(s, "0123456789");
        s += part;
    }
    if (whole + part == 0)
        return false;
    if (*s == 'e' || *s == 'E') {
        s++;
        if (*s == '-' || *s == '+')
            s++;
        size_t digits = strspn(s, "0123456789");
        if (digits == 0)
            return false;
        s += digits;
    }
    return *s == '\0';
}

static int write_integer(struct reader *r, const yaml_event_t *event, const char *s, int base)
{
    errno = 0;
    long long value = strtoll(base == 10 ? s : s + 2, NULL, base);
    if (errno)
        return fail(r, &event->start_mark, "the integer is too large");
    buf_addf(&r->out, "%lld", value);
    return 0;
}

static int write_plain(struct reader *r, const yaml_event_t *event, const char *s, size_t len)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", NULL};
    static const char *const falses[] = {"false", "False", "FALSE", NULL};
    static const char *const infinite[] = {".inf",  ".Inf",  ".INF",  "+.inf", "+.Inf",
                                           "+.INF", "-.inf", "-.Inf", "-.INF", ".nan",
                                           ".NaN",  ".NAN",  NULL};
    int base;

    if (is_one_of(s, nulls))
        buf_adds(&r->out, "null");
    else if (is_one_of(s, trues))
        buf_adds(&r->out, "true");
    else if (is_one_of(s, falses))
        buf_adds(&r->out, "false");
    else if (is_one_of(s, infinite))
        return fail(r, &event->start_mark, "JSON has no such number");
    else if (looks_integer(s, &base))
        return write_integer(r, event, s, base);
    else if (looks_float(s))
        json_write_double(&r->out, strtod(s, NULL));
    else
        json_write_string(&r->out, s, len);
    return 0;
}

static int write_scalar(struct reader *r, const yaml_event_t *event)
{
    const char *s = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    const char *tag = (const char *)event->data.scalar.tag;

    if (tag && strcmp(tag, "!") != 0 && strcmp(tag, YAML_STR_TAG) != 0)
        return fail(r, &event->start_mark, "tags other than !!str are not taken");
    if (memchr(s, '\0', len))
        return fail(r, &event->start_mark, "a text holds a NUL character");
    if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !tag)
        return write_plain(r, event, s, len);
    json_write_string(&r->out, s, len);
    return 0;
}

static int write_node(struct reader *r, const yaml_event_t *event, int depth);

static int write_sequence(struct reader *r, int depth)
{
    yaml_event_t event;
    buf_addc(&r->out, '[');
    for (bool first = true;; first = false) {
        int rc = next(r, &event);
        if (rc)
            return rc;
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            break;
        }
        if (!first)
            buf_addc(&r->out, ',');
        rc = write_node(r, &event, depth);
        yaml_event_delete(&event);
        if (rc)
            return rc;
    }
    buf_addc(&r->out, ']');
    return 0;
}

/* The keys of one mapping that were seen so far. */
struct keys {
    char **names;
    size_t n;
};

static int write_key(struct reader *r, const yaml_event_t *event, struct keys *keys)
{
    if (event->type != YAML_SCALAR_EVENT)
        return fail(r, &event->start_mark, "a key must be a text");
    const char *s = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    if (memchr(s, '\0', len))
        return fail(r, &event->start_mark, "a key holds a NUL character");
    for (size_t i = 0; i < keys->n; i++) {
        if (strcmp(keys->names[i], s) == 0)
            return fail(r, &event->start_mark, "the key is given twice");
    }
    keys->names = mem_realloc(keys->names, (keys->n + 1) * sizeof *keys->names);
    keys->names[keys->n++] = mem_strndup(s, len);
    json_write_string(&r->out, s, len);
    buf_addc(&r->out, ':');
    return 0;
}

static int write_mapping(struct reader *r, int depth)
{
    struct keys keys = {NULL, 0};
    yaml_event_t event;
    int rc;

    buf_addc(&r->out, '{');
    for (;;) {
        rc = next(r, &event);
        if (rc)
            goto out;
        if (event.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&event);
            break;
        }
        if (keys.n)
            buf_addc(&r->out, ',');
        rc = write_key(r, &event, &keys);
        yaml_event_delete(&event);
        if (rc)
            goto out;
        rc = next(r, &event);
        if (rc)
            goto out;
        rc = write_node(r, &event, depth);
        yaml_event_delete(&event);
        if (rc)
            goto out;
    }
    buf_addc(&r->out, '}');
out:
    for (size_t i = 0; i < keys.n; i++)
        free(keys.names[i]);
    free(keys.names);
    return rc;
}

static int write_node(struct reader *r, const yaml_event_t *event, int depth)
{
    if (depth >= MAX_DEPTH)
        return fail(r, &event->start_mark, "nested deeper than 64 levels");
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return write_scalar(r, event);
    case YAML_SEQUENCE_START_EVENT:
        return write_sequence(r, depth + 1);
    case YAML_MAPPING_START_EVENT:
        return write_mapping(r, depth + 1);
    default:
        return fail(r, &event->start_mark, "aliases are not taken");
    }
}

/* The stream: one document, no more. */
static int write_document(struct reader *r)
{
    yaml_event_t event;
    int documents = 0;

    for (;;) {
        int rc = next(r, &event);
        if (rc)
            return rc;
        yaml_event_type_t type = event.type;
        if (type == YAML_DOCUMENT_START_EVENT && ++documents > 1)
            rc = fail(r, &event.start_mark, "one document is allowed");
        else if (type == YAML_SCALAR_EVENT || type == YAML_SEQUENCE_START_EVENT ||
                 type == YAML_MAPPING_START_EVENT || type == YAML_ALIAS_EVENT)
            rc = write_node(r, &event, 0);
        else if (type == YAML_STREAM_END_EVENT && documents == 0)
            rc = fail(r, &event.start_mark, "the file holds no document");
        yaml_event_delete(&event);
        if (rc || type == YAML_STREAM_END_EVENT)
            return rc;
    }
}

static int convert(const char *name, FILE *in, struct buf *json, struct error *e)
{
    struct reader r = {.name = name, .error = e};
    if (!yaml_parser_initialize(&r.parser))
        return error_set(e, ERR_INTERNAL, "the YAML parser does not start");
    yaml_parser_set_input_file(&r.parser, in);
    buf_init(&r.out, MAX_BYTES);
    int rc = write_document(&r);
    yaml_parser_delete(&r.parser);
    if (rc == 0 && r.out.failed)
        rc = error_set(e, ERR_LIMIT, "%s: becomes more than 16 MiB of JSON", name);
    *json = r.out;
    return rc;
}

static int save(const char *name, const struct buf *json, struct error *e)
{
    FILE *out = fopen(name, "wb");
    if (!out)
        return error_set(e, ERR_IO, "%s: %s", name, strerror(errno));
    bool good = fwrite(json->data, 1, json->len, out) == json->len;
    if (fclose(out) != 0 || !good)
        return error_set(e, ERR_IO, "%s: %s", name, strerror(errno));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: yaml2json IN OUT\n");
        return 2;
    }
    FILE *in = fopen(argv[1], "rb");
    if (!in) {
        fprintf(stderr, "yaml2json: %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    struct error e;
    struct buf json;
    int rc = convert(argv[1], in, &json, &e);
    fclose(in);
    if (rc == 0)
        rc = save(argv[2], &json, &e);
    buf_done(&json);
    if (rc)
        fprintf(stderr, "yaml2json: %s\n", e.text);
    return rc ? 1 : 0;
}
