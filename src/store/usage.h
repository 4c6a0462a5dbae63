/*
 * Reading the books: pages of calls, sums by hour, day, model and key, export, and the proof that
 * all of it agrees. Bounded: a page has at most USAGE_PAGE_MAX rows, sums read the totals.
 */
#ifndef MOONGATE_STORE_USAGE_H
#define MOONGATE_STORE_USAGE_H

#include "store/ledger.h"

enum { USAGE_PAGE_MAX = 1000, USAGE_SUMS_MAX = 5000 };

struct usage_filter { /* zeroed: everything */
    int64_t account_id, application_id, key_id;
    int64_t from_ms, to_ms; /* of the end; to_ms 0: now */
    char model[128];
    int status; /* 0: any; 1: below 400; 2: 400 and up; else exactly it */
    char trace_id[STORE_TRACE_BYTES];
};

struct usage_row {
    int64_t id; /* day * 10^10 + number in its day: orders all calls */
    struct ledger_row row;
    char key_name[STORE_NAME_BYTES];
};

/* Newest first. `before` (0: from the newest) is the id of the last row of the page before; or
 * `offset` rows are passed over. *count (may be NULL) is how many fit, from the totals where the
 * filter allows, else counted up to USAGE_COUNT_MAX. */
enum { USAGE_COUNT_MAX = 100000 };
int usage_page(struct store *s, const struct usage_filter *f, int64_t before, int64_t offset,
               int64_t limit, struct usage_row *out, size_t *n, int64_t *count, struct error *e);
int usage_get(struct store *s, const struct usage_filter *f, int64_t id, struct usage_row *out,
              struct error *e); /* ERR_NOT_FOUND: also another account's */

enum usage_by {
    USAGE_BY_NONE,
    USAGE_BY_HOUR,
    USAGE_BY_DAY,
    USAGE_BY_MODEL,
    USAGE_BY_KEY,
    USAGE_BY_ACCOUNT
};
struct usage_sum {
    int64_t time_ms;              /* of BY_HOUR and BY_DAY: its beginning */
    char model[128];              /* of BY_MODEL */
    int64_t key_id;               /* of BY_KEY */
    int64_t account_id;           /* of BY_ACCOUNT */
    char name[STORE_EMAIL_BYTES]; /* of the key or the account */
    int64_t calls, failed, prompt_tokens, cached_tokens, reasoning_tokens, completion_tokens;
    int64_t cost_micros, charged_micros;
};
/* From the totals, so from_ms and to_ms are rounded to hours. Trace id and status are not looked
 * at. */
int usage_sums(struct store *s, const struct usage_filter *f, enum usage_by by,
               struct usage_sum *out, size_t most, size_t *n, struct error *e);

/* Oldest first, all that fit; fn's nonzero ends it and is returned. */
int usage_each(struct store *s, const struct usage_filter *f,
               int (*fn)(void *arg, const struct usage_row *row), void *arg, struct error *e);

/* The proof. fn is told each thing that is wrong, a sentence each. */
struct usage_proof {
    int64_t applications, grants, holds, days, rows, wrong;
    int64_t granted_micros, charged_micros, held_micros, balance_micros, written_off_micros;
};
int usage_verify(struct store *s, void (*fn)(void *arg, const char *wrong), void *arg,
                 void (*progress)(void *arg, const char *what, int percent),
                 struct usage_proof *out, struct error *e);

#endif
