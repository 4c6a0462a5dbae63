/*
 * The strict grammar of RFC 8259, checked over the text.
 *
 * The JSON library is lenient in places where two readers of one text would see two things. So
 * the text is checked here first, in one pass. What passes is read the same by everybody, except
 * for duplicate keys, which json.c finds by counting members.
 */
#include "base/json_scan.h"

#include "base/json_lex.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void note_big(struct json_scan *scan, size_t end)
{
    if (scan->n_big == scan->cap_big) {
        scan->cap_big = scan->cap_big != 0 ? scan->cap_big * 2 : 8;
        scan->big_ends = mem_realloc(scan->big_ends, scan->cap_big * sizeof(scan->big_ends[0]));
    }
    scan->big_ends[scan->n_big++] = end;
}

/* The digits have no leading zero, so equal lengths compare as text. */
static bool past_64_bits(const char *digits, size_t n, bool negative)
{
    const char *most = negative ? "9223372036854775808" : "18446744073709551615";
    size_t most_len = strlen(most);
    return n > most_len || (n == most_len && memcmp(digits, most, n) > 0);
}

static bool past_double(const char *number, size_t n)
{
    char *copy = mem_strndup(number, n);
    bool past = isinf(strtod(copy, NULL));
    free(copy);
    return past;
}

static int see_number(struct json_lex *l, const struct json_number *n)
{
    const char *digits = l->text + n->start + n->negative;
    if ((n->exponent || n->digits > 300) && past_double(l->text + n->start, n->len)) {
        l->at = n->start;
        return json_lex_bad(l, "a number is too large");
    }
    if (!n->fraction && !n->exponent &&
        (past_64_bits(digits, n->digits, n->negative) || (n->negative && digits[0] == '0')))
        note_big(l->arg, l->at);
    return 0;
}

static int see_key(struct json_lex *l, const struct json_string *key)
{
    struct json_scan *scan = l->arg;
    scan->members++;
    if (scan->on_key == NULL)
        return 0;
    return scan->on_key(scan->arg, l->depth, key->start - 1, l->text + key->start, key->len);
}

static void see_object(struct json_lex *l)
{
    struct json_scan *scan = l->arg;
    if (scan->on_object != NULL)
        scan->on_object(scan->arg, l->depth);
}

int json_scan(struct json_scan *scan, const char *text, size_t len, int max_depth, struct error *e)
{
    struct json_lex l = {.text = text,
                         .len = len,
                         .e = e,
                         .max_depth = max_depth,
                         .is_object = mem_zalloc((size_t)max_depth / 8 + 1),
                         .on_key = see_key,
                         .on_object = see_object,
                         .on_number = see_number,
                         .arg = scan};
    int rc = json_lex_value(&l);
    json_lex_space(&l);
    if (rc == 0 && l.at < len)
        rc = json_lex_bad(&l, "text behind the end of the document");
    free(l.is_object);
    return rc;
}

void json_scan_done(struct json_scan *scan)
{
    free(scan->big_ends);
    scan->big_ends = NULL;
    scan->n_big = scan->cap_big = 0;
}
