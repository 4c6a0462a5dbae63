/*
 * See usage_filter.h.
 */
#include "console/usage_filter.h"

#include "console/endpoint.h"
#include "console/moment.h"
#include "console/objects.h"

#include <string.h>

#define NO_KEY INT64_MAX /* has no calls */

static bool read_user(struct request *r, struct usage_filter *out)
{
    int64_t user;
    if (!request_query_int(r, "user_id", 1, INT64_MAX, r->account.id, &user))
        return false;
    out->account_id = user;
    if (user == r->account.id || r->account.role == STORE_ADMIN)
        return true;
    request_fault(r, FAULT_NOT_FOUND, "user_id", "There is no such object.");
    return false;
}

static bool read_moment(struct request *r, const char *name, int64_t *out)
{
    char text[64];
    *out = 0;
    if (!request_query(r, name, text, sizeof text))
        return false;
    if (!*text || moment_read(text, out))
        return true;
    request_fault(
        r, FAULT_BAD_REQUEST, name,
        "%s must be a time such as 2026-11-28T12:00:00Z, or a date (a + is written %%2B).", name);
    return false;
}

/* There is one service with one API, so another number fits no call. */
static bool read_service(struct request *r, struct usage_filter *out)
{
    int64_t service, api;
    if (!request_query_int(r, "service_id", 1, INT64_MAX, OBJECT_SERVICE_ID, &service) ||
        !request_query_int(r, "api_id", 1, INT64_MAX, OBJECT_API_ID, &api))
        return false;
    if (service != OBJECT_SERVICE_ID || api != OBJECT_API_ID)
        out->key_id = NO_KEY;
    return true;
}

static bool read_status(struct request *r, struct usage_filter *out)
{
    int64_t status;
    if (!request_query_int(r, "status_code", 100, 599, 0, &status))
        return false;
    out->status = (int)status;
    return true;
}

bool usage_filter_read(struct request *r, struct usage_filter *out)
{
    memset(out, 0, sizeof *out);
    return read_user(r, out) &&
           request_query_int(r, "application_id", 1, INT64_MAX, 0, &out->application_id) &&
           request_query_int(r, "credential_id", 1, INT64_MAX, 0, &out->key_id) &&
           read_service(r, out) && read_status(r, out) &&
           request_query(r, "trace_id", out->trace_id, sizeof out->trace_id) &&
           request_query(r, "model", out->model, sizeof out->model) &&
           read_moment(r, "created_at_from", &out->from_ms) &&
           read_moment(r, "created_at_to", &out->to_ms);
}
