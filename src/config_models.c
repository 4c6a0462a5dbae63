/*
 * Reads the list of models, and decides which backends answer for a model. The backends are known
 * before.
 */
#include "config_file.h"
#include "config_table.h"

#include <string.h>

enum { MODELS_MAX = 256, ROUTES_MAX = 64 };

/* An entry while it is read. */
struct entry {
    struct config_model *row;
    const yaml_node_t *item, *backend; /* NULL: not given */
    yaml_node_t *backends;
    bool cached; /* price_cached is given */
};

static int read_member(struct file *f, void *arg, const char *path, const char *key,
                       yaml_node_t *key_node, yaml_node_t *value)
{
    const struct config_option *o = option_find(&config_model_options, key);
    struct entry *entry = arg;
    if (!o)
        return file_fail_unknown_field(f, key_node, path, key, &config_model_options);
    if (strcmp(key, "backends") == 0)
        entry->backends = value;
    else if (strcmp(key, "backend") == 0)
        entry->backend = value;
    else if (strcmp(key, "price_cached") == 0)
        entry->cached = true;
    if (o->kind == OPTION_OTHER) /* `like` was read first, `backends` is read last */
        return 0;
    return file_set(f, o, entry->row, path, value);
}

/* `like` gives a model the row of a default one, whatever its place among the members. */
static int read_like(struct file *f, void *arg, const char *path, const char *key,
                     yaml_node_t *key_node, yaml_node_t *value)
{
    const char *text = file_text(value);
    struct entry *entry = arg;
    struct option_guess g;
    char what[PATH_BYTES];

    (void)key_node;
    if (strcmp(key, "like") != 0)
        return 0;
    if (text && config_default_model(text, entry->row, f->c->arena))
        return 0;
    option_guess_init(&g, text ? text : "");
    g.distance += strlen(g.wanted); /* the nearest, however far */
    for (size_t i = 0; i < config_n_default_models; i++)
        option_guess_try(&g, config_default_models[i].id, config_default_models[i].id);
    snprintf(what, sizeof what, "needs the name of a default model, like %s",
             g.best ? g.best : config_default_models[0].id);
    return file_fail(f, value, path, what);
}

/* Routes */

static int fail_backend(struct file *f, const yaml_node_t *node, const char *path, const char *name)
{
    const struct config *c = f->c;
    struct option_guess g;
    char what[WHERE_BYTES], shown[OPTION_SHOWN_BYTES], known[OPTION_SHOWN_BYTES];
    option_guess_init(&g, name);
    for (size_t i = 0; i < c->n_backends; i++)
        option_guess_try(&g, c->backends[i].name, c->backends[i].name);
    snprintf(what, sizeof what, "its backend %s is not in the list of backends, like %s",
             option_shown(name, shown), option_shown(g.best ? g.best : c->backends[0].name, known));
    return file_fail(f, node, path, what);
}

/* The one named local, else the first. */
static const char *default_backend(const struct config *c)
{
    const struct config_backend *local = config_backend(c, "local");
    return local ? local->name : c->backends[0].name;
}

static int read_route_member(struct file *f, void *arg, const char *path, const char *key,
                             yaml_node_t *key_node, yaml_node_t *value)
{
    const struct config_option *o = option_find(&config_route_options, key);
    if (!o)
        return file_fail_unknown_field(f, key_node, path, key, &config_route_options);
    return file_set(f, o, arg, path, value);
}

/* The route i of the model; those before it are complete. */
static int read_route(struct file *f, yaml_node_t *item, const char *model_path,
                      struct route *routes, size_t i)
{
    char path[ENTRY_BYTES], prefix[PATH_BYTES];
    snprintf(path, sizeof path, "%s.backends[%zu]", model_path, i);
    snprintf(prefix, sizeof prefix, "%s.", path);
    option_set_defaults(&config_route_options, &routes[i], f->c->arena);
    int rc = file_map(f, item, path);
    if (rc == 0)
        rc = file_each(f, item, prefix, read_route_member, &routes[i]);
    if (rc)
        return rc;
    if (!routes[i].backend)
        return file_fail(f, item, path, "needs a name");
    const struct config_backend *b = config_backend(f->c, routes[i].backend);
    if (!b)
        return fail_backend(f, item, path, routes[i].backend);
    if (b->kind == CONFIG_LOCAL && *routes[i].model)
        return file_fail(f, item, path,
                         "model is for a backend of kind openai; the engine in this process has "
                         "one model");
    for (size_t j = 0; j < i; j++) {
        if (strcmp(routes[j].backend, routes[i].backend) == 0)
            return file_fail(f, item, path, "names the backend of an earlier entry");
    }
    return 0;
}

static int read_routes(struct file *f, const struct entry *entry, const char *path)
{
    char inner[PATH_BYTES];
    size_t n;
    snprintf(inner, sizeof inner, "%s.backends", path);
    if (entry->backend && *entry->row->backend)
        return file_fail(f, entry->backends, inner,
                         "backend is given too; it is short for a list of one");
    int rc = file_list(f, entry->backends, inner, ROUTES_MAX, &n);
    if (rc)
        return rc;
    entry->row->routes = arena_alloc(f->c->arena, n * sizeof *entry->row->routes);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = read_route(f, file_item(f, entry->backends, i), path, entry->row->routes, i);
    entry->row->n_routes = n;
    return rc;
}

/* The list */

/* A default model stays one where it is written out, as in the example, and not named by `like`. */
static void take_list_price(struct config_model *row, struct arena *arena)
{
    struct config_model usual;
    if (row->list_price.output == 0 && config_default_model(row->api.id, &usual, arena))
        row->list_price = usual.list_price;
}

static int read_model(struct file *f, yaml_node_t *item, size_t i, struct config_model *row)
{
    struct entry entry = {.row = row, .item = item};
    char path[32], prefix[PATH_BYTES];
    snprintf(path, sizeof path, "models[%zu]", i);
    snprintf(prefix, sizeof prefix, "%s.", path);
    option_set_defaults(&config_model_options, row, f->c->arena);
    int rc = file_map(f, item, "models");
    if (rc == 0)
        rc = file_each(f, item, prefix, read_like, &entry);
    if (rc == 0)
        rc = file_each(f, item, prefix, read_member, &entry);
    if (rc)
        return rc;
    if (!row->api.id)
        return file_fail(f, item, path, "needs an id");
    if (!entry.cached) /* or what a cache had would be given away */
        row->price.cached = row->price.input;
    take_list_price(row, f->c->arena);
    if (entry.backends)
        return read_routes(f, &entry, path);
    if (*row->backend && !config_backend(f->c, row->backend))
        return fail_backend(f, item, row->api.id, row->backend);
    config_route_to(row, *row->backend ? row->backend : default_backend(f->c), f->c->arena);
    return 0;
}

int file_read_models(struct file *f, yaml_node_t *list)
{
    size_t n;
    int rc = file_list(f, list, "models", MODELS_MAX, &n);
    if (rc)
        return rc;
    struct config_model *rows = arena_alloc(f->c->arena, n * sizeof *rows);
    for (size_t i = 0; i < n; i++) {
        rc = read_model(f, file_item(f, list, i), i, &rows[i]);
        if (rc)
            return rc;
        for (size_t j = 0; j < i; j++) {
            if (strcmp(rows[j].api.id, rows[i].api.id) == 0)
                return file_fail(f, file_item(f, list, i), rows[i].api.id,
                                 "is the id of an earlier model too");
        }
    }
    f->c->models = rows;
    f->c->n_models = n;
    return 0;
}

int file_route_defaults(struct file *f, const yaml_node_t *backends)
{
    struct config *c = f->c;
    bool local = false;
    for (size_t i = 0; i < c->n_backends; i++)
        local = local || c->backends[i].kind == CONFIG_LOCAL;
    if (!local && c->n_backends > 1)
        return file_fail(f, backends, "backends",
                         "none of them is of kind local, so the default models have no backend; "
                         "add a list of models, each with `backend: NAME`");
    for (size_t i = 0; i < c->n_models; i++)
        config_route_to(&c->models[i], default_backend(c), c->arena);
    return 0;
}
