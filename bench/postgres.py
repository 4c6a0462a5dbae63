"""A PostgreSQL of the bench's own, and what a disk and a database do alone: the yardsticks."""

import glob
import os
import pwd
import re
import shutil
import sqlite3
import subprocess
import tempfile
import time

import processes
from processes import Broken

BLOCK = 4096


def programs():
    """The folder of the newest server's programs, or None."""
    found = {int(re.search(r"/postgresql/(\d+)/", p)[1]): os.path.dirname(p)
             for p in glob.glob("/usr/lib/postgresql/*/bin/initdb")}
    newest = max(found, default=0)
    return found[newest] if newest >= 15 else None


class Postgres:
    """A server with its settings as they come, in a folder beside the bench's, on a unix socket
    alone, until the end of the block. It refuses to run as root, and then is the user postgres."""

    def __init__(self, folder):
        self.bin = programs()
        self.folder = tempfile.mkdtemp(prefix="moongate-bench-pg-", dir=os.path.dirname(folder))
        self.user, self.process = None, None
        if os.geteuid() == 0:
            self.user = pwd.getpwnam("postgres")
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        try:
            self._run("initdb", "-D", f"{self.folder}/data", "-U", "moongate", "-A", "trust",
                      "-E", "UTF8", "--locale=C.UTF-8")
            self._start()
        except BaseException:
            self.__exit__()
            raise

    def _identity(self):
        if not self.user:
            return {}
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}

    def _environment(self):
        return {**{k: v for k, v in os.environ.items() if not k.startswith("PG")},
                "LC_ALL": "C.UTF-8"}

    def _popen(self, name, *arguments, **more):
        p = subprocess.Popen([f"{self.bin}/{name}", *arguments], cwd=self.folder,
                             env=self._environment(), stdin=subprocess.DEVNULL, **self._identity(),
                             **more)
        processes.keep(p.pid)
        return p

    def _run(self, name, *arguments, seconds=60, code=0):
        p = self._popen(name, *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                        text=True)
        try:
            out = p.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired as late:
            raise Broken(f"{name} took more than {seconds} s") from late
        finally:
            if p.poll() is None:
                p.kill()
                p.communicate()
            processes.forget(p.pid)
        if p.returncode != code:
            raise Broken(f"{name} ended with {p.returncode}: {out.strip()[-500:]}")
        return out

    def _start(self):
        with open(f"{self.folder}/log", "wb") as log:
            self.process = self._popen("postgres", "-D", f"{self.folder}/data", "-k", self.folder,
                                       "-c", "listen_addresses=", stdout=log, stderr=log)
        end = time.monotonic() + 30
        while not os.path.exists(f"{self.folder}/.s.PGSQL.5432.lock") or not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > end:
                with open(f"{self.folder}/log", encoding="utf-8", errors="replace") as f:
                    raise Broken(f"PostgreSQL did not start: {f.read()[-500:]}")
            time.sleep(0.02)

    def _is_ready(self):
        try:
            self._run("pg_isready", "-q", "-h", self.folder)
            return True
        except Broken:
            return False

    def database(self, name):
        """Makes a database; its address."""
        self._run("createdb", "-h", self.folder, "-U", "moongate", name)
        return f"postgres://moongate@{self.folder.replace('/', '%2F')}/{name}"

    def ask(self, name, sql):
        """The one value of a query."""
        return self._run("psql", "-h", self.folder, "-U", "moongate", "-XAtqc", sql, name).strip()

    def version(self):
        return self.ask("postgres", "SHOW server_version").split()[0]

    def updates(self, clients, seconds):
        """Commits a second of one UPDATE each, every client on a row of its own (pgbench)."""
        self.ask("postgres", "DROP TABLE IF EXISTS yard; CREATE TABLE yard (id int PRIMARY KEY, "
                             "n bigint); INSERT INTO yard SELECT i, 0 FROM generate_series(0, 999)"
                             " i")
        with open(f"{self.folder}/yard.sql", "w", encoding="ascii") as f:
            f.write("UPDATE yard SET n = n + 1 WHERE id = :client_id;\n")
        os.chmod(f"{self.folder}/yard.sql", 0o644)
        out = self._run("pgbench", "-n", "-h", self.folder, "-U", "moongate", "-M", "prepared",
                        "-f", f"{self.folder}/yard.sql", "-c", str(clients), "-T", str(seconds),
                        "postgres", seconds=seconds + 30)
        return float(re.search(r"tps = ([\d.]+)", out)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.send_signal(2) # fast shutdown
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            processes.forget(self.process.pid)
        shutil.rmtree(self.folder, ignore_errors=True)


# --- yardsticks ---

def file_system(folder):
    """The kind of file system that a folder is on."""
    best = ("", "unknown")
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as f:
        for line in f:
            _, place, kind = line.split()[:3]
            if (folder + "/").startswith(place.rstrip("/") + "/") and len(place) >= len(best[0]):
                best = (place, kind)
    return best[1]


def syncs(folder, seconds):
    """How often a second 4 KiB of a file are written over and reach the disk (fdatasync)."""
    block, n = os.urandom(BLOCK), 0
    fd = os.open(f"{folder}/yard", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for i in range(64):
            os.pwrite(fd, block, i * BLOCK)
        os.fsync(fd)
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            os.pwrite(fd, block, n % 64 * BLOCK)
            os.fdatasync(fd)
            n += 1
        return n / (time.monotonic() - began)
    finally:
        os.close(fd)
        os.unlink(f"{folder}/yard")


def sqlite_updates(folder, seconds):
    """Commits a second of one UPDATE each, WAL, synchronous=FULL."""
    db, n = sqlite3.connect(f"{folder}/yard.db", isolation_level=None), 0
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE yard (id INTEGER PRIMARY KEY, n INTEGER)")
        db.execute("INSERT INTO yard VALUES (1, 0)")
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            db.execute("UPDATE yard SET n = n + 1 WHERE id = 1")
            n += 1
        return n / (time.monotonic() - began)
    finally:
        db.close()
        for tail in ("", "-wal", "-shm"):
            if os.path.exists(f"{folder}/yard.db{tail}"):
                os.unlink(f"{folder}/yard.db{tail}")
