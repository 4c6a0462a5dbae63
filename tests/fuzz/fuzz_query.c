/* Query strings: what was decoded, encoded again, decodes to the same. The first byte is the room
 * for the value; the name that is asked for comes before the first '?'. */
#include "http/query.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds)
        abort();
}

static char *text(const uint8_t *data, size_t size)
{
    char *s = malloc(size + 1);
    memcpy(s, data, size);
    s[size] = '\0';
    return s;
}

static void append_escaped(char *to, const char *s)
{
    to += strlen(to);
    for (; *s != '\0'; s++)
        to += snprintf(to, 4, "%%%02X", (unsigned char)*s);
}

static void decodes_to(const char *name, const char *value, size_t room)
{
    char *query = calloc(1, strlen(name) * 3 + strlen(value) * 3 + 2), *out = malloc(room);
    append_escaped(query, name);
    query[strlen(query)] = '=';
    append_escaped(query, value);
    must(query_get(query, name, out, room) && strcmp(out, value) == 0);
    free(query);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *mark = size > 0 ? memchr(data + 1, '?', size - 1) : NULL;
    if (mark == NULL || mark == data + 1)
        return 0;
    size_t room = data[0];
    char *name = text(data + 1, (size_t)(mark - data - 1));
    char *query = text(mark + 1, size - (size_t)(mark + 1 - data));
    char *out = malloc(room + 1);
    bool good = query_get(query, name, out, room);
    must(room == 0 || good || out[0] == '\0');
    must(!good || (room > 0 && strlen(out) < room));
    if (name[0] != '\0' && good) {
        must(out[0] == '\0' || query_has(query, name));
        decodes_to(name, out, room);
    }
    free(out);
    free(query);
    free(name);
    return 0;
}
