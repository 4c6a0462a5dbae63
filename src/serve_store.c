/*
 * See serve_store.h.
 *
 * A SQLite database is served by one process: a lock on a file beside it (moongate.db.lock) says
 * so, and a second `serve` is told. That is also why the holds which are found at the start are
 * nobody's any more. PostgreSQL is served by several; there only a hold's deadline tells.
 */
#include "serve_store.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { CONSOLE_REQUESTS = 256, LOCKOUT_ROWS = 65536, DAY_MS = 86400000 };

/* --- the lock --- */

static int lock_database(struct app *app, const char *url, struct error *e)
{
    const char *path = url + strlen("sqlite:");
    size_t n = strlen(path) + sizeof ".lock";
    char *lock = mem_alloc(n);
    snprintf(lock, n, "%s.lock", path);
    int rc = 0;
    app->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (app->lock_fd < 0)
        rc = error_set(e, ERR_IO, "%s: %s", lock, strerror(errno));
    else if (flock(app->lock_fd, LOCK_EX | LOCK_NB) != 0)
        rc = error_set(e, ERR_BUSY,
                       "%s: another moongate serves from this database; stop it, or give this one "
                       "another --data (several processes can share a PostgreSQL)",
                       path);
    free(lock);
    return rc;
}

/* --- the store --- */

static int release_old_holds(struct store *s, struct error *e)
{
    int64_t n = 0;
    int rc = store_begin(s, STORE_WRITE, e);
    if (rc == 0)
        rc = ledger_release_all(s, &n, e);
    if (rc == 0)
        rc = store_commit(s, e);
    if (rc)
        store_rollback(s);
    else if (n > 0)
        log_line(LOG_WARN_LEVEL, "ledger",
                 "%" PRId64 " holds of an earlier run that ended suddenly were given back", n);
    return rc;
}

static int prepare_store(struct app *app, const char *url,
                         void (*progress)(void *arg, const char *what, int percent), void *arg,
                         struct error *e)
{
    const struct config *c = app->snapshot->config;
    const struct store_options o = {.create = true,
                                    .migrate = true,
                                    .durable = c->store.durable,
                                    .progress = progress,
                                    .progress_arg = arg};
    struct store *s;
    int rc = store_open_url(url, &o, &s, e);
    if (rc)
        return rc;
    if (!store_is_shared(s)) {
        rc = lock_database(app, url, e);
        if (rc == 0)
            rc = release_old_holds(s, e);
    }
    if (rc == 0)
        rc = console_first_admin(s, c->accounts.admin, e);
    store_close(s);
    return rc;
}

static int open_threads(struct app *app, const char *url, struct error *e)
{
    const struct config *c = app->snapshot->config;
    const struct store_threads_options o = {.queue = (size_t)c->store.queue,
                                            .patience_ms = c->store.patience_ms};
    return store_threads_open(app->base, url, c->store.durable, &o, &app->store, e);
}

/* --- the limits --- */

static void on_redis(void *arg, bool reached, const char *why)
{
    const struct app *app = arg;
    if (reached)
        log_line(LOG_INFO_LEVEL, "limits", "Redis is reached");
    else
        log_line(LOG_WARN_LEVEL, "limits", "Redis is away (%s): %s", why,
                 app->snapshot->config->rates.away_refuse ? "calls are refused"
                                                          : "this process limits by itself");
}

static int open_rates(struct app *app, struct error *e)
{
    const struct config *c = app->snapshot->config;
    const struct rates_options o = {.max_rows = (size_t)c->rates.rows,
                                    .redis = c->rates.redis,
                                    .away =
                                        c->rates.away_refuse ? RATES_AWAY_REFUSE : RATES_AWAY_LOCAL,
                                    .timeout_ms = c->rates.timeout_ms,
                                    .on_note = on_redis};
    return rates_open(app->base, &o, call_on_said, app, &app->rates, e);
}

/* --- the console --- */

static void set_console(const struct app *app, struct console_options *o)
{
    const struct config *c = app->snapshot->config;
    *o = (struct console_options){
        .sign_up = (enum console_sign_up)c->accounts.sign_up,
        .secure = (enum console_secure)c->accounts.secure,
        .session = {.idle_ms = c->accounts.session_idle_ms, .whole_ms = c->accounts.session_max_ms},
        .lockout = {.account_tries = c->accounts.login_tries,
                    .network_tries = c->accounts.network_tries,
                    .first_ms = c->accounts.first_wait_ms,
                    .longest_ms = c->accounts.longest_wait_ms,
                    .forget_ms = DAY_MS,
                    .max_rows = LOCKOUT_ROWS},
        .email = {.plus_tags = c->quota.email_plus, .dots = c->quota.email_dots},
        .link_ms = c->accounts.link_ms,
        .public_url = c->accounts.public_url,
        .smtp_url = c->mail.smtp,
        .mail_from = c->mail.from,
        .oidc_issuer = c->oidc.issuer,
        .oidc_client_id = c->oidc.client_id,
        .oidc_secret = c->oidc.client_secret,
        .oidc_name = c->oidc.name,
        .free_micros = c->quota.free_micros,
        .free_ms = (int64_t)c->quota.free_days * DAY_MS,
        .free_per_network_day = c->quota.free_per_network_day,
        .keys_per_application = c->quota.keys,
        .write_models = page_write_models,
        .write_status = live_write_status,
        .write_served = live_write_models,
        .write_backends = live_write_backends,
        .write_calls = live_write_calls,
        .end_call = live_end_call,
        .arg = (void *)app,
        .requests = CONSOLE_REQUESTS};
}

static int open_console(struct app *app, struct error *e)
{
    struct console_options o;
    set_console(app, &o);
    return console_open(app->base, app->store, &o, &call_console, app, &app->console, e);
}

/* --- all --- */

int serve_store_open(struct app *app, void (*progress)(void *arg, const char *what, int percent),
                     void *progress_arg, struct error *e)
{
    const struct config *c = app->snapshot->config;
    char *url = store_url(c->store.url, c->data);
    int rc = prepare_store(app, url, progress, progress_arg, e);
    if (rc == 0)
        rc = open_threads(app, url, e);
    if (rc == 0)
        rc = gate_open(app->store, call_on_pass, app, &app->gate, e);
    if (rc == 0)
        rc = open_rates(app, e);
    if (rc == 0)
        rc = open_console(app, e);
    if (rc == 0)
        app->chores = chores_new(app);
    explicit_bzero(url, strlen(url));
    free(url);
    return rc;
}

void serve_store_set(struct app *app)
{
    struct console_options o;
    set_console(app, &o);
    console_set(app->console, &o);
    gate_set_cache(app->gate, app->snapshot->config->key_cache_ms);
}

void serve_store_close(struct app *app)
{
    chores_free(app->chores);
    console_close(app->console);
    gate_close(app->gate);
    rates_close(app->rates);
    store_threads_close(app->store);
    if (app->lock_fd >= 0)
        close(app->lock_fd);
}
