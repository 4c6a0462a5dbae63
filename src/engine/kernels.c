/*
 * Which kernel set this processor can run. The choice asks for every extension a set's file is
 * compiled with; __builtin_cpu_supports also asks whether the system saves the wide registers.
 */
#include "engine/kernels_impl.h"

#include <stdbool.h>
#include <stdio.h>

static bool always(void)
{
    return true;
}

/* Best first. */
static const struct {
    const struct kernels *set;
    bool (*runs)(void);
} sets[] = {
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
    return n + n / Q8_BLOCK * (sizeof(float) + sizeof(int32_t));
}
