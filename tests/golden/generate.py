"""Writes the small random models of the graph tests, and the logits they must give.

    python3 generate.py            the random models: NAME.gguf, NAME.f32, prompts.i32
    python3 generate.py nano FILE  nano.golden, for the built-in model

The reference is numpy in float64, written from the formulas in the expanded form: every head has
its own keys and values, made from the latents, with one full attention matrix a prompt. It shares
no code with the engine (which uses the absorbed form and a cache) nor with the training code.
"""

import math
import pathlib
import struct
import sys
import zlib

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
PROMPTS, POSITIONS, VOCABULARY = 3, 64, 300
TOP = 32  # logits kept of each row for the built-in model

# ---- GGUF ----

U32, F32, BOOL, STRING = 4, 6, 7, 8
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
           12: "d"}


def text(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def entry(key, value):
    if isinstance(value, bool):
        kind, data = BOOL, struct.pack("<?", value)
    elif isinstance(value, int):
        kind, data = U32, struct.pack("<I", value)
    elif isinstance(value, float):
        kind, data = F32, struct.pack("<f", value)
    else:
        kind, data = STRING, text(value)
    return text(key) + struct.pack("<I", kind) + data


def padded(data):
    return data + bytes(-len(data) % 32)


def write_gguf(path, metadata, tensors):
    """All tensors as F32; a tensor's extents are its numpy shape reversed."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(entry(k, v) for k, v in metadata.items())
    data = b""
    for name, x in tensors.items():
        head += text(name) + struct.pack(f"<I{x.ndim}QIQ", x.ndim, *x.shape[::-1], 0, len(data))
        data += padded(x.astype("<f4").tobytes())
    path.write_bytes(padded(head) + data)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 4

    def take(self, form):
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def text(self):
        n = self.take("Q")
        self.at += n
        return self.data[self.at - n:self.at].decode("utf-8", "replace")

    def value(self, kind):
        if kind == STRING:
            return self.text()
        if kind == 9:
            inner, n = self.take("I"), self.take("Q")
            return [self.value(inner) for _ in range(n)]
        return self.take(SCALARS[kind])


def as_float(raw, kind, count):
    """float64 values of a tensor's first `count` weights."""
    if kind == 0:
        return np.frombuffer(raw, "<f4", count).astype(np.float64)
    if kind == 1:
        return np.frombuffer(raw, "<f2", count).astype(np.float64)
    if kind == 30:
        bits = np.frombuffer(raw, "<u2", count).astype(np.uint32) << 16
        return bits.view(np.float32).astype(np.float64)
    if kind == 8:
        blocks = np.frombuffer(raw, np.dtype([("d", "<f2"), ("q", "i1", 32)]), count // 32)
        return (blocks["d"].astype(np.float64)[:, None] * blocks["q"]).reshape(-1)
    raise SystemExit(f"tensor type {kind} is not known here")


def read_gguf(path):
    data = path.read_bytes()
    r = Reader(data)
    version, n_tensors, n_entries = r.take("I"), r.take("Q"), r.take("Q")
    assert data[:4] == b"GGUF" and version in (2, 3)
    metadata, infos, tensors = {}, [], {}
    for _ in range(n_entries):
        key = r.text()
        metadata[key] = r.value(r.take("I"))
    for _ in range(n_tensors):
        name = r.text()
        extents = [r.take("Q") for _ in range(r.take("I"))]
        infos.append((name, extents, r.take("I"), r.take("Q")))
    alignment = metadata.get("general.alignment", 32)
    start = (r.at + alignment - 1) // alignment * alignment
    for name, extents, kind, offset in infos:
        values = as_float(data[start + offset:], kind, math.prod(extents))
        tensors[name] = values.reshape(extents[::-1])
    return metadata, tensors


# ---- the reference ----

class Reference:
    def __init__(self, metadata, tensors, beta_from_file=False):
        self.t = tensors
        self.get = lambda key, default=None: metadata.get("deepseek2." + key, default)
        self.layers = self.get("block_count")
        self.dense = self.get("leading_dense_block_count", 0)
        self.heads = self.get("attention.head_count")
        self.latent = self.get("attention.kv_lora_rank")
        self.rope = self.get("rope.dimension_count")
        mla = "_mla" if self.get("attention.key_length_mla") else ""
        self.nope = self.get("attention.key_length" + mla) - self.rope
        self.value = self.get("attention.value_length" + mla)
        self.eps = self.get("attention.layer_norm_rms_epsilon")
        self.frequencies, self.magnitude = self.rotation(beta_from_file)

    def rotation(self, beta_from_file):
        n, base = self.rope, self.get("rope.freq_base", 10000.0)
        pair = np.arange(n // 2)
        w = base ** (-2.0 * pair / n)
        kind = self.get("rope.scaling.type", "linear")
        factor = self.get("rope.scaling.factor", 1.0)
        if kind == "none":
            return w, 1.0
        if kind == "linear":
            return w / factor, 1.0
        original = self.get("rope.scaling.original_context_length")
        fast, slow = 32.0, 1.0
        if beta_from_file:
            fast = self.get("rope.scaling.yarn_beta_fast", fast)
            slow = self.get("rope.scaling.yarn_beta_slow", slow)

        def dim(beta):
            return n * math.log(original / (2 * math.pi * beta)) / (2 * math.log(base))

        low, high = max(0, math.floor(dim(fast))), min(n - 1, math.ceil(dim(slow)))
        ramp = 1 - np.clip((pair - low) / max(0.001, high - low), 0, 1)
        multiplier = self.get("rope.scaling.yarn_log_multiplier", 0.0)
        return w * ramp + w / factor * (1 - ramp), 1 + multiplier * math.log(factor)

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.t[name]

    def rotate(self, x):
        """x[..., position, dimension], adjacent pairs."""
        angle = np.arange(x.shape[-2])[:, None] * self.frequencies
        turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angle)
        return np.stack((turned.real, turned.imag), -1).reshape(x.shape)

    def up_weights(self, b):
        """Per head: keys [head, nope, latent] and values [head, value, latent]."""
        if b + "attn_k_b.weight" in self.t:
            k = self.t[b + "attn_k_b.weight"].reshape(self.heads, self.latent, self.nope)
            v = self.t[b + "attn_v_b.weight"].reshape(self.heads, self.value, self.latent)
            return k.transpose(0, 2, 1), v
        both = self.t[b + "attn_kv_b.weight"].reshape(self.heads, -1, self.latent)
        return both[:, :self.nope], both[:, self.nope:]

    def attention(self, x, b):
        n = len(x)
        if b + "attn_q_a.weight" in self.t:
            low = self.norm(x @ self.t[b + "attn_q_a.weight"].T, b + "attn_q_a_norm.weight")
            q = low @ self.t[b + "attn_q_b.weight"].T
        else:
            q = x @ self.t[b + "attn_q.weight"].T
        q = q.reshape(n, self.heads, -1).transpose(1, 0, 2)
        compressed = x @ self.t[b + "attn_kv_a_mqa.weight"].T
        latent = self.norm(compressed[:, :self.latent], b + "attn_kv_a_norm.weight")
        shared_key = self.rotate(compressed[:, self.latent:])
        up_k, up_v = self.up_weights(b)
        keys = np.einsum("hpl,tl->htp", up_k, latent)
        values = np.einsum("hdl,tl->htd", up_v, latent)
        score = q[..., :self.nope] @ keys.transpose(0, 2, 1)
        score += self.rotate(q[..., self.nope:]) @ shared_key.T
        score *= self.magnitude ** 2 / math.sqrt(self.nope + self.rope)
        score[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
        weight = np.exp(score - score.max(-1, keepdims=True))
        weight /= weight.sum(-1, keepdims=True)
        y = (weight @ values).transpose(1, 0, 2).reshape(n, -1)
        return y @ self.t[b + "attn_output.weight"].T

    @staticmethod
    def network(x, gate, up, down):
        g = x @ gate.T
        return (g / (1 + np.exp(-g)) * (x @ up.T)) @ down.T

    def choose(self, z, bias):
        """The experts of one token and their weights."""
        gating, used = self.get("expert_gating_func", 1), self.get("expert_used_count")
        score = z
        if gating == 1:
            score = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        if gating == 2:
            score = 1 / (1 + np.exp(-z))
        choice = score + bias
        groups = self.get("expert_group_count", 1)
        if groups > 1:
            best = np.sort(choice.reshape(groups, -1), 1)[:, -2:].sum(1)
            out = np.argsort(-best, kind="stable")[self.get("expert_group_used_count"):]
            choice = choice.reshape(groups, -1).copy()
            choice[out] = -np.inf
            choice = choice.reshape(-1)
        chosen = np.argsort(-choice, kind="stable")[:used]
        weight = score[chosen]
        if gating == 3:
            weight = np.exp(weight - weight.max()) / np.exp(weight - weight.max()).sum()
        if self.get("expert_weights_norm", False):
            weight = weight / weight.sum()
        return chosen, weight * self.get("expert_weights_scale", 1.0)

    def experts(self, b):
        if b + "ffn_gate_up_exps.weight" in self.t:
            gate, up = np.split(self.t[b + "ffn_gate_up_exps.weight"], 2, axis=1)
        else:
            gate, up = self.t[b + "ffn_gate_exps.weight"], self.t[b + "ffn_up_exps.weight"]
        return gate, up, self.t[b + "ffn_down_exps.weight"]

    def feed_forward(self, x, b, layer):
        if layer < self.dense:
            return self.network(x, *(self.t[b + f"ffn_{p}.weight"] for p in ("gate", "up", "down")))
        y = self.network(x, *(self.t[b + f"ffn_{p}_shexp.weight"] for p in ("gate", "up", "down")))
        z = x @ self.t[b + "ffn_gate_inp.weight"].T
        gate, up, down = self.experts(b)
        bias = self.t.get(b + "exp_probs_b.bias", np.zeros(len(gate)))
        for i in range(len(x)):
            for expert, weight in zip(*self.choose(z[i], bias)):
                y[i] += weight * self.network(x[i:i + 1], gate[expert], up[expert], down[expert])[0]
        return y

    def logits(self, tokens):
        x = self.t["token_embd.weight"][tokens]
        for layer in range(self.layers):
            b = f"blk.{layer}."
            x = x + self.attention(self.norm(x, b + "attn_norm.weight"), b)
            x = x + self.feed_forward(self.norm(x, b + "ffn_norm.weight"), b, layer)
        head = self.t.get("output.weight", self.t["token_embd.weight"])
        return self.norm(x, "output_norm.weight") @ head.T


# ---- random models ----

BASE = {
    "block_count": 2, "context_length": 256, "embedding_length": 32, "feed_forward_length": 64,
    "leading_dense_block_count": 1, "attention.head_count": 3, "attention.head_count_kv": 1,
    "attention.layer_norm_rms_epsilon": 1e-5, "attention.kv_lora_rank": 32,
    "attention.key_length": 48, "attention.value_length": 32, "attention.key_length_mla": 48,
    "attention.value_length_mla": 32, "rope.dimension_count": 16, "rope.freq_base": 50.0,
    "expert_count": 8, "expert_used_count": 2, "expert_feed_forward_length": 32,
    "expert_shared_count": 1, "expert_weights_scale": 2.446, "expert_weights_norm": True,
    "expert_gating_func": 2, "vocab_size": VOCABULARY,
}
YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
        "rope.scaling.original_context_length": 16, "rope.scaling.yarn_log_multiplier": 0.1}
NO_MLA_KEYS = {"attention.key_length_mla": None, "attention.value_length_mla": None}

# name: metadata, then: q_lora?, K/V-up layout, router bias?, own head?, fused gate and up?
VARIANTS = {
    # compressed queries, YaRN past its original context; more layers and width than the others
    "full": (YARN | {"embedding_length": 64, "block_count": 3, "feed_forward_length": 96,
                     "attention.q_lora_rank": 32, "expert_count": 6},
             "split", True, True, False),
    # Moonlight's kind: plain queries, an old file's keys and fused K/V-up, softmax, tied head
    "lite": (NO_MLA_KEYS | {"attention.head_count_kv": 3, "expert_shared_count": 2,
                            "expert_gating_func": 1, "expert_weights_norm": None,
                            "expert_weights_scale": None, "rope.freq_base": 10000.0},
             "fused", False, False, False),
    # groups of experts, linear scaling, 2-D split tensors beside the fused one
    "groups": ({"attention.q_lora_rank": 32, "expert_group_count": 4,
                "expert_group_used_count": 2, "expert_used_count": 3,
                "rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
               "flat", True, True, True),
    # YaRN with the file's beta and a wide ramp, softmax over the chosen, values narrower than keys
    "beta": ({"leading_dense_block_count": 0, "expert_gating_func": 3, "rope.freq_base": 1000.0,
              "expert_weights_norm": False, "attention.value_length_mla": 16,
              "rope.dimension_count": 32, "attention.key_length_mla": 64,
              "rope.scaling.type": "yarn", "rope.scaling.factor": 8.0,
              "rope.scaling.original_context_length": 1024,
              "rope.scaling.yarn_beta_fast": 8.0, "rope.scaling.yarn_beta_slow": 2.0},
             "split", True, True, False),
}


class Maker:
    def __init__(self, seed):
        self.random, self.tensors = np.random.default_rng(seed), {}

    def matrix(self, name, *shape, gain=1.0):
        """Values of a spread that keeps the length of a vector: 1 / sqrt(inputs)."""
        x = self.random.standard_normal(shape) * gain / math.sqrt(shape[-1])
        self.tensors[name + ".weight"] = x
        return x

    def norm(self, name, n):
        self.tensors[name + ".weight"] = 1 + 0.1 * self.random.standard_normal(n)

    def network(self, b, suffix, hidden, width):
        self.matrix(f"{b}ffn_gate{suffix}", width, hidden)
        self.matrix(f"{b}ffn_up{suffix}", width, hidden)
        self.matrix(f"{b}ffn_down{suffix}", hidden, width, gain=0.5)

    def attention(self, b, c, layout):
        hidden, heads, latent = (c["embedding_length"], c["attention.head_count"],
                                 c["attention.kv_lora_rank"])
        mla = "_mla" if "attention.key_length_mla" in c else ""
        key, value, rope = (c["attention.key_length" + mla], c["attention.value_length" + mla],
                            c["rope.dimension_count"])
        self.norm(b + "attn_norm", hidden)
        if "attention.q_lora_rank" in c:
            low = c["attention.q_lora_rank"]
            self.matrix(b + "attn_q_a", low, hidden)
            self.norm(b + "attn_q_a_norm", low)
            self.matrix(b + "attn_q_b", heads * key, low, gain=1.5)
        else:
            self.matrix(b + "attn_q", heads * key, hidden, gain=1.5)
        self.matrix(b + "attn_kv_a_mqa", latent + rope, hidden)
        self.norm(b + "attn_kv_a_norm", latent)
        fused = self.matrix(b + "attn_kv_b", heads, key - rope + value, latent)
        k, v = fused[:, :key - rope].transpose(0, 2, 1), fused[:, key - rope:]
        self.tensors[b + "attn_kv_b.weight"] = fused.reshape(-1, latent)
        if layout == "split":
            del self.tensors[b + "attn_kv_b.weight"]
        if layout == "flat":
            k, v = k.reshape(-1, key - rope), v.reshape(-1, latent)
        if layout != "fused":
            self.tensors |= {b + "attn_k_b.weight": k, b + "attn_v_b.weight": v}
        self.matrix(b + "attn_output", hidden, heads * value, gain=0.5)

    def experts(self, b, c, bias, fused):
        hidden, n, width = (c["embedding_length"], c["expert_count"],
                            c["expert_feed_forward_length"])
        self.matrix(b + "ffn_gate_inp", n, hidden, gain=1.5)
        if bias:
            self.tensors[b + "exp_probs_b.bias"] = 0.1 * self.random.standard_normal(n)
        gate = self.matrix(b + "ffn_gate_exps", n, width, hidden)
        up = self.matrix(b + "ffn_up_exps", n, width, hidden)
        if fused:
            del self.tensors[b + "ffn_gate_exps.weight"], self.tensors[b + "ffn_up_exps.weight"]
            self.tensors[b + "ffn_gate_up_exps.weight"] = np.concatenate((gate, up), 1)
        # small, so that another choice of experts, which any rounding makes where two scores lie
        # close, does not become the whole difference between two logits
        self.matrix(b + "ffn_down_exps", n, hidden, width, gain=0.08)
        self.network(b, "_shexp", hidden, width * c["expert_shared_count"])


def make(seed, changes, layout, bias, own_head, fused_experts):
    c = {k: v for k, v in (BASE | changes).items() if v is not None}
    m, hidden = Maker(seed), c["embedding_length"]
    # a spread of 1.2 for the logits; 0.7 for embeddings that are not the head at the same time
    m.matrix("token_embd", VOCABULARY, hidden, gain=0.7 * math.sqrt(hidden) if own_head else 1.2)
    m.norm("output_norm", hidden)
    if own_head:
        m.matrix("output", VOCABULARY, hidden, gain=1.2)
    for layer in range(c["block_count"]):
        b = f"blk.{layer}."
        m.attention(b, c, layout)
        m.norm(b + "ffn_norm", hidden)
        if layer < c["leading_dense_block_count"]:
            m.network(b, "", hidden, c["feed_forward_length"])
        else:
            m.experts(b, c, bias, fused_experts)
    metadata = {"general.architecture": "deepseek2"} | {"deepseek2." + k: v for k, v in c.items()}
    return metadata, m.tensors


def write_variants():
    prompts = np.random.default_rng(99).integers(0, VOCABULARY, (PROMPTS, POSITIONS))
    prompts.astype("<i4").tofile(HERE / "prompts.i32")
    for seed, (name, variant) in enumerate(VARIANTS.items()):
        path = HERE / f"{name}.gguf"
        write_gguf(path, *make(seed, *variant))
        reference = Reference(*read_gguf(path), beta_from_file=name == "beta")
        logits = np.stack([reference.logits(p) for p in prompts])
        logits.astype("<f4").tofile(HERE / f"{name}.f32")
        print(f"{name}: {path.stat().st_size} bytes, logits' spread {logits.std():.2f}")


# ---- the built-in model ----

def write_nano(path):
    """Prompts drawn from the model itself; of each row the sum and its largest logits."""
    reference = Reference(*read_gguf(path))
    random, prompts, rows = np.random.default_rng(7), [], b""
    for _ in range(PROMPTS):
        tokens = [int(random.integers(0, len(reference.t["token_embd.weight"])))]
        while len(tokens) < POSITIONS:
            z = reference.logits(np.array(tokens))[-1]
            p = np.exp(z - z.max())
            tokens.append(int(random.choice(len(p), p=p / p.sum())))
        prompts.append(tokens)
        for z in reference.logits(np.array(tokens)):
            top = np.argsort(-z, kind="stable")[:TOP]
            total = z.max() + math.log(np.exp(z - z.max()).sum())
            rows += struct.pack("<f", total)
            rows += top.astype("<i4").tobytes() + z[top].astype("<f4").tobytes()
    head = struct.pack("<I", zlib.crc32(path.read_bytes()))
    (HERE / "nano.golden").write_bytes(head + np.array(prompts, "<i4").tobytes() + rows)
    print(f"nano.golden: {4 + 4 * PROMPTS * POSITIONS + len(rows)} bytes")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "nano":
        write_nano(pathlib.Path(sys.argv[2]))
    elif len(sys.argv) == 1:
        write_variants()
    else:
        raise SystemExit(__doc__)
