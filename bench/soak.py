"""`make soak`: moongate in front of upstreams that fail at random, under clients that misbehave,
with its configuration read anew now and then. Checks the books at the end; exits 1 if one check
fails.

  bench/soak.py [--seconds N] [--program PATH] [--clients N] [--seed N] [--keep]

What must hold: memory is flat, all descriptors are given back, nothing runs on, each request has
exactly one line in the log, log and metrics agree on requests and tokens, no reply that was not
whole ends like a whole one, no secret is told, and the program ends well.
"""

import argparse
import asyncio
import collections
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time

import faults
import processes

FIFTH_PERCENT, FIFTH_BYTES = 5, 3 << 20 # how much more the last fifth of the run may take
POOLED = 300 # connections that may be kept open to upstreams
MODELS = ("one", "two", "three")


def arguments():
    p = argparse.ArgumentParser(prog="bench/soak.py")
    p.add_argument("--seconds", type=int, default=int(os.environ.get("SOAK_SECONDS", "600")))
    p.add_argument("--program", default="build/moongate")
    p.add_argument("--clients", type=int, default=48)
    p.add_argument("--seed", type=int, default=int(time.time()))
    p.add_argument("--keep", action="store_true", help="keeps the folder with the log")
    return p.parse_args()


def configuration(servers, turn):
    """moongate.yaml; weights and priorities change from turn to turn."""
    def routes(order):
        return "".join(f"      - name: up{i}\n        weight: {1 + (turn + i) % 3}\n"
                       f"        priority: {1 + (turn + place) % 2}\n"
                       for place, i in enumerate(order))

    models = "".join(f"  - id: {name}\n    backends:\n{routes(order)}"
                     for name, order in zip(MODELS, ((0, 1, 2), (0, 1), (2,))))
    models += ("  - id: mixed\n    backends:\n      - name: up1\n        priority: 1\n"
               "      - name: local\n        priority: 2\n")
    backends = "".join(f"  - name: up{i}\n    kind: openai\n    url: http://127.0.0.1:{s.port}\n"
                       f"    key_env: SOAK_KEY\n    concurrency: {16 + turn % 2}\n"
                       "    connect_timeout: 1s\n    first_byte_timeout: 2s\n"
                       "    idle_timeout: 2s\n    total_timeout: 8s\n"
                       "    reply_bytes: 1MiB\n    event_bytes: 256KiB\n    head_bytes: 16KiB\n"
                       for i, s in enumerate(servers))
    return ("limits:\n  keep_alive: 500ms\n  stall_timeout: 2s\n  call_timeout: 15s\n"
            "  head_timeout: 2s\n  body_timeout: 2s\n  idle_timeout: 10s\n  drain: 5s\n"
            "log:\n  format: json\n"
            "routing:\n  queue: 64\n  queue_timeout: 2s\n  open: 300ms\n  open_max: 3s\n"
            "  rest_max: 2s\n  probe: 1s\n"
            f"models:\n{models}backends:\n  - name: local\n    kind: local\n{backends}")


# --- clients ---

class Left(Exception):
    """The client goes away."""


class Client:
    """Sends one random call after the other, over a connection that it may keep."""

    def __init__(self, soak, number):
        self.soak, self.random = soak, random.Random(f"{soak.seed}/{number}")
        self.reader = self.writer = None
        self.unanswered = False

    async def connect(self):
        if not self.writer:
            self.reader, self.writer = await asyncio.open_connection(
                "127.0.0.1", self.soak.port, limit=1 << 22)

    def hang_up(self):
        if self.writer:
            if self.random.random() < 0.3:
                self.soak.unsure += self.unanswered
                s = self.writer.get_extra_info("socket")
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.writer.transport.abort()
            self.writer.close()
        self.reader = self.writer = None

    async def live(self):
        while not self.soak.over:
            kind = self.random.choices(("chat", "leave", "slow", "bad", "other", "half"),
                                       (60, 14, 3, 8, 10, 5))[0]
            try:
                await asyncio.wait_for(getattr(self, kind)(), 60)
            except (Left, OSError, EOFError):
                self.hang_up()
            except asyncio.TimeoutError:
                self.soak.wrong("a call did not end in a minute")
                self.hang_up()
            if self.random.random() < 0.2:
                self.hang_up()
            await asyncio.sleep(self.random.expovariate(20))
        self.hang_up()

    def request(self, method, path, body=b"", key=None):
        fields = f"Content-Length: {len(body)}\r\n" if body or method == "POST" else ""
        if key:
            fields += f"Authorization: Bearer {key}\r\n"
        return f"{method} {path} HTTP/1.1\r\nHost: soak\r\n{fields}\r\n".encode() + body

    def chat_request(self):
        model = self.random.choices((*MODELS, "mixed"), (5, 5, 5, 1))[0]
        path = self.random.choice(("/v1", "/kimi", "/openai")) + "/chat/completions"
        self.stream = self.random.random() < 0.6
        body = {"model": model, "stream": self.stream, "max_tokens": 16, "messages": [
            {"role": "user", "content": "hello " * self.random.choice((1, 5, 200, 2000))}]}
        if self.random.random() < 0.3:
            body["stream_options"] = {"include_usage": True}
        return self.request("POST", path, json.dumps(body).encode(), self.soak.key)

    async def send(self, data):
        """A whole request: from here on it must stand in the books. A connection that is kept
        was used a moment ago, so that the server cannot have closed it for being idle."""
        await self.connect()
        self.writer.write(data)
        await self.writer.drain()
        self.soak.sent += 1
        self.unanswered = True

    async def read_head(self):
        top = await self.reader.readuntil(b"\r\n\r\n")
        self.unanswered = False
        text = top.decode("latin-1").lower()
        trace = re.search(r"\r\nx-trace-id: ([0-9a-f-]{36})\r\n", text)
        if not trace:
            self.soak.wrong(f"a reply without a trace id: {text[:200]}")
        else:
            self.soak.traces[trace[1]] += 1
        length = re.search(r"\r\ncontent-length: (\d+)\r\n", text)
        self.chunked = "\r\ntransfer-encoding: chunked\r\n" in text
        self.close = "\r\nconnection: close\r\n" in text
        return int(text[9:12]), int(length[1]) if length else 0

    async def chunks(self):
        while True:
            n = int(await self.reader.readuntil(b"\n"), 16)
            data = await self.reader.readexactly(n + 2)
            if not n:
                return
            yield data[:-2]

    async def reply(self, before_read=None):
        """Reads a reply to its end and looks at how it ends."""
        status, length = await self.read_head()
        if self.chunked:
            text = b""
            async for piece in self.chunks():
                text += piece
                if before_read:
                    await before_read(len(text))
            self.look_at_stream(text.decode())
        else:
            text = await self.reader.readexactly(length)
            self.look_at_whole(status, text)
        if self.close:
            self.hang_up()
        return status

    def look_at_whole(self, status, text):
        if faults.SECRET.encode() in text:
            self.soak.wrong("the upstream's key is in a reply")
        if not text or status == 204:
            return
        try:
            value = json.loads(text)
        except ValueError:
            if status != 200: # /docs and the like are no JSON
                self.soak.wrong(f"{status} with no JSON: {text[:100]}")
            return
        if status >= 400 and "trace_id" not in value:
            self.soak.wrong(f"{status} without our error body: {text[:200]}")

    def look_at_stream(self, text):
        words = [int(w) for w in re.findall(r'"content": ?"w(\d+) "', text)]
        done, failed = "data: [DONE]" in text, '"success":false' in text
        if faults.SECRET in text:
            self.soak.wrong("the upstream's key is in a stream")
        if done == failed:
            self.soak.wrong(f"a stream with done {done} and error {failed}: {text[-300:]}")
        if words != list(range(1, len(words) + 1)):
            self.soak.wrong(f"lost or doubled events: {words}")
        if done and not re.search(r'"finish_reason": ?"', text):
            self.soak.wrong(f"[DONE] without a finish reason: {text[-300:]}")

    # --- kinds of calls ---

    async def chat(self):
        await self.send(self.chat_request())
        await self.reply()

    async def leave(self):
        await self.send(self.chat_request())
        if self.random.random() < 0.6:
            await asyncio.sleep(self.random.expovariate(10))
        else:
            limit = self.random.randint(1, 3000)

            async def enough(n):
                if n > limit:
                    raise Left
            await self.reply(enough)
        raise Left

    async def slow(self):
        async def wait(_):
            await asyncio.sleep(self.random.choice((0, 0.01, 0.05, 0.3)))
        await self.send(self.chat_request())
        if self.random.random() < 0.3:
            await asyncio.sleep(3) # longer than the server's patience, if there is enough unsent
        await self.reply(wait)

    async def bad(self):
        key, body = self.soak.key, {"model": "one", "messages": [{"role": "user", "content": "x"}]}
        path = "/v1/chat/completions"
        what = self.random.randrange(6)
        if what == 0:
            key = self.random.choice((None, "mg-no-such-key", "x" * 300, faults.SECRET))
        data = json.dumps(body).encode()
        if what == 1:
            data = self.random.choice((b"{", b"[]", b"null", b'"x"', data[:-3], b"\xff\xfe", b""))
        elif what == 2:
            body["messages"] = self.random.choice((None, [], "x", [{}], [{"role": "king"}]))
            data = json.dumps(body).encode()
        elif what == 3:
            body["model"] = self.random.choice(("none", "", 5, "../" * 100))
            data = json.dumps(body).encode()
        elif what == 4:
            path = self.random.choice(("/v1/nothing", "/v1/chat", "//", "/%00"))
        elif what == 5:
            data = b"[" * 5000
        await self.send(self.request("POST", path, data, key))
        await self.reply()

    async def other(self):
        path = self.random.choice(("/v1/models", "/healthz", "/readyz", "/metrics",
                                   "/openapi.json"))
        await self.send(self.request("GET", path, key=self.soak.key))
        await self.reply()

    async def half(self):
        """Less than a request's head: nothing that the books know."""
        self.hang_up()
        await self.connect()
        data = self.chat_request()
        end = data.index(b"\r\n\r\n")
        self.writer.write(data[:self.random.randint(1, end)])
        await self.writer.drain()
        await asyncio.sleep(self.random.choice((0, 0.1, 0.5)))
        raise Left


# --- the run ---

class Soak:
    def __init__(self, a, folder):
        self.a, self.folder, self.seed = a, folder, a.seed
        self.over, self.sent, self.unsure, self.turn = False, 0, 0, 0
        self.traces, self.wrongs = collections.Counter(), collections.Counter()
        self.random = random.Random(a.seed)
        self.servers = [faults.Server(random.Random(f"{a.seed}-{i}")) for i in range(3)]
        self.rss, self.log_at, self.ends = [], 0, collections.Counter()
        self.lines, self.log_traces, self.tokens = 0, collections.Counter(), [0, 0]
        with open(a.program, "rb") as f:
            self.sanitized = b"__asan_init" in f.read()

    def wrong(self, text):
        if not self.wrongs[text[:60]]:
            print(f"! {text}", flush=True)
        self.wrongs[text[:60]] += 1

    def write_configuration(self):
        path = f"{self.folder}/moongate.yaml"
        with open(path + ".new", "w", encoding="ascii") as f:
            f.write(configuration(self.servers, self.turn))
        os.rename(path + ".new", path)
        return path

    def start(self):
        data = f"{self.folder}/data"
        os.mkdir(data, 0o700)
        os.environ["SOAK_KEY"] = faults.SECRET
        if self.sanitized:
            os.environ.setdefault("ASAN_OPTIONS", "quarantine_size_mb=4")
        self.key = processes.command([self.a.program, "key", "create", "--data", data,
                                      "--name", "soak"], 60).strip()
        self.log = f"{self.folder}/log"
        self.server = processes.Moongate(
            self.a.program, ["--data", data, "--config", self.write_configuration()],
            log=self.log)
        self.pid, self.port = self.server.pid, self.server.port

    def read_log(self):
        """What came since the last time, whole lines only."""
        with open(self.log, "rb") as f:
            f.seek(self.log_at)
            data = f.read()
        data = data[:data.rfind(b"\n") + 1]
        self.log_at += len(data)
        if faults.SECRET.encode() in data or self.key.encode() in data:
            self.wrong("a key is in the log")
        for line in data.splitlines():
            if b"AddressSanitizer" in line or b"runtime error" in line or b"LeakSan" in line:
                self.wrong(f"the sanitizer: {line.decode(errors='replace')}")
            if line.startswith(b"{") and b'"event":"call"' in line:
                self.read_call(json.loads(line))

    def read_call(self, call):
        self.lines += 1
        self.log_traces[call["trace_id"]] += 1
        self.ends[call["end"] if call["status"] < 400 or call["end"] != "ok"
                  else str(call["status"])] += 1
        if call["route"] in ("chat", "kimi_chat"):
            self.tokens[0] += call.get("prompt_tokens", 0)
            self.tokens[1] += call.get("completion_tokens", 0)

    def descriptors(self):
        """What is open, and how many connections to upstreams beside that."""
        ports, of = {f"{s.port:04X}" for s in self.servers}, {}
        with open("/proc/net/tcp", encoding="ascii") as f:
            for fields in (line.split() for line in list(f)[1:]):
                of[f"socket:[{fields[9]}]"] = fields[2].split(":")[1], fields[3]
        own, pooled = [], 0
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                name = os.readlink(f"/proc/{self.pid}/fd/{fd}")
            except OSError:
                continue
            port, state = of.get(name, (None, ""))
            if port in ports:
                pooled += 1
            else:
                own.append(f"a connection in state {state}" if port else name)
        return sorted(own), pooled

    async def metrics(self):
        """The values of /metrics. The request itself is sent and counted like any other."""
        c = Client(self, "metrics")
        await c.send(c.request("GET", "/metrics"))
        _, length = await c.read_head()
        text = (await c.reader.readexactly(length)).decode()
        c.hang_up()
        return {m[1]: float(m[2]) for m in re.finditer(r"^([^#\s]\S*) (\S+)$", text, re.M)}

    async def warm_up(self):
        """One good call of each model: what is opened at the first use is not a leak."""
        for s in self.servers:
            s.mood = ("good", 0, 0)
        for model in (*MODELS, "mixed"):
            c, body = Client(self, model), {"model": model, "messages": [
                {"role": "user", "content": "hello"}]}
            await c.send(c.request("POST", "/v1/chat/completions", json.dumps(body).encode(),
                                   self.key))
            await c.reply()
            c.hang_up()
        await self.metrics()
        await asyncio.sleep(0.5)

    async def change(self):
        """Moods of the servers, and the configuration."""
        while not self.over:
            await asyncio.sleep(self.random.uniform(1, 4))
            if self.over:
                return
            await self.random.choice(self.servers).change_mood()
            if self.random.random() < 0.15:
                self.turn += 1
                self.write_configuration()
                os.kill(self.pid, signal.SIGHUP)

    async def watch(self):
        began = last = time.monotonic()
        while not self.over:
            await asyncio.sleep(0.5)
            now = processes.memory(self.pid)
            if "VmRSS" not in now: # the memory of a process that ended is gone
                raise processes.Broken("moongate ended in the middle of the run")
            self.rss.append(now["VmRSS"])
            if time.monotonic() - last >= 5:
                last = time.monotonic()
                self.read_log()
                self.tell(last - began)

    def tell(self, seconds):
        own, pooled = self.descriptors()
        ends = " ".join(f"{n} {k}" for k, n in self.ends.most_common(8))
        moods = "/".join(s.mood[0] for s in self.servers)
        print(f"{seconds:5.0f} s  calls {self.sent} ({self.sent / seconds:.0f}/s)  "
              f"RSS {self.rss[-1] / 1e6:.1f} MB  fds {len(own)}+{pooled}  {moods}  {ends}", flush=True)

    async def run(self):
        for s in self.servers:
            await s.listen()
        self.start()
        await self.warm_up()
        self.idle_descriptors, _ = self.descriptors()
        clients = [asyncio.create_task(Client(self, i).live()) for i in range(self.a.clients)]
        tasks = [asyncio.create_task(self.change()), asyncio.create_task(self.watch())]
        await asyncio.wait(tasks, timeout=self.a.seconds, return_when=asyncio.FIRST_EXCEPTION)
        self.over = True
        await asyncio.gather(*clients, *tasks)
        for s in self.servers:
            await s.change_mood(faults.MOODS[0])
        return await self.settle()

    async def settle(self):
        """Waits until all is quiet, then looks at the books. No check may be left out."""
        end = time.monotonic() + 20
        running = 1
        while running and time.monotonic() < end:
            await asyncio.sleep(0.5)
            values = await self.metrics()
            running = values["moongate_calls_running"]
        await asyncio.sleep(1)
        values = await self.metrics() # knows all but itself
        await asyncio.sleep(0.5)
        self.read_log()
        own, pooled = self.descriptors()
        held = processes.memory(self.pid)["VmRSS"]
        code = await asyncio.to_thread(self.stop)
        self.read_log()
        return self.checks(values, running, own, pooled, held, code)

    def stop(self):
        os.kill(self.pid, signal.SIGTERM)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                processes.forget(self.pid)
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        processes.stop(self.pid)
        return None

    def new(self, own):
        more = collections.Counter(own) - collections.Counter(self.idle_descriptors)
        return f"; new: {', '.join(more.elements())}" if more else ""

    def checks(self, values, running, own, pooled, held, code):
        counted = sum(v for k, v in values.items() if k.startswith("moongate_requests_total"))
        tokens = [values.get(f'moongate_tokens_total{{kind="{k}"}}', 0)
                  for k in ("prompt", "completion")]
        fifth = max(1, len(self.rss) // 5)
        early = sum(self.rss[fifth:2 * fifth]) / fifth
        late = sum(self.rss[-fifth:]) / fifth
        most = early * (1 + FIFTH_PERCENT / 100) + FIFTH_BYTES * (8 if self.sanitized else 1)
        lost = [t for t in self.traces if self.log_traces[t] != 1]
        twice = [t for t, n in self.log_traces.items() if n != 1]
        return (
            (late <= most, f"memory is flat: {early / 1e6:.1f} MB in the second fifth, "
             f"{late / 1e6:.1f} MB in the last (at most {most / 1e6:.1f}), {held / 1e6:.1f} at "
             "the end"),
            (len(own) == len(self.idle_descriptors), f"descriptors: "
             f"{len(self.idle_descriptors)} before, {len(own)} after{self.new(own)}"),
            (pooled <= POOLED, f"connections kept to upstreams: {pooled} (at most {POOLED})"),
            (running == 0, f"calls running: {running:.0f}"),
            (all(values[k] == 0 for k in values if k.startswith("moongate_backend_running")),
             "no backend is left with a call"),
            (self.sent - self.unsure <= self.lines <= self.sent, f"lines in the log: "
             f"{self.lines}, requests sent: {self.sent}, {self.unsure} of them with a reset "
             "behind them that may have been faster"),
            (counted + 1 == self.lines, f"requests in the metrics: {counted:.0f} and the last "
             f"look, lines in the log: {self.lines}"),
            (not lost and not twice, f"trace ids that clients saw: {len(self.traces)}, not once "
             f"in the log: {len(lost)}; twice in the log: {len(twice)}"),
            (tokens == self.tokens, f"tokens of prompts and replies: {self.tokens} in the log, "
             f"{[int(t) for t in tokens]} in the metrics"),
            (not any(s.strange for s in self.servers), "each request to an upstream had its key"),
            (not self.wrongs, f"wrong replies and words: {sum(self.wrongs.values())}"),
            (code == 0, f"the program ended with {code}"),
        )


def main():
    a = arguments()
    a.program = os.path.abspath(a.program)
    processes.kill_all_on_exit()
    folder = tempfile.mkdtemp(prefix="moongate-soak-")
    print(f"soak of {a.seconds} s, {a.clients} clients, seed {a.seed}", flush=True)
    good, soak = False, Soak(a, folder)
    try:
        checks = asyncio.run(soak.run())
        good = all(ok for ok, _ in checks)
        print(f"ends: {dict(soak.ends.most_common())}")
        for ok, text in checks:
            print(f"{'good' if ok else 'WRONG':6}{text}")
        for text, n in soak.wrongs.items():
            print(f"! {n} times: {text}")
    except processes.Broken as e:
        print(f"! {e}")
    finally:
        processes.kill_all()
        if a.keep or not good:
            print(f"the log is in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print("soak: good" if good else "soak: FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
