/*
 * A copy of a SQLite database while others use it. The schema is not looked at: a copy before an
 * upgrade is worth the most.
 */
#include "store/transfer.h"

#include "base/clock.h"
#include "base/mem.h"
#include "store/db.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RANDOM_DIGITS = 12 };

/* A file with a log beside it is a database in use: the log would be taken for the copy's. */
static int check_place(const struct db *d, const char *path, struct error *e)
{
    static const char *const suffixes[] = {"-wal", "-journal"};
    struct stat is, to;
    if (stat(db_name(d), &is) == 0 && stat(path, &to) == 0 && is.st_dev == to.st_dev &&
        is.st_ino == to.st_ino)
        return error_set(e, ERR_INVALID, "%s: is the database itself", path);
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        size_t bytes = strlen(path) + strlen(suffixes[i]) + 1;
        char *name = mem_alloc(bytes);
        snprintf(name, bytes, "%s%s", path, suffixes[i]);
        bool there = access(name, F_OK) == 0;
        free(name);
        if (there)
            return error_set(e, ERR_EXISTS, "%s: is a database in use: there is a %s beside it",
                             path, suffixes[i]);
    }
    return 0;
}

/* The name is on disk, too, when this returns. */
static int put_in_place(const char *from, const char *path, struct error *e)
{
    const char *slash = strrchr(path, '/');
    char *dir =
        slash ? mem_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : mem_strdup(".");
    int rc = 0;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || rename(from, path) != 0 || fsync(fd) != 0)
        rc = error_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(dir);
    return rc;
}

int store_backup(const char *url, const char *path, struct error *e)
{
    char digits[RANDOM_DIGITS + 1];
    struct db *d;
    int rc = db_open(url, false, &d, e);
    if (rc)
        return rc;
    random_hex(digits, RANDOM_DIGITS);
    size_t bytes = strlen(path) + sizeof ".part-" + RANDOM_DIGITS;
    char *part = mem_alloc(bytes);
    snprintf(part, bytes, "%s.part-%s", path, digits);
    if (db_kind(d) == DB_SQLITE)
        rc = check_place(d, path, e);
    if (rc == 0)
        rc = db_copy_file(d, part, e);
    if (rc == 0) {
        rc = put_in_place(part, path, e);
        if (rc)
            unlink(part);
    }
    free(part);
    db_close(d);
    return rc;
}
