"""How much goes into the engine at once: enough that its queue is never empty, not so much that it grows. Pure.

A request takes places in the batch and KV tokens. Both are bounded, and the governor moves the bounds with what the
engine tells. What a request will take is expected from what came back of others like it.
"""

from dataclasses import dataclass

from backburner_schemas.envelope import Envelope
from backburner_schemas.prefix import BLOCK_CHARACTERS
from backburner_worker.engine.base import EngineInfo, EngineLoad
from backburner_worker.expectations import Expectations, Expected
from backburner_worker.governor import Bound, Governor
from backburner_worker.prefixes import Nodes, Prefixes, blocks_of, nodes_of
from backburner_worker.work import Work


@dataclass(slots=True)
class _Place:
    """What one request takes while it is in the engine."""

    sequences: int
    tokens: int
    """KV tokens of its own."""
    nodes: Nodes = ()
    """Its prompt's beginning, which counts once, however many share it."""


class Admission:
    """The room in the engine. One request always fits into an empty engine, however large."""

    def __init__(self, info: EngineInfo, concurrency: int = 0) -> None:
        """Steered by what the engine offers and tells; a `concurrency` above 0 is so many requests, no more, no less."""
        self._concurrency = concurrency
        self._governor = Governor(info)
        self._expectations = Expectations()
        self._prefixes = Prefixes()
        self._places: dict[Work, _Place] = {}
        self._sequences = 0
        self._own_tokens = 0
        self._ended = 0
        self._short_of_tokens = False
        """Whether what was to enter last found too little room for its tokens."""
        self._load = EngineLoad()

    @property
    def in_flight(self) -> int:
        """Requests that are in the engine."""
        return len(self._places)

    @property
    def sequences(self) -> int:
        """Sequences that they are in sum."""
        return self._sequences

    @property
    def tokens(self) -> int:
        """KV tokens that they are expected to hold."""
        return self._own_tokens + self._prefixes.tokens

    @property
    def sequence_limit(self) -> int:
        """How many sequences may be in the engine now."""
        return self._concurrency or self._governor.sequences

    @property
    def token_limit(self) -> int:
        """How many KV tokens they may be expected to hold now; 0 for any number."""
        return 0 if self._concurrency else self._governor.tokens

    @property
    def load(self) -> EngineLoad:
        """What the engine told last."""
        return self._load

    @property
    def open(self) -> bool:
        """Whether another request may be considered at all."""
        return self._sequences < (self._concurrency or self._governor.sequences)

    def expect(self, envelope: Envelope, size: int) -> Expected:
        """What a request will take whose message has `size` bytes."""
        return self._expectations.of(envelope, size)

    def fits(self, work: Work) -> bool:
        """Whether there is room for it now."""
        return self._room(work) is not None

    def enter(self, work: Work) -> bool:
        """Take the room for it, if it is there."""
        place = self._room(work)
        if place is None:
            return False
        self._places[work] = place
        self._sequences += place.sequences
        self._own_tokens += place.tokens
        if place.nodes:
            self._prefixes.enter(place.nodes, work.expected.tokens_of(BLOCK_CHARACTERS))
        return True

    def leave(self, work: Work) -> None:
        """Give back the room that it took."""
        place = self._places.pop(work)
        self._sequences -= place.sequences
        self._own_tokens -= place.tokens
        self._ended += 1
        if place.nodes:
            self._prefixes.leave(place.nodes)

    def look(self, load: EngineLoad, now: float) -> bool:
        """Move the limits by what the engine tells at the monotonic second `now`; whether there may be more room."""
        self._load = load
        if self._concurrency:
            return False
        bound = None
        if self._sequences >= self._governor.sequences:
            bound = Bound.SEQUENCES
        elif self._short_of_tokens:
            bound = Bound.TOKENS
        return self._governor.look(load, bound, now, ended=self._ended, inside=self._sequences, tokens=self.tokens)

    def _room(self, work: Work) -> _Place | None:
        """What it would take; None if that is not there."""
        expected = work.expected
        if self._concurrency:
            return _Place(1, 0) if self.open else None
        limit = self._governor.sequences
        # One that asks for the moon counts as half of it, so that it does not keep all others out.
        sequences = expected.sequences if expected.sequences == 1 else min(expected.sequences, limit // 2) or 1
        if self._places and self._sequences + sequences > limit:
            return None
        room = self._governor.tokens
        tokens = expected.held
        nodes: Nodes = ()
        taken = 0
        if tokens > room // 2:
            tokens = room // 2
        elif work.prefix:
            nodes = nodes_of(work.prefix, work.keeper)
            block = expected.tokens_of(BLOCK_CHARACTERS)
            tokens = max(0, tokens - int(blocks_of(nodes) * block))
            taken = int((blocks_of(nodes) - self._prefixes.shared(nodes)) * block)
        self._short_of_tokens = bool(self._places) and self.tokens + tokens + taken > room
        return None if self._short_of_tokens else _Place(sequences, tokens, nodes)
