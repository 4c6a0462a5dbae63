/*
 * Reads the list of backends. An entry's kind is found first, for it says which other members the
 * entry may have; keys of upstreams are read here too, so that a mistake has a line.
 */
#include "config_file.h"
#include "config_form.h"
#include "config_key.h"
#include "config_table.h"

#include <string.h>
#include <strings.h>

enum { BACKENDS_MAX = 256, HEADERS_MAX = 32 };

static const char local_name[] = "local", endpoint[] = "/chat/completions";

/* An entry while it is read: where its members stand; NULL where they are not given. */
struct entry {
    struct config_backend *row;
    const yaml_node_t *item, *name, *url, *prefix, *key_env, *key_file;
    yaml_node_t *headers, *forward;
};

static int read_kind(struct file *f, void *arg, const char *path, const char *key,
                     yaml_node_t *key_node, yaml_node_t *value)
{
    const struct config_option *o = option_find(&config_backend_options, key);
    struct entry *entry = arg;
    (void)key_node;
    return strcmp(key, "kind") == 0 ? file_set(f, o, entry->row, path, value) : 0;
}

static int fail_unknown(struct file *f, const yaml_node_t *node, const char *path, const char *key)
{
    if (strcmp(key, "key") == 0 || strcmp(key, "api_key") == 0)
        return file_fail(f, node, path,
                         "a key does not stand in this file; name the environment variable that "
                         "holds it with key_env, or a file with key_file");
    return file_fail_unknown_field(f, node, path, key, &config_backend_options);
}

static void remember(struct entry *entry, const char *key, yaml_node_t *value)
{
    const struct {
        const char *key;
        const yaml_node_t **at;
    } places[] = {{"name", &entry->name},
                  {"url", &entry->url},
                  {"prefix", &entry->prefix},
                  {"key_env", &entry->key_env},
                  {"key_file", &entry->key_file}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (strcmp(places[i].key, key) == 0)
            *places[i].at = value;
    }
}

static int read_member(struct file *f, void *arg, const char *path, const char *key,
                       yaml_node_t *key_node, yaml_node_t *value)
{
    const struct config_option *o = option_find(&config_backend_options, key);
    struct entry *entry = arg;
    if (!o)
        return fail_unknown(f, key_node, path, key);
    if (entry->row->kind == CONFIG_LOCAL &&
        o - config_backend_options.rows >= CONFIG_SHARED_OPTIONS)
        return file_fail(f, key_node, path,
                         "is for kind: openai alone; this backend is of kind local, the engine in "
                         "this process");
    if (strcmp(key, "headers") == 0)
        entry->headers = value;
    else if (strcmp(key, "forward") == 0)
        entry->forward = value;
    if (o->kind == OPTION_OTHER)
        return 0;
    remember(entry, key, value);
    return file_set(f, o, entry->row, path, value);
}

/* Header fields */

/* Why a field may not be set or passed on; NULL if it may. */
static const char *refusal(const char *name, bool forward)
{
    /* what the request itself needs, and what belongs to one connection (RFC 9110, 7.6.1) */
    static const char *const own[] = {
        "Host",       "Content-Length",   "Content-Type",   "Content-Encoding",
        "Accept",     "Accept-Encoding",  "Expect",         "Transfer-Encoding",
        "Connection", "Proxy-Connection", "Keep-Alive",     "TE",
        "Trailer",    "Upgrade",          "HTTP2-Settings", "Proxy-Authorization",
        "Traceparent"};
    if (!form_header_name(name))
        return "is no name of a header field; allowed: letters, digits and !#$%&'*+-.^_`|~";
    if (strcasecmp(name, "Authorization") == 0)
        return forward ? "is never passed on; a backend has a key of its own: key_env or key_file"
                       : "cannot stand here; give the key with key_env or key_file";
    if (forward && strcasecmp(name, "Cookie") == 0)
        return "is never passed on";
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (strcasecmp(name, own[i]) == 0)
            return "cannot stand here; moongate writes this field itself";
    }
    return NULL;
}

static const char *refusal_twice(const struct upstream_options *o, const char *name)
{
    for (size_t i = 0; i < o->n_headers; i++) {
        if (strcasecmp(o->headers[i].name, name) == 0)
            return "is given twice; upper and lower case are the same in headers";
    }
    for (size_t i = 0; i < o->n_forward; i++) {
        if (strcasecmp(o->forward[i], name) == 0)
            return "is given twice; upper and lower case are the same";
    }
    return NULL;
}

/* A value may be a secret: no message repeats it. */
static int read_header(struct file *f, void *arg, const char *path, const char *key,
                       yaml_node_t *key_node, yaml_node_t *value)
{
    struct upstream_options *o = arg;
    const char *text = file_text(value), *why = refusal(key, false);
    if (!why)
        why = refusal_twice(o, key);
    if (why)
        return file_fail(f, key_node, path, why);
    if (!text || file_is_null(value) || !form_header_value(text))
        return file_fail(f, value, path,
                         "needs a value of visible ASCII characters, at most 4096, with spaces "
                         "only between them");
    o->headers[o->n_headers++] =
        (struct upstream_header){.name = arena_strndup(f->c->arena, key, strlen(key)),
                                 .value = arena_strndup(f->c->arena, text, strlen(text))};
    return 0;
}

static int read_headers(struct file *f, yaml_node_t *map, const char *path,
                        struct upstream_options *o)
{
    char inner[PATH_BYTES];
    if (map->type != YAML_MAPPING_NODE)
        return file_fail_kind(f, map, path, "a mapping of names and values");
    if (map->data.mapping.pairs.top - map->data.mapping.pairs.start > HEADERS_MAX)
        return file_fail(f, map, path, "has more than 32 header fields");
    o->headers = arena_alloc(f->c->arena, HEADERS_MAX * sizeof *o->headers);
    snprintf(inner, sizeof inner, "%s.", path);
    return file_each(f, map, inner, read_header, o);
}

static int read_forward(struct file *f, yaml_node_t *list, const char *path,
                        struct upstream_options *o)
{
    size_t n = 0;
    bool empty = list->type == YAML_SEQUENCE_NODE &&
                 list->data.sequence.items.top == list->data.sequence.items.start;
    int rc = empty ? 0 : file_list(f, list, path, HEADERS_MAX, &n);
    if (rc || empty)
        return rc;
    o->forward = arena_alloc(f->c->arena, n * sizeof *o->forward);
    for (size_t i = 0; i < n; i++) {
        yaml_node_t *item = file_item(f, list, i);
        const char *name = file_text(item), *why;
        char inner[WHERE_BYTES];
        if (!name)
            return file_fail_kind(f, item, path, "names of header fields");
        snprintf(inner, sizeof inner, "%s: %s", path, name);
        why = refusal(name, true);
        if (!why)
            why = refusal_twice(o, name);
        if (why)
            return file_fail(f, item, inner, why);
        o->forward[o->n_forward++] = arena_strndup(f->c->arena, name, strlen(name));
    }
    return 0;
}

/* An entry as a whole */

static int fail_member(struct file *f, const yaml_node_t *node, const char *entry_path,
                       const char *member, const char *what)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s.%s", entry_path, member);
    return file_fail(f, node, path, what);
}

static void cut_slashes(char *s)
{
    for (size_t n = strlen(s); n > 0 && s[n - 1] == '/'; n--)
        s[n - 1] = '\0';
}

/* Takes the path off the URL. What is left of both has no slash at its end. */
static int split_url(struct file *f, const struct entry *entry, const char *path)
{
    struct upstream_options *o = &entry->row->upstream;
    if (!*o->url)
        return file_fail(f, entry->url ? entry->url : entry->item, path,
                         "a backend of kind openai needs a url, like https://api.moonshot.ai");
    char *rest = o->url + form_url_origin(o->url);
    cut_slashes(rest);
    if (*rest && entry->prefix)
        return fail_member(f, entry->prefix, path, "prefix",
                           "the url has a path already; give one of the two");
    if (*rest) {
        o->prefix = arena_strndup(f->c->arena, rest, strlen(rest));
        *rest = '\0';
    }
    cut_slashes(o->prefix);
    size_t len = strlen(o->prefix), end = sizeof endpoint - 1;
    if (len >= end && strcmp(o->prefix + len - end, endpoint) == 0)
        return fail_member(f, entry->prefix ? entry->prefix : entry->url, path,
                           entry->prefix ? "prefix" : "url",
                           "ends in /chat/completions, which is added to it; leave it out");
    return 0;
}

static int read_key(struct file *f, const struct entry *entry, const char *path)
{
    struct config_backend *b = entry->row;
    char member[PATH_BYTES], where[WHERE_BYTES];
    if (*b->key_env && *b->key_file)
        return fail_member(f, entry->key_file, path, "key_file",
                           "key_env names the key already; give one of the two");
    if (!*b->key_env && !*b->key_file)
        return 0;
    snprintf(member, sizeof member, "%s.%s", path, *b->key_env ? "key_env" : "key_file");
    file_where(f, *b->key_env ? entry->key_env : entry->key_file, member, where);
    return *b->key_env ? config_key_env(b->key_env, where, f->c->arena, &b->upstream.key, f->e)
                       : config_key_file(b->key_file, where, f->c->arena, &b->upstream.key, f->e);
}

static int read_upstream(struct file *f, const struct entry *entry, const char *path)
{
    struct upstream_options *o = &entry->row->upstream;
    char member[ENTRY_BYTES + 16];
    if (strcmp(entry->row->name, local_name) == 0)
        return fail_member(f, entry->name, path, "name",
                           "local is the name of the engine in this process; take another one");
    int rc = split_url(f, entry, path);
    if (rc == 0)
        rc = read_key(f, entry, path);
    snprintf(member, sizeof member, "%s.headers", path);
    if (rc == 0 && entry->headers)
        rc = read_headers(f, entry->headers, member, o);
    snprintf(member, sizeof member, "%s.forward", path);
    if (rc == 0 && entry->forward)
        rc = read_forward(f, entry->forward, member, o);
    return rc;
}

/* The row of the entry i; the rows before it are complete. */
static int read_backend(struct file *f, yaml_node_t *item, struct config_backend *rows, size_t i)
{
    struct entry entry = {.row = &rows[i], .item = item};
    char path[ENTRY_BYTES], prefix[PATH_BYTES];
    int rc = file_map(f, item, "backends");
    if (rc)
        return rc;
    snprintf(path, sizeof path, "backends[%zu]", i);
    snprintf(prefix, sizeof prefix, "%s.", path);
    option_set_defaults(&config_backend_options, entry.row, f->c->arena);
    rc = file_each(f, item, prefix, read_kind, &entry);
    if (rc == 0)
        rc = file_each(f, item, prefix, read_member, &entry);
    if (rc)
        return rc;
    if (!entry.row->name)
        return file_fail(f, item, path, "needs a name");
    for (size_t j = 0; j < i; j++) {
        if (strcmp(rows[j].name, rows[i].name) == 0)
            return file_fail(f, item, path, "has the name of an earlier backend");
        if (rows[j].kind == CONFIG_LOCAL && rows[i].kind == CONFIG_LOCAL)
            return file_fail(f, item, path,
                             "is a second backend of kind local; there is one engine. A server "
                             "elsewhere is of kind openai");
    }
    entry.row->upstream.name = entry.row->name;
    return entry.row->kind == CONFIG_OPENAI ? read_upstream(f, &entry, path) : 0;
}

int file_read_backends(struct file *f, yaml_node_t *list)
{
    size_t n;
    int rc = file_list(f, list, "backends", BACKENDS_MAX, &n);
    if (rc)
        return rc;
    struct config_backend *rows = arena_alloc(f->c->arena, n * sizeof *rows);
    f->c->backends = rows; /* also while they are read, so that their keys are wiped in any case */
    f->c->n_backends = n;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = read_backend(f, file_item(f, list, i), rows, i);
    return rc;
}
