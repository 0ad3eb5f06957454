"""The workers of a run: real processes at named places."""

import contextlib
import signal
from collections.abc import Mapping
from pathlib import Path

from backburner.local.programs.child import clean_environment
from backburner.local.programs.ports import PortLeases
from chaos.journals import Journals
from chaos.memory import resident_bytes
from chaos.place import Place, is_alive
from chaos.supervisor import Supervisor
from measuring.child import with_programs

WORKER_PROGRAM = "backburner_worker"
"""The module that a worker runs."""


class WorkerPlace(Place):
    """A place for a worker."""

    def __init__(
        self, name: str, env: Mapping[str, str], port: int, log: Path, *, program: str = WORKER_PROGRAM
    ) -> None:
        super().__init__(name, program, with_programs(env), port, log)

    @property
    def ready(self) -> bool:
        """Whether its worker is warm and pulls, on an engine that lives: one whose engine died is about to end."""
        return super().ready and is_alive(self.engine())

    def engine(self) -> int | None:
        """The process id of its engine, if it has one now: of its worker's children the one that holds the most."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()
            return max(map(int, found), key=_memory, default=None)
        return None


def _memory(process: int) -> int:
    """Bytes that the process holds; 0 if it has just ended."""
    return resident_bytes(process) or 0


class Workers:
    """All places of workers."""

    def __init__(
        self,
        supervisor: Supervisor,
        settings: Mapping[str, str],
        *,
        folder: Path,
        leases: PortLeases,
        journals: Journals,
        named: int,
        program: str,
    ) -> None:
        """So many of the core workers keep their name over restarts, as a StatefulSet's pods do; they run `program`."""
        self._supervisor = supervisor
        self._settings = settings
        self._folder = folder
        self._leases = leases
        self._journals = journals
        self._named = named
        self._program = program
        self.places: list[WorkerPlace] = []

    @property
    def manned(self) -> list[WorkerPlace]:
        """The places that have a worker, or will have one again."""
        return [place for place in self.places if not place.retired]

    @property
    def core(self) -> list[WorkerPlace]:
        """Those of them that were there from the start."""
        return [place for place in self.manned if place.name.startswith("core")]

    @property
    def restarts(self) -> int:
        """How many workers were started after the first of their place."""
        return sum(place.started - 1 for place in self.places)

    def add(self, kind: str) -> WorkerPlace:
        """Start a worker at a new place; `kind` is `core` or `extra`."""
        number = sum(place.name.startswith(kind) for place in self.places) + 1
        name = f"{kind}-{number}"
        port = self._leases.take()
        extra = {"BACKBURNER_WORKER_ID": name} if kind == "core" and number <= self._named else {}
        env = clean_environment(
            **self._settings,
            **extra,
            BACKBURNER_HTTP_PORT=str(port),
            BACKBURNER_FAKE_JOURNAL=str(self._journals.of(name)),
        )
        place = WorkerPlace(name, env, port, self._folder / "logs" / f"{name}.log", program=self._program)
        self.places.append(place)
        self._supervisor.add(place)
        return place

    def retire(self, place: WorkerPlace) -> None:
        """Its worker drains and nobody follows it."""
        place.retired = True
        place.send(signal.SIGTERM, "it was asked to leave")

    def expect_ends(self, *, expected: bool) -> None:
        """Whether any worker may end from now on, any number of times."""
        for place in self.manned:
            place.any_may_end = expected
            place.ends_expected = None
