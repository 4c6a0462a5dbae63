/*
 * The thread that hashes. Jobs and answers go by mailbox; a job is a pointer that is handed over,
 * in libsodium's guarded memory, so that no copy of a password stays in a ring of the mailbox, in
 * swap or in a core.
 *
 * As many jobs may be out as the mailbox of answers has room for, so the thread never waits for
 * the loop.
 */
#include "console/password.h"

#include "base/clock.h"
#include "base/mailbox.h"
#include "base/mem.h"

#include <event2/event.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(PASSWORD_HASH_BYTES == crypto_pwhash_STRBYTES, "libsodium's texts fit");

enum { NOBODYS_BYTES = 32 };

struct job {
    uint64_t number;
    enum password_what what;
    bool nobodys; /* the answer is no, whatever comes out */
    size_t len;
    char hash[PASSWORD_HASH_BYTES];
    char password[PASSWORD_MAX_BYTES];
};

struct passwords {
    struct mailbox *jobs, *answers; /* of struct job *; of struct password_answer */
    struct event *watch;
    password_fn *fn;
    void *arg;
    struct password_cost cost;
    size_t out, max_out; /* jobs that are not answered yet */
    pthread_t thread;
    bool running;
    atomic_bool closing;
    char nobodys[PASSWORD_HASH_BYTES]; /* the thread's own: of a password that nobody knows */
};

/* --- the thread --- */

static int make_hash(const struct password_cost *cost, const char *password, size_t len,
                     char out[PASSWORD_HASH_BYTES])
{
    return crypto_pwhash_str_alg(out, password, len, cost->operations, cost->memory_bytes,
                                 crypto_pwhash_ALG_ARGON2ID13) == 0
               ? 0
               : ERR_LIMIT;
}

static void verify(struct passwords *p, const struct job *j, struct password_answer *a)
{
    const char *hash = j->nobodys ? p->nobodys : j->hash;
    a->code = crypto_pwhash_str_verify(hash, j->password, j->len) == 0 ? 0 : ERR_DENIED;
    if (j->nobodys)
        a->code = ERR_DENIED;
    else if (a->code == 0)
        a->outdated =
            crypto_pwhash_str_needs_rehash(hash, p->cost.operations, p->cost.memory_bytes) != 0;
}

static void make_nobodys(struct passwords *p)
{
    char secret[NOBODYS_BYTES];
    random_bytes(secret, sizeof secret);
    if (make_hash(&p->cost, secret, sizeof secret, p->nobodys))
        p->nobodys[0] = '\0';
    sodium_memzero(secret, sizeof secret);
}

static void *work(void *arg)
{
    struct passwords *p = arg;
    struct job *j;
    make_nobodys(p);
    for (;;) {
        if (!mailbox_wait(p->jobs, &j, -1))
            continue;
        if (!j)
            return NULL;
        struct password_answer a = {.number = j->number, .what = j->what};
        if (!*p->nobodys) /* there was no memory for it before */
            make_nobodys(p);
        if (atomic_load(&p->closing))
            a.code = ERR_CANCELLED;
        else if (j->what == PASSWORD_HASH)
            a.code = make_hash(&p->cost, j->password, j->len, a.hash);
        else
            verify(p, j, &a);
        sodium_free(j);
        mailbox_post(p->answers, &a);
    }
}

/* --- the loop --- */

static void on_answers(evutil_socket_t fd, short what, void *arg)
{
    struct passwords *p = arg;
    struct password_answer a;
    (void)fd;
    (void)what;
    while (mailbox_take(p->answers, &a)) {
        p->out--;
        p->fn(p->arg, &a);
    }
}

static int submit(struct passwords *p, uint64_t number, enum password_what what,
                  const char *password, size_t len, const char *hash, bool nobodys)
{
    if (p->out == p->max_out)
        return ERR_BUSY;
    struct job *j = sodium_malloc(sizeof *j);
    if (!j)
        return ERR_BUSY;
    memset(j, 0, sizeof *j);
    j->number = number;
    j->what = what;
    j->nobodys = nobodys;
    j->len = len;
    memcpy(j->password, password, len);
    if (hash)
        memcpy(j->hash, hash, strnlen(hash, PASSWORD_HASH_BYTES - 1));
    p->out++;
    mailbox_post(p->jobs, &j); /* has room for as many as may be out */
    return 0;
}

int passwords_hash(struct passwords *p, uint64_t number, const char *password)
{
    size_t len = strlen(password);
    if (len > PASSWORD_MAX_BYTES)
        return ERR_LIMIT;
    return submit(p, number, PASSWORD_HASH, password, len, NULL, false);
}

int passwords_verify(struct passwords *p, uint64_t number, const char *password, const char *hash)
{
    size_t len = strlen(password);
    bool nobodys = !hash || len > PASSWORD_MAX_BYTES;
    if (len > PASSWORD_MAX_BYTES)
        len = PASSWORD_MAX_BYTES;
    return submit(p, number, PASSWORD_VERIFY, password, len, nobodys ? NULL : hash, nobodys);
}

static struct password_cost whole_cost(struct password_cost cost)
{
    if (cost.operations == 0)
        cost.operations = crypto_pwhash_OPSLIMIT_INTERACTIVE;
    if (cost.memory_bytes == 0)
        cost.memory_bytes = crypto_pwhash_MEMLIMIT_INTERACTIVE;
    return cost;
}

int password_hash_now(const char *password, char out[PASSWORD_HASH_BYTES], struct error *e)
{
    struct password_cost cost = whole_cost((struct password_cost){0});
    if (sodium_init() < 0)
        return error_set(e, ERR_INTERNAL, "libsodium does not start");
    if (make_hash(&cost, password, strlen(password), out))
        return error_set(e, ERR_LIMIT, "hashing a password needs %zu MiB of memory",
                         cost.memory_bytes >> 20);
    return 0;
}

int passwords_open(struct event_base *base, size_t queue, struct password_cost cost,
                   password_fn *fn, void *arg, struct passwords **out, struct error *e)
{
    int rc = sodium_init() < 0 ? error_set(e, ERR_INTERNAL, "libsodium does not start") : 0;
    struct passwords *p = mem_zalloc(sizeof *p);
    p->fn = fn;
    p->arg = arg;
    p->cost = whole_cost(cost);
    p->max_out = queue;
    if (!rc)
        rc = mailbox_open(sizeof(struct job *), queue + 1, &p->jobs, e);
    if (!rc)
        rc = mailbox_open(sizeof(struct password_answer), queue, &p->answers, e);
    if (rc)
        goto out;
    p->watch = event_new(base, mailbox_fd(p->answers), EV_READ | EV_PERSIST, on_answers, p);
    if (!p->watch || event_add(p->watch, NULL)) {
        rc = error_set(e, ERR_IO, "the loop does not watch the hashes of passwords");
        goto out;
    }
    if (pthread_create(&p->thread, NULL, work, p)) {
        rc = error_set(e, ERR_IO, "cannot start the thread that hashes passwords");
        goto out;
    }
    p->running = true;
    *out = p;
out:
    if (rc)
        passwords_close(p);
    return rc;
}

void passwords_close(struct passwords *p)
{
    struct job *last = NULL;
    if (!p)
        return;
    if (p->running) {
        atomic_store(&p->closing, true);
        mailbox_post(p->jobs, &last);
        pthread_join(p->thread, NULL);
    }
    if (p->watch)
        event_free(p->watch);
    mailbox_close(p->jobs);
    mailbox_close(p->answers);
    free(p);
}
