/*
 * What the parts of the relay share: a reader that walks one JSON object, and what it may find.
 * Private to relay_*.c.
 */
#ifndef MOONGATE_API_RELAY_PRIVATE_H
#define MOONGATE_API_RELAY_PRIVATE_H

#include "api/relay.h"
#include "base/json_lex.h"

enum value_kind {
    VALUE_ABSENT,
    VALUE_NULL,
    VALUE_BOOL,
    VALUE_NUMBER,
    VALUE_STRING,
    VALUE_OBJECT,
    VALUE_ARRAY
};

/* A value that was read without going into it. */
struct value {
    enum value_kind kind;
    const char *start;
    size_t len;
    struct json_string string;
    bool is_empty; /* null, false, "", [] or {} */
};

/* What an upstream says went wrong, from one object. */
struct trouble {
    bool found; /* some member says that it is trouble */
    struct api_text message, code, type, param;
    int status;
};

struct reader {
    struct json_lex lex;
    unsigned char levels[RELAY_DEPTH / 8];
    struct relayed *out;
    bool has_choices, is_error, error_is_empty;
    bool has_usage; /* at the top, which stands above that of a choice */
    bool in_rest;   /* the member before is copied */
    size_t n_messages;
    struct trouble error, top; /* the `error` member; what stands beside it */
};

/* A member whose value comes next. */
struct member {
    int name; /* its place among the names, or -1 */
    size_t key_at;
    size_t comma_at; /* before it; 0 for the first of an object */
};

/* The end of an object that may get more members. */
struct ending {
    const char *at; /* its brace */
    size_t members;
};

struct name {
    const char *text;
    size_t len;
};
#define NAME(s)                                                                                    \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }

/* Reads the value, all of it. */
typedef int member_fn(struct reader *r, const struct member *m, void *arg);
typedef int item_fn(struct reader *r, void *arg);

/* An object at the cursor, member by member; a name that stands twice is ERR_INVALID. *members is
 * how many there are, the cursor ends behind the brace. */
int relay_walk(struct reader *r, const struct name *names, int n_names, member_fn *fn, void *arg,
               size_t *members);
int relay_items(struct reader *r, item_fn *fn, void *arg); /* an array at the cursor */
int relay_value(struct reader *r, struct value *v);        /* space, and any value */
char relay_next(struct reader *r); /* skips space: the byte that the next thing begins with */

struct api_text relay_string(const struct reader *r, const struct value *v); /* its contents */
bool relay_is(const struct reader *r, const struct value *v, const char *text);

bool relay_is_blank(const char *text, size_t len);
bool relay_is_empty(const char *text, size_t len); /* null, false, "", [] or {} */

void relay_add_piece(struct relayed *out, struct api_text piece);
void relay_add_edit(struct relayed *out, struct relayed_edit edit);
/* `lead` begins by a comma, and ends by a colon if `raw` is its value. */
void relay_add_member(struct relayed *out, struct ending *end, const char *lead,
                      struct api_text raw);

/* Behind the member's value: cuts it with one of the commas beside it. At most one of an object,
 * which the ending does not count. */
void relay_cut_member(struct reader *r, const struct member *m);

/* A delta or a message at the cursor. */
int relay_read_said(struct reader *r, bool is_message);
/* `usage` at the cursor; *good if it is an object whose numbers make sense. */
int relay_read_usage(struct reader *r, struct api_usage *u, bool *good);
/* An error in any shape at the cursor; what was found first stays. */
int relay_read_trouble(struct reader *r, struct trouble *t);
/* `code`, `status`, `type`, `param` and a text beside an error. */
int relay_read_trouble_member(struct reader *r, struct trouble *t, struct name name);

/* Appends the text with ill-formed UTF-8 and halves of surrogate pairs replaced. The text has
 * been read once, so that it is JSON but for these. */
void relay_mend(struct buf *b, const char *text, size_t len);

#endif
