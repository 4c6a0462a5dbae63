/*
 * The tables of the platform's routes, and of the same for the console's pages.
 */
#include "console/console_private.h"

#include "console/platform.h"

#define N(a) (sizeof(a) / sizeof(a)[0])
#define READ(path, run)                                                                            \
    {                                                                                              \
        "GET", path, ENDPOINT_ACCOUNT, false, run, false                                           \
    }
#define WRITE(method, path, reads, run)                                                            \
    {                                                                                              \
        method, path, ENDPOINT_ACCOUNT, reads, run, false                                          \
    }

/* Exact paths stand before those with {id}: the first row that fits is taken. */
static const struct endpoint platform_rows[] = {
    READ("/api/v1/models", model_list),
    READ("/api/v1/services", service_list),
    READ("/api/v1/services/{id}", service_get),
    READ("/api/v1/services/{id}/apis", service_api_list),
    READ("/api/v1/apis", api_list),
    READ("/api/v1/config", platform_config),
    READ("/api/v1/applications", application_list),
    WRITE("POST", "/api/v1/applications", true, application_acquire),
    READ("/api/v1/applications/{id}", application_get),
    WRITE("POST", "/api/v1/applications/{id}/update-allow-consume-global", true,
          application_allow_global),
    READ("/api/v1/credentials", credential_list),
    WRITE("POST", "/api/v1/credentials", true, credential_create),
    READ("/api/v1/credentials/{id}", credential_get),
    WRITE("PATCH", "/api/v1/credentials/{id}", true, credential_change),
    WRITE("DELETE", "/api/v1/credentials/{id}", false, credential_delete),
    WRITE("POST", "/api/v1/credentials/{id}/rotate", true, credential_rotate),
    READ("/api/v1/usage/apis", usage_list),
    READ("/api/v1/usage/apis/aggregate", usage_aggregate),
    READ("/api/v1/usage/apis/status-codes", usage_status_codes),
    READ("/api/v1/usage/apis/export", usage_export),
    READ("/api/v1/usage/apis/{id}", usage_one),
};
const struct endpoint_table platform_endpoints = {platform_rows, N(platform_rows)};

static const struct endpoint key_rows[] = {
    WRITE("POST", "/console/api/acquire", true, application_acquire_again),
    READ("/console/api/application", application_own),
    READ("/console/api/grants", grant_list),
    READ("/console/api/keys", credential_list),
    WRITE("POST", "/console/api/keys", true, credential_create),
    READ("/console/api/keys/{id}", credential_get),
    WRITE("PATCH", "/console/api/keys/{id}", true, credential_change),
    WRITE("DELETE", "/console/api/keys/{id}", false, credential_delete),
    WRITE("POST", "/console/api/keys/{id}/rotate", true, credential_rotate),
    READ("/console/api/usage", usage_list),
    READ("/console/api/usage/sums", usage_aggregate),
    READ("/console/api/usage/export", usage_export),
    READ("/console/api/usage/{id}", usage_one),
};
const struct endpoint_table key_endpoints = {key_rows, N(key_rows)};
