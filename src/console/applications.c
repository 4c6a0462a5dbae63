/*
 * The account's application with its keys and its balance, and the grants that filled it. An
 * account has at most one for each service, and there is one service; lists are lists all the
 * same, because the platform's clients expect them.
 */
#include "console/platform.h"

#include "base/mem.h"
#include "console/console_private.h"
#include "console/objects.h"

#include <stdlib.h>

enum { LIST_MAX = 20, KEYS_MAX = 100, PAGE_DEFAULT = 20, PAGE_MAX = 1000 };
enum { ANSWER_BYTES = 4 << 20 };

struct applications_job {
    struct store_job job;
    int64_t account_id, id; /* id 0: all */
    int64_t offset, limit, count;
    struct store_application list[LIST_MAX];
    size_t n;
    struct store_key keys[KEYS_MAX]; /* those that call */
    size_t n_keys;
};

static void drop_platform_tokens(struct applications_job *j)
{
    size_t kept = 0;
    for (size_t i = 0; i < j->n_keys; i++) {
        if (j->keys[i].kind == STORE_KEY_CALLS)
            j->keys[kept++] = j->keys[i];
    }
    j->n_keys = kept;
}

static int find(struct store *s, struct store_job *job, struct error *e)
{
    struct applications_job *j = (struct applications_job *)job;
    int64_t n;
    int rc;
    if (j->id) {
        rc = store_application_get(s, j->account_id, j->id, &j->list[0], e);
        j->n = rc == 0;
    } else {
        rc = store_application_page(s, j->account_id, j->offset, j->limit, j->list, &j->n,
                                    &j->count, e);
    }
    if (rc == 0)
        rc = store_key_page(s, j->account_id, 0, false, 0, KEYS_MAX, j->keys, &j->n_keys, &n, e);
    if (rc == 0)
        drop_platform_tokens(j);
    return rc;
}

static void put(struct buf *b, const struct applications_job *j, size_t i, int64_t now_ms)
{
    object_application(b, &j->list[i], j->keys, j->n_keys, NULL, now_ms);
    buf_addc(b, '}');
}

static void on_list(struct request *r, struct store_job *job)
{
    const struct applications_job *j = (const struct applications_job *)job;
    struct buf b;
    if (request_failed(r, job))
        return;
    buf_init(&b, ANSWER_BYTES);
    object_list_open(&b, j->count);
    for (size_t i = 0; i < j->n; i++) {
        object_next(&b);
        put(&b, j, i, r->now_ms);
    }
    object_list_close(&b);
    request_json(r, 200, &b);
    buf_done(&b);
}

static void on_one(struct request *r, struct store_job *job)
{
    const struct applications_job *j = (const struct applications_job *)job;
    struct buf b;
    if (request_failed(r, job))
        return;
    if (j->n == 0) {
        request_fault(r, FAULT_NOT_FOUND, NULL, "There is no application yet; acquire it first.");
        return;
    }
    buf_init(&b, ANSWER_BYTES);
    put(&b, j, 0, r->now_ms);
    request_json(r, 200, &b);
    buf_done(&b);
}

static struct applications_job *new_job(struct request *r)
{
    struct applications_job *j = mem_zalloc(sizeof *j);
    j->account_id = r->account.id;
    j->limit = LIST_MAX;
    return j;
}

void application_list(struct request *r)
{
    int64_t offset, limit;
    if (!request_query_int(r, "offset", 0, INT32_MAX, 0, &offset) ||
        !request_query_int(r, "limit", 0, PAGE_MAX, LIST_MAX, &limit))
        return;
    struct applications_job *j = new_job(r);
    j->offset = offset;
    j->limit = limit < LIST_MAX ? limit : LIST_MAX;
    request_ask_read(r, &j->job, find, on_list);
}

void application_get(struct request *r)
{
    int64_t id;
    if (!request_id(r, 0, &id))
        return;
    struct applications_job *j = new_job(r);
    j->id = id;
    request_ask_read(r, &j->job, find, on_one);
}

void application_own(struct request *r)
{
    struct applications_job *j = new_job(r);
    request_ask_read(r, &j->job, find, on_one);
}

/* There is one balance for all, so there is nothing to switch: it is answered as it is. */
void application_allow_global(struct request *r)
{
    bool allow, given;
    if (request_bool(r, "allow_consume_global", &allow, &given))
        application_get(r);
}

/* --- grants --- */

struct grants_job {
    struct store_job job;
    int64_t account_id, offset, limit, count;
    size_t n;
    struct store_grant list[];
};

static int find_grants(struct store *s, struct store_job *job, struct error *e)
{
    struct grants_job *j = (struct grants_job *)job;
    struct store_application a;
    int rc = store_application_of(s, j->account_id, false, 0, &a, NULL, e);
    if (rc == ERR_NOT_FOUND) {
        j->n = 0;
        return 0;
    }
    return rc ? rc : store_grant_page(s, a.id, j->offset, j->limit, j->list, &j->n, &j->count, e);
}

static void on_grants(struct request *r, struct store_job *job)
{
    const struct grants_job *j = (const struct grants_job *)job;
    struct buf b;
    if (request_failed(r, job))
        return;
    buf_init(&b, ANSWER_BYTES);
    object_list_open(&b, j->count);
    for (size_t i = 0; i < j->n; i++) {
        object_next(&b);
        object_grant(&b, &j->list[i]);
    }
    object_list_close(&b);
    request_json(r, 200, &b);
    buf_done(&b);
}

void grant_list(struct request *r)
{
    int64_t offset, limit;
    if (!request_query_int(r, "offset", 0, INT32_MAX, 0, &offset) ||
        !request_query_int(r, "limit", 1, PAGE_MAX, PAGE_DEFAULT, &limit))
        return;
    struct grants_job *j = mem_zalloc(sizeof *j + (size_t)limit * sizeof j->list[0]);
    j->account_id = r->account.id;
    j->offset = offset;
    j->limit = limit;
    request_ask_read(r, &j->job, find_grants, on_grants);
}
