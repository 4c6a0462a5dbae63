/*
 * The commands of the program, a row each in main.c. A command gets its own arguments (argv[0]
 * is its name) and returns the exit status: 0, 1 for a failure, 2 for wrong usage. Main thread.
 */
#ifndef MOONGATE_COMMAND_H
#define MOONGATE_COMMAND_H

struct command {
    const char *name;
    const char *help; /* one line */
    int (*run)(int argc, char **argv);
};

int command_serve(int argc, char **argv);
int command_key(int argc, char **argv);    /* create, list, revoke */
int command_model(int argc, char **argv);  /* list, inspect */
int command_config(int argc, char **argv); /* check, show, example */

#endif
