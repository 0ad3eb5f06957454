"""A place for one part of the product: its settings, port and log. One process after the other lives there."""

import os
import signal
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from backburner.local.programs.child import Child, Program
from backburner.local.programs.ports import LOOPBACK
from backburner.local.programs.probe import http_status

_SCRAPE_SECONDS = 5.0
_OK_STATUS = 200


class Place:
    """A place, empty at first."""

    def __init__(self, name: str, module: str, env: Mapping[str, str], port: int, log: Path) -> None:
        """`port` is where the part has its own pages, as the settings say too."""
        self.name = name
        self.port = port
        self.child = Child(Program(name, (sys.executable, "-m", module), env=env, log=log))
        self.retired = False
        """Whether it stays empty once its process has ended."""
        self.ends_expected: str | None = None
        """Why its present process may end; None while an end would be a fault of its own."""
        self.any_may_end = False
        """Whether those that follow may end too, any number of times."""
        self.asked_to_end = False
        """Whether its present process was, and so has to end with 0."""
        self.started = 0

    def start(self) -> None:
        """Start a process there."""
        self.started += 1
        self.ends_expected = None
        self.asked_to_end = False
        self.child.start()

    def send(self, number: signal.Signals, why: str | None) -> None:
        """A signal to that process alone; it may end of it for that reason, or not at all for None."""
        self.ends_expected = why
        self.asked_to_end = number is signal.SIGTERM
        assert self.child.pid is not None
        os.kill(self.child.pid, number)

    @property
    def ready(self) -> bool:
        """Whether its process takes in work."""
        return self.child.running and http_status(self.port, "/readyz") == _OK_STATUS

    def metrics(self) -> dict[str, float]:
        """Its process's own page: values by name and labels, as they are there; empty if it does not answer."""
        try:
            url = f"http://{LOOPBACK}:{self.port}/metrics"
            with urllib.request.urlopen(url, timeout=_SCRAPE_SECONDS) as page:
                lines = page.read().decode().splitlines()
        except OSError:
            return {}
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}


def is_alive(process: int | None) -> bool:
    """Whether the process is there and has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False
