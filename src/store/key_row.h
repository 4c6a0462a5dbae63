/*
 * A key as it is read: with its application and its account, in one row. Private to the room;
 * what keys.c and key_pages.c share.
 */
#ifndef MOONGATE_STORE_KEY_ROW_H
#define MOONGATE_STORE_KEY_ROW_H

#include "store/db.h"
#include "store/keys.h"

/* Of the tables: k the key, p its application, c that one's account. */
#define KEY_FROM                                                                                   \
    "FROM keys k JOIN applications p ON p.id = k.application_id "                                  \
    "JOIN accounts c ON c.id = p.account_id "
#define KEY_SELECT                                                                                 \
    "SELECT k.id, k.application_id, p.account_id, k.kind, k.name, k.prefix, k.models, "            \
    "k.networks, k.cap_micros, k.used_micros, k.held_micros, k.requests_per_minute, "              \
    "k.tokens_per_minute, k.concurrent, c.requests_per_minute, c.tokens_per_minute, "              \
    "c.concurrent, k.created_ms, k.expires_ms, k.revoked_ms, k.used_ms, k.disabled, p.disabled, "  \
    "c.disabled, c.role " KEY_FROM

void key_row_read(const struct db_rows *r, size_t row, struct store_key *out);
/* Runs a query that begins with KEY_SELECT and has one row at most; ERR_NOT_FOUND. */
int key_row_get(struct store *s, struct db_query *q, struct store_key *out, struct error *e);

#endif
