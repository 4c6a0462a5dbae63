"""What is measured. Each section starts its own processes and adds rows to the report."""

import http.client
import json
import os
import re
import resource
import shutil
import socket
import time

import ledger
import processes
import prompts
import relay
import scale
from processes import Broken, Moongate, Nginx, returning
from report import median, number, percentile

MB, KB = 1e6, 1e3
GOAL_RSS_MB = 40
HEALTH = '{"status":"ok"}' # the body of /healthz, which nginx gives too
REPLY_TOKENS = 200


class Bench:
    """What all sections have: programs, a key, a folder for files, sizes."""

    def __init__(self, build, repository, folder, gguf, quick, llama_bench, report):
        self.program = f"{build}/moongate"
        self.client = f"{build}/bench_client"
        self.kernels = f"{build}/bench_kernels"
        self.streams = f"{build}/bench_streams"
        self.upstream = f"{build}/bench_upstream"
        self.store, self.fill = f"{build}/bench_store", f"{build}/bench_fill"
        self.script = f"{repository}/bench/wrk.lua"
        self.folder, self.report, self.quick = folder, report, quick
        self.data, self.gguf, self.llama_bench = f"{folder}/data", gguf, llama_bench
        self.model_file = gguf or f"{repository}/models/nano/moongate-nano.gguf"
        self.options = ["--data", self.data] + (["--gguf", gguf] if gguf else [])
        os.makedirs(self.data, mode=0o700)
        self.key = processes.command([self.program, "key", "create", "--data", self.data,
                                      "--name", "bench"], 30).strip()
        with self.serve() as server: # after this, program and model are in the page cache
            self.threads, report.machine["model"] = server.model()

    def serve(self, cpu=None, options=(), log=None):
        return Moongate(self.program, [*self.options, *options], cpu, log)

    def descriptors(self):
        """The most files that a process may open."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        return 1 << 30 if hard == resource.RLIM_INFINITY else hard

    def file(self, name, requests):
        return prompts.write(f"{self.folder}/{name}", requests)

    def one_token(self):
        return prompts.chat("Hello", max_tokens=1, temperature=0)

    def ask(self, port, body):
        """One chat call's reply."""
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            c.request("POST", "/v1/chat/completions", body,
                      {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"})
            reply = c.getresponse()
            text = reply.read()
        finally:
            c.close()
        if reply.status != 200:
            raise Broken(f"a chat call got {reply.status}: {text[:300]!r}")
        return json.loads(text)


# --- start ---

def answer(connection, request):
    """Sends a request and reads the whole answer, which has a Content-Length."""
    connection.sendall(request)
    text, whole = b"", None
    while whole is None or len(text) < whole:
        piece = connection.recv(65536)
        if not piece:
            raise Broken(f"an answer that broke off: {text[:300]!r}")
        text += piece
        head, found, _ = text.partition(b"\r\n\r\n")
        if found and whole is None:
            length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)
            if not head.startswith(b"HTTP/1.1 200 ") or not length:
                raise Broken(f"no 200 with a length: {text[:300]!r}")
            whole = len(head) + 4 + int(length[1])


def start_once(b):
    """Microseconds from the start to the answer of /healthz, and to a one-token chat answer."""
    took = []
    with b.serve() as server, socket.create_connection(("127.0.0.1", server.port), 60) as c:
        for r in (prompts.request("GET", "/healthz"),
                  prompts.request("POST", "/v1/chat/completions", b.key, b.one_token())):
            answer(c, r)
            took.append(time.perf_counter_ns() // 1000 - server.started_us)
    return took


def start(b):
    runs = [start_once(b) for _ in range(5 if b.quick else 10)]
    b.report.raw["start_us"] = runs
    for i, what in enumerate(("to the 200 of GET /healthz", "to a whole one-token chat answer")):
        ms = [r[i] / 1000 for r in runs]
        b.report.row("Start to first answer", what, median(ms), "ms",
                     f"{len(ms)} starts, {number(min(ms))} to {number(max(ms))}")


# --- replies: memory, tokens a second, time to the first token ---

def stream_fields(b, max_tokens):
    """Of streams that end at max_tokens alone, where the tokens that end a reply are known."""
    fields = {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": max_tokens}
    try:
        fields["logit_bias"] = {str(i): -100 for i in prompts.end_tokens(b.model_file)}
    except (OSError, ValueError, KeyError) as e:
        b.report.note(f"replies are as long as they come: {b.model_file}: {e}")
    return fields


def streams_file(b):
    fields = stream_fields(b, REPLY_TOKENS)
    return b.file("streams", [prompts.chat_request(
        b.key, f"Tell me about {prompts.text(i, 3)}.", seed=i, temperature=1, **fields)
        for i in range(2000)])


def memory_row(b, server, figure):
    m = processes.memory(server.pid)
    detail = (f"anonymous {m['RssAnon'] / MB:.1f}, of files {m['RssFile'] / MB:.1f}, "
              f"peak {m['VmHWM'] / MB:.1f}")
    b.report.raw.setdefault("memory", {})[figure] = m
    if b.gguf:
        b.report.row("Resident memory", figure, m["VmRSS"] / MB, "MB", detail)
    else:
        b.report.goal("Resident memory", figure, m["VmRSS"] / MB, "MB", GOAL_RSS_MB, detail)


def speed_rows(b, n, rows, run):
    tokens = sum(r["completion_tokens"] for r in rows)
    rates = [(r["completion_tokens"] - 1) * 1e6 / r["decode_us"] for r in rows if r["decode_us"]]
    name = f"{n} stream" + "s" * (n > 1)
    if not rates:
        raise Broken(f"{name}: no reply had two events")
    second = tokens * 1e6 / run["wall_us"]
    detail = f"{len(rows)} replies, {tokens} tokens"
    b.report.row("Tokens a second", f"{name}, all together", second, "tokens/s", detail)
    b.report.row("Tokens a second", f"{name}, each", median(rates), "tokens/s",
                 f"{number(min(rates))} to {number(max(rates))}")
    b.report.row("Tokens a second", f"{name}, gap between events", run["gap_p50_us"] / 1000, "ms",
                 f"p99 {number(run['gap_p99_us'] / 1000)}, "
                 f"longest {number(run['gap_max_us'] / 1000)}")
    b.report.raw.setdefault("streams", {})[n] = {"tokens": tokens, "replies": len(rows), **run}
    return second


def words_for(b, server, tokens):
    """How many words make a prompt of about so many tokens."""
    used = b.ask(server.port, prompts.chat(prompts.text("size", 100), max_tokens=1))
    return max(1, round(100 * tokens / used["usage"]["prompt_tokens"]))


def first_token(b, server):
    count = 10 if b.quick else 50
    words = words_for(b, server, 500)
    fields = stream_fields(b, 4)
    pairs = [[prompts.chat_request(b.key, prompts.text(f"first {i}", words), temperature=0,
                                   **fields)] * 2 for i in range(count)]
    rows, _ = processes.replies(b.client, server.port, 1, 20 if b.quick else 60,
                                b.file("first", sum(pairs, [])))
    b.report.raw["first_token"] = rows
    shown = [r for r in rows if r["events"]]
    if len(shown) < len(rows):
        b.report.note(f"{len(rows) - len(shown)} replies had no text in their first tokens")
    for what, every in (("a fresh prompt", rows[0::2]), ("the same prompt again", rows[1::2])):
        ms = [r["first_us"] / 1000 for r in every if r["events"]]
        if not ms:
            raise Broken(f"time to the first token, {what}: no reply had text")
        detail = (f"{len(ms)} calls, p99 {number(percentile(ms, 99))}; of "
                  f"{median([r['prompt_tokens'] for r in every])} tokens "
                  f"{median([r['cached_tokens'] for r in every])} cached")
        b.report.row("Time to the first token", what, median(ms), "ms", detail)
    rates = [(r["prompt_tokens"] - r["cached_tokens"]) * 1e6 / r["first_us"]
             for r in rows[0::2] if r["events"]]
    b.report.row("Time to the first token", "prompt tokens a second (fresh)", median(rates),
                 "tokens/s", "computed ones, by the time to the first token")
    return median(rates)


def replies(b):
    seconds = 2 if b.quick else 6
    file = streams_file(b)
    with b.serve() as server:
        memory_row(b, server, "idle after the start")
        rates = {}
        for n in (16, 4, 1): # 16 first: its memory is a figure
            rows, run = processes.replies(b.client, server.port, n, seconds, file)
            rates[n] = (n, rows, run)
            if n == 16:
                memory_row(b, server, "after 16 concurrent replies")
        decode = {n: speed_rows(b, *rates[n]) for n in sorted(rates)}
        prefill = first_token(b, server)
        memory_row(b, server, "after all replies of this bench")
    if b.llama_bench:
        llama(b, prefill, decode)


def llama(b, prefill, decode):
    """The same model in llama.cpp at the same number of threads, without HTTP."""
    table = "Beside llama.cpp, the same file and threads"
    out = processes.command([b.llama_bench, "-m", b.model_file, "-p", "512", "-n",
                             str(REPLY_TOKENS), "-t", str(b.threads), "-r", "3", "-o", "json"], 60)
    for r in json.loads(out):
        if r["n_prompt"]:
            b.report.against(table, "prompt tokens a second", prefill, "tokens/s",
                             "llama.cpp, 512 tokens", r["avg_ts"], "ours with HTTP and tokenising")
        else:
            b.report.against(table, "1 stream", decode[1], "tokens/s",
                             f"llama.cpp, {REPLY_TOKENS} tokens", r["avg_ts"], "ours with HTTP")
    batched = os.path.join(os.path.dirname(b.llama_bench), "llama-batched-bench")
    if not os.access(batched, os.X_OK):
        b.report.note("no llama-batched-bench beside llama-bench: 4 and 16 streams stand alone")
        return
    out = processes.command([batched, "-m", b.model_file, "-c", "8192", "-t", str(b.threads),
                             "-npp", "16", "-ntg", str(REPLY_TOKENS), "-npl", "4,16",
                             "--output-format", "jsonl"], 60)
    results = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    if not results:
        raise Broken("llama-batched-bench told no result")
    for r in results:
        if r.get("pl") in decode:
            b.report.against(table, f"{r['pl']} streams", decode[r["pl"]], "tokens/s",
                             "llama.cpp", r["speed_tg"], "ours with HTTP and prompts")


# --- the cost of a request ---

def load(b, pid, port, path, connections, arguments, cpu, all_refused=False):
    """Repeats of wrk: medians, and the spread of the CPU time of a request."""
    runs = []
    for _ in range(1 if b.quick else 3):
        before = processes.cpu_us(pid)
        r = processes.wrk(b.script, port, path, connections, 2 if b.quick else 3, arguments, cpu)
        r["cpu_us"] = (processes.cpu_us(pid) - before) / r["requests"]
        if r["status_errors"] != (r["requests"] if all_refused else 0):
            raise Broken(f"{path}: {r['status_errors']} of {r['requests']} were no 200")
        runs.append(r)
    costs = [r["cpu_us"] for r in runs]
    return {"cpu_us": median(costs), "least_us": min(costs), "most_us": max(costs),
            "second": median([r["requests"] * 1e6 / r["duration_us"] for r in runs]),
            "p50_us": median([r["p50_us"] for r in runs]),
            "p99_us": median([r["p99_us"] for r in runs]), "runs": runs}


def connections(n):
    return f"{n} connection" + "s" * (n > 1)


def load_row(b, figure, r, other=None, name=None):
    table = "CPU of a request"
    detail = (f"{number(r['least_us'])} to {number(r['most_us'])}; {number(r['second'])} "
              f"requests/s, p50 {number(r['p50_us'])} µs, p99 {number(r['p99_us'])} µs")
    b.report.raw.setdefault("requests", {})[figure] = {"moongate": r, "nginx": other}
    if name:
        b.report.against(table, figure, r["cpu_us"], "µs", name, other and other["cpu_us"],
                         detail)
    else:
        b.report.row(table, figure, r["cpu_us"], "µs", detail)


def requests(b):
    """The server on the first core and wrk on the last, except for chat, which takes all."""
    if not shutil.which("wrk"):
        b.report.note("wrk is not installed: the CPU of a request is left out")
        return
    nginx = {}
    if shutil.which("nginx"):
        with Nginx(f"{b.folder}/nginx", returning(HEALTH), 256, cpu=0) as yard:
            for c in (64, 1):
                nginx[c] = load(b, yard.pid, yard.port, "/", c, ["GET", ""], -1)
                load_row(b, f"nginx `return 200`, {connections(c)}", nginx[c])
    else:
        b.report.note("nginx is not installed: its column is left out")
    with b.serve(cpu=0) as server:
        for c in (64, 1):
            r = load(b, server.pid, server.port, "/healthz", c, ["GET", ""], -1)
            load_row(b, f"GET /healthz, {connections(c)}", r, nginx.get(c), "nginx")
        r = load(b, server.pid, server.port, "/v1/models", 64, ["GET", "no-such-key"], -1, True)
        load_row(b, f"401 for a wrong key, {connections(64)}", r, nginx.get(64), "nginx")
    body = f"{b.folder}/one-token.json"
    with open(body, "wb") as f:
        f.write(b.one_token())
    with b.serve() as server:
        for c in (64, 1):
            r = load(b, server.pid, server.port, "/v1/chat/completions", c,
                     ["POST", b.key, body], None)
            load_row(b, f"one-token chat, {connections(c)}", r)


# --- idle connections ---

def idle_once(b, process, path, count):
    """RSS in bytes before, with so many idle connections, and after they are gone."""
    one = b.file("idle", [prompts.request("GET", path)])
    before = processes.memory(process.pid)["VmRSS"]
    with processes.Idle(b.client, process.port, count, one) as idle:
        during = processes.memory(process.pid)["VmRSS"]
    if idle.open != count or idle.still_open != count:
        raise Broken(f"{count} idle connections: {idle.open} were open, then {idle.still_open}")
    return {"before": before, "during": during, "each": (during - before) / count}


def idle(b):
    hard = b.descriptors()
    count = 2000 if b.quick else 10000
    if hard < count + 256:
        b.report.note(f"idle connections: {hard - 256} instead of {count}, the limit of files "
                      f"is {hard}")
        count = hard - 256
    yard = None
    if shutil.which("nginx"):
        with Nginx(f"{b.folder}/nginx-idle", returning(HEALTH), count + 64) as process:
            yard = idle_once(b, process, "/", count)
    else:
        b.report.note("nginx is not installed: its idle connections are left out")
    with b.serve() as process:
        ours = idle_once(b, process, "/healthz", count)
    b.report.raw["idle"] = {"count": count, "moongate": ours, "nginx": yard}
    table = f"{count:,} idle connections, one request behind each"
    b.report.against(table, "memory of a connection", ours["each"] / KB, "KB", "nginx",
                     yard and yard["each"] / KB, "growth of RSS; the system's own is not in it")
    b.report.against(table, "RSS with all of them", ours["during"] / MB, "MB", "nginx",
                     yard and yard["during"] / MB, f"before: {ours['before'] / MB:.1f}")


# --- kernels ---

def kernels(b):
    if b.quick:
        b.report.note("--quick leaves the kernels out")
        return
    out = processes.command([b.kernels], 60)
    b.report.raw["kernels"] = out.splitlines()
    used = re.search(r"kernels ([^ ,]+)", b.report.machine["model"])[1]
    shown = [line for line in out.splitlines() # of the sets, the one in use is shown
             if not re.match(r"(scalar|avx)", line) or line.split()[0] == used]
    print("\n### Kernels and memory\n\n```\n" + "\n".join(shown) + "\n```", flush=True)


ALL = {"start": start, "replies": replies, "requests": requests, "idle": idle,
       "kernels": kernels, **relay.ALL, **ledger.ALL,
       **scale.ALL}
