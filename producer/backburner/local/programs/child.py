"""One supervised child process: started, waited for until it answers, noticed when it ends, stopped with its family.

A child never outlives this process (see `parent_death`), gets no signal from the terminal, and writes to a log file.
What the child is, and what to do when it ends, is its owner's business.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backburner_schemas.errors import BackburnerError, SettingsError

Pause = Callable[[float], object]
"""Waits that many seconds, like `time.sleep`; may raise to interrupt the wait."""

PARENT_DEATH = Path(__file__).with_name("parent_death.py")
_POLL_SECONDS = 0.05
_KILL_SECONDS = 10.0
_TAIL_LINES = 12
_TAIL_BYTES = 16 * 1024
_LOG_LIMIT_BYTES = 16 * 1024 * 1024
_NO_SUCH_PROGRAM_STATUS = 127


@dataclass(frozen=True, slots=True)
class Program:
    """What to run."""

    name: str
    """Its name in messages, such as `the object store`."""
    argv: tuple[str, ...]
    env: Mapping[str, str]
    """The whole environment, not an addition to ours."""
    log: Path
    error: type[BackburnerError] = BackburnerError
    """The error to raise when it does not come up."""
    cwd: Path | None = None


class Child:
    """A `Program` that runs, ran or will run; `start` may be called again after its end."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._family_over = False
        """Whether nothing is left to kill of the latest run."""
        self._log_start = 0
        self._started = 0.0

    @property
    def lived(self) -> float:
        """Seconds since its latest start."""
        return time.monotonic() - self._started

    @property
    def pid(self) -> int | None:
        """Its process id, also of the latest run; None before the first start."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self.exit_status() is None

    def start(self) -> None:
        """Start it; returns at once.

        Only the main thread may do this: Linux sends a child its parent-death signal when the *thread* that forked it
        ends.
        """
        if threading.current_thread() is not threading.main_thread():
            raise SettingsError(f"{self.program.name} can be started from the main thread only")
        if self.running:
            return
        log = self.program.log
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
            log.replace(log.with_suffix(log.suffix + ".1"))
        self._started = time.monotonic()
        self._family_over = False
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._process = subprocess.Popen(  # noqa: S603 - the argv is made by Backburner
                [sys.executable, "-I", "-S", str(PARENT_DEATH), str(os.getpid()), *self.program.argv],
                env=dict(self.program.env),
                cwd=self.program.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A session of its own: Ctrl-C in the terminal reaches us alone, and its family can be killed whole.
                start_new_session=True,
            )

    def exit_status(self) -> int | None:
        """Its exit status (negative: the signal), or None while it runs. At its end its own children are killed."""
        if self._process is None:
            return None
        status = self._process.poll()
        if status is not None:
            self._kill_family()
        return status

    def wait_until(self, ready: Callable[[], bool], *, seconds: float, pause: Pause = time.sleep) -> None:
        """Wait until `ready()`; raises the program's error if it ends first or takes longer than that."""
        deadline = time.monotonic() + seconds
        while not ready():
            if (status := self.exit_status()) is not None:
                raise self.failure(f"ended with {describe(status)} before it was ready")
            if time.monotonic() > deadline:
                raise self.failure(f"was not ready within {seconds:.0f} s")
            pause(_POLL_SECONDS)

    def failure(self, what: str, *, reason: str = "") -> BackburnerError:
        """The error with what happened and the path of the log; with the reason if one is known, else the log's end."""
        if reason:
            return self.program.error(f"{self.program.name} {what}: {reason} (log: {self.program.log})")
        tail = self.tail()
        shown = f"; its last lines:\n{tail}\n" if tail else "; it wrote nothing; "
        return self.program.error(f"{self.program.name} {what}{shown}see {self.program.log}")

    def ask_to_stop(self) -> None:
        """Send SIGTERM to it alone: it stops its own children, in its own order."""
        if self.running and self._process is not None:
            self._process.terminate()

    def stop(self, *, grace: float) -> None:
        """Stop it: SIGTERM, up to `grace` seconds, then SIGKILL to its whole family. Returns when all is gone."""
        if self._process is None:
            return
        self.ask_to_stop()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._kill_family()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_KILL_SECONDS)
        finally:
            self._kill_family()

    def kill(self) -> None:
        """Kill it and its whole family, and wait for nothing."""
        if self.running:
            self._kill_family()

    def tail(self) -> str:
        """The last lines that it logged since its latest start."""
        return "\n".join(f"  {line}" for line in self._last_lines()[-_TAIL_LINES:])

    def last_error(self) -> str:
        """The error in the last line that it logged at that level, if it logs as `backburner.logs` does; else empty."""
        for line in reversed(self._last_lines()):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and record.get("level") == "error" and isinstance(record.get("error"), str):
                return str(record["error"])
        return ""

    def _last_lines(self) -> list[str]:
        try:
            with self.program.log.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start if self._log_start <= end else 0, end - _TAIL_BYTES))
                return log.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def _kill_family(self) -> None:
        # Its session's process group. The kernel does not reuse the number while a member lives; once the first of them
        # has been waited for and the others are killed, the number may be given to somebody else's.
        if self._process is None or self._family_over:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._family_over = self._process.returncode is not None


def describe(status: int) -> str:
    """An exit status in words."""
    if status < 0:
        names = {each.value: each.name for each in signal.Signals}  # Real-time signals have none.
        return f"signal {names.get(-status, -status)}"
    if status == _NO_SUCH_PROGRAM_STATUS:
        return "exit status 127 (the program could not be started)"
    return f"exit status {status}"


def clean_environment(**extra: str) -> dict[str, str]:
    """Our environment without credentials and settings that are not meant for a child, and with `extra`."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BACKBURNER_", "OPENAI_"))
    }
    return {**kept, **extra}
