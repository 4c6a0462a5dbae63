/*
 * `moongate account create|list|grant|disable|enable|reset|token|invite`: works on the database
 * itself, also beside a serving process.
 *
 * What is made (a one-time password, a link, a token) stands alone on standard output, so that
 * X=$(moongate account token EMAIL) works; it is told once and kept nowhere.
 */
#include "command.h"
#include "command_account.h"
#include "command_open.h"

#include "base/clock.h"
#include "base/mem.h"
#include "config.h"
#include "console/email.h"
#include "console/password.h"
#include "console/session.h"
#include "gate/gate.h"
#include "store/accounts.h"
#include "store/applications.h"
#include "store/keys.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char create_help[] =
    "Usage: moongate account create [OPTION]... EMAIL\n"
    "Makes an account and prints its one-time password, which the first log-in must "
    "change.\n\n" COMMAND_PLACE_HELP "  --name S         what its owner is called\n"
    "  --admin          makes it an administrator\n"
    "  --password-stdin reads the password from standard input (a line), and prints none\n";
static const char list_help[] =
    "Usage: moongate account list [OPTION]...\n"
    "Lists the accounts, oldest first.\n\n" COMMAND_PLACE_HELP "  --json           as JSON\n";
static const char grant_help[] =
    "Usage: moongate account grant [OPTION]... EMAIL USD\n"
    "Adds to an account's balance.\n\n" COMMAND_PLACE_HELP
    "  --expires TIME   30d, 12h: what is not spent by then is lost (default: it stays)\n"
    "  --note S         why\n";
static const char disable_help[] = "Usage: moongate account disable [OPTION]... EMAIL\n"
                                   "Its keys are refused and its sessions end; nothing is "
                                   "lost.\n\n" COMMAND_PLACE_HELP;
static const char enable_help[] = "Usage: moongate account enable [OPTION]... EMAIL\n"
                                  "Takes `disable` back.\n\n" COMMAND_PLACE_HELP;
static const char reset_help[] =
    "Usage: moongate account reset [OPTION]... EMAIL\n"
    "Prints a link that sets a new password, once. Without accounts.public_url it is its path "
    "alone.\n\n" COMMAND_PLACE_HELP;
static const char token_help[] =
    "Usage: moongate account token [OPTION]... EMAIL\n"
    "Makes a platform token, with which the account's credentials are managed, and prints it, "
    "once.\n\n" COMMAND_PLACE_HELP "  --name S         what it is called\n"
    "  --expires TIME   30d, 12h, 90m: how long it is good (default: for ever)\n";
static const char invite_help[] =
    "Usage: moongate account invite [OPTION]... [EMAIL]\n"
    "Prints a link with which an account can be made, once; with an address, for it "
    "alone.\n\n" COMMAND_PLACE_HELP;

enum { WIDTH = 14, PAGE = 500 };

struct options {
    struct command_place place;
    const char *name, *expires, *note, *email, *usd;
    bool json, admin, from_stdin;
};

struct form { /* of a command */
    const char *help;
    const char *takes; /* letters of its options */
    int least, most;   /* arguments */
};
static const struct form forms[] = {
    {create_help, "nap", 1, 1}, {list_help, "j", 0, 0},  {grant_help, "eo", 2, 2},
    {disable_help, "", 1, 1},   {enable_help, "", 1, 1}, {reset_help, "", 1, 1},
    {token_help, "ne", 1, 1},   {invite_help, "", 0, 1},
};

static const struct form *form_of(const char *help)
{
    const struct form *f = forms;
    while (f->help != help)
        f++;
    return f;
}

static bool take_option(struct options *o, int c)
{
    switch (c) {
    case 'd':
        o->place.data = optarg;
        break;
    case 'c':
        o->place.config = optarg;
        break;
    case 's':
        o->place.store = optarg;
        break;
    case 'n':
        o->name = optarg;
        break;
    case 'e':
        o->expires = optarg;
        break;
    case 'o':
        o->note = optarg;
        break;
    case 'j':
        o->json = true;
        break;
    case 'a':
        o->admin = true;
        break;
    case 'p':
        o->from_stdin = true;
        break;
    default:
        return false;
    }
    return true;
}

/* 0 to go on; else *status is the exit status. */
static int read_options(int argc, char **argv, const char *help, struct options *o, int *status)
{
    static const struct option table[] = {{"data", required_argument, NULL, 'd'},
                                          {"config", required_argument, NULL, 'c'},
                                          {"store", required_argument, NULL, 's'},
                                          {"name", required_argument, NULL, 'n'},
                                          {"expires", required_argument, NULL, 'e'},
                                          {"note", required_argument, NULL, 'o'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"admin", no_argument, NULL, 'a'},
                                          {"password-stdin", no_argument, NULL, 'p'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    const struct form *form = form_of(help);
    int c, n;
    memset(o, 0, sizeof *o);
    opterr = 0;
    *status = COMMAND_USAGE;
    while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1) {
        if (c == 'h') {
            fputs(help, stdout);
            *status = COMMAND_GOOD;
            return -1;
        }
        if (!take_option(o, c) || (!strchr("dcs", c) && !strchr(form->takes, c))) {
            command_error("account %s takes no option %s, or it lacks its value", argv[0],
                          argv[optind - 1]);
            goto wrong;
        }
    }
    n = argc - optind;
    o->email = n > 0 ? argv[optind] : NULL;
    o->usd = n > 1 ? argv[optind + 1] : NULL;
    if (n >= form->least && n <= form->most)
        return 0;
    command_error("account %s: %s", argv[0],
                  n < form->least ? "an argument is missing" : "there are too many arguments");
wrong:
    fprintf(stderr, "Try `moongate account %s --help`.\n", argv[0]);
    return -1;
}

static int fail(const struct error *e)
{
    command_error("%s", e->text);
    return e->code == ERR_INVALID ? COMMAND_USAGE : COMMAND_FAILED;
}

static int say(const char *what)
{
    if (puts(what) >= 0 && fflush(stdout) == 0)
        return COMMAND_GOOD;
    command_error("it could not be written: %s", strerror(errno));
    return COMMAND_FAILED;
}

static int read_address(const char *text, struct email *out, struct error *e)
{
    const struct email_rules rules = {true, true};
    return email_read(text, &rules, out, e);
}

static int find(struct store *s, const char *text, struct store_account *out, struct error *e)
{
    struct email email;
    int rc = read_address(text, &email, e);
    if (rc == 0)
        rc = store_account_by_email(s, email.address, out, e);
    return rc == ERR_NOT_FOUND
               ? error_set(e, ERR_NOT_FOUND, "there is no account %s", email.address)
               : rc;
}

/* Opens the store and runs `work` in one transaction. */
static int with_store(const struct options *o, bool create,
                      int (*work)(struct store *s, const struct options *o, void *arg,
                                  struct error *e),
                      void *arg, struct error *e)
{
    struct store *s;
    int rc = command_open_store(&o->place, create, &s, e);
    if (rc)
        return rc;
    rc = store_begin(s, STORE_WRITE, e);
    if (rc == 0)
        rc = work(s, o, arg, e);
    if (rc == 0)
        rc = store_commit(s, e);
    if (rc)
        store_rollback(s);
    store_close(s);
    return rc;
}

/* create */

static int read_password(char *out, size_t bytes, struct error *e)
{
    if (!fgets(out, (int)bytes, stdin))
        return error_set(e, ERR_INVALID, "--password-stdin: there is nothing on standard input");
    size_t n = strcspn(out, "\r\n");
    if (out[n] == '\0' && n + 1 == bytes)
        return error_set(e, ERR_INVALID, "--password-stdin: the password is too long");
    out[n] = '\0';
    return 0;
}

static int fill_account(const struct options *o, const char *password, struct store_account *a,
                        struct error *e)
{
    struct email email;
    int rc = read_address(o->email, &email, e);
    if (rc == 0)
        rc = command_check_name(o->name ? o->name : "", e);
    if (rc == 0 && o->from_stdin)
        rc = password_check(password, email.address, e);
    if (rc == 0)
        rc = password_hash_now(password, a->password, e);
    if (rc)
        return rc;
    memcpy(a->email, email.address, sizeof a->email);
    memcpy(a->person, email.person, sizeof a->person);
    snprintf(a->name, sizeof a->name, "%s", o->name ? o->name : "");
    a->role = o->admin ? STORE_ADMIN : STORE_USER;
    a->must_change = !o->from_stdin;
    a->created_ms = clock_unix_ms();
    return 0;
}

static int add(struct store *s, const struct options *o, void *arg, struct error *e)
{
    struct store_account *a = arg;
    int rc = store_account_add(s, a, &a->id, e);
    (void)o;
    return rc == ERR_EXISTS ? error_set(e, ERR_EXISTS, "there is an account %s already", a->email)
                            : rc;
}

static int account_create(int argc, char **argv)
{
    struct options o;
    struct error e;
    struct store_account a = {0};
    char password[PASSWORD_MAX_BYTES + 2];
    int status, rc = 0;
    if (read_options(argc, argv, create_help, &o, &status))
        return status;
    if (o.from_stdin)
        rc = read_password(password, sizeof password, &e);
    else
        password_make(password);
    if (rc == 0)
        rc = fill_account(&o, password, &a, &e);
    if (rc == 0)
        rc = with_store(&o, true, add, &a, &e);
    status = rc ? fail(&e) : o.from_stdin ? COMMAND_GOOD : say(password);
    explicit_bzero(password, sizeof password);
    return status;
}

/* grant */

static int grant(struct store *s, const struct options *o, void *arg, struct error *e)
{
    struct store_grant *g = arg;
    struct store_account a;
    struct store_application p;
    int64_t id;
    int rc = find(s, o->email, &a, e);
    if (rc == 0)
        rc = store_application_of(s, a.id, true, g->created_ms, &p, NULL, e);
    if (rc)
        return rc;
    g->application_id = p.id;
    return store_grant_add(s, g, &id, e);
}

static int account_grant(int argc, char **argv)
{
    struct options o;
    struct error e;
    struct store_grant g = {.kind = "command", .created_ms = clock_unix_ms()};
    int status;
    if (read_options(argc, argv, grant_help, &o, &status))
        return status;
    int rc = command_read_usd("USD", o.usd, &g.amount_micros, &e);
    if (rc == 0 && g.amount_micros == 0)
        rc = error_set(&e, ERR_INVALID, "USD: nothing is no grant");
    if (rc == 0 && o.expires)
        rc = command_read_expiry("--expires", o.expires, g.created_ms, &g.expires_ms, &e);
    if (rc == 0 && o.note && strlen(o.note) >= sizeof g.note)
        rc = error_set(&e, ERR_INVALID, "--note: longer than %zu bytes", sizeof g.note - 1);
    snprintf(g.note, sizeof g.note, "%s", o.note ? o.note : "");
    if (rc == 0)
        rc = with_store(&o, false, grant, &g, &e);
    return rc ? fail(&e) : COMMAND_GOOD;
}

/* disable, enable */

static int set_disabled(struct store *s, const struct options *o, void *arg, struct error *e)
{
    struct store_account a;
    int rc = find(s, o->email, &a, e);
    if (rc)
        return rc;
    a.disabled = *(const bool *)arg;
    rc = store_account_change(s, &a, e);
    return rc || !a.disabled ? rc : store_session_end_all(s, a.id, NULL, e);
}

static int change_disabled(int argc, char **argv, const char *help, bool disabled)
{
    struct options o;
    struct error e;
    int status;
    if (read_options(argc, argv, help, &o, &status))
        return status;
    return with_store(&o, false, set_disabled, &disabled, &e) ? fail(&e) : COMMAND_GOOD;
}

static int account_disable(int argc, char **argv)
{
    return change_disabled(argc, argv, disable_help, true);
}

static int account_enable(int argc, char **argv)
{
    return change_disabled(argc, argv, enable_help, false);
}

/* reset, invite */

struct link_wish {
    struct store_link row;
    char token[SESSION_TOKEN_CHARS + 1];
};

static void make_link(struct link_wish *l, const char *kind, int64_t link_ms)
{
    uint8_t hash[SESSION_HASH_BYTES];
    memset(l, 0, sizeof *l);
    session_token_make(l->token);
    if (session_token_hash(l->token, hash))
        store_hex(hash, l->row.hash);
    snprintf(l->row.kind, sizeof l->row.kind, "%s", kind);
    l->row.created_ms = clock_unix_ms();
    l->row.expires_ms = l->row.created_ms + link_ms;
}

static int add_reset(struct store *s, const struct options *o, void *arg, struct error *e)
{
    struct link_wish *l = arg;
    struct store_account a;
    int rc = find(s, o->email, &a, e);
    if (rc == 0)
        rc = store_link_drop(s, a.id, "reset", e);
    l->row.account_id = a.id;
    return rc ? rc : store_link_add(s, &l->row, e);
}

static int add_invitation(struct store *s, const struct options *o, void *arg, struct error *e)
{
    struct link_wish *l = arg;
    struct store_account a;
    struct email email;
    if (!o->email)
        return store_link_add(s, &l->row, e);
    int rc = read_address(o->email, &email, e);
    if (rc)
        return rc;
    memcpy(l->row.email, email.address, sizeof l->row.email);
    rc = store_account_by_email(s, email.address, &a, e);
    if (rc == 0)
        return error_set(e, ERR_EXISTS, "there is an account %s already", email.address);
    return rc == ERR_NOT_FOUND ? store_link_add(s, &l->row, e) : rc;
}

/* The link, with the public URL if there is one. */
static int make_and_say(int argc, char **argv, const char *help, const char *kind, const char *page,
                        int (*work)(struct store *s, const struct options *o, void *arg,
                                    struct error *e))
{
    struct options o;
    struct error e;
    struct link_wish l;
    struct config *c;
    struct buf url;
    int status;
    if (read_options(argc, argv, help, &o, &status))
        return status;
    if (config_read(o.place.config, NULL, 0, &c, &e))
        return fail(&e);
    make_link(&l, kind, c->accounts.link_ms);
    buf_init(&url, 4096);
    size_t n = strlen(c->accounts.public_url);
    buf_add(&url, c->accounts.public_url,
            n > 0 && c->accounts.public_url[n - 1] == '/' ? n - 1 : n);
    buf_addf(&url, "/#/%s/%s", page, l.token);
    int rc = with_store(&o, false, work, &l, &e);
    status = rc ? fail(&e) : say(url.failed ? l.token : url.data);
    explicit_bzero(&l, sizeof l);
    buf_done(&url);
    config_free(c);
    return status;
}

static int account_reset(int argc, char **argv)
{
    return make_and_say(argc, argv, reset_help, "reset", "reset", add_reset);
}

static int account_invite(int argc, char **argv)
{
    return make_and_say(argc, argv, invite_help, "invite", "sign-up", add_invitation);
}

/* token */

struct token_wish {
    struct store_key row;
    char token[GATE_TOKEN_CHARS + 1];
};

static int add_token(struct store *s, const struct options *o, void *arg, struct error *e)
{
    struct token_wish *t = arg;
    struct store_account a;
    struct store_application p;
    uint8_t hash[STORE_HASH_BYTES];
    int64_t id;
    int rc = find(s, o->email, &a, e);
    if (rc == 0)
        rc = store_application_of(s, a.id, true, t->row.created_ms, &p, NULL, e);
    if (rc)
        return rc;
    t->row.application_id = p.id;
    gate_key_hash(t->token, GATE_TOKEN_CHARS, hash);
    return store_key_add(s, hash, &t->row, &id, e);
}

static int account_token(int argc, char **argv)
{
    struct options o;
    struct error e;
    struct token_wish t = {.row = {.kind = STORE_KEY_PLATFORM, .cap_micros = -1}};
    int status;
    if (read_options(argc, argv, token_help, &o, &status))
        return status;
    t.row.created_ms = clock_unix_ms();
    int rc = command_check_name(o.name ? o.name : "", &e);
    if (rc == 0 && o.expires)
        rc = command_read_expiry("--expires", o.expires, t.row.created_ms, &t.row.expires_ms, &e);
    snprintf(t.row.name, sizeof t.row.name, "%s", o.name ? o.name : "");
    gate_token_make(t.token);
    snprintf(t.row.prefix, sizeof t.row.prefix, "%.*s", WIDTH, t.token);
    if (rc == 0)
        rc = with_store(&o, false, add_token, &t, &e);
    status = rc ? fail(&e) : say(t.token);
    explicit_bzero(&t, sizeof t);
    return status;
}

/* list */

static int account_list(int argc, char **argv)
{
    struct options o;
    struct error e;
    struct store *s;
    int status;
    if (read_options(argc, argv, list_help, &o, &status))
        return status;
    if (command_open_store(&o.place, false, &s, &e))
        return fail(&e);
    int rc = command_list_accounts(s, o.json, stdout, &e);
    store_close(s);
    if (rc)
        return fail(&e);
    return fflush(stdout) == 0 ? COMMAND_GOOD : COMMAND_FAILED;
}

int command_account(int argc, char **argv)
{
    static const struct command commands[] = {
        {"create", "[--admin] [--name S] [--password-stdin] EMAIL",
         "make an account, print its one-time password", account_create},
        {"list", "[--json]", "list the accounts with their balances", account_list},
        {"grant", "[--expires TIME] [--note S] EMAIL USD", "add to its balance", account_grant},
        {"disable", "EMAIL", "refuse its keys and end its sessions", account_disable},
        {"enable", "EMAIL", "take that back", account_enable},
        {"reset", "EMAIL", "print a link that sets a new password", account_reset},
        {"token", "[--name S] [--expires TIME] EMAIL", "make a platform token, print it",
         account_token},
        {"invite", "[EMAIL]", "print a link that makes an account", account_invite},
    };
    return command_run("moongate account", commands, sizeof commands / sizeof *commands, argc,
                       argv);
}
