"""Processes of the bench: moongate, nginx, wrk, the load client; what /proc says of them.

Every process that is started here is killed when the bench ends, however it ends.
"""

import atexit
import collections
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
    """`moongate serve` on a free port, ready when it is made."""

    def __init__(self, program, options, cpu=None):
        argv = pinned(cpu, [program, "serve", "--listen", "127.0.0.1:0", *options])
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MOONGATE_")}
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
            found = re.search(rb"listening on http://127\.0\.0\.1:(\d+)\n", text)
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


class Nginx:
    """One nginx worker that answers a body of so many bytes, with its files in a folder."""

    def __init__(self, folder, body, connections, cpu=None):
        os.makedirs(folder, exist_ok=True)
        with socket.socket() as s: # nginx cannot choose a port by itself
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        temp = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in
                       ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        spare = connections * 9 // 8 + 128 # idle ones are dropped when a sixteenth is left
        quoted = body.replace("\\", "\\\\").replace("'", "\\'")
        with open(f"{folder}/nginx.conf", "w", encoding="ascii") as f:
            f.write("daemon off;\nmaster_process off;\n"
                    f"pid {folder}/pid;\nerror_log {folder}/error.log crit;\n"
                    f"worker_rlimit_nofile {spare};\n"
                    f"events {{ worker_connections {spare - 32}; }}\n"
                    f"http {{\n{temp}    access_log off;\n    keepalive_timeout 300s;\n"
                    "    keepalive_requests 1000000000;\n    default_type application/json;\n"
                    f"    server {{ listen 127.0.0.1:{self.port} backlog=4096;\n"
                    f"        location / {{ return 200 '{quoted}'; }} }}\n}}\n")
        argv = pinned(cpu, ["nginx", "-p", folder, "-c", f"{folder}/nginx.conf",
                            "-e", f"{folder}/error.log"])
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
                time.sleep(0.01)
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
