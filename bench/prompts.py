"""Requests that the bench sends, as bytes; and the tokens that end a reply."""

import json
import random
import struct

MODEL = "kimi-k2-instruct-0905" # a row that never thinks

WORDS = """
water stone light river house garden winter summer morning evening table window letter market
bridge forest mountain village silver yellow paper kitchen bread salt honey engine signal number
pocket button corner circle square answer question memory reason chance weather thunder island
harbour captain teacher doctor farmer painter singer hammer needle basket ladder mirror candle
blanket feather pebble meadow valley canyon desert ocean planet comet shadow whisper story
chapter sentence language country station ticket journey compass anchor rocket lantern orchard
apple cherry walnut pepper ginger butter pencil ribbon velvet cotton copper marble crystal
""".split()

# The texts that end a reply, as the engine has them.
END_TEXTS = {"<|im_end|>", "[EOS]", "[EOT]", "<|end_of_msg|>", "<|eot_id|>", "<|end|>",
             "<|endoftext|>", "<|eom_id|>", "</s>", "<end_of_turn>"}

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
            12: "d"}
_STRING, _ARRAY = 8, 9


def end_tokens(path):
    """Ids of the tokens that end a reply, from the metadata of a GGUF file."""
    with open(path, "rb") as f:
        def scalar(form):
            return struct.unpack("<" + form, f.read(struct.calcsize("<" + form)))[0]

        def value(kind):
            if kind == _STRING:
                return f.read(scalar("Q")).decode(errors="replace")
            if kind == _ARRAY:
                inner, count = scalar("I"), scalar("Q")
                return [value(inner) for _ in range(count)]
            return scalar(_SCALARS[kind])

        if f.read(4) != b"GGUF":
            raise ValueError(f"{path} is no GGUF file")
        scalar("I")
        scalar("Q")
        metadata = {value(_STRING): value(scalar("I")) for _ in range(scalar("Q"))}
    tokens = metadata["tokenizer.ggml.tokens"]
    ids = {i for i, text in enumerate(tokens) if text in END_TEXTS}
    ids |= {v for k, v in metadata.items()
            if k in ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                     "tokenizer.ggml.eom_token_id")}
    return sorted(ids)


def text(seed, words):
    """So many words in an order of their own, so that no two texts share a beginning."""
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def chat(content, **fields):
    """The body of a chat request."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": content}], **fields}
    return json.dumps(body, separators=(",", ":")).encode()


def request(method, path, key=None, body=b""):
    """A whole HTTP request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    if key:
        head += f"Authorization: Bearer {key}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def chat_request(key, content, **fields):
    return request("POST", "/v1/chat/completions", key, chat(content, **fields))


def write(path, requests):
    """The file that bench_client reads: each request behind a line with its length."""
    with open(path, "wb") as f:
        for r in requests:
            f.write(b"%d\n" % len(r) + r)
    return path
