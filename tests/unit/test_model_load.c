/*
 * What is refused at load, and that the refusal names what is wrong: one change a row, made in a
 * random model's file (tests/golden). Run from the repository's root.
 */
#include "engine/model.h"
#include "gguf_edit.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum change { REMOVE_TENSOR, RESHAPE, RENAME, RETYPE, SET_INT, SET_FLOAT, SET_TEXT, REMOVE_KEY };

struct mutation {
    const char *model;
    enum change change;
    const char *target; /* tensor or key */
    const char *text;   /* new name or value */
    uint64_t dims[3];   /* new extents (0: none) or value */
    double number;
    int code;
    const char *says[3];
};

#define KEY(name) "deepseek2." name

static const struct mutation mutations[] = {
    /* tensors that are not there */
    {"full", REMOVE_TENSOR, "token_embd.weight", .code = ERR_INVALID,
     .says = {"token_embd.weight", "missing", "[64, 300]"}},
    {"full", REMOVE_TENSOR, "output_norm.weight", .code = ERR_INVALID,
     .says = {"output_norm.weight", "missing", "[64]"}},
    {"full", REMOVE_TENSOR, "blk.0.attn_norm.weight", .code = ERR_INVALID,
     .says = {"blk.0.attn_norm.weight", "missing"}},
    {"full", REMOVE_TENSOR, "blk.1.attn_q_a.weight", .code = ERR_INVALID,
     .says = {"blk.1.attn_q_a.weight", "missing", "[64, 32]"}},
    {"full", REMOVE_TENSOR, "blk.0.attn_q_a.weight", .code = ERR_INVALID,
     .says = {"blk.0.attn_q.weight", "missing", "[64, 144]"}},
    {"full", REMOVE_TENSOR, "blk.1.attn_q_a_norm.weight", .code = ERR_INVALID,
     .says = {"blk.1.attn_q_a_norm.weight", "missing", "[32]"}},
    {"lite", REMOVE_TENSOR, "blk.1.attn_q.weight", .code = ERR_INVALID,
     .says = {"blk.1.attn_q.weight", "missing", "[32, 144]"}},
    {"full", REMOVE_TENSOR, "blk.2.attn_kv_a_mqa.weight", .code = ERR_INVALID,
     .says = {"blk.2.attn_kv_a_mqa.weight", "missing", "[64, 48]"}},
    {"full", REMOVE_TENSOR, "blk.2.attn_kv_a_norm.weight", .code = ERR_INVALID,
     .says = {"blk.2.attn_kv_a_norm.weight", "missing"}},
    {"full", REMOVE_TENSOR, "blk.0.attn_k_b.weight", .code = ERR_INVALID,
     .says = {"blk.0.attn_kv_b.weight", "missing", "[32, 192]"}},
    {"full", REMOVE_TENSOR, "blk.0.attn_v_b.weight", .code = ERR_INVALID,
     .says = {"blk.0.attn_v_b.weight", "missing", "[32, 32, 3]"}},
    {"lite", REMOVE_TENSOR, "blk.0.attn_kv_b.weight", .code = ERR_INVALID,
     .says = {"blk.0.attn_kv_b.weight", "missing", "[32, 192]"}},
    {"full", REMOVE_TENSOR, "blk.0.attn_output.weight", .code = ERR_INVALID,
     .says = {"blk.0.attn_output.weight", "missing", "[96, 64]"}},
    {"full", REMOVE_TENSOR, "blk.0.ffn_norm.weight", .code = ERR_INVALID,
     .says = {"blk.0.ffn_norm.weight", "missing"}},
    {"full", REMOVE_TENSOR, "blk.0.ffn_down.weight", .code = ERR_INVALID,
     .says = {"blk.0.ffn_down.weight", "missing", "[96, 64]"}},
    {"full", REMOVE_TENSOR, "blk.1.ffn_gate_inp.weight", .code = ERR_INVALID,
     .says = {"blk.1.ffn_gate_inp.weight", "missing", "[64, 6]"}},
    {"full", REMOVE_TENSOR, "blk.1.ffn_up_exps.weight", .code = ERR_INVALID,
     .says = {"blk.1.ffn_up_exps.weight", "missing", "[64, 32, 6]"}},
    {"groups", REMOVE_TENSOR, "blk.1.ffn_gate_up_exps.weight", .code = ERR_INVALID,
     .says = {"blk.1.ffn_gate_exps.weight", "missing", "[32, 32, 8]"}},
    {"full", REMOVE_TENSOR, "blk.1.ffn_down_exps.weight", .code = ERR_INVALID,
     .says = {"blk.1.ffn_down_exps.weight", "missing", "[32, 64, 6]"}},
    {"lite", REMOVE_TENSOR, "blk.1.ffn_up_shexp.weight", .code = ERR_INVALID,
     .says = {"blk.1.ffn_up_shexp.weight", "missing", "[32, 64]"}},
    /* bent shapes */
    {"full", RESHAPE, "token_embd.weight", .dims = {300, 64}, .code = ERR_INVALID,
     .says = {"token_embd.weight", "[300, 64]", "[64, 300]"}},
    {"full", RESHAPE, "blk.0.attn_norm.weight", .dims = {32, 2}, .code = ERR_INVALID,
     .says = {"blk.0.attn_norm.weight", "[32, 2]", "[64]"}},
    {"full", RESHAPE, "blk.0.attn_q_b.weight", .dims = {144, 32}, .code = ERR_INVALID,
     .says = {"blk.0.attn_q_b.weight", "[144, 32]", "[32, 144]"}},
    {"full", RESHAPE, "blk.1.attn_k_b.weight", .dims = {32, 16, 6}, .code = ERR_INVALID,
     .says = {"blk.1.attn_k_b.weight", "[32, 16, 6]", "[32, 32, 3]"}},
    {"groups", RESHAPE, "blk.1.attn_v_b.weight", .dims = {96, 32}, .code = ERR_INVALID,
     .says = {"blk.1.attn_v_b.weight", "[96, 32]", "[32, 32, 3]"}},
    {"full", RESHAPE, "blk.1.ffn_gate_exps.weight", .dims = {64, 64, 3}, .code = ERR_INVALID,
     .says = {"blk.1.ffn_gate_exps.weight", "[64, 64, 3]", "[64, 32, 6]"}},
    {"full", RESHAPE, "blk.1.ffn_gate_inp.weight", .dims = {32, 12}, .code = ERR_INVALID,
     .says = {"blk.1.ffn_gate_inp.weight", "[32, 12]", "[64, 6]"}},
    {"full", RESHAPE, "blk.1.exp_probs_b.bias", .dims = {3, 2}, .code = ERR_INVALID,
     .says = {"blk.1.exp_probs_b.bias", "[3, 2]", "[6]"}},
    {"full", RESHAPE, "output.weight", .dims = {150, 128}, .code = ERR_INVALID,
     .says = {"output.weight", "[150, 128]", "[64, 300]"}},
    /* tensors of unknown meaning, or of a type that is not built */
    {"full", RENAME, "blk.1.exp_probs_b.bias", "blk.1.attn_q_b.bias", .code = ERR_UNSUPPORTED,
     .says = {"blk.1.attn_q_b.bias", "no place"}},
    {"full", RENAME, "output.weight", "rope_freqs.weight", .code = ERR_UNSUPPORTED,
     .says = {"rope_freqs.weight", "no place"}},
    {"full", RETYPE, "blk.1.ffn_up_shexp.weight", .dims = {2}, .code = ERR_UNSUPPORTED,
     .says = {"blk.1.ffn_up_shexp.weight", "Q4_0"}},
    /* metadata that is missing */
    {"full", REMOVE_KEY, "general.architecture", .code = ERR_NOT_FOUND,
     .says = {"general.architecture"}},
    {"full", REMOVE_KEY, KEY("block_count"), .code = ERR_NOT_FOUND, .says = {"block_count"}},
    {"full", REMOVE_KEY, KEY("attention.kv_lora_rank"), .code = ERR_NOT_FOUND,
     .says = {"kv_lora_rank"}},
    {"full", REMOVE_KEY, KEY("attention.q_lora_rank"), .code = ERR_NOT_FOUND,
     .says = {"q_lora_rank"}},
    {"full", REMOVE_KEY, KEY("attention.value_length_mla"), .code = ERR_NOT_FOUND,
     .says = {"value_length_mla"}},
    {"lite", REMOVE_KEY, KEY("attention.key_length"), .code = ERR_NOT_FOUND,
     .says = {"attention.key_length"}},
    {"full", REMOVE_KEY, KEY("rope.dimension_count"), .code = ERR_NOT_FOUND,
     .says = {"rope.dimension_count"}},
    {"full", REMOVE_KEY, KEY("feed_forward_length"), .code = ERR_NOT_FOUND,
     .says = {"feed_forward_length"}},
    {"full", REMOVE_KEY, KEY("expert_used_count"), .code = ERR_NOT_FOUND,
     .says = {"expert_used_count"}},
    {"full", REMOVE_KEY, KEY("attention.layer_norm_rms_epsilon"), .code = ERR_NOT_FOUND,
     .says = {"layer_norm_rms_epsilon"}},
    /* metadata that makes no sense */
    {"full", SET_TEXT, "general.architecture", "llama", .code = ERR_UNSUPPORTED,
     .says = {"llama", "deepseek2"}},
    {"full", SET_INT, KEY("block_count"), .dims = {0}, .code = ERR_INVALID,
     .says = {"block_count"}},
    {"full", SET_INT, KEY("block_count"), .dims = {4}, .code = ERR_INVALID,
     .says = {"blk.3.attn_norm.weight", "missing"}},
    {"full", SET_INT, KEY("block_count"), .dims = {1000000}, .code = ERR_INVALID,
     .says = {"block_count"}},
    {"full", SET_TEXT, KEY("block_count"), "three", .code = ERR_INVALID, .says = {"block_count"}},
    {"full", SET_INT, KEY("embedding_length"), .dims = {0}, .code = ERR_INVALID,
     .says = {"embedding_length"}},
    {"full", SET_INT, KEY("embedding_length"), .dims = {4294967295u}, .code = ERR_INVALID,
     .says = {"embedding_length"}},
    {"full", SET_INT, KEY("context_length"), .dims = {0}, .code = ERR_INVALID,
     .says = {"context_length"}},
    {"full", SET_INT, KEY("attention.head_count"), .dims = {0}, .code = ERR_INVALID,
     .says = {"head_count"}},
    {"full", SET_INT, KEY("attention.head_count"), .dims = {4}, .code = ERR_INVALID,
     .says = {"blk.0.attn_q_b.weight", "[32, 144]", "[32, 192]"}},
    {"full", SET_INT, KEY("attention.head_count_kv"), .dims = {2}, .code = ERR_INVALID,
     .says = {"head_count_kv"}},
    {"full", SET_INT, KEY("attention.q_lora_rank"), .dims = {64}, .code = ERR_INVALID,
     .says = {"blk.0.attn_q_a.weight", "[64, 32]", "[64, 64]"}},
    {"full", SET_INT, KEY("rope.dimension_count"), .dims = {15}, .code = ERR_INVALID,
     .says = {"rope.dimension_count", "even"}},
    {"full", SET_INT, KEY("rope.dimension_count"), .dims = {48}, .code = ERR_INVALID,
     .says = {"key_length_mla", "48"}},
    {"lite", SET_INT, KEY("rope.dimension_count"), .dims = {48}, .code = ERR_INVALID,
     .says = {"attention.key_length'", "48"}},
    {"full", SET_INT, KEY("vocab_size"), .dims = {301}, .code = ERR_INVALID,
     .says = {"token_embd.weight", "[64, 300]", "[64, 301]"}},
    {"full", SET_INT, KEY("expert_used_count"), .dims = {7}, .code = ERR_INVALID,
     .says = {"expert_used_count", "6 experts"}},
    {"full", SET_INT, KEY("expert_used_count"), .dims = {0}, .code = ERR_INVALID,
     .says = {"expert_used_count"}},
    {"full", SET_INT, KEY("expert_count"), .dims = {4097}, .code = ERR_INVALID,
     .says = {"expert_count"}},
    {"full", SET_INT, KEY("expert_count"), .dims = {5}, .code = ERR_INVALID,
     .says = {"blk.1.ffn_gate_inp.weight", "[64, 6]", "[64, 5]"}},
    {"full", SET_INT, KEY("expert_shared_count"), .dims = {2}, .code = ERR_INVALID,
     .says = {"blk.1.ffn_gate_shexp.weight", "[64, 32]", "[64, 64]"}},
    {"groups", SET_INT, KEY("expert_group_count"), .dims = {3}, .code = ERR_INVALID,
     .says = {"expert_group_count", "divide"}},
    {"groups", SET_INT, KEY("expert_group_used_count"), .dims = {5}, .code = ERR_INVALID,
     .says = {"expert_group_used_count", "4 groups"}},
    {"groups", SET_INT, KEY("expert_group_used_count"), .dims = {1}, .code = ERR_INVALID,
     .says = {"expert_used_count", "1 groups of 2"}},
    {"full", SET_INT, KEY("expert_gating_func"), .dims = {4}, .code = ERR_UNSUPPORTED,
     .says = {"expert_gating_func", "4"}},
    {"full", SET_FLOAT, KEY("expert_weights_scale"), .number = __builtin_inf(), .code = ERR_INVALID,
     .says = {"expert_weights_scale"}},
    {"full", SET_FLOAT, KEY("attention.layer_norm_rms_epsilon"), .number = 0, .code = ERR_INVALID,
     .says = {"layer_norm_rms_epsilon"}},
    {"full", SET_FLOAT, KEY("rope.freq_base"), .number = 1, .code = ERR_INVALID,
     .says = {"rope.freq_base"}},
    {"full", SET_FLOAT, KEY("rope.scaling.factor"), .number = -2, .code = ERR_INVALID,
     .says = {"rope.scaling.factor"}},
    {"full", SET_FLOAT, KEY("rope.scaling.yarn_log_multiplier"), .number = __builtin_inf(),
     .code = ERR_INVALID, .says = {"yarn_log_multiplier"}},
    {"beta", SET_FLOAT, KEY("rope.scaling.yarn_beta_fast"), .number = 0, .code = ERR_INVALID,
     .says = {"yarn_beta_fast"}},
    {"full", SET_TEXT, KEY("rope.scaling.type"), "longrope", .code = ERR_UNSUPPORTED,
     .says = {"rope.scaling.type", "longrope"}},
    {"full", SET_INT, KEY("nextn_predict_layers"), .dims = {3}, .code = ERR_INVALID,
     .says = {"nextn_predict_layers"}},
};

static void apply_to_tensor(struct edit *m, const struct mutation *c)
{
    struct edit_tensor *t = edit_tensor(m, c->target);

    if (c->change == RENAME)
        snprintf(t->name, sizeof t->name, "%s", c->text);
    if (c->change == RETYPE)
        t->type = (uint32_t)c->dims[0];
    if (c->change == RESHAPE)
        for (t->n_dims = 0; t->n_dims < 3 && c->dims[t->n_dims] != 0; t->n_dims++)
            t->dims[t->n_dims] = c->dims[t->n_dims];
    if (c->change == REMOVE_TENSOR)
        edit_remove_tensor(m, c->target);
}

static void apply(struct edit *m, const struct mutation *c)
{
    switch (c->change) {
    case SET_INT:
        edit_set_u32(m, c->target, (uint32_t)c->dims[0]);
        break;
    case SET_FLOAT:
        edit_set_f32(m, c->target, (float)c->number);
        break;
    case SET_TEXT:
        edit_set_string(m, c->target, c->text);
        break;
    case REMOVE_KEY:
        edit_remove(m, c->target);
        break;
    default:
        apply_to_tensor(m, c);
        break;
    }
}

static uint8_t *changed(const char *model, const struct mutation *c, size_t *len)
{
    struct edit *m = calloc(1, sizeof *m);
    uint8_t *bytes, *out;
    char path[128];

    snprintf(path, sizeof path, "tests/golden/%s.gguf", model);
    bytes = edit_file(path, len);
    assert_non_null(bytes);
    edit_read(m, bytes);
    free(bytes);
    if (c != NULL)
        apply(m, c);
    out = edit_write(m, len);
    edit_done(m);
    free(m);
    return out;
}

static int try_open(const uint8_t *bytes, size_t len, int max_batch, struct error *e)
{
    struct model_options o = {.max_batch = max_batch, .yarn_beta_file = true};
    struct gguf *g = NULL;
    struct model *m = NULL;
    int err;

    assert_int_equal(kernels_find("scalar", &o.kernels, e), 0);
    assert_int_equal(pool_open(1, &o.pool, e), 0);
    err = gguf_open_bytes(bytes, len, &g, e);
    if (err == 0)
        err = model_open(g, &o, &m, e);
    assert_true((err == 0) == (m != NULL));
    model_close(m);
    gguf_close(g);
    pool_close(o.pool);
    return err;
}

static void a_wrong_file_is_refused_by_the_name_of_what_is_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mutations / sizeof mutations[0]; i++) {
        const struct mutation *c = &mutations[i];
        struct error e = {0};
        size_t len;
        uint8_t *bytes = changed(c->model, c, &len);
        int err = try_open(bytes, len, 4, &e);
        free(bytes);
        if (err != c->code)
            fail_msg("%s, %s: code %d instead of %d: %s", c->model, c->target, err, c->code,
                     e.text);
        for (int j = 0; j < 3 && c->says[j] != NULL; j++)
            if (strstr(e.text, c->says[j]) == NULL)
                fail_msg("%s, %s: '%s' does not say '%s'", c->model, c->target, e.text, c->says[j]);
    }
}

static void what_may_differ_is_accepted(void **state)
{
    static const struct mutation harmless[] = {
        {"full", REMOVE_TENSOR, "output.weight", .code = 0},
        {"full", REMOVE_TENSOR, "blk.1.exp_probs_b.bias", .code = 0},
        {"full", REMOVE_KEY, KEY("rope.scaling.yarn_log_multiplier"), .code = 0},
        {"full", REMOVE_KEY, KEY("rope.scaling.original_context_length"), .code = 0},
        {"full", REMOVE_KEY, KEY("rope.scaling.type"), .code = 0},
        {"full", REMOVE_KEY, KEY("expert_gating_func"), .code = 0},
        {"full", REMOVE_KEY, KEY("vocab_size"), .code = 0},
        {"full", SET_INT, KEY("attention.head_count_kv"), .dims = {3}, .code = 0},
        {"full", SET_INT, KEY("nextn_predict_layers"), .dims = {1}, .code = 0},
        {"full", SET_INT, KEY("context_length"), .dims = {1 << 24}, .code = 0},
        {"groups", REMOVE_TENSOR, "blk.1.attn_kv_b.weight", .code = 0},
        {"full", RENAME, "blk.1.exp_probs_b.bias", "blk.3.nextn.eh_proj.weight", .code = 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++) {
        struct error e = {0};
        size_t len;
        uint8_t *bytes = changed(harmless[i].model, &harmless[i], &len);
        if (try_open(bytes, len, 4, &e) != 0)
            fail_msg("%s, %s: %s", harmless[i].model, harmless[i].target, e.text);
        free(bytes);
    }
}

static void a_batch_must_have_a_possible_size(void **state)
{
    struct error e = {0};
    size_t len;
    uint8_t *bytes = changed("full", NULL, &len);

    (void)state;
    assert_int_equal(try_open(bytes, len, 0, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "batch"));
    assert_int_equal(try_open(bytes, len, 1, &e), 0);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_file_is_refused_by_the_name_of_what_is_wrong),
        cmocka_unit_test(what_may_differ_is_accepted),
        cmocka_unit_test(a_batch_must_have_a_possible_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
