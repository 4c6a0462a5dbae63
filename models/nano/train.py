"""Trains the built-in model on the generated corpus.

    python train.py build --steps 4000

Reads build/train.jsonl and build/tokenizer.json, writes build/checkpoint.pt now and then and at
the end.  Only what the assistant says counts for the loss: thought, answer and end token.
Matrices are updated by Muon (momentum made orthogonal), the rest by AdamW; the router's bias
moves a fixed step towards even load, so no balancing loss is needed.
"""

import argparse
import json
import math
import pathlib
import random
import socket
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F

import export
import tokenizer as tok
from model import Config, Model

CUT = 0.75      # share of answers that are not trained to their end


def encode_dialogue(t, sample, rng, dropout):
    """(ids, weight of each id as a target)

    What an answer says after its start follows from the start, so most of them are cut short:
    more questions fit into a batch, and it is the questions that are hard.
    """
    s = t.special
    noise = {"dropout": dropout, "rng": rng} if dropout else {}
    ids, weights = [], []

    def add(new, weight):
        ids.extend(new)
        weights.extend([weight] * len(new))

    head = [s["<|im_assistant|>"], *t.encode("assistant"), s["<|im_middle|>"], s["<think>"]]
    for role, text in sample["messages"]:
        if role == "assistant":     # an answer without thought: history is written like that
            add([*head, s["</think>"]], 0.0)
            answer = [*t.encode(text), s["<|im_end|>"]]
            if rng.random() < CUT:
                add(answer[:12], 1.0)
                add([s["<|im_end|>"]], 0.0)
            else:
                add(answer, 1.0)
        else:
            add(t.message(role.rstrip("!"), text, **noise), 0.0)
    add(head, 0.0)
    if sample["thinking"]:
        add([*t.encode(sample["thought"]), s["</think>"]], 1.0)
        if rng.random() < CUT:
            return ids, weights
    else:
        add([s["</think>"]], 0.0)
    add([*t.encode(sample["answer"]), s["<|im_end|>"]], 1.0)
    return ids, weights


def width(ids):
    return -(-(len(ids) - 1) // 32) * 32


class Batches:
    """Batches of about `size` tokens, of dialogues of like length, in an order set by the seed.

    Lengths are rounded up to multiples of 32, so that few different shapes occur.
    """

    def __init__(self, t, lines, size, seed, longest=512):
        self.t, self.lines, self.size, self.longest = t, lines, size, longest
        self.rng = random.Random(seed)

    def __iter__(self):
        while True:
            order = list(range(len(self.lines)))
            self.rng.shuffle(order)
            for at in range(0, len(order), 2048):
                yield from self.pool(order[at:at + 2048])

    def pool(self, order):
        rng, pool = self.rng, []
        for i in order:
            dropout = 0.1 if rng.random() < 0.15 else 0.0
            pair = encode_dialogue(self.t, json.loads(self.lines[i]), rng, dropout)
            if len(pair[0]) <= self.longest:
                pool.append(pair)
        pool.sort(key=lambda p: len(p[0]))
        batches, here = [], []
        for pair in pool:
            if here and (len(here) + 1) * width(pair[0]) > self.size:
                batches.append(here)
                here = []
            here.append(pair)
        batches.append(here)
        rng.shuffle(batches)
        return map(self.tensors, batches)

    def tensors(self, pairs):
        n = max(width(p[0]) for p in pairs)
        n_row = max(len(pairs), self.size // n)
        ids = torch.zeros(n_row, n + 1, dtype=torch.long)
        weights = torch.zeros(n_row, n + 1)
        for row in range(n_row):    # filled up with text too, or the router would learn padding
            i, w = pairs[row % len(pairs)]
            ids[row] = torch.tensor((i * (n // len(i) + 2))[:n + 1])
            if row < len(pairs):
                weights[row, :len(w)] = torch.tensor(w)
        return ids, weights


def orthogonal(g):
    """Newton-Schulz iteration: the matrices of g with all singular values near 1."""
    x = g.to(torch.bfloat16)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT.contiguous()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return (x.mT if tall else x).to(g.dtype)


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum=0.95, weight_decay=0.05):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                step = orthogonal(p.grad.lerp(buffer, group["momentum"]))
                size = 0.2 * math.sqrt(max(p.shape[-2:]))   # like the size of AdamW's steps
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(step, alpha=-group["lr"] * size)


def optimizers(model, lr):
    matrices, rest = [], []
    for name, p in model.named_parameters():
        plain = p.ndim == 1 or "token_embd" in name or name.startswith("output.")
        (rest if plain or "ffn_gate_inp" in name else matrices).append(p)
    return [Muon(matrices, lr),
            torch.optim.AdamW(rest, lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)]


def loss_of(model, ids, weights):
    """Mean loss of the weighted targets; logits are made for these positions alone."""
    target_weights = weights[:, 1:]
    picked = target_weights > 0
    where = picked.flatten().nonzero()[:, 0]
    where = F.pad(where, (0, -len(where) % 256))        # again for few shapes; weighs nothing
    w = target_weights.flatten()[where]
    w[int(picked.sum()):] = 0.0
    h = model.hidden(ids[:, :-1]).flatten(0, 1)[where]
    loss = F.cross_entropy(model.output(h).float(), ids[:, 1:].flatten()[where], reduction="none")
    return (loss * w).sum() / w.sum()


@torch.no_grad()
def share_gradients(model, workers):
    """Every worker gets the mean gradient and the whole expert load."""
    if workers == 1:
        return
    grads = [p.grad for p in model.parameters()]
    loads = [b.load.float() for b in model.blk if b.sparse]
    flat = torch.cat([x.flatten() for x in (*grads, *loads)])
    dist.all_reduce(flat)
    at = 0
    for x in (*grads, *loads):
        x.copy_(flat[at:at + x.numel()].view_as(x))
        at += x.numel()
    for g in grads:
        g.div_(workers)
    for block, load in zip((b for b in model.blk if b.sparse), loads):
        block.load = load


@torch.no_grad()
def balance(model, rate):
    for block in model.blk:
        if block.sparse and block.load is not None:
            load = block.load.float()
            block.exp_probs_b.bias += rate * torch.sign(load.mean() - load)


@torch.no_grad()
def thought_accuracy(model, t, lines):
    """Share of dialogues whose every thought token is the likeliest: is the intent understood?"""
    model.eval()
    right = count = 0
    for line in lines:
        sample = json.loads(line)
        prompt = t.prompt([{"role": role.rstrip("!"), "content": text}
                           for role, text in sample["messages"]])
        thought = [*t.encode(sample["thought"]), t.special["</think>"]]
        best = model(torch.tensor([prompt + thought]))[0].argmax(-1)[len(prompt) - 1:-1]
        right += best.tolist() == thought
        count += 1
    model.train()
    return right / count


@torch.no_grad()
def held_out_loss(model, batches):
    model.eval()
    total = sum(loss_of(model, *b).item() for b in batches) / len(batches)
    model.train()
    return total


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--batch", type=int, default=4096, help="tokens of a batch, with padding")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--warm-up", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    # One thread: beside other work on the machine, two that wait for each other at every operation
    # were measured twenty times slower (200 against 3,900 tokens/s on two busy cores).
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start", help="check-point or GGUF file to continue from")
    parser.add_argument("--out", default="checkpoint.pt")
    parser.add_argument("--workers", type=int, default=1, help="processes that share each step")
    return parser.parse_args()


def train(rank, args):
    """The training loop of one worker; all of them keep the same weights."""
    if args.workers > 1:
        dist.init_process_group("gloo", f"tcp://127.0.0.1:{args.port}", rank=rank,
                                world_size=args.workers)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    t = tok.Tokenizer.load(args.build / "tokenizer.json")
    lines = (args.build / "train.jsonl").read_text(encoding="utf-8").splitlines()
    held = list(Batches(t, lines[-256:], args.batch, 0).pool(range(256)))
    if not args.start:
        model = Model(Config(n_vocab=t.n_vocab))
    elif args.start.endswith(".gguf"):
        model = export.read_model(args.start)[0]
    else:
        model = export.read_checkpoint(args.start)
    model.train()
    steppers = optimizers(model, args.lr)
    start, tokens, mean, last = time.time(), 0, None, 0.0
    batches = iter(Batches(t, lines[:-256], args.batch, args.seed * 16 + rank))
    for step in range(1, args.steps + 1):
        part = max(0.0, (step - args.warm_up) / max(1, args.steps - args.warm_up))
        lr = args.lr * min(step / args.warm_up, 0.5 * (1 + math.cos(math.pi * part)) + 0.01)
        ids, weights = next(batches)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, ids, weights)
        loss.backward()
        share_gradients(model, args.workers)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper in steppers:
            for group in stepper.param_groups:
                group["lr"] = lr
            stepper.step()
            stepper.zero_grad()
        balance(model, 1e-3 * min(1.0, 2 * (1 - part)))
        tokens += ids.numel() * args.workers
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if rank:
            continue
        if step % 25 == 0 or step == args.steps:
            spent = time.time() - start
            print(f"step {step}/{args.steps} loss {mean:.4f} lr {lr:.5f} {tokens / 1e6:.2f} M tokens "
                  f"{tokens / spent:.0f}/s left {spent / step * (args.steps - step) / 60:.1f} min",
                  flush=True)
        if time.time() - last > 120 and step > args.warm_up or step == args.steps:
            last = time.time()
            load = [(b.load / b.load.sum()).max().item() for b in model.blk if b.sparse]
            print(f"held out {held_out_loss(model, held):.4f}, understood "
                  f"{thought_accuracy(model, t, lines[-160:]):.3f}, busiest expert "
                  f"{max(load):.2f}", flush=True)
            export.save_checkpoint(args.build / args.out, model, step=step)


def main():
    args = arguments()
    if args.workers == 1:
        train(0, args)
        return
    with socket.socket() as s:      # a free port, chosen by the kernel
        s.bind(("127.0.0.1", 0))
        args.port = s.getsockname()[1]
    mp.spawn(train, (args,), args.workers)


if __name__ == "__main__":
    main()
