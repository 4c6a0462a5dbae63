/*
 * The fair queue. Turns are numbers that grow: a line gets the next one when it forms and, with
 * all lines of its owner, when the owner is served, and goes to its lane's tail. So lanes stay
 * sorted without ever being searched. Lanes, lines and owners live as long as somebody waits in
 * them.
 */
#include "backend/waiting.h"

#include "base/mem.h"

#include <stdlib.h>

enum { BUCKETS_FIRST = 64 };

struct waiting_owner {
    struct waiting_owner *next; /* in its bucket */
    uint64_t id;
    struct waiting_line *lines;
};

struct waiting_line {
    struct waiting_owner *owner;
    struct waiting_lane *lane;
    struct waiting_line *owner_next;  /* of the same owner */
    struct waiting_line *prev, *next; /* in its lane */
    struct waiting_item *first, *last;
    uint64_t turn;
};

struct waiting_lane {
    struct waiting_lane *prev, *next;
    struct waiting_key key;
    struct waiting_line *first, *last;
};

void waiting_init(struct waiting *w)
{
    *w = (struct waiting){.n_buckets = BUCKETS_FIRST};
    w->owners = mem_array(w->n_buckets, sizeof *w->owners);
}

/* --- owners --- */

static struct waiting_owner **bucket_of(const struct waiting *w, uint64_t id)
{
    return &w->owners[(id * 0x9e3779b97f4a7c15u >> 32) & (w->n_buckets - 1)];
}

static void grow_buckets(struct waiting *w)
{
    struct waiting_owner **old = w->owners, *o, *next;
    size_t n = w->n_buckets;
    w->n_buckets = 2 * n;
    w->owners = mem_array(w->n_buckets, sizeof *w->owners);
    for (size_t i = 0; i < n; i++) {
        for (o = old[i]; o; o = next) {
            struct waiting_owner **to = bucket_of(w, o->id);
            next = o->next;
            o->next = *to;
            *to = o;
        }
    }
    free(old);
}

static struct waiting_owner *find_owner(struct waiting *w, uint64_t id)
{
    struct waiting_owner *o = *bucket_of(w, id);
    while (o && o->id != id)
        o = o->next;
    if (o)
        return o;
    if (w->n_owners >= w->n_buckets)
        grow_buckets(w);
    struct waiting_owner **to = bucket_of(w, id);
    o = mem_zalloc(sizeof *o);
    o->id = id;
    o->next = *to;
    *to = o;
    w->n_owners++;
    return o;
}

static void drop_owner(struct waiting *w, struct waiting_owner *o)
{
    struct waiting_owner **at = bucket_of(w, o->id);
    while (*at != o)
        at = &(*at)->next;
    *at = o->next;
    w->n_owners--;
    free(o);
}

/* --- lanes --- */

static struct waiting_lane *find_lane(struct waiting *w, const struct waiting_key *key)
{
    struct waiting_lane *l = w->lanes;
    while (l &&
           (l->key.list != key->list || l->key.except != key->except || l->key.needs != key->needs))
        l = l->next;
    if (l)
        return l;
    l = mem_zalloc(sizeof *l);
    l->key = *key;
    l->next = w->lanes;
    if (l->next)
        l->next->prev = l;
    w->lanes = l;
    return l;
}

static void drop_lane(struct waiting *w, struct waiting_lane *l)
{
    if (l->next)
        l->next->prev = l->prev;
    if (l->prev)
        l->prev->next = l->next;
    else
        w->lanes = l->next;
    free(l);
}

/* --- lines --- */

static void leave_lane(struct waiting_line *l)
{
    struct waiting_lane *lane = l->lane;
    if (l->prev)
        l->prev->next = l->next;
    else
        lane->first = l->next;
    if (l->next)
        l->next->prev = l->prev;
    else
        lane->last = l->prev;
}

static void join_tail(struct waiting_line *l, uint64_t turn)
{
    struct waiting_lane *lane = l->lane;
    l->turn = turn;
    l->next = NULL;
    l->prev = lane->last;
    if (l->prev)
        l->prev->next = l;
    else
        lane->first = l;
    lane->last = l;
}

static struct waiting_line *find_line(struct waiting *w, struct waiting_owner *o,
                                      struct waiting_lane *lane)
{
    struct waiting_line *l = o->lines;
    while (l && l->lane != lane)
        l = l->owner_next;
    if (l)
        return l;
    l = mem_zalloc(sizeof *l);
    l->owner = o;
    l->lane = lane;
    l->owner_next = o->lines;
    o->lines = l;
    join_tail(l, ++w->turns);
    return l;
}

static void drop_line(struct waiting *w, struct waiting_line *l)
{
    struct waiting_line **at = &l->owner->lines;
    while (*at != l)
        at = &(*at)->owner_next;
    *at = l->owner_next;
    leave_lane(l);
    if (!l->owner->lines)
        drop_owner(w, l->owner);
    if (!l->lane->first)
        drop_lane(w, l->lane);
    free(l);
}

/* --- calls --- */

void waiting_add(struct waiting *w, struct waiting_item *item, uint64_t owner,
                 const struct waiting_key *key, size_t bytes)
{
    struct waiting_line *l = find_line(w, find_owner(w, owner), find_lane(w, key));
    item->line = l;
    item->bytes = bytes;
    item->arrival = ++w->arrivals;
    item->next = NULL;
    item->prev = l->last;
    if (l->last)
        l->last->next = item;
    else
        l->first = item;
    l->last = item;
    w->calls++;
    w->bytes += bytes;
}

void waiting_remove(struct waiting *w, struct waiting_item *item)
{
    struct waiting_line *l = item->line;
    if (!l)
        return;
    if (item->prev)
        item->prev->next = item->next;
    else
        l->first = item->next;
    if (item->next)
        item->next->prev = item->prev;
    else
        l->last = item->prev;
    w->calls--;
    w->bytes -= item->bytes;
    *item = (struct waiting_item){0};
    if (!l->first)
        drop_line(w, l);
}

void waiting_serve(struct waiting *w, struct waiting_item *item)
{
    uint64_t turn = ++w->turns;
    for (struct waiting_line *l = item->line->owner->lines; l; l = l->owner_next) {
        leave_lane(l);
        join_tail(l, turn);
    }
    waiting_remove(w, item);
}

/* Of two lines of one owner that had its turn in both, the older call goes first. */
static bool goes_before(const struct waiting_line *a, const struct waiting_line *b)
{
    if (a->turn != b->turn)
        return a->turn < b->turn;
    return a->first->arrival < b->first->arrival;
}

struct waiting_item *waiting_next(const struct waiting *w,
                                  bool (*fn)(void *arg, struct waiting_item *item), void *arg)
{
    const struct waiting_line *best = NULL;
    for (const struct waiting_lane *l = w->lanes; l; l = l->next)
        if ((!best || goes_before(l->first, best)) && fn(arg, l->first->first))
            best = l->first;
    return best ? best->first : NULL;
}

void waiting_done(struct waiting *w)
{
    while (w->lanes)
        waiting_remove(w, w->lanes->first->first);
    free(w->owners);
    *w = (struct waiting){0};
}
