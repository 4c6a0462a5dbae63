/*
 * `moongate config check|show|example`.
 */
#include "command.h"

#include "base/buf.h"
#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES = 64 << 20 };

static const char check_help[] =
    "Usage: moongate config check [--config FILE]\n"
    "Reads the configuration as `moongate serve` would, and says what is wrong with it. What is\n"
    "good but doubtful is a warning; the exit status is 0 then too.\n\n"
    "  --config FILE   default: moongate.yaml here, if there is one\n";
static const char show_help[] =
    "Usage: moongate config show [--config FILE]\n"
    "Prints the configuration in force: the file, the environment and the defaults, as YAML that\n"
    "can be read again. Keys of backends are not printed, only where they come from. The header\n"
    "fields of a backend and a proxy's user and password, which may be secrets, are left out; a\n"
    "comment stands in their place.\n\n"
    "  --config FILE   default: moongate.yaml here, if there is one\n";
static const char example_help[] =
    "Usage: moongate config example\n"
    "Prints a moongate.yaml with every option at its default, and what it means.\n";

/* 0 to go on; else *status is the exit status. */
static int read_options(int argc, char **argv, const char *help, const char **file, int *status)
{
    static const struct option table[] = {{"config", required_argument, NULL, 'c'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int c;
    *file = NULL;
    opterr = 0;
    while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1 && c != '?') {
        if (c == 'h') {
            struct buf b;
            buf_init(&b, TEXT_BYTES);
            if (help != example_help) {
                buf_adds(&b, "\nOptions:\n");
                config_help(&b);
            }
            printf("%s%s", help, b.data ? b.data : "");
            buf_done(&b);
            *status = COMMAND_GOOD;
            return -1;
        }
        *file = optarg;
    }
    if (c != '?' && optind == argc && !(*file && help == example_help))
        return 0;
    if (c == '?')
        command_error("config %s takes no option %s, or it lacks its value", argv[0],
                      argv[optind - 1]);
    else
        command_error("config %s takes no %s", argv[0], optind < argc ? argv[optind] : "--config");
    fprintf(stderr, "Try `moongate config %s --help`.\n", argv[0]);
    *status = COMMAND_USAGE;
    return -1;
}

static int print(struct buf *b)
{
    bool good = !b->failed && fwrite(b->data, 1, b->len, stdout) == b->len && !fflush(stdout);
    buf_done(b);
    return good ? COMMAND_GOOD : COMMAND_FAILED;
}

/* "Warning: " before each line. */
static void write_warnings(const struct config *c, struct buf *b)
{
    struct buf lines;
    buf_init(&lines, TEXT_BYTES);
    config_warnings(c, &lines);
    for (const char *line = lines.data; line && *line;) {
        size_t len = strcspn(line, "\n") + 1;
        buf_adds(b, "Warning: ");
        buf_add(b, line, len);
        line += len;
    }
    buf_done(&lines);
}

static int config_check(int argc, char **argv)
{
    const char *file;
    struct config *c;
    struct error e;
    struct buf b;
    int status;
    if (read_options(argc, argv, check_help, &file, &status))
        return status;
    if (config_read(file, NULL, 0, &c, &e)) {
        command_error("%s", e.text);
        return COMMAND_FAILED;
    }
    buf_init(&b, TEXT_BYTES);
    buf_addf(&b, "The configuration is good: %s, %zu model%s, %zu backend%s.\n", c->listen,
             c->n_models, c->n_models == 1 ? "" : "s", c->n_backends,
             c->n_backends == 1 ? "" : "s");
    write_warnings(c, &b);
    config_free(c);
    return print(&b);
}

static int config_print(int argc, char **argv)
{
    const char *file;
    struct config *c;
    struct error e;
    struct buf b;
    int status;
    if (read_options(argc, argv, show_help, &file, &status))
        return status;
    if (config_read(file, NULL, 0, &c, &e)) {
        command_error("%s", e.text);
        return COMMAND_FAILED;
    }
    buf_init(&b, TEXT_BYTES);
    config_show(c, &b);
    config_free(c);
    return print(&b);
}

static int config_print_example(int argc, char **argv)
{
    const char *file;
    struct buf b;
    int status;
    if (read_options(argc, argv, example_help, &file, &status))
        return status;
    buf_init(&b, TEXT_BYTES);
    config_example(&b);
    return print(&b);
}

int command_config(int argc, char **argv)
{
    static const struct command commands[] = {
        {"check", "[--config FILE]", "read the configuration and say what is wrong", config_check},
        {"show", "[--config FILE]", "print the configuration in force", config_print},
        {"example", "", "print a file with all defaults and their meaning", config_print_example},
    };
    return command_run("moongate config", commands, sizeof commands / sizeof commands[0], argc,
                       argv);
}
