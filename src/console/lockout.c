/*
 * Two tables of one kind. Rows stand in a list by the time of their last failure; those that wait
 * in another, so that a flood of strange addresses pushes out nobody who waits before all others
 * are gone. Rows are found by a keyed hash, which is all that is kept of an address.
 */
#include "console/lockout.h"

#include "base/clock.h"
#include "base/mem.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum { CHAINS = 4096, WHO_BYTES = 16, HASH_KEY_BYTES = 32 };

struct row {
    struct row *next; /* in its chain */
    TAILQ_ENTRY(row) by_time;
    unsigned char who[WHO_BYTES];
    int failures;
    bool waits; /* stands in the list of those who wait, or did */
    int64_t last_ms, until_ms;
};

TAILQ_HEAD(row_list, row);

struct table {
    int tries;
    size_t n;
    struct row_list free, waiting; /* quiet longest first */
    struct row *chains[CHAINS];
};

struct lockout {
    struct lockout_settings settings;
    unsigned char hash_key[HASH_KEY_BYTES];
    struct table accounts, networks;
};

static void name_who(const struct lockout *l, const void *bytes, size_t n,
                     unsigned char who[WHO_BYTES])
{
    crypto_generichash(who, WHO_BYTES, bytes, n, l->hash_key, sizeof l->hash_key);
}

static struct row **chain_of(struct table *t, const unsigned char who[WHO_BYTES])
{
    return &t->chains[((size_t)who[0] << 8 | who[1]) % CHAINS];
}

static struct row_list *list_of(struct table *t, const struct row *r)
{
    return r->waits ? &t->waiting : &t->free;
}

static void remove_row(struct table *t, struct row *r)
{
    struct row **at = chain_of(t, r->who);
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    TAILQ_REMOVE(list_of(t, r), r, by_time);
    t->n--;
    free(r);
}

static bool is_forgotten(const struct lockout *l, const struct row *r, int64_t now_ms)
{
    int64_t from_ms = r->until_ms > r->last_ms ? r->until_ms : r->last_ms;
    return r->failures <= 0 || now_ms - from_ms >= l->settings.forget_ms;
}

/* The row, if it counts still. */
static struct row *find_row(struct lockout *l, struct table *t, const unsigned char who[WHO_BYTES],
                            int64_t now_ms)
{
    struct row *r = *chain_of(t, who);
    while (r && memcmp(r->who, who, WHO_BYTES) != 0)
        r = r->next;
    if (r && is_forgotten(l, r, now_ms)) {
        remove_row(t, r);
        r = NULL;
    }
    return r;
}

static void make_room(const struct lockout *l, struct table *t, int64_t now_ms)
{
    struct row *oldest[2] = {TAILQ_FIRST(&t->free), TAILQ_FIRST(&t->waiting)};
    for (int i = 0; i < 2; i++) {
        if (oldest[i] && is_forgotten(l, oldest[i], now_ms))
            remove_row(t, oldest[i]);
    }
    if (t->n < l->settings.max_rows)
        return;
    struct row *first = TAILQ_FIRST(&t->free);
    remove_row(t, first ? first : TAILQ_FIRST(&t->waiting));
}

static struct row *add_row(struct lockout *l, struct table *t, const unsigned char who[WHO_BYTES],
                           int64_t now_ms)
{
    make_room(l, t, now_ms);
    struct row *r = mem_zalloc(sizeof *r), **chain = chain_of(t, who);
    memcpy(r->who, who, WHO_BYTES);
    r->next = *chain;
    *chain = r;
    TAILQ_INSERT_TAIL(&t->free, r, by_time);
    t->n++;
    return r;
}

static int64_t wait_after(const struct lockout *l, const struct table *t, int failures)
{
    int64_t ms = l->settings.first_ms;
    for (int i = t->tries; i < failures && ms < l->settings.longest_ms; i++)
        ms *= 2;
    return ms < l->settings.longest_ms ? ms : l->settings.longest_ms;
}

static void count_failure(struct lockout *l, struct table *t, const unsigned char who[WHO_BYTES],
                          int64_t now_ms)
{
    struct row *r = find_row(l, t, who, now_ms);
    if (!r)
        r = add_row(l, t, who, now_ms);
    TAILQ_REMOVE(list_of(t, r), r, by_time);
    if (r->failures < INT32_MAX)
        r->failures++;
    r->last_ms = now_ms;
    r->waits = r->failures >= t->tries;
    if (r->waits)
        r->until_ms = now_ms + wait_after(l, t, r->failures);
    TAILQ_INSERT_TAIL(list_of(t, r), r, by_time);
}

/* The wait that the try began is over with it: nobody began another meanwhile. */
static void take_back(struct lockout *l, struct table *t, const unsigned char who[WHO_BYTES],
                      int64_t now_ms, bool all)
{
    struct row *r = find_row(l, t, who, now_ms);
    if (!r)
        return;
    TAILQ_REMOVE(list_of(t, r), r, by_time);
    r->failures = all ? 0 : r->failures - 1;
    r->waits = r->failures >= t->tries;
    r->until_ms = 0;
    TAILQ_INSERT_TAIL(list_of(t, r), r, by_time);
    if (r->failures <= 0)
        remove_row(t, r);
}

static int64_t wait_of(struct lockout *l, struct table *t, const unsigned char who[WHO_BYTES],
                       int64_t now_ms)
{
    const struct row *r = find_row(l, t, who, now_ms);
    return r && r->until_ms > now_ms ? r->until_ms - now_ms : 0;
}

bool lockout_try(struct lockout *l, const char *identity, uint64_t network, int64_t now_ms,
                 int64_t *wait_ms)
{
    unsigned char account_who[WHO_BYTES], network_who[WHO_BYTES];
    name_who(l, identity, strlen(identity), account_who);
    name_who(l, &network, sizeof network, network_who);
    int64_t account_ms = wait_of(l, &l->accounts, account_who, now_ms);
    int64_t network_ms = wait_of(l, &l->networks, network_who, now_ms);
    *wait_ms = account_ms > network_ms ? account_ms : network_ms;
    if (*wait_ms > 0)
        return false;
    count_failure(l, &l->accounts, account_who, now_ms);
    count_failure(l, &l->networks, network_who, now_ms);
    return true;
}

static void end_try(struct lockout *l, const char *identity, uint64_t network, int64_t now_ms,
                    bool passed)
{
    unsigned char who[WHO_BYTES];
    name_who(l, identity, strlen(identity), who);
    take_back(l, &l->accounts, who, now_ms, passed);
    name_who(l, &network, sizeof network, who);
    take_back(l, &l->networks, who, now_ms, false);
}

void lockout_passed(struct lockout *l, const char *identity, uint64_t network, int64_t now_ms)
{
    end_try(l, identity, network, now_ms, true);
}

void lockout_undone(struct lockout *l, const char *identity, uint64_t network, int64_t now_ms)
{
    end_try(l, identity, network, now_ms, false);
}

struct lockout *lockout_new(const struct lockout_settings *settings)
{
    struct lockout *l = mem_zalloc(sizeof *l);
    l->settings = *settings;
    l->accounts.tries = settings->account_tries;
    l->networks.tries = settings->network_tries;
    TAILQ_INIT(&l->accounts.free);
    TAILQ_INIT(&l->accounts.waiting);
    TAILQ_INIT(&l->networks.free);
    TAILQ_INIT(&l->networks.waiting);
    random_bytes(l->hash_key, sizeof l->hash_key);
    return l;
}

static void free_rows(struct table *t)
{
    while (!TAILQ_EMPTY(&t->free))
        remove_row(t, TAILQ_FIRST(&t->free));
    while (!TAILQ_EMPTY(&t->waiting))
        remove_row(t, TAILQ_FIRST(&t->waiting));
}

void lockout_free(struct lockout *l)
{
    if (!l)
        return;
    free_rows(&l->accounts);
    free_rows(&l->networks);
    free(l);
}

size_t lockout_rows(const struct lockout *l)
{
    return l->accounts.n + l->networks.n;
}
