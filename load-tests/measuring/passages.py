"""Chat requests that begin alike: a few passages, many questions about each. No two rounds have a passage in common."""

import random
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any

PASSAGE_COUNT = 16
QUESTIONS_PER_PASSAGE = 8
"""About each passage."""
ROUND_REQUESTS = PASSAGE_COUNT * QUESTIONS_PER_PASSAGE
"""Requests of a round."""
JOB_PASSAGE_COUNT = 64
JOB_REQUESTS = JOB_PASSAGE_COUNT * 20
"""Requests of a job that is larger than what a worker holds."""
MAX_TOKENS = 2
"""Tokens of an answer, short as a label: reading the passage is what takes time."""

_FIRST_JOB_TURN_INDEX = 1 << 20
"""Passages of jobs are numbered from here on, so that no round has them."""
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
    return _line(number, model, passage(turn, chosen), _SUBJECTS[question])


def job_line(number: int, model: str) -> dict[str, Any]:
    """Request `number` of jobs that are larger than what a worker holds, `JOB_REQUESTS` each, shuffled."""
    job, position = divmod(number, JOB_REQUESTS)
    question, chosen = divmod(_shuffled(job)[position], JOB_PASSAGE_COUNT)
    subject = f"{_SUBJECTS[question % len(_SUBJECTS)]}, part {question}"
    return _line(number, model, passage(_FIRST_JOB_TURN_INDEX + job * JOB_PASSAGE_COUNT, chosen), subject)


@cache
def _shuffled(job: int) -> list[int]:
    places = list(range(JOB_REQUESTS))
    random.Random(job).shuffle(places)
    return places


def _line(number: int, model: str, text: str, subject: str) -> dict[str, Any]:
    body = {
        "model": model,
        "messages": [{"role": "system", "content": text}, {"role": "user", "content": f"What of {subject}?"}],
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


@lru_cache(maxsize=2 * JOB_PASSAGE_COUNT)
def passage(turn: int, number: int) -> str:
    """Passage `number` of a round, about 600 tokens. The first words tell it from all others."""
    chance = random.Random(turn * PASSAGE_COUNT + number)
    return f"Note {turn}-{number}. " + " ".join(chance.choices(_WORDS, k=_WORDS_PER_PASSAGE))
