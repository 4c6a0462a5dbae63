/*
 * `moongate store migrate`: moves everything from one database to another, of either kind.
 */
#include "command.h"

#include "base/clock.h"
#include "store/transfer.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char migrate_help[] =
    "Usage: moongate store migrate --from URL --to URL\n"
    "Moves everything from one store to another: sqlite:FILE or postgres://HOST/DATABASE. The\n"
    "target must be empty; it is filled in one transaction, so it holds all or nothing. The "
    "source\n"
    "is left as it is, but for its schema, which is brought up to date. Stop `moongate serve` "
    "first:\n"
    "what it writes meanwhile is not moved. Afterwards set `store.url` to the new address.\n\n"
    "  --from URL      where everything is\n"
    "  --to URL        where it is to go; a SQLite file is made, a PostgreSQL database is not\n\n"
    "Others on this machine see the addresses in the list of processes: leave passwords to\n"
    "~/.pgpass or PGPASSWORD.\n";

enum { QUIET_MS = 2000, BETWEEN_MS = 1000 };

struct options {
    const char *from, *to;
};

/* 0 to go on; else *status is the exit status. */
static int read_options(int argc, char **argv, struct options *o, int *status)
{
    static const struct option table[] = {{"from", required_argument, NULL, 'f'},
                                          {"to", required_argument, NULL, 't'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int c;
    memset(o, 0, sizeof *o);
    opterr = 0;
    while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1 && c != '?') {
        if (c == 'h') {
            fputs(migrate_help, stdout);
            *status = COMMAND_GOOD;
            return -1;
        }
        *(c == 'f' ? &o->from : &o->to) = optarg;
    }
    if (c == '?')
        command_error("store migrate takes no option %s, or it lacks its value", argv[optind - 1]);
    else if (optind < argc)
        command_error("store migrate takes no further arguments");
    else if (!o->from || !o->to)
        command_error("store migrate needs --from and --to");
    else
        return 0;
    fputs("Try `moongate store migrate --help`.\n", stderr);
    *status = COMMAND_USAGE;
    return -1;
}

/* What is done within two seconds needs no words. */
struct progress {
    int64_t next_ms;
};

static bool is_due(struct progress *p)
{
    int64_t now_ms = clock_mono_ms();
    if (now_ms < p->next_ms)
        return false;
    p->next_ms = now_ms + BETWEEN_MS;
    return true;
}

static void tell_rows(void *arg, const char *table, int64_t done, int64_t all)
{
    if (is_due(arg))
        fprintf(stderr, "moongate: moving %s: %lld of %lld rows, %d %%\n", table, (long long)done,
                (long long)all, (int)(all > 0 ? 100 * done / all : 100));
}

static void tell_schema(void *arg, const char *what, int percent)
{
    if (is_due(arg))
        fprintf(stderr, "moongate: %s: %d %%\n", what, percent);
}

static int move(const struct options *o, struct error *e)
{
    struct progress p = {.next_ms = clock_mono_ms() + QUIET_MS};
    struct store_options options = {
        .migrate = true, .durable = true, .progress = tell_schema, .progress_arg = &p};
    struct store_transfer t = {.progress = tell_rows, .arg = &p};
    struct store *from = NULL, *to = NULL;
    int rc = store_open_url(o->from, &options, &from, e);
    options.create = true;
    if (rc == 0)
        rc = store_open_url(o->to, &options, &to, e);
    if (rc == 0)
        rc = store_transfer(from, to, &t, e);
    if (rc == 0)
        fprintf(stderr, "moongate: %lld rows of %lld tables moved from %s to %s\n",
                (long long)t.rows, (long long)t.tables, store_name(from), store_name(to));
    store_close(from);
    store_close(to);
    return rc;
}

static int store_migrate(int argc, char **argv)
{
    struct options o;
    struct error e;
    int status;
    if (read_options(argc, argv, &o, &status))
        return status;
    if (move(&o, &e) == 0)
        return COMMAND_GOOD;
    command_error("%s", e.text);
    return COMMAND_FAILED;
}

int command_store(int argc, char **argv)
{
    static const struct command commands[] = {
        {"migrate", "--from URL --to URL", "move everything to another database", store_migrate},
    };
    return command_run("moongate store", commands, sizeof commands / sizeof commands[0], argc,
                       argv);
}
