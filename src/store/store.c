/*
 * The store's handle: one connection whose schema is this program's. All the work is the
 * database's (db.h), the schema's (schema.c) and that of the files with the rows.
 */
#include "store/store_private.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *store_url(const char *url, const char *data_dir)
{
    if (url && *url)
        return mem_strdup(url);
    size_t bytes = strlen(data_dir) + sizeof "sqlite:/moongate.db";
    char *out = mem_alloc(bytes);
    snprintf(out, bytes, "sqlite:%s/moongate.db", data_dir);
    return out;
}

int store_open_url(const char *url, const struct store_options *o, struct store **out,
                   struct error *e)
{
    struct store *s = mem_zalloc(sizeof *s);
    int rc = db_open(url, o->create, &s->db, e);
    if (rc == 0) {
        db_set_wait(s->db, STORE_BUSY_MS);
        db_set_durable(s->db, o->durable);
        rc = schema_open(s->db, o, e);
    }
    if (rc) {
        store_close(s);
        return rc;
    }
    s->url = mem_strdup(url);
    *out = s;
    return 0;
}

int store_open(const char *data_dir, struct store **out, struct error *e)
{
    const struct store_options o = {.create = true, .migrate = true, .durable = true};
    char *url = store_url(NULL, data_dir);
    int rc = store_open_url(url, &o, out, e);
    free(url);
    return rc;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    db_close(s->db);
    free(s->url);
    free(s);
}

const char *store_name(const struct store *s)
{
    return db_name(s->db);
}

bool store_is_shared(const struct store *s)
{
    return db_kind(s->db) == DB_POSTGRES;
}

/* What came back may be older than what was lost: then it is as if it were still away. */
int store_reopen(struct store *s, struct error *e)
{
    const struct store_options o = {.migrate = false};
    int rc = db_reopen(s->db, e);
    if (rc == 0)
        rc = schema_open(s->db, &o, e);
    s->wrong = rc != 0;
    return rc;
}

bool store_is_good(const struct store *s)
{
    return db_is_good(s->db) && !s->wrong;
}

void store_set_wait(struct store *s, int ms)
{
    db_set_wait(s->db, ms);
}

int store_begin(struct store *s, enum store_mode mode, struct error *e)
{
    static const enum db_mode modes[] = {
        [STORE_READ] = DB_READ, [STORE_WRITE] = DB_WRITE, [STORE_LOOSE] = DB_LOOSE};
    return db_begin(s->db, modes[mode], e);
}

int store_commit(struct store *s, struct error *e)
{
    return db_commit(s->db, e);
}

void store_rollback(struct store *s)
{
    db_rollback(s->db);
}

void store_hex(const uint8_t hash[STORE_HASH_BYTES], char out[STORE_HEX_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < STORE_HASH_BYTES; i++) {
        out[2 * i] = digits[hash[i] >> 4];
        out[2 * i + 1] = digits[hash[i] & 15];
    }
    out[2 * (size_t)STORE_HASH_BYTES] = '\0';
}
