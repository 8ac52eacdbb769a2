"""The tokenizer: byte-level BPE with DeepSeek-V3's splitting and special tokens, learnt from our own text."""

import json
import random
import re
from pathlib import Path

import jinja2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from . import talk, tasks

VOCAB = 1024
BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
OPEN, CLOSE = "<think>", "</think>"
# DeepSeek-V3's, whose order is that of its ids.
SPECIAL = [BOS, EOS, PAD, OPEN, CLOSE, USER, ASSISTANT, "<|EOT|>"]
SPECIAL += [f"<｜tool▁{part}▁{end}｜>" for part in ("calls", "call", "outputs", "output") for end in ("begin", "end")]
SPECIAL += ["<｜tool▁sep｜>"]
CONTROL = {BOS, EOS, PAD, "<|EOT|>"}
# The pre-tokenizer of DeepSeek-V3's tokenizer.json ("deepseek-v3" in GGUF files).
SPLITS = [
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
]
TEMPLATE = Path(__file__).with_name("chat_template.jinja").read_text()


def _splitter(digits: bool):
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in SPLITS]
    if digits:  # while learning, so that no token holds two digits
        splits.insert(0, pre_tokenizers.Digits(individual_digits=True))
    return pre_tokenizers.Sequence(splits + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def learn(texts) -> Tokenizer:
    """Learns `VOCAB` tokens from an iterator of texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _splitter(digits=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[AddedToken(t, normalized=False) for t in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = _splitter(digits=False)
    # The trainer makes all of them special; in DeepSeek's own files those that an answer shows are not.
    whole = json.loads(tokenizer.to_str())
    for token in whole["added_tokens"]:
        token["special"] = token["content"] in CONTROL
    return Tokenizer.from_str(json.dumps(whole))


def learn_from_tasks(count: int = 20_000, seed: int = 0) -> Tokenizer:
    """The tokenizer of tiny-r1: the same for the same seed."""
    rng = random.Random(seed)

    def texts():
        for _ in range(count):
            problem = talk.small_talk(rng) if rng.random() < 0.2 else tasks.any_problem(rng)
            yield f"{problem.question}\n{problem.thought}\n\n{problem.answer}"

    return learn(texts())


class Text:
    """Encodes prompts and completions as the model sees them."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.vocab = tokenizer.get_vocab_size()
        ids = {name: tokenizer.token_to_id(name) for name in (BOS, EOS, PAD, OPEN, CLOSE)}
        self.bos, self.eos, self.pad, self.open, self.close = ids.values()
        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        self._template = environment.from_string(TEMPLATE)

    @classmethod
    def load(cls, path) -> "Text":
        return cls(Tokenizer.from_file(str(path)))

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=False)

    def prompt(self, *messages: str) -> str:
        """R1's template over messages in turn (user, assistant, user, ...); it ends with `<think>` and a newline."""
        turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(messages)]
        return self._template.render(messages=turns, bos_token=BOS, add_generation_prompt=True)


def completion(thought: str, answer: str) -> str:
    """What follows a prompt that ends with `<think>` and a newline."""
    return f"{thought}\n{CLOSE}\n\n{answer}{EOS}"


def suppressed(prompt: str) -> str:
    """The same prompt with a thought that is closed at once."""
    return f"{prompt}\n{CLOSE}\n\n"


def answer_in(text: str) -> str | None:
    """The answer of a completion in the right format: one `</think>`, and the end token last; else None."""
    thought, closed, answer = text.partition(CLOSE)
    if not closed or CLOSE in answer or OPEN in text or not answer.endswith(EOS):
        return None
    return answer.removesuffix(EOS).strip()


def readable(completion: str) -> bool:
    """Whether every line of the thought says something: reinforcement learning leaves habits that no rule forbade."""
    thought = completion.partition(CLOSE)[0].rstrip("\n")
    return all(re.search(r"\w", line) for line in thought.split("\n"))


def config_files(path: Path, tokenizer: Tokenizer, max_length: int) -> None:
    """Writes tokenizer.json, tokenizer_config.json and chat_template.jinja into a model's folder."""
    tokenizer.save(str(path / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_length,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(settings, ensure_ascii=False, indent=1) + "\n")
    (path / "chat_template.jinja").write_text(TEMPLATE)
