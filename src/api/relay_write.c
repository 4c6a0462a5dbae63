/*
 * Writes what was read of an upstream again, under our name. The text of the choices is copied in
 * runs between the changes that were noted when it was read, so a chunk costs a handful of copies.
 * Order and look are those of reply.c. Pure.
 */
#include "api/relay_private.h"

#include "base/json.h"

#include <string.h>

static void add_quoted(struct buf *b, const char *s)
{
    size_t len = strlen(s);
    if (json_lex_plain(s, len) < len) {
        json_write_string(b, s, len);
        return;
    }
    buf_addc(b, '"');
    buf_add(b, s, len);
    buf_addc(b, '"');
}

/* {"id","object","created","model" without the brace that ends it. */
static void add_head(struct buf *b, const struct api_head *h, const char *object)
{
    buf_adds(b, "{\"id\":");
    add_quoted(b, h->id);
    buf_adds(b, object);
    buf_addi(b, h->created);
    buf_adds(b, ",\"model\":");
    add_quoted(b, h->model);
}

static void add_edit(struct buf *b, const struct relayed_edit *edit)
{
    buf_adds(b, edit->lead);
    buf_add(b, edit->raw.data, edit->raw.len);
    if (edit->number >= 0)
        buf_addi(b, edit->number);
}

static void add_choices(struct buf *b, const struct relayed *r)
{
    const char *at = r->choices.data;
    if (at == NULL) {
        buf_adds(b, "[]");
        return;
    }
    for (size_t i = 0; i < r->n_edits; i++) {
        const struct relayed_edit *edit = &r->edit[i];
        buf_add(b, at, (size_t)(edit->at - at));
        add_edit(b, edit);
        at = edit->at + edit->cut;
    }
    buf_add(b, at, (size_t)(r->choices.data + r->choices.len - at));
}

static void add_rest(struct buf *b, const struct relayed *r)
{
    for (size_t i = 0; i < r->n_rests; i++) {
        buf_addc(b, ',');
        buf_add(b, r->rest[i].data, r->rest[i].len);
    }
}

/* An event is one line: white space between members may have line ends, strings never do. */
static void join_lines(struct buf *b, size_t from)
{
    if (b->failed)
        return;
    for (char *at = b->data + from, *end = b->data + b->len; at < end; at++) {
        if (*at == '\n' || *at == '\r')
            *at = ' ';
    }
}

static bool has_line_end(const struct relayed *r)
{
    return memchr(r->text.data, '\n', r->text.len) != NULL ||
           memchr(r->text.data, '\r', r->text.len) != NULL;
}

void relay_chunk(struct buf *b, const struct api_head *h, const struct relayed *r)
{
    size_t start = b->len;
    buf_adds(b, "data: ");
    add_head(b, h, ",\"object\":\"chat.completion.chunk\",\"created\":");
    buf_adds(b, ",\"system_fingerprint\":");
    add_quoted(b, h->fingerprint);
    buf_adds(b, ",\"choices\":");
    add_choices(b, r);
    buf_adds(b, ",\"usage\":null");
    add_rest(b, r);
    buf_addc(b, '}');
    if (has_line_end(r))
        join_lines(b, start);
    buf_adds(b, "\n\n");
}

void relay_reply(struct buf *b, const struct api_head *h, const struct relayed *r,
                 const struct api_usage *u)
{
    add_head(b, h, ",\"object\":\"chat.completion\",\"created\":");
    buf_adds(b, ",\"choices\":");
    add_choices(b, r);
    buf_adds(b, ",\"usage\":");
    api_usage_write(b, u);
    buf_adds(b, ",\"system_fingerprint\":");
    add_quoted(b, h->fingerprint);
    add_rest(b, r);
    buf_addc(b, '}');
}

void relay_text(struct buf *b, const struct relayed *r)
{
    for (size_t i = 0; i < r->n_pieces; i++)
        json_lex_decode(b, r->piece[i].data, r->piece[i].len);
}
