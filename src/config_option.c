/*
 * Values of options: text to field and back. Numbers of every kind go through a double, which
 * holds all integers that a table allows; a kind differs from another in its units alone.
 */
#include "config_option.h"

#include "base/json.h"
#include "base/usd.h"
#include "config_form.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS  "0123456789"
#define USD     1000000 /* micro-USD of a dollar */

enum { TEXT_BYTES = 4096, NAME_BYTES = 128, GUESS_BYTES = 64 };

struct unit {
    const char *name;
    double factor;
};

/* From small to large; the writer takes the largest binary one that divides. */
static const struct unit byte_units[] = {
    {"B", 1},         {"KB", 1e3},      {"MB", 1e6},      {"GB", 1e9},
    {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {NULL, 0},
};
static const struct unit time_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60e3}, {"h", 3600e3}, {NULL, 0},
};

const struct config_option *option_find(const struct option_table *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->rows[i].name, name) == 0)
            return &t->rows[i];
    }
    return NULL;
}

const char *option_shown(const char *text, char out[OPTION_SHOWN_BYTES])
{
    size_t n = 0;
    for (; text[n] && n < OPTION_SHOWN_BYTES - 4; n++) {
        unsigned char c = (unsigned char)text[n];
        out[n] = c < 0x20 || c == 0x7f ? '?' : (char)c;
    }
    if (text[n]) {
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--; /* not within a character */
        memcpy(out + n, "...", 3);
        n += 3;
    }
    out[n] = '\0';
    return n ? out : "an empty text";
}

/* Levenshtein's distance by one row of its table. */
static size_t distance(const char *a, const char *b)
{
    size_t row[GUESS_BYTES + 1], la = strlen(a), lb = strlen(b);
    if (la > GUESS_BYTES || lb > GUESS_BYTES)
        return GUESS_BYTES;
    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[lb];
}

void option_guess_init(struct option_guess *g, const char *wanted)
{
    *g = (struct option_guess){.wanted = wanted, .distance = 2 + strlen(wanted) / 4};
}

void option_guess_try(struct option_guess *g, const char *candidate, const char *name)
{
    size_t d = distance(g->wanted, candidate);
    if (d < g->distance) {
        g->distance = d;
        g->best = name;
    }
}

void option_guess_table(struct option_guess *g, const struct option_table *t)
{
    for (size_t i = 0; i < t->n; i++)
        option_guess_try(g, t->rows[i].name, t->rows[i].name);
}

static const struct unit *units_of(enum option_kind kind)
{
    return kind == OPTION_BYTES                              ? byte_units
           : kind == OPTION_MS || kind == OPTION_MS_OR_NEVER ? time_units
                                                             : NULL;
}

static bool is_text(enum option_kind kind)
{
    return kind == OPTION_TEXT || kind == OPTION_NAME || kind == OPTION_ADDRESS ||
           kind == OPTION_WORD || kind == OPTION_URL || kind == OPTION_PREFIX ||
           kind == OPTION_PROXY || kind == OPTION_VARIABLE || kind == OPTION_FILE ||
           kind == OPTION_SECRET;
}

/* Where people put a key or a password by mistake: what stands there is not repeated. */
static bool may_be_secret(enum option_kind kind)
{
    return kind == OPTION_URL || kind == OPTION_PROXY || kind == OPTION_VARIABLE ||
           kind == OPTION_FILE || kind == OPTION_SECRET;
}

static size_t most_bytes(const struct config_option *o)
{
    return o->max > 0 ? (size_t)o->max : o->kind == OPTION_NAME ? NAME_BYTES : TEXT_BYTES;
}

static void write_date(double seconds, struct buf *b)
{
    time_t t = (time_t)seconds;
    struct tm tm;
    if (t % 86400 == 0 && gmtime_r(&t, &tm))
        buf_addf(b, "%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
    else
        buf_addf(b, "%.0f", seconds);
}

/* 16777216 becomes 16MiB; a zero and what nothing divides keep the smallest unit. */
static void write_with_unit(const struct unit *units, double v, struct buf *b)
{
    const struct unit *best = NULL;
    for (const struct unit *u = units; u->name; u++) {
        bool decimal = units == byte_units && u->factor > 1 && fmod(u->factor, 1024) != 0;
        if (v != 0 && !decimal && fmod(v, u->factor) == 0)
            best = u;
    }
    if (units == byte_units && (!best || best->factor == 1))
        buf_addf(b, "%.0f", v);
    else
        buf_addf(b, "%.0f%s", best ? v / best->factor : v, best ? best->name : "");
}

/* 600000 becomes 0.6 */
static void write_usd(int64_t micros, struct buf *b)
{
    int64_t part = micros % USD;
    int decimals = 6;
    buf_addf(b, "%lld", (long long)(micros / USD));
    if (part == 0)
        return;
    for (; part % 10 == 0; decimals--)
        part /= 10;
    buf_addf(b, ".%0*lld", decimals, (long long)part);
}

static void write_number(const struct config_option *o, double v, struct buf *b)
{
    if (o->kind == OPTION_DATE)
        write_date(v, b);
    else if (o->kind == OPTION_USD)
        write_usd((int64_t)v, b);
    else if (units_of(o->kind))
        write_with_unit(units_of(o->kind), v, b);
    else if (o->kind == OPTION_NUMBER)
        buf_addf(b, "%.10g", v);
    else
        buf_addf(b, "%.0f", v);
}

static void write_range(const struct config_option *o, struct buf *b)
{
    write_number(o, o->min, b);
    buf_adds(b, " to ");
    write_number(o, o->max, b);
}

void option_write_allowed(const struct config_option *o, struct buf *b)
{
    switch (o->kind) {
    case OPTION_BOOL:
        buf_adds(b, "true or false");
        break;
    case OPTION_TEXT:
        buf_addf(b, "a text of at most %zu bytes", most_bytes(o));
        break;
    case OPTION_NAME:
        buf_adds(b, "a name without spaces and commas");
        if (o->max > 0)
            buf_addf(b, " of at most %zu bytes", most_bytes(o));
        break;
    case OPTION_ADDRESS:
        buf_adds(b, "ADDR:PORT, [ADDR]:PORT or :PORT");
        break;
    case OPTION_DATE:
        buf_adds(b, "YYYY-MM-DD or Unix seconds");
        break;
    case OPTION_URL:
        buf_adds(b, "http://HOST:PORT or https://HOST:PORT, port and path optional, no user");
        break;
    case OPTION_PREFIX:
        buf_adds(b, "empty, or a path like /v1");
        break;
    case OPTION_PROXY:
        buf_adds(b, "empty, or http, https, socks4, socks4a, socks5 or socks5h://HOST:PORT");
        break;
    case OPTION_VARIABLE:
        buf_adds(b, "empty, or the name of an environment variable");
        break;
    case OPTION_FILE:
        buf_adds(b, "empty, or the path of a file");
        break;
    case OPTION_USD:
        write_range(o, b);
        buf_adds(b, " USD, at most six decimals");
        break;
    case OPTION_SECRET:
        buf_adds(b, o->words ? o->words[0] : "a text");
        break;
    case OPTION_OTHER:
        buf_adds(b, o->words[0]);
        break;
    case OPTION_MS_OR_NEVER:
        buf_adds(b, "0, or ");
        write_range(o, b);
        break;
    case OPTION_ENUM:
    case OPTION_WORD:
        for (size_t i = 0; o->words[i]; i++)
            buf_addf(b, "%s%s", i == 0 ? "" : o->words[i + 1] ? ", " : " or ", o->words[i]);
        break;
    default:
        write_range(o, b);
    }
}

static int refuse(const struct config_option *o, const char *text, const char *where,
                  struct error *e)
{
    char shown[OPTION_SHOWN_BYTES];
    const char *hint = units_of(o->kind) == byte_units ? " (units: KiB, MiB, GiB, KB, MB, GB)"
                       : units_of(o->kind)             ? " (units: ms, s, m, h)"
                                                       : "";
    struct buf b;
    buf_init(&b, 1024);
    option_write_allowed(o, &b);
    int rc =
        error_set(e, ERR_INVALID, "%s: %s is not allowed; allowed: %s%s", where,
                  may_be_secret(o->kind) ? "this value" : option_shown(text, shown), b.data, hint);
    buf_done(&b);
    return rc;
}

static int refuse_range(const struct config_option *o, const char *text, double v,
                        const char *where, struct error *e)
{
    char shown[OPTION_SHOWN_BYTES];
    struct buf b;
    buf_init(&b, 1024);
    write_number(o, v > o->max ? o->max : o->min, &b);
    int rc =
        error_set(e, ERR_INVALID, "%s: %s is %s allowed %s%s", where, option_shown(text, shown),
                  v > o->max ? "above the greatest" : "below the least", b.data,
                  o->kind == OPTION_MS_OR_NEVER ? "; 0 is allowed too" : "");
    buf_done(&b);
    return rc;
}

static bool read_date(const char *text, double *out)
{
    static const char form[] = "dddd-dd-dd";
    if (strlen(text) != sizeof form - 1)
        return false;
    for (size_t i = 0; form[i]; i++) {
        if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            return false;
    }
    struct tm tm = {.tm_year = (int)strtol(text, NULL, 10) - 1900,
                    .tm_mon = (int)strtol(text + 5, NULL, 10) - 1,
                    .tm_mday = (int)strtol(text + 8, NULL, 10)};
    int month = tm.tm_mon;
    *out = (double)timegm(&tm); /* carries the 30th of February over into March */
    return tm.tm_mon == month;
}

static bool read_usd(const char *text, double *out)
{
    int64_t micros;
    if (!usd_read(text, &micros))
        return false;
    *out = (double)micros; /* below 2^53 */
    return true;
}

/* Digits with an optional sign, fraction (where the kind has one) and unit. */
static bool read_number(const struct config_option *o, const char *text, double *out)
{
    const struct unit *units = units_of(o->kind);
    const char *s = text + (*text == '-');
    size_t digits = strspn(s, "0123456789");
    if (digits == 0)
        return o->kind == OPTION_DATE && read_date(text, out);
    s += digits;
    if ((o->kind == OPTION_NUMBER || units) && *s == '.') {
        digits = strspn(s + 1, "0123456789");
        if (digits == 0)
            return false;
        s += 1 + digits;
    }
    double v = strtod(text, NULL);
    *out = v;
    if (*s == '\0') /* a time without a unit could mean seconds or milliseconds: 0 is safe */
        return units != time_units || v == 0;
    if (o->kind == OPTION_DATE)
        return read_date(text, out);
    for (; units && units->name; units++) {
        if (strcasecmp(units->name, s) == 0) {
            *out = v * units->factor;
            return true;
        }
    }
    return false;
}

static void put_number(const struct config_option *o, void *object, double v)
{
    char *field = (char *)object + o->offset;
    bool as_bool = v != 0;
    int32_t as_int = 0;
    int64_t as_int64 = 0;
    if (o->kind == OPTION_NUMBER) {
        memcpy(field, &v, sizeof v);
    } else if (o->bytes == sizeof as_bool) {
        memcpy(field, &as_bool, sizeof as_bool);
    } else if (o->bytes == sizeof as_int) {
        as_int = (int32_t)v;
        memcpy(field, &as_int, sizeof as_int);
    } else {
        as_int64 = (int64_t)v;
        memcpy(field, &as_int64, sizeof as_int64);
    }
}

static double get_number(const struct config_option *o, const void *object)
{
    const char *field = (const char *)object + o->offset;
    double v;
    bool as_bool;
    int32_t as_int;
    int64_t as_int64;
    if (o->kind == OPTION_NUMBER) {
        memcpy(&v, field, sizeof v);
        return v;
    }
    if (o->bytes == sizeof as_bool) {
        memcpy(&as_bool, field, sizeof as_bool);
        return as_bool;
    }
    if (o->bytes == sizeof as_int) {
        memcpy(&as_int, field, sizeof as_int);
        return as_int;
    }
    memcpy(&as_int64, field, sizeof as_int64);
    return (double)as_int64;
}

static const char *get_text(const struct config_option *o, const void *object)
{
    const char *s;
    memcpy(&s, (const char *)object + o->offset, sizeof s);
    return s ? s : "";
}

static void put_text(const struct config_option *o, void *object, const char *text,
                     struct arena *arena)
{
    char *copy = arena_strndup(arena, text, strlen(text));
    memcpy((char *)object + o->offset, &copy, sizeof copy);
}

static int word_index(const struct config_option *o, const char *text)
{
    for (int i = 0; o->words[i]; i++) {
        if (strcmp(o->words[i], text) == 0)
            return i;
    }
    return -1;
}

int option_set(const struct config_option *o, void *object, const char *text, struct arena *arena,
               const char *where, struct error *e)
{
    double v = 0;
    bool good;

    switch (o->kind) {
    case OPTION_TEXT:
    case OPTION_FILE:
    case OPTION_SECRET:
        good = form_text(text, most_bytes(o));
        break;
    case OPTION_NAME:
        good = form_name(text, most_bytes(o)) || (!*text && o->fallback && !*o->fallback);
        break;
    case OPTION_ADDRESS:
        good = form_address(text);
        break;
    case OPTION_URL:
        good = !*text || form_url(text);
        break;
    case OPTION_PREFIX:
        good = form_prefix(text);
        break;
    case OPTION_PROXY:
        good = !*text || form_proxy(text);
        break;
    case OPTION_VARIABLE:
        good = !*text || form_variable(text);
        break;
    case OPTION_OTHER: /* has a reader of its own */
        good = false;
        break;
    case OPTION_WORD:
        good = word_index(o, text) >= 0;
        break;
    case OPTION_ENUM:
        v = word_index(o, text);
        good = v >= 0;
        break;
    case OPTION_BOOL:
        v = strcmp(text, "true") == 0;
        good = v != 0 || strcmp(text, "false") == 0;
        break;
    default:
        good = o->kind == OPTION_USD ? read_usd(text, &v) : read_number(o, text, &v);
        if (good && (v < o->min || v > o->max) && !(o->kind == OPTION_MS_OR_NEVER && v == 0))
            return refuse_range(o, text, v, where, e);
        good = good && (o->kind == OPTION_NUMBER || v == floor(v));
    }
    if (!good)
        return refuse(o, text, where, e);
    if (is_text(o->kind))
        put_text(o, object, text, arena);
    else
        put_number(o, object, v);
    return 0;
}

void option_set_defaults(const struct option_table *t, void *object, struct arena *arena)
{
    for (size_t i = 0; i < t->n; i++) {
        if (t->rows[i].fallback)
            option_set(&t->rows[i], object, t->rows[i].fallback, arena, t->rows[i].name, NULL);
    }
}

/* A plain scalar where no reader of YAML can take it for something else, quotes otherwise. */
void option_write_string(const char *s, struct buf *b)
{
    bool plain = *s && (strchr(LETTERS, *s) || strncmp(s, "./", 2) == 0 || *s == '/') &&
                 s[strspn(s, LETTERS DIGITS "_./-")] == '\0' && strcasecmp(s, "null") != 0;
    if (plain)
        buf_adds(b, s);
    else
        json_write_string(b, s, strlen(s));
}

/* Name and password of a proxy are not written. */
static void write_proxy(const char *s, struct buf *b)
{
    size_t begin, user = form_proxy_user(s, &begin);
    struct buf clean;
    buf_init(&clean, TEXT_BYTES);
    buf_add(&clean, s, begin);
    buf_adds(&clean, s + begin + user);
    option_write_string(clean.data ? clean.data : "", b);
    buf_done(&clean);
}

void option_write(const struct config_option *o, const void *object, struct buf *b)
{
    switch (o->kind) {
    case OPTION_TEXT:
    case OPTION_NAME:
    case OPTION_URL:
    case OPTION_PREFIX:
    case OPTION_VARIABLE:
    case OPTION_FILE:
        option_write_string(get_text(o, object), b);
        break;
    case OPTION_PROXY:
        write_proxy(get_text(o, object), b);
        break;
    case OPTION_SECRET:
        buf_adds(b, *get_text(o, object) ? "\"\" # it is set, and not shown" : "\"\"");
        break;
    case OPTION_OTHER: /* has a writer of its own */
        break;
    case OPTION_ADDRESS: /* its form leaves one meaning, except for some first letters */
        if (strchr("[:.-", *get_text(o, object)))
            json_write_string(b, get_text(o, object), strlen(get_text(o, object)));
        else
            buf_adds(b, get_text(o, object));
        break;
    case OPTION_WORD:
        buf_adds(b, get_text(o, object));
        break;
    case OPTION_ENUM:
        buf_adds(b, o->words[(int)get_number(o, object)]);
        break;
    case OPTION_BOOL:
        buf_adds(b, get_number(o, object) != 0 ? "true" : "false");
        break;
    default:
        write_number(o, get_number(o, object), b);
    }
}

bool option_equal(const struct config_option *o, const void *a, const void *b)
{
    if (is_text(o->kind))
        return strcmp(get_text(o, a), get_text(o, b)) == 0;
    return get_number(o, a) == get_number(o, b);
}
