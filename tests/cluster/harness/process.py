"""Ends what a test started beside the cluster, with all that it started itself."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05


@contextmanager
def stopped(program: "subprocess.Popen[bytes]") -> Iterator[None]:
    """The program's whole session is gone after the block."""
    try:
        yield
    finally:
        deadline = time.monotonic() + _STOP_SECONDS
        _signal(program, signal.SIGTERM)
        # The script that started it may be gone before it is.
        while _signal(program, 0) and time.monotonic() < deadline:
            program.poll()
            time.sleep(_POLL_SECONDS)
        _signal(program, signal.SIGKILL)
        program.wait(_STOP_SECONDS)


def _signal(program: "subprocess.Popen[bytes]", number: int) -> bool:
    """Whether there was still anybody to get the signal."""
    try:
        os.killpg(program.pid, number)
    except ProcessLookupError:
        return False
    return True
