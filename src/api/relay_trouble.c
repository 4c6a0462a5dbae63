/*
 * What an upstream says went wrong. An error is a text, an object with a message, or a list of
 * these; its parts have the names of OpenAI, Google and FastAPI. What is found first stays, so
 * that a summary stands above its details. Pure.
 */
#include "api/relay_private.h"

#include <string.h>

enum { MESSAGE, MSG, ERROR, DETAIL, ERRORS, CODE, STATUS, TYPE, PARAM, N_NAMES };

static const struct name names[N_NAMES] = {
    [MESSAGE] = NAME("message"), [MSG] = NAME("msg"),       [ERROR] = NAME("error"),
    [DETAIL] = NAME("detail"),   [ERRORS] = NAME("errors"), [CODE] = NAME("code"),
    [STATUS] = NAME("status"),   [TYPE] = NAME("type"),     [PARAM] = NAME("param"),
};

static int place_of(struct name name)
{
    for (int i = 0; i < N_NAMES; i++) {
        if (names[i].len == name.len && memcmp(names[i].text, name.text, name.len) == 0)
            return i;
    }
    return -1;
}

static void take(struct api_text *to, struct api_text found)
{
    if (to->data == NULL && found.len > 0)
        *to = found;
}

/* A number of three digits, quoted or not, that is a status of HTTP which tells of a failure. */
static int to_status(const struct reader *r, const struct value *v)
{
    struct api_text t = relay_string(r, v);
    if (v->kind == VALUE_NUMBER)
        t = (struct api_text){v->start, v->len};
    if (t.data == NULL || t.len != 3 || (t.data[0] != '4' && t.data[0] != '5'))
        return 0;
    if (t.data[1] < '0' || t.data[1] > '9' || t.data[2] < '0' || t.data[2] > '9')
        return 0;
    return (t.data[0] - '0') * 100 + (t.data[1] - '0') * 10 + (t.data[2] - '0');
}

static int read_part(struct reader *r, struct trouble *t, int part)
{
    struct value v;
    if (part >= MESSAGE && part <= ERRORS)
        return relay_read_trouble(r, t);
    int rc = relay_value(r, &v);
    if (rc != 0)
        return rc;
    if ((part == CODE || part == STATUS) && t->status == 0)
        t->status = to_status(r, &v);
    if (part == CODE || part == STATUS)
        take(&t->code, relay_string(r, &v));
    else if (part == TYPE)
        take(&t->type, relay_string(r, &v));
    else if (part == PARAM)
        take(&t->param, relay_string(r, &v));
    return 0;
}

static int read_member(struct reader *r, const struct member *m, void *arg)
{
    return read_part(r, arg, m->name);
}

static int read_item(struct reader *r, void *arg)
{
    return relay_read_trouble(r, arg);
}

int relay_read_trouble(struct reader *r, struct trouble *t)
{
    struct value v;
    size_t members;
    char first = relay_next(r);
    if (first == '{' || first == '[')
        t->found = true;
    if (first == '{')
        return relay_walk(r, names, N_NAMES, read_member, t, &members);
    if (first == '[')
        return relay_items(r, read_item, t);
    int rc = relay_value(r, &v);
    if (rc != 0 || v.kind == VALUE_NULL)
        return rc;
    t->found = true;
    take(&t->message, relay_string(r, &v));
    return 0;
}

int relay_read_trouble_member(struct reader *r, struct trouble *t, struct name name)
{
    return read_part(r, t, place_of(name));
}
