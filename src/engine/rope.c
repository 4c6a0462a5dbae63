/*
 * Rotary positions: the frequency of each pair, with linear or YaRN scaling, and the rotation of
 * adjacent pairs (2i, 2i+1). Frequencies are computed in double and rounded once. Pure.
 * Source of the formulas: Peng et al., "YaRN" (arXiv 2309.00071), sections 3.2 to 3.4.
 */
#include "engine/model_private.h"

#include <math.h>

/* The pair (as a real number, in dimensions) that turns `beta` times over the original context. */
static double turning_dim(const struct rope_plan *plan, double base, int n, double beta)
{
    return n * log(plan->original_context / (2 * M_PI * beta)) / (2 * log(base));
}

void rope_frequencies(const struct rope_plan *plan, double base, int n, float *out)
{
    double low = 0, high = 0;

    if (plan->scaling == ROPE_YARN) {
        low = fmax(0, floor(turning_dim(plan, base, n, plan->beta_fast)));
        high = fmin(n - 1, ceil(turning_dim(plan, base, n, plan->beta_slow)));
    }
    for (int i = 0; i < n / 2; i++) {
        double w = pow(base, -2.0 * i / n), kept = 0;
        if (plan->scaling == ROPE_NONE)
            kept = 1;
        if (plan->scaling == ROPE_YARN)
            kept = 1 - fmin(1, fmax(0, (i - low) / fmax(0.001, high - low)));
        out[i] = (float)(w * kept + w / plan->factor * (1 - kept));
    }
}

double rope_magnitude(const struct rope_plan *plan)
{
    if (plan->scaling != ROPE_YARN)
        return 1;
    return 1 + plan->log_multiplier * log(plan->factor);
}

void rope_angles(const float *frequencies, int pairs, int position, float *cosines, float *sines)
{
    for (int i = 0; i < pairs; i++) {
        float angle = (float)position * frequencies[i];
        cosines[i] = cosf(angle);
        sines[i] = sinf(angle);
    }
}

void rope_rotate(float *x, int pairs, const float *cosines, const float *sines)
{
    for (int i = 0; i < pairs; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * cosines[i] - b * sines[i];
        x[2 * i + 1] = a * sines[i] + b * cosines[i];
    }
}
