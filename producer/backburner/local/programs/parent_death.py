"""Ties a program to the life of the process that starts it: `parent_death.py PARENT_PID PROGRAM ARGUMENT…`.

Run by path with `python -I -S`, so it starts in milliseconds and imports nothing of Backburner. On Linux it asks the
kernel for SIGKILL at its parent's death and becomes the program. Elsewhere the kernel offers nothing of the kind: it
stays beside the program and watches. The worker's module of this name ties the processes that vLLM starts by itself,
which nothing can be put in front of; the two share no code, since this one may import nothing.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
NOT_STARTED_STATUS = 127
_WATCH_SECONDS = 0.25


def main() -> int:
    """The program. Ends with the status of what it started; 127 if that could not be started."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    try:
        if os.uname().sysname == "Linux":
            _become(parent, command)
            return NOT_STARTED_STATUS
        return _watch(parent, command)
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error}\n")
        return NOT_STARTED_STATUS


def _become(parent: int, command: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_PDEATHSIG was refused")
    # The parent may have died before the line above; then no signal will ever come.
    if os.getppid() != parent:
        raise ProcessLookupError(f"its parent {parent} is gone")
    # The signal is kept over exec.
    os.execvp(command[0], command)  # noqa: S606 - the command is made by the parent, not by a user


def _watch(parent: int, command: list[str]) -> int:
    child = subprocess.Popen(command)  # noqa: S603 - the same
    signal.signal(signal.SIGTERM, lambda _number, _frame: child.terminate())
    while (status := child.poll()) is None:
        if os.getppid() != parent:
            # The whole process group, this process included: nothing of it may outlive the parent.
            os.killpg(0, signal.SIGKILL)
        time.sleep(_WATCH_SECONDS)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
