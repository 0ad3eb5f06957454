"""The chat requests that both sides of a comparison answer: the same prompts, the same number of tokens.

`line` is always 32 tokens after a short prompt. `mixed_line` is of mixed lengths: every 64 of them in a row, from a
multiple of 64 on, hold each of four lengths of prompts with each of four lengths of answers four times, shuffled. So
every such batch is the same work, and none of it comes in an order that suits an engine.
"""

import random
from functools import cache
from itertools import product
from typing import Any

MAX_TOKENS = 32
CYCLE_REQUESTS = 64
"""Mixed requests after which the lengths begin anew."""
PROMPT_WORDS = (5, 20, 60, 160)
ANSWER_TOKENS = (8, 16, 32, 72)

_SUBJECTS = ("a river", "a clock", "bread", "winter", "a library", "salt", "the moon", "a bridge")
_ASKED = ("Describe", "Explain to a child", "Write two lines about", "Name three facts about")
_TEXT = (
    "the old harbour lies between low hills where boats come home with the morning tide and people carry baskets of "
    "fish along narrow streets to a market that has been there for longer than anyone remembers"
)


def messages(number: int) -> list[dict[str, str]]:
    """The conversation of request `number`; no two begin alike, so that no prefix cache helps one side."""
    return [{"role": "user", "content": _question(number)}]


def line(number: int, model: str) -> dict[str, Any]:
    """Request `number` as a line of a batch file. It always generates `MAX_TOKENS` tokens."""
    return _line(number, model, _question(number), MAX_TOKENS)


def mixed_line(number: int, model: str) -> dict[str, Any]:
    """Request `number` of those with mixed lengths. It always generates its `max_tokens`."""
    words, tokens = _lengths()[number % CYCLE_REQUESTS]
    # Where the text begins differs too, so that no two requests share a block after the question.
    known = _TEXT.split()
    text = " ".join(known[(number * 7 + place) % len(known)] for place in range(words))
    return _line(number, model, f"{_question(number)} {text}", tokens)


@cache
def _lengths() -> list[tuple[int, int]]:
    """Words of the prompt and tokens of the answer, for each request of a batch."""
    lengths = list(product(PROMPT_WORDS, ANSWER_TOKENS)) * (CYCLE_REQUESTS // (len(PROMPT_WORDS) * len(ANSWER_TOKENS)))
    random.Random(64).shuffle(lengths)
    return lengths


def _question(number: int) -> str:
    asked, subject = _ASKED[number % len(_ASKED)], _SUBJECTS[number // len(_ASKED) % len(_SUBJECTS)]
    return f"Note {number}. {asked} {subject}, please."


def _line(number: int, model: str, content: str, tokens: int) -> dict[str, Any]:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
    }
    return {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
