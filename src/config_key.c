/*
 * Keys of upstreams. What was read passes through a buffer on the stack that is wiped.
 *
 * A frequent mistake is the key itself in the place of the variable's or the file's name. Hence a
 * message names a variable only if it looks like one (capitals), a file only if it looks like a
 * path; the line in the configuration leads to both anyway.
 */
#include "config_key.h"

#include "config_form.h"
#include "config_option.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_BYTES = 4096 };

/* A line end at the end is cut, as editors and secret stores add one. `text` is len bytes. */
static int take(const char *text, size_t len, const char *where, struct arena *arena, char **out,
                struct error *e)
{
    const char *what = NULL;
    if (len > 0 && text[len - 1] == '\n')
        len--;
    if (len > 0 && text[len - 1] == '\r')
        len--;
    if (len == 0)
        what = "is empty; put the key there";
    else if (len > KEY_BYTES)
        what = "holds more than 4096 bytes; it has to be the key alone";
    else if (memchr(text, '\n', len))
        what = "holds more than one line; it has to be the key alone";
    if (what)
        return error_set(e, ERR_INVALID, "%s: %s", where, what);
    char *key = arena_strndup(arena, text, len);
    if (strlen(key) != len || !form_key(key)) {
        explicit_bzero(key, len);
        return error_set(e, ERR_INVALID,
                         "%s: holds a space or a character that is not ASCII; it has to be the "
                         "key alone",
                         where);
    }
    *out = key;
    return 0;
}

int config_key_env(const char *variable, const char *where, struct arena *arena, char **out,
                   struct error *e)
{
    const char *value = getenv(variable), *name = "that environment variable";
    char from[512];
    if (variable[strspn(variable, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")] == '\0')
        name = variable;
    if (!value)
        return error_set(e, ERR_INVALID,
                         "%s: %s is not set; set it where moongate starts, or name a file that "
                         "holds the key with key_file",
                         where, name);
    snprintf(from, sizeof from, "%s: %s", where, name);
    return take(value, strlen(value), from, arena, out, e);
}

static int refuse(int code, const char *file, const char *where, const char *what, struct error *e)
{
    char shown[OPTION_SHOWN_BYTES];
    bool path = *file == '/' || strncmp(file, "./", 2) == 0 || strncmp(file, "../", 3) == 0;
    return error_set(e, code, "%s: %s cannot be read: %s", where,
                     path ? option_shown(file, shown) : "that file", what);
}

/* Only a regular file: nothing that blocks, nothing that can be read but once. */
int config_key_file(const char *file, const char *where, struct arena *arena, char **out,
                    struct error *e)
{
    char bytes[KEY_BYTES + 3]; /* the key, its line end, and one that is too many */
    struct stat st;
    size_t len = 0;
    ssize_t n = 1;
    int rc, fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return refuse(errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, file, where, strerror(errno), e);
    if (fstat(fd, &st)) {
        rc = refuse(ERR_IO, file, where, strerror(errno), e);
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        rc = refuse(ERR_INVALID, file, where, "it is not a regular file", e);
        goto out;
    }
    while (len < sizeof bytes && n > 0) {
        n = read(fd, bytes + len, sizeof bytes - len);
        len += n > 0 ? (size_t)n : 0;
    }
    rc = n < 0 ? refuse(ERR_IO, file, where, strerror(errno), e)
               : take(bytes, len, where, arena, out, e);
    explicit_bzero(bytes, sizeof bytes);
out:
    close(fd);
    return rc;
}
