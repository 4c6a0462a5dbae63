/*
 * What readers of the file share: texts of mistakes with their line, scalars, mappings, lists.
 */
#include "config_file.h"

#include <string.h>

void file_where(const struct file *f, const yaml_node_t *node, const char *path,
                char out[WHERE_BYTES])
{
    char shown[OPTION_SHOWN_BYTES];
    snprintf(out, WHERE_BYTES, "%s:%zu: %s", f->name, node->start_mark.line + 1,
             option_shown(path, shown));
}

int file_fail(const struct file *f, const yaml_node_t *node, const char *path, const char *what)
{
    char where[WHERE_BYTES];
    file_where(f, node, path, where);
    return error_set(f->e, ERR_INVALID, "%s: %s", where, what);
}

int file_fail_unknown(const struct file *f, const yaml_node_t *node, const char *path,
                      const struct option_guess *g)
{
    char what[PATH_BYTES];
    snprintf(what, sizeof what, "unknown option%s%s%s", g->best ? "; did you mean " : "",
             g->best ? g->best : "", g->best ? "?" : "");
    return file_fail(f, node, path, what);
}

static const char *kind_name(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE     ? "a single value"
           : node->type == YAML_SEQUENCE_NODE ? "a list"
                                              : "a mapping";
}

int file_fail_kind(const struct file *f, const yaml_node_t *node, const char *path,
                   const char *wanted)
{
    char what[PATH_BYTES];
    snprintf(what, sizeof what, "is %s; allowed: %s", kind_name(node), wanted);
    return file_fail(f, node, path, what);
}

bool file_is_null(const yaml_node_t *node)
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
const char *file_text(const yaml_node_t *node)
{
    const char *s = (const char *)node->data.scalar.value;
    if (node->type != YAML_SCALAR_NODE || strlen(s) != node->data.scalar.length ||
        strcmp((const char *)node->tag, YAML_STR_TAG) != 0)
        return NULL;
    return s;
}

int file_set(struct file *f, const struct config_option *o, void *object, const char *path,
             const yaml_node_t *value)
{
    char where[WHERE_BYTES];
    struct buf allowed;
    int rc;

    file_where(f, value, path, where);
    const char *text = value->type == YAML_SCALAR_NODE ? file_text(value) : NULL;
    if (text && !file_is_null(value))
        return option_set(o, object, text, f->c->arena, where, f->e);
    buf_init(&allowed, 1024);
    option_write_allowed(o, &allowed);
    if (value->type != YAML_SCALAR_NODE)
        rc = file_fail_kind(f, value, path, allowed.data);
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
            return file_fail(f, yaml_document_get_node((yaml_document_t *)&f->doc, pair->key), path,
                             what);
        }
    }
    return 0;
}

/* Calls fn for each member of a mapping; `prefix` is "" or "limits." or "models[0].". */
int file_each(struct file *f, yaml_node_t *map, const char *prefix, file_pair_fn *fn, void *arg)
{
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
         p++) {
        yaml_node_t *key_node = yaml_document_get_node(&f->doc, p->key);
        yaml_node_t *value = yaml_document_get_node(&f->doc, p->value);
        const char *key = file_text(key_node);
        char path[PATH_BYTES];
        if (!key)
            return file_fail_kind(f, key_node, *prefix ? prefix : "a key", "a name");
        snprintf(path, sizeof path, "%s%s", prefix, key);
        int rc = check_twice(f, map, p, path, key);
        if (rc == 0)
            rc = fn(f, arg, path, key, key_node, value);
        if (rc)
            return rc;
    }
    return 0;
}

int file_fail_unknown_field(const struct file *f, const yaml_node_t *node, const char *path,
                            const char *key, const struct option_table *t)
{
    struct option_guess g;
    option_guess_init(&g, key);
    option_guess_table(&g, t);
    return file_fail_unknown(f, node, path, &g);
}

int file_list(const struct file *f, const yaml_node_t *list, const char *path, size_t most,
              size_t *n)
{
    char what[PATH_BYTES];
    if (list->type != YAML_SEQUENCE_NODE)
        return file_fail_kind(f, list, path, "a list");
    *n = (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
    if (*n >= 1 && *n <= most)
        return 0;
    snprintf(what, sizeof what, "needs 1 to %zu entries", most);
    return file_fail(f, list, path, what);
}

yaml_node_t *file_item(struct file *f, const yaml_node_t *list, size_t i)
{
    return yaml_document_get_node(&f->doc, list->data.sequence.items.start[i]);
}

int file_map(const struct file *f, const yaml_node_t *item, const char *path)
{
    if (item->type != YAML_MAPPING_NODE)
        return file_fail_kind(f, item, path, "a mapping for each entry");
    return 0;
}
