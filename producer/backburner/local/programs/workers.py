"""The stack's workers: started, watched until warm, started again with growing waits when they end, stopped together.

Workers are programs of another package, known here by their argv, their settings and `/readyz` alone.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from backburner.local.options import Say
from backburner.local.programs.backoff import Backoff
from backburner.local.programs.child import Child, Program, describe
from backburner.local.programs.ports import LOOPBACK, PortLeases
from backburner.local.programs.probe import http_status
from backburner_schemas.errors import EngineError
from backburner_schemas.exit_status import UNUSABLE_STATUS

_OK_STATUS = 200
_KILL_MARGIN_SECONDS = 25.0
"""On top of the drain time, before a worker is killed: to leave its group and to shut its engine down, 10 s each."""

_COLD_GRACE_SECONDS = 5.0
"""A worker that never became warm has nothing to finish."""


class WorkerSlot:
    """One place for a worker, with its port and its log."""

    def __init__(self, program: Program, port: int, *, warm_seconds: float, say: Say) -> None:
        self.child = Child(program)
        self.warm = False
        self._port = port
        self._warm_seconds = warm_seconds
        self._say = say
        self._backoff = Backoff()
        self._started = 0.0
        self._start_at: float | None = 0.0

    @property
    def name(self) -> str:
        """Such as `worker 1`."""
        return self.child.program.name

    def tend(self) -> None:
        """Check it once, and do what is due. Raises `EngineError` when it never comes up, or reports that it cannot."""
        now = time.monotonic()
        if self._start_at is not None:
            if now >= self._start_at:
                self._start_at, self._started = None, now
                self.child.start()
        elif (status := self.child.exit_status()) is not None:
            if status == UNUSABLE_STATUS and not self.warm:
                # A new start would end the same way.
                raise self.child.failure("cannot start", reason=self.child.last_error())
            self._ended(now, f"ended with {describe(status)}")
        elif not self.warm and http_status(self._port, "/readyz") == _OK_STATUS:
            self.warm = True
            metrics = f"http://{LOOPBACK}:{self._port}/metrics"
            self._say(f"{self.name} is warm; metrics: {metrics}, log: {self.child.program.log}")
        elif not self.warm and now - self._started > self._warm_seconds:
            self.child.stop(grace=_COLD_GRACE_SECONDS)
            self._ended(now, f"was not warm within {self._warm_seconds:.0f} s")

    def _ended(self, now: float, what: str) -> None:
        delay = self._backoff.after_death(came_up=self.warm, lived=now - self._started)
        self.warm = False
        if delay is None:
            raise self.child.failure(f"{what}, several times in a row, and was never warm")
        self._say(f"{self.name} {what}; starting it again in {delay:g} s (log: {self.child.program.log})")
        self._start_at = now + delay


class Workers:
    """All workers of a stack; with none it is warm at once."""

    def __init__(self, slots: Sequence[WorkerSlot]) -> None:
        self.slots = tuple(slots)

    @classmethod
    def build(
        cls,
        count: int,
        *,
        argv: Sequence[str],
        env: Mapping[str, str],
        logs: Path,
        leases: PortLeases,
        warm_seconds: float,
        say: Say,
    ) -> "Workers":
        """`count` workers, each with a free port of its own in BACKBURNER_HTTP_PORT."""
        slots: list[WorkerSlot] = []
        for number in range(1, count + 1):
            port = leases.take()
            program = Program(
                name=f"worker {number}",
                argv=tuple(argv),
                env={**env, "BACKBURNER_HTTP_PORT": str(port)},
                log=logs / f"worker-{number}.log",
                error=EngineError,
            )
            slots.append(WorkerSlot(program, port, warm_seconds=warm_seconds, say=say))
        return cls(slots)

    @property
    def cold(self) -> tuple[str, ...]:
        """Names of those that are not warm."""
        return tuple(slot.name for slot in self.slots if not slot.warm)

    def tend(self) -> None:
        """Check each once. Raises `EngineError` for one that never comes up."""
        for slot in self.slots:
            slot.tend()

    def stop(self, drain_seconds: float) -> None:
        """SIGTERM to all, then wait for all within one drain time; what is left is killed."""
        for slot in self.slots:
            slot.child.ask_to_stop()
        deadline = time.monotonic() + drain_seconds + _KILL_MARGIN_SECONDS
        for slot in self.slots:
            slot.child.stop(grace=max(0.0, deadline - time.monotonic()))
