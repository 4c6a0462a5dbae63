/*
 * The key of an upstream, from where the configuration says. Reads a file or the environment;
 * any thread. Private to the configuration.
 */
#ifndef MOONGATE_CONFIG_KEY_H
#define MOONGATE_CONFIG_KEY_H

#include "base/error.h"
#include "base/mem.h"

/* The key is in the arena. `where` begins the text of a mistake, which says what to do and never
 * repeats the key. */
int config_key_env(const char *variable, const char *where, struct arena *arena, char **out,
                   struct error *e);
int config_key_file(const char *file, const char *where, struct arena *arena, char **out,
                    struct error *e);

#endif
