"""Checks expect.yaml against the corpus: each hand-written answer passes the rule of its own
intent, and no answer passes the rule of an intent of which it is not an answer, save the pairs
that are printed for a person to look at.

    python eval/check_expect.py
"""

import pathlib
import sys

import yaml

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "corpus")]

import evaluate     # noqa: E402
import generate     # noqa: E402


def main():
    expect = yaml.safe_load((HERE / "expect.yaml").read_text(encoding="utf-8"))
    g = generate.Generator(1, set())
    bad, loose = 0, {}
    for name, entry in g.intents.table.items():
        for lang in generate.LANGUAGES:
            question = {"en": "x", "zh-Hans": "这个", "zh-Hant": "這個"}[lang]
            for text in entry[lang[:2]]["="]:
                answer = g.say(text, lang)
                reason = evaluate.judge(expect, name, lang, question, answer)
                if reason:
                    bad += 1
                    print(f"{name} [{lang}] {reason}: {answer}")
                for other in g.intents.table:
                    if other != name and not evaluate.judge(expect, other, lang, question, answer):
                        loose.setdefault(other, set()).add(name)
    for other, names in loose.items():
        print(f"accepted for {other}: {', '.join(sorted(names))}")
    missing = set(g.intents.table) ^ set(expect["intents"])
    if missing:
        print(f"only on one side: {sorted(missing)}")
    sys.exit(bool(bad or missing))


if __name__ == "__main__":
    main()
