/*
 * The tables of the configuration, and the models that are served if the file names none.
 * Constant data; any thread.
 */
#ifndef MOONGATE_CONFIG_TABLE_H
#define MOONGATE_CONFIG_TABLE_H

#include "config.h"
#include "config_option.h"

extern const struct option_table config_options;         /* of struct config */
extern const struct option_table config_model_options;   /* of struct config_model */
extern const struct option_table config_backend_options; /* of struct config_backend */

/* The models served by default, as texts over the defaults of the model table. */
struct config_default_model {
    const char *id, *context, *created, *thinking, *temperature, *temperature_instant, *top_p,
        *fixed_sampling;
};
extern const struct config_default_model config_default_models[];
extern const size_t config_n_default_models;
/* Fills a row from a default model's name; false if there is none of that name. */
bool config_default_model(const char *id, struct config_model *out, struct arena *arena);

#endif
