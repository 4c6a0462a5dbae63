/*
 * `moongate key create|list|revoke`: works on the database itself, also beside a serving process.
 *
 * The key stands alone on standard output, so that KEY=$(moongate key create) works; it is told
 * once and kept nowhere.
 */
#include "command.h"
#include "command_open.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "gate/gate.h"
#include "store/accounts.h"
#include "store/applications.h"
#include "store/keys.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char create_help[] =
    "Usage: moongate key create [OPTION]...\n"
    "Makes a key and prints it, once; only its hash is kept.\n\n" COMMAND_PLACE_HELP
    "  --name S        what the key is called\n"
    "  --models A,B    the models that it may call (default: all)\n"
    "  --expires TIME  30d, 12h, 90m: how long it is good (default: for ever)\n"
    "  --quota USD     what it may spend; without, it calls models alone that cost nothing\n"
    "  --account EMAIL whose key it is: it spends that account's balance, --quota is its cap\n"
    "                  (default: the operator's own, which is granted the quota)\n";
static const char list_help[] =
    "Usage: moongate key list [OPTION]...\n"
    "Lists the keys, oldest first.\n\n" COMMAND_PLACE_HELP "  --json          as JSON\n";
static const char revoke_help[] = "Usage: moongate key revoke [OPTION]... ID|NAME\n"
                                  "Makes a key invalid, for good. A serving process refuses it "
                                  "within its limits.key_cache\n"
                                  "(1 s by default).\n\n" COMMAND_PLACE_HELP;

enum { WIDTH = 9, TIME_CHARS = 20, USD = 1000000 };

struct options {
    struct command_place place;
    const char *name, *models, *expires, *quota, *account;
    bool json;
};

/* 0 to go on; else *status is the exit status. */
static int read_options(int argc, char **argv, const char *help, struct options *o, int *status)
{
    static const struct option table[] = {{"data", required_argument, NULL, 'd'},
                                          {"config", required_argument, NULL, 'c'},
                                          {"name", required_argument, NULL, 'n'},
                                          {"models", required_argument, NULL, 'm'},
                                          {"expires", required_argument, NULL, 'e'},
                                          {"store", required_argument, NULL, 's'},
                                          {"quota", required_argument, NULL, 'q'},
                                          {"account", required_argument, NULL, 'a'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    bool creates = help == create_help, lists = help == list_help, wrong = false;
    int c;

    memset(o, 0, sizeof *o);
    opterr = 0;
    while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1) {
        const char **text = c == 'd'   ? &o->place.data
                            : c == 'c' ? &o->place.config
                            : c == 's' ? &o->place.store
                            : c == 'q' ? &o->quota
                            : c == 'a' ? &o->account
                            : c == 'n' ? &o->name
                            : c == 'm' ? &o->models
                            : c == 'e' ? &o->expires
                                       : NULL;
        wrong = c == '?' || (strchr("nmeqa", c) && !creates) || (c == 'j' && !lists);
        if (c == 'h') {
            fputs(help, stdout);
            *status = COMMAND_GOOD;
            return -1;
        }
        if (wrong)
            break;
        if (text)
            *text = optarg;
        o->json |= c == 'j';
    }
    if (wrong)
        command_error("key %s takes no option %s, or it lacks its value", argv[0],
                      argv[optind - 1]);
    if (!wrong && argc - optind != (help == revoke_help)) {
        wrong = true;
        command_error(help == revoke_help ? "key %s needs the number or the name of one key"
                                          : "key %s takes no further arguments",
                      argv[0]);
    }
    if (!wrong)
        return 0;
    fprintf(stderr, "Try `moongate key %s --help`.\n", argv[0]);
    *status = COMMAND_USAGE;
    return -1;
}

static int fail(const struct error *e)
{
    command_error("%s", e->text);
    return COMMAND_FAILED;
}

/* create */

/* A name of digits alone could not be told from a key's number. */
static int check_name(const char *name, struct error *e)
{
    size_t len = strlen(name);
    if (len >= STORE_NAME_BYTES)
        return error_set(e, ERR_INVALID, "--name: longer than %d bytes", STORE_NAME_BYTES - 1);
    if (len > 0 && name[strspn(name, "0123456789")] == '\0')
        return error_set(e, ERR_INVALID, "--name: digits alone are a key's number");
    for (size_t i = 0; i < len;) {
        int n = utf8_char(name + i, len - i);
        if (n < 1 || (unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return error_set(e, ERR_INVALID, "--name: UTF-8 without control characters is needed");
        i += (size_t)n;
    }
    return 0;
}

static int check_models(const char *models, struct error *e)
{
    if (strlen(models) >= STORE_MODELS_BYTES)
        return error_set(e, ERR_INVALID, "--models: longer than %d bytes", STORE_MODELS_BYTES - 1);
    if (*models == ',' || strstr(models, ",,") || !*models || models[strlen(models) - 1] == ',')
        return error_set(e, ERR_INVALID, "--models: names with a comma between, like kimi-k2.5");
    for (const char *s = models; *s; s++) {
        if ((unsigned char)*s <= ' ' || *s == 0x7f)
            return error_set(e, ERR_INVALID, "--models: no spaces, only commas between names");
    }
    return 0;
}

static int make_key(struct store *s, struct store_key *row, char key[GATE_KEY_CHARS + 1],
                    struct error *e)
{
    uint8_t hash[STORE_HASH_BYTES];
    int64_t id;
    gate_key_hash(key, GATE_KEY_CHARS, hash);
    return store_key_add(s, hash, row, &id, e);
}

/* Whose the key is, and what it may spend: the operator's own application is granted what its key
 * is capped to, so that its keys do not spend each other's; an account's key spends the account's
 * balance. */
static int set_owner(struct store *s, const struct options *o, int64_t quota_micros,
                     struct store_key *row, struct error *e)
{
    struct store_account account;
    struct store_application application;
    int64_t id;
    int rc;
    if (!o->account) {
        rc = store_application_operator(s, &application, e);
    } else {
        rc = store_account_by_email(s, o->account, &account, e);
        if (rc == ERR_NOT_FOUND)
            return error_set(e, rc, "--account: there is no account %.200s", o->account);
        if (rc == 0)
            rc = store_application_of(s, account.id, true, row->created_ms, &application, NULL, e);
    }
    if (rc)
        return rc;
    row->application_id = application.id;
    row->cap_micros = o->quota ? quota_micros : o->account ? -1 : 0;
    if (o->account || quota_micros == 0)
        return 0;
    struct store_grant grant = {.application_id = application.id,
                                .amount_micros = quota_micros,
                                .kind = "command",
                                .created_ms = row->created_ms};
    snprintf(grant.note, sizeof grant.note, "quota of key %s", row->prefix);
    return store_grant_add(s, &grant, &id, e);
}

static int add_key(struct store *s, const struct options *o, int64_t quota_micros,
                   struct store_key *row, char key[GATE_KEY_CHARS + 1], struct error *e)
{
    gate_key_make(key);
    snprintf(row->prefix, sizeof row->prefix, "%.*s", WIDTH, key);
    int rc = store_begin(s, STORE_WRITE, e);
    if (rc == 0)
        rc = set_owner(s, o, quota_micros, row, e);
    if (rc == 0)
        rc = make_key(s, row, key, e);
    if (rc == 0)
        rc = store_commit(s, e);
    if (rc)
        store_rollback(s);
    return rc;
}

static int key_create(int argc, char **argv)
{
    struct options o;
    struct error e;
    struct store *s;
    struct store_key row = {.created_ms = clock_unix_ms(), .cap_micros = -1};
    char key[GATE_KEY_CHARS + 1];
    int64_t quota_micros = 0;
    int rc, status;

    if (read_options(argc, argv, create_help, &o, &status))
        return status;
    rc = o.name ? check_name(o.name, &e) : 0;
    if (rc == 0 && o.models)
        rc = check_models(o.models, &e);
    if (rc == 0 && o.expires)
        rc = command_read_expiry("--expires", o.expires, row.created_ms, &row.expires_ms, &e);
    if (rc == 0 && o.quota)
        rc = command_read_usd("--quota", o.quota, &quota_micros, &e);
    if (rc) {
        command_error("%s", e.text);
        return COMMAND_USAGE;
    }
    snprintf(row.name, sizeof row.name, "%s", o.name ? o.name : "");
    snprintf(row.models, sizeof row.models, "%s", o.models ? o.models : "");
    rc = command_open_store(&o.place, true, &s, &e);
    if (rc)
        return fail(&e);
    rc = add_key(s, &o, quota_micros, &row, key, &e);
    store_close(s);
    if (rc)
        return fail(&e);
    puts(key);
    if (fflush(stdout) != 0) {
        command_error("the key could not be written: %s", strerror(errno));
        return COMMAND_FAILED;
    }
    if (isatty(STDOUT_FILENO))
        fputs("This key is shown once: keep it now. Requests send it as\n"
              "\"Authorization: Bearer KEY\".\n",
              stderr);
    return COMMAND_GOOD;
}

/* list */

struct list {
    struct store_key *keys;
    size_t n;
};

static void collect(void *arg, const struct store_key *key)
{
    struct list *l = arg;
    if ((l->n & (l->n - 1)) == 0)
        l->keys = mem_realloc(l->keys, (l->n ? l->n * 2 : 1) * sizeof *l->keys);
    l->keys[l->n++] = *key;
}

static const char *state_of(const struct store_key *key)
{
    if (key->revoked_ms)
        return "revoked";
    if (key->expires_ms && key->expires_ms <= clock_unix_ms())
        return "expired";
    return key->disabled ? "disabled" : "active";
}

/* "2026-02-13T14:24:24Z", or `never` */
static const char *write_time(int64_t ms, const char *never, char out[TIME_CHARS + 1])
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;
    if (ms == 0 || !gmtime_r(&t, &tm) ||
        strftime(out, TIME_CHARS + 1, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        return never;
    return out;
}

static void write_json_string(struct buf *b, const char *name, const char *value)
{
    buf_addf(b, ",\"%s\":", name);
    if (value)
        json_write_string(b, value, strlen(value));
    else
        buf_adds(b, "null");
}

/* -1 is null: no cap */
static void write_json_usd(struct buf *b, const char *name, int64_t micros)
{
    if (micros < 0)
        buf_addf(b, ",\"%s\":null", name);
    else
        buf_addf(b, ",\"%s\":%lld.%06lld", name, (long long)(micros / USD),
                 (long long)(micros % USD));
}

static void write_json_models(struct buf *b, const char *models)
{
    const char *separator = "";
    buf_adds(b, ",\"models\":[");
    for (size_t len; *models; models += len + (models[len] == ',')) {
        len = strcspn(models, ",");
        buf_adds(b, separator);
        json_write_string(b, models, len);
        separator = ",";
    }
    buf_addc(b, ']');
}

static void write_json(struct buf *b, const struct list *l)
{
    char t[TIME_CHARS + 1];
    buf_addc(b, '[');
    for (size_t i = 0; i < l->n; i++) {
        const struct store_key *k = &l->keys[i];
        buf_addf(b, "%s{\"id\":%lld", i ? "," : "", (long long)k->id);
        write_json_string(b, "name", k->name);
        write_json_string(b, "key", k->prefix);
        write_json_models(b, k->models);
        write_json_string(b, "created", write_time(k->created_ms, NULL, t));
        write_json_string(b, "expires", write_time(k->expires_ms, NULL, t));
        write_json_string(b, "last_used", write_time(k->used_ms, NULL, t));
        buf_addf(b, ",\"kind\":\"%s\"", k->kind == STORE_KEY_PLATFORM ? "platform" : "calls");
        write_json_usd(b, "quota", k->cap_micros);
        write_json_usd(b, "used", k->used_micros);
        write_json_string(b, "state", state_of(k));
        buf_addc(b, '}');
    }
    buf_adds(b, "]\n");
}

enum { COLUMNS = 10, CELL_BYTES = STORE_MODELS_BYTES };

static void fill_row(const struct store_key *k, char cells[COLUMNS][CELL_BYTES])
{
    char t[TIME_CHARS + 1];
    snprintf(cells[0], CELL_BYTES, "%lld", (long long)k->id);
    snprintf(cells[1], CELL_BYTES, "%s", *k->name ? k->name : "-");
    snprintf(cells[2], CELL_BYTES, "%s…", k->prefix);
    snprintf(cells[3], CELL_BYTES, "%s", *k->models ? k->models : "all");
    snprintf(cells[4], CELL_BYTES, "%s", write_time(k->created_ms, "-", t));
    snprintf(cells[5], CELL_BYTES, "%s", write_time(k->expires_ms, "never", t));
    snprintf(cells[6], CELL_BYTES, "%s", write_time(k->used_ms, "never", t));
    if (k->cap_micros < 0)
        snprintf(cells[7], CELL_BYTES, "-");
    else
        snprintf(cells[7], CELL_BYTES, "%.2f", (double)k->cap_micros / USD);
    snprintf(cells[8], CELL_BYTES, "%.4f", (double)k->used_micros / USD);
    snprintf(cells[9], CELL_BYTES, "%s", state_of(k));
}

/* Characters, not bytes: wide ones still stand out of line. */
static size_t width_of(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void write_table(struct buf *b, const struct list *l)
{
    static const char *const heads[COLUMNS] = {"ID",      "NAME",      "KEY",   "MODELS", "CREATED",
                                               "EXPIRES", "LAST USED", "QUOTA", "USED",   "STATE"};
    char(*cells)[CELL_BYTES] = mem_array(COLUMNS, sizeof *cells);
    size_t widths[COLUMNS];
    for (int c = 0; c < COLUMNS; c++)
        widths[c] = strlen(heads[c]);
    for (size_t i = 0; i < l->n; i++) {
        fill_row(&l->keys[i], cells);
        for (int c = 0; c < COLUMNS; c++) {
            if (width_of(cells[c]) > widths[c])
                widths[c] = width_of(cells[c]);
        }
    }
    for (size_t i = 0; i <= l->n; i++) {
        if (i > 0)
            fill_row(&l->keys[i - 1], cells);
        for (int c = 0; c < COLUMNS; c++) {
            const char *cell = i > 0 ? cells[c] : heads[c];
            int pad = c < COLUMNS - 1 ? (int)(widths[c] - width_of(cell)) + 2 : 0;
            buf_addf(b, "%s%*s", cell, pad, "");
        }
        buf_addc(b, '\n');
    }
    free(cells);
}

static int key_list(int argc, char **argv)
{
    struct options o;
    struct error e;
    struct store *s;
    struct list l = {NULL, 0};
    struct buf b;
    int status;

    if (read_options(argc, argv, list_help, &o, &status))
        return status;
    if (command_open_store(&o.place, false, &s, &e))
        return fail(&e);
    int rc = store_key_each(s, collect, &l, &e);
    store_close(s);
    if (rc)
        return fail(&e);
    buf_init(&b, SIZE_MAX / 2);
    if (o.json)
        write_json(&b, &l);
    else
        write_table(&b, &l);
    fwrite(b.data, 1, b.len, stdout);
    buf_done(&b);
    free(l.keys);
    return fflush(stdout) == 0 ? COMMAND_GOOD : COMMAND_FAILED;
}

/* revoke */

static int key_revoke(int argc, char **argv)
{
    struct options o;
    struct error e;
    struct store *s;
    struct store_key key;
    int status;

    if (read_options(argc, argv, revoke_help, &o, &status))
        return status;
    if (command_open_store(&o.place, false, &s, &e))
        return fail(&e);
    int rc = store_key_revoke(s, argv[optind], clock_unix_ms(), &key, &e);
    store_close(s);
    if (rc)
        return fail(&e);
    fprintf(stderr, "moongate: key %lld (%s…%s%s) is revoked\n", (long long)key.id, key.prefix,
            *key.name ? ", " : "", key.name);
    return COMMAND_GOOD;
}

int command_key(int argc, char **argv)
{
    static const struct command commands[] = {
        {"create", "[--name S] [--models A,B] [--expires 30d]", "make a key and print it",
         key_create},
        {"list", "[--json]", "list the keys", key_list},
        {"revoke", "ID|NAME", "make a key invalid", key_revoke},
    };
    return command_run("moongate key", commands, sizeof commands / sizeof commands[0], argc, argv);
}
