"""Lets the threads of native libraries leave Python before the interpreter ends. It knows no library by name."""

import sys
import threading
import time

_LONGEST = 1.0
"""Seconds; a thread hands a result over in microseconds, unless it waits for a processor."""


def let_threads_leave(longest: float = _LONGEST) -> bool:
    """Wait until no thread that Python did not start runs Python code; whether that came to be within `longest`.

    A result of obstore is handed to the event loop by a thread of its own, inside Python. If the interpreter ends
    while such a thread waits for the interpreter's lock, Python up to 3.13 kills the thread and Rust aborts the
    process: exit code 134 after everything went well. On a busy machine that was seen in every third run.
    """
    end = time.monotonic() + longest
    while True:
        ours = {thread.ident for thread in threading.enumerate()}
        if ours.issuperset(sys._current_frames()):  # noqa: SLF001 - documented, and there is no other way
            return True
        if time.monotonic() > end:
            return False
        # Sleeping gives up the lock, which is what they wait for.
        time.sleep(0.001)
