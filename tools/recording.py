#!/usr/bin/env python3
"""Makes docs/first-call.svg: a terminal in which the program really ran.

    tools/recording.py build/moongate docs/first-call.svg

Starts the program with fresh data, sends the README's first call as a stream, and draws what came
as an animated picture: each piece appears when it arrived, slowed down so that one can read.
"""

import html
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request

QUESTION = "Who are you, and how do I stream a reply?"
SLOWER = 12.0
COLUMNS, LINE, CHAR = 88, 20, 8.43


def start(program, folder):
    key = subprocess.run([program, "key", "create", "--data", folder], check=True,
                         capture_output=True, text=True).stdout.strip()
    server = subprocess.Popen([program, "serve", "--data", folder, "--listen", "127.0.0.1:0"],
                              stderr=subprocess.PIPE, text=True)
    for line in server.stderr:
        found = re.search(r"listening on (http://\S+)", line)
        if found:
            return server, key, found.group(1)
    raise SystemExit("the program did not start")


def call(address, key):
    """[(seconds since the call, "reasoning" or "content", text)] and the usage."""
    body = {"model": "kimi-k2.5", "stream": True, "temperature": 0,
            "messages": [{"role": "user", "content": QUESTION}]}
    request = urllib.request.Request(
        address + "/kimi/chat/completions", json.dumps(body).encode(),
        {"Authorization": "Bearer " + key, "Content-Type": "application/json"})
    pieces, usage, since = [], {}, time.monotonic()
    with urllib.request.urlopen(request) as answer:
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            usage = chunk["usage"] or usage
            for choice in chunk["choices"]:
                for kind in ("reasoning", "content"):
                    if choice["delta"].get(kind):
                        pieces.append((time.monotonic() - since, kind, choice["delta"][kind]))
            name = chunk["system_fingerprint"]
    return pieces, usage, name


def lay_out(pieces):
    """The pieces as [(second, line, column, class, text)], wrapped at word borders."""
    out, line = [], 0
    for kind in ("reasoning", "content"):
        mine = [(at, text) for at, k, text in pieces if k == kind]
        if not mine:
            continue
        whole = "".join(text for _, text in mine)
        # where each character of the whole stands once it is wrapped
        places, at = [], 0
        for paragraph in whole.split("\n"):
            for row in textwrap.wrap(paragraph, COLUMNS, drop_whitespace=False) or [""]:
                places += [(line, column) for column in range(len(row))]
                line += 1
            places.append((line - 1, COLUMNS))  # the line end itself
        for second, text in mine:
            while text:
                row, column = places[at]
                same = sum(1 for p in places[at:at + len(text)] if p[0] == row)
                out.append((second, row, column, kind, text[:same].rstrip("\n")))
                text, at = text[same:], at + same
        line += 1
    return out, line


def draw(shell, laid, n_lines, last):
    top = 30 + len(shell) * LINE
    height = top + (n_lines + 2) * LINE
    width = int(COLUMNS * CHAR) + 40
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
             f'viewBox="0 0 {width} {height}" role="img" aria-label="A first call of moongate">',
             "<style>text{font:14px ui-monospace,Menlo,Consolas,monospace;white-space:pre;"
             "fill:#e6e6e6}.reasoning{fill:#8a93a6}.shell{fill:#7fd1a8}.last{fill:#8a93a6}"
             ".p{opacity:0;animation:a .01s forwards}@keyframes a{to{opacity:1}}"
             "@media (prefers-reduced-motion:reduce){.p{opacity:1;animation:none}}</style>",
             '<rect width="100%" height="100%" rx="8" fill="#12151c"/>']

    def text(x, y, kind, value, second=None):
        late = f' style="animation-delay:{second:.2f}s"' if second is not None else ""
        moving = " p" if second is not None else ""
        parts.append(f'<text x="{20 + x * CHAR:.1f}" y="{y}" class="{kind}{moving}"{late} '
                     f'xml:space="preserve">{html.escape(value)}</text>')

    for i, row in enumerate(shell):
        text(0, 30 + i * LINE, "shell", row)
    end = 0
    for second, row, column, kind, value in laid:
        end = max(end, 0.6 + second * SLOWER)
        text(column, top + row * LINE, kind, value, 0.6 + second * SLOWER)
    text(0, top + (n_lines + 0.5) * LINE, "last", last, end + 0.3)
    return "\n".join(parts + ["</svg>", ""])


def main():
    program, target = sys.argv[1:3]
    with tempfile.TemporaryDirectory() as folder:
        server, key, address = start(program, folder)
        try:
            call(address, key)  # the first one pays for cold memory
            pieces, usage, name = call(address, key)
        finally:
            server.terminate()
            server.wait()
    shell = ["$ make run", "  address   http://127.0.0.1:8080", "  key       mg-…", "",
             "$ curl -N http://127.0.0.1:8080/kimi/chat/completions -H 'Authorization: Bearer mg-…' \\",
             "    -d '{\"model\":\"kimi-k2.5\",\"stream\":true,\"messages\":[{\"role\":\"user\",",
             f"    \"content\":\"{QUESTION}\"}}]}}'", ""]
    laid, n_lines = lay_out(pieces)
    last = (f"{name}: {usage['prompt_tokens']} + {usage['completion_tokens']} tokens in "
            f"{pieces[-1][0] * 1000:.0f} ms, shown {SLOWER:.0f} times slower")
    pathlib.Path(target).write_text(draw(shell, laid, n_lines, last))


if __name__ == "__main__":
    main()
