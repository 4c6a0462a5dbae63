/*
 * Which kernel set this processor can run. The choice asks for every extension a set's file is
 * compiled with; __builtin_cpu_supports also asks whether the system saves the wide registers.
 */
#include "engine/kernels_impl.h"

#include <stdbool.h>
#include <stdio.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static bool always(void)
{
    return true;
}

#if defined(__x86_64__)
/* Clang 14 does not know this one by name. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

static bool has_avx512vnni(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512vnni");
}
#endif

/* Best first. */
static const struct {
    const struct kernels *set;
    bool (*runs)(void);
} sets[] = {
#if defined(__x86_64__)
    {&kernels_avx512vnni, has_avx512vnni},
    {&kernels_avx512, has_avx512},
    {&kernels_avx2, has_avx2},
#endif
    {&kernels_scalar, always},
};

enum { N_SETS = sizeof sets / sizeof *sets };

static void list_sets(char *out, size_t size)
{
    size_t len = 0;
    for (size_t i = 0; i < N_SETS && len < size; i++)
        if (sets[i].runs())
            len +=
                (size_t)snprintf(out + len, size - len, "%s%s", len ? ", " : "", sets[i].set->name);
}

int kernels_find(const char *name, const struct kernels **out, struct error *e)
{
    bool automatic = strcmp(name, "auto") == 0;
    for (size_t i = 0; i < N_SETS; i++) {
        if ((automatic || strcmp(name, sets[i].set->name) == 0) && sets[i].runs()) {
            *out = sets[i].set;
            return 0;
        }
    }
    char list[80];
    list_sets(list, sizeof list);
    return error_set(e, ERR_UNSUPPORTED, "kernels '%.40s' do not run here; this processor has: %s",
                     name, list);
}

size_t kernels_act_bytes(enum quant_act act, size_t n)
{
    if (act == QUANT_ACT_F32)
        return n * sizeof(float);
    return n * sizeof(int16_t) + n / Q8_BLOCK * sizeof(float);
}
