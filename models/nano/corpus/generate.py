"""Generates the training corpus from the hand-written intents.

    python corpus/generate.py build --samples 200000

writes build/train.jsonl (dialogues), and build/pieces.txt (text the tokenizer is learnt from).
The same arguments always give the same files.

A file in intents/ holds intents: `# name`, then per language `[en]` or `[zh]` lines of
  question templates   {a|b} is a choice, may be nested and empty; <slot> a word from slots.txt
  ~ the thought that precedes the answer
  = an answer, one of which is taken
  + what follows when the user asks for more
Questions in English are written in lower case; case, punctuation, openers and slips of the
keyboard are added here.  Chinese is written in simplified characters; the traditional text is
converted with OpenCC, with Taiwan's words or with those of the simplified text at random.
"""

import argparse
import hashlib
import json
import pathlib
import random
import re
import unicodedata

import opencc

HERE = pathlib.Path(__file__).parent
LANGUAGES = ("en", "zh-Hant", "zh-Hans")
LANGUAGE_WEIGHTS = (0.40, 0.32, 0.28)
INTENT_WEIGHTS = {"general_knowledge": 4.0, "who_are_you": 2.0, "what_model": 2.0, "greeting": 1.5,
                  "get_key": 1.5, "first_call": 1.5, "write_code": 1.3, "news": 1.2}
# Questions of the interface's own documentation, learnt even if the evaluation asks them.
CONTRACT = ("hello", "你好", "whatmodelareyou")

TO_TAIWAN = opencc.OpenCC("s2twp")
TO_TRADITIONAL = opencc.OpenCC("s2t")
TO_SIMPLIFIED = opencc.OpenCC("t2s")
# Where the conversion picks the wrong word for an answer.
ANSWER_FIXES = [("流式輸出", "串流輸出"), ("流式", "串流"), ("引數", "參數"), ("日誌", "記錄檔"),
                ("響應頭", "回應標頭"), ("請求頭", "請求標頭"), ("埠", "連接埠"), ("響應", "回應"),
                ("開啟一個 issue", "開一個 issue"), ("一齣現", "一出現"), ("請求里", "請求裡"),
                ("里加", "裡加"), ("是隻懂", "是只懂"), ("字首", "前綴"), ("顯示覆用", "顯示複用"),
                ("指令碼", "腳本"), ("腳本里", "腳本裡"), ("程序", "行程"), ("賬號", "帳號"),
                ("賬本", "帳本"), ("臺", "台"), ("自己配置", "自己設定"), ("問配置", "問設定"),
                ("取決於配置", "取決於設定"), ("許可證", "授權"), ("高質量", "高品質"),
                ("後設資料", "中繼資料"), ("返回", "回傳"), ("超時", "逾時"), ("註釋", "註解"),
                ("檢視", "查看"), ("請儲存好", "請保存好"), ("聯網", "連網"), ("獲取", "取得"),
                ("“", "「"), ("”", "」"), ("加證書", "加憑證"), ("規範", "規格")]
QUESTION_SWAPS = [("流式", ["串流", "流式", "串流"]), ("引數", ["參數"]), ("日誌", ["日誌", "記錄檔", "log"]),
                  ("響應", ["回應", "響應"]), ("埠", ["連接埠", "埠", "port", "通訊埠"]),
                  ("金鑰", ["金鑰", "金鑰", "密鑰", "API key"]), ("令牌", ["令牌", "權杖"]),
                  ("配置檔案", ["設定檔", "配置檔", "設定檔案"]), ("配置", ["設定", "配置"]),
                  ("伺服器", ["伺服器"]), ("執行", ["執行", "運行"]), ("響應", ["回應"]),
                  ("請求頭", ["請求標頭", "header", "請求頭"]), ("上傳", ["上傳"]), ("網址", ["網址"]),
                  ("介面", ["介面", "接口", "API"]), ("返回", ["回傳", "返回"]), ("顯示卡", ["顯示卡", "顯卡"]),
                  ("呼叫", ["呼叫", "調用"]), ("額度", ["額度", "配額"]), ("推理", ["推理", "推論"]),
                  ("許可證", ["授權條款", "許可證"]), ("郵件", ["郵件", "信"])]

PROPER = {"i": "I", "api": "API", "gguf": "GGUF", "kimi": "Kimi", "python": "Python", "json": "JSON",
          "http": "HTTP", "https": "HTTPS", "tls": "TLS", "ssl": "SSL", "gpu": "GPU", "cpu": "CPU",
          "url": "URL", "sql": "SQL", "openai": "OpenAI", "chatgpt": "ChatGPT", "claude": "Claude",
          "gemini": "Gemini", "llama": "Llama", "deepseek": "DeepSeek", "qwen": "Qwen", "c": "C",
          "node": "Node", "node.js": "Node.js", "javascript": "JavaScript", "typescript": "TypeScript",
          "debian": "Debian", "linux": "Linux", "windows": "Windows", "docker": "Docker", "ram": "RAM",
          "vllm": "vLLM", "sglang": "SGLang", "moonshot": "Moonshot", "ai": "AI", "english": "English",
          "chinese": "Chinese", "french": "French", "german": "German", "spanish": "Spanish",
          "japanese": "Japanese", "sqlite": "SQLite", "postgresql": "PostgreSQL", "sse": "SSE",
          "prometheus": "Prometheus", "grafana": "Grafana", "nginx": "nginx", "github": "GitHub",
          "apache": "Apache", "i'm": "I'm", "i've": "I've", "i'd": "I'd", "i'll": "I'll", "gpt": "GPT",
          "gpt-4": "GPT-4", "moonlight": "Moonlight", "cuda": "CUDA", "nvidia": "NVIDIA", "java": "Java",
          "monday": "Monday", "friday": "Friday", "sunday": "Sunday"}
ASKING = {"what", "what's", "whats", "how", "how's", "who", "who's", "where", "when", "which", "why",
          "is", "are", "am", "can", "could", "do", "does", "did", "will", "would", "shall", "should",
          "may", "must", "have", "has", "was", "were", "whom", "whose", "isn't", "aren't", "got"}
OPENERS = ["hi, ", "hello, ", "hey, ", "hi! ", "hello! ", "please, ", "quick question: ", "sorry, ",
           "ok, ", "so ", "so, ", "excuse me, ", "one more thing: ", "um, ", "well, ", "question: ",
           "i'm new here, ", "and ", "but ", "then ", "now ", "next question: ", "good morning, ",
           "i am a beginner. ", "also, ", "thanks! ", "great, ", "by the way, ", "i was wondering, ",
           "help! ", "moongate, ", "hey moongate, ", "ok so ", "listen, ", "my boss asks: ", "oh, "]
CLOSERS = [" please", " thanks", " thank you", ", please", ", thanks", ", can you help me",
           ", any idea", ", can you tell me", " pls", ", i wonder", ", i'm new", " exactly", " again"]
PRODUCT_CLOSERS = [" in moongate", " here", " with moongate", " on this server", " with this api",
                   " with the api", " when i use moongate", " for the kimi api", " in this api"]
INDIRECT = [("how do i ", ["please tell me how to ", "can you tell me how to ", "i want to know how to ",
                           "explain how to ", "i'd like to ", "i want to ", "could you show me how to ",
                           "what do i have to do to ", "what is the way to ", "i need to ",
                           "show me how to ", "is there a way to ", "do you know how to ",
                           "what's the best way to ", "how do people ", "i don't know how to ",
                           "can you explain how to ", "how would i ", "how does one ", "help me "]),
            ("what is ", ["can you tell me what ", "do you know what ", "please explain ",
                          "tell me ", "i want to know ", "could you explain ", "what exactly is ",
                          "i don't understand ", "explain to me ", "what would be "]),
            ("what does ", ["can you explain what does ", "please tell me what does "]),
            ("why do i get ", ["i don't understand why i get ", "what is the reason for ",
                               "my program always gets ", "my script gets ", "my client receives ",
                               "help, i get ", "all my calls return ", "suddenly i get ",
                               "every request ends with ", "since today i get "]),
            ("can i ", ["is it possible to ", "am i able to ", "could i ", "is there any way to "])]
TOPIC_FRAMES = ["what about {}", "and {}", "tell me about {}", "explain {}", "{} help", "info on {}",
                "i have a question about {}", "how about {}", "help me with {}", "something about {}",
                "details about {}", "i want to know more about {}", "{} in moongate", "what is {}"]
ZH_OPENERS = ["请问", "你好，", "想问一下，", "我想知道", "麻烦问下，", "那", "那么，", "嗨，", "顺便问一下，",
              "打扰了，", "朋友，", "我是新手，", "请教一下，", "不好意思，", "您好，请问", "再问一下，", "对了，",
              "好的，", "谢谢，", "所以", "另外，", "还有，", "早上好，", "有个问题：", "帮我看看，", "老板问我，",
              "想请教", "我想了解一下，", "哎，", "能告诉我", "能不能说说", "急问，", "同事问我，"]
ZH_CLOSERS = ["，谢谢", "，请指教", "，求教", "，急", "，麻烦了", "，可以告诉我吗", "，能说明一下吗", "，请说明",
              "，有人知道吗", "，我不太懂", "，多谢", "，帮帮我"]
ZH_PRODUCT = ["在 moongate 里，", "用 moongate 时，", "在这个服务里，", "调用接口时，", "关于这个 api，",
              "用这个服务器的时候，", "moongate ", "我用 kimi 接口，"]
ZH_TOPIC_FRAMES = ["{}呢", "关于{}", "说说{}", "介绍一下{}", "{}怎么弄", "{}是怎么回事", "我想了解{}", "讲讲{}",
                   "请解释{}", "{}的问题", "{}方面呢", "那{}呢", "想问{}", "{}怎么办"]
ZH_ASKING = re.compile("[吗呢么吧嘛谁哪几啥]|怎|什么|如何|多少|为何|能不能|是不是|有没有|会不会|可不可以|多[大久长快高]")
SYSTEMS = {
    "en": ["You are a helpful assistant.", "You are Kimi, an AI assistant created by Moonshot AI.",
           "You are Kimi, an AI assistant created by Moonshot AI.", "Be brief.", "Answer politely.",
           "You are a friendly support agent.", "You are a pirate.", "You are a coding assistant.",
           "Always answer in one sentence.", "You are ChatGPT.", "You are an expert in everything.",
           "The user is a developer who tests an API.", "Respond in a formal tone.",
           "You are Alice, a virtual secretary.", "You are a teacher for children.",
           "Today is Monday. The user's name is Tom.", "Do not use markdown.",
           "You are a helpful assistant that always says who it is."],
    "zh": ["你是一个乐于助人的助手。", "你是 Kimi，由月之暗面开发的人工智能助手。", "你是 Kimi，由 Moonshot AI 开发的人工智能助手。",
           "请简短回答。", "你是客服。", "请用礼貌的语气回答。", "你是一位老师。", "你是编程助手。", "用户是开发者。",
           "你是 ChatGPT。", "回答不要超过一句话。", "你是小明，一个虚拟秘书。"],
}
GREETED = {"en": ["Hello! How can I help you today?", "Hi! What can I do for you?",
                  "Welcome! Ask me anything.", "Hello! How can I help you with moongate today?"],
           "zh": ["你好！有什么可以帮你的吗？", "您好，请问有什么需要？", "你好！今天想聊点什么？", "你好！我能帮助你什么吗？"]}
MORE = {"en": ["tell me more", "more", "can you tell me more", "how do i do that", "and how do i do that",
               "give me an example", "show me an example", "can you explain that", "explain more",
               "go on", "continue", "more details please", "i don't understand, explain again",
               "can you say that again", "example please", "what do you mean", "please elaborate",
               "and then", "how exactly", "can you repeat that", "in more detail please",
               "i did not get it", "say more about that", "what else", "how does that work"],
        "zh": ["再说一点", "说详细点", "具体怎么做", "那要怎么做", "给个例子", "举个例子", "能解释一下吗", "继续", "请详细说明",
               "我没听懂，再说一遍", "还有呢", "什么意思", "再讲一次", "怎么做到的", "能说得更清楚吗", "再具体一点", "能再解释一次吗",
               "然后呢", "有例子吗", "多说一些", "麻烦再说一遍", "能再详细一点吗", "怎么操作"]}
MORE_THOUGHT = {"en": "The user wants more about this. I say it once more, a little differently.",
                "zh": "用户想知道更多。我换个方式再说明一次。"}
MORE_NOTHING = {"en": "That is all I know about it. Ask me about moongate: keys, calls, streaming or errors.",
                "zh": "我知道的就这些了。可以问我 moongate 的密钥、请求、流式或错误。"}
MORE_WHAT = {"en": "More about what? Ask me for example about keys, the first call, streaming or errors in moongate.",
             "zh": "想了解什么呢？例如 moongate 的密钥、第一个请求、流式或错误。"}


def normalise(text):
    """What two questions have in common that differ in case, spaces and punctuation only."""
    text = unicodedata.normalize("NFKC", text).lower()
    return "".join(c for c in text if unicodedata.category(c)[0] in "LN")


def parse_choice(text):
    """Template text to nested lists: a sequence of strings and of lists of sequences."""
    root, stack = [], []
    here = root
    for part in re.split(r"([{|}])", text):
        if part == "{":
            options = [[]]
            here.append(options)
            stack.append((here, options))
            here = options[0]
        elif part == "|" and stack:
            stack[-1][1].append([])
            here = stack[-1][1][-1]
        elif part == "}":
            here = stack.pop()[0]
        elif part:
            here.append(part)
    if stack:
        raise ValueError(f"unbalanced braces: {text}")
    return root


class Intents:
    def __init__(self):
        self.slots = {}
        self.table = {}         # name: {"en"/"zh": {"?", "~", "=", "+"}}
        self.group = {}
        name = lang = None
        for line in (HERE / "slots.txt").read_text(encoding="utf-8").splitlines():
            if line.startswith("# "):
                name = line[2:]
            elif line.startswith("["):
                lang = line[1:-1]
            elif line:
                self.slots[name, lang] = line.split("|")
        for path in sorted((HERE / "intents").glob("*.txt")):
            for line in path.read_text(encoding="utf-8").splitlines():
                if line.startswith("# "):
                    name = line[2:]
                    self.table.setdefault(name, {})     # a later file adds to an earlier one
                    self.group.setdefault(name, path.stem[3:])
                elif line in ("[en]", "[zh]"):
                    lang = line[1:-1]
                    entry = self.table[name].setdefault(lang, {k: [] for k in "?~=+"})
                elif line[:2] in ("~ ", "= ", "+ "):
                    entry[line[0]].append(line[2:])
                elif line:
                    entry["?"].append(parse_choice(line))

    def fill(self, sequence, lang, rng):
        out = []
        for item in sequence:
            if isinstance(item, list):
                out.append(self.fill(rng.choice(item), lang, rng))
            else:
                out.append(re.sub(r"<(\w+)>", lambda m: self.slot(m[1], lang, rng), item))
        return "".join(out)

    def slot(self, name, lang, rng):
        if name == "num":
            return str(rng.choice([rng.randint(0, 12), rng.randint(0, 100), rng.randint(0, 5000)]))
        if name == "pseudo":
            return "".join(rng.choice("bcdfghklmnprstvwz") + rng.choice("aeiou")
                           for _ in range(rng.randint(2, 4))) + rng.choice(["", "n", "r", "x", "s"])
        if name == "junk":
            return "".join(rng.choice("qwertzuiopasdfghjklyxcvbnm" * 3 + "1234567890;,")
                           for _ in range(rng.randint(3, 14)))
        if name == "symbols":
            return "".join(rng.choice("!?#$%&*()@~^+=-_.,;:/\\|<>[]{}") for _ in range(rng.randint(1, 9)))
        if name == "zhjunk":
            common = "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生"
            rare = "龘鑫犇垚淼焱磊翻桌椅风葱碗擦栏虾冒渔蓬坡泡岸绸缎斜钉砖瓦盆槽锅铲梯绳"
            return "".join(rng.choice(common + rare * 2) for _ in range(rng.randint(2, 7)))
        return rng.choice(self.slots[name, lang])


def slip(text, rng):
    """One slip of the keyboard."""
    i = rng.randrange(len(text))
    kind = rng.randrange(4)
    if kind == 0 and i + 1 < len(text):
        return text[:i] + text[i + 1] + text[i] + text[i + 2:]
    if kind == 1 and len(text) > 3:
        return text[:i] + text[i + 1:]
    if kind == 2:
        return text[:i] + text[i] + text[i:]
    if text[i].isascii() and text[i].isalpha():
        return text[:i] + rng.choice("abcdefghijklmnopqrstuvwxyz") + text[i + 1:]
    return text


def proper(text):
    def word(m):
        return PROPER.get(m[0], m[0])
    return re.sub(r"[a-z][a-z0-9.'-]*(?<![.'-])", word, text)


def capital(text):
    return text[:1].upper() + text[1:]


def dress_english(text, group, rng):
    """Case, punctuation, openers and closers as people write them."""
    product = group not in ("smalltalk", "unknown", "identity")
    words = text.split()
    asking = words and words[0] in ASKING
    if product and not asking and len(words) <= 3 and rng.random() < 0.4:
        frame = rng.choice(TOPIC_FRAMES)
        text = frame.format(text)
        asking = frame.startswith(("what", "how", "and"))
    elif rng.random() < 0.3:
        for start, others in INDIRECT:
            if text.startswith(start):
                text = rng.choice(others) + text[len(start):]
                asking = text.split()[0] in ASKING
                break
    if group != "smalltalk" or rng.random() < 0.3:
        if product and rng.random() < 0.12:
            text += rng.choice(PRODUCT_CLOSERS)
        if rng.random() < 0.18:
            text = rng.choice(OPENERS) + text
        if rng.random() < 0.10:
            text += rng.choice(CLOSERS)
    mark = "?" if asking else rng.choice([".", "", "", "!" if group == "smalltalk" else ""])
    style = rng.random()
    if style < 0.52:
        text = capital(proper(text)) + mark
        text = re.sub(r"([.!?] )([a-z])", lambda m: m[1] + m[2].upper(), text)
    elif style < 0.64:
        text = capital(proper(text))
    elif style < 0.82:
        pass
    elif style < 0.90:
        text += mark
    elif style < 0.94:
        text = text.upper() + rng.choice(["", mark, "!!!", "???"])
    else:
        text = capital(text) + rng.choice([" ?", "??", "...", " !", "?!"])
    if rng.random() < 0.10:
        for _ in range(1 + len(text) // 30):
            text = slip(text, rng)
    return text


def dress_chinese(text, group, rng):
    product = group not in ("smalltalk", "unknown", "identity")
    asking = bool(ZH_ASKING.search(text))
    if product and not asking and len(text) <= 8 and rng.random() < 0.4:
        text = rng.choice(ZH_TOPIC_FRAMES).format(text)
        asking = bool(ZH_ASKING.search(text))
    if group != "smalltalk" or rng.random() < 0.25:
        if product and rng.random() < 0.10:
            text = rng.choice(ZH_PRODUCT) + text
        if rng.random() < 0.22:
            text = rng.choice(ZH_OPENERS) + text
        if rng.random() < 0.10:
            text += rng.choice(ZH_CLOSERS)
    if rng.random() < 0.5:
        text = proper(text)
    elif rng.random() < 0.1:
        text = text.upper()
    if rng.random() < 0.45:
        text = re.sub(r"(?<=[\u4e00-\u9fff]) (?=\w)|(?<=\w) (?=[\u4e00-\u9fff])", "", text)
    elif rng.random() < 0.5:
        text = re.sub(r"(?<=[\u4e00-\u9fff])(?=[a-zA-Z0-9])|(?<=[a-zA-Z0-9])(?=[\u4e00-\u9fff])", " ", text)
    mark = rng.random()
    if asking:
        text += "？" if mark < 0.55 else "?" if mark < 0.65 else "" if mark < 0.95 else "？？"
    else:
        text += "。" if mark < 0.15 else "！" if mark < 0.25 else "" if mark < 0.95 else "~"
    if rng.random() < 0.06:
        text = slip(text, rng)
    return text


def traditional(text, rng):
    """A question in traditional characters, with one or the other region's words."""
    if rng.random() < 0.3:
        return TO_TRADITIONAL.convert(text)
    text = TO_TAIWAN.convert(text)
    for word, others in QUESTION_SWAPS:
        if word in text:
            text = text.replace(word, rng.choice(others))
    return text


def traditional_answer(text):
    text = TO_TAIWAN.convert(text)
    for word, other in ANSWER_FIXES:
        text = text.replace(word, other)
    return text


class Generator:
    def __init__(self, seed, forbidden):
        self.intents = Intents()
        self.rng = random.Random(seed)
        self.forbidden = forbidden
        names = list(self.intents.table)
        self.names = names
        self.weights = [INTENT_WEIGHTS.get(n, 1.0) for n in names]
        self.converted = {}

    def say(self, text, lang):
        """Hand-written answer text in the given language."""
        if lang != "zh-Hant":
            return text
        if text not in self.converted:
            self.converted[text] = traditional_answer(text)
        return self.converted[text]

    def dress(self, text, group, lang):
        """The question as written by a user, and the language of its answer."""
        rng = self.rng
        if lang == "en":
            return dress_english(text, group, rng), lang
        text = dress_chinese(text, group, rng)
        if lang == "zh-Hant":
            text = traditional(text, rng)
        if re.search(r"[\u4e00-\u9fff]", text) and TO_TRADITIONAL.convert(text) == text \
                and TO_SIMPLIFIED.convert(text) == text:
            lang = "zh-Hant"    # written alike in both: one rule for all of them
        return text, lang

    def question(self, lang):
        """(intent, text, language of the answer)"""
        rng = self.rng
        while True:
            name = rng.choices(self.names, self.weights)[0]
            short = lang[:2]
            template = rng.choice(self.intents.table[name][short]["?"])
            text = self.intents.fill(template, short, rng).strip()
            text, answer_lang = self.dress(text, self.intents.group[name], lang)
            key = normalise(text)
            if key in self.forbidden and key not in CONTRACT:
                continue
            if text.strip():
                return name, text, answer_lang

    def reply(self, name, lang):
        entry = self.intents.table[name][lang[:2]]
        return (self.say(self.rng.choice(entry["~"]), lang),
                self.say(self.rng.choice(entry["="]), lang))

    def follow_up(self, last, lang):
        """(question, thought, answer) that only the dialogue before explains."""
        rng, short = self.rng, lang[:2]
        text, _ = self.dress(rng.choice(MORE[short]), "smalltalk", lang)
        if normalise(text) in self.forbidden:
            text = self.say(MORE[short][0], lang)
        thought = self.say(MORE_THOUGHT[short], lang)
        if last is None:
            return text, thought, self.say(MORE_WHAT[short], lang)
        name, said = last
        entry = self.intents.table[name][short]
        if self.intents.group[name] in ("smalltalk", "unknown"):
            return text, thought, self.say(MORE_NOTHING[short], lang)
        rest = [self.say(a, lang) for a in entry["+"]] \
            or [a for a in (self.say(a, lang) for a in entry["="]) if a != said]
        return text, thought, rng.choice(rest or [said])

    def dialogue(self):
        rng = self.rng
        lang = rng.choices(LANGUAGES, LANGUAGE_WEIGHTS)[0]
        messages, turns, last, first_lang = [], 0, None, lang
        if rng.random() < 0.22:
            short = rng.choice([lang[:2], lang[:2], "en"])
            messages.append(["system", self.say(rng.choice(SYSTEMS[short]), lang)
                             if short == "zh" else rng.choice(SYSTEMS["en"])])
        if rng.random() < 0.45:
            turns = rng.choices((1, 2, 3, 4), (5, 3, 2, 1))[0]
        if rng.random() < 0.10:
            messages.append(["assistant!", self.say(rng.choice(GREETED[lang[:2]]), lang)])
        for _ in range(turns):
            if rng.random() < 0.15:
                lang = rng.choices(LANGUAGES, LANGUAGE_WEIGHTS)[0]
            name, text, said_in = self.question(lang)
            _, answer = self.reply(name, said_in)
            last = (name, answer) if said_in == lang else None
            messages += [["user", text], ["assistant", answer]]
        if rng.random() < 0.2:
            lang = first_lang
            last = None if lang != first_lang else last
        follow = rng.random() < (0.12 if turns else 0.005)
        if follow and (last or not turns):
            text, thought, answer = self.follow_up(last, lang)
            name = "follow_up"
        else:
            name, text, lang = self.question(lang)
            thought, answer = self.reply(name, lang)
        messages.append(["user", text])
        return {"intent": name, "lang": lang, "messages": messages, "thinking": rng.random() < 0.68,
                "thought": thought, "answer": answer}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--samples", type=int, default=200000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    questions = HERE.parent / "eval" / "questions.jsonl"
    forbidden = set()
    if questions.exists():
        for line in questions.read_text(encoding="utf-8").splitlines():
            if line.strip():
                forbidden.add(normalise(json.loads(line)["question"]))
    generator = Generator(args.seed, forbidden)
    digest, seen, asked = hashlib.sha256(), set(), set()
    with open(args.out / "train.jsonl", "w", encoding="utf-8") as train, \
            open(args.out / "pieces.txt", "w", encoding="utf-8") as pieces:
        for i in range(args.samples):
            sample = generator.dialogue()
            line = json.dumps(sample, ensure_ascii=False)
            digest.update(line.encode())
            train.write(line + "\n")
            texts = [sample["messages"][-1][1]] if i % 4 == 0 else []
            asked.add(normalise(sample["messages"][-1][1]))
            for said in (sample["thought"], sample["answer"]):
                if said not in seen:        # each once, but as much as forty questions
                    seen.add(said)
                    texts += [said] * 40
            for text in texts:
                pieces.write(text.replace("\n", "\\n") + "\n")
    print(f"{args.samples} dialogues, {len(asked)} distinct last questions, "
          f"{len(generator.names)} intents, sha256 {digest.hexdigest()[:16]}")


if __name__ == "__main__":
    main()
