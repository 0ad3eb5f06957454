"""Jobs whose requests share beginnings, and what the fake engine's cache finds of them in one order or another."""

import random
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backburner.ordering.forecast import Forecast
from backburner.ordering.index import OrderIndex
from backburner.ordering.plan import InputDigest
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineRequest, Usage
from backburner_worker.engine.fake.engine import sequence_of
from backburner_worker.engine.fake.model import FakeModel, Pace
from backburner_worker.engine.fake.model import Sequence as Modelled
from measuring.passages import passage

ANSWER_TOKENS = 2
_CONCURRENT_REQUESTS = 8
_LINE_BYTES = 4000


@dataclass(frozen=True, slots=True)
class SharedJob:
    """A job of requests in the order of its file."""

    bodies: Sequence[dict[str, Any]]
    beginnings: Sequence[int]
    """Which beginning each has."""
    modelled: Sequence[Modelled]
    """What each is to the fake engine."""

    @classmethod
    def shuffled(cls, beginnings: int, requests: int, *, first: int = 0) -> "SharedJob":
        """So many requests for each of so many beginnings, which are numbered from the first on."""
        order = [number for number in range(first, first + beginnings) for _ in range(requests)]
        random.Random(first).shuffle(order)
        texts = {number: passage(0, number) for number in range(first, first + beginnings)}
        bodies = [
            {
                "model": "fake",
                "messages": [
                    {"role": "system", "content": texts[number]},
                    {"role": "user", "content": f"What of {at}?"},
                ],
                "max_tokens": ANSWER_TOKENS,
            }
            for at, number in enumerate(order)
        ]
        return cls(bodies, order, [_modelled(body) for body in bodies])

    def planned(self) -> tuple[list[list[int]], Forecast]:
        """Its groups in the planned order, each as places in the file, and what is expected of them."""
        index = OrderIndex()
        for at, body in enumerate(self.bodies):
            index.add(at * _LINE_BYTES, _LINE_BYTES, Endpoint.CHAT, body, pool="fake", verbatim=True)
        groups: list[list[int]] = []
        with index.plan(InputDigest(len(self.bodies) * _LINE_BYTES, bytes(32), bytes(32))) as plan:
            index.close()
            for entry in plan.entries():
                if entry.opens_group:
                    groups.append([])
                groups[-1].append(entry.index)
            return groups, plan.forecast

    def windowed(self, window: int) -> Iterator[int]:
        """The best order for a feeder that sees so many requests: it takes all it holds of the largest group.

        What comes meanwhile and belongs to that group goes with it.
        """
        held: defaultdict[int, deque[int]] = defaultdict(deque)
        sizes: Counter[int] = Counter()
        coming = iter(range(len(self.bodies)))
        count = 0
        while True:
            while count < window and (at := next(coming, None)) is not None:
                held[self.beginnings[at]].append(at)
                sizes[self.beginnings[at]] += 1
                count += 1
            if not count:
                return
            chosen = max(sizes, key=sizes.__getitem__)
            while held[chosen]:
                yield held[chosen].popleft()
                if (at := next(coming, None)) is None:
                    count -= 1
                else:
                    held[self.beginnings[at]].append(at)
                    sizes[self.beginnings[at]] += 1
                sizes[chosen] -= 1
            del held[chosen], sizes[chosen]

    def cache_tokens(self, beginnings: int) -> int:
        """Room for so many of its beginnings, each with one request."""
        longest = max(self.modelled, key=lambda one: one.prompt)
        return beginnings * (longest.prompt + longest.answer)


@dataclass(frozen=True, slots=True)
class Found:
    """What a cache found."""

    beginnings: float
    """Share of the tokens in beginnings."""
    prompts: float
    """Share of the tokens in prompts."""


def found_in_cache(orders: Iterable[Iterable[Modelled]], cache_tokens: int) -> Found:
    """What the caches of engines find, each of which gets its requests in that order, and has so much room."""
    shared = asked = computed = 0.0
    for order in orders:
        # At one token a second, and steps of no time, the seconds are the prompt tokens that were not in the cache.
        model = FakeModel(
            Pace(
                prefill=1.0, step=1e-12, sequence=0.0, sequences=_CONCURRENT_REQUESTS, kv=cache_tokens, batched=1 << 16
            )
        )
        for one in order:
            model.add(replace(one))
            shared += len(one.prefix) * one.block
            asked += one.prompt
        while len(model):
            computed += model.begin()
            model.end()
    return Found((asked - computed) / shared, (asked - computed) / asked)


def _modelled(body: dict[str, Any]) -> Modelled:
    words = sum(len(message["content"].split()) for message in body["messages"])
    return sequence_of(EngineRequest("", Endpoint.CHAT, body), Usage(words, ANSWER_TOKENS))
