"""Writes pretokenise.txt: texts cut into pieces by the expression of the Kimi tokenizers.

    pip install regex && python tests/golden/pretokenise.py > tests/golden/pretokenise.txt

One text a line, its pieces parted by `|`. Escapes: \\n \\r \\t \\\\ \\| and \\u{HEX}, the last for
everything that does not print. The `regex` package subtracts character classes as the original
expression does, so this is a check of the C program's own way to say the same.
"""

import random
import sys
import unicodedata

import regex

UPPER = r"[[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]--[\p{Script=Han}]]"
LOWER = r"[[\p{Ll}\p{Lm}\p{Lo}\p{M}]--[\p{Script=Han}]]"
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
LEAD = r"[^\r\n\p{L}\p{N}]?"
SPACE = r"\p{White_Space}"
PIECE = regex.compile("|".join([
    r"[\p{Script=Han}]+",
    LEAD + UPPER + "*" + LOWER + "+" + SUFFIX,
    LEAD + UPPER + "+" + LOWER + "*" + SUFFIX,
    r"\p{N}{1,3}",
    rf" ?[^{SPACE}\p{{L}}\p{{N}}]+[\r\n]*",
    rf"[{SPACE}]*[\r\n]+",
    rf"[{SPACE}]+(?![^{SPACE}])",
    rf"[{SPACE}]+",
]), regex.V1)

REAL = [
    "Hello, world!",
    "I'll don't WE'VE it's CAN'T you'RE he'D I'M 'twas O'Neill rock'n'roll",
    "XMLHttpRequest getHTTPResponse HELLO iPhone McDonald snake_case kebab-case",
    "(x ((x [[a]] {\"city\":\"北京\"} <b>bold</b> \"quoted\" 'single' `code`",
    "a/b//c\r\nx",
    "  leading\n\n\ttabs  \n",
    "trailing   ",
    "one  two   three    four\n    indented\n\n\n  end",
    "def f(x):\n    return x+1\n",
    "#include <stdio.h>\r\n\r\nint main(void) { return 0; }\r\n",
    "你好，世界",
    "月之暗面 Kimi 2025年12月31日",
    "“Hello,” 世界世世世界世界——I'm ChatGPT. CAN'T wait 'til 2026.世界世界",
    "日本語かなカナ漢字 한국어 カタカナ・ー々〆",
    "naïve café e\u0301 Å ångström ŒUVRE Straße",
    "😀👍🏽👩\u200d👩\u200d👧 ☃ ✈\ufe0f",
    "हिन्दी भाषा தமிழ் ไทย ภาษา עברית العربية",
    "Ⅻ ² ½ ٣٤٥٦ ๑๒๓๔ 1234567890 3.14 1,000,000 0x1F",
    "a中b文c 中a文 中。文、「引」〇二〡",
    "ǅungla ǈ ʰa ªb ℵ ℝ",
    "end.\n\nNext\n \nmore\r\n \t\r\nlast",
    "\u3000全角 空白\u00a0nbsp\u2028line\u2029para\u0085nel\u180emvs\u200bzwsp\ufeffbom",
    "\u001cfile\u001dgroup\u001erecord\u001funit\u0000nul\u007fdel",
    "it'ſ IT'ſt he'lL",
    "'s 't 're 've 'm 'll 'd 'S 'LL 'x a's A'S 中's 1's ('s)",
    "$100 €5.50 50% C++ C# F# a&b x=y;z !!! ?!? ...--- ***",
    "https://example.com/path?query=1&b=%20#frag user@example.org",
    "\u0301lone mark \u0301\u0302 two a\u0301b\u0302c",
]

POOLS = [
    "abcdefgh", "ABCDEFGH", "abAB", " ", " ", "  \t", "\n", "\r\n", "0123456789", "'", "'",
    "stdmSTDM", "rveRVElL", ".,;:!?-_/()[]{}<>\"*+=#@$%^&|\\~`", "中文世界北京国", "かなカナひらガー",
    "한국어", "、。「」・〆々〇〡〢〻⺀⼀㐀豈", "éßñÅŒœ", "ДдЖж", "Σσς", "אבג", "ابت\u064b\u0651",
    "हिन्दीभ\u093e", "ไทย\u0e31\u0e34", "ǅǈǋ", "ʰʲˠª", "²½Ⅻ٣๑", "\u0301\u0302\u20dd\u3099\u302a",
    "\u00a0\u3000\u2028\u2029\u0085\u1680\u2003\u202f\u205f", "\u180e\u200b\u200d\ufeff\u001c\u0000",
    "😀👍🏽☃", "ſK", "ㄅㄆ㈠㊀", "\U00020000\U0002a6d6", "\U0001d400\U0001d7ce",
]


def sample(rng):
    return "".join(
        "".join(rng.choice(pool) for _ in range(rng.choice((1, 1, 1, 2, 3, 4))))
        for pool in rng.choices(POOLS, k=rng.randint(1, 14)))


def escape(piece):
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", "|": "\\|"}
    return "".join(
        named.get(c) or (c if c == " " or unicodedata.category(c)[0] in "LNPS"
                         else f"\\u{{{ord(c):X}}}")
        for c in piece)


def main():
    rng = random.Random(20260101)
    for text in REAL + [sample(rng) for _ in range(400)]:
        pieces = PIECE.findall(text)
        assert "".join(pieces) == text, text
        sys.stdout.write("|".join(map(escape, pieces)) + "\n")


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    main()
