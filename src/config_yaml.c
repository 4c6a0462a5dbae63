/*
 * Reads the configuration's file by libyaml's document API, whose nodes know their lines: here the
 * document and the options, in config_backends.c and config_models.c the two lists.
 *
 * The shape is fixed (options, sections of options, lists of mappings), so nothing here recurses:
 * an alias can repeat a node but never make the walk longer than the tables and the bounds of the
 * lists allow. The first mistake ends the reading; a key that is not known does so too, hence the
 * search for keys given twice meets few keys.
 */
#include "config_yaml.h"

#include "config_file.h"
#include "config_table.h"

#include <string.h>

enum { DEPTH_MAX = 32, ANCHORS_MAX = 1000 };

static bool is_section(const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < config_options.n; i++) {
        const char *option = config_options.rows[i].name;
        if (strncmp(option, name, len) == 0 && option[len] == '.')
            return true;
    }
    return false;
}

/* Also finds `body_bytes` at the wrong place, and a section's name. */
static int fail_unknown_option(const struct file *f, const yaml_node_t *node, const char *path)
{
    static const char *const others[] = {"log",    "limits", "routing",
                                         "engine", "models", "backends"};
    const char *wanted_last = strrchr(path, '.');
    struct option_guess g;
    option_guess_init(&g, path);
    option_guess_table(&g, &config_options);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        option_guess_try(&g, others[i], others[i]);
    for (size_t i = 0; i < config_options.n && !g.best; i++) {
        const char *name = config_options.rows[i].name, *last = strrchr(name, '.');
        if (strcmp(wanted_last ? wanted_last + 1 : path, last ? last + 1 : name) == 0)
            g.best = name;
    }
    return file_fail_unknown(f, node, path, &g);
}

static int read_section_option(struct file *f, void *arg, const char *path, const char *key,
                               yaml_node_t *key_node, yaml_node_t *value)
{
    const struct config_option *o = option_find(&config_options, path);
    (void)arg;
    (void)key;
    if (!o)
        return fail_unknown_option(f, key_node, path);
    return file_set(f, o, f->c, path, value);
}

/* The two lists are read once all else is, in an order of their own. */
struct lists {
    yaml_node_t *models, *backends;
};

static int read_top(struct file *f, void *arg, const char *path, const char *key,
                    yaml_node_t *key_node, yaml_node_t *value)
{
    struct lists *lists = arg;
    const struct config_option *o = option_find(&config_options, key);

    if (strcmp(key, "models") == 0) {
        lists->models = value;
        return 0;
    }
    if (strcmp(key, "backends") == 0) {
        lists->backends = value;
        return 0;
    }
    if (is_section(key)) {
        char prefix[PATH_BYTES];
        if (file_is_null(value))
            return 0; /* a section whose options are all commented out */
        if (value->type != YAML_MAPPING_NODE)
            return file_fail_kind(f, value, path, "a mapping of options");
        snprintf(prefix, sizeof prefix, "%s.", key);
        return file_each(f, value, prefix, read_section_option, NULL);
    }
    if (!o)
        return fail_unknown_option(f, key_node, path);
    if (strchr(key, '.'))
        return file_fail(f, key_node, path,
                         "stands as \"section:\" and, indented below it, \"name:\"");
    return file_set(f, o, f->c, path, value);
}

static int read_document(struct file *f)
{
    yaml_node_t *root = yaml_document_get_root_node(&f->doc);
    struct lists lists = {NULL, NULL};

    if (!root || file_is_null(root))
        return 0; /* nothing but comments */
    if (root->type != YAML_MAPPING_NODE)
        return file_fail_kind(f, root, "the document", "a mapping of options");
    int rc = file_each(f, root, "", read_top, &lists);
    if (rc == 0 && lists.backends)
        rc = file_read_backends(f, lists.backends);
    if (rc == 0 && lists.models)
        rc = file_read_models(f, lists.models);
    else if (rc == 0 && lists.backends)
        rc = file_route_defaults(f, lists.backends);
    return rc;
}

/* The reader's mistakes (no UTF-8, control characters) know an offset, all others a line. */
static int fail_syntax(const struct file *f, const yaml_parser_t *p, const char *bytes, size_t len)
{
    size_t line = p->problem_mark.line + 1;
    if (p->error == YAML_READER_ERROR) {
        line = 1;
        for (size_t i = 0; i < len && i < p->problem_offset; i++)
            line += bytes[i] == '\n';
    }
    return error_set(f->e, ERR_INVALID, "%s:%zu: not readable as YAML: %s", f->name, line,
                     p->problem ? p->problem : "out of memory");
}

/* What the loader would take long for. */
struct shape {
    int depth, anchors;
};

static bool has_anchor(const yaml_event_t *event)
{
    return (event->type == YAML_SCALAR_EVENT && event->data.scalar.anchor) ||
           (event->type == YAML_SEQUENCE_START_EVENT && event->data.sequence_start.anchor) ||
           (event->type == YAML_MAPPING_START_EVENT && event->data.mapping_start.anchor);
}

static int check_event(const struct file *f, const yaml_event_t *event, struct shape *shape)
{
    size_t line = event->start_mark.line + 1;
    shape->anchors += has_anchor(event);
    shape->depth +=
        event->type == YAML_SEQUENCE_START_EVENT || event->type == YAML_MAPPING_START_EVENT;
    shape->depth -= event->type == YAML_SEQUENCE_END_EVENT || event->type == YAML_MAPPING_END_EVENT;
    if (shape->depth > DEPTH_MAX)
        return error_set(f->e, ERR_INVALID, "%s:%zu: lists and mappings nest deeper than %d",
                         f->name, line, DEPTH_MAX);
    if (shape->anchors > ANCHORS_MAX)
        return error_set(f->e, ERR_INVALID, "%s:%zu: more than %d anchors", f->name, line,
                         ANCHORS_MAX);
    return 0;
}

/* The loader's time grows with the square of how deep brackets nest and of how many anchors there
 * are: what no configuration has is refused before it. */
static int check_shape(const struct file *f, const char *bytes, size_t len)
{
    struct shape shape = {0, 0};
    yaml_parser_t parser;
    yaml_event_t event;
    bool end = false;
    int rc = 0;

    if (!yaml_parser_initialize(&parser))
        return error_set(f->e, ERR_INTERNAL, "the YAML parser does not start");
    yaml_parser_set_input_string(&parser, (const unsigned char *)bytes, len);
    while (rc == 0 && !end) {
        if (!yaml_parser_parse(&parser, &event)) {
            rc = fail_syntax(f, &parser, bytes, len);
            break;
        }
        rc = check_event(f, &event, &shape);
        end = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return rc;
}

int config_parse(struct config *c, const char *name, const char *bytes, size_t len, struct error *e)
{
    struct file f = {.c = c, .name = name, .e = e};
    yaml_parser_t parser;
    int rc = check_shape(&f, bytes, len);

    if (rc)
        return rc;
    if (!yaml_parser_initialize(&parser))
        return error_set(e, ERR_INTERNAL, "the YAML parser does not start");
    yaml_parser_set_input_string(&parser, (const unsigned char *)bytes, len);
    for (int documents = 0; rc == 0; documents++) {
        if (!yaml_parser_load(&parser, &f.doc)) {
            rc = fail_syntax(&f, &parser, bytes, len);
            break;
        }
        yaml_node_t *root = yaml_document_get_root_node(&f.doc);
        bool end = !root;
        if (root && documents > 0)
            rc = file_fail(&f, root, "the document", "is a second one; one is allowed");
        else
            rc = read_document(&f);
        yaml_document_delete(&f.doc);
        if (end)
            break;
    }
    yaml_parser_delete(&parser);
    return rc;
}
