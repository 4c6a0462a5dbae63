/*
 * See sampler.h. Nothing here sorts: tokens more than 20 temperatures below the best are dropped
 * first (each has less than e^-20 of its weight), and top_k and top_p, which both keep a prefix
 * of the tokens by falling logit (the lowest id first among equals), find that prefix's last
 * token by partitioning. Then the draw walks the survivors in the order of their ids.
 *
 * Weights are exp((logit - best) / temperature), in double. A logit that is not a number counts
 * as minus infinity, and the infinities as the largest floats, so that a broken model gives
 * nonsense, never a crash.
 */
#include "engine/sampler.h"

#include "engine/philox.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GREEDY_TEMPERATURE 1e-5f
#define CUT_TEMPERATURES   20.0
#define LOGPROB_OF_NOTHING (-9999.0f)

struct candidate {
    double weight;
    float logit;
    int32_t id;
};

struct sampler {
    struct engine_sampling settings; /* its bias list is ours */
    struct engine_bias *bias;
    uint32_t choice;
    int vocabulary;
    uint64_t position; /* tokens picked so far */
    uint32_t *counts;  /* of each id; NULL if no penalty asks for it */
    int32_t *seen;     /* the ids that have a count */
    size_t n_seen, cap_seen;
    struct candidate *candidates, *work; /* grown to what a step needed */
    size_t n_candidates, cap_candidates;
};

struct sampler *sampler_new(const struct engine_sampling *s, int choice, int vocabulary)
{
    struct sampler *out = mem_zalloc(sizeof *out);
    size_t n = 0;

    out->settings = *s;
    out->choice = (uint32_t)choice;
    out->vocabulary = vocabulary;
    out->bias = mem_array(s->n_bias + 1, sizeof *out->bias);
    for (size_t i = 0; i < s->n_bias; i++)
        if (s->bias[i].token >= 0 && s->bias[i].token < vocabulary)
            out->bias[n++] = s->bias[i];
    out->settings.bias = out->bias;
    out->settings.n_bias = n;
    if (s->presence_penalty != 0 || s->frequency_penalty != 0)
        out->counts = mem_array((size_t)vocabulary, sizeof *out->counts);
    return out;
}

void sampler_free(struct sampler *s)
{
    if (!s)
        return;
    free(s->bias);
    free(s->counts);
    free(s->seen);
    free(s->candidates);
    free(s->work);
    free(s);
}

static float finite_logit(float z)
{
    if (z > FLT_MAX)
        return FLT_MAX;
    return z >= -FLT_MAX ? z : -FLT_MAX;
}

static void add_biases(const struct sampler *s, float *logits)
{
    for (size_t i = 0; i < s->settings.n_bias; i++)
        logits[s->bias[i].token] += s->bias[i].bias;
}

static void subtract_penalties(const struct sampler *s, float *logits)
{
    for (size_t i = 0; i < s->n_seen; i++)
        logits[s->seen[i]] -= s->settings.presence_penalty +
                              s->settings.frequency_penalty * (float)s->counts[s->seen[i]];
}

static void count(struct sampler *s, int32_t id)
{
    s->position++;
    if (!s->counts || s->counts[id]++ > 0)
        return;
    if (s->n_seen == s->cap_seen) {
        s->cap_seen = s->cap_seen ? s->cap_seen * 2 : 64;
        s->seen = mem_realloc(s->seen, s->cap_seen * sizeof *s->seen);
    }
    s->seen[s->n_seen++] = id;
}

static int32_t most_likely(const float *logits, int n)
{
    int32_t best = 0;

    for (int32_t i = 1; i < n; i++)
        if (finite_logit(logits[i]) > finite_logit(logits[best]))
            best = i;
    return best;
}

static void add_candidate(struct sampler *s, struct candidate c)
{
    if (s->n_candidates == s->cap_candidates) {
        s->cap_candidates = s->cap_candidates ? s->cap_candidates * 2 : 256;
        s->candidates = mem_realloc(s->candidates, s->cap_candidates * sizeof *s->candidates);
        s->work = mem_realloc(s->work, s->cap_candidates * sizeof *s->work);
    }
    s->candidates[s->n_candidates++] = c;
}

/* Gathers the candidates by rising id. */
static void gather(struct sampler *s, const float *logits)
{
    double best = finite_logit(logits[most_likely(logits, s->vocabulary)]);
    double t = s->settings.temperature;

    s->n_candidates = 0;
    for (int32_t i = 0; i < s->vocabulary; i++) {
        double z = finite_logit(logits[i]);
        if (z < best - CUT_TEMPERATURES * t)
            continue;
        add_candidate(s, (struct candidate){exp((z - best) / t), (float)z, i});
    }
}

/* Falling logit, then rising id: no two are equal. */
static bool comes_before(const struct candidate *a, const struct candidate *b)
{
    return a->logit != b->logit ? a->logit > b->logit : a->id < b->id;
}

static void swap(struct candidate *a, struct candidate *b)
{
    struct candidate c = *a;

    *a = *b;
    *b = c;
}

/* Partitions w[lo..hi) around one of it, returns where that one ended up. */
static size_t partition(struct candidate *w, size_t lo, size_t hi)
{
    size_t middle = lo + (hi - lo) / 2, at = lo;

    if (comes_before(&w[middle], &w[lo]))
        swap(&w[middle], &w[lo]);
    if (comes_before(&w[hi - 1], &w[lo]))
        swap(&w[hi - 1], &w[lo]);
    if (comes_before(&w[hi - 1], &w[middle]))
        swap(&w[hi - 1], &w[middle]);
    swap(&w[middle], &w[hi - 1]);
    for (size_t i = lo; i + 1 < hi; i++)
        if (comes_before(&w[i], &w[hi - 1]))
            swap(&w[i], &w[at++]);
    swap(&w[at], &w[hi - 1]);
    return at;
}

/* The last token of the shortest prefix that has `count` tokens or the weight `mass`, whichever
 * is shorter; at least one. */
static struct candidate prefix_end(struct candidate *w, size_t n, size_t max_count, double mass)
{
    size_t lo = 0, hi = n;

    while (hi - lo > 1) {
        size_t at = partition(w, lo, hi);
        double left = 0;
        for (size_t i = lo; i < at; i++)
            left += w[i].weight;
        if (at > lo && (at >= max_count || left >= mass)) {
            hi = at;
        } else if (at + 1 < hi && at + 1 < max_count && left + w[at].weight < mass) {
            mass -= left + w[at].weight;
            lo = at + 1;
        } else {
            return w[at];
        }
    }
    return w[lo];
}

static double total_weight(const struct sampler *s)
{
    double sum = 0;

    for (size_t i = 0; i < s->n_candidates; i++)
        sum += s->candidates[i].weight;
    return sum;
}

static void keep_prefix(struct sampler *s, size_t max_count, double mass)
{
    size_t n = 0;

    memcpy(s->work, s->candidates, s->n_candidates * sizeof *s->work);
    struct candidate end = prefix_end(s->work, s->n_candidates, max_count, mass);
    for (size_t i = 0; i < s->n_candidates; i++)
        if (!comes_before(&end, &s->candidates[i]))
            s->candidates[n++] = s->candidates[i];
    s->n_candidates = n;
}

static void keep_min_p(struct sampler *s, double min_p)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_candidates; i++)
        if (s->candidates[i].weight >= min_p) /* the best has weight 1 */
            s->candidates[n++] = s->candidates[i];
    s->n_candidates = n;
}

/* In [0, 1), from seed, choice and position alone. */
static double uniform(const struct sampler *s)
{
    uint32_t counter[4] = {(uint32_t)s->position, (uint32_t)(s->position >> 32), s->choice, 0};
    uint32_t key[2] = {(uint32_t)s->settings.seed, (uint32_t)(s->settings.seed >> 32)};
    uint32_t r[4];

    philox(counter, key, r);
    return (double)((uint64_t)r[0] << 21 ^ r[1] >> 11) * 0x1p-53;
}

static int32_t draw(const struct sampler *s)
{
    double left = uniform(s) * total_weight(s);
    size_t i = 0;

    for (; i + 1 < s->n_candidates; i++) {
        left -= s->candidates[i].weight;
        if (left < 0)
            break;
    }
    return s->candidates[i].id;
}

int32_t sampler_pick(struct sampler *s, float *logits)
{
    const struct engine_sampling *o = &s->settings;
    int32_t id;

    add_biases(s, logits);
    subtract_penalties(s, logits);
    if (o->temperature <= GREEDY_TEMPERATURE) {
        id = most_likely(logits, s->vocabulary);
    } else {
        gather(s, logits);
        if (o->top_k > 0 && (size_t)o->top_k < s->n_candidates)
            keep_prefix(s, (size_t)o->top_k, INFINITY);
        if (o->top_p < 1)
            keep_prefix(s, s->n_candidates, o->top_p * total_weight(s));
        if (o->min_p > 0)
            keep_min_p(s, fmin(o->min_p, 1));
        id = draw(s);
    }
    count(s, id);
    return id;
}

/* Puts a token into the list of the best, which is sorted; `n` are there. */
static void enter_top(const float *logits, int32_t id, int n, int n_top, int32_t *top)
{
    int at = n < n_top ? n : n_top - 1;

    if (n == n_top && finite_logit(logits[top[at]]) >= finite_logit(logits[id]))
        return;
    for (; at > 0 && finite_logit(logits[top[at - 1]]) < finite_logit(logits[id]); at--)
        top[at] = top[at - 1];
    top[at] = id;
}

float sampler_logprobs(const float *logits, int vocabulary, int32_t token, int n_top,
                       int32_t *top_ids, float *top_logprobs)
{
    double best = finite_logit(logits[most_likely(logits, vocabulary)]), sum = 0;

    for (int32_t i = 0; i < vocabulary; i++) {
        sum += exp(finite_logit(logits[i]) - best);
        if (n_top > 0)
            enter_top(logits, i, i < n_top ? i : n_top, n_top, top_ids);
    }
    double normal = best + log(sum);
    for (int i = 0; i < n_top; i++)
        top_logprobs[i] = i < vocabulary ? fmaxf((float)(finite_logit(logits[top_ids[i]]) - normal),
                                                 LOGPROB_OF_NOTHING)
                                         : LOGPROB_OF_NOTHING;
    return fmaxf((float)(finite_logit(logits[token]) - normal), LOGPROB_OF_NOTHING);
}
