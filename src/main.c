/*
 * The program's front door: a table of commands.
 */
#include "command.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

static const struct command commands[] = {
    {"serve", "answer the API", command_serve},
    {"key", "create, list and revoke keys", command_key},
    {"model", "list the configured models, inspect a GGUF file", command_model},
    {"config", "check, show or write out the configuration", command_config},
};
static const size_t n_commands = sizeof commands / sizeof *commands;

static void print_help(FILE *to)
{
    fputs("moongate " MOONGATE_VERSION ": the Kimi Chat Completion API on your own machine\n\n"
          "Usage: moongate COMMAND [OPTION]...\n\n",
          to);
    for (size_t i = 0; i < n_commands; i++)
        fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].help);
    fputs("\n`moongate COMMAND --help` tells more. A first try:\n"
          "  moongate key create --data ./data      prints a key, once\n"
          "  moongate serve --data ./data           listens on 127.0.0.1:8080\n",
          to);
}

int main(int argc, char **argv)
{
    if (sodium_init() < 0) {
        fputs("moongate: the system gives no random numbers\n", stderr);
        return 1;
    }
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("moongate " MOONGATE_VERSION);
        return 0;
    }
    for (size_t i = 0; i < n_commands; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "moongate: there is no command %s; `moongate --help` lists them\n", argv[1]);
    return 2;
}
