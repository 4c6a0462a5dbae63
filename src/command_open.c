/*
 * See command_open.h.
 */
#include "command_open.h"

#include "base/mem.h"
#include "base/usd.h"
#include "config.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_DAYS = 36500 };

int command_store_url(const struct command_place *p, char **out, struct error *e)
{
    struct config_override data = {.name = "data", .value = p->data};
    struct config *c;
    if (p->store) {
        *out = mem_strdup(p->store);
        return 0;
    }
    int rc = config_read(p->config, &data, p->data ? 1 : 0, &c, e);
    if (rc)
        return rc;
    *out = store_url(c->store.url, c->data);
    config_free(c);
    return 0;
}

int command_open_store(const struct command_place *p, bool create, struct store **out,
                       struct error *e)
{
    static const char sqlite[] = "sqlite:";
    const struct store_options o = {.create = create, .migrate = true, .durable = true};
    char *url;
    int rc = command_store_url(p, &url, e);
    if (rc)
        return rc;
    const char *path = url + sizeof sqlite - 1;
    if (!create && strncmp(url, sqlite, sizeof sqlite - 1) == 0 && access(path, F_OK) != 0)
        rc = error_set(e, ERR_NOT_FOUND,
                       "%s: %s; `moongate serve` or `moongate key create` makes it", path,
                       strerror(errno));
    else
        rc = store_open_url(url, &o, out, e);
    explicit_bzero(url, strlen(url));
    free(url);
    return rc;
}

int command_read_usd(const char *option, const char *text, int64_t *micros, struct error *e)
{
    if (usd_read(text, micros))
        return 0;
    return error_set(e, ERR_INVALID,
                     "%s: %.40s is not allowed; allowed: an amount in USD like 5 or 0.25", option,
                     text);
}

int command_read_expiry(const char *option, const char *text, int64_t now_ms, int64_t *out,
                        struct error *e)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].name) != 0 || end == text || errno || n < 1 ||
            n > MAX_DAYS * units[3].ms / units[i].ms)
            continue;
        *out = now_ms + n * units[i].ms;
        return 0;
    }
    return error_set(e, ERR_INVALID,
                     "%s: %.40s is not allowed; allowed: 1s to %dd (units: s, m, h, d)", option,
                     text, MAX_DAYS);
}
