"""Measures moongate and prints tables; bench/run.sh calls this. docs/benchmarks.md explains it.

Ends with 1 when something could not be measured. A goal that is missed is told, not punished.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time

import processes
import report
import sections

SECONDS, QUICK_SECONDS = 1500, 300 # no section begins later than this


def arguments():
    p = argparse.ArgumentParser(prog="bench/run.sh", description="Measures moongate.")
    p.add_argument("--build", default="build", help=argparse.SUPPRESS)
    p.add_argument("--quick", action="store_true", help="less of everything, about a minute and a half")
    p.add_argument("--only", metavar="NAMES", default=",".join(sections.ALL),
                   help="sections, joined by commas: %(default)s")
    p.add_argument("--json", metavar="FILE", help="write the results there too")
    p.add_argument("--gguf", metavar="FILE", help="weights instead of the built-in model")
    p.add_argument("--llama-bench", metavar="PATH",
                   help="llama.cpp's llama-bench, to stand beside our speed")
    a = p.parse_args()
    a.names = [n for n in a.only.split(",") if n]
    unknown = [n for n in a.names if n not in sections.ALL]
    if unknown:
        p.error(f"no such section: {', '.join(unknown)}")
    for name in ("json", "gguf", "llama_bench"):
        if getattr(a, name):
            setattr(a, name, os.path.abspath(getattr(a, name)))
    return a


def measure(a, r, bench):
    """Runs the sections; returns how many failed."""
    failed, end = 0, time.monotonic() + (QUICK_SECONDS if a.quick else SECONDS)
    for name in a.names:
        since = len(r.rows)
        if time.monotonic() > end:
            r.note(f"{name}: left out, the time is over")
            failed += 1
            continue
        try:
            sections.ALL[name](bench)
        except (processes.Broken, OSError) as e:
            r.note(f"{name}: {e}")
            failed += 1
        r.show(since)
    return failed


def main():
    a = arguments()
    repository = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    build = os.path.abspath(a.build)
    processes.kill_all_on_exit()
    for name in [n for n in os.environ if n.startswith("MOONGATE_")]:
        del os.environ[name] # the programs would take it for an option
    r = report.Report()
    r.machine = report.machine(repository, f"{build}/moongate")
    folder = tempfile.mkdtemp(prefix="moongate-bench-")
    began, failed = time.monotonic(), 1
    try:
        os.chdir(folder) # where no moongate.yaml is read: all options have their defaults
        bench = sections.Bench(build, repository, folder, a.gguf, a.quick, a.llama_bench, r)
        report.show_machine(r.machine)
        if r.machine["busy_before"] > 0.1:
            r.note(f"the machine was {r.machine['busy_before']:.0%} busy before the start: "
                   "times and rates mean little")
        failed = measure(a, r, bench)
    except (processes.Broken, OSError) as e:
        r.note(str(e))
    finally:
        processes.kill_all()
        os.chdir("/")
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{time.monotonic() - began:.0f} s in all")
    for note in r.notes:
        print(f"! {note}")
    for row in r.missed():
        print(f"! {row['figure']}: {report.number(row['value'])} {row['unit']}, {row['beside']}: "
              f"{row['verdict']}")
    if a.json:
        r.save(a.json)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
