/*
 * The one error body of the API, and the table of its codes. Pure; any thread.
 *
 *   {"success":false,"error":{"code","message","type","param"},"trace_id"}
 */
#ifndef MOONGATE_API_FAULT_H
#define MOONGATE_API_FAULT_H

#include "base/buf.h"

#include <stdbool.h>

enum fault_kind {
    FAULT_NONE,
    FAULT_BAD_REQUEST,       /* 400 bad_request            invalid_request_error */
    FAULT_TOO_LONG,          /* 400 bad_request            "exceeded model token limit" */
    FAULT_TOKEN_MISMATCHED,  /* 400 token_mismatched       permission_denied_error */
    FAULT_NOT_IMPLEMENTED,   /* 400 api_not_implemented    invalid_request_error */
    FAULT_MODEL_UNKNOWN_400, /* 400 bad_request           resource_not_found_error, on /kimi */
    FAULT_NO_KEY,            /* 401 invalid_token          incorrect_api_key_error */
    FAULT_INVALID_TOKEN,     /* 401 invalid_token          invalid_authentication_error */
    FAULT_TOKEN_EXPIRED,     /* 401 token_expired          invalid_authentication_error */
    FAULT_USED_UP,           /* 403 used_up                exceeded_current_quota_error */
    FAULT_DISABLED,          /* 403 disabled               permission_denied_error */
    FAULT_FORBIDDEN,         /* 403 forbidden              content_filter */
    FAULT_NO_SESSION,        /* 401 invalid_token          nobody is logged in */
    FAULT_DENIED,            /* 403 forbidden              permission_denied_error */
    FAULT_NOT_FOUND,         /* 404 not_found              resource_not_found_error */
    FAULT_DUPLICATION,       /* 409 duplication            invalid_request_error */
    FAULT_NO_API,            /* 404 no_api                 resource_not_found_error */
    FAULT_MODEL_UNKNOWN,     /* 404 model_not_found        resource_not_found_error */
    FAULT_METHOD,            /* 405 bad_request            invalid_request_error, with Allow */
    FAULT_CLIENT_TIMEOUT,    /* 408 bad_request            the request came too slowly */
    FAULT_BODY_LARGE,        /* 413 bad_request            "Request exceeds the maximum size" */
    FAULT_HEAD_LARGE,        /* 431 bad_request            invalid_request_error */
    FAULT_RATE_LIMIT,        /* 429 too_many_requests      rate_limit_reached_error, Retry-After */
    FAULT_ENGINE_FULL,       /* 429 too_many_requests      engine_overloaded_error, Retry-After */
    FAULT_INTERNAL,          /* 500 api_error              server_error */
    FAULT_UPSTREAM,          /* 502 api_error              server_error */
    FAULT_UNAVAILABLE,       /* 503 api_error              server_unavailable, Retry-After */
    FAULT_TIMEOUT,           /* 504 timeout                server_error */
    FAULT_VERSION,           /* 505 bad_request            invalid_request_error */
    FAULT_N_KINDS
};

struct fault {
    enum fault_kind kind;
    char message[400]; /* for people: what is wrong and what to do */
    char param[96];    /* "messages[3].content"; empty writes null */
    int retry_after_s; /* of 429 and 503; 0 sends none */
};

/* Fills `f` (message from the format) and returns f->kind. */
enum fault_kind fault_set(struct fault *f, enum fault_kind kind, const char *param, const char *fmt,
                          ...) __attribute__((format(printf, 4, 5)));
int fault_status(enum fault_kind kind);
const char *fault_code(enum fault_kind kind);
const char *fault_type(enum fault_kind kind);
/* True if a client may try the same again (x-should-retry). */
bool fault_retry(enum fault_kind kind);
/* The body, without a line end. */
void fault_body(struct buf *b, const struct fault *f, const char *trace_id);
/* The same as an event of a stream that has begun: "data: {...}\n\n", no choices key. */
void fault_event(struct buf *b, const struct fault *f, const char *trace_id);

#endif
