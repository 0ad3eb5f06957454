"""What a process uses: CPU seconds, of everything below it too since vLLM's core runs as a child, and memory."""

import resource
import sys
from contextlib import suppress
from pathlib import Path

import psutil


def cpu_seconds(process: int | None = None) -> float:
    """User and system seconds of that process, this one if none is named, and of its children that are alive."""
    top = psutil.Process(process)
    total = 0.0
    for one in (top, *top.children(recursive=True)):
        times = one.cpu_times()
        total += times.user + times.system
    return total


def reset_peak(process: int | None = None) -> None:
    """Let `peak_mib` count from now on, where the system can."""
    with suppress(OSError):
        Path(f"/proc/{_name(process)}/clear_refs").write_text("5")


def peak_mib(process: int | None = None) -> float:
    """The most memory that a process had, in MiB: since the reset on Linux, since its start elsewhere.

    Of a process other than this one, elsewhere, what it has now.
    """
    status = Path(f"/proc/{_name(process)}/status")
    if status.exists():
        found = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), None)
        if found is not None:
            return int(found.split()[1]) / 1024
    if process is not None:
        return float(psutil.Process(process).memory_info().rss) / 2**20
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1024 if sys.platform == "linux" else most / 2**20


def _name(process: int | None) -> str:
    return "self" if process is None else str(process)
