/*
 * GGUF: the walk over a file's header, and the tensor directory.
 *
 * A reader goes through the bytes once, from the front. It never trusts a count: each is first
 * compared with what the rest of the file could hold, and with a ceiling, and only then is memory
 * taken. Names are copied (they need a NUL), everything else points into the bytes. Names are
 * found again through hash tables, which also find duplicates.
 *
 * A file is mapped, not read: it must not be cut short while the program runs.
 */
#include "engine/gguf_impl.h"

#include "base/mem.h"
#include "engine/quant.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensors are used in place: a little-endian machine is needed"
#endif

enum {
    MAX_ENTRIES = 1 << 16,
    MAX_TENSORS = 1 << 18,
    MAX_STRINGS = 1 << 24, /* in one array */
    MAX_KEY_BYTES = 65535,
    MAX_NAME_BYTES = 63,
    MIN_ENTRY_BYTES = 8 + 1 + 4 + 1,          /* key length, key, type, value */
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8, /* name length, name, dims, extent, type, offset */
    MIN_ALIGNMENT = 8,
    MAX_ALIGNMENT = 1 << 20,
    DEFAULT_ALIGNMENT = 32
};

struct reader {
    struct gguf *g;
    size_t pos;
    struct error *e;
};

/* A name for an error: cut, and bytes that a terminal should not see replaced. */
struct shown {
    char text[72];
};

static struct shown show(const char *s, size_t len)
{
    struct shown out;
    size_t n = len < sizeof out.text - 4 ? len : sizeof out.text - 4;
    for (size_t i = 0; i < n; i++)
        out.text[i] = s[i] >= 0x20 && s[i] < 0x7f ? s[i] : '?';
    memcpy(out.text + n, "...", 4);
    if (n == len)
        out.text[n] = '\0';
    return out;
}

static struct shown show_name(const char *s)
{
    return show(s, strlen(s));
}

static size_t left(const struct reader *r)
{
    return r->g->len - r->pos;
}

/* The next `n` bytes, or NULL with an error that names them. */
static const uint8_t *take(struct reader *r, uint64_t n, const char *what)
{
    if (n > left(r)) {
        error_set(r->e, ERR_INVALID,
                  "%s: cut short: %s at byte %zu needs %" PRIu64 " bytes, %zu are left",
                  r->g->source, what, r->pos, n, left(r));
        return NULL;
    }
    const uint8_t *at = r->g->bytes + r->pos;
    r->pos += (size_t)n;
    return at;
}

uint64_t gguf_read_u64(const uint8_t *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof v);
    return v;
}

static int take_u32(struct reader *r, const char *what, uint32_t *out)
{
    const uint8_t *at = take(r, 4, what);
    if (!at)
        return ERR_INVALID;
    memcpy(out, at, 4);
    return 0;
}

static int take_u64(struct reader *r, const char *what, uint64_t *out)
{
    const uint8_t *at = take(r, 8, what);
    if (!at)
        return ERR_INVALID;
    *out = gguf_read_u64(at);
    return 0;
}

/* A key or a tensor's name: 1 to `max` bytes without NUL, copied. */
static int take_name(struct reader *r, const char *what, size_t max, const char **out)
{
    size_t start = r->pos;
    uint64_t len;
    if (take_u64(r, what, &len) != 0)
        return ERR_INVALID;
    if (len == 0 || len > max)
        return error_set(r->e, ERR_INVALID,
                         "%s: %s at byte %zu is %" PRIu64 " bytes long, allowed are 1 to %zu",
                         r->g->source, what, start, len, max);
    const uint8_t *at = take(r, len, what);
    if (!at)
        return ERR_INVALID;
    if (memchr(at, 0, (size_t)len))
        return error_set(r->e, ERR_INVALID, "%s: %s at byte %zu contains a zero byte", r->g->source,
                         what, start);
    *out = arena_strndup(r->g->names, (const char *)at, (size_t)len);
    return 0;
}

/* Hash index */

static uint64_t hash_name(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (; *s; s++)
        h = (h ^ (uint8_t)*s) * 0x100000001b3u;
    return h ^ h >> 32;
}

static void index_init(struct gguf_index *ix, size_t n)
{
    size_t slots = 8;
    while (slots < 2 * n)
        slots *= 2;
    ix->slots = mem_array(slots, sizeof *ix->slots);
    ix->mask = slots - 1;
}

static const char *entry_name(const struct gguf *g, size_t i)
{
    return g->entries[i].key;
}

static const char *tensor_name(const struct gguf *g, size_t i)
{
    return g->tensors[i].name;
}

/* The slot of a name: the one that holds it, or the free one where it belongs. */
static uint32_t *index_slot(const struct gguf *g, const struct gguf_index *ix,
                            const char *(*name_of)(const struct gguf *, size_t), const char *name)
{
    for (size_t i = hash_name(name) & ix->mask;; i = (i + 1) & ix->mask) {
        uint32_t *slot = &ix->slots[i];
        if (*slot == 0 || strcmp(name_of(g, *slot - 1), name) == 0)
            return slot;
    }
}

const struct gguf_entry *gguf_entry_find(const struct gguf *g, const char *key)
{
    uint32_t slot = *index_slot(g, &g->by_key, entry_name, key);
    return slot ? &g->entries[slot - 1] : NULL;
}

const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name)
{
    uint32_t slot = *index_slot(g, &g->by_tensor, tensor_name, name);
    return slot ? &g->tensors[slot - 1] : NULL;
}

/* Metadata */

static int read_string(struct reader *r, struct gguf_entry *entry, const char *what)
{
    if (take_u64(r, what, &entry->count) != 0)
        return ERR_INVALID;
    entry->value = take(r, entry->count, what);
    return entry->value ? 0 : ERR_INVALID;
}

static int read_strings(struct reader *r, struct gguf_entry *entry, const char *what)
{
    entry->strings = mem_array((size_t)entry->count, sizeof *entry->strings);
    for (uint64_t i = 0; i < entry->count; i++) {
        uint64_t len;
        entry->strings[i] = r->pos;
        if (take_u64(r, what, &len) != 0 || !take(r, len, what))
            return ERR_INVALID;
    }
    return 0;
}

static int read_array(struct reader *r, struct gguf_entry *entry, const char *what)
{
    size_t start = r->pos;
    if (take_u32(r, what, &entry->kind) != 0 || take_u64(r, what, &entry->count) != 0)
        return ERR_INVALID;
    bool strings = entry->kind == GGUF_STRING;
    size_t item = strings ? 8 : gguf_kind_bytes(entry->kind);
    if (entry->kind == GGUF_ARRAY)
        return error_set(r->e, ERR_UNSUPPORTED, "%s: %s at byte %zu is an array of arrays",
                         r->g->source, what, start);
    if (item == 0)
        return error_set(r->e, ERR_INVALID,
                         "%s: %s at byte %zu is an array of an unknown type %" PRIu32, r->g->source,
                         what, start, entry->kind);
    if (entry->count > left(r) / item)
        return error_set(r->e, ERR_INVALID,
                         "%s: cut short: %s at byte %zu says %" PRIu64
                         " elements, the %zu bytes left cannot hold them",
                         r->g->source, what, start, entry->count, left(r));
    entry->array = true;
    entry->value = r->g->bytes + r->pos;
    if (!strings)
        return take(r, entry->count * item, what) ? 0 : ERR_INVALID;
    if (entry->count > MAX_STRINGS)
        return error_set(r->e, ERR_LIMIT,
                         "%s: %s at byte %zu has %" PRIu64 " strings, at most %d are read",
                         r->g->source, what, start, entry->count, MAX_STRINGS);
    return read_strings(r, entry, what);
}

static int read_entry(struct reader *r, struct gguf_entry *entry)
{
    struct gguf *g = r->g;
    char what[96];
    size_t start = r->pos;
    if (take_name(r, "a metadata key", MAX_KEY_BYTES, &entry->key) != 0)
        return ERR_INVALID;
    snprintf(what, sizeof what, "metadata '%s'", show_name(entry->key).text);
    if (gguf_entry_find(g, entry->key))
        return error_set(r->e, ERR_INVALID, "%s: %s at byte %zu stands there twice", g->source,
                         what, start);
    size_t at_kind = r->pos;
    if (take_u32(r, what, &entry->kind) != 0)
        return ERR_INVALID;
    if (entry->kind >= GGUF_N_KINDS)
        return error_set(r->e, ERR_INVALID, "%s: %s has an unknown type %" PRIu32 " at byte %zu",
                         g->source, what, entry->kind, at_kind);
    if (entry->kind == GGUF_ARRAY)
        return read_array(r, entry, what);
    if (entry->kind == GGUF_STRING)
        return read_string(r, entry, what);
    entry->count = 1;
    entry->value = take(r, gguf_kind_bytes(entry->kind), what);
    return entry->value ? 0 : ERR_INVALID;
}

static int read_entries(struct reader *r, uint64_t count)
{
    struct gguf *g = r->g;
    g->entries = mem_array((size_t)count, sizeof *g->entries);
    index_init(&g->by_key, (size_t)count);
    while (g->n_entries < count) {
        struct gguf_entry *entry = &g->entries[g->n_entries];
        int rc = read_entry(r, entry);
        if (rc != 0) {
            free(entry->strings);
            return rc;
        }
        g->n_entries++;
        *index_slot(g, &g->by_key, entry_name, entry->key) = (uint32_t)g->n_entries;
    }
    return 0;
}

static size_t entry_byte(const struct gguf *g, const char *key)
{
    return (size_t)(gguf_entry_find(g, key)->value - g->bytes);
}

static int check_split(struct reader *r)
{
    int64_t count = 1, no = 0;
    int rc = gguf_int_or(r->g, "split.count", 1, 0, 65535, &count, r->e);
    if (rc == 0)
        rc = gguf_int_or(r->g, "split.no", 0, 0, 65535, &no, r->e);
    if (rc == 0 && count > 1)
        rc = error_set(r->e, ERR_UNSUPPORTED,
                       "%s: this is part %" PRId64 " of a model split into %" PRId64
                       " files ('split.count' at byte %zu); join them first "
                       "(llama-gguf-split --merge)",
                       r->g->source, no + 1, count, entry_byte(r->g, "split.count"));
    return rc;
}

static int read_alignment(struct reader *r, size_t *out)
{
    int64_t v;
    int rc = gguf_int_or(r->g, "general.alignment", DEFAULT_ALIGNMENT, MIN_ALIGNMENT, MAX_ALIGNMENT,
                         &v, r->e);
    if (rc == 0 && (v & (v - 1)) != 0)
        rc = error_set(r->e, ERR_INVALID,
                       "%s: metadata 'general.alignment' at byte %zu is %" PRId64
                       ", not a power of two",
                       r->g->source, entry_byte(r->g, "general.alignment"), v);
    if (rc == 0)
        *out = (size_t)v;
    return rc;
}

/* Tensors */

static int unbuilt_type(struct reader *r, const struct gguf_tensor *t, size_t at)
{
    return error_set(r->e, ERR_UNSUPPORTED,
                     "%s: tensor '%s' has type %" PRIu32
                     " (%s) at byte %zu, which is not built; built are F32, F16, BF16, Q8_0",
                     r->g->source, show_name(t->name).text, t->type, quant_name(t->type), at);
}

/* Bytes of a tensor from its extents; refuses zero extents, part blocks and overflow. */
static int tensor_bytes(struct reader *r, struct gguf_tensor *t, size_t at_dims, size_t at_type)
{
    const struct quant_type *type = quant_find(t->type);
    if (!type)
        return unbuilt_type(r, t, at_type);
    const char *source = r->g->source;
    struct shown name = show_name(t->name);
    if (t->dims[0] % type->block_weights != 0)
        return error_set(r->e, ERR_INVALID,
                         "%s: tensor '%s' at byte %zu has rows of %" PRIu64
                         ", not a multiple of the %" PRIu32 " of a %s block",
                         source, name.text, at_dims, t->dims[0], type->block_weights, type->name);
    t->bytes = t->dims[0] / type->block_weights;
    bool over = __builtin_mul_overflow(t->bytes, type->block_bytes, &t->bytes);
    uint64_t weights = t->dims[0];
    for (uint32_t d = 1; d < 4; d++) {
        over |= __builtin_mul_overflow(t->bytes, t->dims[d], &t->bytes);
        over |= __builtin_mul_overflow(weights, t->dims[d], &weights);
    }
    if (over || weights > INT64_MAX)
        return error_set(r->e, ERR_INVALID, "%s: tensor '%s' at byte %zu: its extents overflow",
                         source, name.text, at_dims);
    return 0;
}

static int read_dims(struct reader *r, struct gguf_tensor *t, const char *what)
{
    size_t at = r->pos;
    if (take_u32(r, what, &t->n_dims) != 0)
        return ERR_INVALID;
    if (t->n_dims < 1 || t->n_dims > 4)
        return error_set(r->e, ERR_INVALID,
                         "%s: %s has %" PRIu32 " dimensions at byte %zu, allowed are 1 to 4",
                         r->g->source, what, t->n_dims, at);
    for (uint32_t d = 0; d < 4; d++)
        t->dims[d] = 1;
    for (uint32_t d = 0; d < t->n_dims; d++) {
        at = r->pos;
        if (take_u64(r, what, &t->dims[d]) != 0)
            return ERR_INVALID;
        if (t->dims[d] == 0)
            return error_set(r->e, ERR_INVALID, "%s: %s has an extent of 0 at byte %zu",
                             r->g->source, what, at);
    }
    return 0;
}

static int read_tensor(struct reader *r, struct gguf_tensor *t, uint64_t *offset, size_t alignment)
{
    struct gguf *g = r->g;
    char what[96];
    size_t start = r->pos;
    if (take_name(r, "a tensor name", MAX_NAME_BYTES, &t->name) != 0)
        return ERR_INVALID;
    snprintf(what, sizeof what, "tensor '%s'", show_name(t->name).text);
    if (gguf_tensor(g, t->name))
        return error_set(r->e, ERR_INVALID, "%s: %s at byte %zu stands there twice", g->source,
                         what, start);
    size_t at_dims = r->pos;
    if (read_dims(r, t, what) != 0)
        return ERR_INVALID;
    size_t at_type = r->pos;
    if (take_u32(r, what, &t->type) != 0)
        return ERR_INVALID;
    size_t at_offset = r->pos;
    if (take_u64(r, what, offset) != 0)
        return ERR_INVALID;
    int rc = tensor_bytes(r, t, at_dims, at_type);
    if (rc == 0 && *offset % alignment != 0)
        rc = error_set(r->e, ERR_INVALID,
                       "%s: %s: its offset %" PRIu64
                       " at byte %zu is not a multiple of the alignment %zu",
                       g->source, what, *offset, at_offset, alignment);
    return rc;
}

static int read_tensors(struct reader *r, uint64_t count, uint64_t *offsets, size_t alignment)
{
    struct gguf *g = r->g;
    g->tensors = mem_array((size_t)count, sizeof *g->tensors);
    index_init(&g->by_tensor, (size_t)count);
    while (g->n_tensors < count) {
        struct gguf_tensor *t = &g->tensors[g->n_tensors];
        int rc = read_tensor(r, t, &offsets[g->n_tensors], alignment);
        if (rc != 0)
            return rc;
        g->n_tensors++;
        *index_slot(g, &g->by_tensor, tensor_name, t->name) = (uint32_t)g->n_tensors;
    }
    return 0;
}

static int by_data(const void *a, const void *b)
{
    const struct gguf_tensor *const *x = a, *const *y = b;
    return ((*x)->data > (*y)->data) - ((*x)->data < (*y)->data);
}

static int check_overlap(struct reader *r)
{
    struct gguf *g = r->g;
    const struct gguf_tensor **sorted = mem_array(g->n_tensors, sizeof *sorted);
    for (size_t i = 0; i < g->n_tensors; i++)
        sorted[i] = &g->tensors[i];
    qsort(sorted, g->n_tensors, sizeof *sorted, by_data);
    int rc = 0;
    for (size_t i = 1; i < g->n_tensors && rc == 0; i++) {
        const uint8_t *end = (const uint8_t *)sorted[i - 1]->data + sorted[i - 1]->bytes;
        if (end > (const uint8_t *)sorted[i]->data)
            rc = error_set(r->e, ERR_INVALID, "%s: tensors '%s' and '%s' overlap at byte %zu",
                           g->source, show_name(sorted[i - 1]->name).text,
                           show_name(sorted[i]->name).text,
                           (size_t)((const uint8_t *)sorted[i]->data - g->bytes));
    }
    free(sorted);
    return rc;
}

/* Turns offsets into pointers, once the data section's beginning is known. */
static int place_tensors(struct reader *r, const uint64_t *offsets, size_t alignment)
{
    struct gguf *g = r->g;
    if (g->n_tensors == 0)
        return 0;
    size_t pad = (alignment - r->pos % alignment) % alignment;
    if (pad > left(r))
        return error_set(r->e, ERR_INVALID,
                         "%s: cut short: the data section should begin at byte %zu, the file has "
                         "%zu bytes",
                         g->source, r->pos + pad, g->len);
    r->pos += pad;
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        if (offsets[i] > left(r) || t->bytes > left(r) - offsets[i])
            return error_set(r->e, ERR_INVALID,
                             "%s: cut short: tensor '%s' needs %" PRIu64 " bytes at %" PRIu64
                             " of the data section, which has %zu bytes from byte %zu",
                             g->source, show_name(t->name).text, t->bytes, offsets[i], left(r),
                             r->pos);
        t->data = g->bytes + r->pos + offsets[i];
    }
    return check_overlap(r);
}

/* The whole file */

static int read_version(struct reader *r)
{
    const char *source = r->g->source;
    const uint8_t *magic = take(r, 4, "the magic number");
    if (!magic)
        return ERR_INVALID;
    if (memcmp(magic, "GGUF", 4) != 0)
        return error_set(r->e, ERR_INVALID,
                         "%s: not a GGUF file: bytes 0 to 3 are %02x %02x %02x %02x", source,
                         magic[0], magic[1], magic[2], magic[3]);
    uint32_t version;
    if (take_u32(r, "the version", &version) != 0)
        return ERR_INVALID;
    if (version != 0 && (version & 0xffff) == 0)
        return error_set(r->e, ERR_UNSUPPORTED,
                         "%s: a big-endian GGUF file (version at byte 4); only little-endian "
                         "ones are read",
                         source);
    if (version != 2 && version != 3)
        return error_set(r->e, ERR_UNSUPPORTED,
                         "%s: GGUF version %" PRIu32 " at byte 4; versions 2 and 3 are read",
                         source, version);
    return 0;
}

static int read_count(struct reader *r, const char *what, size_t min_bytes, uint64_t max,
                      uint64_t *out)
{
    size_t at = r->pos;
    if (take_u64(r, what, out) != 0)
        return ERR_INVALID;
    if (*out > left(r) / min_bytes)
        return error_set(r->e, ERR_INVALID,
                         "%s: %s at byte %zu is %" PRIu64 ", more than the %zu bytes left can hold",
                         r->g->source, what, at, *out, left(r));
    if (*out > max)
        return error_set(r->e, ERR_LIMIT,
                         "%s: %s at byte %zu is %" PRIu64 ", at most %" PRIu64 " are read",
                         r->g->source, what, at, *out, max);
    return 0;
}

static int read_all(struct reader *r)
{
    uint64_t n_tensors, n_entries, *offsets = NULL;
    size_t alignment = DEFAULT_ALIGNMENT;
    int rc = read_version(r);
    if (rc == 0)
        rc = read_count(r, "the tensor count", MIN_TENSOR_BYTES, MAX_TENSORS, &n_tensors);
    if (rc == 0)
        rc = read_count(r, "the metadata count", MIN_ENTRY_BYTES, MAX_ENTRIES, &n_entries);
    if (rc == 0)
        rc = read_entries(r, n_entries);
    if (rc == 0)
        rc = check_split(r);
    if (rc == 0)
        rc = read_alignment(r, &alignment);
    if (rc != 0)
        return rc;
    offsets = mem_array((size_t)n_tensors, sizeof *offsets);
    rc = read_tensors(r, n_tensors, offsets, alignment);
    if (rc == 0)
        rc = place_tensors(r, offsets, alignment);
    free(offsets);
    return rc;
}

static int open_bytes(const char *source, const void *bytes, size_t len, struct gguf **out,
                      struct error *e)
{
    struct gguf *g = mem_zalloc(sizeof *g);
    g->names = arena_new();
    g->source = arena_strndup(g->names, source, strlen(source));
    g->bytes = bytes;
    g->len = len;
    struct reader r = {.g = g, .e = e};
    int rc = read_all(&r);
    if (rc != 0) {
        gguf_close(g);
        return rc;
    }
    *out = g;
    return 0;
}

int gguf_open_bytes(const void *bytes, size_t len, struct gguf **out, struct error *e)
{
    if ((uintptr_t)bytes % MIN_ALIGNMENT != 0)
        return error_set(e, ERR_INTERNAL, "GGUF bytes in memory must be aligned to %d bytes",
                         MIN_ALIGNMENT);
    return open_bytes("model in memory", bytes, len, out, e);
}

static int check_file(const char *path, int fd, size_t *len, struct error *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return error_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return error_set(e, ERR_INVALID, "%s: is a directory, a GGUF file is needed", path);
    if (!S_ISREG(st.st_mode))
        return error_set(e, ERR_INVALID, "%s: not a regular file", path);
    if (st.st_size == 0)
        return error_set(e, ERR_INVALID, "%s: the file is empty", path);
    *len = (size_t)st.st_size;
    return 0;
}

int gguf_open_file(const char *path, struct gguf **out, struct error *e)
{
    /* Not blocking, so that a pipe given by mistake is refused and not waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path,
                         strerror(errno));
    size_t len = 0;
    void *map = MAP_FAILED;
    int rc = check_file(path, fd, &len, e);
    if (rc != 0)
        goto out;
    map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        rc = error_set(e, ERR_IO, "%s: cannot map %zu bytes: %s", path, len, strerror(errno));
        goto out;
    }
    rc = open_bytes(path, map, len, out, e);
    if (rc == 0)
        (*out)->mapping = map;
    else
        munmap(map, len);
out:
    close(fd);
    return rc;
}

void gguf_close(struct gguf *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_entries; i++)
        free(g->entries[i].strings);
    free(g->entries);
    free(g->tensors);
    free(g->by_key.slots);
    free(g->by_tensor.slots);
    arena_free(g->names);
    if (g->mapping)
        munmap(g->mapping, g->len);
    free(g);
}

uint64_t gguf_file_bytes(const struct gguf *g)
{
    return g->len;
}

size_t gguf_n_tensors(const struct gguf *g)
{
    return g->n_tensors;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i)
{
    return i < g->n_tensors ? &g->tensors[i] : NULL;
}
