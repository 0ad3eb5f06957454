"""What a job is expected to take, reckoned before it runs: tokens, and what the engine's cache will spare. Pure."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from struct import unpack
from typing import Any

from backburner.ordering.beginnings import DEPTHS_BYTES, HASH_BYTES
from backburner_schemas.request import Endpoint

TOKENS_PER_BYTE = 0.25
"""Of a prompt: what a worker believes, too, before it has had an answer."""
ANSWER_TOKENS = 256
"""Of an answer to a request that sets no limit."""

_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_NO_ANSWER = frozenset({Endpoint.EMBEDDINGS, Endpoint.SCORE})
_MAX_ANSWER_TOKENS = 1 << 24
_MAX_CHOICES = 4096


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a planned job is expected to take."""

    requests: int
    """Requests in the job."""
    groups: int
    """Groups that go to one worker each."""
    prompt_tokens: int
    """Tokens of all prompts: one for four bytes."""
    completion_tokens: int
    """Tokens of all answers at most; of a request that sets no limit, 256."""
    hits: int
    """Requests that find in the engine's cache at least three quarters of what they share with any other of the job."""
    found_tokens: int
    """Prompt tokens that the engine finds in its cache, so that it need not compute them."""
    file_order: tuple[int, int] | None = None
    """Hits and found tokens if the requests were sent in the order of the input; None where that was not reckoned."""

    @property
    def hit_ratio(self) -> float:
        """Share of the requests that are hits."""
        return self.hits / max(self.requests, 1)

    @property
    def found_ratio(self) -> float:
        """Share of the prompt tokens that are found."""
        return self.found_tokens / max(self.prompt_tokens, 1)

    @property
    def file_order_hit_ratio(self) -> float | None:
        """Share of the requests that would be hits in the order of the input."""
        return None if self.file_order is None else self.file_order[0] / max(self.requests, 1)

    @property
    def file_order_found_ratio(self) -> float | None:
        """Share of the prompt tokens that would be found in the order of the input."""
        return None if self.file_order is None else self.file_order[1] / max(self.prompt_tokens, 1)


def tokens_in(size: float) -> int:
    """Tokens in so many bytes of prompts."""
    return int(size * TOKENS_PER_BYTE)


def answer_tokens(url: str, body: Mapping[str, Any]) -> int:
    """Tokens of the answer at most, whatever the fields hold; `ANSWER_TOKENS` where the body sets no limit."""
    if url in _NO_ANSWER:
        return 0
    tokens = ANSWER_TOKENS
    for name in _LIMITS:
        limit = body.get(name)
        if type(limit) is int and limit > 0:
            tokens = min(limit, _MAX_ANSWER_TOKENS)
            break
    choices = body.get("n")
    return tokens * min(choices, _MAX_CHOICES) if type(choices) is int and choices > 1 else tokens


class PrefixCache:
    """Simulates the prefix cache of an engine that runs one request after the other: what is in it, least used first.

    Beside beginnings it holds what belongs to one request alone, which pushes others out just the same.
    """

    def __init__(self, tokens: int) -> None:
        """With room for so many tokens."""
        self._room = tokens / TOKENS_PER_BYTE
        self._held: OrderedDict[tuple[int, int] | int, float] = OrderedDict()
        self._bytes = 0.0
        self._asked = 0

    def ask(self, keeper: int, chain: bytes, prompt_bytes: int, answer: int) -> int:
        """Run a request. Returns how many of `DEPTHS_BYTES` its prompt shares with what is in the cache.

        Prompts of another keeper, a model, share nothing with it. `answer` is in tokens.
        """
        held = self._held
        hashes = unpack(f">{len(chain) // HASH_BYTES}I", chain)
        depth = len(hashes)
        while depth and (keeper, hashes[depth - 1]) not in held:
            depth -= 1
        self._asked += 1
        reached = DEPTHS_BYTES[len(hashes) - 1] if hashes else 0
        if (own := max(prompt_bytes - reached, 0) + answer / TOKENS_PER_BYTE) > 0:
            # What takes no room would never be pushed out.
            self._put(self._asked, own)
        # The deepest first: an engine, too, lets go of a prompt's end before its beginning.
        for at in range(len(hashes) - 1, -1, -1):
            node = (keeper, hashes[at])
            if at < depth:
                if node in held:
                    held.move_to_end(node)
            else:
                self._put(node, DEPTHS_BYTES[at] - (DEPTHS_BYTES[at - 1] if at else 0))
        while self._bytes > self._room and held:
            self._bytes -= held.popitem(last=False)[1]
        return depth

    def _put(self, node: tuple[int, int] | int, size: float) -> None:
        self._bytes += size - self._held.get(node, 0.0)
        self._held[node] = size
        self._held.move_to_end(node)
