"""Ties an engine's child processes to the worker, so that none outlives it and keeps the accelerator's memory.

`watch_parent` is a `vllm.general_plugins` entry point: vLLM calls it in each of its processes, the worker's own
included, and so does every other vLLM in the same environment. It acts only below a worker that has set the
marker, and never in that worker itself. vLLM is not imported here.

vLLM calls it rather late: an engine core first waits for its parent's greeting, for ever if the parent has died.
So `tie_children` has it run before anything else in what `multiprocessing` spawns; the entry point is for the
processes that are started otherwise.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable

OWNER = "_BACKBURNER_ENGINE_OWNER"
"""Environment variable with the worker's process id. Not a setting, hence not a BACKBURNER_ name."""

_PR_SET_PDEATHSIG = 1


def child_environment() -> dict[str, str]:
    """What a child's environment needs so that `watch_parent` acts there."""
    return {OWNER: str(os.getpid())}


def tie_children() -> None:
    """In the worker: tie every process that `multiprocessing` spawns from now on."""
    os.environ.update(child_environment())
    # What a process inherits from its parent, and the first part of it that is unpickled in the child.
    config = getattr(multiprocessing.current_process(), "_config", None)
    if isinstance(config, dict):
        config["backburner_tie"] = _Tie()


class _Tie:
    """Runs `watch_parent` wherever it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[], "_Tie"], tuple[()]]:
        return _arrive, ()


def _arrive() -> _Tie:
    watch_parent()
    return _Tie()


def watch_parent() -> None:
    """In an engine's child process: die with the parent, and leave the terminal's Ctrl-C to the worker."""
    owner = os.environ.get(OWNER, "")
    if not owner.isdigit() or int(owner) == os.getpid() or sys.platform != "linux":
        return
    if os.getsid(0) != os.getpid() and os.getpgrp() != os.getpid():
        # A terminal sends SIGINT to its whole session, but it is the worker that drains and ends its engine.
        os.setsid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed; the engine could outlive its worker")
    if _parent_is_gone(int(owner)):
        # The parent died before the call above, so that its signal has passed already.
        os._exit(1)


def _parent_is_gone(owner: int) -> bool:
    parent = multiprocessing.parent_process()
    if parent is not None:
        return parent.pid != os.getppid()
    try:
        os.kill(owner, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
