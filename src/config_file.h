/*
 * The configuration's file as a document of YAML: what the readers of its parts share. A function
 * that returns int returns 0 or the code of a mistake, whose text it has written. Pure; any
 * thread. Private to the configuration.
 */
#ifndef MOONGATE_CONFIG_FILE_H
#define MOONGATE_CONFIG_FILE_H

#include "config.h"
#include "config_option.h"

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

/* Of a member's full name; of an entry's, which the reader makes; of what begins a message. */
enum { PATH_BYTES = 200, ENTRY_BYTES = 64, WHERE_BYTES = 400 };

struct file {
    struct config *c;
    const char *name;
    yaml_document_t doc;
    struct error *e;
};

/* What file_each calls for a member of a mapping; `path` is its full name. */
typedef int file_pair_fn(struct file *f, void *arg, const char *path, const char *key,
                         yaml_node_t *key_node, yaml_node_t *value);

/* "moongate.yaml:12: limits.body_bytes" */
void file_where(const struct file *f, const yaml_node_t *node, const char *path,
                char out[WHERE_BYTES]);
int file_fail(const struct file *f, const yaml_node_t *node, const char *path, const char *what);
int file_fail_kind(const struct file *f, const yaml_node_t *node, const char *path,
                   const char *wanted);
int file_fail_unknown(const struct file *f, const yaml_node_t *node, const char *path,
                      const struct option_guess *g);
int file_fail_unknown_field(const struct file *f, const yaml_node_t *node, const char *path,
                            const char *key, const struct option_table *t);

bool file_is_null(const yaml_node_t *node);
/* The text of a scalar that a C string can hold and that has no tag of its own, or NULL. */
const char *file_text(const yaml_node_t *node);
int file_set(struct file *f, const struct config_option *o, void *object, const char *path,
             const yaml_node_t *value);

/* Calls fn for each member of a mapping; `prefix` is "" or "limits." or "models[0].". A key given
 * twice is a mistake; the search for it is quadratic, so the caller bounds a mapping whose keys
 * are not those of a table. */
int file_each(struct file *f, yaml_node_t *map, const char *prefix, file_pair_fn *fn, void *arg);
/* Checks a list of `most` entries at most. */
int file_list(const struct file *f, const yaml_node_t *list, const char *path, size_t most,
              size_t *n);
/* An entry. file_map checks that it is a mapping. */
yaml_node_t *file_item(struct file *f, const yaml_node_t *list, size_t i);
int file_map(const struct file *f, const yaml_node_t *item, const char *path);

/* The two lists (config_backends.c, config_models.c). */
int file_read_backends(struct file *f, yaml_node_t *list);
int file_read_models(struct file *f, yaml_node_t *list);
/* The default models, when the file has a list of backends and none of models. */
int file_route_defaults(struct file *f, const yaml_node_t *backends);

#endif
