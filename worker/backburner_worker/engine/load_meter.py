"""Sums up the figures of an engine's steps in an `EngineLoad`. Pure; the engine decides what a step is."""

from backburner_worker.engine.base import EngineLoad


class LoadMeter:
    """One scheduler's figures, recorded step by step."""

    def __init__(self, max_sequences: int) -> None:
        """`max_sequences` are the places in its batch."""
        self._places = max_sequences
        self._running = 0
        self._waiting = 0
        self._kv_used = 0.0
        self._least_waiting: int | None = None
        self._steps = 0
        self._vacant = 0
        self._generated = 0
        self._preempted = 0

    @property
    def steps(self) -> int:
        """Steps so far, without what `load` resets."""
        return self._steps

    def step(self, running: int, waiting: int, kv_used: float, *, generated: int = 0, preempted: int = 0) -> None:
        """Record a step: what runs and waits after it, the tokens that it generated, and how many it preempted.

        A sequence that waits while a place is free takes it at the next step, so such a place does not count as empty.
        """
        self._running = running
        self._waiting = waiting
        self._kv_used = kv_used
        if self._least_waiting is None or waiting < self._least_waiting:
            self._least_waiting = waiting
        self._steps += 1
        if (vacant := self._places - running - waiting) > 0:
            self._vacant += vacant
        self._generated += generated
        self._preempted += preempted

    def idle(self) -> None:
        """Nothing is in the engine any more, and no step is made until something comes."""
        self._running = self._waiting = 0
        self._kv_used = 0.0

    def load(self) -> EngineLoad | None:
        """The load so far; None before the first step. Resets the fewest that waited."""
        if not self._steps:
            return None
        least, self._least_waiting = self._least_waiting, None
        return EngineLoad(
            running=self._running,
            waiting=self._waiting,
            kv_used=self._kv_used,
            least_waiting=self._waiting if least is None else least,
            steps=self._steps,
            vacant=self._vacant,
            generated=self._generated,
            preempted=self._preempted,
        )
