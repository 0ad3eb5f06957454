"""The stack's parts that are Backburner's own: workers, and where asked for gateway and dispatcher.

Each is started, watched until it is ready, started again with growing waits when it ends; all are stopped together.
They are known here by their argv, their settings and `/readyz` alone.
"""

import time
from collections.abc import Iterable
from dataclasses import replace

from backburner.local.options import Say
from backburner.local.programs.backoff import Backoff
from backburner.local.programs.child import Child, Program, describe
from backburner.local.programs.ports import LOOPBACK
from backburner.local.programs.probe import http_status
from backburner_schemas.errors import UNUSABLE_STATUS

_OK_STATUS = 200
_KILL_MARGIN_SECONDS = 25.0
"""On top of the drain time, before a part is killed: to leave its group and to shut its engine down, 10 s each."""

_UNREADY_GRACE_SECONDS = 5.0
"""A part that never became ready has nothing to finish."""


class Part:
    """One place for a process of ours, with its log and the port of its health pages."""

    def __init__(
        self, program: Program, port: int, *, ready_seconds: float, say: Say, ready_word: str = "ready"
    ) -> None:
        """The port is given to the program in BACKBURNER_HTTP_PORT."""
        self.child = Child(replace(program, env={**program.env, "BACKBURNER_HTTP_PORT": str(port)}))
        self.ready = False
        self._port = port
        self._ready_seconds = ready_seconds
        self._ready_word = ready_word
        self._say = say
        self._backoff = Backoff()
        self._started = 0.0
        self._start_at: float | None = 0.0

    @property
    def name(self) -> str:
        """Such as `worker 1`."""
        return self.child.program.name

    def tend(self) -> None:
        """Check it once, and do what is due. Raises its program's error when it never comes up, or says it cannot."""
        now = time.monotonic()
        if self._start_at is not None:
            if now >= self._start_at:
                self._start_at, self._started = None, now
                self.child.start()
        elif (status := self.child.exit_status()) is not None:
            if status == UNUSABLE_STATUS and not self.ready:
                # A new start would end the same way.
                raise self.child.failure("cannot start", reason=self.child.last_error())
            self._ended(now, f"ended with {describe(status)}")
        elif not self.ready and http_status(self._port, "/readyz") == _OK_STATUS:
            self.ready = True
            metrics = f"http://{LOOPBACK}:{self._port}/metrics"
            self._say(f"{self.name} is {self._ready_word}; metrics: {metrics}, log: {self.child.program.log}")
        elif not self.ready and now - self._started > self._ready_seconds:
            self.child.stop(grace=_UNREADY_GRACE_SECONDS)
            self._ended(now, f"was not {self._ready_word} within {self._ready_seconds:.0f} s")

    def _ended(self, now: float, what: str) -> None:
        delay = self._backoff.after_death(came_up=self.ready, lived=now - self._started)
        self.ready = False
        if delay is None:
            raise self.child.failure(f"{what}, several times in a row, and was never {self._ready_word}")
        self._say(f"{self.name} {what}; starting it again in {delay:g} s (log: {self.child.program.log})")
        self._start_at = now + delay


class Parts:
    """All parts of a stack; where there are none, they are ready at once."""

    def __init__(self, parts: Iterable[Part] = ()) -> None:
        self._parts = tuple(parts)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all."""
        return tuple(part.name for part in self._parts)

    @property
    def unready(self) -> tuple[str, ...]:
        """Names of those that are not ready."""
        return tuple(part.name for part in self._parts if not part.ready)

    @property
    def children(self) -> tuple[Child, ...]:
        """The processes of all."""
        return tuple(part.child for part in self._parts)

    def tend(self) -> None:
        """Check each once. Raises the error of one that never comes up."""
        for part in self._parts:
            part.tend()

    def stop(self, drain_seconds: float) -> None:
        """SIGTERM to all, then wait for all within one drain time; what is left is killed."""
        for part in self._parts:
            part.child.ask_to_stop()
        deadline = time.monotonic() + drain_seconds + _KILL_MARGIN_SECONDS
        for part in self._parts:
            part.child.stop(grace=max(0.0, deadline - time.monotonic()))
