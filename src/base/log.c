/*
 * The log: one event is one line, and a line is never torn. The settings are atomics, because a
 * reload may change them while threads log; the rest is under one lock.
 *
 * The loop's thread gathers: a write a line would cost more than many a request. What it gathers
 * goes out in one write, in order, before its next wait at the latest. A crash can so take the
 * lines of one turn of the loop; an error is written at once, and with it what came before.
 *
 * Text from outside may stand in a line. Control characters and broken UTF-8 in it are escaped,
 * so nobody can forge a second line or send commands to a terminal.
 */
#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/utf8.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 64 * 1024, GATHER_BYTES = 64 * 1024, KEPT_BYTES = 4096 };

static atomic_int least_level = LOG_INFO_LEVEL;
static atomic_bool as_json;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Under the lock: */
static struct buf line = {.max_bytes = LINE_BYTES}; /* the one that is being put together */
static struct buf waiting = {.max_bytes = GATHER_BYTES + LINE_BYTES}; /* whole lines */
static int64_t stamp_s = -1;                                          /* what `stamp` says */
static char stamp[80];

static _Thread_local bool gathers;
static _Thread_local void (*wake_fn)(void *arg);
static _Thread_local void *wake_arg;

void log_setup(enum log_level level, bool json)
{
    atomic_store(&least_level, (int)level);
    atomic_store(&as_json, json);
}

bool log_on(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&least_level, memory_order_relaxed);
}

static const char *level_name(enum log_level level, bool json)
{
    static const char *const names[][2] = {
        {"DEBUG", "debug"}, {"INFO", "info"}, {"WARN", "warn"}, {"ERROR", "error"}};
    return names[level][json];
}

/* The date and the second are written once a second. */
static void add_time(struct buf *b)
{
    int64_t now_ms = clock_unix_ms();
    int ms = (int)(now_ms % 1000);
    if (now_ms / 1000 != stamp_s) {
        struct tm t;
        stamp_s = now_ms / 1000;
        gmtime_r(&(time_t){(time_t)stamp_s}, &t);
        snprintf(stamp, sizeof(stamp), "%04d-%02d-%02dT%02d:%02d:%02d.", t.tm_year + 1900,
                 t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec);
    }
    const char rest[] = {(char)('0' + ms / 100), (char)('0' + ms / 10 % 10), (char)('0' + ms % 10),
                         'Z'};
    buf_adds(b, stamp);
    buf_add(b, rest, sizeof(rest));
}

/* Everything up to the event's own part. */
static void add_start(struct buf *b, enum log_level level, const char *event, bool json)
{
    if (json) {
        buf_adds(b, "{\"time\":\"");
        add_time(b);
        buf_adds(b, "\",\"level\":\"");
        buf_adds(b, level_name(level, true));
        buf_adds(b, "\",\"event\":");
        json_write_string(b, event, strlen(event));
    } else {
        add_time(b);
        buf_addc(b, ' ');
        buf_adds(b, level_name(level, false));
        buf_addc(b, ' ');
        buf_adds(b, event);
    }
}

/* Printable characters as they are, the others as \n, \t or \xNN. */
static void add_plain(struct buf *b, const char *s, size_t len)
{
    for (size_t at = 0; at < len;) {
        size_t plain = utf8_printable(s + at, len - at);
        buf_add(b, s + at, plain);
        at += plain;
        if (at == len)
            break;
        unsigned char c = (unsigned char)s[at];
        int n = utf8_char(s + at, len - at);
        bool second_controls = n == 2 && c == 0xc2 && (unsigned char)s[at + 1] < 0xa0;
        if (n > 1 && !second_controls) {
            buf_add(b, s + at, (size_t)n);
            at += (size_t)n;
            continue;
        }
        if (c == '\n' || c == '\t')
            buf_adds(b, c == '\n' ? "\\n" : "\\t");
        else
            buf_addf(b, "\\x%02x", c);
        at++;
    }
}

static void write_out(const struct buf *b)
{
    for (size_t done = 0; done < b->len;) {
        ssize_t n = write(STDERR_FILENO, b->data + done, b->len - done);
        if (n < 0 && errno != EINTR)
            break;
        done += n > 0 ? (size_t)n : 0;
    }
}

static void write_waiting(void)
{
    write_out(&waiting);
    buf_reset(&waiting);
}

/* Ends the line; a line past the ceiling is told of by its event alone. True if it is the first
 * one that waits. */
static bool emit(enum log_level level, const char *event, bool json)
{
    bool first = waiting.len == 0;
    buf_addc(&line, '\n');
    if (line.failed) {
        buf_reset(&line);
        add_start(&line, level, event, json);
        buf_adds(&line, json ? ",\"text\":\"(line too long)\"}\n" : " (line too long)\n");
    }
    if (gathers && level < LOG_ERROR_LEVEL && waiting.len < GATHER_BYTES) {
        buf_add(&waiting, line.data, line.len);
        return first;
    }
    write_waiting();
    write_out(&line);
    return false;
}

static void begin_line(enum log_level level, const char *event, bool json)
{
    pthread_mutex_lock(&lock);
    buf_reset(&line);
    add_start(&line, level, event, json);
}

static void end_line(enum log_level level, const char *event, bool json)
{
    bool wake = emit(level, event, json);
    if (line.cap > KEPT_BYTES)
        buf_done(&line);
    pthread_mutex_unlock(&lock);
    if (wake)
        wake_fn(wake_arg);
}

void log_gather(void (*wake)(void *arg), void *arg)
{
    log_flush();
    gathers = wake != NULL;
    wake_fn = wake;
    wake_arg = arg;
}

void log_flush(void)
{
    pthread_mutex_lock(&lock);
    write_waiting();
    if (waiting.cap > KEPT_BYTES)
        buf_done(&waiting);
    pthread_mutex_unlock(&lock);
}

void log_line(enum log_level level, const char *event, const char *fmt, ...)
{
    if (!log_on(level))
        return;
    bool json = atomic_load(&as_json);
    struct buf text;
    buf_init(&text, LINE_BYTES / 8);
    va_list ap;
    va_start(ap, fmt);
    buf_addv(&text, fmt, ap);
    va_end(ap);
    if (text.failed) {
        buf_reset(&text);
        buf_adds(&text, "(text too long)");
    }
    begin_line(level, event, json);
    if (json) {
        buf_adds(&line, ",\"text\":");
        json_write_string(&line, text.data != NULL ? text.data : "", text.len);
        buf_addc(&line, '}');
    } else {
        buf_addc(&line, ' ');
        add_plain(&line, text.data, text.len);
    }
    end_line(level, event, json);
    buf_done(&text);
}

/* s is at a quote: behind the string's closing quote, or NULL. */
static const char *skip_string(const char *s)
{
    for (s++; *s != '"'; s++) {
        if (*s == '\0' || (*s == '\\' && *++s == '\0'))
            return NULL;
    }
    return s + 1;
}

/* Behind the value at s, or NULL if it has no end. */
static const char *skip_value(const char *s)
{
    int depth = 0;
    while (s != NULL && *s != '\0' && (depth > 0 || *s != ',')) {
        if (*s == '"') {
            s = skip_string(s);
            continue;
        }
        depth += (*s == '[' || *s == '{') - (*s == ']' || *s == '}');
        s++;
    }
    return depth == 0 ? s : NULL;
}

/* A string that is one plain word goes without quotes. */
static void add_value(const char *s, const char *end)
{
    size_t len = (size_t)(end - s);
    bool is_word = *s == '"' && len > 2 && strcspn(s + 1, " \"=\\") == len - 2;
    add_plain(&line, s + is_word, len - 2 * is_word);
}

/* key=value of each member. The text is ours, so it is not parsed as a stranger's would be; what
 * is no list of members stands in the line as it came. */
static void add_fields_as_text(const char *s)
{
    while (*s != '\0') {
        const char *key_end = *s == '"' ? skip_string(s) : NULL;
        const char *end = key_end != NULL && *key_end == ':' ? skip_value(key_end + 1) : NULL;
        buf_addc(&line, ' ');
        if (end == NULL) {
            add_plain(&line, s, strlen(s));
            return;
        }
        add_plain(&line, s + 1, (size_t)(key_end - s) - 2);
        buf_addc(&line, '=');
        add_value(key_end + 1, end);
        s = *end == ',' ? end + 1 : end;
    }
}

void log_fields(enum log_level level, const char *event, const char *fields_json)
{
    if (!log_on(level))
        return;
    bool json = atomic_load(&as_json);
    begin_line(level, event, json);
    if (json) {
        if (fields_json[0] != '\0')
            buf_addc(&line, ',');
        buf_adds(&line, fields_json);
        buf_addc(&line, '}');
    } else {
        add_fields_as_text(fields_json);
    }
    end_line(level, event, json);
}
