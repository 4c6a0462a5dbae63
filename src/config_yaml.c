/*
 * Reads the configuration's file by libyaml's document API, whose nodes know their lines.
 *
 * The shape is fixed (options, sections of options, two lists of mappings), so nothing here
 * recurses: an alias can repeat a node but never make the walk longer than the tables. The first
 * mistake ends the reading; a key that is not known does so too, hence the search for keys given
 * twice meets few keys.
 */
#include "config_yaml.h"

#include "config_table.h"

#include <string.h>
#include <yaml.h>

enum { PATH_BYTES = 200, WHERE_BYTES = 400, MAX_ITEMS = 256 };

struct file {
    struct config *c;
    const char *name;
    yaml_document_t doc;
    struct error *e;
};

/* What each_pair calls for a member; `path` is its full name. */
typedef int pair_fn(struct file *f, void *arg, const char *path, const char *key,
                    yaml_node_t *key_node, yaml_node_t *value);

static void write_where(const struct file *f, const yaml_node_t *node, const char *path,
                        char out[WHERE_BYTES])
{
    char shown[OPTION_SHOWN_BYTES];
    snprintf(out, WHERE_BYTES, "%s:%zu: %s", f->name, node->start_mark.line + 1,
             option_shown(path, shown));
}

static int fail(const struct file *f, const yaml_node_t *node, const char *path, const char *what)
{
    char where[WHERE_BYTES];
    write_where(f, node, path, where);
    return error_set(f->e, ERR_INVALID, "%s: %s", where, what);
}

static int fail_unknown(const struct file *f, const yaml_node_t *node, const char *path,
                        const struct option_guess *g)
{
    char what[PATH_BYTES];
    snprintf(what, sizeof what, "unknown option%s%s%s", g->best ? "; did you mean " : "",
             g->best ? g->best : "", g->best ? "?" : "");
    return fail(f, node, path, what);
}

static const char *kind_name(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE     ? "a single value"
           : node->type == YAML_SEQUENCE_NODE ? "a list"
                                              : "a mapping";
}

static int fail_kind(const struct file *f, const yaml_node_t *node, const char *path,
                     const char *wanted)
{
    char what[PATH_BYTES];
    snprintf(what, sizeof what, "is %s; allowed: %s", kind_name(node), wanted);
    return fail(f, node, path, what);
}

static bool is_null(const yaml_node_t *node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < sizeof nulls / sizeof nulls[0]; i++) {
        if (strcmp((const char *)node->data.scalar.value, nulls[i]) == 0)
            return true;
    }
    return false;
}

/* The text of a scalar that a C string can hold and that has no tag of its own. */
static const char *text_of(const yaml_node_t *node)
{
    const char *s = (const char *)node->data.scalar.value;
    if (node->type != YAML_SCALAR_NODE || strlen(s) != node->data.scalar.length ||
        strcmp((const char *)node->tag, YAML_STR_TAG) != 0)
        return NULL;
    return s;
}

static int set_option(struct file *f, const struct config_option *o, void *object, const char *path,
                      const yaml_node_t *value)
{
    char where[WHERE_BYTES];
    struct buf allowed;
    int rc;

    write_where(f, value, path, where);
    const char *text = value->type == YAML_SCALAR_NODE ? text_of(value) : NULL;
    if (text && !is_null(value))
        return option_set(o, object, text, f->c->arena, where, f->e);
    buf_init(&allowed, 1024);
    option_write_allowed(o, &allowed);
    if (value->type != YAML_SCALAR_NODE)
        rc = fail_kind(f, value, path, allowed.data);
    else
        rc = error_set(f->e, ERR_INVALID, "%s: has %s; allowed: %s", where,
                       text ? "no value" : "a tag or a NUL character", allowed.data);
    buf_done(&allowed);
    return rc;
}

static int check_twice(const struct file *f, const yaml_node_t *map, const yaml_node_pair_t *pair,
                       const char *path, const char *key)
{
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < pair; p++) {
        const yaml_node_t *before = yaml_document_get_node((yaml_document_t *)&f->doc, p->key);
        if (strcmp((const char *)before->data.scalar.value, key) == 0) {
            char what[PATH_BYTES];
            snprintf(what, sizeof what, "is given twice, first in line %zu",
                     before->start_mark.line + 1);
            return fail(f, yaml_document_get_node((yaml_document_t *)&f->doc, pair->key), path,
                        what);
        }
    }
    return 0;
}

/* Calls fn for each member of a mapping; `prefix` is "" or "limits." or "models[0].". */
static int each_pair(struct file *f, yaml_node_t *map, const char *prefix, pair_fn *fn, void *arg)
{
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
         p++) {
        yaml_node_t *key_node = yaml_document_get_node(&f->doc, p->key);
        yaml_node_t *value = yaml_document_get_node(&f->doc, p->value);
        const char *key = text_of(key_node);
        char path[PATH_BYTES];
        if (!key)
            return fail_kind(f, key_node, *prefix ? prefix : "a key", "a name");
        snprintf(path, sizeof path, "%s%s", prefix, key);
        int rc = check_twice(f, map, p, path, key);
        if (rc == 0)
            rc = fn(f, arg, path, key, key_node, value);
        if (rc)
            return rc;
    }
    return 0;
}

/* Options and sections */

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
    static const char *const others[] = {"log", "limits", "engine", "models", "backends"};
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
    return fail_unknown(f, node, path, &g);
}

static int read_section_option(struct file *f, void *arg, const char *path, const char *key,
                               yaml_node_t *key_node, yaml_node_t *value)
{
    const struct config_option *o = option_find(&config_options, path);
    (void)arg;
    (void)key;
    if (!o)
        return fail_unknown_option(f, key_node, path);
    return set_option(f, o, f->c, path, value);
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
        if (is_null(value))
            return 0; /* a section whose options are all commented out */
        if (value->type != YAML_MAPPING_NODE)
            return fail_kind(f, value, path, "a mapping of options");
        snprintf(prefix, sizeof prefix, "%s.", key);
        return each_pair(f, value, prefix, read_section_option, NULL);
    }
    if (!o)
        return fail_unknown_option(f, key_node, path);
    if (strchr(key, '.'))
        return fail(f, key_node, path, "stands as \"section:\" and, indented below it, \"name:\"");
    return set_option(f, o, f->c, path, value);
}

/* Lists */

/* One list's items, checked to be mappings. */
static int check_list(const struct file *f, yaml_node_t *list, const char *name, size_t *n)
{
    if (list->type != YAML_SEQUENCE_NODE)
        return fail_kind(f, list, name, "a list");
    *n = (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
    if (*n < 1 || *n > MAX_ITEMS)
        return fail(f, list, name, "needs 1 to 256 entries");
    for (size_t i = 0; i < *n; i++) {
        yaml_node_t *item =
            yaml_document_get_node((yaml_document_t *)&f->doc, list->data.sequence.items.start[i]);
        if (item->type != YAML_MAPPING_NODE)
            return fail_kind(f, item, name, "a mapping for each entry");
    }
    return 0;
}

static yaml_node_t *item_at(struct file *f, yaml_node_t *list, size_t i)
{
    return yaml_document_get_node(&f->doc, list->data.sequence.items.start[i]);
}

static int fail_unknown_field(const struct file *f, const yaml_node_t *node, const char *path,
                              const char *key, const struct option_table *t)
{
    struct option_guess g;
    option_guess_init(&g, key);
    option_guess_table(&g, t);
    return fail_unknown(f, node, path, &g);
}

static int read_backend_option(struct file *f, void *arg, const char *path, const char *key,
                               yaml_node_t *key_node, yaml_node_t *value)
{
    const struct config_option *o = option_find(&config_backend_options, key);
    struct config_backend *b = arg;
    if (!o) /* an upstream's url and key are no options yet: its kind says why */
        return b->kind == CONFIG_OPENAI
                   ? 0
                   : fail_unknown_field(f, key_node, path, key, &config_backend_options);
    return set_option(f, o, b, path, value);
}

static int read_backends(struct file *f, yaml_node_t *list)
{
    size_t n;
    int rc = check_list(f, list, "backends", &n);
    if (rc)
        return rc;
    struct config_backend *rows = arena_alloc(f->c->arena, n * sizeof *rows);
    for (size_t i = 0; i < n; i++) {
        yaml_node_t *item = item_at(f, list, i);
        char path[32];
        snprintf(path, sizeof path, "backends[%zu].", i);
        option_set_defaults(&config_backend_options, &rows[i], f->c->arena);
        rc = each_pair(f, item, path, read_backend_option, &rows[i]);
        path[strlen(path) - 1] = '\0';
        if (rc)
            return rc;
        if (rows[i].kind == CONFIG_OPENAI)
            return error_set(f->e, ERR_UNSUPPORTED,
                             "%s:%zu: %s: upstream backends are not built in this version; "
                             "docs/upstreams.md",
                             f->name, item->start_mark.line + 1, path);
        if (!rows[i].name)
            return fail(f, item, path, "needs a name");
        for (size_t j = 0; j < i; j++) {
            if (strcmp(rows[j].name, rows[i].name) == 0)
                return fail(f, item, path, "has the name of an earlier backend");
        }
    }
    f->c->backends = rows;
    f->c->n_backends = n;
    return 0;
}

static int read_model_option(struct file *f, void *arg, const char *path, const char *key,
                             yaml_node_t *key_node, yaml_node_t *value)
{
    const struct config_option *o = option_find(&config_model_options, key);
    if (strcmp(key, "like") == 0)
        return 0; /* was read first */
    if (!o)
        return fail_unknown_field(f, key_node, path, key, &config_model_options);
    return set_option(f, o, arg, path, value);
}

/* `like` gives a model the row of a default one, whatever its place among the members. */
static int read_like(struct file *f, void *arg, const char *path, const char *key,
                     yaml_node_t *key_node, yaml_node_t *value)
{
    const char *text = text_of(value);
    struct option_guess g;
    char what[PATH_BYTES];

    (void)key_node;
    if (strcmp(key, "like") != 0)
        return 0;
    if (text && config_default_model(text, arg, f->c->arena))
        return 0;
    option_guess_init(&g, text ? text : "");
    g.distance += strlen(g.wanted); /* the nearest, however far */
    for (size_t i = 0; i < config_n_default_models; i++)
        option_guess_try(&g, config_default_models[i].id, config_default_models[i].id);
    snprintf(what, sizeof what, "needs the name of a default model, like %s",
             g.best ? g.best : config_default_models[0].id);
    return fail(f, value, path, what);
}

static int read_model(struct file *f, yaml_node_t *item, size_t i, struct config_model *row)
{
    char path[32];
    snprintf(path, sizeof path, "models[%zu].", i);
    option_set_defaults(&config_model_options, row, f->c->arena);
    int rc = each_pair(f, item, path, read_like, row);
    if (rc == 0)
        rc = each_pair(f, item, path, read_model_option, row);
    path[strlen(path) - 1] = '\0';
    if (rc == 0 && !row->api.id)
        rc = fail(f, item, path, "needs an id");
    return rc;
}

static int read_models(struct file *f, yaml_node_t *list)
{
    size_t n;
    int rc = check_list(f, list, "models", &n);
    if (rc)
        return rc;
    struct config_model *rows = arena_alloc(f->c->arena, n * sizeof *rows);
    for (size_t i = 0; i < n; i++) {
        rc = read_model(f, item_at(f, list, i), i, &rows[i]);
        if (rc)
            return rc;
        for (size_t j = 0; j < i; j++) {
            if (strcmp(rows[j].api.id, rows[i].api.id) == 0)
                return fail(f, item_at(f, list, i), rows[i].api.id,
                            "is the id of an earlier model too");
        }
    }
    f->c->models = rows;
    f->c->n_models = n;
    return 0;
}

static bool has_backend(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->n_backends; i++) {
        if (strcmp(c->backends[i].name, name) == 0)
            return true;
    }
    return false;
}

/* Of models named in the file the line is that of the model, of the default ones the list of
 * backends, which then lacks `local`. */
static int check_backends(struct file *f, const struct lists *lists)
{
    const struct config *c = f->c;
    for (size_t i = 0; i < c->n_models; i++) {
        if (has_backend(c, c->models[i].backend))
            continue;
        char what[WHERE_BYTES], shown[OPTION_SHOWN_BYTES], known[OPTION_SHOWN_BYTES];
        snprintf(what, sizeof what, "its backend %s is not in the list of backends, like %s",
                 option_shown(c->models[i].backend, shown),
                 option_shown(c->backends[0].name, known));
        return fail(f, lists->models ? item_at(f, lists->models, i) : lists->backends,
                    c->models[i].api.id, what);
    }
    return 0;
}

static int read_document(struct file *f)
{
    yaml_node_t *root = yaml_document_get_root_node(&f->doc);
    struct lists lists = {NULL, NULL};

    if (!root || is_null(root))
        return 0; /* nothing but comments */
    if (root->type != YAML_MAPPING_NODE)
        return fail_kind(f, root, "the document", "a mapping of options");
    int rc = each_pair(f, root, "", read_top, &lists);
    if (rc == 0 && lists.backends)
        rc = read_backends(f, lists.backends);
    if (rc == 0 && lists.models)
        rc = read_models(f, lists.models);
    if (rc == 0 && (lists.models || lists.backends))
        rc = check_backends(f, &lists);
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

int config_parse(struct config *c, const char *name, const char *bytes, size_t len, struct error *e)
{
    struct file f = {.c = c, .name = name, .e = e};
    yaml_parser_t parser;
    int rc = 0;

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
            rc = fail(&f, root, "the document", "is a second one; one is allowed");
        else
            rc = read_document(&f);
        yaml_document_delete(&f.doc);
        if (end)
            break;
    }
    yaml_parser_delete(&parser);
    return rc;
}
