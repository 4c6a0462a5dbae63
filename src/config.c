/*
 * Puts a configuration together: the tables' defaults, then the file, the environment and the
 * command line. Everything a struct config points to is in its arena.
 */
#include "config.h"

#include "base/net.h"
#include "config_table.h"
#include "config_yaml.h"
#include "gate/rates.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_BYTES = 1 << 20, NAME_BYTES = 128 };

static const char default_file[] = "moongate.yaml";
static const char env_prefix[] = "MOONGATE_";

struct config *config_new(void)
{
    struct config *c = mem_zalloc(sizeof *c);
    c->arena = arena_new();
    option_set_defaults(&config_options, c, c->arena);
    c->models = arena_alloc(c->arena, config_n_default_models * sizeof *c->models);
    for (; c->n_models < config_n_default_models; c->n_models++) {
        struct config_model *m = &c->models[c->n_models];
        config_default_model(config_default_models[c->n_models].id, m, c->arena);
        config_route_to(m, "local", c->arena);
    }
    c->backends = arena_alloc(c->arena, sizeof *c->backends);
    c->n_backends = 1;
    option_set_defaults(&config_backend_options, c->backends, c->arena);
    c->backends->name = arena_strndup(c->arena, "local", strlen("local"));
    c->backends->upstream.name = c->backends->name;
    return c;
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n_backends; i++) {
        char *key = c->backends[i].upstream.key;
        if (key)
            explicit_bzero(key, strlen(key));
    }
    arena_free(c->arena);
    free(c);
}

static int read_file(struct config *c, const char *file, struct error *e)
{
    const char *name = file ? file : default_file;
    struct buf bytes;
    char block[4096];
    int rc = 0;

    FILE *in = fopen(name, "rb");
    if (!in && !file && errno == ENOENT)
        return 0;
    if (!in)
        return error_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", name,
                         strerror(errno));
    buf_init(&bytes, FILE_BYTES);
    for (size_t n; (n = fread(block, 1, sizeof block, in)) > 0 && !bytes.failed;)
        buf_add(&bytes, block, n);
    if (ferror(in))
        rc = error_set(e, ERR_IO, "%s: %s", name, strerror(errno));
    else if (bytes.failed)
        rc = error_set(e, ERR_LIMIT, "%s: larger than 1 MiB", name);
    else
        rc = config_parse(c, name, bytes.data ? bytes.data : "", bytes.len, e);
    buf_done(&bytes);
    fclose(in);
    return rc;
}

/* MOONGATE_LIMITS_BODY_BYTES for limits.body_bytes */
static void write_env_name(const char *option, char out[NAME_BYTES])
{
    size_t n = sizeof env_prefix - 1;
    memcpy(out, env_prefix, n);
    for (; *option && n < NAME_BYTES - 1; option++)
        out[n++] = *option == '.' ? '_' : (char)toupper((unsigned char)*option);
    out[n] = '\0';
}

/* Variables of that prefix that are no option: those of the tests, and those that Kubernetes
 * puts into every container beside a service named moongate. */
static bool is_foreign(const char *name)
{
    const char *rest = name + sizeof env_prefix - 1;
    return strcmp(rest, "KIMI_TIKTOKEN") == 0 || strncmp(rest, "TEST_", 5) == 0 ||
           strcmp(rest, "PORT") == 0 || strncmp(rest, "PORT_", 5) == 0 ||
           strncmp(rest, "SERVICE_", 8) == 0;
}

static int read_variable(struct config *c, const char *name, const char *value, struct error *e)
{
    char(*names)[NAME_BYTES] = mem_array(config_options.n, sizeof *names);
    char where[NAME_BYTES + 32], shown[OPTION_SHOWN_BYTES];
    struct option_guess g;
    size_t i = 0;
    int rc = 0;

    option_guess_init(&g, name);
    for (; i < config_options.n; i++) {
        write_env_name(config_options.rows[i].name, names[i]);
        if (strcmp(names[i], name) == 0)
            break;
        option_guess_try(&g, names[i], names[i]);
    }
    snprintf(where, sizeof where, "environment: %s", option_shown(name, shown));
    if (i < config_options.n)
        rc = option_set(&config_options.rows[i], c, value, c->arena, where, e);
    else if (!is_foreign(name))
        rc = error_set(e, ERR_INVALID, "%s: unknown option%s%s%s", where,
                       g.best ? "; did you mean " : "", g.best ? g.best : "", g.best ? "?" : "");
    free(names);
    return rc;
}

static int read_environment(struct config *c, struct error *e)
{
    for (char **v = environ; v && *v; v++) {
        const char *equals = strchr(*v, '=');
        if (!equals || strncmp(*v, env_prefix, sizeof env_prefix - 1) != 0)
            continue;
        char *name = mem_strndup(*v, (size_t)(equals - *v));
        int rc = read_variable(c, name, equals + 1, e);
        free(name);
        if (rc)
            return rc;
    }
    return 0;
}

static int read_override(struct config *c, const struct config_override *v, struct error *e)
{
    const struct config_option *o = option_find(&config_options, v->name);
    char where[NAME_BYTES + 32], shown[OPTION_SHOWN_BYTES];
    struct option_guess g;

    snprintf(where, sizeof where, "command line: %s", option_shown(v->name, shown));
    if (o)
        return option_set(o, c, v->value, c->arena, where, e);
    option_guess_init(&g, v->name);
    option_guess_table(&g, &config_options);
    return error_set(e, ERR_INVALID, "%s: unknown option%s%s%s", where,
                     g.best ? "; did you mean " : "", g.best ? g.best : "", g.best ? "?" : "");
}

/* Where the list of prices is wanted and a model has none of its own. */
static void set_prices(struct config *c)
{
    for (size_t i = 0; i < c->n_models && c->quota.list_prices; i++) {
        struct config_model *m = &c->models[i];
        if (m->price.input == 0 && m->price.cached == 0 && m->price.output == 0)
            m->price = m->list_price;
    }
}

/* What no single option can tell. */
static int check_whole(const struct config *c, struct error *e)
{
    struct error inner;
    if (!*c->tls.cert != !*c->tls.key)
        return error_set(e, ERR_INVALID, "tls.cert and tls.key: one needs the other");
    struct net_list proxies;
    if (net_list_parse(c->trusted_proxies, &proxies, &inner))
        return error_set(e, ERR_INVALID, "http.trusted_proxies: %s", inner.text);
    if (rates_check_url(c->rates.redis, &inner))
        return error_set(e, ERR_INVALID, "rates.redis: %s", inner.text);
    if (*c->mail.smtp && !*c->mail.from)
        return error_set(e, ERR_INVALID, "mail.from: an address is needed with mail.smtp");
    if (*c->oidc.issuer && (!*c->oidc.client_id || !*c->accounts.public_url))
        return error_set(e, ERR_INVALID,
                         "oidc.issuer: needs oidc.client_id and accounts.public_url, where the "
                         "provider sends people back to");
    if (c->routing.open_max_ms < c->routing.open_ms)
        return error_set(e, ERR_INVALID,
                         "routing.open_max: %d ms is less than routing.open, which is %d ms",
                         c->routing.open_max_ms, c->routing.open_ms);
    return 0;
}

int config_read(const char *file, const struct config_override *overrides, size_t n,
                struct config **out, struct error *e)
{
    struct config *c = config_new();
    int rc = read_file(c, file, e);
    if (rc == 0)
        rc = read_environment(c, e);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = read_override(c, &overrides[i], e);
    if (rc == 0)
        rc = check_whole(c, e);
    if (rc == 0)
        set_prices(c);
    if (rc) {
        config_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

const struct config_model *config_model(const struct config *c, const char *id)
{
    for (size_t i = 0; i < c->n_models; i++) {
        if (strcmp(c->models[i].api.id, id) == 0)
            return &c->models[i];
    }
    return NULL;
}

const struct config_backend *config_backend(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->n_backends; i++) {
        if (strcmp(c->backends[i].name, name) == 0)
            return &c->backends[i];
    }
    return NULL;
}

/* The name of the engine as a backend; "" if it is none. */
static const char *local_name(const struct config *c)
{
    for (size_t i = 0; i < c->n_backends; i++) {
        if (c->backends[i].kind == CONFIG_LOCAL)
            return c->backends[i].name;
    }
    return "";
}

void config_needs_restart(const struct config *running, const struct config *fresh, struct buf *b)
{
    const char *separator = "";
    for (size_t i = 0; i < config_options.n; i++) {
        const struct config_option *o = &config_options.rows[i];
        if (o->reload || option_equal(o, running, fresh))
            continue;
        buf_addf(b, "%s%s", separator, o->name);
        separator = ", ";
    }
    if (strcmp(local_name(running), local_name(fresh)) != 0) /* the engine starts with us */
        buf_addf(b, "%sbackends", separator);
}
