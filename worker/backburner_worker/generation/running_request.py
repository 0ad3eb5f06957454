"""A running request: one delivery's time in the engine, and why it was broken off, if so. It runs nothing itself."""

import asyncio
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from backburner_worker.outcome import where
from backburner_worker.scheduling.work import Work


class Abort(Enum):
    """Why a running request is broken off."""

    LEASE_LOST = auto()
    """Another worker has the delivery: nothing of it is ours any more."""
    CANCELLED = auto()
    """Its job was cancelled: it ends with a record."""
    DRAIN = auto()
    """The worker ends before the request does: another worker runs it."""
    ENGINE_LOST = auto()
    """The engine died, and this request has not heard of it yet."""
    TOO_LONG = auto()
    """Its generation takes longer than any should: it is tried once more."""


class RunningRequest:
    """Made when a delivery is admitted; `begin` and `why` are called by its task, `abort` by anyone until it ends."""

    __slots__ = ("_cancelled", "_task", "aborted", "began_at", "body", "delivery", "entered_at", "run", "work")

    def __init__(self, work: Work) -> None:
        self.delivery = work.delivery
        self.run = work.run
        self.work = work
        self.body: Mapping[str, Any] | None = None
        """What the engine was given, once it has entered."""
        self.entered_at: float | None = None
        """Monotonic seconds at which the engine got it."""
        self.began_at: float | None = None
        """When it was first seen to wait no more inside the engine, by `RunningTime`."""
        self.aborted: Abort | None = None
        """Why it was broken off; the first reason counts."""
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False

    @property
    def entered(self) -> bool:
        """Whether the engine has, or had, the request: what dies with the engine may have killed it."""
        return self.entered_at is not None

    @property
    def suspect(self) -> bool:
        """Whether it runs apart from what is none, since it may have killed an engine."""
        return self.delivery.facts.suspect

    @property
    def where(self) -> dict[str, object]:
        """Its fields in log lines."""
        return where(self.run.envelope.address)

    def begin(self, task: asyncio.Task[Any]) -> None:
        """The calling task runs it from now on. Raises `CancelledError` if it was broken off before."""
        self.delivery.lease.on_lost(self._lease_lost)
        if self.aborted is not None:
            # The task itself is not cancelled: it may have more to do.
            raise asyncio.CancelledError
        # Only now: a task that is cancelled before its first step never gets to its clean-up.
        self._task = task

    def abort(self, reason: Abort) -> None:
        """Break it off: `CancelledError` surfaces in its task, which then asks `why`."""
        if self.aborted is None:
            self.aborted = reason
            if self._task is not None:
                self._cancelled = self._task.cancel()

    def why(self) -> Abort:
        """The reason for a `CancelledError` that surfaced, which is thereby handled.

        Raises it again if it did not come from `abort` alone: then the whole task is to end.
        """
        task = asyncio.current_task()
        assert task is not None
        if self.aborted is None or task.cancelling() > self._cancelled:
            raise asyncio.CancelledError
        if self._cancelled:
            task.uncancel()
        return self.aborted

    def _lease_lost(self) -> None:
        self.abort(Abort.LEASE_LOST)
