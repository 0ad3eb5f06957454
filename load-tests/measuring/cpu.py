"""What a process uses: CPU seconds, of everything below it too since vLLM's core runs as a child, and memory."""

import resource
import sys
from contextlib import suppress
from pathlib import Path

import psutil


def cpu_seconds() -> float:
    """User and system seconds of this process and its children that are alive."""
    me = psutil.Process()
    total = 0.0
    for process in (me, *me.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
    return total


def reset_peak() -> None:
    """Let `peak_mib` count from now on, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """The most memory that this process had, in MiB: since the reset on Linux, since its start elsewhere."""
    status = Path("/proc/self/status")
    if status.exists():
        found = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), None)
        if found is not None:
            return int(found.split()[1]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1024 if sys.platform == "linux" else most / 2**20
