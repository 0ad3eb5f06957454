"""Chat requests for the fake engine, of which many begin alike: so many beginnings, so many requests each, shuffled."""

import random
from array import array
from collections.abc import Iterator
from typing import Any

from backburner_schemas.prefix import BLOCK_CHARACTERS

REQUESTS_PER_PREFIX = 20
BLOCK_COUNT = 2
"""Blocks that requests with one beginning share; what follows is shorter than one."""
PROMPT_TOKENS = 100
"""Of a request of so many blocks with its answer, as the fake engine counts them: words."""
_WORD_CHARACTERS = 6
_ANSWER_TOKENS = 2


def shuffled_lines(
    model: str, prefixes: int, *, seed: int, blocks: int = BLOCK_COUNT, first: int = 0
) -> Iterator[dict[str, Any]]:
    """The lines of a batch file. `seed` decides their order and what they begin with; `first` is the first's number."""
    places = array("L", range(prefixes * REQUESTS_PER_PREFIX))
    random.Random(seed).shuffle(places)
    passages = [_passage(seed, prefix, blocks) for prefix in range(prefixes)]
    for number, place in enumerate(places, first):
        question, prefix = divmod(place, prefixes)
        messages = [
            {"role": "system", "content": passages[prefix]},
            {"role": "user", "content": f"What of item {question:02} in {prefix}?"},
        ]
        body = {"model": model, "messages": messages, "max_tokens": _ANSWER_TOKENS}
        yield {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def _passage(seed: int, prefix: int, blocks: int) -> str:
    """Words that begin differently for each, a little more than so many blocks."""
    characters = blocks * BLOCK_CHARACTERS + 5 * _WORD_CHARACTERS
    words = " ".join(f"w{(prefix * 7 + place) % 10_000:04}" for place in range(characters // _WORD_CHARACTERS))
    return f"{seed}-{prefix} {words}"[:characters]
