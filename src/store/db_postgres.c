/*
 * The driver of PostgreSQL (15 and newer), with libpq: one connection, used by one thread.
 *
 * All queries of a db_run go out in one pipeline: statements that are not prepared yet are
 * prepared in it, BEGIN is its first part (it is sent with the transaction's first query, not
 * before), and one Sync ends it. The server then drops what comes after a failure. What was sent
 * is kept as a list of steps, and the answers are taken in that order.
 *
 * Nothing waits for ever. The server ends a wait for a lock (lock_timeout) and a statement that
 * takes too long (statement_timeout); a server that is stopped or cut off is noticed here, by a
 * deadline on the socket and by TCP's keepalives. Such a connection is not good any more, and
 * what it was doing may or may not have happened.
 *
 * A server's statement is named after its slot in the cache. A slot that is used anew has its old
 * statement dropped in the same pipeline.
 */
#include "store/db_postgres_private.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OID_BOOL = 16, OID_INT8 = 20, OID_TEXT = 25, INT_CHARS = 24 };
/* Beyond the wait for a lock: the server's own limit comes first, so that it can say why. */
enum { STATEMENT_MS = 5000, ANSWER_MS = 8000 };

/* Waiting for the server */

static int lost(struct postgres_db *p, const char *doing, const char *why, struct error *e)
{
    p->db.good = false;
    return error_set(e, ERR_IO, "%s: %.60s: %s", p->db.name, doing, why);
}

static int lost_as_libpq_says(struct postgres_db *p, const char *doing, struct error *e)
{
    char why[256];
    postgres_clean(p, PQerrorMessage(p->conn), why, sizeof why);
    return lost(p, doing, why, e);
}

static int wait_for(struct postgres_db *p, short events, int64_t until_ms, struct error *e)
{
    struct pollfd fd = {.fd = PQsocket(p->conn), .events = events};
    if (fd.fd < 0)
        return lost_as_libpq_says(p, "waiting for the server", e);
    int64_t left_ms = until_ms < 0 ? -1 : until_ms - clock_mono_ms();
    if (until_ms >= 0 && left_ms < 0)
        left_ms = 0;
    int n = poll(&fd, 1, (int)left_ms);
    if (n == 0)
        return lost(p, "waiting for the server", "it does not answer", e);
    if (n < 0 && errno != EINTR)
        return lost(p, "waiting for the server", strerror(errno), e);
    if (n > 0 && (fd.revents & (POLLIN | POLLERR | POLLHUP)) && !PQconsumeInput(p->conn))
        return lost_as_libpq_says(p, "waiting for the server", e);
    return 0;
}

static int flush(struct postgres_db *p, int64_t until_ms, struct error *e)
{
    int left, rc = 0;
    while (rc == 0 && (left = PQflush(p->conn)) != 0) {
        if (left < 0)
            return lost_as_libpq_says(p, "sending", e);
        rc = wait_for(p, POLLIN | POLLOUT, until_ms, e);
    }
    return rc;
}

/* The next result, or NULL where there is none. */
static int next_result(struct postgres_db *p, int64_t until_ms, PGresult **out, struct error *e)
{
    int rc = 0;
    while (rc == 0 && PQisBusy(p->conn))
        rc = wait_for(p, POLLIN, until_ms, e);
    *out = rc ? NULL : PQgetResult(p->conn);
    return rc;
}

static int64_t deadline(const struct postgres_db *p)
{
    return p->patient ? -1 : clock_mono_ms() + p->db.wait_ms + ANSWER_MS;
}

/* Errors */

static bool starts(const char *state, const char *with)
{
    return strncmp(state, with, strlen(with)) == 0;
}

/* Classes of SQLSTATE after which this connection is of no use: the server goes down or became a
 * standby, or it does not hold the statements that were prepared (any more, or not in this shape).
 */
static bool ends_connection(const char *state)
{
    return starts(state, "08") || starts(state, "57P") || starts(state, "26") ||
           starts(state, "0A") || starts(state, "25006") || starts(state, "25P03");
}

static int code_of(const char *state)
{
    if (starts(state, "23505"))
        return ERR_EXISTS;
    /* serialization, deadlock, a lock's wait, a statement's time */
    if (starts(state, "40") || starts(state, "55P03") || starts(state, "57014"))
        return ERR_BUSY;
    return ERR_IO;
}

/* The main line alone: an error's detail may show what is in the row. */
static int failed(struct postgres_db *p, const PGresult *r, const char *doing, struct error *e)
{
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    char why[256];
    if (!state || PQstatus(p->conn) == CONNECTION_BAD)
        return lost_as_libpq_says(p, doing, e);
    if (ends_connection(state))
        p->db.good = false;
    postgres_clean(p, text ? text : "", why, sizeof why);
    return error_set(e, code_of(state), "%s: %.60s: %s (%s)", p->db.name, doing, why, state);
}

/* The pipeline: sending */

static int add_step(struct postgres_db *p, int sent, enum step_kind kind, struct db_query *q,
                    struct db_statement *st, struct error *e)
{
    if (!sent)
        return lost_as_libpq_says(p, "sending", e);
    p->steps[p->n_steps++] = (struct step){kind, q, st};
    return 0;
}

static int send_text(struct postgres_db *p, enum step_kind kind, const char *sql,
                     struct db_statement *st, struct error *e)
{
    int sent = PQsendQueryParams(p->conn, sql, 0, NULL, NULL, NULL, NULL, 0);
    return add_step(p, sent, kind, NULL, st, e);
}

static int send_sync(struct postgres_db *p, struct error *e)
{
    return add_step(p, PQpipelineSync(p->conn), STEP_SYNC, NULL, NULL, e);
}

/* The session's settings, before a transaction, so that none of them goes with its rollback. What
 * a transaction that writes looks for has an index, always; a plan that was made while its table
 * was small, and kept, must not read the whole of it when it has grown. */
static int send_settings(struct postgres_db *p, struct error *e)
{
    char sql[320];
    bool loose = !p->db.durable, seeks = p->db.inside ? p->db.mode != DB_READ : p->seeks;
    int wait_ms = p->db.wait_ms > 0 ? p->db.wait_ms : 1;
    if (p->wait_ms == wait_ms && p->loose == loose && p->seeks == seeks)
        return 0;
    snprintf(sql, sizeof sql,
             "SELECT set_config('lock_timeout', '%d', false),"
             " set_config('statement_timeout', '%d', false),"
             " set_config('synchronous_commit', '%s', false),"
             " set_config('enable_seqscan', '%s', false)",
             wait_ms, wait_ms + STATEMENT_MS, loose ? "off" : p->synchronous, seeks ? "off" : "on");
    int rc = send_text(p, STEP_SETTINGS, sql, NULL, e);
    p->next_wait_ms = wait_ms;
    p->next_loose = loose;
    p->next_seeks = seeks;
    return rc ? rc : send_sync(p, e);
}

static int send_begin(struct postgres_db *p, struct error *e)
{
    enum db_mode mode = p->db.mode;
    int rc = send_text(p, STEP_BEGIN,
                       mode == DB_READ ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
                                       : "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
                       NULL, e);
    if (rc == 0 && mode == DB_LOOSE && p->db.durable)
        rc = send_text(p, STEP_PLAIN, "SET LOCAL synchronous_commit TO off", NULL, e);
    return rc;
}

static void name_of(const struct postgres_db *p, const struct db_statement *st, char out[16])
{
    snprintf(out, 16, "mg%d", (int)(st - p->db.statements));
}

/* Numbers are told to be such, or "$1 > 0" would be taken for one of 32 bits. */
static int send_prepare(struct postgres_db *p, struct db_query *q, struct db_statement *st,
                        struct error *e)
{
    Oid types[DB_ARGS_MAX];
    char name[16], sql[32];
    int rc = 0;
    name_of(p, st, name);
    if (st->on_server) {
        snprintf(sql, sizeof sql, "DEALLOCATE %s", name);
        rc = send_text(p, STEP_DEALLOCATE, sql, st, e);
    }
    for (int i = 0; i < q->n_args; i++)
        types[i] = q->args[i].kind == DB_INT ? OID_INT8 : q->args[i].kind == DB_TEXT ? OID_TEXT : 0;
    if (rc == 0) {
        char *text = db_words(&db_postgres, q->sql);
        int sent = PQsendPrepare(p->conn, name, text, q->n_args, types);
        free(text);
        rc = add_step(p, sent, STEP_PREPARE, q, st, e);
    }
    st->handle = st; /* until its answer says something else */
    return rc;
}

static int send_query(struct postgres_db *p, struct db_query *q, struct error *e)
{
    struct db_statement *st = db_statement(&p->db, q->sql);
    const char *values[DB_ARGS_MAX];
    char numbers[DB_ARGS_MAX][INT_CHARS], name[16];
    int rc = st->handle ? 0 : send_prepare(p, q, st, e);
    if (rc)
        return rc;
    for (int i = 0; i < q->n_args; i++) {
        const struct db_value *v = &q->args[i];
        snprintf(numbers[i], INT_CHARS, "%lld", (long long)v->number);
        values[i] = v->kind == DB_INT ? numbers[i] : v->kind == DB_TEXT ? v->text : NULL;
    }
    name_of(p, st, name);
    int sent = PQsendQueryPrepared(p->conn, name, q->n_args, values, NULL, NULL, 0);
    return add_step(p, sent, STEP_QUERY, q, st, e);
}

/* The pipeline: taking answers */

static void read_rows(const PGresult *r, struct db_rows *rows)
{
    int columns = PQnfields(r);
    db_start_rows(rows, (size_t)columns);
    for (int i = 0; i < PQntuples(r) && columns > 0; i++) {
        db_add_row(rows);
        for (int k = 0; k < columns; k++) {
            const char *text = PQgetvalue(r, i, k);
            size_t len = (size_t)PQgetlength(r, i, k);
            if (PQftype(r, k) == OID_BOOL) /* as SQLite tells it */
                text = *text == 't' ? "1" : "0";
            if (!PQgetisnull(r, i, k))
                db_set_cell(rows, (size_t)k, text, len);
        }
    }
}

/* SELECT counts its rows, too: those are not changed. */
static int64_t count_changed(PGresult *r)
{
    return starts(PQcmdStatus(r), "SELECT") ? 0 : strtoll(PQcmdTuples(r), NULL, 10);
}

static void note_success(struct postgres_db *p, const struct step *s, PGresult *r)
{
    switch (s->kind) {
    case STEP_SETTINGS:
        p->wait_ms = p->next_wait_ms;
        p->loose = p->next_loose;
        p->seeks = p->next_seeks;
        break;
    case STEP_BEGIN:
        p->begun = true;
        break;
    case STEP_DEALLOCATE:
        s->statement->on_server = false;
        break;
    case STEP_PREPARE:
        s->statement->on_server = true;
        break;
    case STEP_QUERY:
        read_rows(r, &s->query->rows);
        s->query->changed = count_changed(r);
        break;
    case STEP_PLAIN:
    case STEP_SYNC:
        break;
    }
}

static int take_result(struct postgres_db *p, const struct step *s, PGresult *r, bool told,
                       struct error *e)
{
    ExecStatusType status = PQresultStatus(r);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_PIPELINE_SYNC) {
        note_success(p, s, r);
        return 0;
    }
    if (s->kind == STEP_PREPARE)
        s->statement->handle = NULL;
    if (told || status == PGRES_PIPELINE_ABORTED) /* because of one before */
        return ERR_IO;
    return failed(p, r, s->query ? s->query->sql : "a transaction", e);
}

/* The first failure is the one that is told. */
static int take_answers(struct postgres_db *p, int64_t until_ms, struct error *e)
{
    int first = 0;
    for (size_t i = 0; i < p->n_steps; i++) {
        PGresult *r;
        do {
            int rc = next_result(p, until_ms, &r, first ? NULL : e);
            if (rc)
                return first ? first : rc;
            rc = r ? take_result(p, &p->steps[i], r, first != 0, e) : 0;
            if (first == 0)
                first = rc;
            PQclear(r);
        } while (r && p->steps[i].kind != STEP_SYNC);
    }
    return first;
}

static int run_some(struct postgres_db *p, struct db_query *list, size_t n, struct error *e)
{
    int64_t until_ms = deadline(p);
    int rc = 0;
    p->n_steps = 0;
    if (!PQenterPipelineMode(p->conn))
        return lost_as_libpq_says(p, "sending", e);
    if (!p->begun)
        rc = send_settings(p, e);
    if (rc == 0 && p->db.inside && !p->begun)
        rc = send_begin(p, e);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = send_query(p, &list[i], e);
    if (rc == 0)
        rc = send_sync(p, e);
    if (rc == 0)
        rc = flush(p, until_ms, e);
    if (rc == 0)
        rc = take_answers(p, until_ms, e);
    if (p->db.good && !PQexitPipelineMode(p->conn))
        rc = lost_as_libpq_says(p, "receiving", e);
    return rc;
}

/* Outside a transaction a pipeline would be one: there each query goes alone. */
static int run_postgres(struct db *d, struct db_query *list, size_t n, struct error *e)
{
    struct postgres_db *p = postgres_of(d);
    size_t most = d->inside ? POSTGRES_PIPELINE : 1;
    int rc = 0;
    while (n > 0 && rc == 0) {
        size_t now = n < most ? n : most;
        rc = run_some(p, list, now, e);
        list += now;
        n -= now;
    }
    return rc;
}

/* Transactions and scripts */

/* Runs one text as it is, which may hold several statements; `tag` gets the last one's word. */
static int run_text(struct postgres_db *p, const char *sql, char *tag, size_t tag_bytes,
                    struct error *e)
{
    int64_t until_ms = deadline(p);
    PGresult *r = NULL;
    int rc = 0, first = 0;
    if (!PQsendQuery(p->conn, sql))
        return lost_as_libpq_says(p, sql, e);
    rc = flush(p, until_ms, e);
    while (rc == 0 && (rc = next_result(p, until_ms, &r, first ? NULL : e)) == 0 && r) {
        ExecStatusType status = PQresultStatus(r);
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && first == 0)
            first = failed(p, r, sql, e);
        if (tag)
            snprintf(tag, tag_bytes, "%s", PQcmdStatus(r));
        PQclear(r);
    }
    return first ? first : rc;
}

static int begin_postgres(struct db *d, enum db_mode mode, struct error *e)
{
    (void)mode;
    (void)e;
    postgres_of(d)->begun = false; /* goes with the first query */
    return 0;
}

static void end_transaction(struct postgres_db *p)
{
    p->begun = false;
    p->patient = false;
}

/* A transaction that failed answers a COMMIT with a ROLLBACK, as a success. */
static int commit_postgres(struct db *d, struct error *e)
{
    struct postgres_db *p = postgres_of(d);
    char tag[32] = "";
    if (!p->begun)
        return 0;
    int rc = run_text(p, "COMMIT", tag, sizeof tag, e);
    if (rc == 0 && strcmp(tag, "COMMIT") != 0)
        rc = error_set(e, ERR_IO, "%s: the transaction was rolled back", d->name);
    end_transaction(p);
    return rc;
}

static void rollback_postgres(struct db *d)
{
    struct postgres_db *p = postgres_of(d);
    if (d->good && PQtransactionStatus(p->conn) != PQTRANS_IDLE &&
        run_text(p, "ROLLBACK", NULL, 0, NULL) != 0)
        d->good = false;
    end_transaction(p);
}

static int script_postgres(struct db *d, const char *sql, struct error *e)
{
    struct postgres_db *p = postgres_of(d);
    int rc = p->begun ? 0 : run_some(p, NULL, 0, e);
    return rc ? rc : run_text(p, sql, NULL, 0, e);
}

/* The schema's version: the only row of a table of its own. */

static int ask_number(struct db *d, const char *sql, int64_t *out, struct error *e)
{
    struct db_query q;
    db_sql(&q, sql);
    int rc = run_postgres(d, &q, 1, e);
    *out = rc == 0 && q.rows.n > 0 ? db_int(&q.rows, 0, 0) : 0;
    db_done(&q, 1);
    return rc;
}

/* Not to_regclass, which may remember from before a lock was waited for that there was no table. */
static int version_postgres(struct db *d, int *version, struct error *e)
{
    int64_t n = 0;
    *version = 0;
    int rc = ask_number(d,
                        "SELECT count(*) FROM pg_catalog.pg_tables"
                        " WHERE schemaname = current_schema() AND tablename = 'moongate_schema'",
                        &n, e);
    if (rc == 0 && n != 0)
        rc = ask_number(d, "SELECT version FROM moongate_schema", &n, e);
    *version = (int)n;
    return rc;
}

static int set_version_postgres(struct db *d, int version, struct error *e)
{
    char sql[512];
    snprintf(sql, sizeof sql,
             "CREATE TABLE IF NOT EXISTS moongate_schema ("
             "  only_row bigint PRIMARY KEY CHECK (only_row = 1), version bigint NOT NULL);"
             "INSERT INTO moongate_schema (only_row, version) VALUES (1, %d)"
             "  ON CONFLICT (only_row) DO UPDATE SET version = EXCLUDED.version",
             version);
    return script_postgres(d, sql, e);
}

/* A migration may take long, and so may waiting for somebody else's. */
static int lock_schema_postgres(struct db *d, struct error *e)
{
    struct postgres_db *p = postgres_of(d);
    int rc = p->begun ? 0 : run_some(p, NULL, 0, e);
    p->patient = true;
    return rc ? rc
              : run_text(p,
                         "SET LOCAL lock_timeout TO 0; SET LOCAL statement_timeout TO 0;"
                         "SELECT pg_advisory_xact_lock(1836019567, hashtext(current_schema()))",
                         NULL, 0, e);
}

static int copy_file_postgres(struct db *d, const char *path, struct error *e)
{
    (void)path;
    return error_set(e, ERR_UNSUPPORTED, "%s: PostgreSQL is copied with pg_dump", d->name);
}

static void set_wait_postgres(struct db *d)
{
    (void)d; /* goes with the next transaction, see send_settings */
}

const struct db_driver db_postgres = {
    .kind = DB_POSTGRES,
    .handle_bytes = sizeof(struct postgres_db),
    .id_type = "bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
    .int_type = "bigint",
    .strict = "",
    .open = postgres_open,
    .shut = postgres_shut,
    .free = postgres_free,
    .begin = begin_postgres,
    .commit = commit_postgres,
    .rollback = rollback_postgres,
    .run = run_postgres,
    .script = script_postgres,
    .version = version_postgres,
    .set_version = set_version_postgres,
    .lock_schema = lock_schema_postgres,
    .copy_file = copy_file_postgres,
    .set_wait = set_wait_postgres,
};
