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
extern const struct option_table config_route_options;   /* of struct route */
extern const struct option_table config_backend_options; /* of struct config_backend */

enum {
    CONFIG_SHARED_OPTIONS = 3, /* rows of config_backend_options that every kind has */
    CONFIG_BACKEND_BYTES = 63  /* of a backend's name; logs and metrics keep it whole */
};

/* The models served by default, as texts over the defaults of the model table. */
struct config_default_model {
    const char *id, *context, *created, *thinking, *temperature, *temperature_instant, *top_p,
        *fixed_sampling, *price_input, *price_cached, *price_output;
};
extern const struct config_default_model config_default_models[];
extern const size_t config_n_default_models;
/* Makes a backend of that name the only one of a model. */
void config_route_to(struct config_model *m, const char *backend, struct arena *arena);
/* Fills a row from a default model's name; false if there is none of that name. */
bool config_default_model(const char *id, struct config_model *out, struct arena *arena);

#endif
