/* What the tests of accounts, applications and keys share: a store of the test's own on
 * either database (db_rig.h), people in it, and several connections that do a thing at once. */
#ifndef MOONGATE_TESTS_PEOPLE_RIG_H
#define MOONGATE_TESTS_PEOPLE_RIG_H

#include "store/accounts.h"
#include "store/applications.h"
#include "store/store_private.h"

#include "db_rig.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RACERS = 8, DAY_MS = 86400000 };
#define NOW INT64_C(1764288000000) /* 2025-11-28 00:00 UTC */

/* What a test's state is. */
struct people {
    struct db_rig *rig;
    const char *url;
    struct store *s;
};

static inline void must(int rc, const struct error *e)
{
    if (rc)
        fail_msg("%s: %s", error_name(rc), e->text);
}

static inline int open_people(void **state, enum db_kind kind)
{
    struct people *p = calloc(1, sizeof *p);
    p->rig = db_rig_open(kind);
    if (!p->rig) {
        free(p);
        return -1;
    }
    p->url = p->rig->url;
    p->s = db_rig_store(p->rig);
    *state = p;
    return 0;
}

static inline int open_people_sqlite(void **state)
{
    return open_people(state, DB_SQLITE);
}

static inline int open_people_postgres(void **state)
{
    return open_people(state, DB_POSTGRES);
}

static inline int close_people(void **state)
{
    struct people *p = *state;
    store_close(p->s);
    free(p->rig);
    free(p);
    return 0;
}

/* A test on both databases. */
#define PEOPLE_TEST(name)                                                                          \
    {#name " (SQLite)", name, open_people_sqlite, close_people, NULL},                             \
    {                                                                                              \
#name " (PostgreSQL)", name, open_people_postgres, close_people, NULL                      \
    }

static inline void begin(struct store *s)
{
    struct error e;
    must(store_begin(s, STORE_WRITE, &e), &e);
}

static inline void commit(struct store *s)
{
    struct error e;
    must(store_commit(s, &e), &e);
}

/* A statement of the test's own, with one number for $1. */
static inline void run_sql(struct store *s, const char *sql, int64_t number)
{
    struct db_query q;
    struct error e;
    db_sql(&q, sql);
    db_arg(&q, number);
    must(db_run_one(s->db, &q, &e), &e);
    db_done(&q, 1);
}

static inline int64_t read_number(struct store *s, const char *sql, int64_t number)
{
    struct db_query q;
    struct error e;
    db_sql(&q, sql);
    db_arg(&q, number);
    must(db_run_one(s->db, &q, &e), &e);
    assert_int_equal(q.rows.n, 1);
    int64_t answer = db_int(&q.rows, 0, 0);
    db_done(&q, 1);
    return answer;
}

static inline int64_t add_account(struct store *s, const char *email, enum store_role role)
{
    struct store_account a = {.role = role, .created_ms = NOW};
    struct error e;
    int64_t id;
    snprintf(a.email, sizeof a.email, "%s", email);
    snprintf(a.person, sizeof a.person, "person of %.40s", email);
    must(store_account_add(s, &a, &id, &e), &e);
    return id;
}

/* A new account's application. */
static inline int64_t add_application(struct store *s, const char *email)
{
    struct store_application a;
    struct error e;
    must(store_application_of(s, add_account(s, email, STORE_USER), true, NOW, &a, NULL, &e), &e);
    return a.id;
}

static inline struct store_application get_application(struct store *s, int64_t id)
{
    struct store_application a;
    struct error e;
    must(store_application_get(s, 0, id, &a, &e), &e);
    return a;
}

/* A race: RACERS threads, each with a connection of its own, begin together and do `turn` in a
 * transaction each, again after ERR_BUSY. */
struct race {
    const char *url;
    int (*turn)(struct store *s, int racer, void *arg, struct error *e);
    void *arg;
    pthread_barrier_t start;
    int codes[RACERS];
};

struct racer {
    struct race *race;
    int number;
};

static inline int race_turn(struct race *r, struct store *s, int number, struct error *e)
{
    int rc = ERR_BUSY;
    for (int i = 0; rc == ERR_BUSY && i < 100; i++) {
        rc = store_begin(s, STORE_WRITE, e);
        if (rc == 0)
            rc = r->turn(s, number, r->arg, e);
        if (rc == 0)
            rc = store_commit(s, e);
        else
            store_rollback(s);
    }
    return rc;
}

static inline void *race_thread(void *arg)
{
    const struct racer *me = arg;
    const struct store_options o = {.create = false};
    struct store *s = NULL;
    struct error e = {.text = ""};
    int rc = store_open_url(me->race->url, &o, &s, &e);
    pthread_barrier_wait(&me->race->start);
    if (rc == 0)
        rc = race_turn(me->race, s, me->number, &e);
    if (rc == ERR_IO || rc == ERR_BUSY)
        fprintf(stderr, "racer %d: %s\n", me->number, e.text);
    me->race->codes[me->number] = rc;
    store_close(s);
    return NULL;
}

static inline void run_race(struct race *r)
{
    pthread_t threads[RACERS];
    struct racer racers[RACERS];
    pthread_barrier_init(&r->start, NULL, RACERS);
    for (int i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){r, i};
        assert_int_equal(pthread_create(&threads[i], NULL, race_thread, &racers[i]), 0);
    }
    for (int i = 0; i < RACERS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&r->start);
}

static inline int race_count(const struct race *r, int code)
{
    int n = 0;
    for (int i = 0; i < RACERS; i++)
        n += r->codes[i] == code;
    return n;
}

#endif
