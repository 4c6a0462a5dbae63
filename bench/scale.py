"""Many accounts and many calls: start, memory, size, the usage page's questions and the proof, on
SQLite and PostgreSQL. bench_fill makes the books as if a month had gone by."""

import http.client
import json
import os
import threading
import time

import ledger
import postgres
import processes
import prompts
from processes import Broken, Moongate, Upstream
from report import median, number

MB = 1e6
ACCOUNTS, CALLS, DAYS, KEYS = 100_000, 1_000_000, 30, 1000
QUICK_ACCOUNTS, QUICK_CALLS = 10_000, 100_000
GOAL_RSS_MB, GOAL_PAGE_MS, GOAL_SUMS_MS = 40, 20, 200
WHO = {"many": "the account with the most calls", "few": "an account with few calls",
       "all": "an administrator, who sees all"}


def fill(b, url, folder, accounts, calls):
    """How long it took, tokens of an account with many calls and of one with few; and the keys of
    some accounts."""
    out = processes.command([b.fill, url, f"accounts={accounts}", f"calls={calls}",
                             f"days={DAYS}", f"keys={folder}/keys", f"count={KEYS}"], 900)
    with open(f"{folder}/keys", encoding="ascii") as f:
        return json.loads(out), f.read().split()


class Resident:
    """The most RSS of a process while something runs: the peak of /proc is over its whole life."""

    def __init__(self, pid):
        self.pid, self.most, self.over = pid, 0, threading.Event()
        self.thread = threading.Thread(target=self._look)

    def _look(self):
        while not self.over.wait(0.005):
            self.most = max(self.most, processes.memory(self.pid)["VmRSS"])

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def call_all(b, server, keys):
    """One call of each key, 16 at once: calls a second and the p99."""
    file = b.file("scale", [prompts.chat_request(key, f"call-{i} {prompts.text(i, 20)}",
                                                 model=ledger.PRICED, max_tokens=200)
                            for i, key in enumerate(keys)])
    _, run = processes.streams(b.streams, "calls", server, file, connections=16, count=len(keys))
    return run


def starts(b, options, log):
    """Milliseconds of some starts to listening. The one before them is not counted: it makes the
    first administrator."""
    took = []
    for _ in range(6):
        with Moongate(b.program, options, log=log) as server:
            took.append((time.perf_counter_ns() // 1000 - server.started_us) / 1000)
    return took[1:]


def memory_rows(b, table, server, keys):
    time.sleep(1) # the start hashes a password beside, which takes memory for a moment
    idle = processes.memory(server.pid)
    with Resident(server.pid) as during:
        run = call_all(b, server, keys)
    ledger.drain([server], keys[0])
    after = processes.memory(server.pid)
    b.report.goal(table, "RSS after the start", idle["VmRSS"] / MB, "MB", GOAL_RSS_MB,
                  f"anonymous {idle['RssAnon'] / MB:.1f}, of files {idle['RssFile'] / MB:.1f}")
    b.report.goal(table, f"RSS after {len(keys):,} calls of as many keys", after["VmRSS"] / MB,
                  "MB", GOAL_RSS_MB,
                  f"anonymous {after['RssAnon'] / MB:.1f}; most during them "
                  f"{during.most / MB:.1f}; {number(run['good'] * 1e6 / run['wall_us'])} calls/s, "
                  f"p99 {number(run['total_p99_us'] / 1000)} ms")


def database_size(url, server, name):
    if url.startswith("sqlite:"):
        path = url.removeprefix("sqlite:")
        return sum(os.path.getsize(path + tail) for tail in ("", "-wal")
                   if os.path.exists(path + tail))
    return int(server.ask(name, f"SELECT pg_database_size('{name}')"))


def ask(connection, token, path):
    """Milliseconds until the whole answer is here, and it."""
    began = time.perf_counter_ns()
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    reply = connection.getresponse()
    text = reply.read()
    ms = (time.perf_counter_ns() - began) / 1e6
    if reply.status != 200:
        raise Broken(f"{path}: {reply.status}: {text[:300]!r}")
    return ms, json.loads(text)


def routes(b, table, server, tokens, calls, repeat):
    """The usage page's requests over HTTP, as its owner sees them."""
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    since = time.strftime("created_at_from=%Y-%m-%d", time.gmtime(time.time() - DAYS * 86400))
    for who in ("many", "few"):
        deep = calls // 10 * 9 // 10 if who == "many" else 5
        _, page = ask(c, tokens[who], "/api/v1/usage/apis?limit=50")
        trace = page["items"][-1]["trace_id"]
        for what, path in (("a page of 50", "?limit=50"),
                           ("a deep page of 50", f"?limit=50&offset={deep}"),
                           ("one call by trace id", f"?trace_id={trace}"),
                           ("30 days by day", f"/aggregate?by=day&{since}"),
                           ("30 days by model", f"/aggregate?by=model&{since}"),
                           ("30 days by key", f"/aggregate?by=key&{since}")):
            ms = [ask(c, tokens[who], "/api/v1/usage/apis" + path)[0] for _ in range(repeat)]
            b.report.goal(table, f"GET, {what}: {WHO[who]} ({page['count']:,})", median(ms), "ms",
                          GOAL_SUMS_MS if "days" in what else GOAL_PAGE_MS,
                          f"longest {number(max(ms))} ms of {repeat}")
    c.close()


def questions(b, table, url, repeat):
    out = processes.command([b.store, "read", url, f"repeat={repeat}"], 900)
    for r in map(json.loads, out.splitlines()):
        figure = f"{r['what']}: {WHO[r['who']]} ({r['calls']:,})"
        detail = f"{r['rows']} rows; longest {number(r['longest_us'] / 1000)} ms of {repeat}"
        ms = r["median_us"] / 1000
        goal = GOAL_SUMS_MS if "days" in r["what"] else GOAL_PAGE_MS
        b.report.goal(table, figure, ms, "ms", goal, detail)


def one_store(b, kind, url, mock, server, name):
    accounts, calls = (QUICK_ACCOUNTS, QUICK_CALLS) if b.quick else (ACCOUNTS, CALLS)
    folder = f"{b.folder}/scale-{kind}"
    table = f"{accounts:,} accounts, {calls:,} calls of {DAYS} days, {kind}"
    made, keys = fill(b, url, folder, accounts, calls)
    b.report.row(table, "making them", made["fill_us"] / 1e6, "s", "in bulk, by SQL")
    b.report.row(table, "size of the database", database_size(url, server, name) / MB, "MB",
                 "with its log" if kind == "SQLite" else "without its log")
    with open(f"{folder}/moongate.yaml", "w", encoding="ascii") as f:
        f.write(ledger.configuration(mock.port, "strict", url))
    options = ["--config", f"{folder}/moongate.yaml", "--data", folder]
    ms = starts(b, options, f"{folder}/log")
    b.report.row(table, "start to listening", median(ms), "ms",
                 f"{number(min(ms))} to {number(max(ms))}")
    with Moongate(b.program, options, log=f"{folder}/log") as running:
        memory_rows(b, table, running, keys)
        routes(b, table, running, made, calls, 5 if b.quick else 20)
    questions(b, table, url, 5 if b.quick else 20)
    proof = json.loads(processes.command([b.store, "verify", url], 900))
    b.report.row(table, "the proof of all books", proof["verify_us"] / 1e6, "s",
                 f"{proof['rows']:,} calls, {proof['applications']:,} applications, "
                 f"{proof['wrong']} findings", "goal: no finding",
                 "met" if proof["wrong"] == 0 and proof["rows"] == calls + len(keys) + 1
                 else "MISSED")


def scale(b):
    with Upstream(b.upstream) as mock:
        os.makedirs(f"{b.folder}/scale-SQLite", mode=0o700)
        one_store(b, "SQLite", f"sqlite:{b.folder}/scale-SQLite/moongate.db", mock, None, "")
        if not postgres.programs():
            b.report.note("PostgreSQL 15 or newer is not installed: SQLite stands alone")
            return
        with postgres.Postgres(b.folder) as server:
            os.makedirs(f"{b.folder}/scale-PostgreSQL", mode=0o700)
            one_store(b, "PostgreSQL", server.database("scale"), mock, server, "scale")


ALL = {"scale": scale}
