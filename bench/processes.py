"""Processes of the bench: moongate, nginx, wrk, the load client; what /proc says of them.

Every process that is started here is killed when the bench ends, however it ends.
"""

import atexit
import collections
import http.client
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

LISTENING = rb"listening on http://127\.0\.0\.1:(\d+)\n"
TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")

_running = set()


class Broken(Exception):
    """A measurement that could not be made; the text is for people."""


def kill_all():
    for pid in list(_running):
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        _running.discard(pid)


def kill_all_on_exit():
    atexit.register(kill_all)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda n, _: sys.exit(128 + n))


def cores():
    return sorted(os.sched_getaffinity(0))


def pinned(cpu, argv):
    """The command on one core; as it is where there is no core to choose."""
    if cpu is None or len(cores()) < 2 or not shutil.which("taskset"):
        return list(argv)
    return ["taskset", "-c", str(cores()[cpu]), *argv]


def stop(pid, seconds=5):
    """SIGTERM, and SIGKILL for what does not end by itself."""
    try:
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + seconds
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                break
            time.sleep(0.01)
    except (ProcessLookupError, ChildProcessError):
        pass
    _running.discard(pid)


def keep(pid):
    """A process that is started elsewhere ends with the bench, too."""
    _running.add(pid)


def forget(pid):
    """The process ended and was waited for elsewhere."""
    _running.discard(pid)


def cpu_us(pid):
    """Time on a processor of all threads so far, kernel's included."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_US


def memory(pid):
    """VmRSS, RssAnon, RssFile and VmHWM in bytes."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
        found = re.findall(r"^(VmRSS|RssAnon|RssFile|VmHWM):\s+(\d+) kB", f.read(), re.M)
    return {name: int(value) * 1024 for name, value in found}


class Moongate:
    """`moongate serve` on a free port, ready when it is made. With `log`, a file, its log goes
    there and costs nobody a reader."""

    def __init__(self, program, options, cpu=None, log=None):
        argv = pinned(cpu, [program, "serve", "--listen", "127.0.0.1:0", *options])
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MOONGATE_")}
        self.log = log
        if log:
            self._start_with_file(argv, environment)
        else:
            self._start_with_pipe(argv, environment)

    def _start_with_file(self, argv, environment):
        actions = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                   (os.POSIX_SPAWN_OPEN, 2, self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                    | os.O_APPEND, 0o600)]
        self.started_us = time.perf_counter_ns() // 1000
        self.pid = os.posix_spawnp(argv[0], argv, environment, file_actions=actions)
        _running.add(self.pid)
        end = time.monotonic() + 60
        while True:
            with open(self.log, "rb") as f:
                text = f.read()
            found = re.search(LISTENING, text)
            if found:
                self.port = int(found[1])
                return
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                _running.discard(self.pid)
                raise Broken(f"moongate serve did not start: {text.decode(errors='replace')}")
            if time.monotonic() > end:
                stop(self.pid)
                raise Broken("moongate serve does not listen after a minute")
            time.sleep(0.002)

    def _start_with_pipe(self, argv, environment):
        ours, theirs = os.pipe()
        actions = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                   (os.POSIX_SPAWN_DUP2, theirs, 2)]
        self.lines = collections.deque(maxlen=100)
        self.started_us = time.perf_counter_ns() // 1000
        self.pid = os.posix_spawnp(argv[0], argv, environment, file_actions=actions)
        _running.add(self.pid)
        os.close(theirs)
        try:
            rest = self._wait_until_listening(ours)
        except BaseException:
            os.close(ours)
            stop(self.pid)
            raise
        self.lines.extend(rest.decode(errors="replace").splitlines())
        threading.Thread(target=self._drain, args=(ours,), daemon=True).start()

    def _wait_until_listening(self, fd):
        text, end = b"", time.monotonic() + 60
        while True:
            found = re.search(LISTENING, text)
            if found:
                self.port = int(found[1])
                return text
            ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
            piece = os.read(fd, 65536) if ready else b""
            if not piece:
                said = text.decode(errors="replace").strip()
                raise Broken(f"moongate serve did not start: {said or 'no word from it'}")
            text += piece

    def _drain(self, fd):
        with os.fdopen(fd, "rb") as pipe:
            for line in pipe:
                self.lines.append(line.decode(errors="replace").rstrip())

    def model(self):
        """Compute threads, and what the start says of the model."""
        for line in list(self.lines):
            found = re.search(r"\S+: .*kernels \S+, (\d+) threads, .*", line)
            if found:
                return int(found[1]), found[0]
        raise Broken("the start says nothing of the model")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop(self.pid)


def returning(body):
    """A location of nginx that answers a body."""
    quoted = body.replace("\\", "\\\\").replace("'", "\\'")
    return f"return 200 '{quoted}';"


def proxying():
    """A location of nginx that passes on at once what the upstream `behind` sends."""
    return ('proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; '
            "proxy_buffering off;")


def behind(port):
    """The upstream of such a location, with connections that are kept."""
    return (f"upstream behind {{ server 127.0.0.1:{port}; keepalive 256; "
            "keepalive_requests 1000000000; }")


class Nginx:
    """One nginx worker with one location for all paths, with its files in a folder."""

    def __init__(self, folder, location, connections, cpu=None, more="", access_log=False):
        os.makedirs(folder, exist_ok=True)
        with socket.socket() as s: # nginx cannot choose a port by itself
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        temp = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in
                       ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        spare = connections * 9 // 8 + 128 # idle ones are dropped when a sixteenth is left
        log = f"{folder}/access.log" if access_log else "off"
        with open(f"{folder}/nginx.conf", "w", encoding="ascii") as f:
            f.write("daemon off;\nmaster_process off;\n"
                    f"pid {folder}/pid;\nerror_log {folder}/error.log crit;\n"
                    f"worker_rlimit_nofile {spare};\n"
                    f"events {{ worker_connections {spare - 32}; }}\n"
                    f"http {{\n{temp}    access_log {log};\n    keepalive_timeout 300s;\n"
                    "    keepalive_requests 1000000000;\n    default_type application/json;\n"
                    f"    {more}\n"
                    f"    server {{ listen 127.0.0.1:{self.port} backlog=4096;\n"
                    f"        location / {{ {location} }} }}\n}}\n")
        argv = pinned(cpu, ["nginx", "-p", folder, "-c", f"{folder}/nginx.conf",
                            "-e", f"{folder}/error.log"])
        self.started_us = time.perf_counter_ns() // 1000
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.pid = self.process.pid
        _running.add(self.pid)
        self._wait_until_listening()

    def _wait_until_listening(self):
        end = time.monotonic() + 10
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.002)
        _running.discard(self.pid)
        self.process.kill()
        said = self.process.communicate()[1].decode(errors="replace").strip()
        raise Broken(f"nginx did not start: {said}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()
        _running.discard(self.pid)


def command(argv, seconds, allowed=(0,)):
    """Standard output of a command that ends by itself within the time."""
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, errors="replace")
    _running.add(p.pid)
    try:
        out, err = p.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as late:
        raise Broken(f"{os.path.basename(argv[0])} took more than {seconds} s") from late
    finally:
        if p.poll() is None:
            p.kill()
            p.communicate()
        _running.discard(p.pid)
    if p.returncode not in allowed:
        said = (err.strip() or out.strip())[-500:]
        raise Broken(f"{os.path.basename(argv[0])} ended with {p.returncode}: {said}")
    return out


def wrk(script, port, path, connections, seconds, arguments, cpu=None):
    """One run of wrk with one thread."""
    argv = pinned(cpu, ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script,
                        f"http://127.0.0.1:{port}{path}", "--", *arguments])
    out = command(argv, seconds + 30)
    result = json.loads(out.strip().splitlines()[-1])
    if not result["requests"] or result["socket_errors"]:
        raise Broken(f"wrk on {path}: {result}")
    return result


def replies(client, port, connections, seconds, file):
    """Rows of all replies, and of the run."""
    out = command([client, "replies", str(port), str(connections), str(seconds), file],
                  seconds + 60, allowed=(0, 1))
    rows = [json.loads(line) for line in out.splitlines()]
    if not rows or "run" not in rows[-1]:
        raise Broken("the load client told nothing of its run")
    run = rows.pop()["run"]
    bad = [r for r in rows if not r["whole"]]
    if bad or not rows:
        raise Broken(f"{len(bad)} of {len(rows)} replies were not whole: {bad[:1]}")
    return rows, run


class Idle:
    """So many open connections with one reply behind each, until the end of the block."""

    def __init__(self, client, port, connections, file):
        self.process = subprocess.Popen(
            [client, "idle", str(port), str(connections), file], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        _running.add(self.process.pid)
        self.still_open = None
        ready, _, _ = select.select([self.process.stdout], [], [], 60)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.process.kill()
            _running.discard(self.process.pid)
            raise Broken(f"idle connections: {self.process.communicate()[1].strip()}")
        self.open = json.loads(line)["open"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            out = self.process.communicate(timeout=20)[0]
            self.still_open = json.loads(out)["still_open"]
        except (subprocess.TimeoutExpired, ValueError):
            self.process.kill()
            self.process.communicate()
        _running.discard(self.process.pid)


class Upstream:
    """bench_upstream, the mock, until the end of the block."""

    def __init__(self, program, cpu=None):
        self.process = subprocess.Popen(pinned(cpu, [program]), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        _running.add(self.pid)
        line = self.process.stdout.readline()
        if not line:
            self.__exit__()
            raise Broken("the mock upstream did not start")
        self.port = json.loads(line)["port"]

    def _ask(self, method, path):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            c.request(method, path)
            return json.loads(c.getresponse().read())
        finally:
            c.close()

    def stats(self):
        return self._ask("GET", "/stats")

    def reset(self):
        self._ask("POST", "/reset")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        _running.discard(self.pid)


def streams(client, mode, server, file, cpu=None, on_up=None, **arguments):
    """A run of bench_streams: its rows, and the last one, of the run. `on_up` is called when the
    streams of mode `hold` are open."""
    words = [f"{k}={v}" for k, v in arguments.items()]
    argv = pinned(cpu, [client, mode, f"port={server.port}", f"pid={server.pid}", f"file={file}",
                        *words])
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    _running.add(p.pid)
    rows = []
    try:
        for line in p.stdout:
            rows.append(json.loads(line))
            if "up" in rows[-1] and on_up:
                on_up()
        err = p.stderr.read()
        p.wait()
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()
        p.stdout.close()
        p.stderr.close()
        _running.discard(p.pid)
    if p.returncode or not rows or "wall_us" not in rows[-1]:
        raise Broken(f"bench_streams {mode}: {err.strip()[-500:] or 'no word from it'}")
    run = rows.pop()
    if run["failed"]:
        raise Broken(f"bench_streams {mode}: {run['failed']} of {run['started']} failed: "
                     f"{err.strip()[-500:]}")
    return rows, run
