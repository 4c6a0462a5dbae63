/*
 * JSON in: one pass over the text, with the pieces of json_lex.
 *
 * A tree is one piece of memory: its root, room for values, and room for the bytes of all strings.
 * The bytes are never more than the text has, for a string loses its quotes and gains a NUL. The
 * values are fewer than half the text's bytes, but mostly far fewer, so there is room for an
 * eighth; where that does not do, a second piece takes all that may still come.
 *
 * The values of one container must lie side by side, and how many they are shows only at its end.
 * So the room for values is used from both ends: in front lies a stack of what is still open, and
 * a container that closes moves its values to the back, where they stay. A container that is open
 * keeps in its own place where the one around it lies: nothing recurses, and there is no second
 * stack.
 *
 * A duplicate key is an error of lower rank than a mistake in the grammar: the first of them is
 * kept until the text has been read to its end.
 */
#include "base/json_private.h"

#include "base/json_lex.h"
#include "base/mem.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

enum { SPARE_VALUES = 32, SHOWN_KEY_BYTES = 100 };

struct block {
    struct block *next;
    _Alignas(struct json) struct json values[];
};

struct document {
    struct json root; /* first: who has the root has the document */
    struct json_index *indexes;
    struct block *blocks; /* those that the first room was too small for */
    _Alignas(struct json) struct json values[];
};

struct reader {
    struct json_lex lex;
    struct document *doc;
    struct json *values; /* the room: [0, top) is the stack, what is done begins at `low` */
    size_t top, low;
    size_t open; /* the innermost open container's place in the stack, if depth is not 0 */
    char *bytes; /* where the next string goes */
    bool twice;  /* a key stands twice: this one */
    struct json_string twice_key;
};

static void grow(struct reader *r)
{
    size_t n = r->top + (r->lex.len - r->lex.at) / 2 + SPARE_VALUES;
    struct block *b = mem_alloc(sizeof(*b) + n * sizeof(b->values[0]));
    b->next = r->doc->blocks;
    r->doc->blocks = b;
    memcpy(b->values, r->values, r->top * sizeof(b->values[0]));
    r->values = b->values;
    r->low = n;
}

static void push(struct reader *r, struct json v)
{
    if (r->top == r->low)
        grow(r);
    r->values[r->top++] = v;
}

/* Copies with a NUL. */
static const char *keep(struct reader *r, const char *s, size_t n)
{
    char *kept = r->bytes;
    memcpy(kept, s, n);
    kept[n] = '\0';
    r->bytes += n + 1;
    return kept;
}

static struct json keep_string(struct reader *r, const struct json_string *s)
{
    const char *raw = r->lex.text + s->start;
    if (!s->escaped)
        return json_key(keep(r, raw, s->len), s->len);
    /* Never longer than it was, so the buffer does not outgrow what is there. */
    struct buf b = {.data = r->bytes, .cap = s->len, .max_bytes = s->len};
    json_lex_decode(&b, raw, s->len);
    r->bytes += b.len + 1;
    return json_key(b.data, b.len);
}

static int read_string(struct reader *r)
{
    struct json_string s;
    int rc = json_lex_string(&r->lex, &s);
    if (rc == 0)
        push(r, keep_string(r, &s));
    return rc;
}

/* The digits have no leading zero, so equal lengths compare as text. */
static bool past_64_bits(const char *digits, size_t n, bool negative)
{
    const char *most = negative ? "9223372036854775808" : "18446744073709551615";
    size_t most_len = strlen(most);
    return n > most_len || (n == most_len && memcmp(digits, most, n) > 0);
}

static struct json integer(const char *digits, size_t n, bool negative)
{
    uint64_t number = 0;
    for (size_t i = 0; i < n; i++)
        number = number * 10 + (uint64_t)(digits[i] - '0');
    return (struct json){.kind = JSON_INT,
                         .large = !negative && number > INT64_MAX,
                         .number = (int64_t)(negative ? -number : number)};
}

static int read_number(struct reader *r)
{
    struct json_number n;
    int rc = json_lex_number(&r->lex, &n);
    if (rc != 0)
        return rc;
    const char *text = r->lex.text + n.start, *digits = text + n.negative;
    bool whole = !n.fraction && !n.exponent, large = past_64_bits(digits, n.digits, n.negative);
    if (whole && !large && !(n.negative && digits[0] == '0')) {
        push(r, integer(digits, n.digits, n.negative));
        return 0;
    }
    text = keep(r, text, n.len);
    if ((n.exponent || n.digits > 300) && isinf(strtod(text, NULL))) {
        r->lex.at = n.start;
        return json_lex_bad(&r->lex, "a number is too large");
    }
    push(r,
         (struct json){
             .kind = JSON_DOUBLE, .large = whole && large, .len = (uint32_t)n.len, .text = text});
    return 0;
}

static int read_word(struct reader *r, const char *word, enum json_kind kind)
{
    int rc = json_lex_word(&r->lex, word);
    if (rc == 0)
        push(r, (struct json){.kind = (unsigned char)kind, .number = word[0] == 't'});
    return rc;
}

/* Whether the key on top of the stack is the first of its name in the open object. */
static bool is_new_key(struct reader *r)
{
    struct json *object = &r->values[r->open], *members = object + 1;
    size_t n = (r->top - r->open) / 2 - 1; /* members before it */
    if (n < JSON_SEARCHED_MEMBERS) {
        for (size_t i = 0; i < n; i++) {
            if (json_same_key(&members[2 * i], &members[2 * n]))
                return false;
        }
        return true;
    }
    if (!object->large) {
        object->large = true;
        object->index = r->doc->indexes = json_index_new(r->doc->indexes);
        for (size_t i = 0; i < n; i++)
            json_index_add(object->index, members, i);
    }
    return json_index_add(object->index, members, n);
}

static int read_key(struct reader *r)
{
    struct json_string s;
    int rc = json_lex_key(&r->lex, &s);
    if (rc != 0)
        return rc;
    push(r, keep_string(r, &s));
    if (!r->twice && !is_new_key(r)) {
        r->twice = true;
        r->twice_key = s;
    }
    return 0;
}

static bool in_object(const struct reader *r)
{
    return r->values[r->open].kind == JSON_OBJECT;
}

/* At the closing bracket of the open container. */
static void close_container(struct reader *r)
{
    if (r->values[r->open].large)
        push(r, (struct json){.index = r->values[r->open].index});
    struct json *container = &r->values[r->open];
    size_t around = container->len, n = r->top - r->open - 1;
    r->low -= n;
    memmove(r->values + r->low, container + 1, n * sizeof(*container));
    container->items = r->values + r->low;
    container->len = (uint32_t)(in_object(r) ? n / 2 : n);
    r->top = r->open + 1;
    r->open = around;
    r->lex.at++;
    r->lex.depth--;
}

/* *complete tells that the container closed at once. */
static int open_container(struct reader *r, enum json_kind kind, bool *complete)
{
    int rc = json_lex_enter(&r->lex);
    if (rc != 0)
        return rc;
    push(r, (struct json){.kind = (unsigned char)kind, .len = (uint32_t)r->open});
    r->open = r->top - 1;
    json_lex_space(&r->lex);
    *complete = json_lex_peek(&r->lex) == (kind == JSON_OBJECT ? '}' : ']');
    if (*complete)
        close_container(r);
    else if (kind == JSON_OBJECT)
        rc = read_key(r);
    return rc;
}

/* One value, or the opening of one. */
static int read_value(struct reader *r, bool *complete)
{
    *complete = true;
    json_lex_space(&r->lex);
    switch (json_lex_peek(&r->lex)) {
    case '{':
        return open_container(r, JSON_OBJECT, complete);
    case '[':
        return open_container(r, JSON_ARRAY, complete);
    case '"':
        return read_string(r);
    case 't':
        return read_word(r, "true", JSON_BOOL);
    case 'f':
        return read_word(r, "false", JSON_BOOL);
    case 'n':
        return read_word(r, "null", JSON_NULL);
    default:
        return read_number(r);
    }
}

/* Behind a complete value: closes what closes here, or goes to the next value. */
static int read_behind(struct reader *r)
{
    while (r->lex.depth > 0) {
        bool object = in_object(r);
        json_lex_space(&r->lex);
        if (json_lex_peek(&r->lex) == ',') {
            r->lex.at++;
            return object ? read_key(r) : 0;
        }
        if (json_lex_peek(&r->lex) != (object ? '}' : ']'))
            return json_lex_bad(&r->lex, object ? "a comma or } is expected here"
                                                : "a comma or ] is expected here");
        close_container(r);
    }
    return 0;
}

static int read_document(struct reader *r)
{
    int rc;
    do {
        bool complete;
        rc = read_value(r, &complete);
        if (rc == 0 && complete)
            rc = read_behind(r);
    } while (rc == 0 && r->lex.depth > 0);
    json_lex_space(&r->lex);
    if (rc == 0 && r->lex.at < r->lex.len)
        rc = json_lex_bad(&r->lex, "text behind the end of the document");
    if (rc != 0 || !r->twice)
        return rc;
    size_t len = r->twice_key.len;
    return error_set(r->lex.e, ERR_INVALID,
                     "invalid JSON at byte %zu: the key \"%.*s\" stands twice in one object",
                     r->twice_key.start - 1, (int)(len < SHOWN_KEY_BYTES ? len : SHOWN_KEY_BYTES),
                     r->lex.text + r->twice_key.start);
}

int json_parse(const char *text, size_t len, int max_depth, struct json **out, struct error *e)
{
    *out = NULL;
    if (len > INT_MAX || max_depth < 0 || max_depth > INT_MAX - 2)
        return error_set(e, ERR_INVALID, "the JSON text is too large");
    size_t n = len / 8 + SPARE_VALUES;
    struct document *doc = mem_alloc(sizeof(*doc) + n * sizeof(doc->values[0]) + len + 1);
    struct reader r = {.lex = {.text = text, .len = len, .max_depth = max_depth, .e = e},
                       .doc = doc,
                       .values = doc->values,
                       .low = n,
                       .bytes = (char *)(doc->values + n)};
    doc->indexes = NULL;
    doc->blocks = NULL;
    int rc = read_document(&r);
    doc->root = rc == 0 ? r.values[0] : (struct json){.kind = JSON_NULL};
    if (doc->root.kind == JSON_NULL)
        json_free(&doc->root);
    else
        *out = &doc->root;
    return rc;
}

void json_free(struct json *root)
{
    struct document *doc = (struct document *)root;
    if (doc == NULL)
        return;
    while (doc->blocks != NULL) {
        struct block *b = doc->blocks;
        doc->blocks = b->next;
        free(b);
    }
    json_index_free(doc->indexes);
    free(doc);
}
