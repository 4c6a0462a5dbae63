/*
 * An account's credentials: the keys that call, and platform tokens. The secret itself is in the
 * answer that made it and nowhere else. A platform token is made in the console alone: a token
 * that got lost must not be able to make others of its kind.
 */
#include "console/platform.h"

#include "base/mem.h"
#include "console/console_private.h"
#include "console/credential_read.h"
#include "console/objects.h"
#include "gate/gate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PREFIX_CHARS = 9, TOKEN_PREFIX_CHARS = 15, PAGE_DEFAULT = 20, PAGE_MAX = 1000 };
enum { WEEK_S = 7 * 86400, ANSWER_BYTES = 8 << 20, ROW_BYTES = 1 << 16 };

struct key_job {
    struct store_job job;
    int64_t account_id, id, now_ms;
    int64_t keys_max;       /* of an application */
    int64_t application_id; /* to be made in; 0: the account's */
    int64_t overlap_ms;     /* of a rotation */
    struct credential_wish wish;
    enum store_key_kind kind;
    bool no_application;
    char token[GATE_TOKEN_CHARS + 1];
    struct store_key key; /* the answer */
};

static struct key_job *new_job(struct request *r, int64_t id)
{
    struct key_job *j = mem_zalloc(sizeof *j);
    j->account_id = r->account.id;
    j->id = id;
    j->now_ms = r->now_ms;
    j->keys_max = r->console->options.keys_per_application;
    return j;
}

static void answer(struct request *r, int status, const struct store_key *k, const char *token)
{
    struct buf b;
    buf_init(&b, ROW_BYTES);
    object_credential(&b, k, token, r->now_ms);
    request_json(r, status, &b);
    buf_done(&b);
}

static void on_key(struct request *r, struct store_job *job)
{
    const struct key_job *j = (const struct key_job *)job;
    if (!request_failed(r, job))
        answer(r, 200, &j->key, NULL);
}

/* A secret and what is kept of it. */
static void make_secret(enum store_key_kind kind, char token[GATE_TOKEN_CHARS + 1],
                        uint8_t hash[STORE_HASH_BYTES], char prefix[16])
{
    bool platform = kind == STORE_KEY_PLATFORM;
    if (platform)
        gate_token_make(token);
    else
        gate_key_make(token);
    gate_key_hash(token, strlen(token), hash);
    snprintf(prefix, 16, "%.*s", platform ? TOKEN_PREFIX_CHARS : PREFIX_CHARS, token);
}

static int check_room(struct store *s, int64_t application_id, int64_t most, struct error *e)
{
    int64_t n;
    int rc = store_application_lock(s, application_id, e); /* others count after us */
    if (rc == 0)
        rc = store_key_count(s, application_id, &n, e);
    if (rc == 0 && n >= most)
        rc = error_set(e, ERR_DENIED,
                       "An application may have %lld credentials; delete one that is not needed.",
                       (long long)most);
    return rc;
}

/* --- list --- */

struct list_job {
    struct store_job job;
    int64_t account_id, application_id, offset, limit, count;
    bool revoked;
    size_t n;
    struct store_key keys[];
};

static int find_page(struct store *s, struct store_job *job, struct error *e)
{
    struct list_job *j = (struct list_job *)job;
    return store_key_page(s, j->account_id, j->application_id, j->revoked, j->offset, j->limit,
                          j->keys, &j->n, &j->count, e);
}

static void on_page(struct request *r, struct store_job *job)
{
    const struct list_job *j = (const struct list_job *)job;
    struct buf b;
    if (request_failed(r, job))
        return;
    buf_init(&b, ANSWER_BYTES);
    object_list_open(&b, j->count);
    for (size_t i = 0; i < j->n; i++) {
        object_next(&b);
        object_credential(&b, &j->keys[i], NULL, r->now_ms);
    }
    object_list_close(&b);
    request_json(r, 200, &b);
    buf_done(&b);
}

void credential_list(struct request *r)
{
    int64_t application, offset, limit, revoked;
    if (!request_query_int(r, "application_id", 1, INT64_MAX, 0, &application) ||
        !request_query_int(r, "offset", 0, INT32_MAX, 0, &offset) ||
        !request_query_int(r, "limit", 1, PAGE_MAX, PAGE_DEFAULT, &limit) ||
        !request_query_int(r, "revoked", 0, 1, 0, &revoked))
        return;
    struct list_job *j = mem_zalloc(sizeof *j + (size_t)limit * sizeof j->keys[0]);
    j->account_id = r->account.id;
    j->application_id = application;
    j->offset = offset;
    j->limit = limit;
    j->revoked = revoked != 0;
    request_ask_read(r, &j->job, find_page, on_page);
}

/* --- create --- */

static int find_application(struct store *s, struct key_job *j, struct store_application *out,
                            struct error *e)
{
    if (j->application_id)
        return store_application_get(s, j->account_id, j->application_id, out, e);
    int rc = store_application_of(s, j->account_id, false, 0, out, NULL, e);
    j->no_application = rc == ERR_NOT_FOUND;
    return rc;
}

static int create(struct store *s, struct store_job *job, struct error *e)
{
    struct key_job *j = (struct key_job *)job;
    struct store_application application;
    struct store_key row = {.kind = j->kind, .cap_micros = -1, .created_ms = j->now_ms};
    uint8_t hash[STORE_HASH_BYTES];
    int64_t id;
    int rc = find_application(s, j, &application, e);
    if (rc == 0)
        rc = check_room(s, application.id, j->keys_max, e);
    if (rc)
        return rc;
    row.application_id = application.id;
    credential_apply(&j->wish, &row);
    make_secret(j->kind, j->token, hash, row.prefix);
    rc = store_key_add(s, hash, &row, &id, e);
    return rc ? rc : store_key_get(s, j->account_id, id, &j->key, e);
}

static void on_secret(struct request *r, struct store_job *job, int status)
{
    struct key_job *j = (struct key_job *)job;
    if (j->job.code == ERR_NOT_FOUND && j->no_application)
        request_fault(r, FAULT_NOT_FOUND, NULL, "There is no application yet; acquire it first.");
    else if (!request_failed(r, job))
        answer(r, status, &j->key, j->token);
    explicit_bzero(j->token, sizeof j->token);
}

static void on_created(struct request *r, struct store_job *job)
{
    on_secret(r, job, 201);
}

static bool read_kind(struct request *r, enum store_key_kind *out)
{
    char kind[16];
    bool given;
    if (!request_text(r, "kind", kind, sizeof kind, &given))
        return false;
    *out = STORE_KEY_CALLS;
    if (!given || strcmp(kind, "calls") == 0)
        return true;
    *out = STORE_KEY_PLATFORM;
    if (strcmp(kind, "platform") != 0)
        request_fault(r, FAULT_BAD_REQUEST, "kind", "kind must be \"calls\" or \"platform\".");
    else if (r->session.hash[0] == '\0')
        request_fault(r, FAULT_DENIED, "kind", "Platform tokens are made in the console.");
    else
        return true;
    return false;
}

void credential_create(struct request *r)
{
    struct credential_wish wish;
    enum store_key_kind kind;
    int64_t application = 0;
    bool given;
    if (!request_int(r, "application_id", 1, INT64_MAX, &application, &given) ||
        !read_kind(r, &kind) || !credential_read(r, &wish))
        return;
    struct key_job *j = new_job(r, 0);
    j->application_id = application;
    j->wish = wish;
    j->kind = kind;
    request_ask(r, &j->job, create, on_created);
}

/* --- one --- */

static int get(struct store *s, struct store_job *job, struct error *e)
{
    struct key_job *j = (struct key_job *)job;
    return store_key_get(s, j->account_id, j->id, &j->key, e);
}

void credential_get(struct request *r)
{
    int64_t id;
    if (!request_id(r, 0, &id))
        return;
    struct key_job *j = new_job(r, id);
    request_ask_read(r, &j->job, get, on_key);
}

static int change(struct store *s, struct store_job *job, struct error *e)
{
    struct key_job *j = (struct key_job *)job;
    int rc = store_key_get(s, j->account_id, j->id, &j->key, e);
    if (rc == 0) /* a rotation at the same time moves the cap */
        rc = store_application_lock(s, j->key.application_id, e);
    if (rc == 0)
        rc = store_key_get(s, j->account_id, j->id, &j->key, e);
    if (rc == 0 && j->key.revoked_ms)
        rc = error_set(e, ERR_DENIED, "This credential was deleted; make a new one.");
    if (rc)
        return rc;
    credential_apply(&j->wish, &j->key);
    return store_key_change(s, j->account_id, &j->key, e);
}

void credential_change(struct request *r)
{
    struct credential_wish wish;
    int64_t id;
    if (!request_id(r, 0, &id) || !credential_read(r, &wish))
        return;
    struct key_job *j = new_job(r, id);
    j->wish = wish;
    request_ask(r, &j->job, change, on_key);
}

static int revoke(struct store *s, struct store_job *job, struct error *e)
{
    struct key_job *j = (struct key_job *)job;
    return store_key_revoke_id(s, j->account_id, j->id, j->now_ms, e);
}

static void on_revoked(struct request *r, struct store_job *job)
{
    if (!request_failed(r, job))
        request_empty(r, 204);
}

void credential_delete(struct request *r)
{
    int64_t id;
    if (!request_id(r, 0, &id))
        return;
    struct key_job *j = new_job(r, id);
    request_ask(r, &j->job, revoke, on_revoked);
}

/* --- rotate --- */

/* Without an overlap the old one is deleted, so that it takes no place; else both count. */
static int rotate(struct store *s, struct store_job *job, struct error *e)
{
    struct key_job *j = (struct key_job *)job;
    uint8_t hash[STORE_HASH_BYTES];
    char prefix[16];
    struct store_key old;
    int rc = store_key_get(s, j->account_id, j->id, &old, e);
    if (rc == 0 && j->overlap_ms > 0)
        rc = check_room(s, old.application_id, j->keys_max, e);
    if (rc)
        return rc;
    make_secret(old.kind, j->token, hash, prefix);
    rc = store_key_rotate(s, j->account_id, j->id, hash, prefix, j->now_ms,
                          j->now_ms + j->overlap_ms, &j->key, e);
    if (rc == 0 && j->overlap_ms == 0)
        rc = store_key_revoke_id(s, j->account_id, j->id, j->now_ms, e);
    return rc;
}

static void on_rotated(struct request *r, struct store_job *job)
{
    if (job->code == ERR_EXPIRED) {
        request_fault(r, FAULT_DENIED, NULL, "This credential's time is over; make a new one.");
        return;
    }
    on_secret(r, job, 200);
}

void credential_rotate(struct request *r)
{
    int64_t id, seconds = 0;
    bool given;
    if (!request_id(r, 0, &id) || !request_int(r, "overlap_seconds", 0, WEEK_S, &seconds, &given))
        return;
    struct key_job *j = new_job(r, id);
    j->overlap_ms = seconds * 1000;
    request_ask(r, &j->job, rotate, on_rotated);
}
