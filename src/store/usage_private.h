/*
 * What the readers of the books share: a filter turned into conditions of SQL. Private to the
 * room.
 *
 * An account is turned into its application first, because a page is then one walk down an index;
 * so is a key. Calls and totals call their columns the same, so one text serves both.
 */
#ifndef MOONGATE_STORE_USAGE_PRIVATE_H
#define MOONGATE_STORE_USAGE_PRIVATE_H

#include "store/store_private.h"
#include "store/usage.h"

#include "base/buf.h"

#define USAGE_DAY_IDS INT64_C(10000000000) /* an id is its day times this, plus its number */
enum { USAGE_GOOD = 1, USAGE_BAD = 2 };    /* of a filter's status */
enum { USAGE_SQL_BYTES = 8192, USAGE_HOUR_MS = 3600000, USAGE_DAY_MS = 86400000 };

struct usage_scope {
    const struct usage_filter *filter;
    enum { USAGE_ALL, USAGE_ONE, USAGE_SEVERAL, USAGE_NOBODY } whose; /* applications */
    int64_t application_id;                                           /* of USAGE_ONE */
};

int usage_scope(struct store *s, const struct usage_filter *f, struct usage_scope *out,
                struct error *e);

/* A query that grows: its text and its arguments. usage_sql_ready hands the text over. */
struct usage_sql {
    struct buf text;
    struct db_query query;
};

void usage_sql_init(struct usage_sql *q, const char *start);
void usage_sql_adds(struct usage_sql *q, const char *text);
void usage_sql_addi(struct usage_sql *q, int64_t n);                  /* in the text */
void usage_sql_arg(struct usage_sql *q, const char *text, int64_t n); /* text, then $n */
int usage_sql_run(struct usage_sql *q, struct store *s, struct error *e);
void usage_sql_done(struct usage_sql *q);

/* " AND ..." for application, key and model. */
void usage_add_owner(struct usage_sql *q, const struct usage_scope *c);
/* And for status, trace id and time, which calls have alone. */
void usage_add_filter(struct usage_sql *q, const struct usage_scope *c);

#endif
