/*
 * The log: one event is one line, and one line is one write, so lines of several threads never
 * mix. The settings are atomics, because a reload may change them while threads log.
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
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 64 * 1024, FIELDS_DEPTH = 16 };

static atomic_int least_level = LOG_INFO_LEVEL;
static atomic_bool as_json;

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

static void add_time(struct buf *b)
{
    int64_t now_ms = clock_unix_ms();
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm t;
    gmtime_r(&seconds, &t);
    buf_addf(b, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday,
             t.tm_hour, t.tm_min, t.tm_sec, (int)(now_ms % 1000));
}

/* Everything up to the event's own part. */
static void add_start(struct buf *b, enum log_level level, const char *event, bool json)
{
    if (json) {
        buf_adds(b, "{\"time\":\"");
        add_time(b);
        buf_addf(b, "\",\"level\":\"%s\",\"event\":", level_name(level, true));
        json_write_string(b, event, strlen(event));
    } else {
        add_time(b);
        buf_addf(b, " %s %s", level_name(level, false), event);
    }
}

/* Printable characters as they are, the others as \n, \t or \xNN. */
static void add_plain(struct buf *b, const char *s, size_t len)
{
    for (size_t at = 0; at < len;) {
        unsigned char c = (unsigned char)s[at];
        int n = utf8_char(s + at, len - at);
        bool second_controls = n == 2 && c == 0xc2 && (unsigned char)s[at + 1] < 0xa0;
        if (n > 0 && c >= 0x20 && c != 0x7f && !second_controls) {
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

/* Ends the line and writes it; a line past the ceiling is told of by its event alone. */
static void emit(struct buf *b, enum log_level level, const char *event, bool json)
{
    if (b->failed) {
        buf_reset(b);
        add_start(b, level, event, json);
        buf_adds(b, json ? ",\"text\":\"(line too long)\"}" : " (line too long)");
    }
    buf_addc(b, '\n');
    for (size_t done = 0; done < b->len;) {
        ssize_t n = write(STDERR_FILENO, b->data + done, b->len - done);
        if (n < 0 && errno != EINTR)
            break;
        done += n > 0 ? (size_t)n : 0;
    }
}

void log_line(enum log_level level, const char *event, const char *fmt, ...)
{
    if (!log_on(level))
        return;
    bool json = atomic_load(&as_json);
    struct buf text, line;
    buf_init(&text, LINE_BYTES / 8);
    buf_init(&line, LINE_BYTES);
    va_list ap;
    va_start(ap, fmt);
    buf_addv(&text, fmt, ap);
    va_end(ap);
    if (text.failed) {
        buf_reset(&text);
        buf_adds(&text, "(text too long)");
    }
    add_start(&line, level, event, json);
    if (json) {
        buf_adds(&line, ",\"text\":");
        json_write_string(&line, text.data != NULL ? text.data : "", text.len);
        buf_addc(&line, '}');
    } else {
        buf_addc(&line, ' ');
        add_plain(&line, text.data, text.len);
    }
    emit(&line, level, event, json);
    buf_done(&text);
    buf_done(&line);
}

/* key=value; a string that is one plain word goes without quotes. */
static int add_field(void *arg, const char *key, const struct json *value)
{
    struct buf *b = arg;
    size_t len;
    const char *s = json_string(value, &len);
    buf_addc(b, ' ');
    add_plain(b, key, strlen(key));
    buf_addc(b, '=');
    if (s != NULL && len > 0 && strcspn(s, " \"=\\") == len) {
        add_plain(b, s, len);
    } else {
        struct buf quoted;
        buf_init(&quoted, LINE_BYTES);
        json_write(&quoted, value);
        add_plain(b, quoted.data, quoted.len);
        buf_done(&quoted);
    }
    return 0;
}

static void add_fields_as_text(struct buf *b, const char *fields_json)
{
    struct buf text;
    struct json *fields = NULL;
    buf_init(&text, LINE_BYTES);
    buf_addf(&text, "{%s}", fields_json);
    if (!text.failed && json_parse(text.data, text.len, FIELDS_DEPTH, &fields, NULL) == 0) {
        json_each(fields, add_field, b);
    } else {
        buf_addc(b, ' ');
        add_plain(b, fields_json, strlen(fields_json));
    }
    json_free(fields);
    buf_done(&text);
}

void log_fields(enum log_level level, const char *event, const char *fields_json)
{
    if (!log_on(level))
        return;
    bool json = atomic_load(&as_json);
    struct buf line;
    buf_init(&line, LINE_BYTES);
    add_start(&line, level, event, json);
    if (json) {
        if (fields_json[0] != '\0')
            buf_addc(&line, ',');
        buf_adds(&line, fields_json);
        buf_addc(&line, '}');
    } else {
        add_fields_as_text(&line, fields_json);
    }
    emit(&line, level, event, json);
    buf_done(&line);
}
