/*
 * What keeps the books in order beside the calls: holds whose deadline is over are freed, grants
 * whose time is over lose their rest, sessions and links that are over go, days of calls past the
 * retention are dropped. Each chore is a job for the writer, at its own pace; one that finds much
 * to do comes again soon, so that none holds the writer up for long.
 *
 * Several processes on one PostgreSQL all do them: each chore takes what it finds under a lock, so
 * nothing is done twice.
 */
#include "serve_store.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/accounts.h"
#include "store/applications.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>

enum { SECOND_MS = 1000, MINUTE_MS = 60000, AT_ONCE = 200, SOON_MS = 50, WATCH_MS = 250 };
#define DAY_MS INT64_C(86400000)

enum { CHORE_HOLDS, CHORE_GRANTS, CHORE_SESSIONS, CHORE_DAYS, N_CHORES };

struct chore {
    struct chores *chores;
    struct event *timer;
    int which;
    bool waiting; /* its job is with the store */
};

struct chores {
    struct app *app;
    struct chore list[N_CHORES];
    struct event *watch; /* looks whether the store is there */
    bool told_away;
};

struct chore_job {
    struct store_job job;
    int64_t now_ms, first_day;
    int64_t n; /* done */
};

/* --- the store's thread --- */

static int free_holds(struct store *s, struct store_job *job, struct error *e)
{
    struct chore_job *j = (struct chore_job *)job;
    return ledger_sweep(s, j->now_ms, AT_ONCE, &j->n, e);
}

static int end_grants(struct store *s, struct store_job *job, struct error *e)
{
    struct chore_job *j = (struct chore_job *)job;
    return store_grants_expire(s, j->now_ms, AT_ONCE, &j->n, e);
}

static int forget_sessions(struct store *s, struct store_job *job, struct error *e)
{
    return store_accounts_sweep(s, ((struct chore_job *)job)->now_ms, e);
}

static int drop_days(struct store *s, struct store_job *job, struct error *e)
{
    struct chore_job *j = (struct chore_job *)job;
    return j->first_day ? ledger_days_drop(s, j->first_day, &j->n, e) : 0;
}

static const struct {
    const char *what; /* said of `n` */
    store_work_fn *work;
    int every_ms;
} kinds[N_CHORES] = {
    [CHORE_HOLDS] = {"holds past their deadline were given back", free_holds, 5 * SECOND_MS},
    [CHORE_GRANTS] = {"grants have expired", end_grants, 10 * SECOND_MS},
    [CHORE_SESSIONS] = {NULL, forget_sessions, 10 * MINUTE_MS},
    [CHORE_DAYS] = {"days of calls were dropped", drop_days, 10 * MINUTE_MS},
};

/* --- the loop --- */

static void arm(struct chore *c, int ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
    evtimer_add(c->timer, &tv);
}

static void on_done(void *owner, struct store_job *job)
{
    const struct chore_job *j = (const struct chore_job *)job;
    struct chore *c = owner;
    c->waiting = false;
    if (job->code)
        log_line(LOG_WARN_LEVEL, "chores", "put off: %s", job->text);
    else if (j->n > 0 && kinds[c->which].what)
        log_line(LOG_INFO_LEVEL, "chores", "%" PRId64 " %s", j->n, kinds[c->which].what);
    arm(c, job->code == 0 && j->n >= AT_ONCE ? SOON_MS : kinds[c->which].every_ms);
    free(job);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    struct chore *c = arg;
    struct app *app = c->chores->app;
    int days = app->snapshot->config->store.retention_days;
    struct chore_job *j = mem_zalloc(sizeof *j);
    (void)fd;
    (void)what;
    j->job = (struct store_job){.work = kinds[c->which].work, .done = on_done, .owner = c};
    j->now_ms = clock_unix_ms();
    j->first_day = days ? ledger_day(j->now_ms - days * DAY_MS) : 0;
    c->waiting = store_ask(app->store, &j->job) == 0;
    if (!c->waiting) {
        free(j);
        arm(c, kinds[c->which].every_ms);
    }
}

/* That the store is away, and that it is back, is said once each, not for every call. */
static void on_watch(evutil_socket_t fd, short what, void *arg)
{
    struct chores *chores = arg;
    bool away = !store_is_up(chores->app->store);
    (void)fd;
    (void)what;
    if (away == chores->told_away)
        return;
    chores->told_away = away;
    if (away)
        log_line(LOG_ERROR_LEVEL, "store", "it is away: new calls are refused");
    else
        log_line(LOG_WARN_LEVEL, "store", "it is back");
}

struct chores *chores_new(struct app *app)
{
    const struct timeval every = {.tv_usec = WATCH_MS * 1000};
    struct chores *chores = mem_zalloc(sizeof *chores);
    chores->app = app;
    chores->watch = event_new(app->base, -1, EV_PERSIST, on_watch, chores);
    event_add(chores->watch, &every);
    for (int i = 0; i < N_CHORES; i++) {
        struct chore *c = &chores->list[i];
        c->chores = chores;
        c->which = i;
        c->timer = evtimer_new(app->base, on_time, c);
        arm(c, SOON_MS);
    }
    return chores;
}

void chores_free(struct chores *chores)
{
    if (!chores)
        return;
    for (int i = 0; i < N_CHORES; i++)
        event_free(chores->list[i].timer);
    event_free(chores->watch);
    free(chores);
}
