/*
 * The table of faults: what each kind is called, which status it has, and whether trying again
 * can help. All bodies of failures, plain or inside a stream, are written here. Holds nothing
 * but constants; any thread.
 */
#include "api/fault.h"

#include "base/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct fault_row {
    int status;
    const char *code, *type;
    bool retry;
};

static const struct fault_row rows[FAULT_N_KINDS] = {
    [FAULT_NONE] = {200, "ok", "ok", false},
    [FAULT_BAD_REQUEST] = {400, "bad_request", "invalid_request_error", false},
    [FAULT_TOO_LONG] = {400, "bad_request", "invalid_request_error", false},
    [FAULT_TOKEN_MISMATCHED] = {400, "token_mismatched", "permission_denied_error", false},
    [FAULT_NOT_IMPLEMENTED] = {400, "api_not_implemented", "invalid_request_error", false},
    [FAULT_MODEL_UNKNOWN_400] = {400, "bad_request", "resource_not_found_error", false},
    [FAULT_NO_KEY] = {401, "invalid_token", "incorrect_api_key_error", false},
    [FAULT_INVALID_TOKEN] = {401, "invalid_token", "invalid_authentication_error", false},
    [FAULT_TOKEN_EXPIRED] = {401, "token_expired", "invalid_authentication_error", false},
    [FAULT_USED_UP] = {403, "used_up", "exceeded_current_quota_error", false},
    [FAULT_DISABLED] = {403, "disabled", "permission_denied_error", false},
    [FAULT_FORBIDDEN] = {403, "forbidden", "content_filter", false},
    [FAULT_NO_SESSION] = {401, "invalid_token", "invalid_authentication_error", false},
    [FAULT_DENIED] = {403, "forbidden", "permission_denied_error", false},
    [FAULT_NOT_FOUND] = {404, "not_found", "resource_not_found_error", false},
    [FAULT_DUPLICATION] = {409, "duplication", "invalid_request_error", false},
    [FAULT_NO_API] = {404, "no_api", "resource_not_found_error", false},
    [FAULT_MODEL_UNKNOWN] = {404, "model_not_found", "resource_not_found_error", false},
    [FAULT_METHOD] = {405, "bad_request", "invalid_request_error", false},
    [FAULT_CLIENT_TIMEOUT] = {408, "bad_request", "invalid_request_error", true},
    [FAULT_BODY_LARGE] = {413, "bad_request", "invalid_request_error", false},
    [FAULT_HEAD_LARGE] = {431, "bad_request", "invalid_request_error", false},
    [FAULT_RATE_LIMIT] = {429, "too_many_requests", "rate_limit_reached_error", true},
    [FAULT_ENGINE_FULL] = {429, "too_many_requests", "engine_overloaded_error", true},
    [FAULT_INTERNAL] = {500, "api_error", "server_error", true},
    [FAULT_UPSTREAM] = {502, "api_error", "server_error", true},
    [FAULT_UNAVAILABLE] = {503, "api_error", "server_unavailable", true},
    [FAULT_TIMEOUT] = {504, "timeout", "server_error", false},
    [FAULT_VERSION] = {505, "bad_request", "invalid_request_error", false},
};

/* A text cut by its array's end must not end in half a character. */
static void trim_character(char *s, size_t cap, int wanted)
{
    if (wanted < 0 || (size_t)wanted < cap) {
        return;
    }
    size_t n = strlen(s);
    while (n > 0 && ((unsigned char)s[n - 1] & 0xc0) == 0x80) {
        n--;
    }
    if (n > 0 && (unsigned char)s[n - 1] >= 0xc0) {
        n--;
    }
    s[n] = '\0';
}

enum fault_kind fault_set(struct fault *f, enum fault_kind kind, const char *param, const char *fmt,
                          ...)
{
    va_list ap;

    memset(f, 0, sizeof *f);
    f->kind = kind;
    if (param != NULL) {
        trim_character(f->param, sizeof f->param, snprintf(f->param, sizeof f->param, "%s", param));
    }
    va_start(ap, fmt);
    trim_character(f->message, sizeof f->message,
                   vsnprintf(f->message, sizeof f->message, fmt, ap));
    va_end(ap);
    return kind;
}

int fault_status(enum fault_kind kind)
{
    return rows[kind].status;
}

const char *fault_code(enum fault_kind kind)
{
    return rows[kind].code;
}

const char *fault_type(enum fault_kind kind)
{
    return rows[kind].type;
}

bool fault_retry(enum fault_kind kind)
{
    return rows[kind].retry;
}

void fault_body(struct buf *b, const struct fault *f, const char *trace_id)
{
    buf_addf(b, "{\"success\":false,\"error\":{\"code\":\"%s\",\"message\":", fault_code(f->kind));
    json_write_string(b, f->message, strlen(f->message));
    buf_addf(b, ",\"type\":\"%s\",\"param\":", fault_type(f->kind));
    if (f->param[0] != '\0') {
        json_write_string(b, f->param, strlen(f->param));
    } else {
        buf_adds(b, "null");
    }
    buf_adds(b, "},\"trace_id\":");
    json_write_string(b, trace_id, strlen(trace_id));
    buf_addc(b, '}');
}

void fault_event(struct buf *b, const struct fault *f, const char *trace_id)
{
    buf_adds(b, "data: ");
    fault_body(b, f, trace_id);
    buf_adds(b, "\n\n");
}
