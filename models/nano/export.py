"""Model weights to and from GGUF files (architecture deepseek2).

    python export.py build/checkpoint.pt moongate-nano.gguf

writes the built-in model: matrices Q8_0; norms, router and bias F32.  write_model() also writes
any other shape, type and K/V-up layout, with or without a tokenizer, for fixtures.
"""

import argparse
import dataclasses
import os

import numpy as np
import torch

import gguf
import tokenizer as tok
from model import Config, Model

ARCH = "deepseek2"
GATING = {"softmax": 1, "sigmoid": 2}


def model_metadata(cfg, fused=False):
    """The architecture's keys. `fused`: the older layout with one attn_kv_b."""
    a = ARCH + "."
    keys = [
        (a + "block_count", "u32", cfg.n_layer),
        (a + "context_length", "u32", cfg.n_ctx),
        (a + "embedding_length", "u32", cfg.n_embd),
        (a + "feed_forward_length", "u32", cfg.n_ff),
        (a + "vocab_size", "u32", cfg.n_vocab),
        (a + "attention.head_count", "u32", cfg.n_head),
        (a + "attention.head_count_kv", "u32", cfg.n_head if fused else 1),
        (a + "attention.layer_norm_rms_epsilon", "f32", cfg.eps),
        (a + "attention.kv_lora_rank", "u32", cfg.kv_lora),
    ]
    if cfg.q_lora:
        keys.append((a + "attention.q_lora_rank", "u32", cfg.q_lora))
    if fused:
        keys += [
            (a + "attention.key_length", "u32", cfg.d_nope + cfg.d_rope),
            (a + "attention.value_length", "u32", cfg.d_value),
        ]
    else:
        keys += [
            (a + "attention.key_length", "u32", cfg.kv_lora + cfg.d_rope),
            (a + "attention.value_length", "u32", cfg.kv_lora),
            (a + "attention.key_length_mla", "u32", cfg.d_nope + cfg.d_rope),
            (a + "attention.value_length_mla", "u32", cfg.d_value),
        ]
    keys += [
        (a + "rope.dimension_count", "u32", cfg.d_rope),
        (a + "rope.freq_base", "f32", cfg.rope_base),
    ]
    if cfg.yarn_factor != 1.0:
        keys += [
            (a + "rope.scaling.type", "str", "yarn"),
            (a + "rope.scaling.factor", "f32", cfg.yarn_factor),
            (a + "rope.scaling.original_context_length", "u32", cfg.yarn_orig_ctx),
            (a + "rope.scaling.yarn_log_multiplier", "f32", cfg.yarn_log_mul),
            (a + "rope.scaling.yarn_beta_fast", "f32", cfg.beta_fast),
            (a + "rope.scaling.yarn_beta_slow", "f32", cfg.beta_slow),
        ]
    else:
        keys.append((a + "rope.scaling.type", "str", "none"))
    keys += [
        (a + "leading_dense_block_count", "u32", cfg.n_dense),
        (a + "expert_count", "u32", cfg.n_expert),
        (a + "expert_used_count", "u32", cfg.n_used),
        (a + "expert_feed_forward_length", "u32", cfg.n_ff_exp),
        (a + "expert_shared_count", "u32", cfg.n_shared),
        (a + "expert_weights_scale", "f32", cfg.weights_scale),
        (a + "expert_weights_norm", "bool", cfg.norm_weights),
        (a + "expert_gating_func", "u32", GATING[cfg.gating]),
    ]
    if cfg.n_group > 1:
        keys += [
            (a + "expert_group_count", "u32", cfg.n_group),
            (a + "expert_group_used_count", "u32", cfg.n_group_used),
        ]
    return keys


def model_tensors(state, cfg, kind=gguf.Q8_0, fused=False):
    """(name, array, type) of every tensor, in file order. Vectors and the router stay F32."""
    out, names = [], sorted(state, key=_file_order)
    for name in names:
        array = np.asarray(state[name], dtype=np.float32)
        if fused and name.endswith("attn_v_b.weight"):
            continue
        if fused and name.endswith("attn_k_b.weight"):
            k = array.transpose(0, 2, 1)        # [head, P, L]
            v = np.asarray(state[name.replace("k_b", "v_b")], dtype=np.float32)
            array = np.concatenate((k, v), axis=1).reshape(-1, cfg.kv_lora)
            name = name.replace("k_b", "kv_b")
        plain = array.ndim == 1 or "ffn_gate_inp" in name
        out.append((name, array, gguf.F32 if plain else kind))
    return out


def _file_order(name):
    part = name.split(".")
    if part[0] != "blk":
        return (-1 if part[0] == "token_embd" else 10**6, name)
    return (int(part[1]), ".".join(part[2:]))


def write_model(path, cfg, state, name, kind=gguf.Q8_0, fused=False, tokenizer_keys=(),
                temperature=None):
    """state: tensors or arrays under their GGUF names, split layout."""
    state = {k: v.detach().float().numpy() if torch.is_tensor(v) else v for k, v in state.items()}
    file_type = {gguf.F32: 0, gguf.F16: 1, gguf.Q8_0: 7, gguf.BF16: 32}[kind]
    general = [
        ("general.architecture", "str", ARCH),
        ("general.type", "str", "model"),
        ("general.name", "str", name),
        ("general.alignment", "u32", gguf.ALIGNMENT),
        ("general.file_type", "u32", file_type),
        ("general.quantization_version", "u32", 2),
    ]
    if temperature is not None:     # what a server takes where a request names none
        general.append(("general.sampling.temp", "f32", temperature))
    gguf.write(path, general + model_metadata(cfg, fused) + list(tokenizer_keys),
               model_tensors(state, cfg, kind, fused))


def read_config(meta):
    """The Config that a file's keys describe."""
    a = ARCH + "."
    get = meta.get
    key = get(a + "attention.key_length_mla") or meta[a + "attention.key_length"]
    value = get(a + "attention.value_length_mla") or meta[a + "attention.value_length"]
    rope = meta[a + "rope.dimension_count"]
    yarn = get(a + "rope.scaling.type") == "yarn"
    return Config(
        n_vocab=get(a + "vocab_size") or len(meta["tokenizer.ggml.tokens"]),
        n_ctx=meta[a + "context_length"], n_layer=meta[a + "block_count"],
        n_dense=get(a + "leading_dense_block_count", 0), n_embd=meta[a + "embedding_length"],
        n_head=meta[a + "attention.head_count"], d_nope=key - rope, d_rope=rope, d_value=value,
        q_lora=get(a + "attention.q_lora_rank", 0), kv_lora=meta[a + "attention.kv_lora_rank"],
        n_ff=meta[a + "feed_forward_length"], n_expert=get(a + "expert_count", 0),
        n_used=get(a + "expert_used_count", 0),
        n_ff_exp=get(a + "expert_feed_forward_length", 0),
        n_shared=get(a + "expert_shared_count", 0), n_group=get(a + "expert_group_count", 1),
        n_group_used=get(a + "expert_group_used_count", 1),
        gating={v: k for k, v in GATING.items()}[get(a + "expert_gating_func", 1)],
        norm_weights=get(a + "expert_weights_norm", False),
        weights_scale=get(a + "expert_weights_scale", 0.0),
        eps=meta[a + "attention.layer_norm_rms_epsilon"],
        rope_base=get(a + "rope.freq_base", 10000.0),
        yarn_factor=get(a + "rope.scaling.factor", 1.0) if yarn else 1.0,
        yarn_orig_ctx=get(a + "rope.scaling.original_context_length", 0),
        yarn_log_mul=get(a + "rope.scaling.yarn_log_multiplier", 0.0))


def read_model(path):
    """(Model, metadata) of a file in either K/V-up layout, dequantised to float32."""
    meta, tensors = gguf.read(path)
    cfg = read_config(meta)
    for name in [n for n in tensors if n.endswith("attn_kv_b.weight")]:
        both = tensors.pop(name).reshape(cfg.n_head, cfg.d_nope + cfg.d_value, cfg.kv_lora)
        tensors[name.replace("kv_b", "k_b")] = both[:, :cfg.d_nope].transpose(0, 2, 1).copy()
        tensors[name.replace("kv_b", "v_b")] = both[:, cfg.d_nope:].copy()
    cfg.has_bias = any("exp_probs_b" in n for n in tensors)
    model = Model(cfg)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in tensors.items()})
    return model.eval(), meta


def save_checkpoint(path, model, **more):
    part = f"{path}.part"       # whoever reads meanwhile gets a whole file
    torch.save({"config": dataclasses.asdict(model.cfg), "state": model.state_dict(), **more}, part)
    os.replace(part, path)


def read_checkpoint(path):
    data = torch.load(path, map_location="cpu")
    model = Model(Config(**data["config"]))
    model.load_state_dict(data["state"])
    return model.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("gguf")
    parser.add_argument("--tokenizer", default="build/tokenizer.json")
    parser.add_argument("--type", default="Q8_0", choices=gguf.TYPES)
    parser.add_argument("--fused", action="store_true", help="one attn_kv_b instead of two")
    parser.add_argument("--name", default="moongate-nano-1")
    parser.add_argument("--temperature", type=float, default=0.3, help="recommended for sampling")
    args = parser.parse_args()
    model = read_checkpoint(args.checkpoint)
    tokenizer = tok.Tokenizer.load(args.tokenizer)
    write_model(args.gguf, model.cfg, model.state_dict(), args.name, gguf.TYPES[args.type],
                args.fused, tokenizer.gguf_metadata(), args.temperature)


if __name__ == "__main__":
    main()
