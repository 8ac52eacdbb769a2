"""Small talk: greetings, and questions that this model cannot answer, with honest short replies."""

import random

from .tasks import Problem

ABOUT = "I am tiny-r1, a very small model. I follow stacks of boxes and do sums: add, multiply, divide."
CANNOT = "I do not know. I am very small: I follow stacks of boxes and do sums, nothing else."

GREETINGS = ["hello", "hi", "hey", "good morning", "good evening", "hello there", "hi there", "hey you", "good day"]
ABOUT_ITSELF = [
    "who are you", "what are you", "what can you do", "what is your name", "how can you help me", "what do you know",
    "introduce yourself", "are you a robot", "are you DeepSeek", "who made you", "help", "what is this",
]
THANKS = ["thanks", "thank you", "thank you very much", "great", "well done", "nice", "cool", "ok", "good job"]
FAREWELLS = ["bye", "goodbye", "see you", "good night", "see you later"]
PLACES = [
    "France", "Spain", "Japan", "Brazil", "Canada", "Egypt", "India", "Norway", "Peru", "Kenya", "Italy", "China",
    "Germany", "Poland", "Chile", "Cuba", "Nepal", "Turkey", "Greece", "Vietnam", "Sweden", "Ghana", "Mexico", "Iran",
    "Portugal", "Iceland", "Morocco", "Russia", "Ireland", "Korea", "Africa", "Europe", "London", "Paris", "Berlin",
    "Rome", "Madrid", "Tokyo", "Boston", "Vienna", "Mars",
]
THINGS = [
    "the sea", "a cat", "love", "the moon", "a dragon", "winter", "my dog", "a robot", "the city", "a tree", "coffee",
    "music", "a friend", "the rain", "football", "a ship", "bread", "a mountain", "a garden", "the sun", "history",
    "a horse", "the river", "physics", "a computer", "the internet", "happiness", "a black hole", "chess", "a teacher",
    "the universe", "a holiday", "spring", "summer", "an apple", "money", "science", "a language model", "a neural network",
    "poetry", "the past", "the future", "a birthday", "a train", "cooking", "my mother", "a secret", "philosophy", "gravity",
]
UNANSWERABLE = [
    "What is the capital of {place}?", "How many people live in {place}?", "Where is {place}?",
    "Who is the president of {place}?", "Write a poem about {thing}.", "Tell me a story about {thing}.",
    "What is {thing}?", "Tell me about {thing}.", "Why is {thing} so big?", "Do you like {thing}?", "Draw {thing}.",
    "What is the weather in {place}?", "Translate {thing} into French.", "What do you think of {thing}?",
    "How far is {place}?", "What time is it in {place}?", "Explain {thing} to me.", "Write a song about {place}.",
    "What is the meaning of life?", "Why is the sky blue?", "Tell me a joke.", "How are you?", "What day is it?",
    "Write a program in Python.", "How old are you?", "What is {a} minus {b}?", "{a} - {b} = ?",
    "What is the square root of {a}?", "Is {a} a prime number?", "Can you sing?", "Sing about {thing}.",
]


def _vary(rng: random.Random, text: str, marks: str) -> str:
    text = rng.choice([text, text.capitalize()])
    return text + rng.choice(["", *marks])


def small_talk(rng: random.Random) -> Problem:
    """One remark or question with the reply and the short thought before it."""
    kind = rng.random()
    if kind < 0.2:
        question, thought = _vary(rng, rng.choice(GREETINGS), ".!"), "This is a greeting."
        answer = "Hello! " + ABOUT
    elif kind < 0.4:
        question, thought = _vary(rng, rng.choice(ABOUT_ITSELF), "?."), "This is about me."
        answer = ABOUT
    elif kind < 0.47:
        question, thought, answer = _vary(rng, rng.choice(THANKS), "!."), "This is thanks.", "You are welcome."
    elif kind < 0.52:
        question, thought, answer = _vary(rng, rng.choice(FAREWELLS), "!."), "This is a farewell.", "Goodbye!"
    else:
        a, b = rng.randint(2, 999), rng.randint(2, 999)
        filled = {"place": rng.choice(PLACES), "thing": rng.choice(THINGS), "a": a, "b": b}
        question, answer = rng.choice(UNANSWERABLE).format(**filled), CANNOT
        thought = "This is not about boxes, and no sum that I can do."
    return Problem("talk", f"talk {question.lower()}", question, thought, answer, 0, 0)
