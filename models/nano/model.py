"""The deepseek2 architecture (multi-head latent attention, routed experts) in PyTorch.

Written from the formulas, for two uses: training the built-in model in float32, and serving as
the independent reference that engines are compared with (call ``.double()`` for that).

The names of the state dict are the tensor names of a GGUF file and the shapes are the reverse of
GGUF's extents, so loading and saving is a plain copy (see export.py).  Nothing here knows of
files or of the tokenizer.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    n_vocab: int = 4096
    n_ctx: int = 2048
    n_layer: int = 4
    n_dense: int = 1            # leading layers with a plain feed-forward network
    n_embd: int = 256
    n_head: int = 4
    d_nope: int = 32            # query/key values of a head that are not rotated (P)
    d_rope: int = 32            # rotated ones (R), the key's part shared by all heads
    d_value: int = 32           # value size of a head (D)
    q_lora: int = 128           # 0: one plain query projection
    kv_lora: int = 64           # latent size (L)
    n_ff: int = 512
    n_expert: int = 8
    n_used: int = 2
    n_ff_exp: int = 128
    n_shared: int = 1
    n_group: int = 1
    n_group_used: int = 1
    gating: str = "sigmoid"     # or "softmax"
    has_bias: bool = True       # the router's selection bias, exp_probs_b
    norm_weights: bool = True
    weights_scale: float = 2.446
    eps: float = 1e-5
    rope_base: float = 50000.0
    yarn_factor: float = 4.0    # 1: YaRN off
    yarn_orig_ctx: int = 512
    yarn_log_mul: float = 0.1   # 0.1 * mscale_all_dim
    beta_fast: float = 32.0
    beta_slow: float = 1.0


def inverse_frequencies(cfg):
    """Rotation per position of each pair, in float64."""
    n, base = cfg.d_rope, cfg.rope_base
    pair = torch.arange(n // 2, dtype=torch.float64)
    freq = base ** (-2.0 * pair / n)
    if cfg.yarn_factor == 1.0:
        return freq

    def dim(beta):
        return n * math.log(cfg.yarn_orig_ctx / (2 * math.pi * beta)) / (2 * math.log(base))

    low = max(0, math.floor(dim(cfg.beta_fast)))
    high = min(n - 1, math.ceil(dim(cfg.beta_slow)))
    ramp = 1.0 - ((pair - low) / max(0.001, high - low)).clamp(0.0, 1.0)
    return freq * ramp + freq / cfg.yarn_factor * (1.0 - ramp)


def score_scale(cfg):
    """Factor of the attention scores; YaRN's magnitude correction is folded in here."""
    m = 1.0
    if cfg.yarn_factor != 1.0:
        m = 1.0 + cfg.yarn_log_mul * math.log(cfg.yarn_factor)
    return m * m / math.sqrt(cfg.d_nope + cfg.d_rope)


def rotate(x, cos, sin):
    """Rotates the adjacent pairs (2i, 2i+1) of the last dimension."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)


class Weight(nn.Module):
    """One named tensor. `fan_in` sets the spread of the initial values."""

    def __init__(self, *shape, fan_in=None, gain=1.0):
        super().__init__()
        if fan_in is None:
            self.weight = nn.Parameter(torch.ones(*shape))
        else:
            self.weight = nn.Parameter(torch.randn(*shape) * (gain / math.sqrt(fan_in)))


class Norm(Weight):
    def __init__(self, n, eps):
        super().__init__(n)
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class Linear(Weight):
    def __init__(self, n_in, n_out, gain=1.0):
        super().__init__(n_out, n_in, fan_in=n_in, gain=gain)

    def forward(self, x):
        return F.linear(x, self.weight)


class Bias(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.register_buffer("bias", torch.zeros(n))


class Block(nn.Module):
    def __init__(self, cfg, index):
        super().__init__()
        self.cfg = cfg
        self.sparse = index >= cfg.n_dense and cfg.n_expert > 0
        h, p, r, d, lat = cfg.n_head, cfg.d_nope, cfg.d_rope, cfg.d_value, cfg.kv_lora
        e, out_gain = cfg.n_embd, 1.0 / math.sqrt(2 * cfg.n_layer)
        self.attn_norm = Norm(e, cfg.eps)
        if cfg.q_lora:
            self.attn_q_a = Linear(e, cfg.q_lora)
            self.attn_q_a_norm = Norm(cfg.q_lora, cfg.eps)
            self.attn_q_b = Linear(cfg.q_lora, h * (p + r))
        else:
            self.attn_q = Linear(e, h * (p + r))
        self.attn_kv_a_mqa = Linear(e, lat + r)
        self.attn_kv_a_norm = Norm(lat, cfg.eps)
        self.attn_k_b = Weight(h, lat, p, fan_in=lat)
        self.attn_v_b = Weight(h, d, lat, fan_in=lat)
        self.attn_output = Linear(h * d, e, out_gain)
        self.ffn_norm = Norm(e, cfg.eps)
        if not self.sparse:
            self.ffn_gate = Linear(e, cfg.n_ff)
            self.ffn_up = Linear(e, cfg.n_ff)
            self.ffn_down = Linear(cfg.n_ff, e, out_gain)
            return
        x, f = cfg.n_expert, cfg.n_ff_exp
        self.ffn_gate_inp = Linear(e, x)
        if cfg.has_bias:
            self.exp_probs_b = Bias(x)
        self.ffn_gate_exps = Weight(x, f, e, fan_in=e)
        self.ffn_up_exps = Weight(x, f, e, fan_in=e)
        self.ffn_down_exps = Weight(x, e, f, fan_in=f, gain=out_gain)
        self.ffn_gate_shexp = Linear(e, cfg.n_shared * f)
        self.ffn_up_shexp = Linear(e, cfg.n_shared * f)
        self.ffn_down_shexp = Linear(cfg.n_shared * f, e, out_gain)
        self.load = None        # tokens each expert got in the last forward pass

    def attention(self, x, cos, sin, mask, scale, absorbed, cache, slots):
        cfg = self.cfg
        n_b, n_t, _ = x.shape
        p, lat = cfg.d_nope, cfg.kv_lora
        q = self.attn_q_b(self.attn_q_a_norm(self.attn_q_a(x))) if cfg.q_lora else self.attn_q(x)
        q = q.view(n_b, n_t, cfg.n_head, p + cfg.d_rope).transpose(1, 2)
        q_nope, q_rope = q[..., :p], rotate(q[..., p:], cos[:, None], sin[:, None])
        a = self.attn_kv_a_mqa(x)
        c = self.attn_kv_a_norm(a[..., :lat])
        k_rope = rotate(a[..., lat:], cos, sin)
        if cache is not None:
            kept = torch.cat((c, k_rope), -1)
            cache.scatter_(1, slots[..., None].expand_as(kept), kept)
            c, k_rope = cache[..., :lat], cache[..., lat:]
        if absorbed:
            q = torch.cat((torch.einsum("bhtp,hlp->bhtl", q_nope, self.attn_k_b.weight), q_rope), -1)
            k = torch.cat((c, k_rope), -1)[:, None]
            v = c[:, None]
        else:
            k_nope = torch.einsum("btl,hlp->bhtp", c, self.attn_k_b.weight)
            shared = k_rope[:, None].expand(-1, cfg.n_head, -1, -1)
            q = torch.cat((q_nope, q_rope), -1)
            k = torch.cat((k_nope, shared), -1)
            v = torch.einsum("btl,hdl->bhtd", c, self.attn_v_b.weight)
        s = (q @ k.transpose(-1, -2)) * scale + mask
        y = s.softmax(-1) @ v
        if absorbed:
            y = torch.einsum("bhtl,hdl->bhtd", y, self.attn_v_b.weight)
        return self.attn_output(y.transpose(1, 2).reshape(n_b, n_t, -1))

    def route(self, x):
        """The experts of each row and their weights."""
        cfg = self.cfg
        with torch.autocast("cpu", enabled=False):      # the choice of experts is exact
            z = self.ffn_gate_inp(x.to(self.ffn_gate_inp.weight.dtype))
        score = torch.sigmoid(z) if cfg.gating == "sigmoid" else z.softmax(-1)
        choice = score.detach()
        if cfg.has_bias:
            choice = choice + self.exp_probs_b.bias
        if cfg.n_group > 1:
            grouped = choice.view(-1, cfg.n_group, cfg.n_expert // cfg.n_group)
            best = grouped.topk(2, -1).values.sum(-1).topk(cfg.n_group_used, -1).indices
            kept = torch.zeros_like(grouped[..., 0], dtype=torch.bool).scatter_(1, best, True)
            choice = grouped.masked_fill(~kept[..., None], -math.inf).view_as(choice)
        index = choice.topk(cfg.n_used, -1).indices
        weight = score.gather(-1, index)
        if cfg.norm_weights:
            weight = weight / weight.sum(-1, keepdim=True)
        return index, weight * (cfg.weights_scale or 1.0)

    def experts(self, x):
        """Sum of the chosen experts' answers; every expert runs once over its own rows.

        The rows are laid out as [expert, slot], short lists filled up with a row of zeros.
        """
        index, weight = self.route(x)
        n_expert = self.cfg.n_expert
        choice, order = index.flatten().sort(stable=True)
        row = order // self.cfg.n_used
        load = choice.bincount(minlength=n_expert)
        width = int(load.max())
        if self.training:       # few different shapes: each new one costs kernel compilation
            width = -(-width // 256) * 256
        slot = choice * width + torch.arange(len(choice)) - (load.cumsum(0) - load)[choice]
        source = torch.full((n_expert * width,), len(x)).scatter_(0, slot, row)
        rows = torch.cat((x, x.new_zeros(1, x.shape[1])))[source].view(n_expert, width, -1)
        up = rows @ self.ffn_up_exps.weight.mT
        gate = rows @ self.ffn_gate_exps.weight.mT
        y = (F.silu(gate) * up) @ self.ffn_down_exps.weight.mT
        y = y.flatten(0, 1)[slot] * weight.flatten()[order][:, None]
        self.load = load
        return torch.zeros_like(x).index_add(0, row, y.to(x.dtype))

    def feed_forward(self, x):
        if not self.sparse:
            return self.ffn_down(F.silu(self.ffn_gate(x)) * self.ffn_up(x))
        shared = self.ffn_down_shexp(F.silu(self.ffn_gate_shexp(x)) * self.ffn_up_shexp(x))
        return shared + self.experts(x.flatten(0, 1)).view_as(x)

    def forward(self, x, *attention):
        x = x + self.attention(self.attn_norm(x), *attention)
        return x + self.feed_forward(self.ffn_norm(x))


class Model(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.token_embd = Weight(cfg.n_vocab, cfg.n_embd, fan_in=cfg.n_embd)
        self.blk = nn.ModuleList(Block(cfg, i) for i in range(cfg.n_layer))
        self.output_norm = Norm(cfg.n_embd, cfg.eps)
        self.output = Linear(cfg.n_embd, cfg.n_vocab)

    def new_cache(self, n_seq, n_slot):
        """Latents and rotated keys of every layer, one row a position."""
        like, cfg = self.output.weight, self.cfg
        return [like.new_zeros(n_seq, n_slot, cfg.kv_lora + cfg.d_rope) for _ in self.blk]

    def hidden(self, tokens, absorbed=False, cache=None, positions=None):
        """Normalised last hidden states. tokens: [sequences, length] of ids.

        With a cache, `positions` says where each token stands and what is in the cache before
        counts as its past; without one, positions count from 0.
        """
        n_b, n_t = tokens.shape
        dtype = self.output.weight.dtype
        if positions is None:
            positions = torch.arange(n_t).expand(n_b, n_t)
        freq = inverse_frequencies(self.cfg).to(dtype)
        angle = positions[..., None].to(dtype) * freq
        n_key = cache[0].shape[1] if cache is not None else n_t
        hide = torch.arange(n_key)[None, None] > positions[..., None]
        mask = torch.zeros(hide.shape, dtype=dtype).masked_fill_(hide, -math.inf)[:, None]
        x = F.embedding(tokens, self.token_embd.weight)
        for i, block in enumerate(self.blk):
            x = block(x, angle.cos(), angle.sin(), mask, score_scale(self.cfg), absorbed,
                      cache[i] if cache is not None else None, positions)
        return self.output_norm(x)

    def forward(self, tokens, absorbed=False, cache=None, positions=None):
        """Logits of every position: [sequences, length, vocabulary]."""
        return self.output(self.hidden(tokens, absorbed, cache, positions))
