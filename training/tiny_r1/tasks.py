"""Questions with worked solutions, made by program: stacks of boxes, and sums done on paper.

Every function takes a `random.Random` and is deterministic by its seed. What a question is about (its `content`) decides
alone whether it is held out, whatever its wording: see `held_out`.
"""

import hashlib
import random
from dataclasses import dataclass

COLOURS = ["red", "blue", "yellow", "green", "orange", "purple", "white", "black", "pink", "brown", "gray", "cyan"]
ARITHMETIC = ("addition", "multiplication", "division")
TASKS = ("boxes",) + ARITHMETIC


@dataclass(frozen=True)
class Problem:
    """A question, its worked solution (what goes between `<think>` and `</think>`), and the answer after it."""

    task: str
    content: str  # what it is about, without its wording
    question: str
    thought: str
    answer: str
    size: int  # boxes, or digits of the longest operand
    steps: int  # operations, or digits of the other operand


def held_out(content: str) -> bool:
    """One in ten contents is never trained on."""
    return hashlib.sha256(content.encode()).digest()[0] < 26


def draw(rng: random.Random, make, test: bool) -> Problem:
    """The first problem of `make` on the wanted side of the split."""
    while True:
        problem = make(rng)
        if held_out(problem.content) == test:
            return problem


# Stacks of boxes

OPENINGS = [
    "A {} box is on the bottom",
    "There is a stack of boxes. The {} one is on the bottom",
    "Suppose you have a stack of boxes with a {} box at the bottom",
    "Some boxes are stacked: the lowest is {}",
    "Start with a {} box on the floor",
    "I stack boxes. First comes a {} one",
]
NEXT_BOX = [
    ", a {} one on top of it",
    ", a {} one on top of that",
    ", then a {} box",
    ", above it a {} one",
    ", on top of that a {} box",
    ", next the {} one",
]
WORDS = {
    "top": [
        "take the {} box out and put it on top",
        "move the {} box to the top",
        "put the {} one on the top of the stack",
        "pull out the {} box and place it on top",
        "lift the {} one to the top",
    ],
    "bottom": [
        "put the {} box at the bottom",
        "take the {} box out and put it at the bottom",
        "slide the {} one under the stack",
        "move the {} box to the bottom",
        "pull out the {} one and push it under all the others",
    ],
    "swap": ["swap the {} and {} boxes", "swap the {} box with the {} one", "exchange the {} one and the {} one"],
    "add": [
        "add a {} box on top",
        "put a new {} box on top",
        "place another box, a {} one, on top",
        "add a {} one to the top",
    ],
    "remove": ["remove the {} box", "take the {} one away", "throw the {} box out", "take out the {} box for good"],
}
JOINS = [". ", ", then ", "; ", "; then "]
ENDINGS = [
    ". Describe the stack.",
    ". What is the stack now, from bottom to top?",
    ". Name the boxes from bottom to top.",
    ". How does the stack look now?",
    ": describe the stack.",
]


def apply(stack: list[str], op: tuple) -> list[str]:
    """The stack, bottom first, after one operation."""
    kind, *boxes = op
    if kind == "swap":
        a, b = boxes
        return [b if box == a else a if box == b else box for box in stack]
    rest = [box for box in stack if box != boxes[0]]
    return {"top": rest + boxes, "bottom": boxes + rest, "add": stack + boxes, "remove": rest}[kind]


def box_operations(rng: random.Random, stack: list[str], count: int) -> list[tuple]:
    """`count` operations that can be done, one after the other. A stack keeps two boxes at least."""
    unused = [colour for colour in COLOURS if colour not in stack]
    rng.shuffle(unused)
    ops = []
    for _ in range(count):
        kinds = ["top", "top", "bottom", "swap"] + ["add"] * bool(unused) + ["remove"] * (len(stack) > 2)
        kind = rng.choice(kinds)
        boxes = [unused.pop()] if kind == "add" else rng.sample(stack, 2 if kind == "swap" else 1)
        ops.append((kind, *boxes))
        stack = apply(stack, ops[-1])
    return ops


def box_question(rng: random.Random, stack: list[str], ops: list[tuple]) -> tuple[str, list[str]]:
    """The puzzle in words, and of these the words of each operation."""
    text = rng.choice(OPENINGS).format(stack[0]) + "".join(rng.choice(NEXT_BOX).format(box) for box in stack[1:]) + ". "
    clauses = []
    for i, (kind, *boxes) in enumerate(ops):
        text += rng.choice(JOINS) if i else ""
        words = rng.choice(WORDS[kind]).format(*boxes)
        clauses.append(words[0].upper() + words[1:] if text.endswith(". ") else words)
        text += clauses[-1]
    return with_an(text + rng.choice(ENDINGS)), [with_an(clause) for clause in clauses]


def with_an(text: str) -> str:
    return text.replace("a orange", "an orange").replace("A orange", "An orange")


def box_step(number: int, op: tuple) -> str:
    """One operation with its number, as the thought writes it."""
    kind, *boxes = op
    done = {"top": "{} to top", "bottom": "{} to bottom", "swap": "swap {} {}", "add": "add {}", "remove": "remove {}"}
    return f"{number} {done[kind].format(*boxes)}"


def box_thought(stack: list[str], ops: list[tuple], clauses: list[str]) -> tuple[str, list[str]]:
    """The worked solution, and the stack at its end.

    First what is asked, in its own words; then each step with the stack after it. Where the next instruction begins is found
    by the words of the last one, and by its number.
    """
    lines = ["start: " + " ".join(stack), *quoted(clauses)]
    for i, op in enumerate(ops, 1):
        stack = apply(stack, op)
        lines.append(f"{box_step(i, op)}: {' '.join(stack)}")
    return "\n".join(lines), stack


def quoted(clauses: list[str]) -> list[str]:
    """Instructions by number, in their own words."""
    return [f"{i} {clause}" for i, clause in enumerate(clauses, 1)]


def boxes(rng: random.Random, sizes=(3, 7), operations=(1, 5)) -> Problem:
    """A stack of `sizes` boxes that is changed by so many `operations`."""
    n, k = rng.randint(*sizes), rng.randint(*operations)
    stack = rng.sample(COLOURS, n)
    ops = box_operations(rng, stack, k)
    question, clauses = box_question(rng, stack, ops)
    thought, last = box_thought(stack, ops, clauses)
    return Problem("boxes", f"boxes {stack} {ops}", question, thought, box_answer(last), n, k)


def box_answer(stack: list[str]) -> str:
    return f"From bottom to top: {', '.join(stack)}."


# Sums on paper

ASK = {
    "addition": ["What is {} + {}?", "Add {} and {}.", "{} + {} = ?", "Work out {} plus {}.", "Calculate {} + {}."],
    "multiplication": [
        "What is {} times {}?",
        "Multiply {} by {}.",
        "{} * {} = ?",
        "Work out {} times {}.",
        "Calculate {} * {}.",
    ],
    "division": [
        "What is {} divided by {}?",
        "Divide {} by {}.",
        "{} / {} = ?",
        "Work out {} divided by {}.",
        "Calculate {} / {}.",
    ],
}


def addition_lines(a: int, b: int) -> list[str]:
    """Column by column from the right; each line holds what is left to add and the digits written so far."""
    left, right, carry, written, lines = str(a), str(b), 0, "", []
    while left or right:
        x, y = left[-1:] or "0", right[-1:] or "0"
        total = int(x) + int(y) + carry
        sum_ = f"{x}+{y}" + (f"+{carry}" if carry else "")
        last = not left[:-1] and not right[:-1]
        written = (str(total) if last else str(total % 10)) + written
        lines.append(f"{left or 0}+{right or 0}: {sum_}={total}, {written}")
        left, right, carry = left[:-1], right[:-1], total // 10
    return lines


def by_digit_lines(a: int, digit: int) -> list[str]:
    """A number times one digit, from the right."""
    left, carry, written, lines = str(a), 0, "", []
    while left:
        total = int(left[-1]) * digit + carry
        written = (str(total) if len(left) == 1 else str(total % 10)) + written
        lines.append(f"{left}*{digit}: {left[-1]}*{digit}" + (f"+{carry}" if carry else "") + f"={total}, {written}")
        left, carry = left[:-1], total // 10
    return lines


def multiplication_lines(a: int, b: int) -> list[str]:
    """`a` times each digit of `b` from the right, then the sum of both with their places; before all that, the plan."""
    if b < 10:
        return by_digit_lines(a, b)
    units, tens = b % 10, b // 10
    lines = [f"{a}*{b}={a}*{units}+{a}*{tens}*10"]
    lines += by_digit_lines(a, units) + by_digit_lines(a, tens)
    return lines + addition_lines(a * units, a * tens * 10)


def division_lines(a: int, b: int) -> list[str]:
    """Long division: each line holds the number in hand, the digits yet to come, and the quotient so far."""
    digits, quotient, lines = str(a), "", []
    take = 1
    while int(digits[:take]) < b and take < len(digits):
        take += 1
    hand, rest = int(digits[:take]), digits[take:]
    while True:
        q, left = divmod(hand, b)
        quotient += str(q)
        lines.append(f"{hand}{' ' + rest if rest else ''}: {hand}/{b}={q} r {left}, {quotient}")
        if not rest:
            return lines
        hand, rest = left * 10 + int(rest[0]), rest[1:]


def answer_of(task: str, a: int, b: int) -> str:
    """The answer to a sum."""
    if task == "division":
        q, r = divmod(a, b)
        return f"{q} remainder {r}." if r else f"{q}."
    return f"{a + b if task == 'addition' else a * b}."


def number(rng: random.Random, digits: int) -> int:
    return rng.randint(10 ** (digits - 1) if digits > 1 else 1, 10**digits - 1)


def sum_(rng: random.Random, task: str, digits_a: int, digits_b: int) -> Problem:
    """A sum of numbers with so many digits."""
    a, b = number(rng, digits_a), number(rng, digits_b)
    if task == "division":
        a, b = max(a, 10), max(b, 2)
    lines = {"addition": addition_lines, "multiplication": multiplication_lines, "division": division_lines}[task](a, b)
    question = rng.choice(ASK[task]).format(a, b)
    return Problem(task, f"{task} {a} {b}", question, "\n".join(lines), answer_of(task, a, b), digits_a, digits_b)


def arithmetic(rng: random.Random, task: str) -> Problem:
    """A sum of any size that is trained: addition to 4 + 4 digits, multiplication to 3 x 2, division to 4 by 1."""
    longest, other = {"addition": (4, 4), "multiplication": (3, 2), "division": (4, 1)}[task]
    a = rng.choices(range(1, longest + 1), weights=range(1, longest + 1))[0]
    b = rng.choices(range(1, other + 1), weights=range(1, other + 1))[0]
    return sum_(rng, task, max(a, 2), b)


def any_problem(rng: random.Random) -> Problem:
    """One of the trained kinds: as many boxes as sums."""
    if rng.random() < 0.5:
        return boxes(rng)
    return arithmetic(rng, rng.choice(ARITHMETIC))


# What is measured: name, maker. `beyond` is never trained.
SUITES = {
    "boxes 3-5, 1-3": lambda rng: boxes(rng, (3, 5), (1, 3)),
    "boxes 3-7, 1-5": lambda rng: boxes(rng, (3, 7), (1, 5)),
    "boxes 8-9, 6-7 (beyond)": lambda rng: boxes(rng, (8, 9), (6, 7)),
    "division 4 / 1": lambda rng: sum_(rng, "division", rng.randint(2, 4), 1),
    "addition 4 + 4": lambda rng: sum_(rng, "addition", 4, 4),
    "multiplication 3 x 2": lambda rng: sum_(rng, "multiplication", 3, 2),
}
MIX = [name for name in SUITES if "beyond" not in name]


def suite(name: str, count: int, seed: int = 2026) -> list[Problem]:
    """Held-out problems of one kind; the same ones for the same seed."""
    rng = random.Random(f"{seed} {name}")
    return [draw(rng, SUITES[name], test=True) for _ in range(count)]
