"""CPU seconds of a process and everything below it: vLLM's core runs as a child."""

import psutil


def cpu_seconds() -> float:
    """User and system seconds of this process and its children that are alive."""
    me = psutil.Process()
    total = 0.0
    for process in (me, *me.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
    return total
