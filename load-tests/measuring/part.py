"""A part of the product as it runs in a cluster: a process with a health port, started, probed and stopped."""

import os
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path

import psutil

from backburner.local.programs.child import Child, Program
from backburner.local.programs.ports import LOOPBACK, PortLeases
from backburner.local.programs.probe import http_status
from measuring.cpu import cpu_seconds, peak_mib, reset_peak

_LOAD_TESTS = str(Path(__file__).parents[1])
_READY_SECONDS = 60.0
_STOP_SECONDS = 30.0
_SCRAPE_SECONDS = 5.0


class Part:
    """A running gateway or dispatcher, or what it is measured against; ready."""

    def __init__(self, child: Child, port: int) -> None:
        self._child = child
        self.port = port
        """The port of its health page."""

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._child.pid is not None
        return self._child.pid

    def cpu_seconds(self) -> float:
        """What it has used so far."""
        return cpu_seconds(self.pid)

    def reset_peak(self) -> None:
        """Let `peak_mb` count from now on."""
        reset_peak(self.pid)

    def peak_mb(self) -> float:
        """The most memory that it had, in millions of bytes."""
        return peak_mib(self.pid) * 2**20 / 1e6

    def resident_mb(self) -> float:
        """The memory that it has now, in millions of bytes."""
        return float(psutil.Process(self.pid).memory_info().rss) / 1e6

    def metrics(self) -> dict[str, float]:
        """Its own page: values by name and labels, as they are there."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/metrics", timeout=_SCRAPE_SECONDS) as page:
            lines = page.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def check(self) -> None:
        """Raise `BackburnerError`, with its last lines, if it has ended."""
        if (status := self._child.exit_status()) is not None:
            raise self._child.failure(f"ended with {status}")

    @property
    def log(self) -> str:
        """All that it wrote."""
        return self._child.program.log.read_text(errors="replace")


@contextmanager
def part(module: str, **settings: str) -> Iterator[Part]:
    """Start a module as a program, with this process's environment and these settings; wait until it is ready."""
    with tempfile.TemporaryDirectory(prefix="backburner-part-") as folder, PortLeases() as leases:
        port = leases.take()
        path = os.pathsep.join(filter(None, (_LOAD_TESTS, os.environ.get("PYTHONPATH"))))
        child = Child(
            Program(
                module,
                (sys.executable, "-m", module),
                env={**os.environ, **settings, "BACKBURNER_HTTP_PORT": str(port), "PYTHONPATH": path},
                log=Path(folder) / f"{module}.log",
            )
        )
        try:
            child.start()
            child.wait_until(partial(_ready, port), seconds=_READY_SECONDS)
            yield Part(child, port)
        finally:
            child.stop(grace=_STOP_SECONDS)


def _ready(port: int) -> bool:
    return http_status(port, "/readyz") == HTTPStatus.OK
