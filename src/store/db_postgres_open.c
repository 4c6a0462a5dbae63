/*
 * The connection to PostgreSQL: reading its address, opening it, and the session's settings.
 *
 * The address may hold a password. It is shown nowhere: people see host and database, and libpq's
 * texts pass a filter. An address in which user and password are not percent-encoded is refused
 * first, because libpq would take a part of them for the host and say so.
 */
#include "store/db_postgres_private.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void postgres_clean(const struct postgres_db *p, const char *text, char *out, size_t out_bytes)
{
    size_t len = 0, secret = p->password ? strlen(p->password) : 0;
    while (*text && len + 4 < out_bytes) {
        if (secret > 0 && strncmp(text, p->password, secret) == 0) {
            memcpy(out + len, "***", 3);
            len += 3;
            text += secret;
        } else {
            unsigned char c = (unsigned char)*text++;
            out[len++] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
        }
    }
    while (len > 0 && out[len - 1] == ' ')
        len--;
    out[len] = '\0';
}

/* The address */

/* libpq ends user and password at the first @ that stands before a slash. */
static bool is_well_formed(const char *url)
{
    const char *start = strstr(url, "://") + 3, *at = strchr(start, '@');
    return !at || (at < start + strcspn(start, "/") && !strchr(at + 1, '@'));
}

static const char *value_of(const PQconninfoOption *options, const char *keyword)
{
    for (; options->keyword; options++) {
        if (strcmp(options->keyword, keyword) == 0 && options->val && *options->val)
            return options->val;
    }
    return NULL;
}

/* For people: "host:port/database". */
static char *make_name(const PQconninfoOption *options)
{
    const char *host = value_of(options, "host"), *port = value_of(options, "port");
    const char *base = value_of(options, "dbname");
    char name[256];
    if (!host)
        host = value_of(options, "hostaddr");
    snprintf(name, sizeof name, "%s%s%s/%s", host ? host : "postgres", port ? ":" : "",
             port ? port : "", base ? base : "");
    return mem_strdup(name);
}

static int malformed(struct error *e)
{
    return error_set(e, ERR_INVALID,
                     "the store's address is not of the form "
                     "postgres://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE with special "
                     "characters percent-encoded");
}

static int read_address(struct postgres_db *p, struct error *e)
{
    PQconninfoOption *options = is_well_formed(p->db.url) ? PQconninfoParse(p->db.url, NULL) : NULL;
    if (!options)
        return malformed(e);
    const char *password = value_of(options, "password"), *port = value_of(options, "port");
    if (port && port[strspn(port, "0123456789,")] != '\0') { /* a password without a host? */
        PQconninfoFree(options);
        return malformed(e);
    }
    p->password = password ? mem_strdup(password) : NULL;
    p->db.name = make_name(options);
    PQconninfoFree(options);
    return 0;
}

/* The session */

static int refuse(struct postgres_db *p, struct error *e)
{
    char why[300];
    postgres_clean(p, PQerrorMessage(p->conn), why, sizeof why);
    return error_set(e, ERR_IO, "%s: %s", p->db.name, why);
}

static int check_server(struct postgres_db *p, struct error *e)
{
    int version = PQserverVersion(p->conn);
    if (version >= POSTGRES_LEAST)
        return 0;
    return error_set(e, ERR_UNSUPPORTED,
                     "%s: the server is PostgreSQL %d.%d, and %d or newer is needed", p->db.name,
                     version / 10000, version % 10000, POSTGRES_LEAST / 10000);
}

/* One schema is used and no temporary table stands before it. A client that hangs in a transaction
 * loses its locks after a while. */
static const char settings[] =
    "SET standard_conforming_strings TO on;"
    "SET client_min_messages TO error;"
    "SET bytea_output TO hex;"
    "SET timezone TO 'UTC';"
    "SET jit TO off;"
    "SET row_security TO off;"
    "SET idle_in_transaction_session_timeout TO '60s';"
    "SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', false)";

/* reset_val: what the session began with. A server whose default is to lose commits is overruled.
 */
static const char question[] = "SELECT current_schema(), current_setting('server_encoding'),"
                               "  (SELECT CASE reset_val WHEN 'off' THEN 'on' ELSE reset_val END"
                               "    FROM pg_catalog.pg_settings WHERE name = 'synchronous_commit'),"
                               "  current_setting('search_path')";

static int check_session(struct postgres_db *p, const struct db_rows *r, struct error *e)
{
    if (db_null(r, 0, 0) || !strstr(db_text(r, 0, 3), ", pg_temp"))
        return error_set(e, ERR_IO, "%s: the search_path names no schema that is there",
                         p->db.name);
    if (strcmp(db_text(r, 0, 1), "UTF8") != 0)
        return error_set(e, ERR_UNSUPPORTED, "%s: the database's encoding is %s, UTF8 is needed",
                         p->db.name, db_text(r, 0, 1));
    db_copy(r, 0, 2, p->synchronous, sizeof p->synchronous);
    p->wait_ms = 0; /* the session is told with the next transaction */
    return 0;
}

static int set_session(struct postgres_db *p, struct error *e)
{
    struct db_query q;
    snprintf(p->synchronous, sizeof p->synchronous, "on"); /* until the server's is known */
    db_sql(&q, question);
    int rc = db_postgres.script(&p->db, settings, e);
    if (rc == 0)
        rc = db_postgres.run(&p->db, &q, 1, e);
    if (rc == 0)
        rc = check_session(p, &q.rows, e);
    db_done(&q, 1);
    return rc;
}

static void ignore_notice(void *arg, const char *text)
{
    (void)arg;
    (void)text;
}

/* What the address says goes before these, but for the encoding. A server that may only be read
 * is passed over. */
static PGconn *connect_to(const char *url)
{
    const char *const keywords[] = {"connect_timeout",
                                    "keepalives",
                                    "keepalives_idle",
                                    "keepalives_interval",
                                    "keepalives_count",
                                    "tcp_user_timeout",
                                    "application_name",
                                    "target_session_attrs",
                                    "dbname",
                                    "client_encoding",
                                    NULL};
    const char *const values[] = {"5",        "1",          "5", "2",    "3", "8000",
                                  "moongate", "read-write", url, "UTF8", NULL};
    return PQconnectdbParams(keywords, values, 1);
}

int postgres_open(struct db *d, bool create, struct error *e)
{
    struct postgres_db *p = postgres_of(d);
    (void)create; /* the database is the administrator's to make */
    int rc = d->name ? 0 : read_address(p, e);
    if (rc)
        return rc;
    p->conn = connect_to(d->url);
    if (PQstatus(p->conn) != CONNECTION_OK)
        return refuse(p, e);
    PQsetNoticeProcessor(p->conn, ignore_notice, NULL);
    rc = check_server(p, e);
    if (rc == 0 && PQsetnonblocking(p->conn, 1) != 0)
        rc = refuse(p, e);
    d->good = true; /* from here on answers have a deadline */
    return rc ? rc : set_session(p, e);
}

void postgres_shut(struct db *d)
{
    struct postgres_db *p = postgres_of(d);
    PQfinish(p->conn);
    p->conn = NULL;
    p->begun = p->patient = p->loose = p->seeks = false;
    p->wait_ms = 0;
}

void postgres_free(struct db *d)
{
    free(postgres_of(d)->password);
}
