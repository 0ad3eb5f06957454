"""Ends what a test started beside the cluster, with all that it started itself."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_STOP_SECONDS = 10.0


@contextmanager
def stopped(program: "subprocess.Popen[bytes]") -> Iterator[None]:
    """The program's whole session is gone after the block."""
    try:
        yield
    finally:
        _signal(program, signal.SIGTERM)
        try:
            program.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _signal(program, signal.SIGKILL)
            program.wait(_STOP_SECONDS)


def _signal(program: "subprocess.Popen[bytes]", number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(program.pid, number)
