/*
 * The functions of the platform's endpoints. Rows of two tables point to the same ones: /api/v1,
 * as the platform's clients call it, and /console/api, for our own pages. Each answers its
 * request, now or later.
 */
#ifndef MOONGATE_CONSOLE_PLATFORM_H
#define MOONGATE_CONSOLE_PLATFORM_H

struct request;

/* What is served (catalogue.c). */
void model_list(struct request *r);
void service_list(struct request *r);
void service_get(struct request *r);
void api_list(struct request *r);
void service_api_list(struct request *r);
void platform_config(struct request *r);

/* The account's application and what fills it (acquire.c, applications.c). */
void application_acquire(struct request *r);       /* one that was acquired before: 409 */
void application_acquire_again(struct request *r); /* or it is answered as it is */
void application_list(struct request *r);
void application_get(struct request *r);
void application_allow_global(struct request *r);
void application_own(struct request *r);
void grant_list(struct request *r);

/* Its keys (credentials.c). */
void credential_list(struct request *r);
void credential_create(struct request *r);
void credential_get(struct request *r);
void credential_change(struct request *r);
void credential_delete(struct request *r);
void credential_rotate(struct request *r);

/* What they were used for (usage_pages.c, usage_export.c). */
void usage_list(struct request *r);
void usage_one(struct request *r);
void usage_aggregate(struct request *r);
void usage_status_codes(struct request *r);
void usage_export(struct request *r);

#endif
