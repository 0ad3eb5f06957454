"""Chat requests for the fake engine, of which many begin alike: so many beginnings, so many requests each, shuffled."""

import random
from collections.abc import Iterator
from typing import Any

REQUESTS_PER_PREFIX = 20
_BLOCK_COUNT = 2
"""Blocks of `backburner_schemas.prefix` that requests with one beginning share; what follows is shorter than one."""
_PREFIX_CHARACTERS = 540
_ANSWER_TOKENS = 2
PROMPT_TOKENS = 96
"""Of a request with its answer, as the fake engine counts them: words."""


def shuffled_lines(model: str, prefixes: int, *, seed: int, name: str = "r") -> Iterator[dict[str, Any]]:
    """The lines of a batch file; `seed` decides the order and what the beginnings are, `name` the custom_ids' begin."""
    places = list(range(prefixes * REQUESTS_PER_PREFIX))
    random.Random(seed).shuffle(places)
    for number, place in enumerate(places):
        question, prefix = divmod(place, prefixes)
        yield _line(f"{name}{number}", model, _passage(seed, prefix), f"What of item {question:02} in {prefix}?")


def _passage(seed: int, prefix: int) -> str:
    """Words that begin differently for each."""
    words = " ".join(f"w{prefix * 7 + place:04}" for place in range(_PREFIX_CHARACTERS // 6))
    return f"{seed}-{prefix} {words}"[:_PREFIX_CHARACTERS]


def _line(name: str, model: str, passage: str, question: str) -> dict[str, Any]:
    body = {
        "model": model,
        "messages": [{"role": "system", "content": passage}, {"role": "user", "content": question}],
        "max_tokens": _ANSWER_TOKENS,
    }
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
