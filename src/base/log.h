/*
 * The log: one line an event on standard error, as text or JSON. Any thread; lines are never
 * torn. Only `call` and `main` log; no key, password or content may be passed in.
 */
#ifndef MOONGATE_BASE_LOG_H
#define MOONGATE_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_DEBUG_LEVEL, LOG_INFO_LEVEL, LOG_WARN_LEVEL, LOG_ERROR_LEVEL };

void log_setup(enum log_level level, bool json);
bool log_on(enum log_level level);
/* `event` is a short fixed word; the text is for people. */
void log_line(enum log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* One JSON object (text mode: key=value) whose members the caller wrote: `fields_json` is
 * `"a":1,"b":"x"` without braces. Used for the access log. */
void log_fields(enum log_level level, const char *event, const char *fields_json);

/* From now on the lines of the calling thread (the loop's) wait in memory until log_flush, an
 * error, much text, or a line of another thread. `wake` is told when one begins to wait and sees
 * to it that log_flush is called in this turn of the loop. NULL: no longer. */
void log_gather(void (*wake)(void *arg), void *arg);
void log_flush(void);

#endif
