#!/usr/bin/env python3
"""The rules of the tree that no compiler holds: arrows between rooms, banned functions, guards,
lengths, and words that belong to one machine. Prints each finding as FILE:LINE: text, and a line
for each rule; exits 1 if there was a finding.

A room is a folder of src/. Arrows go down: a room may include itself and rooms of lower levels,
never one beside it. Files directly in src/ are the top level and may include everything.
"""
import os
import re
import subprocess
import sys

LEVELS = {
    "base": 0,
    "http": 1, "api": 1, "engine": 1, "store": 1,
    "gate": 2, "backend": 2, "ledger": 2,
    "console": 3,
    "top": 4,
}

# Libraries have a home, so that one can be replaced without a search through the tree.
HOMES = {
    "curl/": {"backend", "console"},
    "event2/": {"http", "gate", "store", "backend", "console", "top"},
    "libpq-fe.h": {"store"},
    "hiredis/": {"gate"},
    "openssl/": {"http"},
    "pcre2.h": {"engine"},
    "sodium.h": {"base", "engine", "gate", "console", "top"},
    "sqlite3.h": {"store"},
    "yaml.h": {"top"},
}

BANNED = {
    "sprintf": "snprintf", "vsprintf": "vsnprintf",
    "strcpy": "memcpy or snprintf", "strcat": "buf_adds", "stpcpy": "memcpy",
    "strncpy": "memcpy or snprintf", "strncat": "buf_add",
    "atoi": "strtol with checks", "atol": "strtol with checks", "atoll": "strtoll with checks",
    "atof": "strtod with checks", "strtok": "strcspn", "strtok_r": "strcspn", "gets": "fgets",
    "alloca": "mem_alloc", "system": "no shell", "popen": "no shell",
    "rand": "random_bytes", "srand": "random_bytes", "random": "random_bytes",
    "tmpnam": "mkdtemp", "tempnam": "mkdtemp", "mktemp": "mkdtemp",
    "localtime": "gmtime_r", "gmtime": "gmtime_r", "ctime": "strftime", "asctime": "strftime",
    "localtime_r": "gmtime_r (times are UTC)",
}

MAX_LINES = 800
CODE = (".c", ".h", ".S", ".py", ".sh", ".js", ".mjs", ".ts", ".vue")
TEXT_LIMIT = 4 << 20

findings = 0


def found(path, line, text):
    global findings
    findings += 1
    print(f"{path}:{line}: {text}")


def list_files():
    """Tracked files and new ones that git does not ignore; all files outside a checkout."""
    try:
        out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], check=True,
                             capture_output=True, text=True).stdout
        names = out.splitlines()
    except (OSError, subprocess.CalledProcessError):
        names = [os.path.join(d, f)[2:] for d, _, fs in os.walk(".") for f in fs
                 if not d.startswith(("./build", "./data"))]
    return sorted(n for n in names if os.path.isfile(n))


def read_text(path):
    """The text of a file; None of a binary one."""
    if os.path.getsize(path) > TEXT_LIMIT:
        return None
    with open(path, "rb") as f:
        data = f.read()
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def code_only(text):
    """C without comments and without what stands in quotes, on the same lines."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)

    def blank(match):
        s = match.group(0)
        edge = s[0] if s[0] in "\"'" else ""
        return edge + "\n" * s.count("\n") + edge

    return pattern.sub(blank, text)


def room_of(path):
    parts = path.split("/")
    return "top" if len(parts) == 2 else parts[1]


def check_include(path, line, quoted, name):
    room = room_of(path)
    if not quoted:
        for start, homes in HOMES.items():
            if name.startswith(start) and room not in homes:
                found(path, line, f"<{name}> belongs to {', '.join(sorted(homes))}, not {room}")
        return
    target = "src/" + name
    if not os.path.isfile(target):
        found(path, line, f'"{name}" is not a file below src/; write "room/file.h"')
        return
    other = room_of(target)
    if other == room:
        return
    if other not in LEVELS:
        found(path, line, f"{other} is no room that this script knows")
    elif LEVELS[other] >= LEVELS[room]:
        found(path, line, f"an arrow from {room} to {other} goes up or to the side")
    if re.search(r"_(private|impl)\.h$", name):
        found(path, line, f"{name} is private to {other}")


def check_arrows(files):
    n = 0
    for path, text in files.items():
        if not path.startswith("src/") or not path.endswith((".c", ".h")):
            continue
        if room_of(path) not in LEVELS:
            found(path, 1, f"{room_of(path)} is no room that this script knows")
            continue
        for i, line in enumerate(text.splitlines(), 1):
            match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if match:
                n += 1
                check_include(path, i, match.group(1) == '"', match.group(2))
    return f"arrows: {n} includes go down, libraries are at home"


def check_banned(files):
    call = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
    typedef = re.compile(r"^\s*typedef\s+(struct|union|enum)\b")
    n = 0
    for path, text in files.items():
        if not path.endswith((".c", ".h")):
            continue
        n += 1
        for i, line in enumerate(code_only(text).splitlines(), 1):
            for match in call.finditer(line):
                found(path, i, f"{match.group(1)} is banned; use {BANNED[match.group(1)]}")
            if typedef.match(line):
                found(path, i, "no typedef for structs, unions and enums")
    return f"banned: {n} files call none of {len(BANNED)} functions, and hide no struct"


def guard_of(path):
    name = path[len("src/"):] if path.startswith("src/") else path
    if name.startswith("tests/"):
        name = "tests/" + os.path.basename(name)
    return "MOONGATE_" + re.sub(r"\W", "_", name).upper()


def check_guards(files):
    n = 0
    for path, text in files.items():
        if not path.endswith(".h"):
            continue
        n += 1
        guard = guard_of(path)
        if f"\n#ifndef {guard}\n#define {guard}\n" not in "\n" + text:
            found(path, 1, f"the guard must be {guard}")
        if not text.rstrip().endswith("#endif"):
            found(path, text.count("\n"), "the guard must end the file")
    return f"guards: {n} headers are named by their path"


def check_shape(files):
    n = 0
    for path, text in files.items():
        if not path.endswith(CODE):
            continue
        n += 1
        lines = text.count("\n")
        if lines > MAX_LINES:
            found(path, lines, f"{lines} lines; split what is longer than {MAX_LINES}")
        if path.endswith((".c", ".h")) and not text.startswith("/*"):
            found(path, 1, "the file must begin with a comment that says what it is")
        if "\r" in text:
            found(path, 1 + text[:text.index("\r")].count("\n"), "a CR at the end of a line")
        if text and not text.endswith("\n"):
            found(path, lines + 1, "the last line has no end")
    return f"shape: {n} files of code tell what they are and have at most {MAX_LINES} lines"


def check_words(files):
    # Written so that this file does not find itself.
    places = re.compile(r"(?<![\w.~$}-])/(?:work|root|home|tmp|Users)/[\w.]")
    marks = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b|^(?:<{7}|>{7}) ")
    for path, text in files.items():
        code = path.endswith(CODE)
        for i, line in enumerate(text.splitlines(), 1):
            match = places.search(line)
            if match:
                found(path, i, f"{match.group(0)}... is a place of one machine")
            if code and marks.search(line):
                found(path, i, f"{marks.search(line).group(0)}: finish it, or write an issue")
    return f"words: {len(files)} files name no place of one machine, and leave no work marked"


def main():
    files = {}
    for path in list_files():
        text = read_text(path)
        if text is not None:
            files[path] = text
    for check in (check_arrows, check_banned, check_guards, check_shape, check_words):
        before = findings
        summary = check(files)
        print(summary if findings == before
              else f"{check.__name__[len('check_'):]}: {findings - before} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
