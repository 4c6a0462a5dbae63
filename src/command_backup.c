/*
 * `moongate backup`: a copy of the database while it serves. PostgreSQL has a program of its own
 * for that, and is told how to call it.
 */
#include "command.h"
#include "command_open.h"

#include "base/buf.h"
#include "store/transfer.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "Usage: moongate backup [OPTION]... FILE\n"
    "Writes a consistent copy of a SQLite database to FILE, also while it serves. FILE is written\n"
    "under another name until it is whole, and can be read by its owner alone. To go back to it,\n"
    "stop `moongate serve`, put it in the place of moongate.db and remove moongate.db-wal and\n"
    "moongate.db-shm.\n\n" COMMAND_PLACE_HELP;

enum { LINE_BYTES = 16384 };

/* 0 to go on; else *status is the exit status. */
static int read_options(int argc, char **argv, struct command_place *place, int *status)
{
    static const struct option table[] = {{"data", required_argument, NULL, 'd'},
                                          {"store", required_argument, NULL, 's'},
                                          {"config", required_argument, NULL, 'c'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int c;
    memset(place, 0, sizeof *place);
    opterr = 0;
    while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1 && c != '?') {
        if (c == 'h') {
            fputs(help, stdout);
            *status = COMMAND_GOOD;
            return -1;
        }
        *(c == 'd' ? &place->data : c == 's' ? &place->store : &place->config) = optarg;
    }
    if (c == '?')
        command_error("backup takes no option %s, or it lacks its value", argv[optind - 1]);
    else if (argc - optind != 1 || !*argv[optind])
        command_error("backup needs the name of one file");
    else
        return 0;
    fputs("Try `moongate backup --help`.\n", stderr);
    *status = COMMAND_USAGE;
    return -1;
}

/* In single quotes, for a shell. */
static void add_quoted(struct buf *b, const char *text, size_t len)
{
    buf_addc(b, '\'');
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\'')
            buf_adds(b, "'\\''");
        else
            buf_addc(b, text[i]);
    }
    buf_addc(b, '\'');
}

/* The address without what is secret in it: between the user and the last @, and parameters of
 * such a name. */
static void add_address(struct buf *out, const char *url)
{
    const char *start = strstr(url, "://") + 3, *at = strrchr(start, '@');
    const char *colon = at ? memchr(start, ':', (size_t)(at - start)) : NULL;
    const char *rest = at ? at : start;
    struct buf b;
    buf_init(&b, LINE_BYTES);
    buf_add(&b, url, (size_t)((colon ? colon : rest) - url));
    size_t len = strcspn(rest, "?");
    buf_add(&b, rest, len);
    char mark = '?';
    for (rest += len; *rest; rest += len) {
        rest++;
        len = strcspn(rest, "&");
        if (!memmem(rest, len, "password", strlen("password"))) {
            buf_addc(&b, mark);
            buf_add(&b, rest, len);
            mark = '&';
        }
    }
    if (b.data)
        add_quoted(out, b.data, b.len);
    buf_done(&b);
}

static int tell_pg_dump(const char *url, const char *path)
{
    struct buf line;
    buf_init(&line, LINE_BYTES);
    buf_adds(&line, "pg_dump --format=custom --file=");
    add_quoted(&line, path, strlen(path));
    buf_adds(&line, " --dbname=");
    add_address(&line, url);
    command_error("PostgreSQL is copied by its own program:\n\n  %s\n\nand brought back with "
                  "pg_restore.",
                  line.data ? line.data : "pg_dump");
    buf_done(&line);
    return COMMAND_FAILED;
}

static bool is_postgres(const char *url)
{
    return strncmp(url, "postgres://", 11) == 0 || strncmp(url, "postgresql://", 13) == 0;
}

int command_backup(int argc, char **argv)
{
    struct command_place place;
    struct error e;
    char *url;
    int status;
    if (read_options(argc, argv, &place, &status))
        return status;
    const char *path = argv[optind];
    int rc = command_store_url(&place, &url, &e);
    if (rc == 0) {
        if (is_postgres(url)) {
            status = tell_pg_dump(url, path);
        } else {
            rc = store_backup(url, path, &e);
            status = COMMAND_GOOD;
        }
        explicit_bzero(url, strlen(url));
        free(url);
    }
    if (rc == 0)
        return status;
    command_error("%s", e.text);
    return COMMAND_FAILED;
}
