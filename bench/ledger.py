"""The books: what hold and settlement cost a call, on SQLite and PostgreSQL, strict and relaxed,
and with two replicas on one database; and calls at once that a balance is not enough for.

moongate stands in front of the mock upstream. The baseline is a model without a price whose rows
nobody waits for. The baseline and the others take turns in one run, in an order drawn anew each
round; nothing is pinned: load, mock, moongate and database share all cores.
"""

import http.client
import json
import os
import random
import select
import socket
import threading
import time

import postgres
import processes
import prompts
from processes import Broken, Moongate, Upstream
from report import median, number

SHAPE, FREE, PRICED = "whole-b500-d0", "free", "priced"
CONNECTIONS = (1, 16, 128)
RATE = 300 # calls a second at planned times, for latency
PRICES = {"input": 1, "output": 2} # USD for a million tokens
ACCOUNTS, KEYS = 1000, 64 # there, and that call by turns
AT_ONCE = 200
GOAL_STRICT, GOAL_RELAXED = 0.5, 0.8 # of the baseline's rate


def configuration(port, durability, url=""):
    """moongate's: one upstream under two names, one of which has prices."""
    store = f"  url: {url}\n" if url else ""
    prices = "".join(f"    price_{k}: {v}\n" for k, v in PRICES.items())
    to = f"    backends:\n      - {{name: mock, model: {SHAPE}}}\n"
    return (f"store:\n  durability: {durability}\n{store}"
            f"backends:\n  - name: mock\n    kind: openai\n    url: http://127.0.0.1:{port}\n"
            f"models:\n  - id: {FREE}\n{to}  - id: {PRICED}\n{prices}{to}")


class Books:
    """moongate with a store of its own, or replicas of it on one database."""

    def __init__(self, b, name, mock, durability, url="", replicas=1):
        self.b, self.name, self.servers = b, name, []
        self.folder = f"{b.folder}/{name.replace(' ', '-')}"
        self.url = url or f"sqlite:{self.folder}/0/moongate.db"
        text = configuration(mock.port, durability, url)
        for i in range(replicas):
            os.makedirs(f"{self.folder}/{i}", mode=0o700)
        self.keys = self.fill()
        try:
            for i in range(replicas):
                data = f"{self.folder}/{i}"
                with open(f"{data}/moongate.yaml", "w", encoding="ascii") as f:
                    f.write(text)
                self.servers.append(Moongate(
                    b.program, ["--config", f"{data}/moongate.yaml", "--data", data],
                    log=f"{data}/log"))
        except BaseException:
            self.__exit__()
            raise

    def fill(self):
        """Accounts with a balance and a key each, and a few calls of yesterday."""
        file = f"{self.folder}/keys"
        processes.command([self.b.fill, self.url, f"accounts={ACCOUNTS}", "calls=1000", "days=1",
                           f"keys={file}", f"count={KEYS}"], 60)
        with open(file, encoding="ascii") as f:
            return f.read().split()

    def add_key(self, usd):
        return processes.command([self.b.program, "key", "create", "--store", self.url, "--quota",
                                  usd], 30).strip()

    def sums(self):
        """What the books say: granted, charged, held and balance of all, and what is wrong."""
        return json.loads(processes.command([self.b.store, "verify", self.url], 600))

    def plan(self, model):
        """A file of requests."""
        return self.b.file(f"{self.name.replace(' ', '-')}-{model}", [
            prompts.chat_request(key, f"call-{i} {prompts.text(i, 60)}", model=model,
                                 max_tokens=200) for i, key in enumerate(self.keys)])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.__exit__()


def drain(servers, key, most_s=120):
    """Waits until rows that nobody waits for are written, too: the store's writer keeps to the
    order, so a call that needs it comes behind them. How long that took, in seconds."""
    body, began = prompts.chat("the last one", model=PRICED, max_tokens=1), time.monotonic()
    waiting = list(servers)
    while waiting:
        c = http.client.HTTPConnection("127.0.0.1", waiting[0].port, timeout=60)
        try:
            c.request("POST", "/v1/chat/completions", body,
                      {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
            if c.getresponse().status == 200:
                waiting.pop(0)
        finally:
            c.close()
        if time.monotonic() > began + most_s:
            raise Broken(f"the store is not through with its work {most_s} s after the last call")
    return time.monotonic() - began


def load(books, file, mode, connections, **arguments):
    """A run of the load client, spread over the replicas: calls a second, with the time until all
    rows are written, and latencies."""
    runs, failures = [], []

    def one(server):
        try:
            runs.append(processes.streams(books.b.streams, mode, server, file,
                                          connections=max(1, connections // len(books.servers)),
                                          **arguments)[1])
        except (Broken, OSError) as e:
            failures.append(e)

    threads = [threading.Thread(target=one, args=(s,)) for s in books.servers]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise Broken(f"{books.name}: {failures[0]}")
    rest_us = drain(books.servers, books.keys[0]) * 1e6
    return {"second": sum(r["good"] * 1e6 / (r["wall_us"] + rest_us) for r in runs),
            "rest_ms": rest_us / 1000,
            "p50_ms": median([r["total_p50_us"] for r in runs]) / 1000,
            "p99_ms": max(r["total_p99_us"] for r in runs) / 1000, "runs": runs}


def one_round(books, file, quick):
    seconds, run = (1 if quick else 2), {}
    for c in CONNECTIONS:
        if c >= len(books.servers):
            run[c] = load(books, file, "calls", c, seconds=seconds)
    if len(books.servers) == 1:
        run["rate"] = load(books, file, "rate", 64, rate=RATE, seconds=seconds)
    return run


def measure(b, contestants):
    """Rounds over (name, books, model)."""
    runs = {name: [] for name, _, _ in contestants}
    files = {name: books.plan(model) for name, books, model in contestants}
    for name, books, _ in contestants: # the day's table, statements, connections
        load(books, files[name], "calls", 16, count=200)
    for _ in range(1 if b.quick else 3):
        for name, books, _ in random.sample(contestants, len(contestants)):
            runs[name].append(one_round(books, files[name], b.quick))
    return runs


def column(runs, key, figure):
    return {name: median([r[key][figure] for r in rows]) for name, rows in runs.items()
            if key in rows[0]}


def rate_rows(b, table, runs, base):
    """Rates, each beside the baseline's."""
    for c in CONNECTIONS:
        second, p50, p99, rest = (column(runs, c, f)
                                  for f in ("second", "p50_ms", "p99_ms", "rest_ms"))
        for name in second:
            values = [r[c]["second"] for r in runs[name]]
            detail = (f"{number(min(values))} to {number(max(values))}; p50 {number(p50[name])} "
                      f"ms, p99 {number(p99[name])} ms"
                      + (f"; rows written {number(rest[name])} ms later" if rest[name] > 100 else ""))
            figure = f"{name}, {c} connection" + "s" * (c > 1)
            if name == base:
                b.report.row(table, figure, second[name], "calls/s", detail)
                continue
            goal = GOAL_RELAXED if "relaxed" in name else GOAL_STRICT
            if c == 1 or "replicas" in name:
                b.report.against(table, figure, second[name], "calls/s", base, second[base],
                                 detail)
            else:
                b.report.at_least(table, figure, second[name], "calls/s", base, second[base], goal,
                                  detail)


def added_rows(b, table, runs, base):
    for p in ("p50", "p99"):
        at = column(runs, "rate", f"{p}_ms")
        for name, ms in at.items():
            if name != base:
                b.report.row(table, f"{name}: added {p} at {RATE} calls/s", ms - at[base], "ms",
                             f"{number(ms)} ms in all", f"{base}: {number(at[base])} ms in all")


def yardsticks(b, server):
    """What the disk, SQLite and PostgreSQL do alone."""
    seconds, table = (1 if b.quick else 3), "What this disk and the databases do alone"
    kind = postgres.file_system(b.folder)
    if kind in ("tmpfs", "ramfs", "overlay"):
        b.report.note(f"the bench's folder is on {kind}: what durability costs on a disk is not "
                      "seen; TMPDIR names another")
    b.report.row(table, "fdatasync of 4 KiB", postgres.syncs(b.folder, seconds), "/s", kind)
    b.report.row(table, "SQLite, commits of one UPDATE",
                 postgres.sqlite_updates(b.folder, seconds), "/s", "WAL, synchronous=FULL")
    if server:
        for c in (1, 16):
            b.report.row(table, f"PostgreSQL, commits of one UPDATE, {c} client" + "s" * (c > 1),
                         server.updates(c, seconds), "/s",
                         f"pgbench, each on its own row; {server.version()}")


# --- calls at once that a balance is not enough for ---

def statuses(books, requests):
    """Sends all at once, each over its own connection that is open before; how often which status
    came."""
    waiting, found, end = {}, {}, time.monotonic() + 60
    for i, request in enumerate(requests):
        port = books.servers[i % len(books.servers)].port
        s = socket.create_connection(("127.0.0.1", port), 60)
        waiting[s] = [request, b""]
    for s, (request, _) in waiting.items():
        s.sendall(request)
    while waiting:
        if time.monotonic() > end:
            raise Broken(f"{len(waiting)} of {len(requests)} calls are not answered after a minute")
        for s in select.select(list(waiting), [], [], 1)[0]:
            piece = s.recv(65536)
            waiting[s][1] += piece
            if piece and b"\r\n" not in waiting[s][1]:
                continue
            words = waiting.pop(s)[1].split(None, 2)
            status = words[1].decode() if len(words) > 1 else "no answer"
            found[status] = found.get(status, 0) + 1
            s.close()
    return found


def settled(books):
    """The sums once no call is held any more."""
    end = time.monotonic() + 30
    while True:
        sums = books.sums()
        if sums["holds"] == 0 or time.monotonic() > end:
            return sums
        time.sleep(0.1)


def overspend(b, books, table):
    """The shape "I": one balance for exactly one call, all at once; then for twenty."""
    before = settled(books)
    drain(books.servers, books.keys[0]) # one call of each replica
    after = settled(books)
    cost = (after["charged"] - before["charged"]) // len(books.servers)
    for enough in (1, 20):
        before = settled(books)
        micros = cost * enough
        key = books.add_key(f"{micros // 1000000}.{micros % 1000000:06}")
        found = statuses(books, [prompts.chat_request(
            key, f"call-{i} {prompts.text(i, 60)}", model=PRICED, max_tokens=200)
            for i in range(AT_ONCE)])
        after = settled(books)
        spent, rest = after["charged"] - before["charged"], micros
        good, right = found.get("200", 0), after["wrong"] == 0 and after["holds"] == 0
        exact = good == enough if enough == 1 else 1 <= good <= enough
        said = ", ".join(f"{n} x {status}" for status, n in sorted(found.items()))
        b.report.row(table, f"{books.name}: {AT_ONCE} at once, balance for {enough}", good,
                     "served", f"spent {spent:,} of {rest:,} micro-USD; {said}; books "
                     + ("agree" if right else f"DISAGREE: {after['wrong']} findings, "
                        f"{after['holds']} holds"),
                     "goal: never overspent" + (", one served" if enough == 1 else ""),
                     "met" if spent <= rest and exact and right else "MISSED")


# --- all ---

def stores(b, mock, server):
    """What is measured on one database kind after the other: (table, contestants, books)."""
    def books(name, durability, url="", replicas=1):
        return Books(b, name, mock, durability, url, replicas)

    yield "SQLite", lambda: [books("SQLite relaxed", "relaxed"), books("SQLite strict", "strict")]
    if server:
        yield "PostgreSQL", lambda: [
            books("PostgreSQL relaxed", "relaxed", server.database("relaxed")),
            books("PostgreSQL strict", "strict", server.database("strict")),
            books("two replicas strict", "strict", server.database("replicas"), 2),
            books("two replicas relaxed", "relaxed", server.database("loose"), 2)]


def one_store(b, kind, open_books):
    table, opened = f"Calls through hold and settlement, {kind}", open_books()
    try:
        base = "free, relaxed"
        contestants = [(base, opened[0], FREE), ("priced, relaxed", opened[0], PRICED),
                       ("priced, strict", opened[1], PRICED)]
        contestants += [(f"priced, {o.name}", o, PRICED) for o in opened[2:]]
        runs = measure(b, contestants)
        b.report.raw[f"ledger_{kind}"] = runs
        rate_rows(b, table, runs, base)
        added_rows(b, table, runs, base)
        for o in opened:
            if "strict" in o.name:
                overspend(b, o, "Calls at once that a balance is not enough for")
    finally:
        for o in opened:
            o.__exit__()


def ledger(b):
    server = None
    if postgres.programs():
        server = postgres.Postgres(b.folder)
    else:
        b.report.note("PostgreSQL 15 or newer is not installed: SQLite stands alone")
    try:
        yardsticks(b, server)
        with Upstream(b.upstream) as mock:
            for kind, open_books in stores(b, mock, server):
                one_store(b, kind, open_books)
    finally:
        if server:
            server.__exit__()


ALL = {"ledger": ledger}
