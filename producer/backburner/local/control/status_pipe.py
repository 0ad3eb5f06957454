"""The pipe between `up --detach` and the supervisor that it starts: progress, then ready or the reason for a failure.

One JSON object a line: `{"say": …}`, `{"ready": true}`, `{"failed": …}`. The supervisor finds the pipe's number in
its environment; a supervisor in the foreground has none, and writes nothing.
"""

import contextlib
import json
import os
from typing import IO, Any

from backburner.local.options import Say

PIPE_VARIABLE = "_BACKBURNER_UP_PIPE"
"""Not of the form BACKBURNER_…: those are settings, and an unknown one is an error."""


class StatusPipe:
    """The supervisor's end. Whoever started it may be gone: then nobody listens, and the stack goes on."""

    def __init__(self, pipe: IO[str] | None) -> None:
        self._pipe = pipe

    @classmethod
    def from_environment(cls) -> "StatusPipe":
        """The pipe that this process inherited, if any; the variable is removed, since children have no use for it."""
        number = os.environ.pop(PIPE_VARIABLE, "")
        if not number.isdecimal():
            return cls(None)
        os.set_inheritable(int(number), False)  # noqa: FBT003 - positional only
        return cls(os.fdopen(int(number), "w", encoding="utf-8"))

    @property
    def connected(self) -> bool:
        """Whether there is another end, which tells the user what was said."""
        return self._pipe is not None

    def say(self, line: str) -> None:
        """Pass one line of progress on."""
        self._send({"say": line})

    def ready(self) -> None:
        """Report that everything is up; the last message."""
        self._send({"ready": True})
        self._close()

    def failed(self, why: str) -> None:
        """Report that it did not come up; the last message."""
        self._send({"failed": why})
        self._close()

    def _send(self, message: dict[str, Any]) -> None:
        if self._pipe is None:
            return
        try:
            self._pipe.write(json.dumps(message) + "\n")
            self._pipe.flush()
        except BrokenPipeError:
            self._close()

    def _close(self) -> None:
        if self._pipe is not None:
            # What could not be written has nobody to read it.
            with contextlib.suppress(BrokenPipeError):
                self._pipe.close()
            self._pipe = None


def listen(pipe: IO[str], say: Say) -> str | None:
    """The other end: shows progress as it comes, until the last message. Returns None for ready, or why it failed.

    Raises `EOFError` when the supervisor ended without a last message.
    """
    for line in pipe:
        message = json.loads(line)
        if "say" in message:
            say(message["say"])
        else:
            return str(message["failed"]) if "failed" in message else None
    raise EOFError
