/*
 * The configuration's file: bytes of YAML over what a struct config holds already. Pure; any
 * thread. Private to the configuration (and its fuzz target).
 */
#ifndef MOONGATE_CONFIG_YAML_H
#define MOONGATE_CONFIG_YAML_H

#include "config.h"

/* A struct config with the defaults. */
struct config *config_new(void);
/* Applies the document; `name` begins the text of an error. After an error the configuration is
 * good for config_free alone. */
int config_parse(struct config *c, const char *name, const char *bytes, size_t len,
                 struct error *e);

#endif
