"""What each stage reads: documents as lists of (text, whether the loss counts it).

Random statements (which boxes, which numbers) cannot be foretold, so the loss does not count them.
"""

import random

from . import talk, tasks, tokens
from .tasks import Problem, apply

Document = list[tuple[str, bool]]


def chat(text: tokens.Text, problem: Problem, *earlier: str, thought: bool = True) -> Document:
    """A question in R1's template with the thought and the answer, or with the thought left empty."""
    prompt = text.prompt(*earlier, problem.question)
    if not thought:
        return [(tokens.suppressed(prompt), False), (problem.answer + tokens.EOS, True)]
    return [(prompt, False), (tokens.completion(problem.thought, problem.answer), True)]


def talk_chat(text: tokens.Text, rng: random.Random) -> Document:
    """Small talk, alone or after other turns."""
    problem = tasks.draw(rng, talk.small_talk, test=False)
    earlier = []
    while rng.random() < 0.15:
        before = talk.small_talk(rng) if rng.random() < 0.5 else tasks.any_problem(rng)
        earlier += [before.question, before.answer]
    return chat(text, problem, *earlier, thought=rng.random() < 0.8)


def train_problem(rng: random.Random, make=tasks.any_problem) -> Problem:
    return tasks.draw(rng, make, test=False)


# Pre-training: a textbook. It explains single steps at length and whole solutions mostly of small problems.

NOW = ["Now it is {}.", "Then the stack is {}.", "That gives {}.", "From the bottom: {}."]
EASY = {"sizes": ((3, 4), (3, 5), (3, 6), (4, 7)), "operations": ((1, 1), (1, 2), (1, 3), (1, 5))}


def easy_boxes(rng: random.Random) -> Problem:
    """Mostly small puzzles, and few of full size."""
    level = rng.choices(range(4), weights=(4, 3, 2, 1))[0]
    return tasks.boxes(rng, EASY["sizes"][level], EASY["operations"][level])


def easy_problem(rng: random.Random) -> Problem:
    return easy_boxes(rng) if rng.random() < 0.5 else tasks.arithmetic(rng, rng.choice(tasks.ARITHMETIC))


def box_story(rng: random.Random) -> Document:
    """A stack that changes step by step, told in prose with the stack after each step."""
    stack = rng.sample(tasks.COLOURS, rng.randint(3, 7))
    ops = tasks.box_operations(rng, stack, rng.randint(1, 6))
    opening, _, _ = tasks.box_question(rng, stack, [])[0].partition(". ")
    document = [(tokens.BOS + opening + ".", False), (" " + rng.choice(NOW).format(" ".join(stack)), True)]
    for op in ops:
        stack = apply(stack, op)
        kind, *boxes = op
        words = rng.choice(tasks.WORDS[kind]).format(*boxes).replace("a orange", "an orange")
        document += [(f" {words[0].upper()}{words[1:]}.", False), (" " + rng.choice(NOW).format(" ".join(stack)), True)]
    return document + [(tokens.EOS, True)]


def instructions(rng: random.Random) -> Document:
    """A puzzle whose instructions are told apart and carried over into short form, without being followed."""
    problem = train_problem(rng, tasks.boxes)
    lines = problem.thought.split("\n")
    short = [line.split(": ")[0] for line in lines[1 + problem.steps :]]
    told = "\n\nIn short:\n" + "\n".join(lines[: 1 + problem.steps] + short)
    return [(tokens.BOS + problem.question, False), (told + tokens.EOS, True)]


def full_problem(rng: random.Random) -> Problem:
    """Trained kinds again, most of full size, where mistakes are; above all stacks."""
    kind = rng.random()
    if kind < 0.60:
        return tasks.boxes(rng, (3, 7), (1, 5)) if kind < 0.35 else tasks.boxes(rng, (5, 7), (3, 5))
    if kind < 0.67:
        return tasks.sum_(rng, "addition", 4, 4)
    if kind < 0.80:
        return tasks.sum_(rng, "multiplication", 3, 2)
    if kind < 0.92:
        return tasks.sum_(rng, "division", rng.randint(2, 4), 1)
    return tasks.arithmetic(rng, rng.choice(tasks.ARITHMETIC))


def textbook(rng: random.Random, make=easy_problem) -> Document:
    """A problem with its solution, in the layout of a book."""
    problem = tasks.draw(rng, make, test=False)
    head, body = rng.choice([("Problem: ", "\nSolution:\n"), ("Exercise. ", "\nWorking:\n"), ("", "\n\n")])
    solved = f"{body}{problem.thought}\n{problem.answer}{tokens.EOS}"
    return [(tokens.BOS + head + problem.question, False), (solved, True)]


def facts(rng: random.Random) -> Document:
    """A table of single steps."""
    document = [(tokens.BOS, False)]
    for _ in range(rng.randint(8, 20)):
        a, b, c = rng.randint(0, 9), rng.randint(0, 9), rng.randint(0, 8)
        kind = rng.random()
        if kind < 0.3:
            carry, total = (f"+{min(c, 1)}" if c else ""), a + b + min(c, 1)
            document += [(f"{a}+{b}{carry}", False), (f"={total}\n", True)]
        elif kind < 0.65:
            document += [(f"{a}*{b}" + (f"+{c}" if c else ""), False), (f"={a * b + c}\n", True)]
        else:
            b = max(b, 2)
            hand = rng.randint(0, 10 * b - 1)
            document += [(f"{hand}/{b}", False), (f"={hand // b} r {hand % b}\n", True)]
    return document + [(tokens.EOS, True)]


def pretraining(text: tokens.Text, rng: random.Random) -> Document:
    """One document of the textbook, whose solved problems are mostly small, or of conversations in the chat format."""
    kind = rng.random()
    if kind < 0.10:
        return box_story(rng)
    if kind < 0.20:
        return instructions(rng)
    if kind < 0.30:
        return facts(rng)
    if kind < 0.84:
        return textbook(rng)
    if kind < 0.88:
        return chat(text, tasks.draw(rng, tasks.any_problem, test=False), thought=False)
    return talk_chat(text, rng)


def box_steps(rng: random.Random) -> Document:
    """Steps of a thought, one after the other; boxes that touch are swapped often, as that is learnt last."""
    stack = rng.sample(tasks.COLOURS, rng.randint(3, 7))
    document = [(f"{tokens.BOS}start: {' '.join(stack)}\n", False)]
    for i in range(12):
        op = tasks.box_operations(rng, stack, 1)[0]
        if rng.random() < 0.4:
            lower = rng.randrange(len(stack) - 1)
            op = ("swap", *rng.sample(stack[lower : lower + 2], 2))
        stack = apply(stack, op)
        document += [(tasks.box_step(i % 5 + 1, op), False), (f": {' '.join(stack)}\n", True)]
    return document + [(tokens.EOS, True)]


def conclusions(rng: random.Random) -> Document:
    """Last lines of worked sums with the answers after them: numbers to be copied."""
    document = [(tokens.BOS, False)]
    for _ in range(6):
        problem = train_problem(rng, tasks.SUITES[rng.choice(("addition 4 + 4", "multiplication 3 x 2", "division 4 / 1"))])
        last = problem.thought.split("\n")[-1]
        document += [(f"{last}\n", False), (tokens.completion("", problem.answer).lstrip("\n"), True)]
    return document


def from_quotes(rng: random.Random) -> Document:
    """A thought about a long puzzle, of which the quoted instructions are given."""
    problem = train_problem(rng, lambda rng: tasks.boxes(rng, (4, 7), (3, 5)))
    lines = problem.thought.splitlines(keepends=True)
    given, done = lines[: 1 + problem.steps], lines[1 + problem.steps :]
    return [(tokens.BOS + "".join(given), False), (tokens.completion("".join(done), problem.answer), True)]


def reading(rng: random.Random) -> Document:
    """A long puzzle, of whose thought only the beginning is there: the quoted instructions and the first step."""
    problem = train_problem(rng, lambda rng: tasks.boxes(rng, (3, 7), (3, 5)))
    begun = problem.thought.splitlines(keepends=True)[: 2 + problem.steps]
    return [(f"{tokens.BOS}{problem.question}\n\n", False), ("".join(begun), True)]


def drills(rng: random.Random) -> Document:
    """What a model that knows how to think still gets wrong, again and again."""
    return rng.choices((box_steps, from_quotes, reading, conclusions), weights=(3, 3, 3, 1))[0](rng)


def later_chapters(rng: random.Random) -> Document:
    """One document of the textbook's later chapters: problems of full size, now and then instructions or a table."""
    kind = rng.random()
    if kind < 0.10:
        return instructions(rng)
    if kind < 0.15:
        return facts(rng)
    return textbook(rng, full_problem)
