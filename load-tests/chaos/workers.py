"""The workers of a run: real processes at named places, each started again when it ends, as a supervisor does."""

import asyncio
import contextlib
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from backburner.local.programs.child import Child, Program, clean_environment, describe
from backburner.local.programs.ports import LOOPBACK, PortLeases
from backburner.local.programs.probe import http_status
from backburner_schemas.errors import EngineError
from chaos.journals import Journals

_RESTART_SECONDS = 0.2
_TEND_SECONDS = 0.05
_SCRAPE_SECONDS = 5.0
_STOP_SECONDS = 30.0
_OK_STATUS = 200


class WorkerPlace:
    """A place for a worker: its settings, port, log and journal. One process after the other lives there."""

    def __init__(self, name: str, env: Mapping[str, str], port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self.child = Child(
            Program(name, (sys.executable, "-m", "backburner_worker"), env=env, log=log, error=EngineError)
        )
        self.retired = False
        """Whether it stays empty once its worker has ended."""
        self.ends_expected: str | None = None
        """Why its present worker may end; None while an end would be a fault of its own."""
        self.started = 0

    def start(self) -> None:
        """Start a worker there."""
        self.started += 1
        self.ends_expected = None
        self.child.start()

    def send(self, number: signal.Signals, why: str) -> None:
        """A signal to the worker alone."""
        self.ends_expected = why
        assert self.child.pid is not None
        os.kill(self.child.pid, number)

    @property
    def ready(self) -> bool:
        """Whether its worker is warm and pulls, on an engine that lives: one whose engine died is about to end."""
        return self.child.running and http_status(self.port, "/readyz") == _OK_STATUS and is_alive(self.engine())

    def engine(self) -> int | None:
        """The process id of its engine, if it has one now: of its worker's children the one that holds the most."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()
            return max(map(int, found), key=_memory, default=None)
        return None

    def metrics(self) -> dict[str, float]:
        """Its worker's own page: values by name and labels, as they are there; empty if it does not answer."""
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


def _memory(process: int) -> int:
    """Pages that the process holds."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1])


class Workers:
    """All places, and their supervisor."""

    def __init__(
        self, settings: Mapping[str, str], *, folder: Path, leases: PortLeases, journals: Journals, static: bool
    ) -> None:
        """With `static`, what is started as a core worker keeps its name over restarts, as a StatefulSet's pods do."""
        self._settings = settings
        self._folder = folder
        self._leases = leases
        self._journals = journals
        self._static = static
        self.places: list[WorkerPlace] = []
        self.ends: list[str] = []
        """Ends without a fault."""
        self.restarts = 0
        self._all_may_end = False
        self._due: dict[str, float] = {}

    @property
    def manned(self) -> list[WorkerPlace]:
        """The places that have a worker, or will have one again."""
        return [place for place in self.places if not place.retired]

    @property
    def core(self) -> list[WorkerPlace]:
        """Those of them that were there from the start."""
        return [place for place in self.manned if place.name.startswith("core")]

    def add(self, kind: str) -> WorkerPlace:
        """Start a worker at a new place; `kind` is `core` or `extra`."""
        name = f"{kind}-{sum(place.name.startswith(kind) for place in self.places) + 1}"
        port = self._leases.take()
        extra = {"BACKBURNER_WORKER_ID": name} if self._static and kind == "core" else {}
        env = clean_environment(
            **self._settings,
            **extra,
            BACKBURNER_HTTP_PORT=str(port),
            BACKBURNER_FAKE_JOURNAL=str(self._journals.of(name)),
        )
        place = WorkerPlace(name, env, port, self._folder / "logs" / f"{name}.log")
        self.places.append(place)
        place.start()
        return place

    def retire(self, place: WorkerPlace) -> None:
        """Its worker drains and nobody follows it."""
        place.retired = True
        place.send(signal.SIGTERM, "it was asked to leave")

    def expect_ends(self, why: str | None) -> None:
        """Any worker may end from now on, any number of times, for that reason; None: none may any more."""
        self._all_may_end = why is not None
        for place in self.manned:
            place.ends_expected = None

    async def tend(self) -> None:
        """Be the supervisor, until cancelled."""
        while True:
            for place in self.places:
                self._look_at(place)
            await asyncio.sleep(_TEND_SECONDS)

    def _look_at(self, place: WorkerPlace) -> None:
        if (due := self._due.get(place.name)) is not None:
            if time.monotonic() >= due:
                del self._due[place.name]
                place.start()
                self.restarts += 1
            return
        status = place.child.exit_status()
        if status is None or (place.retired and place.ends_expected is None):
            return
        if place.ends_expected is None and not self._all_may_end:
            self.ends.append(f"{place.name} ended by itself with {describe(status)}:\n{place.child.tail()}")
        elif place.retired and status != 0:
            self.ends.append(f"{place.name} was asked to leave and ended with {describe(status)}")
        if place.retired:
            place.ends_expected = None
        else:
            self._due[place.name] = time.monotonic() + _RESTART_SECONDS

    def stop(self) -> None:
        """SIGTERM to all; what is left is killed."""
        for place in self.places:
            place.child.ask_to_stop()
        for place in self.places:
            place.child.stop(grace=_STOP_SECONDS)
