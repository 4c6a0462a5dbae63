/*
 * A random model of tests/golden, opened and ready to run, for the tests of the forward pass.
 * Tests run from the repository's root.
 */
#ifndef MOONGATE_TESTS_MODEL_RIG_H
#define MOONGATE_TESTS_MODEL_RIG_H

#include "engine/model.h"
#include "gguf_edit.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { PROMPTS = 3, POSITIONS = 64, VOCABULARY = 300, OTHERS = 15, CACHE_TOKENS = 2048 };
enum { ROW = POSITIONS * VOCABULARY };

static const char *const variants[] = {"full", "lite", "groups", "beta"};
static const char *const sets[] = {"scalar", "avx2", "avx512", "avx512vnni"};

enum { N_VARIANTS = 4, N_SETS = 4 };

static int32_t prompts[PROMPTS][POSITIONS];

/* ---- a model ready to run ---- */

struct rig {
    uint8_t *bytes;
    struct gguf *g;
    struct pool *pool;
    struct model *m;
    struct kv *kv;
};

struct setup {
    const char *set; /* of kernels */
    int threads;
    bool kv_f16;
    bool no_beta;
};

static inline const struct kernels *kernels_or_null(const char *name)
{
    const struct kernels *k = NULL;

    return kernels_find(name, &k, NULL) == 0 ? k : NULL;
}

static inline void rig_close(struct rig *r)
{
    kv_close(r->kv);
    model_close(r->m);
    pool_close(r->pool);
    gguf_close(r->g);
    free(r->bytes);
    memset(r, 0, sizeof *r);
}

/* Takes the bytes over. */
static inline int rig_try(struct rig *r, const struct setup *s, uint8_t *bytes, size_t len,
                          struct error *e)
{
    struct model_options o = {.max_batch = 128, .yarn_beta_file = !s->no_beta};
    int err;

    *r = (struct rig){.bytes = bytes};
    assert_int_equal(kernels_find(s->set, &o.kernels, NULL), 0);
    assert_int_equal(pool_open(s->threads == 0 ? 1 : s->threads, &r->pool, NULL), 0);
    o.pool = r->pool;
    err = gguf_open_bytes(bytes, len, &r->g, e);
    if (err == 0)
        err = model_open(r->g, &o, &r->m, e);
    if (err == 0) {
        const struct model_shape *sh = model_shape(r->m);
        struct kv_shape shape = {.layers = sh->layers,
                                 .width = sh->kv_lora + sh->rope,
                                 .tokens = CACHE_TOKENS,
                                 .f32 = !s->kv_f16};
        err = kv_open(&shape, &r->kv, e);
    }
    return err;
}

static inline void rig_open(struct rig *r, const struct setup *s, uint8_t *bytes, size_t len)
{
    struct error e = {0};

    if (rig_try(r, s, bytes, len, &e) != 0)
        fail_msg("%s", e.text);
}

static inline void golden_path(char out[128], const char *name, const char *ending)
{
    snprintf(out, 128, "tests/golden/%s.%s", name, ending);
}

static inline uint8_t *golden_file(const char *name, const char *ending, size_t *len)
{
    char path[128];
    uint8_t *bytes;

    golden_path(path, name, ending);
    bytes = edit_file(path, len);
    if (bytes == NULL)
        fail_msg("cannot read %s", path);
    return bytes;
}

static inline float *golden_logits(const char *name)
{
    size_t len;
    uint8_t *bytes = golden_file(name, "f32", &len);

    assert_int_equal(len, sizeof(float) * PROMPTS * ROW);
    return (float *)(void *)bytes;
}

/* The variant with its matrices in another type; `unrounded` writes the values that the type
 * keeps as F32 again. Routers and rows that do not fit blocks stay as they are. */
static inline uint8_t *converted(const char *name, uint32_t type_id, bool unrounded, size_t *len)
{
    const struct quant_type *type = quant_find(type_id);
    uint8_t *bytes = golden_file(name, "gguf", len), *out;
    struct edit *m = calloc(1, sizeof *m);

    edit_read(m, bytes);
    free(bytes);
    for (size_t i = 0; i < m->n_tensors; i++) {
        struct edit_tensor *t = &m->tensors[i];
        size_t weights = t->bytes / sizeof(float);
        uint8_t *data;
        if (t->n_dims < 2 || t->dims[0] % type->block_weights != 0 ||
            strstr(t->name, "ffn_gate_inp") != NULL)
            continue;
        data = malloc(t->bytes);
        quant_from_float(type, (const float *)(void *)t->data, data, weights);
        if (unrounded) {
            type->to_float(data, (float *)(void *)t->data, weights);
            free(data);
            continue;
        }
        free(t->data);
        t->data = data;
        t->type = type_id;
        t->bytes = quant_row_bytes(type, weights);
    }
    out = edit_write(m, len);
    edit_done(m);
    free(m);
    return out;
}

static inline void rig_golden(struct rig *r, const struct setup *s, const char *name, uint32_t type)
{
    size_t len;
    uint8_t *bytes = converted(name, type, false, &len);

    rig_open(r, s, bytes, len);
}

/* ---- running ---- */

static inline void feed(struct rig *r, struct kv_seq *seq, const int32_t *tokens, int n,
                        float *logits)
{
    struct model_token batch[128];

    assert_int_equal(kv_seq_reserve(r->kv, seq, n), 0);
    for (int i = 0; i < n; i++)
        batch[i] = (struct model_token){seq, tokens[i], seq->n_tokens + i, true};
    model_forward(r->m, r->kv, batch, n, logits);
    kv_seq_commit(r->kv, seq, tokens, n);
}

/* All logits of a prompt, evaluated in chunks, from an empty cache. */
static inline void run_prompt(struct rig *r, const int32_t *tokens, int n, int chunk, float *logits)
{
    struct kv_seq seq = {0};
    size_t width = (size_t)model_shape(r->m)->vocabulary;

    for (int at = 0; at < n; at += chunk)
        feed(r, &seq, tokens + at, n - at < chunk ? n - at : chunk, logits + (size_t)at * width);
    kv_seq_end(r->kv, &seq);
}

static inline void run_prompts(struct rig *r, float *logits)
{
    for (int i = 0; i < PROMPTS; i++)
        run_prompt(r, prompts[i], POSITIONS, POSITIONS, logits + (size_t)i * ROW);
}

static inline float *new_logits(void)
{
    return calloc((size_t)PROMPTS * ROW, sizeof(float));
}

static inline int read_prompts(void **state)
{
    size_t len;
    uint8_t *bytes = edit_file("tests/golden/prompts.i32", &len);

    (void)state;
    if (bytes == NULL || len != sizeof prompts) {
        free(bytes);
        return -1;
    }
    memcpy(prompts, bytes, sizeof prompts);
    free(bytes);
    return 0;
}

#endif
