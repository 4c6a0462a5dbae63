/*
 * `moongate model list|inspect`: the configured models, and what a GGUF file holds.
 */
#include "command.h"

#include "base/buf.h"
#include "base/json.h"
#include "config.h"
#include "engine/gguf.h"
#include "engine/quant.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TYPES = 64 };

static const char list_help[] =
    "Usage: moongate model list [OPTION]...\n"
    "Lists the configured models.\n\n"
    "  --config FILE   the configuration (default: moongate.yaml here, if there is one)\n"
    "  --json          as JSON\n";
static const char inspect_help[] =
    "Usage: moongate model inspect [--json] FILE\n"
    "Reads the head of a GGUF file and says what it holds, and whether moongate can run it.\n\n"
    "  --json          as JSON, with every tensor\n";

struct options {
    const char *config;
    bool json;
};

/* 0 to go on; else *status is the exit status. */
static int read_options(int argc, char **argv, const char *help, struct options *o, int *status)
{
    static const struct option table[] = {{"config", required_argument, NULL, 'c'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int c, operands = help == inspect_help;
    memset(o, 0, sizeof *o);
    opterr = 0;
    while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1 && c != '?') {
        if (c == 'h') {
            fputs(help, stdout);
            *status = COMMAND_GOOD;
            return -1;
        }
        if (c == 'c')
            o->config = optarg;
        o->json |= c == 'j';
    }
    if (c != '?' && argc - optind == operands && !(o->config && operands))
        return 0;
    if (c == '?')
        command_error("model %s takes no option %s, or it lacks its value", argv[0],
                      argv[optind - 1]);
    else
        command_error(operands ? "model %s needs one FILE, and no --config"
                               : "model %s takes no further arguments",
                      argv[0]);
    fprintf(stderr, "Try `moongate model %s --help`.\n", argv[0]);
    *status = COMMAND_USAGE;
    return -1;
}

static int print(struct buf *b)
{
    bool good = !b->failed && fwrite(b->data, 1, b->len, stdout) == b->len && !fflush(stdout);
    buf_done(b);
    return good ? COMMAND_GOOD : COMMAND_FAILED;
}

static void write_string(struct buf *b, const char *s)
{
    json_write_string(b, s, strlen(s));
}

/* list */

static const char *thinking_name(enum api_thinking t)
{
    static const char *const names[] = {"never", "off", "on", "always"};
    return names[t];
}

static void write_model_json(struct buf *b, const struct config_model *m)
{
    buf_adds(b, "{\"id\":");
    write_string(b, m->api.id);
    buf_addf(b,
             ",\"context\":%lld,\"created\":%lld,\"thinking\":\"%s\",\"strict\":%s,\"images\":%s,"
             "\"backends\":[",
             (long long)m->api.context_tokens, (long long)m->api.created,
             thinking_name(m->api.thinking), m->api.strict ? "true" : "false",
             m->api.images ? "true" : "false");
    for (size_t i = 0; i < m->n_routes; i++) {
        const struct route *r = &m->routes[i];
        buf_adds(b, i ? ",{\"name\":" : "{\"name\":");
        write_string(b, r->backend);
        buf_addf(b, ",\"weight\":%d,\"priority\":%d,\"model\":", r->weight, r->priority);
        write_string(b, r->model && *r->model ? r->model : m->api.id);
        buf_addc(b, '}');
    }
    buf_adds(b, "]}");
}

/* "local, moonshot" */
static void write_backends(struct buf *b, const struct config_model *m)
{
    for (size_t i = 0; i < m->n_routes; i++)
        buf_addf(b, "%s%s", i ? ", " : "", m->routes[i].backend);
    buf_addc(b, '\n');
}

static int model_list(int argc, char **argv)
{
    struct options o;
    struct config *c;
    struct error e;
    struct buf b;
    int status, width = 5;

    if (read_options(argc, argv, list_help, &o, &status))
        return status;
    if (config_read(o.config, NULL, 0, &c, &e)) {
        command_error("%s", e.text);
        return COMMAND_FAILED;
    }
    buf_init(&b, 64 << 20);
    for (size_t i = 0; i < c->n_models; i++) {
        int len = (int)strlen(c->models[i].api.id);
        width = len > width ? len : width;
    }
    if (o.json)
        buf_addc(&b, '[');
    else
        buf_addf(&b, "%-*s  %9s  %-8s  %-7s  %s\n", width, "MODEL", "CONTEXT", "THINKING",
                 "PROFILE", "BACKENDS");
    for (size_t i = 0; i < c->n_models; i++) {
        const struct config_model *m = &c->models[i];
        if (o.json && i > 0)
            buf_addc(&b, ',');
        if (o.json) {
            write_model_json(&b, m);
            continue;
        }
        buf_addf(&b, "%-*s  %9lld  %-8s  %-7s  ", width, m->api.id,
                 (long long)m->api.context_tokens, thinking_name(m->api.thinking),
                 m->api.strict ? "strict" : "lenient");
        write_backends(&b, m);
    }
    if (o.json)
        buf_adds(&b, "]\n");
    config_free(c);
    return print(&b);
}

/* inspect */

/* Weights of one type. */
struct type_sum {
    uint32_t type;
    uint64_t tensors, weights, bytes;
};

struct sums {
    struct type_sum types[MAX_TYPES];
    size_t n;
    uint64_t weights, bytes;
    bool all_built; /* every type is one that the engine reads */
};

static void add_tensor(struct sums *s, const struct gguf_tensor *t)
{
    uint64_t weights = t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    size_t i = 0;
    while (i < s->n && s->types[i].type != t->type)
        i++;
    if (i == MAX_TYPES)
        i--; /* a file that names more types than exist */
    else if (i == s->n)
        s->types[s->n++] = (struct type_sum){.type = t->type};
    s->types[i].tensors++;
    s->types[i].weights += weights;
    s->types[i].bytes += t->bytes;
    s->weights += weights;
    s->bytes += t->bytes;
    s->all_built = s->all_built && quant_find(t->type);
}

static void read_string(const struct gguf *g, const char *key, struct buf *b)
{
    const char *s;
    size_t len;
    buf_init(b, 4096);
    if (gguf_string(g, key, &s, &len, NULL) == 0)
        buf_add(b, s, len);
}

/* Values come from a file of a stranger: no control characters on a terminal. */
static void write_clean(struct buf *b, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        buf_addc(b, (unsigned char)s[i] < 0x20 || s[i] == 0x7f ? '?' : s[i]);
}

static void write_entry(void *arg, const char *key, const char *value)
{
    struct buf *b = arg;
    buf_adds(b, "  ");
    write_clean(b, key, strlen(key));
    buf_adds(b, " = ");
    write_clean(b, value, strlen(value));
    buf_addc(b, '\n');
}

/* Whether the engine knows the architecture and every weight type; its own checks go further. */
static const char *verdict(const struct buf *architecture, const struct sums *s)
{
    if (!architecture->data || strcmp(architecture->data, "deepseek2") != 0)
        return "not with this version: the architecture is not deepseek2";
    if (!s->all_built)
        return "not with this version: a type of weights is not built";
    return "yes";
}

static void write_text(const struct gguf *g, const struct sums *s, const struct buf *architecture,
                       const struct buf *name, int64_t context, struct buf *b)
{
    buf_adds(b, "architecture  ");
    write_clean(b, architecture->data ? architecture->data : "-",
                architecture->data ? architecture->len : 1);
    buf_adds(b, "\nname          ");
    write_clean(b, name->data ? name->data : "-", name->data ? name->len : 1);
    buf_addf(b, "\nparameters    %.2f M in %zu tensors\n", (double)s->weights / 1e6,
             gguf_n_tensors(g));
    if (context > 0)
        buf_addf(b, "context       %lld tokens\n", (long long)context);
    buf_addf(b, "file          %.1f MiB\nruns here     %s\n\nweights\n",
             (double)gguf_file_bytes(g) / 1048576, verdict(architecture, s));
    for (size_t i = 0; i < s->n; i++)
        buf_addf(b, "  %-8s  %5llu tensors  %10.2f M  %10.1f MiB\n", quant_name(s->types[i].type),
                 (unsigned long long)s->types[i].tensors, (double)s->types[i].weights / 1e6,
                 (double)s->types[i].bytes / 1048576);
    buf_adds(b, "\nmetadata\n");
    gguf_each(g, write_entry, b);
}

struct json_entries {
    struct buf *b;
    bool any;
};

static void write_json_entry(void *arg, const char *key, const char *value)
{
    struct json_entries *j = arg;
    if (j->any)
        buf_addc(j->b, ',');
    write_string(j->b, key);
    buf_addc(j->b, ':');
    write_string(j->b, value);
    j->any = true;
}

static void write_json(const struct gguf *g, const struct sums *s, const struct buf *architecture,
                       const struct buf *name, int64_t context, struct buf *b)
{
    struct json_entries entries = {b, false};
    buf_adds(b, "{\"architecture\":");
    write_string(b, architecture->data ? architecture->data : "");
    buf_adds(b, ",\"name\":");
    write_string(b, name->data ? name->data : "");
    buf_addf(b,
             ",\"parameters\":%llu,\"file_bytes\":%llu,\"context\":%lld,\"runs\":%s,\"metadata\":{",
             (unsigned long long)s->weights, (unsigned long long)gguf_file_bytes(g),
             (long long)context, strcmp(verdict(architecture, s), "yes") == 0 ? "true" : "false");
    gguf_each(g, write_json_entry, &entries);
    buf_adds(b, "},\"tensors\":[");
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        buf_adds(b, i ? ",{\"name\":" : "{\"name\":");
        write_string(b, t->name);
        buf_addf(b, ",\"type\":\"%s\",\"shape\":[", quant_name(t->type));
        for (uint32_t d = 0; d < t->n_dims; d++)
            buf_addf(b, "%s%llu", d ? "," : "", (unsigned long long)t->dims[d]);
        buf_addf(b, "],\"bytes\":%llu}", (unsigned long long)t->bytes);
    }
    buf_adds(b, "]}\n");
}

static int model_inspect(int argc, char **argv)
{
    struct options o;
    struct gguf *g;
    struct error e;
    struct sums sums = {.all_built = true};
    struct buf architecture, name, b;
    int64_t context;
    int status;

    if (read_options(argc, argv, inspect_help, &o, &status))
        return status;
    if (gguf_open_file(argv[optind], &g, &e)) {
        command_error("%s", e.text);
        return COMMAND_FAILED;
    }
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        add_tensor(&sums, gguf_tensor_at(g, i));
    read_string(g, "general.architecture", &architecture);
    read_string(g, "general.name", &name);
    if (gguf_int_or(g, "%A.context_length", 0, 0, INT64_MAX, &context, NULL))
        context = 0;
    buf_init(&b, SIZE_MAX / 2);
    if (o.json)
        write_json(g, &sums, &architecture, &name, context, &b);
    else
        write_text(g, &sums, &architecture, &name, context, &b);
    buf_done(&architecture);
    buf_done(&name);
    gguf_close(g);
    return print(&b);
}

int command_model(int argc, char **argv)
{
    static const struct command commands[] = {
        {"list", "[--json]", "list the configured models", model_list},
        {"inspect", "[--json] FILE", "say what a GGUF file holds", model_inspect},
    };
    return command_run("moongate model", commands, sizeof commands / sizeof commands[0], argc,
                       argv);
}
