"""Asks the built-in model every evaluation question, greedily, and scores the answers.

    python eval/evaluate.py --url http://127.0.0.1:8080 --key KEY      over the HTTP API
    python eval/evaluate.py --gguf moongate-nano.gguf                  with PyTorch, from the file
    python eval/evaluate.py --checkpoint build/checkpoint.pt           the same, while training

An answer is right if it matches what expect.yaml says for its intent, in the language of the
question.  Questions that stand in the generated corpus (case, spaces and punctuation apart) do
not count.  Exit status 1 under 90 %.
"""

import argparse
import json
import os
import pathlib
import re
import sys
import unicodedata
import urllib.error
import urllib.request
from collections import defaultdict

import yaml

HERE = pathlib.Path(__file__).parent
PASS_PERCENT = 90
MAX_TOKENS = 200
# Common characters that only one script has.
SIMPLIFIED = set("这个们说时会过还没样话对问吗请让应该错误钥务规设权费许运输钟学习现种国际发务员无书写读听见进远连载软输网页脑语认识难题")
TRADITIONAL = set("這個們說時會過還沒樣話對問嗎請讓應該錯誤鑰務規設權費許運輸鐘學習現種國際發務員無書寫讀聽見進遠連載軟輸網頁腦語認識難題")
SIMPLIFIED, TRADITIONAL = SIMPLIFIED - TRADITIONAL, TRADITIONAL - SIMPLIFIED


def normalise(text):
    text = unicodedata.normalize("NFKC", text).lower()
    return "".join(c for c in text if unicodedata.category(c)[0] in "LN")


def found(pattern, text):
    return re.search(pattern, text, re.IGNORECASE | re.DOTALL) is not None


def wrong_language(question, lang, answer):
    """Why the answer is not in the language of the question, or None."""
    han = bool(re.search(r"[\u4e00-\u9fff]", answer))
    if lang == "en":
        return "not English" if han else None
    if not han:
        return "not Chinese"
    mine, other = (SIMPLIFIED, TRADITIONAL) if lang == "zh-Hans" else (TRADITIONAL, SIMPLIFIED)
    if set(question) & mine and set(answer) & other:
        return "other script"
    return None         # a question that is written alike in both scripts may get either


def judge(expect, intent, lang, question, answer):
    """Why the answer is wrong, or None."""
    short = lang[:2]
    reason = wrong_language(question, lang, answer)
    if reason:
        return reason
    for pattern in expect["never"]:
        if found(pattern, answer):
            return f"must not say {pattern}"
    rule = expect["intents"][intent]
    if "topic" in rule:
        if not (found(expect["declines"][short], answer) and found(expect["refuses"][short], answer)):
            return "does not decline"
        topic = rule["topic"]
        allowed = {topic, *expect["related"][topic]}
        named = {t for t, p in expect["topics"].items() if found(p, answer)}
        if named and not named & allowed:
            return f"declines {', '.join(sorted(named))}"
        return None
    for pattern in rule.get("not", []):
        if found(pattern, answer):
            return f"must not say {pattern}"
    for pattern in rule.get("all", []) + rule.get(short, []):
        if not found(pattern, answer):
            return f"does not say {pattern}"
    return None


def ask_http(url, key, dialogues, thinking):
    for messages in dialogues:
        body = {"model": "kimi-k2.5", "messages": messages, "temperature": 0,
                "max_tokens": MAX_TOKENS}
        if not thinking:
            body["thinking"] = {"type": "disabled"}
        request = urllib.request.Request(
            url.rstrip("/") + "/v1/chat/completions", json.dumps(body).encode(),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                yield json.load(reply)["choices"][0]["message"]["content"] or ""
        except urllib.error.HTTPError as e:
            yield f"HTTP {e.code}: {e.read().decode(errors='replace')}"


def ask_torch(args, dialogues, thinking):
    """Greedy decoding of many dialogues at once, with PyTorch."""
    sys.path.insert(0, str(HERE.parent))
    import torch

    import export
    import tokenizer as tok
    torch.set_num_threads(args.threads)
    model = (export.read_model(args.gguf)[0] if args.gguf
             else export.read_checkpoint(args.checkpoint))
    t = tok.Tokenizer.load(args.tokenizer)
    stop, shut = t.special["<|im_end|>"], t.special["</think>"]
    answers = []
    for at in range(0, len(dialogues), 128):
        prompts = [t.prompt(d, thinking) for d in dialogues[at:at + 128]]
        lengths = torch.tensor([len(p) for p in prompts])
        longest = int(lengths.max())
        ids = torch.zeros(len(prompts), longest, dtype=torch.long)
        for row, p in enumerate(prompts):
            ids[row, :len(p)] = torch.tensor(p)
        out = [[] for _ in prompts]
        done = torch.zeros(len(prompts), dtype=torch.bool)
        with torch.no_grad():
            cache = model.new_cache(len(prompts), longest + MAX_TOKENS)
            where = torch.arange(longest).expand(len(prompts), -1)
            h = model.hidden(ids, cache=cache, positions=where)
            h = h[torch.arange(len(prompts)), lengths - 1]
            for n in range(MAX_TOKENS):
                token = model.output(h).argmax(-1)
                done |= token == stop
                if done.all():
                    break
                for row in range(len(prompts)):
                    if not done[row]:
                        out[row].append(int(token[row]))
                h = model.hidden(token[:, None], cache=cache, positions=(lengths + n)[:, None])[:, 0]
        for ids_out in out:
            if thinking:
                ids_out = ids_out[ids_out.index(shut) + 1:] if shut in ids_out else []
            answers.append(t.decode(ids_out))
    return answers


def corpus_questions(path):
    texts = set()
    with open(path, encoding="utf-8") as f:
        for line in f:
            texts.update(normalise(text) for role, text in json.loads(line)["messages"]
                         if role == "user")
    return texts


def table(title, scores):
    print(title)
    for name, (right, count) in sorted(scores.items(), key=lambda s: (s[1][0] / s[1][1], s[0])):
        print(f"  {name:24s} {right:4d}/{count:<4d} {100 * right / count:5.1f} %")


def evaluate(args, expect, questions, thinking):
    """Prints the scores of one mode and returns the overall percentage."""
    dialogues = [[*q.get("history", []), {"role": "user", "content": q["question"]}]
                 for q in questions]
    if args.url:
        answers = ask_http(args.url, args.key, dialogues, thinking)
    else:
        answers = ask_torch(args, dialogues, thinking)
    languages, intents = defaultdict(lambda: [0, 0]), defaultdict(lambda: [0, 0])
    wrong, total = [], 0
    for q, answer in zip(questions, answers):
        reason = judge(expect, q["intent"], q["lang"], q["question"], answer)
        for score in (languages[q["lang"]], intents[q["intent"]]):
            score[0] += reason is None
            score[1] += 1
        total += reason is None
        if reason:
            wrong.append((q, reason, answer))
    percent = 100 * total / len(questions)
    mode = "on" if thinking else "off"
    print(f"thinking {mode}: {total} of {len(questions)} right, {percent:.1f} %")
    table(" by language", languages)
    full = sum(r == c for r, c in intents.values())
    table(f" by intent ({full} of {len(intents)} without a fault)",
          {k: v for k, v in intents.items() if args.all_intents or v[0] < v[1]})
    if args.show_wrong:
        for q, reason, answer in wrong:
            print(f"  {q['id']} [{q['lang']} {q['intent']}] {q['question']}\n"
                  f"      {reason}: {answer}")
    return percent


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="address of a running moongate")
    parser.add_argument("--key", default=os.environ.get("MOONGATE_KEY", ""))
    parser.add_argument("--checkpoint")
    parser.add_argument("--gguf")
    parser.add_argument("--tokenizer", default=HERE.parent / "build" / "tokenizer.json")
    parser.add_argument("--questions", default=HERE / "questions.jsonl")
    parser.add_argument("--corpus", default=HERE.parent / "build" / "train.jsonl")
    parser.add_argument("--thinking", choices=("on", "off", "both"), default="on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--show-wrong", action="store_true")
    parser.add_argument("--all-intents", action="store_true", help="list faultless intents too")
    args = parser.parse_args()
    if not (args.url or args.checkpoint or args.gguf):
        parser.error("one of --url, --gguf and --checkpoint is needed")
    expect = yaml.safe_load((HERE / "expect.yaml").read_text(encoding="utf-8"))
    with open(args.questions, encoding="utf-8") as f:
        questions = [json.loads(line) for line in f if line.strip()]
    if pathlib.Path(args.corpus).exists():
        known = corpus_questions(args.corpus)
        taught = [q for q in questions if normalise(q["question"]) in known]
        questions = [q for q in questions if normalise(q["question"]) not in known]
        print(f"{len(taught)} questions stand in the corpus and do not count: "
              f"{', '.join(q['id'] for q in taught) or 'none'}")
    else:
        print(f"{args.corpus} is not there: not checked whether questions stand in the corpus")
    modes = {"on": [True], "off": [False], "both": [True, False]}[args.thinking]
    lowest = min(evaluate(args, expect, questions, mode) for mode in modes)
    sys.exit(lowest < PASS_PERCENT)


if __name__ == "__main__":
    main()
