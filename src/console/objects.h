/*
 * The objects of the platform as JSON: applications, credentials, calls, sums, grants. Field names
 * are those of the platform whose clients we serve; what is our own stands beside them. Amounts
 * are USD with six decimals, times RFC 3339. Pure.
 */
#ifndef MOONGATE_CONSOLE_OBJECTS_H
#define MOONGATE_CONSOLE_OBJECTS_H

#include "base/buf.h"
#include "store/applications.h"
#include "store/keys.h"
#include "store/usage.h"

enum { OBJECT_SERVICE_ID = 1, OBJECT_API_ID = 1 }; /* the ones there are */

/* {"count":N,"items":[ ... ]}; object_next stands before each item. */
void object_list_open(struct buf *b, int64_t count);
void object_next(struct buf *b);
void object_list_close(struct buf *b);

/* `token` is the key itself, where it was just made; NULL: it is null. */
void object_credential(struct buf *b, const struct store_key *k, const char *token, int64_t now_ms);
/* With its keys among `keys`; `token` is that of the first of them. Left open: "}" is to follow. */
void object_application(struct buf *b, const struct store_application *a,
                        const struct store_key *keys, size_t n, const char *token, int64_t now_ms);
void object_call(struct buf *b, const struct usage_row *r);
void object_sum(struct buf *b, const struct usage_sum *s, enum usage_by by);
void object_grant(struct buf *b, const struct store_grant *g);

/* A call's id in the books, 20261128 and ten digits, is more than a JavaScript number holds: out
 * there it is another one, in the same order. Of an id that none has, the books' is 0. */
int64_t object_call_id(int64_t books_id);
int64_t object_call_books_id(int64_t id);

#endif
