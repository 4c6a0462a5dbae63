/*
 * The commands of the program: each reads its own arguments and returns the exit status. What a
 * command is asked for goes to standard output, everything else to standard error. Main thread.
 */
#ifndef MOONGATE_COMMAND_H
#define MOONGATE_COMMAND_H

enum { COMMAND_GOOD = 0, COMMAND_FAILED = 1, COMMAND_USAGE = 2 };

struct command {
    const char *name;                  /* "key" */
    const char *usage;                 /* "create|list|revoke", after the name */
    const char *help;                  /* one line */
    int (*run)(int argc, char **argv); /* argv[0] is the name */
};

int command_serve(int argc, char **argv);
int command_key(int argc, char **argv);     /* key create|list|revoke */
int command_account(int argc, char **argv); /* account create|list|grant|... */
int command_store(int argc, char **argv);   /* store migrate */
int command_backup(int argc, char **argv);  /* a copy of the database */
int command_ledger(int argc, char **argv);  /* ledger verify|export */
int command_config(int argc, char **argv);  /* config check|show|example */
int command_model(int argc, char **argv);   /* model list|inspect */

/* Finds argv[1] among the n commands of a group and runs it; --help and a missing or unknown name
 * print the list. `group` is "moongate key". */
int command_run(const char *group, const struct command *commands, unsigned n, int argc,
                char **argv);
/* Prints "moongate: TEXT" on standard error. */
void command_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
