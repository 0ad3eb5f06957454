"""Who runs the stack of a working folder: one supervisor, found again by `down` from another process.

The lock is held for the supervisor's life and goes with it, also at kill -9, so what it left behind is known to be
stale. The pid is noted with the process's start time: a pid that was given to another process is never signalled.
Noted beside it is the folder for the stack's temporary files, which goes with the record. A record can be copied, and
can come with a folder from elsewhere: what it names is removed only if it says itself that it is this stack's.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from backburner.local.control import env_file
from backburner.local.programs.state_file import read_state, write_state
from backburner_schemas.errors import SettingsError

IGNORE_FILE = ".gitignore"
_LOCK, _RECORD = "lock", "stack.json"
_TEMPORARY_PREFIX = "backburner-up-"
_OWNER = "owner"
"""In the temporary folder: the state folder that it belongs to."""
_POLL_SECONDS = 0.05
_MAX_ATTEMPTS = 4
_STARTTIME_FIELD_INDEX = 19
"""Of /proc/PID/stat, counted from after the program's name, which may hold spaces and brackets."""


@contextlib.contextmanager
def hold(state: Path, *, stop_seconds: float) -> Iterator[Path]:
    """Be the supervisor of this `.backburner` folder. Raises `SettingsError` if there is one already.

    `stop_seconds` is what stopping takes at most: `down` waits for so long. Yields a fresh folder for the stack's
    temporary files. At the end it is removed, as are the record and the settings file: they describe a stack that is
    no more. What a killed supervisor left of these, the next one removes, or `down`.
    """
    state.mkdir(parents=True, exist_ok=True)
    (state / IGNORE_FILE).write_text("*\n", encoding="ascii")
    with (state / _LOCK).open("a", encoding="ascii") as lock:
        if not _locked(lock):
            pid = read_state(state / _RECORD).get("pid", "unknown")
            raise SettingsError(f"a stack runs in {state.parent} already (pid {pid}); stop it with `backburner down`")
        _forget(state)
        # Not in the working folder, whose path can be long: a socket's may have 107 bytes, and engines make some.
        temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX))
        try:
            (temporary / _OWNER).write_text(str(state.resolve()), encoding="utf-8")
            write_state(
                state / _RECORD,
                {
                    "pid": str(os.getpid()),
                    "started": start_time(os.getpid()) or "",
                    "stop_seconds": str(stop_seconds),
                    "temporary": str(temporary),
                },
            )
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            _forget(state)


def is_held(state: Path) -> bool:
    """Whether a supervisor is alive for this `.backburner` folder."""
    try:
        with (state / _LOCK).open("r", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def supervisor(state: Path) -> int | None:
    """The pid of the live supervisor, or None: then an existing record is stale, and is removed."""
    with contextlib.suppress(FileNotFoundError), (state / _LOCK).open("r", encoding="ascii") as lock:
        if _locked(lock):
            _forget(state)
            return None
    record = read_state(state / _RECORD)
    pid = int(record["pid"]) if record.get("pid", "").isdecimal() else None
    return pid if pid is not None and start_time(pid) == record.get("started") else None


def stop_seconds(state: Path) -> float:
    """How long the supervisor's stop takes at most, as it recorded."""
    return float(read_state(state / _RECORD).get("stop_seconds", "0"))


def send(state: Path, pid: int, number: signal.Signals, *, seconds: float) -> bool:
    """Signal the supervisor and wait; True when it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    deadline = time.monotonic() + seconds
    while is_held(state):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def start_time(pid: int) -> str | None:
    """When the process started, in whatever form the system reports; None if there is no such process."""
    if os.uname().sysname == "Linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        return stat.rpartition(")")[2].split()[_STARTTIME_FIELD_INDEX]
    shown = subprocess.run(  # noqa: S603 - a number is the only thing that varies
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return shown.stdout.strip() or None


def _locked(lock: IO[str]) -> bool:
    """Whether the lock could be acquired. Tried for a moment: `is_held` holds it for an instant too."""
    for _ in range(_MAX_ATTEMPTS):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _forget(state: Path) -> None:
    """Remove what a stack that is no more left: its temporary files, its record and its settings file."""
    # A record that cannot be read names no folder.
    with contextlib.suppress(SettingsError, OSError, ValueError, KeyError):
        temporary = Path(read_state(state / _RECORD)["temporary"])
        if _belongs_to(temporary, state):
            shutil.rmtree(temporary, ignore_errors=True)
    (state / _RECORD).unlink(missing_ok=True)
    env_file.path_in(state).unlink(missing_ok=True)


def _belongs_to(temporary: Path, state: Path) -> bool:
    return (
        temporary.name.startswith(_TEMPORARY_PREFIX)
        and not temporary.is_symlink()
        and temporary.stat().st_uid == os.getuid()
        and (temporary / _OWNER).read_text(encoding="utf-8") == str(state.resolve())
    )
