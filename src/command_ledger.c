/*
 * `moongate ledger verify|export`: proves and copies out the books, also beside a serving process.
 *
 * Both write as they read, so memory does not grow with the books. What verify finds is what it
 * was asked for and goes to standard output, as does an export.
 */
#include "command.h"
#include "command_open.h"

#include "base/buf.h"
#include "base/json.h"
#include "ledger/export.h"
#include "store/accounts.h"
#include "store/usage.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char verify_help[] =
    "Usage: moongate ledger verify [OPTION]...\n"
    "Proves that for each application grants - charges - open holds = balance, that every call\n"
    "that is kept costs its tokens times its prices, and that calls, totals, keys and holds\n"
    "agree. Tells what is wrong, a line each; the exit status is 1 then.\n\n" COMMAND_PLACE_HELP
    "  --json          as JSON\n";
static const char export_help[] =
    "Usage: moongate ledger export --format csv|jsonl [OPTION]...\n"
    "Writes the calls that are kept to standard output, oldest first. Money is in micro-USD,\n"
    "prices in micro-USD for a million tokens. In CSV a text that a table program would take\n"
    "for a formula begins with an apostrophe.\n\n" COMMAND_PLACE_HELP
    "  --format F      csv, or jsonl: a JSON object a line\n"
    "  --from DATE     2026-11-28 or 2026-11-28T09:30:00Z: calls that ended then or later\n"
    "  --to DATE       calls that ended before that time; a day alone is the last one\n"
    "  --account EMAIL calls of this account alone\n";

enum { DAY_MS = 86400000, OUT_BYTES = 64 << 10, ROW_BYTES = 64 << 10, USD = 1000000 };

struct options {
    struct command_place place;
    const char *format, *from, *to, *account;
    bool json;
};

/* 0 to go on; else *status is the exit status. */
static int read_options(int argc, char **argv, const char *help, struct options *o, int *status)
{
    static const struct option table[] = {
        {"data", required_argument, NULL, 'd'},    {"config", required_argument, NULL, 'c'},
        {"store", required_argument, NULL, 's'},   {"format", required_argument, NULL, 'f'},
        {"from", required_argument, NULL, 'a'},    {"to", required_argument, NULL, 'z'},
        {"account", required_argument, NULL, 'w'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
    bool exports = help == export_help, wrong = false;
    int c;

    memset(o, 0, sizeof *o);
    opterr = 0;
    while (!wrong && (c = getopt_long(argc, argv, "h", table, NULL)) != -1) {
        const char **text = c == 'd'   ? &o->place.data
                            : c == 'c' ? &o->place.config
                            : c == 's' ? &o->place.store
                            : c == 'f' ? &o->format
                            : c == 'a' ? &o->from
                            : c == 'z' ? &o->to
                            : c == 'w' ? &o->account
                                       : NULL;
        if (c == 'h') {
            fputs(help, stdout);
            *status = COMMAND_GOOD;
            return -1;
        }
        wrong = c == '?' || (strchr("fazw", c) && !exports) || (c == 'j' && exports);
        if (text)
            *text = optarg;
        o->json |= c == 'j';
    }
    if (wrong)
        command_error("ledger %s takes no option %s, or it lacks its value", argv[0],
                      argv[optind - 1]);
    else if (argc != optind)
        command_error("ledger %s takes no further arguments", argv[0]);
    else
        return 0;
    fprintf(stderr, "Try `moongate ledger %s --help`.\n", argv[0]);
    *status = COMMAND_USAGE;
    return -1;
}

static int fail(const struct error *e)
{
    command_error("%s", e->text);
    return COMMAND_FAILED;
}

/* verify */

struct findings {
    bool json, watched; /* watched: somebody sees the progress on a terminal */
    int n;
};

static void show_progress(void *arg, const char *what, int percent)
{
    (void)arg;
    fprintf(stderr, "\r\033[K%s, %d %%", what, percent);
}

static void end_progress(const struct findings *f)
{
    if (f->watched)
        fputs("\r\033[K", stderr);
}

static void tell(void *arg, const char *wrong)
{
    struct findings *f = arg;
    struct buf b;
    end_progress(f);
    buf_init(&b, OUT_BYTES);
    if (f->json) {
        buf_adds(&b, f->n ? ",\n  " : "\n  ");
        json_write_string(&b, wrong, strlen(wrong));
    } else {
        buf_addf(&b, "wrong: %s\n", wrong);
    }
    f->n++;
    fwrite(b.data, 1, b.len, stdout);
    buf_done(&b);
}

static void print_usd(const char *name, int64_t micros)
{
    uint64_t size = micros < 0 ? -(uint64_t)micros : (uint64_t)micros;
    printf("%-12s %s%llu.%06llu USD\n", name, micros < 0 ? "-" : "",
           (unsigned long long)(size / USD), (unsigned long long)(size % USD));
}

static void print_proof(const struct usage_proof *p)
{
    printf("%lld applications, %lld grants, %lld open holds, %lld calls in %lld days\n",
           (long long)p->applications, (long long)p->grants, (long long)p->holds,
           (long long)p->rows, (long long)p->days);
    print_usd("granted", p->granted_micros);
    print_usd("charged", p->charged_micros);
    print_usd("held", p->held_micros);
    print_usd("balances", p->balance_micros);
    print_usd("written off", p->written_off_micros);
    if (p->wrong)
        printf("%lld things are wrong\n", (long long)p->wrong);
    else
        puts("The books agree.");
}

static void print_proof_json(const struct usage_proof *p)
{
    printf("%s],\n\"ok\":%s,\"applications\":%lld,\"grants\":%lld,\"holds\":%lld,\"days\":%lld,"
           "\"calls\":%lld,\"granted_micros\":%lld,\"charged_micros\":%lld,\"held_micros\":%lld,"
           "\"balance_micros\":%lld,\"written_off_micros\":%lld}\n",
           p->wrong ? "\n" : "", p->wrong ? "false" : "true", (long long)p->applications,
           (long long)p->grants, (long long)p->holds, (long long)p->days, (long long)p->rows,
           (long long)p->granted_micros, (long long)p->charged_micros, (long long)p->held_micros,
           (long long)p->balance_micros, (long long)p->written_off_micros);
}

static int ledger_verify(int argc, char **argv)
{
    struct options o;
    struct error e;
    struct store *s;
    struct usage_proof p;
    int status;

    if (read_options(argc, argv, verify_help, &o, &status))
        return status;
    if (command_open_store(&o.place, false, &s, &e))
        return fail(&e);
    struct findings f = {.json = o.json, .watched = isatty(STDERR_FILENO)};
    if (o.json)
        fputs("{\"wrong\":[", stdout);
    int rc = usage_verify(s, tell, &f, f.watched ? show_progress : NULL, &p, &e);
    store_close(s);
    end_progress(&f);
    if (rc) {
        fflush(stdout);
        return fail(&e);
    }
    if (o.json)
        print_proof_json(&p);
    else
        print_proof(&p);
    return fflush(stdout) == 0 && p.wrong == 0 ? COMMAND_GOOD : COMMAND_FAILED;
}

/* export */

static int read_date(const char *option, const char *text, bool whole_day, int64_t *ms,
                     struct error *e)
{
    static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"};
    for (size_t i = 0; i < 2; i++) {
        struct tm tm = {0};
        const char *end = strptime(text, forms[i], &tm);
        if (!end || *end)
            continue;
        int day_said = tm.tm_mday;
        time_t t = timegm(&tm); /* which makes a 30th of February one of March */
        if (t < 0 || tm.tm_mday != day_said)
            break;
        *ms = (int64_t)t * 1000 + (i == 0 && whole_day ? DAY_MS : 0);
        return 0;
    }
    return error_set(e, ERR_INVALID,
                     "%s: %.40s is not allowed; allowed: 2026-11-28 or 2026-11-28T09:30:00Z",
                     option, text);
}

static int read_filter(const struct options *o, struct usage_filter *f, struct error *e)
{
    int rc = 0;
    memset(f, 0, sizeof *f);
    if (o->from)
        rc = read_date("--from", o->from, false, &f->from_ms, e);
    if (rc == 0 && o->to)
        rc = read_date("--to", o->to, true, &f->to_ms, e);
    return rc;
}

static int find_account(struct store *s, const char *email, struct usage_filter *f, struct error *e)
{
    struct store_account account;
    int rc = store_account_by_email(s, email, &account, e);
    if (rc == ERR_NOT_FOUND)
        return error_set(e, rc, "--account: there is no account %.200s", email);
    if (rc == 0)
        f->account_id = account.id;
    return rc;
}

struct export
{
    enum export_format format;
    struct buf line;
};

static int write_line(struct export *x)
{
    bool good = !x->line.failed && fwrite(x->line.data, 1, x->line.len, stdout) == x->line.len;
    buf_reset(&x->line);
    return good ? 0 : ERR_CANCELLED;
}

static int write_call(void *arg, const struct usage_row *row)
{
    struct export *x = arg;
    export_row(&x->line, x->format, row);
    return write_line(x);
}

static int write_calls(struct store *s, const struct usage_filter *f, enum export_format format,
                       struct error *e)
{
    struct export x = {.format = format};
    buf_init(&x.line, ROW_BYTES);
    export_head(&x.line, format);
    int rc = x.line.len ? write_line(&x) : 0;
    if (rc == 0)
        rc = usage_each(s, f, write_call, &x, e);
    buf_done(&x.line);
    if (rc == ERR_CANCELLED || (rc == 0 && fflush(stdout) != 0))
        rc = error_set(e, ERR_IO, "the calls could not be written: %s", strerror(errno));
    return rc;
}

static int ledger_export(int argc, char **argv)
{
    struct options o;
    struct error e;
    struct store *s;
    struct usage_filter f;
    int status;

    if (read_options(argc, argv, export_help, &o, &status))
        return status;
    if (!o.format || (strcmp(o.format, "csv") != 0 && strcmp(o.format, "jsonl") != 0)) {
        command_error("ledger export needs --format csv or --format jsonl");
        return COMMAND_USAGE;
    }
    if (read_filter(&o, &f, &e)) {
        command_error("%s", e.text);
        return COMMAND_USAGE;
    }
    int rc = command_open_store(&o.place, false, &s, &e);
    if (rc)
        return fail(&e);
    if (o.account)
        rc = find_account(s, o.account, &f, &e);
    if (rc == 0)
        rc = write_calls(s, &f, *o.format == 'c' ? EXPORT_CSV : EXPORT_JSONL, &e);
    store_close(s);
    return rc ? fail(&e) : COMMAND_GOOD;
}

int command_ledger(int argc, char **argv)
{
    static const struct command commands[] = {
        {"verify", "[--json]", "prove that the books agree", ledger_verify},
        {"export", "--format csv|jsonl [--from DATE] [--to DATE] [--account EMAIL]",
         "write the calls to standard output", ledger_export},
    };
    return command_run("moongate ledger", commands, sizeof commands / sizeof commands[0], argc,
                       argv);
}
