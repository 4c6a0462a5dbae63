/*
 * Error codes and their text. Pure: the text goes into the caller's struct, nothing is kept.
 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

int error_set(struct error *e, int code, const char *fmt, ...)
{
    if (e != NULL) {
        va_list ap;
        va_start(ap, fmt);
        e->code = code;
        vsnprintf(e->text, sizeof(e->text), fmt, ap);
        va_end(ap);
    }
    return code;
}

const char *error_name(int code)
{
    switch (code) {
    case 0:
        return "ok";
    case ERR_INVALID:
        return "invalid";
    case ERR_NOT_FOUND:
        return "not_found";
    case ERR_LIMIT:
        return "limit";
    case ERR_IO:
        return "io";
    case ERR_BUSY:
        return "busy";
    case ERR_UNSUPPORTED:
        return "unsupported";
    case ERR_DENIED:
        return "denied";
    case ERR_EXPIRED:
        return "expired";
    case ERR_EXISTS:
        return "exists";
    case ERR_CANCELLED:
        return "cancelled";
    case ERR_INTERNAL:
        return "internal";
    default:
        return "unknown";
    }
}
