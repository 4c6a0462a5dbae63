/*
 * The tables, as numbered migrations. Row n brings version n to n + 1; a row that was released is
 * never changed. All that is missing runs in one transaction under a lock, so of several programs
 * that start together one migrates and the others find it done.
 *
 * Money: an application's balance is what it may still spend. A hold takes its amount out of the
 * balance; a settlement gives back what was not used. So at any time, for each application,
 *
 *     sum of grants - charges of all calls - sum of open holds = balance
 *
 * (a grant that expired has a second row of the unspent rest, negative). `ledger verify` proves
 * it from the rows. Calls are in one table a day, calls_YYYYMMDD (ledger_days.c makes them), so
 * that a day is dropped at once; totals by the hour are kept.
 */
#include "store/store_private.h"

#include <stdio.h>
#include <string.h>

struct migration {
    const char *sqlite, *postgres; /* NULL: the same as sqlite */
};

/* A key's `cap_micros` is -1 where it has none. `kind`: 0 calls the API, 1 is a platform token.
 * Times are 0 where there is none. */
static const char accounts_and_books[] =
    "CREATE TABLE accounts ("
    "  id {id},"
    "  email TEXT NOT NULL UNIQUE," /* lower case; of the operator's own account '' */
    "  person TEXT NOT NULL,"       /* hash of the identity: whose free quota it is */
    "  name TEXT NOT NULL DEFAULT '',"
    "  password TEXT NOT NULL DEFAULT ''," /* argon2id; '' cannot log in with one */
    "  role {int} NOT NULL DEFAULT 0,"     /* 0 user, 1 administrator */
    "  disabled {int} NOT NULL DEFAULT 0,"
    "  must_change {int} NOT NULL DEFAULT 0,"         /* a one-time password */
    "  oidc_subject TEXT UNIQUE,"                     /* issuer and subject, or NULL */
    "  requests_per_minute {int} NOT NULL DEFAULT 0," /* 0: as the configuration says */
    "  tokens_per_minute {int} NOT NULL DEFAULT 0,"
    "  concurrent {int} NOT NULL DEFAULT 0,"
    "  created_ms {int} NOT NULL,"
    "  login_ms {int} NOT NULL DEFAULT 0"
    "){strict};"
    "CREATE TABLE sessions ("
    "  hash TEXT PRIMARY KEY,"
    "  account_id {int} NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,"
    "  created_ms {int} NOT NULL,"
    "  used_ms {int} NOT NULL,"
    "  expires_ms {int} NOT NULL"
    "){strict};"
    "CREATE INDEX sessions_account ON sessions (account_id);"
    "CREATE INDEX sessions_expires ON sessions (expires_ms);"
    "CREATE TABLE links (" /* good once: reset, invite, oidc */
    "  hash TEXT PRIMARY KEY,"
    "  kind TEXT NOT NULL,"
    "  account_id {int} REFERENCES accounts (id) ON DELETE CASCADE,"
    "  email TEXT NOT NULL DEFAULT '',"
    "  detail TEXT NOT NULL DEFAULT '',"
    "  created_ms {int} NOT NULL,"
    "  expires_ms {int} NOT NULL,"
    "  used_ms {int} NOT NULL DEFAULT 0"
    "){strict};"
    "CREATE INDEX links_expires ON links (expires_ms);"
    "CREATE TABLE applications ("
    "  id {id},"
    "  account_id {int} NOT NULL REFERENCES accounts (id),"
    "  service TEXT NOT NULL,"
    "  balance_micros {int} NOT NULL DEFAULT 0 CHECK (balance_micros >= 0),"
    "  held_micros {int} NOT NULL DEFAULT 0 CHECK (held_micros >= 0),"
    "  granted_micros {int} NOT NULL DEFAULT 0,"
    "  charged_micros {int} NOT NULL DEFAULT 0,"
    "  expiring {int} NOT NULL DEFAULT 0," /* grants with an end that is not over */
    "  disabled {int} NOT NULL DEFAULT 0,"
    "  created_ms {int} NOT NULL,"
    "  updated_ms {int} NOT NULL,"
    "  UNIQUE (account_id, service)"
    "){strict};"
    "CREATE TABLE grants ("
    "  id {id},"
    "  application_id {int} NOT NULL REFERENCES applications (id),"
    "  amount_micros {int} NOT NULL,"         /* negative: taken back */
    "  used_micros {int} NOT NULL DEFAULT 0," /* of one that expires */
    "  kind TEXT NOT NULL,"                   /* free, admin, command, expiry */
    "  note TEXT NOT NULL DEFAULT '',"
    "  by_account {int} NOT NULL DEFAULT 0,"
    "  created_ms {int} NOT NULL,"
    "  expires_ms {int} NOT NULL DEFAULT 0,"
    "  expired_ms {int} NOT NULL DEFAULT 0"
    "){strict};"
    "CREATE INDEX grants_application ON grants (application_id, id);"
    "CREATE INDEX grants_expires ON grants (expires_ms) WHERE expires_ms > 0 AND expired_ms = 0;"
    "CREATE TABLE persons (" /* outlives accounts: who had the free quota */
    "  hash TEXT PRIMARY KEY,"
    "  granted_ms {int} NOT NULL"
    "){strict};"
    "CREATE TABLE network_grants ("
    "  network TEXT NOT NULL,"
    "  day {int} NOT NULL," /* 20261128 */
    "  n {int} NOT NULL,"
    "  PRIMARY KEY (network, day)"
    "){strict};"
    "CREATE TABLE holds ("
    "  trace_id TEXT PRIMARY KEY,"
    "  application_id {int} NOT NULL REFERENCES applications (id),"
    "  key_id {int} NOT NULL,"
    "  amount_micros {int} NOT NULL CHECK (amount_micros >= 0),"
    "  created_ms {int} NOT NULL,"
    "  deadline_ms {int} NOT NULL"
    "){strict};"
    "CREATE INDEX holds_deadline ON holds (deadline_ms);"
    "CREATE INDEX holds_application ON holds (application_id);"
    "CREATE TABLE days ("
    "  day {int} PRIMARY KEY," /* 20261128: calls_20261128 is there */
    "  created_ms {int} NOT NULL"
    "){strict};"
    "CREATE TABLE totals ("
    "  hour_ms {int} NOT NULL,"
    "  application_id {int} NOT NULL,"
    "  key_id {int} NOT NULL,"
    "  model TEXT NOT NULL,"
    "  calls {int} NOT NULL DEFAULT 0,"
    "  failed {int} NOT NULL DEFAULT 0," /* of them: status 400 and up */
    "  prompt_tokens {int} NOT NULL DEFAULT 0,"
    "  cached_tokens {int} NOT NULL DEFAULT 0,"
    "  reasoning_tokens {int} NOT NULL DEFAULT 0,"
    "  completion_tokens {int} NOT NULL DEFAULT 0,"
    "  cost_micros {int} NOT NULL DEFAULT 0,"
    "  charged_micros {int} NOT NULL DEFAULT 0,"
    "  PRIMARY KEY (application_id, hour_ms, key_id, model)"
    "){strict};"
    "CREATE INDEX totals_hour ON totals (hour_ms);";

#define KEY_COLUMNS                                                                                \
    "  id {id},"                                                                                   \
    "  application_id {int} NOT NULL REFERENCES applications (id),"                                \
    "  kind {int} NOT NULL DEFAULT 0,"                                                             \
    "  hash TEXT NOT NULL UNIQUE,"                                                                 \
    "  name TEXT NOT NULL,"                                                                        \
    "  prefix TEXT NOT NULL,"                                                                      \
    "  models TEXT NOT NULL DEFAULT '',"   /* comma-separated, empty: all */                       \
    "  networks TEXT NOT NULL DEFAULT ''," /* comma-separated CIDR, empty: all */                  \
    "  cap_micros {int} NOT NULL DEFAULT -1,"                                                      \
    "  used_micros {int} NOT NULL DEFAULT 0,"                                                      \
    "  held_micros {int} NOT NULL DEFAULT 0 CHECK (held_micros >= 0),"                             \
    "  requests_per_minute {int} NOT NULL DEFAULT 0,"                                              \
    "  tokens_per_minute {int} NOT NULL DEFAULT 0,"                                                \
    "  concurrent {int} NOT NULL DEFAULT 0,"                                                       \
    "  created_ms {int} NOT NULL,"                                                                 \
    "  expires_ms {int} NOT NULL DEFAULT 0,"                                                       \
    "  revoked_ms {int} NOT NULL DEFAULT 0,"                                                       \
    "  used_ms {int} NOT NULL DEFAULT 0,"                                                          \
    "  disabled {int} NOT NULL DEFAULT 0"

/* The operator's own account, which keys of the command line belong to: nobody can log in to it. */
#define OPERATOR                                                                                   \
    "INSERT INTO accounts (email, person, name, created_ms) VALUES ('', '', 'operator', 0);"       \
    "INSERT INTO applications (account_id, service, created_ms, updated_ms) "                      \
    "  SELECT id, 'kimi', 0, 0 FROM accounts WHERE email = '';"

static const char keys_anew_sqlite[] =
    "ALTER TABLE keys RENAME TO keys_v1;"
    "DROP INDEX keys_name;" OPERATOR "CREATE TABLE keys (" KEY_COLUMNS "){strict};"
    /* Keys of before have no quota: as new ones without, they call what costs nothing. */
    "INSERT INTO keys (id, application_id, hash, name, prefix, models, cap_micros, created_ms,"
    "  expires_ms, revoked_ms, used_ms, disabled)"
    "  SELECT k.id, a.id, lower(hex(k.hash)), k.name, k.prefix, k.models, 0, k.created_ms,"
    "    k.expires_ms, k.revoked_ms, k.used_ms, k.disabled"
    "  FROM keys_v1 k, applications a ORDER BY k.id;"
    "DROP TABLE keys_v1;"
    "CREATE INDEX keys_name ON keys (name);"
    "CREATE INDEX keys_application ON keys (application_id, id);";

static const char keys_anew_postgres[] =
    OPERATOR "CREATE TABLE keys (" KEY_COLUMNS "){strict};"
             "CREATE INDEX keys_name ON keys (name);"
             "CREATE INDEX keys_application ON keys (application_id, id);";

static const struct migration migrations[] = {
    {"CREATE TABLE keys ("
     "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
     "  hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),"
     "  name TEXT NOT NULL,"
     "  prefix TEXT NOT NULL,"
     "  models TEXT NOT NULL,"
     "  created_ms INTEGER NOT NULL,"
     "  expires_ms INTEGER NOT NULL,"
     "  revoked_ms INTEGER NOT NULL DEFAULT 0,"
     "  used_ms INTEGER NOT NULL DEFAULT 0,"
     "  disabled INTEGER NOT NULL DEFAULT 0"
     ") STRICT;"
     "CREATE INDEX keys_name ON keys (name);",
     ""},
    {accounts_and_books, NULL},
    {keys_anew_sqlite, keys_anew_postgres},
};

int schema_version(void)
{
    return sizeof migrations / sizeof migrations[0];
}

static int check_version(struct db *d, int *version, struct error *e)
{
    int rc = db_version(d, version, e);
    if (rc == 0 && (*version < 0 || *version > schema_version()))
        rc = error_set(e, ERR_UNSUPPORTED,
                       "%s: has schema %d, this program knows up to %d; run the program that "
                       "wrote it, or a newer one",
                       db_name(d), *version, schema_version());
    return rc;
}

static int step_up(struct db *d, int version, struct error *e)
{
    const struct migration *m = &migrations[version];
    const char *sql = db_kind(d) == DB_POSTGRES && m->postgres ? m->postgres : m->sqlite;
    return *sql ? db_script(d, sql, e) : 0;
}

static int migrate(struct db *d, const struct store_options *o, struct error *e)
{
    int version, rc = db_begin(d, DB_WRITE, e);
    if (rc)
        return rc;
    rc = db_lock_schema(d, e);
    if (rc == 0) /* another process may have been faster */
        rc = check_version(d, &version, e);
    while (rc == 0 && version < schema_version()) {
        if (o->progress)
            o->progress(o->progress_arg, "migrating", version * 100 / schema_version());
        rc = step_up(d, version++, e);
    }
    if (rc == 0)
        rc = db_set_version(d, version, e);
    if (rc == 0)
        rc = db_commit(d, e);
    if (rc)
        db_rollback(d);
    return rc;
}

int schema_open(struct db *d, const struct store_options *o, struct error *e)
{
    int version, rc = check_version(d, &version, e);
    if (rc || version == schema_version())
        return rc;
    if (!o->migrate)
        return error_set(e, ERR_UNSUPPORTED,
                         "%s: has schema %d where %d is needed; `moongate serve` "
                         "brings it up to date",
                         db_name(d), version, schema_version());
    return migrate(d, o, e);
}
