"""What the bench prints: the machine, tables of rows, notes; the same as JSON."""

import json
import os
import platform
import re
import subprocess
import time


def percentile(values, p):
    """The value that p per cent of the values do not pass (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * p // 100) - 1))]


def median(values):
    return percentile(values, 50)


def number(value, digits=3):
    """Three digits that count, thousands with a comma."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


class Report:
    def __init__(self):
        self.machine, self.rows, self.notes, self.raw = {}, [], [], {}

    def row(self, table, figure, value, unit, detail="", beside="", verdict=""):
        """One figure. `beside` is a goal or what it is compared with, `verdict` the outcome."""
        self.rows.append({"table": table, "figure": figure, "value": value, "unit": unit,
                          "detail": detail, "beside": beside, "verdict": verdict})

    def goal(self, table, figure, value, unit, most, detail=""):
        """A figure with a ceiling."""
        self.row(table, figure, value, unit, detail, f"goal: at most {number(most)} {unit}",
                 "met" if value <= most else "MISSED")

    def against(self, table, figure, value, unit, name, other, detail=""):
        """A figure beside another program's in the same run; None where that was left out."""
        if other is None:
            self.row(table, figure, value, unit, detail, f"{name}: not measured", "-")
            return
        times = f"{value / other:.2f} times" if other else "-"
        self.row(table, figure, value, unit, detail, f"{name}: {number(other)} {unit}", times)

    def within(self, table, figure, value, unit, name, other, times, tolerable=None, detail=""):
        """A figure that may be so many times another program's in the same run; up to
        `tolerable` times it is told as not yet met."""
        if other is None:
            self.row(table, figure, value, unit, detail, f"{name}: not measured", "-")
            return
        ratio = value / other if other else float("inf")
        verdict = "met" if ratio <= times else "MISSED"
        if verdict == "MISSED" and tolerable and ratio <= tolerable:
            verdict = f"acceptable up to {tolerable}"
        self.row(table, figure, value, unit, detail,
                 f"{name}: {number(other)} {unit}; goal: at most "
                 + (f"{times} times that" if times != 1 else "that"),
                 f"{ratio:.2f} times: {verdict}")

    def at_least(self, table, figure, value, unit, name, other, times, detail=""):
        """A figure that is to be so many times another one of the same run, or more."""
        ratio = value / other if other else float("inf")
        self.row(table, figure, value, unit, detail,
                 f"{name}: {number(other)} {unit}; goal: at least {times} times that",
                 f"{ratio:.2f} times: {'met' if ratio >= times else 'MISSED'}")

    def missed(self):
        """The goals that were missed, for the end."""
        return [r for r in self.rows if r["verdict"].endswith("MISSED")
                or "acceptable" in r["verdict"]]

    def note(self, text):
        """Something left out or that went wrong, told at once and again at the end."""
        self.notes.append(text)
        print(f"! {text}", flush=True)

    def show(self, since=0):
        """Tables of the rows from the given one on."""
        tables = {}
        for r in self.rows[since:]:
            tables.setdefault(r["table"], []).append(r)
        for name, rows in tables.items():
            cells = [("figure", "measured", "spread and remarks", "beside it", "outcome")]
            cells += [(r["figure"], f"{number(r['value'])} {r['unit']}", r["detail"],
                       r["beside"] or "-", r["verdict"] or "-") for r in rows]
            print(f"\n### {name}\n")
            print(table(cells), flush=True)

    def save(self, path):
        whole = {"machine": self.machine, "rows": self.rows, "notes": self.notes,
                 "raw": self.raw}
        with open(path, "w", encoding="utf-8") as f:
            json.dump(whole, f, indent=1, ensure_ascii=False)
            f.write("\n")


def table(cells):
    """Markdown, padded so that it reads well in a terminal too."""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def _output(*argv):
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True,
                              timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _busy_share(seconds):
    """The share of the machine's time that others use now."""
    def read():
        with open("/proc/stat", encoding="ascii") as f:
            times = [int(x) for x in f.readline().split()[1:9]]
        return sum(times), times[3] + times[4]

    all_before, idle_before = read()
    time.sleep(seconds)
    all_after, idle_after = read()
    spent = all_after - all_before
    return 1 - (idle_after - idle_before) / spent if spent else 0.0


def machine(repository, program):
    """Where and what was measured."""
    cpu = re.search(r"^Model name:\s*(.+)$", _output("lscpu"), re.M)
    with open("/etc/os-release", encoding="utf-8") as f:
        system = re.search(r'^PRETTY_NAME="?([^"\n]+)', f.read(), re.M)
    with open("/proc/meminfo", encoding="ascii") as f:
        memory_kb = int(re.search(r"MemTotal:\s+(\d+)", f.read())[1])
    return {
        "processor": cpu[1] if cpu else platform.processor() or "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory_kb * 1024 / 1e9, 1),
        "system": system[1] if system else "unknown",
        "kernel": platform.release(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": _output("git", "-C", repository, "describe", "--always", "--dirty") or "unknown",
        "version": _output(program, "--version"),
        "busy_before": round(_busy_share(1.0), 3),
    }


def show_machine(m):
    print("## moongate bench\n")
    print(table([("", "")] + [(k.replace("_", " "), str(v)) for k, v in m.items()]), flush=True)
