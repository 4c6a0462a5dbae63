/*
 * The configuration as text: as YAML that can be read again (bare, or as the commented example
 * that is kept as moongate.yaml), and the table as help.
 */
#include "config.h"

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

static void write_row(const struct option_table *t, const void *row, const void *defaults,
                      struct buf *b)
{
    const char *lead = "  - ";
    for (size_t i = 0; i < t->n; i++) {
        const struct config_option *o = &t->rows[i];
        if (defaults && o->fallback && option_equal(o, row, defaults))
            continue;
        buf_addf(b, "%s%s: ", lead, o->name);
        option_write(o, row, b);
        buf_addc(b, '\n');
        lead = "    ";
    }
}

static void write_fields(const struct option_table *t, struct buf *b)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct config_option *o = &t->rows[i];
        buf_addf(b, "#   %s: %s\n#     (", o->name, o->help);
        option_write_allowed(o, b);
        buf_addf(b, "%s%s)\n", o->fallback ? "; default " : "; must be given",
                 o->fallback ? o->fallback : "");
    }
}

static void write_lists(const struct config *c, bool comments, struct buf *b)
{
    struct config_model usual = {.backend = NULL};
    struct arena *arena = arena_new();
    option_set_defaults(&config_model_options, &usual, arena);
    if (comments) {
        buf_adds(b,
                 "\n# The models that are served; a list here replaces this one. (SIGHUP reloads "
                 "it)\n#   like: Starts from the values of a model of this list.\n");
        write_fields(&config_model_options, b);
    }
    buf_adds(b, "models:\n");
    for (size_t i = 0; i < c->n_models; i++)
        write_row(&config_model_options, &c->models[i], comments ? &usual : NULL, b);
    if (comments) {
        buf_adds(b, "\n# What answers for the models. (needs a restart)\n");
        write_fields(&config_backend_options, b);
    }
    buf_adds(b, "backends:\n");
    for (size_t i = 0; i < c->n_backends; i++)
        write_row(&config_backend_options, &c->backends[i], NULL, b);
    arena_free(arena);
}

void config_show(const struct config *c, struct buf *b)
{
    write_options(c, false, b);
    write_lists(c, false, b);
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
    write_lists(c, true, b);
    config_free(c);
}

void config_help(struct buf *b)
{
    for (size_t i = 0; i < config_options.n; i++) {
        const struct config_option *o = &config_options.rows[i];
        buf_addf(b, "  %s\n      %s\n      ", o->name, o->help);
        option_write_allowed(o, b);
        buf_addf(b, "; default %s; %s\n", *o->fallback ? o->fallback : "empty",
                 o->reload ? "SIGHUP reloads it" : "needs a restart");
    }
}
