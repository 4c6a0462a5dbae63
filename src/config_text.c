/*
 * The configuration as text: as YAML that can be read again (bare, or as the commented example
 * that is kept as moongate.yaml), and the table as help.
 */
#include "config.h"

#include "config_form.h"
#include "config_table.h"
#include "config_yaml.h"

#include <stdio.h>
#include <string.h>

static void write_comment(const struct config_option *o, const char *indent, struct buf *b)
{
    buf_addf(b, "%s# %s\n%s# (", indent, o->help, indent);
    option_write_allowed(o, b);
    buf_addf(b, "; %s)\n", o->reload ? "SIGHUP reloads it" : "needs a restart");
}

static void write_default(const struct config_option *o, struct buf *b)
{
    if (o->kind == OPTION_OTHER)
        return;
    if (!o->fallback)
        buf_adds(b, "; must be given");
    else
        buf_addf(b, "; default %s", *o->fallback ? o->fallback : "empty");
}

static void write_options(const struct config *c, bool comments, struct buf *b)
{
    char section[64] = "";
    for (size_t i = 0; i < config_options.n; i++) {
        const struct config_option *o = &config_options.rows[i];
        const char *dot = strchr(o->name, '.'), *indent = dot ? "  " : "";
        size_t len = dot ? (size_t)(dot - o->name) : 0;
        bool begins = strlen(section) != len || strncmp(section, o->name, len) != 0;
        if (comments && (begins || !dot))
            buf_addc(b, '\n');
        if (begins) {
            snprintf(section, sizeof section, "%.*s", (int)len, o->name);
            buf_addf(b, "%s:\n", section);
        }
        if (comments)
            write_comment(o, indent, b);
        buf_addf(b, "%s%s: ", indent, dot ? dot + 1 : o->name);
        option_write(o, c, b);
        buf_addc(b, '\n');
    }
}

/* An empty name is not shown: another member stands in its place. */
static bool is_left_out(const struct config_option *o, const void *row)
{
    const char *name;
    if (o->kind != OPTION_NAME)
        return o->kind == OPTION_OTHER;
    memcpy(&name, (const char *)row + o->offset, sizeof name);
    return !name || !*name;
}

/* The values of a row that differ from `defaults` (NULL: all). The first line begins with `lead`,
 * which ends in "- ". */
static void write_row(const struct option_table *t, const void *row, const void *defaults,
                      const char *lead, struct buf *b)
{
    static const char blanks[] = "        ";
    size_t indent = strlen(lead);
    for (size_t i = 0; i < t->n; i++) {
        const struct config_option *o = &t->rows[i];
        if (is_left_out(o, row) || (defaults && o->fallback && option_equal(o, row, defaults)))
            continue;
        buf_addf(b, "%s%s: ", lead, o->name);
        option_write(o, row, b);
        buf_addc(b, '\n');
        lead = &blanks[sizeof blanks - 1 - indent];
    }
}

/* Help, what is allowed and the default of each row, as comments. */
static void write_fields(const struct option_table *t, const char *lead, struct buf *b)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct config_option *o = &t->rows[i];
        buf_addf(b, "%s%s: %s\n%s  (", lead, o->name, o->help, lead);
        option_write_allowed(o, b);
        write_default(o, b);
        buf_adds(b, ")\n");
    }
}

/* Models */

static void write_model(const struct config_model *m, const struct config_model *usual,
                        struct buf *b)
{
    write_row(&config_model_options, m, usual, "  - ", b);
    if (*m->backend)
        return; /* short for the list */
    buf_adds(b, "    backends:\n");
    for (size_t i = 0; i < m->n_routes; i++)
        write_row(&config_route_options, &m->routes[i], NULL, "      - ", b);
}

static void write_models(const struct config *c, bool comments, struct buf *b)
{
    struct config_model usual = {.n_routes = 0};
    struct arena *arena = arena_new();
    option_set_defaults(&config_model_options, &usual, arena);
    config_route_to(&usual, "local", arena);
    if (comments) {
        buf_adds(b, "\n# The models that are served; a list here replaces this one. (SIGHUP "
                    "reloads it)\n");
        write_fields(&config_model_options, "#   ", b);
        write_fields(&config_route_options, "#     ", b);
    }
    buf_adds(b, "models:\n");
    for (size_t i = 0; i < c->n_models; i++)
        write_model(&c->models[i], comments ? &usual : NULL, b);
    arena_free(arena);
}

/* Backends */

/* What is told of secrets: that they are there. */
static void write_hidden(const struct upstream_options *o, struct buf *b)
{
    size_t begin;
    if (o->n_headers > 0) {
        buf_adds(b, "    # headers, whose values are not shown:");
        for (size_t i = 0; i < o->n_headers; i++)
            buf_addf(b, "%s %s", i ? "," : "", o->headers[i].name);
        buf_addc(b, '\n');
    }
    if (form_proxy_user(o->proxy, &begin) > 0)
        buf_adds(b, "    # the proxy's user and password are not shown\n");
}

static void write_forward(const struct upstream_options *o, struct buf *b)
{
    if (o->n_forward == 0)
        return;
    buf_adds(b, "    forward: [");
    for (size_t i = 0; i < o->n_forward; i++) {
        buf_adds(b, i ? ", " : "");
        option_write_string(o->forward[i], b);
    }
    buf_adds(b, "]\n");
}

static void write_backends(const struct config *c, struct buf *b)
{
    struct option_table shared = {config_backend_options.rows, CONFIG_SHARED_OPTIONS};
    buf_adds(b, "backends:\n");
    for (size_t i = 0; i < c->n_backends; i++) {
        const struct config_backend *backend = &c->backends[i];
        bool openai = backend->kind == CONFIG_OPENAI;
        write_row(openai ? &config_backend_options : &shared, backend, NULL, "  - ", b);
        if (openai) {
            write_forward(&backend->upstream, b);
            write_hidden(&backend->upstream, b);
        }
    }
}

void config_show(const struct config *c, struct buf *b)
{
    write_options(c, false, b);
    write_models(c, false, b);
    write_backends(c, b);
}

void config_example(struct buf *b)
{
    struct config *c = config_new();
    buf_adds(b, "# The configuration of moongate, with every option at its default.\n"
                "#\n"
                "# Any of the options (not the lists) can also come from the environment, as\n"
                "# MOONGATE_LISTEN or MOONGATE_LIMITS_BODY_BYTES, which goes before this file.\n"
                "# `moongate config check` reads a file and says what is wrong with it.\n");
    write_options(c, true, b);
    write_models(c, true, b);
    buf_adds(b, "\n# What answers for the models. (SIGHUP reloads it; to add, remove or rename the "
                "local one needs\n# a restart)\n");
    write_fields(&config_backend_options, "#   ", b);
    write_backends(c, b);
    buf_adds(b, "  # A server with OpenAI's API: Moonshot's, vLLM, SGLang, llama-server, another "
                "moongate. A model\n"
                "  # takes it by `backend: moonshot`, or, so that it answers what local has no "
                "room for, by\n"
                "  # `backends: [{name: local}, {name: moonshot, priority: 2}]`.\n"
                "  # - name: moonshot\n"
                "  #   kind: openai\n"
                "  #   url: https://api.moonshot.ai\n"
                "  #   key_env: MOONSHOT_API_KEY\n");
    config_free(c);
}

/* Warnings */

void config_warnings(const struct config *c, struct buf *b)
{
    static const char http[] = "http://";
    for (size_t i = 0; i < c->n_backends; i++) {
        const struct upstream_options *o = &c->backends[i].upstream;
        if (c->backends[i].kind != CONFIG_OPENAI || !o->key || !*o->key)
            continue;
        if (strncmp(o->url, http, sizeof http - 1) == 0 && !form_url_is_local(o->url))
            buf_addf(b, "backend %s: its key travels unencrypted to %s; use https\n", o->name,
                     o->url);
        else if (strncmp(o->url, http, sizeof http - 1) != 0 && !o->verify)
            buf_addf(b,
                     "backend %s: with tls_verify: false its key goes to whoever answers for %s; "
                     "use ca_file\n",
                     o->name, o->url);
    }
}

/* Help */

static void write_help(const struct option_table *t, const char *list, struct buf *b)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct config_option *o = &t->rows[i];
        buf_addf(b, "  %s%s\n      %s\n      ", list, o->name, o->help);
        option_write_allowed(o, b);
        write_default(o, b);
        buf_addf(b, "; %s\n", o->reload ? "SIGHUP reloads it" : "needs a restart");
    }
}

void config_help(struct buf *b)
{
    write_help(&config_options, "", b);
    write_help(&config_model_options, "models[].", b);
    write_help(&config_route_options, "models[].backends[].", b);
    write_help(&config_backend_options, "backends[].", b);
}
