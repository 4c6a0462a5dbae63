/*
 * What the commands have in common: choosing one by name, its help, and how a mistake is said.
 */
#include "command.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void command_error(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("moongate: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}

static void write_list(FILE *out, const char *group, const struct command *commands, unsigned n)
{
    fprintf(out, "Usage: %s COMMAND [OPTION]...\n\n", group);
    for (unsigned i = 0; i < n; i++)
        fprintf(out, "  %s %s\n      %s\n", commands[i].name, commands[i].usage, commands[i].help);
    fprintf(out, "\n`%s COMMAND --help` tells more.\n", group);
}

int command_run(const char *group, const struct command *commands, unsigned n, int argc,
                char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        write_list(stdout, group, commands, n);
        return COMMAND_GOOD;
    }
    for (unsigned i = 0; i < n; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    if (*name)
        command_error("there is no command %s of %s", name, group);
    write_list(stderr, group, commands, n);
    return COMMAND_USAGE;
}
