"""Simulates a real engine's load: a model of continuous batching with prefill, decode and a KV cache. Pure.

It follows vLLM's rules, in tokens instead of blocks. A step generates one token for each running sequence, and prefills
what waits in chunks, first come, first served, as far as places, KV cache and the step's tokens go. Where the cache
cannot take the next tokens, the sequence that came last is preempted: it waits at the front, and all that it had is
computed again. With a prefix cache, what prompts share is held and computed once, and stays until its room is needed.

Time is a number here; `FakeClock` advances it.
"""

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, fields, replace
from typing import Self

from backburner_worker.engine.load_meter import LoadMeter


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the modelled engine is, and how much it holds."""

    prefill: float = 20_000.0
    """Prompt tokens a second."""
    step: float = 0.02
    """Seconds of a step, whatever is in it."""
    sequence: float = 0.0002
    """Seconds that each decoding sequence adds to a step."""
    sequences: int = 64
    """Places in the batch."""
    kv: int = 65_536
    """Tokens that the KV cache holds."""
    batched: int = 2048
    """Tokens in one step at most."""
    cache: int = 1
    """Whether there is a prefix cache: 1 or 0."""
    speed: float = 1.0
    """Seconds of simulated time in one of real time."""

    def __post_init__(self) -> None:
        numbers = (self.prefill, self.step, self.sequences, self.kv, self.batched, self.speed)
        if not all(0 < number < math.inf for number in numbers) or not 0 <= self.sequence < math.inf:
            raise ValueError("times, rates and sizes of a pace are above 0")
        if self.batched < self.sequences:
            raise ValueError(f"a step of {self.batched} tokens has none for some of {self.sequences} sequences")

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `name=number` parts with commas between; what is left out has its default. Raises `ValueError`."""
        kinds = {field.name: field.type for field in fields(cls)}
        given: dict[str, float] = {}
        for part in text.split(","):
            name, _, value = (word.strip() for word in part.partition("="))
            if name not in kinds:
                raise ValueError(f"{name!r} is none of {', '.join(kinds)}")
            given[name] = int(value) if kinds[name] is int else float(value)
        return cls(**given)  # type: ignore[arg-type]  # each has its field's own type


@dataclass(slots=True, eq=False)
class Sequence:
    """One request on its way through the model."""

    prompt: int
    """Tokens."""
    answer: int
    """Tokens that it generates, at least 1."""
    prefix: tuple[int, ...] = ()
    """Hashes of the prompt's first blocks, each over all before it."""
    block: int = 0
    """Tokens of one of those blocks."""
    generated: int = 0
    to_prefill: int = 0
    own: int = 0
    """KV tokens that it shares with nobody."""


@dataclass(slots=True)
class Lookups:
    """Blocks that prompts begin with, as they were looked up in the prefix cache since the engine's start."""

    asked: int = 0
    """Blocks looked up, each time that a sequence got its room."""
    found: int = 0
    """Those of them that the cache had."""


class _Cache:
    """KV tokens: those in use, and prefix blocks that nobody uses but that are still there."""

    def __init__(self, size: int, *, keeps: bool) -> None:
        self.size = size
        self.used = 0
        self.lookups = Lookups()
        self._keeps = keeps
        self._in_use: dict[int, list[int]] = {}
        """Tokens and users of each prefix block."""
        self._idle: OrderedDict[int, int] = OrderedDict()
        self._idle_tokens = 0

    def take(self, sequence: Sequence, *, alone: bool) -> bool:
        """Reserve room for all that the sequence has so far, if there is enough; note what is to be computed."""
        chain = sequence.prefix if self._keeps else ()
        wanted = sequence.prompt + sequence.generated
        held = sum(1 for block in chain if block in self._in_use)
        found = held
        while found < len(chain) and chain[found] in self._idle:
            found += 1
        fresh = wanted - held * sequence.block
        if self.used + fresh > self.size and not alone:
            return False
        self.used += fresh
        self.lookups.asked += len(chain)
        self.lookups.found += found
        sequence.own = wanted - len(chain) * sequence.block
        for block in chain:
            if (idle := self._idle.pop(block, None)) is not None:
                self._idle_tokens -= idle
            self._in_use.setdefault(block, [sequence.block, 0])[1] += 1
        # The last token's state is always computed, since the next one comes from it.
        sequence.to_prefill = max(1, wanted - found * sequence.block)
        self._evict()
        return True

    def grow(self, sequence: Sequence) -> bool:
        """Reserve room for one more of its tokens; whether there was any."""
        if self.used >= self.size:
            return False
        sequence.own += 1
        self.used += 1
        self._evict()
        return True

    def give_back(self, sequence: Sequence) -> None:
        """Free all that the sequence holds."""
        self.used -= sequence.own
        sequence.own = 0
        for block in sequence.prefix if self._keeps else ():
            entry = self._in_use[block]
            entry[1] -= 1
            if not entry[1]:
                del self._in_use[block]
                self.used -= entry[0]
                self._idle[block] = entry[0]
                self._idle_tokens += entry[0]

    def _evict(self) -> None:
        while self._idle and self.used + self._idle_tokens > self.size:
            self._idle_tokens -= self._idle.popitem(last=False)[1]


class FakeModel:
    """The modelled engine. `begin` and `end` take turns; between them a step is under way."""

    def __init__(self, pace: Pace) -> None:
        self.meter = LoadMeter(pace.sequences)
        self._pace = pace
        self._cache = _Cache(pace.kv, keeps=bool(pace.cache))
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._decoding: list[Sequence] = []
        """Those that get a token in the step that is under way."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._running)

    @property
    def lookups(self) -> Lookups:
        """What the prefix cache was asked for so far, and had."""
        return replace(self._cache.lookups)

    def add(self, sequence: Sequence) -> None:
        """It waits from now on."""
        self._waiting.append(sequence)

    def drop(self, sequence: Sequence) -> None:
        """It was aborted: its place and room are free at once."""
        if sequence in self._running:
            self._running.remove(sequence)
            self._cache.give_back(sequence)
            if sequence in self._decoding:
                self._decoding.remove(sequence)
        elif sequence in self._waiting:
            self._waiting.remove(sequence)

    def begin(self) -> float:
        """Schedule a step. Returns the seconds that it takes, 0 if there is nothing to do."""
        if not self:
            self.meter.idle()
            return 0.0
        preempted = self._make_room()
        room = self._pace.batched
        self._decoding = []
        prefilled = 0
        for sequence in self._running:
            if sequence.to_prefill:
                chunk = min(sequence.to_prefill, room)
                sequence.to_prefill -= chunk
                prefilled += chunk
                room -= chunk
                if sequence.to_prefill:
                    continue
            else:
                room -= 1
            self._decoding.append(sequence)
        decoding = len(self._decoding)
        # What was just preempted would come back at once, and preempt the next.
        while self._waiting and len(self._running) < self._pace.sequences and room > 0 and not preempted:
            sequence = self._waiting[0]
            if not self._cache.take(sequence, alone=not self._running):
                break
            self._running.append(self._waiting.popleft())
            chunk = min(sequence.to_prefill, room)
            sequence.to_prefill -= chunk
            prefilled += chunk
            room -= chunk
            if not sequence.to_prefill:
                self._decoding.append(sequence)
        self.meter.step(
            len(self._running),
            len(self._waiting),
            self._cache.used / self._cache.size,
            generated=len(self._decoding),
            preempted=preempted,
        )
        return self._pace.step + decoding * self._pace.sequence + prefilled / self._pace.prefill

    def end(self) -> list[Sequence]:
        """End the step. Returns the sequences whose answer is whole."""
        finished = []
        for sequence in self._decoding:
            sequence.generated += 1
            if sequence.generated >= sequence.answer:
                finished.append(sequence)
        for sequence in finished:
            self._running.remove(sequence)
            self._cache.give_back(sequence)
        self._decoding = []
        return finished

    def _make_room(self) -> int:
        """Reserve room for each running sequence's next token. Returns how many had to be preempted for that."""
        gone = 0
        at = 0
        while at < len(self._running):
            sequence = self._running[at]
            at += 1
            # Alone and larger than the cache, it goes on as if the cache were larger.
            while not sequence.to_prefill and not self._cache.grow(sequence) and len(self._running) > 1:
                last = self._running.pop()
                self._cache.give_back(last)
                self._waiting.appendleft(last)
                gone += 1
                if last is sequence:
                    break
        return gone
