/*
 * The strict grammar of RFC 8259, checked over the text without building anything. Pure; never
 * recurses. Private to json.c.
 */
#ifndef MOONGATE_BASE_JSON_SCAN_H
#define MOONGATE_BASE_JSON_SCAN_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* What the reader of the tree must know of the text beyond the tree. Offsets are bytes. */
struct json_scan {
    size_t members;   /* of all objects together */
    size_t *big_ends; /* where integers end that 64 bits cannot hold, and -0; ascending */
    size_t n_big, cap_big;
    /* Told of each key as it stands between its quotes, if not NULL; stops on a code that is
     * not 0. `depth` counts the containers that are open, from 1. */
    int (*on_key)(void *arg, int depth, size_t at, const char *raw, size_t len);
    void (*on_object)(void *arg, int depth); /* an object opens */
    void *arg;
};

int json_scan(struct json_scan *scan, const char *text, size_t len, int max_depth, struct error *e);
void json_scan_done(struct json_scan *scan);

#endif
