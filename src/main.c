/*
 * The program's front door: a table of commands.
 */
#include "command.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

static const struct command commands[] = {
    {"serve", "[--data DIR] [--listen ADDR:PORT] [--gguf FILE]", "answer the API", command_serve},
    {"key", "create|list|revoke", "keys of the API", command_key},
    {"account", "create|list|grant|disable|enable|reset|token|invite", "people's accounts",
     command_account},
    {"store", "migrate", "move everything to another database", command_store},
    {"backup", "FILE", "copy the database while it serves", command_backup},
    {"ledger", "verify|export", "prove the books, copy the calls out", command_ledger},
    {"model", "list|inspect", "the configured models; what a GGUF file holds", command_model},
    {"config", "check|show|example", "the configuration", command_config},
};

int main(int argc, char **argv)
{
    if (sodium_init() < 0) {
        command_error("the system gives no random numbers");
        return COMMAND_FAILED;
    }
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        puts("moongate " MOONGATE_VERSION);
        return COMMAND_GOOD;
    }
    return command_run("moongate", commands, sizeof commands / sizeof *commands, argc, argv);
}
