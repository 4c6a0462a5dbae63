/*
 * Weighted rendezvous hashing: of each source and the key a number u in (0,1) is made, and the
 * source with the greatest -weight / ln(u) wins, which it does in proportion to its weight. A
 * source that goes or comes moves only its own conversations. The load bound lets a source that is
 * busier than its share pass a conversation to the next in the same order, so that a popular one
 * does not heap up, and comes home when the load has gone.
 */
#include "backend/choice.h"

#include <math.h>
#include <string.h>

/* --- hashing --- */

/* The finishing steps of MurmurHash3: every bit of the input changes half of those of the output.
 */
static uint64_t mix(uint64_t h)
{
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

static uint64_t add_word(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

/* Eight bytes a step; the length goes in too, so that no two splits of a text are the same. */
static uint64_t add_bytes(uint64_t h, const char *bytes, size_t n)
{
    uint64_t word;
    size_t i = 0;
    for (; i + sizeof word <= n; i += sizeof word) {
        memcpy(&word, bytes + i, sizeof word);
        h = add_word(h, word);
    }
    word = 0;
    if (i < n)
        memcpy(&word, bytes + i, n - i);
    return add_word(add_word(h, word), n);
}

uint64_t choice_hash(const char *name)
{
    return mix(add_bytes(0, name, strlen(name)));
}

uint64_t choice_key(const char *model, const struct api_request *r)
{
    uint64_t h = add_bytes(0, model, strlen(model));
    size_t left = CHOICE_KEY_BYTES;
    for (size_t i = 0; i < r->n_messages && left > 0; i++) {
        const struct api_message *m = &r->messages[i];
        size_t n = m->content.len < left ? m->content.len : left;
        h = add_word(h, (uint64_t)m->role);
        h = add_bytes(h, m->content.data, n);
        left -= n;
        if (m->role == API_USER)
            break;
    }
    return mix(h);
}

/* --- the choice --- */

struct share { /* of the class */
    int priority;
    int64_t weights, running;
};

static bool can_take(const struct candidate *c)
{
    return c->healthy && c->room;
}

static bool find_class(const struct candidate *c, size_t n, struct share *out)
{
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        if (!can_take(&c[i]) || (found && c[i].priority >= out->priority))
            continue;
        out->priority = c[i].priority;
        found = true;
    }
    return found;
}

static double score(const struct candidate *c, uint64_t key)
{
    uint64_t h = mix(key ^ c->hash);
    double u = ((double)(h >> 11) + 0.5) * 0x1p-53;
    return -(double)c->weight / log(u);
}

/* What a source may run at most while conversations are to stay with it. */
static int64_t load_bound(const struct candidate *c, const struct share *s, int load_percent)
{
    int64_t whole = 100 * s->weights;
    return ((int64_t)load_percent * (s->running + 1) * c->weight + whole - 1) / whole;
}

/* The first in the key's order that is below its bound, or else the first that has room. */
static int pick_by_key(const struct candidate *c, size_t n, const struct choice_by *by,
                       struct share *s)
{
    int best = -1, spare = -1;
    double best_score = 0, spare_score = 0;
    for (size_t i = 0; i < n; i++) {
        if (c[i].priority != s->priority || !c[i].healthy)
            continue;
        s->weights += c[i].weight;
        s->running += c[i].running;
    }
    for (size_t i = 0; i < n; i++) {
        if (c[i].priority != s->priority || !can_take(&c[i]))
            continue;
        double now = score(&c[i], by->key);
        if (spare < 0 || now > spare_score) {
            spare = (int)i;
            spare_score = now;
        }
        if (c[i].running < load_bound(&c[i], s, by->load_percent) &&
            (best < 0 || now > best_score)) {
            best = (int)i;
            best_score = now;
        }
    }
    return best >= 0 ? best : spare;
}

static int pick_by_draw(const struct candidate *c, size_t n, uint64_t draw, struct share *s)
{
    int last = -1;
    for (size_t i = 0; i < n; i++)
        if (c[i].priority == s->priority && can_take(&c[i]))
            s->weights += c[i].weight;
    int64_t at = (int64_t)((double)(draw >> 11) * 0x1p-53 * (double)s->weights);
    for (size_t i = 0; i < n; i++) {
        if (c[i].priority != s->priority || !can_take(&c[i]))
            continue;
        last = (int)i;
        at -= c[i].weight;
        if (at < 0)
            break;
    }
    return last;
}

int choice_pick(const struct candidate *c, size_t n, const struct choice_by *by)
{
    struct share s = {0};
    if (!find_class(c, n, &s))
        return -1;
    return by->affinity ? pick_by_key(c, n, by, &s) : pick_by_draw(c, n, by->key, &s);
}
