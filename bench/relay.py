"""The relay: moongate in front of a mock upstream, beside nginx's proxy_pass and the direct
connection in the same run, in an order drawn anew each round.

moongate runs as it would for a user: keys, JSON checks, metering, metrics and a line in the log
for each call. nginx reads nothing; it stands there without and with an access log.
"""

import http.client
import os
import random
import re
import shutil
import socket
import time

import processes
import prompts
from processes import Broken, Nginx, Upstream, behind, proxying
from report import median, number, percentile

MB, KB = 1e6, 1e3
PROXY, LOAD = 0, -1 # cores: what is measured on the first, the load and the mock on the last
WHOLE = "whole-b1200-d0"
SMALL, FRAMES = "whole-b500-d0", "stream-n31-g0-t16" # the shape of GoModel's comparison
EVENTS = "stream-n1000000-g20000-t16"   # 50 a second
SLOW = "stream-n1000000-g1000000-t16"   # one a second
OPEN = "stream-n1000000-g50000-t16"
LEAVE = "stream-n1000-g10000-t16"
CUT = "stream-n20-g1000-t16-c5"
SHAPES = (WHOLE, SMALL, FRAMES, EVENTS, SLOW, OPEN, LEAVE, CUT)
RATE = 2000

GOAL_REQUEST, GOAL_EVENT, NOW_EVENT = 2, 1, 1.3 # times nginx
GOAL_STREAM_KB, GOAL_GAP_MS = 40, 5


class Direct:
    """The mock itself, as if it were a proxy."""

    def __init__(self, upstream):
        self.port, self.pid = upstream.port, upstream.pid


class Yard:
    """The mock and what stands in front of it, until the end of the block."""

    def __init__(self, b, names, streams=128, pin=True):
        self.b, self.names, self.connections = b, names, 2 * streams + 64
        self.proxy_core, self.load_core = (PROXY, LOAD) if pin else (None, None)
        self.targets, self.mock = {}, None

    def __enter__(self):
        self.mock = Upstream(self.b.upstream, self.load_core)
        try:
            for name in self.names:
                self.targets[name] = self.start(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for target in self.targets.values():
            if not isinstance(target, Direct):
                target.__exit__()
        self.mock.__exit__()

    def start(self, name):
        if name == "direct":
            return Direct(self.mock)
        folder = f"{self.b.folder}/{name.replace(' ', '-')}"
        if name != "moongate":
            return Nginx(folder, proxying(), self.connections, self.proxy_core,
                         behind(self.mock.port), name.endswith("log"))
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/moongate.yaml", "w", encoding="ascii") as f:
            f.write(configuration(self.mock.port))
        return self.b.serve(self.proxy_core, ["--config", f"{folder}/moongate.yaml"],
                            f"{folder}/log")

    def shuffled(self):
        return random.sample(list(self.targets.items()), len(self.targets))


def configuration(port):
    """moongate's: the mock is the only backend, and each shape a model."""
    rows = "".join(f"  - id: {shape}\n    backend: mock\n" for shape in SHAPES)
    return (f"models:\n{rows}backends:\n  - name: mock\n    kind: openai\n"
            f"    url: http://127.0.0.1:{port}\n")


def with_nginx(b, *names):
    """The names, without nginx's where it is not installed."""
    if shutil.which("nginx"):
        return names
    if not getattr(b, "told", False):
        b.report.note("nginx is not installed: the relay stands beside nothing")
        b.told = True
    return tuple(n for n in names if not n.startswith("nginx"))


def plan(b, shape, count=64, words=100):
    """A file of so many different requests for a shape."""
    stream = {"stream": True} if shape.startswith("stream") else {}
    return b.file(shape, [prompts.chat_request(b.key, f"call-{i} {prompts.text(i, words)}",
                                               model=shape, **stream) for i in range(count)])


def column(runs, figure):
    """The median over the rounds of each target's figure."""
    return {name: median([figure(r) for r in rows]) for name, rows in runs.items()}


def spread(rows, figure):
    values = [figure(r) for r in rows]
    return f"{number(min(values))} to {number(max(values))}"


def others(figures, unit, skip=("moongate", "nginx")):
    return ", ".join(f"{name} {number(v)} {unit}" for name, v in figures.items()
                     if name not in skip)


# --- whole replies: CPU, rate, latency ---

def one_round(b, target, body, file):
    """Full speed over 64 connections and over one, then a fixed rate."""
    seconds, run = (1 if b.quick else 3), {}
    for c in (64, 1):
        before = processes.cpu_us(target.pid)
        r = processes.wrk(b.script, target.port, "/v1/chat/completions", c, seconds,
                          ["POST", b.key, body], LOAD)
        if r["status_errors"]:
            raise Broken(f"{r['status_errors']} of {r['requests']} were no 200")
        run[c] = {"cpu_us": (processes.cpu_us(target.pid) - before) / r["requests"],
                  "second": r["requests"] * 1e6 / r["duration_us"], **r}
    _, run["rate"] = processes.streams(b.streams, "rate", target, file, LOAD, connections=64,
                                       rate=RATE, seconds=seconds)
    return run


def relay(b):
    if not shutil.which("wrk"):
        b.report.note("wrk is not installed: the relay's CPU of a request is left out")
        return
    request = prompts.chat(prompts.text("relay", 130), model=WHOLE)
    body, file = f"{b.folder}/relay.json", plan(b, WHOLE)
    with open(body, "wb") as f:
        f.write(request)
    with Yard(b, with_nginx(b, "direct", "nginx", "nginx with log", "moongate")) as yard:
        runs = {name: [] for name in yard.targets}
        for _ in range(1 if b.quick else 3):
            for name, target in yard.shuffled():
                runs[name].append(one_round(b, target, body, file))
    b.report.raw["relay"] = runs
    table = (f"Relay of a whole reply (request {len(request):,} bytes, reply "
             f"{int(WHOLE[7:].partition('-')[0]):,})")
    for c in (64, 1):
        cost = column(runs, lambda r, c=c: r[c]["cpu_us"])
        figure = f"CPU of a request, {c} connection" + "s" * (c > 1)
        detail = (f"{spread(runs['moongate'], lambda r, c=c: r[c]['cpu_us'])}; "
                  + others(cost, "µs", ("moongate", "nginx", "direct")))
        b.report.within(table, figure, cost["moongate"], "µs", "nginx", cost.get("nginx"),
                        GOAL_REQUEST, detail=detail)
    second = column(runs, lambda r: r[64]["second"])
    b.report.against(table, "requests a second, 64 connections", second["moongate"], "/s",
                     "nginx", second.get("nginx"), others(second, "/s"))
    for p in ("p50", "p99"):
        at = column(runs, lambda r, p=p: r["rate"][f"total_{p}_us"])
        added = {n: v - at["direct"] for n, v in at.items()}
        del added["direct"]
        b.report.row(table, f"added {p} at {RATE:,} requests/s", added["moongate"], "µs",
                     f"{spread(runs['moongate'], lambda r, p=p: r['rate'][f'total_{p}_us'])} in "
                     f"all; direct {number(at['direct'])} µs", others(added, "µs", ("moongate",)))


# --- streams: CPU of an event, gaps, memory ---

def hold(b, target, file, count, **arguments):
    """So many open streams: what bench_streams says of them, and RSS before and with them."""
    before, during = processes.memory(target.pid)["VmRSS"], []

    def look():
        time.sleep(0.5)
        during.append(processes.memory(target.pid)["VmRSS"])

    _, run = processes.streams(b.streams, "hold", target, file, LOAD, look, connections=count,
                               **arguments)
    run["each"] = (during[0] - before) / count
    run["event_us"] = run["cpu_us"] / max(1, run["events"])
    return run


def nominal_ms(shape):
    """The gap that a stream's name asks for."""
    return int(re.search(r"-g(\d+)", shape)[1]) / 1000


def steady(b, count, runs, shape):
    """Whether load, mock and proxies kept time. Where they did not, events go in bunches, which
    costs less and says nothing of a goal."""
    gap = nominal_ms(shape)
    late = column(runs, lambda r: r["gap_p99_us"] / 1000)["direct"]
    middle = column(runs, lambda r: r["gap_p50_us"] / 1000)
    bad = [name for name, ms in middle.items() if abs(ms - gap) > gap / 4]
    if late <= 1.5 * gap and not bad:
        return True
    b.report.note(f"{count:,} streams: no steady events ({', '.join(bad) or 'direct'}; p99 of the "
                  f"gap {number(late)} ms without a proxy): the machine was busy or a core full, "
                  "and their CPU and gaps mean nothing")
    return False


def event_rows(b, table, count, runs):
    cost = column(runs, lambda r: r["event_us"])
    rate = column(runs, lambda r: r["events"] * 1e6 / r["wall_us"])
    used = column(runs, lambda r: r["cpu_us"] / r["wall_us"])
    b.report.within(table, f"CPU of an event, {count:,} streams", cost["moongate"], "µs", "nginx",
                    cost.get("nginx"), GOAL_EVENT, NOW_EVENT,
                    f"{spread(runs['moongate'], lambda r: r['event_us'])}; "
                    f"{number(rate['moongate'])} events/s, {used['moongate']:.0%} of a core")


def gap_rows(b, table, count, runs):
    for p in ("p50", "p99"):
        gap = column(runs, lambda r, p=p: r[f"gap_{p}_us"] / 1000)
        added = {n: v - gap["direct"] for n, v in gap.items()}
        detail = (f"direct {number(gap['direct'])} ms"
                  + (f", nginx added {number(added['nginx'])}" if "nginx" in added else ""))
        figure = f"added to the {p} of the gap, {count:,} streams"
        if p == "p99":
            b.report.goal(table, figure, added["moongate"], "ms", GOAL_GAP_MS, detail)
        else:
            b.report.row(table, figure, added["moongate"], "ms", detail)


def memory_row(b, table, count, runs):
    each = column(runs, lambda r: r["each"] / KB)
    detail = f"growth of RSS; nginx {number(each['nginx'])} KB" if "nginx" in each else ""
    b.report.goal(table, f"memory of a stream, {count:,} open", each["moongate"], "KB",
                  GOAL_STREAM_KB, detail)


def streams_possible(b, wanted):
    """A proxy needs two descriptors a stream."""
    hard = b.descriptors()
    if hard < 2 * wanted + 512:
        b.report.note(f"{(hard - 512) // 2} streams instead of {wanted}: the limit of files is "
                      f"{hard}")
        return (hard - 512) // 2
    return wanted


def events(b):
    table, file = "Relay of streams, 50 events a second each", plan(b, EVENTS)
    names = with_nginx(b, "direct", "nginx", "moongate")
    for count in (200,) if b.quick else (500, 1000):
        runs = {name: [] for name in names}
        with Yard(b, names, count) as yard:
            for _ in range(1 if b.quick else 3):
                for name, target in yard.shuffled():
                    runs[name].append(hold(b, target, file, count, ramp_ms=500,
                                           seconds=1 if b.quick else 4))
        b.report.raw[f"events_{count}"] = runs
        if steady(b, count, runs, EVENTS):
            event_rows(b, table, count, runs)
            gap_rows(b, table, count, runs)
    count = streams_possible(b, 1000 if b.quick else 5000)
    with Yard(b, names[1:], count) as yard:
        runs = {name: [hold(b, target, plan(b, SLOW), count, ramp_ms=count, seconds=1)]
                for name, target in yard.shuffled()}
    b.report.raw["memory_of_streams"] = runs
    memory_row(b, table, count, runs)


def many(b):
    """Thousands of open streams with short gaps."""
    count = streams_possible(b, 500 if b.quick else 2000)
    names = with_nginx(b, "direct", "nginx", "moongate")
    table, file = f"{count:,} open streams, an event every 50 ms in each", plan(b, OPEN)
    with Yard(b, names, count) as yard:
        runs = {name: [hold(b, target, file, count, ramp_ms=1000, seconds=1 if b.quick else 4)]
                for name, target in yard.shuffled()}
    b.report.raw["many"] = runs
    if steady(b, count, runs, OPEN):
        event_rows(b, table, count, runs)
        gap_rows(b, table, count, runs)
    memory_row(b, table, count, runs)


# --- the shape of GoModel's published comparison ---

def first_200(b, target):
    """Microseconds from a start to the first good chat answer."""
    body, end = prompts.chat("Hello", model=SMALL), time.monotonic() + 10
    while time.monotonic() < end:
        c = http.client.HTTPConnection("127.0.0.1", target.port, timeout=10)
        try:
            c.request("POST", "/v1/chat/completions", body,
                      {"Authorization": f"Bearer {b.key}", "Content-Type": "application/json"})
            if c.getresponse().status == 200:
                return time.perf_counter_ns() // 1000 - target.started_us
        except OSError:
            pass
        finally:
            c.close()
        time.sleep(0.002)
    raise Broken("no 200 within ten seconds of the start")


def trial(b, name, sweep):
    """One contestant alone with the mock, on all cores."""
    count = 1000 if b.quick else 8000
    small, frames = plan(b, SMALL, words=10), plan(b, FRAMES, words=10)
    run = {}
    with Yard(b, (name,), pin=False) as yard:
        target = yard.targets[name]
        if name != "direct":
            run["start_ms"] = first_200(b, target) / 1000
        for file, events_each, warm in ((small, 0, 200), (frames, 31, 50)):
            processes.streams(b.streams, "calls", target, file, connections=10, count=warm,
                              events=events_each)
        _, run["whole"] = processes.streams(b.streams, "calls", target, small, connections=10,
                                            count=count, seconds=10)
        _, run["stream"] = processes.streams(b.streams, "calls", target, frames, connections=10,
                                             count=count, seconds=10, events=31)
        for c in sweep:
            _, r = processes.streams(b.streams, "calls", target, small, connections=c,
                                     seconds=1 if b.quick else 8)
            run[f"second_{c}"] = r["good"] * 1e6 / r["wall_us"]
        run["peak"] = processes.memory(target.pid)["VmHWM"]
    return run


def gomodel(b):
    names = with_nginx(b, "direct", "nginx", "moongate")
    runs = {name: [] for name in names}
    for i in range(1 if b.quick else 2):
        for name in random.sample(names, len(names)):
            runs[name].append(trial(b, name, () if i else (1, 16, 128)))
    b.report.raw["gomodel"] = runs
    table = "The shape of GoModel's comparison: 34 frames at once, 10 connections, all cores"

    def row(figure, unit, value, of=slice(None)):
        at = column({n: r[of] for n, r in runs.items()}, value)
        b.report.against(table, figure, at["moongate"], unit, "nginx", at.get("nginx"),
                         others(at, unit))

    for what, key in (("chat", "whole"), ("stream", "stream")):
        for p in ("p50", "p99"):
            if key == "stream":
                row(f"stream, time to the first token, {p}", "ms",
                    lambda r, p=p: r["stream"][f"first_{p}_us"] / 1000)
            row(f"{what}, whole, {p}", "ms", lambda r, k=key, p=p: r[k][f"total_{p}_us"] / 1000)
    for c in (1, 16, 128):
        row(f"chats a second, {c} connection" + "s" * (c > 1), "/s",
            lambda r, c=c: r[f"second_{c}"], slice(1))
    row("peak RSS", "MB", lambda r: r["peak"] / MB)
    del runs["direct"]
    row("start to the first 200 of a chat", "ms", lambda r: r["start_ms"])


# --- clients that leave, upstreams that break off ---

def books(log, count):
    """Completion tokens of the calls whose client left, by the log, once all are there."""
    end = time.monotonic() + 5
    while True:
        with open(log, encoding="utf-8", errors="replace") as f:
            gone = [line for line in f if "end=client_gone" in line]
        if len(gone) >= count or time.monotonic() > end:
            return len(gone), sum(int(re.search(r"completion_tokens=(\d+)", line)[1])
                                  for line in gone)
        time.sleep(0.05)


def leave_once(b, yard, target, count, file):
    yard.mock.reset()
    rows, _ = processes.streams(b.streams, "leave", target, file, LOAD, connections=8,
                                count=count, close_at=20)
    time.sleep(0.5)
    seen = {call: (at_us, frames) for call, at_us, frames in yard.mock.stats()["closes"]}
    took = [seen[r["call"]][0] - r["closed_us"] for r in rows if r["call"] in seen]
    if not took:
        raise Broken("no client's leaving was seen upstream")
    return {"missed": len(rows) - len(took), "ms": [us / 1000 for us in took],
            "client": sum(r["events"] for r in rows),
            "upstream": sum(frames - 1 for _, frames in seen.values())}


def leave(b):
    count = 100 if b.quick else 400
    file = plan(b, LEAVE, count, 10)
    table = f"A client closes its stream: {count} times, after 1 to 20 events, one every 10 ms"
    with Yard(b, with_nginx(b, "direct", "nginx", "moongate")) as yard:
        runs = {name: leave_once(b, yard, target, count, file)
                for name, target in yard.shuffled()}
        lines, tokens = books(yard.targets["moongate"].log, count)
    b.report.raw["leave"] = runs
    ours, theirs = runs["moongate"], runs.get("nginx")
    for p in (50, 99):
        at = {n: percentile(r["ms"], p) for n, r in runs.items()}
        b.report.against(table, f"until the upstream sees it, p{p}", at["moongate"], "ms", "nginx",
                         at.get("nginx"), others(at, "ms"))
    b.report.goal(table, "until the upstream sees it, longest", max(ours["ms"]), "ms", 50,
                  theirs and f"nginx {number(max(theirs['ms']))} ms" or "")
    b.report.row(table, "not seen upstream", ours["missed"], "calls",
                 theirs and f"nginx {theirs['missed']}" or "")
    b.report.row(table, "events that clients took", ours["client"], "events",
                 f"the upstream sent {ours['upstream']:,}")
    b.report.row(table, "in our books", tokens, "tokens",
                 f"{lines} calls; estimated at 4 bytes a token, 4 tokens an event")


def ending(b, port):
    """What a client sees of a stream that its source cuts: the events, and the last of it."""
    text = b""
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.sendall(prompts.chat_request(b.key, "call-1", model=CUT, stream=True))
        s.settimeout(10)
        try:
            while b"\r\n0\r\n\r\n" not in text:
                piece = s.recv(65536)
                if not piece:
                    break
                text += piece
        except OSError:
            pass
    body = text.partition(b"\r\n\r\n")[2]
    count = len(re.findall(rb'"content":"\d', body))
    if b'"error"' in body and b"[DONE]" not in body:
        end = "an error event, no [DONE]"
    elif b"[DONE]" in body:
        end = "[DONE], as if it were whole"
    else:
        end = "silence, no error event"
    return count, end + ("" if b"\r\n0\r\n\r\n" in text else "; the connection breaks off")


def cut(b):
    table = "The upstream closes the connection behind 5 of 20 events: what the client sees"
    with Yard(b, with_nginx(b, "direct", "nginx", "moongate")) as yard:
        for name, target in yard.targets.items():
            count, end = ending(b, target.port)
            b.report.row(table, name, count, "events", end)


ALL = {"relay": relay, "events": events, "many": many, "gomodel": gomodel, "leave": leave,
       "cut": cut}
