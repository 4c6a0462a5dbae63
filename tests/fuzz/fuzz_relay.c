/* The relay: what is written of an upstream's answer reads the same and is written the same
 * again, strict JSON stays strict JSON, and what a client is told of a refusal is one line of good
 * text without addresses. */
#include "api/relay.h"

#include "base/json.h"
#include "base/utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BYTES = 1 << 24 };

static const struct api_head head = {"chatcmpl-b5d9e1b799c137e3", 1770991864, "kimi-k2.5", "up"};
static const struct api_usage usage = {3, 1, 5, 2, API_USAGE_UPSTREAM};

static void must(int holds)
{
    if (!holds)
        abort();
}

static bool is_strict(const char *text, size_t len)
{
    struct json *root;
    bool good = json_parse(text, len, RELAY_DEPTH, &root, NULL) == 0;
    json_free(root);
    return good;
}

static void write(struct buf *b, const struct relayed *r, bool whole)
{
    buf_init(b, MAX_BYTES);
    if (whole)
        relay_reply(b, &head, r, &usage);
    else
        relay_chunk(b, &head, r);
    must(!b->failed);
}

/* The object that was written: an event is one line of it. */
static struct api_text object_of(const struct buf *b, bool whole)
{
    struct api_text t = {b->data, b->len};
    if (!whole) {
        must(memcmp(t.data, "data: {", 7) == 0 && memcmp(t.data + t.len - 2, "\n\n", 2) == 0);
        t.data += 6;
        t.len -= 8;
        must(memchr(t.data, '\n', t.len) == NULL && memchr(t.data, '\r', t.len) == NULL);
    }
    return t;
}

static void check_text(const struct relayed *r)
{
    struct buf b;
    buf_init(&b, MAX_BYTES);
    relay_text(&b, r);
    must(r->content_bytes >= 0 && (size_t)r->content_bytes <= b.len);
    for (size_t at = 0; at < b.len;) {
        int n = utf8_char(b.data + at, b.len - at);
        must(n > 0);
        at += (size_t)n;
    }
    buf_done(&b);
}

static void check_same(const struct relayed *a, const struct relayed *b)
{
    must(a->kind == b->kind && a->n_choices == b->n_choices && a->whole == b->whole);
    must(a->begins == b->begins && a->role_only == b->role_only);
    must(a->content_bytes == b->content_bytes && b->n_edits == 0);
    for (size_t i = 0; i < a->n_choices; i++) {
        must(a->choice[i].index == b->choice[i].index);
        must(a->choice[i].finished == b->choice[i].finished);
        must(a->choice[i].finish == b->choice[i].finish);
    }
}

static void check_written(const struct relayed *r, bool whole, bool strict)
{
    struct buf first, second;
    struct relayed again;
    write(&first, r, whole);
    struct api_text object = object_of(&first, whole);
    must(relay_read(object.data, object.len, &again, NULL) == 0);
    check_same(r, &again);
    must(!strict || is_strict(object.data, object.len));
    write(&second, &again, whole);
    must(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    relay_done(&again);
    buf_done(&first);
    buf_done(&second);
}

static void check_fault(int status, const char *body, size_t len)
{
    struct fault f;
    must(relay_fault(status, body, len, &f) == f.kind && fault_status(f.kind) >= 400);
    size_t n = strlen(f.message);
    must(n > 0 && strcasestr(f.message, "http://") == NULL);
    for (size_t at = 0; at < n;) {
        int size = utf8_char(f.message + at, n - at);
        must(size > 0 && (unsigned char)f.message[at] >= 0x20);
        at += (size_t)size;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int statuses[] = {0, 302, 400, 403, 413, 429, 500};
    char *copy = malloc(size > 0 ? size : 1);
    struct relayed r;
    struct error e;
    if (size > 0)
        memcpy(copy, data, size);
    int rc = relay_read(copy, size, &r, &e);
    must(rc == 0 || ((rc == ERR_INVALID || rc == ERR_LIMIT) && e.text[0] != '\0'));
    if (rc == 0 && r.kind == RELAY_CHUNK) {
        bool strict = is_strict(copy, size);
        check_text(&r);
        check_written(&r, r.whole, strict);
    }
    relay_done(&r);
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        check_fault(statuses[i], copy, size);
    free(copy);
    return 0;
}
