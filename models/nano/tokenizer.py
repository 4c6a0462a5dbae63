"""Byte-level BPE with Kimi's pre-tokenisation, special tokens and chat format.

    python tokenizer.py build/pieces.txt build/tokenizer.json --vocabulary 4096

learns the merges.  Tokens 0..255 are the bytes in GPT-2's printable order, the last 256 ids are
the special tokens in Kimi's order.
"""

import argparse
import base64
import functools
import heapq
import json
import random
from collections import Counter, defaultdict

import regex

N_SPECIAL = 256
KIMI_FIRST_SPECIAL = 163584
# Offset from the first special id: text. The others are reserved.
SPECIALS = {
    0: "[BOS]", 1: "[EOS]", 2: "<|im_end|>", 3: "<|im_user|>", 4: "<|im_assistant|>",
    6: "<|start_header_id|>", 7: "<|end_header_id|>", 9: "[EOT]", 10: "<|im_system|>",
    11: "<|tool_calls_section_begin|>", 12: "<|tool_calls_section_end|>",
    13: "<|tool_call_begin|>", 14: "<|tool_call_argument_begin|>", 15: "<|tool_call_end|>",
    17: "<|im_middle|>", 18: "<|media_begin|>", 19: "<|media_content|>", 20: "<|media_end|>",
    21: "<|media_pad|>", 22: "<think>", 23: "</think>", 254: "[UNK]", 255: "[PAD]",
}
# Shown in decoded text and recognised in any text, as in the real files; the others are control.
USER_DEFINED = {11, 12, 13, 14, 15, 22, 23}

_U = r"[[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]--[\p{Han}]]"
_W = r"[[\p{Ll}\p{Lm}\p{Lo}\p{M}]--[\p{Han}]]"
_X = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_LEAD = r"[^\r\n\p{L}\p{N}]?"
PIECE = regex.compile("|".join([
    r"[\p{Han}]+",
    _LEAD + _U + "*" + _W + "+" + _X,
    _LEAD + _U + "+" + _W + "*" + _X,
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
]), regex.V1)

# Single tokens by decree: the headers of the chat format, and the contract's own example.
WANTED = ("user", "assistant", "system", "tool", "Hello")

CHAT_TEMPLATE = """\
{%- if tools -%}<|im_system|>tool_declare<|im_middle|>{{ tools | tojson }}<|im_end|>{%- endif -%}
{%- for message in messages -%}
{%- set name = message.get('name') or message['role'] -%}
{%- if message['role'] == 'user' -%}<|im_user|>
{%- elif message['role'] == 'assistant' -%}<|im_assistant|>
{%- else -%}<|im_system|>{%- endif -%}
{{- name -}}<|im_middle|>
{%- if message['role'] == 'assistant' -%}<think></think>{%- endif -%}
{%- if message['content'] is string -%}{{- message['content'] -}}
{%- elif message['content'] -%}
{%- for part in message['content'] -%}{{- part['text'] or '' -}}{%- endfor -%}
{%- endif -%}<|im_end|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|im_assistant|>assistant<|im_middle|>
{%- if thinking is defined and thinking is false -%}<think></think>{%- else -%}<think>{%- endif -%}
{%- endif -%}
"""


def byte_order():
    """The 256 byte values in GPT-2's printable order, and each one's printable character."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in plain]
    chars = {b: chr(b) for b in plain}
    chars.update({b: chr(256 + i) for i, b in enumerate(rest)})
    return plain + rest, chars


class Tokenizer:
    def __init__(self, tokens):
        """tokens: the byte strings of the ordinary tokens by rank."""
        self.tokens = tokens
        self.rank = {t: i for i, t in enumerate(tokens)}
        self.first_special = len(tokens)
        self.n_vocab = len(tokens) + N_SPECIAL
        self.special_text = [
            SPECIALS.get(i, f"<|reserved_token_{self.first_special + i}|>")
            for i in range(N_SPECIAL)
        ]
        self.special = {t: self.first_special + i for i, t in enumerate(self.special_text)}
        self.bpe = functools.lru_cache(maxsize=200000)(self._bpe)

    def _bpe(self, piece, dropout=0.0, rng=None):
        if piece in self.rank and not dropout:
            return (self.rank[piece],)
        parts = [piece[i:i + 1] for i in range(len(piece))]
        while len(parts) > 1:
            best = None
            for i in range(len(parts) - 1):
                r = self.rank.get(parts[i] + parts[i + 1])
                if r is not None and (best is None or r < best[0]):
                    if not dropout or rng.random() >= dropout:
                        best = (r, i)
            if best is None:
                break
            i = best[1]
            parts[i:i + 2] = [parts[i] + parts[i + 1]]
        return tuple(self.rank[p] for p in parts)

    def encode(self, text, dropout=0.0, rng=None):
        """Ids of plain text; special tokens in it are not recognised."""
        ids = []
        for piece in PIECE.findall(text):
            data = piece.encode()
            ids += self._bpe(data, dropout, rng) if dropout else self.bpe(data)
        return ids

    def decode(self, ids):
        data = b"".join(
            self.tokens[i] if i < self.first_special
            else self.special_text[i - self.first_special].encode() for i in ids)
        return data.decode(errors="replace")

    def message(self, role, content, name=None, **noise):
        """One message with its frame. History turns of the assistant carry an empty thought."""
        s = self.special
        head = {"user": "<|im_user|>", "assistant": "<|im_assistant|>"}.get(role, "<|im_system|>")
        thought = [s["<think>"], s["</think>"]] if role == "assistant" else []
        return [s[head], *self.encode(name or role), s["<|im_middle|>"], *thought,
                *self.encode(content, **noise), s["<|im_end|>"]]

    def prompt(self, messages, thinking=True):
        """Ids of a whole request, up to where the answer starts."""
        s, ids = self.special, []
        for m in messages:
            ids += self.message(m["role"], m["content"], m.get("name"))
        ids += [s["<|im_assistant|>"], *self.encode("assistant"), s["<|im_middle|>"], s["<think>"]]
        return ids if thinking else [*ids, s["</think>"]]

    def merges(self):
        """(left, right) per merged token: its last join when it is built of lower ranks."""
        out = []
        for rank in range(256, len(self.tokens)):
            parts = [bytes([b]) for b in self.tokens[rank]]
            while len(parts) > 2:
                r, i = min((self.rank.get(parts[i] + parts[i + 1], rank), i)
                           for i in range(len(parts) - 1))
                if r >= rank:
                    raise ValueError(f"token {rank} cannot be built of earlier tokens")
                parts[i:i + 2] = [parts[i] + parts[i + 1]]
            out.append(tuple(parts))
        return out

    def gguf_metadata(self):
        chars = byte_order()[1]

        def printable(data):
            return "".join(chars[b] for b in data)

        types = [1] * len(self.tokens)
        types += [4 if i in USER_DEFINED else 3 for i in range(N_SPECIAL)]
        t, s = "tokenizer.ggml.", self.special
        return [
            (t + "model", "str", "gpt2"),
            (t + "pre", "str", "kimi-k2"),
            (t + "tokens", "[str]", [printable(x) for x in self.tokens] + self.special_text),
            (t + "token_type", "[i32]", types),
            (t + "merges", "[str]", [f"{printable(a)} {printable(b)}" for a, b in self.merges()]),
            (t + "bos_token_id", "u32", s["[BOS]"]),
            (t + "eos_token_id", "u32", s["<|im_end|>"]),
            (t + "eot_token_id", "u32", s["<|im_end|>"]),
            (t + "unknown_token_id", "u32", s["[UNK]"]),
            (t + "padding_token_id", "u32", s["[PAD]"]),
            (t + "add_bos_token", "bool", False),
            (t + "add_eos_token", "bool", False),
            ("tokenizer.chat_template", "str", CHAT_TEMPLATE),
        ]

    def save(self, path):
        with open(path, "w") as f:
            json.dump([base64.b64encode(t).decode() for t in self.tokens], f)

    @classmethod
    def load(cls, path):
        with open(path) as f:
            return cls([base64.b64decode(t) for t in json.load(f)])


def too_long(data):
    """Long tokens would swallow whole phrases of the fixed answers."""
    return len(data) > (9 if data[0] >= 0x80 else 14)


def learn(counts, n_token):
    """Ranks for n_token tokens. counts: Counter of pieces (bytes).

    Pairs with the same concatenation are one candidate, so that joining by lowest rank gives the
    same tokens as learning did.
    """
    tokens = [bytes([b]) for b in byte_order()[0]]
    words = [[bytes([b]) for b in p] for p in counts]
    weight = list(counts.values())
    total, where = Counter(), defaultdict(set)
    for w, parts in enumerate(words):
        for a, b in zip(parts, parts[1:]):
            total[a + b] += weight[w]
            where[a + b].add(w)
    heap = [(-n, t) for t, n in total.items()]
    heapq.heapify(heap)
    known = set(tokens)
    while len(tokens) < n_token:
        n, new = heapq.heappop(heap)
        if new in known or too_long(new) or total[new] != -n:
            if new not in known and not too_long(new) and 0 < total[new] < -n:
                heapq.heappush(heap, (-total[new], new))
            continue
        tokens.append(new)
        known.add(new)
        touched = set()
        for w in where.pop(new):
            parts, i = words[w], 0
            for a, b in zip(parts, parts[1:]):
                total[a + b] -= weight[w]
            while i < len(parts) - 1:
                if parts[i] + parts[i + 1] == new:
                    parts[i:i + 2] = [new]
                i += 1
            for a, b in zip(parts, parts[1:]):
                total[a + b] += weight[w]
                where[a + b].add(w)
                touched.add(a + b)
        for t in touched:
            if t not in known:
                heapq.heappush(heap, (-total[t], t))
    return tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pieces", help="text, one sample a line")
    parser.add_argument("out")
    parser.add_argument("--vocabulary", type=int, default=4096)
    args = parser.parse_args()
    counts = Counter()
    with open(args.pieces, encoding="utf-8") as f:
        for line in f:
            counts.update(p.encode() for p in PIECE.findall(line.rstrip("\n").replace("\\n", "\n")))
    for word in WANTED:
        counts[word.encode()] += 10**7
    t = Tokenizer(learn(counts, args.vocabulary - N_SPECIAL))
    t.save(args.out)
    bad = [w for w in WANTED if len(t.encode(w)) != 1]
    if bad:
        raise SystemExit(f"not single tokens: {bad}")
    print(f"{t.n_vocab} tokens; {len(counts)} distinct pieces; "
          f"{sum(len(t.bpe(p)) * n for p, n in counts.items())} ids in all")


if __name__ == "__main__":
    main()
