/*
 * What the two databases share: choosing the driver, the state of a transaction, building queries
 * and reading answers, and the cache of prepared statements.
 *
 * Statements are found by their text: a hash table of fixed size whose entries also form a list
 * by last use. Texts of an answer lie in one arena, so that freeing it is one call. The thread
 * that uses the handle owns all of it.
 */
#include "store/db_private.h"

#include "base/buf.h"
#include "base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SQL_BYTES = 1 << 20, DEFAULT_WAIT_MS = 5000 };

static const struct {
    const char *scheme;
    const struct db_driver *driver;
} schemes[] = {
    {"sqlite:", &db_sqlite},
    {"postgres://", &db_postgres},
    {"postgresql://", &db_postgres},
};

/* Opening and closing */

int db_open(const char *url, bool create, struct db **out, struct error *e)
{
    const struct db_driver *v = NULL;
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        if (strncmp(url, schemes[i].scheme, strlen(schemes[i].scheme)) == 0)
            v = schemes[i].driver;
    }
    if (!v)
        return error_set(e, ERR_UNSUPPORTED,
                         "the store's address begins with none of: sqlite: postgres:// "
                         "postgresql://");
    struct db *d = mem_zalloc(v->handle_bytes);
    d->driver = v;
    d->url = mem_strdup(url);
    d->wait_ms = DEFAULT_WAIT_MS;
    d->durable = true;
    int rc = v->open(d, create, e);
    d->good = rc == 0;
    if (rc) {
        db_close(d);
        return rc;
    }
    *out = d;
    return 0;
}

static void shut(struct db *d)
{
    if (d->inside)
        db_rollback(d);
    db_forget_all(d);
    d->driver->shut(d);
    d->good = false;
}

void db_close(struct db *d)
{
    if (!d)
        return;
    shut(d);
    if (d->driver->free)
        d->driver->free(d);
    free(d->url);
    free(d->name);
    free(d);
}

int db_reopen(struct db *d, struct error *e)
{
    shut(d);
    int rc = d->driver->open(d, false, e);
    d->good = rc == 0;
    if (rc)
        d->driver->shut(d);
    return rc;
}

enum db_kind db_kind(const struct db *d)
{
    return d->driver->kind;
}

const char *db_name(const struct db *d)
{
    return d->name;
}

bool db_is_good(const struct db *d)
{
    return d->good;
}

void db_set_wait(struct db *d, int ms)
{
    d->wait_ms = ms;
    if (d->good)
        d->driver->set_wait(d);
}

void db_set_durable(struct db *d, bool durable)
{
    d->durable = durable;
}

/* Transactions */

static int check_good(const struct db *d, struct error *e)
{
    return d->good ? 0 : error_set(e, ERR_IO, "%s: the connection is lost", d->name);
}

static int check_ready(const struct db *d, struct error *e)
{
    int rc = check_good(d, e);
    if (rc == 0 && d->failed)
        rc = error_set(e, ERR_IO, "%s: the transaction failed before", d->name);
    return rc;
}

/* Inside a transaction a failure is remembered until the rollback. */
static int remember(struct db *d, int rc)
{
    if (rc && d->inside)
        d->failed = true;
    return rc;
}

int db_begin(struct db *d, enum db_mode mode, struct error *e)
{
    assert(!d->inside);
    int rc = check_good(d, e);
    if (rc == 0)
        rc = d->driver->begin(d, mode, e);
    if (rc == 0) {
        d->inside = true;
        d->failed = false;
        d->mode = mode;
    }
    return rc;
}

int db_commit(struct db *d, struct error *e)
{
    assert(d->inside);
    int rc = check_ready(d, e);
    if (rc == 0)
        rc = d->driver->commit(d, e);
    if (rc)
        db_rollback(d);
    d->inside = d->failed = false;
    return rc;
}

void db_rollback(struct db *d)
{
    if (d->inside)
        d->driver->rollback(d);
    d->inside = d->failed = false;
}

int db_run(struct db *d, struct db_query *list, size_t n, struct error *e)
{
    int rc = check_ready(d, e);
    if (rc)
        return rc;
    return remember(d, d->driver->run(d, list, n, e));
}

int db_run_one(struct db *d, struct db_query *q, struct error *e)
{
    return db_run(d, q, 1, e);
}

int db_script(struct db *d, const char *sql, struct error *e)
{
    int rc = check_ready(d, e);
    if (rc)
        return rc;
    char *text = db_words(d->driver, sql);
    rc = remember(d, d->driver->script(d, text, e));
    free(text);
    return rc;
}

int db_version(struct db *d, int *version, struct error *e)
{
    int rc = check_ready(d, e);
    return rc ? rc : remember(d, d->driver->version(d, version, e));
}

int db_set_version(struct db *d, int version, struct error *e)
{
    int rc = check_ready(d, e);
    return rc ? rc : remember(d, d->driver->set_version(d, version, e));
}

int db_lock_schema(struct db *d, struct error *e)
{
    assert(d->inside);
    int rc = check_ready(d, e);
    return rc ? rc : remember(d, d->driver->lock_schema(d, e));
}

int db_copy_file(struct db *d, const char *path, struct error *e)
{
    assert(!d->inside);
    int rc = check_ready(d, e);
    return rc ? rc : d->driver->copy_file(d, path, e);
}

/* Statements */

static uint64_t hash_text(const char *s)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h;
}

static void unlink_use(struct db *d, struct db_statement *s)
{
    *(s->newer ? &s->newer->older : &d->newest) = s->older;
    *(s->older ? &s->older->newer : &d->oldest) = s->newer;
    s->newer = s->older = NULL;
}

static void link_newest(struct db *d, struct db_statement *s)
{
    s->older = d->newest;
    *(d->newest ? &d->newest->newer : &d->oldest) = s;
    d->newest = s;
}

static void forget(struct db *d, struct db_statement *s)
{
    struct db_statement **at = &d->buckets[s->hash & (DB_BUCKETS - 1)];
    while (*at != s)
        at = &(*at)->bucket_next;
    *at = s->bucket_next;
    unlink_use(d, s);
    if (s->handle && d->driver->forget)
        d->driver->forget(d, s);
    free(s->sql);
    free(s->argument);
    s->sql = NULL;
    s->argument = NULL;
    s->handle = NULL;
}

void db_forget_all(struct db *d)
{
    while (d->oldest)
        forget(d, d->oldest);
    for (size_t i = 0; i < DB_STATEMENTS; i++)
        d->statements[i].on_server = false;
}

static struct db_statement *find_slot(struct db *d)
{
    for (size_t i = 0; i < DB_STATEMENTS; i++) {
        if (!d->statements[i].sql)
            return &d->statements[i];
    }
    struct db_statement *s = d->oldest;
    forget(d, s);
    return s;
}

/* By the address of the text, which is mostly a constant of the program: comparing is cheaper than
 * hashing. The address alone says nothing, for another text may be there later. */
static struct db_statement **seen_at(struct db *d, const char *sql)
{
    uintptr_t at = (uintptr_t)sql;
    return &d->seen[(at ^ at >> 8 ^ at >> 16) & (DB_SEEN - 1)];
}

static struct db_statement *look_up(struct db *d, const char *sql, uint64_t hash)
{
    struct db_statement *s = d->buckets[hash & (DB_BUCKETS - 1)];
    while (s && (s->hash != hash || strcmp(s->sql, sql) != 0))
        s = s->bucket_next;
    return s;
}

static struct db_statement *add_statement(struct db *d, const char *sql, uint64_t hash)
{
    struct db_statement *s = find_slot(d);
    s->sql = mem_strdup(sql);
    s->hash = hash;
    s->bucket_next = d->buckets[hash & (DB_BUCKETS - 1)];
    d->buckets[hash & (DB_BUCKETS - 1)] = s;
    link_newest(d, s);
    return s;
}

struct db_statement *db_statement(struct db *d, const char *sql)
{
    struct db_statement **seen = seen_at(d, sql), *s = *seen;
    if (!s || !s->sql || strcmp(s->sql, sql) != 0) {
        uint64_t hash = hash_text(sql);
        s = look_up(d, sql, hash);
        if (!s)
            s = add_statement(d, sql, hash);
        *seen = s;
    }
    unlink_use(d, s);
    link_newest(d, s);
    return s;
}

char *db_words(const struct db_driver *v, const char *sql)
{
    const struct {
        const char *word, *text;
    } words[] = {{"{id}", v->id_type}, {"{int}", v->int_type}, {"{strict}", v->strict}};
    struct buf b;
    buf_init(&b, SQL_BYTES);
    while (*sql) {
        size_t plain = strcspn(sql, "{"), i = 0, n = sizeof words / sizeof words[0];
        buf_add(&b, sql, plain);
        sql += plain;
        while (i < n && strncmp(sql, words[i].word, strlen(words[i].word)) != 0)
            i++;
        if (i < n) {
            buf_adds(&b, words[i].text);
            sql += strlen(words[i].word);
        } else if (*sql) {
            buf_addc(&b, *sql++);
        }
    }
    char *text = buf_take(&b, NULL);
    buf_done(&b);
    return text ? text : mem_strdup("");
}

/* Queries */

void db_sql(struct db_query *q, const char *sql)
{
    memset(q, 0, sizeof *q);
    q->sql = sql;
}

static struct db_value *next_arg(struct db_query *q)
{
    assert(q->n_args < DB_ARGS_MAX);
    return &q->args[q->n_args++];
}

void db_arg(struct db_query *q, int64_t n)
{
    *next_arg(q) = (struct db_value){.kind = DB_INT, .number = n};
}

void db_arg_text(struct db_query *q, const char *text)
{
    *next_arg(q) = (struct db_value){.kind = text ? DB_TEXT : DB_NULL, .text = text};
}

void db_done(struct db_query *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct db_query *q = &list[i];
        free(q->rows.cells);
        arena_free(q->rows.arena);
        q->rows = (struct db_rows){0};
        q->sql = NULL;
        q->n_args = 0;
        q->changed = 0;
    }
}

/* Answers */

void db_start_rows(struct db_rows *r, size_t columns)
{
    free(r->cells);
    arena_free(r->arena);
    *r = (struct db_rows){.columns = columns};
}

void db_add_row(struct db_rows *r)
{
    if (!r->arena)
        r->arena = arena_new();
    if ((r->n & (r->n - 1)) == 0) /* room for twice as many */
        r->cells = mem_realloc(r->cells, (r->n ? r->n * 2 : 1) * r->columns * sizeof *r->cells);
    memset(r->cells + r->n * r->columns, 0, r->columns * sizeof *r->cells);
    r->n++;
}

void db_set_cell(struct db_rows *r, size_t column, const char *text, size_t len)
{
    assert(column < r->columns && r->n > 0);
    r->cells[(r->n - 1) * r->columns + column] = arena_strndup(r->arena, text, len);
}

bool db_too_large(const struct db_rows *r)
{
    return r->arena &&
           arena_bytes(r->arena) + r->n * r->columns * sizeof *r->cells > DB_ANSWER_BYTES;
}

static const char *cell(const struct db_rows *r, size_t row, size_t column)
{
    assert(row < r->n && column < r->columns);
    return r->cells[row * r->columns + column];
}

int64_t db_int(const struct db_rows *r, size_t row, size_t column)
{
    const char *text = cell(r, row, column);
    return text ? strtoll(text, NULL, 10) : 0;
}

const char *db_text(const struct db_rows *r, size_t row, size_t column)
{
    const char *text = cell(r, row, column);
    return text ? text : "";
}

bool db_null(const struct db_rows *r, size_t row, size_t column)
{
    return !cell(r, row, column);
}

void db_copy(const struct db_rows *r, size_t row, size_t column, char *out, size_t out_bytes)
{
    snprintf(out, out_bytes, "%s", db_text(r, row, column));
}
