"""Chat requests that begin alike: a few passages, many questions about each. No two rounds have a passage in common."""

import random
from enum import StrEnum
from typing import Any

PASSAGE_COUNT = 16
QUESTIONS_PER_PASSAGE = 8
"""About each passage."""
ROUND_REQUESTS = PASSAGE_COUNT * QUESTIONS_PER_PASSAGE
"""Requests of a round."""
MAX_TOKENS = 2
"""Tokens of an answer, short as a label: reading the passage is what takes time."""

_NOUNS = ("river", "stone", "winter", "bread", "letter", "garden", "window", "silver", "harbour", "engine", "bridge")
_VERBS = ("carries", "follows", "answers", "gathers", "measures", "returns", "crosses", "borrows", "repairs", "opens")
_WORDS = (*_NOUNS, "the", *_VERBS, "a", "slowly", "old", "and", "near", "every")
_WORDS_PER_PASSAGE = 580
"""About 600 tokens."""
_SUBJECTS = ("the harbour", "the winter", "the letter", "the railway", "the teacher", "the market", "bread", "silver")


class Order(StrEnum):
    """In which order a file has them."""

    INTERLEAVED = "interleaved"
    """One question about each passage, then the next about each: the worst for a prefix cache."""
    SHUFFLED = "shuffled"


def order_of(number: int) -> Order:
    """The order of a round: two rounds are interleaved, the next two shuffled, and so on."""
    return Order.SHUFFLED if number // 2 % 2 else Order.INTERLEAVED


def line(number: int, model: str) -> dict[str, Any]:
    """Request `number`, counted over all rounds, as a line of a batch file. It generates `MAX_TOKENS` tokens."""
    turn, position = divmod(number, ROUND_REQUESTS)
    question, chosen = divmod(_places(turn)[position], PASSAGE_COUNT)
    body = {
        "model": model,
        "messages": [
            {"role": "system", "content": passage(turn, chosen)},
            {"role": "user", "content": f"What of {_SUBJECTS[question]}?"},
        ],
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
        "ignore_eos": True,
    }
    return {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def _places(turn: int) -> list[int]:
    """Which request is at each position of a round."""
    places = list(range(ROUND_REQUESTS))
    if order_of(turn) is Order.SHUFFLED:
        random.Random(turn).shuffle(places)
    return places


def passage(turn: int, number: int) -> str:
    """Passage `number` of a round, about 600 tokens. The first words tell it from all others."""
    chance = random.Random(turn * PASSAGE_COUNT + number)
    return f"Note {turn}-{number}. " + " ".join(chance.choices(_WORDS, k=_WORDS_PER_PASSAGE))
